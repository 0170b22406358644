/*
 * descriptor.c - descriptor tables: set_gdt, update_descriptor, the LDT that Xen maps page by page as it is used, and what
 * loading a selector from either does.
 *
 * Knows: which descriptors a guest may have and how Xen changes them, who holds a descriptor page, the processor's
 * checks on a data segment.  Does not know: how a segment changes an address (in 64-bit mode only by its base).
 *
 *	holder				general ref	type ref
 *	page of the GDT			1		1 seg_desc	for each place it has in the list
 *	page of the LDT, once used	1		1 seg_desc	until the LDT or the kernel's root changes
 *
 * Xen 4.17: pv/descriptor-tables.c, pv_map_ldt_shadow_page (pv/mm.c), handle_gdt_ldt_mapping_fault (traps.c).
 */
#include "xen.h"

/* A descriptor, [SDM vol. 3A, 3.4.5]; the DPL of a gate stands in the same place. */
#define DESC_ACCESSED 0x10000000000ULL
#define DESC_READABLE 0x20000000000ULL
#define DESC_CONFORMING 0x40000000000ULL
#define DESC_CODE 0x80000000000ULL
#define DESC_TYPE 0xf0000000000ULL
#define DESC_S 0x100000000000ULL
#define DESC_DPL 0x600000000000ULL
#define DESC_P 0x800000000000ULL
#define TYPE_CALL_GATE 0xc0000000000ULL
#define GATE_RESERVED 0xff00000000ULL
#define GATE_RPL 0x30000ULL

#define SEL_RPL 3U
#define SEL_TI 4U
#define SEL_INDEX 0xfff8U

#define FIRST_RESERVED_GDT_ENTRY (XM_GDT_PAGES * XM_DESCRIPTORS_IN_PAGE)
/* Xen's own code and data segments for guests: compatibility mode code, data, 64-bit code. */
#define FLAT_RING3_CS32 0xe023U
#define FLAT_RING3_DS32 0xe02bU
#define FLAT_RING3_CS64 0xe033U

/* Where a processor's GDT and LDT lie in Xen's part of every address space. */
#define GDT_VIRT_START 0xffff820000000000ULL
#define LDT_VIRT_START (GDT_VIRT_START + 16 * XM_PAGE_SIZE)

/* ---- descriptors -------------------------------------------------------------------------------------------------- */

/* check_descriptor: may a guest have it?  *desc becomes what Xen makes of it.  Both halves of a guest run in ring 3, so a
 * segment's DPL is 3; a call gate's is 0, for the gate is to fault and be emulated, and its real one goes to the RPL. */
static int check_descriptor(uint64_t *desc)
{
	unsigned target = (unsigned)(*desc >> 16) & 0xffff;

	if (!(*desc & DESC_P))
		return 1;
	if (*desc & DESC_S) {
		*desc |= DESC_DPL;
		return 1;
	}
	if (!(*desc & DESC_TYPE))
		return 1; /* the second half of a gate */
	if ((*desc & DESC_TYPE) != TYPE_CALL_GATE || (*desc & GATE_RESERVED))
		return 0;
	if (target >> 3 >= FIRST_RESERVED_GDT_ENTRY && target != FLAT_RING3_CS64 && !(target & SEL_TI))
		return 0;
	*desc = (*desc & ~DESC_DPL) | GATE_RPL;
	return 1;
}

/* validate_segdesc_page.  What was changed before a refusal stays changed. */
int xm_promote_descriptors(struct xm_xen *x, uint64_t mfn)
{
	const uint64_t *words = xm_words(x->machine, mfn);

	if (!xm_has_frame(x->machine, mfn))
		return xm_refuse(x, XM_R_NOT_CAPTURED, mfn, XM_PGT_SEG_DESC, 0);
	for (unsigned i = 0; i < XM_DESCRIPTORS_IN_PAGE; i++) {
		uint64_t desc = words[i];

		if (!check_descriptor(&desc))
			return xm_refuse(x, XM_R_DESCRIPTOR, mfn, XM_PGT_SEG_DESC, i);
		if (desc != words[i])
			xm_poke(x->machine, (mfn << XM_PAGE_SHIFT) + i * 8, desc);
	}
	return XM_R_NONE;
}

static int get_descriptor_page(struct xm_domain *d, uint64_t mfn)
{
	int reason;

	if (!xm_get_page(d->xen, mfn, d->domid))
		return xm_refuse(d->xen, XM_R_GDT_NOT_OWNED, mfn, 0, 0);
	reason = xm_get_page_type(d->xen, mfn, XM_PGT_SEG_DESC);
	if (reason)
		xm_put_page(d->xen, mfn);
	return reason;
}

