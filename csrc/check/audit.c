/*
 * audit.c - the auditor: entry points, invariants by name, the list of violations.
 *
 * Knows: the order of the passes.  Each pass reads bytes once; the cost is that of the tables found, plus a few words
 * for each frame of the machine.  Does not know: how the hypervisor came to what it claims, and it changes nothing.
 *
 * The invariants are those of xenmmu/check.py, which names their sources.
 */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const invariant_name[XM_I_KINDS] = {
	[XM_I_TCOUNT] = "I-TCOUNT", [XM_I_GCOUNT] = "I-GCOUNT", [XM_I_EXCL] = "I-EXCL", [XM_I_WSPEC] = "I-WSPEC",
	[XM_I_USERW] = "I-USERW",   [XM_I_LVL] = "I-LVL",       [XM_I_LIN] = "I-LIN",   [XM_I_XENSLOT] = "I-XENSLOT",
	[XM_I_OWN] = "I-OWN",       [XM_I_CR3] = "I-CR3",       [XM_I_PT0] = "I-PT0",   [XM_I_PIN] = "I-PIN",
	[XM_I_FREE] = "I-FREE",     [XM_I_SEG] = "I-SEG",
};

static const char *const invariant_text[XM_I_KINDS] = {
	[XM_I_TCOUNT] =
		"a frame's type count is the number of its type references: writable L1 entries in validated tables, "
		"entries of validated parents, linear uses other than by itself, its pin, and roots",
	[XM_I_GCOUNT] =
		"a frame's general count is its allocation plus every present entry of a validated table that names "
		"it (but its own linear entry), its pin, and roots",
	[XM_I_EXCL] = "all type references to a frame ask for one type, and it is the type the frame has",
	[XM_I_WSPEC] =
		"no leaf that a guest can reach from any validated L4 with R/W and U/S set at every level, linear "
		"paths and large pages included, maps a page table or a descriptor page",
	[XM_I_USERW] = "the same from a user root: user mode can never store to a page table",
	[XM_I_LVL] = "every present entry of a validated table has only allowed flags, Xen's adjustments, and a valid "
		     "target "
		     "that is a validated table of the next level",
	[XM_I_LIN] =
		"a linear entry is read-only, stays within its domain and goes one hop: a table that holds one is not "
		"used by one, itself excepted",
	[XM_I_XENSLOT] = "slots 256 to 271 of every validated L4 are what Xen put there",
	[XM_I_OWN] = "tables and leaves of a domain name only frames that the domain owns or has a right to, and it is "
		     "charged for the frames that it owns",
	[XM_I_CR3] = "roots are validated L4 tables of their domain, CR3 is the root of the current mode, and user "
		     "mode has one",
	[XM_I_PT0] = "a page table that nothing references is neither validated nor partial nor pinned",
	[XM_I_PIN] = "a pinned frame is a validated page table of a domain with a type reference for the pin",
	[XM_I_FREE] = "a free frame has no owner, no type, no count, and nothing names it",
	[XM_I_SEG] =
		"every present descriptor of a validated descriptor page is a segment of ring 3, the second half of a "
		"gate, or a call gate that faults in ring 3",
};

const char *xm_invariant_name(int invariant)
{
	return invariant >= 0 && invariant < XM_I_KINDS ? invariant_name[invariant] : NULL;
}

const char *xm_invariant_text(int invariant)
{
	return invariant >= 0 && invariant < XM_I_KINDS ? invariant_text[invariant] : NULL;
}

void xm_audit_report(struct audit *a, int invariant, uint64_t mfn, const char *fmt, ...)
{
	struct xm_violation *v;
	va_list args;

	if (a->found++ >= a->max)
		return;
	v = &a->ret[a->found - 1];
	memset(v, 0, sizeof(*v));
	v->mfn = mfn;
	v->invariant = (uint32_t)invariant;
	va_start(args, fmt);
	vsnprintf(v->message, sizeof(v->message), fmt, args);
	va_end(args);
}

