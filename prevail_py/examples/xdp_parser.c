// SPDX-License-Identifier: MIT
/*
 * Sort packets into classes: Ethernet with up to two VLAN tags, ARP, IPv4 with
 * options, IPv6 with extension headers, then TCP, UDP or ICMP.  Packets that
 * end inside a header are dropped; everything is counted, by class.
 *
 * To learn: a cursor that moves through the packet, checked against data_end
 * before every read and advanced by constants (tags) and by lengths taken from
 * the packet (IPv4 options, IPv6 extensions); two small bounded loops; one
 * counter per class and CPU.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_TAGS	2
#define MAX_EXTENSIONS	4
#define IP_OFFSET_MASK	0x1fff

enum class {
	MALFORMED,
	OTHER,
	ARP,
	FRAGMENT,
	IPV4_OTHER,
	IPV4_TCP,
	IPV4_UDP,
	IPV4_ICMP,
	IPV6_OTHER,
	IPV6_TCP,
	IPV6_UDP,
	IPV6_ICMP,
	CLASSES,
};

struct vlan_tag {
	__be16 tci;
	__be16 proto;		/* type of what follows the tag */
};

/* The head that IPv6 extension headers have in common. */
struct extension {
	__u8 next;
	__u8 len;		/* in units of 8 bytes, without the first */
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CLASSES);
	__type(key, __u32);
	__type(value, struct traffic);
} classes SEC(".maps");

static __always_inline enum class parse_ipv4(void *cursor, void *data_end)
{
	struct iphdr *ip = cursor;
	__u32 header_len;

	if ((void *)(ip + 1) > data_end)
		return MALFORMED;
	header_len = ip->ihl * 4;
	if (header_len < sizeof(*ip))
		return MALFORMED;
	if (ip->frag_off & bpf_htons(IP_OFFSET_MASK))
		return FRAGMENT;

	cursor += header_len;
	switch (ip->protocol) {
	case IPPROTO_TCP:
		if (cursor + sizeof(struct tcphdr) > data_end)
			return MALFORMED;
		return IPV4_TCP;
	case IPPROTO_UDP:
		if (cursor + sizeof(struct udphdr) > data_end)
			return MALFORMED;
		return IPV4_UDP;
	case IPPROTO_ICMP:
		return IPV4_ICMP;
	default:
		return IPV4_OTHER;
	}
}

static __always_inline enum class parse_ipv6(void *cursor, void *data_end)
{
	struct ipv6hdr *ip = cursor;
	struct extension *extension;
	__u8 next;
	int i;

	if ((void *)(ip + 1) > data_end)
		return MALFORMED;
	next = ip->nexthdr;
	cursor = ip + 1;

	for (i = 0; i < MAX_EXTENSIONS; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_DSTOPTS)
			break;
		extension = cursor;
		if ((void *)(extension + 1) > data_end)
			return MALFORMED;
		next = extension->next;
		cursor += (extension->len + 1) * 8;
	}

	switch (next) {
	case IPPROTO_FRAGMENT:
		return FRAGMENT;
	case IPPROTO_TCP:
		if (cursor + sizeof(struct tcphdr) > data_end)
			return MALFORMED;
		return IPV6_TCP;
	case IPPROTO_UDP:
		if (cursor + sizeof(struct udphdr) > data_end)
			return MALFORMED;
		return IPV6_UDP;
	case IPPROTO_ICMPV6:
		return IPV6_ICMP;
	default:
		return IPV6_OTHER;
	}
}

static __always_inline enum class parse(void *data, void *data_end)
{
	struct ethhdr *eth = data;
	struct vlan_tag *tag;
	void *cursor;
	__be16 proto;
	int i;

	if ((void *)(eth + 1) > data_end)
		return MALFORMED;
	proto = eth->h_proto;
	cursor = eth + 1;

	for (i = 0; i < MAX_TAGS; i++) {
		if (proto != bpf_htons(ETH_P_8021Q) &&
		    proto != bpf_htons(ETH_P_8021AD))
			break;
		tag = cursor;
		if ((void *)(tag + 1) > data_end)
			return MALFORMED;
		proto = tag->proto;
		cursor = tag + 1;
	}

	switch (proto) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(cursor, data_end);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(cursor, data_end);
	case bpf_htons(ETH_P_ARP):
		return ARP;
	default:
		return OTHER;
	}
}

SEC("xdp")
int xdp_parser(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__u32 class = parse(data, data_end);
	struct traffic *traffic;

	traffic = bpf_map_lookup_elem(&classes, &class);
	if (traffic) {
		traffic->packets++;
		traffic->bytes += data_end - data;
	}

	return class == MALFORMED ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
