"""Pictures of an experiment, by matplotlib: each function returns a :class:`Picture`, which shows itself in a notebook.

No state is shared with ``pyplot``, and no display is needed.  The colours (Okabe and Ito's) can be told apart by people
with any kind of colour vision; each series has a marker or dash of its own, too.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from prevail_py.research.corpora.cache import CorpusError
from prevail_py.research.experiment.tables import compare, summary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Picture", "cactus", "precision_and_time", "versus"]

_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: Final = ("-", "--", "-.", ":")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_VERDICT_COLOURS: Final = {"SAFE": "#009E73", "UNSAFE": "#D55E00", "UNKNOWN": "#E69F00"}
_LEAST_SECONDS: Final = 1e-4
"""Times below are drawn here: the clock's own resolution matters there."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of matplotlib (``figure``), as PNG in notebooks and in files."""

    figure: Any

    def png(self, dots_per_inch: int = 100) -> bytes:
        """The picture; the same figure gives the same bytes."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
        return buffer.getvalue()

    def save(self, path: str | os.PathLike[str], dots_per_inch: int = 100) -> None:
        """Write a file, of the kind that its name ends with: png, svg or pdf."""
        kind = os.fspath(path).rpartition(".")[2]
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
        self.figure.savefig(path, dpi=dots_per_inch, metadata=dates.get(kind))

    def _repr_png_(self) -> bytes:
        return self.png()


def cactus(rows: pd.DataFrame, measure: str = "seconds", title: str = "") -> Picture:
    """How many programs each setting proves SAFE, if each may take so much: the lower and the further right the better.

    A curve for each setting: its SAFE programs by ascending ``measure`` (``seconds``, ``memory`` or ``steps``).
    """
    units = {"seconds": "CPU seconds per program", "memory": "MiB per program", "steps": "abstract steps per program"}
    if measure not in units:
        raise ValueError(f"no such measure: {measure!r} (there are: {', '.join(units)})")
    figure, axes = _axes(title)
    styles = _styles()
    for name, group in _settings(rows):
        proved = sorted(float(value) for value in group[group.verdict == "SAFE"][measure].dropna())
        if measure == "seconds":
            proved = [max(value, _LEAST_SECONDS) for value in proved]
        colour, dash, _ = next(styles)
        axes.step(
            range(1, len(proved) + 1),
            proved,
            where="post",
            color=colour,
            linestyle=dash,
            label=f"{name}: {len(proved)}",
        )
    axes.set_yscale("log")
    axes.set_xlabel("programs proved SAFE")
    axes.set_ylabel(units[measure])
    axes.legend(frameon=False, fontsize="small")
    return Picture(figure)


def precision_and_time(rows: pd.DataFrame, title: str = "") -> Picture:
    """A point for each setting: total CPU time, and the share of programs that it proves SAFE.

    A line joins the settings that no other one beats in both.
    """
    figure, axes = _axes(title)
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    table = summary(rows)
    only = table.index.get_level_values("options").nunique() == 1
    points = [
        (domain if only else f"{domain}, {options}", line.seconds, 100 * line.SAFE / line.programs)
        for (domain, options), line in table.iterrows()
    ]
    best = [
        point
        for point in sorted(points, key=lambda point: (point[1], -point[2]))
        if not any(other[1] <= point[1] and other[2] >= point[2] and other[1:] != point[1:] for other in points)
    ]
    axes.plot([point[1] for point in best], [point[2] for point in best], color="#999999", linewidth=1, zorder=1)
    styles = _styles()
    for name, seconds, share in points:
        colour, _, marker = next(styles)
        axes.scatter([seconds], [share], color=colour, marker=marker, zorder=2, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.15)
    axes.set_xlabel("CPU seconds in all")
    axes.set_ylabel("programs proved SAFE, %")
    axes.legend(frameon=False, fontsize="small")
    return Picture(figure)


def versus(before: pd.DataFrame, after: pd.DataFrame, names: tuple[str, str] = ("before", "after")) -> Picture:
    """CPU time of each program in two runs or settings; a cross where the verdicts differ, in the colour of the second.

    Below the diagonal the second is faster.  Raises what :func:`~prevail_py.research.experiment.tables.compare` raises.
    """
    programs = compare(before, after).programs
    programs = programs[programs.seconds_before.notna() & programs.seconds_after.notna()]
    figure, axes = _axes("")
    same = programs.before == programs.after
    for verdict in dict.fromkeys(programs.after):
        for changed in (False, True):
            some = programs[(programs.after == verdict) & (same != changed)]
            if len(some):
                label = f"{verdict}, was not: {len(some)}" if changed else f"{verdict}: {len(some)}"
                axes.scatter(
                    [max(float(value), _LEAST_SECONDS) for value in some.seconds_before],
                    [max(float(value), _LEAST_SECONDS) for value in some.seconds_after],
                    s=36 if changed else 12,
                    marker="x" if changed else "o",
                    color=_VERDICT_COLOURS.get(str(verdict), "#666666"),
                    label=label,
                )
    limits = [*programs.seconds_before, *programs.seconds_after, _LEAST_SECONDS]
    low, high = max(float(min(limits)), _LEAST_SECONDS) / 1.5, float(max(limits)) * 1.5
    axes.plot([low, high], [low, high], color="#999999", linewidth=1, zorder=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel(f"{names[0]}: CPU seconds")
    axes.set_ylabel(f"{names[1]}: CPU seconds")
    axes.legend(frameon=False, fontsize="small")
    return Picture(figure)


def _axes(title: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CorpusError("matplotlib: not installed (pip install 'prevail-py[research]')") from None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, fontsize="medium")
    return figure, axes


def _styles() -> Any:
    return zip(cycle(_COLOURS), cycle(_DASHES), cycle(_MARKERS), strict=False)


def _settings(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The settings by a name that leaves out what they all share."""
    only = rows.options.nunique() == 1
    return [
        (domain if only else f"{domain}, {options}", group)
        for (domain, options), group in rows.groupby(["domain", "options"], sort=False)
    ]
