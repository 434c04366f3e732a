"""Sockets, flow keys, storage of objects, maps of sockets, constant strings, results bounded by a size."""

from __future__ import annotations

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.verifier import VerdictKind, verify


def _map(name: str, key: int, value: int, entries: int, **more: object) -> MapSpec:
    found = platform().map_type_by_name(name)
    assert found is not None
    return MapSpec(name, found.number, key, value, entries, **more)  # type: ignore[arg-type]


MAPS = (
    _map("cgroup_storage", 16, 64, 0),
    _map("sockmap", 4, 4, 8),
    _map("array", 4, 16, 1, initial=b"yes\0no, without end"[:16], read_only=True),
    _map("array", 4, 64, 1),
    _map("sk_storage", 4, 24, 0),
    _map("ringbuf", 0, 0, 4096),
)

SOCKET = "r6 = *(u64 *)(r1 + 168)\nr0 = 0\nif r6 == 0 goto out\n"
FULL = SOCKET + "r1 = r6\ncall 95\nif r0 == 0 goto out\n"
OUT = "\nout:\nr0 = 0\nexit"

STORAGE = "r1 = map[idx:0] ll\nr2 = {flags}\ncall 81\n"
SOCKMAP = """
r2 = 1
*(u32 *)(r10 - 4) = r2
r2 = r10
r2 += -4
r1 = map[idx:1] ll
call 3
r0 = 0
exit"""
PUT = (
    SOCKET
    + """
r2 = 1
*(u32 *)(r10 - 4) = r2
r2 = r10
r2 += -4
r1 = map[idx:1] ll
r3 = r6
r4 = 0
call 2
"""
)
REFERENCE = """
r6 = r1
r0 = 0
*(u64 *)(r10 - 8) = r0
r1 = map[idx:5] ll
r2 = 8
r3 = 0
call 131
if r0 == 0 goto out
r7 = r0
r1 = r6
"""
# The subprogram returns 15, or 0 for an empty packet: r10 - 16 or r10 - 1 is read.
EARLY = """
r6 = r1
call pc+7
r2 = r10
r2 -= r0
{upper}
*(u64 *)(r10 - 16) = 0
r0 = *(u8 *)(r2 - 1)
r0 = 0
exit
r6 = r1
r0 = *(u8 *)skb[0]
r0 = 15
exit
"""
STRING = """
r2 = 0
*(u64 *)(r10 - 8) = r2
r1 = r10
r1 += -8
r2 = 8
r3 = map[idx:{map}][0]+{at} ll
call 182
r0 = 0
exit"""
STACK_TRACE = """
r6 = r1
r7 = map[idx:3][0]+0 ll
r2 = r7
r3 = 48
r4 = 0
call 67
if r0 s< 0 goto out
r2 = r7
r2 += r0
r3 = {rest}
r1 = r6
r4 = 0
call 67
"""

