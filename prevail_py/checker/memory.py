"""Accesses to memory: which are allowed (``docs/safety.md``), what a load yields and a store leaves behind."""

from __future__ import annotations

from typing import Final

from prevail_py.checker.certificate import STACK_SIZE, Bad, Pointer, Region, Value
from prevail_py.checker.state import NEVER_NULL, Frame, NotSupported, Path
from prevail_py.checker.words import MASK, ZERO, AtMost, Word, between, equal, number, signed_between
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms.model import FieldKind, MapType, Platform, ProgramType
from prevail_py.words import OpKind

__all__ = ["KEY", "MAX_SIZE", "Memory"]

KEY: Final = "key"
"""The memory that holds the key of an element while a function is called with it: read-only."""

MAX_SIZE: Final = (1 << 29) - 1
"""The most bytes that a helper may be given (Linux: ``BPF_MAX_VAR_SIZ``)."""

MAX_PACKET_SIZE: Final = (1 << 31) - 1
_READ_ONLY, _WRITE_ONLY = 1 << 7, 1 << 8  # BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG


class Memory:
    """The regions of one program."""

    def __init__(self, program: Program, platform: Platform, type: ProgramType) -> None:
        self.program, self.platform, self.type = program, platform, type

    def new_packet(self, path: Path) -> None:
        """Some packet, and some metadata in front of it, if there are any: assumptions of ``docs/safety.md``.

        Pointers into another are of no use any more.
        """
        path.spoil(lambda pointer: pointer.region.kind == "packet")
        fields = {field.kind for field in self.type.pointer_fields}
        path.packet = [path.known.unknown(0, MAX_PACKET_SIZE) if FieldKind.PACKET in fields else ZERO, ZERO]
        if FieldKind.PACKET_META in fields:
            path.packet[1] = path.known.unknown()
            for fact in signed_between(path.packet[1], -256, 1):
                path.known.assume(fact)

    def spec(self, path: Path, region: Region) -> MapSpec:
        """The definition of a map."""
        maps = self.program.maps
        spec = maps[region.number] if region.number < len(maps) else None
        found = spec.inner if spec is not None and region.inner else spec
        if found is None:
            raise NotSupported(path.slot, f"map {region.number}, whose definition is not known")
        return found

    def map_type(self, path: Path, region: Region) -> MapType:
        """The type of a map."""
        found = self.platform.map_type(self.spec(path, region).type)
        if found is None:
            raise NotSupported(path.slot, "a map of an unknown type")
        return found

    def may_change(self, path: Path, region: Region) -> bool:
        """Whether the program may change a map."""
        spec = self.spec(path, region)
        return not (spec.read_only or spec.flags & _READ_ONLY)

    def pointer(self, path: Path, value: Value, what: str) -> Pointer:
        """The pointer that a value must be, and not null.  Raises Dead where it is none."""
        if not isinstance(value, Pointer):
            raise path.impossible(f"{what} is a pointer")
        path.require(f"{what} is not null", *between(value.base, 1, MASK))
        return value

    def access(self, path: Path, at: Pointer, size: Word, read: bool, write: bool, atomic: bool = False) -> None:
        """Require that ``size`` bytes, fewer than 2**29, may be read and written."""
        region, start = at.region, at.offset
        end = path.compute(OpKind.ADD, start, size)
        limit, allowed = STACK_SIZE, True
        item = self.platform.objects.get(region.name)
        match region.kind:
            case "stack":
                pass
            case "packet":
                allowed = not write or self.type.read_write_packet
                packet_size, meta = path.packet
                first = ZERO if path.shows(between(start, 0, MASK >> 1)) else meta
                within = AtMost((first,), (start,), 0), AtMost((end,), (packet_size,), 0)
                near = signed_between(start, -(1 << 62), 1 << 62)  # so that the end does not wrap
                path.require("the packet holds the access", *within, *near)
                limit = -1
            case "map value":
                limit, use = self.spec(path, region).value_size, self.map_type(path, region).value_access
                readable = not self.spec(path, region).flags & _WRITE_ONLY and "r" in use
                allowed = (readable or not read) and (not write or ("w" in use and self.may_change(path, region)))
            case "memory":
                limit, allowed = region.size, not (write and region.name == KEY)
            case "kernel object" if item is not None and item.size is not None:
                limit = item.size
            case "context" | "kernel object":
                allowed, limit = self._is_field(path, at, size, read, write) and not atomic, -1
            case _:
                allowed = False
        if not allowed:
            raise path.impossible(f"the program may use the {region.kind} so")
        if limit >= 0:
            bounds = (*between(start, 0, limit), *between(end, 0, limit))
            path.require(f"the access lies within {limit} bytes of {region.kind}", *bounds)
        if region.kind == "stack" and read:
            self._written(path, path.frames[region.number], start, end)

    def _written(self, path: Path, frame: Frame, start: Word, end: Word) -> None:
        """Require that the bytes between are among those without a gap from the lowest that may be the first."""
        first, _ = path.extent(start, STACK_SIZE)
        gap = ~(frame.initialised >> first)
        last = first + (gap & -gap).bit_length() - 1
        goals = (*between(start, first, last), *between(end, first, last)) if first < last else (equal(start, end),)
        path.require("the bytes of the stack that are read were written", *goals)

    def _is_field(self, path: Path, at: Pointer, size: Word, read: bool, write: bool) -> bool:
        offset, length = path.constant(at.offset), path.constant(size)
        if offset is None or length is None:
            return False
        if at.region.kind == "context":
            if not self.type.context_known:
                raise NotSupported(path.slot, f"the context of {self.type.name} programs")
            readable = self.type.context_read(offset, length) is not None
            return (readable or not read) and (not write or self.type.context_write(offset, length))
        item = self.platform.objects.get(at.region.name)
        if item is None:
            raise NotSupported(path.slot, f"the fields of a {at.region.name}")
        return not write and item.may_read(offset, length)

    def load(self, path: Path, at: Pointer, size: int) -> Value:
        """What an allowed load yields: memory that others can change holds some number."""
        offset = path.constant(at.offset)
        if at.region.kind == "stack":
            frame, (lo, hi) = path.frames[at.region.number], path.extent(at.offset, STACK_SIZE - size)
            if lo == hi:
                return path.read_stack(frame, lo, size)
            if size == 8 and any(frame.pointer_at(slot) is not None for slot in range(lo & ~7, hi + size, 8)):
                return Bad.UNUSABLE
        elif at.region.kind == "map value" and offset is not None:
            spec = self.spec(path, at.region)
            if spec.read_only and spec.initial is not None and offset + size <= len(spec.initial):
                return number(int.from_bytes(spec.initial[offset : offset + size], "little"))
        elif at.region.kind == "context" and offset is not None:
            return self._field(path, self.type.context_read(offset, size), size)
        return path.some(size)

    def _field(self, path: Path, kind: FieldKind | None, size: int) -> Value:
        packet_size, meta = path.packet
        packet = {FieldKind.PACKET: ZERO, FieldKind.PACKET_END: packet_size, FieldKind.PACKET_META: meta}
        if kind is None or kind is FieldKind.SCALAR:
            return path.some(size)
        if kind in packet:
            return Pointer(Region("packet"), NEVER_NULL, packet[kind])
        if kind is FieldKind.TRACEPOINT_BUFFER:
            raise NotSupported(path.slot, "the buffer of a tracepoint")
        name = kind.value.removesuffix(" or null")
        base = NEVER_NULL if name == kind.value else path.known.unknown()
        return Pointer(Region("kernel object", name=name), base, ZERO)

    def store(self, path: Path, at: Pointer, size: int, value: Value) -> None:
        """The effect of an allowed store; only stacks are kept."""
        if at.region.kind != "stack":
            return
        frame = path.frames[at.region.number]
        lo, hi = path.extent(at.offset, STACK_SIZE - size)
        if lo == hi:
            frame.put(lo, size, value)
            frame.initialised |= ((1 << size) - 1) << lo
            return
        frame.forget(lo, hi + size)
        if not isinstance(value, Word):
            for slot in range(-(-lo // 8) * 8, hi + 1, 8):
                frame.bytes |= dict.fromkeys(range(slot, slot + 8), (Bad.UNUSABLE, 0))

    def overwrite(self, path: Path, at: Pointer, size: Word, all_of_it: bool) -> None:
        """A helper writes up to ``size`` bytes; with ``all_of_it`` no byte keeps what it held."""
        if at.region.kind != "stack":
            return
        frame = path.frames[at.region.number]
        (lo, hi), (least, most) = path.extent(at.offset, STACK_SIZE), path.extent(size, STACK_SIZE)
        if lo == hi:
            frame.initialised |= (1 << lo + least) - (1 << lo)
            if all_of_it:
                frame.forget(lo, lo + least, certain=True)
                lo += least
        frame.forget(lo, hi + most)
