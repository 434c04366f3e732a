"""The formats that helpers print with: ``bpf_bprintf_prepare`` and ``bstr_printf`` in Linux."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from prevail_py.vm.environment import Environment
from prevail_py.vm.memory import Region

__all__ = ["MAX_VALUES", "FormatValue", "format_values", "printf"]

MAX_VALUES: Final = 12
_MAX_WIDTH: Final = 1024  # no longer line is ever printed
_LONGEST_STRING: Final = 512
_END: Final = r"(?![^\s!-/:-@\[-`{-~\x80-\xff])"  # a string is not followed by a letter or digit
_SPECIFIER: Final = re.compile(
    r"%(?:(?P<percent>%)|(?P<flags>[0+\- ]*)(?P<width>[1-9][0-9]*)?"
    rf"(?P<kind>p(?:[iI][46]|[KxsSB]|[ku]s{_END}|{_END})|s{_END}|c|l{{0,2}}[diuxX]))"
)
_REST_OF_POINTER: Final = re.compile(r"[0-9A-Za-z]*")


class FormatValue(NamedTuple):
    """One value to print, and its provenance where it is a pointer."""

    word: int
    region: Region | None = None


def format_values(content: bytes, region: Region | None, offset: int) -> list[FormatValue]:
    """The words in memory, which may be pointers where ``region`` is the stack."""
    pointers = (region.pointers if region is not None else None) or {}
    return [
        FormatValue(int.from_bytes(content[i : i + 8], "little"), pointers.get(offset + i))
        for i in range(0, len(content), 8)
    ]


def printf(format: bytes, values: Sequence[FormatValue], environment: Environment) -> str | None:
    """The text, a character for each byte, or None for a format that Linux refuses.

    ``format`` ends with its first zero byte, which there must be.  Pointers print as the addresses of the machine,
    where Linux hides its own.
    """
    text, terminator, _ = format.partition(b"\0")
    if not terminator or any(byte < 128 and not (32 <= byte < 127 or 9 <= byte <= 13) for byte in text):
        return None
    return _printf(text.decode("latin-1"), values, environment)


def _printf(format: str, values: Sequence[FormatValue], environment: Environment) -> str | None:
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
        if match["kind"][0] == "p":
            rest = _REST_OF_POINTER.match(format, position)
            position = position if rest is None else rest.end()
        out.append(_convert(match["kind"], match["flags"] or "", str(width or ""), values[used], environment))
        used += 1
    return "".join((*out, format[position:]))


def _convert(kind: str, flags: str, width: str, value: FormatValue, environment: Environment) -> str:
    bits = 64 if "l" in kind else 32
    word = value.word & ((1 << bits) - 1)
    unsigned = flags.replace("+", "").replace(" ", "")
    match kind:
        case "d" | "i" | "ld" | "li" | "lld" | "lli":
            return f"%{flags}{width}d" % (word - (1 << bits) if word >> (bits - 1) else word)
        case "u" | "lu" | "llu":
            return f"%{unsigned}{width}d" % word
        case "x" | "X" | "lx" | "lX" | "llx" | "llX":
            return f"%{unsigned}{width}{kind[-1]}" % word
        case "c":
            return _justified(chr(value.word & 0xFF), flags, width)
        case "s":
            return _justified(_string(value, environment), flags, width)
        case "pks" | "pus":
            return _string(value, environment)
        case "pi4" | "pI4":
            address = _peek(value, 4, environment)
            return str(IPv4Address(address)) if kind == "pI4" else ".".join(f"{byte:03}" for byte in address)
        case "pi6" | "pI6":
            content = _peek(value, 16, environment).hex()
            return content if kind == "pi6" else ":".join(content[i : i + 4] for i in range(0, 32, 4))
        case "ps" | "pS" | "pB":
            return f"0x{value.word:x}"  # the address of no symbol
        case _:
            return f"%{unsigned if width else 0}{width or 16}x" % value.word


def _justified(text: str, flags: str, width: str) -> str:
    return text.ljust(int(width or 0)) if "-" in flags else text.rjust(int(width or 0))


def _string(value: FormatValue, environment: Environment) -> str:
    if value.region is None:
        content = environment.read_foreign_string(value.word, _LONGEST_STRING) or b""
    else:
        content = _own(value, _LONGEST_STRING)
    return content.partition(b"\0")[0].decode("latin-1")


def _peek(value: FormatValue, size: int, environment: Environment) -> bytes:
    """The bytes that a pointer points to; zeros where they cannot be read, as in Linux."""
    content = environment.read_foreign(value.word, size) if value.region is None else _own(value, size)
    return content if content is not None and len(content) == size else bytes(size)


def _own(value: FormatValue, size: int) -> bytes:
    """Up to ``size`` bytes of the program's own memory."""
    region = value.region
    if region is None or not region.live:
        return b""
    offset = value.word - region.base
    return bytes(region.data[offset : offset + size]) if 0 <= offset < region.size else b""
