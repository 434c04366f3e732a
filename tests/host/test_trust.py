"""Tokens under attack: claims, signature, frame, nonce and time; and each check is missed when it is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from prevail_py.host import token as token_module
from prevail_py.host import trust as trust_module
from prevail_py.host.canonical import Plain, encode
from prevail_py.host.gate import Admission, GateError, admit, run
from prevail_py.host.token import SUBJECT, Claims, Options, TokenError, build_id, parse, sign, subject
from prevail_py.host.trust import CHECKS, MAX_NONCES, Trust, read_key
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import MapSpec, Program, Subprogram
from prevail_py.platforms import platform
from prevail_py.platforms.model import HelperPrototype, Platform
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.targets import ProgramArray
from prevail_py.vm.outcome import Returned

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
CODE = assemble_text("r1 = 0\n*(u32 *)(r10 - 4) = r1\nr2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall 1\nr0 = 2\nexit")
PROGRAM = Program(
    "good", "xdp", "xdp", CODE, (MapSpec("m", 2, 4, 8, 3),), (Subprogram("good", 0, len(CODE)),), licence="GPL"
)
JUMPS = MapSpec("jumps", 3, 4, 4, 2)
CALLER = Program("caller", "xdp", "xdp", assemble_text("r2 = map[idx:0] ll\nr3 = 0\ncall 12\nr0 = 1\nexit"), (JUMPS,))


def now() -> int:
    return time.time_ns() // 1_000_000


def claims(nonce: bytes, program: Program = PROGRAM, **changes: Any) -> Claims:
    """What an honest verifier would claim, but for ``changes``."""
    honest = Claims("SAFE", **subject(program), options=Options(), build=build_id(), nonce=nonce, time=now())
    return replace(honest, **changes)


def refused(trust: Trust, token: bytes, program: Program = PROGRAM) -> str:
    with pytest.raises(GateError, match=f"^{program.name} may not run: token: ") as error:
        admit(program, maps=create_maps(program.maps), token=token, trust=trust)
    assert f"token: {error.value.field}: " in str(error.value)
    return error.value.field


def test_an_honest_token_admits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    trust = Trust(PUBLIC)
    assert run(PROGRAM, packet=b"", token=sign(claims(trust.nonce()), KEY), trust=trust).outcome == Returned(2)
    assert caplog.messages == [f"good admitted by a token of the verifier {token_module.fingerprint(PUBLIC)}"]
    assert str(admit(PROGRAM)) == "good admitted by a verdict found in this process"


def test_trust_is_not_given_on_the_side() -> None:
    from prevail_py.verifier import verify

    trust = Trust(PUBLIC)
    with pytest.raises(GateError, match="token: none was given"):
        admit(PROGRAM, trust=trust)
    with pytest.raises(ValueError, match="one of them decides"):
        admit(PROGRAM, verify(PROGRAM), trust=trust)
    with pytest.raises(GateError, match="no key is trusted"):
        admit(PROGRAM, token=sign(claims(trust.nonce()), KEY))
    with pytest.raises(ValueError, match="32 bytes"):
        Trust(b"short")


# The attacks, by the check that each must be refused by.  Each is signed by the key that is trusted, as if the verifier
# had made the token for something else. -----------------------------------------------------------------------------

Attack = Callable[[Trust], bytes]


def _claim(name: str, value: Any) -> Attack:
    return lambda trust: sign(claims(trust.nonce(), **{name: value}), KEY)


def _replayed(trust: Trust) -> bytes:
    token = sign(claims(trust.nonce()), KEY)
    trust.accept(PROGRAM, token)
    return token


def _expired(trust: Trust) -> bytes:
    nonce = trust.nonce()
    trust._nonces[nonce].monotonic -= trust.max_age + 1
    return sign(claims(nonce), KEY)


ATTACKS: dict[str, tuple[str, Attack]] = {
    "unknown nonce": ("nonce", lambda trust: sign(claims(bytes(32)), KEY)),
    "replayed": ("replay", _replayed),
    "expired": ("time", _expired),
    "made too early": ("time", _claim("time", now() - 60_000)),
    "made in the future": ("time", _claim("time", now() + 600_000)),
    "another platform": ("platform", _claim("platform", "windows")),
    "another program type": ("program_type", _claim("program_type", "socket_filter")),
    "another attach type": ("attach_type", _claim("attach_type", "xdp_devmap")),
    "another name": ("name", _claim("name", "better")),
    "another section": ("section", _claim("section", "xdp.frags")),
    **{f"another {name}": (name, _claim(name, bytes(32))) for name in SUBJECT[5:]},
    "another build": ("build", _claim("build", bytes(32))),
    "another domain": ("options", _claim("options", Options(domain="interval"))),
    "without the solver": ("options", _claim("options", Options(smt=False))),
    "another budget": ("options", _claim("options", Options(budget=7))),
    "a lax policy": ("policy", _claim("options", Options(policy="linux-root"))),
    **{f"verdict {kind}": ("verdict", _claim("verdict", kind)) for kind in ("UNSAFE", "UNKNOWN", "UNSUPPORTED", "")},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(name: str) -> None:
    field, attack = ATTACKS[name]
    trust = Trust(PUBLIC)
    assert refused(trust, attack(trust)) == field


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_is_missed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a check its attacks succeed: none is done twice, none is for show."""
    attacks = [attack for field, attack in ATTACKS.values() if field == name]
    assert attacks
    monkeypatch.setitem(CHECKS, name, lambda trust, claims, actual: None)
    for attack in attacks:
        trust = Trust(PUBLIC, options=Options(policy="linux-root")) if name == "policy" else Trust(PUBLIC)
        if name == "nonce":  # what is not known has no time either, and nothing to mark as used
            monkeypatch.setitem(CHECKS, "time", lambda trust, claims, actual: None)
            monkeypatch.setattr(trust, "_nonces", _Forgiving())
        token = attack(trust)
        admit(PROGRAM, maps=create_maps(PROGRAM.maps), token=token, trust=trust)


