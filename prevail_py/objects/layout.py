"""What a value looks like in memory: a BTF type as plain, finite data.

A layout is what is left of a type once typedefs (but :data:`NETWORK_ORDER`), qualifiers and ids are gone: enough to
turn bytes into a Python value and back (:mod:`prevail_py.objects.values`), independent of the object file, picklable.
All is little-endian.

=============== ========================================================================================
:class:`Scalar`  an integer, a boolean or a floating-point number; pointers are unsigned integers
:class:`Enumeration` an integer whose values have names
:class:`Array`   so many of the same
:class:`Aggregate` a struct, a union, or a section of global variables
:class:`Opaque`  bytes without a known meaning
=============== ========================================================================================

Types come from untrusted files.  A type graph may be deep, cyclic or exponentially large when unfolded, and members may
lie outside of their struct: :func:`layout_of` raises :class:`ObjectError` for what is not a sensible value type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from prevail_py.objects.btf import Btf, BtfType, Kind
from prevail_py.objects.errors import ObjectError

__all__ = [
    "NETWORK_ORDER",
    "Aggregate",
    "Array",
    "Enumeration",
    "Field",
    "Layout",
    "Opaque",
    "Scalar",
    "layout_of",
    "section_layout",
]

NETWORK_ORDER: Final = frozenset({"__be16", "__be32", "__be64"})
"""The one thing that typedefs are kept for: these are the ``name`` of their integers."""

MAX_DEPTH: Final = 32
MAX_PARTS: Final = 1 << 16
"""How many parts a layout may have when it is unfolded, an array counting as one element."""

_POINTER_SIZE: Final = 8
_SIGNED, _BOOL = 1, 4  # BTF_INT_SIGNED, BTF_INT_BOOL


@dataclass(frozen=True, slots=True)
class Scalar:
    """``kind`` is "unsigned", "signed", "bool", "char" (C's plain ``char``, signed), "pointer" or "float"."""

    size: int
    kind: str = "unsigned"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Enumeration:
    """``values`` pairs names with numbers; a number may have several names, the first counts."""

    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Array:
    """``count`` elements one after the other."""

    element: Layout
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.element.size * self.count


class Field(NamedTuple):
    """A member: ``offset`` and ``bits`` in bits, ``bits`` 0 unless it is a bit-field.  Anonymous ones have no name."""

    name: str
    layout: Layout
    offset: int
    bits: int = 0


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A struct or, where ``union``, overlapping members."""

    size: int
    fields: tuple[Field, ...]
    union: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Bytes."""

    size: int


Layout: TypeAlias = Scalar | Enumeration | Array | Aggregate | Opaque


def layout_of(btf: Btf, type: int) -> Layout:
    """The layout of the values of a type.  Raises :class:`ObjectError`."""
    return _Unfolding(btf).of(type)


def section_layout(btf: Btf, datasec: BtfType, size: int, offsets: Sequence[tuple[str, int]]) -> Aggregate:
    """The layout of a section of global variables of ``size`` bytes, whose places symbols tell.

    Variables without a place, or with one that another variable has too, are left out.  Raises :class:`ObjectError`.
    """
    places: dict[str, int] = {}
    ambiguous = set()
    for name, offset in offsets:
        if places.setdefault(name, offset) != offset:
            ambiguous.add(name)
    unfolding = _Unfolding(btf)
    fields = []
    for variable in datasec.variables:
        var = btf.type(variable.type)
        if var.kind is Kind.VAR and var.name in places and var.name not in ambiguous:
            layout = unfolding.of(var.type)
            if places[var.name] + layout.size <= size:
                fields.append(Field(var.name, layout, 8 * places[var.name]))
    fields.sort(key=lambda field: field.offset)
    return Aggregate(size, tuple(fields), union=_overlap(fields), name=datasec.name)


def _overlap(fields: Sequence[Field]) -> bool:
    return any(one.offset + 8 * one.layout.size > next_one.offset for one, next_one in pairwise(fields))


class _Measured(NamedTuple):
    """A layout, of how many parts it is when it is unfolded, and how deep it is nested."""

    layout: Layout
    parts: int = 1
    height: int = 0


class _Unfolding:
    """Layouts in the making: each type is looked at once."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._known: dict[int, _Measured] = {}

    def of(self, type: int) -> Layout:
        return self._measured(type, 0).layout

    def _measured(self, type: int, depth: int) -> _Measured:
        found = self._btf.resolve(type)
        known = self._known.get(found.id)
        if known is None:
            if depth > MAX_DEPTH:  # before the recursion, for the type may contain itself
                raise self._refused(found, f"nested more than {MAX_DEPTH} deep")
            known = self._known[found.id] = self._unfold(found, depth)
            if known.height > MAX_DEPTH:  # what was known before may be reached on a longer way now
                raise self._refused(found, f"nested more than {MAX_DEPTH} deep")
        if found.kind is Kind.INT and isinstance(known.layout, Scalar) and (name := self._order(type)):
            return known._replace(layout=replace(known.layout, name=name))
        return known

    def _order(self, type: int) -> str:
        """The name of the outermost typedef that says network order, of a type that resolves to an integer."""
        while (found := self._btf.type(type)).kind is not Kind.INT:
            if found.kind is Kind.TYPEDEF and found.name in NETWORK_ORDER:
                return found.name
            type = found.type
        return ""

    def _unfold(self, found: BtfType, depth: int) -> _Measured:
        match found.kind:
            case Kind.INT:
                return _Measured(self._integer(found))
            case Kind.FLOAT:
                known = found.size in (4, 8)
                return _Measured(Scalar(found.size, "float", found.name) if known else Opaque(found.size))
            case Kind.PTR:
                return _Measured(Scalar(_POINTER_SIZE, "pointer", self._btf.spell(found.id)))
            case Kind.ENUM | Kind.ENUM64:
                if found.size not in (1, 2, 4, 8):
                    raise self._refused(found, f"an enum of {found.size} bytes")
                values = tuple((value.name, value.value) for value in found.values)
                return _Measured(Enumeration(found.size, found.flag, values, found.name))
            case Kind.ARRAY:
                element, parts, height = self._measured(found.type, depth + 1)
                if element.size == 0:
                    return _Measured(Opaque(0))
                return _Measured(Array(element, found.count), parts + 1, height + 1)
            case Kind.STRUCT | Kind.UNION:
                return self._aggregate(found, depth)
            case _:
                raise self._refused(found, "not the type of a value")

    def _integer(self, found: BtfType) -> Layout:
        encoding, bits = found.encoding >> 24 & 0xF, found.encoding & 0xFF
        if not 0 < found.size <= 16 or bits != 8 * found.size or found.encoding >> 16 & 0xFF:
            # Bit-fields of an integer type of their own, which compilers no longer write.
            return Opaque(found.size)
        if encoding & _BOOL:
            return Scalar(found.size, "bool", found.name)
        if found.size == 1 and found.name == "char":
            return Scalar(1, "char", found.name)
        return Scalar(found.size, "signed" if encoding & _SIGNED else "unsigned", found.name)

    def _aggregate(self, found: BtfType, depth: int) -> _Measured:
        fields, parts, height = [], 1, 0
        for member in found.members:
            layout, count, below = self._measured(member.type, depth + 1)
            parts, height = parts + count, max(height, below + 1)
            if parts > MAX_PARTS:
                raise self._refused(found, f"more than {MAX_PARTS} parts")
            width = member.bits or 8 * layout.size
            if member.bit_offset + width > 8 * found.size:
                raise self._refused(found, f"member {member.name or '(anonymous)'} lies outside of it")
            if member.bits:
                if not isinstance(layout, Scalar | Enumeration) or member.bits > 8 * layout.size:
                    raise self._refused(found, f"member {member.name or '(anonymous)'} is no bit-field")
            elif member.bit_offset % 8:
                raise self._refused(found, f"member {member.name or '(anonymous)'} does not begin with a byte")
            if member.name or isinstance(layout, Aggregate):
                fields.append(Field(member.name, layout, member.bit_offset, member.bits))
        union = found.kind is Kind.UNION
        aggregate = Aggregate(found.size, tuple(fields), union, found.name)
        names = list(_names(aggregate))
        if len(set(names)) != len(names):
            raise self._refused(found, "two members have the same name")
        return _Measured(aggregate, parts, height)

    def _refused(self, found: BtfType, reason: str) -> ObjectError:
        return ObjectError(f"BTF type {found.id} ({self._btf.spell(found.id)})", reason)


def _names(aggregate: Aggregate) -> Iterator[str]:
    """The names of the members, those of anonymous members included."""
    for field in aggregate.fields:
        if field.name:
            yield field.name
        elif isinstance(field.layout, Aggregate):
            yield from _names(field.layout)
