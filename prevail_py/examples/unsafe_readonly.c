// SPDX-License-Identifier: MIT
/*
 * UNSAFE: write to a constant.
 *
 * Settings that are const volatile live in .rodata, a map that is frozen
 * before the program is loaded.  The cast silences the compiler and not the
 * verifier.
 *
 * To learn: what the program may change belongs in .data.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 budget = 1000;

SEC("xdp")
int spend(struct xdp_md *ctx)
{
	(void)ctx;
	if (!budget)
		return XDP_DROP;
	*(volatile __u32 *)&budget = budget - 1; // BUG: budget is in .rodata
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
