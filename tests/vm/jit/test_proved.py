"""Proved native code against the reference: examples, generated programs, maps, batches, and what goes wrong when facts
are stale or the lowering is."""

from __future__ import annotations

import doctest
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from llvmlite import binding

from prevail_py import examples
from prevail_py.host.gate import GateError, run_batch
from prevail_py.host.gate import facts_of as facts_from
from prevail_py.isa.instructions import LoadImmediate64, Pseudo
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.region_facts import Place, RegionFact, RegionFacts
from prevail_py.objects.text import assemble
from prevail_py.platforms import platform
from prevail_py.research import callbacks
from prevail_py.research.packets import packets
from prevail_py.research.proved import MODES, Tally, campaign, compare, load
from prevail_py.verifier import verify
from prevail_py.vm.batch import PacketBatch
from prevail_py.vm.differential import Input
from prevail_py.vm.engines import EngineError
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Interpreter
from prevail_py.vm.jit.algebra import LlvmAlgebra
from prevail_py.vm.jit.engine import JitEngine
from prevail_py.vm.jit.proved import arithmetic, calls, memory, module
from prevail_py.vm.jit.proved import engine as proved_engine
from prevail_py.vm.jit.proved.emission import Emission
from prevail_py.vm.jit.proved.model import Variant
from prevail_py.vm.jit.proved.module import module_text
from prevail_py.vm.jit.proved.plan import Ineligible, Plan, plan
from prevail_py.vm.jit.proved.text import Word
from prevail_py.vm.machine import prepare
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.table import HashTable
from prevail_py.vm.outcome import OutOfFuel, Returned
from prevail_py.words import Comparison, OpKind, WordOp
from prevail_py.words import evaluate as evaluate_words

