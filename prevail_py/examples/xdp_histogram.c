// SPDX-License-Identifier: MIT
/*
 * A histogram of packet lengths with one bucket per power of two.
 *
 * To learn: an index that is computed by shifts and comparisons and that the
 * verifier has to bound without being told.  The logarithm below is at most 31
 * by its five steps, which is the length of the array: there is no test of the
 * index anywhere.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define BUCKETS	32

struct histogram {
	__u64 packets[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} lengths SEC(".maps");

/* The position of the highest bit that is set, 0 for 0. */
static __always_inline __u64 log2(__u64 value)
{
	__u64 result, shift;

	result = (value > 0xffff) << 4;
	value >>= result;
	shift = (value > 0xff) << 3;
	value >>= shift;
	result |= shift;
	shift = (value > 0xf) << 2;
	value >>= shift;
	result |= shift;
	shift = (value > 0x3) << 1;
	value >>= shift;
	result |= shift;
	return result | (value >> 1 & 1);
}

SEC("xdp")
int xdp_histogram(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct histogram *histogram;
	__u32 slot = 0;

	histogram = bpf_map_lookup_elem(&lengths, &slot);
	if (histogram)
		histogram->packets[log2(data_end - data)]++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
