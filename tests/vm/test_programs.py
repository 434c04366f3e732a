"""Small programs and how they end: every kind of trap, every kind of memory, calls, helpers, maps.

The programs are in ``programs.txt``.  The same table serves to show that it would notice mistakes: each planted bug in
the memory, map and machine modules must make at least one program end otherwise.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.instructions import Instruction, LoadImmediate64, Pseudo
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import subprograms_of
from prevail_py.platforms.model import ProgramType
from prevail_py.verifier import verify
from prevail_py.vm import effects
from prevail_py.vm.context import Context
from prevail_py.vm.engines import Engine, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution
from prevail_py.vm.kernel.engine import KernelAnswer, RunInput, Session
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Map, Maps, create_maps
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.devices import TargetMap, XdpSocket, XdpSocketMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.storage import Storage
from prevail_py.vm.maps.streams import RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray
from prevail_py.vm.memory import AddressSpace, Region
from prevail_py.vm.outcome import OutOfFuel, Returned, TrapKind, Trapped
from prevail_py.vm.packet import Packet

INNER = MapSpec("inner", 2, 4, 8, 2)
MAPS = (
    MapSpec("array", 2, 4, 8, 4),
    MapSpec("hash", 1, 4, 8, 2),
    MapSpec("percpu_array", 6, 4, 8, 2),
    MapSpec("ring", 27, 0, 0, 4096),
    MapSpec("programs", 3, 4, 4, 3),
    MapSpec("rodata", 2, 4, 8, 1, initial=b"\x11\x22\x33\x44\x55\x66\x77\x88", read_only=True),
    MapSpec("devices", 14, 4, 8, 4),
    MapSpec("events", 4, 4, 4, 0),
    MapSpec("outer", 12, 4, 4, 2, inner=INNER),
    MapSpec("lru", 9, 4, 8, 2),
    MapSpec("sockets", 17, 4, 4, 2),
    MapSpec("trie", 11, 8, 8, 2, flags=1),
    MapSpec("percpu_hash", 5, 4, 8, 2),
    MapSpec("queue", 22, 0, 8, 2),
    MapSpec("stack", 23, 0, 8, 2),
    MapSpec("bloom", 30, 0, 8, 4, flags=64),
    MapSpec("sockmap", 15, 4, 4, 2),
)
PACKET = bytes(range(60))
REFERENCE, GENERATED = engine("interpreter"), engine("source")
LEAF = Program("leaf", "xdp", "xdp", assemble_text("r0 = *(u32 *)(r1 + 12)\nr0 += 100\nexit"))
AGAIN = Program("again", "xdp", "xdp", assemble_text("r3 = 1\nr2 = map[idx:0] ll\ncall 12\nr0 = 77\nexit"), (MAPS[4],))


@dataclass(frozen=True)
class Case:
    """A program, and the R0 it returns or the trap it ends in, with its slot."""

    name: str
    program: Program
    ends: int | tuple[TrapKind, int]
    unlike_linux: bool = False


MACROS = {
    ".packet": "r6 = r1\nr7 = *(u32 *)(r6 + 0)\nr8 = *(u32 *)(r6 + 4)\nr9 = r7\nr9 += 14",
    ".key": "*(u32 *)(r10 - 4) = {}\nr2 = r10\nr2 += -4\nr1 = map[{}] ll",
    ".checked": "r6 = r1\nr7 = *(u32 *)(r6 + 0)\nr8 = *(u32 *)(r6 + 4)\nr9 = r7\nr9 += 60\nif r9 > r8 goto out",
    ".zeros": "\n".join(f"*(u64 *)(r10 - {offset}) = 0" for offset in range(64, 0, -8)),
    ".loop": "*(u64 *)(r10 - 8) = 0\nr1 = {}\nr2 = subprog[{}] ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall 181",
    ".each": "*(u64 *)(r10 - 8) = 0\nr1 = map[{}] ll\nr2 = subprog[{}] ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall 164",
    ".push": "*(u64 *)(r10 - 8) = {1}\nr2 = r10\nr2 += -8\nr3 = {2}\nr1 = map[{0}] ll\ncall 87",
    ".next": "r2 = r10\nr2 += -8\nr1 = map[{1}] ll\ncall {0}",
    ".prefix": "*(u32 *)(r10 - 8) = {0}\n*(u32 *)(r10 - 4) = {1}\nr2 = r10\nr2 += -8\nr1 = map[trie] ll",
    ".value": "*(u64 *)(r10 - 16) = {}\nr3 = r10\nr3 += -16",
}


def read_cases() -> Iterator[Case]:
    text = Path(__file__).with_name("programs.txt").read_text(encoding="utf-8")
    for block in text.split("\n== ")[1:]:
        title, *lines = block.split("\n")
        match = re.fullmatch(r"(?P<name>.*?)(?: \((?P<type>\w+)\))?", title)
        assert match is not None
        kind = match["type"] or "xdp"
        case = parse_case(match["name"], kind, [line for line in lines if line and not line.startswith("# ")])
        yield replace(case, unlike_linux=any(line.startswith("# unlike Linux: ") for line in lines))


def parse_case(name: str, kind: str, lines: list[str]) -> Case:
    code: list[str] = []
    ends: int | tuple[TrapKind, int] | None = None
    for line in lines:
        statement, _, comment = line.partition("#")
        if line.startswith("->"):
            ends = parse_end(line[2:].split())
            continue
        if comment:
            ends = TrapKind(comment.strip()), slots(code)
        words = statement.split()
        code += MACROS[words[0]].format(*words[1:]).split("\n") if words[0] in MACROS else [statement]
    assert ends is not None, name
    instructions = assemble(code)
    functions = tuple(subprograms_of(instructions, name))
    return Case(name, Program(name, kind, kind, instructions, MAPS, subprograms=functions), ends)


def slots(lines: list[str]) -> int:
    """How many slots these statements take; a prefix of a program may jump to labels that it does not have."""
    return sum(2 if re.search(r"\bll\s*$", line) else 1 for line in lines)


def assemble(lines: list[str]) -> tuple[Instruction | None, ...]:
    starts = {line.partition(":")[0]: slots(lines[:number]) for number, line in enumerate(lines) if ":" in line}
    for number, line in enumerate(lines):
        name = re.search(r"subprog\[(\w+)\]", line)
        if name is not None:
            lines[number] = line.replace(name[1], f"{starts[name[1]] - slots(lines[:number]) - 1:+d}")
    text = "\n".join(lines)
    for index, spec in enumerate(MAPS):
        text = text.replace(f"map[{spec.name}]", f"map[idx:{index}]")
    return assemble_text(text)


def parse_end(words: list[str]) -> int | tuple[TrapKind, int]:
    match words:
        case [kind, "at", slot]:
            return TrapKind(kind), int(slot)
        case [value] if value.startswith("-E"):
            return -int(getattr(errno, value[1:])) % 2**64
        case [value]:
            return int(value, 0) % 2**64
    raise AssertionError(words)


CASES = list(read_cases())


def fresh_maps(environment: Environment) -> tuple[Map, ...]:
    maps = create_maps(MAPS, environment)
    programs, devices, outer, sockets = maps[4], maps[6], maps[8], maps[10]
    assert isinstance(programs, ProgramArray)
    assert isinstance(devices, TargetMap)
    assert isinstance(outer, MapOfMaps)
    assert isinstance(sockets, XdpSocketMap)
    programs[bytes(4)] = LEAF
    programs[b"\1\0\0\0"] = AGAIN
    devices[bytes(4)] = b"\x21" + bytes(7)
    inner = ArrayMap(INNER)
    inner[b"\1\0\0\0"] = b"\x55\x55" + bytes(6)
    outer[b"\1\0\0\0"] = inner
    sockets[bytes(4)] = XdpSocket(7)
    return maps


def execute(case: Case, engine: Engine = REFERENCE, fuel: int = 2000) -> Execution:
    environment = Environment(cpus=2, may_goto_limit=5)
    packet = None if case.program.program_type == "kprobe" else PACKET
    loaded = engine.load(case.program)
    return loaded.run(packet=packet, maps=fresh_maps(environment), environment=environment, fuel=fuel)


def end_of(case: Case) -> int | tuple[TrapKind, int] | str:
    match execute(case).outcome:
        case Returned(value):
            return value
        case Trapped(trap):
            return trap.kind, trap.pc
        case OutOfFuel(pc):
            return f"out of fuel at {pc}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_program(case: Case) -> None:
    assert end_of(case) == case.ends, execute(case).outcome


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_program_as_generated_source(case: Case) -> None:
    """Whatever is left behind is equal, however much fuel there is."""
    steps = execute(case).steps
    for fuel in (2000, *range(0, steps + 1, 1 + steps // 40)):
        left, right = execute(case, fuel=fuel), execute(case, GENERATED, fuel)
        assert left._replace(maps=Maps()) == right._replace(maps=Maps())
        assert [contents(map) for map in left.maps] == [contents(map) for map in right.maps]


def contents(map: Map) -> object:
    return dict(map.items()) if isinstance(map, ArrayMap | HashMap) else repr(map)


def test_every_kind_of_trap_is_covered() -> None:
    assert {case.ends[0] for case in CASES if isinstance(case.ends, tuple)} == set(TrapKind)


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.ends, tuple)], ids=lambda case: case.name)
def test_no_program_that_traps_is_safe(case: Case) -> None:
    assert not verify(case.program).is_safe


# The kernel ---------------------------------------------------------------------------------------------------------


_OF_MAPS = (Pseudo.MAP_INDEX, Pseudo.MAP_INDEX_VALUE)


def with_used_maps(program: Program) -> Program:
    """The same program with only the maps it refers to, and a licence for all helpers."""
    loads = [i for i in program.code if isinstance(i, LoadImmediate64) and i.pseudo in _OF_MAPS]
    used = sorted({load.low for load in loads})
    code = tuple(
        replace(i, low=used.index(i.low)) if isinstance(i, LoadImmediate64) and i.pseudo in _OF_MAPS else i
        for i in program.code
    )
    return replace(program, code=code, maps=tuple(MAPS[index] for index in used), licence="GPL")


def test_the_kernel_agrees(kernel: None) -> None:
    compared, different = 0, []
    with Session() as session:
        for case in CASES:
            if not isinstance(case.ends, int) or case.program.program_type != "xdp" or case.unlike_linux:
                continue
            runs = session.run(with_used_maps(case.program), [RunInput(PACKET)])
            if isinstance(runs, KernelAnswer) or runs[0].error:
                continue
            compared += 1
            if runs[0].return_value != case.ends & 0xFFFFFFFF:
                different.append((case.name, runs[0].return_value))
    assert not different
    assert compared >= 110


# Planted bugs -------------------------------------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def put(owner: object, name: str, broken: Callable[..., object]) -> Plant:
    """Replace a function by one that gets the original first."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)
        patch.setattr(owner, name, lambda *args, **kwargs: broken(original, *args, **kwargs))

    return plant


