"""The fixpoint, step by step: what each block was executed in, and what became of the head of each loop.

:func:`record` makes one attempt of the analysis with an observer.  What it finds is what the verifier finds with the
same options, and nothing of a recording is ever used for a verdict.

>>> from prevail_py.objects.text import assemble
>>> text = "r1 = 0; again:; r1 += 2; if r1 < 100 goto again; r0 = r1; exit".replace(";", chr(10))
>>> recording = record(assemble(text))
>>> for moment in recording.at(1):
...     print(moment.how.value, *(state.show(state.registers[1]) for state in moment.after))
enter 0
join s3 in [0, 2]
widen s4 in [0, 98]
covered s4 in [0, 98]
stable s4 in [0, 98]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from html import escape
from typing import Final, TypeAlias

from prevail_py._render import Table
from prevail_py.cfg.graph import Block, ControlFlowGraph
from prevail_py.domains import DEFAULT, facts
from prevail_py.domains.lattice import Range, Term
from prevail_py.isa.disassembler import disassemble
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.verifier.assertions import Assertion
from prevail_py.verifier.blocks import BudgetExhausted, CallString
from prevail_py.verifier.fixpoint import Fixpoint, Iteration
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.values import Pointer, Value

__all__ = ["How", "Moment", "Recording", "record"]

_BUDGET: Final = 20_000
"""Abstract steps of a recording: what somebody may want to step through is far shorter."""


class How(Enum):
    """What happened: a block is entered (``final``: for good), or the head of a loop is looked at again."""

    ENTER = "enter"
    FINAL = "final"
    JOIN = "join"
    WIDEN = "widen"
    COVERED = "covered"
    DESCEND = "descend"
    STABLE = "stable"


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of the fixpoint at the block that starts at slot ``pc``, reached by the active calls ``calls``.

    ``after`` are the states of its head from then on.  For the head of a loop that is looked at again, ``before`` are
    those until then, and ``arriving`` those that the edges back brought (in the descent: all edges).
    """

    number: int
    calls: CallString
    pc: int
    how: How
    after: tuple[State, ...]
    before: tuple[State, ...] = ()
    arriving: tuple[State, ...] = ()


Place: TypeAlias = int | str
"""A register by number, or a cell of the innermost frame by its offset from R10, such as ``"r10-8"``."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The moments of one analysis of ``program``, in order.

    ``ending`` is empty where the fixpoint was reached, and otherwise says what ended it before: ``budget``, or what is
    not supported.
    """

    program: Program = field(repr=False)
    graph: ControlFlowGraph = field(repr=False)
    moments: tuple[Moment, ...] = field(repr=False)
    steps: int
    ending: str = ""

    def at(self, pc: int, calls: CallString = ()) -> tuple[Moment, ...]:
        """What happened at the block that starts at slot ``pc``, without visits that repeat what is there already."""
        found: list[Moment] = []
        for moment in self.moments:
            if (moment.pc, moment.calls) != (pc, calls):
                continue
            if moment.how in (How.ENTER, How.FINAL) and found and found[-1].after == moment.after:
                continue
            found.append(moment)
        return tuple(found)

    def heads(self) -> tuple[tuple[CallString, int], ...]:
        """The heads of loops that were iterated, as (active calls, slot), in order of their first iteration."""
        iterated = (moment for moment in self.moments if moment.how not in (How.ENTER, How.FINAL))
        return tuple(dict.fromkeys((moment.calls, moment.pc) for moment in iterated))

    def evolution(
        self, pc: int, place: Place, calls: CallString = (), signed: bool = True
    ) -> tuple[tuple[How, Range | None], ...]:
        """How the range of a register or stack cell at a block head went from one moment to the next.

        Of a pointer it is the range of its offset; over several states, the hull.  None where the place holds nothing
        of the kind in some state, or there is no state.  Raises ValueError for a place that is none.
        """
        where = _place(place)
        return tuple((moment.how, _hull(moment.after, where, signed)) for moment in self.at(pc, calls))

    def __str__(self) -> str:
        return "\n".join(
            f"{moment.number}: {moment.how.value} slot {moment.pc}"
            + (f" called from {', '.join(map(str, moment.calls))}" if moment.calls else "")
            for moment in self.moments
        )

    def _repr_html_(self) -> str:
        counts = {how: sum(moment.how is how for moment in self.moments) for how in How}
        rows = []
        for calls, pc in self.heads():
            instruction = self.program.code[pc]
            moments = self.at(pc, calls)
            rows.append(
                (
                    f"{pc}" + (f" (from {', '.join(map(str, calls))})" if calls else ""),
                    "" if instruction is None else disassemble(instruction, pc),
                    ", ".join(moment.how.value for moment in moments),
                )
            )
        told = ", ".join(f"{count} {how.value}" for how, count in counts.items() if count)
        end = f": ended by {escape(self.ending)}" if self.ending else ""
        head = f"<p><b>{escape(self.program.name)}</b>: {len(self.moments)} moments ({told}){end}</p>"
        return head + Table(("loop at", "instruction", "what happened"), tuple(rows))._repr_html_() if rows else head


