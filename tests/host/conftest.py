"""Whether processes can be locked down here."""

from __future__ import annotations

import pytest

from prevail_py.host.service.lockdown import missing


@pytest.fixture(scope="session")
def lockdown() -> None:
    """Skip where the machine lacks seccomp or Landlock."""
    lacking = missing()
    if lacking:
        pytest.skip(f"lockdown: {'; '.join(lacking)}")
