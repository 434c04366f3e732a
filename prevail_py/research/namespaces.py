"""Private network namespaces for tests and measurements: without names, gone with the processes that hold them.

Nothing outside is touched: the interfaces are created inside, and sockets in a namespace are opened by a thread that
enters it and ends.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

from prevail_py.research.frames import checksum

__all__ = ["Namespace", "joined", "missing", "namespace", "three_in_line"]

T = TypeVar("T")
_CLONE_NEWNET: Final = 0x40000000


@cache
def missing() -> str | None:
    """Why there can be no namespaces here, or None."""
    for command in (["unshare", "-n", "true"], ["ip", "-V"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return f"{command[0]} is not installed"
        if done.returncode:
            return done.stderr.strip()
    probe = ["unshare", "-n", "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return done.stderr.strip() or None if done.returncode else None


@dataclass(frozen=True)
class Namespace:
    """A network namespace, by the process that holds it."""

    pid: int

    def ip(self, *arguments: str) -> None:
        """Run ``ip`` inside."""
        self.run("ip", *arguments)

    def run(self, *command: str) -> None:
        """Run a command inside.  Raises RuntimeError with what it complained about."""
        done = subprocess.run([*self.command(*command)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def no_ipv6(self) -> None:
        """No addresses of the kernel's own making, which would speak up at any time."""
        self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")

    def answers_for(self, name: str) -> None:
        """Let an interface answer ARP for its own addresses only; Linux answers on each for those of all."""
        self.run("sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/{name}/arp_ignore")

    def command(self, *command: str) -> list[str]:
        """A command line that runs another inside."""
        return ["nsenter", "-t", str(self.pid), "-n", "--", *command]

    def inside(self, action: Callable[[], T]) -> T:
        """Call something in a thread that has entered the namespace."""
        results: list[T] = []
        errors: list[BaseException] = []

        def enter() -> None:
            try:
                descriptor = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
                try:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(descriptor, _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(descriptor)
                results.append(action())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def udp(self, address: str, port: int) -> socket.socket:
        """A UDP socket inside."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.settimeout(5)
            made.bind((address, port))
            return made

        return self.inside(make)

    def ping(self, source: str, address: str, wait: float = 5.0) -> bool:
        """An ICMP echo request, whether it was answered within so many seconds: as ping(8) does it."""

        def attempt() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as made:
                made.bind((source, 0))
                made.settimeout(wait)
                request = struct.pack(">BBHHH", 8, 0, 0, 77, 1) + b"ping" * 6
                request = request[:2] + struct.pack(">H", checksum(request)) + request[4:]
                made.sendto(request, (address, 0))
                deadline = time.monotonic() + wait
                while time.monotonic() < deadline:
                    try:
                        answer = made.recv(2048)
                    except TimeoutError:
                        return False
                    if answer[20] == 0 and answer[24:28] == request[4:8]:
                        return True
                return False

        return self.inside(attempt)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace with its loopback up, without IPv6 addresses of its own making."""
    ready, done = os.pipe()
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo x && exec sleep 600"], stdout=done
    )
    os.close(done)
    try:
        with os.fdopen(ready, "rb") as pipe:
            if pipe.readline() != b"x\n":
                raise RuntimeError("no network namespace")
        yield Namespace(holder.pid)
    finally:
        holder.kill()
        holder.wait()


@contextmanager
def three_in_line(*addresses: str) -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """left (l0) == (h0) middle (h1) == (r0) right, all up; ``addresses`` are those of l0 and r0, of one network (/24).

    Without addresses nobody there speaks IP.
    """
    with namespace() as left, namespace() as middle, namespace() as right:
        joined(left, "l0", middle, "h0")
        joined(right, "r0", middle, "h1")
        for each, names in ((left, ["l0"]), (middle, ["h0", "h1"]), (right, ["r0"])):
            each.no_ipv6()
            for name in names:
                each.ip("link", "set", name, "up")
        if addresses:
            for each, name, address in zip((left, right), ("l0", "r0"), addresses, strict=True):
                each.ip("addr", "add", f"{address}/24", "dev", name)
        yield left, middle, right


def joined(one: Namespace, name: str, other: Namespace, peer: str) -> None:
    """A veth pair between two namespaces."""
    one.ip("link", "add", name, "type", "veth", "peer", "name", peer, "netns", str(other.pid))
