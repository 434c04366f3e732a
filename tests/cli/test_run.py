"""``prevail-py run``: the firewall over the shipped capture file, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli import map_contents
from prevail_py.cli.main import main
from prevail_py.host.capture import read_capture

FIREWALL = str(examples.path("xdp_firewall"))
RULES = str(examples.path("xdp_firewall").with_suffix(".json"))
TAILCALL = str(examples.path("xdp_tailcall"))
TRAFFIC = str(examples.TRAFFIC)


def _contents(tmp_path: Path, contents: object) -> str:
    path = tmp_path / "maps.json"
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents))
    return str(path)


def test_rules_are_those_of_the_example() -> None:
    rules = json.loads(Path(RULES).read_text())
    assert rules == {
        name: {key.hex(): value.hex() for key, value in entries.items()}
        for name, entries in examples.FIREWALL_RULES.items()
    }


def test_firewall_with_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]
) -> None:
    out = tmp_path / "out"
    assert main(["run", FIREWALL, "--pcap", TRAFFIC, "--out", str(out), "--maps", RULES, "--show-maps"]) == 0
    golden("cli/run-firewall.txt", capsys.readouterr().out.replace(str(tmp_path), "TMP"))
    written = {path.name: len(read_capture(path)) for path in out.iterdir()}
    assert sum(written.values()) == len(read_capture(TRAFFIC))
    assert set(written) == {"drop.pcap", "pass.pcap"}


def test_firewall_without_rules_passes_more(capsys: pytest.CaptureFixture[str]) -> None:
    def dropped(*options: str) -> int:
        assert main(["run", FIREWALL, "--pcap", TRAFFIC, *options]) == 0
        return next(int(line.split()[1]) for line in capsys.readouterr().out.splitlines() if line.startswith("DROP"))

    assert 0 < dropped() < dropped("--maps", RULES)


def test_tail_calls_reach_the_programs_of_the_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = {"00000000": {"program": "handle_ipv4"}, "01000000": {"program": "handle_ipv6"}}
    maps = _contents(tmp_path, {"handlers": handlers})
    command = ["run", TAILCALL, "--program", "dispatch", "--pcap", TRAFFIC, "--show-maps"]
    assert main(command) == 0
    without = capsys.readouterr().out
    assert main([*command, "--maps", maps]) == 0
    assert capsys.readouterr().out != without


def test_unsafe_program_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["run", str(examples.path("unsafe_bounds")), "--pcap", TRAFFIC, "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("prevail-py: drop_udp may not run: UNSAFE: unsafe_bounds.c:28: ")
    assert captured.out.startswith("unsafe_bounds.o: drop_udp: UNSAFE\n")
    assert not out.exists()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("{", "not JSON"),
        ("[]", "want an object of objects"),
        ("[" * 100_000, "not JSON"),
        ({"blocked_sources": 5}, "want an object of objects"),
        ({"blocked_sources": [5]}, 'element 0: {"key": ..., "value": ...} is wanted, not 5'),
        ({"blocked_sources": [{"key": "00000000", "value": []}]}, 'key "00000000": a number is wanted, not list []'),
        (
            {"blocked_services": [{"key": {"prot": 6}, "value": 0}]},
            "no member 'prot' (there are: port, protocol, zero)",
        ),
        ({"blocked_services": [{"key": {"protocol": 256}, "value": 0}]}, "protocol: 256 is not in [0, 255]"),
        ({"nonsense": {}}, "no map 'nonsense' that can be filled (there are: "),
        ({"blocked_sources": {"0g": ""}}, "map 'blocked_sources': key '0g': 4 bytes in hexadecimal are wanted"),
        ({"blocked_sources": {"00": "00"}}, "map 'blocked_sources': key '00': "),
        ({"blocked_sources": {"00000000": "00"}}, "map 'blocked_sources': key '00000000': "),
        ({"blocked_sources": {"00000000": None}}, "map 'blocked_sources': key '00000000': a number is wanted"),
        ({"blocked_sources": {"00000000": {"program": "xdp_firewall"}}}, "map 'blocked_sources': key '00000000': "),
        ({"outcomes": {"00000000": 7}}, "a list of 1 values, one per CPU, is wanted"),
        ({"outcomes": {"09000000": ["0000000000000000"]}}, "map 'outcomes': key '09000000': "),
    ],
)
def test_contents_that_do_not_fit(
    contents: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _contents(tmp_path, contents)
    assert main(["run", FIREWALL, "--pcap", TRAFFIC, "--maps", path]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"prevail-py: {path}: ")
    assert message in line
    assert line.count("\n") == 1


def test_inputs_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = str(tmp_path / "absent")
    for argv, message in [
        (["run", FIREWALL, "--pcap", absent], f"{absent}: No such file or directory"),
        (["run", FIREWALL, "--pcap", TRAFFIC, "--maps", absent], f"{absent}: No such file or directory"),
        (["run", FIREWALL, "--pcap", FIREWALL], f"{FIREWALL}: not a capture file"),
        (["run", FIREWALL, "--pcap", TRAFFIC, "--out", TRAFFIC], f"{TRAFFIC}: File exists"),
        (["run", TAILCALL, "--pcap", TRAFFIC], f"{TAILCALL}: choose one with --program"),
        (["run", str(examples.path("tc_classifier")), "--pcap", TRAFFIC], "not an XDP program"),
    ]:
        assert main(argv) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""


def test_contents_table_leaves_zeros_and_maps_without_values_out() -> None:
    from prevail_py.objects.elf import load_object
    from prevail_py.vm.maps import create_maps

    maps = create_maps(load_object(TAILCALL).programs["dispatch"].maps)
    assert map_contents.contents_table(maps).rows == ()


def test_native_code_is_validated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["run", FIREWALL, "--pcap", TRAFFIC, "--engine", "jit-O0", "--validate"]
    assert main(command) == 0
    assert "native code of xdp_firewall validated" in capsys.readouterr().err
    mistake = "block at slot 3: r1 is 2, not 1"
    monkeypatch.setattr("prevail_py.verifier.translation.validate", lambda *_: (mistake,))
    assert main(command) == 2
    assert f"the native code is wrong: {mistake}" in capsys.readouterr().err
    unsafe = str(examples.path("unsafe_null"))
    assert main(["run", unsafe, "--pcap", TRAFFIC, "--engine", "jit", "--validate"]) == 1
