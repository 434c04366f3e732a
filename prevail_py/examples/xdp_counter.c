// SPDX-License-Identifier: MIT
/*
 * Count packets and bytes in one slot of an array map, and pass everything.
 *
 * To learn: the result of a lookup is a pointer that may be NULL and that
 * nothing may be read or written through before it is tested; the slot is
 * shared by all CPUs, so the additions are atomic.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct traffic);
} total SEC(".maps");

SEC("xdp")
int xdp_counter(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct traffic *traffic;
	__u32 slot = 0;

	traffic = bpf_map_lookup_elem(&total, &slot);
	if (!traffic)
		return XDP_PASS;

	__sync_fetch_and_add(&traffic->packets, 1);
	__sync_fetch_and_add(&traffic->bytes, data_end - data);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
