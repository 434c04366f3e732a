"""What proved native code is run on: it does not look, so whoever hands it over must.

Each of these was wrong once, and read or wrote what it should not, or gave another answer than the reference.
"""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest

from prevail_py.host.gate import run_batch
from prevail_py.objects.program import MapSpec, Program
from prevail_py.objects.text import assemble
from prevail_py.verifier import verify
from prevail_py.vm.batch import PacketBatch
from prevail_py.vm.differential import contents
from prevail_py.vm.engines import Loaded
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import Execution, Interpreter
from prevail_py.vm.jit.engine import JitEngine, JitProgram
from prevail_py.vm.maps import create_map
from prevail_py.vm.maps.array import ArrayMap
from prevail_py.vm.maps.hash import HashMap
from prevail_py.vm.outcome import Returned

HASH, ARRAY, PER_CPU_HASH, PER_CPU = 1, 2, 5, 6
CONTEXT = bytes(12) + b"\1" + bytes(11)


def program(text: str, *maps: MapSpec) -> Program:
    return assemble(text, program_type="xdp", maps=maps)


def proved(made: Program) -> JitProgram:
    """Loaded on the optimising engine, with the facts of a verdict that is SAFE."""
    verdict = verify(made, termination=True)
    assert verdict.is_safe, verdict
    loaded = JitEngine().load(made)
    loaded.trust(verdict.region_facts())
    return loaded


def returned(execution: Execution) -> int:
    assert isinstance(execution.outcome, Returned)
    return execution.outcome.value


def lookup(index: int, then: str = "r0 = *(u64 *)(r0 + 0)\nexit") -> str:
    return f"""
        *(u32 *)(r10 - 4) = {index}
        r1 = map[idx:0] ll
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto out
        {then}
    out:
        r0 = 2
        exit"""


def test_maps_of_another_size() -> None:
    spec = MapSpec("a", ARRAY, 4, 8, 100_000)
    made = program(lookup(99_999), spec)
    small = [create_map(replace(spec, max_entries=1), Environment())]
    with pytest.raises(ValueError, match="differs in max_entries"):
        run_batch(made, [b""], maps=small)
    with pytest.raises(ValueError, match="uses 1 maps, not 0"):
        run_batch(made, [b""], maps=[])
    with pytest.raises(ValueError, match="differs in max_entries"):
        proved(made).run(maps=small)


def test_a_cpu_that_a_map_has_no_value_for() -> None:
    spec = MapSpec("a", PER_CPU, 4, 8, 1)
    loaded = proved(program(lookup(0), spec))
    maps = [create_map(spec, Environment(cpus=2))]
    assert returned(loaded.run(maps=maps, environment=Environment(cpus=2, cpu=1))) == 0
    with pytest.raises(ValueError, match="cannot be used on CPU 5"):
        loaded.run(maps=maps, environment=Environment(cpus=8, cpu=5))


def test_packets_that_are_not_where_they_should_be() -> None:
    for lengths in (array("i", [-1]), array("f", [1.0]), array("H", [1])):
        with pytest.raises(ValueError, match="lengths"):
            PacketBatch(bytearray(8), array("Q", [0]), lengths)  # type: ignore[arg-type]


def test_a_batch_stays_what_was_checked() -> None:
    offsets = array("Q", [0])
    batch = PacketBatch(bytearray(b"abcd"), offsets, array("I", [4]))
    offsets[0] = 1 << 40
    assert batch[0] == b"abcd"
    with pytest.raises(BufferError):
        batch.data[:] = b""
    with pytest.raises(BufferError):
        batch.data.extend(b"more")
    for view in (batch.offsets, batch.lengths):
        with pytest.raises(TypeError):
            view[0] = 9
    for name in ("data", "offsets", "lengths"):
        with pytest.raises(AttributeError):
            setattr(batch, name, b"")
    batch.data[:] = b"wxyz"
    assert batch.copy()[0] == b"wxyz"


def test_one_map_in_two_places() -> None:
    """Two maps that are defined alike may be one: what is stored through the first is loaded through the second."""
    one, other = (MapSpec(name, ARRAY, 4, 8, 1) for name in "ab")
    made = program(
        """
        r1 = map[idx:0][0]+0 ll
        r2 = map[idx:1][0]+0 ll
        *(u64 *)(r1 + 0) = 1
        *(u64 *)(r2 + 0) = 2
        r0 = *(u64 *)(r1 + 0)
        exit""",
        one,
        other,
    )
    shared = create_map(one, Environment())
    assert returned(Interpreter(made).run(maps=[shared, shared])) == 2
    loaded = proved(made)
    assert returned(loaded.run()) == 1
    assert returned(loaded.run(maps=[shared, shared])) == 2
    with pytest.raises(ValueError, match="two of its maps are the same"):
        loaded.run_batch(PacketBatch.of([b""]), maps=[shared, shared])


def test_random_numbers_that_were_chosen() -> None:
    made = program("call 7\nr6 = r0\ncall 7\nr6 += r0\nr0 = r6\nexit")
    loaded, plain = proved(made), Interpreter(made)
    worlds = [Environment(seed=3, randoms=(5, 6, 7)) for _ in range(2)]
    for _ in range(3):  # two that were chosen, one and one that follows, two that follow
        assert returned(loaded.run(environment=worlds[0])) == returned(plain.run(environment=worlds[1]))
        assert worlds[0].randoms == worlds[1].randoms


