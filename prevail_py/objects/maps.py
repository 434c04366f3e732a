"""Map definitions of an object: ``.maps`` (described by BTF), legacy ``maps`` sections, global data.

Global data becomes, as libbpf does it, an array map with one element that holds the section: it is called like the
section (``.rodata``, ``.data.counters``), not ``object.rodata``, so that names do not depend on the file's name.
``max_entries`` stays 0 where libbpf fills in a fact about the host (the CPU count of a perf event array).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from prevail_py.objects.btf import Btf, BtfType, Kind
from prevail_py.objects.container import Container, Section, Symbol, SymbolType
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.layout import Layout, layout_of, section_layout
from prevail_py.objects.program import MapSpec
from prevail_py.platforms.model import LookupResult, Platform

__all__ = ["MapTable", "collect_maps"]

RDONLY_PROG: Final = 1 << 7  # BPF_F_RDONLY_PROG
MMAPABLE: Final = 1 << 10  # BPF_F_MMAPABLE
MAX_DATA: Final = 64 << 20
_ARRAY: Final = 2
_EXTERN: Final = 2  # BTF_VAR_GLOBAL_EXTERN
_LEGACY: Final = struct.Struct("<IIIII")

# Structures in a map value that only helpers may touch (btf.c: btf_get_field_type), and pointers tagged as kptrs.
_SPECIAL: Final = frozenset(
    f"bpf_{name}"
    for name in ("spin_lock", "res_spin_lock", "timer", "wq", "task_work", "refcount",
                 "list_head", "list_node", "rb_root", "rb_node")
)  # fmt: skip
_KPTR_TAGS: Final = frozenset(["kptr", "kptr_untrusted", "percpu_kptr", "uptr"])


@dataclass(slots=True)
class MapTable:
    """The maps of an object in order, where they are, and what about them is not modelled.

    ``at`` finds a map by section index and offset of its definition, ``data`` the map made of a whole section.
    ``special`` lists features of a map's value, by map number; ``notes`` what was left out.
    """

    maps: list[MapSpec] = field(default_factory=list)
    at: dict[tuple[int, int], int] = field(default_factory=dict)
    data: dict[int, int] = field(default_factory=dict)
    special: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, spec: MapSpec, special: str = "") -> int:
        """Append a map; its number."""
        self.maps.append(spec)
        if special:
            self.special[len(self.maps) - 1] = special
        return len(self.maps) - 1


def collect_maps(container: Container, btf: Btf | None, platform: Platform) -> MapTable:
    """All maps of an object.  Raises :class:`ObjectError`."""
    table = MapTable()
    names: set[str] = set()
    for section in container.sections:
        if section.name == ".maps":
            _btf_maps(table, container, section, btf, platform)
        elif section.name == "maps" or section.name.startswith("maps/"):
            _legacy_maps(table, container, section, platform)
    for spec in table.maps:
        if spec.name in names:
            raise ObjectError(f"map {spec.name}", "defined twice")
        names.add(spec.name)
    _global_data(table, container, btf)
    return table


def _defined(container: Container, section: Section) -> Iterator[tuple[str, Symbol]]:
    """The named symbols of a section, by offset."""
    for symbol in container.symbols_in(section):
        if symbol.type in (SymbolType.NOTYPE, SymbolType.OBJECT):
            name = container.symbol_name(symbol)
            if name:
                yield name, symbol


def _btf_maps(table: MapTable, container: Container, section: Section, btf: Btf | None, platform: Platform) -> None:
    if btf is None:
        raise ObjectError("section .maps", "map definitions without BTF")
    datasec = btf.datasec(section.name)
    if datasec is None:
        raise ObjectError("section .maps", "not described in BTF")
    # Offsets in DATASEC are 0 until a linker has run: the symbols know better.
    symbols = dict(_defined(container, section))
    found = []
    for variable in datasec.variables:
        var = btf.type(variable.type)
        if var.kind is not Kind.VAR:
            raise ObjectError("section .maps", f"BTF type {var.id} in its DATASEC is {var.kind.name}, not VAR")
        if var.linkage == _EXTERN:
            # Another object defines it, for a static linker to find: what refers to it is unsupported.
            table.notes.append(f"map {var.name}: defined by another object")
            continue
        if var.name not in symbols:
            raise ObjectError(f"map {var.name}", "no symbol of that name in .maps")
        found.append((symbols[var.name].value, var))
    for offset, var in sorted(found, key=lambda item: item[0]):
        place = f"map {var.name}"
        definition = btf.resolve(var.type)
        if definition.kind is not Kind.STRUCT:
            raise ObjectError(place, f"defined by {btf.spell(var.type)}, not by a struct")
        if (section.index, offset) in table.at:
            raise ObjectError(place, "shares its place with another map")
        spec = _definition(btf, var.name, definition, platform, table.notes, inner=False)
        table.at[section.index, offset] = table.add(spec, _special_fields(btf, spec.value_btf))
    relocations = container.relocations.get(section.index, [])
    if relocations:
        table.notes.append(f"section .maps: {len(relocations)} initial elements are not modelled, maps start empty")


def _definition(
    btf: Btf, name: str, definition: BtfType, platform: Platform, notes: list[str], *, inner: bool
) -> MapSpec:
    place = f"map {name}"
    numbers = dict.fromkeys(("type", "key_size", "value_size", "max_entries", "map_flags", "pinning", "map_extra"), 0)
    given: set[str] = set()
    types = {"key": 0, "value": 0}
    template: MapSpec | None = None
    for member in definition.members:
        if member.name in given:
            raise ObjectError(place, f"{member.name} is given twice")
        given.add(member.name)
        if member.name == "map_extra":
            numbers[member.name] = _long_number(btf, member.type, f"{place} {member.name}")
        elif member.name in numbers:
            numbers[member.name] = _number(btf, member.type, f"{place} {member.name}")
        elif member.name in types:
            pointer = btf.resolve(member.type)
            if pointer.kind is not Kind.PTR:
                raise ObjectError(place, f"{member.name} is {btf.spell(member.type)}, not a pointer")
            types[member.name] = pointer.type
        elif member.name == "values":
            if inner:
                raise ObjectError(place, "a map in a map in a map")
            template = _inner(btf, name, member.type, platform, notes)
        elif member.name == "numa_node":
            notes.append(f"{place}: {member.name} is not modelled")
        else:
            raise ObjectError(place, f"unknown attribute {member.name!r}")
    kind = platform.map_number(numbers["type"])
    if platform.map_type(kind) is None:
        raise ObjectError(place, f"unknown map type {numbers['type']}")
    numbers["type"] = kind
    sizes = {}
    for what, type in types.items():
        size = numbers[f"{what}_size"]
        if type:
            size = btf.size_of(type)
            if f"{what}_size" in given and numbers[f"{what}_size"] != size:
                raise ObjectError(
                    place, f"{what}_size {numbers[f'{what}_size']} differs from the {what}'s {size} bytes"
                )
        if size >= 1 << 32:
            raise ObjectError(place, f"a {what} of {size} bytes")
        sizes[what] = size
    if "values" in given or _holds_maps(platform, numbers["type"]):
        sizes["value"] = sizes["value"] or 4
    return MapSpec(
        name=name,
        type=numbers["type"],
        key_size=sizes["key"],
        value_size=sizes["value"],
        max_entries=numbers["max_entries"],
        flags=numbers["map_flags"],
        inner=template,
        read_only=False,
        pinning=numbers["pinning"],
        key_btf=types["key"],
        value_btf=types["value"],
        extra=numbers["map_extra"],
        key_layout=_layout(btf, types["key"], f"{place} key", notes),
        value_layout=_layout(btf, types["value"], f"{place} value", notes),
    )


def _layout(btf: Btf, type: int, place: str, notes: list[str]) -> Layout | None:
    """How a key or value of the type looks; None, with a note, where the type makes no sense for one."""
    if type == 0:
        return None
    try:
        return layout_of(btf, type)
    except ObjectError as error:
        notes.append(f"{place}: shown as bytes: {error}")
        return None


def _holds_maps(platform: Platform, number: int) -> bool:
    found = platform.map_type(number)
    return found is not None and found.lookup is LookupResult.MAP


def _inner(btf: Btf, name: str, type: int, platform: Platform, notes: list[str]) -> MapSpec | None:
    """The template of a map-in-map; None for the slots of a program array."""
    values = btf.resolve(type)
    if values.kind is not Kind.ARRAY:
        raise ObjectError(f"map {name}", f"values is {btf.spell(type)}, not an array of pointers")
    pointer = btf.resolve(values.type)
    if pointer.kind is not Kind.PTR:
        raise ObjectError(f"map {name}", f"values is {btf.spell(type)}, not an array of pointers")
    pointee = btf.resolve(pointer.type)
    if pointee.kind is Kind.FUNC_PROTO:
        return None
    if pointee.kind is not Kind.STRUCT:
        raise ObjectError(f"map {name}", f"values are pointers to {btf.spell(pointer.type)}, not to a map definition")
    return _definition(btf, f"{name}.inner", pointee, platform, notes, inner=True)


def _number(btf: Btf, type: int, place: str) -> int:
    """The number that ``int (*member)[number]`` stands for."""
    pointer = btf.resolve(type)
    if pointer.kind is Kind.PTR:
        array = btf.resolve(pointer.type)
        if array.kind is Kind.ARRAY:
            return array.count
    raise ObjectError(place, f"{btf.spell(type)} is not the form that holds a number")


def _long_number(btf: Btf, type: int, place: str) -> int:
    """A number of up to 64 bits: that, or ``enum { unique = number } member`` (``__ulong``)."""
    resolved = btf.resolve(type)
    if resolved.kind not in (Kind.ENUM, Kind.ENUM64):
        return _number(btf, type, place)
    if len(resolved.values) != 1:
        raise ObjectError(place, f"an enumeration of {len(resolved.values)} values, not of one")
    return resolved.values[0].value & ((1 << 64) - 1)


def _legacy_maps(table: MapTable, container: Container, section: Section, platform: Platform) -> None:
    """``struct bpf_map_def``: type, key size, value size, entries, flags, each 32 bits; iproute2 appends more."""
    symbols = list(_defined(container, section))
    if not symbols:
        if section.size:
            raise ObjectError(f"section {section.name}", "map definitions without symbols")
        return
    if platform.map_numbers:
        raise ObjectError(f"section {section.name}", f"legacy definitions of {platform.name} are not supported")
    size, rest = divmod(len(section.data), len(symbols))
    if rest or size < 16:
        raise ObjectError(
            f"section {section.name}", f"{len(section.data)} bytes for {len(symbols)} maps: no legacy definitions"
        )
    for name, symbol in symbols:
        if symbol.value + size > len(section.data) or (section.index, symbol.value) in table.at:
            raise ObjectError(f"map {name}", f"definition at offset {symbol.value} of section {section.name}")
        record = bytes(section.data[symbol.value : symbol.value + size])
        kind, key, value, entries, flags = _LEGACY.unpack(record[: _LEGACY.size].ljust(_LEGACY.size, b"\0"))
        if platform.map_type(kind) is None:
            raise ObjectError(f"map {name}", f"unknown map type {kind}")
        if any(record[_LEGACY.size :]):
            table.notes.append(f"map {name}: fields after the flags of its legacy definition are not modelled")
        table.at[section.index, symbol.value] = table.add(MapSpec(name, kind, key, value, entries, flags))


def _is_data(section: Section) -> bool:
    if section.type == "SHT_NOBITS":
        return section.name == ".bss" or section.name.startswith(".bss.")
    return section.type == "SHT_PROGBITS" and (
        section.name in (".data", ".rodata") or section.name.startswith((".data.", ".rodata."))
    )


def _global_data(table: MapTable, container: Container, btf: Btf | None) -> None:
    total = 0
    for section in container.sections:
        if not _is_data(section) or section.size == 0:
            continue
        total += section.size
        if total > MAX_DATA or section.size >= 1 << 32:
            raise ObjectError(f"section {section.name}", f"more than {MAX_DATA >> 20} MiB of global data")
        read_only = section.name.startswith(".rodata")
        spec = MapSpec(
            name=section.name,
            type=_ARRAY,
            key_size=4,
            value_size=section.size,
            max_entries=1,
            flags=MMAPABLE | (RDONLY_PROG if read_only else 0),
            initial=bytes(section.data) if section.type == "SHT_PROGBITS" else bytes(section.size),
            read_only=read_only,
        )
        datasec = btf.datasec(section.name) if btf is not None else None
        special = ""
        if btf is not None and datasec is not None:
            layout = _section_layout(container, section, btf, datasec, table.notes)
            spec = replace(spec, value_btf=datasec.id, value_layout=layout)
            special = _special_fields(btf, datasec.id)
        table.data[section.index] = table.add(spec, special)


def _section_layout(
    container: Container, section: Section, btf: Btf, datasec: BtfType, notes: list[str]
) -> Layout | None:
    offsets = [(name, symbol.value) for name, symbol in _defined(container, section)]
    try:
        return section_layout(btf, datasec, section.size, offsets)
    except ObjectError as error:
        notes.append(f"section {section.name}: shown as bytes: {error}")
        return None


def _special_fields(btf: Btf, type: int) -> str:
    """The special fields in values of this type: ``bpf_spin_lock, kptr``; empty when there are none."""
    if type == 0:
        return ""
    found: set[str] = set()
    pending, seen = [type], set()
    while pending:
        id = pending.pop()
        if id in seen:
            continue
        seen.add(id)
        current = btf.type(id)
        match current.kind:
            case Kind.TYPEDEF | Kind.CONST | Kind.VOLATILE | Kind.RESTRICT | Kind.TYPE_TAG | Kind.ARRAY | Kind.VAR:
                pending.append(current.type)
            case Kind.STRUCT | Kind.UNION:
                if current.name in _SPECIAL:
                    found.add(current.name)
                pending += [member.type for member in current.members]
            case Kind.DATASEC:
                pending += [variable.type for variable in current.variables]
            case Kind.PTR:
                tag = btf.type(current.type)
                if tag.kind is Kind.TYPE_TAG and tag.name in _KPTR_TAGS:
                    found.add(tag.name)
            case _:
                pass
    return ", ".join(sorted(found))
