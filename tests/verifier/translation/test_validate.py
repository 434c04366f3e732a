"""Translation validation: what we emit is right for all words, and planted bugs are found without running anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.isa.instructions import Atomic
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.region_facts import Place, RegionFact
from prevail_py.objects.text import assemble
from prevail_py.research.bench_jit import KERNELS, kernel
from prevail_py.research.differential import program_of
from prevail_py.verifier import verify
from prevail_py.verifier.translation import validate
from prevail_py.verifier.translation.execute import execute
from prevail_py.verifier.translation.reader import IrError, functions
from prevail_py.vm.jit.algebra import LlvmAlgebra
from prevail_py.vm.jit.proved import arithmetic, calls, memory
from prevail_py.vm.jit.proved.emission import Emission
from prevail_py.vm.jit.proved.layout import MapField, block_words, map_field
from prevail_py.vm.jit.proved.model import Variant
from prevail_py.vm.jit.proved.module import module_text
from prevail_py.vm.jit.proved.plan import Ineligible
from prevail_py.vm.memory import WINDOW
from prevail_py.words import Comparison, OpKind, WordOp
from prevail_py.words import evaluate as evaluate_words
from tests.vm.jit.test_proved import reaching

EXAMPLES = ("tc_classifier", "xdp_firewall", "xdp_flows", "xdp_globals", "xdp_parser", "xdp_ratelimit", "xdp_rewrite",
            "xdp_subprogram", "xdp_tailcall", "xdp_vlan_pop")  # fmt: skip

MODULE_TEXT = "prevail_py.verifier.translation.blocks.module_text"

PROBE = """
    r6 = r1
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 16
    if r4 > r3 goto out
    r7 = *(u64 *)(r2 + 0)
    r8 = *(u64 *)(r2 + 8)
    r9 = *(s8 *)(r2 + 3)
    r5 = *(u8 *)(r2 + 4)
    r0 = r7
    r0 <<= r8
    r9 ^= r0
    r0 = r7
    w0 s/= w8
    r0 -= r8
    w7 += w8
    r9 ^= r7
    r7 = be16 r7
    r9 s%= r8
    if r8 s< 5 goto skip
    r9 += 77
  skip:
    *(u64 *)(r10 - 8) = r8
    r1 = 5
    r1 = atomic_fetch_add((u64 *)(r2 + 8), r1)
    r9 ^= r1
    *(u8 *)(r2 + 0) = r9
    r1 = r10
    r1 += -8
    if r5 != 0 goto both
    r1 = r2
  both:
    r0 = *(u8 *)(r1 + 0)
    r1 = r8
    call local +5
    r0 &= 3
    exit
  out:
    r0 = 0
    exit
    r0 = r1
    r0 >>= 7
    *(u32 *)(r10 - 4) = r0
    exit
