"""Calls about programs and links: load, run, attach, replace, detach."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Final

from prevail_py.host.context.model import HostError
from prevail_py.host.service.programs import from_program, to_program
from prevail_py.vm.outcome import OutOfFuel, Returned, Trapped

if TYPE_CHECKING:
    from prevail_py.host.canonical import Plain
    from prevail_py.host.context.session import Session
    from prevail_py.vm.interpreter import Execution
    from prevail_py.vm.machine import Redirect

__all__ = [
    "link_create",
    "link_detach",
    "link_invoke",
    "link_update",
    "nonce",
    "program_code",
    "program_load",
    "program_run",
]

MAX_REPEAT: Final = 1 << 20
MAX_NAME: Final = 4096
MAX_SECONDS: Final = 30.0
"""After so long a repeated run is given up: whoever asked for it may be gone."""


def nonce(session: Session) -> bytes:
    """A nonce for a request to the verifier outside whose key the host trusts."""
    return session.context.admissions.nonce()


def program_load(
    session: Session, program: Plain, maps: list[Plain], engine: str, token: bytes | None, file: str
) -> int:
    """Admit a program that uses these maps, given by handles: by ``token``, or else the host's verifier is asked."""
    wanted = to_program(program)
    if len(file) > MAX_NAME:
        raise HostError(errno.ENAMETOOLONG, "the name of the file")
    context = session.context
    with context.lock:
        found = [session.map(each) if isinstance(each, int) else session.map(-1) for each in maps]
        for each in found:  # a handle may be closed meanwhile
            context.retain(each)
    try:
        hosted = context.load(wanted, found, engine, session.peer.uid, token=token, file=file)
        with context.lock:
            return session.adopt(hosted)
    finally:
        with context.lock:
            for each in found:
                context.release(each)


def program_run(session: Session, handle: int, packet: bytes | None, context: bytes | None, repeat: int) -> Plain:
    """Run a program ``repeat`` times on the same input: the last result, and nanoseconds of a run on average."""
    if not 0 < repeat <= MAX_REPEAT:
        raise HostError(errno.EINVAL, f"repeat: 1 to {MAX_REPEAT}")
    with session.context.lock:
        hosted = session.program(handle)
        session.context.retain(hosted)
    try:
        began, execution = time.perf_counter_ns(), None
        deadline = time.monotonic() + MAX_SECONDS
        for number in range(repeat):  # the lock is free between two runs
            if time.monotonic() > deadline:
                raise HostError(errno.ETIME, f"{number} runs took more than {MAX_SECONDS:g} s")
            execution = session.context.run(hosted, packet=packet, context=context)
        assert execution is not None
        return _execution(execution, (time.perf_counter_ns() - began) // repeat)
    finally:
        with session.context.lock:
            session.context.release(hosted)


def program_code(session: Session, handle: int) -> Plain:
    """The program as it was loaded, as plain data."""
    with session.context.lock:
        return from_program(session.program(handle).program)


def link_create(session: Session, program: int, hook: str | None, parameters: dict[str, Plain], held: bool) -> int:
    """Attach a program.  A link that is ``held`` stays until it is detached, any other goes with its last handle."""
    context = session.context
    with context.lock:
        link = context.attach(session.program(program), parameters, session.peer.uid, hook=hook, held=held)
        handle = session.adopt(link)
        if held:
            context.sync()
        return handle


def link_update(session: Session, link: int, program: int) -> None:
    """Let a link call another program."""
    with session.context.lock:
        session.context.replace_program(session.link(link), session.program(program))
        session.context.sync()


def link_detach(session: Session, link: int) -> None:
    """Take the program of a link from its hook."""
    with session.context.lock:
        session.context.detach(session.link(link))
        session.context.sync()


def link_invoke(session: Session, link: int, context: bytes, packet: bytes | None) -> Plain:
    """Run the program of a link to a hook that is served outside of the host: by whoever holds the link."""
    with session.context.lock:
        found = session.link(link)
        if found.attachment is None:
            raise HostError(errno.ENOENT, "the link is detached")
        began = time.perf_counter_ns()
        execution = session.context.run(found.program, packet=packet, context=context)
        return _execution(execution, time.perf_counter_ns() - began)


def _execution(execution: Execution, nanoseconds: int) -> Plain:
    outcome = execution.outcome
    match outcome:
        case Returned(value):
            result: Plain = value & 0xFFFFFFFF
        case OutOfFuel(pc):
            raise HostError(errno.ETIME, f"the program did not end: it was stopped at slot {pc}")
        case Trapped(trap):  # unsupported: any other has been an error before
            raise HostError(errno.EOPNOTSUPP, trap.message)
    return {
        "value": result,
        "packet": execution.packet,
        "context": execution.context,
        "nanoseconds": nanoseconds,
        "redirect": _redirect(execution.redirect),
    }


def _redirect(redirect: Redirect | None) -> Plain:
    if redirect is None:
        return None
    return {"ifindex": redirect.ifindex, "map": redirect.map, "key": redirect.key}
