"""The kernel engine on tiny programs: answers, maps, test runs, and what becomes of a lost worker."""

from __future__ import annotations

import ast
import json
import re
import shutil
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Branch,
    Call,
    CallKfunc,
    CallLocal,
    Exit,
    Immediate,
    Instruction,
    Jump,
    Load,
    LoadImmediate64,
    Operand,
    Pseudo,
    Register,
    Store,
)
from prevail_py.objects.program import MapSpec, Program, Subprogram
from prevail_py.vm.kernel import attributes, engine, syscalls, worker
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer, read_log
from prevail_py.vm.kernel.engine import KernelRun, RunInput, Session, ask_kernel, ask_kernel_many, run_in_kernel
from prevail_py.vm.kernel.hazard import escape
from prevail_py.vm.kernel.loader import Link, LoadRequest, TargetRequest, possible_cpus
from prevail_py.vm.kernel.memory import MemoryRun, run_memory, run_memory_in_kernel
from prevail_py.vm.kernel.survey import least_map
from prevail_py.vm.kernel.wire import Reply, Request
from prevail_py.words import Comparison

has_call = pytest.mark.skipif(syscalls.system_call_number() is None, reason="kernel engine: no bpf(2) is known here")
needs_kernel = pytest.mark.usefixtures("kernel")

R = Register
KEY = bytes(4)
HASH, ARRAY, PROG_ARRAY, PERCPU_ARRAY, ARRAY_OF_MAPS, RINGBUF = 1, 2, 3, 6, 12, 27
LOOKUP, UPDATE, TAIL_CALL, LOOP, CLONE_REDIRECT = 1, 2, 12, 181, 13


def mov(dst: Register, src: Operand | int) -> Instruction:
    return Alu(AluOp.MOV, 64, dst, Immediate(src) if isinstance(src, int) and not isinstance(src, Register) else src)


def map_address(dst: Register, index: int) -> tuple[Instruction | None, ...]:
    return (LoadImmediate64(dst, index, 0, Pseudo.MAP_INDEX), None)


def map_value(dst: Register, index: int, offset: int = 0) -> tuple[Instruction | None, ...]:
    return (LoadImmediate64(dst, index, offset, Pseudo.MAP_INDEX_VALUE), None)


def xdp(*code: Instruction | None, maps: tuple[MapSpec, ...] = ()) -> Program:
    return Program("test", "xdp", "xdp", code, maps, licence="GPL")


def ran(result: KernelRun | KernelAnswer) -> KernelRun:
    assert isinstance(result, KernelRun), result
    assert not result.error
    return result


PASS = xdp(mov(R.R0, 2), Exit())
NO_RESULT = xdp(Exit())
HAZARD = xdp(
    mov(R.R1, 5), Alu(AluOp.ARSH, 64, R.R1, Immediate(63)), Alu(AluOp.AND, 64, R.R1, Immediate(8)), Jump(-2), Exit()
)  # fmt: skip


# What is answered without the kernel.


def test_the_guard_answers_before_a_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_COMMAND", ("/nonexistent",))
    answer = ask_kernel(HAZARD)
    assert answer.kind is AnswerKind.NOT_ASKED
    assert "back edge" in answer.reason
    assert run_in_kernel(HAZARD, bytes(64)) == answer
    assert ask_kernel(xdp(Jump(-1)), generated=True).kind is AnswerKind.NOT_ASKED


def test_the_one_way_to_load_asks_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> int:
        raise AssertionError("bpf(2) was called")

    monkeypatch.setattr(syscalls, "_bpf", forbidden)
    monkeypatch.setattr(syscalls, "_worker", True)
    with pytest.raises(syscalls.HazardError, match="back edge"):
        syscalls.load_program(encode(HAZARD.code), 6)
    answer = worker._serve(Request(LoadRequest(encode(HAZARD.code), 6))).answer
    assert answer.kind is AnswerKind.NOT_ASKED
    with pytest.raises(AssertionError, match="was called"):  # what the test would see if the guard let it through
        syscalls.load_program(encode(PASS.code), 6)


def test_programs_are_loaded_in_a_worker_only() -> None:
    with pytest.raises(RuntimeError, match="worker"):
        syscalls.load_program(encode(PASS.code), 6)


