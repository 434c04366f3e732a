"""Witnesses: inputs on which a program violates an assertion, replayed in the reference interpreter.

Nothing is a witness that did not trap there: :func:`witness_of` runs the inputs and gives one only then.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import Any, Final

from prevail_py._render import Table, badge
from prevail_py.isa.disassembler import disassemble
from prevail_py.isa.encode import encode
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.vm.outcome import Trap, TrapKind, Trapped
from prevail_py.vm.scenario import Scenario, play

__all__ = ["Witness", "simplified", "witness_of"]


@dataclass(frozen=True, slots=True)
class Witness:
    """``inputs`` make ``program`` end in ``trap``: the proof that it is unsafe.

    ``inputs`` are the packet, the contents of maps before the run, the scalar part of the context, the random numbers
    that the program gets, and fields of its environment (:class:`~prevail_py.vm.scenario.Scenario`).
    """

    program: Program = field(repr=False)
    inputs: Scenario
    trap: Trap

    def replay(self) -> Trapped:
        """The run again.  Raises AssertionError where it does not end in the same trap."""
        outcome = play(self.program, self.inputs).outcome
        assert outcome == Trapped(self.trap), f"the witness gives {outcome}"
        assert isinstance(outcome, Trapped)
        return outcome

    @property
    def packet(self) -> bytes | None:
        """The packet, None for programs that run on none."""
        return self.inputs.packet

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"{name:8} {text}" for name, text in self.inputs_shown())])

    @property
    def headline(self) -> str:
        """Where the run ends, and in what."""
        line = self.program.line_at(self.trap.pc)
        where = f"{line}" if line else f"slot {self.trap.pc}"
        return f"{where}: {self.trap.kind.value}: {self.trap.message}"

    def inputs_shown(self) -> list[tuple[str, str]]:
        """The inputs as rows of a name and a text."""
        inputs = self.inputs
        rows = []
        if inputs.packet is not None:
            shown = inputs.packet.hex() if any(inputs.packet) else ("all zero" if inputs.packet else "")
            rows.append(("packet", f"{len(inputs.packet)} bytes{': ' if shown else ''}{shown}"))
        if inputs.context is not None:
            rows.append(("context", inputs.context.hex()))
        for index, key, value in inputs.contents:
            rows.append(("map", f"{self.program.maps[index].name}[{key.hex()}] = {value.hex()}"))
        if inputs.randoms:
            rows.append(("random", ", ".join(map(str, inputs.randoms))))
        rows += [(name, str(value)) for name, value in inputs.world]
        return rows

    def _repr_html_(self) -> str:
        instruction = self.program.code[self.trap.pc]
        text = "" if instruction is None else disassemble(instruction, self.trap.pc)
        rows = (*self.inputs_shown(), ("code", f"{self.trap.pc}: {text}"))
        table = Table(("input", "value"), tuple(rows))
        return f"<p>{badge('UNSAFE', 'bad')} {escape(self.headline)}</p>{table._repr_html_()}"

    def document(self) -> dict[str, Any]:
        """The witness as JSON has it; bytes are hexadecimal."""
        inputs, trap = self.inputs, self.trap
        return {
            "trap": {"kind": trap.kind.value, "pc": trap.pc, "message": trap.message, "address": trap.address},
            "packet": None if inputs.packet is None else inputs.packet.hex(),
            "context": None if inputs.context is None else inputs.context.hex(),
            "maps": [{"map": index, "key": key.hex(), "value": value.hex()} for index, key, value in inputs.contents],
            "randoms": list(inputs.randoms),
            "world": dict(inputs.world),
            "seed": inputs.seed,
        }

    @property
    def identifier(self) -> str:
        """The program's name as part of one that code or a file may have."""
        return "".join(each if each.isascii() and each.isalnum() else "_" for each in self.program.name)

    def pytest(self) -> str:
        """A test file that needs nothing but this package: it replays the witness.

        The program is in it as bytecode, so that it stays what it was.  Names, which are whatever an object has, are
        text in it and nothing else.
        """
        return _TEST.format(
            name=_plain(self.program.name),
            headline=_plain(self.headline),
            function=self.identifier.lower(),
            code=encode(self.program.code).hex(),
            program=_text_of(self.program),
            maps="".join(f"        {_map_text(spec)},\n" for spec in self.program.maps),
            inputs=repr(self.inputs),
            kind=self.trap.kind.name,
            pc=self.trap.pc,
        )


