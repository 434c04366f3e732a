"""Verify programs in a child process that can be lost: a program that takes too long costs a row, not the run.

``python -m prevail_py.research.corpora.examiner`` is the child.  It answers one question a line on standard input,
``{"path": ..., "program": NAME | null, "options": {...}}``, with one line: the programs of an object, or what the
verifier says of one; with ``oracle`` instead of ``options``, what the oracle of soundness saw of one.  Times are CPU
time of the child, memory the peak of its resident set meanwhile.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from prevail_py.objects.btf import Btf
from prevail_py.objects.elf import ObjectFile
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program
from prevail_py.research.corpora.columns import Row
from prevail_py.research.corpora.expectations import Expectation, expectations
from prevail_py.research.corpora.features import btf_need, uses
from prevail_py.research.corpora.own_domains import OwnDomain, install
from prevail_py.research.corpora.sources import open_item

__all__ = ["Examiner"]

MEMORY_LIMIT: Final = 4 << 30
"""Bytes of address space that the child may use."""


class Examiner:
    """One child for many questions; use as a context manager.  ``limit`` is in seconds of wall time for each program.

    A child that exceeds the limit is killed, and the next question gets a new one.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Examiner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    process.stdin.close()
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def programs(self, path: Path) -> list[Row]:
        """Rows with what is known of the programs before they are verified; one row for an unreadable object."""
        answer = self._ask({"path": str(path), "program": None})
        if isinstance(answer, str):
            return [{"program": "", "verdict": "CRASH", "reason": answer}]
        if "error" in answer:
            return [{"program": "", "verdict": "UNREADABLE", "reason": answer["error"]}]
        rows: list[Row] = answer["programs"]
        return rows

    def verdict(self, path: Path, program: str, options: Mapping[str, Any], domains: Sequence[OwnDomain] = ()) -> Row:
        """What the verifier says of one program; ``domains`` are those that only the caller has."""
        own = {domain.name: domain.code for domain in domains}
        answer = self._ask({"path": str(path), "program": program, "options": dict(options), "domains": own})
        if isinstance(answer, str):
            return {"verdict": "LIMIT" if answer.startswith("no verdict") else "CRASH", "reason": answer}
        return answer

    def oracle(self, path: Path, program: str, runs: int, steered: int) -> Row:
        """What the oracle of soundness saw of one program; ``verdict`` alone where that is not SAFE."""
        answer = self._ask({"path": str(path), "program": program, "oracle": [runs, steered]})
        if isinstance(answer, str):
            return {"verdict": "LIMIT" if answer.startswith("no verdict") else "CRASH", "reason": answer}
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- open as long as the child
        return subprocess.Popen(
            [sys.executable, "-m", "prevail_py.research.corpora.examiner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
        )

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any] | str:
        """The answer, or why there is none."""
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
        deadline = time.monotonic() + self.limit
        chunks: list[bytes] = []
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not select.select([process.stdout], [], [], remaining)[0]:
                self.close()
                return f"no verdict within {self.limit:g} s"
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return self._lost(process)
            chunks.append(chunk)
            if chunk.endswith(b"\n"):
                answer: dict[str, Any] = json.loads(b"".join(chunks))
                return answer

    def _lost(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        lines: list[str] = []
        if self._errors is not None:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        return f"killed by signal {-code}" if code < 0 else lines[-1] if lines else f"exit status {code}"


def main() -> None:
    """Answer until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    from prevail_py.verifier import verify  # noqa: F401 -- so that the first program does not pay for the import

    gc.collect()
    gc.freeze()
    loaded: tuple[str, ObjectFile | ObjectError] | None = None
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        for line in sys.stdin:
            question = json.loads(line)
            if loaded is None or loaded[0] != question["path"]:
                loaded = question["path"], _load(Path(question["path"]))
            output.write(json.dumps(_answer(loaded[1], question)) + "\n")
            output.flush()


def _load(path: Path) -> ObjectFile | ObjectError:
    try:
        return open_item(path)
    except ObjectError as error:
        return error


def _answer(loaded: ObjectFile | ObjectError, question: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(loaded, ObjectError):
        return {"error": str(loaded)}
    name = question["program"]
    if name is not None and "oracle" in question:
        return _under_oracle(loaded.programs[name], *question["oracle"])
    if name is not None:
        return _verified(loaded.programs[name], question["options"], question["domains"])
    try:
        expected = expectations(loaded.btf)
    except ObjectError as error:
        return {"error": str(error)}
    return {
        "programs": [
            _described(name, program, loaded.btf) | _expected(expected.get(program.name))
            for name, program in loaded.programs.items()
        ]
    }


def _described(name: str, program: Program, btf: Btf | None) -> Row:
    return {
        "program": name,
        "section": program.section,
        "type": program.program_type,
        "instructions": program.instruction_count,
        "btf": btf_need(program),
        "uses": " ".join(uses(program, btf)),
    }


def _expected(expectation: Expectation | None) -> Row:
    if expectation is None:
        return {}
    return {
        "expected": {True: "success", False: "failure", None: ""}[expectation.success],
        "message": "\n".join(expectation.messages),
        "description": expectation.description,
        "retval": expectation.retval,
        "flags": " ".join([*expectation.flags, *expectation.architectures, *["auxiliary"] * expectation.auxiliary]),
    }


def _verified(program: Program, options: Mapping[str, Any], domains: Mapping[str, str]) -> Row:
    from prevail_py.verifier import verify

    try:
        install(domains)
    except Exception as error:  # the code of a domain may do anything
        return {"verdict": "CRASH", "reason": f"{', '.join(domains)}: {type(error).__name__}: {error}"}
    gc.collect()
    watched = _reset_peak()
    start = time.process_time()
    try:
        verdict = verify(program, **options)
    except Exception as error:  # whatever it is, it is a defect of ours, and the run goes on
        return {"verdict": "CRASH", "reason": f"{type(error).__name__}: {error}"}
    seconds = time.process_time() - start
    first = verdict.failures[0] if verdict.failures else None
    counts = Counter(failure.assertion for failure in verdict.failures)
    return {
        "verdict": verdict.kind.value,
        "reason": verdict.reason,
        "failures": ", ".join(f"{name} {number}" for name, number in sorted(counts.items())),
        "failure": f"{first.assertion}: {first.message}" if first else "",
        "place": f"slot {first.pc}" + (f" ({first.line})" if first.line else "") if first else "",
        "needed": first.needed if first else "",
        "discharged": len(verdict.discharged),
        "witness": verdict.witness.trap.kind.value if verdict.witness else "",
        "disjuncts": verdict.disjuncts,
        "steps": verdict.steps,
        "seconds": round(seconds, 6),
        "memory": _peak() if watched else None,
    }


def _under_oracle(program: Program, runs: int, steered: int) -> Row:
    from prevail_py.research.concolic import steer
    from prevail_py.research.oracle import examine
    from prevail_py.verifier import verify
    from prevail_py.vm.maps.model import MapError

    try:
        verdict = verify(program)
        if not verdict.is_safe:
            return {"verdict": verdict.kind.value}
        start = time.process_time()
        report = examine(program, verdict, runs, 0, steer, steered)
    except MapError as error:  # of a size that its user program has yet to set: no kernel would load it like this
        return {"verdict": "UNREADABLE", "reason": str(error)}
    except Exception as error:  # whatever it is, it is a defect of ours, and the run goes on
        return {"verdict": "CRASH", "reason": f"{type(error).__name__}: {error}"}
    return {
        "verdict": verdict.kind.value,
        "runs": report.runs,
        "steered": report.steered,
        "steps": report.steps,
        "violations": report.violations,
        "unsupported": sorted(report.unsupported),
        "blocks": len(report.blocks),
        "covered": len(report.covered),
        "seconds": round(time.process_time() - start, 3),
    }


def _reset_peak() -> bool:
    """Let the kernel count the peak of the resident set anew; False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> float | None:
    """The peak of the resident set in MiB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("VmHWM:")]
    return round(int(found[0].split()[1]) / 1024, 1) if found else None


if __name__ == "__main__":
    main()
