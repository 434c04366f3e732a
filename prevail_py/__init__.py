"""prevail_py: a formal-verification research toolkit for eBPF.

Load an object file, verify a program, run it once it is proved safe::

    import prevail_py

    program = prevail_py.load("firewall.o").programs["firewall"]
    verdict = prevail_py.verify(program)
    if verdict.is_safe:
        execution = prevail_py.run(program, packet=bytes(64), verdict=verdict)

The names below are the public interface; what they stand for is imported when they are first used, so that importing
the package costs next to nothing.  The sub-packages, from the bottom up: ``words``, ``isa``, ``platforms``,
``objects``, ``cfg`` / ``domains`` / ``vm``, ``verifier``, ``host`` / ``report`` / ``research``, ``cli``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prevail_py.host.gate import GateError, run
    from prevail_py.isa.assembler import AssemblerError
    from prevail_py.objects.elf import ObjectFile
    from prevail_py.objects.elf import load_object as load
    from prevail_py.objects.errors import ObjectError
    from prevail_py.objects.program import MapSpec, Program
    from prevail_py.objects.text import assemble, disassemble
    from prevail_py.verifier import verify
    from prevail_py.verifier.verdict import Failure, Verdict, VerdictKind
    from prevail_py.vm.interpreter import Execution

__version__ = "0.1.0.dev0"

__all__ = [
    "AssemblerError",
    "Execution",
    "Failure",
    "GateError",
    "MapSpec",
    "ObjectError",
    "ObjectFile",
    "Program",
    "Verdict",
    "VerdictKind",
    "__version__",
    "assemble",
    "disassemble",
    "load",
    "run",
    "verify",
]

# Where each public name lives: a module and its name there.
_HOME = {
    "AssemblerError": ("prevail_py.isa.assembler", "AssemblerError"),
    "Execution": ("prevail_py.vm.interpreter", "Execution"),
    "Failure": ("prevail_py.verifier.verdict", "Failure"),
    "GateError": ("prevail_py.host.gate", "GateError"),
    "MapSpec": ("prevail_py.objects.program", "MapSpec"),
    "ObjectError": ("prevail_py.objects.errors", "ObjectError"),
    "ObjectFile": ("prevail_py.objects.elf", "ObjectFile"),
    "Program": ("prevail_py.objects.program", "Program"),
    "Verdict": ("prevail_py.verifier.verdict", "Verdict"),
    "VerdictKind": ("prevail_py.verifier.verdict", "VerdictKind"),
    "assemble": ("prevail_py.objects.text", "assemble"),
    "disassemble": ("prevail_py.objects.text", "disassemble"),
    "load": ("prevail_py.objects.elf", "load_object"),
    "run": ("prevail_py.host.gate", "run"),
    "verify": ("prevail_py.verifier", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
