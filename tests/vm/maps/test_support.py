"""The table of what is supported of map types says what the code does."""

from __future__ import annotations

from prevail_py.platforms import platform
from prevail_py.vm.helpers.table import HELPERS
from prevail_py.vm.maps.create import MODELLED
from prevail_py.vm.maps.support import map_support

TABLE = {row.name: row for row in map_support()}


def test_all_types_are_there() -> None:
    assert [row.number for row in map_support()] == sorted(platform().map_types)
    assert {row.number for row in map_support() if row.modelled} == MODELLED


def test_rows() -> None:
    every = ("lookup", "update", "delete", "next_key", "take")
    assert TABLE["hash"].commands == every
    assert TABLE["array"].commands == ("lookup", "update", "next_key")
    assert TABLE["lpm_trie"].commands == ("lookup", "update", "delete", "next_key")
    assert TABLE["queue"].commands == ("lookup", "update", "take")
    assert TABLE["bloom_filter"].commands == ("lookup", "update")
    assert TABLE["ringbuf"].commands == ()
    assert TABLE["xskmap"].commands == ("delete", "next_key")
    assert TABLE["queue"].helpers == ("bpf_map_push_elem", "bpf_map_pop_elem", "bpf_map_peek_elem")
    assert TABLE["xskmap"].lookup == "xdp socket"
    assert [row.name for row in map_support() if row.redirect_target] == ["devmap", "cpumap", "xskmap", "devmap_hash"]
    assert {row.access for row in map_support()} == {"", "mapping", "list", "filter", "records"}


def test_levels_follow_from_the_helpers() -> None:
    for row in map_support():
        assert set(row.helpers) <= set(HELPERS)
        assert not set(row.missing_helpers) & set(HELPERS)
        assert (row.level == "none") == (not row.modelled)
        if row.modelled:
            assert (row.level == "full") == (not row.missing_helpers)
            assert row.helpers
