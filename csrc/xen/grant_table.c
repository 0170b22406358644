/*
 * grant_table.c - the tables themselves: frames shared with the domain, the grants in use, the handles given out.
 *
 * Knows: version 1 of the table, in frames of Xen's heap that the domain can map writable, eight bytes a grant: flags,
 * domain, frame; handles are given out in the order of Xen's free list.  Does not know: what mapping a grant means.
 *
 * Xen makes a domain's first frame with the domain; here it comes with the first use.
 *
 * Xen 4.17: grant_table_init, gnttab_grow_table, get_maptrack_handle, put_maptrack_handle (common/grant_table.c).
 */
#include "grant.h"

#define TAIL (~0U)

/* Memory is kept across a rollback, as everything in it is zero then: only what is written to it is undone. */
static int make_active(struct xm_machine *m, struct xm_grant_table *t, uint64_t i)
{
	if (!t->active[i])
		t->active[i] = xm_state_new(m, XM_GRANTS_IN_FRAME * sizeof(*t->active[i]));
	return t->active[i] ? XM_OK : XM_E_MEMORY;
}

/* share_xen_page_with_guest: the domain's for ever, writable memory and nothing else. */
static void share_frame(struct xm_domain *d, uint64_t mfn)
{
	static const uint8_t zeros[XM_PAGE_SIZE];
	struct xm_xen *x = d->xen;
	struct xm_frame *f = &x->frame[mfn];

	XM_PUT(x->machine, f->count_info, XM_PGC_ALLOCATED | XM_PGC_XEN_HEAP | 1);
	XM_PUT(x->machine, f->type_info, (uint64_t)XM_PGT_WRITABLE << XM_PGT_TYPE_SHIFT | XM_PGT_VALIDATED | 1);
	XM_PUT(x->machine, f->owner, d->domid);
	XM_PUT(x->machine, f->linear_pt_count, 0);
	xm_m2p_set(x, mfn, ~0ULL);
	xm_write(x->machine, mfn << XM_PAGE_SHIFT, zeros, XM_PAGE_SIZE);
}

int xm_grant_table_grow(struct xm_domain *d, uint64_t frames)
{
	struct xm_xen *x = d->xen;
	struct xm_grant_table *t = d->grants;

	if (frames > t->nr_frames && frames - t->nr_frames > x->free_frames)
		return XM_E_NO_FRAMES;
	for (uint64_t i = t->nr_frames; i < frames; i++)
		if (make_active(x->machine, t, i))
			return XM_E_MEMORY;
	for (uint64_t i = t->nr_frames; i < frames; i++) {
		XM_PUT(x->machine, t->frame[i], xm_alloc_frame(x, 1));
		share_frame(d, t->frame[i]);
		XM_PUT(x->machine, t->nr_frames, i + 1);
	}
	return XM_OK;
}

/* The domain's table, made if need be.  What a captured system's held is not known. */
int xm_grant_table_get(struct xm_domain *d, struct xm_grant_table **ret)
{
	struct xm_machine *m = d->xen->machine;

	if (d->xen->captured)
		return XM_E_NOT_MODELLED;
	if (!d->grants)
		d->grants = xm_state_new(m, sizeof(*d->grants));
	if (!d->grants)
		return XM_E_MEMORY;
	*ret = d->grants;
	if (!d->grants->nr_frames) {
		XM_PUT(m, d->grants->maptrack_head, TAIL);
		XM_PUT(m, d->grants->maptrack_tail, TAIL);
		return xm_grant_table_grow(d, 1);
	}
	return XM_OK;
}

void xm_grants_free(struct xm_domain *d)
{
	struct xm_machine *m = d->xen->machine;

	if (!d->grants)
		return;
	for (unsigned i = 0; i < XM_GRANT_FRAMES; i++)
		xm_state_free(m, d->grants->active[i]);
	for (unsigned i = 0; i < XM_MAPTRACK_FRAMES; i++)
		xm_state_free(m, d->grants->maptrack[i]);
	xm_state_free(m, d->grants);
}

