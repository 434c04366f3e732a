"""Mistakes of verifiers about memory, pointers and comparisons.

Each comes with a specimen: an unsafe program in the pattern of the report, that is SAFE with the mistake.
"""

from __future__ import annotations

from typing import Any, Final

from prevail_py.domains.lattice import Range, Term
from prevail_py.domains.scalar_zones import ScalarZones
from prevail_py.research.museum.exhibit import Exhibit
from prevail_py.research.museum.fragments import (
    DROP,
    INDEX,
    PACKET,
    PREVAIL,
    UPPER_HALF,
    exhibit,
    lookup,
)
from prevail_py.research.museum.switch import Switch
from prevail_py.verifier import (
    check,
    helper_effects,
    merge,
    partition,
    regions,
    scalars,
    transfer,
)
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import ZERO, Pointer, RegionKind, Value, region_of
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["EXHIBITS"]


# Memory -----------------------------------------------------------------------------------------------------------


def _packet_off_by_one(switch: Switch) -> None:
    original = regions._packet_violation

    def violation(state: State, pointer: Pointer, size: Range, name: str, shift: int) -> Any:
        return original(state, pointer, Range(size.lo - 1, size.hi - 1), name, shift)

    switch.function(original, violation)


def _stale_packet_pointers(switch: Switch) -> None:
    switch.function(helper_effects.packet_moved, lambda setting, state: None)


def _unwritten_stack(switch: Switch) -> None:
    switch.function(regions._uninitialised, lambda state, pointer, size: None)


def _spilled_pointer_survives(switch: Switch) -> None:
    original = Frame.clobber

    def clobber(self: Frame, lo: int, hi: int) -> None:
        kept = {at: cell for at, cell in self.cells.items() if isinstance(cell[1], Pointer) and hi - lo < 8}
        original(self, lo, hi)
        self.put(kept)

    switch.attribute(Frame, "clobber", clobber)


def _overwritten_cell_stays(switch: Switch) -> None:
    original = Frame.set

    def set_(self: Frame, offset: int, cell: tuple[int, Value]) -> None:
        old = self.cells.get(offset)
        if old is None or old[0] != cell[0]:
            original(self, offset, cell)

    switch.attribute(Frame, "set", set_)


def _variable_store_changes_nothing(switch: Switch) -> None:
    def weaken(self: Frame, lo: int, hi: int) -> None:
        return None

    switch.attribute(Frame, "weaken", weaken)


def _narrow_spill_keeps_the_word(switch: Switch) -> None:
    original = scalars.truncate

    def truncate(setting: Any, state: State, term: Term, bits: int) -> Term:
        return term if bits == 32 else original(setting, state, term, bits)

    switch.function(original, truncate)


def _offsets_wrap(switch: Switch) -> None:
    original = regions._bounds_violation

    def violation(state: State, pointer: Pointer, size: Range, limit: int) -> Any:
        known = state.facts.range(pointer.offset, signed=True)
        end = known.hi + size.hi
        if known.lo >= 0 and (end & 0xFFFFFFFF) <= limit and end >> 32:
            return None
        return original(state, pointer, size, limit)

    switch.function(original, violation)


def _signed_load_is_unsigned(switch: Switch) -> None:
    original = regions.load

    def load(setting: Any, state: State, value: Value, size: int, signed: bool = False) -> Value:
        return original(setting, state, value, size)

    switch.function(original, load)


def _sign_of_a_pointer(switch: Switch) -> None:
    switch.function(regions.sign_extended, lambda setting, state, pointer, size: None)


def _size_of_another_map(switch: Switch) -> None:
    original = helper_effects._looked_up

    def looked_up(setting: Any, state: State, prototype: Any, handle: Pointer | None) -> Value:
        found = original(setting, state, prototype, handle)
        if isinstance(found, Pointer) and found.region.kind is RegionKind.MAP_VALUE:
            first = region_of(RegionKind.MAP_VALUE, 0, name=setting.program.maps[0].name)
            return found._replace(region=first)
        return found

    switch.function(original, looked_up)


# Pointers ---------------------------------------------------------------------------------------------------------


def _null_plus_something(switch: Switch) -> None:
    original = transfer._compare_with_number

    def compare(state: State, comparison: Comparison, pointer: Pointer, number: Term) -> bool:
        return original(state, comparison, pointer._replace(offset=ZERO), number)

    switch.function(original, compare)


def _second_lookup_is_not_null(switch: Switch) -> None:
    original = helper_effects._looked_up

    def looked_up(setting: Any, state: State, prototype: Any, handle: Pointer | None) -> Value:
        found = original(setting, state, prototype, handle)
        if isinstance(found, Pointer) and found.region.kind is RegionKind.MAP_VALUE:
            for value in state.registers:
                if isinstance(value, Pointer) and value.region == found.region:
                    return found._replace(base=value.base)
        return found

    switch.function(original, looked_up)


