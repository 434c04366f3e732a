// SPDX-License-Identifier: MIT
/*
 * A token bucket for every IPv4 source: RATE packets a second on average, at
 * most BURST at once.
 *
 * To learn: state that outlives the packet.  An unknown source is inserted
 * with a value built on the stack (initialised to the last byte); a known one
 * is updated through the pointer that the lookup returned.  Two CPUs may
 * refill the same bucket at once and one of them may lose its update: a rate
 * limiter can live with that, the verifier with both.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define SECOND	1000000000ULL	/* nanoseconds */
#define RATE	1000ULL
#define BURST	100ULL
#define COST	(SECOND / RATE)	/* nanoseconds of credit for one packet */

struct bucket {
	__u64 credit;		/* nanoseconds, at most BURST * COST */
	__u64 last;		/* when the credit was counted */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32);
	__type(value, struct bucket);
} buckets SEC(".maps");

SEC("xdp")
int xdp_ratelimit(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct bucket *bucket;
	struct iphdr *ip;
	__u64 now, last, credit;
	__be32 source;

	ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;

	source = ip->saddr;
	now = bpf_ktime_get_ns();
	bucket = bpf_map_lookup_elem(&buckets, &source);
	if (!bucket) {
		struct bucket full = {
			.credit = (BURST - 1) * COST,
			.last = now,
		};

		bpf_map_update_elem(&buckets, &source, &full, BPF_ANY);
		return XDP_PASS;
	}

	/* Another CPU may have been here with a later clock. */
	credit = bucket->credit;
	last = bucket->last;
	if (now > last)
		credit += now - last;
	if (credit > BURST * COST)
		credit = BURST * COST;
	bucket->last = now;
	if (credit < COST) {
		bucket->credit = credit;
		return XDP_DROP;
	}
	bucket->credit = credit - COST;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "MIT";
