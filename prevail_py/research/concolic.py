"""Inputs chosen by the solver, where random ones do not reach: concolic execution.

A run is traced with the conditions its path depends on (:mod:`prevail_py.research.shadow`).  To go the other way at one
of them, the conditions before it and its negation are handed to Z3, and the answer is an input: packet, context and
contents of maps.  Its run is traced in turn.  Branches are turned in the order of how near their other side is to a
block that no run entered yet, and each path is tried once.

What the query does not speak of stays as it was: only conditions that share inputs with the negated one, directly or
through others, are part of it, since all the others hold already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from typing import Final, TypeAlias

import z3

from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import ControlFlowGraph
from prevail_py.objects.program import Program
from prevail_py.research.packets import MTU_LENGTH
from prevail_py.research.paths import SIZE, Input, InputKind, Lookup, Trace
from prevail_py.research.shadow import trace
from prevail_py.vm.scenario import Scenario

__all__ = ["steer"]

_QUERY_BUDGET: Final = 200_000
"""What one query may cost, in Z3's own unit, so that answers do not depend on the machine: about 0.2 s."""

_BUDGET: Final = 1_000_000
"""What all queries that start from one scenario may cost together."""

_MAX_TURNS: Final = 150
"""How many queries may start from one scenario."""

Assignment: TypeAlias = Mapping[Input, int]
"""What the solver wants of some inputs; the others stay as they are."""


def steer(program: Program, scenario: Scenario, missing: frozenset[int]) -> Iterator[Scenario]:
    """Scenarios made from one, each meant to come nearer to the blocks that begin at the slots ``missing``.

    The search goes on from what it finds, until it knows no other way to try.  The same arguments give the same
    scenarios.
    """
    search = _Search(build(program), missing)
    search.add(trace(program, scenario, search.context))
    for _ in range(_MAX_TURNS):
        turn = search.next_turn()
        if turn is None or search.spent >= _BUDGET:
            return
        candidate = search.turned(*turn)
        if candidate is not None:
            yield candidate
            search.add(trace(program, candidate, search.context))


class _Search:
    """The turns that may be tried, the nearest to a missing block first.

    The cost of a turn is the number of edges from its other side to the nearest missing block, plus one for each time
    the same edge was tried on another path.  Costs only grow, so those in the queue are brought up to date when drawn.
    ``spent`` is what the queries cost so far.
    """

    def __init__(self, graph: ControlFlowGraph, missing: frozenset[int]) -> None:
        # A context of its own: what Z3 answers may depend on the terms made before.
        self.context = z3.Context()
        self.spent = 0
        self._graph = graph
        self._predecessors = _predecessors(graph)
        self._missing = missing
        self._distances = self._measure()
        self._queue: list[tuple[int, int, Trace, int]] = []
        self._pushed = 0
        self._paths: set[int] = set()
        self._tried: Counter[tuple[int, int]] = Counter()

    def add(self, traced: Trace) -> None:
        """Take up the turns of a run."""
        if not self._missing.isdisjoint(traced.visited):
            self._missing -= traced.visited
            self._distances = self._measure()
        for place, condition in enumerate(traced.conditions):
            if condition.other is not None and condition.turn not in self._paths:
                self._paths.add(condition.turn)
                self._push(traced, place)

    def next_turn(self) -> tuple[Trace, int] | None:
        """A run and the place of the condition to turn; None where nothing is left to try or to reach."""
        while self._queue:
            cost, _, traced, place = heappop(self._queue)
            condition = traced.conditions[place]
            if self._cost(traced, place) != cost:
                self._push(traced, place)
                continue
            assert condition.other is not None
            self._tried[condition.pc, condition.other] += 1
            return traced, place
        return None

    def turned(self, traced: Trace, place: int) -> Scenario | None:
        """An input that takes the same path to the condition at ``place`` and then the other way, if one is known."""
        condition = traced.conditions[place]
        inputs = set(condition.inputs)
        solver = z3.SolverFor("QF_BV", ctx=self.context)
        solver.set("rlimit", _QUERY_BUDGET)
        solver.set("random_seed", 0)
        solver.add(z3.Not(condition.holds))
        rest = traced.conditions[:place]
        while related := [before for before in rest if not inputs.isdisjoint(before.inputs)]:
            for before in related:
                inputs |= before.inputs
                solver.add(before.holds)
            rest = [before for before in rest if inputs.isdisjoint(before.inputs)]
        if SIZE in inputs:
            solver.add(z3.ULE(traced.symbol(SIZE), max(MTU_LENGTH, len(traced.packet))))
        answer = solver.check()
        self.spent = solver.statistics().get_key_value("rlimit count")  # of the context, so of all queries together
        if answer != z3.sat:
            return None
        return _scenario(traced, condition.lookups, _assignment(traced, solver.model(), inputs))

    def _push(self, traced: Trace, place: int) -> None:
        cost = self._cost(traced, place)
        if cost is not None:
            self._pushed += 1
            heappush(self._queue, (cost, self._pushed, traced, place))

    def _cost(self, traced: Trace, place: int) -> int | None:
        condition = traced.conditions[place]
        assert condition.other is not None
        distance = self._distances.get(self._graph.block_of(condition.other).start)
        return None if distance is None else distance + self._tried[condition.pc, condition.other]

    def _measure(self) -> dict[int, int]:
        """For each block from which a missing one can be reached, by first slot: how many edges away that is."""
        distances = dict.fromkeys(sorted(self._missing), 0)
        queue = list(distances)
        for start in queue:
            for before in self._predecessors.get(start, ()):
                if before not in distances:
                    distances[before] = distances[start] + 1
                    queue.append(before)
        return distances


