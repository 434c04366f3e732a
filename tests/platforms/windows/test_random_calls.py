"""Random calls of Windows' helpers: what is SAFE never traps, is within its invariants, and the same everywhere."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from prevail_py.host.gate import facts_of
from prevail_py.objects.program import MapSpec, Program
from prevail_py.research.oracle import examine
from prevail_py.verifier import verify
from prevail_py.verifier.verdict import Verdict, VerdictKind
from prevail_py.vm.engines import Trusting, engine
from prevail_py.vm.environment import Environment
from prevail_py.vm.helpers import table
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.helpers.table import HELPERS
from prevail_py.vm.maps import create_maps
from prevail_py.vm.outcome import Returned
from tests.platforms.windows.test_helpers import program

MAPS = (MapSpec("elements", 1, 4, 16, 4), MapSpec("numbers", 2, 4, 16, 2))
COPIES = ("bpf_memcpy_s", "bpf_memmove_s", "bpf_memcmp_s", "bpf_strncpy_s", "bpf_strncat_s")


def calls(random: Random) -> str:
    """A program that starts with eight words of its stack initialised, and with the first bytes of the packet."""
    lines = ["r6 = r1", "r7 = *(u64 *)(r1 + 0)", "r2 = *(u64 *)(r1 + 8)", "r3 = r7", "r3 += 16", "if r3 > r2 goto out"]
    for slot in range(1, random.choice((6, 8, 8, 8)) + 1):
        lines += [f"r1 = {random.getrandbits(64)} ll", f"*(u64 *)(r10 - {8 * slot}) = r1"]
    for _ in range(random.randrange(1, 6)):
        lines += random.choice((copies, copies, fills, lengths, takes, takes, asks))(random)
    return "\n".join([*lines, "r0 = *(u64 *)(r10 - 8)", "exit", "out: r0 = 1", "exit"])


def place(random: Random, register: int) -> list[str]:
    """A pointer to the stack mostly, and how far it may go is not looked at."""
    if random.random() < 0.2:
        return [f"r{register} = r7", f"r{register} += {random.choice((0, 0, 4, 8, 12))}"]
    return [f"r{register} = r10", f"r{register} += -{random.choice((8, 16, 24, 32, 40, 48, 56, 60, 64))}"]


def size(random: Random, register: int) -> list[str]:
    """A number, or one that is only known to be small."""
    if random.random() < 0.25:
        mask = random.choice((3, 7, 15))
        return [f"r{register} = *(u64 *)(r10 - 8)", f"r{register} &= {mask}"]
    return [f"r{register} = {random.choice((0, 1, 2, 4, 7, 8, 8, 12, 16, 24))}"]


def copies(random: Random) -> list[str]:
    name = random.choice(COPIES)
    return [*place(random, 1), *size(random, 2), *place(random, 3), *size(random, 4), f"call {name}"]


def fills(random: Random) -> list[str]:
    return [*place(random, 1), *size(random, 2), f"r3 = {random.randrange(256)}", "call bpf_memset"]


def lengths(random: Random) -> list[str]:
    return [*place(random, 1), *size(random, 2), "call bpf_strnlen_s"]


def takes(random: Random) -> list[str]:
    """Put an element, take it or another one, and use it where there was one."""
    index = random.randrange(2)
    key = ["r2 = r10", f"r2 += -{random.choice((4, 8, 12))}", f"r1 = map[idx:{index}] ll"]
    put = [*key, "r3 = r10", f"r3 += -{random.choice((16, 24, 32))}", "r4 = 0", "call bpf_map_update_elem"]
    use = random.choice((["r1 = *(u64 *)(r0 + 8)"], ["r1 = 7", "*(u64 *)(r0 + 0) = r1"], ["r1 = *(u64 *)(r0 + 12)"]))
    test = [f"if r0 == 0 goto +{len(use)}"] if random.random() < 0.9 else []
    return [*(put if random.random() < 0.7 else []), *key, "call bpf_map_lookup_and_delete_elem", *test, *use]


def asks(random: Random) -> list[str]:
    name = random.choice(
        ("bpf_ktime_get_ms", "bpf_get_current_process_start_key", "bpf_get_current_thread_create_time")
    )
    return [f"call {name}", "*(u64 *)(r10 - 16) = r0"]


def same_everywhere(given: Program, verdict: Verdict, random: Random) -> None:
    packet = random.randbytes(random.choice((10, 16, 64)))
    found = []
    for name in ("interpreter", "source", "jit"):
        world = Environment()
        loaded = engine(name).load(given)
        if isinstance(loaded, Trusting):
            loaded.trust(facts_of(verdict))
        maps = create_maps(given.maps, world)
        execution = loaded.run(packet=packet, maps=maps, environment=world)
        assert isinstance(execution.outcome, Returned), execution.outcome
        found.append((execution.outcome, execution.packet, [dict(each) for each in maps]))  # type: ignore[call-overload]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("part", range(3))
def test_random_calls(part: int) -> None:
    kinds: Counter[VerdictKind] = Counter()
    for seed in range(30 * part, 30 * part + 30):
        random = Random(seed)
        given = program(calls(random), *MAPS)
        verdict = verify(given, termination=True)
        kinds[verdict.kind] += 1
        if not verdict.is_safe:
            continue
        report = examine(given, verdict, runs=8, seed=seed, steered=0)
        assert not report.violations, (seed, report.violations)
        assert not report.unsupported
        same_everywhere(given, verdict, random)
    assert kinds[VerdictKind.SAFE] > 6
    assert kinds[VerdictKind.UNSAFE] > 6


def writes_more(machine: object, arguments: list[Argument]) -> int:
    """Eight bytes beyond the memory that was checked."""
    to = arguments[0]
    assert to.region is not None
    to.region.put(to.offset, b"\xff" * min(to.extent + 8, len(to.region.data) - to.offset))
    return 0


def test_a_planted_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a helper does beyond its contract is a state that the invariants exclude."""
    monkeypatch.setattr(table, "HELPERS", {**HELPERS, "bpf_memset": writes_more})
    assert any(violated(seed) for seed in range(40))


def violated(seed: int) -> bool:
    given = program(calls(Random(seed)), *MAPS)
    verdict = verify(given)
    return verdict.is_safe and bool(examine(given, verdict, runs=8, seed=seed, steered=0).violations)
