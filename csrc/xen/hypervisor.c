/*
 * hypervisor.c - Xen on a machine: the frame table, the machine-to-physical table, and the tables that every L4 shares.
 *
 * Knows: where Xen keeps its own frames and what slots 256 to 271 of an L4 lead to.  Does not know: any guest.
 *
 *	first 1 MiB	dom_io: the machine's low memory holes
 *	...		domains, from below
 *	...		Xen's tables, from above
 *	top		M2P in 2-MiB chunks: 8 bytes for each frame of the machine, read-only for guests in slot 256
 *
 * Xen 4.17: arch/x86/x86_64/mm.c (M2P), mm.c (init_xen_l4_slots), include/asm-x86/config.h (layout).
 */
#include "xen.h"

#define CHUNK_FRAMES 512 /* frames of a 2-MiB page */

/* 256 GiB: Xen keeps 32 bytes and an M2P word for every frame, used or not, so a sparse machine is not sparse under it. */
#define MAX_FRAMES (1ULL << 26)

#define XEN_TABLE_FLAGS (XM_PTE_NX | XM_PTE_P | XM_PTE_RW | XM_PTE_A | XM_PTE_D)
#define M2P_TABLE_FLAGS (XM_PTE_NX | XM_PTE_P | XM_PTE_A | XM_PTE_US)
#define M2P_LEAF_FLAGS (XM_PTE_P | XM_PTE_US | XM_PTE_PS)

static uint64_t chunks(const struct xm_xen *x)
{
	return (x->max_page * 8 + CHUNK_FRAMES * XM_PAGE_SIZE - 1) / (CHUNK_FRAMES * XM_PAGE_SIZE);
}

/* dom_io's and dom_xen's frames are in use for ever. */
static void give_to(struct xm_xen *x, uint64_t mfn, unsigned owner, uint64_t count_info, uint64_t type_info)
{
	struct xm_frame *f = &x->frame[mfn];

	XM_PUT(x->machine, f->count_info, count_info);
	XM_PUT(x->machine, f->type_info, type_info);
	XM_PUT(x->machine, f->owner, (uint16_t)owner);
}

static void init_frames(struct xm_xen *x)
{
	uint64_t in_use = XM_PGC_ALLOCATED | 1, m2p_frames = chunks(x) * CHUNK_FRAMES;

	for (uint64_t mfn = 0; mfn < x->max_page; mfn++)
		give_to(x, mfn, XM_OWNER_NONE, XM_PGC_STATE_FREE, 0);
	for (uint64_t mfn = 0; mfn < XM_DOM_IO_FRAMES; mfn++)
		give_to(x, mfn, XM_DOMID_IO, in_use,
			(uint64_t)XM_PGT_WRITABLE << XM_PGT_TYPE_SHIFT | XM_PGT_VALIDATED | 1);
	x->m2p = (x->max_page - m2p_frames) & ~(uint64_t)(CHUNK_FRAMES - 1);
	for (uint64_t mfn = x->m2p; mfn < x->m2p + m2p_frames; mfn++)
		give_to(x, mfn, XM_DOMID_XEN, in_use | XM_PGC_XEN_HEAP, XM_PGT_VALIDATED | 1);
	XM_PUT(x->machine, x->free_frames, x->max_page - XM_DOM_IO_FRAMES - m2p_frames);
	xm_journal_note(x->machine, xm_words(x->machine, x->m2p), m2p_frames * XM_PAGE_SIZE);
	memset(xm_words(x->machine, x->m2p), 0xff, m2p_frames * XM_PAGE_SIZE);
}

static uint64_t new_table(struct xm_xen *x)
{
	static const uint8_t zeros[XM_PAGE_SIZE];
	uint64_t mfn = xm_alloc_frame(x, 1);

	xm_write(x->machine, mfn << XM_PAGE_SHIFT, zeros, XM_PAGE_SIZE);
	return mfn;
}

static void put_entry(struct xm_xen *x, uint64_t table, uint64_t slot, uint64_t mfn, uint64_t flags)
{
	xm_poke(x->machine, (table << XM_PAGE_SHIFT) + slot * 8, xm_entry_make(mfn, flags));
}

/* An L3 that maps the M2P with 2-MiB pages. */
static uint64_t map_m2p(struct xm_xen *x, uint64_t table_flags, uint64_t leaf_flags)
{
	uint64_t l3 = new_table(x), l2 = 0;

	for (uint64_t i = 0; i < chunks(x); i++) {
		if (i % 512 == 0) {
			l2 = new_table(x);
			put_entry(x, l3, i / 512, l2, table_flags);
		}
		put_entry(x, l2, i % 512, x->m2p + i * CHUNK_FRAMES, leaf_flags);
	}
	return l3;
}

/* Xen's own mapping of all memory, with 1-GiB pages, one L3 for each L4 slot from 262 on. */
static void map_directly(struct xm_xen *x)
{
	uint64_t gib = (x->max_page + (1 << 18) - 1) >> 18, l3 = 0;

	for (uint64_t i = 0; i < gib && 262 + i / 512 <= XM_L4_LAST_XEN_SLOT; i++) {
		if (i % 512 == 0) {
			l3 = new_table(x);
			put_entry(x, x->idle_l4, 262 + i / 512, l3, XEN_TABLE_FLAGS);
		}
		put_entry(x, l3, i % 512, i << 18, XEN_TABLE_FLAGS | XM_PTE_PS);
	}
}

/* Frames that Xen needs for itself beside dom_io and the M2P. */
static uint64_t table_frames(const struct xm_xen *x)
{
	uint64_t l2s = (chunks(x) + 511) / 512, l3s = (x->max_page >> 27) + 1;

	return 1 + 2 * (1 + l2s) + l3s;
}

