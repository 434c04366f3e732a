"""Where native code of programs that nobody proved is run first: in a forked child, which may die of it.

The child has a copy of everything that the run can see, and the virtual machine draws nothing from outside of it:
clock and random numbers are the :class:`~prevail_py.vm.environment.Environment`'s.  So a run that came to its end in
the child does exactly the same in the parent, and one that does not, as native code is wrong, never begins there.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
from collections.abc import Callable

__all__ = ["rehearse"]


def rehearse(run: Callable[[], object], seconds: float) -> str | None:
    """Run in a child that has so many seconds of CPU time; why it did not come to an end there, None where it did.

    What ``run`` raises is an end too: the parent will see it for itself.
    """
    child = os.fork()
    if child == 0:
        try:
            faulthandler.disable()  # the parent tells
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return None
    number = os.WTERMSIG(status)
    if number == signal.SIGPROF:
        return f"native code did not end within {seconds:g} s of CPU time"
    return f"native code died of {signal.Signals(number).name}"
