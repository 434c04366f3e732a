"""The choice of mutants, by a fixed seed, in the shares of their classes.

A mutant has a name that says where it is and what it does, and no line number, so that it outlives changes elsewhere.
The order in which mutants are drawn is that of a keyed hash of these names: when the code changes, mutants of what did
not change are still drawn.  Within a class the kinds of changes take turns, no place is changed twice, and no function
has more than :data:`MOST_PER_FUNCTION`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Final

from prevail_py.research.mutants.changes import Change, changes
from prevail_py.research.mutants.places import PACKAGE, PACKAGES, functions, shares

__all__ = ["MOST_PER_FUNCTION", "SEED", "Mutant", "candidates", "draw", "mutated", "of_module", "source"]

SEED: Final = 4
MOST_PER_FUNCTION: Final = 4


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to one function; ``number`` tells changes apart that read alike."""

    module: str
    function: str
    area: str
    change: Change
    number: int

    @property
    def name(self) -> str:
        """Stable while the place itself stays: ``verifier.merge:subsumes guard#0 'a' -> 'b'``."""
        before, after = (_short(text) for text in (self.change.before, self.change.after))
        return f"{self.module}:{self.function} {self.change.kind}#{self.number} {before!r} -> {after!r}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= 110:
        return line
    return f"{line[:60]} ... {line[-40:]} ({blake2b(line.encode(), digest_size=3).hexdigest()})"


def mutated(text: str, change: Change) -> str:
    """A module's text with one change.  Raises SyntaxError where it cannot be made."""
    lines = text.encode().splitlines(keepends=True)
    (first, left), (last, right) = change.start, change.end
    head, tail = lines[first - 1][:left], lines[last - 1][right:]
    statement = change.kind in ("drop", "guard", "return") or change.after.startswith(("pass", "return "))
    # Parentheses keep an expression one, whatever stands around it; the lines below stay where they are.
    inside = (
        change.after if statement or (change.kind == "arithmetic" and "= " in change.after) else f"({change.after})"
    )
    middle = (inside + "\n" * (last - first)).encode() if statement else inside.encode()
    result = b"".join([*lines[: first - 1], head + middle + tail, *lines[last:]]).decode()
    compile(result, "<mutant>", "exec", dont_inherit=True)
    return result


@cache
def candidates() -> tuple[Mutant, ...]:
    """Every mutant there is, module by module, in the order of the text; a few of them are no Python."""
    found: list[Mutant] = []
    for package in PACKAGES:
        for path in sorted((PACKAGE / package).glob("*.py")):
            module = f"{package}.{path.stem}"
            found += of_module(module, source(module))
    return tuple(found)


def of_module(module: str, text: str) -> Iterator[Mutant]:
    """The mutants of a module ``prevail_py.{module}`` with this text."""
    for function in functions(module, text):
        seen: Counter[tuple[str, str, str]] = Counter()
        for change in changes(function.tree):
            if module == _SHORTCUTS and change.after == "return False":
                continue
            key = change.kind, change.before, change.after
            number = seen[key]
            seen[key] += 1
            yield Mutant(module, function.name, function.kind, change, number)


_SHORTCUTS: Final = "verifier.obvious"
"""Functions there return False to leave an instruction to the general code, which does the same."""


def draw(count: int = 200, seed: int = SEED) -> list[Mutant]:
    """``count`` mutants, class by class, in the shares of ``classes.toml``."""
    share = shares()
    total = sum(share.values())
    drawn: list[Mutant] = []
    for area, part in share.items():
        wanted = round(count * part / total)
        drawn += _draw([mutant for mutant in candidates() if mutant.area == area], wanted, seed)
    return drawn


def _draw(mutants: Iterable[Mutant], wanted: int, seed: int) -> list[Mutant]:
    queues: dict[str, list[Mutant]] = {}
    for mutant in sorted(mutants, key=lambda mutant: _rank(mutant, seed)):
        queues.setdefault(mutant.change.kind, []).append(mutant)
    drawn: list[Mutant] = []
    places: set[tuple[str, tuple[int, int], tuple[int, int]]] = set()
    functions_of: Counter[tuple[str, str]] = Counter()
    while len(drawn) < wanted and any(queues.values()):
        for kind in sorted(queues):
            queue = queues[kind]
            while queue and len(drawn) < wanted:
                mutant = queue.pop(0)
                place = mutant.module, mutant.change.start, mutant.change.end
                function = mutant.module, mutant.function
                if place in places or functions_of[function] == MOST_PER_FUNCTION or not _compiles(mutant):
                    continue
                places.add(place)
                functions_of[function] += 1
                drawn.append(mutant)
                break
    return drawn


def _compiles(mutant: Mutant) -> bool:
    """Whether the mutant is Python: an ``elif`` cannot be dropped, for one."""
    try:
        mutated(source(mutant.module), mutant.change)
    except SyntaxError:
        return False
    return True


@cache
def source(module: str) -> str:
    """The text of the module ``prevail_py.{module}``."""
    return (PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def _rank(mutant: Mutant, seed: int) -> bytes:
    return blake2b(mutant.name.encode(), key=str(seed).encode(), digest_size=8).digest()
