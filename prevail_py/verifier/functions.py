"""What is known of a function before any fixpoint: its blocks made ready to execute, their order, where widening stops.

Everything that depends on the program alone is worked out here once, so that executing a block in a state looks nothing
up: instructions are decoded to closures, edges know what is dead behind them.  What is made for each instruction, each
block or each edge is a plain tuple or slotted: there are many.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final, NamedTuple

from prevail_py.cfg.graph import Block, Edge, FunctionGraph
from prevail_py.cfg.liveness import Liveness, liveness
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
from prevail_py.verifier.obvious import Attempt, attempt_of, initialised
from prevail_py.verifier.prototypes import TAIL_CALL
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


_tuple: Final = tuple.__new__  # in a third of the time that the constructors of these tuples take

_CALLS: Final = frozenset({Call, CallLocal})

_CLOSING: Final = (Branch, MayGoto, Exit)


class Way(NamedTuple):
    """An edge: the condition under which it is taken, what is live behind it, and whether paths join there."""

    target: int
    condition: Condition | None
    dead_registers: tuple[int, ...]
    live_stack: int
    joins: bool


class Prepared(NamedTuple):
    """A block, ready to execute.

    ``is_plain`` says that no instruction of it calls a function of the program or may end the one that it is in.
    """

    block: Block
    steps: tuple[Step, ...]
    ways: tuple[Way, ...]
    is_exit: bool
    is_plain: bool


class Function:
    """A function, ready to be solved.

    ``incoming`` lists, by block, the edges that lead to it as (block, index of the edge).  ``looping`` has the blocks
    that lie in some component of the order.  Blocks are made ready when they are first visited: a good part of many
    programs is dead, once the constants are known for which it was loaded.

    ``shared`` says whether what is found of it for one call is kept for others: not where that takes longer.
    ``repeats`` says whether it has a loop, or a call of a helper that is one.
    """

    __slots__ = (
        "_blocks",
        "_live",
        "_setting",
        "_thresholds",
        "graph",
        "incoming",
        "looping",
        "order",
        "repeats",
        "shared",
    )

    def __init__(self, setting: Setting, graph: FunctionGraph) -> None:
        self.graph = graph
        self.order: Wto = weak_topological_order(graph)
        incoming: list[list[tuple[int, int]]] = [[] for _ in graph.blocks]
        for block in graph.blocks:
            for index, edge in enumerate(block.edges):
                incoming[edge.target].append((block.id, index))
        self.incoming = incoming
        self.looping = _looping(self.order)
        self._setting = setting
        alone = len(incoming) == 1 and not incoming[0]
        self._live: Liveness | None = None if alone else liveness(graph, setting.program, setting.platform)
        self._blocks: list[Prepared | None] = [None] * len(incoming)
        self._thresholds: tuple[int, ...] | None = None
        code = setting.program.code
        calls = [code[pc] for block in graph.blocks for pc in block.pcs if code[pc].__class__ in _CALLS]
        turns = any(isinstance(call, Call) and calls_back(setting, call) for call in calls)
        self.repeats = bool(self.looping) or turns
        long = turns or CallLocal in map(type, calls) or sum([len(b.pcs) for b in graph.blocks]) >= _LEAST_SHARED
        self.shared = bool(self.looping) or long

    def block(self, node: int) -> Prepared:
        """A block, ready to execute."""
        found = self._blocks[node]
        if found is None:
            found = self._blocks[node] = self._ready(self.graph.blocks[node])
        return found

    @property
    def thresholds(self) -> tuple[int, ...]:
        """Where widening stops."""
        if self._thresholds is None:
            self._thresholds = _thresholds(self._setting, self.graph)
        return self._thresholds

    def _ready(self, block: Block) -> Prepared:
        last = self._setting.program.code[block.last]
        steps = tuple([_step(self._setting, pc) for pc in block.pcs])
        # A run that comes to a failed assertion ends there.
        ends = any(isinstance(step.instruction, LoadImmediate64) and step.instruction.is_assertion for step in steps)
        ways = tuple([self._way(edge, last, ends) for edge in block.edges])
        is_plain = not any(step.may_end or step.call is not None for step in steps)
        return _tuple(Prepared, (block, steps, ways, isinstance(last, Exit), is_plain))

    def _way(self, edge: Edge, last: Instruction | None, never: bool) -> Way:
        assert self._live is not None, "a function of several blocks has its liveness"
        target = edge.target
        condition = _never if never else branch_of(last, edge.taken is True) if isinstance(last, Branch) else None
        joins = target == 0 or len(self.incoming[target]) > 1
        dead = _absent(self._live.registers[target])
        return _tuple(Way, (target, condition, dead, self._live.stack[target], joins))


def prepare(setting: Setting, graph: FunctionGraph) -> Function:
    """Make one function of the program ready; linear in its size."""
    return Function(setting, graph)


def _never(state: State) -> bool:
    return False


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
