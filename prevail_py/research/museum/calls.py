"""Mistakes of verifiers about calls, what helpers take and give, references, callbacks and loops.

Each comes with a specimen: an unsafe program in the pattern of the report, that is SAFE with the mistake.
"""

from __future__ import annotations

from typing import Any, Final

from prevail_py.domains.lattice import Phi, Range, constant
from prevail_py.domains.scalar_zones import ScalarZones
from prevail_py.platforms.model import ArgKind
from prevail_py.research.museum.exhibit import Exhibit
from prevail_py.research.museum.fragments import (
    COUNTED,
    DROP,
    INDEX,
    PACKET,
    PREVAIL,
    RESERVE,
    SUBMIT,
    exhibit,
    lookup,
)
from prevail_py.research.museum.switch import Switch
from prevail_py.verifier import (
    callbacks,
    check,
    contracts,
    fixpoint,
    helper_effects,
    merge,
    partition,
    regions,
)
from prevail_py.verifier.assertions import Mode
from prevail_py.verifier.merge import Merge
from prevail_py.verifier.state import State
from prevail_py.verifier.values import ZERO, Pointer, RegionKind, Value

__all__ = ["EXHIBITS"]


# Calls ------------------------------------------------------------------------------------------------------------


def _scratch_registers_survive(switch: Switch) -> None:
    original = callbacks.leave_frame

    def leave(state: State) -> None:
        kept = state.registers[1:6]
        original(state)
        state.registers[1:6] = kept

    switch.function(original, leave)


def _loops_of_callees_are_straight(switch: Switch) -> None:
    original = fixpoint.Fixpoint._iterate_again

    def again(self: Any, solving: Any, component: Any) -> bool:
        return False if solving.calls else original(self, solving, component)

    switch.attribute(fixpoint.Fixpoint, "_iterate_again", again)


def _ring_buffer_offset(switch: Switch) -> None:
    original = contracts._reference_argument

    def argument(state: State, value: Pointer) -> Any:
        return original(state, value._replace(offset=ZERO))

    switch.function(original, argument)


def _helper_writes_constants(switch: Switch) -> None:
    original = regions.violation

    def violation(
        setting: Any, state: State, value: Value, size: Range, mode: Mode, name: str = "pointer", shift: int = 0
    ) -> Any:
        read_only = isinstance(value, Pointer) and value.region.kind is RegionKind.MAP_VALUE
        if mode is Mode.WRITE and read_only and setting.map_of(value.region).read_only:  # type: ignore[union-attr]
            mode = Mode.READ
        return original(setting, state, value, size, mode, name, shift)

    switch.function(original, violation)


def _any_map_for_any_helper(switch: Switch) -> None:
    original = contracts._argument

    def argument(setting: Any, state: State, prototype: Any, index: int, arg: Any, value: Value) -> Any:
        if arg.kind is ArgKind.MAP and isinstance(value, Pointer) and value.region.kind is RegionKind.MAP:
            return None
        return original(setting, state, prototype, index, arg, value)

    switch.function(original, argument)


def _unknown_stack_offset_for_helper(switch: Switch) -> None:
    original = contracts._memory_argument

    def argument(setting: Any, state: State, prototype: Any, index: int, arg: Any, value: Value) -> Any:
        if isinstance(value, Pointer) and value.region.kind is RegionKind.STACK:
            known = state.facts.range(value.offset)
            if known.lo != known.hi:
                return None
        return original(setting, state, prototype, index, arg, value)

    switch.function(original, argument)


def _sizes_are_believed(switch: Switch) -> None:
    switch.function(contracts._size_argument, lambda state, arg, value: None)
    switch.function(contracts._memory_argument, lambda *arguments: None)


def _freed_memory(switch: Switch) -> None:
    def release(state: State, value: Value) -> None:
        if isinstance(value, Pointer):
            state.references = tuple(held for held in state.references if held != value.base)

    switch.function(helper_effects._release, release)


def _references_are_not_counted(switch: Switch) -> None:
    switch.function(check._references, lambda state: [])


def _any_result(switch: Switch) -> None:
    switch.function(check._result, lambda setting, state: [])


def _any_result_of_a_callback(switch: Switch) -> None:
    switch.function(check._callback_result, lambda state: [])


def _middle_of_a_socket(switch: Switch) -> None:
    original = contracts._argument

    def argument(setting: Any, state: State, prototype: Any, index: int, arg: Any, value: Value) -> Any:
        if isinstance(value, Pointer) and value.region.kind is RegionKind.OBJECT:
            value = value._replace(offset=ZERO)
        return original(setting, state, prototype, index, arg, value)

    switch.function(original, argument)


# Callbacks and loops ----------------------------------------------------------------------------------------------


def _callback_runs_once(switch: Switch) -> None:
    def solve(self: Any, entry: Any, final: bool) -> Any:
        once = self._turn(list(entry), final)
        return once._replace(again=[*entry, *once.again])

    switch.attribute(callbacks._Loop, "solve", solve)


