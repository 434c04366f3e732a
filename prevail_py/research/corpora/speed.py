"""How long verification takes beside the kernel's verifier: CPU time here, the kernel's own measurement there.

Only programs that the kernel accepts and that are analysed here to an end are compared; each is analysed anew in one
process (``corpus run --fresh``), and loading is counted on neither side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from prevail_py._render import Table
from prevail_py.research.corpora.columns import Row
from prevail_py.research.corpora.runs import Run
from prevail_py.research.corpora.tables import Section

__all__ = ["speed_sections"]

_BINS: Final = ((1, 16), (17, 64), (65, 256), (257, 1024), (1025, 4096), (4097, 1 << 20))
_EXPLOSION: Final = 5
"""The kernel explores this many times the length of a program where paths explode."""


def speed_sections(run: Run, also: Mapping[str, Run] | None = None) -> list[Section]:
    """Ratios by size, throughput, memory, and the programs that take longest.

    ``also`` holds runs with other options by what to call them; their throughput is given beside that of ``run``.
    """
    ended = _ended(run)
    parts = {"all that were analysed": ended, "of them accepted by the kernel": _accepted(ended)}
    for name, other in (also or {}).items():
        rows = _ended(other)
        parts |= {f"{name}: all": rows, f"{name}: accepted": _accepted(rows)}
    return [_ratios(_accepted(ended)), _throughput(parts), _slowest(ended)]


def _ended(run: Run) -> list[Row]:
    return [row for row in run.rows if row["seconds"] and row["verdict"] in ("SAFE", "UNSAFE", "UNKNOWN")]


def _accepted(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["kernel"] == "accept" and row["kernel_seconds"]]


def _ratios(rows: Sequence[Row]) -> Section:
    lines = []
    for name, part in [
        *((f"{lo} to {hi}" if hi < 1 << 20 else f"{lo} and more", _sized(rows, lo, hi)) for lo, hi in _BINS),
        ("all", rows),
        (f"kernel explores over {_EXPLOSION}x", [row for row in rows if _explodes(row)]),
    ]:
        if part:
            ours, kernel = sum(row["seconds"] for row in part), sum(row["kernel_seconds"] for row in part)
            ratio = median(row["seconds"] / row["kernel_seconds"] for row in part)
            lines.append(
                (
                    name,
                    str(len(part)),
                    f"{ratio:.1f}",
                    f"{ours / kernel:.1f}",
                    f"{1e3 * ours:.0f}",
                    f"{1e3 * kernel:.0f}",
                )
            )
    header = ("instructions", "programs", "median ratio", "ratio of sums", "ms here", "ms kernel")
    text = "CPU time of the verification here, divided by the time the kernel's verifier measured for itself."
    return Section("Beside the kernel", text, Table(header, tuple(lines), frozenset(range(1, len(header)))))


def _sized(rows: Sequence[Row], lo: int, hi: int) -> list[Row]:
    return [row for row in rows if lo <= row["instructions"] <= hi]


def _explodes(row: Row) -> bool:
    return bool((row["kernel_instructions"] or 0) > _EXPLOSION * row["instructions"])


def _throughput(parts: Mapping[str, Sequence[Row]]) -> Section:
    lines = []
    for name, part in parts.items():
        if part:
            seconds = sum(row["seconds"] for row in part)
            lines.append(
                (
                    name,
                    str(len(part)),
                    f"{sum(row['instructions'] for row in part) / seconds / 1e3:.1f}",
                    f"{median(row['instructions'] / row['seconds'] for row in part) / 1e3:.1f}",
                    f"{max(row['seconds'] for row in part):.2f}",
                    str(sum(row["seconds"] > 2 for row in part)),
                    f"{max(row['memory'] or 0 for row in part):.0f}",
                )
            )
    header = ("programs", "number", "instructions/ms", "median", "longest, s", "over 2 s", "peak memory, MiB")
    return Section("Throughput", "", Table(header, tuple(lines), frozenset(range(1, len(header)))))


def _slowest(rows: Sequence[Row]) -> Section:
    lines = tuple(
        (
            f"{row['object']}/{row['program']}",
            row["verdict"],
            str(row["instructions"]),
            str(row["disjuncts"]),
            str(row["steps"]),
            f"{row['seconds']:.2f}",
            "" if row["kernel_seconds"] is None else f"{row['kernel_seconds']:.3f}",
        )
        for row in sorted(rows, key=lambda row: -row["seconds"])[:20]
    )
    header = ("program", "verdict", "instructions", "disjuncts", "steps", "s here", "s kernel")
    return Section("The twenty that take longest", "", Table(header, lines, frozenset(range(2, len(header)))))
