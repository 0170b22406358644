/*
 * compare.c - the claims of the hypervisor against the recount.
 *
 * Knows: what count_info, type_info and linear_pt_count must be, given the references that the bytes hold
 * (Xen 4.17, xen/arch/x86/include/asm/mm.h and mm.c), and what must hold of roots.
 * Does not know: entries.
 */
#include "check.h"

static const char *const type_name[8] = {"none", "L1", "L2", "L3", "L4", "seg_desc", "shared", "writable"};

static void check_counts(struct audit *a, uint64_t mfn, const struct xm_frame *f, const struct recount *r)
{
	uint64_t refs = f->count_info & XM_PGC_COUNT_MASK, types = f->type_info & XM_PGT_COUNT_MASK;

	if (refs != r->refs)
		xm_audit_report(a, XM_I_GCOUNT, mfn, "general count is %llu, the bytes hold %u references",
				(unsigned long long)refs, r->refs);
	if (types != r->types)
		xm_audit_report(a, XM_I_TCOUNT, mfn, "type count (%s) is %llu, the bytes hold %u references",
				type_name[claimed_type(f)], (unsigned long long)types, r->types);
}

/* One type for all who reference the frame, and the type that the frame has. */
static void check_type(struct audit *a, uint64_t mfn, const struct xm_frame *f, const struct recount *r)
{
	unsigned low = (unsigned)__builtin_ctz(r->classes), high = 31 - (unsigned)__builtin_clz(r->classes);
	int as_table = (r->classes & CLASS_TABLES) != 0;

	if (low != high) {
		xm_audit_report(a, XM_I_EXCL, mfn, "referenced as %s and as %s", type_name[low], type_name[high]);
		if (as_table && high == XM_PGT_WRITABLE)
			xm_audit_report(a, XM_I_WSPEC, mfn, "an %s table, and a validated L1 maps it writable",
					type_name[low]);
	} else if (claimed_type(f) != low) {
		xm_audit_report(a, as_table ? XM_I_LVL : XM_I_EXCL, mfn, "referenced as %s, its type is %s",
				type_name[low], type_name[claimed_type(f)]);
	}
	if (as_table && !(f->type_info & (XM_PGT_VALIDATED | (r->levels ? 0 : XM_PGT_PARTIAL))))
		xm_audit_report(a, XM_I_LVL, mfn, "in use as an %s table, and not validated", type_name[low]);
}

static void check_linear(struct audit *a, uint64_t mfn, const struct xm_frame *f, const struct recount *r)
{
	int64_t want = r->linear_held ? (int64_t)r->linear_held : -(int64_t)r->linear_uses;

	if (a->of_2007)
		return; /* Xen 3.1 keeps no such count, and a chain may be of any length */
	if (r->linear_held && r->linear_uses)
		xm_audit_report(a, XM_I_LIN, mfn, "holds %u linear entries and is used by %u: more than one hop",
				r->linear_held, r->linear_uses);
	else if (f->linear_pt_count != want)
		xm_audit_report(a, XM_I_LIN, mfn, "linear count is %d, the bytes say %lld", f->linear_pt_count,
				(long long)want);
}

static void check_flags(struct audit *a, uint64_t mfn, const struct xm_frame *f)
{
	uint64_t t = f->type_info, count = t & XM_PGT_COUNT_MASK;
	int table = is_table_type(claimed_type(f));

	if (table && !count && (t & (XM_PGT_VALIDATED | XM_PGT_PARTIAL | XM_PGT_PINNED)))
		xm_audit_report(a, XM_I_PT0, mfn, "%s with count 0, and yet%s%s%s", type_name[claimed_type(f)],
				t & XM_PGT_VALIDATED ? " validated" : "", t & XM_PGT_PARTIAL ? " partial" : "",
				t & XM_PGT_PINNED ? " pinned" : "");
	if ((t & XM_PGT_PINNED) && (!table || !count || !(t & XM_PGT_VALIDATED) || (t & XM_PGT_PARTIAL)))
		xm_audit_report(a, XM_I_PIN, mfn, "pinned, and yet %s, count %llu%s%s", type_name[claimed_type(f)],
				(unsigned long long)count, t & XM_PGT_VALIDATED ? "" : ", not validated",
				t & XM_PGT_PARTIAL ? ", partial" : "");
	else if ((t & XM_PGT_PINNED) && !xm_audit_domain(a, f->owner))
		xm_audit_report(a, XM_I_PIN, mfn, "pinned, and its owner %#x is no domain", f->owner);
}

