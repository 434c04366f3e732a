"""What tests with packages of somebody else need from the machine."""

from __future__ import annotations

from tests.host.conftest import lockdown as lockdown
