/*
 * xen.h - floor 2 from the inside: the hypervisor's state and the functions its files share.
 *
 * Names are those of Xen 4.17's xen/arch/x86/mm.c where it has one.  An int that names a rule is an enum xm_reason,
 * 0 (XM_R_NONE) when nothing was refused.
 */
#ifndef XM_XEN_XEN_H
#define XM_XEN_XEN_H

#include "../internal.h"

#define XM_MAX_DOMAINS 64

#define XM_XEN_SLOTS (XM_L4_LAST_XEN_SLOT - XM_L4_FIRST_XEN_SLOT + 1)

#define XM_MAX_HELD 1024

#define XM_DESCRIPTORS_IN_PAGE 512

#define XM_DOM_IO_FRAMES 256 /* the first megabyte belongs to dom_io */

struct xm_vcpu {
	struct xm_cpu cpu;    /* its CR3 is the root of the current mode */
	uint64_t kernel_root; /* guest_table */
	uint64_t user_root;   /* guest_table_user, 0: none */
	uint64_t user_mode;   /* not TF_kernel_mode */
	uint64_t last_flush;  /* flush clock of its last whole-TLB flush */
	uint64_t ldt_base;
	uint64_t ldt_ents;
	uint64_t gdt[XM_GDT_PAGES]; /* frames, 0: none */
	uint64_t ldt[XM_LDT_PAGES]; /* frames of the pages used so far */
};

struct xm_domain {
	struct xm_xen *xen;
	struct xm_domain *next; /* every domain ever made, for xm_xen_free */
	uint64_t alive;
	uint64_t
		privileged; /* hardware domain: may map MMIO, name foreign domains, is offered ptwr without the assist */
	uint64_t vm_assist;
	uint64_t nframes;   /* that it was made with */
	uint64_t tot_pages; /* that it owns now */
	uint64_t max_pages; /* that it may own */
	uint64_t boot_frames;
	uint64_t shared_info;
	uint64_t perdomain_l3;
	uint64_t *p2m;
	uint16_t domid;
	struct xm_vcpu vcpu;
	struct xm_counters counters;
	struct xm_grant_table *grants; /* made when first used, kept until the hypervisor goes */
};

/* What differs from one version of Xen to another; profile.c has the values. */
struct xm_profile {
	uint64_t allowed_l1;         /* flags of a present entry: of a plain domain */
	uint64_t allowed_l1_devices; /* of a domain with device memory or ports */
	uint64_t allowed_upper;
	uint64_t unchecked_l1; /* what the fast paths let change without a check */
	uint64_t unchecked_upper;
	uint64_t added_l4; /* what adjust_guest_l4e adds */
	uint64_t type_count_max;
	uint64_t assists;      /* bit i: vm_assist knows type i */
	unsigned mmu_commands; /* of mmu_update, from 0 */
	unsigned mmuext_commands;
	int names_table_owner; /* the upper half of mmu_update's foreigndom names whose tables are written */
	int own_errors;        /* a refused element has its own error number, not always EINVAL */
	int flush_upper;       /* mmu_update above level 1 flushes the TLB when it returns */
	int ptwr_devices;      /* the hardware domain needs no assist for the write emulation */
	int linear_one_hop;    /* linear_pt_count is kept: XSA-240 */
	int keeps_failed_type; /* a validation that failed beyond slot 0 of an upper table leaves the type */
	int checks_cache;      /* cache attributes: changed in mappings of MMIO, refused in those of Xen's heap */
	int m2p_in_every_l4;   /* slot 256 of every validated L4 is the M2P */
	int counts_mmio;       /* mappings of dom_io's frames hold references */
	int revalidates;       /* mmu_update in a table out of use validates it first, if it can */
};

