/*
 * pmap.c - the operations on the mappings of a pmap: extract, enter, remove, protect.
 *
 * Knows (x86/x86/pmap.c 1.13.2.11): which entries each reads, changes and shoots down, and in what order.  An entry is
 * changed by one update flushed at once (pmap_pte_testset), never batched with its neighbours.
 * Does not know: how the entries come into view (map_ptes.c).
 */
#include "kernel.h"

/* pmap_tlb_shootdown, the local part: only a pmap that this processor may know, page by page up to 32. */
int xm_shootdown(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva)
{
	int status = XM_OK;

	if (pm && pm != k->loaded)
		return XM_OK;
	if ((eva - sva) >> XM_PAGE_SHIFT > 32)
		return xm_tlbflush(k);
	for (; !status && sva < eva; sva += XM_PAGE_SIZE)
		status = xm_invlpg(k, sva);
	return status;
}

static int extract_mapped(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, int *found_ret, uint64_t *pa_ret)
{
	uint64_t entry, pfn, size = XM_PAGE_SIZE;
	int status = xm_pdes_invalid(k, p, va);

	*found_ret = 0;
	if (status)
		return status < 0 ? status : XM_OK;
	entry = p->entry;
	if (entry & XM_PG_PS)
		size = XM_NBPD_L2;
	else
		status = xm_pte_read(k, xm_ptes_entry(p, va, 1), &entry);
	if (status || !xm_pg_valid(entry))
		return status;
	status = xm_mtop(k, entry & ~(size - 1), &pfn);
	if (status)
		return status;
	*pa_ret = (pfn << XM_PAGE_SHIFT) | (va & (size - 1));
	*found_ret = 1;
	return XM_OK;
}

int xm_do_extract(struct xm_kernel *k, uint32_t pm, uint64_t va, int *found_ret, uint64_t *pa_ret)
{
	struct xm_ptes p;
	int status = xm_map_ptes(k, pm, &p);

	if (!status)
		status = extract_mapped(k, &p, va, found_ret, pa_ret);
	return status ? status : xm_unmap_ptes(k, &p);
}

/* ---- enter ------------------------------------------------------------------------------------------------------- */

static uint64_t make_pte(const struct xm_kernel *k, uint64_t pfn, uint32_t prot, uint32_t flags)
{
	uint64_t npte = xm_ptoma(k, pfn) | XM_PG_V | XM_PG_u;

	if (prot & XM_VM_PROT_WRITE)
		npte |= XM_PG_RW;
	if (flags & XM_PMAP_WIRED)
		npte |= XM_PG_W;
	if (flags & XM_VM_PROT_ALL)
		npte |= XM_PG_U;
	if (flags & XM_VM_PROT_WRITE)
		npte |= XM_PG_M;
	return npte;
}

/* An entry went: its page has one mapping less, and keeps what the entry knew (pmap_sync_pv's attributes). */
static int entry_gone(struct xm_kernel *k, uint64_t opte)
{
	uint64_t pfn;
	int status = xm_mtop(k, opte, &pfn);

	if (status)
		return status;
	if (pfn < k->frames && k->pages[pfn].state == XM_PAGE_USER)
		XM_PUT(k->m, k->pages[pfn].attrs, (uint8_t)(k->pages[pfn].attrs | (opte & (XM_PG_U | XM_PG_M))));
	xm_page_mapped(k, pfn, -1);
	return XM_OK;
}

static int enter_mapped(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, uint64_t pfn, uint64_t npte)
{
	struct xm_pmap *pmap = xm_pmap_at(k, p->pm);
	uint64_t ptp, opte = 0;
	int same, status = xm_get_ptp(k, p, va, &ptp);

	if (!status)
		status = xm_pte_testset(k, xm_ptes_entry(p, va, 1), npte, &opte);
	if (status)
		return status;
	xm_page_mapped(k, pfn, 1);
	if (!xm_pg_valid(opte)) {
		XM_PUT(k->m, k->pages[ptp].uses, k->pages[ptp].uses + 1);
		XM_PUT(k->m, pmap->resident, pmap->resident + 1);
		return XM_OK;
	}
	same = (opte & XM_PG_FRAME) == (npte & XM_PG_FRAME);
	status = entry_gone(k, opte);
	if (!status && (same || (opte & XM_PG_U)))
		status = xm_shootdown(k, p->pm, va, va + XM_PAGE_SIZE);
	return status;
}

