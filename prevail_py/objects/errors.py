"""The one error of this package: input that is not a usable object file."""

from __future__ import annotations

from typing import Final

__all__ = ["ObjectError"]


class ObjectError(ValueError):
    """This input is not a usable object file: ``place`` says where, ``reason`` what is wrong.

    ``str()`` is one line: ``place: reason``.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place: Final = place
        self.reason: Final = reason

    def __str__(self) -> str:
        return " ".join(f"{self.place}: {self.reason}".split())
