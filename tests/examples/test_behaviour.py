"""What the safe examples do to packets, on every engine: actions, bytes sent on, counters.

The expectations are written down by hand from the sources.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import dpkt
import pytest

from prevail_py import examples
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.research import frames
from prevail_py.research.frames import ICMP, IPV4, IPV4_A, IPV4_B, IPV6, MAC_A, MAC_B, TCP, UDP, ethernet, ipv4, ipv6
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import run
from prevail_py.vm.kernel.engine import KernelAnswer, RunInput, Session
from prevail_py.vm.maps import Map, create_maps, has_values
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.outcome import Returned

DROP, PASS, TX, REDIRECT = 1, 2, 3, 4
BLOCKED = bytes([203, 0, 113, 13])
SYN = 0x02

Rules: TypeAlias = Mapping[str, Mapping[bytes, bytes]]


@dataclass(frozen=True)
class Run:
    """One run: ``counters`` are the u64 words of every map's values by map and key, summed over CPUs."""

    action: int
    packet: bytes
    counters: Mapping[str, Mapping[bytes, tuple[int, ...]]]


Engine: TypeAlias = Callable[[Program, Sequence[bytes], Rules], Sequence[Run]]
"""Runs a program on packets in order; maps start with the rules and keep what happens to them."""


def words(program: Program, index: int, value: bytes) -> tuple[int, ...]:
    """The u64 words of one value as user space reads it: per-CPU values lie one after the other and are added."""
    spec = program.maps[index]
    size = (spec.value_size + 7) // 8 * 8
    parts = [value[at : at + size].ljust(size, b"\0") for at in range(0, len(value), size)]
    return tuple(sum(column) for column in zip(*(struct.unpack(f"<{size // 8}Q", part) for part in parts), strict=True))


def in_kernel(program: Program, packets: Sequence[bytes], rules: Rules) -> Sequence[Run]:
    index = {spec.name: number for number, spec in enumerate(program.maps)}
    contents = {index[name]: dict(entries) for name, entries in rules.items()}
    inputs = [RunInput(packet, maps={} if number else contents) for number, packet in enumerate(packets)]
    with Session() as session:
        runs = session.run(program, inputs, read_each=True)
    assert not isinstance(runs, KernelAnswer), runs
    assert not [one.error for one in runs if one.error]
    return [
        Run(
            one.return_value,
            one.packet,
            {
                program.maps[at].name: {key: words(program, at, value) for key, value in entries.items()}
                for at, entries in one.maps.items()
            },
        )
        for one in runs
    ]


def fresh_maps(program: Program, rules: Rules, environment: Environment) -> tuple[Map, ...]:
    maps = create_maps(program.maps, environment)
    for one in maps:
        if isinstance(one, MutableMapping):
            one.update(rules.get(one.spec.name, {}))
    return maps


def in_interpreter(program: Program, packets: Sequence[bytes], rules: Rules) -> Sequence[Run]:
    environment = Environment(cpus=2, cpu=1)
    maps = fresh_maps(program, rules, environment)
    runs = []
    for packet in packets:
        execution = run(program, packet=packet, maps=maps, environment=environment)
        assert isinstance(execution.outcome, Returned), execution.outcome
        assert execution.packet is not None
        counters = {
            one.spec.name: {
                bytes(entry): words(program, at, content if isinstance(content, bytes) else b"".join(content))
                for entry, content in one.items()
            }
            for at, one in enumerate(maps)
            if has_values(one) and isinstance(one, Mapping)
        }
        runs.append(Run(execution.outcome.value & 0xFFFFFFFF, execution.packet, counters))
    return runs


