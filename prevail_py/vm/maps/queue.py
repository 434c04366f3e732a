"""Queues and stacks (kernel/bpf/queue_stack_maps.c)."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from prevail_py.objects.program import MapSpec
from prevail_py.vm.maps.model import Content, MapError, UpdateFlag, check, require
from prevail_py.vm.maps.storage import Storage

__all__ = ["QueueMap"]


class QueueMap:
    """At most ``max_entries`` values in the order in which they were pushed: BPF_MAP_TYPE_QUEUE or _STACK.

    A queue gives back the oldest first, a stack (``newest_first``) the newest.  With the flag EXIST a full one drops
    its oldest value.  To the user it is a sized iterable, in the order in which values will be popped.
    """

    def __init__(self, spec: MapSpec, *, newest_first: bool) -> None:
        """Raises :class:`MapError` for an invalid ``spec``."""
        require(spec, spec.key_size == 0, "a queue or stack has no keys")
        require(spec, spec.value_size > 0, "values must have a size")
        require(spec, spec.max_entries > 0, "it must have room for a value")
        self.spec = spec
        self.newest_first = newest_first
        self._storage = Storage(spec, spec.max_entries + 1, 1)
        self._tail = 0  # the slot of the oldest value
        self._length = 0

    def __repr__(self) -> str:
        kind = "stack" if self.newest_first else "queue"
        return f"<{kind} {self.spec.name!r}: {len(self)} of {self.spec.max_entries} values>"

    def push(self, value: bytes, flags: int = UpdateFlag.ANY) -> int:
        """Add a value: 0 or a negative error number."""
        if flags & UpdateFlag.NOEXIST or flags > UpdateFlag.EXIST:
            return -errno.EINVAL
        if self._length == self.spec.max_entries:
            if not flags & UpdateFlag.EXIST:
                return -errno.E2BIG
            self._drop_oldest()
        self._storage.write(self._slot(self._length), [value])
        self._length += 1
        return 0

    def pop(self) -> tuple[int, bytes]:
        """Take a value away: 0 and the value, or a negative error number and zeros."""
        error, value = self.peek()
        if not error:
            if self.newest_first:
                self._length -= 1
            else:
                self._drop_oldest()
        return error, value

    def peek(self, value: bytes = b"") -> tuple[int, bytes]:
        """What :meth:`pop` would give, left where it is; ``value`` plays no part."""
        if not self._length:
            return -errno.ENOENT, bytes(self.spec.value_size)
        return 0, bytes(self._storage.value(self._slot(self._length - 1 if self.newest_first else 0), 0))

    def _slot(self, age: int) -> int:
        return (self._tail + age) % self._storage.slots

    def _drop_oldest(self) -> None:
        self._tail = self._slot(1)
        self._length -= 1

    # For the user ---------------------------------------------------------------------------------------------------

    def append(self, content: Content) -> None:
        """Push a value; raises :class:`MapError` where it does not fit or the map is full."""
        if self.spec.read_only:
            raise MapError(self.spec.name, errno.EPERM, "the map is frozen")
        (value,) = self._storage.checked(content, per_cpu=False)
        check(self.spec, self.push(value))

    def oldest_first(self) -> Iterator[bytes]:
        """The values in the order in which they were pushed."""
        return reversed(list(self)) if self.newest_first else iter(self)

    def clear(self) -> None:
        """Take all values away."""
        self._length = 0

    def __iter__(self) -> Iterator[bytes]:
        ages = range(self._length)
        order = reversed(ages) if self.newest_first else ages
        return iter([bytes(self._storage.value(self._slot(age), 0)) for age in order])

    def __len__(self) -> int:
        return self._length
