"""Many packets in one go: how they are handed to an engine, and what comes back.

>>> batch = PacketBatch.of([b"one", b"three"])
>>> len(batch), batch[1]
(2, b'three')
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, overload

from prevail_py.vm.engines import EngineError, Loaded
from prevail_py.vm.environment import Environment
from prevail_py.vm.maps import Map, Maps
from prevail_py.vm.outcome import Returned

__all__ = ["BatchResult", "PacketBatch", "run_each"]


class PacketBatch(Sequence[bytes]):
    """Packets in one buffer: packet ``i`` is ``data[offsets[i] : offsets[i] + lengths[i]]``.

    A batch that is run is changed by the program where it writes to packets; :meth:`copy` it first to run it again.
    Where packets are cannot be changed, and the buffer neither grows nor shrinks: native code does not look again.
    """

    __slots__ = ("_data", "_held", "_lengths", "_offsets")

    def __init__(self, data: bytearray, offsets: array[int], lengths: array[int]) -> None:
        """``offsets`` are unsigned words of 64 bits (``array("Q")``), ``lengths`` of 32 (``array("I")``): copied both.

        Raises ValueError for packets that are not within the buffer.
        """
        if offsets.typecode != "Q" or (lengths.typecode, lengths.itemsize) != ("I", 4) or len(offsets) != len(lengths):
            raise ValueError("a batch has as many offsets (Q) as lengths (I)")
        self._held: Final = memoryview(data)  # a buffer that somebody looks at keeps its size
        self._data: Final = data
        self._offsets: Final = offsets[:]
        self._lengths: Final = lengths[:]
        size = len(data)
        if any(offset + length > size for offset, length in zip(self._offsets, self._lengths, strict=True)):
            raise ValueError("a packet of the batch is not within its buffer")

    @property
    def data(self) -> bytearray:
        """The buffer."""
        return self._data

    @property
    def offsets(self) -> memoryview:
        """Where the packets start in it, for reading."""
        return memoryview(self._offsets).toreadonly()

    @property
    def lengths(self) -> memoryview:
        """How many bytes they have, for reading."""
        return memoryview(self._lengths).toreadonly()

    def buffers(self) -> tuple[bytearray, array[int], array[int]]:
        """Data, offsets and lengths themselves, for native code, which writes to the first only."""
        return self._data, self._offsets, self._lengths

    @classmethod
    def of(cls, packets: Iterable[bytes]) -> PacketBatch:
        """A batch with a copy of each packet, one after the other."""
        data, offsets, lengths = bytearray(), array("Q"), array("I")
        for packet in packets:
            offsets.append(len(data))
            lengths.append(len(packet))
            data += packet
        return cls(data, offsets, lengths)

    def copy(self) -> PacketBatch:
        """The same packets in another buffer."""
        return PacketBatch(bytearray(self._data), self._offsets, self._lengths)

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        start = self._offsets[index]
        return bytes(self._data[start : start + self._lengths[index]])

    def __iter__(self) -> Iterator[bytes]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} packets, {sum(self._lengths)} bytes>"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch.

    ``verdicts`` has the low 32 bits of R0 for each packet, as unsigned words of 32 bits (``array("I")``); ``packets``
    are as the program left them, ``maps`` are those of the run.
    """

    verdicts: array[int]
    packets: PacketBatch
    maps: Maps


def run_each(
    loaded: Loaded, packets: PacketBatch, *, maps: Sequence[Map] | None, environment: Environment, fuel: int
) -> BatchResult:
    """A batch on any engine, one run after another.  Raises :class:`EngineError` where a run does not return."""
    verdicts, left, after = array("I"), [], Maps(maps or ())
    for number, packet in enumerate(packets, 1):
        execution = loaded.run(packet=packet, maps=maps, environment=environment, fuel=fuel)
        maps = after = execution.maps
        if not isinstance(execution.outcome, Returned):
            raise EngineError(f"packet {number}: {execution.outcome}")
        verdicts.append(execution.outcome.value & 0xFFFFFFFF)
        left.append(execution.packet or b"")
    return BatchResult(verdicts, PacketBatch.of(left), after)
