"""How soon pages of the explorer open: ``python -m prevail_py.research.bench_explorer``.

Programs of some thousands of instructions are verified, and their pages written and opened in a headless Chromium, in
turns.  A page is open when its data are read, the list of instructions and the graph are drawn, and the browser has
painted: measured in the page, from the start of the navigation.  The median of some rounds; seconds of elapsed time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from prevail_py._render import Table
from prevail_py.objects.program import Program
from prevail_py.report.explorer import explorer
from prevail_py.research.browser import browser, lacking
from prevail_py.research.families import bounds_checks, calls, diamonds, loops_in_sequence, straight_line
from prevail_py.verifier import verify

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["Opening", "main", "measure"]

LIMIT: Final = 2.0
"""Seconds in which a page of a program of 5,000 instructions has to be open."""

_PAINTED: Final = """() => new Promise((done) =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"""


class Opening(NamedTuple):
    """One program: seconds to verify it, to make its page, and until that is open; bytes; a key press, in seconds."""

    program: Program
    verifying: float
    writing: float
    size: int
    opening: float
    key: float


def measure(program: Program, rounds: int, running: Browser) -> Opening:
    """Open the page of a program ``rounds`` times; the key is the one that goes to the next instruction."""
    start = time.perf_counter()
    verdict = verify(program)
    verified = time.perf_counter()
    page = explorer(f"{program.name}.o", [verdict])
    written = time.perf_counter()
    openings, keys = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        page.save(path)
        for _ in range(rounds):
            tab = running.new_page(viewport={"width": 1500, "height": 900})
            tab.goto(path.as_uri())
            openings.append(tab.evaluate(_PAINTED) / 1000)
            if not (tab.locator("#slot-0").count() and tab.locator("svg .block").count()):
                raise AssertionError(f"{program.name}: the page is not drawn")
            before = time.perf_counter()
            for _ in range(10):
                tab.keyboard.press("j")
            tab.evaluate(_PAINTED)
            keys.append((time.perf_counter() - before) / 10)
            tab.close()
    return Opening(program, verified - start, written - verified, len(page.html), median(openings), median(keys))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 1 where a page takes longer than the limit, 2 where there is no browser."""
    parser = argparse.ArgumentParser(prog="bench_explorer", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each page is opened (5)")
    parser.add_argument("--size", type=int, default=5000, metavar="N", help="instructions, roughly (5000)")
    arguments = parser.parse_args(argv)
    reason = lacking()
    if reason is not None:
        print(f"bench_explorer: {reason}", file=sys.stderr)
        return 2
    n = arguments.size
    programs = [straight_line(n), diamonds(n // 6), bounds_checks(n // 7), loops_in_sequence(n // 5), calls(n // 3)]
    with browser() as running:
        found = [measure(program, arguments.rounds, running) for program in programs]
    header = ("program", "instructions", "verify", "write", "kB", "open", "key")
    rows = tuple(
        (
            each.program.name,
            str(each.program.instruction_count),
            f"{each.verifying:.2f}",
            f"{each.writing:.2f}",
            str(each.size // 1000),
            f"{each.opening:.2f}",
            f"{each.key:.3f}",
        )
        for each in found
    )
    print(Table(header, rows, frozenset(range(1, 7))))
    late = [each.program.name for each in found if each.opening > LIMIT]
    print(f"\nopen within {LIMIT:g} s: {len(found) - len(late)} of {len(found)}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
