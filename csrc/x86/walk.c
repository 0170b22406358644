/*
 * walk.c - the page walk.
 *
 * Knows: how IA-32e paging turns a linear address into a physical one (SDM vol. 3A, 4.5; 5-level: 4.5 with CR4.LA57),
 * and that A and D are set afterwards (4.8).  Does not know: who asks, or what the tables are for.
 *
 *	63        48 47    39 38    30 29    21 20    12 11         0
 *	sign of 47   PML4     PDPT     PD       PT       byte in page
 *
 * The manual's order, which decides the error code: find the translation first, from the root down, and stop at the
 * first entry that is not present (P=0) or has a reserved bit set (P and RSVD); only a complete translation is judged
 * for rights, from the AND of U/S and R/W and the OR of XD over all its entries.
 */
#include "walk.h"

const char *xm_stop_text(int stop)
{
	static const char *const text[] = {
		[XM_STOP_NONE] = "allowed",
		[XM_STOP_NOT_CANONICAL] = "the address is not canonical",
		[XM_STOP_NOT_PRESENT] = "the entry is not present (P=0)",
		[XM_STOP_RESERVED_BIT] = "a reserved bit of the entry is set",
		[XM_STOP_USER_TO_SUPERVISOR] = "user access to a supervisor page (U/S=0)",
		[XM_STOP_WRITE_TO_READ_ONLY] = "write to a read-only page (R/W=0)",
		[XM_STOP_EXECUTE_DISABLED] = "fetch from an execute-disabled page (XD=1)",
		[XM_STOP_SMEP] = "supervisor fetch from a user page (CR4.SMEP)",
		[XM_STOP_SMAP] = "supervisor data access to a user page (CR4.SMAP)",
		[XM_STOP_PROTECTION_KEY] = "the protection key denies the access",
		[XM_STOP_SHADOW_STACK] = "not a shadow-stack page (R/W=0 and D=1 in the leaf, R/W=1 above)",
		[XM_STOP_SHADOW_STACK_MODE] = "supervisor shadow-stack access to a user page",
		[XM_STOP_OUTSIDE_MACHINE] = "the frame lies outside machine memory",
		[XM_STOP_NO_CET] = "shadow-stack access while CR4.CET is 0",
	};

	return stop >= 0 && stop < (int)(sizeof(text) / sizeof(text[0])) ? text[stop] : "unknown rule";
}

static inline struct xm_start root(const struct xm_cpu *cpu)
{
	return (struct xm_start){cpu->cr3 & XM_PTE_ADDR, {~0ULL, ~0ULL, 0, 0}, cpu->levels};
}

/* Steps of the manual are marked [1]..[4]. */
static inline int walk(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_start start, struct xm_walk *w)
{
	const struct xm_machine *m = cpu->machine;
	int32_t code = xm_error_access(access, cpu->cr4, cpu->efer);
	struct xm_rights rights = start.rights;
	uint64_t table = start.table;
	unsigned level = start.level, shift;

	w->pa = 0;
	w->page_size = 0;
	w->nsteps = 0;
	w->top_level = (uint8_t)start.level;
	if (!xm_has_access(access, cpu->cr4))
		return xm_fault(w, XM_FAULT_UD, XM_STOP_NO_CET, 0);

	/* [1] Canonical form, before any entry is read. */
	if (!xm_canonical(va, cpu->levels))
		return xm_fault(w, access & XM_ACC_STACK ? XM_FAULT_SS : XM_FAULT_GP, XM_STOP_NOT_CANONICAL, 0);

	/* [2] Down to an entry that maps a page. */
	for (;; level--) {
		shift = 3 + 9 * level;
		uint64_t entry_pa = table + ((va >> shift) & 511) * 8;

		if (!xm_has_frame(m, entry_pa >> XM_PAGE_SHIFT))
			return xm_fault(w, XM_FAULT_BUS, XM_STOP_OUTSIDE_MACHINE, 0);
		uint64_t entry = xm_peek(m, entry_pa);
		int large = xm_is_large(entry, level);

		w->steps[w->nsteps++] = (struct xm_step){entry_pa, entry};
		if (!(entry & XM_PTE_P))
			return xm_fault(w, XM_FAULT_PF, XM_STOP_NOT_PRESENT, code);
		if (entry & (large ? cpu->rsvd_large[level] : cpu->rsvd[level]))
			return xm_fault(w, XM_FAULT_PF, XM_STOP_RESERVED_BIT, code | XM_PF_P | XM_PF_RSVD);
		rights.upper = rights.all;
		rights.all &= entry;
		rights.any |= entry;
		rights.leaf = entry;
		if (large || level == 1)
			break;
		table = entry & XM_PTE_ADDR;
	}

	/* [3] Rights of the complete translation.  [4] The physical address. */
	return xm_judge(cpu, rights, 1ULL << shift, va, access, code, w);
}

