# Programs that are not safe, over all kinds of violations: a section `== name kind [program type]`.  Maps are, by index:
# 0 array of 16 x 64 bytes, 1 hash of 128 x 48 bytes with keys of 8, 2 read-only data, 3 ring buffer, 4 array of programs.
# `.input N` puts the packet's start into r6 and its end into r7.

== register_on_one_path uninitialised-register
.input 1
r3 = *(u8 *)(r6 + 0)
if r3 != 77 goto skip
r4 = 5
skip:
if r3 > 90 goto drop
r0 = r4
r0 &= 3
exit

== argument_after_call uninitialised-register
call 7
r0 = 0
if r1 > 3 goto drop
exit

== callee_reads_what_is_not_there uninitialised-register
r1 = *(u32 *)(r1 + 12)
call local odd
r0 &= 3
exit
odd:
if r1 & 1 goto yes
r0 = 0
exit
yes:
r0 = r8
exit

== no_result uninitialised-register
r1 = 0
exit

== number_as_pointer not-a-pointer
.input 8
r3 = *(u64 *)(r6 + 0)
if r3 < 4096 goto drop
r0 = *(u8 *)(r3 + 0)
r0 &= 3
exit

== pointer_from_before_the_packet_moved not-a-pointer
.input 20
r8 = r1
r2 = 4
call 44
if r0 != 0 goto drop
r0 = *(u8 *)(r6 + 0)
r0 &= 3
exit

== frame_that_returned not-a-pointer
r9 = 0
r1 = r10
r1 += -8
*(u64 *)(r10 - 8) = r9
call local give
r1 = *(u64 *)(r10 - 8)
r0 = *(u8 *)(r1 + 0)
r0 &= 3
exit
give:
r2 = r10
r2 += -8
r3 = 0
*(u64 *)(r2 + 0) = r3
*(u64 *)(r1 + 0) = r2
r0 = 0
exit

== record_that_was_submitted not-a-pointer
r1 = map[idx:3] ll
r2 = 16
r3 = 0
call 131
if r0 == 0 goto drop
r6 = r0
r1 = r0
r2 = 0
call 132
r0 = *(u8 *)(r6 + 0)
r0 &= 3
exit

== a_map_is_no_memory not-a-pointer
r1 = map[idx:0] ll
r0 = *(u8 *)(r1 + 0)
r0 &= 3
exit

== not_in_the_table null-dereference
.input 8
r3 = *(u64 *)(r6 + 0)
*(u64 *)(r10 - 8) = r3
r2 = r10
r2 += -8
r1 = map[idx:1] ll
call 1
r0 = *(u8 *)(r0 + 3)
r0 &= 3
exit

== index_too_large null-dereference
.input 4
r3 = *(u32 *)(r6 + 0)
if r3 > 16 goto drop
*(u32 *)(r10 - 4) = r3
r2 = r10
r2 += -4
r1 = map[idx:0] ll
call 1
r0 = *(u8 *)(r0 + 3)
r0 &= 3
exit

== tested_the_other_one null-dereference
.input 8
r3 = *(u64 *)(r6 + 0)
*(u64 *)(r10 - 8) = r3
r2 = r10
r2 += -8
r1 = map[idx:1] ll
call 1
r8 = r0
r3 = *(u64 *)(r6 + 0)
r3 += 1
*(u64 *)(r10 - 8) = r3
r2 = r10
r2 += -8
r1 = map[idx:1] ll
call 1
if r0 == 0 goto drop
r0 = *(u8 *)(r8 + 3)
r0 &= 3
exit

== found_and_deleted null-dereference
.input 8
r3 = *(u64 *)(r6 + 0)
*(u64 *)(r10 - 8) = r3
r2 = r10
r2 += -8
r1 = map[idx:1] ll
call 1
if r0 == 0 goto drop
r2 = r10
r2 += -8
r1 = map[idx:1] ll
call 3
r2 = r10
r2 += -8
r1 = map[idx:1] ll
call 1
r0 = *(u8 *)(r0 + 0)
r0 &= 3
exit

