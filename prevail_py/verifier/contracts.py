"""Calls of helpers: whether every argument fits the prototype, and what the call leaves behind.

A helper is trusted to keep its contract (``docs/safety.md``): it reads and writes only what its arguments allow, and
what it returns is of the kind its prototype says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from prevail_py.domains.lattice import NO_SYMBOL, Range, Term
from prevail_py.isa.instructions import Register
from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype, LookupResult, ReturnKind
from prevail_py.verifier.assertions import AssertionKind, Mode
from prevail_py.verifier.regions import Violation, overwrite, violation
from prevail_py.verifier.scalars import assume, unknown
from prevail_py.verifier.setting import MAX_PACKET_SIZE, METADATA_OFFSETS, Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.values import (
    CONTEXT,
    MAP,
    MAX_FRAMES,
    NEVER_NULL,
    OBJECT,
    PACKET,
    ZERO,
    Pointer,
    Region,
    RegionKind,
    Special,
    Value,
    region_of,
)
from prevail_py.words import Comparison

__all__ = [
    "CALLBACKS",
    "MAX_LOOPS",
    "MAX_SIZE",
    "SOCKETS",
    "TAIL_CALL",
    "ArgumentViolation",
    "call_helper",
    "contract_violations",
    "leave",
    "map_argument",
    "on_map",
    "packet_moved",
    "prototype_of",
]

MAX_SIZE: Final = (1 << 29) - 1
"""Largest size argument Linux accepts (``BPF_MAX_VAR_SIZ`` in kernel/bpf/verifier.c)."""

TAIL_CALL: Final = 12
"""The helper that another program takes the place of the running function."""

_CHANGES_MAP: Final = frozenset({
    "bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map_lookup_and_delete_elem", "bpf_map_push_elem",
    "bpf_map_pop_elem",
})  # fmt: skip

_LOOKUPS: Final = frozenset({"bpf_map_lookup_elem"})

_BOUNDED_BY_SIZE: Final = frozenset(
    {
        "bpf_get_stack",
        "bpf_get_task_stack",
        "bpf_probe_read_str",
        "bpf_probe_read_kernel_str",
        "bpf_probe_read_user_str",
    }
)
"""Helpers that return the number of bytes they wrote, or an error (``do_refine_retval_range`` in Linux)."""

_MAX_ERRNO: Final = 4095

_CHANGE_SOCKET_MAPS: Final = frozenset(
    {"socket_filter", "sched_cls", "sched_act", "xdp", "sk_reuseport", "flow_dissector", "sk_lookup"}
)

SOCKETS: Final = frozenset({"socket", "sock_common", "tcp_sock", "xdp socket"})
"""The kernel objects that count as sockets where a helper takes one."""

CALLBACKS: Final = frozenset({"bpf_loop", "bpf_for_each_map_elem"})
"""Helpers that call a function of the program while they last (``callbacks.py``)."""

MAX_LOOPS: Final = 1 << 23
"""How many times ``bpf_loop`` calls its function at most (``BPF_MAX_LOOPS`` in Linux)."""

_HAVE_ELEMENTS: Final = frozenset({"hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash"})
"""Map types that ``bpf_for_each_map_elem`` goes through."""

_UNMODELLED: Final = {
    ArgKind.FUNCTION: "callbacks",
    ArgKind.SPIN_LOCK: "spin locks",
    ArgKind.TIMER: "timers",
    ArgKind.KPTR: "kptrs",
    ArgKind.DYNPTR: "dynptrs",
    ArgKind.DYNPTR_UNINIT: "dynptrs",
    ArgKind.BTF_POINTER: "BTF-typed pointers",
    ArgKind.BTF_POINTER_OR_NULL: "BTF-typed pointers",
    ArgKind.PERCPU_BTF_POINTER: "BTF-typed pointers",
}


_PLAIN_MEMORY: Final = frozenset(
    (
        ArgKind.MAP_KEY,
        ArgKind.MAP_VALUE_UNINIT,
        ArgKind.MAP_VALUE_OR_NULL,
        ArgKind.FIXED_MEM,
        *(kind for kind in ArgKind if HelperArg(kind).is_sized_memory),
    )
)
"""Arguments of which nothing matters but the memory."""


# Up to Python 3.11 a member of an enumeration takes ten times as long to name as a variable.
_MAP_ARGUMENT: Final = ArgKind.MAP
_READ, _WRITE = Mode.READ, Mode.WRITE
_ARGUMENTS: Final = (Register.R1, Register.R2, Register.R3, Register.R4, Register.R5)


class ArgumentViolation(NamedTuple):
    """A violation and the register it is about."""

    violation: Violation
    register: Register


def prototype_of(setting: Setting, helper: int) -> HelperPrototype | None:
    """The prototype of ``helper`` in this program; None where the program may not call it.

    Raises Unsupported for a prototype that has no model.
    """
    if helper not in setting.prototypes:
        setting.prototypes[helper] = _prototype(setting, helper)
    return setting.prototypes[helper]


def _prototype(setting: Setting, helper: int) -> HelperPrototype | None:
    prototype = setting.platform.helper(helper, setting.program.program_type)
    if prototype is None or _unavailable(setting, helper):
        return None
    for arg in prototype.args:
        if arg.kind in _UNMODELLED and not (arg.kind is ArgKind.FUNCTION and prototype.name in CALLBACKS):
            raise Unsupported(f"{_UNMODELLED[arg.kind]} (helper {prototype.name})")
    if prototype.returns in (
        ReturnKind.BTF_POINTER,
        ReturnKind.BTF_POINTER_OR_NULL,
        ReturnKind.BTF_POINTER_TRUSTED,
        ReturnKind.MEM_OR_BTF_POINTER,
        ReturnKind.MEM_OR_BTF_POINTER_OR_NULL,
    ):
        raise Unsupported(f"BTF-typed pointers (helper {prototype.name})")
    return prototype


def _unavailable(setting: Setting, helper: int) -> str:
    """Why the program may not call ``helper``, empty if it may."""
    program = setting.program
    return setting.platform.unavailable(helper, program.program_type, program.expected_attach_type, program.section)


def contract_violations(setting: Setting, state: State, helper: int) -> list[ArgumentViolation]:
    """Every argument that does not fit, or that the helper is not to be called at all."""
    prototype = prototype_of(setting, helper)
    if prototype is None:
        reason = _unavailable(setting, helper)
        return [ArgumentViolation(Violation(AssertionKind.HELPER_UNAVAILABLE, reason), Register.R0)]
    found = []
    handle = map_argument(prototype, state)
    for index, arg in enumerate(prototype.args):
        register = _ARGUMENTS[index]
        value = state.registers[register]
        if value is Special.UNINITIALISED:
            problem: Violation | None = Violation(
                AssertionKind.UNINITIALISED_REGISTER, f"r{register} is read but may not have been written"
            )
        else:
            problem = _argument(setting, state, prototype, index, on_map(setting, handle, arg), value)
        if problem is not None:
            where = f"argument {index + 1} of {prototype.name}: {problem.message}"
            found.append(ArgumentViolation(problem._replace(message=where), register))
    if prototype.name in CALLBACKS and len(state.frames) >= MAX_FRAMES:
        deep = Violation(AssertionKind.CALL_DEPTH, f"more than {MAX_FRAMES} nested calls")
        found.append(ArgumentViolation(deep, Register.R0))
    if helper == TAIL_CALL and state.frames[-1].is_callback:
        raise Unsupported("a tail call in a function called by a helper")
    if helper == TAIL_CALL and any(state.facts.range(base).hi > 0 for base in state.references):
        held = Violation(AssertionKind.UNRELEASED_REFERENCE, "a tail call leaves a reference unreleased")
        found.append(ArgumentViolation(held, Register.R0))
    return found


def _bad(message: str, needed: str = "") -> Violation:
    return Violation(AssertionKind.HELPER_ARGUMENT, message, needed)


def _is_null(value: Value) -> bool:
    return value == ZERO


def map_argument(prototype: HelperPrototype, state: State) -> Pointer | None:
    """The map that a helper is given; None where it takes none, or something else was passed."""
    for index, arg in enumerate(prototype.args):
        if arg.kind is _MAP_ARGUMENT:
            value = state.registers[index + 1]
            return value if isinstance(value, Pointer) and value.region.kind is MAP else None
    return None


def on_map(setting: Setting, handle: Pointer | None, arg: HelperArg) -> HelperArg:
    """What the argument is, given the map."""
    return arg if handle is None else setting.platform.argument(arg, setting.map_of(handle.region).type)


def _extent(setting: Setting, state: State, prototype: HelperPrototype, index: int, arg: HelperArg) -> Range | None:
    """How many bytes a memory argument covers; None where another argument is at fault and reported there."""
    match arg.kind:
        case ArgKind.MAP_KEY | ArgKind.MAP_VALUE | ArgKind.MAP_VALUE_UNINIT | ArgKind.MAP_VALUE_OR_NULL:
            handle = map_argument(prototype, state)
            if handle is None:
                return None
            spec = setting.map_of(handle.region)
            size = spec.key_size if arg.kind is ArgKind.MAP_KEY else spec.value_size
            return Range(size, size)
        case ArgKind.FIXED_MEM:
            if arg.size is None:
                raise Unsupported(f"memory of unknown size (helper {prototype.name})")
            return Range(arg.size, arg.size)
        case _:
            value = state.registers[index + 2]
            if not isinstance(value, Term):
                return None
            size_range = state.facts.range(value)
            return None if size_range.hi > MAX_SIZE else size_range


def _argument(
    setting: Setting, state: State, prototype: HelperPrototype, index: int, arg: HelperArg, value: Value
) -> Violation | None:
    if arg.kind in _PLAIN_MEMORY:
        return _memory_argument(setting, state, prototype, index, arg, value)
    match arg.kind:
        case ArgKind.ANYTHING:
            if prototype.name == "bpf_get_local_storage" and value != ZERO:
                return _bad(f"the flags ({state.show(value)}) are not 0", "0")
            return None
        case ArgKind.SCALAR:
            return None if isinstance(value, Term) else _bad(f"{state.show(value)} is not a number")
        case ArgKind.SIZE | ArgKind.SIZE_OR_ZERO | ArgKind.ALLOC_SIZE:
            return _size_argument(state, arg, value)
        case ArgKind.CTX | ArgKind.CTX_OR_NULL:
            if arg.nullable and _is_null(value):
                return None
            return _handle(state, value, RegionKind.CONTEXT, "the context pointer")
        case ArgKind.MAP:
            problem = _handle(state, value, RegionKind.MAP, "a map")
            if problem is not None or not isinstance(value, Pointer):
                return problem
            map_type = setting.map_type_of(value.region)
            if not setting.platform.map_accepts(map_type.number, prototype.name):
                return _bad(f"a map of type {map_type.name} is not accepted")
            if prototype.name in _CHANGES_MAP and not setting.may_change(value.region):
                return _bad(f"map {setting.map_of(value.region).name} is read-only")
            if prototype.name in _CHANGES_MAP and map_type.name in ("sockmap", "sockhash"):
                return _socket_map_change(setting, prototype)
            if prototype.name == "bpf_for_each_map_elem" and map_type.name not in _HAVE_ELEMENTS:
                return _bad(f"the elements of a map of type {map_type.name} cannot be gone through")
            return None
        case ArgKind.RINGBUF_MEM:
            if not isinstance(value, Pointer) or value.region.kind is not RegionKind.MEMORY:
                return _bad(f"{state.show(value)} is not ring buffer memory")
            return _reference_argument(state, value)
        case ArgKind.SOCK_COMMON | ArgKind.BTF_SOCK_COMMON | ArgKind.SOCK_OR_NULL | ArgKind.BTF_SOCK_COMMON_OR_NULL:
            if arg.nullable and _is_null(value):
                return None
            if not isinstance(value, Pointer) or value.region.name not in SOCKETS:
                return _bad(f"{state.show(value)} is not a socket")
            if arg.releases:
                return _reference_argument(state, value)
            if not arg.nullable and state.facts.range(value.base).lo == 0:
                return _bad("the socket may be null", "a null check before the call")
            return None if value.offset == ZERO else _bad(f"{state.show(value)} is not the start of a socket")
        case ArgKind.MAP_VALUE if _holds_sockets(setting, state, prototype):
            is_socket = isinstance(value, Pointer) and value.region.name in SOCKETS
            if not is_socket or not isinstance(value, Pointer):
                return _bad(f"{state.show(value)} is not a socket")
            if state.facts.range(value.base).lo == 0:
                return _bad("the socket may be null", "a null check before the call")
            return None if value.offset == ZERO else _bad(f"{state.show(value)} is not the start of a socket")
        case ArgKind.CONST_STRING:
            return _string_argument(setting, state, value)
        case ArgKind.FUNCTION:
            return _handle(state, value, RegionKind.FUNCTION, "a function")
        case ArgKind.STACK_OR_NULL:
            if _is_null(value):
                return None
            if not isinstance(value, Pointer) or value.region.kind is not RegionKind.STACK:
                return _bad(f"{state.show(value)} is not on the stack")
            problem = violation(setting, state, value, Range(0, 0), Mode.WRITE)
            return None if problem is None else problem._replace(kind=AssertionKind.HELPER_ARGUMENT)
        case _:
            return _memory_argument(setting, state, prototype, index, arg, value)


def _socket_map_change(setting: Setting, prototype: HelperPrototype) -> Violation | None:
    """Maps of sockets are changed by programs that run where no socket is locked (``may_update_sockmap`` in Linux)."""
    name = setting.program.program_type
    if name in _CHANGE_SOCKET_MAPS or (name == "sock_ops" and prototype.name == "bpf_map_delete_elem"):
        return None
    return _bad(f"{name} programs may not change maps of sockets")


def _holds_sockets(setting: Setting, state: State, prototype: HelperPrototype) -> bool:
    """Whether the values of the map are sockets, as far as helpers go."""
    handle = map_argument(prototype, state)
    return handle is not None and setting.map_type_of(handle.region).name in ("sockmap", "sockhash")


def _string_argument(setting: Setting, state: State, value: Value) -> Violation | None:
    """A string that ends, in data that nobody can change (``check_reg_const_str`` in Linux)."""
    if not isinstance(value, Pointer) or value.region.kind is not RegionKind.MAP_VALUE:
        return _bad(f"{state.show(value)} is not a string in read-only data", "a constant string")
    spec = setting.map_of(value.region)
    offset = state.facts.range(value.offset)
    if state.facts.range(value.base).lo == 0 or not spec.read_only or spec.initial is None:
        return _bad(f"{state.show(value)} is not a string in read-only data", "a constant string")
    if offset.lo != offset.hi or 0 not in spec.initial[offset.lo :]:
        return _bad(f"{state.show(value)} is not known to be a string that ends", "a constant string")
    return None


def _size_argument(state: State, arg: HelperArg, value: Value) -> Violation | None:
    if not isinstance(value, Term):
        return _bad(f"{state.show(value)} is not a size")
    known = state.facts.range(value)
    if arg.kind is ArgKind.ALLOC_SIZE and known.lo != known.hi:
        return _bad("the size is not a known constant")
    if known.hi > MAX_SIZE:
        return _bad(f"the size ({state.show(value)}) may be negative or too large", f"size <= {MAX_SIZE}")
    if arg.kind is ArgKind.SIZE and known.lo == 0:
        return _bad(f"the size ({state.show(value)}) may be zero", "size > 0")
    return None


def _handle(state: State, value: Value, kind: RegionKind, what: str) -> Violation | None:
    if not isinstance(value, Pointer) or value.region.kind is not kind:
        return _bad(f"{state.show(value)} is not {what}")
    if state.facts.range(value.base).lo == 0:
        return _bad(f"{what} may be null", "a null check before the call")
    if value.offset != ZERO:
        return _bad(f"{state.show(value)} does not point to the start of it", f"{what} itself")
    return None


def _reference_argument(state: State, value: Pointer) -> Violation | None:
    if value.base not in state.references:
        return _bad("the reference was released already or never acquired")
    if value.offset != ZERO:
        return _bad("the pointer is not the one that was acquired")
    if state.facts.range(value.base).lo == 0:
        return _bad("the reference may be null", "a null check before the call")
    return None


def _memory_argument(
    setting: Setting, state: State, prototype: HelperPrototype, index: int, arg: HelperArg, value: Value
) -> Violation | None:
    extent = _extent(setting, state, prototype, index, arg)
    if arg.nullable and _is_null(value):
        if arg.is_sized_memory and (extent is None or extent.hi > 0):
            return _bad("null memory with a size that may not be zero", "size == 0")
        return None
    if extent is None:
        return None
    if isinstance(value, Pointer):
        kind = value.region.kind
        if kind is PACKET and not prototype.packet_access:
            return _bad("the helper does not take pointers to the packet")
        if kind is CONTEXT or kind is OBJECT:
            return _bad(f"{state.show(value)} is not plain memory")
    for mode, wanted in ((_READ, arg.reads), (_WRITE, arg.writes)):
        if wanted:
            problem = violation(setting, state, value, extent, mode, f"r{index + 1}")
            if problem is not None:
                return problem._replace(kind=AssertionKind.HELPER_ARGUMENT)
    return None


# Effects ----------------------------------------------------------------------------------------------------------


def packet_moved(setting: Setting, state: State) -> None:
    """Packet pointers are stale everywhere, callers' frames included, and the packet has a new extent."""

    def stale(value: Value) -> Value:
        return Special.STALE if isinstance(value, Pointer) and value.region.kind is RegionKind.PACKET else value

    state.map_values(stale)
    state.packet_size = unknown(setting, state, 0, MAX_PACKET_SIZE)
    if state.packet_meta != ZERO:
        state.packet_meta = unknown(setting, state, *METADATA_OFFSETS)


