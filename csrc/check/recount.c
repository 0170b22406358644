/*
 * recount.c - which frames are tables, and who references what, from bytes.
 *
 * Knows: the holders of a reference (Xen 4.17, xen/arch/x86/mm.c: get_page_from_l1e to get_page_from_l4e and
 * get_lN_linear_pagetable), the flags a guest may set and those Xen adds (adjust_guest_l1e to l4e).
 * Does not know: the counts and validated flags that the hypervisor keeps.  It takes from it who owns a frame, whether
 * the frame is allocated or pinned and, where the bytes can be read either way, the level: an entry of level n that
 * names a table nothing else holds may be a parent's or a linear one.
 *
 * Levels are read from the top, so that when a level's entries are judged every table of that level that has a parent
 * or a pin is known.
 */
#include "check.h"

const struct xm_root *xm_audit_domain(const struct audit *a, uint16_t domid)
{
	for (size_t i = 0; i < a->roots_count; i++)
		if (a->roots[i].domid == domid)
			return &a->roots[i];
	return NULL;
}

static void found_table(struct audit *a, uint64_t mfn, unsigned level)
{
	struct recount *r = &a->re[mfn];

	if (r->levels & (1U << level))
		return;
	r->levels |= (uint8_t)(1U << level);
	xm_audit_push(a, &a->tables[level], mfn);
}

static void take(struct audit *a, uint64_t mfn, unsigned type)
{
	struct recount *r = &a->re[mfn];

	r->refs++;
	r->types++;
	r->classes |= CLASS(type);
}

/* ---- one entry ---------------------------------------------------------------------------------------------------- */

static int has_privileged_domain(const struct audit *a)
{
	for (size_t i = 0; i < a->roots_count; i++)
		if (a->roots[i].privileged)
			return 1;
	return 0;
}

/* May the domain that owns the table map the frame?  A privileged domain may map another domain's, and may put such an
 * entry into a third one's tables. */
static int may_map(const struct audit *a, uint16_t owner, const struct xm_frame *target, int writable)
{
	if (target->owner == owner)
		return 1;
	if (target->owner == XM_DOMID_XEN)
		return !writable;
	return xm_audit_domain(a, target->owner) && has_privileged_domain(a);
}

static void read_leaf(struct audit *a, uint64_t table, unsigned slot, uint64_t e, int privileged)
{
	uint64_t mfn = entry_frame(e);
	int writable = (e & XM_PTE_RW) != 0;
	/* Xen 3.1 leaves caching to every domain, but for the PAT bit. */
	uint64_t forbidden = a->of_2007 ? XM_PTE_PAT : privileged ? 0 : XM_PTE_PWT | XM_PTE_PCD | XM_PTE_PAT;

	if (!(e & XM_PTE_US) || !(e & (XM_PTE_GUEST_KERNEL | XM_PTE_G)))
		xm_audit_report(a, XM_I_LVL, table, "L1[%u] = %#llx is not adjusted", slot, (unsigned long long)e);
	if (e & forbidden)
		xm_audit_report(a, XM_I_LVL, table, "L1[%u] = %#llx has cache bits that its domain may not set", slot,
				(unsigned long long)e);
	if (mfn >= a->frames || a->claims[mfn].owner == XM_DOMID_IO) {
		/* Not RAM: no reference is kept, but by Xen 3.1 where there is a frame to keep it in. */
		if (!privileged)
			xm_audit_report(a, XM_I_OWN, table, "L1[%u] = %#llx maps I/O memory for a plain domain", slot,
					(unsigned long long)e);
		if (a->of_2007 && mfn < a->frames) {
			a->re[mfn].refs++;
			a->re[mfn].types += (uint32_t)writable;
		}
		return;
	}
	if (!may_map(a, a->claims[table].owner, &a->claims[mfn], writable))
		xm_audit_report(a, XM_I_OWN, mfn, "owned by %#x, mapped by L1[%u] = %#llx of %#llx, owned by %#x",
				a->claims[mfn].owner, slot, (unsigned long long)e, (unsigned long long)table,
				a->claims[table].owner);
	if (writable)
		take(a, mfn, XM_PGT_WRITABLE);
	else
		a->re[mfn].refs++;
}

static int is_linear(const struct audit *a, uint64_t table, unsigned level, uint64_t target)
{
	return target == table || (a->re[target].levels & (1U << level)) || claimed_type(&a->claims[target]) == level;
}

static void read_linear(struct audit *a, uint64_t table, unsigned level, unsigned slot, uint64_t e)
{
	uint64_t target = entry_frame(e);

	if (!a->linear_allowed)
		xm_audit_report(a, XM_I_LIN, table, "L%u[%u] = %#llx is linear, which pv-linear-pt=no excludes", level,
				slot, (unsigned long long)e);
	if (e & XM_PTE_RW)
		xm_audit_report(a, XM_I_LIN, table, "L%u[%u] = %#llx is linear and writable", level, slot,
				(unsigned long long)e);
	if (target == table)
		return;
	take(a, target, level);
	a->re[table].linear_held++;
	a->re[target].linear_uses++;
	found_table(a, target, level);
}

