/* SPDX-License-Identifier: MIT */
/*
 * For sources that include <linux/bpf.h>, to be built for eBPF for Windows as they are:
 *
 *	clang -target bpf -O2 -g -I "$(prevail-py include-dir)/windows" -c prog.c -o prog.win.o
 *
 * What they use has to be on both: see prevail_bpf.h.  (void *)(long)ctx->data is a pointer on both.
 */
#ifndef PREVAIL_WINDOWS
#define PREVAIL_WINDOWS
#endif
#include "../../prevail_bpf.h"
