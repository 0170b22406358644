/*
 * domain.c - a PV domain and the boot tables that Xen's builder makes for it.
 *
 * Knows: what a new domain finds: its frames, the initial mapping at 0xffffffff80000000, start-of-day types and counts.
 * Does not know: what kernel will run in it.
 *
 *	pfn 0		16 frames of kernel image
 *	pfn 16		the physical-to-machine list, 8 bytes a frame
 *	then		start_info, the page tables (L4, L3, L2, L1s), one frame of stack
 *	then		frames that nothing maps
 *
 * Xen 4.17: dom0_construct (pv/dom0_build.c).
 */
#include "xen.h"

#define IMAGE_FRAMES 16
#define VIRT_BASE 0xffffffff80000000ULL
#define TLB_ENTRIES 4096

#define BOOT_L1E_FLAGS (XM_PTE_GUEST_KERNEL | XM_PTE_P | XM_PTE_RW | XM_PTE_A | XM_PTE_US)
#define BOOT_TABLE_FLAGS (XM_PTE_P | XM_PTE_RW | XM_PTE_US | XM_PTE_A | XM_PTE_D)

/* Where the pieces of the initial mapping lie, as pfns. */
struct boot_layout {
	uint64_t p2m, start_info, l4, l3, l2, l1, l1s, end;
};

static struct boot_layout lay_out(uint64_t frames)
{
	struct boot_layout b = {.p2m = IMAGE_FRAMES};

	b.start_info = b.p2m + (frames * 8 + XM_PAGE_SIZE - 1) / XM_PAGE_SIZE;
	b.l4 = b.start_info + 1;
	b.l3 = b.l4 + 1;
	b.l2 = b.l3 + 1;
	b.l1 = b.l2 + 1;
	/* The L1s map themselves and the stack too. */
	for (b.l1s = 1; b.l1 + b.l1s + 1 > b.l1s * 512; b.l1s++)
		;
	b.end = b.l1 + b.l1s + 1;
	return b;
}

static void put_entry(struct xm_domain *d, uint64_t table_pfn, uint64_t slot, uint64_t pfn, uint64_t flags)
{
	xm_poke(d->xen->machine, (d->p2m[table_pfn] << XM_PAGE_SHIFT) + slot * 8, xm_entry_make(d->p2m[pfn], flags));
}

static void clear_frame(struct xm_xen *x, uint64_t mfn)
{
	static const uint8_t zeros[XM_PAGE_SIZE];

	xm_write(x->machine, mfn << XM_PAGE_SHIFT, zeros, XM_PAGE_SIZE);
}

static void build_tables(struct xm_domain *d, const struct boot_layout *b)
{
	struct xm_xen *x = d->xen;

	for (uint64_t pfn = b->l4; pfn < b->l1 + b->l1s; pfn++)
		clear_frame(x, d->p2m[pfn]);
	clear_frame(x, d->shared_info);
	clear_frame(x, d->perdomain_l3);
	for (uint64_t pfn = 0; pfn < d->nframes; pfn++)
		xm_poke(x->machine, (d->p2m[b->p2m + pfn / 512] << XM_PAGE_SHIFT) + pfn % 512 * 8, d->p2m[pfn]);
	put_entry(d, b->l4, VIRT_BASE >> 39 & 511, b->l3, BOOT_TABLE_FLAGS);
	put_entry(d, b->l3, VIRT_BASE >> 30 & 511, b->l2, BOOT_TABLE_FLAGS);
	for (uint64_t i = 0; i < b->l1s; i++)
		put_entry(d, b->l2, i, b->l1 + i, BOOT_TABLE_FLAGS);
	for (uint64_t pfn = 0; pfn < b->end; pfn++) {
		int table = pfn >= b->l4 && pfn < b->l1 + b->l1s;

		put_entry(d, b->l1 + pfn / 512, pfn % 512, pfn, table ? BOOT_L1E_FLAGS & ~XM_PTE_RW : BOOT_L1E_FLAGS);
	}
}

/* Type the boot tables by validating them, as any guest's would be: pinned, and loaded as the kernel's root. */
static int adopt_tables(struct xm_domain *d, uint64_t l4)
{
	struct xm_xen *x = d->xen;
	struct xm_frame *f = &x->frame[l4];

	for (int i = 0; i < 2; i++)
		if (!xm_get_page(x, l4, d->domid) || xm_get_page_type(x, l4, XM_PGT_L4))
			return XM_E_STATE; /* cannot happen: the tables are ours */
	XM_PUT(x->machine, f->type_info, f->type_info | XM_PGT_PINNED);
	xm_fill_m2p_slot(x, l4);
	XM_PUT(x->machine, d->vcpu.kernel_root, l4);
	XM_PUT(x->machine, d->vcpu.cpu.cr3, l4 << XM_PAGE_SHIFT);
	return XM_OK;
}

static uint64_t take_frame(struct xm_domain *d, uint64_t count_info, uint64_t type_info, int from_top)
{
	struct xm_xen *x = d->xen;
	uint64_t mfn = xm_alloc_frame(x, from_top);
	struct xm_frame *f = &x->frame[mfn];

	XM_PUT(x->machine, f->count_info, count_info);
	XM_PUT(x->machine, f->type_info, type_info);
	XM_PUT(x->machine, f->owner, d->domid);
	XM_PUT(x->machine, f->linear_pt_count, 0);
	return mfn;
}

