/*
 * load.c - the life of a pmap: its L4 from the pdp cache, create and destroy, and its turn on the processor.
 *
 * Knows (x86/x86/pmap.c): 1.13.2.11 constructs an L4 once (read-only, pinned) and keeps it so in the cache, slot 255
 * holding the frame without V at first; 1.1.4.2 (stock) makes it read-only in pmap_create, pins it when it is first
 * loaded, and unpins it and makes it writable again in pmap_destroy.  pmap_load copies all 255 user slots into the
 * kernel's L4; cpu_load_pmap of 2012 and later (per-cpu) only those that differ.
 *
 * The pool that backs the cache maps four pages at a time, with one update call.  A pmap is destroyed when its last
 * reference goes, and the processor holds one on the pmap it has loaded: an exited process's L4 stays until another is
 * loaded.  Does not know: mappings.
 */
#include "kernel.h"

#define PDIR_BATCH 4
#define GEN_LAST 0xffff

uint32_t xm_pmap_handle(const struct xm_kernel *k, uint32_t i)
{
	return i ? (uint32_t)xm_pmap_at(k, i)->gen << 16 | i : XM_PMAP_KERNEL;
}

uint32_t xm_pmap_index(const struct xm_kernel *k, uint32_t handle)
{
	uint32_t i = handle & 0xffff;

	if (!i || i >= k->pmaps.used || !xm_pmap_at(k, i)->live || xm_pmap_at(k, i)->gen != handle >> 16)
		return 0;
	return i;
}

/* ---- the pdp cache ----------------------------------------------------------------------------------------------- */

static uint64_t pdir_pte(const struct xm_kernel *k, uint32_t pdir)
{
	return xm_slot_entry_va(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 1, 4, xm_pdir_va(k, pdir));
}

/* One more page of the pool: its mapping is queued. */
static int pdir_add(struct xm_kernel *k)
{
	uint32_t i = xm_pool_get(k->m, &k->pdirs);
	struct xm_pdir *pdir;
	uint64_t pfn;
	int status;

	if (!i)
		return XM_E_MEMORY;
	status = xm_growkernel(k, xm_pl_pi(xm_pdir_va(k, i), 2));
	if (status)
		return status;
	pfn = xm_page_get(k, XM_PAGE_KERNEL);
	if (pfn == XM_NO_FRAME)
		return XM_E_NO_FRAMES;
	pdir = xm_pdir_at(k, i);
	XM_PUT(k->m, pdir->pfn, (uint32_t)pfn);
	XM_PUT(k->m, pdir->built, 0U);
	XM_PUT(k->m, pdir->next, k->pdir_raw);
	XM_PUT(k->m, k->pdir_raw, i);
	return xm_pte_set(k, pdir_pte(k, i), xm_ptoma(k, pfn) | XM_PG_V | XM_PG_RW | k->kpte);
}

int xm_pdir_refill(struct xm_kernel *k)
{
	uint64_t n = k->free_pages > PDIR_BATCH + 1 ? PDIR_BATCH : 1;
	int status = XM_OK;

	/* Two: the page, and an L1 for its mapping. */
	if (k->free_pages < 2)
		return XM_E_NO_FRAMES;
	/* An index is never given back, so that it is a place in kernel virtual memory for good. */
	if (k->pdirs.used + n > XM_KVA_CALLERS / XM_PAGE_SIZE - XM_KVA_PDIRS)
		return XM_E_LIMIT;
	while (!status && n--)
		status = pdir_add(k);
	return status ? status : xm_pte_flush(k);
}

static int pin(struct xm_kernel *k, uint64_t pfn)
{
	return xm_xpq_mmuext(k, XM_MMUEXT_PIN_L4_TABLE, xm_ptom(k, pfn));
}

/* pmap_pdp_ctor: empty, slot 255 naming the page itself; valid only natively. */
static int pdir_clear(struct xm_kernel *k, uint32_t i)
{
	uint64_t va = xm_pdir_va(k, i), self = xm_ptoma(k, xm_pdir_at(k, i)->pfn);
	int status = xm_kfill_page(k, va);

	if (!status)
		status = xm_kstore(k, va + XM_L4_SLOT_PTE * 8,
				   self | (xm_is_native(k) ? (uint64_t)(XM_PG_V | XM_PG_RW) : k->kpte));
	return status;
}