int xm_do_enter(struct xm_kernel *k, uint32_t pm, uint64_t va, uint64_t pfn, uint32_t prot, uint32_t flags)
{
	struct xm_ptes p;
	int unmapped, status = xm_map_ptes(k, pm, &p);

	if (status)
		return status;
	status = enter_mapped(k, &p, va, pfn, make_pte(k, pfn, prot, flags));
	if (status && status != XM_E_NO_FRAMES)
		return status;
	unmapped = xm_unmap_ptes(k, &p);
	return unmapped ? unmapped : status;
}

/* ---- remove ------------------------------------------------------------------------------------------------------ */

static int remove_pte(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, uint64_t ptp, uint64_t *seen)
{
	struct xm_pmap *pmap = xm_pmap_at(k, p->pm);
	uint64_t ptep = xm_ptes_entry(p, va, 1), opte;
	int status = xm_pte_read(k, ptep, &opte);

	if (status || !xm_pg_valid(opte))
		return status;
	status = xm_pte_testset(k, ptep, 0, &opte);
	if (status)
		return status;
	*seen |= opte;
	if (k->pages[ptp].uses > 1)
		XM_PUT(k->m, k->pages[ptp].uses, k->pages[ptp].uses - 1);
	if (pmap->resident)
		XM_PUT(k->m, pmap->resident, pmap->resident - 1);
	return entry_gone(k, opte);
}

/* The part of [sva, eva) under one L2 entry; the shootdown is for the whole range each time, as in the source. */
static int remove_block(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, uint64_t end, uint64_t sva, uint64_t eva)
{
	uint64_t ptp, seen = 0;
	int status = xm_find_ptp(k, p, &ptp);

	for (uint64_t at = va; !status && at < end; at += XM_PAGE_SIZE)
		status = remove_pte(k, p, at, ptp, &seen);
	if (!status && (seen & XM_PG_U))
		status = xm_shootdown(k, p->pm, sva, eva);
	if (!status && k->pages[ptp].uses <= 1)
		status = xm_free_ptp(k, p, va, ptp);
	return status;
}

/* The part of a range that one L2 entry maps, or one entry above that is not valid. */
struct block {
	uint64_t va;
	uint64_t end;
	uint64_t left; /* entries to look at */
};

/* The next block of [b->end, eva) that has a table, as b->va to b->end: 1, or 0 when there is none, or a panic.  Tables
 * that others have bent into a maze are given up after more entries than this pmap's tables hold. */
static int next_block(struct xm_kernel *k, struct xm_ptes *p, struct block *b, uint64_t eva)
{
	int level;

	do {
		uint64_t size;

		b->va = b->end;
		if (b->va >= eva)
			return 0;
		if (!b->left--)
			return xm_panic(k, "pmap: the tables have more entries than there are");
		level = xm_pdes_invalid(k, p, b->va);
		if (level < 0)
			return level;
		size = xm_nbpd(level ? (unsigned)level : 2);
		b->end = (b->va & ~(size - 1)) + size;
		if (b->end > eva)
			b->end = eva;
	} while (level);
	return 1;
}

int xm_do_remove(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva)
{
	struct block b = {.end = sva, .left = 512 * (xm_pmap_at(k, pm)->ptps + 1ULL)};
	struct xm_ptes p;
	int found, status = xm_map_ptes(k, pm, &p);

	while (!status && (found = next_block(k, &p, &b, eva)))
		status = found < 0 ? found : remove_block(k, &p, b.va, b.end, sva, eva);
	return status ? status : xm_unmap_ptes(k, &p);
}

/* ---- protect ----------------------------------------------------------------------------------------------------- */