struct xm_xen *xm_xen_new(struct xm_machine *m, const struct xm_xen_options *options, int *status_ret)
{
	uint64_t frames = xm_machine_frames(m);
	struct xm_xen *x;

	*status_ret = XM_E_ARGUMENT;
	if (options->mutants >> XM_MUT_KINDS || options->a_on_fault > XM_A_ON_FAULT_UPPER ||
	    options->version >= XM_XEN_VERSIONS)
		return NULL;
	*status_ret = XM_E_LIMIT;
	if (frames > MAX_FRAMES)
		return NULL;
	*status_ret = XM_E_MEMORY;
	x = xm_state_new(m, sizeof(*x));
	if (!x)
		return NULL;
	x->machine = m;
	x->options = *options;
	x->profile = xm_profile_of(options->version);
	XM_PUT(m, x->max_page, frames); /* rolled back, a hypervisor has no frames */
	*status_ret = XM_E_NO_FRAMES;
	/* One chunk more than the M2P needs, for its alignment. */
	if (frames < XM_DOM_IO_FRAMES + chunks(x) * CHUNK_FRAMES + frames % CHUNK_FRAMES + table_frames(x))
		goto fail;
	*status_ret = XM_E_MEMORY;
	x->frame = xm_state_new(m, frames * sizeof(*x->frame));
	if (!x->frame)
		goto fail;
	init_frames(x);
	x->idle_l4 = new_table(x);
	x->m2p_l3 = map_m2p(x, M2P_TABLE_FLAGS, M2P_LEAF_FLAGS);
	/* Slot 261 leads to Xen's text too, so it alone lacks NX. */
	put_entry(x, x->idle_l4, 261, map_m2p(x, XEN_TABLE_FLAGS, XEN_TABLE_FLAGS | XM_PTE_PS),
		  XEN_TABLE_FLAGS & ~XM_PTE_NX);
	map_directly(x);
	for (unsigned i = 261; i <= XM_L4_LAST_XEN_SLOT; i++)
		x->own_slot[i - XM_L4_FIRST_XEN_SLOT] = xm_words(m, x->idle_l4)[i];
	*status_ret = XM_OK;
	return x;

fail:
	xm_state_free(m, x);
	return NULL;
}

void xm_xen_free(struct xm_xen *x)
{
	struct xm_machine *m;

	if (!x)
		return;
	m = x->machine;
	while (x->all) {
		struct xm_domain *d = x->all;

		x->all = d->next;
		xm_tlb_free(d->vcpu.cpu.tlb);
		xm_state_free(m, d->p2m);
		xm_grants_free(d);
		xm_state_free(m, d);
	}
	xm_state_free(m, x->frame);
	xm_state_free(m, x);
}

size_t xm_xen_held(const struct xm_xen *x, struct xm_held *ret, size_t max)
{
	size_t n = x->nheld;

	for (size_t i = 0; i < n && i < max; i++)
		ret[i] = x->held[i];
	for (unsigned id = 0; id < XM_MAX_DOMAINS; id++) {
		if (!x->domain[id])
			continue;
		n = xm_held_descriptors(x->domain[id], ret, max, n);
		n = xm_held_grants(x->domain[id], ret, max, n);
	}
	return n;
}

struct xm_machine *xm_xen_machine(const struct xm_xen *x)
{
	return x->machine;
}

struct xm_xen_options xm_xen_options(const struct xm_xen *x)
{
	return x->options;
}

uint64_t xm_xen_free_frames(const struct xm_xen *x)
{
	return x->free_frames;
}

int xm_xen_frame(const struct xm_xen *x, uint64_t mfn, struct xm_frame *ret)
{
	if (!xm_mfn_valid(x, mfn))
		return XM_E_RANGE;
	*ret = x->frame[mfn];
	return XM_OK;
}

const struct xm_frame *xm_xen_frame_table(const struct xm_xen *x)
{
	return x->frame;
}

/* An image need not hold the table. */
static int has_m2p(const struct xm_xen *x, uint64_t mfn)
{
	return xm_has_frame(x->machine, x->m2p + mfn / (XM_PAGE_SIZE / 8));
}

uint64_t xm_xen_m2p(const struct xm_xen *x, uint64_t mfn)
{
	return xm_mfn_valid(x, mfn) && has_m2p(x, mfn) ? xm_peek(x->machine, (x->m2p << XM_PAGE_SHIFT) + mfn * 8)
						       : ~0ULL;
}

void xm_m2p_set(struct xm_xen *x, uint64_t mfn, uint64_t pfn)
{
	if (has_m2p(x, mfn))
		xm_poke(x->machine, (x->m2p << XM_PAGE_SHIFT) + mfn * 8, pfn);
}

struct xm_domain *xm_xen_domain(const struct xm_xen *x, uint32_t domid)
{
	return xm_domain_by_id(x, domid);
}

size_t xm_xen_roots(const struct xm_xen *x, struct xm_root *ret, size_t max)
{
	size_t n = 0;

	for (unsigned id = 0; id < XM_MAX_DOMAINS; id++) {
		const struct xm_domain *d = x->domain[id];

		if (!d)
			continue;
		if (n < max)
			ret[n] = (struct xm_root){
				.kernel_root = d->vcpu.kernel_root,
				.user_root = d->vcpu.user_root,
				.cr3 = d->vcpu.cpu.cr3,
				.domid = d->domid,
				.user_mode = (uint8_t)d->vcpu.user_mode,
				.privileged = (uint8_t)d->privileged,
				.pages = (uint32_t)d->tot_pages,
			};
		n++;
	}
	return n;
}
