"""Verifier processes: what they answer, and what becomes of those who ask when they fail, lie, hang or die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.host.canonical import Plain, encode
from prevail_py.host.gate import Admission, GateError, admit, facts_of, run
from prevail_py.host.service import Certified, Limits, Options, Refused, Verifier, VerifierError
from prevail_py.host.service import client as client_module
from prevail_py.host.service.facts import accepted
from prevail_py.host.service.memory import sealed
from prevail_py.host.service.programs import MessageError, from_program, from_verdict, to_program, to_verdict
from prevail_py.host.token import build_id
from prevail_py.host.trust import Trust, read_key
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.research.mutate import mutations
from prevail_py.research.suite import pairs
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import VerdictKind
from prevail_py.vm.maps import create_maps
from prevail_py.vm.outcome import Returned

pytestmark = pytest.mark.usefixtures("lockdown")

SAFE = assemble("r0 = 2\nexit", name="good")


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("key") / "verifier.key"


@pytest.fixture(scope="module")
def verifier(pinned: Path) -> Iterator[Verifier]:
    with Verifier(pin=pinned) as process:
        yield process


def admitted(certified: Certified, trust: Trust) -> Admission:
    program = certified.verdict.program
    return admit(program, maps=create_maps(program.maps), token=certified.token, trust=trust)


def programs() -> list[Program]:
    return [each for name in examples.EXAMPLES for each in load_object(examples.path(name)).programs.values()]


# What it says. ----------


def test_a_program_that_needs_the_solver_is_proved_inside(verifier: Verifier) -> None:
    program = pairs()["kinds"].safe
    assert not verify(program, smt=False).is_safe
    trust = Trust(verifier.key)
    certified = verifier.verify(program, nonce=trust.nonce())
    assert certified.verdict.is_safe
    here = verify(program).discharged
    assert certified.verdict.discharged == tuple(replace(each, query="", starts=()) for each in here)
    assert admitted(certified, trust).key == verifier.key
    assert not verifier.verify(program, options=Options(smt=False)).verdict.is_safe


def test_the_examples(verifier: Verifier) -> None:
    """The same verdicts and programs as in this process; what is SAFE runs by its token, what is not does not."""
    trust = Trust(verifier.key)
    kinds: Counter[VerdictKind] = Counter()
    for name in examples.EXAMPLES:
        here = [verify(each) for each in load_object(examples.path(name)).programs.values()]
        there = verifier.verify_object(examples.path(name), nonce=trust.nonce())
        assert [(each.verdict.kind, each.verdict.program) for each in there] == [(v.kind, v.program) for v in here]
        for each, verdict in zip(there, here, strict=True):
            assert each.token is not None
            assert each.verdict.witness == verdict.witness
            assert [str(failure) for failure in each.verdict.failures] == [str(f) for f in verdict.failures]
            kinds[verdict.kind] += 1
            if verdict.is_safe:
                assert admitted(each, trust).key == verifier.key
                continue
            with pytest.raises(GateError, match="token: verdict: 'UN") as error:
                admitted(each, trust)
            assert error.value.field == "verdict"
    assert kinds[VerdictKind.SAFE] > 5
    assert kinds[VerdictKind.UNSAFE] > 2


def test_a_program(verifier: Verifier) -> None:
    trust = Trust(verifier.key)
    token = verifier.verify(SAFE, nonce=trust.nonce()).token
    assert token is not None
    assert run(SAFE, packet=b"", token=token, trust=trust).outcome == Returned(2)
    with pytest.raises(GateError, match="replay"):
        run(SAFE, packet=b"", token=token, trust=trust)
    with pytest.raises(GateError, match="nonce"):  # asked by nobody
        run(SAFE, packet=b"", token=verifier.verify(SAFE).token, trust=trust)


def test_a_lax_policy_opens_nothing(verifier: Verifier) -> None:
    trust = Trust(verifier.key, options=Options(policy="linux-root"))
    leak = assemble("r0 = *(u8 *)(r10 - 1)\nexit")
    certified = verifier.verify(leak, nonce=trust.nonce(), options=Options(policy="linux-root"))
    assert certified.verdict.is_safe
    with pytest.raises(GateError, match="token: policy: found under linux-root"):
        admit(leak, token=certified.token, trust=trust)


def test_objects_that_depend_on_the_kernel(verifier: Verifier, xdp_objects: tuple[Path, ...]) -> None:
    """Relocated inside, with the types that were handed over sealed."""
    found = 0
    for path in xdp_objects[:4]:
        here = load_object(path).programs
        there = verifier.verify_object(path)
        assert [each.verdict.program for each in there] == list(here.values())
        found += sum(bool(each.verdict.program.target_btf) for each in there)
    if not found:
        pytest.skip("kernel BTF: no object here depends on the kernel's types")


def test_only_one_of_several(verifier: Verifier) -> None:
    path = examples.path("xdp_firewall")
    name = next(iter(load_object(path).programs))
    assert [each.verdict.program.name for each in verifier.verify_object(path, only=name)] == [name]
    assert verifier.verify_object(path, only="none") == ()


def test_the_key_is_pinned(verifier: Verifier, pinned: Path) -> None:
    assert read_key(pinned) == verifier.key
    assert verifier.build == build_id()
    assert verifier.lacking == ()
    assert repr(verifier).endswith(f"process {verifier.pid}>")


@pytest.mark.parametrize("threads", [4])
def test_several_threads_ask(verifier: Verifier, threads: int) -> None:
    answers: list[Certified] = []
    asking = [threading.Thread(target=lambda: answers.append(verifier.verify(SAFE))) for _ in range(threads)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert [each.verdict.kind for each in answers] == [VerdictKind.SAFE] * threads


# Bad requests, and damaged objects. ----------


def test_what_it_cannot_use(verifier: Verifier) -> None:
    with pytest.raises(Refused, match="not an ELF file"):
        verifier.verify_object(b"MZ")
    with pytest.raises(Refused, match="domain"):
        verifier.verify(SAFE, options=Options(domain="none"))
    with pytest.raises(Refused, match="no policy 'none'"):
        verifier.verify(SAFE, options=Options(policy="none"))
    with pytest.raises(Refused, match="nonce: not 32 bytes"):
        verifier.verify(SAFE, nonce=b"short")
    with pytest.raises(Refused, match="options: a number"):
        verifier.verify(SAFE, options=Options(budget=-1))
    with pytest.raises(Refused, match="not a regular file"):
        verifier.verify_object("/dev/null")
    assert verifier.verify(SAFE).verdict.is_safe


def _raw(verifier: Verifier, request: Plain, descriptors: list[int]) -> Plain:
    with verifier._lock:
        verifier._channel.send(request, descriptors)
        received = verifier._channel.receive()
    assert received is not None
    return received[0]


def test_requests_that_are_none(verifier: Verifier) -> None:
    good: dict[str, Plain] = {
        "kind": "program", "name": "", "only": None, "platform": None, "nonce": bytes(32),
        "options": Options().arguments(),
    }  # fmt: skip
    loose = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.write(loose, encode(from_program(SAFE)))
    tight = sealed(encode(from_program(SAFE)))
    junk = sealed(b"\xff" * 100)
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        assert "verdicts" in _as_map(_raw(verifier, good, [tight]))
        nowhere = sealed(encode(from_program(replace(SAFE, platform="nowhere"))))
        for request, descriptors, reason in (
            (good, [nowhere], "unknown platform 'nowhere'"),
            (good, [loose], "not sealed"),
            (good, [null], "no memory"),
            (good, [junk], "not used here"),
            (good, [], "one descriptor"),
            ({**good, "kind": "x"}, [tight], "kind: 'x'"),
            ({**good, "kind": "object"}, [tight], "unknown platform ''"),
            ({**good, "more": 1}, [tight], "not a map of exactly"),
            ({**good, "name": 1}, [tight], "name: not of type str"),
            ([], [tight], "not a map of exactly"),
        ):
            assert reason in str(_as_map(_raw(verifier, request, descriptors))["refused"])
    finally:
        for descriptor in (loose, tight, junk, null, nowhere):
            os.close(descriptor)


def _as_map(value: Plain) -> dict[str, Plain]:
    assert isinstance(value, dict)
    return value


def test_facts_of_the_process_are_those_of_this_one(verifier: Verifier) -> None:
    """Signed, and the same as what is found here; none where the program is not SAFE."""
    found = 0
    for program in programs():
        trust = Trust(verifier.key)
        certified = verifier.verify(program, nonce=trust.nonce())
        if not certified.verdict.is_safe:
            assert certified.facts is None
            continue
        claims = trust.accept(program, certified.token or b"")
        expected = facts_of(verify(program, termination=True))
        assert accepted(program, claims, certified.facts) == expected
        found += expected is not None
    assert found > 5


def test_damaged_objects(verifier: Verifier) -> None:
    """Several hundred (or many more), each refused or answered, by a process that is still the same."""
    count = int(os.environ.get("PREVAIL_PY_DAMAGED", "300")) // 3
    pid, trust, answers = verifier.pid, Trust(verifier.key), Counter[str]()
    for seed, name in enumerate(("xdp_firewall", "unsafe_null", "xdp_parser")):
        data = Path(examples.path(name)).read_bytes()
        for mutant in mutations(data, seed, count):
            try:
                for certified in verifier.verify_object(mutant, nonce=trust.nonce()):
                    answers[str(certified.verdict.kind)] += 1
                    assert certified.token is not None or not certified.verdict.is_safe
                    if certified.verdict.is_safe:
                        trust.accept(certified.verdict.program, certified.token or b"")
            except Refused:
                answers["refused"] += 1
    assert min(answers["refused"], answers["SAFE"], answers["UNKNOWN"] + answers["UNSAFE"]) > 10
    assert verifier.pid == pid
    assert verifier.verify(SAFE).verdict.is_safe


# Processes that fail. ----------


def test_killed_while_it_works() -> None:
    with Verifier() as verifier:
        os.kill(verifier.pid, signal.SIGSTOP)
        killer = threading.Timer(0.2, os.kill, (verifier.pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(VerifierError, match=r"^the verifier died \(killed by SIGKILL\)$"):
            verifier.verify(SAFE)
        killer.join()
        with pytest.raises(VerifierError, match="died"):  # and stays dead
            verifier.verify(SAFE)


def test_hung() -> None:
    with Verifier(timeout=0.5) as verifier:
        assert verifier.verify(SAFE).verdict.is_safe
        os.kill(verifier.pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(VerifierError, match=r"did not answer within 0\.5 s and was killed"):
            verifier.verify(SAFE)
        assert time.monotonic() - start < 30


def test_out_of_memory() -> None:
    with Verifier(limits=Limits(memory=16 << 20)) as verifier:
        with pytest.raises(VerifierError, match=r"out of memory|died \(exit status 1\)"):
            verifier.verify_object(bytes(31 << 20))
        with pytest.raises(VerifierError, match="died"):  # what ran out of memory is not asked again
            verifier.verify(SAFE)


def test_without_limit_and_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran out of memory above is an answer where there is more, and who asks one that hangs waits for ever."""
    monkeypatch.setattr(Verifier, "_watchdog", lambda self, seconds: nullcontext())
    with Verifier(timeout=0.1) as verifier:
        with pytest.raises(Refused, match="larger than 8 MiB"):
            verifier.verify_object(bytes(31 << 20))
        os.kill(verifier.pid, signal.SIGSTOP)
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                verifier.verify(SAFE)
            except VerifierError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(1)
        assert thread.is_alive()
        assert not failed
        os.kill(verifier.pid, signal.SIGKILL)
        thread.join(20)
        assert len(failed) == 1


