"""Certificates as documents: what is in one, read strictly.

The format is described in ``docs/certificates.md``.  A document comes from outside: whatever is not of the form that is
written down there is a :class:`CertificateError` that names the place, before any of it is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from prevail_py.checker.words import MASK, AtMost, Compare, Formula, Node, Word
from prevail_py.objects.program import Program
from prevail_py.words import Comparison, OpKind, WordOp

__all__ = ["KIND", "SCHEMA", "Bad", "Certificate", "CertificateError", "Claim", "Cut", "FrameClaim", "Pointer",
           "Region", "Value", "fingerprint", "read"]  # fmt: skip

KIND: Final = "prevail-py certificates"
SCHEMA: Final = 2
MAX_BYTES: Final = 256 << 20
"""Longer documents are refused unread."""

MAX_FRAMES: Final = 8
STACK_SIZE: Final = 512
REGIONS: Final = ("context", "stack", "packet", "map value", "map", "memory", "kernel object", "function")


class CertificateError(ValueError):
    """The document is no certificate; the message says where, and why."""


class Bad(Enum):
    """Values that cannot be used: anything that may not have been written, and anything that was."""

    UNWRITTEN = "unwritten"
    UNUSABLE = "unusable"


class Region(NamedTuple):
    """What a pointer points to: the kind, which frame, map or function, bytes of memory, the name of an object."""

    kind: str
    number: int = 0
    inner: bool = False
    size: int = 0
    name: str = ""


class Pointer(NamedTuple):
    """``offset`` bytes behind the start of the region; where ``base`` is 0 it is null, and so the number ``offset``.

    Two pointers into one region with one base point into the same object; base 1 is that of the only one there is.
    """

    region: Region
    base: Word
    offset: Word


Value: TypeAlias = Word | Pointer | Bad


class FrameClaim(NamedTuple):
    """A stack frame: ``cells`` are (offset, size, value); bit k of ``initialised`` says that byte k was written."""

    initialised: int
    cells: list[tuple[int, int, Value]]
    saved: list[Value]


class Claim(NamedTuple):
    """A set of machine states: those of all choices of words for the symbols that the facts allow.

    The symbols are the ``nodes`` that are unknown; each node comes after those that it is computed from.
    """

    nodes: list[Node]
    registers: list[Value]
    frames: list[FrameClaim]
    packet: list[Word]
    references: list[Word]
    facts: list[Formula]


class Cut(NamedTuple):
    """A place: the calls that lead to its function, a slot, and whether it is behind the call there."""

    calls: tuple[int, ...]
    slot: int
    after_call: bool = False


class Certificate(NamedTuple):
    """The claims about one program by place: in each run that gets there, the machine is in one of the states."""

    program: str
    sha256: str
    invariants: Mapping[Cut, list[Claim]]


def fingerprint(program: Program) -> str:
    """SHA-256 over all of a program that its safety depends on."""
    parts = [
        program.platform, program.program_type, program.expected_attach_type, program.section, program.hook,
        program.code, program.maps, program.subprograms, sorted(program.symbols.items()),
        sorted(program.poisoned.items()), program.unsupported, program.target_btf,
    ]  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def read(document: str | bytes) -> list[Certificate]:
    """The certificates of a document.  Raises :class:`CertificateError`."""
    if len(document) > MAX_BYTES:
        raise CertificateError(f"a document of more than {MAX_BYTES >> 20} MiB")
    place = "the document"
    found: list[Certificate] = []
    try:
        kind, schema, certificates = _members(json.loads(document), "kind", "schema", "certificates")
        if kind != KIND or schema != SCHEMA:
            raise ValueError(f"kind and schema are {kind!r:.40} and {schema!r:.40}, not {KIND!r} and {SCHEMA}")
        for number_, certificate in enumerate(certificates):
            place = f"certificate {number_}"
            name, sha256, rows = _members(certificate, "program", "sha256", "invariants")
            invariants: dict[Cut, list[Claim]] = {}
            found.append(Certificate(_text(name), _text(sha256), invariants))
            for i, row in enumerate(rows):
                place = f"certificate {number_}, invariant {i}"
                calls, slot, after_call, states = _members(row, "calls", "slot", "after_call", "states")
                cut = Cut(tuple([_int(pc) for pc in calls]), _int(slot), bool(_int(after_call, 0, 1)))
                if cut in invariants:
                    raise ValueError("a second one for its place")
                invariants[cut] = [_Reader(len(cut.calls) + 1).claim(state) for state in states]
        if len({each.program for each in found}) != len(found):
            raise ValueError("two certificates for one program")
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise CertificateError(f"{place}: {error or 'malformed'}") from None
    return found


def _members(item: Any, *names: str) -> list[Any]:
    if type(item) is not dict or item.keys() != set(names):
        raise ValueError(f"no object with exactly the members {', '.join(names)}")
    return [item[name] for name in names]


def _int(item: Any, lo: int = 0, hi: int = MASK) -> int:
    if type(item) is not int or not lo <= item <= hi:
        raise ValueError(f"{item!r:.40} is not an integer in {lo}..{hi}")
    return item


def _text(item: Any) -> str:
    if type(item) is not str:
        raise ValueError(f"{item!r:.40} is not a string")
    return item


class _Reader:
    """Reads one state, whose nodes mean nothing outside of it."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.nodes: list[Node] = []

    def claim(self, item: Any) -> Claim:
        names = ("nodes", "registers", "frames", "packet", "references", "facts")
        nodes, registers, frames, packet, references, facts = _members(item, *names)
        if len(registers) != 11 or len(packet) != 2 or len(frames) != self.frames or self.frames > MAX_FRAMES:
            raise ValueError("not 11 registers, 2 words for the packet, and a frame for the program and for each call")
        for each in nodes:
            self.nodes.append(self.node(each))
        return Claim(
            self.nodes,
            [self.value(each) for each in registers],
            [self.frame(each, (4, 10) if depth else (0,)) for depth, each in enumerate(frames)],
            [self.word(each) for each in packet],
            [self.word(each) for each in references],
            [self.fact(*each) for each in facts],
        )

    def node(self, item: Any) -> Node:
        if item == []:
            return Node(len(self.nodes) + 1)
        kind, width, source, *args = item
        op = WordOp(OpKind(kind), _int(width), _int(source))
        sources = (8, 16, 32) if op.kind is OpKind.SEXT else (0,)
        # ZEXT: what narrow stores leave of a wider number on the stack has any number of bytes.
        widths = {OpKind.ZEXT: range(8, 65, 8), OpKind.BSWAP: (16, 32, 64)}.get(op.kind, (32, 64))
        if len(args) != op.kind.arity or width not in widths or source not in sources or source >= width:
            raise ValueError(f"{op} of {len(args)} words is no operation")
        return Node(len(self.nodes) + 1, op, tuple([self.word(arg) for arg in args]))

    def word(self, item: Any) -> Word:
        node, offset = item
        return Word(self.nodes[node - 1] if _int(node) else None, _int(offset))

    def value(self, item: Any) -> Value:
        if item is None or item == "unusable":
            return Bad.UNWRITTEN if item is None else Bad.UNUSABLE
        if not isinstance(item[0], str):
            return self.word(item)
        kind, index, inner, size, name, base, offset = item
        if kind not in REGIONS or (kind == "stack" and _int(index) >= self.frames):
            raise ValueError(f"there is no {kind!r:.40} {index}")
        region = Region(kind, _int(index), bool(_int(inner, 0, 1)), _int(size), _text(name))
        return Pointer(region, self.word(base), self.word(offset))

    def frame(self, item: Any, lengths: tuple[int, ...]) -> FrameClaim:
        initialised, cells, saved = item
        found: list[tuple[int, int, Value]] = []
        end = 0
        for offset, size, content in cells:
            value = self.value(content)
            end = _int(offset, end, STACK_SIZE - 1) + _int(size, 1, 8)
            if end > STACK_SIZE or (not isinstance(value, Word) and (size != 8 or offset % 8)):
                raise ValueError(f"a cell of {size} bytes at {offset}")
            found.append((offset, size, value))
        if len(saved) not in lengths:
            raise ValueError(f"{len(saved)} saved registers")
        written = _int(int(_text(initialised), 16), 0, (1 << STACK_SIZE) - 1)
        return FrameClaim(written, found, [self.value(each) for each in saved])

    def fact(self, kind: Any, *parts: Any) -> Formula:
        if kind == "sum":
            plus, less, most = parts
            if len(plus) + len(less) > 4:
                raise ValueError("a sum of more than 4 words")
            left, right = (tuple([self.word(word) for word in side]) for side in (plus, less))
            return AtMost(left, right, _int(most, -1 << 66, 1 << 66))
        width, one, other = parts
        if _int(width) not in (32, 64):
            raise ValueError(f"a comparison of {width} bits")
        return Compare(Comparison(kind), self.word(one), self.word(other), width)
