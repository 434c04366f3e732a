"""Which functions of the package are mutated, and which class of mutants each belongs to.

The table is ``classes.toml``: patterns over ``module:qualified name``, the first class that matches has the function.
Functions are those at the top of a module and the methods of its classes; what is nested in them belongs to them.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Final

import prevail_py

__all__ = ["EXCLUDED", "PACKAGE", "PACKAGES", "Function", "class_of", "functions", "shares"]

PACKAGE: Final = Path(prevail_py.__file__).parent
"""The folder of the package whose modules are mutated."""

PACKAGES: Final = ("domains", "verifier")
"""The sub-packages that are looked at; of each the modules at its top."""

EXCLUDED: Final = "excluded"


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the module ``prevail_py.{module}``, its class of mutants and its syntax tree."""

    module: str
    name: str
    kind: str
    tree: ast.FunctionDef


@cache
def _table() -> dict[str, tuple[int, tuple[str, ...]]]:
    with (Path(__file__).parent / "classes.toml").open("rb") as file:
        rows = tomllib.load(file)
    return {name: (int(row.get("share", 0)), tuple(row["functions"])) for name, row in rows.items()}


def shares() -> dict[str, int]:
    """How many of 200 mutants each class has."""
    return {name: share for name, (share, _) in _table().items() if name != EXCLUDED}


def class_of(module: str, name: str) -> str:
    """The class of mutants that a function belongs to; :data:`EXCLUDED` for those that are not mutated."""
    for kind, (_, patterns) in _table().items():
        if any(fnmatchcase(f"{module}:{name}", pattern) for pattern in patterns):
            return kind
    return EXCLUDED


def functions(module: str, text: str) -> Iterator[Function]:
    """The functions of a module with this text that are to be mutated."""
    for name, tree in _functions(ast.parse(text).body, ""):
        kind = class_of(module, name)
        if kind != EXCLUDED:
            yield Function(module, name, kind, tree)


def _functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _functions(statement.body, f"{prefix}{statement.name}.")
        elif isinstance(statement, ast.FunctionDef):
            yield prefix + statement.name, statement
