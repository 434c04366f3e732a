"""Liveness: what each instruction reads and overwrites, and the promise as a whole.

The promise is that what is dead does not matter.  It is put to the test on random programs: at the start of each block
everything that is called dead is replaced by noise, and the program must take the same way to the same result.  The
machine that runs them has no illegal accesses, so that any program will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest

from prevail_py.cfg import effects
from prevail_py.cfg.builder import build
from prevail_py.cfg.effects import STACK, STACK_SHIFT, Effects, stack_bytes
from prevail_py.cfg.liveness import Liveness, liveness
from prevail_py.isa import flow, semantics
from prevail_py.isa.assembler import assemble_text
from prevail_py.isa.instructions import (
    Alu,
    AluOp,
    Atomic,
    AtomicOp,
    Branch,
    Call,
    CallLocal,
    EndianSwap,
    Exit,
    Immediate,
    Instruction,
    Jump,
    Load,
    LoadImmediate64,
    MayGoto,
    MoveSignExtend,
    Negate,
    Operand,
    Pseudo,
    Register,
    Store,
)
from prevail_py.objects.program import MapSpec, Program, Subprogram
from prevail_py.platforms import platform
from prevail_py.research.families import diamonds, nested_loops, stack_slots
from prevail_py.words import INT, Comparison, compare, evaluate

MAPS = (MapSpec("array", 2, 4, 8, 1), MapSpec("hash", 1, 6, 20, 8))


def program(text: str) -> Program:
    return Program("main", "xdp", "xdp", assemble_text(text), maps=MAPS)


def live(text: str, *, known_helpers: bool = True) -> tuple[set[int], set[int]]:
    """The registers and the bytes of the frame (as offsets from R10) that are live where the program starts."""
    built = program(text)
    found = liveness(build(built).entry, built, platform() if known_helpers else None)
    registers = {number for number in range(11) if found.registers[0] >> number & 1}
    return registers, {byte - 512 for byte in range(512) if found.stack[0] >> byte & 1}


def span(first: int, size: int) -> set[int]:
    return set(range(first, first + size))


ALL = span(-512, 512)


@pytest.mark.parametrize(
    ("text", "registers"),
    [
        ("exit", {0}),
        ("r0 = 1; exit", set()),
        ("r0 = r3; exit", {3}),
        ("w0 = w3; exit", {3}),
        ("r0 = (s8)r3; exit", {3}),
        ("r0 += r3; exit", {0, 3}),
        ("r0 += 1; exit", {0}),
        ("r0 = -r0; exit", {0}),
        ("r0 = bswap16 r0; exit", {0}),
        ("r0 = *(u32 *)(r1 + 0); exit", {1}),
        ("*(u32 *)(r1 + 0) = r2; exit", {0, 1, 2}),
        ("*(u32 *)(r1 + 0) = 2; exit", {0, 1}),
        ("r0 = 7 ll; exit", set()),
        ("if r1 > r2 goto +0; r0 = 0; exit", {1, 2}),
        ("if r1 > 2 goto +1; r0 = 0; exit", {0, 1}),
        ("goto +0; exit", {0}),
        ("may_goto +0; exit", {0}),
        ("r0 = 0; lock *(u64 *)(r1 + 0) += r2; exit", {1, 2}),
        ("r0 = atomic_fetch_add((u64 *)(r1 + 0), r0); exit", {0, 1}),
        ("r3 = atomic_fetch_add((u64 *)(r1 + 0), r3); r0 = r3; exit", {1, 3}),
        ("r0 = cmpxchg_64(r1 + 0, r0, r2); exit", {0, 1, 2}),
        ("r0 = load_acquire((u32 *)(r1 + 0)); exit", {1}),
        ("store_release((u32 *)(r1 + 0), r2); exit", {0, 1, 2}),
        ("r0 = *(u8 *)skb[0]; exit", {6}),
        ("r0 = *(u8 *)skb[r7]; exit", {6, 7}),
        ("call 7; exit", set()),  # get_prandom_u32 has no arguments
        ("call 1; exit", {1, 2}),
        ("r6 = r9; call 7; r0 = r6; exit", {9}),
        ("call 99999; exit", {1, 2, 3, 4, 5}),
        ("call kfunc 7; exit", {1, 2, 3, 4, 5}),
        ("callx r8; exit", {1, 2, 3, 4, 5, 8}),
        ("call local +1; exit; r0 = 0; exit", {1, 2, 3, 4, 5}),
        ("call local +2; r0 += r6; exit; r0 = 0; exit", {1, 2, 3, 4, 5, 6}),
    ],
)
def test_registers(text: str, registers: set[int]) -> None:
    assert live(text.replace("; ", "\n"))[0] == registers | {10}


KEY = "r2 = r10; r2 += -16; r1 = map[idx:1] ll"


@pytest.mark.parametrize(
    ("text", "stack"),
    [
        ("r0 = *(u32 *)(r10 - 8)", span(-8, 4)),
        ("r0 = *(s8 *)(r10 - 512)", {-512}),
        ("*(u64 *)(r10 - 8) = 0; r0 = *(u64 *)(r10 - 8)", set()),
        ("*(u32 *)(r10 - 8) = r1; r0 = *(u64 *)(r10 - 8)", span(-4, 4)),
        ("r0 = *(u64 *)(r10 - 8); *(u64 *)(r10 - 8) = r0", span(-8, 8)),
        ("r3 = r10; r3 += -8; r3 -= 8; *(u64 *)(r3 + 4) = 0; r0 = *(u64 *)(r10 - 16)", span(-16, 4)),
        ("r3 = -8; r3 += -8; r4 = r10; r4 += r3; r0 = *(u8 *)(r4 + 0)", {-16}),
        ("r0 = atomic_fetch_add((u64 *)(r10 - 8), r0)", span(-8, 8)),
        ("r0 = load_acquire((u32 *)(r10 - 8))", span(-8, 4)),
        ("store_release((u32 *)(r10 - 8), r2); r0 = *(u64 *)(r10 - 8)", span(-4, 4)),
        # Addresses that are not known exactly
        ("r3 = r10; r3 += r1; r0 = *(u8 *)(r3 + 0)", ALL),
        ("r3 = r10; r3 &= -8; r0 = *(u8 *)(r3 + 0)", ALL),
        ("w3 = w10; r0 = *(u8 *)(r3 + 0)", ALL),
        ("r3 = r10; r3 += r1; *(u64 *)(r3 + 0) = 0; r0 = *(u64 *)(r10 - 8)", span(-8, 8)),
        ("r3 = r10; if r1 > 0 goto +1; r3 += -8; r0 = *(u8 *)(r3 - 8)", ALL),
        ("r3 = r1; r0 = *(u8 *)(r3 + 0)", set()),
        # Addresses that get into memory: what is loaded may be one of them, except from the context
        ("*(u64 *)(r10 - 8) = r10; r3 = *(u64 *)(r10 - 8); r0 = *(u8 *)(r3 + 0)", ALL - span(-8, 8)),
        ("*(u64 *)(r10 - 8) = r10; r3 = *(u32 *)(r1 + 4); r0 = *(u8 *)(r3 + 0)", set()),
        ("r3 = *(u64 *)(r10 - 8); *(u64 *)(r10 - 8) = r10; r0 = *(u8 *)(r3 + 0)", span(-8, 8)),
        ("*(u64 *)(r10 - 8) = r10; call 7", ALL - span(-8, 8)),
        # Helpers
        (f"{KEY}; call 1", span(-16, 6)),
        (f"{KEY}; r3 = r10; r3 += -40; r4 = 0; call 2", span(-16, 6) | span(-40, 20)),
        ("r2 = r10; r2 += -16; r1 = r9; call 1", span(-16, 16)),  # which map is not known
        ("r2 = r10; r2 += r6; r1 = map[idx:1] ll; call 1", ALL),
        ("r1 = r10; r1 += -32; r2 = 8; r3 = 0; r4 = 0; call 28", span(-32, 8)),
        ("r1 = r10; r1 += -32; r2 = r6; r3 = 0; r4 = 0; call 28", span(-32, 32)),
        ("r1 = r10; r1 += -32; r2 = 0; r3 = 0; r4 = 0; call 28", span(-32, 32)),
        ("r3 = r10; r3 += -16; r4 = 8; call 189; r0 = *(u64 *)(r10 - 16)", set()),
        ("r3 = r10; r3 += -16; r4 = 4; call 189; r0 = *(u64 *)(r10 - 16)", span(-12, 4)),
        ("r3 = r10; r3 += -16; r4 = r6; call 189; r0 = *(u64 *)(r10 - 16)", span(-16, 8)),
        ("r2 = r10; r2 += -64; r3 = 64; call 69; r0 = *(u64 *)(r10 - 64)", span(-64, 64)),
        ("r3 = r10; r3 += -8; call 181", ALL),  # passed on to a callback
        ("r1 = r10; call 99999", ALL),
        ("r1 = r10; call kfunc 7", ALL),
        ("r6 = r10; call 99999", set()),
        # Subprograms
        ("r1 = r10; r1 += -8; call local +1; exit; r0 = 0", ALL),
        ("call local +1; exit; r0 = 0", set()),
        ("r1 = r10; call local +2; r0 = *(u8 *)(r0 + 0); exit; r0 = 0", ALL),
    ],
)
def test_stack(text: str, stack: set[int]) -> None:
    assert live(f"{text}; exit".replace("; ", "\n"))[1] == stack


def test_without_a_platform_helpers_may_read_everything_they_are_passed() -> None:
    assert live(f"{KEY}; call 1; exit".replace("; ", "\n"), known_helpers=False) == ({3, 4, 5, 10}, ALL)


def test_around_a_loop() -> None:
    built = program(
        "r6 = 9\nr3 = *(u64 *)(r10 - 8)\nr6 += -1\n*(u64 *)(r10 - 8) = r6\nif r6 != 0 goto -4\nr0 = 0\nexit"
    )
    function = build(built).entry
    found = liveness(function, built, platform())
    assert [found.registers[block.id] for block in function.blocks] == [1 << 10, 1 << 10 | 1 << 6, 1 << 10]
    assert [found.stack[block.id] for block in function.blocks] == [0xFF << 504, 0xFF << 504, 0]


def test_families() -> None:
    built = stack_slots(4)
    function = build(built).entry
    found = liveness(function, built, platform())
    assert found.stack[0] == 0
    assert found.stack[1] == (1 << 512) - 1 - (0xFF << 504)  # all, but for the slot that is overwritten at once
    assert found.stack[function.blocks[-1].id] == (1 << 512) - 1


def test_subprograms_have_frames_of_their_own() -> None:
    code = assemble_text("r1 = r10\nr1 += -8\ncall local +1\nexit\nr0 = *(u64 *)(r1 + 0)\nexit")
    declared = (Subprogram("main", 0, 4), Subprogram("reader", 4, 6))
    built = Program("main", "xdp", "xdp", code, subprograms=declared)
    reader = build(built).functions[1]
    assert liveness(reader, built, platform()) == Liveness((1 << 10 | 1 << 1,), (0,))


def test_sets_of_bytes_are_cut_to_the_frame() -> None:
    assert stack_bytes(-512, 512) == STACK
    assert stack_bytes(-600, 700) == STACK
    assert stack_bytes(-516, 8) == 0xF << STACK_SHIFT
    assert stack_bytes(-4, 8) == 0xF << STACK_SHIFT + 508
    assert stack_bytes(0, 8) == stack_bytes(-520, 8) == stack_bytes(-8, 0) == stack_bytes(-8, -4) == 0


# What is dead does not matter -----------------------------------------------------------------------------------------

FRAME = 0x7C15_39B9_7F4A_0000  # not to be met by chance
CODE_OF_MAP = 0x1234_0000_0000_0000
FUEL = 150


def noise(*seeds: int) -> int:
    return hash((*seeds, 0x9E3779B9)) & (1 << 64) - 1


class Machine:
    """Runs any program: outside of the frame, memory is made of noise that stores do not change."""

    def __init__(self, built: Program) -> None:
        self.program = built
        self.registers = [noise(number) for number in range(10)] + [FRAME + 512]
        self.frame = bytearray(noise(byte) & 255 for byte in range(512))

    def value(self, operand: Operand) -> int:
        return self.registers[operand] if isinstance(operand, Register) else semantics.immediate_word(operand.value)

    def read(self, address: int, size: int) -> int:
        data = bytes(
            self.frame[at - FRAME] if 0 <= at - FRAME < 512 else noise(at) & 255
            for at in range(address, address + size)
        )
        return int.from_bytes(data, "little")

    def write(self, address: int, size: int, value: int) -> None:
        for index, byte in enumerate((value & (1 << 8 * size) - 1).to_bytes(size, "little")):
            if 0 <= address + index - FRAME < 512:
                self.frame[address + index - FRAME] = byte

    def run(self, at_block: Callable[[Machine, int], None]) -> list[int]:
        """The ids of the blocks entered and, unless fuel ran out, the result."""
        function = build(self.program).entry
        starts = {block.start: block.id for block in function.blocks}
        trace = []
        pc = 0
        for _ in range(FUEL):
            if pc in starts:
                trace.append(starts[pc])
                at_block(self, starts[pc])
            instruction = self.program.code[pc]
            assert instruction is not None
            if isinstance(instruction, Exit):
                return [*trace, self.registers[0]]
            successors = flow.successors(self.program.code, pc)
            pc = successors[self.step(instruction)]
        return trace

    def step(self, instruction: Instruction) -> int:
        """Execute one instruction; which of its successors is next."""
        registers = self.registers
        match instruction:
            case Alu(dst=dst) | MoveSignExtend(dst=dst) | Negate(dst=dst) | EndianSwap(dst=dst):
                arguments = tuple(map(self.value, semantics.operands(instruction)))
                operation = semantics.operation(instruction)
                registers[dst] = arguments[0] if operation is None else evaluate(INT, operation, arguments)
            case LoadImmediate64(dst=dst, low=low, pseudo=Pseudo.MAP_INDEX):
                registers[dst] = CODE_OF_MAP + low
            case LoadImmediate64(dst=dst):
                registers[dst] = instruction.value
            case Load(dst, base, offset, size, signed):
                operation = semantics.load_op(size, signed)
                word = self.read(registers[base] + offset, size)
                registers[dst] = word if operation is None else evaluate(INT, operation, (word,))
            case Store(base, offset, size, src):
                self.write(registers[base] + offset, size, self.value(src))
            case Atomic(op, fetch, size, base, offset, src):
                address = registers[base] + offset
                old = self.read(address, size)
                new = registers[src]
                operation = semantics.atomic_op(op, size)
                if operation is not None:
                    new = evaluate(INT, operation, (old, registers[src]))
                if op is AtomicOp.CMPXCHG:
                    new = new if old == registers[0] & (1 << 8 * size) - 1 else old
                    registers[0] = old
                elif fetch:
                    registers[src] = old
                self.write(address, size, new)
            case Branch(comparison, width, dst, src):
                return int(compare(INT, comparison, registers[dst], self.value(src), width))
            case MayGoto():
                return 0
            case Call(helper):
                self.call(helper)
            case CallLocal():
                self.call_local()
            case Jump():
                pass
            case _:
                raise AssertionError(instruction)
        return 0

    def call(self, helper: int) -> None:
        registers = self.registers
        result = 0
        match helper:
            case 1:
                spec = MAPS[1] if registers[1] == CODE_OF_MAP + 1 else MAPS[0]
                result = noise(self.read(registers[2], spec.key_size))
            case 28:
                size = registers[2]
                result = noise(size, self.read(registers[1], size if size <= 512 else 0))
            case 189:
                if 0 < registers[4] <= 512:
                    for index in range(registers[4]):
                        self.write(registers[3] + index, 1, noise(index) & 255)
        registers[:6] = [result, *(noise(number) for number in range(5))]

    def call_local(self) -> None:
        """A callee that reads all it can, and leaves the addresses it was passed wherever it can."""
        exposed = [value for value in self.registers[1:6] if FRAME <= value <= FRAME + 512]
        result = noise(*self.registers[1:6])
        if exposed:
            result = noise(result, int.from_bytes(self.frame, "little"))
            for address in exposed:
                self.write(address, 8, exposed[0])
            if result & 1:
                result = exposed[0]
        self.registers[:6] = [result, *(noise(number) for number in range(5))]


def disagrees(built: Program) -> bool:
    """Whether replacing what is dead by noise changes the way or the result."""
    function = build(built).entry
    found = liveness(function, built, platform())
    dead = [
        (
            [number for number in range(11) if not found.registers[block.id] >> number & 1],
            [byte for byte in range(512) if not found.stack[block.id] >> byte & 1],
        )
        for block in function.blocks
    ]

    def spoil(machine: Machine, block_id: int) -> None:
        registers, stack = dead[block_id]
        for number in registers:
            machine.registers[number] = noise(block_id, number)
        for byte in stack:
            machine.frame[byte] = ~machine.frame[byte] & 255

    return Machine(built).run(lambda machine, block_id: None) != Machine(built).run(spoil)


NOP: Instruction = Alu(AluOp.MOV, 64, Register.R5, Immediate(0))
SLOTS = 24
OPS = (AluOp.MOV, AluOp.ADD, AluOp.SUB, AluOp.AND, AluOp.XOR)
ATOMICS = ((AtomicOp.ADD, False), (AtomicOp.ADD, True), (AtomicOp.XCHG, True), (AtomicOp.CMPXCHG, True))
COMPARISONS = (Comparison.EQ, Comparison.ULT, Comparison.SET)


def some_instructions(random: Random, pc: int, end: int) -> list[Instruction | None]:
    """A few instructions to stand at slot ``pc`` of a function with its exit at slot ``end``."""

    def register() -> Register:
        return Register(random.randrange(5))

    def address() -> tuple[Register, int]:
        return random.choice([register(), Register.R10]), random.randrange(-24, 0, 4)

    def source() -> Operand:
        number = Immediate(random.choice([-16, -8, -4, 0, 1, 4, 8]))
        operands: list[Operand] = [register(), register(), Register.R10, number, number]
        return random.choice(operands)

    size = random.choice([1, 2, 4, 8])
    match random.randrange(16):
        case 0 | 1:
            return [Alu(random.choice(OPS), random.choice([32, 64, 64, 64]), register(), source())]
        case 2:
            dst = register()
            return [Alu(AluOp.MOV, 64, dst, Register.R10), Alu(AluOp.ADD, 64, dst, Immediate(address()[1]))]
        case 3 | 4 | 5:
            return [Load(register(), *address(), size)]
        case 6 | 7 | 8:
            return [Store(*address(), size, source())]
        case 9:
            return [Atomic(*random.choice(ATOMICS), random.choice([4, 8]), *address(), register())]
        case 10:
            return [Branch(random.choice(COMPARISONS), 64, register(), source(), random.randrange(end - pc))]
        case 11:
            return [Branch(Comparison.ULT, 64, register(), source(), random.randrange(-pc - 1, 0))]
        case 12:
            key = [Alu(AluOp.MOV, 64, Register.R2, Register.R10), Alu(AluOp.ADD, 64, Register.R2, Immediate(-8))]
            wide = LoadImmediate64(Register.R1, random.randrange(2), pseudo=Pseudo.MAP_INDEX)
            return [*random.choice([key, []]), wide, None, Call(1)]
        case 13:
            return [Store(Register.R10, -8, 8, Register.R10)]
        case 14:
            dst = register()
            return [Load(dst, Register.R10, -8, 8), Load(dst, dst, address()[1], size)]
        case _:
            local = CallLocal(end - pc)
            calls: list[Instruction] = [Call(28), Call(189), Call(7), local, local]
            return [random.choice(calls)]


def some_program(seed: int) -> Program:
    random = Random(seed)
    end = SLOTS + 5
    code: list[Instruction | None] = []
    while len(code) < SLOTS:
        code += some_instructions(random, len(code), end)
    code += [NOP] * (end - len(code))
    code = [_off_wide_loads(code, pc) for pc in range(len(code))]
    code += [Exit(), Alu(AluOp.MOV, 64, Register.R0, Immediate(0)), Exit()]
    return Program("main", "xdp", "xdp", tuple(code), maps=MAPS)


def _off_wide_loads(code: Sequence[Instruction | None], pc: int) -> Instruction | None:
    """The instruction at ``pc``; a branch into the middle of a wide load becomes one to the load itself."""
    instruction = code[pc]
    if isinstance(instruction, Branch):
        target = flow.target(pc, instruction)
        if target < len(code) and code[target] is None:
            return replace(instruction, offset=instruction.offset - 1)
    return instruction


def test_what_is_dead_does_not_matter() -> None:
    assert [seed for seed in range(1000) if disagrees(some_program(seed))] == []


def _step_without_sources(self: Effects, instruction: Instruction) -> tuple[int, int]:
    reads, overwrites = STEP(self, instruction)
    if isinstance(instruction, Branch) and isinstance(instruction.src, Register):
        reads &= ~(1 << instruction.src)
    return reads, overwrites


STEP = Effects.step
ACCESSED = Effects._accessed
OVERWRITTEN = Effects._overwritten


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("step", _step_without_sources),
        ("_accessed", lambda self, base, offset, size: ACCESSED(self, base, offset, size - 1)),
        ("_accessed", lambda self, base, *where: 0 if base == effects._ANYWHERE else ACCESSED(self, base, *where)),
        ("_overwritten", lambda self, base, offset, size: OVERWRITTEN(self, base, offset, size + 1)),
        ("_loaded", lambda self, base: effects._OTHER),
        ("_unknown_call", lambda self: (0b111110, 0b111111)),
        ("_extent", lambda self, prototype, position: 1),
    ],
)
def test_planted_errors_are_found(name: str, broken: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Effects, name, broken)
    assert any(disagrees(some_program(seed)) for seed in range(3000))


# Cost -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [diamonds, stack_slots])
def test_steps_are_linear(family: Callable[[int], Program], count_lines: Callable[[Callable[[], object]], int]) -> None:
    def steps(size: int) -> int:
        built = family(size)
        function = build(built).entry
        return count_lines(lambda: liveness(function, built, platform()))

    platform().helper(1, "xdp")
    assert steps(1600) < 17 * steps(100)


def test_steps_grow_little_with_nesting(count_lines: Callable[[Callable[[], object]], int]) -> None:
    def steps(size: int) -> int:
        built = nested_loops(size)
        function = build(built).entry
        return count_lines(lambda: liveness(function, built, platform()))

    assert steps(64) < 10 * steps(8)
