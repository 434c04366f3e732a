"""``prevail-py-conformance-plugin``: our engines behind the plugin protocol of the conformance suite.

The first argument, if any, is the memory, standard input one line with the program, both as bytes in hexadecimal with
white space between them.  R0 goes to standard output in hexadecimal; a program that does not return it gives a message
on standard error and exit code 1, bad input 2.

A runner starts this once for each vector, so it imports no more than it needs.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

__all__ = ["main"]

_USAGE = "usage: prevail-py-conformance-plugin [MEMORY] [--engine interpreter|source|jit|jit-O0|kernel] < PROGRAM"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program on standard input; 0, 1 where it does not return a value, 2 for bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name, given = "interpreter", []
    while arguments:
        argument = arguments.pop(0)
        option, equals, value = argument.partition("=")
        if argument in ("-h", "--help"):
            print(_USAGE)
            return 0
        if option == "--engine" and (equals or arguments):
            name = value if equals else arguments.pop(0)
        elif argument.startswith("-"):
            return _refuse(_USAGE)
        else:
            given.append(argument)
    if len(given) > 1:
        return _refuse(_USAGE)
    try:
        memory = bytes.fromhex(given[0] if given else "")
    except ValueError as error:
        return _refuse(f"memory: {error}")
    try:
        data = bytes.fromhex(sys.stdin.readline())
    except ValueError as error:
        return _refuse(f"program: {error}")
    collecting = gc.isenabled()
    gc.disable()  # modules and their classes stay, and a program makes no garbage in cycles
    try:
        return _run(name, data, memory)
    finally:
        if collecting:
            gc.enable()


def _run(name: str, data: bytes, memory: bytes) -> int:
    from prevail_py.isa.decode import decode
    from prevail_py.vm.engines import EngineError, engine
    from prevail_py.vm.outcome import OutOfFuel, Returned

    try:
        code = decode(data)
        chosen = engine(name)
    except ValueError as error:
        return _refuse(str(error))
    try:
        outcome = chosen.run_memory(code, memory).outcome
    except EngineError as error:
        return _refuse(str(error), 1)
    match outcome:
        case Returned(value):
            print(f"{value:x}")
            return 0
        case OutOfFuel(pc):
            return _refuse(f"out of fuel at slot {pc}", 1)
        case _:
            trap = outcome.trap
            return _refuse(f"{trap.kind.value} at slot {trap.pc}: {trap.message}", 1)


def _refuse(message: str, code: int = 2) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
