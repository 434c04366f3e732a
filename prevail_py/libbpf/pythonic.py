"""The same with Python's manners: exceptions, context managers, maps as mappings.

>>> from prevail_py import examples, libbpf
>>> from prevail_py.host.context import ExecutionContext
>>> with ExecutionContext() as context, context.session() as session:
...     with Object.open(examples.path("xdp_counter"), session) as counter:
...         result = counter.run("xdp_counter", bytes(60), repeat=3)
...         result.retval, counter.maps["total"][0]
(2, traffic(packets=3, bytes=180))
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, Final, Self

from prevail_py.host.context.model import Connection, HostError
from prevail_py.libbpf.backend import current
from prevail_py.libbpf.handles import bpf_object
from prevail_py.libbpf.info import bpf_test_run_opts
from prevail_py.libbpf.map_syscalls import spec_of
from prevail_py.libbpf.objects import open_object
from prevail_py.objects.layout import Layout, Opaque, Scalar
from prevail_py.objects.program import MapSpec
from prevail_py.objects.values import CodecError, decode, encode
from prevail_py.platforms import platform

__all__ = ["MapElements", "Object", "open_map", "open_program"]

_BATCH: Final = 1024


class MapElements(MutableMapping[Any, Any]):
    """The elements of a map, wherever it is: keys and values are typed where BTF gives their types, else bytes.

    Keys of arrays are numbers.  The value of a per-CPU map is a list with that of each CPU.
    """

    def __init__(self, backend: Connection, fd: int, spec: MapSpec) -> None:
        self.backend: Final = backend
        self.fd: Final = fd
        self.spec: Final = spec
        kind = platform().map_type(spec.type)
        self._per_cpu = kind is not None and kind.per_cpu
        indexed = kind is not None and kind.index_key and spec.key_size == 4
        self.key_layout: Final[Layout] = spec.key_layout or (Scalar(4) if indexed else Opaque(spec.key_size))
        self.value_layout: Final[Layout] = spec.value_layout or Opaque(spec.value_size)

    def __repr__(self) -> str:
        return f"<map {self.spec.name!r}, descriptor {self.fd}>"

    def _key(self, key: Any) -> bytes:
        return _encode(self.key_layout, key)

    def _value(self, data: bytes) -> Any:
        if not self._per_cpu:
            return decode(self.value_layout, data)
        size = self.spec.value_size
        stride = size + -size % 8
        return [decode(self.value_layout, data[start : start + size]) for start in range(0, len(data), stride)]

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._value(self.backend.call("map_lookup", handle=self.fd, key=self._key(key), flags=0))
        except HostError as error:
            raise _missing(error, key) from None

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._per_cpu:
            if not isinstance(value, list | tuple):
                raise CodecError("a list with the value of each CPU is wanted")
            data = b"".join(each + bytes(-len(each) % 8) for each in (_encode(self.value_layout, one) for one in value))
        else:
            data = _encode(self.value_layout, value)
        self.backend.call("map_update", handle=self.fd, key=self._key(key), value=data, flags=0)

    def __delitem__(self, key: Any) -> None:
        try:
            self.backend.call("map_delete", handle=self.fd, key=self._key(key))
        except HostError as error:
            raise _missing(error, key) from None

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._rows())

    def __len__(self) -> int:
        return sum(1 for _ in self._rows())

    def items(self) -> Any:
        """All keys and values, fetched in batches: a snapshot."""
        return dict(self._rows()).items()

    def _rows(self) -> Iterator[tuple[Any, Any]]:
        at: int | None = 0
        while at is not None:
            found = self.backend.call("map_lookup_batch", handle=self.fd, at=at, count=_BATCH)
            for key, value in zip(found["keys"], found["values"], strict=True):
                yield decode(self.key_layout, key), self._value(value)
            at = found["next"]


def _encode(layout: Layout, value: Any) -> bytes:
    return (
        encode(Scalar(layout.size), value)
        if isinstance(layout, Opaque) and isinstance(value, int)
        else encode(layout, value)
    )


def _missing(error: HostError, key: Any) -> Exception:
    return KeyError(key) if error.errno == errno.ENOENT else error


class Object:
    """An object file, loaded; in a ``with`` statement, at whose end it is closed."""

    def __init__(self, raw: bpf_object) -> None:
        """Load ``raw``.  Raises OSError; :attr:`HostError.log <prevail_py.host.context.HostError>` has the report."""
        raw.load()
        self.raw: Final = raw
        self.maps: Final[Mapping[str, MapElements]] = MappingProxyType(
            {
                each.spec.name: MapElements(raw.backend, each.fd, _typed(each.spec, spec))
                for each, spec in zip(raw.maps, raw.file.maps, strict=True)
                if each.fd >= 0
            }
        )

    @staticmethod
    def open(source: str | os.PathLike[str] | bytes, backend: Connection | None = None) -> Object:
        """Open and load.  Raises OSError."""
        name = "<memory>" if isinstance(source, bytes) else os.path.basename(source)
        return Object(open_object(source, name, current() if backend is None else backend))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        self.raw.close()

    def program_fd(self, name: str) -> int:
        """The descriptor of a program.  Raises KeyError."""
        for each in self.raw.programs:
            if each.program.name == name:
                return each.fd
        raise KeyError(name)

    def run(
        self, name: str, packet: bytes | None = None, *, context: bytes | None = None, repeat: int = 1
    ) -> bpf_test_run_opts:
        """Run a program.  Raises OSError and KeyError."""
        result = self.raw.backend.call(
            "program_run", handle=self.program_fd(name), packet=packet, context=context, repeat=repeat
        )
        return bpf_test_run_opts(
            packet, result["packet"], context, result["context"], repeat, result["value"], result["nanoseconds"]
        )

    def pin(self, name: str, path: str) -> None:
        """Pin a program.  Raises OSError and KeyError."""
        self.raw.backend.call("pin", handle=self.program_fd(name), path=path)


def _typed(real: MapSpec, defined: MapSpec) -> MapSpec:
    """The definition of a map that exists, with the types that the object file knows."""
    from dataclasses import replace

    if (real.key_size, real.value_size) != (defined.key_size, defined.value_size):
        return real
    return replace(real, key_layout=defined.key_layout, value_layout=defined.value_layout)


def open_map(path_or_id: str | int, backend: Connection | None = None) -> MapElements:
    """The map that is pinned there, or has this number.  Raises OSError."""
    backend = current() if backend is None else backend
    fd = _open(backend, "map", path_or_id)
    return MapElements(backend, fd, spec_of(backend, fd))


def open_program(path_or_id: str | int, backend: Connection | None = None) -> int:
    """A descriptor of the program that is pinned there, or has this number.  Raises OSError."""
    return _open(current() if backend is None else backend, "program", path_or_id)


def _open(backend: Connection, kind: str, path_or_id: str | int) -> int:
    if isinstance(path_or_id, int):
        handle: int = backend.call("open_id", kind=kind, id=path_or_id)
    else:
        handle = backend.call("open_pin", path=path_or_id)
    return handle
