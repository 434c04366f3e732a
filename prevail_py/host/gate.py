"""The gate: nothing runs here that was not proved safe.

:func:`run` is the public way to run a program.  It refuses, with :class:`GateError`, a program without a SAFE verdict;
that goes for the programs it may tail-call too, since a verdict rests on theirs.  A program that traps after all is a
mistake of this toolkit, not of the program, and raises :class:`SoundnessError`.

The gate is a check within one process, for people who mean well: it keeps unproved programs from being run by
accident.  Code that wants to get around it can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prevail_py.objects.program import Program
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution, Observer
from prevail_py.vm.interpreter import run as interpret
from prevail_py.vm.maps import Map, create_maps
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.outcome import Outcome, TrapKind, Trapped

if TYPE_CHECKING:
    from prevail_py.verifier.verdict import Verdict

__all__ = ["GateError", "SoundnessError", "admit", "require_sound", "run"]


class GateError(PermissionError):
    """The program may not run: it has no SAFE verdict."""


class SoundnessError(RuntimeError):
    """A program that was proved safe trapped: the verifier or the interpreter is wrong."""


def run(
    program: Program,
    *,
    packet: bytes | None = None,
    context: bytes | None = None,
    maps: Sequence[Map] | None = None,
    verdict: Verdict | None = None,
    unchecked: bool = False,
    environment: Environment | None = None,
    fuel: int = DEFAULT_FUEL,
    observers: Sequence[Observer] = (),
) -> Execution:
    """Run a program that is SAFE, in the reference interpreter: see :func:`prevail_py.vm.interpreter.run`.

    ``verdict`` is what :func:`prevail_py.verifier.verify` said of this very program; without one it is asked here.
    ``unchecked=True`` is for experiments with programs that are not safe: no verdict is asked for, and the checked
    interpreter, which no program can harm, answers violations with a trap.  Raises :class:`GateError`,
    :class:`SoundnessError`, and ValueError for inputs that do not fit the program.
    """
    environment = environment or Environment()
    if not unchecked:
        if maps is None:
            maps = create_maps(program.maps, environment)
        admit(program, verdict, maps)
    execution = interpret(
        program, packet=packet, context=context, maps=maps, environment=environment, fuel=fuel, observers=observers
    )
    if not unchecked:
        require_sound(program, execution.outcome)
    return execution


def admit(program: Program, verdict: Verdict | None = None, maps: Sequence[Map] = ()) -> None:
    """Raise :class:`GateError` unless the program and all it may tail-call through ``maps`` are SAFE.

    Programs for which no verdict is given are verified here.
    """
    from prevail_py.verifier import verify

    if verdict is not None and verdict.program is not program and verdict.program != program:
        raise GateError(f"{program.name}: the verdict is about another program, {verdict.program.name}")
    _require_safe(verdict or verify(program))
    for target in _tail_call_targets(program, maps):
        _require_safe(verify(target))


def require_sound(program: Program, outcome: Outcome) -> None:
    """Raise :class:`SoundnessError` if a program that was admitted trapped.

    What the interpreter does not implement is no violation: such an outcome is left to the caller.
    """
    if isinstance(outcome, Trapped) and outcome.trap.kind is not TrapKind.UNSUPPORTED:
        trap = outcome.trap
        raise SoundnessError(
            f"{program.name} was proved SAFE but trapped at slot {trap.pc}: {trap.kind.value}: {trap.message}. "
            "This is a bug of prevail_py: please report it with the object file"
        )


def _require_safe(verdict: Verdict) -> None:
    from prevail_py.verifier.policy import STRICT

    if verdict.policy != STRICT.name:
        raise GateError(f"{verdict.program.name} may not run: the verdict was found under the policy {verdict.policy}")
    if verdict.is_safe:
        return
    first = f": {verdict.failures[0]}" if verdict.failures else f": {verdict.reason}" if verdict.reason else ""
    raise GateError(f"{verdict.program.name} may not run: {verdict.kind}{first}")


def _tail_call_targets(program: Program, maps: Sequence[Map]) -> Iterator[Program]:
    """The programs that ``program`` may reach by tail calls, each once."""
    programs, arrays = {id(program)}, set()
    pending = list(maps)
    while pending:
        map = pending.pop()
        if not isinstance(map, ProgramArray) or id(map) in arrays:
            continue
        arrays.add(id(map))
        for target in map.targets():
            pending.extend(target.maps or ())
            if id(target.program) not in programs:
                programs.add(id(target.program))
                yield target.program
