"""The search for a witness: from an assertion that may fail to inputs on which it does.

The program is executed symbolically with its loops unrolled (a bounded number of turns, which is right for finding and
wrong for proving), and encoded as if it had memory to itself.  A model of a run that violates an assertion becomes a
packet, a context, contents of maps and random numbers, and these are run in the interpreter.  Only a trap there counts.

A model may be of no run, because the world answered otherwise: a helper returned something else.  Then what it did
return is told to the solver, which is asked again, a few times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

import z3

from prevail_py.domains.lattice import NO_SYMBOL, Term
from prevail_py.isa.instructions import Call
from prevail_py.objects.program import Program
from prevail_py.platforms.model import LookupResult
from prevail_py.verifier.assertions import Assertion
from prevail_py.verifier.blocks import BudgetExhausted
from prevail_py.verifier.fixpoint import Fixpoint
from prevail_py.verifier.setting import Unsupported
from prevail_py.verifier.smt.algebra import Predicate
from prevail_py.verifier.smt.budget import Budget
from prevail_py.verifier.smt.executor import Execution, Moment, execute
from prevail_py.verifier.smt.history import Called, Event, Join, Loaded, Start, Stored, ancestors, history_of
from prevail_py.verifier.smt.memory import CONTEXT, LARGEST, PACKET, RANDOM, OwnMemory, contents_of, present_in
from prevail_py.verifier.smt.models import bytes_of, number_of
from prevail_py.verifier.smt.violations import violated
from prevail_py.verifier.values import Pointer, RegionKind
from prevail_py.verifier.witness import Witness, simplified, witness_of
from prevail_py.vm.context import takes_packet
from prevail_py.vm.environment import Environment
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import MapError, create_maps
from prevail_py.vm.scenario import Scenario, play

__all__ = ["find_witness"]

_TURNS: Final = (70, 8, 2)
"""How often loops are gone through at most: the first number for which the program is small enough."""

_STEPS: Final = 12_000
"""Abstract steps of one execution."""

_QUERY_LIMIT: Final = 2_000_000
_TOTAL_LIMIT: Final = 6_000_000
"""What one query and all of them may cost, in Z3's own unit."""

_WORLD: Final = {
    "bpf_ktime_get_ns": (("now", 0),),
    "bpf_get_current_pid_tgid": (("pid", 0), ("tgid", 32)),
    "bpf_get_current_uid_gid": (("uid", 0), ("gid", 32)),
}
"""Helpers whose results the environment sets: its fields, and where in the result each of 32 bits is."""

_MOST_ELEMENTS: Final = 1024
"""Larger maps are not filled up."""

_MOST_ALARMS: Final = 12
_TRIES: Final = 4

_SIZES: Final = ((14, 128), (0, 1514), (0, 9000))
"""Packets are looked for that are short, then such as are sent, then as large as any driver delivers them."""


def find_witness(fixpoint: Fixpoint, execution: Execution | None = None) -> Witness | None:
    """Inputs on which the program of a fixpoint that has run traps; None where none are found.

    ``execution`` is one of its program, where there is one already; it serves where nothing is done again.
    """
    try:
        create_maps(fixpoint.setting.program.maps, Environment())
    except (MapError, ValueError):
        return None  # no run begins
    if execution is not None and not execution.resumed:
        return _Search(execution).run()
    for turns in _TURNS:
        try:
            execution = execute(fixpoint, _STEPS, turns)
        except BudgetExhausted:
            continue
        except Unsupported:
            return None
        return _Search(execution).run()
    return None


@dataclass(frozen=True, slots=True)
class _Answers:
    """What helpers returned in a run, by slot, in order."""

    results: dict[int, list[int]]


