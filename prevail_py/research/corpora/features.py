"""What a program uses, in words: from its instructions, maps and the types of their values, not from any verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prevail_py.isa.instructions import Call, CallKfunc, CallLocal, LoadImmediate64, LoadPacket, MayGoto, Pseudo
from prevail_py.objects.btf import Btf, Kind
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.platforms.model import ArgKind, HelperPrototype, ReturnKind

__all__ = ["btf_need", "uses"]

_TYPED_CONTEXTS: Final = frozenset({"tracing", "lsm", "struct_ops", "ext"})
_TYPED: Final = frozenset(
    {
        ArgKind.BTF_POINTER,
        ArgKind.BTF_POINTER_OR_NULL,
        ArgKind.PERCPU_BTF_POINTER,
        ReturnKind.BTF_POINTER,
        ReturnKind.BTF_POINTER_OR_NULL,
        ReturnKind.BTF_POINTER_TRUSTED,
        ReturnKind.MEM_OR_BTF_POINTER,
        ReturnKind.MEM_OR_BTF_POINTER_OR_NULL,
    }
)
_BY_NAME: Final = {
    "dynptr": "dynptr",
    "spin_lock": "spin-lock",
    "spin_unlock": "spin-lock",
    "timer": "timer",
    "kptr": "kptr",
    "bpf_iter_": "iterator",
    "bpf_loop": "callback",
    "for_each_map_elem": "callback",
    "find_vma": "callback",
    "ringbuf_drain": "callback",
}
"""Parts of the names of helpers and kernel functions that stand for a feature."""

_IN_MAPS: Final = {
    "bpf_spin_lock": "spin-lock",
    "bpf_res_spin_lock": "spin-lock",
    "bpf_timer": "timer",
    "bpf_wq": "timer",
    "bpf_list_head": "kptr",
    "bpf_rb_root": "kptr",
    "bpf_refcount": "kptr",
    "bpf_dynptr": "dynptr",
}
"""Structures in the values of maps that stand for a feature."""

_ARENA: Final = 33
_MAX_TYPES: Final = 256


def btf_need(program: Program) -> str:
    """For what a program needs pointers that are typed by the kernel's BTF, in words; empty where it does not."""
    if program.program_type in _TYPED_CONTEXTS:
        return f"the context of {program.program_type} programs"
    for instruction in program.code:
        match instruction:
            case CallKfunc():
                return "a call of a kernel function"
            case LoadImmediate64(pseudo=Pseudo.BTF_ID):
                return "a kernel variable"
            case Call(helper=number):
                helper = platform(program.platform).helper(number, program.program_type)
                if helper is not None and _typed(helper):
                    return helper.name
            case _:
                pass
    return ""


def _typed(helper: HelperPrototype) -> bool:
    return helper.returns in _TYPED or any(each.kind in _TYPED for each in helper.args)


def uses(program: Program, btf: Btf | None = None) -> tuple[str, ...]:
    """The features a program uses, sorted: ``btf``, ``kfunc``, ``spin-lock``, ``callback``, ``subprogram``, ...

    ``btf`` is the type information of its object, for what lies in the values of maps.
    Raises :class:`~prevail_py.objects.errors.ObjectError` where that makes no sense.
    """
    found = set(_of_code(program))
    if btf_need(program):
        found.add("btf")
    for spec in program.maps:
        if spec.type == _ARENA:
            found.add("arena")
        if btf is not None and spec.value_btf:
            found |= _of_type(btf, spec.value_btf)
    return tuple(sorted(found))


def _of_code(program: Program) -> Iterator[str]:
    if program.target_btf:
        yield "co-re"
    for pc, instruction in enumerate(program.code):
        match instruction:
            case CallKfunc():
                yield "kfunc"
                yield from _of_name(program.symbols.get(pc, ""))
            case Call(helper=number):
                yield from _of_name(platform(program.platform).helper_name(number) or "")
            case CallLocal():
                yield "subprogram"
            case LoadPacket():
                yield "legacy-load"
            case MayGoto():
                yield "may-goto"
            case _:
                pass
    for reason in program.unsupported:
        if reason.startswith("kfunc "):
            yield "kfunc"
            yield from _of_name(reason)
        elif reason.startswith("co-re"):
            yield "co-re"


def _of_name(name: str) -> Iterator[str]:
    return (feature for part, feature in _BY_NAME.items() if part in name)


def _of_type(btf: Btf, root: int) -> set[str]:
    """The features that structures inside a type stand for; pointers with a tag ``kptr`` count, others end the walk."""
    found: set[str] = set()
    pending: list[int] = [root]
    seen: set[int] = set()
    while pending and len(seen) < _MAX_TYPES:
        current = btf.resolve(pending.pop())
        if current.id in seen:
            continue
        seen.add(current.id)
        if current.name in _IN_MAPS:
            found.add(_IN_MAPS[current.name])
        match current.kind:
            case Kind.STRUCT | Kind.UNION:
                pending += [member.type for member in current.members]
            case Kind.ARRAY | Kind.VAR:
                pending.append(current.type)
            case Kind.PTR if btf.type(current.type).kind is Kind.TYPE_TAG and "kptr" in btf.type(current.type).name:
                found.add("kptr")
            case _:
                pass
    return found
