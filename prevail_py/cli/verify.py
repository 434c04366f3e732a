"""``prevail-py verify OBJ...``: prove every program of the objects, or say what is missing."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prevail_py.cli.support import (
    EXIT_INPUT,
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_policy_argument,
    add_program_argument,
    add_service_argument,
    add_target_arguments,
    bad_input,
    choose,
    open_object,
    positive,
    print_table,
    start_verifier,
    track,
    write_output,
)

if TYPE_CHECKING:
    from prevail_py.host.service import Verifier
    from prevail_py.objects.program import Program
    from prevail_py.verifier.verdict import Verdict, VerdictKind

NAME = "verify"
HELP = "verify all programs of object files"

_COLOURS = {"SAFE": "bold green", "UNSAFE": "bold red", "UNKNOWN": "bold yellow", "UNSUPPORTED": "bold magenta"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``verify``."""
    parser.add_argument("objects", nargs="+", metavar="OBJ", help="an eBPF object file")
    add_program_argument(parser)
    add_target_arguments(parser)
    parser.add_argument("--brief", action="store_true", help="print the table only, not why programs are not SAFE")
    parser.add_argument(
        "--explain", action="store_true", help="say of each failure on which instructions and facts it rests"
    )
    parser.add_argument(
        "--termination", action="store_true", help="look for bounds on loops: whether every run ends, and how soon"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document per object and line (schema 1)")
    parser.add_argument("--invariants", action="store_true", help="also print what was found to hold at each block")
    parser.add_argument(
        "--certificate", metavar="FILE", help="write what proves the programs that are SAFE, for `check-certificate`"
    )
    parser.add_argument("--domain", metavar="NAME", help="the abstract domain")
    parser.add_argument("--disjuncts", type=positive, metavar="N", help="states kept apart at each join at most")
    parser.add_argument("--budget", type=positive, metavar="N", help="abstract steps before the verdict is UNKNOWN")
    parser.add_argument(
        "--no-smt",
        dest="smt",
        action="store_false",
        default=None,
        help="do not ask the solver what the domains leave open",
    )
    parser.add_argument(
        "--witness-out", metavar="DIR", help="write a test file and a capture for each program that is UNSAFE"
    )
    add_policy_argument(parser)
    add_service_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify; 0 where all programs are SAFE, 1 where one is not, 2 where an object cannot be read."""
    options = _options(arguments)
    lax = options.get("policy", "strict") != "strict"
    if arguments.certificate is not None and (len(arguments.objects) > 1 or lax):
        raise InputError("--certificate: certificates are for the programs of one object, under the policy strict")
    printer = _Documents(arguments) if arguments.json else _Text(arguments)
    code = EXIT_OK
    with ExitStack() as stack:
        verifier = stack.enter_context(start_verifier(arguments)) if arguments.service else None
        for path in track(arguments.objects, "verifying"):
            try:
                if verifier is not None:
                    verdicts = _ask(verifier, path, arguments, options)
                else:
                    programs = choose(path, open_object(path, arguments), arguments.program)
                    verdicts = _verify(programs, path if len(arguments.objects) == 1 else None, options)
            except InputError as error:
                print(f"prevail-py: {error}", file=sys.stderr)
                printer.unreadable(path, error)
                code = EXIT_INPUT
                continue
            printer.verified(path, verdicts)
            if arguments.witness_out is not None:
                _write_witnesses(arguments.witness_out, path, verdicts)
            if arguments.certificate is not None:
                _certify(arguments.certificate, verdicts)
            if code == EXIT_OK and not all(verdict.is_safe for verdict in verdicts):
                code = EXIT_NOT_SAFE
    printer.finish()
    return code


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of :func:`prevail_py.verifier.verify` that were given."""
    from prevail_py.domains import facts

    if arguments.domain is not None:
        try:
            facts(arguments.domain)
        except ValueError as error:
            raise InputError(f"--domain: {error}") from error
    if arguments.service and (lost := [name for name in _ONLY_HERE if getattr(arguments, name)]):
        raise InputError(f"--service: --{lost[0]} needs the verifier in this process")
    names = ("domain", "disjuncts", "budget", "policy", "termination", "smt")
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _certify(path: str, verdicts: list[Verdict]) -> None:
    from prevail_py.verifier.certificate import document

    try:
        text = document([verdict.certificate() for verdict in verdicts if verdict.is_safe])
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    write_output(path, text)


_ONLY_HERE = ("termination", "explain", "invariants", "certificate")
"""What a verdict from another process does not carry."""


def _ask(verifier: Verifier, path: str, arguments: argparse.Namespace, options: dict[str, Any]) -> list[Verdict]:
    from prevail_py.host.service import Options, Refused

    name = arguments.program
    try:
        answers = verifier.verify_object(
            path,
            only=name,
            platform=arguments.platform,
            options=Options(**{name: value for name, value in options.items() if name != "termination"}),
        )
    except Refused as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if name is not None and not answers:
        raise InputError(f"{path}: no program {name!r}")
    return [answer.verdict for answer in answers]


def _verify(programs: list[Program], label: str | None, options: dict[str, Any]) -> list[Verdict]:
    from prevail_py.verifier import verify

    return [verify(program, **options) for program in (track(programs, label) if label else programs)]


def _write_witnesses(folder: str, path: str, verdicts: list[Verdict]) -> None:
    """For each program that is UNSAFE, a file that pytest runs, and its packet as a capture."""
    from prevail_py.host.capture import Captured, CaptureWriter

    with bad_input(folder):
        for verdict in verdicts:
            if verdict.witness is None:
                continue
            stem = Path(folder) / f"test_{Path(path).stem}_{verdict.witness.identifier}"
            stem.parent.mkdir(parents=True, exist_ok=True)
            stem.with_suffix(".py").write_text(verdict.witness.pytest(), encoding="utf-8")
            if verdict.witness.packet is not None:
                with CaptureWriter(stem.with_suffix(".pcap")) as capture:
                    capture.write(Captured(0, verdict.witness.packet))


class _Documents:
    """One JSON document per object, as soon as it is verified."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.invariants: bool = arguments.invariants
        self.explain: bool = arguments.explain

    def unreadable(self, path: str, error: InputError) -> None:
        from prevail_py.report.document import error_document

        print(json.dumps(error_document(path, str(error))), flush=True)

    def verified(self, path: str, verdicts: list[Verdict]) -> None:
        from prevail_py.report.document import object_document

        print(json.dumps(object_document(path, verdicts, invariants=self.invariants, explain=self.explain)), flush=True)

    def finish(self) -> None:
        pass


class _Text:
    """A table of all programs, then what keeps some from being SAFE, then the invariants that were asked for.

    What will be printed is kept as text: a verdict holds on to the states of its whole program.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.rows: list[tuple[str, ...]] = []
        self.kinds: list[VerdictKind] = []
        self.assumptions: dict[str, None] = {}
        self.failures: list[str] = []
        self.bounds: list[str] = []
        self.invariants: list[str] = []

    def unreadable(self, path: str, error: InputError) -> None:
        pass

    def verified(self, path: str, verdicts: list[Verdict]) -> None:
        from prevail_py.report.text import verdict_row, verdict_text

        for verdict in verdicts:
            self.rows.append(verdict_row(path, verdict))
            self.kinds.append(verdict.kind)
            self.assumptions.update(dict.fromkeys(verdict.assumptions))
            if not (verdict.is_safe or self.arguments.brief):
                self.failures.append(verdict_text(path, verdict, explain=self.arguments.explain))
            if verdict.termination is not None:
                self.bounds.append(f"{path}: {verdict.program.name}: {verdict.termination}")
            if self.arguments.invariants:
                self.invariants.append(f"{path}: {verdict.program.name}: invariants\n{verdict.invariants}")

    def finish(self) -> None:
        from prevail_py.report.text import summary, verdict_table

        if self.rows:
            print_table(verdict_table(self.rows), colours=_COLOURS)
            print(f"\n{summary(self.kinds)}")
        for fact in self.assumptions:
            print(f"assumed: {fact}")
        for text in (*self.failures, *self.bounds, *self.invariants):
            print(f"\n{text}")
