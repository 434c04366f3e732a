"""Formats print what they print in Linux, where ``bpf_snprintf`` shows it, and the same ones are refused."""

from __future__ import annotations

import pytest

from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import MapSpec, Program
from prevail_py.vm.environment import Environment
from prevail_py.vm.helpers import formats
from prevail_py.vm.helpers.formats import FormatValue, printf
from prevail_py.vm.interpreter import run
from prevail_py.vm.kernel.engine import KernelAnswer, RunInput, Session
from prevail_py.vm.maps import create_maps
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.outcome import Returned

SIZE = 128
TEXT = bytes([192, 0, 2, 1]) + b"text\0" + bytes(range(1, 8))
FORMATS = [
    "plain",
    "%d %i %u %x %X",
    "%ld %li %lu %lx %lX",
    "%lld %lli %llu %llx %llX",
    "%5d|%-5d|%05d|%+d|% d",
    "%5u|%-5u|%05u|%+u|% u",
    "%5x|%-5x|%05x|%+x|% X",
    "%-05d|%0-5d|%+-5d",
    "%20lld|%-20llu|",
    "%c%c%c",
    "%3c|%-3c|%03c",
    "%% %d%%",
    "%px %px",
    "%20px|",
    "\u00e9 and %d",
    "tab\tnewline\n",
]
WITH_TEXT = ["%s", "%8s|", "%-8s|", "%08s|", "%s.%s", "%pI4", "%pi4", "%pI6", "%pi6", "%20pI4|", "%pI4abc", "%pks"]
REFUSED = ["%f", "%", "%d %", "%q", "%sx", "%pksx", "%pa", "%pI5", "%lld%lls", "%hd", "%.3d", "%*d", "%5%", "\x01"]
VALUES = [0xFFFF_FFFF_FFFF_FFD6, 65, 0x1_0000_0000, 7, 0x8000_0000]


def program(format: str, text: bool, size: int = SIZE) -> Program:
    """Print five values, or five pointers to the text, into map 0."""
    lines = []
    for index, value in enumerate(VALUES):
        place = 4 if "s" in format else 0
        lines += [
            f"r6 = map[idx:2][0]+{place} ll" if text else f"r6 = {value} ll",
            f"*(u64 *)(r10 - {40 - 8 * index}) = r6",
        ]
    lines += [
        "r1 = map[idx:0][0]+0 ll",
        f"r2 = {size}",
        "r3 = map[idx:1][0]+0 ll",
        "r4 = r10\nr4 += -40\nr5 = 40",
        "call 165",
        "exit",
    ]
    content = format.encode("latin-1") + b"\0"
    maps: tuple[MapSpec, ...] = (
        MapSpec("out", 2, 4, SIZE, 1),
        MapSpec("format", 2, 4, len(content), 1, initial=content, read_only=True),
        MapSpec("text", 2, 4, len(TEXT), 1, initial=TEXT, read_only=True),
    )
    if not text:
        maps = maps[:2]
    return Program("format", "xdp", "xdp", assemble_text("\n".join(lines)), maps, licence="GPL")


def ours(program: Program) -> tuple[int, bytes] | None:
    maps = create_maps(program.maps)
    outcome = run(program, packet=bytes(60), maps=maps).outcome
    out = maps[0]
    assert isinstance(outcome, Returned)
    assert isinstance(out, ArrayMap)
    content = out[bytes(4)]
    assert isinstance(content, bytes)
    return None if outcome.value >> 63 else (outcome.value, content)


def theirs(session: Session, program: Program) -> tuple[int, bytes] | None:
    runs = session.run(program, [RunInput(bytes(60))], read_maps=(0,))
    if isinstance(runs, KernelAnswer):
        assert "Invalid format string" in runs.log + runs.reason, (runs.reason, runs.log[-300:])
        return None
    assert not runs[0].error
    return runs[0].return_value, runs[0].maps[0][bytes(4)]


PROGRAMS = {format: program(format, format in WITH_TEXT) for format in (*FORMATS, *WITH_TEXT, *REFUSED)}


@pytest.mark.parametrize("format", PROGRAMS)
def test_what_is_refused(format: str) -> None:
    assert (ours(PROGRAMS[format]) is None) == (format in REFUSED)


def test_linux_prints_the_same(kernel: None) -> None:
    with Session() as session:
        linux = {format: theirs(session, program) for format, program in PROGRAMS.items()}
    here = {format: ours(program) for format, program in PROGRAMS.items()}
    assert {format: (linux[format], here[format]) for format in linux if linux[format] != here[format]} == {}


def test_linux_disagrees_when_signs_are_lost(kernel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    format = "%d %i %u %x %X"
    with Session() as session:
        linux = theirs(session, PROGRAMS[format])
    convert = formats._convert

    def unsigned(kind: str, flags: str, width: str, value: FormatValue, environment: Environment) -> str:
        return convert(kind.replace("d", "u"), flags, width, value, environment)

    monkeypatch.setattr(formats, "_convert", unsigned)
    assert ours(PROGRAMS[format]) != linux


def test_foreign_strings() -> None:
    environment = Environment(foreign={4096: b"name\0", 8192: bytes([127, 0, 0, 1])})
    values = [FormatValue(4096), FormatValue(8192), FormatValue(1), FormatValue(1)]
    assert printf(b"%s %pI4 %s %pI4\0", values, environment) == "name 127.0.0.1  0.0.0.0"
    assert printf(b"%s", values, environment) is None


def test_results_are_cut_off() -> None:
    assert ours(program("%20lld|%-20llu|", False, 8)) == (43, b" " * 7 + bytes(SIZE - 7))
