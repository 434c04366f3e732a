"""There is one way into the kernel's verifier, and the guard is on it."""

from __future__ import annotations

import ast
import ctypes
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from prevail_py.host.hooks import notify
from prevail_py.host.service import landlock, seccomp
from prevail_py.isa.encode import encode
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.vm.engines import EngineError
from prevail_py.vm.kernel import engine, syscalls, worker
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer
from prevail_py.vm.kernel.engine import RunInput, Session, ask_kernel, ask_kernel_many, load_request, run_in_kernel
from prevail_py.vm.kernel.execution import KernelEngine, KernelProgram
from prevail_py.vm.kernel.loader import LoadRequest, TargetRequest
from prevail_py.vm.kernel.memory import run_memory_in_kernel
from prevail_py.vm.kernel.syscalls import system_call_number
from prevail_py.vm.kernel.wire import Request
from prevail_py.vm.maps.targets import ProgramArray

pytestmark = pytest.mark.skipif(syscalls.system_call_number() is None, reason="kernel engine: no bpf(2) is known here")

HAZARD = assemble("r1 = 5\nr1 s>>= 63\nr1 &= 8\nr0 = 2\nif r1 == 9 goto -3\nexit")
LOOP = assemble("r0 = 2\nif r0 == 3 goto -2\nexit")
PASS = assemble("r0 = 2\nexit")
JUMPS = MapSpec("jumps", 3, 4, 4, 1)


# The text of the package ----------------------------------------------------------------------------------------------


def ways_in(source: str) -> Iterator[str]:
    """Where a module could reach ``bpf(2)``, apart from the wrappers that cannot load programs."""

    def walk(node: ast.AST, function: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.FunctionDef) else function
            match child:
                case ast.Attribute(attr="PROG_LOAD" | "syscall" | "_bpf" as name) | ast.Name(id="_bpf" as name):
                    yield f"{function}: {name}"
                case ast.Constant(value="PROG_LOAD" | "_bpf" as text):
                    yield f"{function}: {text}"
                case ast.List(elts=[ast.Constant(value=str(tool)), command, *_]) if tool.endswith("bpftool"):
                    if not (isinstance(command, ast.Constant) and command.value == "btf"):  # which reads types
                        yield f"{function}: bpftool"
                case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value="syscall"), *_]):
                    yield f"{function}: syscall"
                case _:
                    pass
            yield from walk(child, inside)

    yield from walk(ast.parse(source), "")


OTHER_CALLS = {
    "prevail_py/host/hooks/notify.py": {"ARCHITECTURES[machine].seccomp", "_PIDFD_GETFD"},
    "prevail_py/host/service/landlock.py": {"_CREATE_RULESET", "_RESTRICT_SELF"},
    "prevail_py/host/service/seccomp.py": {"ARCHITECTURES[machine].seccomp", "architecture.seccomp"},
}
"""System calls that are not ``bpf(2)``, by how their numbers are written."""


def calls_in(source: str) -> set[str]:
    """The numbers of the system calls that are made by number, as the source has them."""
    return {
        ast.unparse(call.args[0])
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "syscall"
    }


def test_one_function_of_the_package_loads_programs(root: Path) -> None:
    sources = {
        str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in (root / "prevail_py").rglob("*.py")
    }
    for path, numbers in OTHER_CALLS.items():
        source = sources.pop(path)
        assert calls_in(source) == numbers
        assert {way.partition(": ")[2] for way in ways_in(source)} == {"syscall"}
    assert vars(notify)["ARCHITECTURES"] is seccomp.ARCHITECTURES
    assert system_call_number() not in {
        landlock._CREATE_RULESET,
        landlock._RESTRICT_SELF,
        *(architecture.seccomp for architecture in seccomp.ARCHITECTURES.values()),
        notify._PIDFD_GETFD,
    }
    found = {path: set(ways_in(source)) for path, source in sources.items()}
    found = {path: ways for path, ways in found.items() if ways}
    assert set(found) == {"prevail_py/vm/kernel/syscalls.py"}
    ways = found["prevail_py/vm/kernel/syscalls.py"]
    assert {way for way in ways if "PROG_LOAD" in way} == {"load_program: PROG_LOAD"}
    assert {way for way in ways if "syscall" in way} == {"_bpf: syscall"}


