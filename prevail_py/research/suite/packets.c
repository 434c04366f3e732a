// SPDX-License-Identifier: MIT
/* Pointers and lengths into the packet. */
#include "suite.h"

PAIR(pointer_walk)
{
	INPUT(1);
	__u32 sum = 0, i;
	__u8 *p = in;

	LOOP (i = 0; i < 16; i++) {
		if (p + 4 > end)
			break;
		sum += *(__u32 *)(p + bad);
		p += 4;
	}
	return sum & 3;
}

PAIR(pointer_walk_to_stop)
{
	INPUT(32);
	__u8 *p = in, *stop = in + 32;
	__u32 sum = 0;

	DO_LOOP {
		sum += p[bad];
		opaque(p);
	} while (++p < stop);
	return sum & 3;
}

PAIR(header_length)
{
	INPUT(20);
	__u32 length = (in[0] & 15) * 4;
	__u8 *next;

	if (length < 20)
		return XDP_DROP;
	next = in + length;
	if (next + 8 > end)
		return XDP_DROP;
	return next[bad ? 8 : 7] & 3;
}

PAIR(options)
{
	INPUT(2);
	__u32 offset = 2, seen = 0, i;

	LOOP (i = 0; i < 10; i++) {
		__u8 *option = in + offset;

		if (option + (bad ? 1 : 2) > end)
			break;
		if (option[0] == 0)
			break;
		if (option[1] < 2)
			return XDP_DROP;
		seen += option[0];
		offset += option[1];
	}
	return seen & 3;
}

PAIR(tags)
{
	INPUT(14);
	__u8 *p = in + 12;
	__u32 i;

	LOOP (i = 0; i < 4; i++) {
		if (*(__u16 *)p != 0x0081)
			break;
		p += 4;
		if (p + (bad ? 1 : 2) > end)
			return XDP_DROP;
	}
	return *(__u16 *)p & 3;
}

PAIR(tail_bytes)
{
	INPUT(1);
	__u64 length = end - in;
	__u64 skip = in[0] & 31;

	if (length < 32 + !bad)
		return XDP_DROP;
	return in[skip + 1] & 3;
}

PAIR(narrow_difference)
{
	INPUT(1);
	__u64 difference = end - in;
	__u32 length;

	opaque(difference);
	length = difference;
	if (length < (bad ? 59 : 60))
		return XDP_DROP;
	return in[59] & 3;
}

PAIR(offset_from_packet)
{
	INPUT(2);
	__u8 *p = in + *(__u16 *)in;

	if (p + 4 > end)
		return XDP_DROP;
	return *(__u32 *)(p + bad) & 3;
}

PAIR(checksum_loop)
{
	INPUT(2);
	__u32 words = in[0] & 31, sum = 0, i;

	LOOP (i = 0; i < words; i++) {
		__u8 *word = in + 2 * i;

		opaque(word);
		if (word + (bad ? 1 : 2) > end)
			return XDP_DROP;
		sum += *(__u16 *)word;
	}
	return sum & 3;
}

PAIR(checked_once)
{
	INPUT(1);
	__u32 n = in[0] & 31, sum = 0, i;

	/* one check before the loop covers all of its trips */
	if (in + 32 > end)
		return XDP_DROP;
	LOOP (i = 0; i <= n + bad; i++)
		sum += in[i];
	return sum & 3;
}

PAIR(backwards)
{
	INPUT(40);
	__u8 *p = in + 39;
	__u32 sum = 0, i;

	LOOP (i = 0; i < (bad ? 42 : 40); i++) {
		sum += *p;
		p--;
		opaque(p);
	}
	return sum & 3;
}
