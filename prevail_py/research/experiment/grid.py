"""The grid: each program of each corpus, verified in each domain with each set of options; a row for each.

Rows are those of :mod:`prevail_py.research.corpora`, and they are kept where its rows are, by the bytes of the object,
the setting and the sources of the verifier, so a grid that grows by a domain verifies for that domain only.
"""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from prevail_py.research.corpora.cache import cache_directory
from prevail_py.research.corpora.frames import frame
from prevail_py.research.corpora.own_domains import own_domains
from prevail_py.research.corpora.registry import find, registry
from prevail_py.research.corpora.runs import WALL_LIMIT, Options, Progress, execute
from prevail_py.research.corpora.sources import Collection, fetch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KEYS", "grid", "sample"]

KEYS: Final = ("corpus", "object", "program")
"""The columns that name a program."""


def grid(
    domains: Sequence[str],
    corpora: Sequence[str | Collection],
    options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    jobs: int = 1,
    backend: str | None = None,
    kernel: bool = False,
    fresh: bool = False,
    limit: float = WALL_LIMIT,
    cache: str | os.PathLike[str] | None = None,
    registries: Iterable[str | os.PathLike[str]] = (),
    progress: Progress = lambda items, total: items,
) -> pd.DataFrame:
    """Verify all programs of ``corpora`` in all settings: one row for each program and setting.

    ``domains`` are names as :func:`prevail_py.domains.facts` knows them, of registered domains too. ``corpora`` are
    names of the registry, directories, or collections (:func:`sample`).  ``options`` are arguments of
    :func:`prevail_py.verify` under a name of one's own; without it there is one set, called ``default``, with none.

    The columns are ``domain`` and ``options``, then those of a run (``docs/corpora.md``); ``seconds`` is CPU time,
    ``memory`` the peak of the resident set in MiB.  ``attrs["about"]`` says for each domain and set of options what the
    rows depend on.  Rows come in the order of the settings, then of the programs, whatever the number of ``jobs``.
    Times of kept rows are those of when they were made; ``fresh`` measures anew.

    Raises ValueError for an unknown domain or option and for a setting that is named twice,
    :class:`~prevail_py.research.corpora.cache.CorpusError` where a corpus or a library cannot be had.
    """
    import pandas as pd

    options = {"default": {}} if options is None else options
    for name, arguments in options.items():
        if unknown := arguments.keys() - _ARGUMENTS:
            raise ValueError(f"options {name!r}: verify has no argument {min(unknown)!r} ({', '.join(_ARGUMENTS)})")
    if len(set(domains)) != len(domains):
        raise ValueError(f"a domain is named twice: {', '.join(domains)}")
    if not domains or not options or not corpora:
        raise ValueError("an empty grid: there should be a domain, a corpus and a set of options")
    own = {domain: own_domains(domain) for domain in domains}
    folder = cache_directory(cache)
    known = registry(registries)
    collections = [each if isinstance(each, Collection) else fetch(find(each, known), folder, jobs) for each in corpora]
    frames, about = [], {}
    for domain in domains:
        for name, arguments in options.items():
            setting = Options({"domain": domain, **arguments}, kernel, limit, fresh, own[domain])
            run = execute(collections, folder, setting, jobs, backend, progress)
            rows = frame(run)
            rows.insert(0, "domain", pd.array([domain] * len(rows), dtype="string"))
            rows.insert(1, "options", pd.array([name] * len(rows), dtype="string"))
            frames.append(rows)
            about[f"{domain}, {name}"] = run.about
    found = pd.concat(frames, ignore_index=True)
    found.attrs["about"] = about
    return found


def sample(corpus: str | Collection, count: int, seed: int = 0, **where: Any) -> Collection:
    """A collection of ``count`` objects of a corpus, or all where there are fewer, drawn by ``seed``.

    ``where`` may give ``cache`` and ``registries``, as for :func:`grid`.  Raises what :func:`grid` raises.
    """
    if isinstance(corpus, str):
        folder = cache_directory(where.pop("cache", None))
        corpus = fetch(find(corpus, registry(where.pop("registries", ()))), folder)
    if where:
        raise TypeError(f"no such argument: {min(where)}")
    chosen = random.Random(seed).sample(corpus.items, min(count, len(corpus.items)))
    items = tuple(sorted(chosen, key=lambda item: item.name))
    text = f"{len(items)} of {len(corpus.items)} objects of: {corpus.provenance}, seed {seed}"
    return replace(corpus, items=items, provenance=text)


def _arguments() -> tuple[str, ...]:
    from prevail_py.verifier import verify

    return tuple(name for name in inspect.signature(verify).parameters if name not in ("program", "domain"))


_ARGUMENTS: Final = _arguments()
