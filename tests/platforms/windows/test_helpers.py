"""What the helpers of Windows do, on every engine, and what the verifier makes of them."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace

import pytest

from prevail_py.checker.certificate import read
from prevail_py.checker.check import check
from prevail_py.host.gate import facts_of
from prevail_py.isa.assembler import assemble_text
from prevail_py.objects.program import MapSpec, Program
from prevail_py.platforms import platform
from prevail_py.verifier import helper_effects, verify
from prevail_py.verifier.certificate import document
from prevail_py.verifier.verdict import VerdictKind
from prevail_py.vm.engines import Trusting, engine
from prevail_py.vm.environment import Environment, Socket
from prevail_py.vm.helpers.table import HELPERS
from prevail_py.vm.interpreter import Execution
from prevail_py.vm.maps import create_maps
from prevail_py.vm.outcome import Returned, Trapped

WINDOWS = platform("windows")
ENGINES = ("interpreter", "source", "jit")
HASH = MapSpec("elements", 1, 4, 8, 4)


def program(text: str, *maps: MapSpec, kind: str = "xdp", attach: str = "") -> Program:
    """Assembled, with helpers called by their names."""
    for name in HELPERS:
        found = WINDOWS.helper_by_name(name)
        if found is not None:
            text = text.replace(f"call {name}\n", f"call {found.id}\n")
    code = assemble_text(text)
    return Program("p", kind, kind, code, maps, platform="windows", expected_attach_type=attach, licence="MIT")


def runs(
    given: Program,
    elements: Mapping[bytes, bytes] | None = None,
    packet: bytes | None = None,
    environment: Environment | None = None,
) -> Execution:
    """One run of a program that is SAFE, with these elements in its first map; the same on every engine."""
    verdict = verify(given, termination=True)
    assert verdict.is_safe, verdict.failures
    found: list[Execution] = []
    for name in ENGINES:
        world = replace(environment or Environment())
        loaded = engine(name).load(given)
        if isinstance(loaded, Trusting):
            loaded.trust(facts_of(verdict))
        maps = create_maps(given.maps, world)
        for key, value in (elements or {}).items():
            maps[0][key] = value  # type: ignore[index]
        found.append(loaded.run(packet=packet, maps=maps, environment=world))
        if elements is not None:
            assert list(maps[0]) == []  # type: ignore[call-overload]
    assert isinstance(found[0].outcome, Returned)
    assert {each.outcome for each in found} == {found[0].outcome}
    return found[0]


def result(text: str, *maps: MapSpec, **options: str) -> int:
    execution = runs(program(text, *maps, **options))
    assert isinstance(execution.outcome, Returned)
    value = execution.outcome.value
    return value - (1 << 64) if value >> 63 else value


def stack(**words: bytes) -> str:
    """Code that puts bytes (at most eight) on the stack, at the offset that ``at_N`` says."""
    return "".join(
        f"r1 = {int.from_bytes(content, 'little')} ll\n*(u64 *)(r10 - {name.removeprefix('at_')}) = r1\n"
        for name, content in words.items()
    )


def call(name: str, to: int, to_size: int, source: int, size: int) -> str:
    return f"r1 = r10\nr1 += -{to}\nr2 = {to_size}\nr3 = r10\nr3 += -{source}\nr4 = {size}\ncall {name}\n"


RESULT_AND_MEMORY = "r6 = r0\nr0 = *(u64 *)(r10 - 8)\nexit"


@pytest.mark.parametrize(
    ("name", "before", "source", "size", "value", "after"),
    [
        ("bpf_memcpy_s", b"........", b"abcdefgh", 4, 0, b"abcd...."),
        ("bpf_memmove_s", b"........", b"abcdefgh", 8, 0, b"abcdefgh"),
        ("bpf_strncpy_s", b"........", b"ab\0defgh", 8, 0, b"ab\0\0\0\0\0\0"),
        ("bpf_strncpy_s", b"........", b"abcdefgh", 3, 0, b"abc\0\0\0\0\0"),
        ("bpf_strncpy_s", b"........", b"abcdefgh", 8, -errno.ERANGE, b"abcdefg\0"),
        ("bpf_strncat_s", b"xy\0.....", b"ab\0defgh", 8, 0, b"xyab\0\0\0\0"),
        ("bpf_strncat_s", b"xy\0.....", b"abcdefgh", 8, -errno.ERANGE, b"xyabcde\0"),
        ("bpf_strncat_s", b"........", b"ab\0defgh", 8, -errno.EINVAL, b"........"),
        ("bpf_strncat_s", b"xy\0.....", b"ab\0defgh", 0, 0, b"xy\0\0\0\0\0\0"),
    ],
)
def test_copies(name: str, before: bytes, source: bytes, size: int, value: int, after: bytes) -> None:
    code = stack(at_8=before, at_16=source) + call(name, 8, 8, 16, size)
    assert result(code + "exit") == value
    assert result(code + RESULT_AND_MEMORY).to_bytes(8, "little", signed=True) == after


@pytest.mark.parametrize("name", ["bpf_memcpy_s", "bpf_memmove_s", "bpf_strncpy_s"])
@pytest.mark.parametrize(("room", "size"), [(8, 8), (8, 4), (4, 8)])
def test_what_a_copy_leaves_unwritten(name: str, room: int, size: int) -> None:
    """The rest of its room, and all of it where the copy does not fit; what it fills is another helper's business."""
    given = program(stack(at_16=b"abcdefgh") + call(name, 8, room, 16, size) + RESULT_AND_MEMORY)
    verdict = verify(given)
    fills = room == 8 if name == "bpf_strncpy_s" else room == size == 8
    assert verdict.is_safe is fills
    assert verdict.assumptions == ()
    if fills:
        (certificate,) = read(document([verdict.certificate()]))
        assert check(given, certificate).kind == "accepted"


