// SPDX-License-Identifier: MIT
/*
 * Answer ICMP echo requests from the driver: swap the addresses, turn the
 * request into a reply, correct the checksum, and send the packet back.
 *
 * To learn: writing to the packet is checked like reading it.  Swapping the
 * IPv4 addresses leaves the header checksum as it is (a sum does not mind the
 * order); the ICMP checksum changes by the difference of the type and is
 * corrected in place (RFC 1624).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_FRAGMENT	0x3fff	/* "more fragments" and the offset */

enum icmp_type {
	ECHO_REPLY = 0,
	ECHO_REQUEST = 8,
};

struct icmp_echo {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
}

static __always_inline void swap_addresses(struct iphdr *ip)
{
	__be32 address = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = address;
}

SEC("xdp")
int xdp_rewrite(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct icmp_echo *icmp;
	struct iphdr *ip;
	__u32 sum;

	ip = (void *)(eth + 1);
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->ihl != 5 || ip->protocol != IPPROTO_ICMP ||
	    ip->frag_off & bpf_htons(IP_FRAGMENT))
		return XDP_PASS;
	if (icmp->type != ECHO_REQUEST || icmp->code)
		return XDP_PASS;

	swap_macs(eth);
	swap_addresses(ip);

	/* The sum falls by the type of the request, so its complement rises. */
	icmp->type = ECHO_REPLY;
	sum = icmp->checksum + bpf_htons(ECHO_REQUEST << 8);
	icmp->checksum = sum + (sum >> 16);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "MIT";