def test_out_of_time() -> None:
    with Verifier(limits=Limits(cpu=1)) as verifier, pytest.raises(VerifierError, match="killed by SIG"):
        _ask_for_ever(verifier)


def _ask_for_ever(verifier: Verifier) -> None:
    while True:
        verifier.verify_object(examples.path("xdp_options"))


def test_the_thread_that_started_it_may_end() -> None:
    made: list[Verifier] = []
    thread = threading.Thread(target=lambda: made.append(Verifier(btf=None)))
    thread.start()
    thread.join()
    with made[0] as verifier:
        time.sleep(0.1)
        assert verifier.verify(SAFE).verdict.is_safe


def test_it_ends_with_whoever_asks() -> None:
    """Killed, without a chance to say goodbye: the connection ends, and that is noticed."""
    script = (
        "import os, signal\nfrom prevail_py.host.service import Verifier\nverifier = Verifier(btf=None)\n"
        "print(verifier.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    asker = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False, timeout=120)
    assert asker.returncode == -signal.SIGKILL
    process = Path(f"/proc/{int(asker.stdout)}/stat")
    deadline = time.monotonic() + 30
    while process.exists() and process.read_text().rpartition(") ")[2][0] not in "ZX":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_closed() -> None:
    verifier = Verifier(btf=None)
    verifier.close()
    verifier.close()
    with pytest.raises(VerifierError, match="was closed"):
        verifier.verify(SAFE)
    with pytest.raises(ProcessLookupError):
        os.kill(verifier.pid, 0)


# Machines without the walls, and processes that only pretend. ----------

START = """
import sys
from prevail_py.host.service import landlock, lockdown, seccomp, worker
worker._WARM, worker._exercise = (), lambda: None
{}
from prevail_py.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
NO_LANDLOCK = START.format("landlock.available = lambda: 'the kernel does not offer Landlock'")
PRETENDS = START.format("seccomp.install = lambda rules: None")


def started_by(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    command = [sys.executable, "-P", "-c", script, "verifierd"]
    monkeypatch.setattr(Verifier, "_command", staticmethod(lambda arguments: [*command, *arguments]))


def test_refuses_a_machine_without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, NO_LANDLOCK)
    with pytest.raises(VerifierError, match="cannot be confined here: the kernel does not offer Landlock"):
        Verifier(btf=None)
    with Verifier(btf=None, unconfined=True) as verifier:  # and says so where it is told to go on
        assert verifier.lacking == ("the kernel does not offer Landlock",)


def test_a_process_that_is_not_confined_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, PRETENDS)
    with pytest.raises(VerifierError, match="not confined: Seccomp is 0"):
        Verifier(btf=None)
    monkeypatch.setattr(Verifier, "_check_confined", lambda self: None)
    Verifier(btf=None).close()  # by that check, and no other


LIAR = """
import os, socket, sys, time
from prevail_py.host.service.channel import Channel
channel = Channel(socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1])))
hello = {{"protocol": 3, "key": bytes(32), "build": bytes(32), "lacking": []}}
{}
"""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("channel.send({**hello, 'protocol': 1})", "protocol 1"),
        ("channel.send({**hello, 'key': b''})", "a key of 0 bytes"),
        ("channel.send([])", "not a map"),
        ("channel.socket.send(b'\\xff' * 100)", "more than"),
        ("channel.socket.send(b'\\0\\0\\0\\2\\x18\\0')", "shortest form"),
        ("channel.socket.send(b'\\0\\0')", r"died \(exit status 0\)"),
        ("sys.exit(3)", r"died \(exit status 3\)"),
        ("channel.send({'error': 'no'})", "cannot be confined here: no"),
    ],
)
def test_processes_that_are_no_verifier(monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    started_by(monkeypatch, LIAR.format(script))
    with pytest.raises(VerifierError, match=reason):
        Verifier(btf=None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("{}", "not an answer"),
        ("{'verdicts': [1]}", "not a map of exactly"),
        ("{'verdicts': [{'verdict': {}, 'token': None, 'facts': None}]}", "not a map of exactly"),
        ("{'failed': 'ValueError: x'}", "the verifier failed: ValueError: x"),
    ],
)
def test_answers_that_are_none(monkeypatch: pytest.MonkeyPatch, answer: str, reason: str) -> None:
    monkeypatch.setattr(Verifier, "_check_confined", lambda self: None)
    started_by(monkeypatch, LIAR.format(f"channel.send(hello); channel.receive(); channel.send({answer})"))
    with Verifier(btf=None) as verifier, pytest.raises(VerifierError, match=reason):
        verifier.verify(SAFE)


def test_one_that_never_says_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by(monkeypatch, LIAR.format("time.sleep(600)"))
    monkeypatch.setattr(client_module, "START_TIMEOUT", 0.5)
    with pytest.raises(VerifierError, match=r"did not answer within 0\.5 s"):
        Verifier(btf=None)


# What travels. ----------


def test_programs_and_verdicts_travel() -> None:
    for program in programs():
        assert to_program(from_program(program)) == program
    verdict = verify(load_object(examples.path("unsafe_null")).programs[examples.EXAMPLES["unsafe_null"].program])
    back = to_verdict(from_verdict(verdict))
    assert back.failures == verdict.failures
    assert replace(back, seconds=0) == replace(verdict, seconds=0)


def test_what_does_not_travel() -> None:
    good = from_program(SAFE)
    assert isinstance(good, dict)
    assert good.keys() == {field.name for field in fields(Program)}
    maps = _as_map(from_program(replace(SAFE, maps=(MapSpec("m", 2, 4, 8, 1),))))["maps"]
    assert isinstance(maps, list)
    assert _as_map(maps[0]).keys() == {field.name for field in fields(MapSpec) if field.compare}
    for name in good:
        with pytest.raises(MessageError):
            to_program({**good, name: 1.5})  # type: ignore[dict-item]
    for name, bad in (
        ("lines", [[1]]),
        ("maps", [1]),
        ("unsupported", [1]),
        ("symbols", [["x", 1]]),
        ("code", b"\xff"),
    ):
        with pytest.raises(MessageError):
            to_program({**good, name: bad})  # type: ignore[dict-item]
    with pytest.raises(MessageError, match="no verdict is called 'FINE'"):
        to_verdict({**_as_map(from_verdict(verify(SAFE))), "kind": "FINE"})
