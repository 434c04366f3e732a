"""Tables of an experiment: what each setting proves and costs, why the rest is not proved, two settings compared."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prevail_py.research.corpora.columns import failure_counts
from prevail_py.research.experiment.grid import KEYS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Difference", "compare", "failures", "select", "summary"]

_SETTING: Final = ["domain", "options"]
_VERDICTS: Final = ("SAFE", "UNSAFE", "UNKNOWN", "UNSUPPORTED")


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Verdicts, time and memory of each setting, in the order of the grid.

    ``other`` counts programs without a verdict (``LIMIT``, ``CRASH``, ``UNREADABLE``).  ``seconds`` is the sum of CPU
    time and ``median ms`` that of a program, over those with a verdict; ``peak MiB`` is the largest resident set.
    """
    import pandas as pd

    lines = []
    for (domain, options), group in rows.groupby(_SETTING, sort=False):
        counts = Counter(group.verdict)
        decided = group[group.verdict.isin(_VERDICTS)]
        lines.append(
            {
                "domain": domain,
                "options": options,
                "programs": len(group),
                **{verdict: counts[verdict] for verdict in _VERDICTS},
                "other": sum(number for verdict, number in counts.items() if verdict not in _VERDICTS),
                "seconds": float(decided.seconds.sum()),
                "median ms": float(1e3 * decided.seconds.median()) if decided.seconds.notna().any() else float("nan"),
                "peak MiB": float(decided.memory.max()) if decided.memory.notna().any() else float("nan"),
            }
        )
    return pd.DataFrame(lines).set_index(_SETTING)


def failures(rows: pd.DataFrame) -> pd.DataFrame:
    """How many assertions of each class are not proved: a row for each setting, a column for each class.

    Classes are the kinds of assertions of ``docs/safety.md``, the most frequent first.
    """
    import pandas as pd

    counts: dict[tuple[str, str], Counter[str]] = {}
    for domain, options, text in zip(rows.domain, rows.options, rows.failures, strict=True):
        counter = counts.setdefault((domain, options), Counter())
        counter.update(failure_counts(None if pd.isna(text) else text))
    total = sum(counts.values(), Counter())
    columns = sorted(total, key=lambda name: (-total[name], name))
    table = [[counter[name] for name in columns] for counter in counts.values()]
    index = pd.MultiIndex.from_tuples(list(counts), names=_SETTING)
    return pd.DataFrame(table, index=index, columns=columns, dtype="int64")


def select(rows: pd.DataFrame, domain: str | None = None, options: str | None = None) -> pd.DataFrame:
    """The rows of one setting.  Raises ValueError where that is none, or more than one."""
    chosen = rows
    for column, value in (("domain", domain), ("options", options)):
        if value is not None:
            chosen = chosen[chosen[column] == value]
    settings = list(dict.fromkeys(zip(chosen.domain, chosen.options, strict=True)))
    if len(settings) != 1:
        wanted = f"domain={domain!r}, options={options!r}"
        raise ValueError(f"{wanted}: {len(settings)} settings instead of one: {settings}")
    return chosen


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes from one run to another.

    ``programs``: a row for each program that both have, by corpus, object and program, with ``before``, ``after`` (the
    verdicts), ``seconds_before``, ``seconds_after`` and ``ratio`` (of CPU times, after to before).  ``only_before`` and
    ``only_after`` name the programs that one run lacks.
    """

    programs: pd.DataFrame
    only_before: tuple[tuple[str, ...], ...]
    only_after: tuple[tuple[str, ...], ...]

    @property
    def changed(self) -> pd.DataFrame:
        """The programs with another verdict."""
        return self.programs[self.programs.before != self.programs.after]

    @property
    def ratio(self) -> float:
        """The median over programs of CPU time after to before; not a number where nothing can be compared."""
        return float(self.programs.ratio.median()) if self.programs.ratio.notna().any() else float("nan")

    def counts(self) -> pd.DataFrame:
        """How many programs go from which verdict (rows) to which (columns)."""
        return self.programs.groupby(["before", "after"]).size().unstack(fill_value=0)


def compare(before: pd.DataFrame, after: pd.DataFrame) -> Difference:
    """Compare two runs, or two settings of a grid (:func:`select`), program by program.

    Raises ValueError where one of them has a program twice: then it is more than one setting.
    """
    import pandas as pd

    for name, rows in (("before", before), ("after", after)):
        if rows.duplicated(list(KEYS)).any():
            raise ValueError(f"{name}: a program has several rows; choose one setting by select()")
    columns = [*KEYS, "verdict", "seconds"]
    both = before[columns].merge(after[columns], on=list(KEYS), how="outer", indicator=True, suffixes=("_x", "_y"))
    lacks = {
        side: tuple(tuple(map(str, key)) for key in both[both._merge == side][list(KEYS)].itertuples(index=False))
        for side in ("left_only", "right_only")
    }
    shared = both[both._merge == "both"]
    seconds: Any = pd.to_numeric(shared.seconds_x)
    programs = pd.DataFrame(
        {
            **{key: shared[key] for key in KEYS},
            "before": shared.verdict_x,
            "after": shared.verdict_y,
            "seconds_before": shared.seconds_x,
            "seconds_after": shared.seconds_y,
            "ratio": (shared.seconds_y / seconds.where(seconds > 0)).astype("Float64"),
        }
    ).set_index(list(KEYS))
    return Difference(programs, lacks["left_only"], lacks["right_only"])