const uint64_t *xm_audit_table(struct audit *a, uint64_t mfn, unsigned level)
{
	if (xm_has_frame(a->m, mfn))
		return xm_words(a->m, mfn);
	if (!a->re[mfn].missing)
		xm_audit_report(a, XM_I_LVL, mfn, "an L%u table that the memory audited does not hold: not read",
				level);
	a->re[mfn].missing = 1;
	return NULL;
}

void xm_audit_push(struct audit *a, struct list *l, uint64_t mfn)
{
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		uint64_t *grown = realloc(l->mfn, size * sizeof(*grown));

		if (!grown) {
			a->no_memory = 1;
			return;
		}
		l->mfn = grown;
		l->size = size;
	}
	l->mfn[l->n++] = mfn;
}

void xm_audit_free(struct audit *a)
{
	for (int level = 1; level <= 4; level++)
		free(a->tables[level].mfn);
	free(a->special_before);
	free(a->re);
}

static void audit_xen(struct audit *a)
{
	struct list users = {0};

	xm_audit_recount(a);
	xm_audit_compare(a);
	xm_audit_xen_slots(a);
	xm_audit_segments(a);
	xm_audit_reach(a, &a->tables[4], XM_I_WSPEC);
	for (size_t i = 0; i < a->roots_count; i++)
		if (a->roots[i].user_root)
			xm_audit_push(a, &users, a->roots[i].user_root);
	xm_audit_reach(a, &users, XM_I_USERW);
	free(users.mfn);
}

int xm_audit_books(const struct xm_books *books, struct xm_violation *ret, size_t max, size_t *found_ret)
{
	struct audit a = {.m = books->machine,
			  .claims = books->frames,
			  .frames = books->machine->frames,
			  .roots = books->roots,
			  .roots_count = books->roots_count,
			  .linear_allowed = books->pv_linear_pt,
			  .of_2007 = books->version == XM_XEN_3_1,
			  .held = books->held,
			  .held_count = books->held_count,
			  .ret = ret,
			  .max = max};

	for (size_t i = 0; i < a.roots_count; i++)
		if (a.roots[i].kernel_root >= a.frames || a.roots[i].user_root >= a.frames)
			return XM_E_RANGE;
	for (size_t i = 0; i < a.held_count; i++)
		if (a.held[i].mfn >= a.frames || a.held[i].type > XM_PGT_WRITABLE)
			return XM_E_RANGE;
	a.re = calloc(a.frames, sizeof(*a.re));
	if (a.re)
		audit_xen(&a);
	else
		a.no_memory = 1;
	xm_audit_free(&a);
	if (a.no_memory)
		return XM_E_MEMORY;
	*found_ret = a.found;
	return XM_OK;
}

int xm_audit(const struct xm_xen *x, struct xm_violation *ret, size_t max, size_t *found_ret)
{
	size_t n = xm_xen_roots(x, NULL, 0);
	struct xm_root *roots = calloc(n ? n : 1, sizeof(*roots));
	size_t held_count = xm_xen_held(x, NULL, 0);
	struct xm_held *held = calloc(held_count ? held_count : 1, sizeof(*held));
	struct xm_books books = {.machine = xm_xen_machine(x),
				 .frames = xm_xen_frame_table(x),
				 .roots = roots,
				 .roots_count = n,
				 .pv_linear_pt = xm_xen_options(x).pv_linear_pt,
				 .version = xm_xen_options(x).version,
				 .held = held,
				 .held_count = held_count};
	int status;

	if (!roots || !held) {
		free(roots);
		free(held);
		return XM_E_MEMORY;
	}
	xm_xen_held(x, held, held_count);
	xm_xen_roots(x, roots, n);
	status = xm_audit_books(&books, ret, max, found_ret);
	free(roots);
	free(held);
	return status;
}