class _Recorder:
    """The observer."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def visited(self, calls: CallString, block: Block, states: Sequence[State], final: bool) -> None:
        how = How.FINAL if final else How.ENTER
        self.moments.append(Moment(len(self.moments), calls, block.start, how, tuple(states)))

    def iterated(
        self,
        calls: CallString,
        head: Block,
        how: Iteration,
        before: Sequence[State],
        arriving: Sequence[State],
        after: Sequence[State],
    ) -> None:
        number = len(self.moments)
        moment = Moment(number, calls, head.start, How(how.value), tuple(after), tuple(before), tuple(arriving))
        self.moments.append(moment)


def record(program: Program, domain: str = DEFAULT, disjuncts: int = 1, budget: int = _BUDGET) -> Recording:
    """Analyse ``program`` once, with ``disjuncts`` states kept apart per block, and keep every moment.

    Raises ValueError for a domain that there is none of, a program type that the platform does not have, and
    :class:`~prevail_py.cfg.graph.CfgError` for a program without a control-flow graph.
    """
    host = platform(program.platform)
    if program.program_type not in host.program_types:
        raise ValueError(f"program type {program.program_type!r}")
    if min(disjuncts, budget) < 1:
        raise ValueError("disjuncts and budget must be at least 1")
    recorder = _Recorder()
    fixpoint = Fixpoint(Setting(program, host, facts(domain)), disjuncts, budget, _nothing, observer=recorder)
    ending = ""
    try:
        fixpoint.run()
    except Unsupported as unsupported:
        ending = unsupported.what
    except BudgetExhausted:
        ending = "budget"
    return Recording(program, fixpoint.graph, tuple(recorder.moments), fixpoint.steps, ending)


def _nothing(pc: int, assertions: Sequence[Assertion], state: State) -> None:
    """Assertions are not what a recording is about."""


def _place(place: Place) -> int | str:
    if isinstance(place, int):
        if not 0 <= place <= 10:
            raise ValueError(f"there is no register r{place}")
        return place
    text = place.replace(" ", "").lower()
    if text.startswith("r10-") and text[4:].isdecimal():
        return text
    if text.startswith("r") and text[1:].isdecimal() and int(text[1:]) <= 10:
        return int(text[1:])
    raise ValueError(f"not a place: {place!r} (a register, or a cell such as 'r10-8')")


def _hull(states: Sequence[State], where: int | str, signed: bool) -> Range | None:
    ranges = []
    for state in states:
        term = _term(_content(state, where))
        if term is None:
            return None
        ranges.append(state.facts.range(term, signed=signed))
    return Range(min(r.lo for r in ranges), max(r.hi for r in ranges)) if ranges else None


def _content(state: State, where: int | str) -> Value | None:
    if isinstance(where, int):
        return state.registers[where]
    cell = state.frames[-1].cells.get(512 - int(where[4:]))
    return None if cell is None else cell[1]


def _term(value: Value | None) -> Term | None:
    match value:
        case Pointer(offset=offset):
            return offset
        case Term():
            return value
        case _:
            return None
