"""The kernel as an engine: what goes in and comes back is what the reference leaves, on real programs."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

import pytest

from prevail_py import examples
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.platforms import platform
from prevail_py.vm.engines import EngineError, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution, Interpreter, run
from prevail_py.vm.kernel import results
from prevail_py.vm.kernel.context import to_kernel, usual_context, visible_context
from prevail_py.vm.kernel.exchange import kernel_value, our_value
from prevail_py.vm.kernel.execution import KernelProgram
from prevail_py.vm.kernel.loader import possible_cpus
from prevail_py.vm.maps import Map, create_map, create_maps
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.devices import TargetMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.streams import RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray
from prevail_py.vm.outcome import Returned

needs_kernel = pytest.mark.usefixtures("kernel")

HASH, ARRAY, PROG_ARRAY, PERF, PERCPU_HASH, PERCPU_ARRAY, LRU, LPM = 1, 2, 3, 4, 5, 6, 9, 11
ARRAY_OF_MAPS, HASH_OF_MAPS, DEVMAP, CPUMAP, RINGBUF = 12, 13, 14, 16, 27
KEY = bytes(4)


def text(source: str, *maps: MapSpec, program_type: str = "xdp") -> Program:
    """A program from text in which helpers are called by name."""

    def number(match: re.Match[str]) -> str:
        prototype = platform().helper_by_name(match[1])
        assert prototype is not None
        return f"call {prototype.id}"

    return assemble(re.sub(r"call (bpf_\w+)", number, source), program_type, maps)


def kernel(program: Program, packet: bytes = bytes(64), **options: object) -> Execution:
    return KernelProgram(program).run(packet=packet, **options)  # type: ignore[arg-type]


def both(program: Program, packet: bytes = bytes(64), maps: Sequence[Sequence[Map]] | None = None) -> Execution:
    """Run on the reference and on the kernel, which must leave the same; gives the kernel's."""
    environment = Environment(cpus=possible_cpus())
    ours, theirs = maps or (create_maps(program.maps, environment), create_maps(program.maps, environment))
    kind = platform().program_type(program.program_type, program.expected_attach_type)
    context = usual_context(kind, packet)
    reference = run(program, packet=packet, context=context, maps=ours, environment=environment)
    execution = kernel(program, packet, maps=theirs, environment=environment)
    assert execution.outcome == reference.outcome
    assert execution.packet == reference.packet
    assert execution.context is not None
    assert reference.context is not None
    assert visible_context(kind, execution.context) == visible_context(kind, reference.context)
    return execution


# R0 ------------------------------------------------------------------------------------------------------------------


@needs_kernel
def test_all_bits_of_r0() -> None:
    program = text("r0 = 0x123456789abcdef0 ll\nr1 = *(u32 *)(r1 + 16)\nif r1 == 0 goto +2\nr0 = 1\nexit\nexit")
    assert both(program).outcome == Returned(0x123456789ABCDEF0)


@needs_kernel
def test_r0_of_a_program_with_a_full_stack_and_subprograms() -> None:
    program = text("*(u64 *)(r10 - 512) = 7\nr0 = *(u64 *)(r10 - 512)\nr0 = -r0\nexit")
    assert both(program).outcome == Returned(2**64 - 7)
    program = text("call local +1\nexit\nif r1 == 0 goto +2\nr0 = -5\nexit\nr0 = 1\nexit")
    assert both(program).outcome == Returned(2**64 - 5)


@needs_kernel
def test_a_program_that_ends_without_an_exit() -> None:
    """A legacy load beyond the packet returns 0 at once."""
    program = text("r6 = r1\nr0 = 5\nr0 = *(u8 *)skb[10000]\nexit", program_type="socket_filter")
    assert kernel(program).outcome == Returned(0)


def test_the_mark_decides() -> None:
    element = struct.pack("<QQ", 0x1_0000_0002, 1)
    assert results.read_result(element, 2) == 0x1_0000_0002
    assert results.read_result(bytes(16), 3) == 3
    with pytest.raises(RuntimeError, match="returned 0x3, but R0 was"):
        results.read_result(element, 3)


# Contexts ------------------------------------------------------------------------------------------------------------

SKB_FIELDS = (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 64, 68, 72, 160, 164, 176)


