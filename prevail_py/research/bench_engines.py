"""How much faster the generated-source engine, or another, is: ``python -m prevail_py.research.bench_engines``.

Both engines run the same programs on the same packets, in turns; a program's ratio is the median of the ratios of the
rounds, so that a change of the machine's speed between rounds does not count.  Runs are whole ones: the setting up of
memory, packet and context, which both share, is part of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import geometric_mean, median
from typing import Final

from prevail_py import examples
from prevail_py._render import Table
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.text import assemble
from prevail_py.research.families import FAMILIES
from prevail_py.research.packets import packets
from prevail_py.vm.engines import Loaded, Trusting, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.maps import create_maps

__all__ = ["benchmarks", "main", "measure"]

_FAMILIES: Final = {"straight_line": 400, "diamonds": 60, "bounds_checks": 60, "loop": 400, "long_loop": 40,
                    "loops_in_sequence": 20, "nested_loops": 8, "calls": 100}  # fmt: skip
_EXAMPLES: Final = ("xdp_parser", "xdp_firewall", "xdp_counter", "xdp_histogram", "xdp_options")


_CALLBACKS: Final = """
    *(u64 *)(r10 - 8) = 0
    r1 = 200
    r2 = subprog[+8] ll
    r3 = r10
    r3 += -8
    r4 = 0
    call 181
    r0 = *(u64 *)(r10 - 8)
    r0 &= 1
    exit
    r3 = *(u64 *)(r2 + 0)
    r3 += r1
    r3 ^= 5
    r3 <<= 1
    r3 &= 0xffff
    *(u64 *)(r2 + 0) = r3
    r0 = 0
    exit
"""


def benchmarks() -> Iterator[tuple[str, Program, tuple[bytes, ...]]]:
    """Name, program and packets: loops and straight code of one shape each, parsers, programs with maps."""
    for name, size in _FAMILIES.items():
        yield f"{name} {size}", FAMILIES[name](size), (bytes(128),)
    yield "callbacks 200", assemble(_CALLBACKS), (bytes(128),)
    traffic = tuple(packets(1, 40))
    for name in _EXAMPLES:
        for program in load_object(examples.path(name)).programs.values():
            yield program.name, program, traffic


def _speed(loaded: Loaded, program: Program, inputs: Sequence[bytes], seconds: float) -> float:
    """Instructions per second of CPU time."""
    environment = Environment()
    maps = create_maps(program.maps, environment)
    steps, began = 0, time.process_time()
    while (elapsed := time.process_time() - began) < seconds or not steps:
        for packet in inputs:
            steps += loaded.run(packet=packet, maps=maps, environment=environment).steps
    return steps / elapsed if elapsed else 0.0


def measure(
    program: Program, inputs: Sequence[bytes], rounds: int, seconds: float, name: str = "source"
) -> tuple[float, float, float]:
    """Instructions per second of the reference and of another engine, medians, and the median of their ratios.

    These programs are known, so that an engine need not take care.
    """
    reference, source = engine("interpreter").load(program), engine(name).load(program)
    if isinstance(source, Trusting):
        source.trust()
    source.run(packet=inputs[0])  # compiled now
    pairs = [
        (_speed(reference, program, inputs, seconds), _speed(source, program, inputs, seconds)) for _ in range(rounds)
    ]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(b / a for a, b in pairs)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.bench_engines", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.1, metavar="S", help="for each program, engine and round")
    parser.add_argument("--engine", default="source", metavar="NAME", help="which engine to hold against it (source)")
    arguments = parser.parse_args(argv)
    rows, ratios = [], []
    for name, program, inputs in benchmarks():
        reference, source, ratio = measure(program, inputs, arguments.rounds, arguments.seconds, arguments.engine)
        rows.append((name, f"{reference:,.0f}", f"{source:,.0f}", f"{ratio:.1f}"))
        ratios.append(ratio)
    rows.append(("geometric mean", "", "", f"{geometric_mean(ratios):.1f}"))
    print(Table(("program", "interpreter/s", f"{arguments.engine}/s", "ratio"), tuple(rows), frozenset({1, 2, 3})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
