/*
 * grant.c - hypercalls whose arguments lie in memory, and grants.
 *
 * Knows: where programs may put arguments, which of them would cost this kernel its life, how to end every mapping of a
 * grant that a program leaves behind.  Does not know: what is right.
 */
#include "guest.h"

#define GNTTABOP_map 0
#define GNTTABOP_unmap 1
#define GNTTABOP_setup 2
#define GNTTABOP_replace 7
#define GNTTABOP_set_version 8

#define GNTMAP_READONLY 4
#define GNTMAP_CONTAINS_PTE 16

#define MOST_ELEMENTS 64
#define MOST_MAPPINGS 4096

struct map_grant_ref {
	u64 host_addr;
	u32 flags, ref;
	u16 dom;
	short status;
	u32 handle;
	u64 dev_bus_addr;
};

struct unmap_grant_ref {
	u64 host_addr, dev_bus_addr;
	u32 handle;
	short status;
	u16 pad;
};

struct setup_table {
	u16 dom, pad;
	u32 nr_frames;
	short status;
	u16 pad2[3];
	u64 frame_list;
};

static u64 area[2][512] __attribute__((aligned(PAGE_SIZE)));
static u64 grant_frame, foreign_grant_frame, spare_l1e;
static struct {
	u32 handle, flags;
	u64 mfn;
} mapped[MOST_MAPPINGS];
static u32 mappings;
/* Calls of memory_op after which Xen may have given out frames that nobody knows. */
static u64 untold;

void fill_scratch(u64 *l1)
{
	l1[0] = mfn_of(area[0]) << 12 | P | RW | A | D;
	l1[1] = mfn_of(area[1]) << 12 | P | RW | A | D;
	l1[3] = mfn_of(area[0]) << 12 | P | A | D;
}

void init_grants(u64 scratch_l1)
{
	struct setup_table setup = {.dom = DOMID_SELF, .nr_frames = 1, .frame_list = (u64)&grant_frame};

	must("oracle: grant table ", hypercall(HC_grant_table_op, GNTTABOP_setup, (u64)&setup, 1, 0, 0));
	must("oracle: grant table's status ", setup.status);
	must("oracle: grant frame ", set_entry(scratch_l1, 4, grant_frame << 12 | P | RW | A | D));
	spare_l1e = (scratch_l1 << 12) + 5 * 8;
}

void init_foreign_grants(u64 scratch_l1)
{
	struct setup_table setup = {.dom = FOREIGN_DOMID, .nr_frames = 1, .frame_list = (u64)&foreign_grant_frame};
	struct mmu_update u = {(scratch_l1 << 12) + 6 * 8, 0};

	must("oracle: the other grant table ", hypercall(HC_grant_table_op, GNTTABOP_setup, (u64)&setup, 1, 0, 0));
	must("oracle: the other grant table's status ", setup.status);
	u.val = foreign_grant_frame << 12 | P | RW | A | D;
	must("oracle: the other grant frame ", hypercall(HC_mmu_update, (u64)&u, 1, 0, FOREIGN_DOMID, 0));
}

/* Map a frame of either domain at SPARE. */
static void map_spare(u64 l1e)
{
	if (hypercall(HC_update_va_mapping, SPARE, l1e, 2, 0, 0))
		hypercall(HC_update_va_mapping_otherdomain, SPARE, l1e, 2, FOREIGN_DOMID, 0);
}

/* End a mapping by way of one more of the same frame: any entry that maps it as the grant did will do.  0 where there
 * can be none, because the mapping was overwritten and the frame is gone: its handle stays for ever. */
static int end_mapping(u32 handle, u32 flags, u64 mfn)
{
	struct unmap_grant_ref op = {.handle = handle};

	hypercall(HC_grant_table_op, GNTTABOP_unmap, (u64)&op, 1, 0, 0);
	if (op.status)
		return 1;
	map_spare(mfn << 12 | P | A | D | NX | (flags & GNTMAP_READONLY ? 0 : RW));
	op.host_addr = flags & GNTMAP_CONTAINS_PTE ? spare_l1e : SPARE;
	op.dev_bus_addr = mfn << 12;
	hypercall(HC_grant_table_op, GNTTABOP_unmap, (u64)&op, 1, 0, 0);
	hypercall(HC_update_va_mapping, SPARE, 0, 2, 0, 0);
	return !op.status;
}

