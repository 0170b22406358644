/*
 * entry.c - one page-table entry: which flags Xen allows, how it adjusts them, and which references it holds.
 *
 * Knows: what each present entry of each level must point at, and what it counts.  Does not know: when entries are
 * written (mmu_update.c) or whole tables taken (validate.c).
 *
 *	entry			general ref	type ref
 *	L1E read-only to RAM	1		-
 *	L1E writable to RAM	1		1 writable
 *	L1E to MMIO		-		-
 *	LnE, n >= 2		1		1 L(n-1)
 *	LnE to another Ln	1		1 Ln		a linear entry: read-only, one hop deep
 *	LnE to its own table	-		-		a self entry: read-only
 *
 * Xen 4.17: L?_DISALLOW_MASK and adjust_guest_l?e (pv/mm.h), get_page_from_l?e, put_page_from_l?e and the
 * DEFINE_GET_LINEAR_PAGETABLE family (mm.c).
 */
#include "xen.h"

/* Slots 256..271 of every L4 are Xen's. */
int xm_is_guest_l4_slot(const struct xm_xen *x, unsigned slot)
{
	unsigned last = XM_L4_LAST_XEN_SLOT - (unsigned)xm_mutant(x, XM_MUT_SLOT_RANGE_OFF_BY_ONE_HIGH);

	return slot < XM_L4_FIRST_XEN_SLOT || slot > last;
}

/* PSE in an L2 entry is both disallowed and never a fast-path change; XSA-148 is the loss of both. */
static uint64_t l2_pse(const struct xm_xen *x)
{
	return xm_mutant(x, XM_MUT_XSA_148_L2_PSE_UNCHECKED) ? XM_PTE_PS : 0;
}

int xm_entry_flags_check(struct xm_xen *x, const struct xm_domain *d, unsigned level, uint64_t entry)
{
	static const int reason[] = {0, XM_R_L1_FLAGS, XM_R_L2_FLAGS, XM_R_L3_FLAGS, XM_R_L4_FLAGS};
	uint64_t allowed = x->profile->allowed_upper;

	if (level == 1)
		allowed = d->privileged ? x->profile->allowed_l1_devices : x->profile->allowed_l1;
	else if (level == 2)
		allowed |= l2_pse(x);
	return entry & ~allowed ? reason[level] : XM_R_NONE;
}

/* Guests run in ring 3, kernel and user alike, so every present entry gets U.  An L1 entry that came without it is
 * marked as the kernel's by bit 52; one without that mark is the user's and may be global. */
uint64_t xm_adjust_entry(const struct xm_xen *x, unsigned level, uint64_t entry)
{
	if (!(entry & XM_PTE_P))
		return entry;
	if (level > 1)
		return entry | (level == 4 ? x->profile->added_l4 : XM_PTE_US);
	if (!(entry & XM_PTE_US))
		entry |= XM_PTE_US | XM_PTE_GUEST_KERNEL;
	if (!(entry & XM_PTE_GUEST_KERNEL))
		entry |= XM_PTE_G;
	return entry;
}

/* The form in which a checked entry is stored.  It is the checked one: a right that is added only now was never
 * checked, which is what was wrong with adjust_guest_l3e in XSA-185. */
uint64_t xm_entry_to_store(const struct xm_xen *x, unsigned level, uint64_t entry)
{
	if (xm_mutant(x, XM_MUT_USER_SLOT_RW_BY_ADJUST) && level == 4 && (entry & XM_PTE_P) &&
	    xm_mfn_valid(x, xm_entry_mfn(entry)) && xm_type(&x->frame[xm_entry_mfn(entry)]) == XM_PGT_L4)
		entry |= XM_PTE_RW;
	return entry;
}

/* May `entry` replace `old` without any check?  Both present, same frame, no right and no cache attribute changed. */
int xm_entry_fast_path(const struct xm_xen *x, unsigned level, uint64_t old, uint64_t entry)
{
	uint64_t may_change = level > 1 ? x->profile->unchecked_upper : x->profile->unchecked_l1;

	if (level == 2)
		may_change |= l2_pse(x);
	if (xm_mutant(x, XM_MUT_XSA_182_FASTPATH_RW) && level > 1)
		may_change |= XM_PTE_RW;
	if (xm_mutant(x, XM_MUT_XSA_182_FASTPATH_RW_L1) && level == 1)
		may_change |= XM_PTE_RW;
	if (xm_mutant(x, XM_MUT_FASTPATH_IGNORES_FRAME))
		may_change |= XM_PTE_ADDR;
	return !((old ^ entry) & ~may_change);
}

/* ---- level 1 ----------------------------------------------------------------------------------------------------- */

/* iomem_caps as Xen gives them to the hardware domain: all of the 40-bit space but the local APIC and MSI window and
 * HyperTransport's. */
