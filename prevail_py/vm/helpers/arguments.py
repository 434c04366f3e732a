"""Checking the arguments of a helper against its prototype.

What is wrong with an argument is a HELPER_ARGUMENT violation, except that reading a register which was never written is
what it always is.  A helper that gets past this touches no memory but that of its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype
from prevail_py.vm.fault import Fault
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Map, UnsupportedMap
from prevail_py.vm.memory import Region, RegionKind
from prevail_py.vm.outcome import TrapKind

__all__ = ["MAX_SIZE", "Argument", "check_arguments"]

MAX_SIZE: Final = (1 << 29) - 1
"""The largest size that may be passed (below BPF_MAX_VAR_SIZ in Linux)."""

_LOCK: Final = 4  # struct bpf_spin_lock

_EMPTY_MAPS: Final = frozenset(
    {"bpf_get_stackid", "bpf_current_task_under_cgroup", "bpf_skb_under_cgroup", "bpf_redirect_map"}
)
"""Helpers that take maps which are not modelled: nothing could be in them."""

_NO_MEMORY: Final = frozenset({RegionKind.CONTEXT, RegionKind.MAP, RegionKind.FUNCTION, RegionKind.SOCKET})


@dataclass(frozen=True, slots=True)
class Argument:
    """A checked argument: an unsigned 64-bit value and its provenance.

    ``extent`` is the size in bytes of the memory that it points to, and ``offset`` where that begins in the region.
    """

    value: int
    region: Region | None = None
    offset: int = 0
    extent: int = 0

    @property
    def u32(self) -> int:
        """The value as an unsigned 32-bit number."""
        return self.value & 0xFFFFFFFF

    @property
    def s32(self) -> int:
        """The value as a signed 32-bit number."""
        return (self.u32 ^ 1 << 31) - (1 << 31)

    def memory(self) -> bytes:
        """The memory that the argument points to; empty where it is null."""
        return b"" if self.region is None else bytes(self.region.data[self.offset : self.offset + self.extent])

    def overwrite(self, content: bytes) -> None:
        """Overwrite the beginning of memory that is initialised; the rest stays."""
        if self.region is not None:
            self.region.put(self.offset, content)

    def fill(self, content: bytes) -> None:
        """Overwrite the memory from its beginning; all of it counts as initialised, even what is not overwritten."""
        if self.region is not None:
            rest = self.region.data[self.offset + len(content) : self.offset + self.extent]
            self.region.put(self.offset, content + bytes(rest))


def check_arguments(machine: Machine, prototype: HelperPrototype) -> list[Argument]:
    """The arguments of a call that keeps the prototype's contract; raises :class:`Fault` for one that does not."""
    arguments: list[Argument] = []
    map: Map | None = None  # the one that the key and value arguments speak of
    for register, arg in enumerate(prototype.args, 1):
        if map is not None:
            arg = machine.platform.argument(arg, map.spec.type)
        value, region = _read(machine, prototype, register), machine.provenance[register]
        size = None
        if arg.is_sized_memory:
            size = _read(machine, prototype, register + 1)
        try:
            if arg.kind is ArgKind.MAP:
                map = _map(machine, prototype, value, region)
            arguments.append(_checked(machine, prototype, arg, value, region, _extent(arg, map, size)))
        except Fault as fault:
            message = f"argument {register} of {prototype.name}: {fault.message}"
            kind = fault.kind if fault.kind is TrapKind.UNSUPPORTED else TrapKind.HELPER_ARGUMENT
            raise Fault(kind, message, fault.address) from None
    return arguments


def _read(machine: Machine, prototype: HelperPrototype, register: int) -> int:
    value = machine.registers[register]
    if value is None:
        message = f"argument {register} of {prototype.name}: r{register} was never written"
        raise Fault(TrapKind.UNINITIALISED_REGISTER, message)
    return value


def _extent(arg: HelperArg, map: Map | None, size: int | None) -> int:
    """How many bytes a memory argument covers; 0 for any other argument."""
    match arg.kind:
        case ArgKind.MAP_KEY:
            return 0 if map is None else map.spec.key_size
        case ArgKind.MAP_VALUE | ArgKind.MAP_VALUE_UNINIT | ArgKind.MAP_VALUE_OR_NULL:
            return 0 if map is None else map.spec.value_size
        case _:
            return (arg.size if size is None else size) or 0


