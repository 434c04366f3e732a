# Safe programs that the domains do not prove, and twins that are not safe: {a|b} is a in the one and b in the other.
# `.input N` puts the packet's start into r6 and its end into r7 and leaves for `drop` where it has fewer than N bytes;
# `.table` puts the address of 64 bytes of map value into r8.  A number is computed in r3 and used as an index there.

== middle
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 > r4 goto drop
r5 = r4
r5 -= r3
if r5 > {127|129} goto drop
r5 = r3
r5 += r4
r5 >>= 1
r5 -= r3
r3 = r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== square
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 *= r3
if r4 > {4095|4096} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== sum_of_squares
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 *= r3
r2 = r4
r2 *= r4
r5 += r2
if r5 > {4095|4100} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== exchange_by_xor
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 > {63|64} goto drop
r3 ^= r4
r4 ^= r3
r3 ^= r4
r3 = r4
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== power_of_two
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 == 0 goto drop
r4 = r3
r4 += -1
r4 &= r3
if r4 != 0 goto drop
if r3 > {127|128} goto drop
r3 += -1
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== holes
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 == 64 goto drop
if r3 == {65|68} goto drop
if r3 == 66 goto drop
if r3 > 66 goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== remainder_by_hand
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r4 == 0 goto drop
if r4 > {64|65} goto drop
w5 = w3
w5 /= w4
w5 *= w4
w3 -= w5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== last_digit
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 /= 10
r4 *= 10
r3 -= r4
r3 += {54|55}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== least_of_three
.input 3
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = *(u8 *)(r6 + 2)
if r3 < 64 goto known
if r4 < 64 goto known
if r5 < {64|65} goto known
goto drop
known:
if r4 >= r3 goto second
r3 = r4
second:
if r5 >= r3 goto third
r3 = r5
third:
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== distance
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r3 -= r4
r5 = r3
r5 s>>= 63
r3 ^= r5
r3 -= r5
r3 >>= {2|1}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== two_parts
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 > {63|64} goto drop
r5 = r3
r5 &= r4
r4 ^= -1
r3 &= r4
r3 += r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== sum_by_bits
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 += r4
if r5 > {63|64} goto drop
r5 = r3
r5 &= r4
r5 <<= 1
r3 ^= r4
r3 += r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== mean_by_bits
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 > {63|64} goto drop
if r4 > {63|64} goto drop
r5 = r3
r5 &= r4
r3 ^= r4
r3 >>= 1
r3 += r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== distributed
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 <<= 1
r2 = r4
r2 <<= 1
r5 += r2
if r5 > {63|64} goto drop
r3 += r4
r3 *= 2
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== chosen_by_mask
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 -= {64|65}
r4 s>>= 63
r3 &= r4
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== product
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r4 == 0 goto drop
r5 = r3
r5 *= r4
if r5 > {63|64} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== quotient_is_zero
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r4 == 0 goto drop
if r4 > {64|65} goto drop
r5 = r3
r5 /= r4
if r5 != 0 goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== even_and_not
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 == {64|62} goto drop
r4 = r3
r4 &= 1
if r4 != 0 goto drop
if r3 > 65 goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== square_modulo_four
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r3 *= r3
r3 &= 3
r3 += {62|63}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== next_to_each_other
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 += 1
r3 *= r4
r3 &= 1
r3 += {63|64}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== shifted_one
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 > 31 goto drop
r4 = 1
r4 <<= r3
if r4 > {63|127} goto drop
r3 *= 12
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== parity
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 ^= r4
r5 &= 1
if r5 != 0 goto drop
r3 += r4
r3 &= 1
r3 += {63|64}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== greatest_by_mask
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 -= r4
r2 = r5
r2 s>>= 63
r5 &= r2
r3 -= r5
if r3 > {63|64} goto drop
r3 = r4
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== least_by_mask
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 -= r4
r2 = r5
r2 s>>= 63
r5 &= r2
r5 += r4
if r4 > {63|64} goto drop
r3 = r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== length_times_four
.input 1
r3 = *(u8 *)(r6 + 0)
if r3 == 0 goto drop
r4 = r3
r4 <<= 2
r5 = r6
r5 += r4
if r5 > r7 goto drop
r6 += r3
r0 = *(u8 *)(r6 + {0|3})
r0 &= 3
exit

