"""Small eBPF programs of our own, to read, to verify and to run: C sources with their compiled objects beside them.

>>> from prevail_py import examples
>>> examples.EXAMPLES["xdp_firewall"].summary
'drop packets by source, by service, or because they are malformed'
>>> [example.name for example in examples.EXAMPLES.values() if not example.safe][:2]
['unsafe_bounds', 'unsafe_off_by_one']

Each ``unsafe_*`` program has one mistake, on the line of its source that carries the comment ``// BUG:``.
``docs/examples.md`` says what each example is good for, and the ``Makefile`` here rebuilds the objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

__all__ = ["EXAMPLES", "FIREWALL_RULES", "TRAFFIC", "Example", "names", "path", "source"]

_FOLDER: Final = Path(__file__).parent

TRAFFIC: Final = _FOLDER / "traffic.pcap"
"""A small capture for XDP programs (``make_traffic.py`` writes it); some of it breaks the firewall's rules below."""


@dataclass(frozen=True, slots=True)
class Example:
    """One object file; ``programs`` are all its programs, the entry first.

    ``safe`` says what is true of every program in it, whatever a verifier may find out.
    """

    name: str
    programs: tuple[str, ...]
    safe: bool
    summary: str

    @property
    def program(self) -> str:
        """The name of the program that is meant to be attached."""
        return self.programs[0]

    @property
    def file(self) -> str:
        """The name of the object file, in the same folder as this module."""
        return f"{self.name}.o"

    def bug_line(self) -> int | None:
        """The line of the C source (from 1) that carries the mistake, None for a safe example."""
        lines = source(self.name).read_text(encoding="utf-8").splitlines()
        return next((number for number, line in enumerate(lines, 1) if "// BUG:" in line), None)


def _table(*examples: Example) -> Mapping[str, Example]:
    return MappingProxyType({example.name: example for example in examples})


# fmt: off
EXAMPLES: Final = _table(
    Example("xdp_counter", ("xdp_counter",), True, "count packets and bytes in an array map"),
    Example("xdp_firewall", ("xdp_firewall",), True,
            "drop packets by source, by service, or because they are malformed"),
    Example("xdp_parser", ("xdp_parser",), True, "classify VLAN, IPv4, IPv6, TCP, UDP, ICMP and ARP packets"),
    Example("xdp_options", ("xdp_options",), True, "walk TCP options in a bounded loop, drop tiny segment sizes"),
    Example("xdp_rewrite", ("xdp_rewrite",), True, "answer ICMP echo requests in place and send them back"),
    Example("xdp_vlan_pop", ("xdp_vlan_pop",), True, "remove a VLAN tag with bpf_xdp_adjust_head()"),
    Example("xdp_subprogram", ("xdp_subprogram",), True, "hash flows with subprograms that share a stack buffer"),
    Example("xdp_tailcall", ("dispatch", "handle_ipv4", "handle_ipv6"), True,
            "dispatch by protocol through a program array"),
    Example("xdp_globals", ("xdp_globals",), True, "sample packets by settings and counters in global variables"),
    Example("xdp_histogram", ("xdp_histogram",), True, "a histogram of lengths, indexed by a computed logarithm"),
    Example("xdp_ratelimit", ("xdp_ratelimit",), True, "a token bucket for each source in an LRU hash map"),
    Example("xdp_flows", ("xdp_flows",), True, "count packets and bytes of each IPv4 flow in a hash map"),
    Example("xdp_redirect", ("xdp_redirect",), True, "spread IPv6 flows over the slots of a device map"),
    Example("tc_classifier", ("tc_classifier",), True, "set mark and priority of a socket buffer from its DSCP"),
    Example("unsafe_bounds", ("drop_udp",), False, "reads a header that is not compared with data_end"),
    Example("unsafe_off_by_one", ("drop_ipv6",), False, "checks 13 bytes of the packet and reads 14"),
    Example("unsafe_null", ("count_by_queue",), False, "uses the result of a map lookup without testing it"),
    Example("unsafe_uninitialised_key", ("block_services",), False, "looks up a key with a byte that nobody wrote"),
    Example("unsafe_stale_pointer", ("pop_tag",), False, "writes through a packet pointer after the packet has moved"),
    Example("unsafe_stack_index", ("note_precedence",), False, "writes past an array on the stack"),
    Example("unsafe_map_index", ("count_lengths",), False, "writes past the end of a map value, by one element"),
    Example("unsafe_scan", ("skip_padding",), False, "scans the packet in a loop that nothing but its data ends"),
    Example("unsafe_readonly", ("spend",), False, "writes to a constant in .rodata"),
    Example("unsafe_helper_size", ("sum_options",), False, "gives a helper a length that may be negative"),
)
# fmt: on
"""All examples by name: the safe ones first."""


def names() -> tuple[str, ...]:
    """The names of all examples, in the order of the table."""
    return tuple(EXAMPLES)


def path(name: str) -> Path:
    """The object file of the example ``name``; raises KeyError with the known names if there is none."""
    return _FOLDER / _known(name).file


def source(name: str) -> Path:
    """The C source of the example ``name``; raises KeyError with the known names if there is none."""
    return _FOLDER / f"{_known(name).name}.c"


def _known(name: str) -> Example:
    try:
        return EXAMPLES[name]
    except KeyError:
        raise KeyError(f"no example {name!r}; there are {', '.join(EXAMPLES)}") from None


def _ipv4(dotted: str) -> bytes:
    return bytes(int(part) for part in dotted.split("."))


_NO_HITS: Final = bytes(8)

FIREWALL_RULES: Final[Mapping[str, Mapping[bytes, bytes]]] = MappingProxyType(
    {
        "blocked_sources": MappingProxyType(
            {_ipv4("198.51.100.66"): _NO_HITS, _ipv4("203.0.113.13"): _NO_HITS},
        ),
        # struct service: port in network byte order, protocol (6 TCP, 17 UDP), zero
        "blocked_services": MappingProxyType(
            {
                (23).to_bytes(2, "big") + bytes([6, 0]): _NO_HITS,
                (445).to_bytes(2, "big") + bytes([6, 0]): _NO_HITS,
                (1900).to_bytes(2, "big") + bytes([17, 0]): _NO_HITS,
            }
        ),
    }
)
"""Rules for ``xdp_firewall`` by map, as key and value bytes: two addresses, Telnet, SMB and SSDP."""
