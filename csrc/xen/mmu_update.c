/*
 * mmu_update.c - the hypercalls that write single entries: mmu_update and update_va_mapping.
 *
 * Knows: the order of the checks, and that every path is disallowed flags, adjustment, fast path or references, store,
 * old references.  Does not know: the checks themselves (entry.c, frame.c).
 *
 * Xen 4.17: do_mmu_update, mod_l1_entry .. mod_l4_entry, do_update_va_mapping (mm.c).
 */
#include "handle.h"

#define CONTINUED 0x80000000U

struct xm_domain *xm_domain_by_id(const struct xm_xen *x, unsigned domid)
{
	return domid < XM_MAX_DOMAINS ? x->domain[domid] : NULL;
}

/* get_pg_owner: whose frames the call names.  A domain's own number is not accepted for itself. */
int xm_foreigndom(const struct xm_domain *d, unsigned fd, unsigned *owner_ret)
{
	if (fd == XM_DOMID_SELF) {
		*owner_ret = d->domid;
		return XM_R_NONE;
	}
	if (fd == d->domid)
		return XM_R_FOREIGNDOM_OWN_ID;
	if (fd != XM_DOMID_IO && fd != XM_DOMID_XEN && !xm_domain_by_id(d->xen, fd))
		return XM_R_FOREIGNDOM_UNKNOWN;
	*owner_ret = fd;
	return XM_R_NONE;
}

/* The dummy security module's rule: a domain acts on itself, the hardware domain on any. */
int xm_may_target(const struct xm_domain *d, unsigned owner)
{
	return d->privileged || owner == d->domid;
}

/* Fill the result of a hypercall that ends with this reason. */
int xm_finish(struct xm_domain *d, int reason, struct xm_result *ret)
{
	struct xm_xen *x = d->xen;

	ret->rc = -xm_errno(x, reason);
	ret->reason = (uint32_t)reason;
	ret->mfn = reason ? x->at.mfn : 0;
	ret->level = reason ? x->at.level : 0;
	ret->slot = reason ? x->at.slot : 0;
	return XM_OK;
}

/* ---- one entry --------------------------------------------------------------------------------------------------- */

static void store_entry(struct xm_xen *x, uint64_t pa, unsigned level, uint64_t old, uint64_t entry, int preserve_ad)
{
	if (preserve_ad)
		entry |= old & (XM_PTE_A | XM_PTE_D);
	xm_poke(x->machine, pa, xm_entry_to_store(x, level, entry));
}

/* d owns the table at pa; pg_owner owns what the entry maps. */
int xm_mod_l1_entry(struct xm_xen *x, struct xm_domain *d, unsigned pg_owner, uint64_t pa, uint64_t entry,
		    int preserve_ad)
{
	uint64_t old = xm_peek(x->machine, pa), flip;
	int reason;

	if (entry & XM_PTE_P) {
		unsigned slot = (unsigned)(pa & (XM_PAGE_SIZE - 1)) / 8;

		reason = xm_entry_flags_check(x, d, 1, entry);
		if (reason)
			return xm_refuse(x, reason, pa >> XM_PAGE_SHIFT, 1, slot);
		entry = xm_adjust_entry(x, 1, entry);
		if (xm_entry_fast_path(x, 1, old, entry)) {
			store_entry(x, pa, 1, old, entry, preserve_ad);
			return XM_R_NONE;
		}
		reason = xm_get_page_from_l1e(x, d, pg_owner, entry, &flip);
		if (reason)
			return xm_refuse(x, reason, pa >> XM_PAGE_SHIFT, 1, slot);
		entry ^= flip;
	}
	store_entry(x, pa, 1, old, entry, preserve_ad);
	xm_put_page_from_l1e(x, old);
	return XM_R_NONE;
}

