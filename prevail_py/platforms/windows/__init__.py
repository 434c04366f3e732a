"""Windows: the program types, contexts, helpers and map types of eBPF for Windows, as data beside Linux's.

What that project calls by another number is *translated when an object is loaded* (``helper_numbers`` and
``map_numbers`` of the platform): a helper or map type that Linux has, too, with the same contract, goes by Linux's
number from then on, in the verifier, the engines and listings; those that only Windows has get numbers of their own.
So a rule that is about one helper, tail calls say, is written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prevail_py.platforms.linux.map_types import BOUND_HELPERS, MAP_TYPES
from prevail_py.platforms.model import LookupResult, MapType, Platform
from prevail_py.platforms.windows.helpers import BOUND_HELPERS as OWN_BOUND_HELPERS
from prevail_py.platforms.windows.helpers import HELPER_NUMBERS, TYPE_HELPER_NUMBERS, prototypes
from prevail_py.platforms.windows.program_types import ATTACH_TYPES, PROGRAM_TYPES, SECTIONS

__all__ = ["ATTACH_TYPES", "HELPER_NUMBERS", "MAP_NUMBERS", "PROGRAM_TYPES", "TYPE_HELPER_NUMBERS", "build"]

MAP_NUMBERS: Final[Mapping[int, str]] = {
    1: "hash",
    2: "array",
    3: "prog_array",
    4: "percpu_hash",
    5: "percpu_array",
    6: "hash_of_maps",
    7: "array_of_maps",
    8: "lru_hash",
    9: "lpm_trie",
    10: "queue",
    11: "lru_percpu_hash",
    12: "stack",
    13: "ringbuf",
    14: "perf_event_array",
    16: "xskmap",
}
"""``enum bpf_map_type`` there, by the names of Linux's types.  15 is not known here."""

_XSKMAP: Final = MapType(
    0x20010, "xskmap", lookup=LookupResult.NOTHING, value_access="", helpers=frozenset({"bpf_redirect_map"})
)
"""That of XDP for Windows: keys and values have other sizes than in Linux, and programs cannot look anything up."""


def build() -> Platform:
    """The Windows platform (headers of 2026, 64-bit contexts)."""
    known = prototypes()
    numbers: dict[tuple[str, int], int] = {("", number): known[name].id for number, name in HELPER_NUMBERS.items()}
    numbers |= {key: known[name].id for key, name in TYPE_HELPER_NUMBERS.items()}
    by_name = {row.name: row for row in MAP_TYPES.values()} | {_XSKMAP.name: _XSKMAP}
    return Platform(
        name="windows",
        program_types=PROGRAM_TYPES,
        attach_types=ATTACH_TYPES,
        attach_rules={},
        sections=SECTIONS,
        map_types={by_name[name].number: by_name[name] for name in MAP_NUMBERS.values()},
        load_helpers=lambda: {each.id: [(None, each)] for each in known.values()},
        bound_helpers={**BOUND_HELPERS, **OWN_BOUND_HELPERS},
        measured_types=frozenset(PROGRAM_TYPES),
        map_numbers={number: by_name[name].number for number, name in MAP_NUMBERS.items()},
        helper_numbers=numbers,
    )
