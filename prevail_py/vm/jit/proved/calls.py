"""The IR of calls of the program's own functions, by itself and by ``bpf_loop``, and of the ends of functions."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from prevail_py.isa.flow import target
from prevail_py.isa.instructions import CallLocal, Register
from prevail_py.vm.helpers.callbacks import MAX_LOOPS
from prevail_py.vm.jit.proved.emission import RESULT, Emission
from prevail_py.vm.jit.proved.layout import Field, Status
from prevail_py.vm.jit.proved.model import Shadow, Variant
from prevail_py.vm.jit.proved.plan import Plan
from prevail_py.vm.jit.proved.text import Word, word
from prevail_py.vm.memory import WINDOW

__all__ = ["call_local", "call_loop", "head", "leave", "loop_text"]

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
    arguments = [f"i64 {f.word(number).text}" for number in range(1, 6)]
    for number in range(1, 6):
        if number in f.plan.shadowed:
            arguments += _three(f.shadow(number))
    _call(f, f"f{target(pc, instruction)}", arguments)


def call_loop(f: Emission, pc: int) -> None:
    """Call ``bpf_loop``, which is :func:`loop_text` of its function; R1 to R5 cannot be used after it."""
    arguments = [f"i64 {f.word(number).text}" for number in (1, 4, 3)]
    if Register.R2 in f.plan.shadowed:  # of the function that is called: its context
        arguments += _three(f.shadow(3))
    _call(f, f"loop{f.plan.loops[pc]}", arguments)


def _three(shadow: Shadow) -> list[str]:
    return [f"ptr {shadow.host}", f"i64 {shadow.base.text}", f"i64 {shadow.size.text}"]


def _call(f: Emission, name: str, arguments: Sequence[str]) -> None:
    """Call a native function whose frame is above the own one, and go on unless the run ended in it."""
    b = f.b
    frame = b.add(f.frame_base, word(WINDOW))
    f.give_fuel()
    result = b.value(f"call {RESULT} @{name}({_PARAMETERS}, i64 {frame.text}, {', '.join(arguments)})")
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


_LOOP: Final = f"""
entry:
  %turn.home = alloca i64
  %bad = icmp ne i64 %flags, 0
  br i1 %bad, label %inval, label %sized
inval:
  ret {RESULT} {{ i64 0, i64 {-errno.EINVAL}, ptr null, i64 0, i64 0 }}
sized:
  %many = icmp ugt i64 %count, {MAX_LOOPS}
  br i1 %many, label %toobig, label %first
toobig:
  ret {RESULT} {{ i64 0, i64 {-errno.E2BIG}, ptr null, i64 0, i64 0 }}
first:
  store i64 0, ptr %turn.home, align 8
  br label %s0
s0:
  %turn = load i64, ptr %turn.home, align 8
  %done = icmp uge i64 %turn, %count
  br i1 %done, label %out, label %body
body:
  %result = call {RESULT} @FUNCTION({_PARAMETERS}, i64 %fp, i64 %turn, i64 %word, i64 0, i64 0, i64 0SHADOWS)
  %next = add i64 %turn, 1
  store i64 %next, ptr %turn.home, align 8
  %status = extractvalue {RESULT} %result, 0
  %returned = icmp eq i64 %status, 0
  br i1 %returned, label %answer, label %ended
ended:
  ret {RESULT} %result
answer:
  %wish = extractvalue {RESULT} %result, 1
  %on = icmp eq i64 %wish, 0
  br i1 %on, label %more, label %out
more:
  FUEL
out:
  %r0 = load i64, ptr %turn.home, align 8
  %whole = insertvalue {RESULT} zeroinitializer, i64 %r0, 1
  ret {RESULT} %whole
}}
"""
"""``bpf_loop`` (:func:`prevail_py.vm.helpers.callbacks.loop`) of one function, whose turns cost a unit of fuel each.

It is validated like a program's own blocks (:mod:`prevail_py.verifier.translation.loops`), of which ``s0`` is one.
"""

_LOOP_FUEL: Final = f"""%pfuel = getelementptr i64, ptr %run, i64 {int(Field.FUEL)}
  %left = load i64, ptr %pfuel, align 8
  %less = sub i64 %left, 1
  store i64 %less, ptr %pfuel, align 8
  %short = icmp eq i64 %less, 0
  br i1 %short, label %spent, label %s0, !prof !0
spent:
  %ppc = getelementptr i64, ptr %run, i64 {int(Field.PC)}
  store i64 ENTRY, ptr %ppc, align 8
  ret {RESULT} {{ i64 {int(Status.OUT_OF_FUEL)}, i64 0, ptr null, i64 0, i64 0 }}"""


def loop_text(plan: Plan, variant: Variant, entry: int) -> str:
    """The native function that calls the function at ``entry`` again and again, as ``bpf_loop`` does."""
    parameters, shadows = ["i64 %count", "i64 %flags", "i64 %word"], ""
    for number in range(1, 6):
        if number in plan.shadowed:
            shadows += ", ptr %h, i64 %v, i64 %z" if number == Register.R2 else ", ptr null, i64 0, i64 0"
    if Register.R2 in plan.shadowed:
        parameters += ["ptr %h", "i64 %v", "i64 %z"]
    fuel = _LOOP_FUEL.replace("ENTRY", str(entry)) if variant.fuel else "br label %s0"
    body = _LOOP.replace("FUNCTION", f"f{entry}").replace("SHADOWS", shadows).replace("FUEL", fuel)
    return head(f"loop{entry}", parameters) + body
