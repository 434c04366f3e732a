// SPDX-License-Identifier: MIT
/*
 * UNSAFE: pass a key with a hole in it to a lookup.
 *
 * Both members of the key are set, but the compiler aligns the port to two
 * bytes and leaves one byte between them that nobody writes.  The helper reads
 * all four bytes of the key: it finds the entry or not by what an earlier
 * program left on the stack.
 *
 * To learn: name every hole and set it, or clear the whole structure.  Linux
 * refuses this program to ordinary users; since version 6.3 it lets those with
 * CAP_PERFMON read a stack that is not initialised.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct service {
	__u8 protocol;
	/* one byte of padding */
	__be16 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct service);
	__type(value, __u64);
} blocked SEC(".maps");

SEC("xdp")
int block_services(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct service service;

	if ((void *)(udp + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;

	service.protocol = ip->protocol;
	service.port = udp->dest;
	if (bpf_map_lookup_elem(&blocked, &service)) // BUG: byte 1 is never set
		return XDP_DROP;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
