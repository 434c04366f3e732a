"""The less common functions: types, freezing, what is attached, old names, and those that a host cannot have."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from ctypes import c_uint32
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples, libbpf
from prevail_py.host.context.context import ExecutionContext
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.encode import encode
from prevail_py.libbpf import *
from prevail_py.libbpf import refused
from prevail_py.libbpf.syscalls import load
from prevail_py.objects.btf import Kind
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.target import KERNEL_BTF
from tests.host.context.conftest import honest

ZERO = bytes(4)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExecutionContext]:
    monkeypatch.setattr("prevail_py.libbpf.backend._current", None)
    with ExecutionContext(admissions=honest()) as context, context.session() as session:
        use(session)
        yield context


def opened(name: str) -> bpf_object:
    found = bpf_object__open(examples.path(name))
    assert found is not None
    return found


def said(code: int) -> str:
    return errno.errorcode[-code]


# Freezing. ----------


def test_a_map_that_is_frozen(host: ExecutionContext) -> None:
    """Clients cannot change it any more; programs can."""
    obj = opened("xdp_counter")
    assert bpf_object__load(obj) == 0
    program, total = bpf_program__fd(obj.programs[0]), bpf_object__find_map_fd_by_name(obj, "total")
    assert bpf_map_update_elem(total, ZERO, bytes(16)) == 0
    assert bpf_map_freeze(total) == 0
    assert said(bpf_map_freeze(total)) == "EBUSY"
    assert said(bpf_map_update_elem(total, ZERO, bytes(16))) == "EPERM"
    assert said(bpf_map_update_batch(total, ZERO, bytes(16), c_uint32(1))) == "EPERM"
    run = bpf_test_run_opts(data_in=bytes(60))
    assert bpf_prog_test_run_opts(program, run) == 0
    value = bytearray(16)
    assert bpf_map_lookup_elem(total, ZERO, value) == 0
    assert value[0] == 1
    hashes = bpf_map_create(1, "hashes", 4, 4, 4)
    assert bpf_map_update_elem(hashes, ZERO, ZERO) == bpf_map_freeze(hashes) == 0
    assert said(bpf_map_delete_elem(hashes, ZERO)) == "EPERM"
    assert said(bpf_map_lookup_and_delete_elem(hashes, ZERO, bytearray(4))) == "EPERM"
    assert said(bpf_map_delete_batch(hashes, ZERO, c_uint32(1))) == "EPERM"
    assert said(bpf_map_freeze(99)) == "EBADF"


def test_it_stays_frozen_over_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    for _ in range(2):
        with ExecutionContext(store=store, admissions=honest()) as context, context.session() as session:
            use(session)
            fd = bpf_obj_get("/kept")
            if fd < 0:
                fd = bpf_map_create(2, "kept", 4, 4, 1)
                assert bpf_obj_pin(fd, "/kept") == bpf_map_freeze(fd) == 0
            assert said(bpf_map_update_elem(fd, ZERO, ZERO)) == "EPERM"


# Before loading. ----------


def test_maps_before_loading(host: ExecutionContext) -> None:
    obj = opened("xdp_counter")
    total = bpf_object__find_map_by_name(obj, "total")
    assert total is not None
    assert bpf_map__ifindex(total) == bpf_map__set_ifindex(total, 0) == 0
    assert said(bpf_map__set_ifindex(total, 2)) == "ENOTSUP"
    assert bpf_map__set_numa_node(total, 3) == 0
    assert bpf_map__numa_node(total) == 3
    assert bpf_map__inner_map(total) is None
    inner = bpf_map_create(2, "inner", 4, 8, 1)
    assert said(bpf_map__set_inner_map_fd(total, inner)) == "EINVAL"
    assert bpf_map__set_type(total, 12) == bpf_map__set_value_size(total, 4) == 0
    assert bpf_map__set_inner_map_fd(total, inner) == 0
    found = bpf_map__inner_map(total)
    assert found is not None
    assert bpf_map__value_size(found) == 8
    assert said(bpf_map__set_inner_map_fd(total, inner)) == "EINVAL"
    assert bpf_object__set_kversion(obj, 7) == 0
    assert bpf_object__kversion(obj) == 7


def test_instructions_before_loading(host: ExecutionContext) -> None:
    obj = opened("xdp_counter")
    (program,) = obj.programs
    assert bpf_program__set_ifindex(program, 0) == 0
    assert said(bpf_program__set_ifindex(program, 1)) == "ENOTSUP"
    assert said(bpf_program__set_insns(program, b"\xff" * 8)) == "EINVAL"
    assert said(bpf_program__set_insns(program, b"")) == "EINVAL"
    assert said(bpf_prog_load(6, "empty", "MIT", b"", 0)) == "EINVAL"
    assert bpf_program__set_insns(program, encode(assemble_text("r0 = 1\nexit")), 2) == 0
    assert bpf_object__load(obj) == 0
    run = bpf_test_run_opts(data_in=bytes(60))
    assert bpf_prog_test_run_opts(bpf_program__fd(program), run) == 0
    assert run.retval == 1
    assert said(bpf_program__set_insns(program, encode(assemble_text("exit")))) == "EBUSY"
    assert said(bpf_object__set_kversion(obj, 7)) == "EINVAL"


# What is attached; descriptors with options. ----------


class Place:
    name = "place"

    def accepts(self, program: Any) -> bool:
        return True

    def attach(self, runner: Any, parameters: Any) -> Any:
        from prevail_py.host.hooks import Passive

        return Passive()


def test_what_is_attached(host: ExecutionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Any = Place()
    monkeypatch.setattr(ExecutionContext, "hook_for", lambda *arguments: place)
    obj = opened("xdp_counter")
    assert bpf_object__load(obj) == 0
    fd = bpf_program__fd(obj.programs[0])
    count, ids = c_uint32(4), list[int]()
    assert bpf_prog_query(7, 37, 0, None, ids, count) == count.value == 0
    assert bpf_prog_attach_opts(fd, 7, 37) == bpf_prog_attach_opts(fd, 7, 37) == 0
    assert said(bpf_prog_attach_opts(fd, 7, 37, replace_prog_fd=fd)) == "EINVAL"
    count.value = 4
    assert bpf_prog_query(7, 37, 0, c_uint32(), ids, count) == 0
    assert (ids, count.value) == ([1, 1], 2)
    short, count.value = list[int](), 1
    assert said(bpf_prog_query(7, 37, 0, None, short, count)) == "ENOSPC"
    assert (short, count.value) == ([1], 2)
    assert bpf_prog_query(7, 37, 0, None, None, count) == 0
    assert said(bpf_prog_query(7, 37, 1, None, None, count)) == "EINVAL"
    opts = bpf_prog_query_options()
    assert bpf_prog_query_opts(7, 37, opts) == 0
    assert (opts.prog_ids, opts.prog_cnt) == ([1, 1], 2)
    for by_id, id in ((bpf_prog_get_fd_by_id_opts, 1), (bpf_map_get_fd_by_id_opts, 1), (bpf_link_get_fd_by_id_opts, 1)):
        assert by_id(id) > 0
        assert said(by_id(id, open_flags=8)) == "EINVAL"
    assert said(bpf_obj_get_opts("/nothing")) == "ENOENT"
    assert said(bpf_obj_get_opts("/nothing", file_flags=8)) == "EINVAL"


def test_names_of_libbpf_0(host: ExecutionContext) -> None:
    assert bpf_create_map(2, 4, 8, 1) > 0
    inner = bpf_create_map(1, 4, 8, 1)
    assert bpf_create_map_in_map(12, "outer", 4, inner, 2) > 0
    assert bpf_load_program(6, encode(assemble_text("r0 = 2\nexit")), 2, "MIT") > 0
    obj = opened("xdp_tailcall")
    programs = [first := bpf_program__next(None, obj), bpf_program__next(first, obj)]
    assert programs == obj.programs[:2]
    assert bpf_program__prev(programs[1], obj) is first
    assert bpf_map__prev(bpf_map__next(bpf_map__next(None, obj), obj), obj) is obj.maps[0]
    assert bpf_object__load(obj) == bpf_object__unload(obj) == 0
    assert bpf_program__fd(obj.programs[0]) < 0
    assert (
        said(bpf_set_link_xdp_fd(4711, bpf_load_program(6, encode(assemble_text("r0 = 2\nexit")), 2, "MIT")))
        == "ENODEV"
    )
    assert bpf_set_link_xdp_fd(4711, -1) == 0


# Types. ----------


def test_types_of_an_object(tmp_path: Path) -> None:
    path = examples.path("xdp_counter")
    types = btf__parse(path)
    assert types is not None
    ours = load_object(path).btf
    assert ours is not None
    assert btf__type_cnt(types) == len(ours)
    number = btf__find_by_name(types, "traffic")
    found = btf__type_by_id(types, number)
    assert found is not None
    assert (found.kind, [member.name for member in found.members]) == (Kind.STRUCT, ["packets", "bytes"])
    assert btf__find_by_name_kind(types, "traffic", Kind.STRUCT) == number
    assert said(btf__find_by_name_kind(types, "traffic", Kind.INT)) == "ENOENT"
    assert said(btf__find_by_name_kind(types, "traffic", 99)) == "ENOENT"
    assert said(btf__find_by_name(types, "nobody")) == "ENOENT"
    assert btf__find_by_name(types, "void") == btf__find_by_name_kind(types, "void", 0) == 0
    assert btf__resolve_size(types, number) == 16
    word = btf__find_by_name(types, "__u64")
    behind = btf__type_by_id(types, btf__resolve_type(types, word))
    assert behind is not None
    assert behind.kind is Kind.INT
    assert said(btf__resolve_size(types, 0)) == "EINVAL"
    assert btf__type_by_id(types, 100_000) is None
    assert libbpf.errno() == errno.EINVAL
    assert btf__str_by_offset(types, btf__find_str(types, "traffic")) == "traffic"
    assert said(btf__find_str(types, "nobody")) == "ENOENT"
    assert (btf__pointer_size(types), btf__endianness(types), btf__fd(types)) == (8, BTF_LITTLE_ENDIAN, -1)
    raw = btf__raw_data(types)
    assert raw is not None
    (tmp_path / "raw").write_bytes(raw)
    for again in (btf__new(raw), btf__parse_raw(tmp_path / "raw"), btf__parse(tmp_path / "raw"), btf__parse_elf(path)):
        assert again is not None
        assert btf__find_by_name(again, "traffic") == number
    assert btf__parse_elf(tmp_path / "raw") is None
    assert btf__parse(tmp_path / "nothing") is None
    assert libbpf.errno() == errno.ENOENT
    assert btf__new(b"nonsense") is None
    assert btf__base_btf(types) is None
    obj = opened("xdp_counter")
    of_object = bpf_object__btf(obj)
    assert of_object is not None
    assert btf__find_by_name(of_object, "traffic") == number
    assert btf__raw_data(of_object) is None


@pytest.mark.skipif(not os.path.exists(KERNEL_BTF), reason="shared: the kernel says nothing of its types")
def test_types_of_the_kernel() -> None:
    types = btf__load_vmlinux_btf()
    assert types is not None
    number = btf__find_by_name_kind(types, "task_struct", Kind.STRUCT)
    assert btf__resolve_size(types, number) > 1000
    hook = libbpf_find_vmlinux_btf_id("file_open", 27)
    found = btf__type_by_id(types, hook)
    assert found is not None
    assert found.name == "bpf_lsm_file_open"
    assert said(libbpf_find_vmlinux_btf_id("nobody", 26)) == "ESRCH"
    split = btf__new_split(btf__raw_data(types) or b"", None, types)
    assert split is None or btf__base_btf(split) is types


# What there is not. ----------


def test_what_a_host_cannot_have() -> None:
    for name in refused.REASONS:
        function = getattr(libbpf, name)
        result = function(1, 2, 3)
        assert result in (None, -errno.EOPNOTSUPP), name
        assert libbpf.errno() == errno.EOPNOTSUPP
        found = last_error()
        assert found is not None
        assert found.strerror == refused.REASONS[name]
    for name in set(refused.__all__) - set(refused.REASONS) - {"REASONS"}:
        assert getattr(libbpf, name)(None) is None


def test_probes() -> None:
    assert libbpf_probe_bpf_prog_type(6) == 1
    assert said(libbpf_probe_bpf_prog_type(999)) == "EINVAL"
    assert (libbpf_probe_bpf_map_type(2), libbpf_probe_bpf_map_type(31)) == (1, 0)
    assert said(libbpf_probe_bpf_map_type(999)) == "EINVAL"
    assert (libbpf_probe_bpf_helper(6, 1), libbpf_probe_bpf_helper(6, 9), libbpf_probe_bpf_helper(6, 9999)) == (1, 0, 0)
    assert said(libbpf_probe_bpf_helper(999, 1)) == "EINVAL"


def test_failures_are_printed_on_demand(host: ExecutionContext) -> None:
    lines: list[tuple[int, str]] = []
    assert libbpf_set_print(lambda level, text: lines.append((level, text))) is None
    try:
        assert bpf_obj_get("/nothing") < 0
    finally:
        assert libbpf_set_print(None) is not None
    assert lines == [(LIBBPF_WARN, "libbpf: /nothing is not pinned\n")]
    assert bpf_obj_get("/nothing") < 0
    assert len(lines) == 1
    assert libbpf_set_strict_mode(0xFFFFFFFF) == 0


def test_events_of_a_perf_buffer_as_they_are(host: ExecutionContext) -> None:
    events = bpf_map_create(4, "events", 4, 4, 1)
    text = (
        "r6 = r1\n*(u64 *)(r10 - 8) = 7\nr1 = r6\nr2 = map[idx:0] ll\nr3 = 0xffffffff ll\nr4 = r10\nr4 += -8\n"
        "r5 = 5\ncall 25\nr0 = 2\nexit"
    )
    program = Program("p", "xdp", "xdp", assemble_text(text), licence="GPL")
    fd = load(libbpf.current(), replace(program), [events])
    got: list[tuple[int, bytes]] = []
    buffer = perf_buffer__new_raw(events, 8, None, lambda ctx, cpu, event: got.append((cpu, event)))
    assert buffer is not None
    assert bpf_prog_test_run_opts(fd, bpf_test_run_opts(data_in=bytes(60))) == 0
    assert said(perf_buffer__consume_buffer(buffer, 99)) == "EINVAL"
    assert perf_buffer__consume_buffer(buffer, 0) == 0
    ((cpu, event),) = got
    kind, _, size = struct.unpack_from("<IHH", event)
    (length,) = struct.unpack_from("<I", event, 8)
    assert (cpu, kind, size, length, event[12:17]) == (0, 9, len(event), 5, b"\7\0\0\0\0")
    perf_buffer__free(buffer)
