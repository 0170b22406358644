/*
 * walk.h - what the walk and the caches share: the verdict on a translation, wherever it was found.
 *
 * Knows: a processor's control state and the rules of rights.h.  Does not know: tables or cached entries.
 */
#ifndef XM_X86_WALK_H
#define XM_X86_WALK_H

#include "../internal.h"
#include "rights.h"

static inline int xm_fault(struct xm_walk *w, int kind, int stop, int32_t error_code)
{
	w->fault = (uint8_t)kind;
	w->stop = (uint8_t)stop;
	w->error_code = error_code;
	return kind;
}

/* [SDM 4.6, 4.7] Judge a complete translation and finish the result: the fault, or the physical address.  In a large
 * page the address bits below the page size are PAT and reserved ones, which the search has seen clear. */
static inline int xm_judge(const struct xm_cpu *cpu, struct xm_rights rights, uint64_t page_size, uint64_t va,
			   uint32_t access, int32_t code, struct xm_walk *w)
{
	int stop = xm_rights_stop(rights, access, cpu->cr0, cpu->cr4, cpu->efer, cpu->ac);

	w->page_size = page_size;
	if (xm_key_denies(rights, access, cpu->cr0, cpu->cr4, cpu->pkru, cpu->pkrs))
		return xm_fault(w, XM_FAULT_PF, stop ? stop : XM_STOP_PROTECTION_KEY, code | XM_PF_P | XM_PF_PK);
	if (stop)
		return xm_fault(w, XM_FAULT_PF, stop, code | XM_PF_P);
	w->pa = (rights.leaf & XM_PTE_ADDR & ~(page_size - 1)) | (va & (page_size - 1));
	return xm_fault(w, XM_FAULT_NONE, XM_STOP_NONE, -1);
}

/* Where a walk begins: at the root, or in the table that a paging-structure cache knows for the address, with the
 * rights combined of the entries above. */
struct xm_start {
	uint64_t table;
	struct xm_rights rights;
	unsigned level; /* of the table */
};

/* What the caches say of an access: 1 with the result finished; 0 when it must be walked, from *start. */
int xm_tlb_access(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_start *start, struct xm_walk *w);
/* Remember what the walk w, of an allowed access, read. */
void xm_tlb_fill(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_start start,
		 const struct xm_walk *w);

/* For the history of a processor that has one: a flush; a register written, with how many events there were before. */
void xm_history_flush(struct xm_cpu *cpu, struct xm_flush flush);
void xm_history_registers(struct xm_cpu *cpu, uint64_t events_before);
#endif
