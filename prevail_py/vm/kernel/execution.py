"""The running kernel as an engine like any other: programs it accepts, on inputs that PROG_TEST_RUN takes.

What cannot be compared is refused: a context (the kernel makes its own), maps that are not plain tables of values with
one value per key.  Of R0 the kernel gives back the low 32 bits; it counts no steps, and knows no fuel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Instruction
from prevail_py.objects.program import Program
from prevail_py.vm.engines import EngineError
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution
from prevail_py.vm.kernel.answer import KernelAnswer
from prevail_py.vm.kernel.engine import RunInput, Session
from prevail_py.vm.kernel.memory import run_memory_in_kernel
from prevail_py.vm.maps import Map, create_maps
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.outcome import Returned

__all__ = ["KernelEngine", "KernelProgram"]


class KernelProgram:
    """A program to test-run; each run loads it anew, into maps with the contents of those that are given."""

    def __init__(self, program: Program) -> None:
        self.program: Final = program

    def run(
        self,
        *,
        packet: bytes | None = None,
        context: bytes | None = None,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run once; ``maps`` hold afterwards what the kernel's do.  Raises :class:`EngineError`."""
        if context is not None:
            raise EngineError("the kernel engine takes no context")
        maps = create_maps(self.program.maps, environment) if maps is None else maps
        for map in maps:
            if not isinstance(map, ArrayMap | HashMap) or map.spec.type not in (1, 2, 9):
                raise EngineError(f"the kernel engine does not exchange map {map.spec.name!r} of type {map.spec.type}")
        tables = cast("Sequence[ArrayMap | HashMap]", maps)
        contents = {
            index: {key: cast(bytes, value) for key, value in table.items()}
            for index, table in enumerate(tables)
            if not table.spec.read_only
        }
        with Session() as session:
            given = RunInput(packet or b"", maps=contents)
            runs = session.run(self.program, (given,), read_maps=tuple(contents))
        if isinstance(runs, KernelAnswer):
            raise EngineError(f"the kernel does not run {self.program.name}: {runs.kind.value}: {runs.reason}")
        run = runs[0]
        if run.error:
            raise EngineError(f"the kernel does not run {self.program.name} on this input: {run.error}")
        for index, after in run.maps.items():
            table = tables[index]
            for key in [key for key in table if key not in after]:
                del table[key]
            for key, value in after.items():
                table[key] = value
        return Execution(Returned(run.return_value), 0, packet=run.packet, maps=tuple(maps))


class KernelEngine:
    """See the module's text."""

    name: Final = "kernel"

    def load(self, program: Program) -> KernelProgram:
        """Nothing is asked of the kernel before the first run."""
        return KernelProgram(program)

    def run_memory(
        self,
        code: Sequence[Instruction | None],
        memory: bytes = b"",
        *,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run plain code on plain memory.  Raises :class:`EngineError` where the kernel does not accept it."""
        run = run_memory_in_kernel(encode(code), memory)
        if isinstance(run, KernelAnswer):
            raise EngineError(f"{run.kind.value}: {run.reason}")
        return Execution(Returned(run.value), 0, memory=run.memory)
