"""The IR of a proved program: one native function for each of its functions, without checks.

Nothing is undefined in it as long as the facts are right: words are computed by the one text of the semantics over the
algebra of :mod:`prevail_py.vm.jit.algebra`, and an access is to ``region + (address - base of the region)``, which the
facts say is within the region.  In *checked* mode every access tests that before, and the run ends with
:attr:`~prevail_py.vm.jit.proved.layout.Status.TRAPPED` where it is not so.

Memory of different regions is declared to be such, so that LLVM can keep words in registers and vectorise loops.

This module has functions, blocks and branches; what is in them has a module each: :mod:`~.arithmetic`, :mod:`~.memory`,
:mod:`~.calls`, :mod:`~.helpers`.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from prevail_py.isa.flow import function_address, successors, target
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    Atomic,
    Branch,
    Call,
    CallKfunc,
    CallLocal,
    CallRegister,
    EndianSwap,
    Exit,
    Jump,
    Load,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    MayGoto,
    MoveSignExtend,
    Negate,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.vm.jit.proved import arithmetic, calls, helpers, memory
from prevail_py.vm.jit.proved.emission import MAY_GOTO, Emission, home
from prevail_py.vm.jit.proved.layout import Field, MapField, Status, map_field
from prevail_py.vm.jit.proved.model import Shadow
from prevail_py.vm.jit.proved.text import Word, word
from prevail_py.vm.memory import CONTEXT_BASE, FRAME_SIZE, function_base, map_object_base
from prevail_py.vm.source.flow import Block

__all__ = ["function_text"]

_Simple: TypeAlias = (
    Alu | MoveSignExtend | Negate | EndianSwap | Load | LoadAcquire | Store | StoreRelease | Atomic | LoadImmediate64
    | Call | CallLocal
)  # fmt: skip


def function_text(f: Emission, apart: bool = False) -> str:
    """The definition; ``apart``: the main function is not to become a part of what calls it."""
    shadowed = sorted(number for number in f.plan.shadowed if number >= 0)
    head = _head(f, shadowed, apart)
    f.b.label("entry")
    _variables(f, shadowed)
    if f.main:
        f.put(1, word(CONTEXT_BASE), f.context_shadow())
    else:
        for number in range(1, 6):
            shadow = None
            if number in f.plan.shadowed:
                shadow = Shadow(f"%h{number}", Word(f"%v{number}", 64), Word(f"%z{number}", 64))
            f.put(number, Word(f"%a{number}", 64), shadow)
    f.flush()
    f.b.line(f"br label %s{f.entry}")
    for start, block in f.blocks.items():
        f.begin_block(f"s{start}")
        _block(f, block)
    return "\n".join([head, *f.b.lines, *f.ends, "}", ""])


def _head(f: Emission, shadowed: list[int], apart: bool) -> str:
    if f.main:
        regions = "ptr noalias %run, ptr noalias %packet, ptr noalias %context"
        kind = "noinline nounwind" if apart else "nounwind"
        return f"define internal i64 @main({regions}, i64 %data, i64 %end, i64 %meta) {kind} {{"
    arguments = [f"i64 %a{number}" for number in range(1, 6)]
    for number in shadowed:
        if 1 <= number <= 5:
            arguments += [f"ptr %h{number}", f"i64 %v{number}", f"i64 %z{number}"]
    return calls.head(f"f{f.entry}", arguments)


def _variables(f: Emission, shadowed: list[int]) -> None:
    for number in range(10):
        f.b.line(f"%w{number}.home = alloca i64")
    for number in [*shadowed, *sorted(f.plan.shadowed.difference(shadowed))]:
        name = home(number)
        f.b.line(f"%h{name}.home = alloca ptr")
        f.b.line(f"%v{name}.home = alloca i64")
        if f.variant.checked:
            f.b.line(f"%z{name}.home = alloca i64")
    if f.main and f.plan.called:  # Python knows of the main program's frame only
        f.b.line(f"%stack = load ptr, ptr {f.field_pointer(Field.STACK)}, align 8")
    else:
        f.b.line(f"%stack = alloca [{FRAME_SIZE} x i8], align 16")
    for index in sorted(f.layout.single):
        f.b.line(f"%m{index} = load ptr, ptr {f.field_pointer(map_field(index, MapField.VALUES))}, align 8")
    if f.variant.fuel:
        f.b.line("%fuel = alloca i64")
        f.take_fuel()
    if f.has_may_goto:
        f.b.line(f"{MAY_GOTO} = alloca i64")
        f.b.line(f"store i64 {f.field(Field.MAY_GOTO).text}, ptr {MAY_GOTO}, align 8")


def _block(f: Emission, block: Block) -> None:
    code = f.plan.code.instructions
    for pc in block.pcs:
        if pc not in f.plan.facts.reached:
            f.stop(Status.UNREACHABLE, pc)
            return
        instruction = code[pc]
        assert instruction is not None
        match instruction:
            case Branch(comparison, width, dst, src):
                taken = arithmetic.condition(f, comparison, dst, src, width)
                fall_through, jump = successors(code, pc)
                f.flush()
                ways = [_way(f, pc, to) for to in (jump, fall_through)]
                f.b.line(f"br i1 {taken.text}, label %{ways[0]}, label %{ways[1]}")
                return
            case Jump():
                f.flush()
                f.b.line(f"br label %{_way(f, pc, target(pc, instruction))}")
                return
            case Exit():
                calls.leave(f)
                return
            case MayGoto():
                more = f.may_goto()
                fall_through, jump = successors(code, pc)
                f.flush()
                ways = [_way(f, pc, to) for to in (fall_through, jump)]
                f.b.line(f"br i1 {more.text}, label %{ways[0]}, label %{ways[1]}")
                return
            case CallKfunc() | CallRegister() | LoadPacket() | AddressSpaceCast():
                raise AssertionError(f"no proved code for {instruction}")
            case _:
                _instruction(f, pc, instruction)
    f.flush()
    f.b.line(f"br label %{_way(f, block.pcs[-1], block.successors[0])}")


def _way(f: Emission, pc: int, to: int) -> str:
    """The label where control goes on at slot ``to``; on the way back in a loop that costs a unit of fuel."""
    if not f.variant.fuel or to > pc:
        return f"s{to}"
    label = f"back{pc}to{to}"
    # Counted down to zero by one, so that LLVM knows how many turns there may be, and still vectorises the loop.
    f.ends.extend(
        [
            f"{label}:",
            f"  %{label}.left = load i64, ptr %fuel, align 8",
            f"  %{label}.less = sub i64 %{label}.left, 1",
            f"  store i64 %{label}.less, ptr %fuel, align 8",
            f"  %{label}.short = icmp eq i64 %{label}.less, 0",
            f"  br i1 %{label}.short, label %{label}.out, label %s{to}, !prof !0",
            f"{label}.out:",
            *f.stop_lines(Status.OUT_OF_FUEL, to, label),
        ]
    )
    return label


def _instruction(f: Emission, pc: int, instruction: _Simple) -> None:
    """An instruction after which the next one follows."""
    match instruction:
        case Alu() | MoveSignExtend() | Negate() | EndianSwap():
            arithmetic.compute(f, pc, instruction)
        case Load(dst, base, offset, size, signed):
            memory.load(f, pc, dst, base, offset, size, signed=signed)
        case LoadAcquire(dst, base, offset, size):
            memory.load(f, pc, dst, base, offset, size, acquire=True)
        case Store(base, offset, size, src):
            memory.store(f, pc, base, offset, size, src)
        case StoreRelease(base, offset, size, src):
            memory.store(f, pc, base, offset, size, src, release=True)
        case Atomic():
            memory.atomic(f, pc, instruction)
        case LoadImmediate64(dst, pseudo=pseudo):
            _wide(f, pc, dst, instruction, pseudo)
        case Call() if pc in f.plan.loops:
            calls.call_loop(f, pc)
        case Call():
            # Translation validation (prevail_py.verifier.translation) takes what is between marks as one step.
            f.b.lines.append(f"; helper {pc}")
            helpers.call(f, pc)
            shadow = f.known_shadow(0)
            names = [] if shadow is None else [shadow.host, shadow.base.text]
            f.b.lines.append(f"; end {' '.join([f.word(0).text, *names])}")
        case CallLocal():
            calls.call_local(f, pc, instruction)
        case _:
            assert_never(instruction)


def _wide(f: Emission, pc: int, dst: Register, instruction: LoadImmediate64, pseudo: Pseudo) -> None:
    low = instruction.low
    match pseudo:
        case Pseudo.IMMEDIATE:
            f.put(dst, word(instruction.value))
        case Pseudo.MAP_INDEX:
            f.put(dst, word(map_object_base(low)))
        case Pseudo.FUNCTION:
            number = f.plan.code.functions.index(function_address(pc, instruction))
            f.put(dst, word(function_base(number)))
        case _:
            host, first = f.host_field(map_field(low, MapField.VALUES)), f.layout.first[low]
            value = word(first + (instruction.high & 0xFFFFFFFF))
            f.put(dst, value, Shadow(host, word(first), word(f.layout.size[low])))
