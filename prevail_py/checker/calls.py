"""Calls of helpers: what their prototypes demand, and what they leave behind.

A helper keeps its contract (``docs/safety.md``): it touches only the memory of its arguments, as its prototype says,
and returns what that says.
"""

from __future__ import annotations

from typing import Final

from prevail_py.checker.certificate import Bad, Pointer, Region, Value
from prevail_py.checker.memory import MAX_SIZE, Memory
from prevail_py.checker.state import NEVER_NULL, NotSupported, Path
from prevail_py.checker.words import ZERO, Compare, Word, between, equal, number, signed_between
from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype, LookupResult, ReturnKind
from prevail_py.words import Comparison

__all__ = ["CALLING_BACK", "MAX_PACKET_SIZE", "TAIL_CALL", "Calls", "metadata"]

MAX_PACKET_SIZE: Final = (1 << 31) - 1
TAIL_CALL: Final = 12
CALLING_BACK: Final = ("bpf_loop", "bpf_for_each_map_elem")
"""Helpers that call a function of the program."""

_HANDLES: Final = {
    ArgKind.CTX: "context", ArgKind.CTX_OR_NULL: "context", ArgKind.MAP: "map", ArgKind.FUNCTION: "function",
    ArgKind.RINGBUF_MEM: "memory",
}  # fmt: skip
"""Arguments that are the start of something."""

_SIZES: Final = (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO, ArgKind.ALLOC_SIZE)
_SOCKET_ARGUMENTS: Final = (
    ArgKind.SOCK_COMMON, ArgKind.BTF_SOCK_COMMON, ArgKind.SOCK_OR_NULL, ArgKind.BTF_SOCK_COMMON_OR_NULL,
)  # fmt: skip
_SOCKETS: Final = ("socket", "sock_common", "tcp_sock", "xdp socket")
_SOCKET_MAPS: Final = ("sockmap", "sockhash")
_CHANGE_MAPS: Final = ("bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map_push_elem", "bpf_map_pop_elem")
_CHANGE_SOCKET_MAPS: Final = (
    "socket_filter", "sched_cls", "sched_act", "xdp", "sk_reuseport", "flow_dissector", "sk_lookup",
)  # fmt: skip
_WITH_ELEMENTS: Final = ("hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash")
_RETURN_LENGTH: Final = (
    "bpf_get_stack", "bpf_get_task_stack", "bpf_probe_read_str", "bpf_probe_read_kernel_str", "bpf_probe_read_user_str",
)  # fmt: skip
"""Helpers that return an error, or at most the size that they were given."""


def metadata(path: Path) -> Word:
    """Where the metadata of a packet starts, relative to its data: an assumption of ``docs/safety.md``."""
    word = path.known.unknown()
    for fact in signed_between(word, -256, 1):
        path.known.assume(fact)
    return word