EXAMPLES = (
    "tc_classifier", "xdp_firewall", "xdp_flows", "xdp_globals", "xdp_histogram", "xdp_options", "xdp_parser",
    "xdp_ratelimit", "xdp_redirect", "xdp_rewrite", "xdp_subprogram", "xdp_tailcall", "xdp_vlan_pop",
)  # fmt: skip
TRAFFIC = (*packets(1, 24), b"", b"x")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Code that was compiled with a planted bug is not for the next test."""
    proved_engine._compiled.clear()
    yield
    proved_engine._compiled.clear()


def facts_of(program: Program) -> RegionFacts:
    verdict = verify(program, termination=True)
    assert verdict.is_safe, verdict
    return verdict.region_facts()


def program_from(text: str, *maps: MapSpec) -> Program:
    return replace(assemble(text.replace(";", "\n")), maps=maps)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_agree(name: str) -> None:
    for program in load_object(examples.path(name)).programs.values():
        facts = facts_of(program)
        assert facts.instructions is not None
        for mode in MODES:
            loaded = load(program, facts, mode)
            assert not [found for packet in TRAFFIC if (found := compare(program, loaded, Input(packet)))]


def test_maps_go_on_from_run_to_run() -> None:
    """Elements, their order and their slots are those of the reference, whoever changed the map last."""
    (program,) = load_object(examples.path("xdp_flows")).programs.values()
    loaded = JitEngine(0).load(program)
    loaded.trust(facts_of(program))
    assert loaded.proved is not None
    assert loaded.proved.is_simple
    reference = Interpreter(program)
    ours, theirs = create_maps(program.maps), create_maps(program.maps)
    for number, packet in enumerate(packets(3, 120)):
        expected = reference.run(packet=packet, maps=theirs)
        assert loaded.run(packet=packet, maps=ours)._replace(steps=expected.steps, maps=expected.maps) == expected
        if number % 40 == 20:  # the user changes something in between
            for maps in (ours, theirs):
                del maps["flows"][next(iter(maps["flows"]))]
    assert list(ours[0].items()) == list(theirs[0].items())  # type: ignore[attr-defined]
    assert ours[0]._elements == theirs[0]._elements  # type: ignore[attr-defined]
    assert (ours[0]._free.freed, ours[0]._free.unused) == (theirs[0]._free.freed, theirs[0]._free.unused)  # type: ignore[attr-defined]


def test_generated_programs_agree() -> None:
    tally = None
    for tally in campaign(range(40), 3, ("O0", "O0 checked")):
        assert not tally.found, tally.found[0]
    assert tally is not None
    assert tally.proved > 20
    for tally in campaign(range(1000, 1008), 3, ("O2", "O0 fuel")):
        assert not tally.found, tally.found[0]
    assert tally.proved > 3


# Callbacks and may_goto ---------------------------------------------------------------------------------------------


def callback_campaign(numbers: range, modes: Sequence[str]) -> Tally:
    (tally,) = deque(campaign(numbers, 2, modes, stop_at=1, source=callbacks.program), maxlen=1)
    return tally


def test_callbacks_agree() -> None:
    for numbers, modes in ((range(14), ("O0", "O0 checked")), (range(100, 104), ("O2", "O0 fuel"))):
        tally = callback_campaign(numbers, modes)
        assert not tally.found, tally.found[0]
        assert tally.proved == len(numbers)


LOOP_BUGS: dict[str, tuple[str, str]] = {
    "one turn more": ("icmp uge i64 %turn, %count", "icmp ugt i64 %turn, %count"),
    "turns from one": ("store i64 0, ptr %turn.home", "store i64 1, ptr %turn.home"),
    "wish of the function": ("%on = icmp eq i64 %wish, 0", "%on = icmp eq i64 0, 0"),
    "too many turns": ("icmp ugt i64 %count, 8388608", "icmp ugt i64 %count, 8388609"),
    "errors": ("i64 -22", "i64 -7"),
    "where the context is": ("i64 0, ptr %h, i64 %v", "i64 0, ptr %h, i64 %word"),
}


@pytest.mark.parametrize("bug", [*LOOP_BUGS, "may_goto without end"])
def test_planted_in_callbacks(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug in LOOP_BUGS:
        old, new = LOOP_BUGS[bug]
        original = calls.loop_text
        assert old in original(*_first_loop())
        monkeypatch.setattr(module, "loop_text", lambda *given: original(*given).replace(old, new))
    else:
        monkeypatch.setattr(Emission, "may_goto", lambda self: Word("true", 1))
    assert callback_campaign(range(40), ("O0",)).found


def _first_loop() -> tuple[Plan, Variant, int]:
    program = callbacks.program(0)
    host = platform(program.platform)
    planned = plan(prepare(host, program, {}), host, facts_of(program), tuple(create_maps(program.maps)))
    return planned, Variant(), next(iter(planned.loops.values()))


def test_a_batch_with_callbacks() -> None:
    program = next(p for p in map(callbacks.program, range(9)) if Pseudo.FUNCTION in _pseudos(p))
    given = [bytes([n % 7, *range(n, n + 19)]) for n in range(40)]
    maps, theirs = create_maps(program.maps), create_maps(program.maps)
    worlds = [Environment(may_goto_limit=5) for _ in range(2)]
    result = run_batch(program, given, maps=maps, environment=worlds[0])
    expected = [Interpreter(program).run(packet=p, maps=theirs, environment=worlds[1]).outcome for p in given]
    assert list(result.verdicts) == [e.value & 0xFFFFFFFF for e in expected if isinstance(e, Returned)]
    assert list(maps[0].items()) == list(theirs[0].items())  # type: ignore[attr-defined]


def _pseudos(program: Program) -> set[Pseudo]:
    return {i.pseudo for i in program.code if isinstance(i, LoadImmediate64)}


def test_addresses_of_functions_are_those_of_the_reference() -> None:
    """Whatever order they are taken in: the first one taken is the last of the program."""
    text = """
        r2 = subprog[+8] ll; r3 = subprog[+4] ll; r0 = 0; if r2 < r3 goto +1; r0 = 1; exit; r0 = 0; exit; r0 = 0; exit
    """
    program = replace(program_from(text.replace("+8", "+9").replace("+4", "+5")), program_type="xdp", section="xdp")
    assert Interpreter(program).run(packet=b"").outcome == Returned(1)
    for mode in MODES:
        assert not compare(program, load(program, facts_of(program), mode), Input(b""))


def test_fuel_of_callbacks() -> None:
    text = """
        r1 = 1000; r2 = subprog[+5] ll; r3 = 0; r4 = 0; call 181; exit; r0 = 0; exit
    """
    program = replace(program_from(text), program_type="xdp", section="xdp")
    loaded = JitEngine(0).load(program)
    loaded.trust(facts_of(program))
    assert loaded.proved is not None
    assert loaded.run(packet=b"").outcome == Returned(1000)
    assert loaded.run(packet=b"", fuel=200).outcome == OutOfFuel(7)


# Pointers in frames of others -----------------------------------------------------------------------------------------


REACHING = """
    r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 4; if r4 > r3 goto out
    r6 = *(u8 *)(r2 + 0); r6 &= 3; r7 = *(u8 *)(r2 + 1); r7 &= 3; r9 = *(u8 *)(r2 + 2); r9 &= 7
    *(u32 *)(r10 - 4) = r6; r1 = map[idx:0] ll; r2 = r10; r2 += -4; call 1; if r0 == 0 goto out; *(u64 *)(r10 - 24) = r0
    *(u32 *)(r10 - 4) = r7; r1 = map[idx:0] ll; r2 = r10; r2 += -4; call 1; if r0 == 0 goto out; *(u64 *)(r10 - 16) = r0
    r1 = r9; r2 = subprog[+17] ll; r3 = r10; r3 += -24; r4 = 0; call 181
    r1 = r10; r1 += -24; call local +19
    r1 = *(u64 *)(r10 - 24); r2 = *(u64 *)(r1 + 0); r3 = *(u64 *)(r10 - 16); r4 = *(u32 *)(r3 + 4)
    r2 += r4; r0 = r2; exit
  out: r0 = 1; exit
    r3 = *(u64 *)(r2 + 0); r4 = *(u64 *)(r3 + 0); r4 += r1; r4 += 5; *(u64 *)(r3 + 0) = r4
    r5 = *(u64 *)(r2 + 8); *(u64 *)(r2 + 8) = r3; *(u64 *)(r2 + 0) = r5; r0 = 0; exit
    *(u64 *)(r10 - 24) = r1; r2 = *(u64 *)(r10 - 24); r3 = *(u64 *)(r2 + 0); r4 = *(u64 *)(r2 + 8)
    *(u64 *)(r2 + 0) = r4; *(u64 *)(r2 + 8) = r3; r5 = 7; *(u8 *)(r4 + 3) = r5; r0 = 0; exit