"""


def probe() -> Program:
    text = PROBE.replace("call local +5", "call local +4")
    return replace(assemble(text), program_type="xdp", section="xdp")


def mistakes(program: Program, variant: Variant | None = None) -> list[str]:
    verdict = verify(program, termination=True)
    assert verdict.is_safe, verdict
    return [str(mistake) for mistake in validate(program, verdict.region_facts(), variant=variant)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str) -> None:
    for program in load_object(examples.path(name)).programs.values():
        for variant in (Variant(), Variant(fuel=True)):
            assert not mistakes(program, variant)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name: str) -> None:
    assert not mistakes(kernel(name).program, Variant(fuel=True))


def test_generated_programs() -> None:
    checked = 0
    for number in range(300, 340):
        program = program_of(number)
        verdict = verify(program, termination=True)
        if verdict.is_safe:
            try:
                found = validate(program, verdict.region_facts(), variant=Variant(fuel=number % 2 == 0))
            except Ineligible:
                continue
            assert not found, (number, *map(str, found))
            checked += 1
    assert checked > 15


def test_the_probe_is_right() -> None:
    assert not mistakes(probe())
    with pytest.raises(ValueError, match="checked"):
        mistakes(probe(), Variant(checked=True))


# Planted bugs -------------------------------------------------------------------------------------------------------


def _algebra(name: str, make: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(LlvmAlgebra, name, make(getattr(LlvmAlgebra, name)))


def _evaluate(change: Callable[[WordOp], WordOp]) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        for module in (arithmetic, memory):
            patch.setattr(
                module, "evaluate", lambda algebra, op, args: evaluate_words(algebra, change(op), tuple(args))
            )

    return plant


def _in(where: Any, name: str, make: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(where, name, make(getattr(where, name)))


def _without_fetch(original: Any) -> Any:
    return lambda f, pc, instruction: original(f, pc, _plain(instruction))


def _plain(instruction: Atomic) -> Atomic:
    return replace(instruction, fetch=False)


def _compare(original: Any) -> Any:
    return lambda self, c, a, b, width: original(self, Comparison.ULT if c is Comparison.SLT else c, a, b, width)


def _place(original: Any) -> Any:
    def place(f: Emission, pc: int, register: int, offset: int, size: int | None) -> Any:
        return original(f, pc, register, offset ^ 1 if size == 1 else offset, size)

    return place


def _status(original: Any) -> Any:
    return lambda self, status: original(self, "0")


def _window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(calls, "WINDOW", 2 * WINDOW)


BUGS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "missing zero-extension": (_algebra("zero_extend", lambda _: LlvmAlgebra.sign_extend), "r[0-9] is"),
    "poison shift": (_algebra("_amount", lambda _: lambda self, b, width: b), "undefined for some words: .*shl"),
    "unguarded division": (_algebra("_one_where", lambda _: lambda self, undefined, b, width: b), "undefined.*sdiv"),
    "unguarded overflow": (
        _algebra("_overflows", lambda old: lambda self, a, b, width: self._is_zero(b, width)),
        "undefined.*s(div|rem)",
    ),
    "swapped operands": (_algebra("sub", lambda old: lambda self, a, b, width: old(self, b, a, width)), "r0 is"),
    "comparison signedness": (_algebra("compare", _compare), "where it must not"),
    "wrong fetch result": (_in(memory, "atomic", _without_fetch), "r[19] is"),
    "byte swap width": (_evaluate(lambda op: WordOp(op.kind, 64) if op.kind is OpKind.BSWAP else op), "r7 is"),
    "width of an operation": (_evaluate(lambda op: replace(op, width=64) if op.kind is OpKind.ADD else op), "r9 is"),
    "place of an access": (_in(memory, "place", _place), "operand 0 of (load|store)"),
    "shadow of another region": (
        _in(arithmetic, "_moved_shadow", lambda _: lambda f, pc, dst, op, sources: f.context_shadow()),
        "where r1 is",
    ),
    "lost status": (_in(Emission, "return_status", _status), "status of a subprogram"),
    "frame of a subprogram": (_window, "operand 2 of call"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, message = BUGS[bug]
    plant(monkeypatch)
    found = mistakes(probe())
    assert any(re.search(message, each) for each in found), found


def test_planted_stale_fact() -> None:
    """Code for one program is not right for the facts of another reading of it."""
    program = probe()
    facts = verify(program, termination=True).region_facts()
    (key, *_) = [key for key, fact in facts.pointers.items() if fact.place is Place.PACKET]
    stale = replace(facts, pointers={**facts.pointers, key: RegionFact(Place.STACK, 0, 256)})
    original = module_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE_TEXT, lambda planned, *a, **k: original(replace(planned, facts=stale), *a, **k))
        assert any("operand 0 of load" in str(each) for each in validate(program, facts))


CALLBACKS = """
    r6 = *(u32 *)(r1 + 0)
    r7 = *(u32 *)(r1 + 4)
    r7 -= r6
    *(u64 *)(r10 - 8) = 0
    r1 = r7
    r2 = subprog[+12] ll
    r3 = r10
    r3 += -8
    r4 = 0
    call 181
    r6 = *(u64 *)(r10 - 8)
  again:
    may_goto out
    r6 += 1
    if r6 < r7 goto again
  out:
    r6 <<= 8
    r0 += r6
    exit
    r3 = *(u64 *)(r2 + 0)
    r3 += r1
    *(u64 *)(r2 + 0) = r3
    r0 = 0
    if r3 < 90 goto +1
    r0 = 1
    exit
"""
"""The function of ``bpf_loop`` has a pointer to its caller's frame; ``may_goto`` ends a loop that may be too long."""


def callbacks() -> Program:
    return replace(assemble(CALLBACKS), program_type="xdp", section="xdp")


@pytest.mark.parametrize("fuel", [False, True])
def test_callbacks_and_may_goto(fuel: bool) -> None:
    assert not mistakes(callbacks(), Variant(fuel=fuel))


