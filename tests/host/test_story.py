"""What a user does, from C to packets: compile, load, attach, look, pin, restart, delete; and the same for bind(2)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prevail_py.host.hooks.notify import available
from prevail_py.include import FOLDER
from prevail_py.research.namespaces import Namespace, three_in_line
from tests.host.network import FIRST_PORT, require

LEFT, RIGHT = "10.1.3.1", "10.1.3.2"

FIREWALL = r"""
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u16);		/* a UDP port */
	__type(value, __u64);		/* how many packets to it were dropped */
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);		/* an IP protocol */
	__type(value, __u64);
} seen SEC(".maps");

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u64 *count;
	__u32 protocol;
	__u16 port;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;
	protocol = ip->protocol;
	count = bpf_map_lookup_elem(&seen, &protocol);
	if (count)
		__sync_fetch_and_add(count, 1);
	if (protocol != IPPROTO_UDP || (void *)(udp + 1) > end)
		return XDP_PASS;
	port = bpf_ntohs(udp->dest);
	count = bpf_map_lookup_elem(&blocked, &port);
	if (!count)
		return XDP_PASS;
	__sync_fetch_and_add(count, 1);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "MIT";
"""

PORTS = r"""
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { PERMITTED, DENIED, REDIRECTED };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} decisions SEC(".maps");

static __always_inline void note(__u32 what)
{
	__u64 *count = bpf_map_lookup_elem(&decisions, &what);

	if (count)
		__sync_fetch_and_add(count, 1);
}

SEC("cgroup/bind4")
int ports(struct bpf_sock_addr *ctx)
{
	if (ctx->user_port == bpf_htons(20092)) {
		note(DENIED);
		return 0;
	}
	if (ctx->user_port == bpf_htons(20090)) {
		ctx->user_port = bpf_htons(20091);
		note(REDIRECTED);
		return 1;
	}
	note(PERMITTED);
	return 1;
}

char LICENSE[] SEC("license") = "MIT";
"""

PEERS = r"""
SEC("cgroup/connect4")
int peers(struct bpf_sock_addr *ctx)
{
	if (ctx->user_port == bpf_htons(20090))
		ctx->user_port = bpf_htons(20091);
	note(REDIRECTED);
	return 1;
}

