"""The calls that a host answers: the table that is its protocol.

Arguments and results are plain data (:data:`prevail_py.host.canonical.Plain`); what each call does, its own text says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prevail_py.host.context import map_calls, object_calls, program_calls

__all__ = ["CALLS", "Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call: what does it, the types of its arguments, those that may be left out (None then), whether it changes.

    A session that may only look makes no calls that change anything.
    """

    handler: Callable[..., Any]
    arguments: Mapping[str, type]
    optional: frozenset[str] = frozenset()
    changes: bool = False


CALLS: Final[Mapping[str, Call]] = {
    "close": Call(object_calls.close, {"handle": int}),
    "info": Call(object_calls.info, {"handle": int}),
    "next_id": Call(object_calls.next_id, {"kind": str, "after": int}),
    "open_id": Call(object_calls.open_id, {"kind": str, "id": int}),
    "pin": Call(object_calls.pin, {"handle": int, "path": str}, changes=True),
    "unpin": Call(object_calls.unpin, {"path": str}, changes=True),
    "open_pin": Call(object_calls.open_pin, {"path": str}),
    "pins": Call(object_calls.pins, {}),
    "sessions": Call(object_calls.sessions, {}),
    "status": Call(object_calls.status, {}),
    "map_create": Call(map_calls.map_create, {"spec": dict}, changes=True),
    "map_lookup": Call(
        map_calls.map_lookup, {"handle": int, "key": bytes, "flags": int, "value": bytes}, optional=frozenset({"value"})
    ),
    "map_update": Call(map_calls.map_update, {"handle": int, "key": bytes, "value": bytes, "flags": int}, changes=True),
    "map_delete": Call(map_calls.map_delete, {"handle": int, "key": bytes}, changes=True),
    "map_freeze": Call(map_calls.map_freeze, {"handle": int}, changes=True),
    "map_next_key": Call(map_calls.map_next_key, {"handle": int, "key": bytes}, optional=frozenset({"key"})),
    "map_take": Call(map_calls.map_take, {"handle": int, "key": bytes, "flags": int}, changes=True),
    "map_lookup_batch": Call(map_calls.map_lookup_batch, {"handle": int, "at": int, "count": int}),
    "map_update_batch": Call(
        map_calls.map_update_batch, {"handle": int, "keys": list, "values": list, "flags": int}, changes=True
    ),
    "map_delete_batch": Call(map_calls.map_delete_batch, {"handle": int, "keys": list}, changes=True),
    "records_open": Call(map_calls.records_open, {"handle": int, "cpu": int}, changes=True),
    "records_take": Call(map_calls.records_take, {"handle": int, "limit": int, "milliseconds": int}, changes=True),
    "nonce": Call(program_calls.nonce, {}),
    "program_load": Call(
        program_calls.program_load,
        {"program": dict, "maps": list, "engine": str, "token": bytes, "file": str},
        optional=frozenset({"token"}),
        changes=True,
    ),
    "program_run": Call(
        program_calls.program_run,
        {"handle": int, "packet": bytes, "context": bytes, "repeat": int},
        optional=frozenset({"packet", "context"}),
        changes=True,
    ),
    "program_code": Call(program_calls.program_code, {"handle": int}),
    "link_create": Call(
        program_calls.link_create,
        {"program": int, "hook": str, "parameters": dict, "held": bool},
        optional=frozenset({"hook"}),
        changes=True,
    ),
    "link_update": Call(program_calls.link_update, {"link": int, "program": int}, changes=True),
    "link_detach": Call(program_calls.link_detach, {"link": int}, changes=True),
    "link_invoke": Call(
        program_calls.link_invoke,
        {"link": int, "context": bytes, "packet": bytes},
        optional=frozenset({"packet"}),
        changes=True,
    ),
}
"""The calls by name: the protocol, with Python's names for the types of :data:`~prevail_py.host.canonical.Plain`."""
