"""What programs find in their context, and in objects of the kernel that they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

__all__ = ["AttachRule", "ContextAccess", "ContextField", "FieldKind", "KernelObject", "ProgramType"]


class FieldKind(Enum):
    """What a load from the context yields: a scalar, or a pointer (64 bits whatever the width of the load)."""

    SCALAR = "scalar"
    PACKET = "packet"
    PACKET_END = "packet end"
    PACKET_META = "packet metadata"
    SOCK = "socket"
    SOCK_OR_NULL = "socket or null"
    SOCK_COMMON_OR_NULL = "sock_common or null"
    FLOW_KEYS = "flow keys"
    TRACEPOINT_BUFFER = "tracepoint buffer"
    NF_HOOK_STATE = "nf_hook_state"
    SK_BUFF = "sk_buff"


class ContextAccess(NamedTuple):
    """Accesses of ``size`` bytes at offsets ``first, first + size, ..., last`` of the context."""

    size: int
    first: int
    last: int
    kind: FieldKind = FieldKind.SCALAR

    def covers(self, offset: int, size: int) -> bool:
        """Whether this row allows an access of ``size`` bytes at ``offset``."""
        return size == self.size and self.first <= offset <= self.last and (offset - self.first) % size == 0


@dataclass(frozen=True, slots=True)
class ContextField:
    """A field of the context that holds a pointer: a load of exactly ``size`` bytes at ``offset`` yields it."""

    offset: int
    size: int
    kind: FieldKind
    read: bool = True
    write: bool = False


@dataclass(frozen=True, slots=True)
class ProgramType:
    """A program type: its context and what it may do with packet and result.

    ``context_size`` is the size in bytes of the context as the program sees it.  ``return_range`` holds inclusive
    bounds of R0 at exit read as a *signed 64-bit* word (what Linux checks), None for any value.
    ``context_known`` is False where the context depends on the attach target's BTF: then nothing may be read.
    """

    name: str
    number: int
    context_size: int
    context_struct: str = ""
    context_known: bool = True
    reads: tuple[ContextAccess, ...] = ()
    writes: tuple[ContextAccess, ...] = ()
    return_range: tuple[int, int] | None = None
    has_direct_packet: bool = False
    read_write_packet: bool = False
    _found: dict[tuple[int, int], FieldKind | None] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What :meth:`context_read` has answered: programs ask about few fields, and again and again."""

    def context_read(self, offset: int, size: int) -> FieldKind | None:
        """What a load of ``size`` bytes at ``offset`` of the context yields, None if it is not allowed."""
        key = offset, size
        if key in self._found:
            return self._found[key]
        found = next((row.kind for row in self.reads if row.covers(offset, size)), None)
        if found is not None:
            self._found[key] = found
        return found

    def context_write(self, offset: int, size: int) -> bool:
        """Whether a store of ``size`` bytes at ``offset`` of the context is allowed."""
        return any(row.covers(offset, size) for row in self.writes)

    def has_field(self, kind: FieldKind) -> bool:
        """Whether some field of the context is of this kind."""
        return any(row.kind is kind for row in self.reads)

    @property
    def pointer_fields(self) -> tuple[ContextField, ...]:
        """The fields of the context that hold pointers, by offset."""
        rows = [
            ContextField(offset, row.size, row.kind, write=self.context_write(offset, row.size))
            for row in self.reads
            if row.kind is not FieldKind.SCALAR
            for offset in range(row.first, row.last + 1, row.size)
        ]
        return tuple(sorted(rows, key=lambda field: field.offset))


@dataclass(frozen=True, slots=True)
class KernelObject:
    """An object of the kernel that programs read by its fields: a socket, the keys of a flow.

    ``reads`` are the loads that are allowed, at constant offsets only.  ``size`` in bytes where it is plain memory
    instead, for programs to read and write as they like.
    """

    name: str
    reads: tuple[ContextAccess, ...] = ()
    size: int | None = None

    def may_read(self, offset: int, size: int) -> bool:
        """Whether a load of ``size`` bytes at ``offset`` is allowed."""
        return any(row.covers(offset, size) for row in self.reads)


@dataclass(frozen=True, slots=True)
class AttachRule:
    """How an attach type changes its program type.

    ``reads`` and ``writes`` are rows to add; accesses that touch the bytes ``hidden[0]`` up to but not including
    ``hidden[1]`` are taken away before that.  ``return_range`` replaces the program type's.
    """

    return_range: tuple[int, int] | None = None
    reads: tuple[ContextAccess, ...] = ()
    writes: tuple[ContextAccess, ...] = ()
    hidden: tuple[int, int] | None = None

    def apply(self, program_type: ProgramType) -> ProgramType:
        """``program_type`` as it is for programs of this attach type."""
        return replace(
            program_type,
            return_range=program_type.return_range if self.return_range is None else self.return_range,
            reads=_without(program_type.reads, self.hidden) + self.reads,
            writes=_without(program_type.writes, self.hidden) + self.writes,
        )


def _without(rows: Sequence[ContextAccess], hidden: tuple[int, int] | None) -> tuple[ContextAccess, ...]:
    if hidden is None:
        return tuple(rows)
    start, end = hidden
    return tuple(
        ContextAccess(row.size, offset, offset, row.kind)
        for row in rows
        for offset in range(row.first, row.last + 1, row.size)
        if offset >= end or offset + row.size <= start
    )
