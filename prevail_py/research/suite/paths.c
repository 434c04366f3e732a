// SPDX-License-Identifier: MIT
/* What one variable says about another: flags, status codes, results of subprograms. */
#include "suite.h"

PAIR(status_code)
{
	INPUT(1);
	int status = in + 4 > end ? -22 : 0;

	opaque(status);
	if (status < (bad ? -22 : 0))
		return XDP_DROP;
	return in[3] & 3;
}

PAIR(status_after_work)
{
	INPUT(1);
	__u8 *next = in + (in[0] & 15);
	__u32 status = 0;

	if (next + 2 > end)
		status = 1;
	opaque(status);
	if (in[0] == 17)
		opaque(next);
	if (status == (bad ? 2 : 1))
		return XDP_DROP;
	return next[1] & 3;
}

PAIR(flag_and_pointer)
{
	INPUT(2);
	__u32 key = in[0], found = 0;
	__u8 *t = bpf_map_lookup_elem(&storage, &key);

	if (t)
		found = 1;
	opaque(found);
	if (in[1] == 9 && bad)
		found = 1;
	if (!found)
		return XDP_PASS;
	return t[3] & 3;
}

PAIR(kinds)
{
	INPUT(2);
	__u32 kind = in[0] == 4 ? 1 : in[0] == 6 ? 2 : 0;
	__u32 length = kind == 1 ? 20 : kind == 2 ? 40 : 2;

	if (in + length > end)
		return XDP_DROP;
	opaque(kind);
	if (kind == 1)
		return in[bad ? 20 : 19] & 3;
	if (kind == 2)
		return in[39] & 3;
	return XDP_PASS;
}

PAIR(found_in_loop)
{
	INPUT(1);
	__u32 found = 0, position = 0, i;
	TABLE(t);

	LOOP (i = 0; i < 64; i++) {
		if (t[i] == in[0]) {
			found = 1;
			position = i;
			if (bad)
				position += 64;
			break;
		}
	}
	opaque(found);
	if (found)
		t[position] = 0;
	return XDP_PASS;
}

PAIR(pointer_or_null)
{
	INPUT(5);
	__u8 *p = in[0] == 1 ? in + 1 : in[0] == 2 ? in + 2 : 0;

	opaque(p);
	if (!p && !bad)
		return XDP_DROP;
	return p[2] & 3;
}

static __noinline int check(struct xdp_md *ctx, __u32 length)
{
	__u8 *in = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (length > 63)
		return -1;
	if (in + 64 > end)
		return -2;
	return in[length];
}

PAIR(result_of_subprogram)
{
	INPUT(1);
	int kind = check(ctx, in[0]);
	TABLE(t);

	if (kind < (bad ? -1 : 0) || kind > 63)
		return XDP_DROP;
	return t[kind] & 3;
}

static __noinline __u32 clamp(__u32 x, __u32 most)
{
	return x > most ? most : x;
}

PAIR(clamped_by_subprogram)
{
	INPUT(4);
	__u32 x = clamp(*(__u32 *)in, bad ? 64 : 63);
	TABLE(t);

	return t[x] & 3;
}

static __noinline int sum_of(__u8 *buffer, __u32 n)
{
	__u32 sum = 0, i;

	LOOP (i = 0; i < 16; i++) {
		if (i >= n)
			break;
		sum += buffer[i];
	}
	return sum;
}

PAIR(buffer_for_subprogram)
{
	INPUT(16);
	__u8 buffer[16];

	if (bad)
		*(__u64 *)buffer = 1;
	else
		__builtin_memcpy(buffer, in, 16);
	opaque(in);
	return sum_of(buffer, in[0] & 31) & 3;
}