def nothing(original: object, *args: object, **kwargs: object) -> None:
    return None


def locate_wide(original: Callable[..., int], region: Region, address: int, size: int) -> int:
    return original(region, address, max(size - 1, 0))


def locate_dead(original: Callable[..., int], region: Region, address: int, size: int) -> int:
    live, region.live = region.live, True
    try:
        return original(region, address, size)
    finally:
        region.live = live


def locate_below(original: Callable[..., int], region: Region, address: int, size: int) -> int:
    return 0 if address < region.base else original(region, address, size)


def put_no_marks(original: Callable[..., None], region: Region, offset: int, content: bytes) -> None:
    if region.initialised is None:
        original(region, offset, content)
    else:
        region.data[offset : offset + len(content)] = content


def put_marks_words(original: Callable[..., None], region: Region, offset: int, content: bytes) -> None:
    original(region, offset, content)
    if region.initialised is not None:
        start = offset & ~7
        region.initialised[start : start + 8] = bytes([1] * 8)


def put_keeps_pointers(original: Callable[..., None], region: Region, offset: int, content: bytes) -> None:
    kept = dict(region.pointers or {})
    original(region, offset, content)
    if region.pointers is not None:
        region.pointers.update({at: pointer for at, pointer in kept.items() if at != offset})


def load_big(original: Callable[..., tuple[int, Region | None]], region: Region, address: int, size: int) -> object:
    value, pointer = original(region, address, size)
    return (value, pointer) if pointer else (int.from_bytes(value.to_bytes(size, "little"), "big"), None)


