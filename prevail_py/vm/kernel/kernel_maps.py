"""Maps of the running kernel, by the commands of ``bpf(2)``: what :mod:`prevail_py.vm.maps.commands` is compared with.

Only maps are made here, no programs: nothing is verified, run or attached, so this may happen in any process.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType

from prevail_py.objects.program import MapSpec
from prevail_py.vm.kernel import syscalls

__all__ = ["KernelTable"]


class KernelTable:
    """One map; use as a context manager, or :meth:`close` it.  All methods raise :class:`BpfError`.

    Keys and values are bytes as user space sees them: all CPUs' values for a per-CPU map, an empty key for a queue.
    """

    def __init__(self, spec: MapSpec, value_size: int) -> None:
        """``value_size`` is that of one element as user space sees it."""
        self.spec = spec
        self.value_size = value_size
        self.descriptor = syscalls.create_map(
            spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, name=spec.name, extra=spec.extra
        )

    def __enter__(self) -> KernelTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the map back."""
        os.close(self.descriptor)

    def lookup(self, key: bytes, flags: int = 0, *, value: bytes = b"") -> bytes:
        """The value with a key; ``value`` is what to ask a bloom filter for."""
        return syscalls.lookup_element(self.descriptor, key, self.value_size, value, flags)

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Insert or replace an element, or push one."""
        syscalls.update_element(self.descriptor, key, value, flags)

    def delete(self, key: bytes) -> None:
        """Remove an element."""
        syscalls.delete_element(self.descriptor, key)

    def next_key(self, key: bytes | None) -> bytes:
        """The key after ``key``, the first where it is None or no key of the map."""
        found = syscalls.next_key(self.descriptor, key, self.spec.key_size)
        if found is None:
            raise syscalls.BpfError(errno.ENOENT, "MAP_GET_NEXT_KEY")
        return found

    def take(self, key: bytes, flags: int = 0) -> bytes:
        """Look an element up and remove it."""
        return syscalls.pop_element(self.descriptor, key, self.value_size, flags)
