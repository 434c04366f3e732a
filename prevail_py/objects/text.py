"""Programs from assembly text, and programs as text between their source lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.disassembler import disassemble as instruction_text
from prevail_py.isa.flow import function_address, target
from prevail_py.isa.instructions import Call, CallLocal, Instruction, LoadImmediate64, Pseudo
from prevail_py.objects.program import MapSpec, Program, Subprogram
from prevail_py.platforms import platform

__all__ = ["assemble", "disassemble", "subprograms_of"]


def assemble(
    text: str, program_type: str = "xdp", maps: Sequence[MapSpec] = (), *, name: str = "main", licence: str = "GPL"
) -> Program:
    """The program that ``text`` spells, in the kernel's syntax or in that of the conformance vectors.

    ``map[idx:0]`` refers to the first of ``maps``.  Each slot that is called, or whose address is taken, starts a
    subprogram.  :class:`~prevail_py.isa.assembler.AssemblerError` names the line that cannot be read.

    >>> program = assemble("r0 = 2\\nexit")
    >>> program.instruction_count, program.program_type
    (2, 'xdp')
    """
    code = assemble_text(text)
    return Program(
        name=name,
        section=program_type,
        program_type=program_type,
        code=code,
        maps=tuple(maps),
        subprograms=tuple(subprograms_of(code, name)),
        licence=licence,
    )


def disassemble(program: Program, *, source: bool = True) -> str:
    """The program one instruction a line, each with its slot; comments name helpers, maps and subprograms.

    With ``source`` the source lines that the object knows stand before the instructions made from them.

    >>> print(disassemble(assemble("r0 = 2\\nexit")))
    main:
      0: r0 = 2
      1: exit
    """
    return "\n".join(_lines(program, source))


def subprograms_of(code: Sequence[Instruction | None], name: str) -> Iterator[Subprogram]:
    """The functions of a program called ``name``: each lasts from where it is called, or referred to, to the next."""
    starts = {0}
    for pc, instruction in enumerate(code):
        if isinstance(instruction, CallLocal):
            starts.add(target(pc, instruction))
        elif isinstance(instruction, LoadImmediate64) and instruction.pseudo is Pseudo.FUNCTION:
            starts.add(function_address(pc, instruction))
    ordered = sorted(start for start in starts if 0 <= start < len(code))
    for start, end in zip(ordered, [*ordered[1:], len(code)], strict=True):
        yield Subprogram(f"subprogram_{start}" if start else name, start, end)


def _lines(program: Program, source: bool) -> Iterator[str]:
    names = {subprogram.start: subprogram.name for subprogram in program.subprograms}
    digits = len(str(len(program.code)))
    shown = None
    for pc, instruction in enumerate(program.code):
        if instruction is None:
            continue
        if pc in names:
            yield f"{names[pc]}:"
            shown = None
        line = program.lines.get(pc)
        if source and line is not None and (line.file, line.line) != shown:
            yield f"  ; {line}: {line.text.strip()}".rstrip(": ")
            shown = (line.file, line.line)
        text = f"  {pc:{digits}}: {instruction_text(instruction, pc)}"
        comment = _comment(program, pc, instruction, names)
        yield f"{text:<48}  ; {comment}" if comment else text


def _comment(program: Program, pc: int, instruction: Instruction, names: dict[int, str]) -> str:
    known = program.poisoned.get(pc) or program.symbols.get(pc)
    if known is not None:
        return known
    match instruction:
        case Call(helper):
            prototype = platform(program.platform).helper(helper, program.program_type)
            return prototype.name if prototype is not None else ""
        case CallLocal():
            return names.get(target(pc, instruction), "")
        case LoadImmediate64(low=low, pseudo=Pseudo.MAP_INDEX | Pseudo.MAP_INDEX_VALUE):
            return program.maps[low].name if 0 <= low < len(program.maps) else ""
        case LoadImmediate64(pseudo=Pseudo.FUNCTION):
            return names.get(function_address(pc, instruction), "")
    return ""
