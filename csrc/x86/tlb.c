/*
 * tlb.c - the TLB and the paging-structure caches: one behaviour of those the manual allows, chosen to keep stale
 * information long.
 *
 * Knows: what a processor may cache of a translation (SDM vol. 3A, 4.10.2: page frame, the combined U/S, R/W and XD, D
 * and the protection key of the leaf, G) and of the entries above it (4.10.3: the table they lead to and the rights
 * combined so far), that both belong to a PCID (4.10.1) and what a global translation is (4.10.2.4).  Does not know: the
 * tables, or which operation drops what (flush.c).  Caches are not needed to understand paging: a reader may skip this.
 *
 * The policy, so that runs repeat.  A TLB of N holds N translations, and as many PDEs, PDPTEs, PML4Es and PML5Es in four
 * caches of their own.  All are fully associative and filled by every access that succeeds, with all that its walk read:
 * then every such entry was present, without reserved bits, and has A set, as 4.10.3.1 asks.  A new entry takes the first
 * free place, or that of the oldest in its cache.  Nothing is forgotten but by a flush, so that a missing one shows as
 * soon as the tables have changed.  An access uses a translation if there is one; else its walk begins below the lowest
 * entry of its address that is cached (4.10.3.2).  A write through a clean translation walks, to set D.
 *
 * An entry is alive while it is younger than the last flush of all it belongs to, so a flush is a word or two to the
 * journal, whatever the size; only one by address looks for its entries.
 */
#include "walk.h"

#define PCIDS 4096
#define CACHES 5 /* [0] translations, [n] entries of level n + 1 that lead to a table */

struct entry {
	uint64_t page; /* the first address it serves */
	uint64_t size; /* and for how many bytes */
	struct xm_rights rights;
	uint64_t born; /* by the clock of the TLB; 0: no entry */
	uint32_t pcid;
	uint32_t global;
};

/* When the last flush was: of one PCID's and of every PCID's translations that are not global, structure entries. */
struct dropped {
	uint64_t pcid[PCIDS];
	uint64_t all;
};

struct xm_tlb {
	struct xm_machine *machine;
	uint64_t clock;
	struct dropped translations, structures;
	uint64_t dropped_globals;
	uint64_t used[CACHES]; /* places that ever held an entry */
	uint64_t entries;      /* places of each cache */
	struct entry entry[];
};

struct xm_tlb *xm_tlb_new(struct xm_machine *m, unsigned entries)
{
	struct xm_tlb *tlb;

	if (entries < 1 || entries > 1U << 20)
		return NULL;
	tlb = xm_state_new(m, sizeof(*tlb) + (size_t)entries * CACHES * sizeof(struct entry));
	if (!tlb)
		return NULL;
	tlb->machine = m;
	tlb->entries = entries;
	return tlb;
}

void xm_tlb_free(struct xm_tlb *tlb)
{
	if (tlb)
		xm_state_free(tlb->machine, tlb);
}

/* ---- entries ------------------------------------------------------------------------------------------------------ */

static inline struct entry *first(struct xm_tlb *tlb, unsigned cache)
{
	return tlb->entry + cache * tlb->entries;
}

static inline int alive(const struct xm_tlb *tlb, unsigned cache, const struct entry *e)
{
	const struct dropped *dropped = cache ? &tlb->structures : &tlb->translations;

	if (e->global)
		return e->born > tlb->dropped_globals;
	return e->born > dropped->all && e->born > dropped->pcid[e->pcid];
}

/* A page whose size was changed by tables may be cached twice, in pages of both sizes, and a page that became global
 * likewise; the manual lets the processor use either, this one uses the first. */
static struct entry *find(struct xm_tlb *tlb, unsigned cache, unsigned pcid, uint64_t va)
{
	struct entry *e = first(tlb, cache), *end = e + tlb->used[cache];

	for (; e < end; e++)
		if (va - e->page < e->size && (e->global || e->pcid == pcid) && alive(tlb, cache, e))
			return e;
	return NULL;
}

static struct entry *place_for_one(struct xm_tlb *tlb, unsigned cache)
{
	struct entry *e = first(tlb, cache), *end = e + tlb->used[cache], *oldest = e;

	for (; e < end; e++) {
		if (!alive(tlb, cache, e))
			return e;
		if (e->born < oldest->born)
			oldest = e;
	}
	if (tlb->used[cache] == tlb->entries)
		return oldest;
	XM_PUT(tlb->machine, tlb->used[cache], tlb->used[cache] + 1);
	return end;
}

static void put(struct xm_tlb *tlb, unsigned cache, struct entry new)
{
	struct entry *e = place_for_one(tlb, cache);

	XM_PUT(tlb->machine, tlb->clock, tlb->clock + 1);
	new.born = tlb->clock;
	XM_PUT(tlb->machine, *e, new);
}

/* ---- flushes ------------------------------------------------------------------------------------------------------ */

/* The entries of one cache that serve va under the PCID; global ones whatever their PCID, if they go at all. */
static void drop_address(struct xm_tlb *tlb, unsigned cache, struct xm_flush flush)
{
	struct entry *e = first(tlb, cache), *end = e + tlb->used[cache];

	for (; e < end; e++)
		if (e->born && flush.va - e->page < e->size && (e->global ? flush.globals : e->pcid == flush.pcid))
			XM_PUT(tlb->machine, e->born, 0);
}

