/*
 * flush.c - what each operation makes a processor forget of cached translations.
 *
 * Knows: the invalidations that the manual requires (SDM vol. 3A, 4.10.4.1; INVPCID in vol. 2; APM vol. 2, 5.5), as
 * values made from register values alone.  Does not know: who caches, how, or what else a cache may drop of its own
 * accord (a processor may always drop more).
 *
 *	operation                        TLB entries           global ones     paging-structure caches
 *	MOV to CR3                       of the new PCID       kept            of the new PCID
 *	MOV to CR3, PCIDE and bit 63     kept                  kept            kept
 *	MOV to CR4, PGE changed          all                   all             all
 *	MOV to CR4, PCIDE 1 to 0         all                   all             all
 *	MOV to CR4, SMEP 0 to 1          of the PCID           of the PCID     of the PCID
 *	INVLPG                           of PCID and address   of the address  of the PCID; with EFER.TCE, and address
 *	INVPCID individual-address       of PCID and address   kept            of PCID and address
 *	INVPCID single-context           of the PCID           kept            of the PCID
 *	INVPCID all-context with global  all                   all             all
 *	INVPCID all-context              all                   kept            all
 *	#PF                              of PCID and address   of the address  of PCID and address
 *
 * MOV to CR0 drops everything when it clears PG, which ends 64-bit mode and is refused here; WP, CD and NW drop nothing
 * of necessity.  Nor does WRMSR of IA32_EFER: no manual names NXE among the invalidations.
 */
#include "../internal.h"
#include "rights.h"

#define NOTHING ((struct xm_flush){0, 0, XM_FLUSH_NONE, XM_FLUSH_NONE, 0, 0})

/* [SDM 4.10.1] */
unsigned xm_pcid(uint64_t cr3, uint64_t cr4)
{
	return cr4 & XM_CR4_PCIDE ? cr3 & 0xfff : 0;
}

struct xm_flush xm_flush_mov_cr3(uint64_t value, uint64_t cr4)
{
	if ((cr4 & XM_CR4_PCIDE) && (value & XM_CR3_NO_FLUSH))
		return NOTHING;
	return (struct xm_flush){0, xm_pcid(value, cr4), XM_FLUSH_PCID, XM_FLUSH_PCID, 0, 0};
}

struct xm_flush xm_flush_mov_cr4(uint64_t cr3, uint64_t old, uint64_t value)
{
	uint64_t set = value & ~old, cleared = old & ~value;

	/* LA57 cannot change while translations exist; a constructor's choice of it starts from none. */
	if (((set | cleared) & (XM_CR4_PGE | XM_CR4_LA57)) || (cleared & XM_CR4_PCIDE))
		return (struct xm_flush){0, 0, XM_FLUSH_ALL, XM_FLUSH_ALL, 1, 0};
	if (set & XM_CR4_SMEP)
		return (struct xm_flush){0, xm_pcid(cr3, old), XM_FLUSH_PCID, XM_FLUSH_PCID, 1, 0};
	return NOTHING;
}

/* INVLPG of an address that is not canonical does nothing (SDM vol. 2).  AMD's EFER.TCE keeps the upper entries that do
 * not lead to it (APM vol. 2, 3.1.7). */
struct xm_flush xm_flush_invlpg(uint64_t cr3, uint64_t cr4, uint64_t efer, uint64_t va)
{
	uint8_t structures = efer & XM_EFER_TCE ? XM_FLUSH_ADDRESS : XM_FLUSH_PCID;

	if (!xm_canonical(va, cr4 & XM_CR4_LA57 ? 5 : 4))
		return NOTHING;
	return (struct xm_flush){va, xm_pcid(cr3, cr4), XM_FLUSH_ADDRESS, structures, 1, 0};
}

int xm_flush_invpcid(uint64_t cr4, uint64_t type, uint64_t pcid, uint64_t va, struct xm_flush *ret)
{
	if (type > XM_INVPCID_ALL_BUT_GLOBAL || pcid >> 12)
		return XM_E_GP;
	if (type <= XM_INVPCID_SINGLE && pcid && !(cr4 & XM_CR4_PCIDE))
		return XM_E_GP;
	if (type == XM_INVPCID_ADDRESS && !xm_canonical(va, cr4 & XM_CR4_LA57 ? 5 : 4))
		return XM_E_GP;
	if (type == XM_INVPCID_ADDRESS)
		*ret = (struct xm_flush){va, (uint32_t)pcid, XM_FLUSH_ADDRESS, XM_FLUSH_ADDRESS, 0, 0};
	else if (type == XM_INVPCID_SINGLE)
		*ret = (struct xm_flush){0, (uint32_t)pcid, XM_FLUSH_PCID, XM_FLUSH_PCID, 0, 0};
	else
		*ret = (struct xm_flush){0, 0, XM_FLUSH_ALL, XM_FLUSH_ALL, type == XM_INVPCID_ALL, 0};
	return XM_OK;
}

/* The manual's reason, that the fault does not recur, takes global entries along whatever PCID they were made under. */
struct xm_flush xm_flush_page_fault(uint64_t cr3, uint64_t cr4, uint64_t va)
{
	return (struct xm_flush){va, xm_pcid(cr3, cr4), XM_FLUSH_ADDRESS, XM_FLUSH_ADDRESS, 1, 0};
}