def test_nothing_else_loads_programs() -> None:
    """PROG_LOAD is passed to the kernel in one place in the whole package, and nothing attaches to what is not ours."""
    package = Path(engine.__file__).parents[2]
    sources = {path: path.read_text() for path in package.rglob("*.py")}
    calls = [path for path, text in sources.items() if re.search(r"\.syscall\(", text)]
    uses = [path.name for path, text in sources.items() for _ in re.finditer(r"\bCommand\.PROG_LOAD\b", text)]
    assert uses == ["syscalls.py"]
    assert [path.name for path in calls if path.is_relative_to(package / "vm")] == ["syscalls.py"]
    assert not re.search(r"ATTACH =|RAW_TRACEPOINT_OPEN =", sources[Path(attributes.__file__)])
    assert "PROG_LOAD =" in sources[Path(attributes.__file__)]
    reaching = re.compile(r"\bCommand\.(LINK_\w+|OBJ_PIN|OBJ_GET)\b")
    assert {path.name for path, text in sources.items() if reaching.search(text)} == {"syscalls.py"}
    functions = [node for node in ast.parse(sources[Path(syscalls.__file__)]).body if isinstance(node, ast.FunctionDef)]
    asking = {node.name: ast.unparse(node.body[1]) for node in functions if reaching.search(ast.unparse(node))}
    network, mounts = "require_private_network()", "require_private_bpffs(path)"
    assert asking == {  # the first statement behind the docstring
        "attach_xdp": network, "update_link": network, "detach_link": network, "pin_object": mounts,
        "get_object": mounts,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (replace(PASS, unsupported=("co-re",)), "co-re"),
        (replace(PASS, program_type="tracing"), "BTF"),
        (replace(PASS, program_type="nonsense"), "unknown program type"),
        (replace(PASS, expected_attach_type="nonsense"), "unknown attach type"),
        (replace(PASS, platform="windows"), "windows"),
        (xdp(CallKfunc(17), Exit()), "kernel function"),
        (xdp(LoadImmediate64(R.R1, 3, 0, Pseudo.MAP_FD), None, Exit()), "MAP_FD"),
    ],
)
def test_not_loaded(program: Program, reason: str) -> None:
    answer = ask_kernel(program)
    assert answer.kind is AnswerKind.NOT_LOADED
    assert reason in answer.reason


@has_call
@pytest.mark.parametrize(
    ("script", "reason", "goes_on"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9", False),
        ("import time; time.sleep(60)", "no answer within 0.5 s", True),
        ("raise SystemExit('out of luck')", "out of luck", True),
    ],
)
def test_a_lost_worker_is_an_answer(monkeypatch: pytest.MonkeyPatch, script: str, reason: str, goes_on: bool) -> None:
    usual = engine._COMMAND
    monkeypatch.setattr(engine, "_COMMAND", (sys.executable, "-c", f"import sys; sys.stdin.readline(); {script}"))
    with Session(timeout=0.5) as session:
        answer = session.ask(PASS)
        assert answer.kind is AnswerKind.NOT_LOADED
        assert reason in answer.reason
        monkeypatch.setattr(engine, "_COMMAND", usual)
        session.timeout = 30.0
        following = session.ask(PASS)
        if goes_on:
            assert "no answer" not in following.reason
            assert following.kind is not AnswerKind.NOT_ASKED
        else:  # whatever killed it may have hurt the kernel
            assert following.kind is AnswerKind.NOT_ASKED
            assert reason in following.reason


@has_call
def test_no_worker_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_COMMAND", ("/nonexistent",))
    assert ask_kernel(PASS) == KernelAnswer(AnswerKind.NOT_LOADED, "no worker process: No such file or directory")


@needs_kernel
def test_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not installed")
    monkeypatch.setattr(engine, "_COMMAND", (setpriv, "--bounding-set", "-all", "--inh-caps", "-all", *engine._COMMAND))
    answer = ask_kernel(PASS)
    assert (answer.kind, answer.reason) == (AnswerKind.NOT_LOADED, "EPERM from the kernel, without a message")
    assert engine.available.__wrapped__() == f"bpf(2) does not load programs here: {answer.reason}"


