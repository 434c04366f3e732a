"""The most used commands of bpftool, with its grammar, its text and its JSON, over a host."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prevail_py.cli.ebpf.grammar import BPFTOOL
from prevail_py.cli.ebpf.opening import open_programs, type_of_section
from prevail_py.cli.support import EXIT_OK, InputError, bad_input
from prevail_py.host.context.model import HostError

if TYPE_CHECKING:
    from prevail_py.cli.ebpf.shell import Shell

__all__ = ["bpftool"]


class _Words:
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

    def options(self, *known: str) -> dict[str, str]:
        """The rest, as pairs of a keyword and a value."""
        found: dict[str, str] = {}
        while self.words:
            name = self.words.pop(0)
            if name not in known or name in found:
                raise InputError(f"ebpf: {name!r} is not expected (there are: {', '.join(known)})")
            found[name] = self.next(name)
        return found

    def data(self) -> bytes:
        """Bytes up to the next keyword: decimal, or hexadecimal after ``hex`` or with 0x."""
        base = 10
        if self.words[:1] == ["hex"]:
            base = 16
            self.words.pop(0)
        out = bytearray()
        while self.words and self.words[0] not in ("value", "key", "any", "exist", "noexist"):
            text = self.words.pop(0)
            try:
                out.append(int(text, 16 if text.startswith("0x") else base))
            except ValueError:
                raise InputError(f"ebpf: {text!r} is no byte") from None
        return bytes(out)


def bpftool(shell: Shell, words: list[str]) -> int:
    """Run ``prog``, ``map`` or ``link`` with what follows.  Raises :class:`InputError` and :class:`HostError`."""
    noun, rest = words[0], _Words(words[1:])
    verb = rest.next(f"{noun}: one of {', '.join(BPFTOOL[noun])}") if rest.words else "show"
    found = [each for each in BPFTOOL[noun] if each.startswith(verb)]
    if not found:
        raise InputError(f"ebpf: {noun} {verb}: there are {', '.join(BPFTOOL[noun])}")
    if found[0] == "help":
        print(f"{noun} {{ {' | '.join(BPFTOOL[noun])} }}")
        return EXIT_OK
    return _HANDLERS[noun, found[0]](shell, rest)


def _select(shell: Shell, kind: str, rest: _Words) -> list[dict[str, Any]]:
    """The objects that ``id N``, ``pinned PATH``, ``name NAME`` or ``tag TAG`` mean; all without any of these."""
    if not rest.words or rest.words[0] not in ("id", "pinned", "name", "tag"):
        return shell.objects(kind)
    how = rest.next("id, pinned, name or tag")
    if how == "id":
        return [shell.info(kind, rest.number("id"))]
    wanted = rest.next(how)
    found = [
        info
        for info in shell.objects(kind)
        if (wanted in info["pins"] if how == "pinned" else wanted in (_name(info), info.get("tag")))
    ]
    if not found:
        raise HostError(errno.ENOENT, f"no {kind} {how} {wanted}")
    return found


def _one(shell: Shell, kind: str, rest: _Words) -> dict[str, Any]:
    if not rest.words or rest.words[0] not in ("id", "pinned", "name", "tag"):
        raise InputError("ebpf: id N, pinned PATH or name NAME is wanted")
    found = _select(shell, kind, rest)
    if len(found) > 1:
        raise InputError(f"ebpf: several of this name: {', '.join(str(info['id']) for info in found)}")
    return found[0]


def _name(info: Mapping[str, Any]) -> str:
    name: str = info["spec"]["name"] if info["kind"] == "map" else info.get("name", "")
    return name


# Programs. ----------


def _prog_show(shell: Shell, rest: _Words) -> int:
    rows = [_program(info) for info in _select(shell, "program", rest)]
    if shell.json:
        return shell.show(rows)
    for row in rows:
        licence = "  gpl" if row["gpl_compatible"] else ""
        print(f"{row['id']}: {row['type']}  name {row['name']}  tag {row['tag']}{licence}")
        runs = f"run_cnt {row['run_cnt']}  run_time_ns {row['run_time_ns']}"
        print(f"\tloaded_at {row['loaded_at']}  uid {row['uid']}  {runs}")
        maps = f"  map_ids {','.join(map(str, row['map_ids']))}" if row["map_ids"] else ""
        print(f"\txlated {row['bytes_xlated']}B  engine {row['engine']}{maps}")
        for path in row["pinned"]:
            print(f"\tpinned {path}")
    return EXIT_OK


def _program(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": info["id"],
        "type": info["program_type"],
        "name": info["name"],
        "tag": info["tag"],
        "gpl_compatible": "GPL" in info["licence"],
        "loaded_at": info["created"] // 1_000_000_000,
        "uid": info["uid"],
        "run_time_ns": info["run_time"],
        "run_cnt": info["run_count"],
        "bytes_xlated": 8 * info["slots"],
        "engine": info["engine"],
        "map_ids": info["maps"],
        "pinned": info["pins"],
    }


def _prog_load(shell: Shell, rest: _Words, everything: bool = False) -> int:
    path, pin = rest.next("an object file"), rest.next("a path to pin at")
    options = rest.options("type", "pinmaps")
    obj = open_programs(path, shell.session, shell.platform)
    if "type" in options:
        program_type, attach_type = type_of_section(options["type"], f"type {options['type']}", shell.platform)
        obj.programs[0].change(program_type=program_type, expected_attach_type=attach_type)
    if not everything:
        for program in obj.programs[1:]:
            program.autoload = False
    places: list[str] = []
    try:
        obj.load()
        for program in obj.programs if everything else obj.programs[:1]:
            place = f"{pin}/{program.program.name}" if everything else pin
            shell.session.call("pin", handle=program.fd, path=place)
            places.append(place)
        if "pinmaps" in options:
            for each in obj.maps:
                if each.fd >= 0:
                    shell.session.call("pin", handle=each.fd, path=f"{options['pinmaps']}/{each.spec.name}")
                    places.append(f"{options['pinmaps']}/{each.spec.name}")
    except HostError:
        for place in places:
            shell.session.call("unpin", path=place)
        raise
    finally:
        obj.close()
    return EXIT_OK


def _prog_pin(shell: Shell, rest: _Words) -> int:
    return _pin(shell, "program", rest)


def _pin(shell: Shell, kind: str, rest: _Words) -> int:
    info = _one(shell, kind, rest)
    with shell.open(kind, info["id"]) as handle:
        shell.session.call("pin", handle=handle, path=rest.next("a path to pin at"))
    return EXIT_OK


def _prog_run(shell: Shell, rest: _Words) -> int:
    info = _one(shell, "program", rest)
    options = rest.options("data_in", "data_out", "ctx_in", "ctx_out", "repeat")
    data = _input(options.get("data_in"))
    context = _input(options.get("ctx_in"))
    repeat = options.get("repeat", "1")
    if not repeat.isdecimal():
        raise InputError(f"ebpf: repeat: {repeat!r} is no number")
    with shell.open("program", info["id"]) as handle:
        result = shell.session.call("program_run", handle=handle, packet=data, context=context, repeat=int(repeat))
    for name, content in (("data_out", result["packet"]), ("ctx_out", result["context"])):
        if name in options:
            with bad_input(options[name]):
                Path(options[name]).write_bytes(content or b"")
    if shell.json:
        return shell.show({"retval": result["value"], "duration": result["nanoseconds"]})
    print(
        f"Return value: {result['value']}, duration{' (average)' if int(repeat) > 1 else ''}: {result['nanoseconds']}ns"
    )
    return EXIT_OK


def _input(path: str | None) -> bytes | None:
    if path is None:
        return None
    if path == "-":
        return sys.stdin.buffer.read()
    with bad_input(path):
        return Path(path).read_bytes()


def _prog_dump(shell: Shell, rest: _Words) -> int:
    from prevail_py.host.service.programs import to_program
    from prevail_py.objects.text import disassemble

    if rest.words[:1] == ["xlated"]:
        rest.words.pop(0)
    info = _one(shell, "program", rest)
    with shell.open("program", info["id"]) as handle:
        text = disassemble(to_program(shell.session.call("program_code", handle=handle)))
    if shell.json:
        return shell.show({"id": info["id"], "text": text})
    print(text)
    return EXIT_OK


# Maps. ----------


def _map_show(shell: Shell, rest: _Words) -> int:
    from prevail_py.libbpf.names import libbpf_bpf_map_type_str

    rows = []
    for info in _select(shell, "map", rest):
        spec = info["spec"]
        rows.append(
            {
                "id": info["id"],
                "type": libbpf_bpf_map_type_str(spec["type"]) or spec["type"],
                "name": spec["name"],
                "flags": spec["flags"],
                "bytes_key": spec["key_size"],
                "bytes_value": spec["value_size"],
                "max_entries": spec["max_entries"],
                "pinned": info["pins"],
            }
        )
    if shell.json:
        return shell.show(rows)
    for row in rows:
        print(f"{row['id']}: {row['type']}  name {row['name']}  flags {row['flags']:#x}")
        print(f"\tkey {row['bytes_key']}B  value {row['bytes_value']}B  max_entries {row['max_entries']}")
        for path in row["pinned"]:
            print(f"\tpinned {path}")
    return EXIT_OK


def _map_dump(shell: Shell, rest: _Words) -> int:
    info = _one(shell, "map", rest)
    rows: list[tuple[bytes, bytes]] = []
    with shell.open("map", info["id"]) as handle:
        at: int | None = 0
        while at is not None:
            found = shell.session.call("map_lookup_batch", handle=handle, at=at, count=1024)
            rows += zip(found["keys"], found["values"], strict=True)
            at = found["next"]
    if shell.json:
        return shell.show([{"key": _hex(key), "value": _hex(value)} for key, value in rows])
    for key, value in rows:
        print(f"key: {key.hex(' ')}  value: {value.hex(' ')}")
    print(f"Found {len(rows)} element{'' if len(rows) == 1 else 's'}")
    return EXIT_OK


def _hex(data: bytes) -> list[str]:
    return [f"{byte:#04x}" for byte in data]


def _map_create(shell: Shell, rest: _Words) -> int:
    from prevail_py.libbpf.syscalls import create
    from prevail_py.objects.program import MapSpec
    from prevail_py.platforms import platform

    pin = rest.next("a path to pin at")
    options = rest.options("type", "key", "value", "entries", "name", "flags")
    for wanted in ("type", "key", "value", "entries", "name"):
        if wanted not in options:
            raise InputError(f"ebpf: map create: {wanted} is wanted")
    kind = platform().map_type_by_name(options["type"])
    if kind is None:
        raise InputError(f"ebpf: map create: no type {options['type']!r}")
    numbers = {}
    for name in ("key", "value", "entries", "flags"):
        try:
            numbers[name] = int(options.get(name, "0"), 0)
        except ValueError:
            raise InputError(f"ebpf: map create: {name}: {options[name]!r} is no number") from None
    spec = MapSpec(options["name"], kind.number, numbers["key"], numbers["value"], numbers["entries"], numbers["flags"])
    handle = create(shell.session, spec)
    try:
        shell.session.call("pin", handle=handle, path=pin)
    finally:
        shell.session.call("close", handle=handle)
    return EXIT_OK


def _map_element(shell: Shell, rest: _Words, verb: str) -> int:
    info = _one(shell, "map", rest)
    key: bytes | None = None
    if rest.words[:1] == ["key"]:
        rest.words.pop(0)
        key = rest.data()
    elif verb != "getnext":
        raise InputError("ebpf: key is wanted")
    with shell.open("map", info["id"]) as handle:
        match verb:
            case "lookup":
                value = shell.session.call("map_lookup", handle=handle, key=key, flags=0)
                if shell.json:
                    return shell.show({"key": _hex(key or b""), "value": _hex(value)})
                print(f"key: {(key or b'').hex(' ')}  value: {value.hex(' ')}")
            case "getnext":
                following = shell.session.call("map_next_key", handle=handle, key=key)
                if shell.json:
                    return shell.show({"key": None if key is None else _hex(key), "next_key": _hex(following)})
                print(f"key: {'None' if key is None else key.hex(' ')}\nnext key: {following.hex(' ')}")
            case "delete":
                shell.session.call("map_delete", handle=handle, key=key)
            case _:
                if rest.next("value") != "value":
                    raise InputError("ebpf: value is wanted")
                value = rest.data()
                flags = {"any": 0, "noexist": 1, "exist": 2}[rest.next("a flag") if rest.words else "any"]
                shell.session.call("map_update", handle=handle, key=key, value=value, flags=flags)
    return EXIT_OK


# Links. ----------


def _link_show(shell: Shell, rest: _Words) -> int:
    rows = [
        {
            "id": info["id"],
            "type": info["hook"],
            "prog_id": info["program"],
            "attach_type": info["attach_type"],
            "parameters": info["parameters"],
            "state": info["state"],
            "pinned": info["pins"],
        }
        for info in _select(shell, "link", rest)
    ]
    if shell.json:
        return shell.show(rows)
    for row in rows:
        print(f"{row['id']}: {row['type']}  prog {row['prog_id']}")
        details = " ".join(f"{name} {value}" for name, value in {**row["parameters"], **row["state"]}.items())
        print(f"\tattach_type {row['attach_type']}  {details}".rstrip())
    return EXIT_OK


def _link_detach(shell: Shell, rest: _Words) -> int:
    info = _one(shell, "link", rest)
    with shell.open("link", info["id"]) as handle:
        shell.session.call("link_detach", link=handle)
    return EXIT_OK


_Handler = Callable[["Shell", _Words], int]
_HANDLERS: Final[Mapping[tuple[str, str], _Handler]] = {
    ("prog", "show"): _prog_show,
    ("prog", "list"): _prog_show,
    ("prog", "load"): _prog_load,
    ("prog", "loadall"): lambda shell, rest: _prog_load(shell, rest, True),
    ("prog", "pin"): _prog_pin,
    ("prog", "run"): _prog_run,
    ("prog", "dump"): _prog_dump,
    ("map", "show"): _map_show,
    ("map", "list"): _map_show,
    ("map", "dump"): _map_dump,
    ("map", "create"): _map_create,
    ("map", "lookup"): lambda shell, rest: _map_element(shell, rest, "lookup"),
    ("map", "update"): lambda shell, rest: _map_element(shell, rest, "update"),
    ("map", "delete"): lambda shell, rest: _map_element(shell, rest, "delete"),
    ("map", "getnext"): lambda shell, rest: _map_element(shell, rest, "getnext"),
    ("map", "pin"): lambda shell, rest: _pin(shell, "map", rest),
    ("link", "show"): _link_show,
    ("link", "list"): _link_show,
    ("link", "detach"): _link_detach,
    ("link", "pin"): lambda shell, rest: _pin(shell, "link", rest),
}
