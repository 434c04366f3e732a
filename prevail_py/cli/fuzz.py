"""``prevail-py fuzz``: look for faults of the verifier, the engines and the checker with generated programs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prevail_py.cli.support import EXIT_NOT_SAFE, EXIT_OK, InputError, positive

if TYPE_CHECKING:
    from prevail_py.research.fuzz.campaign import Progress, Report

NAME = "fuzz"
HELP = "look for faults of prevail-py itself with generated programs"

_UNITS = {"s": 1, "m": 60, "h": 3600, "": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fuzz``."""
    parser.add_argument(
        "--oracles",
        metavar="NAMES",
        default="soundness,engines,certificate",
        help="some of soundness, engines, kernel-verdict, certificate (all but kernel-verdict)",
    )
    parser.add_argument("--time", metavar="T", type=duration, help="how long: 90s, 10m, 1.5h (10m)")
    parser.add_argument("--programs", metavar="N", type=positive, help="stop after so many programs instead")
    parser.add_argument("--jobs", metavar="N", type=positive, default=1, help="processes (1)")
    parser.add_argument("--backend", metavar="NAME", help="the joblib backend: loky, dask, ray, ...")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of the dask or ray cluster (one of --jobs processes here)"
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="other programs for another seed (0)")
    parser.add_argument("--types", metavar="NAMES", help="program types, with commas between them (all)")
    parser.add_argument("--engines", metavar="NAMES", default="interpreter,source", help="engines to compare")
    parser.add_argument("--inputs", metavar="N", type=positive, default=3, help="runs of each program (3)")
    parser.add_argument("--smt", action="store_true", help="let the verifier ask its solver, which takes long")
    parser.add_argument("--planted", metavar="FAULT", help="plant a fault in the workers, to see whether it is found")
    parser.add_argument("--first", action="store_true", help="end with the first fault")
    parser.add_argument("--db", metavar="FILE", type=Path, help="keep the campaign there; go on with one that is there")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write each finding as a test for pytest there")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the report as a measurement there")
    parser.add_argument("--json", action="store_true", help="print one JSON document (schema 1)")


def duration(text: str) -> float:
    """The type of an option that takes a time, in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"not a time: {text!r} (90s, 10m, 1.5h)")
    return float(found[1]) * _UNITS[found[2]]


def run(arguments: argparse.Namespace) -> int:
    """Run a campaign; 0 where no fault was found, 1 where one was, 2 where an option makes no sense."""
    from prevail_py.research.fuzz.batch import Settings
    from prevail_py.research.fuzz.campaign import campaign
    from prevail_py.research.fuzz.cluster import cluster
    from prevail_py.research.fuzz.report import document_of, text_of
    from prevail_py.research.fuzz.reproduce import write_all
    from prevail_py.research.generate import PROGRAM_TYPES

    settings = Settings(
        seed=arguments.seed,
        oracles=tuple(dict.fromkeys(arguments.oracles.split(","))),
        program_types=PROGRAM_TYPES if arguments.types is None else tuple(arguments.types.split(",")),
        engines=tuple(dict.fromkeys(arguments.engines.split(","))),
        inputs=arguments.inputs,
        smt=arguments.smt,
        planted=arguments.planted,
    )
    seconds = 600.0 if arguments.time is None and arguments.programs is None else arguments.time
    try:
        with (
            cluster(arguments.backend, arguments.jobs, arguments.scheduler),
            _progress(seconds, arguments.programs) as progress,
        ):
            report = campaign(
                settings,
                seconds=seconds,
                programs=arguments.programs,
                jobs=arguments.jobs,
                backend=arguments.backend,
                db=arguments.db,
                first=arguments.first,
                progress=progress,
            )
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        if arguments.out is not None:
            write_all(report.findings, arguments.out, settings.seed, settings.planted)
        if arguments.markdown is not None:
            arguments.markdown.write_text(_markdown(report), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    print(json.dumps(document_of(report)) if arguments.json else text_of(report))
    return EXIT_NOT_SAFE if report.faults else EXIT_OK


@contextmanager
def _progress(seconds: float | None, programs: int | None) -> Iterator[Progress | None]:
    """A bar with the numbers on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from prevail_py.research.fuzz.report import summary_of

    text = TextColumn("{task.percentage:.0f} % {task.description}")
    columns = (BarColumn(), TimeElapsedColumn(), text)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def show(report: Report) -> None:
            shares = [report.seconds / seconds] if seconds is not None else []
            shares += [report.programs / programs] if programs is not None else []
            bar.update(task, completed=min(max(shares), 1.0), description=summary_of(report))

        yield show


def _markdown(report: Report) -> str:
    from prevail_py.research.fuzz.report import markdown_of
    from prevail_py.research.oracle_report import commit_text

    command = shlex.join(["prevail-py", *sys.argv[1:]])
    text = f"`{command}` at {commit_text()}, Python {platform.python_version()}, {os.cpu_count()} CPUs."
    return markdown_of(report, "A fuzz campaign", text)
