"""The IR of calls of subprograms, and of the ends of functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prevail_py.isa.flow import target
from prevail_py.isa.instructions import CallLocal
from prevail_py.vm.jit.proved.emission import RESULT, Emission
from prevail_py.vm.jit.proved.layout import Field, Status
from prevail_py.vm.jit.proved.model import Shadow
from prevail_py.vm.jit.proved.text import Word, word
from prevail_py.vm.memory import WINDOW

__all__ = ["call_local", "head", "leave"]

_PARAMETERS: Final = "ptr %run, ptr %packet, ptr %context"


def head(name: str, arguments: Sequence[str]) -> str:
    """How the definition of a subprogram begins: every one is given the run, the regions and its frame's address."""
    return f"define internal {RESULT} @{name}({_PARAMETERS}, i64 %fp, {', '.join(arguments)}) nounwind {{"


def leave(f: Emission) -> None:
    """End the function: R0 is the program's result, or the subprogram's, which may be a pointer."""
    if f.main:
        f.set_field(Field.RESULT, f.word(0))
        f.b.line(f"ret i64 {int(Status.RETURNED)}")
        return
    f.give_fuel()
    result = f.b.value(f"insertvalue {RESULT} poison, i64 {int(Status.RETURNED)}, 0")
    result = f.b.value(f"insertvalue {RESULT} {result}, i64 {f.word(0).text}, 1")
    shadow = f.shadow(0) if 0 in f.plan.shadowed else Shadow("null", word(0), word(0))
    for place, (kind, text) in enumerate(
        (("ptr", shadow.host), ("i64", shadow.base.text), ("i64", shadow.size.text)), 2
    ):
        result = f.b.value(f"insertvalue {RESULT} {result}, {kind} {text}, {place}")
    f.b.line(f"ret {RESULT} {result}")


def call_local(f: Emission, pc: int, instruction: CallLocal) -> None:
    """Call a subprogram; R1 to R5 cannot be used after it."""
    b = f.b
    arguments = [f"i64 {f.word(number).text}" for number in range(1, 6)]
    for number in range(1, 6):
        if number in f.plan.shadowed:
            shadow = f.shadow(number)
            arguments += [f"ptr {shadow.host}", f"i64 {shadow.base.text}", f"i64 {shadow.size.text}"]
    frame = b.add(f.frame_base, word(WINDOW))
    f.give_fuel()
    callee = target(pc, instruction)
    result = b.value(f"call {RESULT} @f{callee}({_PARAMETERS}, i64 {frame.text}, {', '.join(arguments)})")
    status = Word(b.value(f"extractvalue {RESULT} {result}, 0"), 64)
    further, out = b.name()[1:], b.name()[1:]
    b.line(f"br i1 {b.icmp_unsigned('==', status, word(0)).text}, label %{further}, label %{out}")
    b.label(out)
    b.lines.append(f.return_status(status.text))
    b.label(further)
    f.take_fuel()
    shadow = Shadow(
        b.value(f"extractvalue {RESULT} {result}, 2"),
        Word(b.value(f"extractvalue {RESULT} {result}, 3"), 64),
        Word(b.value(f"extractvalue {RESULT} {result}, 4"), 64),
    )
    f.clobber_arguments()
    f.put(0, Word(b.value(f"extractvalue {RESULT} {result}, 1"), 64), shadow)
