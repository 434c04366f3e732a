// SPDX-License-Identifier: MIT
/*
 * UNSAFE: check 13 bytes, read 14.
 *
 * The last byte that is read is data[13], so data + 14 must not lie beyond
 * data_end.  The check stops one short of that, and a frame of exactly 13
 * bytes slips through.
 *
 * To learn: compare the end of what is read with the end of what is there;
 * an index of the last byte is one too small.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TYPE_LAST	13	/* index of the last byte of the type */

SEC("xdp")
int drop_ipv6(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;

	if (data + TYPE_LAST > data_end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) // BUG: reads bytes 12 and 13
		return XDP_DROP;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