static int mod_upper_entry(struct xm_xen *x, struct xm_domain *d, unsigned level, uint64_t pa, uint64_t entry,
			   int preserve_ad)
{
	uint64_t old = xm_peek(x->machine, pa), table = pa >> XM_PAGE_SHIFT;
	unsigned slot = (unsigned)(pa & (XM_PAGE_SIZE - 1)) / 8;
	int reason;

	if (level == 4 && !xm_is_guest_l4_slot(x, slot))
		return xm_refuse(x, XM_R_L4_SLOT_RESERVED, table, level, slot);
	if (entry & XM_PTE_P) {
		reason = xm_entry_flags_check(x, d, level, entry);
		if (reason)
			return xm_refuse(x, reason, table, level, slot);
		entry = xm_adjust_entry(x, level, entry);
		if (xm_entry_fast_path(x, level, old, entry)) {
			store_entry(x, pa, level, old, entry, preserve_ad);
			return XM_R_NONE;
		}
		reason = xm_get_page_from_lne(x, d, table, level, slot, entry);
		if (reason)
			return reason;
	}
	store_entry(x, pa, level, old, entry, preserve_ad);
	if ((old & XM_PTE_P) && xm_entry_mfn(old) != table)
		x->deferred = 1;
	xm_put_page_from_lne(x, table, level, old);
	return XM_R_NONE;
}

/* ---- mmu_update -------------------------------------------------------------------------------------------------- */

/* A table out of use, which is no table to 4.17: is it brought back for the time of this update? */
static int revive(struct xm_xen *x, uint64_t mfn)
{
	const struct xm_frame *f = &x->frame[mfn];
	unsigned type = xm_type(f);

	if (!x->profile->revalidates || xm_type_count(f) || type < XM_PGT_L1 || type > XM_PGT_L4)
		return 0;
	return !xm_get_page_type(x, mfn, type);
}

static int update_pt(struct xm_batch *b, uint64_t ptr, uint64_t val, int preserve_ad)
{
	struct xm_xen *x = b->d->xen;
	uint64_t mfn = ptr >> XM_PAGE_SHIFT, pa = ptr & ~7ULL;
	const struct xm_frame *f;
	unsigned type;
	int reason, revived;

	if (!xm_get_page(x, mfn, b->pt_owner->domid))
		return xm_refuse(x, XM_R_PTR_NOT_OWNED, mfn, 0, 0);
	f = &x->frame[mfn];
	revived = revive(x, mfn);
	type = xm_type(f);
	if (!xm_type_count(f) || !(f->type_info & XM_PGT_VALIDATED)) {
		reason = xm_get_page_type(x, mfn, XM_PGT_WRITABLE);
		if (!reason) {
			xm_poke(x->machine, pa, val);
			xm_put_page_type(x, mfn);
		}
	} else if (type == XM_PGT_L1) {
		reason = xm_mod_l1_entry(x, b->pt_owner, b->pg_owner, pa, val, preserve_ad);
	} else if (type >= XM_PGT_L2 && type <= XM_PGT_L4) {
		if (b->pg_owner != b->pt_owner->domid) {
			reason = xm_refuse(x, XM_R_PT_UPDATE_FOREIGNDOM, mfn, type, (unsigned)(pa & 0xfff) / 8);
		} else {
			reason = mod_upper_entry(x, b->pt_owner, type, pa, val, preserve_ad);
			b->flush |= !reason;
		}
	} else if (type == XM_PGT_WRITABLE) {
		xm_poke(x->machine, pa, val);
		reason = XM_R_NONE;
	} else {
		reason = xm_refuse(x, XM_R_PTR_TYPE, mfn, 0, 0);
	}
	if (revived)
		xm_put_page_type(x, mfn);
	xm_put_page(x, mfn);
	return reason;
}

static int update_m2p(struct xm_batch *b, uint64_t ptr, uint64_t val)
{
	struct xm_xen *x = b->d->xen;
	uint64_t mfn = ptr >> XM_PAGE_SHIFT;

	if (b->pt_owner != b->d)
		return xm_refuse(x, XM_R_MACHPHYS_FOREIGN_PT, mfn, 0, 0);
	if (b->pg_owner != XM_DOMID_IO && !xm_may_target(b->d, b->pg_owner))
		return xm_refuse(x, XM_R_NO_PRIVILEGE, mfn, 0, 0);
	if (!xm_get_page(x, mfn, b->pg_owner))
		return xm_refuse(x, XM_R_MACHPHYS_NOT_OWNED, mfn, 0, 0);
	xm_m2p_set(x, mfn, val);
	xm_put_page(x, mfn);
	return XM_R_NONE;
}

