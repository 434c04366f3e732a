"""The few commands of ``bpf(2)`` that are needed, over ctypes: create maps, load, test-run; pin and attach in private.

What outlives a process or touches packets of others, :func:`pin_object`, :func:`attach_xdp` and :func:`update_link`,
asks :mod:`prevail_py.vm.kernel.privacy` first: it happens in namespaces of one's own, and nowhere else.

:func:`load_program` is the only function in the package that hands a program to the kernel's verifier.  It asks the
guard itself, about the bytes that it then passes on, and it refuses to work outside of a worker process: whatever
happens in the kernel happens to the worker.  What each command takes is in :mod:`prevail_py.vm.kernel.attributes`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from prevail_py.vm.kernel.attributes import (
    OBJECT_NAME,
    BtfLoad,
    Command,
    LinkCreate,
    LinkFd,
    LinkUpdate,
    MapBatch,
    MapCreate,
    MapElement,
    MapFd,
    ObjectInfo,
    ObjectPath,
    ProgramLoad,
    ProgramTestRun,
)
from prevail_py.vm.kernel.hazard import hazard
from prevail_py.vm.kernel.privacy import require_private_bpffs, require_private_network

__all__ = [
    "BpfError",
    "HazardError",
    "Loaded",
    "ProgramRun",
    "attach_xdp",
    "create_map",
    "delete_element",
    "detach_link",
    "enter_worker",
    "freeze_map",
    "get_object",
    "list_elements",
    "load_btf",
    "load_program",
    "lookup_element",
    "next_key",
    "object_info",
    "pin_object",
    "pop_element",
    "run_program",
    "system_call_number",
    "update_element",
    "update_link",
    "verified_instructions",
]


# The kernel's own error numbers that leak to user space (include/linux/errno.h).
_ENOTSUPP: Final = 524
_NR_BPF: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361, "loongarch64": 280}
_INTERRUPTED_RETRIES: Final = 5


class BpfError(OSError):
    """A ``bpf(2)`` call failed; ``log`` is what the verifier (or the BTF checker) wrote, if anything."""

    def __init__(self, number: int, command: str, log: str = "") -> None:
        text = "ENOTSUPP" if number == _ENOTSUPP else os.strerror(number)
        super().__init__(number, f"{command}: {text}")
        self.log = log

    @property
    def code(self) -> str:
        """The symbolic name of the error, such as ``EINVAL``."""
        number = self.errno or 0
        return "ENOTSUPP" if number == _ENOTSUPP else errno.errorcode.get(number, f"error {number}")


class HazardError(PermissionError):
    """The guard refused the program; it was not shown to the kernel."""


def system_call_number() -> int | None:
    """The number of ``bpf(2)`` on this machine; None where there is none or it is not known."""
    return _NR_BPF.get(platform.machine()) if sys.platform == "linux" and sys.maxsize > 2**32 else None


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _bpf(command: Command, attributes: ctypes.Structure, log: ctypes.Array[ctypes.c_char] | None = None) -> int:
    """One call; raises :class:`BpfError`.  EAGAIN is what an interrupted verification answers: try again."""
    number = system_call_number()
    if number is None:
        raise BpfError(errno.ENOSYS, command.name)
    libc = _libc()
    for _ in range(_INTERRUPTED_RETRIES):
        ctypes.set_errno(0)
        result = int(
            libc.syscall(
                ctypes.c_long(number),
                ctypes.c_int(command),
                ctypes.byref(attributes),
                ctypes.c_uint(ctypes.sizeof(attributes)),
            )
        )
        if result >= 0:
            return result
        if ctypes.get_errno() != errno.EAGAIN:
            break
    raise BpfError(ctypes.get_errno(), command.name, _text(log))


def _text(log: ctypes.Array[ctypes.c_char] | None) -> str:
    return "" if log is None else log.value.decode(errors="replace")


def _name(name: str) -> bytes:
    """An object name as the kernel takes it: up to 15 letters, digits, dots and underscores."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._") else "_" for c in name)[: OBJECT_NAME - 1].encode()


