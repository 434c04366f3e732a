"""The four oracles of a campaign: each looks at one program and says what is wrong with *us*, if anything.

================ ====================================================================================================
soundness        the verifier does not fail; a program that is SAFE never traps, and stays inside its invariants
engines          all engines do the same with a program, SAFE or not; native code without checks where it is SAFE
kernel-verdict   what the kernel accepts does not trap in our interpreter; where it rejects what is SAFE, for a reason
                 that is about memory, the program gets many more runs, with inputs that the solver chooses
certificate      the independent checker accepts the certificate of what is SAFE
================ ====================================================================================================

An oracle is a function of the program and its :class:`Effort`, so that whatever it finds can be found again from these.
"""

from __future__ import annotations

import atexit
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from prevail_py.isa.flow import target
from prevail_py.isa.instructions import Branch, CallLocal, Instruction, Jump
from prevail_py.isa.rewrite import reachable, rewrite
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.research.kernel_programs import elements_for
from prevail_py.research.oracle import Report, examine
from prevail_py.research.packets import packets
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import Verdict
from prevail_py.vm.context import takes_packet
from prevail_py.vm.differential import STRICTER, compare, load
from prevail_py.vm.engines import EngineError
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Interpreter
from prevail_py.vm.outcome import Trapped
from prevail_py.vm.parting import Input, make_maps

if TYPE_CHECKING:
    from prevail_py.checker.check import Answer
    from prevail_py.vm.kernel.engine import Session

__all__ = ["ORACLES", "Effort", "Look", "Problem", "kernel_class", "look", "problems", "refused", "signature"]

ORACLES: Final = ("soundness", "engines", "kernel-verdict", "certificate")
"""The names of the oracles."""

