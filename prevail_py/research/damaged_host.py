"""Damaged objects for a host: ``python -m prevail_py.research.damaged_host --count 10000``.

A client hands one damaged object after the other to a ``hostd``.  Every second one is a damaged file that the client's
loader takes apart first, as it would for any user; of the others the messages are damaged instead, which a client that
means harm would write itself.  Meanwhile somebody else's program runs, whose counters are known.

Demanded is that the host never dies; that whatever got in is SAFE when it is verified again, here, with the maps that
it really has, and does not trap; and that nothing is lost: not the counters, not the pin, not after a restart, and that
nothing is left behind of what was refused or closed.  Exit status 0 where all that holds, 1 where it does not.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from prevail_py import examples
from prevail_py.host.canonical import CanonicalError, Plain, decode, encode
from prevail_py.host.context.client import connect
from prevail_py.host.context.model import Connection, HostError
from prevail_py.host.service.programs import MessageError, from_map, from_program, to_program
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program
from prevail_py.research.host_process import hosting
from prevail_py.research.mutate import mutations

__all__ = ["PIN", "Report", "attack", "campaign", "main", "mangled", "prepare"]

PIN: Final = "/somebody/elses"
_OBJECTS: Final = ("xdp_firewall", "xdp_counter", "unsafe_null", "xdp_parser", "xdp_tailcall", "unsafe_bounds")
_RUNS: Final = 25  # of the other program, one for so many attempts
_SEEDS: Final = 1 << 20
PATIENCE: Final = 10.0
_REFUSALS: Final = {
    errno.EACCES: "not SAFE",
    errno.EIO: "the verifier failed",
    errno.EINVAL: "no such program or map",
    errno.EOPNOTSUPP: "not supported",
    errno.EPERM: "no such program or map",
    errno.E2BIG: "no such program or map",
    errno.ENOMEM: "too large",
    errno.EBADF: "no such program or map",
    errno.EKEYREJECTED: "the token does not fit",
}
_MAY_FAIL: Final = (errno.EINVAL, errno.EOPNOTSUPP, errno.ETIME)
"""What a run may come to: an input that its type does not take, a helper that is not implemented, no end."""


@dataclass(slots=True)
class Report:
    """What became of the attempts: ``answers`` by kind, and what should not have happened.

    ``reasons`` says how the verifier failed where it did.
    """

    count: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    verifiers: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)
    runs: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"{self.count} damaged objects and messages in {self.seconds:.0f} s, {len(self.failures)} failures"]
        lines += [f"  {number:6}  {answer}" for answer, number in self.answers.most_common()]
        lines.append(f"verifier processes: {len(self.verifiers)}; runs of somebody else's program: {self.runs}")
        lines += [f"the verifier, {each}" for each in self.reasons]
        return "\n".join([*lines, *(f"FAILURE {each}" for each in self.failures)])


@cache
def _sound() -> tuple[Program, ...]:
    return tuple(program for name in _OBJECTS for program in load_object(examples.path(name)).programs.values())


def prepare(session: Connection) -> None:
    """Somebody else's program: a counter, pinned at :data:`PIN`.  Raises OSError."""
    program = next(iter(load_object(examples.path("xdp_counter")).programs.values()))
    maps = [session.call("map_create", spec=from_map(spec)) for spec in program.maps]
    handle = session.call("program_load", program=from_program(program), maps=maps, engine="source", file="")
    session.call("pin", handle=handle, path=PIN)
    session.call("pin", handle=maps[0], path=f"{PIN}.map")
    for each in (handle, *maps):
        session.call("close", handle=each)


