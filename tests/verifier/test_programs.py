"""Small programs with known verdicts: one line of each table is one claim about the verifier.

Each safe program stands beside unsafe twins that differ in one place.  Many come from mistakes that real verifiers
made; the comment says what would go wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from prevail_py import examples
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.instructions import LoadImmediate64, Pseudo, Register
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.verifier import Verdict, VerdictKind, verify


def _map_type(name: str) -> int:
    found = platform().map_type_by_name(name)
    assert found is not None
    return found.number


MAPS = (
    MapSpec("array", _map_type("array"), 4, 64, 16),
    MapSpec("hash", _map_type("hash"), 8, 48, 128),
    MapSpec("config", _map_type("array"), 4, 8, 1, initial=bytes([7, 0, 0, 0, 1, 2, 3, 4]), read_only=True),
    MapSpec("ring", _map_type("ringbuf"), 0, 0, 4096),
    MapSpec("jumps", _map_type("prog_array"), 4, 4, 4),
    MapSpec("outer", _map_type("array_of_maps"), 4, 4, 4, inner=MapSpec("inner", _map_type("array"), 4, 16, 8)),
)


@dataclass(frozen=True)
class Case:
    """A program and what must be said of it: no kinds for SAFE, the kinds of its failures for UNKNOWN."""

    name: str
    text: str
    fails: tuple[str, ...] = ()
    program_type: str = "xdp"


PACKET = """
    r2 = *(u32 *)(r1 + 4)
    r1 = *(u32 *)(r1 + 0)
    r0 = 2
"""

LOOKUP = """
    r1 = 3
    *(u32 *)(r10 - 4) = r1
    r2 = r10
    r2 += -4
    r1 = map[idx:0] ll
    call 1
