/*
 * memory_op.c - how a domain gives frames back and gets others: reservations, and the exchange of frames.
 *
 * Knows: what a frame must be to change hands, the limits of the caller and of the domain.  Does not know: what the
 * frames are used for, and the order in which Xen's allocator gives them out: here the lowest come first.
 *
 * A frame that is given up while something refers to it stays with its owner until the last reference goes.  What a
 * frame held stays in it: Xen scrubs only what a dead domain leaves.
 *
 * Shared pages come to a PV domain by their frame number, not by memory_op: shared_info from start_info, the grant
 * table from GNTTABOP_setup_table; XENMEM_add_to_physmap is refused.
 *
 * Xen 4.17: do_memory_op, increase_reservation, decrease_reservation, populate_physmap, memory_exchange
 * (common/memory.c), assign_pages (common/page_alloc.c), steal_page (arch/x86/mm.c).
 */
#include "xen.h"

#define MAX_EXTENTS (UINT32_MAX >> 6)
#define DOMU_MAX_ORDER 9
#define MAX_ORDER 18

/* rcu_lock_domain_by_any_id: here a domain may use its own number. */
static struct xm_domain *domain_by_any_id(struct xm_domain *d, uint32_t domid)
{
	return domid == XM_DOMID_SELF ? d : xm_domain_by_id(d->xen, domid);
}

static int find_target(struct xm_domain *d, uint32_t domid, struct xm_domain **target_ret)
{
	*target_ret = domain_by_any_id(d, domid);
	if (!*target_ret)
		return XM_R_DOMID_UNKNOWN;
	return xm_may_target(d, (*target_ret)->domid) ? XM_R_NONE : XM_R_NO_PRIVILEGE;
}

static int order_allowed(const struct xm_domain *d, uint32_t order)
{
	return order <= (d->privileged ? MAX_ORDER : DOMU_MAX_ORDER);
}

static int begin(struct xm_domain *d)
{
	if (!d->alive || d->vcpu.user_mode)
		return XM_E_STATE;
	memset(&d->xen->at, 0, sizeof(d->xen->at));
	return XM_OK;
}

/* ---- frames that come and go ------------------------------------------------------------------------------------- */

/* assign_page: the domain's, with the reference of its allocation. */
static void assign(struct xm_domain *d, uint64_t mfn)
{
	struct xm_frame *f = &d->xen->frame[mfn];
	struct xm_machine *m = d->xen->machine;

	XM_PUT(m, f->owner, d->domid);
	XM_PUT(m, f->count_info, XM_PGC_ALLOCATED | 1);
	XM_PUT(m, f->type_info, 0);
	XM_PUT(m, f->linear_pt_count, 0);
}

/* Frames below 2^address_bits bytes of address. */
static uint64_t below(const struct xm_memory_reservation *r)
{
	return r->address_bits && r->address_bits < 64 ? (1ULL << r->address_bits) >> XM_PAGE_SHIFT : ~0ULL;
}

static int new_extent(struct xm_domain *target, const struct xm_memory_reservation *r, uint64_t *mfn_ret)
{
	struct xm_xen *x = target->xen;
	uint64_t n = 1ULL << r->extent_order;

	/* Xen looks for the memory before it looks at the limit. */
	*mfn_ret = xm_alloc_frames(x, r->extent_order, below(r));
	if (*mfn_ret == ~0ULL)
		return XM_R_NO_MEMORY;
	if (target->tot_pages > target->max_pages || n > target->max_pages - target->tot_pages) {
		for (uint64_t i = 0; i < n; i++)
			xm_free_frame(x, *mfn_ret + i);
		return XM_R_MAX_PAGES;
	}
	XM_PUT(x->machine, target->tot_pages, target->tot_pages + n);
	for (uint64_t i = 0; i < n; i++)
		assign(target, *mfn_ret + i);
	return XM_R_NONE;
}

/* guest_remove_page */
static int remove_page(struct xm_domain *target, uint64_t mfn)
{
	struct xm_xen *x = target->xen;

	if (!xm_mfn_valid(x, mfn))
		return xm_refuse(x, XM_R_MFN_INVALID, mfn, 0, 0);
	if (!xm_get_page(x, mfn, target->domid))
		return xm_refuse(x, XM_R_PAGE_NOT_OWNED, mfn, 0, 0);
	xm_put_page_alloc_ref(x, mfn);
	xm_put_page(x, mfn);
	return XM_R_NONE;
}

static void name_frames(struct xm_xen *x, uint64_t mfn, uint32_t order, uint64_t pfn)
{
	for (uint64_t i = 0; i < 1ULL << order; i++)
		xm_m2p_set(x, mfn + i, pfn + i);
}