class _Forgiving(dict[bytes, Any]):
    def __missing__(self, key: bytes) -> Any:
        return trust_module._Nonce(0, 0)


# The same from the other side: the token is honest, the program has changed. -----------------------------------------


def changed_programs() -> Iterator[tuple[str, Program]]:
    spec = PROGRAM.maps[0]
    yield "name", replace(PROGRAM, name="better")
    yield "bytecode", replace(PROGRAM, code=(*CODE[:-2], *assemble_text("r0 = 1\nexit")))
    yield "program_type", replace(PROGRAM, program_type="socket_filter")
    yield "attach_type", replace(PROGRAM, expected_attach_type="xdp_cpumap")
    yield "functions", replace(PROGRAM, subprograms=(Subprogram("good", 0, len(CODE), True),))
    for changes in (
        {"type": 1}, {"key_size": 8}, {"value_size": 16}, {"max_entries": 4}, {"flags": 128}, {"name": "n"},
        {"initial": b"\1"}, {"read_only": True}, {"pinning": 1}, {"extra": 1}, {"inner": spec}, {"value_btf": 3},
    ):  # fmt: skip
        yield "maps", replace(PROGRAM, maps=(replace(spec, **changes),))
    yield "maps", replace(PROGRAM, maps=(spec, spec))
    yield "section", replace(PROGRAM, section="xdp.frags")
    yield "linking", replace(PROGRAM, licence="MIT")
    yield "linking", replace(PROGRAM, assumptions=("4 CPUs",))
    yield "linking", replace(PROGRAM, unsupported=("kptr",))
    yield "linking", replace(PROGRAM, symbols={1: "jiffies"})
    yield "linking", replace(PROGRAM, poisoned={1: "gone"})
    yield "linking", replace(PROGRAM, target_btf="00")
    yield "linking", replace(PROGRAM, hook="void")


@pytest.mark.parametrize(("field", "program"), list(changed_programs()))
def test_changed_programs(field: str, program: Program) -> None:
    trust = Trust(PUBLIC)
    token = sign(claims(trust.nonce()), KEY)
    with pytest.raises(GateError) as error:
        trust.accept(program, token)
    assert error.value.field == field
    trust.accept(PROGRAM, token)  # the refusal has cost nothing


def test_no_field_of_a_program_is_forgotten() -> None:
    """A field that somebody adds must become a claim, or be listed here as one that no verdict depends on."""
    changed = {
        field.name
        for field in fields(Program)
        for _, program in changed_programs()
        if getattr(program, field.name) != getattr(PROGRAM, field.name)
    }
    assert {field.name for field in fields(Program)} - changed == {"lines", "platform"}


