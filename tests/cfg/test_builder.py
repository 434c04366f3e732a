from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.cfg.builder import build
from prevail_py.cfg.graph import Block, CfgError, ControlFlowGraph, Edge, FunctionGraph
from prevail_py.isa import flow
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Branch,
    CallLocal,
    Exit,
    Immediate,
    Instruction,
    Jump,
    LoadImmediate64,
    MayGoto,
    Pseudo,
    Register,
)
from prevail_py.objects.program import Program, Subprogram
from prevail_py.research.families import diamonds
from prevail_py.words import Comparison

R0, R1 = Register.R0, Register.R1
NOP: Instruction = Alu(AluOp.MOV, 64, R0, Immediate(0))
EXIT = Exit()
WIDE: tuple[Instruction | None, ...] = (LoadImmediate64(R0, 1), None)


def branch(offset: int) -> Branch:
    return Branch(Comparison.EQ, 64, R1, Immediate(0), offset)


def program(*code: Instruction | None, subprograms: tuple[Subprogram, ...] = ()) -> Program:
    return Program("main", "xdp", "xdp", code, subprograms=subprograms)


def graph(*code: Instruction | None) -> FunctionGraph:
    return build(program(*code)).entry


def test_straight_line_is_one_block() -> None:
    assert graph(NOP, *WIDE, NOP, EXIT).blocks == (Block(0, 0, 5, (0, 1, 3, 4), ()),)


def test_diamond() -> None:
    # 0: branch, 1: nop, 2: jump 4, 3: nop (taken), 4: exit
    built = graph(branch(2), NOP, Jump(1), NOP, EXIT)
    assert built.blocks == (
        Block(0, 0, 1, (0,), (Edge(1, False), Edge(2, True))),
        Block(1, 1, 3, (1, 2), (Edge(3),)),
        Block(2, 3, 4, (3,), (Edge(3),)),
        Block(3, 4, 5, (4,), ()),
    )
    assert built.successors == ((1, 2), (3,), (3,), ())
    assert built.predecessors == ((), (0,), (0,), (1, 2))
    assert str(built).splitlines() == [
        "main: slots 0-4",
        "  0: slots 0-0 -> 1, 2 taken",
        "  1: slots 1-2 -> 3",
        "  2: slots 3-3 -> 3",
        "  3: slots 4-4",
    ]


def test_branch_to_the_next_instruction_has_two_edges_to_one_block() -> None:
    built = graph(branch(0), EXIT)
    assert built.blocks[0].edges == (Edge(1, False), Edge(1, True))
    assert built.blocks[0].successors == (1,)
    assert built.predecessors[1] == (0,)


def test_may_goto_has_both_edges() -> None:
    assert graph(MayGoto(1), Jump(-2), EXIT).blocks[0].edges == (Edge(1, False), Edge(2, True))


def test_entry_may_be_a_loop_head() -> None:
    built = graph(NOP, branch(-2), EXIT)
    assert built.blocks[0].edges == (Edge(1, False), Edge(0, True))
    assert built.predecessors[0] == (0,)


def test_wide_jump() -> None:
    assert graph(Jump(1, wide=True), NOP, EXIT).blocks == (
        Block(0, 0, 1, (0,), (Edge(1),)),
        Block(1, 2, 3, (2,), ()),
    )


def test_calls_do_not_end_a_block() -> None:
    cfg = build(program(NOP, CallLocal(1), EXIT, NOP, EXIT))
    assert [function.entry_pc for function in cfg.functions] == [0, 3]
    assert [function.name for function in cfg.functions] == ["main", "function_3"]
    assert [len(function.blocks) for function in cfg.functions] == [1, 1]
    assert cfg.calls == {0: ((1, 1),), 1: ()}
    assert cfg.references == {0: (), 1: ()}
    assert not cfg.recursion


def test_callbacks_are_functions() -> None:
    load = LoadImmediate64(R1, 2, pseudo=Pseudo.FUNCTION)
    cfg = build(program(load, None, EXIT, NOP, EXIT))
    assert cfg.references == {0: ((0, 1),), 1: ()}
    assert cfg.calls == {0: (), 1: ()}
    assert cfg.functions[1].blocks == (Block(0, 3, 5, (3, 4), ()),)


def test_declared_functions_keep_their_order_and_names() -> None:
    declared = (Subprogram("entry", 0, 2), Subprogram("late", 4, 6), Subprogram("early", 2, 4))
    cfg = build(program(CallLocal(3), EXIT, NOP, EXIT, CallLocal(-3), EXIT, subprograms=declared))
    assert [(function.index, function.name) for function in cfg.functions] == [(0, "entry"), (1, "late"), (2, "early")]
    assert cfg.calls == {0: ((0, 1),), 1: ((4, 2),), 2: ()}
    assert [cfg.function_at(pc).name for pc in range(6)] == ["entry", "entry", "early", "early", "late", "late"]


