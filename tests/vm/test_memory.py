"""Where regions lie, and how long they live."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevail_py.vm.fault import Fault
from prevail_py.vm.memory import FRAME_SIZE, AddressSpace, Region, RegionKind
from prevail_py.vm.outcome import TrapKind
from prevail_py.vm.packet import HEADROOM, Packet

GAP = 1 << 31


def populated() -> AddressSpace:
    space = AddressSpace()
    space.context(bytes(24))
    for number in range(8):
        space.stack_frame(number)
    Packet(space, bytes(9000), writable=True)
    for size in (0, 1, 4096):
        space.memory(bytes(size))
    for index in range(3):
        space.map_object(index)
        first = space.reserve_map_values(100)
        for slot in (0, 1, 99):
            space.map_value(first, slot, memoryview(bytearray(65536)), index, writable=True)
    return space


def test_regions_are_far_apart_and_far_from_the_ends() -> None:
    regions = sorted(populated(), key=lambda region: region.base)
    assert len(regions) == 1 + 8 + 1 + 3 + 3 * 4
    for low, high in pairwise(regions):
        assert high.base - (low.base + low.size) >= GAP
    assert regions[0].base >= 1 << 32
    assert regions[-1].base + regions[-1].size <= (1 << 63) - (1 << 32)


def test_addresses_are_deterministic() -> None:
    assert [region.base for region in populated()] == [region.base for region in populated()]


def test_find() -> None:
    space = AddressSpace()
    region = space.memory(bytes(8))
    assert space.find(region.base) is space.find(region.base + 7) is region
    assert space.find(region.base + 8) is space.find(region.base - 1) is None
    space.release(region)
    assert space.find(region.base) is None


def test_a_map_value_is_one_region() -> None:
    space = AddressSpace()
    first = space.reserve_map_values(2)
    data = memoryview(bytearray(8))
    value = space.map_value(first, 1, data, 0, writable=True)
    assert space.map_value(first, 1, data, 0, writable=True) is value
    assert space.map_value(first, 0, data, 0, writable=True) is not value


def test_released_windows_of_memory_are_not_used_again() -> None:
    space = AddressSpace()
    first = space.memory(bytes(8))
    space.release(first)
    assert space.memory(bytes(8)).base != first.base


def test_no_room() -> None:
    with pytest.raises(ValueError, match="no room in the address space"):
        AddressSpace().reserve_map_values(1 << 31)


@given(offset=st.integers(-(1 << 63), (1 << 63) - 1), size=st.sampled_from([0, 1, 2, 4, 8, 16]))
def test_locate_is_containment(offset: int, size: int) -> None:
    region = AddressSpace().memory(bytes(12))
    address = (region.base + offset) % (1 << 64)
    if offset >= 0 and offset + size <= 12:
        assert region.locate(address, size) == offset
    else:
        with pytest.raises(Fault, match="of memory, which has 12 bytes") as caught:
            region.locate(address, size)
        assert caught.value.kind is TrapKind.OUT_OF_BOUNDS
        assert caught.value.address == address


Writes = st.lists(
    st.tuples(st.integers(0, FRAME_SIZE - 8), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1), st.booleans()),
    max_size=30,
)


@given(Writes)
def test_a_frame_is_what_was_written(writes: list[tuple[int, int, int, bool]]) -> None:
    """Against a model that keeps a byte, or nothing, and the pointer a byte belongs to, for every offset."""
    space = AddressSpace()
    frame, target = space.stack_frame(0), space.memory(b"")
    model: dict[int, tuple[int, tuple[int, int] | None]] = {}
    for serial, (offset, size, value, pointer) in enumerate(writes):
        whole = pointer and size == 8 and offset % 8 == 0
        frame.store(frame.base + offset, size, value, target if pointer else None)
        for place, byte in enumerate(value.to_bytes(8, "little")[:size]):
            model[offset + place] = (byte, (serial, offset) if whole else None)
    for offset in range(FRAME_SIZE - 7):
        cells = [model.get(place) for place in range(offset, offset + 8)]
        if None in cells:
            with pytest.raises(Fault) as caught:
                frame.load(frame.base + offset, 8)
            assert caught.value.kind is TrapKind.UNINITIALISED_MEMORY
            continue
        known = [cell for cell in cells if cell is not None]
        value, provenance = frame.load(frame.base + offset, 8)
        assert value == int.from_bytes(bytes(cell[0] for cell in known), "little")
        owners = {cell[1] for cell in known}
        whole = len(owners) == 1 and None not in owners and (next(iter(owners)) or (0, -1))[1] == offset
        assert (provenance is target) == whole


def test_packet() -> None:
    space = AddressSpace()
    packet = Packet(space, b"abcdef", writable=False)
    assert packet.data == packet.data_meta == packet.region.base
    assert packet.data_end - packet.data == len(packet) == 6
    assert bytes(packet) == b"abcdef"
    old = packet.region
    packet.move(meta=HEADROOM - 4, start=HEADROOM + 1, end=HEADROOM + 3)
    assert (packet.data - packet.data_meta, packet.data_end - packet.data) == (5, 2)
    assert bytes(packet) == b"bc"
    assert packet.data == old.base + 1
    assert not old.live
    assert packet.region.live
    assert [region for region in space if region.kind is RegionKind.PACKET] == [packet.region]


def test_packets_share_the_frame_with_their_region() -> None:
    packet = Packet(AddressSpace(), b"abc", writable=True)
    packet.region.store(packet.data, 1, ord("x"))
    assert bytes(packet) == b"xbc"


def test_large_packets_have_room() -> None:
    packet = Packet(AddressSpace(), bytes(9000), writable=True)
    assert len(packet) == 9000
    assert packet.end <= packet.limit
    assert len(packet.frame) == 3 * 4096


@pytest.mark.parametrize("kind", [RegionKind.MAP, RegionKind.FUNCTION, RegionKind.SOCKET])
def test_handles_are_not_memory(kind: RegionKind) -> None:
    with pytest.raises(Fault, match="is not memory") as caught:
        Region(kind, 1 << 40, memoryview(b"")).load(1 << 40, 1)
    assert caught.value.kind is TrapKind.NOT_A_POINTER