class _Search:
    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.setting = execution.setting
        self.program: Program = execution.setting.program
        self.encoder = OwnMemory(execution.setting)
        self.budget = Budget(_TOTAL_LIMIT, _QUERY_LIMIT)
        self._packets = takes_packet(self.setting.program_type)

    def run(self) -> Witness | None:
        alarms = [(moment, assertion) for moment in self.execution.moments for assertion in moment.open]
        for moment, assertion in alarms[:_MOST_ALARMS]:
            if self.budget.is_spent:
                break
            found = self._witness(moment, assertion)
            if found is not None:
                return found
        return None

    def _witness(self, moment: Moment, assertion: Assertion) -> Witness | None:
        encoder, event = self.encoder, history_of(moment.state)
        wanted = [encoder.reached(event), violated(self.setting, moment.state, assertion, encoder)]
        events = ancestors([event])
        for sizes in _SIZES if self._packets else _SIZES[:1]:
            learnt: list[Predicate] = []
            for _ in range(_TRIES):
                model = self._model([*wanted, *self._packet_fits(*sizes), *learnt])
                if model is None:
                    break
                inputs = self._inputs(model, events)
                found = witness_of(self.program, inputs)
                if found is not None:
                    return simplified(found)
                more = list(self._answers(model, events, inputs))
                if not more:
                    break
                learnt += more
        return None

    def _model(self, conditions: list[Predicate]) -> z3.ModelRef | None:
        solver = z3.SolverFor("QF_ABV", ctx=self.encoder.context)
        solver.set("random_seed", 0)
        solver.add(*conditions)
        return solver.model() if self.budget.check(solver) == z3.sat else None

    def _packet_fits(self, least: int, most: int) -> Iterator[Predicate]:
        entry = self.execution.entry
        event = history_of(entry)
        if entry.packet_size.symbol != NO_SYMBOL:
            size = self.encoder.term(event, entry.packet_size)
            yield z3.And(z3.ULE(self.encoder.const(least), size), z3.ULE(size, self.encoder.const(most)))
        if entry.packet_meta.symbol != NO_SYMBOL:
            yield self.encoder.term(event, entry.packet_meta) == self.encoder.const(0)

    # From a model to inputs -----------------------------------------------------------------------------------------

    def _on_path(self, model: z3.ModelRef, events: list[Event]) -> Iterator[Event]:
        """The events of the run that the model is of: a join took one of its ways."""
        event = events[-1]
        path = [event]
        while not isinstance(event, Start):
            if isinstance(event, Join):
                left = model.eval(self.encoder.choices[event.number], model_completion=True)
                event = event.left if z3.is_true(left) else event.right
            else:
                event = event.before
            path.append(event)
        return reversed(path)

    def _inputs(self, model: z3.ModelRef, events: list[Event]) -> Scenario:
        path = list(self._on_path(model, events))
        packet = self._packet(model) if self._packets else None
        contents = tuple(dict.fromkeys(self._contents(model, path)))
        context, randoms = self._context(model, path), tuple(self._randoms(model, path))
        return Scenario(packet, contents, 0, context, randoms, tuple(self._world(model, path).items()))

    def _packet(self, model: z3.ModelRef) -> bytes:
        entry, encoder = self.execution.entry, self.encoder
        if entry.packet_size.symbol == NO_SYMBOL:
            size = 64
        else:
            size = number_of(model, encoder.term(history_of(entry), entry.packet_size))
        return bytes_of(model, encoder.initial(PACKET), size)

    def _context(self, model: z3.ModelRef, path: list[Event]) -> bytes | None:
        read = any(
            isinstance(event, Loaded)
            and event.address.region.kind is RegionKind.CONTEXT
            and isinstance(event.result, Term)
            for event in path
        )
        if not read:
            return None
        return bytes_of(model, self.encoder.initial(CONTEXT), self.setting.program_type.context_size)

    def _contents(self, model: z3.ModelRef, path: list[Event]) -> Iterator[tuple[int, bytes, bytes]]:
        """What maps hold: under the keys that are looked up, and where global data is touched."""
        for event in path:
            match event:
                case Called(result=Pointer() as result, state=state) if self._is_on_map(event, "bpf_map_lookup_elem"):
                    handle = state.registers[1]
                    assert isinstance(handle, Pointer)
                    spec = self.program.maps[handle.region.index]
                    if result.base.symbol == NO_SYMBOL or spec.read_only or spec.key_size == 0:
                        continue
                    key = self.encoder.key_argument(event, spec.key_size)
                    yield from self._element(model, path, handle.region.index, number_of(model, key))
                case Called(result=Term()) if self._is_on_map(event, "bpf_map_update_elem"):
                    yield from self._others(model, event)
                case Loaded(address=address) | Stored(address=address):
                    region = address.region
                    if region.kind is not RegionKind.MAP_VALUE or region.inner or address.base.symbol != NO_SYMBOL:
                        continue
                    if not self.program.maps[region.index].read_only:
                        yield from self._element(model, path, region.index, 0)

    def _is_on_map(self, event: Called, helper: str) -> bool:
        """Whether the helper of this name is called for one of the program's own maps."""
        handle = event.state.registers[1]
        if not isinstance(handle, Pointer) or handle.region.kind is not RegionKind.MAP or handle.region.inner:
            return False
        return self.setting.platform.helper_name(event.helper) == helper

    def _others(self, model: z3.ModelRef, event: Called) -> Iterator[tuple[int, bytes, bytes]]:
        """A map has no room where an update fails: as many elements as it takes, under other keys."""
        handle, result = event.state.registers[1], event.result
        assert isinstance(handle, Pointer)
        assert isinstance(result, Term)
        spec = self.program.maps[handle.region.index]
        map_type = self.setting.platform.map_type(spec.type)
        failed = number_of(model, self.encoder.term(event, result)) != 0
        if failed and spec.key_size and map_type is not None and not map_type.index_key:
            mine = number_of(model, self.encoder.key_argument(event, spec.key_size))
            last = (1 << 8 * spec.key_size) - 1
            for key in islice((key for key in count() if key != mine), min(spec.max_entries, last, _MOST_ELEMENTS)):
                yield handle.region.index, key.to_bytes(spec.key_size, "little"), bytes(spec.value_size)

    def _element(
        self, model: z3.ModelRef, path: list[Event], index: int, key: int
    ) -> Iterator[tuple[int, bytes, bytes]]:
        spec, encoder = self.program.maps[index], self.encoder
        map_type = self.setting.platform.map_type(spec.type)
        if map_type is None:
            return
        at = encoder.const(key, 8 * spec.key_size)
        if map_type.lookup is LookupResult.VALUE and not map_type.index_key:
            present = number_of(model, z3.Select(encoder.initial(present_in(index)), at))
            if not present:
                return
        array = model.eval(encoder.initial(contents_of(index)), model_completion=True)
        value = bytearray(spec.initial or bytes(spec.value_size))
        places = range(spec.value_size) if spec.value_size <= LARGEST else self._places(model, path, index)
        for place in places:
            if place < len(value):
                value[place] = number_of(model, z3.Select(array, z3.Concat(at, encoder.const(place, 32))))
        yield index, key.to_bytes(spec.key_size, "little"), bytes(value)

    def _places(self, model: z3.ModelRef, path: list[Event], index: int) -> list[int]:
        """Where values of a map are read, whichever."""
        places: set[int] = set()
        for event in path:
            match event:
                case Loaded(address=Pointer() as address, size=size) if address.region.kind is RegionKind.MAP_VALUE:
                    if address.region.index == index and not address.region.inner:
                        start = number_of(model, self.encoder.term(event.before, address.offset))
                        places.update(range(start, start + size))
        return sorted(places)

    def _randoms(self, model: z3.ModelRef, path: list[Event]) -> Iterator[int]:
        for event in path:
            match event:
                case Called(result=Term() as result, helper=helper):
                    if self.setting.platform.helper_name(helper) == RANDOM:
                        yield number_of(model, self.encoder.term(event, result)) & 0xFFFFFFFF

    def _world(self, model: z3.ModelRef, path: list[Event]) -> dict[str, int]:
        """The clock, and the process that runs the program: as the first call that asks for each wants them."""
        world: dict[str, int] = {}
        for event in path:
            match event:
                case Called(result=Term() as result, helper=helper):
                    name = self.setting.platform.helper_name(helper)
                    for part, shift in _WORLD.get(name or "", ()):
                        value = number_of(model, self.encoder.term(event, result))
                        # The clock goes on before it is read.
                        wanted = value - Environment().tick if part == "now" else value >> shift & 0xFFFFFFFF
                        world.setdefault(part, wanted)
        return world

    # From a run to what the solver did not know -----------------------------------------------------------------------

    def _answers(self, model: z3.ModelRef, events: list[Event], inputs: Scenario) -> Iterator[Predicate]:
        """That helpers return what they returned in the run, for those calls of which the model says otherwise."""
        seen = self._returned(inputs)
        for event in self._on_path(model, events):
            if not isinstance(event, Called):
                continue
            results = seen.results.get(event.pc)
            if not results:
                continue
            actual = results.pop(0)
            if isinstance(event.result, Term):
                term = self.encoder.term(event, event.result)
                if number_of(model, term) != actual:
                    yield term == self.encoder.const(actual)
            elif isinstance(event.result, Pointer):
                base = self.encoder.term(event, event.result.base)
                if (number_of(model, base) == 0) != (actual == 0):
                    zero = self.encoder.const(0)
                    yield base == zero if actual == 0 else base != zero

    def _returned(self, inputs: Scenario) -> _Answers:
        answers = _Answers({})
        called: list[int] = []

        def observe(machine: Machine) -> None:
            if called:
                value = machine.registers[0]
                if value is not None:
                    answers.results.setdefault(called[-1], []).append(value)
                called.clear()
            if isinstance(machine.program.code[machine.pc], Call):
                called.append(machine.pc)

        play(self.program, inputs, (observe,))
        return answers
