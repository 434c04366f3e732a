"""Prove the operators of a word domain: the shipped code, run on Z3 terms, against the one semantics.

>>> from prevail_py.domains.tnum import Tnum
>>> from prevail_py.verifier.proofs.prove import prove
>>> [row.result for row in prove(Tnum.at(8, 4), only=["add"])]
['proved', 'proved']

Each obligation (:mod:`prevail_py.verifier.proofs.obligations`) is explored path by path
(:mod:`prevail_py.verifier.proofs.exploring`).  The hypothesis is checked to be satisfiable first, for a vacuous proof
is a bug.  A model against a claim is turned into ints and run again in the same code; only if it fails there, too, is
it reported as a counterexample.  What the solver cannot decide within its resources is ``limited``: such a cell says
how far it was proved, nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Final

import z3

from prevail_py.domains.congruence import Congruence
from prevail_py.domains.interval import Interval
from prevail_py.domains.tnum import Tnum
from prevail_py.verifier.proofs.beyond import Integers, beyond, beyond_obligations, nonlinear
from prevail_py.verifier.proofs.bits_lemmas import bits_promises
from prevail_py.verifier.proofs.exploring import Explorer, PathLimitError
from prevail_py.verifier.proofs.integers import Encoding, UnsupportedError, condition
from prevail_py.verifier.proofs.lemmas import pair_promises
from prevail_py.verifier.proofs.linear import Linear
from prevail_py.verifier.proofs.number_theory import number_theory
from prevail_py.verifier.proofs.obligations import Claim, Obligation, obligations
from prevail_py.verifier.proofs.octagon_rules import OctagonRules, octagon_obligations
from prevail_py.verifier.proofs.operation_lemmas import bounds_promises
from prevail_py.verifier.proofs.polynomials import Polynomials
from prevail_py.verifier.proofs.progressions import Progressions, progression_obligations, promises_of, symbolic_names
from prevail_py.verifier.proofs.promises import Functions, Promise, contracts, lemma
from prevail_py.verifier.proofs.readings import Concrete, Symbolic
from prevail_py.verifier.proofs.relations import fact_obligations
from prevail_py.verifier.proofs.replacing import hooked, prepared, replaced
from prevail_py.verifier.proofs.search_lemmas import search_promises
from prevail_py.verifier.proofs.shift_lemmas import known_shifts, moved_ends, moved_promises, shift_promises
from prevail_py.verifier.proofs.vectors import Vectors
from prevail_py.verifier.proofs.zone_rules import ZoneRules, zone_obligations
from prevail_py.verifier.proofs.zone_states import merged_zones
from prevail_py.words import Comparison

__all__ = [
    "COUNTEREXAMPLE",
    "LIMITED",
    "PROVED",
    "Cell",
    "Limits",
    "Query",
    "Row",
    "cells",
    "cells_of",
    "provable",
    "prove",
]

PROVED: Final = "proved"
COUNTEREXAMPLE: Final = "counterexample"
LIMITED: Final = "limited"

_IMPOSSIBLE: Final = "the hypothesis is not satisfiable: there is nothing to prove"
_VACUOUS: Final = "the hypothesis was not found to be satisfiable: there is nothing to prove"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one obligation may use: Z3 resource units for a feasibility check and for a claim, and paths."""

    feasibility: int = 60_000
    claim: int = 30_000_000
    paths: int = 4096


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one obligation.

    ``width`` is that of the domain's words in bits, ``bits`` the operation's; ``detail`` has the counterexample, or
    what limited the proof.
    """

    domain: str
    operation: str
    width: int
    bits: int
    result: str
    seconds: float
    paths: int = 0
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Query:
    """An SMT-LIB script that is unsatisfiable if a claim holds on a path, and what Z3 said."""

    text: str
    answer: str


# The runner -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """One obligation of one domain, yet to be proved."""

    name: str
    domain: Any
    obligation: Obligation

    def prove(self, limits: Limits = Limits()) -> Row:
        """Explore it: some milliseconds to some minutes of CPU time."""
        start = time.process_time()
        result, paths, detail = _attempt(self.domain, self.obligation, limits)
        seconds = round(time.process_time() - start, 3)
        obligation = self.obligation
        return Row(self.name, obligation.operation, self.domain.WIDTH, obligation.bits, result, seconds, paths, detail)

    def queries(self, limits: Limits = Limits()) -> list[Query]:
        """What the solver was asked about the claims, as SMT-LIB text, with its answers; those that it did not settle
        by itself, such as conditions that are plain truths, are not among them.
        """
        asked: list[Query] = []
        _attempt(self.domain, self.obligation, limits, asked)
        return asked


_RULES: Final[dict[str, tuple[Any, Callable[[], Iterator[Obligation]]]]] = {
    "zones": (ZoneRules, zone_obligations),
    "octagons": (OctagonRules, octagon_obligations),
}
"""Relations: what stands for the domain, and its rules."""


def provable() -> tuple[str, ...]:
    """The names that :func:`cells` knows."""
    return ("tnum", "interval", "congruence", "zones", "octagons")


def cells(name: str, width: int = 64, only: Iterable[str] | None = None) -> list[Cell]:
    """What there is to prove of the domain called ``name`` at words of ``width`` bits with a low half of half of that.

    ``only`` picks operations by name (``add``, ``backward add``, ``assume <``, ``join``).  Raises ValueError for a name
    that is no operation, KeyError for one that is no domain.
    """
    if name in _RULES:  # of one width: there is nothing at others
        part, rules = _RULES[name]
        return _picked([Cell(name, part, obligation) for obligation in rules()] if width == 64 else [], only)
    domain: Any = {"tnum": Tnum, "interval": Interval, "congruence": Congruence}[name]
    found = list(cells_of(domain.at(width, width // 2), name))
    if name == "tnum":  # what its comparisons rest on, beside what is among the bounds of intervals
        for bits in (width, width // 2):
            found += [Cell("bits", Functions.at(bits, bits // 2), lemma(promise)) for promise in bits_promises(bits)]
    if name == "congruence":  # what its proofs rest on
        for obligation, by_steps in progression_obligations(width):
            found.append(
                Cell(name, domain.at(width, width // 2) if by_steps else Functions.at(width, width // 2), obligation)
            )
    if name == "interval":  # likewise
        for bits in (width, width // 2):
            part = Functions.at(bits, bits // 2)
            found += [Cell("bounds", part, lemma(promise)) for promise in _below(bits) if not promise.by_parts]
            found += [Cell("bounds", part, each) for each in known_shifts(bits)]
            found += [Cell("facts", part, obligation) for obligation in fact_obligations(bits)]
        found += [Cell("facts", part.at(64, 32), obligation) for part, obligation in beyond_obligations()]
        pair = Functions.at(width, width // 2)
        found += [Cell("halves", pair, lemma(promise)) for promise in pair_promises(width, width // 2)]
        found += [Cell("halves", pair, each) for each in moved_ends(width, width // 2)]
    return _picked(found, only)


def cells_of(domain: Any, name: str | None = None) -> list[Cell]:
    """What there is to prove of a :class:`prevail_py.domains.lattice.Word` class with ``WIDTH`` and ``LOW``."""
    return [Cell(name or domain.__name__, domain, each) for each in obligations(domain.WIDTH, domain.LOW)]


def prove(domain: Any, *, only: Iterable[str] | None = None, limits: Limits = Limits()) -> Iterator[Row]:
    """Prove a domain that may be the reader's own, cell by cell.

    Raises TypeError where it does not say how its elements are made (:mod:`prevail_py.verifier.proofs.elements`), and
    ValueError for a name in ``only`` that is no operation.
    """
    for cell in _picked(cells_of(domain), only):
        yield cell.prove(limits)


def _picked(found: list[Cell], only: Iterable[str] | None) -> list[Cell]:
    if only is None:
        return found
    wanted = set(only)
    unknown = wanted - {cell.obligation.operation for cell in found}
    if unknown:
        raise ValueError(f"no operation is called {min(unknown)!r}")
    return [cell for cell in found if cell.obligation.operation in wanted]


def _attempt(
    domain: Any, obligation: Obligation, limits: Limits, asked: list[Query] | None = None
) -> tuple[str, int, str]:
    """The first of the ways to a proof that leads to an answer; of parts, the first that is not proved."""
    paths = 0
    for part in obligation.parts:
        outcome, more, why = _attempt(domain, part, limits, asked)
        paths += more
        if outcome != PROVED:
            return outcome, paths, f"{why}: {dict(part.fixed)}" if outcome == LIMITED else why
    if obligation.parts:
        return PROVED, paths, ""
    detail = ""
    for way in _ways(domain, obligation):
        try:
            result = _explored(domain, obligation, limits, way, asked)
        except UnsupportedError as error:
            detail = detail or f"unsupported: {error}"
            continue
        except z3.Z3Exception as error:
            if "memory" not in str(error):
                raise
            detail = detail or f"undecided: {error}"
            continue
        if result[0] != LIMITED:
            return result
        detail = result[2]
    return LIMITED, 0, detail


@dataclass(frozen=True, slots=True)
class _Way:
    """How to go about an obligation: with contracts in place of the functions that these promises are about, if any,
    and with the solver's own products or without them.
    """

    encoding: Encoding
    promises: tuple[Promise, ...] = ()
    nonlinear: bool = False


_BY_ORDER: Final = frozenset(f"assume {c.value}" for c in Comparison if "<" in c.value or ">" in c.value)
"""Comparisons of known bits that rest on promises."""

_SMALL: Final = 16
"""Up to that width a proof by contracts that fails is followed by one without: it may find the counterexample."""


def _below(width: int) -> tuple[Promise, ...]:
    """What functions on bounds of words of ``width`` bits promise."""
    return (*bounds_promises(width), *shift_promises(width), *search_promises(width))


def _ways(domain: Any, obligation: Obligation) -> Iterator[_Way]:
    """Linear arithmetic first, which the operator may turn out not to be in; contracts where there are promises."""
    promises = obligation.rests_on
    if issubclass(domain, Integers):
        yield _Way(Linear(), nonlinear=True)
        return
    if issubclass(domain, Congruence):
        yield _Way(Polynomials((domain.WIDTH, domain.LOW)))
        if domain.WIDTH > _SMALL:
            return
    if issubclass(domain, Interval):
        widths = (domain.WIDTH, domain.LOW)
        promises = (
            *(promise for width in widths for promise in _below(width)),
            *pair_promises(*widths),
            *moved_promises(*widths),
        )
    if issubclass(domain, Tnum) and obligation.operation in _BY_ORDER:
        yield _Way(Vectors(), tuple(each for width in (domain.WIDTH, domain.LOW) for each in bits_promises(width)))
        if domain.WIDTH > _SMALL:
            return
    if promises:
        yield _Way(Linear(domain.LOW), promises)
        if issubclass(domain, Functions):
            yield _Way(Linear(), promises)
            yield _Way(Vectors(), promises)
        if domain.WIDTH > _SMALL:
            return
    by_bits = domain not in (ZoneRules, OctagonRules)
    if by_bits and obligation.fixed and not issubclass(domain, Functions):  # shifts by known amounts only move bits
        yield _Way(Vectors())
    yield _Way(Linear())
    if by_bits and (issubclass(domain, Functions) or not obligation.fixed):
        yield _Way(Vectors())


def _explored(
    domain: Any, obligation: Obligation, limits: Limits, way: _Way, asked: list[Query] | None = None
) -> tuple[str, int, str]:
    if isinstance(way.encoding, Polynomials):
        return _by_polynomials(domain, obligation, limits, way.encoding)
    solver = way.encoding.solver()
    explorer = Explorer(way.encoding, solver, rlimit=limits.feasibility, most=limits.paths)
    setting = Symbolic(
        domain, explorer, obligation.op, obligation.fixed, obligation.least, contracts=bool(way.promises)
    )
    patches = prepared() | contracts(way.promises, explorer, setting.words, setting.facts, lambda: setting.integers)
    paths = 0
    unsure = ""
    try:
        with hooked(), number_theory(explorer), _beyond(explorer, way), replaced(patches), _states(domain, obligation):
            solver.add(condition(obligation.suppose(setting)))
            setting.prepare()
            possible = solver.check()
            if possible != z3.sat:
                return LIMITED, 0, _IMPOSSIBLE if possible == z3.unsat else _VACUOUS
            for path, claims in explorer.paths(lambda: _claims(obligation, setting)):
                paths += 1
                for claim in claims:
                    answer, model = _refute(explorer, path, claim, limits.claim)
                    if asked is not None and claim.holds is not True:
                        asked.append(Query(_text(explorer, path, claim), str(answer)))
                    if answer == z3.sat and not way.promises:
                        assert model is not None
                        values = {**obligation.fixed} | {
                            name: way.encoding.value(number, model) for name, number in setting.names.items()
                        }
                        return COUNTEREXAMPLE, paths, _replayed(domain, obligation, values)
                    if answer != z3.unsat:
                        unsure = f"undecided: {claim.text}"
                        if way.promises or domain.WIDTH > _SMALL:
                            return LIMITED, paths, unsure  # at small widths other paths may have a counterexample
    except PathLimitError as error:
        return LIMITED, paths, str(error)
    return (LIMITED if unsure else PROVED), paths, unsure


def _beyond(explorer: Explorer, way: _Way) -> AbstractContextManager[None]:
    """Where models are no counterexamples, more stands for terms than there is in the encoding."""
    if way.nonlinear:
        return nonlinear()
    return beyond(explorer.solver) if way.promises else nullcontext()


def _states(domain: Any, obligation: Obligation) -> AbstractContextManager[None]:
    """Those of zones are merged."""
    return merged_zones() if domain is ZoneRules and not obligation.apart else nullcontext()


def _by_polynomials(domain: Any, obligation: Obligation, limits: Limits, encoding: Polynomials) -> tuple[str, int, str]:
    """Hypotheses are explored like claims; a path on which all of it can be must be among them."""
    explorer = Explorer(encoding, encoding.solver(), rlimit=limits.feasibility, most=limits.paths)
    setting = Progressions(domain, explorer, obligation.fixed, promised=promises_of(obligation))
    paths = reached = 0
    try:
        with symbolic_names(setting):
            for path, claims in explorer.paths(lambda: setting.claims(obligation)):
                paths += 1
                if claims and not reached:
                    reached = int(explorer.check(path, rlimit=limits.claim) == z3.sat)
                for claim in claims:
                    if _refute(explorer, path, claim, limits.claim)[0] != z3.unsat:
                        return LIMITED, paths, f"undecided: {claim.text}"
    except PathLimitError as error:
        return LIMITED, paths, str(error)
    return (PROVED, paths, "") if reached and _is_possible(domain, obligation) else (LIMITED, paths, _VACUOUS)


def _is_possible(domain: Any, obligation: Obligation) -> bool:
    """Whether the hypothesis holds of some words in the greatest element: a model of linear arithmetic is none."""
    last = (1 << domain.WIDTH) - 1
    ends = {
        f"{name}{part}": value for name in ("a.", "b.", "out.", "") for part, value in (("hi", last), ("stride", 1))
    }
    return any(
        obligation.suppose(Concrete(domain, {**ends, "x": x, "y": y, **obligation.fixed}))
        for x in (0, 1)
        for y in (0, 1)
    )


def _claims(obligation: Obligation, setting: Symbolic) -> list[Claim]:
    """The claims on a path; that nothing is raised is one of them."""
    try:
        return obligation.claims(setting)
    except (ArithmeticError, AssertionError, ValueError) as error:
        return [Claim(f"{type(error).__name__}: {error}", False)]


def _text(explorer: Explorer, path: z3.BoolRef, claim: Claim) -> str:
    """The query of :func:`_refute`, as an SMT-LIB script."""
    solver = z3.Solver()
    asserted = (*explorer.solver.assertions(), path, z3.Not(condition(claim.holds)))
    solver.add(*(z3.simplify(each) for each in asserted))  # connectives of one argument are not for every solver
    return str(solver.to_smt2())


def _refute(
    explorer: Explorer, path: z3.BoolRef, claim: Claim, rlimit: int
) -> tuple[z3.CheckSatResult, z3.ModelRef | None]:
    """Whether a claim can be false on a path, and how."""
    if claim.holds is True:
        return z3.unsat, None
    negation = z3.Not(condition(claim.holds))
    if isinstance(explorer.encoding, Vectors):
        # Alone, so that Z3 simplifies before it turns to bits, which it does not do incrementally.
        solver = explorer.encoding.solver()
        solver.add(*explorer.solver.assertions(), path, negation)
        solver.set("rlimit", rlimit)
        answer = solver.check()
    else:
        solver = explorer.solver
        answer = explorer.check(path, negation, rlimit=rlimit)
    return answer, (solver.model() if answer == z3.sat else None)


def _replayed(domain: Any, obligation: Obligation, values: Mapping[str, int]) -> str:
    """What goes wrong on the ints of a model, in words.  Raises AssertionError where nothing does."""
    setting = Concrete(domain, values)
    names = {name.split(".")[0] for name in values if "." in name and not name.startswith("of.")}
    shown = [f"{name} = {setting.element(name)}" for name in sorted(names)]
    shown += [f"{name.removeprefix('of.')} = {value:#x}" for name, value in sorted(values.items())
              if name.split(".")[0] not in names]  # fmt: skip
    if not obligation.suppose(setting):
        raise AssertionError(f"{obligation}: the model does not satisfy the hypothesis: {', '.join(shown)}")
    try:
        failed = [claim.text for claim in obligation.claims(setting) if not claim.holds]
    except (ArithmeticError, AssertionError, ValueError) as error:
        failed = [f"{type(error).__name__}: {error}"]
    if not failed:
        raise AssertionError(f"{obligation}: the model is no counterexample on ints: {', '.join(shown)}")
    return f"{failed[0]}: {', '.join(shown)}"
