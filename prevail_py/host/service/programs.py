"""Programs and verdicts as plain data, for the socket between a verifier process and those who ask it.

No pickle: whatever arrives is decoded strictly, field by field, since neither side may be harmed by the other.  Layouts
of keys and values stay behind; nothing that runs depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from prevail_py.host.canonical import Plain
from prevail_py.isa.decode import DecodeError, decode
from prevail_py.isa.encode import EncodeError, encode
from prevail_py.objects.program import Argument, MapSpec, Program, SourceLine, Subprogram
from prevail_py.verifier.verdict import Discharged, Failure, Verdict, VerdictKind
from prevail_py.verifier.witness import Witness
from prevail_py.vm.outcome import Trap, TrapKind
from prevail_py.vm.scenario import Scenario

__all__ = [
    "MessageError",
    "fields_of",
    "from_map",
    "from_program",
    "from_verdict",
    "to_map",
    "to_program",
    "to_verdict",
]

MAX_STATE: Final = 4096
"""Characters of an abstract state that are passed on; explanations beyond are for verification in the same process."""


class MessageError(ValueError):
    """A message that is not what it should be."""


def from_program(program: Program) -> Plain:
    """``program`` as plain data.  Raises :class:`MessageError` for code that has no encoding."""
    try:
        code = encode(program.code)
    except EncodeError as error:
        raise MessageError(str(error)) from None
    lines: list[Plain] = [[pc, line.file, line.line, line.column, line.text] for pc, line in program.lines.items()]
    return {
        "name": program.name,
        "section": program.section,
        "program_type": program.program_type,
        "code": code,
        "maps": [from_map(spec) for spec in program.maps],
        "subprograms": [_from_subprogram(each) for each in program.subprograms],
        "lines": lines,
        "licence": program.licence,
        "expected_attach_type": program.expected_attach_type,
        "platform": program.platform,
        "unsupported": list(program.unsupported),
        "symbols": [[pc, name] for pc, name in program.symbols.items()],
        "poisoned": [[pc, reason] for pc, reason in program.poisoned.items()],
        "assumptions": list(program.assumptions),
        "target_btf": program.target_btf,
        "hook": program.hook,
    }


def _from_subprogram(each: Subprogram) -> Plain:
    prototype: list[Plain] = [[pointee, size, list(tags)] for pointee, size, tags in each.prototype or ()]
    return [each.name, each.start, each.end, each.is_global, each.prototype is not None, prototype]


def _to_subprogram(value: Plain) -> Subprogram:
    name, start, end, is_global, known, rows = _row(value, (str, int, int, bool, bool, list))
    arguments = [_row(row, (str, int, list)) for row in rows]
    prototype = tuple(Argument(pointee, size, _texts(tags)) for pointee, size, tags in arguments)
    return Subprogram(name, start, end, is_global, prototype if known else None)


_TEXTS: Final = ("name", "section", "program_type", "licence", "expected_attach_type", "platform", "target_btf", "hook")
_PROGRAM: Final = dict.fromkeys(_TEXTS, str) | {"code": bytes} | dict.fromkeys(
    ("maps", "subprograms", "lines", "unsupported", "symbols", "poisoned", "assumptions"), list
)  # fmt: skip


def to_program(value: Plain) -> Program:
    """The program that ``value`` describes.  Raises :class:`MessageError`."""
    got = fields_of(value, _PROGRAM)
    try:
        code = decode(got["code"])
    except DecodeError as error:
        raise MessageError(f"code: {error}") from None
    lines = [_row(row, (int, str, int, int, str)) for row in got["lines"]]
    return Program(
        code=code,
        maps=tuple(map(to_map, got["maps"])),
        subprograms=tuple(map(_to_subprogram, got["subprograms"])),
        lines={pc: SourceLine(*rest) for pc, *rest in lines},
        unsupported=_texts(got["unsupported"]),
        symbols=dict(_row(row, (int, str)) for row in got["symbols"]),
        poisoned=dict(_row(row, (int, str)) for row in got["poisoned"]),
        assumptions=_texts(got["assumptions"]),
        **{name: got[name] for name in _TEXTS},
    )


_NUMBERS: Final = (
    "type",
    "key_size",
    "value_size",
    "max_entries",
    "flags",
    "pinning",
    "key_btf",
    "value_btf",
    "extra",
)
_MAP: Final = {**dict.fromkeys(_NUMBERS, int), "name": str, "read_only": bool, "inner": dict, "initial": bytes}


def from_map(spec: MapSpec) -> dict[str, Plain]:
    """A definition as plain data, but for its layouts."""
    return {
        **{name: getattr(spec, name) for name in (*_NUMBERS, "name", "read_only", "initial")},
        "inner": None if spec.inner is None else from_map(spec.inner),
    }


def to_map(value: Plain) -> MapSpec:
    """The definition that ``value`` describes.  Raises :class:`MessageError`."""
    got = fields_of(value, _MAP, optional=("inner", "initial"))
    return MapSpec(**{**got, "inner": None if got["inner"] is None else to_map(got["inner"])})


def from_verdict(verdict: Verdict) -> Plain:
    """``verdict`` without its invariants, explanations, bounds on loops, and the text of queries."""
    return {
        "kind": verdict.kind.name,
        "program": from_program(verdict.program),
        "failures": [_from_failure(failure) for failure in verdict.failures],
        "reason": verdict.reason,
        "microseconds": int(verdict.seconds * 1e6),
        "steps": verdict.steps,
        "disjuncts": verdict.disjuncts,
        "assumptions": list(verdict.assumptions),
        "policy": verdict.policy,
        "discharged": [_from_discharged(each) for each in verdict.discharged],
        "witness": None if verdict.witness is None else _from_witness(verdict.witness),
    }


def _from_witness(witness: Witness) -> Plain:
    inputs, trap = witness.inputs, witness.trap
    return {
        "packet": inputs.packet,
        "contents": [list(each) for each in inputs.contents],
        "seed": inputs.seed,
        "context": inputs.context,
        "randoms": list(inputs.randoms),
        "world": [list(each) for each in inputs.world],
        "kind": trap.kind.name,
        "pc": trap.pc,
        "message": trap.message,
        "address": trap.address,
    }


def _from_discharged(each: Discharged) -> Plain:
    return {"calls": list(each.calls), "pc": each.pc, "assertion": each.assertion, "rlimit": each.rlimit}


def _from_failure(failure: Failure) -> Plain:
    line = failure.line
    return {
        "pc": failure.pc,
        "assertion": failure.assertion,
        "message": failure.message,
        "line": None if line is None else [line.file, line.line, line.column, line.text],
        "state": failure.state[:MAX_STATE],
        "needed": failure.needed,
    }


_VERDICT: Final = {
    "kind": str,
    "program": dict,
    "failures": list,
    "reason": str,
    "microseconds": int,
    "steps": int,
    "disjuncts": int,
    "assumptions": list,
    "policy": str,
    "discharged": list,
    "witness": dict,
}
_WITNESS: Final = {
    "packet": bytes,
    "contents": list,
    "seed": int,
    "context": bytes,
    "randoms": list,
    "world": list,
    "kind": str,
    "pc": int,
    "message": str,
    "address": int,
}
_DISCHARGED: Final = {"calls": list, "pc": int, "assertion": str, "rlimit": int}
_FAILURE: Final = {"pc": int, "assertion": str, "message": str, "line": list, "state": str, "needed": str}


def to_verdict(value: Plain) -> Verdict:
    """The verdict that ``value`` describes.  Raises :class:`MessageError`."""
    got = fields_of(value, _VERDICT, optional=("witness",))
    if got["kind"] not in VerdictKind.__members__:
        raise MessageError(f"no verdict is called {got['kind']!r}")
    program = to_program(got["program"])
    return Verdict(
        VerdictKind[got["kind"]],
        program,
        tuple(map(_to_failure, got["failures"])),
        got["reason"],
        got["microseconds"] / 1e6,
        got["steps"],
        got["disjuncts"],
        _texts(got["assumptions"]),
        got["policy"],
        discharged=tuple(map(_to_discharged, got["discharged"])),
        witness=None if got["witness"] is None else _to_witness(program, got["witness"]),
    )


def _to_witness(program: Program, value: Plain) -> Witness:
    got = fields_of(value, _WITNESS, optional=("packet", "context", "address"))
    if got["kind"] not in TrapKind.__members__:
        raise MessageError(f"no trap is called {got['kind']!r}")
    contents = [_row(each, (int, bytes, bytes)) for each in got["contents"]]
    if not all(type(number) is int for number in got["randoms"]):
        raise MessageError("randoms: not a list of numbers")
    inputs = Scenario(
        got["packet"],
        tuple((index, key, value) for index, key, value in contents),
        got["seed"],
        got["context"],
        tuple(got["randoms"]),
        tuple((name, number) for name, number in (_row(each, (str, int)) for each in got["world"])),
    )
    return Witness(program, inputs, Trap(TrapKind[got["kind"]], got["pc"], got["message"], got["address"]))


def _to_discharged(value: Plain) -> Discharged:
    got = fields_of(value, _DISCHARGED)
    if not all(type(call) is int for call in got["calls"]):
        raise MessageError("calls: not a list of slots")
    return Discharged(tuple(got["calls"]), got["pc"], got["assertion"], "", got["rlimit"])


def _to_failure(value: Plain) -> Failure:
    got = fields_of(value, _FAILURE, optional=("line",))
    line = None if got["line"] is None else SourceLine(*_row(got["line"], (str, int, int, str)))
    return Failure(**{**got, "line": line})


def fields_of(value: Plain, types: Mapping[str, type], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """``value`` as a map with exactly these keys, each value of its type, or None where it is ``optional``.

    Raises :class:`MessageError`.
    """
    if not isinstance(value, dict) or value.keys() != types.keys():
        raise MessageError(f"not a map of exactly {', '.join(types)}")
    for name, wanted in types.items():
        if type(value[name]) is not wanted and not (value[name] is None and name in optional):
            raise MessageError(f"{name}: not of type {wanted.__name__}")
    return dict(value)


def _row(value: Plain, types: tuple[type, ...]) -> list[Any]:
    if not isinstance(value, list) or tuple(map(type, value)) != types:
        raise MessageError(f"not a row of {', '.join(each.__name__ for each in types)}")
    return list(value)


def _texts(values: list[Plain]) -> tuple[str, ...]:
    texts = tuple(each for each in values if isinstance(each, str))
    if len(texts) != len(values):
        raise MessageError("a list of texts has something else in it")
    return texts
