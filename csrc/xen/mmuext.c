/*
 * mmuext.c - mmuext_op: pins, roots, flushes, whole-page writes; and vm_assist.
 *
 * Knows: what each command checks and holds.  Does not know: types and entries (frame.c, validate.c).
 *
 * Xen 4.17: do_mmuext_op, new_guest_cr3 (mm.c), do_vm_assist (common/kernel.c).
 */
#include "handle.h"

#define CONTINUED 0x80000000U

/* ---- pins -------------------------------------------------------------------------------------------------------- */

static int pin_type(struct xm_xen *x, uint64_t mfn, unsigned type)
{
	struct xm_frame *f = &x->frame[mfn];

	if (xm_mutant(x, XM_MUT_PIN_WRONG_LEVEL_ACCEPTED) && xm_type_count(f) && xm_type(f) >= XM_PGT_L1 &&
	    xm_type(f) <= XM_PGT_L4)
		type = xm_type(f);
	return xm_get_page_type(x, mfn, type);
}

static int pin(struct xm_xen *x, uint64_t mfn, unsigned owner, unsigned type)
{
	struct xm_frame *f;
	int reason;

	if (owner == XM_DOMID_IO || !xm_get_page(x, mfn, owner))
		return xm_refuse(x, XM_R_MMUEXT_NOT_OWNED, mfn, 0, 0);
	f = &x->frame[mfn];
	reason = pin_type(x, mfn, type);
	if (reason) {
		xm_put_page(x, mfn);
		return reason;
	}
	if ((f->type_info & XM_PGT_PINNED) && !xm_mutant(x, XM_MUT_PIN_TWICE_COUNTS)) {
		x->deferred |= type > XM_PGT_L1;
		xm_put_page_and_type(x, mfn);
		return xm_refuse(x, XM_R_ALREADY_PINNED, mfn, type, 0);
	}
	XM_PUT(x->machine, f->type_info, f->type_info | XM_PGT_PINNED);
	return XM_R_NONE;
}

static int unpin(struct xm_xen *x, uint64_t mfn, unsigned owner)
{
	struct xm_frame *f;

	if (owner == XM_DOMID_IO || !xm_get_page(x, mfn, owner))
		return xm_refuse(x, XM_R_MMUEXT_NOT_OWNED, mfn, 0, 0);
	f = &x->frame[mfn];
	if (!(f->type_info & XM_PGT_PINNED) && !xm_mutant(x, XM_MUT_UNPIN_UNPINNED)) {
		xm_put_page(x, mfn);
		return xm_refuse(x, XM_R_NOT_PINNED, mfn, 0, 0);
	}
	XM_PUT(x->machine, f->type_info, f->type_info & ~XM_PGT_PINNED);
	xm_put_page_and_type(x, mfn);
	xm_put_page(x, mfn);
	return XM_R_NONE;
}

/* ---- roots ------------------------------------------------------------------------------------------------------- */

static int get_root(struct xm_domain *d, uint64_t mfn)
{
	struct xm_xen *x = d->xen;
	int reason;

	if (!xm_get_page(x, mfn, d->domid))
		return xm_refuse(x, XM_R_MMUEXT_NOT_OWNED, mfn, 0, 0);
	reason = xm_get_page_type(x, mfn, XM_PGT_L4);
	if (reason)
		xm_put_page(x, mfn);
	return reason;
}

static void put_root(struct xm_domain *d, uint64_t mfn)
{
	if (mfn && !xm_mutant(d->xen, XM_MUT_OLD_ROOT_NOT_PUT))
		xm_put_page_and_type(d->xen, mfn);
}

static int m2p_strict(const struct xm_domain *d)
{
	return d->vm_assist >> XM_VMASST_M2P_STRICT & 1;
}

static int new_baseptr(struct xm_domain *d, uint64_t mfn)
{
	struct xm_xen *x = d->xen;
	uint64_t old = d->vcpu.kernel_root;
	int reason;

	if (mfn == old) {
		xm_flush_tlb(d);
		return XM_R_NONE;
	}
	reason = get_root(d, mfn);
	if (reason)
		return reason;
	xm_destroy_ldt(d); /* its pages were found by the old root */
	if (!m2p_strict(d) && !xm_words(x->machine, mfn)[XM_L4_FIRST_XEN_SLOT])
		xm_fill_m2p_slot(x, mfn);
	XM_PUT(x->machine, d->vcpu.kernel_root, mfn);
	xm_load_cr3(d, mfn);
	xm_flush_tlb(d);
	put_root(d, old);
	return XM_R_NONE;
}

