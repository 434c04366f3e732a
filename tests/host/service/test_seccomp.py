"""The filter, executed here for both architectures: what is on the list, and nothing else."""

from __future__ import annotations

import mmap
import platform
import re
import struct
from pathlib import Path

import pytest

from prevail_py.host.service import seccomp
from prevail_py.host.service.seccomp import ALLOW, ALLOWED, ARCHITECTURES, DENY, KILL, assemble, rules

CHANNEL = 7


def execute(code: bytes, number: int, audit: int, arguments: tuple[int, ...] = ()) -> int:
    """What the filter returns: the few instructions of classic BPF that it is made of."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("<HBBI", code))
    at = accumulator = 0
    while True:
        operation, yes, no, k = program[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:
                accumulator &= k
            case 0x15:
                at += yes if accumulator == k else no
            case 0x35:
                at += yes if accumulator >= k else no
            case 0x45:
                at += yes if accumulator & k else no
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(f"operation {operation:#x}")


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def answer(machine: str, call: str, *arguments: int) -> int:
    architecture = ARCHITECTURES[machine]
    return execute(assemble(rules(CHANNEL), architecture), architecture.numbers[call], architecture.audit, arguments)


def test_only_what_is_listed(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    code = assemble(rules(CHANNEL), architecture)
    assert len(code) % 8 == 0
    assert len(code) // 8 < 4096
    listed = set(architecture.numbers.values())
    for number in range(1024):
        assert number in listed or execute(code, number, architecture.audit) == DENY
    allowed = {
        name for name, number in architecture.numbers.items() if execute(code, number, architecture.audit) == ALLOW
    }
    assert allowed == ALLOWED - {"write", "sendto", "recvmsg", "fcntl"}  # which depend on their arguments


def test_other_tables_kill(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    code = assemble(rules(CHANNEL), architecture)
    read = architecture.numbers["read"]
    assert execute(code, read, architecture.audit) == ALLOW
    for audit in (0x40000003, 0xC000003E ^ 1, 0x40000028, 0):  # i386, ARM
        assert execute(code, read, audit) == KILL
    if machine == "x86_64":
        assert execute(code, read | 0x40000000, architecture.audit) == KILL
        assert execute(code, 0xFFFFFFFF, architecture.audit) == KILL


def test_arguments(machine: str) -> None:
    assert answer(machine, "write", 2) == ALLOW
    assert answer(machine, "write", 1) == answer(machine, "write", CHANNEL) == DENY
    assert answer(machine, "sendto", CHANNEL) == answer(machine, "recvmsg", CHANNEL) == ALLOW
    assert answer(machine, "sendto", 3) == answer(machine, "recvmsg", 3) == DENY
    for address in (1, 1 << 32, 1 << 63):
        assert answer(machine, "sendto", CHANNEL, 0, 0, 0, address) == DENY
    readable = mmap.PROT_READ | mmap.PROT_WRITE
    for call in ("mmap", "mprotect"):
        assert answer(machine, call, 0, 4096, readable) == ALLOW
        assert answer(machine, call, 0, 4096, readable | mmap.PROT_EXEC) == DENY
    assert answer(machine, "fcntl", 9, 1034) == ALLOW
    assert answer(machine, "fcntl", 9, 1033) == answer(machine, "fcntl", 9, 4) == DENY


def test_two_conditions_must_both_hold() -> None:
    """A planted fault: the filter with one of them gone lets through what the test above wants refused."""
    architecture = ARCHITECTURES["x86_64"]
    lax = {**rules(CHANNEL), "sendto": [rules(CHANNEL)["sendto"][0][:1]]}
    arguments = (CHANNEL, 0, 0, 0, 1 << 32)
    assert execute(assemble(lax, architecture), 44, architecture.audit, arguments) == ALLOW
    assert execute(assemble(rules(CHANNEL), architecture), 44, architecture.audit, arguments) == DENY


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_numbers_are_those_of_the_headers(machine: str, header: str) -> None:
    path = Path(header)
    if not path.is_file():
        pytest.skip(f"headers: no {header}")
    found = {
        name: int(number)
        for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text(encoding="utf-8"))
    }
    numbers = {**ARCHITECTURES[machine].numbers, "seccomp": ARCHITECTURES[machine].seccomp}
    assert {name: found[name] for name in numbers} == numbers


def test_no_table_no_lockdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert seccomp.available() == "no table of system calls for riscv64"
