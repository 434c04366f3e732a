"""Running proved programs: one packet at a time, on a machine, or many packets in one go."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import finalize

from prevail_py.objects.program import Program
from prevail_py.objects.region_facts import RegionFacts
from prevail_py.platforms import Platform
from prevail_py.vm import interpreter
from prevail_py.vm.batch import BatchResult, PacketBatch
from prevail_py.vm.context import initial_context
from prevail_py.vm.engines import EngineError
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution
from prevail_py.vm.jit.proved.layout import Field, Status
from prevail_py.vm.jit.proved.model import Variant
from prevail_py.vm.jit.proved.module import BATCH, RUN, layout_of, module_text
from prevail_py.vm.jit.proved.plan import Ineligible, Plan, plan
from prevail_py.vm.jit.proved.runtime import Block, MachineRun, address_of, biased, unexpected
from prevail_py.vm.machine import Code, Machine
from prevail_py.vm.maps import Map, Maps, create_maps, has_values
from prevail_py.vm.memory import PACKET_BASE
from prevail_py.vm.outcome import Outcome, OutOfFuel, Returned, Trap, Trapped
from prevail_py.vm.packet import HEADROOM

if TYPE_CHECKING:
    from prevail_py.vm.jit.compile import Tier

__all__ = ["Ineligible", "ProvedProgram", "compile_proved"]

_Run: Final = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_void_p] * 3)
_POINTERS: Final = [ctypes.c_void_p] * 4
_WORDS: Final = [ctypes.c_uint64] * 2
_Batch: Final = ctypes.CFUNCTYPE(
    ctypes.c_uint64, *_POINTERS, *_WORDS, *_POINTERS[:2], *_WORDS[:1], *_POINTERS[:1], *_WORDS
)
_PLAIN: Final = Variant()
_START: Final = PACKET_BASE + HEADROOM
"""The address of a packet as it comes in."""

_FREE: Final = (1 << 63) - 1


class _Native(NamedTuple):
    """Compiled code, as long as it is kept: for one run, or for many."""

    run: Callable[..., int] | None
    batch: Callable[..., int] | None
    engine: object


_known: dict[int, list[RegionFacts]] = {}  # by the identity of the program: what was said of it
_compiled: dict[tuple[object, ...], _Native] = {}  # by the identity of the program, and how it was compiled


def _compile(planned: Plan, maps: tuple[Map, ...], variant: Variant, tier: Tier, batch: bool) -> _Native:
    from prevail_py.vm.jit.compile import executable

    engine = executable(module_text(planned, maps, variant, batch=batch), tier)
    if batch:
        return _Native(None, _Batch(engine.get_function_address(BATCH)), engine)
    return _Native(_Run(engine.get_function_address(RUN)), None, engine)


def compile_proved(
    code: Code,
    platform: Platform,
    facts: RegionFacts,
    maps: tuple[Map, ...],
    tier: Tier,
    variant: Variant = _PLAIN,
) -> object:
    """Compile a program for these maps, and keep nothing; for measurements."""
    return _compile(plan(code, platform, facts, maps), maps, variant, tier, batch=False)


def _interned(program: Program, facts: RegionFacts) -> RegionFacts:
    """These facts, or equal ones that were given before: code is kept for a program together with facts about it."""
    known = _known.get(id(program))
    if known is None:
        known = _known[id(program)] = []
        finalize(program, _known.pop, id(program), None).atexit = False
    for each in known:
        if each == facts:
            return each
    known.append(facts)
    return facts


def _turns(fuel: int) -> int:
    """How often loops may go back: a turn has an instruction at least, so no run is cut off that the reference ends."""
    return min(max(fuel, 1), _FREE)


class ProvedProgram:
    """A program with facts about it, compiled when it is first run with maps of some shape.

    ``checked`` keeps a test before each access (:mod:`prevail_py.vm.jit.proved.lower`).  Runs count no instructions:
    ``steps`` of an execution is 0.
    """

    def __init__(
        self, code: Code, platform: Platform, facts: RegionFacts, tier: Tier, *, checked: bool = False
    ) -> None:
        """Raises :class:`Ineligible`, and ValueError for facts about another program."""
        self.program: Final[Program] = code.program
        self.facts: Final = _interned(code.program, facts)
        self._code: Final = code
        self._platform: Final = platform
        self._tier: Final[Tier] = tier
        self._checked: Final = checked
        self._plans: Final[dict[object, Plan]] = {}
        self._block: Block | None = None
        assert code.program_type is not None
        self._type: Final = code.program_type
        # What the facts rule out whatever the maps are, is found out now.
        planned = self._plan(tuple(create_maps(code.program.maps)))
        self._simple: Final = not planned.called and code.program_type.context_struct == "xdp_md"
        self._context: Final = bytearray(self._type.context_size)
        self._template: Final = initial_context(self._type, b"").ljust(self._type.context_size, b"\0")
        self._packet: bytearray = bytearray(4096)
        self._running: Final = Lock()  # of the block and these buffers: native code lets other threads run

    @property
    def is_simple(self) -> bool:
        """Whether runs never leave native code, so that many packets can be run without Python between them.

        That is so with maps like those that the program defines; see :meth:`calls_python` for others.
        """
        return self._simple

    def calls_python(self, maps: Sequence[Map]) -> bool:
        """Whether runs with these maps leave native code, as updates of map types of other packages are in Python."""
        try:
            return bool(self._plan(tuple(maps)).called)
        except Ineligible:
            return False  # nor do they enter it

    def takes_batches(self, maps: Sequence[Map]) -> bool:
        """Whether :meth:`run_batch` takes these maps, which fit the program: not one map in two places, say."""
        try:
            return not self._plan(tuple(maps)).called and self._simple
        except Ineligible:
            return False

    def _plan(self, maps: tuple[Map, ...]) -> Plan:
        shapes = tuple([(type(map), map.spec.type, map.cpus if has_values(map) else 0) for map in maps])
        key = shapes, len(set(map(id, maps)))
        if key not in self._plans:
            self._plans[key] = plan(self._code, self._platform, self.facts, maps)
        return self._plans[key]

    def _native(
        self, maps: tuple[Map, ...], fuel: int, *, batch: bool = False, concurrent: bool = False
    ) -> tuple[_Native, Plan]:
        bound = self.facts.instructions
        variant = Variant(bound is None or bound > fuel, self._checked, concurrent)
        planned = self._plan(maps)
        key = id(self.program), id(self.facts), self._tier, variant, batch, layout_of(maps), planned.called
        found = _compiled.get(key)
        if found is None:
            found = _compiled[key] = _compile(planned, maps, variant, self._tier, batch)
            finalize(self.program, _compiled.pop, key, None).atexit = False
        return found, planned

    # One run --------------------------------------------------------------------------------------------------------

    def run(
        self,
        packet: bytes | None,
        context: bytes | None,
        maps: Sequence[Map] | None,
        environment: Environment,
        fuel: int,
    ) -> Execution | None:
        """Run it once, without a machine; None where that cannot be, as while another thread does."""
        if not self._simple or environment.socket is not None or not self._running.acquire(blocking=False):
            return None
        try:
            return self._run(packet, context, maps, environment, fuel)
        finally:
            self._running.release()

    def _run(
        self,
        packet: bytes | None,
        context: bytes | None,
        maps: Sequence[Map] | None,
        environment: Environment,
        fuel: int,
    ) -> Execution | None:
        block = self._block_of(maps, environment)
        if block is None:
            return None
        native, planned = self._native(block.maps, fuel)
        if planned.called:  # as these maps are not of the types that it knows: then it takes a machine
            return None
        content = packet or b""
        end = HEADROOM + len(content)
        if end > len(self._packet):
            self._packet = bytearray(end)
        self._packet[HEADROOM:end] = content
        if context is not None and len(context) > len(self._context):
            raise ValueError(f"the context of {self._type.name} programs has {len(self._context)} bytes, "
                             f"not {len(context)}")  # fmt: skip
        self._context[:] = self._template if context is None else context.ljust(len(self._context), b"\0")
        words = block.words
        words[Field.DATA] = words[Field.DATA_META] = _START
        words[Field.DATA_END] = _START + len(content)
        words[Field.FUEL] = _turns(fuel)
        block.begin(environment)
        (packet_at, first), (context_at, second) = address_of(self._packet), address_of(self._context)
        assert native.run is not None
        status = native.run(block.address, biased(packet_at), context_at)
        del first, second
        block.end()
        if block.error is not None:
            raise block.error
        outcome = self._outcome(block, status)
        left = bytes(self._packet[HEADROOM:end])
        return Execution(outcome, 0, left, bytes(self._context), None, Maps(block.maps))

    def _block_of(self, maps: Sequence[Map] | None, environment: Environment) -> Block | None:
        """The block for these maps; None where they are not as the program defines them, which is for others to say."""
        if maps is None:
            maps = create_maps(self.program.maps, environment)
        elif self._block is not None and [*map(id, maps)] == [*map(id, self._block.maps)]:
            return self._block
        try:
            interpreter.require_fit(self.program, maps)
        except ValueError:
            return None
        if len({id(one) for one in maps}) != len(maps):
            return None
        self._block = Block(maps)
        return self._block

    def _outcome(self, block: Block, status: int) -> Outcome:
        if status == Status.RETURNED:
            return Returned(block.words[Field.RESULT])
        if status == Status.OUT_OF_FUEL:
            return OutOfFuel(block.words[Field.PC])
        raise unexpected(self.program.name, status, block.words[Field.PC])

    # On a machine ---------------------------------------------------------------------------------------------------

    def execute(self, machine: Machine, fuel: int) -> Outcome:
        """Run a machine that is at the start of the program: an executor for the reference's setting of a run.

        A program that a tail call leads to runs as checked native code.
        """
        try:
            native, planned = self._native(tuple(machine.maps), fuel)
        except Ineligible:  # these maps are not like those that the program defines
            return interpreter.execute(machine, fuel)
        run = MachineRun(machine, planned)
        run.words[Field.FUEL] = _turns(fuel)
        run.begin(machine.environment)
        assert native.run is not None
        status = native.run(run.address, run.packet, run.context)
        run.end()
        if run.error is not None:
            raise run.error
        if run.fault is not None:
            return Trapped(Trap(run.fault.kind, machine.pc, run.fault.message, run.fault.address))
        if run.replaced:
            from prevail_py.vm.jit.engine import run_native

            machine.pc = machine.next_pc
            return run_native(machine, fuel, self._tier)
        return self._outcome(run, status)

    # Many packets ---------------------------------------------------------------------------------------------------

    def run_batch(
        self,
        packets: PacketBatch,
        maps: Sequence[Map] | None,
        environment: Environment,
        fuel: int = DEFAULT_FUEL,
        threads: int = 1,
    ) -> BatchResult:
        """Run it on each packet, which it may change, without Python between them and without the interpreter lock.

        With several threads each takes a part of the packets, in their order, and runs as a CPU of its own, from the
        environment's on; shared maps are shared.  Raises ValueError where the maps do not fit, or have not so many
        CPUs, and :class:`EngineError` where a run does not end.  Maps are not to be given to runs in other threads
        meanwhile.
        """
        if not self._simple:
            raise ValueError(f"{self.program.name} calls helpers in Python")
        if maps is None:
            maps = create_maps(self.program.maps, environment)
        interpreter.require_fit(self.program, maps)
        if threads < 1:
            raise ValueError("at least one thread is needed")
        for one in maps:
            if has_values(one) and 1 < one.cpus < environment.cpu + threads:
                raise ValueError(f"map {one.spec.name!r} was made for {one.cpus} CPUs, not for {threads} threads")
        count = len(packets)
        verdicts = array("I", bytes(4 * count))
        parts = [(count * n // threads, count * (n + 1) // threads) for n in range(threads)]
        blocks = [Block(maps) for _ in parts]
        for number, block in enumerate(blocks):
            block.begin(environment, environment.cpu + number)
        try:
            native, planned = self._native(tuple(maps), fuel, batch=True, concurrent=threads > 1)
        except Ineligible as reason:
            raise ValueError(f"{self.program.name}: {reason}") from reason
        if planned.called:
            raise ValueError(f"{self.program.name} calls helpers in Python, with these maps")
        assert native.batch is not None
        template = bytearray(self._template)
        buffers = (*packets.buffers(), verdicts, template)
        held = [address_of(buffer) for buffer in buffers]
        contexts = [bytearray(self._template) for _ in parts]
        held_contexts = [address_of(context) for context in contexts]
        data, offsets, lengths, results, initial = (address for address, _ in held)

        def work(number: int) -> int:
            assert native.batch is not None
            first, last = parts[number]
            return native.batch(
                blocks[number].address, biased(data - HEADROOM), offsets, lengths, first, last, results,
                held_contexts[number][0], len(template), initial, _turns(fuel), _START,
            )  # fmt: skip

        if threads == 1:
            ended = [work(0)]
        else:
            with ThreadPoolExecutor(threads) as pool:
                ended = list(pool.map(work, range(threads)))
        now = max(block.words[Field.NOW] for block in blocks)
        for block, (_, last), at in zip(blocks, parts, ended, strict=True):
            block.end()
            if block.error is not None:
                raise block.error
            if at != last:
                outcome = self._outcome(block, block.words[Field.RESULT])
                raise EngineError(f"packet {at + 1}: {self.program.name} ended as {outcome}")
        environment.now = now
        del held
        return BatchResult(verdicts, packets, Maps(maps))
