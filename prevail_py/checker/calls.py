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

__all__ = ["CALLING_BACK", "MAX_PACKET_SIZE", "TAIL_CALL", "HelperCall", "metadata", "packet_moved", "prototype_of"]

MAX_PACKET_SIZE: Final = (1 << 31) - 1
TAIL_CALL: Final = 12
CALLING_BACK: Final = ("bpf_loop", "bpf_for_each_map_elem")
"""Helpers that call a function of the program."""

_HANDLES: Final = {ArgKind.CTX: "context", ArgKind.CTX_OR_NULL: "context", ArgKind.MAP: "map",
                   ArgKind.FUNCTION: "function", ArgKind.RINGBUF_MEM: "memory"}  # fmt: skip
"""Arguments that are the start of something."""

_SIZES: Final = (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO, ArgKind.ALLOC_SIZE)
_SOCKETS: Final = ("socket", "sock_common", "tcp_sock", "xdp socket")
_SOCKET_MAPS: Final = ("sockmap", "sockhash")
_CHANGE_MAPS: Final = (
    "bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map_lookup_and_delete_elem", "bpf_map_push_elem",
    "bpf_map_pop_elem",
)  # fmt: skip
_CHANGE_SOCKET_MAPS: Final = ("socket_filter", "sched_cls", "sched_act", "xdp", "sk_reuseport", "flow_dissector",
                              "sk_lookup")  # fmt: skip
_WITH_ELEMENTS: Final = ("hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash")
_RETURN_LENGTH: Final = ("bpf_get_stack", "bpf_get_task_stack", "bpf_probe_read_str", "bpf_probe_read_kernel_str",
                         "bpf_probe_read_user_str")  # fmt: skip
"""Helpers that return an error, or at most the size that they were given."""


def metadata(path: Path) -> Word:
    """Where the metadata of a packet starts, relative to its data: an assumption of ``docs/safety.md``."""
    word = path.known.unknown()
    for fact in signed_between(word, -256, 1):
        path.known.assume(fact)
    return word


def packet_moved(path: Path) -> None:
    """Packet pointers are of no use any more, and the packet has some other extent."""
    path.spoil(lambda pointer: pointer.region.kind == "packet")
    path.size = path.known.unknown(0, MAX_PACKET_SIZE)
    path.meta = metadata(path) if path.meta != ZERO else ZERO


def prototype_of(memory: Memory, path: Path, helper: int) -> HelperPrototype:
    """The contract of a helper.  Raises Dead where the program must not call it, NotSupported."""
    program, type = memory.program, memory.program.program_type
    found = memory.platform.helper(helper, type)
    if found is None or memory.platform.unavailable(helper, type, program.expected_attach_type, program.section):
        raise path.impossible(f"helper {helper} is available")
    if any(arg.kind is ArgKind.FUNCTION for arg in found.args) and found.name not in CALLING_BACK:
        raise NotSupported(path.slot, f"helper {found.name}, which calls a function")
    return found