def call_helper(setting: Setting, state: State, helper: int) -> None:
    """The effect of a call whose contract holds (or whose violation has been noted)."""
    prototype = prototype_of(setting, helper)
    if prototype is None:
        leave(state, Special.POISON)
        return
    handle = map_argument(prototype, state)
    for index, declared in enumerate(prototype.args):
        arg, value = on_map(setting, handle, declared), state.registers[index + 1]
        if arg.writes and isinstance(value, Pointer):
            extent = _extent(setting, state, prototype, index, arg)
            overwrite(state, value, Range(0, MAX_SIZE) if extent is None else extent, certain=not arg.reads)
        if arg.releases:
            _release(state, value)
    result = _result(setting, state, prototype, handle)
    if prototype.changes_packet:
        packet_moved(setting, state)
    leave(state, result)


def leave(state: State, result: Value) -> None:
    """R0 holds what a helper returned, its arguments are gone."""
    state.registers[0] = result
    state.registers[1:6] = [Special.UNINITIALISED] * 5


def _release(state: State, value: Value) -> None:
    if not isinstance(value, Pointer):
        state.references = ()  # this run trapped before: what it held is not to be reported again
        return
    base = value.base
    if base.symbol == NO_SYMBOL:
        return
    kept = tuple(held for held in state.references if held != base)
    kind = value.region.kind

    def gone(value: Value) -> bool:
        """A copy, or a pointer of which it is not known any more to which object of the kind it refers."""
        return (
            isinstance(value, Pointer)
            and value.region.kind is kind
            and value.base.symbol != NO_SYMBOL
            and value.base not in kept
        )

    state.references = kept
    state.map_values(lambda value: Special.DANGLING if gone(value) else value)


