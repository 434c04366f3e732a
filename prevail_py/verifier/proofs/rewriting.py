"""Compile a function so that its conditional expressions merge: ``a if c else b`` on a symbolic ``c`` is one term.

Python cannot be told what the truth of a symbolic condition is but by forking, so each ``x if x >= y else y`` doubles
the paths of what follows.  :func:`rewritten` compiles the *source of the shipped function* again, with three kinds of
expression replaced by calls that do the same on ints: conditional expressions, ``and`` / ``or`` / ``not`` / chained
comparisons where only their truth matters, and ``==`` and ``in`` of tuples.  Statements are untouched.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, Final

import z3

from prevail_py.verifier.proofs.exploring import current, joined, merging
from prevail_py.verifier.proofs.integers import Bool, Int, condition

__all__ = ["HOOKS", "rewritten"]


def _ite(test: Any, yes: Callable[[], Any], no: Callable[[], Any], plain: bool) -> Any:
    """``yes() if test else no()``; ``plain`` where both are free of calls and divisions.

    Only ints become one term.  A tuple is what it is: the code may ask later whether it is one that it was given.
    """
    test = _truth(test)
    if not isinstance(test, Bool):
        return yes() if test else no()
    if plain:
        a, b = yes(), no()
        explorer = current()
        if explorer is not None and isinstance(a, int | Int) and isinstance(b, int | Int):
            return joined(explorer.encoding, [(test.term, a), (z3.BoolVal(True), b)])
    return yes() if test else no()


def _greatest(*values: Any) -> Any:
    """``max``: of two ints, one term."""
    if len(values) == 2 and any(isinstance(value, Int) for value in values):
        a, b = values
        return _ite(a >= b, lambda: a, lambda: b, True)
    return max(*values)


def _least(*values: Any) -> Any:
    """``min``: of two ints, one term."""
    if len(values) == 2 and any(isinstance(value, Int) for value in values):
        a, b = values
        return _ite(a <= b, lambda: a, lambda: b, True)
    return min(*values)


def _and(first: Any, rest: Callable[[], Any]) -> Any:
    first = _truth(first)
    if not isinstance(first, Bool):
        return _truth(rest()) if first else False
    return merging(lambda _: bool(rest()) if first else False)(first)


def _or(first: Any, rest: Callable[[], Any]) -> Any:
    first = _truth(first)
    if not isinstance(first, Bool):
        return True if first else _truth(rest())
    return merging(lambda _: True if first else bool(rest()))(first)


def _not(value: Any) -> Any:
    value = _truth(value)
    return ~value if isinstance(value, Bool) else not value


def _equal(a: Any, b: Any) -> Any:
    """``a == b``: of tuples, one condition."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) and a is not b:
        found = [_equal(x, y) for x, y in zip(a, b, strict=True)]
        if any(one is False for one in found):
            return False
        open_ = [condition(one) for one in found if one is not True]
        return Bool(z3.And(*open_)) if open_ else True
    return a == b


def _among(a: Any, values: Any) -> Any:
    """``a in values``: of a tuple, one condition."""
    if not isinstance(a, Int) or not isinstance(values, tuple):
        return a in values
    open_ = [condition(one) for one in (a == value for value in values) if one is not False]
    return Bool(z3.Or(*open_)) if open_ else False


def _truth(value: Any) -> Any:
    return value != 0 if isinstance(value, Int) else value


HOOKS: Final[dict[str, Any]] = {
    "__ite__": _ite,
    "__and_then__": _and,
    "__or_else__": _or,
    "__not__": _not,
    "__equal__": _equal,
    "__among__": _among,
    "__greatest__": _greatest,
    "__least__": _least,
}
"""The names that rewritten functions need among their globals."""


class _Rewriter(ast.NodeTransformer):
    """Replaces the expressions; ``_test`` goes on where only the truth of an expression matters."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id="max" | "min" as name), args=[first, second], keywords=[]) if not (
                isinstance(first, ast.Starred) or isinstance(second, ast.Starred)
            ):
                return _call("__greatest__" if name == "max" else "__least__", first, second)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        plain = not any(
            (isinstance(part, ast.Call) and not (isinstance(part.func, ast.Name) and part.func.id in ("max", "min")))
            or isinstance(part, ast.IfExp | ast.FloorDiv | ast.Mod | ast.LShift | ast.RShift)
            for branch in (node.body, node.orelse)
            for part in ast.walk(branch)
        )
        test, yes, no = self._test(node.test), self.visit(node.body), self.visit(node.orelse)
        return _call("__ite__", test, _later(yes), _later(no), ast.Constant(plain))

    def visit_If(self, node: ast.If) -> ast.If:
        return ast.If(self._test(node.test), self._block(node.body), self._block(node.orelse))

    def visit_While(self, node: ast.While) -> ast.While:
        return ast.While(self._test(node.test), self._block(node.body), self._block(node.orelse))

    def _block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        return [self.visit(statement) for statement in statements]

    def _test(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.BoolOp(op=ast.And(), values=[*firsts, last]):
                return self._chain("__and_then__", firsts, last)
            case ast.BoolOp(op=ast.Or(), values=[*firsts, last]):
                return self._chain("__or_else__", firsts, last)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _call("__not__", self._test(operand))
            case ast.Compare(left=left, ops=[first, second], comparators=[middle, right]) if isinstance(
                middle, ast.Name | ast.Constant
            ):
                return self._chain(
                    "__and_then__", [ast.Compare(left, [first], [middle])], ast.Compare(middle, [second], [right])
                )
            case ast.Compare(left=left, ops=[ast.In()], comparators=[right]):
                return _call("__among__", self.visit(left), self.visit(right))
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                return _call("__equal__", self.visit(left), self.visit(right))
            case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[right]):
                return _call("__not__", _call("__equal__", self.visit(left), self.visit(right)))
        visited: ast.expr = self.visit(node)
        return visited

    def _chain(self, name: str, firsts: list[ast.expr], last: ast.expr) -> ast.expr:
        result = self._test(last)
        for first in reversed(firsts):
            result = _call(name, self._test(first), _later(result))
        return result


def _call(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def _later(body: ast.expr) -> ast.Lambda:
    none = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Lambda(none, body)


@cache
def rewritten(function: FunctionType) -> FunctionType:
    """``function`` compiled anew; its globals must have :data:`HOOKS` whenever it runs.

    Raises OSError where its source is not to be found.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    definition.returns = None
    for argument in definition.args.args:
        argument.annotation = None
    definition.body = [_Rewriter().visit(statement) for statement in definition.body]
    ast.fix_missing_locations(tree)
    names: dict[str, Any] = {}
    exec(compile(tree, function.__code__.co_filename, "exec"), names)
    made = names[function.__name__]
    return FunctionType(made.__code__, function.__globals__, function.__name__, function.__defaults__)
