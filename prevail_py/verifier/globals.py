"""Global functions: verified once for any arguments that fit their prototype, as Linux does.

The *contract* of a global function is what BTF says of it (:mod:`prevail_py.objects.prototypes`): numbers are unknown;
a pointer is to memory of the size of what it points to, or null, or to the context; the result is an unknown number.
The function is analysed once, entered in a state that says no more than that.  A call of it is not followed: the
arguments must fit, and the caller forgets what the function may have changed.

Inlining proves more, and is tried first; contracts are for programs for which it takes too long
(``docs/decisions/0018-contracts.md``).  So a contract that does not hold, or arguments that do not fit one, are no
failures of the program: the function is inlined, or the attempt is given up.

Why this is sound, where the result is SAFE:

- every assertion in the function holds for every entry that its contract allows, and each call's entry is one of these;
- memory that is passed holds numbers only, is initialised and may be written, and is not the packet where the function
  may move it; two arguments may overlap, for what is loaded from such memory is a new unknown each time;
- the function holds no reference of its callers and none of its own at the end, and does not end by a tail call;
- the frames below a call are counted: the function needs no more than there is room for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from prevail_py.cfg.graph import ControlFlowGraph, FunctionGraph
from prevail_py.domains.lattice import Range, Term
from prevail_py.isa.instructions import Call, LoadPacket
from prevail_py.objects.program import Argument
from prevail_py.verifier.assertions import Assertion, Mode
from prevail_py.verifier.check import findings
from prevail_py.verifier.helper_effects import leave, packet_moved
from prevail_py.verifier.prototypes import TAIL_CALL
from prevail_py.verifier.regions import overwrite, violation
from prevail_py.verifier.scalars import assume, unknown
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import Frame, State
from prevail_py.verifier.values import (
    KEY,
    MAX_FRAMES,
    NEVER_NULL,
    STACK_SIZE,
    UNINITIALISED,
    ZERO,
    Pointer,
    Region,
    RegionKind,
    Value,
)
from prevail_py.words import Comparison

if TYPE_CHECKING:
    from prevail_py.verifier.blocks import CallString, Checker
    from prevail_py.verifier.fixpoint import Fixpoint

__all__ = ["Contract", "Unfit", "after_call", "contracts_of", "prove", "unfit"]

_CONTEXT: Final = "arg:ctx"
_NOT_NULL: Final = "arg:nonnull"
_PLAIN: Final = frozenset({RegionKind.STACK, RegionKind.MAP_VALUE, RegionKind.MEMORY, RegionKind.PACKET})


class Unfit(Exception):  # noqa: N818 - an answer, not a mistake
    """A contract was not shown to hold: that of the function at ``index``, or all of the attempt where that is None."""

    def __init__(self, index: int | None = None) -> None:
        super().__init__(index)
        self.index = index


@dataclass(frozen=True, slots=True)
class Contract:
    """What a global function is verified against.

    ``moves_packet`` says whether it may; ``depth`` how many frames it needs, its own included.
    """

    function: FunctionGraph
    arguments: tuple[Argument, ...]
    moves_packet: bool
    depth: int


def contracts_of(setting: Setting, graph: ControlFlowGraph) -> list[Contract]:
    """The contracts of all global functions that have one, callees before their callers."""
    if setting.policy.pointer_leaks or graph.recursion:
        return []  # memory that is passed might come back with pointers in it
    prototypes = {each.start: each.prototype for each in setting.program.subprograms if each.is_global}
    callees = {
        function.index: sorted(
            {index for _, index in (*graph.calls[function.index], *graph.references[function.index])}
        )
        for function in graph.functions
    }
    moves: dict[int, bool] = {}
    ends: dict[int, bool] = {}
    depths: dict[int, int] = {}
    found = []
    for index in _callees_first(callees, graph.entry.index):
        function = graph.functions[index]
        code = [setting.program.code[pc] for block in function.blocks for pc in block.pcs]
        calls = [instruction.helper for instruction in code if isinstance(instruction, Call)]
        known = [setting.platform.helper(helper, setting.program.program_type) for helper in calls]
        moves[index] = any(prototype is None or prototype.changes_packet for prototype in known) or any(
            moves[callee] for callee in callees[index]
        )
        ends[index] = (
            TAIL_CALL in calls
            or any(isinstance(instruction, LoadPacket) for instruction in code)
            or any(ends[callee] for callee in callees[index])
        )
        depths[index] = 1 + max((depths[callee] for callee in callees[index]), default=0)
        prototype = prototypes.get(function.entry_pc)
        called = function.entry_pc > 0 and not ends[index]
        if prototype is not None and called and all(_is_known(setting, each) for each in prototype):
            found.append(Contract(function, prototype, moves[index], depths[index]))
    return found


def _callees_first(callees: Mapping[int, Sequence[int]], entry: int) -> list[int]:
    order: list[int] = []
    seen = {entry}
    stack = [(entry, iter(callees[entry]))]
    while stack:
        index, rest = stack[-1]
        callee = next(rest, None)
        if callee is None:
            order.append(index)
            stack.pop()
        elif callee not in seen:
            seen.add(callee)
            stack.append((callee, iter(callees[callee])))
    return order


def _is_context(setting: Setting, argument: Argument) -> bool:
    return _CONTEXT in argument.tags or argument.pointee == setting.program_type.context_struct


def _is_known(setting: Setting, argument: Argument) -> bool:
    if not {_CONTEXT, _NOT_NULL}.issuperset(argument.tags):
        return False
    return not argument.pointee or argument.size > 0 or _is_context(setting, argument)


# The function ------------------------------------------------------------------------------------------------------


def _entered(setting: Setting, contract: Contract, state: State) -> State:
    """Any state in which the function may be entered; ``state`` is that in which the program starts."""
    values: list[Value] = []
    for position, argument in enumerate(contract.arguments, 1):
        if not argument.pointee:
            values.append(unknown(setting, state))
        elif _is_context(setting, argument):
            values.append(Pointer(Region(RegionKind.CONTEXT), NEVER_NULL, ZERO))
        else:
            region = Region(RegionKind.MEMORY, size=argument.size, name=f"argument {position}")
            base = NEVER_NULL if _NOT_NULL in argument.tags else unknown(setting, state)
            values.append(Pointer(region, base, ZERO))
    state.registers = [UNINITIALISED] * 11
    state.registers[1 : 1 + len(values)] = values
    state.frames.append(Frame({}, 0, (UNINITIALISED,) * 4))
    state.registers[10] = Pointer(Region(RegionKind.STACK, 1), NEVER_NULL, Term(0, STACK_SIZE))
    return state


def _keeps(state: State) -> bool:
    """Whether this is an end of a function that its contract allows: with a number, and holding nothing."""
    return isinstance(state.registers[0], Term) and all(state.facts.range(held).hi == 0 for held in state.references)


# Its calls ---------------------------------------------------------------------------------------------------------


def unfit(setting: Setting, contract: Contract, state: State) -> bool:
    """Whether it is not shown that the function may be called in ``state``."""
    if len(state.frames) + contract.depth > MAX_FRAMES:
        return True
    pairs = zip(contract.arguments, state.registers[1:], strict=False)
    return not all(_fits(setting, contract, state, argument, value) for argument, value in pairs)


def _fits(setting: Setting, contract: Contract, state: State, argument: Argument, value: Value) -> bool:
    if not argument.pointee:
        return isinstance(value, Term)
    if _is_context(setting, argument):
        is_context = isinstance(value, Pointer) and value.region.kind is RegionKind.CONTEXT
        return is_context and value == Pointer(Region(RegionKind.CONTEXT), NEVER_NULL, ZERO)
    if value == ZERO:
        return _NOT_NULL not in argument.tags
    if not isinstance(value, Pointer) or value.region.kind not in _PLAIN or value.region.name == KEY:
        return False
    if value.region.kind is RegionKind.PACKET and contract.moves_packet:
        return False
    if state.facts.range(value.base).lo == 0:
        if _NOT_NULL in argument.tags:
            return False
        state = state.copy()
        if not assume(state, Comparison.NE, value.base, ZERO, 64):
            return True
    size = Range(argument.size, argument.size)
    allowed = all(violation(setting, state, value, size, mode) is None for mode in (Mode.READ, Mode.WRITE))
    return allowed and (value.region.kind is not RegionKind.STACK or _holds_numbers(state, value, argument.size))


def _holds_numbers(state: State, pointer: Pointer, size: int) -> bool:
    """Whether no byte of the stack that may be meant is one of a pointer."""
    known = state.facts.range(pointer.offset)
    cells = state.frames[pointer.region.index].cells.items()
    return all(
        isinstance(content, Term)
        for offset, (width, content) in cells
        if offset + width > known.lo and offset < known.hi + size
    )


def after_call(setting: Setting, contract: Contract, state: State) -> State:
    """The state behind a call of the function whose arguments fit."""
    end = state.copy()
    for argument, value in zip(contract.arguments, state.registers[1:], strict=False):
        if argument.pointee and isinstance(value, Pointer):
            overwrite(end, value, Range(argument.size, argument.size), certain=False)
    if contract.moves_packet:
        packet_moved(setting, end)
    leave(end, unknown(setting, end))
    return end


# The program -------------------------------------------------------------------------------------------------------


def prove(fixpoint: Fixpoint) -> bool:
    """Whether the program is SAFE, in a ``fixpoint`` that has not run, by means of contracts.

    What is found is kept in ``fixpoint``.  Raises BudgetExhausted and Unsupported like a run of it.
    """
    fixpoint.check = _strictly(fixpoint)
    verified: list[Contract] = []
    for contract in contracts_of(fixpoint.setting, fixpoint.graph):
        try:
            _verify(fixpoint, contract)
        except Unfit:
            _forget(fixpoint, verified)
        else:
            verified.append(contract)
            fixpoint.contracts[contract.function.index] = contract
    while fixpoint.contracts:
        try:
            fixpoint.run()
        except Unfit as reason:
            if reason.index is None:
                return False
            # From here on it is inlined.  Functions that were verified before may still rely on its contract.
            del fixpoint.contracts[reason.index]
            _forget(fixpoint, verified)
        else:
            return True
    return False


def _strictly(fixpoint: Fixpoint) -> Checker:
    def check(pc: int, assertions: Sequence[Assertion], state: State) -> None:
        if findings(fixpoint.setting, state, assertions):
            raise Unfit

    return check


def _root(contract: Contract) -> CallString:
    """Stands for all call strings that lead to the function: its own first slot, which no call string begins with."""
    return (contract.function.entry_pc,)


def _verify(fixpoint: Fixpoint, contract: Contract) -> None:
    exits = fixpoint.solve(contract.function, _root(contract), partial(_entered, fixpoint.setting, contract))
    if not all(map(_keeps, exits)):
        raise Unfit


def _forget(fixpoint: Fixpoint, verified: Sequence[Contract]) -> None:
    """Drop what was found in an attempt that was given up: all that does not belong to functions that are verified."""
    roots = {_root(contract) for contract in verified}
    for found in (fixpoint.invariants, fixpoint.returns):
        for place in [place for place in found if place[0][:1] not in roots]:
            del found[place]
