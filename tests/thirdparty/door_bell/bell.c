/* Who may come in: whoever came before, and whose name begins with an A. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bell_md {
	const unsigned char *data;	/* the visitor's name */
	const unsigned char *data_end;
	__u32 door;
	__u32 answer;			/* for the program to write */
};

static long (*bell_ring)(struct bell_md *ctx, __u32 times) = (void *)65537;
static long (*bell_name)(void *to, __u32 size) = (void *)65538;

struct {
	__uint(type, 65537);		/* visitors */
	__uint(max_entries, 16);
	__type(key, __u32);		/* the first letter */
	__type(value, __u64);		/* when it was seen first */
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} answers SEC(".maps");

SEC("doorbell")
int bell(struct bell_md *ctx)
{
	const unsigned char *data = ctx->data, *end = ctx->data_end;
	__u64 now = bpf_ktime_get_ns(), *count;
	__u32 letter, answer;
	char name[4] = {};

	if (data + 1 > end)
		return 0;
	letter = data[0];
	bell_name(name, sizeof(name));
	answer = letter == (__u32)name[0] || bpf_map_lookup_elem(&seen, &letter) != 0;
	bpf_map_update_elem(&seen, &letter, &now, BPF_ANY);
	bell_ring(ctx, answer ? 2 : 1);
	ctx->answer = answer;
	count = bpf_map_lookup_elem(&answers, &answer);
	if (count)
		__sync_fetch_and_add(count, 1);
	return answer;
}

char LICENSE[] SEC("license") = "MIT";
