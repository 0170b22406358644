/*
 * reach.c - what a store from ring 3 can reach, by the walk of the hardware.
 *
 * Knows: SDM vol. 3A 4.5 and 4.6 as far as a user-mode store needs them: every entry of the path has P, R/W and U/S, and
 * an entry with PS at level 3 or 2 maps a large page.  An entry that names a table of any level leads there: that is how
 * recursive slots work, and how a validator's belief about levels is put to the test.
 * Does not know: types, levels or counts.
 *
 * Which frames can stand at depth d of some path with all rights depends on nothing but which can stand at d + 1, so
 * each frame is read at most once a depth, however many paths lead through it.
 */
#include "check.h"

#include <stdlib.h>

#define OPEN (XM_PTE_P | XM_PTE_RW | XM_PTE_US)
#define REPORTED 1

struct reach {
	struct audit *a;
	struct list at[5]; /* at[d]: frames that can stand at depth d; at[0]: frames reported */
	int invariant;
};

static void stand(struct reach *w, uint64_t mfn, unsigned depth)
{
	struct recount *r = &w->a->re[mfn];

	if (r->reached & (1U << depth))
		return;
	r->reached |= (uint8_t)(1U << depth);
	xm_audit_push(w->a, &w->at[depth], mfn);
}

static void hit(struct reach *w, uint64_t target, uint64_t table, unsigned depth, unsigned slot)
{
	struct recount *r = &w->a->re[target];

	if (!r->special || (r->reached & REPORTED))
		return;
	r->reached |= REPORTED;
	xm_audit_push(w->a, &w->at[0], target);
	xm_audit_report(w->a, w->invariant, target, "writable from ring 3 through entry %u of frame %#llx at level %u",
			slot, (unsigned long long)table, depth);
}

/* Special frames before each frame, so that a page of any size is asked in one step. */
static int count_special(struct audit *a)
{
	if (a->special_before)
		return 1;
	a->special_before = malloc((a->frames + 1) * sizeof(*a->special_before));
	if (!a->special_before) {
		a->no_memory = 1;
		return 0;
	}
	a->special_before[0] = 0;
	for (uint64_t i = 0; i < a->frames; i++)
		a->special_before[i + 1] = a->special_before[i] + a->re[i].special;
	return 1;
}

static void large_page(struct reach *w, uint64_t e, uint64_t table, unsigned depth, unsigned slot)
{
	struct audit *a = w->a;
	uint64_t n = depth == 2 ? 512 : 512 * 512, first = entry_frame(e) & ~(n - 1), last = first + n;

	/* Address bits below the page size are reserved, but the lowest is PAT (SDM 4.5, tables 4-16 and 4-18). */
	if (entry_frame(e) & (n - 1) & ~1ULL || first >= a->frames || !count_special(a))
		return;
	if (last > a->frames)
		last = a->frames;
	if (a->special_before[last] == a->special_before[first])
		return;
	for (uint64_t mfn = first; mfn < last; mfn++)
		hit(w, mfn, table, depth, slot);
}

static void read_at(struct reach *w, uint64_t table, unsigned depth)
{
	const uint64_t *words = xm_audit_table(w->a, table, depth);

	for (unsigned slot = 0; words && slot < 512; slot++) {
		uint64_t e = words[slot], target = entry_frame(e);

		if ((e & OPEN) != OPEN)
			continue;
		if (depth > 1 && (e & XM_PTE_PS)) {
			if (depth < 4)
				large_page(w, e, table, depth, slot);
		} else if (target >= w->a->frames) {
			continue;
		} else if (depth > 1) {
			stand(w, target, depth - 1);
		} else {
			hit(w, target, table, depth, slot);
		}
	}
}

void xm_audit_reach(struct audit *a, const struct list *roots, int invariant)
{
	struct reach w = {.a = a, .invariant = invariant};

	for (size_t i = 0; i < roots->n; i++)
		stand(&w, roots->mfn[i], 4);
	for (unsigned depth = 4; depth >= 1; depth--)
		for (size_t i = 0; i < w.at[depth].n; i++)
			read_at(&w, w.at[depth].mfn[i], depth);
	for (unsigned depth = 0; depth <= 4; depth++) {
		for (size_t i = 0; i < w.at[depth].n; i++)
			a->re[w.at[depth].mfn[i]].reached = 0;
		free(w.at[depth].mfn);
	}
}
