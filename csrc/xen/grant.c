/*
 * grant.c - mapping and unmapping what a grant gives.
 *
 * Knows: the checks of a grant entry and their order, which references a mapping takes, the flags that tell the granter
 * that his entry is in use.  Does not know: page-table entries (grant_pte.c), where requests come from (grant_op.c).
 *
 * Without an IOMMU a device mapping is its references only.
 *
 * Xen 4.17: map_grant_ref, unmap_common, unmap_common_complete, _set_status_v1, reduce_status_for_pin, swap_grant_ref
 * (common/grant_table.c).
 */
#include "grant.h"

#define WRITE_PINS (0xff * XM_GNTPIN_HSTW | 0xff * XM_GNTPIN_DEVW)
#define MAPS (XM_GNTMAP_DEVICE_MAP | XM_GNTMAP_HOST_MAP)

/* A grant on its way from map_grant_ref's checks to the mapping. */
struct mapping {
	struct xm_domain *ld, *rd; /* who maps, who granted */
	struct xm_grant_active *act;
	uint64_t entry_pa;
	uint32_t flags;
	uint32_t pins;
};

static uint32_t pins_of(uint32_t flags)
{
	int readonly = (flags & XM_GNTMAP_READONLY) != 0;
	uint32_t pins = 0;

	if (flags & XM_GNTMAP_DEVICE_MAP)
		pins += readonly ? XM_GNTPIN_DEVR : XM_GNTPIN_DEVW;
	if (flags & XM_GNTMAP_HOST_MAP)
		pins += readonly ? XM_GNTPIN_HSTR : XM_GNTPIN_HSTW;
	return pins;
}

static void set_pins(struct xm_machine *m, struct xm_grant_active *act, uint32_t pins)
{
	XM_PUT(m, act->pin, pins);
}

static void change_flags(struct xm_machine *m, uint64_t entry_pa, uint64_t set, uint64_t clear)
{
	xm_poke(m, entry_pa, (xm_peek(m, entry_pa) | set) & ~clear);
}

/* reduce_status_for_pin: what the entry says of its use is no more than what the mappings need. */
static void reduce_status(struct xm_machine *m, uint64_t entry_pa, const struct xm_grant_active *act, int readonly)
{
	uint64_t clear = act->pin ? 0 : XM_GTF_READING;

	if (!readonly && !(act->pin & WRITE_PINS))
		clear |= XM_GTF_WRITING;
	change_flags(m, entry_pa, 0, clear);
}

/* _set_status_v1: may ld map it so, and if yes, tell the granter. */
static int set_status(const struct mapping *g)
{
	struct xm_machine *m = g->ld->xen->machine;
	uint64_t entry = xm_peek(m, g->entry_pa);
	int readonly = (g->flags & XM_GNTMAP_READONLY) != 0;

	if (!g->act->pin && (entry & (XM_GTF_TYPE_MASK | XM_GTF_SUB_PAGE)) != XM_GTF_PERMIT_ACCESS)
		return XM_R_GRANT_ENTRY;
	if (!g->act->pin && (entry >> 16 & 0xffff) != g->ld->domid)
		return XM_R_GRANT_NOT_FOR_CALLER;
	if (!readonly && (entry & XM_GTF_READONLY))
		return XM_R_GRANT_READONLY;
	change_flags(m, g->entry_pa, XM_GTF_READING | (readonly ? 0 : XM_GTF_WRITING), 0);
	return XM_R_NONE;
}

/* Pin the grant.  *held_ret: a general reference on the frame came with it. */
static int pin_grant(const struct mapping *g, int *held_ret)
{
	struct xm_machine *m = g->ld->xen->machine;
	struct xm_grant_active *act = g->act;
	int readonly = (g->flags & XM_GNTMAP_READONLY) != 0, reason;

	*held_ret = 0;
	if (act->pin && (act->domid != g->ld->domid || (act->pin & g->pins << 7)))
		return act->domid != g->ld->domid ? XM_R_GRANT_NOT_FOR_CALLER : XM_R_GRANT_PINS;
	if (!act->pin || (!readonly && !(act->pin & WRITE_PINS))) {
		reason = set_status(g);
		if (reason)
			return reason;
	}
	if (!act->pin) {
		uint64_t mfn = xm_peek(m, g->entry_pa) >> 32;

		if (!xm_get_page(g->ld->xen, mfn, g->rd->domid)) {
			reduce_status(m, g->entry_pa, act, readonly);
			return XM_R_GRANT_PAGE;
		}
		XM_PUT(m, act->domid, g->ld->domid);
		XM_PUT(m, act->mfn, mfn);
		*held_ret = 1;
	}
	set_pins(m, act, act->pin + g->pins);
	return XM_R_NONE;
}

