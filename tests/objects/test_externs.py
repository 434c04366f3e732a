"""Externs: kernel configuration, kernel variables and kernel functions."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from prevail_py.isa.instructions import Call, CallKfunc, LoadImmediate64, Pseudo
from prevail_py.objects import target as target_module
from prevail_py.objects.elf import ObjectFile, load_object
from prevail_py.objects.errors import ObjectError
from prevail_py.objects.kconfig import OptionForm, OptionType, OptionValueError, option_bytes
from prevail_py.objects.target import KERNEL_BTF, kernel_version
from prevail_py.verifier import VerdictKind, verify
from prevail_py.vm.interpreter import run
from prevail_py.vm.kernel.answer import AnswerKind
from prevail_py.vm.kernel.engine import ask_kernel
from prevail_py.vm.outcome import Returned, TrapKind, Trapped

PRELUDE = r"""
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64; typedef _Bool bool;
#define SEC(name) __attribute__((section(name), used))
#define KCONFIG __attribute__((section(".kconfig")))
#define KSYM __attribute__((section(".ksyms")))
#define WEAK __attribute__((weak))
enum libbpf_tristate { TRI_NO, TRI_YES, TRI_MODULE };
char _license[] SEC("license") = "GPL";
"""


def compiled(
    clang: str, folder: Path, source: str, *, btf: str | Path | None = KERNEL_BTF, kconfig: Path | None = None
) -> ObjectFile:
    text, path = folder / "a.c", folder / "a.o"
    text.write_text(PRELUDE + source)
    subprocess.run([clang, "-target", "bpf", "-g", "-O2", "-c", str(text), "-o", str(path)], check=True)
    return load_object(path, btf=btf, kconfig=kconfig)


# Configuration ------------------------------------------------------------------------------------------------------

OPTIONS = r"""
extern bool CONFIG_BOOL KCONFIG; extern enum libbpf_tristate CONFIG_TRI KCONFIG; extern char CONFIG_CHAR KCONFIG;
extern int CONFIG_NEGATIVE KCONFIG; extern u64 CONFIG_BIG KCONFIG; extern char CONFIG_TEXT[8] KCONFIG;
extern bool CONFIG_OFF KCONFIG WEAK; extern u8 CONFIG_OCTAL KCONFIG;
extern int LINUX_KERNEL_VERSION KCONFIG; extern bool LINUX_MADE_UP KCONFIG WEAK;
extern bool CONFIG_STRONG KCONFIG; extern bool CONFIG_WRONG KCONFIG; extern bool OTHER KCONFIG WEAK;
struct odd { int x; }; extern struct odd CONFIG_ODD KCONFIG;
#define READ(name, expression) SEC("socket") int name(void *c) { return (expression); }
READ(boolean, CONFIG_BOOL) READ(tri, CONFIG_TRI) READ(character, CONFIG_CHAR == 'm') READ(octal, CONFIG_OCTAL)
READ(negative, -CONFIG_NEGATIVE) READ(big, CONFIG_BIG >> 60) READ(text, CONFIG_TEXT[0]) READ(last, CONFIG_TEXT[7])
READ(off, CONFIG_OFF) READ(version, LINUX_KERNEL_VERSION) READ(made_up, LINUX_MADE_UP + 1)
READ(strong, CONFIG_STRONG) READ(wrong, CONFIG_WRONG) READ(other, OTHER) READ(odd, CONFIG_ODD.x)
"""
CONFIG = """# CONFIG_OFF is not set
CONFIG_BOOL=y
CONFIG_TRI=m
CONFIG_CHAR=m
CONFIG_NEGATIVE=-5
CONFIG_BIG=0xf000000000000000
CONFIG_TEXT="a long text"
CONFIG_OCTAL=017
CONFIG_WRONG=m
CONFIG_BOOL=n
CONFIG_ODD=1
"""


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_options_have_the_values_of_the_configuration(clang: str, tmp_path: Path, packed: bool) -> None:
    config = tmp_path / "config"
    config.write_bytes(gzip.compress(CONFIG.encode()) if packed else CONFIG.encode())
    loaded = compiled(clang, tmp_path, OPTIONS, kconfig=config, btf=None)
    (spec,) = (spec for spec in loaded.maps if spec.name == ".kconfig")
    assert spec.read_only
    found = {}
    for name, program in loaded.programs.items():
        outcome = None if program.unsupported else run(program).outcome
        found[name] = outcome.value & 0xFFFFFFFF if isinstance(outcome, Returned) else outcome or program.unsupported
    assert found == {
        "boolean": 1, "tri": 2, "character": 1, "octal": 15, "negative": 5, "big": 15, "text": ord("a"), "last": 0,
        "off": 0, "version": kernel_version(), "made_up": 1,
        "strong": (f"kconfig CONFIG_STRONG: not set in {config}",),
        "wrong": ("kconfig CONFIG_WRONG: 'm' is no value of type bool",),
        "other": ("kconfig OTHER: neither CONFIG_* nor a LINUX_* that is known",),
        "odd": ("kconfig CONFIG_ODD: its type is none of a configuration value",),
    }  # fmt: skip
    assert loaded.programs["off"].assumptions[0].startswith(f"kernel configuration {config} (sha256 ")
    assert loaded.programs["version"].assumptions == (
        f"LINUX_KERNEL_VERSION = {kernel_version():#x}, of the running kernel",
    )
    assert verify(loaded.programs["boolean"]).is_safe


def test_a_given_configuration_may_say_what_linux_variables_are(clang: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("LINUX_KERNEL_VERSION=0x60c00\n")
    source = 'extern int LINUX_KERNEL_VERSION KCONFIG; SEC("socket") int f(void *c) { return LINUX_KERNEL_VERSION; }'
    program = compiled(clang, tmp_path, source, kconfig=config).programs["f"]
    assert run(program).outcome == Returned(0x60C00)


def test_bad_configuration_files(clang: str, tmp_path: Path) -> None:
    source = 'extern int CONFIG_X KCONFIG; SEC("socket") int f(void *c) { return CONFIG_X; }'
    for data, reason in (
        (gzip.compress(b"x" * 100)[:-9], "damaged"),
        (b"\x1f\x8bnonsense", "damaged"),
        (gzip.compress(bytes(17 << 20)), "larger than 16 MiB"),
    ):
        path = tmp_path / "config"
        path.write_bytes(data)
        with pytest.raises(ObjectError, match=reason):
            compiled(clang, tmp_path, source, kconfig=path)
    with pytest.raises(ObjectError, match="No such file"):
        compiled(clang, tmp_path, source, kconfig=tmp_path / "missing")


@pytest.mark.parametrize(
    ("form", "size", "signed", "text", "answer"),
    [
        (OptionForm.INTEGER, 2, False, "65536", "does not fit"),
        (OptionForm.INTEGER, 2, True, "32768", "does not fit"),
        (OptionForm.INTEGER, 2, True, "-32768", b"\x00\x80"),
        (OptionForm.INTEGER, 4, False, "-1", "does not fit"),
        (OptionForm.INTEGER, 8, False, "-1", b"\xff" * 8),
        (OptionForm.INTEGER, 8, True, "18446744073709551616", "64 bits"),
        (OptionForm.INTEGER, 4, False, "12 ", "no integer"),
        (OptionForm.INTEGER, 4, False, "08", "no integer"),
        (OptionForm.INTEGER, 4, False, "y", "no value of type integer"),
        (OptionForm.INTEGER, 4, False, '"4"', "no value of type integer"),
        (OptionForm.BOOL, 1, False, "1", "no value of type bool"),
        (OptionForm.TRISTATE, 4, False, "n", bytes(4)),
        (OptionForm.TEXT, 4, False, '"ab"', b"ab\0\0"),
        (OptionForm.TEXT, 4, False, '"abcdef"', b"abc\0"),
        (OptionForm.TEXT, 4, False, '"', "closing quote"),
        (OptionForm.CHARACTER, 1, True, "-1", b"\xff"),
    ],
)
def test_values_and_types(form: OptionForm, size: int, signed: bool, text: str, answer: bytes | str) -> None:
    type = OptionType(form, size, size, signed)
    if isinstance(answer, bytes):
        assert option_bytes(type, text) == answer
    else:
        with pytest.raises(OptionValueError, match=answer):
            option_bytes(type, text)


def test_kernel_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Names:
        release, version = "6.1.0-9-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.27-1 (2023-05-08)"

    monkeypatch.setattr(os, "uname", Names)
    monkeypatch.setattr(target_module, "_UBUNTU", tmp_path / "signature")
    version = kernel_version.__wrapped__  # it is read once
    assert version() == 6 << 16 | 1 << 8 | 27
    Names.version = "#1 SMP"
    assert version() == 6 << 16 | 1 << 8
    Names.release = "4.9.300"
    assert version() == 4 << 16 | 9 << 8 | 255
    (tmp_path / "signature").write_text("Ubuntu 5.4.0-12.15-generic 5.4.8\n")
    assert version() == 5 << 16 | 4 << 8 | 8


# Symbols ------------------------------------------------------------------------------------------------------------

TARGET = """
int per_cpu_thing; struct wrong { int x; }; struct wrong typed_wrong;
long a_function(int x); long a_function(int x) { return x; }
void *other_function(int x, int y) { return 0; }
"""
SYMBOLS = r"""
extern const int per_cpu_thing KSYM; extern const int typed_wrong KSYM; extern const int typed_gone KSYM;
extern const int typed_weak KSYM WEAK; extern const void typeless KSYM; extern const void typeless_weak KSYM WEAK;
extern long a_function(int) KSYM; extern long a_function___flavour(int) KSYM; extern void other_function(int) KSYM;
extern void gone_function(int) KSYM; extern void weak_function(int) KSYM WEAK;
#define VALUE(name, expression) SEC("xdp") int name(void *c) { return ((u64)(expression) >> 8) & 1; }
VALUE(typed, &per_cpu_thing) VALUE(wrong, &typed_wrong) VALUE(gone, &typed_gone)
VALUE(weak, &typed_weak ? 256 : 0) VALUE(address, &typeless) VALUE(weak_address, &typeless_weak)
VALUE(call, a_function(1)) VALUE(flavour, a_function___flavour(1))
VALUE(function_address, &a_function)
SEC("xdp") int call_other(void *c) { other_function(1); return 2; }
SEC("xdp") int call_gone(void *c) { gone_function(1); return 2; }
SEC("xdp") int call_weak(void *c) { weak_function(1); return 2; }
SEC("xdp") int guarded(void *c) { if (weak_function) weak_function(1); return 2; }
"""


@pytest.fixture
def symbols(clang: str, tmp_path: Path) -> ObjectFile:
    target = tmp_path / "target.c"
    target.write_text(TARGET)
    flags = ["-target", "bpf", "-g", "-O0", "-w", "-c"]
    subprocess.run([clang, *flags, str(target), "-o", str(tmp_path / "target.o")], check=True)
    return compiled(clang, tmp_path, SYMBOLS, btf=tmp_path / "target.o")


def test_symbols_that_cannot_be_had(symbols: ObjectFile) -> None:
    found = {name: program.unsupported for name, program in symbols.programs.items() if program.unsupported}
    assert found == {
        "wrong": ("ksym typed_wrong: its type differs from that in the target BTF",),
        "gone": ("ksym typed_gone: not in the target BTF",),
        "call_other": ("kfunc other_function: its type differs from that in the target BTF",),
        "call_gone": ("kfunc gone_function: not in the target BTF",),
    }


def test_typed_symbols_keep_their_identity(symbols: ObjectFile) -> None:
    program = symbols.programs["typed"]
    (load,) = (i for i in program.code if isinstance(i, LoadImmediate64))
    assert load.pseudo is Pseudo.BTF_ID
    assert load.low > 0
    assert list(program.symbols.values()) == ["per_cpu_thing"]
    verdict = verify(program)
    assert verdict.kind is VerdictKind.UNSUPPORTED
    assert verdict.reason.startswith("address of kernel symbol per_cpu_thing")
    for name in ("call", "flavour"):
        program = symbols.programs[name]
        (pc,) = (pc for pc, i in enumerate(program.code) if isinstance(i, CallKfunc))
        assert program.symbols == {pc: "a_function"}
        assert verify(program).reason.startswith("kernel function a_function")
        outcome = run(program).outcome
        assert isinstance(outcome, Trapped)
        assert (outcome.trap.kind, outcome.trap.pc) == (TrapKind.UNSUPPORTED, pc)
        assert "a_function" in outcome.trap.message


def test_weak_symbols_that_are_missing_are_zero(symbols: ObjectFile) -> None:
    assert verify(symbols.programs["weak"]).is_safe
    assert run(symbols.programs["weak"]).outcome == Returned(0)
    assert verify(symbols.programs["guarded"]).is_safe
    called = symbols.programs["call_weak"]
    assert list(called.poisoned.values()) == ["call of the kernel function weak_function: not in the target BTF"]
    (slot,) = called.poisoned
    poison = called.code[slot]
    assert isinstance(poison, Call)
    assert 2002000000 <= poison.helper < 2002000100
    verdict = verify(called)
    assert verdict.kind is VerdictKind.UNSAFE
    assert [failure.message for failure in verdict.failures] == list(called.poisoned.values())


def test_addresses_of_another_kernel_are_not_known(symbols: ObjectFile) -> None:
    """Whatever they are: a branch on one goes both ways."""
    for name in ("address", "weak_address"):
        program = symbols.programs[name]
        assert verify(program).is_safe
        assert list(program.symbols.values()) == [{"address": "typeless", "weak_address": "typeless_weak"}[name]]
        (state,) = verify(program).invariants.before(len(program.code) - 1)
        assert "[0, 1]" in state


def test_typeless_symbols_of_the_running_kernel(clang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module, "_KALLSYMS", str(tmp_path / "kallsyms"))
    (tmp_path / "kallsyms").write_text(
        "ffffffff81000001 T here\nffffffff81000002 t twice\nffffffff81000003 t twice\n"
        "0000000000000000 T hidden\nffffffff81000009 d moved.llvm.123\tmodule\n"
    )
    target_module._kernel_symbols.cache_clear()
    try:
        names = ("here", "twice", "hidden", "moved", "gone")
        source = "".join(f"extern const void {name} KSYM;" for name in names) + "extern const void weak KSYM WEAK;"
        for name in (*names, "weak"):
            source += f'SEC("socket") int f_{name}(void *c) {{ return (u64)&{name} & 0xff; }}'
        programs = compiled(clang, tmp_path, source).programs
    finally:
        target_module._kernel_symbols.cache_clear()
    found = {name: p.unsupported or run(p).outcome for name, p in programs.items()}
    assert found == {
        "f_here": Returned(1),
        "f_twice": ("ksym twice: the running kernel has several symbols of that name",),
        "f_hidden": Returned(0),
        "f_moved": Returned(9),
        "f_gone": ("ksym gone: the running kernel has no such symbol",),
        "f_weak": Returned(0),
    }
    # A verdict must not depend on where the kernel was loaded this time.
    end = len(programs["f_here"].code) - 1
    assert ["[0, 255]" in state for state in verify(programs["f_here"]).invariants.before(end)] == [True]
    assert programs["f_weak"].assumptions == ("the running kernel has no symbol weak",)
    answer = ask_kernel(programs["f_hidden"])
    assert answer.kind is AnswerKind.NOT_LOADED


RUNNING = r"""
extern void bpf_rcu_read_lock(void) KSYM; extern void bpf_rcu_read_unlock(void) KSYM;
extern void no_such_function(void) KSYM WEAK;
extern const int bpf_prog_active KSYM WEAK;
static void *(*this_cpu_ptr)(const void *) = (void *)154;
SEC("raw_tp/sys_enter") int variable(void *c) {
  if (!&bpf_prog_active) return 0;
  return *(int *)this_cpu_ptr(&bpf_prog_active) & 1;
}
SEC("tc") int kfuncs(void *c) { bpf_rcu_read_lock(); bpf_rcu_read_unlock(); return 0; }
SEC("tc") int weak(void *c) { if (no_such_function) no_such_function(); return 0; }
SEC("tc") int poisoned(void *c) { no_such_function(); return 0; }
"""


@pytest.mark.skipif(not Path(KERNEL_BTF).exists(), reason="kernel engine: the kernel shows no BTF")
def test_the_kernel_takes_what_was_found_in_its_btf(clang: str, tmp_path: Path, kernel: None) -> None:
    programs = compiled(clang, tmp_path, RUNNING).programs
    answers = {name: ask_kernel(program) for name, program in programs.items()}
    assert answers["kfuncs"].kind is AnswerKind.ACCEPT, answers["kfuncs"]
    assert answers["weak"].kind is AnswerKind.ACCEPT, answers["weak"]
    # A kernel without CONFIG_KALLSYMS_ALL knows no addresses of variables; that it names it shows that the id is right.
    variable = answers["variable"]
    named = "find the address for kernel symbol" in variable.reason and "bpf_prog_active" in variable.reason
    assert variable.kind is AnswerKind.ACCEPT or named, variable
    assert verify(programs["weak"]).is_safe
    assert answers["poisoned"].kind is AnswerKind.REJECT
    assert "invalid func unknown#20020000" in answers["poisoned"].reason
    assert verify(programs["poisoned"]).kind is VerdictKind.UNSAFE


def test_ids_of_another_kernel_are_not_loaded(symbols: ObjectFile) -> None:
    for name in ("typed", "call"):
        answer = ask_kernel(symbols.programs[name])
        assert answer.kind is AnswerKind.NOT_LOADED
        assert "is not one of the running kernel" in answer.reason or "no bpf" in answer.reason
