"""How long word operators take: ``python -m prevail_py.research.word_speed`` prints a table of nanoseconds per call.

CPU time, the best of several rounds far apart, so that other work on the machine matters little.  *Small* is a word in
0..1500, *wide* one in 5..2**40, *top* any word; constants are on the right.
"""

from __future__ import annotations

import math
import time
import timeit
from collections.abc import Callable
from typing import Any, Final

from prevail_py.domains.interval import Interval
from prevail_py.domains.product import reduce_bits, word_product
from prevail_py.domains.scalar import Scalar
from prevail_py.domains.tnum import Tnum
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["CASES", "DOMAINS", "measure", "table"]

DOMAINS: Final[dict[str, Any]] = {
    "Interval": Interval,
    "Tnum": Tnum,
    "generic product": word_product(Interval, Tnum, reduce_bits),
    "Scalar": Scalar,
}

Call = Callable[[], object]


def _binary(kind: OpKind, width: int = 64) -> Callable[[Any], dict[str, Call]]:
    op = WordOp(kind, width)

    def calls(domain: Any) -> dict[str, Call]:
        small, wide, top = domain.between(0, 1500), domain.between(5, 1 << 40), domain.top()
        constant = domain.constant(14)
        return {
            f"{op}: small, constant": lambda: small.apply(op, constant),
            f"{op}: small, small": lambda: small.apply(op, small),
            f"{op}: wide, wide": lambda: wide.apply(op, wide),
            f"{op}: top, constant": lambda: top.apply(op, constant),
        }

    return calls


def _unary(op: WordOp) -> Callable[[Any], dict[str, Call]]:
    def calls(domain: Any) -> dict[str, Call]:
        small, top = domain.between(0, 1500), domain.top()
        return {f"{op}: small": lambda: small.apply(op), f"{op}: top": lambda: top.apply(op)}

    return calls


def _restrict(comparison: Comparison) -> Callable[[Any], dict[str, Call]]:
    def calls(domain: Any) -> dict[str, Call]:
        small, top, constant = domain.between(0, 1500), domain.top(), domain.constant(14)
        return {
            f"restrict {comparison.name}: small, constant": lambda: small.restrict(comparison, constant),
            f"restrict {comparison.name}: top, constant": lambda: top.restrict(comparison, constant),
        }

    return calls


def _others(domain: Any) -> dict[str, Call]:
    small, wide, constant = domain.between(0, 1500), domain.between(5, 1 << 40), domain.constant(14)
    sub = WordOp(OpKind.SUB, 32)
    return {
        "backward sub32: small": lambda: small.backward(sub, constant, constant),
        "join": lambda: small.join(wide),
        "meet": lambda: small.meet(wide),
        "leq": lambda: constant.leq(small),
        "bounds": small.bounds,
        "between": lambda: domain.between(0, 255),
        "constant": lambda: domain.constant(14),
    }


CASES: Final[tuple[Callable[[Any], dict[str, Call]], ...]] = (
    *(_binary(kind) for kind in (OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.UDIV, OpKind.UMOD, OpKind.AND)),
    *(_binary(kind) for kind in (OpKind.OR, OpKind.XOR, OpKind.LSH, OpKind.RSH)),
    _binary(OpKind.ADD, 32),
    _unary(WordOp(OpKind.ZEXT, 32)),
    _unary(WordOp(OpKind.SEXT, 64, 32)),
    _unary(WordOp(OpKind.BSWAP, 16)),
    *(_restrict(c) for c in (Comparison.EQ, Comparison.NE, Comparison.ULT, Comparison.SGE, Comparison.SET)),
    _others,
)
"""Functions from a domain to named calls."""


def measure(call: Call, rounds: int = 3, calls: int = 500) -> float:
    """Nanoseconds per call: the best of ``rounds``."""
    return min(timeit.repeat(call, number=calls, repeat=rounds, timer=time.process_time)) / calls * 1e9


def table(passes: int = 6) -> str:
    """A Markdown table of all cases in all domains: the best of several passes over everything."""
    best: dict[str, list[float]] = {}
    for _ in range(passes):
        for case in CASES:
            for position, domain in enumerate(DOMAINS.values()):
                for name, call in case(domain).items():
                    figures = best.setdefault(name, [math.inf] * len(DOMAINS))
                    figures[position] = min(figures[position], measure(call))
    lines = [f"| ns per call | {' | '.join(DOMAINS)} |", f"| --- |{' ---: |' * len(DOMAINS)}"]
    lines += [f"| {name} | {' | '.join(f'{figure:.0f}' for figure in figures)} |" for name, figures in best.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
