"""What the independent checker says of a verdict."""

from __future__ import annotations

from prevail_py.checker import check as checker
from prevail_py.checker.certificate import read
from prevail_py.checker.check import Answer
from prevail_py.verifier.certificate import document
from prevail_py.verifier.verdict import Verdict

__all__ = ["judged"]


def judged(verdict: Verdict) -> Answer:
    """The answer to the certificate of a SAFE verdict, after it was written and read again.

    Raises ValueError where there is no certificate, and where it cannot be read
    :class:`~prevail_py.checker.certificate.CertificateError`, which is one.
    """
    (certificate,) = read(document([verdict.certificate()]))
    return checker.check(verdict.program, certificate)
