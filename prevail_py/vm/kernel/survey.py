"""What the kernel engine can do on this machine, found out by trying: program types that run, map types that exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.objects.text import assemble
from prevail_py.platforms.linux.map_types import MAP_TYPES
from prevail_py.vm.engines import EngineError
from prevail_py.vm.kernel.answer import AnswerKind
from prevail_py.vm.kernel.engine import shared_session
from prevail_py.vm.kernel.execution import KernelProgram

__all__ = ["Survey", "least_map", "survey"]

_RUN: Final = ("socket_filter", "sched_cls", "sched_act", "xdp", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit")
_NEVER: Final = frozenset({"struct_ops", "arena"})
_INDEX_VALUES: Final = frozenset({3, 4, 8, 12, 14, 15, 16, 17, 20, 25})


@dataclass(frozen=True, slots=True)
class Survey:
    """The types that work, and why the others do not, by name."""

    program_types: tuple[str, ...]
    map_types: tuple[str, ...]
    refused: Mapping[str, str]

    def __str__(self) -> str:
        missing = ", ".join(sorted(self.refused)) or "none"
        return (
            f"runs {', '.join(self.program_types) or 'nothing'}; {len(self.map_types)} map types; not here: {missing}"
        )


def survey() -> Survey:
    """Load and run the least program of each type, and one with each type of map.  Some tens of milliseconds."""
    refused: dict[str, str] = {}
    runs, maps = [], []
    for name in _RUN:
        try:
            KernelProgram(assemble("r0 = 0\nexit", name)).run(packet=bytes(64))
        except EngineError as error:
            refused[name] = str(error)
        else:
            runs.append(name)
    for number, map_type in MAP_TYPES.items():
        if map_type.name in _NEVER:
            continue
        answer = shared_session().ask(assemble("r0 = 0\nexit", maps=(least_map(number),)))
        if answer.kind is AnswerKind.ACCEPT:
            maps.append(map_type.name)
        else:
            refused[map_type.name] = answer.reason
    return Survey(tuple(runs), tuple(maps), refused)


def least_map(number: int) -> MapSpec:
    """A map of this type with the least attributes that Linux takes for it."""
    inner = MapSpec("inner", 2, 4, 8, 1) if number in (12, 13) else None
    key_size, value_size, entries, flags = 4, 4 if number in _INDEX_VALUES else 8, 4, 0
    match number:
        case 11:
            key_size, flags = 8, 1
        case 19 | 21:
            key_size, entries = 8, 0
        case 22 | 23 | 30:
            key_size = 0
        case _:
            pass
    return MapSpec("map", number, key_size, value_size, entries, flags, inner=inner)
