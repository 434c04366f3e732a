"""Interpreter against kernel on whole programs: same packets and maps in, same result, packet and maps out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from prevail_py import examples
from prevail_py.isa.instructions import Call
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.research import packets
from prevail_py.vm import interpreter
from prevail_py.vm.environment import Environment
from prevail_py.vm.kernel.answer import KernelAnswer
from prevail_py.vm.kernel.engine import RunInput, Session
from prevail_py.vm.kernel.loader import possible_cpus
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.devices import TargetMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.memory import Region
from prevail_py.vm.outcome import Returned, TrapKind, Trapped

pytestmark = pytest.mark.usefixtures("kernel")

# Clock and random numbers: what they give differs from run to run.
UNREPEATABLE = frozenset({5, 7, 125, 160, 208})
# The test harness takes frames from an Ethernet header to what fits into a page beside head and tail room.
SHORTEST, LONGEST = 14, 3000
POOLS = (
    *packets.MAC_POOL, *packets.IPV4_POOL, *packets.IPV6_POOL,
    *(port.to_bytes(2, order) for port in packets.PORT_POOL for order in ("big", "little")),
)  # fmt: skip


def generate(program: Program, seed: int, count: int) -> list[RunInput]:
    """``count`` packets, and map elements that are set before the first."""
    chosen = (contents(spec, Random(f"{seed} {spec.name}")) for spec in program.maps)
    maps = {index: elements for index, elements in enumerate(chosen) if elements}
    frames = [p for p in packets.packets(seed, 4 * count) if SHORTEST <= len(p) <= LONGEST][:count]
    assert len(frames) == count
    return [RunInput(frame, maps=maps if number == 0 else {}) for number, frame in enumerate(frames)]


def contents(spec: MapSpec, random: Random) -> dict[bytes, bytes]:
    """Some elements as the kernel takes them: keys out of the packets' pools, values of small bytes."""
    kind = platform().map_types[spec.type]
    if kind.name in ("array", "percpu_array"):
        keys = [index.to_bytes(4, "little") for index in range(min(spec.max_entries, 4))]
    elif kind.name in ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash"):
        keys = [key for key in POOLS if len(key) == spec.key_size][: spec.max_entries]
    else:
        return {}
    if spec.initial is not None or random.random() < 0.2:
        return {}
    value = bytes(random.choice((0, 1, 1, 3, 5, 0x3F)) for _ in range(spec.value_size))
    return {key: padded([value] * possible_cpus() if kind.per_cpu else value) for key in keys if random.random() < 0.7}


def padded(content: bytes | list[bytes]) -> bytes:
    """A map's value as the kernel shows it to user space."""
    if isinstance(content, bytes):
        return content
    return b"".join(value.ljust(len(value) + 7 & ~7, b"\0") for value in content)


def given(spec: MapSpec, value: bytes, map: ArrayMap | HashMap | TargetMap) -> bytes | list[bytes]:
    """The inverse of :func:`padded`."""
    if not platform().map_types[spec.type].per_cpu:
        return value
    stride = len(value) // map.cpus
    return [value[cpu * stride : cpu * stride + spec.value_size] for cpu in range(map.cpus)]


def difference(program: Program, seed: int, count: int) -> str | None:
    """The first difference between interpreter and kernel on ``count`` packets, None where there is none."""
    inputs = generate(program, seed, count)
    with Session() as session:
        runs = session.run(program, inputs)
    assert not isinstance(runs, KernelAnswer), runs
    environment = Environment(cpu=0, cpus=possible_cpus())
    maps = create_maps(program.maps, environment)
    assert sum(not run.error for run in runs) > count / 2
    for number, (item, run) in enumerate(zip(inputs, runs, strict=True)):
        if run.error:  # skb test runs refuse frames that announce IP and do not hold its header
            assert program.program_type == "sched_cls"
            continue
        for index, contents in item.maps.items():
            ours = maps[index]
            assert isinstance(ours, ArrayMap | HashMap | TargetMap)
            for key, value in contents.items():
                ours[key] = given(ours.spec, value, ours)
        execution = interpreter.run(program, packet=item.packet, maps=maps, environment=environment)
        if isinstance(execution.outcome, Trapped) and execution.outcome.trap.kind is TrapKind.UNSUPPORTED:
            return f"not modelled: {execution.outcome.trap.message}"
        if (execution.outcome, execution.packet) != (Returned(run.return_value), run.packet):
            return f"packet {number} ({item.packet.hex()}): {execution} but in the kernel {run}"
        for index, contents in run.maps.items():
            ours = maps[index]
            assert isinstance(ours, ArrayMap | HashMap | TargetMap)
            found = {key: padded(content) for key, content in ours.items()}
            if found != contents:
                return f"packet {number} ({item.packet.hex()}): {ours.spec.name} {found} but in the kernel {contents}"
    return None


def differences(programs: Mapping[str, Program], seed: int, count: int) -> dict[str, str]:
    """What :func:`difference` says of those programs that run on packets and do the same each time."""
    found = {}
    for label, program in programs.items():
        repeatable = not any(isinstance(i, Call) and i.helper in UNREPEATABLE for i in program.code)
        if program.program_type in ("xdp", "sched_cls") and not program.unsupported and repeatable:
            message = difference(program, seed, count)
            if message is not None:
                found[label] = message
    return found


def test_distribution_programs(xdp_objects: tuple[Path, ...]) -> None:
    objects = {path.name: load_object(path) for path in xdp_objects}
    programs = {f"{file} {name}": p for file, object in objects.items() for name, p in object.programs.items()}
    found = differences(programs, 1, 60)
    assert all(message.startswith("not modelled") for message in found.values()), found
    assert set(found) <= {"xsk_def_xdp_prog_5.3.o xsk_def_prog"}  # looks up an AF_XDP socket


def example_programs() -> dict[str, Program]:
    return {
        f"{name} {program}": load_object(examples.path(name)).programs[program]
        for name, example in examples.EXAMPLES.items()
        if example.safe
        for program in example.programs
    }


def test_examples() -> None:
    assert differences(example_programs(), 3, 100) == {}


def test_planted_bugs_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {
        label: p for label, p in example_programs().items() if label.split()[0] in ("xdp_counter", "xdp_firewall")
    }
    assert differences(programs, 3, 40) == {}
    with monkeypatch.context() as patch:
        patch.setattr(ArrayMap, "value", lambda self, slot, cpu, value=ArrayMap.value: value(self, slot ^ 1, cpu))
        assert differences(programs, 3, 40)
    with monkeypatch.context() as patch:
        patch.setattr(Region, "load", lambda self, address, size, load=Region.load: load(self, address, min(size, 4)))
        assert differences(programs, 3, 40)
