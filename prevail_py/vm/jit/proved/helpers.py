"""The IR of helper calls: those that native code does itself, and the way to those in Python."""

from __future__ import annotations

import errno
from typing import Final

from prevail_py.vm.jit.proved.emission import Emission
from prevail_py.vm.jit.proved.layout import ASK, MORE_RANDOM, READ_CLOCK, Field, MapField, Status, map_field
from prevail_py.vm.jit.proved.memory import place
from prevail_py.vm.jit.proved.model import Shadow
from prevail_py.vm.jit.proved.text import Word, word
from prevail_py.vm.maps.model import UpdateFlag

__all__ = ["CHECKSUM", "call"]

_NANOSECONDS_PER_JIFFY: Final = 4_000_000

CHECKSUM: Final = """
define internal i64 @sum(ptr %p, i64 %size, i64 %seed) nounwind {
entry:
  %whole = and i64 %size, -4
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %j, %body ]
  %s = phi i64 [ %seed, %entry ], [ %t, %body ]
  %done = icmp uge i64 %i, %whole
  br i1 %done, label %rest, label %body
body:
  %q = getelementptr i8, ptr %p, i64 %i
  %w = load i32, ptr %q, align 1
  %x = zext i32 %w to i64
  %t = add i64 %s, %x
  %j = add i64 %i, 4
  br label %head
rest:
  %k = phi i64 [ %whole, %head ], [ %k1, %more ]
  %u = phi i64 [ %s, %head ], [ %u1, %more ]
  %end = icmp uge i64 %k, %size
  br i1 %end, label %out, label %more
more:
  %r = getelementptr i8, ptr %p, i64 %k
  %b = load i8, ptr %r, align 1
  %c = zext i8 %b to i64
  %d = sub i64 %k, %whole
  %e = shl i64 %d, 3
  %f = shl i64 %c, %e
  %u1 = add i64 %u, %f
  %k1 = add i64 %k, 1
  br label %rest
out:
  %g = call i64 @fold32(i64 %u)
  ret i64 %g
}

define internal i64 @fold32(i64 %a) alwaysinline nounwind {
  %l = and i64 %a, 4294967295
  %h = lshr i64 %a, 32
  %s = add i64 %l, %h
  %l1 = and i64 %s, 4294967295
  %h1 = lshr i64 %s, 32
  %t = add i64 %l1, %h1
  ret i64 %t
}

define internal i64 @csum_diff(ptr %from, i64 %from_size, ptr %to, i64 %to_size, i64 %seed) nounwind {
entry:
  %s = and i64 %seed, 4294967295
  %a = call i64 @sum(ptr %to, i64 %to_size, i64 %s)
  %none = icmp eq i64 %from_size, 0
  br i1 %none, label %out, label %less
less:
  %b = call i64 @sum(ptr %from, i64 %from_size, i64 0)
  %c = xor i64 %b, 4294967295
  %d = add i64 %a, %c
  %e = call i64 @fold32(i64 %d)
  br label %out
out:
  %f = phi i64 [ %a, %entry ], [ %e, %less ]
  %l = and i64 %f, 65535
  %h = lshr i64 %f, 16
  %g = add i64 %l, %h
  %l1 = and i64 %g, 65535
  %h1 = lshr i64 %g, 16
  %g1 = add i64 %l1, %h1
  %l2 = and i64 %g1, 65535
  %h2 = lshr i64 %g1, 16
  %g2 = add i64 %l2, %h2
  ret i64 %g2
}
"""
"""``bpf_csum_diff`` (:func:`prevail_py.vm.helpers.checksum.csum_diff`): sums of at most 2**27 words do not overflow."""


def call(f: Emission, pc: int) -> None:
    """Call a helper; R1 to R5 cannot be used after it."""
    if pc in f.plan.called:
        _call_python(f, pc)
        return
    name = f.plan.prototype(pc).name
    match name:
        case "bpf_map_lookup_elem":
            _look_up(f, pc)
        case "bpf_map_update_elem":
            _update(f, pc)
        case "bpf_map_delete_elem":
            index = f.plan.native[pc]
            assert index is not None
            key, _ = place(f, pc, 2, 0, f.plan.code.program.maps[index].key_size)
            result = f.b.value(
                f"call i64 @remove{index}(ptr {f.host_field(map_field(index, MapField.TABLE))}, ptr {key})"
            )
            _returns(f, Word(result, 64))
        case "bpf_get_prandom_u32":
            _random(f, pc)
        case "bpf_get_smp_processor_id":
            _returns(f, f.field(Field.CPU))
        case "bpf_csum_diff":
            _checksum(f, pc)
        case "bpf_jiffies64":
            _returns(f, f.b.udiv(_clock(f), word(_NANOSECONDS_PER_JIFFY)))
        case _:
            _returns(f, _clock(f))


