"""Hooks: where programs are attached.

A hook is a small object that knows how to call a program on events of some kind (:class:`Hook`).  Those of this package
are listed in :data:`BUILT_IN`; other packages add theirs as entry points of the group ``prevail_py.hooks``, each a
function without arguments that returns a :class:`Hook`.  A hook never sees the program: it gets a :class:`Runner`,
which runs whatever the link holds at that moment, through the execution context that admitted it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from prevail_py.host.canonical import Plain
    from prevail_py.objects.program import Program
    from prevail_py.vm.interpreter import Execution

__all__ = ["BUILT_IN", "GROUP", "Attachment", "Closing", "Hook", "Passive", "Runner", "hooks"]

GROUP: Final = "prevail_py.hooks"


class Runner(Protocol):
    """Runs the program of a link."""

    @property
    def platform(self) -> str:
        """Whose layout of the context and whose results the program has: the same as long as the link lives."""
        ...

    def __call__(self, *, packet: bytes | None = None, context: bytes | None = None) -> Execution | None:
        """One run; None where the program did not come to its end, and the hook does what is safe."""
        ...


class Attachment(Protocol):
    """A program in its place."""

    def detach(self) -> None:
        """Take it away.  It is not called again once this has returned."""
        ...

    def describe(self) -> dict[str, Plain]:
        """What to tell users: counters, names."""
        ...


class Hook(Protocol):
    """A kind of place to attach programs to.  Names are short and unique."""

    @property
    def name(self) -> str: ...

    def accepts(self, program: Program) -> bool:
        """Whether programs of this kind belong here."""
        ...

    def attach(self, runner: Runner, parameters: Mapping[str, Plain]) -> Attachment:
        """Put a program in the place that ``parameters`` describe.  Raises OSError with a reason."""
        ...


@runtime_checkable
class Closing(Protocol):
    """What a hook may offer beside: to give everything back when its host ends."""

    def close(self) -> None: ...


class Passive:
    """An attachment that waits to be called by whoever holds the link (the call ``link_invoke``)."""

    def detach(self) -> None:
        """There is nothing to undo."""

    def describe(self) -> dict[str, Plain]:
        """It has no state."""
        return {}


BUILT_IN: Final[Mapping[str, str]] = {
    "xdp": "prevail_py.host.hooks.live_xdp:XdpHook",
    "sock_addr": "prevail_py.host.hooks.sock_addr:SockAddrHook",
}
"""By name: module and class."""


def hooks() -> dict[str, Callable[[], Hook]]:
    """All hooks there are, by name, each to be made when it is needed.  A name that is taken stays with its first."""
    from importlib.metadata import entry_points

    found: dict[str, Callable[[], Hook]] = {name: _maker(place) for name, place in BUILT_IN.items()}
    for entry_point in entry_points(group=GROUP):
        if entry_point.name not in found:
            found[entry_point.name] = _loader(entry_point)
    return found


def _maker(place: str) -> Callable[[], Hook]:
    module, _, name = place.partition(":")

    def make() -> Hook:
        hook: Hook = getattr(import_module(module), name)()
        return hook

    return make


def _loader(entry_point: EntryPoint) -> Callable[[], Hook]:
    def make() -> Hook:
        hook: Hook = entry_point.load()()
        return hook

    return make
