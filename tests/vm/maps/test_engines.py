"""A compiled program for every map type, on every engine: the same result, and the same contents afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import ObjectFile, load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.verifier import verify
from prevail_py.vm.engines import engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.kernel.engine import AnswerKind, ask_kernel
from prevail_py.vm.kernel.loader import possible_cpus
from prevail_py.vm.maps import Map, create_map, create_maps
from prevail_py.vm.maps.create import MODELLED
from prevail_py.vm.maps.devices import TargetMap, XdpSocket, XdpSocketMap
from prevail_py.vm.maps.queue import QueueMap
from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray
from prevail_py.vm.outcome import Returned, TrapKind, Trapped

SOURCE: Final = Path(__file__).parent / "maps.c"
NAMES: Final = {platform().map_types[number].name for number in MODELLED}
RESULTS: Final = {
    **dict.fromkeys(["hash", "lru_hash"], 0xF02A0),
    "array": 0xF02A0,
    **dict.fromkeys(["percpu_hash", "lru_percpu_hash", "percpu_array"], 0xF02A0 + 17),
    "lpm_trie": 0x201,
    "queue": 0x10203,
    "stack": 0x10302,
    "bloom_filter": 7,
    "prog_array": 77,
    "array_of_maps": 1,
    "hash_of_maps": 1,
    "ringbuf": 0,
    "perf_event_array": (-2) & 0xFFFFFFFF,
    "devmap": 0x102,
    "devmap_hash": 0x102,
    "cpumap": 2,
    "xskmap": 2,
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[ObjectFile]:
    """Filled by the first test that has a compiler."""
    return []


@pytest.fixture
def programs(clang: str, compiled: list[ObjectFile], tmp_path: Path) -> ObjectFile:
    if not compiled:
        target = tmp_path / "maps.o"
        subprocess.run([clang, "-target", "bpf", "-g", "-O2", "-c", str(SOURCE), "-o", str(target)], check=True)
        compiled.append(load_object(target))
    return compiled[0]


def fill(maps: Sequence[Map], programs: ObjectFile, environment: Environment) -> None:
    """What a program needs to find in its map."""
    one = (1).to_bytes(4, "little")
    for map in maps:
        match map:
            case ProgramArray():
                map[bytes(4)] = programs.programs["target"]
            case MapOfMaps():
                assert map.spec.inner is not None
                map[one] = create_map(map.spec.inner, environment)
            case PerfEventArray():
                map.open.clear()
            case TargetMap() if map.spec.type != 16:
                map[one] = one
            case _:
                pass


def contents(map: Map) -> object:
    match map:
        case RingBuffer():
            return list(map.drain())
        case ProgramArray():
            return dict(map)
        case MapOfMaps():
            return {key: contents(inner) for key, inner in map.items()}
        case Mapping():
            return dict(map)
        case _:
            return list(map) if isinstance(map, QueueMap) else None


def run_on(name: str, kind: str, programs: ObjectFile) -> tuple[int, list[object]]:
    environment = Environment(cpus=possible_cpus())
    program = programs.programs[f"use_{kind}"]
    maps = create_maps(program.maps, environment)
    fill(maps, programs, environment)
    execution = engine(name).load(program).run(packet=bytes(64), maps=maps, environment=environment)
    assert isinstance(execution.outcome, Returned), execution.outcome
    return execution.outcome.value, [contents(map) for map in maps]


def test_every_modelled_type_has_a_program() -> None:
    assert set(RESULTS) == NAMES


@pytest.mark.parametrize("kind", RESULTS)
def test_programs(kind: str, programs: ObjectFile) -> None:
    result, left = run_on("interpreter", kind, programs)
    assert result & 0xFFFFFFFF == RESULTS[kind]
    assert run_on("source", kind, programs) == (result, left)


@pytest.mark.parametrize("kind", RESULTS)
def test_the_kernel_agrees(kind: str, programs: ObjectFile, kernel: None) -> None:
    ours, theirs = run_on("interpreter", kind, programs), run_on("kernel", kind, programs)
    assert theirs[0] & 0xFFFFFFFF == ours[0] & 0xFFFFFFFF
    assert theirs[1] == ours[1]


@pytest.mark.parametrize("kind", sorted(NAMES - {"xskmap"}))
def test_they_are_safe(kind: str, programs: ObjectFile) -> None:
    verdict = verify(programs.programs[f"use_{kind}"])
    assert verdict.is_safe, verdict


@pytest.mark.parametrize("name", ["interpreter", "source"])
def test_a_socket_is_found(name: str, programs: ObjectFile) -> None:
    program = programs.programs["use_xskmap"]
    maps = create_maps(program.maps)
    sockets: Any = maps[0]
    assert isinstance(sockets, XdpSocketMap)
    sockets[(1).to_bytes(4, "little")] = XdpSocket(queue=5)
    assert engine(name).load(program).run(packet=bytes(64), maps=maps).outcome == Returned(105)


# What the verifier must refuse, and the machine trap -----------------------------------------------------------------

REFUSED: Final = {
    "update of a queue": ("call 2", MapSpec("m", 22, 0, 8, 2)),
    "look-up in a stack": ("call 1", MapSpec("m", 23, 0, 8, 2)),
    "deletion in a bloom filter": ("call 3", MapSpec("m", 30, 0, 8, 2)),
    "pop of a bloom filter": ("call 88", MapSpec("m", 30, 0, 8, 2)),
    "push to a hash table": ("call 87", MapSpec("m", 1, 8, 8, 2)),
    "peek into an array": ("call 89", MapSpec("m", 2, 4, 8, 2)),
    "look-up on a CPU in a shared table": ("call 195", MapSpec("m", 1, 8, 8, 2)),
    "update of a devmap": ("call 2", MapSpec("m", 14, 4, 4, 2)),
    "look-up in a cpumap": ("call 1", MapSpec("m", 16, 4, 4, 2)),
    "update of a socket map": ("call 2", MapSpec("m", 17, 4, 4, 2)),
    "update of a map of maps": ("call 2", MapSpec("m", 13, 4, 4, 2, inner=MapSpec("i", 2, 4, 4, 1))),
    "look-up in a ring buffer": ("call 1", MapSpec("m", 27, 0, 0, 4096)),
    "redirection to a hash table": ("call 51", MapSpec("m", 1, 4, 4, 2)),
    "push to a queue that is read-only": ("call 87", MapSpec("m", 22, 0, 8, 2, flags=1 << 7)),
    "update of a table that is read-only": ("call 2", MapSpec("m", 1, 8, 8, 2, flags=1 << 7)),
}


def refused(case: str) -> Program:
    call, spec = REFUSED[case]
    code = f"""
        r2 = r10
        r2 += -8
        *(u64 *)(r10 - 8) = 0
        r3 = {0 if call == "call 195" else "r2"}
        r4 = 0
        r1 = map[idx:0] ll
        {call}
        r0 = 0
        exit
    """
    return Program("p", "xdp", "xdp", assemble_text(code), (spec,), licence="GPL")


@pytest.mark.parametrize("case", REFUSED)
def test_helpers_that_do_not_take_the_map(case: str) -> None:
    """Not SAFE, and a trap on each engine."""
    program = refused(case)
    assert not verify(program).is_safe
    for name in ("interpreter", "source"):
        outcome = engine(name).load(program).run(packet=bytes(64)).outcome
        assert isinstance(outcome, Trapped)
        assert outcome.trap.kind is TrapKind.HELPER_ARGUMENT


@pytest.mark.parametrize("case", REFUSED)
def test_the_kernel_refuses_them_too(case: str, kernel: None) -> None:
    answer = ask_kernel(refused(case))
    assert answer.kind is AnswerKind.REJECT, answer


def test_a_bloom_filter_reads_what_it_is_asked_for() -> None:
    """Where a queue writes the value, a bloom filter reads it: memory that was never written will not do."""
    code = "r2 = r10\nr2 += -8\nr1 = map[idx:0] ll\ncall 89\nr0 = 0\nexit"
    queue, bloom = MapSpec("m", 22, 0, 8, 2), MapSpec("m", 30, 0, 8, 2)
    for spec, fits in ((queue, True), (bloom, False)):
        program = Program("p", "xdp", "xdp", assemble_text(code), (spec,))
        assert verify(program).is_safe == fits
        outcome = engine("interpreter").load(program).run(packet=bytes(64)).outcome
        assert isinstance(outcome, Returned if fits else Trapped)
