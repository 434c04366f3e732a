"""What trust costs: ``python -m prevail_py.research.bench_trust``.

For each program the same work in three ways, in turns: verified in this process; verified by a confined verifier that
got the loaded program; and the whole way of an object file, loaded inside, back with its token, and admitted by the
gate.  Times are medians of wall-clock time, since the work is spread over two processes; what a busy machine adds is in
all three.  Besides: starting a verifier, and signing and checking a token alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from prevail_py import examples
from prevail_py._render import Table
from prevail_py.host.gate import admit
from prevail_py.host.service import Options, Verifier
from prevail_py.host.token import Claims, build_id, sign, subject
from prevail_py.host.trust import Trust
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.text import assemble
from prevail_py.verifier import verify
from prevail_py.vm.maps import create_maps

__all__ = ["main", "measure"]

_EXAMPLES: Final = ("xdp_counter", "xdp_firewall", "xdp_parser", "xdp_options")


def measure(rounds: int) -> str:
    """The table and the lines after it, each time the median of so many rounds."""
    start = time.perf_counter()
    with Verifier() as verifier:
        started = time.perf_counter() - start
        trust = Trust(verifier.key)
        rows = []
        smallest = assemble("r0 = 2\nexit")
        for name in ("r0 = 2; exit", *_EXAMPLES):
            path = None if name == "r0 = 2; exit" else examples.path(name)
            program = smallest if path is None else next(iter(load_object(path).programs.values()))

            def asked(program: Program = program) -> None:
                nonce = trust.nonce()
                certified = verifier.verify(program, nonce=nonce)
                admit(program, maps=create_maps(program.maps), token=certified.token, trust=trust)

            def whole(path: str = str(path)) -> None:
                nonce = trust.nonce()
                for each in verifier.verify_object(path, nonce=nonce):
                    found = each.verdict.program
                    admit(found, maps=create_maps(found.maps), token=each.token, trust=trust)

            def here(program: Program = program) -> None:
                verify(program)

            ways: list[Callable[[], None]] = [here, asked] if path is None else [here, asked, whole]
            times: list[list[float]] = [[] for _ in ways]
            for _ in range(rounds):
                for way, spent in zip(ways, times, strict=True):
                    spent.append(_seconds(way))
            rows.append((name, *(f"{1000 * median(each):.2f}" for each in times), *[""] * (3 - len(ways))))
    header = ("program", "verified here, ms", "by token, ms", "object by token, ms")
    return "\n".join([str(Table(header, tuple(rows), frozenset({1, 2, 3}))), "", *_alone(rounds, started)])


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _alone(rounds: int, started: float) -> list[str]:
    """Starting, signing, checking."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    trust = Trust(key.public_key().public_bytes_raw())
    program = next(iter(load_object(examples.path("xdp_firewall")).programs.values()))
    signing, checking = [], []
    token = b""
    for _ in range(rounds):
        start = time.perf_counter()
        now = time.time_ns() // 1_000_000
        claims = Claims("SAFE", **subject(program), options=Options(), build=build_id(), nonce=trust.nonce(), time=now)
        token = sign(claims, key)
        signing.append(time.perf_counter() - start)
        start = time.perf_counter()
        trust.accept(program, token)
        checking.append(time.perf_counter() - start)
    return [
        f"starting a verifier, until it is locked down and has said so: {started:.2f} s",
        f"xdp_firewall, hashing and signing: {1000 * median(signing):.2f} ms; "
        f"hashing and checking: {1000 * median(checking):.2f} ms; the token has {len(token)} bytes",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.bench_trust", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, metavar="N", help="how often (50)")
    print(measure(parser.parse_args(argv).rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