def _callback_runs_at_least_once(switch: Switch) -> None:
    original = callbacks._Loop.solve

    def solve(self: Any, entry: Any, final: bool) -> Any:
        found = original(self, entry, final)
        return found._replace(again=self._turn(found.again, final=False).again)

    switch.attribute(callbacks._Loop, "solve", solve)


def _elements_are_one_object(switch: Switch) -> None:
    original = callbacks._element

    def element(setting: Any, state: State, kept: Any) -> Any:
        passed = original(setting, state, kept)
        return (
            passed and [v._replace(base=constant(1)) if isinstance(v, Pointer) else v for v in passed[:3]] + passed[3:]
        )

    switch.function(original, element)


def _whatever_comes_is_covered(switch: Switch) -> None:
    switch.function(merge.subsumes, lambda old, new: True)


def _join_of_a_loop_head_is_the_entry(switch: Switch) -> None:
    def widen(self: ScalarZones, other: ScalarZones, phis: Any, thresholds: Any = ()) -> Any:
        return self.join(self, [Phi(phi.symbol, phi.left, phi.left) for phi in phis])

    original = partition.add_state

    def add(kept: Any, new: Any, disjuncts: int, fresh: Any, how: Merge = Merge.JOIN, thresholds: Any = ()) -> bool:
        # Otherwise the chain would never end: whoever widens so must believe that it is stable.
        return bool(original(kept, new, disjuncts, fresh, how, thresholds)) and how is Merge.JOIN

    switch.attribute(ScalarZones, "widen", widen)
    switch.function(original, add)


def _descent_forgets_the_way_back(switch: Switch) -> None:
    original = fixpoint.Fixpoint._gather

    def gather(self: Any, solving: Any, node: int, outside_only: bool = False) -> list[State]:
        return original(self, solving, node, node in solving.function.looping)

    switch.attribute(fixpoint.Fixpoint, "_gather", gather)


def _any_depth(switch: Switch) -> None:
    for module in (check, contracts, fixpoint, callbacks):
        if "MAX_FRAMES" in vars(module):
            switch.attribute(module, "MAX_FRAMES", 64)