def test_the_wire_gives_back_what_it_got() -> None:
    inner = MapSpec("inner", ARRAY, 4, 8, 1)
    load = LoadRequest(
        b"\x95" + bytes(7), 6, "GPL", "name", 37, 32,
        (MapSpec("m", ARRAY_OF_MAPS, 4, 4, 2, inner=inner), MapSpec(".rodata", ARRAY, 4, 3, 1, initial=b"abc")),
        ((0, "main"), (5, "f")), 1, 4096, True,
        (TargetRequest(b"\x95" + bytes(7), (1, 0), "other", ((0, "f"),)),), (Link(0, KEY, 1), Link(1, b"\1", 0)), 3,
    )  # fmt: skip
    given = RunInput(b"packet", b"context", {1: {KEY: b"\0\1"}}, {0: (b"a", b"b")})
    request = Request(load, (given,), 3, (0, 1), True, 1, (1,))
    assert Request.from_json(json.loads(json.dumps(request.to_json()))) == request
    run = KernelRun(2, b"out", b"ctx", 17, {1: {KEY: b"x"}}, "", {2: (b"record", 8, b"")})
    reply = Reply(KernelAnswer(AnswerKind.REJECT, "why", "log", 3, 0.5, 7, 6, 0.25), (run,))
    assert Reply.from_json(json.loads(json.dumps(reply.to_json()))) == reply


def test_possible_cpus() -> None:
    assert [possible_cpus(text) for text in ("0", "0-3\n", "0-1,4,6-7")] == [1, 4, 5]


def test_effects_that_leave_the_test_run() -> None:
    code = encode((Call(CLONE_REDIRECT), Exit()))
    assert escape(code, 3) == "bpf_clone_redirect at slot 0 reaches beyond the test run"
    assert escape(encode(PASS.code), 6) is None
    assert escape(encode(PASS.code), 31) is not None


# What the kernel answers.


@needs_kernel
def test_accept_and_reject() -> None:
    accept, reject = ask_kernel_many((PASS, NO_RESULT))
    assert accept.kind is AnswerKind.ACCEPT
    assert accept.instructions_processed == 2
    assert accept.verification_seconds is not None
    assert reject.kind is AnswerKind.REJECT
    assert reject.reason == "R0 !read_ok"
    assert reject.instructions_processed == 1


@needs_kernel
def test_statistics() -> None:
    branches = [Branch(Comparison.UGT, 64, R.R1, Immediate(9), 0)] * 30
    answer = ask_kernel(xdp(Load(R.R1, R.R1, 12, 4), mov(R.R0, 2), *branches, Exit()), loads=5)
    assert answer.kind is AnswerKind.ACCEPT
    assert answer.instructions_processed == read_log(answer.log).instructions_processed
    assert answer.total_states is not None
    assert answer.peak_states is not None
    assert answer.total_states >= answer.peak_states >= 1
    assert answer.load_cpu_seconds is not None
    assert 0 < answer.load_cpu_seconds < 1
    assert answer.verification_seconds is not None
    rejected = ask_kernel(NO_RESULT, loads=5)
    assert rejected.kind is AnswerKind.REJECT
    assert rejected.load_cpu_seconds is not None


@needs_kernel
def test_log_levels() -> None:
    trace = "0: (95) exit"
    assert trace not in ask_kernel(NO_RESULT).log
    assert trace in ask_kernel(NO_RESULT, log_level=1).log
    assert "0: (b7) r0 = 2" in ask_kernel(PASS, log_level=2).log


@needs_kernel
@pytest.mark.parametrize(("ending", "kind"), [(mov(R.R0, 0), AnswerKind.ACCEPT), (mov(R.R1, 0), AnswerKind.REJECT)])
def test_a_trace_that_outgrows_its_buffer_does_not_hide_the_ruling(ending: Instruction, kind: AnswerKind) -> None:
    steps = [Alu(AluOp.ADD, 64, R.R6, Immediate(3))] * 40
    request = engine.load_request(xdp(mov(R.R6, 0), *steps, ending, Exit()), log_level=2)
    assert isinstance(request, LoadRequest)
    with Session() as session:
        answer = session.send(Request(replace(request, log_size=600))).answer
    assert answer.kind is kind
    assert answer.reason == ("R0 !read_ok" if kind is AnswerKind.REJECT else "")
    assert "r6 += 3" in answer.log
    assert len(answer.log) < 600


