"""Rules of octagons are proved on the shipped methods, and mistakes in them are refuted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prevail_py.domains import octagon_closure, octagons
from prevail_py.domains.integer_relations import IntegerRelations
from prevail_py.domains.octagons import Octagons
from prevail_py.verifier.proofs.prove import COUNTEREXAMPLE, PROVED, Row, cells
from prevail_py.words import to_signed


def proved(rule: str) -> Row:
    (cell,) = cells("octagons", 64, [rule])
    return cell.prove()


@pytest.mark.parametrize("rule", ["close to a half", "refine", "range", "leq", "assume s<="])
def test_a_rule(rule: str) -> None:
    assert proved(rule).result == PROVED


def _careless_linear(self: Any, term: Any) -> tuple[int, int]:
    return term.symbol, to_signed(term.offset, 64)


def _left(old: Callable[..., Any]) -> Callable[..., Any]:
    return lambda left, right: old(left, left)


@pytest.mark.parametrize(("owner", "name", "broken", "rule"), [
    (octagon_closure, "_half", lambda c: c // 2 - 1, "close to a half"),
    (octagon_closure, "_half", lambda c: -c // 2, "close to a half"),
    (octagons, "MAX", 1 << 70, "define neg"),
    (IntegerRelations, "_linear", _careless_linear, "difference"),
    (octagons, "widened", _left(octagons.__dict__["widened"]), "widen"),
    (Octagons, "leq", lambda self, other, match: True, "leq"),
], ids=("halves", "signs of halves", "wrapping", "wrapping of terms", "widening", "inclusion"))  # fmt: skip
def test_a_mistake_is_refuted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, broken: Any, rule: str) -> None:
    monkeypatch.setattr(owner, name, broken)
    row = proved(rule)
    assert row.result == COUNTEREXAMPLE, row
    assert row.detail


def test_octagons_have_one_width() -> None:
    assert cells("octagons", 8) == []