"""
"""Two pointers to elements in the main program's frame, which a callback and a subprogram exchange."""


def reaching() -> Program:
    return replace(program_from(REACHING, MapSpec("m", 2, 4, 8, 4)), program_type="xdp", section="xdp")


INPUTS = [bytes([a, b, turns, 0]) for a in range(3) for b in range(3) for turns in (0, 1, 4, 5)]


def test_pointers_that_are_kept_in_frames_of_others() -> None:
    program = reaching()
    facts = facts_of(program)
    assert Place.FRAME in {fact.place for fact in facts.pointers.values()}
    for mode in MODES:
        loaded = load(program, facts, mode)
        assert not [found for packet in INPUTS if (found := compare(program, loaded, Input(packet)))]


SHADOW_BUGS: dict[str, tuple[str, Any]] = {
    "one shadow for all frames": ("SHADOW_FRAMES", 1),
    "one shadow for two pointers": ("SHADOW_SIZE", 0),
}


@pytest.mark.parametrize("bug", [*SHADOW_BUGS, "no shadow is kept"])
def test_planted_in_kept_shadows(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In checked mode, where a wrong shadow cannot do harm."""
    program = reaching()
    facts = facts_of(program)
    if bug in SHADOW_BUGS:
        monkeypatch.setattr(memory, *SHADOW_BUGS[bug])
    else:
        monkeypatch.setattr(memory, "_keep_shadow", lambda f, base, offset, shadow: None)
    loaded = load(program, facts, "O0 checked")
    assert any(compare(program, loaded, Input(packet)) for packet in INPUTS)


# Hash tables --------------------------------------------------------------------------------------------------------


def test_a_table_holds_what_the_dictionary_does() -> None:
    spec = MapSpec("m", 1, 5, 4, 20)
    table = HashTable(spec)
    elements = {bytes([n, 0, 0, 0, n]): slot for n, slot in ((3, 0), (1, 5), (200, 2))}
    table.fill(elements, [4, 1, 3], 6)
    found, freed, unused = table.contents()
    assert (found, freed, unused) == (elements, [4, 1, 3], 6)
    assert list(found) == list(elements)


OPERATIONS = """
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += {needed}
    if r4 > r3 goto out
    r6 = *(u8 *)(r2 + 0)
    r7 = *(u8 *)(r2 + 1)
    {copy}
    r1 = map[idx:0] ll
    r2 = r10
    r2 += -{room}
    if r6 == 1 goto update
    if r6 == 2 goto remove
    call 1
    if r0 == 0 goto out
    r1 = *(u32 *)(r0 + 0)
    r1 += 1
    *(u32 *)(r0 + 0) = r1
    r0 = 1
    exit
  update:
    *(u32 *)(r10 - 4) = r7
    r3 = r10
    r3 += -4
    r4 = r7
    r4 &= 3
    call 2
    r0 = -r0
    r0 &= 255
    exit
  remove:
    call 3
    r0 = -r0
    r0 &= 255
    exit
  out:
    r0 = 0
    exit
"""


@pytest.mark.parametrize(("kind", "key_size", "cpus"), [(1, 1, 1), (1, 13, 1), (5, 8, 3), (1, 16, 1)])
@pytest.mark.parametrize("tier", [0, 2])
def test_hash_tables(kind: int, key_size: int, cpus: int, tier: Any) -> None:
    """Look-ups, updates with all flags and removals, in a table that is full every now and then."""
    spec = MapSpec("m", kind, key_size, 4, 6)
    room = (key_size + 7 & ~7) + 8
    copy = "\n".join(f"r5 = *(u8 *)(r2 + {2 + n})\n*(u8 *)(r10 - {room - n}) = r5" for n in range(key_size))
    program = program_from(OPERATIONS.format(needed=2 + key_size, copy=copy, room=room), spec)
    program = replace(program, program_type="xdp", section="xdp")
    loaded = JitEngine(tier).load(program)
    loaded.trust(facts_of(program))
    assert loaded.proved is not None, loaded.checked_because
    random, worlds = Random(key_size), [Environment(cpus=cpus, cpu=cpus - 1) for _ in range(2)]
    ours, theirs = (create_maps(program.maps, world) for world in worlds)
    results = set()
    for _ in range(400):
        key = bytes([random.randrange(24)]) + bytes(random.choice((0, 9)) for _ in range(min(key_size, 2) - 1))
        packet = bytes([random.randrange(3), random.randrange(8)]) + key.rjust(key_size, b"\5")
        expected = Interpreter(program).run(packet=packet, maps=theirs, environment=worlds[0])
        assert loaded.run(packet=packet, maps=ours, environment=worlds[1]).outcome == expected.outcome
        results.add(expected.outcome)
        assert isinstance(ours[0], HashMap)
        if random.random() < 0.1:
            assert list(ours[0].items()) == list(theirs[0].items())  # type: ignore[attr-defined]
            assert ours[0]._elements == theirs[0]._elements  # type: ignore[attr-defined]
    assert {Returned(n) for n in (0, 1, 2, 7, 17, 22)} <= results  # found, ENOENT, E2BIG, EEXIST, EINVAL


def test_arrays() -> None:
    text = """
        r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 2; if r4 > r3 goto out
        r6 = *(u8 *)(r2 + 0); r7 = *(u8 *)(r2 + 1); *(u32 *)(r10 - 8) = r6; *(u64 *)(r10 - 16) = r7
        r1 = map[idx:0] ll; r2 = r10; r2 += -8; r3 = r10; r3 += -16; r4 = r7; call 2; r8 = r0
        r1 = map[idx:0] ll; r2 = r10; r2 += -8; call 1; if r0 == 0 goto no
        r1 = 1; lock *(u64 *)(r0 + 0) += r1; r8 += 100
      no: r0 = r8; r0 = -r0; r0 &= 255; exit
      out: r0 = 0; exit
    """
    for kind, cpus in ((2, 1), (6, 3)):
        program = replace(program_from(text, MapSpec("a", kind, 4, 8, 5)), program_type="xdp", section="xdp")
        loaded = JitEngine(0).load(program)
        loaded.trust(facts_of(program))
        worlds = [Environment(cpus=cpus, cpu=cpus - 1) for _ in range(2)]
        ours, theirs = (create_maps(program.maps, world) for world in worlds)
        for packet in [bytes([index, flags]) for index in range(7) for flags in range(9)]:
            expected = Interpreter(program).run(packet=packet, maps=theirs, environment=worlds[0])
            assert loaded.run(packet=packet, maps=ours, environment=worlds[1]).outcome == expected.outcome
        assert ours[0] == theirs[0]


# Helpers ------------------------------------------------------------------------------------------------------------


def test_native_helpers() -> None:
    """Time, chance, the CPU and checksums of any length, with or without old bytes."""
    text = """
        r6 = r1; r8 = 0; call 5; r8 ^= r0; call 7; r8 *= 31; r8 += r0; call 8; r8 += r0; call 118; r8 ^= r0; call 125
        r8 ^= r0
        r7 = *(u32 *)(r6 + 0); r3 = *(u32 *)(r6 + 4); r4 = r7; r4 += 20; if r4 > r3 goto out
        r9 = *(u8 *)(r7 + 0); r9 &= 15; r9 += 1
        r1 = r7; r2 = r9; r3 = r7; r3 += 3; r4 = 9; r5 = r8; call 28; r8 *= 31; r8 += r0
        r1 = 0; r2 = 0; r3 = r7; r4 = r9; r5 = -1; call 28; r8 *= 31; r8 += r0
        r1 = r7; r2 = r9; r3 = 0; r4 = 0; r5 = 7; call 28; r8 *= 31; r8 += r0
      out: *(u64 *)(r10 - 8) = r8; r1 = map[idx:0] ll; r2 = r10; r2 += -16; *(u64 *)(r10 - 16) = 0
        r3 = r10; r3 += -8; r4 = 0; call 2; r0 = 2; exit
    """
    program = replace(program_from(text, MapSpec("a", 2, 4, 8, 1)), program_type="xdp", section="xdp")
    facts = facts_of(program)
    random = Random(1)
    for mode in MODES:
        loaded = load(program, facts, mode)
        assert loaded.is_simple
        for size in range(18, 60):
            assert not compare(program, loaded, Input(random.randbytes(size)))


class Clockwork(Environment):
    """A world with a clock of its own."""

    def read_clock(self) -> int:
        self.now = 3 * self.now + 1
        return self.now


def test_a_clock_of_its_own() -> None:
    """Native code asks the world for the time wherever that has its own way of telling it."""
    text = "call 5; r6 = r0; call 125; r6 ^= r0; call 118; r6 += r0; call 5; r0 ^= r6; exit"
    program = replace(program_from(text), program_type="xdp", section="xdp")
    for kind in (Environment, Clockwork):
        worlds = [kind(now=7) for _ in range(3)]
        expected = [Interpreter(program).run(packet=b"", environment=worlds[0]).outcome for _ in range(2)]
        for tier, world in zip((0, 2), worlds[1:], strict=True):
            loaded = JitEngine(tier).load(program)  # type: ignore[arg-type]
            loaded.trust(facts_of(program))
            assert loaded.proved is not None
            assert [loaded.run(packet=b"", environment=world).outcome for _ in range(2)] == expected
            assert world.now == worlds[0].now


def test_more_random_numbers_than_are_drawn_at_a_time() -> None:
    text = "r6 = 0; r7 = 700; again: call 7; r6 *= 31; r6 += r0; r7 -= 1; if r7 != 0 goto again; r0 = r6; r0 &= 3; exit"
    program = replace(program_from(text), program_type="xdp", section="xdp")
    for mode in MODES:
        assert not compare(program, load(program, facts_of(program), mode), Input(b""))


# Facts --------------------------------------------------------------------------------------------------------------


LOOP = """
    r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 64; if r4 > r3 goto out; r0 = 0; r4 = 0
  again: r5 = r2; r5 += r4; r6 = *(u8 *)(r5 + 0); r0 += r6; *(u64 *)(r10 - 8) = r0; r0 = *(u64 *)(r10 - 8)
    *(u8 *)(r5 + 0) = 7; r4 += 1; if r4 != 64 goto again; r0 &= 3; exit
  out: r0 = 0; exit
"""


def loop() -> Program:
    return replace(program_from(LOOP), program_type="xdp", section="xdp")


def test_facts_are_about_one_program() -> None:
    program = loop()
    facts = facts_of(program)
    other = replace(program, code=program.code[:-2] + assemble("r0 = 1\nexit").code)
    with pytest.raises(ValueError, match="another program"):
        JitEngine(0).load(other).trust(facts)
    with pytest.raises(ValueError, match="another program"):
        JitEngine(0).load(replace(program, maps=(MapSpec("m", 2, 4, 4, 1),))).trust(facts)


def test_no_facts_without_a_proof() -> None:
    with pytest.raises(ValueError, match="no facts"):
        verify(assemble("r0 = *(u8 *)(r1 + 100)\nexit")).region_facts()
    with pytest.raises(ValueError, match="no facts"):
        verify(loop(), policy="linux-root").region_facts()


def test_facts_say_where_accesses_are() -> None:
    facts = facts_of(loop())
    places = {pc: fact for (pc, _), fact in facts.pointers.items()}
    assert places[0] == RegionFact(Place.CONTEXT, 0, 0)
    assert places[9] == RegionFact(Place.PACKET)
    assert places[11] == RegionFact(Place.STACK, 0, 512)
    assert facts.instructions is not None
    assert facts.instructions >= 585


def test_where_a_pointer_differs_no_region_is_named() -> None:
    text = """
        r6 = r1; *(u64 *)(r10 - 8) = 1; r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 8
        if r4 > r3 goto stack; goto both
      stack: r2 = r10; r2 += -8
      both: r0 = *(u8 *)(r2 + 0); r0 &= 3; exit
    """
    program = replace(program_from(text), program_type="xdp", section="xdp")
    facts = facts_of(program)
    assert RegionFact(Place.ELSEWHERE) in facts.pointers.values()
    for mode in MODES:
        for packet in (b"", bytes(range(9)), bytes(range(2, 20))):
            assert not compare(program, load(program, facts, mode), Input(packet))


@pytest.mark.parametrize("tier", [0, 2])
def test_loops_that_are_not_known_to_end_carry_fuel(tier: Any) -> None:
    program = loop()
    facts = replace(facts_of(program), instructions=None)
    loaded = JitEngine(tier).load(program)
    loaded.trust(facts)
    assert loaded.run(packet=bytes(64), fuel=10_000).outcome == Returned(0)
    assert loaded.run(packet=bytes(64), fuel=50).outcome == OutOfFuel(7)
    loaded.trust(facts_of(program))  # known to end, but not within so much
    assert loaded.run(packet=bytes(64), fuel=50).outcome == OutOfFuel(7)


def test_runs_that_are_cut_off_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference stops after so many instructions, native code after so many turns; but nothing cuts off others."""
    program = loop()
    loaded = load(program, facts_of(program), "O0 fuel")
    assert not compare(program, loaded, Input(bytes(64), fuel=100))
    assert not compare(program, loaded, Input(bytes(64), fuel=10_000))
    monkeypatch.setattr(proved_engine, "_turns", lambda fuel: 5)
    assert "OutOfFuel" in compare(program, loaded, Input(bytes(64), fuel=10_000))


def test_code_is_kept_per_program() -> None:
    program = loop()
    facts = facts_of(program)
    for _ in range(2):
        loaded = JitEngine(0).load(program)
        loaded.trust(facts)
        loaded.run(packet=bytes(64))
    assert len(proved_engine._compiled) == 1
    del program, loaded


@pytest.mark.parametrize("triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
def test_code_for_both_machines(triple: str) -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    for name in ("xdp_flows", "xdp_subprogram"):
        (program,) = load_object(examples.path(name)).programs.values()
        host, maps = platform(program.platform), tuple(create_maps(program.maps))
        planned = plan(prepare(host, program, {}), host, facts_of(program), maps)
        for variant in (Variant(), Variant(fuel=True, checked=True, concurrent=True)):
            module = binding.parse_assembly(module_text(planned, maps, variant, batch=True))
            module.verify()
            machine = binding.Target.from_triple(triple).create_target_machine(opt=2)
            passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=2))
            passes.getModulePassManager().run(module, passes)
            text = machine.emit_assembly(module)
            assert ("ldr" in text) == triple.startswith("aarch64")
            assert len(machine.emit_object(module)) > 500


