// SPDX-License-Identifier: MIT
/* Branchy: Ethernet, up to two VLAN tags, IPv4 with options, and the options of TCP, all of them with a length. */
#include "kernel.h"

INLINE __u32 big16(const __u8 *at)
{
	return at[0] << 8 | at[1];
}

INLINE int work(__u8 *data, __u8 *end)
{
	__u8 *at = data + 12;
	__u32 type, header, sum = 0, i, options, kind, length;

	if (data + 14 > end)
		return 0;
	type = big16(at);
	at += 2;
	LOOP for (i = 0; i < 2; i++) {
		if (type != 0x8100 && type != 0x88a8)
			break;
		if (at + 4 > end)
			return 0;
		sum += big16(at) & 0xfff;
		type = big16(at + 2);
		at += 4;
	}
	if (type != 0x0800 || at + 20 > end)
		return 1;
	header = (at[0] & 15) * 4;
	if (at[0] >> 4 != 4 || header < 20 || at[9] != 6)
		return 1;
	sum += at[12] + at[15] + at[16] + at[19];
	at += header;
	if (at + 20 > end)
		return 1;
	sum += big16(at) + big16(at + 2);
	header = (at[12] >> 4) * 4;
	if (header < 20)
		return 1;
	at += 20;
	LOOP for (i = 20, options = 0; i < header && options < 10; options++) {
		if (at + 2 > end)
			return 2;
		kind = at[0];
		if (kind == 0)
			break;
		length = at[1] & 63;
		sum = sum * 31 + kind + length;
		i += length;
		at += length;
	}
	return sum & 0x7fffffff;
}

ENTRY(parser)
