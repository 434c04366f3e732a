// SPDX-License-Identifier: MIT
/*
 * Spread IPv6 flows over the ports of a switch with a device map.
 *
 * User space puts interfaces into the slots of the map; a slot that is empty
 * lets the packet pass to the stack instead.
 *
 * To learn: a helper whose result is the return value of the program; fields
 * of the context besides the packet; 128-bit addresses folded word by word.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORT_BITS	3
#define GOLDEN_RATIO	2654435769u	/* of 2^32 (Knuth, TAOCP 6.4) */

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1 << PORT_BITS);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

static __always_inline __u32 fold(const struct in6_addr *address)
{
	return address->in6_u.u6_addr32[0] ^ address->in6_u.u6_addr32[1] ^
	       address->in6_u.u6_addr32[2] ^ address->in6_u.u6_addr32[3];
}

SEC("xdp")
int xdp_redirect(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	__u32 hash;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;

	hash = fold(&ip->saddr) ^ fold(&ip->daddr) ^ ctx->rx_queue_index;
	/* The highest bits of the product depend on all of the hash. */
	hash = hash * GOLDEN_RATIO >> (32 - PORT_BITS);
	return bpf_redirect_map(&ports, hash, XDP_PASS);
}

char LICENSE[] SEC("license") = "MIT";
