/*
 * validate.c - whole tables: what a frame must hold to become a page table, and what it lets go when it ceases to be.
 *
 * Knows: the order of the slots, that each present entry takes its reference and is then rewritten adjusted, and that
 * a failure drops the references taken but not the adjustments made.  Does not know: who asked.
 *
 * Recursion is as deep as paging: four levels and one linear hop.
 *
 * Xen 4.17: promote_l1_table .. promote_l4_table, demote_l1_table .. demote_l4_table, init_xen_l4_slots (mm.c).
 */
#include "xen.h"

#define XEN_L4E_FLAGS (XM_PTE_NX | XM_PTE_P | XM_PTE_RW | XM_PTE_A | XM_PTE_D)
#define M2P_L4E_FLAGS (XM_PTE_NX | XM_PTE_P | XM_PTE_A | XM_PTE_US)

static void count_entries(struct xm_domain *d, int fresh_table)
{
	XM_PUT(d->xen->machine, d->counters.entries_validated, d->counters.entries_validated + 512);
	if (fresh_table)
		XM_PUT(d->xen->machine, d->counters.tables_validated, d->counters.tables_validated + 1);
}

/* Is one of n entries present?  n is a constant wherever this is called, the words lie on an n-word boundary, and there
 * are four sums, so that a compiler with vectors makes two or three instructions of eight entries. */
static inline int any_present(const uint64_t *words, unsigned n)
{
	const uint64_t *w = __builtin_assume_aligned(words, 64);
	uint64_t sum[4] = {0};

	for (unsigned i = 0; i < n; i += 4)
		for (unsigned k = 0; k < 4; k++)
			sum[k] |= w[i + k];
	return (sum[0] | sum[1] | sum[2] | sum[3]) & XM_PTE_P;
}

/* The compiler makes this twice where the system lets it: wider vectors halve the time that most of a validation takes. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx2", "default")))
#endif
static unsigned present_eighths(const uint64_t *words)
{
	unsigned eighths = 0;

	for (unsigned k = 0; k < 8; k++)
		eighths |= (unsigned)any_present(words + 64 * k, 64) << k;
	return eighths;
}

/* The first present entry at slot i or above, 512 if there is none.  Xen looks at each of the 512; so does this, but
 * most slots of most tables are empty, so the eighths with nothing present are left out, then eight slots at a time. */
static inline unsigned next_present(const uint64_t *words, unsigned eighths, unsigned i)
{
	while (i < 512) {
		if (!(eighths >> i / 64 & 1))
			i = (i | 63) + 1;
		else if (i % 8 == 0 && !any_present(words + i, 8))
			i += 8;
		else if (words[i] & XM_PTE_P)
			return i;
		else
			i++;
	}
	return 512;
}

/* The last present entry below slot `end`, 512 if there is none. */
static inline unsigned previous_present(const uint64_t *words, unsigned eighths, unsigned end)
{
	while (end > 0) {
		if (!(eighths >> (end - 1) / 64 & 1))
			end = (end - 1) & ~63U;
		else if (end % 8 == 0 && !any_present(words + end - 8, 8))
			end -= 8;
		else if (words[--end] & XM_PTE_P)
			return end;
	}
	return 512;
}

static void store(struct xm_xen *x, uint64_t mfn, unsigned slot, uint64_t old, uint64_t entry)
{
	if (entry != old)
		xm_poke(x->machine, (mfn << XM_PAGE_SHIFT) + slot * 8, entry);
}

static int promote_l1(struct xm_xen *x, struct xm_domain *d, uint64_t mfn, unsigned *slot_ret)
{
	const uint64_t *words = xm_words(x->machine, mfn);
	unsigned eighths = present_eighths(words);

	for (unsigned i = next_present(words, eighths, 0); i < 512; i = next_present(words, eighths, i + 1)) {
		uint64_t entry = words[i], flip;
		int reason = xm_get_page_from_l1e(x, d, d->domid, entry, &flip);
		if (reason) {
			*slot_ret = i;
			for (unsigned j = 0; j < i && !xm_mutant(x, XM_MUT_NO_ROLLBACK_L1_PROMOTE); j++)
				xm_put_page_from_l1e(x, words[j]);
			return xm_refuse(x, reason, mfn, 1, i);
		}
		store(x, mfn, i, entry, xm_entry_to_store(x, 1, xm_adjust_entry(x, 1, entry ^ flip)));
	}
	return XM_R_NONE;
}