@needs_kernel
@pytest.mark.parametrize("packet", [
    bytes(64), b"\xff" * 64, b"\x01" + bytes(63), b"\x02" + bytes(13) + b"\x45" + bytes(60),
    bytes(12) + b"\x08\x00\x45" + bytes(60), bytes(12) + b"\x86\xdd\x60" + bytes(60),
    bytes(12) + b"\x00\x05" + bytes(40),
])  # fmt: skip
def test_the_usual_context_of_a_classifier(packet: bytes) -> None:
    for offset in SKB_FIELDS:
        both(text(f"r0 = *(u32 *)(r1 + {offset})\nexit", program_type="sched_cls"), packet)


@needs_kernel
def test_the_usual_context_of_a_socket_filter() -> None:
    packet = bytes(range(40))
    for offset in (0, 4, 8, 12, 16, 20, 24, 32, 40, 48, 68):
        both(text(f"r0 = *(u32 *)(r1 + {offset})\nexit", program_type="socket_filter"), packet)
    loads = text("r6 = r1\nr0 = *(u32 *)skb[8]\nexit", program_type="socket_filter")
    assert both(loads, packet).outcome == Returned(0x08090A0B)


@needs_kernel
def test_a_classifier_changes_its_context() -> None:
    program = text(
        "*(u32 *)(r1 + 8) = 77\n*(u32 *)(r1 + 52) = 5\n*(u32 *)(r1 + 32) = 3\nr0 = *(u32 *)(r1 + 48)\nexit",
        program_type="sched_cls",
    )
    context = both(program).context
    assert context is not None
    assert struct.unpack_from("<I", context, 8) == (77,)
    assert struct.unpack_from("<I", context, 52) == (5,)
    kind = platform().program_type("sched_cls", "")
    usual = usual_context(kind, bytes(64))
    assert usual is not None
    marked = usual[:48] + struct.pack("<I", 99) + usual[52:]
    assert kernel(program, context=marked).outcome == Returned(99)


@needs_kernel
def test_the_context_of_xdp() -> None:
    both(text("r0 = *(u32 *)(r1 + 12)\nr2 = *(u32 *)(r1 + 16)\nr0 <<= 8\nr0 |= r2\nexit"))
    with pytest.raises(EngineError, match="does not run main on this input"):
        kernel(text("r0 = 2\nexit"), context=struct.pack("<6I", 0, 0, 0, 12345, 0, 0))


def test_contexts_that_a_test_run_does_not_take() -> None:
    xdp, classifier = platform().program_type("xdp", ""), platform().program_type("sched_cls", "")
    with pytest.raises(EngineError, match="needs an ingress_ifindex"):
        to_kernel(xdp, bytes(64), bytes(24))
    usual = usual_context(classifier, bytes(64))
    assert usual is not None
    with pytest.raises(EngineError, match="cannot be set"):
        to_kernel(classifier, bytes(64), usual[:44] + b"\1" + usual[45:])  # tc_index
    with pytest.raises(EngineError, match="cannot be set"):
        to_kernel(classifier, bytes(60), usual)  # the length of another packet
    with pytest.raises(EngineError, match="bpf_sock_addr"):
        to_kernel(platform().program_type("cgroup_sock_addr", "cgroup_inet4_connect"), b"", b"")


@needs_kernel
def test_metadata_before_the_packet_is_no_packet() -> None:
    program = text("r6 = r1\nr2 = -8\ncall bpf_xdp_adjust_meta\nr0 = 2\nexit")
    execution = both(program, bytes(range(64)))
    assert execution.packet == bytes(range(64))


# Maps ----------------------------------------------------------------------------------------------------------------


def fill(map: Map, contents: dict[bytes, object]) -> Map:
    assert isinstance(map, HashMap | ArrayMap | MapOfMaps | ProgramArray | TargetMap)
    map.update(contents)  # type: ignore[arg-type]
    return map


LOOK_UP = """
r1 = map[idx:0] ll
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
call bpf_map_lookup_elem
if r0 == 0 goto +4
r1 = *(u64 *)(r0 + 0)
r1 += 1
*(u64 *)(r0 + 0) = r1
r0 = r1
exit
"""


@needs_kernel
@pytest.mark.parametrize("kind", [HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU])
def test_tables(kind: int) -> None:
    spec = MapSpec("table", kind, 4, 12, 3)
    per_cpu = kind in (PERCPU_HASH, PERCPU_ARRAY)
    value = struct.pack("<QI", 41, 9)
    environment = Environment(cpus=possible_cpus())
    contents: dict[bytes, object] = {
        struct.pack("<I", number): [value] * environment.cpus if per_cpu else value for number in (0, 2)
    }
    ours, theirs = (fill(create_map(spec, environment), contents) for _ in range(2))
    assert both(text(LOOK_UP, spec), maps=((ours,), (theirs,))).outcome == Returned(42)
    assert isinstance(ours, HashMap | ArrayMap)
    assert isinstance(theirs, HashMap | ArrayMap)
    assert dict(ours) == dict(theirs)
    assert KEY in theirs


