"""CO-RE against compilers: an object is fitted to types that were compiled from another source file.

What to expect never comes from the code under test: a global variable of the target's source is the memory that the
relocated program reads, and offsets and sizes are constants that the compiler put into the target's object.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prevail_py.isa.instructions import Alu, Call, Immediate, Load
from prevail_py.objects import btf as btf_module
from prevail_py.objects import core_patch, core_relocations, core_specs, core_values
from prevail_py.objects.container import parse_container
from prevail_py.objects.core_values import Resolution
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.verifier import VerdictKind, verify
from prevail_py.vm.interpreter import run, run_memory
from prevail_py.vm.outcome import Returned, TrapKind, Trapped

PRELUDE = r"""
typedef signed char s8; typedef unsigned char u8; typedef short s16; typedef unsigned short u16;
typedef int s32; typedef unsigned int u32; typedef long long s64; typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
#define OFFSET(field) __builtin_preserve_field_info(field, 0)
#define SIZE(field) __builtin_preserve_field_info(field, 1)
#define EXISTS(field) __builtin_preserve_field_info(field, 2)
#define SIGNED(field) __builtin_preserve_field_info(field, 3)
#define LSHIFT(field) __builtin_preserve_field_info(field, 4)
#define RSHIFT(field) __builtin_preserve_field_info(field, 5)
#define TYPE(type, what) __builtin_preserve_type_info(*(typeof(type) *)0, what)
#define TYPE_ID(type, what) __builtin_btf_type_id(*(typeof(type) *)0, what)
#define ENUM(type, name, what) __builtin_preserve_enum_value(*(typeof(type) *)name, what)
#define VALUE(name, expression) SEC("raw_tp") u64 name(void *memory) { return expression; }
#define READ(s, field) ({ \
  const void *at = (const void *)(s) + OFFSET((s)->field); \
  asm volatile("" : "+r"(at)); /* else clang moves the relocation into loads that are not of the field's size */ \
  u64 word = 0; \
  switch (SIZE((s)->field)) { \
  case 1: word = *(const u8 *)at; break; \
  case 2: word = *(const u16 *)at; break; \
  case 4: word = *(const u32 *)at; break; \
  case 8: word = *(const u64 *)at; break; \
  } \
  word <<= LSHIFT((s)->field); \
  if (SIGNED((s)->field)) word = (u64)((s64)word >> RSHIFT((s)->field)); \
  else word >>= RSHIFT((s)->field); \
  word; })
