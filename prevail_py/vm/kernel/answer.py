"""What the kernel said about a program, and how its error number and log are read.

The kernel refuses programs for many reasons that say nothing about them: no rights, no such program type, a map that
could not be made, missing type information, limits.  Only the verifier's own ruling counts as ``REJECT``.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from prevail_py.vm.kernel.syscalls import BpfError

__all__ = ["AnswerKind", "KernelAnswer", "LogStatistics", "read_error", "read_log", "read_success"]


class AnswerKind(Enum):
    """``NOT_ASKED``: the guard refused.  ``NOT_LOADED``: it was tried, or cannot be, and no ruling came of it."""

    ACCEPT = "accept"
    REJECT = "reject"
    NOT_ASKED = "not-asked"
    NOT_LOADED = "not-loaded"


@dataclass(frozen=True, slots=True)
class KernelAnswer:
    """The kernel's answer about one program.

    ``reason`` is one line, empty for ACCEPT.  ``log`` is the verifier's text.  ``instructions_processed`` counts what
    the verifier walked over, on all paths; ``verification_seconds`` is its own measurement, of elapsed time and without
    the JIT compiler.  ``total_states`` and ``peak_states`` count the states that it stored for pruning.  All are None
    where no verification ran to its end.  ``load_cpu_seconds`` is the CPU time, user and system, that the system call
    took in the worker: verification, and compilation where it was accepted.  Both times are medians if there were
    several loads.
    """

    kind: AnswerKind
    reason: str = ""
    log: str = ""
    instructions_processed: int | None = None
    verification_seconds: float | None = None
    total_states: int | None = None
    peak_states: int | None = None
    load_cpu_seconds: float | None = None


# The statistics with which every finished verification ends, and other lines that are no ruling.
_PROCESSED: Final = re.compile(r"^processed (\d+) insns", re.MULTILINE)
_STATES: Final = re.compile(r"^processed .* total_states (\d+) peak_states (\d+)", re.MULTILINE)
_TIME: Final = re.compile(r"^verification time (\d+) usec", re.MULTILINE)
_STATISTICS: Final = re.compile(r"^(verification time|stack depth|processed \d+ insns|insns processed)")

# Messages of the verifier about what came with the program or about itself, rather than about the program.
_NOT_A_RULING: Final = re.compile(
    r"has to have BTF|missing btf|missing BTF|func_info|is not pointing to valid bpf_map|attach_btf_id|invalid btf"
    r"|Invalid btf|must be BTF enabled|verifier internal error|verifier bug|verifier misconfigured"
    r"|kernel btf|kernel BTF",
)
_TOO_DEEP: Final = re.compile(r"call stack of \d+ frames is too deep")


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """What a log ends with: see :class:`KernelAnswer`.  ``message`` is the last line that is no statistics."""

    message: str
    instructions_processed: int | None
    verification_seconds: float | None
    total_states: int | None
    peak_states: int | None


def read_log(log: str) -> LogStatistics:
    """The verifier's last word and its statistics, as far as ``log`` has them."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    message = next((line for line in reversed(lines) if not _STATISTICS.match(line)), "")
    processed, time, states = _PROCESSED.search(log), _TIME.search(log), _STATES.search(log)
    return LogStatistics(
        message,
        int(processed[1]) if processed else None,
        int(time[1]) / 1e6 if time else None,
        int(states[1]) if states else None,
        int(states[2]) if states else None,
    )


def read_success(log: str) -> KernelAnswer:
    """The answer about a program that was loaded."""
    return _answer(AnswerKind.ACCEPT, "", log, read_log(log))


def read_error(error: BpfError) -> KernelAnswer:
    """A failed PROG_LOAD: a ruling is EACCES or EINVAL from a verification that ran, about the program itself.

    A call chain that is too deep is a ruling too, though its error is E2BIG; that the verifier ran into its limit of
    instructions is none: it says nothing about what the program does.
    """
    found = read_log(error.log)
    message = found.message
    ran = found.instructions_processed is not None and bool(message)
    ruled = error.errno in (errno.EACCES, errno.EINVAL) or bool(_TOO_DEEP.search(message))
    if ran and ruled and not _NOT_A_RULING.search(message):
        return _answer(AnswerKind.REJECT, message, error.log, found)
    reason = f"{error.code}: {message}" if message else f"{error.code} from the kernel, without a message"
    return _answer(AnswerKind.NOT_LOADED, reason, error.log, found)


def _answer(kind: AnswerKind, reason: str, log: str, found: LogStatistics) -> KernelAnswer:
    return KernelAnswer(
        kind,
        reason,
        log,
        found.instructions_processed,
        found.verification_seconds,
        found.total_states,
        found.peak_states,
    )
