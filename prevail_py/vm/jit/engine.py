"""The LLVM engine: compile a program once, run it in place of the reference interpreter.

:func:`run_native` runs a machine as :func:`prevail_py.vm.interpreter.execute` does; outcome, steps and everything a run
leaves behind are equal.  Compiled code is kept as long as its program lives.

Every access of native code is checked, as are those of the reference, and fuel is counted in every block.  What would
be left of that if the compiler were wrong is an access to the memory of this process; therefore only programs that are
proved run here at once, and every other run is rehearsed in a child first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from weakref import finalize

from prevail_py.isa.instructions import Instruction
from prevail_py.objects.program import Program
from prevail_py.platforms import Platform, platform
from prevail_py.vm import interpreter
from prevail_py.vm.batch import BatchResult, PacketBatch, run_each
from prevail_py.vm.engines import EngineCrash, EngineError
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution, Executor, Interpreter
from prevail_py.vm.jit.isolation import rehearse
from prevail_py.vm.jit.layout import Status
from prevail_py.vm.jit.runtime import Run
from prevail_py.vm.machine import Code, Machine, prepare
from prevail_py.vm.maps import Map
from prevail_py.vm.outcome import Outcome, Returned, Trap, Trapped

if TYPE_CHECKING:
    from prevail_py.objects.region_facts import RegionFacts
    from prevail_py.vm.jit.compile import Native, Tier
    from prevail_py.vm.jit.proved.engine import ProvedProgram

__all__ = ["JitEngine", "JitProgram", "compiled", "run_native"]

_START_SECONDS: Final = 10.0
_STEP_SECONDS: Final = 1e-4  # several times what an instruction takes that is the reference's

_compiled: dict[tuple[int, Tier], Native] = {}  # by the identity of the program, as in the generated-source engine


def compiled(code: Code, platform: Platform, tier: Tier) -> Native:
    """The native code of a program, which is compiled the first time."""
    from prevail_py.vm.jit.compile import compile_code

    key = id(code.program), tier
    if key in _compiled:
        return _compiled[key]
    native = _compiled[key] = compile_code(code, platform, tier, native=True)
    finalize(code.program, _compiled.pop, key, None).atexit = False
    return native


def run_native(machine: Machine, fuel: int, tier: Tier) -> Outcome:
    """Run a machine that is at the start of its program until that ends, or has executed ``fuel`` instructions."""
    run = Run(machine, fuel)
    run.write_block(machine.pc)
    while True:
        code = run.code = machine.calls[-1].code
        native = compiled(code, machine.platform, tier)
        status = native.run(run.address)
        if run.error is not None:
            raise run.error
        if run.fault is not None:
            fault = run.fault
            return Trapped(Trap(fault.kind, machine.pc, fault.message, fault.address))
        if run.result is not None:
            return Returned(run.result)
        if status == Status.HAND_OVER:
            run.read_block()
            return interpreter.execute(machine, fuel)


def _require_llvm() -> None:
    if sys.byteorder != "little":
        raise EngineError("the LLVM engine needs a little-endian machine")
    try:
        import llvmlite  # noqa: F401
    except ImportError as error:
        raise EngineError(f"the LLVM engine needs llvmlite (pip install 'prevail-py[jit]'): {error}") from error


class JitProgram:
    """A program that is ready to run, any number of times.

    Unless it is trusted every run is rehearsed in a forked child (:mod:`prevail_py.vm.jit.isolation`).
    """

    def __init__(self, program: Program, engine: JitEngine) -> None:
        """Raises ValueError for a program whose type the platform does not have."""
        self.program: Final = program
        self._engine: Final = engine
        self._reference: Final = Interpreter(program)
        self._platform: Final = platform(program.platform)
        self._code: Final = prepare(self._platform, program, {})
        self._trusted = engine.trusted
        self._proved: ProvedProgram | None = None
        self._checked_because = ""

    @property
    def name(self) -> str:
        """The name of the engine."""
        return self._engine.name

    def trust(self, facts: RegionFacts | None = None) -> None:
        """The program is proved SAFE: run it in this process at once, without checks as far as the facts allow it.

        Raises ValueError for facts about another program.
        """
        self._trusted = True
        if facts is None:
            return
        from prevail_py.vm.jit.proved.engine import Ineligible, ProvedProgram

        try:
            self._proved = ProvedProgram(self._code, self._platform, facts, self._engine.tier)
        except Ineligible as reason:
            self._checked_because = str(reason)

    @property
    def proved(self) -> ProvedProgram | None:
        """The program without checks, where there is such code for it."""
        return self._proved

    @property
    def checked_because(self) -> str:
        """Why its accesses are checked although facts are known; empty where they are not, or none are."""
        return self._checked_because

    def run(
        self,
        *,
        packet: bytes | None = None,
        context: bytes | None = None,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run the program once: see :func:`prevail_py.vm.interpreter.run`.

        Raises :class:`EngineCrash` where native code of a program that is not trusted crashes, or hangs.  Programs that
        run without checks count no steps.
        """

        proved, world = self._proved, environment or Environment()
        executor: Executor = self._engine.execute
        if proved is not None:
            execution = proved.run(packet, context, maps, world, fuel)
            if execution is not None:
                return execution
            executor = proved.execute

        def execute() -> Execution:
            return self._reference.run_with(
                executor, packet=packet, context=context, maps=maps, environment=world, fuel=fuel
            )

        if not self._trusted:
            compiled(self._code, self._platform, self._engine.tier)  # once, not in each child
            self._engine.rehearse(execute, fuel)
        return execute()

    def in_one_go(self, maps: Sequence[Map], environment: Environment) -> bool:
        """Whether it is proved, and so simple that batches never leave native code; no packet has a socket then."""
        return self._proved is not None and self._proved.takes_batches(maps) and environment.socket is None

    def run_batch(
        self,
        packets: PacketBatch,
        *,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
        threads: int = 1,
    ) -> BatchResult:
        """Run the program on each packet in turn: see :meth:`ProvedProgram.run_batch`.

        Where it is not proved, or calls helpers in Python, packets are run one at a time by one thread, and the batch
        that is given stays as it was.
        """
        world = environment or Environment()
        proved = self._proved
        if proved is None or not proved.is_simple or world.socket is not None or (maps and proved.calls_python(maps)):
            return run_each(self, packets, maps=maps, environment=world, fuel=fuel)
        return proved.run_batch(packets, maps, world, fuel, threads)