static int one_extent(struct xm_domain *target, uint32_t cmd, const struct xm_memory_reservation *r, uint64_t i)
{
	uint64_t mfn;
	int reason;

	if (cmd == XM_MEM_DECREASE_RESERVATION) {
		/* What went before a frame that cannot go is gone, though the extent does not count. */
		for (uint64_t j = 0; j < 1ULL << r->extent_order; j++) {
			reason = remove_page(target, r->extents[i] + j);
			if (reason)
				return reason;
		}
		return XM_R_NONE;
	}
	reason = new_extent(target, r, &mfn);
	if (reason)
		return reason;
	if (cmd == XM_MEM_POPULATE_PHYSMAP)
		name_frames(target->xen, mfn, r->extent_order, r->extents[i]);
	if (r->extents)
		r->extents[i] = mfn;
	return XM_R_NONE;
}

int xm_memory_op(struct xm_domain *d, uint32_t cmd, struct xm_memory_reservation *r, struct xm_result *ret)
{
	struct xm_domain *target = NULL;
	uint64_t done = 0;
	int reason = XM_R_NONE;

	if (cmd != XM_MEM_INCREASE_RESERVATION && cmd != XM_MEM_DECREASE_RESERVATION && cmd != XM_MEM_POPULATE_PHYSMAP)
		return XM_E_ARGUMENT;
	if (!r->extents && r->nr_extents && cmd != XM_MEM_INCREASE_RESERVATION)
		return XM_E_ARGUMENT;
	if (begin(d))
		return XM_E_STATE;
	if (r->nr_extents > MAX_EXTENTS)
		reason = XM_R_EXTENTS;
	else if (r->nr_extents)
		reason = find_target(d, r->domid, &target);
	if (!reason && r->nr_extents && r->address_bits && r->address_bits <= XM_PAGE_SHIFT)
		reason = XM_R_ADDRESS_BITS;
	if (!reason && r->nr_extents && !order_allowed(d, r->extent_order))
		reason = XM_R_EXTENT_ORDER;
	while (!reason && done < r->nr_extents) {
		reason = one_extent(target, cmd, r, done);
		done += !reason;
	}
	xm_finish(d, reason, ret);
	ret->rc = (int64_t)done;
	ret->done = (uint32_t)done;
	return XM_OK;
}

/* ---- exchange ---------------------------------------------------------------------------------------------------- */

/* steal_page: nobody's, neither free nor in use; the domain's page count stays. */
static int steal(struct xm_domain *target, uint64_t mfn)
{
	struct xm_xen *x = target->xen;
	struct xm_frame *f;

	if (!xm_mfn_valid(x, mfn))
		return xm_refuse(x, XM_R_MFN_INVALID, mfn, 0, 0);
	f = &x->frame[mfn];
	if (f->owner != target->domid || f->count_info != (XM_PGC_ALLOCATED | 1))
		return xm_refuse(x, XM_R_EXCHANGE_IN_USE, mfn, 0, 0);
	XM_PUT(x->machine, f->count_info, 0);
	XM_PUT(x->machine, f->type_info, 0);
	XM_PUT(x->machine, f->owner, XM_OWNER_NONE);
	return XM_R_NONE;
}

struct exchange {
	struct xm_domain *target;
	const struct xm_memory_reservation *in;
	struct xm_memory_reservation *out;
	unsigned in_chunk_order;  /* input extents in a chunk: the larger of the two extents */
	unsigned out_chunk_order; /* output extents in a chunk */
};

/* The frame at place `i` of chunk `chunk`. */
static uint64_t input_frame(const struct exchange *e, uint64_t chunk, uint64_t i)
{
	uint64_t size = 1ULL << e->in->extent_order;

	return e->in->extents[(chunk << e->in_chunk_order) + i / size] + i % size;
}

static void give_back(const struct exchange *e, uint64_t chunk, uint64_t stolen)
{
	while (stolen-- > 0)
		assign(e->target, input_frame(e, chunk, stolen));
}

/* Output extents of the chunk, or none; their frames replace the pfns only when all are there. */
static int allocate_chunk(const struct exchange *e, uint64_t chunk, uint64_t *mfns)
{
	struct xm_xen *x = e->target->xen;
	uint64_t n = 1ULL << e->out_chunk_order, got = 0;

	while (got < n && (mfns[got] = xm_alloc_frames(x, e->out->extent_order, below(e->out))) != ~0ULL)
		got++;
	if (got == n)
		return XM_R_NONE;
	while (got-- > 0)
		for (uint64_t i = 0; i < 1ULL << e->out->extent_order; i++)
			xm_free_frame(x, mfns[got] + i);
	return xm_refuse(x, XM_R_NO_MEMORY, input_frame(e, chunk, 0), 0, 0);
}

