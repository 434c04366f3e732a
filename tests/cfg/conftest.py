"""Counting steps, so that tests of scaling depend on no clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import prevail_py.cfg

HERE = str(Path(prevail_py.cfg.__path__[0]))


def _count_lines(action: Callable[[], object]) -> int:
    """How many source lines of prevail_py.cfg ``action`` executes."""
    count = 0

    def line(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return line

    def call(frame: FrameType, _event: str, _argument: object) -> Any:
        return line if frame.f_code.co_filename.startswith(HERE) else None

    previous = sys.gettrace()
    sys.settrace(call)
    try:
        action()
    finally:
        sys.settrace(previous)
    return count


@pytest.fixture
def count_lines() -> Callable[[Callable[[], object]], int]:
    """A function that counts the lines of prevail_py.cfg that an action executes."""
    return _count_lines
