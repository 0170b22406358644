/*
 * hypercall.c - a hypercall as the guest makes it: a number and five registers, with arrays in the guest's own memory.
 *
 * Knows: the numbers, in which order arguments are looked at and copied, what is written back, and continuations.  Does
 * not know: what the operations do.
 *
 * When an entry above level 1 is replaced, or a validation fails half way, Xen drops the table in a second attempt: the
 * guest asks again, with what is left of the batch, or, when nothing is left, with (NULL, 0x80000000, NULL, rc).  The
 * guest sees this where its arguments lie in memory: in a multicall, and in *pdone.
 *
 * Xen 4.17: arch/x86/pv/hypercall.c, do_mmu_update and do_mmuext_op (arch/x86/mm.c), do_multicall (common/multicall.c).
 */
#include "memory.h"

#define CONTINUED 0x80000000U

enum {
	HYPERVISOR_MMU_UPDATE = 1,
	HYPERVISOR_SET_GDT = 2,
	HYPERVISOR_UPDATE_DESCRIPTOR = 10,
	HYPERVISOR_MEMORY_OP = 12,
	HYPERVISOR_MULTICALL = 13,
	HYPERVISOR_UPDATE_VA_MAPPING = 14,
	HYPERVISOR_GRANT_TABLE_OP = 20,
	HYPERVISOR_VM_ASSIST = 21,
	HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN = 22,
	HYPERVISOR_MMUEXT_OP = 26,
};

/* What a PV guest of 4.17 may call: 0 to 42 but for 11 and 38, which are no more; 48 and 49. */
#define KNOWN_HYPERCALLS ((((1ULL << 43) - 1) & ~(1ULL << 11 | 1ULL << 38)) | 3ULL << 48)

/* An array's hypercall: mmu_update and mmuext_op share their form. */
struct array_call {
	uint64_t *args;
	uint32_t count; /* without the bit that says that it goes on */
	uint32_t i;     /* elements done in this attempt */
	uint32_t done;  /* and before it, as *pdone says */
};

/* 0 when the call is the second attempt that only returns a value. */
static int begin(struct xm_domain *d, uint64_t *args, struct array_call *c, struct xm_result *ret)
{
	memset(&d->xen->at, 0, sizeof(d->xen->at));
	d->xen->deferred = 0;
	*c = (struct array_call){.args = args, .count = (uint32_t)args[1] & ~CONTINUED};
	if ((uint32_t)args[1] == CONTINUED && !args[0]) {
		/* Xen's own second attempt leaves the reason of the first. */
		ret->rc = (int32_t)args[3];
		return 0;
	}
	/* What cannot be read of it is zero. */
	if (((uint32_t)args[1] & CONTINUED) && args[2] && xm_handle_okay(args[2], 1, 4))
		xm_read_guest(d, args[2], &c->done, 4);
	return 1;
}

static void write_done(struct xm_domain *d, const struct array_call *c)
{
	uint32_t done = c->done + c->i;

	/* Failure goes unnoticed. */
	if (c->args[2] && xm_handle_okay(c->args[2], 1, 4))
		xm_write_guest(d, c->args[2], &done, 4);
}

/* The end of an attempt: with or without another one. */
static int end(struct xm_domain *d, struct array_call *c, int reason, unsigned size, struct xm_result *ret)
{
	int stopped = !reason && c->i < c->count, deferred = d->xen->deferred != 0;

	ret->done = c->done + c->i;
	xm_finish(d, reason, ret);
	if (stopped) {
		c->args[0] += (uint64_t)c->i * size;
		c->args[1] = (c->count - c->i) | CONTINUED;
		c->args[3] = (uint32_t)c->args[3];
	} else if (deferred) {
		c->args[0] = 0;
		c->args[1] = CONTINUED;
		c->args[3] = (uint32_t)ret->rc;
	}
	write_done(d, c);
	if (!stopped && deferred)
		c->args[2] = 0;
	return stopped || deferred ? XM_CALL_AGAIN : XM_CALL_DONE;
}

