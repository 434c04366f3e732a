"""Section names of Linux programs, as libbpf reads them.

In the table ``+`` lets ``/anything`` follow, ``*`` adds the sleepable form ``name.s`` (``name.s/...``).
"""

from __future__ import annotations

from collections.abc import Sequence

from prevail_py.platforms.model import SectionRule

__all__ = ["SECTIONS"]

_TABLE = """
socket                      socket_filter
sk_reuseport/migrate        sk_reuseport             sk_reuseport_select_or_migrate
sk_reuseport                sk_reuseport             sk_reuseport_select
kprobe+                     kprobe
uprobe*+                    kprobe
kretprobe+                  kprobe
uretprobe*+                 kprobe
kprobe.multi+               kprobe                   trace_kprobe_multi
kretprobe.multi+            kprobe                   trace_kprobe_multi
kprobe.session+             kprobe                   trace_kprobe_session
uprobe.multi*+              kprobe                   trace_uprobe_multi
uretprobe.multi*+           kprobe                   trace_uprobe_multi
uprobe.session*+            kprobe                   trace_uprobe_session
ksyscall+                   kprobe
kretsyscall+                kprobe
usdt*+                      kprobe
tc/ingress                  sched_cls                tcx_ingress
tc/egress                   sched_cls                tcx_egress
tcx/ingress                 sched_cls                tcx_ingress
tcx/egress                  sched_cls                tcx_egress
tc                          sched_cls
classifier                  sched_cls
action                      sched_act
netkit/primary              sched_cls                netkit_primary
netkit/peer                 sched_cls                netkit_peer
tracepoint+                 tracepoint
tp+                         tracepoint
raw_tracepoint+             raw_tracepoint
raw_tp+                     raw_tracepoint
raw_tracepoint.w+           raw_tracepoint_writable
raw_tp.w+                   raw_tracepoint_writable
tp_btf+                     tracing                  trace_raw_tp
fentry*+                    tracing                  trace_fentry
fmod_ret*+                  tracing                  modify_return
fexit*+                     tracing                  trace_fexit
iter*+                      tracing                  trace_iter
freplace+                   ext
lsm*+                       lsm                      lsm_mac
lsm_cgroup+                 lsm                      lsm_cgroup
syscall                     syscall
xdp.frags/devmap            xdp                      xdp_devmap
xdp/devmap                  xdp                      xdp_devmap
xdp.frags/cpumap            xdp                      xdp_cpumap
xdp/cpumap                  xdp                      xdp_cpumap
xdp.frags                   xdp                      xdp
xdp                         xdp                      xdp
perf_event                  perf_event
lwt_in                      lwt_in
lwt_out                     lwt_out
lwt_xmit                    lwt_xmit
lwt_seg6local               lwt_seg6local
sockops                     sock_ops                 cgroup_sock_ops
sk_skb/stream_parser        sk_skb                   sk_skb_stream_parser
sk_skb/stream_verdict       sk_skb                   sk_skb_stream_verdict
sk_skb/verdict              sk_skb                   sk_skb_verdict
sk_skb                      sk_skb
sk_msg                      sk_msg                   sk_msg_verdict
lirc_mode2                  lirc_mode2               lirc_mode2
flow_dissector              flow_dissector           flow_dissector
cgroup_skb/ingress          cgroup_skb               cgroup_inet_ingress
cgroup_skb/egress           cgroup_skb               cgroup_inet_egress
cgroup/skb                  cgroup_skb
cgroup/sock_create          cgroup_sock              cgroup_inet_sock_create
cgroup/sock_release         cgroup_sock              cgroup_inet_sock_release
cgroup/sock                 cgroup_sock              cgroup_inet_sock_create
cgroup/post_bind4           cgroup_sock              cgroup_inet4_post_bind
cgroup/post_bind6           cgroup_sock              cgroup_inet6_post_bind
cgroup/bind4                cgroup_sock_addr         cgroup_inet4_bind
cgroup/bind6                cgroup_sock_addr         cgroup_inet6_bind
cgroup/connect4             cgroup_sock_addr         cgroup_inet4_connect
cgroup/connect6             cgroup_sock_addr         cgroup_inet6_connect
cgroup/connect_unix         cgroup_sock_addr         cgroup_unix_connect
cgroup/sendmsg4             cgroup_sock_addr         cgroup_udp4_sendmsg
cgroup/sendmsg6             cgroup_sock_addr         cgroup_udp6_sendmsg
cgroup/sendmsg_unix         cgroup_sock_addr         cgroup_unix_sendmsg
cgroup/recvmsg4             cgroup_sock_addr         cgroup_udp4_recvmsg
cgroup/recvmsg6             cgroup_sock_addr         cgroup_udp6_recvmsg
cgroup/recvmsg_unix         cgroup_sock_addr         cgroup_unix_recvmsg
cgroup/getpeername4         cgroup_sock_addr         cgroup_inet4_getpeername
cgroup/getpeername6         cgroup_sock_addr         cgroup_inet6_getpeername
cgroup/getpeername_unix     cgroup_sock_addr         cgroup_unix_getpeername
cgroup/getsockname4         cgroup_sock_addr         cgroup_inet4_getsockname
cgroup/getsockname6         cgroup_sock_addr         cgroup_inet6_getsockname
cgroup/getsockname_unix     cgroup_sock_addr         cgroup_unix_getsockname
cgroup/sysctl               cgroup_sysctl            cgroup_sysctl
cgroup/getsockopt           cgroup_sockopt           cgroup_getsockopt
cgroup/setsockopt           cgroup_sockopt           cgroup_setsockopt
cgroup/dev                  cgroup_device            cgroup_device
struct_ops*+                struct_ops
sk_lookup                   sk_lookup                sk_lookup
netfilter                   netfilter                netfilter
"""


def _rules() -> list[SectionRule]:
    rules = []
    for line in _TABLE.strip().splitlines():
        pattern, program_type, *attach = line.split()
        attach_type = attach[0] if attach else ""
        stem = pattern.rstrip("*+")
        suffix = "+" if pattern.endswith("+") else ""
        sleepable, frags = program_type == "syscall", stem.startswith("xdp.frags")
        rules.append(SectionRule(stem + suffix, program_type, attach_type, sleepable, frags))
        if "*" in pattern:
            rules.append(SectionRule(f"{stem}.s{suffix}", program_type, attach_type, sleepable=True))
    return rules


SECTIONS: Sequence[SectionRule] = tuple(_rules())
