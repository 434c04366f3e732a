/* SPDX-License-Identifier: MIT */
/*
 * What the kernels share: each is one function work(data, end) on a packet,
 * which is an XDP program for eBPF and an ordinary function otherwise.
 */
#ifndef KERNEL_H
#define KERNEL_H

#ifdef __bpf__
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Loops stay loops: with the verifier's help they are what is measured. */
#define LOOP _Pragma("clang loop unroll(disable)")

#define ENTRY(name)                                                                         \
	SEC("xdp") int name(struct xdp_md *ctx)                                             \
	{                                                                                   \
		return work((__u8 *)(long)ctx->data, (__u8 *)(long)ctx->data_end);          \
	}                                                                                   \
	char LICENSE[] SEC("license") = "MIT";
#else
#include <linux/types.h>

#define LOOP

#define ENTRY(name)                                                                         \
	int name(__u8 *data, __u8 *end)                                                     \
	{                                                                                   \
		return work(data, end);                                                     \
	}
#endif

#define INLINE static inline __attribute__((always_inline))

/* Bytes of the packet that the kernels work on. */
#define SIZE 1024

#endif
