"""Arithmetic on terms: constants fold, what changes nothing keeps its symbol, all else binds a new symbol.

Keeping the symbol is what makes later checks apply to every copy: a 32-bit move of a word that fits in 32 bits *is*
that word.
"""

from __future__ import annotations

from typing import Final

from prevail_py.domains.lattice import NO_SYMBOL, Range, Term, constant
from prevail_py.verifier.setting import Setting
from prevail_py.verifier.state import State
from prevail_py.verifier.values import ZERO
from prevail_py.words import INT, Comparison, OpKind, WordOp, evaluate, mask, to_signed

__all__ = ["assume", "compute", "truncate", "unknown"]

_MASK: Final = mask(64)
_ADD: Final = WordOp(OpKind.ADD)
_AND: Final = WordOp(OpKind.AND)


def unknown(setting: Setting, state: State, lo: int = 0, hi: int = _MASK) -> Term:
    """A new symbol with some value in ``lo..hi``."""
    symbol = setting.fresh()
    if lo != 0 or hi != _MASK:
        state.facts = state.facts.define_between(symbol, lo, hi)
    return Term(symbol, 0)


def truncate(setting: Setting, state: State, term: Term, bits: int) -> Term:
    """The low ``bits`` bits, zero-extended."""
    return term if bits == 64 else compute(setting, state, WordOp(OpKind.ZEXT, bits), (term,))


def compute(setting: Setting, state: State, op: WordOp, args: tuple[Term, ...]) -> Term:
    """The term for ``op(*args)``, after learning in ``state`` what follows from the operation."""
    facts = state.facts
    terms, constants = [], True
    for term in args:
        if term[0] != NO_SYMBOL:
            lo, hi = facts.range(term)
            if lo == hi:
                term = Term(NO_SYMBOL, lo)
            else:
                constants = False
        terms.append(term)
    args = tuple(terms)
    if constants:
        return Term(NO_SYMBOL, evaluate(INT, op, tuple([term[1] for term in args])))
    same = _unchanged(setting, state, op, args)
    if same is not None:
        return same
    definitions = setting.definitions
    if op.kind is OpKind.AND and args[1][1] in definitions.masks and args[1][0] == NO_SYMBOL:
        if op.width == 32 and args[1][1] <= mask(32):
            op = _AND  # the same, and known by one name
        before = definitions.known.get((op, args))
        if before is not None and state.facts.definition(before) == (op, args):
            return Term(before, 0)
        definitions.known[op, args] = setting.last + 1
    symbol = setting.fresh()
    state.facts = facts = state.facts.define(symbol, op, args)
    definitions[symbol] = (op, args)
    result = Term(symbol, 0)
    lo, hi = facts.range(result)
    return Term(NO_SYMBOL, lo) if lo == hi else result


def _unchanged(setting: Setting, state: State, op: WordOp, args: tuple[Term, ...]) -> Term | None:
    """The result where it is a term already, None where it needs a symbol of its own."""
    a = args[0]
    b = args[1] if len(args) > 1 else ZERO
    full = op.width == 64
    match op.kind:
        case OpKind.ADD | OpKind.SUB:
            if op.kind is OpKind.SUB and a.symbol == b.symbol:
                return constant(a.offset - b.offset & mask(op.width))
            if a.symbol == NO_SYMBOL and op.kind is OpKind.ADD:
                a, b = b, a
            if b.symbol != NO_SYMBOL:
                return None
            shift = b.offset if op.kind is OpKind.ADD else -b.offset
            if full:
                return Term(a.symbol, a.offset + shift & _MASK)
            # At 32 bits only where neither the operand has upper bits nor the sum leaves 32 bits.
            shift = to_signed(shift, 32)
            known = _range(state, a)
            fits = known.hi <= mask(32) and known.lo + shift >= 0 and known.hi + shift <= mask(32)
            return Term(a.symbol, a.offset + shift & _MASK) if fits else None
        case OpKind.ZEXT:
            return a if _range(state, a).hi <= mask(op.width) else None
        case OpKind.SEXT:
            return a if _range(state, a).hi < 1 << (op.source - 1) else None
        case OpKind.AND:
            for value, other in ((a, b), (b, a)):
                kept = other.offset & mask(op.width)
                if other.symbol == NO_SYMBOL and _is_mask(kept) and _range(state, value).hi <= kept:
                    return value
            return ZERO if ZERO in (a, b) else None
        case OpKind.OR | OpKind.XOR:
            if b == ZERO and _fits(state, a, op.width):
                return a
            if a == ZERO and _fits(state, b, op.width):
                return b
            return ZERO if op.kind is OpKind.XOR and a == b else None
        case OpKind.LSH:
            return a if b == ZERO and _fits(state, a, op.width) else None
        case OpKind.RSH | OpKind.ARSH:
            if b == ZERO and _fits(state, a, op.width):
                return a
            return _shifted_back(setting, state, op, a, b) if full else None
        case OpKind.MUL:
            if b == constant(1) and _fits(state, a, op.width):
                return a
            return ZERO if ZERO in (a, b) else None
        case OpKind.UDIV:
            return a if b == constant(1) and _fits(state, a, op.width) else None
        case _:
            return None


def _range(state: State, term: Term) -> Range:
    return Range(term.offset, term.offset) if term.symbol == NO_SYMBOL else state.facts.range(term)


def _fits(state: State, term: Term, width: int) -> bool:
    return width == 64 or _range(state, term).hi <= mask(width)


def _is_mask(value: int) -> bool:
    return value & (value + 1) == 0


def _shifted_back(setting: Setting, state: State, op: WordOp, a: Term, b: Term) -> Term | None:
    """``x << k >> k``, how compilers for the first instruction sets truncate and sign-extend."""
    # What the facts still know: setting.definitions would also tell of a state that merely looks like this one.
    definition = state.facts.definition(a.symbol)
    if definition is None or a.offset or b.symbol != NO_SYMBOL:
        return None
    shift, (original, amount) = definition[0], (*definition[1], ZERO)[:2]
    kept = 64 - b.offset
    if shift != WordOp(OpKind.LSH) or amount != b or kept not in (8, 16, 32):
        return None
    extend = WordOp(OpKind.ZEXT, kept) if op.kind is OpKind.RSH else WordOp(OpKind.SEXT, 64, kept)
    return compute(setting, state, extend, (original,))


_SIGNED: Final = frozenset({Comparison.SLT, Comparison.SLE, Comparison.SGT, Comparison.SGE})


def assume(state: State, comparison: Comparison, a: Term, b: Term, width: int) -> bool:
    """Learn that ``a comparison b`` holds; False where that is impossible.

    A 32-bit comparison of words without upper halves (and, signed, without sign) is a 64-bit one, which all domains
    understand.
    """
    if width == 32:
        limit = mask(31) if comparison in _SIGNED else mask(32)
        if _range(state, a).hi <= limit and _range(state, b).hi <= limit:
            width = 64
    state.facts = state.facts.assume(comparison, a, b, width)
    return not state.facts.is_bottom()
