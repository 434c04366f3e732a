"""Global functions by contract: what is proved without following calls holds, and what is not is left alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from prevail_py.domains import facts
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Argument, MapSpec, Program, Subprogram
from prevail_py.platforms import platform
from prevail_py.research.oracle import examine
from prevail_py.verifier import Verdict, VerdictKind, analysis, globals, verify
from prevail_py.verifier.setting import Setting
from prevail_py.vm.interpreter import run
from prevail_py.vm.outcome import Trapped


def _map(name: str, key: int, value: int, entries: int) -> MapSpec:
    found = platform().map_type_by_name(name)
    assert found is not None
    return MapSpec(name, found.number, key, value, entries)


MAPS = (_map("array", 4, 16, 1), _map("ringbuf", 0, 0, 4096), _map("hash", 4, 16, 1))
NUMBER, LONG, CTX = Argument(), Argument("long", 8), Argument("xdp_md", 24)
NOT_NULL = Argument("long", 8, ("arg:nonnull",))


class Case(NamedTuple):
    """``proved``: by the contracts of the functions ``f`` and ``g``."""

    text: str
    proved: bool
    f: tuple[Argument, ...] | None = (NUMBER,)
    g: tuple[Argument, ...] | None = None
    packet: bytes = bytes(64)


# r7 is an index into the 16 bytes of a map value.
USE = """
r1 = map[idx:0][0]+0 ll
r1 += r7
r0 = *(u8 *)(r1 + 0)
out:
r0 = 2
exit
"""
PASS = "\nout:\nr0 = 2\nexit\n"
PASS_8_BYTES = "*(u64 *)(r10 - 8) = 7\nr1 = r10\nr1 += -8\ncall local f\n"
INDEXED = "f:\n{}\nr2 = map[idx:0][0]+0 ll\nr2 += r1\nr0 = *(u8 *)(r2 + 0)\nexit\n"
STORES = "f:\nr0 = 0\nif r1 == 0 goto +1\n*(u64 *)(r1 + 0) = {}\nexit\n"
PACKET = (
    "r6 = r1\nr7 = *(u32 *)(r6 + 0)\nr8 = *(u32 *)(r6 + 4)\nr2 = r7\nr2 += 8\nif r2 > r8 goto out\n"
    "{}call local f\nr0 = *(u8 *)(r7 + 0)\n"
)
CHAIN = "".join(f"f{n}:\ncall local f{n + 1}\nexit\n" for n in range(1, 7)) + "f7:\nr0 = 0\nexit\n"

CASES: dict[str, Case] = {
    "any number": Case("r1 = 7\ncall local f" + PASS + INDEXED.format("r1 &= 15"), True),
    "some numbers only": Case("r1 = 7\ncall local f" + PASS + INDEXED.format(""), False),
    "a pointer for a number": Case("call local f" + PASS + "f:\nr0 = 0\nexit\n", False),
    "nothing for a number": Case("r1 = 7\nr2 = 7\ncall local f" + PASS + "f:\nr0 = 0\nexit\n", False, (NUMBER,) * 3),
    "the context": Case("call local f" + PASS + "f:\nr0 = *(u32 *)(r1 + 12)\nexit\n", True, (CTX,)),
    "a moved context": Case("r1 += 8\ncall local f" + PASS + "f:\nr0 = 0\nexit\n", False, (CTX,)),
    "the context by its tag": Case(
        "call local f" + PASS + "f:\nr0 = *(u32 *)(r1 + 12)\nexit\n", True, (Argument("void", 0, ("arg:ctx",)),)
    ),
    "a tag that has no model": Case("call local f" + PASS + "f:\nr0 = 0\nexit\n", False, (CTX._replace(tags=("x",)),)),
    "memory": Case(PASS_8_BYTES + PASS + STORES.format(5), True, (LONG,)),
    "memory that may be null": Case(PASS_8_BYTES + PASS + "f:\nr0 = *(u64 *)(r1 + 0)\nexit\n", False, (LONG,)),
    "memory that is not null": Case(PASS_8_BYTES + PASS + "f:\nr0 = *(u64 *)(r1 + 0)\nexit\n", True, (NOT_NULL,)),
    "null where it may not be": Case("r1 = 0\ncall local f" + PASS + "f:\nr0 = 0\nexit\n", False, (NOT_NULL,)),
    "null where it may be": Case("r1 = 0\ncall local f" + PASS + STORES.format(5), True, (LONG,)),
    "more memory than there is": Case(
        PASS_8_BYTES + PASS + "f:\nr0 = 0\nif r1 == 0 goto +1\nr0 = *(u64 *)(r1 + 8)\nexit\n",
        False,
        (Argument("pair", 16),),
    ),
    "memory beyond what it says": Case(
        PASS_8_BYTES + PASS + "f:\nr0 = 0\nif r1 == 0 goto +1\nr0 = *(u64 *)(r1 - 8)\nexit\n", False, (LONG,)
    ),
    "memory that nobody wrote": Case("r1 = r10\nr1 += -8\ncall local f" + PASS + STORES.format(5), False, (LONG,)),
    "memory that holds a pointer": Case(
        "*(u64 *)(r10 - 8) = r1\nr1 = r10\nr1 += -8\ncall local f" + PASS
        + "f:\nr0 = *(u64 *)(r1 + 0)\nr0 *= 2\nexit\n",
        False,
        (NOT_NULL,),
    ),
    "memory that is not what it was": Case(
        PASS_8_BYTES + "r7 = *(u64 *)(r10 - 8)" + USE + STORES.format(20), False, (LONG,)
    ),
    "memory that is checked again": Case(
        PASS_8_BYTES + "r7 = *(u64 *)(r10 - 8)\nif r7 > 15 goto out" + USE + STORES.format(20), True, (LONG,)
    ),
    "a value of a map": Case(
        "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map[idx:2] ll\ncall 1\nr1 = r0\ncall local f" + PASS
        + STORES.format(5),
        True,
        (LONG,),
    ),
    "a result": Case("r1 = 7\ncall local f\nr7 = r0" + USE + "f:\nr0 = 20\nexit\n", False),
    "a result that is checked": Case(
        "r1 = 7\ncall local f\nr7 = r0\nif r7 > 15 goto out" + USE + "f:\nr0 = 20\nexit\n", True
    ),
    "no result": Case("r1 = 7\ncall local f" + PASS + "f:\nexit\n", False),
    "a pointer as a result": Case("r1 = 7\ncall local f" + PASS + "f:\nr0 = r10\nexit\n", False),
    "the packet moves": Case(
        PACKET.format("r1 = r6\n") + PASS + "f:\nr2 = 0\ncall 44\nr0 = 0\nexit\n", False, (CTX,)
    ),
    "the packet stays": Case(PACKET.format("r1 = r6\n") + PASS + "f:\nr0 = 0\nexit\n", True, (CTX,)),
    "memory of the packet": Case(PACKET.format("r1 = r7\n") + PASS + STORES.format(5), True, (LONG,)),
    "memory of a packet that moves": Case(
        PACKET.format("r1 = r7\nr2 = r6\n").replace("r0 = *(u8 *)(r7 + 0)", "r0 = 0") + PASS
        + "f:\nr6 = r1\nr1 = r2\nr2 = 0\ncall 44\nr0 = 0\nif r6 == 0 goto +1\nr0 = *(u64 *)(r6 + 0)\nexit\n",
        False,
        (LONG, CTX),
    ),
    "a reference that is kept": Case(
        "r1 = 7\ncall local f" + PASS + "f:\nr1 = map[idx:1] ll\nr2 = 16\nr3 = 0\ncall 131\nr0 = 0\nexit\n", False
    ),
    "a reference that is released": Case(
        "r1 = 7\ncall local f" + PASS + "f:\nr1 = map[idx:1] ll\nr2 = 16\nr3 = 0\ncall 131\nif r0 == 0 goto +4\n"
        "r1 = r0\nr2 = 0\ncall 132\nr0 = 0\nexit\nr0 = 0\nexit\n",
        True,
    ),
    "a function that calls another": Case(
        "r1 = 7\ncall local f" + PASS + "f:\nr6 = r1\ncall local g\nr1 = r6\ncall local g\nexit\n"
        + "g:\nr1 &= 15\nr2 = map[idx:0][0]+0 ll\nr2 += r1\nr0 = *(u8 *)(r2 + 0)\nexit\n",
        True,
        g=(NUMBER,),
    ),
    "one contract of two": Case(
        "r1 = 7\ncall local f" + PASS + "f:\nr6 = r1\ncall local g\nr1 = r6\ncall local g\nexit\n"
        + "g:\nr2 = map[idx:0][0]+0 ll\nr2 += r1\nr0 = *(u8 *)(r2 + 0)\nexit\n",
        False,
        g=(NUMBER,),
    ),
    "another function of which the call does not fit": Case(
        "r1 = 0\ncall local g\nr1 = 7\ncall local f" + PASS + "f:\nr0 = 0\nexit\n" + "g:\nr0 = r1\nexit\n",
        True,
        g=(NOT_NULL,),
    ),
    "as deep as it may be": Case(
        "call local f" + PASS + "f:\ncall local f1\nexit\n" + CHAIN.replace("call local f7\n", "r0 = 0\n"), True, ()
    ),
    "too deep": Case("call local f" + PASS + "f:\ncall local f1\nexit\n" + CHAIN, False, ()),
}  # fmt: skip


def program(case: Case) -> Program:
    code = assemble_text(case.text)
    # Where functions start: the slots in front of their labels.
    labels = {}
    for name in re.findall(r"^(f|g|f\d):$", case.text, re.MULTILINE):
        before = re.sub(r"(call local|goto) [a-z]\w*", r"r0 = 0", case.text.split(f"\n{name}:\n")[0])
        labels[name] = len(assemble_text(re.sub(r"if r\d \S+ \S+ r0 = 0", "r0 = 0", before)))
    starts = sorted([("main", 0), *labels.items()], key=lambda each: each[1])
    prototypes: Mapping[str, Any] = {"f": case.f, "g": case.g}
    subprograms = [
        Subprogram(name, start, end, True, prototypes.get(name))
        for (name, start), end in zip(starts, [*[start for _, start in starts[1:]], len(code)], strict=True)
    ]
    return Program("globals", "xdp", "xdp", code, MAPS, tuple(subprograms), licence="GPL")


def by_contracts(made: Program) -> Verdict:
    setting = Setting(made, platform(), facts(), summaries=False)
    return analysis._Attempt(setting, 1, 50_000, False).by_contracts()


@pytest.mark.parametrize("name", CASES)
def test_what_contracts_prove(name: str) -> None:
    assert by_contracts(program(CASES[name])).is_safe is CASES[name].proved


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.proved])
def test_what_they_prove_holds(name: str) -> None:
    made = program(CASES[name])
    verdict = verify(made, contracts=True)
    assert verdict.is_safe
    report = examine(made, verdict, 6)
    assert not report.violations
    # Native code runs it with every check: the memory of a contract may be anybody's.
    with pytest.raises(ValueError, match="no facts"):
        verdict.region_facts()


def test_other_programs_get_the_verdict_that_they_had() -> None:
    for name, case in CASES.items():
        made = program(case)
        verdict = verify(made, contracts=True, smt=False)
        assert verdict.is_safe == (case.proved or verify(made, smt=False).is_safe), name


def test_contracts_are_for_what_takes_too_long() -> None:
    """200 calls of 300 instructions, each with another constant."""
    calls = "".join(f"r1 = {number}\ncall local f\n" for number in range(200))
    body = "f:\nr0 = r1\n" + "r0 ^= r1\nr0 += 3\nr0 *= 5\n" * 100 + "exit\n"
    made = program(Case(calls + PASS + body, True))
    followed = verify(made, contracts=False)
    assert (followed.kind, followed.reason) == (VerdictKind.UNKNOWN, "budget")
    verdict = verify(made)
    assert verdict.is_safe
    assert verdict.steps < followed.steps + 2000
    assert not examine(made, verdict, 2).violations
    static = replace(made, subprograms=tuple(replace(each, prototype=None) for each in made.subprograms))
    assert verify(static).reason == "budget"


# Prototypes ---------------------------------------------------------------------------------------------------------


SOURCE = """
#define SEC(name) __attribute__((section(name), used))
#define TAG(text) __attribute__((btf_decl_tag(text)))
struct xdp_md { unsigned data; };
struct pair { long a, b; };
typedef struct { int x; } anonymous;
enum e { A };
__attribute__((noinline)) int numbers(char a, const enum e b, unsigned long c) { return a + b + c; }
__attribute__((noinline))
long pointers(struct pair *p TAG("arg:nonnull"), int *q, anonymous *r, void *s, struct xdp_md *c)
{ return p->a + (q ? *q : 0) + (r ? r->x : 0) + (s != 0) + c->data; }
__attribute__((noinline)) void nothing(int *p) { if (p) *p = 0; }
static __attribute__((noinline)) int hidden(int a) { asm volatile("" : "+r"(a)); return a; }
int any;
SEC("xdp") int program(struct xdp_md *c)
{ struct pair p = {1, 2}; int n = 1; nothing(&n);
  return (numbers(1, A, 3) + pointers(&p, &n, 0, 0, c) + hidden(any)) & 1 ? 1 : 2; }
