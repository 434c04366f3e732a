"""Docstrings as the site shows them: Sphinx's roles, double back-ticks, examples and literal blocks become code."""

from __future__ import annotations

import re
from typing import Any

import griffe


def plain(text: str) -> str:
    """``:class:`~a.b.C``` becomes ```C```, ``:func:`a.b.f``` becomes ```a.b.f```."""
    text = re.sub(r":[a-z]+:`~(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r":[a-z]+:`([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    paragraphs = re.split(r"\n{2,}", text)
    return "\n\n".join(f"```pycon\n{each}\n```" if each.startswith(">>> ") else each for each in paragraphs)


class Roles(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)
