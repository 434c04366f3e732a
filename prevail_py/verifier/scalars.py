"""Arithmetic on terms: constants fold, what changes nothing keeps its symbol, all else binds a new symbol.

Keeping the symbol is what makes later checks apply to every copy: a 32-bit move of a word that fits in 32 bits *is*
that word.

Most instructions end up here, so what is asked of the facts is asked once and passed on, and kinds of operations are
compared with names of this module: up to Python 3.11 a member of an enumeration takes ten times as long to name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from prevail_py.domains.lattice import NO_SYMBOL, Term, constant
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import State
from prevail_py.verifier.values import ZERO
from prevail_py.words import INT, Comparison, OpKind, WordOp, evaluate, mask, to_signed

__all__ = ["assume", "compute", "truncate", "unknown"]

_MASK: Final = mask(64)
_LOW: Final = mask(32)
_AND64: Final = WordOp(OpKind.AND)
_ONE: Final = constant(1)

_ADD, _SUB, _AND, _OR, _XOR = OpKind.ADD, OpKind.SUB, OpKind.AND, OpKind.OR, OpKind.XOR
_LSH, _RSH, _ARSH, _MUL, _UDIV = OpKind.LSH, OpKind.RSH, OpKind.ARSH, OpKind.MUL, OpKind.UDIV
_ZEXT, _SEXT = OpKind.ZEXT, OpKind.SEXT
_TRUNCATION: Final = {bits: WordOp(OpKind.ZEXT, bits) for bits in range(8, 64, 8)}

_tuple: Final = tuple.__new__  # in a third of the time that Term takes


def unknown(setting: Setting, state: State, lo: int = 0, hi: int = _MASK) -> Term:
    """A new symbol with some value in ``lo..hi``."""
    setting.last = symbol = setting.last + 1
    if lo != 0 or hi != _MASK:
        state.facts = state.facts.define_between(symbol, lo, hi)
    return _tuple(Term, (symbol, 0))


def truncate(setting: Setting, state: State, term: Term, bits: int) -> Term:
    """The low ``bits`` bits, zero-extended."""
    return term if bits == 64 else compute(setting, state, _TRUNCATION[bits], (term,))


@lru_cache(maxsize=4096)
def _folded(op: WordOp, *words: int) -> Term:
    return Term(NO_SYMBOL, evaluate(INT, op, words))


def compute(setting: Setting, state: State, op: WordOp, args: tuple[Term, ...]) -> Term:
    """The term for ``op(*args)``, after learning in ``state`` what follows from the operation."""
    facts = state.facts
    a, alo, ahi = args[0], 0, 0
    if a[0]:
        alo, ahi = facts.range(a)
        if alo == ahi:
            a = _tuple(Term, (NO_SYMBOL, alo))
    else:
        alo = ahi = a[1]
    if len(args) == 1:
        if not a[0]:
            return _folded(op, a[1])
        same = _unchanged(setting, state, op, a, alo, ahi, ZERO, 0, 0)
        if same is not None:
            return same
        args = (a,)
    else:
        b = args[1]
        if b[0]:
            blo, bhi = facts.range(b)
            if blo == bhi:
                b = _tuple(Term, (NO_SYMBOL, blo))
        else:
            blo = bhi = b[1]
        if not a[0] and not b[0]:
            return _folded(op, a[1], b[1])
        same = _unchanged(setting, state, op, a, alo, ahi, b, blo, bhi)
        if same is not None:
            return same
        args = (a, b)
        if op.kind is _AND and not b[0] and b[1] in setting.definitions.masks:
            return _masked(setting, state, op, args)
    return _bound(setting, state, op, args)


def _bound(setting: Setting, state: State, op: WordOp, args: tuple[Term, ...]) -> Term:
    """A new symbol for ``op(*args)``, or the constant that it turns out to be."""
    setting.last = symbol = setting.last + 1
    state.facts = facts = state.facts.define(symbol, op, args)
    setting.definitions[symbol] = (op, args)
    result = _tuple(Term, (symbol, 0))
    lo, hi = facts.range(result)
    return _tuple(Term, (NO_SYMBOL, lo)) if lo == hi else result


def _masked(setting: Setting, state: State, op: WordOp, args: tuple[Term, ...]) -> Term:
    """A mask that the program uses again: the symbol that was given to the same before, if its definition holds."""
    if op.width == 32 and args[1][1] <= _LOW:
        op = _AND64  # the same, and known by one name
    definitions = setting.definitions
    before = definitions.known.get((op, args))
    if before is not None and state.facts.definition(before) == (op, args):
        return Term(before, 0)
    definitions.known[op, args] = setting.last + 1
    return _bound(setting, state, op, args)


def _unchanged(
    setting: Setting, state: State, op: WordOp, a: Term, alo: int, ahi: int, b: Term, blo: int, bhi: int
) -> Term | None:
    """The result where it is a term already, None where it needs a symbol of its own.

    ``alo..ahi`` and ``blo..bhi`` are the ranges of the operands, of which one at least is no constant; ``b`` is zero
    for an operation on one.
    """
    kind, width = op.kind, op.width
    if kind is _ADD or kind is _SUB:
        if kind is _SUB:
            if a[0] == b[0]:
                return constant(a[1] - b[1] & mask(width))
            shift = -b[1]
        else:
            if not a[0]:
                a, b, alo, ahi = b, a, blo, bhi
            shift = b[1]
        if b[0]:
            return None
        if width == 64:
            return _tuple(Term, (a[0], a[1] + shift & _MASK))
        # At 32 bits only where neither the operand has upper bits nor the sum leaves 32 bits.
        shift = to_signed(shift, 32)
        fits = ahi <= _LOW and alo + shift >= 0 and ahi + shift <= _LOW
        return _tuple(Term, (a[0], a[1] + shift & _MASK)) if fits else None
    fits = width == 64 or ahi <= mask(width)
    if kind is _ZEXT:
        return a if fits else None
    if kind is _AND:
        for value, most, other in ((a, ahi, b), (b, bhi, a)):
            kept = other[1] & mask(width)
            if not other[0] and kept & (kept + 1) == 0 and most <= kept:
                return value
        return ZERO if a == ZERO or b == ZERO else None
    if kind is _LSH:
        return a if fits and b == ZERO else None
    if kind is _RSH or kind is _ARSH:
        if fits and b == ZERO:
            return a
        return _shifted_back(setting, state, op, a, b) if width == 64 else None
    if kind is _OR or kind is _XOR:
        if fits and b == ZERO:
            return a
        if a == ZERO and (width == 64 or bhi <= mask(width)):
            return b
        return ZERO if kind is _XOR and a == b else None
    if kind is _MUL:
        if fits and b == _ONE:
            return a
        return ZERO if a == ZERO or b == ZERO else None
    if kind is _UDIV:
        return a if fits and b == _ONE else None
    if kind is _SEXT:
        return a if ahi < 1 << (op.source - 1) else None
    return None


def _shifted_back(setting: Setting, state: State, op: WordOp, a: Term, b: Term) -> Term | None:
    """``x << k >> k``, how compilers for the first instruction sets truncate and sign-extend."""
    # What the facts still know: setting.definitions would also tell of a state that merely looks like this one.
    definition = state.facts.definition(a.symbol)
    if definition is None or a.offset or b.symbol != NO_SYMBOL:
        return None
    shift, (original, amount) = definition[0], (*definition[1], ZERO)[:2]
    kept = 64 - b.offset
    if shift.kind is not _LSH or shift.width != 64 or amount != b or kept not in (8, 16, 32):
        return None
    extend = _TRUNCATION[kept] if op.kind is _RSH else WordOp(_SEXT, 64, kept)
    return compute(setting, state, extend, (original,))


_SIGNED: Final = frozenset({Comparison.SLT, Comparison.SLE, Comparison.SGT, Comparison.SGE})


def assume(state: State, comparison: Comparison, a: Term, b: Term, width: int) -> bool:
    """Learn that ``a comparison b`` holds; False where that is impossible.

    A 32-bit comparison of words without upper halves (and, signed, without sign) is a 64-bit one, which all domains
    understand.
    """
    facts = state.facts
    if width == 32:
        limit = mask(31) if comparison in _SIGNED else _LOW
        if (facts.range(a).hi if a[0] else a[1]) <= limit and (facts.range(b).hi if b[0] else b[1]) <= limit:
            width = 64
    state.facts = facts = facts.assume(comparison, a, b, width)
    return not facts.is_bottom()
