"""The guard: planted hazards are refused, near misses say what is not refused, and it covers the observed rule."""

from __future__ import annotations

import random
import struct

import pytest

from prevail_py.vm.kernel import hazard as guard
from prevail_py.vm.kernel.hazard import GENERATED_LIMIT, WINDOW, hazard

EXIT = (0x95, 0, 0, 0, 0)
NOP = (0xB7, 9, 0, 0, 7)  # r9 = 7
BACK = (0x05, 0, 0, -1, 0)  # goto -1
Row = tuple[int, int, int, int, int]


def code(*rows: Row) -> bytes:
    """``(opcode, dst, src, offset, imm)`` rows as the kernel's ``struct bpf_insn``."""
    return b"".join(struct.pack("<BBhi", op, dst | src << 4, offset, imm) for op, dst, src, offset, imm in rows)


def arsh(dst: int, imm: int) -> Row:
    return (0xC7, dst, 0, 0, imm)


def and_(dst: int, imm: int = 8) -> Row:
    return (0x57, dst, 0, 0, imm)


BACK_EDGES = {
    "goto": (BACK,),
    "gotol": ((0x06, 0, 0, 0, -1),),
    "branch": ((0x15, 2, 0, -1, 0),),
    "branch32": ((0x16, 2, 0, -3, 0),),
    "branch-register": ((0x6D, 2, 3, -2, 0),),
    "may_goto": ((0xE5, 0, 0, -1, 0),),
    "may_goto-forward": ((0xE5, 0, 0, 0, 0),),
    "call-to-lower": ((0x85, 0, 1, 0, -1),),
    "callback": ((0x18, 2, 4, 0, 3), (0, 0, 0, 0, 0)),
    "callx": ((0x8D, 2, 0, 0, 0),),
    "gotox": ((0x0D, 2, 0, 0, 0),),
}

SOURCES = {
    "arsh64-63": (0xC7, 1, 0, 0, 63),
    "arsh64-31": (0xC7, 1, 0, 0, 31),
    "arsh64-register": (0xCF, 1, 2, 0, 0),
    "arsh64-other": (0xC7, 1, 0, 0, 7),
    "arsh64-sign-extension": (0xC7, 1, 0, 0, 32),
    "arsh32-31": (0xC4, 1, 0, 0, 31),
    "arsh32-register": (0xCC, 1, 2, 0, 0),
    "neg64": (0x87, 1, 0, 0, 0),
    "neg32": (0x84, 1, 0, 0, 0),
    "minus-one": (0x07, 1, 0, 0, -1),
    "sub-one": (0x17, 1, 0, 0, 1),
    "sub-register": (0x1F, 1, 2, 0, 0),
    "mul-minus-one": (0x27, 1, 0, 0, -1),
    "mul-register": (0x2F, 1, 2, 0, 0),
    "not": (0xA7, 1, 0, 0, -1),
    "sdiv": (0x37, 1, 0, 1, 2),
    "smod": (0x97, 1, 0, 1, 2),
    "bounded-below": (0xC5, 1, 0, 0, -1),
}

USES = {
    "and64": (0x57, 1, 0, 0, 8),
    "and64-register": (0x5F, 1, 2, 0, 0),
    "and32": (0x54, 1, 0, 0, 8),
    "or64": (0x47, 1, 0, 0, 8),
    "or32-register": (0x4C, 1, 2, 0, 0),
}


@pytest.mark.parametrize("edge", BACK_EDGES)
def test_each_back_edge_counts(edge: str) -> None:
    body = (arsh(1, 63), and_(1))
    assert hazard(code(*body, EXIT)) is None
    assert hazard(code(*body, *BACK_EDGES[edge], EXIT)) is not None


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("use", USES)
def test_each_source_with_each_use(source: str, use: str) -> None:
    assert hazard(code(SOURCES[source], USES[use], BACK, EXIT)) is not None


@pytest.mark.parametrize("source", SOURCES)
def test_window_in_layout_both_ways(source: str) -> None:
    row = SOURCES[source]
    inside = (NOP,) * (WINDOW - 1)
    assert hazard(code(row, *inside, and_(1), BACK, EXIT)) is not None
    assert hazard(code(BACK, and_(1), *inside, row, EXIT)) is not None


