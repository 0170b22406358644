/*
 * kernel.c - a NetBSD kernel: how it boots, and what can be asked about it.
 *
 * Knows (xen/x86/x86_xpmap.c 1.5, xen_bootstrap_tables; x86/x86/pmap.c, pmap_bootstrap): the boot L4 becomes the
 * kernel's, slot 255 leads back to it without RW, slot 320 (native 256) gets the kernel's virtual memory, and a dummy
 * user L4 is pinned and loaded so that a return to user mode always has a root.  The pages above the boot
 * image are uvm's.  Does not know: user pmaps.
 *
 * A single processor.  Kernel leaves have U, as PG_k has on Xen before 2018; no entry has NX (pg_nx is 0 in 2007).
 */
#include "kernel.h"

#include <stdlib.h>

#define MIN_PAGES 16
/* A native kernel manages at most 16 GiB of a machine. */
#define MAX_NATIVE_FRAMES (1ULL << 22)

static uint64_t sign_extended_slot(unsigned slot)
{
	return (uint64_t)slot * XM_NBPD_L4 | (slot > 255 ? 0xffff000000000000ULL : 0);
}

/* A page that nothing maps, cleared by Xen; word by word where it has no command for that (before 2008). */
static int boot_clear(struct xm_kernel *k, uint64_t mfn)
{
	struct xm_mmuext_op op = {.cmd = XM_MMUEXT_CLEAR_PAGE, .arg1 = mfn};
	struct xm_mmu_update words[XM_PAGE_SIZE / 8];
	struct xm_result r = {0};

	if (xm_mmuext_op(k->d, &op, 1, XM_DOMID_SELF, &r) || r.rc) {
		for (unsigned i = 0; i < XM_PAGE_SIZE / 8; i++)
			words[i] = (struct xm_mmu_update){(mfn << XM_PAGE_SHIFT) + 8 * i, 0};
		if (xm_mmu_update(k->d, words, XM_PAGE_SIZE / 8, XM_DOMID_SELF, &r) || r.rc)
			return xm_panic(k, "no clean page at start: 0x%llx", (unsigned long long)mfn);
	}
	return XM_OK;
}

/* A clean page for a table, before there is any way to see it: cleared by Xen. */
static int boot_page(struct xm_kernel *k, uint64_t *mfn_ret)
{
	static const uint8_t zero[XM_PAGE_SIZE];
	uint64_t pfn = xm_page_get(k, XM_PAGE_KERNEL);

	if (pfn == XM_NO_FRAME)
		return XM_E_NO_FRAMES;
	*mfn_ret = xm_ptom(k, pfn);
	if (!xm_is_native(k))
		return boot_clear(k, *mfn_ret);
	return xm_write(k->m, *mfn_ret << XM_PAGE_SHIFT, zero, XM_PAGE_SIZE);
}

static int boot_entry(struct xm_kernel *k, uint64_t table, unsigned slot, uint64_t entry)
{
	uint64_t pa = (table << XM_PAGE_SHIFT) + 8 * slot;

	return xm_is_native(k) ? xm_write64(k->m, pa, entry) : xm_xpq_queue(k, pa, entry);
}

/* The tables of the kernel's GiB, from the bottom up, so that Xen first sees them when they are whole. */
static int boot_tables(struct xm_kernel *k)
{
	uint64_t bits = XM_PG_V | XM_PG_RW | k->kpte, l3, l1[2];
	unsigned first[2] = {0, XM_KVA_L1_CALLERS};
	int status = boot_page(k, &l3);

	if (!status)
		status = boot_page(k, &k->kl2);
	for (int i = 0; !status && i < 2; i++) {
		status = boot_page(k, &l1[i]);
		if (!status)
			status = boot_entry(k, k->kl2, first[i], l1[i] << XM_PAGE_SHIFT | bits);
		if (!status)
			XM_PUT(k->m, k->kl1[first[i]], (uint8_t)1);
	}
	if (!status)
		status = boot_entry(k, l3, 0, k->kl2 << XM_PAGE_SHIFT | bits);
	if (!status)
		status = boot_entry(k, k->root, xm_pl_pi(k->kva, 4), l3 << XM_PAGE_SHIFT | bits);
	if (!status)
		status = boot_entry(k, k->root, XM_L4_SLOT_PTE,
				    k->root << XM_PAGE_SHIFT | XM_PG_V |
					    (xm_is_native(k) ? (uint64_t)XM_PG_RW : k->kpte));
	return status ? status : xm_pte_flush(k);
}

