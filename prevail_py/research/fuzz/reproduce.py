"""A finding as a test: a file for pytest that holds the program, what finds the fault, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

from prevail_py.isa.disassembler import listing
from prevail_py.research.fuzz.case import from_document
from prevail_py.research.fuzz.store import Finding

__all__ = ["file_name", "text_of_test", "write_all"]

_TEXT = '''"""{title}

Found by a campaign of prevail-py fuzz, with the seed {seed}{planted}.  The program, made as small as it got:

{listing}

It fails until the fault is mended.
"""

from __future__ import annotations

from prevail_py.research.fuzz import Effort, planting, problems
from prevail_py.research.fuzz.case import from_document

PROGRAM = from_document(
{document}
)

EFFORT = {effort}


def test_{name}() -> None:
    with planting({fault!r}):
        assert problems(PROGRAM, {oracle!r}, EFFORT) == []
'''


def file_name(finding: Finding) -> str:
    """The name of the file of a finding: the same for the same signature."""
    return f"test_finding_{_short(finding)}.py"


def _short(finding: Finding) -> str:
    return hashlib.sha256(finding.signature.encode()).hexdigest()[:10]


def text_of_test(finding: Finding, seed: int = 0, planted: str | None = None) -> str:
    """The text of the file; with a fault that was ``planted``, which it plants again."""
    program = from_document(finding.smallest)
    code = "\n".join(f"    {line}".rstrip() for line in listing(program.code).splitlines())
    return _TEXT.format(
        title=" ".join(f"{finding.problem.kind}: {finding.problem.message}".split())
        .replace("\\", "\\\\")
        .replace('"', "'")[:110],
        seed=seed,
        planted="" if planted is None else f", with the fault {planted} planted",
        listing=code.replace("\\", "\\\\"),
        document=_indented(finding.smallest),
        effort=repr(finding.effort),
        name=f"finding_{_short(finding)}",
        fault=planted,
        oracle=finding.problem.oracle,
    )


def _indented(document: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(document))
    return "\n".join(f"    {line}" for line in pformat(plain, width=110, sort_dicts=False).splitlines())


def write_all(findings: list[Finding], folder: Path, seed: int = 0, planted: str | None = None) -> list[Path]:
    """Write a file for each finding.  Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for finding in findings:
        path = folder / file_name(finding)
        path.write_text(text_of_test(finding, seed, planted), encoding="utf-8")
        written.append(path)
    return written
