"""The process that talks to the kernel: ``python -m prevail_py.vm.kernel.worker``, one request a line on stdin.

It exists to be lost.  Should the kernel kill it, or never return, the engine notices and says so.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prevail_py.vm.kernel import syscalls
from prevail_py.vm.kernel.hazard import escape
from prevail_py.vm.kernel.loader import LoadedProgram, MapError, load
from prevail_py.vm.kernel.syscalls import BpfError
from prevail_py.vm.kernel.wire import KernelRun, Reply, Request, RunInput

__all__ = ["main", "one_cpu"]


def main() -> None:
    """Answer requests until stdin ends."""
    syscalls.enter_worker()
    # The protocol has stdout to itself: whatever else prints goes to stderr.
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        for line in sys.stdin:
            reply = _serve(Request.from_json(json.loads(line)))
            output.write(json.dumps(reply.to_json()) + "\n")
            output.flush()


def _serve(request: Request) -> Reply:
    answer, loaded = load(request.load)
    with loaded:
        if loaded.descriptor < 0:
            return Reply(answer)
        if not request.inputs:
            return Reply(answer)
        reasons = (escape(code, request.load.program_type) for code in request.load.codes)
        reason = next((reason for reason in reasons if reason is not None), None)
        if reason is None and request.cpu not in os.sched_getaffinity(0):
            reason = f"CPU {request.cpu} is not one that this process may run on"
        if reason is not None:
            return Reply(answer, (KernelRun(0, b"", b"", 0, {}, reason),) * len(request.inputs))
        last = len(request.inputs) - 1
        with one_cpu(request.cpu):
            runs = []
            for number, item in enumerate(request.inputs):
                everything = request.read_each or number == last
                read_maps = (*request.results, *(request.read_maps if everything else ()))
                runs.append(_run(loaded, item, request.repeat, read_maps))
        return Reply(answer, tuple(runs))


def _run(loaded: LoadedProgram, item: RunInput, repeat: int, read_maps: Sequence[int]) -> KernelRun:
    try:
        for index, contents in item.maps.items():
            loaded.maps[index].write(contents)
        for index, values in item.records.items():
            loaded.maps[index].push(values)
        run = syscalls.run_program(loaded.descriptor, item.packet, item.context, repeat)
    except MapError as error:
        return KernelRun(0, b"", b"", 0, {}, str(error))
    except BpfError as error:
        return KernelRun(0, b"", b"", 0, {}, error.code)
    maps = {index: loaded.maps[index].read() for index in read_maps if loaded.maps[index].readable}
    records = {index: loaded.maps[index].records() for index in read_maps if loaded.maps[index].recorded}
    return KernelRun(run.return_value, run.data, run.context, run.duration_ns, maps, records=records)


@contextmanager
def one_cpu(cpu: int) -> Iterator[None]:
    """Stay on one CPU, so that successive runs find their per-CPU values where the last one left them."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


if __name__ == "__main__":
    main()
