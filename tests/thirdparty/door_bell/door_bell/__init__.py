"""Door bells: what another package adds to prevail-py, with no change there."""

from __future__ import annotations

from importlib import resources


def document() -> str:
    """What programs of this package's type may do: for verifiers, here and elsewhere."""
    return resources.files(__name__).joinpath("door_bell.json").read_text(encoding="utf-8")
