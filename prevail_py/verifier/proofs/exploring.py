"""Run code on symbolic integers, path by path.

Where Python asks a symbolic condition for its truth the run *forks*: :meth:`Explorer.paths` calls the function once per
feasible sequence of answers, each call under the constraints of its answers.  So what is proved about all paths is
proved about the shipped code, not about a twin of it.

**Merging.**  Paths multiply: two functions of ten paths each, one after the other, have a hundred.  A function that
:func:`merging` wraps is explored by itself instead, and what it returns on its paths becomes *one* result of the same
shape, whose ints are if-then-else terms.  Results of different shapes, and results that *are* (``is``) one of the
arguments, are kept apart by a fork: identity is something the code under test may ask for.

All this is exact but for one direction: where the solver does not know whether a path is feasible, it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import z3

from prevail_py.verifier.proofs.integers import Bool, Encoding, Int, UnsupportedError, condition, decider, set_decider

__all__ = ["Explorer", "PathLimitError", "current", "joined", "merging"]

T = TypeVar("T")


class PathLimitError(Exception):
    """There are more paths than the explorer was told to follow."""


_explorer: Explorer | None = None


def current() -> Explorer | None:
    """The exploration under way."""
    return _explorer


@dataclass(slots=True)
class _Decision:
    """An answer on the current path, and whether the other one is yet to be tried."""

    term: z3.BoolRef
    answer: bool
    other: bool


@dataclass(slots=True)
class _Frame:
    """One exploration: the decisions of the path under way, of which the first ``at`` were passed in this run."""

    trail: list[_Decision] = field(default_factory=list)
    at: int = 0
    calls: int = 0  # of merged functions
    scoped: bool = False  # whether its decisions are scopes of the solver

    def position(self) -> tuple[Any, ...]:
        """Where the run is: it comes here again exactly by the same answers."""
        return self.calls, *((d.term, d.answer) for d in self.trail[: self.at])


@dataclass(slots=True)
class Explorer:
    """Runs code on symbolic integers, path by path.

    ``solver`` has the assumptions about the arguments, which hold on all paths.  ``rlimit`` bounds each feasibility
    check in Z3's resource units, ``most`` the number of paths of one exploration.  Within merged functions the first
    ``unchecked`` decisions of a path are taken either way without asking: a path that is not feasible costs a term, and
    asking costs more.
    """

    encoding: Encoding
    solver: z3.Solver
    rlimit: int = 200_000
    most: int = 4096
    unchecked: int = 16
    checks: int = 0
    _frames: list[_Frame] = field(default_factory=list)
    _scopes: int = 0  # of the solver: one for each decision of the outermost exploration
    _merged: dict[tuple[Any, ...], list[tuple[z3.BoolRef, Any]]] = field(default_factory=dict)

    def decide(self, term: z3.BoolRef) -> bool:
        """The answer to a condition on this path."""
        frame = self._frames[-1]
        for earlier in frame.trail[: frame.at]:
            if earlier.term.eq(term):
                return earlier.answer
        if frame.at < len(frame.trail):
            decision = frame.trail[frame.at]
            if not decision.term.eq(term):
                raise UnsupportedError("the code under test behaves differently when it is run again")
            frame.at += 1
            return decision.answer
        yes = no = True
        simple = z3.simplify(term)
        if z3.is_true(simple) or z3.is_false(simple):
            yes, no = z3.is_true(simple), z3.is_false(simple)
        elif frame.scoped or frame.at >= self.unchecked:
            yes = self.check(term) != z3.unsat
            no = not yes or self.check(z3.Not(term)) != z3.unsat
        frame.trail.append(_Decision(term, yes, yes and no))
        frame.at += 1
        if frame.scoped:
            self._enter(frame)
        return yes

    def _enter(self, frame: _Frame) -> None:
        """Suppose the last decision of the outermost exploration in a scope of its own."""
        self.solver.push()
        self._scopes += 1
        last = frame.trail[-1]
        self.solver.add(last.term if last.answer else z3.Not(last.term))

    def check(self, *terms: z3.BoolRef, rlimit: int | None = None) -> z3.CheckSatResult:
        """What the solver says of ``terms`` on the current path, within ``rlimit`` resource units."""
        self.checks += 1
        taken = self._taken()
        self.solver.set("rlimit", self.rlimit if rlimit is None else rlimit)
        answer = self.solver.check(*taken, *terms)
        self.solver.set("rlimit", 0)
        return answer

    def assume(self, term: z3.BoolRef) -> None:
        """Suppose ``term`` from now on, wherever the answers so far are the same.

        Elsewhere it need not even mean anything: merged terms leave out what is not feasible on their path.  It is
        dropped when the outermost exploration leaves the path.
        """
        taken = self._taken()
        self.solver.add(z3.Implies(z3.And(*taken), term) if taken else term)

    def _taken(self) -> list[z3.BoolRef]:
        """The answers given on the current path that the solver does not have in scope."""
        frames = [frame for frame in self._frames if not frame.scoped]
        return [d.term if d.answer else z3.Not(d.term) for frame in frames for d in frame.trail[: frame.at]]

    def paths(self, function: Callable[[], T]) -> Iterator[tuple[z3.BoolRef, T]]:
        """Each path's condition and result.

        Raises :class:`PathLimitError`; exceptions of ``function`` pass through, on the path on which they arise.
        """
        self._merged.clear()
        frame = _Frame(scoped=True)
        try:
            yield from self._paths(function, frame)
        finally:
            self.solver.pop(self._scopes)
            self._scopes = 0

    def _paths(self, function: Callable[[], T], frame: _Frame) -> Iterator[tuple[z3.BoolRef, T]]:
        count = 0
        while True:
            frame.at = frame.calls = 0
            self._frames.append(frame)
            try:
                with _active(self):
                    result = function()
            finally:
                self._frames.pop()
            taken = [d.term if d.answer else z3.Not(d.term) for d in frame.trail]
            yield (z3.And(*taken) if taken else z3.BoolVal(True)), result
            count += 1
            while frame.trail and not frame.trail[-1].other:
                frame.trail.pop()
            if not frame.trail:
                return
            if count >= self.most:
                raise PathLimitError(f"more than {self.most} paths")
            last = frame.trail[-1]
            last.answer, last.other = False, False
            if frame.scoped:
                self.solver.pop(self._scopes - len(frame.trail) + 1)
                self._scopes = len(frame.trail) - 1
                self._enter(frame)

    def answers(self) -> tuple[bool, ...]:
        """Those given so far on the current path."""
        return tuple(d.answer for frame in self._frames for d in frame.trail[: frame.at])

    def alone(self, function: Callable[[], Any]) -> Any:
        """The one result of a function without arguments, outside of any path or on the current one.

        Raises UnsupportedError where its results cannot be made one.
        """
        if self._frames:
            return self.merged(function, ())
        self._merged.clear()
        groups = self._groups(function, ())
        if len(groups) != 1:
            raise UnsupportedError("results of several shapes where one is needed")
        return _result(groups[0][1], ())

    def merged(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """``function(*args)`` with the results of its paths made one; see the module's text."""
        self._frames[-1].calls += 1
        # Runs are repeated up to the decision in which they differ; until then the results are known.
        key = tuple(frame.position() for frame in self._frames)
        groups = self._merged.get(key)
        if groups is None:
            groups = self._merged[key] = self._groups(function, args)
        for reached, result in groups[:-1]:
            if self.decide(reached):
                return _result(result, args)
        return _result(groups[-1][1], args)

    def _groups(self, function: Callable[..., Any], args: tuple[Any, ...]) -> list[tuple[z3.BoolRef, Any]]:
        found: dict[Any, list[tuple[z3.BoolRef, Any]]] = {}
        places = {id(value): place for place, value in _tuples(args)}

        def attempt() -> Any:
            try:
                return _with_places(function(*args), places)
            except (ArithmeticError, AssertionError, ValueError) as error:
                return _Raised(error)

        for reached, result in self._paths(attempt, _Frame()):
            if isinstance(result, _Raised) and self.check(reached) == z3.unsat:
                continue  # the first decisions were not checked, and this path does not exist
            found.setdefault(_shape(result), []).append((reached, result))
        return [(z3.Or(*(reached for reached, _ in group)), joined(self.encoding, group)) for group in found.values()]


