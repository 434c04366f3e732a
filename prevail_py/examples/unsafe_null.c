// SPDX-License-Identifier: MIT
/*
 * UNSAFE: use the result of a lookup without testing it.
 *
 * The author knows that the program inserts the key just before.  But the
 * insertion can fail when the map is full, and another CPU can delete the key
 * between the two calls.
 *
 * To learn: a lookup in a hash map may always return NULL.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} packets_by_queue SEC(".maps");

SEC("xdp")
int count_by_queue(struct xdp_md *ctx)
{
	__u32 queue = ctx->rx_queue_index;
	__u64 *packets, zero = 0;

	bpf_map_update_elem(&packets_by_queue, &queue, &zero, BPF_NOEXIST);
	packets = bpf_map_lookup_elem(&packets_by_queue, &queue);
	__sync_fetch_and_add(packets, 1); // BUG: packets may be NULL
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
