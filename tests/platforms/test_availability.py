"""Who may call a helper, by program type, attach type and whether the program may sleep: here, and in the kernel."""

from __future__ import annotations

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.instructions import Call, Exit
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.platforms.linux.availability import ATTACH_TYPES_OF_HELPERS, CALLERS
from prevail_py.verifier import VerdictKind, verify
from prevail_py.vm.interpreter import run
from prevail_py.vm.kernel.engine import AnswerKind, Session
from prevail_py.vm.outcome import Returned, TrapKind, Trapped

LINUX = platform()
IDS = {LINUX.helper_name(id): id for id in LINUX.helper_ids()}


def calling(helper: str, section: str, result: int = 0) -> Program:
    """A program for this section that calls a helper that needs no arguments."""
    rule = LINUX.section_rule(section)
    assert rule is not None
    code = assemble_text(f"call {IDS[helper]}\nr0 = {result}\nexit")
    return Program("p", section, rule.program_type, code, licence="GPL", expected_attach_type=rule.attach_type)


@pytest.mark.parametrize(
    ("helper", "section", "reason"),
    [
        ("bpf_get_retval", "cgroup/dev", ""),
        ("bpf_get_retval", "cgroup/sysctl", ""),
        ("bpf_get_retval", "cgroup/connect_unix", ""),
        ("bpf_get_retval", "cgroup/recvmsg4", "cgroup_sock_addr programs of attach type cgroup_udp4_recvmsg"),
        ("bpf_get_retval", "cgroup/getsockname_unix", "programs of attach type cgroup_unix_getsockname"),
        ("bpf_get_retval", "xdp", "helper bpf_get_retval is not available to xdp programs"),
        ("bpf_override_return", "kprobe.multi/x", "helper bpf_override_return is not available to kprobe programs"),
        ("bpf_probe_write_user", "ksyscall/connect", "bpf_probe_write_user is not available to kprobe programs"),
        ("bpf_copy_from_user", "uprobe/x", "helper bpf_copy_from_user may sleep, and the program may not"),
        ("bpf_copy_from_user", "xdp", "helper bpf_copy_from_user may sleep, and the program may not"),
    ],
)
def test_verifier_and_machine_agree_on_who_may_call(helper: str, section: str, reason: str) -> None:
    rule = LINUX.section_rule(section)
    assert rule is not None
    low = (LINUX.program_type(rule.program_type, rule.attach_type).return_range or (0, 0))[0]
    program = calling(helper, section, low)
    verdict, outcome = verify(program), run(program).outcome
    if not reason:
        assert verdict.kind is VerdictKind.SAFE
        assert outcome == Returned(low)
        return
    assert [failure.assertion for failure in verdict.failures] == ["helper-unavailable"]
    assert reason in verdict.failures[0].message
    assert isinstance(outcome, Trapped)
    assert (outcome.trap.kind, outcome.trap.message) == (TrapKind.HELPER_UNAVAILABLE, verdict.failures[0].message)


def test_an_attach_type_that_is_not_known_is_none() -> None:
    """Linux gives such programs the first attach type, which is none of theirs."""
    program = Program("p", "", "cgroup_sock_addr", (Call(IDS["bpf_get_retval"]), Exit()))
    assert "programs without an attach type" in verify(program).failures[0].message


def test_who_may_sleep() -> None:
    assert LINUX.may_sleep("syscall", "")
    assert LINUX.may_sleep("kprobe", "uprobe.s/x")
    assert LINUX.may_sleep("lsm", "?lsm.s/file_open")
    assert not LINUX.may_sleep("lsm", "lsm/file_open")
    assert not LINUX.may_sleep("kprobe", "")
    assert not LINUX.may_sleep("nothing", "nothing")


def test_the_kernel_agrees(kernel: None) -> None:
    """For each section, each helper about which more is said than the program types of the facts."""
    sleeping = {name for name, id in IDS.items() if (prototype := LINUX.helper(id)) and prototype.might_sleep}
    helpers = sorted({*CALLERS, *sleeping, *(name for name, _ in ATTACH_TYPES_OF_HELPERS)} - {None}, key=str)
    seen, compared = set(), 0
    with Session() as session:
        for rule in LINUX.sections:
            kind = rule.program_type, rule.attach_type, rule.sleepable
            if rule.program_type not in LINUX.measured_types or kind in seen:
                continue
            seen.add(kind)
            for helper in helpers:
                program = calling(str(helper), rule.pattern.removesuffix("+"))
                answer = session.ask(program, generated=True)
                if answer.kind not in (AnswerKind.ACCEPT, AnswerKind.REJECT):
                    continue
                refused = "cannot use helper" in answer.reason or "might sleep" in answer.reason
                ours = LINUX.unavailable(IDS[helper], rule.program_type, rule.attach_type, program.section)
                assert bool(ours) == refused, f"{program.section}: {helper}: {ours or 'available'}: {answer.reason}"
                compared += 1
    assert compared > 1000
