"""The oracle notices a broken verifier: each fault planted here is caught, and without any the oracle is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.scalar_zones import ScalarZones
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.research.oracle import examine
from prevail_py.verifier import blocks, helper_effects, partition, regions, scalars, transfer, verify
from prevail_py.verifier.merge import merge
from prevail_py.verifier.state import Frame
from prevail_py.verifier.values import ZERO
from prevail_py.words import Comparison, OpKind

MAPS = (MapSpec("values", 2, 4, 64, 4), MapSpec("table", 1, 4, 8, 16))

# Each program is safe and uses its packet, so that its concrete states differ from run to run.
HEADER = """
    r6 = r1
    r2 = *(u32 *)(r1 + 4)
    r7 = *(u32 *)(r1 + 0)
    r0 = 2
    r3 = r7
    r3 += 8
    if r3 > r2 goto {skip}
"""

PROGRAMS = {
    "arithmetic": HEADER.format(skip="+21")
    + """
    r1 = *(u8 *)(r7 + 0)
    r2 = *(u32 *)(r7 + 4)
    r3 = r1
    r3 += r2
    r4 = r2
    r4 &= 240
    r5 = r2
    r5 >>= 28
    r8 = r2
    r8 <<= 16
    w9 = w8
    w8 -= w1
    r0 = r3
    r0 *= 3
    r1 = (s8)r1
    r2 = r1
    r2 ^= r4
    r2 /= 7
    r9 = *(s32 *)(r7 + 0)
    w9 &= -1
    r0 = 2
    exit""",
    "branches": HEADER.format(skip="+12")
    + """
    r1 = *(u8 *)(r7 + 0)
    r2 = *(u32 *)(r7 + 4)
    r4 = *(u64 *)(r7 + 0)
    if r1 < 100 goto +2
    r3 = 5
    goto +1
    r3 = r1
    if w4 > 2147483647 goto +1
    r0 = r4
    if r2 s> 4 goto +1
    r3 = r2
    r0 = r3
    exit""",
    "stack": HEADER.format(skip="+10")
    + """
    r1 = *(u64 *)(r7 + 0)
    r3 = 5
    *(u64 *)(r10 - 8) = r3
    *(u8 *)(r10 - 6) = r1
    r2 = *(u64 *)(r10 - 8)
    *(u32 *)(r10 - 12) = r3
    *(u64 *)(r10 - 16) = r2
    r3 = *(u32 *)(r10 - 12)
    r0 = *(u16 *)(r10 - 16)
    r0 += r2
    exit""",
    "loop": HEADER.format(skip="+7")
    + """
    r1 = *(u8 *)(r7 + 0)
    r1 &= 31
    r2 = 0
    r3 = 0
    r2 += 3
    r3 += 1
    if r3 < r1 goto -3
    exit""",
    "walk": """
    r2 = *(u32 *)(r1 + 4)
    r1 = *(u32 *)(r1 + 0)
    r0 = 2
    r4 = r1
    r4 += 1
    if r4 > r2 goto +6
    r5 = *(u8 *)(r1 + 0)
    r1 += r5
    r4 = r1
    r4 += 2
    if r4 > r2 goto +1
    r5 = *(u16 *)(r1 + 0)
    exit""",
    "lookup": HEADER.format(skip="+11")
    + """
    r1 = *(u8 *)(r7 + 0)
    r1 &= 7
    *(u32 *)(r10 - 4) = r1
    r2 = r10
    r2 += -4
    r1 = map[idx:1] ll
    call 1
    if r0 == 0 goto +1
    r0 = *(u64 *)(r0 + 0)
    r0 = 2
    exit""",
    "moved": """
    r6 = r1
    r7 = *(u32 *)(r1 + 0)
    r2 = -4
    call 44
    r0 = 2
    r2 = *(u32 *)(r6 + 4)
    r1 = *(u32 *)(r6 + 0)
    r3 = r1
    r3 += 4
    if r3 > r2 goto +1
    r0 = *(u8 *)(r1 + 0)
    exit""",
}


# Not safe: a verifier with the fault of its name says otherwise.
UNSAFE = {"null check the wrong way round": PROGRAMS["lookup"].replace("if r0 == 0", "if r0 != 0")}


def _programs() -> Iterator[Program]:
    for name, text in (PROGRAMS | UNSAFE).items():
        yield Program(name, "xdp", "xdp", assemble_text(text), MAPS)
    for name in ("xdp_options", "xdp_subprogram"):
        yield from load_object(examples.path(name)).programs.values()


def _first_violation(runs: int = 40) -> str | None:
    """What the oracle says of the first program that it refutes; programs that are not SAFE are passed over."""
    for program in _programs():
        verdict = verify(program)
        if verdict.is_safe:
            report = examine(program, verdict, runs)
            if report.violations:
                return f"{program.name}: {report.violations[0]}"
    return None


def test_no_violation_without_a_fault() -> None:
    for program in _programs():
        verdict = verify(program)
        assert verdict.is_safe == (program.name not in UNSAFE), str(verdict)
        if verdict.is_safe:
            assert examine(program, verdict, 40).violations == []


Plant = Callable[[pytest.MonkeyPatch], None]


def _operator(kind: OpKind, spoil: Callable[[Any], Any]) -> Plant:
    """Spoil the results of one word operator."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        original = Scalar.apply

        def apply(self: Any, op: Any, *args: Any) -> Any:
            result = original(self, op, *args)
            known = result.bounds()
            return spoil(result) if op.kind is kind and known.lo < known.hi else result

        patch.setattr(Scalar, "apply", apply)

    return plant


