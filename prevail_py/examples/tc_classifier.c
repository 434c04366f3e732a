// SPDX-License-Identifier: MIT
/*
 * A traffic-control classifier: set the priority and the mark of a packet from
 * its DSCP (RFC 2474), and drop packets without one that are too long.
 *
 * To learn: another program type, another context.  Some fields of __sk_buff
 * can be written (mark, priority) and others only read (len, protocol); the
 * packet is reached through data and data_end as in XDP, but only the linear
 * part of it, so a header that exists may still be out of reach.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define EXPEDITED	46	/* the code point of RFC 3246 */
#define MAX_LEN		9000

/* The DSCP of the packet, or -1 if there is none within reach. */
static __always_inline int read_dscp(struct __sk_buff *skb)
{
	void *data_end = (void *)(long)skb->data_end;
	void *network = (void *)(long)skb->data + sizeof(struct ethhdr);

	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP): {
		struct iphdr *ip = network;

		if ((void *)(ip + 1) > data_end)
			return -1;
		return ip->tos >> 2;
	}
	case bpf_htons(ETH_P_IPV6): {
		struct ipv6hdr *ip = network;

		if ((void *)(ip + 1) > data_end)
			return -1;
		return ip->priority << 2 | ip->flow_lbl[0] >> 6;
	}
	default:
		return -1;
	}
}

SEC("tc")
int tc_classifier(struct __sk_buff *skb)
{
	int dscp = read_dscp(skb);

	if (dscp < 0)
		return skb->len > MAX_LEN ? TC_ACT_SHOT : TC_ACT_OK;

	skb->mark = dscp;
	skb->priority = dscp == EXPEDITED ? 6 : dscp >> 3;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "MIT";
