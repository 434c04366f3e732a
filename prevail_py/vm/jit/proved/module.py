"""The module of a proved program: its functions, those of its maps, and one that runs it on many packets."""

from __future__ import annotations

from typing import Final

from prevail_py.vm.jit.proved.calls import loop_text
from prevail_py.vm.jit.proved.emission import Emission, scopes
from prevail_py.vm.jit.proved.helpers import CHECKSUM
from prevail_py.vm.jit.proved.layout import Field, Status
from prevail_py.vm.jit.proved.lower import function_text
from prevail_py.vm.jit.proved.model import Layout, Variant
from prevail_py.vm.jit.proved.plan import Plan, single_values
from prevail_py.vm.jit.proved.tables import table_functions
from prevail_py.vm.maps import Map, has_values
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.memory import map_value_windows

__all__ = ["BATCH", "RUN", "layout_of", "module_text"]

RUN: Final = "run"
"""``run(block, packet, context)``: one run, to a :class:`~prevail_py.vm.jit.proved.layout.Status`."""

BATCH: Final = "batch"
"""``batch(block, data, offsets, lengths, first, count, verdicts, context, size, template, fuel, start)``

gives the first index that did not return, or the count.  ``start`` is the address of each packet as the program sees
it, and ``data`` the buffer less that, both of which LLVM is not to know."""

_DECLARATIONS: Final = """
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""

_BATCH: Final = f"""
define i64 @batch(ptr noalias %run, ptr %data, ptr noalias %offsets, ptr noalias %lengths, i64 %first, i64 %count,
                  ptr noalias %verdicts, ptr noalias %context, i64 %size, ptr noalias %template, i64 %fuel,
                  i64 %start) nounwind {{
entry:
  %pfuel = getelementptr i64, ptr %run, i64 {int(Field.FUEL)}
  %presult = getelementptr i64, ptr %run, i64 {int(Field.RESULT)}
  br label %head
head:
  %i = phi i64 [ %first, %entry ], [ %next, %returned ]
  %done = icmp uge i64 %i, %count
  br i1 %done, label %out, label %body
body:
  %o = getelementptr i64, ptr %offsets, i64 %i
  %offset = load i64, ptr %o, align 8
  %l = getelementptr i32, ptr %lengths, i64 %i
  %length32 = load i32, ptr %l, align 4
  %length = zext i32 %length32 to i64
  %packet = getelementptr i8, ptr %data, i64 %offset
  %end = add i64 %length, %start
  FIELDS
  store i64 %fuel, ptr %pfuel, align 8
  RESET
  %status = call i64 @main(ptr %run, ptr %packet, ptr %context, i64 %start, i64 %end, i64 %start)
  %ended = icmp eq i64 %status, {int(Status.RETURNED)}
  br i1 %ended, label %returned, label %stopped
returned:
  %result = load i64, ptr %presult, align 8
  %verdict = trunc i64 %result to i32
  %v = getelementptr i32, ptr %verdicts, i64 %i
  store i32 %verdict, ptr %v, align 4
  %next = add i64 %i, 1
  br label %head
stopped:
  store i64 %status, ptr %presult, align 8
  ret i64 %i
out:
  ret i64 %count
}}
"""

_FIELDS: Final = f"""%pdata = getelementptr i64, ptr %run, i64 {int(Field.DATA)}
  %pend = getelementptr i64, ptr %run, i64 {int(Field.DATA_END)}
  %pmeta = getelementptr i64, ptr %run, i64 {int(Field.DATA_META)}
  store i64 %start, ptr %pdata, align 8
  store i64 %start, ptr %pmeta, align 8
  store i64 %end, ptr %pend, align 8"""

_RUN: Final = f"""
define i64 @run(ptr noalias %run, ptr noalias %packet, ptr noalias %context) nounwind {{
  %pdata = getelementptr i64, ptr %run, i64 {int(Field.DATA)}
  %pend = getelementptr i64, ptr %run, i64 {int(Field.DATA_END)}
  %pmeta = getelementptr i64, ptr %run, i64 {int(Field.DATA_META)}
  %data = load i64, ptr %pdata, align 8
  %end = load i64, ptr %pend, align 8
  %meta = load i64, ptr %pmeta, align 8
  %status = call i64 @main(ptr %run, ptr %packet, ptr %context, i64 %data, i64 %end, i64 %meta)
  ret i64 %status
}}
"""

_LARGEST_WITHIN: Final = 64
"""Programs of so many slots become a part of the loop over packets.  Larger ones need all registers for themselves."""

_RESET: Final = "call void @llvm.memcpy.p0.p0.i64(ptr %context, ptr %template, i64 %size, i1 false)"


def layout_of(maps: tuple[Map, ...]) -> Layout:
    """What is known of these maps when they are the first ones of a machine."""
    storages = [map.storage if isinstance(map, ArrayMap | HashMap) else None for map in maps]
    return Layout(
        tuple(map_value_windows([map.slots * map.cpus if has_values(map) else 0 for map in maps])),
        tuple(0 if storage is None else storage.stride for storage in storages),
        tuple(1 if storage is None else storage.cpus for storage in storages),
        tuple(map.spec.value_size for map in maps),
        single_values(maps),
        frozenset(index for index, map in enumerate(maps) if isinstance(map, ArrayMap)),
    )


def module_text(plan: Plan, maps: tuple[Map, ...], variant: Variant, *, batch: bool) -> str:
    """The IR of a program that runs with these maps, or with others that are like them.

    It has one function for others: :data:`BATCH` or :data:`RUN`.
    """
    layout = layout_of(maps)
    functions = [Emission(plan, layout, variant, entry) for entry in plan.functions]
    apart = len(plan.code.instructions) > _LARGEST_WITHIN
    parts = [function_text(function, apart) for function in functions]
    parts += [loop_text(plan, variant, entry) for entry in sorted(set(plan.loops.values()))]
    bswaps = {width for function in functions for width in function.b.bswaps}
    names = {plan.prototype(pc).name for pc in plan.native}
    if "bpf_csum_diff" in names:
        parts.append(CHECKSUM)
    for index in sorted({index for index in plan.native.values() if index is not None}):
        map = maps[index]
        if isinstance(map, HashMap):
            parts.append(table_functions(map, index, concurrent=variant.concurrent))
    if batch:
        batch_text = _BATCH.replace("RESET", _RESET if plan.stores_context else "")
        # The main function is told where the packet is; others look into the block.
        parts.append(batch_text.replace("FIELDS", _FIELDS if len(functions) > 1 else ""))
    else:
        parts.append(_RUN)
    parts.append(_DECLARATIONS)
    parts.extend(f"declare i{width} @llvm.bswap.i{width}(i{width})" for width in sorted(bswaps))
    return "\n".join([*parts, *scopes(len(maps)), ""])
