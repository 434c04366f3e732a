"""Speed tables hold the figures that rows hold."""

from __future__ import annotations

from collections.abc import Callable

from prevail_py.research.corpora.columns import Row
from prevail_py.research.corpora.runs import Run
from prevail_py.research.corpora.speed import speed_sections


def test_ratios_by_size(make_row: Callable[..., Row], make_run: Callable[[list[Row]], Run]) -> None:
    def measured(instructions: int, seconds: float, theirs: float, explored: int = 1, **columns: str) -> Row:
        known = {"instructions": instructions, "seconds": seconds, "kernel_seconds": theirs, "kernel": "accept"}
        rest = {"kernel_instructions": explored, "memory": 30.0, "disjuncts": 1, "steps": 2}
        return make_row(**{**known, **rest, **columns})

    run = make_run(
        [
            measured(10, 0.010, 0.001),
            measured(12, 0.030, 0.001),
            measured(14, 0.020, 0.001),
            measured(100, 4.0, 8.0, explored=501),
            measured(20, 1.0, 0.001, verdict="UNSUPPORTED"),
            measured(20, 1.0, 0.001, kernel="reject", verdict="UNSAFE"),
        ]
    )
    ratios, throughput, slowest = speed_sections(run, {"half": make_run(run.rows[:1])})
    assert ratios.table is not None
    rows = {row[0]: row[1:4] for row in ratios.table.rows}
    assert rows == {
        "1 to 16": ("3", "20.0", "20.0"),
        "65 to 256": ("1", "0.5", "0.5"),
        "all": ("4", "15.0", "0.5"),
        "kernel explores over 5x": ("1", "0.5", "0.5"),
    }
    assert throughput.table is not None
    assert [row[:2] + row[5:6] for row in throughput.table.rows] == [
        ("all that were analysed", "5", "1"),
        ("of them accepted by the kernel", "4", "1"),
        ("half: all", "1", "0"),
        ("half: accepted", "1", "0"),
    ]
    assert slowest.table is not None
    assert slowest.table.rows[0][5] == "4.00"
