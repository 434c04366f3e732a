"""The Linux tables: regenerated from the facts, and spot-checked against what the kernel documents."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from prevail_py.platforms import platform
from prevail_py.platforms.linux import generate
from prevail_py.platforms.model import ArgKind, FieldKind, LookupResult, ReturnKind

LINUX = platform()


def test_tables_are_what_the_generator_makes_of_the_facts(shared_dir: Path) -> None:
    for name, text in generate.render(shared_dir / "facts").items():
        assert (Path(generate.__file__).parent / name).read_text() == text


HELPER = {
    "id": 1,
    "name": "bpf_x",
    "prototypes": [{"proto": "p", "ret": "RET_VOID", "args": [{"type": "ARG_ANYTHING"}]}],
    "program_types": ["xdp"],
}


@pytest.mark.parametrize(
    "change",
    [
        {"prototypes": [{"proto": "p", "ret": "RET_NEW", "args": []}]},
        {"prototypes": [{"proto": "p", "ret": "RET_VOID", "args": [{"type": "ARG_PTR_TO_MEM"}]}]},
        {"prototypes": [{"proto": "p", "ret": "RET_VOID", "args": [{"type": "ARG_ANYTHING", "size": "sizeof(x)"}]}]},
        {"prototypes": [{"proto": p, "ret": r, "args": []} for p, r in (("p", "RET_VOID"), ("q", "RET_INTEGER"))]},
        {"program_types": ["brand_new"]},
    ],
)  # fmt: skip
def test_generator_refuses_what_it_does_not_know(change: dict[str, object]) -> None:
    assert generate.helper_table({"helpers": [HELPER]})
    with pytest.raises(generate.FactsError):
        generate.helper_table({"helpers": [HELPER | change]})


def test_generator_command_reports_missing_facts_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert generate.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_helper_has_a_prototype() -> None:
    ids = LINUX.helper_ids()
    assert ids == tuple(range(1, 212))
    for id in ids:
        prototype = LINUX.helper(id)
        assert prototype is not None
        assert prototype.id == id
        assert LINUX.helper_by_name(prototype.name) == prototype
        assert len(prototype.args) <= 5
        for arg, following in zip(prototype.args, (*prototype.args[1:], None), strict=False):
            if arg.is_sized_memory:
                assert following is not None
                assert following.kind in (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO)
                assert arg.reads or arg.writes
            if arg.kind is ArgKind.FIXED_MEM:
                assert arg.size
                assert arg.reads or arg.writes


def test_helpers_differ_by_program_type() -> None:
    cookie = {name: LINUX.helper(46, name) for name in ("xdp", "sched_cls", "sk_reuseport")}
    assert cookie["xdp"] is None
    assert cookie["sched_cls"] is not None
    assert cookie["sched_cls"].args[0].kind is ArgKind.CTX
    assert cookie["sk_reuseport"] is not None
    assert cookie["sk_reuseport"].args[0].kind is ArgKind.BTF_SOCK_COMMON_OR_NULL
    assert cookie["sk_reuseport"].args[0].nullable
    assert LINUX.helper_name(46) == "bpf_get_socket_cookie"
    assert LINUX.helper(4711) is None
    redirect = LINUX.helper_by_name("bpf_redirect", "xdp")
    assert redirect is not None
    assert [arg.kind for arg in redirect.args] == [ArgKind.ANYTHING, ArgKind.ANYTHING]


def test_helpers_that_write_memory_say_so() -> None:
    writers = {
        ("bpf_fib_lookup", 1),
        ("bpf_d_path", 1),
        ("bpf_snprintf_btf", 0),
        ("bpf_snprintf", 0),
        ("bpf_check_mtu", 2),
    }
    for name, position in writers:
        prototype = LINUX.helper_by_name(name)
        assert prototype is not None
        assert prototype.args[position].writes, name
    stack = LINUX.helper_by_name("bpf_get_stack", "raw_tracepoint")
    assert stack is not None
    assert stack.args[1].writes
    assert not stack.args[1].reads


def test_helper_flags() -> None:
    moving = {
        prototype.name for id in LINUX.helper_ids() if (prototype := LINUX.helper(id)) and prototype.changes_packet
    }
    assert {"bpf_xdp_adjust_head", "bpf_skb_pull_data", "bpf_tail_call"} <= moving
    assert len(moving) == 23
    acquiring = {p.name for id in LINUX.helper_ids() if (p := LINUX.helper(id)) and p.acquires}
    assert "bpf_sk_lookup_tcp" in acquiring
    release = LINUX.helper_by_name("bpf_sk_release")
    assert release is not None
    assert release.args[0].releases
    for tracing in (LINUX.helper_by_name("bpf_get_func_ret", "tracing"), LINUX.helper_by_name("bpf_get_func_ret")):
        assert tracing is not None
        assert tracing.program_types == frozenset()
        assert tracing.args[1].size == 8
    assert LINUX.helper_by_name("bpf_get_func_ret", "kprobe") is None
    reserve = LINUX.helper_by_name("bpf_ringbuf_reserve")
    assert reserve is not None
    assert reserve.returns is ReturnKind.MEM_OR_NULL
    assert ArgKind.ALLOC_SIZE in [arg.kind for arg in reserve.args]


def test_xdp_context() -> None:
    xdp = LINUX.program_type("xdp")
    assert (xdp.number, xdp.context_size, xdp.context_struct) == (6, 24, "xdp_md")
    assert xdp.context_read(0, 4) is FieldKind.PACKET
    assert xdp.context_read(4, 4) is FieldKind.PACKET_END
    assert xdp.context_read(8, 4) is FieldKind.PACKET_META
    assert xdp.context_read(12, 4) is FieldKind.SCALAR
    for offset, size in ((0, 8), (0, 2), (2, 4), (20, 4), (-4, 4), (24, 4)):
        assert xdp.context_read(offset, size) is None
    assert not any(xdp.context_write(offset, 4) for offset in range(24))
    assert [field.offset for field in xdp.pointer_fields] == [0, 4, 8]
    assert LINUX.program_type("xdp", "xdp_devmap").context_read(20, 4) is FieldKind.SCALAR


def test_plain_contexts_answer_by_size() -> None:
    tracepoint = LINUX.program_type("tracepoint")
    assert tracepoint.context_read(0, 8) is None
    assert tracepoint.context_read(8184, 8) is FieldKind.SCALAR
    assert tracepoint.context_read(8192, 8) is None
    assert tracepoint.context_read(12, 8) is None
    assert LINUX.program_type("syscall").context_write(65526, 2)
    assert not LINUX.program_type("tracing").context_known


def test_attach_types_change_context_and_result() -> None:
    bind4 = LINUX.program_type("cgroup_sock_addr", "cgroup_inet4_bind")
    bind6 = LINUX.program_type("cgroup_sock_addr", "cgroup_inet6_bind")
    assert bind4.return_range == bind6.return_range == (0, 3)
    assert bind4.context_read(4, 4) is FieldKind.SCALAR
    assert bind6.context_read(4, 4) is None
    assert bind6.context_read(5, 1) is None
    assert bind4.context_read(8, 8) is None
    assert bind6.context_read(8, 8) is FieldKind.SCALAR
    assert bind6.context_read(0, 4) is FieldKind.SCALAR
    assert bind6.context_write(20, 4)
    assert not bind6.context_write(4, 4)
    assert LINUX.program_type("cgroup_skb", "cgroup_inet_egress").return_range == (0, 3)
    assert LINUX.program_type("cgroup_skb", "cgroup_inet_ingress").return_range == (0, 1)
    assert LINUX.program_type("tracing", "trace_fentry").return_range == (0, 0)
    assert LINUX.program_type("xdp", "xdp").return_range is None
    assert LINUX.program_type("xdp", "no such attach type") is LINUX.program_type("xdp")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("xdp", ("xdp", "xdp")),
        ("xdp/cpumap", ("xdp", "xdp_cpumap")),
        ("xdp.frags/devmap", ("xdp", "xdp_devmap")),
        ("xdp/mine", ("xdp", "xdp")),
        ("?tc", ("sched_cls", "")),
        ("tcx/egress", ("sched_cls", "tcx_egress")),
        ("classifier/x/y", ("sched_cls", "")),
        ("action", ("sched_act", "")),
        ("socket", ("socket_filter", "")),
        ("kprobe/do_unlinkat", ("kprobe", "")),
        ("kprobe.multi/tcp_*", ("kprobe", "trace_kprobe_multi")),
        ("uretprobe.s//usr/bin/bash:readline", ("kprobe", "")),
        ("tp/sched/sched_switch", ("tracepoint", "")),
        ("raw_tp.w/x", ("raw_tracepoint_writable", "")),
        ("raw_tp", ("raw_tracepoint", "")),
        ("tp_btf/x", ("tracing", "trace_raw_tp")),
        ("fmod_ret.s/x", ("tracing", "modify_return")),
        ("lsm/file_open", ("lsm", "lsm_mac")),
        ("iter.s/task", ("tracing", "trace_iter")),
        ("freplace", ("ext", "")),
        ("cgroup/connect4", ("cgroup_sock_addr", "cgroup_inet4_connect")),
        ("cgroup_skb/ingress", ("cgroup_skb", "cgroup_inet_ingress")),
        ("cgroup/skb", ("cgroup_skb", "")),
        ("sk_skb/stream_parser", ("sk_skb", "sk_skb_stream_parser")),
        ("syscall", ("syscall", "")),
        ("struct_ops.s/x", ("struct_ops", "")),
        ("netfilter", ("netfilter", "netfilter")),
        ("kprobes", None),
        ("xdpfoo", None),
        ("", None),
        ("/", None),
    ],
)
def test_section_names(section: str, expected: tuple[str, str] | None) -> None:
    assert LINUX.program_type_of_section(section) == expected


def test_section_table_is_consistent() -> None:
    for rule in LINUX.sections:
        assert rule.program_type in LINUX.program_types
        assert rule.attach_type == "" or rule.attach_type in LINUX.attach_types
    for attach_type in LINUX.attach_rules:
        assert attach_type in LINUX.attach_types
    frags = LINUX.section_rule("xdp.frags")
    sleepable = LINUX.section_rule("fentry.s/x")
    assert frags is not None
    assert frags.frags
    assert sleepable is not None
    assert sleepable.sleepable


def test_map_types() -> None:
    assert [LINUX.map_types[number].number for number in range(1, 34)] == list(range(1, 34))
    array = LINUX.map_type_by_name("array")
    assert array is not None
    assert array.index_key
    assert LINUX.map_type(0) is None
    assert LINUX.map_type(14).value_access == "r"  # type: ignore[union-attr]
    assert LINUX.map_type(12).lookup is LookupResult.MAP  # type: ignore[union-attr]
    names = {prototype.name for id in LINUX.helper_ids() if (prototype := LINUX.helper(id))}
    for map_type in LINUX.map_types.values():
        assert map_type.helpers is None or map_type.helpers <= names, map_type
    assert set(LINUX.bound_helpers) <= names
    for helper, map_names in LINUX.bound_helpers.items():
        for name in map_names:
            found = LINUX.map_type_by_name(name)
            assert found is not None
            assert LINUX.map_accepts(found.number, helper)


@pytest.mark.parametrize(
    ("map_type", "helper", "accepted"),
    [
        ("array", "bpf_map_lookup_elem", True),
        ("prog_array", "bpf_map_lookup_elem", False),
        ("array", "bpf_tail_call", False),
        ("prog_array", "bpf_tail_call", True),
        ("devmap", "bpf_redirect_map", True),
        ("hash", "bpf_redirect_map", False),
        ("cpumap", "bpf_map_lookup_elem", False),
    ],
)
def test_maps_and_helpers_go_together(map_type: str, helper: str, accepted: bool) -> None:
    found = LINUX.map_type_by_name(map_type)
    assert found is not None
    assert LINUX.map_accepts(found.number, helper) is accepted
    assert not LINUX.map_accepts(99, helper)


def test_numbers_agree_with_the_header() -> None:
    header = Path("/usr/include/linux/bpf.h")
    if not header.exists():
        pytest.skip("headers: there is no /usr/include/linux/bpf.h (linux-libc-dev)")
    words = header.read_text().replace(",", " ").split()
    for enum, prefix, table in (
        ("bpf_prog_type", "BPF_PROG_TYPE_", {name: row.number for name, row in LINUX.program_types.items()}),
        ("bpf_map_type", "BPF_MAP_TYPE_", {row.name: row.number for row in LINUX.map_types.values()}),
    ):
        start = next(i for i, word in enumerate(words) if word == enum and words[i + 1] == "{")
        names = [word for word in words[start : words.index("};", start)] if word.startswith(prefix)]
        ordered = [name.removeprefix(prefix).lower().removesuffix("_deprecated") for name in names]
        for number, name in enumerate(dict.fromkeys(ordered)):
            if number:
                assert table[name] == number


def test_loads_quickly_and_lazily() -> None:
    code = (
        "import time; from prevail_py.platforms import platform; t = time.process_time(); platform(); "
        "print(time.process_time() - t)"
    )
    best = min(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3))
    assert best < 0.030
    start = time.process_time()
    assert platform() is LINUX
    assert time.process_time() - start < 0.001


def test_unknown_platform() -> None:
    with pytest.raises(ValueError, match="unknown platform 'plan9'"):
        platform("plan9")