@dataclass(frozen=True, slots=True)
class _Raised:
    """A path that ended in an exception."""

    error: Exception


@dataclass(frozen=True, slots=True)
class _Place:
    """A result that *is* a tuple among the arguments: by which indices to find it."""

    indices: tuple[int, ...]


def _tuples(value: tuple[Any, ...], indices: tuple[int, ...] = ()) -> Iterator[tuple[_Place, Any]]:
    """The tuples within the arguments, innermost first."""
    for index, part in enumerate(value):
        if isinstance(part, tuple) and part:
            yield from _tuples(part, (*indices, index))
            yield _Place((*indices, index)), part


def _with_places(result: Any, places: dict[int, _Place]) -> Any:
    if not isinstance(result, tuple) or not result:
        return result
    place = places.get(id(result))
    if place is not None:
        return place
    parts = [_with_places(part, places) for part in result]
    return tuple(parts) if type(result) is tuple else type(result)(*parts)


def _result(result: Any, args: tuple[Any, ...]) -> Any:
    """A merged result as the caller is to have it, with the tuples of *its* arguments."""
    if isinstance(result, _Raised):
        raise result.error
    if isinstance(result, _Place):
        found: Any = args
        for index in result.indices:
            found = found[index]
        return found
    if isinstance(result, tuple):
        parts = [_result(part, args) for part in result]
        return tuple(parts) if type(result) is tuple else type(result)(*parts)
    return result


