"""What BTF says of the arguments of global functions: the contract that Linux verifies them against.

The rules are those of ``btf_prepare_func_args`` in Linux: numbers are integers and enumerations of at most 8 bytes, all
else is pointers; declaration tags of a parameter say more of it (``__arg_ctx``, ``__arg_nonnull``).
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from prevail_py.objects.btf import Btf, Kind
from prevail_py.objects.program import Argument

__all__ = ["Prototypes"]

_GLOBAL: Final = 1
_MAX_ARGUMENTS: Final = 5
_NUMBERS: Final = frozenset({Kind.INT, Kind.ENUM, Kind.ENUM64})
_NUMBER_SIZE: Final = 8


class Prototypes:
    """The prototypes of the functions of one object, looked up once each."""

    def __init__(self, btf: Btf | None) -> None:
        self._btf = btf
        self._known: dict[str, tuple[Argument, ...] | None] = {}

    def of(self, name: str) -> tuple[Argument, ...] | None:
        """The arguments of the global function ``name``; None where it is not described, or not as one that has them.

        Raises ObjectError for types that are malformed.
        """
        if name not in self._known:
            self._known[name] = None if self._btf is None else self._read(self._btf, name)
        return self._known[name]

    def _read(self, btf: Btf, name: str) -> tuple[Argument, ...] | None:
        function = btf.find(name, Kind.FUNC)
        if function is None or function.linkage != _GLOBAL:
            return None
        prototype = btf.type(function.type)
        if prototype.kind is not Kind.FUNC_PROTO or not self._is_number(btf, prototype.type):
            return None
        if len(prototype.parameters) > _MAX_ARGUMENTS:
            return None
        arguments = []
        for position, parameter in enumerate(prototype.parameters):
            tags = self._tags.get((function.id, position), ())
            if self._is_number(btf, parameter.type):
                arguments.append(Argument(tags=tags))
                continue
            pointer = btf.resolve(parameter.type)
            if pointer.kind is not Kind.PTR:
                return None
            pointee = btf.resolve(pointer.type)
            size = 0 if pointee.kind is Kind.FUNC_PROTO else btf.size_of(pointee.id)
            arguments.append(Argument(pointee.name or btf.spell(pointer.type), size, tags))
        return tuple(arguments)

    @staticmethod
    def _is_number(btf: Btf, id: int) -> bool:
        found = btf.resolve(id)
        return found.kind in _NUMBERS and found.size <= _NUMBER_SIZE

    @cached_property
    def _tags(self) -> dict[tuple[int, int], tuple[str, ...]]:
        """The declaration tags by function and position of the parameter."""
        found: dict[tuple[int, int], tuple[str, ...]] = {}
        assert self._btf is not None
        for tag in self._btf.of_kind(Kind.DECL_TAG):
            if tag.component >= 0:
                place = tag.type, tag.component
                found[place] = (*found.get(place, ()), tag.name)
        return found
