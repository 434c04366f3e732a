"""Tests in private network namespaces."""

from __future__ import annotations

import os
from typing import Final

import pytest

from prevail_py.research.namespaces import missing

__all__ = ["FIRST_PORT", "require"]

FIRST_PORT: Final = 21000 + 200 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Ports of this worker, 200 of them: tests that run at the same time in another have others."""


def require() -> None:
    """Skip where there are no namespaces."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"network namespaces: {reason}")
