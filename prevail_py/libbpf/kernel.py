"""The kernel as a backend: its verifier decides, its JIT runs, nothing is attached and nothing is pinned.

Everything goes through the project's guarded engine (:mod:`prevail_py.vm.kernel`): a program is loaded and test-run in
a child process, behind the guard against what kernels are known to mishandle.  Maps live in this process, with the
kernel's semantics, and go to the kernel and back with each series of runs.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from prevail_py.host.context.admission import Admissions, Admitted
from prevail_py.host.context.context import ExecutionContext
from prevail_py.host.context.model import HostError, Peer
from prevail_py.host.context.session import Session
from prevail_py.host.gate import GateError, require_maps
from prevail_py.vm.kernel.engine import AnswerKind, ask_kernel, available
from prevail_py.vm.kernel.loader import possible_cpus

if TYPE_CHECKING:
    from prevail_py.objects.program import Program
    from prevail_py.vm.maps import Map

__all__ = ["kernel_session"]

_NEVER: Final = frozenset({"pin", "unpin", "open_pin", "link_create", "link_update", "link_detach", "link_invoke"})
_NUMBERS: Final = {AnswerKind.REJECT: errno.EACCES, AnswerKind.NOT_ASKED: errno.EPERM}


class KernelAdmissions(Admissions):
    """The kernel's verifier in place of ours."""

    def admit(self, program: Program, maps: Sequence[Map], token: bytes | None = None) -> Admitted:
        """Raises :class:`HostError`: EACCES where it rejects the program, EPERM where our guard does not ask it."""
        try:
            require_maps(program, maps)
        except GateError as error:
            raise HostError(errno.EINVAL, str(error)) from None
        answer = ask_kernel(program, log_level=1)
        if answer.kind is AnswerKind.ACCEPT:
            return Admitted(b"")
        raise HostError(_NUMBERS.get(answer.kind, errno.EOPNOTSUPP), f"{program.name}: {answer.reason}", answer.log)


class KernelSession(Session):
    """A session that loads into the kernel."""

    def call(self, name: str, **arguments: Any) -> Any:
        """Make a call; EOPNOTSUPP for those that attach or pin."""
        if name in _NEVER:
            raise HostError(errno.EOPNOTSUPP, f"{name}: nothing is attached or pinned in the kernel")
        if name == "program_load":
            arguments["engine"] = "kernel"
        return super().call(name, **arguments)


def kernel_session() -> KernelSession:
    """A session with objects of its own.  Raises :class:`HostError` where the kernel cannot be asked."""
    reason = available()
    if reason is not None:
        raise HostError(errno.EPERM, f"the kernel cannot be asked: {reason}")
    context = ExecutionContext(admissions=KernelAdmissions(), cpus=possible_cpus(), engines=("kernel",))
    return KernelSession(context, Peer.here())