== one_byte_too_far out-of-bounds
.input 14
r0 = *(u8 *)(r6 + 14)
r0 &= 3
exit

== product_of_lengths out-of-bounds
.input 2
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r3 *= r4
if r3 == 0 goto drop
r2 = r6
r2 += r3
if r2 > r7 goto drop
r0 = *(u8 *)(r2 + 0)
r0 &= 3
exit

== hash_of_a_byte out-of-bounds
.input 4
r3 = *(u32 *)(r6 + 0)
w3 *= 0x1e35a7bd
w3 >>= 26
r4 = 3
*(u32 *)(r10 - 4) = r4
r2 = r10
r2 += -4
r1 = map[idx:0] ll
r9 = r3
call 1
if r0 == 0 goto drop
r0 += r9
r0 = *(u16 *)(r0 + 0)
r0 &= 3
exit

== content_of_a_map_as_index out-of-bounds
r4 = 3
*(u32 *)(r10 - 4) = r4
r2 = r10
r2 += -4
r1 = map[idx:0] ll
call 1
if r0 == 0 goto drop
r3 = *(u32 *)(r0 + 8)
if r3 > 64 goto drop
r0 += r3
r0 = *(u8 *)(r0 + 0)
r0 &= 3
exit

== below_the_stack out-of-bounds
.input 1
r3 = *(u8 *)(r6 + 0)
r3 <<= 3
r2 = r10
r2 -= r3
r4 = 1
*(u64 *)(r2 - 8) = r4
r0 = 0
exit

== signed_bound_only out-of-bounds
.input 4
r3 = *(s32 *)(r6 + 0)
if r3 s> 40 goto drop
r4 = 3
*(u32 *)(r10 - 4) = r4
r2 = r10
r2 += -4
r1 = map[idx:0] ll
r9 = r3
call 1
if r0 == 0 goto drop
r0 += r9
r0 = *(u8 *)(r0 + 0)
r0 &= 3
exit

== loop_one_turn_too_many out-of-bounds
.input 8
r3 = 0
r0 = 0
again:
r4 = r6
r4 += r3
r5 = *(u8 *)(r4 + 0)
r0 += r5
r3 += 1
if r3 <= 8 goto again
r0 &= 3
exit

== random_offset out-of-bounds
.input 4
call 7
if r0 > 4 goto drop
r6 += r0
r0 = *(u8 *)(r6 + 0)
r0 &= 3
exit

== hole_in_a_structure uninitialised-memory
r1 = 7
*(u32 *)(r10 - 8) = r1
r0 = *(u64 *)(r10 - 8)
r0 &= 3
exit

== written_on_one_path uninitialised-memory
.input 2
r3 = *(u8 *)(r6 + 0)
r4 = *(u8 *)(r6 + 1)
r3 *= 3
if r3 != r4 goto skip
r5 = 1
*(u64 *)(r10 - 8) = r5
skip:
r0 = *(u8 *)(r10 - 8)
r0 &= 3
exit

== below_what_was_written uninitialised-memory
.input 1
r3 = *(u8 *)(r6 + 0)
r3 &= 15
r4 = 0
*(u64 *)(r10 - 8) = r4
*(u64 *)(r10 - 16) = r4
r2 = r10
r2 -= r3
r0 = *(u8 *)(r2 - 2)
r0 &= 3
exit

== constants_do_not_change read-only
.input 1
r3 = *(u8 *)(r6 + 0)
if r3 != 9 goto drop
r1 = map[idx:2][0]+0 ll
*(u8 *)(r1 + 0) = r3
r0 = 0
exit

== frame_pointer read-only
r10 += 8
r0 = 0
exit

== sockets_do_not_write_packets read-only cgroup_skb
r2 = *(u32 *)(r1 + 76)
r3 = *(u32 *)(r1 + 80)
r4 = r2
r4 += 4
r0 = 1
if r4 > r3 goto out
*(u8 *)(r2 + 0) = r0
out:
exit

