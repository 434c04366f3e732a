"""Run one program on several engines and compare everything they leave behind.

Compared are R0, or the trap with its slot and address, packet, context and map contents; between our own engines also
the number of steps, the log, and where the packet is sent.

The kernel refuses programs that ours run; what it accepts must end with the same result.  Ours trap on some things that
it lets root do (:data:`STRICTER`): such a run says nothing, and neither does one that depends on the host
(:data:`HOST_HELPERS`).  Any other trap in a program that the kernel accepted is a divergence.

Where two of our engines part is told by :mod:`prevail_py.vm.parting`; the kernel is asked for its registers at one
place after another (:mod:`prevail_py.vm.kernel.probe`).  :mod:`prevail_py.vm.reduction` makes what differs small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prevail_py.isa.instructions import Call
from prevail_py.objects.program import Program
from prevail_py.objects.text import disassemble
from prevail_py.platforms import platform
from prevail_py.vm.engines import EngineCrash, EngineError, Loaded, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution
from prevail_py.vm.maps import Map
from prevail_py.vm.maps.model import Content
from prevail_py.vm.maps.queue import QueueMap
from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps
from prevail_py.vm.outcome import Outcome, OutOfFuel, Trap, TrapKind, Trapped
from prevail_py.vm.parting import FUEL, OBSERVED, Input, Parting, compares_addresses, locate, make_maps, summary

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
class Difference:
    """What the two engines have for one ``field``, as text."""

    field: str
    left: str
    right: str


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
    crashed: dict[str, str] = {}
    for name in engines:
        try:
            if name == "kernel":
                _require_comparable(program)
            ran[name] = _run(program, given, loaded[name], environment)
        except EngineCrash as crash:
            crashed[name] = str(crash)
        except EngineError as error:
            skipped[name] = str(error)
    results = {name: summary(execution.outcome) for name, execution in ran.items()} | crashed
    for name, died in crashed.items():
        other = next(iter(ran), "")
        difference = Difference("outcome", results.get(other, ""), died)
        return Comparison(results, skipped, Divergence(program, given, (other, name), (difference,)))
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
        slot = compares_addresses(program, given) if differences and with_kernel else None
        if slot is not None:
            skipped["kernel"] = f"not comparable: slot {slot} compares an address"
        elif differences:
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
    if set(engines) <= OBSERVED.keys():
        return locate(program, given, engines)
    ours = next((name for name in engines if name in OBSERVED), None)
    if ours is None or "kernel" not in engines:
        return None
    from prevail_py.vm.kernel.execution import KernelProgram
    from prevail_py.vm.kernel.probe import locate_in_kernel

    kernel = loaded["kernel"]
    found = locate_in_kernel(program, given, generated=isinstance(kernel, KernelProgram) and kernel.generated)
    if found is None:
        return None
    sides = (found.ours, found.theirs) if engines[1] == "kernel" else (found.theirs, found.ours)
    return Parting(found.steps, found.slot, *sides, found.blame)


def _run(program: Program, given: Input, loaded: Loaded, cpus: int) -> Execution:
    environment = Environment(cpus=cpus)
    maps = make_maps(program, given, environment)
    return loaded.run(packet=given.packet, context=given.context, maps=maps, environment=environment, fuel=given.fuel)


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
        case QueueMap():
            for number, value in enumerate(map):
                yield f"[{number}]", value.hex()
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
        where = (
            f"within the first {parting.steps} instructions" if parting.blame is None else f"at slot {parting.blame}"
        )
        lines.append(f"they part {where}, before slot {parting.slot}:")
        for name, value in parting.left.items():
            lines.append(f"  {name}: {left} has {value or '-'}, {right} has {parting.right[name] or '-'}")
    return "\n".join(lines)
