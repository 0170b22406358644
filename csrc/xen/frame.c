/*
 * frame.c - struct page_info: general references, the type of a frame and its type count.
 *
 * Knows: a frame has one type at a time; with a type count of zero it may take any other, with a count it may not.
 * Does not know: what an entry of a table means (entry.c), or in which order a table's entries are taken (validate.c).
 *
 * Xen 4.17: get_page, put_page, _get_page_type, _put_page_type in xen/arch/x86/mm.c.
 */
#include "xen.h"

/* ---- general references: xm_get_page and xm_put_page are in xen.h ------------------------------------------------- */

void xm_free_frame(struct xm_xen *x, uint64_t mfn)
{
	struct xm_frame *f = &x->frame[mfn];

	XM_PUT(x->machine, f->count_info, XM_PGC_STATE_FREE);
	XM_PUT(x->machine, f->owner, XM_OWNER_NONE);
	XM_PUT(x->machine, f->type_info, 0);
	XM_PUT(x->machine, x->free_frames, x->free_frames + 1);
	xm_m2p_set(x, mfn, ~0ULL);
}

/* A free frame, lowest or highest first: domains grow from below, Xen's own frames from above.  All ones: none. */
uint64_t xm_alloc_frame(struct xm_xen *x, int from_top)
{
	if (!x->free_frames)
		return ~0ULL;
	for (uint64_t i = 0; i < x->max_page; i++) {
		uint64_t mfn = from_top ? x->max_page - 1 - i : i;

		if (x->frame[mfn].count_info != XM_PGC_STATE_FREE)
			continue;
		XM_PUT(x->machine, x->frame[mfn].count_info, 0);
		XM_PUT(x->machine, x->free_frames, x->free_frames - 1);
		return mfn;
	}
	return ~0ULL;
}

/* ---- types ------------------------------------------------------------------------------------------------------- */

/* A frame that changes its type must not be reachable through what a TLB still holds of the old one.  Processors that
 * flushed since the type count reached zero need no flush. */
static void flush_before_type_change(struct xm_xen *x, const struct xm_frame *f)
{
	struct xm_domain *owner = xm_domain_by_id(x, f->owner);

	if (owner && owner->vcpu.last_flush <= f->tlbflush_timestamp)
		xm_flush_tlb(owner);
}

static int validate(struct xm_xen *x, uint64_t mfn, unsigned type)
{
	struct xm_frame *f = &x->frame[mfn];
	unsigned slot = 0;
	int reason;

	if (type >= XM_PGT_L1 && type <= XM_PGT_L4) {
		reason = xm_promote(x, mfn, type, &slot);
		if (reason) {
			/* A failure beyond slot 0 of an upper table was rolled back by way of the partial state, which
			 * leaves the type behind; any other failure leaves nothing. */
			int keeps_type = x->profile->keeps_failed_type && type > XM_PGT_L1 && slot > 0;

			XM_PUT(x->machine, f->type_info, keeps_type ? (uint64_t)type << XM_PGT_TYPE_SHIFT : 0);
			return reason;
		}
	} else if (type == XM_PGT_SEG_DESC) {
		reason = xm_promote_descriptors(x, mfn);
		if (reason) {
			XM_PUT(x->machine, f->type_info, 0);
			return reason;
		}
	}
	XM_PUT(x->machine, f->type_info, f->type_info | XM_PGT_VALIDATED);
	return XM_R_NONE;
}

/* One reference on the frame as `type`; the caller holds a general one. */
int xm_get_page_type(struct xm_xen *x, uint64_t mfn, unsigned type)
{
	struct xm_frame *f = &x->frame[mfn];
	uint64_t info = f->type_info;
	uint64_t count = xm_type_count(f);

	if (count >= x->profile->type_count_max)
		return xm_refuse(x, XM_R_TYPE_COUNT_OVERFLOW, mfn, 0, 0);
	if (count == 0 && xm_type(f) != type) {
		flush_before_type_change(x, f);
		info = (uint64_t)type << XM_PGT_TYPE_SHIFT;
	} else if (count && xm_type(f) != type) {
		return xm_refuse(x, XM_R_TYPE_CONFLICT, mfn, 0, 0);
	} else if (count && !(info & XM_PGT_VALIDATED)) {
		return xm_refuse(x, XM_R_TYPE_PARTIAL, mfn, 0, 0);
	}
	XM_PUT(x->machine, f->type_info, info + 1);
	return info & XM_PGT_VALIDATED ? XM_R_NONE : validate(x, mfn, type);
}

/* The last reference on a table takes its entries' references with it; what it holds stays in memory, and so does the
 * type, which only the next taker changes. */
void xm_put_page_type(struct xm_xen *x, uint64_t mfn)
{
	struct xm_frame *f = &x->frame[mfn];
	unsigned type = xm_type(f);

	if (!xm_type_count(f))
		return; /* only a mutant can get here */
	if (xm_type_count(f) == 1) {
		if (type <= XM_PGT_L4 && (f->type_info & XM_PGT_VALIDATED)) {
			XM_PUT(x->machine, f->type_info, f->type_info & ~XM_PGT_VALIDATED);
			/* The count stays at one until the entries are gone, so that nobody takes the frame meanwhile. */
			if (type != XM_PGT_NONE)
				xm_demote(x, mfn, type);
		}
		XM_PUT(x->machine, f->tlbflush_timestamp, x->clock);
	}
	XM_PUT(x->machine, f->type_info, f->type_info - 1);
}

void xm_put_page_and_type(struct xm_xen *x, uint64_t mfn)
{
	xm_put_page_type(x, mfn);
	xm_put_page(x, mfn);
}
