/*
 * map_ptes.c - pmap_map_ptes and pmap_unmap_ptes: how the kernel gets to see the tables of a pmap.  The designs differ
 * here and in load.c, and nowhere else.
 *
 * Knows (x86/x86/pmap.c): 1.1.4.2 of 2007-10-25 (stock), 1.13.2.11 of 2008-01-15 (kept), the mail of 2007-11-27
 * (stock-literal), 1.194 of 2016 with cpu_load_pmap (per-cpu), and the native half of the same files.
 * Does not know: what is done with the entries.
 *
 * The kernel's pmap, and natively the loaded one, are seen at PTE_BASE.  On Xen the kernel runs on an L4 of its own, so
 * every user pmap is foreign, the running process's too: slot 510 of the kernel L4 (the APDP entry) is pointed at the
 * user L4, and its slot 255 must lead back to itself for levels 2..4 to be seen at APTE_BASE.
 *
 *	hit	the APDP entry already points at this pmap	miss	it does not: slot 255 and the APDP entry are set
 *
 * Choice for stock: its source sets PMF_USER_XPIN only when the pmap is loaded, so a pmap first pinned here would be
 * pinned again by pmap_load, which Xen refuses.  Here every pin sets the flag; a pmap is unpinned before it is
 * rewritten and pinned by pmap_load only when the flag is clear.
 */
#include "kernel.h"

static uint64_t apdp_pde(void)
{
	return xm_slot_entry_va(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 4, 4,
				xm_slot_base(XM_L4_SLOT_APTE, XM_L4_SLOT_PTE, 1, 4));
}

/* The entry that points at the pmap's L4: never writable on Xen. */
static uint64_t make_npde(const struct xm_kernel *k, const struct xm_pmap *pmap)
{
	return xm_ptoma(k, pmap->pfn) | XM_PG_V | (xm_is_native(k) ? (uint64_t)XM_PG_RW : k->kpte);
}

static uint64_t slot255_ma(const struct xm_kernel *k, const struct xm_pmap *pmap)
{
	return xm_ptoma(k, pmap->pfn) + XM_L4_SLOT_PTE * 8;
}

static int set_apdp(struct xm_kernel *k, uint64_t npde)
{
	int status = xm_pte_set(k, apdp_pde(), npde);

	return status ? status : xm_pte_flush(k);
}

static int set_slot255(struct xm_kernel *k, const struct xm_pmap *pmap, uint64_t npde)
{
	int status = xm_xpq_queue(k, slot255_ma(k, pmap), npde);

	return status ? status : xm_xpq_flush(k);
}

/* pmap_apte_flush: translations through the old alternate slot go. */
static int apte_flush(struct xm_kernel *k, uint64_t opde)
{
	return xm_pg_valid(opde) ? xm_tlbflush(k) : XM_OK;
}

static int miss_native(struct xm_kernel *k, const struct xm_pmap *pmap, uint64_t opde)
{
	int status = set_apdp(k, make_npde(k, pmap));

	return status ? status : apte_flush(k, opde);
}

/* Both entries in one call, the invalidation of the L4's own word, and nothing at all on a hit. */
static int miss_kept(struct xm_kernel *k, const struct xm_pmap *pmap, uint64_t opde)
{
	uint64_t npde = make_npde(k, pmap);
	int status = xm_xpq_queue(k, slot255_ma(k, pmap), npde);

	if (!status)
		status = xm_pte_set(k, apdp_pde(), npde);
	if (!status)
		status = xm_invlpg(k, xm_pdir_va(k, pmap->pdir) + XM_L4_SLOT_PTE * 8);
	if (!status)
		status = xm_xpq_flush(k);
	return status ? status : apte_flush(k, opde);
}

/* The L4's words written by stores, while it is no page table: Xen's slots are cleared, or Xen would take what it left
 * there for L3s of the guest. */
static int rewrite_l4(struct xm_kernel *k, const struct xm_pmap *pmap, uint64_t npde)
{
	uint64_t pdir = xm_pdir_va(k, pmap->pdir);
	int status = xm_xpq_update_va(k, pdir, npde | XM_PG_RW);

	for (unsigned i = XM_L4_FIRST_XEN_SLOT; !status && i <= XM_L4_LAST_XEN_SLOT; i++)
		status = xm_kstore(k, pdir + 8 * i, 0);
	if (!status)
		status = xm_kstore(k, pdir + XM_L4_SLOT_PTE * 8, npde);
	return status ? status : xm_xpq_update_va(k, pdir, npde);
}

static int miss_stock(struct xm_kernel *k, struct xm_pmap *pmap, uint64_t opde)
{
	uint64_t npde = make_npde(k, pmap);
	int status = XM_OK;

	if (pmap->pinned) {
		if (k->user_base == pmap->pfn)
			status = xm_xpq_set_user_pgd(k, k->dummy);
		if (!status)
			status = xm_xpq_mmuext(k, XM_MMUEXT_UNPIN_TABLE, xm_ptom(k, pmap->pfn));
		if (!status)
			XM_PUT(k->m, pmap->pinned, (uint8_t)0);
	}
	if (!status)
		status = rewrite_l4(k, pmap, npde);
	/* Typed as an L4 before the APDP entry would make Xen type it as an L3. */
	if (!status)
		status = xm_xpq_mmuext(k, XM_MMUEXT_PIN_L4_TABLE, xm_ptom(k, pmap->pfn));
	if (!status)
		XM_PUT(k->m, pmap->pinned, (uint8_t)1);
	if (!status)
		status = set_apdp(k, npde);
	return status ? status : apte_flush(k, opde);
}

