"""Other solvers than Z3, by SMT-LIB text: a second opinion on a query.

:func:`decide` hands the text of one query to a solver by name and gives its answer.  cvc5 and bitwuzla are extras
(``pip install 'prevail-py[solvers]'``); bitwuzla reads bit vectors only.

>>> decide("(declare-const x (_ BitVec 8)) (assert (= (bvmul x #x03) #x07)) (check-sat)", "z3")
'sat'
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

__all__ = ["SAT", "SOLVERS", "UNKNOWN", "UNSAT", "SolverError", "available", "decide"]

SAT: Final = "sat"
UNSAT: Final = "unsat"
UNKNOWN: Final = "unknown"


class SolverError(Exception):
    """There is no such solver, it is not installed, or it cannot read the query."""


def _z3(query: str, milliseconds: int | None) -> str:
    import z3

    solver = z3.Solver()
    if milliseconds is not None:
        solver.set("timeout", milliseconds)
    try:
        solver.from_string(query)
    except z3.Z3Exception as error:
        raise SolverError(f"z3: {error}") from error
    return str(solver.check())


def _cvc5(query: str, milliseconds: int | None) -> str:
    import cvc5

    solver = cvc5.Solver(cvc5.TermManager())
    if milliseconds is not None:
        solver.setOption("tlimit-per", str(milliseconds))
    parser = cvc5.InputParser(solver)
    answer = UNKNOWN
    try:
        parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, query, "query")
        symbols = parser.getSymbolManager()
        while not (command := parser.nextCommand()).isNull():
            printed = str(command.invoke(solver, symbols)).strip()
            if printed.startswith("(error"):
                raise SolverError(f"cvc5: {printed}")
            answer = printed or answer
    except RuntimeError as error:
        raise SolverError(f"cvc5: {error}") from error
    return answer if answer in (SAT, UNSAT) else UNKNOWN


def _bitwuzla(query: str, milliseconds: int | None) -> str:
    import bitwuzla

    options = bitwuzla.Options()
    if milliseconds is not None:
        options.set(bitwuzla.Option.TIME_LIMIT_PER, milliseconds)
    try:
        parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
        parser.parse(query, parse_only=True, parse_file=False)
        answer = str(parser.bitwuzla().check_sat())
    except bitwuzla.BitwuzlaException as error:
        raise SolverError(f"bitwuzla: {error}") from error
    return answer if answer in (SAT, UNSAT) else UNKNOWN


SOLVERS: Final[dict[str, Callable[[str, int | None], str]]] = {"z3": _z3, "cvc5": _cvc5, "bitwuzla": _bitwuzla}
"""The solvers by name; each name is that of a package, too."""


def available(solver: str) -> bool:
    """Whether the solver is installed."""
    return find_spec(solver) is not None


def decide(query: str, solver: str, milliseconds: int | None = None) -> str:
    """``sat``, ``unsat`` or ``unknown``: what a solver says of an SMT-LIB script that ends with ``(check-sat)``.

    ``milliseconds`` of wall-clock time bound it, if given.  Raises :class:`SolverError`.
    """
    if solver not in SOLVERS:
        raise SolverError(f"no solver is called {solver!r}: there are {', '.join(SOLVERS)}")
    if solver != "z3" and not available(solver):
        raise SolverError(f"{solver}: not installed (pip install 'prevail-py[solvers]')")
    return SOLVERS[solver](query, milliseconds)
