"""``prevail-py corpus``: sets of objects, fetched, verified in parallel, compared and laid out as tables."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prevail_py.cli.support import (
    EXIT_NOT_SAFE,
    EXIT_OK,
    InputError,
    add_policy_argument,
    positive,
    print_table,
    track,
    write_output,
)

if TYPE_CHECKING:
    from prevail_py.research.corpora.runs import Run
    from prevail_py.research.corpora.sources import Collection
    from prevail_py.research.corpora.tables import Section

NAME = "corpus"
HELP = "fetch sets of object files, verify them, compare runs"

T = TypeVar("T")
_COLOURS = {"SAFE": "green", "UNKNOWN": "yellow", "UNSUPPORTED": "dim", "NO": "bold red", "yes": "green"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands of ``corpus`` and their options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--cache", metavar="DIR", help="where everything is kept (~/.cache/prevail-py)")
    shared.add_argument("--registry", metavar="FILE", action="append", default=[], help="more corpora, as TOML")
    jobs = argparse.ArgumentParser(add_help=False)
    jobs.add_argument("--jobs", metavar="N", type=positive, default=1, help="how many at a time (1)")
    commands = parser.add_subparsers(metavar="WHAT", required=True, dest="what")

    commands.add_parser("list", parents=[shared], help="the corpora there are")
    fetch = commands.add_parser("fetch", parents=[shared, jobs], help="bring the objects of corpora to this machine")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a corpus, or a directory")

    run_ = commands.add_parser("run", parents=[shared, jobs], help="verify corpora")
    run_.add_argument("names", nargs="+", metavar="NAME", help="a corpus, or a directory")
    run_.add_argument("--domain", metavar="NAME", help="the abstract domain")
    run_.add_argument("--disjuncts", metavar="N", type=positive, help="states kept apart per block")
    run_.add_argument("--budget", metavar="N", type=positive, help="abstract steps of one attempt at most")
    run_.add_argument(
        "--no-smt", dest="smt", action="store_false", default=None, help="do not ask the solver what domains leave open"
    )
    add_policy_argument(run_)
    run_.add_argument("--backend", metavar="NAME", help="a backend of joblib: loky, threading, dask, ray, ...")
    run_.add_argument("--limit", metavar="SECONDS", type=float, help="wall time for each program at most (120)")
    run_.add_argument("--no-kernel", action="store_true", help="do not ask the running kernel")
    run_.add_argument("--fresh", action="store_true", help="verify again what is known already")
    run_.add_argument("--json", metavar="FILE", help="write the run as JSON; - is standard output")
    run_.add_argument("--parquet", metavar="FILE", help="write the run as a parquet file")

    oracle = commands.add_parser("oracle", parents=[shared, jobs], help="run what is SAFE, check every step")
    oracle.add_argument("names", nargs="+", metavar="NAME", help="a corpus, or a directory")
    oracle.add_argument("--runs", metavar="N", type=positive, default=30, help="random runs of each program (30)")
    oracle.add_argument("--steered", metavar="N", type=positive, default=20, help="steered runs at most (20)")
    oracle.add_argument("--limit", metavar="SECONDS", type=float, default=30.0, help="wall time for each program (30)")
    oracle.add_argument("--markdown", metavar="FILE", help="write the report as Markdown")

    compare = commands.add_parser("compare", parents=[shared], help="what changed from one run to another")
    compare.add_argument("first", metavar="RUN1", help="a file that `corpus run` wrote")
    compare.add_argument("second", metavar="RUN2", help="another one")

    speed = commands.add_parser("speed", parents=[shared], help="how long verification takes, beside the kernel")
    speed.add_argument("run_file", metavar="RUN", help="a file that `corpus run --fresh` wrote, with one job")
    speed.add_argument(
        "--also", metavar="NAME=RUN", action="append", default=[], help="give the throughput of another run, too"
    )
    speed.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")

    table = commands.add_parser("table", parents=[shared], help="agreement and disagreement, with causes")
    table.add_argument("run_file", metavar="RUN", help="a file that `corpus run` wrote")
    table.add_argument("--lax", metavar="RUN", help="the same run under a laxer policy, to tell policy from precision")
    table.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown")
    table.add_argument("--title", default="Corpora", help="the title of the Markdown")
    table.add_argument("--check", action="store_true", help="1 where a bar is not met")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for: ``run`` and ``compare`` give 1 where a program that was SAFE is not, or should not be."""
    with _corpus_errors():
        match arguments.what:
            case "list":
                return _list(arguments)
            case "fetch":
                return _fetch(arguments)
            case "run":
                return _run(arguments)
            case "oracle":
                return _oracle(arguments)
            case "speed":
                return _speed(arguments)
            case "compare":
                return _compare(arguments)
            case _:
                return _table(arguments)


