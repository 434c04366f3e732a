"""Promises: what a function below the classes keeps, said once, proved of it, and then taken for granted by others.

A :class:`Promise` is a text about one shipped function: which arguments it may be given, and what then holds of its
result, by itself and for each word.  It is read twice.  As an *obligation* (:func:`lemma`) it is proved of the function
for all arguments.  As a *contract* (:func:`contract`) it stands for the function in a proof of something above it: the
result is anything at all of which the promise holds.  If the arguments may be others than those promised for, nothing
is known of the result, so a proof never rests on a promise that was not made.

Conditions are written with ``&``, ``|`` and :func:`implies`, never with ``and``, ``or``, ``if``: so they are one term
on symbolic integers and a truth value on ints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import z3

from prevail_py.verifier.proofs.exploring import Explorer, current, merging
from prevail_py.verifier.proofs.integers import Bool, Int, condition
from prevail_py.verifier.proofs.obligations import Claim, Obligation, Setting
from prevail_py.verifier.proofs.replacing import current_version
from prevail_py.verifier.proofs.rewriting import rewritten

__all__ = ["Draw", "Functions", "Promise", "both", "contracts", "either", "implies", "lemma", "negation", "symbolic"]

Draw = Callable[[str, int, int], Any]
"""Chooses an integer: its name, and the least and the greatest that it may be."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What ``function`` keeps, at one width.

    ``arguments`` makes arbitrary ones and ``result`` an arbitrary result of such arguments.  Under ``supposes(args)``,
    ``keeps(args, result)``; for every word of ``0..last`` ``holds(args, result, word)``; and for every fact of a kind
    among ``kinds`` at ``bits`` bits (:mod:`prevail_py.verifier.proofs.relations`) ``relates(args, result, fact)``.
    ``same`` are the arguments that the function may return as the very objects that they are, which the code above asks
    for (``is``).  ``matches(args)`` tells calls that the promise is about from others of the same function.
    ``rests_on`` are promises that its own proof uses.  They are asked about words, and about what ``integers(args,
    seen)`` makes of the word, and of each fact: such as a product before it is taken modulo the size of a word, of
    which only promises speak that are ``about_integers``; others speak of its low bits.  ``derived`` has more facts for
    them.
    """

    name: str
    function: Any
    bits: int
    last: int
    arguments: Callable[[Draw], tuple[Any, ...]]
    result: Callable[[Draw, tuple[Any, ...]], Any]
    supposes: Callable[[tuple[Any, ...]], Any]
    keeps: Callable[[tuple[Any, ...], Any], Any]
    holds: Callable[[tuple[Any, ...], Any, Any], Any] = lambda args, result, word: True
    matches: Callable[[tuple[Any, ...]], bool] = lambda args: True
    same: tuple[int, ...] = ()
    rests_on: tuple[Any, ...] = ()
    kinds: tuple[Any, ...] = ()
    halves: int = 0  # where it is asked about low halves as well, their last word
    relates: Callable[[tuple[Any, ...], Any, Any], Any] = lambda args, result, fact: True
    integers: Callable[[tuple[Any, ...], Any], tuple[Any, ...]] = lambda args, seen: ()
    about_integers: bool = False
    derived: Callable[[Setting, tuple[Any, ...], Any], tuple[Any, ...]] = lambda s, args, fact: ()
    by_parts: bool = False  # whether it is proved for one argument after the other, not as a whole
    by_value: int | None = None  # of the argument of which it must be: an unknown one forks


def negation(value: Any) -> Any:
    """``not value``, as one term."""
    return not value if isinstance(value, bool) else ~value


def implies(a: Any, b: Any) -> Any:
    """``b`` if ``a``, as one term."""
    return negation(a) | b


def both(*conditions: Any) -> Any:
    """All of them, as one term."""
    if all(isinstance(one, bool) for one in conditions):
        return all(conditions)
    return Bool(z3.And(*map(condition, conditions)))


def either(*conditions: Any) -> Any:
    """Any of them, as one term."""
    if all(isinstance(one, bool) for one in conditions):
        return any(conditions)
    return Bool(z3.Or(*map(condition, conditions)))


def symbolic(value: Any) -> bool:
    """Whether there is a symbolic integer in it."""
    return isinstance(value, Int | Bool) or (isinstance(value, tuple | list) and any(map(symbolic, value)))


class Functions:
    """The domain of lemmas: it has widths and no elements."""

    WIDTH: ClassVar[int] = 64
    LOW: ClassVar[int] = 32

    @classmethod
    def at(cls, width: int, low: int) -> type[Self]:
        """The class for other widths."""
        return type(cls.__name__, (cls,), {"WIDTH": width, "LOW": low})


def lemma(promise: Promise) -> Obligation:
    """That the function keeps the promise."""

    def arguments(s: Setting) -> tuple[Any, ...]:
        return promise.arguments(lambda name, lo, hi: s.number(f"of.{name}", lo, hi))

    def unknown(s: Setting) -> Any:
        return s.number("x", -promise.last if promise.about_integers else 0, promise.last)

    def suppose(s: Setting) -> Any:
        x = unknown(s)
        args = arguments(s)
        if promise.rests_on:  # what it rests on speaks of them
            for seen in (x, *(s.fact(kind, promise.bits, x) for kind in promise.kinds)):
                s.speak_of(partial(promise.integers, args, seen))
            for kind in promise.kinds:
                s.know(*promise.derived(s, args, s.fact(kind, promise.bits, x)))
        return promise.supposes(args)

    def claims(s: Setting) -> list[Claim]:
        args = arguments(s)
        result = current_version(promise.function)(*args)
        x = unknown(s)
        found = [
            Claim("the result is not as promised", promise.keeps(args, result)),
            Claim("the promise is broken for x", promise.holds(args, result, x)),
        ]
        for kind in promise.kinds:
            fact = s.fact(kind, promise.bits, x)
            found.append(Claim(f"the promise is broken for {kind.value}", promise.relates(args, result, fact)))
        return found

    return Obligation(promise.name, promise.bits, suppose, claims, rests_on=promise.rests_on)


def contracts(
    promises: Iterable[Promise],
    explorer: Explorer,
    words: Callable[[], list[Any]],
    facts: Callable[[], list[Any]],
    integers: Callable[[], list[Any]],
) -> dict[Any, Any]:
    """In place of each function any result of which the promise holds, for these words, facts and integers."""
    by_function: dict[int, list[Promise]] = {}
    for promise in promises:
        known = by_function.setdefault(id(promise.function), [])
        if promise not in known:
            known.append(promise)
    made = {each[0].function: _Contract(each, explorer, words, facts, integers) for each in by_function.values()}
    return {function: merging_contract(one) for function, one in made.items()}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Where a lemma has an arbitrary integer of a range."""

    lo: int
    hi: int


