"""A process that keeps objects of the kernel: behind the guard, and lost without harm."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import replace

import pytest

from prevail_py.objects.program import MapSpec
from prevail_py.objects.text import assemble
from prevail_py.vm.kernel import engine, keeper, syscalls
from prevail_py.vm.kernel.engine import load_request
from prevail_py.vm.kernel.keeping import Keeper, KeptError
from prevail_py.vm.kernel.loader import LoadRequest
from prevail_py.vm.kernel.privacy import PrivacyError
from prevail_py.vm.kernel.wire import Request, spec_plain

pytestmark = pytest.mark.skipif(syscalls.system_call_number() is None, reason="kernel engine: no bpf(2) is known here")

HAZARD = assemble("r1 = 5\nr1 s>>= 63\nr1 &= 8\nr0 = 2\nif r1 == 9 goto -3\nexit")
PASS = assemble("r0 = 2\nexit")
TABLE = MapSpec("table", 1, 4, 8, 2)


def request(program: object = PASS) -> LoadRequest:
    found = load_request(program)  # type: ignore[arg-type]
    assert isinstance(found, LoadRequest)
    return found


def test_the_guard_answers_before_a_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_Worker", None)
    with Keeper() as kept, pytest.raises(KeptError, match="verifier crash pattern") as error:
        kept.load(request(HAZARD), [])
    assert error.value.errno == errno.EPERM
    with Keeper() as kept, pytest.raises(TypeError):  # the test would see one
        kept.load(request(), [])


def test_a_keeper_that_is_sent_it_anyway_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes to its pipe gets no further than the one function that loads programs."""
    monkeypatch.setattr(syscalls, "_worker", True)
    monkeypatch.setattr(syscalls, "_bpf", None)
    sent = {"call": "program_load", "request": Request(request(HAZARD)).to_json(), "maps": []}
    found = keeper.answer(keeper.Keeper(), sent)
    assert found["error"] == errno.EPERM
    assert "verifier crash pattern" in found["message"]


def test_effects_that_reach_further_are_refused(kernel: None) -> None:
    """As in other test runs: by the program's type and the helpers that it calls."""
    probe = assemble("r0 = 0\nexit", program_type="kprobe", name="probe")
    with Keeper() as kept:
        loaded = kept.load(request(probe), [])
        for call in ("program_run", "attach_xdp"):
            given = {"ifindex": 1} if call == "attach_xdp" else {"packet": "", "context": "", "repeat": 1}
            with pytest.raises(KeptError, match="not confined to a packet"):
                kept.ask(call, number=loaded["number"], **given)


def test_programs_that_others_call_are_looked_at_as_well(kernel: None) -> None:
    """A run ends in the program that a tail call leads to, and a link calls the program that it was changed to."""
    programs = MapSpec("programs", 3, 4, 4, 1)
    clones = assemble("r2 = 1\nr3 = 0\ncall 13\nr0 = 0\nexit", program_type="sched_cls", name="clones")
    with Keeper() as kept:
        numbers = [kept.load(request(each), [])["number"] for each in (clones, PASS)]
        table = kept.ask("map_create", spec=spec_plain(programs))["number"]
        with pytest.raises(KeptError, match="bpf_clone_redirect at slot 2 reaches beyond"):
            kept.ask("map_update", number=table, key="00000000", value="", flags=0, entry=numbers[0])
        kept.ask("map_update", number=table, key="00000000", value="", flags=0, entry=numbers[1])
        with pytest.raises(KeptError, match="bpf_clone_redirect at slot 2 reaches beyond"):
            kept.ask("update_link", link=0, program=numbers[0])


def test_maps_live_on_between_runs(kernel: None) -> None:
    text = (
        "r1 = 0\n*(u32 *)(r10 - 4) = r1\nr2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall 1\nif r0 == 0 goto out\n"
        "r1 = 1\nlock *(u64 *)(r0 + 0) += r1\nout:\nr0 = 2\nexit"
    )
    program = replace(assemble(text), maps=(TABLE,))
    with Keeper() as kept:
        table = kept.ask("map_create", spec=spec_plain(TABLE))["number"]
        kept.ask("map_update", number=table, key="00000000", value="05" + "00" * 7, flags=0, entry=None)
        for _ in range(2):  # two programs that share it
            loaded = kept.load(request(program), [table])
            run = kept.ask("program_run", number=loaded["number"], packet="00" * 60, context=context(), repeat=3)
            assert run["value"] == 2
            kept.ask("close", number=loaded["number"])
        assert kept.ask("map_list", number=table) == [["00000000", "0b" + "00" * 7]]


def context() -> str:
    from prevail_py.platforms import platform
    from prevail_py.vm.kernel.context import to_kernel, usual_context

    kind = platform().program_type("xdp")
    usual = usual_context(kind, bytes(60))
    assert usual is not None
    return to_kernel(kind, bytes(60), usual)[1].hex()


def test_a_keeper_that_is_lost(kernel: None) -> None:
    """It takes all that it kept with it, says so, and is not started again."""
    kept = Keeper()
    kept.ask("map_create", spec=spec_plain(TABLE))
    process = kept._process
    assert process is not None
    os.kill(process._process.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(KeptError, match="killed by signal 9") as error:
            kept.load(request(), [])
        assert error.value.errno == errno.EIO
    kept.close()
    with Keeper() as closed:
        closed.close()
        with pytest.raises(KeptError, match="was closed"):
            closed.ask("close", number=1)


def test_errors_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each becomes an answer with a number: the keeper goes on."""
    errors: list[tuple[BaseException, int]] = [
        (PrivacyError("not here"), errno.EOPNOTSUPP),
        (syscalls.BpfError(524, "X"), errno.EOPNOTSUPP),
        (syscalls.BpfError(errno.E2BIG, "X", "log"), errno.E2BIG),
        (FileNotFoundError(errno.ENOENT, "gone"), errno.ENOENT),
        (keeper.Refused(errno.EPERM, "no"), errno.EPERM),
    ]
    for error, number in errors:

        def fail(self: object, *, raised: BaseException = error) -> None:
            raise raised

        monkeypatch.setattr(keeper.Keeper, "unpin", fail)
        assert keeper.answer(keeper.Keeper(), {"call": "unpin"})["error"] == number
