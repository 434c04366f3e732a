"""Native code of proved programs beside clang's and the kernel's: ``python -m prevail_py.research.bench_jit``.

The programs are the kernels of ``prevail_py/examples/kernels``, proved SAFE and run through the gate's batches; clang
compiles the same C with ``-O2 -march=native``, and the kernel runs the same object by its own JIT (PROG_TEST_RUN).
Each round measures all of them in turns, and the kernel loads the program anew in each; what is reported are medians of
the ratios of CPU times.  All must compute what the interpreter does.

What a test run costs without the program (that of an empty program) is taken off the kernel's time.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import geometric_mean, median
from typing import Final

from prevail_py import examples
from prevail_py._render import Table
from prevail_py.objects.elf import load_object
from prevail_py.objects.program import Program
from prevail_py.objects.region_facts import RegionFacts
from prevail_py.objects.text import assemble
from prevail_py.verifier import verify
from prevail_py.vm.batch import PacketBatch
from prevail_py.vm.engines import EngineError, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Interpreter
from prevail_py.vm.jit.engine import JitEngine, JitProgram
from prevail_py.vm.maps import Map, create_maps
from prevail_py.vm.outcome import Returned

__all__ = ["KERNELS", "Kernel", "Speeds", "flow_rates", "kernel", "main", "measure"]

KERNELS: Final = (
    "parser", "strncmp", "popcount", "checksum", "sort", "binary_search", "siphash", "crc32", "xorshift",
)  # fmt: skip
"""All but the flow counter, which clang cannot compile to native code: it has no map of its own."""

_FOLDER: Final = Path(examples.__file__).parent / "kernels"
_SIZE: Final = 1024
_FUEL: Final = 1 << 62
_DRIVER: Final = """
int repeat(int (*run)(unsigned char *, unsigned char *), unsigned char *data, unsigned char *end, long count,
           unsigned *results)
{
    for (long i = 0; i < count; i++)
        results[i] = run(data, end);
    return 0;
}
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A program with the packet that it is measured on, and what its global data holds, by the name of the variable."""

    name: str
    program: Program
    facts: RegionFacts
    packet: bytes
    data: Mapping[str, bytes]

    def maps(self) -> Sequence[Map]:
        """Fresh maps, with the data in them."""
        maps = create_maps(self.program.maps)
        for map in maps:
            if self.data and map.spec.name == ".data":
                (content,) = self.data.values()
                map[bytes(4)] = content  # type: ignore[index]
        return maps


@dataclass(frozen=True, slots=True)
class Speeds:
    """Ratios of CPU times, medians: ours to clang's, ours to the kernel's, with fuel checks to without.

    ``nanoseconds`` is what a run takes us.
    """

    name: str
    nanoseconds: float
    to_clang: float
    to_kernel: float | None
    fuel: float


def kernel(name: str) -> Kernel:
    """A kernel with its input.  Raises :class:`EngineError` where it is not SAFE."""
    (program,) = load_object(_FOLDER / f"{name}.o").programs.values()
    verdict = verify(program, termination=True)
    if not verdict.is_safe:
        raise EngineError(f"{name}: {verdict.kind}")
    random = Random(name)
    packet, data = random.randbytes(_SIZE), {}
    match name:
        case "parser":
            packet = _tcp_packet(random)
        case "strncmp":
            half = bytes(random.randrange(1, 256) for _ in range(_SIZE // 2))
            packet = half + half[:480] + bytes(_SIZE // 2 - 480)
        case "popcount":
            data = {"words": random.randbytes(512 * 8)}
        case "binary_search":
            numbers = sorted(random.getrandbits(32) for _ in range(1023))
            data = {"table": array("I", [0, *numbers]).tobytes()}
        case _:
            pass
    return Kernel(name, program, verdict.region_facts(), packet, data)


def _tcp_packet(random: Random) -> bytes:
    options = (
        b"\x02\x04\x05\xb4\x03\x03\x07\x04\x02\x08\x0a" + random.randbytes(8) + b"\xfd\x04ok\xfe\x05yes\x1e\x04mp\0"
    )
    ethernet = random.randbytes(12) + b"\x81\x00\x00\x05\x08\x00"
    ip = b"\x46\x00" + random.randbytes(7) + b"\x06" + random.randbytes(10) + b"\x01\x01\x01\x01"
    header = (20 + len(options) + 3) // 4
    tcp = random.randbytes(12) + bytes([header << 4]) + random.randbytes(7) + options
    return (ethernet + ip + tcp).ljust(_SIZE, b"\0")


# Running ------------------------------------------------------------------------------------------------------------


class _Ours:
    """Proved native code, on a batch of one packet again and again."""

    def __init__(self, kernel: Kernel, *, fuel: bool) -> None:
        facts = replace(kernel.facts, instructions=None) if fuel else kernel.facts
        loaded = JitEngine(2).load(kernel.program)
        assert isinstance(loaded, JitProgram)
        loaded.trust(facts)
        if loaded.proved is None:
            raise EngineError(f"{kernel.name}: {loaded.checked_because}")
        self._proved = loaded.proved
        self._kernel = kernel
        self._maps = kernel.maps()
        self._batches: dict[int, PacketBatch] = {}
        self.run(1)  # compiled now

    def run(self, count: int) -> tuple[float, set[int]]:
        """CPU time in seconds for so many runs, and what they returned."""
        if count not in self._batches:
            buffer, place = _aligned(self._kernel.packet)
            offsets = array("Q", [place]) * count
            lengths = array("I", [len(self._kernel.packet)]) * count
            self._batches[count] = PacketBatch(buffer, offsets, lengths)
        began = time.process_time()
        result = self._proved.run_batch(self._batches[count], self._maps, Environment(), _FUEL)
        return time.process_time() - began, set(result.verdicts)


def _aligned(packet: bytes) -> tuple[bytearray, int]:
    """A buffer that has the packet at the beginning of a line of the cache, and where that is."""
    buffer = bytearray(len(packet) + 64)
    place = -ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % 64
    buffer[place : place + len(packet)] = packet
    return buffer, place


class _Clang:
    """What clang makes of the same C."""

    def __init__(self, kernel: Kernel, folder: Path, clang: str) -> None:
        library = folder / f"{kernel.name}.so"
        driver = folder / "driver.c"
        driver.write_text(_DRIVER, encoding="utf-8")
        objects = []
        for source in (_FOLDER / f"{kernel.name}.c", driver):
            objects.append(folder / f"{source.stem}.o")
            flags = ["-O2", "-march=native", "-fPIC", "-fno-semantic-interposition", "-c"]
            subprocess.run([clang, *flags, str(source), "-o", str(objects[-1])], check=True)
        subprocess.run([clang, "-shared", *map(str, objects), "-o", str(library)], check=True)
        self._library = ctypes.CDLL(str(library))
        for name, content in kernel.data.items():
            ctypes.memmove((ctypes.c_char * len(content)).in_dll(self._library, name), content, len(content))
        entry = re.findall(r"ENTRY\((\w+)\)", (_FOLDER / f"{kernel.name}.c").read_text(encoding="utf-8"))[-1]
        self._run = getattr(self._library, entry)
        self._buffer, place = _aligned(kernel.packet)
        self._packet = (ctypes.c_char * len(kernel.packet)).from_buffer(self._buffer, place)

    def run(self, count: int) -> tuple[float, set[int]]:
        """As :meth:`_Ours.run`."""
        results, start = array("I", bytes(4 * count)), ctypes.addressof(self._packet)
        place, _ = results.buffer_info()
        arguments = (ctypes.c_void_p(start), ctypes.c_void_p(start + len(self._packet)), ctypes.c_long(count))
        began = time.process_time()
        self._library.repeat(self._run, *arguments, ctypes.c_void_p(place))
        return time.process_time() - began, set(results)


class _Linux:
    """The kernel that runs here; times are its own, of runs that nothing interrupts."""

    def __init__(self, kernel: Kernel) -> None:
        from prevail_py.vm.kernel.execution import KernelProgram

        self._loaded, self._kernel = KernelProgram(kernel.program), kernel

    def run(self, count: int) -> tuple[float, set[int]]:
        """As :meth:`_Ours.run`; the program is loaded for it."""
        executions, nanoseconds = self._loaded.time(self._kernel.packet, maps=self._kernel.maps(), repeat=count)
        return nanoseconds * count * 1e-9, {_value(executions)}


def _value(execution: object) -> int:
    outcome = getattr(execution, "outcome", None)
    assert isinstance(outcome, Returned)
    return outcome.value & 0xFFFFFFFF


def measure(
    name: str, rounds: int, seconds: float, clang: str, *, with_kernel: bool, folder: Path, empty: Callable[[], float]
) -> Speeds:
    """Measure one kernel; ``empty`` gives the seconds of one test run of an empty program.

    Raises :class:`EngineError` where one of them computes something else than the interpreter.
    """
    chosen = kernel(name)
    expected = {_value(Interpreter(chosen.program).run(packet=chosen.packet, maps=chosen.maps()))}
    ours, fuelled = _Ours(chosen, fuel=False), _Ours(chosen, fuel=True)
    native = _Clang(chosen, folder, clang)
    linux = _Linux(chosen) if with_kernel else None
    count = 64
    while native.run(count)[0] < seconds and count < 1 << 24:
        count *= 2
    rows: list[tuple[float, float, float | None, float]] = []
    for _ in range(rounds):
        times = []
        for side in (ours, native, fuelled):
            taken, found = side.run(count)
            if found != expected:
                raise EngineError(f"{name}: {type(side).__name__} returns {found}, the interpreter {expected}")
            times.append(taken)
        theirs = None
        if linux is not None:
            repeat = max(count // 4, 1)
            taken, found = linux.run(repeat)
            if found != expected:
                raise EngineError(f"{name}: the kernel returns {found}, the interpreter {expected}")
            theirs = max(taken / repeat - empty(), 1e-9)
        rows.append((times[0] / count, times[1] / count, theirs, times[2] / count))
    return Speeds(
        name,
        1e9 * median(ours for ours, *_ in rows),
        median(ours / native for ours, native, *_ in rows),
        median(ours / theirs for ours, _, theirs, _ in rows if theirs) if with_kernel else None,
        median(fuel / ours for ours, _, _, fuel in rows),
    )


# The flow counter ---------------------------------------------------------------------------------------------------


def traffic(count: int, flows: int, seed: int = 1) -> PacketBatch:
    """TCP packets of so many flows in random order, 60 bytes each."""
    random = Random(seed)
    head = bytes(12) + b"\x08\x00\x45\x00\x00\x2e\x00\x00\x40\x00\x40\x06\x00\x00"
    made = [(head + random.randbytes(12)).ljust(60, b"\0") for _ in range(flows)]
    chosen = random.choices(range(flows), k=count)
    data = bytearray(b"".join(made[number] for number in chosen))
    return PacketBatch(data, array("Q", range(0, 60 * count, 60)), array("I", [60]) * count)


def flow_rates(count: int, flows: int, rounds: int, *, with_kernel: bool) -> tuple[float, float | None]:
    """Packets per second of CPU time on one core by the batch API, and of the kernel's test runs.

    Verdicts and maps are compared with the interpreter's on the first hundredth of the packets.
    """
    from prevail_py.vm.kernel.execution import KernelProgram

    chosen = kernel("flow_counter")
    loaded = JitEngine(2).load(chosen.program)
    loaded.trust(chosen.facts)
    batch = traffic(count, flows)
    prefix = PacketBatch.of(batch[: count // 100])
    ours, theirs = create_maps(chosen.program.maps), create_maps(chosen.program.maps)
    result = loaded.run_batch(prefix, maps=ours)
    expected = [_value(Interpreter(chosen.program).run(packet=packet, maps=theirs)) for packet in prefix]
    if list(result.verdicts) != expected or ours != theirs:
        raise EngineError("flow_counter: the batch and the interpreter differ")
    rates, kernel_rates = [], []
    for _ in range(rounds):
        maps = create_maps(chosen.program.maps)
        began = time.process_time()
        loaded.run_batch(batch, maps=maps)
        rates.append(count / (time.process_time() - began))
        if with_kernel:
            _, nanoseconds = KernelProgram(chosen.program).time(
                batch[0], maps=create_maps(chosen.program.maps), repeat=100_000
            )
            kernel_rates.append(1e9 / nanoseconds)
    return median(rates), median(kernel_rates) if with_kernel else None


# Compiling ----------------------------------------------------------------------------------------------------------


def compile_times(rounds: int) -> tuple[float, float]:
    """Seconds of CPU time to compile: at tier 0 the slowest program of up to 100 slots among kernels and examples, and
    at tier 2 a program of ten times the instructions to one of a tenth, as a ratio."""
    from prevail_py.research.families import FAMILIES

    small = [chosen for chosen in map(kernel, (*KERNELS, "flow_counter")) if len(chosen.program.code) <= 100]
    quick = max(median(_compile(chosen.program, chosen.facts, 0) for _ in range(rounds)) for chosen in small)
    sizes = []
    for size in (100, 1000):
        program = FAMILIES["straight_line"](size)
        facts = verify(program, termination=True).region_facts()
        sizes.append(median(_compile(program, facts, 2) for _ in range(rounds)))
    return quick, sizes[1] / sizes[0]


def _compile(program: Program, facts: RegionFacts, tier: int) -> float:
    from prevail_py.platforms import platform
    from prevail_py.vm.jit.proved.engine import compile_proved
    from prevail_py.vm.machine import prepare

    code, host = prepare(platform(program.platform), program, {}), platform(program.platform)
    maps = tuple(create_maps(program.maps))
    began = time.process_time()
    compile_proved(code, host, facts, maps, 0 if tier == 0 else 2)
    return time.process_time() - began


def _clang() -> str:
    for name in ("clang-19", "clang-20", "clang-18", "clang-17", "clang-16", "clang"):
        path = shutil.which(name)
        if path is not None:
            return path
    raise EngineError("no clang is installed")


def _empty(with_kernel: bool) -> Iterator[float]:
    from prevail_py.vm.kernel.execution import KernelProgram

    program = assemble("r0 = 2\nexit")
    program = replace(program, program_type="xdp", section="xdp")
    while True:
        yield KernelProgram(program).time(bytes(_SIZE), maps=(), repeat=100_000)[1] * 1e-9 if with_kernel else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m prevail_py.research.bench_jit", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.02, metavar="S", help="for each side and round")
    parser.add_argument("--packets", type=int, default=1_000_000, metavar="N", help="of the flow counter")
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="only these")
    parser.add_argument("--no-kernel", action="store_true", help="leave Linux out")
    arguments = parser.parse_args(argv)
    with_kernel = not arguments.no_kernel
    try:
        engine("jit")
        clang, empty = _clang(), _empty(with_kernel)
        with tempfile.TemporaryDirectory() as folder:
            speeds = [
                measure(
                    name,
                    arguments.rounds,
                    arguments.seconds,
                    clang,
                    with_kernel=with_kernel,
                    folder=Path(folder),
                    empty=empty.__next__,
                )
                for name in arguments.kernel or KERNELS
            ]
        print(_table(speeds))
        if not arguments.kernel:
            for flows in (1_000, 30_000):
                rate, theirs = flow_rates(arguments.packets, flows, 5, with_kernel=with_kernel)
                beside = "" if theirs is None else f", {rate / theirs:.2f} of the kernel's {theirs / 1e6:.1f} million"
                print(f"\nflow_counter, {flows} flows: {rate / 1e6:.1f} million packets per second{beside}")
            quick, growth = compile_times(arguments.rounds)
            print(f"\ncompiling at O0: at most {quick * 1e3:.1f} ms up to 100 slots; ten times the instructions at O2:")
            print(f"{growth:.1f} times the time")
    except EngineError as error:
        print(f"bench_jit: {error}", file=sys.stderr)
        return 1
    return 0


def _table(speeds: Sequence[Speeds]) -> str:
    rows = [
        (
            each.name,
            f"{each.nanoseconds:,.0f}",
            f"{each.to_clang:.2f}",
            "" if each.to_kernel is None else f"{each.to_kernel:.2f}",
            f"{each.fuel:.2f}",
        )
        for each in speeds
    ]
    kernels = [each.to_kernel for each in speeds if each.to_kernel]
    rows.append(
        (
            "geometric mean",
            "",
            f"{geometric_mean([each.to_clang for each in speeds]):.2f}",
            f"{geometric_mean(kernels):.2f}" if kernels else "",
            f"{geometric_mean([each.fuel for each in speeds]):.2f}",
        )
    )
    heads = ("kernel", "ns per run", "to `clang -O2`", "to the kernel's JIT", "fuel checks")
    return str(Table(heads, tuple(rows), frozenset({1, 2, 3, 4})))


if __name__ == "__main__":
    sys.exit(main())