"""

ARITHMETIC = [
    Case("return a constant", "r0 = 1\nexit"),
    Case("r0 never written", "exit", ("uninitialised-register",)),
    Case("r3 never written", "r0 = r3\nexit", ("uninitialised-register",)),
    Case("division by zero is defined", "r0 = 7\nr1 = 0\nr0 /= r1\nexit"),
    Case("shift by a register", "r0 = 7\nr2 = *(u32 *)(r1 + 12)\nr0 <<= r2\nexit"),
    Case("write to r10", "r0 = 0\nr10 = r0\nexit", ("read-only",)),
    Case("multiply a pointer", "r1 *= 2\nr0 = 0\nexit", ("pointer-arithmetic",)),
    Case("32-bit move of a pointer", "w2 = w1\nr0 = 0\nexit", ("pointer-arithmetic",)),
    Case("32-bit addition to a pointer", "w1 += 4\nr0 = 0\nexit", ("pointer-arithmetic",)),
    Case("negate a pointer", "r1 = -r1\nr0 = 0\nexit", ("pointer-arithmetic",)),
    Case("sum of pointers", "r1 += r10\nr0 = 0\nexit", ("pointer-arithmetic",)),
    Case("number plus pointer", "r2 = -8\nr2 += r10\nr3 = 0\n*(u64 *)(r2 + 0) = r3\nr0 = 0\nexit"),
    Case("difference of packet pointers", PACKET + "r2 -= r1\nr0 = r2\nexit"),
    Case("difference of unrelated pointers", "r10 -= r1\nr0 = 0\nexit", ("pointer-arithmetic", "read-only")),
    Case("return a pointer", "r0 = r1\nexit", ("pointer-leak",)),
    Case("return the result range", "r0 = 2\nexit", ("return-range",), "cgroup_sock"),
    Case("return in range", "r0 = 1\nexit", (), "cgroup_sock"),
    Case("caller-saved registers are gone after a call", "r6 = r1\ncall 5\nr0 = r1\nexit", ("uninitialised-register",)),
    Case("callee-saved registers survive a call", "r6 = 1\ncall 5\nr0 = r6\nexit"),
]

STACK = [
    Case("write then read", "r2 = 1\n*(u64 *)(r10 - 8) = r2\nr0 = *(u64 *)(r10 - 8)\nexit"),
    Case("read of a part", "r2 = 1\n*(u64 *)(r10 - 8) = r2\nr0 = *(u32 *)(r10 - 8)\nexit"),
    Case("one byte missing", "r2 = 1\n*(u32 *)(r10 - 8) = r2\nr0 = *(u64 *)(r10 - 8)\nexit", ("uninitialised-memory",)),
    Case("below the frame", "r2 = 1\n*(u64 *)(r10 - 520) = r2\nr0 = 0\nexit", ("out-of-bounds",)),
    Case("above the frame", "r2 = 1\n*(u64 *)(r10 - 4) = r2\nr0 = 0\nexit", ("out-of-bounds",)),
    Case("lowest slot", "r2 = 1\n*(u64 *)(r10 - 512) = r2\nr0 = 0\nexit"),
    Case(
        "a spilled pointer comes back",
        "*(u64 *)(r10 - 8) = r1\nr3 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r3 + 12)\nexit",
    ),
    Case(
        "a narrow write destroys a spilled pointer",
        "*(u64 *)(r10 - 8) = r1\nr2 = 0\n*(u8 *)(r10 - 8) = r2\nr3 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r3 + 12)\nexit",
        ("not-a-pointer",),
    ),
    Case(
        "a write at a variable offset destroys a spilled pointer",
        """
        r6 = r1
        *(u64 *)(r10 - 8) = r1
        r2 = 0
        *(u64 *)(r10 - 16) = r2
        r3 = *(u32 *)(r6 + 12)
        r3 &= 15
        r4 = r10
        r4 += -16
        r4 += r3
        *(u8 *)(r4 + 0) = r2
        r3 = *(u64 *)(r10 - 8)
        r0 = *(u32 *)(r3 + 12)
        exit""",
        ("not-a-pointer",),
    ),
    Case(
        # On one path the slot holds a pointer, on the other it is only known to be initialised.
        "a pointer does not hide in an untracked slot",
        """
        r6 = r1
        r2 = 0
        *(u64 *)(r10 - 8) = r2
        *(u64 *)(r10 - 16) = r2
        r8 = *(u32 *)(r6 + 12)
        r3 = r8
        r3 &= 15
        r4 = r10
        r4 += -16
        r4 += r3
        *(u8 *)(r4 + 0) = r2
        r0 = 0
        if r8 == 0 goto +1
        *(u64 *)(r10 - 8) = r6
        r0 = *(u64 *)(r10 - 8)
        exit""",
        ("pointer-leak",),
    ),
    Case(
        "a pointer spilled at a variable offset",
        """
        r6 = r1
        r2 = 0
        *(u64 *)(r10 - 8) = r2
        *(u64 *)(r10 - 16) = r2
        r3 = *(u32 *)(r6 + 12)
        r3 &= 8
        r4 = r10
        r4 += -16
        r4 += r3
        *(u64 *)(r4 + 0) = r6
        r0 = *(u64 *)(r10 - 8)
        exit""",
        ("pointer-leak",),
    ),
    Case(
        "a write at a variable offset may miss a spilled pointer",
        """
        r6 = r1
        *(u64 *)(r10 - 8) = r1
        r2 = 0
        *(u64 *)(r10 - 16) = r2
        r3 = *(u32 *)(r6 + 12)
        r3 &= 15
        r4 = r10
        r4 += -16
        r4 += r3
        *(u8 *)(r4 + 0) = r2
        r0 = *(u64 *)(r10 - 8)
        exit""",
        ("pointer-leak",),
    ),
    Case("part of a pointer stored", "*(u32 *)(r10 - 8) = r1\nr0 = 0\nexit", ("pointer-leak",)),
    Case(
        "variable offset in bounds",
        """
        r2 = 0
        *(u64 *)(r10 - 8) = r2
        r3 = *(u32 *)(r1 + 12)
        r3 &= 7
        r4 = r10
        r4 += -8
        r4 += r3
        r0 = *(u8 *)(r4 + 0)
        exit""",
    ),
    Case(
        "variable offset out of bounds",
        """
        r2 = 0
        *(u64 *)(r10 - 8) = r2
        r3 = *(u32 *)(r1 + 12)
        r3 &= 8
        r4 = r10
        r4 += -8
        r4 += r3
        r0 = *(u8 *)(r4 + 0)
        exit""",
        ("out-of-bounds",),
    ),
    Case(
        "initialised on one path only",
        """
        r2 = *(u32 *)(r1 + 12)
        if r2 == 0 goto +2
        r3 = 1
        *(u64 *)(r10 - 8) = r3
        r0 = *(u64 *)(r10 - 8)
        exit""",
        ("uninitialised-memory",),
    ),
]

PACKETS = [
    Case("checked", PACKET + "r3 = r1\nr3 += 14\nif r3 > r2 goto +1\nr0 = *(u16 *)(r1 + 12)\nexit"),
    Case(
        "off by one", PACKET + "r3 = r1\nr3 += 13\nif r3 > r2 goto +1\nr0 = *(u16 *)(r1 + 12)\nexit", ("out-of-bounds",)
    ),
    Case("unchecked", PACKET + "r0 = *(u8 *)(r1 + 0)\nexit", ("out-of-bounds",)),
    Case(
        "check on the wrong branch",
        PACKET + "r3 = r1\nr3 += 14\nif r3 <= r2 goto +1\nr0 = *(u16 *)(r1 + 12)\nexit",
        ("out-of-bounds",),
    ),
    Case(
        "before the packet",
        PACKET + "r3 = r1\nr3 += 14\nif r3 > r2 goto +1\nr0 = *(u16 *)(r1 - 2)\nexit",
        ("out-of-bounds",),
    ),
    Case("at the end", PACKET + "r0 = *(u8 *)(r2 + 0)\nexit", ("out-of-bounds",)),
    Case(
        "variable offset, checked after adding",
        PACKET
        + """
        r3 = r1
        r3 += 1
        if r3 > r2 goto +8
        r4 = *(u8 *)(r1 + 0)
        r1 += r4
        r3 = r1
        r3 += 4
        if r3 > r2 goto +1
        r0 = *(u32 *)(r1 + 0)
        r0 = 2
        r0 = 2
        exit""",
    ),
    Case(
        "variable offset, checked before adding",
        PACKET
        + """
        r3 = r1
        r3 += 4
        if r3 > r2 goto +3
        r4 = *(u8 *)(r1 + 0)
        r1 += r4
        r0 = *(u32 *)(r1 + 0)
        exit""",
        ("out-of-bounds",),
    ),
    Case(
        # p + x wraps around the address space for a huge x, and compares below the end.
        "an offset that wraps",
        """
        r6 = r1
        r2 = *(u32 *)(r1 + 4)
        r7 = *(u32 *)(r1 + 0)
        call 5
        r2 = *(u32 *)(r6 + 4)
        r1 = r7
        r1 += r0
        r3 = r1
        r3 += 4
        r0 = 2
        if r3 > r2 goto +1
        r0 = *(u32 *)(r1 + 0)
        exit""",
        ("out-of-bounds",),
    ),
    Case("packet writes in xdp", PACKET + "r3 = r1\nr3 += 14\nif r3 > r2 goto +1\n*(u16 *)(r1 + 12) = r0\nexit"),
    Case(
        "packet writes in a socket filter have no packet",
        "r0 = *(u32 *)(r1 + 76)\nexit",
        ("context-access",),
        "socket_filter",
    ),
    Case(
        "pointer stored in the packet",
        PACKET + "r3 = r1\nr3 += 14\nif r3 > r2 goto +1\n*(u64 *)(r1 + 0) = r1\nexit",
        ("pointer-leak",),
    ),
    Case(
        "stale after a helper that moves the packet",
        """
        r6 = r1
        r8 = *(u32 *)(r1 + 4)
        r7 = *(u32 *)(r1 + 0)
        r3 = r7
        r3 += 14
        r0 = 2
        if r3 > r8 goto +5
        r2 = 4
        call 44
        r0 = *(u8 *)(r7 + 0)
        r0 = 2
        exit
        exit""",
        ("not-a-pointer",),
    ),
    Case(
        "metadata before the packet, checked",
        """
        r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 8)
        r4 = r3
        r4 += 4
        r0 = 2
        if r4 > r2 goto +1
        r0 = *(u32 *)(r3 + 0)
        exit""",
    ),
    Case(
        "metadata before the packet, unchecked",
        "r3 = *(u32 *)(r1 + 8)\nr0 = *(u32 *)(r3 + 0)\nexit",
        ("out-of-bounds",),
    ),
    Case(
        # JMP32 compares the low half only: p > end at 32 bits says nothing about the addresses.
        "a 32-bit comparison of packet pointers is no bounds check",
        PACKET + "r3 = r1\nr3 += 14\nif w3 > w2 goto +1\nr0 = *(u16 *)(r1 + 12)\nexit",
        ("out-of-bounds",),
    ),
]

MAPS_AND_HELPERS = [
    Case("lookup, null check, load", LOOKUP + "if r0 == 0 goto +1\nr0 = *(u64 *)(r0 + 56)\nr0 = 2\nexit"),
    Case("no null check", LOOKUP + "r0 = *(u64 *)(r0 + 0)\nexit", ("null-dereference",)),
    Case(
        "a null check of a copy",
        LOOKUP + "r6 = r0\nif r6 == 0 goto +1\nr0 = *(u64 *)(r0 + 56)\nr0 = 2\nexit",
    ),
    Case("inverted null check", LOOKUP + "if r0 != 0 goto +1\nr0 = *(u64 *)(r0 + 0)\nr0 = 2\nexit", ("not-a-pointer",)),
    Case(
        "a 32-bit null check is none",
        LOOKUP + "if w0 == 0 goto +1\nr0 = *(u64 *)(r0 + 0)\nr0 = 2\nexit",
        ("null-dereference",),
    ),
    Case(
        "arithmetic before the null check",
        LOOKUP + "r0 += 8\nif r0 == 0 goto +1\nr0 = *(u64 *)(r0 + 0)\nr0 = 2\nexit",
        ("null-dereference",),
    ),
    Case("beyond the value", LOOKUP + "if r0 == 0 goto +1\nr0 = *(u64 *)(r0 + 57)\nr0 = 2\nexit", ("out-of-bounds",)),
    Case(
        # Null - 4 lies above null + 4, which no address within 2**32 of an object does.
        "addresses around a null pointer wrap",
        LOOKUP
        + """
        r1 = r0
        r1 += -4
        r2 = r0
        r2 += 4
        r3 = 0
        r0 = 0
        if r1 < r2 goto +1
        r0 = *(u64 *)(r3 + 0)
        exit""",
        ("not-a-pointer",),
    ),
    Case(
        "two lookups are two pointers",
        LOOKUP + "r6 = r0" + LOOKUP + "if r0 == 0 goto +1\nr0 = *(u64 *)(r6 + 0)\nr0 = 2\nexit",
        ("null-dereference",),
    ),
    Case(
        "pointer stored in a map",
        LOOKUP + "if r0 == 0 goto +1\n*(u64 *)(r0 + 0) = r10\nr0 = 2\nexit",
        ("pointer-leak",),
    ),
    Case("atomic add", LOOKUP + "r1 = 1\nif r0 == 0 goto +1\nlock *(u64 *)(r0 + 8) += r1\nr0 = 2\nexit"),
    Case("key not initialised", "r2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall 1\nr0 = 2\nexit", ("helper-argument",)),
    Case("key is a number", "r2 = 5\nr1 = map[idx:0] ll\ncall 1\nr0 = 2\nexit", ("helper-argument",)),
    Case("map is a number", "r2 = r10\nr1 = 5\ncall 1\nr0 = 2\nexit", ("helper-argument",)),
    Case("argument never written", "r1 = map[idx:0] ll\ncall 1\nr0 = 2\nexit", ("uninitialised-register",)),
    Case("helper of another program type", "call 26\nr0 = 0\nexit", ("helper-unavailable",)),
    Case("no such helper", "call 9999\nr0 = 0\nexit", ("helper-unavailable",)),
    Case(
        "read-only data is constant",
        "r1 = map[idx:2][0]+0 ll\nr0 = *(u32 *)(r1 + 0)\nr2 = r10\nr2 -= r0\nr3 = 0\n*(u8 *)(r2 - 1) = r3\nexit",
    ),
    Case(
        "read-only data may not be written",
        "r1 = map[idx:2][0]+0 ll\nr2 = 0\n*(u32 *)(r1 + 0) = r2\nr0 = 0\nexit",
        ("read-only",),
    ),
    Case("direct value beyond its size", "r1 = map[idx:2][0]+8 ll\nr0 = *(u8 *)(r1 + 0)\nexit", ("out-of-bounds",)),
    Case(
        "ring buffer: reserve and submit",
        """
        r1 = map[idx:3] ll
        r2 = 16
        r3 = 0
        call 131
        if r0 == 0 goto +5
        r2 = 1
        *(u64 *)(r0 + 8) = r2
        r1 = r0
        r2 = 0
        call 132
        r0 = 2
        exit""",
    ),
    Case(
        "ring buffer: reserved and forgotten",
        "r1 = map[idx:3] ll\nr2 = 16\nr3 = 0\ncall 131\nr0 = 2\nexit",
        ("unreleased-reference",),
    ),
    Case(
        "ring buffer: used after submit",
        """
        r1 = map[idx:3] ll
        r2 = 16
        r3 = 0
        call 131
        if r0 == 0 goto +6
        r6 = r0
        r1 = r0
        r2 = 0
        call 132
        r2 = 1
        *(u64 *)(r6 + 8) = r2
        r0 = 2
        exit""",
        ("not-a-pointer",),
    ),
    Case(
        "ring buffer: beyond the reservation",
        """
        r1 = map[idx:3] ll
        r2 = 16
        r3 = 0
        call 131
        if r0 == 0 goto +5
        r2 = 1
        *(u64 *)(r0 + 9) = r2
        r1 = r0
        r2 = 0
        call 132
        r0 = 2
        exit""",
        ("out-of-bounds",),
    ),
    Case(
        # After the join r7 is one of both records, of which none is left.
        "ring buffer: used through a pointer to either of two records",
        """
        r1 = map[idx:3] ll
        r2 = 16
        r3 = 0
        call 131
        r6 = r0
        if r6 == 0 goto out
        r1 = map[idx:3] ll
        r2 = 16
        r3 = 0
        call 131
        r8 = r0
        if r8 == 0 goto one
        call 7
        r7 = r6
        if r0 == 5 goto +1
        r7 = r8
        r1 = r6
        r2 = 0
        call 132
        r1 = r8
        r2 = 0
        call 132
        r0 = *(u64 *)(r7 + 0)
        r0 = 0
        exit
        one:
        r1 = r6
        r2 = 0
        call 132
        out:
        r0 = 0
        exit""",
        ("not-a-pointer",),
    ),
    Case(
        "map in map",
        """
        r1 = 0
        *(u32 *)(r10 - 4) = r1
        r2 = r10
        r2 += -4
        r1 = map[idx:5] ll
        call 1
        if r0 == 0 goto +6
        r2 = r10
        r2 += -4
        r1 = r0
        call 1
        if r0 == 0 goto +1
        r0 = *(u64 *)(r0 + 8)
        r0 = 2
        exit""",
    ),
    Case(
        "map in map, inner not checked",
        """
        r1 = 0
        *(u32 *)(r10 - 4) = r1
        r2 = r10
        r2 += -4
        r1 = map[idx:5] ll
        call 1
        r2 = r10
        r2 += -4
        r1 = r0
        call 1
        r0 = 2
        exit""",
        ("helper-argument",),
    ),
    Case("tail call", "r2 = map[idx:4] ll\nr3 = 1\ncall 12\nr0 = 2\nexit"),
    Case(
        "tail call through another kind of map",
        "r2 = map[idx:0] ll\nr3 = 1\ncall 12\nr0 = 2\nexit",
        ("helper-argument",),
    ),
    Case(
        # The program called in the place of the subprogram returns whatever it likes.
        "the result of a subprogram with a tail call",
        """
        r6 = r1
        r2 = 0
        *(u64 *)(r10 - 8) = r2
        call local sub
        r1 = r10
        r1 += -8
        r1 += r0
        r0 = *(u8 *)(r1 + 0)
        exit
        sub:
        r2 = map[idx:4] ll
        r3 = 0
        call 12
        r0 = 0
        exit""",
        ("out-of-bounds",),
    ),
    Case(
        "packet pointers across a subprogram with a tail call",
        """
        r6 = r1
        r7 = *(u32 *)(r1 + 0)
        r2 = *(u32 *)(r1 + 4)
        r3 = r7
        r3 += 14
        r0 = 2
        if r3 > r2 goto +2
        call local sub
        r0 = *(u8 *)(r7 + 0)
        r0 = 2
        exit
        sub:
        r2 = map[idx:4] ll
        r3 = 0
        call 12
        r0 = 0
        exit""",
        ("not-a-pointer",),
    ),
    Case(
        # The size is checked as a 32-bit number but passed as a 64-bit one.
        "a size with unchecked upper half",
        """
        r6 = r1
        r7 = 0
        *(u64 *)(r10 - 8) = r7
        call 5
        r4 = r0
        if w4 > 8 goto +6
        r1 = 0
        r2 = 0
        r3 = r10
        r3 += -8
        r5 = 0
        call 28
        r0 = 2
        exit""",
        ("helper-argument",),
    ),
    Case(
        "a size checked at 64 bits",
        """
        r6 = r1
        r7 = 0
        *(u64 *)(r10 - 8) = r7
        call 5
        r4 = r0
        if r4 > 8 goto +6
        r1 = 0
        r2 = 0
        r3 = r10
        r3 += -8
        r5 = 0
        call 28
        r0 = 2
        exit""",
    ),
]

CONTEXT = [
    Case("a field", "r0 = *(u32 *)(r1 + 12)\nexit"),
    Case("between fields", "r0 = *(u32 *)(r1 + 14)\nexit", ("context-access",)),
    Case("a field at the wrong width", "r0 = *(u64 *)(r1 + 0)\nexit", ("context-access",)),
    Case("beyond the context", "r0 = *(u32 *)(r1 + 64)\nexit", ("context-access",)),
    Case("a write", "r2 = 0\n*(u32 *)(r1 + 12) = r2\nr0 = 0\nexit", ("context-access",)),
    Case(
        "at a variable offset",
        "r2 = *(u32 *)(r1 + 12)\nr2 &= 4\nr1 += r2\nr0 = *(u32 *)(r1 + 12)\nexit",
        ("context-access",),
    ),
    Case("a scalar field, sign-extended", "r0 = *(s32 *)(r1 + 12)\nexit"),
    # The load is rewritten to one of a 64-bit pointer, whose sign there is nothing to extend.
    Case("a pointer field, sign-extended", "r2 = *(s32 *)(r1 + 0)\nr0 = 0\nexit", ("context-access",)),
]

WIDTHS = [
    Case(
        # w2 = x - 1; w2 <= 7 leaves x in 1..8: what is learnt of a result narrows the operand.
        "a wrapped comparison",
        """
        r3 = *(u32 *)(r1 + 12)
        r4 = 0
        *(u64 *)(r10 - 8) = r4
        w2 = w3
        w2 += -1
        if w2 > 7 goto +4
        r5 = r10
        r5 -= r3
        r0 = *(u8 *)(r5 + 0)
        exit
        r0 = 0
        exit""",
    ),
    Case(
        # Both paths bring words of the same ranges to the join, but only one of them brings w2 = x - 1.
        "a wrapped comparison of what is only computed on one path",
        """
        r6 = r1
        r4 = 0
        *(u64 *)(r10 - 8) = r4
        r7 = *(u32 *)(r6 + 16)
        r3 = *(u32 *)(r6 + 12)
        if r7 == 0 goto other
        w2 = w3
        w2 += -1
        goto join
        other:
        call 7
        w2 = w0
        r3 = *(u32 *)(r6 + 12)
        join:
        if w2 > 7 goto out
        r5 = r10
        r5 -= r3
        r0 = *(u8 *)(r5 + 0)
        out:
        r0 = 0
        exit""",
        ("out-of-bounds",),
    ),
    Case(
        "a wrapped comparison that is not enough",
        """
        r3 = *(u32 *)(r1 + 12)
        r4 = 0
        *(u64 *)(r10 - 8) = r4
        w2 = w3
        w2 += -1
        if w2 > 8 goto +4
        r5 = r10
        r5 -= r3
        r0 = *(u8 *)(r5 + 0)
        exit
        r0 = 0
        exit""",
        ("uninitialised-memory",),
    ),
    Case(
        # Only the low half is known to be small.
        "JMP32 narrows the low half only",
        """
        call 5
        r4 = 0
        *(u64 *)(r10 - 8) = r4
        if w0 > 7 goto +4
        r5 = r10
        r5 += -8
        r5 += r0
        r4 = *(u8 *)(r5 + 0)
        r0 = 0
        exit""",
        ("out-of-bounds",),
    ),
    Case(
        "truncated after JMP32",
        """
        call 5
        r4 = 0
        *(u64 *)(r10 - 8) = r4
        if w0 > 7 goto +5
        w0 = w0
        r5 = r10
        r5 += -8
        r5 += r0
        r4 = *(u8 *)(r5 + 0)
        r0 = 0
        exit""",
    ),
    Case(
        "shifts as truncation",
        """
        call 5
        r4 = 0
        *(u64 *)(r10 - 8) = r4
        r0 <<= 32
        r0 >>= 32
        if r0 > 7 goto +4
        r5 = r10
        r5 += -8
        r5 += r0
        r4 = *(u8 *)(r5 + 0)
        r0 = 0
        exit""",
    ),
    Case(
        # A signed comparison admits negative numbers.
        "signed upper bound only",
        """
        call 5
        r4 = 0
        *(u64 *)(r10 - 8) = r4
        if r0 s> 7 goto +4
        r5 = r10
        r5 += -8
        r5 += r0
        r4 = *(u8 *)(r5 + 0)
        r0 = 0
        exit""",
        ("out-of-bounds",),
    ),
    Case(
        # MOV32 of -1 is 2**32 - 1, not -1.
        "a 32-bit constant is zero-extended",
        "w2 = -1\nr2 += 1\nr3 = r10\nr3 -= r2\nr4 = 0\n*(u8 *)(r3 - 1) = r4\nr0 = 0\nexit",
        ("out-of-bounds",),
    ),
    Case(
        "sign-extending moves",
        """
        r2 = *(u32 *)(r1 + 12)
        r2 = (s8)r2
        r3 = 0
        *(u64 *)(r10 - 8) = r3
        if r2 s< -8 goto +4
        if r2 s> -1 goto +3
        r3 = r10
        r3 += r2
        r0 = *(u8 *)(r3 + 0)
        r0 = 0
        exit""",
    ),
    Case(
        "32-bit division keeps the low half",
        """
        call 5
        w0 /= 268435456
        r4 = 0
        *(u64 *)(r10 - 8) = r4
        *(u64 *)(r10 - 16) = r4
        r5 = r10
        r5 += -16
        r5 += r0
        r4 = *(u8 *)(r5 + 0)
        r0 = 0
        exit""",
    ),
]

LOOPS = [
    Case(
        "count up",
        """
        r2 = 0
        r3 = 0
        r4 = r10
        r4 += -16
        r4 += r2
        *(u8 *)(r4 + 0) = r3
        r2 += 1
        if r2 != 16 goto -6
        r0 = 0
        exit""",
    ),
    Case(
        "count up, one too far",
        """
        r2 = 0
        r3 = 0
        r4 = r10
        r4 += -16
        r4 += r2
        *(u8 *)(r4 + 0) = r3
        r2 += 1
        if r2 != 17 goto -6
        r0 = 0
        exit""",
        ("out-of-bounds",),
    ),
    Case(
        "walk the packet",
        PACKET
        + """
        r4 = r1
        r4 += 1
        if r4 > r2 goto +3
        r5 = *(u8 *)(r1 + 0)
        r1 = r4
        goto -5
        exit""",
    ),
    Case(
        "walk the packet, reading one too far",
        PACKET
        + """
        r4 = r1
        r4 += 1
        if r4 > r2 goto +3
        r5 = *(u8 *)(r1 + 1)
        r1 = r4
        goto -5
        exit""",
        ("out-of-bounds",),
    ),
    Case("endless", "r0 = 0\ngoto -1\nexit"),
    Case("a loop to the first instruction", "r0 = 0\nr2 = *(u32 *)(r1 + 12)\nif r2 > 5 goto -3\nexit"),
    Case(
        # The pointer is only one in the first turn.
        "a value that changes its kind in the loop",
        """
        r2 = 0
        r3 = r1
        r0 = *(u32 *)(r3 + 12)
        r3 = 0
        r2 += 1
        if r2 < 10 goto -4
        r0 = 0
        exit""",
        ("not-a-pointer",),
    ),
]

CORRELATED = [
    Case(
        # The status in r3 says which way the bounds check went.
        "a status code",
        PACKET
        + """
        r3 = -22
        r4 = r1
        r4 += 4
        if r4 > r2 goto +1
        r3 = 0
        if w3 != 0 goto +1
        r0 = *(u32 *)(r1 + 0)
        r0 = 2
        exit""",
    ),
    Case(
        "a status code, tested the wrong way round",
        PACKET
        + """
        r3 = -22
        r4 = r1
        r4 += 4
        if r4 > r2 goto +1
        r3 = 0
        if w3 == 0 goto +1
        r0 = *(u32 *)(r1 + 0)
        r0 = 2
        exit""",
        ("out-of-bounds",),
    ),
]

ALL = [*ARITHMETIC, *STACK, *PACKETS, *MAPS_AND_HELPERS, *CONTEXT, *WIDTHS, *LOOPS, *CORRELATED]


UNSUPPORTED = {
    "a program type that does not exist": Program("p", "s", "nosuch", assemble_text("r0 = 0\nexit")),
    "a map that the program does not have": Program(
        "p", "s", "xdp", assemble_text("r1 = map[idx:6] ll\nr0 = 0\nexit"), MAPS
    ),
    "a map at a negative position": Program(
        "p",
        "s",
        "xdp",
        (LoadImmediate64(Register.R1, -1, 0, Pseudo.MAP_INDEX), None, *assemble_text("r0 = 0\nexit")),
        MAPS,
    ),
    # Only arrays have a value at a fixed address.
    "the address of a value in a hash map": Program(
        "p", "s", "xdp", assemble_text("r1 = map[idx:1][0]+0 ll\nr0 = *(u8 *)(r1 + 0)\nexit"), MAPS
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported(name: str) -> None:
    verdict = verify(UNSUPPORTED[name])
    assert verdict.kind is VerdictKind.UNSUPPORTED, str(verdict)
    assert verdict.reason


def program_of(case: Case) -> Program:
    return Program(case.name, case.program_type, case.program_type, assemble_text(case.text), MAPS)


def verdict_of(case: Case) -> Verdict:
    """What the domains say; the solver has tests of its own."""
    return verify(program_of(case), smt=False)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_verdict(case: Case) -> None:
    verdict = verdict_of(case)
    assert tuple(sorted(failure.assertion for failure in verdict.failures)) == tuple(sorted(case.fails)), str(verdict)
    assert verdict.kind is (VerdictKind.UNKNOWN if case.fails else VerdictKind.SAFE), str(verdict)


@pytest.mark.parametrize("case", [case for case in ALL if case.fails], ids=lambda case: case.name)
def test_the_solver_proves_nothing_that_is_unsafe(case: Case) -> None:
    """It may find an input that shows it, which then ends in a trap that was foretold."""
    verdict = verify(program_of(case))
    assert verdict.kind in (VerdictKind.UNSAFE, VerdictKind.UNKNOWN)
    assert (verdict.witness is not None) == (verdict.kind is VerdictKind.UNSAFE)
    if verdict.witness is not None:
        assert verdict.witness.trap.pc in {failure.pc for failure in verdict.failures}


def _unproved() -> list[Program]:
    objects = [load_object(examples.path(name)) for name, example in examples.EXAMPLES.items() if not example.safe]
    return [program for loaded in objects for program in loaded.programs.values()]


def test_more_disjuncts_are_tried_only_where_they_may_change_something() -> None:
    """Where no states were merged that more disjuncts would keep apart, an analysis with more is the same."""
    once = [program for program in _unproved() if verify(program).disjuncts == 1]
    assert 0 < len(once) < len(_unproved())
    for program in once:
        few, many = verify(program, disjuncts=1), verify(program, disjuncts=64)
        assert (few.failures, few.steps) == (many.failures, many.steps)
