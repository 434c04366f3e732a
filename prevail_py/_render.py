"""Tables, pictures, pages and fragments of HTML: how results show themselves in a terminal and in a notebook.

Plain data in, text out; nothing here knows of eBPF, so that every layer may use it for its ``_repr_html_``.  The styles
are written into each element, since notebooks drop style sheets, and use no colours that vanish in a dark theme.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

__all__ = ["Page", "Svg", "Table", "badge", "details", "preformatted"]

_CELL = "padding:0.2em 0.8em;text-align:{align};vertical-align:top"
_BADGES = {
    "good": ("#1a7f37", "#ffffff"),
    "bad": ("#cf222e", "#ffffff"),
    "unsure": ("#9a6700", "#ffffff"),
    "neutral": ("#6e7781", "#ffffff"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of strings; ``right`` holds the indices of the columns that are aligned to the right.

    ``str()`` is the plain text, columns padded and two spaces apart, without trailing blanks.  Raises ValueError for a
    row of another length than the header.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row of {len(row)} cells under {len(self.header)} headers: {row}")

    def __str__(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column in self.right else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def compact(self) -> Table:
        """The same table without the columns in which every row is empty."""
        kept = [column for column in range(len(self.header)) if any(row[column] for row in self.rows)]
        return Table(
            tuple(self.header[column] for column in kept),
            tuple(tuple(row[column] for column in kept) for row in self.rows),
            frozenset(place for place, column in enumerate(kept) if column in self.right),
        )

    def _repr_html_(self) -> str:
        def row(tag: str, cells: tuple[str, ...]) -> str:
            styles = (_CELL.format(align="right" if column in self.right else "left") for column in range(len(cells)))
            return "".join(
                f'<{tag} style="{style}">{escape(cell)}</{tag}>' for style, cell in zip(styles, cells, strict=True)
            )

        body = "".join(f"<tr>{row('td', cells)}</tr>" for cells in self.rows)
        return f"<table><thead><tr>{row('th', self.header)}</tr></thead><tbody>{body}</tbody></table>"


def badge(text: str, mood: str) -> str:
    """A coloured label as HTML; ``mood`` is ``good``, ``bad``, ``unsure`` or ``neutral`` (KeyError otherwise)."""
    background, foreground = _BADGES[mood]
    style = f"background:{background};color:{foreground};border-radius:0.3em;padding:0.1em 0.5em;font-weight:600"
    return f'<span style="{style}">{escape(text)}</span>'


def preformatted(text: str) -> str:
    """``text`` as HTML that keeps its spaces and line breaks."""
    return f'<pre style="line-height:1.3">{escape(text)}</pre>'


def details(summary: str, body: str) -> str:
    """``body``, which is HTML, folded away under ``summary``, which is text."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


@dataclass(frozen=True, slots=True)
class Svg:
    """A picture of ``width`` times ``height`` pixels; ``body`` is SVG, ``title`` says in words what it shows."""

    width: int
    height: int
    body: str = field(repr=False)
    title: str = ""
    style: str = ""

    def __str__(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" style="{escape(self.style)};max-width:none">'
            f"<title>{escape(self.title)}</title>{self.body}</svg>"
        )

    def _repr_svg_(self) -> str:
        return str(self)

    def save(self, path: str | Path) -> None:
        """Write the picture to a file."""
        Path(path).write_text(str(self), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Page:
    """A whole HTML document that needs nothing but itself.

    A notebook shows it in a frame of ``height`` pixels, where its scripts and styles stay among themselves.
    """

    html: str = field(repr=False)
    title: str = ""
    height: int = 620

    def __str__(self) -> str:
        return self.html

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="{escape(self.title)}" sandbox="allow-scripts" loading="lazy" srcdoc="{escape(self.html)}" '
            f'style="width:100%;height:{self.height}px;border:1px solid #8c959f55;border-radius:8px"></iframe>'
        )

    def save(self, path: str | Path) -> None:
        """Write the document to a file."""
        Path(path).write_text(self.html, encoding="utf-8")
