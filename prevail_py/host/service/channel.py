"""Messages over a stream socket: four bytes of length in network order, deterministic CBOR, descriptors beside it."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

from prevail_py.host.canonical import CanonicalError, Plain, decode, encode

__all__ = ["MAX_MESSAGE", "Channel", "ChannelError"]

MAX_MESSAGE: Final = 64 << 20
_LENGTH: Final = struct.Struct(">I")
_MAX_DESCRIPTORS: Final = 1


class ChannelError(ValueError):
    """What arrived is no message."""


class Channel:
    """One end of a connection; a message carries one descriptor at most, given with its first byte.

    ``limit`` bounds the bytes of what is received.
    """

    def __init__(self, connection: socket.socket, limit: int = MAX_MESSAGE) -> None:
        self.socket: Final = connection
        self.limit: Final = limit

    def send(self, message: Plain, descriptors: Sequence[int] = ()) -> None:
        """Send; the caller keeps the descriptors.  Raises OSError and :class:`ChannelError`."""
        data = encode(message)
        if len(data) > MAX_MESSAGE:
            raise ChannelError(f"a message of {len(data)} bytes, more than {MAX_MESSAGE}")
        data = _LENGTH.pack(len(data)) + data
        sent = 0
        if descriptors:
            sent = socket.send_fds(self.socket, [data[: 1 << 16]], list(descriptors))
        if sent < len(data):
            self.socket.sendall(memoryview(data)[sent:])

    def receive(self) -> tuple[Plain, tuple[int, ...]] | None:
        """The next message and its descriptors, for the caller to close; None at the end of the connection.

        Raises OSError and :class:`ChannelError`.
        """
        descriptors: list[int] = []
        try:
            head = self._exactly(_LENGTH.size, descriptors)
            if head is None:
                return None
            (length,) = _LENGTH.unpack(head)
            if length > self.limit:
                raise ChannelError(f"a message of {length} bytes, more than {self.limit}")
            body = self._exactly(length, descriptors)
            if body is None:
                raise ChannelError("the connection ended within a message")
            message = decode(body)
        except CanonicalError as error:
            _close(descriptors)
            raise ChannelError(str(error)) from None
        except BaseException:
            _close(descriptors)
            raise
        return message, tuple(descriptors)

    def _exactly(self, length: int, descriptors: list[int]) -> bytes | None:
        """``length`` bytes; None where the connection ends before the first of them."""
        data = bytearray()
        size = array.array("i").itemsize
        while len(data) < length:
            part, ancillary, flags, _ = self.socket.recvmsg(
                min(length - len(data), 1 << 20), socket.CMSG_SPACE(_MAX_DESCRIPTORS * size), socket.MSG_CMSG_CLOEXEC
            )
            for level, type, content in ancillary:
                if (level, type) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(content[: len(content) - len(content) % size])
                    descriptors.extend(numbers)
            if flags & socket.MSG_CTRUNC or len(descriptors) > _MAX_DESCRIPTORS:
                raise ChannelError("more descriptors than a message may carry")
            if not part:
                if data:
                    raise ChannelError("the connection ended within a message")
                return None
            data += part
        return bytes(data)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
