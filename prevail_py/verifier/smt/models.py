"""Numbers and bytes of a model."""

from __future__ import annotations

from typing import Final

import z3

__all__ = ["bytes_of", "number_of"]

_ADDRESS: Final = (1 << 64) - 1


def number_of(model: z3.ModelRef, expression: z3.ExprRef) -> int:
    """The value of a bit vector; zero where the model leaves it open."""
    return int(model.eval(expression, model_completion=True).as_long())


def bytes_of(model: z3.ModelRef, array: z3.ExprRef, size: int, start: int = 0) -> bytes:
    """``size`` bytes from address ``start`` of an array from 64 to 8 bits; behind the last address comes the first.

    They are read off the array's value, which is mostly one byte all over: to evaluate each takes thousands of times
    as long.
    """
    value = model.eval(array, model_completion=True)
    written: dict[int, int] = {}
    rest = value
    while z3.is_store(rest):
        rest, place, byte = rest.children()
        if not (z3.is_bv_value(place) and z3.is_bv_value(byte)):
            break
        written.setdefault(place.as_long(), byte.as_long())  # outer stores are later ones
    if z3.is_const_array(rest) and z3.is_bv_value(rest.arg(0)):
        found = bytearray([rest.arg(0).as_long()]) * size
        for address, byte in written.items():
            place = (address - start) & _ADDRESS
            if place < size:
                found[place] = byte
        return bytes(found)
    return bytes(number_of(model, z3.Select(value, start + place & _ADDRESS)) for place in range(size))
