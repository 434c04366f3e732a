"""The oracle of soundness: run what is SAFE and check every step against its invariants.

Before each instruction the concrete state must lie in the concretization of the invariant the verifier computed for
that place, and the run must not trap.  Inputs are random packets and map contents by seed; keys that the program looks
up are remembered and put into the maps of later runs, and where chance does not reach a block the solver is asked for
an input that does (:mod:`prevail_py.research.concolic`).  The report says how many blocks were reached: an oracle
that executes little proves little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Final

from prevail_py.isa.instructions import Call
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.platforms.contexts import FieldKind
from prevail_py.research.packets import packets
from prevail_py.verifier.policy import STRICT
from prevail_py.verifier.verdict import Verdict
from prevail_py.vm.context import takes_packet
from prevail_py.vm.environment import Socket
from prevail_py.vm.machine import Machine
from prevail_py.vm.outcome import TrapKind, Trapped
from prevail_py.vm.scenario import Scenario, play

__all__ = ["Report", "examine"]

_KEYED_HELPERS: Final = frozenset({1, 2, 3})
"""Map lookup, update and delete: R1 is the map, R2 points to the key."""

_SOCKETS: Final = frozenset({FieldKind.SOCK, FieldKind.SOCK_OR_NULL, FieldKind.SOCK_COMMON_OR_NULL})
_MAX_KEYS: Final = 64
_MAX_VIOLATIONS: Final = 10
_MAX_STARTS: Final = 4


@dataclass(slots=True)
class Report:
    """What the oracle saw.

    ``blocks`` are the first slots of blocks that the invariants call reachable.  ``unsupported`` says what the
    interpreter could not execute: such runs ended early, and are neither violations nor evidence.
    """

    program: str
    runs: int = 0
    steps: int = 0
    steered: int = 0
    violations: list[str] = field(default_factory=list)
    unsupported: set[str] = field(default_factory=set)
    blocks: frozenset[int] = frozenset()
    covered: set[int] = field(default_factory=set)

    @property
    def coverage(self) -> float:
        """The share of blocks that some run entered, 0 to 1."""
        return len(self.covered) / len(self.blocks) if self.blocks else 1.0

    @property
    def uncovered(self) -> tuple[int, ...]:
        """The blocks no run entered, by first slot."""
        return tuple(sorted(self.blocks - self.covered))

    def __str__(self) -> str:
        state = f"{len(self.violations)} VIOLATIONS" if self.violations else "no violation"
        return (
            f"{self.program}: {self.runs} runs ({self.steered} steered), {self.steps} steps, {state}, "
            f"{len(self.covered)} of {len(self.blocks)} blocks ({self.coverage:.0%})"
            + "".join(f", {reason}" for reason in sorted(self.unsupported))
        )


Steer = Callable[[Program, Scenario, frozenset[int]], Iterator[Scenario]]
"""Makes scenarios from one that ran, meant to reach the given slots."""


def examine(
    program: Program, verdict: Verdict, runs: int = 200, seed: int = 0, steer: Steer | None = None, steered: int = 100
) -> Report:
    """Run a SAFE program ``runs`` times on random inputs, then up to ``steered`` times on inputs chosen by ``steer``.

    The report lists violations: traps, and states that the invariants exclude.  Raises ValueError for a program that
    is not SAFE, of which nothing is claimed.
    """
    if verdict.policy != STRICT.name:
        raise ValueError(f"{program.name}: the interpreter knows the policy {STRICT.name} only, not {verdict.policy}")
    if not verdict.is_safe:
        raise ValueError(f"{program.name} is {verdict.kind}, so there is nothing to check")
    oracle = _Oracle(program, verdict)
    scenarios = []
    for number, packet in enumerate(packets(seed, runs)):
        scenario = oracle.scenario(packet, f"{seed}/{number}")
        if oracle.run(scenario):
            scenarios.append(scenario)
    if steer is not None:
        oracle.chase(steer, scenarios, steered)
    return oracle.report


class _Oracle:
    def __init__(self, program: Program, verdict: Verdict) -> None:
        self.program = program
        self.invariants = verdict.invariants
        reachable = frozenset(pc for (_, pc), states in self.invariants.items() if states)
        self.report = Report(program.name, blocks=reachable)
        self._keys: dict[int, list[bytes]] = {}
        self._type = platform(program.platform).program_type(program.program_type, program.expected_attach_type)
        self._sockets = {row.kind for row in self._type.reads} & _SOCKETS

    def scenario(self, packet: bytes, seed: str) -> Scenario:
        """A packet with random contents for the maps, among them keys that earlier runs looked for, and a context."""
        random = Random(seed)
        contents = []
        for index, spec in enumerate(self.program.maps):
            if spec.read_only:
                continue
            keys = [key for key in self._keys.get(index, ()) if random.random() < 0.5]
            keys += [random.randbytes(spec.key_size) for _ in range(random.randrange(3))]
            keys += [random.randrange(max(spec.max_entries, 1)).to_bytes(4, "little")] * (spec.key_size == 4)
            contents += [(index, key, _value(random, spec.value_size)) for key in keys]
        other = Random(f"{seed}/context")
        context = _value(other, self._type.context_size) if other.random() < 0.5 else None
        return Scenario(
            packet if takes_packet(self._type) else None,
            tuple(contents),
            random.randrange(1 << 32),
            context,
            socket=_socket(Random(f"{seed}/socket"), FieldKind.SOCK in self._sockets) if self._sockets else None,
        )

    def run(self, scenario: Scenario) -> bool:
        """Run once; True where a block was entered for the first time."""
        before = len(self.report.covered)
        execution = play(self.program, scenario, (self._observe,))
        self.report.runs += 1
        self.report.steps += execution.steps
        if isinstance(execution.outcome, Trapped):
            trap = execution.outcome.trap
            if trap.kind is TrapKind.UNSUPPORTED:
                self.report.unsupported.add(trap.message)
            else:
                self._violation(f"slot {trap.pc}: {trap.kind.value}: {trap.message}")
        return len(self.report.covered) > before

    def chase(self, steer: Steer, scenarios: Sequence[Scenario], limit: int) -> None:
        """Ask for inputs that reach what is missing, starting from those that reached something new, the last first.

        Each start gets half of what is left of the limit, so that one from which no way leads on does not use it up.
        """
        for scenario in scenarios[: -_MAX_STARTS - 1 : -1]:
            missing = self.report.blocks - self.report.covered
            if not missing:
                return
            for candidate in islice(steer(self.program, scenario, missing), (limit + 1) // 2):
                limit -= 1
                self.report.steered += 1
                self.run(candidate)
                if self.report.covered >= missing:
                    return

    def _observe(self, machine: Machine) -> None:
        if machine.program is not self.program:
            return  # after a tail call: another program, with invariants of its own
        pc = machine.pc
        if pc in self.report.blocks:
            self.report.covered.add(pc)
        reason = self.invariants.excludes(machine)
        if reason is not None:
            self._violation(f"slot {pc}: {reason}")
        instruction = self.program.code[pc]
        if isinstance(instruction, Call) and instruction.helper in _KEYED_HELPERS:
            self._remember_key(machine)

    def _violation(self, text: str) -> None:
        if len(self.report.violations) < _MAX_VIOLATIONS:
            self.report.violations.append(text)

    def _remember_key(self, machine: Machine) -> None:
        handle, memory, address = machine.provenance[1], machine.provenance[2], machine.registers[2]
        if handle is None or memory is None or address is None or handle.map_index is None:
            return
        if handle.map_index >= len(self.program.maps):
            return
        size = self.program.maps[handle.map_index].key_size
        start = address - memory.base
        key = bytes(memory.data[start : start + size])
        known = self._keys.setdefault(handle.map_index, [])
        if len(key) == size and key not in known and len(known) < _MAX_KEYS:
            known.append(key)


def _socket(random: Random, always: bool) -> Socket | None:
    """What the packet belongs to: a socket of UDP, or one that listens, or nothing, unless there is one ``always``."""
    if not always and random.random() < 0.5:
        return None
    if random.random() < 0.5:
        return Socket(17, local_port=53, mark=random.randrange(1 << 32))
    return Socket(6, local_port=80, state=10)


def _value(random: Random, size: int) -> bytes:
    """Random bytes, small numbers or few bits: what programs compare values with."""
    match random.randrange(4):
        case 0:
            return bytes(size)
        case 1:
            return random.randrange(1 << 8).to_bytes(max(size, 1), "little")[:size]
        case 2:
            return bytes([random.choice((0, 1, 2, 4, 8, 16, 255))]) * size
        case _:
            return random.randbytes(size)


if __name__ == "__main__":
    from prevail_py.research.oracle_report import main

    raise SystemExit(main())
