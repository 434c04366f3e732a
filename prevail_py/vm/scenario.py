"""Scenarios: all that a run depends on, as data, so that it can be made from anything and played again.

>>> from prevail_py.objects.text import assemble
>>> play(assemble("r0 = *(u32 *)(r1 + 12)\\nexit"), Scenario(b"", context=bytes(12) + b"\\7" + bytes(11))).outcome
Returned(value=7)
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.vm.environment import Environment, Socket
from prevail_py.vm.interpreter import Execution, Observer, run
from prevail_py.vm.maps import Map, MapError, create_map, create_maps, has_values
from prevail_py.vm.maps.devices import XdpSocket, XdpSocketMap
from prevail_py.vm.maps.targets import MapOfMaps

__all__ = ["Scenario", "play"]

_FUEL: Final = 20_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One input: everything a run depends on.

    ``contents`` holds (index of the map, key, value) to be stored before the run; for per-CPU maps the value goes to
    every CPU.  ``context`` is the scalar part of the context, None for the default.  ``randoms`` are the first random
    numbers that the program gets; those behind follow from ``seed``.  ``world`` sets other fields of the
    :class:`~prevail_py.vm.environment.Environment` that are numbers, by name.  The packet belongs to the ``socket``.
    """

    packet: bytes | None
    contents: tuple[tuple[int, bytes, bytes], ...] = ()
    seed: int = 0
    context: bytes | None = None
    randoms: tuple[int, ...] = ()
    world: tuple[tuple[str, int], ...] = ()
    socket: Socket | None = None


def play(program: Program, scenario: Scenario, observers: Sequence[Observer] = (), fuel: int = _FUEL) -> Execution:
    """Run ``program`` on ``scenario`` in the reference interpreter.

    Contents that a map cannot take (a key out of range, another kind of entries) are left out.
    """
    environment = Environment(
        seed=scenario.seed,
        randoms=scenario.randoms,
        socket=scenario.socket,
        **dict(scenario.world),  # type: ignore[arg-type]
    )
    maps = create_maps(program.maps, environment)
    for index, key, value in scenario.contents:
        _fill(maps[index], key, value)
    return run(
        program,
        packet=scenario.packet,
        context=scenario.context,
        maps=maps,
        environment=environment,
        fuel=fuel,
        observers=observers,
    )


def _fill(target: Map, key: bytes, value: bytes) -> None:
    if isinstance(target, MapOfMaps):
        content: object = create_map(target.spec.inner) if target.spec.inner is not None else None
    elif isinstance(target, XdpSocketMap):
        content = XdpSocket(int.from_bytes(value[:4], "little"))
    elif has_values(target):
        known = platform().map_type(target.spec.type)
        content = [value] * target.cpus if known is not None and known.per_cpu else value
    else:
        content = None
    if content is None or not isinstance(target, MutableMapping):
        return
    try:
        target[key] = content
    except MapError:
        return
