"""XDP between network namespaces: real sockets at both ends, and the host as the wire between them."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.session import Session
from prevail_py.host.hooks.live_xdp import XdpHook
from prevail_py.host.hooks.ports import Frame, complete_checksum
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.research.namespaces import Namespace, joined, namespace, three_in_line
from tests.host.context.conftest import honest
from tests.host.context.tools import COUNTER, DROP, PASS, info, load, new_map, refused
from tests.host.network import require

LEFT, RIGHT = "10.1.2.1", "10.1.2.2"


@dataclass(frozen=True)
class Net:
    """left (l0) == (h0) the host (h1) == (r0) right, one IP network; a second wire, h2 to h3, with somebody at m0."""

    left: Namespace
    middle: Namespace
    right: Namespace
    monitor: Namespace
    hook: XdpHook
    session: Session
    context: ExecutionContext
    indices: dict[str, int]

    def attach(self, program: int, interface: str = "h0") -> int:
        handle: int = self.session.call(
            "link_create", program=program, hook=None, parameters={"interface": interface}, held=False
        )
        return handle


@pytest.fixture(scope="module")
def namespaces() -> Iterator[tuple[Namespace, Namespace, Namespace, Namespace]]:
    require()
    with three_in_line(LEFT, RIGHT) as (left, middle, right), namespace() as monitor:
        joined(monitor, "m0", middle, "h2")
        joined(monitor, "m1", middle, "h3")
        monitor.no_ipv6()
        for each, names in ((middle, "h2 h3"), (monitor, "m0 m1")):
            for name in names.split():
                each.ip("link", "set", name, "up")
        yield left, middle, right, monitor


@pytest.fixture
def net(namespaces: tuple[Namespace, Namespace, Namespace, Namespace]) -> Iterator[Net]:
    left, middle, right, monitor = namespaces
    hook = XdpHook()
    middle.inside(lambda: hook.wire("h0", "h1"))
    middle.inside(lambda: hook.wire("h2", "h3"))
    indices = middle.inside(lambda: {name: socket.if_nametoindex(name) for name in ("h0", "h1", "h2", "h3")})
    with ExecutionContext(admissions=honest(), ready=(hook,)) as context, context.session() as session:
        yield Net(left, middle, right, monitor, hook, session, context, indices)


def settle(net: Net, interface: str, counter: str, least: int) -> int:
    """The counter once it has reached ``least``: the last frames may still be on their way."""
    deadline = time.monotonic() + 5
    while net.hook.counters(interface)[counter] < least and time.monotonic() < deadline:
        time.sleep(0.01)
    return net.hook.counters(interface)[counter]


def test_a_bare_wire(net: Net) -> None:
    assert net.left.ping(LEFT, RIGHT)
    assert net.right.ping(RIGHT, LEFT)
    received = settle(net, "h0", "received", 2)
    assert settle(net, "h0", "passed", received) == received > 1


def test_pass_and_drop(net: Net) -> None:
    """The same sockets before, while and after a program drops what arrives at one end."""
    counter = load(net.session, COUNTER, engine="source")
    link = net.attach(counter)
    with net.left.udp(LEFT, 0) as client, net.right.udp(RIGHT, 7) as server:
        for number in range(20):
            client.sendto(b"ask %d" % number, (RIGHT, 7))
            question, address = server.recvfrom(100)
            server.sendto(b"answer to " + question, address)
            assert client.recv(100) == b"answer to ask %d" % number
        counted = int.from_bytes(net.session.call("map_lookup", handle=1, key=bytes(4), flags=0)[:8], "little")
        assert counted == info(net.session, counter)["run_count"] >= 20
        net.session.call("link_update", link=link, program=load(net.session, replace(DROP, expected_attach_type="xdp")))
        server.settimeout(0.3)
        client.sendto(b"nobody hears this", (RIGHT, 7))
        with pytest.raises(TimeoutError):
            server.recv(100)
        assert not net.left.ping(LEFT, RIGHT, 0.4)
        assert settle(net, "h0", "dropped", 2) >= 2
        net.session.call("link_detach", link=link)
        client.sendto(b"again", (RIGHT, 7))
        assert server.recv(100) == b"again"


def test_only_what_arrives_there(net: Net) -> None:
    """A program at one end says nothing of what comes from the other."""
    net.attach(load(net.session, DROP), "h0")
    with net.left.udp(LEFT, 9) as client, net.right.udp(RIGHT, 0) as server:
        net.left.ip("neigh", "replace", RIGHT, "lladdr", mac(net.right, "r0"), "dev", "l0")
        net.right.ip("neigh", "replace", LEFT, "lladdr", mac(net.left, "l0"), "dev", "r0")
        server.sendto(b"to the left", (LEFT, 9))
        assert client.recv(100) == b"to the left"


def mac(where: Namespace, name: str) -> str:
    return where.inside(lambda: mac_of(name))


def mac_of(name: str) -> str:
    import fcntl
    import struct

    with socket.socket() as any_socket:
        answer = fcntl.ioctl(any_socket, 0x8927, struct.pack("256s", name.encode()))  # SIOCGIFHWADDR
    return answer[18:24].hex(":")


SWAP = """
r2 = *(u32 *)(r1 + 0)
r3 = *(u32 *)(r1 + 4)
r4 = r2
r4 += 34
if r4 > r3 goto out
r5 = *(u8 *)(r2 + 23)
if r5 != 17 goto out
r5 = *(u16 *)(r2 + 0)
r6 = *(u32 *)(r2 + 2)
r7 = *(u32 *)(r2 + 6)
r8 = *(u16 *)(r2 + 10)
*(u32 *)(r2 + 0) = r7
*(u16 *)(r2 + 4) = r8
*(u16 *)(r2 + 6) = r5
*(u32 *)(r2 + 8) = r6
r5 = *(u32 *)(r2 + 26)
r6 = *(u32 *)(r2 + 30)
*(u32 *)(r2 + 26) = r6
*(u32 *)(r2 + 30) = r5
r0 = 3
exit
out:
r0 = 2
exit
"""


def test_tx_sends_back(net: Net) -> None:
    """Addresses are swapped, so that the sender hears itself, from the address that it sent to."""
    net.attach(load(net.session, assemble(SWAP, name="reflect")))
    with net.left.udp(LEFT, 5000) as client, net.right.udp(RIGHT, 5000) as server:
        server.settimeout(0.3)
        client.sendto(b"echo?", (RIGHT, 5000))
        assert client.recvfrom(100) == (b"echo?", (RIGHT, 5000))
        with pytest.raises(TimeoutError):
            server.recv(100)
        assert net.hook.counters("h0")["sent_back"] >= 1


def test_redirect_through_a_device_map(net: Net) -> None:
    """What arrives at h0 goes out of h2, to the third namespace; an empty slot means PASS, as the program asks."""
    devices = MapSpec("devices", 14, 4, 4, 4)
    text = "r1 = map[idx:0] ll\nr2 = 1\nr3 = 2\ncall 51\nexit"
    program = replace(assemble(text, name="divert"), maps=(devices,))
    handle = new_map(net.session, devices)
    net.attach(load(net.session, program, [handle]))
    assert net.left.ping(LEFT, RIGHT)
    key = (1).to_bytes(4, "little")
    target = net.indices["h2"].to_bytes(4, "little")
    net.session.call("map_update", handle=handle, key=key, value=target, flags=0)
    listener = net.monitor.inside(lambda: raw_socket("m0"))
    with listener, net.left.udp(LEFT, 0) as client:
        client.sendto(b"diverted", (RIGHT, 7))
        assert heard(listener, b"diverted")
        assert settle(net, "h0", "redirected", 1) >= 1
        net.session.call("map_update", handle=handle, key=key, value=(4711).to_bytes(4, "little"), flags=0)
        lost = net.hook.counters("h0")["lost"]
        client.sendto(b"nowhere", (RIGHT, 7))
        assert settle(net, "h0", "lost", lost + 1) > lost


def raw_socket(name: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.bind((name, 0))
    made.settimeout(3)
    return made


def heard(listener: socket.socket, what: bytes) -> bool:
    with suppress(TimeoutError):
        while True:
            if what in listener.recv(2048):
                return True
    return False


def test_large_packets(net: Net) -> None:
    """TCP, whose segments veth does not cut: carried whole past a program that leaves them alone."""
    net.attach(load(net.session, PASS, engine="source"))
    server = net.right.inside(lambda: socket.create_server((RIGHT, 8000)))
    server.settimeout(5)
    with server:
        client = net.left.inside(lambda: socket.create_connection((RIGHT, 8000), timeout=5))
        connection, _ = server.accept()
        connection.settimeout(5)
        with client, connection:
            data = bytes(range(256)) * 1024
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            received = b""
            while part := connection.recv(65536):
                received += part
            assert received == data


def test_a_tap_device(namespaces: tuple[Namespace, ...]) -> None:
    """The kernel's own stack behind a program: the interface of the wire is a TAP device with an address."""
    require()
    with namespace() as outside, namespace() as host:
        joined(outside, "o0", host, "h0")
        for each, name in ((outside, "o0"), (host, "h0")):
            each.no_ipv6()
            each.ip("link", "set", name, "up")
        outside.ip("addr", "add", f"{LEFT}/24", "dev", "o0")
        host.answers_for("h0")  # or the kernel would be reached past the wire, where that answer comes last
        hook = XdpHook()
        host.inside(lambda: hook.wire("h0", "tap:stack0"))
        host.ip("addr", "add", f"{RIGHT}/24", "dev", "stack0")
        host.ip("link", "set", "stack0", "up")
        with ExecutionContext(admissions=honest(), ready=(hook,)) as context, context.session() as session:
            assert outside.ping(LEFT, RIGHT)
            session.call(
                "link_create", program=load(session, DROP), hook=None, parameters={"interface": "h0"}, held=True
            )
            assert not outside.ping(LEFT, RIGHT, 0.4)
            assert session.call("info", handle=session.call("open_id", kind="link", id=1))["state"]["dropped"] >= 1


