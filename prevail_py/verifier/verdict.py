"""Verdicts: what the verifier says of a program, with everything needed to understand it.

SAFE: every assertion is proved.  UNSAFE: a violation was replayed in the reference interpreter.  UNKNOWN: neither; the
failures name every assertion that is not proved and what is missing.  UNSUPPORTED: the program uses something the
verifier does not model; ``reason`` says what.  Only SAFE opens the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Final

from prevail_py._render import Table, badge, details, preformatted
from prevail_py.isa.disassembler import disassemble
from prevail_py.objects.program import Program, SourceLine

if TYPE_CHECKING:
    from prevail_py.objects.region_facts import RegionFacts
    from prevail_py.verifier.explain import Explanation
    from prevail_py.verifier.state import State
    from prevail_py.verifier.termination import Termination
    from prevail_py.verifier.witness import Witness
    from prevail_py.vm.machine import Machine

__all__ = ["Discharged", "Failure", "Invariants", "Verdict", "VerdictKind"]


class VerdictKind(Enum):
    """The four verdicts, never mixed."""

    SAFE = "SAFE"
    UNSAFE = "UNSAFE"
    UNKNOWN = "UNKNOWN"
    UNSUPPORTED = "UNSUPPORTED"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Failure:
    """An assertion that is not proved.

    ``assertion`` is its kind, as in ``docs/safety.md``; ``state`` the abstract state in which it may fail, one fact a
    line; ``needed`` what would have to be known.
    """

    pc: int
    assertion: str
    message: str
    line: SourceLine | None = None
    state: str = ""
    needed: str = ""

    def __str__(self) -> str:
        where = f"{self.line}: " if self.line else ""
        needed = f" (needed: {self.needed})" if self.needed else ""
        return f"{where}slot {self.pc}: {self.assertion}: {self.message}{needed}"


@dataclass(frozen=True, slots=True)
class Discharged:
    """An assertion that the domains leave unproved, and of which the solver showed that no run violates it.

    It is about slot ``pc`` reached by the active calls ``calls``, in one state.  ``query`` is what the solver found to
    be unsatisfiable, as an SMT-LIB script: that a run comes there and violates ``assertion``.  ``rlimit`` is what that
    took, in the solver's own unit.  ``starts`` are the places from which it was asked for: the entry of the program and
    heads of loops, as (active calls, slot), whose invariants the query takes for granted.
    """

    calls: tuple[int, ...]
    pc: int
    assertion: str
    query: str = field(repr=False)
    rlimit: int = 0
    starts: tuple[tuple[tuple[int, ...], int], ...] = ()


class Invariants(Mapping[tuple[tuple[int, ...], int], tuple[str, ...]]):
    """What holds at block heads: (call string, first slot) to the states, each as text with one fact a line.

    The call string holds the slots of the active calls, outermost first.  Blocks that are never reached have no states.
    :meth:`before` gives the states in front of any instruction, recomputed from the head of its block; :meth:`states`
    gives them as objects, and :meth:`walk` those of a whole block.
    """

    def __init__(
        self,
        states: Callable[[], Mapping[tuple[tuple[int, ...], int], tuple[str, ...]]],
        before: Callable[[tuple[int, ...], int], Sequence[State]],
        walk: Callable[[tuple[int, ...], int], Iterator[tuple[int, Sequence[State]]]],
        excludes: Callable[[Machine], str | None],
    ) -> None:
        self._render = states
        self._before = before
        self._walk = walk
        self._excludes = excludes

    @cached_property
    def _states(self) -> Mapping[tuple[tuple[int, ...], int], tuple[str, ...]]:
        return self._render()  # most verdicts are never asked for the text

    def __getitem__(self, key: tuple[tuple[int, ...], int]) -> tuple[str, ...]:
        return self._states[key]

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], int]]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    def before(self, pc: int, calls: tuple[int, ...] = ()) -> tuple[str, ...]:
        """The states, as text, in which slot ``pc`` may be executed; empty where it is never reached."""
        return tuple(map(str, self._before(calls, pc)))

    def states(self, pc: int, calls: tuple[int, ...] = ()) -> tuple[State, ...]:
        """Likewise as objects, for pictures and for asking their facts; they are copies."""
        return tuple(state.copy() for state in self._before(calls, pc))

    def walk(self, pc: int, calls: tuple[int, ...] = ()) -> Iterator[tuple[int, Sequence[State]]]:
        """Each slot of the block that holds ``pc``, with the states in front of it.

        Where the function was analysed for several calls, those that were found for exactly these ones.  Raises
        LookupError for a slot that no path reaches.
        """
        return self._walk(calls, pc)

    def excludes(self, machine: Machine) -> str | None:
        """Why the concrete state of a running interpreter is in none of the states found for its slot.

        None where it is in one, as it must be after SAFE: meant for an observer of
        :func:`prevail_py.vm.interpreter.run`.
        """
        return self._excludes(machine)

    def __str__(self) -> str:
        out = []
        for (calls, pc), states in sorted(self._states.items()):
            where = f"slot {pc}" + (f", called from {', '.join(map(str, calls))}" if calls else "")
            if not states:
                out.append(f"{where}: unreachable")
            for number, state in enumerate(states, 1):
                label = f"{where} ({number} of {len(states)})" if len(states) > 1 else where
                out.append("\n".join([f"{label}:", *(f"    {line}" for line in state.splitlines())]))
        return "\n".join(out)

    def _repr_html_(self) -> str:
        parts = []
        for (calls, pc), states in sorted(self._states.items()):
            where = f"slot {pc}" + (f", called from {', '.join(map(str, calls))}" if calls else "")
            count = f"{len(states)} state{'' if len(states) == 1 else 's'}" if states else "unreachable"
            shown = "".join(preformatted(state) for state in states[:_MAX_STATES])
            more = f"<p>… {len(states) - _MAX_STATES} more</p>" if len(states) > _MAX_STATES else ""
            parts.append(details(f"{where}: {count}", shown + more))
            if len(parts) == _MAX_BLOCKS:
                parts.append(f"<p>… {len(self._states) - _MAX_BLOCKS} more blocks</p>")
                break
        return "".join(parts)


_MAX_BLOCKS: Final = 200  # in a notebook
_MAX_STATES: Final = 16  # of one block there

_MOODS = {
    VerdictKind.SAFE: "good",
    VerdictKind.UNSAFE: "bad",
    VerdictKind.UNKNOWN: "unsure",
    VerdictKind.UNSUPPORTED: "neutral",
}


def _no_invariants() -> Invariants:
    return Invariants(dict, lambda calls, pc: (), lambda calls, pc: iter(()), lambda machine: None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about ``program``.

    ``failures`` are in program order.  ``reason`` is set where there is no failure to blame: what is unsupported, or
    ``budget``.  ``seconds`` is CPU time; ``steps`` counts abstract steps (instructions times states), the measure of
    the budget.  ``disjuncts`` is the number of states kept apart per block in the run that decided.
    ``termination`` says whether the program ends, where that was asked for; it is no part of SAFE.
    ``assumptions`` lists facts about the host on which the verdict rests, and what a ``policy`` other than ``strict``
    allows (:mod:`prevail_py.verifier.policy`).
    ``discharged`` lists what the solver proved: SAFE rests on it where it is not empty.  ``witness`` has the inputs on
    which an UNSAFE program was seen to trap.
    """

    kind: VerdictKind
    program: Program = field(repr=False)
    failures: tuple[Failure, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    steps: int = 0
    disjuncts: int = 1
    assumptions: tuple[str, ...] = ()
    policy: str = "strict"
    invariants: Invariants = field(default_factory=_no_invariants, compare=False, repr=False)
    termination: Termination | None = None
    discharged: tuple[Discharged, ...] = ()
    witness: Witness | None = None
    explainer: Callable[[Failure], Explanation] | None = field(default=None, compare=False, repr=False)
    prover: Callable[[], RegionFacts] | None = field(default=None, compare=False, repr=False)
    certifier: Callable[[], dict[str, Any]] | None = field(default=None, compare=False, repr=False)

    @property
    def is_safe(self) -> bool:
        """Whether every assertion is proved that the policy asks for; only ``strict`` opens the gate."""
        return self.kind is VerdictKind.SAFE

    def region_facts(self) -> RegionFacts:
        """What was proved of the memory that the program touches, for engines that leave out checks because of it.

        Raises ValueError unless the verdict is SAFE, under the policy ``strict``, and was found in this process.
        """
        if not self.is_safe or self.policy != "strict" or self.prover is None:
            raise ValueError(f"{self.program.name}: no facts: {self.kind} ({self.policy})")
        return self.prover()

    def explain(self, failure: Failure) -> Explanation:
        """Why one of :attr:`failures` is not proved: a slice of the program, the facts that hold, the missing one.

        Raises ValueError for what is none of the failures.
        """
        from prevail_py.verifier.explain import Explanation, SliceStep

        if failure not in self.failures:
            raise ValueError(f"not a failure of this verdict: {failure}")
        if self.explainer is None:
            instruction = self.program.code[failure.pc] if failure.pc < len(self.program.code) else None
            text = "" if instruction is None else disassemble(instruction, failure.pc)
            return Explanation(failure, (), (SliceStep(failure.pc, text, failure.line),))
        return self.explainer(failure)

    def certificate(self) -> dict[str, Any]:
        """What proves the verdict, for a checker (``docs/certificates.md``): part of a JSON document.

        Raises ValueError where the verdict is not SAFE, or not under the policy ``strict``.
        """
        if not self.is_safe or self.policy != "strict" or self.certifier is None:
            raise ValueError(f"no certificate: {self.kind} under policy {self.policy}")
        return self.certifier()

    def explanations(self) -> tuple[Explanation, ...]:
        """:meth:`explain` for every failure."""
        return tuple(map(self.explain, self.failures))

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        lines = [f"{self.program.name}: {self.kind}{reason}"]
        if self.witness is not None:
            lines.append(f"  witness: {self.witness.headline}")
        return "\n".join([*lines, *(f"  {failure}" for failure in self.failures)])

    def _repr_html_(self) -> str:
        reason = f" {escape(self.reason)}" if self.reason else ""
        head = f"<p>{badge(str(self.kind), _MOODS[self.kind])} <b>{escape(self.program.name)}</b>{reason}</p>"
        if self.witness is not None:
            head += self.witness._repr_html_()
        head += "".join(f"<p>assumed: {escape(fact)}</p>" for fact in self.assumptions)
        if self.termination is not None:
            head += self.termination._repr_html_()
        if self.discharged:
            proved = tuple((str(each.pc), each.assertion, str(each.rlimit)) for each in self.discharged)
            by_solver = Table(("slot", "assertion", "rlimit"), proved, right=frozenset({0, 2}))
            head += details(f"{len(proved)} proved by the solver", by_solver._repr_html_())
        if not self.failures:
            return head
        rows = tuple(
            (
                str(failure.line or f"slot {failure.pc}"),
                failure.line.text.strip() if failure.line else "",
                failure.assertion,
                failure.message,
                failure.needed,
            )
            for failure in self.failures
        )
        table = Table(("where", "source", "assertion", "what may happen", "needed"), rows)
        states = "".join(f"<b>slot {f.pc}</b>{preformatted(f.state)}" for f in self.failures if f.state)
        reasons = "".join(f"<b>slot {e.failure.pc}</b>{e._repr_html_()}" for e in self.explanations())
        return f"{head}{table._repr_html_()}{details('why', reasons)}{details('states', states)}"