int xm_update_one(struct xm_batch *b, const struct xm_mmu_update *req)
{
	unsigned cmd = req->ptr & 7;

	if (cmd >= b->d->xen->profile->mmu_commands)
		return xm_refuse(b->d->xen, XM_R_UNKNOWN_COMMAND, req->ptr >> XM_PAGE_SHIFT, 0, 0);
	if (cmd == XM_MMU_MACHPHYS_UPDATE)
		return update_m2p(b, req->ptr, req->val);
	/* Mapping MMIO is a matter of iomem permission, whoever asks. */
	if (cmd <= XM_MMU_PT_UPDATE_NO_TRANSLATE && b->pg_owner != XM_DOMID_IO && !xm_may_target(b->d, b->pg_owner))
		return xm_refuse(b->d->xen, XM_R_NO_PRIVILEGE, req->ptr >> XM_PAGE_SHIFT, 0, 0);
	if (cmd <= XM_MMU_PT_UPDATE_NO_TRANSLATE && !xm_may_target(b->d, b->pt_owner->domid))
		return xm_refuse(b->d->xen, XM_R_NO_PRIVILEGE, req->ptr >> XM_PAGE_SHIFT, 0, 0);
	switch (cmd) {
	case XM_MMU_NORMAL_PT_UPDATE:
	case XM_MMU_PT_UPDATE_NO_TRANSLATE:
		return update_pt(b, req->ptr, req->val, 0);
	case XM_MMU_PT_UPDATE_PRESERVE_AD:
		return update_pt(b, req->ptr, req->val, 1);
	default:
		return xm_refuse(b->d->xen, XM_R_UNKNOWN_COMMAND, req->ptr >> XM_PAGE_SHIFT, 0, 0);
	}
}

/* Whose page tables and whose frames: the upper and the lower half of foreigndom. */
int xm_batch_tables(struct xm_batch *b, uint32_t foreigndom)
{
	unsigned pfd = b->d->xen->profile->names_table_owner ? foreigndom >> 16 : 0;

	b->pt_owner = pfd ? xm_domain_by_id(b->d->xen, pfd - 1) : b->d;
	return b->pt_owner ? XM_R_NONE : XM_R_PT_OWNER_UNKNOWN;
}

/* The hypercall's own arguments, in Xen's order; 1 when it goes on to the elements. */
static int open_batch(struct xm_batch *b, uint32_t count, uint32_t foreigndom, struct xm_result *ret)
{
	struct xm_domain *d = b->d;
	int reason;

	memset(&d->xen->at, 0, sizeof(d->xen->at));
	reason = xm_batch_tables(b, foreigndom);
	if (!reason) {
		if (!(count & CONTINUED))
			ret->done = 0;
		reason = xm_foreigndom(d, foreigndom & 0xffff, &b->pg_owner);
	}
	if (reason)
		xm_finish(d, reason, ret);
	return !reason;
}

int xm_mmu_update(struct xm_domain *d, const struct xm_mmu_update *reqs, uint32_t count, uint32_t foreigndom,
		  struct xm_result *ret)
{
	struct xm_machine *m = d->xen->machine;
	struct xm_batch b = {.d = d};
	uint32_t n = count & ~CONTINUED, done = 0;
	int reason = XM_R_NONE;

	if (!d->alive || d->vcpu.user_mode)
		return XM_E_STATE;
	if (!reqs && n)
		return XM_E_ARGUMENT;
	XM_PUT(m, d->counters.mmu_update, d->counters.mmu_update + 1);
	if (count == CONTINUED && !reqs) {
		xm_finish(d, XM_R_NONE, ret);
		ret->rc = (int32_t)foreigndom;
		return XM_OK;
	}
	if (!open_batch(&b, count, foreigndom, ret))
		return XM_OK;
	for (; done < n; done++) {
		reason = xm_update_one(&b, &reqs[done]);
		if (reason)
			break;
	}
	XM_PUT(m, d->counters.mmu_update_entries, d->counters.mmu_update_entries + done + (done < n));
	ret->done += done;
	/* XSA-286: translations through the old upper entries must not outlive the call, whatever ended it. */
	if (b.flush && d->xen->profile->flush_upper)
		xm_flush_tlb(b.pt_owner);
	return xm_finish(d, reason, ret);
}

