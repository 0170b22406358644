/*
 * ptp.c - page-table pages: pmap_get_ptp, pmap_find_ptp, pmap_free_ptp.
 *
 * Knows (x86/x86/pmap.c 1.13.2.11): a missing table is a zeroed page linked into its parent, one flush a level; a new
 * L3 goes into the kernel L4 as well, so that the kernel sees user memory; a table with no entry left is unlinked at
 * once, from the bottom up.  Does not know: mappings.
 *
 * As in the source, a new L3 goes into the kernel L4 whichever pmap is loaded.  Unlike it, a freed L3 leaves the kernel
 * L4 whenever it is there, not only when its pmap is loaded: else Xen refuses the page as anything but an L3 and the
 * kernel panics at its next use.
 */
#include "kernel.h"

/* The slot of the kernel's L4, by the next flush (per-cpu: xen_kpm_sync, a call of its own). */
static int set_kernel_slot(struct xm_kernel *k, uint64_t va, uint64_t value)
{
	unsigned slot = xm_pl_pi(va, 4);
	int status = k->design == XM_DESIGN_PER_CPU ? xm_xpq_flush(k) : XM_OK;

	if (!status)
		status = xm_xpq_queue(k, (k->root << XM_PAGE_SHIFT) + 8 * slot, value);
	if (!status)
		XM_PUT(k->m, k->kslot[slot], (value & XM_PG_FRAME) >> XM_PAGE_SHIFT);
	return status;
}

static int link_ptp(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, unsigned level, uint64_t pfn)
{
	uint64_t entry = xm_ptoma(k, pfn) | XM_PG_u | XM_PG_RW | XM_PG_V;
	int status = xm_pte_set(k, xm_ptes_entry(p, va, level + 1), entry);

	if (!status && level == 3 && !xm_is_native(k))
		status = set_kernel_slot(k, va, entry);
	return status ? status : xm_pte_flush(k);
}

static int new_ptp(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, unsigned level, uint64_t parent,
		   uint64_t *ptp_ret)
{
	struct xm_pmap *pmap = xm_pmap_at(k, p->pm);
	uint64_t pfn = xm_page_get(k, XM_PAGE_PTP);
	struct xm_page *page;
	int status;

	if (pfn == XM_NO_FRAME)
		return XM_E_NO_FRAMES;
	page = &k->pages[pfn];
	XM_PUT(k->m, page->level, (uint8_t)level);
	XM_PUT(k->m, page->owner, p->pm);
	XM_PUT(k->m, page->parent, (uint32_t)parent);
	XM_PUT(k->m, page->uses, 1U);
	status = xm_zero_pfn(k, pfn);
	if (!status)
		status = link_ptp(k, p, va, level, pfn);
	if (status)
		return status;
	if (parent)
		XM_PUT(k->m, k->pages[parent].uses, k->pages[parent].uses + 1);
	XM_PUT(k->m, pmap->ptps, pmap->ptps + 1);
	*ptp_ret = pfn;
	return XM_OK;
}

/* The table that an entry of this pmap names; a table the kernel never made is a corruption that it cannot survive. */
static int table_of(struct xm_kernel *k, const struct xm_ptes *p, uint64_t entry, unsigned level, uint64_t *ptp_ret)
{
	uint64_t pfn;
	int status = xm_mtop(k, entry, &pfn);

	if (status)
		return status;
	if (pfn >= k->frames || k->pages[pfn].state != XM_PAGE_PTP || k->pages[pfn].owner != p->pm ||
	    k->pages[pfn].level != level)
		return xm_panic(k, "pmap_find_ptp: entry 0x%llx names no level-%u table of this pmap",
				(unsigned long long)entry, level);
	*ptp_ret = pfn;
	return XM_OK;
}

int xm_find_ptp(struct xm_kernel *k, const struct xm_ptes *p, uint64_t *ptp_ret)
{
	return table_of(k, p, p->entry, 1, ptp_ret);
}

int xm_get_ptp(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, uint64_t *ptp_ret)
{
	uint64_t ptp = 0, above = 0;
	int missing, status = XM_OK;

	/* As the entries are read from the top, the last valid one is that above the first invalid one. */
	for (missing = 4; missing > 1; missing--) {
		status = xm_pte_read(k, xm_ptes_entry(p, va, (unsigned)missing), &p->entry);
		if (status)
			return status;
		if (!xm_pg_valid(p->entry))
			break;
		above = p->entry;
	}
	if (missing == 1)
		return table_of(k, p, above, 1, ptp_ret);
	if (k->free_pages < (uint64_t)missing - 1)
		return XM_E_NO_FRAMES;
	if (missing < 4)
		status = table_of(k, p, above, (unsigned)missing, &ptp);
	for (unsigned level = (unsigned)missing - 1; !status && level >= 1; level--)
		status = new_ptp(k, p, va, level, ptp, &ptp);
	if (!status)
		*ptp_ret = ptp;
	return status;
}

/* One table unlinked, the linear address that showed it invalidated, its page freed. */
static int unlink_ptp(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, unsigned level, uint64_t ptp)
{
	struct xm_pmap *pmap = xm_pmap_at(k, p->pm);
	uint64_t shown = xm_ptes_entry(p, va, level) & ~(uint64_t)(XM_PAGE_SIZE - 1);
	int status = xm_pte_testset(k, xm_ptes_entry(p, va, level + 1), 0, NULL);

	if (!status && level == 3 && !xm_is_native(k) && k->kslot[xm_pl_pi(va, 4)] == xm_ptom(k, ptp))
		status = set_kernel_slot(k, va, 0);
	if (!status)
		status = xm_invlpg(k, shown);
	if (status)
		return status;
	xm_page_put(k, ptp);
	if (pmap->ptps)
		XM_PUT(k->m, pmap->ptps, pmap->ptps - 1);
	return XM_OK;
}

int xm_free_ptp(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, uint64_t ptp)
{
	for (unsigned level = 1; level <= 3; level++) {
		uint64_t parent = k->pages[ptp].parent;
		int status = unlink_ptp(k, p, va, level, ptp);

		if (status)
			return status;
		if (!parent || k->pages[parent].state != XM_PAGE_PTP)
			break;
		XM_PUT(k->m, k->pages[parent].uses, k->pages[parent].uses - 1);
		if (k->pages[parent].uses > 1)
			break;
		ptp = parent;
	}
	return xm_pte_flush(k);
}
