"""One script against both backends, each step a process of its own: a host, and the kernel with a bpffs in private.

The bpffs is mounted in a mount namespace that the test makes; it is gone with it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prevail_py.host.context.context import ExecutionContext
from prevail_py.vm.kernel import privacy, syscalls
from prevail_py.vm.kernel.privacy import PrivacyError, require_private_bpffs, require_private_network
from tests.host.context.conftest import honest
from tests.host.context.test_server import serving

PRELUDE = """
import errno, sys
from ctypes import c_uint32
from prevail_py import examples, libbpf
from prevail_py.libbpf import *
backend, root = sys.argv[1], sys.argv[2]
use("kernel") if backend == "kernel" else use("host", sys.argv[3])

def number(result):
    return errno.errorcode[-result] if result < 0 else "ok"

def count(fd):
    value = bytearray(16)
    return number(bpf_map_lookup_elem(fd, bytes(4), value)), int.from_bytes(value[:8], "little")

def opened(name="xdp_counter"):
    return bpf_object__open(examples.path(name))
"""

STEPS = (
    # Load, run, and pin a map and a program.
    """
obj = opened()
total = bpf_object__find_map_by_name(obj, "total")
print(bpf_map__set_pin_path(total, f"{root}/total"), number(bpf_object__load(obj)), bpf_map__is_pinned(total))
prog = bpf_object__find_program_by_name(obj, "xdp_counter")
run = bpf_test_run_opts(data_in=bytes(60), repeat=3)
print(number(bpf_prog_test_run_opts(bpf_program__fd(prog), run)), run.retval, count(bpf_map__fd(total)))
print(number(bpf_program__pin(prog, f"{root}/prog")), number(bpf_program__pin(prog, f"{root}/prog")))
print(number(bpf_obj_get(f"{root}/nothing")), number(bpf_map__pin(total, f"{root}/total")))
bpf_object__close(obj)
""",
    # Another process finds them, and what they hold; an object takes the map that is pinned.
    """
fd, info = bpf_obj_get(f"{root}/total"), bpf_map_info()
print(number(bpf_obj_get_info_by_fd(fd, info)), info.type, info.key_size, info.value_size, info.max_entries, info.name)
print(count(fd), number(bpf_map_update_elem(fd, bytes(4), bytes(16))), count(fd))
prog, info = bpf_obj_get(f"{root}/prog"), bpf_prog_info()
print(number(bpf_obj_get_info_by_fd(prog, info)), libbpf_bpf_prog_type_str(info.type), info.name)
obj = opened()
total = bpf_object__find_map_by_name(obj, "total")
print(bpf_map__set_pin_path(total, f"{root}/total"), number(bpf_object__load(obj)), bpf_map__is_pinned(total))
run = bpf_test_run_opts(data_in=bytes(60), repeat=2)
print(number(bpf_prog_test_run_opts(bpf_program__fd(bpf_object__find_program_by_name(obj, "xdp_counter")), run)))
print(count(fd), count(bpf_map__fd(total)))
other = opened("xdp_firewall")
wrong = bpf_object__find_map_by_name(other, "blocked_sources")
print(bpf_map__set_pin_path(wrong, f"{root}/total"), number(bpf_object__load(other)))
""",
    # Program arrays and maps of maps, whose elements are objects.
    """
obj = opened("xdp_tailcall")
print(number(bpf_object__load(obj)))
table = next(each for each in bpf_object__for_each_map(obj) if bpf_map__type(each) == 3)
programs = {bpf_program__name(each): bpf_program__fd(each) for each in bpf_object__for_each_program(obj)}
for key, name in ((0, "handle_ipv4"), (1, "handle_ipv6")):
    entry = programs[name].to_bytes(4, "little")
    print(number(bpf_map_update_elem(bpf_map__fd(table), key.to_bytes(4, "little"), entry)))
for kind in (b"\\x08\\x00", b"\\x86\\xdd", b"\\x08\\x06"):
    run = bpf_test_run_opts(data_in=bytes(12) + kind + bytes(60))
    print(number(bpf_prog_test_run_opts(programs["dispatch"], run)), run.retval)
inner = bpf_map_create(2, "inner", 4, 8, 3)
outer = bpf_map_create(12, "outer", 4, 4, 2, inner_map_fd=inner)
print(number(outer), number(bpf_map_update_elem(outer, bytes(4), inner.to_bytes(4, "little"))))
found, info = bytearray(4), bpf_map_info()
print(number(bpf_map_lookup_elem(outer, bytes(4), found)), number(bpf_obj_get_info_by_fd(inner, info)))
print(info.id == int.from_bytes(found, "little"), number(bpf_obj_pin(outer, f"{root}/outer")))
""",
    # Records; elements in a batch; a map that is frozen.
    """
obj = opened("xdp_flows") or opened()
fd = bpf_map_create(1, "table", 4, 4, 8)
keys = b"".join(each.to_bytes(4, "little") for each in range(5))
many = c_uint32(5)
print(number(bpf_map_update_batch(fd, keys, keys, many)), many.value)
found, values, place = bytearray(32), bytearray(32), bytearray(4)
many.value = 8
print(number(bpf_map_lookup_batch(fd, None, place, found, values, many)), many.value)
print(sorted(found[at] for at in range(0, 20, 4)), number(bpf_map_delete_elem(fd, keys[:4])))
print(number(bpf_map_lookup_elem(fd, keys[:4], bytearray(4))), number(bpf_map_update_elem(fd, keys[:4], b"x")))
print(number(bpf_map_lookup_and_delete_elem(fd, keys[4:8], bytearray(4))))
queue = bpf_map_create(22, "queue", 0, 4, 2)
print([number(bpf_map_update_elem(queue, b"", bytes([each] * 4))) for each in range(3)])
print(number(bpf_map_lookup_and_delete_elem(queue, b"", values)), values[0])
""",
    # All names are taken away again.
    """