def test_the_checker_knows_what_a_copy_leaves_unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    given = program(stack(at_16=b"abcdefgh") + call("bpf_memcpy_s", 8, 8, 16, 4) + RESULT_AND_MEMORY)
    monkeypatch.setattr(helper_effects, "_copied", lambda setting, state, prototype, room: room.lo)
    verdict = verify(given)
    assert verdict.is_safe
    (certificate,) = read(document([verdict.certificate()]))
    assert check(given, certificate).kind == "refused"


def test_a_copy_that_does_not_fit() -> None:
    code = stack(at_8=b"........", at_16=b"abcdefgh", at_24=b"ABCDEFGH") + call("bpf_memcpy_s", 8, 8, 24, 16)
    assert result(code + "exit") == -errno.EINVAL
    assert result(code + RESULT_AND_MEMORY).to_bytes(8, "little", signed=True) == b"........"


def test_copies_that_overlap() -> None:
    code = stack(at_16=b"abcdefgh", at_8=b"........") + call("bpf_memmove_s", 12, 8, 16, 8)
    assert result(code + "r0 = *(u64 *)(r10 - 12)\nexit").to_bytes(8, "little") == b"abcdefgh"


@pytest.mark.parametrize(
    ("left", "right", "size", "value"),
    [
        (b"abc", b"abc", 8, 0),
        (b"abc", b"abd", 8, -1),
        (b"b", b"a\xff", 8, 1),
        (b"abc", b"abc", 4, 1),
        (b"\xff", b"\1", 8, 1),
    ],
)
def test_comparisons(left: bytes, right: bytes, size: int, value: int) -> None:
    code = stack(at_8=left.ljust(8, b"\0"), at_16=right.ljust(8, b"\0")) + call("bpf_memcmp_s", 8, 8, 16, size)
    assert result(code + "exit") == value


def test_memory_that_is_set() -> None:
    code = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0x1ab\ncall bpf_memset\n"
    assert result(code + "exit") == 0
    assert result(code + RESULT_AND_MEMORY) == int.from_bytes(b"\xab" * 8, "little", signed=True)


