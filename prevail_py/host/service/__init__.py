"""The verifier service: a confined process of its own that verifies, and signs what it found (``docs/trust.md``)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prevail_py.host.service.client import Certified, Refused, Verifier, VerifierError
    from prevail_py.host.service.lockdown import Limits
    from prevail_py.host.token import Options

__all__ = ["Certified", "Limits", "Options", "Refused", "Verifier", "VerifierError"]

_HOME = {"Limits": "prevail_py.host.service.lockdown", "Options": "prevail_py.host.token"}


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first used: the process that is locked down needs no client."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "prevail_py.host.service.client")), name)
