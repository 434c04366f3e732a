"""Writing what a CO-RE relocation came to into its instruction."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from prevail_py.isa.encode import EncodeError, encode_instruction
from prevail_py.isa.instructions import (
    Alu,
    Atomic,
    Call,
    Immediate,
    Instruction,
    Load,
    LoadAcquire,
    LoadImmediate64,
    Pseudo,
    Store,
    StoreRelease,
)
from prevail_py.objects.core_types import RelocationError
from prevail_py.objects.core_values import Resolution

__all__ = ["POISON", "UnfitError", "patch"]

POISON: Final = Call(0xBAD2310)
"""What replaces an instruction that must not be reached: a call of a helper that no kernel has, as in libbpf."""

_WORD: Final = (1 << 64) - 1


class UnfitError(ValueError):
    """The instruction is not one that this relocation can be about."""


def patch(instruction: Instruction | None, resolution: Resolution) -> Instruction | None:
    """The instruction with the new value in it; None where it must be poisoned.

    Raises :class:`UnfitError` where the instruction is of the wrong kind or does not hold the old value, and
    :class:`RelocationError` where the new one does not fit.
    """
    match instruction:
        case Alu(src=Immediate(value)):
            if resolution.new is None:
                return None
            _check(value, resolution)
            return replace(instruction, src=Immediate(_signed(resolution.new, 32)))
        case LoadImmediate64(low=low, high=high, pseudo=Pseudo.IMMEDIATE):
            if resolution.new is None:
                return None
            _check(instruction.value, resolution)
            low, high = _signed(resolution.new, 32), _signed(resolution.new >> 32, 32)
            return replace(instruction, low=low, high=high)
        case Load() | Store() | Atomic() | LoadAcquire() | StoreRelease():
            if resolution.new is None:
                return None
            _check(instruction.offset, resolution)
            if resolution.new > 0x7FFF:
                raise RelocationError(f"offset {resolution.new} does not fit into 16 bits")
            if not resolution.resizable:
                return None
            size = instruction.size
            if resolution.new_size != resolution.old_size:
                if size != resolution.old_size:
                    raise UnfitError(f"an access of {size} bytes to a field of {resolution.old_size}")
                size = resolution.new_size
            patched = replace(instruction, offset=resolution.new, size=size)
            try:
                encode_instruction(patched)
            except EncodeError as error:
                raise RelocationError(f"an access of {size} bytes: {error.reason}") from None
            return patched
        case _:
            raise UnfitError("the relocation does not fit this instruction")


def _check(value: int, resolution: Resolution) -> None:
    if resolution.exact and value & _WORD != resolution.old:
        raise UnfitError(f"the instruction holds {value}, its types say {_signed(resolution.old, 64)}")


def _signed(word: int, bits: int) -> int:
    word &= (1 << bits) - 1
    return word - (1 << bits) if word >> (bits - 1) else word