def test_a_changed_helper_prototype(monkeypatch: pytest.MonkeyPatch) -> None:
    trust = Trust(PUBLIC)
    token = sign(claims(trust.nonce()), KEY)
    linux = platform()

    class Changed(Platform):
        def helper(self, id: int, program_type: str | None = None) -> HelperPrototype | None:
            found = linux.helper(id, program_type)
            return found if found is None else replace(found, changes_packet=not found.changes_packet)

    other = Changed(**{name: getattr(linux, name) for name in linux.__dataclass_fields__ if name != "_cache"})
    monkeypatch.setattr(token_module, "platform", lambda name: other)
    assert refused(trust, token) == "prototypes"


def test_a_changed_context(monkeypatch: pytest.MonkeyPatch) -> None:
    trust = Trust(PUBLIC)
    token = sign(claims(trust.nonce()), KEY)
    linux = platform()
    xdp = replace(linux.program_types["xdp"], context_size=64)
    other = replace(linux, program_types={**linux.program_types, "xdp": xdp}, _cache={})
    monkeypatch.setattr(token_module, "platform", lambda name: other)
    assert refused(trust, token) == "context"


def test_code_with_two_faces_has_no_token() -> None:
    slot = PROGRAM.code.index(None)
    with pytest.raises(TokenError, match="bytecode: instructions that their own encoding does not give back"):
        subject(replace(PROGRAM, code=(*CODE[:slot], *CODE[slot + 1 :])))
    with pytest.raises(TokenError, match="program_type: not known"):
        subject(replace(PROGRAM, program_type="none"))
    with pytest.raises(TokenError, match="program_type: not known"):
        subject(replace(PROGRAM, platform="none"))


# The maps that are there, and tail calls. -----------------------------------------------------------------------------


def test_other_maps_than_those_defined() -> None:
    trust = Trust(PUBLIC)
    token = sign(claims(trust.nonce()), KEY)
    for specs in ((), (replace(PROGRAM.maps[0], value_size=4),), PROGRAM.maps * 2):
        with pytest.raises(GateError, match="not those that the program defines") as error:
            run(PROGRAM, packet=b"", maps=create_maps(specs), token=token, trust=trust)
        assert error.value.field == "maps"


def test_targets_of_tail_calls_need_tokens() -> None:
    trust = Trust(PUBLIC)
    maps = create_maps(CALLER.maps)
    assert isinstance(maps[0], ProgramArray)
    maps[0][bytes(4)] = PROGRAM

    def tokens() -> dict[str, bytes]:
        nonce = trust.nonce()
        return {each.name: sign(claims(nonce, each), KEY) for each in (CALLER, PROGRAM)}

    with pytest.raises(GateError, match="good may not run: token: none was given"):
        admit(CALLER, maps=maps, token=tokens()["caller"], trust=trust)
    fresh = tokens()
    with pytest.raises(GateError, match="good may not run: token: name"):
        admit(CALLER, maps=maps, token={**fresh, "good": fresh["caller"]}, trust=trust)
    assert admit(CALLER, maps=maps, token=tokens(), trust=trust) == Admission(("caller", "good"), PUBLIC)


# The frame and the signature. -----------------------------------------------------------------------------------------


def test_no_bit_can_be_changed() -> None:
    trust = Trust(PUBLIC)
    token = sign(claims(trust.nonce()), KEY)
    for at in range(len(token)):
        damaged = bytearray(token)
        damaged[at] ^= 1 << at % 8
        assert refused(trust, bytes(damaged)) in ("token", "version", "signature")
    trust.accept(PROGRAM, token)


def test_no_length_but_the_right_one() -> None:
    trust = Trust(PUBLIC)
    token = sign(claims(trust.nonce()), KEY)
    for length in range(0, len(token), 7):
        assert refused(trust, token[:length]) == "token"
    assert refused(trust, token + b"\0") == "token"
    assert refused(trust, bytes(1 << 20)) == "token"


def test_no_claim_of_another_token_fits() -> None:
    trust = Trust(PUBLIC)
    one, other = claims(trust.nonce()), claims(trust.nonce(), CALLER, options=Options(budget=9), time=now() + 5)
    signature = sign(one, KEY)[-64:]
    for name, value in other.plain().items():
        mixed = {**one.plain(), name: value}
        if mixed == one.plain():
            continue
        unsigned = sign(_claims(mixed), KEY)[:-64]
        assert refused(trust, unsigned + signature) == "signature"


