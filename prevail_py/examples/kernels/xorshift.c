// SPDX-License-Identifier: MIT
/* Registers only: two thousand numbers of a xorshift generator (Marsaglia, 2003), seeded by the packet. */
#include "kernel.h"

INLINE int work(__u8 *data, __u8 *end)
{
	__u64 x, sum = 0;
	__u32 i;

	if (data + SIZE > end)
		return 0;
	x = *(const __u64 *)data | 1;
	LOOP for (i = 0; i < 2000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sum += x;
	}
	return sum & 0x7fffffff;
}

ENTRY(xorshift)
