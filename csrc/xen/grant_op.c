/*
 * grant_op.c - grant_table_op: requests, from the caller's memory or from C, to what they ask.
 *
 * Knows: the forms of the requests, in which order they are copied in and out, and that unmaps take effect in batches of
 * 32.  Does not know: what a grant is.
 *
 * Missing: version 2 of the table, transfers, copies, cache flushes.
 *
 * Xen 4.17: do_grant_table_op and the gnttab_* functions that it calls (common/grant_table.c).
 */
#include "grant.h"

#define UNMAP_BATCH 32
#define MISSING_OPS                                                                                                    \
	(1U << XM_GNTTABOP_TRANSFER | 1U << XM_GNTTABOP_COPY | 1U << XM_GNTTABOP_GET_STATUS_FRAMES | 1U << 12)

static int16_t status_of(struct xm_result *ret, int reason)
{
	if (reason)
		ret->reason = (uint32_t)reason;
	return (int16_t)xm_reason_grant_status(reason);
}

/* ---- map and unmap ------------------------------------------------------------------------------------------------ */

static int map_all(struct xm_domain *d, uint64_t uop, uint32_t count, struct xm_result *ret)
{
	struct xm_map_grant_ref op;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t va = uop + (uint64_t)i * sizeof(op);
		int reason;

		if (!xm_read_guest(d, va, &op, sizeof(op)))
			return xm_bad_handle(d, ret);
		reason = xm_grant_map_one(d, &op);
		if (reason < 0)
			return reason;
		op.status = status_of(ret, reason);
		ret->done++;
		if (!xm_write_guest(d, va, &op, sizeof(op)))
			return xm_bad_handle(d, ret);
	}
	return XM_OK;
}

/* A request of unmap_grant_ref and of unmap_and_replace: 24 bytes that differ in the name of the second word. */
static int unmap_one(struct xm_domain *d, uint64_t va, int replace, struct xm_grant_unmap *common,
		     struct xm_result *ret)
{
	struct xm_unmap_grant_ref op;
	int reason;

	common->done = 0;
	if (!xm_read_guest(d, va, &op, sizeof(op)))
		return 0;
	*common = (struct xm_grant_unmap){.host_addr = op.host_addr,
					  .dev_bus_addr = replace ? 0 : op.dev_bus_addr,
					  .new_addr = replace ? op.dev_bus_addr : 0,
					  .handle = op.handle};
	reason = xm_grant_unmap_one(d, common);
	op.status = status_of(ret, reason);
	ret->done++;
	return xm_put_guest(d, va + offsetof(struct xm_unmap_grant_ref, status), (uint16_t)op.status,
			    sizeof(op.status));
}

static int unmap_all(struct xm_domain *d, uint64_t uop, uint32_t count, int replace, struct xm_result *ret)
{
	struct xm_grant_unmap common[UNMAP_BATCH];
	int okay = 1;

	for (uint32_t at = 0; okay && at < count; at += UNMAP_BATCH) {
		uint32_t n = count - at < UNMAP_BATCH ? count - at : UNMAP_BATCH, i = 0;

		while (okay && i < n) {
			uint64_t va = uop + (uint64_t)(at + i) * sizeof(struct xm_unmap_grant_ref);

			okay = unmap_one(d, va, replace, &common[i++], ret);
		}
		xm_flush_tlb(d);
		for (uint32_t j = 0; j < i; j++)
			xm_grant_unmap_complete(d, &common[j]);
	}
	return okay ? XM_OK : xm_bad_handle(d, ret);
}

/* ---- the table ---------------------------------------------------------------------------------------------------- */

struct setup_table {
	uint16_t dom;
	uint16_t pad;
	uint32_t nr_frames;
	int16_t status;
	uint16_t pad2[3];
	uint64_t frame_list;
};

struct query_size {
	uint16_t dom;
	uint16_t pad;
	uint32_t nr_frames;
	uint32_t max_nr_frames;
	int16_t status;
	uint16_t pad2;
};

struct version {
	uint16_t dom;
	uint16_t pad;
	uint32_t version;
};

struct swap_grant_ref {
	uint32_t ref_a;
	uint32_t ref_b;
	int16_t status;
	uint16_t pad;
};

/* Grow the table to nr_frames and name its frames; a reason or a negative status. */
static int setup(struct xm_domain *d, uint32_t domid, uint32_t nr_frames, struct xm_grant_table **ret)
{
	struct xm_domain *rd;
	int reason = xm_grant_whose(d, domid, &rd, ret);

	if (reason)
		return reason;
	if (nr_frames > XM_GRANT_FRAMES)
		return XM_R_GRANT_FRAMES;
	reason = xm_grant_table_grow(rd, nr_frames);
	return reason == XM_E_NO_FRAMES ? XM_R_GRANT_FRAMES : reason;
}

