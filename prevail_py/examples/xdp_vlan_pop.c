// SPDX-License-Identifier: MIT
/*
 * Remove the outer VLAN tag of a packet.
 *
 * To learn: bpf_xdp_adjust_head() moves the start of the packet, and every
 * pointer into the packet that was checked before the call is worthless after
 * it.  Both ends are read from the context again and checked again; what is
 * needed from before (the addresses and the inner type) waits on the stack.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct vlan_tag {
	__be16 tci;
	__be16 proto;		/* type of what follows the tag */
};

SEC("xdp")
int xdp_vlan_pop(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct vlan_tag *tag = (void *)(eth + 1);
	struct ethhdr copy;

	if ((void *)(tag + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_8021Q) &&
	    eth->h_proto != bpf_htons(ETH_P_8021AD))
		return XDP_PASS;

	copy = *eth;
	copy.h_proto = tag->proto;
	if (bpf_xdp_adjust_head(ctx, sizeof(*tag)))
		return XDP_DROP;

	data_end = (void *)(long)ctx->data_end;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	*eth = copy;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
