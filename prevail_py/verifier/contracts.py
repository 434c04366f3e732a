"""Calls of helpers: whether every argument fits the prototype.

A helper is trusted to keep its contract (``docs/safety.md``): it reads and writes only what its arguments allow.  What
a call leaves behind is in :mod:`prevail_py.verifier.helper_effects`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from prevail_py.domains.lattice import Range, Term
from prevail_py.isa.instructions import Register
from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype
from prevail_py.verifier.assertions import AssertionKind, Mode
from prevail_py.verifier.prototypes import (
    CALLBACKS,
    MAX_SIZE,
    SOCKETS,
    TAIL_CALL,
    extent_of,
    map_argument,
    on_map,
    prototype_of,
    unavailable,
)
from prevail_py.verifier.regions import Violation, violation
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.values import (
    CONTEXT,
    MAX_FRAMES,
    OBJECT,
    PACKET,
    ZERO,
    Pointer,
    RegionKind,
    Special,
    Value,
)

__all__ = ["ArgumentViolation", "contract_violations"]

_CHANGES_MAP: Final = frozenset({
    "bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map_lookup_and_delete_elem", "bpf_map_push_elem",
    "bpf_map_pop_elem",
})  # fmt: skip

_CHANGE_SOCKET_MAPS: Final = frozenset(
    {"socket_filter", "sched_cls", "sched_act", "xdp", "sk_reuseport", "flow_dissector", "sk_lookup"}
)

_HAVE_ELEMENTS: Final = frozenset({"hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash"})
"""Map types that ``bpf_for_each_map_elem`` goes through."""

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
_READ, _WRITE = Mode.READ, Mode.WRITE
_ARGUMENTS: Final = (Register.R1, Register.R2, Register.R3, Register.R4, Register.R5)


class ArgumentViolation(NamedTuple):
    """A violation and the register it is about."""

    violation: Violation
    register: Register


def contract_violations(setting: Setting, state: State, helper: int) -> list[ArgumentViolation]:
    """Every argument that does not fit, or that the helper is not to be called at all."""
    prototype = prototype_of(setting, helper)
    if prototype is None:
        reason = unavailable(setting, helper)
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
    extent = extent_of(setting, state, prototype, index, arg)
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