def attack(open_session: Callable[[], Connection], count: int, seed: int = 0) -> Report:
    """Hand ``count`` damaged objects to the host that :func:`prepare` was used on."""
    report = Report(count)
    began = time.monotonic()
    watcher = open_session()
    before = watcher.call("status")
    keeper, counters = watcher.call("open_pin", path=PIN), watcher.call("open_pin", path=f"{PIN}.map")
    at_first = _counted(watcher, counters)
    for number in range(count):
        source = random.Random(seed * _SEEDS + number)
        try:
            session = open_session()
        except OSError as error:
            report.failures.append(f"{number}: the host does not answer: {error}")
            break
        try:
            (_message if number % 2 else _object)(session, source, number, report)
        except HostError as error:
            report.failures.append(f"{number}: {errno.errorcode.get(error.errno or 0, '?')}: {error}")
        except OSError as error:
            report.failures.append(f"{number}: the connection broke: {error}")
        finally:
            session.close()
        if number % _RUNS == 0:
            watcher.call("program_run", handle=keeper, packet=bytes(60), repeat=1)
            report.runs += 1
            found = watcher.call("status")["verifier"]
            report.verifiers |= set() if found is None else {found}
    if _counted(watcher, counters) != at_first + report.runs:
        report.failures.append(f"{_counted(watcher, counters)} packets were counted, not {at_first + report.runs}")
    _no_rest(watcher, before, report)
    watcher.close()
    report.seconds = time.monotonic() - began
    return report


def _counted(session: Connection, map: int) -> int:
    value: bytes = session.call("map_lookup", handle=map, key=bytes(4), flags=0)
    return int.from_bytes(value[:8], "little")


def _no_rest(session: Connection, before: dict[str, Any], report: Report) -> None:
    """What the sessions had is gone with them; the last one may take a moment to end."""
    deadline = time.monotonic() + PATIENCE
    names = ("maps", "programs", "links")
    while (now := {name: session.call("status")[name] for name in names}) != {name: before[name] for name in names}:
        if time.monotonic() > deadline:
            report.failures.append(f"left behind: {now}, before it was {before}")
            return
        time.sleep(0.05)


# One attempt. ----------


def _object(session: Connection, source: random.Random, number: int, report: Report) -> None:
    """A damaged file, by way of the client's loader."""
    data = examples.path(source.choice(_OBJECTS)).read_bytes()
    (mutant,) = mutations(data, source.getrandbits(32), 1)
    try:
        programs = list(load_object(mutant, "mutant").programs.values())
    except ObjectError:
        report.answers["refused by the loader of the client"] += 1
        return
    for program in programs:
        try:
            plain = from_program(program)
        except MessageError:
            report.answers["no message can be made of it"] += 1
            continue
        _offer(session, plain, [from_map(spec) for spec in program.maps], number, report)


def _message(session: Connection, source: random.Random, number: int, report: Report) -> None:
    """A damaged message: of the program, of its maps, or of both."""
    program = source.choice(_sound())
    plain, specs = from_program(program), [from_map(spec) for spec in program.maps]
    which = source.randrange(3)
    if which != 1:
        plain = mangled(plain, source)
    if which != 0:
        specs = [mangled(spec, source) for spec in specs]
    _offer(session, plain, specs, number, report)


def _offer(session: Connection, plain: Plain, specs: list[Any], number: int, report: Report) -> None:
    try:
        maps = [session.call("map_create", spec=spec) for spec in specs]
        handle = session.call("program_load", program=plain, maps=maps, engine="source", file="")
    except CanonicalError:
        report.answers["no message can be made of it"] += 1
        return
    except HostError as error:
        answer = _REFUSALS.get(error.errno or 0)
        if answer is None:
            raise
        report.answers[f"refused by the host: {answer}"] += 1
        if error.errno == errno.EIO:
            report.reasons.append(f"{number}: {error.strerror}")
        return
    report.answers["let in, and SAFE"] += 1
    problem = _betrayal(session, handle)
    if problem:
        report.failures.append(f"{number}: {problem}")


