"""Which step decides: counted over three objects, and over rows that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from prevail_py.research.corpora.columns import Row, complete
from prevail_py.research.corpora.runs import Run
from prevail_py.research.corpora.steps import STEPS, main, step_sections


def _run(**verdicts: str) -> Run:
    rows: list[Row] = [
        complete(
            {
                "corpus": "c",
                "object": "o",
                "program": name,
                "verdict": verdict,
                "seconds": 0.5 if verdict == "UNSAFE" else 0.25,
                "discharged": 1,
                "witness": "out-of-bounds" if verdict == "UNSAFE" else "",
                "kernel": "accept",
            }
        )
        for name, verdict in verdicts.items()
    ]
    return Run(rows, {})


def test_a_verdict_counts_where_it_is_first_given() -> None:
    unknown = {"a": "UNKNOWN", "b": "UNKNOWN", "d": "UNKNOWN", "x": "UNKNOWN", "w": "UNKNOWN"}
    runs = {
        "domains, one state": _run(**unknown),
        "equations": _run(**{**unknown, "a": "SAFE"}),
        "disjuncts": _run(**{**unknown, "a": "SAFE", "b": "SAFE"}),
        "solver": _run(a="SAFE", b="SAFE", d="SAFE", x="UNKNOWN", w="UNSAFE"),
        "early": _run(**{**unknown, "w": "UNSAFE"}),
    }
    assert list(runs) == [*STEPS, "early"]
    decided, agreement, disagreements, cost, when = step_sections(runs)
    assert decided.table is not None
    assert {row[1:] for row in decided.table.rows} == {
        ("SAFE", "equations", "1"),
        ("SAFE", "disjuncts", "1"),
        ("SAFE", "discharge", "1"),
        ("UNSAFE", "witness", "1"),
        ("UNKNOWN", "none", "1"),
    }
    assert agreement.table is not None
    assert agreement.table.rows == (("c", "accept", "1"),)
    assert disagreements.table is not None
    assert disagreements.table.rows == (("out-of-bounds", "1", "o: w"),)
    assert cost.table is not None
    assert [row[0] for row in cost.table.rows] == ["SAFE", "UNSAFE", "UNKNOWN"]
    assert when.table is not None
    assert [row[:3] for row in when.table.rows] == [("SAFE", "3", "0"), ("UNSAFE", "1", "1"), ("UNKNOWN", "1", "0")]


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prevail_py.research.corpora import sources, steps
    from prevail_py.research.corpora.sources import Collection

    def few(*arguments: object) -> Collection:
        found = sources.fetch(*arguments)  # type: ignore[arg-type]
        chosen = tuple(item for item in found.items if item.name in ("unsafe_null", "xdp_tailcall"))
        return Collection(found.corpus, chosen, {}, found.provenance)

    def without_kernel(collections, cache, options, *more):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        from prevail_py.research.corpora.runs import execute

        return execute(collections, cache, replace(options, kernel=False), *more)

    monkeypatch.setattr(steps, "fetch", few)
    monkeypatch.setattr(steps, "execute", without_kernel)
    out = tmp_path / "table.md"
    assert main(["examples", "--markdown", str(out), "--cache", str(tmp_path)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "| examples | UNSAFE | witness | 1 |" in text
    assert "| examples | SAFE | domains, one state | 3 |" in text
