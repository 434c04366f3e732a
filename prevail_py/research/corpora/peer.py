"""The ``prevail`` binary as another opinion, where there is one on ``PATH``.

It is asked for one program at a time, ``prevail OBJECT SECTION FUNCTION``, and answers with a line of result (1 or 0),
seconds and kilobytes; CPU time is that of the whole process, loading included.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from prevail_py.research.corpora.columns import Row

__all__ = ["Peer"]

_TIMEOUT: Final = 600.0
_ANSWER: Final = re.compile(r"^(?=[01],[\d.e+-]+,\d+$|PASS\b|FAIL\b)(\w+)")


@dataclass(frozen=True, slots=True)
class Peer:
    """The binary at ``path``; ``version`` tells it from others by its content."""

    path: str
    version: str
    timeout: float = _TIMEOUT

    @staticmethod
    @cache
    def on_path() -> Peer | None:
        """The binary on ``PATH``, or None."""
        found = shutil.which("prevail")
        return None if found is None else Peer(found, sha256(Path(found).read_bytes()).hexdigest())

    def verdicts(self, path: Path, programs: Iterable[Mapping[str, Any]]) -> list[Row]:
        """Its verdicts on programs of the object at ``path``, given by their rows."""
        return [self._verdict(path, row) for row in programs if row["program"]]

    def _verdict(self, path: Path, row: Mapping[str, Any]) -> Row:
        function = str(row["program"]).rpartition("/")[2].partition("#")[0]
        command = [self.path, str(path), str(row["section"]), function]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=self.timeout)
        except subprocess.TimeoutExpired:
            return _row(row, None, f"no answer within {self.timeout:g} s", None)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        answer = next((found for line in lines if (found := _ANSWER.match(line))), None)
        if answer is None:
            return _row(row, "error", lines[-1] if lines else f"exit status {done.returncode}", seconds)
        return _row(row, "pass" if answer[1] in ("1", "PASS") else "fail", "", seconds)


def _row(row: Mapping[str, Any], verdict: str | None, reason: str, seconds: float | None) -> Row:
    rounded = None if seconds is None else round(seconds, 6)
    return {"program": row["program"], "prevail": verdict, "prevail_reason": reason, "prevail_seconds": rounded}
