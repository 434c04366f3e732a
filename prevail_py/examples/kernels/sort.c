// SPDX-License-Identifier: MIT
/* Variable places on the stack: sort 32 numbers of the packet by bubbles, and mix them in their order. */
#include "kernel.h"

#define COUNT 32

INLINE int work(__u8 *data, __u8 *end)
{
	const __u32 *numbers = (const __u32 *)data;
	__u32 sorted[COUNT], i, j, value, mix = 0;

	if (data + SIZE > end)
		return 0;
	LOOP for (i = 0; i < COUNT; i++)
		sorted[i] = numbers[i];
	LOOP for (i = 0; i < COUNT - 1; i++) {
		LOOP for (j = 0; j < COUNT - 1; j++) {
			if (sorted[j] > sorted[j + 1]) {
				value = sorted[j];
				sorted[j] = sorted[j + 1];
				sorted[j + 1] = value;
			}
		}
	}
	LOOP for (i = 0; i < COUNT; i++)
		mix = mix * 31 + sorted[i];
	return mix & 0x7fffffff;
}

ENTRY(sort)
