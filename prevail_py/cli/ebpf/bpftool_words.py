"""What the commands of bpftool are made of: the words of a line, and how they name objects and bytes."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from prevail_py.cli.support import EXIT_OK, InputError
from prevail_py.host.context.model import HostError

if TYPE_CHECKING:
    from prevail_py.cli.ebpf.shell import Shell

__all__ = ["SELECTORS", "Words", "hexadecimal", "name_of", "one", "pin", "select"]

SELECTORS: Final = ("id", "pinned", "name", "tag")
_AFTER_DATA: Final = ("value", "key", "any", "exist", "noexist")


class Words:
    """What is left of a command line."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def next(self, what: str) -> str:
        """The next word.  Raises :class:`InputError` where there is none."""
        if not self.words:
            raise InputError(f"ebpf: {what} is wanted")
        return self.words.pop(0)

    def number(self, what: str) -> int:
        """The next word as a number."""
        text = self.next(what)
        try:
            return int(text, 0)
        except ValueError:
            raise InputError(f"ebpf: {what}: {text!r} is no number") from None

    def option(self, *known: str, given: Mapping[str, str]) -> dict[str, str]:
        """The next two words, a keyword and its value.  Raises :class:`InputError`."""
        name = self.next("an option")
        if name not in known or name in given:
            raise InputError(f"ebpf: {name!r} is not expected (there are: {', '.join(known)})")
        return {name: self.next(name)}

    def options(self, *known: str) -> dict[str, str]:
        """The rest, as pairs of a keyword and a value."""
        found: dict[str, str] = {}
        while self.words:
            found |= self.option(*known, given=found)
        return found

    def data(self) -> bytes:
        """Bytes up to the next keyword: decimal, or hexadecimal after ``hex`` or with 0x."""
        base = 10
        if self.words[:1] == ["hex"]:
            base = 16
            self.words.pop(0)
        out = bytearray()
        while self.words and self.words[0] not in _AFTER_DATA:
            text = self.words.pop(0)
            try:
                out.append(int(text, 16 if text.startswith("0x") else base))
            except ValueError:
                raise InputError(f"ebpf: {text!r} is no byte") from None
        return bytes(out)


def select(shell: Shell, kind: str, rest: Words) -> list[dict[str, Any]]:
    """The objects that ``id N``, ``pinned PATH``, ``name NAME`` or ``tag TAG`` mean; all without any of these."""
    if not rest.words or rest.words[0] not in SELECTORS:
        return shell.objects(kind)
    how = rest.next("id, pinned, name or tag")
    if how == "id":
        return [shell.info(kind, rest.number("id"))]
    wanted = rest.next(how)
    found = [
        info
        for info in shell.objects(kind)
        if (wanted in info["pins"] if how == "pinned" else wanted in (name_of(info), info.get("tag")))
    ]
    if not found:
        raise HostError(errno.ENOENT, f"no {kind} {how} {wanted}")
    return found


def one(shell: Shell, kind: str, rest: Words) -> dict[str, Any]:
    """The one object that the words name.  Raises :class:`InputError` and :class:`HostError`."""
    if not rest.words or rest.words[0] not in SELECTORS:
        raise InputError("ebpf: id N, pinned PATH or name NAME is wanted")
    found = select(shell, kind, rest)
    if len(found) > 1:
        raise InputError(f"ebpf: several of this name: {', '.join(str(info['id']) for info in found)}")
    return found[0]


def name_of(info: Mapping[str, Any]) -> str:
    """What an object is called; links have no names."""
    name: str = info["spec"]["name"] if info["kind"] == "map" else info.get("name", "")
    return name


def pin(shell: Shell, kind: str, rest: Words) -> int:
    """Pin the one object that the words name."""
    info = one(shell, kind, rest)
    with shell.open(kind, info["id"]) as handle:
        shell.session.call("pin", handle=handle, path=rest.next("a path to pin at"))
    return EXIT_OK


def hexadecimal(data: bytes) -> list[str]:
    """Bytes as bpftool writes them in JSON."""
    return [f"{byte:#04x}" for byte in data]