_MORE_RUNS: Final = 40
_STEERED: Final = 20


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to look at one program.

    ``seed`` decides the inputs.  ``inputs`` is the number of runs, ``engines`` are those that are compared; ``native``
    adds native code, with checks and, for what is SAFE and ends, without.  ``smt`` lets the verifier ask its solver.
    """

    seed: int = 0
    inputs: int = 3
    engines: tuple[str, ...] = ("interpreter", "source")
    native: bool = False
    smt: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """What an oracle has against us: ``kind`` in a word or two, ``slot`` where the program is at that point."""

    oracle: str
    kind: str
    message: str
    slot: int | None = None

    @property
    def is_doubt(self) -> bool:
        """Whether it need not be a fault: the checker refused a certificate, and nothing else speaks against it.

        The checker may know too little for what is right.
        """
        return self.kind == _DOUBT

    @property
    def is_tedious(self) -> bool:
        """Whether the checker gave up on too many paths: it would take as long for each smaller program."""
        return self.is_doubt and _PATHS in self.message


_DOUBT: Final = "refused, and no run says why"
_PATHS: Final = "no invariant within"


@dataclass(slots=True)
class Look:
    """What the oracles saw of one program.

    ``answers`` counts what each oracle said, by oracle and answer: for ``kernel-verdict`` the class of the kernel's
    answer beside ours.
    """

    verdict: Verdict | None = None
    problems: list[Problem] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)


def look(program: Program, oracles: tuple[str, ...], effort: Effort) -> Look:
    """Verify a program and ask ``oracles`` about it.  Raises nothing for a fault of ours: that is a problem found."""
    seen = Look()
    try:
        seen.verdict = verify(program, smt=effort.smt)
    except Exception as error:  # whatever it is, it is what a campaign looks for
        seen.problems.append(_crash("soundness", "the verifier fails", error))
        return seen
    for name in oracles:
        try:
            seen.problems += _LOOKS[name](program, seen.verdict, effort, seen.answers)
        except Exception as error:
            seen.problems.append(_crash(name, "a failure", error))
    return seen


def problems(program: Program, oracle: str, effort: Effort) -> list[Problem]:
    """What one oracle has against us for a program: what tests of findings and the minimiser ask."""
    return [problem for problem in look(program, (oracle,), effort).problems if problem.oracle == oracle]


def _crash(oracle: str, kind: str, error: Exception) -> Problem:
    at, traceback = "", error.__traceback__
    while traceback is not None:
        at = f"{traceback.tb_frame.f_code.co_name}"
        traceback = traceback.tb_next
    return Problem(oracle, kind, f"{type(error).__name__} in {at}: {' '.join(str(error).split())}"[:500])


_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|-?\d+")


def signature(program: Program, problem: Problem) -> str:
    """What tells findings apart: oracle, kind, the kind of instruction, and the message without its numbers."""
    instruction = program.code[problem.slot] if problem.slot is not None and problem.slot < len(program.code) else None
    message = _NUMBERS.sub("N", problem.message)
    before, excluded, _ = message.partition("facts exclude")  # what follows are the numbers of that run
    message = before + excluded
    return f"{problem.oracle}: {problem.kind}: {_kind(instruction)}: {message[:120]}"


def _kind(instruction: Instruction | None) -> str:
    if instruction is None:
        return "-"
    parts = [getattr(instruction, name, None) for name in ("op", "comparison", "width", "helper")]
    shown = [str(getattr(part, "name", part)) for part in parts if part is not None]
    return " ".join([type(instruction).__name__, *shown])


# Soundness -----------------------------------------------------------------------------------------------------------

_SLOT: Final = re.compile(r"slot (\d+): (.*)", re.DOTALL)


def _soundness(program: Program, verdict: Verdict, effort: Effort, answers: Counter[str]) -> Iterator[Problem]:
    if not verdict.is_safe:
        return
    report = examine(program, verdict, effort.inputs, seed=effort.seed)
    answers["soundness: runs"] += report.runs
    answers["soundness: steps"] += report.steps
    answers.update(f"soundness: not executed: {reason}" for reason in report.unsupported)
    yield from _violations("soundness", report.violations)


def _violations(oracle: str, violations: list[str]) -> Iterator[Problem]:
    for violation in violations[:1]:  # the others are mostly what came of the first
        found = _SLOT.fullmatch(violation)
        slot, message = (None, violation) if found is None else (int(found[1]), found[2])
        trapped = message.split(":")[0] in _TRAPS
        yield Problem(oracle, "a SAFE program traps" if trapped else "outside of its invariant", message, slot)


def _trap_names() -> frozenset[str]:
    from prevail_py.vm.outcome import TrapKind

    return frozenset(kind.value for kind in TrapKind)


_TRAPS: Final = _trap_names()


# Engines -------------------------------------------------------------------------------------------------------------


def _inputs(program: Program, effort: Effort) -> Iterator[Input]:
    kind = platform(program.platform).program_type(program.program_type, program.expected_attach_type)
    random = Random(f"{effort.seed}/engines")
    for number, packet in enumerate(packets(effort.seed, effort.inputs)):
        maps = elements_for(program, random) if number % 2 else {}
        yield Input(packet if takes_packet(kind) else None, fuel=5000, maps=maps)


def _engines(program: Program, verdict: Verdict, effort: Effort, answers: Counter[str]) -> Iterator[Problem]:
    engines = effort.engines + (("jit-O0",) if effort.native and "jit-O0" not in effort.engines else ())
    try:
        loaded = load(program, engines, generated=True)
    except EngineError as error:
        answers[f"engines: not loaded: {_NUMBERS.sub('N', str(error))[:80]}"] += 1
        return
    for given in _inputs(program, effort):
        found = compare(program, given, engines, loaded)
        answers.update(f"engines: runs of {name}" for name in engines if name not in found.skipped)
        if found.divergence is not None:
            divergence = found.divergence
            parting = divergence.parting
            fields = ", ".join(sorted({each.field.split("[")[0] for each in divergence.differences}))
            first = divergence.differences[0]
            yield Problem(
                "engines",
                f"{' and '.join(divergence.engines)} differ",
                f"in {fields}: {first.left[:100]} and {first.right[:100]}",
                None if parting is None else parting.blame,
            )
            return
    if effort.native and verdict.is_safe:
        yield from _proved(program, effort, answers)


def _proved(program: Program, effort: Effort, answers: Counter[str]) -> Iterator[Problem]:
    """Native code without checks, where the program is proved to end, too."""
    from prevail_py.research import proved
    from prevail_py.vm.jit.proved.plan import Ineligible

    verdict = verify(program, smt=effort.smt, termination=True)
    try:
        loaded = proved.load(program, verdict.region_facts(), "O0")
    except (Ineligible, ValueError):
        return
    for given in _inputs(program, effort):
        answers["engines: runs of proved native code"] += 1
        different = proved.compare(program, loaded, given)
        if different:
            name = different.split(":")[0]
            yield Problem("engines", "proved native code differs", f"in {name}: {different[:300]}")
            return


# The kernel ----------------------------------------------------------------------------------------------------------

_CLASSES: Final[tuple[tuple[str, str], ...]] = (
    (r"misaligned", "alignment"),
    (r"unreachable insn|back-edge|infinite loop|too many|too large|too complex|stack depth|combined stack", "form"),
    (r"unknown func|program of this type cannot|cannot call|GPL", "availability"),
    (r"uninit|!read_ok|invalid read from stack|invalid indirect read", "initialisation"),
    (r"leak|return value|R0 has|At program exit", "result"),
    (r"pointer arithmetic|math between|prohibited|unbounded|offset is outside|invalid access|invalid mem|out of"
     r"|outside of|m(in|ax) value|invalid variable|invalid write", "memory"),
)  # fmt: skip


def kernel_class(reason: str) -> str:
    """What a rejection by the kernel is about: alignment, form, availability, initialisation, result, memory, other."""
    return next((name for pattern, name in _CLASSES if re.search(pattern, reason)), "other")


_sessions: list[Session] = []


def _session() -> Session:
    """One worker for all questions of this process; its guard is asked before each."""
    if not _sessions:
        from prevail_py.vm.kernel.engine import Session

        _sessions.append(Session())
        atexit.register(_sessions[0].close)
    return _sessions[0]


def _kernel_verdict(program: Program, verdict: Verdict, effort: Effort, answers: Counter[str]) -> Iterator[Problem]:
    from prevail_py.vm.kernel.answer import AnswerKind

    asked = _without_dead_code(program)
    answer = _session().ask(asked, generated=True)
    shown = answer.kind.value
    if answer.kind is AnswerKind.REJECT:
        shown = f"reject ({kernel_class(answer.reason)})"
    answers[f"kernel-verdict: {verdict.kind} beside {shown}"] += 1
    if answer.kind is AnswerKind.ACCEPT and not verdict.is_safe:
        trap = _trap_of(asked, effort)
        if trap is not None:
            yield Problem("kernel-verdict", "the kernel accepts what traps", trap[1], None)
    if verdict.is_safe and answer.kind is AnswerKind.REJECT and kernel_class(answer.reason) in ("memory", "other"):
        report = _examined_more(program, verdict, effort)
        answers["kernel-verdict: runs because it rejects"] += report.runs
        yield from _violations("kernel-verdict", report.violations)


def _without_dead_code(program: Program) -> Program:
    """Linux takes no code that is not reached."""
    from dataclasses import replace

    live = reachable(program.code)
    dead: Mapping[int, tuple[Instruction, ...]] = {
        pc: () for pc, each in enumerate(program.code) if each is not None and pc not in live
    }
    return replace(program, code=rewrite(program.code, dead)) if dead else program


def _trap_of(program: Program, effort: Effort) -> tuple[int, str] | None:
    """How a program traps in the interpreter for a reason that Linux shares, if it does."""
    if any(isinstance(instruction, CallLocal) for instruction in program.code):
        return None  # what a subprogram leaves unwritten is read there in other circumstances
    reference = Interpreter(program)
    for given in _inputs(program, effort):
        world = Environment()
        maps = make_maps(program, given, world)
        outcome = reference.run(packet=given.packet, maps=maps, environment=world, fuel=given.fuel).outcome
        if isinstance(outcome, Trapped) and outcome.trap.kind not in STRICTER:
            if outcome.trap.message.endswith("was never written"):
                continue
            return outcome.trap.pc, f"{outcome.trap.kind.value}: {outcome.trap.message}"
    return None


# Certificates --------------------------------------------------------------------------------------------------------


def _certificate(program: Program, verdict: Verdict, effort: Effort, answers: Counter[str]) -> Iterator[Problem]:
    """Let the checker judge the certificate.

    What it refuses for want of resources says nothing.  Any other refusal is a problem: of the verifier, or of the
    checker, which may know too little; where some of many more runs goes wrong, it is the verifier's.
    """
    if not verdict.is_safe:
        return
    answer = _checked(verdict, answers)
    if answer is None or answer.kind != "refused":
        return
    if answer.reason.endswith("not shown within the resources"):
        answers["certificate: refused for want of resources"] += 1
        return
    report = _examined_more(program, verdict, effort)
    found = list(_violations("certificate", report.violations))
    yield from found
    if not found:
        yield Problem("certificate", _DOUBT, answer.reason, answer.slot)


def refused(program: Program, effort: Effort) -> bool:
    """Whether the checker refuses the certificate of a SAFE program, whatever runs say: quick, for the minimiser."""
    verdict = verify(program, smt=effort.smt)
    answer = _checked(verdict, Counter()) if verdict.is_safe else None
    return answer is not None and answer.kind == "refused"


def _examined_more(program: Program, verdict: Verdict, effort: Effort) -> Report:
    """Many runs, some on inputs that the solver chooses; few of a program with loops, which need not end."""
    if any(isinstance(i, Branch | Jump) and target(pc, i) <= pc for pc, i in enumerate(program.code)):
        return examine(program, verdict, effort.inputs, effort.seed)
    from prevail_py.research.concolic import steer

    return examine(program, verdict, _MORE_RUNS, effort.seed, steer, _STEERED)


def _checked(verdict: Verdict, answers: Counter[str]) -> Answer | None:
    from prevail_py.checker.certificate import CertificateError
    from prevail_py.research.certified import judged

    try:
        answer = judged(verdict)
    except CertificateError:
        raise  # one that cannot be read is a fault
    except ValueError as error:
        answers[f"certificate: none: {str(error).split(': ')[-1][:60]}"] += 1
        return None
    answers[f"certificate: {answer.kind}"] += 1
    return answer


_Look = Callable[[Program, Verdict, Effort, Counter[str]], Iterator[Problem]]

_LOOKS: Final[Mapping[str, _Look]] = {
    "soundness": _soundness,
    "engines": _engines,
    "kernel-verdict": _kernel_verdict,
    "certificate": _certificate,
}
