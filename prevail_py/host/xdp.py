"""XDP without a network: a verified program over the packets of a capture file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prevail_py._render import Table
from prevail_py.host.capture import Captured, CaptureWriter, read_capture
from prevail_py.host.gate import Admission, admit, facts_of, require_sound
from prevail_py.objects.program import Program
from prevail_py.vm.batch import PacketBatch
from prevail_py.vm.engines import Batch, Batched, EngineCrash, EngineError, Loaded, Trusting
from prevail_py.vm.engines import engine as load_engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution
from prevail_py.vm.machine import Redirect
from prevail_py.vm.maps import Map, Maps, create_maps
from prevail_py.vm.outcome import OutOfFuel, Returned

if TYPE_CHECKING:
    from prevail_py.host.token import Claims
    from prevail_py.host.trust import Trust
    from prevail_py.objects.region_facts import RegionFacts
    from prevail_py.verifier.verdict import Verdict

__all__ = ["ACTIONS", "INVALID", "RESULTS", "PacketResult", "ReplayError", "XdpReport", "replay", "results_of"]

ACTIONS: Final = ("ABORTED", "DROP", "PASS", "TX", "REDIRECT")
"""The names of ``enum xdp_action``, by number."""

RESULTS: Final[Mapping[str, Mapping[int, str]]] = {
    "linux": dict(enumerate(ACTIONS)),
    "windows": {1: "PASS", 2: "DROP", 3: "TX", 4: "REDIRECT"},
}
"""What each result of a program means, by platform."""


def results_of(platform: str) -> Mapping[int, str]:
    """What each result means on a platform; on one of somebody else's what it means in Linux."""
    return RESULTS.get(platform, RESULTS["linux"])


INVALID: Final[str] = "INVALID"
"""What any other number is called, which Linux treats as ABORTED and warns about."""


class ReplayError(ValueError):
    """The program cannot be replayed: it is no XDP program, does not end, or needs what is not implemented."""


@dataclass(frozen=True, slots=True)
class PacketResult:
    """What the program did with one packet: the low 32 bits of R0, its name, where to, and the instructions it took."""

    value: int
    action: str
    redirect: Redirect | None
    steps: int