/* References of the slots below `end`, in the order in which Xen gives them back. */
static void drop_entries(struct xm_xen *x, uint64_t mfn, unsigned level, unsigned end)
{
	const uint64_t *words = xm_words(x->machine, mfn);
	unsigned eighths = present_eighths(words);

	for (unsigned i = previous_present(words, eighths, end); i < 512; i = previous_present(words, eighths, i))
		if (level < 4 || xm_is_guest_l4_slot(x, i))
			xm_put_page_from_lne(x, mfn, level, words[i]);
}

static int promote_upper(struct xm_xen *x, struct xm_domain *d, uint64_t mfn, unsigned level, unsigned *slot_ret)
{
	const uint64_t *words = xm_words(x->machine, mfn);
	unsigned eighths = present_eighths(words);

	XM_PUT(x->machine, x->frame[mfn].linear_pt_count, 0);
	for (unsigned i = next_present(words, eighths, 0); i < 512; i = next_present(words, eighths, i + 1)) {
		uint64_t entry = words[i];
		int reason;

		if (level == 4 && !xm_is_guest_l4_slot(x, i))
			continue;
		reason = xm_get_page_from_lne(x, d, mfn, level, i, entry);
		if (reason) {
			*slot_ret = i;
			x->deferred |= i > 0;
			drop_entries(x, mfn, level, i);
			return reason;
		}
		store(x, mfn, i, entry, xm_entry_to_store(x, level, xm_adjust_entry(x, level, entry)));
	}
	return XM_R_NONE;
}

/* Slot 256: the read-only M2P, which user mode can read too. */
void xm_fill_m2p_slot(struct xm_xen *x, uint64_t l4)
{
	xm_poke(x->machine, (l4 << XM_PAGE_SHIFT) + XM_L4_FIRST_XEN_SLOT * 8, xm_entry_make(x->m2p_l3, M2P_L4E_FLAGS));
}

static void init_xen_l4_slots(struct xm_xen *x, const struct xm_domain *d, uint64_t mfn)
{
	uint64_t pa = mfn << XM_PAGE_SHIFT;

	for (unsigned i = XM_L4_FIRST_XEN_SLOT; i <= XM_L4_LAST_XEN_SLOT; i++)
		xm_poke(x->machine, pa + i * 8, x->own_slot[i - XM_L4_FIRST_XEN_SLOT]);
	if (x->profile->m2p_in_every_l4 || d->vm_assist >> XM_VMASST_M2P_STRICT & 1)
		xm_fill_m2p_slot(x, mfn);
	xm_poke(x->machine, pa + 258 * 8, xm_entry_make(mfn, XEN_L4E_FLAGS));
	xm_poke(x->machine, pa + 260 * 8, xm_entry_make(d->perdomain_l3, XEN_L4E_FLAGS));
}

/* Take every reference that the frame's entries as a table of this type hold; on refusal none are held, and *slot_ret
 * is the slot that was refused. */
int xm_promote(struct xm_xen *x, uint64_t mfn, unsigned type, unsigned *slot_ret)
{
	struct xm_domain *d = xm_domain_by_id(x, x->frame[mfn].owner);
	int reason;

	if (!d)
		return xm_refuse(x, XM_R_TABLE_NOT_OWNED, mfn, type, 0);
	if (!xm_has_frame(x->machine, mfn))
		return xm_refuse(x, XM_R_NOT_CAPTURED, mfn, type, 0);
	count_entries(d, 1);
	if (type == XM_PGT_L1)
		return promote_l1(x, d, mfn, slot_ret);
	reason = promote_upper(x, d, mfn, type, slot_ret);
	if (!reason && type == XM_PGT_L4)
		init_xen_l4_slots(x, d, mfn);
	return reason;
}

void xm_demote(struct xm_xen *x, uint64_t mfn, unsigned type)
{
	struct xm_domain *d = xm_domain_by_id(x, x->frame[mfn].owner);
	const uint64_t *words = xm_words(x->machine, mfn);
	unsigned eighths;

	if (d)
		count_entries(d, 0);
	if (type > XM_PGT_L1) {
		drop_entries(x, mfn, type, 512);
		return;
	}
	eighths = present_eighths(words);
	for (unsigned i = next_present(words, eighths, 0); i < 512; i = next_present(words, eighths, i + 1))
		xm_put_page_from_l1e(x, words[i]);
}
