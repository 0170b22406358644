/*
 * native.c - the audit of address spaces that no hypervisor guards.
 *
 * Knows: the walk.  A table is what the roots lead to; an L4 entry that names a root is a recursive or alternate slot.
 * Does not know: who owns a frame; there are no claims to compare with, so what is asked is the conclusion: tables are
 * used at one level, entries are such that the processor accepts them, and user mode cannot store to a table.
 */
#include "check.h"

#include <stdlib.h>

static void found(struct audit *a, uint64_t mfn, unsigned level)
{
	struct recount *r = &a->re[mfn];

	if (r->levels & (1U << level))
		return;
	r->levels |= (uint8_t)(1U << level);
	r->special = 1;
	xm_audit_push(a, &a->tables[level], mfn);
}

static void read_entry(struct audit *a, uint64_t table, unsigned level, unsigned slot, uint64_t e)
{
	uint64_t target = entry_frame(e);

	if (level == 4 && (e & XM_PTE_PS))
		xm_audit_report(a, XM_I_LVL, table, "L4[%u] = %#llx has the reserved bit 7", slot,
				(unsigned long long)e);
	else if (e & XM_PTE_PS)
		return;
	else if (target >= a->frames)
		xm_audit_report(a, XM_I_LVL, table, "L%u[%u] = %#llx names no frame of the machine", level, slot,
				(unsigned long long)e);
	else if (level < 4 || !(a->re[target].levels & (1U << 4)))
		found(a, target, level - 1);
}

static void read_tables(struct audit *a)
{
	for (unsigned level = 4; level >= 2; level--)
		for (size_t i = 0; i < a->tables[level].n; i++) {
			uint64_t table = a->tables[level].mfn[i];
			const uint64_t *words = xm_audit_table(a, table, level);

			for (unsigned slot = 0; words && slot < 512; slot++)
				if (words[slot] & XM_PTE_P)
					read_entry(a, table, level, slot, words[slot]);
		}
	for (uint64_t mfn = 0; mfn < a->frames; mfn++)
		if (a->re[mfn].levels & (a->re[mfn].levels - 1))
			xm_audit_report(a, XM_I_EXCL, mfn, "used as a table of several levels (bits %#x)",
					a->re[mfn].levels);
}

int xm_audit_native(const struct xm_machine *m, const uint64_t *roots, size_t roots_count, struct xm_violation *ret,
		    size_t max, size_t *found_ret)
{
	struct audit a = {.m = m, .frames = m->frames, .ret = ret, .max = max};

	for (size_t i = 0; i < roots_count; i++)
		if (roots[i] >= m->frames)
			return XM_E_RANGE;
	a.re = calloc(m->frames, sizeof(*a.re));
	if (!a.re)
		return XM_E_MEMORY;
	for (size_t i = 0; i < roots_count; i++)
		found(&a, roots[i], 4);
	read_tables(&a);
	xm_audit_reach(&a, &a.tables[4], XM_I_USERW);
	xm_audit_free(&a);
	if (a.no_memory)
		return XM_E_MEMORY;
	*found_ret = a.found;
	return XM_OK;
}
