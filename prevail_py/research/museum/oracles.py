"""Who catches a fault: oracles look for evidence in the code with the fault, until they have some or their time is up.

An oracle is a function of an exhibit and the CPU seconds that it may take.  It gives evidence in one line, or None.
The fault is planted by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from time import process_time
from typing import Final, TypeAlias

from prevail_py.objects.program import Program
from prevail_py.research.museum.exhibit import Exhibit, Part
from prevail_py.verifier import Verdict, verify

__all__ = ["ORACLES", "Applies", "Oracle", "missing"]

Search: TypeAlias = Callable[[Exhibit, float], str | None]
Applies: TypeAlias = frozenset[Part]

_RUNS: Final = 60
_PROGRAMS: Final = 30


@dataclass(frozen=True, slots=True)
class Oracle:
    """``parts`` are those whose faults it could see at all; ``summary`` says what counts as evidence.

    ``prepare`` is called before the fault is planted.
    """

    name: str
    summary: str
    parts: Applies
    search: Search
    prepare: Callable[[Exhibit], None] | None = None


def proofs(exhibit: Exhibit, seconds: float) -> str | None:
    """A counterexample to the obligation that the exhibit names, replayed on ints."""
    from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, cells

    start = process_time()
    for cell in cells("interval", exhibit.width, [exhibit.exposed_by]):
        if cell.obligation.bits == exhibit.bits and cell.name != "facts" and process_time() - start < seconds:
            row = cell.prove()
            if row.result == COUNTEREXAMPLE:
                return f"{row.operation}: {row.detail}"
    return None


def exhaustive(exhibit: Exhibit, seconds: float) -> str | None:
    """A word of four bits that an operator on all its abstractions loses."""
    from prevail_py.domains.interval import Interval
    from prevail_py.research.exhaustive import UnsoundError, check

    start, seed = process_time(), 0
    while process_time() - start < seconds and seed < 4:
        try:
            check(Interval.at(4, 2), seed=seed)
        except UnsoundError as error:
            return str(error)
        seed += 1
    return None


def concrete(exhibit: Exhibit, seconds: float) -> str | None:
    """A run of the specimen, which is SAFE, that traps or leaves its invariants."""
    from prevail_py.research.concolic import steer
    from prevail_py.research.oracle import examine

    if exhibit.specimen is None:
        return None
    program = exhibit.specimen.program(exhibit.name)
    verdict = _believed(program)
    if verdict is None:
        return None
    report = examine(program, verdict, _RUNS, steer=steer, steered=10)
    return next(iter(report.violations), None)


def certificates(exhibit: Exhibit, seconds: float) -> str | None:
    """The certificate of a program that is SAFE, refused: of the specimen, or else of programs without fault."""
    start = process_time()
    programs = _CERTIFIED if exhibit.specimen is None else [exhibit.specimen.program(exhibit.name)]
    for program in programs:
        if process_time() - start > seconds:
            return None
        refusal = _refusal(program)
        if refusal:
            return f"{program.name}: {refusal}"
    return None


_CERTIFIED: Final[list[Program]] = []
"""Generated programs with certificates that are accepted as long as nothing is planted."""


def certify(exhibit: Exhibit) -> None:
    """Look for such programs, where there will be need of them."""
    if exhibit.specimen is None and not _CERTIFIED:
        accepted = (program for program in _generated() if _refusal(program) == "")
        _CERTIFIED.extend(islice(accepted, _PROGRAMS))


def _refusal(program: Program) -> str | None:
    """Why the certificate of a program is refused, empty if it is not; None for a program that is not SAFE."""
    from prevail_py.checker.certificate import CertificateError
    from prevail_py.research.certified import judged

    verdict = _believed(program)
    if verdict is None:
        return None
    try:
        answer = judged(verdict)
    except CertificateError as error:
        return str(error)
    return "" if answer.kind == "accepted" else f"slot {answer.slot}: {answer.reason}"


def fuzzing(exhibit: Exhibit, seconds: float) -> str | None:
    """What a fuzz campaign finds first, by its own oracles of soundness, engines and certificates."""
    from prevail_py.research.fuzz import Settings, campaign

    report = campaign(Settings(), seconds=seconds, first=True, clock=process_time)
    if report.first is None:
        return None
    return f"{report.first.signature} after {report.programs} programs"


def engines(exhibit: Exhibit, seconds: float) -> str | None:
    """A generated program that does something else on the interpreter, as generated source or as native code."""
    return _differing(("interpreter", "source", "jit-O0"), seconds)


def kernel(exhibit: Exhibit, seconds: float) -> str | None:
    """A generated program that does something else on the interpreter and in Linux."""
    return _differing(("interpreter", "kernel"), seconds)


def _differing(names: Sequence[str], seconds: float) -> str | None:
    from prevail_py.research.differential import inputs_of, program_of, single
    from prevail_py.research.kernel_programs import kernel_program_of
    from prevail_py.vm.differential import compare, load
    from prevail_py.vm.jit.engine import JitEngine

    start, longer = process_time(), kernel_program_of if "kernel" in names else program_of
    # No fault of the museum crashes native code, so that no run of it has to be tried in a child.
    native = JitEngine(0, trusted=True)
    for number in count():
        if process_time() - start > seconds:
            return None
        for program in (single(number), longer(number)):
            loaded = load(program, [name for name in names if name != "jit-O0"], generated=True)
            if "jit-O0" in names:
                loaded["jit-O0"] = native.load(program)
            for given in inputs_of(program, number, 2, cut_off="kernel" not in names):
                divergence = compare(program, given, names, loaded).divergence
                if divergence is not None:
                    return f"{program.name}: {next(iter(divergence.differences), '')}"
    return None


def _believed(program: Program) -> Verdict | None:
    """The verdict of the domains, where it is SAFE; None too where the fault makes the verifier itself fail."""
    try:
        verdict = verify(program, smt=False)
    except Exception:
        # A broken operator may well break an assertion of the verifier: no program is called SAFE then.
        return None
    return verdict if verdict.is_safe else None


def _generated() -> Iterator[Program]:
    from prevail_py.research.generate import program

    for seed in count():
        yield program(seed, 30, seed % 3 == 0)


def missing(oracle: Oracle) -> str:
    """Why an oracle cannot be asked on this machine, empty if it can."""
    if oracle.name != "kernel":
        return ""
    from prevail_py.vm.kernel.engine import available

    return available() or ""


_ABSTRACT: Final = frozenset({Part.OPERATOR, Part.VERIFIER})
_CONCRETE: Final = frozenset({Part.SEMANTICS, Part.ENGINE})

ORACLES: Final[Mapping[str, Oracle]] = {
    oracle.name: oracle
    for oracle in (
        Oracle("proofs", "a counterexample to a proof obligation", frozenset({Part.OPERATOR}), proofs),
        Oracle("exhaustive", "a lost word among all of four bits", frozenset({Part.OPERATOR}), exhaustive),
        Oracle("concrete", "a run of the specimen outside of its invariants", frozenset({Part.VERIFIER}), concrete),
        Oracle("certificates", "a certificate that the independent checker refuses", _ABSTRACT, certificates, certify),
        Oracle("fuzzing", "a finding of a fuzz campaign", frozenset(Part), fuzzing),
        Oracle("engines", "engines that differ on a generated program", _CONCRETE, engines),
        Oracle("kernel", "interpreter and Linux differ on a generated program", frozenset({Part.SEMANTICS}), kernel),
    )
}
"""Every oracle, by name."""