static void populate(struct xm_domain *d)
{
	struct xm_xen *x = d->xen;
	uint64_t writable = (uint64_t)XM_PGT_WRITABLE << XM_PGT_TYPE_SHIFT | XM_PGT_VALIDATED | 1;

	for (uint64_t pfn = 0; pfn < d->nframes; pfn++) {
		d->p2m[pfn] = take_frame(d, XM_PGC_ALLOCATED | 1, 0, 0);
		xm_m2p_set(x, d->p2m[pfn], pfn);
	}
	XM_PUT(x->machine, d->tot_pages, d->nframes);
	d->shared_info = take_frame(d, XM_PGC_ALLOCATED | XM_PGC_XEN_HEAP | 1, writable, 1);
	d->perdomain_l3 = xm_alloc_frame(x, 1);
}

int xm_domain_init_vcpu(struct xm_domain *d)
{
	struct xm_xen *x = d->xen;
	unsigned maxphyaddr = x->max_page > 1ULL << 28 ? 52 : 40;
	int status = xm_cpu_init(&d->vcpu.cpu, x->machine, maxphyaddr, XM_VENDOR_AMD, 1);

	if (!status && x->options.global_pages)
		status = xm_cpu_set(&d->vcpu.cpu, XM_REG_CR4, XM_CR4_PAE | XM_CR4_PGE);
	if (!status)
		status = xm_cpu_set(&d->vcpu.cpu, XM_CHOICE_A_ON_FAULT, x->options.a_on_fault);
	if (!status && x->options.tlb) {
		d->vcpu.cpu.tlb = xm_tlb_new(x->machine, TLB_ENTRIES);
		if (!d->vcpu.cpu.tlb)
			status = XM_E_MEMORY;
	}
	return status;
}

struct xm_domain *xm_domain_allocate(struct xm_xen *x, uint64_t frames)
{
	struct xm_domain *d = xm_state_new(x->machine, sizeof(*d));

	if (!d)
		return NULL;
	d->p2m = xm_state_new(x->machine, frames * sizeof(*d->p2m));
	if (!d->p2m) {
		xm_state_free(x->machine, d);
		return NULL;
	}
	d->xen = x;
	d->nframes = frames;
	d->next = x->all;
	x->all = d;
	return d;
}

static unsigned free_domid(const struct xm_xen *x)
{
	unsigned id = 0;

	while (id < XM_MAX_DOMAINS && x->domain[id])
		id++;
	return id;
}

struct xm_domain *xm_domain_new(struct xm_xen *x, uint64_t frames, uint32_t flags, int *status_ret)
{
	unsigned domid = free_domid(x);
	struct boot_layout b;
	struct xm_domain *d;

	*status_ret = XM_E_LIMIT;
	if (domid == XM_MAX_DOMAINS)
		return NULL;
	*status_ret = XM_E_STATE;
	if (x->captured)
		return NULL;
	*status_ret = XM_E_NO_FRAMES;
	/* Two frames beside the domain's: shared_info and the per-domain L3. */
	if (frames > x->free_frames || x->free_frames - frames < 2)
		return NULL;
	b = lay_out(frames);
	if (b.end > frames)
		return NULL;
	*status_ret = XM_E_LIMIT;
	if (b.l1s > 510) /* the initial mapping is one L2's worth, at the end of the address space */
		return NULL;
	*status_ret = XM_E_MEMORY;
	d = xm_domain_allocate(x, frames);
	if (!d)
		return NULL;
	d->domid = (uint16_t)domid;
	d->privileged = (flags & XM_DOM_PRIVILEGED) != 0;
	d->boot_frames = b.end;
	/* Xen's builder sets dom0 no limit unless dom0_mem names one; a toolstack gives others what they are made with. */
	d->max_pages = d->privileged ? UINT32_MAX : frames;
	*status_ret = xm_domain_init_vcpu(d);
	if (*status_ret)
		return NULL;
	XM_PUT(x->machine, x->domain[domid], d);
	XM_PUT(x->machine, x->ndomains, x->ndomains + 1);
	XM_PUT(x->machine, d->alive, 1);
	populate(d);
	build_tables(d, &b);
	*status_ret = adopt_tables(d, d->p2m[b.l4]);
	XM_PUT(x->machine, d->counters, (struct xm_counters){0});
	return d;
}

struct xm_xen *xm_domain_xen(const struct xm_domain *d)
{
	return d->xen;
}

uint32_t xm_domain_id(const struct xm_domain *d)
{
	return d->domid;
}

int xm_domain_alive(const struct xm_domain *d)
{
	return d->alive != 0;
}

uint64_t xm_domain_frames(const struct xm_domain *d)
{
	return d->nframes;
}

uint64_t xm_domain_max_pages(const struct xm_domain *d)
{
	return d->max_pages;
}

int xm_domain_set_max_pages(struct xm_domain *d, uint64_t pages)
{
	if (pages > UINT32_MAX)
		return XM_E_ARGUMENT;
	XM_PUT(d->xen->machine, d->max_pages, pages);
	return XM_OK;
}

uint64_t xm_domain_mfn(const struct xm_domain *d, uint64_t pfn)
{
	return pfn < d->nframes ? d->p2m[pfn] : ~0ULL;
}

uint64_t xm_domain_shared_info(const struct xm_domain *d)
{
	return d->shared_info;
}

uint64_t xm_domain_boot_frames(const struct xm_domain *d)
{
	return d->boot_frames;
}

uint64_t xm_domain_kernel_root(const struct xm_domain *d)
{
	return d->vcpu.kernel_root;
}

uint64_t xm_domain_user_root(const struct xm_domain *d)
{
	return d->vcpu.user_root;
}

int xm_domain_user_mode(const struct xm_domain *d)
{
	return d->vcpu.user_mode != 0;
}

struct xm_counters xm_domain_counters(const struct xm_domain *d)
{
	return d->counters;
}
