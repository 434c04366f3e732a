"""Ask a keeper: objects of the kernel in a child process (:mod:`prevail_py.vm.kernel.keeper`), by numbers.

The guard answers before a program is even sent.  A keeper that the kernel killed, or that does not answer, takes all
that it kept with it, and is not started again: the kernel may be hurt.
"""

from __future__ import annotations

import errno
import json
import sys
import threading
from dataclasses import replace
from typing import Any, Final

from prevail_py.vm.kernel import engine
from prevail_py.vm.kernel.hazard import hazard
from prevail_py.vm.kernel.loader import LoadRequest
from prevail_py.vm.kernel.wire import Request

__all__ = ["Keeper", "KeptError"]

_COMMAND: Final = (sys.executable, "-m", "prevail_py.vm.kernel.keeper")


class KeptError(OSError):
    """A request that fails: the error number, why, and ``log`` where the kernel's verifier wrote one."""

    def __init__(self, number: int, message: str, log: str = "") -> None:
        super().__init__(number, message)
        self.log: Final = log


class Keeper:
    """A keeper process, started by the first request; use as a context manager.  One request at a time."""

    def __init__(self, timeout: float = engine.DEFAULT_TIMEOUT) -> None:
        self.timeout: Final = timeout
        self._lock: Final = threading.Lock()
        self._process: engine._Worker | None = None
        self._ended = ""

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process: what is not pinned is gone, what it attached is detached."""
        with self._lock:
            self._ended = self._ended or "the keeper was closed"
            if self._process is not None:
                self._process.close()
                self._process = None

    def load(self, request: LoadRequest, maps: list[int]) -> dict[str, Any]:
        """Load a program that uses these maps, by number.  Raises :class:`KeptError`."""
        for code in request.codes:
            reason = hazard(code, generated=request.generated)
            if reason is not None:
                raise KeptError(errno.EPERM, reason)
        found: dict[str, Any] = self.ask("program_load", request=Request(replace(request)).to_json(), maps=maps)
        return found

    def ask(self, call: str, **arguments: Any) -> Any:
        """Make a request.  Raises :class:`KeptError`, EIO where the keeper is lost."""
        with self._lock:
            if self._ended:
                raise KeptError(errno.EIO, self._ended)
            if self._process is None:
                try:
                    self._process = engine._Worker(_COMMAND)
                except OSError as error:
                    raise KeptError(errno.EIO, f"no keeper process: {error.strerror}") from None
            found = self._process.ask(json.dumps({"call": call, **arguments}), self.timeout)
            if not isinstance(found, bytes):
                self._ended = found.reason
                self._process.close()
                self._process = None
                raise KeptError(errno.EIO, f"the keeper was lost: {found.reason}")
        answer = json.loads(found)
        if "error" in answer:
            raise KeptError(answer["error"], answer["message"], answer["log"])
        return answer["value"]