obj = opened()
prog = bpf_object__find_program_by_name(obj, "xdp_counter")
for name in ("prog", "total", "outer", "prog"):
    print(number(bpf_program__unpin(prog, f"{root}/{name}")), number(bpf_obj_get(f"{root}/{name}")))
""",
)


def on_a_host(tmp_path: Path) -> list[str]:
    path = tmp_path / "host.sock"
    said = []
    with ExecutionContext(admissions=honest()) as context, serving(path, context):
        for step in STEPS:
            command = [sys.executable, "-c", PRELUDE + step, "host", "/pins", os.fspath(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
        assert (context.programs, context.maps, context.pins) == ({}, {}, {})
    return said


def in_the_kernel(tmp_path: Path) -> list[str]:
    root = tmp_path / "bpffs"
    root.mkdir()
    script = [f"mount -t bpf none {shlex.quote(os.fspath(root))}"]
    for step in STEPS:
        script.append(shlex.join([sys.executable, "-c", PRELUDE + step, "kernel", os.fspath(root)]))
        script.append("printf '\\f'")
    script.append(f"ls -A {shlex.quote(os.fspath(root))} | grep -v debug || true")  # the kernel's own two files
    command = ["unshare", "--mount", "sh", "-e", "-c", "\n".join(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    *said, left = done.stdout.split("\f")
    assert left == ""
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root mounts a bpffs")
def test_one_script(kernel: None, tmp_path: Path) -> None:
    host, real = on_a_host(tmp_path), in_the_kernel(tmp_path)
    assert host == real
    assert host[0].splitlines()[1:] == [
        "ok 2 ('ok', 3)", "ok EEXIST", "ENOENT EEXIST",
    ]  # fmt: skip
    assert "('ok', 3) ok ('ok', 0)" in host[1]


# Only in private. ----------


def actions(directory: Path) -> list[Callable[[], object]]:
    path = os.fspath(directory / "x")
    return [
        lambda: syscalls.attach_xdp(3, 1), lambda: syscalls.update_link(3, 4), lambda: syscalls.detach_link(3),
        lambda: syscalls.pin_object(3, path), lambda: syscalls.get_object(path),
    ]  # fmt: skip


@pytest.mark.parametrize("seen", ["net:[1] mnt:[1]", ""], ids=["the same", "nothing"])
def test_the_namespaces_of_the_machine(seen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine has the same, or cannot be looked at, nothing is pinned or attached: the call is not made."""
    calls: list[object] = []
    monkeypatch.setattr(syscalls, "_bpf", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(privacy, "_namespace", lambda pid, kind: seen or (None if pid != "self" else "mnt:[2]"))
    for action in actions(tmp_path):
        with pytest.raises(PrivacyError, match="of the machine: only in one of our own"):
            action()
    assert calls == []
    monkeypatch.setattr(privacy, "_namespace", lambda pid, kind: str(pid))
    monkeypatch.setattr(privacy, "_mounts", lambda process: {device_of(tmp_path): "bpf"} if process == "self" else {})
    for action in actions(tmp_path):
        action()
    assert len(calls) == 5


def test_the_oldest_ancestor_that_can_be_seen_stands_for_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = list(privacy._ancestors())
    assert chain[0] == os.getppid()
    assert chain[-1] == 1 or not os.path.exists("/proc/1/status")
    monkeypatch.setattr(privacy, "_ancestors", lambda: iter([30, 20, 10, 1]))
    known = {30: "net:[3]", 20: "net:[3]", 10: "net:[1]", "self": "net:[3]"}
    monkeypatch.setattr(privacy, "_namespace", lambda pid, kind: known.get(pid))
    require_private_network()  # the parent made it, not the machine
    known[10] = "net:[3]"
    with pytest.raises(PrivacyError):
        require_private_network()


def device_of(path: Path) -> str:
    device = os.stat(path).st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def pretend(monkeypatch: pytest.MonkeyPatch, path: Path, ours: str | None, theirs: str | None) -> None:
    """Namespaces that differ, and what the directory is a mount of, here and at the machine's process."""
    monkeypatch.setattr(privacy, "_namespace", lambda pid, kind: str(pid))
    mounts = {"self": ours}
    monkeypatch.setattr(
        privacy, "_mounts", lambda process: {device_of(path): kind} if (kind := mounts.get(process, theirs)) else {}
    )


def test_a_bpffs_of_the_machine_in_a_namespace_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the mounts shows it: the planted mistake would be to look at the namespace alone."""
    path = os.fspath(tmp_path / "x")
    pretend(monkeypatch, tmp_path, "bpf", None)
    require_private_bpffs(path)
    pretend(monkeypatch, tmp_path, "bpf", "bpf")
    with pytest.raises(PrivacyError, match="in a bpffs of the machine"):
        require_private_bpffs(path)
    for ours in (None, "tmpfs"):
        pretend(monkeypatch, tmp_path, ours, None)
        with pytest.raises(PrivacyError, match="in no bpffs"):
            require_private_bpffs(path)


def test_mounts_as_the_kernel_tells_them() -> None:
    device = os.stat("/proc").st_dev
    assert privacy._mounts("self")[f"{os.major(device)}:{os.minor(device)}"] == "proc"
    with pytest.raises(PrivacyError, match="cannot be seen"):
        privacy._mounts("nobody")
