// SPDX-License-Identifier: MIT
/* A chain of dependent 64-bit operations: SipHash-2-4 of the packet (Aumasson and Bernstein, 2012). */
#include "kernel.h"

#define ROTATE(x, n) ((x) << (n) | (x) >> (64 - (n)))
#define ROUND                                                                               \
	do {                                                                                \
		v0 += v1; v1 = ROTATE(v1, 13); v1 ^= v0; v0 = ROTATE(v0, 32);               \
		v2 += v3; v3 = ROTATE(v3, 16); v3 ^= v2;                                    \
		v0 += v3; v3 = ROTATE(v3, 21); v3 ^= v0;                                    \
		v2 += v1; v1 = ROTATE(v1, 17); v1 ^= v2; v2 = ROTATE(v2, 32);               \
	} while (0)

INLINE int work(__u8 *data, __u8 *end)
{
	const __u64 *words = (const __u64 *)data;
	__u64 v0 = 0x736f6d6570736575ULL ^ 0x0706050403020100ULL;
	__u64 v1 = 0x646f72616e646f6dULL ^ 0x0f0e0d0c0b0a0908ULL;
	__u64 v2 = 0x6c7967656e657261ULL ^ 0x0706050403020100ULL;
	__u64 v3 = 0x7465646279746573ULL ^ 0x0f0e0d0c0b0a0908ULL;
	__u64 word;
	__u32 i;

	if (data + SIZE > end)
		return 0;
	LOOP for (i = 0; i < SIZE / 8; i++) {
		word = words[i];
		v3 ^= word;
		ROUND;
		ROUND;
		v0 ^= word;
	}
	word = (__u64)SIZE << 56;
	v3 ^= word;
	ROUND;
	ROUND;
	v0 ^= word;
	v2 ^= 0xff;
	ROUND;
	ROUND;
	ROUND;
	ROUND;
	return (v0 ^ v1 ^ v2 ^ v3) & 0x7fffffff;
}

ENTRY(siphash)
