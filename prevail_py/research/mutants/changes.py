"""The changes that are made to a function: small, wrong in meaning, and right in syntax.

Each is one place in the function's text and what stands there instead.  Texts, annotations, decorators, assertions and
exceptions raised are left alone; so are conditions that ask whether two names are one object, which are shortcuts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["KINDS", "Change", "changes"]

KINDS: Final = {
    "comparison": "a comparison made strict or lax, or turned round",
    "constant": "a number off by one, or 32 for 64 bits",
    "flag": "True for False",
    "arithmetic": "plus for minus, and for or, left for right",
    "boolean": "`and` for `or`, or a `not` lost",
    "condition": "a condition negated",
    "guard": "an early exit dropped",
    "drop": "a statement dropped",
    "skip": "a step skipped: `x.meet(y)` is `x`",
    "swap": "two arguments exchanged",
    "twin": "one name for its twin: `min` for `max`, `lo` for `hi`, signed for unsigned",
    "return": "`self`, True, False or None returned instead",
}
"""The kinds of changes, and what they are."""


class Change(NamedTuple):
    """The source between two places, each (line, column in bytes), becomes ``after``."""

    kind: str
    start: tuple[int, int]
    end: tuple[int, int]
    before: str
    after: str


_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip


def _both(pairs: dict[str, str]) -> dict[str, str]:
    return {**{after: before for before, after in pairs.items()}, **pairs}


_TWIN_FUNCTIONS: Final = _both({"min": "max", "all": "any"})
_TWIN_ATTRIBUTES: Final = _both({
    "lo": "hi", "left": "right", "_upper": "_lower", "join": "meet", "base": "offset", "packet_size": "packet_meta",
    "ULT": "SLT", "ULE": "SLE", "UGT": "SGT", "UGE": "SGE", "EQ": "NE",
    "ZEXT": "SEXT", "RSH": "ARSH", "ADD": "SUB", "AND": "OR", "UDIV": "SDIV", "UMOD": "SMOD",
    "JOIN": "WIDEN", "READ": "WRITE", "PACKET_END": "PACKET_META", "low_last": "last", "low_half": "half",
    "low_top": "top", "low": "full", "key_size": "value_size", "from_signed": "from_unsigned",
    "may_read": "may_write", "packet": "context",
})  # fmt: skip
_TWIN_NAMES: Final = _both({
    "lo": "hi", "left": "right", "umin": "smin", "umax": "smax", "mine": "theirs", "low": "high", "old": "new",
    "wide": "tight", "first": "second", "before": "after", "inward": "outward",
})  # fmt: skip
_SKIPPED: Final = frozenset({
    "meet", "narrow", "widen", "join", "refine", "assume", "forget", "define_between", "meet_bits", "restrict_bits",
    "copy", "_with_range", "_add", "_passed_on", "_reduce",
})  # fmt: skip
_MODULES: Final = frozenset({"bounds", "bits", "halves"})
"""Modules whose functions take as their first argument what would be ``self`` in a method."""

_TEXTS: Final = frozenset({"Violation", "_bad", "Unsupported", "AssertionError", "ValueError", "TypeError"})
_EXITS: Final = (ast.Return, ast.Continue, ast.Break)


def changes(function: ast.FunctionDef) -> Iterator[Change]:
    """Every change there is to a function, in the order of its text."""
    arguments = {argument.arg: _text(argument.annotation) for argument in _arguments(function)}
    yield from sorted(_Finder(arguments, function).found, key=lambda change: (change.start, change.end, change))


def _text(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(node)


def _arguments(function: ast.FunctionDef) -> Iterator[ast.arg]:
    for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
        if argument.annotation is not None:
            yield argument


class _Finder(ast.NodeVisitor):
    """Collects the changes below one function."""

    def __init__(self, arguments: dict[str, str], function: ast.FunctionDef) -> None:
        self.found: list[Change] = []
        self._arguments = arguments
        self._returns = None if function.returns is None else ast.unparse(function.returns)
        self._is_method = bool(function.args.args) and function.args.args[0].arg == "self"
        self._body(function.body)

    def _add(self, kind: str, node: ast.expr | ast.stmt | ast.pattern, after: str) -> None:
        before = ast.unparse(node)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        if before != after:
            start, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
            self.found.append(Change(kind, start, end, before, after))

    def _put(self, kind: str, node: ast.expr, after: ast.expr) -> None:
        self._add(kind, node, ast.unparse(ast.fix_missing_locations(after)))

    # Statements ---------------------------------------------------------------------------------------------------

    def _body(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                self.visit(statement)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self._returns
        self._returns = None if node.returns is None else ast.unparse(node.returns)
        self._body(node.body)
        self._returns = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        pass

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._add("drop", node, "pass")
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._add("drop", node, "pass")
        other = _OPERATORS.get(type(node.op))
        if other is not None:
            self._add("arithmetic", node, ast.unparse(ast.AugAssign(node.target, other(), node.value)))
        self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self._add("drop", node, "pass")
        self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if not _is_shortcut(node.test):
            self._put("condition", node.test, ast.UnaryOp(ast.Not(), node.test))
            leaves = isinstance(node.body[-1], _EXITS) and not node.orelse
            # Not an `elif`, which begins a line and cannot be `pass`: the caller sees the word in the text.
            if leaves and not _asks_for_nothing(node.test):
                self._add("guard", node, "pass")
            self.visit(node.test)
        self._body(node.body)
        self._body(node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        if not _is_shortcut(node.test):
            self._put("condition", node, ast.IfExp(node.test, node.orelse, node.body))
            self.visit(node.test)
        self.visit(node.body)
        self.visit(node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._body(node.body)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        text = ast.unparse(node.value)
        if self._returns == "bool":
            for value in ("True", "False"):
                self._add("return", node, f"return {value}")
        elif self._returns == "Self" and self._is_method:
            self._add("return", node, "return self")
        elif self._returns is not None and self._returns.endswith("| None") and text != "None":
            self._add("return", node, "return None")
        self.visit(node.value)

    # Expressions --------------------------------------------------------------------------------------------------

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.body)

    def visit_Compare(self, node: ast.Compare) -> None:
        for index, operator in enumerate(node.ops):
            operators = list(node.ops)
            operators[index] = _COMPARISONS[type(operator)]()
            self._put("comparison", node, ast.Compare(node.left, operators, node.comparators))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        if not any(map(_is_shortcut, node.values)):
            other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            self._put("boolean", node, ast.BoolOp(other, node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            if not _is_shortcut(node.operand):
                self._put("boolean", node, node.operand)
        elif not isinstance(node.operand, ast.Constant):
            self._put("arithmetic", node, node.operand)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        other = _OPERATORS.get(type(node.op))
        if other is not None and not isinstance(node.left, ast.Constant | ast.JoinedStr | ast.List):
            self._put("arithmetic", node, ast.BinOp(node.left, other(), node.right))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._add("flag", node, str(not value))
        elif isinstance(value, int):
            if value in (32, 64):
                self._add("constant", node, str(96 - value))
            self._add("constant", node, str(value + 1))
            if value > 0:
                self._add("constant", node, str(value - 1))

    def visit_Name(self, node: ast.Name) -> None:
        twin = _TWIN_NAMES.get(node.id)
        if twin is not None and isinstance(node.ctx, ast.Load):
            self._add("twin", node, twin)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        twin = _TWIN_ATTRIBUTES.get(node.attr)
        if twin is not None and isinstance(node.ctx, ast.Load):
            self._put("twin", node, ast.Attribute(node.value, twin, ast.Load()))
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        if isinstance(called, ast.Name) and called.id in _TEXTS:
            return
        if isinstance(called, ast.Name) and called.id in _TWIN_FUNCTIONS:
            other = ast.Call(ast.Name(_TWIN_FUNCTIONS[called.id], ast.Load()), node.args, node.keywords)
            self._put("twin", node, other)
        if isinstance(called, ast.Attribute) and called.attr == "_spend":
            return  # budgets
        if isinstance(called, ast.Attribute) and called.attr in _SKIPPED and node.args:
            of_module = isinstance(called.value, ast.Name) and called.value.id in _MODULES
            if not isinstance(called.value, ast.Constant):
                self._put("skip", node, node.args[0] if of_module else called.value)
        for first, (a, b) in enumerate(zip(node.args, node.args[1:], strict=False)):
            if self._alike(a, b):
                exchanged = [*node.args[:first], b, a, *node.args[first + 2 :]]
                self._put("swap", node, ast.Call(called, exchanged, node.keywords))
        if not isinstance(called, ast.Name):
            self.visit(called)
        # Whether `zip` is strict is a claim like an assertion, and what `getattr` gives otherwise a default.
        arguments = node.args[:2] if isinstance(called, ast.Name) and called.id == "getattr" else node.args
        for argument in (*arguments, *(keyword.value for keyword in node.keywords if keyword.arg != "strict")):
            self.visit(argument)

    def _alike(self, a: ast.expr, b: ast.expr) -> bool:
        """Whether two arguments are of one type, as far as their names tell."""
        if not (isinstance(a, ast.Name) and isinstance(b, ast.Name)):
            return False
        declared = self._arguments.get(a.id)
        return _TWIN_NAMES.get(a.id) == b.id or (declared is not None and declared == self._arguments.get(b.id))

    # Patterns -----------------------------------------------------------------------------------------------------

    def visit_MatchValue(self, node: ast.MatchValue) -> None:
        """What a case is for is not changed: most such changes make it unreachable, and nothing else."""


def _is_shortcut(test: ast.expr) -> bool:
    """Whether a condition asks whether two names are the same object, or equal: what follows holds anyway."""
    return any(
        isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.Is | ast.IsNot)
        and isinstance(node.left, ast.Name)
        and isinstance(node.comparators[0], ast.Name)
        for node in ast.walk(test)
    )


def _asks_for_nothing(test: ast.expr) -> bool:
    """Whether a condition asks if something is empty, or equal to another: to drop it costs time only."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return isinstance(test.operand, ast.Name | ast.Attribute)
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.Eq)
        and isinstance(test.left, ast.Name)
        and isinstance(test.comparators[0], ast.Name)
    )
