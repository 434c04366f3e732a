"""``prevail_assert``: proved or not by the verifier, trapped by the engines that check, nothing to Linux."""

from __future__ import annotations

import doctest
import shutil
import subprocess
from pathlib import Path

import pytest

from prevail_py.cli.main import main
from prevail_py.examples.functional import FOLDER
from prevail_py.include import FOLDER as INCLUDE
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.instructions import ASSERTION_MARK, LoadImmediate64, Pseudo, Register
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.verifier import check, verify
from prevail_py.verifier.assertions import AssertionKind, UserAssertion, assertions_of
from prevail_py.vm.engines import engine
from prevail_py.vm.kernel.engine import AnswerKind, ask_kernel_many
from prevail_py.vm.outcome import Returned, TrapKind, Trapped

PROGRAMS = load_object(FOLDER / "asserted.o").programs
MARK = f"r9 = {ASSERTION_MARK} ll"
INPUT = "r2 = *(u32 *)(r1 + 12)\n"


def _program(text: str) -> Program:
    return Program("asserted", "xdp", "xdp", assemble_text(text), licence="MIT")


def _kinds(text: str) -> set[str]:
    return {failure.assertion for failure in verify(_program(text)).failures}


def test_the_mark_spells_a_word() -> None:
    assert ASSERTION_MARK.to_bytes(8, "big") == b"prevail!"
    mark = LoadImmediate64(Register.R9, 0x61696C21, 0x70726576)
    assert mark.is_assertion
    assert not LoadImmediate64(Register.R9, 0x61696C21, 0x70726577).is_assertion
    assert not LoadImmediate64(Register.R9, 0x61696C21, 0x70726576, Pseudo.MAP_INDEX_VALUE).is_assertion
    assert assertions_of(mark) == (UserAssertion(),)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (f"{INPUT}r2 &= 7\nif r2 <= 7 goto ok\n{MARK}\nok:\nr0 = 2\nexit", set()),
        (f"{INPUT}r2 &= 8\nif r2 <= 7 goto ok\n{MARK}\nok:\nr0 = 2\nexit", {"user-assertion"}),
        # The domains do not know that squares are no 3 modulo 4; the solver does.
        (f"{INPUT}r2 *= r2\nr2 &= 3\nif r2 != 3 goto ok\n{MARK}\nok:\nr0 = 2\nexit", set()),
        # Behind an assertion it holds: what rests on it is not reported again.
        (
            f"{INPUT}if r2 <= 63 goto ok\n{MARK}\nok:\nr3 = r10\nr3 -= 64\nr3 += r2\nr4 = 0\n*(u8 *)(r3 + 0) = r4\n"
            "r0 = 2\nexit",
            {"user-assertion"},
        ),
        # In a loop it is about every turn.
        (f"r6 = 0\nnext:\nif r6 < 9 goto ok\n{MARK}\nok:\nr6 += 1\nif r6 < 9 goto next\nr0 = 2\nexit", set()),
        (
            f"r6 = 0\nnext:\nif r6 < 8 goto ok\n{MARK}\nok:\nr6 += 1\nif r6 < 9 goto next\nr0 = 2\nexit",
            {"user-assertion"},
        ),
        # It may be in a function that another one calls.
        (
            f"{INPUT}r1 = r2\ncall local f\nr0 = 2\nexit\nf:\nif r1 < 4 goto ok\n{MARK}\nok:\nr0 = 0\nexit",
            {"user-assertion"},
        ),
        (f"r1 = 3\ncall local f\nr0 = 2\nexit\nf:\nif r1 < 4 goto ok\n{MARK}\nok:\nr0 = 0\nexit", set()),
    ],
)
def test_verdict(text: str, kinds: set[str]) -> None:
    assert _kinds(text) == kinds


