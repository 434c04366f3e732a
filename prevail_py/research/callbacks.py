"""Random programs with functions that ``bpf_loop`` calls, and with ``may_goto``, for campaigns on proved code.

Each function has eight bytes of some frame as its context, or none: those of the main program, or of a function that
calls it by ``bpf_loop`` and may hand on its own context.  So what a pointer leads to is known where it is made and not
where it is used.  Functions look up elements, and stop early.  Numbers of turns are small, none, or too large.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble

__all__ = ["MAPS", "program"]

MAPS: Final = (MapSpec("flows", 1, 4, 8, 6),)
"""The map of each program: a hash table that is full now and then."""

_OPERATIONS: Final = ("+=", "^=", "*=", "-=", "|=")


def program(number: int) -> Program:
    """Program ``number``."""
    writer = _Writer(Random(f"callbacks/{number}"))
    return replace(assemble(writer.text(), maps=MAPS), name=f"callbacks_{number}", program_type="xdp", section="xdp")


class _Writer:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.functions = random.randrange(1, 4)
        self.without_context = {n for n in range(self.functions) if random.random() < 0.2}
        self.labels = 0

    def label(self) -> str:
        self.labels += 1
        return f"l{self.labels}"

    def text(self) -> str:
        lines = [
            *("r6 = r1", "r7 = *(u32 *)(r1 + 0)", "r3 = *(u32 *)(r1 + 4)", "r4 = r7", "r4 += 16"),
            *("if r4 > r3 goto out", "r8 = *(u8 *)(r7 + 0)", "r8 &= 31", "r9 = *(u16 *)(r7 + 1)"),
            *("*(u64 *)(r10 - 8) = r9", "*(u64 *)(r10 - 16) = 7"),
        ]
        for function in range(self.functions):
            for _ in range(self.random.choice((1, 1, 2))):
                lines += [*self.call(function, "r8", outer=False), "r9 *= 31", "r9 += r0"]
        if self.random.random() < 0.5:
            lines += self.may_goto("r9", "r8")
        lines += ["r3 = *(u64 *)(r10 - 8)", "r9 ^= r3", "r0 = r9", "exit", "out:", "r0 = 1", "exit"]
        for function in range(self.functions):
            lines += self.function(function)
        return "\n".join(_with_distances(lines))

    def call(self, function: int, count: str, *, outer: bool) -> list[str]:
        """Call ``bpf_loop``; the result is in R0.  ``outer``: R7 is the context of the function that calls."""
        random = self.random
        if function in self.without_context:
            given = ["r3 = 0"]
        elif outer and random.random() < 0.5:
            given = ["r3 = r7"]
        else:
            given = ["r3 = r10", f"r3 += {random.choice((-8, -16))}"]
        turns = random.choice((count, count, count, "0", "3", "0x800001", "-1"))
        flags = 1 if random.random() < 0.1 else 0
        return [*given, f"r1 = {turns}", f"r2 = FUNCTION {function}", f"r4 = {flags}", "call 181"]

    def may_goto(self, sum: str, bound: str) -> list[str]:
        again, over = self.label(), self.label()
        return [
            *("r4 = 0", f"{again}:", f"may_goto {over}", "r4 += 1", f"{sum} += r4"),
            *(f"if r4 < {bound} goto {again}", f"{over}:"),
        ]

    def function(self, number: int) -> list[str]:
        """A function of the number of the turn and eight bytes of some memory."""
        random, size = self.random, self.random.choice((1, 2, 4, 8))
        kind = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}[size]
        place = random.randrange(0, 8, size)
        lines = [f"FUNCTION {number}:", "r6 = r1", "r7 = r2"]
        if number in self.without_context:
            lines += ["*(u64 *)(r10 - 8) = r1", "r7 = r10", "r7 += -8"]
        lines.append(f"r8 = *({kind} *)(r7 + {place})")
        lines += [f"r8 {random.choice(_OPERATIONS)} r6", f"r8 += {random.randrange(-9, 99)}"]
        if random.random() < 0.3:
            lines += ["call 7", "r8 ^= r0"]
        if random.random() < 0.4:
            lines += self.table()
        if random.random() < 0.3:
            lines += self.may_goto("r8", "r6")
        if number + 1 < self.functions and random.random() < 0.5:
            lines += ["*(u64 *)(r10 - 8) = r6", "*(u64 *)(r10 - 16) = r8"]
            lines += [*self.call(number + 1, "2", outer=True), "r8 += r0"]
        lines += [f"*({kind} *)(r7 + {place}) = r8", "r0 = 0"]
        stop = random.choice(("r8 s< 0", "r6 > 5", "r8 == r6", ""))
        if stop:
            go_on = self.label()
            lines += [f"if {stop} goto {go_on}", "exit", f"{go_on}:", "r0 = 1"]
        return [*lines, "exit"]

    def table(self) -> list[str]:
        """Count something in the hash table."""
        absent, over = self.label(), self.label()
        return [
            *("r3 = r8", "r3 &= 7", "*(u32 *)(r10 - 28) = r3", "r1 = map[idx:0] ll", "r2 = r10", "r2 += -28"),
            *("call 1", f"if r0 == 0 goto {absent}", "r1 = 1", "lock *(u64 *)(r0 + 0) += r1"),
            *("r1 = *(u64 *)(r0 + 0)", "r8 ^= r1", f"goto {over}", f"{absent}:", "*(u64 *)(r10 - 40) = r6"),
            *("r1 = map[idx:0] ll", "r2 = r10", "r2 += -28", "r3 = r10", "r3 += -40", "r4 = 0", "call 2"),
            *("r8 += r0", f"{over}:"),
        ]


def _with_distances(lines: list[str]) -> list[str]:
    """With addresses of functions as the assembler has them: distances in slots."""
    slot, places = 0, {}
    starts = []
    for line in lines:
        if line.startswith("FUNCTION"):
            places[line.rstrip(":")] = slot
        starts.append(slot)
        if not line.endswith(":"):
            slot += 2 if line.endswith(" ll") or "= FUNCTION" in line else 1
    found = []
    for start, line in zip(starts, lines, strict=True):
        before, wanted, number = line.partition(" = FUNCTION ")
        if wanted:
            found.append(f"{before} = subprog[{places[f'FUNCTION {number}'] - start - 1:+d}] ll")
        elif not line.startswith("FUNCTION"):
            found.append(line)
    return found
