"""The hook of programs that decide on addresses: ``cgroup/bind4``, ``bind6``, ``connect4``, ``connect6``.

Of Windows they are ``bind``, ``cgroup/connect4`` and ``connect6``.

The host does not see sockets of others.  Who supervises a command holds the link, and calls the program for each event
(``link_invoke``): :mod:`prevail_py.host.hooks.supervisor` does so for ``bind(2)`` and ``connect(2)``.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from prevail_py.host.hooks import Attachment, Passive, Runner, windows_addresses
from prevail_py.host.hooks.addresses import ATTACH_TYPES

if TYPE_CHECKING:
    from prevail_py.host.canonical import Plain
    from prevail_py.objects.program import Program

__all__ = ["SockAddrHook"]

_PARAMETERS: Final = frozenset({"command", "pid"})
_KNOWN: Final[Mapping[str, Collection[str]]] = {"linux": ATTACH_TYPES, "windows": windows_addresses.ATTACH_TYPES}


class SockAddrHook:
    """See the module's text.  Parameters: ``command`` and ``pid`` of what is supervised, for those who look."""

    name: Final = "sock_addr"

    def accepts(self, program: Program) -> bool:
        """Programs for ``bind`` and ``connect``, of Linux or Windows."""
        known = _KNOWN.get(program.platform, {})
        return program.program_type in ("cgroup_sock_addr", "bind") and program.expected_attach_type in known

    def attach(self, runner: Runner, parameters: Mapping[str, Plain]) -> Attachment:
        """Nothing happens until the link is called."""
        if not parameters.keys() <= _PARAMETERS:
            raise OSError(errno.EINVAL, "the hook takes a command and a pid")
        return Passive()
