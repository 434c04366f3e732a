"""Which definitions of maps Linux takes: flags, and flags that exclude or require one another.

What a definition says about sizes is checked where the map is made.  The sources are the ``*_alloc_check`` functions
below ``kernel/bpf/``; the tests compare with the running kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import ENOTSUPP, MapFlag, require

__all__ = ["check_flags"]

_F = MapFlag
_SIDES: Final = _F.RDONLY | _F.WRONLY | _F.RDONLY_PROG | _F.WRONLY_PROG
_TABLE: Final = _F.NUMA_NODE | _SIDES

_HASH: Final = _F.NO_PREALLOC | _F.NO_COMMON_LRU | _F.NUMA_NODE | _SIDES | _F.ZERO_SEED
_ARRAY: Final = _F.NUMA_NODE | _F.MMAPABLE | _SIDES | _F.PRESERVE_ELEMS | _F.INNER_MAP
_DEVICES: Final = _F.NUMA_NODE | _F.RDONLY | _F.WRONLY

# By map type: the flags that are taken.  Types that are not modelled are not listed, and not checked.
_TAKEN: Final[Mapping[int, MapFlag]] = {
    1: _HASH, 5: _HASH, 9: _HASH, 10: _HASH,
    2: _ARRAY, 6: _ARRAY,
    3: _F.NUMA_NODE | _F.RDONLY | _F.WRONLY | _F.MMAPABLE | _F.PRESERVE_ELEMS | _F.INNER_MAP,
    4: _F.NUMA_NODE | _F.RDONLY | _F.WRONLY | _F.MMAPABLE | _F.PRESERVE_ELEMS | _F.INNER_MAP,
    11: _F.NO_PREALLOC | _TABLE,
    12: _F.NUMA_NODE | _F.RDONLY | _F.WRONLY | _F.MMAPABLE | _F.PRESERVE_ELEMS | _F.INNER_MAP,
    13: _HASH,
    14: _DEVICES,
    25: _DEVICES,
    16: _F.NUMA_NODE,
    17: _F.NUMA_NODE | _F.RDONLY | _F.WRONLY,
    22: _TABLE, 23: _TABLE,
    27: _F.NUMA_NODE,
    30: _TABLE | _F.ZERO_SEED,
}  # fmt: skip

_HASHES: Final = frozenset({1, 5, 9, 10, 13})
_EVICTING: Final = frozenset({9, 10})
_PER_CPU: Final = frozenset({5, 10})
_ARRAYS: Final = frozenset({2, 3, 4, 6, 12})


def check_flags(spec: MapSpec) -> None:
    """Raise :class:`MapError` for flags that Linux does not take for a map of this type."""
    taken = _TAKEN.get(spec.type)
    if taken is None:
        return
    require(spec, spec.extra == 0 or spec.type == 30, "only a bloom filter has map_extra")
    flags = MapFlag(spec.flags & taken)
    require(spec, not spec.flags & ~int(taken), "flags that a map of this type does not take")
    both = _F.RDONLY_PROG | _F.WRONLY_PROG
    require(spec, flags & both != both, "read-only and write-only for programs")
    if spec.type in _HASHES:
        evicts = spec.type in _EVICTING
        require(spec, evicts or _F.NO_COMMON_LRU not in flags, "NO_COMMON_LRU without LRU")
        require(spec, not evicts or _F.NO_PREALLOC not in flags, "LRU without preallocation", ENOTSUPP)
        split = spec.type in _PER_CPU or _F.NO_COMMON_LRU in flags
        require(spec, not split or _F.NUMA_NODE not in flags, "one node for what each CPU has its own of")
    if spec.type in _ARRAYS:
        require(spec, spec.type != 6 or _F.NUMA_NODE not in flags, "one node for what each CPU has its own of")
        require(spec, spec.type == 2 or not flags & (_F.MMAPABLE | _F.INNER_MAP), "only for plain arrays")
        require(spec, spec.type == 4 or _F.PRESERVE_ELEMS not in flags, "only for perf event arrays")
    if spec.type == 11:
        require(spec, _F.NO_PREALLOC in flags, "a trie must not be preallocated")