static int protect_block(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, uint64_t end)
{
	uint64_t opte;
	int status = XM_OK;

	for (; !status && va < end; va += XM_PAGE_SIZE) {
		uint64_t ptep = xm_ptes_entry(p, va, 1);

		status = xm_pte_read(k, ptep, &opte);
		if (status || (opte & (XM_PG_RW | XM_PG_V)) != (XM_PG_RW | XM_PG_V))
			continue;
		status = xm_pte_testset(k, ptep, opte & ~(uint64_t)XM_PG_RW, NULL);
		if (!status && (opte & XM_PG_M))
			status = xm_shootdown(k, p->pm, va, va + XM_PAGE_SIZE);
	}
	return status;
}

/* pmap_write_protect. */
static int write_protect(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva)
{
	struct block b = {.end = sva, .left = 512 * (xm_pmap_at(k, pm)->ptps + 1ULL)};
	struct xm_ptes p;
	int found, status = xm_map_ptes(k, pm, &p);

	while (!status && (found = next_block(k, &p, &b, eva)))
		status = found < 0 ? found : protect_block(k, &p, b.va, b.end);
	if (!status)
		status = xm_shootdown(k, pm, sva, eva);
	return status ? status : xm_unmap_ptes(k, &p);
}

/* Rights are only taken away here: more of them come with the next fault. */
int xm_do_protect(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva, uint32_t prot)
{
	if (prot & XM_VM_PROT_WRITE)
		return XM_OK;
	return prot ? write_protect(k, pm, sva, eva) : xm_do_remove(k, pm, sva, eva);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static int check_pmap(struct xm_kernel *k, uint32_t pm, uint32_t *index_ret)
{
	int status = xm_kernel_enter(k);

	if (status)
		return status;
	*index_ret = xm_pmap_index(k, pm);
	return *index_ret ? XM_OK : XM_E_ARGUMENT;
}

static int check_range(uint64_t sva, uint64_t eva)
{
	if (sva % XM_PAGE_SIZE || eva % XM_PAGE_SIZE)
		return XM_E_ALIGNMENT;
	return sva <= eva && eva <= XM_VM_MAXUSER_ADDRESS ? XM_OK : XM_E_ARGUMENT;
}

int xm_pmap_extract(struct xm_kernel *k, uint32_t pm, uint64_t va, int *found_ret, uint64_t *pa_ret)
{
	uint32_t i = 0;
	int found = 0, status = pm == XM_PMAP_KERNEL ? xm_kernel_enter(k) : check_pmap(k, pm, &i);
	uint64_t pa = 0;

	if (status)
		return status;
	if (va >= XM_VM_MAXUSER_ADDRESS && (i || va < k->kva))
		return XM_E_ARGUMENT;
	status = xm_do_extract(k, i, va, &found, &pa);
	if (status)
		return status;
	*found_ret = found;
	if (found)
		*pa_ret = pa;
	return XM_OK;
}

int xm_pmap_enter(struct xm_kernel *k, uint32_t pm, uint64_t va, uint64_t pa, uint32_t prot, uint32_t flags)
{
	uint32_t i;
	int status = check_pmap(k, pm, &i);

	if (!status && va % XM_PAGE_SIZE)
		status = XM_E_ALIGNMENT;
	if (!status)
		status = xm_page_check(k, pa);
	if (!status && (va >= XM_VM_MAXUSER_ADDRESS || !prot || prot > XM_VM_PROT_ALL ||
			flags & ~(uint32_t)(XM_VM_PROT_ALL | XM_PMAP_WIRED)))
		status = XM_E_ARGUMENT;
	return status ? status : xm_do_enter(k, i, va, pa >> XM_PAGE_SHIFT, prot, flags);
}

int xm_pmap_remove(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva)
{
	uint32_t i;
	int status = check_pmap(k, pm, &i);

	if (!status)
		status = check_range(sva, eva);
	return status || sva == eva ? status : xm_do_remove(k, i, sva, eva);
}

int xm_pmap_protect(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva, uint32_t prot)
{
	uint32_t i;
	int status = check_pmap(k, pm, &i);

	if (!status)
		status = check_range(sva, eva);
	if (!status && prot > XM_VM_PROT_ALL)
		status = XM_E_ARGUMENT;
	return status || sva == eva ? status : xm_do_protect(k, i, sva, eva, prot);
}