# Batches ------------------------------------------------------------------------------------------------------------


def test_batch() -> None:
    (program,) = load_object(examples.path("xdp_flows")).programs.values()
    given = list(packets(5, 300))
    maps = create_maps(program.maps)
    result = run_batch(program, given, maps=maps)
    theirs = create_maps(program.maps)
    expected = [Interpreter(program).run(packet=packet, maps=theirs) for packet in given]
    assert list(result.verdicts) == [e.outcome.value for e in expected if isinstance(e.outcome, Returned)]
    assert list(result.packets) == [e.packet for e in expected]
    assert list(maps[0].items()) == list(theirs[0].items())  # type: ignore[attr-defined]


def test_batch_that_changes_packets() -> None:
    """In place; where a packet changes its length, one run at a time."""
    (pop,) = load_object(examples.path("xdp_vlan_pop")).programs.values()
    for program, given in ((pop, list(packets(6, 80))), (loop(), [bytes([n]) * (60 + n) for n in range(9)])):
        result = run_batch(program, PacketBatch.of(given))
        assert list(result.packets) == [Interpreter(program).run(packet=packet).packet for packet in given]
        assert list(result.packets) != given


def test_batch_whose_subprogram_reads_the_context() -> None:
    text = """
        r6 = r1; call local +2; r0 &= 255; exit
        r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r0 = r3; r0 -= r2; exit
    """
    program = replace(program_from(text), program_type="xdp", section="xdp")
    assert list(run_batch(program, [bytes(n) for n in (3, 50, 7)]).verdicts) == [3, 50, 7]


