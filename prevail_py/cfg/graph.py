"""Control-flow graphs as frozen data: blocks and edges per function, and who calls whom.

A block is a maximal run of instructions entered only at its first and left only after its last.  It ends at a control
transfer or before a *leader* (the target of a jump).  Calls do not end a block: what a call does to a state is a matter
for whoever interprets the instruction.  Blocks are numbered in reverse post-order, so that block 0 is the entry and,
cycles apart, every edge leads to a higher number; whatever no path reaches is in no block.

The algorithms of this package (weak topological order, dominators, loops) see a graph only through :class:`Rooted`:
numbered nodes, the root being 0.  :class:`Digraph` is the plainest such graph.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from prevail_py._render import Table
from prevail_py.objects.program import Program

__all__ = ["Block", "CfgError", "ControlFlowGraph", "Digraph", "Edge", "FunctionGraph", "Rooted"]

_MAX_PICTURE: Final = 250  # blocks in a picture in a notebook; with more, nobody sees a thing
_MAX_LINES: Final = 40  # instructions of one block in such a picture
_MAX_ROWS: Final = 50  # blocks of one function in a table instead


class CfgError(ValueError):
    """A program that has no control-flow graph; ``pc`` is the slot of the offending instruction."""

    def __init__(self, pc: int, reason: str) -> None:
        super().__init__(pc, reason)
        self.pc = pc
        self.reason = reason

    def __str__(self) -> str:
        return f"slot {self.pc}: {self.reason}"


class Rooted(Protocol):
    """Nodes ``0 ... n - 1`` with root 0; both sequences are indexed by node and hold no node twice."""

    @property
    def successors(self) -> Sequence[Sequence[int]]: ...
    @property
    def predecessors(self) -> Sequence[Sequence[int]]: ...


def _distinct(nodes: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(nodes))


def _reverse(successors: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    predecessors: list[list[int]] = [[] for _ in successors]
    for node, targets in enumerate(successors):
        for target in targets:
            predecessors[target].append(node)
    return tuple(map(tuple, predecessors))


@dataclass(frozen=True, slots=True)
class Digraph:
    """A bare rooted graph, ``successors`` by node; nodes that the root does not reach are allowed."""

    successors: tuple[tuple[int, ...], ...]
    predecessors: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "successors", tuple(map(_distinct, self.successors)))
        object.__setattr__(self, "predecessors", _reverse(self.successors))


@dataclass(frozen=True, slots=True)
class Edge:
    """Where control goes after a block: ``target`` is a block id.

    ``taken`` is None where there is no choice, and otherwise says which way the branch (or ``may_goto``) that ends the
    block went.  A branch to the next instruction has two edges to one block.
    """

    target: int
    taken: bool | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """The instructions in the slots ``start <= slot < end``; ``pcs`` are the slots at which one begins.

    ``edges`` holds the fall-through before the taken edge and is empty for an exit.
    """

    id: int
    start: int
    end: int
    pcs: tuple[int, ...]
    edges: tuple[Edge, ...]

    @property
    def successors(self) -> tuple[int, ...]:
        """The distinct blocks that may come next, in the order of the edges."""
        targets = [edge.target for edge in self.edges]
        return _distinct(targets) if len(targets) > 1 else tuple(targets)

    @property
    def last(self) -> int:
        """The slot of the last instruction."""
        return self.pcs[-1]


@dataclass(frozen=True, slots=True)
class FunctionGraph:
    """The blocks of one function, which occupies the slots ``entry_pc <= slot < end_pc``.

    ``blocks`` is in reverse post-order and a block's id is its index.  ``successors`` and ``predecessors`` list the
    distinct neighbours of each block; the entry block has predecessors where the function loops to its first
    instruction.
    """

    index: int
    name: str
    entry_pc: int
    end_pc: int
    blocks: tuple[Block, ...]
    successors: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    predecessors: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    _by_start: tuple[Block, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "successors", tuple([block.successors for block in self.blocks]))
        object.__setattr__(self, "predecessors", _reverse(self.successors))
        object.__setattr__(self, "_by_start", tuple(sorted(self.blocks, key=_start)))

    def block_of(self, pc: int) -> Block:
        """The block that holds slot ``pc``; LookupError where no path from the entry reaches it."""
        position = bisect_right(self._by_start, pc, key=_start) - 1
        if position >= 0 and pc < self._by_start[position].end:
            return self._by_start[position]
        raise LookupError(f"slot {pc} is in no reachable block of {self.name}")

    def __str__(self) -> str:
        """One line per block: ``2: slots 5-8 -> 3, 6 taken``."""
        lines = [f"{self.name}: slots {self.entry_pc}-{self.end_pc - 1}"]
        for block in self.blocks:
            ways = ", ".join(f"{edge.target}{' taken' if edge.taken else ''}" for edge in block.edges)
            lines.append(f"  {block.id}: slots {block.start}-{block.end - 1}{' -> ' + ways if ways else ''}")
        return "\n".join(lines)


def _start(block: Block) -> int:
    return block.start


def _entry_pc(function: FunctionGraph) -> int:
    return function.entry_pc


@dataclass(frozen=True, slots=True)
class ControlFlowGraph:
    """The functions of a program, ``functions[0]`` being its entry.

    ``calls`` maps the index of each function to the ``(pc, callee index)`` of its local calls, and ``references`` to
    those of the wide loads that take a function's address (callbacks), both in program order and from reachable code
    only.  ``recursion`` names the functions of one cycle of calls and references in order of calling, and is empty
    where there is none: a callback runs on top of the frames of whoever passed it, so it counts as called.
    ``unreachable`` lists the slots of instructions that no path from the entry of their function reaches.
    """

    program: Program
    functions: tuple[FunctionGraph, ...]
    calls: Mapping[int, tuple[tuple[int, int], ...]]
    references: Mapping[int, tuple[tuple[int, int], ...]]
    recursion: tuple[int, ...] = ()
    unreachable: tuple[int, ...] = ()
    _by_entry: tuple[FunctionGraph, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_entry", tuple(sorted(self.functions, key=_entry_pc)))

    @property
    def entry(self) -> FunctionGraph:
        """The function that is run first."""
        return self.functions[0]

    def function_at(self, pc: int) -> FunctionGraph:
        """The function whose extent holds slot ``pc``; LookupError where there is none."""
        position = bisect_right(self._by_entry, pc, key=_entry_pc) - 1
        if position >= 0 and pc < self._by_entry[position].end_pc:
            return self._by_entry[position]
        raise LookupError(f"slot {pc} is in no function of {self.program.name}")

    def block_of(self, pc: int) -> Block:
        """The block that holds slot ``pc``; LookupError where no path from the entry of its function reaches it."""
        return self.function_at(pc).block_of(pc)

    def __str__(self) -> str:
        return "\n".join(map(str, self.functions))

    def _repr_svg_(self) -> str | None:
        """The picture, for a notebook; None where the graph is too large to look at."""
        from prevail_py.cfg.picture import draw

        return draw(self, max_lines=_MAX_LINES)._repr_svg_() if self._has_picture() else None

    def _repr_html_(self) -> str | None:
        """A table of the blocks, for a notebook, where there is no picture."""
        return None if self._has_picture() else self._table()._repr_html_()

    def _has_picture(self) -> bool:
        return sum(len(function.blocks) for function in self.functions) <= _MAX_PICTURE

    def _table(self) -> Table:
        rows = []
        for function in self.functions:
            for block in function.blocks[:_MAX_ROWS]:
                ways = ", ".join(f"{edge.target}{' taken' if edge.taken else ''}" for edge in block.edges)
                rows.append((function.name, str(block.id), f"{block.start}-{block.end - 1}", ways or "exit"))
            if len(function.blocks) > _MAX_ROWS:
                rows.append((function.name, "...", f"{len(function.blocks) - _MAX_ROWS} more blocks", ""))
        return Table(("function", "block", "slots", "then"), tuple(rows), right=frozenset({1}))
