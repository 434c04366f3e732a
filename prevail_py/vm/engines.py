"""The engines by name, behind one protocol: whatever runs programs can be swapped for another, or compared with it.

=========== =========================================================================================================
interpreter the reference (:mod:`prevail_py.vm.interpreter`)
source      the same semantics as generated Python (:mod:`prevail_py.vm.source.engine`)
jit         the same semantics as native code, by LLVM (:mod:`prevail_py.vm.jit.engine`); ``jit-O0`` compiles faster
kernel      the Linux kernel that runs here, through PROG_TEST_RUN (:mod:`prevail_py.vm.kernel.execution`)
=========== =========================================================================================================

Each is imported when it is asked for.

>>> from prevail_py.isa.instructions import Exit
>>> engine("interpreter").run_memory((Exit(),)).outcome.trap.message
'r0 was never written'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from prevail_py.isa.instructions import Instruction
from prevail_py.objects.program import Program
from prevail_py.vm import interpreter
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution, Interpreter
from prevail_py.vm.maps import Map

if TYPE_CHECKING:
    from prevail_py.objects.region_facts import RegionFacts
    from prevail_py.vm.batch import BatchResult, PacketBatch

__all__ = [
    "ENGINES",
    "Batch",
    "Batched",
    "Engine",
    "EngineCrash",
    "EngineError",
    "InterpreterEngine",
    "Loaded",
    "Trusting",
    "engine",
]


class EngineError(ValueError):
    """An engine cannot run this program or this input, which says nothing about either."""


class EngineCrash(EngineError):  # noqa: N818 - not an error of whoever asked
    """An engine died of a program, or hangs in it: the engine is wrong, whatever the program does."""


class Loaded(Protocol):
    """A program that is ready to run, any number of times."""

    def run(
        self,
        *,
        packet: bytes | None = None,
        context: bytes | None = None,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run it once: see :func:`prevail_py.vm.interpreter.run`.  Raises :class:`EngineError`."""
        ...


@runtime_checkable
class Batch(Protocol):
    """What a loaded program may offer beside: many runs in one go, for engines to which each is a long way."""

    def run_all(
        self,
        inputs: Iterable[tuple[bytes, bytes | None]],
        *,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
    ) -> list[Execution]:
        """Run on (packet, context) after (packet, context), maps going from one to the next."""
        ...


@runtime_checkable
class Batched(Protocol):
    """A loaded program that runs on many packets in one go, each for itself."""

    def in_one_go(self, maps: Sequence[Map], environment: Environment) -> bool:
        """Whether :meth:`run_batch` with these maps runs without Python in between, and gives all there is to know.

        Then no packet is redirected, and nothing is printed.  Otherwise it is one run after another.
        """
        ...

    def run_batch(
        self,
        packets: PacketBatch,
        *,
        maps: Sequence[Map] | None = None,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
        threads: int = 1,
    ) -> BatchResult:
        """See :func:`prevail_py.host.gate.run_batch`."""
        ...


@runtime_checkable
class Trusting(Protocol):
    """A loaded program that runs with less caution once it is known to be SAFE."""

    def trust(self, facts: RegionFacts | None = None) -> None:
        """Take it from the verifier, with what it proved of the memory that the program touches."""
        ...


class Engine(Protocol):
    """Something that runs programs."""

    @property
    def name(self) -> str: ...

    def load(self, program: Program) -> Loaded:
        """Prepare a program; raises ValueError (:class:`EngineError`) for one that the engine cannot run."""
        ...

    def run_memory(
        self,
        code: Sequence[Instruction | None],
        memory: bytes = b"",
        *,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run plain code on plain memory: see :func:`prevail_py.vm.interpreter.run_memory`."""
        ...


class InterpreterEngine:
    """The reference."""

    name: Final = "interpreter"

    def load(self, program: Program) -> Interpreter:
        """Raises ValueError for a program whose type the platform does not have."""
        return Interpreter(program)

    def run_memory(
        self,
        code: Sequence[Instruction | None],
        memory: bytes = b"",
        *,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """See :func:`prevail_py.vm.interpreter.run_memory`."""
        return interpreter.run_memory(code, memory, environment=environment, fuel=fuel)


def _source() -> Engine:
    from prevail_py.vm.source.engine import SourceEngine

    return SourceEngine()


def _jit() -> Engine:
    from prevail_py.vm.jit.engine import JitEngine

    return JitEngine(2)


def _jit_quick() -> Engine:
    from prevail_py.vm.jit.engine import JitEngine

    return JitEngine(0)


def _kernel() -> Engine:
    from prevail_py.vm.kernel.execution import KernelEngine

    return KernelEngine()


ENGINES: Final[Mapping[str, Callable[[], Engine]]] = {
    "interpreter": InterpreterEngine,
    "source": _source,
    "jit": _jit,
    "jit-O0": _jit_quick,
    "kernel": _kernel,
}
"""How to get each engine, by name."""


def engine(name: str) -> Engine:
    """The engine with this name; raises ValueError, naming those there are."""
    if name not in ENGINES:
        raise ValueError(f"no engine {name!r} (there are: {', '.join(ENGINES)})")
    return ENGINES[name]()