@pytest.fixture(params=["interpreter", "kernel"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "interpreter":
        return in_interpreter
    request.getfixturevalue("kernel")
    return in_kernel


def the_program(name: str, program: str | None = None) -> Program:
    return load_object(examples.path(name)).programs[program or examples.EXAMPLES[name].program]


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def tcp4(port: int, *, source: bytes = IPV4_A, options: bytes = b"", ip_options: bytes = b"") -> bytes:
    segment = frames.tcp(b"", 40000, port, flags=SYN, options=options, source=source)
    return ethernet(IPV4, ipv4(TCP, segment, source=source, options=ip_options))


def udp4(port: int, *, source: bytes = IPV4_A, fragment: int = 0) -> bytes:
    return ethernet(IPV4, ipv4(UDP, frames.udp(b"data", 40000, port, source=source), source=source, fragment=fragment))


def ping(payload: bytes = b"ping") -> bytes:
    return ethernet(IPV4, ipv4(ICMP, frames.icmp(8, payload, rest=0x12340001)))


def udp6(payload: bytes = b"six", *, destination: bytes = frames.IPV6_B) -> bytes:
    datagram = frames.udp(payload, 1, 2, source=frames.IPV6_A, destination=destination)
    return ethernet(IPV6, ipv6(UDP, datagram, destination=destination))


def test_counter(engine: Engine) -> None:
    packets = [ping(), udp4(53), udp6()]
    runs = engine(the_program("xdp_counter"), packets, {})
    assert [one.action for one in runs] == [PASS] * 3
    assert runs[-1].counters["total"][key(0)] == (3, sum(map(len, packets)))


PASSED, MALFORMED, BLOCKED_SOURCE, BLOCKED_SERVICE = range(4)

FIREWALL = [
    (tcp4(80), PASSED),
    (tcp4(80, source=BLOCKED), BLOCKED_SOURCE),
    (ethernet(IPV4, ipv4(ICMP, frames.icmp(8, b""), source=BLOCKED)), BLOCKED_SOURCE),
    (tcp4(23), BLOCKED_SERVICE),
    (udp4(23), PASSED),
    (udp4(1900), BLOCKED_SERVICE),
    (udp4(1900, fragment=0x2000), BLOCKED_SERVICE),  # the first fragment has the ports
    (udp4(1900, fragment=0x0001), PASSED),
    (tcp4(445, ip_options=b"\x94\x04\x00\x00"), BLOCKED_SERVICE),
    (tcp4(80, ip_options=b"\x94\x04\x00\x00"), PASSED),
    (tcp4(23)[:37], MALFORMED),
    (tcp4(23)[:38], BLOCKED_SERVICE),  # four bytes of TCP are enough
    (tcp4(23)[:33], MALFORMED),
    (tcp4(23)[:14], MALFORMED),
    (ethernet(IPV4, ipv4(UDP, frames.udp(b"", 1, 2), lie_ihl=4)), MALFORMED),
    (ethernet(IPV4, ipv4(UDP, frames.udp(b"", 1, 2), lie_ihl=15)), MALFORMED),
    (ethernet(IPV4, ipv4(UDP, frames.udp(b"", 1, 2), lie_version=6)), MALFORMED),
    (ethernet(frames.ARP, frames.arp()), PASSED),
    (udp6(), PASSED),
]


def test_firewall(engine: Engine) -> None:
    runs = engine(the_program("xdp_firewall"), [packet for packet, _ in FIREWALL], examples.FIREWALL_RULES)
    outcomes = [outcome for _, outcome in FIREWALL]
    assert [one.action for one in runs] == [PASS if outcome == PASSED else DROP for outcome in outcomes]
    counters = runs[-1].counters
    assert [counters["outcomes"][key(number)][0] for number in range(4)] == [outcomes.count(n) for n in range(4)]
    assert counters["blocked_sources"][BLOCKED] == (2,)
    assert counters["blocked_services"][(23).to_bytes(2, "big") + bytes([6, 0])] == (2,)


def test_firewall_without_rules_drops_what_is_malformed_only(engine: Engine) -> None:
    runs = engine(the_program("xdp_firewall"), [packet for packet, _ in FIREWALL], {})
    assert [one.action for one in runs] == [DROP if outcome == MALFORMED else PASS for _, outcome in FIREWALL]


CLASSES = (
    "MALFORMED", "OTHER", "ARP", "FRAGMENT", "IPV4_OTHER", "IPV4_TCP", "IPV4_UDP", "IPV4_ICMP", "IPV6_OTHER",
    "IPV6_TCP", "IPV6_UDP", "IPV6_ICMP",
)  # fmt: skip


def tagged(depth: int, packet: bytes) -> bytes:
    """The packet behind ``depth`` VLAN tags, the outermost first."""
    ether_type, payload = int.from_bytes(packet[12:14], "big"), packet[14:]
    for number in range(depth):
        payload = frames.vlan(ether_type, payload, identifier=number + 1)
        ether_type = frames.DOT1AD if number else frames.DOT1Q
    return ethernet(ether_type, payload)


def extended(depth: int) -> bytes:
    """UDP over IPv6 behind ``depth`` extension headers of 16 bytes each."""
    following, payload = UDP, frames.udp(b"", 1, 2)
    for _ in range(depth):
        following, payload = 60, frames.ipv6_extension(following, bytes(14), payload)
    return ethernet(IPV6, ipv6(following, payload))


PARSER = [
    (ping()[:14], "MALFORMED"),
    (ping(), "IPV4_ICMP"),
    (tcp4(80), "IPV4_TCP"),
    (tcp4(80)[:53], "MALFORMED"),
    (tcp4(80, ip_options=bytes(40)), "IPV4_TCP"),
    (udp4(53), "IPV4_UDP"),
    (udp4(53, fragment=0x0010), "FRAGMENT"),
    (udp4(53)[:41], "MALFORMED"),
    (ethernet(IPV4, ipv4(47, b"")), "IPV4_OTHER"),
    (ethernet(IPV4, ipv4(47, b"", lie_ihl=3)), "MALFORMED"),
    (ethernet(frames.ARP, frames.arp()), "ARP"),
    (ethernet(0x88CC, bytes(46)), "OTHER"),
    (tagged(1, udp4(53)), "IPV4_UDP"),
    (tagged(2, udp6()), "IPV6_UDP"),
    (tagged(3, udp6()), "OTHER"),
    (tagged(2, udp4(53))[:20], "MALFORMED"),
    (tagged(1, ethernet(frames.ARP, frames.arp())), "ARP"),
    (udp6(), "IPV6_UDP"),
    (extended(1), "IPV6_UDP"),
    (extended(4), "IPV6_UDP"),
    (extended(5), "IPV6_OTHER"),
    (extended(2)[:70], "MALFORMED"),
    (ethernet(IPV6, ipv6(TCP, frames.tcp(b"", 1, 2))), "IPV6_TCP"),
    (ethernet(IPV6, ipv6(58, frames.icmpv6(128, b""))), "IPV6_ICMP"),
    (ethernet(IPV6, ipv6(44, bytes(8))), "FRAGMENT"),
    (ethernet(IPV6, ipv6(59, b"")), "IPV6_OTHER"),
]


def test_parser(engine: Engine) -> None:
    runs = engine(the_program("xdp_parser"), [packet for packet, _ in PARSER], {})
    before = dict.fromkeys(CLASSES, 0)
    for one, (packet, expected) in zip(runs, PARSER, strict=True):
        now = {name: one.counters["classes"][key(number)][0] for number, name in enumerate(CLASSES)}
        assert [name for name in CLASSES if now[name] != before[name]] == [expected], packet.hex()
        assert one.action == (DROP if expected == "MALFORMED" else PASS)
        before = now
    total = sum(size for _, size in runs[-1].counters["classes"].values())
    assert total == sum(len(packet) for packet, _ in PARSER)


def mss(value: int) -> bytes:
    return b"\x02\x04" + value.to_bytes(2, "big")


OPTIONS = [
    (tcp4(80, options=mss(1460)), PASS),
    (tcp4(80, options=mss(500)), PASS),
    (tcp4(80, options=mss(499)), DROP),
    (tcp4(80, options=b"\x01" + mss(48) + b"\x01"), DROP),
    (tcp4(80, options=b"\x01" * 36 + mss(48)), DROP),
    (tcp4(80, options=b"\x01" * 40), PASS),
    (tcp4(80, options=b"\x00" + mss(48)), PASS),  # the list has ended
    (tcp4(80, options=b"\x08\x0a" + bytes(8) + mss(48)), DROP),
    (tcp4(80, options=b"\xfe\x00\x00\x00"), DROP),
    (tcp4(80, options=b"\xfe\x01\x00\x00"), DROP),
    (tcp4(80, options=b"\xfe\xc8\x00\x00"), DROP),
    (tcp4(80, options=mss(1460), ip_options=bytes(4)), PASS),
    (tcp4(80, options=mss(48), ip_options=bytes(4)), DROP),
    (tcp4(80, options=mss(48))[:-1], DROP),
    (tcp4(80)[:50], DROP),
    (ethernet(IPV4, ipv4(TCP, frames.tcp(b"", 1, 2, flags=0x10, options=mss(48)))), PASS),  # no SYN
    (ethernet(IPV4, ipv4(TCP, frames.tcp(b"", 1, 2, flags=SYN, lie_offset=15))), DROP),
    (ethernet(IPV4, ipv4(TCP, frames.tcp(b"", 1, 2, flags=SYN, lie_offset=2))), PASS),
    (udp4(53), PASS),
    (udp6(), PASS),
]


def test_options(engine: Engine) -> None:
    runs = engine(the_program("xdp_options"), [packet for packet, _ in OPTIONS], {})
    assert [one.action for one in runs] == [action for _, action in OPTIONS]


def test_rewrite_answers_a_ping(engine: Engine) -> None:
    requests = [ping(bytes(range(200)) * 7 if size > 200 else bytes(range(size))) for size in (0, 1, 56, 1400)]
    for request, done in zip(requests, engine(the_program("xdp_rewrite"), requests, {}), strict=True):
        assert done.action == TX
        assert len(done.packet) == len(request)
        reply = dpkt.ethernet.Ethernet(done.packet)
        assert (reply.src, reply.dst) == (MAC_B, MAC_A)
        assert (reply.data.src, reply.data.dst) == (IPV4_B, IPV4_A)
        assert (reply.data.data.type, reply.data.data.code) == (0, 0)
        assert dpkt.in_cksum(bytes(reply.data)[:20]) == 0
        assert dpkt.in_cksum(done.packet[34:]) == 0


def test_rewrite_carries_in_the_checksum(engine: Engine) -> None:
    """Requests whose checksum lies just below and above the value where the correction overflows."""

    def request(wanted: int) -> bytes:
        """With an empty body and no identifier, the sequence number is what the checksum is not."""
        message = frames.icmp(8, b"", rest=(0xFFFF - 0x0800 - wanted) % 0xFFFF)
        assert int.from_bytes(message[2:4], "big") == wanted
        return ethernet(IPV4, ipv4(ICMP, message))

    requests = [request(wanted) for wanted in (0xF7FC, 0xF7FD, 0xF7FE, 0xF7FF, 0xF800, 0xF801, 0xFFFE, 0x0001)]
    for done in engine(the_program("xdp_rewrite"), requests, {}):
        assert done.action == TX
        assert dpkt.in_cksum(done.packet[34:]) == 0


def test_rewrite_leaves_the_rest_alone(engine: Engine) -> None:
    fragment = ethernet(IPV4, ipv4(ICMP, frames.icmp(8, b""), fragment=0x2000))
    options = ethernet(IPV4, ipv4(ICMP, frames.icmp(8, b""), options=bytes(4)))
    reply = ethernet(IPV4, ipv4(ICMP, frames.icmp(0, b"")))
    packets = [fragment, options, reply, udp4(7), udp6(), ping()[:41]]
    runs = engine(the_program("xdp_rewrite"), packets, {})
    assert [one.action for one in runs] == [PASS] * len(packets)
    assert [one.packet for one in runs] == packets


def test_vlan_pop(engine: Engine) -> None:
    packets = [tagged(1, udp4(53)), tagged(2, udp6()), udp4(53), tagged(1, udp4(53))[:17], tagged(1, udp4(53))[:18]]
    runs = engine(the_program("xdp_vlan_pop"), packets, {})
    # The shortest tagged frame is an Ethernet header and a tag: what remains of it is an Ethernet header.
    assert [one.action for one in runs] == [PASS] * 5
    assert [one.packet for one in runs] == [udp4(53), tagged(1, udp6()), *packets[2:4], udp4(53)[:14]]


def fnv1a(data: bytes) -> int:
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 % 2**32
    return value


def test_subprogram(engine: Engine) -> None:
    packets = [udp4(53), udp4(53), tcp4(80), tcp4(80, ip_options=bytes(8)), ping(), udp6(), udp4(53)[:37]]
    expected = [0] * 64
    for packet, protocol, ports in (
        (packets[0], UDP, packets[0][34:38]),
        (packets[1], UDP, packets[1][34:38]),
        (packets[2], TCP, packets[2][34:38]),
        (packets[3], TCP, packets[3][42:46]),
    ):
        expected[fnv1a(packet[26:34] + ports + protocol.to_bytes(4, "little")) % 64] += 1
    runs = engine(the_program("xdp_subprogram"), packets, {})
    assert [one.action for one in runs] == [PASS] * len(packets)
    assert list(runs[-1].counters["flows"][key(0)]) == expected


def test_tail_call_to_an_empty_slot_falls_through(engine: Engine) -> None:
    runs = engine(the_program("xdp_tailcall"), [udp4(53), udp6(), ethernet(frames.ARP, frames.arp())], {})
    assert [one.action for one in runs] == [PASS] * 3
    assert [runs[-1].counters["handled"][key(slot)][0] for slot in range(3)] == [0, 0, 3]


@pytest.mark.parametrize(("handler", "slot"), [("handle_ipv4", 0), ("handle_ipv6", 1)])
def test_tail_call_handlers(handler: str, slot: int, engine: Engine) -> None:
    alive = [udp4(53), udp6()][slot]
    dead = [ethernet(IPV4, ipv4(UDP, b"", ttl=0)), ethernet(IPV6, ipv6(UDP, b"", hop_limit=0))][slot]
    runs = engine(the_program("xdp_tailcall", handler), [alive, dead, alive[:20]], {})
    assert [one.action for one in runs] == [PASS, DROP, DROP]
    assert runs[-1].counters["handled"][key(slot)] == (3,)


def test_globals(engine: Engine) -> None:
    sizes = [60, 128, 129, 512, 513, 1024, 1025, 60, 60]
    runs = engine(the_program("xdp_globals"), [udp4(53).ljust(size, b"\0") for size in sizes], {})
    assert [one.action for one in runs] == [PASS, DROP, DROP, DROP] * 2 + [PASS]


def test_histogram(engine: Engine) -> None:
    sizes = [14, 15, 16, 31, 32, 63, 64, 127, 128, 1023, 1024, 1514]
    runs = engine(the_program("xdp_histogram"), [udp4(53)[:14].ljust(size, b"\0") for size in sizes], {})
    expected = [0] * 32
    for size in sizes:
        expected[size.bit_length() - 1] += 1
    assert list(runs[-1].counters["lengths"][key(0)]) == expected


def test_ratelimit_passes_a_burst(engine: Engine) -> None:
    """What comes after the burst depends on the clock; the credit never exceeds it, and never grows by being used."""
    runs = engine(the_program("xdp_ratelimit"), [udp4(53)] * 50 + [udp6()], {})
    assert [one.action for one in runs] == [PASS] * 51
    assert list(runs[-1].counters["buckets"]) == [IPV4_A]
    credits = [one.counters["buckets"][IPV4_A][0] for one in runs]
    assert credits[0] == 99 * 1_000_000
    assert max(credits) == credits[0]
    times = [one.counters["buckets"][IPV4_A][1] for one in runs]
    assert times == sorted(times)


def test_redirect_passes_where_the_slot_is_empty(engine: Engine) -> None:
    packets = [udp6(), udp4(53), udp6()[:53]]
    runs = engine(the_program("xdp_redirect"), packets, {})
    assert [one.action for one in runs] == [PASS] * 3
    assert [one.packet for one in runs] == packets


# What needs more of the world than a test run in the kernel gives.


def test_tail_call_reaches_the_handler_in_the_slot() -> None:
    loaded = load_object(examples.path("xdp_tailcall"))
    program, environment = loaded.programs["dispatch"], Environment()
    maps = fresh_maps(program, {}, environment)
    handlers = next(one for one in maps if isinstance(one, ProgramArray))
    handlers[key(0)] = loaded.programs["handle_ipv4"]
    actions = []
    for packet in (udp4(53), ethernet(IPV4, ipv4(UDP, b"", ttl=0)), udp6()):
        outcome = run(program, packet=packet, maps=maps, environment=environment).outcome
        assert isinstance(outcome, Returned)
        actions.append(outcome.value)
    assert actions == [PASS, DROP, PASS]
    counters = next(one for one in maps if one.spec.name == "handled")
    assert isinstance(counters, Mapping)
    assert [counters[key(slot)] for slot in range(3)] == [[bytes([n]) + bytes(7)] for n in (2, 0, 1)]


def test_ratelimit_is_a_token_bucket() -> None:
    """A burst of 100, then one packet for every millisecond that passes, and never more than 100 in store."""
    program, environment = the_program("xdp_ratelimit"), Environment(tick=0)
    maps = fresh_maps(program, {}, environment)

    def passed(count: int, *, source: bytes = IPV4_A) -> int:
        outcomes = [run(program, packet=udp4(53, source=source), maps=maps, environment=environment).outcome
                    for _ in range(count)]  # fmt: skip
        return outcomes.count(Returned(PASS))

    assert passed(150) == 100
    environment.now += 999_999
    assert passed(1) == 0
    environment.now += 1
    assert passed(2) == 1
    environment.now += 7_000_000
    assert passed(20) == 7
    environment.now += 3_600_000_000_000
    assert passed(150) == 100
    assert passed(150, source=IPV4_B) == 100
    environment.now -= 500_000_000  # another CPU's clock
    assert passed(10) == 0


def test_redirect_names_a_slot_that_is_filled() -> None:
    program, environment = the_program("xdp_redirect"), Environment()
    ports = {key(slot): key(100 + slot) for slot in range(8)}
    maps = fresh_maps(program, {"ports": ports}, environment)
    slots = set()
    for number in range(32):
        packet = udp6(destination=frames.IPV6_B[:15] + bytes([number]))
        execution = run(program, packet=packet, maps=maps, environment=environment)
        assert execution.outcome == Returned(REDIRECT)
        assert execution.redirect is not None
        slots.add(execution.redirect.key)
    assert slots == set(range(8))
