"""``prevail-py verify``: its text, its documents and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.cli.main import main

FIREWALL = str(examples.path("xdp_firewall"))
TAILCALL = str(examples.path("xdp_tailcall"))
UNSAFE = str(examples.path("unsafe_bounds"))


def _documents(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _without_seconds(text: str) -> str:
    return re.sub(r"\d+\.\d{3}$", "0.000", text, flags=re.MULTILINE)


def test_safe_programs(capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]) -> None:
    assert main(["verify", FIREWALL, TAILCALL]) == 0
    golden("cli/verify-safe.txt", _without_seconds(capsys.readouterr().out))


def test_unsafe_program(capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]) -> None:
    assert main(["verify", UNSAFE]) == 1
    golden("cli/verify-unsafe.txt", _without_seconds(capsys.readouterr().out))


@pytest.mark.parametrize("example", [e for e in examples.EXAMPLES.values() if not e.safe], ids=lambda e: e.name)
def test_failure_is_at_the_line_with_the_bug(example: examples.Example, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(examples.path(example.name))]) == 1
    assert f"\n  {example.name}.c:{example.bug_line()}: " in capsys.readouterr().out


def test_brief_leaves_the_failures_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", UNSAFE]) == 1
    text = capsys.readouterr().out
    assert main(["verify", "--brief", UNSAFE]) == 1
    brief = capsys.readouterr().out
    assert brief.endswith("\n1 program: 1 UNSAFE\n")
    assert _without_seconds(text).startswith(_without_seconds(brief))


def test_one_program_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", TAILCALL, "--program", "handle_ipv6", "--json"]) == 0
    (document,) = _documents(capsys)
    assert [program["name"] for program in document["programs"]] == ["handle_ipv6"]


def test_unknown_program_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", TAILCALL, "--program", "nonsense"]) == 2
    expected = f"prevail-py: {TAILCALL}: no program 'nonsense' (there are: dispatch, handle_ipv4, handle_ipv6)\n"
    assert capsys.readouterr().err == expected


def test_documents_have_the_fields_of_schema_1(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--json", "--invariants", "--explain", "--termination", FIREWALL, UNSAFE]) == 1
    safe, unsafe = _documents(capsys)
    assert (safe["schema"], safe["object"], unsafe["object"]) == (1, FIREWALL, UNSAFE)
    assert safe["programs"][0]["verdict"] == "SAFE"
    assert safe["programs"][0]["failures"] == []
    (program,) = unsafe["programs"]
    assert program["verdict"] != "SAFE"
    (failure,) = program["failures"]
    bug = examples.EXAMPLES["unsafe_bounds"].bug_line()
    assert (failure["file"], failure["line"], failure["pc"]) == ("unsafe_bounds.c", bug, 12)
    assert failure["instruction"] == "r1 = *(u8 *)(r1 + 23)"
    assert "// BUG:" in failure["source"]

    documented = (root / "docs" / "cli.md").read_text().split("## JSON, schema 1")[1]
    tables = [table.split("\n\n")[0] for table in documented.split("| --- | --- | --- |\n")[1:]]
    fields = [set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()))) for table in tables]
    assert [set(safe) | {"error"}, set(program), set(failure)] == fields


def test_documents_are_equal_whatever_the_hash_seed(root: Path) -> None:
    def document(seed: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "prevail_py", "verify", "--json", "--invariants", FIREWALL, UNSAFE],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        return [
            {**document, "programs": [{**program, "seconds": 0} for program in document["programs"]]}
            for document in map(json.loads, done.stdout.splitlines())
        ]

    assert document("0") == document("12345")


def test_unreadable_object_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = str(tmp_path / "absent.o")
    assert main(["verify", "--json", absent, FIREWALL]) == 2
    captured = capsys.readouterr()
    bad, good = (json.loads(line) for line in captured.out.splitlines())
    message = f"{absent}: file: No such file or directory"
    assert bad == {"schema": 1, "object": absent, "error": message, "programs": []}
    assert good["programs"][0]["verdict"] == "SAFE"
    assert captured.err == f"prevail-py: {message}\n"


def test_budget_ends_in_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", FIREWALL, "--budget", "10", "--json"]) == 1
    (document,) = _documents(capsys)
    assert (document["programs"][0]["verdict"], document["programs"][0]["reason"]) == ("UNKNOWN", "budget")


def test_domain_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(examples.path("xdp_histogram")), "--domain", "interval*zones", "--json"]) in (0, 1)
    assert len(_documents(capsys)) == 1
    assert main(["verify", FIREWALL, "--domain", "interval*nonsense"]) == 2
    assert capsys.readouterr().err.startswith("prevail-py: --domain: unknown domain 'nonsense': there are ")


def test_invariants_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", FIREWALL, "--invariants"]) == 0
    text = capsys.readouterr().out.split(f"\n{FIREWALL}: xdp_firewall: invariants\n")[1]
    assert text.startswith("slot 0:\n")


def test_supplied_objects_get_verdicts(xdp_objects: tuple[Path, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--json", *map(str, xdp_objects)]) == 1
    documents = _documents(capsys)
    assert [document["object"] for document in documents] == [str(path) for path in xdp_objects]
    verdicts = {
        (Path(document["object"]).name, program["name"]): program["verdict"]
        for document in documents
        for program in document["programs"]
    }
    assert not [name for name, verdict in verdicts.items() if verdict not in ("SAFE", "UNSUPPORTED")]
    assert {name for (name, _), verdict in verdicts.items() if verdict == "UNSUPPORTED"} == {"xdpdump_bpf.o"}


def test_terminal_gets_colours(root: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "prevail_py", "verify", FIREWALL]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, cwd=root, env=environment, stdout=follower, stderr=follower) as process:
        os.close(follower)
        output = b""
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            output += chunk
    os.close(leader)
    assert process.returncode == 0
    assert b"\x1b[1;32mSAFE" in output
