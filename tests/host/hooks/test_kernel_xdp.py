"""The kernel's own XDP as oracle: the same program on the same interface, for the same frames as at our live hook.

All happens in network namespaces of the test.  The kernel's program is attached to an end of a veth in one of them, by
a process that lives there; that it cannot be attached elsewhere is in ``tests/libbpf/test_both.py``.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.host.capture import read_capture
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.model import Connection
from prevail_py.host.hooks.live_xdp import XdpHook
from prevail_py.host.hooks.ports import PacketSocket
from prevail_py.libbpf.kernel import kernel_session
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.research.namespaces import Namespace, three_in_line
from tests.host.context.conftest import honest
from tests.host.context.tools import load, new_map
from tests.host.network import require

# By the first byte behind the Ethernet header: dropped, passed, sent back, an error; another byte is changed before.
DECIDE = """
r7 = r1
r2 = *(u32 *)(r1 + 0)
r3 = *(u32 *)(r1 + 4)
r4 = r2
r4 += 20
if r4 > r3 goto out
r6 = *(u8 *)(r2 + 14)
*(u8 *)(r2 + 19) = 77
r6 &= 3
*(u32 *)(r10 - 4) = r6
r2 = r10
r2 += -4
r1 = map[idx:0] ll
call 1
if r0 == 0 goto out
r1 = 1
lock *(u64 *)(r0 + 0) += r1
if r6 == 0 goto drop
if r6 == 1 goto out
if r6 == 2 goto send
r0 = 0
exit
drop:
r0 = 1
exit
send:
r0 = 3
exit
out:
r0 = 2
exit
"""
VERDICTS = MapSpec("verdicts", 2, 4, 8, 4)
DEVICES = 14


def decide(text: str = DECIDE) -> Program:
    return replace(assemble(text, name="decide"), maps=(VERDICTS,))


@dataclass(frozen=True)
class Net:
    """left (l0) == (h0) middle (h1) == (r0) right."""

    left: Namespace
    middle: Namespace
    right: Namespace


@dataclass(frozen=True)
class Effects:
    """What became of the frames: those that were carried on, sorted, those that came back, and what the maps hold."""

    carried: list[bytes]
    returned: list[bytes]
    maps: list[dict[bytes, list[int] | bytes]]


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    require()
    with three_in_line() as (left, middle, right):
        yield Net(left, middle, right)


def frames() -> list[bytes]:
    """Those of the examples' capture, and some for :data:`DECIDE`."""
    captured = [each.data for each in read_capture(examples.path("xdp_counter").with_name("traffic.pcap"))]
    own = [bytes(12) + b"\x88\xb5" + bytes([number]) + bytes(range(45)) for number in range(16)]
    tagged = [each[:12] + b"\x81\x00\x00\x07" + each[12:] for each in captured[:4]]
    return [each for each in captured if 14 <= len(each) <= 1500][:60] + own + tagged


def drained(port: PacketSocket) -> list[bytes]:
    """What has arrived, until nothing does any more."""
    found: list[bytes] = []
    quiet = time.monotonic() + 0.2
    while time.monotonic() < quiet:
        frame = port.receive()
        if frame is None:
            time.sleep(0.005)
        else:
            found.append(frame.data)
            quiet = time.monotonic() + 0.2
    return found


def prepared(net: Net, session: Connection, program: Program) -> tuple[int, list[int]]:
    """The program, with maps that hold something: a blocked source, the device behind each port."""
    maps = [new_map(session, spec) for spec in program.maps]
    for handle, spec in zip(maps, program.maps, strict=True):
        if spec.name == "blocked_sources":
            for source in {each[26:30] for each in frames()[:40:3] if each[12:14] == b"\x08\x00"}:
                session.call("map_update", handle=handle, key=source, value=bytes(spec.value_size), flags=0)
        elif spec.type == DEVICES:
            device = net.middle.inside(lambda: socket.if_nametoindex("h1"))
            for key in range(spec.max_entries):
                session.call(
                    "map_update",
                    handle=handle,
                    key=key.to_bytes(4, "little"),
                    value=device.to_bytes(4, "little"),
                    flags=0,
                )
    return load(session, program, maps, engine="source"), maps


def contents(session: Connection, program: Program, maps: list[int]) -> list[dict[bytes, list[int] | bytes]]:
    """What the maps hold; of those with a value for each CPU the sums of their words."""
    found = []
    for handle, spec in zip(maps, program.maps, strict=True):
        rows = session.call("map_lookup_batch", handle=handle, at=0, count=1000)
        values = [_summed(spec, value) if spec.type in (5, 6) else value for value in rows["values"]]
        found.append(dict(zip(rows["keys"], values, strict=True)))
    return found


