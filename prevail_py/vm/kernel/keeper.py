"""The process that keeps objects of the kernel: ``python -m prevail_py.vm.kernel.keeper``, one request a line on stdin.

As the worker (:mod:`prevail_py.vm.kernel.worker`) it exists to be lost, and programs come to the kernel through the
same guarded call; but what it has made it keeps, by numbers, until it is told to close it: so maps are shared by
programs, live on between runs, are pinned, and programs are attached, where :mod:`prevail_py.vm.kernel.privacy` allows
that.

A request is ``{"call": name, ...}``, its answer ``{"value": ...}`` or ``{"error": errno, "message": text, "log":
text}``.  Bytes are written in hexadecimal.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from prevail_py.objects.program import MapSpec
from prevail_py.platforms.linux.map_types import MAP_TYPES
from prevail_py.vm.kernel import ring, syscalls
from prevail_py.vm.kernel.answer import AnswerKind
from prevail_py.vm.kernel.hazard import escape
from prevail_py.vm.kernel.loader import KernelMap, MapError, create, load_with, possible_cpus, ring_size
from prevail_py.vm.kernel.privacy import PrivacyError, require_private_bpffs
from prevail_py.vm.kernel.syscalls import BpfError
from prevail_py.vm.kernel.wire import Request, spec_back, spec_plain
from prevail_py.vm.kernel.worker import one_cpu

__all__ = ["NUMBERS", "main"]

NUMBERS: Final[Mapping[AnswerKind, int]] = {AnswerKind.REJECT: errno.EACCES, AnswerKind.NOT_ASKED: errno.EPERM}
"""The error numbers of programs that were not loaded; EOPNOTSUPP for those that could not even be tried."""

_ID, _MAP_TYPE, _NAME = 4, 0, 24  # in struct bpf_map_info; the number is at 4 in those of programs and links, too
_PROGRAM_TAG, _PROGRAM_NAME = 8, 64
_LINK_ID, _LINK_PROGRAM = 4, 8


class Refused(OSError):  # noqa: N818 - an answer
    """A request that fails: the number, why, and the verifier's log."""

    def __init__(self, number: int, message: str, log: str = "") -> None:
        super().__init__(number, message)
        self.log: Final = log


