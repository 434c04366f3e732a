"""What is written in a picture of a control-flow graph: the lines of a block, the condition of an edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, NamedTuple

from prevail_py.cfg.graph import Block, ControlFlowGraph, Edge
from prevail_py.isa.disassembler import disassemble
from prevail_py.isa.instructions import Branch, Call, CallLocal, Instruction, LoadImmediate64, Pseudo, Register
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.words import Comparison

__all__ = ["Kind", "Line", "callees_of", "comment", "condition", "lines_of"]

_MAX_SOURCE: Final = 72


class Kind(Enum):
    """What a line of a block is."""

    SOURCE = "source"
    INSTRUCTION = "instruction"
    FACT = "fact"
    NOTE = "note"
    MORE = "more"


class Line(NamedTuple):
    """One line: the number beside it (of the source line, or the slot), the text, and what explains it."""

    kind: Kind
    label: str
    text: str
    comment: str = ""


def callees_of(cfg: ControlFlowGraph) -> dict[int, str]:
    """The names of functions that are called or referred to, by slot."""
    return {
        pc: cfg.functions[callee].name
        for sites in (cfg.calls, cfg.references)
        for pairs in sites.values()
        for pc, callee in pairs
    }


def comment(program: Program, callees: Mapping[int, str], pc: int, instruction: Instruction) -> str:
    """The name of what an instruction refers to by number; empty for nothing."""
    match instruction:
        case Call(helper=number):
            return platform(program.platform).helper_name(number) or ""
        case LoadImmediate64(pseudo=Pseudo.MAP_INDEX | Pseudo.MAP_INDEX_VALUE, low=index):
            return program.maps[index].name if 0 <= index < len(program.maps) else ""
        case CallLocal() | LoadImmediate64(pseudo=Pseudo.FUNCTION):
            return callees.get(pc, "")
        case _:
            return ""


def condition(program: Program, block: Block, edge: Edge) -> str:
    """When the edge is taken, as text; empty where there is no choice."""
    if edge.taken is None:
        return ""
    instruction = program.code[block.last]
    if not isinstance(instruction, Branch):
        return "budget spent" if edge.taken else "budget left"
    comparison = instruction.comparison if edge.taken else instruction.comparison.negation
    letter = "r" if instruction.width == 64 else "w"
    right = f"{letter}{instruction.src:d}" if isinstance(instruction.src, Register) else instruction.src.value
    if comparison is Comparison.NOT_SET:
        return f"not {letter}{instruction.dst:d} & {right}"
    return f"{letter}{instruction.dst:d} {comparison.value} {right}"


def lines_of(
    program: Program,
    callees: Mapping[int, str],
    block: Block,
    *,
    before: Mapping[int, str] | None = None,
    annotations: Mapping[int, str] | None = None,
    source: bool = True,
    max_lines: int | None = None,
) -> Iterator[Line]:
    """The lines of a block: its instructions and the source lines above them.

    ``before`` has, by slot, the text to show above an instruction, and ``annotations`` below it: any number of lines.
    ``max_lines`` is the number of instructions after which it is cut short.
    """
    shown = block.pcs if max_lines is None else block.pcs[:max_lines]
    place = ("", -1)  # of the source line shown last
    for pc in shown:
        for text in (before or {}).get(pc, "").splitlines():
            yield Line(Kind.FACT, "", text)
        line = program.line_at(pc) if pc == block.start else program.lines.get(pc)
        if source and line is not None and line.text and (line.file, line.line) != place:
            place = (line.file, line.line)
            text = line.text if len(line.text) <= _MAX_SOURCE else line.text[: _MAX_SOURCE - 1] + "…"
            yield Line(Kind.SOURCE, str(line.line or ""), text)
        instruction = program.code[pc]
        assert instruction is not None
        yield Line(Kind.INSTRUCTION, f"{pc}:", disassemble(instruction, pc), comment(program, callees, pc, instruction))
        for text in (annotations or {}).get(pc, "").splitlines():
            yield Line(Kind.NOTE, "", text)
    if len(shown) < len(block.pcs):
        yield Line(Kind.MORE, "", f"… {len(block.pcs) - len(shown)} more")
