"""The kernel as a backend: its verifier decides, its JIT runs, and maps and programs are the kernel's own.

They are kept in a child process behind the guard against what kernels are known to mishandle
(:mod:`prevail_py.vm.kernel.keeping`), with their numbers in the kernel.  Runs are PROG_TEST_RUN.  Objects are pinned
only in a bpffs that a mount namespace of our own has, and XDP programs attached only to interfaces of a network
namespace of our own; elsewhere it is EOPNOTSUPP, and nothing that other processes use is ever looked at.
"""

from __future__ import annotations

import errno
import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from prevail_py.host.context.model import HostError, Peer
from prevail_py.host.context.protocol import CALLS
from prevail_py.host.context.session import Session
from prevail_py.host.service.programs import MessageError, from_map, from_program, to_map, to_program
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.vm.engines import EngineError
from prevail_py.vm.kernel.answer import KernelAnswer
from prevail_py.vm.kernel.context import from_kernel, to_kernel, usual_context
from prevail_py.vm.kernel.engine import available, load_request
from prevail_py.vm.kernel.keeping import Keeper, KeptError
from prevail_py.vm.kernel.loader import possible_cpus
from prevail_py.vm.kernel.wire import spec_back, spec_plain

__all__ = ["KernelSession", "kernel_session"]

_OBJECTS: Final = frozenset({3, 12, 13})
"""Map types whose elements are objects: program arrays, maps of maps."""
_RING: Final = 27
_SLICE: Final = 0.02


@dataclass(slots=True, eq=False)
class _Kept:
    """An object of the keeper.  ``references`` counts handles, and programs and links that use it."""

    kind: str
    number: int
    id: int
    created: int = field(default_factory=time.time_ns)
    references: int = 0
    spec: MapSpec | None = None
    program: Program | None = None
    file: str = ""
    name: str = ""
    type: str = ""
    tag: str = ""
    uses: list[_Kept] = field(default_factory=list)
    runs: int = 0
    nanoseconds: int = 0
    links: int = 0
    frozen: bool = False
    waiting: list[bytes] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    held: bool = False
    attached: bool = True


