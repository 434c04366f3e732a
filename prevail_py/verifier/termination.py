"""Bounds on loops: how often each may go round, and how many instructions a run may take.

A loop ends if some value grows (or shrinks) by at least one with every turn and stays between bounds at the head.  Both
are read off the invariants: the head's states are remembered in *ghosts*, values that no instruction can change, the
body is analysed once from there, and on each way back to the head the value is compared with its ghost.  Differences
and bounds are between mathematical integers, of words read as signed, so that what wraps has no bound.  A turn of a
loop includes those of the loops in it; that a helper goes through a function is bounded by its arguments.

What a bound says holds for runs that commit no violation, and so for all runs of a program that is SAFE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from prevail_py._render import Table
from prevail_py.domains.lattice import Range, Term
from prevail_py.isa.flow import target
from prevail_py.isa.instructions import Call, CallLocal
from prevail_py.objects.program import SourceLine
from prevail_py.verifier.prototypes import MAX_LOOPS
from prevail_py.verifier.state import State
from prevail_py.verifier.values import STACK_SIZE, Pointer, Region, RegionKind, Value

if TYPE_CHECKING:
    from prevail_py.verifier.blocks import CallString
    from prevail_py.verifier.fixpoint import Fixpoint, Loop

__all__ = ["MAX_TURNS", "LoopBound", "Termination", "measure", "termination"]

MAX_TURNS: Final = 1 << 32
"""A bound that is larger says that there is an end, and nothing else: it is not counted as one."""

Place: TypeAlias = int | tuple[int, int]
"""A register, or (frame, offset) of a cell on a stack."""


@dataclass(frozen=True, slots=True)
class LoopBound:
    """A loop, by the slot of its head and the calls that lead to its function.

    ``turns`` is how often it goes back to its head at most each time that it is entered, None where no bound was
    found; ``measure`` says why.
    """

    pc: int
    calls: tuple[int, ...]
    turns: int | None
    measure: str = ""
    line: SourceLine | None = None

    def __str__(self) -> str:
        where = f"{self.line}: " if self.line else ""
        called = f", called from {', '.join(map(str, self.calls))}" if self.calls else ""
        bound = "no bound found" if self.turns is None else f"at most {self.turns} turns ({self.measure})"
        return f"{where}loop at slot {self.pc}{called}: {bound}"


@dataclass(frozen=True, slots=True)
class Termination:
    """Whether a program ends: its loops in program order, and how many instructions it executes at most.

    ``instructions`` is None where some loop has no bound; programs that tail calls lead to are not counted.
    """

    loops: tuple[LoopBound, ...]
    instructions: int | None

    @property
    def is_proved(self) -> bool:
        """Whether every run ends."""
        return self.instructions is not None

    def __str__(self) -> str:
        end = "not proved" if self.instructions is None else f"at most {self.instructions} instructions"
        return "\n".join([f"termination: {end}", *(f"  {loop}" for loop in self.loops)])

    def _repr_html_(self) -> str:
        rows = tuple(
            (
                str(loop.pc),
                ", ".join(map(str, loop.calls)),
                str(loop.line or ""),
                "no bound found" if loop.turns is None else str(loop.turns),
                loop.measure,
            )
            for loop in self.loops
        )
        end = "is not proved" if self.instructions is None else f"after at most {self.instructions} instructions"
        table = Table(("loop at slot", "called from", "where", "turns", "because"), rows, frozenset({0, 3}))
        return f"<p>Termination {end}</p>" + (table.compact()._repr_html_() if rows else "")


# Ghosts -----------------------------------------------------------------------------------------------------------


def _term(value: Value) -> Term | None:
    """What of a value may be a measure: a number, or how far a pointer is in its region."""
    return value if isinstance(value, Term) else value.offset if isinstance(value, Pointer) else None


def _region(value: Value) -> Region | None:
    return value.region if isinstance(value, Pointer) else None


def _places(state: State) -> dict[Place, Value]:
    found: dict[Place, Value] = dict(enumerate(state.registers[:10]))
    for depth, frame in enumerate(state.frames):
        found.update({(depth, offset): value for offset, (_, value) in frame.cells.items()})
    return {place: value for place, value in found.items() if _term(value) is not None}


def _name(place: Place) -> str:
    if not isinstance(place, tuple):
        return f"r{place}"
    depth, offset = place
    return f"*(r10 - {STACK_SIZE - offset}){f' of frame {depth}' if depth else ''}"


def measure(head: Sequence[State], turn: Callable[[list[State]], list[State] | None]) -> tuple[int | None, str]:
    """The most turns of a loop with these states at its head, and the measure that proves it.

    ``turn`` gives the states on the ways back to the head from those at it, None where the loop has another entry.
    """
    if not head:
        return 0, "never reached"
    tables = [_places(state) for state in head]
    common = [
        place
        for place, value in tables[0].items()
        if all(place in table and _region(table[place]) == _region(value) for table in tables)
    ]
    started = []
    for state, table in zip(head, tables, strict=True):
        ghost = state.copy()
        frame = ghost.frames[-1]
        frame.saved = (*frame.saved, *(term for place in common if (term := _term(table[place])) is not None))
        started.append(ghost)
    count = len(common)
    back = turn(started)
    if back is None:
        return None, ""
    if not back:
        return 0, "never goes back"
    best: tuple[int, str] | None = None
    for index, place in enumerate(common):
        region = _region(tables[0][place])
        steps = [_step(state, place, region, state.frames[-1].saved[index - count]) for state in back]
        least = min(step.lo for step in steps)
        most = max(step.hi for step in steps)
        pace = least if least > 0 else -most if most < 0 else 0
        if not pace:
            continue
        ranges = [
            state.facts.range(term, signed=True)
            for state, table in zip(head, tables, strict=True)
            if (term := _term(table[place])) is not None
        ]
        lo, hi = min(known.lo for known in ranges), max(known.hi for known in ranges)
        turns = (hi - lo) // pace
        if turns <= MAX_TURNS and (best is None or turns < best[0]):
            how = "grows" if least > 0 else "shrinks"
            best = turns, f"{_name(place)} {how} by at least {pace} between {lo} and {hi}"
    return best or (None, "")


_ANY: Final = Range(-(1 << 64), 1 << 64)


def _step(state: State, place: Place, region: Region | None, ghost: Value) -> Range:
    """By how much a value, a number or a pointer into ``region``, has changed since its ghost was made."""
    if not isinstance(place, tuple):
        value: Value = state.registers[place]
    else:
        depth, offset = place
        cell = state.frames[depth].cells.get(offset)
        if cell is None:
            return _ANY
        value = cell[1]
    now = _term(value) if _region(value) == region else None
    return _ANY if now is None or not isinstance(ghost, Term) else state.facts.difference(now, ghost)


# Programs ---------------------------------------------------------------------------------------------------------


def termination(fixpoint: Fixpoint) -> Termination:
    """What :attr:`Fixpoint.loops` says of the whole program, which has been solved."""
    line_at = fixpoint.setting.program.line_at
    loops = tuple(
        LoopBound(pc, calls, *bound, line_at(pc)) for (calls, pc), bound in sorted(fixpoint.loops.items(), key=_order)
    )
    counter = _Counter(fixpoint)
    return Termination(loops, counter.function(fixpoint.graph.entry.entry_pc, ()))


def _order(item: tuple[Loop, object]) -> tuple[int, CallString]:
    (calls, pc), _ = item
    return pc, calls


class _Counter:
    """Adds up instructions, once for each function and call string."""

    def __init__(self, fixpoint: Fixpoint) -> None:
        self.fixpoint = fixpoint
        self._known: dict[tuple[int, CallString], int | None] = {}

    def function(self, pc: int, calls: CallString) -> int | None:
        """The most instructions of the function at slot ``pc``, with those it calls; None for no bound."""
        key = pc, calls
        if key not in self._known:
            self._known[key] = self._function(pc, calls)
        return self._known[key]

    def _function(self, pc: int, calls: CallString) -> int | None:
        graph = self.fixpoint.graph.function_at(pc)
        order = self.fixpoint.order_of(graph)
        total = 0
        factors: list[tuple[int, int]] = []  # where an open component ends, and how often its blocks may run
        for position, node in enumerate(order.order):
            while factors and factors[-1][0] <= position:
                factors.pop()
            block = graph.blocks[node]
            reached = bool(self.fixpoint.invariants.get((calls, block.start)))
            end = order.ends[position]
            if end > position and reached:
                turns, _ = self.fixpoint.loops.get((calls, block.start), (None, ""))
                if turns is None:
                    return None
                factors.append((end, (factors[-1][1] if factors else 1) * (turns + 1)))
            if not reached:
                continue
            cost = self._block(block.pcs, calls)
            if cost is None:
                return None
            total += cost * (factors[-1][1] if factors else 1)
        return total

    def _block(self, pcs: Sequence[int], calls: CallString) -> int | None:
        total = len(pcs)
        for pc in pcs:
            instruction = self.fixpoint.setting.program.code[pc]
            cost: int | None = 0
            if isinstance(instruction, CallLocal):
                cost = self.function(target(pc, instruction) or 0, (*calls, pc))
            elif isinstance(instruction, Call):
                cost = self._helper(pc, calls)
            if cost is None:
                return None
            total += cost
        return total

    def _helper(self, pc: int, calls: CallString) -> int | None:
        """What the functions that a helper calls execute."""
        total = 0
        setting = self.fixpoint.setting
        for state in self.fixpoint.states_before(calls, pc):
            function = state.registers[2]
            if not (isinstance(function, Pointer) and function.region.kind is RegionKind.FUNCTION):
                continue
            once = self.function(function.region.index, (*calls, pc))
            if once is None:
                return None
            first = state.registers[1]
            if isinstance(first, Pointer) and first.region.kind is RegionKind.MAP:
                times = setting.map_of(first.region).max_entries
            elif isinstance(first, Term):
                times = min(state.facts.range(first).hi, MAX_LOOPS)
            else:
                continue
            total = max(total, once * times)
        return total
