"""Which helpers are implemented, by name, and how a call is made.

A helper takes the machine and its checked arguments and returns a number (negative: an error number), a region to
whose beginning R0 will point, None for null, or the calls of a function of the program that have to be made first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from prevail_py.platforms.model import HelperPrototype, ReturnKind
from prevail_py.vm.fault import Fault
from prevail_py.vm.helpers import callbacks, checksum, fib, maps, output, packets, system, tail_call, tracing
from prevail_py.vm.helpers.arguments import Argument, check_arguments
from prevail_py.vm.helpers.callbacks import Iteration
from prevail_py.vm.machine import Machine
from prevail_py.vm.memory import Region
from prevail_py.vm.outcome import TrapKind

__all__ = ["HELPERS", "Helper", "call_helper"]

Helper: TypeAlias = Callable[[Machine, Sequence[Argument]], int | Region | Iteration | None]

HELPERS: Final[Mapping[str, Helper]] = MappingProxyType({
    "bpf_csum_diff":              checksum.csum_diff,
    "bpf_fib_lookup":             fib.fib_lookup,
    "bpf_for_each_map_elem":      callbacks.for_each_map_elem,
    "bpf_get_current_cgroup_id":  system.get_current_cgroup_id,
    "bpf_get_current_comm":       system.get_current_comm,
    "bpf_get_current_pid_tgid":   system.get_current_pid_tgid,
    "bpf_get_current_task":       system.get_current_task,
    "bpf_get_current_uid_gid":    system.get_current_uid_gid,
    "bpf_get_numa_node_id":       system.get_numa_node_id,
    "bpf_get_prandom_u32":        system.get_prandom_u32,
    "bpf_get_smp_processor_id":   system.get_smp_processor_id,
    "bpf_jiffies64":              system.jiffies64,
    "bpf_ktime_get_boot_ns":      system.ktime_get_ns,
    "bpf_ktime_get_coarse_ns":    system.ktime_get_ns,
    "bpf_ktime_get_ns":           system.ktime_get_ns,
    "bpf_ktime_get_tai_ns":       system.ktime_get_ns,
    "bpf_loop":                   callbacks.loop,
    "bpf_map_delete_elem":        maps.map_delete_elem,
    "bpf_map_lookup_elem":        maps.map_lookup_elem,
    "bpf_map_lookup_percpu_elem": maps.map_lookup_percpu_elem,
    "bpf_map_peek_elem":          maps.map_peek_elem,
    "bpf_map_pop_elem":           maps.map_pop_elem,
    "bpf_map_push_elem":          maps.map_push_elem,
    "bpf_map_update_elem":        maps.map_update_elem,
    "bpf_perf_event_output":      output.perf_event_output,
    "bpf_probe_read":             system.probe_read,
    "bpf_probe_read_kernel":      system.probe_read_kernel,
    "bpf_probe_read_kernel_str":  system.probe_read_kernel_str,
    "bpf_probe_read_str":         system.probe_read_str,
    "bpf_probe_read_user":        system.probe_read_user,
    "bpf_probe_read_user_str":    system.probe_read_user_str,
    "bpf_redirect":               packets.redirect,
    "bpf_redirect_map":           packets.redirect_map,
    "bpf_ringbuf_discard":        output.ringbuf_discard,
    "bpf_ringbuf_output":         output.ringbuf_output,
    "bpf_ringbuf_query":          output.ringbuf_query,
    "bpf_ringbuf_reserve":        output.ringbuf_reserve,
    "bpf_ringbuf_submit":         output.ringbuf_submit,
    "bpf_skb_load_bytes":         packets.skb_load_bytes,
    "bpf_skb_pull_data":          packets.skb_pull_data,
    "bpf_skb_store_bytes":        packets.skb_store_bytes,
    "bpf_tail_call":              tail_call.tail_call,
    "bpf_trace_printk":           tracing.trace_printk,
    "bpf_trace_vprintk":          tracing.trace_vprintk,
    "bpf_xdp_adjust_head":        packets.xdp_adjust_head,
    "bpf_xdp_adjust_meta":        packets.xdp_adjust_meta,
    "bpf_xdp_adjust_tail":        packets.xdp_adjust_tail,
    "bpf_xdp_get_buff_len":       packets.xdp_get_buff_len,
    "bpf_xdp_load_bytes":         packets.xdp_load_bytes,
    "bpf_xdp_store_bytes":        packets.xdp_store_bytes,
})  # fmt: skip


def call_helper(machine: Machine, number: int) -> None:
    """Call the helper with this number: R0 becomes its result, R1 to R5 are uninitialised (RFC 9669 section 2).

    Raises :class:`Fault`: HELPER_UNAVAILABLE, UNSUPPORTED where it is not implemented, what its arguments violate.
    """
    prototype = _prototype(machine, number)
    helper = HELPERS.get(prototype.name)
    if helper is None:
        raise Fault(TrapKind.UNSUPPORTED, f"helper {prototype.name} is not implemented")
    frame = machine.calls[-1]
    result = helper(machine, check_arguments(machine, prototype))
    if prototype.changes_packet and machine.packet is not None:
        machine.packet.move()
    if machine.calls[-1] is not frame:
        return  # a tail call: the registers are those that the new program starts with
    machine.clobber_arguments()
    match result:
        case Iteration():
            result.go_on(machine)
        case Region():
            machine.write(0, result.base, result)
        case None:
            machine.write(0, None if prototype.returns is ReturnKind.VOID else 0)
        case _:
            machine.write(0, result & 0xFFFFFFFFFFFFFFFF)


def _prototype(machine: Machine, number: int) -> HelperPrototype:
    program_type = None if machine.plain else machine.program.program_type
    prototype = machine.platform.helper(number, program_type)
    if prototype is None:
        name = machine.platform.helper_name(number)
        reason = f"{program_type} programs may not call {name}" if name else f"there is no helper {number}"
        reason = machine.program.poisoned.get(machine.pc, reason)
        raise Fault(TrapKind.HELPER_UNAVAILABLE, reason)
    return prototype
