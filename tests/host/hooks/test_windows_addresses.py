"""Programs of Windows that decide on ``bind(2)`` and ``connect(2)``: their layouts, and calls of a real command."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from prevail_py.cli.main import main
from prevail_py.host.hooks.addresses import Asked, Call, applied, context_of
from prevail_py.host.hooks.notify import available
from prevail_py.host.hooks.windows_addresses import ATTACH_TYPES, decider
from prevail_py.include import FOLDER
from prevail_py.platforms import platform

RULES = r"""
#include "prevail_bpf.h"

#define PORT(n) ((__u16)((n) >> 8 | (n) << 8))

SEC("cgroup/connect4")
int connections(struct bpf_sock_addr *ctx)
{
	if (ctx->user_port == PORT(20393))
		return 0;
	if (ctx->user_port == PORT(20392))
		ctx->user_port = PORT(20391);
	return 1;
}

#ifdef PREVAIL_WINDOWS
SEC("bind")
int ports(struct bind_md *ctx)
{
	__u16 *port = (__u16 *)&ctx->socket_address[2];

	if (ctx->operation != BIND_OPERATION_BIND || ctx->socket_address_length < 16 || !ctx->process_id)
		return BIND_DENY;
	if (ctx->app_id_start + 2 > ctx->app_id_end || ctx->app_id_start[0] != '/' || ctx->app_id_start[1])
		return BIND_DENY;	/* a path in UTF-16 */
	if (*port == PORT(20394))
		return BIND_DENY;
	if (*port != PORT(20390))
		return BIND_PERMIT;
	*port = PORT(20391);
	return BIND_REDIRECT;
}
#else
SEC("cgroup/bind4")
int ports(struct bpf_sock_addr *ctx)
{
	if (ctx->user_port == PORT(20394))
		return 0;
	if (ctx->user_port == PORT(20390))
		ctx->user_port = PORT(20391);
	return 1;
}
#endif
"""

COMMAND = """
import socket
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 20390))
server.listen()
client = socket.socket()
client.connect(("127.0.0.1", 20392))
said = [server.getsockname()[1], client.getpeername()[1]]
for call in (lambda: socket.socket().bind(("127.0.0.1", 20394)),
             lambda: socket.socket().connect(("127.0.0.1", 20393))):
    try:
        call()
    except PermissionError:
        said.append("denied")
socket.socket().bind(("127.0.0.1", 0))
print(*said)
"""


@pytest.mark.skipif(available() is not None, reason=f"lockdown: {available()}")
@pytest.mark.parametrize("where", ["linux", "windows"])
def test_one_source_decides_on_calls_for_both(
    clang: str, tmp_path: Path, where: str, capfd: pytest.CaptureFixture[str], lockdown: None
) -> None:
    (tmp_path / "rules.c").write_text(RULES)
    out = os.fspath(tmp_path / "rules.o")
    options = ["-DPREVAIL_WINDOWS"] if where == "windows" else []
    command = [clang, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-Wno-unused-const-variable"]
    subprocess.run([*command, "-I", FOLDER, *options, "-c", "rules.c", "-o", out], cwd=tmp_path, check=True)
    line = ["ebpf", "--platform", where, "run", "--in-process", "--verbose", "--bind", out, "--connect", out, "--"]
    assert main([*line, sys.executable, "-c", COMMAND]) == 0
    said, counts = capfd.readouterr()
    assert said.split() == ["20391", "20391", "denied", "denied"]
    found = {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", counts)}
    assert (found["denied"], found["redirected"], found["permitted"]) == (2, 2, 1)


def asked(call: Call, family: int, address: bytes) -> Asked:
    return Asked(call, family, socket.SOCK_STREAM, 6, family, address)


V4 = struct.pack("<H2s4s8x", socket.AF_INET, b"\x1f\x90", bytes([127, 0, 0, 1]))
V6 = struct.pack("<H2sI16sI", socket.AF_INET6, b"\x1f\x90", 0, bytes(15) + b"\1", 0)


@pytest.mark.parametrize(("family", "address", "number"), [(socket.AF_INET, V4, 2), (socket.AF_INET6, V6, 23)])
def test_connections(family: int, address: bytes, number: int) -> None:
    """The layout is the one that the platform's table describes, and what may be written comes back."""
    seen: list[bytes] = []

    def ask(context: bytes, packet: bytes | None) -> tuple[int, bytes]:
        seen.append(context)
        assert packet is None
        changed = bytearray(context)
        changed[40:42] = b"\x00\x50"
        changed[24] = 10
        changed[4:8] = b"\xff" * 4  # not what is connected to
        return 1, bytes(changed)

    call = asked(Call.CONNECT, family, address)
    answer = decider("cgroup_inet4_connect", ask, lambda: 0)(context_of(call))
    assert answer is not None
    (context,) = seen
    assert len(context) == platform("windows").program_types["cgroup_sock_addr"].context_size
    assert struct.unpack_from("<I", context)[0] == number
    assert (context[40:42], context[44]) == (b"\x1f\x90", 6)
    assert context[24:28] == (bytes([127, 0, 0, 1]) if family == socket.AF_INET else bytes(4))
    after = applied(call, answer[1])
    assert after[2:4] == b"\x00\x50"
    start = 4 if family == socket.AF_INET else 8
    assert after[start] == 10
    assert after[start + 1 :] == address[start + 1 :]


@pytest.mark.parametrize(("value", "permitted"), [(0, 0), (1, 1), (2, 1), (3, 0), (0xFFFFFFFF, 0)])
def test_verdicts_on_connections(value: int, permitted: int) -> None:
    call = context_of(asked(Call.CONNECT, socket.AF_INET, V4))
    assert decider("cgroup_inet4_connect", lambda context, packet: (value, context), lambda: 0)(call) == (
        permitted,
        call,
    )


@pytest.mark.parametrize(
    ("value", "permitted", "changed"), [(0, 1, False), (1, 0, False), (2, 1, True), (3, 0, False), (1 << 31, 0, False)]
)
def test_verdicts_on_binds(value: int, permitted: int, changed: bool) -> None:
    """Only REDIRECT changes the address."""
    seen: list[tuple[bytes, bytes | None]] = []

    def ask(context: bytes, packet: bytes | None) -> tuple[int, bytes]:
        seen.append((context, packet))
        after = bytearray(context)
        after[26:28] = b"\x00\x50"
        return value, bytes(after)

    call = asked(Call.BIND, socket.AF_INET, V4)
    answer = decider("bind", ask, os.getpid)(context_of(call))
    assert answer is not None
    assert answer[0] == permitted
    assert (applied(call, answer[1]) != V4) is changed
    ((context, name),) = seen
    assert len(context) == platform("windows").program_types["bind"].context_size
    process, address, length, operation, protocol = struct.unpack("<16xQ16sB3xIB7x", context)
    assert (process, address, length, operation, protocol) == (os.getpid(), V4, 16, 0, 6)
    assert name is not None
    assert name.decode("utf-16-le") == os.readlink("/proc/self/exe")
    assert decider("bind", ask, lambda: 1 << 30)(context_of(call)) is not None  # a process that is gone has no name
    assert seen[-1][1] == b""


def test_a_program_that_does_not_end() -> None:
    for attach_type in ATTACH_TYPES:
        call = context_of(asked(Call.BIND, socket.AF_INET, V4))
        assert decider(attach_type, lambda context, packet: None, lambda: 0)(call) is None