@contextmanager
def _corpus_errors() -> Iterator[None]:
    from prevail_py.research.corpora.cache import CorpusError

    try:
        yield
    except CorpusError as error:
        raise InputError(str(error)) from error


def _list(arguments: argparse.Namespace) -> int:
    from prevail_py._render import Table
    from prevail_py.research.corpora.registry import registry

    rows = tuple((corpus.name, corpus.kind, corpus.description) for corpus in registry(arguments.registry).values())
    print_table(Table(("corpus", "kind", "what it is"), rows))
    return EXIT_OK


def _collections(arguments: argparse.Namespace) -> list[Collection]:
    from prevail_py.research.corpora.cache import cache_directory
    from prevail_py.research.corpora.registry import find, registry
    from prevail_py.research.corpora.sources import fetch

    known = registry(arguments.registry)
    corpora = [find(name, known) for name in dict.fromkeys(arguments.names)]
    cache = cache_directory(arguments.cache)

    def progress(items: Sequence[Path]) -> Iterable[Path]:
        return track(items, "compiling")

    return [fetch(corpus, cache, arguments.jobs, progress) for corpus in corpora]


def _fetch(arguments: argparse.Namespace) -> int:
    for collection in _collections(arguments):
        print(f"{collection.corpus.name}: {len(collection.items)} objects ({collection.provenance})")
        for name, reason in collection.missing.items():
            print(f"  without {name}: {reason}")
    return EXIT_OK


def _run(arguments: argparse.Namespace) -> int:
    from prevail_py.domains import facts
    from prevail_py.research.corpora.cache import cache_directory
    from prevail_py.research.corpora.frames import write_json, write_parquet
    from prevail_py.research.corpora.runs import WALL_LIMIT, Options, execute

    if arguments.domain is not None:
        try:
            facts(arguments.domain)
        except ValueError as error:
            raise InputError(f"--domain: {error}") from error
    verifier = {
        name: value
        for name in ("domain", "disjuncts", "budget", "smt", "policy")
        if (value := getattr(arguments, name)) is not None
    }
    options = Options(verifier, not arguments.no_kernel, arguments.limit or WALL_LIMIT, arguments.fresh)
    collections = _collections(arguments)
    run = execute(collections, cache_directory(arguments.cache), options, arguments.jobs, arguments.backend, _tracked)
    if arguments.json == "-":
        import json

        write_output(None, json.dumps({"schema": 1, "about": run.about, "rows": run.rows}) + "\n")
    else:
        if arguments.json:
            write_json(run, Path(arguments.json))
        _summarise(run)
    if arguments.parquet:
        write_parquet(run, Path(arguments.parquet))
    from prevail_py.research.corpora.tables import suspects

    suspected = suspects(run.rows)
    for row in suspected:
        print(f"prevail-py: suspected unsoundness: {row['object']}/{row['program']} is SAFE", file=sys.stderr)
    return EXIT_NOT_SAFE if suspected else EXIT_OK


def _summarise(run: Run) -> None:
    from prevail_py.research.corpora.tables import sections

    for part in sections(run):
        if part.title in ("Verdicts", "Bars") and part.table is not None:
            print(f"{part.title}\n")
            print_table(part.table, colours=_COLOURS)
            print()


