// SPDX-License-Identifier: MIT
/* Programs as one would write them first.  clever.c has others of the same names: see docs/functional.md. */
#include "pairs.h"

/* The same as in clever.c. */

SEC("xdp") int swapped(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u16 c = in->c;

	in->c = in->d;
	in->d = c;
	return XDP_TX;
}

SEC("xdp") int scaled(struct xdp_md *ctx)
{
	INPUT(ctx);
	in->a = in->a * 10 + in->b % 16 + in->c / 8;
	return XDP_TX;
}

SEC("xdp") int absolute(struct xdp_md *ctx)
{
	INPUT(ctx);
	__s32 x = in->a;

	in->a = x < 0 ? -(__u32)x : x;
	return XDP_TX;
}

SEC("xdp") int bits_set(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u16 c = in->c, count = 0;

	for (int k = 0; k < 16; k++)
		if (c & 1 << k)
			count++;
	in->d = count;
	return XDP_TX;
}

SEC("xdp") int sorted(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 a = in->a, b = in->b;

	if (a > b) {
		in->a = b;
		in->b = a;
	}
	return XDP_TX;
}

SEC("xdp") int classified(struct xdp_md *ctx)
{
	INPUT(ctx);
	switch (in->c) {
	case 80:
	case 443:
		return XDP_PASS;
	case 22:
		return in->d == 22 ? XDP_DROP : XDP_TX;
	default:
		return XDP_DROP;
	}
}

SEC("xdp") int counted(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 key = in->c & 7;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		*value += in->d;
	return XDP_PASS;
}

SEC("xdp") int in_range(struct xdp_md *ctx)
{
	INPUT(ctx);
	return in->c >= 1024 && in->c <= 49151 ? XDP_PASS : XDP_DROP;
}

/* Not the same as in clever.c. */

SEC("xdp") int midpoint(struct xdp_md *ctx)
{
	INPUT(ctx);
	if (in->a > in->b)
		return XDP_DROP;
	in->a = in->a + (in->b - in->a) / 2;
	return XDP_TX;
}

/* What becomes of a checksum (c) where a word (d) of the data becomes another one (e): RFC 1624, equation 3. */
SEC("xdp") int checksum(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 sum = (__u16)~in->c + (__u16)~in->d + in->e;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	in->c = ~sum;
	return XDP_TX;
}

SEC("xdp") int ends(struct xdp_md *ctx)
{
	INPUT(ctx);
	return in->c < 1024 ? XDP_DROP : XDP_PASS;
}

SEC("xdp") int swapped_bytes(struct xdp_md *ctx)
{
	INPUT(ctx);
	return __builtin_bswap16(in->c) == 443 ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int counted_once(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 key = 3;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value && in->c != in->d)
		__sync_fetch_and_add(value, 1);
	return XDP_PASS;
}

SEC("xdp") int stored(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 key = in->c & 7;
	__u64 value = in->a;

	bpf_map_update_elem(&counters, &key, &value, BPF_ANY);
	return XDP_PASS;
}

SEC("xdp") int narrow(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 total = in->c + in->d;

	return total > 65535 ? XDP_DROP : XDP_PASS;
}

SEC("xdp") int rounded(struct xdp_md *ctx)
{
	INPUT(ctx);
	__s32 x = in->a;

	in->a = x < 0 ? -(-(__u32)x / 4) : (__u32)x / 4;
	return XDP_TX;
}

/* Nothing is known of these. */

SEC("xdp") int looping(struct xdp_md *ctx)
{
	INPUT(ctx);
	__u32 sum = 0;

#pragma clang loop unroll(disable)
	for (__u32 k = 0; k < (in->c & 63); k++)
		sum = sum * 31 + k;
	in->a = sum;
	return XDP_TX;
}

SEC("xdp") int shortened(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_tail(ctx, -4) ? XDP_DROP : XDP_TX;
}
