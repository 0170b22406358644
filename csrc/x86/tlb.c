/*
 * tlb.c - a translation lookaside buffer: one of those the manual allows, chosen to keep stale translations long.
 *
 * Knows: what SDM vol. 3A, 4.10.2 lets a processor cache of a translation (page frame, the combined U/S, R/W and XD,
 * D and the protection key of the leaf, G) and when it must forget it (4.10.4).  Does not know: the tables, or who
 * forgot to flush.  A TLB is not needed to understand paging: a reader may skip this file.
 *
 * The policy, so that runs repeat: fully associative, filled by every access that succeeds, first in first out.  It
 * never forgets on its own, so a flush that is missing shows as soon as the tables have changed.  Paging-structure
 * caches (4.10.3) are not modelled: an address without an entry is walked from the root.
 *
 * A flush counts a generation up instead of clearing entries: it is one journalled word, whatever the size.
 */
#include "walk.h"

struct entry {
	uint64_t page; /* the first address of the page */
	uint64_t page_size;
	struct xm_rights rights;
	uint64_t generation; /* alive while equal to the TLB's own for its kind; 0 is never alive */
	uint64_t global;
};

struct xm_tlb {
	struct xm_machine *machine;
	uint64_t generation[2]; /* of entries that are not global, and of global ones */
	uint32_t entries;
	uint32_t oldest; /* the next to be replaced */
	struct entry entry[];
};

struct xm_tlb *xm_tlb_new(struct xm_machine *m, unsigned entries)
{
	struct xm_tlb *tlb;

	if (entries < 1 || entries > 1U << 20)
		return NULL;
	tlb = xm_state_new(m, sizeof(*tlb) + entries * sizeof(struct entry));
	if (!tlb)
		return NULL;
	tlb->machine = m;
	tlb->entries = entries;
	tlb->generation[0] = tlb->generation[1] = 1;
	return tlb;
}

void xm_tlb_free(struct xm_tlb *tlb)
{
	if (tlb)
		xm_state_free(tlb->machine, tlb);
}

static inline int alive(const struct xm_tlb *tlb, const struct entry *e)
{
	return e->generation == tlb->generation[e->global];
}

/* A page whose size was changed by tables may be cached twice, in pages of both sizes; the manual lets the processor
 * use either, this one uses the first. */
static inline const struct entry *find(const struct xm_tlb *tlb, uint64_t va, uint32_t from)
{
	for (uint32_t i = from; i < tlb->entries; i++) {
		const struct entry *e = &tlb->entry[i];

		if (va - e->page < e->page_size && alive(tlb, e))
			return e;
	}
	return NULL;
}

static void drop(struct xm_tlb *tlb, const struct entry *e)
{
	XM_PUT(tlb->machine, tlb->entry[e - tlb->entry].generation, 0);
}

void xm_tlb_flush(struct xm_tlb *tlb, int globals_too)
{
	XM_PUT(tlb->machine, tlb->generation[0], tlb->generation[0] + 1);
	if (globals_too)
		XM_PUT(tlb->machine, tlb->generation[1], tlb->generation[1] + 1);
}

void xm_tlb_invlpg(struct xm_tlb *tlb, uint64_t va)
{
	const struct entry *e = find(tlb, va, 0);

	for (; e; e = find(tlb, va, (uint32_t)(e - tlb->entry) + 1))
		drop(tlb, e);
}

void xm_tlb_drop(struct xm_tlb *tlb, struct xm_flush flush)
{
	if (flush.tlb == XM_FLUSH_ADDRESS)
		xm_tlb_invlpg(tlb, flush.va);
	else if (flush.tlb)
		xm_tlb_flush(tlb, flush.globals);
}

int xm_tlb_access(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_walk *w)
{
	const struct entry *e = find(cpu->tlb, va, 0);

	if (!e || !xm_has_access(access, cpu->cr4))
		return 0;
	w->pa = 0;
	w->nsteps = 0;
	w->top_level = cpu->levels;
	if (xm_judge(cpu, e->rights, e->page_size, va, access, xm_error_access(access, cpu->cr4, cpu->efer), w)) {
		/* [SDM 4.10.4.1] The fault may be stale; it drops the entry, so that a retry sees the tables. */
		xm_tlb_invlpg(cpu->tlb, va);
		return 1;
	}
	if ((access & XM_ACC_WRITE) && !(e->rights.leaf & XM_PTE_D)) {
		/* [SDM 4.8] D is set in the table as it is now, which may map the page no longer. */
		xm_tlb_invlpg(cpu->tlb, va);
		return 0;
	}
	return 1;
}

void xm_tlb_fill(const struct xm_cpu *cpu, uint64_t va, uint32_t access, const struct xm_walk *w)
{
	struct xm_tlb *tlb = cpu->tlb;
	struct entry *e = &tlb->entry[tlb->oldest];
	struct xm_rights rights = {~0ULL, ~0ULL, 0, 0};
	/* [SDM 4.10.2.4] G means nothing while CR4.PGE is 0. */
	uint64_t global;

	for (int i = 0; i < w->nsteps; i++) {
		rights.upper = rights.all;
		rights.all &= w->steps[i].entry;
		rights.any |= w->steps[i].entry;
	}
	rights.leaf = xm_entry_after(w->steps[w->nsteps - 1].entry, 1, access);
	global = (rights.leaf & XM_PTE_G) && (cpu->cr4 & XM_CR4_PGE);
	XM_PUT(tlb->machine, *e,
	       ((struct entry){va & ~(w->page_size - 1), w->page_size, rights, tlb->generation[global], global}));
	XM_PUT(tlb->machine, tlb->oldest, tlb->oldest + 1 == tlb->entries ? 0 : tlb->oldest + 1);
}

unsigned xm_tlb_used(const struct xm_tlb *tlb)
{
	unsigned used = 0;

	for (uint32_t i = 0; i < tlb->entries; i++)
		used += alive(tlb, &tlb->entry[i]);
	return used;
}

int xm_tlb_lookup(const struct xm_tlb *tlb, uint64_t va, struct xm_mapping *ret)
{
	const struct entry *e = find(tlb, va, 0);

	if (!e)
		return XM_E_ARGUMENT;
	ret->va = e->page;
	ret->pa = e->rights.leaf & XM_PTE_ADDR & ~(e->page_size - 1);
	ret->size = e->page_size;
	ret->flags = (e->rights.all & (XM_PTE_P | XM_PTE_RW | XM_PTE_US)) | (e->rights.any & XM_PTE_NX) |
		     (e->global ? XM_PTE_G : 0);
	return XM_OK;
}