@dataclass(frozen=True, slots=True)
class XdpReport:
    """The results of a replay in the order of the packets; ``outputs`` are the capture files written, by action.

    ``admission`` says what let the program in.
    """

    program: Program
    results: tuple[PacketResult, ...]
    maps: Maps
    log: tuple[str, ...]
    outputs: Mapping[str, Path]
    admission: Admission | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many packets met each action, all that the platform has included; ``INVALID`` only if there was one."""
        found = Counter(result.action for result in self.results)
        known = results_of(self.program.platform).values()
        return {action: found[action] for action in (*ACTIONS, INVALID) if action in known or found[action]}

    @property
    def steps(self) -> int:
        """Instructions executed for all packets."""
        return sum(result.steps for result in self.results)

    def table(self) -> Table:
        """Counts per action, and the capture files."""
        rows = [(action, str(count), str(self.outputs.get(action, ""))) for action, count in self.counts.items()]
        rows.append(("total", str(len(self.results)), ""))
        return Table(("action", "packets", "capture"), tuple(rows), frozenset({1})).compact()

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def replay(
    program: Program,
    verdict: Verdict | None,
    packets: str | Path | Iterable[bytes],
    *,
    out_dir: str | Path | None = None,
    maps: Sequence[Map] | None = None,
    environment: Environment | None = None,
    fuel: int = DEFAULT_FUEL,
    engine: str = "interpreter",
    token: bytes | Mapping[str, bytes] | None = None,
    trust: Trust | None = None,
    facts: bytes | None = None,
) -> XdpReport:
    """Run an XDP program over packets, in order, with maps that persist from one to the next.

    ``packets`` is the path of a pcap or pcapng file, or the packets themselves.  In ``out_dir``, which is created,
    ``pass.pcap`` and so on receive the packets that met each action, as the program left them.  ``fuel`` is per packet;
    ``engine`` names one of :data:`prevail_py.vm.engines.ENGINES`; native code without checks counts no steps, and runs
    all packets in one go where the program calls no helpers in Python; the kernel counts no steps, says nothing of
    where a packet would be sent, and raises :class:`~prevail_py.vm.engines.EngineError` for packets that it does not
    take.
    ``token`` and ``trust`` are for :func:`prevail_py.host.gate.admit`, ``facts`` what the verifier whose token that is
    proved of the program's memory (:attr:`prevail_py.host.service.Certified.facts`).
    Raises :class:`GateError` for a program that is not SAFE, :class:`SoundnessError` if it traps, :class:`CaptureError`
    for an unreadable file, and :class:`ReplayError`.
    """
    if program.program_type != "xdp":
        raise ReplayError(f"{program.name} is a {program.program_type or 'plain'} program, not an XDP program")
    environment = environment or Environment()
    if maps is None:
        maps = create_maps(program.maps, environment)
    if verdict is None and trust is None:
        from prevail_py.verifier import verify

        verdict = verify(program, termination=True)
    admission = admit(program, verdict, maps, token=token, trust=trust)
    frames = _frames(packets)
    logged = len(environment.log)
    loaded = load_engine(engine).load(program)
    if isinstance(loaded, Trusting):
        loaded.trust(facts_of(verdict) if admission.claims is None else _signed_facts(program, admission.claims, facts))
    results = []
    with ExitStack() as stack:
        writers: dict[str, CaptureWriter] = {}
        if out_dir is not None:
            Path(out_dir).mkdir(parents=True, exist_ok=True)
        for frame, (result, left) in zip(frames, _runs(loaded, program, frames, maps, environment, fuel), strict=True):
            results.append(result)
            if out_dir is not None:
                if result.action not in writers:
                    path = Path(out_dir) / f"{result.action.lower()}.pcap"
                    writers[result.action] = stack.enter_context(CaptureWriter(path))
                writers[result.action].write(Captured(frame.time, left))
    outputs = {action: writers[action].path for action in (*ACTIONS, INVALID) if action in writers}
    return XdpReport(program, tuple(results), Maps(maps), tuple(environment.log[logged:]), outputs, admission)


def _runs(
    loaded: Loaded,
    program: Program,
    frames: Sequence[Captured],
    maps: Sequence[Map],
    environment: Environment,
    fuel: int,
) -> Iterator[tuple[PacketResult, bytes]]:
    """What became of each packet, and the packet as it was left: in one go, where the engine has no more to say."""
    if isinstance(loaded, Batched) and loaded.in_one_go(maps, environment):
        batch = PacketBatch.of(frame.data for frame in frames)
        try:
            found = loaded.run_batch(batch, maps=maps, environment=environment, fuel=fuel)
        except EngineCrash:
            raise
        except EngineError as error:
            raise ReplayError(str(error)) from None
        names = results_of(program.platform)
        for value, left in zip(found.verdicts, found.packets, strict=True):
            yield PacketResult(value, names.get(value, INVALID), None, 0), left
        return
    executions: Iterable[Execution]
    if isinstance(loaded, Batch):
        executions = loaded.run_all([(frame.data, None) for frame in frames], maps=maps, environment=environment)
    else:
        executions = (loaded.run(packet=frame.data, maps=maps, environment=environment, fuel=fuel) for frame in frames)
    for number, execution in enumerate(executions, 1):
        yield _result(program, number, execution), execution.packet or b""


def _signed_facts(program: Program, claims: Claims, data: bytes | None) -> RegionFacts | None:
    from prevail_py.host.service.facts import accepted

    return accepted(program, claims, data)


def _frames(packets: str | Path | Iterable[bytes]) -> list[Captured]:
    if isinstance(packets, str | Path):
        return read_capture(packets)
    return [Captured(number, bytes(data)) for number, data in enumerate(packets)]


def _result(program: Program, number: int, execution: Execution) -> PacketResult:
    outcome = execution.outcome
    require_sound(program, outcome)
    match outcome:
        case Returned(value):
            value &= 0xFFFFFFFF
            action = results_of(program.platform).get(value, INVALID)
            return PacketResult(value, action, execution.redirect if action == "REDIRECT" else None, execution.steps)
        case OutOfFuel(pc):
            raise ReplayError(
                f"packet {number}: {program.name} ran out of fuel at slot {pc}, after {execution.steps} steps"
            )
        case _:
            trap = outcome.trap
            raise ReplayError(f"packet {number}: {program.name} needs what is not implemented: {trap.message}")
