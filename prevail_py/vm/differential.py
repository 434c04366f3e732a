"""Run one program on several engines and compare everything they leave behind.

Compared are R0, or the trap with its slot and address, packet, context and map contents; between our own engines also
the number of steps, the log, and where the packet is sent.

The kernel refuses programs that ours run; what it accepts must end with the same result.  Ours trap on some things that
it lets root do (:data:`STRICTER`): such a run says nothing, and neither does one that depends on the host
(:data:`HOST_HELPERS`).  Any other trap in a program that the kernel accepted is a divergence.

Where two of our engines differ, the registers after every number of steps tell where they parted (:func:`locate`):
both stop at exactly the fuel that they are given, so that the first number of steps with different states can be
searched for.  The kernel is asked for its registers at one place after another (:mod:`prevail_py.vm.kernel.probe`).
What differs is made small by :mod:`prevail_py.vm.reduction`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from prevail_py.isa.instructions import Call
from prevail_py.objects.program import Program
from prevail_py.objects.text import disassemble
from prevail_py.platforms import platform
from prevail_py.vm.engines import EngineError, Loaded, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution, Executor, Interpreter, execute
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Map, MapError, create_maps, has_values
from prevail_py.vm.maps.model import Content
from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps
from prevail_py.vm.outcome import Outcome, OutOfFuel, Returned, Trap, TrapKind, Trapped
from prevail_py.vm.source.engine import run_generated

__all__ = [
    "FUEL",
    "HOST_HELPERS",
    "STRICTER",
    "Comparison",
    "Difference",
    "Divergence",
    "Input",
    "Parting",
    "compare",
    "contents",
    "load",
    "locate",
    "make_maps",
    "summary",
    "text_of",
]

FUEL: Final = 100_000
_EXECUTORS: Final[Mapping[str, Executor]] = {"interpreter": execute, "source": run_generated}

STRICTER: Final = frozenset(
    {
        TrapKind.UNSUPPORTED,
        TrapKind.POINTER_LEAK,
        TrapKind.POINTER_ARITHMETIC,
        TrapKind.UNINITIALISED_MEMORY,
        TrapKind.RETURN_RANGE,
    }
)
"""Traps of ours that are none on Linux for programs of root: leaked pointers, pointer differences, stale stack."""

HOST_HELPERS: Final[Mapping[int, str]] = {
    **dict.fromkeys((5, 125, 160, 208, 118), "the clock"),
    7: "random numbers",
    **dict.fromkeys((14, 15, 16, 35, 80, 121, 158), "the current process"),
    **dict.fromkeys((34, 46, 47, 27), "what the kernel hashes or numbers"),
    69: "the routes of the host",
    **dict.fromkeys((84, 85, 99), "the sockets of the host"),
}
"""Helpers whose results are those of the host that the kernel runs on."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a program: a packet, for types that run on packets, and the scalar fields of the context.

    ``maps`` are elements to set in fresh maps, by index in the program.  Per-CPU values are given as one, for all CPUs.
    """

    packet: bytes | None = None
    context: bytes | None = None
    fuel: int = FUEL
    maps: Mapping[int, Mapping[bytes, bytes]] = field(default_factory=dict)


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
    """Run ``program`` on each of ``engines`` (``loaded`` with it) and compare each with the first one that ran.

    Raises ValueError for map contents that do not fit the program.
    """
    given, environment = _world(program, given, engines)
    ran: dict[str, Execution] = {}
    skipped: dict[str, str] = {}
    for name in engines:
        try:
            if name == "kernel":
                _require_comparable(program)
            ran[name] = _run(program, given, loaded[name], environment)
        except EngineError as error:
            skipped[name] = str(error)
    results = {name: summary(execution.outcome) for name, execution in ran.items()}
    held = {name: _held(execution.maps) for name, execution in ran.items()}
    first, *others = ran or [""]
    for name in others:
        with_kernel = "kernel" in (first, name)
        if with_kernel:
            reason = _says_nothing(ran[first].outcome, ran[name].outcome)
            if reason is not None:
                skipped["kernel"] = reason
                continue
        left, right = ({**_fields(program, ran[side], with_kernel), **held[side]} for side in (first, name))
        differences = tuple(
            Difference(field, left.get(field, ""), right.get(field, ""))
            for field in dict.fromkeys([*left, *right])
            if left.get(field) != right.get(field)
        )
        if differences:
            parting = _parting(program, given, (first, name), loaded)
            return Comparison(results, skipped, Divergence(program, given, (first, name), differences, parting))
    return Comparison(results, skipped)


def load(program: Program, engines: Sequence[str], *, generated: bool = False) -> dict[str, Loaded]:
    """The program on each engine; raises ValueError for a program or a name that is not known.

    ``generated``: a program generator made it, and the kernel must be asked with that in mind.
    """
    loaded: dict[str, Loaded] = {}
    for name in engines:
        if name == "kernel" and generated:
            from prevail_py.vm.kernel.execution import KernelProgram

            loaded[name] = KernelProgram(program, generated=True)
        else:
            loaded[name] = engine(name).load(program)
    return loaded


def _world(program: Program, given: Input, engines: Sequence[str]) -> tuple[Input, int]:
    """The input with the context that the kernel would make up, and the number of CPUs, where the kernel takes part."""
    if "kernel" not in engines:
        return given, 1
    from prevail_py.vm.kernel.context import usual_context
    from prevail_py.vm.kernel.loader import possible_cpus

    if given.context is None and given.packet is not None:
        program_type = platform(program.platform).program_type(program.program_type, program.expected_attach_type)
        given = replace(given, context=usual_context(program_type, given.packet))
    return given, possible_cpus()


def _require_comparable(program: Program) -> None:
    for pc, instruction in enumerate(program.code):
        if isinstance(instruction, Call) and instruction.helper in HOST_HELPERS:
            name = platform(program.platform).helper_name(instruction.helper)
            raise EngineError(f"not comparable: {name} at slot {pc} tells {HOST_HELPERS[instruction.helper]}")


def _says_nothing(left: Outcome, right: Outcome) -> str | None:
    """Why an outcome of ours cannot be held against one of the kernel, None where it can."""
    for outcome in (left, right):
        match outcome:
            case OutOfFuel():
                return "not comparable: the other engine ran out of fuel"
            case Trapped(trap) if trap.kind in STRICTER or _reads_stale_stack(trap):
                return f"not comparable: {trap.kind.value} in the other engine"
            case _:
                pass
    return None


def _reads_stale_stack(trap: Trap) -> bool:
    """Whether a helper was given memory that the program never wrote."""
    return trap.kind is TrapKind.HELPER_ARGUMENT and trap.message.endswith("was never written")


def _parting(program: Program, given: Input, engines: tuple[str, str], loaded: Mapping[str, Loaded]) -> Parting | None:
    if set(engines) <= _EXECUTORS.keys():
        return locate(program, given, engines)
    ours = next((name for name in engines if name in _EXECUTORS), None)
    if ours is None or "kernel" not in engines:
        return None
    from prevail_py.vm.kernel.execution import KernelProgram
    from prevail_py.vm.kernel.probe import locate_in_kernel

    kernel = loaded["kernel"]
    found = locate_in_kernel(program, given, generated=isinstance(kernel, KernelProgram) and kernel.generated)
    if found is None:
        return None
    steps, slot, left, right = found
    sides = (left, right) if engines[1] == "kernel" else (right, left)
    return Parting(steps, slot, *sides)


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


def _run(program: Program, given: Input, loaded: Loaded, cpus: int) -> Execution:
    environment = Environment(cpus=cpus)
    maps = make_maps(program, given, environment)
    return loaded.run(packet=given.packet, context=given.context, maps=maps, environment=environment, fuel=given.fuel)


def make_maps(program: Program, given: Input, environment: Environment) -> tuple[Map, ...]:
    """Fresh maps with the elements of ``given``; raises :class:`MapError` (a ValueError) for those that do not fit."""
    maps = create_maps(program.maps, environment)
    for index, elements in given.maps.items():
        map = maps[index]
        if not has_values(map) or not isinstance(map, MutableMapping):
            raise MapError(map.spec.name, errno.EINVAL, "it holds no plain values")
        per_cpu = platform(program.platform).map_types[map.spec.type].per_cpu
        for key, value in elements.items():
            map[key] = [value] * environment.cpus if per_cpu else value
    return maps


def _fields(program: Program, execution: Execution, with_kernel: bool) -> Mapping[str, str]:
    fields = {"outcome": summary(execution.outcome)}
    if execution.packet is not None:
        fields["packet"] = execution.packet.hex()
    context = execution.context
    if with_kernel:
        from prevail_py.vm.kernel.context import visible_context

        kind = platform(program.platform).program_type(program.program_type, program.expected_attach_type)
        context = None if context is None else visible_context(kind, context)
    else:
        fields["steps"] = str(execution.steps)
        if execution.redirect is not None:
            fields["redirect"] = str(execution.redirect)
        if execution.log:
            fields["log"] = "\n".join(execution.log)
    if context is not None:
        fields["context"] = context.hex()
    return fields


def _held(maps: Sequence[Map]) -> Mapping[str, str]:
    return {
        f"map {number} ({map.spec.name}){key}": value for number, map in enumerate(maps) for key, value in contents(map)
    }


def contents(map: Map) -> Iterator[tuple[str, str]]:
    """What a map holds, as (key or number in brackets, value); zeros are left out.

    Records of a ring buffer are read, and a second call does not find them.
    """
    match map:
        case RingBuffer():
            for number, record in enumerate(map.drain()):
                yield f"[{number}]", record.hex()
        case PerfEventArray():
            for number, event in enumerate(map.records):
                yield f"[{number}]", f"cpu {event.cpu}: {event.data.hex()} {event.extra.hex()}"
        case MapOfMaps():
            for key, inner in map.items():
                yield from ((f"[{key.hex()}]{rest}", value) for rest, value in contents(inner))
        case Mapping():
            for key, content in map.items():
                if isinstance(content, bytes | list) and _not_zero(content):
                    yield f"[{key.hex()}]", _text(content)
        case _:
            pass


def _not_zero(content: Content) -> bool:
    return any(content) if isinstance(content, bytes) else any(any(each) for each in content)


def _text(content: Content) -> str:
    return content.hex() if isinstance(content, bytes) else " ".join(each.hex() for each in content)


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

    environment = Environment()
    maps = make_maps(interpreter.program, given, environment)
    execution = interpreter.run_with(
        executor, packet=given.packet, context=given.context, maps=maps, environment=environment, fuel=fuel
    )
    return execution.steps, {"outcome": "", **state}


def text_of(divergence: Divergence) -> str:
    """A divergence for people: the program, the input, what differs, and where the engines part."""
    given = divergence.given
    lines = [disassemble(divergence.program), f"packet {(given.packet or b'').hex() or '(empty)'}"]
    if given.context is not None:
        lines.append(f"context {given.context.hex()}")
    for index, elements in given.maps.items():
        name = divergence.program.maps[index].name
        lines += [f"map {index} ({name})[{key.hex()}] = {value.hex()}" for key, value in elements.items()]
    left, right = divergence.engines
    lines += [f"{d.field}: {left} has {d.left or '-'}, {right} has {d.right or '-'}" for d in divergence.differences]
    if divergence.parting is not None:
        parting = divergence.parting
        lines.append(f"they part within the first {parting.steps} instructions, before slot {parting.slot}:")
        for name, value in parting.left.items():
            lines.append(f"  {name}: {left} has {value or '-'}, {right} has {parting.right[name] or '-'}")
    return "\n".join(lines)