static int boot_dummy(struct xm_kernel *k)
{
	uint64_t mfn;
	int status = boot_page(k, &mfn);

	if (status)
		return status;
	k->dummy = k->fresh - 1;
	status = xm_xpq_mmuext(k, XM_MMUEXT_PIN_L4_TABLE, mfn);
	return status ? status : xm_xpq_set_user_pgd(k, k->dummy);
}

static int bootstrap(struct xm_kernel *k)
{
	int status = XM_OK;

	if (xm_is_native(k)) {
		status = boot_page(k, &k->root);
		if (!status)
			status = xm_cpu_set(&k->cpu, XM_REG_CR3, k->root << XM_PAGE_SHIFT);
	}
	if (!status)
		status = boot_tables(k);
	if (!status && !xm_is_native(k))
		status = boot_dummy(k);
	return status ? status : xm_pdir_refill(k);
}

static struct xm_kernel *kernel_alloc(struct xm_machine *m, uint64_t frames, uint64_t first)
{
	struct xm_kernel *k = xm_state_new(m, sizeof(*k));

	if (!k)
		return NULL;
	k->m = m;
	k->frames = frames;
	k->first = k->fresh = first;
	k->free_pages = frames - first;
	k->pages = xm_state_new(m, frames * sizeof(*k->pages));
	xm_pool_init(&k->pmaps, sizeof(struct xm_pmap), 6);
	xm_pool_init(&k->pdirs, sizeof(struct xm_pdir), 6);
	if (!k->pages) {
		xm_state_free(m, k);
		return NULL;
	}
	return k;
}

/* Boot it, or leave the machine as it was. */
static struct xm_kernel *boot(struct xm_kernel *k, int *status_ret)
{
	int status = xm_checkpoint(k->m);

	if (!status) {
		status = bootstrap(k);
		if (status)
			xm_rollback(k->m);
		else
			xm_commit(k->m);
	}
	*status_ret = status;
	if (status) {
		xm_kernel_free(k);
		return NULL;
	}
	if (k->d)
		k->at_boot = xm_domain_counters(k->d);
	memset(&k->count, 0, sizeof(k->count));
	/* Journalled: a rollback over the boot leaves a kernel that answers nothing. */
	XM_PUT(k->m, k->alive, 1U);
	return k;
}

/* Does anything but the boot image's slot 511 stand where the kernel wants to be? */
static int slots_taken(const struct xm_domain *d)
{
	static const unsigned wanted[] = {0, XM_L4_SLOT_PTE, XM_L4_SLOT_KERN, XM_L4_SLOT_APTE};
	struct xm_walk w;

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (xm_guest_walk(d, sign_extended_slot(wanted[i]), XM_ACC_READ, &w) || w.nsteps != 1)
			return 1;
	return 0;
}

struct xm_kernel *xm_kernel_new(struct xm_domain *d, int design, int *status_ret)
{
	struct xm_kernel *k;
	uint64_t first, frames;

	if (design < 0 || design >= XM_DESIGN_KINDS || design == XM_DESIGN_NATIVE) {
		*status_ret = XM_E_ARGUMENT;
		return NULL;
	}
	if (!xm_domain_alive(d) || xm_domain_user_root(d) || xm_domain_user_mode(d) || slots_taken(d)) {
		*status_ret = XM_E_STATE;
		return NULL;
	}
	first = xm_domain_boot_frames(d);
	frames = xm_domain_frames(d);
	if (frames < first + MIN_PAGES) {
		*status_ret = XM_E_NO_FRAMES;
		return NULL;
	}
	k = kernel_alloc(xm_xen_machine(xm_domain_xen(d)), frames, first);
	if (!k) {
		*status_ret = XM_E_MEMORY;
		return NULL;
	}
	k->d = d;
	k->design = (uint32_t)design;
	k->root = xm_domain_kernel_root(d);
	k->kva = sign_extended_slot(XM_L4_SLOT_KERN);
	k->kpte = XM_PG_u;
	return boot(k, status_ret);
}

