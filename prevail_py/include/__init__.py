"""Headers for C: ``prevail.h`` has assertions (``docs/functional.md``), ``prevail_bpf.h`` is for two platforms."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["FOLDER"]

FOLDER: Final = Path(__file__).parent
"""The folder to be given to the compiler with ``-I``."""