_GIVEN = "ptr %run, ptr %packet, ptr %context, i64 %fp, i64 %turn"
IN_CALLBACKS: tuple[tuple[str, str, str], ...] = (
    ("%more", "icmp ugt i64 %count, 8388608", "icmp ugt i64 %count, 8388609"),
    ("refusal", "{ i64 0, i64 -22,", "{ i64 0, i64 -7,"),
    ("first turn", "store i64 0, ptr %turn.home", "store i64 1, ptr %turn.home"),
    ("last turn", "icmp uge i64 %turn, %count", "icmp ugt i64 %turn, %count"),
    ("next turn", "%next = add i64 %turn, 1", "%next = add i64 %turn, 2"),
    ("context", "i64 %word, i64 0", "i64 %turn, i64 0"),
    ("where the context is", "ptr %h, i64 %v, i64 %z, ptr null", "ptr null, i64 %v, i64 %z, ptr null"),
    ("wish of the function", "icmp eq i64 %wish, 0", "icmp ne i64 %wish, 0"),
    ("status", "label %answer, label %ended", "label %answer, label %answer"),
    ("which function", f"@f18({_GIVEN}", f"@f0({_GIVEN}"),
    ("may_goto: end", "label %s13, label %s15", "label %s15, label %s13"),
    ("may_goto: count", "ptr %may_goto.home", "ptr %w5.home"),
)


@pytest.mark.parametrize(("old", "new"), [mutation[1:] for mutation in IN_CALLBACKS], ids=[m[0] for m in IN_CALLBACKS])
def test_planted_in_callbacks(old: str, new: str) -> None:
    program = callbacks()
    facts, text = verify(program, termination=True).region_facts(), _text(program)
    assert old in text, text
    place = text.rindex(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE_TEXT, lambda *a, **k: text[:place] + new + text[place + len(old) :])
        assert validate(program, facts)


@pytest.mark.parametrize("fuel", [False, True])
def test_pointers_that_are_kept_in_frames_of_others(fuel: bool) -> None:
    assert not mistakes(reaching(), Variant(fuel=fuel))


