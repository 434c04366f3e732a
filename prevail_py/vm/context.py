"""The context, as the platform's field table describes it.

The bytes of a context are only those of its scalar fields.  A load goes through the table: an access that is not in it
traps, and the fields that hold packet pointers yield 64-bit pointers whatever their width (Linux rewrites such loads
in the same way).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prevail_py.platforms.model import FieldKind, ProgramType
from prevail_py.vm.fault import Fault
from prevail_py.vm.memory import AddressSpace, Region
from prevail_py.vm.outcome import TrapKind
from prevail_py.vm.packet import Packet

if TYPE_CHECKING:
    from prevail_py.vm.socket_buffer import SocketBuffer

__all__ = ["Context", "initial_context", "takes_packet"]

_FROM_LOOPBACK: Final = (1).to_bytes(4, "little").rjust(16, b"\0")
_NULL_FIELDS: Final = frozenset({FieldKind.SOCK_OR_NULL, FieldKind.SOCK_COMMON_OR_NULL})


def takes_packet(program_type: ProgramType) -> bool:
    """Whether programs of this type run on packets, directly or through helpers."""
    return program_type.has_direct_packet or program_type.context_struct == "__sk_buff"


def initial_context(program_type: ProgramType, packet: bytes | memoryview) -> bytes:
    """The scalar fields that a program finds where none are given, as in a test run by Linux; zero beyond the end.

    All are zero but ``ingress_ifindex`` of an ``xdp_md``, the loopback device, and what follows from the packet in a
    ``__sk_buff``.
    """
    match program_type.context_struct:
        case "xdp_md":
            return _FROM_LOOPBACK
        case "__sk_buff":
            from prevail_py.vm.socket_buffer import fresh_fields

            return fresh_fields(program_type, packet)
        case _:
            return b""


class Context:
    """The context of one run: a region that is read and written field by field."""

    def __init__(
        self,
        memory: AddressSpace,
        program_type: ProgramType,
        content: bytes | None = None,
        packet: Packet | None = None,
        socket: Region | None = None,
    ) -> None:
        """``content`` holds the scalar fields, zero beyond its end; ``socket`` is what its socket fields point to.

        By default they are :func:`initial_context`.  Raises ValueError for contents that are too long.
        """
        size = program_type.context_size
        if content is not None and len(content) > size:
            raise ValueError(f"the context of {program_type.name} programs has {size} bytes, not {len(content)}")
        self.program_type = program_type
        self.packet = packet
        self.socket = socket
        if content is not None:
            given = content
        elif packet is None:
            given = b""
        else:
            given = initial_context(program_type, packet.frame[packet.start : packet.end])
        self.region: Region = memory.context(given.ljust(size, b"\0"))
        self.buffer: SocketBuffer | None = None
        if program_type.context_struct == "__sk_buff" and packet is not None:
            from prevail_py.vm.socket_buffer import SocketBuffer

            self.buffer = SocketBuffer(self.region.data, packet, program_type)

    def load(self, address: int, size: int, signed: bool) -> tuple[int, Region | None]:
        """The value of a field, zero-extended, and its provenance where it is a pointer."""
        offset = self._offset(address)
        kind = self.program_type.context_read(offset, size)
        if kind is None or (signed and kind is not FieldKind.SCALAR):
            raise Fault(TrapKind.CONTEXT_ACCESS, self._refusal("load", size, offset), address)
        if kind is FieldKind.SCALAR:
            return self.region.load(address, size)
        if kind in _NULL_FIELDS or (kind is FieldKind.SOCK and self.socket is not None):
            return (0, None) if self.socket is None else (self.socket.base, self.socket)
        if self.packet is None:
            raise Fault(TrapKind.UNSUPPORTED, f"the context field that holds a {kind.value} is not modelled", address)
        match kind:
            case FieldKind.PACKET:
                return self.packet.data, self.packet.region
            case FieldKind.PACKET_END:
                return self.packet.data_end, self.packet.region
            case FieldKind.PACKET_META:
                return self.packet.data_meta, self.packet.region
            case _:
                raise Fault(
                    TrapKind.UNSUPPORTED, f"the context field that holds a {kind.value} is not modelled", address
                )

    def store(self, address: int, size: int, value: int, provenance: Region | None) -> None:
        """Set a field that the program may write."""
        offset = self._offset(address)
        if not self.program_type.context_write(offset, size):
            raise Fault(TrapKind.CONTEXT_ACCESS, self._refusal("store", size, offset), address)
        if provenance is not None:
            self.region.require_no_leak(provenance, address, size)
        self.region.store(address, size, value)

    def _offset(self, address: int) -> int:
        offset = (address - self.region.base) & 0xFFFFFFFFFFFFFFFF
        return offset - (1 << 64) if offset >> 63 else offset

    def _refusal(self, what: str, size: int, offset: int) -> str:
        return f"{self.program_type.name} programs may not {what} {size} bytes at offset {offset} of the context"
