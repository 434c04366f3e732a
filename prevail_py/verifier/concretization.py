"""Concretization: whether a concrete machine state is described by an abstract one.

This is the oracle of soundness.  A symbol may stand for any word, so every value the abstract state holds is matched
with the concrete value in the same place: the first match of a symbol fixes its word, later ones must agree, and in the
end Facts must allow the words found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prevail_py.domains.lattice import NO_SYMBOL, Symbol, Term
from prevail_py.verifier.state import State
from prevail_py.verifier.values import Pointer, RegionKind, Special, Value

if TYPE_CHECKING:
    from prevail_py.vm.machine import Machine
    from prevail_py.vm.memory import Region as ConcreteRegion

__all__ = ["excludes"]

_MASK: Final = (1 << 64) - 1


class _Mismatch(Exception):  # noqa: N818 - control flow within this module
    """The concrete state is not described; the message says where they differ."""


def excludes(state: State, machine: Machine) -> str | None:
    """Why the concrete state ``machine`` is not one of ``state``'s; None where it is."""
    words: dict[Symbol, int] = {}
    try:
        if len(state.frames) != len(machine.frames):
            raise _Mismatch(f"{len(machine.frames)} frames instead of {len(state.frames)}")
        if len(machine.references) > len(state.references):
            raise _Mismatch(f"{len(machine.references)} references are held, not {len(state.references)}")
        packet = machine.packet
        if packet is not None and state.packet_size.symbol != NO_SYMBOL:
            _term(state.packet_size, packet.data_end - packet.data, words, "packet size")
            if state.packet_meta.symbol != NO_SYMBOL:
                _term(state.packet_meta, packet.data_meta - packet.data, words, "packet metadata")
        for number, value in enumerate(state.registers):
            _value(value, machine.registers[number], machine.provenance[number], machine, words, f"r{number}")
        for depth, frame in enumerate(state.frames):
            region = machine.frames[depth]
            _frame(state, depth, region, machine, words)
            if depth:
                saved = machine.calls[depth].saved
                for offset, value in enumerate(frame.saved[:4]):
                    word, provenance = saved[offset]
                    _value(value, word, provenance, machine, words, f"saved r{6 + offset} of frame {depth - 1}")
    except _Mismatch as mismatch:
        return str(mismatch)
    if not state.facts.contains(words):
        shown = ", ".join(f"s{symbol} = {word:#x} ({state.facts.describe(symbol)})" for symbol, word in words.items())
        return f"facts exclude {shown}"
    return None


def _frame(state: State, depth: int, region: ConcreteRegion, machine: Machine, words: dict[Symbol, int]) -> None:
    frame = state.frames[depth]
    where = f"frame {depth}"
    for byte in range(region.size):
        if frame.initialised >> byte & 1 and region.initialised is not None and not region.initialised[byte]:
            raise _Mismatch(f"{where}: byte {byte} is not initialised")
    for offset, pointee in (region.pointers or {}).items():
        if frame.hides_pointer(offset, Special.UNUSABLE):
            raise _Mismatch(f"{where} at {offset} is a pointer to {pointee}, not a number")
    for offset, (size, value) in frame.cells.items():
        if isinstance(value, Special):
            continue
        word = int.from_bytes(region.data[offset : offset + size], "little")
        provenance = region.pointers.get(offset) if region.pointers and size == 8 else None
        _value(value, word, provenance, machine, words, f"{where} at {offset}")


def _value(
    value: Value,
    word: int | None,
    provenance: ConcreteRegion | None,
    machine: Machine,
    words: dict[Symbol, int],
    where: str,
) -> None:
    if isinstance(value, Special):
        return  # allows everything: see Special
    if word is None:
        raise _Mismatch(f"{where} is not initialised")
    if isinstance(value, Term):
        _term(value, word, words, where)
        return
    if provenance is None:
        # A null pointer is the number 0 plus the offset.
        _term(value.base, 0, words, f"{where} (null)")
        _term(value.offset, word, words, f"offset of {where}")
        return
    if value.base.symbol != NO_SYMBOL:
        _term(value.base, provenance.base, words, f"base of {where}")
    _region(value, provenance, where)
    # An empty packet is false: it has the length 0.
    packet = machine.packet if value.region.kind is RegionKind.PACKET else None
    origin = provenance.base if packet is None else packet.data
    _term(value.offset, word - origin, words, f"offset of {where}")


def _region(pointer: Pointer, concrete: ConcreteRegion, where: str) -> None:
    expected = pointer.region
    kind = "kernel object" if concrete.kind.value == "socket" else concrete.kind.value
    if kind != expected.kind.value:
        raise _Mismatch(f"{where} points to {concrete}, not {expected}")
    if expected.kind is RegionKind.STACK and concrete.frame != expected.index:
        raise _Mismatch(f"{where} points to frame {concrete.frame}, not {expected.index}")
    of_map = expected.kind in (RegionKind.MAP, RegionKind.MAP_VALUE) and not expected.inner
    if of_map and concrete.map_index != expected.index:
        raise _Mismatch(f"{where} points to map {concrete.map_index}, not {expected.index}")


def _term(term: Term, word: int, words: dict[Symbol, int], where: str) -> None:
    found = word - term.offset & _MASK
    if term.symbol == NO_SYMBOL:
        if found:
            raise _Mismatch(f"{where} is {word & _MASK:#x}, not {term.offset:#x}")
    elif words.setdefault(term.symbol, found) != found:
        raise _Mismatch(f"{where}: s{term.symbol} is both {words[term.symbol]:#x} and {found:#x}")
