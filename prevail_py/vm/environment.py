"""The world around a program: clock, random numbers, CPUs, current process, routes, and the log.

All of it is given or derived from a seed, so that every run can be repeated.  One environment may serve many runs (a
pcap replay, say): its clock and random numbers go on where the last run left them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random
from typing import Final

__all__ = ["MAY_GOTO_LIMIT", "Environment", "Route"]

MAY_GOTO_LIMIT: Final = 8 * 1024 * 1024
"""How often the ``may_goto`` instructions of one call may fall through (BPF_MAX_LOOPS in Linux)."""


@dataclass(frozen=True, slots=True)
class Route:
    """What ``bpf_fib_lookup`` answers for destinations in ``network``; the longest matching prefix wins."""

    network: IPv4Network | IPv6Network
    ifindex: int
    source_mac: bytes = bytes(6)
    destination_mac: bytes = bytes(6)

    def __post_init__(self) -> None:
        if len(self.source_mac) != 6 or len(self.destination_mac) != 6:
            raise ValueError("a MAC address has 6 bytes")


@dataclass(slots=True)
class Environment:
    """A reproducible world.

    ``now`` is the time since boot in nanoseconds; each reading of the clock advances it by ``tick``.  ``cpu`` is the
    one that runs the program, out of ``cpus``.  ``log`` receives what the program prints, one entry per call.
    """

    seed: int = 0
    cpu: int = 0
    cpus: int = 1
    now: int = 1_000_000_000_000
    tick: int = 1_000
    pid: int = 4242
    tgid: int = 4242
    uid: int = 0
    gid: int = 0
    comm: bytes = b"prevail"
    may_goto_limit: int = MAY_GOTO_LIMIT
    routes: tuple[Route, ...] = ()
    log: list[str] = field(default_factory=list)
    _random: Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.cpu < self.cpus:
            raise ValueError(f"CPU {self.cpu} is not one of {self.cpus}")
        if len(self.comm) > 15:
            raise ValueError("a command name has at most 15 bytes")
        self._random = Random(self.seed)

    def read_clock(self) -> int:
        """Nanoseconds since boot; no two readings are equal."""
        self.now += self.tick
        return self.now

    def random_u32(self) -> int:
        """The next pseudo-random unsigned 32-bit number."""
        return self._random.getrandbits(32)

    def route(self, destination: IPv4Address | IPv6Address) -> Route | None:
        """The route with the longest prefix that covers ``destination``."""
        covering = [route for route in self.routes if destination in route.network]
        return max(covering, key=lambda route: route.network.prefixlen, default=None)
