"""Writing LLVM IR as text: what the word algebra needs of llvmlite's ``IRBuilder``, a tenth as dear.

A :class:`Word` is the name of a value, or a number, with its width in bits; pointers and conditions are names only
where no algebra sees them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["TEXT", "TextBuilder", "Word", "word"]


class Word(NamedTuple):
    """An integer value of IR: the text that stands for it, and its width in bits."""

    text: str
    width: int


def word(value: int, width: int = 64) -> Word:
    """A constant."""
    return Word(str(value & ((1 << width) - 1)), width)


class _Text:
    """How the algebra makes constants and names types: :class:`prevail_py.vm.jit.algebra.Kit`."""

    def constant(self, value: int, width: int) -> Word:
        return Word(str(value), width)

    def integer(self, width: int) -> int:
        return width


TEXT: Final = _Text()

_UNSIGNED: Final = {"==": "eq", "!=": "ne", "<": "ult", "<=": "ule", ">": "ugt", ">=": "uge"}
_SIGNED: Final = {"<": "slt", "<=": "sle", ">": "sgt", ">=": "sge"}


class TextBuilder:
    """The lines of one function, and names for its values.  ``bswaps`` are the widths of byte swaps it has."""

    def __init__(self) -> None:
        self.lines: Final[list[str]] = []
        self.bswaps: Final[set[int]] = set()
        self._names = 0

    def name(self) -> str:
        """A name that was not used before."""
        self._names += 1
        return f"%t{self._names}"

    def line(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {text}")

    def value(self, text: str) -> str:
        """An instruction with a result; the name of that."""
        name = self.name()
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{name}:")

    # What the algebra uses ------------------------------------------------------------------------------------------

    def _binary(self, op: str, a: Word, b: Word) -> Word:
        return Word(self.value(f"{op} i{a.width} {a.text}, {b.text}"), a.width)

    def add(self, a: Word, b: Word) -> Word:
        return self._binary("add", a, b)

    def sub(self, a: Word, b: Word) -> Word:
        return self._binary("sub", a, b)

    def mul(self, a: Word, b: Word) -> Word:
        return self._binary("mul", a, b)

    def udiv(self, a: Word, b: Word) -> Word:
        return self._binary("udiv", a, b)

    def urem(self, a: Word, b: Word) -> Word:
        return self._binary("urem", a, b)

    def sdiv(self, a: Word, b: Word) -> Word:
        return self._binary("sdiv", a, b)

    def srem(self, a: Word, b: Word) -> Word:
        return self._binary("srem", a, b)

    def and_(self, a: Word, b: Word) -> Word:
        return self._binary("and", a, b)

    def or_(self, a: Word, b: Word) -> Word:
        return self._binary("or", a, b)

    def xor(self, a: Word, b: Word) -> Word:
        return self._binary("xor", a, b)

    def shl(self, a: Word, b: Word) -> Word:
        return self._binary("shl", a, b)

    def lshr(self, a: Word, b: Word) -> Word:
        return self._binary("lshr", a, b)

    def ashr(self, a: Word, b: Word) -> Word:
        return self._binary("ashr", a, b)

    def bswap(self, a: Word) -> Word:
        self.bswaps.add(a.width)
        return Word(self.value(f"call i{a.width} @llvm.bswap.i{a.width}(i{a.width} {a.text})"), a.width)

    def select(self, condition: Word, a: Word, b: Word) -> Word:
        return Word(self.value(f"select i1 {condition.text}, i{a.width} {a.text}, i{b.width} {b.text}"), a.width)

    def _cast(self, op: str, a: Word, to: int) -> Word:
        return Word(self.value(f"{op} i{a.width} {a.text} to i{to}"), to)

    def trunc(self, a: Word, to: int) -> Word:
        return self._cast("trunc", a, to)

    def zext(self, a: Word, to: int) -> Word:
        return self._cast("zext", a, to)

    def sext(self, a: Word, to: int) -> Word:
        return self._cast("sext", a, to)

    def icmp_unsigned(self, comparison: str, a: Word, b: Word) -> Word:
        return Word(self.value(f"icmp {_UNSIGNED[comparison]} i{a.width} {a.text}, {b.text}"), 1)

    def icmp_signed(self, comparison: str, a: Word, b: Word) -> Word:
        return Word(self.value(f"icmp {_SIGNED[comparison]} i{a.width} {a.text}, {b.text}"), 1)