def _checked(
    machine: Machine, prototype: HelperPrototype, arg: HelperArg, value: int, region: Region | None, extent: int
) -> Argument:
    match arg.kind:
        case ArgKind.ANYTHING:
            return Argument(value, region)
        case ArgKind.SCALAR:
            _require(region is None, "a pointer where a number is wanted")
            return Argument(value)
        case ArgKind.SIZE | ArgKind.SIZE_OR_ZERO | ArgKind.ALLOC_SIZE:
            _require(region is None, "a pointer where a size is wanted")
            _require(value <= MAX_SIZE, f"the size is negative or too large ({value:#x})")
            _require(value > 0 or arg.kind is not ArgKind.SIZE, "the size is zero")
            return Argument(value)
        case ArgKind.CTX | ArgKind.CTX_OR_NULL:
            if not (arg.nullable and _is_null(value, region)):
                _require_start(value, region, RegionKind.CONTEXT, "the context")
            return Argument(value, region)
        case ArgKind.MAP:
            return Argument(value, region)
        case ArgKind.FUNCTION:
            _require_start(value, region, RegionKind.FUNCTION, "a function")
            return Argument(value, region)
        case ArgKind.STACK_OR_NULL:
            if not _is_null(value, region):
                _require(region is not None and region.kind is RegionKind.STACK, "a pointer to the stack is wanted")
                assert region is not None
                region.locate(value, 0)
            return Argument(value, region)
        case ArgKind.SOCK_COMMON | ArgKind.SOCK_OR_NULL | ArgKind.BTF_SOCK_COMMON | ArgKind.BTF_SOCK_COMMON_OR_NULL:
            if not (arg.nullable and _is_null(value, region)):
                region = _require_start(value, region, RegionKind.SOCKET, "a socket")
                _require(region.map_index is None, "an AF_XDP socket is no sock_common")
                if arg.releases:
                    _require(region in machine.references, "the socket was never acquired")
            return Argument(value, region)
        case ArgKind.CONST_STRING:
            return _constant_string(value, region)
        case ArgKind.SPIN_LOCK:
            if region is None or region.kind is not RegionKind.MAP_VALUE:
                raise Fault(TrapKind.HELPER_ARGUMENT, f"a lock in a map value is wanted, not {region or hex(value)}")
            offset = region.locate(value, _LOCK)
            _require(offset % _LOCK == 0, "the lock is not aligned")
            return Argument(value, region, offset, _LOCK)
        case ArgKind.RINGBUF_MEM:
            _require_start(value, region, RegionKind.MEMORY, "ring buffer memory")
            _require(region in machine.references, "the memory was given back before, or never handed out")
            return Argument(value, region)
        case _:
            return _memory(prototype, arg, value, region, extent)


def _map(machine: Machine, prototype: HelperPrototype, value: int, region: Region | None) -> Map:
    region = _require_start(value, region, RegionKind.MAP, "a map")
    map = machine.map_of(region)
    if not machine.platform.map_accepts(map.spec.type, prototype.name):
        map_type = machine.platform.map_type(map.spec.type)
        name = map.spec.type if map_type is None else map_type.name
        raise Fault(TrapKind.HELPER_ARGUMENT, f"a map of type {name} is not accepted")
    if isinstance(map, UnsupportedMap) and prototype.name not in _EMPTY_MAPS:
        raise Fault(TrapKind.UNSUPPORTED, f"map {map.spec.name!r} of type {map.spec.type} is not modelled")
    return map


def _memory(prototype: HelperPrototype, arg: HelperArg, value: int, region: Region | None, extent: int) -> Argument:
    _require(extent <= MAX_SIZE, f"the size of the memory is negative or too large ({extent:#x})")
    if _is_null(value, region) and arg.nullable:
        _require(not arg.is_sized_memory or extent == 0, "null memory whose size is not zero")
        return Argument(0)
    if region is None:
        raise Fault(TrapKind.HELPER_ARGUMENT, "null" if value == 0 else f"the number {value:#x} is not a pointer")
    if region.kind in _NO_MEMORY:
        raise Fault(TrapKind.HELPER_ARGUMENT, f"the {region} is not plain memory")
    if region.kind is RegionKind.PACKET:
        _require(prototype.packet_access, "the helper does not take pointers to the packet")
    offset = region.locate(value, extent)
    if arg.writes:
        region.require_writable(value)
    if arg.reads:
        region.require_initialised(offset, extent)
    return Argument(value, region, offset, extent)


def _constant_string(value: int, region: Region | None) -> Argument:
    """A string that nobody can change: in a map that the program cannot write, up to and with its zero."""
    if region is None or region.kind is not RegionKind.MAP_VALUE or region.writable:
        raise Fault(TrapKind.HELPER_ARGUMENT, f"a constant string is wanted, not {region or hex(value)}")
    offset = region.locate(value, 1)
    end = bytes(region.data[offset:]).find(0)
    _require(end >= 0, "the string does not end")
    return Argument(value, region, offset, end + 1)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise Fault(TrapKind.HELPER_ARGUMENT, message)


def _require_start(value: int, region: Region | None, kind: RegionKind, what: str) -> Region:
    if region is None or region.kind is not kind or not region.live:
        raise Fault(TrapKind.HELPER_ARGUMENT, f"{what} is wanted, not {region or hex(value)}")
    _require(value == region.base, f"a pointer to the start of {what} is wanted")
    return region


def _is_null(value: int, region: Region | None) -> bool:
    return region is None and value == 0