def _summed(spec: MapSpec, value: bytes) -> list[int]:
    stride = spec.value_size + -spec.value_size % 8
    words = range(0, spec.value_size // 8 * 8, 8)
    return [
        sum(int.from_bytes(value[cpu + at : cpu + at + 8], "little") for cpu in range(0, len(value), stride))
        for at in words
    ]


def at_our_hook(net: Net, program: Program) -> Effects:
    """The host is the wire between h0 and h1."""
    hook = XdpHook()
    net.middle.inside(lambda: hook.wire("h0", "h1"))
    with ExitStack() as stack:
        context = stack.enter_context(ExecutionContext(admissions=honest(), ready=(hook,)))
        session = stack.enter_context(context.session())
        handle, maps = prepared(net, session, program)
        parameters = {"interface": "h0"}
        session.call("link_create", program=handle, hook=None, parameters=parameters, held=False)
        returned, carried = net.left.inside(lambda: PacketSocket("l0")), net.right.inside(lambda: PacketSocket("r0"))
        stack.callback(returned.close)
        stack.callback(carried.close)
        sent = send(net)
        deadline = time.monotonic() + 20
        while done(hook) < sent and time.monotonic() < deadline:
            time.sleep(0.01)
        return Effects(sorted(drained(carried)), drained(returned), contents(session, program, maps))


def done(hook: XdpHook) -> int:
    """How many frames that arrived at h0 have found their end."""
    counters = hook.counters("h0")
    return sum(counters[name] for name in ("passed", "dropped", "sent_back", "redirected", "aborted", "lost"))


def in_the_kernel(net: Net, program: Program) -> Effects:
    """Its program is at h0; what it passes reaches whoever listens there, what it redirects the other end of h1."""
    with ExitStack() as stack:
        session = stack.enter_context(kernel_session())
        maps_and_program = net.middle.inside(lambda: prepared(net, session, program))  # where the keeper is started
        handle, maps = maps_and_program
        device = net.middle.inside(lambda: socket.if_nametoindex("h0"))
        link = session.call("link_create", program=handle, hook=None, parameters={"ifindex": device}, held=False)
        ports = [
            net.left.inside(lambda: PacketSocket("l0")),
            net.middle.inside(lambda: PacketSocket("h0")),
            net.right.inside(lambda: PacketSocket("r0")),
        ]
        for each in ports:
            stack.callback(each.close)
        send(net)
        carried = drained(ports[1]) + drained(ports[2])
        effects = Effects(sorted(carried), drained(ports[0]), contents(session, program, maps))
        session.call("link_detach", link=link)
        return effects


def send(net: Net) -> int:
    """From the left end, as they are."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.bind(("l0", 0))
        return made

    with net.left.inside(make) as made:
        for each in frames():
            made.send(each)
    return len(frames())


PROGRAMS = ("xdp_counter", "xdp_firewall", "xdp_rewrite", "xdp_vlan_pop", "xdp_parser", "xdp_redirect")


@pytest.mark.parametrize("name", ["decide", *PROGRAMS])
def test_the_kernel_does_the_same(kernel: None, net: Net, name: str) -> None:
    if name == "decide":
        program = decide()
    else:
        (program,) = load_object(examples.path(name)).programs.values()
    ours, theirs = at_our_hook(net, program), in_the_kernel(net, program)
    assert ours.carried == theirs.carried
    assert ours.returned == theirs.returned
    assert ours.maps == theirs.maps
    assert ours.carried
    if name == "decide":
        assert len(ours.returned) == sum(each[14] & 3 == 2 for each in frames() if len(each) >= 20)
        assert [int.from_bytes(ours.maps[0][bytes([key, 0, 0, 0])], "little") for key in range(4)] == [
            sum(each[14] & 3 == key for each in frames() if len(each) >= 20) for key in range(4)
        ]
    if name in ("xdp_rewrite", "decide"):
        assert ours.returned
    if name in ("xdp_firewall", "xdp_vlan_pop"):
        assert ours.carried != sorted(frames())


def test_a_planted_difference_is_seen(kernel: None, net: Net) -> None:
    """A host that sent back what it should drop, or changed another byte, or counted wrongly."""
    theirs = in_the_kernel(net, decide())
    for old, new, field in (
        ("r0 = 1\nexit", "r0 = 3\nexit", "returned"),
        ("+ 19) = 77", "+ 18) = 77", "carried"),
        ("r1 = 1\nlock", "r1 = 2\nlock", "maps"),
    ):
        assert old in DECIDE
        ours = at_our_hook(net, decide(DECIDE.replace(old, new)))
        assert getattr(ours, field) != getattr(theirs, field)


def test_other_interfaces_are_left_alone(kernel: None, net: Net) -> None:
    """A keeper that lives in the machine's network namespace attaches nothing there; one in its own only there."""
    with kernel_session() as session:
        handle, _ = prepared(net, session, decide())  # here: in the machine's
        arguments: dict[str, Any] = {"program": handle, "hook": None, "parameters": {"ifindex": 1}, "held": False}
        with pytest.raises(OSError, match="network namespace of the machine: only in one of our own"):
            session.call("link_create", **arguments)