def _result(setting: Setting, state: State, prototype: HelperPrototype, handle: Pointer | None) -> Value:
    match prototype.returns:
        case ReturnKind.INTEGER:
            return (
                _bounded(setting, state, prototype) if prototype.name in _BOUNDED_BY_SIZE else unknown(setting, state)
            )
        case ReturnKind.VOID:
            return Special.UNINITIALISED
        case ReturnKind.MAP_VALUE | ReturnKind.MAP_VALUE_OR_NULL:
            if prototype.name not in _LOOKUPS and handle is not None:
                # Storage of an object: what a lookup in the map yields is another question.
                base = NEVER_NULL if prototype.returns is ReturnKind.MAP_VALUE else unknown(setting, state)
                region = handle.region
                return Pointer(replace(region, kind=RegionKind.MAP_VALUE), base, ZERO)
            return _looked_up(setting, state, prototype, handle)
        case ReturnKind.MEM_OR_NULL:
            index = next((i for i, arg in enumerate(prototype.args) if arg.kind is ArgKind.ALLOC_SIZE), None)
            size = state.registers[index + 1] if index is not None else None
            if not isinstance(size, Term):
                return Special.POISON
            known = state.facts.range(size)
            if known.lo != known.hi:
                return Special.POISON
            return _acquired(
                setting, state, prototype, region_of(RegionKind.MEMORY, size=known.lo, name=prototype.name)
            )
        case ReturnKind.SOCK_OR_NULL | ReturnKind.TCP_SOCK_OR_NULL | ReturnKind.SOCK_COMMON_OR_NULL:
            name = prototype.returns.value.removesuffix(" or null")
            return _acquired(setting, state, prototype, region_of(RegionKind.OBJECT, name=name))
        case _:
            raise Unsupported(f"result of helper {prototype.name}")


