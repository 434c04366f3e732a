"""Test vectors: the public conformance suite's files, and the one-line cases of this project's own tests.

A vector is a program, the memory it is given and the R0 it must return.  When it starts, R1 points to the memory and R2
holds its length in bytes, which is the calling convention of the suite's plugins.

The suite's ``.data`` files (:func:`parse_vector`) are divided into sections by lines that begin with ``--``.  This
project's ``.vec`` files (:func:`parse_cases`) have one case a line::

    { r0=0xffffffff r1=1 }   w0 += w1                              -> 0
    { mem=0102030405060708 } r3 = *(u16 *)(r1 + 2); r0 = r3        -> 0x0403

initial registers and memory in braces, statements separated by semicolons, the R0 at the end (an ``exit`` is implied
where there is none).  A :class:`Refusal` is a line of ``.bad`` files: bytes that no decoder may accept, and where and
why (``95 00 01 00 00 00 00 00 -> 0 offset``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prevail_py.isa.assembler import AssemblerError, assemble_text
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Exit, Instruction, Register
from prevail_py.isa.statements import wide

__all__ = [
    "Case",
    "Refusal",
    "Vector",
    "VectorError",
    "load_cases",
    "load_refusals",
    "load_vectors",
    "parse_cases",
    "parse_refusals",
    "parse_vector",
]


class VectorError(ValueError):
    """A vector that is not well-formed; ``place`` is its name and line."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place: Final = place
        self.reason: Final = reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector: run ``code`` on ``memory``; R0 must be ``result``, or ``error`` says why the code is refused.

    ``raw`` is the encoding that the file prescribes for its assembly, where it does.
    """

    name: str
    asm: str
    code: bytes
    memory: bytes = b""
    result: int | None = None
    error: str | None = None
    raw: bytes | None = None


_SECTION: Final = re.compile(r"--\s+(.*?)\s*")
_SECTIONS: Final = frozenset({"asm", "raw", "mem", "result", "error", "c", "no register offset"})


def parse_vector(text: str, name: str = "vector") -> Vector:
    """The vector in one ``.data`` file; raises :class:`VectorError`.

    Sections ``c`` and ``no register offset`` (a hint for the suite's own assembler tests) are skipped.
    """
    sections: dict[str, str] = {}
    section = ""
    for line, raw in enumerate(text.split("\n"), 1):
        if match := _SECTION.fullmatch(raw):
            section = match[1]
            if section not in _SECTIONS:
                raise VectorError(f"{name}:{line}", f"unknown section {section!r}")
            if section in sections:
                raise VectorError(f"{name}:{line}", f"second section {section!r}")
            sections[section] = "\n" * line  # so that lines of a section keep their numbers
        elif section:
            sections[section] += raw + "\n"
    if "asm" not in sections and "raw" not in sections:
        raise VectorError(name, "no program: neither asm nor raw")
    if "result" not in sections and "error" not in sections:
        raise VectorError(name, "nothing expected: neither result nor error")
    asm = sections.get("asm", "")
    raw_code = None
    if "raw" in sections:
        raw_code = b"".join(_number(word, name).to_bytes(8, "little") for word in _words(sections["raw"]))
    return Vector(
        name=name,
        asm=asm.strip("\n"),
        code=_assemble(asm, name) if asm or raw_code is None else raw_code,
        memory=_bytes(" ".join(_words(sections.get("mem", ""))), name),
        result=_number(" ".join(_words(sections["result"])), name) if "result" in sections else None,
        error=" ".join(_words(sections["error"])) if "error" in sections else None,
        raw=raw_code,
    )


def load_vectors(folder: str | Path) -> list[Vector]:
    """The vectors of all ``.data`` files in a folder, in the order of their names; raises :class:`VectorError`."""
    return [parse_vector(path.read_text(encoding="utf-8"), path.stem) for path in sorted(Path(folder).glob("*.data"))]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a ``.vec`` file; ``name`` is file and line, ``body`` the instructions as written, slot by slot."""

    name: str
    asm: str
    body: tuple[Instruction | None, ...]
    registers: Mapping[Register, int]
    memory: bytes
    result: int

    @property
    def program(self) -> tuple[Instruction | None, ...]:
        """The whole program: wide loads of the initial registers, the body, and an exit unless it has one."""
        prologue = [part for dst, value in self.registers.items() for part in (wide(dst, str(value)), None)]
        has_exit = any(isinstance(instruction, Exit) for instruction in self.body)
        return (*prologue, *self.body) if has_exit else (*prologue, *self.body, Exit())

    @property
    def vector(self) -> Vector:
        """The case as a vector that any engine can run."""
        return Vector(self.name, self.asm, encode(self.program), self.memory, self.result)


_CASE: Final = re.compile(r"\{(?P<inputs>[^}]*)\}(?P<asm>.*)->(?P<result>[^>]*)")


def parse_cases(text: str, name: str = "cases") -> list[Case]:
    """The cases in the text of a ``.vec`` file; raises :class:`VectorError`."""
    cases = []
    for place, line in _lines(text, name):
        match = _CASE.fullmatch(line)
        if match is None:
            raise VectorError(place, "a case is written { inputs } statements -> result")
        registers: dict[Register, int] = {}
        memory = b""
        for given in match["inputs"].split():
            key, _, value = given.partition("=")
            if key == "mem":
                memory = _bytes(value, place)
            elif re.fullmatch(r"r[0-9]", key):
                registers[Register(int(key[1:]))] = _number(value, place)
            else:
                raise VectorError(place, f"input {given!r} is neither r0=... to r9=... nor mem=...")
        if memory and (Register.R1 in registers or Register.R2 in registers):
            raise VectorError(place, "r1 and r2 hold the memory and its length")
        asm = match["asm"].strip()
        try:
            body = assemble_text(asm.replace(";", "\n"))
        except AssemblerError as error:
            raise VectorError(place, error.reason) from None
        result = _number(match["result"].strip(), place)
        cases.append(Case(place, asm, body, MappingProxyType(registers), memory, result))
    return cases


def load_cases(folder: str | Path) -> list[Case]:
    """The cases of all ``.vec`` files in a folder, in order; raises :class:`VectorError`."""
    paths = sorted(Path(folder).glob("*.vec"))
    return [case for path in paths for case in parse_cases(path.read_text(encoding="utf-8"), path.name)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Bytes that are not eBPF: decoding fails at ``slot`` with a reason that mentions ``reason``."""

    name: str
    data: bytes
    slot: int
    reason: str


def parse_refusals(text: str, name: str = "refusals") -> list[Refusal]:
    """The refusals in the text of a ``.bad`` file; raises :class:`VectorError`."""
    refusals = []
    for place, line in _lines(text, name):
        match = re.fullmatch(r"([0-9a-fA-F\s]*)->\s*([0-9]+)\s+(.+)", line)
        if match is None:
            raise VectorError(place, "a refusal is written bytes -> slot reason")
        refusals.append(Refusal(place, _bytes(match[1], place), int(match[2]), match[3]))
    return refusals


def load_refusals(folder: str | Path) -> list[Refusal]:
    """The refusals of all ``.bad`` files in a folder, in order; raises :class:`VectorError`."""
    paths = sorted(Path(folder).glob("*.bad"))
    return [refusal for path in paths for refusal in parse_refusals(path.read_text(encoding="utf-8"), path.name)]


def _lines(text: str, name: str) -> list[tuple[str, str]]:
    """Name and contents of the lines that are not blank once ``#`` comments are gone."""
    lines = [(f"{name}:{number}", raw.partition("#")[0].strip()) for number, raw in enumerate(text.split("\n"), 1)]
    return [(place, line) for place, line in lines if line]


def _words(section: str) -> list[str]:
    return [word for line in section.split("\n") for word in line.partition("#")[0].split()]


def _number(text: str, place: str) -> int:
    """An unsigned 64-bit number, written signed or unsigned, decimal or hexadecimal."""
    try:
        value = int(text, 0)
    except ValueError:
        raise VectorError(place, f"{text!r} is not a number") from None
    if not -(1 << 63) <= value < 1 << 64:
        raise VectorError(place, f"{text} does not fit into 64 bits")
    return value & 0xFFFFFFFFFFFFFFFF


def _bytes(text: str, place: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise VectorError(place, f"{text!r} is not bytes in hexadecimal") from None


def _assemble(asm: str, name: str) -> bytes:
    try:
        return encode(assemble_text(asm))
    except AssemblerError as error:
        raise VectorError(f"{name}:{error.line}", error.reason) from None
