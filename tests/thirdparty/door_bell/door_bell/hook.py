"""The hook: each line that is written to a named pipe is somebody at the door, and a program says who may come in."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Mapping
from typing import Any

from door_bell.helpers import RINGS


class Bell:
    """Parameters: ``pipe``, the path of a named pipe, and ``door``, the number of the door."""

    name = "bell"

    def accepts(self, program: Any) -> bool:
        """Programs of the type that this package adds."""
        return bool(program.program_type == "doorbell")

    def attach(self, runner: Any, parameters: Mapping[str, Any]) -> Attached:
        """Listen at the pipe.  Raises OSError."""
        path = parameters.get("pipe")
        if not isinstance(path, str) or not stat.S_ISFIFO(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "the hook takes the path of a named pipe")
        return Attached(runner, path, int(parameters.get("door", 0)))


class Attached:
    """A program at a door."""

    def __init__(self, runner: Any, path: str, door: int) -> None:
        self._runner, self._door = runner, door
        self._counts = {"visitors": 0, "let in": 0, "rings": 0}
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # which never ends
        self._stop, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        import select

        rest = b""
        while True:
            ready, _, _ = select.select([self._pipe, self._stop], [], [])
            if self._stop in ready:
                return
            *lines, rest = (rest + os.read(self._pipe, 4096)).split(b"\n")
            for line in lines:
                self._somebody(line)

    def _somebody(self, name: bytes) -> None:
        self._counts["visitors"] += 1
        before = len(RINGS)
        execution = self._runner(packet=name, context=bytes(16) + self._door.to_bytes(4, "little"))
        self._counts["rings"] += sum(RINGS[before:])
        if execution is not None and getattr(execution.outcome, "value", 0) == 1:
            self._counts["let in"] += 1

    def detach(self) -> None:
        """Nobody listens any more."""
        os.write(self._wake, b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join(1)  # it may wait for the context's lock, which whoever detaches holds
        for each in (self._pipe, self._wake):
            os.close(each)

    def describe(self) -> dict[str, Any]:
        """What happened."""
        return dict(self._counts)
