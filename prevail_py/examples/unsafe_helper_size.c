// SPDX-License-Identifier: MIT
/*
 * UNSAFE: tell a helper that a buffer is longer than it is.
 *
 * The buffer has room for the 40 bytes of options that an IPv4 header can
 * have.  Its length is taken from the header, where a value below the minimum
 * makes the subtraction wrap: the helper is asked to sum nearly 4 GiB.
 *
 * To learn: a length that goes to a helper needs both bounds, and so does an
 * unsigned difference.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>

#define MAX_OPTIONS	40

SEC("xdp")
int sum_options(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	__be32 options[MAX_OPTIONS / 4];
	__s64 sum;
	__u32 len;

	if ((void *)(ip + 1) + MAX_OPTIONS > data_end)
		return XDP_PASS;
	__builtin_memcpy(options, ip + 1, MAX_OPTIONS);

	len = ip->ihl * 4 - sizeof(*ip);
	sum = bpf_csum_diff(NULL, 0, options, len, 0); // BUG: len may be negative
	return sum < 0 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