/* A native L4 has the kernel's half in it. */
static int pdir_kernel_half(struct xm_kernel *k, uint32_t i)
{
	uint64_t words[256];
	int status = xm_kread_words(k, xm_slot_base(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 4, 4) + 2048, 256, words);

	for (unsigned slot = 256; !status && slot < 512; slot++)
		if (slot != XM_L4_SLOT_APTE && words[slot - 256])
			status = xm_kstore(k, xm_pdir_va(k, i) + 8 * slot, words[slot - 256]);
	return status;
}

static int pdir_build(struct xm_kernel *k, uint32_t i)
{
	struct xm_pdir *pdir = xm_pdir_at(k, i);
	int status = pdir_clear(k, i);

	if (status)
		return status;
	if (xm_is_native(k))
		return pdir_kernel_half(k, i);
	/* 1.13.2.11 fills the last kernel slot with a frame field of ones, not present, for a check in pmap_create. */
	if (k->design == XM_DESIGN_KEPT || k->design == XM_DESIGN_STOCK_LITERAL)
		status = xm_kstore(k, xm_pdir_va(k, i) + 8 * XM_L4_SLOT_KERN, XM_PG_FRAME);
	if (!status)
		status = xm_kenter(k, xm_pdir_va(k, i), pdir->pfn, 0);
	if (status || k->design == XM_DESIGN_STOCK)
		return status;
	status = pin(k, pdir->pfn);
	if (!status)
		XM_PUT(k->m, pdir->built, 1U);
	return status;
}

static int pdir_get(struct xm_kernel *k, uint32_t *pdir_ret)
{
	uint32_t i = k->pdir_free;
	int status = XM_OK;

	if (i) {
		XM_PUT(k->m, k->pdir_free, xm_pdir_at(k, i)->next);
		*pdir_ret = i;
		return XM_OK;
	}
	if (!k->pdir_raw)
		status = xm_pdir_refill(k);
	if (status)
		return status;
	i = k->pdir_raw;
	XM_PUT(k->m, k->pdir_raw, xm_pdir_at(k, i)->next);
	*pdir_ret = i;
	return pdir_build(k, i);
}

static void pdir_put(struct xm_kernel *k, uint32_t i)
{
	struct xm_pdir *pdir = xm_pdir_at(k, i);
	uint32_t *list = pdir->built ? &k->pdir_free : &k->pdir_raw;

	XM_PUT(k->m, pdir->next, *list);
	XM_PUT(k->m, *list, i);
}

/* ---- create, destroy --------------------------------------------------------------------------------------------- */

int xm_do_create(struct xm_kernel *k, uint32_t *pm_ret)
{
	uint32_t i = xm_pool_get(k->m, &k->pmaps), pdir;
	struct xm_pmap *pmap;
	int status;

	if (!i)
		return XM_E_MEMORY;
	status = i > 0xffff ? XM_E_LIMIT : pdir_get(k, &pdir);
	if (status) {
		xm_pool_put(k->m, &k->pmaps, i);
		return status;
	}
	pmap = xm_pmap_at(k, i);
	xm_journal_note(k->m, pmap, sizeof(*pmap));
	*pmap = (struct xm_pmap){.gen = pmap->gen, .live = 1, .refs = 1, .pdir = pdir, .pfn = xm_pdir_at(k, pdir)->pfn};
	XM_PUT(k->m, k->live, k->live + 1);
	*pm_ret = i;
	return XM_OK;
}

/* The last reference is gone. */
static int release(struct xm_kernel *k, uint32_t pm)
{
	struct xm_pmap *pmap = xm_pmap_at(k, pm);
	int status = xm_apdp_forget(k, pm);

	if (!status && pmap->pinned)
		status = xm_xpq_mmuext(k, XM_MMUEXT_UNPIN_TABLE, xm_ptom(k, pmap->pfn));
	if (!status && k->design == XM_DESIGN_STOCK)
		status = xm_kenter(k, xm_pdir_va(k, pmap->pdir), pmap->pfn, 1);
	if (status)
		return status;
	pdir_put(k, pmap->pdir);
	/* A handle whose generations are used up is retired. */
	if (pmap->gen < GEN_LAST)
		xm_pool_put(k->m, &k->pmaps, pm);
	return XM_OK;
}

static int unreference(struct xm_kernel *k, uint32_t pm)
{
	struct xm_pmap *pmap = xm_pmap_at(k, pm);

	XM_PUT(k->m, pmap->refs, pmap->refs - 1);
	return pmap->refs ? XM_OK : release(k, pm);
}

