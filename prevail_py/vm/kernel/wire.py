"""Engine and worker talk in lines of JSON over pipes: no pickles, nothing of the parent's state.

A request is ``{"load": ..., "inputs": null | [...], ...}``; its answer ``{"answer": ..., "runs": [...]}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

from prevail_py.objects.program import MapSpec
from prevail_py.vm.kernel.answer import AnswerKind, KernelAnswer
from prevail_py.vm.kernel.loader import Link, LoadRequest, TargetRequest
from prevail_py.vm.kernel.ring import Record

__all__ = ["Contents", "KernelRun", "Reply", "Request", "RunInput", "spec_back", "spec_plain"]

Contents: TypeAlias = Mapping[bytes, bytes]
"""Elements of a map as user space sees them; per-CPU values are all CPUs' in order, each padded to 8 bytes."""


@dataclass(frozen=True, slots=True)
class RunInput:
    """One input of a test run, with what to put into maps before it, by index of the map in the request.

    ``maps`` are elements to set, ``records`` values to push to queues, stacks and bloom filters, in order.
    """

    packet: bytes
    context: bytes = b""
    maps: Mapping[int, Contents] = field(default_factory=dict)
    records: Mapping[int, tuple[bytes, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KernelRun:
    """What one test run did.

    ``return_value`` is the low 32 bits of R0, which is all that PROG_TEST_RUN gives back; ``error`` is empty, or says
    why the kernel would not run the program on this input.  ``maps`` are the contents afterwards, by index, of the
    maps that were asked for and can be listed: after the last input only, unless asked for after each.  ``records``
    are in the same way those of ring buffers, and the values of queues and stacks in the order of popping them.
    ``duration_ns`` is the mean of the repetitions, by the kernel's clock.
    """

    return_value: int
    packet: bytes
    context: bytes
    duration_ns: int
    maps: Mapping[int, Contents]
    error: str = ""
    records: Mapping[int, tuple[Record, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """Load a program and, where ``inputs`` are given, run it on each in turn (maps persist from one to the next).

    ``read_maps`` are read after the last run (``read_each``: after each), ``results`` after each in any case.  The runs
    stay on CPU ``cpu``, so that each finds its per-CPU values where the last one left them.
    """

    load: LoadRequest
    inputs: tuple[RunInput, ...] = ()
    repeat: int = 1
    read_maps: tuple[int, ...] = ()
    read_each: bool = False
    cpu: int = 0
    results: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        load = self.load
        return {
            "load": asdict(replace(load, maps=(), targets=(), links=()))
            | {
                "code": load.code.hex(),
                "maps": [spec_plain(m) for m in load.maps],
                "targets": [asdict(target) | {"code": target.code.hex()} for target in load.targets],
                "links": [[link.map, link.key.hex(), link.to] for link in load.links],
            },
            "inputs": [
                {
                    "packet": item.packet.hex(),
                    "context": item.context.hex(),
                    "maps": [[index, _contents(contents)] for index, contents in item.maps.items()],
                    "records": [[index, [value.hex() for value in values]] for index, values in item.records.items()],
                }
                for item in self.inputs
            ],
            "cpu": self.cpu,
            "results": self.results,
            "repeat": self.repeat,
            "read_maps": self.read_maps,
            "read_each": self.read_each,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Request:
        load = data["load"] | {
            "code": bytes.fromhex(data["load"]["code"]),
            "maps": tuple(spec_back(spec) for spec in data["load"]["maps"]),
            "functions": _functions(data["load"]["functions"]),
            "targets": tuple(
                TargetRequest(
                    bytes.fromhex(target["code"]),
                    tuple(target["maps"]),
                    target["name"],
                    _functions(target["functions"]),
                )
                for target in data["load"]["targets"]
            ),
            "links": tuple(Link(index, bytes.fromhex(key), to) for index, key, to in data["load"]["links"]),
        }
        inputs = tuple(
            RunInput(
                bytes.fromhex(item["packet"]),
                bytes.fromhex(item["context"]),
                {index: _contents_back(contents) for index, contents in item["maps"]},
                {index: tuple(bytes.fromhex(value) for value in values) for index, values in item["records"]},
            )
            for item in data["inputs"]
        )
        return Request(
            LoadRequest(**load),
            inputs,
            data["repeat"],
            tuple(data["read_maps"]),
            data["read_each"],
            data["cpu"],
            tuple(data["results"]),
        )


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
                    "records": [
                        [index, [record if isinstance(record, int) else record.hex() for record in records]]
                        for index, records in run.records.items()
                    ],
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
                {
                    index: tuple(record if isinstance(record, int) else bytes.fromhex(record) for record in records)
                    for index, records in run["records"]
                },
            )
            for run in data["runs"]
        )
        return Reply(answer, runs)


def _functions(rows: list[list[Any]]) -> tuple[tuple[int, str], ...]:
    return tuple((start, name) for start, name in rows)


def _contents(contents: Contents) -> list[list[str]]:
    return [[key.hex(), value.hex()] for key, value in contents.items()]


def _contents_back(rows: list[list[str]]) -> dict[bytes, bytes]:
    return {bytes.fromhex(key): bytes.fromhex(value) for key, value in rows}


def spec_plain(spec: MapSpec) -> dict[str, Any]:
    """A definition as JSON has it, without the layouts of keys and values."""
    plain = asdict(replace(spec, initial=None, inner=None, key_layout=None, value_layout=None))
    return plain | {
        "initial": None if spec.initial is None else spec.initial.hex(),
        "inner": None if spec.inner is None else spec_plain(spec.inner),
    }


def spec_back(data: dict[str, Any]) -> MapSpec:
    """The definition that ``data`` describes."""
    return MapSpec(
        **(
            data
            | {
                "initial": None if data["initial"] is None else bytes.fromhex(data["initial"]),
                "inner": None if data["inner"] is None else spec_back(data["inner"]),
            }
        )
    )
