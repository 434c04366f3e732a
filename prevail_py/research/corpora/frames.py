"""Runs as documents and DataFrames, and what changed from one run to another.

A run is a JSON document (``{"schema": 1, "about": ..., "rows": [...]}``) or a parquet file with the same rows and
``about`` in its metadata.  :func:`frame` gives a DataFrame with the columns of
:data:`~prevail_py.research.corpora.columns.COLUMNS`, which is what notebooks want::

    rows = frame(read("run.json"))
    rows[rows.kernel == "accept"].groupby("corpus").verdict.value_counts()
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from prevail_py.research.corpora.cache import CorpusError, write_whole
from prevail_py.research.corpora.columns import COLUMNS, Row, complete
from prevail_py.research.corpora.runs import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare", "frame", "read", "write_json", "write_parquet"]

_SCHEMA: Final = 1
_METADATA: Final = b"prevail_py"
_DTYPES: Final = {str: "string", int: "Int64", float: "Float64"}


def frame(run: Run) -> pd.DataFrame:
    """The rows as a DataFrame with nullable column types.  Raises :class:`CorpusError` without pandas."""
    pandas = _need("pandas")
    columns = {
        name: pandas.array([row[name] for row in run.rows], dtype=_DTYPES[kind]) for name, kind in COLUMNS.items()
    }
    return pandas.DataFrame(columns)


def write_json(run: Run, path: Path) -> None:
    """Write the document; the same run gives the same bytes."""
    document = {"schema": _SCHEMA, "about": run.about, "rows": run.rows}
    write_whole(path, json.dumps(document, indent=1).encode() + b"\n")


def write_parquet(run: Run, path: Path) -> None:
    """Write a parquet file.  Raises :class:`CorpusError` without pandas and pyarrow."""
    pyarrow = _need("pyarrow")
    from pyarrow import parquet

    table = pyarrow.Table.from_pandas(frame(run), preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA: json.dumps(run.about).encode()})
    try:
        parquet.write_table(table, path)
    except OSError as error:
        raise CorpusError(f"{path}: {error}") from error


def read(path: str | Path) -> Run:
    """Read a run that was written by either.  Raises :class:`CorpusError`."""
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path)
        document = json.loads(path.read_bytes())
        if document.get("schema") != _SCHEMA:
            raise CorpusError(f"{path}: schema {document.get('schema')!r} is not {_SCHEMA}")
        return Run([complete(row) for row in document["rows"]], document["about"])
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror or error}") from error
    except CorpusError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path}: not a run: {error}") from error


def _read_parquet(path: Path) -> Run:
    _need("pyarrow")
    from pyarrow import parquet

    table = parquet.read_table(path)
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    if _METADATA not in metadata:
        raise CorpusError(f"{path}: not written by `prevail-py corpus run`")
    return Run([complete(row) for row in table.to_pylist()], json.loads(metadata[_METADATA]))


def _need(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise CorpusError(f"{module}: not installed (pip install 'prevail-py[research]')") from None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed between two runs, by (corpus, object, program).

    ``changes`` counts (verdict before, verdict after); ``changed`` lists the programs with both rows, ``only_first``
    and ``only_second`` those that one run lacks.  ``time_ratio`` is the median over programs of CPU seconds after to
    before, None where nothing can be compared.
    """

    changes: Counter[tuple[str, str]]
    changed: list[tuple[Row, Row]]
    only_first: list[Row]
    only_second: list[Row]
    time_ratio: float | None

    @property
    def lost(self) -> list[tuple[Row, Row]]:
        """The programs that were SAFE and no longer are."""
        return [pair for pair in self.changed if pair[0]["verdict"] == "SAFE"]


def compare(first: Run, second: Run) -> Comparison:
    """Compare two runs program by program."""
    before, after = _by_name(first.rows), _by_name(second.rows)
    both = [(before[name], after[name]) for name in before if name in after]
    changed = [pair for pair in both if pair[0]["verdict"] != pair[1]["verdict"]]
    ratios = [new["seconds"] / old["seconds"] for old, new in both if old["seconds"] and new["seconds"] is not None]
    return Comparison(
        Counter((old["verdict"], new["verdict"]) for old, new in changed),
        changed,
        [row for name, row in before.items() if name not in after],
        [row for name, row in after.items() if name not in before],
        median(ratios) if ratios else None,
    )


def _by_name(rows: Sequence[Row]) -> dict[tuple[str, str, str], Row]:
    return {(row["corpus"], row["object"], row["program"]): row for row in rows}
