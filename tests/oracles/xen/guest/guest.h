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

#define WINDOW 0xffff960000000000UL
/* Memory for hypercall arguments: two pages, a hole, the first page read-only, the first frame of the grant table, a
 * page that only a reset uses, the first frame of the other domain's grant table. */
#define SCRATCH (WINDOW + (2UL << 21))
#define SCRATCH_BYTES (2UL * PAGE_SIZE)
#define SCRATCH_READ_ONLY (SCRATCH + 3UL * PAGE_SIZE)
#define GRANTS (SCRATCH + 4UL * PAGE_SIZE)
#define SPARE (SCRATCH + 5UL * PAGE_SIZE)
#define FOREIGN_GRANTS (SCRATCH + 6UL * PAGE_SIZE)

#define DOMID_SELF 0x7ff0

#define P 1UL
#define RW 2UL
#define US 4UL
#define A 0x20UL
#define D 0x40UL
#define G 0x100UL
#define NX (1UL << 63)
#define MFN 0x000ffffffffff000UL

#define EXT_UNPIN 4
#define EXT_NEW_BASEPTR 5
#define EXT_TLB_FLUSH_LOCAL 6
#define EXT_INVLPG_LOCAL 7
#define EXT_SET_LDT 13
#define EXT_NEW_USER_BASEPTR 15
#define EXT_CLEAR_PAGE 16
#define EXT_COPY_PAGE 17

extern struct mailbox mailbox;
extern u64 kernel_root, user_root;
extern const u8 access_number[];

s64 hypercall(unsigned nr, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5);
s64 mmuext(u32 cmd, u64 arg1, u64 arg2);
s64 set_entry(u64 mfn, u64 slot, u64 val);
void must(const char *what, s64 rc);
void *memset(void *to, int byte, u64 n);
u64 mfn_of(const void *p);

/* Is the frame a table or page of this kernel that programs have a name for, as a target only? */
int is_fixed(u64 mfn);
/* Would the request take this kernel's own tables, slots or pages from under it? */
int cuts_the_branch(const struct mmu_update *u);
/* The entries of a frame that programs have a name for, 0 for another frame. */
const u64 *entries_of(u64 mfn);
/* Is there nothing for this kernel to stand on in the new root? */
int root_without_kernel(u64 mfn);
/* Is the L1 that serves va one of this kernel's own? */
int lies_in_own_tables(u64 va);

/* Call an access function of boot.S with the operation's a, b and c, in user mode if `user`. */
void make_access(const struct op *op, struct res *r, const u8 *function, int user);

/* The last trap, as an outcome. */
void fault_of(struct res *r);

/* descriptor.c: operations 32 to 39. */
void do_descriptor(const struct op *op, struct res *r);

/* grant.c: operations 50 to 59. */
enum word { WORD_THERE, WORD_FAULTS, WORD_UNKNOWN };

/* n words from va on, as Xen will find them; the first that is not there decides. */
enum word words_at(u64 va, u64 *ret, u32 n);
void do_handle(const struct op *op, struct res *r);
void fill_scratch(u64 *l1);
void init_grants(u64 scratch_l1);
/* When the other domain is there. */
void init_foreign_grants(u64 scratch_l1);
u64 reset_grants(void);

/* repeat.c: operation 60. */
void do_repeat(const struct op *op, struct res *r);

void *memcpy(void *to, const void *from, u64 n);
void *memset(void *to, int byte, u64 n);
_Noreturn void die(const char *what, u64 n);

/* memory.c: the other domain, frames that come and go, operations 40 to 49. */
void init_memory(void);
const struct memory_page *memory_page(void);
void do_memory(const struct op *op, struct res *r);
/* Put the frames that names stand for by now into the words of an operation. */
void resolve_names(struct op *op);
int is_named(u64 mfn);
u64 names_left(void);
void name_list(u64 va, u64 n, u64 order);

/* memop.c: memory_op with its structures in memory. */
int bad_memory_op(const u64 *args, int nested);
u64 note_memory_op(const u64 *args, s64 rc);
/* The two halves of its part in OP_RESET, before and after the pool is cleared; frames that Xen would not let go. */
void unpin_memory(void);
u64 return_memory(void);

#endif