class KernelSession:
    """A :class:`~prevail_py.host.context.model.Connection` to the kernel: the same calls, as far as there are any.

    Each is a method ``do_`` and its name, with the arguments that the table of calls has.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper: Final = keeper
        self._handles: Final[dict[int, _Kept]] = {}
        self._objects: Final[dict[tuple[str, int], _Kept]] = {}
        self._pins: Final[dict[str, _Kept]] = {}
        self._last = 0
        self._started: Final = time.time_ns()
        self._end: Final = weakref.finalize(self, keeper.close)  # scripts of libbpf close no backend

    def __enter__(self) -> KernelSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the keeper."""
        self._end()
        self._handles.clear()
        self._objects.clear()

    def call(self, name: str, **arguments: Any) -> Any:
        """Make a call.  Raises :class:`HostError`, EOPNOTSUPP for what the kernel has nothing for."""
        call = CALLS.get(name)
        if call is None:
            raise HostError(errno.ENOSYS, f"no call {name!r}")
        given = Session._checked(name, call, arguments)
        handler: Callable[..., Any] | None = getattr(self, f"do_{name}", None)
        if handler is None:
            raise HostError(errno.EOPNOTSUPP, f"{name}: not with the kernel")
        try:
            return handler(**given)
        except KeptError as error:
            raise HostError(error.errno or errno.EIO, error.strerror or str(error), error.log) from None
        except MessageError as error:
            raise HostError(errno.EINVAL, f"{name}: {error}") from None

    # Handles ----------

    def _adopt(self, kept: _Kept) -> int:
        self._last += 1
        self._handles[self._last] = kept
        self._objects[kept.kind, kept.id] = kept
        kept.references += 1
        return self._last

    def _get(self, handle: int, kind: str = "") -> _Kept:
        kept = self._handles.get(handle)
        if kept is None:
            raise HostError(errno.EBADF, f"no handle {handle}")
        if kind and kept.kind != kind:
            raise HostError(errno.EINVAL, f"handle {handle} is a {kept.kind}, not a {kind}")
        return kept

    def _release(self, kept: _Kept) -> None:
        kept.references -= 1
        if kept.references:
            return
        self._objects.pop((kept.kind, kept.id), None)
        self._keeper.ask("close", number=kept.number)
        self._leave(kept)

    def _leave(self, kept: _Kept) -> None:
        for each in kept.uses:
            each.links -= kept.kind == "link"
            self._release(each)
        kept.uses = []

    def do_close(self, handle: int) -> None:
        kept = self._get(handle)
        del self._handles[handle]
        self._release(kept)

    def do_next_id(self, kind: str, after: int) -> int:
        found = min((id for what, id in self._objects if what == kind and id > after), default=None)
        if found is None:
            raise HostError(errno.ENOENT, f"no {kind} with a number above {after}")
        return found

    def do_open_id(self, kind: str, id: int) -> int:
        kept = self._objects.get((kind, id))
        if kept is None:
            raise HostError(errno.ENOENT, f"no {kind} {id} of this session")
        return self._adopt(kept)

    # Pins ----------

    def do_pin(self, handle: int, path: str) -> None:
        kept = self._get(handle)
        self._keeper.ask("pin", number=kept.number, path=path)
        self._pins[path] = kept

    def do_unpin(self, path: str) -> None:
        self._keeper.ask("unpin", path=path)
        self._pins.pop(path, None)

    def do_open_pin(self, path: str) -> int:
        found = self._keeper.ask("open_pin", path=path)
        known = self._objects.get((found["kind"], found["id"]))
        if known is not None:  # one of ours: of which more is known than the kernel says
            self._keeper.ask("close", number=found["number"])
            kept = known
        else:
            kept = _Kept(found["kind"], found["number"], found["id"])
            if kept.kind == "map":
                kept.spec = spec_back(found["spec"])
            elif kept.kind == "program":
                rows = platform().program_types.values()
                kept.type = next((row.name for row in rows if row.number == found["type"]), "")
                kept.name, kept.tag = found["name"], found["tag"]
            else:
                raise HostError(errno.EOPNOTSUPP, f"{path}: links of other sessions are left alone")
        self._pins[path] = kept
        return self._adopt(kept)

    def do_pins(self) -> list[list[Any]]:
        return sorted([path, kept.kind, kept.id] for path, kept in self._pins.items())

    def do_sessions(self) -> list[list[Any]]:
        here = Peer.here()
        return [[here.pid, here.uid, here.name, len(self._handles), True]]

    def do_status(self) -> dict[str, Any]:
        kinds = [kind for kind, _ in self._objects]
        return {
            "started": self._started,
            "cpus": possible_cpus(),
            "verifier": None,
            "maps": kinds.count("map"),
            "programs": kinds.count("program"),
            "links": kinds.count("link"),
            "not_restored": {},
        }

    def do_info(self, handle: int) -> dict[str, Any]:
        kept = self._get(handle)
        common: dict[str, Any] = {
            "kind": kept.kind,
            "id": kept.id,
            "uid": os.geteuid(),
            "created": kept.created,
            "references": kept.references,
            "pins": sorted(path for path, each in self._pins.items() if each is kept),
        }
        if kept.kind == "map":
            assert kept.spec is not None
            inner = kept.spec.inner
            spec = from_map(kept.spec)
            return common | {"spec": spec, "inner": inner and inner.name, "elements": [], "lost": 0,
                             "frozen": kept.frozen}  # fmt: skip
        if kept.kind == "link":
            return common | {
                "program": kept.uses[0].id if kept.uses else 0,
                "hook": "xdp",
                "attach_type": "xdp",
                "parameters": dict(kept.parameters),
                "held": kept.held,
                "attached": kept.attached,
                "state": {},
            }
        program = kept.program
        return common | {
            "name": kept.name,
            "section": program.section if program else "",
            "program_type": kept.type,
            "attach_type": program.expected_attach_type if program else "",
            "platform": "linux",
            "licence": program.licence if program else "",
            "engine": "kernel",
            "tag": kept.tag,
            "file": kept.file,
            "slots": len(program.code) if program else 0,
            "maps": [each.id for each in kept.uses],
            "links": kept.links,
            "run_count": kept.runs,
            "run_time": kept.nanoseconds,
            "key": b"",
            "broken": "",
        }

    # Maps ----------

    def do_map_create(self, spec: dict[str, Any]) -> int:
        wanted = to_map(spec)
        found = self._keeper.ask("map_create", spec=spec_plain(wanted))
        return self._adopt(_Kept("map", found["number"], found["id"], spec=wanted))

    def _map(self, handle: int) -> _Kept:
        return self._get(handle, "map")

    def do_map_lookup(self, handle: int, key: bytes, flags: int, value: bytes | None) -> bytes:
        number = self._map(handle).number
        return bytes.fromhex(
            self._keeper.ask("map_lookup", number=number, key=key.hex(), flags=flags, value=(value or b"").hex())
        )

    def do_map_update(self, handle: int, key: bytes, value: bytes, flags: int) -> None:
        kept = self._map(handle)
        entry = None
        if kept.spec is not None and kept.spec.type in _OBJECTS:
            if len(value) != 4:
                raise HostError(errno.EINVAL, "an element is four bytes with a handle")
            entry = self._get(int.from_bytes(value, "little")).number
        self._keeper.ask("map_update", number=kept.number, key=key.hex(), value=value.hex(), flags=flags, entry=entry)

    def do_map_delete(self, handle: int, key: bytes) -> None:
        self._keeper.ask("map_delete", number=self._map(handle).number, key=key.hex())

    def do_map_next_key(self, handle: int, key: bytes | None) -> bytes:
        number = self._map(handle).number
        return bytes.fromhex(self._keeper.ask("map_next_key", number=number, key=None if key is None else key.hex()))

    def do_map_take(self, handle: int, key: bytes, flags: int) -> bytes:
        return bytes.fromhex(self._keeper.ask("map_take", number=self._map(handle).number, key=key.hex(), flags=flags))

    def do_map_lookup_batch(self, handle: int, at: int, count: int) -> dict[str, Any]:
        rows = self._keeper.ask("map_list", number=self._map(handle).number)
        chosen = rows[at : at + count] if at >= 0 and count > 0 else []
        after = at + len(chosen)
        return {
            "keys": [bytes.fromhex(key) for key, _ in chosen],
            "values": [bytes.fromhex(value) for _, value in chosen],
            "next": after if after < len(rows) else None,
        }

    def _each(self, actions: list[Callable[[], None]]) -> int:
        for place, action in enumerate(actions):
            try:
                action()
            except OSError:
                if place == 0:
                    raise
                return place
        return len(actions)

    def do_map_update_batch(self, handle: int, keys: list[bytes], values: list[bytes], flags: int) -> int:
        return self._each(
            [lambda k=k, v=v: self.do_map_update(handle, k, v, flags) for k, v in zip(keys, values, strict=True)]  # type: ignore[misc]
        )

    def do_map_delete_batch(self, handle: int, keys: list[bytes]) -> int:
        return self._each([lambda key=key: self.do_map_delete(handle, key) for key in keys])  # type: ignore[misc]

    def do_map_freeze(self, handle: int) -> None:
        kept = self._map(handle)
        self._keeper.ask("map_freeze", number=kept.number)
        kept.frozen = True

    def do_records_take(self, handle: int, limit: int, milliseconds: int) -> list[list[bytes]]:
        kept = self._map(handle)
        if kept.spec is None or kept.spec.type != _RING or limit <= 0:
            raise HostError(errno.EOPNOTSUPP, "only records of ring buffers are read from the kernel")
        deadline = time.monotonic() + milliseconds / 1000
        while not kept.waiting:
            kept.waiting += map(bytes.fromhex, self._keeper.ask("map_records", number=kept.number))
            if kept.waiting or time.monotonic() >= deadline:
                break
            time.sleep(_SLICE)
        taken, kept.waiting = kept.waiting[:limit], kept.waiting[limit:]
        return [[record] for record in taken]

    # Programs and links ----------

    def do_program_load(
        self, program: dict[str, Any], maps: list[int], engine: str, token: bytes | None, file: str
    ) -> int:
        wanted = to_program(program)
        if token is not None:
            raise HostError(errno.EOPNOTSUPP, "the kernel believes no token")
        used = [self._map(each) for each in maps]
        request = load_request(wanted, log_level=1)
        if isinstance(request, KernelAnswer):
            raise HostError(errno.EOPNOTSUPP, f"{wanted.name}: {request.reason}")
        try:
            found = self._keeper.load(request, [each.number for each in used])
        except KeptError as error:
            raise HostError(error.errno or errno.EIO, f"{wanted.name}: {error.strerror}", error.log) from None
        kept = _Kept(
            "program", found["number"], found["id"], program=wanted, file=file, name=wanted.name,
            type=wanted.program_type, tag=found["tag"], uses=used,
        )  # fmt: skip
        for each in used:
            each.references += 1
        return self._adopt(kept)

    def do_program_run(self, handle: int, packet: bytes | None, context: bytes | None, repeat: int) -> dict[str, Any]:
        kept = self._get(handle, "program")
        program = kept.program
        if program is None:
            raise HostError(errno.EOPNOTSUPP, "only programs that this session has loaded are run")
        kind = platform().program_type(program.program_type, program.expected_attach_type)
        data = packet or b""
        given = usual_context(kind, data) if context is None else context
        try:
            if given is None:
                raise EngineError(f"the kernel takes no {kind.context_struct or 'context'} in test runs")
            data, state = to_kernel(kind, data, given)
        except EngineError as error:
            raise HostError(errno.EOPNOTSUPP, str(error)) from None
        run = self._keeper.ask("program_run", number=kept.number, packet=data.hex(), context=state.hex(), repeat=repeat)
        kept.runs += repeat
        kept.nanoseconds += run["nanoseconds"] * repeat
        after, context = from_kernel(kind, given, bytes.fromhex(run["packet"]), bytes.fromhex(run["context"]))
        return {
            "value": run["value"],
            "packet": after,
            "context": context,
            "nanoseconds": run["nanoseconds"],
            "redirect": None,
        }

    def do_program_code(self, handle: int) -> Any:
        program = self._get(handle, "program").program
        if program is None:
            raise HostError(errno.EOPNOTSUPP, "only of programs that this session has loaded")
        return from_program(program)

    def do_link_create(self, program: int, hook: str | None, parameters: dict[str, Any], held: bool) -> int:
        kept = self._get(program, "program")
        if kept.type != "xdp" or hook not in (None, "xdp") or parameters.keys() != {"ifindex"}:
            raise HostError(errno.EOPNOTSUPP, "only XDP programs are attached, to interfaces of a private namespace")
        if held:
            raise HostError(errno.EOPNOTSUPP, "what is attached here is detached with its last handle or pin")
        found = self._keeper.ask("attach_xdp", number=kept.number, ifindex=parameters["ifindex"])
        kept.references += 1
        kept.links += 1
        link = _Kept("link", found["number"], found["id"], parameters=dict(parameters), uses=[kept])
        return self._adopt(link)

    def do_link_update(self, link: int, program: int) -> None:
        kept, new = self._get(link, "link"), self._get(program, "program")
        self._keeper.ask("update_link", link=kept.number, program=new.number)
        new.references += 1
        new.links += 1
        self._leave(kept)
        kept.uses = [new]

    def do_link_detach(self, link: int) -> None:
        kept = self._get(link, "link")
        if kept.attached:
            self._keeper.ask("detach_link", number=kept.number)
            kept.attached = False
            self._leave(kept)


def kernel_session() -> KernelSession:
    """A session with objects of its own.  Raises :class:`HostError` where the kernel cannot be asked."""
    reason = available()
    if reason is not None:
        raise HostError(errno.EPERM, f"the kernel cannot be asked: {reason}")
    return KernelSession(Keeper())