struct xm_xen {
	struct xm_machine *machine;
	struct xm_xen_options options;
	const struct xm_profile *profile;
	struct xm_frame *frame; /* Xen's frame table */
	uint64_t max_page;
	uint64_t free_frames;
	uint64_t first_free;             /* no frame below is free */
	uint64_t m2p;                    /* first frame of the machine-to-physical table */
	uint64_t m2p_l3;                 /* what slot 256 points at */
	uint64_t idle_l4;                /* 0 in a captured system */
	uint64_t own_slot[XM_XEN_SLOTS]; /* what slots 257 and 261..271 of every L4 hold, from slot 256 on */
	uint64_t clock;                  /* tlbflush_clock */
	uint64_t captured;               /* taken over from an image: what free frames hold is not known */
	uint64_t ndomains;
	uint64_t nheld;
	struct xm_held held[XM_MAX_HELD]; /* references that are in no table */
	struct xm_domain *domain[XM_MAX_DOMAINS];
	struct xm_domain *all;
	struct {
		uint64_t mfn;
		uint16_t level;
		uint16_t slot;
	} at;              /* what the last refusal was looking at */
	uint64_t deferred; /* a table was dropped: real Xen finishes that in a continuation (old_guest_table) */
};

static inline int xm_mutant(const struct xm_xen *x, enum xm_mutant which)
{
	return __builtin_expect(x->options.mutants >> which & 1, 0);
}

static inline uint64_t xm_entry_mfn(uint64_t entry)
{
	return (entry & XM_PTE_ADDR) >> XM_PAGE_SHIFT;
}

static inline uint64_t xm_entry_make(uint64_t mfn, uint64_t flags)
{
	return mfn << XM_PAGE_SHIFT | flags;
}

static inline unsigned xm_type(const struct xm_frame *f)
{
	return (unsigned)(f->type_info >> XM_PGT_TYPE_SHIFT);
}

static inline uint64_t xm_type_count(const struct xm_frame *f)
{
	return f->type_info & XM_PGT_COUNT_MASK;
}

/* A domain's table that is in use. */
static inline int xm_is_live_table(const struct xm_frame *f)
{
	return f->owner < XM_MAX_DOMAINS && xm_type(f) >= XM_PGT_L1 && xm_type(f) <= XM_PGT_L4 && xm_type_count(f) &&
	       (f->type_info & XM_PGT_VALIDATED);
}

static inline int xm_refuse(struct xm_xen *x, int reason, uint64_t mfn, unsigned level, unsigned slot)
{
	x->at.mfn = mfn;
	x->at.level = (uint16_t)level;
	x->at.slot = (uint16_t)slot;
	return reason;
}

/* __addr_ok: may a hypercall argument lie there? */
static inline int xm_addr_ok(uint64_t va)
{
	return va < 0x800000000000ULL || va >= 0xffff880000000000ULL;
}

static inline int xm_mfn_valid(const struct xm_xen *x, uint64_t mfn)
{
	return mfn < x->max_page;
}

/* profile.c */
const struct xm_profile *xm_profile_of(unsigned version);
int xm_errno(const struct xm_xen *x, int reason);

/* hypervisor.c */
void xm_m2p_set(struct xm_xen *x, uint64_t mfn, uint64_t pfn);

/* domain.c */
struct xm_domain *xm_domain_allocate(struct xm_xen *x, uint64_t frames);
int xm_domain_init_vcpu(struct xm_domain *d);

/* grant_table.c */
void xm_grants_free(struct xm_domain *d);
size_t xm_held_grants(const struct xm_domain *d, struct xm_held *ret, size_t max, size_t n);

/* frame.c */
void xm_free_domain_frame(struct xm_xen *x, uint64_t mfn);
int xm_get_page_type(struct xm_xen *x, uint64_t mfn, unsigned type);
void xm_put_page_type(struct xm_xen *x, uint64_t mfn);
void xm_put_page_and_type(struct xm_xen *x, uint64_t mfn);
uint64_t xm_alloc_frame(struct xm_xen *x, int from_top);
uint64_t xm_alloc_frames(struct xm_xen *x, unsigned order, uint64_t end);
void xm_free_frame(struct xm_xen *x, uint64_t mfn);
void xm_put_page_alloc_ref(struct xm_xen *x, uint64_t mfn);

/* Every entry takes and gives back a general reference, so these two are worth having in line. */

