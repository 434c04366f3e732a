"""Experiments: the grid, its cache and domains of one's own; tables and plots, on rows whose numbers are known."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.domains import FACTS, WORDS, facts, register
from prevail_py.research.corpora import runs
from prevail_py.research.corpora.cache import CorpusError
from prevail_py.research.corpora.columns import complete
from prevail_py.research.corpora.frames import frame
from prevail_py.research.corpora.own_domains import install, own_domains
from prevail_py.research.corpora.runs import Run
from prevail_py.research.experiment import (
    cactus,
    compare,
    failures,
    grid,
    precision_and_time,
    sample,
    select,
    summary,
    versus,
)
from prevail_py.words import Comparison

pd = pytest.importorskip("pandas", reason="research extra: pandas is not installed")
for needed in ("joblib", "cloudpickle", "matplotlib"):
    pytest.importorskip(needed, reason=f"research extra: {needed} is not installed")

# A domain as a cell of a notebook has it, in two versions.
CELL = """
from prevail_py.domains.interval import Interval

KNOWS = {knows}

class Mine(Interval):
    __slots__ = ()

    def restrict(self, comparison, other, width=64):
        return super().restrict(comparison, other, width) if KNOWS else (self, other)

Mine._configure()
"""


@pytest.fixture(autouse=True)
def _tables() -> Iterator[None]:
    words, relations = dict(WORDS), dict(FACTS)
    yield
    for table, kept in ((WORDS, words), (FACTS, relations)):
        table.clear()
        table.update(kept)  # type: ignore[arg-type]
    facts.cache_clear()


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    folder = tmp_path / "objects"
    folder.mkdir()
    for name in ("xdp_counter", "unsafe_null"):
        (folder / f"{name}.o").write_bytes(examples.path(name).read_bytes())
    return str(folder)


def mine(knows: bool) -> Any:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(CELL.format(knows=knows), names)
    register("mine", names["Mine"])
    return names["Mine"]


def test_the_grid(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = (["interval", "interval*tnum*zones"], [corpus], {"one": {"disjuncts": 1, "smt": False}})
    rows = grid(*settings, cache=tmp_path)
    assert [(row.domain, row.options, row.object, row.verdict) for row in rows.itertuples()] == [
        ("interval", "one", "unsafe_null", "UNKNOWN"),
        ("interval", "one", "xdp_counter", "SAFE"),
        ("interval*tnum*zones", "one", "unsafe_null", "UNKNOWN"),
        ("interval*tnum*zones", "one", "xdp_counter", "SAFE"),
    ]
    assert (rows.seconds > 0).all()
    assert (rows.disjuncts == 1).all()
    assert rows.attrs["about"]["interval, one"]["options"]["verifier"]["domain"] == "interval"
    assert failures(rows).to_dict() == {"null-dereference": dict.fromkeys(failures(rows).index, 1)}

    def no_child(limit: float) -> Any:
        raise AssertionError("verified again")

    monkeypatch.setattr(runs, "examiner", no_child)
    pd.testing.assert_frame_equal(grid(*settings, cache=tmp_path), rows)
    with pytest.raises(AssertionError, match="verified again"):
        grid(*settings, cache=tmp_path, fresh=True)


def test_a_domain_of_ones_own_goes_where_programs_are_verified(corpus: str, tmp_path: Path) -> None:
    """And what is kept of it is not taken for that of its next version."""
    only = sample(corpus, 1, seed=0, cache=tmp_path)
    assert [item.name for item in only.items] == ["xdp_counter"]
    found = {}
    for knows in (True, False):
        mine(knows)
        rows = grid(["mine"], [only], {"one": {"disjuncts": 1, "smt": False}}, cache=tmp_path)
        found[knows] = list(rows.verdict)
    assert found == {True: ["SAFE"], False: ["UNKNOWN"]}


def test_the_digest_of_a_domain_is_that_of_its_code() -> None:
    mine(True)
    (first,) = own_domains("mine*zones")
    mine(True)
    (again,) = own_domains("mine")
    mine(False)
    (other,) = own_domains("tnum * mine")
    assert first.digest == again.digest != other.digest
    assert first.name == "mine"
    install({"mine": first.code})
    zero, any_word = WORDS["mine"].constant(0), WORDS["mine"].top()
    assert any_word.restrict(Comparison.EQ, zero)[0] == zero
    install({"mine": other.code})
    assert WORDS["mine"].top().restrict(Comparison.EQ, zero)[0].is_top()


def test_a_domain_that_cannot_travel_is_said_to() -> None:
    mine(True).lock = threading.Lock()
    with pytest.raises(CorpusError, match="domain mine cannot be brought to another process"):
        own_domains("mine")


@pytest.mark.parametrize(
    ("domains", "options", "message"),
    [
        (["nothing"], None, "unknown domain 'nothing'"),
        (["interval", "interval"], None, "named twice"),
        (["interval"], {"wide": {"disjunct": 1}}, "options 'wide': verify has no argument 'disjunct'"),
        ([], None, "empty grid"),
    ],
)
def test_settings_that_cannot_be(domains: list[str], options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        grid(domains, ["examples"], options, cache=tmp_path)


def made(domain: str, *verdicts: tuple[str, float], options: str = "o") -> Any:
    """Rows of programs ``p0``, ``p1``, ... with these verdicts and CPU seconds."""
    rows = [
        complete({"corpus": "c", "object": "x", "program": f"p{number}", "verdict": verdict, "seconds": seconds}
                 | {"memory": 10.0 * number, "failures": "out-of-bounds 2, leak 1" if verdict == "UNKNOWN" else ""})
        for number, (verdict, seconds) in enumerate(verdicts)
    ]  # fmt: skip
    found = frame(Run(rows, {}))
    found.insert(0, "domain", domain)
    found.insert(1, "options", options)
    return found


@pytest.fixture
def rows() -> Any:
    plain = made("plain", ("SAFE", 0.1), ("UNKNOWN", 0.4), ("UNKNOWN", 0.2), ("LIMIT", 9.0))
    return pd.concat([plain, made("rich", ("SAFE", 0.2), ("SAFE", 0.2), ("UNKNOWN", 0.4))], ignore_index=True)


def test_summary(rows: Any) -> None:
    table = summary(rows)
    assert table.loc[("plain", "o"), ["programs", "SAFE", "UNKNOWN", "UNSAFE", "other"]].tolist() == [4, 1, 2, 0, 1]
    assert table.loc[("plain", "o"), "seconds"] == pytest.approx(0.7)  # without the one that has no verdict
    assert table.loc[("plain", "o"), "median ms"] == pytest.approx(200)
    assert table.loc[("rich", "o"), "peak MiB"] == 20


def test_failures_by_class(rows: Any) -> None:
    table = failures(rows)
    assert list(table.columns) == ["out-of-bounds", "leak"]
    assert table.values.tolist() == [[4, 2], [2, 1]]


def test_comparison(rows: Any) -> None:
    found = compare(select(rows, "plain"), select(rows, "rich"))
    assert found.changed.index.tolist() == [("c", "x", "p1")]
    assert (found.only_before, found.only_after) == ((("c", "x", "p3"),), ())
    assert found.programs.ratio.tolist() == pytest.approx([2, 0.5, 2])
    assert found.ratio == pytest.approx(2)
    assert found.counts().to_dict() == {"SAFE": {"SAFE": 1, "UNKNOWN": 1}, "UNKNOWN": {"SAFE": 0, "UNKNOWN": 1}}
    with pytest.raises(ValueError, match="before: a program has several rows"):
        compare(rows, rows)
    with pytest.raises(ValueError, match="2 settings instead of one"):
        select(rows, options="o")
    with pytest.raises(ValueError, match="0 settings instead of one"):
        select(rows, "poor")
    nothing = compare(made("a"), made("b"))
    assert math.isnan(nothing.ratio)


def test_cactus(rows: Any) -> None:
    (axes,) = cactus(rows).figure.axes
    curves = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert curves == {"plain: 1": ([1], [0.1]), "rich: 2": ([1, 2], [0.2, 0.2])}
    with pytest.raises(ValueError, match="no such measure: 'beauty'"):
        cactus(rows, "beauty")


def test_precision_and_time(rows: Any) -> None:
    slow = made("slow", ("SAFE", 2.0), ("SAFE", 2.0), ("UNKNOWN", 2.0))
    picture = precision_and_time(pd.concat([rows, slow]))
    (axes,) = picture.figure.axes
    points = {dots.get_label(): tuple(dots.get_offsets()[0]) for dots in axes.collections}
    assert points["plain"] == pytest.approx((0.7, 25))
    assert points["rich"] == pytest.approx((0.8, 200 / 3))
    assert len(axes.lines[0].get_xdata()) == 2  # slow proves what rich does, in more time
    assert picture.png() == picture.png() == picture._repr_png_()


def test_program_by_program(rows: Any, tmp_path: Path) -> None:
    picture = versus(select(rows, "plain"), select(rows, "rich"), ("plain", "rich"))
    (axes,) = picture.figure.axes
    labels = [dots.get_label() for dots in axes.collections]
    assert labels == ["SAFE: 1", "SAFE, was not: 1", "UNKNOWN: 1"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("plain: CPU seconds", "rich: CPU seconds")
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        picture.save(tmp_path / f"p.{kind}")
        assert (tmp_path / f"p.{kind}").read_bytes().startswith(start)
    assert (tmp_path / "p.png").stat().st_size < 100_000
