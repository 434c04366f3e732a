"""What the writers of instructions have in common: the way to the reference, registers with their provenance, guards.

A fast path begins with guards, conditions under which the reference would trap or do something rare: then the reference
executes the instruction (:func:`prevail_py.vm.source.runtime.step`).  Leaving out a guard needs a fact from the
analysis.  In the text ``left`` is the fuel at the last point where it was checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from prevail_py.isa.instructions import Immediate, Operand, Register
from prevail_py.isa.semantics import immediate_word
from prevail_py.platforms import Platform
from prevail_py.platforms.model import HelperPrototype
from prevail_py.vm.machine import Code
from prevail_py.vm.source.algebra import SOURCE, Term, name
from prevail_py.vm.source.analysis import May, State
from prevail_py.words import WORD_BITS

__all__ = ["CALLBACKS", "REGISTERS", "Site", "Writer", "function_name", "indent", "term", "uninitialised"]

REGISTERS: Final = f"({', '.join(f'r{n}' for n in range(10))})"
CALLBACKS: Final = "callbacks"
"""The name, in generated code, of the functions of the program by their entry slots."""


class Site(NamedTuple):
    """An instruction: its slot, how many were executed since fuel was checked, itself included, the state before it."""

    pc: int
    steps: int
    state: State


class Writer:
    """Writes lines without indentation for one function, whose entry is slot ``function``.

    ``states`` are those before each slot.  ``nested`` is whether a pointer may lead to the frame of a caller.  ``used``
    collects the names of what the function must set up when it starts.
    """

    def __init__(
        self, code: Code, platform: Platform, states: Mapping[int, State], function: int, recursive: bool
    ) -> None:
        self.code = code
        self.platform = platform
        self.states = states
        self.nested = function != 0 or recursive
        self.holds_pointer = [any(s.registers[n].pointer for s in states.values()) for n in range(10)]
        self.used: set[str] = set()
        self.provenance = f"({', '.join(f'p{n}' if self.holds_pointer[n] else 'None' for n in range(10))})"
        self._targets = ", ".join(f"p{n}" if self.holds_pointer[n] else "_" for n in range(10))

    def at(self, at: Site) -> str:
        """The arguments that tell the machine where we are: slot, steps, registers and their provenance."""
        return f"{at.pc}, {at.steps} - left, {REGISTERS}, {self.provenance}"

    def reference(self, at: Site) -> list[str]:
        """The instruction as a step of the reference."""
        return [f"{REGISTERS[1:-1]}, {self._targets} = step(m, {self.at(at)})"]

    def guarded(self, guards: Sequence[str], lines: Sequence[str], at: Site) -> list[str]:
        """The fast path, unless one of the guards holds."""
        if not guards:
            return list(lines)
        return [f"if {' or '.join(guards)}:", *indent(self.reference(at)), "else:", *indent(lines)]

    def use(self, part: str) -> str:
        """Note that the function must set something up; its name."""
        self.used.add(part)
        return part

    def prototype(self, helper: int) -> HelperPrototype | None:
        """What the program may expect of a helper."""
        program_type = self.code.program_type
        return self.platform.helper(helper, None if program_type is None else program_type.name)

    # Registers ------------------------------------------------------------------------------------------------------

    def pointer(self, register: Register) -> str:
        """The provenance of a register."""
        if register == Register.R10:
            return "stack"
        return f"p{register}" if self.holds_pointer[register] else "None"

    def set_provenance(self, state: State, register: Register, text: str) -> list[str]:
        """Set the provenance of a register; those that never hold a pointer have no variable for it."""
        known = text == "None" and not state.registers[register].pointer
        return [] if known or not self.holds_pointer[register] else [f"p{register} = {text}"]

    @property
    def result(self) -> str:
        """The variables of R0 and its provenance."""
        return f"r0, {'p0' if self.holds_pointer[0] else '_'}"

    def clobber(self) -> list[str]:
        """What a call does to R1 to R5."""
        pointers = [f"p{n}" for n in range(1, 6) if self.holds_pointer[n]]
        return [" = ".join([*(f"r{n}" for n in range(1, 6)), *pointers, "None"])]


def function_name(entry: int) -> str:
    """What the function that starts at a slot is called; slots before the program have names too."""
    return f"function{entry}" if entry >= 0 else f"function_before{-entry}"


def term(operand: Operand) -> Term:
    """The word that an operand stands for."""
    if isinstance(operand, Immediate):
        return SOURCE.const(immediate_word(operand.value), WORD_BITS)
    return name(f"r{operand}")


def uninitialised(state: State, operand: Operand) -> list[str]:
    """The guard that an operand was written: R10 always is."""
    return [f"r{operand} is None"] if state.value(operand).may & May.UNINITIALISED else []


def indent(lines: Sequence[str]) -> list[str]:
    """One level deeper."""
    return [f"    {line}" for line in lines]