def _tracked(items: Iterable[T], total: int) -> Iterator[T]:
    """``items``, with a progress bar where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("verifying", total=total)
        for item in items:
            yield item
            progress.advance(task)


def _print(parts: Iterable[Section]) -> None:
    for part in parts:
        print(f"{part.title}\n" + (f"{part.text}\n" if part.text else ""))
        if part.table is not None:
            print_table(part.table, colours=_COLOURS)
            print()


def _speed(arguments: argparse.Namespace) -> int:
    from prevail_py.research.corpora.frames import read
    from prevail_py.research.corpora.speed import speed_sections
    from prevail_py.research.corpora.tables import markdown

    run = read(arguments.run_file)
    named = [each.partition("=") for each in arguments.also]
    if any(not name or not file for name, _, file in named):
        raise InputError("--also: expected NAME=RUN")
    parts = speed_sections(run, {name: read(file) for name, _, file in named})
    if arguments.markdown:
        also = "".join(f' --also "{name}={os.path.basename(file)}"' for name, _, file in named)
        command = f"prevail-py corpus speed {os.path.basename(arguments.run_file)}{also}"
        write_output(arguments.markdown, markdown("Speed of the verifier on corpora", run, parts, command))
    else:
        _print(parts)
    return EXIT_OK


def _oracle(arguments: argparse.Namespace) -> int:
    from prevail_py.research.corpora.cache import cache_directory
    from prevail_py.research.corpora.oracles import Effort, examine_all, oracle_sections, violations_of
    from prevail_py.research.corpora.tables import markdown

    effort = Effort(arguments.runs, arguments.steered, arguments.limit)
    collections = _collections(arguments)
    run = examine_all(collections, cache_directory(arguments.cache), effort, arguments.jobs, progress=_tracked)
    parts = oracle_sections(run)
    if arguments.markdown:
        command = (
            f"prevail-py corpus oracle {' '.join(arguments.names)} --runs {effort.runs} --steered {effort.steered}"
        )
        title = "The oracle of soundness over corpora"
        write_output(arguments.markdown, markdown(title, run, parts, command))
    _print(parts)
    return EXIT_NOT_SAFE if violations_of(run) else EXIT_OK


def _compare(arguments: argparse.Namespace) -> int:
    from prevail_py._render import Table
    from prevail_py.research.corpora.frames import compare, read

    found = compare(read(arguments.first), read(arguments.second))
    rows: list[tuple[str, ...]] = [
        (before["corpus"], before["object"], before["program"], before["verdict"], after["verdict"], _why(after))
        for before, after in found.changed
    ]
    if rows:
        print_table(Table(("corpus", "object", "program", "before", "after", "why"), tuple(rows)), colours=_COLOURS)
        print()
    changes = ", ".join(f"{n} {old} -> {new}" for (old, new), n in sorted(found.changes.items())) or "none"
    print(f"changed verdicts: {changes}")
    print(f"programs only in {arguments.first}: {len(found.only_first)}; only in {arguments.second}: "
          f"{len(found.only_second)}")  # fmt: skip
    if found.time_ratio is not None:
        print(f"CPU time, median of the ratios after / before: {found.time_ratio:.2f}")
    return EXIT_NOT_SAFE if found.lost else EXIT_OK


def _why(row: dict[str, Any]) -> str:
    return str(row["failure"] or row["reason"] or "")


def _table(arguments: argparse.Namespace) -> int:
    from prevail_py.research.corpora.frames import read
    from prevail_py.research.corpora.tables import bars, markdown, sections

    run = read(arguments.run_file)
    lax = None if arguments.lax is None else read(arguments.lax)
    parts = sections(run, lax)
    if arguments.markdown:
        command = f"prevail-py corpus table {os.path.basename(arguments.run_file)}"
        if lax is not None:
            command += f" --lax {os.path.basename(arguments.lax)}"
        write_output(arguments.markdown, markdown(arguments.title, run, parts, command))
    else:
        _print(parts)
    missed = [bar for bar in bars(run, lax) if not bar.met]
    for bar in missed:
        print(f"prevail-py: bar not met: {bar.name}: {bar.value} ({bar.bar})", file=sys.stderr)
    return EXIT_NOT_SAFE if arguments.check and missed else EXIT_OK
