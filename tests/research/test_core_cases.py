"""The harness for the kernel's CO-RE cases, on cases of its own: it must tell right from wrong."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from prevail_py.objects import core_specs
from prevail_py.research import core_cases
from prevail_py.research.core_cases import Answer, Case, answer, main, read_cases
from prevail_py.research.corpora.cache import CorpusError

PROGRAM = r"""
#define SEC(name) __attribute__((section(name), used))
struct { char in[256]; char out[256]; } data = {};
struct s { int value, gone; } __attribute__((preserve_access_index));
static long (*probe_read_kernel)(void *, unsigned, const void *) = (void *)113;
char _license[] SEC("license") = "GPL";
SEC("raw_tracepoint/sys_enter") int f(void *ctx) {
  return probe_read_kernel(&data.out, 4, &((struct s *)&data.in)->value);
}
SEC("raw_tracepoint/sys_enter") int g(void *ctx) { return 0; }
"""
GOOD = Case("good", "program", "types", "f", False, False, bytes(8) + b"abcd", b"abcd")


@pytest.fixture
def objects(clang: str, tmp_path: Path) -> dict[str, Path]:
    found = {}
    for name, source in (
        ("program", PROGRAM),
        ("types", "struct s { long other; int value; } s;"),
        ("empty", "struct s { long other; } s;"),
    ):
        text, found[name] = tmp_path / f"{name}.c", tmp_path / f"{name}.o"
        text.write_text(source)
        subprocess.run([clang, "-target", "bpf", "-g", "-O2", "-c", str(text), "-o", str(found[name])], check=True)
    return found


def test_cases_are_told_apart(objects: dict[str, Path]) -> None:
    assert answer(GOOD, objects) == Answer(True, "")
    assert answer(replace(GOOD, output=b"abce"), objects) == Answer(False, "61626364, not 61626365")
    assert answer(replace(GOOD, fails=True), objects) == Answer(False, "loads")
    missing = "CO-RE relocation, field byte offset of struct s.value: not in the target BTF"
    assert answer(replace(GOOD, types="empty", fails=True), objects) == Answer(True, missing)
    assert answer(replace(GOOD, types="empty"), objects).agrees is False
    assert answer(replace(GOOD, program="h"), objects) == Answer(False, "no program h")
    for undecided in (replace(GOOD, types=""), replace(GOOD, types="none"), replace(GOOD, computed=True)):
        assert answer(undecided, objects).agrees is None


def test_a_planted_bug_is_seen(objects: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_specs.Spec, "move", lambda spec, bits: setattr(spec, "bit_offset", 0))
    monkeypatch.setattr("prevail_py.objects.core_patch._check", lambda value, resolution: None)
    assert answer(GOOD, objects).agrees is False


def test_the_table_must_be_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="No such file"):
        read_cases(tmp_path)
    (tmp_path / "prog_tests").mkdir()
    (tmp_path / "prog_tests" / "core_reloc.c").write_text("int main(void) { return 0; }")
    with pytest.raises(CorpusError, match="not where it was"):
        read_cases(tmp_path)


def test_the_table_is_read_by_a_compiler(clang: str, tmp_path: Path) -> None:
    (tmp_path / "prog_tests").mkdir()
    (tmp_path / "prog_tests" / "core_reloc.c").write_text(
        "#include <test_progs.h>\n"
        "struct core_reloc_test_case { const char *case_name, *bpf_obj_file, *btf_src_file, *prog_name;\n"
        "  const char *input, *output; int input_len, output_len; bool fails; int (*setup)(void); };\n"
        'static struct core_reloc_test_case test_cases[] = {{"n", "o.bpf.o", 0, "p", "ab", "\\x01", 2, 1, true, 0}};\n'
        "struct data {\n\tchar in[256];\n};\n#error the rest is not read\n"
    )
    try:
        cases = read_cases(tmp_path)
    except CorpusError as error:
        pytest.skip(f"clang: it does not compile for this machine: {error}")
    assert cases == [Case("n", "o", "", "p", True, False, b"ab", b"\x01")]


def test_missing_sources_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*arguments: object) -> None:
        raise CorpusError("package linux-source-0: not to be had")

    monkeypatch.setattr(core_cases, "compile_all", broken)
    assert main(["--package", "linux-source-0", "--cache", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "core_cases: package linux-source-0: not to be had\n"
