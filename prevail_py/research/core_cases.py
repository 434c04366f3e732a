"""The CO-RE cases of the kernel's selftests: what libbpf's authors expect of each relocation, and what is done here.

``python -m prevail_py.research.core_cases --markdown FILE`` compiles the programs (``test_core_reloc_*.c``), the types
that they are fitted to (``btf__core_reloc_*.c``) and, for this machine, the table of cases (``core_reloc.c``) from a
Debian kernel source package.  Each case gives the memory that the program reads, the types it is laid out by, and what
the program must then have written; or says that loading must fail.  Exit status 0 where all cases come out so, else 1.

The programs run in the reference interpreter, with one difference: reading kernel memory reads the memory of the case.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unittest.mock import patch

from prevail_py._render import Table
from prevail_py.objects.elf import load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.program import Program
from prevail_py.research.corpora.cache import CorpusError, cache_directory
from prevail_py.research.corpora.registry import KernelSelftests
from prevail_py.research.corpora.selftests import Compiled, compile_all, find_clang, prepare
from prevail_py.vm.environment import Environment
from prevail_py.vm.helpers import table as helpers
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.interpreter import run
from prevail_py.vm.machine import Machine
from prevail_py.vm.maps import create_maps
from prevail_py.vm.outcome import Returned

__all__ = ["Answer", "Case", "answer", "main", "read_cases"]

_SOURCES: Final = ("btf__core_reloc_*.c", "test_core_reloc_*.c")
_OUTPUT: Final = 256  # where the output begins in the data of all these programs
_KEY: Final = bytes(4)

# What the table needs of the test harness, and how it leaves the table: one JSON object a line.
_PROLOGUE: Final = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
struct btf;
typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
struct bpf_testmod_test_read_ctx { char *buf; long off; unsigned long len; };
"""
_EPILOGUE: Final = r"""
static void hex(const char *name, const char *data, int size) {
  printf(",\"%s\":\"", name);
  for (int i = 0; i < size; i++) printf("%02x", (unsigned char)data[i]);
  printf("\"");
}
int main(void) {
  for (int i = 0; i < ARRAY_SIZE(test_cases); i++) {
    struct core_reloc_test_case *t = &test_cases[i];
    printf("{\"name\":\"%s\",\"object\":\"%s\",\"types\":\"%s\",\"program\":\"%s\",\"fails\":%s,\"computed\":%s",
           t->case_name, t->bpf_obj_file, t->btf_src_file ? t->btf_src_file : "", t->prog_name,
           t->fails ? "true" : "false", t->setup ? "true" : "false");
    hex("input", t->input, t->input_len);
    hex("output", t->output, t->output_len);
    printf("}\n");
  }
}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A case: ``program`` of ``object``, fitted to ``types``, turns ``input`` into ``output``, or fails to load.

    ``computed``: the output is only known when the harness runs, as numbers of types are.  Without ``types`` it is
    about the running kernel and modules that the harness loads.
    """

    name: str
    object: str
    types: str
    program: str
    fails: bool
    computed: bool
    input: bytes
    output: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a case; ``agrees`` is None where it is not decided here, and ``detail`` says why."""

    agrees: bool | None
    detail: str


def read_cases(tests: Path) -> list[Case]:
    """The table of cases of an unpacked source tree.  Raises :class:`CorpusError`."""
    path = tests / "prog_tests" / "core_reloc.c"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from error
    text, found, _ = text.partition("struct data {\n\tchar in[256];")
    if not found:
        raise CorpusError(f"{path}: the table of cases is not where it was in Linux 6.12")
    text = re.sub(r'#include (<test_progs.h>|"bpf_testmod/bpf_testmod.h"|<bpf/btf.h>)', "", text)
    names = "setup_type_id_case_\\w+|find_btf_type|__trigger_module_test_read"
    text = re.sub(rf"static int ({names})\((.*?)\)\s*\{{.*?\n\}}", r"static int \1(\2) { return 0; }", text, flags=re.S)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "table.c", Path(folder) / "table"
        source.write_text(_PROLOGUE + text + _EPILOGUE, encoding="utf-8")
        command = [find_clang(), "-w", f"-I{tests}", str(source), "-o", str(program)]
        for step in (command, [str(program)]):
            done = subprocess.run(step, capture_output=True, check=False, text=True)
            if done.returncode:
                lines = done.stderr.splitlines()
                raise CorpusError(f"{path}: {lines[0] if lines else f'exit status {done.returncode}'}")
    rows = (json.loads(line) for line in done.stdout.splitlines())
    return [
        Case(
            row["name"],
            row["object"].removesuffix(".bpf.o"),
            row["types"].removesuffix(".bpf.o"),
            row["program"],
            row["fails"],
            row["computed"],
            bytes.fromhex(row["input"]),
            bytes.fromhex(row["output"]),
        )
        for row in rows
    ]


def answer(case: Case, objects: Mapping[str, Path]) -> Answer:
    """Load and run a case."""
    if not case.types:
        return Answer(None, "needs what the harness loads into the kernel")
    for name in (case.object, case.types):
        if name not in objects:
            return Answer(None, f"{name}.c does not compile")
    try:
        programs = load_object(objects[case.object], btf=objects[case.types]).programs
    except ObjectError as error:
        return Answer(case.fails, f"refused: {error}")
    refused = [reason for program in programs.values() for reason in program.unsupported]
    poison = [reason for program in programs.values() for reason in program.poisoned.values()]
    if case.fails or refused:
        reasons = refused or poison
        return Answer(case.fails and bool(reasons), reasons[0] if reasons else "loads")
    program = programs.get(case.program)
    if program is None:
        return Answer(False, f"no program {case.program}")
    if program.program_type == "tracing":
        return Answer(None, "reads through a typed kernel pointer")
    if case.computed:
        return Answer(None, "the expected output is made by the harness")
    found = _run(program, case)
    return Answer(found == case.output, "" if found == case.output else f"{found.hex()}, not {case.output.hex()}")


def _run(program: Program, case: Case) -> bytes:
    environment = Environment()
    maps = create_maps(program.maps, environment)
    data = next(map for map in maps if map.spec.name == ".bss")
    assert isinstance(data, MutableMapping)
    data[_KEY] = case.input.ljust(data.spec.value_size, b"\0")
    reading = {**helpers.HELPERS, "bpf_probe_read_kernel": _read, "bpf_probe_read": _read}
    with patch.object(helpers, "HELPERS", reading):
        outcome = run(program, maps=maps, environment=environment).outcome
    if not isinstance(outcome, Returned):
        return str(outcome).encode()
    written = data[_KEY]
    assert isinstance(written, bytes)
    return written[_OUTPUT : _OUTPUT + len(case.output)]


def _read(machine: Machine, arguments: Sequence[Argument]) -> int:
    """Read the memory of the machine, which stands for the kernel's."""
    buffer, address = arguments[0], arguments[2].value
    region = machine.memory.find(address)
    if region is None:
        buffer.fill(bytes(buffer.extent))
        return -14
    at = address - region.base
    buffer.fill(bytes(region.data[at : at + buffer.extent]))
    return 0


