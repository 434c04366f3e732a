/* SPDX-License-Identifier: MIT */
#ifndef SUITE_H
#define SUITE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* A program and its unsafe twin: one text, compiled with `bad` 0 and with `bad` 1. */
#define PAIR(name)                                                                   \
	static __always_inline int name##_body(struct xdp_md *ctx, const int bad);   \
	SEC("xdp") int name(struct xdp_md *ctx)                                      \
	{                                                                            \
		return name##_body(ctx, 0);                                          \
	}                                                                            \
	SEC("xdp") int name##_unsafe(struct xdp_md *ctx)                             \
	{                                                                            \
		return name##_body(ctx, 1);                                          \
	}                                                                            \
	static __always_inline int name##_body(struct xdp_md *ctx, const int bad)

/* `in` points to the first `count` bytes of the packet, which are the program's inputs. */
#define INPUT(count)                                                                 \
	__u8 *in = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;      \
	(void)bad;                                                                   \
	if (in + (count) > end)                                                      \
		return XDP_DROP

/* The loop as it is written: neither unrolled nor vectorised. */
#define LOOP _Pragma("clang loop unroll(disable) vectorize(disable) interleave(disable)") for
#define DO_LOOP _Pragma("clang loop unroll(disable) vectorize(disable) interleave(disable)") do

/* Keep the compiler from knowing what `x` is, without an instruction of its own. */
#define opaque(x) asm volatile("" : "+r"(x))

/* 64 bytes of which the compiler does not know the number. */
struct bytes {
	__u8 v[64];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bytes);
} storage SEC(".maps");

static __always_inline __u8 *table(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&storage, &key);
}

#define TABLE(name)                                                                  \
	__u8 *name = table();                                                        \
	if (!name)                                                                   \
		return XDP_ABORTED

char LICENSE[] SEC("license") = "MIT";

#endif
