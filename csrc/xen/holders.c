/*
 * holders.c - taking over a running Xen: what holds frames beside tables, pins and allocation.
 *
 * Knows: that what an L4 is used for beyond its pin and its linear uses are roots of processors; that descriptor pages,
 * pages registered by hypercall and grants mapped as device memory hold both counts of a frame alike; what a validation
 * that was interrupted keeps.  Does not know: how the books were read (adopt.c).
 *
 * Xen 4.17: struct page_info (arch/x86/include/asm/mm.h), new_guest_cr3 and _get_page_type (arch/x86/mm.c).
 */
#include "xen.h"

#include <stdlib.h>

#define HELD_MOST 16 /* registrations of one page */

/* ---- roots -------------------------------------------------------------------------------------------------------- */

/* References on an L4 as a root: its type references but for its pin and its linear uses. */
static int64_t root_references(const struct xm_frame *f)
{
	int64_t n = (int64_t)xm_type_count(f) - ((f->type_info & XM_PGT_PINNED) != 0);

	return f->linear_pt_count < 0 ? n + f->linear_pt_count : n;
}

/* How many processors have this frame as a root. */
static int64_t loads(const struct xm_xen *x, const struct xm_domain *d, uint64_t mfn)
{
	const struct xm_frame *f = &x->frame[mfn];

	return f->owner == d->domid && xm_is_live_table(f) && xm_type(f) == XM_PGT_L4 ? root_references(f) : 0;
}

/* A user root has slot 256 empty, for only the kernel is shown the M2P. */
static int is_user_root(const struct xm_xen *x, uint64_t mfn)
{
	return !xm_words(x->machine, mfn)[XM_L4_FIRST_XEN_SLOT];
}

/* How well two roots go together: those of one process have entries in common. */
static unsigned in_common(const struct xm_xen *x, uint64_t a, uint64_t b)
{
	const uint64_t *p = xm_words(x->machine, a), *q = xm_words(x->machine, b);
	unsigned n = 0;

	for (unsigned i = 0; i < 512; i++)
		n += xm_is_guest_l4_slot(x, i) && (p[i] & XM_PTE_P) && xm_entry_mfn(p[i]) == xm_entry_mfn(q[i]);
	return n;
}

/* The other root of the processor that has this one: with several processors, the likeliest. */
static uint64_t partner(const struct xm_xen *x, const struct xm_domain *d, uint64_t root)
{
	unsigned best = 0, candidates = 0;
	uint64_t found = 0;

	for (uint64_t mfn = 0; mfn < x->max_page; mfn++) {
		unsigned fit;

		if (loads(x, d, mfn) - (mfn == root) < 1)
			continue;
		candidates++;
		fit = 1 + in_common(x, root, mfn) + (is_user_root(x, root) != is_user_root(x, mfn) ? 1024U : 0);
		if (fit > best) {
			best = fit;
			found = mfn;
		}
	}
	return candidates == 1 || best > 1024 ? found : 0;
}

static void add_held(struct xm_xen *x, uint64_t mfn, unsigned type, uint64_t n)
{
	if (n && x->nheld < XM_MAX_HELD)
		x->held[x->nheld++] = (struct xm_held){mfn, type, (uint32_t)n};
}

static void hold_root(struct xm_xen *x, uint64_t mfn, int64_t n)
{
	if (n > 0)
		add_held(x, mfn, XM_PGT_L4, (uint64_t)n);
}

/* Roots of the domain's processor; those that are left are other processors'. */
int xm_adopt_roots(struct xm_domain *d, uint64_t loaded, uint64_t *culprit_ret)
{
	struct xm_xen *x = d->xen;
	uint64_t other;

	*culprit_ret = loaded;
	if (loads(x, d, loaded) < 1)
		return XM_E_STATE;
	for (uint64_t mfn = 0; mfn < x->max_page; mfn++)
		if (loads(x, d, mfn) < 0) {
			*culprit_ret = mfn;
			return XM_E_STATE;
		}
	other = partner(x, d, loaded);
	d->vcpu.user_mode = other && other != loaded && is_user_root(x, loaded);
	d->vcpu.kernel_root = d->vcpu.user_mode ? other : loaded;
	d->vcpu.user_root = d->vcpu.user_mode ? loaded : other;
	d->vcpu.cpu.cr3 = loaded << XM_PAGE_SHIFT;
	for (uint64_t mfn = 0; mfn < x->max_page; mfn++)
		hold_root(x, mfn, loads(x, d, mfn) - (mfn == loaded) - (mfn == other));
	return XM_OK;
}

/* A root of a domain that does not run: a kernel's, where there is one; 0: it has no processor. */
uint64_t xm_adopt_first_root(const struct xm_domain *d)
{
	const struct xm_xen *x = d->xen;
	uint64_t found = 0;

	for (uint64_t mfn = 0; mfn < x->max_page; mfn++)
		if (loads(x, d, mfn) > 0 && (!found || (is_user_root(x, found) && !is_user_root(x, mfn))))
			found = mfn;
	return found;
}

/* ---- what is in no table ------------------------------------------------------------------------------------------ */

struct counted {
	uint32_t refs;
	uint32_t types;
};

static void count_table(const struct xm_xen *x, struct counted *n, uint64_t table)
{
	unsigned level = xm_type(&x->frame[table]);
	const uint64_t *words = xm_words(x->machine, table);

	for (unsigned i = 0; i < 512; i++) {
		uint64_t mfn = xm_entry_mfn(words[i]);

		if (!(words[i] & XM_PTE_P) || mfn >= x->max_page || x->frame[mfn].owner == XM_DOMID_IO)
			continue;
		if ((level > 1 && mfn == table) || (level == 4 && !xm_is_guest_l4_slot(x, i)))
			continue;
		n[mfn].refs++;
		n[mfn].types += level > 1 || (words[i] & XM_PTE_RW);
	}
}

/* A frame that was given up while it is held has lost the reference of its allocation. */
static void hold(struct xm_xen *x, uint64_t mfn, struct counted n)
{
	const struct xm_frame *f = &x->frame[mfn];
	int partial = (f->type_info & XM_PGT_PARTIAL) != 0;
	int64_t types = (int64_t)xm_type_count(f) - n.types;
	int64_t refs =
		(int64_t)(f->count_info & XM_PGC_COUNT_MASK) - n.refs - ((f->count_info & XM_PGC_ALLOCATED) != 0);

	if (f->owner >= XM_MAX_DOMAINS || (f->count_info & XM_PGC_XEN_HEAP))
		return;
	if (xm_type(f) != XM_PGT_SEG_DESC && xm_type(f) != XM_PGT_WRITABLE && !partial)
		return;
	if (types <= 0 || types > HELD_MOST || refs < types)
		return;
	add_held(x, mfn, xm_type(f), (uint64_t)types);
	/* A table whose validation was interrupted keeps a reference to itself. */
	if (partial && refs == types + 1)
		add_held(x, mfn, XM_PGT_NONE, 1);
}

/* Frames whose two counts exceed the entries that name them: Xen holds them for a hypercall. */
int xm_adopt_held(struct xm_xen *x)
{
	struct counted *n = calloc(x->max_page, sizeof(*n));

	if (!n)
		return XM_E_MEMORY;
	for (uint64_t mfn = 0; mfn < x->max_page; mfn++)
		if (xm_is_live_table(&x->frame[mfn]))
			count_table(x, n, mfn);
	for (uint64_t mfn = 0; mfn < x->max_page; mfn++)
		hold(x, mfn, n[mfn]);
	free(n);
	return XM_OK;
}
