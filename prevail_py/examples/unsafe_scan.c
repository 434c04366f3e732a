// SPDX-License-Identifier: MIT
/*
 * UNSAFE: a loop that only the packet can end.
 *
 * The program looks for the first byte after the Ethernet header that is not
 * zero.  Only the first one is checked; a packet of nothing but zeros leads
 * the loop out of the packet.
 *
 * To learn: what holds before a loop need not hold in it.  The check belongs
 * inside, and the number of turns needs a bound.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int skip_padding(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__u8 *byte = data + sizeof(struct ethhdr);

	if ((void *)(byte + 1) > data_end)
		return XDP_PASS;
	while (!*byte) // BUG: byte + 1 may lie beyond data_end from the second turn on
		byte++;
	return *byte == 0xff ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
