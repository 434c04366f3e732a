"""The IR of hash tables: functions that find, insert and remove elements of one map, with its sizes as constants.

The table is that of :mod:`prevail_py.vm.maps.table`, values are in :mod:`prevail_py.vm.maps.storage`, and each function
does what the method of :class:`prevail_py.vm.maps.hash.HashMap` with its name does.  Code for several threads takes the
table's lock.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from prevail_py.vm.jit.proved.text import TextBuilder, Word, word
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.maps.model import UpdateFlag
from prevail_py.vm.maps.table import MULTIPLIER, Header, TableLayout

__all__ = ["table_functions"]

_LARGEST_UNROLLED: Final = 64
"""Keys of more words than these are none of native code's business."""


def supported(map: HashMap) -> bool:
    """Whether there are functions for this map."""
    return not map.evicts and map.spec.key_size <= 8 * _LARGEST_UNROLLED


def table_functions(map: HashMap, number: int, *, concurrent: bool) -> str:
    """The functions ``@find<number>(table, key)``, the slot or -1, ``@update<number>(table, values, key, value, flags,
    cpu)`` and ``@remove<number>(table, key)``, 0 or a negative error number."""
    return "\n".join(_Functions(map, number, concurrent).text(name) for name in ("find", "update", "remove"))


class _Functions:
    def __init__(self, map: HashMap, number: int, concurrent: bool) -> None:
        self.map = map
        self.number = number
        self.concurrent = concurrent
        self.layout = TableLayout.of(map.spec)
        self.b = TextBuilder()

    def text(self, name: str) -> str:
        self.b = TextBuilder()
        parameters = "ptr %table, ptr %key"
        if name == "update":
            parameters = "ptr %table, ptr %values, ptr %key, ptr %value, i64 %flags, i64 %cpu"
        self.b.label("entry")
        if self.concurrent:
            self.lock()
        getattr(self, name)()
        body = "\n".join(self.b.lines)
        return f"define internal i64 @{name}{self.number}({parameters}) alwaysinline nounwind {{\n{body}\n}}\n"

    # What the functions are made of ---------------------------------------------------------------------------------

    def at(self, base: str, offset: str | int) -> str:
        return self.b.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    def header(self, field: Header) -> str:
        return self.at("%table", 8 * field)

    def load(self, pointer: str, width: int = 64) -> Word:
        return Word(self.b.value(f"load i{width}, ptr {pointer}, align {width // 8}"), width)

    def store(self, value: Word, pointer: str) -> None:
        self.b.line(f"store i{value.width} {value.text}, ptr {pointer}, align {value.width // 8}")

    def element(self, base: int, index: Word, size: int) -> str:
        """The address of an element of a part of the table."""
        return self.at("%table", self.b.add(word(base), self.b.mul(index, word(size))).text)

    def give(self, value: str | int) -> None:
        if self.concurrent:
            self.b.line(f"store atomic i64 0, ptr {self.header(Header.LOCK)} release, align 8")
        self.b.line(f"ret i64 {value}")

    def lock(self) -> None:
        b, lock = self.b, self.header(Header.LOCK)
        b.line("br label %spin")
        b.label("spin")
        pair = b.value(f"cmpxchg ptr {lock}, i64 0, i64 1 acquire monotonic")
        b.line(f"br i1 {b.value(f'extractvalue {{ i64, i1 }} {pair}, 1')}, label %locked, label %spin")
        b.label("locked")

    def chunks(self) -> list[Word]:
        """The key in words of 8 bytes, the last one padded with zeros."""
        found = []
        for start, size in _pieces(self.map.spec.key_size):
            parts = []
            for offset, width in _parts(size):
                loaded = Word(
                    self.b.value(f"load i{8 * width}, ptr {self.at('%key', start + offset)}, align 1"), 8 * width
                )
                wide = loaded if width == 8 else self.b.zext(loaded, 64)
                parts.append(wide if offset == 0 else self.b.shl(wide, word(8 * offset)))
            total = parts[0]
            for part in parts[1:]:
                total = self.b.or_(total, part)
            found.append(total)
        return found

    def bucket(self, chunks: list[Word]) -> Word:
        b, value = self.b, word(0)
        for chunk in chunks:
            value = b.mul(b.xor(value, chunk), word(MULTIPLIER))
            value = b.xor(value, b.lshr(value, word(32)))
        return b.lshr(b.mul(value, word(MULTIPLIER)), word(64 - self.layout.bits))

    def search(self, chunks: list[Word], found: str, missing: str) -> tuple[str, Word, str]:
        """Go to one of two labels; the address of the head of the chain, and for ``found`` the slot and the address of
        the link to it."""
        b = self.b
        head = self.element(self.layout.heads, self.bucket(chunks), 4)
        b.line("br label %first")
        b.label("first")
        b.line("br label %walk")
        b.label("walk")
        link, following = "%link", "%following"
        b.line(f"%link = phi ptr [ {head}, %first ], [ {following}, %other ]")
        slot = b.zext(self.load(link, 32), 64)
        b.line(f"br i1 {b.icmp_unsigned('==', slot, word(0)).text}, label %{missing}, label %compare")
        b.label("compare")
        index = b.sub(slot, word(1))
        key = self.element(self.layout.keys, index, self.layout.stride)
        differs = word(0)
        for number, chunk in enumerate(chunks):
            differs = b.or_(differs, b.xor(chunk, self.load(self.at(key, 8 * number))))
        b.line(f"br i1 {b.icmp_unsigned('==', differs, word(0)).text}, label %{found}, label %other")
        b.label("other")
        onward = b.add(word(self.layout.next), b.mul(index, word(4)))
        b.line(f"{following} = getelementptr i8, ptr %table, i64 {onward.text}")
        b.line("br label %walk")
        return head, index, link

    def unlink(self, index: Word, link: str) -> None:
        """Take an element out of its chain and put its slot among the free ones."""
        following = self.element(self.layout.next, index, 4)
        self.store(self.load(following, 32), link)
        free = self.header(Header.FREE)
        self.store(self.b.trunc(self.load(free), 32), following)
        self.store(self.b.add(index, word(1)), free)
        self.store(word(0), self.element(self.layout.order, index, 8))

    # The functions --------------------------------------------------------------------------------------------------

    def find(self) -> None:
        _, index, _ = self.search(self.chunks(), "found", "missing")
        self.b.label("found")
        self.give(index.text)
        self.b.label("missing")
        self.give(-1)

    def remove(self) -> None:
        b = self.b
        _, index, link = self.search(self.chunks(), "found", "missing")
        b.label("found")
        self.unlink(index, link)
        count = self.header(Header.COUNT)
        self.store(b.sub(self.load(count), word(1)), count)
        self.give(0)
        b.label("missing")
        self.give(-errno.ENOENT)

    def update(self) -> None:
        b, flags = self.b, Word("%flags", 64)
        b.line(f"br i1 {b.icmp_unsigned('>', flags, word(UpdateFlag.EXIST)).text}, label %invalid, label %start")
        b.label("invalid")
        self.give(-errno.EINVAL)
        b.label("start")
        # Read once: the key may be in a value that is written here, or that another thread writes.
        chunks = self.chunks()
        head, index, link = self.search(chunks, "found", "missing")
        b.label("found")
        b.line(f"br i1 {self.flag(UpdateFlag.NOEXIST)}, label %exists, label %replace")
        b.label("exists")
        self.give(-errno.EEXIST)
        b.label("missing")
        b.line(f"br i1 {self.flag(UpdateFlag.EXIST)}, label %absent, label %room")
        b.label("absent")
        self.give(-errno.ENOENT)
        b.label("room")
        count = self.load(self.header(Header.COUNT))
        full = b.icmp_unsigned(">=", count, word(self.map.spec.max_entries))
        b.line(f"br i1 {full.text}, label %full, label %insert")
        b.label("full")
        self.give(-errno.E2BIG)
        b.label("insert")
        self.store(b.add(count, word(1)), self.header(Header.COUNT))
        b.line("br label %take")
        b.label("replace")
        if self.map.per_cpu:
            self.write_value(index)
            self.give(0)
        else:
            b.line(f"%found_slot = add i64 {index.text}, 1")
            b.line("br label %take")
        # A slot for the element: the one that was given back last, or the next that was never used.
        b.label("take")
        old = None
        if not self.map.per_cpu:
            old = Word("%old", 64)
            b.line("%old = phi i64 [ 0, %insert ], [ %found_slot, %replace ]")
        free = self.load(self.header(Header.FREE))
        b.line(f"br i1 {b.icmp_unsigned('==', free, word(0)).text}, label %unused, label %freed")
        b.label("freed")
        slot = b.sub(free, word(1))
        following = self.load(self.element(self.layout.next, slot, 4), 32)
        self.store(b.zext(following, 64), self.header(Header.FREE))
        b.line("br label %write")
        b.label("unused")
        never = self.load(self.header(Header.UNUSED))
        self.store(b.add(never, word(1)), self.header(Header.UNUSED))
        b.line("br label %write")
        b.label("write")
        b.line(f"%slot = phi i64 [ {slot.text}, %freed ], [ {never.text}, %unused ]")
        new = Word("%slot", 64)
        self.write_value(new)
        if self.map.per_cpu:
            self.clear_others(new)
        key = self.element(self.layout.keys, new, self.layout.stride)
        for number, chunk in enumerate(chunks):
            self.store(chunk, self.at(key, 8 * number))
        if old is not None:
            b.line(f"br i1 {b.icmp_unsigned('==', old, word(0)).text}, label %link_in, label %take_out")
            b.label("take_out")
            self.unlink(b.sub(old, word(1)), link)
            b.line("br label %link_in")
            b.label("link_in")
        order = b.add(self.load(self.header(Header.ORDER)), word(1))
        self.store(order, self.header(Header.ORDER))
        self.store(order, self.element(self.layout.order, new, 8))
        self.store(self.load(head, 32), self.element(self.layout.next, new, 4))
        self.store(b.trunc(b.add(new, word(1)), 32), head)
        self.give(0)

    def flag(self, flag: UpdateFlag) -> str:
        b = self.b
        return b.icmp_unsigned("!=", b.and_(Word("%flags", 64), word(flag)), word(0)).text

    def clear_others(self, slot: Word) -> None:
        """Make the values of the other CPUs zero, now that none of them is what is copied."""
        b, stride, cpus = self.b, self.map.storage.stride, self.map.cpus
        start = self.at("%values", b.mul(slot, word(cpus * stride)).text)
        before = b.mul(Word("%cpu", 64), word(stride))
        behind = b.add(before, word(stride))
        rest = b.sub(word(cpus * stride), behind)
        for place, size in ((start, before), (self.at(start, behind.text), rest)):
            b.line(f"call void @llvm.memset.p0.i64(ptr {place}, i8 0, i64 {size.text}, i1 false)")

    def write_value(self, slot: Word) -> None:
        """Copy the new value to its slot; in its old place it may be what is copied."""
        b, storage = self.b, self.map.storage
        number = b.add(b.mul(slot, word(self.map.cpus)), Word("%cpu", 64)) if self.map.cpus > 1 else slot
        place = self.at("%values", b.mul(number, word(storage.stride)).text)
        b.line(f"call void @llvm.memmove.p0.p0.i64(ptr {place}, ptr %value, i64 {storage.size}, i1 false)")


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Where words of up to 8 bytes start, and their sizes."""
    for start in range(0, size, 8):
        yield start, min(8, size - start)


def _parts(size: int) -> Iterator[tuple[int, int]]:
    """The loads that a word of ``size`` bytes takes: offsets, and sizes that are powers of two."""
    offset = 0
    for width in (8, 4, 2, 1):
        if size - offset >= width:
            yield offset, width
            offset += width
