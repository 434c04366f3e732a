"""The kernel as the third engine: generated programs agree, and bugs that our engines share are found.

Interpreter and generated source have memory, maps and the meaning of instructions in common; what is wrong there is
wrong in both.  Every planted bug here is one of that sort, and is found by programs that the kernel runs as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from prevail_py.isa.instructions import Jump
from prevail_py.objects.program import MapSpec
from prevail_py.objects.text import assemble
from prevail_py.research.differential import Tally, campaign, inputs_of, load_generated
from prevail_py.research.generate import program as generated
from prevail_py.research.kernel_programs import kernel_program_of, repeatable, tame
from prevail_py.vm import effects, interpreter
from prevail_py.vm.differential import Divergence, Input, compare, load, text_of
from prevail_py.vm.kernel.hazard import GENERATED_LIMIT, hazard
from prevail_py.vm.kernel.probe import locate_in_kernel
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.memory import Region
from prevail_py.vm.parting import compares_addresses
from prevail_py.vm.reduction import minimise
from prevail_py.words import IntAlgebra, OpKind, WordOp
from prevail_py.words import evaluate as evaluate_word

pytestmark = pytest.mark.usefixtures("kernel")

ALL = ("interpreter", "source", "kernel")
Patch: TypeAlias = pytest.MonkeyPatch


def test_generated_programs_agree() -> None:
    last = None
    for last in campaign(range(90), 2, ALL):
        assert not last.divergences, text_of(minimise(last.divergences[0], generated=True))
    assert last is not None
    assert last.compared["source"] == 90
    assert last.compared["kernel"] > 60


def test_what_is_generated_for_the_kernel() -> None:
    """Loop-free and short, so that the guard lets it through; and the same every time."""
    from prevail_py.isa.encode import encode

    for number in range(100):
        program = kernel_program_of(number)
        assert program == kernel_program_of(number)
        code = encode(program.code)
        assert len(code) // 8 < GENERATED_LIMIT
        assert hazard(code, generated=True) is None
        given = [list(inputs_of(program, number, 4, cut_off=False)) for _ in range(2)]
        assert given[0] == given[1]
        assert all(each.packet is not None and len(each.packet) >= 14 for each in given[0])


def test_repeatable_programs_do_what_they_did() -> None:
    """Narrower accesses to the stack aside: what is not reached is not missed."""
    for seed in range(40):
        before = generated(seed, size=15)
        after = repeatable(before)
        assert after.maps[:-1] == before.maps
        interpreter.run(after, packet=bytes(64))  # which would raise for code that is not well-formed
        assert repeatable(tame(seed)).code[:2] == tame(seed).code[:2]


# Planted bugs ---------------------------------------------------------------------------------------------------------


def big_endian_read(patch: Patch) -> None:
    def load(self: Region, address: int, size: int) -> tuple[int, Region | None]:
        value, provenance = original(self, address, size)
        return int.from_bytes(value.to_bytes(size, "little"), "big") if size == 2 else value, provenance

    original = Region.load
    patch.setattr(Region, "load", load)


def bounds_wrong_by_one(patch: Patch) -> None:
    def locate(self: Region, address: int, size: int) -> int:
        offset = original(self, address, size)
        return original(self, address, size + (offset + size == self.size and size < 8))

    original = Region.locate
    patch.setattr(Region, "locate", locate)


def store_of_the_wrong_width(patch: Patch) -> None:
    def store(self: Region, address: int, size: int, value: int, provenance: Region | None = None) -> None:
        original(self, address, min(size, 4) if provenance is None else size, value, provenance)

    original = Region.store
    patch.setattr(Region, "store", store)


def update_that_ignores_noexist(patch: Patch) -> None:
    def insert(self: HashMap, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return original(self, key, value, flags & ~1, cpu)

    original = HashMap.insert
    patch.setattr(HashMap, "insert", insert)


def array_index_that_wraps(patch: Patch) -> None:
    def find(self: ArrayMap, key: bytes) -> int | None:
        return int.from_bytes(key, "little") % self.slots

    patch.setattr(ArrayMap, "find", find)


def value_of_another_cpu(patch: Patch) -> None:
    def value(self: ArrayMap, slot: int, cpu: int) -> memoryview:
        return original(self, slot, self.cpus - 1 - cpu)

    original = ArrayMap.value
    patch.setattr(ArrayMap, "value", value)


def deletion_that_only_says_so(patch: Patch) -> None:
    def remove(self: HashMap, key: bytes) -> int:
        return 0 if self.find(key) is not None else original(self, key)

    original = HashMap.remove
    patch.setattr(HashMap, "remove", remove)


def new_value_on_all_cpus(patch: Patch) -> None:
    def insert(self: HashMap, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        new = self.find(key) is None
        error = original(self, key, value, flags, cpu)
        for other in range(self.cpus if new and not error else 0):
            original(self, key, value, 0, other)
        return error

    original = HashMap.insert
    patch.setattr(HashMap, "insert", insert)


def shift_mask(patch: Patch) -> None:
    original = IntAlgebra.shl
    patch.setattr(IntAlgebra, "shl", lambda self, a, b, width: original(self, a, b % 48, width))


def quotient_of_least_and_minus_one(patch: Patch) -> None:
    def sdiv(self: IntAlgebra, a: int, b: int, width: int) -> int:
        least, ones = 1 << width - 1, (1 << width) - 1
        return least - 1 if (a, b) == (least, ones) else original(self, a, b, width)

    original = IntAlgebra.sdiv
    patch.setattr(IntAlgebra, "sdiv", sdiv)


def evaluated(change: Callable[[WordOp], WordOp]) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        def evaluate(algebra: Any, op: WordOp, args: tuple[Any, ...]) -> Any:
            return evaluate_word(algebra, change(op), args)

        patch.setattr(effects, "evaluate", evaluate)

    return plant


def wide(op: WordOp) -> WordOp:
    return replace(op, width=64) if op.kind is OpKind.SUB and op.width == 32 else op


def unsigned(op: WordOp) -> WordOp:
    return WordOp(OpKind.ZEXT, 16) if op.kind is OpKind.SEXT and op.source == 16 else op


def cmpxchg_that_compares_all_of_r0(patch: Patch) -> None:
    def atomic(machine: Any, instruction: Any, word_op: WordOp | None) -> None:
        if instruction.op.value == "cmpxchg" and instruction.size == 4 and machine.registers[0] >> 32:
            region, address = effects._address(machine, instruction.base, instruction.offset)
            machine.write(0, region.load(address, 4)[0])
        else:
            original(machine, instruction, word_op)

    original = effects._atomic
    patch.setattr(effects, "_atomic", atomic)


MEMORY_AND_MAPS = (
    big_endian_read, bounds_wrong_by_one, store_of_the_wrong_width, update_that_ignores_noexist, array_index_that_wraps,
    value_of_another_cpu, deletion_that_only_says_so, new_value_on_all_cpus,
)  # fmt: skip
WORDS = {
    "shift mask": shift_mask,
    "zero extension": evaluated(wide),
    "MIN / -1": quotient_of_least_and_minus_one,
    "sign extension": evaluated(unsigned),
    "cmpxchg32": cmpxchg_that_compares_all_of_r0,
}


def found(most: int = 600) -> Divergence:
    """The first divergence between interpreter and kernel."""
    for tally in campaign(range(most), 2, ("interpreter", "kernel"), stop_at=1):
        if tally.divergences:
            return tally.divergences[0]
    pytest.fail(f"no divergence in {most} programs")


@pytest.mark.parametrize("plant", MEMORY_AND_MAPS, ids=lambda plant: plant.__name__)
def test_planted_in_memory_and_maps(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert found().engines == ("interpreter", "kernel")


@pytest.mark.parametrize("plant", WORDS.values(), ids=WORDS)
def test_planted_in_the_meaning_of_words(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert found().engines == ("interpreter", "kernel")


# Code without checks --------------------------------------------------------------------------------------------------


def proved_against_kernel(most: int) -> Tally:
    """What programs that our verifier proves come to, as native code without checks and on the kernel."""
    pytest.importorskip("llvmlite")
    (tally,) = deque(campaign(range(most), 2, ("proved-O0", "kernel"), stop_at=1), maxlen=1)
    return tally


def test_proved_code_agrees() -> None:
    tally = proved_against_kernel(12)
    assert not tally.divergences, text_of(tally.divergences[0])
    assert tally.compared["kernel"] > 5


@pytest.mark.parametrize("bug", ["zero extension", "shift mask", "place of an access"])
def test_planted_in_the_lowering_of_proved_code(bug: str, monkeypatch: Patch) -> None:
    pytest.importorskip("llvmlite")
    from prevail_py.vm.jit.algebra import LlvmAlgebra
    from prevail_py.vm.jit.proved import memory

    place = memory.place
    match bug:
        case "zero extension":
            monkeypatch.setattr(LlvmAlgebra, "zero_extend", LlvmAlgebra.sign_extend)
        case "shift mask":
            monkeypatch.setattr(
                LlvmAlgebra, "_amount", lambda self, b, width: self._builder.and_(b, self.const(15, width))
            )
        case _:
            monkeypatch.setattr(memory, "place", lambda f, pc, r, o, size: place(f, pc, r, o ^ (size == 1), size))
    (divergence,) = proved_against_kernel(60).divergences
    assert divergence.engines == ("proved-O0", "kernel")
    if bug == "place of an access":
        small = minimise(divergence, loader=load_generated)
        assert small.engines == divergence.engines
        assert small.program.instruction_count < divergence.program.instruction_count


# What is made of a divergence -----------------------------------------------------------------------------------------


def test_a_divergence_from_the_kernel_is_made_small(monkeypatch: Patch) -> None:
    store_of_the_wrong_width(monkeypatch)
    program = assemble(
        "r2 = r10\nr2 += -4\nr6 = 7\n*(u32 *)(r10 - 4) = 1\nr1 = map[idx:0] ll\ncall 1\nif r0 == 0 goto +5\nr7 = r0\n"
        "r3 = 0x1122334455667788 ll\n*(u64 *)(r7 + 8) = r3\nr6 += 5\nr0 = r6\nexit",
        maps=(MapSpec("table", 2, 4, 16, 3),),
    )
    elements = {bytes(4): b"\1" * 16, b"\1\0\0\0": b"\2" * 16}
    given = Input(bytes(range(80)), maps={0: elements})
    engines = ("interpreter", "kernel")
    divergence = compare(program, given, engines, load(program, engines)).divergence
    assert divergence is not None
    small = minimise(divergence)
    assert sum(i is not None for i in small.program.code) < program.instruction_count
    assert Jump(0) not in small.program.code
    assert small.given.packet is not None
    assert len(small.given.packet) <= 20
    assert not any(small.given.packet)
    assert "map 0 (table)[01000000]: interpreter has" in text_of(small)


def test_where_they_part(monkeypatch: Patch) -> None:
    """Between two places of the main function, with a subprogram on the way."""
    shift_mask(monkeypatch)
    program = assemble(
        "r6 = *(u32 *)(r1 + 12)\nr6 += 49\nr7 = 3\ncall local +7\nr8 = 1\nr8 <<= r6\nr9 = r8\nr0 = r8\nr0 >>= 10\n"
        "r0 += r7\nexit\nr0 = 9\nexit"
    )
    engines = ("interpreter", "kernel")
    divergence = compare(program, Input(bytes(64)), engines, load(program, engines)).divergence
    assert divergence is not None
    parting = divergence.parting
    assert parting is not None
    assert (parting.slot, parting.blame) == (6, 5)
    assert parting.left == {"r8": f"{1 << 2:#x}"}
    assert parting.right == {"r8": f"{1 << 50:#x}"}
    assert "they part at slot 5, before slot 6" in text_of(divergence)
    flipped = compare(program, Input(bytes(64)), engines[::-1], load(program, engines)).divergence
    assert flipped is not None
    assert flipped.parting is not None
    assert flipped.parting.left == parting.right


def test_registers_that_cannot_be_read_everywhere() -> None:
    """The verifier lets nobody read r7, which only one of the paths has written: the others are compared."""
    program = assemble("r6 = *(u32 *)(r1 + 12)\nif r6 == 0 goto +1\nr7 = 5\nr0 = r6\nr0 += 1\nexit")
    given = Input(bytes(64), context=b"\0" * 12 + b"\1" + b"\0" * 11)
    assert locate_in_kernel(program, given) is None
    assert compare(program, given, ALL, load(program, ALL)).divergence is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("call 7\nexit", "bpf_get_prandom_u32 at slot 0 tells random numbers"),
        ("r0 = r10\nexit", "pointer-leak in the other engine"),
        ("r0 = *(u64 *)(r10 - 8)\nr0 &= 1\nexit", "uninitialised-memory in the other engine"),
        ("exit", "reject: R0 !read_ok"),
    ],
)
def test_what_says_nothing(text: str, reason: str) -> None:
    program = assemble(text)
    comparison = compare(program, Input(bytes(64)), ALL, load(program, ALL))
    assert comparison.divergence is None
    assert reason in comparison.skipped["kernel"]


def test_programs_that_depend_on_addresses() -> None:
    """One of the two comparisons has another outcome in the kernel, whose context lies elsewhere."""
    given = Input(bytes(64))
    for text, slot in (
        ("r0 = 0x1000000000000 ll\nif r1 < r0 goto +1\nr0 = 0\nexit", 2),
        ("r0 = 1\nif r1 != 0 goto +1\nr0 = 0\nexit", None),
    ):
        program = assemble(text)
        assert compares_addresses(program, given) == slot
        comparison = compare(program, given, ALL, load(program, ALL))
        assert comparison.divergence is None
        assert ("kernel" in comparison.skipped) == (slot is not None)


@pytest.mark.parametrize("kind", [2, 6])
@pytest.mark.parametrize("key", [0, 9])
@pytest.mark.parametrize("flags", [0, 1, 2, 3, 4, 5, 6, 8])
def test_errors_of_updates_by_programs(kind: int, key: int, flags: int) -> None:
    """Found by the campaign: programs update per-CPU arrays by another function than the user's commands do."""
    program = assemble(
        f"*(u32 *)(r10 - 4) = {key}\n*(u64 *)(r10 - 16) = 5\n"
        f"r1 = map[idx:0] ll\nr2 = r10\nr2 += -4\nr3 = r10\nr3 += -16\nr4 = {flags}\ncall 2\nexit",
        maps=(MapSpec("table", kind, 4, 8, 3),),
    )
    comparison = compare(program, Input(bytes(64)), ALL, load(program, ALL))
    assert not comparison.skipped
    assert comparison.divergence is None, text_of(comparison.divergence)


