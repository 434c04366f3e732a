"""Network interfaces as a user-space switch sees them: frames in, frames out.

A port is a packet socket on an interface, or a TAP device, which the kernel takes for a wire into its own stack.
Either passes frames with the header of virtio (``struct virtio_net_hdr``), which says what the sender has left to the
hardware: a checksum that is still to be computed, or a packet that is still to be cut into segments.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["Frame", "PacketSocket", "Port", "Tap", "complete_checksum", "open_port"]

_ALL_PROTOCOLS: Final = 3
_SOL_PACKET: Final = 263
_ADD_MEMBERSHIP, _AUXDATA, _VNET_HDR, _IGNORE_OUTGOING = 1, 8, 15, 23
_PROMISCUOUS: Final = 1
_VLAN_VALID: Final = 1 << 4
_AUXILIARY: Final = struct.Struct("=IIIHHHH")
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_HEADER: Final = struct.Struct("=BBHHHH")
_NEEDS_CHECKSUM: Final = 1
_NO_HEADER: Final = bytes(_HEADER.size)
MAX_FRAME: Final = 1 << 17
_BUFFER: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame with the virtio header that came with it."""

    data: bytes
    header: bytes = _NO_HEADER

    @property
    def is_large(self) -> bool:
        """Whether it is still to be cut into segments, and longer than a frame may be."""
        return self.header[1] != 0

    def completed(self) -> Frame:
        """The same with its checksum in place, as it would be on a wire; a large one is left alone."""
        flags, segmentation, _, _, start, offset = _HEADER.unpack(self.header)
        if not flags & _NEEDS_CHECKSUM or segmentation:
            return self
        return Frame(complete_checksum(self.data, start, offset))


def complete_checksum(data: bytes, start: int, offset: int) -> bytes:
    """Put the Internet checksum (RFC 1071) of ``data[start:]`` at ``start + offset``: the pseudo-header's is there.

    >>> complete_checksum(bytes([0, 1, 0xF2, 3, 0, 0]), 0, 4).hex()
    '0001f2030dfb'
    """
    end = start + offset + 2
    if end > len(data):
        return data
    covered = data[start:] + bytes((len(data) - start) % 2)
    total = int.from_bytes(covered, "big") % 0xFFFF  # the sum of the words, since 2**16 is 1 modulo 2**16 - 1
    # 0 in the field means none to UDP, and its negation says the same.
    return data[: end - 2] + ((0xFFFF - total) or 0xFFFF).to_bytes(2, "big") + data[end:]


class Port(Protocol):
    """An interface; ``receive`` and ``send`` never wait."""

    name: str
    ifindex: int

    def fileno(self) -> int: ...

    def receive(self) -> Frame | None:
        """The next frame; None where there is none yet.  Raises OSError where the interface is gone."""
        ...

    def send(self, frame: Frame) -> bool:
        """Whether there was room for it."""
        ...

    def close(self) -> None: ...


class PacketSocket:
    """A packet socket on an interface: what arrives there, whomever it is for.

    The kernel's own stack sees these frames as well.  An interface that a host uses should have no addresses.
    """

    def __init__(self, name: str) -> None:
        """Raises OSError."""
        self.name = name
        self._socket: Final = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
            self._socket.setsockopt(_SOL_PACKET, _AUXDATA, 1)
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self.ifindex = socket.if_nametoindex(name)
            membership = struct.pack("=IHH8s", self.ifindex, _PROMISCUOUS, 0, b"")
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
            self._socket.bind((name, _ALL_PROTOCOLS))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """To wait for."""
        return self._socket.fileno()

    def receive(self) -> Frame | None:
        """A VLAN tag that the kernel has taken out is put back."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(MAX_FRAME, socket.CMSG_SPACE(_AUXILIARY.size))
        except BlockingIOError:
            return None
        header, data = data[: _HEADER.size], data[_HEADER.size :]
        for level, kind, content in ancillary:
            if (level, kind) == (_SOL_PACKET, _AUXDATA):
                status, _, _, _, _, tag, protocol = _AUXILIARY.unpack(content)
                if status & _VLAN_VALID:
                    data = data[:12] + struct.pack(">HH", protocol or 0x8100, tag) + data[12:]
                    header = _moved(header, 4)
        return Frame(data, header)

    def send(self, frame: Frame) -> bool:
        """Into the interface's queue."""
        try:
            self._socket.send(frame.header + frame.data)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE, errno.ENETDOWN, errno.EINVAL):
                return False
            raise
        return True

    def close(self) -> None:
        """The interface is nobody's again."""
        self._socket.close()


def _moved(header: bytes, by: int) -> bytes:
    flags, segmentation, length, size, start, offset = _HEADER.unpack(header)
    if not flags & _NEEDS_CHECKSUM:
        return header
    return _HEADER.pack(flags, segmentation, length + by, size, start + by, offset)


class Tap:
    """A TAP device: what is sent arrives in the kernel's stack, what the stack sends is received."""

    def __init__(self, name: str) -> None:
        """Raises OSError."""
        self.name = name
        self._descriptor: Final = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
            fcntl.ioctl(self._descriptor, _TUNSETIFF, request)
            self.ifindex = socket.if_nametoindex(name)
        except BaseException:
            os.close(self._descriptor)
            raise

    def fileno(self) -> int:
        """To wait for."""
        return self._descriptor

    def receive(self) -> Frame | None:
        """What the stack sent."""
        try:
            data = os.read(self._descriptor, MAX_FRAME)
        except BlockingIOError:
            return None
        return Frame(data[_HEADER.size :], data[: _HEADER.size])

    def send(self, frame: Frame) -> bool:
        """To the stack."""
        try:
            os.write(self._descriptor, frame.header + frame.data)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.EIO, errno.EINVAL):  # EIO: the device is down
                return False
            raise
        return True

    def close(self) -> None:
        """The device goes, unless it is a persistent one."""
        os.close(self._descriptor)


def open_port(name: str) -> Port:
    """``tap:NAME`` is a TAP device, which is made if there is none; anything else an interface.  Raises OSError."""
    kind, separator, rest = name.partition(":")
    if separator and kind == "tap":
        return Tap(rest)
    return PacketSocket(name)
