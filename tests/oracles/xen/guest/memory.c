/*
 * memory.c - the guest's part in operations on whole frames: a second domain, and frames that come and go.
 *
 * Knows: the domctls that make a domain, the structures of memory_op (xen/include/public/domctl.h, memory.h of
 * stable-4.17).  Does not know: what the frames are used for.
 *
 * The numbers of frames that Xen gives out are known here only, so a program calls them by names, and the words of its
 * operations are rewritten just before they are carried out.
 */
#include "guest.h"

#define MACHPHYS_UPDATE 1
#define BASE_M2P 0x1000

#define DOMCTL_VERSION 0x15
#define DOMCTL_createdomain 1
#define DOMCTL_max_mem 11
#define DOMCTL_max_vcpus 15

#define XENMEM_increase_reservation 0
#define XENMEM_decrease_reservation 1
#define XENMEM_populate_physmap 6
#define XENMEM_exchange 11

#define MAX_EXTENTS 32
#define MAX_ORDER 5 /* of operations that may succeed */
#define MAX_TAKEN 128
#define TOO_MANY 2 /* instead of `clear`: the only element is the number of extents, bit 31 set */

struct domctl {
	u32 cmd, version;
	u16 domain, pad[3];
	union {
		struct {
			u32 ssidref;
			u8 handle[16];
			u32 flags, iommu_opts, max_vcpus, max_evtchn_port;
			int max_grant_frames, max_maptrack_frames;
			u32 grant_opts, vmtrace_size, cpupool_id;
			u32 emulation_flags, misc_flags;
		} create;
		u64 max_memkb;
		u32 max_vcpus;
		u8 bytes[128];
	} u;
};

struct reservation {
	u64 *extents;
	u64 nr;
	u32 order, flags;
	u16 domid, pad[3];
};

struct exchange {
	struct reservation in, out;
	u64 nr_exchanged;
};

static struct memory_page page __attribute__((aligned(PAGE_SIZE)));
/* Every frame got in this program. */
static u64 taken[MAX_TAKEN];
static u64 ntaken;

const struct memory_page *memory_page(void)
{
	return &page;
}

/* ---- the other domain --------------------------------------------------------------------------------------------- */

static void domctl(const char *what, struct domctl *c, u32 cmd)
{
	s64 rc;

	c->cmd = cmd;
	c->version = DOMCTL_VERSION;
	rc = hypercall(HC_domctl, (u64)c, 0, 0, 0, 0);
	if (rc)
		die(what, (u64)rc);
}

