"""Make the table and the figure of the museum from its findings: ``python papers/museum/reproduce.py findings.json``.

``findings.json`` is what ``prevail-py museum run --json`` prints (``make museum``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from prevail_py.research.corpora.tables import markdown_table
from prevail_py.research.museum import EXHIBITS
from prevail_py.research.museum.oracles import ORACLES
from prevail_py.research.museum.tour import Finding, survivors, table
from prevail_py.research.oracle_report import commit_text

HERE: Final = Path(__file__).parent
_ROW, _COLUMN, _LEFT, _TOP = 15, 74, 210, 46
_SHADES: Final = ((0.1, "#0b5d1e"), (1.0, "#2e8b57"), (10.0, "#8fce9f"), (float("inf"), "#c9ecd1"))
"""Up to so many CPU seconds."""
_EDGE: Final = 'stroke="#0b5d1e" stroke-width="0.4"'


def read(path: Path) -> tuple[list[Finding], dict[str, str]]:
    """The findings, and the oracles that were not asked with the reasons.  Raises ValueError for another document."""
    document = json.loads(path.read_text())
    if document.get("schema") != 1 or "findings" not in document:
        raise ValueError(f"{path}: not the findings of a museum (schema 1)")
    return [Finding(**row) for row in document["findings"]], document["not_asked"]


def markdown(findings: Sequence[Finding], unasked: dict[str, str], command: str) -> str:
    """The document: counts by oracle, survivors, a row for each exhibit, and whose mistakes they are."""
    names = [name for name in ORACLES if any(finding.oracle == name for finding in findings)]
    alive = survivors(findings)
    shown = len({finding.exhibit for finding in findings})
    lines = [
        "# Who catches which bug",
        "",
        f"Made by `{command}` at {commit_text()}. Times are CPU seconds of one process; `-` is an oracle that found",
        "nothing in its time, an empty cell one that was not asked, mostly because it could not see the fault.",
        "",
        f"{shown - len(alive)} of {shown} exhibits are caught by at least one oracle.",
        *(f"Not asked: {name} ({reason})." for name, reason in unasked.items()),
        *(f"Survivor: {name}." for name in alive),
        "",
        "| oracle | asked about | caught | median CPU seconds to find |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in names:
        mine = [finding for finding in findings if finding.oracle == name]
        times = sorted(finding.seconds for finding in mine if finding.is_caught)
        median = f"{times[len(times) // 2]:.2f}" if times else ""
        lines.append(f"| {name} | {len(mine)} | {len(times)} | {median} |")
    lines += ["", *markdown_table(table(findings, names)), "", "| exhibit | mistake | whose |", "| --- | --- | --- |"]
    for name in dict.fromkeys(finding.exhibit for finding in findings):
        exhibit = EXHIBITS[name]
        lines.append(f"| {name} | {exhibit.summary} | {exhibit.source.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def figure(findings: Sequence[Finding]) -> str:
    """A picture of the table: a row for each exhibit, darker where an oracle is faster, a ring where it found none."""
    names = [name for name in ORACLES if any(finding.oracle == name for finding in findings)]
    exhibits = list(dict.fromkeys(finding.exhibit for finding in findings))
    at = {(finding.exhibit, finding.oracle): finding for finding in findings}
    width, height = _LEFT + _COLUMN * len(names) + 10, _TOP + _ROW * len(exhibits) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for column, name in enumerate(names):
        x = _LEFT + _COLUMN * column + _COLUMN // 2
        parts.append(f'<text x="{x}" y="{_TOP - 12}" text-anchor="middle" font-weight="bold">{escape(name)}</text>')
    for row, name in enumerate(exhibits):
        y = _TOP + _ROW * row
        if row % 2 == 0:
            parts.append(f'<rect x="0" y="{y}" width="{width}" height="{_ROW}" fill="#f4f4f4"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        for column, oracle in enumerate(names):
            finding = at.get((name, oracle))
            if finding is None:
                continue
            x = _LEFT + _COLUMN * column + _COLUMN // 2
            if finding.is_caught:
                fill = next(shade for limit, shade in _SHADES if finding.seconds <= limit)
                parts.append(
                    f'<circle cx="{x}" cy="{y + 7}" r="5" fill="{fill}" {_EDGE}>'
                    f"<title>{finding.seconds:.2f} s</title></circle>"
                )
            else:
                parts.append(f'<circle cx="{x}" cy="{y + 7}" r="4" fill="none" stroke="#b35900"/>')
    x, y = _LEFT, _TOP + _ROW * len(exhibits) + 20
    for (_, fill), text in zip(_SHADES, ("up to 0.1 s", "1 s", "10 s", "longer"), strict=True):
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="5" fill="{fill}" {_EDGE}/><text x="{x + 9}" y="{y + 4}">{text}</text>'
        )
        x += 18 + 6 * len(text)
    parts.append(
        f'<circle cx="{x}" cy="{y}" r="4" fill="none" stroke="#b35900"/>'
        f'<text x="{x + 9}" y="{y + 4}">found nothing</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("findings", type=Path, nargs="+", help="one file or several, of the same exhibits")
    parser.add_argument("--out", type=Path, default=HERE, help="where table.md and figure.svg go (beside this file)")
    parser.add_argument("--command", default="make museum", help="how the findings were made")
    arguments = parser.parse_args(argv)
    findings: list[Finding] = []
    unasked: dict[str, str] = {}
    for path in arguments.findings:
        try:
            more, reasons = read(path)
        except (OSError, ValueError, TypeError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        findings += more
        unasked |= reasons
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "table.md").write_text(markdown(findings, unasked, arguments.command))
    (arguments.out / "figure.svg").write_text(figure(findings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
