"""``bpf_trace_printk`` and ``bpf_trace_vprintk``: formatted text for the log (``bpf_bprintf_prepare`` in Linux)."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine
from prevail_py.vm.memory import Region

__all__ = ["trace_printk", "trace_vprintk"]

_MAX_VALUES: Final = 12
_MAX_WIDTH: Final = 1024  # no longer line is ever printed
_SPECIFIER: Final = re.compile(
    r"%(?:(?P<percent>%)|(?P<flags>[0+\- ]*)(?P<width>[1-9][0-9]*)?(?P<kind>p(?:[iI][46]|[kxsSB])?|s|c|l{0,2}[diuxX]))"
)


class _Value(NamedTuple):
    word: int
    region: Region | None = None


def trace_printk(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Print up to three values, which are in R3 to R5.

    The prototype does not mention those registers, so nothing is demanded of them: one never written counts as 0.
    """
    values = [_Value(machine.registers[r] or 0, machine.provenance[r]) for r in (3, 4, 5)]
    return _print(machine, arguments[0].memory(), values)


def trace_vprintk(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Print up to twelve values, from an array of words."""
    array = arguments[2]
    if array.extent % 8 or array.extent > 8 * _MAX_VALUES:
        return -errno.EINVAL
    content = array.memory()
    pointers = (array.region.pointers if array.region is not None else None) or {}
    values = [
        _Value(int.from_bytes(content[i : i + 8], "little"), pointers.get(array.offset + i))
        for i in range(0, len(content), 8)
    ]
    return _print(machine, arguments[0].memory(), values)


def _print(machine: Machine, format: bytes, values: Sequence[_Value]) -> int:
    text, terminator, _ = format.partition(b"\0")
    if not terminator or any(not (32 <= byte < 127 or 9 <= byte <= 13) for byte in text):
        return -errno.EINVAL
    line = _format(text.decode("ascii"), values)
    if line is None:
        return -errno.EINVAL
    machine.environment.log.append(line)
    return len(line)


def _format(format: str, values: Sequence[_Value]) -> str | None:
    """The text, or None for a format that Linux refuses."""
    out, position, used = [], 0, 0
    while (percent := format.find("%", position)) >= 0:
        out.append(format[position:percent])
        match = _SPECIFIER.match(format, percent)
        if match is None:
            return None
        position = match.end()
        if match["percent"]:
            out.append("%")
            continue
        if used >= len(values):
            return None
        width = min(int((match["width"] or "0")[:5]), _MAX_WIDTH)
        out.append(_convert(match["kind"], match["flags"] or "", str(width or ""), values[used]))
        used += 1
    return "".join((*out, format[position:]))


def _convert(kind: str, flags: str, width: str, value: _Value) -> str:
    bits = 64 if "l" in kind else 32
    word = value.word & ((1 << bits) - 1)
    match kind[-1]:
        case "d" | "i":
            return f"%{flags}{width}d" % (word - (1 << bits) if word >> (bits - 1) else word)
        case "u":
            return f"%{flags}{width}d" % word
        case "x" | "X":
            return f"%{flags}{width}{kind[-1]}" % word
        case "c":
            return f"%{flags}{width}s" % chr(value.word & 0x7F)
        case "s" if kind == "s":
            return f"%{flags}{width}s" % _peek(value, None).partition(b"\0")[0].decode("latin-1")
        case "4":
            return str(IPv4Address(_peek(value, 4)))
        case "6":
            return str(IPv6Address(_peek(value, 16)))
        case _:
            return f"{value.word:016x}"


def _peek(value: _Value, size: int | None) -> bytes:
    """The bytes that a pointer points to, at most 512; zeros (or nothing) where it cannot be read, as in Linux."""
    content = b""
    if value.region is not None and value.region.live:
        offset = value.word - value.region.base
        if 0 <= offset < value.region.size:
            content = bytes(value.region.data[offset : offset + (size or 512)])
    return content if size is None else content.ljust(size, b"\0")
