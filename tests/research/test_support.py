"""The table of what is supported says what is so."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from prevail_py.isa.instructions import Instruction
from prevail_py.platforms import platform
from prevail_py.research.support import table
from prevail_py.research.support_instructions import EXAMPLES, instruction_rows
from prevail_py.vm.helpers import support
from prevail_py.vm.helpers.support import Level, support_of
from prevail_py.vm.helpers.table import HELPERS


def test_the_page_is_current(root: Path) -> None:
    page = (root / "docs" / "support.md").read_text(encoding="utf-8")
    assert page == table(), "run: python -m prevail_py.research.support --out docs/support.md"


def test_only_helpers_that_are_implemented_have_notes() -> None:
    assert set(support._SUPPORT) <= set(HELPERS)


def test_helpers_that_are_not_implemented_trap() -> None:
    names = {platform().helper_name(number) or "" for number in platform().helper_ids()}
    assert {name for name in names if support_of(name).level is Level.TRAP} == names - set(HELPERS)


def test_every_class_of_instruction_is_tried() -> None:
    assert set(EXAMPLES) == set(get_args(Instruction))
    rows = {row[0]: row for row in instruction_rows()}
    assert rows["`Alu`"][2:] == ("", "", "", "", "")
    assert rows["`CallKfunc`"][2].startswith("UNSUPPORTED")
    assert rows["`CallKfunc`"][4] == "trap"