static int iomem_permitted(const struct xm_domain *d, uint64_t mfn)
{
	if (!d || !d->privileged || mfn >= 1ULL << 28)
		return 0;
	return !(mfn >= 0xfee00 && mfn <= 0xfeeff) && !(mfn >= 0xfd00000 && mfn <= 0xfffffff);
}

/* mmio_ro_ranges: the I/O APIC and the HPET. */
int xm_mmio_read_only(uint64_t mfn)
{
	return mfn == 0xfec00 || mfn == 0xfed00;
}

/* What Xen changes in a mapping of MMIO: no writes where it keeps them to itself, no cacheable memory type.  The type
 * is an index of PAT, PCD, PWT into Xen's PAT MSR: WB WT UC- UC WC WP UC UC. */
static uint64_t mmio_flip(uint64_t mfn, uint64_t entry)
{
	unsigned pat = (entry & XM_PTE_PAT ? 4 : 0) | (entry & XM_PTE_PCD ? 2 : 0) | (entry & XM_PTE_PWT ? 1 : 0);
	uint64_t flip = 0;

	if (xm_mmio_read_only(mfn))
		flip |= entry & XM_PTE_RW;
	if (pat == 0 || pat == 1 || pat == 5)
		flip |= (entry & (XM_PTE_PAT | XM_PTE_PCD | XM_PTE_PWT)) ^ (XM_PTE_PCD | XM_PTE_PWT);
	return flip;
}

static int get_mmio(struct xm_xen *x, const struct xm_domain *d, unsigned pg_owner, uint64_t entry, uint64_t *flip_ret)
{
	uint64_t mfn = xm_entry_mfn(entry);
	const struct xm_domain *who = pg_owner == XM_DOMID_IO ? d : xm_domain_by_id(x, pg_owner);

	if (!iomem_permitted(who, mfn) || !iomem_permitted(d, mfn))
		return mfn == XM_PTE_ADDR >> XM_PAGE_SHIFT ? XM_R_MMIO_INVALID_MFN : XM_R_MMIO_NOT_PERMITTED;
	if (x->profile->checks_cache)
		*flip_ret = mmio_flip(mfn, entry);
	return XM_R_NONE;
}

/* Is a mapping of this frame a reference? */
static int is_counted(const struct xm_xen *x, uint64_t mfn)
{
	return xm_mfn_valid(x, mfn) && (x->frame[mfn].owner != XM_DOMID_IO || x->profile->counts_mmio);
}

/* The owner to take the reference for.  A privileged domain that writes to another's tables hands on its right to map
 * the frames of any domain. */
static unsigned real_owner(const struct xm_xen *x, const struct xm_domain *d, unsigned pg_owner, uint64_t mfn)
{
	unsigned owner = x->frame[mfn].owner;
	const struct xm_domain *who = xm_domain_by_id(x, pg_owner);

	if (xm_mutant(x, XM_MUT_OWNER_UNCHECKED_L1))
		return owner;
	return pg_owner != d->domid && who && owner != XM_OWNER_NONE && xm_may_target(who, owner) ? owner : pg_owner;
}

/* d owns the table; the frame must belong to pg_owner.  *flip_ret: bits to toggle in the entry before it is stored. */
int xm_get_page_from_l1e(struct xm_xen *x, struct xm_domain *d, unsigned pg_owner, uint64_t entry, uint64_t *flip_ret)
{
	uint64_t mfn = xm_entry_mfn(entry);
	int reason = xm_entry_flags_check(x, d, 1, entry);
	const struct xm_frame *f;

	*flip_ret = 0;
	if (reason)
		return reason;
	if (!xm_mfn_valid(x, mfn) || x->frame[mfn].owner == XM_DOMID_IO) {
		reason = get_mmio(x, d, pg_owner, entry, flip_ret);
		if (reason || !is_counted(x, mfn))
			return reason;
		pg_owner = XM_DOMID_IO;
	}
	f = &x->frame[mfn];
	if (!xm_get_page(x, mfn, real_owner(x, d, pg_owner, mfn)))
		return XM_R_L1_NOT_OWNED;
	if ((entry & XM_PTE_RW) && xm_get_page_type(x, mfn, XM_PGT_WRITABLE)) {
		xm_put_page(x, mfn);
		return XM_R_L1_RW_TYPE_CONFLICT;
	}
	if (x->profile->checks_cache && (entry & (XM_PTE_PAT | XM_PTE_PCD | XM_PTE_PWT)) &&
	    (f->count_info & XM_PGC_XEN_HEAP)) {
		if (entry & XM_PTE_RW)
			xm_put_page_type(x, mfn);
		xm_put_page(x, mfn);
		return XM_R_L1_CACHE_ATTRIBUTE;
	}
	return XM_R_NONE;
}

