"""What a platform is: program types and their contexts, helper prototypes, map types, section names.

Pure data with look-ups, no tables: those are in the platform's own package (:mod:`prevail_py.platforms.linux`).  A
third-party platform builds a :class:`Platform` from its own tables; verifier, interpreter and loader know only this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

__all__ = [
    "ArgKind",
    "AttachRule",
    "ContextAccess",
    "ContextField",
    "FieldKind",
    "HelperArg",
    "HelperPrototype",
    "KernelObject",
    "LookupResult",
    "MapType",
    "Platform",
    "ProgramType",
    "ReturnKind",
    "SectionRule",
]


class ArgKind(Enum):
    """What a helper demands of one argument.

    ``MEM_*`` arguments are pointers whose extent is the ``SIZE`` or ``SIZE_OR_ZERO`` argument right after them;
    ``FIXED_MEM`` carries its extent.  Whether the helper reads memory (which must then be initialised) and whether it
    writes it (which must be allowed, and leaves unknown bytes behind) is in ``HelperArg.reads`` and ``.writes``.
    """

    __hash__ = object.__hash__  # members are compared by identity; that of the name is computed in Python

    ANYTHING = "anything"  # an initialised register
    SCALAR = "scalar"
    CTX = "ctx"
    CTX_OR_NULL = "ctx or null"
    MAP = "map"  # a map reference; says which map the other map arguments speak of
    MAP_KEY = "map key"
    MAP_VALUE = "map value"
    MAP_VALUE_UNINIT = "map value, written"
    MAP_VALUE_OR_NULL = "map value or null"
    MEM_READ = "memory, read"
    MEM_READ_OR_NULL = "memory, read, or null"
    MEM_WRITE = "memory, written"
    MEM_READ_WRITE = "memory, read and written"
    MEM_READ_WRITE_OR_NULL = "memory, read and written, or null"
    FIXED_MEM = "memory of fixed size"
    SIZE = "size"  # of the memory argument before it, positive
    SIZE_OR_ZERO = "size or zero"
    ALLOC_SIZE = "size of the memory returned"  # a known constant
    FUNCTION = "function"
    STACK_OR_NULL = "stack or null"
    CONST_STRING = "constant string"  # in a read-only map, terminated
    SPIN_LOCK = "spin lock"
    TIMER = "timer"
    KPTR = "kptr slot"
    DYNPTR = "dynptr"
    DYNPTR_UNINIT = "dynptr, written"
    RINGBUF_MEM = "ring buffer memory"
    SOCK_COMMON = "sock_common"
    SOCK_OR_NULL = "socket or null"
    BTF_SOCK_COMMON = "sock_common or BTF object of it"
    BTF_SOCK_COMMON_OR_NULL = "sock_common or BTF object of it, or null"
    BTF_POINTER = "BTF object"
    BTF_POINTER_OR_NULL = "BTF object or null"
    PERCPU_BTF_POINTER = "per-CPU BTF object"


_NULLABLE = frozenset(kind for kind in ArgKind if kind.name.endswith("_OR_NULL"))
_MEMORY = frozenset(
    {
        ArgKind.MEM_READ,
        ArgKind.MEM_READ_OR_NULL,
        ArgKind.MEM_WRITE,
        ArgKind.MEM_READ_WRITE,
        ArgKind.MEM_READ_WRITE_OR_NULL,
    }
)


class ReturnKind(Enum):
    """What a helper leaves in R0."""

    __hash__ = object.__hash__  # members are compared by identity; that of the name is computed in Python

    INTEGER = "integer"
    VOID = "void"
    MAP_VALUE = "map value"
    MAP_VALUE_OR_NULL = "map value or null"
    MEM_OR_NULL = "memory or null"  # as many bytes as the ALLOC_SIZE argument says
    SOCK_OR_NULL = "socket or null"
    TCP_SOCK_OR_NULL = "tcp_sock or null"
    SOCK_COMMON_OR_NULL = "sock_common or null"
    BTF_POINTER = "BTF object"
    BTF_POINTER_OR_NULL = "BTF object or null"
    BTF_POINTER_TRUSTED = "trusted BTF object"
    MEM_OR_BTF_POINTER = "memory or BTF object"
    MEM_OR_BTF_POINTER_OR_NULL = "memory or BTF object, or null"


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


class LookupResult(Enum):
    """What ``bpf_map_lookup_elem`` on a map yields, always possibly null."""

    VALUE = "value"
    MAP = "map"
    SOCKET = "socket"
    XDP_SOCKET = "xdp socket"
    NOTHING = "nothing"  # the helper does not accept the map


@dataclass(frozen=True, slots=True)
class HelperArg:
    """One parameter of a helper: ``size`` in bytes for FIXED_MEM, ``structure`` names the BTF type it points to.

    ``reads`` and ``writes`` are about the memory pointed to and set for every kind of memory argument, map keys and
    values included.  ``aligned``: Linux also wants the pointer aligned to ``size``.  ``releases``: the reference
    passed is given up by the call.
    """

    kind: ArgKind
    size: int | None = None
    releases: bool = False
    reads: bool = False
    writes: bool = False
    aligned: bool = False
    structure: str = ""

    @property
    def nullable(self) -> bool:
        """Whether a null pointer is accepted."""
        return self.kind in _NULLABLE

    @property
    def is_sized_memory(self) -> bool:
        """Whether the next argument gives the extent of the memory pointed to."""
        return self.kind in _MEMORY


@dataclass(frozen=True, slots=True)
class HelperPrototype:
    """The contract of one helper, for one program type where they differ.

    ``changes_packet``: packet pointers are stale after the call.  ``packet_access``: memory arguments may point into
    the packet.  ``acquires``: R0, when not null, is a reference that must be released.  ``program_types`` lists who
    may call it, None when that was not measured; program types that were never measured (fentry, lsm, ...) are in
    no list: ask :meth:`Platform.helper`.
    """

    id: int
    name: str
    args: tuple[HelperArg, ...]
    returns: ReturnKind
    gpl_only: bool = False
    changes_packet: bool = False
    packet_access: bool = False
    acquires: bool = False
    might_sleep: bool = False
    program_types: frozenset[str] | None = None
    structure: str = ""


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


@dataclass(frozen=True, slots=True)
class SectionRule:
    """A pattern of section names, in libbpf's notation, and what programs found there are.

    ``name`` matches exactly; ``name+`` also matches ``name/anything``.  ``sleepable`` and ``frags`` are flags of the
    program (``BPF_F_SLEEPABLE``, ``BPF_F_XDP_HAS_FRAGS``).
    """

    pattern: str
    program_type: str
    attach_type: str = ""
    sleepable: bool = False
    frags: bool = False

    def matches(self, section: str) -> bool:
        """Whether a section (without the leading ``?``) falls under this rule."""
        if not self.pattern.endswith("+"):
            return section == self.pattern
        stem = self.pattern[:-1]
        return section == stem or section.startswith(stem + "/")


@dataclass(frozen=True, slots=True)
class MapType:
    """A map type.

    ``index_key``: keys are 32-bit indices below ``max_entries``.  ``per_cpu``: one value per CPU.  ``value_access``:
    how a program may use the memory that a lookup returned, "rw", "r" or "".  ``helpers`` are the names of the only
    helpers that accept the map, None when any that is not bound to other map types does.  ``asks``: a helper that peeks
    into the map reads the value that it is given, instead of writing one.
    """

    number: int
    name: str
    index_key: bool = False
    per_cpu: bool = False
    lookup: LookupResult = LookupResult.VALUE
    value_access: str = "rw"
    helpers: frozenset[str] | None = None
    asks: bool = False


_VALUE_READ = HelperArg(ArgKind.MAP_VALUE, reads=True)


@dataclass(frozen=True)
class Platform:
    """The tables of one platform and the questions asked of them.

    ``load_helpers`` is called once, at the first question about a helper: it gives for every helper id the
    (program types, prototype) pairs, None for all the others; the first pair that applies counts.
    ``attach_types_of_helpers`` gives, by helper and program type, the only attach types with which it may be called.
    ``hook_rules`` are rules by attach type and kind of hook, in place of the attach type's.

    ``map_numbers`` and ``helper_numbers`` are for a platform whose objects use other numbers than its tables: by the
    number in an object (of helpers also by program type, empty for all) the number here.  The loader translates; where
    they are empty there is nothing to translate.

    ``extensions`` names the extension that a program type or map type is from, for those that are from one
    (:mod:`prevail_py.platforms.extensions`).
    """

    name: str
    program_types: Mapping[str, ProgramType]
    attach_types: Mapping[str, int]
    attach_rules: Mapping[str, AttachRule]
    sections: Sequence[SectionRule]
    map_types: Mapping[int, MapType]
    load_helpers: Callable[[], Mapping[int, Sequence[tuple[frozenset[str] | None, HelperPrototype]]]]
    objects: Mapping[str, KernelObject] = field(default_factory=dict)
    bound_helpers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    attach_types_of_helpers: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    hook_rules: Mapping[tuple[str, str], AttachRule] = field(default_factory=dict)
    measured_types: frozenset[str] = frozenset()
    map_numbers: Mapping[int, int] = field(default_factory=dict)
    helper_numbers: Mapping[tuple[str, int], int] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)
    _cache: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    _refusals: dict[tuple[int, str, str, str], str] = field(default_factory=dict, compare=False, repr=False)

    def program_type(self, name: str, attach_type: str = "", hook: str = "") -> ProgramType:
        """The program type called ``name``, as it is for programs with this expected attach type and kind of hook.

        Raises :class:`KeyError` for a name that the platform does not have.
        """
        base = self.program_types[name]
        rule = self.hook_rules.get((attach_type, hook)) or self.attach_rules.get(attach_type)
        if rule is None:
            return base
        key = f"{name}@{attach_type}@{hook}"
        cached = self._cache.get(key)
        if not isinstance(cached, ProgramType):
            cached = self._cache[key] = rule.apply(base)
        return cached

    def depends_on_hook(self, attach_type: str, hook: str) -> bool:
        """Whether what a program may do depends on its kind of hook, and that is not known.

        Then its program type allows only what every kind does; more may be right.
        """
        kinds = {kind for attach, kind in self.hook_rules if attach == attach_type}
        return bool(kinds) and hook not in kinds

    def program_type_of_section(self, section: str) -> tuple[str, str] | None:
        """(program type, attach type or "") of a section name; None if nothing matches.

        A leading ``?`` (do not load by default) is ignored.  After the exact rules, a name of the form
        ``known/anything`` is taken for ``known``, which libbpf before 1.0 allowed.
        """
        rule = self.section_rule(section)
        return None if rule is None else (rule.program_type, rule.attach_type)

    def section_rule(self, section: str) -> SectionRule | None:
        """The rule a section name falls under, None if nothing matches."""
        name = section.removeprefix("?")
        for rule in self.sections:
            if rule.matches(name):
                return rule
        stem = name
        while "/" in stem:
            stem = stem.rpartition("/")[0]
            for rule in self.sections:
                if rule.pattern == stem:
                    return rule
        return None

    def helper(self, id: int, program_type: str | None = None) -> HelperPrototype | None:
        """The prototype of helper ``id`` in programs of this type.

        None if there is no such helper or it was measured that programs of this type may not call it.  Where nothing
        was measured (of the helper, or of the program type) the prototype is given.
        """
        overloads = self._helpers().get(id)
        if overloads is None:
            return None
        if program_type is not None and program_type in self.measured_types:
            allowed = overloads[0][1].program_types
            if allowed is not None and program_type not in allowed:
                return None
        for types, prototype in overloads:
            if types is None or (program_type is not None and program_type in types):
                return prototype
        return None

    def unavailable(self, id: int, program_type: str, attach_type: str = "", section: str = "") -> str:
        """Why a program may not call helper ``id``, empty if it may.

        ``section`` tells whether the program may sleep.
        """
        key = id, program_type, attach_type, section
        reason = self._refusals.get(key)
        if reason is None:
            reason = self._refusals[key] = self._refusal(*key)
        return reason

    def _refusal(self, id: int, program_type: str, attach_type: str, section: str) -> str:
        name = self.helper_name(id)
        if name is None:
            return f"there is no helper {id}"
        prototype = self.helper(id, program_type)
        if prototype is None:
            return f"helper {name} is not available to {program_type} programs"
        attach_types = self.attach_types_of_helpers.get((name, program_type))
        if attach_types is not None and attach_type not in attach_types:
            which = f"of attach type {attach_type}" if attach_type else "without an attach type"
            return f"helper {name} is not available to {program_type} programs {which}"
        if prototype.might_sleep and not self.may_sleep(program_type, section):
            return f"helper {name} may sleep, and the program may not"
        return ""

    def may_sleep(self, program_type: str, section: str) -> bool:
        """Whether programs of this type in a section of this name are sleepable."""
        found = [rule for rule in self.sections if rule.program_type == program_type]
        rule = self.section_rule(section)
        return (rule is not None and rule.sleepable) or (bool(found) and all(rule.sleepable for rule in found))

    def helper_name(self, id: int) -> str | None:
        """The name of helper ``id``, whoever may call it; None if there is no such helper."""
        overloads = self._helpers().get(id)
        return None if overloads is None else overloads[0][1].name

    def helper_by_name(self, name: str, program_type: str | None = None) -> HelperPrototype | None:
        """Like :meth:`helper`, by name (``bpf_map_lookup_elem``)."""
        ids = self._cache.get("ids")
        if not isinstance(ids, dict):
            ids = self._cache["ids"] = {pairs[0][1].name: id for id, pairs in self._helpers().items()}
        id = ids.get(name)
        return None if id is None else self.helper(id, program_type)

    def helper_ids(self) -> tuple[int, ...]:
        """All helper numbers, ascending."""
        return tuple(sorted(self._helpers()))

    def map_number(self, number: int) -> int:
        """What a map type of an object goes by here; -1 where the platform has no such type."""
        return self.map_numbers.get(number, -1) if self.map_numbers else number

    def helper_number(self, number: int, program_type: str) -> int | None:
        """What a helper that an object calls goes by here; None where the platform has no such helper."""
        if not self.helper_numbers:
            return number
        found = self.helper_numbers.get((program_type, number))
        return self.helper_numbers.get(("", number)) if found is None else found

    def map_type(self, number: int) -> MapType | None:
        """The map type with this number, None if there is none."""
        return self.map_types.get(number)

    def map_type_by_name(self, name: str) -> MapType | None:
        """The map type of this name (``array``, ``lru_hash``), None if there is none."""
        return next((map_type for map_type in self.map_types.values() if map_type.name == name), None)

    def map_accepts(self, map_type: int, helper: str) -> bool:
        """Whether the helper of this name may be given a map of this type."""
        found = self.map_types.get(map_type)
        if found is None or (found.helpers is not None and helper not in found.helpers):
            return False
        bound = self.bound_helpers.get(helper)
        return bound is None or found.name in bound

    def argument(self, arg: HelperArg, map_type: int) -> HelperArg:
        """What ``arg`` is where the helper is given a map of this type."""
        if arg.kind is not ArgKind.MAP_VALUE_UNINIT:
            return arg
        found = self.map_types.get(map_type)
        return _VALUE_READ if found is not None and found.asks else arg

    def _helpers(self) -> Mapping[int, Sequence[tuple[frozenset[str] | None, HelperPrototype]]]:
        helpers = self._cache.get("helpers")
        if not isinstance(helpers, dict):
            helpers = self._cache["helpers"] = dict(self.load_helpers())
        return helpers