"""


def test_prototypes_are_read_from_btf(clang: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source.c", tmp_path / "source.o"
    source.write_text(SOURCE)
    subprocess.run([clang, "-target", "bpf", "-O2", "-g", "-c", str(source), "-o", str(target)], check=True)
    made = load_object(target).programs["program"]
    assert {each.name: each.prototype for each in made.subprograms} == {
        "program": None,
        "numbers": (NUMBER,) * 3,
        "pointers": (
            Argument("pair", 16, ("arg:nonnull",)),
            Argument("int", 4),
            Argument("anonymous", 4),
            Argument("void", 0),
            Argument("xdp_md", 4),
        ),
        "nothing": None,
        "hidden": None,
    }


# Planted bugs -------------------------------------------------------------------------------------------------------


def moves_nothing(setting: Any, graph: Any, real: Any = globals.contracts_of) -> Any:
    return [replace(contract, moves_packet=False) for contract in real(setting, graph)]


@pytest.mark.parametrize(
    ("attribute", "bug", "caught_by"),
    [
        ("_holds_numbers", lambda state, pointer, size: True, "memory that holds a pointer"),
        ("overwrite", lambda state, pointer, size, certain: None, "memory that is not what it was"),
        ("contracts_of", moves_nothing, "the packet moves"),
        ("_keeps", lambda state: True, "a reference that is kept"),
    ],
)
def test_planted_bugs_are_caught(monkeypatch: pytest.MonkeyPatch, attribute: str, bug: Any, caught_by: str) -> None:
    monkeypatch.setattr(globals, attribute, bug)
    made = program(CASES[caught_by])
    assert by_contracts(made).is_safe, "the table of cases would not notice"
    assert isinstance(run(made, packet=CASES[caught_by].packet).outcome, Trapped)
