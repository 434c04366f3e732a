// SPDX-License-Identifier: MIT
/*
 * Count packets and bytes of each IPv4 flow in a hash map; what is no flow
 * passes, and new flows are dropped once the table is full.
 *
 * To learn: a key is compared byte by byte, so all of it must be written,
 * padding included; between a failed lookup and the update another CPU may
 * have made the element, which BPF_NOEXIST finds out.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct flow {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 zero[3];
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct flow);
	__type(value, struct traffic);
} flows SEC(".maps");

SEC("xdp")
int xdp_flows(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct traffic fresh = { .packets = 1, .bytes = data_end - data };
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct traffic *known;
	struct flow flow = {};
	__be16 *ports;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;
	flow.source = ip->saddr;
	flow.destination = ip->daddr;
	flow.protocol = ip->protocol;
	if (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) {
		ports = (void *)(ip + 1);
		if ((void *)(ports + 2) > data_end)
			return XDP_DROP;
		flow.source_port = ports[0];
		flow.destination_port = ports[1];
	}

	known = bpf_map_lookup_elem(&flows, &flow);
	if (!known) {
		if (!bpf_map_update_elem(&flows, &flow, &fresh, BPF_NOEXIST))
			return XDP_PASS;
		known = bpf_map_lookup_elem(&flows, &flow);
		if (!known)
			return XDP_DROP;
	}
	__sync_fetch_and_add(&known->packets, 1);
	__sync_fetch_and_add(&known->bytes, fresh.bytes);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