def test_batch_in_threads() -> None:
    """Each thread is a CPU; what they share they change atomically, and nothing is lost."""
    (program,) = load_object(examples.path("xdp_flows")).programs.values()
    given = list(packets(5, 400)) * 5
    world = Environment(cpus=4)
    alone, together = (create_maps(program.maps, world) for _ in range(2))
    verdicts = [
        run_batch(program, given, maps=maps, environment=world, threads=threads).verdicts
        for maps, threads in ((alone, 1), (together, 4))
    ]
    assert verdicts[0] == verdicts[1]
    assert alone[0] == together[0]
    text = """
        *(u64 *)(r10 - 8) = 7; r1 = map[idx:0] ll; r2 = r10; r2 += -8; call 1; if r0 == 0 goto out
        r1 = *(u64 *)(r0 + 0); r1 += 1; *(u64 *)(r0 + 0) = r1
      out: r0 = 2; exit
    """
    program = replace(program_from(text, MapSpec("a", 6, 4, 8, 8)), program_type="xdp", section="xdp")
    maps = create_maps(program.maps, world)
    run_batch(program, given, maps=maps, environment=world, threads=4)
    assert [int.from_bytes(each, "little") for each in maps[0][(7).to_bytes(4, "little")]] == [500] * 4  # type: ignore[index]
    with pytest.raises(ValueError, match="4 CPUs"):
        run_batch(program, given, maps=maps, environment=world, threads=5)


