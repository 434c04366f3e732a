"""The LLVM engine against the reference: vectors, generated programs, planted bugs, and what happens when it crashes.

Traps, fuel, calls, tail calls, examples and families: ``tests/vm/source/test_engine.py``, on both compiled engines.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llvmlite.binding import newpassmanagers

from prevail_py import words
from prevail_py.isa.decode import decode
from prevail_py.isa.instructions import Atomic, Exit, Instruction, Load, Register
from prevail_py.objects.program import MapSpec
from prevail_py.objects.text import assemble
from prevail_py.research.conformance import Case, Vector, load_cases, load_vectors
from prevail_py.research.differential import campaign, program_of
from prevail_py.vm.differential import Input, compare, load, text_of
from prevail_py.vm.engines import EngineCrash, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution, Interpreter, run_memory
from prevail_py.vm.jit import access, arithmetic, emitter, lower
from prevail_py.vm.jit import engine as jit
from prevail_py.vm.jit.algebra import LlvmAlgebra
from prevail_py.vm.jit.compile import Tier, optimise
from prevail_py.vm.jit.engine import JitEngine
from prevail_py.vm.jit.isolation import rehearse
from prevail_py.vm.jit.runtime import Run
from prevail_py.vm.machine import prepare
from prevail_py.vm.maps import create_maps
from prevail_py.vm.outcome import OutOfFuel, Returned
from prevail_py.words import Comparison, OpKind, WordOp

CASES = load_cases(Path(__file__).resolve().parents[2] / "conformance")
OWN = [case.vector for case in CASES]
_SUITE = Path(__file__).resolve().parents[4] / "shared" / "conformance"
SUITE = load_vectors(_SUITE) if _SUITE.is_dir() else []
ALL = bool(os.environ.get("PREVAIL_PY_ALL_VECTORS"))
ENGINES: dict[Tier, JitEngine] = {0: JitEngine(0, trusted=True), 2: JitEngine(2, trusted=True)}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Code that was compiled with a planted bug is not for the next test."""
    jit._compiled.clear()
    yield
    jit._compiled.clear()


def resident() -> int:
    """Bytes of memory that this process needs now."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def from_memory(case: Case) -> tuple[tuple[Instruction | None, ...], bytes]:
    """The code and the memory of a vector, which has registers loaded from memory if it needs none itself.

    Registers that are set to constants are what LLVM computes with while it compiles; these it cannot know.
    """
    if case.memory or not case.registers:
        return decode(case.vector.code), case.memory
    registers = sorted(case.registers, key=lambda register: register == Register.R1)  # R1 is where memory is
    loads = [Load(register, Register.R1, 8 * place, 8) for place, register in enumerate(registers)]
    memory = b"".join(case.registers[register].to_bytes(8, "little") for register in registers)
    return (*loads, *case.body, Exit()), memory


def check(code: Sequence[Instruction | None], memory: bytes, result: int | None, tier: Tier) -> None:
    execution = ENGINES[tier].run_memory(code, memory)
    assert execution == run_memory(code, memory)
    assert result is not None
    assert execution.outcome == Returned(result)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_own_vector(case: Case) -> None:
    check(*from_memory(case), case.result, 0)


@pytest.mark.parametrize("case", CASES if ALL else CASES[::6], ids=lambda case: case.name)
def test_own_vector_optimised(case: Case) -> None:
    check(*from_memory(case), case.result, 2)


@pytest.mark.parametrize("vector", SUITE, ids=lambda vector: vector.name)
def test_suite_vector(vector: Vector, shared_dir: Path) -> None:
    check(decode(vector.code), vector.memory, vector.result, 0)


@pytest.mark.parametrize("vector", SUITE if ALL else SUITE[::4], ids=lambda vector: vector.name)
def test_suite_vector_optimised(vector: Vector, shared_dir: Path) -> None:
    check(decode(vector.code), vector.memory, vector.result, 2)


@pytest.mark.parametrize(("name", "count"), [("jit-O0", 120), ("jit", 12)])
def test_generated_programs_agree(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JitEngine, "rehearse", lambda *_: None)  # a crash of this process would be seen, too
    last = None
    for last in campaign(range(count), 4, ("interpreter", name)):
        assert not last.divergences, text_of(last.divergences[0])
    assert last is not None
    assert last.runs == 4 * count
    assert last.compared[name] == count
    assert last.outcomes["r0"] > 2 * count
    assert last.outcomes["out of fuel"] > count / 15


# What is native -----------------------------------------------------------------------------------------------------


LOOP = """
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 64
    if r4 > r3 goto out
    r0 = 0
    r4 = 0
  again:
    r5 = r2
    r5 += r4
    r6 = *(u8 *)(r5 + 0)
    r0 += r6
    *(u64 *)(r10 - 8) = r0
    r0 = *(u64 *)(r10 - 8)
    *(u8 *)(r5 + 0) = 7
    r4 += 1
    if r4 != 64 goto again
    r0 &= 3
    exit
  out:
    r0 = 0
    exit