void init_memory(void)
{
	static struct domctl c;
	static u64 extents[FOREIGN_PAGES];
	struct reservation r = {extents, FOREIGN_PAGES, 0, 0, FOREIGN_DOMID, {0}};

	c.u.create.max_vcpus = 1;
	c.u.create.max_evtchn_port = 1023;
	c.u.create.max_grant_frames = 64;
	c.u.create.max_maptrack_frames = 4;
	c.u.create.grant_opts = 1;
	domctl("oracle: createdomain ", &c, DOMCTL_createdomain);
	if (c.domain != FOREIGN_DOMID)
		die("oracle: the other domain is ", c.domain);
	memset(&c.u, 0, sizeof(c.u));
	c.u.max_memkb = FOREIGN_MAX_PAGES * 4;
	domctl("oracle: max_mem ", &c, DOMCTL_max_mem);
	memset(&c.u, 0, sizeof(c.u));
	c.u.max_vcpus = 1;
	domctl("oracle: max_vcpus ", &c, DOMCTL_max_vcpus);
	for (u64 i = 0; i < FOREIGN_PAGES; i++)
		extents[i] = i;
	if (hypercall(HC_memory_op, XENMEM_populate_physmap, (u64)&r, 0, 0, 0) != FOREIGN_PAGES)
		die("oracle: populate ", FOREIGN_PAGES);
	memcpy(page.foreign, extents, sizeof(page.foreign));
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

int is_named(u64 mfn)
{
	for (u64 i = 0; i < NAMES; i++)
		if (mfn && page.names[i] == mfn)
			return 1;
	return 0;
}

static u64 resolved(u64 word)
{
	u64 entry = ((word & MFN) >> 12) - FIRST_NAME, plain = word - FIRST_NAME, grant = (word >> 32) - FIRST_NAME;

	if (entry < NAMES && page.names[entry])
		return (word & ~MFN) | page.names[entry] << 12;
	if (grant < NAMES && page.names[grant])
		return (word & 0xffffffff) | page.names[grant] << 32;
	return plain < NAMES && page.names[plain] ? page.names[plain] : word;
}

void resolve_names(struct op *op)
{
	if (!ntaken)
		return;
	op->a = resolved(op->a);
	op->b = resolved(op->b);
	op->c = resolved(op->c);
	op->d = resolved(op->d);
}

static int names_are_new(u64 first, u64 n)
{
	if (first > NAMES || n > NAMES - first)
		return 0;
	for (u64 i = first; i < first + n; i++)
		if (page.names[i])
			return 0;
	return 1;
}

/* A frame that comes back under another name is no longer what the old one means: that was a free frame. */
static void name(u64 first, u64 mfn, u64 n)
{
	for (u64 j = 0; j < n; j++) {
		for (u64 i = 0; i < NAMES; i++)
			if (page.names[i] == mfn + j)
				page.names[i] = page.free;
		page.names[first + j] = mfn + j;
		if (ntaken == MAX_TAKEN)
			die("oracle: too many frames ", ntaken);
		taken[ntaken++] = mfn + j;
	}
}

/* Names behind the last one given. */
static u64 next_name(void)
{
	u64 next = NAMES;

	while (next && !page.names[next - 1])
		next--;
	return next;
}

u64 names_left(void)
{
	return NAMES - next_name();
}

/* ---- operations --------------------------------------------------------------------------------------------------- */

static s64 ext(u32 cmd, u64 mfn, u64 fd)
{
	struct mmuext_op op = {cmd, 0, mfn, 0};

	return hypercall(HC_mmuext_op, (u64)&op, 1, 0, fd, 0);
}

static void clear_frame(u64 mfn)
{
	if (ext(EXT_CLEAR_PAGE, mfn, DOMID_SELF))
		ext(EXT_CLEAR_PAGE, mfn, FOREIGN_DOMID);
}

/* Frames that belong together by name must lie together. */
static int in_a_row(u64 mfn, u64 number, u64 n)
{
	for (u64 j = 1; number && j < n; j++)
		if (number - 1 + j >= NAMES || page.names[number - 1 + j] != mfn + j)
			return 0;
	return number || n == 1;
}

static void name_extents(const u64 *extents, u64 done, u64 order, const struct op *op)
{
	for (u64 i = 0; i < done; i++) {
		name(op->d + (i << order), extents[i], 1UL << order);
		for (u64 j = 0; op->size && j < 1UL << order; j++)
			clear_frame(extents[i] + j);
	}
}

/* Runs of frames that a call has told of, in the order of the list. */
void name_list(u64 va, u64 n, u64 order)
{
	for (u64 i = 0; i < n && (1UL << order) <= names_left(); i++) {
		u64 mfn;

		memcpy(&mfn, (const void *)(va + i * 8), 8);
		name(next_name(), mfn, 1UL << order);
		for (u64 j = 0; j < 1UL << order; j++)
			clear_frame(mfn + j);
	}
}

/* a: cmd, b: domid, c: order and address bits in bytes, d: the first new name; size: clear the new frames.
 * Elements a: frame or pfn, b: number of its name from 1 on. */
static void do_reservation(const struct op *op, struct res *r)
{
	u64 extents[MAX_EXTENTS], order = op->c & 0xff;
	struct reservation m = {extents, op->count, (u32)order, (u32)(op->c >> 8 & 0xff), (u16)op->b, {0}};

	r->rc = RC_SKIPPED;
	/* Beyond the last order Xen refuses. */
	if (op->count > MAX_EXTENTS || (order > MAX_ORDER && order <= 18))
		return;
	if (op->a != XENMEM_decrease_reservation && order <= MAX_ORDER &&
	    !names_are_new(op->d, (u64)op->count << order))
		return;
	if (op->size == TOO_MANY)
		m.nr = op[1].a | 1UL << 31;
	for (u32 i = 0; i < op->count; i++) {
		extents[i] = op[1 + i].a;
		if (op->a == XENMEM_decrease_reservation && order <= MAX_ORDER &&
		    !in_a_row(extents[i], op[1 + i].b, 1UL << order))
			return;
	}
	r->rc = hypercall(HC_memory_op, op->a, (u64)&m, 0, 0, 0);
	if (op->a != XENMEM_decrease_reservation && r->rc > 0)
		name_extents(extents, (u64)r->rc, order, op);
}

/* a, b: the domains, c: the orders and nr_exchanged in bytes, d: the first new name; size: clear the new frames.
 * Elements a: frame or pfn, b: number of its name from 1 on, c: 0 goes, 1 comes. */
static void do_exchange(const struct op *op, struct res *r)
{
	u64 lists[2][MAX_EXTENTS], n[2] = {0}, in_order = op->c & 0xff, out_order = op->c >> 8 & 0xff;
	struct exchange e = {.in = {lists[0], 0, (u32)in_order, 0, (u16)op->a, {0}},
			     .out = {lists[1], 0, (u32)out_order, 0, (u16)op->b, {0}},
			     .nr_exchanged = op->c >> 16 & 0xff};
	u64 before = e.nr_exchanged;

	r->rc = RC_SKIPPED;
	if (op->count > MAX_EXTENTS || in_order > MAX_ORDER || out_order > MAX_ORDER)
		return;
	for (u32 i = 0; i < op->count; i++) {
		const struct op *x = &op[1 + i];

		lists[x->c & 1][n[x->c & 1]++] = x->a;
		if (!(x->c & 1) && !in_a_row(x->a, x->b, 1UL << in_order))
			return;
	}
	if (!names_are_new(op->d, n[1] << out_order))
		return;
	e.in.nr = n[0];
	e.out.nr = n[1];
	r->rc = hypercall(HC_memory_op, XENMEM_exchange, (u64)&e, 0, 0, 0);
	r->done = e.nr_exchanged;
	/* Only ever from the start: what came is at the head of the list. */
	if (e.nr_exchanged > before && !before)
		name_extents(lists[1], e.nr_exchanged << in_order >> out_order, out_order, op);
}

/* a: cmd, b: domid, c: map space */
static void do_question(const struct op *op, struct res *r)
{
	struct {
		u16 domid, size;
		u32 space;
		u64 idx, gpfn;
	} argument = {(u16)op->b, 0, (u32)op->c, 0, 0};

	r->rc = hypercall(HC_memory_op, op->a, (u64)&argument, 0, 0, 0);
}

void do_memory(const struct op *op, struct res *r)
{
	if (op->kind == OP_RESERVATION)
		do_reservation(op, r);
	else if (op->kind == OP_EXCHANGE)
		do_exchange(op, r);
	else if (op->kind == OP_MEMORY_QUESTION)
		do_question(op, r);
	else
		r->rc = RC_SKIPPED;
}

/* ---- back to the base state --------------------------------------------------------------------------------------- */

void unpin_memory(void)
{
	for (u64 i = 0; i < ntaken; i++) {
		ext(EXT_UNPIN, taken[i], DOMID_SELF);
		ext(EXT_UNPIN, taken[i], FOREIGN_DOMID);
	}
	for (u64 i = 0; page.foreign_used && i < FOREIGN_FRAMES; i++)
		ext(EXT_UNPIN, page.foreign[i], FOREIGN_DOMID);
}

static s64 give_up(u64 mfn, u64 domid)
{
	struct reservation r = {&mfn, 1, 0, 0, (u16)domid, {0}};

	return hypercall(HC_memory_op, XENMEM_decrease_reservation, (u64)&r, 0, 0, 0);
}

u64 return_memory(void)
{
	u64 stuck = 0;

	for (u64 i = 0; page.foreign_used && i < FOREIGN_FRAMES; i++) {
		struct mmu_update u = {page.foreign[i] << 12 | MACHPHYS_UPDATE, BASE_M2P};

		hypercall(HC_mmu_update, (u64)&u, 1, 0, FOREIGN_DOMID, 0);
		stuck += ext(EXT_CLEAR_PAGE, page.foreign[i], FOREIGN_DOMID) != 0;
	}
	for (u64 i = 0; i < ntaken; i++) {
		clear_frame(taken[i]);
		if (!give_up(taken[i], DOMID_SELF))
			give_up(taken[i], FOREIGN_DOMID);
	}
	memset(page.names, 0, sizeof(page.names));
	ntaken = 0;
	return stuck;
}