/* ---- the GDT ------------------------------------------------------------------------------------------------------ */

static void drop_page(struct xm_domain *d, uint64_t *page)
{
	uint64_t mfn = *page;

	if (!mfn)
		return;
	XM_PUT(d->xen->machine, *page, 0);
	xm_put_page_and_type(d->xen, mfn);
}

void xm_destroy_gdt(struct xm_domain *d)
{
	for (unsigned i = 0; i < XM_GDT_PAGES; i++)
		drop_page(d, &d->vcpu.gdt[i]);
}

static int install_gdt(struct xm_domain *d, const uint64_t *frames, uint32_t entries)
{
	uint32_t n = (entries + XM_DESCRIPTORS_IN_PAGE - 1) / XM_DESCRIPTORS_IN_PAGE;

	for (uint32_t i = 0; i < n; i++) {
		int reason = get_descriptor_page(d, frames[i]);

		if (!reason)
			continue;
		while (i-- > 0)
			xm_put_page_and_type(d->xen, frames[i]);
		return reason;
	}
	xm_destroy_gdt(d);
	for (uint32_t i = 0; i < n; i++)
		XM_PUT(d->xen->machine, d->vcpu.gdt[i], frames[i]);
	xm_flush_tlb(d);
	return XM_R_NONE;
}

int xm_set_gdt(struct xm_domain *d, const uint64_t *frames, uint32_t entries, struct xm_result *ret)
{
	int reason;

	if (!d->alive || d->vcpu.user_mode)
		return XM_E_STATE;
	memset(&d->xen->at, 0, sizeof(d->xen->at));
	if (entries > FIRST_RESERVED_GDT_ENTRY)
		reason = XM_R_GDT_ENTRIES;
	else if (!frames && entries)
		return XM_E_ARGUMENT;
	else
		reason = install_gdt(d, frames, entries);
	ret->done = !reason;
	return xm_finish(d, reason, ret);
}

/* ---- single descriptors ------------------------------------------------------------------------------------------- */

static int update_descriptor(struct xm_domain *d, uint64_t pa, uint64_t desc)
{
	struct xm_xen *x = d->xen;
	uint64_t mfn = pa >> XM_PAGE_SHIFT;
	unsigned slot = (unsigned)(pa & (XM_PAGE_SIZE - 1)) / 8, type;

	if (pa % 8)
		return xm_refuse(x, XM_R_DESCRIPTOR_UNALIGNED, mfn, 0, slot);
	if (!check_descriptor(&desc))
		return xm_refuse(x, XM_R_DESCRIPTOR, mfn, XM_PGT_SEG_DESC, slot);
	if (!xm_get_page(x, mfn, d->domid))
		return xm_refuse(x, XM_R_DESCRIPTOR_NOT_OWNED, mfn, 0, slot);
	/* A page that was a descriptor page is one again for the time of the write, in use or not. */
	type = xm_type(&x->frame[mfn]) == XM_PGT_SEG_DESC ? XM_PGT_SEG_DESC : XM_PGT_WRITABLE;
	if (xm_get_page_type(x, mfn, type)) {
		xm_put_page(x, mfn);
		return xm_refuse(x, XM_R_DESCRIPTOR_BUSY, mfn, 0, slot);
	}
	if (xm_has_frame(x->machine, mfn))
		xm_poke(x->machine, pa, desc);
	xm_put_page_type(x, mfn);
	xm_put_page(x, mfn);
	return XM_R_NONE;
}

int xm_update_descriptor(struct xm_domain *d, uint64_t pa, uint64_t desc, struct xm_result *ret)
{
	int reason;

	if (!d->alive || d->vcpu.user_mode)
		return XM_E_STATE;
	memset(&d->xen->at, 0, sizeof(d->xen->at));
	reason = update_descriptor(d, pa, desc);
	ret->done = !reason;
	return xm_finish(d, reason, ret);
}

/* ---- the LDT ------------------------------------------------------------------------------------------------------ */

/* 1 when there were any pages. */
int xm_destroy_ldt(struct xm_domain *d)
{
	int any = 0;

	for (unsigned i = 0; i < XM_LDT_PAGES; i++) {
		any |= d->vcpu.ldt[i] != 0;
		drop_page(d, &d->vcpu.ldt[i]);
	}
	return any;
}

