"""Whether proved code can be made of a program, and what has to be known of its pointers while it runs.

Where an access is to one known region its place is the region's, which is known, plus the difference of two words.  All
other pointers carry a *shadow*, in registers and where they are spilled: where the region is in this process, and what
its address is for the program.  :func:`plan` finds the registers that need one, by going backwards from the accesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
    Call,
    CallKfunc,
    CallRegister,
    Instruction,
    Load,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.objects.region_facts import Place, RegionFact, RegionFacts, digest
from prevail_py.platforms import Platform
from prevail_py.platforms.model import ArgKind, FieldKind, HelperPrototype
from prevail_py.vm.context import takes_packet
from prevail_py.vm.jit.proved import tables
from prevail_py.vm.machine import Code
from prevail_py.vm.maps import Map
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.memory import FRAME_SIZE
from prevail_py.vm.source.flow import Block, functions, recursive

__all__ = ["NATIVE", "Ineligible", "Plan", "plan"]

NATIVE: Final = frozenset({
    "bpf_csum_diff", "bpf_get_prandom_u32", "bpf_get_smp_processor_id", "bpf_jiffies64", "bpf_ktime_get_boot_ns",
    "bpf_ktime_get_coarse_ns", "bpf_ktime_get_ns", "bpf_ktime_get_tai_ns", "bpf_map_delete_elem",
    "bpf_map_lookup_elem", "bpf_map_update_elem",
})  # fmt: skip
"""Helpers that native code need not leave for; those of maps only on arrays and hash tables that evict nothing."""

_PACKET_FIELDS: Final = frozenset({FieldKind.PACKET, FieldKind.PACKET_END, FieldKind.PACKET_META})


class Ineligible(Exception):  # noqa: N818 - an answer, not a mistake
    """Proved code cannot be made of this program; the checked engine runs it.  The message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``functions`` are blocks by the entries of their functions.  ``shadowed`` are the registers and the offsets of
    stack slots (negative, from the end of the frame) that need shadows; ``native`` says by slot of which map a helper
    works in place (None: of none), and ``called`` which helpers are called in Python.  ``loops`` has, by slot, the
    entry of the function that ``bpf_loop`` calls there.  ``keeps_shadows``: those of pointers in frames are in memory,
    for functions reach into frames that are not theirs.  ``stores_context`` says whether the program changes its
    context."""

    code: Code
    facts: RegionFacts
    platform: Platform
    functions: Mapping[int, Mapping[int, Block]]
    shadowed: frozenset[int]
    native: Mapping[int, int | None]
    called: frozenset[int]
    loops: Mapping[int, int]
    keeps_shadows: bool
    stores_context: bool

    def fact(self, pc: int, register: int) -> RegionFact:
        """What a register points to."""
        return self.facts.pointers.get((pc, register), _ANYWHERE)

    def prototype(self, pc: int) -> HelperPrototype:
        """The helper that the call at this slot calls."""
        instruction = self.code.instructions[pc]
        assert isinstance(instruction, Call)
        return _prototype(self.code, self.platform, instruction)


_ANYWHERE: Final = RegionFact(Place.ELSEWHERE)


def _prototype(code: Code, platform: Platform, call: Call) -> HelperPrototype:
    assert code.program_type is not None
    prototype = platform.helper(call.helper, code.program_type.name)
    if prototype is None:
        raise Ineligible(f"helper {call.helper}")
    return prototype


def is_static(fact: RegionFact, single: frozenset[int]) -> bool:
    """Whether the region is known while the program is compiled; ``single`` are maps with one value only."""
    if fact.place is Place.MAP_VALUE:
        return fact.index in single
    return fact.place in (Place.STACK, Place.PACKET, Place.CONTEXT)


def single_values(maps: tuple[Map, ...]) -> frozenset[int]:
    """The maps that have one value, which is always at the same place."""
    return frozenset(
        index
        for index, map in enumerate(maps)
        if isinstance(map, ArrayMap) and map.spec.max_entries == 1 and map.cpus == 1
    )


def plan(code: Code, platform: Platform, facts: RegionFacts, maps: tuple[Map, ...]) -> Plan:
    """Raises :class:`Ineligible`, and ValueError for facts about another program."""
    if facts.program != digest(code.program):
        raise ValueError(f"{code.program.name}: these facts are about another program")
    if code.program_type is None:
        raise Ineligible("it has no type")
    if len({id(map) for map in maps}) != len(code.program.maps):
        # A machine has a map once, however often it was given; code takes what is stored to one for unread by others.
        raise Ineligible("two of its maps are the same")
    if recursive(code.instructions):
        raise Ineligible("it calls itself")
    found = functions(code.instructions)
    single = single_values(maps)
    native: dict[int, int | None] = {}
    called: set[int] = set()
    loops: dict[int, int] = {}
    needs: set[int] = set()
    stores_context = False
    if facts.unclear:
        raise Ineligible(f"slot {min(facts.unclear)}: not one pointer, or none that is known")
    far = False
    for pc in sorted(facts.reached):
        instruction = code.instructions[pc]
        assert instruction is not None
        _require_simple(code, facts, pc, instruction)
        if _keeps_pointer(facts, pc):
            far |= _slot_of(facts, pc, instruction) is None
        if isinstance(instruction, LoadImmediate64) and instruction.pseudo is Pseudo.MAP_INDEX_VALUE:
            data = maps[instruction.low]
            if not isinstance(data, ArrayMap) or data.cpus > 1:
                raise Ineligible(f"slot {pc}: the address of a value of map {data.spec.name!r}")
        base = _base(instruction)
        if base is not None:
            fact = facts.pointers.get((pc, base), _ANYWHERE)
            if not is_static(fact, single):
                needs.add(base)
            if fact.place is Place.CONTEXT and not isinstance(instruction, Load):
                stores_context = True
        if isinstance(instruction, Call):
            prototype = _prototype(code, platform, instruction)
            if prototype.name == "bpf_loop":
                loops[pc] = _function(facts, pc)
            elif prototype.name in NATIVE and _works_in_place(prototype, facts, pc, maps):
                on_map = prototype.name.startswith("bpf_map")
                native[pc] = facts.pointers[pc, 1].index if on_map else None
                for number, arg in enumerate(prototype.args, 1):
                    given = facts.pointers.get((pc, number))
                    if given is not None and arg.kind is not ArgKind.MAP and not is_static(given, single):
                        needs.add(number)
            else:
                _require_callable(prototype, found, pc)
                called.add(pc)
    shadowed = _closure(code, facts, needs, bool(loops), far)
    return Plan(
        code,
        facts,
        platform,
        found,
        frozenset(shadowed - {_ANY_SLOT}),
        native,
        frozenset(called),
        loops,
        _ANY_SLOT in shadowed,
        stores_context,
    )


def _base(instruction: Instruction) -> Register | None:
    match instruction:
        case Load(base=base) | LoadAcquire(base=base) | Store(base=base) | StoreRelease(base=base) | Atomic(base=base):
            return base
        case _:
            return None


def _require_simple(code: Code, facts: RegionFacts, pc: int, instruction: Instruction) -> None:
    """Raise Ineligible for what there is no proved code for."""
    program_type = code.program_type
    assert program_type is not None
    match instruction:
        case CallKfunc() | CallRegister() | LoadPacket() | AddressSpaceCast():
            raise Ineligible(f"slot {pc}: {type(instruction).__name__}")
        case LoadImmediate64(pseudo=pseudo):
            if pseudo not in (Pseudo.IMMEDIATE, Pseudo.MAP_INDEX, Pseudo.MAP_INDEX_VALUE, Pseudo.FUNCTION):
                raise Ineligible(f"slot {pc}: a wide load of a {pseudo.name}")
        case Load(base=base, offset=offset, size=size) | LoadAcquire(base=base, offset=offset, size=size):
            fact = facts.pointers.get((pc, base), _ANYWHERE)
            if fact.place is Place.CONTEXT:
                if fact.offset is None:
                    raise Ineligible(f"slot {pc}: a context access at an unknown offset")
                kind = program_type.context_read(fact.offset + offset, size)
                packet = kind in _PACKET_FIELDS and takes_packet(program_type)
                if kind is not FieldKind.SCALAR and not packet:
                    raise Ineligible(f"slot {pc}: the context field of kind {kind}")
        case _:
            pass
    if _keeps_pointer(facts, pc):
        through = _base(instruction)
        assert through is not None
        if facts.pointers.get((pc, through), _ANYWHERE).place not in (Place.STACK, Place.FRAME):
            raise Ineligible(f"slot {pc}: a pointer is kept in a frame, or something in other memory")


def _keeps_pointer(facts: RegionFacts, pc: int) -> bool:
    """Whether an instruction stores or loads what may be a pointer."""
    return pc in facts.spills or pc in facts.fills


def _slot_of(facts: RegionFacts, pc: int, instruction: Instruction) -> int | None:
    """Where in the own frame a spill or fill is, as a negative offset from its end; None where that is not known."""
    base = _base(instruction)
    assert base is not None
    assert isinstance(instruction, Load | LoadAcquire | Store | StoreRelease)
    fact = facts.pointers.get((pc, base), _ANYWHERE)
    if fact.place is not Place.STACK or fact.offset is None:
        return None
    place = fact.offset + instruction.offset
    return place - FRAME_SIZE if 0 <= place <= FRAME_SIZE - 8 else None


def _works_in_place(prototype: HelperPrototype, facts: RegionFacts, pc: int, maps: tuple[Map, ...]) -> bool:
    if not prototype.name.startswith("bpf_map"):
        return True
    fact = facts.pointers.get((pc, 1))
    if fact is None or fact.place is not Place.MAP or not fact.index < len(maps):
        return False
    map = maps[fact.index]
    if prototype.name != "bpf_map_lookup_elem" and type(map) not in (ArrayMap, HashMap):
        return False  # of another package, which has its own way with updates
    if isinstance(map, ArrayMap):
        return prototype.name != "bpf_map_delete_elem"
    return isinstance(map, HashMap) and tables.supported(map)


def _function(facts: RegionFacts, pc: int) -> int:
    """The entry of the function that a call of ``bpf_loop`` is given."""
    fact = facts.pointers.get((pc, 2), _ANYWHERE)
    if fact.place is not Place.FUNCTION:
        raise Ineligible(f"slot {pc}: bpf_loop of more than one function")
    return fact.index


def _require_callable(prototype: HelperPrototype, found: Mapping[int, Mapping[int, Block]], pc: int) -> None:
    """A helper in Python sees the machine, which knows of the main program's frame only."""
    if any(arg.kind is ArgKind.FUNCTION for arg in prototype.args):
        raise Ineligible(f"slot {pc}: {prototype.name} calls functions of the program")
    if not any(pc in block.pcs for block in found[0].values()):
        raise Ineligible(f"slot {pc}: {prototype.name} in a subprogram")


