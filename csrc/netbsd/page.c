/*
 * page.c - pages of the domain, and the kernel's own mappings.
 *
 * Knows: which pages are free (uvm_pagealloc), that a user page may be mapped several times, and that no page but a few
 * has a kernel mapping: to clear or copy one, pmap_zero_page and pmap_copy_page map it at a window, which on Xen is
 * unmapped afterwards so that no writable alias of a future page table stays.  Does not know: user address spaces.
 */
#include "kernel.h"

uint64_t xm_page_get(struct xm_kernel *k, int state)
{
	uint64_t pfn = k->free_head;
	struct xm_page *page;

	if (pfn) {
		XM_PUT(k->m, k->free_head, (uint64_t)k->pages[pfn].next);
	} else if (k->fresh < k->frames) {
		pfn = k->fresh;
		XM_PUT(k->m, k->fresh, pfn + 1);
	} else {
		return XM_NO_FRAME;
	}
	page = &k->pages[pfn];
	xm_journal_note(k->m, page, sizeof(*page));
	*page = (struct xm_page){.state = (uint8_t)state};
	XM_PUT(k->m, k->free_pages, k->free_pages - 1);
	return pfn;
}

void xm_page_put(struct xm_kernel *k, uint64_t pfn)
{
	struct xm_page *page = &k->pages[pfn];

	if (page->state == XM_PAGE_FREE)
		return;
	XM_PUT(k->m, page->state, (uint8_t)XM_PAGE_FREE);
	XM_PUT(k->m, page->next, (uint32_t)k->free_head);
	XM_PUT(k->m, k->free_head, pfn);
	XM_PUT(k->m, k->free_pages, k->free_pages + 1);
}

/* A mapping of pfn came or went, if pfn is a user page at all: an entry may hold anything. */
void xm_page_mapped(struct xm_kernel *k, uint64_t pfn, int by)
{
	struct xm_page *page;

	if (pfn >= k->frames || k->pages[pfn].state != XM_PAGE_USER)
		return;
	page = &k->pages[pfn];
	if (by > 0 || page->uses)
		XM_PUT(k->m, page->uses, by > 0 ? page->uses + 1 : page->uses - 1);
}

int xm_page_check(const struct xm_kernel *k, uint64_t pa)
{
	if (pa % XM_PAGE_SIZE)
		return XM_E_ALIGNMENT;
	if (pa >> XM_PAGE_SHIFT >= k->frames || k->pages[pa >> XM_PAGE_SHIFT].state != XM_PAGE_USER)
		return XM_E_ARGUMENT;
	return XM_OK;
}

static uint64_t window_pte(const struct xm_kernel *k, unsigned window)
{
	return xm_slot_entry_va(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 1, 4, xm_kva_page(k, window));
}

static int window_map(struct xm_kernel *k, unsigned window, uint64_t pfn, uint64_t bits)
{
	return xm_pte_set(k, window_pte(k, window), xm_ptoma(k, pfn) | XM_PG_V | k->kpte | bits);
}

int xm_zero_pfn(struct xm_kernel *k, uint64_t pfn)
{
	int status = window_map(k, XM_KVA_ZERO_WINDOW, pfn, XM_PG_RW | XM_PG_M | XM_PG_U);

	if (!status)
		status = xm_pte_flush(k);
	if (!status)
		status = xm_invlpg(k, xm_kva_page(k, XM_KVA_ZERO_WINDOW));
	if (!status)
		status = xm_kfill_page(k, xm_kva_page(k, XM_KVA_ZERO_WINDOW));
	if (!status && !xm_is_native(k)) {
		status = xm_pte_set(k, window_pte(k, XM_KVA_ZERO_WINDOW), 0);
		if (!status)
			status = xm_pte_flush(k);
	}
	if (!status)
		XM_COUNT(k, pages_zeroed);
	return status;
}

static int copy_unmap(struct xm_kernel *k)
{
	int status = xm_pte_set(k, window_pte(k, XM_KVA_SRC_WINDOW), 0);

	if (!status)
		status = xm_pte_set(k, window_pte(k, XM_KVA_DST_WINDOW), 0);
	return status ? status : xm_pte_flush(k);
}

int xm_copy_pfn(struct xm_kernel *k, uint64_t src, uint64_t dst)
{
	uint64_t from = xm_kva_page(k, XM_KVA_SRC_WINDOW), to = xm_kva_page(k, XM_KVA_DST_WINDOW);
	int status = window_map(k, XM_KVA_SRC_WINDOW, src, XM_PG_U);

	if (!status)
		status = window_map(k, XM_KVA_DST_WINDOW, dst, XM_PG_RW | XM_PG_M | XM_PG_U);
	if (!status)
		status = xm_pte_flush(k);
	if (!status)
		status = xm_invlpg(k, from);
	if (!status)
		status = xm_invlpg(k, to);
	if (!status)
		status = xm_kcopy_page(k, from, to);
	if (!status && !xm_is_native(k))
		status = copy_unmap(k);
	if (!status)
		XM_COUNT(k, pages_copied);
	return status;
}

/* pmap_kenter_pa; the L1 is there. */
int xm_kenter(struct xm_kernel *k, uint64_t va, uint64_t pfn, int writable)
{
	uint64_t ptep = xm_slot_entry_va(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 1, 4, va), old = 0;
	int status = xm_pte_testset(k, ptep, xm_ptoma(k, pfn) | XM_PG_V | k->kpte | (writable ? (uint64_t)XM_PG_RW : 0),
				    &old);

	if (!status && (old & (XM_PG_V | XM_PG_U)) == (XM_PG_V | XM_PG_U))
		status = xm_invlpg(k, va);
	return status;
}

