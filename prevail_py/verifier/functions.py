"""What is known of a function before any fixpoint: its blocks made ready to execute, their order, where widening stops.

Everything that depends on the program alone is worked out here once, so that executing a block in a state looks nothing
up: instructions are decoded to closures, edges know what is dead behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
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
    LoadImmediate64,
    LoadPacket,
    MayGoto,
)
from prevail_py.isa.semantics import immediate_word
from prevail_py.verifier.assertions import Assertion, Initialised, assertions_of
from prevail_py.verifier.callbacks import calls_back
from prevail_py.verifier.contracts import TAIL_CALL
from prevail_py.verifier.obvious import Attempt, attempt_of, initialised
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import State
from prevail_py.verifier.transfer import Condition, Effect, branch_of, effect_of
from prevail_py.words import mask

__all__ = ["Function", "Prepared", "Step", "Way", "demands_of", "is_tail_call", "prepare"]

_MAX_THRESHOLDS: Final = 64

_LEAST_SHARED: Final = 16
"""Instructions of straight code that take as long as looking for a summary and applying it."""


class Step:
    """An instruction, and how to execute it: first try ``attempt`` (:mod:`prevail_py.verifier.obvious`).

    ``call`` is set for a call that runs a function of the program; ``may_end`` says whether the function may end here,
    though it need not.
    """

    __slots__ = ("_effect", "_setting", "attempt", "call", "instruction", "may_end", "pc")

    def __init__(
        self,
        setting: Setting,
        pc: int,
        instruction: Instruction,
        attempt: Attempt | None,
        call: CallLocal | Call | None = None,
        may_end: bool = False,
    ) -> None:
        self.pc = pc
        self.instruction = instruction
        self.attempt = attempt
        self.call = call
        self.may_end = may_end
        self._setting = setting
        self._effect: Effect | None = None

    @property
    def effect(self) -> Effect | None:
        """What it does after a closer look, made when that is first taken.

        None for what closes a block, and for a call that runs a function of the program.
        """
        if self._effect is None and self.call is None and not isinstance(self.instruction, _CLOSING):
            self._effect = effect_of(self._setting, self.pc, self.instruction)
        return self._effect


_CLOSING: Final = (Branch, MayGoto, Exit)


class Way(NamedTuple):
    """An edge: the condition under which it is taken, what is live behind it, and whether paths join there."""

    target: int
    condition: Condition | None
    dead_registers: tuple[int, ...]
    live_stack: int
    joins: bool


class Prepared(NamedTuple):
    """A block, ready to execute.  ``incoming`` lists the edges that lead to it as (block, index of the edge).

    ``is_plain`` says that no instruction of it calls a function of the program or may end the one that it is in.
    """

    block: Block
    steps: tuple[Step, ...]
    ways: tuple[Way, ...]
    incoming: tuple[tuple[int, int], ...]
    is_exit: bool
    is_plain: bool


class Function(NamedTuple):
    """A function, ready to be solved.  ``looping`` has the blocks that lie in some component of the order.

    ``shared`` says whether what is found of it for one call is kept for others: not where that takes longer.
    ``repeats`` says whether it has a loop, or a call of a helper that is one.
    """

    graph: FunctionGraph
    order: Wto
    blocks: tuple[Prepared, ...]
    looping: frozenset[int]
    thresholds: tuple[int, ...]
    shared: bool
    repeats: bool


def prepare(setting: Setting, graph: FunctionGraph) -> Function:
    """Make one function of the program ready; linear in its size."""
    code, blocks = setting.program.code, graph.blocks
    order = weak_topological_order(graph)
    if len(blocks) == 1 and not blocks[0].edges:
        steps = tuple([_step(setting, pc) for pc in blocks[0].pcs])
        alone = Prepared(blocks[0], steps, (), (), isinstance(code[blocks[0].last], Exit), _are_plain(steps))
        return Function(graph, order, (alone,), frozenset(), (), *_called((alone,), frozenset()))
    live = liveness(graph, setting.program, setting.platform)
    incoming: list[list[tuple[int, int]]] = [[] for _ in blocks]
    for block in blocks:
        for index, edge in enumerate(block.edges):
            incoming[edge.target].append((block.id, index))
    dead = [_absent(registers) for registers in live.registers]
    prepared = []
    for block in blocks:
        last = code[block.last]
        branch = last if isinstance(last, Branch) else None
        # A run that comes to a failed assertion ends there.
        ends = any(isinstance(step, LoadImmediate64) and step.is_assertion for step in map(code.__getitem__, block.pcs))
        ways = [
            Way(
                edge.target,
                _way(branch, edge.taken is True) if not ends else _never,
                dead[edge.target],
                live.stack[edge.target],
                edge.target == 0 or len(incoming[edge.target]) > 1,
            )
            for edge in block.edges
        ]
        steps = tuple([_step(setting, pc) for pc in block.pcs])
        around = tuple(ways), tuple(incoming[block.id])
        prepared.append(Prepared(block, steps, *around, isinstance(last, Exit), _are_plain(steps)))
    looping = _looping(order)
    thresholds = _thresholds(setting, graph)
    return Function(graph, order, tuple(prepared), looping, thresholds, *_called(prepared, looping))


def _called(blocks: Sequence[Prepared], looping: frozenset[int]) -> tuple[bool, bool]:
    """Whether the function is worth sharing between calls, and whether something repeats in it."""
    calls = [step.call for block in blocks if not block.is_plain for step in block.steps if step.call is not None]
    shared = bool(looping or calls) or sum(len(block.steps) for block in blocks) >= _LEAST_SHARED
    return shared, bool(looping) or any(isinstance(call, Call) for call in calls)


def _way(branch: Branch | None, taken: bool) -> Condition | None:
    return None if branch is None else branch_of(branch, taken)


def _never(state: State) -> bool:
    return False


def _are_plain(steps: tuple[Step, ...]) -> bool:
    return not any(step.may_end or step.call is not None for step in steps)


@cache
def _absent(registers: int) -> tuple[int, ...]:
    """Those of R0 to R9 that are not in the mask."""
    return tuple([register for register in range(10) if not registers >> register & 1])


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
    attempt = attempt_of(setting, pc, instruction)
    if attempt is not None:
        return Step(setting, pc, instruction, attempt)
    match instruction:
        case Branch():
            return Step(setting, pc, instruction, initialised(instruction))
        case CallLocal():
            return Step(setting, pc, instruction, None, instruction)
        case Call() if calls_back(setting, instruction):
            return Step(setting, pc, instruction, None, instruction)
        case _:
            return Step(setting, pc, instruction, None, None, may_end(instruction))


def is_tail_call(instruction: Instruction) -> bool:
    """Whether another program may take the place of the function here."""
    return isinstance(instruction, Call) and instruction.helper == TAIL_CALL


def may_end(instruction: Instruction) -> bool:
    """Whether the function may end here, though it need not."""
    return is_tail_call(instruction) or isinstance(instruction, LoadPacket)


@lru_cache(maxsize=1024)
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