def _halve(word: Any) -> Any:
    lo, hi = word.bounds()
    return type(word).between(lo, lo + (hi - lo) // 2)


def _attribute(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Plant:
    return lambda patch: patch.setattr(owner, name, wrap(getattr(owner, name)))


def _keep_left(original: Any) -> Any:
    return lambda self, other, phis: original(self, self, [phi._replace(right=phi.left) for phi in phis])


FAULTS: dict[str, Plant] = {
    "addition loses half of its results": _operator(OpKind.ADD, _halve),
    "AND loses half of its results": _operator(OpKind.AND, _halve),
    "right shifts lose half of their results": _operator(OpKind.RSH, _halve),
    "multiplication loses half of its results": _operator(OpKind.MUL, _halve),
    "sign extension forgets the sign": _operator(OpKind.SEXT, lambda word: type(word).between(0, 127)),
    "truncation is skipped": _attribute(
        scalars,
        "_unchanged",
        lambda old: lambda s, state, op, a, *rest: a if op.kind is OpKind.ZEXT else old(s, state, op, a, *rest),
    ),
    "32-bit comparisons narrow the whole word": _attribute(
        transfer, "assume", lambda old: lambda state, comparison, a, b, width: old(state, comparison, a, b, 64)
    ),
    "less-than is taken for its negation": _attribute(
        ScalarZones,
        "assume",
        lambda old: lambda self, c, a, b, width=64: old(self, c.negation if c is Comparison.ULT else c, a, b, width),
    ),
    "joins keep the left side only": _attribute(ScalarZones, "join", _keep_left),
    "zones are one byte too generous": _attribute(
        ScalarZones, "_relate", lambda old: lambda self, u, v, c, changed: old(self, u, v, c - 1, changed)
    ),
    "loop heads are stable too early": _attribute(
        blocks, "add_state", lambda old: lambda *a, **k: False if len(a[0]) else old(*a, **k)
    ),
    "stores leave overlapping cells alone": _attribute(Frame, "clobber", lambda old: lambda self, lo, hi: None),
    "what a store leaves of a number is 0": _attribute(
        regions, "_left_over", lambda old: lambda *a: {at: (size, ZERO) for at, (size, _) in old(*a).items()}
    ),
    "null checks are inverted": _attribute(
        transfer, "_compare_with_number", lambda old: lambda s, c, p, n: old(s, c.negation, p, n)
    ),
    "packet pointers survive the packet": _attribute(
        helper_effects, "packet_moved", lambda old: lambda setting, state: None
    ),
    "the larger disjunct is dropped": _attribute(
        partition, "merge", lambda old: lambda left, right, how, fresh, thresholds=(): left
    ),
    "loads of one byte yield seven bits": _attribute(
        regions, "unknown", lambda old: lambda s, state, lo=0, hi=2**64 - 1: old(s, state, lo, 127 if hi == 255 else hi)
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[name](monkeypatch)
    assert _first_violation() is not None


def test_merge_is_what_partition_uses() -> None:
    assert vars(partition)["merge"] is merge  # or the fault planted above would change nothing
