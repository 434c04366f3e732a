"""Helpers that print: to the log, or into memory."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.formats import MAX_VALUES, FormatValue, format_values, printf
from prevail_py.vm.machine import Machine

__all__ = ["snprintf", "trace_printk", "trace_vprintk"]


def trace_printk(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Print up to three values, which are in R3 to R5.

    The prototype does not mention those registers, so nothing is demanded of them: one never written counts as 0.
    """
    values = [FormatValue(machine.registers[r] or 0, machine.provenance[r]) for r in (3, 4, 5)]
    return _print(machine, arguments[0].memory(), values)


def trace_vprintk(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Print up to twelve values, from an array of words."""
    values = _values(arguments[2])
    return -errno.EINVAL if values is None else _print(machine, arguments[0].memory(), values)


def snprintf(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Print up to twelve values into memory, as much as fits: the size that all would have had, its zero included."""
    to, format, values = arguments[0], arguments[2], _values(arguments[3])
    text = None if values is None else printf(format.memory(), values, machine.environment)
    if text is None:
        return -errno.EINVAL
    content = text.encode("latin-1")
    if to.extent:
        to.overwrite(content[: to.extent - 1] + b"\0")
    return len(content) + 1


def _values(array: Argument) -> list[FormatValue] | None:
    if array.extent % 8 or array.extent > 8 * MAX_VALUES:
        return None
    return format_values(array.memory(), array.region, array.offset)


def _print(machine: Machine, format: bytes, values: Sequence[FormatValue]) -> int:
    line = printf(format, values, machine.environment)
    if line is None:
        return -errno.EINVAL
    machine.environment.log.append(line)
    return len(line)