u64 reset_grants(void)
{
	u64 left = untold;

	untold = 0;
	while (mappings) {
		mappings--;
		left += !end_mapping(mapped[mappings].handle, mapped[mappings].flags, mapped[mappings].mfn);
	}
	memset((void *)GRANTS, 0, PAGE_SIZE);
	memset((void *)FOREIGN_GRANTS, 0, PAGE_SIZE);
	memset(area, 0, sizeof(area));
	return left;
}

/* ---- what lies in memory ------------------------------------------------------------------------------------------ */

static u64 *own_word(u64 va)
{
	if (va - SCRATCH < SCRATCH_BYTES)
		return (u64 *)va;
	return va - GRANTS < PAGE_SIZE || va - FOREIGN_GRANTS < PAGE_SIZE ? (u64 *)va : 0;
}

/* The word that Xen will find there, looked up without touching any accessed flag. */
static enum word word_at(u64 va, u64 *ret)
{
	u64 mfn = kernel_root, entry;
	const u64 *words;

	if (va % 8)
		return WORD_UNKNOWN;
	if (va >= 1UL << 47 && va < 0xffff880000000000UL)
		return WORD_FAULTS;
	if (va - SCRATCH < 5 * PAGE_SIZE || va - FOREIGN_GRANTS < PAGE_SIZE) {
		if ((va - SCRATCH) / PAGE_SIZE == 2)
			return WORD_FAULTS;
		*ret = *(const u64 *)va;
		return WORD_THERE;
	}
	if (va - WINDOW < (u64)POOL_FRAMES * PAGE_SIZE) {
		*ret = *(const u64 *)va;
		return WORD_THERE;
	}
	for (int level = 4; level; level--) {
		words = entries_of(mfn);
		if (!words)
			return WORD_UNKNOWN;
		entry = words[va >> (3 + 9 * level) & 511];
		if (!(entry & P))
			return WORD_FAULTS;
		mfn = (entry & MFN) >> 12;
	}
	words = entries_of(mfn);
	if (!words)
		return WORD_UNKNOWN;
	*ret = words[va / 8 & 511];
	return WORD_THERE;
}

enum word words_at(u64 va, u64 *ret, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		enum word found = word_at(va + i * 8UL, &ret[i]);

		if (found != WORD_THERE)
			return found;
	}
	return WORD_THERE;
}

/* ---- what this kernel would not survive --------------------------------------------------------------------------- */

static int bad_update(const u64 *w, u32 count, int nested)
{
	struct mmu_update u = {w[0], w[1]};

	(void)count, (void)nested;
	return cuts_the_branch(&u);
}

static int bad_ext(const u64 *w, u32 count, int nested)
{
	u32 cmd = (u32)w[0];

	if (cmd == EXT_NEW_BASEPTR || cmd == EXT_NEW_USER_BASEPTR)
		return count > 1 || nested || (cmd == EXT_NEW_BASEPTR && root_without_kernel(w[1]));
	return is_fixed(w[1]) || (cmd == EXT_UNPIN && w[1] == mailbox.boot_l4);
}

static int bad_place(u64 addr)
{
	struct mmu_update u = {addr, 0};

	return cuts_the_branch(&u) || lies_in_own_tables(addr);
}

static int bad_map(const u64 *w, u32 count, int nested)
{
	(void)count, (void)nested;
	return bad_place(w[0]);
}

static int bad_replace(const u64 *w, u32 count, int nested)
{
	(void)count, (void)nested;
	return bad_place(w[0]) || bad_place(w[1]);
}

static int bad_gdt_frame(const u64 *w, u32 count, int nested)
{
	(void)count, (void)nested;
	return is_fixed(w[0]);
}

