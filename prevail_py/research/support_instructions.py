"""Which instructions and program types are supported where: two tables of ``docs/support.md``, as found by trying.

For each class of :data:`~prevail_py.isa.instructions.Instruction` there is a small program with it.  A class without
one raises KeyError, so that a new instruction cannot be left out of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, get_args

from prevail_py.isa import instructions as isa
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.disassembler import disassemble
from prevail_py.isa.instructions import Instruction, Register
from prevail_py.objects.program import Program
from prevail_py.platforms import Platform
from prevail_py.verifier import Verdict, verify
from prevail_py.vm.engines import EngineError, engine
from prevail_py.vm.outcome import TrapKind, Trapped

__all__ = ["EXAMPLES", "instruction_rows", "program_type_rows"]

_R0: Final = Register.R0
_STACK: Final = "*(u64 *)(r10 - 8) = 1\n"

EXAMPLES: Final[Mapping[type, str | tuple[Instruction, ...]]] = {
    isa.Alu: "r0 = 6\nr0 *= 7\nexit",
    isa.MoveSignExtend: "r0 = 6\nr0 = (s8)r0\nexit",
    isa.Negate: "r0 = 6\nr0 = -r0\nexit",
    isa.EndianSwap: "r0 = 6\nr0 = be16 r0\nexit",
    isa.AddressSpaceCast: (
        isa.Alu(isa.AluOp.MOV, 64, _R0, isa.Immediate(0)),
        isa.AddressSpaceCast(_R0, _R0, 0, 1),
        isa.Exit(),
    ),
    isa.LoadImmediate64: "r0 = 4294967296 ll\nexit",
    isa.Load: _STACK + "r0 = *(u64 *)(r10 - 8)\nexit",
    isa.Store: _STACK + "r0 = 0\nexit",
    isa.Atomic: _STACK + "r0 = 1\nlock *(u64 *)(r10 - 8) += r0\nexit",
    isa.LoadAcquire: (
        isa.Store(Register.R10, -8, 8, isa.Immediate(1)),
        isa.LoadAcquire(_R0, Register.R10, -8, 8),
        isa.Exit(),
    ),
    isa.StoreRelease: (
        isa.Alu(isa.AluOp.MOV, 64, _R0, isa.Immediate(0)),
        isa.StoreRelease(Register.R10, -8, 8, _R0),
        isa.Exit(),
    ),
    isa.LoadPacket: (
        isa.Alu(isa.AluOp.MOV, 64, Register.R6, Register.R1),
        isa.LoadPacket(1, 0),
        isa.Exit(),
    ),
    isa.Jump: "r0 = 0\ngoto out\nout:\nexit",
    isa.Branch: "r0 = 0\nif r0 == 0 goto out\nr0 = 1\nout:\nexit",
    isa.Call: "call 5\nexit",
    isa.CallLocal: "call local f\nexit\nf:\nr0 = 1\nexit",
    isa.CallKfunc: (isa.CallKfunc(1), isa.Exit()),
    isa.CallRegister: (
        isa.LoadImmediate64(Register.R2, 3, 0, isa.Pseudo.FUNCTION),
        isa.CallRegister(Register.R2),
        isa.Exit(),
        isa.Alu(isa.AluOp.MOV, 64, _R0, isa.Immediate(0)),
        isa.Exit(),
    ),
    isa.Exit: "r0 = 0\nexit",
    isa.MayGoto: (isa.Alu(isa.AluOp.MOV, 64, _R0, isa.Immediate(0)), isa.MayGoto(0), isa.Exit()),
}
"""A program with an instruction of each class, as text or as instructions."""

_PACKET: Final = bytes(64)
_ENGINES: Final = ("interpreter", "source", "jit")


def instruction_rows() -> list[tuple[str, ...]]:
    """Class, an example, and what verifier, checker and engines make of it; empty where there is nothing to say."""
    rows: list[tuple[str, ...]] = []
    for kind in get_args(Instruction):
        program = _program(kind)
        pc, instruction = [(pc, each) for pc, each in enumerate(program.code) if isinstance(each, kind)][-1]
        verdict = verify(program)
        why = verdict.reason or (verdict.failures[0].message if verdict.failures else "")
        says = "" if verdict.is_safe else f"{verdict.kind}: {why}"
        engines = [_engine(name, program) for name in _ENGINES]
        rows.append((f"`{kind.__name__}`", f"`{disassemble(instruction, pc)}`", says, _checker(verdict), *engines))
    return rows


def _program(kind: type) -> Program:
    example = EXAMPLES[kind]
    code: list[Instruction | None] = []
    for each in assemble_text(example) if isinstance(example, str) else example:
        code.append(each)
        if not isinstance(example, str) and isinstance(each, isa.LoadImmediate64):
            code.append(None)
    return Program("example", "socket", "socket_filter", tuple(code))


def _checker(verdict: Verdict) -> str:
    from prevail_py.research.certified import judged

    if not verdict.is_safe:
        return "-"
    try:
        answer = judged(verdict)
    except ValueError as error:
        return str(error)
    return "" if answer.kind == "accepted" else f"{answer.kind}: {answer.reason}"


def _engine(name: str, program: Program) -> str:
    try:
        outcome = engine(name).load(program).run(packet=_PACKET).outcome
    except EngineError as error:
        return f"no: {error}"
    if isinstance(outcome, Trapped) and outcome.trap.kind is TrapKind.UNSUPPORTED:
        return "trap"
    return ""


def program_type_rows(target: Platform, callers: Callable[[str], int]) -> list[tuple[str, ...]]:
    """Type, number, context, packet, sections, how many helpers it may call (``callers``), the range it may return."""
    rows: list[tuple[str, ...]] = []
    for name, found in sorted(target.program_types.items(), key=lambda item: item[1].number):
        sections = sorted({rule.pattern for rule in target.sections if rule.program_type == name})
        shown = ", ".join(f"`{each}`" for each in sections[:4]) + (", ..." if len(sections) > 4 else "")
        packet = "read and written" if found.read_write_packet else "read" if found.has_direct_packet else ""
        context = f"{found.context_size} bytes" if found.context_known else "by BTF"
        result = "any" if found.return_range is None else "{} to {}".format(*found.return_range)
        rows.append((f"`{name}`", str(found.number), context, packet, shown, str(callers(name)), result))
    return rows