def test_look_ups() -> None:
    cfg = build(program(branch(1), NOP, EXIT, NOP, EXIT))  # 3 and 4 are dead
    assert [cfg.block_of(pc).id for pc in range(3)] == [0, 1, 2]
    assert cfg.unreachable == (3, 4)
    with pytest.raises(LookupError, match="slot 3 is in no reachable block of main"):
        cfg.block_of(3)
    with pytest.raises(LookupError, match="slot 5 is in no function"):
        cfg.function_at(5)
    with pytest.raises(LookupError, match="slot -1 is in no function"):
        cfg.function_at(-1)


def test_dead_code_has_no_calls_and_is_reported() -> None:
    cfg = build(program(EXIT, CallLocal(1), EXIT, EXIT))
    assert cfg.calls == {0: (), 1: ()}
    assert cfg.unreachable == (1, 2)


def test_code_outside_of_all_functions_is_unreachable() -> None:
    assert build(program(EXIT, NOP, subprograms=(Subprogram("main", 0, 1),))).unreachable == (1,)


def test_repr_evaluates_back() -> None:
    cfg = build(program(branch(0), EXIT))
    names = {"Alu": Alu, "Branch": Branch, "Exit": Exit, "Immediate": Immediate, "Comparison": Comparison}
    names |= {"Block": Block, "Edge": Edge, "FunctionGraph": FunctionGraph, "Subprogram": Subprogram}
    text = repr(cfg.entry)
    assert eval(text, names) == cfg.entry
    assert eval(text, names).predecessors == cfg.entry.predecessors


@pytest.mark.parametrize(
    ("code", "pc", "reason"),
    [
        ((), 0, "the program is empty"),
        ((NOP,), 0, "execution runs off the end of function main"),
        ((branch(0),), 0, "the jump leads to slot 1, outside of the program"),
        ((NOP, branch(-2)), 1, "execution runs off the end of function main"),
        ((NOP, MayGoto(-2)), 1, "execution runs off the end of function main"),
        ((*WIDE,), 0, "execution runs off the end of function main"),
        ((Jump(1), EXIT), 0, "the jump leads to slot 2, outside of the program (slots 0 to 1)"),
        ((Jump(-2), EXIT), 0, "the jump leads to slot -1, outside of the program"),
        ((EXIT, Jump(7)), 1, "the jump leads to slot 9, outside of the program"),  # in dead code, too
        ((branch(1), *WIDE, EXIT), 0, "the jump leads into the middle of the wide load at slot 1"),
        ((CallLocal(2), EXIT), 0, "the call leads to slot 3, outside of the program"),
        ((CallLocal(2), EXIT, *WIDE, EXIT), 0, "the call leads into the middle of the wide load at slot 2"),
        ((CallLocal(1), EXIT, Jump(-3), EXIT), 2, "the jump to slot 0 leaves function function_2"),
        ((CallLocal(1), NOP, NOP, EXIT), 1, "execution runs off the end of function main"),
        ((NOP, None, EXIT), 1, "there is nothing here"),
        ((None, EXIT), 0, "there is nothing here"),
        ((LoadImmediate64(R0, 1), EXIT), 1, "this slot should be the second of a wide load"),
        ((EXIT, LoadImmediate64(R0, 1)), 1, "the wide load lacks its second slot"),
    ],
)
def test_malformed_code(code: tuple[Instruction | None, ...], pc: int, reason: str) -> None:
    with pytest.raises(CfgError) as caught:
        build(program(*code))
    assert caught.value.pc == pc
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"slot {pc}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("declared", "pc", "reason"),
    [
        ([("f", 1, 4)], 0, "the entry function f starts at slot 1, not at 0"),
        ([("f", 0, 0)], 0, "function f (slots 0 to 0, exclusive) is empty"),
        ([("f", 0, 5)], 0, "exceeds the program"),
        ([("f", 0, 3), ("g", 2, 4)], 2, "overlaps another"),
        ([("f", 0, 2)], 2, "function f ends in the middle of a wide load"),
        ([("f", 0, 1), ("g", 2, 4)], 2, "function g starts in the middle of a wide load"),
    ],
)
def test_malformed_functions(declared: list[tuple[str, int, int]], pc: int, reason: str) -> None:
    with pytest.raises(CfgError) as caught:
        build(program(EXIT, *WIDE, EXIT, subprograms=tuple(Subprogram(*extent) for extent in declared)))
    assert caught.value.pc == pc
    assert reason in caught.value.reason


def test_calls_lead_to_the_starts_of_declared_functions() -> None:
    with pytest.raises(CfgError, match="slot 0: slot 2 is not the start of a function"):
        build(program(CallLocal(1), EXIT, EXIT, subprograms=(Subprogram("f", 0, 3),)))


def test_errors_survive_pickling() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(CfgError(3, "why")))
    assert (error.pc, error.reason, str(error)) == (3, "why", "slot 3: why")