@pytest.mark.parametrize(("text", "length"), [(b"ab\0defgh", 2), (b"abcdefgh", 8), (b"\0", 0)])
def test_lengths(text: bytes, length: int) -> None:
    code = stack(at_8=text.ljust(8, b"\0")) + "r1 = r10\nr1 += -8\nr2 = 8\ncall bpf_strnlen_s\nexit"
    assert result(code) == length


def test_who_asks_and_when() -> None:
    def asked(helper: str, **options: str) -> int:
        return result(f"call {helper}\nexit", **options)

    assert asked("bpf_ktime_get_ms") == asked("bpf_ktime_get_boot_ms") == 1_000_000
    assert asked("bpf_get_current_logon_id") == 0x3E7
    assert asked("bpf_is_current_admin") == 1
    assert asked("bpf_get_current_process_start_key") == (1 << 48) + 4242
    assert asked("bpf_get_current_thread_create_time") == 133_801_632_000_000_000
    assert asked("bpf_sock_addr_get_current_pid_tgid", kind="cgroup_sock_addr") == 4242 << 32 | 4242


def test_socket_cookies() -> None:
    """A virtual helper: of those programs whose extension has it, and of no other."""
    asks = program("call bpf_get_socket_cookie\nexit", kind="cgroup_sock_addr")
    execution = runs(asks, environment=Environment(socket=Socket(cookie=77)))
    assert execution.outcome == Returned(77)
    refused = verify(replace(asks, program_type="xdp", section="xdp"))
    assert [failure.assertion for failure in refused.failures] == ["helper-unavailable"]


LOOK_UP = "*(u32 *)(r10 - 4) = 7\nr2 = r10\nr2 += -4\nr1 = map[idx:0] ll\n"
TAKE = LOOK_UP + "call bpf_map_lookup_and_delete_elem\n"
TAKEN = TAKE + "if r0 != 0 goto +1\nexit\nr0 = *(u64 *)(r0 + 0)\nexit"


@pytest.mark.parametrize("type", [1, 9])
def test_an_element_that_is_taken(type: int) -> None:
    given = program(TAKEN, replace(HASH, type=type))
    assert runs(given).outcome == Returned(0)
    assert runs(given, {(7).to_bytes(4, "little"): (99).to_bytes(8, "little")}).outcome == Returned(99)


def test_arrays_have_no_elements_to_take() -> None:
    assert runs(program(TAKEN, replace(HASH, type=2, max_entries=8))).outcome == Returned(0)


def test_what_a_verdict_needs_of_a_value_that_is_taken() -> None:
    def failures(text: str, spec: MapSpec = HASH) -> list[str]:
        return [failure.assertion for failure in verify(program(text, spec)).failures]

    assert failures(TAKE + "r0 = *(u64 *)(r0 + 0)\nexit") == ["null-dereference"]
    assert failures(TAKE + "if r0 != 0 goto +1\nexit\nr0 = *(u64 *)(r0 + 1)\nexit") == ["out-of-bounds"]
    assert failures(LOOK_UP.replace("*(u32 *)(r10 - 4) = 7\n", "") + TAKE[len(LOOK_UP) :] + "r0 = 0\nexit")
    assert failures(TAKEN, replace(HASH, type=11)) == ["helper-argument"]  # tries: of that nothing is known
    assert failures(TAKEN, replace(HASH, flags=1 << 7)) == ["helper-argument"]  # programs may not change it


def test_the_solver_forgets_an_element_that_is_taken() -> None:
    """An element that was found, and taken, is not found again: a model in which it still is would hide the witness."""
    again = LOOK_UP.partition("\n")[2]
    found = LOOK_UP + "call bpf_map_lookup_elem\nif r0 != 0 goto +2\nr0 = 0\nexit\n"
    taken = again + "call bpf_map_lookup_and_delete_elem\n"
    verdict = verify(program(found + taken + again + "call bpf_map_lookup_elem\nr0 = *(u64 *)(r0 + 0)\nexit", HASH))
    assert verdict.kind is VerdictKind.UNSAFE
    assert verdict.witness is not None