def first_byte_only(original: Callable[..., None], region: Region, offset: int, size: int) -> None:
    original(region, offset, min(size, 1))


def store_unaligned(
    original: Callable[..., None], region: Region, address: int, size: int, value: int, pointer: Region | None = None
) -> None:
    original(region, address, size, value, pointer)
    if pointer is not None and region.pointers is not None and size == 8:
        region.pointers[address - region.base] = pointer


def one_value(
    original: Callable[..., Region], space: AddressSpace, first: int, number: int, *rest: object, **more: object
) -> Region:
    return original(space, first, 0, *rest, **more)


def used_frame(original: Callable[..., Region], space: AddressSpace, number: int) -> Region:
    region = original(space, number)
    assert region.initialised is not None
    region.initialised[:] = bytes([1] * region.size)
    return region


def one_cpu(original: Callable[..., memoryview], storage: Storage, slot: int, cpu: int) -> memoryview:
    return original(storage, slot, 0)


def one_too_many(original: Callable[..., int | None], array: ArrayMap, key: bytes) -> int | None:
    index = int.from_bytes(key, "little")
    return index - 1 if index == array.slots else original(array, key)


def never_full(original: Callable[..., int], table: HashMap, *arguments: object) -> int:
    return max(original(table, *arguments), 0)