struct xm_kernel *xm_kernel_new_native(struct xm_machine *m, int *status_ret)
{
	uint64_t frames = xm_machine_frames(m);
	struct xm_kernel *k;

	if (frames > MAX_NATIVE_FRAMES)
		frames = MAX_NATIVE_FRAMES;
	if (frames < 1 + MIN_PAGES) {
		*status_ret = XM_E_NO_FRAMES;
		return NULL;
	}
	k = kernel_alloc(m, frames, 1);
	if (!k) {
		*status_ret = XM_E_MEMORY;
		return NULL;
	}
	k->design = XM_DESIGN_NATIVE;
	k->kva = sign_extended_slot(XM_L4_SLOT_KERN_NATIVE);
	*status_ret = xm_cpu_init(&k->cpu, m, 46, XM_VENDOR_INTEL, 1);
	if (*status_ret) {
		xm_kernel_free(k);
		return NULL;
	}
	return boot(k, status_ret);
}

void xm_kernel_free(struct xm_kernel *k)
{
	struct xm_machine *m;

	if (!k)
		return;
	m = k->m;
	xm_vm_free(m, k->vm);
	xm_pool_free_slabs(m, &k->pmaps);
	xm_pool_free_slabs(m, &k->pdirs);
	xm_state_free(m, k->pages);
	xm_state_free(m, k);
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

int xm_kernel_design(const struct xm_kernel *k)
{
	return (int)k->design;
}

struct xm_machine *xm_kernel_machine(const struct xm_kernel *k)
{
	return k->m;
}

struct xm_domain *xm_kernel_domain(const struct xm_kernel *k)
{
	return k->d;
}

const char *xm_kernel_panic(const struct xm_kernel *k)
{
	return k->panic;
}

struct xm_kernel_counters xm_kernel_counters(const struct xm_kernel *k)
{
	struct xm_kernel_counters ret = k->count;
	struct xm_counters now;
	uint64_t *to = (uint64_t *)&ret.xen;
	const uint64_t *at = (const uint64_t *)&now, *boot_at = (const uint64_t *)&k->at_boot;

	if (!k->d || !xm_domain_alive(k->d))
		return ret;
	now = xm_domain_counters(k->d);
	for (size_t i = 0; i < sizeof(now) / sizeof(uint64_t); i++)
		to[i] = at[i] - boot_at[i];
	return ret;
}

const struct xm_cpu *xm_kernel_cpu(const struct xm_kernel *k)
{
	return k->d ? NULL : &k->cpu;
}

uint64_t xm_kernel_root(const struct xm_kernel *k)
{
	return k->d ? k->root : k->cpu.cr3 >> XM_PAGE_SHIFT;
}

uint64_t xm_kernel_dummy_root(const struct xm_kernel *k)
{
	return k->d ? xm_ptom(k, k->dummy) : XM_NO_FRAME;
}

uint64_t xm_kernel_user_l4(const struct xm_kernel *k, uint32_t pm)
{
	uint32_t i = xm_pmap_index(k, pm);

	return i ? xm_ptom(k, xm_pmap_at(k, i)->pfn) : XM_NO_FRAME;
}

uint64_t xm_kernel_p2m(const struct xm_kernel *k, uint64_t pfn)
{
	if (pfn >= k->frames)
		return XM_NO_FRAME;
	return xm_ptom(k, pfn);
}

uint64_t xm_kernel_free_pages(const struct xm_kernel *k)
{
	return k->free_pages;
}

uint64_t xm_kernel_pmaps(const struct xm_kernel *k, uint32_t *ret, uint64_t n)
{
	uint64_t seen = 0;

	for (uint32_t i = 1; i < k->pmaps.used && seen < n; i++)
		if (xm_pmap_at(k, i)->live)
			ret[seen++] = xm_pmap_handle(k, i);
	return k->live;
}

uint32_t xm_kernel_current(const struct xm_kernel *k)
{
	return xm_pmap_handle(k, k->current);
}