def _rows(cases: Sequence[Case], compiled: Compiled) -> Iterator[tuple[Case, Answer]]:
    for case in cases:
        yield case, answer(case, compiled.objects)


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.core_cases", description=__doc__)
    parser.add_argument("--package", default="linux-source-6.12", help="the Debian package with the kernel's source")
    parser.add_argument("--cache", metavar="DIR", help="where sources and objects are kept")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there")
    options = parser.parse_args(arguments)
    cache = cache_directory(options.cache)
    try:
        compiled = compile_all(KernelSelftests(package=options.package, sources=_SOURCES), cache)
        cases = read_cases(prepare(options.package, cache).tests)
    except CorpusError as error:
        print(f"core_cases: {error}", file=sys.stderr)
        return 2
    rows = list(_rows(cases, compiled))
    shown = {True: "yes", False: "NO", None: "not decided"}
    table = Table(
        ("case", "libbpf", "agrees", "detail"),
        tuple((case.name, "refuses" if case.fails else "loads", shown[a.agrees], a.detail) for case, a in rows),
    )
    counts = [sum(a.agrees is value for _, a in rows) for value in (True, False, None)]
    summary = f"{len(rows)} cases: {counts[0]} agree, {counts[1]} do not, {counts[2]} are not decided here."
    print(f"{table}\n\n{summary}\n{compiled.provenance}")
    if options.markdown:
        lines = [f"| {' | '.join(row)} |" for row in (table.header, ("---",) * 4, *table.rows)]
        Path(options.markdown).write_text(
            "# CO-RE cases of the kernel's selftests\n\n"
            "What the authors of libbpf expect of each case, and whether the loader here agrees (`make core-cases`).\n"
            f"From {compiled.provenance}.\n\n{summary}\n\n" + "\n".join(lines) + "\n",
            encoding="utf-8",
        )
    return 0 if counts[1] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