@contextmanager
def _active(explorer: Explorer) -> Iterator[None]:
    global _explorer
    before, decide = _explorer, decider()
    _explorer = explorer
    set_decider(explorer.decide)
    try:
        yield
    finally:
        _explorer = before
        set_decider(decide)


def _shape(result: Any) -> Any:
    """What two results must have in common to be merged."""
    if isinstance(result, bool | Bool):
        return "bool"
    if isinstance(result, int | Int):
        return "int"
    if isinstance(result, _Place):
        return result
    if isinstance(result, tuple):
        return type(result), *map(_shape, result)
    if isinstance(result, _Raised):
        return "raised", type(result.error), str(result.error)
    return "object", id(result)


def joined(encoding: Encoding, group: list[tuple[z3.BoolRef, Any]]) -> Any:
    """One result for several of one shape, of which the last is taken where no other one's condition holds."""
    results = [result for _, result in group]
    first = results[0]
    if len(group) == 1 or all(result is first for result in results):
        return first
    if isinstance(first, bool | Bool):
        term = condition(results[-1])
        for reached, result in reversed(group[:-1]):
            term = z3.If(reached, condition(result), term)
        return Bool(term)
    if isinstance(first, int | Int):
        number = results[-1]
        for reached, result in reversed(group[:-1]):
            number = result if result is number else encoding.either(reached, result, number)
        return number
    if isinstance(first, tuple):
        conditions = [reached for reached, _ in group]
        columns = [
            joined(encoding, list(zip(conditions, column, strict=True))) for column in zip(*results, strict=True)
        ]
        return tuple(columns) if type(first) is tuple else type(first)(*columns)
    return first


def _symbolic(value: Any) -> bool:
    return isinstance(value, Int | Bool) or (isinstance(value, tuple | list) and any(map(_symbolic, value)))


def merging(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, explored by itself wherever it is called with a symbolic argument."""

    def wrapper(*args: Any) -> Any:
        if _explorer is None or not any(map(_symbolic, args)):
            return function(*args)
        return _explorer.merged(function, args)

    wrapper.__name__ = getattr(function, "__name__", "merged")
    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    return wrapper
