"""libbpf's functions: one script on both backends, its errors, pins, links and records on a host."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterator
from ctypes import c_uint32
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prevail_py import examples, libbpf
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.model import Connection, HostError
from prevail_py.host.hooks import Passive
from prevail_py.host.service.programs import from_map
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import LoadImmediate64, Pseudo
from prevail_py.libbpf import *
from prevail_py.libbpf import (
    btf_types,
    buffers,
    coverage,
    handles,
    links,
    map_syscalls,
    maps,
    names,
    objects,
    older,
    programs,
    refused,
    syscalls,
    windows_files,
    windows_objects,
)
from prevail_py.libbpf.backend import current
from prevail_py.objects.program import MapSpec
from tests.host.context.conftest import honest


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExecutionContext]:
    """A host in this process, which the functions talk to."""
    monkeypatch.setattr("prevail_py.libbpf.backend._current", None)
    with ExecutionContext(admissions=honest()) as context, context.session() as session:
        use(session)
        yield context


@pytest.fixture(params=["host", "kernel"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """Either backend."""
    monkeypatch.setattr("prevail_py.libbpf.backend._current", None)
    if request.param == "kernel":
        request.getfixturevalue("kernel")
        chosen = use("kernel")
        yield chosen
        chosen.close()
        return
    with ExecutionContext(admissions=honest()) as context, context.session() as session:
        yield use(session)


def opened(name: str) -> bpf_object:
    found = bpf_object__open(examples.path(name))
    assert found is not None
    return found


def loaded(name: str) -> bpf_object:
    found = opened(name)
    assert bpf_object__load(found) == 0, last_error()
    return found


# One script on both backends. ----------


def test_a_script(backend: Connection) -> None:
    """Open, look around, load, fill a map, run, read it, walk over all objects, close."""
    obj = opened("xdp_firewall")
    program = bpf_object__next_program(obj, None)
    assert program is not None
    assert (bpf_program__name(program), bpf_program__section_name(program)) == ("xdp_firewall", "xdp")
    assert bpf_object__next_program(obj, program) is None
    assert libbpf_bpf_prog_type_str(bpf_program__type(program)) == "xdp"
    assert bpf_program__fd(program) == -errno.EBADF
    assert bpf_object__load(obj) == 0
    assert bpf_object__load(obj) == -errno.EINVAL
    sources = bpf_object__find_map_by_name(obj, "blocked_sources")
    assert sources is not None
    key, value = bytes([198, 51, 100, 66]), bytearray(bpf_map__value_size(sources))
    assert bpf_map_lookup_elem(bpf_map__fd(sources), key, value) == -errno.ENOENT
    assert libbpf_strerror(libbpf.errno()) == "No such file or directory"
    assert bpf_map_update_elem(bpf_map__fd(sources), key, bytes(value), BPF_NOEXIST) == 0
    assert bpf_map__update_elem(sources, key, None, bytes(value), None, BPF_NOEXIST) == -errno.EEXIST
    frame = bytes(12) + b"\x08\x00" + bytes.fromhex("45000014000000004011") + bytes(2) + key + bytes(4) + bytes(40)
    run = bpf_test_run_opts(data_in=frame, repeat=2)
    assert bpf_prog_test_run_opts(bpf_program__fd(program), run) == 0
    assert (run.retval, run.data_out, run.data_size_out) == (1, frame, len(frame))
    assert bpf_map__lookup_elem(sources, key, None, value) == 0
    assert value[0] == 2
    following = bytearray(4)
    assert bpf_map_get_next_key(bpf_map__fd(sources), None, following) == 0
    assert following == key
    assert bpf_map_get_next_key(bpf_map__fd(sources), bytes(following), following) == -errno.ENOENT

    names, number = set(), c_uint32(0)
    while bpf_map_get_next_id(number.value, number) == 0:
        fd, info = bpf_map_get_fd_by_id(number.value), bpf_map_info()
        assert bpf_obj_get_info_by_fd(fd, info) == 0
        names.add(info.name)
        assert libbpf.close(fd) == 0
    assert "blocked_sources" in names
    about = bpf_prog_info()
    assert bpf_obj_get_info_by_fd(bpf_program__fd(program), about) == 0
    assert (about.name, about.type, about.run_cnt, about.nr_map_ids) == (
        "xdp_firewall",
        6,
        2,
        len(bpf_object_maps(obj)),
    )
    assert bpf_obj_get_info_by_fd(bpf_program__fd(program), bpf_map_info()) == -errno.EINVAL
    bpf_object__close(obj)
    assert bpf_prog_get_next_id(0, number) == -errno.ENOENT


def bpf_object_maps(obj: bpf_object) -> list[bpf_map]:
    return list(bpf_object__for_each_map(obj))


def test_bytecode_without_an_object(backend: Connection) -> None:
    fd = bpf_map_create(2, "numbers", 4, 8, 3)
    assert fd > 0
    text = (
        "r1 = 0\n*(u32 *)(r10 - 4) = r1\nr2 = r10\nr2 += -4\nr1 = 0 ll\ncall 1\nif r0 == 0 goto out\n"
        "*(u64 *)(r0 + 0) = 7\nout:\nr0 = 2\nexit"
    )
    code = tuple(
        replace(each, low=fd, pseudo=Pseudo.MAP_FD) if isinstance(each, LoadImmediate64) else each
        for each in assemble_text(text)
    )
    prog = bpf_prog_load(6, "writer", "GPL", encode(code))
    assert prog > 0, last_error()
    run = bpf_test_run_opts(data_in=bytes(14))
    assert bpf_prog_test_run_opts(prog, run) == 0
    value = bytearray(8)
    assert bpf_map_lookup_elem(fd, bytes(4), value) == 0
    assert (run.retval, value[0]) == (2, 7)
    report = bytearray(4000)
    bad = encode(assemble_text("r0 = *(u64 *)(r1 + 400)\nexit"))
    assert bpf_prog_load(6, "bad", "GPL", bad, log_buf=report) == -errno.EACCES
    assert len(report.split(b"\0")[0]) > 10
    assert bpf_prog_load(6, "bad", "GPL", b"\xff" * 8) == -errno.EINVAL
    assert bpf_prog_load(4711, "bad", "GPL", bad) == -errno.EINVAL
    assert bpf_map_create(2, "numbers", 3, 8, 3) == -errno.EINVAL
    assert libbpf.close(4711) == -errno.EBADF


def test_batches(backend: Connection) -> None:
    fd, count = bpf_map_create(1, "table", 4, 4, 8), c_uint32(5)
    keys = b"".join(each.to_bytes(4, "little") for each in range(5))
    assert bpf_map_update_batch(fd, keys, keys, count) == 0
    found, values, place = bytearray(12), bytearray(12), bytearray(4)
    count.value = 3
    assert bpf_map_lookup_batch(fd, None, place, found, values, count) == 0
    assert (found, count.value) == (values, 3)
    first = bytes(found)
    assert bpf_map_lookup_batch(fd, bytes(place), place, found, values, count) == -errno.ENOENT
    assert count.value == 2
    both = first + bytes(found[:8])  # in an order of the backend's own
    assert sorted(both[at : at + 4] for at in range(0, 20, 4)) == [keys[at : at + 4] for at in range(0, 20, 4)]
    assert bpf_map_update_batch(fd, keys, keys, count, elem_flags=BPF_NOEXIST) == -errno.EEXIST
    count.value = 2
    assert bpf_map_delete_batch(fd, keys, count) == 0
    assert bpf_map_delete_batch(fd, keys, count) == -errno.ENOENT
    count.value = 8
    assert bpf_map_lookup_and_delete_batch(fd, None, place, bytearray(32), bytearray(32), count) == -errno.ENOENT
    assert count.value == 3
    assert bpf_map_get_next_key(fd, None, place) == -errno.ENOENT


def test_the_kernel_attaches_and_pins_nothing(kernel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prevail_py.libbpf.backend._current", None)
    use("kernel")
    obj = loaded("xdp_counter")
    prog = bpf_object__find_program_by_name(obj, "xdp_counter")
    assert prog is not None
    assert bpf_program__pin(prog, "/sys/fs/bpf/x") == -errno.EOPNOTSUPP
    assert bpf_program__attach_xdp(prog, 1) is None
    assert bpf_xdp_attach(1, bpf_program__fd(prog), 0) == -errno.EOPNOTSUPP
    assert bpf_obj_get("/sys/fs/bpf/x") == -errno.EOPNOTSUPP
    bpf_object__close(obj)


# Objects on a host. ----------


def test_objects_that_cannot_be_opened(host: ExecutionContext, tmp_path: Path) -> None:
    assert bpf_object__open(tmp_path / "nothing.o") is None
    assert libbpf.errno() == errno.ENOENT
    assert libbpf_get_error(None) == -errno.ENOENT
    assert bpf_object__open_mem(b"MZ", object_name="mz") is None
    assert (libbpf.errno(), str(last_error())) == (errno.EINVAL, "[Errno 22] mz: file: not an ELF file")


def test_a_program_that_is_refused(host: ExecutionContext) -> None:
    """Nothing of its object stays."""
    obj = opened("unsafe_null")
    assert bpf_object__load(obj) == -errno.EACCES
    program = bpf_object__next_program(obj, None)
    assert program is not None
    assert "null" in bpf_program__log_buf(program)
    assert (host.maps, host.programs) == ({}, {})


def test_changes_before_loading(host: ExecutionContext) -> None:
    obj = opened("xdp_counter")
    table = bpf_object__find_map_by_name(obj, "total")
    program = bpf_object__find_program_by_name(obj, "xdp_counter")
    assert table is not None
    assert program is not None
    assert bpf_map__set_max_entries(table, 5) == 0
    assert bpf_map__set_type(table, 4711) == -errno.EINVAL
    assert bpf_program__set_type(program, 4711) == -errno.EINVAL
    assert bpf_object__load(obj) == 0
    assert host.maps[1].map.spec.max_entries == 5
    assert bpf_map__set_max_entries(table, 6) == -errno.EBUSY
    assert bpf_program__set_type(program, 6) == -errno.EBUSY
    bpf_object__close(obj)
    obj = opened("xdp_tailcall")
    for each in bpf_object__for_each_program(obj):
        assert bpf_program__set_autoload(each, bpf_program__name(each) == "handle_ipv4") == 0
    assert bpf_object__load(obj) == 0
    assert [each.program.name for each in host.programs.values()] == ["handle_ipv4"]


def test_constants_that_are_set_before_loading(host: ExecutionContext) -> None:
    obj = opened("xdp_globals")
    (constants,) = [each for each in bpf_object__for_each_map(obj) if each.spec.read_only]
    data = bpf_map__initial_value(constants)
    assert data is not None
    assert bpf_map__is_internal(constants)
    assert bpf_map__set_initial_value(constants, data + b"x") == -errno.EINVAL
    assert bpf_map__set_initial_value(constants, data) == 0
    assert bpf_object__load(obj) == 0
    assert bpf_map_update_elem(bpf_map__fd(constants), bytes(4), data) == -errno.EPERM


def test_maps_pinned_by_name_are_shared(host: ExecutionContext) -> None:
    one, other = opened("xdp_counter"), opened("xdp_counter")
    for obj in (one, other):
        table = bpf_object__find_map_by_name(obj, "total")
        assert table is not None
        assert bpf_map__set_pin_path(table, "/shared/total") == 0
        assert bpf_object__load(obj) == 0
        assert bpf_map__is_pinned(table)
    assert len(host.maps) == 1
    third = opened("xdp_counter")
    table = bpf_object__find_map_by_name(third, "total")
    assert table is not None
    bpf_map__set_pin_path(table, "/shared/total")
    bpf_map__set_max_entries(table, 9)
    assert bpf_object__load(third) == -errno.EINVAL
    fourth = opened("xdp_counter")
    table = bpf_object__find_map_by_name(fourth, "total")
    assert table is not None
    assert bpf_map__reuse_fd(table, bpf_object__find_map_fd_by_name(one, "total")) == 0
    assert bpf_object__load(fourth) == 0
    assert len(host.maps) == 1


def test_pins(host: ExecutionContext) -> None:
    obj = loaded("xdp_tailcall")
    assert bpf_object__pin(obj, "/tail") == 0
    assert bpf_object__pin_programs(obj, "/tail") == -errno.EEXIST
    fd = bpf_obj_get("/tail/dispatch")
    info = bpf_prog_info()
    assert bpf_obj_get_info_by_fd(fd, info) == 0
    assert (info.name, info.pins) == ("dispatch", ["/tail/dispatch"])
    bpf_object__close(obj)
    assert len(host.programs) == 3
    assert bpf_obj_get("/nowhere") == -errno.ENOENT
    again = loaded("xdp_tailcall")
    assert bpf_object__pin_maps(again, "/tail") == -errno.EEXIST  # none of them, then
    assert bpf_object__pin_maps(again, "/other") == 0
    assert bpf_object__unpin_maps(again, "/other") == 0
    first = next(bpf_object__for_each_program(again))
    assert bpf_program__pin(first, "/p") == 0
    assert bpf_program__unpin(first, "/p") == 0
    assert bpf_program__unpin(first, "/p") == -errno.ENOENT


# Links. ----------


class Wire:
    """A hook for XDP that keeps what is attached, by interface."""

    name = "xdp"

    def __init__(self) -> None:
        self.attached: dict[Any, Any] = {}

    def accepts(self, program: Any) -> bool:
        return bool(program.program_type == "xdp")

    def attach(self, runner: Any, parameters: Any) -> Any:
        if parameters["ifindex"] in self.attached:
            raise OSError(errno.EBUSY, "taken")
        self.attached[parameters["ifindex"]] = runner
        wire = self

        class Attached(Passive):
            def detach(self) -> None:
                del wire.attached[parameters["ifindex"]]

        return Attached()


@pytest.fixture
def wire(host: ExecutionContext, monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()
    monkeypatch.setattr("prevail_py.host.hooks.hooks", lambda: {"xdp": lambda: made})
    monkeypatch.setattr(host, "_hooks", {})
    return made


def number_of(fd: int) -> int:
    info = bpf_prog_info()
    assert bpf_obj_get_info_by_fd(fd, info) == 0
    return info.id


class Meddling:
    """A connection on which something happens between a call and its answer."""

    def __init__(self, session: Connection, then: Callable[[str, Any], None]) -> None:
        self._session = session
        self._then = then

    def call(self, name: str, **arguments: Any) -> Any:
        result = self._session.call(name, **arguments)
        self._then(name, result)
        return result

    def close(self) -> None:
        self._session.close()


@pytest.mark.parametrize("victim", [1, 2, 3])
def test_an_object_that_vanishes_does_not_end_a_listing(host: ExecutionContext, victim: int) -> None:
    """Another client closes it after its number was told, and before it is opened."""
    with host.session() as session, host.session() as other:
        spec = from_map(MapSpec("m", 2, 4, 8, 1))
        held = {number: (other if number == victim else session).call("map_create", spec=spec) for number in (1, 2, 3)}
        vanished = []

        def vanish(name: str, result: Any) -> None:
            if name == "next_id" and result == victim:
                other.call("close", handle=held[victim])
                vanished.append(result)

        found = syscalls.infos(Meddling(session, vanish), "map")
        assert vanished == [victim]
        assert [info["id"] for info in found] == [number for number in (1, 2, 3) if number != victim]
        assert len(session.handles) == 2


def test_a_link_that_vanishes_hides_no_other(host: ExecutionContext, wire: Wire) -> None:
    prog = next(bpf_object__for_each_program(loaded("xdp_counter")))
    first, second = bpf_program__attach_xdp(prog, 7), bpf_program__attach_xdp(prog, 8)
    assert second is not None

    def vanish(name: str, result: Any) -> None:
        if name == "next_id" and result == 1:
            assert bpf_link__destroy(first) == 0

    use(Meddling(current(), vanish))
    number = c_uint32(99)
    assert bpf_xdp_query_id(8, 0, number) == 0
    assert number.value == 1
    assert set(host.links) == {2}


def ending(host: ExecutionContext, victim: int) -> Meddling:
    """A connection on which another client ends a link as soon as it was listed, and before it is opened again."""

    def vanish(name: str, result: Any) -> None:
        if name == "info" and (result["kind"], result["id"]) == ("link", victim):
            with host.lock:
                host.detach(host.links[victim])

    return Meddling(current(), vanish)


def test_a_link_that_vanishes_is_detached(host: ExecutionContext, wire: Wire) -> None:
    """The race between listing links and detaching one: what is gone is none of ours, and no error of its own."""
    prog = bpf_program__fd(next(bpf_object__for_each_program(loaded("xdp_counter"))))
    assert bpf_xdp_attach(7, prog, 0) == 0
    use(ending(host, 1))
    assert bpf_xdp_detach(7) == 0
    assert not host.links
    assert bpf_xdp_attach(7, prog, 0) == 0
    use(ending(host, 2))
    assert bpf_prog_detach2(prog, 7) == -errno.ENOENT
    assert "nothing is attached" in str(last_error())
    assert bpf_xdp_attach(7, prog, 0) == 0
    use(ending(host, 3))
    assert bpf_xdp_attach(7, prog, 0) == 0  # there is nothing to replace any more
    assert set(host.links) == {4}


def test_a_link_that_vanishes_does_not_keep_another_attached(host: ExecutionContext) -> None:
    """Both are where ``target`` says: the one that is left is detached."""
    code = encode(assemble_text("r0 = 1\nexit"))
    prog = bpf_prog_load(18, "decide", "GPL", code, expected_attach_type=8)
    assert bpf_prog_attach(prog, 0) == bpf_prog_attach(prog, 0) == 0
    use(ending(host, 1))
    assert bpf_prog_detach2(prog, 0) == 0
    assert not host.links


def test_a_listing_that_fails_leaves_no_handle(host: ExecutionContext) -> None:
    def fail(name: str, result: Any) -> None:
        if name == "info":
            raise HostError(errno.EIO, "planted")

    with host.session() as session:
        session.call("map_create", spec=from_map(MapSpec("m", 2, 4, 8, 1)))
        with pytest.raises(HostError, match="planted"):
            syscalls.infos(Meddling(session, fail), "map")
        assert len(session.handles) == 1
        with pytest.raises(HostError, match="no kind"):
            syscalls.infos(session, "nonsense")


def test_links(host: ExecutionContext, wire: Wire) -> None:
    prog, other = (next(bpf_object__for_each_program(loaded("xdp_counter"))) for _ in range(2))
    assert bpf_program__attach(prog) is None
    assert libbpf.errno() == errno.EOPNOTSUPP
    link = bpf_program__attach_xdp(prog, 7)
    assert link is not None
    assert bpf_program__attach_xdp(prog, 7) is None
    info = bpf_link_info()
    assert bpf_obj_get_info_by_fd(bpf_link__fd(link), info) == 0
    assert (info.prog_id, info.ifindex, info.attached, libbpf_bpf_link_type_str(info.type)) == (1, 7, True, "xdp")
    assert bpf_link__update_program(link, other) == 0
    wire.attached[7](packet=bytes(60))
    assert host.programs[2].run_count == 1
    assert bpf_link__pin(link, "/link") == 0
    assert bpf_link__pin(link, "/other") == -errno.EBUSY
    assert bpf_link__destroy(link) == 0
    assert set(wire.attached) == {7}
    again = bpf_link__open("/link")
    assert again is not None
    assert bpf_link__unpin(again) == 0
    assert bpf_link__unpin(again) == -errno.EINVAL
    assert bpf_link__destroy(again) == 0
    assert not wire.attached


def test_xdp_on_interfaces(host: ExecutionContext, wire: Wire) -> None:
    one, other = (bpf_program__fd(next(bpf_object__for_each_program(loaded("xdp_counter")))) for _ in range(2))
    found, options = c_uint32(), bpf_xdp_query_opts()
    assert bpf_xdp_query_id(7, 0, found) == 0
    assert found.value == 0
    assert bpf_xdp_attach(7, one, 0) == 0
    assert bpf_xdp_attach(7, other, XDP_FLAGS_UPDATE_IF_NOEXIST) == -errno.EBUSY
    assert bpf_xdp_attach(7, other, XDP_FLAGS_REPLACE, old_prog_fd=other) == -errno.EEXIST
    assert bpf_xdp_attach(7, other, XDP_FLAGS_REPLACE, old_prog_fd=one) == 0
    assert bpf_xdp_query(7, 0, options) == 0
    assert options.prog_id == number_of(other)
    assert bpf_xdp_attach(7, one, 0) == 0  # replaced, as Linux does
    assert bpf_xdp_detach(7, 0, old_prog_fd=other) == -errno.EEXIST
    assert bpf_xdp_detach(7) == 0
    assert bpf_xdp_detach(7) == 0
    assert not wire.attached
    assert bpf_xdp_attach(7, one, 1 << 9) == -errno.EINVAL
    link = bpf_link_create(one, 7)
    assert bpf_xdp_attach(7, one, 0) == -errno.EBUSY
    assert bpf_xdp_detach(7) == -errno.EBUSY
    assert bpf_link_detach(link) == 0
    assert bpf_prog_attach(one, 8) == 0
    assert bpf_prog_detach2(other, 8) == -errno.ENOENT
    assert bpf_prog_detach(8) == 0
    assert set(host.links) == {2}  # detached; its descriptor is still open


# Records. ----------


def writer(kind: int, entries: int, text: str) -> tuple[int, int]:
    """A map and a program that writes the number 42 into it."""
    fd = bpf_map_create(kind, "records", *((0, 0) if kind == 27 else (4, 4)), entries)
    code = tuple(
        replace(each, low=fd, pseudo=Pseudo.MAP_FD) if isinstance(each, LoadImmediate64) and each.low == 0 else each
        for each in assemble_text(text)
    )
    return fd, bpf_prog_load(6, "writer", "GPL", encode(code))


RING = "r1 = 42\n*(u64 *)(r10 - 8) = r1\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\nr1 = 0 ll\ncall 130\nr0 = 2\nexit"
PERF = (
    "r6 = 42\n*(u64 *)(r10 - 8) = r6\nr4 = r10\nr4 += -8\nr5 = 8\nr3 = 0xffffffff ll\nr2 = 0 ll\ncall 25\nr0 = 2\nexit"
)


def test_ring_buffers(host: ExecutionContext) -> None:
    fd, prog = writer(27, 4096, RING)
    seen: list[Any] = []
    ring = ring_buffer__new(fd, lambda ctx, data, size: seen.append((ctx, data[0], size)), "ctx")
    assert ring is not None
    assert ring_buffer__poll(ring, 0) == 0
    run = bpf_test_run_opts(data_in=bytes(14), repeat=3)
    threading.Timer(0.1, bpf_prog_test_run_opts, (prog, run)).start()
    assert ring_buffer__poll(ring, 10_000) >= 1
    while len(seen) < 3:
        assert ring_buffer__consume(ring) >= 0
    assert seen == [("ctx", 42, 8)] * 3
    bpf_prog_test_run_opts(prog, run)
    stop = ring_buffer__new(fd, lambda ctx, data, size: -errno.EINTR)
    assert stop is not None
    assert ring_buffer__poll(stop, 0) == -errno.EINTR
    assert ring_buffer__add(ring, bpf_map_create(2, "no ring", 4, 4, 1), print) == -errno.EINVAL
    ring_buffer__free(ring)
    ring_buffer__free(stop)


def test_perf_buffers(host: ExecutionContext) -> None:
    fd, prog = writer(4, 1, PERF)
    seen: list[Any] = []
    assert perf_buffer__new(fd, 3, print) is None
    buffer = perf_buffer__new(fd, 8, lambda ctx, cpu, data, size: seen.append((ctx, cpu, data[0], size)), None, 5)
    assert buffer is not None
    assert perf_buffer__buffer_cnt(buffer) == libbpf_num_possible_cpus() == 1
    bpf_prog_test_run_opts(prog, bpf_test_run_opts(data_in=bytes(14), repeat=2))
    assert perf_buffer__poll(buffer, 1000) == 2
    assert seen == [(5, 0, 42, 8)] * 2
    perf_buffer__free(buffer)


# Names. ----------


def test_names_and_numbers() -> None:
    kind, attach = c_uint32(), c_uint32()
    assert libbpf_prog_type_by_name("cgroup/bind4", kind, attach) == 0
    assert (libbpf_bpf_prog_type_str(kind.value), libbpf_bpf_attach_type_str(attach.value)) == (
        "cgroup_sock_addr",
        "cgroup_inet4_bind",
    )
    assert libbpf_prog_type_by_name("nonsense", kind, attach) == -errno.ESRCH
    assert libbpf_attach_type_by_name("socket", attach) == -errno.EINVAL
    assert libbpf_bpf_map_type_str(27) == "ringbuf"
    assert libbpf_bpf_map_type_str(4711) is None
    text = bytearray(8)
    libbpf_strerror(-errno.ENOENT, text)
    assert text == b"No such\0"


def test_the_page_of_names(root: Path) -> None:
    text = (root / "docs" / "libbpf.md").read_text(encoding="utf-8")
    command = "python -m prevail_py.libbpf.coverage --out docs/libbpf.md"
    assert text.endswith(coverage.MARK + "\n" + coverage.page()), f"run: {command}"
    assert set(coverage.PARTLY) <= set(libbpf.__all__)


MODULES = (
    btf_types,
    buffers,
    handles,
    links,
    map_syscalls,
    maps,
    names,
    objects,
    older,
    programs,
    refused,
    syscalls,
    windows_files,
    windows_objects,
)


def test_every_function_of_a_module_is_offered() -> None:
    offered = {name for module in MODULES for name in module.__all__}
    assert offered - set(libbpf.__all__) == {"close", "REASONS"}
    assert not {"errno", "close", "current"} & set(libbpf.__all__)


def test_the_list_has_every_function_of_the_header() -> None:
    """That is installed here: a newer one may have more."""
    headers = [Path(f"/usr/include/bpf/{name}.h") for name in ("libbpf", "bpf", "btf")]
    if not all(each.exists() for each in headers):
        pytest.skip("libbpf's headers are not installed")
    known = {row.name for row in coverage.names()}
    declared: set[str] = set()
    for header in headers:
        text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.DOTALL)
        text = re.sub(r"LIBBPF_DEPRECATED\w*\(.*?\)\s", "", text)
        declared |= {m[1] for m in re.finditer(r"LIBBPF_API\b[^;(]*?\b(\w+)\s*\(", text)}
    assert len(declared) > 150
    missing = declared - known
    version = Path("/usr/include/bpf/libbpf_version.h").read_text(encoding="utf-8")
    if "LIBBPF_MINOR_VERSION 1" in version:
        assert not missing


def test_the_python_of_the_page_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prevail_py.libbpf.backend._current", None)
    monkeypatch.setattr("prevail_py.host.context.context.Admissions", honest)
    text = (root / "docs" / "libbpf.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/libbpf.md", "exec"), {})


def test_python_s_manners(host: ExecutionContext) -> None:
    with host.session() as session, Object.open(examples.path("xdp_firewall"), session) as firewall:
        sources = firewall.maps["blocked_sources"]
        sources[bytes(4)] = bytes(sources.spec.value_size)
        assert len(sources) == 1
        assert bytes(4) in sources
        del sources[bytes(4)]
        with pytest.raises(KeyError):
            del sources[bytes(4)]
        with pytest.raises(KeyError):
            sources[bytes(4)]
        with pytest.raises(KeyError):
            firewall.run("nothing")
        firewall.pin("xdp_firewall", "/fw")
        assert open_program("/fw", session) > 0
        assert open_map(1, session).spec.name == next(iter(firewall.maps))
    with pytest.raises(OSError, match="may not run: token: verdict"):
        Object.open(examples.path("unsafe_null"), host.session())
    assert set(host.programs) == {1}
