"""Calls of helpers: what their prototypes demand, and what they leave behind.

A helper keeps its contract (``docs/safety.md``): it touches only the memory of its arguments, as its prototype says,
and returns what that says.
"""

from __future__ import annotations

from typing import Final

from prevail_py.checker.certificate import Bad, Pointer, Region, Value
from prevail_py.checker.memory import MAX_SIZE, Memory
from prevail_py.checker.state import NEVER_NULL, NotSupported, Path
from prevail_py.checker.words import MASK, ZERO, Compare, Word, between, equal, number, signed_between
from prevail_py.platforms.model import ArgKind, HelperArg, LookupResult, ReturnKind
from prevail_py.words import Comparison

__all__ = ["CALLING_BACK", "TAIL_CALL", "HelperCall"]

TAIL_CALL: Final = 12
CALLING_BACK: Final = ("bpf_loop", "bpf_for_each_map_elem")
"""Helpers that call a function of the program."""

_HANDLES: Final = {ArgKind.CTX: "context", ArgKind.CTX_OR_NULL: "context", ArgKind.MAP: "map",
                   ArgKind.FUNCTION: "function", ArgKind.RINGBUF_MEM: "memory"}  # fmt: skip
"""Arguments that are the start of something."""

_SIZES: Final = {ArgKind.SIZE: (1, MAX_SIZE), ArgKind.SIZE_OR_ZERO: (0, MAX_SIZE), ArgKind.ALLOC_SIZE: (0, MAX_SIZE)}
_NUMBERS: Final = {ArgKind.SCALAR: (0, MASK), **_SIZES}
"""Arguments that are numbers, and which: those that may be null are 0 otherwise."""

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


class HelperCall:
    """The call of a helper on one path.  Raises Dead where the program must not call it, NotSupported."""

    def __init__(self, memory: Memory, path: Path, helper: int) -> None:
        self.memory, self.path, program = memory, path, memory.program
        prototype = memory.platform.helper(helper, program.program_type)
        context = helper, program.program_type, program.expected_attach_type, program.section
        if prototype is None or memory.platform.unavailable(*context):
            raise path.impossible(f"helper {helper} is available")
        kinds = [arg.kind for arg in prototype.args]
        if ArgKind.FUNCTION in kinds and prototype.name not in CALLING_BACK:
            raise NotSupported(path.slot, f"helper {prototype.name}, which calls a function")
        self.prototype, self.given = prototype, [path.value(value) for value in path.registers[1:6]]
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
                size = self._extent(index)
                if self.prototype.copies:
                    # As many bytes as the source has, and none where there may be no room for them.
                    (room, most), copied = path.known.bounds(size), self._extent(2)
                    size = copied if path.known.bounds(copied)[1] <= room else path.known.unknown(0, most)
                self.memory.overwrite(path, value, size, all_of_it=not arg.reads)
            if isinstance(value, Pointer) and arg.releases:
                path.release(value)
        if self.prototype.name not in CALLING_BACK:
            result = self._result()
            if self.prototype.changes_packet:
                self.memory.new_packet(path)
            path.registers[:6] = [result] + [Bad.UNWRITTEN] * 5

    def _argument(self, index: int, arg: HelperArg, what: str) -> None:
        path, value, kind, name = self.path, self.given[index], arg.kind, self.prototype.name
        if kind is ArgKind.ANYTHING and name != "bpf_get_local_storage":
            return
        if kind in _NUMBERS or kind is ArgKind.ANYTHING or (arg.nullable and isinstance(value, Word)):
            path.require(what, *between(path.number(value, what), *_NUMBERS.get(kind, (0, 0))))
            if arg.is_sized_memory:
                path.require(f"{what}, null", equal(self._extent(index), ZERO))
            return
        on_sockets = self.map is not None and self.memory.map_type(path, self.map).name in _SOCKET_MAPS
        socket = "sock" in kind.value or (kind is ArgKind.MAP_VALUE and on_sockets)
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

    def _accepts(self, region: Region) -> bool:
        """Whether the helper may be given such a map by such a program."""
        map_type, name = self.memory.map_type(self.path, region), self.prototype.name
        own = self.memory.program.program_type
        changes, sockets = name in _CHANGE_MAPS, map_type.name in _SOCKET_MAPS
        allowed = not sockets or own in _CHANGE_SOCKET_MAPS or (own == "sock_ops" and name == "bpf_map_delete_elem")
        return (
            self.memory.platform.map_accepts(map_type.number, name)
            and (not changes or (allowed and self.memory.may_change(self.path, region)))
            and (name != "bpf_for_each_map_elem" or map_type.name in _WITH_ELEMENTS)
        )

    def _is_string(self, at: Pointer) -> bool:
        offset = self.path.constant(at.offset)
        if at.region.kind != "map value" or offset is None:
            return False
        spec = self.memory.spec(self.path, at.region)
        return spec.read_only and spec.initial is not None and 0 in spec.initial[offset:]

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
        size = sizes[0] if sizes and isinstance(sizes[0], Word) else path.known.unknown()
        if kind is ReturnKind.VOID:
            return Bad.UNWRITTEN
        base = path.known.unknown() if kind is not ReturnKind.MAP_VALUE else NEVER_NULL
        if kind is ReturnKind.INTEGER:
            if name in _RETURN_LENGTH:
                path.learn(*signed_between(base, -4095, MAX_SIZE), Compare(Comparison.SLE, base, size))
            return base
        region, acquires, bytes = None, self.prototype.acquires, path.constant(size)
        if kind in (ReturnKind.MAP_VALUE, ReturnKind.MAP_VALUE_OR_NULL) and self.map is not None:
            found = self.memory.map_type(path, self.map).lookup
            lookup = found if name == "bpf_map_lookup_elem" else LookupResult.VALUE
            if lookup is LookupResult.VALUE:
                region = self.map._replace(kind="map value")
            elif lookup is LookupResult.MAP and not self.map.inner:
                region = self.map._replace(inner=True)
            elif lookup in (LookupResult.SOCKET, LookupResult.XDP_SOCKET):
                region, acquires = Region("kernel object", name=lookup.value), lookup is LookupResult.SOCKET
        elif kind is ReturnKind.MEM_OR_NULL and bytes is not None:
            region = Region("memory", size=bytes, name=name)
        elif kind in (ReturnKind.SOCK_OR_NULL, ReturnKind.TCP_SOCK_OR_NULL, ReturnKind.SOCK_COMMON_OR_NULL):
            region = Region("kernel object", name=kind.value.removesuffix(" or null"))
        if region is None:
            raise NotSupported(path.slot, f"the result of helper {name}")
        path.references += [base] if acquires else []
        return Pointer(region, base, ZERO)
