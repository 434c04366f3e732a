"""What the execution context holds: maps, programs, links, and who asks for them.

These records are mutable and belong to one :class:`~prevail_py.host.context.context.ExecutionContext`, under whose lock
they are read and changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from prevail_py.host.canonical import Plain
    from prevail_py.host.hooks import Attachment, Hook
    from prevail_py.objects.program import Program
    from prevail_py.vm.engines import Loaded
    from prevail_py.vm.maps import Map

__all__ = ["Connection", "HostError", "Hosted", "HostedLink", "HostedMap", "HostedProgram", "Peer"]


class HostError(OSError):
    """A call that the host refuses: ``errno`` as the kernel would give it, and why in words.

    ``log`` is the verifier's report where it was the verifier that refused.
    """

    def __init__(self, number: int, message: str, log: str = "") -> None:
        super().__init__(number, message)
        self.log: Final = log


class Connection(Protocol):
    """A session of a host, in this process or behind a socket."""

    def call(self, name: str, **arguments: Any) -> Any:
        """Make one of the calls of :data:`~prevail_py.host.context.session.CALLS`.  Raises :class:`HostError`."""
        ...

    def close(self) -> None:
        """End the session: its handles are closed."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks: a process and its user, as the kernel says (``SO_PEERCRED``)."""

    pid: int
    uid: int
    gid: int

    @staticmethod
    def here() -> Peer:
        """This process."""
        return Peer(os.getpid(), os.geteuid(), os.getegid())

    @property
    def name(self) -> str:
        """What the process is called now; empty where it is gone."""
        try:
            return Path(f"/proc/{self.pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""


@dataclass(slots=True, eq=False, repr=False)
class _Counted:
    """An object with a number, alive while something refers to it.

    ``references`` counts everything, ``users`` handles and pins only: what is reachable by somebody outside.
    """

    id: int
    uid: int
    created: int
    references: int = field(default=0, init=False)
    users: int = field(default=0, init=False)
    pins: set[str] = field(default_factory=set, init=False)

    kind: ClassVar[str]

    def __repr__(self) -> str:
        return f"<{self.kind} {self.id}>"


@dataclass(slots=True, eq=False, repr=False)
class HostedMap(_Counted):
    """A map.  ``entries`` are the objects behind the elements of a program array or a map of maps, by key.

    ``lost`` counts records of a perf event array that nobody read in time.  ``frozen``: clients cannot change it
    any more, programs can.  ``owner`` is the kind of the programs that a program array leads to, or is used by: all are
    of one kind.
    """

    map: Map
    kind: ClassVar = "map"
    entries: dict[bytes, HostedProgram | HostedMap] = field(default_factory=dict)
    owner: tuple[str, ...] | None = None
    lost: int = 0
    frozen: bool = False


@dataclass(slots=True, eq=False, repr=False)
class HostedProgram(_Counted):
    """A program that was admitted.  ``key`` is that of the verifier that vouched for it.

    ``broken`` says how it betrayed its verdict, and then it does not run any more.  Times are in nanoseconds.
    """

    program: Program
    maps: tuple[HostedMap, ...]
    loaded: Loaded
    engine: str
    tag: str
    file: str
    key: bytes
    kind: ClassVar = "program"
    run_count: int = 0
    run_time: int = 0
    links: int = 0
    broken: str = ""

    def of_kind(self) -> tuple[str, ...]:
        """What programs that call one another must agree in, for the verdict of either to hold."""
        program = self.program
        return (program.platform, program.program_type, program.expected_attach_type, program.hook)


@dataclass(slots=True, eq=False, repr=False)
class HostedLink(_Counted):
    """A program at a hook.  ``held``: the hook keeps the link, as an interface keeps its XDP program.

    A link that is not held goes with its last handle or pin.
    """

    program: HostedProgram
    hook: Hook
    attach_type: str
    parameters: dict[str, Plain]
    held: bool
    attachment: Attachment | None = None
    kind: ClassVar = "link"


Hosted: TypeAlias = HostedMap | HostedProgram | HostedLink


def uses(hosted: Hosted) -> Iterator[Hosted]:
    """What an object refers to."""
    match hosted:
        case HostedMap():
            yield from hosted.entries.values()
        case HostedProgram():
            yield from hosted.maps
        case HostedLink():
            yield hosted.program
