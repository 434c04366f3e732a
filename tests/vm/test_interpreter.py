"""Inputs, results, observers and fuel; and no program, however wild, makes the interpreter raise."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Call,
    Exit,
    Immediate,
    Instruction,
    Load,
    LoadImmediate64,
    Pseudo,
    Register,
    Store,
    slots_of,
)
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.platforms.model import ArgKind
from prevail_py.research.strategies import instructions
from prevail_py.vm.environment import Environment
from prevail_py.vm.helpers.table import HELPERS
from prevail_py.vm.interpreter import Execution, Interpreter, run, run_memory
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Maps, create_maps
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.memory import RegionKind
from prevail_py.vm.outcome import OutOfFuel, Returned, TrapKind, Trapped


def program(text: str, kind: str = "xdp", maps: Sequence[MapSpec] = ()) -> Program:
    return Program("p", kind, kind, assemble_text(text), tuple(maps))


# Inputs and results -------------------------------------------------------------------------------------------------


def test_execution() -> None:
    text = "r2 = *(u32 *)(r1 + 0)\n*(u8 *)(r2 + 1) = 7\nr0 = 2\nexit"
    execution = run(program(text), packet=b"abcdef")
    assert execution == Execution(
        Returned(2), 4, packet=b"a\x07cdef", context=bytes(12) + b"\1" + bytes(11), maps=Maps(), log=(), redirect=None
    )


def test_a_context_of_the_user() -> None:
    assert run(program("r0 = *(u32 *)(r1 + 16)\nexit"), context=bytes(16) + b"\5").outcome == Returned(5)


def test_inputs_that_do_not_fit() -> None:
    one_map = program("r0 = 0\nexit", maps=[MapSpec("m", 2, 4, 8, 1)])
    with pytest.raises(ValueError, match="kprobe programs do not run on packets"):
        run(program("exit", "kprobe"), packet=b"")
    with pytest.raises(ValueError, match="the context of xdp programs has 24 bytes, not 25"):
        run(program("exit"), context=bytes(25))
    with pytest.raises(ValueError, match="has no program type 'xdpp'"):
        run(program("exit", "xdpp"))
    with pytest.raises(ValueError, match="program 'p' has no type"):
        run(program("exit", ""))
    with pytest.raises(ValueError, match="uses 1 maps, not 0"):
        run(one_map, maps=Maps())
    with pytest.raises(ValueError, match="map 'n' is given for 'm', but differs in value_size"):
        run(one_map, maps=create_maps([MapSpec("n", 2, 4, 4, 1)]))
    per_cpu = program("r0 = 0\nexit", maps=[MapSpec("m", 6, 4, 8, 1)])
    with pytest.raises(ValueError, match="'m' was made for 2 CPUs and cannot be used on CPU 3"):
        run(per_cpu, maps=create_maps(per_cpu.maps, Environment(cpus=2)), environment=Environment(cpu=3, cpus=4))


def test_maps_persist_and_may_be_shared() -> None:
    spec = MapSpec("m", 2, 4, 8, 1)
    count = program(
        "r1 = map[idx:0][0]+0 ll\nr2 = 1\nlock *(u64 *)(r1 + 0) += r2\nr0 = *(u64 *)(r1 + 0)\nexit", maps=[spec]
    )
    maps = create_maps([spec])
    engine = Interpreter(count)
    assert [engine.run(maps=maps).outcome for _ in range(3)] == [Returned(1), Returned(2), Returned(3)]
    assert [run(count).outcome for _ in range(2)] == [Returned(1), Returned(1)]


def test_each_cpu_has_its_values() -> None:
    spec = MapSpec("m", 6, 4, 8, 1)
    count = program(
        "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall 1\nif r0 == 0 goto +2\nr1 = 1\n"
        "lock *(u64 *)(r0 + 0) += r1\nr0 = 0\nexit",
        maps=[spec],
    )
    environments = [Environment(cpu=cpu, cpus=2) for cpu in (0, 1, 1)]
    maps = create_maps([spec], environments[0])
    for environment in environments:
        assert run(count, maps=maps, environment=environment).outcome == Returned(0)
    counts = maps[0]
    assert isinstance(counts, ArrayMap)
    assert counts[bytes(4)] == [b"\1" + bytes(7), b"\2" + bytes(7)]


def test_runs_can_be_repeated() -> None:
    text = "call 5\nr6 = r0\ncall 7\nr0 += r6\nexit"
    assert run(program(text)).outcome == run(program(text)).outcome
    assert run(program(text)).outcome != run(program(text), environment=Environment(seed=1)).outcome


def test_an_environment_goes_on() -> None:
    environment = Environment()
    outcomes = [run(program("call 5\nexit"), environment=environment).outcome for _ in range(2)]
    assert outcomes[0] != outcomes[1]


def test_plain_mode_keeps_pointers_in_memory() -> None:
    code = assemble_text(
        "*(u64 *)(r1 + 0) = r10\nr3 = *(u64 *)(r1 + 0)\n*(u64 *)(r3 - 8) = r2\nr0 = *(u64 *)(r10 - 8)\nexit"
    )
    execution = run_memory(code, bytes(8))
    assert execution.outcome == Returned(8)
    assert execution.memory is not None
    assert any(execution.memory)


def test_trap_says_where() -> None:
    outcome = run(program("r0 = 1\nr2 = *(u64 *)(r10 - 16)\nexit")).outcome
    assert isinstance(outcome, Trapped)
    trap = outcome.trap
    assert (trap.kind, trap.pc) == (TrapKind.UNINITIALISED_MEMORY, 1)
    assert trap.message == "byte 496 of stack frame 0 was never written"
    assert trap.address == (2 << 40) + 496


# Fuel and observers -------------------------------------------------------------------------------------------------


def test_fuel() -> None:
    endless = program("r0 = 0\nr0 += 1\ngoto -2")
    execution = run(endless, fuel=100)
    assert execution.outcome == OutOfFuel(2)
    assert execution.steps == 100
    assert run(program("r0 = 0\nexit"), fuel=2).outcome == Returned(0)
    assert run(program("r0 = 0\nexit"), fuel=1).outcome == OutOfFuel(1)


def test_observers_see_every_instruction_before_it_is_executed() -> None:
    seen: list[tuple[int, tuple[int, ...], int | None, int]] = []

    def observe(machine: Machine) -> None:
        seen.append((machine.pc, machine.call_pcs, machine.registers[0], len(machine.frames)))

    execution = run(program("r0 = 4\ncall local f\nexit\nf: r0 = 5\nexit"), observers=[observe])
    assert seen == [(0, (), None, 1), (1, (), 4, 1), (3, (1,), None, 2), (4, (1,), 5, 2), (2, (), 5, 1)]
    assert execution.steps == 5


def test_observers_see_the_instruction_that_traps() -> None:
    seen = []
    run(program("r0 = r9\nexit"), observers=[lambda machine: seen.append(machine.pc)])
    assert seen == [0]


def test_observers_see_provenance_and_packet() -> None:
    kinds = []

    def observe(machine: Machine) -> None:
        region = machine.provenance[2]
        kinds.append(region and region.kind)
        assert machine.packet is not None
        assert machine.packet_region is machine.packet.region
        assert machine.packet.data_end - machine.packet.data == 3

    run(program("r2 = *(u32 *)(r1 + 0)\nr2 += 1\nr2 = r10\nr2 = 0\nr0 = 0\nexit"), packet=b"abc", observers=[observe])
    packet = RegionKind.PACKET
    assert kinds == [None, packet, packet, RegionKind.STACK, None, None]


def test_tail_calls_share_maps_by_definition() -> None:
    counts, jumps = MapSpec("counts", 2, 4, 8, 1), MapSpec("jumps", 3, 4, 4, 1)
    caller = program("r2 = map[idx:0] ll\nr3 = 0\ncall 12\nr0 = 0\nexit", maps=[jumps, counts])
    count = "r1 = map[idx:0][0]+0 ll\nr2 = 1\nlock *(u64 *)(r1 + 0) += r2\nr0 = *(u64 *)(r1 + 0)\nexit"
    shared, own = program(count, maps=[counts]), program(count, maps=[MapSpec("others", 2, 4, 8, 1)])
    for target, seen in ((shared, 1), (own, 0)):
        maps = create_maps(caller.maps)
        array, counter = maps
        assert isinstance(array, ProgramArray)
        assert isinstance(counter, ArrayMap)
        array[bytes(4)] = target
        assert [run(caller, maps=maps).outcome for _ in range(2)] == [Returned(1), Returned(2)]
        assert counter[bytes(4)][0] == 2 * seen


def test_tail_calls_stay_within_a_type() -> None:
    caller = program("r2 = map[idx:0] ll\nr3 = 0\ncall 12\nr0 = 0\nexit", maps=[MapSpec("jumps", 3, 4, 4, 1)])
    maps = create_maps(caller.maps)
    assert isinstance(maps[0], ProgramArray)
    maps[0][bytes(4)] = program("r0 = 0\nexit", "sched_cls")
    outcome = run(caller, maps=maps).outcome
    assert isinstance(outcome, Trapped)
    assert outcome.trap.kind is TrapKind.UNSUPPORTED


# Wild programs ------------------------------------------------------------------------------------------------------

LIST = (0, 4, 2)
SIZED = {"ringbuf": (0, 0, 4096), "array": (4, 8, 2), "hash": (4, 8, 2), "lpm_trie": (8, 4, 2)}
SIZED |= {"queue": LIST, "stack": LIST, "bloom_filter": LIST}
MAPS = (
    *(
        MapSpec(kind.name, kind.number, *SIZED.get(kind.name, (4, 4, 2)), flags=int(kind.name == "lpm_trie"))
        for kind in platform().map_types.values()
    ),
    MapSpec("rodata", 2, 4, 8, 1, initial=b"%d %s%p\0", read_only=True),
)


def slotted(listing: Sequence[Instruction]) -> tuple[Instruction | None, ...]:
    code: list[Instruction | None] = []
    for instruction in listing:
        code += [instruction] + [None] * (slots_of(instruction) - 1)
    return tuple(code)


@settings(max_examples=300, deadline=None)
@given(st.lists(instructions(), max_size=30), st.sampled_from(sorted(platform().program_types)))
def test_any_instructions(listing: list[Instruction], kind: str) -> None:
    execution = run(Program("wild", kind, kind, slotted(listing), MAPS), fuel=200)
    assert execution.steps <= 200


@settings(max_examples=300, deadline=None)
@given(st.lists(instructions(), max_size=30), st.binary(max_size=64))
def test_any_plain_instructions(listing: list[Instruction], memory: bytes) -> None:
    execution = run_memory(slotted(listing), memory, fuel=200)
    assert execution.steps <= 200


REGISTERS = st.sampled_from(list(Register)[:10])
SIZES = st.sampled_from([1, 2, 4, 8])
ADDRESSES = st.tuples(st.sampled_from(list(Register)[6:]), st.integers(-24, 24))
ATOMICS = st.sampled_from(list(AtomicOp))
HELPER_IDS = [i for i in platform().helper_ids() if platform().helper_name(i) in HELPERS]
SETUP = assemble_text(
    "r6 = r1\n"
    + "".join(f"*(u64 *)(r10 - {8 * i}) = {i}\n" for i in range(1, 9))
    + "r7 = r10\nr7 += -32\nr8 = *(u32 *)(r6 + 0)\nr9 = 1\nr0 = 0\nr1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5"
)


def steps() -> st.SearchStrategy[list[Instruction]]:
    """What mostly succeeds after :data:`SETUP`: accesses near pointers, and calls with fitting arguments."""
    single = st.one_of(
        st.builds(lambda at, size, dst: Load(dst, at[0], at[1], size), ADDRESSES, SIZES, REGISTERS),
        st.builds(lambda at, size, src: Store(at[0], at[1], size, src), ADDRESSES, SIZES, REGISTERS),
        st.builds(lambda at, op, src: Atomic(op, True, 8, at[0], at[1], src), ADDRESSES, ATOMICS, REGISTERS),
        st.builds(lambda dst, src: Alu(AluOp.MOV, 64, dst, src), REGISTERS, st.sampled_from(list(Register))),
        st.builds(lambda dst, value: Alu(AluOp.MOV, 64, dst, Immediate(value)), REGISTERS, st.integers(-2, 70)),
        st.builds(lambda dst, value: Alu(AluOp.ADD, 64, dst, Immediate(value)), REGISTERS, st.integers(-32, 32)),
        st.builds(lambda dst: LoadImmediate64(dst, len(MAPS) - 1, 0, Pseudo.MAP_INDEX_VALUE), REGISTERS),
    )
    called = st.sampled_from(HELPER_IDS) | st.sampled_from([1, 2, 3, 131, 195])
    return single.map(lambda instruction: [instruction]) | called.flatmap(calls)


def calls(helper: int) -> st.SearchStrategy[list[Instruction]]:
    prototype = platform().helper(helper)
    assert prototype is not None
    accepted = [i for i, spec in enumerate(MAPS) if platform().map_accepts(spec.type, prototype.name)]

    def argument(register: Register, kind: ArgKind) -> st.SearchStrategy[list[Instruction]]:
        match kind:
            case ArgKind.MAP:
                return st.sampled_from(accepted).map(lambda map: [LoadImmediate64(register, map, 0, Pseudo.MAP_INDEX)])
            case ArgKind.CTX:
                return st.just([Alu(AluOp.MOV, 64, register, Register.R6)])
            case ArgKind.RINGBUF_MEM:
                return st.just([Alu(AluOp.MOV, 64, register, Register.R0)])
            case ArgKind.ANYTHING | ArgKind.SIZE | ArgKind.SIZE_OR_ZERO | ArgKind.ALLOC_SIZE:
                numbers = st.sampled_from([0, 1, 2, 4, 8, 14, 32, 64, -4])
                return numbers.map(lambda number: [Alu(AluOp.MOV, 64, register, Immediate(number))])
            case _:
                frame: list[Instruction] = [Alu(AluOp.MOV, 64, register, Register.R10)]
                return st.just([*frame, Alu(AluOp.ADD, 64, register, Immediate(-64))])

    parts = [argument(Register(index), arg.kind) for index, arg in enumerate(prototype.args, 1)]
    return st.tuples(*parts).map(lambda done: [i for part in done for i in part] + [Call(helper)])


@settings(max_examples=400, deadline=None)
@given(st.lists(steps(), min_size=5, max_size=25), st.sampled_from(["xdp", "sched_cls", "kprobe"]))
def test_instructions_near_pointers(parts: list[list[Instruction]], kind: str) -> None:
    """What traps is left out, so that a program goes on to the end."""
    setup = [i for i in SETUP if kind == "xdp" or not (isinstance(i, Load) and i.dst == Register.R8)]
    packet = None if kind == "kprobe" else bytes(range(60))
    while True:
        listing = [i for part in parts for i in part]
        code = (*setup, *slotted(listing), Alu(AluOp.MOV, 64, Register.R0, Immediate(0)), Exit())
        outcome = run(Program("wild", kind, kind, code, MAPS), packet=packet, fuel=500).outcome
        assert isinstance(outcome, Returned | Trapped)
        at = len(setup)
        for number, part in enumerate(parts):
            at += len(slotted(part))
            if isinstance(outcome, Trapped) and outcome.trap.pc < at:
                del parts[number]
                break
        else:
            return
