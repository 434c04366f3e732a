"""What a run shows, as tables: verdicts, agreement with the kernel and with what is expected, and every disagreement.

A disagreement has a cause.  Programs that should be rejected and are SAFE: their class says that SAFE excludes such
faults (``classes.toml``), or ``arguments.toml`` says for this program why SAFE is right; anything else is *suspected
unsoundness*.  Programs that should be accepted and are not SAFE: what is unsupported, which assertion is not proved,
or the policy, where another run of the same programs under a laxer policy finds them SAFE.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from prevail_py._render import Table
from prevail_py.research.corpora.classes import UNCLASSIFIED, class_of, classes
from prevail_py.research.corpora.columns import NOT_A_VERDICT, Row
from prevail_py.research.corpora.runs import Run

__all__ = [
    "SUSPECTED",
    "Bar",
    "Section",
    "bars",
    "cause",
    "markdown",
    "markdown_table",
    "sections",
    "suspects",
    "unsafe_cause",
]

SUSPECTED: Final = "SUSPECTED UNSOUNDNESS"
_ARGUMENTS: Final = Path(__file__).with_name("arguments.toml")
_NUMBER: Final = re.compile(r"#\d+|-?\b(?:0x[0-9a-f]+|\d+)\b")
_REGISTER: Final = re.compile(r"\br\d+\b")
_SYMBOL: Final = re.compile(r"\b[sn]\d+\b")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report: a title, a text, and a table or none."""

    title: str
    text: str
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that has a bar: ``met`` says whether it is reached."""

    name: str
    value: str
    bar: str
    met: bool


@cache
def _arguments() -> Mapping[str, Mapping[str, str]]:
    arguments: dict[str, Mapping[str, str]] = tomllib.loads(_ARGUMENTS.read_text(encoding="utf-8"))
    return arguments


def should_fail(row: Row) -> bool:
    """Whether the program is expected to be rejected, or, where nothing is expected, the kernel rejects it."""
    return bool(row["expected"] == "failure" or (not row["expected"] and row["kernel"] == "reject"))


def should_pass(row: Row) -> bool:
    """Whether the program is expected to load and the kernel does not reject it, or the kernel accepts it."""
    return bool(row["kernel"] == "accept" or (row["expected"] == "success" and row["kernel"] != "reject"))


def suspects(rows: Iterable[Row]) -> list[Row]:
    """The programs that should be rejected, are SAFE, and have no argument why that is right."""
    return [row for row in rows if _wrongly_safe(row) and unsafe_cause(row)[0] == SUSPECTED]


def _wrongly_safe(row: Row) -> bool:
    return row["verdict"] == "SAFE" and (should_fail(row) or row["kernel"] == "reject")


def unsafe_cause(row: Row) -> tuple[str, str]:
    """Why a program that should be rejected may be SAFE all the same: cause and argument."""
    if row["kernel"] == "accept":
        return "accepted", "the kernel that was asked accepts the program; the test was written for another version"
    argument = _arguments().get(f"{row['object']}/{row['program']}")
    if argument is not None:
        return argument["cause"], argument["argument"]
    fault = class_of({**row, "expected": "failure"})
    if fault.excluded:
        return fault.name, fault.excluded
    for cause_, pattern, text in _LOADING:
        if re.search(pattern, row["kernel_reason"] or "") and row["expected"] != "failure":
            return cause_, text
    return SUSPECTED, ""


_LOADING: Final = (
    ("loading", "without BTF", "the kernel asks for type information that is not handed over when it is asked here"),
    ("termination", "^old state|infinite loop|The sequence of", "SAFE does not promise that a program ends"),
    ("stack size", "combined stack size", "the sizes of all frames together are no part of SAFE (docs/safety.md)"),
)
"""Rulings of the kernel on programs of which nothing is expected, and what they are about."""


def cause(row: Row, lax: Mapping[tuple[str, str, str], Row] | None = None) -> str:
    """Why a program that should be accepted is not SAFE."""
    if lax is not None and (other := lax.get(_key(row))) is not None and other["verdict"] == "SAFE":
        return "policy: SAFE where it forgives leaks and reads of unwritten stack"
    if row["verdict"] == "UNSUPPORTED":
        reason = (row["reason"] or "").split(" at slot")[0]
        return "unsupported: " + (re.sub(r" in map \S+", "", reason) if len(reason) < 60 else _features(reason))
    if row["verdict"] in NOT_A_VERDICT or not row["failure"]:
        return f"{row['verdict'].lower()}: {row['reason']}"
    return "not proved: " + _pattern(row["failure"])


def _features(reason: str) -> str:
    kinds = {part.split()[0] for part in reason.split(", ")}
    return ", ".join(sorted(kinds))


def _pattern(text: str) -> str:
    """A message without the numbers and names of one program."""
    text = re.sub(r"(value of|map) [\w.]+(?: memory)?", r"\1 ...", text)
    return _NUMBER.sub("N", _SYMBOL.sub("s", _REGISTER.sub("r", text)))


def _key(row: Row) -> tuple[str, str, str]:
    return row["corpus"], row["object"], row["program"]


def bars(run: Run, lax: Run | None = None) -> list[Bar]:
    """The bars that a run can be held against, those that its corpora have programs for.

    Tests say what Linux does for root: with ``lax``, the same run under that policy, its successes are the ones held
    against the bar.
    """
    found = []
    annotated = [row for row in run.rows if row["expected"] and row["message"] is not None]
    if annotated:
        outside = [row for row in annotated if not class_of(row).scope]
        unclassified = [row for row in annotated if class_of(row) is UNCLASSIFIED]
        inside = [row for row in annotated if class_of(row).scope]
        wrong = suspects(row for row in inside if row["expected"] == "failure")
        argued = [row for row in inside if row["expected"] == "failure" and row["verdict"] == "SAFE"]
        passing = [row for row in inside if row["expected"] == "success"]
        forgiving = [] if lax is None else [row for row in lax.rows if row["expected"] and class_of(row).scope]
        wrong += suspects(row for row in forgiving if row["expected"] == "failure")
        forgiven = [row for row in forgiving if row["expected"] == "success"]
        found += [
            Bar("annotated programs without a class", str(len(unclassified)), "0", not unclassified),
            _share("annotated programs out of scope", outside, annotated, at_most=20),
            Bar(
                "expected failures in scope that are SAFE without an argument",
                f"{len(wrong)} ({len(argued)} with one)",
                "0",
                not wrong,
            ),
            _share(
                "expected successes in scope that are SAFE",
                _safe(passing),
                passing,
                at_least=90 if lax is None else None,
            ),
        ]
        if forgiven:
            policy = "the policy that the tests are written for"
            found.append(_share(f"the same under {policy}", _safe(forgiven), forgiven, at_least=90))
    untyped = [row for row in run.rows if row["kernel"] == "accept" and not row["btf"] and not row["expected"]]
    if untyped:
        found.append(
            _share(
                "programs without expectation that the kernel accepts, without BTF-typed pointers, that are SAFE",
                _safe(untyped),
                untyped,
                at_least=97,
            )
        )
    decided = [row for row in run.rows if row["kernel"] == "accept"]
    if decided:
        exhausted = [row for row in decided if row["reason"] == "budget" or row["verdict"] == "LIMIT"]
        found.append(_share("programs the kernel accepts that exhaust the budget", exhausted, decided, at_most=1))
    return found


def _safe(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["verdict"] == "SAFE"]


def _share(
    name: str, part: Sequence[Row], whole: Sequence[Row], at_least: float | None = None, at_most: float | None = None
) -> Bar:
    percent = 100 * len(part) / len(whole) if whole else 100.0
    met = (at_least is None or percent >= at_least) and (at_most is None or percent <= at_most)
    bar = f"at least {at_least} %" if at_least is not None else f"at most {at_most} %" if at_most is not None else ""
    return Bar(name, f"{len(part)} of {len(whole)}, {percent:.1f} %", bar, met)


def sections(run: Run, lax: Run | None = None) -> list[Section]:
    """Everything to be said of a run; ``lax`` is the same run under a laxer policy, if there is one."""
    return [
        _verdicts(run),
        _agreement(run),
        *_bars(run, lax),
        *_classes(run),
        _wrongly_safe_section(run),
        *([] if lax is None else [_wrongly_safe_section(lax, f"Under the policy {_policy(lax)}: should be rejected")]),
        _not_safe_section(run, None if lax is None else {_key(row): row for row in lax.rows}),
        *_typed(run),
        *_missing(run),
    ]


def _count_table(header: tuple[str, ...], keys: Iterable[tuple[str, ...]]) -> Table:
    counts = Counter(keys)
    rows = tuple((*key, str(number)) for key, number in sorted(counts.items()))
    return Table((*header, "programs"), rows, frozenset({len(header)})).compact()


def _verdicts(run: Run) -> Section:
    table = _count_table(
        ("corpus", "kernel", "verdict"), ((row["corpus"], row["kernel"] or "-", row["verdict"]) for row in run.rows)
    )
    text = (
        "`accept` and `reject` are rulings of the kernel's verifier; `not-asked` is what the guard keeps away from it, "
        "`not-loaded` what never got as far as a ruling."
    )
    return Section("Verdicts", text, table)


def _agreement(run: Run) -> Section:
    rows = [row for row in run.rows if row["kernel"] in ("accept", "reject") or row["expected"]]
    table = _count_table(
        ("expected", "kernel", "prevail", "ours"),
        ((row["expected"] or "", row["kernel"] or "", row["prevail"] or "", row["verdict"]) for row in rows),
    )
    return Section("Agreement", "What is expected, what the kernel says, what is said here.", table)


def _bars(run: Run, lax: Run | None) -> list[Section]:
    found = bars(run, lax)
    if not found:
        return []
    rows = tuple((bar.name, bar.value, bar.bar, ("yes" if bar.met else "NO") if bar.bar else "") for bar in found)
    return [Section("Bars", "", Table(("what", "figure", "bar", "met"), rows))]


def _classes(run: Run) -> list[Section]:
    annotated = [row for row in run.rows if row["expected"] and row["message"] is not None]
    if not annotated:
        return []
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in annotated:
        groups[class_of(row).name].append(row)
    rows = []
    for fault in [*classes().values(), UNCLASSIFIED]:
        if fault.name in groups:
            failing = [row for row in groups[fault.name] if row["expected"] == "failure"]
            passing = [row for row in groups[fault.name] if row["expected"] == "success"]
            rows.append(
                (
                    fault.name,
                    fault.about,
                    "yes" if fault.scope else "no",
                    "excluded" if fault.excluded else "part",
                    f"{len(_safe(passing))}/{len(passing)}" if passing else "",
                    f"{len(_safe(failing))}/{len(failing)}" if failing else "",
                )
            )
    header = ("class", "about", "in scope", "of SAFE", "successes SAFE", "failures SAFE")
    text = "Each annotated program belongs to the class that the first fitting rule of `classes.toml` gives it."
    return [Section("Classes", text, Table(header, tuple(rows), frozenset({4, 5})))]


def _policy(run: Run) -> str:
    return str(run.about["options"]["verifier"].get("policy", "strict"))


def _wrongly_safe_section(run: Run, title: str = "Should be rejected") -> Section:
    rows = []
    for row in run.rows:
        if _wrongly_safe(row):
            reason, argument = unsafe_cause(row)
            message = (row["message"] or row["kernel_reason"] or "").splitlines()
            rows.append(
                (reason, f"{row['object']}/{row['program']}", row["kernel"] or "", " // ".join(message), argument)
            )
    table = Table(("cause", "program", "kernel", "message", "why SAFE is right"), tuple(sorted(rows)))
    count = sum(1 for row in rows if row[0] == SUSPECTED)
    text = f"{len(rows)} programs; {count} of them without an argument."
    return Section(f"{title}, and are SAFE", text, table if rows else None)


def _not_safe_section(run: Run, lax: Mapping[tuple[str, str, str], Row] | None) -> Section:
    groups = _grouped(
        (row for row in run.rows if should_pass(row) and row["verdict"] != "SAFE"), lambda r: cause(r, lax)
    )
    rows = tuple((reason, str(len(members)), _names(members)) for reason, members in groups)
    table = Table(("cause", "programs", "which"), rows, frozenset({1}))
    total = sum(len(members) for _, members in groups)
    return Section("Should be accepted, and are not SAFE", f"{total} programs.", table if rows else None)


def _typed(run: Run) -> list[Section]:
    typed = [row for row in run.rows if row["kernel"] == "accept" and row["btf"] and not row["expected"]]
    if not typed:
        return []
    rows = tuple((need, str(len(group)), _names(group)) for need, group in _grouped(typed, lambda row: str(row["btf"])))
    table = Table(("needs", "programs", "which"), rows, frozenset({1}))
    return [Section("Accepted by the kernel, with BTF-typed pointers", f"{len(typed)} programs.", table)]


def _missing(run: Run) -> list[Section]:
    rows = [
        (corpus, name, reason)
        for corpus, about in run.about["corpora"].items()
        for name, reason in sorted(about["missing"].items())
    ]
    rows += [(row["corpus"], row["object"], row["reason"]) for row in run.rows if row["verdict"] == "UNREADABLE"]
    if not rows:
        return []
    return [Section("Objects that could not be had", "", Table(("corpus", "object", "why"), tuple(rows)))]


def _grouped(rows: Iterable[Row], key: Callable[[Row], str]) -> list[tuple[str, list[Row]]]:
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))


def _names(rows: Sequence[Row]) -> str:
    by_object: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_object[row["object"]].append(row["program"])
    return "; ".join(f"{name}: {', '.join(programs)}" for name, programs in by_object.items())


def markdown(title: str, run: Run, parts: Sequence[Section], command: str) -> str:
    """The report as Markdown, with what it was made from."""
    about = run.about
    lines = [
        f"# {title}",
        "",
        f"Made by `{command}` at {about['version']} ({about['commit']}), {about['machine']}.",
        "",
    ]
    if about["kernel"]:
        lines += [f"The kernel asked is Linux {about['kernel']}.", ""]
    for name, corpus in about["corpora"].items():
        lines.append(f"- `{name}`: {corpus['description']}; {corpus['objects']} objects; {corpus['provenance']}")
    for part in parts:
        lines += ["", f"## {part.title}", ""]
        if part.text:
            lines += [part.text, ""]
        if part.table is not None:
            lines += markdown_table(part.table)
    return "\n".join(lines).rstrip() + "\n"


def markdown_table(table: Table) -> list[str]:
    """The lines of a table in Markdown."""
    rule = ("---:" if column in table.right else "---" for column in range(len(table.header)))
    rows = (table.header, tuple(rule), *table.rows)
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
