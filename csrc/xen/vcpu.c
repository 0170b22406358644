/*
 * vcpu.c - the guest's processor: its two roots, the switch between them, its accesses, and Xen's handling of the faults.
 *
 * Knows: kernel and user both run in ring 3, told apart only by the root that is loaded; a write fault of the kernel on
 * a read-only mapping of an L1 table is done by Xen, checked like any update (ptwr).  Does not know: why a guest
 * switches or stores.
 *
 * Xen 4.17: toggle_guest_mode (pv/domain.c), do_page_fault and fixup_page_fault (traps.c), ptwr_emulated_update
 * (pv/ro-page-fault.c).
 */
#include "xen.h"

/* ---- roots and flushes ------------------------------------------------------------------------------------------- */

static void count(struct xm_domain *d, uint64_t *counter)
{
	XM_PUT(d->xen->machine, *counter, *counter + 1);
}

/* Everything goes, global entries too: Xen toggles CR4.PGE. */
void xm_flush_tlb(struct xm_domain *d)
{
	struct xm_machine *m = d->xen->machine;

	count(d, &d->counters.tlb_flushes);
	XM_PUT(m, d->xen->clock, d->xen->clock + 1);
	XM_PUT(m, d->vcpu.last_flush, d->xen->clock);
	xm_cpu_flush(&d->vcpu.cpu, xm_flush_mov_cr4(d->vcpu.cpu.cr3, XM_CR4_PGE, 0));
}

void xm_flush_page(struct xm_domain *d, uint64_t va)
{
	count(d, &d->counters.invlpg);
	xm_cpu_invlpg(&d->vcpu.cpu, va);
}

/* MOV to CR3: drops what is not global. */
void xm_load_cr3(struct xm_domain *d, uint64_t mfn)
{
	XM_PUT(d->xen->machine, d->vcpu.cpu.cr3, mfn << XM_PAGE_SHIFT);
	count(d, &d->counters.cr3_loads);
	xm_cpu_flush(&d->vcpu.cpu, xm_flush_mov_cr3(d->vcpu.cpu.cr3, d->vcpu.cpu.cr4));
}

int xm_enter_user(struct xm_domain *d)
{
	if (!d->alive || d->vcpu.user_mode || !d->vcpu.user_root)
		return XM_E_STATE;
	count(d, &d->counters.iret);
	XM_PUT(d->xen->machine, d->vcpu.user_mode, 1);
	xm_load_cr3(d, d->vcpu.user_root);
	return XM_OK;
}

int xm_enter_kernel(struct xm_domain *d)
{
	if (!d->alive || !d->vcpu.user_mode)
		return XM_E_STATE;
	XM_PUT(d->xen->machine, d->vcpu.user_mode, 0);
	xm_load_cr3(d, d->vcpu.kernel_root);
	return XM_OK;
}

/* ---- Xen's own look at a guest's tables -------------------------------------------------------------------------- */

/* The machine address of the entry of `level` that serves va, all ones when the way down to it is not there.  Xen reads
 * it through its linear slot, so the processor marks the entries above as accessed, as on any walk. */
uint64_t xm_find_entry(struct xm_domain *d, uint64_t root, uint64_t va, unsigned level)
{
	struct xm_machine *m = d->xen->machine;
	uint64_t table = root;

	for (unsigned at = 4;; at--) {
		uint64_t pa = (table << XM_PAGE_SHIFT) + ((va >> (3 + 9 * at)) & 511) * 8, entry;

		if (!xm_has_frame(m, table))
			return ~0ULL;
		if (at == level)
			return pa;
		entry = xm_peek(m, pa);
		if (!(entry & XM_PTE_P) || (at < 4 && (entry & XM_PTE_PS)))
			return ~0ULL;
		if (!(entry & XM_PTE_A))
			xm_poke(m, pa, entry | XM_PTE_A);
		table = xm_entry_mfn(entry);
	}
}

/* A word of a hypercall's argument, read with the kernel's root; 0 when it is not there. */
int xm_copy_from_guest(struct xm_domain *d, uint64_t va, uint64_t *value_ret)
{
	struct xm_cpu cpu = d->vcpu.cpu;
	struct xm_walk w;
	uint64_t cr2;

	if (!xm_addr_ok(va))
		return 0;
	cpu.cr3 = d->vcpu.kernel_root << XM_PAGE_SHIFT;
	cpu.tlb = NULL;
	return !xm_cpu_load(&cpu, va, 8, XM_ACC_READ, value_ret, &cr2, &w) && !w.fault;
}

/* ---- write emulation --------------------------------------------------------------------------------------------- */

static int in_xen_range(uint64_t va)
{
	return va >= XM_RO_MPT_VIRT_START && va < 0xffff880000000000ULL;
}

