// SPDX-License-Identifier: MIT
/* Programs that were improved by hand; some were not improved.  plain.c has the originals: see docs/functional.md. */
#include "pairs.h"

/* The same as in plain.c. */

SEC("xdp") int swapped(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 *both = (void *)&in->c;

	*both = *both << 16 | *both >> 16;
	return XDP_TX;
}

SEC("xdp") int scaled(struct xdp_md *ctx)
{
	INPUT(ctx);
	in->a = (in->a << 3) + (in->a << 1) + (in->b & 15) + (in->c >> 3);
	return XDP_TX;
}

SEC("xdp") int absolute(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 sign = (__s32)in->a >> 31;

	in->a = (in->a ^ sign) - sign;
	return XDP_TX;
}

SEC("xdp") int bits_set(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 c = in->c;

	c -= c >> 1 & 0x5555;
	c = (c & 0x3333) + (c >> 2 & 0x3333);
	c = c + (c >> 4) & 0x0f0f;
	in->d = c + (c >> 8) & 31;
	return XDP_TX;
}

SEC("xdp") int sorted(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 difference = (in->a ^ in->b) & -(__u32)(in->a > in->b);

	in->a ^= difference;
	in->b ^= difference;
	return XDP_TX;
}

SEC("xdp") int classified(struct xdp_md *ctx)
{
	INPUT(ctx);
	if (in->c == 22)
		return in->d != 22 ? XDP_TX : XDP_DROP;
	return in->c == 443 || in->c == 80 ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int counted(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 key = in->c % 8;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		__sync_fetch_and_add(value, in->d);
	return XDP_PASS;
}

SEC("xdp") int in_range(struct xdp_md *ctx)
{
	INPUT(ctx);
	return (__u16)(in->c - 1024) <= 49151 - 1024 ? XDP_PASS : XDP_DROP;
}

/* Not the same as in plain.c. */

/* The sum has 33 bits. */
SEC("xdp") int midpoint(struct xdp_md *ctx)
{
	INPUT(ctx);
	if (in->a > in->b)
		return XDP_DROP;
	in->a = (in->a + in->b) / 2;
	return XDP_TX;
}

/* RFC 1624, equation 2, which RFC 1141 had before: the result may be the other zero. */
SEC("xdp") int checksum(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 sum = in->c + in->d + (__u16)~in->e;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	in->c = sum;
	return XDP_TX;
}

/* 1024 is the first that passes. */
SEC("xdp") int ends(struct xdp_md *ctx)
{
	INPUT(ctx);
	return in->c <= 1024 ? XDP_DROP : XDP_PASS;
}

/* The order of bytes. */
SEC("xdp") int swapped_bytes(struct xdp_md *ctx)
{
	INPUT(ctx);
	return in->c == 443 ? XDP_PASS : XDP_DROP;
}

/* Counts them all. */
SEC("xdp") int counted_once(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 key = 3;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	return XDP_PASS;
}

/* Only half of the value. */
SEC("xdp") int stored(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 key = in->c & 7;
	__u64 value = (__u16)in->a;

	bpf_map_update_elem(&counters, &key, &value, BPF_ANY);
	return XDP_PASS;
}

/* 16 bits do not hold the sum. */
SEC("xdp") int narrow(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u16 total = in->c + in->d;

	return total > 65534 ? XDP_DROP : XDP_PASS;
}

/* Rounds down, not towards zero. */
SEC("xdp") int rounded(struct xdp_md *ctx)
{
	INPUT(ctx);
	__s32 x = in->a;

	in->a = x >> 2;
	return XDP_TX;
}

/* Nothing is known of these. */

SEC("xdp") int looping(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 sum = 0;

#pragma clang loop unroll(disable)
	for (__u32 k = 0; k < (in->c & 63); k++)
		sum = (sum << 5) - sum + k;
	in->a = sum;
	return XDP_TX;
}

SEC("xdp") int shortened(struct xdp_md *ctx)
{
	int failed = bpf_xdp_adjust_tail(ctx, -4);

	return failed ? XDP_DROP : XDP_TX;
}