def test_batch_lets_other_threads_run() -> None:
    program = loop()
    facts = replace(facts_of(program), instructions=None)
    loaded = JitEngine(0).load(program)
    loaded.trust(facts)
    batch, done = PacketBatch.of([bytes(64)] * 60_000), threading.Event()

    def work() -> None:
        loaded.run_batch(batch)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    turns = 0
    while not done.is_set():
        turns += 1
    thread.join()
    assert turns > 100


def test_batch_goes_through_the_gate() -> None:
    with pytest.raises(GateError):
        run_batch(assemble("r0 = *(u8 *)(r1 + 100)\nexit"), [b""])
    program = loop()
    with pytest.raises(EngineError, match="packet 2"):
        run_batch(program, [b"", bytes(64)], fuel=50)


def test_batches_are_what_they_say() -> None:
    from array import array

    with pytest.raises(ValueError, match="within"):
        PacketBatch(bytearray(4), array("Q", [0, 2]), array("I", [4, 3]))
    batch = PacketBatch.of([b"ab", b"", b"c"])
    assert list(batch) == [b"ab", b"", b"c"]
    assert batch[1:] == [b"", b"c"]


# Planted bugs -------------------------------------------------------------------------------------------------------


def differs(
    text: str, packet: bytes, mode: str = "O0", change: Callable[[RegionFacts], RegionFacts] | None = None
) -> str:
    program = replace(program_from(text), program_type="xdp", section="xdp")
    facts = facts_of(program)
    return compare(program, load(program, facts if change is None else change(facts), mode), Input(packet))


