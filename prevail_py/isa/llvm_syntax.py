"""The syntax of LLVM and of the kernel's verifier log, one statement at a time: ``r0 = *(u32 *)(r1 + 4)``.

It is the inverse of :mod:`prevail_py.isa.disassembler`, and takes the variants that LLVM and the kernel print too:
``w`` registers in loads and stores, ``r`` registers in 32-bit atomics, ``goto pc+3``, ``atomic64_xchg(...)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from prevail_py.isa.instructions import (
    AddressSpaceCast,
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    ByteOrder,
    Call,
    CallKfunc,
    CallLocal,
    CallRegister,
    EndianSwap,
    Exit,
    Jump,
    Load,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    MayGoto,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
    Register,
    Store,
    StoreRelease,
)
from prevail_py.isa.statements import (
    DIGITS,
    NUMBER,
    Statement,
    StatementError,
    immediate,
    number,
    offset_or_label,
    register,
    signed_word,
    wide,
)
from prevail_py.words import Comparison

__all__ = ["parse"]

_Match: TypeAlias = re.Match[str]


def parse(text: str) -> Statement | None:
    """The statement that ``text`` is in this syntax; None where it has no shape that this syntax knows.

    Raises :class:`StatementError` where the shape is known and an operand is wrong.
    """
    for pattern, build in _RULES:
        match = pattern.fullmatch(text)
        if match is not None:
            return build(match)
    return None


def _register(match: _Match, group: str, width: int = 64, also: int | None = None) -> Register:
    """The register of a group, whose letter must say ``width`` bits (or ``also``, where LLVM and the kernel differ)."""
    name = match[group]
    if (64 if name[0] == "r" else 32) not in (width, also):
        raise StatementError(f"{name} where the operation has {width} bits")
    return register(name[1:])


def _width(match: _Match, group: str = "dst") -> int:
    return 64 if match[group][0] == "r" else 32


def _operand(match: _Match, width: int, also: int | None = None) -> Operand:
    return _register(match, "src", width, also) if match["src"][0] in "rw" else immediate(match["src"])


def _narrow(size: int) -> int | None:
    """LLVM names the low half of a register in accesses of up to 4 bytes."""
    return 32 if size < 8 else None


def _offset(match: _Match) -> int:
    return number(match["offset"]) if match["offset"] else 0


def _alu(match: _Match) -> Statement:
    width = _width(match)
    return Statement(Alu(AluOp(match["op"]), width, _register(match, "dst", width), _operand(match, width)))


def _sign_extension(match: _Match) -> Statement:
    width = _width(match)
    bits = int(match["bits"])
    if bits >= width:
        raise StatementError(f"no sign extension from {bits} to {width} bits")
    return Statement(MoveSignExtend(width, _register(match, "dst", width), _register(match, "src", width), bits))


def _same(match: _Match) -> Register:
    """The register of an operation that replaces its operand: written twice."""
    if match["dst"] != match["src"]:
        raise StatementError(f"{match['dst']} and {match['src']} must be the same register")
    return register(match["dst"][1:])


def _negate(match: _Match) -> Statement:
    return Statement(Negate(_width(match), _same(match)))


def _swap(match: _Match) -> Statement:
    _register(match, "dst")
    return Statement(EndianSwap(ByteOrder(match["order"]), int(match["bits"]), _same(match)))


def _cast(match: _Match) -> Statement:
    to_space, from_space = number(match["to"]), number(match["from"])
    if not (0 <= to_space <= 0xFFFF and 0 <= from_space <= 0xFFFF):
        raise StatementError("an address space has 16 bits")
    return Statement(AddressSpaceCast(_register(match, "dst"), _register(match, "src"), to_space, from_space))


def _wide(match: _Match) -> Statement:
    return Statement(wide(_register(match, "dst"), match["value"]))


_TWO_PART: Final = {"fd": Pseudo.MAP_VALUE, "idx": Pseudo.MAP_INDEX_VALUE}
_ONE_PART: Final = {"fd": Pseudo.MAP_FD, "idx": Pseudo.MAP_INDEX}


def _map(match: _Match) -> Statement:
    dst, low = _register(match, "dst"), signed_word(match["map"], 32)
    if match["offset"] is None:
        return Statement(LoadImmediate64(dst, low, 0, _ONE_PART[match["kind"]]))
    return Statement(LoadImmediate64(dst, low, signed_word(match["offset"], 32), _TWO_PART[match["kind"]]))


def _btf(match: _Match) -> Statement:
    module = signed_word(match["module"], 32) if match["module"] else 0
    return Statement(LoadImmediate64(_register(match, "dst"), signed_word(match["id"], 32), module, Pseudo.BTF_ID))


def _subprogram(match: _Match) -> Statement:
    low = signed_word(match["offset"], 32)
    return Statement(LoadImmediate64(_register(match, "dst"), low, 0, Pseudo.FUNCTION))


def _load(match: _Match) -> Statement:
    size, signed = int(match["bits"]) // 8, match["sign"] == "s"
    if signed and size == 8:
        raise StatementError("a load of 8 bytes has no sign to extend")
    dst = _register(match, "dst", 64, None if signed else _narrow(size))
    return Statement(Load(dst, _register(match, "base"), _offset(match), size, signed))


def _store(match: _Match) -> Statement:
    size = int(match["bits"]) // 8
    return Statement(Store(_register(match, "base"), _offset(match), size, _operand(match, 64, _narrow(size))))


def _load_acquire(match: _Match) -> Statement:
    size = int(match["bits"]) // 8
    dst = _register(match, "dst", 64, _narrow(size))
    return Statement(LoadAcquire(dst, _register(match, "base"), _offset(match), size))


def _store_release(match: _Match) -> Statement:
    size = int(match["bits"]) // 8
    src = _register(match, "src", 64, _narrow(size))
    return Statement(StoreRelease(_register(match, "base"), _offset(match), size, src))


_UPDATES: Final = {"+": AtomicOp.ADD, "|": AtomicOp.OR, "&": AtomicOp.AND, "^": AtomicOp.XOR}


def _atomic(match: _Match, op: AtomicOp, fetch: bool, bits: int) -> Statement:
    if bits < 32:
        raise StatementError(f"no atomic operation on {bits // 8} bytes")
    src = _register(match, "src", bits, 64)
    for group, expected in (("old", register("0") if op is AtomicOp.CMPXCHG else src), ("r0", register("0"))):
        if match.groupdict().get(group) and _register(match, group, bits, 64) != expected:
            raise StatementError(f"{match[group]} where only register {expected.value} can stand")
    return Statement(Atomic(op, fetch, bits // 8, _register(match, "base"), _offset(match), src))


def _atomic_update(match: _Match) -> Statement:
    return _atomic(match, _UPDATES[match["op"]], False, int(match["bits"]))


def _atomic_fetch(match: _Match) -> Statement:
    return _atomic(match, AtomicOp(match["op"]), True, int(match["bits"]))


def _atomic_llvm(match: _Match) -> Statement:
    bits = {"_64": 64, "32_32": 32}[match["variant"]]
    return _atomic(match, AtomicOp(match["op"]), True, bits)


def _packet(match: _Match, offset: int, index: Register | None) -> Statement:
    size = int(match["bits"]) // 8
    if size == 8:
        raise StatementError("no packet load of 8 bytes")
    if match["dst"] != "r0":
        raise StatementError("packet loads go to r0")
    return Statement(LoadPacket(size, offset, index))


def _packet_absolute(match: _Match) -> Statement:
    return _packet(match, signed_word(match["constant"], 32), None)


def _packet_indirect(match: _Match) -> Statement:
    return _packet(match, signed_word(match["offset"] or "0", 32), _register(match, "index"))


def _jump(match: _Match) -> Statement:
    offset, label = offset_or_label(match["target"])
    return Statement(MayGoto(offset) if match["kind"] == "may_goto" else Jump(offset, match["kind"] == "gotol"), label)


def _branch(match: _Match) -> Statement:
    width = _width(match)
    offset, label = offset_or_label(match["target"])
    comparison = Comparison(match["op"])
    return Statement(Branch(comparison, width, _register(match, "dst", width), _operand(match, width), offset), label)


def _call(match: _Match) -> Statement:
    return Statement(Call(signed_word(match["helper"], 32)))


def _call_local(match: _Match) -> Statement:
    offset, label = offset_or_label(match["target"])
    return Statement(CallLocal(offset), label)


def _call_kfunc(match: _Match) -> Statement:
    module = signed_word(match["module"], 16) if match["module"] else 0
    return Statement(CallKfunc(signed_word(match["id"], 32), module))


def _call_register(match: _Match) -> Statement:
    return Statement(CallRegister(_register(match, "register")))


def _exit(_: _Match) -> Statement:
    return Statement(Exit())


def _choice(*texts: str) -> str:
    return "|".join(re.escape(text) for text in texts)


_REGISTER: Final = r"[rw][0-9]+"
_PLACE: Final = rf"(?P<base>{_REGISTER})\s*(?P<offset>[+-]\s*{DIGITS})?"
_PIECES: Final = {
    "dst": rf"(?P<dst>{_REGISTER})",
    "src": rf"(?P<src>{_REGISTER})",
    "old": rf"(?P<old>{_REGISTER})",
    "r0": rf"(?P<r0>{_REGISTER})",
    "operand": rf"(?P<src>{_REGISTER}|{NUMBER})",
    "place": _PLACE,
    "address": rf"\(\s*{_PLACE}\s*\)",
    "type": r"\(\s*u(?P<bits>8|16|32|64)\s*\*\s*\)",
    "signed_type": r"\(\s*(?P<sign>[us])(?P<bits>8|16|32|64)\s*\*\s*\)",
    "alu": rf"(?P<op>{_choice(*(op.value for op in AluOp))})",
    "comparison": rf"(?P<op>{_choice(*(c.value for c in Comparison if c is not Comparison.NOT_SET))})",
    "order": rf"(?P<order>{_choice(*(order.value for order in ByteOrder))})",
    "target": r"(?P<target>(?:pc\s*)?[+-]\s*\w+|[^\s%+-]\S*)",
    "number": NUMBER,
}


def _rule(template: str, build: Callable[[_Match], Statement]) -> tuple[re.Pattern[str], Callable[[_Match], Statement]]:
    """A rule from a template.

    ``@x`` stands for the piece x of :data:`_PIECES`, a blank for optional white space, ``~`` for white space.
    """
    spaced = template.replace(" ", r"\s*").replace("~", r"\s+")
    return re.compile(re.sub(r"@(\w+)", lambda name: _PIECES[name[1]], spaced), re.ASCII), build


_RULES: Final = (
    _rule(r"@dst @alu @operand", _alu),
    _rule(r"@dst = \( s(?P<bits>8|16|32) \) @src", _sign_extension),
    _rule(r"@dst = - @src", _negate),
    _rule(r"@dst = @order(?P<bits>16|32|64)~@src", _swap),
    _rule(r"@dst = addr_space_cast \( @src , (?P<to>@number) , (?P<from>@number) \)", _cast),
    _rule(r"@dst = (?P<value>@number)~ll", _wide),
    _rule(r"@dst = map \[ (?P<kind>fd|idx) : (?P<map>@number) \] (?:\[ 0 \] (?P<offset>@number))? (?:ll)?", _map),
    _rule(r"@dst = btf \[ id : (?P<id>@number) (?:, fd : (?P<module>@number))? \] (?:ll)?", _btf),
    _rule(r"@dst = subprog \[ (?P<offset>@number) \] (?:ll)?", _subprogram),
    _rule(r"@dst = \* @signed_type @address", _load),
    _rule(r"\* @type @address = @operand", _store),
    _rule(r"@dst = load_acquire \( @type @address \)", _load_acquire),
    _rule(r"store_release \( @type @address , @src \)", _store_release),
    _rule(r"lock~\* @type @address (?P<op>[+|&^])= @src", _atomic_update),
    _rule(r"@old = atomic(?:64)?_fetch_(?P<op>add|or|and|xor) \( @type @address , @src \)", _atomic_fetch),
    _rule(r"@old = (?P<op>xchg)(?P<variant>_64|32_32) \( @place , @src \)", _atomic_llvm),
    _rule(r"@old = atomic(?:64)?_(?P<op>xchg) \( @type @address , @src \)", _atomic_fetch),
    _rule(r"@old = (?P<op>cmpxchg)(?P<variant>_64|32_32) \( @place , @r0 , @src \)", _atomic_llvm),
    _rule(r"@old = atomic(?:64)?_(?P<op>cmpxchg) \( @type @address , @r0 , @src \)", _atomic_fetch),
    _rule(r"@dst = \* @type skb \[ (?P<constant>@number) \]", _packet_absolute),
    _rule(rf"@dst = \* @type skb \[ (?P<index>{_REGISTER}) (?P<offset>[+-] {DIGITS})? \]", _packet_indirect),
    _rule(r"(?P<kind>goto|gotol|may_goto)~@target", _jump),
    _rule(r"if~@dst @comparison @operand~goto~@target", _branch),
    _rule(r"call~(?P<helper>@number)", _call),
    _rule(r"call~local~@target", _call_local),
    _rule(r"call~(?P<target>pc [+-] \w+)", _call_local),
    _rule(r"call~kfunc~(?P<id>@number)(?:~module~(?P<module>@number))?", _call_kfunc),
    _rule(rf"callx~(?P<register>{_REGISTER})", _call_register),
    _rule(r"exit", _exit),
)