@needs_kernel
def test_per_cpu_values_on_another_cpu() -> None:
    cpus = possible_cpus()
    environment = Environment(cpu=cpus - 1, cpus=cpus)
    maps = create_maps((MapSpec("table", PERCPU_ARRAY, 4, 8, 1),), environment)
    kernel(text(LOOK_UP, maps[0].spec), maps=maps, environment=environment)
    assert isinstance(maps[0], ArrayMap)
    assert maps[0][KEY] == [bytes(8)] * (cpus - 1) + [struct.pack("<Q", 1)]


def test_values_of_all_cpus() -> None:
    spec = MapSpec("table", PERCPU_ARRAY, 4, 5, 1)
    assert our_value(spec, kernel_value([b"abcde", b"fghij"])) == [b"abcde", b"fghij"]
    with pytest.raises(EngineError, match="use Environment"):
        KernelProgram(text("r0 = 2\nexit", spec)).run(packet=bytes(64), environment=Environment(cpus=77))


@needs_kernel
def test_elements_deleted_by_the_program_are_gone() -> None:
    spec = MapSpec("table", HASH, 4, 8, 3)
    source = "r1 = map[idx:0] ll\n*(u32 *)(r10 - 4) = 1\nr2 = r10\nr2 += -4\ncall bpf_map_delete_elem\nexit"
    contents: dict[bytes, object] = {struct.pack("<I", number): bytes(8) for number in range(3)}
    maps = tuple((fill(create_map(spec), contents),) for _ in range(2))
    both(text(source, spec), maps=maps)
    assert maps[0][0].keys() == maps[1][0].keys() == {KEY, struct.pack("<I", 2)}  # type: ignore[attr-defined]


RESERVE = """
r6 = 0
r1 = map[idx:0] ll
r2 = 24
r3 = 0
call bpf_ringbuf_reserve
if r0 == 0 goto +5
*(u64 *)(r0 + 0) = 1
*(u64 *)(r0 + 8) = 2
*(u64 *)(r0 + 16) = 3
r1 = r0
r2 = 0
"""


@needs_kernel
def test_ring_buffers() -> None:
    spec = MapSpec("ring", RINGBUF, 0, 0, 4096)
    source = (
        RESERVE.replace("goto +5", "goto +6") + "call bpf_ringbuf_submit\n"
        + RESERVE.replace("goto +5", "goto +6") + "call bpf_ringbuf_discard\n"
        + "*(u32 *)(r10 - 8) = 7\n*(u32 *)(r10 - 4) = 8\nr1 = map[idx:0] ll\nr2 = r10\nr2 += -7\nr3 = 5\nr4 = 0\n"
        "call bpf_ringbuf_output\nexit"
    )  # fmt: skip
    maps = ((RingBuffer(spec),), (RingBuffer(spec),))
    both(text(source, spec), maps=maps)
    assert maps[0][0].used == maps[1][0].used > 0
    records = [list(buffer[0].drain()) for buffer in maps]
    assert records[0] == records[1] == [struct.pack("<3Q", 1, 2, 3), b"\0\0\0\x08\0"]
    assert maps[0][0].consumed == maps[1][0].consumed


@needs_kernel
def test_a_ring_buffer_with_unread_records_is_refused() -> None:
    ring = RingBuffer(MapSpec("ring", RINGBUF, 0, 0, 4096))
    ring.submit(ring.reserve(8) or 0, bytes(8))
    with pytest.raises(EngineError, match="not read"):
        kernel(text("r0 = 2\nexit", ring.spec), maps=(ring,))


@needs_kernel
def test_tail_calls_reach_real_programs() -> None:
    jumps, table = MapSpec("jumps", PROG_ARRAY, 4, 4, 4), MapSpec("table", ARRAY, 4, 8, 1)
    caller = text("r2 = map[idx:0] ll\nr3 = 2\ncall bpf_tail_call\nr0 = 1\nexit", jumps)
    counting = text(LOOK_UP, table)
    for installed, result in ((2, 1), (1, 1)):
        sides = []
        for _ in range(2):
            array, values = ProgramArray(jumps), create_map(table)
            array.install(struct.pack("<I", installed), counting, (values,))
            sides.append((array, values))
        outcome = both(caller, maps=tuple((array,) for array, _ in sides)).outcome
        assert outcome == Returned(result)
        contents = [dict(values) for _, values in sides]  # type: ignore[call-overload]
        assert contents[0] == contents[1] == {KEY: struct.pack("<Q", 1 if installed == 2 else 0)}


