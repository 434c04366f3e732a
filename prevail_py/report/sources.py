"""Whole source files for a page: line information names files and quotes single lines; the rest is read from a folder.

The names come out of an object, which anybody may have made: only what lies in the folder that the user gave is read,
and only where it has the lines that the object quotes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from prevail_py.objects.program import Program, SourceLine

__all__ = ["whole_files"]

_MAX_BYTES: Final = 1 << 20
"""Of a file that is shown whole."""


def whole_files(programs: Iterable[Program], folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The lines of the files that ``programs`` were compiled from, by name, and why others are not among them.

    A file is looked for in ``folder`` under its whole name, then without the first folders of it.  Raises OSError where
    one is there and cannot be read.
    """
    quoted: dict[str, set[SourceLine]] = {}
    for program in programs:
        for line in program.lines.values():
            quoted.setdefault(line.file, set()).add(line)
    files: dict[str, list[str]] = {}
    missing: list[str] = []
    for name, lines in sorted(quoted.items()):
        path = _in(folder.resolve(), name)
        if path is None:
            missing.append(f"{name}: not in {folder}")
        elif path.stat().st_size > _MAX_BYTES:
            missing.append(f"{name}: {path} is larger than {_MAX_BYTES >> 20} MiB")
        else:
            text = path.read_text(errors="replace").split("\n")
            other = min((line.line for line in lines if not _is_quoted(line, text)), default=None)
            if other is None:
                files[name] = text[:-1] if text[-1] == "" else text
            else:
                missing.append(f"{name}: line {other} of {path} is another one than in the object")
    return files, missing


def _in(folder: Path, name: str) -> Path | None:
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/"]
    for first in range(len(parts)):
        path = folder.joinpath(*parts[first:]).resolve()
        if path.is_relative_to(folder) and path.is_file():
            return path
    return None


def _is_quoted(line: SourceLine, text: list[str]) -> bool:
    """Whether a line is in the text as the object quotes it; clang writes tabs and line ends as they are."""
    if not line.text.strip() or line.line < 1:
        return True
    return line.line <= len(text) and text[line.line - 1].strip() == line.text.strip()