static void drop_globals_of(struct xm_tlb *tlb, unsigned pcid)
{
	struct entry *e = first(tlb, 0), *end = e + tlb->used[0];

	for (; e < end; e++)
		if (e->born && e->global && e->pcid == pcid)
			XM_PUT(tlb->machine, e->born, 0);
}

void xm_tlb_drop(struct xm_tlb *tlb, struct xm_flush flush)
{
	XM_PUT(tlb->machine, tlb->clock, tlb->clock + 1);
	if (flush.tlb == XM_FLUSH_ADDRESS)
		drop_address(tlb, 0, flush);
	if (flush.tlb == XM_FLUSH_PCID)
		XM_PUT(tlb->machine, tlb->translations.pcid[flush.pcid % PCIDS], tlb->clock);
	if (flush.tlb == XM_FLUSH_PCID && flush.globals)
		drop_globals_of(tlb, flush.pcid);
	if (flush.tlb == XM_FLUSH_ALL)
		XM_PUT(tlb->machine, tlb->translations.all, tlb->clock);
	if (flush.tlb == XM_FLUSH_ALL && flush.globals)
		XM_PUT(tlb->machine, tlb->dropped_globals, tlb->clock);
	if (flush.structures == XM_FLUSH_ADDRESS)
		for (unsigned cache = 1; cache < CACHES; cache++)
			drop_address(tlb, cache, flush);
	if (flush.structures == XM_FLUSH_PCID)
		XM_PUT(tlb->machine, tlb->structures.pcid[flush.pcid % PCIDS], tlb->clock);
	if (flush.structures == XM_FLUSH_ALL)
		XM_PUT(tlb->machine, tlb->structures.all, tlb->clock);
}

/* ---- accesses ----------------------------------------------------------------------------------------------------- */

/* The lowest entry first: it stands for all above it. */
static void find_start(struct xm_tlb *tlb, unsigned pcid, uint64_t va, struct xm_start *start)
{
	for (unsigned cache = 1; cache < CACHES; cache++) {
		const struct entry *e = find(tlb, cache, pcid, va);

		if (e) {
			*start = (struct xm_start){e->rights.leaf & XM_PTE_ADDR, e->rights, cache};
			return;
		}
	}
}

int xm_tlb_access(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_start *start, struct xm_walk *w)
{
	struct xm_tlb *tlb = cpu->tlb;
	unsigned pcid = xm_pcid(cpu->cr3, cpu->cr4);
	const struct entry *e = find(tlb, 0, pcid, va);

	if (!xm_has_access(access, cpu->cr4))
		return 0;
	if (e) {
		w->pa = 0;
		w->nsteps = 0;
		w->top_level = cpu->levels;
		if (xm_judge(cpu, e->rights, e->size, va, access, xm_error_access(access, cpu->cr4, cpu->efer), w))
			return 1;
		if (!(access & XM_ACC_WRITE) || (e->rights.leaf & XM_PTE_D))
			return 1;
		/* [SDM 4.8] D is set in the table as it is now, which may map the page no longer. */
		xm_tlb_drop(tlb, (struct xm_flush){va, pcid, XM_FLUSH_ADDRESS, XM_FLUSH_NONE, 1, 0});
	}
	find_start(tlb, pcid, va, start);
	return 0;
}

void xm_tlb_fill(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_start start, const struct xm_walk *w)
{
	struct xm_rights rights = start.rights;
	unsigned pcid = xm_pcid(cpu->cr3, cpu->cr4), level = start.level;
	uint64_t size;

	for (int i = 0; i < w->nsteps; i++, level--) {
		int leaf = i == w->nsteps - 1;
		uint64_t entry = w->steps[i].entry;

		rights.upper = rights.all;
		rights.all &= entry;
		rights.any |= entry;
		rights.leaf = xm_entry_after(entry, leaf, access);
		size = 1ULL << (3 + 9 * level);
		/* [SDM 4.10.2.4] G means nothing while CR4.PGE is 0, and is looked for in a leaf only. */
		put(cpu->tlb, leaf ? 0 : level - 1,
		    (struct entry){va & ~(size - 1), size, rights, 0, pcid,
				   leaf && (entry & XM_PTE_G) && (cpu->cr4 & XM_CR4_PGE)});
	}
}

/* ---- what it holds ------------------------------------------------------------------------------------------------ */

unsigned xm_tlb_used(const struct xm_tlb *tlb)
{
	unsigned used = 0;

	for (uint64_t i = 0; i < tlb->used[0]; i++)
		used += alive(tlb, 0, &tlb->entry[i]);
	return used;
}

int xm_tlb_lookup(struct xm_tlb *tlb, unsigned pcid, uint64_t va, struct xm_mapping *ret)
{
	const struct entry *e = find(tlb, 0, pcid, va);

	if (!e)
		return XM_E_ARGUMENT;
	ret->va = e->page;
	ret->pa = e->rights.leaf & XM_PTE_ADDR & ~(e->size - 1);
	ret->size = e->size;
	ret->flags = (e->rights.all & (XM_PTE_P | XM_PTE_RW | XM_PTE_US)) | (e->rights.any & XM_PTE_NX) |
		     (e->global ? XM_PTE_G : 0);
	return XM_OK;
}