"""


@pytest.mark.parametrize("tier", [0, 2])
def test_loops_run_without_the_reference(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 585 instructions only the exit goes through it."""
    steps: list[int] = []
    original = Run._step

    def count(self: Run, pc: int, left: int) -> int:
        steps.append(pc)
        return original(self, pc, left)

    monkeypatch.setattr(Run, "_step", count)
    program = assemble(LOOP)
    execution = ENGINES[tier].load(program).run(packet=bytes(range(64)))
    assert execution == Interpreter(program).run(packet=bytes(range(64)))
    assert execution.steps == 585
    assert steps == [17]


def test_code_that_leaves_memory_to_the_reference() -> None:
    program = assemble(LOOP)
    code = prepare(Interpreter(program)._platform, program, {})
    for promoted in (False, True):
        texts = [
            str(lower.lower(code, Interpreter(program)._platform, promoted=promoted, native=native))
            for native in (True, False)
        ]
        for text in texts:
            optimise(text, 0)  # LLVM's verifier
        assert "align 1" in texts[0]
        assert "align 1" not in texts[1]


def _grown() -> int:
    """Bytes by which this process grows as LLVM's pipeline runs a hundred times."""
    before = resident()
    for _ in range(100):
        optimise("define i64 @f(i64 %x) {\n ret i64 %x\n}", 2)
    return resident() - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc how much memory is in use")
def test_pipelines_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    _grown()
    assert _grown() < 1 << 20
    monkeypatch.setattr(newpassmanagers.NewPassManager, "_dispose", lambda self: None)
    assert _grown() > 2 << 20


def test_ir_is_verified() -> None:
    for number in range(6):
        program = program_of(number)
        reference = Interpreter(program)
        code = prepare(reference._platform, program, {})
        for promoted in (False, True):
            optimise(str(lower.lower(code, reference._platform, promoted=promoted)), 0)
    with pytest.raises(RuntimeError):
        optimise("define i64 @f() {\n ret i32 0\n}", 0)


def test_many_regions() -> None:
    """The table of regions grows while native code runs: more than its first 32 entries are used."""
    text = "".join(f"r2 = subprog[+{n}] ll; " for n in range(60, 0, -2)) + "r0 = *(u8 *)(r10 - 1); exit"
    text = "*(u8 *)(r10 - 1) = 2; r0 = 2; " + text
    assert differs(text) is None


def test_compiled_code_goes_with_its_program() -> None:
    program = assemble("r0 = 2\nexit")
    key = id(program)
    loaded = ENGINES[0].load(program)
    loaded.run(packet=b"")
    assert (key, 0) in jit._compiled
    del program, loaded
    gc.collect()
    assert (key, 0) not in jit._compiled


# Planted bugs -------------------------------------------------------------------------------------------------------


def zero_extension(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LlvmAlgebra, "zero_extend", LlvmAlgebra.sign_extend)


def poison_shift(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LlvmAlgebra, "_amount", lambda self, b, width: b)


def unguarded_sdiv(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LlvmAlgebra, "_one_where", lambda self, undefined, b, width: b)


def fetch_result(patch: pytest.MonkeyPatch) -> None:
    original = access.atomic

    def atomic(e: Any, at: Any, instruction: Atomic) -> None:
        original(e, at, replace(instruction, fetch=False))

    patch.setattr(access, "atomic", atomic)