def test_wide_loads_count_once_in_the_window() -> None:
    wide = ((0x18, 5, 0, 0, 1), (0, 0, 0, 0, 0)) * (WINDOW - 1)
    assert hazard(code(SOURCES["sub-one"], *wide, and_(1), BACK, EXIT)) is not None


def test_strong_sources_have_no_window() -> None:
    far = (NOP,) * (4 * WINDOW)
    assert hazard(code(arsh(1, 63), *far, and_(1), BACK, EXIT)) is not None
    assert hazard(code((0x87, 1, 0, 0, 0), *far, and_(1), BACK, EXIT)) is not None


@pytest.mark.parametrize(
    "link",
    [
        pytest.param(((0xBF, 3, 1, 0, 0),), id="move"),
        pytest.param(((0xBC, 3, 1, 0, 0),), id="move32"),
        pytest.param(((0xBF, 3, 1, 8, 0),), id="movsx"),
        pytest.param(((0xBF, 4, 1, 0, 0), (0xBF, 3, 4, 0, 0)), id="two-moves"),
        pytest.param(((0xB7, 3, 0, 0, 0), (0x0F, 3, 1, 0, 0)), id="add"),
        pytest.param(((0x7B, 10, 1, -8, 0), (0x79, 3, 10, -8, 0)), id="spill-and-fill"),
        pytest.param(((0xB7, 3, 0, 0, 0), (0x7B, 10, 1, -8, 0), (0xDB, 10, 3, -8, 1)), id="fetch"),
    ],
)
def test_derived_values(link: tuple[Row, ...]) -> None:
    far = (NOP,) * (2 * WINDOW)
    assert hazard(code(arsh(1, 63), *far, *link, *far, and_(3), BACK, EXIT)) is not None


def test_through_a_jump() -> None:
    far = (NOP,) * (2 * WINDOW)
    # goto L; use: and; exit; ...; L: arsh; goto use
    forward = len(far) + 2
    program = code((0x05, 0, 0, forward, 0), and_(1), EXIT, *far, arsh(1, 63), (0x05, 0, 0, -(len(far) + 4), 0))
    assert hazard(program) is not None


def test_through_a_subprogram() -> None:
    far = (NOP,) * (2 * WINDOW)
    # r1 = ...; call f; r0 &= 8; back edge; exit; ...; f: r0 = r1; r0 s>>= 63; exit
    start = 4 + len(far)
    call = (0x85, 0, 1, 0, start - 1)
    program = code(call, and_(0), (0x15, 0, 0, -1, 0), EXIT, *far, (0xBF, 0, 1, 0, 0), arsh(0, 63), EXIT)
    assert hazard(program) is not None


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param((arsh(1, 63), and_(1), EXIT), id="no-back-edge"),
        pytest.param((arsh(1, 63), (0x05, 0, 0, 0, 0), and_(1), EXIT), id="forward-jump"),
        pytest.param((arsh(1, 63), and_(2), BACK, EXIT), id="another-register"),
        pytest.param((arsh(1, 63), BACK, EXIT), id="no-use"),
        pytest.param((and_(1), BACK, EXIT), id="no-source"),
        pytest.param(((0xB7, 1, 0, 0, -1), and_(1), BACK, EXIT), id="constant"),
        pytest.param((arsh(1, 63), *(NOP,) * WINDOW, (0xB7, 1, 0, 0, 5), and_(1), BACK, EXIT), id="overwritten"),
        pytest.param((SOURCES["sub-one"], *(NOP,) * WINDOW, and_(1), BACK, EXIT), id="weak-source-far-away"),
        pytest.param((arsh(1, 32), *(NOP,) * WINDOW, and_(1), BACK, EXIT), id="sign-extension-far-away"),
        pytest.param(
            (arsh(1, 63), *(NOP,) * WINDOW, (0x85, 0, 0, 0, 5), (0xBF, 1, 0, 0, 0), and_(1), BACK, EXIT), id="helper"
        ),
        pytest.param((arsh(1, 63), (0xD4, 1, 0, 0, 16), (0xA7, 1, 0, 0, 3), BACK, EXIT), id="other-operations"),
    ],
)
def test_near_misses_pass(rows: tuple[Row, ...]) -> None:
    assert hazard(code(*rows)) is None


