"""Helpers beyond what small programs show: formats, routes, records, and the support table itself."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.vm.environment import Environment, Route
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.checksum import csum_diff
from prevail_py.vm.helpers.table import HELPERS
from prevail_py.vm.interpreter import Execution, Interpreter, run
from prevail_py.vm.machine import Machine, Redirect
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.devices import TargetMap
from prevail_py.vm.maps.streams import PerfEventArray, PerfRecord, RingBuffer
from prevail_py.vm.memory import AddressSpace
from prevail_py.vm.outcome import Returned, TrapKind, Trapped
from prevail_py.vm.source.engine import SourceProgram


def execute(
    text: str,
    data: bytes = b"",
    maps: Sequence[MapSpec] = (),
    kind: str = "xdp",
    environment: Environment | None = None,
) -> Execution:
    """Run with ``data`` as map 0, so that ``map[idx:0][0]+N`` points into it."""
    specs = (MapSpec("data", 2, 4, max(len(data), 1), 1, initial=data), *maps)
    program = Program("p", kind, kind, assemble_text(text), specs)
    return run(program, packet=None if kind == "kprobe" else bytes(range(60)), environment=environment)


def test_every_helper_in_the_table_exists() -> None:
    platforms = platform(), platform("windows")
    assert set(HELPERS) <= {each.helper_name(number) for each in platforms for number in each.helper_ids()}


def test_every_helper_without_a_model_is_named() -> None:
    for number in platform().helper_ids():
        name, prototype = platform().helper_name(number), platform().helper(number)
        if name in HELPERS or prototype is None:
            continue
        callers = prototype.program_types
        kind = "xdp" if callers is None or "xdp" in callers else min(callers, default="tracing")
        attach_types = platform().attach_types_of_helpers.get((prototype.name, kind), frozenset({""}))
        section = "syscall" if kind == "syscall" else "fentry.s" if prototype.might_sleep else kind
        code = assemble_text(f"call {number}\nexit")
        program = Program("p", section, kind, code, expected_attach_type=min(attach_types))
        for loaded in (Interpreter(program), SourceProgram(program)):
            outcome = loaded.run().outcome
            assert isinstance(outcome, Trapped), name
            assert outcome.trap.kind is TrapKind.UNSUPPORTED, name
            assert outcome.trap.message == f"helper {name} is not implemented"


# Printing -----------------------------------------------------------------------------------------------------------


def printed(format: bytes, *values: str) -> tuple[int, tuple[str, ...]]:
    """What ``bpf_trace_printk`` returns and logs; ``values`` are sources of R3 to R5."""
    loads = "".join(f"r{register} = {value}\n" for register, value in enumerate(values, 3))
    text = f"r1 = map[idx:0][0]+16 ll\nr2 = {len(format)}\n{loads}call 6\nexit"
    execution = execute(text, b"hello\0".ljust(12, b"\0") + bytes([192, 0, 2, 1]) + format)
    assert isinstance(execution.outcome, Returned)
    value = execution.outcome.value
    return value - (1 << 64) if value >> 63 else value, execution.log


@pytest.mark.parametrize(
    ("format", "values", "line"),
    [
        (b"plain\0", (), "plain"),
        (b"%d %i\0", ("-1", "-2"), "-1 -2"),
        (b"%u\0", ("-1",), "4294967295"),
        (b"%lu %llu\0", ("-1", "7"), "18446744073709551615 7"),
        (b"%ld %lld\0", ("-1", "-7"), "-1 -7"),
        (b"%x %X %lx\0", ("255", "255", "-1"), "ff FF ffffffffffffffff"),
        (b"%5d|%-5d|%05d\0", ("42", "42", "42"), "   42|42   |00042"),
        (b"100%% %c\0", ("65",), "100% A"),
        (b"%s\0", ("map[idx:0][0]+0 ll",), "hello"),
        (b"%s!\0", ("0",), "!"),
        (b"%pI4\0", ("map[idx:0][0]+12 ll",), "192.0.2.1"),
        (b"%pI4\0", ("0",), "0.0.0.0"),
        (b"%pI6\0", ("0",), ":".join(["0000"] * 8)),
        (b"%p\0", ("4096",), "0000000000001000"),
        (b"%d\0ignored %d %d %d %d\0", ("1",), "1"),
    ],
)
def test_format(format: bytes, values: tuple[str, ...], line: str) -> None:
    assert printed(format, *values) == (len(line), (line,))


REFUSED = [b"no end", b"%d %d %d %d\0", b"%f\0", b"%\0", b"%lld%lls\0", b"\x01\0", b"%q\0"]


@pytest.mark.parametrize("format", REFUSED)
def test_formats_that_are_refused(format: bytes) -> None:
    assert printed(format, "1", "2", "3") == (-errno.EINVAL, ())


def test_fields_have_a_largest_width() -> None:
    assert printed(b"%" + b"9" * 5000 + b"d\0", "5") == (1024, (" " * 1023 + "5",))


def test_registers_that_were_never_written_print_as_zero() -> None:
    assert printed(b"%d %d\0", "5") == (3, ("5 0",))


def test_vprintk() -> None:
    text = (
        "*(u64 *)(r10 - 16) = 3\nr1 = map[idx:0][0]+0 ll\n*(u64 *)(r10 - 8) = r1\nr2 = 12\nr3 = r10\nr3 += -16\n"
        "r4 = {}\ncall 177\nexit"
    )
    assert execute(text.format(16), b"%lld of %s.\0").log == ("3 of %lld of %s..",)
    assert execute(text.format(8), b"%lld of %s.\0").outcome == Returned(2**64 - errno.EINVAL)
    assert execute(text.format(4), b"%lld of %s.\0").outcome == Returned(2**64 - errno.EINVAL)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("%%%%dsulxXcpi4I6 "), max_size=40))
def test_any_format(format: str) -> None:
    result, log = printed(format.encode() + b"\0", "-1", "map[idx:0][0]+0 ll", "r1")
    assert (result, log) == (-errno.EINVAL, ()) or (len(log) == 1 and result == len(log[0]))


# Checksums ----------------------------------------------------------------------------------------------------------


def difference(before: bytes, after: bytes, seed: int) -> int:
    space = AddressSpace()
    arguments = []
    for content in (before, after):
        region = space.memory(content)
        arguments += [Argument(region.base, region, 0, len(content)), Argument(len(content))]
    return csum_diff(Machine(platform(), Environment()), [*arguments, Argument(seed)])


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 2**32 - 1))
def test_checksum_difference(before: bytes, after: bytes, seed: int) -> None:
    """RFC 1071: the sum of 16-bit words modulo 2**16 - 1, where 0 and 2**16 - 1 are the same."""

    def total(content: bytes) -> int:
        return sum(int.from_bytes(content[i : i + 2], "little") for i in range(0, len(content), 2))

    result = difference(before, after, seed)
    assert 0 <= result <= 0xFFFF
    assert (result - (seed + total(after) - total(before))) % 0xFFFF == 0


def test_an_incremental_checksum() -> None:
    """Replacing an address in a header and folding the difference in gives the checksum of the new header."""
    header = bytes.fromhex("4500003c1c4640004006b1e6ac100a63ac100a0c")

    def checksum(content: bytes) -> int:
        return ~difference(b"", content, 0) & 0xFFFF

    assert checksum(header) == 0
    changed = header[:12] + bytes([10, 0, 0, 1]) + header[16:]
    old = int.from_bytes(header[10:12], "little")
    new = ~difference(header[12:16], changed[12:16], ~old & 0xFFFF) & 0xFFFF
    assert checksum(changed[:10] + new.to_bytes(2, "little") + changed[12:]) == 0


# Routes -------------------------------------------------------------------------------------------------------------

ROUTES = (
    Route(IPv4Network("10.0.0.0/8"), 3, bytes([1] * 6), bytes([2] * 6)),
    Route(IPv4Network("10.1.0.0/16"), 4, bytes([3] * 6), bytes([4] * 6)),
    Route(IPv6Network("2001:db8::/32"), 5),
)


def routed(parameters: bytes, flags: int = 0, size: int = 64) -> tuple[int, bytes]:
    text = f"r2 = map[idx:0][0]+0 ll\nr3 = {size}\nr4 = {flags}\ncall 69\nexit"
    program = Program("p", "xdp", "xdp", assemble_text(text), (MapSpec("data", 2, 4, 64, 1, initial=parameters),))
    maps = create_maps(program.maps)
    outcome = run(program, maps=maps, environment=Environment(routes=ROUTES)).outcome
    assert isinstance(outcome, Returned)
    contents = maps[0]
    assert isinstance(contents, dict) or hasattr(contents, "__getitem__")
    return outcome.value, contents[bytes(4)]


def parameters(family: int, destination: bytes) -> bytes:
    return bytes([family]) + bytes(7) + b"\1" + bytes(23) + destination.ljust(16, b"\0") + bytes(16)


def test_the_longest_prefix_wins() -> None:
    result, content = routed(parameters(2, bytes([10, 1, 2, 3])))
    assert result == 0
    assert content[8:12] == b"\4\0\0\0"
    assert content[48:64] == bytes(4) + bytes([3] * 6) + bytes([4] * 6)
    result, content = routed(parameters(2, bytes([10, 2, 2, 3])))
    assert (result, content[8]) == (0, 3)


def test_routes_of_ipv6() -> None:
    result, content = routed(parameters(10, bytes.fromhex("20010db8000000000000000000000001")))
    assert (result, content[8]) == (0, 5)


def test_no_route() -> None:
    given = parameters(2, bytes([11, 1, 2, 3]))
    assert routed(given) == (4, given)
    assert routed(given, flags=64)[0] == 2**64 - errno.EINVAL
    assert routed(given, size=63)[0] == 2**64 - errno.EINVAL


def test_a_route_has_whole_addresses() -> None:
    with pytest.raises(ValueError, match="a MAC address has 6 bytes"):
        Route(IPv4Network("10.0.0.0/8"), 3, b"\1")


# Records ------------------------------------------------------------------------------------------------------------

OUTPUT = "r4 = map[idx:0][0]+0 ll\nr5 = 4\nr3 = {} ll\nr2 = map[idx:1] ll\ncall 25\nexit"


def test_perf_records_with_the_packet() -> None:
    execution = execute(OUTPUT.format(0x3FFFFFFFF), b"data", [MapSpec("events", 4, 4, 4, 0)])
    assert execution.outcome == Returned(0)
    events = execution.maps[1]
    assert isinstance(events, PerfEventArray)
    assert events.records == [PerfRecord(0, b"data", b"\0\1\2")]


@pytest.mark.parametrize(
    ("flags", "kind", "error"),
    [(61 << 32, "xdp", errno.EFAULT), (1 << 60, "xdp", errno.EINVAL), (1 << 32, "kprobe", errno.EINVAL)],
)
def test_perf_records_that_are_refused(flags: int, kind: str, error: int) -> None:
    execution = execute(OUTPUT.format(flags), b"data", [MapSpec("events", 4, 4, 4, 0)], kind)
    assert execution.outcome == Returned(2**64 - error)


def test_ring_buffer_records() -> None:
    text = (
        "r1 = map[idx:1] ll\nr2 = 8\nr3 = 0\ncall 131\nif r0 == 0 goto +4\n"
        "*(u64 *)(r0 + 0) = 7\nr1 = r0\nr2 = 0\ncall 132\n"
        "r2 = map[idx:0][0]+0 ll\nr1 = map[idx:1] ll\nr3 = 4\nr4 = 0\ncall 130\nr0 = 0\nexit"
    )
    execution = execute(text, b"data", [MapSpec("ring", 27, 0, 0, 4096)])
    assert execution.outcome == Returned(0)
    ring = execution.maps[1]
    assert isinstance(ring, RingBuffer)
    assert list(ring.drain()) == [b"\7" + bytes(7), b"data"]


# Redirection --------------------------------------------------------------------------------------------------------


def test_where_a_redirect_goes() -> None:
    assert execute("r1 = 7\nr2 = 0\ncall 23\nexit").redirect == Redirect(ifindex=7)
    spec = MapSpec("devices", 25, 4, 4, 2)
    program = Program("p", "xdp", "xdp", assemble_text("r1 = map[idx:0] ll\nr2 = 9\nr3 = 0\ncall 51\nexit"), (spec,))
    maps = create_maps([spec])
    assert run(program, maps=maps).redirect is None
    assert isinstance(maps[0], TargetMap)
    maps[0][b"\x09\0\0\0"] = b"\x05\0\0\0"
    assert run(program, maps=maps).redirect == Redirect(map="devices", key=9)


# The environment ----------------------------------------------------------------------------------------------------


def test_the_current_process() -> None:
    environment = Environment(pid=3, tgid=2, uid=5, gid=4, comm=b"name")
    assert execute("call 14\nexit", environment=environment, kind="kprobe").outcome == Returned(2 << 32 | 3)
    assert execute("call 15\nexit", environment=environment, kind="kprobe").outcome == Returned(4 << 32 | 5)


def test_environments_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="CPU 2 is not one of 2"):
        Environment(cpu=2, cpus=2)
    with pytest.raises(ValueError, match="at most 15 bytes"):
        Environment(comm=bytes(16))
