// SPDX-License-Identifier: MIT
/* Loops over an index: how they are tested, how they step, how they end. */
#include "suite.h"

PAIR(top_tested)
{
	INPUT(1);
	__u32 n = in[0] & (bad ? 127 : 63), sum = 0, i;
	TABLE(t);

	LOOP (i = 0; i < n; i++)
		sum += t[i];
	return sum & 3;
}

PAIR(bottom_tested)
{
	INPUT(1);
	__u32 n = in[0] & 63, sum = 0, i = 0;
	TABLE(t);

	DO_LOOP {
		sum += t[i];
	} while (++i <= n + bad);
	return sum & 3;
}

PAIR(step_two)
{
	INPUT(1);
	__u32 sum = 0, i;
	TABLE(t);

	LOOP (i = 0; i < (bad ? 66 : 64); i += 2)
		sum += t[i] ^ t[i + 1];
	return sum & 3;
}

PAIR(step_eight)
{
	INPUT(1);
	__u32 n = in[0] & 63, i;
	__u64 sum = 0;
	TABLE(t);

	/* whole words within the first n + 1 bytes */
	LOOP (i = 0; i + (bad ? 7 : 8) <= n + 1; i += 8)
		sum += *(__u64 *)(t + i + (bad && n == 63));
	return sum & 3;
}

PAIR(step_three)
{
	INPUT(1);
	__u32 sum = 0, i;
	TABLE(t);

	/* 0, 3, ..., 60, and 63 for the twin */
	LOOP (i = 0; i < (bad ? 64 : 63); i += 3)
		sum += t[i + 1];
	return sum & 3;
}

PAIR(not_equal)
{
	INPUT(1);
	__u64 n = in[0] & 63, sum = 0, i;
	TABLE(t);

	if (bad)
		n = in[0];
	LOOP (i = 0; i != n; i++)
		sum += t[i];
	return sum & 3;
}

PAIR(not_equal_step)
{
	INPUT(1);
	__u64 sum = 0, i = 0;
	TABLE(t);

	LOOP (; i != (bad ? 68 : 64); i += 4) {
		sum += *(__u32 *)(t + i);
		opaque(i);
	}
	return sum & 3;
}

PAIR(countdown)
{
	INPUT(1);
	__u64 n = in[0] & 63, sum = 0, i;
	TABLE(t);

	if (bad)
		n++;
	LOOP (i = n; i > 0; i--)
		sum += t[bad ? i : i - 1];
	return sum & 3;
}

PAIR(countdown_signed)
{
	INPUT(1);
	__s32 n = in[0] & 63, i;
	__u32 sum = 0;
	TABLE(t);

	LOOP (i = n; i >= (bad ? -1 : 0); i--)
		sum += t[i];
	return sum & 3;
}

PAIR(countdown_pairs)
{
	INPUT(1);
	__u32 i = 64, sum = 0;
	TABLE(t);

	LOOP (; i >= (bad ? 1 : 2); i -= bad ? 3 : 2) {
		sum += t[i - 1] + t[i - 2];
		opaque(i);
	}
	return sum & 3;
}

PAIR(nested)
{
	INPUT(2);
	__u32 rows = in[0] & 7, columns = in[1] & 7, sum = 0, i, j;
	TABLE(t);

	LOOP (i = 0; i <= rows; i++)
		LOOP (j = 0; j <= columns + bad; j++)
			sum += t[8 * i + j];
	return sum & 3;
}

PAIR(nested_triangle)
{
	INPUT(1);
	__u32 n = in[0] & 63, sum = 0, i, j;
	TABLE(t);

	LOOP (i = 0; i <= n; i++)
		LOOP (j = i; j <= (bad ? i + 1 : i); j++)
			sum += t[j];
	return sum & 3;
}

PAIR(early_exit)
{
	INPUT(1);
	__u32 i;
	TABLE(t);

	LOOP (i = 0; i < 64; i++)
		if (t[i] == in[0])
			break;
	if (i == 64 && !bad)
		return XDP_PASS;
	t[i] = 0;
	return XDP_TX;
}

PAIR(two_ends)
{
	INPUT(1);
	__u32 i = 0, j = in[0] & 63;
	TABLE(t);

	/* the ends meet; in the twin they pass each other */
	LOOP (; bad ? i != j : i < j; i++, j--) {
		__u8 v = t[i];

		t[i] = t[j];
		t[j] = v;
	}
	return XDP_PASS;
}

PAIR(binary_search)
{
	INPUT(1);
	__u32 low = 0, high = bad ? 66 : 64, round;
	TABLE(t);

	LOOP (round = 0; round < 7 && low < high; round++) {
		__u32 middle = (low + high) / 2;

		if (t[middle] < in[0])
			low = middle + 1;
		else
			high = middle;
	}
	return low & 3;
}

PAIR(bit_length)
{
	INPUT(8);
	__u64 x = *(__u64 *)in;
	__u32 bits;
	TABLE(t);

	LOOP (bits = 0; bits < (bad ? 65 : 63); bits++) {
		if (!x && !bad)
			break;
		x >>= 1;
	}
	t[bits]++;
	return XDP_PASS;
}

PAIR(doubling)
{
	INPUT(1);
	__u32 i, sum = 0;
	TABLE(t);

	LOOP (i = 1; i < (bad ? 65 : 64); i <<= 1) {
		sum += t[i];
		opaque(i);
	}
	return sum & 3;
}

PAIR(bounded_twice)
{
	INPUT(1);
	__u32 n = in[0], sum = 0, i;
	TABLE(t);

	LOOP (i = 0; i < n; i++) {
		if (i >= (bad ? 65 : 64))
			break;
		sum += t[i];
	}
	return sum & 3;
}

PAIR(sum_as_index)
{
	INPUT(8);
	__u32 position = 0, i;
	TABLE(t);

	/* at most 8 times 7 */
	LOOP (i = 0; i < 8; i++) {
		position += in[i] & (bad ? 15 : 7);
		if (position > (bad ? 64 : 63))
			return XDP_DROP;
		t[position]++;
	}
	return XDP_PASS;
}
