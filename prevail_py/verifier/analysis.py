"""From a program to a verdict: run the fixpoint, check, and try again more precisely where that may help."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import process_time
from typing import TYPE_CHECKING, Any, Final

from prevail_py.cfg.graph import CfgError
from prevail_py.domains import DEFAULT, facts
from prevail_py.domains.lattice import Facts
from prevail_py.isa.flow import target
from prevail_py.isa.instructions import Branch, Call, Jump, LoadImmediate64, MayGoto, Pseudo
from prevail_py.objects.program import Program, SourceLine
from prevail_py.platforms import platform
from prevail_py.verifier.assertions import Assertion, AssertionKind
from prevail_py.verifier.blocks import BudgetExhausted, CallString
from prevail_py.verifier.check import Finding, findings
from prevail_py.verifier.concretization import excludes
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.globals import prove
from prevail_py.verifier.policy import STRICT, Policy
from prevail_py.verifier.policy import policy as policy_of
from prevail_py.verifier.region_facts import region_facts
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.termination import termination as bounds
from prevail_py.verifier.values import Special
from prevail_py.verifier.verdict import Discharged, Failure, Invariants, Verdict, VerdictKind

if TYPE_CHECKING:
    from prevail_py.objects.region_facts import RegionFacts
    from prevail_py.verifier.explain import Explanation
    from prevail_py.verifier.smt.executor import Execution
    from prevail_py.verifier.termination import Termination
    from prevail_py.verifier.witness import Witness
    from prevail_py.vm.machine import Machine

__all__ = ["BUDGET", "DISJUNCTS", "verify"]

DISJUNCTS: Final = (1, 8, 64)
"""States kept apart per block and type signature, tried in this order until the program is proved."""

BUDGET: Final = 50_000
"""Abstract steps (instructions times states, and joins) of all attempts together, for programs of usual size: what
fits into one or two seconds."""

_BUDGET_PER_SLOT: Final = 5
"""Larger programs get this many steps per slot: straight code takes one or two, simple loops four or five ..."""

_LARGE_BUDGET: Final = 110_000
"""... up to this many steps, for what takes seconds ..."""

_LEAST_PER_SLOT: Final = 1.5
"""... and never fewer than straight code takes."""

_RETRY_FACTOR: Final = 2
"""A retry may take this many times the steps of the first attempt.  Where disjuncts tell cases apart it takes hardly
more steps than that (1.5 times, of all programs of the suite and the corpora that it proves); it is a bound on what is
spent on a program that has a real fault."""

_RETRY_STEPS: Final = 10_000
"""Small programs get as many steps for a retry: what a loop of 64 turns takes whose states are all kept apart."""


def default_budget(slots: int) -> int:
    """The abstract steps that a program of this size may take when nothing else is said."""
    return max(BUDGET, min(_BUDGET_PER_SLOT * slots, _LARGE_BUDGET), int(_LEAST_PER_SLOT * slots))


WITH_EQUALITIES: Final = f"{DEFAULT}*equalities"
"""What is tried before disjuncts where there are loops: equations between their counters."""


def _has_loops(program: Program) -> bool:
    """Whether something may be done again: a jump leads back, or a function is given to a helper that calls it."""
    for pc, instruction in enumerate(program.code):
        match instruction:
            case Branch() | Jump() | MayGoto():
                if target(pc, instruction) <= pc:
                    return True
            case LoadImmediate64(pseudo=Pseudo.FUNCTION):
                return True
    return False


def verify(
    program: Program,
    domain: str = DEFAULT,
    disjuncts: int | None = None,
    budget: int | None = None,
    policy: str = STRICT.name,
    termination: bool = False,
    smt: bool = True,
    summaries: bool = True,
    contracts: bool | None = None,
) -> Verdict:
    """Prove that ``program`` is safe in the sense of ``docs/safety.md``, or say what is missing.

    ``domain`` names the abstract domain (:func:`prevail_py.domains.facts`); ``disjuncts`` fixes how many states are
    kept apart per block, where the default tries 1, 8 and 64 in turn (and before 8, equations between loop counters);
    ``budget`` bounds the abstract steps of these attempts together (:data:`BUDGET`, more for large programs), and each
    of what may follow: an attempt by ``contracts``, and one without ``summaries`` for the solver; ``policy`` names what
    is held against a program beyond the safety of memory (:mod:`prevail_py.verifier.policy`), and only verdicts under
    the default one open the gate; ``termination`` asks for bounds on loops, too.  Where the domains leave something
    unproved the solver is asked (:mod:`prevail_py.verifier.smt.discharge`), unless ``smt`` is False.  Without
    ``summaries`` each call of a subprogram is analysed for itself.  Global functions are verified against their
    ``contracts``, and their calls not followed, where following them exhausts the budget; where this is True, first,
    and where it is False, never.  The same arguments give the same verdict, ``seconds`` apart.

    Raises ValueError for an unknown domain or policy or a number below 1.  Programs that cannot be analysed are no
    error: they get UNSUPPORTED with a reason.
    """
    if min(1 if budget is None else budget, 1 if disjuncts is None else disjuncts) < 1:
        raise ValueError("disjuncts and budget must be at least 1")
    if budget is None:
        budget = default_budget(len(program.code))
    # Without the cyclic garbage collector, which would go through all states again and again: a quarter of the time.
    # States hold no cycles, so memory is given back without it.
    enabled = gc.isenabled()
    gc.disable()
    try:
        return _verify(
            program, facts(domain), disjuncts, budget, policy_of(policy), termination, smt, summaries, contracts
        )
    finally:
        if enabled:
            gc.enable()


def _verify(
    program: Program,
    top: Callable[[], Facts],
    disjuncts: int | None,
    budget: int,
    rules: Policy,
    measures: bool,
    smt: bool,
    summaries: bool,
    contracts: bool | None,
) -> Verdict:
    start = process_time()
    if program.unsupported:
        reason = ", ".join(program.unsupported)
        return Verdict(
            VerdictKind.UNSUPPORTED, program, reason=reason, assumptions=program.assumptions, policy=rules.name
        )
    host = platform(program.platform)
    if program.program_type not in host.program_types:
        reason = f"program type {program.program_type!r}"
        return Verdict(VerdictKind.UNSUPPORTED, program, reason=reason, policy=rules.name)
    steps = 0
    verdict: Verdict | None = None
    last: _Attempt | None = None  # the one that verdict is of
    attempts = [(bound, top) for bound in (DISJUNCTS if disjuncts is None else (disjuncts,))]
    equations = disjuncts is None and top is facts(DEFAULT) and _has_loops(program)
    if equations:
        attempts.insert(1, (1, facts(WITH_EQUALITIES)))
    retry = budget
    for number, (bound, top) in enumerate(attempts):
        allowed = min(budget - steps, retry)
        counts_turns = number > 0 or bound > 1
        attempt = _Attempt(Setting(program, host, top, rules, counts_turns, summaries), bound, allowed, measures)
        found = attempt.verdict()
        steps += found.steps
        # An attempt that ran out of budget says less than the failures of the one before.
        if verdict is None or not found.reason:
            verdict, last = found, attempt
        if number == 0 and contracts is not False and (contracts or verdict.reason == "budget"):
            # Functions that are called so often, and so differently, that following all calls takes too long.
            modular = _Attempt(Setting(program, host, top, rules, summaries=False), bound, budget, False).by_contracts()
            steps += modular.steps
            if modular.is_safe:
                verdict, last = modular, None
                break
        relational = top is facts(WITH_EQUALITIES)
        if found.kind is not VerdictKind.UNKNOWN or (found.reason and not relational):
            break
        if not attempt.limited and (number > 0 or not equations):
            break  # disjuncts would change nothing
        if number == 0:
            retry = max(_RETRY_FACTOR * steps, _RETRY_STEPS)
    assert verdict is not None
    if smt and last is not None and verdict.kind is VerdictKind.UNKNOWN and not verdict.reason:
        proves = not last.shares_loops()
        if not proves:
            # For a proof the solver starts from the heads of loops, where it needs all that holds for each call.
            inlined = last.inlined()
            again = inlined.verdict()
            steps += again.steps
            if not again.reason:
                verdict, last, proves = again, inlined, True
        if verdict.kind is VerdictKind.UNKNOWN:
            verdict = last.settled(verdict, proves)
    assumptions = (*verdict.program.assumptions, *verdict.assumptions, *([rules.about] if rules.about else []))
    return replace(verdict, steps=steps, seconds=process_time() - start, policy=rules.name, assumptions=assumptions)


class _Attempt:
    """One analysis of a program with one bound on disjuncts."""

    def __init__(self, setting: Setting, disjuncts: int, budget: int, measures: bool) -> None:
        self.setting = setting
        self.measures = measures
        self.disjuncts = disjuncts
        self.budget = budget
        self.limited = False  # whether more disjuncts might give another verdict
        self._fixpoint: Fixpoint | None = None
        self._faithful = True  # whether no failure is about a register that may be anything
        self._failures: dict[tuple[int, str, tuple[int, ...]], Failure] = {}
        self._consequences: dict[tuple[int, str, tuple[int, ...]], Failure] = {}

    def verdict(self) -> Verdict:
        program = self.setting.program
        try:
            fixpoint = Fixpoint(self.setting, self.disjuncts, self.budget, self._check, self.measures)
        except CfgError as error:
            # No control-flow graph, no semantics: the program is malformed rather than hard.
            failure = Failure(error.pc, "control-flow", error.reason, self._line(error.pc))
            return Verdict(VerdictKind.UNKNOWN, program, (failure,))
        try:
            fixpoint.run()
            self.limited = fixpoint.limited
            self._fixpoint = fixpoint
        except Unsupported as unsupported:
            at = "" if unsupported.pc is None else f" at {self._where(unsupported.pc)}"
            return Verdict(VerdictKind.UNSUPPORTED, program, reason=f"{unsupported.what}{at}", steps=fixpoint.steps)
        except BudgetExhausted:
            return Verdict(
                VerdictKind.UNKNOWN, program, reason="budget", steps=fixpoint.steps, disjuncts=self.disjuncts
            )
        # A consequence without a cause would be a mistake of the analysis; it must never turn into SAFE.
        found = self._failures or self._consequences
        failures = tuple(found[key] for key in sorted(found))
        termination = bounds(fixpoint) if self.measures else None
        return Verdict(
            VerdictKind.UNKNOWN if failures else VerdictKind.SAFE,
            program,
            failures,
            steps=fixpoint.steps,
            disjuncts=self.disjuncts,
            assumptions=self._assumptions(),
            invariants=_invariants(fixpoint),
            explainer=partial(_explain, fixpoint),
            certifier=self.certificate,
            termination=termination,
            prover=partial(self._facts, termination),
        )

    def by_contracts(self) -> Verdict:
        """SAFE, where the contracts of global functions prove it; UNKNOWN, and nothing else, where they do not.

        Such a verdict has no facts for native code: memory that a contract speaks of may be anybody's.
        """
        fixpoint = Fixpoint(self.setting, self.disjuncts, self.budget, self._check)
        try:
            proved = prove(fixpoint)
        except (Unsupported, BudgetExhausted):
            proved = False
        if not proved:
            return Verdict(VerdictKind.UNKNOWN, self.setting.program, steps=fixpoint.steps)
        return Verdict(
            VerdictKind.SAFE,
            self.setting.program,
            steps=fixpoint.steps,
            disjuncts=self.disjuncts,
            assumptions=self._assumptions(),
            invariants=_invariants(fixpoint),
        )

    def _facts(self, termination: Termination | None) -> RegionFacts:
        """What native code may rely upon, found call by call: what one call shares with others is found anew.

        Raises ValueError where that takes more than the budget.
        """
        attempt = self
        if self._fixpoint is not None and self._fixpoint.summaries is not None and self._fixpoint.summaries.used:
            attempt = self.inlined()
            if not attempt.verdict().is_safe:
                raise ValueError("no facts: analysed call by call, the program takes more than the budget")
        assert attempt._fixpoint is not None
        return region_facts(attempt._fixpoint, termination)

    def shares_loops(self) -> bool:
        """Whether the invariant of some loop was found for one call and serves others (``summaries.py``)."""
        return self._fixpoint is not None and self._fixpoint.summaries is not None and self._fixpoint.shared_loops

    def inlined(self) -> _Attempt:
        """The same analysis, in which each call is analysed for itself."""
        old = self.setting
        setting = Setting(old.program, old.platform, old.top, old.policy, old.counts_turns, summaries=False)
        return _Attempt(setting, self.disjuncts, self.budget, self.measures)

    def certificate(self, discharged: Sequence[Discharged] = ()) -> dict[str, Any]:
        """What proves the verdict (``certificate.py``), call by call: what one call shares with others is found anew.

        Raises ValueError where that takes more than the budget.
        """
        from prevail_py.verifier.certificate import certificate

        attempt = self
        if self._fixpoint is not None and self._fixpoint.summaries is not None and self._fixpoint.summaries.used:
            attempt = self.inlined()
            attempt.verdict()
        if attempt._fixpoint is None:
            raise ValueError("no certificate: analysed call by call, the program takes more than the budget")
        return certificate(attempt._fixpoint, discharged, attempt._faithful)

    def settled(self, verdict: Verdict, proves: bool) -> Verdict:
        """The verdict of this attempt, UNKNOWN, after the solver was asked about its failures.

        It is only asked for inputs on which the program traps, where it ``proves`` nothing.
        """
        if self._fixpoint is None:
            return verdict
        from prevail_py.verifier.smt.discharge import discharge

        found = discharge(self._fixpoint, self._faithful) if proves else None
        if found is None or found.alarms:
            discharged = () if found is None else found.discharged
            witness = self._witness(None if found is None else found.execution)
            kind = VerdictKind.UNKNOWN if witness is None else VerdictKind.UNSAFE
            return replace(verdict, kind=kind, discharged=discharged, witness=witness)
        # Behind a failure that is none the fixpoint may be wrong about what is stored where, the execution is not.
        proved = found.execution.found
        return replace(
            verdict,
            kind=VerdictKind.SAFE,
            failures=(),
            discharged=found.discharged,
            invariants=_invariants(proved),
            certifier=partial(self.certificate, found.discharged),
            prover=partial(region_facts, proved, verdict.termination),
        )

    def _witness(self, execution: Execution | None) -> Witness | None:
        """Inputs on which the program traps, if some are found; the interpreter knows the default policy only."""
        if self._fixpoint is None or self.setting.policy is not STRICT:
            return None
        from prevail_py.verifier.smt.search import find_witness

        return find_witness(self._fixpoint, execution)

    def _line(self, pc: int) -> SourceLine | None:
        return self.setting.program.line_at(pc)

    def _where(self, pc: int) -> str:
        line = self._line(pc)
        return f"slot {pc} ({line})" if line else f"slot {pc}"

    def _check(self, pc: int, assertions: Sequence[Assertion], state: State) -> None:
        try:
            found = findings(self.setting, state, assertions)
        except Unsupported as unsupported:
            raise Unsupported(unsupported.what, pc) from unsupported
        for finding in found:
            self._note(pc, finding, state)

    def _note(self, pc: int, finding: Finding, state: State) -> None:
        kind = finding.violation.kind.value
        self._faithful &= not any(isinstance(state.registers[register], Special) for register in finding.registers)
        # One report per instruction, assertion and register at fault, whatever the number of states and call strings.
        key = (pc, repr(finding.assertion), finding.registers)
        into = self._consequences if finding.consequential else self._failures
        if key not in into:
            violation = finding.violation
            message = violation.message
            if violation.kind is AssertionKind.HELPER_UNAVAILABLE:
                message = self.setting.program.poisoned.get(pc, message)
            into[key] = Failure(pc, kind, message, self._line(pc), str(state), violation.needed)

    def _assumptions(self) -> tuple[str, ...]:
        """What the verdict takes for granted beyond ``docs/safety.md`` and what loading found out about the host."""
        program, host = self.setting.program, self.setting.platform
        found: dict[str, None] = {}
        if any(each.__class__ is Call and each.helper == _TAIL_CALL for each in program.code):
            found["programs reached by tail calls are verified"] = None
        if host.extensions:
            kinds = [host.map_type(spec.type) for spec in program.maps]
            for name in (program.program_type, *(kind.name for kind in kinds if kind is not None)):
                if name in host.extensions:
                    found[f"what the extension {host.extensions[name]} says of {name}"] = None
        return tuple(found)


_TAIL_CALL: Final = 12


def _explain(fixpoint: Fixpoint, failure: Failure) -> Explanation:
    from prevail_py.verifier.explain import explain

    return explain(fixpoint, failure)


def _invariants(fixpoint: Fixpoint) -> Invariants:
    cache: dict[tuple[CallString, int], Sequence[State]] = {}

    def states(calls: CallString, pc: int) -> Sequence[State]:
        if (calls, pc) not in cache:
            cache[calls, pc] = fixpoint.states_before(calls, pc)
        return cache[calls, pc]

    def excluded(machine: Machine) -> str | None:
        if not fixpoint.not_followed.isdisjoint(machine.call_pcs):
            return None  # what is known there is known of other memory than what was passed
        reasons = []
        for state in states(machine.call_pcs, machine.pc):
            reason = excludes(state, machine)
            if reason is None:
                return None
            reasons.append(reason)
        return "; ".join(reasons) or "the instruction should not be reachable"

    def shown() -> dict[tuple[CallString, int], tuple[str, ...]]:
        return {key: tuple(map(str, found)) for key, found in fixpoint.invariants.items()}

    def walk(calls: CallString, pc: int) -> Iterator[tuple[int, Sequence[State]]]:
        return fixpoint.walk(calls, fixpoint.graph.block_of(pc), collects=True)

    return Invariants(shown, states, walk, excluded)
