"""Tokens under attack, through a host: each is refused, and gets in once the check that refuses it is gone.

The claims are attacked one by one in ``tests/host/test_trust.py``; here the same tokens are given to a host that trusts
a verifier outside, by a client of its socket or session, and what counts is whether a program gets in.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from prevail_py.host import token as token_module
from prevail_py.host.canonical import decode, encode
from prevail_py.host.context.admission import Admissions
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.model import HostError
from prevail_py.host.context.session import Session
from prevail_py.host.token import Claims, Options, sign
from prevail_py.host.trust import CHECKS, Trust
from prevail_py.objects.program import Program
from tests.host.context.conftest import honest
from tests.host.context.tools import load
from tests.host.test_trust import ATTACKS, CALLER, KEY, PROGRAM, PUBLIC, _Forgiving, claims

HEADER, SIGNATURE = token_module._HEADER.size, token_module.SIGNATURE_SIZE


@dataclass(frozen=True)
class Host:
    """A host that trusts the key of the tests."""

    context: ExecutionContext
    session: Session
    trust: Trust

    def lets_in(self, token: bytes, program: Program = PROGRAM) -> bool:
        """Whether it does; where it does not nothing is left, and it goes on."""
        before, number = len(self.context.programs), 0
        try:
            load(self.session, program, token=token)
        except HostError as error:
            number = error.errno or 0
        assert number in (0, errno.EKEYREJECTED, errno.EACCES)
        assert len(self.context.programs) == before + (number == 0)
        return number == 0


@pytest.fixture
def host() -> Iterator[Host]:
    admissions = Admissions(honest()._start, PUBLIC)
    with ExecutionContext(admissions=admissions) as context, context.session() as session:
        assert admissions._outside is not None
        yield Host(context, session, admissions._outside)


def token(host: Host, **changes: Any) -> bytes:
    """What the verifier outside would have made, but for ``changes``."""
    return sign(claims(host.trust.nonce(), **changes), KEY)


def test_an_honest_token(host: Host) -> None:
    assert host.lets_in(token(host))


@pytest.mark.parametrize("name", ATTACKS)
def test_every_claim_is_checked(name: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed by the key that is trusted, but made for something else, used before, too old: until its check is gone."""
    field, attack = ATTACKS[name]
    assert not host.lets_in(attack(host.trust))
    monkeypatch.setitem(CHECKS, field, lambda trust, claims, actual: None)
    if field == "policy":  # what the host asked for is a check of its own
        monkeypatch.setattr(host.trust, "options", Options(policy="linux-root"))
    if field == "nonce":  # what is not known has no time either, and nothing to mark as used
        monkeypatch.setitem(CHECKS, "time", lambda trust, claims, actual: None)
        monkeypatch.setattr(host.trust, "_nonces", _Forgiving())
    assert host.lets_in(attack(host.trust))


def test_every_check_has_an_attack() -> None:
    assert {field for field, _ in ATTACKS.values()} == set(CHECKS)


def forged(honest_token: bytes, name: str, value: Any) -> bytes:
    """The token with one claim replaced, the signature left as it was."""
    body = decode(honest_token[HEADER:-SIGNATURE])
    assert isinstance(body, dict)
    data = encode({**body, name: value})
    header = token_module._HEADER.pack(token_module.MAGIC, token_module.VERSION, len(data))
    return header + data + honest_token[-SIGNATURE:]


@pytest.mark.parametrize("name", [field.name for field in fields(Claims) if field.name != "facts"])
def test_claims_that_are_flipped_or_swapped(name: str, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was made for something else, with the one claim that is in the way put right.

    Only the signature notices: without that check each of them gets in.  ``facts`` are in nobody's way who brings none:
    they are attacked in ``tests/host/context/test_proved_code.py``.
    """
    nonce = host.trust.nonce()
    right = claims(nonce).plain()
    wrong: dict[str, Any] = {
        "verdict": "UNSAFE", "name": "other", "platform": "windows", "program_type": "tc", "attach_type": "xdp_cpumap",
        "section": "other", "nonce": bytes(32), "time": 1, "options": Options(budget=9),
    }  # fmt: skip
    refused = sign(replace(claims(nonce), **{name: wrong.get(name, bytes(32))}), KEY)
    assert not host.lets_in(refused)
    forgery = forged(refused, name, right[name])
    assert not host.lets_in(forgery)
    monkeypatch.setattr(token_module, "_check_signature", lambda *arguments: None)
    assert host.lets_in(forgery)


def test_bits_that_are_flipped(host: Host) -> None:
    """In the frame, in each claim, in the signature: one bit of every byte."""
    good = token(host)
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= 1 << at % 8
        assert not host.lets_in(bytes(damaged))
    assert host.lets_in(good)


def test_tokens_that_are_cut_or_lengthened(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """None gets in; what the frame's check keeps out would be an error of ours without it, and so is its own test."""
    good = token(host)
    for length in (*range(HEADER + 8), *range(HEADER + 8, len(good), 13), len(good) - 1):
        assert not host.lets_in(good[:length])
    assert not host.lets_in(good + b"\0")
    assert not host.lets_in(good + good)
    monkeypatch.setattr(token_module, "_check_signature", lambda *arguments: None)
    tail = good + bytes(7)  # a signature of seven bytes more: with the frame's check gone nobody would notice
    header = token_module._HEADER.unpack_from(good)
    monkeypatch.setattr(token_module, "SIGNATURE_SIZE", SIGNATURE + 7)
    assert header[2] + HEADER + SIGNATURE + 7 == len(tail)
    assert host.lets_in(tail)


def test_another_key(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    strange = sign(claims(host.trust.nonce()), Ed25519PrivateKey.generate())
    assert not host.lets_in(strange)
    monkeypatch.setattr(token_module, "_check_signature", lambda *arguments: None)
    assert host.lets_in(strange)


def test_a_token_of_another_program(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    other = token(host, **{name: getattr(claims(bytes(32), CALLER), name) for name in token_module.SUBJECT})
    assert not host.lets_in(other)
    for name in token_module.SUBJECT:
        monkeypatch.setitem(CHECKS, name, lambda trust, claims, actual: None)
    assert host.lets_in(other)


@pytest.mark.parametrize("changes", [{"value_size": 16}, {"max_entries": 4}, {"type": 1}, {"flags": 128}])
def test_a_changed_map(changes: dict[str, int], host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token speaks of another definition than the program that is loaded has."""
    other = replace(PROGRAM, maps=(replace(PROGRAM.maps[0], **changes),))  # type: ignore[arg-type]
    assert not host.lets_in(token(host), other)
    monkeypatch.setitem(CHECKS, "maps", lambda trust, claims, actual: None)
    assert host.lets_in(token(host), other)