@pytest.mark.parametrize(
    "planted",
    [
        "def quick(code): return syscalls._bpf(attributes.Command.PROG_LOAD, code)",
        "from prevail_py.vm.kernel.syscalls import _bpf\ndef quick(code): return _bpf(5, code)",
        "def quick(libc, code): return libc.syscall(321, 5, code, 128)",
        "def quick(libc, code): return getattr(libc, 'syscall')(321, 5, code, 128)",
        "def quick(path): subprocess.run(['bpftool', 'prog', 'load', path, '/sys/fs/bpf/x'])",
    ],
)
def test_a_planted_way_around_is_seen(planted: str) -> None:
    assert list(ways_in(planted))


def test_the_guard_comes_before_the_system_call() -> None:
    """In the text of ``load_program`` nothing stands before the guard but its question."""
    source = Path(syscalls.__file__).read_text(encoding="utf-8")
    function = next(
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "load_program"
    )
    _, question, ruling, *_ = function.body
    assert ast.unparse(question) == "reason = hazard(code, generated=generated)"
    assert isinstance(ruling, ast.If)
    assert ast.unparse(ruling.test) == "reason is not None"
    assert isinstance(ruling.body[0], ast.Raise)


# Every entry ----------------------------------------------------------------------------------------------------------


def by_tail_call(program: Program, *, generated: bool = False) -> KernelAnswer:
    """Ask about a harmless program that may tail-call ``program``."""
    array = ProgramArray(JUMPS)
    array[bytes(4)] = program
    with Session() as session:
        try:
            KernelProgram(replace(PASS, maps=(JUMPS,)), session, generated=generated).run(
                packet=bytes(64), maps=(array,)
            )
        except EngineError as error:
            return KernelAnswer(
                AnswerKind.NOT_ASKED if "not-asked" in str(error) else AnswerKind.NOT_LOADED, str(error)
            )
    raise AssertionError("it ran")


def by_running(program: Program, *, generated: bool = False) -> KernelAnswer:
    try:
        KernelProgram(program, generated=generated).run(packet=bytes(64))
    except EngineError as error:
        return KernelAnswer(AnswerKind.NOT_ASKED if "not-asked" in str(error) else AnswerKind.NOT_LOADED, str(error))
    raise AssertionError("it ran")


def by_memory(program: Program, *, generated: bool = False) -> object:
    return run_memory_in_kernel(encode(program.code), bytes(8), generated=generated)


def by_session(program: Program, *, generated: bool = False) -> object:
    with Session() as session:
        return session.run(program, (RunInput(bytes(64)),), generated=generated)


ENTRIES: tuple[Callable[..., object], ...] = (
    ask_kernel,
    lambda program, generated=False: ask_kernel(program, generated=generated, loads=5),
    lambda program, generated=False: ask_kernel_many((program,), generated=generated)[0],
    lambda program, generated=False: run_in_kernel(program, bytes(64), generated=generated),
    by_session,
    by_memory,
    by_running,
    by_tail_call,
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_entry_starts_a_worker_for_what_the_guard_refuses(
    entry: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden() -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(engine, "_Worker", forbidden)
    engine._session_of.cache_clear()
    for program, generated in ((HAZARD, False), (LOOP, True)):
        answer = entry(program, generated=generated)
        assert isinstance(answer, KernelAnswer)
        assert answer.kind is AnswerKind.NOT_ASKED
    with pytest.raises(AssertionError, match="a worker was started"):  # the test would see one
        entry(PASS, generated=False)


def test_plain_code_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_Worker", None)
    engine._session_of.cache_clear()
    with pytest.raises(EngineError, match="not-asked"):
        KernelEngine().run_memory(HAZARD.code)


@pytest.mark.parametrize("place", ["main", "target"])
def test_a_worker_that_is_sent_it_anyway_refuses(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes to the worker's pipe gets no further."""
    loaded: list[bytes] = []

    def record(command: int, attributes: ctypes.Structure, log: object = None) -> int:
        if hasattr(attributes, "insns"):
            loaded.append(ctypes.string_at(attributes.insns, 8 * attributes.insn_cnt))
        return os.open(os.devnull, os.O_RDONLY)

    monkeypatch.setattr(syscalls, "_bpf", record)
    monkeypatch.setattr(syscalls, "_worker", True)
    request = load_request(PASS)
    assert isinstance(request, LoadRequest)
    bad = encode(HAZARD.code)
    sent = replace(request, code=bad) if place == "main" else replace(request, targets=(TargetRequest(bad),))
    assert worker._serve(Request(sent)).answer.kind is AnswerKind.NOT_ASKED
    assert loaded == ([] if place == "main" else [request.code])
