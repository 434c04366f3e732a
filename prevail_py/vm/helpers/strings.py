"""Helpers on strings: comparing them, and reading numbers (kernel/bpf/helpers.c, lib/kstrtox.c)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine

__all__ = ["strncmp", "strtol", "strtoul"]

_BASES: Final = (0, 8, 10, 16)
_BASE_MASK: Final = 0x1F
_SPACE: Final = frozenset(b" \t\n\v\f\r\xa0")
_LONGEST_NUMBER: Final = 63
_DIGITS: Final = {byte: int(chr(byte), 16) for byte in b"0123456789abcdefABCDEF"}


def strncmp(machine: Machine, arguments: Sequence[Argument]) -> int:
    """-1, 0 or 1 as the first string is less than, equal to or greater than the second, which is constant."""
    left, right = arguments[0].memory(), arguments[2].memory()
    for mine, theirs in zip(left, right, strict=False):  # the constant string has its zero, which ends both
        if mine != theirs:
            return -1 if mine < theirs else 1
        if not mine:
            break
    return 0


def strtol(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read a signed number of 64 bits: how many bytes it took, or an error and the number 0."""
    consumed, value, negative = _number(arguments[0].memory(), arguments[2].value)
    if consumed > 0 and value > (1 << 63) - (not negative):
        consumed, value = -errno.ERANGE, 0
    arguments[3].fill((-value if negative else value).to_bytes(8, "little", signed=True))
    return consumed


def strtoul(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read an unsigned number of 64 bits: how many bytes it took, or an error and the number 0."""
    consumed, value, negative = _number(arguments[0].memory(), arguments[2].value)
    if consumed > 0 and negative:
        consumed, value = -errno.EINVAL, 0
    arguments[3].fill(value.to_bytes(8, "little"))
    return consumed


def _number(content: bytes, flags: int) -> tuple[int, int, bool]:
    """How many bytes a number takes, or an error; its absolute value, 0 on error; and whether it is negative."""
    base = flags & _BASE_MASK
    if base not in _BASES or flags & ~_BASE_MASK:
        return -errno.EINVAL, 0, False
    position = 0
    while position < len(content) and content[position] in _SPACE:
        position += 1
    negative = content[position : position + 1] == b"-"
    position += negative
    text = content[position : position + _LONGEST_NUMBER]
    start = 0
    if base in (0, 16) and text[:2].lower() == b"0x" and (base == 16 or (len(text) > 2 and text[2] in _DIGITS)):
        base, start = 16, 2
    elif base == 0:
        base = 8 if text[:1] == b"0" else 10
    end = start
    while end < len(text) and _DIGITS.get(text[end], base) < base:
        end += 1
    if end == start:
        return -errno.EINVAL, 0, False
    value = int(text[start:end], base)
    if value >> 64:
        return -errno.ERANGE, 0, False
    return position + end, value, negative
