"""Whatever can be decoded gets a verdict: no program makes the verifier raise."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from prevail_py.isa.decode import DecodeError, decode
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Branch, Exit, Instruction, Jump, LoadImmediate64
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.research.generate import MAPS, program
from prevail_py.research.oracle import examine
from prevail_py.research.strategies import instructions
from prevail_py.verifier import Verdict, VerdictKind, verify

TYPES = tuple(sorted(platform().program_types))
EVERY_MAP = tuple(MapSpec(kind.name, kind.number, 4, 8, 4) for kind in platform().map_types.values())


def judged(made: Program) -> Verdict:
    """The verdict, with everything that is computed from it on demand."""
    verdict = verify(made, budget=1000)
    assert str(verdict)
    assert verdict._repr_html_()
    if verdict.kind is VerdictKind.UNSUPPORTED:
        assert verdict.reason
    if verdict.kind is VerdictKind.UNKNOWN:
        assert verdict.failures or verdict.reason
    for calls, pc in list(verdict.invariants)[:3]:
        verdict.invariants.before(pc, calls)
    return verdict


def mutant(seed: int) -> Program | None:
    """A random program with a few bytes changed, if it can still be decoded."""
    random = Random(seed)
    content = bytearray(encode(program(seed, size=random.randrange(2, 10), loops=random.random() < 0.3).code))
    for _ in range(random.randrange(1, 5)):
        place = random.randrange(len(content))
        content[place] = random.choice((random.randrange(256), content[place] ^ 1 << random.randrange(8), 0, 255))
    try:
        code = decode(bytes(content))
    except DecodeError:
        return None
    kind = "xdp" if random.random() < 0.6 else random.choice(TYPES)
    return Program(f"mutant {seed}", kind, kind, code, MAPS if random.random() < 0.7 else EVERY_MAP)


def test_damaged_programs() -> None:
    kinds = set()
    for seed in range(700):
        made = mutant(seed)
        if made is None:
            continue
        verdict = judged(made)
        kinds.add(verdict.kind)
        if verdict.is_safe and made.maps is MAPS:
            assert examine(made, verdict, 2, seed).violations == [], made.name
    assert kinds >= {VerdictKind.SAFE, VerdictKind.UNKNOWN, VerdictKind.UNSUPPORTED}


def within(code: list[Instruction], choose: Random) -> tuple[Instruction | None, ...]:
    """The instructions with their slots, and jumps that lead to one of them more often than not."""
    slots: list[Instruction | None] = []
    for instruction in code:
        slots += [instruction, None] if isinstance(instruction, LoadImmediate64) else [instruction]
    for pc, at in enumerate(slots):
        if isinstance(at, Branch | Jump) and choose.random() < 0.9:
            offset = choose.randrange(len(slots)) - pc - 1
            slots[pc] = (
                Branch(at.comparison, at.width, at.dst, at.src, offset) if isinstance(at, Branch) else Jump(offset)
            )
    return tuple(slots)


@settings(max_examples=150)
@given(st.lists(instructions(), max_size=12), st.sampled_from(TYPES), st.integers(0, 1000))
def test_any_instructions(code: list[Instruction], kind: str, seed: int) -> None:
    judged(Program("any", kind, kind, within([*code, Exit()], Random(seed)), EVERY_MAP))