class JitEngine:
    """See the module's text.

    ``tier`` is LLVM's level of optimisation: :mod:`prevail_py.vm.jit.compile`.  ``trusted``: nothing is rehearsed in a
    child; for measurements, and where the process is there to be lost.
    """

    def __init__(self, tier: Tier = 2, *, trusted: bool = False) -> None:
        """Raises :class:`EngineError` where LLVM is missing."""
        _require_llvm()
        self.tier: Final = tier
        self.trusted: Final = trusted
        self.name: Final = "jit" if tier == 2 else f"jit-O{tier}"

    def load(self, program: Program) -> JitProgram:
        """Raises ValueError for a program whose type the platform does not have."""
        return JitProgram(program, self)

    def run_memory(
        self,
        code: Sequence[Instruction | None],
        memory: bytes = b"",
        *,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run plain code on plain memory: see :func:`prevail_py.vm.interpreter.run_memory`.

        Raises :class:`EngineCrash` unless the engine is trusted; otherwise the process crashes.
        """

        def execute() -> Execution:
            return interpreter.run_memory(code, memory, environment=environment, fuel=fuel, executor=self.execute)

        if not self.trusted:
            self.rehearse(execute, fuel)
        return execute()

    def execute(self, machine: Machine, fuel: int) -> Outcome:
        """Run a machine in this process: see :func:`run_native`."""
        return run_native(machine, fuel, self.tier)

    def rehearse(self, run: Callable[[], object], fuel: int) -> None:
        """Raises :class:`EngineCrash` where a run with so much fuel does not come to its end in a child."""
        reason = rehearse(run, _START_SECONDS + fuel * _STEP_SECONDS)
        if reason is not None:
            raise EngineCrash(reason)
