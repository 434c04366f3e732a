"""``prevail-py check-certificate OBJ FILE``: check what proves programs to be safe, without the verifier."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import process_time

from prevail_py.cli.support import (
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_program_argument,
    add_target_arguments,
    bad_input,
    open_object,
    print_table,
)

NAME = "check-certificate"
HELP = "check certificates of `verify --certificate`, without the verifier"

_COLOURS = {"accepted": "bold green", "refused": "bold red", "not supported": "bold magenta"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``check-certificate``."""
    parser.add_argument("object", metavar="OBJ", help="an eBPF object file")
    parser.add_argument("certificate", metavar="FILE", help="the certificates of its programs")
    add_program_argument(parser)
    add_target_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")


def run(arguments: argparse.Namespace) -> int:
    """Check; 0 where all certificates are accepted, 1 where one is not, 2 where an input cannot be read."""
    from prevail_py._render import Table
    from prevail_py.checker.certificate import CertificateError, read
    from prevail_py.checker.check import Answer, check

    programs = open_object(arguments.object, arguments).programs
    with bad_input(arguments.certificate):
        content = Path(arguments.certificate).read_bytes()
    try:
        certificates = read(content)
    except CertificateError as error:
        raise InputError(f"{arguments.certificate}: {error}") from error
    if arguments.program is not None:
        certificates = [each for each in certificates if each.program == arguments.program]
        if not certificates:
            raise InputError(f"{arguments.certificate}: no certificate for a program {arguments.program!r}")
    rows = []
    for each in certificates:
        start = process_time()
        program = programs.get(each.program)
        missing = Answer("refused", None, f"no such program in {arguments.object}")
        answer = missing if program is None else check(program, each)
        rows.append((each.program, answer, process_time() - start))
    if arguments.json:
        document = {
            "schema": 1,
            "object": arguments.object,
            "certificate": arguments.certificate,
            "programs": [
                {
                    "name": name,
                    "answer": answer.kind,
                    "slot": answer.slot,
                    "reason": answer.reason,
                    "seconds": round(seconds, 6),
                    "steps": answer.steps,
                    "questions": answer.questions,
                }
                for name, answer, seconds in rows
            ],
        }
        print(json.dumps(document))
    else:
        texts = tuple(
            (name, answer.kind, "" if answer.slot is None else str(answer.slot), answer.reason)
            for name, answer, _ in rows
        )
        print_table(Table(("program", "answer", "slot", "reason"), texts), colours=_COLOURS)
    if not rows:
        raise InputError(f"{arguments.certificate}: no certificates")
    return EXIT_OK if all(answer.kind == "accepted" for _, answer, _ in rows) else EXIT_NOT_SAFE
