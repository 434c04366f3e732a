"""Run the verifier over corpora: a row for each program, in parallel, and only where nothing is known yet.

Rows are kept in the cache for each object, by the bytes of the object, the options and the sources of the verifier,
so a run that was interrupted goes on where it stopped.  What the kernel and ``prevail`` say is kept apart from that.
Whatever the number of jobs, rows come in the order of corpora, objects and programs.
"""

from __future__ import annotations

import json
import os
import platform as host
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import prevail_py
from prevail_py.objects.errors import ObjectError
from prevail_py.research.corpora.cache import CorpusError, digest, write_whole
from prevail_py.research.corpora.columns import NOT_A_VERDICT, Row, complete
from prevail_py.research.corpora.examiner import Examiner
from prevail_py.research.corpora.own_domains import OwnDomain
from prevail_py.research.corpora.peer import Peer
from prevail_py.research.corpora.selftests import TYPES
from prevail_py.research.corpora.sources import RECIPE, Collection, Item, open_item

__all__ = [
    "ORACLE",
    "WALL_LIMIT",
    "Options",
    "Progress",
    "Run",
    "about",
    "examiner",
    "execute",
    "fingerprint",
    "kept",
    "on_each",
]

Progress: TypeAlias = Callable[[Iterable[list[Row]], int], Iterable[list[Row]]]
"""Passes on the rows of objects as they are done; it knows how many objects there are."""

WALL_LIMIT: Final = 120.0
"""Seconds of wall time after which a program's analysis is given up: a safety net far above the verifier's budgets."""

