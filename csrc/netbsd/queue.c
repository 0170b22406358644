/*
 * queue.c - the queue of page-table updates, and the hypercalls that go round it.
 *
 * Knows: xen/x86/x86_xpmap.c 1.5 (2008-01-15): updates collect up to XPQUEUE_SIZE, an empty queue calls nothing,
 * and each extended operation flushes the queue first and is one call with one element.  (The files of 2011 and later
 * call mmu_update even for an empty queue; here no design does, so that designs differ by their own calls only.)
 * Natively an update is a store and a flush an instruction.  Does not know: why an entry changes.
 */
#include "kernel.h"

static int refused(struct xm_kernel *k, const char *what, uint64_t arg, uint64_t value, int status,
		   const struct xm_result *r)
{
	if (status)
		return xm_panic(k, "%s 0x%llx: %s", what, (unsigned long long)arg, xm_strerror(status));
	return xm_panic(k, "%s 0x%llx, 0x%llx: refused with %lld: %s", what, (unsigned long long)arg,
			(unsigned long long)value, (long long)r->rc, xm_reason_text((int)r->reason));
}

int xm_xpq_flush(struct xm_kernel *k)
{
	struct xm_result r = {0};
	uint32_t n = k->queued;
	int status;

	if (!n)
		return XM_OK;
	k->queued = 0;
	status = xm_mmu_update(k->d, k->queue, n, XM_DOMID_SELF, &r);
	if (status || r.rc) {
		const struct xm_mmu_update *at = &k->queue[r.done < n ? r.done : 0];

		return refused(k, "xpq_flush_queue: mmu_update", at->ptr, at->val, status, &r);
	}
	return XM_OK;
}

int xm_xpq_queue(struct xm_kernel *k, uint64_t ma, uint64_t value)
{
	k->queue[k->queued++] = (struct xm_mmu_update){ma | XM_MMU_NORMAL_PT_UPDATE, value};
	XM_COUNT(k, pte_writes);
	return k->queued == XM_XPQUEUE_SIZE ? xm_xpq_flush(k) : XM_OK;
}

int xm_xpq_mmuext(struct xm_kernel *k, uint32_t cmd, uint64_t arg)
{
	struct xm_mmuext_op op = {cmd, 0, arg, 0};
	struct xm_result r = {0};
	int status = xm_xpq_flush(k);

	if (status)
		return status;
	status = xm_mmuext_op(k->d, &op, 1, XM_DOMID_SELF, &r);
	return status || r.rc ? refused(k, "mmuext_op", cmd, arg, status, &r) : XM_OK;
}

int xm_xpq_set_user_pgd(struct xm_kernel *k, uint64_t pfn)
{
	int status = xm_xpq_mmuext(k, XM_MMUEXT_NEW_USER_BASEPTR, xm_ptom(k, pfn));

	if (!status)
		XM_PUT(k->m, k->user_base, pfn);
	return status;
}

/* HYPERVISOR_update_va_mapping with UVMF_INVLPG. */
int xm_xpq_update_va(struct xm_kernel *k, uint64_t va, uint64_t value)
{
	struct xm_result r = {0};
	int status = xm_xpq_flush(k);

	if (status)
		return status;
	XM_COUNT(k, pte_writes);
	status = xm_update_va_mapping(k->d, va, value, XM_UVMF_INVLPG, &r);
	return status || r.rc ? refused(k, "update_va_mapping", va, value, status, &r) : XM_OK;
}

int xm_tlbflush(struct xm_kernel *k)
{
	if (!xm_is_native(k))
		return xm_xpq_mmuext(k, XM_MMUEXT_TLB_FLUSH_LOCAL, 0);
	XM_COUNT(k, xen.tlb_flushes);
	return XM_OK;
}

int xm_invlpg(struct xm_kernel *k, uint64_t va)
{
	if (!xm_is_native(k))
		return xm_xpq_mmuext(k, XM_MMUEXT_INVLPG_LOCAL, va);
	XM_COUNT(k, xen.invlpg);
	return XM_OK;
}

/* xpmap_ptetomach: the machine address of the entry at ptep, from the entry that maps it. */
static int ptetomach(struct xm_kernel *k, uint64_t ptep, uint64_t *ma_ret)
{
	uint64_t entry;
	int status = xm_pte_read(k, xm_slot_entry_va(XM_L4_SLOT_PTE, XM_L4_SLOT_PTE, 1, 4, ptep), &entry);

	if (!status && !xm_pg_valid(entry))
		return xm_panic(k, "xpmap_ptetomach: nothing at 0x%llx", (unsigned long long)ptep);
	if (!status)
		*ma_ret = (entry & XM_PG_FRAME) | (ptep & (XM_PAGE_SIZE - 8));
	return status;
}

int xm_pte_set(struct xm_kernel *k, uint64_t ptep, uint64_t value)
{
	uint64_t ma = 0;
	int status;

	if (xm_is_native(k)) {
		XM_COUNT(k, pte_writes);
		return xm_kstore(k, ptep, value);
	}
	status = ptetomach(k, ptep, &ma);
	return status ? status : xm_xpq_queue(k, ma, value);
}

int xm_pte_flush(struct xm_kernel *k)
{
	return xm_is_native(k) ? XM_OK : xm_xpq_flush(k);
}

int xm_pte_testset(struct xm_kernel *k, uint64_t ptep, uint64_t value, uint64_t *old_ret)
{
	uint64_t old;
	int status = xm_pte_read(k, ptep, &old);

	if (!status)
		status = xm_pte_set(k, ptep, value);
	if (!status)
		status = xm_pte_flush(k);
	if (!status && old_ret)
		*old_ret = old;
	return status;
}
