"""The text of a whole program: one Python function for each of its functions.

Control flow becomes trees of basic blocks.  A block with one predecessor is written in place after it; every other
block is the root of a tree, and a loop around all trees dispatches on the number of the root where control goes next.
A tree that goes back to its own root loops by itself.

Fuel is checked where a tree starts, once it has grown by some instructions, and after each call of a subprogram: unless
what is left covers the longest way to the next such point, the reference takes over *before* anything of it is run.
So the last instructions of a run that is cut off are the reference's, and it stops at exactly the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from prevail_py.isa.instructions import Branch, Call, CallLocal, MayGoto
from prevail_py.platforms import Platform
from prevail_py.vm.machine import Code
from prevail_py.vm.source.analysis import analyse, calls_back
from prevail_py.vm.source.arithmetic import condition
from prevail_py.vm.source.flow import Block, functions, instruction_at, recursive
from prevail_py.vm.source.instructions import write
from prevail_py.vm.source.writer import CALLBACKS, REGISTERS, Writer, function_name

__all__ = ["generate"]

_STRETCH: Final = 64
"""Instructions of a tree after which fuel is checked again."""

_NESTING: Final = 24
"""How deep taken branches are written within one another; Python allows 100 levels of indentation."""


def generate(code: Code, platform: Platform, *, observed: bool = False) -> str:
    """Python source that defines the functions of a program; ``function0`` is the main one.

    Code that is ``observed`` calls ``observe`` before each instruction, with what :func:`runtime.step` gets.
    """
    found = functions(code.instructions)
    states = analyse(code.instructions, found, platform, code.program_type)
    called_again = recursive(code.instructions)
    texts = []
    for entry, blocks in found.items():
        writer = Writer(code, platform, states[entry], entry, called_again)
        texts.append("\n".join(_FunctionWriter(writer, entry, blocks, observed).write()))
    callbacks = ", ".join(f"{entry}: {function_name(entry)}" for entry in found)
    return "\n\n".join([*texts, f"{CALLBACKS} = {{{callbacks}}}"]) + "\n"


@dataclass(slots=True)
class _Tree:
    """A root and the blocks that are written in place below it, in depth-first order.

    ``counts`` is how many instructions were run before each block since fuel was last checked; it is checked at the
    start of those for which that is 0.  ``needs`` is the longest way from each block to the next check.
    """

    root: int
    blocks: list[int] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    needs: dict[int, int] = field(default_factory=dict)


class _FunctionWriter:
    def __init__(self, writer: Writer, entry: int, blocks: dict[int, Block], observed: bool) -> None:
        self.writer = writer
        self.observed = observed
        self.code = writer.code
        self.entry = entry
        self.blocks = blocks
        self.lines: list[str] = []
        self.trees = self._trees()
        self.numbers = {tree.root: number for number, tree in enumerate(self.trees)}

    # Trees ----------------------------------------------------------------------------------------------------------

    def _trees(self) -> list[_Tree]:
        predecessors = dict.fromkeys(self.blocks, 0)
        predecessors[self.entry] += 2
        for block in self.blocks.values():
            for successor in block.successors:
                predecessors[successor] += 1
        roots = [self.entry, *sorted(start for start in self.blocks if predecessors[start] > 1 and start != self.entry)]
        trees, known = [], set(roots)
        pending = list(reversed(roots))
        while pending:
            tree = _Tree(pending.pop())
            below = [(tree.root, 0, 0)]
            while below:
                start, depth, count = below.pop()
                if count >= _STRETCH:
                    count = 0
                tree.blocks.append(start)
                tree.counts[start] = count
                calls = [n for n, pc in enumerate(self.blocks[start].pcs, 1) if self._calls(pc)]
                count = len(self.blocks[start].pcs) - calls[-1] if calls else count + len(self.blocks[start].pcs)
                for taken, successor in enumerate(self.blocks[start].successors):
                    if successor in known:
                        continue
                    if depth + taken > _NESTING:
                        known.add(successor)
                        pending.append(successor)
                    else:
                        below.append((successor, depth + taken, count))
            trees.append(tree)
            known.update(tree.blocks)
        for tree in trees:
            inside = set(tree.blocks) - {tree.root}
            for start in reversed(tree.blocks):
                tree.needs[start] = self._need(tree, inside, start)
        return trees

    def _calls(self, pc: int) -> bool:
        """Whether a function of the program is called, which uses up fuel."""
        instruction = instruction_at(self.code.instructions, pc)
        if isinstance(instruction, Call):
            prototype = self.writer.prototype(instruction.helper)
            return prototype is not None and calls_back(prototype)
        return isinstance(instruction, CallLocal)

    def _need(self, tree: _Tree, inside: set[int], start: int, first: int = 0) -> int:
        """The longest way to the next check of fuel from the instruction number ``first`` of a block."""
        block = self.blocks[start]
        for number, pc in enumerate(block.pcs[first:], 1):
            if self._calls(pc):
                return number
        further = [tree.needs[s] for s in block.successors if s in inside and tree.counts[s]]
        return len(block.pcs) - first + max(further, default=0)

    # Text -----------------------------------------------------------------------------------------------------------

    def write(self) -> list[str]:
        if len(self.trees) == 1:
            self._tree(self.trees[0], 2)
        else:
            self._dispatch(self.trees, 2)
        body, self.lines = self.lines, []
        parameters = ", ".join([*(f"r{n}" for n in range(1, 6)), *(f"p{n}" for n in range(1, 6))])
        self._line(0, f"def {function_name(self.entry)}(m, left, {parameters}):")
        self._line(1, "r0 = r6 = r7 = r8 = r9 = p0 = p6 = p7 = p8 = p9 = None")
        self._line(1, "frame = m.calls[-1]")
        self._line(1, "stack = frame.stack")
        self._line(1, "r10 = stack.base + stack.size")
        self._parts()
        self._line(1, "at = 0")
        self._line(1, "while True:")
        return self.lines + body

    def _parts(self) -> None:
        used = self.writer.used
        if any(part.startswith("frame") for part in used):
            self._line(1, "frame1 = stack.data")
        for size, letter in ((2, "H"), (4, "I"), (8, "Q")):
            if f"frame{size}" in used:
                self._line(1, f'frame{size} = frame1.cast("{letter}")')
        parts = {"written": "stack.initialised", "spilled": "stack.pointers", "context": "m.context.region.data"}
        for part, value in parts.items():
            if part in used:
                self._line(1, f"{part} = {value}")
        for part in sorted(used):
            if part.startswith("value"):
                self._line(1, f"{part} = None")
            elif part.startswith("find"):
                self._line(1, f"{part}, values{part[4:]} = values(m, frame, {part[4:]})")

    def _line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _dispatch(self, trees: Sequence[_Tree], depth: int) -> None:
        """A binary tree of comparisons, whose leaves are the trees of blocks."""
        if len(trees) == 1:
            self._tree(trees[0], depth)
            return
        half = len(trees) // 2
        self._line(depth, f"if at < {self.numbers[trees[half].root]}:")
        self._dispatch(trees[:half], depth + 1)
        self._line(depth, "else:")
        self._dispatch(trees[half:], depth + 1)

    def _tree(self, tree: _Tree, depth: int) -> None:
        loops = len(self.trees) > 1 and any(tree.root in self.blocks[start].successors for start in tree.blocks)
        if loops:
            self._line(depth, "while True:")
            depth += 1
        self._block(tree, set(tree.blocks) - {tree.root}, tree.root, depth, loops)

    def _block(self, tree: _Tree, inside: set[int], start: int, depth: int, loops: bool) -> None:
        while True:
            block, count = self.blocks[start], tree.counts[start]
            if count == 0:
                if start != tree.root:
                    self._line(depth, f"left -= {self._run_before(tree, start)}")
                self._check(tree.needs[start], start, depth)
            for number, pc in enumerate(block.pcs, 1):
                if pc not in self.writer.states:
                    self._line(depth, 'raise AssertionError("not reached")')
                    return
                if self.observed:
                    self._line(depth, f"observe(m, {pc}, {count} - left, {REGISTERS}, {self.writer.provenance})")
                count += 1
                for line in write(self.writer, pc, count):
                    self._line(depth, line)
                if self._calls(pc):
                    count = 0
                    self._check(self._need(tree, inside, start, number), pc + 1, depth)
            if not block.successors:
                return
            last = instruction_at(self.code.instructions, block.pcs[-1])
            if isinstance(last, Branch | MayGoto):
                self._line(depth, f"if {condition(last)}:")
                self._go(tree, inside, block.successors[1], depth + 1, count, loops)
                if isinstance(last, MayGoto):
                    self._line(depth, "frame.may_goto_left -= 1")
            if block.successors[0] not in inside:
                self._go(tree, inside, block.successors[0], depth, count, loops)
                return
            start = block.successors[0]

    def _run_before(self, tree: _Tree, start: int) -> int:
        """How many instructions were run since the last check when ``start``, where the next one is, is reached."""
        parent = next(b for b in tree.blocks if start in self.blocks[b].successors)
        pcs = self.blocks[parent].pcs
        calls = [n for n, pc in enumerate(pcs, 1) if self._calls(pc)]
        return len(pcs) - calls[-1] if calls else tree.counts[parent] + len(pcs)

    def _go(self, tree: _Tree, inside: set[int], successor: int, depth: int, count: int, loops: bool) -> None:
        if successor in inside:
            self._block(tree, inside, successor, depth, loops)
            return
        self._line(depth, f"left -= {count}")
        if successor != tree.root or not loops:
            if len(self.trees) > 1:
                self._line(depth, f"at = {self.numbers[successor]}")
            self._line(depth, "break" if loops else "continue")
        else:
            self._line(depth, "continue")

    def _check(self, need: int, pc: int, depth: int) -> None:
        self._line(depth, f"if left < {need}:")
        self._line(depth + 1, f"return hand_over(m, {pc}, -left, {REGISTERS}, {self.writer.provenance})")
