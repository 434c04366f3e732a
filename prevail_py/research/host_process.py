"""A host in a process of its own, for measurements, campaigns and tests: ``prevail-py hostd``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["hosting", "start_host"]


def start_host(socket: Path, *options: str) -> subprocess.Popen[str]:
    """Start ``prevail-py hostd --socket SOCKET OPTIONS...``, which listens when this returns.

    Its streams are pipes.  Raises RuntimeError with what it says if it ends instead.
    """
    command = [sys.executable, "-m", "prevail_py", "hostd", "--socket", os.fspath(socket), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != f"listening at {socket}\n":
        process.kill()
        rest, errors = process.communicate()
        raise RuntimeError(f"no host at {socket}: {(line + rest + errors).strip()}")
    return process


@contextmanager
def hosting(socket: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The same for as long as the context lasts; what does not end within half a minute is killed."""
    process = start_host(socket, *options)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=30)
        process.kill()
        process.communicate()