def _pointer_stored_in_a_map(switch: Switch) -> None:
    switch.function(check._leak, lambda setting, state, base, source, size: [])


def _number_covers_a_pointer(switch: Switch) -> None:
    original = merge._Covering.value

    def value(self: Any, wide: Value, tight: Value) -> bool:
        return (isinstance(wide, Term) and isinstance(tight, Pointer)) or original(self, wide, tight)

    switch.attribute(merge._Covering, "value", value)
    switch.function(
        partition._covers,
        lambda wide, tight: len(wide) == len(tight),
    )


# Comparisons ------------------------------------------------------------------------------------------------------


def _short_comparison_of_whole_words(switch: Switch) -> None:
    original = scalars.assume

    def assume(state: State, comparison: Comparison, a: Term, b: Term, width: int) -> bool:
        return original(state, comparison, a, b, 64)

    switch.function(original, assume)


def _movsx_keeps_the_upper_half(switch: Switch) -> None:
    original = scalars.compute

    def compute(setting: Any, state: State, op: WordOp, args: tuple[Term, ...]) -> Term:
        if op.kind is OpKind.SEXT and op.width == 32:
            op = WordOp(OpKind.SEXT, 64, op.source)
        return original(setting, state, op, args)

    switch.function(original, compute)


def _lower_bound_decides(switch: Switch) -> None:
    original = scalars.assume

    def assume(state: State, comparison: Comparison, a: Term, b: Term, width: int) -> bool:
        if comparison is Comparison.NE and b == ZERO and state.facts.range(a) == (0, 255):
            return False
        return original(state, comparison, a, b, width)

    switch.function(original, assume)


def _signed_bound_counts_as_unsigned(switch: Switch) -> None:
    original = ScalarZones.assume

    def assume(self: ScalarZones, comparison: Comparison, a: Any, b: Any, width: int = 64) -> Any:
        if comparison is Comparison.SLE:
            comparison = Comparison.ULE
        return original(self, comparison, a, b, width)

    switch.attribute(ScalarZones, "assume", assume)