def create_map(
    map_type: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    flags: int = 0,
    *,
    name: str = "",
    inner: int | None = None,
    btf: tuple[int, int, int] | None = None,
    extra: int = 0,
) -> int:
    """A new map.  ``inner``: the template of a map-in-map; ``btf``: descriptor, type of the key, type of the value.

    ``extra`` is ``map_extra``, the number of hashes of a bloom filter.
    """
    attributes = MapCreate(
        map_type=map_type,
        key_size=key_size,
        value_size=value_size,
        max_entries=max_entries,
        map_flags=flags,
        map_name=_name(name),
        map_extra=extra,
    )
    if inner is not None:
        attributes.inner_map_fd = inner
    if btf is not None:
        attributes.btf_fd, attributes.btf_key_type_id, attributes.btf_value_type_id = btf
    return _bpf(Command.MAP_CREATE, attributes)


def _element(
    command: Command,
    descriptor: int,
    key: bytes | None,
    value: ctypes.Array[ctypes.c_char] | None = None,
    flags: int = 0,
) -> None:
    """One command on one element; None or empty stands for the null pointer."""
    key_buffer = ctypes.create_string_buffer(key, len(key)) if key else None
    _bpf(
        command,
        MapElement(
            map_fd=descriptor,
            key=0 if key_buffer is None else ctypes.addressof(key_buffer),
            value=0 if value is None else ctypes.addressof(value),
            flags=flags,
        ),
    )