/* Nothing is loaded or flushed: the root takes effect at the next switch to user mode. */
static int new_user_baseptr(struct xm_domain *d, uint64_t mfn)
{
	struct xm_xen *x = d->xen;
	uint64_t old = d->vcpu.user_root;
	int reason;

	if (mfn == old)
		return XM_R_NONE;
	if (mfn) {
		reason = get_root(d, mfn);
		if (reason)
			return reason;
		if (m2p_strict(d))
			xm_poke(x->machine, (mfn << XM_PAGE_SHIFT) + XM_L4_FIRST_XEN_SLOT * 8, 0);
	}
	XM_PUT(x->machine, d->vcpu.user_root, mfn);
	put_root(d, old);
	return XM_R_NONE;
}

/* ---- whole pages ------------------------------------------------------------------------------------------------- */

static int write_page(struct xm_xen *x, uint64_t mfn, unsigned owner, const void *bytes)
{
	int typed = !xm_mutant(x, XM_MUT_CLEAR_PAGE_NO_TYPE);

	if (owner == XM_DOMID_IO || !xm_get_page(x, mfn, owner))
		return xm_refuse(x, XM_R_MMUEXT_NOT_OWNED, mfn, 0, 0);
	if (typed && xm_get_page_type(x, mfn, XM_PGT_WRITABLE)) {
		xm_put_page(x, mfn);
		return xm_refuse(x, XM_R_NOT_WRITABLE, mfn, 0, 0);
	}
	xm_write(x->machine, mfn << XM_PAGE_SHIFT, bytes, XM_PAGE_SIZE);
	if (typed)
		xm_put_page_type(x, mfn);
	xm_put_page(x, mfn);
	return XM_R_NONE;
}

static int clear_page(struct xm_xen *x, uint64_t mfn, unsigned owner)
{
	static const uint8_t zeros[XM_PAGE_SIZE];

	return write_page(x, mfn, owner, zeros);
}

static int copy_page(struct xm_xen *x, uint64_t dst, uint64_t src, unsigned owner)
{
	uint8_t bytes[XM_PAGE_SIZE];
	int reason;

	if (owner == XM_DOMID_IO || !xm_get_page(x, src, owner))
		return xm_refuse(x, XM_R_MMUEXT_NOT_OWNED, src, 0, 0);
	if (xm_read(x->machine, src << XM_PAGE_SHIFT, bytes, XM_PAGE_SIZE))
		reason = xm_refuse(x, XM_R_NOT_CAPTURED, src, 0, 0);
	else
		reason = write_page(x, dst, owner, bytes);
	xm_put_page(x, src);
	return reason;
}

/* ---- flushes and the rest ---------------------------------------------------------------------------------------- */

static int flush_multi(struct xm_domain *d, const struct xm_mmuext_op *op)
{
	uint64_t vcpus;

	if (!xm_copy_from_guest(d, op->arg2, &vcpus))
		return xm_refuse(d->xen, XM_R_VCPU_BITMAP, 0, 0, 0);
	if (!(vcpus & 1))
		return XM_R_NONE;
	if (op->cmd == XM_MMUEXT_TLB_FLUSH_MULTI)
		xm_flush_tlb(d);
	else if (xm_addr_ok(op->arg1))
		xm_flush_page(d, op->arg1);
	return XM_R_NONE;
}

static int flush_op(struct xm_domain *d, const struct xm_mmuext_op *op)
{
	switch (op->cmd) {
	case XM_MMUEXT_TLB_FLUSH_LOCAL:
	case XM_MMUEXT_TLB_FLUSH_ALL:
		xm_flush_tlb(d);
		return XM_R_NONE;
	case XM_MMUEXT_INVLPG_LOCAL:
		xm_flush_page(d, op->arg1);
		return XM_R_NONE;
	case XM_MMUEXT_INVLPG_ALL:
		if (xm_addr_ok(op->arg1))
			xm_flush_page(d, op->arg1);
		return XM_R_NONE;
	case XM_MMUEXT_FLUSH_CACHE:
		return d->privileged ? XM_R_NONE : xm_refuse(d->xen, XM_R_CACHE_NOT_PERMITTED, 0, 0, 0);
	case XM_MMUEXT_FLUSH_CACHE_GLOBAL:
		return d->privileged ? XM_R_NONE : xm_refuse(d->xen, XM_R_CACHE_GLOBAL_NOT_PERMITTED, 0, 0, 0);
	default:
		return flush_multi(d, op);
	}
}

/* Commands that act on the caller alone. */
static int own_op(struct xm_domain *d, const struct xm_mmuext_op *op, unsigned owner)
{
	if (owner != d->domid)
		return xm_refuse(d->xen, XM_R_MMUEXT_FOREIGN, op->arg1, 0, 0);
	switch (op->cmd) {
	case XM_MMUEXT_NEW_BASEPTR:
		return new_baseptr(d, op->arg1);
	case XM_MMUEXT_NEW_USER_BASEPTR:
		return new_user_baseptr(d, op->arg1);
	case XM_MMUEXT_SET_LDT:
		return xm_set_ldt(d, op->arg1, op->arg2);
	default:
		return flush_op(d, op);
	}
}

