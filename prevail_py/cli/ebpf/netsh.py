"""The commands of ``netsh ebpf``: their arguments, their columns, their words (``libs/ebpfnetsh`` there)."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from prevail_py.cli.ebpf.bpftool_words import name_of
from prevail_py.cli.ebpf.grammar import Command, Tag
from prevail_py.cli.ebpf.netsh_files import (
    platform_of,
    show_disassembly,
    show_hash,
    show_sections,
    show_table,
    show_verification,
)
from prevail_py.cli.ebpf.opening import open_programs, type_of_section
from prevail_py.cli.support import EXIT_OK, InputError
from prevail_py.host.context.model import HostError

if TYPE_CHECKING:
    from prevail_py.cli.ebpf.shell import Shell

__all__ = ["NETSH"]

Arguments = Mapping[str, Any]

_LEVELS: Final = ("normal", "informational", "verbose")
_BOOLEAN: Final = ("any", "yes", "no")
_MODES: Final = {"jit": "JIT", "jit-O0": "JIT", "source": "SOURCE", "interpreter": "INTERPRET"}


# Programs. ----------


def add_program(shell: Shell, given: Arguments) -> int:
    """Open, load, pin, attach."""
    from prevail_py.libbpf.syscalls import attach, default_engine

    platform = platform_of(shell, given)
    obj = open_programs(given["filename"], shell.session, platform)
    first = obj.programs[0]
    if "type" in given:
        program_type, attach_type = type_of_section(given["type"], f"type={given['type']}", platform)
        first.change(program_type=program_type, expected_attach_type=attach_type)
    engine = "interpreter" if given.get("execution") == "interpret" else default_engine()
    for program in obj.programs:
        program.engine = engine
    pinned = given.get("pinned", "first")
    paths: list[str] = []
    try:
        obj.load()
        if pinned == "first":
            place = given.get("pinpath") or first.program.name
            shell.session.call("pin", handle=first.fd, path=place)
            paths.append(place)
        elif pinned == "all":
            for program in obj.programs:
                directory = f"{given['pinpath'].rstrip('/')}/" if given.get("pinpath") else ""
                place = directory + program.program.name
                shell.session.call("pin", handle=program.fd, path=place)
                paths.append(place)
        if "interface" in given:
            attach(shell.session, first.fd, _interface(given["interface"]), held=True)
    except HostError:
        for each in paths:
            shell.session.call("unpin", path=each)
        obj.close()
        raise
    id = shell.session.call("info", handle=first.fd)["id"]
    if shell.json:
        return shell.show({"id": id})
    print(f"Loaded with ID {id}")
    return EXIT_OK  # the handles stay until this command, or the prompt, ends


def _interface(text: str) -> dict[str, Any]:
    """By name or number; a name is for the host to know, whose network namespace may be another."""
    return {"ifindex": int(text)} if text.isdecimal() else {"interface": text}


def delete_program(shell: Shell, given: Arguments) -> int:
    """Unpin, detach."""
    id = given["id"]
    info = _existing(shell, id)
    for path in info["pins"]:
        shell.session.call("unpin", path=path)
        if not shell.json:
            print(f"Unpinned {id} from {path}")
    _detach(shell, id)
    try:
        left = shell.info("program", id)
    except HostError:
        return EXIT_OK
    holders = [f"{pid} ({name})" for pid, _, name, handles, _ in shell.session.call("sessions") if handles]
    print(f"Program {id} is still loaded: {left['references']} references; {', '.join(holders) or 'no process'}")
    return EXIT_OK


def set_program(shell: Shell, given: Arguments) -> int:
    """Attach or detach, pin or unpin."""
    if given.keys() <= {"id"}:
        raise InputError("ebpf: set program: attached, pinpath or interface is wanted")
    id = given["id"]
    if given.get("attached"):
        _require_type(given["attached"], f"attached={given['attached']}")
    info = _existing(shell, id)
    with shell.open("program", id) as handle:
        if given.get("attached", "no") != "" and ("interface" in given or "attached" in given):
            parameters = _interface(given["interface"]) if "interface" in given else {}
            link = shell.session.call("link_create", program=handle, hook=None, parameters=parameters, held=True)
            shell.session.call("close", handle=link)
        elif "attached" in given and not _detach(shell, id):
            raise HostError(errno.ENOENT, f"program {id} is not attached")
        if given.get("pinpath"):
            shell.session.call("pin", handle=handle, path=given["pinpath"])
        elif "pinpath" in given:
            for path in info["pins"]:
                shell.session.call("unpin", path=path)
                print(f"Unpinned {id} from {path}")
    return EXIT_OK


def _existing(shell: Shell, id: int) -> dict[str, Any]:
    try:
        return shell.info("program", id)
    except HostError as error:
        if error.errno != errno.ENOENT:
            raise
        raise HostError(errno.ENOENT, "Program not found") from None


def _detach(shell: Shell, id: int) -> int:
    """How many links were detached; those that others end meanwhile do not count."""
    from prevail_py.libbpf.syscalls import detach_link

    return sum(
        detach_link(shell.session, link["id"])
        for link in shell.objects("link")
        if link["program"] == id and link["attached"]
    )


def show_programs(shell: Shell, given: Arguments) -> int:
    """The table, or a block for each."""
    level = given.get("level", "verbose" if "id" in given else "normal")
    if "type" in given:
        _require_type(given["type"], f"type={given['type']}")
    rows = [info for info in shell.objects("program") if _wanted(info, given)]
    if shell.json:
        return shell.show(rows)
    if level != "verbose":
        lines = []
        for info in rows:
            line = f"{info['id']:6}  {len(info['pins']):4}  {info['links']:5}  {_MODES.get(info['engine'], '?'):9}  "
            lines.append(line + f"{info['program_type']:13}  {info['name']}")
            if level == "informational":
                average = info["run_time"] // info["run_count"] if info["run_count"] else 0
                lines.append(f"        runs {info['run_count']}, {average} ns each, file {info['file'] or '-'}")
        return show_table(
            (
                "    ID  Pins  Links  Mode       Type           Name",
                "======  ====  =====  =========  =============  ====================",
            ),
            lines,
        )
    for info in rows:
        maps = info["maps"]
        print()
        print(f"ID             : {info['id']}")
        print(f"File name      : {info['file']}")
        print(f"Section        : {info['section']}")
        print(f"Name           : {info['name']}")
        print(f"Program type   : {info['program_type']}")
        print(f"Platform       : {info['platform']}")
        print(f"Mode           : {_MODES.get(info['engine'], '?')}")
        print(f"# map IDs      : {len(maps)}")
        for number, id in enumerate(maps):
            print(f"{'map IDs        : ' if number == 0 else ' ' * 17}{id}")
        print(f"# pinned paths : {len(info['pins'])}")
        print(f"# links        : {info['links']}")
        print(f"# runs         : {info['run_count']}")
        print(f"Time in runs   : {info['run_time']} ns")
        print(f"Tag            : {info['tag']}")
        if info["broken"]:
            print(f"Broken         : {info['broken']}")
    return EXIT_OK


def _require_type(section: str, given: str) -> None:
    """Raises :class:`InputError` for the name of a section in which no platform has programs."""
    from prevail_py.platforms import platform

    if all(platform(name).program_type_of_section(section) is None for name in ("linux", "windows")):
        raise InputError(f"ebpf: {given}: no programs are in a section of this name")


def _wanted(info: Mapping[str, Any], given: Arguments) -> bool:
    from prevail_py.platforms import platform

    if "type" in given:
        found = platform(info["platform"]).program_type_of_section(given["type"])
        if found is None or found[0] != info["program_type"]:
            return False
    for tag, count in (("attached", info["links"]), ("pinned", len(info["pins"]))):
        if given.get(tag, "any") != "any" and (given[tag] == "yes") != bool(count):
            return False
    by_text = (("filename", "file"), ("section", "section"), ("id", "id"))
    return all(info[name] == given[tag] for tag, name in by_text if tag in given)


# Pins, maps, links, processes. ----------


def pin(kind: str, shell: Shell, given: Arguments) -> int:
    """Under its own name unless told otherwise."""
    info = shell.info(kind, given["id"])
    with shell.open(kind, given["id"]) as handle:
        shell.session.call("pin", handle=handle, path=given.get("pinpath") or name_of(info))
    return EXIT_OK


def unpin(kind: str, shell: Shell, given: Arguments) -> int:
    """From its own name unless told otherwise."""
    info = shell.info(kind, given["id"])
    name = given.get("pinpath") or name_of(info)
    if name not in info["pins"]:
        raise HostError(errno.ENOENT, f"{kind} {given['id']} is not pinned at {name}")
    shell.session.call("unpin", path=name)
    return EXIT_OK


def show_maps(shell: Shell, given: Arguments) -> int:
    """The table."""
    from prevail_py.libbpf.names import libbpf_bpf_map_type_str

    rows = shell.objects("map")
    if shell.json:
        return shell.show(rows)
    lines = []
    for info in rows:
        spec = info["spec"]
        kind = libbpf_bpf_map_type_str(spec["type"]) or str(spec["type"])
        sizes = f"{spec['key_size']:6}{spec['value_size']:7}{spec['max_entries']:9}"
        lines.append(f"{info['id']:7}  {kind:>18}{sizes}{0:7}{len(info['pins']):6}  {spec['name']}")
    return show_table(
        (
            "                              Key  Value      Max  Inner",
            "     ID            Map Type  Size   Size  Entries     ID  Pins  Name",
            "=======  ==================  ====  =====  =======  =====  ====  ========",
        ),
        lines,
    )


def show_links(shell: Shell, given: Arguments) -> int:
    """The table."""
    rows = shell.objects("link")
    if shell.json:
        return shell.show(rows)
    return show_table(
        ("   Link  Program  Attach", "     ID       ID  Type", "=======  =======  ============="),
        [f"{info['id']:7}{info['program']:9}  {info['attach_type']}" for info in rows],
    )


def show_pins(shell: Shell, given: Arguments) -> int:
    """The table."""
    rows = shell.session.call("pins")
    if shell.json:
        return shell.show([{"path": path, "kind": kind, "id": id} for path, kind, id in rows])
    return show_table(
        ("     ID     Type  Path", "=======  =======  =============="),
        [f"{id:7}  {kind.capitalize():>7}  {path}" for path, kind, id in rows],
    )


def show_processes(shell: Shell, given: Arguments) -> int:
    """The table: who is connected, this command aside."""
    import os

    rows = [row for row in shell.session.call("sessions") if row[0] != os.getpid()]
    if shell.json:
        return shell.show([{"pid": pid, "uid": uid, "name": name, "handles": held} for pid, uid, name, held, _ in rows])
    return show_table(("  PID  Name", "=====  =============="), [f"{pid:5}  {name}" for pid, _, name, _, _ in rows])


_FILE: Final = Tag("filename", "an object file", required=True)
_SECTION: Final = Tag("section", "a section of it (the first one with a program)")
_TYPE: Final = Tag("type", "a name of a section, which says what the program is")
_LEVEL: Final = Tag("level", "how much to show", values=_LEVELS)
_ID: Final = Tag("id", "the number of the object", required=True, number=True)
_PLATFORM: Final = Tag("platform", "whose sections and numbers the file uses (linux)", values=("linux", "windows"))
_PINPATH: Final = Tag("pinpath", "a name to pin it at (its own)")
_INTERFACE: Final = Tag("interface", "the name or number of an interface on a wire of the host")


NETSH: Final = (
    Command(("add", "program"), "Load a program; pin and attach it", (
        _FILE, _TYPE, Tag("pinpath", "a name, or with pinned=all a directory, to pin at (the program's name)"),
        _INTERFACE, Tag("pinned", "what to pin (first)", values=("none", "first", "all")),
        Tag("execution", "generated code, or the interpreter (jit)", values=("jit", "interpret")), _PLATFORM,
    ), add_program),
    Command(("delete", "program"), "Unpin and detach a program, which unloads it", (_ID,), delete_program),
    Command(("pin", "map"), "Pin a map", (_ID, _PINPATH), lambda shell, given: pin("map", shell, given)),
    Command(("pin", "program"), "Pin a program", (_ID, _PINPATH), lambda shell, given: pin("program", shell, given)),
    Command(("set", "program"), "Attach, detach, pin or unpin a program", (
        _ID, Tag("attached", "what to attach it as; empty to detach it"),
        Tag("pinpath", "a name to pin it at; empty to unpin it"), _INTERFACE,
    ), set_program),
    Command(("show", "disassembly"), "Show the instructions of an object", (_FILE, _SECTION, _PLATFORM),
            show_disassembly),
    Command(("show", "hash"), "Show the hashes of the programs of an object", (
        _FILE, Tag("hashonly", "only the hashes", values=("yes",)), _PLATFORM,
    ), show_hash),
    Command(("show", "links"), "Show all links", (), show_links),
    Command(("show", "maps"), "Show all maps", (), show_maps),
    Command(("show", "pins"), "Show all names that something is pinned at", (), show_pins),
    Command(("show", "processes"), "Show who is connected to the host", (), show_processes),
    Command(("show", "programs"), "Show programs", (
        _TYPE, Tag("attached", "only attached ones, or others", values=_BOOLEAN),
        Tag("pinned", "only pinned ones, or others", values=_BOOLEAN), _LEVEL,
        Tag("filename", "from this object file"), Tag("section", "from this section"),
        Tag("id", "the number of a program", number=True),
    ), show_programs),
    Command(("show", "sections"), "Show sections and maps of an object", (_FILE, _SECTION, _LEVEL, _PLATFORM),
            show_sections),
    Command(("show", "verification"), "Verify programs of an object", (_FILE, _SECTION, _TYPE, _LEVEL, _PLATFORM),
            show_verification),
    Command(("unpin", "map"), "Unpin a map", (_ID, _PINPATH), lambda shell, given: unpin("map", shell, given)),
    Command(("unpin", "program"), "Unpin a program", (_ID, _PINPATH),
            lambda shell, given: unpin("program", shell, given)),
)  # fmt: skip
"""All commands, in alphabetical order."""