static int mmu_update(struct xm_domain *d, uint64_t *args, struct xm_result *ret)
{
	struct xm_machine *m = d->xen->machine;
	struct xm_batch b = {.d = d};
	struct xm_mmu_update req;
	struct array_call c;
	int reason;

	if (!begin(d, args, &c, ret))
		return XM_CALL_DONE;
	if (!((uint32_t)args[1] & CONTINUED))
		XM_PUT(m, d->counters.mmu_update, d->counters.mmu_update + 1);
	if (!xm_handle_okay(args[0], c.count, sizeof(req)))
		return xm_bad_handle(d, ret);
	reason = xm_batch_tables(&b, (uint32_t)args[3]);
	if (reason)
		return xm_finish(d, reason, ret);
	reason = xm_foreigndom(d, args[3] & 0xffff, &b.pg_owner);
	for (; !reason && c.i < c.count && !d->xen->deferred; c.i += !reason) {
		if (!xm_read_guest(d, args[0] + (uint64_t)c.i * sizeof(req), &req, sizeof(req))) {
			reason = xm_refuse(d->xen, XM_R_BAD_HANDLE, 0, 0, 0);
			continue;
		}
		XM_PUT(m, d->counters.mmu_update_entries, d->counters.mmu_update_entries + 1);
		reason = xm_update_one(&b, &req);
	}
	/* XSA-286, as in xm_mmu_update. */
	if (b.flush)
		xm_flush_tlb(b.pt_owner);
	return end(d, &c, reason, sizeof(req), ret);
}

static int mmuext_op(struct xm_domain *d, uint64_t *args, struct xm_result *ret)
{
	struct xm_machine *m = d->xen->machine;
	struct xm_mmuext_op op;
	struct array_call c;
	unsigned owner = 0;
	int reason;

	if (!begin(d, args, &c, ret))
		return XM_CALL_DONE;
	if (!((uint32_t)args[1] & CONTINUED))
		XM_PUT(m, d->counters.mmuext_op, d->counters.mmuext_op + 1);
	if (!xm_handle_okay(args[0], c.count, sizeof(op)))
		return xm_bad_handle(d, ret);
	reason = xm_foreigndom(d, args[3] & 0xffff, &owner);
	if (!reason && !xm_may_target(d, owner))
		reason = XM_R_NO_PRIVILEGE;
	if (reason)
		return xm_finish(d, reason, ret);
	for (; !reason && c.i < c.count && !d->xen->deferred; c.i += !reason) {
		if (!xm_read_guest(d, args[0] + (uint64_t)c.i * sizeof(op), &op, sizeof(op))) {
			reason = xm_refuse(d->xen, XM_R_BAD_HANDLE, 0, 0, 0);
			continue;
		}
		if (op.cmd < XM_MMUEXT_KINDS)
			XM_PUT(m, d->counters.mmuext[op.cmd], d->counters.mmuext[op.cmd] + 1);
		reason = xm_mmuext_one(d, &op, owner);
	}
	return end(d, &c, reason, sizeof(op), ret);
}

/* The number of entries is checked before the list is read. */
static int set_gdt(struct xm_domain *d, const uint64_t *args, struct xm_result *ret)
{
	uint32_t entries = (uint32_t)args[1], n = (entries + XM_DESCRIPTORS_IN_PAGE - 1) / XM_DESCRIPTORS_IN_PAGE;
	uint64_t frames[XM_GDT_PAGES];

	if (entries > XM_GDT_PAGES * XM_DESCRIPTORS_IN_PAGE)
		return xm_set_gdt(d, NULL, entries, ret);
	if (n && (!xm_handle_okay(args[0], n, 8) || !xm_read_guest(d, args[0], frames, n * 8)))
		return xm_bad_handle(d, ret);
	return xm_set_gdt(d, frames, entries, ret);
}