/* MMUEXT_SET_LDT: the pages are looked at when they are first used. */
int xm_set_ldt(struct xm_domain *d, uint64_t va, uint64_t arg2)
{
	struct xm_machine *m = d->xen->machine;
	uint32_t ents = (uint32_t)arg2;

	if (ents > XM_LDT_PAGES * XM_DESCRIPTORS_IN_PAGE || (ents && (va % XM_PAGE_SIZE || !xm_addr_ok(va))))
		return xm_refuse(d->xen, XM_R_LDT, 0, 0, 0);
	if (!ents)
		va = 0;
	if (va == d->vcpu.ldt_base && ents == d->vcpu.ldt_ents)
		return XM_R_NONE;
	if (xm_destroy_ldt(d))
		xm_flush_tlb(d);
	XM_PUT(m, d->vcpu.ldt_base, va);
	XM_PUT(m, d->vcpu.ldt_ents, ents);
	return XM_R_NONE;
}

/* pv_map_ldt_shadow_page: the page of the LDT with this byte, found by the kernel's tables whatever mode is running. */
static int map_ldt_page(struct xm_domain *d, unsigned offset)
{
	struct xm_machine *m = d->xen->machine;
	uint64_t va = d->vcpu.ldt_base + offset, l1e_pa, l1e, mfn;

	if (!xm_addr_ok(va))
		return 0;
	l1e_pa = xm_find_entry(d, d->vcpu.kernel_root, va, 1);
	if (l1e_pa == ~0ULL)
		return 0;
	l1e = xm_peek(m, l1e_pa);
	mfn = xm_entry_mfn(l1e);
	if (!(l1e & XM_PTE_P) || get_descriptor_page(d, mfn))
		return 0;
	XM_PUT(m, d->vcpu.ldt[offset >> XM_PAGE_SHIFT], mfn);
	return 1;
}

/* ---- selectors ---------------------------------------------------------------------------------------------------- */

static int segment_fault(struct xm_domain *d, int kind, unsigned code, struct xm_guest_fault *ret)
{
	ret->fault = (uint8_t)kind;
	ret->error_code = code;
	ret->user = (uint8_t)d->vcpu.user_mode;
	return 0;
}

/* A page of the LDT that Xen cannot map: the fault becomes one at the address that the guest knows. */
static int ldt_fault(struct xm_domain *d, unsigned offset, struct xm_guest_fault *ret)
{
	struct xm_machine *m = d->xen->machine;
	uint64_t va = d->vcpu.ldt_base + offset;

	if ((uint64_t)((int64_t)(va << 16) >> 16) != va)
		return segment_fault(d, XM_FAULT_GP, (offset & ~SEL_RPL) | SEL_TI, ret);
	ret->cr2 = va;
	XM_PUT(m, d->counters.faults, d->counters.faults + 1);
	return segment_fault(d, XM_FAULT_PF, d->vcpu.user_mode ? XM_PF_U : 0, ret);
}

/* The machine address of a selector's descriptor; all ones for one that is zero.  0 with the fault. */
static int find_descriptor(struct xm_domain *d, unsigned selector, uint64_t *pa_ret, struct xm_guest_fault *ret)
{
	unsigned offset = selector & SEL_INDEX, page = offset >> XM_PAGE_SHIFT;
	uint64_t mfn;

	if (selector & SEL_TI) {
		if (offset / 8 >= d->vcpu.ldt_ents)
			return segment_fault(d, XM_FAULT_GP, selector & ~SEL_RPL, ret);
		if (!d->vcpu.ldt[page] && !map_ldt_page(d, offset))
			return ldt_fault(d, offset, ret);
		mfn = d->vcpu.ldt[page];
	} else {
		mfn = page < XM_GDT_PAGES ? d->vcpu.gdt[page] : 0;
	}
	*pa_ret = mfn ? (mfn << XM_PAGE_SHIFT) + (offset & (XM_PAGE_SIZE - 1)) : ~0ULL;
	return 1;
}

/* [SDM vol. 2, MOV] Loading a data segment register in ring 3: a readable segment, privilege, presence, in this order. */
static int segment_refused(uint64_t desc)
{
	unsigned dpl = (unsigned)(desc >> 45) & 3;

	if (!(desc & DESC_S) || (desc & (DESC_CODE | DESC_READABLE)) == DESC_CODE)
		return XM_FAULT_GP;
	/* Ring 3 and any RPL ask for DPL 3, but for conforming code. */
	if ((desc & (DESC_CODE | DESC_CONFORMING)) != (DESC_CODE | DESC_CONFORMING) && dpl < 3)
		return XM_FAULT_GP;
	return desc & DESC_P ? XM_FAULT_NONE : XM_FAULT_NP;
}

