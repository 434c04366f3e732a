"""What the kernel engine says that it can do."""

from __future__ import annotations

import pytest

from prevail_py.platforms.linux.map_types import MAP_TYPES
from prevail_py.vm.kernel import survey as module
from prevail_py.vm.kernel.survey import Survey, survey


@pytest.mark.usefixtures("kernel")
def test_everything_is_tried() -> None:
    found = survey()
    assert {"xdp", "sched_cls", "socket_filter"} <= set(found.program_types)
    assert {"hash", "array", "ringbuf", "lpm_trie", "queue", "devmap"} <= set(found.map_types)
    tried = {*found.program_types, *found.map_types, *found.refused}
    assert tried >= {kind.name for kind in MAP_TYPES.values()} - {"struct_ops", "arena"}
    assert "xdp" in str(found)


@pytest.mark.usefixtures("kernel")
def test_what_does_not_work_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUN", ("xdp", "flow_dissector"))
    found = survey()
    assert found.program_types == ("xdp",)
    assert "flow_dissector" in found.refused


def test_text() -> None:
    assert str(Survey((), ("hash",), {"xdp": "why"})) == "runs nothing; 1 map types; not here: xdp"
