"""A campaign on code without checks: ``python -m prevail_py.research.proved --programs 2000 --inputs 4``.

Generated programs are verified, and those that are SAFE run in the interpreter and as proved native code
(:mod:`prevail_py.vm.jit.proved`): at both tiers, with fuel counted, and in checked mode, where each access tests the
fact that it rests on.  Outcome, packet, context, maps, log, clock and random numbers must be equal; steps are not
counted.  The seed of a program is its number.  The exit status is 1 where something differs.  With ``--callbacks``
they are those of :mod:`prevail_py.research.callbacks`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prevail_py.isa.disassembler import listing
from prevail_py.objects.program import Program
from prevail_py.objects.region_facts import RegionFacts
from prevail_py.platforms import platform
from prevail_py.research import callbacks
from prevail_py.research.differential import inputs_of, program_of
from prevail_py.verifier import verify
from prevail_py.vm.differential import Input, contents, make_maps
from prevail_py.vm.engines import EngineCrash
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution, Interpreter
from prevail_py.vm.machine import prepare
from prevail_py.vm.outcome import OutOfFuel, Returned

if TYPE_CHECKING:
    from prevail_py.vm.jit.compile import Tier
    from prevail_py.vm.jit.proved.engine import ProvedProgram

__all__ = ["MODES", "Found", "Tally", "campaign", "compare", "load", "main"]

MODES: Final[Mapping[str, tuple[Tier, bool, bool]]] = {
    "O0": (0, False, False), "O2": (2, False, False), "O0 fuel": (0, True, False), "O0 checked": (0, False, True),
}  # fmt: skip
"""Tier, whether fuel is counted, whether accesses are checked."""

_MAY_GOTO: Final = 9
"""So low that loops come to it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A difference: the program by its number, the packet, the mode, and what differs in it."""

    number: int
    packet: bytes
    mode: str
    what: str


@dataclass(slots=True)
class Tally:
    """What a campaign ran: ``proved`` counts the programs that were run without checks, ``why`` those that were not."""

    programs: int = 0
    runs: int = 0
    proved: int = 0
    why: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)


def load(program: Program, facts: RegionFacts, mode: str) -> ProvedProgram:
    """The program in one of :data:`MODES`.  Raises :class:`~prevail_py.vm.jit.proved.plan.Ineligible`."""
    from dataclasses import replace

    from prevail_py.vm.jit.proved.engine import ProvedProgram

    tier, fuel, checked = MODES[mode]
    if fuel:
        facts = replace(facts, instructions=None)
    host = platform(program.platform)
    return ProvedProgram(prepare(host, program, {}), host, facts, tier, checked=checked)


def compare(program: Program, loaded: ProvedProgram, given: Input) -> str:
    """How native code differs from the reference on an input; empty where it does not.

    A run that the reference cuts off is compared no further: native code has to return, or be cut off as well.
    """
    reference = Interpreter(program)
    worlds = [Environment(may_goto_limit=_MAY_GOTO), Environment(may_goto_limit=_MAY_GOTO)]
    maps = [make_maps(program, given, world) for world in worlds]
    inputs = {"packet": given.packet, "context": given.context, "fuel": given.fuel}
    expected = reference.run(maps=maps[0], environment=worlds[0], **inputs)  # type: ignore[arg-type]
    try:
        got = loaded.run(given.packet, given.context, maps[1], worlds[1], given.fuel)
        if got is None:
            got = reference.run_with(loaded.execute, maps=maps[1], environment=worlds[1], **inputs)  # type: ignore[arg-type]
    except EngineCrash as crash:
        return str(crash)
    if isinstance(expected.outcome, OutOfFuel):
        # Turns of loops are counted, not instructions: native code stops later, in another place, or comes to the end.
        return "" if isinstance(got.outcome, OutOfFuel | Returned) else f"outcome: {got.outcome}"
    left, right = (_fields(*pair) for pair in zip((expected, got), worlds, strict=True))
    differs = [name for name in left if left[name] != right[name]]
    return "; ".join(f"{name}: {left[name]!r} is {right[name]!r}" for name in differs)


def _fields(execution: Execution, world: Environment) -> dict[str, object]:
    fields = execution._asdict()
    del fields["steps"], fields["maps"]
    held = [list(contents(map)) for map in execution.maps]
    return {**fields, "maps": held, "now": world.now, "random": world.random_u32()}


def campaign(
    numbers: Sequence[int],
    inputs: int,
    modes: Sequence[str] = tuple(MODES),
    *,
    stop_at: int = 5,
    source: Callable[[int], Program] = program_of,
) -> Iterator[Tally]:
    """Verify and run the programs with these numbers; the tally after each.  Ends early after so many differences."""
    from prevail_py.vm.jit.proved.plan import Ineligible

    tally = Tally()
    for number in numbers:
        program = source(number)
        verdict = verify(program, termination=True)
        tally.programs += 1
        if not verdict.is_safe:
            tally.why[f"{verdict.kind}"] += 1
        else:
            try:
                facts = verdict.region_facts()
                loaded = {mode: load(program, facts, mode) for mode in modes}
            except (Ineligible, ValueError) as reason:
                tally.why[str(reason).split(": ")[-1]] += 1
                loaded = {}
            tally.proved += bool(loaded)
            for given in inputs_of(program, number, inputs, cut_off=False) if loaded else ():
                for mode, each in loaded.items():
                    tally.runs += 1
                    what = compare(program, each, given)
                    if what:
                        tally.found.append(Found(number, given.packet or b"", mode, what))
        yield tally
        if len(tally.found) >= stop_at:
            return


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign and print what came of it; 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.proved", description=__doc__)
    parser.add_argument("--programs", type=int, default=1000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first program")
    parser.add_argument("--inputs", type=int, default=4, metavar="N", help="packets for each program")
    parser.add_argument("--callbacks", action="store_true", help="programs with bpf_loop and may_goto")
    arguments = parser.parse_args(argv)
    source = callbacks.program if arguments.callbacks else program_of
    began, tally = time.process_time(), Tally()
    numbers = range(arguments.first, arguments.first + arguments.programs)
    (tally,) = deque(campaign(numbers, arguments.inputs, source=source), maxlen=1) or (tally,)
    print(
        f"{tally.programs} programs, {tally.proved} of them run without checks, {tally.runs} runs in "
        f"{len(MODES)} modes: {len(tally.found)} differences ({time.process_time() - began:.0f} s of CPU time)"
    )
    for reason, count in tally.why.most_common():
        print(f"  {count:6} not run: {reason}")
    for found in tally.found:
        print(f"\nprogram {found.number}, {found.mode}, packet {found.packet[:64].hex()}: {found.what[:1000]}")
    if tally.found:
        print(listing(source(tally.found[0].number).code))
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
