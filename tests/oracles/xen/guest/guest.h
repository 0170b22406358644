/*
 * guest.h - what the files of the guest share.
 *
 * Knows: the calls of guest.c that operations are made of.  Does not know: the operations.
 */
#ifndef ORACLE_GUEST_H
#define ORACLE_GUEST_H

#include "abi.h"

/* rc of an operation that would end the guest rather than test anything */
#define RC_SKIPPED 0x7777

s64 hypercall(unsigned nr, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5);

/* Is the frame a table or page of this kernel that programs have a name for, as a target only? */
int is_fixed(u64 mfn);

/* Call an access function of boot.S with the operation's a, b and c, in user mode if `user`. */
void make_access(const struct op *op, struct res *r, const u8 *function, int user);

/* descriptor.c: operations 32 to 39. */
void do_descriptor(const struct op *op, struct res *r);

/* repeat.c: operation 60. */
void do_repeat(const struct op *op, struct res *r);

#endif