def update_element(descriptor: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Set one element.  Queues, stacks and bloom filters take an empty key."""
    buffer = ctypes.create_string_buffer(value, len(value) or 1)
    _element(Command.MAP_UPDATE_ELEM, descriptor, key, buffer, flags)


def lookup_element(descriptor: int, key: bytes, value_size: int, value: bytes = b"", flags: int = 0) -> bytes:
    """The value of one element: the next one to be popped where the key is empty (queues, stacks).

    A bloom filter is asked with an empty key about ``value``.  Raises :class:`BpfError`, ENOENT where there is none.
    """
    buffer = ctypes.create_string_buffer(value, max(value_size, 1))
    _element(Command.MAP_LOOKUP_ELEM, descriptor, key, buffer, flags)
    return buffer.raw[:value_size]


def pop_element(descriptor: int, key: bytes, value_size: int, flags: int = 0) -> bytes:
    """The value of one element, which is removed: of a queue or stack (empty key), or of a hash table."""
    buffer = ctypes.create_string_buffer(max(value_size, 1))
    _element(Command.MAP_LOOKUP_AND_DELETE_ELEM, descriptor, key, buffer, flags)
    return buffer.raw[:value_size]


def delete_element(descriptor: int, key: bytes) -> None:
    """Remove one element."""
    _element(Command.MAP_DELETE_ELEM, descriptor, key)


def next_key(descriptor: int, key: bytes | None, key_size: int) -> bytes | None:
    """The key after ``key`` in the map's own order (the first for None); None after the last."""
    buffer = ctypes.create_string_buffer(key_size)
    try:
        _element(Command.MAP_GET_NEXT_KEY, descriptor, key, buffer)
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return buffer.raw


def list_elements(descriptor: int, key_size: int, value_size: int, max_entries: int) -> dict[bytes, bytes]:
    """All elements of a hash, array or trie (Linux 5.13), in the map's own order.

    ``value_size`` is that of one element as user space sees it: all CPUs' values for per-CPU maps.
    """
    contents: dict[bytes, bytes] = {}
    # A hash gives whole buckets; a batch as large as the map always has room for one.
    keys = ctypes.create_string_buffer(key_size * max_entries)
    values = ctypes.create_string_buffer(value_size * max_entries)
    position = ctypes.create_string_buffer(max(key_size, 8))
    attributes = MapBatch(
        map_fd=descriptor,
        keys=ctypes.addressof(keys),
        values=ctypes.addressof(values),
        out_batch=ctypes.addressof(position),
    )
    finished = False
    while not finished:
        attributes.count = max_entries
        try:
            _bpf(Command.MAP_LOOKUP_BATCH, attributes)
        except BpfError as error:
            if error.errno != errno.ENOENT:  # which is how the last batch ends
                raise
            finished = True
        found = int(attributes.count)
        raw_keys, raw_values = keys.raw[: key_size * found], values.raw[: value_size * found]
        for index in range(found):
            key = raw_keys[index * key_size : (index + 1) * key_size]
            contents[key] = raw_values[index * value_size : (index + 1) * value_size]
        attributes.in_batch = ctypes.addressof(position)
    return contents


def freeze_map(descriptor: int) -> None:
    """No more writes from user space; with RDONLY_PROG the contents are constants to the verifier."""
    _bpf(Command.MAP_FREEZE, MapFd(map_fd=descriptor))


def load_btf(data: bytes) -> int:
    """A descriptor of type information for maps and functions."""
    buffer = ctypes.create_string_buffer(data, len(data))
    log = ctypes.create_string_buffer(1 << 16)
    attributes = BtfLoad(
        btf=ctypes.addressof(buffer),
        btf_size=len(data),
        btf_log_buf=ctypes.addressof(log),
        btf_log_size=len(log),
        btf_log_level=1,
    )
    return _bpf(Command.BTF_LOAD, attributes, log)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A program that the verifier accepted: its descriptor and what the verifier wrote."""

    descriptor: int
    log: str


def object_info(descriptor: int) -> bytes:
    """``struct bpf_map_info``, ``bpf_prog_info`` or ``bpf_link_info``, as much as the kernel gives of it."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    attributes = ObjectInfo(bpf_fd=descriptor, info_len=len(info), info=ctypes.addressof(info))
    _bpf(Command.OBJ_GET_INFO_BY_FD, attributes)
    return info.raw[: attributes.info_len]


def pin_object(descriptor: int, path: str) -> None:
    """Keep an object under a path.  Raises :class:`PrivacyError` outside of a private bpffs."""
    require_private_bpffs(path)
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(Command.OBJ_PIN, ObjectPath(pathname=ctypes.addressof(name), bpf_fd=descriptor))


def get_object(path: str) -> int:
    """A descriptor of what is pinned there.  Raises :class:`PrivacyError` outside of a private bpffs."""
    require_private_bpffs(path)
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(Command.OBJ_GET, ObjectPath(pathname=ctypes.addressof(name)))


_XDP: Final = 37
_SKB_MODE: Final = 2


def attach_xdp(descriptor: int, ifindex: int) -> int:
    """A link of a program to an interface, in the generic mode (behind the driver), which any device has.

    It is detached when its descriptor is closed.  Raises :class:`PrivacyError` outside of a private network namespace.
    """
    require_private_network()
    return _bpf(
        Command.LINK_CREATE,
        LinkCreate(prog_fd=descriptor, target_ifindex=ifindex, attach_type=_XDP, flags=_SKB_MODE),
    )


def detach_link(descriptor: int) -> None:
    """Take the program of a link from its interface.  Raises :class:`PrivacyError` as :func:`attach_xdp`."""
    require_private_network()
    _bpf(Command.LINK_DETACH, LinkFd(link_fd=descriptor))


def update_link(descriptor: int, program: int) -> None:
    """Let a link call another program.  Raises :class:`PrivacyError` outside of a private network namespace."""
    require_private_network()
    _bpf(Command.LINK_UPDATE, LinkUpdate(link_fd=descriptor, new_prog_fd=program))


_INFO_SIZE: Final = 232
_VERIFIED_INSTRUCTIONS: Final = 216
"""Where ``struct bpf_prog_info`` has ``verified_insns``, and how much of it there is up to there (Linux 5.16)."""


def verified_instructions(descriptor: int) -> int | None:
    """How many instructions the verifier processed to accept a loaded program; None on kernels that do not say."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    attributes = ObjectInfo(bpf_fd=descriptor, info_len=len(info), info=ctypes.addressof(info))
    _bpf(Command.OBJ_GET_INFO_BY_FD, attributes)
    if attributes.info_len < _VERIFIED_INSTRUCTIONS + 4:
        return None
    return int.from_bytes(info.raw[_VERIFIED_INSTRUCTIONS : _VERIFIED_INSTRUCTIONS + 4], sys.byteorder)


_worker = False


def enter_worker() -> None:
    """Say that this process is a worker: one that nobody misses should the kernel kill it."""
    global _worker
    _worker = True


def load_program(
    code: bytes,
    program_type: int,
    *,
    licence: str = "",
    name: str = "",
    expected_attach_type: int = 0,
    flags: int = 0,
    maps: Sequence[int] = (),
    log_level: int = 4,
    log_size: int = 1 << 20,
    btf: tuple[int, bytes] | None = None,
    generated: bool = False,
) -> Loaded:
    """Have the kernel verify and compile ``code``, whose map references are indices into ``maps`` (descriptors).

    ``log_level``: 4 for the ruling and statistics, with 1 or 2 added for the trace.  ``btf``: (descriptor, records of
    ``struct bpf_func_info``).  Raises :class:`HazardError` where the guard refuses, :class:`BpfError` with the log
    where the kernel does, :class:`RuntimeError` outside of a worker.
    """
    reason = hazard(code, generated=generated)
    if reason is not None:
        raise HazardError(reason)
    if not _worker:
        raise RuntimeError("programs are loaded by a worker process only: use prevail_py.vm.kernel.engine")
    instructions = ctypes.create_string_buffer(code, len(code) or 1)
    licence_buffer = ctypes.create_string_buffer(licence.encode())
    log = ctypes.create_string_buffer(log_size)
    descriptors = (ctypes.c_int32 * max(1, len(maps)))(*maps)
    attributes = ProgramLoad(
        prog_type=program_type,
        insn_cnt=len(code) // 8,
        insns=ctypes.addressof(instructions),
        license=ctypes.addressof(licence_buffer),
        log_level=log_level,
        log_size=log_size,
        log_buf=ctypes.addressof(log),
        prog_flags=flags,
        prog_name=_name(name),
        expected_attach_type=expected_attach_type,
        fd_array=ctypes.addressof(descriptors) if maps else 0,
    )
    if btf is not None:
        records = ctypes.create_string_buffer(btf[1], len(btf[1]))
        attributes.prog_btf_fd = btf[0]
        attributes.func_info_rec_size = 8
        attributes.func_info = ctypes.addressof(records)
        attributes.func_info_cnt = len(btf[1]) // 8
    descriptor = _bpf(Command.PROG_LOAD, attributes, log)
    return Loaded(descriptor, _text(log))


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """What PROG_TEST_RUN gave back; ``duration_ns`` is the mean over the repetitions."""

    return_value: int
    data: bytes
    context: bytes
    duration_ns: int


def run_program(descriptor: int, data: bytes, context: bytes = b"", repeat: int = 1) -> ProgramRun:
    """Run a loaded program on a copy of ``data`` in the kernel's test harness; no packet goes anywhere."""
    data_in = ctypes.create_string_buffer(data, len(data) or 1)
    # Packets may grow: head room (256 bytes) and tail room of one page are the most that XDP and skb runs offer.
    data_out = ctypes.create_string_buffer(len(data) + 8192)
    context_in = ctypes.create_string_buffer(context, len(context) or 1)
    context_out = ctypes.create_string_buffer(max(len(context), 1))
    attributes = ProgramTestRun(
        prog_fd=descriptor,
        data_size_in=len(data),
        data_size_out=len(data_out) if data else 0,
        data_in=ctypes.addressof(data_in) if data else 0,
        data_out=ctypes.addressof(data_out) if data else 0,
        repeat=repeat,
        ctx_size_in=len(context),
        ctx_size_out=len(context),
        ctx_in=ctypes.addressof(context_in) if context else 0,
        ctx_out=ctypes.addressof(context_out) if context else 0,
    )
    _bpf(Command.PROG_TEST_RUN, attributes)
    return ProgramRun(
        attributes.retval,
        data_out.raw[: attributes.data_size_out] if data else b"",
        context_out.raw[: attributes.ctx_size_out] if context else b"",
        attributes.duration,
    )
