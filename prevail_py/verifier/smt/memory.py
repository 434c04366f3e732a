"""An encoder for runs in which nobody else touches memory: those that a test, a replay or an equivalence is about.

What ``docs/safety.md`` promises holds whatever other CPUs do meanwhile, and :class:`Encoder` takes each load for a new
unknown.  :class:`OwnMemory` adds to the condition of each event what follows where the program has memory to itself:
a load gives what was stored there last, or else what was there at first.  The packet, the context and the contents of
maps at first are arrays of bytes (:meth:`OwnMemory.packet`, :meth:`~OwnMemory.context_bytes`,
:meth:`~OwnMemory.contents`), whose names depend on nothing, so that encoders that share a Z3 context share inputs.

Whatever it does not follow (bytes that helpers wrote, packets that were moved, values of inner maps) is unknown: a
model of the formula may be of no run, and has to be tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import z3

from prevail_py.domains.lattice import NO_SYMBOL, Symbol, Term
from prevail_py.platforms.model import FieldKind, LookupResult
from prevail_py.verifier.prototypes import prototype_of
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.smt.algebra import Predicate, Word
from prevail_py.verifier.smt.encoding import Encoder
from prevail_py.verifier.smt.history import Called, Event, Join, Loaded, Start, Stored
from prevail_py.verifier.state import State
from prevail_py.verifier.values import Pointer, RegionKind, Value

__all__ = ["CONTEXT", "LARGEST", "PACKET", "RANDOM", "OwnMemory", "Space", "contents_of", "present_in"]

Space: TypeAlias = tuple[str, int]
"""Memory that is one array: its name, and the index of the map where it is one."""

PACKET: Final[Space] = ("packet", 0)
CONTEXT: Final[Space] = ("context", 0)

LARGEST: Final = 256
"""Values of maps are copied byte by byte up to this size."""

RANDOM: Final = "bpf_get_prandom_u32"
"""The helper that gives a random number of 32 bits."""


def contents_of(index: int) -> Space:
    """The values of a map: by key and offset."""
    return ("contents", index)


def present_in(index: int) -> Space:
    """Which keys a map has: one bit each."""
    return ("present", index)


Memory: TypeAlias = dict[Space, z3.ArrayRef]
"""The arrays that are no longer what they were at first."""


class OwnMemory(Encoder):
    """See the module's text.  ``setting`` is that of the execution."""

    def __init__(self, setting: Setting, context: z3.Context | None = None, prefix: str = "") -> None:
        super().__init__(context, prefix)
        self.setting = setting
        self._memory: dict[int, Memory] = {}
        self._keys: dict[tuple[int, Symbol], Word] = {}
        self._looked_up_as: set[Symbol] = set()
        self._initial: dict[Space, z3.ArrayRef] = {}

    # What there was at first ----------------------------------------------------------------------------------------

    def initial(self, space: Space) -> z3.ArrayRef:
        """The array of a space at the entry of the program."""
        if space not in self._initial:
            kind, index = space
            bits = 64
            if kind != "packet" and kind != "context":
                bits = 8 * self.setting.program.maps[index].key_size + (32 if kind == "contents" else 0)
            width = 1 if kind == "present" else 8
            name = kind if kind in ("packet", "context") else f"{kind} {index}"
            sorts = z3.BitVecSort(bits, self.context), z3.BitVecSort(width, self.context)
            self._initial[space] = z3.Array(name, *sorts)
        return self._initial[space]

    def array(self, event: Event, space: Space) -> z3.ArrayRef:
        """The array of a space after an event."""
        self.reached(event)
        return self._memory[event.number].get(space, self.initial(space))

    def _unknown(self, space: Space) -> z3.ArrayRef:
        sort = self.initial(space).sort()
        return z3.Array(self._fresh(f"{space[0]} {space[1]}"), sort.domain(), sort.range())

    # Events -------------------------------------------------------------------------------------------------------

    def _encode(self, event: Event) -> Predicate:
        condition = super()._encode(event)
        match event:
            case Start():
                self._memory[event.number] = {} if event.state is None else self._all_unknown()
            case Join(left, right):
                self._memory[event.number] = self._joined(event, self._memory[left.number], self._memory[right.number])
                self._join_keys(event)
            case Loaded(before):
                self._memory[event.number] = self._memory[before.number]
                return z3.And(condition, *self._loaded(event))
            case Stored(before):
                self._memory[event.number] = self._stored(event)
            case Called(before):
                self._memory[event.number] = dict(self._memory[before.number])
                return z3.And(condition, *self._called(event))
            case _:
                self._memory[event.number] = self._memory[event.before.number]
        return condition

    def _all_unknown(self) -> Memory:
        """At the head of a loop anything may have been stored."""
        spaces = [PACKET, CONTEXT]
        for index in range(len(self.setting.program.maps)):
            spaces += (contents_of(index), present_in(index))
        return {space: self._unknown(space) for space in spaces if self._has(space)}

    def _has(self, space: Space) -> bool:
        return space[0] in ("packet", "context") or self.setting.program.maps[space[1]].key_size > 0

    def _joined(self, event: Join, left: Memory, right: Memory) -> Memory:
        if left is right:
            return left
        joined: Memory = {}
        for space in dict.fromkeys((*left, *right)):
            one, other = left.get(space, self.initial(space)), right.get(space, self.initial(space))
            joined[space] = one if one.eq(other) else z3.If(self.choices[event.number], one, other)
        return joined

    # Places -------------------------------------------------------------------------------------------------------

    def _place(self, event: Event, address: Pointer) -> tuple[Space, Word | None] | None:
        """The space that an address is in, and the key of its value; None where it is none of those followed."""
        match address.region.kind:
            case RegionKind.PACKET:
                return PACKET, None
            case RegionKind.CONTEXT:
                return CONTEXT, None
            case RegionKind.MAP_VALUE if not address.region.inner and self.setting.map_of(address.region).key_size > 0:
                return contents_of(address.region.index), self._key(event, address)
            case _:
                return None

    def _key(self, event: Event, address: Pointer) -> Word:
        """The key of the value that a pointer to a value of a map points into."""
        bits = 8 * self.setting.map_of(address.region).key_size
        if address.base.symbol == NO_SYMBOL:
            return self.const(0, bits)  # only arrays have values at fixed addresses, and that of key 0
        key = self._known_key(event, address.base.symbol)
        return key if key is not None and key.size() == bits else z3.BitVec(self._fresh("key"), bits, self.context)

    def _known_key(self, event: Event, symbol: Symbol) -> Word | None:
        """The key that was looked up where ``symbol`` is what came of it; joins and starts before have been encoded."""
        if symbol not in self._looked_up_as:
            return None
        while (event.number, symbol) not in self._keys:
            if isinstance(event, Start | Join):
                return None
            event = event.before
        return self._keys[event.number, symbol]

    def _join_keys(self, event: Join) -> None:
        for symbol, left, right in event.phis:
            one, other = self._known_key(event.left, left.symbol), self._known_key(event.right, right.symbol)
            if one is not None and other is not None and one.size() == other.size():
                self._looked_up_as.add(symbol)
                self._keys[event.number, symbol] = z3.If(self.choices[event.number], one, other)

    def _index(self, space: Space, key: Word | None, offset: Word, place: int) -> Word:
        where = offset + self.const(place)
        return where if key is None else z3.Concat(key, z3.Extract(31, 0, where))

    def _bytes(self, event: Event, address: Pointer, size: int) -> list[Word] | None:
        """The bytes at an address after an event, lowest first; None where they are not followed."""
        found = self._place(event, address)
        if found is None:
            return None
        space, key = found
        array, offset = self.array(event, space), self.term(event, address.offset)
        return [z3.Select(array, self._index(space, key, offset, place)) for place in range(size)]

    # Loads and stores -----------------------------------------------------------------------------------------------

    def _loaded(self, event: Loaded) -> Sequence[Predicate]:
        if not isinstance(event.result, Term) or not self._is_number(event):
            return ()
        found = self._bytes(event.before, event.address, event.size)
        if found is None:
            return ()
        parts = found if event.swapped else found[::-1]
        word = parts[0] if len(parts) == 1 else z3.Concat(*parts)
        extend = self.algebra.sign_extend if event.signed else self.algebra.zero_extend
        return (self.term(event.before, event.result) == extend(word, 8 * event.size, 64),)

    def _is_number(self, event: Loaded) -> bool:
        """Whether bytes were loaded, and not a pointer that the context stands for."""
        if event.address.region.kind is not RegionKind.CONTEXT:
            return True
        offset = event.address.offset
        kind = self.setting.program_type.context_read(offset.offset, event.size)
        return offset.symbol == NO_SYMBOL and kind is FieldKind.SCALAR

    def _stored(self, event: Stored) -> Memory:
        memory = self._memory[event.before.number]
        found = self._place(event.before, event.address)
        if found is None:
            return memory
        space, key = found
        if not isinstance(event.content, Term):
            return {**memory, space: self._unknown(space)}
        array, offset = self.array(event.before, space), self.term(event.before, event.address.offset)
        content = self.term(event.before, event.content)
        for place in range(event.size):
            byte = z3.Extract(8 * place + 7, 8 * place, content)
            array = z3.Store(array, self._index(space, key, offset, place), byte)
        return {**memory, space: array}

    # Helpers ------------------------------------------------------------------------------------------------------

    def _called(self, event: Called) -> Sequence[Predicate]:
        """What a call does to memory, in the dictionary of the event, and what follows of its result."""
        try:
            prototype = prototype_of(self.setting, event.helper)
        except Unsupported:
            prototype = None
        if prototype is None:
            return ()
        name, memory, before = prototype.name, self._memory[event.number], event.before
        if prototype.changes_packet:
            memory[PACKET] = self._unknown(PACKET)
        handle = event.state.registers[1]
        if isinstance(handle, Pointer) and handle.region.kind is RegionKind.MAP and not handle.region.inner:
            index = handle.region.index
            if name == "bpf_map_lookup_elem":
                return self._looked_up(event, index)
            if name in ("bpf_map_update_elem", "bpf_map_delete_elem"):
                self._changed(event, index, name == "bpf_map_update_elem")
                return ()
            if name == "bpf_map_lookup_and_delete_elem":
                memory[present_in(index)] = self._unknown(present_in(index))
                return ()
        if name == RANDOM and isinstance(event.result, Term):
            return (z3.ULE(self.term(before, event.result), self.const(0xFFFFFFFF)),)
        for register, arg in enumerate(prototype.args, 1):
            value = event.state.registers[register]
            found = self._place(before, value) if arg.writes and isinstance(value, Pointer) else None
            if found is not None:
                memory[found[0]] = self._unknown(found[0])
        return ()

    def _looked_up(self, event: Called, index: int) -> Sequence[Predicate]:
        result, spec = event.result, self.setting.program.maps[index]
        if not isinstance(result, Pointer) or result.base.symbol == NO_SYMBOL or spec.key_size == 0:
            return ()
        key = self.key_argument(event, spec.key_size)
        self._keys[event.number, result.base.symbol] = key
        self._looked_up_as.add(result.base.symbol)
        found = self.term(event.before, result.base) != self.const(0)
        map_type = self.setting.platform.map_type(spec.type)
        if map_type is None or map_type.lookup is not LookupResult.VALUE:
            return ()
        if map_type.index_key:
            return (found == z3.ULT(key, self.const(spec.max_entries, key.size())),)
        present = z3.Select(self.array(event.before, present_in(index)), key)
        return (found == (present == self.const(1, 1)),)

    def _changed(self, event: Called, index: int, stored: bool) -> None:
        """An update or a deletion that succeeds changes one element."""
        spec, memory, before = self.setting.program.maps[index], self._memory[event.number], event.before
        map_type = self.setting.platform.map_type(spec.type)
        result = event.result
        if spec.key_size == 0 or not isinstance(result, Term):
            return
        key = self.key_argument(event, spec.key_size)
        succeeded = self.term(before, result) == self.const(0)
        if map_type is None or not map_type.index_key:
            present = self.array(before, present_in(index))
            changed = z3.Store(present, key, self.const(int(stored), 1))
            memory[present_in(index)] = z3.If(succeeded, changed, present)
        if not stored:
            return
        if spec.value_size > LARGEST:
            memory[contents_of(index)] = self._unknown(contents_of(index))
            return
        value = self.bytes_at(before, event.state, event.state.registers[3], spec.value_size)
        new = old = self.array(before, contents_of(index))
        for place, byte in enumerate(value):
            new = z3.Store(new, z3.Concat(key, self.const(place, 32)), byte)
        memory[contents_of(index)] = z3.If(succeeded, new, old)

    def key_argument(self, event: Called, size: int) -> Word:
        """The key that R2 points to in a call, as one vector, its first byte the lowest."""
        found = self.bytes_at(event.before, event.state, event.state.registers[2], size)
        return found[0] if size == 1 else z3.Concat(*reversed(found))

    def bytes_at(self, event: Event, state: State, address: Value, size: int) -> list[Word]:
        """The bytes at an address in a state with this history, on the stack or elsewhere; what is not known is new."""
        found = None
        if isinstance(address, Pointer):
            if address.region.kind is RegionKind.STACK and address.offset.symbol == NO_SYMBOL:
                return [self._stack_byte(event, state, address, place) for place in range(size)]
            found = self._bytes(event, address, size)
        if found is not None:
            return found
        return [z3.BitVec(self._fresh("byte"), 8, self.context) for _ in range(size)]

    def _stack_byte(self, event: Event, state: State, address: Pointer, place: int) -> Word:
        at = address.offset.offset + place
        for start, (size, content) in state.frames[address.region.index].cells.items():
            if start <= at < start + size and isinstance(content, Term):
                low = 8 * (at - start)
                return z3.Extract(low + 7, low, self.term(event, content))
        return z3.BitVec(self._fresh("byte"), 8, self.context)