/* Is there among the elements that Xen will read one that must not be carried out? */
static int bad_array(u64 va, u32 count, u32 words, int nested, int (*bad)(const u64 *w, u32 count, int nested))
{
	u64 w[4];

	for (u32 i = 0; i < count; i++) {
		enum word found = words_at(va + (u64)i * words * 8, w, words);

		if (found == WORD_FAULTS)
			return 0;
		if (found == WORD_UNKNOWN || i == MOST_ELEMENTS || bad(w, count, nested))
			return 1;
	}
	return 0;
}

/* May Xen write n bytes there? */
static int bad_target(u64 va, u32 n)
{
	u64 w;

	return va && (word_at(va & ~7UL, &w) == WORD_UNKNOWN || word_at((va + n - 1) & ~7UL, &w) == WORD_UNKNOWN);
}

static int bad_grant_op(const u64 *args)
{
	u32 cmd = (u32)args[0], count = (u32)args[2] & 0x7fffffff;
	u64 uop = args[1], w[3];

	if (cmd >> 12)
		return (cmd & 0xfff) == 12;
	switch (cmd) {
	case GNTTABOP_map:
		/* Where no handle can be written back, none must be given out. */
		return (uop - SCRATCH >= SCRATCH_BYTES && word_at(uop, w) != WORD_FAULTS) ||
		       bad_array(uop, count, 4, 0, bad_map);
	case GNTTABOP_unmap:
		return bad_array(uop, count, 3, 0, bad_map);
	case GNTTABOP_replace:
		return bad_array(uop, count, 3, 0, bad_replace);
	case GNTTABOP_setup:
		if (words_at(uop, w, 3) != WORD_THERE)
			return words_at(uop, w, 3) == WORD_UNKNOWN;
		return (w[0] >> 32 > 1 && w[0] >> 32 <= 64) || bad_target(w[2], 8);
	case GNTTABOP_set_version:
		return words_at(uop, w, 1) == WORD_UNKNOWN || (w[0] & 0xffffffff) == 2;
	case 6:
	case 10:
	case 11:
		return words_at(uop, w, 2) == WORD_UNKNOWN;
	case 3:
	case 13:
		return 0;
	default:
		return 1;
	}
}

static int bad_call(u64 nr, const u64 *args, int nested);

static int bad_multicall(u64 va, u32 count)
{
	u64 w[8];

	for (u32 i = 0; i < count; i++) {
		enum word found = words_at(va + i * 64UL, w, 8);

		if (found == WORD_FAULTS)
			return 0;
		/* Where an entry cannot be written, Xen leaves a dropped table for later. */
		if (found == WORD_UNKNOWN || i == 16 || bad_call(w[0], &w[2], 1) ||
		    ((w[0] == HC_mmu_update || w[0] == HC_mmuext_op) && va + i * 64UL - SCRATCH > SCRATCH_BYTES - 64))
			return 1;
	}
	return 0;
}

static int bad_call(u64 nr, const u64 *args, int nested)
{
	u32 count = (u32)args[1] & 0x7fffffff;

	switch (nr) {
	case HC_mmu_update:
		return bad_target(args[2], 4) || bad_array(args[0], count, 2, nested, bad_update);
	case HC_mmuext_op:
		return bad_target(args[2], 4) || bad_array(args[0], count, 3, nested, bad_ext);
	case HC_set_gdt:
		/* Of too many entries Xen does not read a frame. */
		return (u32)args[1] <= 7168 && bad_array(args[0], ((u32)args[1] + 511) / 512, 1, nested, bad_gdt_frame);
	case HC_update_va_mapping:
	case HC_update_va_mapping_otherdomain:
		return lies_in_own_tables(args[0]);
	case HC_multicall:
		return !nested && bad_multicall(args[0], (u32)args[1]);
	case HC_grant_table_op:
		return bad_grant_op(args);
	case HC_memory_op:
		return bad_memory_op(args, nested);
	case HC_update_descriptor:
		return is_fixed(args[0] >> 12);
	case HC_vm_assist:
	case 11:
	case 38:
	case 60:
		return 0;
	default:
		return 1;
	}
}

/* ---- operations --------------------------------------------------------------------------------------------------- */

