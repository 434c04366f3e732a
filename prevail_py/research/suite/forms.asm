# Programs as compilers and people write them by hand.  A section `== name` is a pair: {a|b} is a in the safe program
# and b in its twin.  `.input N` puts the packet's start into r6 and its end into r7 and leaves for `drop` where it has
# fewer than N bytes; `.table` puts the address of 64 bytes of map value into r8.

== loop_jmp32
.input 1
.table
r2 = *(u8 *)(r6 + 0)
w2 &= {63|127}
r3 = 0
r0 = 0
again:
r4 = r8
r4 += r3
r5 = *(u8 *)(r4 + 0)
r0 += r5
w3 += 1
if w3 < w2 goto again
r0 &= 3
exit

== loop_counter_in_memory
.table
r1 = 0
*(u32 *)(r10 - 4) = r1
again:
r1 = *(u32 *)(r10 - 4)
if w1 > {63|64} goto drop
r2 = r8
r2 += r1
r3 = *(u8 *)(r2 + 0)
r1 += 1
*(u32 *)(r10 - 4) = r1
goto again

== loop_by_shifted_counter
.table
r1 = 0
r0 = 0
again:
r2 = r1
r2 <<= 32
r2 s>>= 32
r3 = r8
r3 += r2
r4 = *(u8 *)(r3 + 0)
r0 += r4
r1 += 1
r2 = r1
r2 <<= 32
r2 >>= 32
if r2 != {64|65} goto again
r0 &= 3
exit

== loop_up_to_unknown
.input 4
.table
r2 = *(u32 *)(r6 + 0)
if w2 s> {64|65} goto drop
if w2 s< 1 goto drop
r3 = 0
again:
r4 = r8
r4 += r3
r5 = *(u8 *)(r4 + 0)
r3 += 1
if r3 != r2 goto again
r0 = 2
exit

== loop_down_signed
.table
r3 = 63
again:
r4 = r8
r4 += r3
r5 = *(u8 *)(r4 + 0)
r3 += -1
if r3 s> {-1|-2} goto again
r0 = 2
exit

== loop_pointer_to_end
.table
r1 = r8
r2 = r8
r2 += {64|72}
again:
r3 = *(u64 *)(r1 + 0)
r1 += 8
if r1 != r2 goto again
r0 = 2
exit

== loop_two_exits
.input 16
.table
r1 = 0
again:
if r1 > {15|24} goto done
r2 = r6
r2 += r1
r3 = *(u8 *)(r2 + 0)
if r3 == 0 goto done
r1 += 1
goto again
done:
r8 += r1
r0 = *(u8 *)(r8 + 47)
r0 &= 3
exit

== loop_stride_sixteen
.table
r1 = 0
again:
r2 = r8
r2 += r1
r3 = *(u64 *)(r2 + {8|16})
r1 += 16
if r1 < 64 goto again
r0 = 2
exit

== loop_restarted
.input 2
.table
r1 = 0
r2 = 0
again:
r3 = r8
r3 += r1
r4 = *(u8 *)(r3 + 0)
r2 += 1
if r2 > 100 goto done
r1 += 1
if r1 {<|<=} 64 goto again
r1 = 0
goto again
done:
r0 = 2
exit

== nested_on_stack
.table
r1 = 0
*(u64 *)(r10 - 8) = r1
rows:
r1 = 0
*(u64 *)(r10 - 16) = r1
columns:
r1 = *(u64 *)(r10 - 8)
r1 <<= 3
r2 = *(u64 *)(r10 - 16)
r1 += r2
r3 = r8
r3 += r1
r4 = *(u8 *)(r3 + 0)
r2 += 1
*(u64 *)(r10 - 16) = r2
if r2 < {8|9} goto columns
r1 = *(u64 *)(r10 - 8)
r1 += 1
*(u64 *)(r10 - 8) = r1
if r1 < 8 goto rows
r0 = 2
exit

== any_bit_set
.input 4
.table
r2 = *(u32 *)(r6 + 0)
if r2 & {-64|-128} goto drop
r8 += r2
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== compared_low_half
.input 8
.table
r2 = *(u64 *)(r6 + 0)
if w2 > 63 goto drop
{w2 = w2|r2 = r2}
r8 += r2
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== masked_then_scaled
.input 1
.table
r2 = *(u8 *)(r6 + 0)
r2 &= {7|15}
r2 <<= 3
r8 += r2
r0 = *(u64 *)(r8 + 0)
r0 &= 3
exit

