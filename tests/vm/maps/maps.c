// One program for every map type that the machine models: each uses its map through helpers and tells what happened.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define MAP(name, number, entries, ...) \
    struct { \
        int (*type)[number]; \
        int (*max_entries)[entries]; \
        __VA_ARGS__ \
    } name SEC(".maps")
#define KEYED(k, v) k *key; v *value;

static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*delete)(void *map, const void *key) = (void *)3;
static long (*tail_call)(void *context, void *map, u32 index) = (void *)12;
static long (*perf_event_output)(void *context, void *map, u64 flags, void *data, u64 size) = (void *)25;
static long (*redirect_map)(void *map, u64 key, u64 flags) = (void *)51;
static long (*push)(void *map, const void *value, u64 flags) = (void *)87;
static long (*pop)(void *map, void *value) = (void *)88;
static long (*peek)(void *map, void *value) = (void *)89;
static long (*ringbuf_output)(void *map, void *data, u64 size, u64 flags) = (void *)130;
static void *(*lookup_percpu)(void *map, const void *key, u32 cpu) = (void *)195;

struct flow { u8 protocol; u32 packets; u64 bytes; };
struct prefix { u32 length; u8 address[4]; };

MAP(hash, 1, 4, KEYED(u32, struct flow));
MAP(array, 2, 4, KEYED(u32, struct flow));
MAP(percpu_hash, 5, 4, KEYED(u32, struct flow));
MAP(percpu_array, 6, 4, KEYED(u32, struct flow));
MAP(lru_hash, 9, 4, KEYED(u32, struct flow));
MAP(lru_percpu_hash, 10, 4, KEYED(u32, struct flow));

// Insert, replace, change in place, delete; the result says how each went.
static __attribute__((always_inline)) long use_table(void *map) {
    u32 key = 1, other = 2, absent = 3;
    struct flow flow = {17, 1, 100};
    long result = update(map, &key, &flow, 0) == 0;
    result |= (update(map, &key, &flow, 1) == -17) << 1;
    result |= (update(map, &other, &flow, 0) == 0) << 2;
    result |= (delete(map, &absent) != 0) << 3;
    struct flow *found = lookup(map, &key);
    if (!found)
        return -1;
    found->packets += 1;
    found->bytes += 60;
    return result << 16 | found->packets << 8 | found->bytes;
}

#define TABLE(name) SEC("xdp") int use_##name(void *context) { return use_table(&name); }
TABLE(hash)
TABLE(array)
TABLE(lru_hash)

#define PERCPU_TABLE(name) \
    SEC("xdp") int use_##name(void *context) { \
        u32 key = 1, beyond = 1u << 20; \
        long result = use_table(&name); \
        struct flow *found = lookup_percpu(&name, &key, 0); \
        if (!found || lookup_percpu(&name, &key, beyond)) \
            return -1; \
        return result + found->protocol; \
    }
PERCPU_TABLE(percpu_hash)
PERCPU_TABLE(percpu_array)
PERCPU_TABLE(lru_percpu_hash)

MAP(lpm_trie, 11, 4, KEYED(struct prefix, u32) int (*map_flags)[1];);
SEC("xdp") int use_lpm_trie(void *context) {
    struct prefix wide = {8, {10}}, narrow = {16, {10, 1, 255}}, host = {32, {10, 1, 2, 3}}, none = {32, {11}};
    u32 one = 1, two = 2;
    update(&lpm_trie, &wide, &one, 0);
    update(&lpm_trie, &narrow, &two, 0);
    u32 *found = lookup(&lpm_trie, &host);
    if (!found || lookup(&lpm_trie, &none))
        return -1;
    return *found << 8 | (delete(&lpm_trie, &host) == -2);
}

#define LIST(name, number) \
    MAP(name, number, 2, u64 *value;); \
    SEC("xdp") int use_##name(void *context) { \
        u64 values[3] = {1, 2, 3}, found = 0, next = 0; \
        push(&name, &values[0], 0); \
        push(&name, &values[1], 0); \
        long full = push(&name, &values[2], 0); \
        push(&name, &values[2], 2); \
        pop(&name, &found); \
        peek(&name, &next); \
        return (full == -7) << 16 | found << 8 | next; \
    }
LIST(queue, 22)
LIST(stack, 23)

MAP(bloom_filter, 30, 100, u64 *value; int (*map_extra)[3]; int (*map_flags)[64];);
SEC("xdp") int use_bloom_filter(void *context) {
    u64 one = 1, two = 2;
    long before = peek(&bloom_filter, &one);
    push(&bloom_filter, &one, 0);
    return (before == -2) << 2 | (peek(&bloom_filter, &one) == 0) << 1 | (peek(&bloom_filter, &two) == -2);
}

MAP(prog_array, 3, 2, KEYED(u32, u32));
SEC("xdp") int use_prog_array(void *context) {
    tail_call(context, &prog_array, 1);
    tail_call(context, &prog_array, 0);
    return 1;
}
SEC("xdp") int target(void *context) { return 77; }

struct inner { int (*type)[2]; int (*max_entries)[2]; u32 *key; u64 *value; };
MAP(array_of_maps, 12, 2, u32 *key; struct inner *values[];);
MAP(hash_of_maps, 13, 2, u32 *key; struct inner *values[];);
static __attribute__((always_inline)) long use_nested(void *map) {
    u32 key = 1;
    void *inner = lookup(map, &key);
    if (!inner)
        return -1;
    u64 *value = lookup(inner, &key);
    if (!value)
        return -2;
    *value += 1;
    return *value;
}
SEC("xdp") int use_array_of_maps(void *context) { return use_nested(&array_of_maps); }
SEC("xdp") int use_hash_of_maps(void *context) { return use_nested(&hash_of_maps); }

MAP(ringbuf, 27, 4096, );
SEC("xdp") int use_ringbuf(void *context) {
    u64 value = 0x1122334455667788;
    return ringbuf_output(&ringbuf, &value, 8, 0) | (ringbuf_output(&ringbuf, &value, 3, 0) << 1);
}

MAP(perf_event_array, 4, 0, KEYED(u32, u32));
SEC("xdp") int use_perf_event_array(void *context) {
    u64 value = 5;
    return perf_event_output(context, &perf_event_array, 0xffffffff, &value, 8);
}

#define DEVICES(name, number) \
    MAP(name, number, 4, KEYED(u32, u32)); \
    SEC("xdp") int use_##name(void *context) { \
        u32 key = 1; \
        u32 *found = lookup(&name, &key); \
        return (found ? *found : 9) << 8 | redirect_map(&name, 0, 2); \
    }
DEVICES(devmap, 14)
DEVICES(devmap_hash, 25)

MAP(cpumap, 16, 4, KEYED(u32, u32));
SEC("xdp") int use_cpumap(void *context) { return redirect_map(&cpumap, 0, 2); }

MAP(xskmap, 17, 4, KEYED(u32, u32));
SEC("xdp") int use_xskmap(void *context) {
    u32 key = 1;
    u32 *socket = lookup(&xskmap, &key);
    if (socket)
        return 100 + *socket;
    return redirect_map(&xskmap, 1, 2);
}

char licence[] SEC("license") = "GPL";