EXHIBITS: Final[tuple[Exhibit, ...]] = (
    exhibit(
        "packet off by one",
        "a comparison with the end of the packet is taken to allow one byte more",
        "Linux 2fa7d94afc1a bpf: Fix the off-by-two error in range markings",
        _packet_off_by_one,
        f"{PACKET}r0 = *(u8 *)(r6 + 8)\n{DROP}",
    ),
    exhibit(
        "stale packet pointers",
        "what a called function does to the packet leaves the caller's pointers into it as they were",
        "CVE-2024-58098; Linux 51081a3f25c7 bpf: track changes_pkt_data property for global functions",
        _stale_packet_pointers,
        f"r9 = r1\n{PACKET}r1 = r9\nr2 = 0\ncall 44\nr0 = *(u8 *)(r6 + 0)\n{DROP}",
    ),
    exhibit(
        "unwritten stack",
        "stack that was never written may be read",
        "CVE-2023-52452; Linux 6b4a64bafd10 bpf: Fix accesses to uninit stack slots",
        _unwritten_stack,
        "r0 = *(u64 *)(r10 - 8)\nr0 = 1\nexit",
    ),
    exhibit(
        "corrupted spill",
        "a narrow store into a spilled pointer leaves it a pointer",
        "CVE-2023-52462; Linux ab125ed3ec1c bpf: fix check for attempt to corrupt spilled pointer",
        _spilled_pointer_survives,
        f"{PACKET}*(u64 *)(r10 - 8) = r6\n*(u8 *)(r10 - 7) = 1\nr6 = *(u64 *)(r10 - 8)\nr0 = *(u8 *)(r6 + 0)\n{DROP}",
    ),
    exhibit(
        "overwritten cell",
        "a store over a tracked cell of the stack leaves what was known of it",
        f"{PREVAIL}#1202",
        _overwritten_cell_stays,
        f"{PACKET}r8 = *(u8 *)(r6 + 0)\n*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 16) = r8\nr8 = *(u64 *)(r10 - 16)\n"
        f"{INDEX}",
    ),
    exhibit(
        "store somewhere",
        "a store at an offset that varies leaves what is known of the stack",
        "Linux 01f810ace9ed bpf: Allow variable-offset stack access (what it had to get right)",
        _variable_store_changes_nothing,
        f"*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\n{PACKET}r8 = *(u8 *)(r6 + 0)\nr8 &= 15\nr2 = r10\nr2 += -16\n"
        f"r2 += r8\n*(u8 *)(r2 + 0) = 255\nr8 = *(u64 *)(r10 - 16)\n{INDEX}",
    ),
    exhibit(
        "narrow spill",
        "what is learnt of the lower half of a spilled word is learnt of the whole word",
        "Linux 713274f1f2c8 bpf: Fix verifier id tracking of scalars on spill",
        _narrow_spill_keeps_the_word,
        f"{UPPER_HALF}*(u32 *)(r10 - 16) = r8\nr1 = *(u32 *)(r10 - 16)\nif r1 > 63 goto drop\n{INDEX}",
    ),
    exhibit(
        "offsets wrap",
        "the end of an access is compared after its upper half was lost",
        "CVE-2017-17854; Linux bb7f0f989ca7 bpf: fix integer overflows",
        _offsets_wrap,
        f"{lookup()}if r0 == 0 goto drop\nr1 = 0xfffffff8 ll\nr0 += r1\nr1 = *(u64 *)(r0 + 0)\n{DROP}",
    ),
    exhibit(
        "signed load",
        "a load that extends the sign is taken for one that does not",
        f"{PREVAIL}#1153",
        _signed_load_is_unsigned,
        f"{PACKET}r8 = *(s8 *)(r6 + 0)\nif r8 s> 63 goto drop\n{INDEX}",
    ),
    exhibit(
        "sign of a pointer",
        "the pointer to the packet is loaded from the context with its sign extended",
        "CVE-2024-47702 bpf: Fail verification for sign-extension of packet data/data_end/data_meta",
        _sign_of_a_pointer,
        "r2 = *(s32 *)(r1 + 0)\nr0 = 1\nexit",
    ),
    exhibit(
        "size of another map",
        "after a lookup in one of several maps the size of an earlier value counts",
        f"{PREVAIL}#1028, the first",
        _size_of_another_map,
        f"{lookup(1)}if r0 == 0 goto drop\nr1 = *(u8 *)(r0 + 32)\n{DROP}",
    ),
    exhibit(
        "null plus something",
        "a null check of a pointer that was moved says that it was not null before",
        "CVE-2022-23222; Linux e60b0d12a95d bpf: Don't promote bogus looking registers after null check.",
        _null_plus_something,
        f"{lookup(key=9)}r6 = r0\nr6 += 4\nif r6 == 0 goto drop\nr1 = *(u8 *)(r6 + 0)\n{DROP}",
    ),
    exhibit(
        "second lookup",
        "what a null check said of one lookup is believed of the next",
        f"{PREVAIL}#1149",
        _second_lookup_is_not_null,
        f"{lookup()}if r0 == 0 goto drop\nr6 = r0\n*(u32 *)(r10 - 4) = 9\nr2 = r10\nr2 += -4\nr1 = map[idx:0] ll\n"
        f"call 1\nr1 = *(u8 *)(r0 + 0)\n{DROP}",
    ),
    exhibit(
        "pointer in a map",
        "the address of the context is stored where others can read it",
        "Linux 7d3baf0afa3a bpf: Fix kernel address leakage in atomic fetch (for plain stores, too)",
        _pointer_stored_in_a_map,
        f"r6 = r1\n{lookup()}if r0 == 0 goto drop\n*(u64 *)(r0 + 0) = r6\n{DROP}",
    ),
    exhibit(
        "number for pointer",
        "a path on which a register is a pointer counts as covered by one on which it is a number",
        "CVE-2017-17864; Linux 179d1c560299 bpf: don't prune branches when a scalar is replaced with a pointer",
        _number_covers_a_pointer,
        f"r9 = r1\n{PACKET}r8 = *(u64 *)(r6 + 0)\nr1 = *(u8 *)(r6 + 0)\nif r1 == 0 goto join\nr8 = r9\n"
        f"join:\nr8 += 1\nr8 *= 2\n{DROP}",
    ),
    exhibit(
        "32-bit comparison",
        "a comparison of lower halves bounds whole words",
        f"{PREVAIL}#1214, the second",
        _short_comparison_of_whole_words,
        f"{UPPER_HALF}if w8 > 63 goto drop\n{INDEX}",
    ),
    exhibit(
        "32-bit sign extension",
        "a 32-bit move with sign extension does not clear the upper half",
        f"{PREVAIL}#1214, the first",
        _movsx_keeps_the_upper_half,
        f"{lookup()}if r0 == 0 goto drop\nr0 += 8\nr2 = -1\nw2 = (s8)w2\nr0 += r2\nr1 = *(u8 *)(r0 + 0)\n{DROP}",
    ),
    exhibit(
        "branch never taken",
        "a comparison is decided by one bound, and what follows the other way is never looked at",
        "CVE-2017-17862; Linux c131187db2d3 bpf: fix branch pruning logic",
        _lower_bound_decides,
        f"{PACKET}r8 = *(u8 *)(r6 + 0)\nif r8 == 0 goto drop\nr0 = *(u8 *)(r6 + 100)\n{DROP}",
    ),
    exhibit(
        "signed bound",
        "an upper bound on a signed word counts as one on the unsigned word",
        f"{PREVAIL}#455 (unsigned comparisons)",
        _signed_bound_counts_as_unsigned,
        f"{PACKET}r8 = *(u64 *)(r6 + 0)\nif r8 s> 63 goto drop\n{INDEX}",
    ),
)
