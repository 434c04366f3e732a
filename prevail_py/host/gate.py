"""The gate: nothing runs here that was not proved safe.

:func:`run` is the public way to run a program.  It refuses, with :class:`GateError`, a program without a SAFE verdict;
that goes for the programs it may tail-call too, since a verdict rests on theirs.  A program that traps after all is a
mistake of this toolkit, not of the program, and raises :class:`SoundnessError`.

A program is admitted in one of two ways, which :class:`Admission` names and the log records:

* by a **verdict** found in this process: a check for people who mean well, which keeps unproved programs from being run
  by accident.  Code that wants to get around it can.
* by a **token** of a verifier process whose key is trusted (:mod:`prevail_py.host.trust`, ``docs/trust.md``).  Then
  nothing else admits: where ``trust`` is given, no program is verified here and no verdict is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prevail_py.objects.program import Program
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution, Observer
from prevail_py.vm.interpreter import run as interpret
from prevail_py.vm.maps import Map, create_maps
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.outcome import Outcome, TrapKind, Trapped

if TYPE_CHECKING:
    from prevail_py.host.token import Claims
    from prevail_py.host.trust import Trust
    from prevail_py.objects.region_facts import RegionFacts
    from prevail_py.verifier.verdict import Verdict
    from prevail_py.vm.batch import BatchResult, PacketBatch

__all__ = [
    "Admission",
    "GateError",
    "SoundnessError",
    "admit",
    "facts_of",
    "require_maps",
    "require_sound",
    "run",
    "run_batch",
]

_LOG: Final = logging.getLogger(__name__)


class GateError(PermissionError):
    """The program may not run: it has no SAFE verdict.  ``field`` names what of a token is wrong, if there is one."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field: Final = field


@dataclass(frozen=True, slots=True)
class Admission:
    """How a program got in: ``key`` is that of the verifier whose token was believed, None for a verdict found here.

    ``programs`` are the names of all that were admitted: the program, and those it may tail-call.  ``claims`` are what
    the program's own token says.
    """

    programs: tuple[str, ...]
    key: bytes | None = None
    claims: Claims | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        from prevail_py.host.token import fingerprint

        how = "a verdict found in this process"
        if self.key is not None:
            how = f"a token of the verifier {fingerprint(self.key)}"
        return f"{', '.join(self.programs)} admitted by {how}"


class SoundnessError(RuntimeError):
    """A program that was proved safe trapped: the verifier or the interpreter is wrong."""


def run(
    program: Program,
    *,
    packet: bytes | None = None,
    context: bytes | None = None,
    maps: Sequence[Map] | None = None,
    verdict: Verdict | None = None,
    token: bytes | Mapping[str, bytes] | None = None,
    trust: Trust | None = None,
    unchecked: bool = False,
    environment: Environment | None = None,
    fuel: int = DEFAULT_FUEL,
    observers: Sequence[Observer] = (),
) -> Execution:
    """Run a program that is SAFE, in the reference interpreter: see :func:`prevail_py.vm.interpreter.run`.

    ``verdict`` is what :func:`prevail_py.verifier.verify` said of this very program; without one it is asked here.
    With ``trust`` the program is admitted by ``token`` instead, or not at all: see :func:`admit`.
    ``unchecked=True`` is for experiments with programs that are not safe: no verdict is asked for, and the checked
    interpreter, which no program can harm, answers violations with a trap.  Raises :class:`GateError`,
    :class:`SoundnessError`, and ValueError for inputs that do not fit the program.
    """
    environment = environment or Environment()
    if not unchecked:
        if maps is None:
            maps = create_maps(program.maps, environment)
        admit(program, verdict, maps, token=token, trust=trust)
    execution = interpret(
        program, packet=packet, context=context, maps=maps, environment=environment, fuel=fuel, observers=observers
    )
    if not unchecked:
        require_sound(program, execution.outcome)
    return execution