class Keeper:
    """What is kept, by number."""

    def __init__(self) -> None:
        self._maps: dict[int, KernelMap] = {}
        self._programs: dict[int, tuple[int, int, bytes | None]] = {}
        self._links: dict[int, int] = {}
        self._last = 0

    def _new(self) -> int:
        self._last += 1
        return self._last

    def _descriptor(self, number: int) -> int:
        if number in self._maps:
            return self._maps[number].descriptor
        if number in self._links:
            return self._links[number]
        return self._programs[number][0]

    # Objects ----------

    def map_create(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A new map."""
        descriptors: list[int] = []
        try:
            made = create(spec_back(spec), descriptors)
        except MapError as error:
            cause = error.__cause__
            number = cause.errno if isinstance(cause, BpfError) and cause.code != "ENOTSUPP" else None
            for each in descriptors:
                os.close(each)
            raise Refused(number or errno.EINVAL, str(error)) from None
        for each in descriptors:
            if each != made.descriptor:  # the template of a map of maps, types: the kernel holds them
                os.close(each)
        return self._kept_map(made)

    def _kept_map(self, made: KernelMap) -> dict[str, Any]:
        number = self._new()
        self._maps[number] = made
        return {"kind": "map", "number": number, "id": _word(syscalls.object_info(made.descriptor), _ID)}

    def program_load(self, request: dict[str, Any], maps: list[int]) -> dict[str, Any]:
        """Verified by the kernel, with these maps."""
        load = Request.from_json(request).load
        answer, loaded = load_with(load, [self._maps[each] for each in maps])
        if answer.kind is not AnswerKind.ACCEPT:
            raise Refused(NUMBERS.get(answer.kind, errno.EOPNOTSUPP), answer.reason, answer.log)
        for each in loaded.descriptors:
            if each != loaded.descriptor:
                os.close(each)
        return self._kept_program(loaded.descriptor, load.program_type, load.code)

    def _kept_program(self, descriptor: int, program_type: int, code: bytes | None) -> dict[str, Any]:
        number = self._new()
        self._programs[number] = descriptor, program_type, code
        info = syscalls.object_info(descriptor)
        return {
            "kind": "program",
            "number": number,
            "id": _word(info, _ID),
            "type": program_type,
            "tag": info[_PROGRAM_TAG : _PROGRAM_TAG + 8].hex(),
            "name": _text(info, _PROGRAM_NAME),
        }

    def close(self, number: int) -> None:
        """Give an object back; it goes on where it is pinned, or used."""
        descriptor = self._descriptor(number)
        self._maps.pop(number, None)
        self._programs.pop(number, None)
        self._links.pop(number, None)
        os.close(descriptor)

    def pin(self, number: int, path: str) -> None:
        """Keep it under a path."""
        syscalls.pin_object(self._descriptor(number), path)

    def unpin(self, path: str) -> None:
        """Take a path away."""
        require_private_bpffs(path)
        os.unlink(path)

    def open_pin(self, path: str) -> dict[str, Any]:
        """What is kept there."""
        descriptor = syscalls.get_object(path)
        try:
            kind = os.readlink(f"/proc/self/fd/{descriptor}").rpartition("bpf")[2].strip("-_]:")
            info = syscalls.object_info(descriptor)
            match kind:
                case "map":
                    return self._opened_map(descriptor, info)
                case "prog":
                    return self._kept_program(descriptor, _word(info, 0), None)
                case "link" | _:
                    number = self._new()
                    self._links[number] = descriptor
                    return {"kind": "link", "number": number, **self._link(info)}
        except BaseException:
            os.close(descriptor)
            raise

    def _opened_map(self, descriptor: int, info: bytes) -> dict[str, Any]:
        kind, _, key, value, entries, flags = (_word(info, 4 * place) for place in range(6))
        spec = MapSpec(_text(info, _NAME), kind, key, value, entries, flags)
        known = MAP_TYPES.get(kind)
        size = value
        if known is not None and known.per_cpu:
            size = -(-value // 8) * 8 * possible_cpus()
        return {**self._kept_map(KernelMap(descriptor, spec, size)), "spec": spec_plain(spec)}

    # Maps ----------

    def map_lookup(self, number: int, key: str, flags: int, value: str) -> str:
        """The value with a key, as ``bpf(2)`` gives it."""
        made = self._maps[number]
        return syscalls.lookup_element(
            made.descriptor, bytes.fromhex(key), made.value_size, bytes.fromhex(value), flags
        ).hex()

    def map_update(self, number: int, key: str, value: str, flags: int, entry: int | None) -> None:
        """Set an element; ``entry`` is the number of the object that it is."""
        if entry in self._programs:
            self._harmless(entry, "called by others")
        data = bytes.fromhex(value) if entry is None else self._descriptor(entry).to_bytes(4, sys.byteorder)
        made = self._maps[number]
        if entry is None and len(data) != made.value_size:
            raise Refused(errno.EINVAL, f"map {made.spec.name!r}: a value of {len(data)} bytes, not {made.value_size}")
        syscalls.update_element(made.descriptor, bytes.fromhex(key), data, flags)

    def map_delete(self, number: int, key: str) -> None:
        """Remove an element."""
        syscalls.delete_element(self._maps[number].descriptor, bytes.fromhex(key))

    def map_next_key(self, number: int, key: str | None) -> str:
        """The key after ``key``."""
        made = self._maps[number]
        given = None if key is None else bytes.fromhex(key)
        found = syscalls.next_key(made.descriptor, given, made.spec.key_size)
        if found is None:
            raise Refused(errno.ENOENT, "this is the last key")
        return found.hex()

    def map_take(self, number: int, key: str, flags: int) -> str:
        """Look an element up and remove it."""
        made = self._maps[number]
        return syscalls.pop_element(made.descriptor, bytes.fromhex(key), made.value_size, flags).hex()

    def map_list(self, number: int) -> list[list[str]]:
        """All elements."""
        made = self._maps[number]
        if not made.readable:
            raise Refused(errno.EOPNOTSUPP, "the map has no keys")
        return [[key.hex(), value.hex()] for key, value in made.read().items()]

    def map_freeze(self, number: int) -> None:
        """Nobody but programs changes it any more."""
        syscalls.freeze_map(self._maps[number].descriptor)

    def map_records(self, number: int) -> list[str]:
        """What programs wrote to a ring buffer since."""
        made = self._maps[number]
        if made.kind != "ringbuf":
            raise Refused(errno.EOPNOTSUPP, "only records of ring buffers are read from the kernel")
        records = ring.drain(made.descriptor, ring_size(made.spec.max_entries))
        return [record.hex() for record in records if isinstance(record, bytes)]

    # Programs ----------

    def _harmless(self, number: int, use: str) -> int:
        """The descriptor of a program whose effects were checked; others are not ``use``.  Raises :class:`Refused`."""
        descriptor, program_type, code = self._programs[number]
        if code is None:
            raise Refused(errno.EOPNOTSUPP, f"only programs that were loaded here are {use}")
        reason = escape(code, program_type)
        if reason is not None:
            raise Refused(errno.EPERM, reason)
        return descriptor

    def program_run(self, number: int, packet: str, context: str, repeat: int) -> dict[str, Any]:
        """A test run."""
        descriptor = self._harmless(number, "run")
        with one_cpu(min(os.sched_getaffinity(0))):
            run = syscalls.run_program(descriptor, bytes.fromhex(packet), bytes.fromhex(context), repeat)
        return {
            "value": run.return_value,
            "packet": run.data.hex(),
            "context": run.context.hex(),
            "nanoseconds": run.duration_ns,
        }

    def attach_xdp(self, number: int, ifindex: int) -> dict[str, Any]:
        """Attach a program to an interface of a private network namespace."""
        descriptor = self._harmless(number, "attached")
        link = syscalls.attach_xdp(descriptor, ifindex)
        made = self._new()
        self._links[made] = link
        return {"kind": "link", "number": made, **self._link(syscalls.object_info(link))}

    @staticmethod
    def _link(info: bytes) -> dict[str, int]:
        return {"id": _word(info, _LINK_ID), "program": _word(info, _LINK_PROGRAM)}

    def detach_link(self, number: int) -> None:
        """Take its program from the interface, wherever the link is pinned."""
        syscalls.detach_link(self._links[number])

    def update_link(self, link: int, program: int) -> None:
        """Let it call another program."""
        descriptor = self._harmless(program, "attached")
        syscalls.update_link(self._links[link], descriptor)


def _word(info: bytes, offset: int) -> int:
    return int.from_bytes(info[offset : offset + 4], sys.byteorder)


def _text(info: bytes, offset: int) -> str:
    return info[offset : offset + 16].partition(b"\0")[0].decode(errors="replace")


_CALLS: Final = (
    "attach_xdp", "close", "detach_link", "map_create", "map_delete", "map_freeze", "map_list", "map_lookup",
    "map_next_key", "map_records", "map_take", "map_update", "open_pin", "pin", "program_load", "program_run", "unpin",
    "update_link",
)  # fmt: skip


def answer(keeper: Keeper, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request."""
    name = request.pop("call")
    assert name in _CALLS
    call: Callable[..., Any] = getattr(keeper, name)
    try:
        return {"value": call(**request)}
    except Refused as error:
        return {"error": error.errno, "message": error.strerror, "log": error.log}
    except PrivacyError as error:
        return {"error": errno.EOPNOTSUPP, "message": str(error), "log": ""}
    except BpfError as error:
        number = errno.EOPNOTSUPP if error.code == "ENOTSUPP" else error.errno
        return {"error": number, "message": error.strerror, "log": error.log}
    except OSError as error:
        return {"error": error.errno, "message": error.strerror, "log": ""}


def main() -> None:
    """Answer requests until stdin ends, and let everything go."""
    syscalls.enter_worker()
    keeper = Keeper()
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)  # the protocol has stdout to itself
        for line in sys.stdin:
            output.write(json.dumps(answer(keeper, json.loads(line))) + "\n")
            output.flush()


if __name__ == "__main__":
    main()