ACCESS = """
    r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 8; if r4 > r3 goto out
    *(u64 *)(r10 - 256) = -1; r0 = *(u32 *)(r2 + 4); r0 &= 3; exit
  out: r0 = 0; exit
"""
STALE: dict[str, RegionFact] = {
    "region": RegionFact(Place.STACK, 0, 256),
    "region of a word": RegionFact(Place.STACK),
    "context": RegionFact(Place.ELSEWHERE),
}


@pytest.mark.parametrize("stale", STALE)
def test_planted_stale_fact(stale: str) -> None:
    """A fact about another region is found: without checks by what the run leaves, with checks where it is used."""

    def change(facts: RegionFacts) -> RegionFacts:
        (key,) = [key for key, fact in facts.pointers.items() if fact.place is Place.PACKET]
        return replace(facts, pointers={**facts.pointers, key: STALE[stale]})

    packet = bytes(range(0x30, 0x40))
    assert not differs(ACCESS, packet)
    checked = differs(ACCESS, packet, "O0 checked", change)
    if stale == "context":  # where no region is named the shadow is right
        assert not checked
        return
    assert "trapped" in checked
    if stale == "region":
        assert differs(ACCESS, packet, "O0", change)


def test_planted_slot_that_is_not_reached() -> None:
    def change(facts: RegionFacts) -> RegionFacts:
        return replace(facts, reached=facts.reached - {max(facts.reached)})

    text = "r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); if r2 == r3 goto out; r0 = 1; exit; out: r0 = 2; exit"
    assert not differs(text, b"")
    assert "unreachable" in differs(text, b"", "O0", change)


def _patch(name: str, make: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(LlvmAlgebra, name, make(getattr(LlvmAlgebra, name)))


def _evaluate(change: Callable[[WordOp], WordOp]) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        def evaluate(algebra: Any, op: WordOp, args: Sequence[Any]) -> Any:
            return evaluate_words(algebra, change(op), tuple(args))

        for where in (arithmetic, memory):
            patch.setattr(where, "evaluate", evaluate)

    return plant


def _fetch(patch: pytest.MonkeyPatch) -> None:
    original = memory.atomic
    patch.setattr(memory, "atomic", lambda f, pc, instruction: original(f, pc, replace(instruction, fetch=False)))


def _shadow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arithmetic, "_moved_shadow", lambda f, pc, dst, op, sources: f.context_shadow())


def _host(patch: pytest.MonkeyPatch) -> None:
    original = memory.place

    def place(f: Emission, pc: int, register: int, offset: int, size: int | None) -> tuple[str, str]:
        return original(f, pc, register, offset ^ 1 if size == 1 else offset, size)

    patch.setattr(memory, "place", place)


def _signed_load(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory, "load_op", lambda size, signed: WordOp(OpKind.ZEXT, 8 * size))


def _comparison(patch: pytest.MonkeyPatch) -> None:
    original = LlvmAlgebra.compare
    unsigned = {Comparison.SLT: Comparison.ULT, Comparison.SGT: Comparison.UGT}

    def compare(self: LlvmAlgebra, comparison: Comparison, a: Any, b: Any, width: int) -> Any:
        return original(self, unsigned.get(comparison, comparison), a, b, width)

    patch.setattr(LlvmAlgebra, "compare", compare)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "missing zero-extension": _patch("zero_extend", lambda _: LlvmAlgebra.sign_extend),
    "poison shift": _patch("_amount", lambda _: lambda self, b, width: b),
    "unguarded division": _patch("_one_where", lambda _: lambda self, undefined, b, width: b),
    "swapped operands": _patch("sub", lambda old: lambda self, a, b, width: old(self, b, a, width)),
    "comparison signedness": _comparison,
    "wrong fetch result": _fetch,
    "byte swap width": _evaluate(lambda op: WordOp(op.kind, 64) if op.kind is OpKind.BSWAP else op),
    "width of an operation": _evaluate(lambda op: replace(op, width=64) if op.kind is OpKind.ADD else op),
    "load extension": _signed_load,
    "place of an access": _host,
    "shadow of another region": _shadow,
}

