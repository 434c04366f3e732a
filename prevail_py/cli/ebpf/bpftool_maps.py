"""The commands of ``bpftool map``."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prevail_py.cli.ebpf.bpftool_words import SELECTORS, Words, hexadecimal, one, pin, select
from prevail_py.cli.support import EXIT_OK, InputError

if TYPE_CHECKING:
    from prevail_py.cli.ebpf.shell import Shell
    from prevail_py.objects.program import MapSpec

__all__ = ["MAP_VERBS"]

_FLAGS: Final = {"any": 0, "noexist": 1, "exist": 2}
_OF_PROGRAMS, _OF_MAPS = 3, (12, 13)


def _map_show(shell: Shell, rest: Words) -> int:
    from prevail_py.libbpf.names import libbpf_bpf_map_type_str

    rows = []
    for info in select(shell, "map", rest):
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
                "frozen": int(info["frozen"]),
                "pinned": info["pins"],
            }
        )
    if shell.json:
        return shell.show(rows)
    for row in rows:
        print(f"{row['id']}: {row['type']}  name {row['name']}  flags {row['flags']:#x}")
        frozen = "  frozen" if row["frozen"] else ""
        print(f"\tkey {row['bytes_key']}B  value {row['bytes_value']}B  max_entries {row['max_entries']}{frozen}")
        for path in row["pinned"]:
            print(f"\tpinned {path}")
    return EXIT_OK


def _map_dump(shell: Shell, rest: Words) -> int:
    info = one(shell, "map", rest)
    rows: list[tuple[bytes, bytes]] = []
    with shell.open("map", info["id"]) as handle:
        at: int | None = 0
        while at is not None:
            found = shell.session.call("map_lookup_batch", handle=handle, at=at, count=1024)
            rows += zip(found["keys"], found["values"], strict=True)
            at = found["next"]
    if shell.json:
        return shell.show([{"key": hexadecimal(key), "value": hexadecimal(value)} for key, value in rows])
    for key, value in rows:
        print(f"key: {key.hex(' ')}  value: {value.hex(' ')}")
    print(f"Found {len(rows)} element{'' if len(rows) == 1 else 's'}")
    return EXIT_OK


def _map_create(shell: Shell, rest: Words) -> int:
    from prevail_py.libbpf.map_syscalls import create
    from prevail_py.objects.program import MapSpec
    from prevail_py.platforms import platform

    path = rest.next("a path to pin at")
    options: dict[str, str] = {}
    inner: MapSpec | None = None
    while rest.words:
        if rest.words[0] == "inner_map" and inner is None:
            rest.words.pop(0)
            inner = _spec(one(shell, "map", rest))
        else:
            options |= rest.option("type", "key", "value", "entries", "name", "flags", given=options)
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
    spec = MapSpec(
        options["name"],
        kind.number,
        numbers["key"],
        numbers["value"],
        numbers["entries"],
        numbers["flags"],
        inner,
    )
    handle = create(shell.session, spec)
    try:
        shell.session.call("pin", handle=handle, path=path)
    finally:
        shell.session.call("close", handle=handle)
    return EXIT_OK


def _spec(info: Mapping[str, Any]) -> MapSpec:
    from prevail_py.host.service.programs import to_map

    return to_map(info["spec"])


# Elements. ----------


def _key(rest: Words) -> bytes:
    if rest.words[:1] != ["key"]:
        raise InputError("ebpf: key is wanted")
    rest.words.pop(0)
    return rest.data()


def _map_lookup(shell: Shell, rest: Words) -> int:
    info = one(shell, "map", rest)
    key = _key(rest)
    with shell.open("map", info["id"]) as handle:
        value = shell.session.call("map_lookup", handle=handle, key=key, flags=0)
    if shell.json:
        return shell.show({"key": hexadecimal(key), "value": hexadecimal(value)})
    print(f"key: {key.hex(' ')}  value: {value.hex(' ')}")
    return EXIT_OK


def _map_getnext(shell: Shell, rest: Words) -> int:
    info = one(shell, "map", rest)
    key = _key(rest) if rest.words else None
    with shell.open("map", info["id"]) as handle:
        following = shell.session.call("map_next_key", handle=handle, key=key)
    if shell.json:
        return shell.show({"key": None if key is None else hexadecimal(key), "next_key": hexadecimal(following)})
    print(f"key: {'None' if key is None else key.hex(' ')}\nnext key: {following.hex(' ')}")
    return EXIT_OK


def _map_delete(shell: Shell, rest: Words) -> int:
    info = one(shell, "map", rest)
    key = _key(rest)
    with shell.open("map", info["id"]) as handle:
        shell.session.call("map_delete", handle=handle, key=key)
    return EXIT_OK


def _map_update(shell: Shell, rest: Words) -> int:
    info = one(shell, "map", rest)
    return _put(shell, rest, info, _key(rest))


def _map_push(shell: Shell, rest: Words) -> int:
    return _put(shell, rest, one(shell, "map", rest), b"")


def _put(shell: Shell, rest: Words, info: Mapping[str, Any], key: bytes) -> int:
    """Set an element: to bytes, or to a map or program where the elements are such."""
    if rest.next("value") != "value":
        raise InputError("ebpf: value is wanted")
    kind = "program" if info["spec"]["type"] == _OF_PROGRAMS else "map" if info["spec"]["type"] in _OF_MAPS else None
    with shell.open("map", info["id"]) as handle:
        if kind is not None and rest.words[:1] and rest.words[0] in SELECTORS:
            entry = one(shell, kind, rest)
            with shell.open(kind, entry["id"]) as value:
                _update(shell, handle, key, value.to_bytes(4, "little"), rest)
        else:
            _update(shell, handle, key, rest.data(), rest)
    return EXIT_OK


def _update(shell: Shell, handle: int, key: bytes, value: bytes, rest: Words) -> None:
    flag = rest.next("a flag") if rest.words else "any"
    if flag not in _FLAGS or rest.words:
        raise InputError(f"ebpf: {' '.join([flag, *rest.words])!r} is not expected (there are: {', '.join(_FLAGS)})")
    shell.session.call("map_update", handle=handle, key=key, value=value, flags=_FLAGS[flag])


def _map_peek(shell: Shell, rest: Words) -> int:
    return _next_value(shell, rest, "map_lookup")


def _map_pop(shell: Shell, rest: Words) -> int:
    return _next_value(shell, rest, "map_take")


def _next_value(shell: Shell, rest: Words, call: str) -> int:
    """The next value of a queue or stack; that there is none is no error, as in bpftool."""
    from prevail_py.host.context.model import HostError

    info = one(shell, "map", rest)
    value: bytes | None = None
    with shell.open("map", info["id"]) as handle:
        try:
            value = shell.session.call(call, handle=handle, key=b"", flags=0)
        except HostError as error:
            if error.errno != errno.ENOENT:
                raise
    if shell.json:
        return shell.show({"error": "empty map"} if value is None else {"value": hexadecimal(value)})
    print("Error: empty map" if value is None else f"value: {value.hex(' ')}")
    return EXIT_OK


def _map_freeze(shell: Shell, rest: Words) -> int:
    info = one(shell, "map", rest)
    with shell.open("map", info["id"]) as handle:
        shell.session.call("map_freeze", handle=handle)
    return EXIT_OK


def _map_pin(shell: Shell, rest: Words) -> int:
    return pin(shell, "map", rest)


MAP_VERBS: Final[Mapping[str, Callable[[Shell, Words], int]]] = {
    "show": _map_show,
    "list": _map_show,
    "create": _map_create,
    "dump": _map_dump,
    "update": _map_update,
    "lookup": _map_lookup,
    "getnext": _map_getnext,
    "delete": _map_delete,
    "pin": _map_pin,
    "peek": _map_peek,
    "push": _map_push,
    "pop": _map_pop,
    "enqueue": _map_push,
    "dequeue": _map_pop,
    "freeze": _map_freeze,
}
"""By verb."""
