"""XDP over captures: counts, packets as the program left them, maps that persist."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.host.capture import Captured, read_capture
from prevail_py.host.gate import GateError, SoundnessError
from prevail_py.host.xdp import ReplayError, replay
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.research.packets import packets
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import Verdict, VerdictKind
from prevail_py.vm.batch import BatchResult, PacketBatch
from prevail_py.vm.differential import contents
from prevail_py.vm.environment import Environment
from prevail_py.vm.machine import Redirect
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.array import ArrayMap

COUNTS = MapSpec("counts", 2, 4, 8, 1)
BY_FIRST_BYTE = Program(
    "by_first_byte",
    "xdp",
    "xdp",
    assemble_text(
        """
        r2 = map[idx:0][0]+0 ll
        r3 = 1
        lock *(u64 *)(r2 + 0) += r3
        r0 = 0
        r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 4)
        r4 = r2
        r4 += 2
        if r4 > r3 goto out
        r0 = *(u8 *)(r2 + 0)
        *(u8 *)(r2 + 1) = 255
        if r0 != 4 goto out
        r1 = 9
        r2 = 0
        call 23
        out: exit
        """
    ),
    (COUNTS,),
)


def test_counts_and_outputs(tmp_path: Path) -> None:
    packets = [bytes([action, 0, 7]) for action in (2, 1, 2, 4, 3, 0, 77)] + [b""]
    maps = create_maps([COUNTS])
    report = replay(BY_FIRST_BYTE, verify(BY_FIRST_BYTE), packets, out_dir=tmp_path / "out", maps=maps)
    assert report.counts == {"ABORTED": 2, "DROP": 1, "PASS": 2, "TX": 1, "REDIRECT": 1, "INVALID": 1}
    assert [result.value for result in report.results] == [2, 1, 2, 4, 3, 0, 77, 0]
    assert report.results[3].redirect == Redirect(ifindex=9)
    assert report.results[0].redirect is None
    assert report.steps == sum(result.steps for result in report.results)
    assert report.maps is maps or report.maps == tuple(maps)
    assert isinstance(maps[0], ArrayMap)
    assert maps[0][bytes(4)] == struct.pack("<Q", 8)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{action.lower()}.pcap" for action in report.counts
    }
    assert read_capture(report.outputs["PASS"]) == [Captured(0, b"\2\xff\7"), Captured(2, b"\2\xff\7")]
    assert read_capture(report.outputs["ABORTED"]) == [Captured(5, b"\0\xff\7"), Captured(7, b"")]


@pytest.mark.parametrize("name", ["xdp_flows", "xdp_firewall", "xdp_rewrite", "xdp_vlan_pop", "xdp_options"])
def test_native_code_gives_the_same_report(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, packets, captures, maps and the clock; in one go, unless a helper in Python is called."""
    from prevail_py.vm.jit.engine import JitProgram

    (program,) = load_object(examples.path(name)).programs.values()
    verdict = verify(program, termination=True)
    batches: list[int] = []
    run_batch = JitProgram.run_batch

    def counted(self: JitProgram, given: PacketBatch, **arguments: Any) -> BatchResult:
        batches.append(len(given))
        return run_batch(self, given, **arguments)

    monkeypatch.setattr(JitProgram, "run_batch", counted)
    given, found = [*packets(8, 120), b"", b"x"], []
    for engine in ("interpreter", "jit"):
        maps, world, out = create_maps(program.maps), Environment(), tmp_path / engine
        report = replay(program, verdict, given, out_dir=out, maps=maps, environment=world, engine=engine)
        rows = [(each.value, each.action, each.redirect) for each in report.results]
        files = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
        held = [list(contents(map)) for map in maps]
        found.append((rows, report.counts, report.log, files, held, world.now))
    assert found[0] == found[1]
    assert batches == ([] if name == "xdp_vlan_pop" else [len(given)])