CASES = {
    "a field of a socket": (FULL + "r0 = *(u32 *)(r0 + 4)", "sched_cls", ()),
    "a part of an address": (FULL + "r0 = *(u16 *)(r0 + 26)", "sched_cls", ()),
    "a socket from its middle": (SOCKET + "r1 = r6\nr1 += 4\ncall 95", "sched_cls", ("helper-argument",)),
    "a field of a sock_common": (SOCKET + "r0 = *(u32 *)(r6 + 4)", "sched_cls", ()),
    "a field that a sock_common lacks": (SOCKET + "r0 = *(u32 *)(r6 + 16)", "sched_cls", ("context-access",)),
    "that field of a socket": (FULL + "r0 = *(u32 *)(r0 + 16)", "sched_cls", ()),
    "a field that may not be split": (FULL + "r0 = *(u8 *)(r0 + 16)", "sched_cls", ("context-access",)),
    "padding of a socket": (FULL + "r0 = *(u16 *)(r0 + 50)", "sched_cls", ("context-access",)),
    "behind the end of a socket": (FULL + "r0 = *(u32 *)(r0 + 80)", "sched_cls", ("context-access",)),
    "a socket that may be null": (
        SOCKET + "r1 = r6\ncall 95\nr0 = *(u32 *)(r0 + 4)",
        "sched_cls",
        ("null-dereference",),
    ),
    "a store into a socket": (FULL + "r1 = 1\n*(u32 *)(r0 + 4) = r1", "sched_cls", ("context-access",)),
    "an offset into a socket that is not constant": (
        "r7 = *(u32 *)(r1 + 0)\nr7 &= 4\n" + FULL + "r0 += r7\nr0 = *(u32 *)(r0 + 4)",
        "sched_cls",
        ("context-access",),
    ),
    "counters of a tcp_sock": (
        SOCKET + "r1 = r6\ncall 96\nif r0 == 0 goto out\nr0 = *(u64 *)(r0 + 80)",
        "sched_cls",
        (),
    ),
    "half a counter": (
        SOCKET + "r1 = r6\ncall 96\nif r0 == 0 goto out\nr0 = *(u32 *)(r0 + 80)",
        "sched_cls",
        ("context-access",),
    ),
    "flow keys": (
        "r2 = *(u64 *)(r1 + 144)\nr0 = 1\n*(u16 *)(r2 + 54) = r0\nr0 = *(u64 *)(r2 + 48)",
        "flow_dissector",
        (),
    ),
    "behind flow keys": ("r2 = *(u64 *)(r1 + 144)\nr0 = *(u16 *)(r2 + 55)", "flow_dissector", ("out-of-bounds",)),
    "flow keys as a socket": ("r1 = *(u64 *)(r1 + 144)\ncall 95", "flow_dissector", ("helper-unavailable",)),
    "storage of a cgroup": (STORAGE.format(flags=0) + "r0 = *(u64 *)(r0 + 56)", "cgroup_skb", ()),
    "behind storage of a cgroup": (
        STORAGE.format(flags=0) + "r0 = *(u64 *)(r0 + 57)",
        "cgroup_skb",
        ("out-of-bounds",),
    ),
    "storage with flags": (STORAGE.format(flags=1), "cgroup_skb", ("helper-argument",)),
    "storage of a socket": (
        FULL + "r1 = map[idx:4] ll\nr2 = r0\nr3 = 0\nr4 = 1\ncall 107\nif r0 == 0 goto out\nr0 = *(u64 *)(r0 + 16)",
        "sched_cls",
        (),
    ),
    "storage of a socket, not tested": (
        FULL + "r1 = map[idx:4] ll\nr2 = r0\nr3 = 0\nr4 = 1\ncall 107\nr0 = *(u64 *)(r0 + 16)",
        "sched_cls",
        ("null-dereference",),
    ),
    "a map of sockets loses one": (SOCKMAP, "xdp", ()),
    "a map of sockets, changed where it may not be": (SOCKMAP, "raw_tracepoint", ("helper-argument",)),
    "a map of sockets takes one": (PUT, "sched_cls", ()),
    "a map of sockets, a number": (PUT.replace("r3 = r6\n", "r3 = 7\n"), "sched_cls", ("helper-argument",)),
    "a map of sockets, maybe null": (
        PUT.replace("if r6 == 0 goto out\n", ""),
        "sched_cls",
        ("helper-argument",),
    ),
    "a legacy load": ("r6 = r1\nr0 = *(u16 *)skb[12]", "socket_filter", ()),
    "a legacy load at an index": ("r6 = r1\nr7 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)skb[r7 + 3]", "socket_filter", ()),
    "a legacy load without the context": ("r6 = 0\nr0 = *(u16 *)skb[12]", "socket_filter", ("not-a-pointer",)),
    "a legacy load at a pointer": ("r6 = r1\nr0 = *(u8 *)skb[r1 + 3]", "socket_filter", ("pointer-arithmetic",)),
    "a legacy load keeps no argument": (
        "r6 = r1\nr0 = *(u16 *)skb[12]\nr0 = *(u32 *)(r1 + 0)",
        "socket_filter",
        ("uninitialised-register",),
    ),
    "a legacy load that may end with a reference held": (
        REFERENCE + "r0 = *(u16 *)skb[12]\nr1 = r7\nr2 = 0\ncall 132",
        "socket_filter",
        ("unreleased-reference",),
    ),
    "a reference given back before": (
        REFERENCE + "r1 = r7\nr2 = 0\ncall 132\nr0 = *(u16 *)skb[12]",
        "socket_filter",
        (),
    ),
    "a subprogram that may end early with 0": (EARLY.format(upper="*(u64 *)(r10 - 8) = 0"), "socket_filter", ()),
    "what happens after it ended early": (
        EARLY.format(upper="r3 = 0"),
        "socket_filter",
        ("uninitialised-memory",),
    ),
    "a subprogram without a result": ("call pc+2\nr0 = 0\nexit\nr1 = 5\nexit", "xdp", ()),
    "the result of a subprogram without one": ("call pc+1\nexit\nr1 = 5\nexit", "xdp", ("uninitialised-register",)),
    "a constant string": (STRING.format(map=2, at=0), "tracepoint", ()),
    "the end of a constant string": (STRING.format(map=2, at=3), "tracepoint", ()),
    "a string without an end": (STRING.format(map=2, at=4), "tracepoint", ("helper-argument",)),
    "a string that may change": (STRING.format(map=3, at=0), "tracepoint", ("helper-argument",)),
    "as much as there is room for": (STACK_TRACE.format(rest=16), "tracepoint", ()),
    "more than there is room for": (STACK_TRACE.format(rest=17), "tracepoint", ("helper-argument",)),
    # An error is a negative number.
    "behind an error": (
        STACK_TRACE.format(rest=16).replace("if r0 s< 0 goto out\n", ""),
        "tracepoint",
        ("helper-argument",),
    ),
    "equal to what is not null": (
        FULL + "r7 = r0\nr1 = r6\ncall 95\nif r0 != r7 goto out\nr0 = *(u32 *)(r0 + 4)",
        "sched_cls",
        (),
    ),
    "not equal to what is not null": (
        FULL + "r7 = r0\nr1 = r6\ncall 95\nif r0 == r7 goto out\nr0 = *(u32 *)(r0 + 4)",
        "sched_cls",
        ("null-dereference",),
    ),
    "equal to what may be null": (
        SOCKET + "r1 = r6\ncall 95\nr7 = r0\nr1 = r6\ncall 95\nif r0 != r7 goto out\nr0 = *(u32 *)(r0 + 4)",
        "sched_cls",
        ("null-dereference",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    text, program_type, fails = CASES[name]
    program = Program(name, program_type, program_type, assemble_text(text + OUT), MAPS, licence="GPL")
    verdict = verify(program, smt=False)
    assert tuple(failure.assertion for failure in verdict.failures) == fails, str(verdict)
    assert verdict.kind is (VerdictKind.UNKNOWN if fails else VerdictKind.SAFE), str(verdict)
    assert verify(program).is_safe == (not fails)
