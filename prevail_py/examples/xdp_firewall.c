// SPDX-License-Identifier: MIT
/*
 * A stateless IPv4 firewall: drop what comes from a blocked address, what goes
 * to a blocked service, and what is not a whole header.
 *
 * The rules are two hash maps that user space fills; with both of them empty
 * only malformed packets are dropped.  The value of a rule counts its hits.
 *
 * To learn: a bounds check before every header, the second of them at an
 * offset that the packet itself chooses (the IPv4 header length); map keys
 * without holes, because the kernel compares every byte of a key; per-CPU
 * counters, which need no atomic addition.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_OFFSET_MASK	0x1fff	/* fragment offset, in units of 8 bytes */

enum outcome {
	PASSED,
	MALFORMED,
	BLOCKED_SOURCE,
	BLOCKED_SERVICE,
	OUTCOMES,
};

struct service {
	__be16 port;		/* destination, network byte order */
	__u8 protocol;		/* IPPROTO_TCP or IPPROTO_UDP */
	__u8 zero;
};

/* TCP and UDP agree on their first four bytes. */
struct ports {
	__be16 source;
	__be16 destination;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, __u64);
} blocked_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct service);
	__type(value, __u64);
} blocked_services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

static __always_inline enum outcome judge(void *data, void *data_end)
{
	struct ethhdr *eth = data;
	struct service service = {};
	struct ports *ports;
	struct iphdr *ip;
	__u32 header_len;
	__u64 *hits;

	if ((void *)(eth + 1) > data_end)
		return MALFORMED;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return PASSED;

	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > data_end)
		return MALFORMED;
	header_len = ip->ihl * 4;
	if (ip->version != 4 || header_len < sizeof(*ip))
		return MALFORMED;

	hits = bpf_map_lookup_elem(&blocked_sources, &ip->saddr);
	if (hits) {
		__sync_fetch_and_add(hits, 1);
		return BLOCKED_SOURCE;
	}

	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return PASSED;
	/* Only the first fragment carries the ports. */
	if (ip->frag_off & bpf_htons(IP_OFFSET_MASK))
		return PASSED;

	ports = (void *)ip + header_len;
	if ((void *)(ports + 1) > data_end)
		return MALFORMED;

	service.port = ports->destination;
	service.protocol = ip->protocol;
	hits = bpf_map_lookup_elem(&blocked_services, &service);
	if (hits) {
		__sync_fetch_and_add(hits, 1);
		return BLOCKED_SERVICE;
	}
	return PASSED;
}

SEC("xdp")
int xdp_firewall(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__u32 outcome = judge(data, data_end);
	__u64 *count;

	count = bpf_map_lookup_elem(&outcomes, &outcome);
	if (count)
		(*count)++;

	return outcome == PASSED ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "MIT";