static int exchange_chunk(const struct exchange *e, uint64_t chunk, uint64_t *mfns)
{
	struct xm_xen *x = e->target->xen;
	uint64_t frames = 1ULL << (e->in->extent_order + e->in_chunk_order), i;
	int reason = XM_R_NONE;

	for (i = 0; i < frames && !reason; i++)
		reason = steal(e->target, input_frame(e, chunk, i));
	if (reason) {
		give_back(e, chunk, i - 1);
		return reason;
	}
	reason = allocate_chunk(e, chunk, mfns);
	if (reason) {
		give_back(e, chunk, frames);
		return reason;
	}
	for (i = 0; i < frames; i++)
		xm_free_frame(x, input_frame(e, chunk, i));
	for (i = 0; i < 1ULL << e->out_chunk_order; i++) {
		uint64_t *extent = &e->out->extents[(chunk << e->out_chunk_order) + i];

		for (uint64_t j = 0; j < 1ULL << e->out->extent_order; j++)
			assign(e->target, mfns[i] + j);
		name_frames(x, mfns[i], e->out->extent_order, *extent);
		*extent = mfns[i];
	}
	return XM_R_NONE;
}

static int same_size(const struct xm_memory_reservation *in, const struct xm_memory_reservation *out)
{
	return ~0ULL >> in->extent_order >= in->nr_extents && ~0ULL >> out->extent_order >= out->nr_extents &&
	       in->nr_extents << in->extent_order == out->nr_extents << out->extent_order;
}

static int check_exchange(struct xm_domain *d, const struct exchange *e, uint64_t done)
{
	uint32_t larger = e->in->extent_order > e->out->extent_order ? e->in->extent_order : e->out->extent_order;

	if (!order_allowed(d, larger))
		return XM_R_EXTENT_ORDER;
	if (done > e->in->nr_extents || e->in->domid != e->out->domid || !same_size(e->in, e->out))
		return XM_R_EXCHANGE_SIZES;
	return XM_R_NONE;
}

int xm_memory_exchange(struct xm_domain *d, const struct xm_memory_reservation *in, struct xm_memory_reservation *out,
		       struct xm_result *ret)
{
	struct exchange e = {.in = in, .out = out};
	uint64_t *mfns, chunk, done = ret->done;
	int reason;

	if ((!in->extents && in->nr_extents) || (!out->extents && out->nr_extents))
		return XM_E_ARGUMENT;
	if (begin(d))
		return XM_E_STATE;
	reason = check_exchange(d, &e, done);
	if (reason || done == in->nr_extents)
		return xm_finish(d, reason, ret);
	reason = find_target(d, in->domid, &e.target);
	if (reason)
		return xm_finish(d, reason, ret);
	if (in->extent_order <= out->extent_order)
		e.in_chunk_order = out->extent_order - in->extent_order;
	else
		e.out_chunk_order = in->extent_order - out->extent_order;
	mfns = xm_state_new(d->xen->machine, sizeof(*mfns) << e.out_chunk_order);
	if (!mfns)
		return XM_E_MEMORY;
	for (chunk = done >> e.in_chunk_order; chunk < in->nr_extents >> e.in_chunk_order; chunk++) {
		reason = exchange_chunk(&e, chunk, mfns);
		if (reason)
			break;
	}
	xm_state_free(d->xen->machine, mfns);
	ret->done = (uint32_t)(chunk << e.in_chunk_order);
	return xm_finish(d, reason, ret);
}

/* ---- questions, and what PV has no use for ----------------------------------------------------------------------- */

int xm_memory_query(struct xm_domain *d, uint32_t cmd, uint32_t domid, struct xm_result *ret)
{
	struct xm_domain *target = NULL;
	int reason = XM_R_NONE;

	if (cmd != XM_MEM_MAXIMUM_RAM_PAGE && cmd != XM_MEM_CURRENT_RESERVATION && cmd != XM_MEM_MAXIMUM_RESERVATION)
		return XM_E_ARGUMENT;
	if (begin(d))
		return XM_E_STATE;
	if (cmd != XM_MEM_MAXIMUM_RAM_PAGE)
		reason = find_target(d, domid, &target);
	ret->done = 0;
	xm_finish(d, reason, ret);
	if (reason)
		return XM_OK;
	if (cmd == XM_MEM_MAXIMUM_RAM_PAGE)
		ret->rc = (int64_t)d->xen->max_page;
	else
		ret->rc = (int64_t)(cmd == XM_MEM_CURRENT_RESERVATION ? target->tot_pages : target->max_pages);
	return XM_OK;
}

int xm_memory_physmap(struct xm_domain *d, uint32_t cmd, uint32_t domid, uint32_t space, struct xm_result *ret)
{
	int reason = XM_R_NOT_TRANSLATED;

	if (cmd != XM_MEM_ADD_TO_PHYSMAP && cmd != XM_MEM_REMOVE_FROM_PHYSMAP)
		return XM_E_ARGUMENT;
	if (begin(d))
		return XM_E_STATE;
	if (cmd == XM_MEM_ADD_TO_PHYSMAP && space == XM_MAPSPACE_GMFN_FOREIGN)
		reason = XM_R_UNKNOWN_COMMAND; /* has a call of its own */
	else if (!domain_by_any_id(d, domid))
		reason = XM_R_DOMID_UNKNOWN;
	ret->done = 0;
	return xm_finish(d, reason, ret);
}