_ROOT: Final = Path(prevail_py.__file__).parent
_LOADER: Final = ("words.py", "isa", "platforms", "objects")
_VERIFIER: Final = (
    *_LOADER,
    "cfg",
    "domains",
    "verifier",
    "research/corpora/examiner.py",
    "research/corpora/expectations.py",
    "research/corpora/features.py",
)
_KERNEL: Final = (*_LOADER, "vm/kernel")
ORACLE: Final = (*_VERIFIER, "vm", "research/oracle.py", "research/concolic.py", "research/packets.py")
"""The sources that decide what the oracle sees."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.  ``verifier`` holds arguments of :func:`prevail_py.verifier.verify`.

    ``kernel``: ask the running kernel as well.  ``fresh``: use no kept rows of the verifier, as where times matter.
    ``domains``: those that the domain is made of and that the package does not have.
    """

    verifier: Mapping[str, Any] = field(default_factory=dict)
    kernel: bool = True
    limit: float = WALL_LIMIT
    fresh: bool = False
    domains: tuple[OwnDomain, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """The rows of one run, and what they depend on: ``about`` is ready for JSON."""

    rows: list[Row]
    about: dict[str, Any]


def execute(
    collections: Sequence[Collection],
    cache_folder: Path,
    options: Options = Options(),
    jobs: int = 1,
    backend: str | None = None,
    progress: Progress = lambda items, total: items,
) -> Run:
    """Verify all programs of ``collections``.  ``progress`` passes on objects as they are done; it knows how many.

    ``jobs`` and ``backend`` are those of joblib, which is not needed for one job.  Raises :class:`CorpusError`.
    """
    tasks = [(collection.corpus.name, item) for collection in collections for item in collection.items]
    arguments = [(corpus, item, str(cache_folder), options) for corpus, item in tasks]
    rows = on_each(_examined, arguments, jobs, backend, progress)
    return Run(rows, about(collections, options))


def on_each(
    function: Callable[..., list[Row]],
    arguments: Sequence[tuple[Any, ...]],
    jobs: int = 1,
    backend: str | None = None,
    progress: Progress = lambda items, total: items,
) -> list[Row]:
    """The rows that ``function`` gives for each of ``arguments``, in their order, whoever computes them."""
    results = (
        (function(*each) for each in arguments)
        if jobs == 1 and backend is None
        else _parallel(function, arguments, jobs, backend)
    )
    try:
        return [row for each in progress(results, len(arguments)) for row in each]
    finally:
        _close()


def _parallel(
    function: Callable[..., list[Row]], arguments: Sequence[tuple[Any, ...]], jobs: int, backend: str | None
) -> Iterable[list[Row]]:
    try:
        from joblib import Parallel, delayed, parallel_config
    except ImportError:
        raise CorpusError("joblib: not installed; several jobs need it (pip install 'prevail-py[research]')") from None

    calls = [delayed(function)(*each) for each in arguments]
    if backend is None:
        found: Iterable[list[Row]] = Parallel(n_jobs=jobs, return_as="generator")(calls)
        return found
    try:
        with parallel_config(backend=backend):
            return list(Parallel(n_jobs=jobs)(calls))
    except (ValueError, ImportError) as error:
        raise CorpusError(f"joblib's backend {backend}: {error}") from error


_examiners: dict[tuple[int, int], Examiner] = {}
"""The child of each thread of this process; a process that was forked off must not use those of its parent."""


def examiner(limit: float) -> Examiner:
    """The child of this thread of this process."""
    found = _examiners.setdefault((os.getpid(), threading.get_ident()), Examiner(limit))
    found.limit = limit
    return found


def _close() -> None:
    """End the children of this process; those of other processes end with them, when their input ends."""
    for process, thread in list(_examiners):
        if process == os.getpid():
            _examiners.pop((process, thread)).close()


def _examined(corpus: str, item: Item, cache_folder: str, options: Options) -> list[Row]:
    """The rows of one object."""
    folder = Path(cache_folder) / "results"
    try:
        data = item.path.read_bytes()
    except OSError as error:
        return [complete(_name(corpus, item, "") | {"verdict": "UNREADABLE", "reason": str(error.strerror)})]
    content = sha256(data).hexdigest()
    types = item.path.with_suffix(TYPES)
    loaded = digest(content, types.read_bytes()) if types.is_file() else content
    key = digest(loaded, _name_of(options), fingerprint())
    rows = kept(folder / "verdicts" / f"{key}.json", lambda: _verdicts(item, options), options.fresh)
    kernel = (
        kept(
            folder / "kernel" / f"{digest(loaded, _kernel_name(), fingerprint(_KERNEL))}.json",
            lambda: _kernel_answers(item),
            not options.kernel,
        )
        if options.kernel
        else []
    )
    peer = Peer.on_path()
    prevail = (
        []
        if peer is None or item.path.suffix == RECIPE
        else kept(
            folder / "prevail" / f"{digest(content, peer.version)}.json", lambda: peer.verdicts(item.path, rows), False
        )
    )
    others: dict[str, Row] = {}
    for each in (*kernel, *prevail):
        others.setdefault(each["program"], {}).update(each)
    known = {} if item.safe is None else {"expected": "success" if item.safe else "failure"}
    return [
        complete(
            _name(corpus, item, row["program"]) | known | row | others.get(row["program"], {}) | {"sha256": content}
        )
        for row in rows
    ]


def _name(corpus: str, item: Item, program: str) -> Row:
    return {"corpus": corpus, "object": item.name, "program": program}


def _name_of(options: Options) -> str:
    own = "".join(f" {domain.name} {domain.digest}" for domain in options.domains)
    return json.dumps(dict(options.verifier), sort_keys=True) + own


def kept(path: Path, make: Callable[[], list[Row]], fresh: bool) -> list[Row]:
    """What the cache holds, or what ``make`` gives; rows without a verdict are not kept: they depend on the moment."""
    if not fresh and path.is_file():
        try:
            found: list[Row] = json.loads(path.read_bytes())
            return found
        except ValueError:
            path.unlink()
    rows = make()
    if not any(row.get("verdict") in NOT_A_VERDICT for row in rows):
        write_whole(path, json.dumps(rows).encode())
    return rows


def _verdicts(item: Item, options: Options) -> list[Row]:
    child = examiner(options.limit)
    rows = child.programs(item.path)
    return [
        row | child.verdict(item.path, row["program"], options.verifier, options.domains) if row["program"] else row
        for row in rows
    ]


def _kernel_answers(item: Item) -> list[Row]:
    from prevail_py.vm.kernel.engine import Session

    try:
        loaded = open_item(item.path)
    except ObjectError:
        return []
    rows = []
    with Session() as session:
        for name, program in loaded.programs.items():
            answer = session.ask(program, generated=item.path.suffix == RECIPE)
            rows.append(
                {
                    "program": name,
                    "kernel": answer.kind.value,
                    "kernel_reason": answer.reason,
                    "kernel_instructions": answer.instructions_processed,
                    "kernel_seconds": answer.verification_seconds,
                }
            )
    return rows


@cache
def fingerprint(parts: tuple[str, ...] = _VERIFIER) -> str:
    """A digest of the sources (and tables) of ``parts`` of the package: by default of all that decides a verdict."""
    files = sorted(
        path
        for part in parts
        for path in ([_ROOT / part] if part.endswith(".py") else (_ROOT / part).rglob("*"))
        if path.suffix in (".py", ".json")
    )
    return digest(*(item for path in files for item in (str(path.relative_to(_ROOT)), path.read_bytes())))


def _kernel_name() -> str:
    return f"{host.release()} {host.version()} {host.machine()}"


def about(collections: Sequence[Collection], options: Options) -> dict[str, Any]:
    """What a run over ``collections`` depends on, ready for JSON."""
    return {
        "version": prevail_py.__version__,
        "commit": _commit(),
        "verifier": fingerprint()[:16],
        "options": {
            **asdict(replace(options, domains=())),
            "domains": {domain.name: domain.digest for domain in options.domains},
        },
        "kernel": host.release() if options.kernel else None,
        "machine": f"{host.machine()}, {os.cpu_count()} CPUs, Python {host.python_version()}",
        "corpora": {
            collection.corpus.name: {
                "description": collection.corpus.description,
                "provenance": collection.provenance,
                "objects": len(collection.items),
                "missing": collection.missing,
            }
            for collection in collections
        },
    }


def _commit() -> str | None:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
