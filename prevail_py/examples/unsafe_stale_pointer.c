// SPDX-License-Identifier: MIT
/*
 * UNSAFE: use a packet pointer after the packet has moved.
 *
 * This is xdp_vlan_pop.c without the second look at the context.  The old
 * pointer lies four bytes before the new start of the packet, and in general
 * wherever the driver left it.
 *
 * To learn: after bpf_xdp_adjust_head(), every pointer into the packet has to
 * be read from the context and checked again.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct vlan_tag {
	__be16 tci;
	__be16 proto;
};

SEC("xdp")
int pop_tag(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct vlan_tag *tag = (void *)(eth + 1);
	struct ethhdr copy;

	if ((void *)(tag + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_8021Q))
		return XDP_PASS;

	copy = *eth;
	copy.h_proto = tag->proto;
	if (bpf_xdp_adjust_head(ctx, sizeof(*tag)))
		return XDP_DROP;
	*eth = copy; // BUG: eth is from before the call
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