/* One attempt at a hypercall: an enum xm_call_end, or a negative status. */
static int attempt(struct xm_domain *d, uint64_t nr, uint64_t *args, struct xm_result *ret)
{
	switch (nr) {
	case HYPERVISOR_MMU_UPDATE:
		return mmu_update(d, args, ret);
	case HYPERVISOR_SET_GDT:
		return set_gdt(d, args, ret);
	case HYPERVISOR_UPDATE_DESCRIPTOR:
		return xm_update_descriptor(d, args[0], args[1], ret);
	case HYPERVISOR_MEMORY_OP:
		return xm_memory_call(d, args, ret);
	case HYPERVISOR_UPDATE_VA_MAPPING:
		return xm_update_va_mapping(d, args[0], args[1], args[2], ret);
	case HYPERVISOR_GRANT_TABLE_OP:
		return xm_grant_table_call(d, args, ret);
	case HYPERVISOR_VM_ASSIST:
		return xm_vm_assist(d, (uint32_t)args[0], (uint32_t)args[1], ret);
	case HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN:
		return xm_update_va_mapping_otherdomain(d, args[0], args[1], args[2], args[3] & 0xffff, ret);
	case HYPERVISOR_MMUEXT_OP:
		return mmuext_op(d, args, ret);
	default:
		if (nr < 64 && (KNOWN_HYPERCALLS >> nr & 1))
			return XM_E_NOT_MODELLED;
		return xm_finish(d, xm_refuse(d->xen, XM_R_UNKNOWN_COMMAND, 0, 0, 0), ret);
	}
}

/* ---- multicall ---------------------------------------------------------------------------------------------------- */

struct multicall_entry {
	uint64_t op;
	int64_t result;
	uint64_t args[6];
};

/* One entry, to its end.  1 when the multicall goes on, 0 with *ret filled when it ends here. */
static int multicall_one(struct xm_domain *d, uint64_t va, struct xm_result *ret, int *status)
{
	struct multicall_entry e;
	int again;

	memset(ret, 0, sizeof(*ret));
	do {
		if (!xm_read_guest(d, va, &e, sizeof(e)))
			return !!xm_bad_handle(d, ret);
		if (e.op == HYPERVISOR_MULTICALL) {
			memset(&d->xen->at, 0, sizeof(d->xen->at));
			again = xm_finish(d, XM_R_MULTICALL_NESTED, ret);
		} else {
			again = attempt(d, e.op, e.args, ret);
		}
		if (again < 0) {
			*status = again;
			return 0;
		}
		e.result = again ? (int64_t)e.op : ret->rc;
		if (!xm_put_guest(d, va + offsetof(struct multicall_entry, result), (uint64_t)e.result,
				  sizeof(e.result))) {
			xm_bad_handle(d, ret);
			/* The guest is sent back to ask again all the same, with rc for a number. */
			if (again)
				ret->rc = -xm_reason_errno(XM_R_UNKNOWN_COMMAND);
			return 0;
		}
		if (again && !xm_write_guest(d, va, &e, sizeof(e)))
			return !!xm_bad_handle(d, ret);
	} while (again);
	return 1;
}

static int multicall(struct xm_domain *d, const uint64_t *args, struct xm_result *ret)
{
	uint32_t n = (uint32_t)args[1], i = 0, refused = XM_R_NONE;
	int status = XM_OK;

	memset(&d->xen->at, 0, sizeof(d->xen->at));
	if (!xm_handle_okay(args[0], n, sizeof(struct multicall_entry)))
		return xm_bad_handle(d, ret);
	for (; i < n; i++) {
		if (!multicall_one(d, args[0] + (uint64_t)i * sizeof(struct multicall_entry), ret, &status))
			break;
		if (ret->reason)
			refused = ret->reason;
	}
	ret->done = i;
	if (status || i < n)
		return status;
	/* An entry's error number stands in its result, and is none of the call. */
	xm_finish(d, XM_R_NONE, ret);
	ret->reason = refused;
	return XM_OK;
}

int xm_hypercall(struct xm_domain *d, uint64_t nr, const uint64_t args[5], struct xm_result *ret)
{
	uint64_t regs[6] = {args[0], args[1], args[2], args[3], args[4]};
	int again;

	if (!d->alive || d->vcpu.user_mode)
		return XM_E_STATE;
	memset(ret, 0, sizeof(*ret));
	if (nr == HYPERVISOR_MULTICALL)
		return multicall(d, regs, ret);
	do
		again = attempt(d, nr, regs, ret);
	while (again > 0);
	return again;
}