def test_a_verifier_that_forgets_them_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{INPUT}if r2 <= 7 goto ok\n{MARK}\nok:\nr0 = 2\nexit"
    assert _kinds(text) == {AssertionKind.USER_ASSERTION.value}
    decide = check._decide
    monkeypatch.setattr(check, "_decide", lambda s, t, a: [] if isinstance(a, UserAssertion) else decide(s, t, a))
    assert verify(_program(text)).is_safe


@pytest.mark.parametrize("name", ["interpreter", "source", "jit", "jit-O0"])
def test_engines_trap(name: str) -> None:
    if name.startswith("jit"):
        pytest.importorskip("llvmlite", reason="jit: llvmlite is not installed")
    loaded = engine(name).load(_program(f"r0 = 2\nif r1 == 0 goto ok\n{MARK}\nok:\nexit"))
    outcome = loaded.run(packet=b"").outcome
    assert isinstance(outcome, Trapped)
    assert (outcome.trap.kind, outcome.trap.pc) == (TrapKind.USER_ASSERTION, 2)
    fine = engine(name).load(_program(f"r0 = 2\nif r1 != 0 goto ok\n{MARK}\nok:\nexit"))
    assert fine.run(packet=b"").outcome == Returned(2)


class TestExamples:
    def test_verdicts(self) -> None:
        verdicts = {name: verify(program).is_safe for name, program in PROGRAMS.items()}
        assert verdicts == {"folded_twice": True, "folded_once": False, "clamped": True}

    @pytest.mark.parametrize("name", PROGRAMS)
    def test_the_compiler_left_them_in(self, name: str) -> None:
        assert any(isinstance(i, LoadImmediate64) and i.is_assertion for i in PROGRAMS[name].code)

    @pytest.mark.usefixtures("kernel")
    def test_linux_accepts_them_all(self) -> None:
        answers = ask_kernel_many(list(PROGRAMS.values()))
        assert {answer.kind for answer in answers} == {AnswerKind.ACCEPT}

    def test_objects_are_what_the_sources_compile_to(self, clang: str, tmp_path: Path) -> None:
        if not (
            shutil.which("make") and Path("/usr/include/bpf/bpf_helpers.h").exists() and clang.endswith("clang-19")
        ):
            pytest.skip("clang: make, clang 19 and libbpf's headers are needed to rebuild the examples")
        subprocess.run(["make", "-s", "-C", str(FOLDER), f"OUT={tmp_path}"], check=True, timeout=120)
        for path in sorted(FOLDER.glob("*.o")):
            old, new = load_object(path).programs, load_object(tmp_path / path.name).programs
            assert {name: old[name].code for name in old} == {name: new[name].code for name in new}, path.name

    def test_without_assertions_nothing_is_left(self, clang: str, tmp_path: Path) -> None:
        text = (
            '#include <prevail.h>\n__attribute__((section("xdp"), used)) int f(int *p)\n'
            "{ prevail_assert(*p < 3); return 2; }\n"
        )
        source = tmp_path / "f.c"
        source.write_text(text)
        command = [clang, "-target", "bpf", "-O2", "-Werror", "-Wall", f"-I{INCLUDE}", "-c", str(source)]
        found = []
        for more in ([], ["-DPREVAIL_NO_ASSERTIONS"]):
            path = tmp_path / f"f{len(more)}.o"
            subprocess.run([*command, *more, "-o", str(path)], check=True, timeout=60)
            (program,) = load_object(path).programs.values()
            found.append(any(isinstance(i, LoadImmediate64) and i.is_assertion for i in program.code))
        assert found == [True, False]


def test_include_dir(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["include-dir"]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "prevail.h").is_file()


def test_the_document(root: Path) -> None:
    text = (root / "docs" / "functional.md").read_text(encoding="utf-8")
    example = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, "functional.md", "functional.md", 0)
    report: list[str] = []
    results = doctest.DocTestRunner().run(example, out=report.append)
    assert results.attempted > 8
    assert not results.failed, "".join(report)
