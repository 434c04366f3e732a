"""Linux: tables as data and the :class:`~prevail_py.platforms.model.Platform` made of them."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from prevail_py.platforms.linux.availability import ATTACH_TYPES_OF_HELPERS
from prevail_py.platforms.linux.kernel_objects import OBJECTS
from prevail_py.platforms.linux.map_types import BOUND_HELPERS, MAP_TYPES
from prevail_py.platforms.linux.program_types import ATTACH_RULES, ATTACH_TYPES, HOOK_RULES, PROGRAM_TYPES
from prevail_py.platforms.linux.sections import SECTIONS
from prevail_py.platforms.model import (
    ArgKind,
    ContextAccess,
    FieldKind,
    HelperArg,
    HelperPrototype,
    Platform,
    ProgramType,
    ReturnKind,
)

__all__ = ["build"]


def build() -> Platform:
    """The Linux platform (6.12 prototypes, 6.18 measurements, x86-64 contexts)."""
    contexts = json.loads(_text("contexts.json"))
    return Platform(
        name="linux",
        program_types={name: _program_type(name, contexts.get(name)) for name in PROGRAM_TYPES},
        attach_types=ATTACH_TYPES,
        attach_rules=ATTACH_RULES,
        hook_rules=HOOK_RULES,
        sections=SECTIONS,
        map_types=MAP_TYPES,
        load_helpers=_helpers,
        objects=OBJECTS,
        bound_helpers=BOUND_HELPERS,
        attach_types_of_helpers=ATTACH_TYPES_OF_HELPERS,
        measured_types=frozenset(contexts),
    )


def _text(name: str) -> str:
    data = pkgutil.get_data(__name__, name)
    assert data is not None, f"{name} is missing from the installation"
    return data.decode()


def _program_type(name: str, context: Mapping[str, Any] | None) -> ProgramType:
    row = PROGRAM_TYPES[name]
    return ProgramType(
        name=name,
        number=row.number,
        context_size=row.size,
        context_struct=row.context,
        context_known=context is not None,
        reads=_accesses(context["read"]) if context else (),
        writes=_accesses(context["write"]) if context else (),
        return_range=row.returns,
        has_direct_packet=row.packet != "",
        read_write_packet=row.packet == "rw",
    )


def _accesses(rows: Sequence[Sequence[Any]]) -> tuple[ContextAccess, ...]:
    return tuple(
        ContextAccess(size, first, last, FieldKind[kind[0]] if kind else FieldKind.SCALAR)
        for size, first, last, *kind in rows
    )


def _helpers() -> dict[int, list[tuple[frozenset[str] | None, HelperPrototype]]]:
    sets: dict[str | None, frozenset[str] | None] = {None: None}
    args: dict[str, HelperArg] = {}
    table = {}
    for row in json.loads(_text("helpers.json")):
        pairs = []
        for entry in row["prototypes"]:
            prototype = HelperPrototype(
                id=row["id"],
                name=row["name"],
                args=tuple(args[text] if text in args else args.setdefault(text, _arg(text)) for text in entry["args"]),
                returns=ReturnKind[entry["returns"]],
                gpl_only=entry.get("gpl_only", False),
                changes_packet=row.get("changes_packet", False),
                packet_access=entry.get("pkt_access", False),
                acquires=row.get("acquires", False),
                might_sleep=entry.get("might_sleep", False),
                program_types=_names(row.get("callers"), sets),
                structure=entry.get("structure", ""),
            )
            pairs.append((_names(entry.get("only"), sets), prototype))
        table[row["id"]] = pairs
    return table


def _names(mask: str | None, known: dict[str | None, frozenset[str] | None]) -> frozenset[str] | None:
    if mask not in known:
        bits = int(mask or "0", 16)
        known[mask] = frozenset(name for name, row in PROGRAM_TYPES.items() if bits >> row.number & 1)
    return known[mask]


def _arg(text: str) -> HelperArg:
    kind, flags, size, structure = (*text.split(), *("", "0", "")[text.count(" ") :])
    return HelperArg(
        kind=ArgKind[kind],
        size=int(size) or None,
        releases="R" in flags,
        reads="r" in flags,
        writes="w" in flags,
        aligned="a" in flags,
        structure=structure,
    )