/* One reference for whoever wants the frame as a page of `owner`; 0 when it is not one. */
static inline int xm_get_page(struct xm_xen *x, uint64_t mfn, unsigned owner)
{
	struct xm_frame *f;
	uint64_t count;

	if (!xm_mfn_valid(x, mfn))
		return 0;
	f = &x->frame[mfn];
	if (f->owner != owner)
		return 0;
	count = f->count_info & XM_PGC_COUNT_MASK;
	if (count == 0 || count == XM_PGC_COUNT_MASK)
		return 0;
	XM_PUT(x->machine, f->count_info, f->count_info + 1);
	return 1;
}

static inline void xm_put_page(struct xm_xen *x, uint64_t mfn)
{
	struct xm_frame *f = &x->frame[mfn];

	if (!(f->count_info & XM_PGC_COUNT_MASK))
		return; /* only a mutant can get here: the auditor reports the count, the emulator stays up */
	XM_PUT(x->machine, f->count_info, f->count_info - 1);
	if (!(f->count_info & XM_PGC_COUNT_MASK))
		xm_free_domain_frame(x, mfn);
}

/* entry.c */
int xm_mmio_read_only(uint64_t mfn);
int xm_is_guest_l4_slot(const struct xm_xen *x, unsigned slot);
int xm_entry_flags_check(struct xm_xen *x, const struct xm_domain *d, unsigned level, uint64_t entry);
uint64_t xm_adjust_entry(const struct xm_xen *x, unsigned level, uint64_t entry);
uint64_t xm_entry_to_store(const struct xm_xen *x, unsigned level, uint64_t entry);
int xm_entry_fast_path(const struct xm_xen *x, unsigned level, uint64_t old, uint64_t entry);
int xm_get_page_from_l1e(struct xm_xen *x, struct xm_domain *d, unsigned pg_owner, uint64_t entry, uint64_t *flip_ret);
void xm_put_page_from_l1e(struct xm_xen *x, uint64_t entry);
int xm_get_page_from_lne(struct xm_xen *x, struct xm_domain *d, uint64_t table, unsigned level, unsigned slot,
			 uint64_t entry);
void xm_put_page_from_lne(struct xm_xen *x, uint64_t table, unsigned level, uint64_t entry);

/* validate.c */
int xm_promote(struct xm_xen *x, uint64_t mfn, unsigned type, unsigned *slot_ret);
void xm_demote(struct xm_xen *x, uint64_t mfn, unsigned type);
void xm_fill_m2p_slot(struct xm_xen *x, uint64_t l4);

/* descriptor.c */
int xm_promote_descriptors(struct xm_xen *x, uint64_t mfn);
void xm_destroy_gdt(struct xm_domain *d);
int xm_destroy_ldt(struct xm_domain *d);
int xm_set_ldt(struct xm_domain *d, uint64_t va, uint64_t arg2);
size_t xm_held_descriptors(const struct xm_domain *d, struct xm_held *ret, size_t max, size_t n);
void xm_adopt_descriptor_tables(struct xm_domain *d, const struct xm_cpu *cpu);

/* mmu_update.c */
int xm_mod_l1_entry(struct xm_xen *x, struct xm_domain *d, unsigned pg_owner, uint64_t pa, uint64_t entry,
		    int preserve_ad);
int xm_finish(struct xm_domain *d, int reason, struct xm_result *ret);
struct xm_domain *xm_domain_by_id(const struct xm_xen *x, unsigned domid);
int xm_foreigndom(const struct xm_domain *d, unsigned fd, unsigned *owner_ret);
int xm_may_target(const struct xm_domain *d, unsigned owner);

/* holders.c */
int xm_adopt_roots(struct xm_domain *d, uint64_t loaded, uint64_t *culprit_ret);
uint64_t xm_adopt_first_root(const struct xm_domain *d);
int xm_adopt_held(struct xm_xen *x);

/* vcpu.c */
void xm_flush_tlb(struct xm_domain *d);
void xm_flush_page(struct xm_domain *d, uint64_t va);
void xm_load_cr3(struct xm_domain *d, uint64_t mfn);
int xm_copy_from_guest(struct xm_domain *d, uint64_t va, uint64_t *value_ret);
int xm_is_own_l1(const struct xm_domain *d, uint64_t mfn);
int xm_ptwr_update(struct xm_domain *d, uint64_t pa, uint64_t entry);
uint64_t xm_find_entry(struct xm_domain *d, uint64_t root, uint64_t va, unsigned level);

#endif