def _predecessors(graph: ControlFlowGraph) -> dict[int, list[int]]:
    """From where each block, by first slot, can be entered: within its function, by a call, or by a return."""
    result: dict[int, list[int]] = {}
    for function in graph.functions:
        for block in function.blocks:
            for successor in block.successors:
                result.setdefault(function.blocks[successor].start, []).append(block.start)
        for pc, index in graph.calls[function.index] + graph.references[function.index]:
            callee, caller = graph.functions[index], function.block_of(pc)
            result.setdefault(callee.entry_pc, []).append(caller.start)
            exits = [block.start for block in callee.blocks if not block.edges]
            for successor in caller.successors:
                result.setdefault(function.blocks[successor].start, []).extend(exits)
    return result


# From a condition to a scenario -----------------------------------------------------------------------------------


def _assignment(traced: Trace, model: z3.ModelRef, inputs: set[Input]) -> Assignment:
    """What the model says of the inputs; nothing of those it leaves open."""
    values = {input: model.eval(traced.symbol(input)) for input in sorted(inputs)}
    return {
        input: int(z3.is_true(value)) if z3.is_bool(value) else value.as_long()
        for input, value in values.items()
        if z3.is_bv_value(value) or z3.is_true(value) or z3.is_false(value)
    }


def _scenario(traced: Trace, lookups: int, assignment: Assignment) -> Scenario:
    old = traced.scenario
    packet = old.packet
    if packet is not None:
        size = assignment.get(SIZE, len(packet))
        packet = _patched(packet[:size].ljust(size, b"\0"), InputKind.PACKET, assignment)
    context = _patched(traced.context, InputKind.CONTEXT, assignment)
    return Scenario(
        packet,
        _contents(traced, traced.lookups[:lookups], assignment),
        old.seed,
        old.context if context == traced.context else context,
        socket=old.socket,
    )


def _patched(content: bytes, kind: InputKind, assignment: Assignment, map: int = 0, key: bytes = b"") -> bytes:
    result = bytearray(content)
    for input, value in assignment.items():
        if input.kind is kind and input.map == map and input.key == key and input.offset < len(result):
            result[input.offset] = value
    return bytes(result)


def _contents(traced: Trace, lookups: list[Lookup], assignment: Assignment) -> tuple[tuple[int, bytes, bytes], ...]:
    """The contents of the maps, so that each look-up finds what the assignment says under the key it says."""
    contents = {(map, key): value for map, key, value in traced.scenario.contents}
    wanted: dict[tuple[int, bytes], bytes] = {}
    for lookup in lookups:
        key = bytes(
            byte if term is None else traced.evaluate(term.expression, term.inputs, assignment)
            for byte, term in zip(lookup.key, lookup.terms, strict=True)
        )
        found = lookup.found if lookup.present is None else assignment.get(lookup.present, lookup.found)
        old = traced.values.get((lookup.map, lookup.key), bytes(traced.sizes[lookup.map]))
        value = _patched(old, InputKind.VALUE, assignment, lookup.map, lookup.key)
        if not found:
            contents.pop((lookup.map, key), None)
        elif (key, value) != (lookup.key, old) or not lookup.found:
            wanted[lookup.map, key] = value
    # What is wanted comes first: a map may have no room for all.
    return tuple((map, key, value) for (map, key), value in {**wanted, **contents, **wanted}.items())