def test_a_context_for_whom_a_connection_is_redirected_to() -> None:
    text = (
        stack(at_8=b"proxy\0\0\0")
        + "r1 = r6\nr2 = r10\nr2 += -8\nr3 = 8\ncall bpf_sock_addr_set_redirect_context\nexit"
    )
    world = Environment()
    given = program("r6 = r1\n" + text, kind="cgroup_sock_addr", attach="cgroup_inet4_connect")
    loaded = engine("interpreter").load(given)
    assert loaded.run(maps=(), environment=world).outcome == Returned(0)
    assert world.redirect_context == b"proxy\0\0\0"
    assert runs(given).outcome == Returned(0)
    accepting = replace(given, expected_attach_type="cgroup_inet4_recv_accept")
    assert runs(accepting).outcome == Returned((1 << 64) - 1)


def test_redirection_to_sockets_of_which_there_are_none() -> None:
    """The answer is what the flags say; nothing can be looked up, and no other map is taken."""
    sockets = MapSpec("sockets", WINDOWS.map_number(16), 8, 8, 64)
    text = "r1 = map[idx:0] ll\nr2 = 0\nr3 = 2\ncall bpf_redirect_map\nexit"
    assert result(text, sockets) == 2
    assert [each.assertion for each in verify(program(text, HASH)).failures] == ["helper-argument"]
    assert [
        each.assertion for each in verify(program(TAKE.replace("and_delete_", "") + "r0 = 0\nexit", sockets)).failures
    ]


PACKET = "r6 = *(u64 *)(r1 + 0)\nr2 = *(u64 *)(r1 + 8)\nr3 = r6\nr3 += 8\nif r3 > r2 goto out\n"
OUT = "out: r0 = 1\nexit"


def test_memory_of_the_packet() -> None:
    """Helpers take it within its bounds; the name that ``bind`` programs find there may be read only."""
    fill = "r1 = r6\nr2 = {}\nr3 = 7\ncall bpf_memset\n"
    given = program(PACKET + fill.format(8) + OUT)
    execution = runs(given, packet=bytes(20))
    assert execution.packet == b"\7" * 8 + bytes(12)
    beyond = verify(program(PACKET + fill.format(9) + OUT))
    assert [each.assertion for each in beyond.failures] == ["helper-argument"]
    assert beyond.kind is VerdictKind.UNSAFE
    named = verify(program(PACKET + fill.format(8) + OUT, kind="bind", attach="bind"))
    assert named.kind is VerdictKind.UNSAFE
    assert [each.assertion for each in named.failures] == ["helper-argument"]
    read = "r1 = r6\nr2 = 8\ncall bpf_strnlen_s\nexit\n"
    length = program(PACKET + read + OUT, kind="bind", attach="bind")
    assert runs(length, packet=b"cmd\0....").outcome == Returned(3)


def test_certificates() -> None:
    """The checker knows the helpers, too: what they return, and what they do to memory."""
    for text, maps in ((TAKEN, (HASH,)), (PACKET + "r1 = r6\nr2 = 8\nr3 = 7\ncall bpf_memset\n" + OUT, ())):
        given = program(text, *maps)
        (certificate,) = read(document([verify(given).certificate()]))
        assert check(given, certificate).kind == "accepted", check(given, certificate)


def test_strings_that_are_not_initialised() -> None:
    appended = program(stack(at_16=b"ab\0\0\0\0\0\0") + call("bpf_strncat_s", 8, 8, 16, 8) + "r0 = 0\nexit")
    assert [each.assertion for each in verify(appended).failures]
    outcome = engine("interpreter").load(appended).run(packet=bytes(60)).outcome
    assert isinstance(outcome, Trapped)


def test_all_of_them_are_there() -> None:
    """Every helper that Windows' programs can call runs here."""
    for number in WINDOWS.helper_ids():
        assert WINDOWS.helper_name(number) in HELPERS
