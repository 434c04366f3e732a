// SPDX-License-Identifier: MIT
/*
 * UNSAFE: write to an array on the stack at an index from the packet.
 *
 * The array has an entry for each of the 16 precedences that the author
 * expects.  But the type of service shifted right by three is below 32: half
 * of all values write past the array and out of the frame.
 *
 * To learn: an index has to be bounded by the length of the array, by a
 * comparison or by a mask.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>

#define PRECEDENCES	16

struct flags {
	__u8 seen[PRECEDENCES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flags);
} last SEC(".maps");

SEC("xdp")
int note_precedence(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct flags flags = {};
	__u32 slot = 0;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	flags.seen[ip->tos >> 3] = 1; // BUG: tos >> 3 is at most 31
	bpf_map_update_elem(&last, &slot, &flags, BPF_ANY);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
