"""What a verifier process proved of a program's memory, as bytes that its token vouches for by their SHA-256.

Native code without checks rests on these facts, so they are believed only as the token's verdict is: from the same
process, under the same signature, about the same program.  What they say of slots and registers is compared with the
program before anything else looks at it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from prevail_py.host.canonical import CanonicalError, Plain, decode, encode
from prevail_py.host.gate import GateError, facts_of
from prevail_py.host.service.programs import MessageError, fields_of
from prevail_py.host.token import NO_FACTS, Claims
from prevail_py.objects.program import Program
from prevail_py.objects.region_facts import Place, RegionFact, RegionFacts, digest
from prevail_py.verifier.verdict import Verdict

__all__ = ["accepted", "claim_of", "encoded_facts"]

_SLOTS: Final = ("reached", "spills", "fills", "from_source", "unclear")
_FACTS: Final = {"program": str, "pointers": list, "instructions": int} | dict.fromkeys(_SLOTS, list)
_MOST: Final = 1 << 62
"""A bound on instructions that is larger is none: no run has so much fuel."""


def encoded_facts(verdict: Verdict) -> bytes | None:
    """The facts of a verdict that was found in this process; None where there are none."""
    facts = facts_of(verdict)
    if facts is None:
        return None
    pointers: list[Plain] = [
        [pc, register, fact.place.name, fact.index, fact.offset]
        for (pc, register), fact in sorted(facts.pointers.items(), key=lambda item: item[0])
    ]
    bound = facts.instructions
    slots: dict[str, Plain] = {name: list[Plain](sorted(getattr(facts, name))) for name in _SLOTS}
    rest: dict[str, Plain] = {"instructions": None if bound is None or bound >= _MOST else bound}
    return encode({"program": facts.program, "pointers": pointers, **slots, **rest})


def claim_of(data: bytes | None) -> bytes:
    """What a token claims of encoded facts."""
    return NO_FACTS if data is None else hashlib.sha256(data).digest()


def accepted(program: Program, claims: Claims, data: bytes | None) -> RegionFacts | None:
    """The facts of a program that was admitted by these claims; None where it was given none.

    Raises :class:`~prevail_py.host.gate.GateError` for facts that are not those that the token speaks of.
    """
    if data is None:
        return None
    if claim_of(data) != claims.facts:
        raise GateError(f"{program.name} may not run: token: facts: not those that were signed", "facts")
    try:
        return _facts(program, decode(data))
    except (CanonicalError, MessageError) as error:
        raise GateError(f"{program.name} may not run: token: facts: {error}", "facts") from None


def _facts(program: Program, value: Plain) -> RegionFacts:
    got = fields_of(value, _FACTS, optional=("instructions",))
    if got["program"] != digest(program):
        raise MessageError("about another program")
    starts = {pc for pc, instruction in enumerate(program.code) if instruction is not None}
    slots = {name: frozenset(map(_number, got[name])) for name in _SLOTS}
    if any(not each <= starts for each in slots.values()):
        raise MessageError("a slot where no instruction starts")
    pointers = {}
    for row in got["pointers"]:
        if not isinstance(row, list) or len(row) != 5:
            raise MessageError("not a row about a pointer")
        pc, register, place, index, offset = row
        if _number(pc) not in starts or _number(register) > 10 or type(place) is not str:
            raise MessageError("a pointer that no instruction uses")
        if place not in Place.__members__:
            raise MessageError("a pointer to no place")
        known = Place[place]
        limit = len(program.maps) if known in (Place.MAP, Place.MAP_VALUE) else len(program.code)
        if _number(index) >= limit or (known is Place.FUNCTION and index not in starts):
            raise MessageError("a pointer into what the program does not have")
        if offset is not None and type(offset) is not int:
            raise MessageError("an offset that is no number")
        pointers[_number(pc), _number(register)] = RegionFact(known, _number(index), offset)
    bound = got["instructions"]
    return RegionFacts(
        got["program"], pointers=pointers, instructions=None if bound is None else _number(bound), **slots
    )


def _number(value: Plain) -> int:
    if type(value) is not int or value < 0:
        raise MessageError("not the number of anything")
    return value
