"""Maps and programs from descriptions to descriptors, inside the worker process.

A :class:`LoadRequest` is all that the kernel gets to know, with every name already turned into Linux's number.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

from prevail_py.objects.program import MapSpec
from prevail_py.platforms.linux.map_types import MAP_TYPES
from prevail_py.vm.kernel import btf, ring, syscalls
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer, read_error, read_success
from prevail_py.vm.kernel.attributes import MapFlag
from prevail_py.vm.kernel.ring import Record
from prevail_py.vm.kernel.syscalls import BpfError, HazardError

__all__ = [
    "KernelMap",
    "Link",
    "LoadRequest",
    "LoadedProgram",
    "MapError",
    "TargetRequest",
    "create",
    "load",
    "load_with",
    "possible_cpus",
    "ring_size",
]

_STATISTICS_LEVEL: Final = 4
_TRACE_LEVELS: Final = 3
_LOCAL_STORAGE: Final = frozenset({"sk_storage", "inode_storage", "task_storage", "cgrp_storage"})
_READABLE: Final = frozenset(
    {"hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash", "lpm_trie"}
)
_SPARSE: Final = frozenset({"devmap", "devmap_hash"})
_POPPED: Final = frozenset({"queue", "stack"})
_PUSHED: Final = _POPPED | {"bloom_filter"}


@dataclass(frozen=True, slots=True)
class TargetRequest:
    """A program to load beside the main one, for tail calls; ``maps`` are the request's that it refers to, in order."""

    code: bytes
    maps: tuple[int, ...] = ()
    name: str = ""
    functions: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of a map whose values are programs or maps: target ``to`` of the request, or its map ``to``."""

    map: int
    key: bytes
    to: int


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A program to load, in the kernel's terms.

    ``code`` is encoded; its map references are indices into ``maps``, which may hold more than the program uses.
    ``targets`` are programs that it may tail-call, and ``links`` the entries of program arrays and maps of maps.
    ``functions``: (first slot, name) of every function, needed where one is used as a callback, else empty.
    ``log_level``: 0 for the ruling alone, 1 or 2 for the verifier's trace, ``log_size`` bytes of it at most.
    ``generated`` as in :func:`prevail_py.vm.kernel.hazard.hazard`.  ``loads``: how often to load it, to measure.
    """

    code: bytes
    program_type: int
    licence: str = ""
    name: str = ""
    expected_attach_type: int = 0
    flags: int = 0
    maps: tuple[MapSpec, ...] = ()
    functions: tuple[tuple[int, str], ...] = ()
    log_level: int = 0
    log_size: int = 1 << 20
    generated: bool = False
    targets: tuple[TargetRequest, ...] = ()
    links: tuple[Link, ...] = ()
    loads: int = 1

    @property
    def codes(self) -> tuple[bytes, ...]:
        """Everything that the kernel's verifier will read."""
        return (self.code, *(target.code for target in self.targets))


class MapError(ValueError):
    """A map could not be created or filled."""


@dataclass(frozen=True, slots=True)
class KernelMap:
    """A map in the kernel.  ``value_size`` is that of one element as user space sees it, all CPUs together."""

    descriptor: int
    spec: MapSpec
    value_size: int

    @property
    def kind(self) -> str:
        """The name of its type."""
        return MAP_TYPES[self.spec.type].name

    @property
    def readable(self) -> bool:
        """Whether its elements can be listed as plain keys and values."""
        return self.kind in _READABLE or self.kind in _SPARSE

    @property
    def recorded(self) -> bool:
        """Whether its elements can be listed as records in an order."""
        return self.kind in _POPPED or self.kind == "ringbuf"

    def write(self, contents: Mapping[bytes, bytes]) -> None:
        """Set elements; raises :class:`MapError`.  The others stay."""
        for key, value in contents.items():
            if len(key) != self.spec.key_size or len(value) != self.value_size:
                raise MapError(
                    f"map {self.spec.name}: an element of {len(key)} + {len(value)} bytes, "
                    f"not {self.spec.key_size} + {self.value_size}"
                )
            try:
                syscalls.update_element(self.descriptor, key, value)
            except BpfError as error:
                raise MapError(f"map {self.spec.name}: cannot set {key.hex()}: {error.code}") from error

    def push(self, values: Sequence[bytes]) -> None:
        """Push values to a queue, stack or bloom filter; raises :class:`MapError`."""
        if self.kind not in _PUSHED:
            raise MapError(f"map {self.spec.name}: nothing can be pushed to a map of type {self.kind}")
        for value in values:
            if len(value) != self.value_size:
                raise MapError(f"map {self.spec.name}: a value of {len(value)} bytes, not {self.value_size}")
            try:
                syscalls.update_element(self.descriptor, b"", value)
            except BpfError as error:
                raise MapError(f"map {self.spec.name}: cannot push {value.hex()}: {error.code}") from error

    def read(self) -> dict[bytes, bytes]:
        """All elements, in the kernel's order."""
        if self.kind in _SPARSE:
            return self._read_sparse()
        return syscalls.list_elements(self.descriptor, self.spec.key_size, self.value_size, self.spec.max_entries)

    def _read_sparse(self) -> dict[bytes, bytes]:
        contents: dict[bytes, bytes] = {}
        key = syscalls.next_key(self.descriptor, None, self.spec.key_size)
        while key is not None:
            try:
                contents[key] = syscalls.lookup_element(self.descriptor, key, self.value_size)
            except BpfError as error:
                if error.errno != errno.ENOENT:
                    raise
            key = syscalls.next_key(self.descriptor, key, self.spec.key_size)
        return contents

    def records(self) -> tuple[Record, ...]:
        """The records of a ring buffer, or the values of a queue or stack in the order in which they are popped.

        Reading a ring buffer makes room; queues and stacks are left as they were.
        """
        if self.kind == "ringbuf":
            return ring.drain(self.descriptor, ring_size(self.spec.max_entries))
        values: list[bytes] = []
        while True:
            try:
                values.append(syscalls.pop_element(self.descriptor, b"", self.value_size))
            except BpfError as error:
                if error.errno != errno.ENOENT:
                    raise
                break
        for value in reversed(values) if self.kind == "stack" else values:
            syscalls.update_element(self.descriptor, b"", value)
        return tuple(values)


