"""Reading the kernel's error numbers and logs: only a ruling about the program is a rejection."""

from __future__ import annotations

import errno

import pytest

from prevail_py.vm.kernel.answer import AnswerKind, LogStatistics, read_error, read_log
from prevail_py.vm.kernel.syscalls import BpfError

STATISTICS = (
    "verification time 268 usec\nstack depth 0+8\n"
    "processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"
)


def error(number: int, message: str, statistics: str = STATISTICS) -> BpfError:
    return BpfError(number, "PROG_LOAD", f"{message}\n{statistics}" if message else statistics)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "R1 invalid mem access 'scalar'"),
        (errno.EINVAL, "unreachable insn 4"),
        (errno.EINVAL, "invalid func unknown#211"),
        (errno.E2BIG, "the call stack of 9 frames is too deep !"),
    ],
)
def test_rulings(number: int, message: str) -> None:
    answer = read_error(error(number, message))
    assert answer.kind is AnswerKind.REJECT
    assert answer.reason == message
    assert answer.instructions_processed == 12
    assert answer.verification_seconds == 268e-6


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EPERM, ""),
        (errno.EPERM, "program of this type needs more rights"),
        (errno.E2BIG, "BPF program is too large. Processed 1000001 insn"),
        (errno.ENOMEM, ""),
        (errno.EFAULT, "verifier bug: something does not add up"),
        (errno.EINVAL, "map 'm' has to have BTF in order to use bpf_spin_lock"),
        (errno.EINVAL, "missing btf func_info"),
        (errno.EINVAL, "fd 0 is not pointing to valid bpf_map"),
        (errno.EINVAL, ""),
        (524, "kernel does not support this"),
    ],
)
def test_no_rulings(number: int, message: str) -> None:
    answer = read_error(error(number, message))
    assert answer.kind is AnswerKind.NOT_LOADED
    assert message in answer.reason
    assert answer.reason


def test_a_message_without_a_verification_is_no_ruling() -> None:
    assert read_error(error(errno.EINVAL, "something about BTF", statistics="")).kind is AnswerKind.NOT_LOADED


def test_the_message_is_the_last_line_before_the_statistics() -> None:
    trace = "0: R1=ctx() R10=fp0\n0: (61) r0 = *(u32 *)(r1 +100)\ninvalid bpf_context access off=100 size=4\n"
    message = "invalid bpf_context access off=100 size=4"
    assert read_log(trace + STATISTICS) == LogStatistics(message, 12, 268e-6, 0, 0)
    assert read_log("") == LogStatistics("", None, None, None, None)