class HelperCall:
    """The call of a helper on one path."""

    def __init__(self, memory: Memory, path: Path, prototype: HelperPrototype) -> None:
        self.memory, self.path, self.prototype = memory, path, prototype
        self.given = [path.value(value) for value in path.registers[1:6]]
        kinds = [arg.kind for arg in prototype.args]
        value = self.given[kinds.index(ArgKind.MAP)] if ArgKind.MAP in kinds else None
        self.map = value.region if isinstance(value, Pointer) and value.region.kind == "map" else None
        on_map = 0 if self.map is None else memory.spec(path, self.map).type
        self.args = [memory.platform.argument(arg, on_map) for arg in prototype.args]

    def run(self) -> None:
        """Require that every argument fits, and do what the helper does, but for calling functions."""
        path = self.path
        for index, arg in enumerate(self.args):
            if self.given[index] is Bad.UNWRITTEN:
                raise path.impossible(f"r{index + 1} was written")
            self._argument(index, arg, f"r{index + 1} of {self.prototype.name} ({arg.kind.value})")
        for index, arg in enumerate(self.args):
            value = self.given[index]
            if isinstance(value, Pointer) and arg.writes:
                self.memory.overwrite(path, value, self._extent(index), all_of_it=not arg.reads)
            if isinstance(value, Pointer) and arg.releases:
                # What points to the object, or may have been made from it, is of no use any more.
                path.references = [held for held in path.references if held != value.base]
                kept, kind = (*path.references, NEVER_NULL), value.region.kind
                path.spoil(lambda at, kept=kept, kind=kind: at.region.kind == kind and at.base not in kept)  # type: ignore[misc]
        if self.prototype.name in CALLING_BACK:
            return
        result = self._result()
        if self.prototype.changes_packet:
            packet_moved(path)
        path.registers[:6] = [result] + [Bad.UNWRITTEN] * 5

    def _argument(self, index: int, arg: HelperArg, what: str) -> None:
        path, value, kind = self.path, self.given[index], arg.kind
        if kind is ArgKind.ANYTHING:
            if self.prototype.name == "bpf_get_local_storage":
                path.require(what, equal(path.number(value, what), ZERO))
            return
        if kind is ArgKind.SCALAR or kind in _SIZES or (arg.nullable and isinstance(value, Word)):
            word = path.number(value, what)
            if kind in _SIZES:
                path.require(what, *between(word, int(kind is ArgKind.SIZE), MAX_SIZE))
            if arg.nullable:
                path.require(what, equal(word, ZERO))
            if arg.is_sized_memory:
                path.require(f"{what}, null", equal(self._extent(index), ZERO))
            return
        socket = "sock" in kind.value or (kind is ArgKind.MAP_VALUE and self._map_name() in _SOCKET_MAPS)
        nullable = socket and arg.nullable and not arg.releases
        at = value if nullable and isinstance(value, Pointer) else self.memory.pointer(path, value, what)
        if kind in _HANDLES or socket:
            path.require(f"{what} is the start of it", equal(at.offset, ZERO))
        fits = at.region.kind == _HANDLES.get(kind, at.region.kind)
        if kind is ArgKind.RINGBUF_MEM or arg.releases:
            fits = fits and at.base in path.references
        if socket:
            fits = fits and at.region.name in _SOCKETS
        elif kind is ArgKind.MAP:
            fits = fits and self._accepts(at.region)
        elif kind is ArgKind.STACK_OR_NULL:
            fits = at.region.kind == "stack"
            self.memory.access(path, at, ZERO, read=False, write=True)
        elif kind is ArgKind.CONST_STRING:
            fits = self._is_string(at)
        elif kind not in _HANDLES:
            taken = at.region.kind != "packet" or self.prototype.packet_access
            fits = taken and at.region.kind not in ("context", "kernel object")
            self.memory.access(path, at, self._extent(index), read=arg.reads, write=arg.writes)
        if not fits:
            raise path.impossible(what)

    def _map_name(self) -> str:
        return "" if self.map is None else self.memory.map_type(self.path, self.map).name

    def _accepts(self, region: Region) -> bool:
        map_type, own, name = (
            self.memory.map_type(self.path, region),
            self.memory.program.program_type,
            self.prototype.name,
        )
        if name in _CHANGE_MAPS and not self.memory.may_change(self.path, region):
            return False
        if name in _CHANGE_MAPS and map_type.name in _SOCKET_MAPS and own not in _CHANGE_SOCKET_MAPS:
            return own == "sock_ops" and name == "bpf_map_delete_elem"
        elements = name != "bpf_for_each_map_elem" or map_type.name in _WITH_ELEMENTS
        return elements and self.memory.platform.map_accepts(map_type.number, name)

    def _is_string(self, at: Pointer) -> bool:
        offset = self.path.known.resolved(at.offset)
        if at.region.kind != "map value" or offset.node is not None:
            return False
        spec = self.memory.spec(self.path, at.region)
        return spec.read_only and spec.initial is not None and 0 in spec.initial[offset.offset :]

    def _extent(self, index: int) -> Word:
        """How many bytes of memory an argument has."""
        arg = self.args[index]
        if arg.kind.value.startswith("map ") and self.map is not None:
            spec = self.memory.spec(self.path, self.map)
            return number(spec.key_size if arg.kind is ArgKind.MAP_KEY else spec.value_size)
        if arg.kind is ArgKind.FIXED_MEM and arg.size is not None:
            return number(arg.size)
        if arg.is_sized_memory:
            return self.path.number(self.given[index + 1], f"r{index + 2} is a number")
        raise NotSupported(self.path.slot, f"helper {self.prototype.name}, which takes a {arg.kind.value}")

    def _result(self) -> Value:
        path, kind, name = self.path, self.prototype.returns, self.prototype.name
        sizes = [value for arg, value in zip(self.args, self.given, strict=False) if arg.kind in _SIZES]
        size = path.known.resolved(sizes[0]) if sizes and isinstance(sizes[0], Word) else None
        if kind is ReturnKind.VOID:
            return Bad.UNWRITTEN
        base = path.known.unknown() if kind is not ReturnKind.MAP_VALUE else NEVER_NULL
        if kind is ReturnKind.INTEGER:
            for fact in signed_between(base, -4095, MAX_SIZE) if name in _RETURN_LENGTH and size is not None else ():
                path.learn(fact)
                path.learn(Compare(Comparison.SLE, base, size or ZERO))
            return base
        region, acquires = None, self.prototype.acquires
        if kind in (ReturnKind.MAP_VALUE, ReturnKind.MAP_VALUE_OR_NULL) and self.map is not None:
            found = self.memory.map_type(path, self.map).lookup
            lookup = found if name == "bpf_map_lookup_elem" else LookupResult.VALUE
            if lookup is LookupResult.VALUE:
                region = self.map._replace(kind="map value")
            elif lookup is LookupResult.MAP and not self.map.inner:
                region = self.map._replace(inner=True)
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