static void note_mappings(const u64 *args)
{
	const struct map_grant_ref *op = (const void *)args[1];

	for (u32 i = 0; args[1] - SCRATCH < SCRATCH_BYTES && i < (u32)args[2]; i++, op++) {
		if ((u64)(op + 1) - SCRATCH > SCRATCH_BYTES || mappings == MOST_MAPPINGS)
			return;
		if (op->status)
			continue;
		mapped[mappings].handle = op->handle;
		mapped[mappings].flags = op->flags;
		mapped[mappings++].mfn = op->dev_bus_addr >> 12;
	}
}

/* A multicall's entries as they were: where the clock interrupts a call, Xen leaves there what remained of it. */
static struct multicall_entry asked[SCRATCH_BYTES / sizeof(struct multicall_entry)];

static void note_asked(u64 nr, const u64 *args)
{
	if (nr == HC_multicall && args[0] - SCRATCH < SCRATCH_BYTES)
		memcpy(asked, (const void *)args[0], SCRATCH + SCRATCH_BYTES - args[0]);
}

static void note_calls(u64 nr, const u64 *args, s64 rc)
{
	const struct multicall_entry *c = (const void *)args[0];

	if (nr == HC_grant_table_op && (u32)args[0] == GNTTABOP_map && (s64)(int)args[2] > 0)
		note_mappings(args);
	if (nr == HC_memory_op)
		untold += note_memory_op(args, rc);
	if (nr == HC_multicall && args[0] - SCRATCH < SCRATCH_BYTES)
		for (u32 i = 0; i < (u32)args[1] && (u64)(c + i + 1) - SCRATCH <= SCRATCH_BYTES; i++)
			if (asked[i].op == HC_grant_table_op || asked[i].op == HC_memory_op)
				note_calls(asked[i].op, asked[i].args, c[i].result);
}

static void do_hypercall(const struct op *op, struct res *r)
{
	u64 arg[6] = {0}, ext[3];
	int root;

	for (u32 i = 0; i < op->count && i < 2; i++) {
		arg[3 * i] = op[1 + i].a;
		arg[3 * i + 1] = op[1 + i].b;
		arg[3 * i + 2] = op[1 + i].c;
	}
	if (bad_call(op->a, arg, 0)) {
		r->rc = RC_SKIPPED;
		return;
	}
	root = op->a == HC_mmuext_op && (u32)arg[1] == 1 && words_at(arg[0], ext, 3) == WORD_THERE;
	mmuext(EXT_TLB_FLUSH_LOCAL, 0, 0);
	note_asked(op->a, arg);
	r->rc = hypercall((unsigned)op->a, arg[0], arg[1], arg[2], arg[3], arg[4]);
	if (root && !r->rc && (u32)ext[0] == EXT_NEW_BASEPTR)
		kernel_root = ext[1];
	if (root && !r->rc && (u32)ext[0] == EXT_NEW_USER_BASEPTR)
		user_root = ext[1];
	note_calls(op->a, arg, r->rc);
}

static void poke(u64 va, u64 value, u16 size)
{
	u64 *word = own_word(va);

	if (word && size == 8)
		*word = value;
	else if (word)
		*(u32 *)word = (u32)value;
}

static void poke_all(const struct op *op)
{
	for (u64 i = 0; i < op->b && i < op->count * 4UL; i++) {
		const struct op *e = &op[1 + i / 4];
		const u64 words[4] = {e->a, e->b, e->c, e->d};

		poke(op->a + i * op->size, words[i % 4], op->size);
	}
}

static u64 peek(u64 va, u16 size)
{
	const u64 *word = own_word(va);

	return !word ? 0 : size == 8 ? *word : *(const u32 *)word;
}

void do_handle(const struct op *op, struct res *r)
{
	switch (op->kind) {
	case OP_HYPERCALL:
		do_hypercall(op, r);
		break;
	case OP_POKE:
		poke_all(op);
		break;
	case OP_PEEK:
		r->value = peek(op->a, op->size);
		break;
	case OP_MOVE:
		poke(op->b, peek(op->a, 4), 4);
		break;
	case OP_SYSCALL:
		make_access(op, r, access_number, 1);
		r->value = 0;
		break;
	default:
		r->rc = RC_SKIPPED;
	}
}
