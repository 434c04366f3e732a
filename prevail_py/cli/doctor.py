"""``prevail-py doctor``: what this machine has, and what each missing thing costs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from prevail_py.cli.support import EXIT_NOT_SAFE, EXIT_OK, print_table

NAME = "doctor"
HELP = "say what is missing on this machine and what that disables"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for.  ``detail`` says what was found, or why it was not; ``without`` what is lost with it."""

    name: str
    found: bool
    required: bool
    detail: str
    without: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``doctor``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")


def run(arguments: argparse.Namespace) -> int:
    """Look; 0 where nothing that is required is missing, otherwise 1."""
    findings = diagnose()
    if arguments.json:
        print(json.dumps({"schema": 1, "checks": [asdict(finding) for finding in findings]}))
    else:
        _print(findings)
    return EXIT_OK if all(finding.found for finding in findings if finding.required) else EXIT_NOT_SAFE


def _print(findings: tuple[Finding, ...]) -> None:
    from prevail_py._render import Table

    rows = tuple(
        (finding.name, "yes" if finding.found else "MISSING" if finding.required else "no", finding.detail)
        for finding in findings
    )
    print_table(
        Table(("what", "here", "detail"), rows), colours={"yes": "green", "no": "yellow", "MISSING": "bold red"}
    )
    missing = [finding for finding in findings if not finding.found]
    if missing:
        print("\nWhat that disables:")
        for finding in missing:
            print(f"  {finding.name}: {finding.without}")
    else:
        print("\nNothing is missing.")


def diagnose() -> tuple[Finding, ...]:
    """Look for everything the toolkit and its tests can use."""
    return (
        _python(),
        _package("pyelftools", "reading object files", required=True),
        _package("networkx", "graphs as networkx objects", required=True),
        _package("z3-solver", "the solver", required=True),
        _package("rich", "colours, tables and progress in a terminal", required=True),
        _package("dpkt", "capture files: `prevail-py run --pcap`", required=True),
        _package("pytest", "all tests"),
        _package("hypothesis", "all tests of random inputs"),
        _package("pytest-xdist", "tests in parallel"),
        _package("cryptography", "verdict tokens: `--service`, prevail_py.host.service and its tests"),
        _package("joblib", "`prevail-py corpus run` with several jobs"),
        _package("pandas", "runs over corpora as DataFrames"),
        _package("pyarrow", "runs over corpora as parquet files"),
        _package("mypy", "`make types`"),
        _package("ruff", "`make lint`"),
        _package("import-linter", "`make layers`"),
        _program("make", "make", "every `make` target"),
        _clang(),
        _headers(),
        _program(
            "graphviz",
            "dot",
            "pictures by graphviz (`prevail-py cfg --svg`) and the tests that need graphviz",
        ),
        _chromium(),
        _kernel(),
        _lockdown(),
        _xdp_objects(),
        _shared(),
    )


def _python() -> Finding:
    return Finding("Python 3.11 or later", sys.version_info >= (3, 11), True, platform.python_version(), "everything")


def _package(name: str, use: str, *, required: bool = False) -> Finding:
    try:
        return Finding(name, True, required, metadata.version(name), use)
    except metadata.PackageNotFoundError:
        return Finding(name, False, required, "not installed for this Python", use)


def _chromium() -> Finding:
    from prevail_py.research.browser import chromium_path, lacking

    reason = lacking()
    return Finding("chromium", reason is None, False, reason or chromium_path() or "", "the tests that open pages")


def _program(name: str, command: str, use: str) -> Finding:
    path = shutil.which(command)
    return Finding(name, path is not None, False, path or f"no {command} on PATH", use)


def _clang() -> Finding:
    without = "compiling eBPF from C; the test that recompiles the examples, and every test that needs clang"
    for command in ("clang-19", "clang-20", "clang-18", "clang-17", "clang-16", "clang"):
        path = shutil.which(command)
        if path is None:
            continue
        probe = [path, "-target", "bpf", "-c", "-x", "c", "-o", os.devnull, os.devnull]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return Finding("clang for BPF", True, False, path, without)
    return Finding("clang for BPF", False, False, "no clang on PATH has the BPF target", without)


def _headers() -> Finding:
    without = "compiling the examples from C"
    for directory in ("/usr/include", "/usr/local/include"):
        path = Path(directory, "bpf", "bpf_helpers.h")
        if path.is_file():
            return Finding("libbpf headers", True, False, str(path.parent), without)
    return Finding("libbpf headers", False, False, "no bpf/bpf_helpers.h (Debian: libbpf-dev)", without)


def _kernel() -> Finding:
    from prevail_py.vm.kernel.engine import available

    reason = available()
    without = "the kernel engine: asking the kernel for its verdict, test runs, and every test that needs kernel"
    if reason is not None:
        return Finding("kernel engine", False, False, reason, without)
    from prevail_py.vm.kernel.survey import survey

    return Finding("kernel engine", True, False, f"Linux {platform.release()}: {survey()}", without)


def _lockdown() -> Finding:
    from prevail_py.host.service import landlock
    from prevail_py.host.service.lockdown import missing

    lacking = missing()
    detail = "; ".join(lacking) or f"seccomp, Landlock version {landlock.version()}"
    without = "verifiers in a confined process (`--service`), unless they are told to go on unconfined; their tests"
    return Finding("verifier lockdown", not lacking, False, detail, without)


def _xdp_objects() -> Finding:
    found = sorted(p for p in Path("/usr/lib").glob("*/bpf/*.o") if p.name.startswith(("xdp", "xsk")))
    detail = f"{len(found)} in {found[0].parent}" if found else "none in /usr/lib/*/bpf (Debian: xdp-tools, libxdp1)"
    return Finding("xdp-tools objects", bool(found), False, detail, "the tests on real object files (xdp_objects)")


def _shared() -> Finding:
    path = Path(__file__).resolve().parents[3] / "shared"
    found = path.is_dir()
    detail = str(path) if found else "no directory 'shared' beside the repository"
    return Finding("shared data", found, False, detail, "conformance vectors, regenerating platform tables (shared)")