static void check_free(struct audit *a, uint64_t mfn, const struct xm_frame *f, const struct recount *r)
{
	if (f->owner != XM_OWNER_NONE || f->type_info || (f->count_info & XM_PGC_COUNT_MASK) || r->refs)
		xm_audit_report(a, XM_I_FREE, mfn,
				"free, and yet owner %#x, type_info %#llx, %llu references, %u in tables", f->owner,
				(unsigned long long)f->type_info,
				(unsigned long long)(f->count_info & XM_PGC_COUNT_MASK), r->refs);
}

static int is_special(const struct xm_frame *f, const struct recount *r)
{
	unsigned type = claimed_type(f);

	if (r->levels || (r->classes & CLASS(XM_PGT_SEG_DESC)))
		return 1;
	return (is_table_type(type) || type == XM_PGT_SEG_DESC) &&
	       ((f->type_info & (XM_PGT_COUNT_MASK | XM_PGT_PINNED)) ||
		(is_table_type(type) && (f->type_info & XM_PGT_VALIDATED)));
}

static void check_root(struct audit *a, const struct xm_root *d, uint64_t root, const char *which)
{
	const struct xm_frame *f = &a->claims[root];

	if (f->owner != d->domid || claimed_type(f) != XM_PGT_L4 || !(f->type_info & XM_PGT_VALIDATED))
		xm_audit_report(a, XM_I_CR3, root, "%s root of domain %u, and yet owned by %#x, type %s%s", which,
				d->domid, f->owner, type_name[claimed_type(f)],
				f->type_info & XM_PGT_VALIDATED ? "" : ", not validated");
}

/* What a domain owns is what it is charged for. */
static void check_pages(struct audit *a, const struct xm_root *d)
{
	uint64_t owned = 0;

	if (!d->pages)
		return;
	for (uint64_t mfn = 0; mfn < a->frames; mfn++)
		owned += a->claims[mfn].owner == d->domid && !(a->claims[mfn].count_info & XM_PGC_XEN_HEAP);
	if (owned != d->pages)
		xm_audit_report(a, XM_I_OWN, 0, "domain %u owns %llu frames, and is charged for %u", d->domid,
				(unsigned long long)owned, d->pages);
}

static void check_roots(struct audit *a)
{
	for (size_t i = 0; i < a->roots_count; i++) {
		const struct xm_root *d = &a->roots[i];
		uint64_t selected = d->user_mode ? d->user_root : d->kernel_root;

		check_pages(a, d);
		if (d->kernel_root)
			check_root(a, d, d->kernel_root, "kernel");
		if (d->user_root)
			check_root(a, d, d->user_root, "user");
		if (!d->kernel_root && !d->user_root && !d->cr3)
			continue; /* a domain without a processor */
		if (!selected)
			xm_audit_report(a, XM_I_CR3, 0, "domain %u runs in %s mode without a root", d->domid,
					d->user_mode ? "user" : "kernel");
		else if ((d->cr3 & XM_PTE_ADDR) >> XM_PAGE_SHIFT != selected)
			xm_audit_report(a, XM_I_CR3, selected,
					"CR3 is %#llx, the root of domain %u's mode is frame %#llx",
					(unsigned long long)d->cr3, d->domid, (unsigned long long)selected);
	}
}

void xm_audit_compare(struct audit *a)
{
	for (uint64_t mfn = 0; mfn < a->frames; mfn++) {
		const struct xm_frame *f = &a->claims[mfn];
		struct recount *r = &a->re[mfn];

		check_counts(a, mfn, f, r);
		if (r->classes)
			check_type(a, mfn, f, r);
		if (r->levels & ~(1U << 1))
			check_linear(a, mfn, f, r);
		if (f->type_info)
			check_flags(a, mfn, f);
		if ((f->count_info & XM_PGC_STATE_FREE) == XM_PGC_STATE_FREE)
			check_free(a, mfn, f, r);
		r->special = (uint8_t)is_special(f, r);
	}
	check_roots(a);
}
