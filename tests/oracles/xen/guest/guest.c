/*
 * guest.c - a PV64 dom0 that does what a mailbox in its memory says: hypercalls, loads, stores and fetches, one after
 * another, each with its outcome written beside it.
 *
 * Knows: how to start under Xen, the base state that every program begins with, the mailbox (abi.h).
 * Does not know: what is right; frame numbers and addresses come from the host and go back to it as they are.
 *
 *	0xffffffff80000000	this image and the boot tables (L4 slot 511)
 *	0xffff960000000000	read-only window on the pool, frame i at i * 4096 (L4 slot 300)
 *	0xffff960000400000	memory for hypercall arguments (guest.h)
 *	0xffff968000000000	the access functions for user mode, then a page of ud2 (L4 slot 301)
 */
#include "guest.h"

#define WINDOW_SLOT 300
#define USER_STUB 0xffff968000000000UL
#define STUB_SLOT 301
#define KERNEL_SLOT 511

#define DESCRIPTOR_PRESENT (1UL << 47)

#define MACHPHYS_UPDATE 1
#define BASE_M2P 0x1000 /* what the table holds for a pool frame in the base state */

#define MAX_MULTICALL 8
#define DONE_UNTOUCHED 0x5555

/* Frames of this image that become page tables or are shared: never written through the boot map again. */
static struct {
	u64 window_l3[512], window_l2[512], window_l1[512];
	u64 stub_l3[512], stub_l2[512], stub_l1[512];
	u64 scratch_l1[512];
	u8 stub[PAGE_SIZE];
	u8 ud[PAGE_SIZE];
} fixed __attribute__((aligned(PAGE_SIZE)));

struct mailbox mailbox __attribute__((aligned(PAGE_SIZE)));
static struct op ops[MAX_OPS] __attribute__((aligned(PAGE_SIZE)));
static struct res results[MAX_OPS] __attribute__((aligned(PAGE_SIZE)));
static u64 pool[POOL_FRAMES] __attribute__((aligned(PAGE_SIZE)));
static u64 scratch[512] __attribute__((aligned(PAGE_SIZE)));
static union {
	struct mmu_update update[MAX_OPS];
	struct mmuext_op ext[MAX_OPS];
	struct multicall_entry call[MAX_OPS / 2];
} elements __attribute__((aligned(PAGE_SIZE)));

static const struct start_info *start;
static u64 *boot_l4;
u64 kernel_root, user_root;
static volatile u64 *upcall_cr2;
u64 shared_info_page[512] __attribute__((aligned(PAGE_SIZE)));

static struct {
	u32 vector, error_code, user;
	u64 cr2, rip;
} trap;

extern u8 hypercall_page[], trap_entries[], trap_stack_top[], access_start[], access_end[], access_in_user;
extern u8 access_load1[], access_store1[], access_cmpxchg1[], access_fetch[];
extern void syscall_entry(void), failsafe_entry(void), event_entry(void);
extern u64 guard_sp;

int guarded(const void *function, u64 a, u64 b, u64 c, u64 *value_ret);
int user_call(u64 rip, u64 a, u64 b, u64 c, u64 *value_ret);
_Noreturn void abandon(void);
_Noreturn void on_trap(const u64 *frame, u32 vector, u32 has_error_code);
_Noreturn void guest_main(const struct start_info *si);

/* ---- Xen ---------------------------------------------------------------------------------------------------------- */

s64 hypercall(unsigned nr, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5)
{
	register u64 r10 __asm__("r10") = a4, r8 __asm__("r8") = a5;
	const u8 *stub = HYPERCALL_STUB(nr);
	s64 rc;

	__asm__ volatile("call *%6"
			 : "=a"(rc), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10), "+r"(r8)
			 : "b"(stub)
			 : "memory", "rcx", "r11");
	return rc;
}

static s64 mmu_update(const struct mmu_update *reqs, u32 count, u64 *done, u64 fd)
{
	return hypercall(HC_mmu_update, (u64)reqs, count, (u64)done, fd, 0);
}

