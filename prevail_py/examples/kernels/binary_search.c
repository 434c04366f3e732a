// SPDX-License-Identifier: MIT
/* Dependent loads of map values: look numbers of the packet up in a sorted table, without branches. */
#include "kernel.h"

#define ENTRIES 1024
#define KEYS 64

__u32 table[ENTRIES] = { 1 };

INLINE int work(__u8 *data, __u8 *end)
{
	const __u32 *keys = (const __u32 *)data;
	__u32 found = 0, i, step;
	__u64 key, low;

	if (data + SIZE > end)
		return 0;
	LOOP for (i = 0; i < KEYS; i++) {
		key = keys[i];
		low = 0;
		LOOP for (step = 0; step < 10; step++) {
			__u64 middle = low + (512 >> step);

			/* the difference is negative where the number in the middle is not above the key */
			low += (table[middle & (ENTRIES - 1)] - key - 1) >> 63 << (9 - step);
		}
		found = found * 31 + (__u32)low;
	}
	return found & 0x7fffffff;
}

ENTRY(binary_search)
