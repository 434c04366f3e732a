"""What the tests of the host do again and again, in plain words."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from prevail_py import examples
from prevail_py.host.context.model import Connection, HostError
from prevail_py.host.service.programs import from_map, from_program
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble

PASS = assemble("r0 = 2\nexit", name="pass_all")
DROP = assemble("r0 = 1\nexit", name="drop_all")
COUNTER = load_object(examples.path("xdp_counter")).programs["xdp_counter"]
UNSAFE = assemble("r0 = *(u8 *)(r1 + 400)\nexit", name="unsafe")
ARRAY = MapSpec("numbers", 2, 4, 8, 4)


def new_map(session: Connection, spec: MapSpec = ARRAY) -> int:
    handle: int = session.call("map_create", spec=from_map(spec))
    return handle


def load(session: Connection, program: Program = PASS, maps: list[int] | None = None, **options: Any) -> int:
    """Load a program, with new maps unless some are given."""
    if maps is None:
        maps = [new_map(session, spec) for spec in program.maps]
    arguments: dict[str, Any] = {"engine": "interpreter", "file": "", **options}
    handle: int = session.call("program_load", program=from_program(program), maps=list(maps), **arguments)
    return handle


def info(session: Connection, handle: int) -> dict[str, Any]:
    found: dict[str, Any] = session.call("info", handle=handle)
    return found


def refused(number: int, action: Callable[..., object], *arguments: Any, **named: Any) -> HostError:
    with pytest.raises(HostError) as error:
        action(*arguments, **named)
    assert errno.errorcode[error.value.errno or 0] == errno.errorcode[number], error.value
    return error.value
