"""What a campaign came to: for people, as Markdown, and as a JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from prevail_py.isa.disassembler import listing
from prevail_py.research.fuzz.campaign import Report
from prevail_py.research.fuzz.case import from_document

__all__ = ["SCHEMA", "document_of", "markdown_of", "summary_of", "text_of"]

SCHEMA: Final = 1


def summary_of(report: Report) -> str:
    """One line."""
    safe = report.verdicts["SAFE"] / max(report.programs, 1)
    return (
        f"{report.programs} programs in {report.seconds:.0f} s ({report.programs / max(report.seconds, 1e-9):.0f} a "
        f"second), {safe:.0%} SAFE; {report.branches} branches, {report.kept} programs kept; "
        f"{len(report.faults)} faults, {len(report.doubts)} doubts"
    )


def text_of(report: Report) -> str:
    """All of it, as plain text: the line, what each oracle said, each finding with its program."""
    lines = [summary_of(report), ""]
    verdicts = ", ".join(f"{count} {name}" for name, count in sorted(report.verdicts.items()))
    lines += [f"verdicts: {verdicts}", *(f"{name}: {count}" for name, count in sorted(report.answers.items()))]
    for finding in report.findings:
        lines += [
            "",
            f"{'DOUBT' if finding.problem.is_doubt else 'FAULT'} {finding.signature}",
            f"  {finding.problem.message}",
            f"  first at program {finding.programs}, after {finding.seconds:.0f} s; {finding.count} programs show it; "
            f"the smallest, of type {finding.smallest['program_type']}:",
            *(f"    {line}" for line in listing(from_document(finding.smallest).code).splitlines()),
        ]
    return "\n".join(lines)


def markdown_of(report: Report, title: str, about: str) -> str:
    """The measurement as a document: ``about`` says how it was taken."""
    rows = [("verdict", name, count) for name, count in sorted(report.verdicts.items())]
    rows += [(*name.split(": ", 1), count) for name, count in sorted(report.answers.items())]  # type: ignore[misc]
    lines = [
        f"# {title}",
        "",
        about,
        "",
        f"**{summary_of(report)}.**",
        "",
        "| of | what | count |",
        "| --- | --- | ---: |",
    ]
    lines += [f"| {of} | {what} | {count} |" for of, what, count in rows]
    if report.findings:
        lines += [
            "",
            "## Findings",
            "",
            "| signature | programs | first at program | after |",
            "| --- | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {found.signature.replace('|', '/')} | {found.count} | {found.programs} | {found.seconds:.0f} s |"
            for found in report.findings
        ]
    return "\n".join(lines) + "\n"


def document_of(report: Report) -> dict[str, Any]:
    """The report for JSON, schema 1."""
    return {
        "schema": SCHEMA,
        "settings": asdict(report.settings),
        "programs": report.programs,
        "rounds": report.rounds,
        "seconds": round(report.seconds, 3),
        "verdicts": dict(sorted(report.verdicts.items())),
        "answers": dict(sorted(report.answers.items())),
        "branches": report.branches,
        "kept": report.kept,
        "findings": [{**asdict(finding), "doubt": finding.problem.is_doubt} for finding in report.findings],
    }