== field_of_another_width context-access
r0 = *(u8 *)(r1 + 1)
r0 &= 3
exit

== behind_the_context context-access
r0 = *(u32 *)(r1 + 24)
r0 &= 3
exit

== field_that_is_only_read context-access
r2 = 5
*(u32 *)(r1 + 16) = r2
r0 = 0
exit

== product_with_a_pointer pointer-arithmetic
.input 1
r6 *= 2
r0 = 0
exit

== half_an_address pointer-arithmetic
.input 1
r3 = *(u8 *)(r6 + 0)
if r3 != 200 goto drop
w6 += 1
r0 = 0
exit

== between_two_regions pointer-arithmetic
.input 1
r3 = r10
r3 -= r6
r0 = 0
exit

== address_in_a_map pointer-leak
r4 = 3
*(u32 *)(r10 - 4) = r4
r2 = r10
r2 += -4
r1 = map[idx:0] ll
call 1
if r0 == 0 goto drop
*(u64 *)(r0 + 0) = r10
r0 = 0
exit

== address_as_result pointer-leak
.input 1
r3 = *(u8 *)(r6 + 0)
r0 = 0
if r3 < 250 goto out
r0 = r6
out:
exit

== half_of_it_on_the_stack pointer-leak
*(u32 *)(r10 - 8) = r10
r0 = 0
exit

== no_such_helper helper-unavailable
.input 1
r3 = *(u8 *)(r6 + 0)
if r3 & 64 goto call
goto drop
call:
call 9999
r0 = 0
exit

== helper_of_another_type helper-unavailable
r2 = 0
r3 = 0
r4 = 0
r5 = 0
call 9
r0 = 0
exit

== size_from_the_packet helper-argument
.input 2
r3 = *(u8 *)(r6 + 0)
r4 = 0
*(u64 *)(r10 - 8) = r4
*(u64 *)(r10 - 16) = r4
r1 = 0
r2 = 0
r3 &= 28
r4 = r3
r3 = r10
r3 += -16
r5 = 0
call 28
r0 = 0
exit

== key_that_is_not_written helper-argument
r2 = r10
r2 += -8
r1 = 5
*(u32 *)(r10 - 8) = r1
r1 = map[idx:1] ll
call 1
r0 = 0
exit

== number_as_map helper-argument
.input 8
r1 = *(u64 *)(r6 + 0)
r4 = 3
*(u32 *)(r10 - 4) = r4
r2 = r10
r2 += -4
call 1
r0 = 0
exit

== result_from_the_packet return-range cgroup_skb
r2 = *(u32 *)(r1 + 76)
r3 = *(u32 *)(r1 + 80)
r4 = r2
r4 += 4
r0 = 1
if r4 > r3 goto out
r0 = *(u8 *)(r2 + 0)
r0 *= r0
if r0 > 9 goto one
exit
one:
r0 = 1
out:
exit

== negative_result return-range cgroup_skb
r0 = -1
exit

== nine_frames call-depth
r1 = 1
call local f1
r0 = 0
exit
f1:
call local f2
exit
f2:
call local f3
exit
f3:
call local f4
exit
f4:
call local f5
exit
f5:
call local f6
exit
f6:
call local f7
exit
f7:
call local f8
exit
f8:
r0 = 0
exit

== record_that_is_kept unreleased-reference
.input 1
r8 = *(u8 *)(r6 + 0)
r1 = map[idx:3] ll
r2 = 16
r3 = 0
call 131
if r0 == 0 goto drop
if r8 == 3 goto drop
r1 = r0
r2 = 0
call 132
r0 = 0
exit

== record_and_tail_call unreleased-reference
r9 = r1
r1 = map[idx:3] ll
r2 = 16
r3 = 0
call 131
if r0 == 0 goto drop
r6 = r0
r1 = r9
r2 = map[idx:4] ll
r3 = 0
call 12
r1 = r6
r2 = 0
call 133
r0 = 0
exit
