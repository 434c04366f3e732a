"""When an assertion fails, as a formula: what the solver is asked about in the place of ranges.

:func:`violated` gives a condition that holds in every run in which the assertion fails in a state.  It mirrors
``check.py`` and ``contracts.py`` for what depends on numbers: bounds, null pointers, sizes, the range of a result,
references.  For everything else that ``check.py`` does not prove (wrong kinds of values, what is not allowed at all) it
is simply true: then only a state that no run reaches violates nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

import z3

from prevail_py.domains.lattice import Term
from prevail_py.isa.instructions import Register
from prevail_py.platforms.model import ArgKind, ContextAccess, HelperArg, HelperPrototype
from prevail_py.verifier.assertions import (
    Access,
    Arithmetic,
    Assertion,
    CallDepth,
    FramePointer,
    HelperContract,
    Initialised,
    LegacyLoad,
    Mode,
    NoLeak,
    Result,
    UserAssertion,
)
from prevail_py.verifier.contracts import contract_violations
from prevail_py.verifier.prototypes import MAX_SIZE, SOCKETS, TAIL_CALL, map_argument, on_map, prototype_of
from prevail_py.verifier.regions import offset_by
from prevail_py.verifier.setting import MAX_PACKET_SIZE, Setting
from prevail_py.verifier.smt.algebra import Predicate, Word
from prevail_py.verifier.smt.encoding import Encoder
from prevail_py.verifier.smt.history import history_of
from prevail_py.verifier.state import State
from prevail_py.verifier.values import KEY, STACK_SIZE, ZERO, Pointer, RegionKind, Special, Value
from prevail_py.words import Comparison

__all__ = ["violated"]


def violated(setting: Setting, state: State, assertion: Assertion, encoder: Encoder) -> Predicate:
    """A condition that holds, given that a run is in ``state``, at least where it violates ``assertion``.

    The assertion has to be one that the domains leave open in the state
    (:attr:`~prevail_py.verifier.smt.executor.Moment.open`): for others the condition may be true where nothing fails.
    """
    return _Conditions(setting, state, encoder).of(assertion)


class _Conditions:
    def __init__(self, setting: Setting, state: State, encoder: Encoder) -> None:
        self.setting = setting
        self.state = state
        self.encoder = encoder
        self.event = history_of(state)

    def of(self, assertion: Assertion) -> Predicate:
        match assertion:
            case Access(base, offset, size, mode, signed):
                value = self.state.registers[base]
                if not isinstance(value, Pointer) or (signed and value.region.kind is RegionKind.CONTEXT):
                    return self.encoder.true()
                return self._memory(offset_by(value, offset), self.encoder.const(size), size, mode)
            case HelperContract(helper):
                return self._call(helper)
            case Result():
                return self._result()
            case Initialised() | FramePointer() | NoLeak() | Arithmetic() | CallDepth() | LegacyLoad():
                return self.encoder.true()
            case UserAssertion():
                return self.encoder.true()
            case _:
                assert_never(assertion)

    def _term(self, term: Term) -> Word:
        return self.encoder.term(self.event, term)

    def _is_null(self, pointer: Pointer) -> Predicate:
        return self._term(pointer.base) == self.encoder.const(0)

    # Memory -------------------------------------------------------------------------------------------------------

    def _memory(self, pointer: Pointer, size: Word, most: int, mode: Mode) -> Predicate:
        """``size`` bytes, at most ``most`` of them, at ``pointer`` may not be touched as ``mode`` says."""
        return z3.Or(self._is_null(pointer), self._outside(pointer, size, most, mode))

    def _outside(self, pointer: Pointer, size: Word, most: int, mode: Mode) -> Predicate:
        true = self.encoder.true()
        setting, region = self.setting, pointer.region
        offset = self._term(pointer.offset)
        match region.kind:
            case RegionKind.STACK:
                beyond = self._beyond(offset, size, STACK_SIZE)
                if mode is Mode.WRITE or setting.policy.uninitialised_stack:
                    return beyond
                return z3.Or(beyond, self._unwritten(region.index, offset, size))
            case RegionKind.PACKET:
                if mode is not Mode.READ and not setting.program_type.read_write_packet:
                    return true
                return self._outside_packet(offset, size)
            case RegionKind.MAP_VALUE:
                if mode is not Mode.READ and not setting.may_write(region):
                    return true
                if mode is not Mode.WRITE and not setting.may_read(region):
                    return true
                return self._beyond(offset, size, setting.map_of(region).value_size)
            case RegionKind.MEMORY:
                if mode is not Mode.READ and region.name == KEY:
                    return true
                return self._beyond(offset, size, region.size)
            case RegionKind.CONTEXT:
                if not setting.program_type.context_known or mode is Mode.ATOMIC:
                    return true
                kind = setting.program_type
                return self._no_field(pointer, most, kind.reads if mode is Mode.READ else kind.writes)
            case RegionKind.OBJECT:
                item = setting.platform.objects.get(region.name)
                if item is None:
                    return true
                if item.size is not None:
                    return self._beyond(offset, size, item.size)
                return self._no_field(pointer, most, item.reads) if mode is Mode.READ else true
            case RegionKind.MAP | RegionKind.FUNCTION:
                return true

    def _beyond(self, offset: Word, size: Word, limit: int) -> Predicate:
        """Not ``0 <= offset`` and ``offset + size <= limit``, between integers."""
        bound = self.encoder.const(limit)
        # The difference does not wrap where the first comparison fails.
        return z3.Or(z3.UGT(offset, bound), z3.UGT(size, bound - offset))

    def _outside_packet(self, offset: Word, size: Word) -> Predicate:
        """The packet starts at its metadata, which lies before offset 0, and ends after ``packet_size`` bytes."""
        start, end = self._term(self.state.packet_meta), self._term(self.state.packet_size)
        zero = self.encoder.const(0)
        before = z3.And(offset < zero, offset < start)
        # No difference wraps: a size is no more than 2**31, like the packet's, and never negative.
        behind = offset > end - size
        odd = z3.Or(z3.UGT(end, self.encoder.const(MAX_PACKET_SIZE)), z3.UGT(size, self.encoder.const(MAX_PACKET_SIZE)))
        return z3.Or(before, behind, odd)

    def _unwritten(self, frame: int, offset: Word, size: Word) -> Predicate:
        """A byte that is touched may not have been written; for accesses within the frame."""
        written = self.state.frames[frame].initialised
        holes = []
        for first, end in _runs(~written & ((1 << STACK_SIZE) - 1)):
            before, behind = z3.ULT(offset, self.encoder.const(end)), z3.UGT(offset + size, self.encoder.const(first))
            holes.append(z3.And(before, behind, size != self.encoder.const(0)))
        return self.encoder.any(holes)

    def _no_field(self, pointer: Pointer, size: int, rows: Iterable[ContextAccess]) -> Predicate:
        """Fields are found by constant offsets only: engines rewrite each such access to what the field is."""
        known = self.state.facts.range(pointer.offset)
        found = known.lo == known.hi and any(row.covers(known.lo, size) for row in rows)
        return self.encoder.false() if found else self.encoder.true()

    # Results ------------------------------------------------------------------------------------------------------

    def _held(self) -> Predicate:
        """A reference is held: one that is not null."""
        return self.encoder.any(self._term(base) != self.encoder.const(0) for base in self.state.references)

    def _result(self) -> Predicate:
        value = self.state.registers[0]
        if len(self.state.frames) > 1:
            one = self.encoder.const(1)
            return z3.UGT(self._term(value), one) if isinstance(value, Term) else self.encoder.true()
        if not isinstance(value, Term):
            return self.encoder.true()
        bounds = self.setting.program_type.return_range
        if bounds is None:
            return self._held()
        lo, hi = (self.encoder.const(bound) for bound in bounds)
        result = self._term(value)
        return z3.Or(result < lo, result > hi, self._held())

    # Calls --------------------------------------------------------------------------------------------------------

    def _call(self, helper: int) -> Predicate:
        setting, state = self.setting, self.state
        prototype = prototype_of(setting, helper)
        if prototype is None:
            return self.encoder.true()
        blamed = {problem.register for problem in contract_violations(setting, state, helper)}
        conditions = list(self._arguments(prototype, blamed))
        if Register.R0 in blamed:
            # Too deep, or a tail call with references.
            conditions.append(self._held() if helper == TAIL_CALL else self.encoder.true())
        return self.encoder.any(conditions)

    def _arguments(self, prototype: HelperPrototype, blamed: set[Register]) -> Iterator[Predicate]:
        """A condition for each argument that may not fit.

        Memory is looked at, too, where its size may not fit: then ``check.py`` has left it alone.
        """
        handle = map_argument(prototype, self.state)
        for index, declared in enumerate(prototype.args):
            arg, register = on_map(self.setting, handle, declared), Register(index + 1)
            value = self.state.registers[register]
            if value is Special.UNINITIALISED:
                yield self.encoder.true()
            elif arg.is_sized_memory and {register, Register(register + 1)} & blamed:
                yield self._sized(prototype, arg, value, self.state.registers[index + 2])
            elif register in blamed:
                yield self._argument(prototype, arg, register, handle)

    def _sized(self, prototype: HelperPrototype, arg: HelperArg, value: Value, size: Value) -> Predicate:
        if not isinstance(size, Term):
            return self.encoder.true()
        count = self._term(size)
        if arg.nullable and value == ZERO:
            return count != self.encoder.const(0)
        # That the size is none too large is asked of the size itself.
        fits = z3.ULE(count, self.encoder.const(MAX_SIZE))
        return z3.And(fits, self._plain(prototype, arg, value, count, MAX_SIZE))

    def _plain(self, prototype: HelperPrototype, arg: HelperArg, value: Value, size: Word, most: int) -> Predicate:
        """Memory of ``size`` bytes that the helper reads or writes."""
        if not isinstance(value, Pointer) or value.region.kind in (RegionKind.CONTEXT, RegionKind.OBJECT):
            return self.encoder.true()
        if value.region.kind is RegionKind.PACKET and not prototype.packet_access:
            return self.encoder.true()
        modes = [mode for mode, wanted in ((Mode.READ, arg.reads), (Mode.WRITE, arg.writes)) if wanted]
        return self.encoder.any(self._memory(value, size, most, mode) for mode in modes)

    def _argument(
        self, prototype: HelperPrototype, arg: HelperArg, register: Register, handle: Pointer | None
    ) -> Predicate:
        encoder, value = self.encoder, self.state.registers[register]
        match arg.kind:
            case ArgKind.SIZE | ArgKind.SIZE_OR_ZERO if isinstance(value, Term):
                size = self._term(value)
                large = z3.UGT(size, encoder.const(MAX_SIZE))
                return large if arg.kind is ArgKind.SIZE_OR_ZERO else z3.Or(large, size == encoder.const(0))
            case ArgKind.CTX | ArgKind.CTX_OR_NULL | ArgKind.MAP:
                return self._handle(register, prototype.id)
            case ArgKind.RINGBUF_MEM:
                if isinstance(value, Pointer) and value.region.kind is RegionKind.MEMORY:
                    return self._reference(value)
                return encoder.true()
            case ArgKind.SOCK_COMMON | ArgKind.BTF_SOCK_COMMON | ArgKind.SOCK_OR_NULL | ArgKind.BTF_SOCK_COMMON_OR_NULL:
                return self._socket(arg, value)
            case ArgKind.MAP_KEY | ArgKind.MAP_VALUE | ArgKind.MAP_VALUE_UNINIT | ArgKind.MAP_VALUE_OR_NULL:
                if handle is None:
                    return encoder.true()
                spec = self.setting.map_of(handle.region)
                if self.setting.map_type_of(handle.region).name in ("sockmap", "sockhash"):
                    return encoder.true()
                count = spec.key_size if arg.kind is ArgKind.MAP_KEY else spec.value_size
                return self._plain(prototype, arg, value, encoder.const(count), count)
            case ArgKind.FIXED_MEM if arg.size is not None:
                return self._plain(prototype, arg, value, encoder.const(arg.size), arg.size)
            case _:
                return encoder.true()

    def _handle(self, register: Register, helper: int) -> Predicate:
        """The context, or a map: it may be null only, or something else is wrong with it."""
        value = self.state.registers[register]
        if not isinstance(value, Pointer):
            return self.encoder.true()
        there = self.state.copy()
        there.facts = there.facts.assume(Comparison.NE, value.base, ZERO)
        wrong = any(problem.register == register for problem in contract_violations(self.setting, there, helper))
        return self.encoder.true() if wrong else self._is_null(value)

    def _reference(self, value: Pointer) -> Predicate:
        if value.base not in self.state.references or value.offset != ZERO:
            return self.encoder.true()
        return self._is_null(value)

    def _socket(self, arg: HelperArg, value: Value) -> Predicate:
        if not isinstance(value, Pointer) or value.region.kind is not RegionKind.OBJECT:
            return self.encoder.true()
        if arg.releases:
            return self._reference(value)
        fits = value.region.name in SOCKETS and value.offset == ZERO
        return self._is_null(value) if fits else self.encoder.true()


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    """The runs of ones: the first place of each and the one behind its last."""
    place = 0
    while bits:
        skipped = (bits & -bits).bit_length() - 1
        place, bits = place + skipped, bits >> skipped
        length = (~bits & (bits + 1)).bit_length() - 1
        yield place, place + length
        place, bits = place + length, bits >> length
