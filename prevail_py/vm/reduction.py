"""Make a divergence small: the program, the packet, the contents of maps.

Instructions give way to ``goto +0``, in chunks and then one by one, so that slots keep their numbers; in the end these
are taken out as well, if the engines still differ.  Packets get shorter, and bytes zero; elements of maps go.  Whatever
is kept was tried: the same engines differ on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

from prevail_py.isa.instructions import Instruction, Jump
from prevail_py.isa.rewrite import reachable, rewrite
from prevail_py.objects.program import Program
from prevail_py.vm.differential import Divergence, Input, compare, load
from prevail_py.vm.engines import Loaded

__all__ = ["Loader", "minimise"]

Loader: TypeAlias = Callable[[Program, Sequence[str]], Mapping[str, Loaded]]
"""The program on each engine of these names; raises ValueError where one of them does not take it."""

_NOTHING: Final = Jump(0)


def minimise(divergence: Divergence, *, generated: bool = False, loader: Loader | None = None) -> Divergence:
    """A smaller program and input on which the same engines still differ.

    ``generated`` as in :func:`prevail_py.vm.differential.load`, which ``loader`` stands in for where it is given.
    """
    engines, best = divergence.engines, divergence
    loads = loader or partial(load, generated=generated)

    def attempt(program: Program, given: Input) -> bool:
        nonlocal best
        try:
            found = compare(program, given, engines, loads(program, engines)).divergence
        except ValueError:
            return False
        if found is None:
            return False
        best = found
        return True

    again = True
    while again:
        again = False
        for code in _smaller_codes(lambda: best.program.code):
            again |= attempt(replace(best.program, code=code), best.given)
    for packet in _smaller_packets(lambda: best.given.packet):
        attempt(best.program, replace(best.given, packet=packet, context=None))
    for maps in _smaller_maps(lambda: best.given.maps):
        attempt(best.program, replace(best.given, maps=maps))
    code = best.program.code
    useless = {pc: () for pc, i in enumerate(code) if i == _NOTHING or (i is not None and pc not in reachable(code))}
    attempt(replace(best.program, code=rewrite(code, useless), subprograms=(), lines={}), best.given)
    return best


def _smaller_codes(
    current: Callable[[], tuple[Instruction | None, ...]],
) -> Iterator[tuple[Instruction | None, ...]]:
    """The current code with ever smaller parts of it taken out."""
    length = len(current())
    size = length
    while size:
        for start in range(0, length, size):
            code = current()
            end = min(start + size, length)
            # Both slots of a wide load go, or none.
            start += start > 0 and code[start] is None
            end += end < length and code[end] is None
            changed = any(i is not None and i != _NOTHING for i in code[start:end])
            if changed:
                yield (*code[:start], *(_NOTHING,) * (end - start), *code[end:])
        size //= 2


def _smaller_packets(current: Callable[[], bytes | None]) -> Iterator[bytes]:
    packet = current()
    while packet:
        yield packet[: len(packet) // 2]
        shorter = current()
        if shorter == packet:
            break
        packet = shorter
    for size in (8, 1):
        position = 0
        while (packet := current()) and position < len(packet):
            if any(packet[position : position + size]):
                yield packet[:position] + bytes(len(packet[position : position + size])) + packet[position + size :]
            elif size == 1 and position == len(packet) - 1:
                yield packet[:-1]
            position += size


def _smaller_maps(
    current: Callable[[], Mapping[int, Mapping[bytes, bytes]]],
) -> Iterator[Mapping[int, Mapping[bytes, bytes]]]:
    """Without one map's elements after another, then without single elements."""
    for index in tuple(current()):
        yield {i: elements for i, elements in current().items() if i != index}
    for index, elements in tuple(current().items()):
        for key in elements:
            kept = {k: value for k, value in current()[index].items() if k != key}
            yield {**current(), index: kept}
