"""Tables tell agreement from disagreement, and a planted wrong SAFE is never explained away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prevail_py.research.corpora.columns import Row
from prevail_py.research.corpora.runs import Run
from prevail_py.research.corpora.tables import SUSPECTED, bars, cause, markdown, sections, suspects, unsafe_cause

MakeRow = Callable[..., Row]
MakeRun = Callable[[list[Row]], Run]


def test_a_wrong_safe_is_suspected(make_row: MakeRow, make_run: MakeRun) -> None:
    wrong = make_row(expected="failure", message="invalid access to packet", kernel="reject")
    assert suspects([wrong]) == [wrong]
    assert unsafe_cause(wrong)[0] == SUSPECTED
    table = next(part.table for part in sections(make_run([wrong])) if part.title.startswith("Should be rejected"))
    assert table is not None
    assert SUSPECTED in str(table)
    assert [bar.met for bar in bars(make_run([wrong])) if "without an argument" in bar.name] == [False]


@pytest.mark.parametrize(
    "columns",
    [
        {"expected": "failure", "message": "misaligned stack access", "kernel": "reject"},
        {"expected": "failure", "message": "infinite loop detected", "kernel": "not-loaded"},
        {"object": "verifier_meta_access", "program": "meta_access_test3", "expected": "failure", "message": "packet"},
        {"kernel": "reject", "kernel_reason": "tail_call is not allowed in subprogs without BTF"},
    ],
)
def test_what_safe_excludes_or_is_argued_is_no_suspicion(make_row: MakeRow, columns: dict[str, str]) -> None:
    row = make_row(**columns)
    assert not suspects([row])
    assert unsafe_cause(row)[1]


def test_excuses_for_loading_do_not_reach_expected_failures(make_row: MakeRow) -> None:
    row = make_row(expected="failure", message="invalid access to packet", kernel_reason="x without BTF")
    assert suspects([row]) == [row]


def test_a_kernel_that_rejects_what_nothing_is_expected_of(make_row: MakeRow) -> None:
    row = make_row(kernel="reject", kernel_reason="R1 invalid mem access 'scalar'")
    assert suspects([row]) == [row]
    assert not suspects([make_row(kernel="not-loaded"), make_row(kernel="accept"), make_row(verdict="UNKNOWN")])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"verdict": "UNSUPPORTED", "reason": "callbacks (helper bpf_loop) at slot 9 (a.c:3)"},
            "unsupported: callbacks",
        ),
        ({"verdict": "UNSUPPORTED", "reason": "bpf_spin_lock in map locks"}, "unsupported: bpf_spin_lock"),
        ({"verdict": "UNKNOWN", "reason": "budget"}, "unknown: budget"),
        ({"verdict": "LIMIT", "reason": "no verdict within 1 s"}, "limit: no verdict within 1 s"),
        (
            {"verdict": "UNKNOWN", "failure": "x: r7 at [3, -44] of map a.b: s3"},
            "not proved: x: r at [N, N] of map ...: s",
        ),
    ],
)
def test_causes_group_programs(make_row: MakeRow, columns: dict[str, str], expected: str) -> None:
    assert cause(make_row(**columns)).startswith(expected)


def test_a_laxer_policy_tells_policy_from_precision(make_row: MakeRow) -> None:
    row = make_row(verdict="UNKNOWN", failure="pointer-leak: the program returns a pointer")
    assert cause(row, {("c", "o", "p"): make_row()}).startswith("policy")
    assert cause(row, {("c", "o", "p"): row}).startswith("not proved")


def test_bars_count_what_they_say(make_row: MakeRow, make_run: MakeRun) -> None:
    rows = [
        make_row(expected="success", message="", kernel="accept"),
        make_row(expected="success", message="", kernel="accept", verdict="UNKNOWN", failure="x: y"),
        make_row(expected="failure", message="R1 !read_ok", verdict="UNKNOWN", failure="x: y"),
        make_row(expected="failure", message="anything", uses="kfunc", verdict="UNSUPPORTED", reason="kfunc"),
        make_row(kernel="accept"),
        make_row(kernel="accept", btf="a kernel variable", verdict="UNSUPPORTED", reason="ksym"),
    ]
    found = {bar.name: (bar.value, bar.met) for bar in bars(make_run(rows))}
    assert found["annotated programs out of scope"] == ("1 of 4, 25.0 %", False)
    assert found["expected successes in scope that are SAFE"] == ("1 of 2, 50.0 %", False)
    assert found["annotated programs without a class"] == ("0", True)
    assert ("1 of 1, 100.0 %", True) in found.values()
    unclassified = [*rows, make_row(expected="failure", message="unheard of", verdict="UNKNOWN")]
    assert {bar.name: bar.met for bar in bars(make_run(unclassified))}["annotated programs without a class"] is False


def test_the_bar_is_for_the_policy_of_the_tests(make_row: MakeRow, make_run: MakeRun) -> None:
    name = "the same under the policy that the tests are written for"
    strict = make_run([make_row(expected="success", message="", verdict="UNKNOWN", failure="pointer-leak: y")])
    lax = make_run([make_row(expected="success", message="")])
    met = {bar.name: bar.met for bar in bars(strict, lax)}
    assert met["expected successes in scope that are SAFE"]
    assert met[name]
    assert not {bar.name: bar.met for bar in bars(strict, strict)}[name]
    wrong = make_run([make_row(expected="failure", message="R1 !read_ok", kernel="reject")])
    failures = "expected failures in scope that are SAFE without an argument"
    assert not {bar.name: bar.met for bar in bars(strict, wrong)}[failures]


def test_the_kernel_that_is_asked_may_be_newer_than_a_test(make_row: MakeRow) -> None:
    assert not suspects([make_row(expected="failure", message="invalid indirect read from stack", kernel="accept")])


def test_markdown_names_what_it_was_made_from(make_row: MakeRow, make_run: MakeRun) -> None:
    run = make_run([make_row(kernel="accept", verdict="UNKNOWN", failure="x: a | b")])
    text = markdown("Title", run, sections(run), "prevail-py corpus table")
    assert text.startswith("# Title\n\nMade by `prevail-py corpus table` at 0 (abc), m.\n")
    assert "- `c`: d; 1 objects; v" in text
    assert "| not proved: x: a \\| b | 1 | o: p |" in text
    assert text == markdown("Title", run, sections(run), "prevail-py corpus table")