def witness_of(program: Program, inputs: Scenario) -> Witness | None:
    """The witness that ``inputs`` are; None where their run does not trap.

    What the interpreter does not implement is nobody's fault and no witness; nor is a result that the program's hook
    may take, as far as one knows.
    """
    outcome = play(program, inputs).outcome
    if not isinstance(outcome, Trapped) or outcome.trap.kind is TrapKind.UNSUPPORTED:
        return None
    if outcome.trap.kind is TrapKind.RETURN_RANGE:
        host = platform(program.platform)
        if host.depends_on_hook(program.expected_attach_type, program.hook):
            return None
    return Witness(program, inputs, outcome.trap)


def simplified(witness: Witness) -> Witness:
    """A witness of the same trap at the same slot, with zeros and defaults wherever that changes nothing."""
    inputs = witness.inputs
    if inputs.context is not None:
        witness = _tried(witness, replace(inputs, context=None))
    if inputs.world:
        witness = _tried(witness, replace(witness.inputs, world=()))
    for element in inputs.contents if len(inputs.contents) <= _MOST_TRIES else ():
        kept = tuple(each for each in witness.inputs.contents if each != element)
        witness = _tried(witness, replace(witness.inputs, contents=kept))
    packet = inputs.packet
    if packet is None or not any(packet):
        return witness
    plain = _tried(witness, replace(witness.inputs, packet=bytes(len(packet))))
    if plain is not witness or len(packet) > _MOST_TRIES:
        return plain
    for place, byte in enumerate(packet):
        now = witness.inputs.packet
        if byte and now is not None:
            witness = _tried(witness, replace(witness.inputs, packet=now[:place] + b"\0" + now[place + 1 :]))
    return witness


_MOST_TRIES: Final = 128


def _tried(witness: Witness, inputs: Scenario) -> Witness:
    other = witness_of(witness.program, inputs)
    same = other is not None and (other.trap.kind, other.trap.pc) == (witness.trap.kind, witness.trap.pc)
    return other if other is not None and same else witness


_TEST = '''"""A witness that {name} is unsafe.

{headline}
"""

from prevail_py.isa.decode import decode
from prevail_py.objects.program import MapSpec, Program
from prevail_py.vm.outcome import Trapped, TrapKind
from prevail_py.vm.scenario import Scenario, play

PROGRAM = Program(
    code=decode(bytes.fromhex("{code}")),
    maps=(
{maps}    ),
{program})
INPUTS = {inputs}


def test_{function}_traps() -> None:
    outcome = play(PROGRAM, INPUTS).outcome
    assert isinstance(outcome, Trapped)
    assert (outcome.trap.kind, outcome.trap.pc) == (TrapKind.{kind}, {pc})
'''


_KEPT: Final = (
    "name", "section", "program_type", "expected_attach_type", "licence", "hook", "platform", "poisoned"
)  # fmt: skip


def _plain(text: str) -> str:
    """One line that may stand in a docstring."""
    return " ".join(text.split()).replace("\\", "/").replace('"', "'")


def _text_of(program: Program) -> str:
    return "".join(f"    {name}={getattr(program, name)!r},\n" for name in _KEPT)


def _map_text(spec: MapSpec) -> str:
    shown = {each.name: getattr(spec, each.name) for each in fields(spec) if each.repr and each.name != "inner"}
    inner = "" if spec.inner is None else f", inner={_map_text(spec.inner)}"
    return f"MapSpec({', '.join(f'{name}={value!r}' for name, value in shown.items())}{inner})"