static int ptwr_offered(const struct xm_domain *d, uint64_t va, int32_t error_code)
{
	const struct xm_xen *x = d->xen;

	if (d->vcpu.user_mode && !xm_mutant(x, XM_MUT_PTWR_USER_MODE))
		return 0;
	if ((error_code & (XM_PF_P | XM_PF_W | XM_PF_RSVD | XM_PF_I)) != (XM_PF_P | XM_PF_W) || in_xen_range(va))
		return 0;
	/* The hardware domain gets here for read-only MMIO, with or without the assist, and falls through. */
	return (d->privileged && x->profile->ptwr_devices) || (d->vm_assist >> XM_VMASST_WRITABLE_PAGETABLES & 1);
}

/* The entry as the guest's store leaves it: narrow stores are merged into the word. */
static uint64_t merge(uint64_t old, uint64_t pa, unsigned size, uint64_t value)
{
	unsigned shift = (unsigned)(pa & 7) * 8;
	uint64_t mask = size == 8 ? ~0ULL : ((1ULL << (size * 8)) - 1) << shift;

	return (old & ~mask) | (value << shift & mask);
}

/* ptwr_emulated_update: the word at pa, in a validated L1 table of the domain, becomes `entry`. */
int xm_ptwr_update(struct xm_domain *d, uint64_t pa, uint64_t entry)
{
	struct xm_xen *x = d->xen;
	uint64_t old = xm_peek(x->machine, pa), flip = 0;

	if (entry & XM_PTE_P) {
		int reason = xm_get_page_from_l1e(x, d, d->domid, entry, &flip);

		if (reason)
			return reason;
		entry = xm_adjust_entry(x, 1, entry ^ flip);
	}
	xm_poke(x->machine, pa, xm_entry_to_store(x, 1, entry));
	xm_put_page_from_l1e(x, old);
	count(d, &d->counters.ptwr);
	return XM_R_NONE;
}

/* A validated L1 table of the domain? */
int xm_is_own_l1(const struct xm_domain *d, uint64_t mfn)
{
	const struct xm_frame *f;

	if (!xm_mfn_valid(d->xen, mfn))
		return 0;
	f = &d->xen->frame[mfn];
	return f->owner == d->domid && xm_type(f) == XM_PGT_L1 && xm_type_count(f) && (f->type_info & XM_PGT_VALIDATED);
}

enum target { NOT_XENS, READ_ONLY_MMIO, PAGE_TABLE };

/* What a write fault at va was about: nothing of Xen's concern, or an L1 table that is mapped read-only by the entry at
 * *l1e_pa_ret, or device memory that Xen keeps to itself. */
static enum target find_target(struct xm_domain *d, uint64_t va, uint64_t *l1e_pa_ret)
{
	struct xm_xen *x = d->xen;
	uint64_t l1e_pa = xm_find_entry(d, xm_entry_mfn(d->vcpu.cpu.cr3), va, 1), l1e;

	*l1e_pa_ret = l1e_pa;
	if (l1e_pa == ~0ULL)
		return NOT_XENS;
	l1e = xm_peek(x->machine, l1e_pa);
	if ((l1e & (XM_PTE_P | XM_PTE_RW)) != XM_PTE_P)
		return NOT_XENS;
	if (d->privileged && xm_mmio_read_only(xm_entry_mfn(l1e)))
		return READ_ONLY_MMIO;
	return xm_is_own_l1(d, xm_entry_mfn(l1e)) ? PAGE_TABLE : NOT_XENS;
}

static int update(struct xm_domain *d, uint64_t l1e, uint64_t va, unsigned size, uint64_t value)
{
	uint64_t pa = (xm_entry_mfn(l1e) << XM_PAGE_SHIFT) + (va & (XM_PAGE_SIZE - 1));

	return !xm_ptwr_update(d, pa & ~7ULL, merge(xm_peek(d->xen->machine, pa & ~7ULL), pa, size, value));
}

/* 1 when Xen has done the store. */
static int ptwr(struct xm_domain *d, uint64_t va, unsigned size, uint64_t value)
{
	struct xm_machine *m = d->xen->machine;
	uint64_t l1e_pa, l1e;
	enum target target;

	if (va % size)
		return 0;
	target = find_target(d, va, &l1e_pa);
	if (target != PAGE_TABLE)
		return target == READ_ONLY_MMIO; /* swallowed */
	l1e = xm_peek(m, l1e_pa);
	/* Xen reads the rest of the word through the guest's own mapping, and the processor notes that access. */
	if (size < 8 && !(l1e & XM_PTE_A))
		xm_poke(m, l1e_pa, l1e | XM_PTE_A);
	return update(d, l1e, va, size, value);
}

/* ptwr_emulated_cmpxchg.  Xen reads what is there through the guest's mapping, and where it is not what was expected
 * that is all that happens, whatever the alignment.  1 when Xen has dealt with it; a fault of that read is in *w. */
