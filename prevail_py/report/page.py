"""Pages that need nothing but themselves: template, styles, scripts and data in one HTML file.

Names in an object file are whatever their author likes.  They reach a page as JSON in which no character means anything
to HTML, and its scripts put them into the document as text only.  A content security policy forbids the page to load
anything, and to run any script but its own, whatever it is made to contain.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any, Final

from prevail_py._render import Page

__all__ = ["assemble", "embedded"]

_ESCAPES: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def embedded(data: Any) -> str:
    """``data`` as JSON that may stand in a script element: ASCII without ``<``, ``>`` and ``&``."""
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def assemble(name: str, title: str, data: Any, height: int = 620) -> Page:
    """The page ``name`` of the package's assets about ``data``; ``height`` is that of its frame in a notebook."""
    assets = files("prevail_py.report") / "assets"

    def asset(file: str) -> str:
        return (assets / file).read_text(encoding="utf-8")

    script = asset("common.js") + asset(f"{name}.js")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    plain = title.encode("utf-8", "backslashreplace").decode()
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(plain)}</title>\n<style>\n{asset('common.css')}{asset(f'{name}.css')}</style>\n</head>\n<body>\n"
        f"{asset(f'{name}.html')}"
        f'<script type="application/json" id="data">{embedded(data)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )
    return Page(html, plain, height)