void xm_put_page_from_l1e(struct xm_xen *x, uint64_t entry)
{
	uint64_t mfn = xm_entry_mfn(entry);

	if (!(entry & XM_PTE_P) || !is_counted(x, mfn))
		return;
	if (entry & XM_PTE_RW)
		xm_put_page_type(x, mfn);
	xm_put_page(x, mfn);
}

/* ---- levels 2 to 4 ----------------------------------------------------------------------------------------------- */

/* The signs of linear_pt_count: a table either holds linear entries (above zero) or is used by some (below zero), never
 * both, so a chain is one hop long (XSA-240). */
static int linear_count_add(struct xm_xen *x, uint64_t mfn, int by)
{
	struct xm_frame *f = &x->frame[mfn];
	int next = f->linear_pt_count + by;

	if (!x->profile->linear_one_hop)
		return 1;
	if (next > INT16_MAX || next < INT16_MIN)
		return 0;
	if (!xm_mutant(x, XM_MUT_XSA_240_LINEAR_CHAIN) && (by > 0 ? next <= 0 : next >= 0))
		return 0;
	XM_PUT(x->machine, f->linear_pt_count, (int16_t)next);
	return 1;
}

static void linear_count_drop(struct xm_xen *x, uint64_t mfn, int by)
{
	struct xm_frame *f = &x->frame[mfn];

	if (x->profile->linear_one_hop)
		XM_PUT(x->machine, f->linear_pt_count, (int16_t)(f->linear_pt_count - by));
}

/* An entry of a table of level n that points at a table of the same level. */
static int get_linear_pagetable(struct xm_xen *x, const struct xm_domain *d, uint64_t table, unsigned level,
				uint64_t entry)
{
	uint64_t mfn = xm_entry_mfn(entry), want = (uint64_t)level << XM_PGT_TYPE_SHIFT | XM_PGT_VALIDATED;
	struct xm_frame *f = &x->frame[mfn];
	int reason;

	if (!x->options.pv_linear_pt)
		return XM_R_LINEAR_DISABLED;
	if (entry & XM_PTE_RW)
		return XM_R_LINEAR_WRITABLE;
	if (mfn == table)
		return XM_R_NONE;
	if (!xm_get_page(x, mfn, d->domid))
		return XM_R_TABLE_NOT_OWNED;
	reason = XM_R_LINEAR_HOLDER_IS_USED;
	if (!linear_count_add(x, table, 1))
		goto put;
	reason = XM_R_LINEAR_TARGET_HOLDS;
	if (!linear_count_add(x, mfn, -1))
		goto drop_holder;
	reason = XM_R_TYPE_CONFLICT;
	if ((f->type_info & (7ULL << XM_PGT_TYPE_SHIFT | XM_PGT_VALIDATED)) != want)
		goto drop_target;
	XM_PUT(x->machine, f->type_info, f->type_info + 1);
	return XM_R_NONE;

drop_target:
	linear_count_drop(x, mfn, -1);
drop_holder:
	linear_count_drop(x, table, 1);
put:
	xm_put_page(x, mfn);
	return reason;
}

/* d owns `table`, whose entry `slot` this is or shall be. */
int xm_get_page_from_lne(struct xm_xen *x, struct xm_domain *d, uint64_t table, unsigned level, unsigned slot,
			 uint64_t entry)
{
	uint64_t mfn = xm_entry_mfn(entry);
	int reason = xm_entry_flags_check(x, d, level, entry), linear;

	if (reason)
		return xm_refuse(x, reason, table, level, slot);
	if (!xm_get_page(x, mfn, d->domid))
		return xm_refuse(x, XM_R_TABLE_NOT_OWNED, table, level, slot);
	reason = xm_get_page_type(x, mfn, level - 1);
	if (!reason)
		return XM_R_NONE;
	xm_put_page(x, mfn);
	if (xm_errno(x, reason) != 22) /* only EINVAL makes Xen try the linear rule */
		return reason;
	linear = get_linear_pagetable(x, d, table, level, entry);
	if (!linear)
		return XM_R_NONE;
	/* The linear rule is what refused only where it was what the entry asked for. */
	if (mfn == table || (xm_type_count(&x->frame[mfn]) && xm_type(&x->frame[mfn]) == level))
		return xm_refuse(x, linear, table, level, slot);
	return reason;
}

void xm_put_page_from_lne(struct xm_xen *x, uint64_t table, unsigned level, uint64_t entry)
{
	uint64_t mfn = xm_entry_mfn(entry);

	if (!(entry & XM_PTE_P) || mfn == table || !xm_mfn_valid(x, mfn))
		return;
	if (xm_type(&x->frame[mfn]) == level) {
		linear_count_drop(x, mfn, -1);
		linear_count_drop(x, table, 1);
	}
	xm_put_page_and_type(x, mfn);
}