int xm_walk(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_walk *ret)
{
	return walk(cpu, va, access, root(cpu), ret);
}

/* The entries of the path as the access leaves them.  A recursive path uses one entry several times, and may use its
 * leaf as an upper entry too, so each is read again before it is written. */
static void set_accessed(const struct xm_cpu *cpu, const struct xm_walk *w, uint32_t access)
{
	struct xm_machine *m = cpu->machine;
	int used = w->fault ? w->nsteps - 1 : w->nsteps;

	if (w->fault && w->fault != XM_FAULT_PF)
		return;
	if (w->fault && cpu->a_on_fault != XM_A_ON_FAULT_UPPER)
		return;
	for (int i = 0; i < used; i++) {
		uint64_t old = xm_peek(m, w->steps[i].entry_pa);
		uint64_t new = xm_entry_after(old, i == w->nsteps - 1, access);

		if (new != old)
			xm_poke(m, w->steps[i].entry_pa, new);
	}
}

/* With caches. */
static int cached_access(struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_walk *ret)
{
	struct xm_start start = root(cpu);

	if (!xm_tlb_access(cpu, va, access, &start, ret)) {
		walk(cpu, va, access, start, ret);
		set_accessed(cpu, ret, access);
		if (!ret->fault)
			xm_tlb_fill(cpu, va, access, start, ret);
	}
	/* [SDM 4.10.4.1] What is cached may be why it faulted: it goes, and a retry sees the tables. */
	if (ret->fault == XM_FAULT_PF)
		xm_cpu_flush(cpu, xm_flush_page_fault(cpu->cr3, cpu->cr4, va));
	return ret->fault;
}

int xm_access(struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_walk *ret)
{
	if (cpu->tlb)
		return cached_access(cpu, va, access, ret);
	walk(cpu, va, access, root(cpu), ret);
	set_accessed(cpu, ret, access);
	if (cpu->history && ret->fault == XM_FAULT_PF)
		xm_cpu_flush(cpu, xm_flush_page_fault(cpu->cr3, cpu->cr4, va));
	return ret->fault;
}

uint64_t xm_translate(const struct xm_cpu *cpu, const uint64_t *vas, uint64_t n, uint32_t access, uint64_t *pas,
		      int32_t *error_codes)
{
	struct xm_walk w;
	uint64_t i;

	for (i = 0; i < n; i++) {
		int kind = walk(cpu, vas[i], access, root(cpu), &w);

		if (kind == XM_FAULT_BUS)
			break;
		pas[i] = w.pa;
		error_codes[i] = w.error_code;
	}
	return i;
}

/* ---- loads and stores --------------------------------------------------------------------------------------------- */

/* An access of `size` bytes lies in one page or straddles two; found first, both, so that a fault in either leaves
 * nothing done. */
struct span {
	uint64_t pa[2];
	unsigned n[2];
};

