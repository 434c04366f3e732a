"""Programs at hooks, among them one of another package, which the core does not know."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.hooks import hooks
from prevail_py.objects.text import assemble
from tests.host.context.tools import COUNTER, DROP, PASS, info, load, refused

BELL = '''
"""A hook of somebody else: rings of a door bell, as packets."""
import errno

BELLS = []

class Bell:
    name = "bell"
    def accepts(self, program):
        return program.program_type == "xdp"
    def attach(self, runner, parameters):
        if parameters.get("door") == "locked":
            raise OSError(errno.EBUSY, "the door is locked")
        bell = Attached(runner, parameters)
        BELLS.append(bell)
        return bell

class Attached:
    def __init__(self, runner, parameters):
        self.runner, self.rings, self.attached = runner, 0, True
    def ring(self, packet):
        self.rings += 1
        return self.runner(packet=packet)
    def detach(self):
        self.attached = False
    def describe(self):
        return {"rings": self.rings}
'''


@pytest.fixture
def bells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The package is installed: a module and an entry point."""
    (tmp_path / "door_bell.py").write_text(BELL)
    information = tmp_path / "door_bell-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: door-bell\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[prevail_py.hooks]\nbell = door_bell:Bell\nsock_addr = door_bell:Bell\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "door_bell", raising=False)
    import door_bell  # type: ignore[import-not-found]

    found: list[Any] = door_bell.BELLS
    return found


def attach(session: Any, program: int, **options: Any) -> int:
    arguments: dict[str, Any] = {"hook": "bell", "parameters": {}, "held": False, **options}
    handle: int = session.call("link_create", program=program, **arguments)
    return handle


def test_a_hook_of_another_package(context: ExecutionContext, bells: list[Any]) -> None:
    with context.session() as session:
        program = load(session, COUNTER)
        link = attach(session, program, parameters={"door": "front"})
        assert bells[0].ring(bytes(60)).outcome.value == 2
        found = info(session, link)
        assert (found["hook"], found["attach_type"], found["parameters"]) == ("bell", "xdp", {"door": "front"})
        assert (found["state"], found["attached"]) == ({"rings": 1}, True)
        assert (info(session, program)["links"], info(session, program)["run_count"]) == (1, 1)
        session.call("link_update", link=link, program=load(session, replace(DROP, expected_attach_type="xdp")))
        assert bells[0].ring(b"").outcome.value == 1
        assert info(session, program)["links"] == 0
        other = assemble("r0 = 0\nexit", program_type="socket_filter", name="filter")
        refused(errno.EINVAL, session.call, "link_update", link=link, program=load(session, other))
        session.call("link_detach", link=link)
        assert bells[0].attached is False
        assert bells[0].ring(b"") is None
        assert info(session, link)["attached"] is False
        session.call("link_detach", link=link)  # nothing more happens
        assert "locked" in str(refused(errno.EBUSY, attach, session, program, parameters={"door": "locked"}))
        refused(errno.EOPNOTSUPP, attach, session, load(session, other))
        refused(errno.EOPNOTSUPP, attach, session, program, hook="nowhere")
    assert (context.links, context.programs, context.maps) == ({}, {}, {})


def test_the_names_of_this_package_are_taken(context: ExecutionContext, bells: list[Any]) -> None:
    assert context.hook("sock_addr").__class__.__name__ == "SockAddrHook"
    assert context.hook("nowhere") is None
    assert context.hook("bell") is context.hook("bell")
    assert "bell" in hooks()
    assert context.hook_for(replace(PASS, program_type="tracepoint")) is None


def test_links_that_the_hook_holds(context: ExecutionContext, bells: list[Any]) -> None:
    with context.session() as session:
        attach(session, load(session), held=True)
        attach(session, load(session, DROP))
    assert set(context.links) == {1}
    assert [bell.attached for bell in bells] == [True, False]
    assert bells[0].ring(b"").outcome.value == 2
    with context.session() as session:
        session.call("link_detach", link=session.call("open_id", kind="link", id=1))
    assert (context.links, context.programs) == ({}, {})


def test_links_come_back_with_pinned_programs(reopen: Callable[[], ExecutionContext], bells: list[Any]) -> None:
    with reopen() as context, context.session() as session:
        program = load(session, COUNTER)
        session.call("pin", handle=program, path="/p")
        attach(session, program, parameters={"door": "back"}, held=True)
        session.call("pin", handle=attach(session, load(session, DROP)), path="/link")
        attach(session, load(session, PASS), held=True)  # nobody could name it
    assert not any(bell.attached for bell in bells)
    with reopen() as context, context.session() as session:
        assert set(context.links) == {1, 2}
        found = info(session, session.call("open_id", kind="link", id=1))
        assert (found["parameters"], found["held"], found["attached"]) == ({"door": "back"}, True, True)
        assert [bell.ring(bytes(60)).outcome.value for bell in bells[3:]] == [2, 1]
        session.call("link_detach", link=1)
        session.call("unpin", path="/link")
    with reopen() as context:
        assert (context.links, set(context.programs)) == ({}, {1})


def test_links_that_wait_to_be_called(context: ExecutionContext) -> None:
    """bind(2): the supervisor holds the link."""
    text = "r1 = *(u32 *)(r1 + 24)\nr0 = 1\nexit"
    program = assemble(text, program_type="cgroup_sock_addr", name="bind4")
    program = replace(program, expected_attach_type="cgroup_inet4_bind")
    with context.session() as session:
        handle = load(session, program)
        refused(errno.EINVAL, attach, session, handle, hook=None, parameters={"x": 1})
        link = attach(session, handle, hook=None, parameters={"command": "true", "pid": 1})
        result = session.call("link_invoke", link=link, context=bytes(72))
        assert (result["value"], result["context"]) == (1, bytes(72))
        session.call("link_detach", link=link)
        refused(errno.ENOENT, session.call, "link_invoke", link=link, context=bytes(72))
