"""Run one program on several engines and compare everything they leave behind; make what differs small.

Compared are R0, or the trap with its slot and address, packet, context, map contents and log; between our own engines
also the number of steps.  The kernel gives back the low 32 bits of R0, so no more is compared with it.

Where two of our engines differ, the registers after every number of steps tell where they parted (:func:`locate`):
both stop at exactly the fuel that they are given, so that the first number of steps with different states can be
searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from prevail_py.isa.instructions import Instruction, Jump
from prevail_py.objects.program import Program
from prevail_py.objects.text import disassemble
from prevail_py.vm.engines import EngineError, Loaded, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution, Executor, Interpreter, execute
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import create_maps
from prevail_py.vm.outcome import Outcome, OutOfFuel, Returned, Trapped
from prevail_py.vm.source.engine import run_generated

__all__ = [
    "Comparison",
    "Difference",
    "Divergence",
    "Input",
    "Parting",
    "compare",
    "load",
    "locate",
    "minimise",
    "summary",
]

FUEL: Final = 100_000
_EXECUTORS: Final[Mapping[str, Executor]] = {"interpreter": execute, "source": run_generated}
_NOTHING: Final = Jump(0)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a program: a packet, for types that run on packets, and the scalar fields of the context."""

    packet: bytes | None = None
    context: bytes | None = None
    fuel: int = FUEL


