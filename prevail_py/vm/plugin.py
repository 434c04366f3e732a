"""Engines outside of this process: any executable that speaks the plugin protocol of the conformance suite.

The memory, if any, is the first argument, the program one line of standard input, both as bytes in hexadecimal.
The plugin prints R0 in hexadecimal and exits with 0; or it fails, with a message on standard error.  What it did to the
memory is not part of the protocol.  :mod:`prevail_py.cli.plugin` is such an executable, for our own engines.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prevail_py.isa.encode import encode
from prevail_py.isa.instructions import Instruction
from prevail_py.objects.program import Program
from prevail_py.vm.engines import EngineError, Loaded
from prevail_py.vm.environment import Environment
from prevail_py.vm.interpreter import DEFAULT_FUEL, Execution
from prevail_py.vm.outcome import Returned

__all__ = ["PluginEngine"]


class PluginEngine:
    """The executable at ``path``, which gets ``options`` after the memory; each run may take ``timeout`` seconds."""

    def __init__(self, path: str | Path, options: Sequence[str] = (), *, timeout: float = 30.0) -> None:
        self.path: Final = str(path)
        self.options: Final = tuple(options)
        self.timeout: Final = timeout

    @property
    def name(self) -> str:
        """The file name of the executable."""
        return Path(self.path).name

    def load(self, program: Program) -> Loaded:
        """The protocol knows plain memory only."""
        raise EngineError(f"plugin {self.name} runs code on plain memory, not {program.program_type} programs")

    def run_memory(
        self,
        code: Sequence[Instruction | None],
        memory: bytes = b"",
        *,
        environment: Environment | None = None,
        fuel: int = DEFAULT_FUEL,
    ) -> Execution:
        """Run plain code on plain memory.  Raises :class:`EngineError` where the plugin fails, is slow, or rambles."""
        arguments = [memory.hex(" ")] if memory else []
        try:
            done = subprocess.run(
                [self.path, *arguments, *self.options],
                input=encode(code).hex(" ") + "\n",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except OSError as error:
            raise EngineError(f"plugin {self.path}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"plugin {self.name}: no answer within {self.timeout:g} s") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            reason = lines[-1] if lines else f"exit status {done.returncode}"
            raise EngineError(f"plugin {self.name}: {reason}")
        try:
            value = int(done.stdout.strip(), 16)
        except ValueError:
            raise EngineError(f"plugin {self.name}: {done.stdout.strip()!r} is not a number in hexadecimal") from None
        if not 0 <= value < 1 << 64:
            raise EngineError(f"plugin {self.name}: {value:#x} does not fit into 64 bits")
        return Execution(Returned(value), 0)