@needs_kernel
def test_as_many_tail_calls_as_there_may_be() -> None:
    """A program that counts and then calls itself."""
    jumps, table = MapSpec("jumps", PROG_ARRAY, 4, 4, 1), MapSpec("table", ARRAY, 4, 8, 1)
    source = (
        "r6 = r1\n" + LOOK_UP.replace("\nexit", "").replace("map[idx:0]", "map[idx:1]").replace("goto +4", "goto +3")
        + "r1 = r6\nr2 = map[idx:0] ll\nr3 = 0\ncall bpf_tail_call\nr0 = 1\nexit"
    )  # fmt: skip
    program = text(source, jumps, table)
    sides = []
    for _ in range(2):
        array, values = ProgramArray(jumps), create_map(table)
        array.install(KEY, program, (array, values))
        sides.append((array, values))
    assert both(program, maps=sides).outcome == Returned(1)
    for _, values in sides:
        assert dict(values) == {KEY: struct.pack("<Q", 34)}  # type: ignore[call-overload]


@needs_kernel
@pytest.mark.parametrize("kind", [ARRAY_OF_MAPS, HASH_OF_MAPS])
def test_maps_of_maps(kind: int) -> None:
    inner = MapSpec("inner", ARRAY, 4, 8, 2)
    outer = MapSpec("outer", kind, 4, 4, 3, inner=inner)
    source = (
        "r1 = map[idx:0] ll\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall bpf_map_lookup_elem\n"
        "if r0 != 0 goto +1\nexit\nr1 = r0\n" + LOOK_UP.replace("r1 = map[idx:0] ll\n", "")
    )
    sides = []
    for _ in range(2):
        first = fill(create_map(inner), {KEY: struct.pack("<Q", 6)})
        sides.append((fill(create_map(outer), {KEY: first, struct.pack("<I", 1): create_map(inner)}), first))
    assert both(text(source, outer), maps=tuple((each,) for each, _ in sides)).outcome == Returned(7)
    assert dict(sides[0][1]) == dict(sides[1][1])  # type: ignore[call-overload]


@needs_kernel
def test_redirect_targets() -> None:
    devices = MapSpec("devices", DEVMAP, 4, 4, 4)
    source = "r1 = map[idx:0] ll\nr2 = 1\nr3 = 2\ncall bpf_redirect_map\nexit"
    for contents, result in (({}, 2), ({struct.pack("<I", 1): struct.pack("<I", 1)}, 4)):
        maps = tuple((fill(create_map(devices), contents),) for _ in range(2))  # type: ignore[arg-type]
        assert both(text(source, devices), maps=maps).outcome == Returned(result)
        assert dict(maps[1][0]) == contents  # type: ignore[call-overload]


def test_what_cannot_be_exchanged() -> None:
    cpus = fill(create_map(MapSpec("cpus", CPUMAP, 4, 4, 2)), {KEY: struct.pack("<I", 192)})
    with pytest.raises(EngineError, match="does not exchange"):
        kernel(text("r0 = 2\nexit", cpus.spec), maps=(cpus,))


@needs_kernel
def test_many_inputs_in_one_load() -> None:
    spec = MapSpec("table", ARRAY, 4, 8, 1)
    table = create_map(spec)
    runs = KernelProgram(text(LOOK_UP, spec)).run_all([(bytes(64), None)] * 500, maps=(table,))
    assert [execution.outcome for execution in runs] == [Returned(number) for number in range(1, 501)]
    assert dict(table) == {KEY: struct.pack("<Q", 500)}  # type: ignore[call-overload]
    again = KernelProgram(text(LOOK_UP, spec)).run_all([(bytes(64), None)], maps=(table,), repeat=10)
    assert again[0].outcome == Returned(510)


@needs_kernel
def test_example_with_subprograms_and_maps() -> None:
    for name in ("xdp_subprogram", "xdp_histogram", "xdp_globals"):
        loaded = load_object(examples.path(name))
        for program in loaded.programs.values():
            both(program, bytes(12) + b"\x08\x00\x45" + bytes(60))


def test_programs_that_are_none_of_the_kernels() -> None:
    with pytest.raises(EngineError, match="'socket'"):
        engine("kernel").load(Program("p", "", "socket", Interpreter(text("r0 = 2\nexit")).program.code))
