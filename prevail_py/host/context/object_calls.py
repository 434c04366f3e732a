"""Calls about any object: handles, numbers, pins, what there is to know; and about the host itself."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prevail_py.host.context.model import Hosted, HostedLink, HostedMap, HostedProgram, HostError
from prevail_py.host.service.programs import from_map

if TYPE_CHECKING:
    from prevail_py.host.canonical import Plain
    from prevail_py.host.context.session import Session

__all__ = ["close", "info", "next_id", "open_id", "open_pin", "pin", "pins", "sessions", "status", "unpin"]


def close(session: Session, handle: int) -> None:
    """Close a handle."""
    with session.context.lock:
        hosted = session.get(handle)
        del session.handles[handle]
        session.context.release(hosted, user=True)


def info(session: Session, handle: int) -> Plain:
    """What there is to know about an object."""
    with session.context.lock:
        return _info(session.get(handle))


def next_id(session: Session, kind: str, after: int) -> int:
    """The lowest number above ``after`` that an object of this kind has; ENOENT where there is none."""
    with session.context.lock:
        found = min((number for number in _table(session, kind) if number > after), default=None)
    if found is None:
        raise HostError(errno.ENOENT, f"no {kind} with a number above {after}")
    return found


def open_id(session: Session, kind: str, id: int) -> int:
    """A handle to the object with this number."""
    with session.context.lock:
        hosted = _table(session, kind).get(id)
        if hosted is None:
            raise HostError(errno.ENOENT, f"no {kind} {id}")
        return session.new_handle(hosted)


def pin(session: Session, handle: int, path: str) -> None:
    """Keep an object under a name, over restarts, too."""
    with session.context.lock:
        session.context.pin(path, session.get(handle))
        session.context.sync()


def unpin(session: Session, path: str) -> None:
    """Forget a name."""
    with session.context.lock:
        session.context.unpin(path)
        session.context.sync()


def open_pin(session: Session, path: str) -> int:
    """A handle to what is kept under a name."""
    with session.context.lock:
        hosted = session.context.pins.get(path)
        if hosted is None:
            lost = session.context.not_restored.get(path)
            raise HostError(
                errno.ENOENT, f"{path} is not pinned" if lost is None else f"{path} is not restored: {lost}"
            )
        return session.new_handle(hosted)


def pins(session: Session) -> Plain:
    """All names, with the kind and number of what they keep; 0 is what could not be restored."""
    with session.context.lock:
        rows: list[Plain] = [[path, hosted.kind, hosted.id] for path, hosted in session.context.pins.items()]
        rows += [[path, "lost", 0] for path in session.context.not_restored]
    return sorted(rows, key=str)


def sessions(session: Session) -> Plain:
    """Who is connected: process, user, name, number of handles, and whether it may change anything."""
    with session.context.lock:
        found = [(each.peer, len(each.handles), each.may_change) for each in session.context.sessions]
    rows: list[Plain] = [[peer.pid, peer.uid, peer.name, held, change] for peer, held, change in found]
    return sorted(rows, key=str)


def status(session: Session) -> Plain:
    """The host itself."""
    context = session.context
    with context.lock:
        return {
            "started": context.started,
            "cpus": context.environment.cpus,
            "verifier": context.admissions.verifier_pid,
            "maps": len(context.maps),
            "programs": len(context.programs),
            "links": len(context.links),
            "not_restored": dict(context.not_restored),
        }


def _table(session: Session, kind: str) -> Mapping[int, Hosted]:
    if kind not in ("map", "program", "link"):
        raise HostError(errno.EINVAL, f"no kind {kind!r}")
    return session.context.table(kind)


def _info(hosted: Hosted) -> Plain:
    paths: list[Plain] = [*sorted(hosted.pins)]
    common: dict[str, Plain] = {
        "kind": hosted.kind,
        "id": hosted.id,
        "uid": hosted.uid,
        "created": hosted.created,
        "references": hosted.references,
        "pins": paths,
    }
    match hosted:
        case HostedMap():
            inner = hosted.map.spec.inner
            elements: list[Plain] = [[key, each.id] for key, each in hosted.entries.items()]
            return common | {
                "spec": from_map(hosted.map.spec),
                "inner": None if inner is None else inner.name,
                "elements": elements,
                "lost": hosted.lost,
                "frozen": hosted.frozen,
            }
        case HostedProgram(program=program):
            return common | {
                "name": program.name,
                "section": program.section,
                "program_type": program.program_type,
                "attach_type": program.expected_attach_type,
                "platform": program.platform,
                "licence": program.licence,
                "engine": hosted.engine,
                "tag": hosted.tag,
                "file": hosted.file,
                "slots": len(program.code),
                "maps": [each.id for each in hosted.maps],
                "links": hosted.links,
                "run_count": hosted.run_count,
                "run_time": hosted.run_time,
                "key": hosted.key,
                "broken": hosted.broken,
            }
        case HostedLink():
            return common | {
                "program": hosted.program.id,
                "hook": hosted.hook.name,
                "attach_type": hosted.attach_type,
                "parameters": dict(hosted.parameters),
                "held": hosted.held,
                "attached": hosted.attachment is not None,
                "state": {} if hosted.attachment is None else hosted.attachment.describe(),
            }
