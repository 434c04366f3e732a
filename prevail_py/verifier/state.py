"""One abstract state: registers, stack frames, the packet's extent, references held, and facts about symbols.

States are plain mutable data inside a block (the hot path) and must not be changed once stored at a block head:
``copy`` first.  A dead register is ``UNINITIALISED``, which allows any value, so dropping what liveness calls dead is
sound whatever liveness says; if it were wrong, the read would be rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape

from prevail_py._render import Table
from prevail_py.domains.lattice import NO_SYMBOL, Facts, Symbol, Term
from prevail_py.domains.statements import Difference, Sum
from prevail_py.verifier.definitions import Definitions
from prevail_py.verifier.values import (
    NEVER_NULL,
    STACK_SIZE,
    UNINITIALISED,
    UNUSABLE,
    Pointer,
    RegionKind,
    Special,
    Value,
)
from prevail_py.words import to_signed

__all__ = ["Frame", "State"]

_KEPT_DEFINITIONS = 2
"""Symbols that a live one was computed from are kept this many steps back, for what backward operators learn."""


_NO_CELL: tuple[int, Value] = (0, Term(NO_SYMBOL, 0))
_BYTES = [(1 << size) - 1 for size in range(9)]


class Frame:
    """A stack frame.

    ``cells`` maps the offset of a tracked value to its size in bytes and the value; ``initialised`` has bit k set where
    byte k was certainly written.  Bytes outside of all cells hold unknown numbers: an aligned slot that may hold a
    pointer has a cell, of which nothing may be known.  ``saved`` are the caller's R6-R9 and, where a helper called the
    function, the helper's own arguments R1-R5.
    """

    __slots__ = ("_shared", "cells", "initialised", "saved")

    cells: Mapping[int, tuple[int, Value]]

    def __init__(self, cells: Mapping[int, tuple[int, Value]], initialised: int, saved: tuple[Value, ...]) -> None:
        self.cells = cells
        self.initialised = initialised
        self.saved = saved
        self._shared = True  # whose mapping it is, only its maker knows

    @property
    def is_callback(self) -> bool:
        """Whether a helper called the function, and not an instruction of the program."""
        return len(self.saved) > 4

    def copy(self) -> Frame:
        """A frame that can be changed independently; it copies the cells when it is."""
        self._shared = True
        return Frame(self.cells, self.initialised, self.saved)

    def _own(self) -> dict[int, tuple[int, Value]]:
        """The cells, to be changed."""
        if self._shared:
            self.cells = dict(self.cells)
            self._shared = False
        return self.cells  # type: ignore[return-value]

    def put(self, cells: Mapping[int, tuple[int, Value]]) -> None:
        """Add cells, or replace them; what else overlaps them must have been clobbered."""
        self._own().update(cells)

    def set(self, offset: int, cell: tuple[int, Value]) -> None:
        """Likewise for one cell."""
        self._own()[offset] = cell

    def touched(self, lo: int, hi: int) -> list[int]:
        """Where the cells start that have some of the bytes ``lo..hi`` (exclusive), ascending."""
        cells = self.cells
        if not cells:
            return []
        cell = cells.get(lo)
        if cell is not None and lo + cell[0] == hi:
            return [lo]  # cells do not overlap
        first = lo - 7 if lo > 7 else 0
        return [start for start in range(first, hi) if start in cells and start + cells[start][0] > lo]

    def clobber(self, lo: int, hi: int) -> None:
        """Forget the values of the bytes ``lo..hi`` (exclusive); whether they were initialised stays."""
        cells = self.cells
        if not cells:
            return
        for start in range(lo - 7 if lo > 7 else 0, hi):
            cell = cells.get(start)
            if cell is not None and start + cell[0] > lo:
                cells = self._own()
                del cells[start]

    def keep(self, live: int) -> None:
        """Forget the bytes that are not in the mask, and whether they were initialised."""
        if self.initialised & ~live:
            # One representation for states that differ only in dead bytes.
            self.initialised &= live
        if not self.cells:
            return
        dead = [offset for offset, cell in self.cells.items() if not live >> offset & _BYTES[cell[0]]]
        if dead:
            cells = self._own()
            for offset in dead:
                del cells[offset]

    def weaken(self, lo: int, hi: int) -> None:
        """Some of the bytes ``lo..hi`` (exclusive) may have been overwritten with a number.

        A pointer there may have survived, and must not pass for a number.
        """
        held = [
            start
            for start in range(max(lo - 7, 0), hi)
            if isinstance(self.cells.get(start, _NO_CELL)[1], Pointer | Special)
        ]
        kept = {start: (8, UNUSABLE) for start in held if start + 8 > lo}
        self.clobber(lo, hi)
        self.put(kept)

    def hides_pointer(self, offset: int, content: Value) -> bool:
        """Whether a frame that knows no cell at ``offset`` would take ``content``, which is stored there, for a number.

        Not where the frame does not know all of it as initialised: then it may not be read before it is overwritten.
        """
        whole = 255 << offset
        return not isinstance(content, Term) and offset not in self.cells and self.initialised & whole == whole


class State:
    """See the module's text.  ``packet_size`` and ``packet_meta`` are the offsets of data_end and data_meta.

    ``kinds``, ``constants`` and ``places`` belong to :mod:`prevail_py.verifier.partition`: computed once for a stored
    state.
    ``collected`` is the newest symbol there was when dead ones were last forgotten.
    """

    __slots__ = (
        "collected",
        "constants",
        "facts",
        "frames",
        "kinds",
        "packet_meta",
        "packet_size",
        "places",
        "references",
        "registers",
    )

    def __init__(
        self,
        registers: list[Value],
        frames: list[Frame],
        facts: Facts,
        packet_size: Term,
        packet_meta: Term,
        references: tuple[Term, ...] = (),
        collected: Symbol = 0,
    ) -> None:
        self.registers = registers
        self.frames = frames
        self.facts = facts
        self.packet_size = packet_size
        self.packet_meta = packet_meta
        self.references = references
        self.collected = collected
        self.kinds: tuple[object, ...] | None = None
        self.constants: tuple[int | None, ...] | None = None
        self.places: object = None

    def copy(self) -> State:
        """A state that can be changed independently."""
        return State(
            self.registers.copy(),
            [frame.copy() for frame in self.frames],
            self.facts,
            self.packet_size,
            self.packet_meta,
            self.references,
            self.collected,
        )

    def values(self) -> Iterator[Value]:
        """Every value the state holds, in a fixed order."""
        yield from self.registers
        for frame in self.frames:
            yield from frame.saved
            for offset in sorted(frame.cells):
                yield frame.cells[offset][1]

    def map_values(self, change: Callable[[Value], Value]) -> None:
        """Replace every value the state holds by ``change(value)``."""
        self.registers = [change(value) for value in self.registers]
        for frame in self.frames:
            frame.saved = tuple(change(value) for value in frame.saved)
            frame.put({offset: (size, change(value)) for offset, (size, value) in frame.cells.items()})

    def live_symbols(self, definitions: Definitions) -> set[Symbol]:
        """The symbols that some value refers to, and what they were computed from a few steps back."""
        live = {self.packet_size[0], self.packet_meta[0]}
        for term in self.references:
            live.add(term[0])
        values = self.registers
        frames = self.frames
        if len(frames) > 1 or frames[0].saved or frames[0].cells:
            values = list(values)
            for frame in frames:
                values += frame.saved
                values += [cell[1] for cell in frame.cells.values()]
        for value in values:
            if value.__class__ is Term:
                live.add(value[0])
            elif value.__class__ is Pointer:
                live.add(value[1][0])
                live.add(value[2][0])
        live.discard(NO_SYMBOL)
        newest = live
        for _ in range(_KEPT_DEFINITIONS):
            computed = [definitions[symbol][1] for symbol in newest if symbol in definitions]
            if not computed:
                break
            newest = {term[0] for terms in computed for term in terms} - live
            newest.discard(NO_SYMBOL)
            if not newest:
                break
            live |= newest
        return live

    def collect(self, definitions: Definitions) -> None:
        """Forget the symbols that nothing refers to."""
        known = self.facts.symbols()
        if not known:
            return
        live = self.live_symbols(definitions)
        dead = known - live
        if dead and definitions.masks:
            dead = frozenset([symbol for symbol in dead if not definitions.comes_again(symbol, live)])
        if dead:
            self.facts = self.facts.forget(dead)

    def drop_dead(self, dead_registers: Iterable[int], live_stack: int) -> None:
        """Drop these registers, and the bytes of the innermost frame that are not in the mask."""
        registers = self.registers
        for number in dead_registers:
            registers[number] = UNINITIALISED
        frame = self.frames[-1]
        if frame.cells or frame.initialised:
            frame.keep(live_stack)

    # For people ---------------------------------------------------------------------------------------------------

    def show_term(self, term: Term) -> str:
        """A term with the range of its value."""
        if term.symbol == NO_SYMBOL:
            return str(to_signed(term.offset, 64))
        shift = to_signed(term.offset, 64)
        name = f"s{term.symbol}{f'{shift:+}' if shift else ''}"
        unsigned, signed = self.facts.range(term), self.facts.range(term, signed=True)
        if unsigned.lo == 0 and unsigned.hi == (1 << 64) - 1 and signed.hi == (1 << 63) - 1 and signed.lo == -(1 << 63):
            return name
        lo, hi = signed if signed.hi - signed.lo < unsigned.hi - unsigned.lo else unsigned
        return f"{name} in [{lo}, {hi}]"

    def show(self, value: Value) -> str:
        """A value as the invariants print it."""
        if isinstance(value, Special):
            return value.value
        if isinstance(value, Term):
            return self.show_term(value)
        text, offset = str(value.region), value.offset
        if value.region.kind is RegionKind.STACK:
            # As programs write it: relative to the frame pointer.
            text = "r10" if value.region.index == len(self.frames) - 1 else f"r10 of frame {value.region.index}"
            offset = Term(offset.symbol, offset.offset - STACK_SIZE & 0xFFFFFFFFFFFFFFFF)
        if offset.symbol:
            text += f" + ({self.show_term(offset)})"
        elif offset.offset:
            distance = to_signed(offset.offset, 64)
            text += f" {'-' if distance < 0 else '+'} {abs(distance)}"
        if value.base != NEVER_NULL:
            low = self.facts.range(value.base).lo
            text += f" (n{value.base.symbol}{', maybe null' if low == 0 else ''})"
        return text

    def lines(self) -> list[str]:
        """The state as text, one fact a line: registers, stack cells, packet, relations."""
        out = [
            f"r{number} = {self.show(value)}"
            for number, value in enumerate(self.registers)
            if value is not Special.UNINITIALISED and number != 10
        ]
        for depth, frame in enumerate(self.frames):
            where = f"frame {depth} " if len(self.frames) > 1 else ""
            out += [
                f"{where}*(u{8 * size} *)(r10 {offset - STACK_SIZE}) = {self.show(value)}"
                for offset, (size, value) in sorted(frame.cells.items())
            ]
        if self.packet_size.symbol:
            out.append(f"packet size = {self.show_term(self.packet_size)}")
        return out

    def relations(self) -> list[str]:
        """What is known of two symbols at a time, one fact a line: ``s3 - s2 in [0, 14]``."""
        most: dict[tuple[Symbol, Symbol], int] = {}
        sums: dict[tuple[Symbol, Symbol], dict[bool, int]] = {}
        for statement in self.facts.statements():
            if isinstance(statement, Difference):
                pair = statement.left, statement.right
                most[pair] = min(most.get(pair, statement.most), statement.most)
            elif isinstance(statement, Sum):
                sums.setdefault((statement.left, statement.right), {})[statement.negated] = statement.most
        out = []
        for (left, right), bound in sorted(most.items()):
            back = most.get((right, left))
            if back is None:
                out.append(f"s{left} - s{right} <= {bound}")
            elif left > right:
                out.append(f"s{left} - s{right} " + (f"= {bound}" if bound == -back else f"in [{-back}, {bound}]"))
        for (left, right), ends in sorted(sums.items()):
            hi, back = ends.get(False), ends.get(True)
            if hi is None or back is None:
                out.append(f"s{left} + s{right} " + (f"<= {hi}" if back is None else f">= {-back}"))
            else:
                out.append(f"s{left} + s{right} " + (f"= {hi}" if hi == -back else f"in [{-back}, {hi}]"))
        return out

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        rows = tuple((place, value) for place, _, value in (line.partition(" = ") for line in self.lines()))
        related = "".join(f"<li><code>{escape(fact)}</code></li>" for fact in self.relations())
        return Table(("place", "value"), rows)._repr_html_() + (f"<ul>{related}</ul>" if related else "")
