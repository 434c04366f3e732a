from __future__ import annotations

import doctest

import pytest

import prevail_py.cfg
import prevail_py.research.families


@pytest.mark.parametrize("module", [prevail_py.cfg, prevail_py.research.families], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module: object) -> None:
    results = doctest.testmod(module)  # type: ignore[arg-type]
    assert results.attempted > 0
    assert results.failed == 0
