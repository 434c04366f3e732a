"""Programs as documents: content-addressed, to be kept in a database, sent to a worker, and written into a test.

>>> from prevail_py.objects.text import assemble
>>> program = assemble("r0 = 7\\nexit")
>>> from_document(to_document(program)).code == program.code
True
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from prevail_py.isa.decode import decode
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Instruction
from prevail_py.objects.program import MapSpec, Program

__all__ = ["digest", "from_document", "to_document"]


def to_document(program: Program) -> dict[str, Any]:
    """What a generated program consists of, fit for JSON.  Raises ValueError for what has no encoding.

    Not for programs of object files: source lines, subprograms' names and what loading found out are left out.
    """
    return {
        "program_type": program.program_type,
        "section": program.section,
        "attach_type": program.expected_attach_type,
        "code": encode(program.code).hex(),
        "maps": [_map(spec) for spec in program.maps],
    }


def _map(spec: MapSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"name": spec.name, "type": spec.type, "key_size": spec.key_size}
    found |= {"value_size": spec.value_size, "max_entries": spec.max_entries}
    if spec.flags:
        found["flags"] = spec.flags
    if spec.initial is not None:
        found["initial"] = spec.initial.hex()
    if spec.read_only:
        found["read_only"] = True
    return found


def from_document(document: Mapping[str, Any], name: str = "generated") -> Program:
    """The program of a document.  Raises ValueError (``DecodeError``) for code that is none."""
    code: tuple[Instruction | None, ...] = decode(bytes.fromhex(document["code"]))
    maps = tuple(
        MapSpec(**{**each, "initial": bytes.fromhex(each["initial"]) if "initial" in each else None})
        for each in document["maps"]
    )
    return Program(
        name,
        document["section"],
        document["program_type"],
        code,
        maps,
        licence="GPL",
        expected_attach_type=document["attach_type"],
    )


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document, whatever the order of its members."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
