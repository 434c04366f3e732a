// SPDX-License-Identifier: MIT
/*
 * Count packets by flow, in buckets chosen by a hash of the 5-tuple.
 *
 * To learn: calls of functions that the compiler keeps as functions.  The
 * caller's buffer travels as a pointer into the caller's stack frame: one
 * function fills it and another reads it in a loop, while each has a frame of
 * its own.  The index is masked, so it stays inside the value whatever the
 * hash is.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define BUCKETS		64	/* a power of two */
#define FNV_BASIS	2166136261u
#define FNV_PRIME	16777619u

struct flow {
	__be32 source;
	__be32 destination;
	__be32 ports;		/* source and destination as in the packet */
	__u32 protocol;
};

struct buckets {
	__u64 packets[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct buckets);
} flows SEC(".maps");

/* Fill flow from the packet.  Returns 0, or -1 if it has no whole 5-tuple. */
static __noinline int read_flow(struct xdp_md *ctx, struct flow *flow)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__be32 *ports;

	if ((void *)(ip + 1) > data_end)
		return -1;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl < 5)
		return -1;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return -1;

	ports = (void *)ip + ip->ihl * 4;
	if ((void *)(ports + 1) > data_end)
		return -1;

	flow->source = ip->saddr;
	flow->destination = ip->daddr;
	flow->ports = *ports;
	flow->protocol = ip->protocol;
	return 0;
}

/* FNV-1a, 32 bits, over the bytes of a flow. */
static __noinline __u32 hash_flow(const struct flow *flow)
{
	const __u8 *bytes = (const void *)flow;
	__u32 hash = FNV_BASIS;
	__u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < sizeof(*flow); i++) {
		hash ^= bytes[i];
		hash *= FNV_PRIME;
	}
	return hash;
}

SEC("xdp")
int xdp_subprogram(struct xdp_md *ctx)
{
	struct flow flow = {};
	struct buckets *buckets;
	__u32 slot = 0;

	if (read_flow(ctx, &flow))
		return XDP_PASS;

	buckets = bpf_map_lookup_elem(&flows, &slot);
	if (!buckets)
		return XDP_PASS;
	buckets->packets[hash_flow(&flow) & (BUCKETS - 1)]++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