static int find_span(struct xm_cpu *cpu, uint64_t va, unsigned size, uint32_t access, struct span *s, uint64_t *cr2,
		     struct xm_walk *w)
{
	unsigned room = XM_PAGE_SIZE - (unsigned)(va & (XM_PAGE_SIZE - 1));
	uint64_t outside_va = 0, outside_pa = 0;
	int outside = 0;

	if (size != 1 && size != 2 && size != 4 && size != 8)
		return XM_E_ARGUMENT;
	/* The whole access is checked for canonical form before any of it is walked. */
	if (xm_has_access(access, cpu->cr4) &&
	    (!xm_canonical(va, cpu->levels) || !xm_canonical(va + size - 1, cpu->levels))) {
		*cr2 = va;
		w->nsteps = 0;
		xm_fault(w, access & XM_ACC_STACK ? XM_FAULT_SS : XM_FAULT_GP, XM_STOP_NOT_CANONICAL, 0);
		return XM_OK;
	}
	s->n[0] = size < room ? size : room;
	s->n[1] = size - s->n[0];
	for (int i = 0; i < 2 && s->n[i]; i++) {
		*cr2 = va + (i ? s->n[0] : 0);
		xm_access(cpu, *cr2, access, w);
		if (w->fault)
			return XM_OK;
		s->pa[i] = w->pa;
		if (!outside && !xm_has_frame(cpu->machine, w->pa >> XM_PAGE_SHIFT)) {
			outside = 1;
			outside_va = *cr2;
			outside_pa = w->pa;
		}
	}
	/* A page fault comes before any byte moves, so before it matters what lies behind the first page. */
	if (outside) {
		*cr2 = outside_va;
		w->pa = outside_pa;
		xm_fault(w, XM_FAULT_BUS, XM_STOP_OUTSIDE_MACHINE, 0);
	}
	return XM_OK;
}

static uint64_t span_value(const struct xm_cpu *cpu, const struct span *s)
{
	uint64_t value = 0;

	memcpy(&value, cpu->machine->base + s->pa[0], s->n[0]);
	if (s->n[1])
		memcpy((uint8_t *)&value + s->n[0], cpu->machine->base + s->pa[1], s->n[1]);
	return value;
}

static void span_put(struct xm_cpu *cpu, const struct span *s, uint64_t value)
{
	xm_write(cpu->machine, s->pa[0], &value, s->n[0]);
	if (s->n[1])
		xm_write(cpu->machine, s->pa[1], (uint8_t *)&value + s->n[0], s->n[1]);
}

int xm_cpu_load(struct xm_cpu *cpu, uint64_t va, unsigned size, uint32_t access, uint64_t *value_ret, uint64_t *cr2_ret,
		struct xm_walk *ret)
{
	struct span s;
	int status = find_span(cpu, va, size, access, &s, cr2_ret, ret);

	if (!status && !ret->fault)
		*value_ret = span_value(cpu, &s);
	return status;
}

int xm_cpu_store(struct xm_cpu *cpu, uint64_t va, unsigned size, uint32_t access, uint64_t value, uint64_t *cr2_ret,
		 struct xm_walk *ret)
{
	struct span s;
	int status = find_span(cpu, va, size, access | XM_ACC_WRITE, &s, cr2_ret, ret);

	if (!status && !ret->fault)
		span_put(cpu, &s, value);
	return status;
}

int xm_cpu_cmpxchg(struct xm_cpu *cpu, uint64_t va, unsigned size, uint32_t access, uint64_t expected, uint64_t value,
		   uint64_t *old_ret, uint64_t *cr2_ret, struct xm_walk *ret)
{
	struct span s;
	int status = find_span(cpu, va, size, access | XM_ACC_WRITE, &s, cr2_ret, ret);

	if (status || ret->fault)
		return status;
	*old_ret = span_value(cpu, &s);
	if (!((*old_ret ^ expected) << (64 - 8 * size)))
		span_put(cpu, &s, value);
	return XM_OK;
}