def test_one_map_in_two_places() -> None:
    """Native code takes its maps to be apart: then one packet is run after another, with all checks."""
    one, other = MapSpec("a", 2, 4, 8, 1), MapSpec("b", 2, 4, 8, 1)
    text = "r1 = map[idx:0][0]+0 ll\nr2 = map[idx:1][0]+0 ll\n*(u64 *)(r1 + 0) = 1\n*(u64 *)(r2 + 0) = 2\n"
    text += "r0 = *(u64 *)(r1 + 0)\nexit"
    program = Program("two", "xdp", "xdp", assemble_text(text), (one, other))
    (shared,) = create_maps([one])
    for engine in ("interpreter", "jit-O0"):
        assert replay(program, None, [b"", b""], maps=[shared, shared], engine=engine).counts["PASS"] == 2


def test_a_batch_that_does_not_end() -> None:
    text = "r1 = 0\nagain:\nr1 += 1\nif r1 != 500 goto again\nr0 = 2\nexit"
    program = Program("long", "xdp", "xdp", assemble_text(text))
    for engine in ("interpreter", "jit-O0"):
        with pytest.raises(ReplayError, match=r"packet 1.*(out of fuel|OutOfFuel)"):
            replay(program, None, [b"", b""], engine=engine, fuel=100)


def test_report() -> None:
    report = replay(BY_FIRST_BYTE, None, [b"\2\0", b"\1\0"])
    assert str(report) == (
        "action    packets\nABORTED         0\nDROP            1\nPASS            1\nTX              0\n"
        "REDIRECT        0\ntotal           2"
    )
    assert "<table" in report._repr_html_()
    assert "INVALID" not in report.counts


def test_the_firewall_on_the_shipped_capture(tmp_path: Path) -> None:
    program = load_object(examples.path("xdp_firewall")).programs["xdp_firewall"]
    capture = Path(examples.__file__).with_name("traffic.pcap")
    report = replay(program, verify(program), capture, out_dir=tmp_path)
    passed, dropped = read_capture(report.outputs["PASS"]), read_capture(report.outputs["DROP"])
    assert len(passed) == report.counts["PASS"] > 0
    assert len(dropped) == report.counts["DROP"] > 0
    assert sorted(passed + dropped) == sorted(read_capture(capture))


def test_unsafe_programs_are_refused_before_the_capture_is_read() -> None:
    program = load_object(examples.path("unsafe_bounds")).programs["drop_udp"]
    with pytest.raises(GateError, match="drop_udp may not run: UNSAFE"):
        replay(program, verify(program), "no such file")


def test_a_trap_after_safe_is_loud() -> None:
    program = Program("p", "xdp", "xdp", assemble_text("r0 = r9\nexit"))
    with pytest.raises(SoundnessError, match="p was proved SAFE but trapped at slot 0"):
        replay(program, Verdict(VerdictKind.SAFE, program), [b""])


def test_what_cannot_be_replayed() -> None:
    kprobe = Program("p", "kprobe", "kprobe", assemble_text("r0 = 0\nexit"))
    with pytest.raises(ReplayError, match="p is a kprobe program, not an XDP program"):
        replay(kprobe, None, [])
    endless = Program("p", "xdp", "xdp", assemble_text("r0 = 0\nr0 += 1\ngoto -2"))
    with pytest.raises(ReplayError, match="packet 1: p ran out of fuel at slot 2, after 100 steps"):
        replay(endless, Verdict(VerdictKind.SAFE, endless), [b""], fuel=100)
    strange = Program("p", "xdp", "xdp", assemble_text("r0 = 0\ncall kfunc 1\nexit"))
    with pytest.raises(ReplayError, match="packet 1: p needs what is not implemented: calls of kernel functions"):
        replay(strange, Verdict(VerdictKind.SAFE, strange), [b""])


def test_the_log_is_that_of_the_replay() -> None:
    environment = Environment()
    environment.log.append("before")
    text = "*(u64 *)(r10 - 8) = 0x6968\nr1 = r10\nr1 += -8\nr2 = 3\ncall 6\nr0 = 2\nexit"
    program = Program("p", "xdp", "xdp", assemble_text(text))
    assert replay(program, None, [b"", b""], environment=environment).log == ("hi", "hi")