_ANY_SLOT: Final = -(1 << 16)
"""In place of the offset of a stack slot, where slots are not told apart."""


def _closure(code: Code, facts: RegionFacts, needs: set[int], loops: bool, far: bool) -> set[int]:
    """Registers, and negative offsets of stack slots, from which a pointer may come that needs a shadow.

    It looks at no control flow: a register that needs one anywhere has one everywhere.  ``loops``: what ``bpf_loop``
    gets as R3 its function has as R2.  ``far``: some pointer is kept in another frame, or at an unknown offset.
    """
    found = set(needs)
    size = -1
    while len(found) != size:
        size = len(found)
        if loops and Register.R2 in found:
            found.add(Register.R3)
        for pc in facts.reached:
            instruction = code.instructions[pc]
            match instruction:
                case Alu(AluOp.MOV | AluOp.ADD | AluOp.SUB, 64, dst, src) if dst in found and isinstance(src, Register):
                    found.add(src)
                case Load(dst, _, _, 8) | LoadAcquire(dst, _, _, 8) if pc in facts.fills and dst in found:
                    slot = _ANY_SLOT if far else _slot_of(facts, pc, instruction)
                    assert slot is not None
                    found.add(slot)
                case Store(_, _, 8, src) | StoreRelease(_, _, 8, src) if pc in facts.spills:
                    slot = _ANY_SLOT if far else _slot_of(facts, pc, instruction)
                    if slot in found and isinstance(src, Register):
                        found.add(src)
                case _:
                    pass
    found.discard(Register.R10)
    return found