int xm_do_destroy(struct xm_kernel *k, uint32_t pm)
{
	struct xm_pmap *pmap = xm_pmap_at(k, pm);
	int status = XM_OK;

	if (pmap->ptps)
		status = xm_do_remove(k, pm, 0, XM_VM_MAXUSER_ADDRESS);
	if (status)
		return status;
	XM_PUT(k->m, pmap->live, (uint8_t)0);
	XM_PUT(k->m, pmap->gen, (uint16_t)(pmap->gen + 1));
	XM_PUT(k->m, k->live, k->live - 1);
	return unreference(k, pm);
}

/* ---- on the processor -------------------------------------------------------------------------------------------- */

static int queue_slot(struct xm_kernel *k, unsigned slot, uint64_t value)
{
	XM_PUT(k->m, k->kslot[slot], xm_pg_valid(value) ? (value & XM_PG_FRAME) >> XM_PAGE_SHIFT : 0);
	return xm_xpq_queue(k, (k->root << XM_PAGE_SHIFT) + 8 * slot, value);
}

/* The user half of the kernel's L4. */
static int load_slots(struct xm_kernel *k, const struct xm_pmap *pmap, int only_differing)
{
	uint64_t user[XM_L4_SLOT_PTE], kernel[XM_L4_SLOT_PTE];
	int status = xm_kread_words(k, xm_pdir_va(k, pmap->pdir), XM_L4_SLOT_PTE, user);

	if (!status && only_differing)
		status = xm_kread_words(k, xm_slot_base(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 4, 4), XM_L4_SLOT_PTE, kernel);
	for (unsigned slot = 0; !status && slot < XM_L4_SLOT_PTE; slot++)
		if (!only_differing || user[slot] != kernel[slot])
			status = queue_slot(k, slot, user[slot]);
	return status ? status : xm_xpq_flush(k);
}

static int load_native(struct xm_kernel *k, const struct xm_pmap *pmap)
{
	xm_journal_note(k->m, &k->cpu, sizeof(k->cpu));
	if (xm_cpu_set(&k->cpu, XM_REG_CR3, pmap->pfn << XM_PAGE_SHIFT))
		return xm_panic(k, "pmap_load: CR3 refused");
	XM_COUNT(k, xen.cr3_loads);
	return XM_OK;
}

static int load_xen(struct xm_kernel *k, struct xm_pmap *pmap)
{
	int per_cpu = k->design == XM_DESIGN_PER_CPU, status = XM_OK;

	if (k->design == XM_DESIGN_STOCK && !pmap->pinned) {
		status = pin(k, pmap->pfn);
		if (!status)
			XM_PUT(k->m, pmap->pinned, (uint8_t)1);
	}
	if (!status)
		status = load_slots(k, pmap, per_cpu);
	if (!status && !per_cpu)
		status = xm_tlbflush(k);
	if (!status)
		status = xm_xpq_set_user_pgd(k, pmap->pfn);
	if (!status && per_cpu)
		status = xm_tlbflush(k);
	return status;
}

int xm_pmap_load(struct xm_kernel *k, uint32_t pm)
{
	struct xm_pmap *pmap = xm_pmap_at(k, pm);
	uint32_t old = k->loaded;
	int status;

	if (old == pm)
		return XM_OK;
	status = xm_is_native(k) ? load_native(k, pmap) : load_xen(k, pmap);
	if (status)
		return status;
	XM_COUNT(k, pmap_loads);
	XM_PUT(k->m, k->loaded, pm);
	XM_PUT(k->m, pmap->refs, pmap->refs + 1);
	return old ? unreference(k, old) : XM_OK;
}

int xm_return_to_user(struct xm_kernel *k)
{
	int status;

	if (!k->current)
		return XM_E_STATE;
	if (k->d && xm_domain_user_mode(k->d))
		return XM_OK;
	status = xm_pmap_load(k, k->current);
	if (status || xm_is_native(k))
		return status;
	status = xm_enter_user(k->d);
	return status ? xm_panic(k, "return to user mode: %s", xm_strerror(status)) : XM_OK;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

int xm_pmap_create(struct xm_kernel *k, uint32_t *pm_ret)
{
	uint32_t i;
	int status = xm_kernel_enter(k);

	if (!status)
		status = xm_do_create(k, &i);
	if (!status)
		*pm_ret = xm_pmap_handle(k, i);
	return status;
}

int xm_pmap_destroy(struct xm_kernel *k, uint32_t pm)
{
	uint32_t i = xm_pmap_index(k, pm);
	int status = xm_kernel_enter(k);

	if (status)
		return status;
	if (!i)
		return XM_E_ARGUMENT;
	return i == k->current ? XM_E_STATE : xm_do_destroy(k, i);
}
