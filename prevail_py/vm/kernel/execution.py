"""The running kernel as an engine like any other: programs it accepts, on inputs that PROG_TEST_RUN takes.

Packet, context and maps go in and come back, and so does R0, all 64 bits (:mod:`prevail_py.vm.kernel.results`).  What
the kernel cannot take is an :class:`EngineError` that says so, as is a program that it does not accept; a trap there
is none.  It counts no steps and knows no fuel, and clock, random numbers and log of the environment are its own.

All runs of a process share one worker: :func:`prevail_py.vm.kernel.engine.shared_session`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Instruction
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.vm.engines import EngineError
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer
from prevail_py.vm.kernel.context import from_kernel, to_kernel, usual_context
from prevail_py.vm.kernel.engine import Session, shared_session
from prevail_py.vm.kernel.exchange import Exchange
from prevail_py.vm.kernel.loader import possible_cpus
from prevail_py.vm.kernel.memory import run_memory
from prevail_py.vm.kernel.results import RESULT_KEY, read_result
from prevail_py.vm.kernel.wire import KernelRun, Request, RunInput
from prevail_py.vm.maps import Map, Maps, create_maps
from prevail_py.vm.outcome import Returned
from prevail_py.vm.socket_buffer import ETHERNET_HEADER

__all__ = ["KernelEngine", "KernelProgram"]


class KernelProgram:
    """A program to test-run; each series of runs loads it anew, into maps with the contents of those that are given.

    ``generated``: a program generator made it, so that it must be short and without loops.
    """

    def __init__(self, program: Program, session: Session | None = None, *, generated: bool = False) -> None:
        """Raises :class:`EngineError` for a program of another platform or without a type."""
        try:
            self._type: Final = platform(program.platform).program_type(
                program.program_type, program.expected_attach_type
            )
        except (KeyError, ValueError):
            raise EngineError(f"the kernel has no programs of type {program.program_type!r}") from None
        self.program: Final = program
        self._session = session
        self.generated: Final = generated

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
        return self.run_all([(packet or b"", context)], maps=maps, environment=environment)[0]

    def run_all(
        self,
        inputs: Iterable[tuple[bytes, bytes | None]],
        *,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        repeat: int = 1,
    ) -> list[Execution]:
        """Run on (packet, context) after (packet, context), loaded once, with maps that go from one to the next.

        ``maps`` are taken to the kernel before the first and brought back after the last.  With ``repeat`` each input
        is run so many times on what the last time left.  Raises :class:`EngineError`.
        """
        return self._series(inputs, maps, environment, repeat)[0]

    def time(self, packet: bytes, *, maps: Sequence[Map] | None = None, repeat: int = 1) -> tuple[Execution, float]:
        """Run on a packet ``repeat`` times: the last run, and the nanoseconds of one by the kernel's clock, the mean.

        They include what a test run costs whatever the program does.  Raises :class:`EngineError`.
        """
        executions, nanoseconds = self._series([(packet, None)], maps, None, repeat)
        return executions[0], nanoseconds[0]

    def _series(
        self,
        inputs: Iterable[tuple[bytes, bytes | None]],
        maps: Sequence[Map] | None,
        environment: Environment | None,
        repeat: int,
    ) -> tuple[list[Execution], list[float]]:
        environment = environment or Environment(cpus=possible_cpus())
        maps = create_maps(self.program.maps, environment) if maps is None else maps
        exchange = Exchange(self.program, maps, environment, possible_cpus())
        load = exchange.request(generated=self.generated)
        if isinstance(load, KernelAnswer):
            raise _refused(self.program, load)
        contexts, given = [], []
        for packet, context in inputs:
            context = usual_context(self._type, packet) if context is None else context
            if context is None:
                raise EngineError(f"the kernel engine exchanges no {self._type.context_struct or 'context'}")
            contexts.append(context)
            given.append(
                RunInput(*to_kernel(self._type, packet, context), maps={exchange.result: {RESULT_KEY: bytes(16)}})
            )
        if not given:
            return [], []
        elements = {**exchange.contents(), **given[0].maps}
        given[0] = RunInput(given[0].packet, given[0].context, elements, exchange.records())
        session = self._session or shared_session()
        # Only the result is read each time; the rest, which may be large, after the last.
        reply = session.send(
            Request(load, tuple(given), repeat, exchange.wanted, False, environment.cpu, (exchange.result,))
        )
        if reply.answer.kind is not AnswerKind.ACCEPT:
            raise _refused(self.program, reply.answer)
        executions = []
        for number, (run, context) in enumerate(zip(reply.runs, contexts, strict=True)):
            if run.error:
                size = len(given[number].packet)
                where = "on this input" if len(contexts) == 1 else f"on input {number + 1}, of {size} bytes"
                short = f" (packets of {ETHERNET_HEADER} bytes and more are taken)" if size < ETHERNET_HEADER else ""
                raise EngineError(f"the kernel does not run {self.program.name} {where}: {run.error}{short}")
            executions.append(self._execution(run, context, exchange.result, Maps(maps)))
        exchange.bring_back(reply.runs[-1])
        return executions, [run.duration_ns for run in reply.runs]

    def _execution(self, run: KernelRun, context: bytes, result: int, maps: Maps) -> Execution:
        value = read_result(run.maps[result][RESULT_KEY], run.return_value)
        packet, after = from_kernel(self._type, context, run.packet, run.context)
        return Execution(Returned(value), 0, packet=packet, context=after, maps=maps)


def _refused(program: Program, answer: KernelAnswer) -> EngineError:
    return EngineError(f"the kernel does not run {program.name}: {answer.kind.value}: {answer.reason}")


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
        runs = run_memory(shared_session(), encode(code), (memory,))
        if isinstance(runs, KernelAnswer):
            raise EngineError(f"{runs.kind.value}: {runs.reason}")
        return Execution(Returned(runs[0].value), 0, memory=runs[0].memory)
