"""``prevail-py ebpf``: netsh's grammar and columns, bpftool's words, the prompt, completion."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.cli.ebpf.grammar import complete, find, parse
from prevail_py.cli.ebpf.netsh import NETSH
from prevail_py.cli.main import main
from prevail_py.cli.support import InputError
from prevail_py.host.context.client import RemoteSession, connect
from prevail_py.host.context.context import ExecutionContext
from prevail_py.objects.text import assemble
from tests.host.context.conftest import honest
from tests.host.context.test_server import serving
from tests.host.context.tools import load

COUNTER = str(examples.path("xdp_counter"))
BIND4 = assemble("r0 = 1\nexit", program_type="cgroup_sock_addr", name="bind4")
TAILCALL = str(examples.path("xdp_tailcall"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExecutionContext]:
    """A host at the place where the commands look for it."""
    path = tmp_path / "host.sock"
    monkeypatch.setenv("PREVAIL_PY_HOST", os.fspath(path))
    with ExecutionContext(admissions=honest()) as context, serving(path, context):
        yield context


@pytest.fixture
def ebpf(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command; what it printed."""

    def run(line: str, code: int = 0) -> str:
        assert main(["ebpf", *line.split(" ")]) == code, capsys.readouterr()
        out, err = capsys.readouterr()
        return out if code == 0 else out + err

    return run


def document(text: str) -> Any:
    return json.loads(text)


# The grammar. ----------


def test_abbreviations() -> None:
    assert find(["a", "p", "x.o"])[0].name == "add program"
    assert find(["sh", "progr"])[0].name == "show programs"
    assert find(["PIN", "M", "3"]) == (find(["pin", "map"])[0], ["3"])
    for words, problem in (
        (["s", "programs"], "ambiguous: set, show"),
        (["show", "p"], "ambiguous: pins, processes, programs"),
        (["show"], "show what?"),
        (["frobnicate"], "there are: add, delete"),
        (["add", "map"], "there are: program"),
        ([], "a command is wanted"),
    ):
        with pytest.raises(InputError, match=re.escape(problem)):
            find(words)


def test_arguments() -> None:
    add, show = find(["add", "program"])[0], find(["show", "programs"])[0]
    assert parse(add, ["x.o"]) == {"filename": "x.o"}
    assert parse(add, ["x.o", "xdp", "pinpath=/p", "e=i"]) == {
        "filename": "x.o", "type": "xdp", "pinpath": "/p", "execution": "interpret",
    }  # fmt: skip
    assert parse(add, ["interface=h0", "FILE=a=b.o"]) == {"interface": "h0", "filename": "a=b.o"}
    assert parse(add, ["dir=x.o"]) == {"filename": "dir=x.o"}  # no tag is called so
    assert parse(show, ["att=y", "id=0x10"]) == {"attached": "yes", "id": 16}
    assert parse(find(["set", "program"])[0], ["3", "pinpath="]) == {"id": 3, "pinpath": ""}
    for command, words, problem in (
        (add, [], "filename is wanted"),
        (add, ["filename=x.o", "xdp"], "comes after an argument with a tag"),
        (add, ["x.o", "filename=y.o"], "filename is given twice"),
        (add, ["x.o", "pin=/p"], "ambiguous: pinpath, pinned"),
        (add, ["x.o", "pinned=some"], "there are: none, first, all"),
        (show, ["id=x"], "'x' is no number"),
        (find(["delete", "program"])[0], ["1", "2"], "one argument too many"),
    ):
        with pytest.raises(InputError, match=re.escape(problem)):
            parse(command, words)