/* ---- update_va_mapping ------------------------------------------------------------------------------------------- */

static int update_va(struct xm_domain *d, uint64_t va, uint64_t val, unsigned pg_owner)
{
	struct xm_xen *x = d->xen;
	uint64_t l2e_pa, l2e, mfn;
	const struct xm_frame *f;

	if (!xm_addr_ok(va))
		return xm_refuse(x, XM_R_VA_NOT_GUEST, 0, 0, 0);
	l2e_pa = xm_find_entry(d, d->vcpu.kernel_root, va, 2);
	if (l2e_pa == ~0ULL)
		return xm_refuse(x, XM_R_VA_NO_TABLE, 0, 0, 0);
	l2e = xm_peek(x->machine, l2e_pa);
	if (!(l2e & XM_PTE_P))
		return xm_refuse(x, XM_R_VA_NO_TABLE, l2e_pa >> XM_PAGE_SHIFT, 2, (unsigned)(l2e_pa & 0xfff) / 8);
	mfn = xm_entry_mfn(l2e);
	if (!xm_mfn_valid(x, mfn) || x->frame[mfn].owner != d->domid)
		return xm_refuse(x, XM_R_VA_L1_NOT_OWNED, mfn, 0, 0);
	f = &x->frame[mfn];
	if (xm_type(f) != XM_PGT_L1 || !xm_type_count(f) || !(f->type_info & XM_PGT_VALIDATED))
		return xm_refuse(x, XM_R_VA_L1_NOT_VALIDATED, mfn, 0, 0);
	return xm_mod_l1_entry(x, d, pg_owner, (mfn << XM_PAGE_SHIFT) + ((va >> 12) & 511) * 8, val, 0);
}

/* The flush asked for: what in the low bits, whose in the rest. */
static int flush_as_asked(struct xm_domain *d, uint64_t va, uint64_t flags)
{
	uint64_t kind = flags & XM_UVMF_FLUSHTYPE_MASK, target = flags & ~(uint64_t)XM_UVMF_FLUSHTYPE_MASK;
	uint64_t vcpus = 1;

	if (kind != XM_UVMF_TLB_FLUSH && kind != XM_UVMF_INVLPG)
		return XM_R_NONE;
	if (target && target != XM_UVMF_ALL && !xm_copy_from_guest(d, target, &vcpus))
		return xm_refuse(d->xen, XM_R_FLUSH_BITMAP, 0, 0, 0);
	if (!(vcpus & 1))
		return XM_R_NONE;
	if (kind == XM_UVMF_TLB_FLUSH)
		xm_flush_tlb(d);
	else
		xm_flush_page(d, va);
	return XM_R_NONE;
}

static int do_update_va_mapping(struct xm_domain *d, uint64_t va, uint64_t val, uint64_t flags, unsigned fd,
				struct xm_result *ret)
{
	struct xm_machine *m = d->xen->machine;
	unsigned pg_owner = 0;
	int reason;

	if (!d->alive || d->vcpu.user_mode)
		return XM_E_STATE;
	XM_PUT(m, d->counters.update_va_mapping, d->counters.update_va_mapping + 1);
	memset(&d->xen->at, 0, sizeof(d->xen->at));
	reason = xm_foreigndom(d, fd, &pg_owner);
	if (!reason && !xm_may_target(d, pg_owner))
		reason = XM_R_NO_PRIVILEGE;
	if (!reason)
		reason = update_va(d, va, val, pg_owner);
	ret->done = !reason;
	if (!reason)
		reason = flush_as_asked(d, va, flags);
	return xm_finish(d, reason, ret);
}

int xm_update_va_mapping(struct xm_domain *d, uint64_t va, uint64_t val, uint64_t flags, struct xm_result *ret)
{
	return do_update_va_mapping(d, va, val, flags, XM_DOMID_SELF, ret);
}

int xm_update_va_mapping_otherdomain(struct xm_domain *d, uint64_t va, uint64_t val, uint64_t flags, uint32_t domid,
				     struct xm_result *ret)
{
	return do_update_va_mapping(d, va, val, flags, domid & 0xffff, ret);
}
