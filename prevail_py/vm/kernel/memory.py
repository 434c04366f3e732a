"""Run a bare function of memory in the kernel: ``r1`` points to some bytes, ``r2`` is their number, all of R0 counts.

That is the convention of conformance vectors; no program type of Linux has it.  The function becomes a subprogram,
its code untouched, of an XDP program that calls it with a pointer to a map value of exactly that many bytes (whose
contents the verifier does not know, and whose bounds it does) and keeps the 64 bits it returned in another map,
since PROG_TEST_RUN gives back but 32.  Without memory, r1 and r2 are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    CallLocal,
    Exit,
    Immediate,
    Instruction,
    LoadImmediate64,
    Pseudo,
    Register,
    Store,
    slots_of,
)
from prevail_py.objects.program import MapSpec
from prevail_py.platforms import platform
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer
from prevail_py.vm.kernel.engine import DEFAULT_TIMEOUT, Session
from prevail_py.vm.kernel.loader import LoadRequest
from prevail_py.vm.kernel.wire import Request, RunInput

__all__ = ["MemoryRun", "memory_request", "run_memory", "run_memory_in_kernel"]

_ARRAY: Final = 2
_KEY: Final = bytes(4)
_RESULT, _MEMORY = 0, 1
_PACKET: Final = bytes(64)


@dataclass(frozen=True, slots=True)
class MemoryRun:
    """``value``: R0 at exit, unsigned 64 bits; ``memory``: the bytes afterwards."""

    value: int
    memory: bytes


def memory_request(code: bytes, size: int, *, log_level: int = 0, generated: bool = False) -> LoadRequest:
    """The XDP program around ``code`` (encoded, without map references) for ``size`` bytes of memory."""
    address: Instruction = Alu(AluOp.MOV, 64, Register.R1, Immediate(0))
    if size:
        address = LoadImmediate64(Register.R1, _MEMORY, 0, Pseudo.MAP_INDEX_VALUE)
    after: tuple[Instruction, ...] = (
        LoadImmediate64(Register.R1, _RESULT, 0, Pseudo.MAP_INDEX_VALUE),
        Store(Register.R1, 0, 8, Register.R0),
        Alu(AluOp.MOV, 64, Register.R0, Immediate(0)),
        Exit(),
    )
    call = CallLocal(sum(slots_of(instruction) for instruction in after))
    maps = (MapSpec("result", _ARRAY, 4, 8, 1), MapSpec("memory", _ARRAY, 4, size, 1))
    return LoadRequest(
        code=encode((address, Alu(AluOp.MOV, 64, Register.R2, Immediate(size)), call, *after)) + code,
        program_type=platform("linux").program_types["xdp"].number,
        maps=maps if size else maps[:1],
        name="memory",
        log_level=log_level,
        generated=generated,
    )


def run_memory(
    session: Session, code: bytes, memories: Sequence[bytes], *, generated: bool = False
) -> tuple[MemoryRun, ...] | KernelAnswer:
    """Run ``code`` on each of ``memories``, all of one size; the answer instead where the kernel does not accept it."""
    sizes = {len(memory) for memory in memories}
    if len(sizes) != 1:
        raise ValueError(f"the memories must have one size, not {sorted(sizes)}")
    size = sizes.pop()
    inputs = tuple(
        RunInput(_PACKET, maps={_RESULT: {_KEY: bytes(8)}} | ({_MEMORY: {_KEY: memory}} if size else {}))
        for memory in memories
    )
    load = memory_request(code, size, generated=generated)
    read_maps = (_RESULT, _MEMORY) if size else (_RESULT,)
    reply = session.send(Request(load, inputs, read_maps=read_maps, read_each=True))
    if reply.answer.kind is not AnswerKind.ACCEPT:
        return reply.answer
    runs = []
    for run in reply.runs:
        if run.error:
            return KernelAnswer(AnswerKind.NOT_LOADED, f"the kernel does not run it on this memory: {run.error}")
        value = int.from_bytes(run.maps[_RESULT][_KEY], "little")
        runs.append(MemoryRun(value, run.maps[_MEMORY][_KEY] if size else b""))
    return tuple(runs)


def run_memory_in_kernel(
    code: bytes, memory: bytes = b"", *, timeout: float = DEFAULT_TIMEOUT, generated: bool = False
) -> MemoryRun | KernelAnswer:
    """Run ``code`` once, in a worker of its own."""
    with Session(timeout) as session:
        runs = run_memory(session, code, (memory,), generated=generated)
        return runs if isinstance(runs, KernelAnswer) else runs[0]
