"""The trace of a run: where it was before each instruction, and which registers had changed.

A :class:`Recorder` is an observer of either of our engines.  The traces of two engines on one input tell the first
instruction after which they differ, with both states (:func:`first_difference`).

>>> from prevail_py.objects.text import assemble
>>> trace = record(assemble("r0 = 2\\nr0 += 1\\nexit"), "source", packet=b"")
>>> [(step.pc, step.changed[0]) for step in trace.steps if 0 in step.changed]
[(0, None), (1, 2), (2, 3)]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import zip_longest
from typing import Final, NamedTuple, TypeAlias

from prevail_py._render import Table
from prevail_py.isa.disassembler import disassemble
from prevail_py.objects.program import Program
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution, Interpreter, Observer, execute
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import Map
from prevail_py.vm.outcome import Outcome

__all__ = ["Recorder", "Step", "Trace", "first_difference", "record"]

_Word: TypeAlias = int | None

_SHOWN: Final = 100  # steps at either end in a notebook


class Step(NamedTuple):
    """Before an instruction: its slot, how many frames there are, and the registers that differ from one step before.

    A register is None while it is uninitialised; the first step names all eleven.
    """

    pc: int
    frames: int
    changed: Mapping[int, _Word]


@dataclass(frozen=True, slots=True)
class Trace:
    """The steps of a run of ``program``, and how it ended."""

    steps: tuple[Step, ...]
    execution: Execution
    program: Program | None = field(default=None, compare=False, repr=False)

    def registers(self, number: int) -> tuple[_Word, ...]:
        """R0 to R10 before the instruction that is number ``number`` of the run, from 0."""
        values: dict[int, _Word] = {}
        for step in self.steps[: number + 1]:
            values.update(step.changed)
        return tuple(values[register] for register in range(11))

    def _repr_html_(self) -> str:
        kept = self.steps if len(self.steps) <= 2 * _SHOWN else (*self.steps[:_SHOWN], *self.steps[-_SHOWN:])
        rows = []
        for position, step in enumerate(kept):
            number = position if position < _SHOWN else len(self.steps) - len(kept) + position
            if number != position and position == _SHOWN:
                rows.append(("…", "", f"{len(self.steps) - len(kept)} more", ""))
            code = None if self.program is None else self.program.code[step.pc]
            changed = ", ".join(
                f"r{register} = {'?' if value is None else hex(value)}"
                for register, value in step.changed.items()
                if number or value is not None
            )
            rows.append((str(number), str(step.pc), "" if code is None else disassemble(code, step.pc), changed))
        table = Table(("step", "slot", "instruction", "changed before it"), tuple(rows), right=frozenset({0, 1}))
        return f"{table._repr_html_()}<p>{escape(str(self.execution.outcome))}</p>"


class Recorder:
    """An observer that keeps each step of a run in ``steps``."""

    def __init__(self) -> None:
        self.steps: Final[list[Step]] = []
        self._last: list[_Word] | None = None

    def __call__(self, machine: Machine) -> None:
        """Note the step that is about to be executed."""
        last, now = self._last, machine.registers[:]
        changed = {n: value for n, value in enumerate(now) if last is None or value != last[n]}
        self.steps.append(Step(machine.pc, len(machine.calls), changed))
        self._last = now


def record(
    program: Program,
    engine: str,
    *,
    packet: bytes | None = None,
    context: bytes | None = None,
    maps: Sequence[Map] | None = None,
    environment: Environment | None = None,
    fuel: int = DEFAULT_FUEL,
) -> Trace:
    """Run ``program`` on ``engine``, "interpreter" or "source", and keep every step.

    Inputs and errors are those of :func:`prevail_py.vm.interpreter.run`; another engine is a ValueError.
    """
    run, recorder = _executor(engine), Recorder()

    def executor(machine: Machine, fuel: int) -> Outcome:
        return run(machine, fuel, (recorder,))

    execution = Interpreter(program).run_with(
        executor, packet=packet, context=context, maps=maps, environment=environment, fuel=fuel
    )
    return Trace(tuple(recorder.steps), execution, program)


def _executor(engine: str) -> Callable[[Machine, int, Sequence[Observer]], Outcome]:
    match engine:
        case "interpreter":
            return execute
        case "source":
            from prevail_py.vm.source.engine import run_generated

            return run_generated
        case _:
            raise ValueError(f"engine {engine!r} has no observers")


def first_difference(left: Trace, right: Trace) -> int | None:
    """The number of the first step that differs between two traces; None where they are equal.

    The instruction to blame is the one of the step before.
    """
    pairs = zip_longest(left.steps, right.steps)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), None)
