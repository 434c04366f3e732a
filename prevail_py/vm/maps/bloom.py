"""Bloom filters (kernel/bpf/bloom_filter.c), bit for bit those that Linux makes with BPF_F_ZERO_SEED.

Without that flag Linux starts its hashes with a random number, so that which values are wrongly found differs from map
to map.  Here the number is always 0: runs can be repeated, and are among those that Linux allows.  What holds in all
of them, and all that a verifier may assume, is that a value that was pushed is found; any other may be found too.
"""

from __future__ import annotations

import errno
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import Content, MapError, UpdateFlag, check, require

__all__ = ["BloomFilter"]

_DEFAULT_HASHES: Final = 5
_MAX_BITS: Final = 1 << 32
_MASK: Final = 0xFFFFFFFF


class BloomFilter:
    """A set of values that may seem to hold more than were pushed (BPF_MAP_TYPE_BLOOM_FILTER).

    Made for ``max_entries`` values and ``spec.extra`` hashes (1 to 15, 0: five); pushing more is no error.  To the user
    it is a container: ``value in filter``.
    """

    def __init__(self, spec: MapSpec) -> None:
        """Raises :class:`MapError` for an invalid ``spec``."""
        require(spec, spec.key_size == 0, "a bloom filter has no keys")
        require(spec, spec.value_size > 0, "values must have a size")
        require(spec, spec.max_entries > 0, "it must have room for a value")
        require(spec, spec.extra <= 15, "map_extra is a number of hashes, up to 15")
        self.spec = spec
        self.hashes: Final = spec.extra or _DEFAULT_HASHES
        # n * k / ln 2 bits make the fewest mistakes; 7 / 5 is close to 1 / ln 2.
        wanted = spec.max_entries * self.hashes // 5 * 7
        bits = _MAX_BITS if wanted > 1 << 31 else max(1 << (wanted - 1).bit_length() if wanted else 0, 64)
        self._mask: Final = bits - 1
        self._bits = mmap(-1, bits // 8, MAP_PRIVATE | MAP_ANONYMOUS)  # costs nothing where it is not used
        self.pushes = 0

    def __repr__(self) -> str:
        return f"<bloom filter {self.spec.name!r}: {self.pushes} values in {self._mask + 1} bits>"

    def push(self, value: bytes, flags: int = UpdateFlag.ANY) -> int:
        """Add a value: 0 or a negative error number."""
        if flags != UpdateFlag.ANY:
            return -errno.EINVAL
        for bit in self._places(value):
            self._bits[bit >> 3] |= 1 << (bit & 7)
        self.pushes += 1
        return 0

    def pop(self) -> tuple[int, bytes]:
        """Refused: nothing can be taken out."""
        return -errno.EOPNOTSUPP, bytes(self.spec.value_size)

    def peek(self, value: bytes) -> tuple[int, bytes]:
        """0 where the value may have been pushed, -ENOENT where it was not; and the value."""
        found = all(self._bits[bit >> 3] >> (bit & 7) & 1 for bit in self._places(value))
        return 0 if found else -errno.ENOENT, value

    def _places(self, value: bytes) -> list[int]:
        return [jenkins(value, number) & self._mask for number in range(self.hashes)]

    # For the user ---------------------------------------------------------------------------------------------------

    def append(self, content: Content) -> None:
        """Add a value; raises :class:`MapError` where it does not fit."""
        if self.spec.read_only:
            raise MapError(self.spec.name, errno.EPERM, "the map is frozen")
        check(self.spec, self.push(self._checked(content)))

    def __contains__(self, value: object) -> bool:
        return self.peek(self._checked(value))[0] == 0

    def _checked(self, value: object) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview) or len(value) != self.spec.value_size:
            raise MapError(self.spec.name, errno.EINVAL, f"{self.spec.value_size} bytes are wanted")
        return bytes(value)


def _rotate(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _MASK


def jenkins(data: bytes, start: int) -> int:
    """Bob Jenkins's lookup3 of ``data`` in 32 bits, as ``jhash`` and, for whole words, ``jhash2`` compute it."""
    a = b = c = (0xDEADBEEF + len(data) + start) & _MASK
    # Words of zeros beyond the end add nothing, so the last block, of 1 to 12 bytes, can be read like the others.
    words = [int.from_bytes(data[place : place + 4], "little") for place in range(0, len(data), 4)]
    while len(words) > 3:
        a, b, c = a + words[0] & _MASK, b + words[1] & _MASK, c + words[2] & _MASK
        del words[:3]
        a = (a - c & _MASK) ^ _rotate(c, 4)
        c = c + b & _MASK
        b = (b - a & _MASK) ^ _rotate(a, 6)
        a = a + c & _MASK
        c = (c - b & _MASK) ^ _rotate(b, 8)
        b = b + a & _MASK
        a = (a - c & _MASK) ^ _rotate(c, 16)
        c = c + b & _MASK
        b = (b - a & _MASK) ^ _rotate(a, 19)
        a = a + c & _MASK
        c = (c - b & _MASK) ^ _rotate(b, 4)
        b = b + a & _MASK
    if not words:
        return c
    x, y, z = (*words, 0, 0)[:3]
    a, b, c = a + x & _MASK, b + y & _MASK, c + z & _MASK
    c = (c ^ b) - _rotate(b, 14) & _MASK
    a = (a ^ c) - _rotate(c, 11) & _MASK
    b = (b ^ a) - _rotate(a, 25) & _MASK
    c = (c ^ b) - _rotate(b, 16) & _MASK
    a = (a ^ c) - _rotate(c, 4) & _MASK
    b = (b ^ a) - _rotate(a, 14) & _MASK
    return (c ^ b) - _rotate(b, 24) & _MASK