@needs_kernel
def test_a_harmless_loop_is_asked_about() -> None:
    loop = xdp(mov(R.R1, 10), Alu(AluOp.SUB, 64, R.R1, Immediate(2)), Branch(Comparison.NE, 64, R.R1, Immediate(0), -2),
               mov(R.R0, 2), Exit())  # fmt: skip
    assert ask_kernel(loop).kind is AnswerKind.ACCEPT
    assert ask_kernel(loop, generated=True).kind is AnswerKind.NOT_ASKED
    endless = ask_kernel(xdp(mov(R.R0, 2), Jump(-2), Exit()))
    assert endless.kind is AnswerKind.REJECT


@needs_kernel
def test_map_that_cannot_be_created() -> None:
    program = replace(PASS, maps=(MapSpec("broken", ARRAY, 3, 8, 1),))
    answer = ask_kernel(program)
    assert answer == KernelAnswer(AnswerKind.NOT_LOADED, "map broken: cannot be created: EINVAL")


@needs_kernel
def test_every_map_type_can_be_created() -> None:
    numbers = [number for number in range(1, 33) if number != 26]  # struct_ops are tables of functions
    answers = ask_kernel_many(
        replace(PASS, maps=(replace(least_map(number), name="it's a map"),)) for number in numbers
    )
    assert {n: a.reason for n, a in zip(numbers, answers, strict=True) if a.kind is not AnswerKind.ACCEPT} == {}


@needs_kernel
def test_return_value_packet_and_duration() -> None:
    # Overwrites the first byte of the packet and returns 3 (XDP_TX).
    program = xdp(
        Load(R.R2, R.R1, 0, 4), Load(R.R3, R.R1, 4, 4), mov(R.R4, R.R2), Alu(AluOp.ADD, 64, R.R4, Immediate(1)),
        mov(R.R0, 0), Branch(Comparison.UGT, 64, R.R4, R.R3, 2), Store(R.R2, 0, 1, Immediate(0x5A)), mov(R.R0, 3),
        Exit(),
    )  # fmt: skip
    run = ran(run_in_kernel(program, bytes(range(64)), repeat=5))
    assert run.return_value == 3
    assert run.packet == b"\x5a" + bytes(range(1, 64))
    assert run.duration_ns > 0


@needs_kernel
def test_context_goes_in_and_out() -> None:
    program = xdp(Load(R.R0, R.R1, 16, 4), Exit())  # rx_queue_index: 0 is the only queue of the loopback device
    context = struct.pack("<6I", 0, 64, 0, 1, 0, 0)
    assert ran(run_in_kernel(program, bytes(64), context=context)).context == context
    classifier = Program("mark", "tc", "sched_cls", (Load(R.R0, R.R1, 8, 4), Store(R.R1, 8, 4, Immediate(9)), Exit()))
    marked = struct.pack("<3I", 0, 0, 5).ljust(192, b"\0")
    run = ran(run_in_kernel(classifier, bytes(64), context=marked))
    assert run.return_value == 5
    assert struct.unpack_from("<I", run.context, 8) == (9,)


@needs_kernel
def test_an_input_that_the_kernel_refuses() -> None:
    run = run_in_kernel(PASS, b"short")
    assert isinstance(run, KernelRun)
    assert "EINVAL" in run.error


@needs_kernel
def test_programs_that_are_not_run() -> None:
    run = run_in_kernel(replace(PASS, section="raw_tp", program_type="raw_tracepoint"), bytes(64))
    assert isinstance(run, KernelRun)
    assert "not run here" in run.error


