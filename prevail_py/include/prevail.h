/* SPDX-License-Identifier: MIT
 *
 * What a program may say about itself for prevail-py to prove.
 *
 *     clang -target bpf -O2 -g -I "$(prevail-py include-dir)" -c program.c -o program.o
 */
#ifndef PREVAIL_H
#define PREVAIL_H

/* prevail_assert(condition): the condition holds whenever a run comes here.
 *
 * `prevail-py verify` proves it, or says that it may fail, and the interpreter traps (user-assertion) where it does.
 * To everybody else it means nothing: where the condition does not hold a constant is loaded into a register that
 * nobody reads, so that Linux accepts the program as it would without.  The compiler keeps the test, since it must not
 * remove the load: in production it costs a branch, and with -DPREVAIL_NO_ASSERTIONS nothing.
 */
#ifdef PREVAIL_NO_ASSERTIONS
#define prevail_assert(condition) ((void)sizeof(!(condition)))
#else
#define prevail_assert(condition)                                                        \
	do {                                                                             \
		if (!(condition)) {                                                      \
			unsigned long long prevail_failed_;                              \
			__asm__ volatile("%0 = 0x7072657661696c21 ll" : "=r"(prevail_failed_)); \
		}                                                                        \
	} while (0)
#endif

#endif /* PREVAIL_H */