def _returns(f: Emission, result: Word) -> None:
    f.clobber_arguments()
    f.put(0, result)


def _clock(f: Emission) -> Word:
    """The next reading: one tick later, or what Python says where the world has a clock of its own."""
    b, tick = f.b, f.field(Field.TICK)
    ask, count, further = (b.name()[1:] for _ in range(3))
    b.line(f"br i1 {b.icmp_unsigned('==', tick, word(ASK)).text}, label %{ask}, label %{count}")
    b.label(ask)
    _ask_python(f, READ_CLOCK)
    b.line(f"br label %{further}")
    b.label(count)
    f.set_field(Field.NOW, b.add(f.field(Field.NOW), tick))
    b.line(f"br label %{further}")
    b.label(further)
    return f.field(Field.NOW)


def _ask_python(f: Emission, what: int) -> None:
    helper = f.host_field(Field.HELPER)
    f.b.value(f"call i64 {helper}(ptr %run, ptr null, ptr null, ptr null, i64 {what}, {', '.join(['i64 0'] * 5)})")


def _random(f: Emission, pc: int) -> None:
    """The next of the numbers that Python drew; it draws more where they are used up."""
    b = f.b
    used, drawn = f.field(Field.RANDOM_NEXT), f.field(Field.RANDOM_COUNT)
    more, ready = b.name()[1:], b.name()[1:]
    before = b.name()[1:]
    b.line(f"br label %{before}")
    b.label(before)
    b.line(f"br i1 {b.icmp_unsigned('<', used, drawn).text}, label %{ready}, label %{more}")
    b.label(more)
    _ask_python(f, MORE_RANDOM)
    b.line(f"br label %{ready}")
    b.label(ready)
    place = Word(b.value(f"phi i64 [ {used.text}, %{before} ], [ 0, %{more} ]"), 64)
    numbers = f.host_field(Field.RANDOM)
    pointer = b.value(f"getelementptr i32, ptr {numbers}, i64 {place.text}")
    number = Word(b.value(f"load i32, ptr {pointer}, align 4"), 32)
    f.set_field(Field.RANDOM_NEXT, b.add(place, word(1)))
    _returns(f, b.zext(number, 64))


def _checksum(f: Emission, pc: int) -> None:
    pointers = []
    for register in (1, 3):
        # Null, with a size of 0, has no region: then nothing is read.
        if (pc, register) in f.plan.facts.pointers:
            pointers.append(place(f, pc, register, 0, None)[0])
        else:
            pointers.append("null")
    sizes = f.word(2).text, f.word(4).text
    arguments = f"ptr {pointers[0]}, i64 {sizes[0]}, ptr {pointers[1]}, i64 {sizes[1]}, i64 {f.word(5).text}"
    _returns(f, Word(f.b.value(f"call i64 @csum_diff({arguments})"), 64))


# Maps ---------------------------------------------------------------------------------------------------------------


def _number(f: Emission, index: int, slot: Word) -> Word:
    """The number of a value: that of its slot on this CPU."""
    cpus = f.layout.cpus[index]
    return slot if cpus == 1 else f.b.add(f.b.mul(slot, word(cpus)), f.field(Field.CPU))


def _value(f: Emission, index: int, slot: Word) -> tuple[Word, str]:
    """The address of a value as the program sees it, and in this process."""
    b, number = f.b, _number(f, index, slot)
    seen = b.add(word(f.layout.first[index]), b.shl(number, word(32)))
    values = f.host_field(map_field(index, MapField.VALUES))
    offset = b.mul(number, word(f.layout.stride[index]))
    return seen, b.value(f"getelementptr i8, ptr {values}, i64 {offset.text}")


