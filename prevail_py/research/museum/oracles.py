"""Who catches a fault: oracles look for evidence in the code with the fault, until they have some or their time is up.

An oracle is a function of an exhibit and the CPU seconds that it may take.  It gives evidence in one line, or None.
The fault is planted by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from time import process_time
from typing import Final, TypeAlias

from prevail_py.objects.program import Program
from prevail_py.research.museum.exhibit import Exhibit, Part
from prevail_py.verifier import Verdict, verify

__all__ = ["ORACLES", "Applies", "Oracle", "missing"]

Search: TypeAlias = Callable[[Exhibit, float], str | None]
Applies: TypeAlias = frozenset[Part]

_RUNS: Final = 60


@dataclass(frozen=True, slots=True)
class Oracle:
    """``parts`` are those whose faults it could see at all; ``summary`` says what counts as evidence."""

    name: str
    summary: str
    parts: Applies
    search: Search


def proofs(exhibit: Exhibit, seconds: float) -> str | None:
    """A counterexample to the obligation that the exhibit names, replayed on ints."""
    from prevail_py.verifier.smt.prove import COUNTEREXAMPLE, cells

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
    """The certificate of a program that is SAFE, refused: of the specimen, or else of generated programs."""
    from prevail_py.checker.certificate import CertificateError, read
    from prevail_py.checker.check import check
    from prevail_py.verifier.certificate import document

    start = process_time()
    for program in _programs(exhibit):
        if process_time() - start > seconds:
            return None
        verdict = _believed(program)
        if verdict is None:
            continue
        try:
            (certificate,) = read(document([verdict.certificate()]))
            answer = check(program, certificate)
        except CertificateError as error:
            return f"{program.name}: {error}"
        if answer.kind == "refused":
            return f"{program.name}: slot {answer.slot}: {answer.reason}"
    return None


def fuzzing(exhibit: Exhibit, seconds: float) -> str | None:
    """What a fuzz campaign finds first, by its own oracles of soundness, engines and certificates."""
    from prevail_py.research.fuzz import Settings, campaign

    often = 2 if exhibit.part in _CONCRETE else Settings().native_every
    report = campaign(Settings(native_every=often), seconds=seconds, first=True)
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
    from prevail_py.research.differential import campaign

    start = process_time()
    for tally in campaign(range(1_000_000), 2, names, stop_at=1):
        for divergence in tally.divergences:
            return f"{divergence.program.name}: {next(iter(divergence.differences), '')}"
        if process_time() - start > seconds:
            return None
    return None


def _believed(program: Program) -> Verdict | None:
    """The verdict of the domains, where it is SAFE; None too where the fault makes the verifier itself fail."""
    try:
        verdict = verify(program, smt=False)
    except Exception:
        # A broken operator may well break an assertion of the verifier: no program is called SAFE then.
        return None
    return verdict if verdict.is_safe else None


def _programs(exhibit: Exhibit) -> Iterator[Program]:
    if exhibit.specimen is not None:
        yield exhibit.specimen.program(exhibit.name)
    else:
        yield from _generated()


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
        Oracle("certificates", "a certificate that the independent checker refuses", _ABSTRACT, certificates),
        Oracle("fuzzing", "a finding of a fuzz campaign", frozenset(Part), fuzzing),
        Oracle("engines", "engines that differ on a generated program", _CONCRETE, engines),
        Oracle("kernel", "interpreter and Linux differ on a generated program", frozenset({Part.SEMANTICS}), kernel),
    )
}
"""Every oracle, by name."""
