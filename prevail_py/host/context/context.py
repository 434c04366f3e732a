"""The execution context: objects with numbers, who refers to them, and the running of programs.

Everything here happens under one lock: a run sees no other run's half-done changes to maps, which is what programs on
one CPU may expect.  Verification, the slow part, happens outside of it (:mod:`prevail_py.host.context.admission`).
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prevail_py.host import hooks
from prevail_py.host.context.admission import Admissions
from prevail_py.host.context.model import Hosted, HostedLink, HostedMap, HostedProgram, HostError, Peer, uses
from prevail_py.host.context.store import Store
from prevail_py.host.context.world import LiveEnvironment
from prevail_py.host.gate import SoundnessError, require_sound
from prevail_py.host.token import program_tag
from prevail_py.vm.engines import EngineCrash, EngineError, Trusting
from prevail_py.vm.engines import engine as find_engine
from prevail_py.vm.maps.create import UnsupportedMap, create_map
from prevail_py.vm.maps.model import MapError
from prevail_py.vm.maps.streams import PerfEventArray, RingBuffer
from prevail_py.vm.maps.targets import MapOfMaps, ProgramArray

if TYPE_CHECKING:
    from prevail_py.host.canonical import Plain
    from prevail_py.host.context.session import Session
    from prevail_py.host.hooks import Hook
    from prevail_py.objects.program import MapSpec, Program
    from prevail_py.vm.interpreter import Execution

__all__ = ["ENGINES", "ExecutionContext"]

_LOG: Final = logging.getLogger(__name__)

ENGINES: Final = ("jit", "jit-O0", "source", "interpreter")
"""What programs may be loaded into, unless told otherwise."""

MAX_OBJECTS: Final = 1 << 16
MAX_MEMORY: Final = 1 << 30
MAX_RECORDS: Final = 1 << 14
"""Records of one perf event array that wait to be read; those that come then are lost, and counted."""
MAX_PATH: Final = 4096


class ExecutionContext:
    """Holds programs, maps and links; use :meth:`session` to get at them.  To be closed, or used in ``with``.

    ``store`` is a SQLite file that keeps what is pinned; it is read at once, and each pinned program is verified again.
    ``admissions`` says whom to believe, ``cpus`` how many values per-CPU maps have (all runs are on the first CPU),
    ``engines`` what programs may be loaded into.  ``ready`` are hooks that were made before, with wires, say, that
    links in the store need.  With ``proved_code`` native code leaves out the checks of accesses that the verifier whose
    token let the program in has proved needless: its mistakes, and forgeries, are then in this process's memory.
    """

    def __init__(
        self,
        *,
        store: str | os.PathLike[str] | None = None,
        admissions: Admissions | None = None,
        cpus: int = 1,
        engines: Sequence[str] = ENGINES,
        ready: Sequence[Hook] = (),
        proved_code: bool = True,
    ) -> None:
        """Raises :class:`HostError` and OSError where the store cannot be used."""
        self.lock: Final = threading.RLock()
        self.records: Final = threading.Condition(self.lock)
        self.admissions: Final = admissions or Admissions()
        self.environment: Final = LiveEnvironment(cpus=cpus)
        self.engines: Final = tuple(engines)
        self.proved_code: Final = proved_code
        self.started: Final = time.time_ns()
        self.maps: Final[dict[int, HostedMap]] = {}
        self.programs: Final[dict[int, HostedProgram]] = {}
        self.links: Final[dict[int, HostedLink]] = {}
        self.pins: Final[dict[str, Hosted]] = {}
        self.sessions: Final[set[Session]] = set()
        self.not_restored: dict[str, str] = {}
        self._hooks: dict[str, Hook] = {hook.name: hook for hook in ready}
        self._next: Final = {"map": 1, "program": 1, "link": 1}
        self._memory = 0
        self._closed = False
        self._store: Final = None if store is None else Store(store)
        if self._store is not None:
            self._store.restore(self)

    def __enter__(self) -> ExecutionContext:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Detach everything, keep what is pinned in the store, end the verifier process."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            self.sync()
            attachments = [link.attachment for link in self.links.values()]
            for link in self.links.values():
                link.attachment = None
        for attachment in attachments:
            if attachment is not None:
                attachment.detach()
        for hook in self._hooks.values():
            if isinstance(hook, hooks.Closing):
                hook.close()
        self.admissions.close()
        if self._store is not None:
            self._store.close()

    def session(self, peer: Peer | None = None, *, may_change: bool = True) -> Session:
        """A new session, by default for this process."""
        from prevail_py.host.context.session import Session

        return Session(self, peer or Peer.here(), may_change=may_change)

    # Objects -------------------------------------------------------------------------------------------------------

    def table(self, kind: str) -> Mapping[int, Hosted]:
        """All objects of a kind, by number: ``map``, ``program`` or ``link``."""
        tables: dict[str, Mapping[int, Hosted]] = {"map": self.maps, "program": self.programs, "link": self.links}
        return tables[kind]

    def number(self, kind: str, wanted: int | None = None) -> int:
        """The next number of a kind, or the one it had before the host was started again."""
        if len(self.table(kind)) >= MAX_OBJECTS:
            raise HostError(errno.ENOSPC, f"there are {MAX_OBJECTS} objects of this kind")
        number = self._next[kind] if wanted is None else wanted
        self._next[kind] = max(self._next[kind], number + 1)
        return number

    def reserve(self, kind: str, number: int) -> None:
        """Give this number to nothing new: it is that of an object in the store."""
        self._next[kind] = max(self._next[kind], number + 1)

    def retain(self, hosted: Hosted, *, user: bool = False) -> None:
        """One more refers to an object; ``user``: a handle or a pin does."""
        hosted.references += 1
        hosted.users += user

    def release(self, hosted: Hosted, *, user: bool = False) -> None:
        """One less refers to an object, which ends with the last."""
        hosted.references -= 1
        hosted.users -= user
        if user and hosted.users == 0 and isinstance(hosted, HostedMap) and isinstance(hosted.map, ProgramArray):
            # As in Linux: what nobody outside can reach leads nowhere, or two programs could keep each other for ever.
            for key in list(hosted.entries):
                self.clear_entry(hosted, key)
        if hosted.references == 0:
            self._end(hosted)

    def _end(self, hosted: Hosted) -> None:
        match hosted:
            case HostedMap():
                del self.maps[hosted.id]
                self._memory -= _size(hosted.map.spec, self.environment.cpus)
            case HostedProgram():
                del self.programs[hosted.id]
            case HostedLink():
                self.links.pop(hosted.id, None)
                self.detach(hosted)
        for used in uses(hosted):
            self.release(used)

    def set_entry(self, hosted: HostedMap, key: bytes, entry: HostedProgram | HostedMap) -> None:
        """Put an object into a program array or a map of maps.  Raises :class:`HostError` where it does not fit."""
        match hosted.map, entry:
            case ProgramArray() as array, HostedProgram():
                self.own(hosted, entry.of_kind())
                array.install(key, entry.program, tuple(each.map for each in entry.maps))
            case MapOfMaps() as outer, HostedMap():
                _require_template(outer.spec, entry.map.spec)
                outer[key] = entry.map
            case _:
                raise HostError(errno.EINVAL, f"a {entry.kind} is no element of map {hosted.map.spec.name!r}")
        self.retain(entry)
        old = hosted.entries.get(key)
        hosted.entries[key] = entry
        if old is not None:
            self.release(old)

    def clear_entry(self, hosted: HostedMap, key: bytes) -> None:
        """Take an object out of a program array or a map of maps.  Raises :class:`HostError` where there is none."""
        old = hosted.entries.pop(key, None)
        if old is None:
            raise HostError(errno.ENOENT, "no element has this key")
        assert isinstance(hosted.map, ProgramArray | MapOfMaps)
        del hosted.map[key]
        self.release(old)

    def own(self, hosted: HostedMap, kind: tuple[str, ...]) -> None:
        """Programs of this kind use a program array, or are in it.  A verdict holds for tail calls among one kind."""
        if hosted.owner is not None and hosted.owner != kind:
            raise HostError(
                errno.EINVAL,
                f"map {hosted.map.spec.name!r} is for tail calls of {' '.join(filter(None, hosted.owner))} programs, "
                f"not {' '.join(filter(None, kind))}",
            )
        hosted.owner = kind

    # Maps and programs ---------------------------------------------------------------------------------------------

    def create_map(self, spec: MapSpec, uid: int, number: int | None = None, created: int | None = None) -> HostedMap:
        """A new map that nobody refers to yet."""
        size = _size(spec, self.environment.cpus)
        if self._memory + size > MAX_MEMORY:
            raise HostError(errno.ENOMEM, f"map {spec.name!r}: the maps of this host would take more than {MAX_MEMORY}")
        try:
            map = create_map(spec, self.environment)
        except MapError as error:
            raise HostError(error.errno, str(error)) from None
        if isinstance(map, UnsupportedMap):
            raise HostError(errno.EOPNOTSUPP, f"map {spec.name!r}: no map of type {spec.type} can be made here")
        if isinstance(map, PerfEventArray):
            map.open.clear()  # nobody listens yet
        hosted = HostedMap(self.number("map", number), uid, created or time.time_ns(), map)
        self._memory += size
        self.maps[hosted.id] = hosted
        return hosted

    def load(
        self,
        program: Program,
        maps: Sequence[HostedMap],
        engine: str,
        uid: int,
        *,
        token: bytes | None = None,
        file: str = "",
        number: int | None = None,
        created: int | None = None,
    ) -> HostedProgram:
        """Admit a program and prepare it; nobody refers to it yet.

        To be called without the lock: verification may take its time.  Raises :class:`HostError`.
        """
        if engine not in self.engines:
            raise HostError(errno.EINVAL, f"no engine {engine!r} (there are: {', '.join(self.engines)})")
        admitted = self.admissions.admit(program, [each.map for each in maps], token)
        try:
            loaded = find_engine(engine).load(program)
        except EngineError as error:
            raise HostError(errno.EOPNOTSUPP, str(error)) from None
        except ValueError as error:
            raise HostError(errno.EINVAL, str(error)) from None
        if isinstance(loaded, Trusting):
            loaded.trust(admitted.facts if self.proved_code else None)
        with self.lock:
            hosted = HostedProgram(
                self.number("program", number),
                uid,
                created or time.time_ns(),
                program,
                tuple(maps),
                loaded,
                engine,
                program_tag(program),
                file,
                admitted.key,
            )
            for each in maps:
                if isinstance(each.map, ProgramArray):
                    self.own(each, hosted.of_kind())
            self.programs[hosted.id] = hosted
            for each in maps:
                self.retain(each)
        return hosted

    def run(self, hosted: HostedProgram, *, packet: bytes | None = None, context: bytes | None = None) -> Execution:
        """One run of an admitted program.

        Raises :class:`HostError` for inputs that do not fit, and EFAULT for a program that betrayed its verdict, now or
        before: it never runs again.
        """
        with self.lock:
            if hosted.broken:
                raise HostError(errno.EFAULT, hosted.broken)
            maps = tuple(each.map for each in hosted.maps)
            before = time.perf_counter_ns()
            try:
                execution = hosted.loaded.run(packet=packet, context=context, maps=maps, environment=self.environment)
                require_sound(hosted.program, execution.outcome)
            except (SoundnessError, EngineCrash) as error:
                hosted.broken = str(error)
                _LOG.critical("%s", error)
                raise HostError(errno.EFAULT, str(error)) from None
            except ValueError as error:
                raise HostError(errno.EINVAL, str(error)) from None
            finally:
                hosted.run_time += time.perf_counter_ns() - before
                hosted.run_count += 1
                self._tidy(hosted)
            return execution

    def _tidy(self, hosted: HostedProgram) -> None:
        """What runs leave behind must not pile up; whoever waits for records is told."""
        for line in self.environment.log:
            _LOG.info("%s: %s", hosted.program.name, line)
        self.environment.log.clear()
        self.environment.clones.clear()
        self.environment.signals.clear()
        for each in hosted.maps:
            if isinstance(each.map, PerfEventArray) and len(each.map.records) > MAX_RECORDS:
                each.lost += len(each.map.records) - MAX_RECORDS
                del each.map.records[MAX_RECORDS:]
            if isinstance(each.map, PerfEventArray | RingBuffer):
                self.records.notify_all()

    # Links ---------------------------------------------------------------------------------------------------------

    def attach(
        self,
        program: HostedProgram,
        parameters: Mapping[str, Plain],
        uid: int,
        *,
        hook: str | None = None,
        held: bool = False,
        number: int | None = None,
        created: int | None = None,
    ) -> HostedLink:
        """Attach a program at a hook, by default the one for its type.  Raises :class:`HostError`.

        Nobody refers to the link yet, unless it is ``held``.
        """
        found = self.hook_for(program.program) if hook is None else self.hook(hook)
        if found is None or not found.accepts(program.program):
            what = "no hook here" if hook is None else f"hook {hook!r}"
            raise HostError(errno.EOPNOTSUPP, f"{what} takes {program.program.program_type or 'plain'} programs")
        with self.lock:
            attach_type = program.program.expected_attach_type or program.program.program_type
            link = HostedLink(
                self.number("link", number),
                uid,
                created or time.time_ns(),
                program,
                found,
                attach_type,
                dict(parameters),
                held,
            )
            try:
                link.attachment = found.attach(_Runner(self, link), parameters)
            except OSError as error:
                raise HostError(error.errno or errno.EINVAL, error.strerror or str(error)) from None
            self.links[link.id] = link
            self.retain(program)
            program.links += 1
            if held:
                self.retain(link)
        return link

    def hook(self, name: str) -> Hook | None:
        """The hook of this name: one for the life of the context."""
        if name not in self._hooks:
            maker = hooks.hooks().get(name)
            if maker is None:
                return None
            self._hooks[name] = maker()
        return self._hooks[name]

    def hook_for(self, program: Program) -> Hook | None:
        """The first hook that takes a program."""
        for name in hooks.hooks():
            hook = self.hook(name)
            if hook is not None and hook.accepts(program):
                return hook
        return None

    def replace_program(self, link: HostedLink, program: HostedProgram) -> None:
        """Let a link call another program from the next event on."""
        if program.of_kind() != link.program.of_kind():
            raise HostError(errno.EINVAL, "the new program is of another kind")
        old = link.program
        self.retain(program)
        program.links += 1
        link.program = program
        old.links -= 1
        self.release(old)

    def detach(self, link: HostedLink) -> None:
        """Take a link from its hook; it may go on to exist, as one that does nothing."""
        attachment, link.attachment = link.attachment, None
        if attachment is None:
            return
        link.program.links -= 1
        attachment.detach()
        if link.held:
            link.held = False
            if link.references > 0:
                self.release(link)

    # Pins ----------------------------------------------------------------------------------------------------------

    def pin(self, path: str, hosted: Hosted) -> None:
        """Keep an object under a name.  Raises :class:`HostError`."""
        if not path or "\0" in path or len(path.encode(errors="surrogateescape")) > MAX_PATH:
            raise HostError(errno.EINVAL, "a pin has a name of at most 4096 bytes")
        if path in self.pins:
            raise HostError(errno.EEXIST, f"{path} is pinned already")
        self.pins[path] = hosted
        hosted.pins.add(path)
        self.retain(hosted, user=True)

    def unpin(self, path: str) -> None:
        """Forget a name.  Raises :class:`HostError` where it is none."""
        hosted = self.pins.pop(path, None)
        if hosted is None and self.not_restored.pop(path, None) is not None:
            return
        if hosted is None:
            raise HostError(errno.ENOENT, f"nothing is pinned at {path}")
        hosted.pins.discard(path)
        self.release(hosted, user=True)

    def sync(self) -> None:
        """Write what is pinned, and all it needs, to the store."""
        if self._store is not None:
            with self.lock:
                self._store.save(self)

    def kept(self) -> Iterator[Hosted]:
        """What survives a restart, each object before those that refer to it.

        That is everything pinned, the held links of pinned programs, and what these refer to.
        """
        roots: list[Hosted] = list(dict.fromkeys(self.pins.values()))
        roots += [link for link in self.links.values() if link.held and link.program.pins]
        seen: set[int] = set()
        waiting = [(each, False) for each in reversed(roots)]
        while waiting:
            hosted, done = waiting.pop()
            if done:
                yield hosted
            elif id(hosted) not in seen:
                seen.add(id(hosted))
                waiting.append((hosted, True))
                waiting += [(used, False) for used in uses(hosted)]


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs whatever program a link holds; what replaces it is of the same kind, and so of the same platform."""

    context: ExecutionContext
    link: HostedLink

    @property
    def platform(self) -> str:
        return self.link.program.program.platform

    def __call__(self, *, packet: bytes | None = None, context: bytes | None = None) -> Execution | None:
        with self.context.lock:
            if self.link.attachment is None:
                return None  # detached while the event was on its way
            try:
                return self.context.run(self.link.program, packet=packet, context=context)
            except HostError as error:
                _LOG.warning("link %d: %s", self.link.id, error)
                return None


def _size(spec: MapSpec, cpus: int) -> int:
    return (spec.key_size + spec.value_size * cpus) * max(spec.max_entries, 1)


def _require_template(outer: MapSpec, inner: MapSpec) -> None:
    """Linux's ``bpf_map_meta_equal``: what the verdict of a program knows of the inner maps it will find."""
    template = outer.inner
    if template is None:
        raise HostError(errno.EINVAL, f"map {outer.name!r} has no template for its elements")
    attributes = ["type", "key_size", "value_size", "flags", "read_only", "extra"]
    if template.type in (2, 6):
        attributes.append("max_entries")
    for attribute in attributes:
        if getattr(template, attribute) != getattr(inner, attribute):
            raise HostError(
                errno.EINVAL, f"map {inner.name!r} differs from the template of {outer.name!r}: {attribute}"
            )
