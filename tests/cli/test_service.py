"""``--service`` and ``verifierd`` on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from prevail_py import examples
from prevail_py.cli.main import main
from prevail_py.host.service import Verifier
from prevail_py.host.service.lockdown import missing

FIREWALL = str(examples.path("xdp_firewall"))
UNSAFE = str(examples.path("unsafe_null"))
CAPTURE = str(Path(FIREWALL).with_name("traffic.pcap"))

confined = pytest.mark.skipif(bool(missing()), reason=f"lockdown: {'; '.join(missing())}")


def verdicts(text: str) -> list[tuple[str, str]]:
    documents = map(json.loads, text.splitlines())
    return [(each["name"], each["verdict"]) for document in documents for each in document["programs"]]


@confined
def test_verify_says_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.o"
    bad.write_bytes(b"MZ")
    here = main(["verify", "--json", FIREWALL, str(bad), UNSAFE]), verdicts(capsys.readouterr().out)
    code = main(["verify", "--service", "--json", FIREWALL, str(bad), UNSAFE])
    output = capsys.readouterr()
    assert (code, verdicts(output.out)) == here
    assert code == 2
    assert output.err == f"prevail-py: {bad}: file: not an ELF file\n"


@confined
def test_run_says_what_let_it_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", FIREWALL, "--pcap", CAPTURE]) == 0
    here = capsys.readouterr()
    assert main(["run", "--service", FIREWALL, "--pcap", CAPTURE]) == 0
    there = capsys.readouterr()
    assert there.out == here.out
    assert there.err.startswith("prevail-py: xdp_firewall admitted by a token of the verifier ")


@confined
def test_run_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--service", UNSAFE, "--pcap", CAPTURE]) == 1
    output = capsys.readouterr()
    assert output.err == "prevail-py: count_by_queue may not run: token: verdict: 'UNSAFE'\n"
    assert "null-dereference" in output.out


def test_what_a_service_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--explain", "--invariants", "--termination"):
        assert main(["verify", "--service", option, FIREWALL]) == 2
        assert f"--service: {option} needs the verifier in this process" in capsys.readouterr().err


def test_no_service_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verifier, "_command", staticmethod(lambda arguments: [sys.executable, "-c", "exit(1)"]))
    assert main(["verify", "--service", FIREWALL]) == 2
    assert capsys.readouterr().err == "prevail-py: --service: the verifier died (exit status 1)\n"
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert main(["verify", "--service", "--btf", "/dev/null", FIREWALL]) == 2
    assert "--service: " in capsys.readouterr().err


@pytest.mark.parametrize("descriptor", ["0", "999999", "-1", "99999999999999999999"])
def test_verifierd_wants_a_socket(capsys: pytest.CaptureFixture[str], descriptor: str) -> None:
    assert main(["verifierd", f"--fd={descriptor}"]) == 2
    assert "is no socket" in capsys.readouterr().err
