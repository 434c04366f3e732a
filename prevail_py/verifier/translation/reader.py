"""Reading the LLVM IR that :mod:`prevail_py.vm.jit.proved` writes: a subset, one instruction a line.

Whatever is not in the subset is an error: nothing is skipped but the scopes of accesses and the weights of branches.
Attributes and metadata that promise something of values (``nsw``, ``nuw``, ``exact``, ``!range``, ``inbounds`` on
anything but a constant place in the frame) are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Block", "Function", "Instruction", "IrError", "functions"]


class IrError(ValueError):
    """A line that is not in the subset."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """``result = op operands``; ``types`` are those that the instruction names, in its order.

    Operands are names (``%t1``, ``@find0``), numbers, labels (of branches), or texts (a predicate, an order).
    """

    op: str
    result: str
    types: tuple[str, ...]
    operands: tuple[str, ...]
    line: str


@dataclass(frozen=True, slots=True)
class Block:
    """A basic block: what a helper does is two instructions in it, ``helper`` and ``result``, whatever is between."""

    label: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its name, its parameters, and its blocks by label, the first one first."""

    name: str
    parameters: tuple[str, ...]
    blocks: Mapping[str, Block]


_VALUE: Final = r"(?:%[\w.]+|@[\w.]+|-?\d+|null|true|false|poison|zeroinitializer|\{[^}]*\})"
_TYPE: Final = r"(?:i\d+|ptr|void|\{ [^}]* \})"
_HEAD: Final = re.compile(
    r"define (?:internal )?(?P<type>" + _TYPE + r") @(?P<name>\w+)\((?P<parameters>[^)]*)\)[^{]*\{"
)
_METADATA: Final = r"(?:, !(?:alias\.scope|noalias|prof) !\d+)*$"
_BINARY: Final = "add|sub|mul|udiv|urem|sdiv|srem|and|or|xor|shl|lshr|ashr"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text.replace("VALUE", f"({_VALUE})").replace("TYPE", f"({_TYPE})") + _METADATA)


_PATTERNS: Final[Sequence[tuple[str, re.Pattern[str], tuple[int, ...], tuple[int, ...]]]] = (
    # op, pattern, the groups that are types, the groups that are operands
    ("binary", _pattern(rf"({_BINARY}) TYPE VALUE, VALUE"), (2,), (1, 3, 4)),
    ("icmp", _pattern(r"icmp (\w+) TYPE VALUE, VALUE"), (2,), (1, 3, 4)),
    ("select", _pattern(r"select i1 VALUE, TYPE VALUE, TYPE VALUE"), (2, 4), (1, 3, 5)),
    ("cast", _pattern(r"(trunc|zext|sext) TYPE VALUE to TYPE"), (2, 4), (1, 3)),
    ("ptrtoint", _pattern(r"ptrtoint ptr VALUE to TYPE"), (2,), (1,)),
    ("gep", _pattern(r"getelementptr TYPE, ptr VALUE, i64 VALUE"), (1,), (2, 3)),
    ("gep", _pattern(r"getelementptr inbounds (i8), ptr (%stack), i64 (\d+)"), (1,), (2, 3)),
    ("load", _pattern(r"load TYPE, ptr VALUE, align (\d+)"), (1,), (2, 3)),
    ("store", _pattern(r"store TYPE VALUE, ptr VALUE, align (\d+)"), (1,), (2, 3, 4)),
    ("jump", _pattern(r"br label %([\w.]+)"), (), (1,)),
    ("branch", _pattern(r"br i1 VALUE, label %([\w.]+), label %([\w.]+)"), (), (1, 2, 3)),
    ("ret", _pattern(r"ret TYPE VALUE"), (1,), (2,)),
    ("alloca", _pattern(r"alloca (i\d+|ptr|\[\d+ x i8\])(?:, align \d+)?"), (), (1,)),
    ("extract", _pattern(r"extractvalue TYPE VALUE, (\d+)"), (1,), (2, 3)),
    ("insert", _pattern(r"insertvalue TYPE VALUE, TYPE VALUE, (\d+)"), (1, 3), (2, 4, 5)),
    ("atomicrmw", _pattern(r"atomicrmw (\w+) ptr VALUE, TYPE VALUE seq_cst, align (\d+)"), (3,), (1, 2, 4, 5)),
    (
        "cmpxchg",
        _pattern(r"cmpxchg ptr VALUE, TYPE VALUE, TYPE VALUE seq_cst seq_cst, align (\d+)"),
        (2, 4),
        (1, 3, 5, 6),
    ),
    ("fence", _pattern(r"fence (acquire|release)"), (), (1,)),
    ("phi", _pattern(rf"phi TYPE ((?:\[ {_VALUE}, %[\w.]+ \](?:, )?)+)"), (1,), (2,)),
    ("call", _pattern(r"call TYPE VALUE\(([^)]*)\)"), (1,), (2, 3)),
)


def functions(text: str) -> dict[str, Function]:
    """The functions of a module by name.  Raises :class:`IrError` when one asked for is not in the subset.

    Functions that are not a program's (of tables and checksums, and the loop over packets) are left out.
    """
    found: dict[str, Function] = {}
    lines = text.splitlines()
    position = 0
    while position < len(lines):
        head = _HEAD.match(lines[position])
        position += 1
        if head is None:
            continue
        end = lines.index("}", position)
        if head["name"] == "main" or re.fullmatch(r"(f|loop)\d+", head["name"]):
            parameters = tuple(re.findall(r"%\w+", head["parameters"]))
            found[head["name"]] = Function(head["name"], parameters, _blocks(lines[position:end]))
        position = end
    return found


def _blocks(lines: Sequence[str]) -> dict[str, Block]:
    blocks: dict[str, list[Instruction]] = {}
    label, helper = "", False
    for line in "\n".join(lines).splitlines():
        text = line.strip()
        if text.startswith("; helper "):
            helper = True
            blocks[label].append(Instruction("helper", "", (), (text.split()[2],), text))
        elif text.startswith("; end "):
            helper = False
            blocks[label].append(Instruction("result", "", (), tuple(text.split()[2:]), text))
        elif helper or not text:
            continue  # one step: see prevail_py.verifier.translation.blocks
        elif text.endswith(":") and not line.startswith(" "):
            label = text[:-1]
            if label in blocks:
                raise IrError(f"two blocks {label}")
            blocks[label] = []
        else:
            blocks[label].append(_instruction(text))
    return {label: Block(label, tuple(instructions)) for label, instructions in blocks.items()}


def _instruction(text: str) -> Instruction:
    result, body = "", text
    if text.startswith("%"):
        result, body = text.split(" = ", 1)
    for op, pattern, types, operands in _PATTERNS:
        match = pattern.match(body)
        if match is not None:
            found = [match[group] or "" for group in operands]
            return Instruction(op, result, tuple(match[group] for group in types), tuple(found), text)
    raise IrError(f"not in the subset: {text}")