@needs_kernel
def test_global_data() -> None:
    data = MapSpec(".data", ARRAY, 4, 8, 1, initial=b"\x01\x02\x03")
    constants = MapSpec(".rodata", ARRAY, 4, 4, 1, initial=struct.pack("<I", 40), read_only=True)
    read = xdp(
        *map_value(R.R1, 0), Load(R.R0, R.R1, 0, 4), *map_value(R.R2, 1), Load(R.R3, R.R2, 0, 4),
        Alu(AluOp.ADD, 64, R.R0, R.R3), Store(R.R1, 4, 4, Immediate(7)), Exit(), maps=(data, constants),
    )  # fmt: skip
    run = ran(run_in_kernel(read, bytes(64)))
    assert run.return_value == 0x030201 + 40
    assert run.maps[0][KEY] == b"\x01\x02\x03\x00\x07\x00\x00\x00"
    # Frozen constants are known to the verifier: the wrong branch is dead, and would be refused were it not.
    known = xdp(
        *map_value(R.R2, 0), Load(R.R3, R.R2, 0, 4), mov(R.R0, 2), Branch(Comparison.EQ, 64, R.R3, Immediate(40), 1),
        Load(R.R0, R.R3, 0, 8), Exit(), maps=(constants,),
    )  # fmt: skip
    assert ask_kernel(known).kind is AnswerKind.ACCEPT
    assert ask_kernel(replace(known, maps=(replace(constants, read_only=False),))).kind is AnswerKind.REJECT
    write = xdp(*map_value(R.R1, 0), Store(R.R1, 0, 4, Immediate(7)), mov(R.R0, 2), Exit(), maps=(constants,))
    assert ask_kernel(write).reason.startswith("write into map forbidden")


def counter(kind: int) -> Program:
    """Add one to the first element of an array map."""
    return xdp(
        *map_address(R.R1, 0), Store(R.R10, -4, 4, Immediate(0)), mov(R.R2, R.R10),
        Alu(AluOp.ADD, 64, R.R2, Immediate(-4)), Call(LOOKUP), Branch(Comparison.EQ, 64, R.R0, Immediate(0), 3),
        Load(R.R1, R.R0, 0, 8), Alu(AluOp.ADD, 64, R.R1, Immediate(1)), Store(R.R0, 0, 8, R.R1),
        mov(R.R0, 2), Exit(), maps=(MapSpec("count", kind, 4, 8, 2),),
    )  # fmt: skip


@needs_kernel
def test_maps_persist_within_a_run_of_inputs() -> None:
    with Session() as session:
        inputs = (RunInput(bytes(64), maps={0: {KEY: struct.pack("<Q", 5)}}), *(RunInput(bytes(64)),) * 2)
        last = session.run(counter(ARRAY), inputs)
        assert not isinstance(last, KernelAnswer)
        assert [len(run.maps) for run in last] == [0, 0, 1]
        runs = session.run(counter(ARRAY), inputs, read_each=True)
        assert not isinstance(runs, KernelAnswer)
        assert [struct.unpack("<Q", run.maps[0][KEY])[0] for run in runs] == [6, 7, 8]
        fresh = session.run(counter(ARRAY), (RunInput(bytes(64)),))
        assert not isinstance(fresh, KernelAnswer)
        assert fresh[0].maps[0] == {KEY: struct.pack("<Q", 1), b"\1\0\0\0": bytes(8)}
        unread = session.run(counter(ARRAY), (RunInput(bytes(64)),), read_maps=())
        assert not isinstance(unread, KernelAnswer)
        assert unread[0].maps == {}


@needs_kernel
def test_per_cpu_maps_have_all_values() -> None:
    with Session() as session:
        runs = session.run(counter(PERCPU_ARRAY), (RunInput(bytes(64)),) * 3)
    assert not isinstance(runs, KernelAnswer)
    value = runs[-1].maps[0][KEY]
    assert len(value) == 8 * possible_cpus()
    assert sorted(struct.unpack(f"<{possible_cpus()}Q", value))[-1] == 3


@needs_kernel
def test_a_map_of_many_elements_is_read_whole() -> None:
    spec = MapSpec("many", HASH, 4, 8, 3000)
    contents = {struct.pack("<I", k): struct.pack("<Q", k * k) for k in range(2900)}
    assert ran(run_in_kernel(replace(PASS, maps=(spec,)), bytes(64), maps={0: contents})).maps[0] == contents


@needs_kernel
@pytest.mark.parametrize("number", [1, 2, 5, 6, 9, 10, 11])
def test_contents_go_in_and_out(number: int) -> None:
    key = struct.pack("<II", 32, 7) if number == 11 else KEY  # an LPM trie's key starts with the prefix length
    size = 8 * possible_cpus() if number in (5, 6, 10) else 8
    spec = MapSpec("map", number, len(key), 8, 1, flags=1 if number == 11 else 0)
    value = bytes(range(size))
    assert ran(run_in_kernel(replace(PASS, maps=(spec,)), bytes(64), maps={0: {key: value}})).maps[0] == {key: value}