/* One general reference for each kind of mapping, and a writable one where it is writable; the first general one may be
 * there already.  References of the host mapping stand for those of the entry that it writes. */
static int map_frame(const struct mapping *g, int held, uint64_t host_addr)
{
	struct xm_xen *x = g->ld->xen;
	uint64_t mfn = g->act->mfn;
	unsigned maps = !!(g->flags & XM_GNTMAP_DEVICE_MAP) + !!(g->flags & XM_GNTMAP_HOST_MAP), refs = (unsigned)held;
	unsigned types = 0;
	int reason = XM_R_NONE;

	for (; !reason && refs < maps; refs += !reason)
		reason = xm_get_page(x, mfn, g->rd->domid) ? XM_R_NONE : XM_R_GRANT_PAGE_GONE;
	for (; !reason && !(g->flags & XM_GNTMAP_READONLY) && types < maps; types += !reason)
		reason = xm_get_page_type(x, mfn, XM_PGT_WRITABLE) ? XM_R_GRANT_TYPE : XM_R_NONE;
	if (!reason && (g->flags & XM_GNTMAP_HOST_MAP))
		reason = xm_create_grant_pv_mapping(g->ld, host_addr, mfn, g->flags);
	if (!reason)
		return XM_R_NONE;
	while (types--)
		xm_put_page_type(x, mfn);
	while (refs--)
		xm_put_page(x, mfn);
	return reason;
}

static int map_with_handle(struct mapping *g, struct xm_map_grant_ref *op, uint32_t handle)
{
	struct xm_machine *m = g->ld->xen->machine;
	struct xm_grant_table *rgt;
	struct xm_maptrack *t;
	int status = xm_grant_table_get(g->rd, &rgt), held, reason;

	if (status)
		return status;
	g->entry_pa = xm_grant_entry_pa(rgt, op->ref);
	if (g->entry_pa == ~0ULL)
		return XM_R_GRANT_REF;
	g->act = xm_grant_active(rgt, op->ref);
	reason = pin_grant(g, &held);
	if (reason)
		return reason;
	reason = map_frame(g, held, op->host_addr);
	if (reason) {
		set_pins(m, g->act, g->act->pin - g->pins);
		reduce_status(m, g->entry_pa, g->act, (op->flags & XM_GNTMAP_READONLY) != 0);
		return reason;
	}
	t = xm_maptrack(g->ld->grants, handle);
	XM_PUT(m, t->domid, op->dom);
	XM_PUT(m, t->ref, op->ref);
	XM_PUT(m, t->flags, (uint16_t)op->flags);
	op->dev_bus_addr = g->act->mfn << XM_PAGE_SHIFT;
	op->handle = handle;
	return XM_R_NONE;
}

/* A reason, or a negative status. */
int xm_grant_map_one(struct xm_domain *d, struct xm_map_grant_ref *op)
{
	struct mapping g = {.ld = d, .flags = op->flags, .pins = pins_of(op->flags)};
	struct xm_grant_table *lgt;
	uint32_t handle;
	int reason;

	if (!g.pins)
		return XM_R_GRANT_FLAGS;
	g.rd = xm_domain_by_id(d->xen, op->dom);
	if (!g.rd)
		return XM_R_GRANT_DOMAIN;
	reason = xm_grant_table_get(d, &lgt);
	if (!reason)
		reason = xm_maptrack_new(d, &handle);
	if (reason)
		return reason;
	reason = map_with_handle(&g, op, handle);
	if (reason)
		xm_maptrack_put(d, handle);
	return reason;
}

/* ---- unmapping ---------------------------------------------------------------------------------------------------- */