/* The machine address of the entry, all ones for a reference beyond the table. */
uint64_t xm_grant_entry_pa(const struct xm_grant_table *t, uint32_t ref)
{
	if (ref >= t->nr_frames * XM_GRANTS_IN_FRAME)
		return ~0ULL;
	return (t->frame[ref / XM_GRANTS_IN_FRAME] << XM_PAGE_SHIFT) + ref % XM_GRANTS_IN_FRAME * 8;
}

struct xm_grant_active *xm_grant_active(const struct xm_grant_table *t, uint32_t ref)
{
	return &t->active[ref / XM_GRANTS_IN_FRAME][ref % XM_GRANTS_IN_FRAME];
}

/* ---- handles ------------------------------------------------------------------------------------------------------ */

/* The mapping of a handle, NULL when no such handle was ever made. */
struct xm_maptrack *xm_maptrack(const struct xm_grant_table *t, uint32_t handle)
{
	if (handle >= t->maptrack_limit)
		return NULL;
	return &t->maptrack[handle / XM_MAPTRACK_IN_FRAME][handle % XM_MAPTRACK_IN_FRAME];
}

/* A frame of handles: the first is given out, the others go before the free ones. */
static int grow_maptrack(struct xm_domain *d, uint32_t *handle_ret)
{
	struct xm_machine *m = d->xen->machine;
	struct xm_grant_table *t = d->grants;
	uint32_t first = (uint32_t)t->maptrack_limit, last = first + XM_MAPTRACK_IN_FRAME - 1;
	struct xm_maptrack **page;

	if (first / XM_MAPTRACK_IN_FRAME == XM_MAPTRACK_FRAMES)
		return XM_R_GRANT_NO_HANDLE;
	page = &t->maptrack[first / XM_MAPTRACK_IN_FRAME];
	if (!*page)
		*page = xm_state_new(m, XM_MAPTRACK_IN_FRAME * sizeof(**page));
	if (!*page)
		return XM_E_MEMORY;
	for (uint32_t i = 0; i < XM_MAPTRACK_IN_FRAME; i++)
		XM_PUT(m, (*page)[i].ref, first + i == last ? t->maptrack_head : first + i + 1);
	XM_PUT(m, t->maptrack_limit, t->maptrack_limit + XM_MAPTRACK_IN_FRAME);
	if (t->maptrack_tail == TAIL)
		XM_PUT(m, t->maptrack_tail, last);
	XM_PUT(m, t->maptrack_head, first + 1);
	*handle_ret = first;
	return XM_R_NONE;
}

/* A reason, or a negative status.  The last free handle is never given out. */
int xm_maptrack_new(struct xm_domain *d, uint32_t *handle_ret)
{
	struct xm_grant_table *t = d->grants;
	uint32_t head = t->maptrack_head;

	if (head == TAIL || xm_maptrack(t, head)->ref == TAIL)
		return grow_maptrack(d, handle_ret);
	XM_PUT(d->xen->machine, t->maptrack_head, xm_maptrack(t, head)->ref);
	*handle_ret = head;
	return XM_R_NONE;
}

void xm_maptrack_put(struct xm_domain *d, uint32_t handle)
{
	struct xm_machine *m = d->xen->machine;
	struct xm_grant_table *t = d->grants;

	XM_PUT(m, xm_maptrack(t, handle)->ref, TAIL);
	XM_PUT(m, xm_maptrack(t, t->maptrack_tail)->ref, handle);
	XM_PUT(m, t->maptrack_tail, handle);
}

/* References that no entry shows: those of device mappings.  `n` are known already; the number with these. */
size_t xm_held_grants(const struct xm_domain *d, struct xm_held *ret, size_t max, size_t n)
{
	for (uint32_t handle = 0; d->grants && handle < d->grants->maptrack_limit; handle++) {
		const struct xm_maptrack *map = xm_maptrack(d->grants, handle);
		const struct xm_domain *rd = xm_domain_by_id(d->xen, map->domid);

		if (!(map->flags & XM_GNTMAP_DEVICE_MAP) || !rd || !rd->grants)
			continue;
		if (n < max)
			ret[n] = (struct xm_held){
				.mfn = xm_grant_active(rd->grants, map->ref)->mfn,
				.type = map->flags & XM_GNTMAP_READONLY ? XM_PGT_NONE : XM_PGT_WRITABLE,
				.count = 1,
			};
		n++;
	}
	return n;
}
