// SPDX-License-Identifier: MIT
/*
 * UNSAFE: an array inside a map value, and a limit that is one too large.
 *
 * Packets are counted by length in steps of 256 bytes, with the last bucket
 * for all that are longer.  The comparison lets the index be 8, which is the
 * number of buckets and not the last of them: a frame of 2048 bytes writes
 * past the end of the value.
 *
 * To learn: the memory behind a lookup is as long as the value, and the
 * verifier counts to the byte.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define BUCKETS	8

struct histogram {
	__u64 packets[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} lengths SEC(".maps");

SEC("xdp")
int count_lengths(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__u64 bucket = (__u64)(data_end - data) >> 8;
	struct histogram *histogram;
	__u32 slot = 0;

	histogram = bpf_map_lookup_elem(&lengths, &slot);
	if (!histogram)
		return XDP_PASS;
	if (bucket > BUCKETS)
		bucket = BUCKETS;
	histogram->packets[bucket]++; // BUG: bucket may be BUCKETS
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