/* The first half: the entries go. */
int xm_grant_unmap_one(struct xm_domain *d, struct xm_grant_unmap *op)
{
	struct xm_machine *m = d->xen->machine;
	struct xm_maptrack *map = d->grants ? xm_maptrack(d->grants, op->handle) : NULL;
	uint32_t flags;
	int reason;

	op->done = 0;
	if (!map || !map->flags)
		return XM_R_GRANT_HANDLE;
	flags = map->flags;
	op->ref = map->ref;
	op->rd = xm_domain_by_id(d->xen, map->domid);
	if (!op->rd)
		return XM_R_GRANT_DOMAIN; /* real Xen crashes the caller; a domain with mappings does not go away here */
	op->mfn = xm_grant_active(op->rd->grants, op->ref)->mfn;
	if (op->dev_bus_addr && (flags & XM_GNTMAP_DEVICE_MAP) && op->dev_bus_addr != op->mfn << XM_PAGE_SHIFT)
		return XM_R_GRANT_DEV_ADDR;
	if (op->host_addr && (flags & XM_GNTMAP_HOST_MAP)) {
		reason = xm_replace_grant_pv_mapping(d, op->host_addr, op->mfn, op->new_addr, flags);
		if (reason)
			return reason;
		op->done |= XM_GNTMAP_HOST_MAP | (flags & XM_GNTMAP_READONLY);
	}
	if (op->dev_bus_addr && (flags & XM_GNTMAP_DEVICE_MAP))
		op->done |= XM_GNTMAP_DEVICE_MAP | (flags & XM_GNTMAP_READONLY);
	flags &= ~(op->done & MAPS);
	XM_PUT(m, map->flags, (uint16_t)(flags & MAPS ? flags : 0));
	if (!map->flags)
		xm_maptrack_put(d, op->handle);
	return XM_R_NONE;
}

/* The second, after the flush: the references go. */
void xm_grant_unmap_complete(struct xm_domain *d, const struct xm_grant_unmap *op)
{
	struct xm_xen *x = d->xen;
	int readonly = (op->done & XM_GNTMAP_READONLY) != 0;
	struct xm_grant_active *act;

	if (!op->done)
		return;
	act = xm_grant_active(op->rd->grants, op->ref);
	for (uint32_t kind = XM_GNTMAP_DEVICE_MAP; kind <= XM_GNTMAP_HOST_MAP; kind <<= 1) {
		if (!(op->done & kind))
			continue;
		if (!readonly)
			xm_put_page_type(x, op->mfn);
		xm_put_page(x, op->mfn);
	}
	set_pins(x->machine, act, act->pin - pins_of(op->done));
	reduce_status(x->machine, xm_grant_entry_pa(op->rd->grants, op->ref), act, readonly);
}

/* ---- the table as a whole ----------------------------------------------------------------------------------------- */

int xm_grant_swap(struct xm_domain *d, uint32_t ref_a, uint32_t ref_b)
{
	struct xm_machine *m = d->xen->machine;
	struct xm_grant_table *t;
	int status = xm_grant_table_get(d, &t);
	uint64_t a, b, entry;

	if (status)
		return status;
	a = xm_grant_entry_pa(t, ref_a);
	b = xm_grant_entry_pa(t, ref_b);
	if (a == ~0ULL || b == ~0ULL)
		return XM_R_GRANT_REF;
	if (a == b)
		return XM_R_NONE;
	if (xm_grant_active(t, ref_a)->pin || xm_grant_active(t, ref_b)->pin)
		return XM_R_GRANT_IN_USE;
	entry = xm_peek(m, a);
	xm_poke(m, a, xm_peek(m, b));
	xm_poke(m, b, entry);
	return XM_R_NONE;
}

/* Whose table a call is about: its own, by either name, or another's where it may. */
int xm_grant_whose(struct xm_domain *d, uint32_t domid, struct xm_domain **ret, struct xm_grant_table **table_ret)
{
	struct xm_domain *rd = domid == XM_DOMID_SELF ? d : xm_domain_by_id(d->xen, domid);

	if (!rd)
		return XM_R_GRANT_DOMAIN;
	if (!xm_may_target(d, rd->domid))
		return XM_R_GRANT_PERMISSION;
	*ret = rd;
	return xm_grant_table_get(rd, table_ret);
}
