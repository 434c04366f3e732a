"""What the helpers on socket buffers share."""

from __future__ import annotations

from typing import Final

from prevail_py.vm.fault import Fault
from prevail_py.vm.machine import Machine
from prevail_py.vm.outcome import TrapKind
from prevail_py.vm.socket_buffer import SocketBuffer

__all__ = ["ENOTSUPP", "buffer_of"]

ENOTSUPP: Final = 524
"""An error number of Linux that user space never sees, and :mod:`errno` does not have."""


def buffer_of(machine: Machine) -> SocketBuffer:
    """The socket buffer that the program runs on."""
    if machine.context is None or machine.context.buffer is None:
        raise Fault(TrapKind.UNSUPPORTED, "a helper on socket buffers in a program that does not run on one")
    return machine.context.buffer
