"""The most used commands of bpftool, with its grammar, its text and its JSON, over a host."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prevail_py.cli.ebpf.bpftool_maps import MAP_VERBS
from prevail_py.cli.ebpf.bpftool_words import Words, one, pin, select
from prevail_py.cli.ebpf.grammar import BPFTOOL
from prevail_py.cli.ebpf.opening import open_programs, type_of_section
from prevail_py.cli.support import EXIT_OK, InputError, bad_input

if TYPE_CHECKING:
    from prevail_py.cli.ebpf.shell import Shell
    from prevail_py.libbpf.handles import bpf_map, bpf_program

__all__ = ["bpftool"]


def bpftool(shell: Shell, words: list[str]) -> int:
    """Run ``prog``, ``map`` or ``link`` with what follows.  Raises :class:`InputError` and :class:`HostError`."""
    noun, rest = words[0], Words(words[1:])
    verb = rest.next(f"{noun}: one of {', '.join(BPFTOOL[noun])}") if rest.words else "show"
    found = [each for each in BPFTOOL[noun] if each.startswith(verb)]
    if not found:
        raise InputError(f"ebpf: {noun} {verb}: there are {', '.join(BPFTOOL[noun])}")
    if found[0] == "help":
        print(f"{noun} {{ {' | '.join(BPFTOOL[noun])} }}")
        return EXIT_OK
    return _HANDLERS[noun, found[0]](shell, rest)


# Programs. ----------


def _prog_show(shell: Shell, rest: Words) -> int:
    rows = [_program(info) for info in select(shell, "program", rest)]
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


def _prog_load(shell: Shell, rest: Words, everything: bool = False) -> int:
    from prevail_py.libbpf.handles import pin_all

    path, where = rest.next("an object file"), rest.next("a path to pin at")
    options: dict[str, str] = {}
    reused: list[tuple[str, str, int]] = []
    while rest.words:
        if rest.words[0] == "map":
            rest.words.pop(0)
            how, which = rest.next("idx or name"), rest.next("which map of the object")
            if how not in ("idx", "name"):
                raise InputError(f"ebpf: {how!r} is not expected (there are: idx, name)")
            reused.append((how, which, one(shell, "map", rest)["id"]))
        else:
            options |= rest.option("type", "pinmaps", "map", given=options)
    obj = open_programs(path, shell.session, shell.platform)
    if "type" in options:
        program_type, attach_type = type_of_section(options["type"], f"type {options['type']}", shell.platform)
        obj.programs[0].change(program_type=program_type, expected_attach_type=attach_type)
    if not everything:
        for program in obj.programs[1:]:
            program.autoload = False
    try:
        for how, which, id in reused:
            _reuse(shell, obj.maps, how, which, id)
        obj.load()
        places: list[tuple[bpf_program | bpf_map, str]] = [(obj.programs[0], where)]
        if everything:
            places = [(each, f"{where}/{each.program.name}") for each in obj.programs]
        if "pinmaps" in options:
            places += [(each, f"{options['pinmaps']}/{each.spec.name}") for each in obj.maps if each.fd >= 0]
        pin_all(places)
    finally:
        obj.close()
    return EXIT_OK


def _reuse(shell: Shell, maps: list[bpf_map], how: str, which: str, id: int) -> None:
    """Let the object use a map that exists, in place of one of its own."""
    found = [each for place, each in enumerate(maps) if which == (str(place) if how == "idx" else each.spec.name)]
    if not found:
        raise InputError(f"ebpf: the object has no map {how} {which}")
    with shell.open("map", id) as handle:
        found[0].reuse(handle)


def _prog_pin(shell: Shell, rest: Words) -> int:
    return pin(shell, "program", rest)


def _prog_run(shell: Shell, rest: Words) -> int:
    info = one(shell, "program", rest)
    options = rest.options("data_in", "data_out", "data_size_out", "ctx_in", "ctx_out", "ctx_size_out", "repeat")
    data = _input(options.get("data_in"))
    context = _input(options.get("ctx_in"))
    repeat = options.get("repeat", "1")
    for name in ("repeat", "data_size_out", "ctx_size_out"):
        if not options.get(name, "1").isdecimal():
            raise InputError(f"ebpf: {name}: {options[name]!r} is no number")
    with shell.open("program", info["id"]) as handle:
        result = shell.session.call("program_run", handle=handle, packet=data, context=context, repeat=int(repeat))
    for name, content in (("data", result["packet"]), ("ctx", result["context"])):
        if f"{name}_out" in options:
            place, size = options[f"{name}_out"], options.get(f"{name}_size_out")
            with bad_input(place):
                Path(place).write_bytes((content or b"")[: None if size is None else int(size)])
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


def _prog_dump(shell: Shell, rest: Words) -> int:
    from prevail_py.host.service.programs import to_program
    from prevail_py.isa.encode import encode
    from prevail_py.objects.text import disassemble

    if rest.words[:1] == ["xlated"]:
        rest.words.pop(0)
    info = one(shell, "program", rest)
    options = rest.options("file")
    with shell.open("program", info["id"]) as handle:
        program = to_program(shell.session.call("program_code", handle=handle))
    if "file" in options:
        with bad_input(options["file"]):
            Path(options["file"]).write_bytes(encode(program.code))
        return EXIT_OK
    text = disassemble(program)
    if shell.json:
        return shell.show({"id": info["id"], "text": text})
    print(text)
    return EXIT_OK


# Links. ----------


def _link_show(shell: Shell, rest: Words) -> int:
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
        for info in select(shell, "link", rest)
    ]
    if shell.json:
        return shell.show(rows)
    for row in rows:
        print(f"{row['id']}: {row['type']}  prog {row['prog_id']}")
        details = " ".join(f"{name} {value}" for name, value in {**row["parameters"], **row["state"]}.items())
        print(f"\tattach_type {row['attach_type']}  {details}".rstrip())
    return EXIT_OK


def _link_detach(shell: Shell, rest: Words) -> int:
    info = one(shell, "link", rest)
    with shell.open("link", info["id"]) as handle:
        shell.session.call("link_detach", link=handle)
    return EXIT_OK


_Handler = Callable[["Shell", Words], int]
_HANDLERS: Final[Mapping[tuple[str, str], _Handler]] = {
    ("prog", "show"): _prog_show,
    ("prog", "list"): _prog_show,
    ("prog", "load"): _prog_load,
    ("prog", "loadall"): lambda shell, rest: _prog_load(shell, rest, True),
    ("prog", "pin"): _prog_pin,
    ("prog", "run"): _prog_run,
    ("prog", "dump"): _prog_dump,
    **{("map", verb): handler for verb, handler in MAP_VERBS.items()},
    ("link", "show"): _link_show,
    ("link", "list"): _link_show,
    ("link", "detach"): _link_detach,
    ("link", "pin"): lambda shell, rest: pin(shell, "link", rest),
}
