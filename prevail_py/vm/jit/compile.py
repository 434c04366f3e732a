"""From IR to native code: LLVM's verifier, its passes and its code generator, through llvmlite.

============ ==========================================================================
tier 0       no passes, fast code generation: for programs that run a few times
tier 2       passes and LLVM's best code: for programs that run often, or for long
============ ==========================================================================

At tier 2 proved code gets LLVM's pipeline ``default<O2>``, which vectorises its loops.  Checked code gets
:data:`SHORT`: each of its accesses may lead to the reference, which leaves the rest of the pipeline nothing to do but
takes it most of the time (``docs/measurements/jit.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import CFUNCTYPE, c_uint64, c_void_p
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from llvmlite import binding

from prevail_py.platforms import Platform
from prevail_py.vm.jit.lower import ENTRY, lower
from prevail_py.vm.machine import Code

__all__ = ["SHORT", "Native", "Tier", "compile_code", "executable", "optimise"]

Tier: TypeAlias = Literal[0, 2]

SHORT: Final = ("sroa", "instruction_combine", "simplify_cfg", "aggressive_dce")
"""The passes over checked code: what makes registers of its homes, and tidies up."""

_Entry: Final = CFUNCTYPE(c_uint64, c_void_p)


class Native:
    """A compiled program; its code lives as long as this does."""

    def __init__(self, engine: Any) -> None:
        self._engine: Final = engine
        self.run: Final[Callable[[int], int]] = _Entry(engine.get_function_address(ENTRY))
        """Run from what the block at this address says, to a :class:`~prevail_py.vm.jit.layout.Status`."""


@cache
def _target() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple()


def _machine(tier: Tier) -> Any:
    return _target().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=tier,
        codemodel="jitdefault",
        jit=True,
    )


def _run_passes(module: Any, tier: Tier, passes: tuple[str, ...] | None) -> None:
    builder = binding.create_pass_builder(_machine(tier), binding.create_pipeline_tuning_options(speed_level=tier))
    if passes is None:
        manager = builder.getModulePassManager()
    else:
        manager = binding.create_new_module_pass_manager()
        for name in passes:
            getattr(manager, f"add_{name}_pass")()
    manager.run(module, builder)
    # What llvmlite 0.50 has for this is hidden by a method of another base that does nothing: 200 KB a pipeline.
    binding.newpassmanagers.NewPassManager._dispose(manager)
    manager.detach()


def optimise(text: str, tier: Tier, passes: tuple[str, ...] | None = None) -> Any:
    """The verified and optimised module of this IR.

    ``passes`` are those of tier 2, None for LLVM's pipeline.  Raises RuntimeError for bad IR.
    """
    module = binding.parse_assembly(text)
    module.verify()
    if tier:
        _run_passes(module, tier, passes)
    return module


def executable(text: str, tier: Tier, passes: tuple[str, ...] | None = None) -> Any:
    """The optimised module of this IR as native code of this machine, which lives as long as what is returned."""
    engine = binding.create_mcjit_compiler(optimise(text, tier, passes), _machine(tier))
    engine.finalize_object()
    return engine


def compile_code(code: Code, platform: Platform, tier: Tier, *, native: bool) -> Native:
    """Compile a program for this machine."""
    return Native(executable(str(lower(code, platform, promoted=tier > 0, native=native)), tier, SHORT))