static int setup_table(struct xm_domain *d, uint64_t uop, uint32_t count, struct xm_result *ret)
{
	struct xm_grant_table *t;
	struct setup_table op;
	int reason;

	if (count != 1)
		return xm_finish(d, xm_refuse(d->xen, XM_R_GRANT_COUNT, 0, 0, 0), ret);
	if (!xm_handle_okay(uop, 1, sizeof(op)) || !xm_read_guest(d, uop, &op, sizeof(op)) ||
	    !xm_handle_okay(op.frame_list, op.nr_frames, 8))
		return xm_bad_handle(d, ret);
	reason = setup(d, op.dom, op.nr_frames, &t);
	if (reason < 0)
		return reason;
	op.status = status_of(ret, reason);
	for (uint32_t i = 0; !reason && i < op.nr_frames; i++)
		if (!xm_put_guest(d, op.frame_list + i * 8ULL, t->frame[i], 8))
			op.status = status_of(ret, XM_R_GRANT_FRAME_LIST);
	if (!xm_put_guest(d, uop + offsetof(struct setup_table, status), (uint16_t)op.status, sizeof(op.status)))
		return xm_bad_handle(d, ret);
	return XM_OK;
}

static int query_size(struct xm_domain *d, uint64_t uop, uint32_t count, struct xm_result *ret)
{
	struct xm_grant_table *t;
	struct query_size op;
	struct xm_domain *rd;
	int reason;

	if (count != 1)
		return xm_finish(d, xm_refuse(d->xen, XM_R_GRANT_COUNT, 0, 0, 0), ret);
	if (!xm_handle_okay(uop, 1, sizeof(op)) || !xm_read_guest(d, uop, &op, sizeof(op)))
		return xm_bad_handle(d, ret);
	reason = xm_grant_whose(d, op.dom, &rd, &t);
	if (reason < 0)
		return reason;
	op.status = status_of(ret, reason);
	if (!reason) {
		op.nr_frames = (uint32_t)t->nr_frames;
		op.max_nr_frames = XM_GRANT_FRAMES;
	}
	return xm_write_guest(d, uop, &op, sizeof(op)) ? XM_OK : xm_bad_handle(d, ret);
}

static int set_version(struct xm_domain *d, uint64_t uop, struct xm_result *ret)
{
	uint32_t version, now = 1;

	if (!xm_handle_okay(uop, 1, sizeof(version)) || !xm_read_guest(d, uop, &version, sizeof(version)))
		return xm_bad_handle(d, ret);
	if (version == 2)
		return XM_E_NOT_MODELLED;
	if (version != 1)
		xm_finish(d, xm_refuse(d->xen, XM_R_GRANT_VERSION, 0, 0, 0), ret);
	return xm_put_guest(d, uop, now, sizeof(now)) ? XM_OK : xm_bad_handle(d, ret);
}

static int get_version(struct xm_domain *d, uint64_t uop, struct xm_result *ret)
{
	struct xm_grant_table *t;
	struct xm_domain *rd;
	struct version op;
	int reason;

	if (!xm_handle_okay(uop, 1, sizeof(op)) || !xm_read_guest(d, uop, &op, sizeof(op)))
		return xm_bad_handle(d, ret);
	reason = xm_grant_whose(d, op.dom, &rd, &t);
	if (reason < 0)
		return reason;
	if (reason == XM_R_GRANT_DOMAIN)
		return xm_finish(d, xm_refuse(d->xen, XM_R_FOREIGNDOM_UNKNOWN, 0, 0, 0), ret);
	if (reason)
		return xm_finish(d, xm_refuse(d->xen, XM_R_NO_PRIVILEGE, 0, 0, 0), ret);
	op.version = 1;
	return xm_put_guest(d, uop + offsetof(struct version, version), op.version, sizeof(op.version))
		       ? XM_OK
		       : xm_bad_handle(d, ret);
}

static int swap_all(struct xm_domain *d, uint64_t uop, uint32_t count, struct xm_result *ret)
{
	struct swap_grant_ref op;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t va = uop + (uint64_t)i * sizeof(op);
		int reason;

		if (!xm_read_guest(d, va, &op, sizeof(op)))
			return xm_bad_handle(d, ret);
		reason = xm_grant_swap(d, op.ref_a, op.ref_b);
		if (reason < 0)
			return reason;
		op.status = status_of(ret, reason);
		ret->done++;
		if (!xm_put_guest(d, va + offsetof(struct swap_grant_ref, status), (uint16_t)op.status,
				  sizeof(op.status)))
			return xm_bad_handle(d, ret);
	}
	return XM_OK;
}