int xm_guest_load_selector(struct xm_domain *d, uint32_t selector, struct xm_guest_fault *fault)
{
	struct xm_machine *m = d->xen->machine;
	uint64_t pa, desc = 0;
	int kind;

	if (!d->alive)
		return XM_E_STATE;
	if (selector >> 16)
		return XM_E_ARGUMENT;
	memset(fault, 0, sizeof(*fault));
	if (selector <= SEL_RPL || (selector | SEL_RPL) == FLAT_RING3_CS32 || (selector | SEL_RPL) == FLAT_RING3_DS32 ||
	    (selector | SEL_RPL) == FLAT_RING3_CS64)
		return XM_OK;
	if (!find_descriptor(d, selector, &pa, fault))
		return XM_OK;
	if (pa != ~0ULL && !xm_has_frame(m, pa >> XM_PAGE_SHIFT)) {
		fault->fault = XM_FAULT_BUS;
		return XM_OK;
	}
	if (pa != ~0ULL)
		desc = xm_peek(m, pa);
	kind = segment_refused(desc);
	if (kind)
		segment_fault(d, kind, selector & ~SEL_RPL, fault);
	else if (!(desc & DESC_ACCESSED))
		xm_poke(m, pa, desc | DESC_ACCESSED);
	return XM_OK;
}

uint64_t xm_domain_gdt_frame(const struct xm_domain *d, uint32_t page)
{
	return page < XM_GDT_PAGES ? d->vcpu.gdt[page] : 0;
}

uint64_t xm_domain_ldt_frame(const struct xm_domain *d, uint32_t page)
{
	return page < XM_LDT_PAGES ? d->vcpu.ldt[page] : 0;
}

/* ---- what is held ------------------------------------------------------------------------------------------------- */

/* The frame in the i-th place of GDT and LDT together. */
static uint64_t place(const struct xm_domain *d, unsigned i)
{
	return i < XM_GDT_PAGES ? d->vcpu.gdt[i] : d->vcpu.ldt[i - XM_GDT_PAGES];
}

/* The descriptor pages of a domain, added to a list that has n items already; their new number. */
size_t xm_held_descriptors(const struct xm_domain *d, struct xm_held *ret, size_t max, size_t n)
{
	for (unsigned i = 0; i < XM_GDT_PAGES + XM_LDT_PAGES; i++) {
		struct xm_held h = {.mfn = place(d, i), .type = XM_PGT_SEG_DESC, .count = 1};
		unsigned before = 0;

		while (before < i && place(d, before) != h.mfn)
			before++;
		if (!h.mfn || before < i)
			continue;
		for (unsigned j = i + 1; j < XM_GDT_PAGES + XM_LDT_PAGES; j++)
			h.count += place(d, j) == h.mfn;
		if (n < max)
			ret[n] = h;
		n++;
	}
	return n;
}

/* ---- a captured system -------------------------------------------------------------------------------------------- */

/* One of the references found on this frame gets a holder. */
static int claim(struct xm_xen *x, uint64_t mfn)
{
	for (uint64_t i = 0; i < x->nheld; i++) {
		struct xm_held *h = &x->held[i];

		if (h->mfn != mfn || h->type != XM_PGT_SEG_DESC)
			continue;
		if (--h->count == 0)
			*h = x->held[--x->nheld];
		return 1;
	}
	return 0;
}

static int adopt_pages(struct xm_domain *d, const struct xm_cpu *cpu, uint64_t va, uint64_t *pages, unsigned n)
{
	struct xm_walk w;

	for (unsigned i = 0; i < n; i++) {
		xm_walk(cpu, va + i * XM_PAGE_SIZE, XM_ACC_READ, &w);
		if (w.fault == XM_FAULT_BUS)
			return 0;
		if (!w.fault && claim(d->xen, w.pa >> XM_PAGE_SHIFT))
			pages[i] = w.pa >> XM_PAGE_SHIFT;
	}
	return 1;
}

/* Where the image lacks Xen's tables for it, a descriptor page that nothing else explains is the GDT's. */
void xm_adopt_descriptor_tables(struct xm_domain *d, const struct xm_cpu *cpu)
{
	struct xm_xen *x = d->xen;
	unsigned page = 0;

	if (adopt_pages(d, cpu, GDT_VIRT_START, d->vcpu.gdt, XM_GDT_PAGES) &&
	    adopt_pages(d, cpu, LDT_VIRT_START, d->vcpu.ldt, XM_LDT_PAGES))
		return;
	for (uint64_t i = 0; i < x->nheld && page < XM_GDT_PAGES;) {
		uint64_t mfn = x->held[i].mfn;

		if (x->held[i].type != XM_PGT_SEG_DESC || x->frame[mfn].owner != d->domid || !claim(x, mfn)) {
			i++;
			continue;
		}
		d->vcpu.gdt[page++] = mfn;
	}
}
