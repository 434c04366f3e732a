// SPDX-License-Identifier: MIT
/* A table in read-only data: the CRC-32 of the packet (IEEE 802.3, not complemented), four bits at a time. */
#include "kernel.h"

static const volatile __u32 nibbles[16] = {
	0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
	0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

INLINE int work(__u8 *data, __u8 *end)
{
	__u32 crc = 0xffffffff, i;

	if (data + SIZE > end)
		return 0;
	LOOP for (i = 0; i < SIZE; i++) {
		crc ^= data[i];
		crc = nibbles[crc & 15] ^ crc >> 4;
		crc = nibbles[crc & 15] ^ crc >> 4;
	}
	return crc & 0x7fffffff;
}

ENTRY(crc32)