def test_zero_extension_by_cmpxchg_on_a_pruned_path() -> None:
    """Found by the campaign: Linux 6.18 on x86 leaves the upper half of R0, which RFC 9669 section 5.3 clears."""
    source = (
        "r6 = map[idx:0][0]+0 ll\nr0 = *(u64 *)(r6 + 0)\nr1 = *(u64 *)(r6 + 8)\nr4 = *(u64 *)(r6 + 32)\n"
        "w0 = cmpxchg32_32(r6 + 80, w0, w4)\nif w1 s<= w4 goto +1\nw0 = atomic_fetch_or((u32 *)(r6 + 80), w0)\n"
        + "goto +0\n" * 12 + "exit"
    )  # fmt: skip
    program = assemble(source, maps=(MapSpec("words", 2, 4, 128, 1),))
    words = bytearray(128)
    words[0:8] = (0xFFFFFFFF_FFFFFF01).to_bytes(8, "little")
    words[80:84] = (0xFFFFFF01).to_bytes(4, "little")
    given = Input(bytes(64), maps={0: {bytes(4): bytes(words)}})
    comparison = compare(program, given, ALL, load(program, ALL))
    results = comparison.results
    assert results["interpreter"] == results["source"] == "r0 = 0xffffff01"
    assert results["kernel"] in ("r0 = 0xffffff01", "r0 = 0xffffffffffffff01")