/* pmap_growkernel, for one L1 of the GiB. */
int xm_growkernel(struct xm_kernel *k, unsigned l1)
{
	uint64_t pfn, va = k->kva + l1 * XM_NBPD_L2;
	int status;

	if (k->kl1[l1])
		return XM_OK;
	pfn = xm_page_get(k, XM_PAGE_KERNEL);
	if (pfn == XM_NO_FRAME)
		return XM_E_NO_FRAMES;
	status = xm_zero_pfn(k, pfn);
	if (!status)
		status = xm_pte_set(k, xm_slot_entry_va(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 2, 4, va),
				    xm_ptoma(k, pfn) | XM_PG_V | XM_PG_RW | k->kpte);
	if (!status)
		status = xm_pte_flush(k);
	if (!status)
		XM_PUT(k->m, k->kl1[l1], (uint8_t)1);
	return status;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

int xm_uvm_pagealloc(struct xm_kernel *k, uint64_t *pa_ret)
{
	int status = xm_kernel_enter(k);
	uint64_t pfn;

	if (status)
		return status;
	pfn = xm_page_get(k, XM_PAGE_USER);
	if (pfn == XM_NO_FRAME)
		return XM_E_NO_FRAMES;
	*pa_ret = pfn << XM_PAGE_SHIFT;
	return XM_OK;
}

int xm_uvm_pagefree(struct xm_kernel *k, uint64_t pa)
{
	int status = xm_kernel_enter(k);

	if (!status)
		status = xm_page_check(k, pa);
	if (status)
		return status;
	if (k->pages[pa >> XM_PAGE_SHIFT].uses || k->pages[pa >> XM_PAGE_SHIFT].sharers)
		return XM_E_STATE;
	xm_page_put(k, pa >> XM_PAGE_SHIFT);
	return XM_OK;
}

int xm_pmap_zero_page(struct xm_kernel *k, uint64_t pa)
{
	int status = xm_kernel_enter(k);

	if (!status)
		status = xm_page_check(k, pa);
	return status ? status : xm_zero_pfn(k, pa >> XM_PAGE_SHIFT);
}

int xm_pmap_copy_page(struct xm_kernel *k, uint64_t src, uint64_t dst)
{
	int status = xm_kernel_enter(k);

	if (!status)
		status = xm_page_check(k, src);
	if (!status)
		status = xm_page_check(k, dst);
	return status ? status : xm_copy_pfn(k, src >> XM_PAGE_SHIFT, dst >> XM_PAGE_SHIFT);
}

static int check_kva(const struct xm_kernel *k, uint64_t va, uint64_t len)
{
	if (va % XM_PAGE_SIZE || len % XM_PAGE_SIZE)
		return XM_E_ALIGNMENT;
	if (va < k->kva || va - k->kva >= XM_KVA_CALLERS || len > XM_KVA_CALLERS - (va - k->kva))
		return XM_E_ARGUMENT;
	return XM_OK;
}

int xm_pmap_kenter_pa(struct xm_kernel *k, uint64_t va, uint64_t pa, uint32_t prot)
{
	uint64_t ptep = xm_slot_entry_va(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 1, 4, va), old = 0, pfn;
	int status = xm_kernel_enter(k);

	if (!status)
		status = check_kva(k, va, XM_PAGE_SIZE);
	if (!status)
		status = xm_page_check(k, pa);
	if (!status && (!prot || prot > XM_VM_PROT_ALL))
		status = XM_E_ARGUMENT;
	if (!status)
		status = xm_growkernel(k, xm_pl_pi(va, 2));
	if (!status)
		status = xm_pte_read(k, ptep, &old);
	if (!status && xm_pg_valid(old)) {
		status = xm_mtop(k, old, &pfn);
		if (!status)
			xm_page_mapped(k, pfn, -1);
	}
	if (!status)
		status = xm_kenter(k, va, pa >> XM_PAGE_SHIFT, (prot & XM_VM_PROT_WRITE) != 0);
	if (!status)
		xm_page_mapped(k, pa >> XM_PAGE_SHIFT, 1);
	return status;
}

/* n entries, one update each; then the shootdown, if the processor may know one of them. */
int xm_pmap_kremove(struct xm_kernel *k, uint64_t va, uint64_t len)
{
	uint64_t old = 0, seen = 0, pfn;
	int status = xm_kernel_enter(k);

	if (!status)
		status = check_kva(k, va, len);
	for (uint64_t at = va; !status && at < va + len; at += XM_PAGE_SIZE)
		if (!k->kl1[xm_pl_pi(at, 2)])
			return XM_E_ARGUMENT;
	for (uint64_t at = va; !status && at < va + len; at += XM_PAGE_SIZE) {
		status = xm_pte_testset(k, xm_slot_entry_va(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 1, 4, at), 0, &old);
		if (status || !xm_pg_valid(old))
			continue;
		seen |= old;
		status = xm_mtop(k, old, &pfn);
		if (!status)
			xm_page_mapped(k, pfn, -1);
	}
	if (!status && (seen & XM_PG_U))
		status = xm_shootdown(k, 0, va, va + len);
	return status;
}