@dataclass(slots=True)
class LoadedProgram:
    """Descriptors of a program and its maps; use as a context manager."""

    descriptor: int = -1
    maps: tuple[KernelMap, ...] = ()
    descriptors: list[int] = field(default_factory=list)

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def __enter__(self) -> LoadedProgram:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def load(request: LoadRequest) -> tuple[KernelAnswer, LoadedProgram]:
    """Create the maps, load the programs.  The second part is empty unless the answer is ACCEPT."""
    return load_with(request, None)


def load_with(request: LoadRequest, maps: Sequence[KernelMap] | None) -> tuple[KernelAnswer, LoadedProgram]:
    """The same with ``maps`` that exist, which stay the caller's."""
    loaded = LoadedProgram()
    try:
        if maps is None:
            maps = [create(spec, loaded.descriptors) for spec in request.maps]
        loaded.maps = tuple(maps)
        answer = _load_all(request, loaded)
    except MapError as error:
        answer = KernelAnswer(AnswerKind.NOT_LOADED, str(error))
    except HazardError as error:
        answer = KernelAnswer(AnswerKind.NOT_ASKED, str(error))
    except BaseException:
        loaded.close()
        raise
    if answer.kind is not AnswerKind.ACCEPT:
        loaded.close()
    return answer, loaded


def _load_all(request: LoadRequest, loaded: LoadedProgram) -> KernelAnswer:
    """The main program (as often as it is asked for), its targets, and the entries that lead to them."""
    for link in request.links:
        if loaded.maps[link.map].kind != "prog_array":
            _link(loaded.maps[link.map], link.key, loaded.maps[link.to].descriptor)
    answers = []
    for left in reversed(range(request.loads)):
        answer, loaded.descriptor = _load(request, loaded)
        answers.append(answer)
        if answer.kind is not AnswerKind.ACCEPT:
            break
        if left:
            os.close(loaded.descriptors.pop())
    answer = _median(answers)
    targets: list[int] = []
    for target in request.targets if answer.kind is AnswerKind.ACCEPT else ():
        shared = replace(request, code=target.code, name=target.name, functions=target.functions)
        ruling, descriptor = _load(shared, loaded, target.maps)
        if ruling.kind is not AnswerKind.ACCEPT:
            return replace(ruling, reason=f"tail-call target {target.name}: {ruling.reason}")
        targets.append(descriptor)
    for link in request.links if targets else ():
        if loaded.maps[link.map].kind == "prog_array":
            _link(loaded.maps[link.map], link.key, targets[link.to])
    return answer


def _median(answers: Sequence[KernelAnswer]) -> KernelAnswer:
    last = answers[-1]
    elapsed = [answer.verification_seconds for answer in answers if answer.verification_seconds is not None]
    used = [answer.load_cpu_seconds for answer in answers if answer.load_cpu_seconds is not None]
    return replace(
        last,
        verification_seconds=median(elapsed) if elapsed else None,
        load_cpu_seconds=median(used) if used else None,
    )


def _link(kernel_map: KernelMap, key: bytes, descriptor: int) -> None:
    try:
        syscalls.update_element(kernel_map.descriptor, key, descriptor.to_bytes(4, sys.byteorder))
    except BpfError as error:
        raise MapError(f"map {kernel_map.spec.name}: cannot set {key.hex()}: {error.code}") from error


