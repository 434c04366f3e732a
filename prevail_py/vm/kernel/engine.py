"""Ask the running kernel: does its verifier accept a program, and what does a program do to a packet?

Everything happens in a child process (:mod:`prevail_py.vm.kernel.worker`) and behind the guard
(:mod:`prevail_py.vm.kernel.hazard`); programs are loaded and test-run, never attached.  The answer is always a value:

>>> from prevail_py.isa.instructions import Alu, AluOp, Exit, Immediate, Register
>>> from prevail_py.objects.program import Program
>>> code = (Alu(AluOp.MOV, 64, Register.R0, Immediate(2)), Exit())
>>> answer = ask_kernel(Program("pass", "xdp", "xdp", code))
>>> answer.kind in (AnswerKind.ACCEPT, AnswerKind.NOT_LOADED)  # the latter without the rights
True
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import IO, Final

from prevail_py.isa.encode import EncodeError, encode
from prevail_py.isa.instructions import CallKfunc, CallLocal, LoadImmediate64, Pseudo
from prevail_py.objects.program import Program
from prevail_py.objects.target import running_btf
from prevail_py.platforms import platform
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer
from prevail_py.vm.kernel.attributes import ProgramFlag
from prevail_py.vm.kernel.hazard import hazard
from prevail_py.vm.kernel.loader import LoadRequest
from prevail_py.vm.kernel.syscalls import system_call_number
from prevail_py.vm.kernel.wire import Contents, KernelRun, Reply, Request, RunInput

__all__ = [
    "AnswerKind",
    "Contents",
    "KernelAnswer",
    "KernelRun",
    "RunInput",
    "Session",
    "ask_kernel",
    "ask_kernel_many",
    "available",
    "load_request",
    "run_in_kernel",
    "shared_session",
]

DEFAULT_TIMEOUT: Final = 30.0
_COMMAND: Final = (sys.executable, "-m", "prevail_py.vm.kernel.worker")
_NEEDS_TARGET: Final = frozenset({"tracing", "lsm", "ext", "struct_ops"})


def load_request(program: Program, *, log_level: int = 0, generated: bool = False) -> LoadRequest | KernelAnswer:
    """``program`` in the kernel's terms, or the NOT_LOADED answer that says what it lacks."""

    def not_loaded(reason: str) -> KernelAnswer:
        return KernelAnswer(AnswerKind.NOT_LOADED, reason)

    if program.platform != "linux":
        return not_loaded(f"a program for {program.platform}")
    if program.unsupported:
        return not_loaded(f"the loader does not support: {', '.join(program.unsupported)}")
    if program.program_type in _NEEDS_TARGET:
        return not_loaded(f"programs of type {program.program_type} are loaded for a target in the kernel's BTF")
    linux = platform("linux")
    if program.program_type not in linux.program_types or program.program_type in linux.extensions:
        return not_loaded(f"unknown program type {program.program_type!r}")
    attach_type = program.expected_attach_type
    if attach_type and attach_type not in linux.attach_types:
        return not_loaded(f"unknown attach type {attach_type!r}")
    starts = {0}
    callbacks = False
    for pc, instruction in enumerate(program.code):
        match instruction:
            case CallKfunc() | LoadImmediate64(pseudo=Pseudo.BTF_ID):
                if pc not in program.symbols or program.target_btf != running_btf():
                    what = "kernel function" if isinstance(instruction, CallKfunc) else "BTF_ID reference"
                    return not_loaded(f"{what} at slot {pc}: its BTF id is not one of the running kernel")
            case LoadImmediate64(pseudo=Pseudo.IMMEDIATE, value=0) if pc in program.symbols:
                return not_loaded(f"the address of the kernel symbol {program.symbols[pc]} is not known")
            case LoadImmediate64(pseudo=Pseudo.MAP_FD | Pseudo.MAP_VALUE as pseudo):
                return not_loaded(f"{pseudo.name} reference at slot {pc} means nothing outside of its process")
            case LoadImmediate64(pseudo=Pseudo.FUNCTION, low=offset):
                starts.add(pc + 1 + offset)
                callbacks = True
            case CallLocal(offset):
                starts.add(pc + 1 + offset)
            case _:
                pass
    try:
        code = encode(program.code)
    except EncodeError as error:
        return not_loaded(f"no encoding: {error}")
    rule = linux.section_rule(program.section)
    flags = ProgramFlag.SLEEPABLE if rule is not None and rule.sleepable else 0
    if program.section.removeprefix("?").startswith("xdp.frags"):
        flags |= ProgramFlag.XDP_HAS_FRAGS
    names = {subprogram.start: subprogram.name for subprogram in program.subprograms}
    return LoadRequest(
        code=code,
        program_type=linux.program_types[program.program_type].number,
        licence=program.licence,
        name=program.name,
        expected_attach_type=linux.attach_types[attach_type] if attach_type else 0,
        flags=flags,
        maps=program.maps,
        functions=tuple((start, names.get(start, "")) for start in sorted(starts)) if callbacks else (),
        log_level=log_level,
        generated=generated,
    )


