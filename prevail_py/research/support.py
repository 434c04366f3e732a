"""The table of what is supported, ``docs/support.md``, from the tables and the verifier themselves.

``python -m prevail_py.research.support`` prints it, ``--out docs/support.md`` writes it (``make regenerate``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prevail_py.isa.instructions import Call, Exit
from prevail_py.objects.program import Program
from prevail_py.platforms import Platform, platform
from prevail_py.platforms.model import HelperPrototype
from prevail_py.research.support_instructions import instruction_rows, program_type_rows
from prevail_py.verifier import VerdictKind, verify
from prevail_py.vm.helpers.support import Level, support_of
from prevail_py.vm.maps.support import MapSupport, map_support

__all__ = ["main", "table"]

_INTRODUCTION: Final = """\
# What is supported

This page is generated (`python -m prevail_py.research.support --out docs/support.md`, part of `make regenerate`) from
the tables of the Linux platform, from the machine's table of helpers, and from what the verifier says of a program that
calls the helper and does nothing else.

## Instructions

A row for each class of `prevail_py.isa.instructions`, as found by trying a small program with it. Empty cells are
support; the *checker* is that of certificates, the engines say `trap` where they do not model it.

{instructions}

## Program types

*Context* is its size, or `by BTF` where it depends on what the program is attached to. *Helpers* counts those that were
measured to be available to the type. *Result* are the bounds of R0 at exit, read as a signed number.

{program_types}

## Helpers

*Program types* are those that may call the helper, as measured with Linux; of some helpers it was not measured.
*Verifier* is empty where the verifier models the call, and says what it lacks where the verdict is UNSUPPORTED.
*Machine* says how much the virtual machine models, on the interpreter and in generated source alike:

- **full**: it does what it does in Linux, as far as the program and its user can see;
- **given**: what it finds is what the `Environment` of the run says (the note names the part), by default
  nothing;
- **noted**: its effect on the world is noted in the `Environment`;
- **fails**: it returns the error that it returns in Linux where there is nothing to be found;
- **trap**: calling it is a trap that names it.

"""

_MAPS: Final = """
## Map types

*Look-up* is what `bpf_map_lookup_elem` yields in a program.  *Machine* says how much the virtual machine models, as it
was found by trying:

- **full**: maps can be made, and every helper that takes them is there;
- **partial**: maps can be made, but calling the helper under *Missing* is a trap;
- **none**: a program may refer to a map of the type, and traps when it gives it to a helper.

*Commands* are those of `bpf(2)` that the user side has, with the answers of Linux (`prevail_py.vm.maps.commands`).
*In Python* is what `maps["name"]` is: a mapping, a list (sized, to push to and to pop from), a filter (`in`), or
records to be read.

"""


def table(target: Platform | None = None) -> str:
    """The whole page."""
    target = target or platform()
    lines = ["| Id | Helper | Program types | Verifier | Machine | Note |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [_helper_row(target, number) for number in target.helper_ids()]
    counts = dict.fromkeys(Level, 0)
    for number in target.helper_ids():
        counts[support_of(target.helper_name(number) or "").level] += 1
    summary = ", ".join(f"{count} {level.value}" for level, count in counts.items())
    maps = [
        "| Type | Name | Look-up | Machine | Helpers | Missing | Commands | In Python |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_map_row(support) for support in map_support()),
    ]
    introduction = _INTRODUCTION.format(
        instructions=_table(
            ("Instruction", "For example", "Verifier", "Checker", "Interpreter", "Source", "JIT"), instruction_rows()
        ),
        program_types=_table(
            ("Type", "Number", "Context", "Packet", "Sections", "Helpers", "Result"),
            program_type_rows(target, lambda name: _available(target, name)),
        ),
    )
    return (
        f"{introduction}Of {len(target.helper_ids())} helpers in the machine: {summary}.\n\n"
        + "\n".join(lines)
        + f"\n{_MAPS}"
        + "\n".join(maps)
        + "\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(_row(*cells) for cells in (header, ["---"] * len(header), *rows))


def _available(target: Platform, program_type: str) -> int:
    """How many helpers were measured to be available to a program type."""
    found = [target.helper(number) for number in target.helper_ids()]
    return sum(each is not None and program_type in (each.program_types or ()) for each in found)


def _helper_row(target: Platform, number: int) -> str:
    name = target.helper_name(number) or ""
    prototype = target.helper(number)
    assert prototype is not None
    support = support_of(name)
    return _row(
        str(number),
        f"`{name}`",
        _callers(target, prototype),
        _verifier(target, number),
        support.level.value,
        support.note,
    )


def _callers(target: Platform, prototype: HelperPrototype) -> str:
    callers = prototype.program_types
    if callers is None:
        return "not measured"
    missing = target.measured_types - callers
    if not callers:
        return "none that was measured"
    if not missing:
        return "all"
    return f"all but {', '.join(sorted(missing))}" if len(missing) <= 4 else ", ".join(sorted(callers))


def _verifier(target: Platform, number: int) -> str:
    """What the verifier lacks for a call, in one of the program types that may make it."""
    prototype = target.helper(number)
    assert prototype is not None
    callers = prototype.program_types or frozenset(target.program_types) - target.measured_types - {"unspec"}
    kind = next((kind for kind in ("xdp", "sched_cls", "kprobe") if kind in callers), min(callers))
    verdict = verify(Program("call", kind, kind, (Call(number), Exit()), platform=target.name))
    if verdict.kind is not VerdictKind.UNSUPPORTED:
        return ""
    return str(verdict.reason).partition(" (helper ")[0]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _map_row(support: MapSupport) -> str:
    access = "mapping, values per CPU" if support.access == "mapping" and support.per_cpu else support.access
    return _row(
        str(support.number),
        f"`{support.name}`",
        support.lookup,
        support.level,
        _names(support.helpers),
        _names(support.missing_helpers),
        ", ".join(support.commands),
        access,
    )


def _names(helpers: Sequence[str]) -> str:
    return ", ".join(f"`{name.removeprefix('bpf_')}`" for name in helpers)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.support", description=__doc__)
    parser.add_argument("--out", type=Path, help="the file to write")
    options = parser.parse_args(arguments)
    if options.out is None:
        print(table(), end="")
    else:
        options.out.write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
