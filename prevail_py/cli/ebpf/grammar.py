"""The grammar of ``netsh``: words that may be abbreviated, arguments by place or as ``tag=value``.

A command is a path of words, ``add program``.  Each word, tag and fixed value may be cut short as long as that is
unambiguous.  Arguments are given in order, or by tag in any order; once there was a tag all that follow have one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prevail_py.cli.support import InputError

if TYPE_CHECKING:
    from prevail_py.cli.ebpf.shell import Shell

__all__ = ["BPFTOOL", "Command", "Tag", "complete", "find", "parse"]


@dataclass(frozen=True, slots=True)
class Tag:
    """An argument.  ``values`` are all it may be, where they are fixed; ``number`` ones are integers."""

    name: str
    help: str
    required: bool = False
    values: tuple[str, ...] = ()
    number: bool = False

    def read(self, text: str) -> Any:
        """The value.  Raises :class:`InputError`."""
        if self.values:
            return _one_of(text, self.values, f"{self.name}=")
        if self.number:
            try:
                return int(text, 0)
            except ValueError:
                raise InputError(f"ebpf: {self.name}: {text!r} is no number") from None
        return text

    def __str__(self) -> str:
        what = "|".join(self.values) if self.values else "<integer>" if self.number else "<string>"
        text = f"[{self.name}=]{what}"
        return text if self.required else f"[{text}]"


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its words, what it does, its arguments in order."""

    words: tuple[str, ...]
    help: str
    tags: tuple[Tag, ...]
    handler: Callable[[Shell, Mapping[str, Any]], int]

    @property
    def name(self) -> str:
        """The words."""
        return " ".join(self.words)

    def usage(self) -> str:
        """How to call it, and what the arguments are."""
        lines = [f"usage: {self.name} {' '.join(map(str, self.tags))}".rstrip(), "", f"{self.help}."]
        if self.tags:
            width = max(len(tag.name) for tag in self.tags)
            lines += ["", *(f"  {tag.name.ljust(width)}  {tag.help}" for tag in self.tags)]
        return "\n".join(lines)


def _commands() -> tuple[Command, ...]:
    from prevail_py.cli.ebpf.netsh import NETSH

    return NETSH


def _one_of(text: str, known: Iterable[str], what: str) -> str:
    """The one that begins with ``text``.  Raises :class:`InputError` where that is none, or several."""
    found = [each for each in known if each.startswith(text.lower())]
    if text.lower() in found:
        return text.lower()
    if len(found) == 1:
        return found[0]
    problem = f"ambiguous: {', '.join(found)}" if found and text else f"there are: {', '.join(known)}"
    raise InputError(f"ebpf: {what}{text}: {problem}")


def find(words: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that ``words`` begin with, and the rest.  Raises :class:`InputError`."""
    commands = _commands()
    if not words:
        raise InputError("ebpf: a command is wanted (`help` lists them)")
    verb = _one_of(words[0], dict.fromkeys(command.words[0] for command in commands), "")
    matching = [command for command in commands if command.words[0] == verb]
    if len(matching[0].words) == 1:
        return matching[0], list(words[1:])
    if len(words) < 2:
        raise InputError(f"ebpf: {verb} what? ({', '.join(command.words[1] for command in matching)})")
    noun = _one_of(words[1], [command.words[1] for command in matching], f"{verb} ")
    return next(command for command in matching if command.words[1] == noun), list(words[2:])


def parse(command: Command, words: Sequence[str]) -> dict[str, Any]:
    """The arguments by tag.  Raises :class:`InputError`."""
    given: dict[str, Any] = {}
    by_tag = False
    for word in words:
        name, equals, value = word.partition("=")
        if equals and any(tag.name.startswith(name.lower()) for tag in command.tags) and name:
            by_tag = True
            wanted = _one_of(name, [tag.name for tag in command.tags], f"{command.name}: ")
            tag = next(each for each in command.tags if each.name == wanted)
        elif by_tag:
            raise InputError(f"ebpf: {command.name}: {word!r} comes after an argument with a tag, and has none")
        else:
            left = [each for each in command.tags if each.name not in given]
            if not left:
                raise InputError(f"ebpf: {command.name}: {word!r} is one argument too many")
            tag, value = left[0], word
        if tag.name in given:
            raise InputError(f"ebpf: {command.name}: {tag.name} is given twice")
        given[tag.name] = tag.read(value) if value or not tag.values else ""
    for tag in command.tags:
        if tag.required and tag.name not in given:
            raise InputError(f"ebpf: {command.name}: {tag.name} is wanted ({command.usage().splitlines()[0]})")
    return given


def complete(words: Sequence[str]) -> list[str]:
    """What the last of ``words`` may become: words of commands, tags, fixed values."""
    words = list(words) or [""]
    commands = _commands()
    last, before = words[-1].lower(), words[:-1]
    if not before:
        verbs = dict.fromkeys([*(command.words[0] for command in commands), *BPFTOOL, "run", "help"])
        return [verb for verb in verbs if verb.startswith(last)]
    if before[0] in BPFTOOL:
        known = BPFTOOL[before[0]] if len(before) == 1 else _AFTER_VERB.get((before[0], before[1]), _SELECTORS)
        return [word for word in known if word.startswith(last) and word not in before[2:]]
    try:
        if len(before) == 1:
            verb = _one_of(before[0], dict.fromkeys(command.words[0] for command in commands), "")
            return [
                c.words[1] for c in commands if c.words[0] == verb and len(c.words) > 1 and c.words[1].startswith(last)
            ]
        command, _ = find(before)
    except InputError:
        return []
    name, equals, value = last.partition("=")
    if equals:
        tag = next((each for each in command.tags if each.name == name), None)
        return [each for each in tag.values if each.startswith(value)] if tag else []
    given = {word.partition("=")[0] for word in before}
    return [f"{tag.name}=" for tag in command.tags if tag.name.startswith(last) and tag.name not in given]


BPFTOOL: Final[Mapping[str, tuple[str, ...]]] = {
    "prog": ("show", "list", "load", "loadall", "pin", "run", "dump", "help"),
    "map": (
        "show",
        "list",
        "create",
        "dump",
        "update",
        "lookup",
        "getnext",
        "delete",
        "pin",
        "peek",
        "push",
        "pop",
        "enqueue",
        "dequeue",
        "freeze",
        "help",
    ),
    "link": ("show", "list", "detach", "pin", "help"),
}
"""The verbs of bpftool that there are, by noun."""
_SELECTORS: Final = ("id", "pinned", "name")
_AFTER_VERB: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("prog", "load"): ("type", "map", "pinmaps"),
    ("prog", "loadall"): ("type", "map", "pinmaps"),
    ("prog", "run"): (
        *_SELECTORS,
        "data_in",
        "data_out",
        "data_size_out",
        "ctx_in",
        "ctx_out",
        "ctx_size_out",
        "repeat",
    ),
    ("prog", "dump"): ("xlated", *_SELECTORS, "file"),
    ("map", "create"): ("type", "key", "value", "entries", "name", "flags", "inner_map"),
    ("map", "update"): (*_SELECTORS, "key", "value", "any", "exist", "noexist"),
    ("map", "lookup"): (*_SELECTORS, "key"),
    ("map", "getnext"): (*_SELECTORS, "key"),
    ("map", "delete"): (*_SELECTORS, "key"),
    ("map", "push"): (*_SELECTORS, "value"),
    ("map", "enqueue"): (*_SELECTORS, "value"),
}
"""What may follow a verb of bpftool; of all others the words that name an object."""
