"""What is known of a function before any fixpoint: its blocks made ready to execute, their order, where widening stops.

Everything that depends on the program alone is worked out here once, so that executing a block in a state looks nothing
up: instructions are decoded to closures, edges know what is dead behind them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from prevail_py.cfg.graph import Block, FunctionGraph
from prevail_py.cfg.liveness import liveness
from prevail_py.cfg.wto import Wto, weak_topological_order
from prevail_py.isa.instructions import (
    Branch,
    Call,
    CallLocal,
    Exit,
    Immediate,
    Instruction,
    LoadPacket,
    MayGoto,
)
from prevail_py.isa.semantics import immediate_word
from prevail_py.verifier.assertions import Assertion, Initialised, assertions_of
from prevail_py.verifier.callbacks import calls_back
from prevail_py.verifier.contracts import TAIL_CALL
from prevail_py.verifier.obvious import Attempt, attempt_of, initialised
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.transfer import Condition, Effect, branch_of, effect_of
from prevail_py.words import mask

__all__ = ["Function", "Prepared", "Step", "Way", "demands_of", "is_tail_call", "prepare"]

_MAX_THRESHOLDS: Final = 64


class Step(NamedTuple):
    """An instruction, and how to execute it: first try ``attempt`` (:mod:`prevail_py.verifier.obvious`).

    ``effect`` is None for what closes a block, and for a call that runs a function of the program: see ``call``.
    """

    pc: int
    instruction: Instruction
    attempt: Attempt | None
    effect: Effect | None
    call: CallLocal | Call | None = None
    may_end: bool = False


class Way(NamedTuple):
    """An edge: the condition under which it is taken, what is live behind it, and whether paths join there."""

    target: int
    condition: Condition | None
    dead_registers: tuple[int, ...]
    live_stack: int
    joins: bool


class Prepared(NamedTuple):
    """A block, ready to execute.  ``incoming`` lists the edges that lead to it as (block, index of the edge)."""

    block: Block
    steps: tuple[Step, ...]
    ways: tuple[Way, ...]
    incoming: tuple[tuple[int, int], ...]
    is_exit: bool


class Function(NamedTuple):
    """A function, ready to be solved.  ``looping`` has the blocks that lie in some component of the order."""

    graph: FunctionGraph
    order: Wto
    blocks: tuple[Prepared, ...]
    looping: frozenset[int]
    thresholds: tuple[int, ...]


def prepare(setting: Setting, graph: FunctionGraph) -> Function:
    """Make one function of the program ready; linear in its size."""
    live = liveness(graph, setting.program, setting.platform)
    incoming: list[list[tuple[int, int]]] = [[] for _ in graph.blocks]
    for block in graph.blocks:
        for index, edge in enumerate(block.edges):
            incoming[edge.target].append((block.id, index))
    dead = [tuple(r for r in range(10) if not live.registers_in(block.id) >> r & 1) for block in graph.blocks]

    def ways(block: Block) -> tuple[Way, ...]:
        last = setting.program.code[block.last]
        return tuple(
            Way(
                edge.target,
                branch_of(last, edge.taken is True) if isinstance(last, Branch) else None,
                dead[edge.target],
                live.stack_in(edge.target),
                edge.target == 0 or len(incoming[edge.target]) > 1,
            )
            for edge in block.edges
        )

    blocks = tuple(
        Prepared(
            block,
            tuple(_step(setting, pc) for pc in block.pcs),
            ways(block),
            tuple(incoming[block.id]),
            isinstance(setting.program.code[block.last], Exit),
        )
        for block in graph.blocks
    )
    order = weak_topological_order(graph)
    return Function(graph, order, blocks, _looping(order), _thresholds(setting, graph))


def _looping(order: Wto) -> frozenset[int]:
    found, open_until = set(), 0
    for position, node in enumerate(order.order):
        open_until = max(open_until, order.ends[position])
        if position < open_until:
            found.add(node)
    return frozenset(found)


def _step(setting: Setting, pc: int) -> Step:
    instruction = setting.program.code[pc]
    assert instruction is not None, f"slot {pc} starts no instruction"
    match instruction:
        case Branch():
            return Step(pc, instruction, initialised(instruction), None)
        case MayGoto() | Exit():
            return Step(pc, instruction, None, None)
        case CallLocal():
            return Step(pc, instruction, None, None, call=instruction)
        case Call() if calls_back(setting, instruction):
            return Step(pc, instruction, None, None, call=instruction)
        case _:
            effect = effect_of(setting, pc, instruction)
            attempt = attempt_of(setting, instruction, effect)
            return Step(pc, instruction, attempt, effect, None, may_end(instruction))


def is_tail_call(instruction: Instruction) -> bool:
    """Whether another program may take the place of the function here."""
    return isinstance(instruction, Call) and instruction.helper == TAIL_CALL


def may_end(instruction: Instruction) -> bool:
    """Whether the function may end here, though it need not."""
    return is_tail_call(instruction) or isinstance(instruction, LoadPacket)


def demands_of(instruction: Instruction) -> tuple[tuple[Assertion, ...], tuple[int, ...]]:
    """The assertions of an instruction, and the registers it may only read when they are initialised."""
    assertions = assertions_of(instruction)
    return assertions, tuple(int(demand.register) for demand in assertions if isinstance(demand, Initialised))


def _thresholds(setting: Setting, graph: FunctionGraph) -> tuple[int, ...]:
    """Where widening may stop: the constants the function compares with, and their neighbours."""
    found: set[int] = set()
    for block in graph.blocks:
        instruction = setting.program.code[block.last]
        if isinstance(instruction, Branch) and isinstance(instruction.src, Immediate):
            word = immediate_word(instruction.src.value)
            found.update((word - 1 & mask(64), word, word + 1 & mask(64)))
    return tuple(sorted(found)[:_MAX_THRESHOLDS])
