"""Experiments: a grid of domains, corpora and options, as a DataFrame, with the tables and plots that papers want.

    rows = grid(["interval", "interval*tnum*zones"], ["examples"], {"one state": {"disjuncts": 1}}, jobs=2)
    summary(rows)
    cactus(rows).save("cactus.png")

- :mod:`~prevail_py.research.experiment.grid`: verify every program in every setting; what is known is not done again
- :mod:`~prevail_py.research.experiment.tables`: verdicts, time and memory by setting; failures by class; comparison
- :mod:`~prevail_py.research.experiment.plots`: cactus plots, precision against time, two settings program by program

Needs ``pip install 'prevail-py[research]'``.
"""

from prevail_py.research.experiment.grid import KEYS, grid, sample
from prevail_py.research.experiment.plots import Picture, cactus, precision_and_time, versus
from prevail_py.research.experiment.tables import Difference, compare, failures, select, summary

__all__ = [
    "KEYS",
    "Difference",
    "Picture",
    "cactus",
    "compare",
    "failures",
    "grid",
    "precision_and_time",
    "sample",
    "select",
    "summary",
    "versus",
]