s64 mmuext(u32 cmd, u64 arg1, u64 arg2)
{
	struct mmuext_op op = {cmd, 0, arg1, arg2};

	return hypercall(HC_mmuext_op, (u64)&op, 1, 0, DOMID_SELF, 0);
}

s64 set_entry(u64 mfn, u64 slot, u64 val)
{
	struct mmu_update u = {(mfn << 12) + slot * 8, val};

	return mmu_update(&u, 1, 0, DOMID_SELF);
}

static void print(const char *s)
{
	u64 n = 0;

	while (s[n])
		n++;
	hypercall(HC_console_io, 0, n, (u64)s, 0, 0);
}

static void print_number(const char *what, u64 n)
{
	char text[18];

	print(what);
	for (int i = 0; i < 16; i++)
		text[i] = "0123456789abcdef"[n >> (60 - 4 * i) & 15];
	text[16] = '\n';
	text[17] = 0;
	print(text);
}

_Noreturn void die(const char *what, u64 n)
{
	print_number(what, n);
	print("oracle: dead\n");
	for (;;)
		hypercall(HC_sched_op, 0 /* yield */, 0, 0, 0, 0);
}

void must(const char *what, s64 rc)
{
	if (rc)
		die(what, (u64)rc);
}

/* ---- traps -------------------------------------------------------------------------------------------------------- */

