"""Fuzz campaigns against the verifier, the engines and the checker of certificates (``docs/fuzzing.md``).

:func:`campaign` makes programs (:mod:`prevail_py.research.generate`), lets four oracles look at each
(:mod:`~prevail_py.research.fuzz.oracles`), keeps those that made the verifier do something new
(:mod:`~prevail_py.research.fuzz.coverage`) and makes others of them.  The modules, from the bottom up: ``case``,
``coverage``, ``mutation``, ``oracles``, ``minimise``, ``planting``, ``batch``, ``store``, ``campaign``.
"""

from __future__ import annotations

from prevail_py.research.fuzz.batch import Settings
from prevail_py.research.fuzz.campaign import Report, campaign
from prevail_py.research.fuzz.oracles import ORACLES, Effort, Problem, problems
from prevail_py.research.fuzz.planting import planting
from prevail_py.research.fuzz.store import Finding, StoreError

__all__ = [
    "ORACLES",
    "Effort",
    "Finding",
    "Problem",
    "Report",
    "Settings",
    "StoreError",
    "campaign",
    "planting",
    "problems",
]