def test_a_run_during_a_run() -> None:
    """Another thread that is in native code has the buffers: the reference's way of running is taken."""
    made = program("r0 = 7\nexit")
    loaded = proved(made)
    code = loaded._proved
    assert code is not None
    arguments = (b"packet", None, None, Environment(), 100)
    assert code.run(*arguments) is not None
    with code._running:
        assert code.run(*arguments) is None
        assert returned(loaded.run(packet=b"packet")) == 7
    assert code.run(*arguments) is not None


def test_an_argument_that_is_a_pointer_or_a_number() -> None:
    made = program(
        """
        r7 = *(u32 *)(r1 + 12)
        r1 = 12345
        r2 = 0
        if r7 == 0 goto redirect
        r1 = r10
    redirect:
        call 23                        ; bpf_redirect
        exit"""
    )
    verdict = verify(made, termination=True)
    assert verdict.is_safe
    assert verdict.region_facts().unclear == {5}
    loaded = JitEngine().load(made)
    loaded.trust(verdict.region_facts())
    for context in (bytes(24), CONTEXT):
        native, plain = loaded.run(context=context), Interpreter(made).run(context=context)
        assert (native.outcome, native.redirect) == (plain.outcome, plain.redirect)


def test_a_load_from_the_context_or_from_the_stack() -> None:
    """A field of the context is no number in memory: this one is where the packet starts."""
    made = program(
        """
        r7 = *(u32 *)(r1 + 12)
        r8 = *(u32 *)(r1 + 4)
        r2 = r1
        *(u64 *)(r10 - 8) = 5
        if r7 != 0 goto load
        r2 = r10
        r2 += -8
    load:
        r3 = *(u32 *)(r2 + 0)
        if r7 == 0 goto out
        r4 = r3
        r4 += 8
        if r4 > r8 goto out
        r0 = *(u8 *)(r3 + 0)
        exit
    out:
        r0 = 1
        exit"""
    )
    loaded = proved(made)
    assert loaded.proved is None
    assert "slot 7: " in loaded.checked_because
    for context, result in ((bytes(24), 1), (CONTEXT, 77)):
        assert returned(loaded.run(packet=bytes([77] * 8), context=context)) == result


class FirstStays(HashMap):
    """As another package may define a map type."""

    def put(self, key: bytes, values: list[bytes], flags: int) -> int:
        return 0 if key in self else super().put(key, values, flags)


class NeverLess(ArrayMap):
    """Likewise; programs and users store in different ways."""

    def insert(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return super().insert(key, max(value, bytes(self.value(0, cpu))), flags, cpu)


@pytest.mark.parametrize(("kind", "made_by"), [(HASH, FirstStays), (ARRAY, NeverLess)])
def test_a_map_type_of_another_package(kind: int, made_by: type[HashMap] | type[ArrayMap]) -> None:
    update = """
        r1 = map[idx:0] ll
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -16
        r4 = 0
        call 2"""
    made = program(
        f"""
        *(u32 *)(r10 - 4) = 0
        *(u64 *)(r10 - 16) = 9
        {update}
        *(u64 *)(r10 - 16) = 3
        {update}
        {lookup(0)}""",
        MapSpec("m", kind, 4, 8, 1),
    )
    loaded = proved(made)
    assert loaded.proved is not None
    for engine in (Interpreter(made), loaded):
        assert returned(engine.run(maps=[made_by(made.maps[0])])) == 9
    assert returned(loaded.run()) == 3
    assert list(run_batch(made, [b""], maps=[made_by(made.maps[0])]).verdicts) == [9]
    with pytest.raises(ValueError, match="calls helpers in Python, with these maps"):
        loaded.proved.run_batch(PacketBatch.of([b""]), [made_by(made.maps[0])], Environment())


@pytest.mark.parametrize("key", [6, 10])
@pytest.mark.parametrize(("kind", "change"), [(HASH, "call 2"), (HASH, "call 3"), (PER_CPU_HASH, "call 3")])
def test_an_element_made_of_a_value_that_is_gone(kind: int, change: str, key: int) -> None:
    """The slot of a value that was replaced or deleted is the next to be used, and what the new one is made of."""
    arguments = """
        r1 = map[idx:0] ll
        r2 = r10
        r2 += -8
        r3 = r10
        r3 += -16
        r4 = 0"""
    made = program(
        f"""
        *(u64 *)(r10 - 8) = 1
        *(u64 *)(r10 - 16) = 2
        {arguments}
        call 2
        {arguments}
        call 1
        if r0 == 0 goto out
        r6 = r0
        {arguments}
        {change}
        *(u64 *)(r10 - 8) = 3
        *(u64 *)(r10 - 16) = 4
        {arguments}
        {"r2" if key == 6 else "r3"} = r6
        call 2
    out:
        r0 = 0
        exit""",
        MapSpec("h", kind, 8, 8, 4),
    )
    loaded = proved(made)
    assert loaded.proved is not None

    def left(engine: Loaded) -> list[str]:
        environment = Environment(cpus=2)
        maps = [create_map(made.maps[0], environment)]
        engine.run(maps=maps, environment=environment)
        return [f"{key} {value}" for key, value in contents(maps[0])]

    assert left(loaded) == left(Interpreter(made))
