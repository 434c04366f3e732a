"""The museum of verifier bugs: historic mistakes as switches in the shipped code, and who catches each.

>>> from prevail_py.research.museum import EXHIBITS, planted
>>> from prevail_py.verifier import verify
>>> exhibit = EXHIBITS["packet off by one"]
>>> print(exhibit.source)
Linux 2fa7d94afc1a bpf: Fix the off-by-two error in range markings
>>> program = exhibit.specimen.program("unsafe")
>>> with planted(exhibit):
...     print(verify(program).kind)
SAFE
>>> print(verify(program).kind)
UNSAFE
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prevail_py.research.museum import calls, engines, memory, operators, semantics
from prevail_py.research.museum.exhibit import Exhibit, Part, Specimen, planted

__all__ = ["EXHIBITS", "Exhibit", "Part", "Specimen", "planted"]

EXHIBITS: Final[Mapping[str, Exhibit]] = {
    exhibit.name: exhibit
    for exhibit in (*operators.EXHIBITS, *memory.EXHIBITS, *calls.EXHIBITS, *semantics.EXHIBITS, *engines.EXHIBITS)
}
"""Every exhibit, by name."""
