// SPDX-License-Identifier: MIT
/* Buffers on the stack, at offsets and with sizes that are not constant. */
#include "suite.h"

PAIR(histogram)
{
	INPUT(16);
	__u8 counts[16] = {};
	__u32 i;

	LOOP (i = 0; i < 16; i++)
		counts[in[i] & (bad ? 511 : 15)]++;
	opaque(i);
	return counts[in[0] & 15] & 3;
}

PAIR(copied_bytes)
{
	INPUT(32);
	__u8 copy[32] = {};
	__u32 i;

	LOOP (i = 0; i < (bad ? 544 : 32); i++) {
		__u32 at = i;

		opaque(at);
		copy[at] = in[at & 31];
	}
	return copy[in[0] & 31] & 3;
}

PAIR(stack_of_words)
{
	INPUT(16);
	__u32 words[8] = {}, depth = 0, i;

	LOOP (i = 0; i < 16; i++) {
		if (in[i] & 1) {
			if (depth >= (bad ? 200 : 8))
				break;
			words[depth & (bad ? 255 : 7)] = in[i];
			depth += bad ? 16 : 1;
		} else if (depth) {
			depth--;
		}
	}
	return words[in[0] & 7] & 3;
}

PAIR(helper_size)
{
	INPUT(1);
	__u32 words[16] = {};
	__u64 size = in[0] & (bad ? 0xfc : 0x3c);

	opaque(size);
	if (bad)
		size += 512;
	return bpf_csum_diff(0, 0, words, size, 0) & 3;
}

PAIR(helper_size_compared)
{
	INPUT(2);
	__u32 words[16] = {};
	__u32 size = *(__u16 *)in;

	if (size > (bad ? 516 : 64) || size & 3)
		return XDP_DROP;
	return bpf_csum_diff(0, 0, words, size, 0) & 3;
}

PAIR(index_in_memory)
{
	INPUT(2);
	volatile __u32 index = in[0];
	__u32 now;
	TABLE(t);

	if (index > 63)
		return XDP_DROP;
	now = index;
	t[now + (bad ? in[1] : 0)] = 1;
	return XDP_PASS;
}

PAIR(key_on_stack)
{
	INPUT(1);
	struct {
		__u32 a;
		__u8 pad[4];
	} key;
	__u32 *word = bad ? (__u32 *)&key.pad : &key.a;
	void *value;

	*word = in[0];
	value = bpf_map_lookup_elem(&storage, &key);
	return value ? XDP_PASS : XDP_DROP;
}
