/* SPDX-License-Identifier: MIT */
/*
 * One C source for Linux and for eBPF for Windows.
 *
 *	clang -target bpf -O2 -g -I "$(prevail-py include-dir)" -c prog.c -o prog.o
 *	clang -target bpf -O2 -g -I "$(prevail-py include-dir)" -DPREVAIL_WINDOWS -c prog.c -o prog.win.o
 *	prevail-py verify prog.o && prevail-py verify --platform windows prog.win.o
 *
 * Names mean the same on both; numbers and layouts are those of the platform.  What only one of them has is declared
 * for that one.  Include this in place of <linux/bpf.h> and <bpf/bpf_helpers.h>.
 */
#ifndef PREVAIL_BPF_H
#define PREVAIL_BPF_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
#define __always_inline inline __attribute__((always_inline))
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif

#ifndef NULL
#define NULL ((void *)0)
#endif

enum { BPF_ANY, BPF_NOEXIST, BPF_EXIST };

#ifdef PREVAIL_WINDOWS

enum prevail_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_HASH = 4,
	BPF_MAP_TYPE_PERCPU_ARRAY = 5,
	BPF_MAP_TYPE_HASH_OF_MAPS = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 7,
	BPF_MAP_TYPE_LRU_HASH = 8,
	BPF_MAP_TYPE_LPM_TRIE = 9,
	BPF_MAP_TYPE_QUEUE = 10,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 11,
	BPF_MAP_TYPE_STACK = 12,
	BPF_MAP_TYPE_RINGBUF = 13,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 14,
	BPF_MAP_TYPE_XSKMAP = 16,
};

enum prevail_helper {
	PREVAIL_GET_SMP_PROCESSOR_ID = 8,
	PREVAIL_KTIME_GET_BOOT_NS = 7,
	PREVAIL_REDIRECT_MAP = 35,
	PREVAIL_TAIL_CALL = 5,
	PREVAIL_GET_PRANDOM_U32 = 6,
	PREVAIL_KTIME_GET_NS = 9,
	PREVAIL_CSUM_DIFF = 10,
	PREVAIL_RINGBUF_OUTPUT = 11,
	PREVAIL_XDP_ADJUST_HEAD = 0x10000,
};

enum xdp_action { XDP_PASS = 1, XDP_DROP = 2, XDP_TX = 3, XDP_REDIRECT = 4 };

struct xdp_md {
	void *data;
	void *data_end;
	__u64 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
};

enum bind_operation { BIND_OPERATION_BIND, BIND_OPERATION_POST_BIND, BIND_OPERATION_UNBIND };
enum bind_action { BIND_PERMIT, BIND_DENY, BIND_REDIRECT };

struct bind_md {
	__u8 *app_id_start;
	__u8 *app_id_end;
	__u64 process_id;
	__u8 socket_address[16];
	__u8 socket_address_length;
	enum bind_operation operation;
	__u8 protocol;
};

static void *(*const bpf_map_lookup_and_delete_elem)(void *map, const void *key) = (void *)4;
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)19;
static __u64 (*const bpf_get_current_logon_id)(const void *ctx) = (void *)20;
static int (*const bpf_is_current_admin)(const void *ctx) = (void *)21;
static long (*const bpf_memcpy_s)(void *to, __u64 to_size, const void *from, __u64 from_size) = (void *)22;
static int (*const bpf_memcmp_s)(const void *a, __u64 a_size, const void *b, __u64 b_size) = (void *)23;
static long (*const bpf_memset)(void *memory, __u64 size, int value) = (void *)24;
static long (*const bpf_memmove_s)(void *to, __u64 to_size, const void *from, __u64 from_size) = (void *)25;
static __s64 (*const bpf_get_socket_cookie)(const void *ctx) = (void *)26;
static int (*const bpf_strncpy_s)(char *to, __u64 to_size, const char *from, __u64 count) = (void *)27;
static int (*const bpf_strncat_s)(char *to, __u64 to_size, const char *from, __u64 count) = (void *)28;
static __u64 (*const bpf_strnlen_s)(const char *text, __u64 size) = (void *)29;
static __u64 (*const bpf_ktime_get_boot_ms)(void) = (void *)30;
static __u64 (*const bpf_ktime_get_ms)(void) = (void *)31;
static __u64 (*const bpf_get_current_process_start_key)(void) = (void *)33;
static __s64 (*const bpf_get_current_thread_create_time)(void) = (void *)34;

struct bpf_sock_addr {
	__u32 family;
	union { __u32 msg_src_ip4; __u32 msg_src_ip6[4]; };
	__u16 msg_src_port;
	union { __u32 user_ip4; __u32 user_ip6[4]; };
	__u16 user_port;
	__u32 protocol;
	__u32 compartment_id;
	__u64 interface_luid;
};

#define PREVAIL_DATA(ctx) ((ctx)->data)
#define PREVAIL_DATA_END(ctx) ((ctx)->data_end)

#else

enum prevail_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_HASH_OF_MAPS = 13,
	BPF_MAP_TYPE_XSKMAP = 17,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_STACK = 23,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum prevail_helper {
	PREVAIL_GET_SMP_PROCESSOR_ID = 8,
	PREVAIL_KTIME_GET_BOOT_NS = 125,
	PREVAIL_REDIRECT_MAP = 51,
	PREVAIL_TAIL_CALL = 12,
	PREVAIL_GET_PRANDOM_U32 = 7,
	PREVAIL_KTIME_GET_NS = 5,
	PREVAIL_CSUM_DIFF = 28,
	PREVAIL_RINGBUF_OUTPUT = 130,
	PREVAIL_XDP_ADJUST_HEAD = 44,
};

enum xdp_action { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
};

#define PREVAIL_DATA(ctx) ((void *)(long)(ctx)->data)
#define PREVAIL_DATA_END(ctx) ((void *)(long)(ctx)->data_end)

#endif

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static long (*const bpf_tail_call)(void *ctx, void *array, __u32 index) = (void *)PREVAIL_TAIL_CALL;
static __u32 (*const bpf_get_prandom_u32)(void) = (void *)PREVAIL_GET_PRANDOM_U32;
static __u64 (*const bpf_ktime_get_ns)(void) = (void *)PREVAIL_KTIME_GET_NS;
static __u64 (*const bpf_ktime_get_boot_ns)(void) = (void *)PREVAIL_KTIME_GET_BOOT_NS;
static __u32 (*const bpf_get_smp_processor_id)(void) = (void *)PREVAIL_GET_SMP_PROCESSOR_ID;
static __s64 (*const bpf_csum_diff)(void *from, __u32 from_size, void *to, __u32 to_size, __u32 seed) =
	(void *)PREVAIL_CSUM_DIFF;
static long (*const bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) =
	(void *)PREVAIL_RINGBUF_OUTPUT;
static long (*const bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)PREVAIL_REDIRECT_MAP;
static long (*const bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)PREVAIL_XDP_ADJUST_HEAD;

#endif
