"""How a program is compiled, and what is known of its maps and of where pointers lead."""

from __future__ import annotations

from dataclasses import dataclass

from prevail_py.vm.jit.proved.text import Word

__all__ = ["Layout", "Shadow", "Variant"]


@dataclass(frozen=True, slots=True)
class Variant:
    """How a program is compiled.

    ``fuel``: ways back in loops are counted, and the run ends when as many were taken as there was fuel.
    ``checked``: see the module's text.  ``concurrent``: several threads run it at a time, on the same maps.
    """

    fuel: bool = False
    checked: bool = False
    concurrent: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of the maps: the address of the first value of each, as the program sees it, the distance of
    values in memory, how many CPUs have their own, and how many bytes each value has."""

    first: tuple[int, ...]
    stride: tuple[int, ...]
    cpus: tuple[int, ...]
    size: tuple[int, ...]
    single: frozenset[int]
    arrays: frozenset[int]


@dataclass(frozen=True, slots=True)
class Shadow:
    """Where a region is in this process, its address as the program sees it, and in checked mode its size."""

    host: str
    base: Word
    size: Word
