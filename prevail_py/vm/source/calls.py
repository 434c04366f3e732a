"""The text of calls, and of wide loads: what they load is mostly an argument of a helper.

Looking up a key that lies in the own frame, in a map that is known, is done in place.  A helper that calls functions of
the program (:mod:`prevail_py.vm.helpers.callbacks`) gets their generated code.
"""

from __future__ import annotations

from prevail_py.isa.instructions import LoadImmediate64, Pseudo, Register
from prevail_py.platforms.model import LookupResult
from prevail_py.vm.memory import FRAME_SIZE
from prevail_py.vm.source.access import unwritten
from prevail_py.vm.source.analysis import May, calls_back
from prevail_py.vm.source.writer import CALLBACKS, Site, Writer, function_name, indent

__all__ = ["helper", "local", "wide"]


def helper(w: Writer, at: Site, number: int) -> list[str]:
    """Call a helper."""
    prototype = w.prototype(number)
    ended = ["if result is None:", "    return None"]
    if prototype is not None and calls_back(prototype):
        iterate = f"result = iterate(m, {number}, {w.at(at)}, {CALLBACKS})"
        return [iterate, *ended, f"{w.result}, left = result", *w.clobber()]
    call = [f"result = helper(m, {number}, {w.at(at)})", *ended, f"{w.result} = result"]
    fast = _look_up(w, at) if prototype is not None and prototype.name == "bpf_map_lookup_elem" else None
    if fast is None:
        return [*call, *w.clobber()]
    guards, lines = fast
    return [f"if {' or '.join(guards)}:", *indent(call), "else:", *indent(lines), *w.clobber()]


def _look_up(w: Writer, at: Site) -> tuple[list[str], list[str]] | None:
    """Guards and lines of a look-up in place; None where it cannot be."""
    map, key = at.state.registers[1:3]
    if w.code.program_type is None or map.map is None or map.may != May.POINTER:
        return None
    if key.may != May.STACK or key.offset is None:
        return None
    spec = w.code.program.maps[map.map]
    map_type = w.platform.map_type(spec.type)
    inside = 0 <= key.offset <= FRAME_SIZE - spec.key_size
    if map_type is None or map_type.lookup is not LookupResult.VALUE or not inside:
        return None
    if not w.platform.map_accepts(spec.type, "bpf_map_lookup_elem"):
        return None
    index = map.map
    find = w.use(f"find{index}")
    lines = [
        f"slot = {find}(bytes({w.use('frame1')}[{key.offset}:{key.offset + spec.key_size}]))",
        f"p0 = None if slot is None else values{index}.get(slot) or value(m, frame, {index}, slot)",
        "r0 = 0 if p0 is None else p0.base",
    ]
    return [f"{find} is None", *unwritten(w, at.state, key.offset, spec.key_size)], lines


def local(w: Writer, at: Site, callee: int) -> list[str]:
    """Call a subprogram."""
    arguments = [f"r{n}" for n in range(1, 6)] + [w.pointer(Register(n)) for n in range(1, 6)]
    saved = ", ".join(w.pointer(Register(n)) for n in range(6, 10))
    return [
        "if len(m.calls) == MAX_FRAMES:",
        *indent(w.reference(at)),
        f"enter(m, {at.pc})",
        f"result = {function_name(callee)}(m, left - {at.steps}, {', '.join(arguments)})",
        "if result is None:",
        f"    unwound(m, frame, (r6, r7, r8, r9), ({saved}))",
        "    return None",
        f"{w.result}, left = result",
        *w.clobber(),
    ]


def wide(w: Writer, at: Site, instruction: LoadImmediate64) -> list[str]:
    """``dst = imm64``, or a pointer to a map, to a map's first value, or to a function."""
    dst, index = instruction.dst, instruction.low
    if dst == Register.R10 or instruction.is_assertion:
        return w.reference(at)
    if instruction.pseudo is Pseudo.IMMEDIATE:
        return [f"r{dst} = {instruction.value}", *w.set_provenance(at.state, dst, "None")]
    if not 0 <= index < len(w.code.program.maps):
        return w.reference(at)
    if instruction.pseudo is Pseudo.MAP_INDEX:
        return [f"p{dst} = m.map_region(frame.maps[{index}])", f"r{dst} = p{dst}.base"]
    if instruction.pseudo is Pseudo.MAP_INDEX_VALUE:
        value = w.use(f"value{index}")
        fast = [f"p{dst} = {value}", f"r{dst} = {value}.base + {instruction.high & 0xFFFFFFFF}"]
        slow = [*w.reference(at), f"{value} = p{dst}"]
        return [f"if {value} is None:", *indent(slow), "else:", *indent(fast)]
    return w.reference(at)