@dataclass(frozen=True, slots=True)
class Difference:
    """What the two engines have for one ``field``, as text."""

    field: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Parting:
    """Where two of our engines part: the states after the first ``steps`` instructions that leave different ones.

    ``slot`` is where the left engine then is.  The instruction to blame is the one before, or, where the engine checks
    fuel only now and then, one of those since its last check.
    """

    steps: int
    slot: int
    left: Mapping[str, str]
    right: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Divergence:
    """A program and an input on which two engines differ."""

    program: Program
    given: Input
    engines: tuple[str, str]
    differences: tuple[Difference, ...]
    parting: Parting | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome of one comparison: what each engine that ran says in short, why others did not, what differs."""

    results: Mapping[str, str]
    skipped: Mapping[str, str]
    divergence: Divergence | None = None


def compare(program: Program, given: Input, engines: Sequence[str], loaded: Mapping[str, Loaded]) -> Comparison:
    """Run ``program`` on each of ``engines`` (``loaded`` with it) and compare each with the first one that ran."""
    ran: dict[str, tuple[Mapping[str, str], Execution]] = {}
    skipped: dict[str, str] = {}
    for name in engines:
        try:
            execution = _run(program, given, loaded[name])
        except EngineError as error:
            skipped[name] = str(error)
            continue
        ran[name] = _fields(execution), execution
    results = {name: summary(execution.outcome) for name, (_, execution) in ran.items()}
    first, *others = ran or [""]
    for name in others:
        left, right = dict(ran[first][0]), dict(ran[name][0])
        if "kernel" in (first, name):
            for fields in (left, right):
                for field in ("steps", "context", "log", "redirect"):
                    fields.pop(field, None)
                if fields["outcome"].startswith("r0 = "):
                    fields["outcome"] = f"w0 = {int(fields['outcome'][5:], 16) & 0xFFFFFFFF:#x}"
        differences = tuple(
            Difference(field, left.get(field, ""), right.get(field, ""))
            for field in dict.fromkeys([*left, *right])
            if left.get(field) != right.get(field)
        )
        if differences:
            parting = locate(program, given, (first, name)) if {first, name} <= _EXECUTORS.keys() else None
            return Comparison(results, skipped, Divergence(program, given, (first, name), differences, parting))
    return Comparison(results, skipped)


def load(program: Program, engines: Sequence[str]) -> dict[str, Loaded]:
    """The program on each engine; raises ValueError for a program or a name that is not known."""
    return {name: engine(name).load(program) for name in engines}


def summary(outcome: Outcome) -> str:
    """An outcome in short, without the message of a trap."""
    match outcome:
        case Returned(value):
            return f"r0 = {value:#x}"
        case Trapped(trap):
            address = "" if trap.address is None else f" at address {trap.address:#x}"
            return f"{trap.kind.value} at slot {trap.pc}{address}"
        case OutOfFuel(pc):
            return f"out of fuel at slot {pc}"


def _run(program: Program, given: Input, loaded: Loaded) -> Execution:
    environment = Environment()
    maps = create_maps(program.maps, environment)
    return loaded.run(packet=given.packet, context=given.context, maps=maps, environment=environment, fuel=given.fuel)


def _fields(execution: Execution) -> Mapping[str, str]:
    fields = {"outcome": summary(execution.outcome), "steps": str(execution.steps)}
    for name in ("packet", "context"):
        content: bytes | None = getattr(execution, name)
        if content is not None:
            fields[name] = content.hex()
    if execution.redirect is not None:
        fields["redirect"] = str(execution.redirect)
    for number, map in enumerate(execution.maps):
        for key, value in _contents(map):
            fields[f"map {number} ({map.spec.name})[{key}]"] = value
    if execution.log:
        fields["log"] = "\n".join(execution.log)
    return fields


def _contents(map: Any) -> Iterator[tuple[str, str]]:
    """The elements of a map whose contents are bytes, without those that are all zero."""
    if not hasattr(map, "items"):
        return
    for key, value in map.items():
        values = value if isinstance(value, list) else [value]
        if all(isinstance(each, bytes) for each in values) and any(any(each) for each in values):
            yield key.hex(), " ".join(each.hex() for each in values)


def locate(program: Program, given: Input, engines: tuple[str, str]) -> Parting | None:
    """The first number of steps after which registers, or the slots, of two of our engines differ."""
    low, high = 0, given.fuel
    interpreter = Interpreter(program)
    steps = max(_state(interpreter, given, name, high)[0] for name in engines)
    high = min(high, steps)

    def states(fuel: int) -> tuple[Mapping[str, str], Mapping[str, str]]:
        left, right = (_state(interpreter, given, name, fuel)[1] for name in engines)
        return left, right

    left, right = states(high)
    if left == right:
        return None
    while low + 1 < high:  # the states after `low` steps are equal, those after `high` are not
        middle = (low + high) // 2
        left, right = states(middle)
        low, high = (middle, high) if left == right else (low, middle)
    left, right = states(high)
    differing = [name for name in left if left[name] != right[name]]
    return Parting(high, int(left["slot"]), {n: left[n] for n in differing}, {n: right[n] for n in differing})


def _state(interpreter: Interpreter, given: Input, name: str, fuel: int) -> tuple[int, Mapping[str, str]]:
    state: dict[str, str] = {}

    def executor(machine: Machine, fuel: int) -> Outcome:
        outcome = _EXECUTORS[name](machine, fuel)
        state["slot"] = str(machine.pc)
        if isinstance(outcome, OutOfFuel):  # at the end of a run not all engines leave registers in the machine
            for number, value in enumerate(machine.registers):
                state[f"r{number}"] = "uninitialised" if value is None else f"{value:#x}"
        else:
            state.update({f"r{number}": "" for number in range(11)}, outcome=summary(outcome))
        return outcome

    execution = interpreter.run_with(executor, packet=given.packet, context=given.context, fuel=fuel)
    return execution.steps, {"outcome": "", **state}


def text_of(divergence: Divergence) -> str:
    """A divergence for people: the program, the input, what differs, and where the engines part."""
    lines = [disassemble(divergence.program), f"packet {(divergence.given.packet or b'').hex() or '(empty)'}"]
    left, right = divergence.engines
    lines += [f"{d.field}: {left} has {d.left or '-'}, {right} has {d.right or '-'}" for d in divergence.differences]
    if divergence.parting is not None:
        parting = divergence.parting
        lines.append(f"they part within the first {parting.steps} instructions, before slot {parting.slot}:")
        for name, value in parting.left.items():
            lines.append(f"  {name}: {left} has {value or '-'}, {right} has {parting.right[name] or '-'}")
    return "\n".join(lines)


# Making it small ----------------------------------------------------------------------------------------------------


def minimise(divergence: Divergence) -> Divergence:
    """A smaller program and input on which the same engines still differ: one does, for this is how they are tried.

    Instructions give way to ``goto +0``, in chunks and then one by one, so that slots keep their numbers; packets get
    shorter, and bytes zero.
    """
    engines, best = divergence.engines, divergence

    def attempt(program: Program, given: Input) -> bool:
        nonlocal best
        try:
            found = compare(program, given, engines, load(program, engines)).divergence
        except ValueError:
            return False
        if found is None:
            return False
        best = found
        return True

    again = True
    while again:
        again = False
        for code in _smaller_codes(lambda: best.program.code):
            again |= attempt(replace(best.program, code=code), best.given)
    for packet in _smaller_packets(lambda: best.given.packet):
        attempt(best.program, replace(best.given, packet=packet))
    return best


def _smaller_codes(
    current: Callable[[], tuple[Instruction | None, ...]],
) -> Iterator[tuple[Instruction | None, ...]]:
    """The current code with ever smaller parts of it taken out."""
    length = len(current())
    size = length
    while size:
        for start in range(0, length, size):
            code = current()
            end = min(start + size, length)
            # Both slots of a wide load go, or none.
            start += start > 0 and code[start] is None
            end += end < length and code[end] is None
            changed = any(i is not None and i != _NOTHING for i in code[start:end])
            if changed:
                yield (*code[:start], *(_NOTHING,) * (end - start), *code[end:])
        size //= 2


def _smaller_packets(current: Callable[[], bytes | None]) -> Iterator[bytes]:
    packet = current()
    while packet:
        yield packet[: len(packet) // 2]
        shorter = current()
        if shorter == packet:
            break
        packet = shorter
    for size in (8, 1):
        position = 0
        while (packet := current()) and position < len(packet):
            if any(packet[position : position + size]):
                yield packet[:position] + bytes(len(packet[position : position + size])) + packet[position + size :]
            elif size == 1 and position == len(packet) - 1:
                yield packet[:-1]
            position += size