== signed_division
.input 1
.table
r2 = *(s8 *)(r6 + 0)
r2 s/= {4|2}
r2 += 32
r8 += r2
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== negated
.input 1
.table
r2 = *(u8 *)(r6 + 0)
r2 &= 63
r2 = -r2
r8 += {63|62}
r8 += r2
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== difference_of_bytes
.input 2
.table
r2 = *(u8 *)(r6 + 0)
r3 = *(u8 *)(r6 + 1)
if r3 > r2 goto drop
r2 -= r3
if r2 > {63|64} goto drop
r8 += r2
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== arithmetic_shift
.input 4
.table
r2 = *(u32 *)(r6 + 0)
w2 s>>= {26|25}
w2 += 32
r8 += r2
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== exclusive_or
.input 2
.table
r2 = *(u8 *)(r6 + 0)
r3 = *(u8 *)(r6 + 1)
r2 &= 63
r3 &= {31|127}
r2 ^= r3
r8 += r2
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== spilled_index
.input 2
.table
r2 = *(u16 *)(r6 + 0)
*(u32 *)(r10 - 4) = r2
if w2 > {63|64} goto drop
r3 = *(u32 *)(r10 - 4)
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== narrow_fill
.input 4
.table
r2 = *(u32 *)(r6 + 0)
r2 &= {63|127}
*(u64 *)(r10 - 8) = r2
r3 = *(u8 *)(r10 - 8)
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== overwritten_in_part
.input 1
.table
r2 = *(u8 *)(r6 + 0)
r2 &= 63
*(u64 *)(r10 - 8) = r2
r4 = {0|1}
*(u8 *)(r10 - 7) = r4
r3 = *(u16 *)(r10 - 8)
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== spilled_pointer
.input 4
.table
*(u64 *)(r10 - 8) = r6
{r0 = 0|*(u8 *)(r10 - 3) = r0}
r6 = *(u64 *)(r10 - 8)
r0 = *(u8 *)(r6 + 3)
r0 &= 3
exit

== checked_copy
.input 1
r2 = *(u8 *)(r6 + 0)
r3 = r6
r3 += r2
r4 = r3
r4 += {4|3}
if r4 > r7 goto drop
r0 = *(u32 *)(r3 + 0)
r0 &= 3
exit

== end_first
.input 0
r2 = r6
r2 += 8
r0 = 2
if r7 >= r2 goto inside
goto drop
inside:
r0 = *(u64 *)(r6 + {0|1})
r0 &= 3
exit

== remaining_bytes
.input 0
r2 = r7
r2 -= r6
if r2 < 14 goto drop
r3 = *(u8 *)(r6 + 13)
r2 += -14
if r2 < {20|19} goto drop
r0 = *(u8 *)(r6 + 33)
r0 &= 3
exit

== null_twice
r1 = 0
*(u32 *)(r10 - 4) = r1
r2 = r10
r2 += -4
r1 = map[idx:0] ll
call 1
r6 = r0
if r6 == 0 goto drop
r1 = {0|1}
*(u32 *)(r10 - 4) = r1
r2 = r10
r2 += -4
r1 = map[idx:0] ll
call 1
{if r0 == 0 goto drop|if r6 == 0 goto drop}
r0 = *(u8 *)(r0 + 0)
r0 &= 3
exit

== flag_in_high_bits
.input 1
r2 = *(u8 *)(r6 + 0)
r3 = 0
r4 = r6
r4 += 20
if r4 > r7 goto short
r3 = 256
short:
r2 |= r3
if r2 & {256|511} goto long
goto drop
long:
r0 = *(u8 *)(r6 + 19)
r0 &= 3
exit

== chosen_length
.input 2
r2 = *(u8 *)(r6 + 0)
r3 = 2
if r2 == 0 goto check
r3 = 10
if r2 == 1 goto check
r3 = {18|17}
check:
r4 = r6
r4 += r3
if r4 > r7 goto drop
if r2 == 0 goto small
if r2 == 1 goto middle
r0 = *(u8 *)(r6 + 17)
r0 &= 3
exit
middle:
r0 = *(u8 *)(r6 + 9)
r0 &= 3
exit
small:
r0 = *(u8 *)(r6 + 1)
r0 &= 3
exit

== atomic_on_stack
.input 1
r2 = *(u8 *)(r6 + 0)
r2 &= {15|31}
*(u64 *)(r10 - 8) = r2
r3 = 1
r0 = 0
lock *(u64 *)(r10 - 8) += r3
r4 = *(u64 *)(r10 - 8)
if r4 > {16|32} goto drop
r5 = r10
r5 -= r4
r1 = 0
*(u64 *)(r10 - 16) = r1
*(u64 *)(r10 - 24) = r1
r0 = *(u8 *)(r5 - 8)
r0 &= 3
exit

== stack_row
.input 1
r2 = *(u8 *)(r6 + 0)
r2 &= {24|56}
r1 = 0
*(u64 *)(r10 - 8) = r1
*(u64 *)(r10 - 16) = r1
*(u64 *)(r10 - 24) = r1
*(u64 *)(r10 - 32) = r1
r3 = r10
r3 += -32
r3 += r2
r0 = *(u64 *)(r3 + 0)
r0 &= 3
exit
