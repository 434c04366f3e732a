// SPDX-License-Identifier: MIT
/* Ends early: compare the two halves of the packet, byte by byte, and say where they differ. */
#include "kernel.h"

INLINE int work(__u8 *data, __u8 *end)
{
	const __u8 *a = data, *b = data + SIZE / 2;
	__u32 i;

	if (data + SIZE > end)
		return 0;
	LOOP for (i = 0; i < SIZE / 2; i++) {
		if (a[i] != b[i] || !a[i])
			break;
	}
	return i;
}

ENTRY(strncmp_kernel)