void *memcpy(void *to, const void *from, u64 n)
{
	void *t = to;

	__asm__ volatile("rep movsb" : "+D"(t), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memset(void *to, int byte, u64 n)
{
	void *t = to;
	u64 words = n / 8, rest = n % 8, word = (byte & 0xff) * 0x0101010101010101UL;

	__asm__ volatile("rep stosq" : "+D"(t), "+c"(words) : "a"(word) : "memory");
	__asm__ volatile("rep stosb" : "+D"(t), "+c"(rest) : "a"(word) : "memory");
	return to;
}

/* frame: rcx, r11, the error code where the vector has one, rip, cs, rflags, rsp, ss */
_Noreturn void on_trap(const u64 *frame, u32 vector, u32 has_error_code)
{
	trap.vector = vector;
	trap.error_code = has_error_code ? (u32)frame[2] : 0;
	trap.rip = frame[2 + has_error_code];
	trap.user = (frame[3 + has_error_code] & 3) == 3;
	trap.cr2 = vector == VECTOR_PF ? *upcall_cr2 : 0;
	if (!guard_sp) {
		print_number("oracle: trap ", vector);
		print_number("oracle: error code ", trap.error_code);
		print_number("oracle: cr2 ", *upcall_cr2);
		die("oracle: rip ", trap.rip);
	}
	abandon();
}

static void init_traps(void)
{
	static struct trap_info table[33];

	for (u32 v = 0; v < 32; v++)
		table[v] = (struct trap_info){(u8)v, v == 3 || v == 4 ? 3 : 0, FLAT_CS, (u64)trap_entries + 16UL * v};
	must("oracle: set_trap_table ", hypercall(HC_set_trap_table, (u64)table, 0, 0, 0, 0));
	must("oracle: set_callbacks ",
	     hypercall(HC_set_callbacks, (u64)event_entry, (u64)failsafe_entry, (u64)syscall_entry, 0, 0));
	must("oracle: stack_switch ", hypercall(HC_stack_switch, FLAT_SS, (u64)trap_stack_top, 0, 0, 0));
}

/* ---- the base state ----------------------------------------------------------------------------------------------- */

u64 mfn_of(const void *p)
{
	return ((const u64 *)start->mfn_list)[((u64)p - VIRT_BASE) >> 12];
}

static void remap(void *p, u64 mfn, u64 flags)
{
	must("oracle: update_va_mapping ", hypercall(HC_update_va_mapping, (u64)p, mfn << 12 | flags, 2, 0, 0));
}

static void neighbours(const void *p, u64 bytes)
{
	for (u64 at = 0; at < bytes; at += PAGE_SIZE)
		if (mfn_of((const u8 *)p + at) != mfn_of(p) + at / PAGE_SIZE)
			die("oracle: scattered array ", (u64)p + at);
}

static void fill_pool(void)
{
	const u64 *p2m = (const u64 *)start->mfn_list;

	/* The end of the list: no boot map reaches it. */
	for (u64 i = 0; i < POOL_FRAMES; i++) {
		pool[i] = p2m[start->nr_pages - POOL_FRAMES + i];
		fixed.window_l1[i] = pool[i] << 12 | P | A | D;
	}
}

static void fill_ud(void)
{
	for (int i = 0; i < PAGE_SIZE; i += 2) {
		fixed.ud[i] = 0x0f;
		fixed.ud[i + 1] = 0x0b;
	}
}

/* Xen changes no descriptor that is not present: code without any stays as it is when a program makes it an LDT. */
static void holds_no_descriptor(const void *page)
{
	const u64 *words = page;

	for (u64 i = 0; i < PAGE_SIZE / 8; i++)
		if (words[i] & DESCRIPTOR_PRESENT)
			die("oracle: a descriptor in the code for user mode at ", i * 8);
}

static void build_fixed(void)
{
	u64 size = (u64)(access_end - access_start);

	fill_pool();
	fixed.window_l3[0] = mfn_of(fixed.window_l2) << 12 | P | RW | US | A;
	fixed.window_l2[0] = mfn_of(fixed.window_l1) << 12 | P | RW | US | A;
	fixed.window_l2[2] = mfn_of(fixed.scratch_l1) << 12 | P | RW | US | A;
	fill_scratch(fixed.scratch_l1);
	fixed.stub_l3[0] = mfn_of(fixed.stub_l2) << 12 | P | RW | US | A;
	fixed.stub_l2[0] = mfn_of(fixed.stub_l1) << 12 | P | RW | US | A;
	fixed.stub_l1[0] = mfn_of(fixed.stub) << 12 | P | US | A;
	fixed.stub_l1[1] = mfn_of(fixed.ud) << 12 | P | US | A;
	memcpy(fixed.stub, access_start, size);
	fixed.stub[&access_in_user - access_start] = 1;
	fill_ud();
	holds_no_descriptor(fixed.stub);
	for (u8 *p = (u8 *)&fixed; p < (u8 *)(&fixed + 1); p += PAGE_SIZE)
		remap(p, mfn_of(p), P | US | A | D);
	must("oracle: window ",
	     set_entry(mfn_of(boot_l4), WINDOW_SLOT, mfn_of(fixed.window_l3) << 12 | P | RW | US | A));
	must("oracle: stub ", set_entry(mfn_of(boot_l4), STUB_SLOT, mfn_of(fixed.stub_l3) << 12 | P | RW | US | A));
	/* The stub stays an L3 when nothing uses it. */
	must("oracle: pin ", mmuext(2, mfn_of(fixed.stub_l3), 0));
	init_grants(mfn_of(fixed.scratch_l1));
}

static void init_mailbox(void)
{
	neighbours(ops, sizeof(ops));
	neighbours(results, sizeof(results));
	mailbox.ops_mfn = mfn_of(ops);
	mailbox.res_mfn = mfn_of(results);
	mailbox.pool_mfn = mfn_of(pool);
	mailbox.boot_l4 = mfn_of(boot_l4);
	mailbox.boot_l4_va = (u64)boot_l4;
	mailbox.shared_info = start->shared_info >> 12;
	mailbox.scratch = mfn_of(scratch);
	mailbox.scratch_va = (u64)scratch;
	mailbox.stub_l3 = mfn_of(fixed.stub_l3);
	mailbox.stub = mfn_of(fixed.stub);
	mailbox.ud = mfn_of(fixed.ud);
	mailbox.memory_mfn = mfn_of(memory_page());
	mailbox.magic = MAILBOX_MAGIC;
}

/* A program may have mapped the page of ud2 writable. */
static void restore_ud(void)
{
	const volatile u64 *words = (const volatile u64 *)fixed.ud;

	for (int i = 0; i < 512; i++) {
		if (words[i] == 0x0b0f0b0f0b0f0b0fUL)
			continue;
		remap(fixed.ud, mailbox.ud, P | RW | US | A | D);
		fill_ud();
		remap(fixed.ud, mailbox.ud, P | US | A | D);
		return;
	}
}

/* The number of frames that Xen would not clear: one ends its batch, and the rest is another. */
static u64 clear_pool(void)
{
	u64 n = 0, stuck = 0;

	for (u64 i = 0; i < POOL_FRAMES; i++)
		if (mailbox.reset_pool[i / 64] >> i % 64 & 1)
			elements.update[n++] = (struct mmu_update){pool[i] << 12 | MACHPHYS_UPDATE, BASE_M2P};
	mmu_update(elements.update, (u32)n, 0, DOMID_SELF);
	n = 0;
	for (u64 i = 0; i < POOL_FRAMES; i++)
		if (mailbox.reset_pool[i / 64] >> i % 64 & 1)
			elements.ext[n++] = (struct mmuext_op){EXT_CLEAR_PAGE, 0, pool[i], 0};
	for (u64 at = 0; at < n; at++) {
		u32 done = 0;

		if (!hypercall(HC_mmuext_op, (u64)&elements.ext[at], n - at, (u64)&done, DOMID_SELF, 0))
			break;
		stuck++;
		at += done;
	}
	return stuck;
}

/* Undo whatever a program did; the number of frames that Xen would not let go. */
static u64 reset(void)
{
	u64 stuck, left;

	mmuext(EXT_NEW_USER_BASEPTR, 0, 0);
	user_root = 0;
	mmuext(EXT_NEW_BASEPTR, mailbox.boot_l4, 0);
	kernel_root = mailbox.boot_l4;
	mmuext(EXT_SET_LDT, 0, 0);
	hypercall(HC_set_gdt, 0, 0, 0, 0, 0);
	hypercall(HC_vm_assist, 1, 2, 0, 0, 0);
	hypercall(HC_vm_assist, 1, 32, 0, 0, 0);
	for (u64 slot = 0; slot < 511; slot++)
		if (boot_l4[slot] && (slot < 256 || slot > 271) && slot != WINDOW_SLOT && slot != STUB_SLOT)
			set_entry(mailbox.boot_l4, slot, 0);
	for (u64 i = 0; i < POOL_FRAMES; i++)
		if (mailbox.reset_pool[i / 64] >> i % 64 & 1)
			mmuext(EXT_UNPIN, pool[i], 0);
	unpin_memory();
	stuck = clear_pool();
	left = reset_grants();
	restore_ud();
	*(volatile u16 *)shared_info_page = EVENTS_MASKED;
	return (stuck + return_memory()) | left << 32;
}

/* ---- operations --------------------------------------------------------------------------------------------------- */

static int fixed_slot(u64 slot)
{
	return slot == WINDOW_SLOT || slot == STUB_SLOT || slot == KERNEL_SLOT;
}

int is_fixed(u64 mfn)
{
	return mfn == mailbox.ud || mfn == mailbox.stub_l3 || mfn == (boot_l4[KERNEL_SLOT] & MFN) >> 12 ||
	       mfn == mfn_of(fixed.window_l3);
}

int cuts_the_branch(const struct mmu_update *u)
{
	u64 mfn = u->ptr >> 12;

	return is_fixed(mfn) || ((mfn == kernel_root || mfn == mailbox.boot_l4) && fixed_slot(u->ptr >> 3 & 511));
}

const u64 *entries_of(u64 mfn)
{
	if (mfn == mailbox.boot_l4)
		return boot_l4;
	for (u64 i = 0; i < POOL_FRAMES; i++)
		if (pool[i] == mfn)
			return (const u64 *)(WINDOW + i * PAGE_SIZE);
	return 0;
}

int root_without_kernel(u64 mfn)
{
	const u64 *l4 = entries_of(mfn);

	if (!l4)
		return is_named(mfn); /* nothing shows what is in it */
	for (u64 slot = WINDOW_SLOT; slot < 512; slot++) {
		/* No entry of an L4 with G is ever accepted, so that such a frame does not become the root. */
		u64 rights = l4[slot] & G ? 0 : RW | NX;

		if (fixed_slot(slot) && ((l4[slot] ^ boot_l4[slot]) & (MFN | P | rights)))
			return 1;
	}
	return 0;
}

int lies_in_own_tables(u64 va)
{
	const u64 *l4 = entries_of(kernel_root);

	return (l4[va >> 39 & 511] & P) && is_fixed((l4[va >> 39 & 511] & MFN) >> 12);
}

static void do_mmu_update(const struct op *op, struct res *r)
{
	for (u32 i = 0; i < op->count; i++) {
		elements.update[i] = (struct mmu_update){op[1 + i].a, op[1 + i].b};
		if (cuts_the_branch(&elements.update[i])) {
			r->rc = RC_SKIPPED;
			return;
		}
	}
	r->done = DONE_UNTOUCHED;
	r->rc = mmu_update(elements.update, op->count | (u32)op->b, &r->done, op->a);
	r->done &= 0xffffffff;
}

static void do_mmuext(const struct op *op, struct res *r)
{
	u64 root = kernel_root;

	for (u32 i = 0; i < op->count; i++) {
		elements.ext[i] = (struct mmuext_op){(u32)op[1 + i].a, 0, op[1 + i].b, op[1 + i].c};
		if ((op[1 + i].a == EXT_NEW_BASEPTR && (op->count > 1 || root_without_kernel(op[1 + i].b))) ||
		    (op[1 + i].a != EXT_NEW_USER_BASEPTR && is_fixed(op[1 + i].b)) ||
		    (op[1 + i].a == EXT_UNPIN && op[1 + i].b == mailbox.boot_l4)) {
			r->rc = RC_SKIPPED;
			return;
		}
		if (op[1 + i].a == EXT_NEW_BASEPTR)
			root = op[1 + i].b;
	}
	r->done = DONE_UNTOUCHED;
	r->rc = hypercall(HC_mmuext_op, (u64)elements.ext, op->count | (u32)op->b, (u64)&r->done, op->a, 0);
	r->done &= 0xffffffff;
	if (!r->rc)
		kernel_root = root;
	for (u64 i = 0; r->done != DONE_UNTOUCHED && i < r->done && i < op->count; i++)
		if (op[1 + i].a == EXT_NEW_USER_BASEPTR)
			user_root = op[1 + i].b;
}

static int spoils(u64 kind, u64 word, u64 frame)
{
	struct mmu_update u = {word, 0};

	if (kind == OP_MMU_UPDATE)
		return cuts_the_branch(&u);
	if (kind == OP_UPDATE_VA)
		return lies_in_own_tables(word);
	return word == EXT_NEW_BASEPTR || word == EXT_NEW_USER_BASEPTR || is_fixed(frame) ||
	       (word == EXT_UNPIN && frame == mailbox.boot_l4);
}

static void do_multicall(const struct op *op, struct res *r)
{
	static struct mmu_update update[MAX_MULTICALL];
	static struct mmuext_op ext[MAX_MULTICALL];
	u32 n = op->count < MAX_MULTICALL ? op->count : MAX_MULTICALL;

	memset(elements.call, 0, n * sizeof(elements.call[0]));
	for (u32 i = 0; i < n; i++) {
		const struct op *e = &op[1 + i];
		struct multicall_entry *c = &elements.call[i];

		if (spoils(e->a, e->b, e->c)) {
			r->rc = RC_SKIPPED;
			return;
		}
		update[i] = (struct mmu_update){e->b, e->c};
		ext[i] = (struct mmuext_op){(u32)e->b, 0, e->c, e->d};
		c->op = e->a == OP_MMU_UPDATE ? HC_mmu_update : e->a == OP_MMUEXT ? HC_mmuext_op : HC_update_va_mapping;
		c->args[0] = e->a == OP_MMU_UPDATE ? (u64)&update[i] : e->a == OP_MMUEXT ? (u64)&ext[i] : e->b;
		c->args[1] = e->a == OP_UPDATE_VA ? e->c : 1;
		c->args[2] = e->a == OP_UPDATE_VA ? e->d : 0;
		c->args[3] = e->a == OP_UPDATE_VA ? 0 : DOMID_SELF;
	}
	r->rc = hypercall(HC_multicall, (u64)elements.call, n, 0, 0, 0);
	for (u32 i = 0; i < n; i++)
		r->value |= (u64)(elements.call[i].result & 0xff) << 8 * i;
}

void fault_of(struct res *r)
{
	r->vector = trap.vector;
	r->error_code = trap.error_code;
	r->cr2 = trap.cr2;
	r->user = trap.user;
}

static const u8 *access_function(const u8 *first, u16 size)
{
	return first + 16 * (size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3);
}

/* Would user mode run something else than the stub, or is there no user mode at all?  Xen ends a domain that goes there
 * without a root for it. */
static int no_user_mode(void)
{
	const u64 *l4 = user_root ? entries_of(user_root) : 0;

	return !l4 || ((l4[STUB_SLOT] & P) && (l4[STUB_SLOT] & MFN) >> 12 != mailbox.stub_l3);
}

void make_access(const struct op *op, struct res *r, const u8 *function, int user)
{
	int trapped;

	if (user && no_user_mode()) {
		r->rc = RC_SKIPPED;
		return;
	}
	/* The way to user mode loads cr3, which empties the TLB of the processor that QEMU makes. */
	if (!user && op->kind == OP_SELECTOR) {
		mmuext(EXT_TLB_FLUSH_LOCAL, 0, 0);
	} else if (!user) {
		mmuext(EXT_INVLPG_LOCAL, op->a, 0);
		mmuext(EXT_INVLPG_LOCAL, op->a + op->size - 1, 0);
	}
	if (user)
		trapped = user_call(USER_STUB + (u64)(function - access_start), op->a, op->b, op->c, &r->value);
	else
		trapped = guarded(function, op->a, op->b, op->c, &r->value);
	if (user && trap.vector == VECTOR_SYSCALL) {
		r->user = trap.user;
		return;
	}
	if (!trapped)
		return;
	r->value = 0;
	fault_of(r);
}

/* Only ud2 is safe to run: what else lies there is left alone. */
static void fetch(const struct op *op, struct res *r, int user)
{
	make_access(op, r, access_load1 + 16, user);
	if (r->rc)
		return;
	if (r->vector == 0 && r->value != 0x0b0f) {
		r->value = 1;
		return;
	}
	r->value = 0;
	r->vector = 0;
	make_access(op, r, access_fetch, user);
	if (r->vector == 6)
		r->rc = trap.rip == op->a ? 0 : RC_SKIPPED;
}

static void perform(const struct op *op, struct res *r)
{
	switch (op->kind) {
	case OP_MMU_UPDATE:
		do_mmu_update(op, r);
		break;
	case OP_MMUEXT:
		do_mmuext(op, r);
		break;
	case OP_UPDATE_VA:
	case OP_UPDATE_VA_OTHER:
		if (lies_in_own_tables(op->a))
			r->rc = RC_SKIPPED;
		else if (op->kind == OP_UPDATE_VA_OTHER)
			r->rc = hypercall(HC_update_va_mapping_otherdomain, op->a, op->b, op->c, op->d, 0);
		else
			r->rc = hypercall(HC_update_va_mapping, op->a, op->b, op->c, 0, 0);
		break;
	case OP_VM_ASSIST:
		r->rc = hypercall(HC_vm_assist, op->a, op->b, 0, 0, 0);
		break;
	case OP_LOAD:
	case OP_USER_LOAD:
		make_access(op, r, access_function(access_load1, op->size), op->kind == OP_USER_LOAD);
		break;
	case OP_STORE:
	case OP_USER_STORE:
		make_access(op, r, access_function(access_store1, op->size), op->kind == OP_USER_STORE);
		break;
	case OP_CMPXCHG:
	case OP_USER_CMPXCHG:
		make_access(op, r, access_function(access_cmpxchg1, op->size), op->kind == OP_USER_CMPXCHG);
		break;
	case OP_FETCH:
	case OP_USER_FETCH:
		fetch(op, r, op->kind == OP_USER_FETCH);
		break;
	case OP_MULTICALL:
		do_multicall(op, r);
		break;
	case OP_RESET:
		r->value = reset();
		break;
	case OP_REPEAT:
		do_repeat(op, r);
		break;
	case OP_NOP:
		break;
	default:
		if (op->kind >= OP_SET_GDT && op->kind <= OP_DESCRIPTOR_LAST)
			do_descriptor(op, r);
		else if (op->kind >= OP_HYPERCALL && op->kind <= OP_HANDLE_LAST)
			do_handle(op, r);
		else if (op->kind >= OP_RESERVATION && op->kind <= OP_MEMORY_LAST)
			do_memory(op, r);
		else
			r->rc = RC_SKIPPED;
	}
}

/* The L1 entry that the tables of the kernel's root lead to, as far as programs have names for them. */
static u64 l1_entry(u64 va)
{
	u64 mfn = kernel_root;

	for (int shift = 39;; shift -= 9) {
		const volatile u64 *table = entries_of(mfn);
		u64 e = table ? table[va >> shift & 511] : 0;

		if (shift == 12 || !(e & P))
			return shift == 12 ? e : 0;
		mfn = (e & MFN) >> 12;
	}
}

static u64 read_back(const struct op *op)
{
	if (!op->readback)
		return 0;
	if (op->readback == READBACK_L1)
		return l1_entry(op->kind == OP_ELEMENT ? op->b : op->a);
	return *(volatile u64 *)op->readback;
}

static void perform_all(void)
{
	for (u64 i = 0; i < mailbox.ops && i < MAX_OPS; i++) {
		struct res r = {0};

		for (u64 k = i; ops[i].kind != OP_ELEMENT && k <= i + ops[i].count && k < mailbox.ops; k++)
			resolve_names(&ops[k]);
		if (ops[i].kind != OP_ELEMENT)
			perform(&ops[i], &r);
		r.readback = read_back(&ops[i]);
		results[i] = r;
	}
}

_Noreturn void guest_main(const struct start_info *si)
{
	u64 seen = 0;

	start = si;
	boot_l4 = (u64 *)si->pt_base;
	kernel_root = mfn_of(boot_l4);
	init_traps();
	remap(shared_info_page, si->shared_info >> 12, P | RW | US | A | D);
	upcall_cr2 = (volatile u64 *)((u8 *)shared_info_page + 0x10);
	build_fixed();
	init_memory();
	init_foreign_grants(mfn_of(fixed.scratch_l1));
	init_mailbox();
	print_number("oracle: mailbox ", mfn_of(&mailbox));
	for (;;) {
		u64 posted = __atomic_load_n(&mailbox.posted, __ATOMIC_ACQUIRE);

		if (posted == seen) {
			for (volatile int i = 0; i < 200; i++)
				;
			continue;
		}
		perform_all();
		seen = posted;
		__atomic_store_n(&mailbox.answered, posted, __ATOMIC_RELEASE);
	}
}
