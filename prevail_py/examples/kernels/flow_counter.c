// SPDX-License-Identifier: MIT
/* A hash map: count packets and bytes of each IPv4 flow. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct flow {
	__u32 source;
	__u32 destination;
	__u32 ports;
	__u32 protocol;
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, struct traffic);
} flows SEC(".maps");

SEC("xdp")
int flow_counter(struct xdp_md *ctx)
{
	__u8 *data = (__u8 *)(long)ctx->data, *end = (__u8 *)(long)ctx->data_end;
	struct traffic fresh = { .packets = 1, .bytes = end - data };
	struct traffic *known;
	struct flow flow = {};

	if (data + 38 > end || data[12] != 8 || data[13] != 0 || data[14] != 0x45)
		return XDP_PASS;
	flow.source = *(__u32 *)(data + 26);
	flow.destination = *(__u32 *)(data + 30);
	flow.protocol = data[23];
	if (flow.protocol == 6 || flow.protocol == 17)
		flow.ports = *(__u32 *)(data + 34);
	known = bpf_map_lookup_elem(&flows, &flow);
	if (known) {
		__sync_fetch_and_add(&known->packets, 1);
		__sync_fetch_and_add(&known->bytes, fresh.bytes);
		return XDP_PASS;
	}
	bpf_map_update_elem(&flows, &flow, &fresh, BPF_NOEXIST);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