def _betrayal(session: Connection, handle: int) -> str:
    """Why a program should not have been let in, empty where it should."""
    code = session.call("program_code", handle=handle)
    program = to_program(code)
    if not _is_safe(encode(code)):
        return f"{program.name} was let in, and is not SAFE"
    info = session.call("info", handle=handle)
    for spec, id in zip(program.maps, info["maps"], strict=True):
        opened = session.call("open_id", kind="map", id=id)
        real, said = session.call("info", handle=opened)["spec"], from_map(spec)
        for name in ("type", "key_size", "value_size", "max_entries", "flags", "read_only"):
            if real[name] != said[name]:
                return f"{program.name} was verified for map {spec.name} with {name} {said[name]!r}, not {real[name]!r}"
    packet = bytes(60) if program.program_type == "xdp" else None
    try:
        session.call("program_run", handle=handle, packet=packet, repeat=1)
    except HostError as error:
        if error.errno not in _MAY_FAIL:
            return f"{program.name}: {error}"
    return ""


@cache
def _is_safe(plain: bytes) -> bool:
    from prevail_py.verifier import verify

    return verify(to_program(decode(plain))).is_safe


def mangled(value: Any, source: random.Random) -> Any:
    """A copy of plain data in which one thing is something else, or gone, or twice there."""
    paths = list(_paths(value))
    path = source.choice(paths)
    return _replaced(value, path, source)


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        for path in _paths(child):
            yield (key, *path)


def _replaced(value: Any, path: tuple[Any, ...], source: random.Random) -> Any:
    if not path:
        return _other(value, source)
    first, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    if not rest and source.random() < 0.1:
        del copy[first]
        return copy
    copy[first] = _replaced(copy[first], tuple(rest), source)
    return copy


_NUMBERS: Final = (0, 1, -1, 2, 7, 27, 255, 4096, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1)


def _other(value: Any, source: random.Random) -> Any:
    """Something of the same type mostly."""
    if source.random() < 0.15:
        return source.choice(("", b"", 0, None, [], {}, True, [[]], {"a": 1}))
    match value:
        case bool():
            return not value
        case int():
            return source.choice((*_NUMBERS, value + 1, value - 1, value ^ 1 << source.randrange(32)))
        case str():
            return source.choice((value + "\0", value[:-1], value * 2, "xdp", "windows", "é" * 300, "\ud800"))
        case bytes():
            data = bytearray(value)
            for _ in range(source.choice((1, 1, 2, 8))):
                if data:
                    data[source.randrange(len(data))] = source.choice((0, 1, 0xFF, source.randrange(256)))
            return bytes(data[: source.choice((len(data), len(data), len(data) - 1, len(data) // 16 * 8))])
        case list():
            return source.choice((value * 2, value[:-1], value[::-1], [*value, 0]))
        case dict():
            return {**value, source.choice(("more", "name", "type")): source.choice((0, "x", b"x"))}
    return 0


# The process. ----------


def campaign(count: int, seed: int = 0) -> Report:
    """Against a process of its own, which is restarted in the end."""
    with tempfile.TemporaryDirectory() as name:
        path, store = Path(name) / "host.sock", os.fspath(Path(name) / "store.sqlite")
        with hosting(path, "--btf", "none", "--store", store) as process:
            with connect(path) as session:
                prepare(session)
            report = attack(lambda: connect(path), count, seed)
            if process.poll() is not None:
                report.failures.append(f"the host died: {process.returncode}")
        with hosting(path, "--btf", "none", "--store", store), connect(path) as session:
            try:
                session.call("open_pin", path=PIN)
                found = _counted(session, session.call("open_pin", path=f"{PIN}.map"))
            except HostError as error:
                report.failures.append(f"lost in the restart: {error}")
            else:
                if found != report.runs:
                    report.failures.append(f"after the restart {found} packets were counted, not {report.runs}")
    return report


def main() -> int:
    """The campaign; 0 where nothing failed."""
    parser = argparse.ArgumentParser(description="Hand damaged objects to a host.")
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="how many (10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which ones (0)")
    arguments = parser.parse_args()
    report = campaign(arguments.count, arguments.seed)
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
