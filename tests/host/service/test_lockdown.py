"""The lockdown, proved by trying: from inside the process, after the point where requests would be read."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prevail_py.host.service.memory import SEALS, SealError, read_sealed, sealed

# What is tried: each gives the name of the error that it met, or "allowed".
TRIES = """
import ctypes, errno, fcntl, json, mmap, os, socket, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
channel, memory, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

def system_call(number, *arguments):
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), str(number))

def fork():
    if os.fork() == 0:
        os._exit(0)

HARMLESS = {
    "open": lambda: open("/etc/passwd"),
    "create": lambda: os.open(directory + "/new", os.O_CREAT | os.O_WRONLY),
    "listdir": lambda: os.listdir("/"),
    "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "socketpair": socket.socketpair,
    "fork": fork,
    "memfd": lambda: os.memfd_create("x"),
    "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "dumpable again": lambda: call("prctl", 4, 1, 0, 0, 0),
}
OTHERS = {
    "stat": lambda: os.stat("/etc/passwd"),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "thread": lambda: threading.Thread(target=int).start(),
    "ptrace": lambda: call("ptrace", 16, os.getpid(), 0, 0),
    "ptrace me": lambda: call("ptrace", 0, 0, 0, 0),
    "kill": lambda: os.kill(os.getpid(), 0),
    "limits": lambda: call("prlimit", 0, 4, (ctypes.c_long * 2)(0, 0), None),
    "unshare": lambda: call("unshare", 0x10000000),
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "bpf": lambda: system_call(321, 0, None, 0),
    "io_uring": lambda: system_call(425, 1, None),
    "process_vm_readv": lambda: call("process_vm_readv", os.getpid(), None, 0, None, 0, 0),
    "keyctl": lambda: system_call(250, 0, 0),
    "write to standard output": lambda: os.write(1, b"x"),
    "write to the channel as a file": lambda: os.write(channel, b"x"),
    "send to another socket": lambda: socket.socket(fileno=memory).send(b"x"),
    "descriptor flags": lambda: fcntl.fcntl(channel, fcntl.F_SETFL, 0),
    "write after seal": lambda: os.write(memory, b"x"),
    "pwrite after seal": lambda: os.pwrite(memory, b"x", 0),
    "truncate after seal": lambda: os.ftruncate(memory, 0),
    "map sealed memory writable": lambda: call("mmap", None, 4096, 3, 1, memory, 0),
    "unseal": lambda: fcntl.fcntl(memory, fcntl.F_ADD_SEALS, 0),
}
libc.mmap.restype = ctypes.c_long

def probe(tries):
    found = {}
    for name, attempt in tries.items():
        try:
            attempt()
            found[name] = "allowed"
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno, "?")
        except RuntimeError as error:  # a thread that cannot be started
            found[name] = "EPERM" if "can't start new thread" in str(error) else str(error)
    os.write(2, json.dumps(found).encode() + b"\\n")
"""
SERVICE = """
from prevail_py.host.service.worker import Given, serve

def inside():
    import z3
    x = z3.BitVec("x", 32)
    solver = z3.Solver()
    solver.set("rlimit", 1000000)
    solver.add(x * 3 == 9, x != 3)
    assert solver.check() == z3.unsat
    probe({**HARMLESS, **OTHERS})

sys.exit(serve(Given(channel), after_lockdown=inside))
"""
DIRECT = """
from prevail_py.host.service import landlock, lockdown, seccomp
if "landlock" not in sys.argv[4:]:
    landlock.restrict = lambda: None
if "seccomp" not in sys.argv[4:]:
    seccomp.install = lambda rules: None
lockdown.hide()
assert libc.prctl(3, 0, 0, 0, 0) == 0  # not dumpable
lockdown.lock_down(lockdown.Limits(), channel)
probe(HARMLESS)
"""


def run_inside(script: str, directory: Path, *arguments: str) -> dict[str, str]:
    ours, theirs = socket.socketpair()
    memory = sealed(b"x" * 4096)
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", TRIES + script, str(theirs.fileno()), str(memory), str(directory), *arguments],
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno(), memory],
        )
        os.close(memory)
        ours.shutdown(socket.SHUT_WR)
        _, text = process.communicate(timeout=120)
    assert process.returncode == 0, text.decode()
    found: dict[str, str] = json.loads(text.splitlines()[0])
    return found


def test_nothing_is_possible_inside_the_verifier(lockdown: None, tmp_path: Path) -> None:
    found = run_inside(SERVICE, tmp_path)
    assert len(found) > 30
    assert {name: how for name, how in found.items() if how not in ("EPERM", "EACCES")} == {}


def test_each_wall_stands_by_itself(lockdown: None, tmp_path: Path) -> None:
    """Without the walls all of it works, so that the test above can fail; each wall refuses for its own reason."""
    open_all = run_inside(DIRECT, tmp_path)
    assert set(open_all.values()) == {"allowed"}
    landlock = run_inside(DIRECT, tmp_path, "landlock")
    assert {name for name, how in landlock.items() if how == "EACCES"} == {"open", "create", "listdir"}
    seccomp = run_inside(DIRECT, tmp_path, "seccomp")
    assert set(seccomp.values()) == {"EPERM"}


# Sealed memory. ------------------------------------------------------------------------------------------------------


def test_sealed_memory_cannot_be_changed() -> None:
    descriptor = sealed(b"abc" * 5000)
    try:
        assert read_sealed(descriptor, 15000) == b"abc" * 5000
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 1)
        with pytest.raises(PermissionError):
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0)
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, 4096)
        with pytest.raises(SealError, match="15000 bytes, more than 14999"):
            read_sealed(descriptor, 14999)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("missing", [1 << bit for bit in range(4)])
def test_each_seal_is_wanted(missing: int) -> None:
    descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS & ~missing)
        with pytest.raises(SealError, match="not sealed"):
            read_sealed(descriptor, 10)
    finally:
        os.close(descriptor)


def test_other_descriptors_are_not_memory() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(SealError, match="no memory that can be sealed"):
            read_sealed(read, 10)
    finally:
        os.close(read)
        os.close(write)