@pytest.mark.parametrize(
    ("old", "new"),
    [("lshr i64", "shl i64"), (", 7\n", ", 3\n"), (", 504\n", ", 496\n"), ("i64 8\n", "i64 0\n")],
    ids=["shift", "frame", "place", "address"],
)
def test_planted_in_kept_shadows(old: str, new: str) -> None:
    program = reaching()
    facts, text = verify(program, termination=True).region_facts(), _text(program)
    place = text.rindex(old, 0, text.index("@loop46(ptr %run, ptr %packet, ptr %context, i64 %fp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE_TEXT, lambda *a, **k: text[:place] + new + text[place + len(old) :])
        assert validate(program, facts)


MUTATIONS: tuple[tuple[str, str], ...] = (
    (r"= add i64", "= sub i64"),
    (r"= xor i64", "= or i64"),
    (r"icmp ugt i64", "icmp uge i64"),
    (r"load i8,", "load i16,"),
    (r"zext i16", "sext i16"),
    (r"store i8", "store i16"),
    (r"seq_cst, align 8", "seq_cst, align 4"),
    (r"atomicrmw add", "atomicrmw sub"),
    (r"label %s(\d+), label %s(\d+)", r"label %s\2, label %s\1"),
    (r"call i16 @llvm.bswap.i16\(i16 (%\w+)\)", r"add i16 \1, 0"),
    (r"lshr i64", "ashr i64"),
    (r"and i64 (%\w+), 63", r"and i64 \1, 64"),
    (r"store i64 (%\w+), ptr %w9.home", r"store i64 0, ptr %w9.home"),
    (r"(load i64, ptr %t\d+), align 1", r"\1, align 8"),
    (r"(store i64 %\w+, ptr %t\d+), align 1", r"\1, align 2"),
    (r"label %(t\d+), label %(t\d+)(?=\nt\d+:\n.* atomicrmw)", r"label %\2, label %\1"),
    (r"load i64, ptr %w2.home, align 8", "load i64, ptr %w2.home, align 16"),
    (r"getelementptr i8, ptr %packet", "getelementptr inbounds i8, ptr %packet"),
    (r"(load i8, ptr %t\d+, align 1)", r"\1, !range !7"),
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation[0])
def test_mutated_ir(mutation: tuple[str, str]) -> None:
    """One place of the IR is changed, and found to be wrong."""
    pattern, replacement = mutation
    program, random = probe(), Random(pattern)
    facts = verify(program, termination=True).region_facts()
    places = list(re.finditer(pattern, original_text := _text(program)))
    place = random.choice(places)
    changed = original_text[: place.start()] + place.expand(replacement) + original_text[place.end() :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE_TEXT, lambda *a, **k: changed)
        assert validate(program, facts), changed[max(0, place.start() - 200) : place.end() + 200]


ORDERED = """
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 8
    if r4 > r3 goto out
    r0 = load_acquire((u32 *)(r2 + 0))
    store_release((u32 *)(r2 + 4), r0)
  out:
    r0 = 2
    exit
"""


@pytest.mark.parametrize("order", ["acquire", "release"])
def test_order_of_accesses(order: str) -> None:
    """A load-acquire is followed by a fence, and a store-release follows one; without it the code is not right."""
    program = replace(assemble(ORDERED), program_type="xdp", section="xdp")
    text, fence = _text(program), f"  fence {order}\n"
    access = {"acquire": r"load i32, ptr %\w+, align 1.*\n.*zext.*\n", "release": ""}[order]
    after = {"acquire": "", "release": r".*\n.*store i32"}[order]
    assert re.search(access + fence + after, text)
    facts = verify(program, termination=True).region_facts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE_TEXT, lambda *a, **k: text.replace(fence, ""))
        assert any("fence" in str(each) for each in validate(program, facts))


def _text(program: Program) -> str:
    texts: list[str] = []
    original = module_text

    def keep(*a: Any, **k: Any) -> str:
        texts.append(original(*a, **k))
        return texts[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE_TEXT, keep)
        assert not mistakes(program)
    return texts[0]


def test_a_comparing_exchange_where_it_is_not_aligned() -> None:
    """As the mutation of ``atomicrmw``, for the other operation that must be aligned."""
    program = replace(
        assemble("""
            r2 = *(u32 *)(r1 + 0)
            r3 = *(u32 *)(r1 + 4)
            r4 = r2
            r4 += 16
            r0 = 0
            if r4 > r3 goto out
            r5 = 7
            r0 = cmpxchg_64(r2 + 1, r0, r5)
          out:
            r0 = 0
            exit
        """),
        program_type="xdp",
        section="xdp",
    )
    text = _text(program)
    swapped = re.sub(r"label %(t\d+), label %(t\d+)(?=\nt\d+:\n.* cmpxchg)", r"label %\2, label %\1", text)
    assert swapped != text
    facts = verify(program, termination=True).region_facts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE_TEXT, lambda *a, **k: swapped)
        assert any("undefined for some words: " in str(each) for each in validate(program, facts))


def test_a_helper_may_change_every_word_of_the_block() -> None:
    """Also those of the last of many maps."""
    place = map_field(25, MapField.VALUES)
    text = f"""define internal i64 @main(ptr %run) nounwind {{
entry:
  %p = getelementptr i64, ptr %run, i64 {place}
  %before = load i64, ptr %p, align 8
  ; helper 1
  ; end 0 null 0
  %after = load i64, ptr %p, align 8
  ret i64 0
}}
"""
    for maps, same in ((26, False), (25, True)):
        ((_, state),) = execute(functions(text)["main"], "entry", block_words(maps))
        assert state.values["%before"].eq(state.values["%after"]) == same


@pytest.mark.parametrize(
    "line",
    [
        "%a = add nuw i64 %b, 1",
        "%a = freeze i64 %b",
        "call void @g(i64 1)",
        "store i64 1",
        "%a = load i64, ptr %b, align 8, !range !7",
        "br label %a, !llvm.loop !7",
        "%a = getelementptr inbounds i8, ptr %b, i64 1",
        "%a = getelementptr inbounds i8, ptr %stack, i64 %b",
    ],
)
def test_what_is_not_in_the_subset(line: str) -> None:
    text = f"define internal i64 @main(ptr %run) nounwind {{\nentry:\n  {line}\n  ret i64 0\n}}\n"
    if "@g" in line:
        assert functions(text)
    else:
        with pytest.raises(IrError, match="not in the subset"):
            functions(text)