SEC("cgroup/connect4")
int nobody(struct bpf_sock_addr *ctx)
{
	note(DENIED);
	return 0;
}
"""


HEADERS = {"linux": (), "windows": ("-I", os.fspath(FOLDER / "windows"))}


PORT = FIRST_PORT + 100
"""Of these tests: the sources have 20090 and the two behind it in its place."""


def with_ports(source: str) -> str:
    for place in range(3):
        source = source.replace(str(20090 + place), str(PORT + place))
    return source


class User:
    """Somebody at a shell: each command is a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "host.sock"
        self.environment = {**os.environ, "PREVAIL_PY_HOST": os.fspath(self.socket)}

    def compile(self, clang: str, name: str, source: str, *options: str) -> Path:
        (self.directory / f"{name}.c").write_text(source)
        out = self.directory / f"{name}.o"
        headers = f"/usr/include/{os.uname().machine}-linux-gnu"
        command = [clang, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-idirafter", headers, "-c"]
        subprocess.run([*command, *options, f"{name}.c", "-o", out], cwd=self.directory, check=True)
        return out

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "prevail_py", *words]

    def ebpf(self, line: str, code: int = 0) -> str:
        done = subprocess.run(
            self.command("ebpf", *line.split()), env=self.environment, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == code, done
        return done.stdout + done.stderr

    def python(self, script: str) -> str:
        """A program that uses the libbpf API."""
        prelude = "from prevail_py.libbpf import *\nuse('host')\n"
        done = subprocess.run(
            [sys.executable, "-c", prelude + script], env=self.environment, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    @contextmanager
    def host(self, *options: str, where: Namespace | None = None) -> Iterator[subprocess.Popen[str]]:
        command = self.command(
            "hostd", "--socket", os.fspath(self.socket), "--store", os.fspath(self.directory / "store.sqlite"), *options
        )
        process = subprocess.Popen(
            command if where is None else where.command(*command),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("listening"), process.communicate()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=60)[1] == ""
            assert process.returncode == 0


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


READ = """
from ctypes import c_uint32
id, info, value = c_uint32(), bpf_map_info(), bytearray(8)
while bpf_map_get_next_id(id.value, id) == 0:
    fd = bpf_map_get_fd_by_id(id.value)
    bpf_obj_get_info_by_fd(fd, info)
    if info.name == {name!r} and bpf_map_lookup_elem(fd, {key!r}, value) == 0:
        print(int.from_bytes(value, "little"))
"""


def counted(user: User, name: str, key: bytes) -> int:
    """A counter of a map, read by another process through the libbpf API."""
    return int(user.python(READ.format(name=name, key=key)))


@pytest.mark.usefixtures("lockdown")
@pytest.mark.parametrize("platform", ["linux", "windows"])
def test_packets(user: User, clang: str, platform: str) -> None:
    """One source for both platforms, whose objects differ in the numbers of map types, in layouts and in results."""
    require()
    firewall = user.compile(clang, "firewall", FIREWALL, *HEADERS[platform])
    with (
        three_in_line(LEFT, RIGHT) as (left, middle, right),
        left.udp(LEFT, 0) as client,
        right.udp(RIGHT, 7) as server,
    ):

        def arrives(wait: float = 5.0) -> bool:
            client.sendto(b"hello", (RIGHT, 7))
            server.settimeout(wait)
            try:
                return server.recv(100) == b"hello"
            except TimeoutError:
                return False

        with user.host("--wire", "h0,h1", where=middle):
            assert arrives()
            assert (
                user.ebpf(f"add program {firewall} interface=h0 pinpath=/fw platform={platform}")
                == "Loaded with ID 1\n"
            )
            assert arrives()
            assert left.ping(LEFT, RIGHT)
            assert counted(user, "seen", (17).to_bytes(4, "little")) >= 1
            assert counted(user, "seen", (1).to_bytes(4, "little")) >= 1
            user.ebpf("map update name blocked key 7 0 value 0 0 0 0 0 0 0 0")
            assert not arrives(0.4)
            assert left.ping(LEFT, RIGHT)
            assert counted(user, "blocked", b"\x07\0") == 1
            (line,) = user.ebpf("show programs pinned=yes attached=yes").splitlines()[3:]
            assert line.split()[:3] == ["1", "1", "1"]
        with user.host("--wire", "h0,h1", where=middle):  # verified again, attached again
            assert not arrives(0.4)
            assert counted(user, "blocked", b"\x07\0") == 2
            assert "xdp" in user.ebpf("show links")
            assert user.ebpf("delete program 1") == "Unpinned 1 from /fw\n"
            assert arrives()
            assert user.ebpf("show programs").splitlines()[3:] == []
            assert user.ebpf("show maps").splitlines()[4:] == []
        with user.host("--wire", "h0,h1", where=middle):
            assert user.ebpf("show pins").splitlines()[3:] == []


def answers(port: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                return "hello.txt" in page.read().decode()
        except OSError:
            time.sleep(0.1)
    return False


def refuses(port: int) -> bool:
    with socket.socket() as made:
        return made.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.usefixtures("lockdown")
@pytest.mark.skipif(available() is not None, reason=f"lockdown: {available()}")
@pytest.mark.parametrize("options", [[], ["--in-process"]], ids=["host", "in-process"])
def test_binds(user: User, clang: str, options: list[str]) -> None:
    """An unmodified ``python -m http.server``: elsewhere than it asked for, or not at all."""
    rules = user.compile(clang, "ports", with_ports(PORTS))
    (user.directory / "hello.txt").write_text("hello")

    def supervised(port: int) -> subprocess.Popen[bytes]:
        server = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        return subprocess.Popen(
            user.command("ebpf", "run", *options, "--bind", os.fspath(rules), "--", *server),
            env=user.environment, cwd=user.directory, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def elsewhere(check: Callable[[], None]) -> None:
        process = supervised(PORT)
        try:
            assert answers(PORT + 1)
            assert refuses(PORT)
            check()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(timeout=20) == 128 + signal.SIGTERM
            assert process.stderr is not None
            process.stderr.close()

    if options:
        elsewhere(lambda: None)
        return
    with user.host():

        def check() -> None:
            assert counted(user, "decisions", (2).to_bytes(4, "little")) == 1
            assert user.ebpf("show links").splitlines()[4].split()[2] == "cgroup_inet4_bind"
            assert "command" in user.ebpf("link show")

        elsewhere(check)
        denied = supervised(PORT + 2)
        assert b"PermissionError" in denied.communicate(timeout=60)[1]
        assert denied.returncode == 1
        assert user.ebpf("show programs").splitlines()[3:] == []


CLIENT = """
import sys, urllib.request
for line in sys.stdin:
    try:
        print("hello.txt" in urllib.request.urlopen(line.strip(), timeout=5).read().decode(), flush=True)
    except OSError as error:
        print(error.reason, flush=True)
"""

REPLACE = """
from ctypes import c_uint32
id, info = c_uint32(), bpf_link_info()
while bpf_link_get_next_id(id.value, id) == 0:
    fd = bpf_link_get_fd_by_id(id.value)
    bpf_obj_get_info_by_fd(fd, info)
    if libbpf_bpf_attach_type_str(info.attach_type) == "cgroup_inet4_connect":
        assert bpf_link_update(fd, bpf_obj_get("/rules/nobody")) == 0
        print(info.prog_id)
"""


@pytest.mark.usefixtures("lockdown")
@pytest.mark.skipif(available() is not None, reason=f"lockdown: {available()}")
def test_programs_of_the_host(user: User, clang: str) -> None:
    """A server is moved by one program, and a client follows by another; a third replaces that one while it runs.

    All of them are the host's: loaded and pinned by commands that have ended, and counting in one map.
    """
    rules = user.compile(clang, "rules", with_ports(PORTS.replace("char LICENSE", PEERS + "\nchar LICENSE")))
    (user.directory / "hello.txt").write_text("hello")

    def supervised(program: str, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            user.command("ebpf", "run", "--program", program, "--", sys.executable, *command),
            env=user.environment, cwd=user.directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    with user.host():
        user.ebpf(f"add program {rules} pinned=all pinpath=/rules")
        assert "no program 99" in user.ebpf("run --program 99 -- true", 1)
        server = supervised("/rules/ports", "-m", "http.server", str(PORT), "--bind", "127.0.0.1")
        client = supervised("/rules/peers", "-c", CLIENT)
        try:
            assert answers(PORT + 1)

            def fetched() -> str:
                assert client.stdin is not None
                assert client.stdout is not None
                client.stdin.write(f"http://127.0.0.1:{PORT}/\n")
                client.stdin.flush()
                return client.stdout.readline().strip()

            assert fetched() == "True"
            assert counted(user, "decisions", (2).to_bytes(4, "little")) == 2
            assert user.python(REPLACE) == str(2)
            assert fetched() == "[Errno 13] Permission denied"
            assert counted(user, "decisions", (1).to_bytes(4, "little")) == 1
        finally:
            for each in (client, server):
                os.killpg(each.pid, signal.SIGTERM)
                each.communicate(timeout=20)
        assert len(user.ebpf("show links").splitlines()) == 4  # they went with who held them
        assert len(user.ebpf("show programs").splitlines()) == 6