def test_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert complete([""])[:3] == ["add", "delete", "pin"]
    assert complete(["sh"]) == ["show"]
    assert complete(["show", "p"]) == ["pins", "processes", "programs"]
    assert complete(["add", "program", "x.o", ""])[:2] == ["filename=", "type="]
    assert complete(["add", "program", "x.o", "type=xdp", "pinn"]) == ["pinned="]
    assert complete(["add", "program", "pinned=a"]) == ["all"]
    assert complete(["prog", "lo"]) == ["load", "loadall"]
    assert complete(["prog", "load", "x.o", "/p", ""]) == ["type", "map", "pinmaps"]
    assert complete(["map", "update", "id", "1", "k"]) == ["key"]
    assert complete(["link", "detach", ""]) == ["id", "pinned", "name"]
    assert complete(["show", "verification", "platform=w"]) == ["windows"]
    assert complete(["nonsense", "x"]) == []
    assert main(["ebpf", "--complete", "show", "pr"]) == 0
    assert capsys.readouterr().out.split() == ["processes", "programs"]
    assert main(["ebpf", "--completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert main(["ebpf", "--completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("autoload")
    bash = shutil.which("bash")
    if bash is not None:
        check = script + "\ncomplete -p prevail-py"
        done = subprocess.run([bash, "-c", check], capture_output=True, text=True, check=False)
        assert "_prevail_py_ebpf" in done.stdout, done.stderr


def test_help(ebpf: Callable[..., str]) -> None:
    text = ebpf("help")
    assert all(command.name in text for command in NETSH)
    assert "usage: add program [filename=]<string>" in ebpf("add program ?")
    assert "usage: show programs [[type=]<string>]" in ebpf("help show programs")
    assert "{ show | list" in ebpf("prog help")


def test_without_a_host(ebpf: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREVAIL_PY_HOST", str(tmp_path / "nothing"))
    assert "no host at" in ebpf("show programs", 2)
    assert "no host at" in ebpf("prog show", 2)
    ebpf(f"show sections {COUNTER}")


# Programs. ----------


def test_a_program_comes_and_goes(host: ExecutionContext, ebpf: Callable[..., str]) -> None:
    assert ebpf(f"add program {COUNTER}") == "Loaded with ID 1\n"
    assert ebpf("show programs").splitlines() == [
        "",
        "    ID  Pins  Links  Mode       Type           Name",
        "======  ====  =====  =========  =============  ====================",
        f"     1     1      0  {host.programs[1].engine.upper():9}  xdp            xdp_counter",
    ]
    assert ebpf("show pins").splitlines()[1:] == [
        "     ID     Type  Path",
        "=======  =======  ==============",
        "      1  Program  xdp_counter",
    ]
    assert ebpf("show maps").splitlines()[1:] == [
        "                              Key  Value      Max  Inner",
        "     ID            Map Type  Size   Size  Entries     ID  Pins  Name",
        "=======  ==================  ====  =====  =======  =====  ====  ========",
        "      1               array     4     16        1      0     0  total",
    ]
    assert "map IDs        : 1" in ebpf("show programs id=1")
    assert "runs 0" in ebpf("show programs level=inf")
    assert document(ebpf("--json show programs"))[0]["name"] == "xdp_counter"
    assert ebpf("delete program 1") == "Unpinned 1 from xdp_counter\n"
    assert not host.programs
    assert "Program not found" in ebpf("delete program 1", 1)


def test_filters(host: ExecutionContext, ebpf: Callable[..., str]) -> None:
    ebpf(f"add program {TAILCALL} pinned=all pinpath=/tail execution=interpret")
    ebpf(f"add program {COUNTER}")
    rows = document(ebpf("-j show programs pinned=yes"))
    assert [row["name"] for row in rows] == ["dispatch", "handle_ipv4", "handle_ipv6", "xdp_counter"]
    assert [row["engine"] for row in rows[:2]] == ["interpreter", "interpreter"]
    assert document(ebpf("-j show programs pinned=no")) == []
    assert document(ebpf("-j show programs attached=yes")) == []
    assert document(ebpf("-j show programs type=tc")) == []
    assert "type=nonsense: no programs are in a section" in ebpf("show programs type=nonsense", 2)
    assert "attached=nonsense: no programs are in a section" in ebpf("set program 1 attached=nonsense", 2)
    assert len(document(ebpf(f"-j show programs filename={TAILCALL}"))) == 3
    assert len(document(ebpf("-j show programs section=xdp type=xdp"))) == 4
    assert "/tail/dispatch" in host.pins


def test_a_program_that_vanishes_hides_no_other(
    host: ExecutionContext, ebpf: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client unpins it after its number was told, and before it is opened."""
    ebpf(f"add program {COUNTER} pinpath=/first")
    ebpf(f"add program {COUNTER} pinpath=/second")
    call = RemoteSession.call

    def meddled(self: RemoteSession, name: str, **arguments: Any) -> Any:
        result = call(self, name, **arguments)
        if name == "next_id" and (arguments["kind"], result) == ("program", 1):
            with connect(os.environ["PREVAIL_PY_HOST"]) as other:
                call(other, "unpin", path="/first")
        return result

    monkeypatch.setattr(RemoteSession, "call", meddled)
    assert [row["id"] for row in document(ebpf("-j show programs"))] == [2]
    assert set(host.programs) == {2}


def test_a_link_that_vanishes_stops_no_deletion(
    host: ExecutionContext, ebpf: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client ends one of two links after it was listed: the other is detached all the same."""
    with host.session() as session:
        program = load(session, replace(BIND4, expected_attach_type="cgroup_inet4_bind"))
        for _ in range(2):
            session.call("link_create", program=program, hook=None, parameters={}, held=True)
    call = RemoteSession.call

    def meddled(self: RemoteSession, name: str, **arguments: Any) -> Any:
        result = call(self, name, **arguments)
        if name == "info" and (result["kind"], result["id"]) == ("link", 1):
            with host.lock:
                host.detach(host.links[1])
        return result

    monkeypatch.setattr(RemoteSession, "call", meddled)
    assert ebpf("delete program 1") == ""
    assert (host.links, host.programs) == ({}, {})


def test_a_program_that_is_refused(host: ExecutionContext, ebpf: Callable[..., str]) -> None:
    text = ebpf(f"add program {examples.path('unsafe_null')}", 1)
    assert "may not run: token: verdict" in text
    assert "needed:" in text  # the verifier's report
    assert (host.programs, host.maps) == ({}, {})


def test_what_cannot_be_added_leaves_nothing(host: ExecutionContext, ebpf: Callable[..., str]) -> None:
    ebpf(f"add program {COUNTER}")
    assert "pinned already" in ebpf(f"add program {COUNTER}", 1)
    assert "on no wire" in ebpf(f"add program {COUNTER} interface=h9 pinpath=/other", 1)
    assert "takes an ifindex or an interface" in ebpf("set program 1 attached=xdp", 1)
    assert set(host.pins) == {"xdp_counter"}
    assert len(host.programs) == 1
    assert "No such file" in ebpf("add program nothing.o", 2)
    assert "not an ELF file" in ebpf(f"add program {Path(__file__)}", 2)
    assert "type=nonsense: no programs are in a section" in ebpf(f"add program {COUNTER} type=nonsense", 2)


def test_set_pin_unpin(host: ExecutionContext, ebpf: Callable[..., str]) -> None:
    ebpf(f"add program {COUNTER}")
    ebpf("set program 1 pinpath=/second")
    ebpf("pin map 1")
    ebpf("pin program 1 /third")
    assert set(host.pins) == {"xdp_counter", "/second", "/third", "total"}
    ebpf("unpin program 1 /third")
    ebpf("unpin map 1")
    assert "not pinned" in ebpf("unpin map 1", 1)
    assert "is not attached" in ebpf("set program 1 attached=", 1)
    assert "wanted" in ebpf("set program 1", 2)
    assert ebpf("set program 1 pinpath=").count("Unpinned") == 2
    assert not host.programs


def test_programs_that_decide_on_no_call(host: ExecutionContext, ebpf: Callable[..., str]) -> None:
    """Those of other types, and objects without one for the call; nothing stays loaded."""
    ebpf(f"add program {COUNTER}")
    assert "1 is no program for cgroup_inet4_bind, " in ebpf("run --program 1 -- true", 2)
    assert "xdp_counter is no program for" in ebpf("run --program xdp_counter -- true", 2)
    assert "no program for cgroup/connect4 or cgroup/connect6" in ebpf(f"run --connect {COUNTER} -- true", 2)
    assert "no program for cgroup/bind4 or cgroup/bind6" in ebpf(f"run --bind {COUNTER} -- true", 2)
    assert "/nothing is not pinned" in ebpf("run --program /nothing -- true", 1)
    with host.session() as session:
        program = load(session, replace(BIND4, expected_attach_type="cgroup_inet4_bind"))
        session.call("pin", handle=program, path="/b")
    assert "/b: several programs for cgroup_inet4_bind" in ebpf("run --program 2 --program /b -- true", 2)
    assert set(host.programs) == {1, 2}


def test_processes(host: ExecutionContext, ebpf: Callable[..., str], root: Path) -> None:
    script = (
        "import sys; from prevail_py.host.context.client import connect; s = connect(); print(flush=True); "
        "sys.stdin.read()"
    )
    child = subprocess.Popen(
        [shutil.which("python") or "python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    )
    assert child.stdout is not None
    child.stdout.readline()
    lines = ebpf("show processes").splitlines()
    assert lines[1:3] == ["  PID  Name", "=====  =============="]
    assert lines[3].startswith(f"{child.pid:5}  python")
    child.communicate()


# Object files. ----------


def test_object_files(ebpf: Callable[..., str]) -> None:
    assert "  0: r7 = *(u32 *)(r1 + 0)" in ebpf(f"show disassembly {COUNTER} xdp")
    assert ebpf(f"show sections {COUNTER}").splitlines() == [
        "",
        "                                    Size",
        "             Section       Type  (bytes)",
        "====================  =========  =======",
        "                 xdp        xdp      128",
        "",
        "                     Key  Value      Max",
        "          Map Type  Size   Size  Entries  Name",
        "==================  ====  =====  =======  ========",
        "             array     4     16        1  total",
    ]
    assert "instructions : 15" in ebpf(f"show sections {COUNTER} xdp")
    assert "Verification of xdp_counter succeeded" in ebpf(f"show verification {COUNTER}")
    assert "slot 0" in ebpf(f"show verification {COUNTER} level=verbose")
    assert "null" in ebpf(f"show verification {examples.path('unsafe_null')}", 1)
    digest = "c7946f8ca3805e04"
    assert ebpf(f"show hash {COUNTER} hashonly=yes").lower().startswith(digest)
    assert "Data: c7 94 6f 8c" in ebpf(f"show hash {COUNTER}")
    assert document(ebpf(f"-j show hash {COUNTER}"))["xdp_counter"].startswith(digest)
    assert "no program in section 'tc'" in ebpf(f"show disassembly {COUNTER} tc", 2)
    assert "type=nonsense: no programs are in a section" in ebpf(f"show verification {COUNTER} type=nonsense", 2)


# bpftool. ----------


def test_bpftool(host: ExecutionContext, ebpf: Callable[..., str], tmp_path: Path) -> None:
    ebpf(f"prog load {COUNTER} /bpf/counter pinmaps /bpf")
    (row,) = document(ebpf("prog show pinned /bpf/counter -j"))
    assert (row["name"], row["type"], row["map_ids"], row["pinned"]) == ("xdp_counter", "xdp", [1], ["/bpf/counter"])
    assert "xdp  name xdp_counter  tag c7946f8ca3805e04" in ebpf("prog")
    packet, out = tmp_path / "packet", tmp_path / "out"
    packet.write_bytes(bytes(60))
    assert re.match(
        r"Return value: 2, duration \(average\): \d+ns", ebpf(f"prog run id 1 data_in {packet} data_out {out} repeat 3")
    )
    assert out.read_bytes() == bytes(60)
    assert document(ebpf(f"-j prog run name xdp_counter data_in {packet}"))["retval"] == 2
    assert ebpf("map dump name total").splitlines()[-1] == "Found 1 element"
    assert document(ebpf("-p map dump id 1"))[0]["value"][0] == "0x04"
    assert "0: r7 = *(u32 *)(r1 + 0)" in ebpf("prog dump xlated id 1")
    ebpf("map create /bpf/table type hash key 4 value 8 entries 10 name table")
    ebpf("map update pinned /bpf/table key 1 2 3 4 value hex 0a 0b 0 0 0 0 0 0x7 noexist")
    assert "EEXIST" in ebpf("map update pinned /bpf/table key 1 2 3 4 value 1 1 1 1 1 1 1 1 noexist", 1)
    assert ebpf("map lookup name table key 1 2 3 4") == "key: 01 02 03 04  value: 0a 0b 00 00 00 00 00 07\n"
    assert document(ebpf("-j map getnext name table"))["next_key"] == ["0x01", "0x02", "0x03", "0x04"]
    ebpf("map delete name table key 1 2 3 4")
    assert "Found 0 elements" in ebpf("map dump name table")
    assert [row["name"] for row in document(ebpf("map show -j"))] == ["total", "table"]
    assert document(ebpf("-j link show")) == []
    ebpf(f"prog loadall {TAILCALL} /bpf/tail")
    assert {"/bpf/tail/dispatch", "/bpf/tail/handle_ipv4"} <= set(host.pins)
    ebpf("prog pin id 1 /bpf/again")
    for line, code, problem in (
        ("prog show id 99", 1, "no program 99"),
        ("map dump", 2, "id N, pinned PATH or name NAME is wanted"),
        ("map create /x type hash", 2, "key is wanted"),
        ("map create /x type nonsense key 4 value 4 entries 1 name x", 2, "no type"),
        ("prog load nothing.o /x", 2, "No such file"),
        ("prog frobnicate", 2, "there are show, list"),
        (f"prog load {COUNTER} /x type nonsense", 2, "ebpf: type nonsense: no programs are in a section"),
        (f"prog load {examples.path('unsafe_null')} /x", 1, "may not run"),
        ("prog run id 1 data_in /nothing", 2, "No such file"),
        ("prog run id 1 speed 3", 2, "not expected"),
    ):
        assert problem in ebpf(line, code), line


# The prompt. ----------


def test_the_prompt(
    host: ExecutionContext, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is loaded here without a pin stays until the end, as in netsh."""
    lines = f"""
    # a comment
    add program {COUNTER} pinned=none
    show programs
    nonsense
    delete program 99
    'open quote
    exit
    never reached
    """
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["ebpf"]) == 1
    out, err = capsys.readouterr()
    assert "Loaded with ID 1" in out
    assert "xdp_counter" in out
    assert [line.split(": ")[1] for line in err.splitlines()] == ["ebpf"] * 3
    deadline = 200
    while host.programs and deadline:
        deadline -= 1
        import time

        time.sleep(0.01)
    assert not host.programs


def test_bpftool_on_elements(host: ExecutionContext, ebpf: Callable[..., str]) -> None:
    """Queues and stacks, elements that are maps or programs, and maps that are frozen."""
    ebpf("map create /q type queue key 0 value 4 entries 2 name waiting")
    ebpf("map create /s type stack key 0 value 4 entries 2 name piled")
    for value in (1, 2):
        ebpf(f"map enqueue name waiting value {value} 0 0 0")
        ebpf(f"map push name piled value {value} 0 0 0")
    assert "E2BIG" in ebpf("map push pinned /q value 3 0 0 0", 1)
    assert ebpf("map peek name waiting") == "value: 01 00 00 00\n"
    assert ebpf("map dequeue name waiting") == "value: 01 00 00 00\n"
    assert document(ebpf("-j map pop name piled")) == {"value": ["0x02", "0x00", "0x00", "0x00"]}
    ebpf("map pop name piled")
    assert ebpf("map pop name piled") == "Error: empty map\n"
    assert document(ebpf("-j map peek name piled")) == {"error": "empty map"}
    ebpf("map create /inner type array key 4 value 8 entries 1 name inner")
    ebpf("map create /outer type array_of_maps key 4 value 4 entries 2 name outer inner_map pinned /inner")
    ebpf("map update name outer key 1 0 0 0 value name inner")
    assert ebpf("map lookup name outer key 1 0 0 0") == "key: 01 00 00 00  value: 03 00 00 00\n"
    assert "differs from the template" in ebpf("map update name outer key 0 0 0 0 value pinned /q", 1)
    ebpf("map create /jumps type prog_array key 4 value 4 entries 2 name jumps")
    ebpf(f"prog load {COUNTER} /counter")
    ebpf("map update name jumps key 0 0 0 0 value pinned /counter")
    assert list(host.pins["/jumps"].entries) == [bytes(4)]  # type: ignore[union-attr]
    ebpf("map freeze name inner")
    assert "frozen" in ebpf("map show name inner")
    assert "is frozen" in ebpf("map update name inner key 0 0 0 0 value 0 0 0 0 0 0 0 0", 1)
    assert "is frozen" in document(ebpf("-j map freeze name inner", 1).splitlines()[0])["error"]
    for line, problem in (
        ("map update name inner key 0 0 0 0 value 0 0 0 0 0 0 0 0 key 1", "'key 1' is not expected"),
        ("map update name inner key 0 0 0 0 value 0 0 0 0 0 0 0 0 any any", "'any any' is not expected"),
        ("map push name piled", "value is wanted"),
        ("map create /x type hash key 4 value 4 entries 1 name x name y", "'name' is not expected"),
        ("map lookup name inner", "key is wanted"),
    ):
        assert problem in ebpf(line, 2), line


def test_bpftool_loads_with_maps_that_exist(host: ExecutionContext, ebpf: Callable[..., str], tmp_path: Path) -> None:
    ebpf("map create /total type array key 4 value 16 entries 1 name shared")
    ebpf(f"prog load {COUNTER} /one map name total pinned /total")
    ebpf(f"prog load {COUNTER} /two map idx 0 name shared")
    rows = document(ebpf("prog show -j"))
    assert [row["map_ids"] for row in rows] == [[1], [1]]
    assert "has no map name other" in ebpf(f"prog load {COUNTER} /three map name other id 1", 2)
    assert "there are: idx, name" in ebpf(f"prog load {COUNTER} /three map id 1 id 1", 2)
    ebpf("map create /small type array key 4 value 8 entries 1 name small")
    assert "may not run" in ebpf(f"prog load {COUNTER} /three map name total name small", 1)
    packet, out, code = tmp_path / "packet", tmp_path / "out", tmp_path / "code"
    packet.write_bytes(bytes(60))
    ebpf(f"prog run pinned /one data_in {packet} data_out {out} data_size_out 20")
    assert out.read_bytes() == bytes(20)
    assert "is no number" in ebpf(f"prog run pinned /one data_in {packet} data_size_out x", 2)
    ebpf(f"prog dump xlated pinned /one file {code}")
    assert len(code.read_bytes()) == 128
    assert "'opcodes' is not expected" in ebpf("prog dump xlated pinned /one opcodes 1", 2)


def test_errors_as_json(host: ExecutionContext, ebpf: Callable[..., str]) -> None:
    assert "no program 99" in document(ebpf("-j prog show id 99", 1))["error"]
    refused = document(ebpf(f"-j add program {examples.path('unsafe_null')}", 1))
    assert "may not run" in refused["error"]
    assert "needed:" in refused["log"]


def test_objects_of_windows(ebpf: Callable[..., str], host: ExecutionContext) -> None:
    """The option for all commands, and the tag for one; a program that is read for the wrong platform is refused."""
    assert "xdp" in ebpf(f"--platform windows show sections {COUNTER}")
    assert "context-access" in ebpf(f"show verification {COUNTER} platform=windows", 1)
    assert "may not run" in ebpf(f"add program {COUNTER} platform=windows", 1)
    assert "may not run" in ebpf(f"--platform windows prog load {COUNTER} /x", 1)
    assert not host.programs