def in_place(original: Callable[..., int], table: HashMap, key: bytes, value: bytes, flags: int, cpu: int) -> int:
    slot = table.find(key)
    if slot is None:
        return original(table, key, value, flags, cpu)
    table.value(slot, cpu)[:] = value
    return 0


def forgets_slot(original: Callable[..., int], table: HashMap, key: bytes) -> int:
    return 0


def no_header(original: Callable[..., int | None], ring: RingBuffer, size: int) -> int | None:
    return original(ring, max(size - 8, 0))


def not_used(original: Callable[..., int | None], table: HashMap, key: bytes) -> int | None:
    return dict.get(table._slot_of, key)


def keeps_registers(original: Callable[..., None], machine: Machine) -> None:
    values, provenance = machine.registers[1:6], machine.provenance[1:6]
    original(machine)
    machine.registers[1:6], machine.provenance[1:6] = values, provenance


def shares_registers(original: Callable[..., None], machine: Machine, *arguments: object) -> None:
    values = machine.registers[:10]
    original(machine, *arguments)
    machine.registers[:10] = values


def moves_quietly(original: Callable[..., None], packet: Packet, **extent: int) -> None:
    old = packet.region
    original(packet, **extent)
    old.live = True


def any_field(original: Callable[..., object], kind: ProgramType, offset: int, size: int) -> object:
    return original(kind, offset & ~3, 4)


PLANTED: dict[str, Plant] = {
    "bounds: one byte too many": put(Region, "locate", locate_wide),
    "bounds: below the region": put(Region, "locate", locate_below),
    "memory that is gone": put(Region, "locate", locate_dead),
    "stores initialise nothing": put(Region, "put", put_no_marks),
    "stores initialise whole words": put(Region, "put", put_marks_words),
    "partial overwrite keeps a pointer": put(Region, "put", put_keeps_pointers),
    "byte order": put(Region, "load", load_big),
    "only the first byte is checked": put(Region, "require_initialised", first_byte_only),
    "read-only memory is written": put(Region, "require_writable", nothing),
    "leaks are not seen": put(Region, "require_no_leak", nothing),
    "unaligned pointers are kept": put(Region, "store", store_unaligned),
    "all values of a map are one": put(AddressSpace, "map_value", one_value),
    "frames start initialised": put(AddressSpace, "stack_frame", used_frame),
    "all CPUs share a value": put(Storage, "value", one_cpu),
    "array: one element too many": put(ArrayMap, "find", one_too_many),
    "array: flags ignored": put(ArrayMap, "_insert_error", lambda original, *arguments: 0),
    "hash: failure reported as success": put(HashMap, "insert", never_full),
    "hash: replaced in place": put(HashMap, "insert", in_place),
    "hash: deletion without effect": put(HashMap, "remove", forgets_slot),
    "hash: look-ups do not count as use": put(HashMap, "find", not_used),
    "ring buffer: no header": put(RingBuffer, "reserve", no_header),
    "arguments survive calls": put(Machine, "clobber_arguments", keeps_registers),
    "callee sees the caller's registers": put(Machine, "enter", shares_registers),
    "moved packet, old pointers": put(Packet, "move", moves_quietly),
    "context: any access in a field": put(ProgramType, "context_read", any_field),
    "context: a store leaks": put(Context, "store", nothing),
    "pointer arithmetic": put(effects, "_pointer_result", lambda original, op, provenance: provenance[0]),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_noticed(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[bug](monkeypatch)
    wrong = []
    for case in CASES:
        try:
            if end_of(case) != case.ends:
                wrong.append(case.name)
        except Exception as error:
            wrong.append(f"{case.name}: {error!r}")
    assert wrong
