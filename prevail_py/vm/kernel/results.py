"""All 64 bits of R0 out of a test run, which itself gives back 32.

Before every exit of the main program, R0 is stored in a map that the program does not have, beside a mark that says
so.  Nothing else changes: no register that an exit looks at, no stack, no call depth.  A program that ends in another
way (a legacy packet load beyond the packet returns 0 at once) leaves no mark, and its result is that of the test run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prevail_py.isa.instructions import Exit, Immediate, Instruction, LoadImmediate64, Pseudo, Register, Store
from prevail_py.isa.rewrite import Code, reachable, rewrite
from prevail_py.objects.program import MapSpec

__all__ = ["RESULT", "RESULT_KEY", "read_result", "with_result"]

RESULT: Final = MapSpec("result", 2, 4, 16, 1)
"""The map: R0, then the mark."""
RESULT_KEY: Final = bytes(4)


def with_result(code: Sequence[Instruction | None], index: int) -> Code:
    """``code`` that leaves R0 in map ``index`` of the program, an element of :data:`RESULT`."""
    main = reachable(code, calls=False)
    ending: tuple[Instruction, ...] = (
        LoadImmediate64(Register.R1, index, 0, Pseudo.MAP_INDEX_VALUE),
        Store(Register.R1, 0, 8, Register.R0),
        Store(Register.R1, 8, 8, Immediate(1)),
        Exit(),
    )
    return rewrite(code, {pc: ending for pc in main if isinstance(code[pc], Exit)})


def read_result(element: bytes, return_value: int) -> int:
    """R0 from the element of the map and the 32 bits that the test run gave back."""
    value, mark = int.from_bytes(element[:8], "little"), element[8]
    if not mark:
        return return_value
    if value & 0xFFFFFFFF != return_value & 0xFFFFFFFF:
        raise RuntimeError(f"the test run returned {return_value:#x}, but R0 was {value:#x}")
    return value