"""


@dataclass(frozen=True)
class Compiler:
    """Compiles C text to objects in a folder."""

    clang: str
    folder: Path

    def __call__(self, name: str, source: str) -> Path:
        text, target = self.folder / f"{name}.c", self.folder / f"{name}.o"
        text.write_text(PRELUDE + source)
        flags = ["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wno-everything"]
        subprocess.run([self.clang, *flags, "-c", str(text), "-o", str(target)], check=True)
        return target

    def pair(self, local: str, target: str) -> Mapping[str, Program]:
        """The programs of ``local``, fitted to the types of ``target``."""
        return load_object(self("local", local), btf=self("target", target)).programs


@pytest.fixture
def compiler(clang: str, tmp_path: Path) -> Compiler:
    return Compiler(clang, tmp_path)


def result(program: Program, memory: bytes = b"") -> int:
    """What the program returns on plain memory."""
    assert program.unsupported == ()
    outcome = run_memory(program.code, memory).outcome
    assert isinstance(outcome, Returned), (program.name, outcome)
    return outcome.value


# Random layouts -----------------------------------------------------------------------------------------------------

INTEGERS = ("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64")
BITS = {"s8": 8, "u8": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32, "s64": 64, "u64": 64}


@dataclass(frozen=True)
class Field:
    """A field that both sides have: how each declares it, its value, and the expression that reads it."""

    name: str
    local: str
    target: str
    initial: str
    expected: int
    read: str


def _value(generator: random.Random, bits: int, signed: bool) -> int:
    value = generator.choice([generator.getrandbits(bits), (1 << bits) - 1, 1 << (bits - 1), 0])
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _field(generator: random.Random, name: str) -> Field:
    shape = generator.choice(["plain", "plain", "resized", "bits", "bits", "array", "nested", "pointer"])
    type = generator.choice(INTEGERS)
    signed = type[0] == "s"
    word = (1 << 64) - 1
    match shape:
        case "bits":
            width = generator.randint(1, min(BITS[type], 57))
            value = _value(generator, width, signed)
            # clang relocates only bit-fields that do not leave the alignment of what they are in.
            ours = f"struct {{ {type} {name}:{generator.randint(1, 8)}; }};"
            if generator.random() < 0.3:
                ours = f"{type} {name};"
            return Field(name, ours, f"{type} {name}:{width};", str(value), value & word, f"READ(s, {name})")
        case "resized":
            # Integers that differ in width and sign: only the field's own description makes sense of them.
            other = generator.choice(INTEGERS)
            value = _value(generator, BITS[type], signed)
            return Field(name, f"{other} {name};", f"{type} {name};", str(value), value & word, f"READ(s, {name})")
        case "array":
            length, index = generator.randint(2, 6), generator.randint(0, 1)
            values = [_value(generator, BITS[type], signed) for _ in range(length)]
            initial = "{" + ", ".join(map(str, values)) + "}"
            ours = f"{type} {name}[{generator.randint(2, 9)}];"
            return Field(name, ours, f"{type} {name}[{length}];", initial, values[index] & word, f"s->{name}[{index}]")
        case "nested":
            value = _value(generator, BITS[type], signed)
            ours = f"struct {{ {type} x; }} {name};"
            theirs = f"struct {{ u8 a, b, c; {type} x; }} {name};"
            return Field(name, ours, theirs, f"{{.x = {value}}}", value & word, f"s->{name}.x")
        case "pointer":
            value = generator.getrandbits(64)
            return Field(
                name, f"int *{name};", f"struct other *{name};", f"(void *){value}ul", value, f"(u64)s->{name}"
            )
        case _:
            value = _value(generator, BITS[type], signed)
            theirs = f"{type} {name};"
            if not signed and generator.random() < 0.5:
                wider = generator.choice([t for t in INTEGERS if t[0] == "u"])
                value = _value(generator, BITS[wider], False)
                theirs = f"{wider} {name};"
            return Field(name, f"{type} {name};", theirs, str(value), value & word, f"s->{name}")


def _aggregate(generator: random.Random, declarations: list[str]) -> str:
    """The declarations in any order, some of them in anonymous structs, with strangers between them."""
    generator.shuffle(declarations)
    lines = []
    for number, declaration in enumerate(declarations):
        if generator.random() < 0.3:
            lines.append(f"u{generator.choice([8, 16, 32])} stranger_{number};")
        if generator.random() < 0.25:
            declaration = f"struct {{ u8 inner_{number}; {declaration} }};"
        lines.append(declaration)
    return " ".join(lines)


@dataclass(frozen=True)
class Layouts:
    """Random structs, each with a sample in the target and a program for each field."""

    path: Path
    target: Path
    samples: Mapping[str, bytes]
    expected: Mapping[str, tuple[str, int]]  # program -> struct and value

    def mismatches(self) -> list[str]:
        """Programs that do not return the value that is in the sample."""
        wrong = []
        for name, program in load_object(self.path, btf=self.target).programs.items():
            struct, value = self.expected[name]
            outcome = run_memory(program.code, self.samples[struct]).outcome
            if program.unsupported or outcome != Returned(value):
                wrong.append(f"{name}: {outcome}, not {value} {program.unsupported}")
        return wrong


def layouts(compiler: Compiler, seed: int, structs: int) -> Layouts:
    generator = random.Random(seed)
    local, target = ["struct other;"], ["struct other { int x; };"]
    expected: dict[str, tuple[str, int]] = {}
    for number in range(structs):
        struct = f"layout_{number}"
        fields = [_field(generator, f"f{i}") for i in range(generator.randint(2, 9))]
        flavour = f"{struct}___mine" if number % 3 == 0 else struct
        local.append(f"struct {flavour} {{ {_aggregate(generator, [f.local for f in fields])} }} CORE;")
        initials = ", ".join(f".{field.name} = {field.initial}" for field in fields)
        theirs = f"{struct}___kernel" if number % 4 == 0 else struct
        target.append(f"struct {theirs} {{ {_aggregate(generator, [f.target for f in fields])} }};")
        target.append(f"struct {theirs} sample_{number} = {{ {initials} }};")
        for field in fields:
            name = f"read_{number}_{field.name}"
            local.append(f'SEC("raw_tp") u64 {name}(struct {flavour} *s) {{ return (u64)({field.read}); }}')
            expected[name] = (struct, field.expected)
    path, other = compiler("local", "\n".join(local)), compiler("target", "\n".join(target))
    return Layouts(path, other, {f"layout_{n}": v for n, v in _variables(other, "sample_").items()}, expected)


def _variables(path: Path, prefix: str = "") -> dict[str, bytes]:
    """The initial contents of the global variables whose names begin with ``prefix``, by the rest of the name."""
    container = parse_container(path.read_bytes())
    found = {}
    for section in container.sections:
        if section.name in (".data", ".bss", ".rodata"):
            data = bytes(section.data) or bytes(section.size)
            for symbol in container.symbols_in(section):
                name = container.symbol_name(symbol)
                if symbol.size and name.startswith(prefix):
                    found[name.removeprefix(prefix)] = data[symbol.value : symbol.value + symbol.size]
    return found


def facts(path: Path) -> dict[str, int]:
    """What the compiler of the target says: its global variables called ``fact_...``, as numbers."""
    return {name: int.from_bytes(data, "little") for name, data in _variables(path, "fact_").items()}


@pytest.mark.parametrize("seed", range(3))
def test_random_layouts_are_read_where_the_compiler_put_them(compiler: Compiler, seed: int) -> None:
    found = layouts(compiler, seed, 60)
    assert found.mismatches() == []
    assert len(found.expected) > 200


def _off_by_one(kind: core_specs.RelocationKind) -> Callable[..., Any]:
    original = core_values._value

    def planted(asked: core_specs.RelocationKind, spec: core_specs.Spec) -> Any:
        found = original(asked, spec)
        if asked is not kind or found.value is None:
            return found
        return core_values._Value(found.value ^ 1, exact=False, size=found.size, type=found.type)

    return planted


@pytest.mark.parametrize(
    ("module", "name", "replacement"),
    [
        (core_relocations, "essential_name", lambda name: name),
        (btf_module, "essential_name", lambda name: name),
        (core_values, "_zero_extended", lambda ours, theirs: False),
        (core_values, "_storage", lambda bit_offset, bits, size: (bit_offset // 8, size)),
        (core_values, "_value", _off_by_one(core_specs.RelocationKind.FIELD_SIGNED)),
        (core_values, "_value", _off_by_one(core_specs.RelocationKind.FIELD_LSHIFT_U64)),
        (core_values, "_value", _off_by_one(core_specs.RelocationKind.FIELD_RSHIFT_U64)),
        (core_values, "_value", _off_by_one(core_specs.RelocationKind.FIELD_BYTE_SIZE)),
    ],
    ids=["no flavours here", "no flavours there", "no resizing", "storage", "sign", "left", "right", "size"],
)
def test_planted_bugs_are_found(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, replacement: Any
) -> None:
    found = layouts(compiler, 7, 20)
    monkeypatch.setattr(module, name, replacement)
    monkeypatch.setattr(core_patch, "_check", lambda value, resolution: None)
    assert found.mismatches()


def test_planted_wrong_size_is_found(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    found = layouts(compiler, 7, 20)
    original = core_patch.patch

    def planted(instruction: Any, resolution: Resolution) -> Any:
        same = Resolution(resolution.old, resolution.new, resolution.exact)
        return original(instruction, same)

    monkeypatch.setattr(core_relocations, "patch", planted)
    assert found.mismatches()


# Every kind of relocation -------------------------------------------------------------------------------------------

TARGET = r"""
enum colour { RED = 7, GREEN___x = -3, BLUE = 5 };
enum huge { HUGE = 0x123456789abcdef0ull };
struct inner { u8 pad[3]; u16 deep[5]; };
typedef struct inner inner_t;
struct big {
  s32 a; s64 before;
  union { struct { u8 z; u16 in_struct; }; u32 in_union; };
  struct inner items[4]; s8 last[];
};
struct packed { u8 first; u32 spread:30; } __attribute__((packed));
typedef int number_t;
typedef long (*function_t)(struct inner *, int);
struct pointed;
struct shape { struct pointed *p; int count; enum colour colour; char name[16]; u64 more; };
typedef long (*other_function_t)(struct inner *, int);
struct same { u64 more; struct shape *next; int count; enum huge huge; int table[3]; };
other_function_t i; struct same *j;
struct big *a; enum colour b; inner_t *c; enum huge d; struct packed *e; number_t f; function_t g; struct shape *h;
u64 fact_before = __builtin_offsetof(struct big, before);
u64 fact_in_struct = __builtin_offsetof(struct big, in_struct);
u64 fact_deep = __builtin_offsetof(struct big, items[2].deep[3]);
u64 fact_last = __builtin_offsetof(struct big, last[9]);
u64 fact_second = sizeof(struct big) + __builtin_offsetof(struct big, before);
u64 fact_items_size = sizeof(((struct big *)0)->items);
u64 fact_item_size = sizeof(struct inner);
u64 fact_big_size = sizeof(struct big);
u64 fact_number_size = sizeof(number_t);
"""
LOCAL = r"""
enum colour { RED = 1, GREEN = 2, PINK = 3 };
enum huge { HUGE = 1ull << 40 };
enum lonely { LONELY = 1 };
struct inner { u16 deep[7]; } CORE;
typedef struct inner inner_t;
struct big {
  s16 before;
  struct { union { u32 in_union; u16 in_struct; }; };
  struct inner items[9]; s8 last[1]; int gone;
} CORE;
typedef int number_t;
typedef long (*function_t)(struct inner *, int);
typedef long (*other_function_t)(struct inner *);
struct missing { int x; } CORE;
struct shape { int count; struct pointed *p; enum colour colour; } CORE;
struct shape___wrong { int count; struct pointed *p; long name; } CORE;
struct same { int table[3]; struct shape *next; enum huge huge; };
struct same___table { int table[4]; };
struct same___sign { unsigned count; };
struct same___pointer { long next; };
VALUE(inner_local_id, TYPE_ID(struct inner, 0))
VALUE(inner_target_id, TYPE_ID(struct inner, 1))
VALUE(before, OFFSET(((struct big *)memory)->before))
VALUE(before_size, SIZE(((struct big *)memory)->before))
VALUE(before_exists, EXISTS(((struct big *)memory)->before))
VALUE(before_signed, SIGNED(((struct big *)memory)->before))
VALUE(before_left, LSHIFT(((struct big *)memory)->before))
VALUE(before_right, RSHIFT(((struct big *)memory)->before))
VALUE(in_struct, OFFSET(((struct big *)memory)->in_struct))
VALUE(deep, OFFSET(((struct big *)memory)->items[2].deep[3]))
VALUE(second, OFFSET(((struct big *)memory)[1].before))
VALUE(items_size, SIZE(((struct big *)memory)->items))
VALUE(item_size, SIZE(((struct big *)memory)->items[1]))
VALUE(item_out_of_bounds, EXISTS(((struct big *)memory)->items[5]))
VALUE(last_exists, EXISTS(((struct big *)memory)->last[0]))
VALUE(gone_exists, EXISTS(((struct big *)memory)->gone))
VALUE(big_exists, TYPE(struct big, 0))
VALUE(missing_exists, TYPE(struct missing, 0))
VALUE(missing_size, TYPE(struct missing, 1))
VALUE(big_size, TYPE(struct big, 1))
VALUE(number_size, TYPE(number_t, 1))
VALUE(function_exists, TYPE(function_t, 0))
VALUE(other_function_exists, TYPE(other_function_t, 0))
VALUE(shape_matches, TYPE(struct shape, 2))
VALUE(shape_wrong_matches, TYPE(struct shape___wrong, 2))
VALUE(big_matches, TYPE(struct big, 2))
VALUE(same_matches, TYPE(struct same, 2))
VALUE(same_table_matches, TYPE(struct same___table, 2))
VALUE(same_sign_matches, TYPE(struct same___sign, 2))
VALUE(same_pointer_matches, TYPE(struct same___pointer, 2))
VALUE(big_target_id, TYPE_ID(struct big, 1))
VALUE(missing_target_id, TYPE_ID(struct missing, 1))
VALUE(big_local_id, TYPE_ID(struct big, 0))
VALUE(red, ENUM(enum colour, RED, 1))
VALUE(red_exists, ENUM(enum colour, RED, 0))
VALUE(green, ENUM(enum colour, GREEN, 1))
VALUE(pink_exists, ENUM(enum colour, PINK, 0))
VALUE(lonely_exists, ENUM(enum lonely, LONELY, 0))
VALUE(huge, ENUM(enum huge, HUGE, 1))
"""


def test_all_kinds(compiler: Compiler) -> None:
    programs = compiler.pair(LOCAL, TARGET)
    found = {name: result(program) for name, program in programs.items()}
    said = facts(compiler.folder / "target.o")
    names = ("before", "in_struct", "deep", "second", "items_size", "item_size", "big_size", "number_size")
    assert {name: found[name] for name in names} == {name: said[name] for name in names}
    constants = {
        "before_size": 8, "before_exists": 1, "before_signed": 1, "before_left": 0, "before_right": 0,
        "item_out_of_bounds": 0, "last_exists": 1, "gone_exists": 0,
        "big_exists": 1, "missing_exists": 0, "missing_size": 0, "missing_target_id": 0,
        "function_exists": 1, "other_function_exists": 0,
        "same_matches": 1, "same_table_matches": 0, "same_sign_matches": 0, "same_pointer_matches": 0,
        "shape_matches": 0, "shape_wrong_matches": 0, "big_matches": 0,
        "red": 7, "red_exists": 1, "green": (1 << 64) - 3, "pink_exists": 0, "lonely_exists": 0,
        "huge": 0x123456789ABCDEF0,
    }  # fmt: skip
    assert {name: found[name] for name in constants} == constants
    for side in ("target", "local"):
        types = load_object(compiler.folder / f"{side}.o", btf=None).btf
        assert types is not None
        for struct in ("inner", "big"):  # one asks for the local id first, the other last
            assert types.type(found.pop(f"{struct}_{side}_id")).name == struct
    assert set(found) == {*names, *constants}


# No match, several matches, no fit ------------------------------------------------------------------------------------

GUARDED = r"""
struct s { int kept, gone; } CORE;
struct s___other { int gone; } CORE;
struct xdp_md { u32 data, data_end; };
static long (*probe_read)(void *, u32, const void *) = (void *)113;
SEC("xdp") int reached(struct xdp_md *ctx) { return OFFSET(((struct s *)0)->gone) & 1; }
SEC("xdp") int guarded(struct xdp_md *ctx) {
  if (EXISTS(((struct s *)0)->gone)) return OFFSET(((struct s *)0)->gone) & 1;
  return 2;
}
SEC("xdp") int wide(struct xdp_md *ctx) {
  enum colour { RED };
  return ENUM(enum colour, RED, 1) & 1;
}
SEC("xdp") int plain(struct xdp_md *ctx) { return OFFSET(((struct s *)0)->kept) & 1; }
"""


def test_what_the_target_does_not_have_may_not_be_reached(compiler: Compiler) -> None:
    programs = compiler.pair(GUARDED, "struct s { u64 first; int kept; } s;")
    reached, guarded = programs["reached"], programs["guarded"]
    (slot, reason), *rest = reached.poisoned.items()
    assert not rest
    assert reason == "CO-RE relocation, field byte offset of struct s.gone: not in the target BTF"
    assert reached.code[slot] == Call(195896080)
    verdict = verify(reached)
    assert verdict.kind is VerdictKind.UNSAFE
    assert [(failure.pc, failure.message) for failure in verdict.failures] == [(slot, reason)]
    outcome = run(reached).outcome
    assert isinstance(outcome, Trapped)
    assert (outcome.trap.kind, outcome.trap.pc, outcome.trap.message) == (TrapKind.HELPER_UNAVAILABLE, slot, reason)
    assert guarded.poisoned
    assert verify(guarded).is_safe
    assert run(guarded).outcome == Returned(2)
    assert programs["plain"].poisoned == {}
    assert verify(programs["plain"]).is_safe


def test_a_poisoned_wide_load_is_poisoned_in_both_slots(compiler: Compiler) -> None:
    program = compiler.pair(GUARDED, "int s;")["wide"]
    slots = sorted(program.poisoned)
    assert slots[1] == slots[0] + 1
    assert [program.code[slot] for slot in slots] == [Call(195896080)] * 2
    assert verify(program).kind is VerdictKind.UNSAFE


def test_assumptions_name_the_target(compiler: Compiler) -> None:
    programs = compiler.pair(GUARDED, "struct s { u64 first; int kept; } s;")
    path = str(compiler.folder / "target.o")
    (assumption,) = programs["guarded"].assumptions
    assert assumption.startswith(f"target BTF {path} (sha256 {programs['guarded'].target_btf[:16]})")
    assert verify(programs["guarded"]).assumptions == (assumption,)
    nothing = load_object(compiler("nothing", 'SEC("xdp") int f(void *c) { return 2; }'), btf=path).programs["f"]
    assert (nothing.assumptions, nothing.target_btf) == ((), "")


def test_without_a_target_programs_that_need_none_are_supported(compiler: Compiler) -> None:
    programs = load_object(compiler("local", LOCAL), btf=None).programs
    assert programs["before"].unsupported == ("co-re: no target BTF was given",)
    assert verify(programs["before"]).kind is VerdictKind.UNSUPPORTED
    assert result(programs["big_local_id"]) > 0


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("struct s___a { int kept; }; struct s___b { long x; int kept; };", "ambiguous: at bit 0 and bit 64"),
        ("struct s___a { int kept; }; struct s___b { long x, kept; };", "ambiguous"),
        ("struct s___a { int kept, x; }; struct s___b { int kept, y; };", ""),
        ("struct s___a { int kept; }; struct s___b { int other; };", ""),
    ],
)
def test_several_types_of_one_name_must_agree(compiler: Compiler, target: str, answer: str) -> None:
    program = compiler.pair(GUARDED, target + "struct s___a *a; struct s___b *b;")["plain"]
    if answer:
        assert len(program.unsupported) == 1
        assert program.unsupported[0].startswith(f"co-re: field byte offset of struct s.kept: {answer}")
    else:
        assert program.unsupported == ()


ACCESSES = r"""
struct s { s32 signed_one; u32 unsigned_one; int *pointer; float real; u32 far; u8 small; } CORE;
VALUE(signed_one, ((struct s *)memory)->signed_one)
VALUE(unsigned_one, ((struct s *)memory)->unsigned_one)
VALUE(pointer, (u64)((struct s *)memory)->pointer)
VALUE(far, ((struct s *)memory)->far)
VALUE(far_offset, OFFSET(((struct s *)memory)->far))
VALUE(store, ((struct s *)memory)->small = 3)
VALUE(store_signed, ((struct s *)memory)->signed_one = 3)
"""


def test_accesses_change_their_size_only_where_that_keeps_the_number(compiler: Compiler) -> None:
    programs = compiler.pair(
        ACCESSES,
        "struct s { u16 x, unsigned_one; s64 signed_one; u8 pad[40000]; u64 far; u64 small; u32 pointer; } s;",
    )
    loads = [i for i in programs["unsigned_one"].code if isinstance(i, Load)]
    assert [(load.offset, load.size) for load in loads] == [(2, 2)]
    assert programs["far"].unsupported[0].endswith("offset 40016 does not fit into 16 bits")
    assert Immediate(40016) in [i.src for i in programs["far_offset"].code if isinstance(i, Alu)]
    reason = "CO-RE relocation, field byte offset of struct s.signed_one: 4 bytes here, 8 in the target"
    for name in ("signed_one", "store_signed"):
        assert [text.startswith(reason) for text in programs[name].poisoned.values()] == [True], name
    (reason,) = programs["pointer"].poisoned.values()  # an integer there
    assert reason == "CO-RE relocation, field byte offset of struct s.pointer: not in the target BTF"


def test_flexible_arrays_and_packed_bit_fields(compiler: Compiler) -> None:
    local = r"""
    struct s { int count; u16 items[]; } CORE;
    struct p { u64 :0; struct { u32 bits:5; }; } CORE;
    VALUE(item, ((struct s *)memory)->items[5])
    VALUE(item_offset, OFFSET(((struct s *)memory)->items[5]))
    VALUE(bits, READ((struct p *)memory, bits))
    """
    target = r"""
    struct s { u64 other; int count; u16 items[]; };
    struct p { u8 first; u32 bits:29; u32 more:3; } __attribute__((packed));
    struct s sample_s = {.items = {1, 2, 3, 4, 5, 6}};
    struct p sample_p = {0xff, 0x15555555, 7};
    u64 fact_item_offset = __builtin_offsetof(struct s, items[5]);
    """
    programs = compiler.pair(local, target)
    samples = _variables(compiler.folder / "target.o", "sample_")
    assert result(programs["item"], samples["s"]) == 6
    assert result(programs["item_offset"]) == facts(compiler.folder / "target.o")["item_offset"]
    assert result(programs["bits"], samples["p"].ljust(8, b"\xee")) == 0x15555555
