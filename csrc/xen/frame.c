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

/* free_heap_pages: nobody's from now on; what it holds stays, for whoever gets it next. */
void xm_free_frame(struct xm_xen *x, uint64_t mfn)
{
	struct xm_frame *f = &x->frame[mfn];

	if (f->owner != XM_OWNER_NONE) {
		/* Zero says that nobody ever owned the frame. */
		if (!x->clock)
			XM_PUT(x->machine, x->clock, 1);
		XM_PUT(x->machine, f->tlbflush_timestamp, x->clock);
	}
	XM_PUT(x->machine, f->count_info, XM_PGC_STATE_FREE);
	XM_PUT(x->machine, f->owner, XM_OWNER_NONE);
	XM_PUT(x->machine, f->type_info, 0);
	XM_PUT(x->machine, f->linear_pt_count, 0);
	XM_PUT(x->machine, x->free_frames, x->free_frames + 1);
	if (mfn < x->first_free)
		XM_PUT(x->machine, x->first_free, mfn);
	xm_m2p_set(x, mfn, ~0ULL);
}

/* free_domheap_pages: the last reference is gone. */
void xm_free_domain_frame(struct xm_xen *x, uint64_t mfn)
{
	struct xm_frame *f = &x->frame[mfn];
	struct xm_domain *d = xm_domain_by_id(x, f->owner);

	if (f->count_info & XM_PGC_XEN_HEAP)
		return; /* Xen's own page, which the domain gave up: Xen keeps it */
	if (d)
		XM_PUT(x->machine, d->tot_pages, d->tot_pages - 1);
	xm_free_frame(x, mfn);
}

/* put_page_alloc_ref: the domain gives up the frame, which lives on while something else refers to it. */
void xm_put_page_alloc_ref(struct xm_xen *x, uint64_t mfn)
{
	struct xm_frame *f = &x->frame[mfn];

	if (!(f->count_info & XM_PGC_ALLOCATED))
		return;
	XM_PUT(x->machine, f->count_info, f->count_info & ~XM_PGC_ALLOCATED);
	xm_put_page(x, mfn);
}

static int is_free(const struct xm_xen *x, uint64_t mfn)
{
	return x->frame[mfn].count_info == XM_PGC_STATE_FREE;
}

/* A frame that changes hands must not be reachable through what a TLB still holds of its last owner's mappings. */
static void flush_before_reuse(struct xm_xen *x, uint64_t mfn)
{
	uint64_t stamp = x->frame[mfn].tlbflush_timestamp;

	for (unsigned id = 0; stamp && id < XM_MAX_DOMAINS; id++)
		if (x->domain[id] && x->domain[id]->vcpu.last_flush <= stamp)
			xm_flush_tlb(x->domain[id]);
}

static void take(struct xm_xen *x, uint64_t mfn)
{
	flush_before_reuse(x, mfn);
	XM_PUT(x->machine, x->frame[mfn].count_info, 0);
	XM_PUT(x->machine, x->free_frames, x->free_frames - 1);
}

/* A free frame, lowest or highest first: domains grow from below, Xen's own frames from above.  All ones: none. */
uint64_t xm_alloc_frame(struct xm_xen *x, int from_top)
{
	if (!from_top)
		return xm_alloc_frames(x, 0, x->max_page);
	for (uint64_t mfn = x->max_page; mfn-- > 0;) {
		if (!is_free(x, mfn))
			continue;
		take(x, mfn);
		return mfn;
	}
	return ~0ULL;
}

/* 2^order free frames in a row, aligned to their number and below `end`: the first of them; all ones: there are none. */
uint64_t xm_alloc_frames(struct xm_xen *x, unsigned order, uint64_t end)
{
	uint64_t n = 1ULL << order, mfn = x->first_free, ok;

	while (mfn < x->max_page && !is_free(x, mfn))
		mfn++;
	XM_PUT(x->machine, x->first_free, mfn);
	if (end > x->max_page)
		end = x->max_page;
	for (mfn = (mfn + n - 1) & ~(n - 1); mfn + n <= end; mfn += n) {
		for (ok = 0; ok < n && is_free(x, mfn + ok); ok++)
			;
		if (ok < n)
			continue;
		for (uint64_t i = 0; i < n; i++)
			take(x, mfn + i);
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

/* One reference on the frame as `type`; the caller holds a general one.
 *
 * A frame with a count that is not validated, at which Xen waits, does not occur: with one processor that does one thing
 * at a time, only what is below a table is asked for while it is validated. */
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
