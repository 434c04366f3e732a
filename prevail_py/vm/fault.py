"""How a violation travels inside the virtual machine, until the interpreter turns it into a :class:`Trap` value.

A fault knows what went wrong but not where in the program: memory, maps and helpers raise it, and the interpreter,
which alone knows the program counter, catches it.  No fault ever leaves :mod:`prevail_py.vm`.
"""

from __future__ import annotations

from prevail_py.vm.outcome import TrapKind

__all__ = ["Fault"]


class Fault(Exception):  # noqa: N818 - the program's error, not ours
    """The running program violated ``kind``; ``address`` is that of the offending access where there is one."""

    def __init__(self, kind: TrapKind, message: str, address: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.address = address
