/*
 * memory_op.c - how a domain gives frames back and gets others: reservations, and the exchange of frames.
 *
 * Knows: what a frame must be to change hands, the limits of the caller and of the domain.  Does not know: what the
 * frames are used for, where requests come from (memory_call.c), and the order in which Xen's allocator gives them out:
 * here the lowest come first.
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
#include "memory.h"

#define DOMU_MAX_ORDER 9
#define MAX_ORDER 18

/* rcu_lock_domain_by_any_id: here a domain may use its own number. */
static struct xm_domain *domain_by_any_id(struct xm_domain *d, uint32_t domid)
{
	return domid == XM_DOMID_SELF ? d : xm_domain_by_id(d->xen, domid);
}

int xm_memop_target(struct xm_domain *d, uint32_t domid, struct xm_domain **ret)
{
	*ret = domain_by_any_id(d, domid);
	if (!*ret)
		return XM_R_DOMID_UNKNOWN;
	return xm_may_target(d, (*ret)->domid) ? XM_R_NONE : XM_R_NO_PRIVILEGE;
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

/* ---- lists -------------------------------------------------------------------------------------------------------- */

/* guest_handle_subrange_okay for what is left of it from `first` on. */
int xm_memop_list_okay(const struct xm_memop *op, uint64_t first)
{
	return op->list.words || xm_handle_okay(op->list.va + first * 8, op->nr_extents - first, 8);
}

static int get_extent(const struct xm_extent_list *list, uint64_t i, uint64_t *ret)
{
	if (!list->words)
		return xm_read_guest(list->caller, list->va + i * 8, ret, 8);
	*ret = list->words[i];
	return 1;
}

static int put_extent(const struct xm_extent_list *list, uint64_t i, uint64_t word)
{
	if (!list->words)
		return xm_put_guest(list->caller, list->va + i * 8, word, 8);
	list->words[i] = word;
	return 1;
}

static int bad_extent(const struct xm_extent_list *list)
{
	return xm_refuse(list->caller->xen, XM_R_BAD_HANDLE, 0, 0, 0);
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
static uint64_t below(const struct xm_memop *op)
{
	return op->address_bits && op->address_bits < 64 ? (1ULL << op->address_bits) >> XM_PAGE_SHIFT : ~0ULL;
}

/* alloc_domheap_pages for nobody yet: all ones when there is no such run. */
static uint64_t allocate(struct xm_xen *x, const struct xm_memop *op)
{
	return op->no_memory ? ~0ULL : xm_alloc_frames(x, op->extent_order, below(op));
}

static int new_extent(struct xm_domain *target, const struct xm_memop *op, uint64_t *mfn_ret)
{
	struct xm_xen *x = target->xen;
	uint64_t n = 1ULL << op->extent_order;

	/* Xen looks for the memory before it looks at the limit. */
	*mfn_ret = allocate(x, op);
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

static int remove_extent(struct xm_domain *target, const struct xm_memop *op, uint64_t i)
{
	uint64_t mfn;
	int reason = XM_R_NONE;

	if (!get_extent(&op->list, i, &mfn))
		return bad_extent(&op->list);
	/* What went before a frame that cannot go is gone, though the extent does not count. */
	for (uint64_t j = 0; !reason && j < 1ULL << op->extent_order; j++)
		reason = remove_page(target, mfn + j);
	return reason;
}

/* A run whose number cannot be told is the domain's all the same. */
static int add_extent(struct xm_domain *target, uint32_t cmd, const struct xm_memop *op, uint64_t i)
{
	uint64_t mfn, pfn;
	int reason;

	if (cmd == XM_MEM_POPULATE_PHYSMAP && !get_extent(&op->list, i, &pfn))
		return bad_extent(&op->list);
	if (op->on_demand)
		return target == op->list.caller ? XM_R_POPULATE_ON_DEMAND : XM_R_NONE;
	reason = new_extent(target, op, &mfn);
	if (reason)
		return reason;
	if (cmd == XM_MEM_POPULATE_PHYSMAP)
		name_frames(target->xen, mfn, op->extent_order, pfn);
	if ((op->list.words || op->list.va) && !put_extent(&op->list, i, mfn))
		return bad_extent(&op->list);
	return XM_R_NONE;
}

/* increase_reservation, decrease_reservation, populate_physmap, from extent nr_done on. */
int xm_memop_reserve(struct xm_domain *d, struct xm_domain *target, uint32_t cmd, struct xm_memop *op)
{
	int listless = cmd == XM_MEM_INCREASE_RESERVATION && !op->list.words && !op->list.va, reason = XM_R_NONE;

	if (!listless && !xm_memop_list_okay(op, op->nr_done))
		return bad_extent(&op->list);
	if (op->on_demand ? op->extent_order > MAX_ORDER : !order_allowed(d, op->extent_order))
		return XM_R_EXTENT_ORDER;
	for (; !reason && op->nr_done < op->nr_extents; op->nr_done += !reason)
		reason = cmd == XM_MEM_DECREASE_RESERVATION ? remove_extent(target, op, op->nr_done)
							    : add_extent(target, cmd, op, op->nr_done);
	return reason;
}

static struct xm_memop memop_of(struct xm_domain *d, const struct xm_memory_reservation *r)
{
	return (struct xm_memop){.list = {.caller = d, .words = r->extents},
				 .nr_extents = r->nr_extents,
				 .extent_order = r->extent_order,
				 .address_bits = r->address_bits,
				 .domid = r->domid};
}

int xm_memory_op(struct xm_domain *d, uint32_t cmd, struct xm_memory_reservation *r, struct xm_result *ret)
{
	struct xm_memop op = memop_of(d, r);
	struct xm_domain *target = NULL;
	int reason = XM_R_NONE;

	if (cmd != XM_MEM_INCREASE_RESERVATION && cmd != XM_MEM_DECREASE_RESERVATION && cmd != XM_MEM_POPULATE_PHYSMAP)
		return XM_E_ARGUMENT;
	if (!r->extents && r->nr_extents && cmd != XM_MEM_INCREASE_RESERVATION)
		return XM_E_ARGUMENT;
	if (begin(d))
		return XM_E_STATE;
	if (r->nr_extents > XM_MEMOP_MAX_EXTENTS)
		reason = XM_R_EXTENTS;
	else if (r->nr_extents)
		reason = xm_memop_target(d, r->domid, &target);
	if (!reason && r->nr_extents && r->address_bits && r->address_bits <= XM_PAGE_SHIFT)
		reason = XM_R_ADDRESS_BITS;
	if (!reason && r->nr_extents)
		reason = xm_memop_reserve(d, target, cmd, &op);
	xm_finish(d, reason, ret);
	ret->rc = (int64_t)op.nr_done;
	ret->done = (uint32_t)op.nr_done;
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
	const struct xm_memop *in, *out;
	unsigned in_chunk_order;  /* input extents in a chunk: the larger of the two extents */
	unsigned out_chunk_order; /* output extents in a chunk */
	uint64_t *stolen;         /* frames of the chunk that nobody has */
	uint64_t *made;           /* its new extents */
};

static void give_back(const struct exchange *e, uint64_t stolen)
{
	while (stolen-- > 0)
		assign(e->target, e->stolen[stolen]);
}

/* The frames of the chunk, or none of them. */
static int steal_chunk(const struct exchange *e, uint64_t chunk)
{
	uint64_t size = 1ULL << e->in->extent_order, n = 0, mfn;
	int reason = XM_R_NONE;

	for (uint64_t i = 0; !reason && i < 1ULL << e->in_chunk_order; i++) {
		if (!get_extent(&e->in->list, (chunk << e->in_chunk_order) + i, &mfn))
			reason = bad_extent(&e->in->list);
		for (uint64_t j = 0; !reason && j < size; j++) {
			reason = steal(e->target, mfn + j);
			if (!reason)
				e->stolen[n++] = mfn + j;
		}
	}
	if (reason)
		give_back(e, n);
	return reason;
}

/* Output extents of the chunk, or none; their frames replace the pfns only when all are there. */
static int allocate_chunk(const struct exchange *e)
{
	struct xm_xen *x = e->target->xen;
	uint64_t n = 1ULL << e->out_chunk_order, got = 0;

	while (got < n && (e->made[got] = allocate(x, e->out)) != ~0ULL)
		got++;
	if (got == n)
		return XM_R_NONE;
	while (got-- > 0)
		for (uint64_t i = 0; i < 1ULL << e->out->extent_order; i++)
			xm_free_frame(x, e->made[got] + i);
	return xm_refuse(x, XM_R_NO_MEMORY, e->stolen[0], 0, 0);
}

/* The new frames are the domain's whether or not it can be told: the chunk then does not count. */
static int assign_chunk(const struct exchange *e, uint64_t chunk)
{
	int reason = XM_R_NONE;

	for (uint64_t i = 0; i < 1ULL << e->out_chunk_order; i++) {
		uint64_t at = (chunk << e->out_chunk_order) + i, pfn;

		for (uint64_t j = 0; j < 1ULL << e->out->extent_order; j++)
			assign(e->target, e->made[i] + j);
		if (!get_extent(&e->out->list, at, &pfn)) {
			reason = bad_extent(&e->out->list);
			continue;
		}
		name_frames(e->target->xen, e->made[i], e->out->extent_order, pfn);
		if (!put_extent(&e->out->list, at, e->made[i]))
			reason = bad_extent(&e->out->list);
	}
	return reason;
}

static int exchange_chunk(const struct exchange *e, uint64_t chunk)
{
	uint64_t frames = 1ULL << (e->in->extent_order + e->in_chunk_order);
	int reason = steal_chunk(e, chunk);

	if (reason)
		return reason;
	reason = allocate_chunk(e);
	if (reason) {
		give_back(e, frames);
		return reason;
	}
	for (uint64_t i = 0; i < frames; i++)
		xm_free_frame(e->target->xen, e->stolen[i]);
	return assign_chunk(e, chunk);
}

static int same_size(const struct xm_memop *in, const struct xm_memop *out)
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

static int exchange_chunks(struct exchange *e, uint64_t *done)
{
	struct xm_machine *m = e->target->xen->machine;
	uint64_t chunk = *done >> e->in_chunk_order, chunks = e->in->nr_extents >> e->in_chunk_order;
	int reason = XM_R_NONE;

	e->stolen = xm_state_new(m, sizeof(*e->stolen) << (e->in->extent_order + e->in_chunk_order));
	e->made = xm_state_new(m, sizeof(*e->made) << e->out_chunk_order);
	if (!e->stolen || !e->made)
		reason = XM_E_MEMORY;
	for (; !reason && chunk < chunks; chunk += !reason)
		reason = exchange_chunk(e, chunk);
	xm_state_free(m, e->made);
	xm_state_free(m, e->stolen);
	if (reason >= 0)
		*done = chunk << e->in_chunk_order;
	return reason;
}

/* memory_exchange from input extent *done on, which becomes the number exchanged. */
int xm_memop_exchange(struct xm_domain *d, const struct xm_memop *in, const struct xm_memop *out, uint64_t *done)
{
	struct exchange e = {.in = in, .out = out};
	int reason = check_exchange(d, &e, *done);

	if (reason || *done == in->nr_extents)
		return reason;
	if (in->extent_order <= out->extent_order)
		e.in_chunk_order = out->extent_order - in->extent_order;
	else
		e.out_chunk_order = in->extent_order - out->extent_order;
	if (!xm_memop_list_okay(in, *done) || !xm_memop_list_okay(out, *done >> e.in_chunk_order << e.out_chunk_order))
		return bad_extent(&in->list);
	if (out->bad_node)
		return XM_R_MEMORY_NODE;
	reason = xm_memop_target(d, in->domid, &e.target);
	return reason ? reason : exchange_chunks(&e, done);
}

int xm_memory_exchange(struct xm_domain *d, const struct xm_memory_reservation *in, struct xm_memory_reservation *out,
		       struct xm_result *ret)
{
	struct xm_memop ours = memop_of(d, in), theirs = memop_of(d, out);
	uint64_t done = ret->done;
	int reason;

	if ((!in->extents && in->nr_extents) || (!out->extents && out->nr_extents))
		return XM_E_ARGUMENT;
	if (begin(d))
		return XM_E_STATE;
	reason = xm_memop_exchange(d, &ours, &theirs, &done);
	if (reason < 0)
		return reason;
	ret->done = (uint32_t)done;
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
		reason = xm_memop_target(d, domid, &target);
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
