"""The world around a program: clock, random numbers, CPUs, current process, network, foreign memory, and the log.

All of it is given or derived from a seed, so that every run can be repeated.  One environment may serve many runs (a
pcap replay, say): its clock and random numbers go on where the last run left them, and what programs did to the world
(printed, cloned packets, signals, socket options) piles up in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random
from typing import Any, Final

__all__ = ["LOOPBACK", "MAY_GOTO_LIMIT", "Clone", "Environment", "Interface", "Route", "Socket"]

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


@dataclass(frozen=True, slots=True)
class Interface:
    """A network device: sizes in bytes."""

    mtu: int = 1500
    header: int = 14


LOOPBACK: Final = 1
"""The number of the loopback interface, which is where packets of a test run by Linux come from."""


ANY_ADDRESS: Final = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket that socket look-ups find, or that a packet belongs to.

    ``protocol`` is 6 (TCP) or 17 (UDP), ``state`` a TCP state (1: established, 10: listening).  A socket with no remote
    end (port 0) takes packets from anywhere, as listening ones do; its unspecified address stands for any.
    """

    protocol: int = 6
    local: IPv4Address | IPv6Address = ANY_ADDRESS
    local_port: int = 0
    remote: IPv4Address | IPv6Address | None = None
    remote_port: int = 0
    state: int = 1
    mark: int = 0
    priority: int = 0
    cookie: int = 1
    uid: int = 0

    def __post_init__(self) -> None:
        if self.protocol not in (6, 17):
            raise ValueError(f"sockets of protocol {self.protocol} are not modelled: only TCP (6) and UDP (17)")
        if self.remote is not None and self.remote.version != self.local.version:
            raise ValueError("a socket has two addresses of one family")
        if not (0 <= self.local_port < 1 << 16 and 0 <= self.remote_port < 1 << 16):
            raise ValueError("ports have 16 bits")

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return 2 if self.local.version == 4 else 10

    @property
    def content(self) -> bytes:
        """What a program can read of it: a ``struct bpf_sock`` of 80 bytes."""
        kind = 1 if self.protocol == 6 else 2
        remote = type(self.local)(0) if self.remote is None else self.remote
        addresses = [
            address.packed.ljust(20, b"\0") if address.version == 4 else bytes(4) + address.packed
            for address in (self.local, remote)
        ]
        return (
            b"".join(word.to_bytes(4, "little") for word in (0, self.family, kind, self.protocol))
            + self.mark.to_bytes(4, "little")
            + self.priority.to_bytes(4, "little")
            + addresses[0]
            + self.local_port.to_bytes(4, "little")
            + self.remote_port.to_bytes(2, "big")
            + bytes(2)
            + addresses[1]
            + self.state.to_bytes(4, "little")
            + b"\xff\xff\xff\xff"  # no receive queue
        )


@dataclass(frozen=True, slots=True)
class Clone:
    """A copy of the packet that a program sent (``bpf_clone_redirect``)."""

    ifindex: int
    flags: int
    packet: bytes


@dataclass(slots=True)
class Environment:
    """A reproducible world.

    ``now`` is the time since boot in nanoseconds; each reading of the clock advances it by ``tick``.  ``cpu`` is the
    one that runs the program, out of ``cpus``.  ``interfaces`` are the network devices by number.  ``socket`` is what
    packets belong to, if anything; ``sockets`` is what look-ups find, the first that fits.  ``foreign`` is memory that
    is not the program's, by address: of the kernel, or of user space where addresses are below 2**47.
    ``cookie`` is what the program was attached with.  ``socket_options`` are those that were set or can be got, by
    (level, name), ``bound`` the address (a ``struct sockaddr``) that the program bound its socket to, and
    ``hook_result`` the error that the operation which called a cgroup hook will return.  ``randoms`` are the random
    numbers that come before those that follow from the seed.  ``redirect_context`` is what a program left for the
    process that a connection is redirected to (Windows).

    ``log`` receives what the program prints, one entry per call; ``clones`` and ``signals`` what it sent.
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
    interfaces: Mapping[int, Interface] = field(default_factory=lambda: {LOOPBACK: Interface(65536)})
    socket: Socket | None = None
    sockets: tuple[Socket, ...] = ()
    foreign: Mapping[int, bytes] = field(default_factory=dict)
    cookie: int = 0
    socket_options: dict[tuple[int, int], bytes] = field(default_factory=dict)
    bound: bytes | None = None
    hook_result: int = 0
    randoms: tuple[int, ...] = ()
    redirect_context: bytes | None = None
    log: list[str] = field(default_factory=list)
    clones: list[Clone] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
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
        """The next random unsigned 32-bit number: of ``randoms`` while there are some, then a pseudo-random one."""
        if self.randoms:
            number, self.randoms = self.randoms[0] & 0xFFFFFFFF, self.randoms[1:]
            return number
        return self._random.getrandbits(32)

    def draw(self, count: int) -> tuple[tuple[Any, tuple[int, ...]], bytes]:
        """What :meth:`rewind` wants to know, and the next random numbers as little-endian words of 32 bits."""
        before = self._random.getstate(), self.randoms
        return before, b"".join([self.random_u32().to_bytes(4, "little") for _ in range(count)])

    def rewind(self, before: tuple[Any, tuple[int, ...]], used: int) -> None:
        """Take back what was drawn since ``before``, but for the first ``used`` of it."""
        state, self.randoms = before
        self._random.setstate(state)
        for _ in range(used):
            self.random_u32()

    def route(self, destination: IPv4Address | IPv6Address) -> Route | None:
        """The route with the longest prefix that covers ``destination``."""
        covering = [route for route in self.routes if destination in route.network]
        return max(covering, key=lambda route: route.network.prefixlen, default=None)

    def read_foreign(self, address: int, size: int) -> bytes | None:
        """``size`` bytes of memory that is not the program's; None where they are not all in one piece of it."""
        for start, content in self.foreign.items():
            if start <= address and address + size <= start + len(content):
                return content[address - start : address - start + size]
        return None

    def read_foreign_string(self, address: int, size: int) -> bytes | None:
        """Up to ``size`` bytes that end with the first zero byte; None where memory ends before either."""
        for start, content in self.foreign.items():
            if start <= address < start + len(content):
                text = content[address - start : address - start + size]
                end = text.find(0)
                if end >= 0 or len(text) == size:
                    return text[: end + 1] if end >= 0 else text
        return None

    def find_socket(
        self,
        protocol: int,
        source: IPv4Address | IPv6Address,
        source_port: int,
        destination: IPv4Address | IPv6Address,
        destination_port: int,
    ) -> Socket | None:
        """The socket that a packet with these addresses is for: a connected one before one that listens."""
        wildcard = None
        for socket in self.sockets:
            if socket.protocol != protocol or socket.local_port != destination_port:
                continue
            if int(socket.local) and socket.local != destination:
                continue
            if socket.local.version != destination.version:
                continue
            if socket.remote_port == 0:
                wildcard = wildcard or socket
            elif (socket.remote, socket.remote_port) == (source, source_port):
                return socket
        return wildcard
