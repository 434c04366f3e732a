"""How a program gets into the host: by a fresh token of a verifier process, for this program with these maps, once.

The host has a verifier process of its own, which it starts when it needs it and replaces when that has died or was
killed because it hung; each has a new key.  It may also trust a verifier that somebody else runs, by its public key:
whoever loads a program asks the host for a nonce and brings the token along.  Either way the same checks decide
(:mod:`prevail_py.host.trust`), and nothing that the host keeps on disk is evidence.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prevail_py.host.context.model import HostError
from prevail_py.host.gate import GateError, require_maps
from prevail_py.host.service.client import Certified, Refused, Verifier, VerifierError
from prevail_py.host.service.facts import accepted
from prevail_py.host.trust import Trust

if TYPE_CHECKING:
    from prevail_py.objects.program import Program
    from prevail_py.objects.region_facts import RegionFacts
    from prevail_py.verifier.verdict import Verdict
    from prevail_py.vm.maps import Map

__all__ = ["Admissions", "Admitted"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who vouched for a program, by the public key, and what it proved of the program's memory."""

    key: bytes
    facts: RegionFacts | None = None


class Admissions:
    """Decides which programs get in.

    ``start`` makes a verifier process; ``outside`` is the public key of one that others run.
    """

    def __init__(self, start: Callable[[], Verifier] = Verifier, outside: bytes | None = None) -> None:
        self._start: Final = start
        self._outside: Final = None if outside is None else Trust(outside)
        self._lock: Final = threading.Lock()  # of the fields below, and of the nonces
        self._starting: Final = threading.Lock()
        self._verifier: Verifier | None = None
        self._trust: Trust | None = None

    def close(self) -> None:
        """End the verifier process."""
        with self._lock:
            verifier, self._verifier, self._trust = self._verifier, None, None
        if verifier is not None:
            verifier.close()

    @property
    def verifier_pid(self) -> int | None:
        """The verifier process, if there is one at the moment."""
        with self._lock:
            return None if self._verifier is None else self._verifier.pid

    def nonce(self) -> bytes:
        """For a request to the verifier outside.  Raises :class:`HostError` where none is trusted."""
        if self._outside is None:
            raise HostError(errno.EOPNOTSUPP, "this host trusts no verifier but its own")
        with self._lock:
            return self._outside.nonce()

    def admit(self, program: Program, maps: Sequence[Map], token: bytes | None = None) -> Admitted:
        """Let a program in.

        Without ``token`` the host's verifier is asked, which says what it proved of the program's memory as well.
        Raises :class:`HostError`: EACCES with the report where the
        program is not SAFE, EKEYREJECTED where a token is not good, EIO where the verifier failed.
        """
        log, facts = "", None
        if token is None:
            trust, certified = self._certify(program)
            token, facts, log = certified.token, certified.facts, _report(certified.verdict)
            if token is None:
                raise HostError(errno.EACCES, f"{program.name}: no token can speak of this program", log)
        elif self._outside is None:
            raise HostError(errno.EOPNOTSUPP, "this host trusts no verifier but its own")
        else:
            trust = self._outside
        try:
            require_maps(program, maps)
            with self._lock:
                claims = trust.accept(program, token)
            return Admitted(trust.key, accepted(program, claims, facts))
        except GateError as error:
            number = errno.EACCES if error.field == "verdict" else errno.EKEYREJECTED
            raise HostError(number, str(error), log) from None

    def _certify(self, program: Program) -> tuple[Trust, Certified]:
        verifier, trust = self._running()
        with self._lock:
            nonce = trust.nonce()
        try:
            certified = verifier.verify(program, nonce=nonce)
        except Refused as error:
            raise HostError(errno.EINVAL, str(error)) from None
        except VerifierError as error:
            self._bury(verifier)
            # Not asked again: what killed one verifier would kill the next.
            raise HostError(errno.EIO, str(error)) from None
        return trust, certified

    def _running(self) -> tuple[Verifier, Trust]:
        with self._starting:
            with self._lock:
                if self._verifier is not None and self._trust is not None:
                    return self._verifier, self._trust
            try:
                verifier = self._start()
            except VerifierError as error:
                raise HostError(errno.EIO, str(error)) from None
            trust = Trust(verifier.key)
            with self._lock:
                self._verifier, self._trust = verifier, trust
            return verifier, trust

    def _bury(self, dead: Verifier) -> None:
        """The next request starts another.  Those that wait for this one are told that it died, each by itself."""
        with self._lock:
            if self._verifier is dead:
                self._verifier = self._trust = None
        dead.close()


def _report(verdict: Verdict) -> str:
    lines = [f"{verdict.program.name}: {verdict.kind}" + (f": {verdict.reason}" if verdict.reason else "")]
    for failure in verdict.failures:
        place = f"{failure.line}: " if failure.line is not None else ""
        lines.append(f"{place}{failure}")
        lines += [
            f"    {what}: {text}" for what, text in (("known", failure.state), ("needed", failure.needed)) if text
        ]
    return "\n".join(lines)
