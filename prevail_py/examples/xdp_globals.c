// SPDX-License-Identifier: MIT
/*
 * Pass one packet in sample_every on to the stack and drop the others, with
 * the settings and the counters in global variables.
 *
 * To learn: global variables are maps in disguise, one per section.  The
 * const volatile ones (.rodata) are set by user space before the program is
 * loaded and frozen then: the verifier knows their values.  The others (.data
 * and .bss) are shared with user space and all CPUs and may change between any
 * two instructions.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SIZES	4

/* Settings. */
const volatile __u32 sample_every = 4;
const volatile __u32 limits[SIZES - 1] = { 128, 512, 1024 };

/* User space may switch the sampling off while the program runs. */
volatile __u32 enabled = 1;

/* Counters: all packets, and packets by size. */
__u64 packets;
__u64 by_size[SIZES];

SEC("xdp")
int xdp_globals(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	__u64 len = data_end - data;
	__u64 number;
	__u32 size;

	for (size = 0; size < SIZES - 1; size++)
		if (len <= limits[size])
			break;
	__sync_fetch_and_add(&by_size[size], 1);

	number = __sync_fetch_and_add(&packets, 1);
	if (!enabled || number % sample_every == 0)
		return XDP_PASS;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "MIT";