class Calls:
    """Helpers as one program may call them."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def call(self, path: Path, prototype: HelperPrototype) -> None:
        """Require that every argument fits, and do what the helper does, but for calling functions."""
        given, handle = [path.value(value) for value in path.registers[1:6]], self._handle(path, prototype)
        for index in range(len(prototype.args)):
            if given[index] is Bad.UNWRITTEN:
                raise path.impossible(f"r{index + 1} was written")
            self._argument(path, prototype, handle, given, index)
        for index, declared in enumerate(prototype.args):
            arg, value = self._on_map(path, handle, declared), given[index]
            if isinstance(value, Pointer) and arg.writes:
                size = self._extent(path, prototype, handle, given, index)
                self.memory.overwrite(path, value, size, all_of_it=not arg.reads)
            if isinstance(value, Pointer) and arg.releases:
                self._release(path, value)
        if prototype.name in CALLING_BACK:
            return
        result = self._result(path, prototype, handle, given)
        if prototype.changes_packet:
            self.packet_moved(path)
        path.registers[:6] = [result] + [Bad.UNWRITTEN] * 5

    def prototype(self, path: Path, helper: int) -> HelperPrototype:
        """The contract of a helper.  Raises Dead where the program must not call it, NotSupported."""
        program, platform = self.memory.program, self.memory.platform
        type, attach_type = program.program_type, program.expected_attach_type
        found = platform.helper(helper, type)
        if found is None or platform.unavailable(helper, type, attach_type, program.section):
            raise path.impossible(f"helper {helper} is available")
        if any(arg.kind is ArgKind.FUNCTION for arg in found.args) and found.name not in CALLING_BACK:
            raise NotSupported(path.slot, f"helper {found.name}, which calls a function")
        return found

    def _handle(self, path: Path, prototype: HelperPrototype) -> Region | None:
        """The map that other arguments speak of."""
        kinds = [arg.kind for arg in prototype.args]
        value = path.value(path.registers[kinds.index(ArgKind.MAP) + 1]) if ArgKind.MAP in kinds else None
        return value.region if isinstance(value, Pointer) and value.region.kind == "map" else None

    def _on_map(self, path: Path, handle: Region | None, arg: HelperArg) -> HelperArg:
        return arg if handle is None else self.memory.platform.argument(arg, self.memory.spec(path, handle).type)

    # Arguments ------------------------------------------------------------------------------------------------------

    def _argument(
        self, path: Path, prototype: HelperPrototype, handle: Region | None, given: list[Value], index: int
    ) -> None:
        arg, value = self._on_map(path, handle, prototype.args[index]), given[index]
        what = f"r{index + 1} of {prototype.name} ({arg.kind.value})"
        number_wanted = arg.kind is ArgKind.SCALAR or arg.kind in _SIZES
        if arg.kind is ArgKind.ANYTHING:
            if prototype.name == "bpf_get_local_storage":
                path.require(what, equal(self._number(path, value, what), ZERO))
            return
        if number_wanted or (arg.nullable and isinstance(value, Word)):
            word = self._number(path, value, what)
            if arg.kind in _SIZES:
                path.require(what, *between(word, int(arg.kind is ArgKind.SIZE), MAX_SIZE))
            if arg.nullable:
                path.require(what, equal(word, ZERO))
            if arg.is_sized_memory:
                path.require(f"{what}, null", equal(self._extent(path, prototype, handle, given, index), ZERO))
            return
        nullable = arg.nullable and arg.kind in _SOCKET_ARGUMENTS and not arg.releases
        at = value if nullable and isinstance(value, Pointer) else self.memory.pointer(path, value, what)
        socket = arg.kind in _SOCKET_ARGUMENTS or (arg.kind is ArgKind.MAP_VALUE and self._of_sockets(path, handle))
        if arg.kind in _HANDLES or (socket and arg.releases):
            path.require(f"{what} is the start of it", equal(at.offset, ZERO))
            if at.region.kind != _HANDLES.get(arg.kind, at.region.kind):
                raise path.impossible(what)
        if (arg.kind is ArgKind.RINGBUF_MEM or arg.releases) and at.base not in path.references:
            raise path.impossible(f"{what} is held")
        if socket:
            if at.region.name not in _SOCKETS:
                raise path.impossible(what)
        elif arg.kind is ArgKind.MAP:
            if not self._accepts(path, prototype, at.region):
                raise path.impossible(f"{what} of a type that it takes")
        elif arg.kind is ArgKind.STACK_OR_NULL:
            if at.region.kind != "stack":
                raise path.impossible(what)
            self.memory.access(path, at, ZERO, read=False, write=True)
        elif arg.kind is ArgKind.CONST_STRING:
            self._string(path, at, what)
        elif arg.kind not in _HANDLES:
            size = self._extent(path, prototype, handle, given, index)
            plain = at.region.kind not in ("context", "kernel object")
            if not plain or (at.region.kind == "packet" and not prototype.packet_access):
                raise path.impossible(f"{what} is memory that the helper takes")
            self.memory.access(path, at, size, read=arg.reads, write=arg.writes)

    def _number(self, path: Path, value: Value, what: str) -> Word:
        if isinstance(value, Word):
            return value
        raise path.impossible(f"{what} is a number")

    def _of_sockets(self, path: Path, handle: Region | None) -> bool:
        return handle is not None and self.memory.map_type(path, handle).name in _SOCKET_MAPS

    def _accepts(self, path: Path, prototype: HelperPrototype, region: Region) -> bool:
        map_type, own, name = self.memory.map_type(path, region), self.memory.program.program_type, prototype.name
        if name in _CHANGE_MAPS and not self.memory.may_change(path, region):
            return False
        if name in _CHANGE_MAPS and map_type.name in _SOCKET_MAPS and own not in _CHANGE_SOCKET_MAPS:
            return own == "sock_ops" and name == "bpf_map_delete_elem"
        elements = name != "bpf_for_each_map_elem" or map_type.name in _WITH_ELEMENTS
        return elements and self.memory.platform.map_accepts(map_type.number, name)

    def _string(self, path: Path, at: Pointer, what: str) -> None:
        offset = path.known.resolved(at.offset)
        if at.region.kind == "map value" and offset.node is None:
            spec = self.memory.spec(path, at.region)
            if spec.read_only and spec.initial is not None and 0 in spec.initial[offset.offset :]:
                return
        raise path.impossible(f"{what} that ends")

    def _extent(
        self, path: Path, prototype: HelperPrototype, handle: Region | None, given: list[Value], index: int
    ) -> Word:
        """How many bytes of memory an argument has."""
        arg = prototype.args[index]
        if arg.kind.value.startswith("map ") and handle is not None:
            spec = self.memory.spec(path, handle)
            return number(spec.key_size if arg.kind is ArgKind.MAP_KEY else spec.value_size)
        if arg.kind is ArgKind.FIXED_MEM and arg.size is not None:
            return number(arg.size)
        if arg.is_sized_memory:
            return self._number(path, given[index + 1], f"r{index + 2}")
        raise NotSupported(path.slot, f"helper {prototype.name}, which takes a {arg.kind.value}")

    # Effects --------------------------------------------------------------------------------------------------------

    def packet_moved(self, path: Path) -> None:
        """Packet pointers are of no use any more, and the packet has some other extent."""
        path.spoil(lambda pointer: pointer.region.kind == "packet")
        path.size = path.known.unknown(0, MAX_PACKET_SIZE)
        path.meta = metadata(path) if path.meta != ZERO else ZERO

    def _release(self, path: Path, released: Pointer) -> None:
        """The reference is given back: what points to the object, or may have been made from it, is of no use."""
        path.references = [held for held in path.references if held != released.base]
        kept = (*path.references, NEVER_NULL)
        path.spoil(lambda pointer: pointer.region.kind == released.region.kind and pointer.base not in kept)

    def _result(self, path: Path, prototype: HelperPrototype, map: Region | None, given: list[Value]) -> Value:
        kind, name = prototype.returns, prototype.name
        sizes = [value for arg, value in zip(prototype.args, given, strict=False) if arg.kind in _SIZES]
        size = path.known.resolved(sizes[0]) if sizes and isinstance(sizes[0], Word) else None
        if kind is ReturnKind.VOID:
            return Bad.UNWRITTEN
        if kind is ReturnKind.INTEGER:
            result = path.known.unknown()
            if name in _RETURN_LENGTH and size is not None:
                for fact in (*signed_between(result, -4095, MAX_SIZE), Compare(Comparison.SLE, result, size)):
                    path.learn(fact)
            return result
        base = path.known.unknown() if kind is not ReturnKind.MAP_VALUE else NEVER_NULL
        region, acquires = None, prototype.acquires
        if kind in (ReturnKind.MAP_VALUE, ReturnKind.MAP_VALUE_OR_NULL) and map is not None:
            lookup = self.memory.map_type(path, map).lookup if name == "bpf_map_lookup_elem" else LookupResult.VALUE
            if lookup is LookupResult.VALUE:
                region = map._replace(kind="map value")
            elif lookup is LookupResult.MAP and not map.inner:
                region = map._replace(inner=True)
            elif lookup in (LookupResult.SOCKET, LookupResult.XDP_SOCKET):
                region, acquires = Region("kernel object", name=lookup.value), lookup is LookupResult.SOCKET
        elif kind is ReturnKind.MEM_OR_NULL and size is not None and size.node is None:
            region = Region("memory", size=size.offset, name=name)
        elif kind in (ReturnKind.SOCK_OR_NULL, ReturnKind.TCP_SOCK_OR_NULL, ReturnKind.SOCK_COMMON_OR_NULL):
            region = Region("kernel object", name=kind.value.removesuffix(" or null"))
        if region is None:
            raise NotSupported(path.slot, f"the result of helper {name}")
        path.references += [base] if acquires else []
        return Pointer(region, base, ZERO)