def _among_those_drawn(promise: Promise, args: tuple[Any, ...]) -> Any:
    """Whether the lemma was about such arguments: whatever ``supposes`` says, of others nothing was proved."""

    def among(drawn: Any, arg: Any) -> Any:
        if isinstance(drawn, _Drawn):
            return both(drawn.lo <= arg, arg <= drawn.hi)
        if isinstance(drawn, tuple | list):
            return len(drawn) == len(arg) and both(*map(among, drawn, arg))
        return drawn is arg or (isinstance(arg, int | Int) and drawn == arg)

    return among(promise.arguments(lambda name, lo, hi: _Drawn(lo, hi)), args)


@dataclass(slots=True)
class _Contract:
    promises: list[Promise]
    explorer: Explorer
    words: Callable[[], list[Any]]
    facts: Callable[[], list[Any]]
    integers: Callable[[], list[Any]]
    made: int = 0

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """A result of a call, of a name of its own."""
        promise = next((one for one in self.promises if one.matches(args)), None)
        if promise is not None and promise.by_value is not None:
            args = (*args[: promise.by_value], _valued(args[promise.by_value]), *args[promise.by_value + 1 :])
        self.made += 1
        number = self.made
        return merging(lambda *args: self._result(number, args))(*args)

    def _result(self, number: int, args: tuple[Any, ...]) -> Any:
        promise = next((one for one in self.promises if one.matches(args)), None)
        if promise is None:  # of other arguments than anything was promised for: run it
            return rewritten(self.promises[0].function)(*args)
        name = f"{promise.name} {promise.bits} {number}"
        explorer = self.explorer

        def draw(part: str, lo: int, hi: int) -> Any:
            number, assumptions = explorer.encoding.number(f"{name}.{part}", lo, hi)
            explorer.solver.add(*assumptions)
            return number

        result = promise.result(draw, args)
        for index in promise.same:
            if bool(Bool(z3.Bool(f"{name} is argument {index}"))):
                result = args[index]
                break
        kept = [promise.keeps(args, result)]
        kept += [promise.holds(args, result, word) for word in self._seen(promise)]
        kept += [promise.relates(args, result, fact) for fact in self.facts()
                 if fact.bits == promise.bits and fact.kind in promise.kinds]  # fmt: skip
        supposed = both(_among_those_drawn(promise, args), promise.supposes(args))
        explorer.assume(condition(implies(supposed, both(*kept))))
        return result

    def _seen(self, promise: Promise) -> Iterator[Any]:
        """The words that the promise speaks of: the low bits of the obligation's, and of their low halves."""
        if promise.about_integers:
            yield from (*self.words(), *self.integers())
            return
        for word in (*self.words(), *self.integers()):
            yield word & promise.last
            if promise.halves:
                yield word & promise.halves


def _valued(number: Any) -> int:
    """The value of a small number, which a path has for each."""
    if isinstance(number, int):
        return number
    for value in range(number.lo, number.hi):
        if number == value:
            return value
    last: int = number.hi
    return last


def merging_contract(one: _Contract) -> Callable[..., Any]:
    """The replacement: the function itself on plain ints."""

    def replacement(*args: Any) -> Any:
        args = tuple(tuple(arg) if hasattr(arg, "__next__") else arg for arg in args)
        return one(args) if current() is not None and symbolic(args) else one.promises[0].function(*args)

    replacement.__name__ = one.promises[0].name
    return replacement
