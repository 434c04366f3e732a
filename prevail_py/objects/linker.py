"""Linking: an entry function and all it needs become one self-contained :class:`Program`.

Like libbpf, each function that is called, or whose address is taken, is appended once: where the first reference to
it is met, walking the functions in the order in which they were appended and going into a new one at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, assert_never

from prevail_py.isa.instructions import Call, CallLocal, Instruction, LoadImmediate64, Pseudo
from prevail_py.objects.btf import Btf, Kind
from prevail_py.objects.btf_ext import BtfExt, between
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.functions import Function
from prevail_py.objects.maps import MapTable
from prevail_py.objects.program import Program, SourceLine, Subprogram
from prevail_py.objects.prototypes import Prototypes
from prevail_py.objects.relocations import (
    SLOT,
    CallTarget,
    DataAddress,
    Fixup,
    FunctionAddress,
    MapReference,
    Replacement,
)
from prevail_py.objects.target import Missing, Target, TargetBtf
from prevail_py.platforms.linux.program_types import FLAG_HOOKS
from prevail_py.platforms.model import Platform

__all__ = ["Linker"]

MAX_LINKED_SLOTS: Final = 4_000_000
_NO_TYPE: Final = "unspec"


class Linker:
    """Links programs of one object.  Methods raise :class:`ObjectError`."""

    def __init__(
        self,
        functions: Sequence[Function],
        maps: MapTable,
        btf: Btf | None,
        info: BtfExt,
        licence: str,
        platform: Platform,
        target: Target,
    ) -> None:
        self._maps: Final = maps
        self._btf: Final = btf
        self._info: Final = info
        self._licence: Final = licence
        self._platform: Final = platform
        self._target: Final = target
        self._starts: Final[dict[tuple[int, int], Function]] = {}
        for function in functions:
            self._starts.setdefault((function.section.index, function.start), function)
        self._lines: Final[dict[tuple[str, int], SourceLine]] = {}
        self._prototypes: Final = Prototypes(btf)
        self._slots = 0

    def link(self, entry: Function, name: str) -> Program:
        """The program that starts with ``entry``."""
        starts = self._layout(entry)
        used = sorted(
            {f.map for g in starts for f in g.fixups.at.values() if isinstance(f, MapReference | DataAddress)}
        )
        numbers = {number: i for i, number in enumerate(used)}
        code: list[Instruction | None] = []
        lines: dict[int, SourceLine] = {}
        symbols: dict[int, str] = {}
        poisoned: dict[int, str] = {}
        subprograms = []
        for function, start in starts.items():
            code += function.code
            for slot, fixup in function.fixups.at.items():
                code[start + slot] = self._fixed(code[start + slot], fixup, start + slot, starts, numbers)
            symbols.update((start + slot, name) for slot, name in function.fixups.symbols.items())
            poisoned.update((start + slot, reason) for slot, reason in function.fixups.poisoned.items())
            prototype = self._prototypes.of(function.name) if start and function.is_global else None
            end = start + len(function.code)
            subprograms.append(Subprogram(function.name, start, end, function.is_global, prototype))
            lines.update(self._source_lines(function, start))
        section = entry.section.name
        rule = self._platform.section_rule(section)
        hook = self._hook(section) if rule is not None and rule.attach_type == "lsm_mac" else ""
        targets = [f.fixups.target for f in starts if f.fixups.target is not None] + (
            [self._target.btf] if hook else []
        )
        program_type = rule.program_type if rule is not None else _NO_TYPE
        unknown = _renumber(code, poisoned, self._platform, program_type)
        return Program(
            name=name,
            section=section,
            program_type=program_type,
            code=tuple(code),
            maps=tuple(self._maps.maps[number] for number in used),
            subprograms=tuple(subprograms),
            lines=lines,
            licence=self._licence,
            expected_attach_type=rule.attach_type if rule is not None else "",
            platform=self._platform.name,
            unsupported=self._unsupported(starts, used, None if rule is not None else section) + unknown,
            symbols=symbols,
            poisoned=poisoned,
            assumptions=self._assumptions(targets, starts, used),
            target_btf=targets[0].sha256 if targets else "",
            hook=hook,
        )

    def _hook(self, section: str) -> str:
        """What kind of hook a security program is for, empty where the target's types do not say."""
        name = section.partition("/")[2]
        try:
            types = self._target.btf.types
        except Missing:
            return ""
        function = types.find(f"bpf_lsm_{name}", Kind.FUNC)
        if function is None:
            return ""
        if types.resolve(types.type(function.type).type).kind is Kind.VOID:
            return "void"
        return "flag" if name in FLAG_HOOKS else "error"

    def _layout(self, entry: Function) -> dict[Function, int]:
        """The functions to link and the slots at which they start, in order."""
        starts = {entry: 0}
        end = len(entry.code)
        walks: list[Iterator[Function]] = [self._references(entry)]
        while walks:
            callee = next(walks[-1], None)
            if callee is None:
                walks.pop()
            elif callee not in starts:
                starts[callee] = end
                end += len(callee.code)
                walks.append(self._references(callee))
        self._slots += end
        if self._slots > MAX_LINKED_SLOTS:
            raise ObjectError(entry.place, f"the linked programs have more than {MAX_LINKED_SLOTS} instruction slots")
        return starts

    def _references(self, function: Function) -> Iterator[Function]:
        for slot, fixup in function.fixups.at.items():
            if isinstance(fixup, CallTarget | FunctionAddress):
                callee = self._starts.get((fixup.section, fixup.offset))
                if callee is None:
                    raise ObjectError(f"{function.place} slot {slot}", "refers to code where no function starts")
                yield callee

    def _fixed(
        self,
        instruction: Instruction | None,
        fixup: Fixup,
        pc: int,
        starts: Mapping[Function, int],
        numbers: Mapping[int, int],
    ) -> Instruction:
        if isinstance(fixup, Replacement):
            return fixup.instruction
        if isinstance(fixup, CallTarget):
            return CallLocal(starts[self._starts[fixup.section, fixup.offset]] - pc - 1)
        assert isinstance(instruction, LoadImmediate64)
        dst = instruction.dst
        match fixup:
            case FunctionAddress(section, offset):
                return LoadImmediate64(dst, starts[self._starts[section, offset]] - pc - 1, 0, Pseudo.FUNCTION)
            case MapReference(number):
                return LoadImmediate64(dst, numbers[number], 0, Pseudo.MAP_INDEX)
            case DataAddress(number, offset):
                return LoadImmediate64(dst, numbers[number], offset, Pseudo.MAP_INDEX_VALUE)
            case _:
                assert_never(fixup)

    def _source_lines(self, function: Function, start: int) -> Iterator[tuple[int, SourceLine]]:
        records = self._info.lines.get(function.section.name)
        if records is None or self._btf is None:
            return
        for i in between(records, function.start, function.end):
            record = records[i]
            key = (function.section.name, i)
            line = self._lines.get(key)
            if line is None:
                file, text = self._btf.text(record.file), self._btf.text(record.text)
                line = self._lines[key] = SourceLine(file, record.line, record.column, text)
            yield start + (record.offset - function.start) // SLOT, line

    def _assumptions(
        self, targets: Sequence[TargetBtf], functions: Mapping[Function, int], used: Sequence[int]
    ) -> tuple[str, ...]:
        """The facts about the host that went into these functions."""
        found: dict[str, None] = dict.fromkeys(str(target) for target in targets)
        for function in functions:
            found.update(dict.fromkeys(function.fixups.facts))
        for spec in (self._maps.maps[number] for number in used):
            known = self._platform.map_type(spec.type)
            if spec.max_entries == 0 and known is not None and known.name == "perf_event_array":
                found[f"map {spec.name} has an entry for each possible CPU"] = None
        return tuple(found)

    def _unsupported(
        self, functions: Mapping[Function, int], used: Sequence[int], unknown_section: str | None
    ) -> tuple[str, ...]:
        found: dict[str, None] = {}
        if unknown_section is not None:
            found[f"section name {unknown_section}"] = None
        for function in functions:
            found.update(dict.fromkeys(function.fixups.unsupported))
        for number in used:
            if number in self._maps.special:
                found[f"{self._maps.special[number]} in map {self._maps.maps[number].name}"] = None
        return tuple(found)


_NO_HELPER: Final = 0x40000000


def _renumber(
    code: list[Instruction | None], poisoned: Mapping[int, str], platform: Platform, program_type: str
) -> tuple[str, ...]:
    """Let calls of helpers go by the platform's own numbers (:meth:`Platform.helper_number`), in place.

    A helper that the platform does not know must not be taken for the one that goes by its number here: it gets a
    number that is nobody's, and is named in the result.
    """
    if not platform.helper_numbers:
        return ()
    unknown: dict[str, None] = {}
    for pc, instruction in enumerate(code):
        if not isinstance(instruction, Call) or pc in poisoned:
            continue
        number = platform.helper_number(instruction.helper, program_type)
        if number is None:
            unknown[f"helper {instruction.helper} of {platform.name}"] = None
            number = _NO_HELPER | instruction.helper & (_NO_HELPER - 1)
        if number != instruction.helper:
            code[pc] = Call(number)
    return tuple(unknown)
