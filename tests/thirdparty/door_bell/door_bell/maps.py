"""The map type: a hash in which a visitor's first entry stays, whatever programs write later."""

from __future__ import annotations

from typing import Any

from prevail_py.vm.maps.hash import HashMap


class Visitors(HashMap):
    """What is there already is kept: an update of it succeeds and changes nothing."""

    def __init__(self, spec: Any, cpus: int) -> None:
        super().__init__(spec)

    def put(self, key: bytes, value: Any, flags: int) -> int:
        """Add an element that is not there."""
        return 0 if key in self and flags != 1 else super().put(key, value, flags)