class Session:
    """One worker process for several questions; use as a context manager.

    A worker that does not answer within ``timeout`` seconds is killed, and the next question gets a new one.  A worker
    that the kernel killed ends the session: nothing else is asked, for the kernel may be hurt.
    """

    def __init__(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.timeout = timeout
        self._worker: _Worker | None = None
        self._lost = ""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def send(self, request: Request) -> Reply:
        """One question.  The guard answers before a worker is even started."""
        reasons = (hazard(code, generated=request.load.generated) for code in request.load.codes)
        reason = next((reason for reason in reasons if reason is not None), None)
        if reason is not None:
            return Reply(KernelAnswer(AnswerKind.NOT_ASKED, reason))
        if self._lost:
            return Reply(KernelAnswer(AnswerKind.NOT_ASKED, f"an earlier worker was lost ({self._lost})"))
        if system_call_number() is None:
            return Reply(KernelAnswer(AnswerKind.NOT_LOADED, "no bpf(2) on this machine"))
        if self._worker is None:
            try:
                self._worker = _Worker()
            except OSError as error:
                return Reply(KernelAnswer(AnswerKind.NOT_LOADED, f"no worker process: {error.strerror}"))
        answer = self._worker.ask(json.dumps(request.to_json()), self.timeout)
        if isinstance(answer, bytes):
            return Reply.from_json(json.loads(answer))
        self.close()
        if answer.killed:
            self._lost = answer.reason
        return Reply(KernelAnswer(AnswerKind.NOT_LOADED, answer.reason))

    def ask(self, program: Program, *, log_level: int = 0, generated: bool = False, loads: int = 1) -> KernelAnswer:
        """Does the verifier accept ``program``?  Loaded ``loads`` times, for the median of the times that it takes."""
        request = load_request(program, log_level=log_level, generated=generated)
        if isinstance(request, KernelAnswer):
            return request
        return self.send(Request(replace(request, loads=loads))).answer

    def run(
        self,
        program: Program,
        inputs: Sequence[RunInput],
        *,
        repeat: int = 1,
        read_maps: Iterable[int] | None = None,
        read_each: bool = False,
        generated: bool = False,
    ) -> tuple[KernelRun, ...] | KernelAnswer:
        """Run ``program`` on each input in turn; maps keep their contents from one to the next.

        ``read_maps``: indices of the maps whose contents to give back after the last input (``read_each``: after each),
        by default all that can be listed.  Where the program does not get as far as running, the answer that says why.
        """
        request = load_request(program, generated=generated)
        if isinstance(request, KernelAnswer):
            return request
        wanted = tuple(range(len(program.maps)) if read_maps is None else read_maps)
        reply = self.send(Request(request, tuple(inputs), repeat, wanted, read_each))
        return reply.runs if reply.answer.kind is AnswerKind.ACCEPT else reply.answer


def ask_kernel(
    program: Program,
    log_level: int = 0,
    timeout: float = DEFAULT_TIMEOUT,
    *,
    generated: bool = False,
    loads: int = 1,
) -> KernelAnswer:
    """The kernel verifier's answer about one program, in a worker of its own.

    ``log_level``: 0 for the ruling alone, 1 for the trace of the rejected path, 2 for all of it.  ``timeout`` in
    seconds.  ``generated``: a program generator made it, so only loop-free programs of limited size are asked about.
    ``loads``: how often to load it, for medians of the times in the answer.
    """
    with Session(timeout) as session:
        return session.ask(program, log_level=log_level, generated=generated, loads=loads)


def ask_kernel_many(
    programs: Iterable[Program],
    log_level: int = 0,
    timeout: float = DEFAULT_TIMEOUT,
    *,
    generated: bool = False,
    loads: int = 1,
) -> tuple[KernelAnswer, ...]:
    """As :func:`ask_kernel` for each program, in one worker; ``timeout`` is for each program.

    Some thousands of programs a minute; a worker that does not answer in time costs its program alone.
    """
    with Session(timeout) as session:
        return tuple(
            session.ask(program, log_level=log_level, generated=generated, loads=loads) for program in programs
        )


def run_in_kernel(
    program: Program,
    packet: bytes,
    *,
    context: bytes = b"",
    repeat: int = 1,
    maps: Mapping[int, Contents] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    generated: bool = False,
) -> KernelRun | KernelAnswer:
    """Test-run ``program`` on one packet; ``context`` is the program type's context struct as PROG_TEST_RUN takes it.

    ``maps`` are elements to set first, by index into ``program.maps``.  Gives the answer instead where the program is
    not accepted or not loaded.
    """
    with Session(timeout) as session:
        runs = session.run(program, (RunInput(packet, context, maps or {}),), repeat=repeat, generated=generated)
        return runs if isinstance(runs, KernelAnswer) else runs[0]


@cache
def _session_of(process: int) -> Session:
    session = Session()
    atexit.register(session.close)
    return session


def shared_session() -> Session:
    """The session of this process, closed when it ends: for questions that come one by one."""
    return _session_of(os.getpid())


@cache
def available() -> str | None:
    """Why the kernel cannot be asked here, in one line; None if it can.  Loads ``r0 = 0; exit`` to find out."""
    if system_call_number() is None:
        return f"no bpf(2) known on {sys.platform}"
    trivial = bytes.fromhex("b700000000000000 9500000000000000")
    with Session() as session:
        answer = session.send(Request(LoadRequest(trivial, 1))).answer
    return None if answer.kind is AnswerKind.ACCEPT else f"bpf(2) does not load programs here: {answer.reason}"


class _Gone:
    """No answer: the worker ``killed`` by the kernel, or ended or ended by us for ``reason``."""

    __slots__ = ("killed", "reason")

    def __init__(self, reason: str, *, killed: bool) -> None:
        self.reason = reason
        self.killed = killed


class _Worker:
    """The child process: a line out, a line in, within a time."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        errors = tempfile.TemporaryFile()  # noqa: SIM115 -- open as long as the worker
        try:
            self._process = subprocess.Popen(
                command or _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError:
            errors.close()
            raise
        self._errors: IO[bytes] = errors

    def ask(self, line: str, timeout: float) -> bytes | _Gone:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            return self._gone()
        deadline = time.monotonic() + timeout
        chunks: list[bytes] = []
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([stdout], [], [], remaining)[0]:
                self._process.kill()
                return _Gone(f"no answer within {timeout:g} s", killed=False)
            chunk = os.read(stdout.fileno(), 1 << 16)
            if not chunk:
                return self._gone()
            chunks.append(chunk)
            if chunk.endswith(b"\n"):  # an answer is one line, and nothing follows before the next question
                return b"".join(chunks)

    def _gone(self) -> _Gone:
        code = self._process.wait()
        if code < 0:
            return _Gone(f"the worker was killed by signal {-code}", killed=True)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return _Gone(f"the worker failed: {lines[-1] if lines else f'exit status {code}'}", killed=False)

    def close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it is gone already
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