def _load(request: LoadRequest, loaded: LoadedProgram, maps: Sequence[int] | None = None) -> tuple[KernelAnswer, int]:
    """The answer about ``request.code``, and its descriptor; ``maps`` are those it refers to, by default all."""
    information: tuple[int, bytes] | None = None
    if request.functions:
        types, records = btf.function_information(request.functions)
        try:
            descriptor = syscalls.load_btf(types)
        except BpfError as error:
            return KernelAnswer(AnswerKind.NOT_LOADED, f"type information refused: {error.code}", error.log), -1
        loaded.descriptors.append(descriptor)
        information = descriptor, records
    used = loaded.maps if maps is None else [loaded.maps[index] for index in maps]
    seconds = 0.0

    def attempt(log_level: int) -> syscalls.Loaded:
        nonlocal seconds
        began = time.process_time()
        try:
            return syscalls.load_program(
                request.code,
                request.program_type,
                licence=request.licence,
                name=request.name,
                expected_attach_type=request.expected_attach_type,
                flags=request.flags,
                maps=[kernel_map.descriptor for kernel_map in used],
                log_level=log_level,
                log_size=request.log_size,
                btf=information,
                generated=request.generated,
            )
        finally:
            seconds = time.process_time() - began

    trace = ""
    try:
        try:
            program = attempt(request.log_level & _TRACE_LEVELS | _STATISTICS_LEVEL)
        except BpfError as error:
            if error.errno != errno.ENOSPC:
                raise
            # The trace outgrew its buffer, which hides the ruling: keep its end, and ask again without one.
            trace = error.log
            program = attempt(_STATISTICS_LEVEL)
    except BpfError as error:
        answer = read_error(error)
        return replace(answer, log=trace or answer.log, load_cpu_seconds=seconds), -1
    loaded.descriptors.append(program.descriptor)
    answer = read_success(program.log)
    processed = syscalls.verified_instructions(program.descriptor)
    if processed is None:
        processed = answer.instructions_processed
    answer = replace(answer, log=trace or answer.log, instructions_processed=processed, load_cpu_seconds=seconds)
    return answer, program.descriptor


def create(spec: MapSpec, descriptors: list[int]) -> KernelMap:
    """Create one map; what was opened for it is appended to ``descriptors`` at once.  Raises :class:`MapError`."""
    known = MAP_TYPES.get(spec.type)
    if known is None or known.name in ("struct_ops", "arena"):
        raise MapError(f"map {spec.name}: maps of type {known.name if known else spec.type} are not supported here")
    key_size, value_size, entries, flags = spec.key_size, spec.value_size, spec.max_entries, spec.flags
    types: tuple[int, int, int] | None = None
    inner: int | None = None
    if known.name in ("ringbuf", "user_ringbuf"):
        key_size, value_size, entries = 0, 0, ring_size(entries)
    elif known.name == "perf_event_array" and entries == 0:
        entries = possible_cpus()
    elif known.name in _LOCAL_STORAGE:
        types = _storage_types(spec, descriptors)
        entries, flags = 0, flags | MapFlag.NO_PREALLOC
    elif spec.inner is not None:
        inner = create(spec.inner, descriptors).descriptor
        key_size, value_size = key_size or 4, 4
    if spec.read_only:
        flags |= MapFlag.RDONLY_PROG
    try:
        descriptor = syscalls.create_map(
            spec.type, key_size, value_size, entries, flags, name=spec.name, inner=inner, btf=types, extra=spec.extra
        )
    except BpfError as error:
        raise MapError(f"map {spec.name}: cannot be created: {error.code}") from error
    descriptors.append(descriptor)
    size = _padded(value_size) * possible_cpus() if known.per_cpu else value_size
    kernel_map = KernelMap(descriptor, spec, size)
    if spec.initial is not None:
        kernel_map.write({bytes(key_size): spec.initial.ljust(size, b"\0")})
    if spec.read_only:
        syscalls.freeze_map(descriptor)
    return kernel_map


def _storage_types(spec: MapSpec, descriptors: list[int]) -> tuple[int, int, int]:
    data, key, value = btf.map_types(spec.value_size)
    try:
        descriptor = syscalls.load_btf(data)
    except BpfError as error:
        raise MapError(f"map {spec.name}: type information refused: {error.code}") from error
    descriptors.append(descriptor)
    return descriptor, key, value


def ring_size(size: int) -> int:
    """The next size that is both a power of two and whole pages, as libbpf chooses it."""
    pages = max(1, -(-size // mmap.PAGESIZE))
    return mmap.PAGESIZE << (pages - 1).bit_length()


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def possible_cpus(text: str | None = None) -> int:
    """How many CPUs per-CPU maps have values for: the length of ``/sys/devices/system/cpu/possible``, ``0-3,5``."""
    if text is None:
        text = Path("/sys/devices/system/cpu/possible").read_text()
    return sum(int(last or first) - int(first) + 1 for first, last in re.findall(r"(\d+)(?:-(\d+))?", text))
