"""Attacks on a host, each with the check that stops it: with the check removed the attack succeeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py.host.canonical import decode, encode
from prevail_py.host.context import admission, context, protocol, session
from prevail_py.host.context.admission import Admissions, Admitted
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.model import HostError, Peer
from prevail_py.host.context.store import Store
from prevail_py.host.service import Certified, facts
from prevail_py.host.service.programs import from_program
from prevail_py.host.trust import CHECKS
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from tests.host.context.conftest import HonestVerifier, honest
from tests.host.context.tools import ARRAY, COUNTER, PASS, UNSAFE, load, new_map

Remove = Callable[[pytest.MonkeyPatch], None]
JUMPS = MapSpec("jumps", 3, 4, 4, 2)
FILTER = assemble("r0 = 0\nexit", program_type="socket_filter", name="filter")


def little(number: int) -> bytes:
    return number.to_bytes(4, "little")


def unsafe_program(path: Path) -> None:
    with ExecutionContext(admissions=honest()) as host, host.session() as me:
        load(me, UNSAFE)


def smaller_map(path: Path) -> None:
    """The program was verified for values of sixteen bytes."""
    with ExecutionContext(admissions=honest()) as host, host.session() as me:
        load(me, COUNTER, [new_map(me, replace(COUNTER.maps[0], value_size=1))])


def no_maps(path: Path) -> None:
    with ExecutionContext(admissions=honest()) as host, host.session() as me:
        load(me, COUNTER, [])


def tail_call_into_another_type(path: Path) -> None:
    with ExecutionContext(admissions=honest()) as host, host.session() as me:
        jumps = new_map(me, JUMPS)
        for number, program in enumerate((PASS, FILTER)):
            me.call("map_update", handle=jumps, key=little(number), value=little(load(me, program)), flags=0)


def tail_call_into_another_platform(path: Path) -> None:
    """What a program may do, and what its result means, is not the same there."""
    with ExecutionContext(admissions=honest()) as host, host.session() as me:
        jumps = new_map(me, JUMPS)
        for number, program in enumerate((PASS, replace(PASS, platform="windows"))):
            me.call("map_update", handle=jumps, key=little(number), value=little(load(me, program)), flags=0)


def wrong_inner_map(path: Path) -> None:
    """The template says that values may be written."""
    with ExecutionContext(admissions=honest()) as host, host.session() as me:
        outer = new_map(me, MapSpec("outer", 12, 4, 4, 2, inner=ARRAY))
        read_only = new_map(me, replace(ARRAY, flags=128))
        me.call("map_update", handle=outer, key=little(0), value=little(read_only), flags=0)


def change_as_a_reader(path: Path) -> None:
    with ExecutionContext(admissions=honest()) as host, host.session(Peer(1, 1, 1), may_change=False) as me:
        new_map(me)


def replay_a_token(path: Path) -> None:
    outside = HonestVerifier()
    with ExecutionContext(admissions=Admissions(honest()._start, outside.key)) as host, host.session() as me:
        token = outside.token(PASS, me.call("nonce"))
        load(me, token=token)
        load(me, token=token)


def token_for_another_program(path: Path) -> None:
    outside = HonestVerifier()
    with ExecutionContext(admissions=Admissions(honest()._start, outside.key)) as host, host.session() as me:
        load(me, replace(PASS, code=UNSAFE.code), token=outside.token(PASS, me.call("nonce")))


def program_in_the_store(path: Path) -> None:
    """Somebody writes the file while the host is down."""
    with ExecutionContext(store=path, admissions=honest()) as host, host.session() as me:
        me.call("pin", handle=load(me), path="/p")
    store = Store(path)
    store._database.execute("UPDATE program SET program = ?", (encode(from_program(UNSAFE)),))
    store.close()
    with ExecutionContext(store=path, admissions=honest()) as host, host.session() as me:
        me.call("open_pin", path="/p")


def handles_without_end(path: Path) -> None:
    with ExecutionContext(admissions=honest()) as host, host.session() as me:
        new_map(me)
        for _ in range(4096):
            me.call("open_id", kind="map", id=1)


def memory_without_end(path: Path) -> None:
    with ExecutionContext(admissions=honest()) as host, host.session() as me:
        for _ in range(2):
            new_map(me, MapSpec("big", 1, 8, 1 << 16, (1 << 30) // (1 << 16) * 2 // 3))


class Forger(HonestVerifier):
    """Signs one thing and hands over another, as somebody between it and the host would."""

    def verify(self, program: Program, *, nonce: bytes) -> Certified:
        certified = super().verify(program, nonce=nonce)
        assert certified.facts is not None
        value = decode(certified.facts)
        assert isinstance(value, dict)
        return replace(certified, facts=encode({**value, "instructions": 1}))


def forged_facts(path: Path) -> None:
    """Native code would leave out checks because of them: here, the counting of fuel."""
    start: Any = Forger
    with ExecutionContext(admissions=Admissions(start)) as host, host.session() as me:
        load(me, COUNTER)


def nothing(*arguments: object) -> None:
    """In place of a check."""


class _Anything:
    """Equal to whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Attack:
    attempt: Callable[[Path], None]
    remove: Remove


def without(place: object, name: str, replacement: object) -> Remove:
    return lambda patch: patch.setattr(place, name, replacement)


def unchecked(name: str) -> Remove:
    return lambda patch: patch.setitem(CHECKS, name, nothing)


def harmless_creation(patch: pytest.MonkeyPatch) -> None:
    calls = dict(protocol.CALLS)
    calls["map_create"] = replace(calls["map_create"], changes=False)
    patch.setattr(session, "CALLS", calls)


ATTACKS = (
    Attack(unsafe_program, unchecked("verdict")),
    Attack(smaller_map, without(admission, "require_maps", nothing)),
    Attack(no_maps, without(admission, "require_maps", nothing)),
    Attack(tail_call_into_another_type, without(ExecutionContext, "own", nothing)),
    Attack(tail_call_into_another_platform, without(ExecutionContext, "own", nothing)),
    Attack(wrong_inner_map, without(context, "_require_template", nothing)),
    Attack(change_as_a_reader, harmless_creation),
    Attack(replay_a_token, unchecked("replay")),
    Attack(token_for_another_program, unchecked("bytecode")),
    Attack(program_in_the_store, without(Admissions, "admit", lambda *arguments: Admitted(bytes(32)))),
    Attack(forged_facts, without(facts, "claim_of", lambda data: _Anything())),
    Attack(handles_without_end, without(session, "MAX_HANDLES", 5000)),
    Attack(memory_without_end, without(context, "MAX_MEMORY", 1 << 40)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.attempt.__name__)
def test_an_attack(attack: Attack, tmp_path: Path) -> None:
    with pytest.raises(HostError):
        attack.attempt(tmp_path / "store.sqlite")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.attempt.__name__)
def test_without_its_check_it_succeeds(attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack.remove(monkeypatch)
    attack.attempt(tmp_path / "store.sqlite")
