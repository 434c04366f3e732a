"""States as compact data: every line of text once, every state as what differs from the one before.

A state of a program of thousands of instructions has some twenty lines, of which an instruction changes one.
"""

from __future__ import annotations

from typing import Final

__all__ = ["States", "Strings"]

_CHAIN: Final = 64
"""States behind one another that are stored by difference; then one is stored whole."""


class Strings:
    """Texts by number, each once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text."""
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return found


class States:
    """States by number, each once: ``coded[n]`` is (number of another or -1, lines kept at its start, and at its end,
    the lines between them, by their numbers)."""

    def __init__(self, strings: Strings) -> None:
        self.coded: list[tuple[int, int, int, list[int]]] = []
        self._strings = strings
        self._numbers: dict[tuple[int, ...], int] = {}
        self._lines: list[tuple[int, ...]] = []
        self._depth: list[int] = []

    def number(self, lines: list[str], like: int = -1) -> int:
        """The number of the state with these lines, which may be stored as the difference from the state ``like``."""
        now = tuple(map(self._strings.number, lines))
        found = self._numbers.get(now)
        if found is not None:
            return found
        number = self._numbers[now] = len(self.coded)
        self._lines.append(now)
        if like < 0 or self._depth[like] >= _CHAIN:
            self.coded.append((-1, 0, 0, list(now)))
            self._depth.append(0)
            return number
        old = self._lines[like]
        start = 0
        while start < min(len(old), len(now)) and old[start] == now[start]:
            start += 1
        end = 0
        while end < min(len(old), len(now)) - start and old[-1 - end] == now[-1 - end]:
            end += 1
        self.coded.append((like, start, end, list(now[start : len(now) - end])))
        self._depth.append(self._depth[like] + 1)
        return number

    def lines(self, number: int) -> list[str]:
        """The lines of a state, decoded as the page does it."""
        like, start, end, middle = self.coded[number]
        texts = [self._strings.texts[line] for line in middle]
        if like < 0:
            return texts
        old = self.lines(like)
        return [*old[:start], *texts, *old[len(old) - end :]]
