"""Random programs, most of them safe, to look for holes in the verifier.

:func:`program` writes one by seed: a sequence of statements, each from a generator for one feature (arithmetic, stack,
packets, maps, calls, ...), which knows just enough of what it has written (which registers hold numbers, which bytes of
the stack are written) to be safe most of the time.  Bounds are put close to what is needed, and now and then one too
far: interesting is what the verifier calls SAFE, and whether it is (:mod:`prevail_py.research.soundness`).

:func:`write` writes one of any program type and :class:`Shape`, from any :class:`~prevail_py.research.choices.Choices`:
those of a seed, those of Hypothesis, or those of a tape with some of them changed.

>>> from prevail_py.research.choices import Seeded
>>> write(Seeded(1), Shape("sched_cls", size=4)).program_type
'sched_cls'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, TypeAlias

from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    Branch,
    CallLocal,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Jump,
    Load,
    LoadAcquire,
    LoadImmediate64,
    MoveSignExtend,
    Negate,
    Pseudo,
    Register,
    Store,
)
from prevail_py.isa.rewrite import rewrite
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.research.choices import Choices, Seeded
from prevail_py.research.generate import chains, functions, objects, statements
from prevail_py.research.generate.surface import PROGRAM_TYPES, Surface, surface
from prevail_py.research.generate.writer import CTX, FP, MAPS, PKT, R0, R1, R2, R4, R5, R8, Known, Menu, Writer
from prevail_py.words import Comparison

__all__ = [
    "FEATURES",
    "LOOP_FEATURES",
    "MAPS",
    "PROGRAM_TYPES",
    "SMALL",
    "Shape",
    "features_of",
    "program",
    "used_maps",
    "write",
]


_Statement: TypeAlias = Callable[[Writer], None]

_STATEMENTS: Final[dict[str, tuple[_Statement, int]]] = {
    "arithmetic": (statements.alu, 30),
    "unary": (statements.unary, 6),
    "wide constant": (statements.wide, 2),
    "branch": (statements.conditional, 12),
    "status code": (statements.status, 2),
    "stack store": (statements.store_stack, 8),
    "stack load": (statements.load_stack, 10),
    "variable stack offset": (statements.variable_stack, 5),
    "atomic on the stack": (statements.atomic_stack, 3),
    "spilled context": (statements.spill, 3),
    "packet": (statements.use_packet, 10),
    "variable packet offset": (statements.variable_packet, 5),
    "packet length": (statements.packet_length, 2),
    "packet metadata": (statements.metadata, 1),
    "moved packet": (statements.move_packet, 1),
    "map lookup": (statements.lookup, 4),
    "map update": (statements.update, 2),
    "global data": (statements.global_data, 3),
    "helper": (statements.helper, 3),
    "variable size": (statements.checksum, 2),
    "ring buffer": (statements.ring, 1),
    "call with numbers": (functions.call_numbers, 2),
    "call with memory": (functions.call_memory, 2),
}
"""What programs are made of, with how often each is chosen."""

FEATURES: Final = frozenset(_STATEMENTS)
LOOP_FEATURES: Final = frozenset(
    {"loop: up", "loop: up !=", "loop: down", "loop: down !=", "loop: while", "loop: packet", "loop: 32 bits",
     "loop: 64 bits", "loop: nested", "loop: step 1", "loop: step > 1"}
)  # fmt: skip
"""The names of all features that programs are counted by."""

_MENU: Final = Menu(tuple(_STATEMENTS), tuple(weight for _, weight in _STATEMENTS.values()))

_MORE: Final[dict[str, tuple[_Statement, int]]] = {
    "context load": (statements.load_context, 6),
    "context store": (statements.store_context, 2),
    "helper by prototype": (statements.by_prototype, 8),
    "chain": (chains.chain, 14),
    "test": (chains.test, 5),
    "values": (objects.values, 4),
    "record": (objects.record, 2),
    "socket": (objects.socket, 3),
    "memory for a helper": (objects.helper_memory, 4),
    "mixed kinds": (objects.mixed, 1),
    "chain of calls": (functions.call_chain, 3),
    "callback": (functions.call_back, 3),
}
"""Features that need more than the programs by number know of their type."""

_ALL: Final = {**_STATEMENTS, **_MORE}
_BRANCHES: Final = frozenset({"branch", "test"})
_CALLS: Final = frozenset({"call with numbers", "call with memory", "chain of calls", "callback"})


def _statements(w: Writer, count: int) -> None:
    w.depth += 1
    for _ in range(count):
        if not w.random.more():
            break
        name = w.random.choices(w.menu.names, w.menu.weights)[0]
        if (name in _BRANCHES and w.depth > 3) or (name in _CALLS and w.subprogram):
            name = "arithmetic"
        _statement(w, name)
    w.depth -= 1


def _statement(w: Writer, name: str) -> None:
    """A statement that leaves reserved registers alone: others are tried until one does."""
    for _ in range(20):
        start, targets, calls = len(w.code), len(w.targets), len(w.calls)
        known, features = w.known.copy(), w.features.copy()
        w.features[name] += 1
        _ALL[name][0](w)
        if not any(_written(instruction) in w.reserved for instruction in w.code[start:]):
            return
        del w.code[start:], w.targets[targets:], w.calls[calls:]
        w.known, w.features, name = known, features, "arithmetic"


def _written(instruction: Instruction | None) -> Register | None:
    match instruction:
        case Alu(dst=dst) | MoveSignExtend(dst=dst) | Negate(dst=dst) | EndianSwap(dst=dst):
            return dst
        case Load(dst=dst) | LoadAcquire(dst=dst) | LoadImmediate64(dst=dst):
            return dst
        case Atomic(fetch=True, src=src):
            return src
        case _:
            return None


def _write(seed: int, size: int, loops: bool) -> tuple[Program, Counter[str]]:
    random = Seeded(f"{seed}/{size}/{loops}")
    w = Writer(random, Known(set()), _MENU, _statements, careless=random.random() < 0.5)
    w.move(CTX, R1)
    for offset in range(-16, 0, 8):
        w.emit(Store(FP, offset, 8, Immediate(w.constant())))
        w.wrote(offset, 8)
    w.call(7)
    w.move(R8, R0)
    w.known.numbers.add(R8)
    if w.chance(0.8):
        statements.check_packet(w)
        for register in random.sample((R1, R2, R4, R5), 3):
            size_read = w.random.choice((1, 2, 4))
            w.emit(Load(register, PKT, random.randrange((w.known.packet or 4) - size_read + 1), size_read))
            w.known.numbers.add(register)
    _body(w, size, loops)
    if R0 not in w.known.numbers or w.chance(0.5):
        w.move(R0, random.randrange(5))
    w.emit(Exit())
    w.place(w.out)
    w.move(R0, 1)
    w.emit(Exit())
    return Program(f"random_{seed}", "xdp", "xdp", _linked(w, size), MAPS), w.features


def _body(w: Writer, size: int, loops: bool) -> None:
    """So many statements, with loops between them."""
    left = size
    while left > 0 and w.random.more():
        part = min(left, w.random.randrange(1, 8))
        w.statements(w, part)
        left -= part
        if loops and w.chance(0.5):
            functions.loop(w)


def _linked(w: Writer, size: int) -> tuple[Instruction | None, ...]:
    """The code with its subprograms, and with all jumps and calls leading where they should."""
    for position, offset in _link(w, size):
        load = w.code[position]
        w.code[position] = replace(load, low=offset) if isinstance(load, LoadImmediate64) else CallLocal(offset)
    for position, label in w.targets:
        jump = w.code[position]
        assert label.at is not None, "a label that is not placed"
        assert isinstance(jump, Branch | Jump)
        w.code[position] = replace(jump, offset=label.at - position - 1)
    return tuple(w.code)


def _link(w: Writer, size: int) -> list[tuple[int, int]]:
    """Write the subprograms that are called, behind the main program: (slot of a call, its offset) of each call.

    They are in the order in which a linker comes to them: what one calls is behind it.
    """
    starts: dict[str, int] = {}

    def write_called(calls: Sequence[tuple[int, str]]) -> None:
        for _, name in calls:
            if name not in starts:
                starts[name] = len(w.code)
                known = len(w.calls)
                functions.write_subprogram(w, name, w.random.randrange(1, max(size // 4, 2)))
                write_called(w.calls[known:])

    write_called(list(w.calls))
    return [(position, starts[name] - position - 1) for position, name in w.calls]


@dataclass(frozen=True, slots=True)
class Shape:
    """What programs :func:`write` is to write: at most ``size`` statements in the main function, and what with.

    ``maps`` and ``calls`` (of subprograms) say whether there are any, ``loops`` whether jumps lead back; ``helpers``
    whether any are called, or the names of those that may be.
    """

    program_type: str = "xdp"
    size: int = 8
    loops: bool = False
    helpers: bool | frozenset[str] = True
    maps: bool = True
    calls: bool = True


SMALL: Final = 3
"""The ``size`` of a :class:`Shape` with which the median program has 24 instructions."""

_PACKET_FEATURES: Final = frozenset({"packet", "variable packet offset", "packet length", "packet metadata",
                                     "moved packet"})  # fmt: skip
_MAP_FEATURES: Final = frozenset(
    {"map lookup", "map update", "global data", "ring buffer", "values", "record", "memory for a helper", "callback"}
)


_MAP_HELPERS: Final = {
    "map lookup": {"bpf_map_lookup_elem"},
    "map update": {"bpf_map_update_elem", "bpf_map_delete_elem"},
    "ring buffer": {"bpf_ringbuf_reserve", "bpf_ringbuf_submit", "bpf_ringbuf_discard"},
    "values": {"bpf_map_lookup_elem"},
    "record": {"bpf_ringbuf_reserve", "bpf_ringbuf_submit", "bpf_ringbuf_discard"},
    "callback": {"bpf_loop", "bpf_for_each_map_elem"},
}
"""The helpers that features about maps and callbacks call."""


@cache
def _surface(shape: Shape) -> Surface:
    """What the program type offers, without the helpers that the shape does not allow."""
    on = surface(shape.program_type)
    if shape.helpers is True:
        return on
    allowed = shape.helpers or frozenset()
    movers = tuple(number for number in on.movers if platform("linux").helper_name(number) in allowed)
    kept, of_sockets = (
        tuple(helper for helper in helpers if helper.name in allowed) for helpers in (on.helpers, on.socket_helpers)
    )
    return replace(on, movers=movers, helpers=kept, socket_helpers=of_sockets)


@cache
def _menu(shape: Shape) -> Menu:
    """The features that a shape allows and its program type has."""
    on = _surface(shape)
    helpers = {helper.id for helper in on.helpers}
    without = set[str]()
    without |= _PACKET_FEATURES if on.data is None else set()
    without |= set() if on.meta is not None else {"packet metadata"}
    without |= set() if on.movers else {"moved packet"}
    without |= set() if on.reads else {"context load", "spilled context"}
    without |= set() if on.writes else {"context store"}
    without |= set() if helpers >= {5, 7, 8} else {"helper"}
    without |= set() if 28 in helpers else {"variable size"}
    without |= set() if shape.maps else _MAP_FEATURES
    if shape.helpers is not True:
        allowed = shape.helpers or frozenset()
        without |= {name for name, needed in _MAP_HELPERS.items() if not needed <= allowed}
    without |= set() if shape.calls else _CALLS
    without |= set() if on.helpers else {"helper by prototype"}
    without |= set() if on.sockets else {"socket"}
    without |= (
        set() if any(objects.is_memory(a) for helper in on.helpers for a in helper.args) else {"memory for a helper"}
    )
    kept = [(name, weight) for name, (_, weight) in _ALL.items() if name not in without]
    if on.socket_helpers:
        # What few program types have is the more often in theirs.
        kept = [(name, 4 * weight if name == "socket" else weight) for name, weight in kept]
    return Menu(tuple(name for name, _ in kept), tuple(weight for _, weight in kept))


_OF_MAPS: Final = (Pseudo.MAP_INDEX, Pseudo.MAP_INDEX_VALUE)


def write(choices: Choices, shape: Shape, name: str = "generated") -> Program:
    """A program of this shape, made of these choices.  Raises ValueError for a program type that has no surface."""
    on, menu = _surface(shape), _menu(shape)
    w = Writer(choices, Known(set()), menu, _statements, careless=choices.random() < 0.4, surface=on)
    w.loops = shape.loops
    w.move(CTX, R1)
    if "helper" in menu.names and w.chance(0.85):
        w.call(choices.choice((7, 8, 5)))
        w.move(R8, R0)
        w.known.numbers.add(R8)
    if "packet" in menu.names and w.chance(0.75):
        statements.check_packet(w)
    if on.reads and w.chance(0.75):
        statements.load_context(w)
    elif not on.reads and "global data" in menu.names and w.chance(0.75):
        statements.global_data(w)  # a setting
    if w.known.packet is None and w.chance(0.75):
        # Most programs of types without packets begin with a test whether they are concerned at all.
        w.branch(Comparison.EQ, w.number(), Immediate(w.constant()), w.out, w.width())
    _body(w, shape.size, shape.loops)
    _finish(w, on.result)
    if any(label is w.out for _, label in w.targets):
        w.place(w.out)
        w.move(R0, 1)
        w.emit(Exit())
    code = _linked(w, shape.size)
    if not any(CTX in (getattr(i, "src", None), getattr(i, "base", None)) for i in code[1:]):
        code = rewrite(code, {0: ()})
    maps = MAPS[: used_maps(code)]
    return Program(name, on.section, shape.program_type, code, maps, licence="GPL", expected_attach_type=on.attach_type)


def used_maps(code: Sequence[Instruction | None]) -> int:
    """How many maps a program must have for all the indices in its code."""
    return max((i.low + 1 for i in code if isinstance(i, LoadImmediate64) and i.pseudo in _OF_MAPS), default=0)


def _finish(w: Writer, result: tuple[int, int] | None) -> None:
    """End the main function with a number in R0 that may be returned."""
    low, high = (0, 4) if result is None else result
    if result is not None and w.mistake():
        w.move(R0, w.constant())
    elif R0 not in w.known.numbers or w.chance(0.5):
        w.move(R0, w.random.randrange(low, high + 1))
    elif result is not None:
        w.emit(Alu(AluOp.AND, 64, R0, Immediate(1)))
    w.emit(Exit())


def program(seed: int, size: int = 30, loops: bool = False) -> Program:
    """The program with this seed, of ``size`` statements in its main function; with ``loops``, bounded loops too."""
    return _write(seed, size, loops)[0]


def features_of(seed: int, size: int = 30, loops: bool = False) -> Counter[str]:
    """How often each feature occurs in :func:`program` of the same arguments."""
    return _write(seed, size, loops)[1]
