"""The verifier: from a program to a verdict, by abstract interpretation."""

from prevail_py.verifier.analysis import BUDGET, DISJUNCTS, verify
from prevail_py.verifier.verdict import Failure, Invariants, Verdict, VerdictKind

__all__ = ["BUDGET", "DISJUNCTS", "Failure", "Invariants", "Verdict", "VerdictKind", "verify"]
