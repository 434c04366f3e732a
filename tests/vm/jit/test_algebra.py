"""The LLVM reading of the word algebra against the reading in ints: edge words, and all words of four bits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from ctypes import CFUNCTYPE, c_uint64

import pytest
from llvmlite import ir

from prevail_py.vm.jit.algebra import LlvmAlgebra
from prevail_py.vm.jit.compile import Tier, executable
from prevail_py.words import INT, Comparison, OpKind, WordOp, compare, evaluate

I64 = ir.IntType(64)
EDGES = (0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 0x8000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000,
         0x8000_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF, 0x1234_5678_9ABC_DEF0)  # fmt: skip


def operations() -> Iterator[WordOp]:
    for kind in OpKind:
        match kind:
            case OpKind.SEXT:
                yield from (
                    WordOp(kind, width, source) for width in (32, 64) for source in (8, 16, 32) if source < width
                )
            case OpKind.BSWAP:
                yield from (WordOp(kind, width) for width in (8, 16, 32, 64))
            case OpKind.ZEXT:
                yield from (WordOp(kind, width) for width in (8, 16, 32, 64))
            case _:
                yield from (WordOp(kind, width) for width in (32, 64))


def compiled(
    bodies: Sequence[Callable[[LlvmAlgebra, object, object], object]], bits: int, tier: Tier
) -> Iterator[object]:
    """A native function of two words of ``bits`` bits for each body, which returns a word or an ``i1``."""
    module = ir.Module("algebra")
    word = ir.IntType(bits)
    kinds = []
    for number, body in enumerate(bodies):
        function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), f"f{number}")
        builder = ir.IRBuilder(function.append_basic_block())
        a, b = (builder.trunc(arg, word) if bits < 64 else arg for arg in function.args)
        result = body(LlvmAlgebra(builder), a, b)
        is_bit = result.type == ir.IntType(1)  # type: ignore[attr-defined]
        builder.ret(builder.zext(result, I64) if is_bit or bits < 64 else result)
        kinds.append(is_bit)
    engine = executable(str(module), tier)
    for number in range(len(bodies)):
        call = CFUNCTYPE(c_uint64, c_uint64, c_uint64)(engine.get_function_address(f"f{number}"))
        call.engine = engine  # type: ignore[attr-defined]
        yield call


@pytest.mark.parametrize("tier", [0, 2])
def test_operations(tier: Tier) -> None:
    ops = list(operations())

    def body(op: WordOp) -> Callable[[LlvmAlgebra, object, object], object]:
        return lambda algebra, a, b: evaluate(algebra, op, (a, b))

    for op, native in zip(ops, compiled([body(op) for op in ops], 64, tier), strict=True):
        for a, b in itertools.product(EDGES, EDGES):
            assert native(a, b) == evaluate(INT, op, (a, b)), (op, a, b)  # type: ignore[operator]


@pytest.mark.parametrize("tier", [0, 2])
def test_comparisons(tier: Tier) -> None:
    kinds = [(comparison, width) for comparison in Comparison for width in (32, 64)]

    def body(comparison: Comparison, width: int) -> Callable[[LlvmAlgebra, object, object], object]:
        return lambda algebra, a, b: compare(algebra, comparison, a, b, width)

    for kind, native in zip(kinds, compiled([body(*kind) for kind in kinds], 64, tier), strict=True):
        for a, b in itertools.product(EDGES, EDGES):
            assert native(a, b) == compare(INT, kind[0], a, b, kind[1]), (kind, a, b)  # type: ignore[operator]


def test_all_words_of_four_bits() -> None:
    ops = [WordOp(kind, 4) for kind in OpKind if kind not in (OpKind.BSWAP, OpKind.SEXT)] + [WordOp(OpKind.SEXT, 4, 2)]

    def body(op: WordOp) -> Callable[[LlvmAlgebra, object, object], object]:
        return lambda algebra, a, b: evaluate(algebra, op, (a, b), word=4)

    for op, native in zip(ops, compiled([body(op) for op in ops], 4, 2), strict=True):
        for a, b in itertools.product(range(16), range(16)):
            assert native(a, b) == evaluate(INT, op, (a, b), word=4), (op, a, b)  # type: ignore[operator]


def test_nothing_may_be_poison() -> None:
    """No flag that makes an instruction poison, and no shift by what was not masked."""
    for op in operations():
        module = ir.Module("one")
        function = ir.Function(module, ir.FunctionType(I64, [I64, I64]), "f")
        builder = ir.IRBuilder(function.append_basic_block())
        builder.ret(evaluate(LlvmAlgebra(builder), op, tuple(function.args)))
        text = str(module)
        assert not {"nsw", "nuw", "exact", "nneg", "disjoint", "inbounds"} & set(text.split()), op
        if op.kind in (OpKind.LSH, OpKind.RSH, OpKind.ARSH):
            assert f", {op.width - 1}" in text
