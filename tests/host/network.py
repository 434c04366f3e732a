"""Tests in private network namespaces."""

from __future__ import annotations

import pytest

from prevail_py.research.namespaces import missing

__all__ = ["require"]


def require() -> None:
    """Skip where there are no namespaces."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"network namespaces: {reason}")
