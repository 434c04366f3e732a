// SPDX-License-Identifier: MIT
/*
 * UNSAFE: read a header that nobody has checked.
 *
 * The Ethernet header is compared with data_end, the IPv4 header after it is
 * not: a frame of 14 bytes makes the program read past the end of the packet.
 *
 * To learn: a check covers the bytes it names and no more.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int drop_udp(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->protocol == IPPROTO_UDP) // BUG: ip is not checked against data_end
		return XDP_DROP;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