PROBE = """
    r6 = r1; r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 16; if r4 > r3 goto out
    r7 = *(u64 *)(r2 + 0); r8 = *(u64 *)(r2 + 8); r9 = *(s8 *)(r2 + 3); r5 = *(u8 *)(r2 + 4)
    r1 = 65; r0 = r7; r0 <<= r1; r9 ^= r0; r0 = r7; r0 <<= r8; r9 ^= r0; r0 = r7; w0 s/= w8; r9 += r0
    r0 = r7; r0 -= r8; r9 ^= r0; w7 += w8; r9 += r7
    r7 = be16 r7; r9 ^= r7; if r8 s< 5 goto skip; r9 += 77
  skip: *(u64 *)(r10 - 8) = r8; r1 = 5; r1 = atomic_fetch_add((u64 *)(r10 - 8), r1); r9 ^= r1; r9 += r5
    r1 = r9; r9 >>= 32; r9 ^= r1; r1 = r9; r9 >>= 16; r9 ^= r1; r1 = r9; r9 >>= 8; r9 ^= r1
    *(u8 *)(r2 + 0) = r9; r1 = r10; r1 += -8; if r5 != 0 goto both; r1 = r2
  both: r0 = *(u8 *)(r1 + 0); r0 &= 3; exit
  out: r0 = 0; exit
"""


def edges() -> list[bytes]:
    random = Random(7)
    words = [0, 1, 5, 31, 32, 63, 64, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1, (1 << 31) - 1]
    pairs = [(random.choice(words), random.choice(words)) for _ in range(60)]
    return [a.to_bytes(8, "little") + b.to_bytes(8, "little") for a, b in pairs]


def test_the_probe_agrees() -> None:
    program = replace(program_from(PROBE), program_type="xdp", section="xdp")
    facts = facts_of(program)
    for mode in MODES:
        loaded = load(program, facts, mode)
        assert not [found for packet in edges() if (found := compare(program, loaded, Input(packet)))]


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_in_the_lowering(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is found by the differential tests in a fraction of a second, where a crash of the process counts, too."""
    program = replace(program_from(PROBE), program_type="xdp", section="xdp")
    facts = facts_of(program)
    BUGS[bug](monkeypatch)
    mode = "O0 checked" if bug == "shadow of another region" else "O2" if bug == "poison shift" else "O0"
    loaded = load(program, facts, mode)

    def found() -> bool:
        return any(compare(program, loaded, Input(packet)) for packet in edges())

    if bug == "unguarded division":
        from prevail_py.vm.jit.isolation import rehearse

        assert rehearse(found, 10) == "native code died of SIGFPE"
    else:
        assert found()


def test_planted_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python and native code have to agree on where a key is."""
    from prevail_py.vm.maps import table

    original = table.bucket_of
    monkeypatch.setattr(table, "bucket_of", lambda key, bits: original(key, bits) ^ 1)
    (program,) = load_object(examples.path("xdp_flows")).programs.values()
    given = list(packets(5, 60))
    maps = create_maps(program.maps)
    for packet in given:
        Interpreter(program).run(packet=packet, maps=maps)
    before = len(maps[0])  # type: ignore[arg-type]
    run_batch(program, given, maps=maps)
    assert len(list(maps[0]._table.contents()[0])) <= before  # type: ignore[attr-defined]
    theirs = create_maps(program.maps)
    for packet in given * 2:
        Interpreter(program).run(packet=packet, maps=theirs)
    assert maps[0] != theirs[0]


def test_what_has_no_proved_code_is_checked() -> None:
    text = "r1 = map[idx:0] ll; r2 = subprog[+6] ll; r3 = 0; r4 = 0; call 164; r0 = 2; exit; r0 = 0; exit"
    program = replace(program_from(text, MapSpec("m", 2, 4, 8, 3)), program_type="xdp", section="xdp")
    verdict = verify(program, termination=True)
    assert verdict.is_safe, verdict
    loaded = JitEngine(0).load(program)
    loaded.trust(verdict.region_facts())
    assert loaded.proved is None
    assert "bpf_for_each_map_elem calls functions" in loaded.checked_because
    assert loaded.run(packet=b"").outcome == Returned(2)
    with pytest.raises(Ineligible):
        load(program, verdict.region_facts(), "O0")


def test_the_documentation(root: Path) -> None:
    """What docs/jit.md shows is what happens."""
    text = (root / "docs" / "jit.md").read_text(encoding="utf-8").replace("```", "")
    example = doctest.DocTestParser().get_doctest(text, {}, "jit.md", "jit.md", 0)
    report: list[str] = []
    results = doctest.DocTestRunner().run(example, out=report.append)
    assert results.attempted > 5
    assert not results.failed, report


def test_what_the_solver_proved_runs_checked() -> None:
    """Its states need not say what a register points to."""
    program = loop()
    verdict = verify(program, termination=True)
    assert facts_from(verdict) is not None
    assert facts_from(replace(verdict, discharged=(None,))) is None  # type: ignore[arg-type]
    with pytest.raises(Ineligible, match="none that is known"):
        load(program, replace(verdict.region_facts(), unclear=frozenset({9})), "O0")
