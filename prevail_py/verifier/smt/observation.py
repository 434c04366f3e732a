"""What a run of a loop-free program does that others can see, as terms over its input.

Others see the result, the packet, the context, the values of maps, and the calls of helpers in their order, each with
its arguments.  :func:`observe` takes a symbolic execution (:mod:`~prevail_py.verifier.smt.executor`) and gives that for
each state in which the main program ends.

Memory outside of the stack is an array of bytes: the packet by offset from its start, the context by offset, the values
of all maps together by address.  Nothing is said about the addresses, so that values may overlap for all that is known:
more runs are considered than there are.  What a helper returns is an unknown of its own for the n-th call of a run, and
so are the values of maps after a helper that may change them.

It is supposed that nobody else changes packet, context and maps while the program runs: then what is loaded is what was
there or was stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from typing import Any, Final, TypeAlias

import z3

from prevail_py.domains.lattice import Term
from prevail_py.isa.instructions import AtomicOp, LoadPacket
from prevail_py.isa.semantics import atomic_op
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype, LookupResult, ReturnKind
from prevail_py.verifier.prototypes import TAIL_CALL, map_argument, on_map, prototype_of
from prevail_py.verifier.regions import load, offset_by
from prevail_py.verifier.setting import Unsupported
from prevail_py.verifier.smt.algebra import Predicate, Word
from prevail_py.verifier.smt.encoding import Encoder
from prevail_py.verifier.smt.executor import Execution, Moment
from prevail_py.verifier.smt.history import Called, Event, Join, Loaded, Start, Stored, ancestors, history_of
from prevail_py.verifier.values import NEVER_NULL, ZERO, Pointer, RegionKind, Value
from prevail_py.words import evaluate

__all__ = ["Entry", "Inputs", "Observation", "Observer", "World"]

Bytes: TypeAlias = Any
"""A Z3 array from 64-bit places to bytes."""

_MOST_CONTENT: Final = 256
"""Bytes of memory given to a helper that are compared, at most."""

_LEAVE_MAPS: Final = frozenset({
    "bpf_map_lookup_elem", "bpf_redirect_map", "bpf_perf_event_output", "bpf_ringbuf_output", "bpf_skb_under_cgroup",
    "bpf_current_task_under_cgroup",
})  # fmt: skip
"""Helpers that are given a map and leave the values in it alone."""

_INDEXED: Final = frozenset({"array", "percpu_array"})


class Inputs:
    """What two programs start from: the same packet, context and maps.

    ``names`` numbers maps by name; ``alike`` says which names stand for one and the same map.
    """

    def __init__(self, encoder: Encoder, alike: frozenset[str]) -> None:
        context = encoder.context
        place, byte = z3.BitVecSort(64, context), z3.BitVecSort(8, context)
        self.encoder = encoder
        self.alike = alike
        self.packet: Bytes = z3.Array("packet", place, byte)
        self.context: Bytes = z3.Array("context", place, byte)
        self.values: Bytes = z3.Array("values", place, byte)
        self.size: Word = z3.BitVec("size", 64, context)
        self.metadata: Word = z3.BitVec("metadata", 64, context)
        self.names: dict[str, int] = {}

    def array(self, name: str) -> Bytes:
        """An array of unknown bytes."""
        context = self.encoder.context
        return z3.Array(name, z3.BitVecSort(64, context), z3.BitVecSort(8, context))

    def map_name(self, side: str, spec: MapSpec) -> str:
        """What a map of one program is called where both are looked at."""
        return spec.name if spec.name in self.alike else f"{spec.name} of {side}"

    def number(self, name: str) -> int:
        """A number for a map: different ones for different maps."""
        return self.names.setdefault(name, len(self.names) + 1)

    def base(self, name: str) -> Word:
        """Where the first value of an array is."""
        return z3.BitVec(f"values of {name}", 64, self.encoder.context)


@dataclass(frozen=True, slots=True)
class Entry:
    """The n-th call of a helper: whether there is one, and with what.

    ``words`` are the helper's number, its arguments and the memory that it is given; missing ones are 0.  ``values``,
    ``packet`` and ``context`` are set where the helper may look at them.  ``result`` is R0 after it, and ``after`` the
    values of maps where ``changes`` says that it may have changed them.
    """

    present: Predicate
    words: tuple[Word, ...]
    values: Bytes | None
    packet: Bytes | None
    context: Bytes | None
    result: Word
    changes: Predicate
    after: Bytes


@dataclass(frozen=True, slots=True)
class World:
    """Memory and the calls so far, at some place of a run."""

    packet: Bytes
    context: Bytes
    values: Bytes
    calls: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """One state in which the program ends: the condition under which it does, its result (64 bits), and the rest."""

    reached: Predicate
    result: Word
    world: World
    links: tuple[Predicate, ...]


@dataclass(slots=True)
class Observer:
    """Follows one program; ``facts`` holds of every run of it, ``lookups`` are the calls that look something up."""

    inputs: Inputs
    execution: Execution
    side: str
    facts: list[Predicate] = field(default_factory=list)
    _worlds: dict[int, World] = field(default_factory=dict)

    def observe(self) -> list[Observation]:
        """All there is to see.  Raises Unsupported for what has no model here."""
        _refuse(self.execution.setting.program)
        return [self._end(moment) for moment in self.execution.ends]

    def _end(self, moment: Moment) -> Observation:
        state, encoder = moment.state, self.inputs.encoder
        event = history_of(state)
        result = state.registers[0]
        if not isinstance(result, Term):
            raise Unsupported("a result that is no number", moment.pc)
        links = [
            encoder.term(event, term) == word
            for term, word in ((state.packet_size, self.inputs.size), (state.packet_meta, self.inputs.metadata))
        ]
        return Observation(encoder.reached(event), encoder.term(event, result), self._world(event), tuple(links))

    # Memory -------------------------------------------------------------------------------------------------------

    def _world(self, event: Event) -> World:
        for each in ancestors([event]):
            if each.number not in self._worlds:
                self._worlds[each.number] = self._after(each)
        return self._worlds[event.number]

    def _after(self, event: Event) -> World:
        match event:
            case Start():
                return World(self.inputs.packet, self.inputs.context, self.inputs.values)
            case Join(left, right):
                self.inputs.encoder.reached(event)
                choice = self.inputs.encoder.choices[event.number]
                return _either(choice, self._worlds[left.number], self._worlds[right.number], self.inputs.encoder)
            case Loaded():
                world = self._worlds[event.before.number]
                self._loaded(event, world)
                return world
            case Stored():
                return self._stored(event, self._worlds[event.before.number])
            case Called():
                return self._called(event, self._worlds[event.before.number])
            case _:
                return self._worlds[event.before.number]

    def _place(self, event: Event, pointer: Pointer) -> tuple[str, Word]:
        """Which memory a pointer is to, and where there."""
        encoder, region = self.inputs.encoder, pointer.region
        offset = encoder.term(event, pointer.offset)
        match region.kind:
            case RegionKind.PACKET:
                return "packet", offset
            case RegionKind.CONTEXT:
                return "context", offset
            case RegionKind.MAP_VALUE:
                if pointer.base == NEVER_NULL:
                    spec = self.execution.setting.map_of(region)
                    return "values", self.inputs.base(self.inputs.map_name(self.side, spec)) + offset
                return "values", encoder.term(event, pointer.base) + offset
            case _:
                raise Unsupported(f"memory of kind {region}")

    def _read(self, event: Event, world: World, pointer: Pointer, size: int) -> Word:
        """``size`` bytes as a vector of so many bits."""
        memory, place = self._place(event, pointer)
        found = [z3.Select(getattr(world, memory), place + k) for k in reversed(range(size))]
        return found[0] if size == 1 else z3.Concat(*found)

    def _holds(self, event: Event, condition: Predicate) -> None:
        """A fact about the runs that come to an event."""
        self.facts.append(z3.Implies(self.inputs.encoder.reached(event), condition))

    def _is(self, event: Event, term: Term, word: Word) -> None:
        """What a term is that an event brings."""
        found = self.inputs.encoder.term(event, term)
        if z3.is_const(found) and found.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            # An unknown of its own: on other ways it may be anything, so it may be this.  The solver puts one in the
            # place of the other, which it could not where that depends on a condition.
            self.facts.append(found == word)
        else:
            self._holds(event, found == word)

    def _loaded(self, event: Loaded, world: World) -> None:
        if not isinstance(event.result, Term):
            return  # a pointer of the context
        raw = self._read(event.before, world, event.address, event.size)
        extend = z3.SignExt if event.signed else z3.ZeroExt
        word = raw if event.size == 8 else extend(64 - 8 * event.size, raw)
        self._is(event, event.result, word)

    def _stored(self, event: Stored, world: World) -> World:
        memory, place = self._place(event.before, event.address)
        if event.update is not None:
            content = self._updated(event, world)
        elif isinstance(event.content, Term):
            content = self._low(event.before, event.content, event.size)
        else:
            raise Unsupported("a pointer that is stored outside of the stack", event.pc)
        array = getattr(world, memory)
        for k in range(event.size):
            array = z3.Store(array, place + k, z3.Extract(8 * k + 7, 8 * k, content))
        packet, context, values = (
            array if name == memory else getattr(world, name) for name in ("packet", "context", "values")
        )
        return World(packet, context, values, world.calls)

    def _low(self, event: Event, value: Value, size: int) -> Word:
        if not isinstance(value, Term):
            raise Unsupported("a pointer that is stored outside of the stack")
        word = self.inputs.encoder.term(event, value)
        return word if size == 8 else z3.Extract(8 * size - 1, 0, word)

    def _updated(self, event: Stored, world: World) -> Word:
        """What an atomic operation leaves behind (RFC 9669 section 5.3)."""
        assert event.update is not None
        op, operand, expected, fetched = event.update
        old = self._read(event.before, world, event.address, event.size)
        more = 64 - 8 * event.size
        whole = z3.ZeroExt(more, old) if more else old
        if fetched is not None and isinstance(fetched, Term):
            self._is(event, fetched, whole)
        given = self._low(event.before, operand, event.size)
        computed = atomic_op(op, event.size)
        if computed is not None:
            arguments = (whole, z3.ZeroExt(more, given) if more else given)
            return z3.Extract(8 * event.size - 1, 0, evaluate(self.inputs.encoder.algebra, computed, arguments))
        if op is AtomicOp.CMPXCHG:
            return z3.If(old == self._low(event.before, expected, event.size), given, old)
        return given

    # Calls --------------------------------------------------------------------------------------------------------

    def _called(self, event: Called, world: World) -> World:
        setting, encoder = self.execution.setting, self.inputs.encoder
        prototype = prototype_of(setting, event.helper)
        if prototype is None or event.helper == TAIL_CALL or prototype.changes_packet or prototype.acquires:
            raise Unsupported(f"helper {event.helper if prototype is None else prototype.name}", event.pc)
        if prototype.returns not in (ReturnKind.INTEGER, ReturnKind.VOID, ReturnKind.MAP_VALUE_OR_NULL):
            raise Unsupported(f"the result of helper {prototype.name}", event.pc)
        handle = map_argument(prototype, event.state)
        spec = None if handle is None else setting.map_of(handle.region)
        words = [encoder.const(event.helper), *self._arguments(event, world, prototype, handle)]
        sees_packet = any(arg.kind in (ArgKind.CTX, ArgKind.CTX_OR_NULL) for arg in prototype.args)
        changes = spec is not None and prototype.name not in _LEAVE_MAPS
        here = _next(world.calls, encoder)
        result = self._at(here, lambda k: z3.BitVec(f"{self.side}: result {k}", 64, encoder.context))
        after = world.values
        if changes:
            after = self._at(here, lambda k: self.inputs.array(f"{self.side}: values after {k}"))
        self._result(event, prototype, spec, result, words)
        entry = Entry(
            encoder.true(),
            tuple(words),
            world.values if changes else None,
            world.packet if sees_packet else None,
            world.context if sees_packet else None,
            result,
            encoder.true() if changes else encoder.false(),
            after,
        )
        # The last number is taken on those paths only on which all the others are.
        calls = tuple(
            replace(entry, present=condition) if old is None else _either_entry(condition, entry, old, encoder)
            for condition, old in zip_longest(here, world.calls)
        )
        return World(world.packet, world.context, after, calls)

    def _at(self, here: Sequence[Predicate], make: Callable[[int], Any]) -> Any:
        """What ``make`` gives for the number of the call, which may differ from path to path."""
        *others, last = (make(k) for k in range(len(here)))
        for condition, each in zip(reversed(here[:-1]), reversed(others), strict=True):
            last = _if(condition, each, last)
        return last

    def _result(
        self, event: Called, prototype: HelperPrototype, spec: MapSpec | None, result: Word, words: Sequence[Word]
    ) -> None:
        encoder, found = self.inputs.encoder, event.result
        if prototype.returns is ReturnKind.VOID:
            return
        base = found.base if isinstance(found, Pointer) else found
        if not isinstance(base, Term) or (isinstance(found, Pointer) and found.region.kind is RegionKind.MAP):
            raise Unsupported(f"the result of helper {prototype.name}", event.pc)
        self._is(event, base, result)
        map_type = None if spec is None else self.execution.setting.platform.map_type(spec.type)
        if prototype.name != "bpf_map_lookup_elem" or spec is None or map_type is None:
            return
        if map_type.lookup is not LookupResult.VALUE:
            raise Unsupported(f"look-ups in a map of type {map_type.name}", event.pc)
        if map_type.name in _INDEXED and spec.key_size == 4:
            # An array has the elements that its definition says, and no others.
            self._holds(event, (result != encoder.const(0)) == z3.ULT(words[-1], encoder.const(spec.max_entries)))

    def _arguments(
        self, event: Called, world: World, prototype: HelperPrototype, handle: Pointer | None
    ) -> Iterator[Word]:
        setting, encoder, state = self.execution.setting, self.inputs.encoder, event.state
        before = history_of(state)
        for index, declared in enumerate(prototype.args):
            arg, value = on_map(setting, handle, declared), state.registers[index + 1]
            if arg.writes:
                raise Unsupported(f"helper {prototype.name}, which writes to memory", event.pc)
            if isinstance(value, Term) and (not arg.nullable or value == ZERO):
                yield encoder.term(before, value)
            elif not isinstance(value, Pointer):
                raise Unsupported(f"argument {index + 1} of helper {prototype.name}", event.pc)
            elif arg.kind in (ArgKind.CTX, ArgKind.CTX_OR_NULL):
                yield encoder.const(1)
            elif arg.kind is ArgKind.MAP:
                name = self.inputs.map_name(self.side, setting.program.maps[value.region.index])
                yield encoder.const(self.inputs.number(name))
                yield encoder.term(before, value.base)
            elif state.facts.range(value.base).lo == 0:
                raise Unsupported(f"argument {index + 1} of helper {prototype.name}, which may be null", event.pc)
            else:
                size = self._extent(event, prototype, index, arg, handle)
                yield encoder.const(size)
                yield from self._content(event, world, value, size)

    def _extent(
        self, event: Called, prototype: HelperPrototype, index: int, arg: HelperArg, handle: Pointer | None
    ) -> int:
        """How many bytes a helper reads."""
        setting, state = self.execution.setting, event.state
        match arg.kind:
            case ArgKind.MAP_KEY if handle is not None:
                return setting.map_of(handle.region).key_size
            case ArgKind.MAP_VALUE | ArgKind.MAP_VALUE_OR_NULL if handle is not None:
                return setting.map_of(handle.region).value_size
            case ArgKind.FIXED_MEM if arg.size is not None:
                return arg.size
            case ArgKind.MEM_READ | ArgKind.MEM_READ_OR_NULL:
                size = state.registers[index + 2]
                known = state.facts.range(size) if isinstance(size, Term) else None
                if known is not None and known.lo == known.hi <= _MOST_CONTENT:
                    return known.lo
        raise Unsupported(f"argument {index + 1} of helper {prototype.name}", event.pc)

    def _content(self, event: Called, world: World, pointer: Pointer, size: int) -> Iterator[Word]:
        """The bytes at a pointer, eight at a time."""
        if size > _MOST_CONTENT:
            raise Unsupported(f"{size} bytes given to a helper", event.pc)
        before = history_of(event.state)
        for start in range(0, size, 8):
            count = min(8, size - start)
            if pointer.region.kind is RegionKind.STACK:
                yield self._of_stack(event, offset_by(pointer, start), count)
            else:
                raw = self._read(before, world, offset_by(pointer, start), count)
                yield raw if count == 8 else z3.ZeroExt(64 - 8 * count, raw)

    def _of_stack(self, event: Called, pointer: Pointer, count: int) -> Word:
        setting, state = self.execution.setting, event.state.copy()
        parts: list[Word] = []
        done = 0
        while done < count:
            size = 1 << (count - done).bit_length() - 1
            value = load(setting, state, offset_by(pointer, done), size)
            if not isinstance(value, Term):
                raise Unsupported("a pointer that is given to a helper in memory", event.pc)
            word = self.inputs.encoder.term(history_of(state), value)
            parts.append(word if size == 8 else z3.Extract(8 * size - 1, 0, word))
            done += size
        whole = parts[0] if len(parts) == 1 else z3.Concat(*reversed(parts))
        return whole if count == 8 else z3.ZeroExt(64 - 8 * count, whole)


def _refuse(program: Program) -> None:
    for pc, instruction in enumerate(program.code):
        if isinstance(instruction, LoadPacket):
            raise Unsupported("legacy packet loads", pc)


def _next(calls: Sequence[Entry], encoder: Encoder) -> list[Predicate]:
    """For each number whether the next call has it: those of earlier calls are taken without a gap."""
    taken = [encoder.true(), *[entry.present for entry in calls], encoder.false()]
    return [z3.simplify(z3.And(before, z3.Not(now))) for before, now in pairwise(taken)]


def _if(condition: Predicate, one: Any, other: Any) -> Any:
    return one if one.eq(other) else z3.If(condition, one, other)


def _either(choice: Predicate, left: World, right: World, encoder: Encoder) -> World:
    calls = tuple(
        _either_entry(choice, one or _absent(other, encoder), other or _absent(one, encoder), encoder)
        for one, other in zip_longest(left.calls, right.calls)
    )
    return World(
        _if(choice, left.packet, right.packet),
        _if(choice, left.context, right.context),
        _if(choice, left.values, right.values),
        calls,
    )


def _absent(other: Entry | None, encoder: Encoder) -> Entry:
    """No call, beside one: what is not there does not matter."""
    assert other is not None
    return replace(other, present=encoder.false())


def _either_entry(choice: Predicate, one: Entry, other: Entry, encoder: Encoder) -> Entry:
    if one is other:
        return one
    zero = encoder.const(0)
    present = z3.simplify(_if(choice, one.present, other.present))
    words = tuple(_if(choice, a, b) for a, b in zip_longest(one.words, other.words, fillvalue=zero))
    return Entry(
        present,
        words,
        _looked_at(choice, one.values, other.values),
        _looked_at(choice, one.packet, other.packet),
        _looked_at(choice, one.context, other.context),
        _if(choice, one.result, other.result),
        z3.simplify(_if(choice, one.changes, other.changes)),
        _if(choice, one.after, other.after),
    )


def _looked_at(choice: Predicate, one: Bytes | None, other: Bytes | None) -> Bytes | None:
    """What one of two calls looks at; where only one does, it counts for both, and more must be equal than need be."""
    if one is None or other is None:
        return one if other is None else other
    return _if(choice, one, other)
