"""Prototypes of helpers, as a program has them: whether it may call one, and what its arguments are."""

from __future__ import annotations

from typing import Final

from prevail_py.domains.lattice import Range, Term
from prevail_py.platforms.model import ArgKind, HelperArg, HelperPrototype, ReturnKind
from prevail_py.verifier.setting import Setting, Unsupported
from prevail_py.verifier.state import State
from prevail_py.verifier.values import MAP, Pointer

__all__ = ["CALLBACKS", "MAX_LOOPS", "MAX_SIZE", "SOCKETS", "TAIL_CALL", "extent_of", "map_argument", "on_map",
           "prototype_of", "unavailable"]  # fmt: skip

MAX_SIZE: Final = (1 << 29) - 1
"""Largest size argument Linux accepts (``BPF_MAX_VAR_SIZ`` in kernel/bpf/verifier.c)."""

TAIL_CALL: Final = 12
"""The helper that another program takes the place of the running function."""

SOCKETS: Final = frozenset({"socket", "sock_common", "tcp_sock", "xdp socket"})
"""The kernel objects that count as sockets where a helper takes one."""

CALLBACKS: Final = frozenset({"bpf_loop", "bpf_for_each_map_elem"})
"""Helpers that call a function of the program while they last (``callbacks.py``)."""

MAX_LOOPS: Final = 1 << 23
"""How many times ``bpf_loop`` calls its function at most (``BPF_MAX_LOOPS`` in Linux)."""

_UNMODELLED: Final = {
    ArgKind.FUNCTION: "callbacks",
    ArgKind.SPIN_LOCK: "spin locks",
    ArgKind.TIMER: "timers",
    ArgKind.KPTR: "kptrs",
    ArgKind.DYNPTR: "dynptrs",
    ArgKind.DYNPTR_UNINIT: "dynptrs",
    ArgKind.BTF_POINTER: "BTF-typed pointers",
    ArgKind.BTF_POINTER_OR_NULL: "BTF-typed pointers",
    ArgKind.PERCPU_BTF_POINTER: "BTF-typed pointers",
}

# Up to Python 3.11 a member of an enumeration takes ten times as long to name as a variable.
_MAP_ARGUMENT: Final = ArgKind.MAP


def prototype_of(setting: Setting, helper: int) -> HelperPrototype | None:
    """The prototype of ``helper`` in this program; None where the program may not call it.

    Raises Unsupported for a prototype that has no model.
    """
    if helper not in setting.prototypes:
        setting.prototypes[helper] = _prototype(setting, helper)
    return setting.prototypes[helper]


def _prototype(setting: Setting, helper: int) -> HelperPrototype | None:
    prototype = setting.platform.helper(helper, setting.program.program_type)
    if prototype is None or unavailable(setting, helper):
        return None
    for arg in prototype.args:
        if arg.kind in _UNMODELLED and not (arg.kind is ArgKind.FUNCTION and prototype.name in CALLBACKS):
            raise Unsupported(f"{_UNMODELLED[arg.kind]} (helper {prototype.name})")
    if prototype.returns in (
        ReturnKind.BTF_POINTER,
        ReturnKind.BTF_POINTER_OR_NULL,
        ReturnKind.BTF_POINTER_TRUSTED,
        ReturnKind.MEM_OR_BTF_POINTER,
        ReturnKind.MEM_OR_BTF_POINTER_OR_NULL,
    ):
        raise Unsupported(f"BTF-typed pointers (helper {prototype.name})")
    return prototype


def unavailable(setting: Setting, helper: int) -> str:
    """Why the program may not call ``helper``, empty if it may."""
    program = setting.program
    return setting.platform.unavailable(helper, program.program_type, program.expected_attach_type, program.section)


def map_argument(prototype: HelperPrototype, state: State) -> Pointer | None:
    """The map that a helper is given; None where it takes none, or something else was passed."""
    for index, arg in enumerate(prototype.args):
        if arg.kind is _MAP_ARGUMENT:
            value = state.registers[index + 1]
            return value if isinstance(value, Pointer) and value.region.kind is MAP else None
    return None


def on_map(setting: Setting, handle: Pointer | None, arg: HelperArg) -> HelperArg:
    """What the argument is, given the map."""
    return arg if handle is None else setting.platform.argument(arg, setting.map_of(handle.region).type)


def extent_of(setting: Setting, state: State, prototype: HelperPrototype, index: int, arg: HelperArg) -> Range | None:
    """How many bytes a memory argument covers; None where another argument is at fault and reported there."""
    match arg.kind:
        case ArgKind.MAP_KEY | ArgKind.MAP_VALUE | ArgKind.MAP_VALUE_UNINIT | ArgKind.MAP_VALUE_OR_NULL:
            handle = map_argument(prototype, state)
            if handle is None:
                return None
            spec = setting.map_of(handle.region)
            size = spec.key_size if arg.kind is ArgKind.MAP_KEY else spec.value_size
            return Range(size, size)
        case ArgKind.FIXED_MEM:
            if arg.size is None:
                raise Unsupported(f"memory of unknown size (helper {prototype.name})")
            return Range(arg.size, arg.size)
        case _:
            value = state.registers[index + 2]
            if not isinstance(value, Term):
                return None
            size_range = state.facts.range(value)
            return None if size_range.hi > MAX_SIZE else size_range