/* args: cmd, array, count.  A negative status, or 0 with *ret filled. */
int xm_grant_table_call(struct xm_domain *d, uint64_t *args, struct xm_result *ret)
{
	static const uint8_t sizes[] = {[XM_GNTTABOP_MAP_GRANT_REF] = sizeof(struct xm_map_grant_ref),
					[XM_GNTTABOP_UNMAP_GRANT_REF] = sizeof(struct xm_unmap_grant_ref),
					[XM_GNTTABOP_UNMAP_AND_REPLACE] = sizeof(struct xm_unmap_grant_ref),
					[XM_GNTTABOP_SWAP_GRANT_REF] = sizeof(struct swap_grant_ref)};
	uint32_t cmd = (uint32_t)args[0], count = (uint32_t)args[2];
	uint64_t uop = args[1];

	memset(&d->xen->at, 0, sizeof(d->xen->at));
	xm_finish(d, XM_R_NONE, ret);
	if ((int32_t)count < 0 || (cmd >> 12 && (cmd & 0xfff) != 12))
		return xm_finish(d, xm_refuse(d->xen, XM_R_GRANT_COUNT, 0, 0, 0), ret);
	cmd &= 0xfff;
	if (cmd < 13 && (MISSING_OPS >> cmd & 1))
		return XM_E_NOT_MODELLED;
	if (cmd < sizeof(sizes) && sizes[cmd] && !xm_handle_okay(uop, count, sizes[cmd]))
		return xm_bad_handle(d, ret);
	switch (cmd) {
	case XM_GNTTABOP_MAP_GRANT_REF:
		return map_all(d, uop, count, ret);
	case XM_GNTTABOP_UNMAP_GRANT_REF:
	case XM_GNTTABOP_UNMAP_AND_REPLACE:
		return unmap_all(d, uop, count, cmd == XM_GNTTABOP_UNMAP_AND_REPLACE, ret);
	case XM_GNTTABOP_SETUP_TABLE:
		return setup_table(d, uop, count, ret);
	case XM_GNTTABOP_QUERY_SIZE:
		return query_size(d, uop, count, ret);
	case XM_GNTTABOP_SET_VERSION:
		return set_version(d, uop, ret);
	case XM_GNTTABOP_GET_VERSION:
		return get_version(d, uop, ret);
	case XM_GNTTABOP_SWAP_GRANT_REF:
		return swap_all(d, uop, count, ret);
	default:
		return xm_finish(d, xm_refuse(d->xen, XM_R_UNKNOWN_COMMAND, 0, 0, 0), ret);
	}
}

/* ---- from C ------------------------------------------------------------------------------------------------------- */

static int ready(const struct xm_domain *d)
{
	return d->alive && !d->vcpu.user_mode;
}

int xm_map_grant_ref(struct xm_domain *d, struct xm_map_grant_ref *op, uint32_t *reason_ret)
{
	int reason = ready(d) ? xm_grant_map_one(d, op) : XM_E_STATE;

	if (reason < 0)
		return reason;
	*reason_ret = (uint32_t)reason;
	op->status = (int16_t)xm_reason_grant_status(reason);
	return XM_OK;
}

static int unmap(struct xm_domain *d, struct xm_unmap_grant_ref *op, uint64_t new_addr, uint32_t *reason_ret)
{
	struct xm_grant_unmap common = {.host_addr = op->host_addr,
					.dev_bus_addr = op->dev_bus_addr,
					.new_addr = new_addr,
					.handle = op->handle};
	int reason;

	if (!ready(d))
		return XM_E_STATE;
	reason = xm_grant_unmap_one(d, &common);
	xm_flush_tlb(d);
	xm_grant_unmap_complete(d, &common);
	*reason_ret = (uint32_t)reason;
	op->status = (int16_t)xm_reason_grant_status(reason);
	return XM_OK;
}

int xm_unmap_grant_ref(struct xm_domain *d, struct xm_unmap_grant_ref *op, uint32_t *reason_ret)
{
	return unmap(d, op, 0, reason_ret);
}

int xm_unmap_and_replace(struct xm_domain *d, struct xm_unmap_grant_ref *op, uint64_t new_addr, uint32_t *reason_ret)
{
	return unmap(d, op, new_addr, reason_ret);
}

int xm_grant_setup_table(struct xm_domain *d, uint32_t domid, uint32_t nr_frames, uint64_t *frames,
			 uint32_t *reason_ret)
{
	struct xm_grant_table *t;
	int reason = ready(d) ? setup(d, domid, nr_frames, &t) : XM_E_STATE;

	if (reason < 0)
		return reason;
	*reason_ret = (uint32_t)reason;
	for (uint32_t i = 0; !reason && i < nr_frames; i++)
		frames[i] = t->frame[i];
	return XM_OK;
}

int xm_swap_grant_ref(struct xm_domain *d, uint32_t ref_a, uint32_t ref_b, uint32_t *reason_ret)
{
	int reason = ready(d) ? xm_grant_swap(d, ref_a, ref_b) : XM_E_STATE;

	if (reason < 0)
		return reason;
	*reason_ret = (uint32_t)reason;
	return XM_OK;
}