@pytest.mark.parametrize(
    ("callees", "cycle"),
    [
        ([[1], [2], []], ()),
        ([[1, 2], [2], []], ()),  # called twice is not recursion
        ([[0]], (0,)),
        ([[1], [2], [1]], (1, 2)),
        ([[], [2], [3], [1]], (1, 2, 3)),  # in functions that nobody calls, too
        ([[1, 2], [], [3], [2]], (2, 3)),
    ],
)
def test_recursion_is_data(callees: list[list[int]], cycle: tuple[int, ...]) -> None:
    starts = [0]
    for called in callees:
        starts.append(starts[-1] + len(called) + 1)
    code: list[Instruction] = []
    for called in callees:
        for callee in called:
            code.append(CallLocal(starts[callee] - len(code) - 1))
        code.append(EXIT)
    declared = tuple(Subprogram(f"f{index}", starts[index], starts[index + 1]) for index in range(len(callees)))
    assert build(program(*code, subprograms=declared)).recursion == cycle


def test_a_callback_that_passes_itself_on_is_recursion() -> None:
    cfg = build(program(LoadImmediate64(R1, -1, pseudo=Pseudo.FUNCTION), None, EXIT))
    assert cfg.references == {0: ((0, 0),)}
    assert cfg.recursion == (0,)


def test_a_chain_of_calls_needs_no_recursion() -> None:
    count = 20_000
    code: list[Instruction] = []
    for _ in range(count):
        code += [CallLocal(1), EXIT]
    code.append(EXIT)
    cfg = build(program(*code))
    assert len(cfg.functions) == count + 1
    assert not cfg.recursion


@st.composite
def codes(draw: st.DrawFn) -> tuple[Instruction | None, ...]:
    """Well-formed code: every jump leads to an instruction, and the last instruction is an exit."""
    shapes = draw(st.lists(st.sampled_from(["nop", "wide", "jump", "branch", "may_goto", "exit"]), max_size=20))
    starts: list[int] = []
    slot = 0
    for shape in [*shapes, "exit"]:
        starts.append(slot)
        slot += 2 if shape == "wide" else 1
    code: list[Instruction | None] = []
    for pc, shape in zip(starts, [*shapes, "exit"], strict=True):
        offset = draw(st.sampled_from(starts)) - pc - 1
        match shape:
            case "wide":
                code += WIDE
            case "jump":
                code.append(Jump(offset))
            case "branch":
                code.append(branch(offset))
            case "may_goto":
                code.append(MayGoto(offset))
            case "exit":
                code.append(EXIT)
            case _:
                code.append(NOP)
    return tuple(code)


@given(codes())
def test_blocks_say_the_same_as_the_instructions(code: tuple[Instruction | None, ...]) -> None:
    cfg = build(program(*code))
    built = cfg.entry
    reachable: set[int] = set()
    pending = [0]
    while pending:
        pc = pending.pop()
        if pc not in reachable:
            reachable.add(pc)
            pending.extend(flow.successors(code, pc))
    assert sorted(pc for block in built.blocks for pc in block.pcs) == sorted(reachable)
    assert set(cfg.unreachable) == {pc for pc, found in enumerate(code) if found is not None} - reachable
    targets = {
        flow.target(pc, instruction)
        for pc, instruction in enumerate(code)
        if isinstance(instruction, Jump | Branch | MayGoto)
    }
    for block in built.blocks:
        assert block.start == block.pcs[0]
        assert [built.block_of(slot) for slot in range(block.start, block.end)] == [block] * (block.end - block.start)
        for pc, following in zip(block.pcs, block.pcs[1:], strict=False):
            assert flow.successors(code, pc) == (following,)
            assert following not in targets
        assert tuple(built.blocks[edge.target].start for edge in block.edges) == flow.successors(code, block.last)
        assert [edge.taken for edge in block.edges] in ([], [None], [False, True])


@given(codes())
def test_blocks_are_in_reverse_post_order(code: tuple[Instruction | None, ...]) -> None:
    built = build(program(*code)).entry
    assert [block.id for block in built.blocks] == list(range(len(built.blocks)))
    assert built.blocks[0].start == 0
    # An edge that does not lead to a higher number closes a cycle.
    for block in built.blocks:
        for target in block.successors:
            if target <= block.id:
                reached: set[int] = set()
                pending = [target]
                while pending:
                    at = pending.pop()
                    if at not in reached:
                        reached.add(at)
                        pending.extend(built.successors[at])
                assert block.id in reached


def test_steps_are_linear(count_lines: Callable[[Callable[[], object]], int]) -> None:
    assert count_lines(lambda: build(diamonds(1000))) < 10.5 * count_lines(lambda: build(diamonds(100)))


def test_a_large_program() -> None:
    cfg: ControlFlowGraph = build(diamonds(22_000))
    assert len(cfg.entry.blocks) == 3 * 22_000 + 1