static int ptwr_cmpxchg(struct xm_domain *d, uint64_t va, unsigned size, uint64_t expected, uint64_t value,
			uint64_t *old_ret, uint64_t *cr2, struct xm_walk *w)
{
	uint64_t l1e_pa;

	if (find_target(d, *cr2, &l1e_pa) != PAGE_TABLE || !xm_addr_ok(va))
		return 0;
	if (xm_cpu_load(&d->vcpu.cpu, va, size, XM_ACC_READ, old_ret, cr2, w) || w->fault)
		return 0;
	if ((*old_ret ^ expected) << (64 - 8 * size))
		return 1;
	return va % size == 0 && update(d, xm_peek(d->xen->machine, l1e_pa), va, size, value);
}

/* ---- the guest's accesses ---------------------------------------------------------------------------------------- */

/* What the guest kernel's handler is told: the U bit says which half of the guest was running, since the processor saw
 * ring 3 either way. */
static void deliver(struct xm_domain *d, const struct xm_walk *w, uint64_t cr2, struct xm_guest_fault *ret)
{
	ret->cr2 = cr2;
	ret->fault = w->fault;
	ret->user = (uint8_t)d->vcpu.user_mode;
	ret->emulated = 0;
	ret->error_code = 0;
	if (w->fault == XM_FAULT_PF) {
		ret->error_code = ((uint32_t)w->error_code & ~XM_PF_U) | (d->vcpu.user_mode ? XM_PF_U : 0);
		count(d, &d->counters.faults);
	}
}

int xm_guest_load(struct xm_domain *d, uint64_t va, unsigned size, uint64_t *value_ret, struct xm_guest_fault *fault)
{
	struct xm_walk w;
	uint64_t cr2;
	int status;

	if (!d->alive)
		return XM_E_STATE;
	status = xm_cpu_load(&d->vcpu.cpu, va, size, XM_ACC_USER, value_ret, &cr2, &w);
	if (!status)
		fault->fault = XM_FAULT_NONE;
	if (!status && w.fault)
		deliver(d, &w, cr2, fault);
	return status;
}

int xm_guest_store(struct xm_domain *d, uint64_t va, unsigned size, uint64_t value, struct xm_guest_fault *fault)
{
	struct xm_walk w;
	uint64_t cr2;
	int status;

	if (!d->alive)
		return XM_E_STATE;
	status = xm_cpu_store(&d->vcpu.cpu, va, size, XM_ACC_USER, value, &cr2, &w);
	if (status)
		return status;
	memset(fault, 0, sizeof(*fault));
	if (!w.fault)
		return XM_OK;
	if (w.fault == XM_FAULT_PF && ptwr_offered(d, cr2, w.error_code) && ptwr(d, va, size, value)) {
		fault->emulated = 1;
		return XM_OK;
	}
	deliver(d, &w, cr2, fault);
	return XM_OK;
}

int xm_guest_cmpxchg(struct xm_domain *d, uint64_t va, unsigned size, uint64_t expected, uint64_t value,
		     uint64_t *old_ret, struct xm_guest_fault *fault)
{
	struct xm_walk w, again = {0};
	uint64_t cr2, read_cr2;
	int status;

	if (!d->alive)
		return XM_E_STATE;
	status = xm_cpu_cmpxchg(&d->vcpu.cpu, va, size, XM_ACC_USER, expected, value, old_ret, &cr2, &w);
	if (status)
		return status;
	memset(fault, 0, sizeof(*fault));
	if (!w.fault)
		return XM_OK;
	read_cr2 = cr2;
	if (w.fault == XM_FAULT_PF && ptwr_offered(d, cr2, w.error_code)) {
		if (ptwr_cmpxchg(d, va, size, expected, value, old_ret, &read_cr2, &again)) {
			fault->emulated = 1;
			return XM_OK;
		}
		if (again.fault) {
			deliver(d, &again, read_cr2, fault);
			return XM_OK;
		}
	}
	deliver(d, &w, cr2, fault);
	return XM_OK;
}

int xm_guest_fetch(struct xm_domain *d, uint64_t va, struct xm_guest_fault *fault)
{
	struct xm_walk w;

	if (!d->alive)
		return XM_E_STATE;
	memset(fault, 0, sizeof(*fault));
	xm_access(&d->vcpu.cpu, va, XM_ACC_USER | XM_ACC_EXECUTE, &w);
	if (w.fault)
		deliver(d, &w, va, fault);
	return XM_OK;
}

int xm_guest_walk(const struct xm_domain *d, uint64_t va, uint32_t access, struct xm_walk *ret)
{
	if (!d->alive)
		return XM_E_STATE;
	xm_walk(&d->vcpu.cpu, va, access | XM_ACC_USER, ret);
	return XM_OK;
}