EXHIBITS: Final[tuple[Exhibit, ...]] = (
    exhibit(
        "scratch registers",
        "after a call R1 to R5 hold what the function left in them",
        f"{PREVAIL}#1028, the second",
        _scratch_registers_survive,
        "call local f\nr0 = r1\nr0 = 1\nexit\nf:\nr1 = 0\nr0 = 0\nexit",
    ),
    exhibit(
        "loops of callees",
        "the way back of a loop in a called function is lost, so that its body is analysed once",
        f"{PREVAIL}#1203",
        _loops_of_callees_are_straight,
        f"{lookup()}if r0 == 0 goto drop\nr1 = r0\ncall local f\n{DROP}\n"
        "f:\nr2 = 100\nloop:\nr3 = *(u8 *)(r1 + 0)\nr1 += 1\nr2 += -1\nif r2 != 0 goto loop\nr0 = 0\nexit",
    ),
    exhibit(
        "ring buffer offset",
        "a helper that gives memory back takes a pointer into the middle of it",
        "CVE-2021-4204; Linux 64620e0a1e71 bpf: Fix out of bounds access for ringbuf helpers",
        _ring_buffer_offset,
        f"{RESERVE}r1 = r0\nr1 += 8\n{SUBMIT}{DROP}",
    ),
    exhibit(
        "helper writes constants",
        "a helper writes its result into read-only data",
        "CVE-2024-49861; Linux 32556ce93bc4 bpf: Fix helper writes to read-only maps",
        _helper_writes_constants,
        "r6 = r1\nr3 = map[idx:3][0]+0 ll\nr1 = r6\nr2 = 0\nr4 = 8\ncall 26\nr0 = 0\nexit",
        "socket_filter",
    ),
    exhibit(
        "map type",
        "a helper for one type of maps takes any map",
        "CVE-2021-34866; Linux 5b029a32cfe4 bpf: Fix ringbuf helper function compatibility",
        _any_map_for_any_helper,
        f"{RESERVE.replace('idx:2', 'idx:0')}r1 = r0\n{SUBMIT}{DROP}",
    ),
    exhibit(
        "stack at an unknown offset",
        "memory for a helper on the stack is not checked where its offset varies",
        "CVE-2017-17857; Linux ea25f914dc16 bpf: fix missing error return in check_stack_boundary()",
        _unknown_stack_offset_for_helper,
        f"{PACKET}r8 = *(u8 *)(r6 + 0)\nr2 = r10\nr2 += r8\nr1 = map[idx:0] ll\ncall 1\n{DROP}",
    ),
    exhibit(
        "size for a helper",
        "the size of memory for a helper is believed",
        "CVE-2017-17857 (the class)",
        _sizes_are_believed,
        f"{PACKET}r2 = *(u32 *)(r6 + 0)\nr1 = r10\nr1 += -8\n*(u64 *)(r10 - 8) = 0\ncall 6\n{DROP}",
    ),
    exhibit(
        "use after release",
        "copies of a pointer stay valid when what it points to was given back",
        "Linux 1b986589680a bpf: Fix bpf_tcp_sock and bpf_sk_fullsock issue related to bpf_sk_release",
        _freed_memory,
        f"{RESERVE}r6 = r0\nr1 = r0\n{SUBMIT}r1 = *(u64 *)(r6 + 0)\n{DROP}",
    ),
    exhibit(
        "leaked reference",
        "what was acquired need not be given back",
        "Linux fd978bf7fd31 bpf: Add reference tracking to verifier (what it is for)",
        _references_are_not_counted,
        f"{RESERVE}{DROP}",
    ),
    exhibit(
        "any result",
        "what a program returns is not held against what its hook takes",
        "CVE-2024-47703; Linux 5d99e198be27 bpf, lsm: Add check for BPF LSM return value",
        _any_result,
        "r0 = *(u32 *)(r1 + 0)\nexit",
        "cgroup_skb",
    ),
    exhibit(
        "result of a callback",
        "what a function returns to the helper that called it is not checked",
        "Linux 8fa4ecd49b81 bpf: enforce exact retval range on subprog/callback exit",
        _any_result_of_a_callback,
        "r1 = 3\nr2 = subprog[6] ll\nr3 = 0\nr4 = 0\ncall 181\nr0 = 1\nexit\nr0 = 5\nexit",
    ),
    exhibit(
        "callback runs once",
        "the body of a callback is analysed for its first turn only",
        "Linux ab5cfac139ab bpf: verify callbacks as if they are called unknown number of times",
        _callback_runs_once,
        "*(u64 *)(r10 - 8) = 0\nr1 = 200\nr2 = subprog[19] ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall 181\n"
        f"r8 = *(u64 *)(r10 - 8)\n{INDEX}\n"
        "r3 = *(u64 *)(r2 + 0)\nr3 += 1\n*(u64 *)(r2 + 0) = r3\nr0 = 0\nexit",
    ),
    exhibit(
        "callback runs at least once",
        "that a callback may not run at all is forgotten",
        "Linux ab5cfac139ab bpf: verify callbacks as if they are called unknown number of times",
        _callback_runs_at_least_once,
        f"{PACKET}*(u64 *)(r10 - 8) = 100\nr1 = *(u8 *)(r6 + 0)\nr2 = subprog[19] ll\nr3 = r10\nr3 += -8\nr4 = 0\n"
        f"call 181\nr8 = *(u64 *)(r10 - 8)\n{INDEX}\n"
        "*(u64 *)(r2 + 0) = 0\nr0 = 0\nexit",
    ),
    exhibit(
        "elements of a map",
        "the distance from one element of a map to another counts as one within an object",
        "prevail_py, CHANGELOG: distances between elements that bpf_for_each_map_elem goes through",
        _elements_are_one_object,
        "*(u64 *)(r10 - 8) = 0\nr1 = map[idx:0] ll\nr2 = subprog[6] ll\nr3 = 0\nr4 = 0\ncall 164\nr0 = 1\nexit\n"
        "r1 = map[idx:0][0]+0 ll\nr3 -= r1\nr0 = 0\nexit",
    ),
    exhibit(
        "middle of a socket",
        "a helper that takes a socket takes a pointer into the middle of one",
        "prevail_py, CHANGELOG: a helper that takes a socket takes its start only",
        _middle_of_a_socket,
        "r1 = *(u64 *)(r1 + 168)\nif r1 == 0 goto out\nr1 += 4\ncall 95\nout:\nr0 = 0\nexit",
        "sched_cls",
    ),
    exhibit(
        "wrongly pruned",
        "a state counts as covered by one that was verified, whatever its numbers are",
        "CVE-2023-2163 bpf: Fix incorrect verifier pruning due to missing register precision taints",
        _whatever_comes_is_covered,
        COUNTED,
    ),
    exhibit(
        "widening",
        "what comes round a loop is not joined into the state at its head",
        f"{PREVAIL}#423",
        _join_of_a_loop_head_is_the_entry,
        COUNTED,
    ),
    exhibit(
        "narrowing",
        "the descent from a loop's invariant forgets the way back",
        f"{PREVAIL}#423 (its review: likewise for narrowing)",
        _descent_forgets_the_way_back,
        COUNTED,
    ),
    exhibit(
        "depth of calls",
        "how deep calls nest is not checked",
        "Linux aada9ce644e5 bpf: fix max call depth check",
        _any_depth,
        "".join(f"call local f{n}\nr0 = 0\nexit\nf{n}:\n" for n in range(9)) + "r0 = 0\nexit",
    ),
)
