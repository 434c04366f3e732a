"""Programs that say something about themselves, or that do the same as others: ``docs/functional.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["FOLDER"]

FOLDER: Final = Path(__file__).parent
"""The folder with sources and objects."""
