"""Every unsafe example really goes wrong: an input written by hand traps in the interpreter on that line."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import pytest

from prevail_py import examples
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.research import frames
from prevail_py.research.frames import DOT1Q, IPV4, IPV6, UDP, ethernet, ipv4, vlan
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import run
from prevail_py.vm.maps import Map, create_maps
from prevail_py.vm.outcome import Returned, TrapKind, Trapped


def full_map(maps: tuple[Map, ...]) -> None:
    """No room for queue 0 in the map of ``unsafe_null``."""
    (packets_by_queue,) = maps
    assert isinstance(packets_by_queue, MutableMapping)
    for queue in range(1, 17):
        packets_by_queue[queue.to_bytes(4, "little")] = bytes(8)


def untouched(maps: tuple[Map, ...]) -> None:
    """Maps as they are created."""


@dataclass(frozen=True)
class Witness:
    """``packet`` traps with ``kind``; ``harmless`` differs as little as possible and does not."""

    packet: bytes
    kind: TrapKind
    harmless: bytes | None
    set_up: Callable[[tuple[Map, ...]], None] = untouched


DATAGRAM = ethernet(IPV4, ipv4(UDP, frames.udp(bytes(60), 1, 2)))
LONG = DATAGRAM.ljust(2048, b"\0")

WITNESSES = {
    "unsafe_bounds": Witness(ethernet(IPV4, bytes(9)), TrapKind.OUT_OF_BOUNDS, ethernet(IPV4, bytes(10))),
    "unsafe_off_by_one": Witness(ethernet(IPV6, b"")[:13], TrapKind.OUT_OF_BOUNDS, ethernet(IPV6, b"")),
    "unsafe_null": Witness(DATAGRAM, TrapKind.NULL_DEREFERENCE, None, full_map),
    "unsafe_uninitialised_key": Witness(DATAGRAM, TrapKind.HELPER_ARGUMENT, DATAGRAM[:41]),
    "unsafe_stale_pointer": Witness(
        ethernet(DOT1Q, vlan(IPV4, DATAGRAM[14:], identifier=1)), TrapKind.NOT_A_POINTER, DATAGRAM
    ),
    "unsafe_stack_index": Witness(
        ethernet(IPV4, ipv4(UDP, b"", tos=16 << 3)), TrapKind.OUT_OF_BOUNDS, ethernet(IPV4, ipv4(UDP, b"", tos=15 << 3))
    ),
    "unsafe_map_index": Witness(LONG, TrapKind.OUT_OF_BOUNDS, LONG[:2047]),
    "unsafe_scan": Witness(ethernet(0, bytes(46)), TrapKind.OUT_OF_BOUNDS, ethernet(0, bytes(45) + b"\1")),
    "unsafe_readonly": Witness(DATAGRAM, TrapKind.READ_ONLY, None),
    "unsafe_helper_size": Witness(
        ethernet(IPV4, ipv4(UDP, bytes(60), lie_ihl=4)), TrapKind.HELPER_ARGUMENT, ethernet(IPV4, ipv4(UDP, bytes(60)))
    ),
}


def the_program(name: str) -> Program:
    return load_object(examples.path(name)).programs[examples.EXAMPLES[name].program]


def test_every_unsafe_example_has_a_witness() -> None:
    assert set(WITNESSES) == {name for name, example in examples.EXAMPLES.items() if not example.safe}


@pytest.mark.parametrize("name", WITNESSES)
def test_witness_traps_on_the_marked_line(name: str) -> None:
    witness, program, environment = WITNESSES[name], the_program(name), Environment()
    maps = create_maps(program.maps, environment)
    witness.set_up(maps)
    outcome = run(program, packet=witness.packet, maps=maps, environment=environment).outcome
    assert isinstance(outcome, Trapped)
    assert outcome.trap.kind is witness.kind
    line = program.line_at(outcome.trap.pc)
    assert line is not None
    assert (line.file, line.line) == (f"{name}.c", examples.EXAMPLES[name].bug_line())


@pytest.mark.parametrize("name", [name for name, witness in WITNESSES.items() if witness.harmless is not None])
def test_a_little_less_is_harmless(name: str) -> None:
    assert isinstance(run(the_program(name), packet=WITNESSES[name].harmless).outcome, Returned)
