"""What programs use is read off their code and maps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prevail_py import assemble, examples, load
from prevail_py.isa.instructions import Call, CallKfunc, Exit
from prevail_py.objects.btf import parse_btf
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.research.corpora.features import btf_need, uses
from prevail_py.research.elf_writer import BtfWriter


def helper(name: str) -> Call:
    return next(Call(number) for number in platform().helper_ids() if platform().helper_name(number) == name)


def program(*code: Call | CallKfunc | Exit, type: str = "xdp") -> Program:
    return Program("p", type, type, code)


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("bpf_loop", "callback"),
        ("bpf_for_each_map_elem", "callback"),
        ("bpf_spin_lock", "spin-lock"),
        ("bpf_timer_init", "timer"),
        ("bpf_dynptr_from_mem", "dynptr"),
        ("bpf_kptr_xchg", "kptr"),
        ("bpf_get_current_task_btf", "btf"),
    ],
)
def test_helpers_stand_for_features(name: str, feature: str) -> None:
    assert feature in uses(program(helper(name), Exit(), type="kprobe"))


def test_what_needs_types_of_the_kernel() -> None:
    assert btf_need(program(Exit(), type="lsm")) == "the context of lsm programs"
    assert btf_need(program(helper("bpf_get_current_task_btf"), Exit(), type="kprobe")) == "bpf_get_current_task_btf"
    assert btf_need(program(helper("bpf_sk_release"), Exit(), type="sched_cls")) == ""
    assert btf_need(assemble("r0 = 2\nexit")) == ""


def test_programs_of_the_examples() -> None:
    (subprogram,) = load(examples.path("xdp_subprogram")).programs.values()
    assert uses(subprogram) == ("subprogram",)
    assert "kfunc" in uses(replace(subprogram, unsupported=("kfunc bpf_iter_num_new",)))
    assert "iterator" in uses(replace(subprogram, unsupported=("kfunc bpf_iter_num_new",)))


def test_locks_in_the_values_of_maps() -> None:
    btf = BtfWriter()
    number = btf.integer("int", 4)
    lock = btf.struct("bpf_spin_lock", 4, [("val", number, 0)])
    value = btf.struct("value", 8, [("count", number, 0), ("lock", lock, 32)])
    array = btf.array(value, 2)
    spec = MapSpec("m", 2, 4, 16, 1, value_btf=array)
    made = replace(assemble("r0 = 2\nexit"), maps=(spec,))
    assert uses(made, parse_btf(memoryview(btf.build()))) == ("spin-lock",)
    assert uses(made) == ()