def test_what_cannot_be_attached(net: Net) -> None:
    program = load(net.session)
    net.attach(program)
    assert "already" in str(refused(errno.EBUSY, net.attach, program))
    assert "on no wire" in str(refused(errno.ENODEV, net.attach, program, "lo"))
    create = net.session.call
    arguments = {"program": program, "hook": None, "held": False}
    refused(errno.EINVAL, create, "link_create", parameters={}, **arguments)
    refused(errno.EINVAL, create, "link_create", parameters={"ifindex": 1, "x": 2}, **arguments)
    with pytest.raises(OSError, match="already"):
        net.middle.inside(lambda: net.hook.wire("h0", "h1"))
    with pytest.raises(OSError, match="no interface"):
        net.middle.inside(lambda: net.hook.wire("h9", "h8"))
    other: Program = replace(PASS, expected_attach_type="xdp_devmap")
    refused(errno.EOPNOTSUPP, net.attach, load(net.session, other))


def words(data: bytes) -> int:
    return sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))


@pytest.mark.parametrize("data", [bytes([1, 2, 3, 4, 0, 9]) + b"odd", bytes(8), b"\xff" * 40, bytes(range(200))])
def test_checksums_are_completed(data: bytes) -> None:
    """What the field held (the sum of the pseudo-header), all other words and the checksum add up to 0 (RFC 1071)."""
    done = complete_checksum(data, 0, 4)
    assert done[:4] + done[6:] == data[:4] + data[6:]
    assert done[4:6] != bytes(2)
    assert (words(data) + words(done[4:6])) % 0xFFFF == 0
    assert complete_checksum(data, 0, len(data)) == data
    assert Frame(data).completed() == Frame(data)


def test_without_its_checksum_a_changed_packet_is_lost(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sender left to its hardware would be left undone."""
    monkeypatch.setattr(Frame, "completed", lambda frame: frame)
    net.attach(load(net.session, assemble(SWAP, name="reflect")))
    with net.left.udp(LEFT, 5000) as client:
        client.settimeout(0.3)
        client.sendto(b"echo?", (RIGHT, 5000))
        with pytest.raises(TimeoutError):
            client.recv(100)
        assert settle(net, "h0", "sent_back", 1) >= 1