== low_bits_agree
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 ^= r4
r5 &= 240
if r5 != 0 goto drop
if r4 > {63|64} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== counted_bits
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 >>= 1
r4 &= 0x55
r3 -= r4
r4 = r3
r4 &= 0x33
r3 >>= 2
r3 &= 0x33
r3 += r4
r4 = r3
r4 >>= 4
r3 += r4
r3 &= 15
r3 += {55|56}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== difference_of_squares
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r4 > r3 goto drop
r5 = r3
r5 *= r3
r2 = r4
r2 *= r4
r5 -= r2
if r5 > {4095|4096} goto drop
r3 -= r4
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== packed_flags
.input 8
.table
r9 = 0
r5 = *(u8 *)(r6 + 5)
r3 = *(u8 *)(r6 + 0)
if r3 > 63 goto n0
r9 |= 1
n0:
r3 = *(u8 *)(r6 + 1)
if r3 > 63 goto n1
r9 |= 2
n1:
r3 = *(u8 *)(r6 + 2)
if r3 > 63 goto n2
r9 |= 4
n2:
r3 = *(u8 *)(r6 + 3)
if r3 > 63 goto n3
r9 |= 8
n3:
r3 = *(u8 *)(r6 + 4)
if r3 > 63 goto n4
r9 |= 16
n4:
r3 = r5
if r3 > {63|64} goto n5
r9 |= 32
n5:
r3 = *(u8 *)(r6 + 6)
if r3 > 63 goto n6
r9 |= 64
n6:
r3 = *(u8 *)(r6 + 7)
if r3 > 63 goto n7
r9 |= 128
n7:
if r9 != 255 goto drop
r3 = r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== status_of_many
.input 7
.table
r9 = 1
r5 = *(u8 *)(r6 + 3)
r3 = *(u8 *)(r6 + 0)
if r3 < 64 goto f0
r9 <<= 1
r9 += 0
f0:
r3 = *(u8 *)(r6 + 1)
if r3 < 64 goto f1
r9 <<= 1
r9 += 1
f1:
r3 = *(u8 *)(r6 + 2)
if r3 < 64 goto f2
r9 <<= 1
r9 += 2
f2:
r3 = r5
if r3 < {64|65} goto f3
r9 <<= 1
r9 += 3
f3:
r3 = *(u8 *)(r6 + 4)
if r3 < 64 goto f4
r9 <<= 1
r9 += 4
f4:
r3 = *(u8 *)(r6 + 5)
if r3 < 64 goto f5
r9 <<= 1
r9 += 5
f5:
r3 = *(u8 *)(r6 + 6)
if r3 < 64 goto f6
r9 <<= 1
r9 += 6
f6:
if r9 != 1 goto drop
r3 = r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== zero_byte
.input 8
.table
r3 = *(u64 *)(r6 + 0)
r2 = r3
r4 = 0x0101010101010101 ll
r5 = r3
r5 -= r4
r3 ^= -1
r5 &= r3
r4 = 0x8080808080808080 ll
r5 &= r4
if r5 != 0 goto drop
r3 = r2
r3 >>= 16
r3 &= 255
r3 -= {1|2}
r3 >>= 2
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== cube
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 *= r3
r4 *= r3
if r4 > {262143|262144} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== product_of_successors
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 += 1
r2 = r4
r2 += 1
r5 *= r2
if r5 > {64|65} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== square_and_itself
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 *= r3
r4 += r3
if r4 > {4159|4160} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== or_and_and
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 += r4
if r5 > {63|64} goto drop
r5 = r3
r5 &= r4
r3 |= r4
r3 += r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== sum_without_xor
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 += r4
if r5 > 63 goto drop
r2 = r3
r2 ^= r4
{r5 -= r2|r2 -= r5}
{r3 = r5|r3 = r2}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== or_without_and
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 > 63 goto drop
if r4 > 63 goto drop
r5 = r3
r5 |= r4
r3 &= r4
{r5 -= r3|r3 -= r5}
{r3 = r5|r4 = r5}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== minus_common_bits
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 > {63|64} goto drop
r4 &= r3
r3 -= r4
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== or_minus
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 > 63 goto drop
if r4 > 63 goto drop
r5 = r3
r5 |= r4
r5 -= {r4|63}
r3 = r5
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== least_and_greatest
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r5 = r3
r5 += r4
if r5 > {63|64} goto drop
r5 = r3
r5 -= r4
r2 = r5
r2 s>>= 63
r5 &= r2
r3 -= r5
r4 += r5
r3 += r4
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== square_of_distance
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r4 > r3 goto drop
r3 -= r4
r5 = r3
r5 *= r3
if r5 > {4095|4096} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== triangle
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 += 1
r4 *= r3
r4 >>= 1
if r4 > {2079|2080} goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== same_multiple
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r4 > {63|64} goto drop
r5 = r3
r5 *= 171
r5 &= 255
r2 = r4
r2 *= 171
r2 &= 255
if r5 != r2 goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== inverse
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 > {63|64} goto drop
r3 *= 171
r3 &= 255
r3 *= 3
r3 &= 255
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== decimal
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 > {63|64} goto drop
r4 = r3
r4 /= 10
r3 %= 10
r4 *= 10
r3 += r4
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== halves_of_a_byte
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 > {40|41} goto drop
r4 = r3
r4 >>= 4
r4 <<= 4
r3 &= 15
r3 += r4
r3 += 23
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== residue
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 > {72|73} goto drop
r4 = r3
r4 %= 10
if r4 != 3 goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== two_residues
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 > {69|70} goto drop
r4 = r3
r4 %= 5
if r4 != 0 goto drop
r4 = r3
r4 %= 7
if r4 != 0 goto drop
r3 += 28
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== square_modulo_sixteen
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r3 *= r3
r3 &= 15
r3 += {54|55}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== bits_and_others
.input 1
.table
r3 = *(u8 *)(r6 + 0)
r4 = r3
r4 ^= 255
r5 = 0
r2 = r3
r2 >>= 0
r2 &= 1
r5 += r2
r2 = r3
r2 >>= 1
r2 &= 1
r5 += r2
r2 = r3
r2 >>= 2
r2 &= 1
r5 += r2
r2 = r3
r2 >>= 3
r2 &= 1
r5 += r2
r2 = r3
r2 >>= 4
r2 &= 1
r5 += r2
r2 = r3
r2 >>= 5
r2 &= 1
r5 += r2
r2 = r3
r2 >>= 6
r2 &= 1
r5 += r2
r2 = r3
r2 >>= 7
r2 &= 1
r5 += r2
r2 = r4
r2 >>= 0
r2 &= 1
r5 += r2
r2 = r4
r2 >>= 1
r2 &= 1
r5 += r2
r2 = r4
r2 >>= 2
r2 &= 1
r5 += r2
r2 = r4
r2 >>= 3
r2 &= 1
r5 += r2
r2 = r4
r2 >>= 4
r2 &= 1
r5 += r2
r2 = r4
r2 >>= 5
r2 &= 1
r5 += r2
r2 = r4
r2 >>= 6
r2 &= 1
r5 += r2
r2 = r4
r2 >>= 7
r2 &= 1
r5 += r2
r3 = r5
r3 += {55|56}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== exchange_by_mask
.input 2
.table
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 > 63 goto drop
if r4 > 63 goto drop
r5 = r4
r5 -= r3
r5 s>>= 63
r2 = r3
r2 ^= r4
r2 &= r5
r3 ^= r2
r4 ^= r2
{r4 -= r3|r3 -= r4}
{r3 = r4|r4 = r3}
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== last_of_table
.input 2
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 == 0 goto drop
if r4 == 0 goto drop
r5 = r3
r5 *= r4
r2 = r6
r2 += r5
if r2 > r7 goto drop
r3 += -1
r3 *= r4
r3 += r4
r6 += r3
r0 = *(u8 *)(r6 - {1|0})
r0 &= 3
exit

== element_of_array
.input 2
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
if r3 >= r4 goto drop
r5 = r4
r5 *= 4
r2 = r6
r2 += r5
if r2 > r7 goto drop
r3 *= 4
r6 += r3
r0 = *(u8 *)(r6 + {3|4})
r0 &= 3
exit

== root
.input 3
.table
r3 = *(u16 *)(r6 + 0)
r4 = *(u8 *)(r6 + 2)
if r3 > {4095|4096} goto drop
r5 = r4
r5 *= r4
if r5 > r3 goto drop
r3 = r4
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit

== eights_without
.input 1
.table
r3 = *(u8 *)(r6 + 0)
if r3 == {64|56} goto drop
r4 = r3
r4 &= 7
if r4 != 0 goto drop
if r3 > 71 goto drop
r8 += r3
r0 = *(u8 *)(r8 + 0)
r0 &= 3
exit
