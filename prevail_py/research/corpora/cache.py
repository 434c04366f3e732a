"""Where corpora and results are kept: a directory of the user, never the repository.

``--cache DIR``, else ``PREVAIL_PY_CACHE``, else ``prevail-py`` in ``XDG_CACHE_HOME``, else ``~/.cache/prevail-py``.
Whatever appears in it appears whole: files and directories are made under another name and then renamed, so a run that
is interrupted leaves nothing that a later one could take for finished.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CorpusError", "cache_directory", "digest", "new_directory", "write_whole"]


class CorpusError(ValueError):
    """A corpus cannot be had or used; the message is one line that says what is missing."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def cache_directory(given: str | os.PathLike[str] | None = None) -> Path:
    """The cache directory; it need not exist yet."""
    if given is not None:
        return Path(given)
    if from_environment := os.environ.get("PREVAIL_PY_CACHE"):
        return Path(from_environment)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "prevail-py"


def digest(*parts: bytes | str) -> str:
    """A SHA-256 over ``parts`` and their boundaries, in hexadecimal."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all.  Raises :class:`CorpusError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror or error}") from error


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory to fill, which becomes ``path`` if nothing goes wrong.  Raises :class:`CorpusError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = tempfile.mkdtemp(dir=path.parent, prefix=".")
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror or error}") from error
    try:
        yield Path(name)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(name, path)
    except OSError as error:
        raise CorpusError(f"{error.filename or path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(name, ignore_errors=True)
