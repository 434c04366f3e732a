/* SPDX-License-Identifier: MIT */
/* What the programs of plain.c and clever.c have in common: they work on the first bytes of a packet. */
#ifndef PAIRS_H
#define PAIRS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct input {
	__u32 a, b;
	__u16 c, d, e, f;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Declares `in`, the first bytes of the packet, and ends the program where there are not so many. */
#define INPUT(ctx)                                                     \
	struct input *in = (void *)(long)(ctx)->data;                  \
	if ((void *)(in + 1) > (void *)(long)(ctx)->data_end)          \
		return XDP_DROP

#endif
