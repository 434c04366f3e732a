"""A context whose verifier is this process: the same checks, without two seconds for each start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from prevail_py.host.context.admission import Admissions
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.service import Certified, Options
from prevail_py.host.service.facts import claim_of, encoded_facts
from prevail_py.host.token import NO_FACTS, Claims, TokenError, build_id, sign, subject
from prevail_py.objects.program import Program
from prevail_py.verifier import verify


class HonestVerifier:
    """Says and signs what the verifier process would."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.key = self._key.public_key().public_bytes_raw()
        self.pid = os.getpid()

    def verify(self, program: Program, *, nonce: bytes) -> Certified:
        verdict = verify(program, termination=True)
        facts = encoded_facts(verdict)
        try:
            return Certified(verdict, self.token(program, nonce, verdict.kind.name, facts=claim_of(facts)), facts)
        except TokenError:
            return Certified(verdict, None)

    def token(self, program: Program, nonce: bytes, verdict: str = "SAFE", **changes: Any) -> bytes:
        claims = Claims(
            verdict=verdict,
            **({"facts": NO_FACTS} | subject(program) | changes),
            options=Options(),
            build=build_id(),
            nonce=nonce,
            time=time.time_ns() // 1_000_000,
        )
        return sign(claims, self._key)

    def close(self) -> None:
        """It has no process."""


def honest() -> Admissions:
    """Admissions by a verifier in this process."""
    start: Any = HonestVerifier
    return Admissions(start)


@pytest.fixture
def context() -> Iterator[ExecutionContext]:
    with ExecutionContext(admissions=honest()) as context:
        yield context


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], ExecutionContext]:
    """Makes a context on the same store each time."""
    return lambda: ExecutionContext(store=tmp_path / "store.sqlite", admissions=honest())
