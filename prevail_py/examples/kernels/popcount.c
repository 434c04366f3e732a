// SPDX-License-Identifier: MIT
/* Vectorisable: count the bits of the values of a map. */
#include "kernel.h"

#define WORDS 512

__u64 words[WORDS] = { 1 };

INLINE int work(__u8 *data, __u8 *end)
{
	__u64 total = 0, x;
	__u32 i;

	LOOP for (i = 0; i < WORDS; i++) {
		x = words[i];
		x = (x & 0x5555555555555555ULL) + (x >> 1 & 0x5555555555555555ULL);
		x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
		x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
		x = (x & 0x00ff00ff00ff00ffULL) + (x >> 8 & 0x00ff00ff00ff00ffULL);
		/* two counts of 32 bits each */
		total += (x & 0x0000ffff0000ffffULL) + (x >> 16 & 0x0000ffff0000ffffULL);
	}
	return (__u32)total + (total >> 32);
}

ENTRY(popcount)
