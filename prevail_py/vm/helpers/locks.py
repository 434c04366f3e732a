"""Spin locks: a program holds one at most, calls no other helper meanwhile, and gives it back.

One program runs at a time, so no lock is ever found taken; what can go wrong is how they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prevail_py.vm.fault import Fault
from prevail_py.vm.helpers.arguments import Argument
from prevail_py.vm.machine import Machine, SpinLock
from prevail_py.vm.outcome import TrapKind

__all__ = ["LOCK_HELPERS", "holds_lock", "spin_lock", "spin_unlock"]

LOCK_HELPERS: Final = frozenset({"bpf_spin_lock", "bpf_spin_unlock"})


def spin_lock(machine: Machine, arguments: Sequence[Argument]) -> None:
    """Take a lock."""
    lock = arguments[0]
    assert lock.region is not None
    if holds_lock(machine):
        raise Fault(TrapKind.HELPER_ARGUMENT, "a second lock would be taken while one is held", lock.value)
    machine.references[lock.region] = SpinLock(lock.offset)


def spin_unlock(machine: Machine, arguments: Sequence[Argument]) -> None:
    """Give a lock back, which must be the one that is held."""
    lock = arguments[0]
    assert lock.region is not None
    if machine.references.get(lock.region) != SpinLock(lock.offset):
        raise Fault(TrapKind.HELPER_ARGUMENT, "a lock would be given back that is not held", lock.value)
    del machine.references[lock.region]


def holds_lock(machine: Machine) -> bool:
    """Whether the program holds a lock."""
    return any(isinstance(held, SpinLock) for held in machine.references.values())
