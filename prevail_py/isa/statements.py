"""What the two assembly syntaxes share: statements, and numbers and registers with their ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from prevail_py.isa.instructions import Immediate, Instruction, LoadImmediate64, Pseudo, Register

__all__ = [
    "DIGITS",
    "NUMBER",
    "Statement",
    "StatementError",
    "immediate",
    "number",
    "offset_or_label",
    "register",
    "signed_word",
    "wide",
]

DIGITS: Final = r"(?:0[xX][0-9a-fA-F]+|[0-9]+)"
NUMBER: Final = rf"(?:[+-]?\s*{DIGITS})"
_LABEL: Final = re.compile(r"[A-Za-z_.$][\w.$]*", re.ASCII)


class StatementError(ValueError):
    """This text is not an instruction, and why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """An instruction; where ``label`` is given, its ``offset`` is still to be filled in."""

    instruction: Instruction
    label: str | None = None


def number(text: str) -> int:
    """A decimal or hexadecimal integer with an optional sign, which may stand apart (``- 4``)."""
    digits = "".join(text.split())
    if not re.fullmatch(NUMBER, digits):
        raise StatementError(f"{text!r} is not a number")
    if len(digits) > 80:  # no field is that wide, and Python refuses to convert very long ones
        raise StatementError(f"{digits[:20]}... does not fit into 64 bits")
    return int(digits, 16) if "x" in digits.lower() else int(digits)


def signed_word(text: str, bits: int) -> int:
    """A number of ``bits`` bits, written signed or unsigned, as the signed int that instructions hold."""
    value = number(text)
    if not -(1 << bits - 1) <= value < 1 << bits:
        raise StatementError(f"{text} does not fit into {bits} bits")
    return value - (1 << bits) if value >= 1 << bits - 1 else value


def immediate(text: str) -> Immediate:
    """A 32-bit constant; ``0xffffffff`` is -1, as in LLVM."""
    return Immediate(signed_word(text, 32))


def wide(dst: Register, text: str) -> LoadImmediate64:
    """The wide load of a 64-bit constant."""
    value = signed_word(text, 64)
    low = value & 0xFFFFFFFF
    return LoadImmediate64(dst, low - (1 << 32) if low >> 31 else low, value >> 32, Pseudo.IMMEDIATE)


def register(digits: str) -> Register:
    """The register with this number, given without its letter."""
    if not re.fullmatch(r"[0-9]|10", digits):
        raise StatementError(f"register r{digits} does not exist")
    return Register(int(digits))


def offset_or_label(text: str) -> tuple[int, str | None]:
    """Where a jump goes: ``+3``, ``-0x2`` or the kernel's ``pc+3`` give the offset, a name gives ``(0, label)``."""
    if re.fullmatch(rf"(?:pc\s*)?[+-]\s*{DIGITS}", text):
        return number(text.removeprefix("pc")), None
    if not _LABEL.fullmatch(text):
        raise StatementError(f"{text!r} is neither an offset with its sign nor a label")
    return 0, text
