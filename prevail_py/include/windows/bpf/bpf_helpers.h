/* SPDX-License-Identifier: MIT */
/* In place of libbpf's: the helpers of eBPF for Windows. */
#include "../linux/bpf.h"
