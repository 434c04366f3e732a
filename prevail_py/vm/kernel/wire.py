"""Engine and worker talk in lines of JSON over pipes: no pickles, nothing of the parent's state.

A request is ``{"load": ..., "inputs": null | [...], ...}``; its answer ``{"answer": ..., "runs": [...]}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

from prevail_py.objects.program import MapSpec
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer
from prevail_py.vm.kernel.loader import LoadRequest

__all__ = ["Contents", "KernelRun", "Reply", "Request", "RunInput"]

Contents: TypeAlias = Mapping[bytes, bytes]
"""Elements of a map as user space sees them; per-CPU values are all CPUs' in order, each padded to 8 bytes."""


@dataclass(frozen=True, slots=True)
class RunInput:
    """One input of a test run; ``maps`` are elements to set before it, by index of the map in the program."""

    packet: bytes
    context: bytes = b""
    maps: Mapping[int, Contents] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KernelRun:
    """What one test run did.

    ``return_value`` is the low 32 bits of R0, which is all that PROG_TEST_RUN gives back; ``error`` is empty, or says
    why the kernel would not run the program on this input.  ``maps`` are the contents afterwards, by index, of the
    maps that were asked for and can be listed: after the last input only, unless asked for after each.
    ``duration_ns`` is the mean of the repetitions, by the kernel's clock.
    """

    return_value: int
    packet: bytes
    context: bytes
    duration_ns: int
    maps: Mapping[int, Contents]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """Load a program and, where ``inputs`` are given, run it on each in turn (maps persist from one to the next)."""

    load: LoadRequest
    inputs: tuple[RunInput, ...] = ()
    repeat: int = 1
    read_maps: tuple[int, ...] = ()
    read_each: bool = False

    def to_json(self) -> dict[str, Any]:
        load = asdict(replace(self.load, maps=()))
        return {
            "load": load | {"code": self.load.code.hex(), "maps": [_spec(m) for m in self.load.maps]},
            "inputs": [
                {
                    "packet": item.packet.hex(),
                    "context": item.context.hex(),
                    "maps": [[index, _contents(contents)] for index, contents in item.maps.items()],
                }
                for item in self.inputs
            ],
            "repeat": self.repeat,
            "read_maps": self.read_maps,
            "read_each": self.read_each,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Request:
        load = data["load"] | {
            "code": bytes.fromhex(data["load"]["code"]),
            "maps": tuple(_spec_back(spec) for spec in data["load"]["maps"]),
            "functions": tuple((start, name) for start, name in data["load"]["functions"]),
        }
        inputs = tuple(
            RunInput(
                bytes.fromhex(item["packet"]),
                bytes.fromhex(item["context"]),
                {index: _contents_back(contents) for index, contents in item["maps"]},
            )
            for item in data["inputs"]
        )
        return Request(LoadRequest(**load), inputs, data["repeat"], tuple(data["read_maps"]), data["read_each"])


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer about the program and one run per input (none unless it was accepted)."""

    answer: KernelAnswer
    runs: tuple[KernelRun, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "answer": asdict(self.answer) | {"kind": self.answer.kind.value},
            "runs": [
                {
                    "return_value": run.return_value,
                    "packet": run.packet.hex(),
                    "context": run.context.hex(),
                    "duration_ns": run.duration_ns,
                    "maps": [[index, _contents(contents)] for index, contents in run.maps.items()],
                    "error": run.error,
                }
                for run in self.runs
            ],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Reply:
        answer = KernelAnswer(**(data["answer"] | {"kind": AnswerKind(data["answer"]["kind"])}))
        runs = tuple(
            KernelRun(
                run["return_value"],
                bytes.fromhex(run["packet"]),
                bytes.fromhex(run["context"]),
                run["duration_ns"],
                {index: _contents_back(contents) for index, contents in run["maps"]},
                run["error"],
            )
            for run in data["runs"]
        )
        return Reply(answer, runs)


def _contents(contents: Contents) -> list[list[str]]:
    return [[key.hex(), value.hex()] for key, value in contents.items()]


def _contents_back(rows: list[list[str]]) -> dict[bytes, bytes]:
    return {bytes.fromhex(key): bytes.fromhex(value) for key, value in rows}


def _spec(spec: MapSpec) -> dict[str, Any]:
    plain = asdict(replace(spec, initial=None, inner=None, key_layout=None, value_layout=None))
    return plain | {
        "initial": None if spec.initial is None else spec.initial.hex(),
        "inner": None if spec.inner is None else _spec(spec.inner),
    }


def _spec_back(data: dict[str, Any]) -> MapSpec:
    return MapSpec(
        **(
            data
            | {
                "initial": None if data["initial"] is None else bytes.fromhex(data["initial"]),
                "inner": None if data["inner"] is None else _spec_back(data["inner"]),
            }
        )
    )
