// SPDX-License-Identifier: MIT
/*
 * Drop TCP connection requests that announce a maximum segment size (RFC 9293,
 * section 3.2) of less than 500 bytes: segments that small are used to exhaust
 * the sender (CVE-2019-11479).
 *
 * To learn: a bounded loop over a list whose steps the packet chooses.  The
 * position is a number between 20 and 60 and not a pointer, so that its range
 * is clear at every turn; each option is checked against data_end before it is
 * read; a length below two, which would stop the walk, ends it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_OFFSET_MASK	0x1fff
#define MIN_MSS		500
#define MAX_OPTIONS	40	/* one per byte: 60 bytes less the fixed 20 */

enum option {
	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_MSS = 2,
};

SEC("xdp")
int xdp_options(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct tcphdr *tcp;
	__u32 offset, end;
	struct iphdr *ip;
	int i;

	if ((void *)(eth + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;

	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP || ip->ihl < 5)
		return XDP_PASS;
	if (ip->frag_off & bpf_htons(IP_OFFSET_MASK))
		return XDP_PASS;

	tcp = (void *)ip + ip->ihl * 4;
	if ((void *)(tcp + 1) > data_end)
		return XDP_DROP;
	if (!tcp->syn)
		return XDP_PASS;

	offset = sizeof(*tcp);
	end = tcp->doff * 4;

	for (i = 0; i < MAX_OPTIONS && offset < end; i++) {
		__u8 *option = (void *)tcp + offset;

		if ((void *)(option + 1) > data_end)
			return XDP_DROP;
		if (option[0] == OPTION_END)
			break;
		if (option[0] == OPTION_NOP) {
			offset++;
			continue;
		}

		if ((void *)(option + 2) > data_end)
			return XDP_DROP;
		if (option[1] < 2 || offset + option[1] > end)
			return XDP_DROP;
		if (option[0] == OPTION_MSS && option[1] == 4) {
			if ((void *)(option + 4) > data_end)
				return XDP_DROP;
			if ((option[2] << 8 | option[3]) < MIN_MSS)
				return XDP_DROP;
		}
		offset += option[1];
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
