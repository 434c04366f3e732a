"""LLVM as an oracle: ``llvm-mc`` reads our text to our bytes, ``llvm-objdump`` prints compiled code as we do.

What LLVM has no notation for is left out by name (``NO_LLVM_TEXT``); what it prints in other words is normalised: the
names of registers in plain loads and stores, number formats, symbolic targets.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.decode import decode
from prevail_py.isa.disassembler import disassemble
from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import (
    AddressSpaceCast,
    CallKfunc,
    CallLocal,
    Instruction,
    LoadAcquire,
    LoadImmediate64,
    LoadPacket,
    Pseudo,
    StoreRelease,
)
from prevail_py.research.strategies import instructions

SOURCE = """
typedef unsigned long long u64; typedef long long s64; typedef unsigned u32; typedef int s32; typedef short s16;
typedef signed char s8; typedef unsigned char u8; typedef unsigned short u16;
static long (*const helper)(void *) = (void *)1;
static __attribute__((noinline)) s32 sub(s32 a, u64 *p) { return a * 7 + (s32)__sync_fetch_and_add(p, 3); }
__attribute__((section("code"), used)) u64 entry(s8 *p, u64 *q, u32 *w, s32 n) {
  u64 r = p[0] + ((u16 *)p)[1] + ((u32 *)p)[1];
  SIGNED
  __sync_fetch_and_or(q, r);
  r ^= __sync_val_compare_and_swap(q, r, 5);
  r -= __sync_lock_test_and_set(q, 5);
  WORDS
  r = r / (u32)n + r % 1000 + ((u32)r >> (n & 31)) + ((s64)r >> 7);
  if (n < 5) r += sub(n, q);
  if ((s64)r > 0x123456789LL) r = __builtin_bswap32(r);
  if (r & 0x80) return 0x1122334455667788ULL;
  r += __builtin_bswap16(r);
  r += helper(q);
  r = -r;
  *q = r; *w = 7; *p = 3; ((volatile u64 *)q)[1] = -9; ((volatile u16 *)q)[4] = r;
  for (s32 i = 0; i < n; i++) r = r * 31 + q[i];
  return r;
}
"""
SIGNED = "r += p[1] + ((s16 *)p)[3] + ((s32 *)p)[5]; r += (s64)r / n; r += (s64)r % 7; r += (s32)r / n; r += (s8)n;"
WORDS = "r += __sync_val_compare_and_swap(w, (u32)r, 7); r += __sync_lock_test_and_set(w, 5);"


def tool(name: str, clang: str) -> str:
    """The LLVM tool that belongs to this clang, or skips."""
    suffix = Path(clang).name.removeprefix("clang")
    path = shutil.which(name + suffix) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*command: str | Path, text: str | None = None) -> str:
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def section(path: Path, name: str) -> bytes:
    from elftools.elf.elffile import ELFFile

    found = ELFFile(io.BytesIO(path.read_bytes())).get_section_by_name(name)
    data = found.data()
    assert isinstance(data, bytes)
    return data


def has_llvm_text(instruction: Instruction) -> bool:
    match instruction:
        case LoadAcquire() | StoreRelease():  # since LLVM 20
            return False
        case CallLocal() | CallKfunc():
            return False
        case LoadImmediate64(pseudo=pseudo):
            return pseudo is Pseudo.IMMEDIATE
        case LoadPacket(offset=offset, index=index):
            return index is None or offset == 0
        case AddressSpaceCast(to_space=to_space):
            return to_space < 1 << 15
        case _:
            return True


@given(st.lists(instructions().filter(has_llvm_text), min_size=100, max_size=200))
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_llvm_reads_our_text(clang: str, tmp_path_factory: pytest.TempPathFactory, code: list[Instruction]) -> None:
    output = tmp_path_factory.mktemp("mc") / "text.o"
    text = "".join(disassemble(instruction) + "\n" for instruction in code)
    run(tool("llvm-mc", clang), "-triple=bpf", "-mcpu=v4", "-filetype=obj", "-o", output, text=".text\n" + text)
    assert decode(section(output, ".text")) == decode(encode(code))


NUMBER = re.compile(r"(?<![\w.])(?P<sign>-?)(?P<digits>0x[0-9a-f]+|[0-9]+)\b")


def normal(text: str) -> str:
    text = re.sub(r"\s*<[^<>]*>$", "", text.strip())
    if re.search(r"\*\([us](8|16|32|64) \*\)\(", text) and not text.startswith("lock") and "atomic" not in text:
        text = re.sub(r"\bw([0-9]+)", r"r\1", text)
    return NUMBER.sub(lambda m: str(int(m["sign"] + m["digits"], 0) & 0xFFFFFFFFFFFFFFFF), text)


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v4"])
def test_we_print_compiled_code_as_llvm_does(clang: str, tmp_path: Path, version: str) -> None:
    source, output = tmp_path / "entry.c", tmp_path / "entry.o"
    text = SOURCE.replace("SIGNED", SIGNED if version == "v4" else "")
    source.write_text(text.replace("WORDS", WORDS if version in ("v3", "v4") else ""))
    run(clang, "-target", "bpf", f"-mcpu={version}", "-O2", "-c", source, "-o", output)
    width = "+alu32" if version in ("v3", "v4") else "-alu32"
    listing = run(tool("llvm-objdump", clang), "-d", "--no-show-raw-insn", f"--mattr={width}", "-j", "code", output)
    theirs = {int(m[1]): m[2] for m in re.finditer(r"^\s*([0-9]+):\s+(.*)$", listing, re.MULTILINE)}
    ours = {pc: i for pc, i in enumerate(decode(section(output, "code"))) if i is not None}
    assert len(ours) > 60
    assert theirs.keys() == ours.keys()
    for pc, instruction in ours.items():
        if not isinstance(instruction, CallLocal):  # printed as "call -1" there, for want of a relocation
            assert normal(disassemble(instruction)) == normal(theirs[pc]), pc
            assert assemble_text(theirs[pc])[0] == instruction
