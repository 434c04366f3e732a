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
from prevail_py.vm.helpers import (
    callbacks,
    checksum,
    fib,
    flows,
    foreign,
    locks,
    maps,
    output,
    packets,
    reshape,
    sockets,
    strings,
    system,
    tail_call,
    tracing,
    windows,
)
from prevail_py.vm.helpers.arguments import Argument, check_arguments
from prevail_py.vm.helpers.callbacks import Iteration
from prevail_py.vm.machine import Machine
from prevail_py.vm.memory import Region
from prevail_py.vm.outcome import TrapKind
from prevail_py.vm.packages import of_packages

__all__ = ["HELPERS", "Helper", "call_helper"]

Helper: TypeAlias = Callable[[Machine, Sequence[Argument]], int | Region | Iteration | None]

HELPERS: Final[Mapping[str, Helper]] = MappingProxyType({
    "bpf_bind":                            sockets.bind,
    "bpf_check_mtu":                       flows.check_mtu,
    "bpf_clone_redirect":                  packets.clone_redirect,
    "bpf_copy_from_user":                  foreign.copy_from_user,
    "bpf_csum_diff":                       checksum.csum_diff,
    "bpf_csum_level":                      checksum.csum_level,
    "bpf_csum_update":                     checksum.csum_update,
    "bpf_current_task_under_cgroup":       system.current_task_under_cgroup,
    "bpf_fib_lookup":                      fib.fib_lookup,
    "bpf_for_each_map_elem":               callbacks.for_each_map_elem,
    "bpf_get_attach_cookie":               system.get_attach_cookie,
    "bpf_get_branch_snapshot":             system.get_branch_snapshot,
    "bpf_get_cgroup_classid":              flows.get_cgroup_classid,
    "bpf_get_current_ancestor_cgroup_id":  system.get_current_ancestor_cgroup_id,
    "bpf_get_current_cgroup_id":           system.get_current_cgroup_id,
    "bpf_get_current_comm":                system.get_current_comm,
    "bpf_get_current_logon_id":            windows.get_current_logon_id,
    "bpf_get_current_pid_tgid":            system.get_current_pid_tgid,
    "bpf_get_current_process_start_key":   windows.get_current_process_start_key,
    "bpf_get_current_task":                system.get_current_task,
    "bpf_get_current_thread_create_time":  windows.get_current_thread_create_time,
    "bpf_get_current_uid_gid":             system.get_current_uid_gid,
    "bpf_get_func_ip":                     system.get_func_ip,
    "bpf_get_hash_recalc":                 flows.get_hash_recalc,
    "bpf_get_listener_sock":               sockets.get_listener_sock,
    "bpf_get_netns_cookie":                sockets.get_netns_cookie,
    "bpf_get_ns_current_pid_tgid":         system.get_ns_current_pid_tgid,
    "bpf_get_numa_node_id":                system.get_numa_node_id,
    "bpf_get_prandom_u32":                 system.get_prandom_u32,
    "bpf_get_retval":                      sockets.get_retval,
    "bpf_get_route_realm":                 flows.get_route_realm,
    "bpf_get_smp_processor_id":            system.get_smp_processor_id,
    "bpf_get_socket_cookie":               sockets.get_socket_cookie,
    "bpf_get_socket_uid":                  sockets.get_socket_uid,
    "bpf_get_stack":                       system.get_stack,
    "bpf_get_stackid":                     system.get_stackid,
    "bpf_getsockopt":                      sockets.getsockopt,
    "bpf_is_current_admin":                windows.is_current_admin,
    "bpf_jiffies64":                       system.jiffies64,
    "bpf_ktime_get_boot_ms":               windows.ktime_get_ms,
    "bpf_ktime_get_boot_ns":               system.ktime_get_ns,
    "bpf_ktime_get_coarse_ns":             system.ktime_get_ns,
    "bpf_ktime_get_ms":                    windows.ktime_get_ms,
    "bpf_ktime_get_ns":                    system.ktime_get_ns,
    "bpf_ktime_get_tai_ns":                system.ktime_get_ns,
    "bpf_l3_csum_replace":                 checksum.l3_csum_replace,
    "bpf_l4_csum_replace":                 checksum.l4_csum_replace,
    "bpf_loop":                            callbacks.loop,
    "bpf_map_delete_elem":                 maps.map_delete_elem,
    "bpf_map_lookup_and_delete_elem":      windows.map_lookup_and_delete_elem,
    "bpf_map_lookup_elem":                 maps.map_lookup_elem,
    "bpf_map_lookup_percpu_elem":          maps.map_lookup_percpu_elem,
    "bpf_map_peek_elem":                   maps.map_peek_elem,
    "bpf_map_pop_elem":                    maps.map_pop_elem,
    "bpf_map_push_elem":                   maps.map_push_elem,
    "bpf_map_update_elem":                 maps.map_update_elem,
    "bpf_memcmp_s":                        windows.memcmp_s,
    "bpf_memcpy_s":                        windows.memcpy_s,
    "bpf_memmove_s":                       windows.memcpy_s,
    "bpf_memset":                          windows.memset,
    "bpf_perf_event_output":               output.perf_event_output,
    "bpf_perf_event_read":                 system.perf_event_read,
    "bpf_perf_event_read_value":           system.perf_event_read_value,
    "bpf_probe_read":                      foreign.probe_read,
    "bpf_probe_read_kernel":               foreign.probe_read_kernel,
    "bpf_probe_read_kernel_str":           foreign.probe_read_kernel_str,
    "bpf_probe_read_str":                  foreign.probe_read_str,
    "bpf_probe_read_user":                 foreign.probe_read_user,
    "bpf_probe_read_user_str":             foreign.probe_read_user_str,
    "bpf_probe_write_user":                foreign.probe_write_user,
    "bpf_read_branch_records":             system.read_branch_records,
    "bpf_redirect":                        packets.redirect,
    "bpf_redirect_map":                    packets.redirect_map,
    "bpf_redirect_neigh":                  packets.redirect_neigh,
    "bpf_redirect_peer":                   packets.redirect_peer,
    "bpf_ringbuf_discard":                 output.ringbuf_discard,
    "bpf_ringbuf_output":                  output.ringbuf_output,
    "bpf_ringbuf_query":                   output.ringbuf_query,
    "bpf_ringbuf_reserve":                 output.ringbuf_reserve,
    "bpf_ringbuf_submit":                  output.ringbuf_submit,
    "bpf_send_signal":                     system.send_signal,
    "bpf_send_signal_thread":              system.send_signal,
    "bpf_set_hash":                        flows.set_hash,
    "bpf_set_hash_invalid":                flows.set_hash_invalid,
    "bpf_set_retval":                      sockets.set_retval,
    "bpf_setsockopt":                      sockets.setsockopt,
    "bpf_sk_ancestor_cgroup_id":           sockets.sk_ancestor_cgroup_id,
    "bpf_sk_assign":                       sockets.sk_assign,
    "bpf_sk_cgroup_id":                    sockets.sk_cgroup_id,
    "bpf_sk_fullsock":                     sockets.sk_fullsock,
    "bpf_sk_lookup_tcp":                   sockets.sk_lookup_tcp,
    "bpf_sk_lookup_udp":                   sockets.sk_lookup_udp,
    "bpf_sk_release":                      sockets.sk_release,
    "bpf_skb_adjust_room":                 reshape.skb_adjust_room,
    "bpf_skb_ancestor_cgroup_id":          flows.skb_ancestor_cgroup_id,
    "bpf_skb_cgroup_classid":              flows.skb_cgroup_classid,
    "bpf_skb_cgroup_id":                   flows.skb_cgroup_id,
    "bpf_skb_change_head":                 reshape.skb_change_head,
    "bpf_skb_change_proto":                reshape.skb_change_proto,
    "bpf_skb_change_tail":                 reshape.skb_change_tail,
    "bpf_skb_change_type":                 reshape.skb_change_type,
    "bpf_skb_ecn_set_ce":                  flows.skb_ecn_set_ce,
    "bpf_skb_get_tunnel_key":              flows.skb_get_tunnel_key,
    "bpf_skb_get_tunnel_opt":              flows.skb_get_tunnel_opt,
    "bpf_skb_get_xfrm_state":              flows.skb_get_xfrm_state,
    "bpf_skb_load_bytes":                  packets.skb_load_bytes,
    "bpf_skb_load_bytes_relative":         packets.skb_load_bytes_relative,
    "bpf_skb_pull_data":                   reshape.skb_pull_data,
    "bpf_skb_set_tstamp":                  flows.skb_set_tstamp,
    "bpf_skb_set_tunnel_key":              flows.skb_set_tunnel_key,
    "bpf_skb_set_tunnel_opt":              flows.skb_set_tunnel_opt,
    "bpf_skb_store_bytes":                 packets.skb_store_bytes,
    "bpf_skb_under_cgroup":                flows.skb_under_cgroup,
    "bpf_skb_vlan_pop":                    reshape.skb_vlan_pop,
    "bpf_skb_vlan_push":                   reshape.skb_vlan_push,
    "bpf_skc_lookup_tcp":                  sockets.skc_lookup_tcp,
    "bpf_snprintf":                        tracing.snprintf,
    "bpf_sock_addr_get_current_pid_tgid":  system.get_current_pid_tgid,
    "bpf_sock_addr_set_redirect_context":  windows.set_redirect_context,
    "bpf_spin_lock":                       locks.spin_lock,
    "bpf_spin_unlock":                     locks.spin_unlock,
    "bpf_strncat_s":                       windows.strncat_s,
    "bpf_strncmp":                         strings.strncmp,
    "bpf_strncpy_s":                       windows.strncpy_s,
    "bpf_strnlen_s":                       windows.strnlen_s,
    "bpf_strtol":                          strings.strtol,
    "bpf_strtoul":                         strings.strtoul,
    "bpf_tail_call":                       tail_call.tail_call,
    "bpf_tcp_sock":                        sockets.tcp_sock,
    "bpf_trace_printk":                    tracing.trace_printk,
    "bpf_trace_vprintk":                   tracing.trace_vprintk,
    "bpf_xdp_adjust_head":                 packets.xdp_adjust_head,
    "bpf_xdp_adjust_meta":                 packets.xdp_adjust_meta,
    "bpf_xdp_adjust_tail":                 packets.xdp_adjust_tail,
    "bpf_xdp_get_buff_len":                packets.xdp_get_buff_len,
    "bpf_xdp_load_bytes":                  packets.xdp_load_bytes,
    "bpf_xdp_store_bytes":                 packets.xdp_store_bytes,
})  # fmt: skip


def call_helper(machine: Machine, number: int) -> None:
    """Call the helper with this number: R0 becomes its result, R1 to R5 are uninitialised (RFC 9669 section 2).

    Raises :class:`Fault`: HELPER_UNAVAILABLE, UNSUPPORTED where it is not implemented, what its arguments violate.
    """
    prototype = _prototype(machine, number)
    helper = HELPERS.get(prototype.name) or of_packages("prevail_py.helpers", prototype.name)
    if helper is None:
        raise Fault(TrapKind.UNSUPPORTED, f"helper {prototype.name} is not implemented")
    if machine.references and prototype.name not in locks.LOCK_HELPERS and locks.holds_lock(machine):
        raise Fault(TrapKind.HELPER_UNAVAILABLE, f"{prototype.name} is called while a lock is held")
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
    program = machine.program
    prototype = machine.platform.helper(number, None if machine.plain else program.program_type)
    reason = ""
    if not machine.plain:
        reason = machine.platform.unavailable(
            number, program.program_type, program.expected_attach_type, program.section
        )
    elif prototype is None:
        reason = f"there is no helper {number}"
    if reason or prototype is None:
        raise Fault(TrapKind.HELPER_UNAVAILABLE, program.poisoned.get(machine.pc, reason))
    return prototype