def run_batch(
    program: Program,
    packets: PacketBatch | Iterable[bytes],
    *,
    maps: Sequence[Map] | None = None,
    verdict: Verdict | None = None,
    engine: str = "jit",
    environment: Environment | None = None,
    fuel: int = DEFAULT_FUEL,
    threads: int = 1,
) -> BatchResult:
    """Run a program that is SAFE on many packets, without Python between them where engine and program allow it.

    That is native code (``jit``, ``jit-O0``) of an XDP program whose helpers are native, too; it lets other threads of
    Python run, and with ``threads`` runs in several, each of which is a CPU for per-CPU maps.  ``fuel`` is for each
    packet.  A :class:`~prevail_py.vm.batch.PacketBatch` is changed where the program writes to packets.
    Raises :class:`GateError`, :class:`SoundnessError`, ValueError and
    :class:`~prevail_py.vm.engines.EngineError` (a run did not return).
    """
    from prevail_py.vm.batch import PacketBatch, run_each
    from prevail_py.vm.engines import Batched, Trusting
    from prevail_py.vm.engines import engine as load_engine

    environment = environment or Environment()
    if maps is None:
        maps = create_maps(program.maps, environment)
    if verdict is None:
        from prevail_py.verifier import verify

        verdict = verify(program, termination=True)
    admit(program, verdict, maps)
    if not isinstance(packets, PacketBatch):
        packets = PacketBatch.of(packets)
    loaded = load_engine(engine).load(program)
    if isinstance(loaded, Trusting):
        loaded.trust(facts_of(verdict))
    if isinstance(loaded, Batched):
        return loaded.run_batch(packets, maps=maps, environment=environment, fuel=fuel, threads=threads)
    return run_each(loaded, packets, maps=maps, environment=environment, fuel=fuel)


def facts_of(verdict: Verdict | None) -> RegionFacts | None:
    """What native code may leave out checks for: nothing, unless the verdict was found in this process, by domains."""
    if verdict is None or not verdict.is_safe or verdict.discharged:
        return None
    try:
        return verdict.region_facts()
    except ValueError:
        return None


def admit(
    program: Program,
    verdict: Verdict | None = None,
    maps: Sequence[Map] = (),
    *,
    token: bytes | Mapping[str, bytes] | None = None,
    trust: Trust | None = None,
) -> Admission:
    """Raise :class:`GateError` unless the program and all it may tail-call through ``maps`` are SAFE.

    Programs for which no verdict is given are verified here.  With ``trust`` each needs a token instead: ``token`` is
    the program's, or tokens by the names of the programs, where several are involved; tokens serve once.
    """
    if trust is not None:
        if verdict is not None:
            raise ValueError("a verdict and a trusted key: one of them decides")
        admission = _admit_by_token(program, maps, {program.name: token} if isinstance(token, bytes) else token, trust)
    elif token is not None:
        raise GateError(f"{program.name} may not run: token: key: no key is trusted", "key")
    else:
        admission = _admit_by_verdict(program, verdict, maps)
    _LOG.info("%s", admission)
    return admission


def _admit_by_verdict(program: Program, verdict: Verdict | None, maps: Sequence[Map]) -> Admission:
    from prevail_py.verifier import verify

    if verdict is not None and verdict.program is not program and verdict.program != program:
        raise GateError(f"{program.name}: the verdict is about another program, {verdict.program.name}")
    _require_safe(verdict or verify(program))
    names = [program.name]
    for target, _ in _tail_call_targets(program, maps):
        _require_safe(verify(target))
        names.append(target.name)
    return Admission(tuple(names))


def _admit_by_token(
    program: Program, maps: Sequence[Map], tokens: Mapping[str, bytes] | None, trust: Trust
) -> Admission:
    names, claims = [], []
    for each, given in [(program, maps), *_tail_call_targets(program, maps)]:
        token = (tokens or {}).get(each.name)
        if token is None:
            raise GateError(f"{each.name} may not run: token: none was given", "token")
        if given is not None:  # else they are made as the program defines them
            require_maps(each, given)
        claims.append(trust.accept(each, token))
        names.append(each.name)
    return Admission(tuple(names), trust.key, claims[0])


def require_maps(program: Program, maps: Sequence[Map]) -> None:
    """Raise :class:`GateError` unless these maps are those that the program defines: a token speaks of definitions."""
    if tuple(map.spec for map in maps) != program.maps:
        raise GateError(f"{program.name} may not run: token: maps: not those that the program defines", "maps")


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


def _tail_call_targets(program: Program, maps: Sequence[Map]) -> Iterator[tuple[Program, Sequence[Map] | None]]:
    """The programs that ``program`` may reach by tail calls, each once, and its maps if they are chosen."""
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
                yield target.program, target.maps
