"""XDP on real interfaces, in user space: the host is the wire between two of them.

A *wire* joins two interfaces, of one network namespace or of several, and the host carries every frame from one to the
other.  An XDP program that is attached to an interface sees what arrives there, and decides: PASS carries the frame on,
DROP and ABORTED do not, TX sends it back, REDIRECT sends it out of another interface of the host's wires.  So to the
two ends all is as with a program in the kernel's driver, and without a program nothing is changed.

Checksums that a sender left to its hardware are completed before a program runs.  A packet that is still to be cut into
segments is carried on whole if the program leaves it as it is; one that it changes is lost, and counted as ``large``.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prevail_py.host.hooks import Attachment, Runner
from prevail_py.host.hooks.ports import Frame, Port, open_port
from prevail_py.host.xdp import INVALID, results_of
from prevail_py.vm.maps.devices import TargetKind, TargetMap
from prevail_py.vm.outcome import Returned

if TYPE_CHECKING:
    from prevail_py.host.canonical import Plain
    from prevail_py.objects.program import Program
    from prevail_py.vm.interpreter import Execution

__all__ = ["COUNTERS", "XdpHook"]

_LOG: Final = logging.getLogger(__name__)

_BROADCAST, _EXCLUDE_INGRESS = 8, 16
_BATCH: Final = 64
_CONTEXTS: Final = {"linux": (24, 12), "windows": (32, 24)}
"""By platform: the size of the context of XDP programs, and where it has the number of the interface."""

COUNTERS: Final = ("received", "passed", "dropped", "sent_back", "redirected", "aborted", "large", "lost")
"""What is counted for each interface: ``lost`` are frames for which there was no room, or no interface."""


@dataclass(slots=True, eq=False)
class _End:
    """One end of a wire, and who decides there."""

    port: Port
    peer: _End | None = None
    runner: Runner | None = None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))


class _Attached:
    """A program on an interface."""

    def __init__(self, end: _End) -> None:
        self._end: Final = end

    def detach(self) -> None:
        """From now on the wire is bare there."""
        self._end.runner = None

    def describe(self) -> dict[str, Plain]:
        """The counters of the interface, since there is the wire."""
        counts: dict[str, Plain] = {"interface": self._end.port.name}
        counts.update(self._end.counts)
        return counts


class XdpHook:
    """See the module's text.  Parameters: ``ifindex`` or ``interface``."""

    name: Final = "xdp"

    def __init__(self) -> None:
        self._ends: Final[dict[int, _End]] = {}
        self._lock: Final = threading.Lock()
        self._selector: Final = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._thread: threading.Thread | None = None
        self._stopped = False

    def accepts(self, program: Program) -> bool:
        """XDP programs for interfaces, of Linux or Windows: not those for entries of device and CPU maps."""
        if program.platform not in _CONTEXTS:
            return False
        return program.program_type == "xdp" and program.expected_attach_type in ("", "xdp")

    def wire(self, one: str, other: str) -> None:
        """Join two interfaces (``tap:NAME`` makes a TAP device); they are looked for in this thread's namespace.

        Raises OSError, EBUSY where one is on a wire already.
        """
        made: list[_End] = []
        try:
            made.append(_End(open_port(one)))
            made.append(_End(open_port(other)))
            with self._lock:
                for end in made:
                    if end.port.ifindex in self._ends or made[0].port.ifindex == made[1].port.ifindex:
                        raise OSError(errno.EBUSY, f"interface {end.port.name} is on a wire already")
                made[0].peer, made[1].peer = made[1], made[0]
                for end in made:
                    self._ends[end.port.ifindex] = end
                    self._selector.register(end.port, selectors.EVENT_READ, end)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._carry, daemon=True, name="xdp")
                    self._thread.start()
        except BaseException:
            for end in made:
                end.port.close()
            raise
        os.write(self._wake_write, b"x")

    def attach(self, runner: Runner, parameters: Mapping[str, Plain]) -> Attachment:
        """Let a program decide on what arrives at an interface.  Raises OSError."""
        end = self._end(parameters)
        with self._lock:
            if end.runner is not None:
                raise OSError(errno.EBUSY, f"a program is attached to {end.port.name} already")
            end.runner = runner
        return _Attached(end)

    def _end(self, parameters: Mapping[str, Plain]) -> _End:
        match dict(parameters):
            case {"ifindex": int(ifindex), **rest} if not rest:
                found = self._ends.get(ifindex)
                what = f"interface {ifindex}"
            case {"interface": str(name), **rest} if not rest:
                found = next((each for each in self._ends.values() if each.port.name == name), None)
                what = f"interface {name}"
            case _:
                raise OSError(errno.EINVAL, "the hook takes an ifindex or an interface")
        if found is None:
            raise OSError(errno.ENODEV, f"{what} is on no wire of this host")
        return found

    def counters(self, interface: str) -> dict[str, int]:
        """What happened to frames that arrived at an interface, by :data:`COUNTERS`.  Raises OSError."""
        return dict(self._end({"interface": interface}).counts)

    def close(self) -> None:
        """Cut all wires."""
        self._stopped = True
        os.write(self._wake_write, b"x")
        if self._thread is not None:
            self._thread.join()
        for end in self._ends.values():
            end.port.close()
        self._ends.clear()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # The thread that carries frames ----------------------------------------------------------------------------------

    def _carry(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select():
                end = key.data
                if end is None:
                    os.read(self._wake_read, 4096)
                    continue
                try:
                    self._drain(end)
                except OSError as error:
                    _LOG.error("interface %s: %s", end.port.name, error.strerror)
                    self._selector.unregister(end.port)

    def _drain(self, end: _End) -> None:
        """At most so many frames at once: other interfaces want to be served, too."""
        for _ in range(_BATCH):
            frame = end.port.receive()
            if frame is None:
                return
            end.counts["received"] += 1
            self._decide(end, frame)

    def _decide(self, end: _End, frame: Frame) -> None:
        runner = end.runner
        if runner is None:
            self._send(end, end.peer, frame, "passed")
            return
        frame = frame.completed()
        size, place = _CONTEXTS[runner.platform]
        context = (bytes(place) + end.port.ifindex.to_bytes(4, "little")).ljust(size, b"\0")
        execution = runner(packet=frame.data, context=context)
        if execution is None or not isinstance(execution.outcome, Returned):
            end.counts["aborted"] += 1
            return
        action = results_of(runner.platform).get(execution.outcome.value & 0xFFFFFFFF, INVALID)
        if action == "DROP":
            end.counts["dropped"] += 1
            return
        if action not in ("PASS", "TX", "REDIRECT"):
            end.counts["aborted"] += 1
            return
        after = execution.packet or b""
        if after != frame.data:
            if frame.is_large:
                end.counts["large"] += 1
                return
            frame = Frame(after)
        match action:
            case "PASS":
                self._send(end, end.peer, frame, "passed")
            case "TX":
                self._send(end, end, frame, "sent_back")
            case _:
                targets = list(self._targets(end, execution))
                if not targets:
                    end.counts["lost"] += 1
                for target in targets:
                    self._send(end, target, frame, "redirected")

    def _send(self, source: _End, target: _End | None, frame: Frame, counter: str) -> None:
        source.counts[counter if target is not None and target.port.send(frame) else "lost"] += 1

    def _targets(self, end: _End, execution: Execution) -> Iterator[_End]:
        """The interfaces that a program asked for, as far as they are on wires."""
        redirect = execution.redirect
        if redirect is None:
            return
        if redirect.ifindex is not None:
            found = self._ends.get(redirect.ifindex)
            if found is not None:
                yield found
            return
        for each in execution.maps:
            if each.spec.name != redirect.map or not isinstance(each, TargetMap) or each.kind is TargetKind.CPU:
                continue
            values = [each.get((redirect.key or 0).to_bytes(4, "little"))]
            if redirect.flags & _BROADCAST:
                values = [each[key] for key in each]
            for value in values:
                found = None if value is None else self._ends.get(int.from_bytes(value[:4], "little"))
                excluded = redirect.flags & _EXCLUDE_INGRESS and found is end
                if found is not None and not excluded:
                    yield found
            return