def test_second_slot_of_a_wide_load_is_no_instruction() -> None:
    assert hazard(code(arsh(1, 63), (0x18, 5, 0, 0, 1), (0, 1, 0, -9, -9), (0x15, 2, 0, -1, 0), EXIT)) is None
    # ... but one that has an opcode is read as an instruction: who knows what the kernel makes of it.
    assert hazard(code(arsh(1, 63), (0x18, 5, 0, 0, 1), and_(1), (0x15, 2, 0, -1, 0), EXIT)) is not None


def test_message_names_the_places() -> None:
    message = hazard(code(NOP, arsh(1, 63), and_(1), BACK, EXIT))
    assert message is not None
    assert "back edge at slot 3" in message
    assert "slot 2" in message
    assert "slot 1 " in message


def test_ragged_code_is_refused() -> None:
    assert hazard(b"\x95" * 9) is not None


def test_generated_programs() -> None:
    assert hazard(code(NOP, EXIT), generated=True) is None
    assert hazard(code(NOP, BACK, EXIT), generated=True) is not None
    assert hazard(code(NOP, BACK, EXIT)) is None
    longest = (NOP,) * (GENERATED_LIMIT - 2)
    assert hazard(code(*longest, EXIT), generated=True) is None
    assert hazard(code(*longest, NOP, EXIT), generated=True) is not None


def _observed_rule(program: bytes) -> bool:
    """The pattern as it was first described, in the most literal words: what the guard must at least refuse."""
    rows = [(op, regs & 15, regs >> 4, off, imm) for op, regs, off, imm in struct.iter_unpack("<BBhi", program)]
    jumps = [row for row in rows if row[0] & 7 in (5, 6) and row[0] & 0xF0 not in (0x80, 0x90)]
    if not any((imm if op == 0x06 else off) < 0 for op, _, _, off, imm in jumps):
        return False
    for i, (op, dst, _, _, imm) in enumerate(rows):
        shift = op in (0xCF, 0xCC) or (op in (0xC7, 0xC4) and imm in (31, 63))
        if shift or op in (0x87, 0x84):
            for other, register, *_ in rows[i + 1 : i + 17]:
                if other in (0x57, 0x5F, 0x54, 0x5C, 0x47, 0x4F, 0x44, 0x4C) and register == dst:
                    return True
    return False


def _random_programs(count: int, seed: int) -> list[bytes]:
    generator = random.Random(seed)
    palette = [0xC7, 0xCF, 0xC4, 0xCC, 0x87, 0x84, 0x57, 0x5F, 0x54, 0x47, 0x4C, 0xBF, 0xB7, 0x0F, 0x15, 0x05, 0x06]
    programs = []
    for _ in range(count):
        rows: list[Row] = []
        for _ in range(generator.randrange(4, 40)):
            op = generator.choice(palette)
            imm = generator.choice((31, 63, 1, 8, -3)) if op != 0x06 else generator.randrange(-5, 5)
            offset = generator.randrange(-5, 5) if op in (0x15, 0x05) else 0
            rows.append((op, generator.randrange(8), generator.randrange(8), offset, imm))
        programs.append(code(*rows, EXIT))
    return programs


def test_covers_the_observed_rule() -> None:
    matching = [program for program in _random_programs(3000, seed=1) if _observed_rule(program)]
    assert len(matching) > 200
    assert all(hazard(program) is not None for program in matching)


def test_a_weakened_guard_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above has teeth: it notices a window that is too short or an operation left out."""
    matching = [program for program in _random_programs(3000, seed=2) if _observed_rule(program)]
    monkeypatch.setattr(guard, "_derived", lambda slots: None)
    assert all(hazard(program) is not None for program in matching)
    with monkeypatch.context() as patch:
        patch.setattr(guard, "WINDOW", 6)
        assert any(hazard(program) is None for program in matching)
    with monkeypatch.context() as patch:
        patch.setattr(guard, "_is_possible_source", lambda slot: slot.is_alu and slot.op == 0x80)
        assert any(hazard(program) is None for program in matching)
