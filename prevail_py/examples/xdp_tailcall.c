// SPDX-License-Identifier: MIT
/*
 * Dispatch by protocol with tail calls: one program per protocol in a program
 * array, and an entry program that jumps to the right one.
 *
 * User space stores handle_ipv4 and handle_ipv6 in the slots named below.
 *
 * To learn: a tail call does not return when it succeeds and falls through
 * when the slot is empty; the next program starts from the context alone, with
 * no register and no stack of this one, so it must check the packet again;
 * each program of the object is verified on its own.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum slot {
	SLOT_IPV4,
	SLOT_IPV6,
	SLOTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} handlers SEC(".maps");

/* Packets by slot, and in the last counter those that no handler took. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS + 1);
	__type(key, __u32);
	__type(value, __u64);
} handled SEC(".maps");

static __always_inline void count(__u32 slot)
{
	__u64 *packets = bpf_map_lookup_elem(&handled, &slot);

	if (packets)
		(*packets)++;
}

SEC("xdp")
int dispatch(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;

	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		bpf_tail_call(ctx, &handlers, SLOT_IPV4);
		break;
	case bpf_htons(ETH_P_IPV6):
		bpf_tail_call(ctx, &handlers, SLOT_IPV6);
		break;
	}

	/* Another protocol, or an empty slot. */
	count(SLOTS);
	return XDP_PASS;
}

SEC("xdp")
int handle_ipv4(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip = data + sizeof(struct ethhdr);

	count(SLOT_IPV4);
	if ((void *)(ip + 1) > data_end)
		return XDP_DROP;
	return ip->ttl ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int handle_ipv6(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);

	count(SLOT_IPV6);
	if ((void *)(ip + 1) > data_end)
		return XDP_DROP;
	return ip->hop_limit ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "MIT";
