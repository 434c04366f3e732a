// SPDX-License-Identifier: MIT
/* Indices made by arithmetic: widths, masks, wrap-around. */
#include "suite.h"

PAIR(wrapped_compare)
{
	INPUT(2);
	__u32 x = *(__u16 *)in;
	TABLE(t);

	/* x in [1, 64], said in one comparison that wraps for 0 */
	if (x - 1 > (bad ? 64 : 63))
		return XDP_DROP;
	return t[x - !bad] & 3;
}

PAIR(wrapped_used_below)
{
	INPUT(2);
	__u32 x = *(__u16 *)in;
	TABLE(t);

	if (x - (bad ? 0 : 1) > 63)
		return XDP_DROP;
	opaque(x);
	return (t - 1)[x] & 3;
}

PAIR(masked_index)
{
	INPUT(4);
	TABLE(t);

	return t[*(__u32 *)in & (bad ? 64 : 63)] & 3;
}

PAIR(shifted_index)
{
	INPUT(4);
	__u32 x = *(__u32 *)in;
	TABLE(t);

	return t[x >> (bad ? 25 : 26)] & 3;
}

PAIR(remainder_even)
{
	INPUT(4);
	TABLE(t);

	return t[*(__u32 *)in % (bad ? 65 : 64)] & 3;
}

PAIR(remainder_odd)
{
	INPUT(2);
	TABLE(t);

	return t[*(__u16 *)in % (bad ? 67 : 61)] & 3;
}

PAIR(quotient)
{
	INPUT(1);
	TABLE(t);

	return t[in[0] / (bad ? 3 : 5)] & 3;
}

PAIR(signed_range)
{
	INPUT(4);
	__s32 x = *(__s32 *)in;
	TABLE(t);

	if (x < (bad ? -1 : 0) || x >= 64)
		return XDP_DROP;
	return t[x] & 3;
}

PAIR(sign_extended)
{
	INPUT(1);
	__s64 x = (__s8)in[0];
	TABLE(t);

	opaque(x);
	if (x < -32 || x > 31)
		return XDP_DROP;
	return t[x + (bad ? 33 : 32)] & 3;
}

PAIR(minimum)
{
	INPUT(4);
	__u32 x = *(__u32 *)in;
	TABLE(t);

	if (x > (bad ? 64 : 63))
		x = bad ? 64 : 63;
	return t[x] & 3;
}

PAIR(packed_fields)
{
	INPUT(2);
	TABLE(t);

	return t[(in[0] & 3) << 4 | (in[1] & (bad ? 127 : 15))] & 3;
}

PAIR(rows_and_columns)
{
	INPUT(2);
	TABLE(t);

	return t[(in[0] & 7) * (bad ? 9 : 8) + (in[1] & 7)] & 3;
}

PAIR(truncated_sum)
{
	INPUT(2);
	__u8 x = in[0] + in[1];
	TABLE(t);

	opaque(x);
	return t[(__u8)x >> (bad ? 1 : 2)] & 3;
}

PAIR(comparisons_as_numbers)
{
	INPUT(4);
	__u32 index = (in[0] < in[1]) + (in[1] < in[2]) + (in[2] < in[3]);
	TABLE(t);

	return t[index * (bad ? 22 : 21)] & 3;
}

PAIR(between)
{
	INPUT(2);
	__u32 x = *(__u16 *)in;
	TABLE(t);

	if (x < 1000 || x > (bad ? 1064 : 1063))
		return XDP_DROP;
	return t[x - 1000] & 3;
}

PAIR(byte_swapped)
{
	INPUT(2);
	__u32 port = __builtin_bswap16(*(__u16 *)in);
	TABLE(t);

	if (port >= (bad ? 65 : 64))
		return XDP_DROP;
	return t[port] & 3;
}