int xm_mmuext_one(struct xm_domain *d, const struct xm_mmuext_op *op, unsigned owner)
{
	struct xm_xen *x = d->xen;

	if (op->cmd >= x->profile->mmuext_commands)
		return xm_refuse(x, XM_R_UNKNOWN_COMMAND, 0, 0, 0);
	switch (op->cmd) {
	case XM_MMUEXT_PIN_L1_TABLE:
	case XM_MMUEXT_PIN_L2_TABLE:
	case XM_MMUEXT_PIN_L3_TABLE:
	case XM_MMUEXT_PIN_L4_TABLE:
		return pin(x, op->arg1, owner, op->cmd - XM_MMUEXT_PIN_L1_TABLE + XM_PGT_L1);
	case XM_MMUEXT_UNPIN_TABLE:
		return unpin(x, op->arg1, owner);
	case XM_MMUEXT_CLEAR_PAGE:
		return clear_page(x, op->arg1, owner);
	case XM_MMUEXT_COPY_PAGE:
		return copy_page(x, op->arg1, op->arg2, owner);
	case XM_MMUEXT_MARK_SUPER:
	case XM_MMUEXT_UNMARK_SUPER:
		return xm_refuse(x, XM_R_NOT_SUPPORTED, op->arg1, 0, 0);
	case XM_MMUEXT_NEW_BASEPTR:
	case XM_MMUEXT_NEW_USER_BASEPTR:
	case XM_MMUEXT_SET_LDT:
	case XM_MMUEXT_TLB_FLUSH_LOCAL:
	case XM_MMUEXT_INVLPG_LOCAL:
	case XM_MMUEXT_TLB_FLUSH_MULTI:
	case XM_MMUEXT_INVLPG_MULTI:
	case XM_MMUEXT_TLB_FLUSH_ALL:
	case XM_MMUEXT_INVLPG_ALL:
	case XM_MMUEXT_FLUSH_CACHE:
	case XM_MMUEXT_FLUSH_CACHE_GLOBAL:
		return own_op(d, op, owner);
	default:
		return xm_refuse(x, XM_R_UNKNOWN_COMMAND, 0, 0, 0);
	}
}

int xm_mmuext_op(struct xm_domain *d, const struct xm_mmuext_op *ops, uint32_t count, uint32_t foreigndom,
		 struct xm_result *ret)
{
	struct xm_machine *m = d->xen->machine;
	uint32_t n = count & ~CONTINUED, done = 0;
	unsigned owner = 0;
	int reason;

	if (!d->alive || d->vcpu.user_mode)
		return XM_E_STATE;
	if (!ops && n)
		return XM_E_ARGUMENT;
	XM_PUT(m, d->counters.mmuext_op, d->counters.mmuext_op + 1);
	memset(&d->xen->at, 0, sizeof(d->xen->at));
	if (count == CONTINUED && !ops) {
		xm_finish(d, XM_R_NONE, ret);
		ret->rc = (int32_t)foreigndom;
		return XM_OK;
	}
	reason = xm_foreigndom(d, foreigndom & 0xffff, &owner);
	if (!reason && !xm_may_target(d, owner))
		reason = XM_R_NO_PRIVILEGE;
	if (reason)
		return xm_finish(d, reason, ret);
	if (!(count & CONTINUED))
		ret->done = 0;
	for (; done < n; done++) {
		uint32_t cmd = ops[done].cmd;

		if (cmd < XM_MMUEXT_KINDS)
			XM_PUT(m, d->counters.mmuext[cmd], d->counters.mmuext[cmd] + 1);
		reason = xm_mmuext_one(d, &ops[done], owner);
		if (reason)
			break;
	}
	ret->done += done;
	return xm_finish(d, reason, ret);
}

/* ---- vm_assist --------------------------------------------------------------------------------------------------- */

int xm_vm_assist(struct xm_domain *d, uint32_t cmd, uint32_t type, struct xm_result *ret)
{
	uint64_t known = d->xen->profile->assists, bit;
	int reason = XM_R_NONE;

	if (!d->alive || d->vcpu.user_mode)
		return XM_E_STATE;
	memset(&d->xen->at, 0, sizeof(d->xen->at));
	if (type >= 64 || !(known >> type & 1)) {
		reason = XM_R_ASSIST;
	} else if (cmd != XM_VMASST_ENABLE && cmd != XM_VMASST_DISABLE) {
		reason = XM_R_UNKNOWN_COMMAND;
	} else {
		bit = 1ULL << type;
		XM_PUT(d->xen->machine, d->vm_assist,
		       cmd == XM_VMASST_ENABLE ? d->vm_assist | bit : d->vm_assist & ~bit);
	}
	ret->done = !reason;
	return xm_finish(d, reason, ret);
}