def _bounded(setting: Setting, state: State, prototype: HelperPrototype) -> Term:
    """An error, or at most as many bytes as the helper was given room for."""
    index = next(i for i, arg in enumerate(prototype.args) if arg.kind in (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO))
    size = state.registers[index + 1]
    if not isinstance(size, Term) or state.facts.range(size).hi > MAX_SIZE:
        return unknown(setting, state)
    result = unknown(setting, state, -_MAX_ERRNO, state.facts.range(size).hi)
    assume(state, Comparison.SLE, result, size, 64)
    return result


def _acquired(setting: Setting, state: State, prototype: HelperPrototype, region: Region) -> Pointer:
    base = unknown(setting, state)
    if prototype.acquires:
        state.references = (*state.references, base)
    return Pointer(region, base, ZERO)


def _looked_up(setting: Setting, state: State, prototype: HelperPrototype, handle: Pointer | None) -> Value:
    if handle is None:
        return Special.POISON
    map_type = setting.map_type_of(handle.region)
    base = NEVER_NULL if prototype.returns is ReturnKind.MAP_VALUE else unknown(setting, state)
    index, inner, map_name = handle.region.index, handle.region.inner, handle.region.name
    match map_type.lookup:
        case LookupResult.VALUE:
            return Pointer(region_of(RegionKind.MAP_VALUE, index, inner=inner, name=map_name), base, ZERO)
        case LookupResult.MAP:
            if inner:
                raise Unsupported("maps nested more than two deep")
            return Pointer(region_of(RegionKind.MAP, index, inner=True, name=map_name), base, ZERO)
        case LookupResult.SOCKET | LookupResult.XDP_SOCKET:
            if map_type.lookup is LookupResult.XDP_SOCKET:
                return Pointer(region_of(RegionKind.OBJECT, name="xdp socket"), base, ZERO)
            state.references = (*state.references, base)  # sockets from maps are counted, whatever the prototype says
            return Pointer(region_of(RegionKind.OBJECT, name="socket"), base, ZERO)
        case LookupResult.NOTHING:
            return Special.POISON
