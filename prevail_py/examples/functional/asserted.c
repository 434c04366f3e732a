// SPDX-License-Identifier: MIT
/* Programs that say something about themselves: see docs/functional.md. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <prevail.h>

#define WORDS 4

static __always_inline int sum_of_words(struct xdp_md *ctx, __u32 *sum)
{
	__u16 *word = (void *)(long)ctx->data;

	if ((void *)(word + WORDS) > (void *)(long)ctx->data_end)
		return -1;
	*sum = 0;
	for (int i = 0; i < WORDS; i++)
		*sum += word[i] ^ 0xffff;
	return 0;
}

/* A checksum as IPv4 has it: after the carries were added twice nothing is left of them. */
SEC("xdp")
int folded_twice(struct xdp_md *ctx)
{
	__u32 sum;

	if (sum_of_words(ctx, &sum))
		return XDP_DROP;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	prevail_assert(sum <= 0xffff);
	return sum == 0xffff ? XDP_PASS : XDP_DROP;
}

/* Once is not enough: 0xffff and a carry make 17 bits. */
SEC("xdp")
int folded_once(struct xdp_md *ctx)
{
	__u32 sum;

	if (sum_of_words(ctx, &sum))
		return XDP_DROP;
	sum = (sum & 0xffff) + (sum >> 16);
	prevail_assert(sum <= 0xffff);
	return sum == 0xffff ? XDP_PASS : XDP_DROP;
}

/* What goes out lies between the bounds, and is what came in where that did. */
SEC("xdp")
int clamped(struct xdp_md *ctx)
{
	__u32 *packet = (void *)(long)ctx->data, asked, given;

	if ((void *)(packet + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	asked = *packet;
	given = asked < 64 ? 64 : asked > 1500 ? 1500 : asked;
	prevail_assert(given >= 64 && given <= 1500);
	prevail_assert(given == asked || asked - 64 > 1500 - 64);
	*packet = given;
	return XDP_TX;
}