static void check_upper_flags(struct audit *a, uint64_t table, unsigned level, unsigned slot, uint64_t e)
{
	uint64_t added = level == 4 && !a->of_2007 ? XM_PTE_US | XM_PTE_A : XM_PTE_US;
	uint64_t forbidden = XM_PTE_PS | XM_PTE_G | (a->of_2007 ? 0 : XM_PTE_PWT | XM_PTE_PCD);

	if (e & forbidden)
		xm_audit_report(a, XM_I_LVL, table, "L%u[%u] = %#llx has a flag that this level forbids%s", level, slot,
				(unsigned long long)e, e & XM_PTE_PS ? " (PS)" : "");
	if ((e & added) != added)
		xm_audit_report(a, XM_I_LVL, table, "L%u[%u] = %#llx is not adjusted", level, slot,
				(unsigned long long)e);
}

static void read_upper(struct audit *a, uint64_t table, unsigned level, unsigned slot, uint64_t e)
{
	uint64_t target = entry_frame(e);

	check_upper_flags(a, table, level, slot, e);
	if (target >= a->frames) {
		xm_audit_report(a, XM_I_LVL, table, "L%u[%u] = %#llx names no frame of the machine", level, slot,
				(unsigned long long)e);
		return;
	}
	if (a->claims[target].owner != a->claims[table].owner) {
		/* Not followed: a page of Xen or of somebody else is no table of this domain. */
		xm_audit_report(a, XM_I_OWN, target, "owned by %#x, a table under L%u[%u] of %#llx, owned by %#x",
				a->claims[target].owner, level, slot, (unsigned long long)table,
				a->claims[table].owner);
		a->re[target].refs++;
		return;
	}
	if (is_linear(a, table, level, target)) {
		read_linear(a, table, level, slot, e);
	} else {
		take(a, target, level - 1);
		found_table(a, target, level - 1);
	}
}

/* ---- tables ------------------------------------------------------------------------------------------------------- */

static void read_table(struct audit *a, uint64_t table, unsigned level)
{
	const uint64_t *words = xm_audit_table(a, table, level);
	const struct xm_root *d = xm_audit_domain(a, a->claims[table].owner);
	int privileged = d && d->privileged;

	for (unsigned slot = 0; words && slot < 512; slot++) {
		if (!(words[slot] & XM_PTE_P))
			continue;
		if (level == 1)
			read_leaf(a, table, slot, words[slot], privileged);
		else if (level < 4 || slot < XM_L4_FIRST_XEN_SLOT || slot > XM_L4_LAST_XEN_SLOT)
			read_upper(a, table, level, slot, words[slot]);
	}
}

/* What holds a frame without any entry naming it. */
static void read_claim(struct audit *a, uint64_t mfn)
{
	const struct xm_frame *f = &a->claims[mfn];
	unsigned type = claimed_type(f);

	if (f->count_info & XM_PGC_ALLOCATED)
		a->re[mfn].refs++;
	/* Xen keeps one type reference of its own on what it shares with guests, so that the type can never change. */
	if ((f->count_info & XM_PGC_XEN_HEAP) || f->owner == XM_DOMID_IO || f->owner == XM_DOMID_XEN) {
		a->re[mfn].types++;
		a->re[mfn].classes |= CLASS(type);
	}
	if ((f->type_info & XM_PGT_PINNED) && is_table_type(type)) {
		take(a, mfn, type);
		found_table(a, mfn, type);
	}
}

void xm_audit_recount(struct audit *a)
{
	for (size_t i = 0; i < a->roots_count; i++) {
		const uint64_t root[2] = {a->roots[i].kernel_root, a->roots[i].user_root};

		for (int k = 0; k < 2; k++) {
			if (!root[k])
				continue;
			take(a, root[k], XM_PGT_L4);
			found_table(a, root[k], 4);
		}
	}
	for (size_t i = 0; i < a->held_count; i++)
		for (uint32_t k = 0; k < a->held[i].count; k++) {
			if (a->held[i].type == XM_PGT_NONE)
				a->re[a->held[i].mfn].refs++;
			else
				take(a, a->held[i].mfn, a->held[i].type);
			if (a->held[i].type == XM_PGT_L4)
				found_table(a, a->held[i].mfn, 4);
		}
	for (uint64_t mfn = 0; mfn < a->frames; mfn++)
		if (a->claims[mfn].count_info | a->claims[mfn].type_info)
			read_claim(a, mfn);
	for (unsigned level = 4; level >= 1; level--)
		for (size_t i = 0; i < a->tables[level].n; i++)
			read_table(a, a->tables[level].mfn[i], level);
}
