"""Calls of helpers: what one leaves behind.

A helper is trusted to keep its contract (``docs/safety.md``): it writes only what its arguments allow, and what it
returns is of the kind its prototype says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from prevail_py.domains.lattice import NO_SYMBOL, Range, Term
from prevail_py.platforms.model import ArgKind, HelperPrototype, LookupResult, ReturnKind
from prevail_py.verifier.prototypes import MAX_SIZE, extent_of, map_argument, on_map, prototype_of
from prevail_py.verifier.regions import overwrite
from prevail_py.verifier.scalars import assume, unknown
from prevail_py.verifier.setting import MAX_PACKET_SIZE, METADATA_OFFSETS, Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.values import NEVER_NULL, ZERO, Pointer, Region, RegionKind, Special, Value, region_of
from prevail_py.words import Comparison

__all__ = ["call_helper", "leave", "packet_moved"]

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
            extent = extent_of(setting, state, prototype, index, arg) or Range(0, MAX_SIZE)
            if prototype.copies:
                extent = Range(_copied(setting, state, prototype, extent), extent.hi)
            overwrite(state, value, extent, certain=not arg.reads)
        if arg.releases:
            _release(state, value)
    result = _result(setting, state, prototype, handle)
    if prototype.changes_packet:
        packet_moved(setting, state)
    leave(state, result)


def _copied(setting: Setting, state: State, prototype: HelperPrototype, room: Range) -> int:
    """How many bytes a helper that copies writes at least: none where there may be no room for them."""
    copied = extent_of(setting, state, prototype, 2, prototype.args[2])
    return copied.lo if copied is not None and copied.hi <= room.lo else 0


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
