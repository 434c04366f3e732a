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

__all__ = ["main"]


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
        reason = escape(request.load.code, request.load.program_type)
        if reason is not None:
            return Reply(answer, (KernelRun(0, b"", b"", 0, {}, reason),) * len(request.inputs))
        last = len(request.inputs) - 1
        with _one_cpu():
            runs = [
                _run(loaded, item, request.repeat, request.read_maps if request.read_each or number == last else ())
                for number, item in enumerate(request.inputs)
            ]
        return Reply(answer, tuple(runs))


def _run(loaded: LoadedProgram, item: RunInput, repeat: int, read_maps: Sequence[int]) -> KernelRun:
    try:
        for index, contents in item.maps.items():
            loaded.maps[index].write(contents)
        run = syscalls.run_program(loaded.descriptor, item.packet, item.context, repeat)
    except MapError as error:
        return KernelRun(0, b"", b"", 0, {}, str(error))
    except BpfError as error:
        return KernelRun(0, b"", b"", 0, {}, f"the kernel does not run it on this input: {error.code}")
    maps = {index: loaded.maps[index].read() for index in read_maps if loaded.maps[index].readable}
    return KernelRun(run.return_value, run.data, run.context, run.duration_ns, maps)


@contextmanager
def _one_cpu() -> Iterator[None]:
    """Stay on one CPU, so that successive runs find their per-CPU values where the last one left them."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


if __name__ == "__main__":
    main()
