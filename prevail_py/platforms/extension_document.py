"""What a document of an extension says: :func:`parse`, strict and with the place of each mistake.

A document is JSON.  It can say no more than what verifier and machine know how to treat for any program type: numbers
and packets in contexts, plain memory for helpers, maps that are like a hash or an array.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from prevail_py.platforms.extensions import FIRST_NUMBER, ExtensionError
from prevail_py.platforms.model import (
    ArgKind,
    ContextAccess,
    FieldKind,
    HelperArg,
    HelperPrototype,
    MapType,
    ProgramType,
    ReturnKind,
    SectionRule,
)

__all__ = ["GENERAL_HELPERS", "MAX_DOCUMENT", "Extension", "parse"]

SCHEMA: Final = 1
MAX_DOCUMENT: Final = 1 << 20
_LAST_NUMBER: Final = 0x7FFFFFFF
_MAX_CONTEXT: Final = 4096
_MAX_ARGUMENTS: Final = 5

_GENERAL: Final = """
map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem ktime_get_ns ktime_get_boot_ns
ktime_get_coarse_ns jiffies64 get_prandom_u32 get_smp_processor_id ringbuf_output ringbuf_reserve ringbuf_submit
ringbuf_discard ringbuf_query tail_call loop strncmp strtol strtoul snprintf
"""
GENERAL_HELPERS: Final = frozenset("bpf_" + name for name in _GENERAL.split())
"""Helpers of a platform that mean the same to programs of any type, so that an extension may offer them to its own."""

_FIELDS: Final = {kind.name: kind for kind in (FieldKind.SCALAR, FieldKind.PACKET, FieldKind.PACKET_END)}
_ACCESS: Final = {
    ArgKind.MEM_READ: (True, False),
    ArgKind.MEM_READ_OR_NULL: (True, False),
    ArgKind.MEM_WRITE: (False, True),
    ArgKind.MEM_READ_WRITE: (True, True),
    ArgKind.MAP_KEY: (True, False),
    ArgKind.MAP_VALUE: (True, False),
}
"""Whether arguments of these kinds are read and written."""
_ARGUMENTS: Final = {
    kind.name: kind for kind in (*_ACCESS, ArgKind.SCALAR, ArgKind.CTX, ArgKind.MAP, ArgKind.SIZE, ArgKind.SIZE_OR_ZERO)
}
_RETURNS: Final = {kind.name: kind for kind in (ReturnKind.INTEGER, ReturnKind.VOID)}
_LIKE: Final = ("hash", "array")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SECTION: Final = re.compile(r"[a-z][a-z0-9_./]{0,62}\+?")


@dataclass(frozen=True, slots=True)
class Extension:
    """What a document says.

    ``offered`` are the helpers of the platform that programs of each type may call, by the type's name.  ``document``
    is the text itself.
    """

    name: str
    platform: str
    program_types: tuple[ProgramType, ...]
    attach_types: Mapping[str, int]
    sections: tuple[SectionRule, ...]
    helpers: tuple[HelperPrototype, ...]
    map_types: tuple[MapType, ...]
    offered: Mapping[str, frozenset[str]]
    document: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a document something is, for messages."""

    text: str

    def __truediv__(self, name: object) -> _Place:
        return _Place(f"{self.text}[{name}]" if isinstance(name, int) else f"{self.text}.{name}".lstrip("."))

    def wrong(self, reason: str) -> ExtensionError:
        return ExtensionError(f"{self.text}: {reason}" if self.text else reason)