def _claims(value: dict[str, Plain]) -> Claims:
    return token_module._claims(value)


def test_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    trust = Trust(PUBLIC)
    token = sign(claims(trust.nonce()), Ed25519PrivateKey.generate())
    assert refused(trust, token) == "signature"
    monkeypatch.setattr(token_module, "_check_signature", lambda signed, signature, key: None)
    trust.accept(PROGRAM, token)  # and that check is the only one that notices


def _signed(body: bytes, version: int = 2, magic: bytes = b"PVTK") -> bytes:
    signed = token_module._HEADER.pack(magic, version, len(body)) + body
    return signed + KEY.sign(signed)


def test_strict_parser() -> None:
    """Even what the right key has signed must be exactly what the format says."""
    value = claims(bytes(32)).plain()
    assert parse(_signed(encode(value)), PUBLIC) == claims(bytes(32), time=value["time"])
    wrong: dict[str, Plain] = {
        "verdict": 1, "platform": "x" * 257, "program_type": None, "attach_type": b"", "bytecode": b"", "maps": "x",
        "nonce": bytes(31), "build": bytes(33), "time": -1, "facts": b"", "options": [],
    }  # fmt: skip
    for name, bad in wrong.items():
        with pytest.raises(TokenError) as error:
            parse(_signed(encode({**value, name: bad})), PUBLIC)
        assert error.value.field == name
    options = Options().arguments()
    for changes in ({"domain": 1}, {"policy": "x" * 257}, {"budget": 0}, {"disjuncts": True}, {"smt": 1}, {"more": 1}):
        with pytest.raises(TokenError, match=r"^options: "):
            parse(_signed(encode({**value, "options": {**options, **changes}})), PUBLIC)
    without = {name: each for name, each in value.items() if name != "maps"}
    for body in (encode(without), encode({**value, "more": 1}), encode([]), encode(value) + b"\0", b"\xff"):
        with pytest.raises(TokenError, match=r"^claims: "):
            parse(_signed(body), PUBLIC)
    with pytest.raises(TokenError, match=r"^version: 1"):
        parse(_signed(encode(value), version=1), PUBLIC)
    with pytest.raises(TokenError, match="not a verdict token"):
        parse(_signed(encode(value), magic=b"PVTX"), PUBLIC)
    with pytest.raises(TokenError, match=r"^verdict"):
        sign(replace(claims(bytes(32)), verdict="x" * 300), KEY)


# Nonces and keys. -----------------------------------------------------------------------------------------------------


def test_nonces_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    trust = Trust(PUBLIC, max_age=5)
    first = trust.nonce()
    for _ in range(MAX_NONCES):
        trust.nonce()
    assert len(trust._nonces) == MAX_NONCES
    assert refused(trust, sign(claims(first), KEY)) == "nonce"
    clock = time.monotonic() + 6
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    trust.nonce()
    assert len(trust._nonces) == 1


def test_one_nonce_serves_the_programs_of_one_request() -> None:
    trust = Trust(PUBLIC)
    nonce = trust.nonce()
    trust.accept(PROGRAM, sign(claims(nonce), KEY))
    trust.accept(CALLER, sign(claims(nonce, CALLER), KEY))
    with pytest.raises(GateError, match="replay"):
        trust.accept(CALLER, sign(claims(nonce, CALLER, time=now() + 1), KEY))


def test_twins_in_one_object_have_a_token_each() -> None:
    trust = Trust(PUBLIC)
    nonce = trust.nonce()
    for program in (PROGRAM, replace(PROGRAM, name="twin")):
        trust.accept(program, sign(claims(nonce, program), KEY))


def test_options_that_were_asked_for() -> None:
    trust = Trust(PUBLIC, options=Options(budget=7))
    assert refused(trust, sign(claims(trust.nonce()), KEY)) == "options"
    trust.accept(PROGRAM, sign(claims(trust.nonce(), options=Options(budget=7)), KEY))


def test_a_pinned_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(PUBLIC.hex() + "\n")
    assert read_key(path) == PUBLIC
    path.write_text("00")
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        read_key(path)