static int miss_literal(struct xm_kernel *k, const struct xm_pmap *pmap, uint64_t opde)
{
	uint64_t npde = make_npde(k, pmap);
	int status = set_slot255(k, pmap, npde);

	if (!status)
		status = set_apdp(k, npde);
	return status ? status : apte_flush(k, opde);
}

static int point_apdp(struct xm_kernel *k, struct xm_pmap *pmap, uint64_t opde)
{
	switch (k->design) {
	case XM_DESIGN_STOCK:
		return miss_stock(k, pmap, opde);
	case XM_DESIGN_STOCK_LITERAL:
		return miss_literal(k, pmap, opde);
	case XM_DESIGN_KEPT:
		return miss_kept(k, pmap, opde);
	default:
		return miss_native(k, pmap, opde);
	}
}

static int map_alternate(struct xm_kernel *k, struct xm_pmap *pmap)
{
	uint64_t opde, pfn = XM_NO_FRAME;
	int status = xm_pte_read(k, apdp_pde(), &opde);
	int toggles = k->design == XM_DESIGN_STOCK || k->design == XM_DESIGN_STOCK_LITERAL;

	if (!status && xm_pg_valid(opde))
		status = xm_mtop(k, opde, &pfn);
	if (status)
		return status;
	if (pfn == pmap->pfn) {
		XM_COUNT(k, apdp_hits);
		if (toggles)
			status = set_slot255(k, pmap, make_npde(k, pmap));
	} else {
		XM_COUNT(k, apdp_misses);
		status = point_apdp(k, pmap, opde);
	}
	if (!status && k->design == XM_DESIGN_STOCK)
		status = xm_tlbflush(k);
	return status;
}

int xm_map_ptes(struct xm_kernel *k, uint32_t pm, struct xm_ptes *ret)
{
	struct xm_pmap *pmap;

	*ret = (struct xm_ptes){.pm = pm, .outer = XM_L4_SLOT_PTE};
	if (!pm || (xm_is_native(k) && pm == k->loaded))
		return XM_OK;
	pmap = xm_pmap_at(k, pm);
	if (k->design == XM_DESIGN_PER_CPU) {
		/* ci_normal_pdes: the L4 itself, not this processor's copy of it. */
		ret->l4 = xm_pdir_va(k, pmap->pdir);
		return xm_pmap_load(k, pm);
	}
	ret->outer = XM_L4_SLOT_APTE;
	return map_alternate(k, pmap);
}

int xm_unmap_ptes(struct xm_kernel *k, struct xm_ptes *p)
{
	struct xm_pmap *pmap;
	int status;

	if (p->outer != XM_L4_SLOT_APTE || (k->design != XM_DESIGN_STOCK && k->design != XM_DESIGN_STOCK_LITERAL))
		return XM_OK;
	pmap = xm_pmap_at(k, p->pm);
	status = set_slot255(k, pmap, make_npde(k, pmap) & ~(uint64_t)XM_PG_V);
	/* PMF_USER_RELOAD: the L4 was taken from the user base pointer to be rewritten. */
	if (!status && p->pm == k->loaded && k->user_base == k->dummy)
		status = xm_xpq_set_user_pgd(k, pmap->pfn);
	return status;
}

uint64_t xm_ptes_entry(const struct xm_ptes *p, uint64_t va, unsigned level)
{
	if (level == 4 && p->l4)
		return p->l4 + 8 * xm_pl_pi(va, 4);
	return xm_slot_entry_va(p->outer, XM_L4_SLOT_PTE, level, 4, va);
}

int xm_pdes_invalid(struct xm_kernel *k, struct xm_ptes *p, uint64_t va)
{
	for (int level = 4; level > 1; level--) {
		int status = xm_pte_read(k, xm_ptes_entry(p, va, (unsigned)level), &p->entry);

		if (status)
			return status;
		if (!xm_pg_valid(p->entry))
			return level;
	}
	return 0;
}

/* A dying pmap is not left as the alternate one. */
int xm_apdp_forget(struct xm_kernel *k, uint32_t pm)
{
	uint64_t opde, pfn = XM_NO_FRAME;
	int status;

	if (k->design == XM_DESIGN_PER_CPU)
		return XM_OK;
	status = xm_pte_read(k, apdp_pde(), &opde);
	if (!status && xm_pg_valid(opde))
		status = xm_mtop(k, opde, &pfn);
	if (status || pfn != xm_pmap_at(k, pm)->pfn)
		return status;
	status = set_apdp(k, 0);
	return status ? status : xm_tlbflush(k);
}
