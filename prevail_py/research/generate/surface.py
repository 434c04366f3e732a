"""What a program type offers to generated programs: its context, its packet, its helpers, its results.

All of it is read off the tables of the platform, so a new program type there is a new one here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from prevail_py.platforms import platform
from prevail_py.platforms.model import ArgKind, ContextField, FieldKind, HelperPrototype, ProgramType, ReturnKind

__all__ = ["PROGRAM_TYPES", "XDP", "Field", "Surface", "surface"]

MOST_MEMORY: Final = 64
"""Helpers are handed at most this many bytes of the stack."""

_PLAIN: Final = frozenset(
    {
        ArgKind.ANYTHING,
        ArgKind.SCALAR,
        ArgKind.CTX,
        ArgKind.CTX_OR_NULL,
        ArgKind.MEM_READ,
        ArgKind.MEM_READ_OR_NULL,
        ArgKind.MEM_WRITE,
        ArgKind.MEM_READ_WRITE,
        ArgKind.MEM_READ_WRITE_OR_NULL,
        ArgKind.FIXED_MEM,
        ArgKind.SIZE,
        ArgKind.SIZE_OR_ZERO,
    }
)
"""Arguments that can be made of numbers, the context and the stack."""

_SOCKETS: Final = frozenset({FieldKind.SOCK, FieldKind.SOCK_OR_NULL, FieldKind.SOCK_COMMON_OR_NULL})
_MOST_FIELDS: Final = 24


@dataclass(frozen=True, slots=True)
class Field:
    """A scalar field of the context, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Surface:
    """One program type, as the grammar sees it.

    ``data``, ``end`` and ``meta`` are the context's packet pointers, None where there is none.  ``movers`` are helpers
    that move the packet, called with the context and a number; ``helpers`` are called by their prototypes.  ``result``
    has the bounds of R0 at the end, None for any number.  ``sockets`` are fields of the context that lead to one, and
    ``socket_helpers`` take one and numbers.
    """

    program_type: str
    section: str
    attach_type: str
    reads: tuple[Field, ...]
    writes: tuple[Field, ...]
    data: ContextField | None
    end: ContextField | None
    meta: ContextField | None
    writes_packet: bool
    movers: tuple[int, ...]
    helpers: tuple[HelperPrototype, ...]
    result: tuple[int, int] | None
    sockets: tuple[ContextField, ...] = ()
    socket_helpers: tuple[HelperPrototype, ...] = ()


XDP: Final = Surface(
    "xdp",
    "xdp",
    "",
    (Field(12, 4),),
    (),
    ContextField(0, 4, FieldKind.PACKET),
    ContextField(4, 4, FieldKind.PACKET_END),
    ContextField(8, 4, FieldKind.PACKET_META),
    True,
    (44, 54, 65),
    (),
    None,
)
"""What the programs by number (:func:`prevail_py.research.generate.program`) know of XDP."""


@cache
def surface(program_type: str) -> Surface:
    """The surface of a program type.  Raises ValueError, naming those there are, for one without."""
    if program_type not in PROGRAM_TYPES:
        raise ValueError(f"no programs of type {program_type!r} (there are: {', '.join(PROGRAM_TYPES)})")
    linux = platform("linux")
    rules = [rule for rule in linux.sections if rule.program_type == program_type and not rule.sleepable]
    rule = min(rules, key=lambda rule: (rule.frags, len(rule.pattern)))
    kind = linux.program_type(program_type, rule.attach_type)
    pointers = {field.kind: field for field in kind.pointer_fields} if kind.has_direct_packet else {}
    pointers = pointers if FieldKind.PACKET in pointers and FieldKind.PACKET_END in pointers else {}
    helpers = _helpers(program_type, rule.attach_type, rule.pattern)
    return Surface(
        program_type,
        rule.pattern.removesuffix("+"),
        rule.attach_type,
        _fields(kind, write=False),
        _fields(kind, write=True),
        pointers.get(FieldKind.PACKET),
        pointers.get(FieldKind.PACKET_END),
        pointers.get(FieldKind.PACKET_META),
        kind.read_write_packet,
        tuple(
            helper.id
            for helper in helpers
            if helper.changes_packet and [each.kind for each in helper.args] == [ArgKind.CTX, ArgKind.ANYTHING]
        ),
        tuple(helper for helper in helpers if not helper.changes_packet),
        kind.return_range,
        _sockets(kind),
        _socket_helpers(program_type, rule.attach_type, rule.pattern),
    )


def _sockets(kind: ProgramType) -> tuple[ContextField, ...]:
    return tuple(ContextField(row.first, row.size, row.kind) for row in kind.reads if row.kind in _SOCKETS)


def _fields(kind: ProgramType, write: bool) -> tuple[Field, ...]:
    """Some scalar fields, spread over the context."""
    rows = kind.writes if write else kind.reads
    found = [
        Field(offset, row.size)
        for row in rows
        if row.kind is FieldKind.SCALAR
        for offset in range(row.first, min(row.last, row.first + 64 * row.size) + 1, row.size)
    ]
    found.sort(key=lambda field: (field.offset, field.size))
    return tuple(found[:: max(len(found) // _MOST_FIELDS, 1)][:_MOST_FIELDS])


def _helpers(program_type: str, attach_type: str, pattern: str) -> tuple[HelperPrototype, ...]:
    """The helpers that take nothing else than :data:`_PLAIN` arguments, and give a number."""
    return tuple(
        helper
        for helper in _available(program_type, attach_type, pattern)
        if helper.returns in (ReturnKind.INTEGER, ReturnKind.VOID)
        and all(argument.kind in _PLAIN and (argument.size or 0) <= MOST_MEMORY for argument in helper.args)
    )


def _socket_helpers(program_type: str, attach_type: str, pattern: str) -> tuple[HelperPrototype, ...]:
    """The helpers that take a socket, and numbers behind it."""
    return tuple(
        helper
        for helper in _available(program_type, attach_type, pattern)
        if helper.args
        and helper.args[0].kind is ArgKind.SOCK_COMMON
        and not helper.args[0].releases
        and all(argument.kind in (ArgKind.ANYTHING, ArgKind.SCALAR) for argument in helper.args[1:])
    )


def _available(program_type: str, attach_type: str, pattern: str) -> Iterator[HelperPrototype]:
    """The helpers of a program type that are implemented here, but for those that give what is to be given back."""
    from prevail_py.vm.helpers.table import HELPERS

    linux = platform("linux")
    for number in linux.helper_ids():
        helper = linux.helper(number, program_type)
        if (
            helper is not None
            and helper.name in HELPERS
            and not helper.acquires
            and not linux.unavailable(number, program_type, attach_type, pattern.removesuffix("+"))
        ):
            yield helper


def _generated() -> tuple[str, ...]:
    linux = platform("linux")
    types = {rule.program_type for rule in linux.sections if not rule.sleepable}
    return tuple(
        sorted(
            name
            for name, kind in linux.program_types.items()
            if kind.context_known and name in linux.measured_types and name in types
        )
    )


PROGRAM_TYPES: Final = _generated()
"""The program types of which programs can be generated: those whose context and helpers were measured."""
