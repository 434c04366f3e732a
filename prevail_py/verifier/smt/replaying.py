"""From a model of a difference to an input, and both programs on it in the interpreter."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

import z3

from prevail_py.isa.instructions import Call
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.platforms.model import ArgKind
from prevail_py.verifier.smt.models import bytes_of, number_of
from prevail_py.verifier.smt.observation import Inputs, Observation
from prevail_py.vm.context import takes_packet
from prevail_py.vm.interpreter import Execution
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Map, has_values
from prevail_py.vm.outcome import Returned
from prevail_py.vm.scenario import Scenario, play

__all__ = ["Difference", "replayed"]

_MOST: Final = 1 << 16
"""Bytes of packet that are tried, at most."""

_MOST_ELEMENTS: Final = 3
"""Elements of a map that are told of, at most."""

_LOOKUP: Final = 1
_LOW: Final = 0xFFFFFFFF
_FUEL: Final = 100_000


@dataclass(frozen=True, slots=True)
class Difference:
    """An input on which two programs differ in the interpreter, and in what they do.

    ``contents`` are elements of maps, as (name, key, value), that both found there.
    """

    packet: bytes | None
    context: bytes | None
    contents: tuple[tuple[str, bytes, bytes], ...]
    what: tuple[str, ...]

    def __str__(self) -> str:
        lines = [*self.what]
        if self.packet is not None:
            lines.append(f"on the packet {self.packet.hex() or '(empty)'}")
        if self.context is not None and any(self.context):
            lines.append(f"with the context {self.context.hex()}")
        lines += [f"with {value.hex()} under {key.hex()} in map {name}" for name, key, value in self.contents]
        return "\n".join(lines)


def replayed(left: Program, right: Program, inputs: Inputs, seen: Observation, model: z3.ModelRef) -> Difference | None:
    """The difference that a model promises, if it is there.  ``seen`` is what the first program does in the model."""
    kind = platform(left.platform).program_type(left.program_type, left.expected_attach_type, left.hook)
    packet: bytes | None = None
    if takes_packet(kind):
        size = number_of(model, inputs.size)
        if size > _MOST:
            return None
        packet = bytes_of(model, inputs.packet, size)
    context = bytes_of(model, inputs.context, kind.context_size) if kind.context_known else None
    contents = tuple(_contents(model, inputs, left, seen))
    runs = [_played(program, packet, context, contents) for program in (left, right)]
    what = tuple(_compared(*runs[0], *runs[1]))
    return Difference(packet, context, contents, what) if what else None


def _contents(
    model: z3.ModelRef, inputs: Inputs, program: Program, seen: Observation
) -> list[tuple[str, bytes, bytes]]:
    """What the look-ups of the first program find, and the variables of both."""
    names = {number: name for name, number in inputs.names.items()}
    specs = {spec.name: spec for spec in program.maps}
    found: dict[tuple[str, bytes], bytes] = {}
    for name in sorted(inputs.alike):
        spec = specs[name]
        if spec.initial is not None and not spec.read_only:
            start = number_of(model, inputs.base(name))
            found[name, bytes(spec.key_size)] = bytes_of(model, inputs.values, spec.value_size, start)
    for call in seen.world.calls:
        if not z3.is_true(model.eval(call.present, model_completion=True)):
            break
        helper, *words = (number_of(model, word) for word in call.words)
        name = names.get(words[0], "") if helper == _LOOKUP and words else ""
        if name not in specs or not number_of(model, call.result):
            continue
        size = words[2]
        content = b"".join(word.to_bytes(8, "little") for word in words[3:])[:size]
        value = bytes_of(model, inputs.values, specs[name].value_size, number_of(model, call.result))
        found.setdefault((name, content), value)
    return [(name, key, value) for (name, key), value in found.items()]


_Log = list[tuple[object, ...]]
_Maps = dict[str, dict[bytes, object]]


def _played(
    program: Program, packet: bytes | None, context: bytes | None, contents: tuple[tuple[str, bytes, bytes], ...]
) -> tuple[Execution, _Maps, _Log]:
    log: _Log = []

    def observe(machine: Machine) -> None:
        instruction = machine.program.code[machine.pc]
        if isinstance(instruction, Call):
            log.append(_call(machine, instruction.helper))

    stored = tuple(
        (index, key, value)
        for name, key, value in contents
        for index, spec in enumerate(program.maps)
        if spec.name == name
    )
    execution = play(program, Scenario(packet, stored, context=context), (observe,), _FUEL)
    maps = execution.maps[: len(program.maps)]
    return execution, {each.spec.name: _all(each) for each in maps if not each.spec.read_only}, log


def _all(target: Map) -> dict[bytes, object]:
    return dict(target) if has_values(target) and isinstance(target, MutableMapping) else {}


def _call(machine: Machine, helper: int) -> tuple[object, ...]:
    """A call of a helper, by what it is given."""
    prototype = machine.platform.helper(helper, machine.program.program_type)
    found: list[object] = [helper if prototype is None else prototype.name]
    spec = None
    for index, declared in enumerate(() if prototype is None else prototype.args, 1):
        value, region = machine.registers[index], machine.provenance[index]
        if declared.kind is ArgKind.MAP and region is not None and region.map_index is not None:
            spec = machine.map_of(region).spec
            found.append(spec.name)
            continue
        if region is None or value is None:
            found.append(value)
            continue
        size = {ArgKind.MAP_KEY: spec.key_size, ArgKind.MAP_VALUE: spec.value_size}.get(declared.kind) if spec else None
        if declared.is_sized_memory:
            size = machine.registers[index + 1]
        if size is None:
            found.append(region.kind.value)
        else:
            start = value - region.base
            found.append(bytes(region.data[start : start + size]))
    return tuple(found)


def _compared(
    one: Execution, maps: _Maps, log: _Log, other: Execution, other_maps: _Maps, other_log: _Log
) -> list[str]:
    """What differs, in words."""
    what: list[str] = []
    outcomes = [execution.outcome for execution in (one, other)]
    if not all(isinstance(outcome, Returned) for outcome in outcomes):
        return []  # a trap of a program that is SAFE, or what the interpreter does not model
    results = [outcome.value & _LOW for outcome in outcomes if isinstance(outcome, Returned)]
    if results[0] != results[1]:
        what.append(f"A returns {results[0]}, B returns {results[1]}")
    what += _bytes_apart("the packet", one.packet or b"", other.packet or b"")
    what += _bytes_apart("the context", one.context or b"", other.context or b"")
    for name in sorted(maps.keys() & other_maps.keys()):
        mine, theirs = maps[name], other_maps[name]
        what += [
            f"under {key.hex()} map {name} holds {_held(mine.get(key))} after A, {_held(theirs.get(key))} after B"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ][:_MOST_ELEMENTS]
    for number, (call, its) in enumerate(zip(log, other_log, strict=False), 1):
        if call != its:
            what.append(f"call {number} of a helper is {_text(call)} in A, {_text(its)} in B")
            break
    else:
        if len(log) != len(other_log):
            what.append(f"A calls {len(log)} helpers, B calls {len(other_log)}")
    return what


def _bytes_apart(name: str, mine: bytes, theirs: bytes) -> list[str]:
    if len(mine) != len(theirs):
        return [f"{name} has {len(mine)} bytes after A, {len(theirs)} after B"]
    apart = [place for place, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
    if not apart:
        return []
    first, last = apart[0], apart[-1] + 1
    where = f"byte {first} of {name} is" if last == first + 1 else f"bytes {first} to {last - 1} of {name} are"
    return [f"{where} {mine[first:last].hex()} after A, {theirs[first:last].hex()} after B"]


def _held(value: object) -> str:
    if value is None:
        return "nothing"
    values = value if isinstance(value, list) else [value]
    return ", ".join(each.hex() for each in values if isinstance(each, bytes))


def _text(call: tuple[object, ...]) -> str:
    name, *arguments = (each.hex() if isinstance(each, bytes) else str(each) for each in call)
    return f"{name}({', '.join(arguments)})"
