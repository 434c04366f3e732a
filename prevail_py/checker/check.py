"""Checking a certificate: that its invariants hold wherever they are claimed, and that no run between them goes wrong.

The places of a certificate cut the program into paths.  Each path, from each state of the place where it starts, is
executed symbolically up to the next place, with every assertion of ``docs/safety.md`` on the way; there, some state of
that place must cover what came out.  Nothing is iterated: what a certificate claims is checked once.

Why acceptance means SAFE: by induction over the instructions of a run, the machine is at each place in one of its
states, since it is so at the start and each path that is checked keeps it so; and each instruction lies on such a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

from prevail_py.checker.calls import CALLING_BACK, TAIL_CALL, HelperCall
from prevail_py.checker.certificate import MAX_FRAMES, Bad, Certificate, Cut, Pointer, Region, Value, fingerprint
from prevail_py.checker.knowledge import Dead, Knowledge
from prevail_py.checker.matching import Matching
from prevail_py.checker.memory import KEY, Memory
from prevail_py.checker.solver import Solver
from prevail_py.checker.state import NEVER_NULL, Frame, NotSupported, Path, Refused, frame_pointer, of_claim
from prevail_py.checker.steps import Steps
from prevail_py.checker.words import MASK, ZERO, Compare, Word, equal, number, signed_between
from prevail_py.isa import instructions as isa
from prevail_py.isa.flow import successors, target
from prevail_py.objects.program import Program
from prevail_py.platforms import platform
from prevail_py.words import Comparison

__all__ = ["Answer", "check"]

MAX_STEPS: Final = 20_000
"""Instructions on all paths from one state together: more means that an invariant is missing."""

MAX_LOOPS: Final = 1 << 23
"""How often ``bpf_loop`` calls its function at most (``BPF_MAX_LOOPS`` in Linux)."""


class Answer(NamedTuple):
    """``kind`` is accepted, refused or not supported; for these, where and why.  ``questions`` went to the solver."""

    kind: str
    slot: int | None = None
    reason: str = ""
    steps: int = 0
    questions: int = 0


def check(program: Program, certificate: Certificate) -> Answer:
    """Whether the certificate proves that the program is SAFE.  The same arguments give the same answer."""
    if certificate.sha256 != fingerprint(program):
        return Answer("refused", None, "the certificate is for another program")
    if program.unsupported:
        return Answer("not supported", None, program.unsupported[0])
    checker = _Checker(program, certificate)
    try:
        checker.run()
    except Refused as reason:
        kind = "not supported" if isinstance(reason, NotSupported) else "refused"
        return Answer(kind, reason.slot, str(reason), checker.steps, checker.solver.questions)
    return Answer("accepted", None, "", checker.steps, checker.solver.questions)


Ways: TypeAlias = Iterator[tuple[Path, int, bool]]
"""Paths, each with the slot where it goes on, or that of the call behind which it does."""


class _Checker:
    def __init__(self, program: Program, certificate: Certificate) -> None:
        host = platform(program.platform)
        self.type = host.program_type(program.program_type, program.expected_attach_type, program.hook)
        self.code, self.invariants = program.code, certificate.invariants
        self.memory = Memory(program, host, self.type)
        self.does = Steps(self.memory)
        self.solver, self.steps = Solver(), 0

    def run(self) -> None:
        """Check what starts at the program's entry and at every place.  Raises Refused, NotSupported."""
        path = Path(Knowledge(), self.solver)
        path.frames = [Frame()]
        path.registers[1], path.registers[10] = Pointer(Region("context"), NEVER_NULL, ZERO), frame_pointer(0)
        self.memory.new_packet(path)
        self._follow(path, 0, False, started=False)
        for cut in sorted(self.invariants):
            for claim in self.invariants[cut]:
                try:
                    path = of_claim(claim, cut.calls, self.solver)
                except Dead:
                    continue  # no machine is in such a state
                self._follow(path, cut.slot, cut.after_call, started=True)

    def _follow(self, path: Path, slot: int, after_call: bool, started: bool) -> None:
        """Follow all paths up to the next places; ``started``: from a state of the invariant that is there."""
        limit, waiting = self.steps + MAX_STEPS + len(self.code), [(path, slot, after_call)]
        while waiting:
            path, slot, after_call = waiting.pop()
            cut = Cut(path.calls, slot, after_call)
            try:
                if cut in self.invariants and not started:
                    self._cover(path, cut)
                    continue
                started = False
                self.steps += 1
                if self.steps > limit:
                    raise Refused(slot, f"no invariant within {MAX_STEPS} instructions")
                for way in self._ways(path, slot + after_call):
                    waiting.append(way)  # noqa: PERF402 - those before a Dead are kept
            except Dead:
                continue

    def _cover(self, path: Path, cut: Cut) -> None:
        """Require that some state of a place covers the path's, and end the path."""
        path.slot = cut.slot
        path.settle()
        for claim in self.invariants[cut]:
            goals = Matching(path, claim).goals()
            if goals is not None and path.shows(goals):
                return
        path.impossible(f"what leads to slot {cut.slot}{' behind the call' * cut.after_call} is in its invariant")

    def _ways(self, path: Path, slot: int) -> Ways:
        """Execute the instruction at ``slot``: the paths that go on from there, the one at hand last."""
        instruction = self.code[slot] if 0 <= slot < len(self.code) else None
        path.slot = slot
        if instruction is None:
            raise path.impossible("control stays on the instructions of the program")
        match instruction:
            case isa.Branch():
                for taken, after in enumerate(successors(self.code, slot)):
                    way = path if taken else path.copy()
                    with suppress(Dead):
                        self.does.branch(way, instruction, bool(taken))
                        yield way, after, False
            case isa.CallLocal():
                self._enter(path, slot)
                yield path, target(slot, instruction), False
            case isa.Exit():
                yield from self._exit(path)
            case isa.Call(helper):
                yield from self._call(path, helper)
            case _:
                if isinstance(instruction, isa.LoadPacket):
                    yield from self._ended(path, ZERO)
                self.does.step(path, instruction)
                after, *others = successors(self.code, slot)
                yield from [(path.copy(), other, False) for other in others]
                yield path, after, False

    # Functions ------------------------------------------------------------------------------------------------------

    def _enter(self, path: Path, slot: int, *kept: Value) -> None:
        """Enter the function called at ``slot``; ``kept`` is what a helper that calls it has to remember."""
        if len(path.frames) >= MAX_FRAMES:
            raise path.impossible(f"no more than {MAX_FRAMES} frames are active")
        path.frames.append(Frame((*path.registers[6:10], *kept)))
        path.registers[0] = Bad.UNWRITTEN
        path.registers[6:] = [*[Bad.UNWRITTEN] * 4, frame_pointer(len(path.frames) - 1)]
        path.calls = (*path.calls, slot)

    def _exit(self, path: Path) -> Ways:
        """The end of a function, or of the run."""
        depth, by_helper, result = len(path.frames) - 1, len(path.frames[-1].saved) > 4, ZERO
        if by_helper or not depth:
            result = path.number(self.does.read(path, isa.Register.R0), "the result is a number")
            lo, hi = (0, 1) if by_helper else self.type.return_range or (-1 << 63, (1 << 63) - 1)
            path.require(f"the result is in {lo}..{hi}", *signed_between(result, lo, hi))
        if not depth:
            self._nothing_held(path)
            return path.settle()
        slot, saved = path.calls[-1], path.frames[-1].saved
        path.frames.pop()
        path.calls = path.calls[:-1]
        path.registers[1:] = [*[Bad.UNWRITTEN] * 5, *saved[:4], frame_pointer(depth - 1)]
        if not by_helper:
            path.spoil(lambda at: at.region.kind == "stack" and at.region.number >= depth)
            yield path, slot, True
            return None
        turns = saved[9].plus(1) if isinstance(saved[9], Word) else path.known.unknown()
        path.registers[:6] = [turns, *saved[4:9]]
        path.spoil(lambda at: at.region.name == KEY or (at.region.kind == "stack" and at.region.number >= depth))
        for way, comparison, go_on in ((path.copy(), Comparison.NE, self._over), (path, Comparison.EQ, self._turns)):
            with suppress(Dead):
                way.learn(Compare(comparison, result, ZERO))
                yield from go_on(way, slot)
        return None

    def _nothing_held(self, path: Path) -> None:
        path.require("no reference is left", *[equal(base, ZERO) for base in path.references])

    def _ended(self, path: Path, result: Word | None) -> Ways:
        """The runs in which the function ends here: with 0, or, in another program, with any number."""
        end = path.copy()
        if result is None:
            self.memory.new_packet(end)
        end.registers[0] = end.known.unknown() if result is None else result
        yield from self._exit(end)

    def _call(self, path: Path, helper: int) -> Ways:
        call, slot, depth = HelperCall(self.memory, path, helper), path.slot, len(path.frames) - 1
        call.run()
        if helper == TAIL_CALL:
            if len(path.frames[-1].saved) > 4:
                raise NotSupported(slot, "a tail call in a function that a helper calls")
            self._nothing_held(path)
            yield from self._ended(path, None) if depth else ()
        if call.prototype.name in CALLING_BACK:
            path.registers[0] = ZERO
            yield from self._turns(path, slot)
        else:
            yield path, slot + 1, False

    def _turns(self, path: Path, slot: int) -> Ways:
        """Between two turns of the helper called at ``slot``, its arguments in R1 to R5, the turns made in R0."""
        first, function, third = (path.value(value) for value in path.registers[1:4])
        turns, count, over = path.number(path.registers[0], "turns are counted"), self._count(path), path.copy()
        with suppress(Dead):
            over.learn(*[Compare(Comparison.UGE, turns, count)] if count is not None else [])
            yield from self._over(over, slot)
        if not isinstance(function, Pointer) or function.region.kind != "function":
            raise path.impossible("the argument is a function")
        self._enter(path, slot, *path.registers[1:6], turns)
        path.registers[:6] = [Bad.UNWRITTEN] * 6
        if isinstance(first, Word):  # bpf_loop
            path.registers[1:3] = [turns, third]
            path.learn(*[Compare(Comparison.ULT, turns, limit) for limit in (number(MAX_LOOPS), first)])
        elif isinstance(first, Pointer):  # bpf_for_each_map_elem
            key = Region("memory", size=self.memory.spec(path, first.region).key_size, name=KEY)
            element = first.region._replace(kind="map value")
            fresh = [Pointer(each, path.known.unknown(1, MASK), ZERO) for each in (key, element)]
            path.registers[1:5] = [first, *fresh, third]
        yield path, function.region.number, False

    def _count(self, path: Path) -> Word | None:
        """How many turns are asked for in R1 to R5, if they are arguments of ``bpf_loop`` that give no error."""
        count, flags = path.value(path.registers[1]), path.value(path.registers[4])
        sure = isinstance(count, Word) and path.known.bounds(count)[1] <= MAX_LOOPS and flags == ZERO
        return count if sure and isinstance(count, Word) else None

    def _over(self, path: Path, slot: int) -> Ways:
        """Behind the call of the helper: it returns the number of turns, or an error."""
        result, count = path.number(path.registers[0], "turns are counted"), self._count(path)
        if count is not None:
            path.learn(Compare(Comparison.ULE, result, count))
        else:
            result = path.known.unknown()
            if isinstance(path.value(path.registers[1]), Word):  # bpf_loop
                path.learn(*signed_between(result, -22, MAX_LOOPS))  # -EINVAL at the least
        path.registers[:6] = [result, *[Bad.UNWRITTEN] * 5]
        yield path, slot, True
