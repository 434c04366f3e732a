"""What helpers demand and give: kinds of arguments and results, and prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["ArgKind", "HelperArg", "HelperPrototype", "LookupResult", "ReturnKind"]


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
    no list: ask :meth:`Platform.helper`.  ``copies``: the first argument is given what the third holds, as many bytes
    as the fourth says, or nothing where there is no room for them; the rest of it stays as it was.
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
    copies: bool = False
