"""Generated source and native code against the reference: vectors, examples, families, fuel, traps, all calls."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.isa.decode import decode
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.research.conformance import Vector, load_cases, load_vectors
from prevail_py.research.families import FAMILIES
from prevail_py.research.packets import packets
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution, Interpreter, run_memory
from prevail_py.vm.jit.engine import JitEngine
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.outcome import OutOfFuel, Returned, Trapped
from prevail_py.vm.source import engine
from prevail_py.vm.source.engine import SourceEngine, SourceProgram

OWN = [case.vector for case in load_cases(Path(__file__).resolve().parents[2] / "conformance")]
_SUITE = Path(__file__).resolve().parents[4] / "shared" / "conformance"
SUITE = load_vectors(_SUITE) if _SUITE.is_dir() else []

NATIVE = JitEngine(0, trusted=True)


def same(program: Program, **given: Any) -> Execution:
    """Run on all three engines; all that a run leaves behind is equal."""
    left_maps = create_maps(program.maps, Environment())
    left = Interpreter(program).run(maps=left_maps, environment=Environment(), **given)
    for loaded in (SourceProgram(program), NATIVE.load(program)):
        right_maps = create_maps(program.maps, Environment())
        right = loaded.run(maps=right_maps, environment=Environment(), **given)
        for field in ("outcome", "steps", "packet", "context", "log", "redirect"):
            assert getattr(left, field) == getattr(right, field), (field, loaded.name)
        for a, b in zip(left.maps, right.maps, strict=True):
            if hasattr(a, "items"):
                assert dict(a.items()) == dict(b.items()), loaded.name  # type: ignore[attr-defined]
    return left


def same_at_every_fuel(program: Program, **given: Any) -> Execution:
    whole = same(program, **given)
    for fuel in range(whole.steps):
        assert isinstance(same(program, fuel=fuel, **given).outcome, OutOfFuel)
    return whole


def check_vector(vector: Vector) -> None:
    execution = SourceEngine().run_memory(decode(vector.code), vector.memory)
    assert execution == run_memory(decode(vector.code), vector.memory)
    assert vector.result is not None
    assert execution.outcome == Returned(vector.result)


@pytest.mark.parametrize("vector", OWN, ids=lambda vector: vector.name)
def test_own_vector(vector: Vector) -> None:
    check_vector(vector)


@pytest.mark.parametrize("vector", SUITE, ids=lambda vector: vector.name)
def test_suite_vector(vector: Vector, shared_dir: Path) -> None:
    check_vector(vector)


def programs() -> Iterator[Program]:
    for path in sorted(examples.path("xdp_firewall").parent.glob("*.o")):
        yield from load_object(path).programs.values()


@pytest.mark.parametrize("program", list(programs()), ids=lambda program: program.name)
def test_examples(program: Program) -> None:
    takes_packets = program.program_type in ("xdp", "sched_cls")
    for packet in packets(7, 12) if takes_packets else (None,):
        same(program, packet=packet)
    same(program, packet=b"" if takes_packets else None, fuel=20)


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name: str) -> None:
    program = FAMILIES[name](7)
    for size in (0, 5, 64):
        same(program, packet=bytes(range(size)))
    for fuel in (0, 1, 2, 3, 10, 50, 63, 64, 65, 66, 67, 128, 200, 500):
        same(program, packet=bytes(64), fuel=fuel)


TRAPS = {
    "uninitialised register": "r0 = r3; exit",
    "uninitialised in a branch": "if r4 == 0 goto +0; r0 = 0; exit",
    "write to r10": "r10 = 0; exit",
    "pointer times two": "r1 *= 2; r0 = 0; exit",
    "sum of pointers": "r1 += r10; r0 = 0; exit",
    "pointer returned": "r0 = r10; exit",
    "null": "r2 = 0; r0 = *(u8 *)(r2 + 3); exit",
    "number": "r2 = 77; r0 = *(u8 *)(r2 + 3); exit",
    "below the stack": "r0 = *(u8 *)(r10 - 513); exit",
    "above the stack": "*(u8 *)(r10 + 0) = 1; r0 = 0; exit",
    "never written": "*(u32 *)(r10 - 8) = 1; r0 = *(u64 *)(r10 - 8); exit",
    "context": "r0 = *(u32 *)(r1 + 1); exit",
    "context store": "*(u32 *)(r1 + 0) = 1; exit",
    "signed context pointer": "r0 = *(s32 *)(r1 + 0); exit",
    "pointer into the packet": "r2 = *(u32 *)(r1 + 0); *(u64 *)(r2 + 0) = r10; exit",
    "half a pointer": "*(u32 *)(r10 - 8) = r1; r0 = 0; exit",
    "beyond the packet": "r2 = *(u32 *)(r1 + 0); r0 = *(u32 *)(r2 + 13); exit",
    "before the packet": "r2 = *(u32 *)(r1 + 0); r0 = *(u8 *)(r2 - 1); exit",
    "atomic on the context": "r2 = 1; lock *(u32 *)(r1 + 0) += r2; exit",
    "atomic on a hole": "r2 = 1; lock *(u64 *)(r10 - 8) += r2; exit",
    "no such helper": "call 9999; exit",
    "bad argument": "r1 = 0; call 1; exit",
    "end of the program": "r0 = 0",
    "out of the program": "goto +100",
    "before the program": "r0 = 0; goto -5",
    "too deep": "call local +1; exit; call local -1; exit",
    "the frame of a callee": "call local +2; r0 = *(u8 *)(r0 - 8); exit; *(u64 *)(r10 - 8) = 0; r0 = r10; exit",
}


@pytest.mark.parametrize("text", TRAPS.values(), ids=TRAPS)
def test_traps_are_equal(text: str) -> None:
    outcome = same_at_every_fuel(assemble(text.replace(";", "\n")), packet=bytes(range(16))).outcome
    assert isinstance(outcome, Trapped)


RUNS = {
    "spilled pointer": "*(u64 *)(r10 - 8) = r1; r2 = *(u64 *)(r10 - 8); r0 = *(u32 *)(r2 + 12); exit",
    "overwritten pointer": "*(u64 *)(r10 - 8) = r1; *(u8 *)(r10 - 3) = 1; r0 = *(u64 *)(r10 - 8); r0 &= 1; exit",
    "pointer difference": "r2 = *(u32 *)(r1 + 0); r0 = *(u32 *)(r1 + 4); r0 -= r2; r0 &= 3; exit",
    "pointer or number": """
        r2 = *(u32 *)(r1 + 12)
        r3 = r10
        if r2 == 1 goto +1
        r3 = 5
        r3 += -8
        *(u64 *)(r3 + 0) = 1
        r0 = *(u64 *)(r3 + 0)
        exit""",
    "stack through a computed index": """
        r2 = *(u32 *)(r1 + 12)
        r3 = r10
        r3 += -16
        r3 += r2
        *(u32 *)(r3 + 1) = 2
        *(u16 *)(r3 + 5) = 7
        r0 = *(u16 *)(r3 + 1)
        exit""",
    "caller's frame": """
        r1 = r10
        r1 += -8
        *(u64 *)(r10 - 8) = 1
        r6 = 1
        call local inner
        r0 = *(u64 *)(r10 - 8)
        r0 += r6
        exit
      inner:
        r6 = 9
        r2 = *(u64 *)(r1 + 0)
        r2 += 1
        *(u64 *)(r1 + 0) = r2
        lock *(u64 *)(r1 + 0) += r2
        *(u64 *)(r1 + 0) = 1
        r0 = 0
        exit""",
    "loop in a subprogram": """
        r6 = 3
        call local inner
        r0 += r6
        r0 &= 3
        exit
      inner:
        r2 = 0
        r0 = 0
      again:
        r0 += r2
        if r0 & 4 goto odd
        r0 += 1
      odd:
        r2 += 1
        if r2 < 9 goto again
        exit""",
    "packet": "r2 = *(u32 *)(r1 + 0); r3 = 258; *(u16 *)(r2 + 3) = r3; r0 = *(u8 *)(r2 + 3); exit",
    "may_goto": "r0 = 1; may_goto +1; goto +0; exit",
}  # fmt: skip


@pytest.mark.parametrize("text", RUNS.values(), ids=RUNS)
def test_runs_are_equal(text: str) -> None:
    outcome = same_at_every_fuel(assemble(text.replace(";", "\n")), packet=bytes(range(16))).outcome
    assert isinstance(outcome, Returned)


ATOMICS = ("lock *(u64 *)(r6 + 0) += r2", "r2 = atomic_fetch_xor((u32 *)(r6 + 0), r2)",
           "r0 = cmpxchg32_32(r6 + 0, w0, w2)", "r0 = cmpxchg_64(r6 + 0, r0, r2)",
           "r2 = xchg_64(r6 + 0, r2)", "w2 = xchg32_32(r6 + 0, w2)")  # fmt: skip


@pytest.mark.parametrize("place", ["r6 = r10; r6 += -8; *(u64 *)(r6 + 0) = 5", "r6 = *(u32 *)(r1 + 0)"])
@pytest.mark.parametrize("atomic", ATOMICS)
def test_atomics(atomic: str, place: str) -> None:
    text = f"{place}; r0 = 5; r2 = -3; {atomic}; r3 = *(u64 *)(r6 + 0); r0 ^= r2; r0 += r3; r0 &= 3; exit"
    same_at_every_fuel(assemble(text.replace(";", "\n")), packet=b"\5" + bytes(15))


def test_legacy_packet_loads() -> None:
    text = "r6 = r1\nr0 = *(u16 *)skb[4]\nr7 = r0\nr0 = *(u8 *)skb[30]\nr0 += r7\nr0 &= 1\nexit"
    for size in (0, 10, 64):
        same_at_every_fuel(assemble(text, "socket_filter"), packet=bytes(range(size)))


COUNT = MapSpec("count", 2, 4, 8, 2)


def test_map_values() -> None:
    text = """
        *(u32 *)(r10 - 4) = 1
        r6 = map[idx:0][0]+4 ll
        r1 = map[idx:0] ll
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto +2
        r1 = 3
        lock *(u64 *)(r0 + 0) += r1
        *(u8 *)(r6 + 0) = 7
        r0 = 2
        exit"""
    execution = same_at_every_fuel(assemble(text, maps=(COUNT,)), packet=b"")
    assert execution.outcome == Returned(2)


@pytest.mark.parametrize("in_subprogram", [False, True])
def test_tail_calls(in_subprogram: bool) -> None:
    array = MapSpec("programs", 3, 4, 4, 2)
    call = "r2 = map[idx:0] ll\nr3 = 1\ncall 12\nr0 = 1\nexit"
    text = f"r6 = 40\ncall local +2\nr0 += r6\nexit\n{call}" if in_subprogram else call
    program = assemble(text, maps=(array,))
    target = assemble("r0 = *(u32 *)(r1 + 12)\nr0 += 1\nr6 = 5\nexit")
    for fuel in range(14):
        executions = []
        for kind in (Interpreter, SourceProgram):
            maps = create_maps(program.maps)
            assert isinstance(maps[0], ProgramArray)
            maps[0][(1).to_bytes(4, "little")] = target
            executions.append(kind(program).run(packet=b"", maps=maps, fuel=fuel))
        assert executions[0].outcome == executions[1].outcome
        assert executions[0].steps == executions[1].steps


def test_a_machine_is_used_again_as_if_it_were_new() -> None:
    """Also after a trap in a subprogram, with other maps than before, and after a bad input."""
    text = """
        r6 = r1
        r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 4)
        r4 = r2
        r4 += 1
        if r4 > r3 goto +2
        r4 = *(u8 *)(r2 + 0)
        if r4 == 1 goto wild
        *(u32 *)(r10 - 8) = r4
        r0 = map[idx:0][0]+0 ll
        r1 = 1
        lock *(u64 *)(r0 + 0) += r1
        r0 = *(u64 *)(r0 + 0)
        r0 &= 3
        exit
      wild:
        *(u64 *)(r10 - 16) = 5
        *(u64 *)(r10 - 24) = r10
        call local inner
        exit
      inner:
        r0 = *(u64 *)(r10 - 16)
        exit"""
    program = assemble(text, maps=(COUNT,))
    loaded, reference = SourceProgram(program), Interpreter(program)
    maps = [(create_maps(program.maps), create_maps(program.maps)) for _ in range(2)]
    for packet, which in ((b"\3", 0), (b"\1", 0), (b"\1", 0), (b"", 0), (b"\2\3\4", 1), (b"\1\1", 1), (b"\5", 0)):
        mine, theirs = maps[which]
        run = loaded.run(packet=packet, maps=mine, environment=Environment())
        expected = reference.run(packet=packet, maps=theirs, environment=Environment())
        assert (run.outcome, run.steps, run.packet) == (expected.outcome, expected.steps, expected.packet)
        assert [dict(m.items()) for m in mine] == [dict(m.items()) for m in theirs]  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="has 24 bytes, not 25"):
            loaded.run(packet=packet, context=bytes(25), maps=mine)
    assert isinstance(loaded.run(packet=b"\1").outcome, Trapped)


def test_compiled_code_goes_with_its_program() -> None:
    program = assemble("r0 = 2\nexit")
    key = id(program)
    loaded = SourceProgram(program)
    loaded.run(packet=b"")
    assert key in engine._compiled
    del program, loaded
    gc.collect()
    assert key not in engine._compiled
