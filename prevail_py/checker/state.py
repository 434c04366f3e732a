"""The machine on one path: registers, stack frames byte by byte, the packet, references, and what is known.

A stack byte is ``(value, k)``, byte k of a value; one of which nothing is kept is some number.  A pointer keeps its
meaning only as the eight bytes of an aligned slot.  ``Bad.UNUSABLE`` in a byte says that its slot may hold a pointer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from prevail_py.checker.certificate import STACK_SIZE, Bad, Claim, Pointer, Region, Value
from prevail_py.checker.knowledge import Dead, Knowledge
from prevail_py.checker.solver import Solver
from prevail_py.checker.words import MASK, NEVER, ZERO, Formula, Word, between, number
from prevail_py.words import OpKind, WordOp

__all__ = ["NEVER_NULL", "Dead", "Frame", "NotSupported", "Path", "Refused", "frame_pointer", "of_claim"]

NEVER_NULL: Final = number(1)


class Refused(Exception):  # noqa: N818 - an answer
    """At ``slot`` something does not follow from the certificate."""

    def __init__(self, slot: int, what: str) -> None:
        super().__init__(what)
        self.slot = slot


class NotSupported(Refused):
    """The checker has no model of what the program does there."""


Byte: TypeAlias = tuple[Value, int]


class Frame:
    """A stack frame; ``saved`` are the caller's R6-R9.

    Where a helper called the function, its arguments follow, and how often it did so before, if that is known.
    """

    def __init__(self, saved: Iterable[Value] = (), initialised: int = 0, bytes: Mapping[int, Byte] = {}) -> None:
        self.saved, self.initialised, self.bytes = tuple(saved), initialised, dict(bytes)

    def put(self, offset: int, size: int, value: Value) -> None:
        """Write a value; a pointer that is not kept whole in an aligned slot becomes a number."""
        whole = isinstance(value, Word) or (size == 8 and offset % 8 == 0)
        for k in range(size):
            self.bytes.pop(offset + k, None)
            if whole:
                self.bytes[offset + k] = value, k

    def forget(self, lo: int, hi: int, certain: bool = False) -> None:
        """The bytes ``lo..hi`` (exclusive) hold numbers now, certainly or perhaps."""
        for at in range(lo, hi):
            held = self.bytes.pop(at, None)
            if held is not None and not certain and not isinstance(held[0], Word):
                self.bytes[at] = (Bad.UNUSABLE, 0)

    def pointer_at(self, slot: int) -> Value | None:
        """The pointer that an aligned slot holds, UNUSABLE where it may hold one, None where it holds a number."""
        held = [self.bytes.get(slot + k, (ZERO, 0)) for k in range(8)]
        if any(isinstance(value, Bad) for value, _ in held):
            return Bad.UNUSABLE
        first = held[0][0]
        whole = isinstance(first, Pointer) and all(each == (first, k) for k, each in enumerate(held))
        return first if whole else None


class Path:
    """One path of the program from a place with an invariant; changed in place, copied where it parts."""

    def __init__(self, known: Knowledge, solver: Solver) -> None:
        self.known, self.solver = known, solver
        self.registers: list[Value] = [Bad.UNWRITTEN] * 11
        self.frames: list[Frame] = []
        self.calls: tuple[int, ...] = ()
        self.packet = [ZERO, ZERO]
        self.references: list[Word] = []
        self.pending: list[tuple[int, str, tuple[Formula, ...]]] = []
        self.slot = 0

    def copy(self) -> Path:
        """For a path that parts from this one."""
        self.settle()
        other = Path(self.known.copy(), self.solver)
        other.registers, other.references = list(self.registers), list(self.references)
        other.frames = [Frame(frame.saved, frame.initialised, frame.bytes) for frame in self.frames]
        other.calls, other.packet, other.slot = self.calls, list(self.packet), self.slot
        return other

    # What must hold -------------------------------------------------------------------------------------------------

    def require(self, what: str, *formulas: Formula) -> None:
        """What must hold here for the program to be safe: decided at once, or kept for the solver."""
        rest = tuple([formula for formula in formulas if not self.known.holds(formula)])
        if rest:
            self.pending.append((self.slot, what, rest))

    def shows(self, goals: Iterable[Formula]) -> bool:
        """Whether formulas hold in all runs on the path, as far as it is known."""
        rest = [goal for goal in goals if not self.known.holds(goal)]
        return not rest or bool(self.solver.proves(self.known.facts, rest))

    def impossible(self, what: str) -> Dead:
        """Prove that no run gets here, where the path cannot go on.  Raises Dead, Refused."""
        self.require(what, NEVER)
        self.settle()
        return Dead()

    def settle(self) -> None:
        """Prove what is pending from what is known so far.  Raises Refused."""
        pending, self.pending = self.pending, []
        goals = [formula for _, _, formulas in pending for formula in formulas]
        if not goals or self.solver.proves(self.known.facts, goals):
            return
        for slot, what, formulas in pending:
            answer = self.solver.proves(self.known.facts, formulas)
            if not answer:
                raise Refused(slot, f"{what}: {'not shown within the resources' if answer is None else 'not so'}")

    def learn(self, *formulas: Formula) -> None:
        """Go on with the runs in which formulas hold.  Raises Dead where there are none, Refused."""
        self.settle()  # what was to be proved must not rest on what is learnt after it
        for formula in formulas:
            self.known.assume(formula)

    def number(self, value: Value, what: str) -> Word:
        """A value that must be a number."""
        if isinstance(value, Word):
            return value
        raise self.impossible(what)

    # Values ---------------------------------------------------------------------------------------------------------

    def compute(self, kind: OpKind, *args: Word, width: int = 64, source: int = 0) -> Word:
        """The result of an operation."""
        return self.known.compute(WordOp(kind, width, source), args)

    def some(self, size: int) -> Word:
        """An unknown number of ``size`` bytes."""
        return self.known.unknown(0, (1 << 8 * size) - 1)

    def constant(self, word: Word) -> int | None:
        """The number that a word is known to be."""
        word = self.known.resolved(word)
        return word.offset if word.node is None else None

    def extent(self, word: Word, most: int) -> tuple[int, int]:
        """The narrowest bounds of a word that are shown; what is required so far lets it be at most ``most``."""
        lo, hi = (min(bound, most) for bound in self.known.bounds(word))
        if lo < hi:
            self.settle()
            if self.shows(between(word, 0, hi - 1)):
                hi = lo + bisect_left(range(lo, hi), True, key=lambda n: self.shows(between(word, 0, n)))
            if self.shows(between(word, lo + 1, MASK)):
                lo += bisect_left(range(lo + 1, hi + 1), True, key=lambda n: not self.shows(between(word, n, MASK)))
            self.learn(*between(word, lo, hi))
        return lo, hi

    def value(self, held: Value) -> Value:
        """A value, with a pointer that is known to be null as the number it is."""
        null = isinstance(held, Pointer) and self.known.resolved(held.base) == ZERO
        return held.offset if null and isinstance(held, Pointer) else held

    def spoil(self, gone: Callable[[Pointer], bool]) -> None:
        """Make all those pointers unusable, wherever they are."""

        def change(value: Value) -> Value:
            return Bad.UNUSABLE if isinstance(value, Pointer) and gone(value) else value

        self.registers = [change(value) for value in self.registers]
        for frame in self.frames:
            frame.saved = tuple(change(value) for value in frame.saved)
            frame.bytes = {at: (change(value), k) for at, (value, k) in frame.bytes.items()}

    def release(self, pointer: Pointer) -> None:
        """Give a reference back: what points to the object, or may have been made from it, is of no use any more."""
        self.references = [held for held in self.references if held != pointer.base]
        kept, kind = (*self.references, NEVER_NULL), pointer.region.kind
        self.spoil(lambda at: at.region.kind == kind and at.base not in kept)

    def read_stack(self, frame: Frame, offset: int, size: int) -> Value:
        """What a load of ``size`` bytes at a constant offset yields."""
        pointer = frame.pointer_at(offset) if size == 8 and offset % 8 == 0 else None
        if pointer is not None:
            return pointer
        result, at = ZERO, 0
        while at < size:
            word, k = frame.bytes.get(offset + at, (Bad.UNUSABLE, 0))
            if not isinstance(word, Word):
                return self.some(size)
            count = 1
            while at + count < size and frame.bytes.get(offset + at + count) == (word, k + count):
                count += 1
            part = self.compute(OpKind.RSH, word, number(8 * k)) if k else word
            part = self.compute(OpKind.ZEXT, part, width=8 * count)
            shifted = self.compute(OpKind.LSH, part, number(8 * at)) if at else part
            if shifted != ZERO:
                result = self.compute(OpKind.OR, result, shifted) if result != ZERO else shifted
            at += count
        return result


def frame_pointer(depth: int) -> Pointer:
    """R10 in a frame: just behind its last byte."""
    return Pointer(Region("stack", depth), NEVER_NULL, number(STACK_SIZE))


def of_claim(claim: Claim, calls: tuple[int, ...], solver: Solver) -> Path:
    """The path that starts in any of the states of a claim.  Raises Dead where there are none."""
    path = Path(Knowledge(claim.nodes), solver)
    path.calls, path.registers, path.references = calls, list(claim.registers), list(claim.references)
    path.packet = list(claim.packet)
    for each in claim.frames:
        path.frames.append(Frame(each.saved, each.initialised))
        for offset, size, value in each.cells:
            path.frames[-1].put(offset, size, value)
            if isinstance(value, Word) and size < 8:  # it is what the bytes are, zero-extended
                path.known.assume(between(value, 0, (1 << 8 * size) - 1)[1])
    for fact in claim.facts:
        path.known.assume(fact)
    return path
