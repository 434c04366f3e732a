"""Kernel configuration as programs see it: ``extern ... CONFIG_X __kconfig`` variables and libbpf's ``LINUX_*`` ones.

They live together in a read-only map ``.kconfig``; which values fit which C types is libbpf's choice
(``set_kcfg_value_*`` in ``tools/lib/bpf/libbpf.c``).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from prevail_py.objects.btf import Btf, Kind
from prevail_py.objects.target import Missing, Target, kernel_version

__all__ = [
    "OptionForm",
    "OptionType",
    "OptionValueError",
    "number_bytes",
    "option_bytes",
    "option_type",
    "virtual_value",
]

_BOOL: Final = 4 << 24
_SIGNED: Final = 1 << 24
_NUMBER: Final = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
_TRISTATE: Final = {"n": 0, "y": 1, "m": 2}
_MAX_TEXT: Final = 4096

# The prefix of system calls by machine, where the kernel wraps them.
_SYSCALL_PREFIX: Final = {"x86_64": "x64", "i386": "ia32", "s390x": "s390x", "aarch64": "arm64", "riscv64": "riscv"}


class OptionValueError(ValueError):
    """This value does not fit the variable; the message says why."""


class OptionForm(Enum):
    """What kind of C type a configuration variable has."""

    BOOL = "bool"
    TRISTATE = "enum libbpf_tristate"
    CHARACTER = "char"
    INTEGER = "integer"
    TEXT = "character array"


@dataclass(frozen=True, slots=True)
class OptionType:
    """The C type of a configuration variable; ``size`` and ``alignment`` in bytes."""

    form: OptionForm
    size: int
    alignment: int
    signed: bool = False


def option_type(btf: Btf, id: int) -> OptionType | None:
    """What a variable of this type can hold; None where that is no configuration value."""
    type = btf.resolve(id)
    match type.kind:
        case Kind.INT if type.encoding & _BOOL:
            return OptionType(OptionForm.BOOL, 1, 1) if type.size == 1 else None
        case Kind.INT if type.size in (1, 2, 4, 8):
            form = OptionForm.CHARACTER if type.size == 1 else OptionForm.INTEGER
            return OptionType(form, type.size, type.size, type.encoding & _SIGNED != 0)
        case Kind.ENUM | Kind.ENUM64 if type.name == "libbpf_tristate" and type.size in (4, 8):
            return OptionType(OptionForm.TRISTATE, type.size, type.size)
        case Kind.ARRAY if 0 < type.count <= _MAX_TEXT:
            element = option_type(btf, type.type)
            if element is not None and element.form is OptionForm.CHARACTER:
                return OptionType(OptionForm.TEXT, type.count, 1)
    return None


def option_bytes(type: OptionType, text: str) -> bytes:
    """What a variable holds where the configuration says ``text``.  Raises :class:`OptionValueError`."""
    if text[:1] in _TRISTATE:
        match type.form, text[0]:
            case OptionForm.BOOL, "y" | "n":
                return bytes([text[0] == "y"])
            case OptionForm.TRISTATE, letter:
                return _TRISTATE[letter].to_bytes(type.size, "little")
            case OptionForm.CHARACTER, letter:
                return letter.encode()
        raise OptionValueError(f"{text[0]!r} is no value of type {type.form.value}")
    if text.startswith('"'):
        if type.form is not OptionForm.TEXT:
            raise OptionValueError(f"a text is no value of type {type.form.value}")
        if len(text) < 2 or not text.endswith('"'):
            raise OptionValueError("a text without its closing quote")
        return text[1:-1].encode()[: type.size - 1].ljust(type.size, b"\0")
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise OptionValueError(f"{text!r} is no integer")
    sign, digits = found.groups()
    octal = digits[0] == "0" and digits.isdecimal()
    number = int(digits, 8 if octal else 0)
    if number >= 1 << 64:
        raise OptionValueError(f"{text} does not fit into 64 bits")
    if type.form not in (OptionForm.INTEGER, OptionForm.CHARACTER):
        raise OptionValueError(f"a number is no value of type {type.form.value}")
    return number_bytes(type, -number if sign == "-" else number)


def number_bytes(type: OptionType, number: int) -> bytes:
    """The number as a variable of this type holds it.  Raises :class:`OptionValueError`."""
    if type.form not in (OptionForm.INTEGER, OptionForm.CHARACTER, OptionForm.BOOL):
        raise OptionValueError(f"a number is no value of type {type.form.value}")
    if type.form is OptionForm.BOOL and not 0 <= number <= 1:
        raise OptionValueError(f"{number} is no truth value")
    bits = 8 * type.size
    word = number & (1 << 64) - 1
    value = word - (1 << 64) if type.signed and word >> 63 else word
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if type.signed else (0, 1 << bits)
    if type.size < 8 and not low <= value < high:
        raise OptionValueError(f"{number} does not fit into {type.size} bytes")
    return (word & (1 << bits) - 1).to_bytes(type.size, "little")


def virtual_value(name: str, target: Target) -> int | None:
    """The value of a ``LINUX_*`` variable, which no configuration has; None for one that libbpf does not know.

    They are about the running kernel.  Raises :class:`~prevail_py.objects.target.Missing`.
    """
    match name:
        case "LINUX_KERNEL_VERSION":
            return kernel_version()
        case "LINUX_HAS_BPF_COOKIE":
            helpers = target.running.types.find("bpf_func_id", Kind.ENUM)
            if helpers is None:
                raise Missing("the running kernel's BTF has no enum bpf_func_id")
            return int(any(value.name == "BPF_FUNC_get_attach_cookie" for value in helpers.values))
        case "LINUX_HAS_SYSCALL_WRAPPER":
            prefix = _SYSCALL_PREFIX.get(os.uname().machine)
            return int(prefix is not None and f"__{prefix}_sys_bpf" in target.symbols)
        case _:
            return None
