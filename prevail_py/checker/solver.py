"""Questions to Z3: formulas read in SMT-LIB, by evaluating the algebra of :mod:`prevail_py.words` over text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from prevail_py.checker.words import Compare, Formula, Node, Word, nodes_of
from prevail_py.words import Algebra, Comparison, compare, evaluate

__all__ = ["RESOURCES", "Solver"]

RESOURCES: Final = 20_000_000
"""Z3's measure of effort (``rlimit``) for one question: some seconds."""

_WIDE: Final = 68  # bits in which sums of a few signed words and a bound below 2**66 cannot overflow


def _const(value: int, width: int) -> str:
    return f"(_ bv{value & (1 << width) - 1} {width})"


def _binary(name: str) -> Any:
    return lambda self, a, b, width: f"({name} {a} {b})"


def _shift(name: str) -> Any:
    return lambda self, a, b, width: f"({name} {a} (bvand {b} {_const(width - 1, width)}))"


def _division(name: str, by_zero: Callable[[str, int], str]) -> Any:
    return lambda self, a, b, width: f"(ite (= {b} {_const(0, width)}) {by_zero(a, width)} ({name} {a} {b}))"


def _extend(name: str) -> Any:
    return lambda self, a, width, to: a if to == width else f"((_ {name} {to - width}) {a})"


class _SmtLib:
    """The algebra of :mod:`prevail_py.words` over text: its quotients by zero, its shifts modulo the width."""

    add, sub, mul = _binary("bvadd"), _binary("bvsub"), _binary("bvmul")
    bit_and, bit_or, bit_xor = _binary("bvand"), _binary("bvor"), _binary("bvxor")
    shl, lshr, ashr = _shift("bvshl"), _shift("bvlshr"), _shift("bvashr")
    udiv, sdiv = (_division(name, lambda a, width: _const(0, width)) for name in ("bvudiv", "bvsdiv"))
    umod, smod = (_division(name, lambda a, width: a) for name in ("bvurem", "bvsrem"))
    zero_extend, sign_extend = _extend("zero_extend"), _extend("sign_extend")

    def const(self, value: int, width: int) -> str:
        return _const(value, width)

    def neg(self, a: str, width: int) -> str:
        return f"(bvneg {a})"

    def bswap(self, a: str, width: int) -> str:
        return f"(concat {' '.join(f'((_ extract {low + 7} {low}) {a})' for low in range(0, width, 8))})"

    def truncate(self, a: str, width: int, to: int) -> str:
        return a if to == width else f"((_ extract {to - 1} 0) {a})"

    def compare(self, comparison: Comparison, a: str, b: str, width: int) -> str:
        match comparison:
            case Comparison.EQ:
                return f"(= {a} {b})"
            case Comparison.NOT_SET:
                return f"(= (bvand {a} {b}) {_const(0, width)})"
            case Comparison.NE | Comparison.SET:
                return f"(not {self.compare(comparison.negation, a, b, width)})"
            case _:
                return f"(bv{comparison.name.lower()} {a} {b})"


_TEXT: Final = cast(Algebra[str, str], _SmtLib())


def _word(word: Word) -> str:
    if word.node is None:
        return _const(word.offset, 64)
    name = f"n{word.node.number}"
    return f"(bvadd {name} {_const(word.offset, 64)})" if word.offset else name


def _declaration(node: Node) -> str:
    if node.op is None:
        return f"(declare-const n{node.number} (_ BitVec 64))"
    value = evaluate(_TEXT, node.op, tuple([_word(word) for word in node.args]))
    return f"(define-fun n{node.number} () (_ BitVec 64) {value})"


def _text(formula: Formula) -> str:
    if isinstance(formula, Compare):
        return compare(_TEXT, formula.comparison, _word(formula.left), _word(formula.right), formula.width)
    plus, less = (" ".join([_TEXT.sign_extend(_word(word), 64, _WIDE) for word in side]) for side in formula[:2])
    return f"(bvsle (bvadd {_const(0, _WIDE)} {plus}) (bvadd {_const(formula.most, _WIDE)} {less}))"


class Solver:
    """Z3, asked in SMT-LIB: one question at a time, each within the same resources; its seed is fixed by default."""

    def __init__(self, resources: int = RESOURCES) -> None:
        self.resources = resources
        self.questions = 0
        self._context: Any = None

    def proves(self, facts: list[Formula], goals: Sequence[Formula]) -> bool | None:
        """Whether the goals follow from the facts; None where the resources did not suffice."""
        self.questions += 1
        spoken = set[Node]().union(*[node.below for each in (*facts, *goals) for node in nodes_of(each)])
        nodes = sorted(spoken, key=lambda node: node.number)
        lines = [*map(_declaration, nodes), *[f"(assert {_text(fact)})" for fact in facts]]
        lines.append(f"(assert (not (and true {' '.join(map(_text, goals))})))")
        # To Z3 the limit is an option of the process: it is only there while this question is asked.
        limited = f"(set-option :rlimit {self.resources})(check-sat-using smt)(set-option :rlimit 0)"
        return {"unsat": True, "sat": False}.get(self._ask("(push)" + "\n".join(lines) + f"{limited}(pop)"))

    def _ask(self, script: str) -> str:
        import z3

        self._context = self._context or z3.Context()
        return str(z3.z3core.Z3_eval_smtlib2_string(self._context.ref(), script)).strip()
