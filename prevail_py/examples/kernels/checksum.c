// SPDX-License-Identifier: MIT
/* Vectorisable: the sum of which the complement is the Internet checksum of the packet (RFC 1071). */
#include "kernel.h"

INLINE int work(__u8 *data, __u8 *end)
{
	const __u16 *words = (const __u16 *)data;
	__u32 sum = 0, i;

	if (data + SIZE > end)
		return 0;
	LOOP for (i = 0; i < SIZE / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum & 0xffff;
}

ENTRY(checksum)
