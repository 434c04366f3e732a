"""Capture files: reading pcap and pcapng, writing pcap (through dpkt)."""

from __future__ import annotations

from pathlib import Path
from struct import error as struct_error
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self

__all__ = ["CaptureError", "CaptureWriter", "Captured", "read_capture"]

_ETHERNET: Final = 1
_SNAP_LENGTH: Final = 262144


class CaptureError(ValueError):
    """A file that is not a readable capture of Ethernet frames."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


class Captured(NamedTuple):
    """A frame and when it was captured, in microseconds since 1970."""

    time: int
    data: bytes


def read_capture(path: str | Path) -> list[Captured]:
    """All frames of a pcap or pcapng file; raises :class:`CaptureError`, and OSError where it cannot be opened."""
    import dpkt

    path = Path(path)
    with path.open("rb") as stream:
        try:
            reader = dpkt.pcap.UniversalReader(_WholeReads(stream))
            if reader.datalink() != _ETHERNET:
                raise CaptureError(path, f"link type {reader.datalink()}, not Ethernet")
            return [Captured(round(time * 1_000_000), bytes(data)) for time, data in reader]
        except CaptureError:
            raise
        except EOFError:
            raise CaptureError(path, "the file ends in the middle of a record") from None
        except dpkt.UnpackError as error:
            raise CaptureError(path, f"malformed record: {error or type(error).__name__}") from None
        except (ValueError, struct_error, IndexError, ArithmeticError) as error:
            raise CaptureError(path, f"not a capture file: {error}") from None


class _WholeReads:
    """A stream that raises EOFError where a read comes up short, or goes on after the end.

    dpkt takes what is left of a truncated record for a whole one.  A read that finds nothing is its last, unless it
    was in the middle of a record.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ended = False

    def read(self, size: int) -> bytes:
        data = self._stream.read(size) if size > 0 else b""
        if self._ended or size < 0 or 0 < len(data) < size:
            raise EOFError
        self._ended = not data and size > 0
        return data

    def seek(self, position: int) -> None:
        self._stream.seek(position)
        self._ended = False


class CaptureWriter:
    """Writes frames to a pcap file, which is created with the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: BinaryIO | None = None
        self._writer: Any = None

    def write(self, frame: Captured) -> None:
        """Append a frame."""
        from decimal import Decimal

        import dpkt

        if self._stream is None:
            self._stream = self.path.open("wb")
            self._writer = dpkt.pcap.Writer(self._stream, snaplen=_SNAP_LENGTH, linktype=_ETHERNET)
        self._writer.writepkt_time(frame.data, Decimal(frame.time) / 1_000_000)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
