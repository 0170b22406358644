/*
 * check.h - what the files of the auditor share.
 *
 * Knows: one record for each frame, filled from bytes alone, and the list of violations.
 * Does not know: how floor 2 or 3 keep their books; nothing here calls them.
 */
#ifndef XM_CHECK_CHECK_H
#define XM_CHECK_CHECK_H

#include "../internal.h"

/* A set of the XM_PGT_* types that references ask for. */
#define CLASS(type) ((uint8_t)(1U << (type)))
#define CLASS_TABLES (CLASS(XM_PGT_L1) | CLASS(XM_PGT_L2) | CLASS(XM_PGT_L3) | CLASS(XM_PGT_L4))

/* What the bytes say about one frame. */
struct recount {
	uint32_t refs;        /* general references */
	uint32_t types;       /* type references */
	uint32_t linear_held; /* non-self linear entries in it */
	uint32_t linear_uses; /* linear entries to it */
	uint8_t classes;      /* CLASS() of every type reference */
	uint8_t levels;       /* bit n: it is read as a table of level n */
	uint8_t special;      /* must never be writable for a guest: a table or a descriptor page */
	uint8_t reached;      /* scratch of the walk: bits 1..4 depth, bit 0 reported */
	uint8_t missing;      /* reported as not there */
};

struct list {
	uint64_t *mfn;
	size_t n;
	size_t size;
};

struct audit {
	const struct xm_machine *m;
	const struct xm_frame *claims; /* NULL without a hypervisor */
	uint64_t frames;
	const struct xm_root *roots;
	size_t roots_count;
	int linear_allowed;
	int of_2007; /* the rules of Xen 3.1 where they differ */
	const struct xm_held *held;
	size_t held_count;
	struct recount *re;
	struct list tables[5];    /* [n]: tables of level n, in the order found */
	uint32_t *special_before; /* prefix sums of `special`; made when a large page asks */
	struct xm_violation *ret;
	size_t max;
	size_t found;
	int no_memory;
};

__attribute__((format(printf, 4, 5))) void xm_audit_report(struct audit *a, int invariant, uint64_t mfn,
							   const char *fmt, ...);
void xm_audit_push(struct audit *a, struct list *l, uint64_t mfn);
void xm_audit_free(struct audit *a);

static inline uint64_t entry_frame(uint64_t entry)
{
	return (entry & XM_PTE_ADDR) >> XM_PAGE_SHIFT;
}

static inline unsigned claimed_type(const struct xm_frame *f)
{
	return (unsigned)(f->type_info >> XM_PGT_TYPE_SHIFT);
}

static inline int is_table_type(unsigned type)
{
	return type >= XM_PGT_L1 && type <= XM_PGT_L4;
}

/* The entries of a table; NULL, and reported the first time, when the memory audited does not hold it. */
const uint64_t *xm_audit_table(struct audit *a, uint64_t mfn, unsigned level);

/* recount.c: fill a->re and a->tables from roots, pins and bytes. */
void xm_audit_recount(struct audit *a);
const struct xm_root *xm_audit_domain(const struct audit *a, uint16_t domid);
/* compare.c: the claims against the recount, frame by frame, and the roots; decides `special`. */
void xm_audit_compare(struct audit *a);
/* slots.c: Xen's own slots in every L4. */
void xm_audit_xen_slots(struct audit *a);
/* segments.c: what is in descriptor pages. */
void xm_audit_segments(struct audit *a);
/* reach.c: what a ring-3 store can reach from these roots. */
void xm_audit_reach(struct audit *a, const struct list *roots, int invariant);

#endif
