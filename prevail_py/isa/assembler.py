"""Text to instructions, in the syntax of LLVM and the kernel or in that of the conformance suite, line by line.

One statement, or one label with or without a statement, a line::

    # r1 is the context
    start:  r0 = *(u32 *)(r1 + 4)        jne %r0, 5, start
            if r0 > 7 goto out           add32 %r0, 3
    out:    exit                         exit

``#``, ``;`` and ``//`` start a comment.  A number in front, as in a listing (``12: exit``), must be the slot of the
statement, and a target in angle brackets at its end (``goto +3 <16>``) is ignored.  Jumps and local calls take an
offset with its sign or a label.  Where no label is called ``exit``, that name stands for the first exit, as in the
conformance suite.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from prevail_py.isa import llvm_syntax, mnemonic_syntax
from prevail_py.isa.encode import EncodeError, encode_instruction
from prevail_py.isa.instructions import Branch, CallLocal, Exit, Instruction, Jump, MayGoto, slots_of
from prevail_py.isa.statements import Statement, StatementError

__all__ = ["AssemblerError", "assemble_text"]


class AssemblerError(ValueError):
    """This text does not assemble: ``reason`` says why, ``line`` (from 1) says where."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line: Final = line
        self.reason: Final = reason

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


_COMMENT: Final = re.compile(r"#|;|//")
_SLOT: Final = re.compile(r"\s*([0-9]{1,9})\s*:")
_LABEL: Final = re.compile(r"\s*([A-Za-z_.$][\w.$]*)\s*:", re.ASCII)
_ANNOTATION: Final = re.compile(r"\s<[^<>]*>$")


def assemble_text(text: str) -> tuple[Instruction | None, ...]:
    """The instructions, indexed by slot (None for the second slot of a wide load).

    Raises :class:`AssemblerError` for the first line that is wrong.  Whatever is returned can be encoded.
    """
    labels: dict[str, int] = {}
    statements: dict[int, tuple[Statement, int]] = {}  # slot -> statement and its line
    slot = 0
    for line, raw in enumerate(text.split("\n"), 1):
        rest = _COMMENT.split(raw, maxsplit=1)[0]
        if match := _SLOT.match(rest):
            if int(match[1]) != slot:
                raise AssemblerError(line, f"marked as slot {match[1]} but stands at slot {slot}")
            rest = rest[match.end() :]
        while match := _LABEL.match(rest):
            if match[1] in labels:
                raise AssemblerError(line, f"label {match[1]} stands at slot {labels[match[1]]} already")
            labels[match[1]] = slot
            rest = rest[match.end() :]
        if rest.strip():
            statement = _parse(rest.strip(), line)
            statements[slot] = statement, line
            slot += slots_of(statement.instruction)

    first_exit = next((pc for pc, (s, _) in statements.items() if isinstance(s.instruction, Exit)), None)
    if first_exit is not None:
        labels.setdefault("exit", first_exit)
    code: list[Instruction | None] = [None] * slot
    for pc, (statement, line) in statements.items():
        code[pc] = _resolve(statement, pc, line, labels)
    return tuple(code)


def _parse(text: str, line: int) -> Statement:
    try:
        statement = llvm_syntax.parse(_ANNOTATION.sub("", text)) or mnemonic_syntax.parse(text)
    except StatementError as error:
        raise AssemblerError(line, str(error)) from None
    if statement is None:
        raise AssemblerError(line, f"{text!r} is not an instruction")
    return statement


def _resolve(statement: Statement, pc: int, line: int, labels: dict[str, int]) -> Instruction:
    """The instruction with its label resolved, if that can be encoded."""
    instruction = statement.instruction
    if statement.label is not None:
        if statement.label not in labels:
            raise AssemblerError(line, f"no label {statement.label}")
        assert isinstance(instruction, Jump | Branch | MayGoto | CallLocal)
        instruction = replace(instruction, offset=labels[statement.label] - pc - 1)
    try:
        encode_instruction(instruction)
    except EncodeError as error:
        raise AssemblerError(line, error.reason) from None
    return instruction
