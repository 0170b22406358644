/*
 * layout.h - where NetBSD/amd64 puts things in the address space, and what it does with the bits of an entry.
 *
 * Knows: the L4 slots, the linear maps, the kernel's own virtual pages (amd64/include/pmap.h 1.12.2.3, 2007-10-25;
 * vmparam.h 1.15.2.1).  Does not know: who walks.
 *
 *	slot	  0..254  user			255  PTE_BASE: the loaded L4 itself
 *		256..271  Xen's (native: 256 is the kernel's)
 *		     320  kernel virtual memory	510  APTE_BASE: another pmap's L4	511  kernel image
 *
 * Of the kernel's virtual memory one GiB has tables: its lower half is for pmap_kenter_pa's callers, the upper half
 * holds the zero and copy windows and the L4 of each pmap.
 */
#ifndef XM_NETBSD_LAYOUT_H
#define XM_NETBSD_LAYOUT_H

#include "../xenmmu.h"

#define XM_NBPD_L1 0x1000ULL
#define XM_NBPD_L2 0x200000ULL
#define XM_NBPD_L3 0x40000000ULL
#define XM_NBPD_L4 0x8000000000ULL

#define XM_KVA_CALLERS 0x20000000ULL /* bytes of kernel virtual memory for callers */
#define XM_KVA_L1_CALLERS 256        /* L1 tables that map them */
#define XM_KVA_L1_TABLES 512
#define XM_KVA_ZERO_WINDOW 0 /* pages of the upper half */
#define XM_KVA_SRC_WINDOW 1
#define XM_KVA_DST_WINDOW 2
#define XM_KVA_PDIRS 8

#define XM_VM_PROT_ALL (XM_VM_PROT_READ | XM_VM_PROT_WRITE | XM_VM_PROT_EXECUTE)

/* plN_pi: the index inside one table. */
static inline unsigned xm_pl_pi(uint64_t va, unsigned level)
{
	return (unsigned)(va >> (3 + 9 * level)) & 511;
}

/* Bytes that an entry of this level maps. */
static inline uint64_t xm_nbpd(unsigned level)
{
	return 1ULL << (3 + 9 * level);
}

static inline int xm_pg_valid(uint64_t entry)
{
	return (entry & XM_PG_V) != 0;
}

#endif
