"""Prove the operators of a word domain: the shipped code, run on Z3 terms, against the one semantics.

>>> from prevail_py.domains.tnum import Tnum
>>> from prevail_py.verifier.smt.prove import prove
>>> [row.result for row in prove(Tnum.at(8, 4), only=["add"])]
['proved', 'proved']

Each obligation (:mod:`prevail_py.verifier.smt.obligations`) is explored path by path
(:mod:`prevail_py.verifier.smt.exploring`).  The hypothesis is checked to be satisfiable first, for a vacuous proof is a
bug.  A model against a claim is turned into ints and run again in the same code; only if it fails there, too, is it
reported as a counterexample.  What the solver cannot decide within its resources is ``limited``: such a cell says how
far it was proved, nothing more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import FunctionType, ModuleType
from typing import Any, Final

import z3

from prevail_py.domains.interval import Interval
from prevail_py.domains.tnum import Tnum
from prevail_py.verifier.smt.algebra import Z3Algebra
from prevail_py.verifier.smt.elements import arbitrary, is_canonical
from prevail_py.verifier.smt.exploring import Explorer, PathLimitError, merging
from prevail_py.verifier.smt.integers import Bool, Encoding, Int, UnsupportedError, condition
from prevail_py.verifier.smt.lemmas import AtWidth, Pair, bounds_obligations, pair_obligations, summaries
from prevail_py.verifier.smt.linear import Linear
from prevail_py.verifier.smt.obligations import Claim, Obligation, obligations
from prevail_py.verifier.smt.rewriting import HOOKS, rewritten
from prevail_py.verifier.smt.vectors import VectorInt, Vectors
from prevail_py.words import INT, Comparison, WordOp, compare, evaluate, to_signed

__all__ = ["COUNTEREXAMPLE", "LIMITED", "PROVED", "Cell", "Limits", "Row", "cells", "cells_of", "provable", "prove"]

PROVED: Final = "proved"
COUNTEREXAMPLE: Final = "counterexample"
LIMITED: Final = "limited"

_VACUOUS: Final = "the hypothesis was not found to be satisfiable: there is nothing to prove"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one obligation may use: Z3 resource units for a feasibility check and for a claim, and paths."""

    feasibility: int = 300_000
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


# Two readings of an obligation ------------------------------------------------------------------------------------


class _Concrete:
    """The reading on ints, with the values that a model gives to the names."""

    def __init__(self, domain: Any, values: Mapping[str, int]) -> None:
        self.domain = domain
        self.width: int = domain.WIDTH
        self.low: int = domain.LOW
        self.values = values

    def element(self, name: str) -> Any:
        return arbitrary(self.domain, lambda part, lo, hi: self.values.get(f"{name}.{part}", lo))

    def word(self, name: str) -> int:
        return self.values.get(name, 0)

    def number(self, name: str, lo: int, hi: int) -> int:
        return self.values.get(name, lo)

    def evaluate(self, op: WordOp, *args: int) -> int:
        return evaluate(INT, op, args, self.width)

    def compare(self, comparison: Comparison, a: int, b: int, width: int) -> bool:
        return compare(INT, comparison, a, b, width, self.width)

    def read(self, word: int, width: int, signed: bool) -> int:
        return to_signed(word, width) if signed else word & ((1 << width) - 1)

    def equal(self, a: int, b: int) -> bool:
        return a == b

    def contains(self, element: Any, word: int) -> bool:
        return bool(element.contains(word))

    def canonical(self, element: Any) -> bool:
        return is_canonical(element)

    def all(self, *conditions: bool) -> bool:
        return all(conditions)

    def any(self, *conditions: bool) -> bool:
        return any(conditions)

    def negation(self, condition: bool) -> bool:
        return not condition


