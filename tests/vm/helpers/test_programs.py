"""Every helper, called by programs: the same on every engine and in Linux; bugs planted in helpers are found.

The programs are in ``programs.txt``.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.instructions import Call
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.verifier import verify
from prevail_py.vm.context import takes_packet
from prevail_py.vm.engines import engine
from prevail_py.vm.environment import Environment, Route, Socket
from prevail_py.vm.helpers import checksum
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.table import HELPERS
from prevail_py.vm.interpreter import Execution, run
from prevail_py.vm.kernel.engine import KernelAnswer, RunInput, Session
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Maps
from prevail_py.vm.outcome import Outcome, Returned, TrapKind, Trapped
from prevail_py.vm.packet import Packet
from prevail_py.vm.socket_buffer import ETHERNET_HEADER, has_link_layer

LINUX = platform()
LINUXS = {name for name in HELPERS if LINUX.helper_by_name(name) is not None}


def ipv4(transport: bytes, protocol: int, tos: int = 0) -> bytes:
    header = bytes([0x45, tos]) + (20 + len(transport)).to_bytes(2, "big") + bytes.fromhex("1c4640004000")[:5]
    return header + bytes([protocol]) + bytes.fromhex("b1e6ac100a63ac100a0c") + transport


def ipv6(transport: bytes, protocol: int, traffic_class: int = 0) -> bytes:
    first = (6 << 28 | traffic_class << 20).to_bytes(4, "big")
    ends = bytes.fromhex("20010db8000000000000000000000001 20010db8000000000000000000000002")
    return first + len(transport).to_bytes(2, "big") + bytes([protocol, 64]) + ends + transport


TCP = bytes.fromhex("d4310050 00000001 00000002 50180200 a1b20000") + b"twenty bytes of it.."
UDP = bytes.fromhex("d4310035 00140000") + b"twelve bytes"
FROM = bytes.fromhex("020000000002")
OTHER, GROUP, OURS = bytes.fromhex("020000000001"), bytes.fromhex("333300000001"), bytes(6)
PACKETS = {
    "tcp4": OTHER + FROM + b"\x08\x00" + ipv4(TCP, 6),
    "udp4": OTHER + FROM + b"\x08\x00" + ipv4(UDP, 17),
    "udp6": GROUP + FROM + b"\x86\xdd" + ipv6(UDP, 17),
    "ours": OURS + FROM + b"\x08\x00" + ipv4(TCP, 6),
    "vlan": OTHER + FROM + b"\x81\x00\x00\x64\x08\x00" + ipv4(TCP, 6),
    "two tags": OTHER + FROM + b"\x88\xa8\x00\xc8\x81\x00\x00\x64\x08\x00" + ipv4(TCP, 6),
    "length": OTHER + FROM + b"\x00\x30" + bytes(48),
    "ecn4": OTHER + FROM + b"\x08\x00" + ipv4(TCP, 6, tos=0x01),
    "ecn4 other": OTHER + FROM + b"\x08\x00" + ipv4(TCP, 6, tos=0xFE),
    "ecn4 marked": OTHER + FROM + b"\x08\x00" + ipv4(TCP, 6, tos=0x03),
    "ecn6": OTHER + FROM + b"\x86\xdd" + ipv6(UDP, 17, traffic_class=0x01),
}
SOCKETS = (
    Socket(6, IPv4Address("0.0.0.0"), 80, state=10),
    Socket(6, IPv4Address("10.0.0.2"), 80, IPv4Address("10.0.0.1"), 1),
    Socket(17, IPv6Address("::"), 53),
)
ENVIRONMENTS: dict[str, Callable[[], Environment]] = {
    "": Environment,
    "socket": lambda: Environment(socket=Socket(17, IPv4Address("10.0.0.1"), 53, cookie=7), cookie=42),
    "sockets": lambda: Environment(sockets=SOCKETS),
    "routes": lambda: Environment(routes=(Route(IPv4Network("10.1.0.0/16"), 4),)),
    "foreign": lambda: Environment(foreign={0x10000: b"hello"[:4] + b"\0", 0xFFFF_8880_0010_0000: b"hi"}),
}
MAPS = {
    "array": MapSpec("array", 2, 4, 8, 4),
    "hash": MapSpec("hash", 1, 4, 8, 8),
    "counters": MapSpec("counters", 6, 4, 8, 2),
    "programs": MapSpec("programs", 3, 4, 4, 2),
    "locked": MapSpec("locked", 2, 4, 8, 1),
    "events": MapSpec("events", 4, 4, 4, 2),
    "ring": MapSpec("ring", 27, 0, 0, 4096),
    "stacks": MapSpec("stacks", 7, 4, 64, 4),
    "groups": MapSpec("groups", 8, 4, 4, 4),
    "queue": MapSpec("queue", 22, 0, 8, 4),
    "devices": MapSpec("devices", 14, 4, 8, 4),
    "format": MapSpec("format", 2, 4, 16, 1, initial=b"n = %lld B\0".ljust(16, b"\0"), read_only=True),
    "word": MapSpec("word", 2, 4, 8, 1, initial=b"abcd\0\0\0\0", read_only=True),
}


@dataclass(frozen=True)
class Case:
    """A program, what it is given, and how it ends; ``unlike_linux`` says why Linux is not asked."""

    name: str
    program: Program
    frame: bytes
    environment: Callable[[], Environment]
    ends: int | TrapKind
    log: tuple[str, ...]
    unlike_linux: str

    @property
    def has_link_layer(self) -> bool:
        kind = LINUX.program_type(self.program.program_type)
        return has_link_layer(kind) or kind.name == "xdp"

    @property
    def packet(self) -> bytes | None:
        """What the machine gets: the frame, or what follows its link layer."""
        if not takes_packet(LINUX.program_type(self.program.program_type)):
            return None
        return self.frame if self.has_link_layer else self.frame[ETHERNET_HEADER:]


def read_cases() -> Iterator[Case]:
    text = Path(__file__).with_name("programs.txt").read_text(encoding="utf-8")
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        title, *lines = (line for line in block.split("\n") if line and not line.startswith("#"))
        match = re.fullmatch(r"(?P<name>.*) \((?P<kind>\w+)\)", title)
        assert match is not None, title
        settings = {"packet": "tcp4", "section": "", "environment": "", "log": "", "no kernel:": ""}
        code: list[str] = []
        ends: int | TrapKind | None = None
        for line in lines:
            if line.startswith("@"):
                key = next(key for key in settings if line[1:].startswith(key))
                settings[key] = line[1 + len(key) :].strip()
            elif line.startswith("-> "):
                ends = end_of(line[3:])
            else:
                code += expand(line)
        assert ends is not None, title
        maps = list(dict.fromkeys(re.findall(r"map\[(\w+)\]", "\n".join(code))))
        listing = "\n".join(code)
        for index, name in enumerate(maps):
            listing = listing.replace(f"map[{name}]", f"map[idx:{index}]")
        kind, section = match["kind"], settings["section"] or match["kind"]
        rule = LINUX.section_rule(section)
        program = Program(
            title,
            section,
            kind,
            assemble_text(listing),
            tuple(MAPS[name] for name in maps),
            licence="GPL",
            expected_attach_type=rule.attach_type if rule is not None and settings["section"] else "",
        )
        yield Case(
            title,
            program,
            PACKETS[settings["packet"]],
            ENVIRONMENTS[settings["environment"]],
            ends,
            (settings["log"],) if settings["log"] else (),
            settings["no kernel:"],
        )


def end_of(text: str) -> int | TrapKind:
    if text.startswith("-E"):
        return -int(getattr(errno, text[1:])) % 2**64
    return int(text, 0) % 2**64 if re.match(r"-?\d", text) else TrapKind(text)


def expand(line: str) -> list[str]:
    words = line.split()
    match words:
        case [".bytes", offset, content]:
            return [f"*(u8 *)(r10 - {-int(offset) - i}) = {byte}" for i, byte in enumerate(bytes.fromhex(content))]
        case [".zero", offset, size]:
            return [f"*(u64 *)(r10 - {-int(offset) - i}) = 0" for i in range(0, int(size), 8)]
        case ["call", name] if name.startswith("bpf_"):
            number = next(number for number in LINUX.helper_ids() if LINUX.helper_name(number) == name)
            return [f"call {number}"]
        case _:
            return [line]


CASES = list(read_cases())
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def execute(case: Case) -> Execution:
    return run(case.program, packet=case.packet, environment=case.environment())


def short(outcome: Outcome) -> object:
    match outcome:
        case Returned(value):
            return value
        case Trapped(trap):
            return trap.kind
        case _:
            return outcome


@BY_NAME
def test_program(case: Case) -> None:
    execution = execute(case)
    assert short(execution.outcome) == case.ends, execution.outcome
    assert execution.log == case.log


@BY_NAME
def test_the_source_engine_agrees(case: Case) -> None:
    execution, reference = (
        engine(name).load(case.program).run(packet=case.packet, environment=case.environment())
        for name in ("source", "interpreter")
    )
    assert execution._replace(maps=Maps()) == reference._replace(maps=Maps())


@BY_NAME
def test_what_is_safe_does_not_trap(case: Case) -> None:
    if isinstance(case.ends, TrapKind):
        assert not verify(case.program).is_safe


def test_every_helper_is_called_by_a_program_that_returns() -> None:
    called = {
        LINUX.helper_name(instruction.helper)
        for case in CASES
        if isinstance(case.ends, int)
        for instruction in case.program.code
        if isinstance(instruction, Call)
    }
    assert not LINUXS - called


def test_names_tell_what_is_called() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        names = {LINUX.helper_name(i.helper) for i in case.program.code if isinstance(i, Call)}
        assert case.name.split(":")[0] in names | {"fields"}, case.name


def test_old_pointers_are_stale_after_every_helper_that_moves_packets() -> None:
    checked = {case.name.split(":")[0] for case in CASES if case.name.split(": ")[1].startswith("the old pointer")}
    moving = {name for name in HELPERS if moves_packets(name)}
    assert moving - checked == {"bpf_tail_call"}


def moves_packets(name: str) -> bool:
    prototype = LINUX.helper_by_name(name)
    return prototype is not None and prototype.changes_packet


# Linux --------------------------------------------------------------------------------------------------------------


def in_linux(cases: Sequence[Case]) -> dict[str, tuple[int, bytes] | str]:
    """What Linux returns, and the packet afterwards as the program sees it; or why it does not run the program."""
    results: dict[str, tuple[int, bytes] | str] = {}
    with Session() as session:
        for case in cases:
            runs = session.run(case.program, [RunInput(case.frame)], read_maps=())
            if isinstance(runs, KernelAnswer):
                results[case.name] = f"{runs.kind.value}: {runs.reason}"
            elif runs[0].error:
                results[case.name] = runs[0].error
            else:
                packet = runs[0].packet if case.has_link_layer else runs[0].packet[ETHERNET_HEADER:]
                results[case.name] = runs[0].return_value, packet
    return results


def in_machine(case: Case) -> tuple[int, bytes] | str:
    execution = execute(case)
    if not isinstance(execution.outcome, Returned):
        return str(execution.outcome)
    return execution.outcome.value & 0xFFFFFFFF, execution.packet or b""


COMPARED = [case for case in CASES if not case.unlike_linux]


@pytest.fixture(scope="module")
def linux() -> dict[str, tuple[int, bytes] | str]:
    return in_linux(COMPARED)


NOT_COMPARED = {
    **dict.fromkeys(
        ["bpf_copy_from_user", "bpf_get_attach_cookie", "bpf_get_func_ip", "bpf_get_stack", "bpf_get_stackid"], "probes"
    ),
    **dict.fromkeys(
        ["bpf_probe_read", "bpf_probe_read_str", "bpf_send_signal", "bpf_send_signal_thread"],
        "probes",
    ),
    "bpf_probe_write_user": "these programs",
    "bpf_read_branch_records": "perf events",
    **dict.fromkeys(
        ["bpf_bind", "bpf_get_retval", "bpf_getsockopt", "bpf_set_retval", "bpf_setsockopt"], "these programs"
    ),
    "bpf_clone_redirect": "packets would leave the test run",
    "bpf_sk_assign": "it wants a socket",
    **dict.fromkeys(["bpf_spin_lock", "bpf_spin_unlock"], "it does not load"),
    **dict.fromkeys(["bpf_trace_printk", "bpf_trace_vprintk"], "it would print"),
}
"""Helpers whose result is not held against Linux, with how the reason begins."""


def test_every_helper_is_compared_with_linux_or_has_a_reason() -> None:
    returning = [case for case in CASES if isinstance(case.ends, int)]

    def called(cases: Sequence[Case]) -> set[str | None]:
        return {LINUX.helper_name(i.helper) for case in cases for i in case.program.code if isinstance(i, Call)}

    assert LINUXS - called([case for case in returning if not case.unlike_linux]) == NOT_COMPARED.keys()
    for name, reason in NOT_COMPARED.items():
        reasons = {case.unlike_linux for case in CASES if case.name.startswith(f"{name}:")}
        assert any(given.startswith(reason) for given in reasons), (name, reasons)


def test_linux_agrees(kernel: None, linux: dict[str, tuple[int, bytes] | str]) -> None:
    ours = {case.name: in_machine(case) for case in COMPARED}
    assert {name: (linux[name], ours[name]) for name in ours if linux[name] != ours[name]} == {}


# Planted bugs -------------------------------------------------------------------------------------------------------

Helper = Callable[[Machine, Sequence[Argument]], int]


def carry_lost(left: int, right: int, bits: int = 32) -> int:
    return (left + right) % (1 << bits)


def one_too_far(original: Helper, machine: Machine, arguments: Sequence[Argument]) -> int:
    return original(machine, [arguments[0], replace(arguments[1], value=arguments[1].value + 1), *arguments[2:]])


def other_side(original: Helper, machine: Machine, arguments: Sequence[Argument]) -> int:
    return original(machine, [*arguments[:2], replace(arguments[2], value=1 - arguments[2].value), arguments[3]])


def other_sign(original: Helper, machine: Machine, arguments: Sequence[Argument]) -> int:
    return -original(machine, arguments)


def inclusive(original: Helper, machine: Machine, arguments: Sequence[Argument]) -> int:
    return original(machine, [replace(arguments[0], extent=arguments[0].extent - 1), *arguments[1:]])


def kept_length(original: Callable[[Packet, int], None], packet: Packet, length: int) -> None:
    original(packet, length - 1)


def planted(original: Callable[..., object], broken: Callable[..., object]) -> Callable[..., object]:
    return lambda *arguments: broken(original, *arguments)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "the carry of a checksum": lambda patch: patch.setattr(checksum, "add", carry_lost),
    "bytes stored one too far": lambda patch: plant_helper(patch, "bpf_skb_store_bytes", one_too_far),
    "room on the wrong side of a header": lambda patch: plant_helper(patch, "bpf_skb_adjust_room", other_side),
    "the sign of a comparison": lambda patch: plant_helper(patch, "bpf_strncmp", other_sign),
    "the last digit of a number": lambda patch: plant_helper(patch, "bpf_strtoul", inclusive),
    "the last byte of a longer packet": lambda patch: patch.setattr(
        Packet, "resize", planted(Packet.resize, kept_length)
    ),
}


def plant_helper(patch: pytest.MonkeyPatch, name: str, broken: Callable[..., object]) -> None:
    from prevail_py.vm.helpers import table

    patch.setattr(table, "HELPERS", {**HELPERS, name: planted(HELPERS[name], broken)})


@pytest.mark.parametrize("bug", PLANTED)
def test_linux_disagrees_with_planted_bugs(
    bug: str, kernel: None, linux: dict[str, tuple[int, bytes] | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    PLANTED[bug](monkeypatch)
    assert any(in_machine(case) != linux[case.name] for case in COMPARED)