def _array_slot(f: Emission, pc: int, index: int) -> tuple[Word, Word]:
    """The index that the key is, and whether the array has it."""
    b = f.b
    key, scope = place(f, pc, 2, 0, 4)
    slot = b.zext(Word(b.value(f"load i32, ptr {key}, align 1{scope}"), 32), 64)
    return slot, b.icmp_unsigned("<", slot, word(f.plan.code.program.maps[index].max_entries))


def _look_up(f: Emission, pc: int) -> None:
    b, index = f.b, f.plan.native[pc]
    assert index is not None
    spec = f.plan.code.program.maps[index]
    if f.is_array(index):
        slot, exists = _array_slot(f, pc, index)
    else:
        key, _ = place(f, pc, 2, 0, spec.key_size)
        table = f.host_field(map_field(index, MapField.TABLE))
        slot = Word(b.value(f"call i64 @find{index}(ptr {table}, ptr {key})"), 64)
        exists = b.icmp_signed(">=", slot, word(0))
    seen, host = _value(f, index, slot)
    f.clobber_arguments()
    f.put(0, b.select(exists, seen, word(0)), Shadow(host, seen, word(spec.value_size)))


def _update(f: Emission, pc: int) -> None:
    b, index = f.b, f.plan.native[pc]
    assert index is not None
    spec, flags = f.plan.code.program.maps[index], f.word(4)
    if not f.is_array(index):
        key, _ = place(f, pc, 2, 0, spec.key_size)
        value, _ = place(f, pc, 3, 0, spec.value_size)
        table, values = (f.host_field(map_field(index, field)) for field in (MapField.TABLE, MapField.VALUES))
        cpu = f.field(Field.CPU) if f.layout.cpus[index] > 1 else word(0)
        result = b.value(
            f"call i64 @update{index}(ptr {table}, ptr {values}, ptr {key}, ptr {value}, i64 {flags.text}, "
            f"i64 {cpu.text})"
        )
        _returns(f, Word(result, 64))
        return
    slot, exists = _array_slot(f, pc, index)
    value, _ = place(f, pc, 3, 0, spec.value_size)
    # The order of ArrayMap._insert_error: the last select decides.
    without_lock = b.and_(flags, word(~int(UpdateFlag.LOCK)))
    error = word(0)
    for condition, number in (
        (_has(f, flags, UpdateFlag.LOCK), errno.EINVAL),
        (_has(f, flags, UpdateFlag.NOEXIST), errno.EEXIST),
        (b.xor(exists, Word("true", 1)), errno.E2BIG),
        (b.icmp_unsigned(">", without_lock, word(UpdateFlag.EXIST)), errno.EINVAL),
    ):
        error = b.select(condition, word(-number), error)
    write, further = b.name()[1:], b.name()[1:]
    b.line(f"br i1 {b.icmp_unsigned('==', error, word(0)).text}, label %{write}, label %{further}")
    b.label(write)
    _, host = _value(f, index, slot)
    b.line(f"call void @llvm.memmove.p0.p0.i64(ptr {host}, ptr {value}, i64 {spec.value_size}, i1 false)")
    b.line(f"br label %{further}")
    b.label(further)
    _returns(f, error)


def _has(f: Emission, flags: Word, flag: UpdateFlag) -> Word:
    return f.b.icmp_unsigned("!=", f.b.and_(flags, word(flag)), word(0))


# Helpers in Python --------------------------------------------------------------------------------------------------


def _call_python(f: Emission, pc: int) -> None:
    b = f.b
    count = len(f.plan.prototype(pc).args)
    words = [f.word(number) if number <= count else word(0) for number in range(1, 6)]
    helper = f.host_field(Field.HELPER)
    # What the helper may look at and change is handed over, so that LLVM does not think it is out of its reach.
    memory = "ptr %run, ptr %packet, ptr %context, ptr %stack"
    given = ", ".join(f"i64 {each.text}" for each in words)
    status = Word(b.value(f"call i64 {helper}({memory}, i64 {pc}, {given})"), 64)
    out, further = b.name()[1:], b.name()[1:]
    b.line(f"br i1 {b.icmp_unsigned('==', status, word(0)).text}, label %{further}, label %{out}")
    b.label(out)
    f.stop(Status.STOPPED, pc)
    b.label(further)
    f.clobber_arguments()
    result = f.field(Field.RESULT)
    f.put(0, result, Shadow(f.host_field(Field.HOST), f.field(Field.BASE), word(1 << 30)))