@dataclass(slots=True)
class _Symbolic:
    """The reading on Z3 terms."""

    domain: Any
    explorer: Explorer
    opaque: WordOp | None = None  # an operation of which the proof is not to know what it computes
    merge: bool = True
    met: set[str] = field(default_factory=set)  # elements that are canonical on the path under way
    names: dict[str, Int] = field(default_factory=dict)
    elements: dict[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return int(self.domain.WIDTH)

    @property
    def low(self) -> int:
        return int(self.domain.LOW)

    def element(self, name: str) -> Any:
        made = self.elements.get(name)
        if made is None:
            made = arbitrary(self.domain, lambda part, lo, hi: self.number(f"{name}.{part}", lo, hi))
            self.elements[name] = made
            if self.merge:
                self.explorer.assume(condition(self.canonical(made)))
        if not self.merge and name not in self.met:
            self.met.add(name)
            if not is_canonical(made):
                raise _OutOfScopeError
        return made

    def question(self, ask: Callable[[], Any]) -> Any:
        """A condition, as one term; or, on paths that are not merged, as an answer."""
        return self.explorer.alone(ask) if self.merge else bool(ask())

    def word(self, name: str) -> Int:
        return self.number(name, 0, (1 << self.width) - 1)

    def number(self, name: str, lo: int, hi: int) -> Int:
        if name not in self.names:
            number, assumptions = self.explorer.encoding.number(name, lo, hi)
            self.explorer.solver.add(*assumptions)
            self.names[name] = number
        return self.names[name]

    def tracked(self) -> list[Any]:
        """The words that the obligation speaks of."""
        return [number for name, number in self.names.items() if "." not in name]

    def result(self) -> Any:
        """The result of the opaque operation, which is zero-extended."""
        assert self.opaque is not None
        return self.number("r", 0, (1 << self.opaque.width) - 1)

    def amount(self) -> Any:
        """By how much the opaque operation shifts, if it does."""
        assert self.opaque is not None
        return self.number("amount.", 0, self.opaque.width - 1)

    def evaluate(self, op: WordOp, *args: Any) -> Any:
        if op == self.opaque:
            return self.result()
        if isinstance(args[0], VectorInt):
            terms = tuple(arg.at(self.width) for arg in args)
            return VectorInt.unsigned(evaluate(Z3Algebra(), op, terms, self.width))
        return self.explorer.alone(lambda: evaluate(INT, op, args, self.width))

    def compare(self, comparison: Comparison, a: Any, b: Any, width: int) -> Any:
        if isinstance(a, VectorInt):
            return Bool(compare(Z3Algebra(), comparison, a.at(self.width), b.at(self.width), width, self.width))
        return self.question(lambda: bool(compare(INT, comparison, a, b, width, self.width)))

    def read(self, word: Any, width: int, signed: bool) -> Any:
        if isinstance(word, VectorInt):
            low = word.at(width)
            return VectorInt.signed(low) if signed else VectorInt.unsigned(low)
        return self.explorer.alone(lambda: to_signed(word, width) if signed else word & ((1 << width) - 1))

    def equal(self, a: Any, b: Any) -> Any:
        return a == b

    def contains(self, element: Any, word: Int) -> Any:
        return self.question(lambda: bool(element.contains(word)))

    def canonical(self, element: Any) -> Any:
        return self.question(lambda: is_canonical(element))

    def all(self, *conditions: Any) -> Any:
        return Bool(z3.And(*map(condition, conditions))) if self.merge else all(conditions)

    def any(self, *conditions: Any) -> Any:
        return Bool(z3.Or(*map(condition, conditions))) if self.merge else any(conditions)

    def negation(self, value: Any) -> Any:
        return Bool(z3.Not(condition(value))) if self.merge else not value


class _OutOfScopeError(Exception):
    """On this path an argument is not canonical."""


# Merging ----------------------------------------------------------------------------------------------------------


_MERGED: Final = frozenset(
    {"from_unsigned", "from_signed", "wrap", "sync", "join", "meet", "contains", "_up", "_down", "next_member"}
)


def _helpers() -> Iterator[FunctionType]:
    """The plain functions below the classes of the package's domains: those whose paths are worth merging."""
    from prevail_py.domains import arithmetic, bits, bounds, halves

    for module in (bounds, arithmetic, halves, bits):
        for value in vars(module).values():
            if isinstance(value, FunctionType) and value.__module__ == module.__name__ and value.__name__ in _MERGED:
                yield value


@contextmanager
def replaced(functions: Mapping[Any, Any]) -> Iterator[None]:
    """Replace functions of ``prevail_py.domains`` wherever its modules have them, in tables too."""
    changed: list[tuple[dict[Any, Any], Any, Any]] = []
    by_id = {id(old): new for old, new in functions.items()}

    def scan(names: dict[Any, Any]) -> None:
        for name, value in names.items():
            if id(value) in by_id:
                changed.append((names, name, value))
            elif type(value) is dict and value is not names and not str(name).startswith("__"):
                scan(value)

    modules = [m for n, m in sys.modules.items() if n.startswith("prevail_py.domains") and isinstance(m, ModuleType)]
    for module in modules:
        scan(vars(module))
    for names, name, value in changed:
        names[name] = by_id[id(value)]
    try:
        yield
    finally:
        for names, name, value in changed:
            names[name] = value


@contextmanager
def _hooked() -> Iterator[None]:
    """Give the modules of the helpers the names that rewritten functions need."""
    modules = {function.__module__ for function in _helpers()}
    for module in modules:
        vars(sys.modules[module]).update(HOOKS)
    try:
        yield
    finally:
        for module in modules:
            for hook in HOOKS:
                del vars(sys.modules[module])[hook]


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


def provable() -> tuple[str, ...]:
    """The names that :func:`cells` knows."""
    return ("tnum", "interval")


def cells(name: str, width: int = 64, only: Iterable[str] | None = None) -> list[Cell]:
    """What there is to prove of the domain called ``name`` at words of ``width`` bits with a low half of half of that.

    ``only`` picks operations by name (``add``, ``backward add``, ``assume <``, ``join``).  Raises ValueError for a name
    that is no operation, KeyError for one that is no domain.
    """
    domain: Any = {"tnum": Tnum, "interval": Interval}[name]
    found = list(cells_of(domain.at(width, width // 2), name))
    if name == "interval":  # what its proofs rest on
        for bits in (width, width // 2):
            part = AtWidth.at(bits, bits // 2)
            found += [Cell("bounds", part, obligation) for obligation in bounds_obligations(bits)]
        pair = Pair.at(width, width // 2)
        found += [Cell("halves", pair, obligation) for obligation in pair_obligations(width, width // 2)]
    return _picked(found, only)


def cells_of(domain: Any, name: str | None = None) -> list[Cell]:
    """What there is to prove of a :class:`prevail_py.domains.lattice.Word` class with ``WIDTH`` and ``LOW``."""
    return [Cell(name or domain.__name__, domain, each) for each in obligations(domain.WIDTH, domain.LOW)]


def prove(domain: Any, *, only: Iterable[str] | None = None, limits: Limits = Limits()) -> Iterator[Row]:
    """Prove a domain that may be the reader's own, cell by cell.

    Raises TypeError where it does not say how its elements are made (:mod:`prevail_py.verifier.smt.elements`), and
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


def _attempt(domain: Any, obligation: Obligation, limits: Limits) -> tuple[str, int, str]:
    """The first of the ways to a proof that leads to an answer."""
    detail = ""
    for way in _ways(domain, obligation):
        try:
            result = _explored(domain, obligation, limits, way)
        except UnsupportedError as error:
            detail = detail or f"unsupported: {error}"
            continue
        if result[0] != LIMITED:
            return result
        detail = result[2]
    return LIMITED, 0, detail


@dataclass(frozen=True, slots=True)
class _Way:
    """How to go about an obligation; ``op`` is replaced by its contract, if given."""

    encoding: Encoding
    contracts: bool = False
    op: WordOp | None = None
    merge: bool = True


def _ways(domain: Any, obligation: Obligation) -> Iterator[_Way]:
    """Linear arithmetic first, which the operator may turn out not to be in; contracts where there are lemmas."""
    if issubclass(domain, Interval):
        yield _Way(Linear(), True, obligation.op)
    if issubclass(domain, Pair):
        yield _Way(Linear(), merge=False)
        return
    yield _Way(Linear())
    yield _Way(Vectors())


def _explored(domain: Any, obligation: Obligation, limits: Limits, way: _Way) -> tuple[str, int, str]:
    solver = way.encoding.solver()
    explorer = Explorer(way.encoding, solver, rlimit=limits.feasibility, most=limits.paths)
    setting = _Symbolic(domain, explorer, way.op if way.contracts else None, way.merge)
    patches: dict[Any, Any] = {function: merging(rewritten(function)) for function in _helpers()} if way.merge else {}
    if way.contracts:
        patches |= summaries(explorer, setting.tracked, way.op, setting.result, setting.amount)
    paths = 0
    unsure = ""
    try:
        with _hooked(), replaced(patches):
            if way.merge:
                solver.add(condition(obligation.suppose(setting)))
                if solver.check() != z3.sat:
                    return LIMITED, 0, _VACUOUS
            for path, claims in explorer.paths(lambda: _claims(obligation, setting)):
                if claims is None:
                    continue
                paths += 1
                for claim in claims:
                    answer, model = _refute(explorer, path, claim, limits.claim)
                    if answer == z3.sat and not way.contracts:
                        assert model is not None
                        values = {name: way.encoding.value(number, model) for name, number in setting.names.items()}
                        return COUNTEREXAMPLE, paths, _replayed(domain, obligation, values)
                    if answer != z3.unsat:
                        unsure = f"undecided: {claim.text}"
                        if way.contracts:
                            return LIMITED, paths, unsure
    except PathLimitError as error:
        return LIMITED, paths, str(error)
    if paths == 0:
        return LIMITED, 0, _VACUOUS
    return (LIMITED if unsure else PROVED), paths, unsure


def _claims(obligation: Obligation, setting: _Symbolic) -> list[Claim] | None:
    """The claims on a path, or None where the hypothesis does not hold; that nothing is raised is one of them."""
    setting.met.clear()
    try:
        return obligation.claims(setting) if setting.merge or obligation.suppose(setting) else None
    except _OutOfScopeError:
        return None
    except (ArithmeticError, AssertionError, ValueError) as error:
        return [Claim(f"{type(error).__name__}: {error}", False)]


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
    setting = _Concrete(domain, values)
    names = {name.split(".")[0] for name in values if "." in name}
    shown = [f"{name} = {setting.element(name)}" for name in sorted(names)]
    shown += [f"{name} = {value:#x}" for name, value in sorted(values.items()) if "." not in name]
    if not obligation.suppose(setting):
        raise AssertionError(f"{obligation}: the model does not satisfy the hypothesis: {', '.join(shown)}")
    try:
        failed = [claim.text for claim in obligation.claims(setting) if not claim.holds]
    except (ArithmeticError, AssertionError, ValueError) as error:
        failed = [f"{type(error).__name__}: {error}"]
    if not failed:
        raise AssertionError(f"{obligation}: the model is no counterexample on ints: {', '.join(shown)}")
    return f"{failed[0]}: {', '.join(shown)}"
