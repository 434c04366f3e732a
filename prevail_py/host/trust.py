"""Trust in one verifier's key: nonces are issued here, and tokens that answer them are checked here, field by field.

A :class:`Trust` belongs to whoever runs programs.  It computes every claim of a token again from the program that is
about to run, and believes of the token only what it cannot compute: that the verifier said SAFE.  What it checks is
the table :data:`CHECKS`; each row has an attack in the tests that succeeds without it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prevail_py.host.canonical import encode
from prevail_py.host.gate import GateError
from prevail_py.host.token import (
    KEY_SIZE,
    NONCE_SIZE,
    SUBJECT,
    Claims,
    Options,
    TokenError,
    build_id,
    fingerprint,
    parse,
    subject,
)
from prevail_py.objects.program import Program
from prevail_py.verifier.policy import STRICT
from prevail_py.verifier.verdict import VerdictKind

__all__ = ["CHECKS", "MAX_NONCES", "Trust", "read_key"]

MAX_NONCES: Final = 4096
"""Nonces that are out at a time; beyond that the oldest is forgotten."""

_SKEW: Final = 1000
"""Milliseconds by which the clocks of two processes may disagree: they read the same one, to a tick."""


@dataclass(slots=True)
class _Nonce:
    """When it was issued, by two clocks (seconds that never go back, milliseconds since 1970), and what it admitted."""

    monotonic: float
    wall: int
    used: set[bytes] = field(default_factory=set)


class Trust:
    """Trust in the verifier that holds the private half of ``key``.

    ``options`` are what it must have been asked for, under the policy ``strict`` in any case; ``max_age`` is how many
    seconds an answer may take.  One nonce serves one request: each program of an object is admitted once by it.
    """

    def __init__(self, key: bytes, *, options: Options | None = None, max_age: float = 120.0) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a public key has {KEY_SIZE} bytes, not {len(key)}")
        self.key: Final = key
        self.options: Final = options or Options()
        self.max_age: Final = max_age
        self._nonces: dict[bytes, _Nonce] = {}

    def __repr__(self) -> str:
        return f"<trust in {fingerprint(self.key)}>"

    def nonce(self) -> bytes:
        """A new nonce, to be given to the verifier with a request."""
        now = time.monotonic()
        for old in [each for each, record in self._nonces.items() if now - record.monotonic > self.max_age]:
            del self._nonces[old]
        while len(self._nonces) >= MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        nonce = os.urandom(NONCE_SIZE)
        self._nonces[nonce] = _Nonce(now, _wall())
        return nonce

    def accept(self, program: Program, token: bytes) -> Claims:
        """Admit ``program``, this once, by ``token``.  Raises :class:`GateError` that names what is wrong with it."""
        try:
            claims = parse(token, self.key)
            actual = subject(program)
        except TokenError as error:
            raise _refusal(program, error.field, error.reason) from None
        for name, check in CHECKS.items():
            reason = check(self, claims, actual)
            if reason is not None:
                raise _refusal(program, name, reason)
        self._nonces[claims.nonce].used.add(_identity(claims))
        return claims

    def _issued(self, claims: Claims) -> str | None:
        """The nonce is one of ours, and not forgotten."""
        return None if claims.nonce in self._nonces else "not issued here, or forgotten"

    def _fresh(self, claims: Claims) -> str | None:
        """Made after we asked, and not too long ago: by the clock for the times, by the one that never goes back."""
        record = self._nonces.get(claims.nonce)
        if record is None:
            return "no time to compare with"
        if claims.time < record.wall - _SKEW:
            return "made before it was asked for"
        if claims.time > _wall() + _SKEW:
            return "in the future"
        age = time.monotonic() - record.monotonic
        return f"asked for {age:.0f} s ago, more than {self.max_age:g}" if age > self.max_age else None

    def _unused(self, claims: Claims) -> str | None:
        record = self._nonces.get(claims.nonce)
        return "this program was admitted by it before" if record and _identity(claims) in record.used else None


Check = Callable[[Trust, Claims, dict[str, object]], str | None]
"""Why a token is refused; None where it is not."""


def _same(name: str) -> Check:
    def check(trust: Trust, claims: Claims, actual: dict[str, object]) -> str | None:
        return None if getattr(claims, name) == actual[name] else "not that of the program that is to run"

    return check


def _build(trust: Trust, claims: Claims, actual: dict[str, object]) -> str | None:
    return None if claims.build == build_id() else "another verifier than the one installed here"


def _policy(trust: Trust, claims: Claims, actual: dict[str, object]) -> str | None:
    return None if claims.options.policy == STRICT.name else f"found under {claims.options.policy}"


def _options(trust: Trust, claims: Claims, actual: dict[str, object]) -> str | None:
    return None if claims.options == trust.options else f"{claims.options}, where {trust.options} were asked for"


def _verdict(trust: Trust, claims: Claims, actual: dict[str, object]) -> str | None:
    return None if claims.verdict == VerdictKind.SAFE.name else repr(claims.verdict)


CHECKS: Final[dict[str, Check]] = {
    "nonce": lambda trust, claims, actual: trust._issued(claims),
    "time": lambda trust, claims, actual: trust._fresh(claims),
    **{name: _same(name) for name in SUBJECT},
    "build": _build,
    "policy": _policy,
    "options": _options,
    "verdict": _verdict,
    "replay": lambda trust, claims, actual: trust._unused(claims),
}
"""All that is checked once the signature is good, by the name that a refusal gives."""


def _refusal(program: Program, name: str, reason: str) -> GateError:
    return GateError(f"{program.name} may not run: token: {name}: {reason}", name)


def _identity(claims: Claims) -> bytes:
    """The program that a token speaks of, whatever it says and whenever it was made."""
    return hashlib.sha256(encode([claims.plain()[name] for name in SUBJECT])).digest()


def _wall() -> int:
    return time.time_ns() // 1_000_000


def read_key(path: str | Path) -> bytes:
    """A public key that was pinned in a file: 64 hexadecimal digits.  Raises OSError and ValueError."""
    text = Path(path).read_text(encoding="ascii").strip()
    if len(text) != 2 * KEY_SIZE:
        raise ValueError(f"{path}: not {2 * KEY_SIZE} hexadecimal digits")
    return bytes.fromhex(text)