def swapped_operands(patch: pytest.MonkeyPatch) -> None:
    original = LlvmAlgebra.sub
    patch.setattr(LlvmAlgebra, "sub", lambda self, a, b, width: original(self, b, a, width))


def comparison_signedness(patch: pytest.MonkeyPatch) -> None:
    original = LlvmAlgebra.compare
    unsigned = {Comparison.SLT: Comparison.ULT, Comparison.SGE: Comparison.UGE}

    def compare(self: LlvmAlgebra, comparison: Comparison, a: Any, b: Any, width: int) -> Any:
        return original(self, unsigned.get(comparison, comparison), a, b, width)

    patch.setattr(LlvmAlgebra, "compare", compare)


def branch_width(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arithmetic, "compare", lambda algebra, c, a, b, width: words.compare(algebra, c, a, b, 64))


def immediate_extension(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(emitter, "immediate_word", lambda value: value & 0xFFFFFFFF)


def load_extension(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(access, "load_op", lambda size, signed: WordOp(OpKind.ZEXT, 8 * size))


def swap_width(patch: pytest.MonkeyPatch) -> None:
    def evaluate(algebra: Any, op: WordOp, args: tuple[Any, ...]) -> Any:
        return words.evaluate(algebra, WordOp(op.kind, 64) if op.kind is OpKind.BSWAP else op, args)

    patch.setattr(arithmetic, "evaluate", evaluate)


SEMANTIC: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "missing zero-extension": (zero_extension, "alu32"),
    "poison shift": (poison_shift, "alu64"),
    "unguarded sdiv": (unguarded_sdiv, "alu64"),
    "wrong fetch result": (fetch_result, "atomics"),
    "swapped operands": (swapped_operands, "alu64"),
    "comparison signedness": (comparison_signedness, "branches"),
    "branch width": (branch_width, "branches"),
    "sign extension of immediates": (immediate_extension, "alu64"),
    "load extension": (load_extension, "memory"),
    "byte swap width": (swap_width, "unary"),
}


def first_wrong(file: str, chosen: JitEngine, constants: bool) -> str | None:
    """How the first vector of a file fails on an engine: with registers set to constants, or loaded from memory."""
    for case in CASES:
        if case.name.startswith(file):
            given = (case.program, case.memory) if constants else from_memory(case)
            try:
                outcome = chosen.run_memory(*given).outcome
            except EngineCrash as crash:
                return str(crash)
            if outcome != Returned(case.result or 0):
                return str(outcome)
    return None


@pytest.mark.parametrize("bug", SEMANTIC)
def test_planted_bug_in_the_lowering(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, file = SEMANTIC[bug]
    plant(monkeypatch)
    # The hardware masks what it shifts by; what LLVM computes itself is poison.
    found = first_wrong(file, JitEngine(0, trusted=bug != "unguarded sdiv"), constants=bug == "poison shift")
    assert found is not None
    assert ("SIGFPE" in found) == (bug == "unguarded sdiv")


def differs(text: str, packet: bytes = bytes(range(16)), fuel: int = 1000) -> Execution | None:
    """What native code makes of a program, where that is not what the reference does."""
    program = assemble(text.replace(";", "\n"))
    expected = Interpreter(program).run(packet=packet, environment=Environment(), fuel=fuel)
    found = ENGINES[0].load(program).run(packet=packet, environment=Environment(), fuel=fuel)
    return None if found == expected else found


def test_planted_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "r2 = *(u32 *)(r1 + 0); r0 = *(u32 *)(r2 + 13); r0 = 0; exit"
    assert differs(text) is None
    jit._compiled.clear()
    original = emitter.Emitter.require
    monkeypatch.setattr(
        emitter.Emitter,
        "require",
        lambda self, holds: None if ">=" in str(holds) or "uge" in str(holds) else original(self, holds),
    )
    found = differs(text)
    assert found is not None
    assert isinstance(found.outcome, Returned)


def test_planted_unwritten_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "*(u32 *)(r10 - 8) = 1; r0 = *(u64 *)(r10 - 8); r0 = 0; exit"
    assert differs(text) is None
    monkeypatch.setattr(access, "_require_written", lambda *_: None)
    jit._compiled.clear()
    assert differs(text) is not None


def test_planted_spilled_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "*(u64 *)(r10 - 8) = r1; r2 = *(u64 *)(r10 - 8); r0 = *(u32 *)(r2 + 12); exit"
    assert differs(text) is None
    monkeypatch.setattr(access, "_require_unspilled", lambda *_: None)
    jit._compiled.clear()
    assert differs(text) is not None


def test_planted_stale_pointer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pointer into the frame of a callee that returned."""
    text = "call local inner; r0 += 1; r0 = 0; exit; inner:; r0 = r10; exit"
    assert differs(text) is None
    monkeypatch.setattr(emitter.Emitter, "live", lambda self, tag: emitter.constant(1))
    jit._compiled.clear()
    found = differs(text)
    assert found is not None
    assert isinstance(found.outcome, Returned)


@pytest.mark.parametrize("error", [-1, 1])
def test_planted_fuel(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "r0 = 9; again:; r0 += -1; if r0 != 0 goto again; exit"
    assert differs(text) is None
    original = lower._end
    monkeypatch.setattr(lower, "_end", lambda e, steps: original(e, steps + error))
    jit._compiled.clear()
    found = differs(text)
    assert found is not None
    assert found.outcome == Returned(0)  # after a wrong number of steps


# Crashes ------------------------------------------------------------------------------------------------------------


def nowhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Run, "_hold", lambda self, buffer: 8)


def test_a_crash_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    program, names = assemble("*(u64 *)(r10 - 8) = 1\nr0 = 2\nexit"), ("interpreter", "jit-O0")
    assert compare(program, Input(b""), names, load(program, names)).divergence is None
    nowhere(monkeypatch)
    with pytest.raises(EngineCrash, match="native code died of SIGSEGV"):
        engine("jit-O0").load(program).run(packet=b"")
    comparison = compare(program, Input(b""), names, load(program, names))
    assert comparison.divergence is not None
    assert "SIGSEGV" in comparison.divergence.differences[0].right
    assert comparison.results["interpreter"] == "r0 = 0x2"


def test_a_hang_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    program = assemble("goto -1")
    assert isinstance(engine("jit-O0").load(program).run(packet=b"", fuel=50).outcome, OutOfFuel)
    jit._compiled.clear()
    original = lower._end
    monkeypatch.setattr(lower, "_end", lambda e, steps: original(e, 0))
    monkeypatch.setattr(jit, "_START_SECONDS", 0.3)
    with pytest.raises(EngineCrash, match="did not end within"):
        engine("jit-O0").load(program).run(packet=b"", fuel=50)


def test_rehearsals_leave_nothing_behind() -> None:
    left: list[int] = []

    def run() -> None:
        left.append(1)
        raise ValueError("seen by the parent when it runs this itself")

    assert rehearse(run, 5.0) is None
    assert not left


def test_rehearsals_leave_maps_alone() -> None:
    text = "r1 = map[idx:0][0]+0 ll\nr2 = 1\nlock *(u64 *)(r1 + 0) += r2\nr0 = 2\nexit"
    program = assemble(text, maps=(MapSpec("count", 2, 4, 8, 2),))
    maps = create_maps(program.maps)
    for count in (1, 2):
        JitEngine(0).load(program).run(packet=b"", maps=maps)
        assert Interpreter(program).run(packet=b"", maps=maps).maps[0][bytes(4)] == (2 * count).to_bytes(8, "little")  # type: ignore[index]


def test_trusted_programs_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsed: list[int] = []
    monkeypatch.setattr(JitEngine, "rehearse", lambda self, run, fuel: rehearsed.append(fuel))
    loaded = JitEngine(0).load(assemble("r0 = 2\nexit"))
    loaded.run(packet=b"", fuel=7)
    assert rehearsed == [7]
    loaded.trust()
    loaded.run(packet=b"")
    assert rehearsed == [7]


def test_errors_pass_through_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of ours in the reference is raised, not lost."""

    def broken(self: Run, pc: int) -> int:
        raise ZeroDivisionError

    program = assemble("r0 = 2\nexit")
    monkeypatch.setattr(Run, "_reference", broken)
    with pytest.raises(ZeroDivisionError):
        ENGINES[0].load(program).run(packet=b"")


def test_without_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llvmlite", None)
    with pytest.raises(ValueError, match=r"pip install 'prevail-py\[jit\]'"):
        engine("jit")