@needs_kernel
def test_bad_map_contents_are_an_error() -> None:
    run = run_in_kernel(counter(ARRAY), bytes(64), maps={0: {KEY: bytes(7)}})
    assert isinstance(run, KernelRun)
    assert "an element of 4 + 7 bytes" in run.error


@needs_kernel
def test_hash_map_updated_by_the_program() -> None:
    program = xdp(
        *map_address(R.R1, 0), Store(R.R10, -4, 4, Immediate(77)), Store(R.R10, -16, 8, Immediate(-2)),
        mov(R.R2, R.R10), Alu(AluOp.ADD, 64, R.R2, Immediate(-4)), mov(R.R3, R.R10),
        Alu(AluOp.ADD, 64, R.R3, Immediate(-16)), mov(R.R4, 0), Call(UPDATE), mov(R.R0, 2), Exit(),
        maps=(MapSpec("flows", HASH, 4, 8, 16),),
    )  # fmt: skip
    run = ran(run_in_kernel(program, bytes(64), maps={0: {KEY: bytes(8)}}))
    assert run.maps[0] == {KEY: bytes(8), struct.pack("<I", 77): struct.pack("<q", -2)}


@needs_kernel
def test_tail_call_into_an_empty_slot_falls_through() -> None:
    program = xdp(*map_address(R.R2, 0), mov(R.R3, 0), Call(TAIL_CALL), mov(R.R0, 1), Exit(),
                  maps=(MapSpec("jumps", PROG_ARRAY, 4, 4, 1),))  # fmt: skip
    assert ran(run_in_kernel(program, bytes(64))).return_value == 1


@needs_kernel
def test_subprogram() -> None:
    program = xdp(mov(R.R1, 20), CallLocal(1), Exit(), mov(R.R0, R.R1), Alu(AluOp.ADD, 64, R.R0, R.R0), Exit())
    assert ran(run_in_kernel(program, bytes(64))).return_value == 40


@needs_kernel
def test_callback_gets_its_function_information() -> None:
    """bpf_loop(5, f, &sum): f adds the iteration's number; a callback needs BTF, which the engine makes up."""
    code = (
        Store(R.R10, -8, 8, Immediate(0)),
        mov(R.R1, 5),
        LoadImmediate64(R.R2, 7, 0, Pseudo.FUNCTION), None,  # slot 2: relative to slot 3
        mov(R.R3, R.R10),
        Alu(AluOp.ADD, 64, R.R3, Immediate(-8)),
        mov(R.R4, 0),
        Call(LOOP),
        Load(R.R0, R.R10, -8, 8),
        Exit(),
        Load(R.R3, R.R2, 0, 8),
        Alu(AluOp.ADD, 64, R.R3, R.R1),
        Store(R.R2, 0, 8, R.R3),
        mov(R.R0, 0),
        Exit(),
    )  # fmt: skip
    program = replace(xdp(*code), subprograms=(Subprogram("main", 0, 10), Subprogram("not an identifier", 10, 15)))
    assert ran(run_in_kernel(program, bytes(64))).return_value == 0 + 1 + 2 + 3 + 4


@needs_kernel
def test_functions_of_memory() -> None:
    load = encode((Load(R.R0, R.R1, 0, 8), Store(R.R1, 0, 1, R.R2), Exit()))
    assert run_memory_in_kernel(load, bytes(range(1, 9))) == MemoryRun(0x0807060504030201, b"\x08" + bytes(range(2, 9)))
    assert run_memory_in_kernel(encode((mov(R.R0, -1), Exit()))) == MemoryRun(2**64 - 1, b"")
    out_of_bounds = run_memory_in_kernel(load, bytes(7))
    assert isinstance(out_of_bounds, KernelAnswer)
    assert out_of_bounds.kind is AnswerKind.REJECT
    with Session() as session, pytest.raises(ValueError, match="one size"):
        run_memory(session, load, (bytes(8), bytes(9)))
