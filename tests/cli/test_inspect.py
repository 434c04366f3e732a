"""The commands that only look: ``list``, ``disasm`` and ``cfg``."""

from __future__ import annotations

import json
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli.main import main

FIREWALL = str(examples.path("xdp_firewall"))
TAILCALL = str(examples.path("xdp_tailcall"))
SUBPROGRAM = str(examples.path("xdp_subprogram"))


def test_list(capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]) -> None:
    assert main(["list", TAILCALL, SUBPROGRAM, str(examples.path("xdp_globals"))]) == 0
    golden("cli/list.txt", capsys.readouterr().out)


def test_list_as_documents(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json", TAILCALL]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["object"], document["licence"]) == (1, TAILCALL, "MIT")
    assert [program["name"] for program in document["programs"]] == ["dispatch", "handle_ipv4", "handle_ipv6"]
    assert document["maps"][0] == {
        "name": "handlers",
        "type": "prog_array",
        "key_size": 4,
        "value_size": 4,
        "max_entries": 2,
        "read_only": False,
    }


def test_disassembly_between_source_lines(
    capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]
) -> None:
    assert main(["disasm", SUBPROGRAM]) == 0
    golden("cli/disasm.txt", capsys.readouterr().out)


def test_disassembly_of_one_program_without_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disasm", TAILCALL, "--program", "handle_ipv4", "--no-source"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["; handle_ipv4, section xdp, xdp", "handle_ipv4:"]
    assert not [line for line in lines if ".c:" in line]


def test_graph_for_graphviz(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cfg", FIREWALL]) == 0
    text = capsys.readouterr().out
    assert main(["cfg", "--dot", FIREWALL]) == 0
    assert text == capsys.readouterr().out
    assert text.startswith("digraph ")
    assert text.endswith("}\n")


def test_graph_as_picture(graphviz: str, tmp_path: Path) -> None:
    out = tmp_path / "graph.svg"
    assert main(["cfg", "--svg", "-o", str(out), FIREWALL]) == 0
    assert xml.etree.ElementTree.parse(out).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_picture_without_graphviz(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["cfg", "--svg", FIREWALL]) == 2
    assert capsys.readouterr().err.startswith("prevail-py: graphviz's program 'dot' is not installed")


def test_graph_of_one_among_several(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cfg", TAILCALL]) == 2
    expected = f"prevail-py: {TAILCALL}: choose one with --program (there are: dispatch, handle_ipv4, handle_ipv6)\n"
    assert capsys.readouterr().err == expected
    assert main(["cfg", TAILCALL, "--program", "dispatch"]) == 0


def test_output_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "absent" / "graph.dot")
    assert main(["cfg", FIREWALL, "-o", out]) == 2
    assert capsys.readouterr().err == f"prevail-py: {out}: No such file or directory\n"