def parse(text: str) -> Extension:
    """What a document says.  Raises :class:`ExtensionError` with the place for one that does not keep to the format.

    ``schema`` is 1; ``name`` that of the extension, ``platform`` that of the platform that it extends.  The rest may be
    left out: ``program_types`` (``name``, ``number``, ``context_size``, ``context_struct``, ``reads`` and ``writes`` as
    rows of size, first and last offset and, for pointers, PACKET or PACKET_END, ``return_range`` as two numbers or
    null, ``packet`` as ``""``, ``"r"`` or ``"rw"``, ``helpers``), ``attach_types`` (numbers by name), ``sections``
    (rows of pattern, program type and attach type), ``helpers`` (``id``, ``name``, ``args`` as names of
    :class:`ArgKind`, FIXED_MEM as a row with size and access, ``returns``, ``program_types``), ``map_types``
    (``number``, ``name``, ``like``: hash or array).
    """
    if len(text) > MAX_DOCUMENT:
        raise ExtensionError(f"more than {MAX_DOCUMENT} characters")
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ExtensionError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ExtensionError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    top = _Place("")
    lists = dict.fromkeys(("program_types", "sections", "helpers", "map_types"), list)
    got = _object(top, value, {"schema": int, "name": str, "platform": str}, {**lists, "attach_types": dict})
    if got["schema"] != SCHEMA:
        raise (top / "schema").wrong(f"{got['schema']}, not {SCHEMA}")
    types = [_program_type(top / "program_types" / i, each) for i, each in enumerate(got["program_types"] or ())]
    names = [type.name for type, _ in types]
    attach_types = got["attach_types"] or {}
    for name, number in attach_types.items():
        _named(top / "attach_types", name)
        _numbered(top / "attach_types" / name, number)
    return Extension(
        name=_named(top / "name", got["name"]),
        platform=got["platform"],
        program_types=tuple(type for type, _ in types),
        attach_types=attach_types,
        sections=tuple(
            _section(top / "sections" / i, each, names, attach_types) for i, each in enumerate(got["sections"] or ())
        ),
        helpers=tuple(_helper(top / "helpers" / i, each, names) for i, each in enumerate(got["helpers"] or ())),
        map_types=tuple(_map_type(top / "map_types" / i, each) for i, each in enumerate(got["map_types"] or ())),
        offered={type.name: offered for type, offered in types},
        document=text,
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ExtensionError("a name that is there twice")
    return found


def _typed(place: _Place, value: Any, wanted: type) -> Any:
    if type(value) is not wanted:
        words = {int: "a whole number", str: "text", list: "a list", dict: "an object"}
        raise place.wrong(f"{words[wanted]} is wanted")
    return value


def _object(place: _Place, value: Any, wanted: Mapping[str, type], optional: Mapping[str, type]) -> dict[str, Any]:
    got = _typed(place, value, dict)
    for name in got:
        if name not in wanted and name not in optional:
            raise place.wrong(f"{name!r} is not known here")
    for name in wanted:
        if name not in got:
            raise place.wrong(f"{name!r} is missing")
    found = {name: _typed(place / name, got[name], kind) for name, kind in wanted.items()}
    for name, kind in optional.items():
        found[name] = None if got.get(name) is None else _typed(place / name, got[name], kind)
    return found


def _named(place: _Place, value: Any) -> str:
    text: str = _typed(place, value, str)
    if not _NAME.fullmatch(text):
        raise place.wrong(f"{text!r} is no name: small letters, digits and underscores, a letter first")
    return text


def _numbered(place: _Place, value: Any) -> int:
    number: int = _typed(place, value, int)
    if not FIRST_NUMBER <= number <= _LAST_NUMBER:
        raise place.wrong(f"{number}: numbers of extensions are {FIRST_NUMBER:#x} to {_LAST_NUMBER:#x}")
    return number


def _chosen(place: _Place, value: Any, known: Iterable[str]) -> str:
    text: str = _typed(place, value, str)
    if text not in known:
        raise place.wrong(f"{text!r} is none of {', '.join(sorted(known))}")
    return text


def _program_type(place: _Place, value: Any) -> tuple[ProgramType, frozenset[str]]:
    wanted = {"name": str, "number": int, "context_size": int, "reads": list}
    optional = {"context_struct": str, "writes": list, "return_range": list, "packet": str, "helpers": list}
    got = _object(place, value, wanted, optional)
    size = got["context_size"]
    if not 0 < size <= _MAX_CONTEXT:
        raise (place / "context_size").wrong(f"1 to {_MAX_CONTEXT} bytes")
    reads = [_access(place / "reads" / i, row, size) for i, row in enumerate(got["reads"])]
    writes = [_access(place / "writes" / i, row, size) for i, row in enumerate(got["writes"] or ())]
    _separate(place, reads, writes)
    packet = _chosen(place / "packet", got["packet"] or "", ("", "r", "rw"))
    kinds = {row.kind for row in reads} - {FieldKind.SCALAR}
    if kinds != ({FieldKind.PACKET, FieldKind.PACKET_END} if packet else set()):
        raise (place / "packet").wrong("a packet needs fields for its start and its end, and they need a packet")
    bounds = got["return_range"]
    if bounds is not None and not (
        len(bounds) == 2
        and all(type(each) is int and abs(each) < 1 << 62 for each in bounds)
        and bounds[0] <= bounds[1]
    ):
        raise (place / "return_range").wrong("two whole numbers are wanted, the smaller one first")
    offered = frozenset(
        _chosen(place / "helpers" / i, each, GENERAL_HELPERS) for i, each in enumerate(got["helpers"] or ())
    )
    made = ProgramType(
        name=_named(place / "name", got["name"]),
        number=_numbered(place / "number", got["number"]),
        context_size=size,
        context_struct="" if got["context_struct"] is None else _named(place / "context_struct", got["context_struct"]),
        reads=tuple(reads),
        writes=tuple(writes),
        return_range=None if bounds is None else (bounds[0], bounds[1]),
        has_direct_packet=bool(packet),
        read_write_packet=packet == "rw",
    )
    return made, offered


def _access(place: _Place, value: Any, context_size: int) -> ContextAccess:
    row = _typed(place, value, list)
    if len(row) not in (3, 4):
        raise place.wrong("size, first and last offset, and the kind of a pointer are wanted")
    size, first, last = (_typed(place / i, each, int) for i, each in enumerate(row[:3]))
    if size not in (1, 2, 4, 8) or not 0 <= first <= last <= context_size - size or (last - first) % size:
        raise place.wrong("no accesses of 1, 2, 4 or 8 bytes within the context, one after the other")
    return ContextAccess(size, first, last, _FIELDS[_chosen(place / 3, row[3] if len(row) == 4 else "SCALAR", _FIELDS)])


def _separate(place: _Place, reads: Sequence[ContextAccess], writes: Sequence[ContextAccess]) -> None:
    """A pointer's bytes are nothing else's: read as a number they tell an address, written they make one."""
    if any(row.kind is not FieldKind.SCALAR for row in writes):
        raise (place / "writes").wrong("pointers are not written")
    pointers = [row for row in reads if row.kind is not FieldKind.SCALAR]
    for row in pointers:
        if row.first != row.last or row.size not in (4, 8):
            raise (place / "reads").wrong("a pointer is one field of 4 or 8 bytes")
        for other in (*reads, *writes):
            if other is not row and other.first < row.first + row.size and row.first < other.last + other.size:
                raise place.wrong(f"the pointer at offset {row.first} shares bytes with another field")


def _section(place: _Place, value: Any, types: Sequence[str], attach_types: Mapping[str, int]) -> SectionRule:
    row = _typed(place, value, list)
    if len(row) != 3:
        raise place.wrong("pattern, program type and attach type are wanted")
    pattern = _typed(place / 0, row[0], str)
    if not _SECTION.fullmatch(pattern):
        raise (place / 0).wrong(f"{pattern!r} is no pattern of section names")
    return SectionRule(pattern, _chosen(place / 1, row[1], types), _chosen(place / 2, row[2], ("", *attach_types)))


def _helper(place: _Place, value: Any, types: Sequence[str]) -> HelperPrototype:
    wanted = {"id": int, "name": str, "args": list, "returns": str, "program_types": list}
    got = _object(place, value, wanted, {})
    args = tuple(_argument(place / "args" / i, each) for i, each in enumerate(got["args"]))
    if len(args) > _MAX_ARGUMENTS:
        raise (place / "args").wrong(f"at most {_MAX_ARGUMENTS}")
    sizes = (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO)
    for i, (arg, following) in enumerate(pairwise((None, *args, None))):
        if (arg is not None and arg.is_sized_memory) != (following is not None and following.kind in sizes):
            raise (place / "args" / min(i, len(args) - 1)).wrong("memory is followed by its size, and nothing else is")
    if any(arg.kind in (ArgKind.MAP_KEY, ArgKind.MAP_VALUE) for arg in args) and args[0].kind is not ArgKind.MAP:
        raise (place / "args").wrong("a key or value needs the map as first argument")
    if not got["program_types"]:
        raise (place / "program_types").wrong("nobody may call it")
    return HelperPrototype(
        id=_numbered(place / "id", got["id"]),
        name=_named(place / "name", got["name"]),
        args=args,
        returns=_RETURNS[_chosen(place / "returns", got["returns"], _RETURNS)],
        program_types=frozenset(
            _chosen(place / "program_types" / i, each, types) for i, each in enumerate(got["program_types"])
        ),
    )


def _argument(place: _Place, value: Any) -> HelperArg:
    if type(value) is list:
        if len(value) != 3 or value[0] != "FIXED_MEM":
            raise place.wrong("FIXED_MEM, its size and its access are wanted")
        size = _typed(place / 1, value[1], int)
        if not 0 < size <= _MAX_CONTEXT:
            raise (place / 1).wrong(f"1 to {_MAX_CONTEXT} bytes")
        access = _chosen(place / 2, value[2], ("r", "w", "rw"))
        return HelperArg(ArgKind.FIXED_MEM, size, reads="r" in access, writes="w" in access)
    kind = _ARGUMENTS[_chosen(place, value, _ARGUMENTS)]
    reads, writes = _ACCESS.get(kind, (False, False))
    return HelperArg(kind, reads=reads, writes=writes)


def _map_type(place: _Place, value: Any) -> MapType:
    got = _object(place, value, {"number": int, "name": str, "like": str}, {})
    like = _chosen(place / "like", got["like"], _LIKE)
    return MapType(
        _numbered(place / "number", got["number"]), _named(place / "name", got["name"]), index_key=like == "array"
    )
