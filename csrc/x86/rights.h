/*
 * rights.h - the rules of paging as pure functions of integers, so that a proof can read them.
 *
 * Knows: which bits of an entry are reserved, what the rights of a complete translation allow, the error code.
 * Does not know: memory, pointers, or how the entries were found.
 *
 * SDM vol. 3A: 4.5 (entry formats), 4.6 (access rights), 4.7 (page-fault exceptions); APM vol. 2: 5.3, 5.6.
 */
#ifndef XM_X86_RIGHTS_H
#define XM_X86_RIGHTS_H

#include "../xenmmu.h"

/* A linear address from its 48 or 57 implemented bits; canonical form is to be equal to it (SDM vol. 1, 3.3.7.1). */
static inline uint64_t xm_sign_extend(uint64_t va, unsigned levels)
{
	unsigned shift = levels == 5 ? 7 : 16;

	return (uint64_t)((int64_t)(va << shift) >> shift);
}

static inline int xm_canonical(uint64_t va, unsigned levels)
{
	return xm_sign_extend(va, levels) == va;
}

/* Does an entry of this level with bit 7 set map a page?  (In a PML4E or PML5E bit 7 is reserved; at level 1 it is
 * PAT.)  Without 1-GByte pages it is reserved in a PDPTE too, which xm_rsvd_mask says. */
static inline int xm_is_large(uint64_t entry, unsigned level)
{
	return (level == 2 || level == 3) && (entry & XM_PTE_PS) != 0;
}

/* Reserved bits of a present entry (SDM 4.5.4 tables).  AMD's bit 8 is reserved in a PML5E and a PML4E and ignored in a
 * PDPTE that refers to a table: KVM's masks since Linux commit 5ecad245de2a; APM vol. 2, 5.3.3 was not seen. */
static inline uint64_t xm_rsvd_mask(unsigned level, int large, unsigned maxphyaddr, int nxe, int amd, int gbpages)
{
	uint64_t mask = XM_PTE_ADDR & ~((1ULL << maxphyaddr) - 1);

	if (!nxe)
		mask |= XM_PTE_NX;
	if (level >= 4)
		mask |= XM_PTE_PS;
	if (level == 3 && large && !gbpages)
		mask |= XM_PTE_PS;
	if (level == 3 && large)
		mask |= 0x3fffe000ULL;
	if (level == 2 && large)
		mask |= 0x1fe000ULL;
	if (amd && level >= 4)
		mask |= XM_PTE_G;
	return mask;
}

/* Rights of a translation: U/S and R/W are the AND over its entries, XD the OR; the protection key is the leaf's. */
struct xm_rights {
	uint64_t all;   /* AND of the entries */
	uint64_t upper; /* AND of those above the leaf */
	uint64_t any;   /* OR of the entries */
	uint64_t leaf;
};

/* Is the access made with user rights?  An implicit access is a supervisor access whatever the CPL (SDM 4.6). */
static inline int xm_user_access(uint32_t access)
{
	return (access & XM_ACC_USER) && !(access & XM_ACC_IMPLICIT);
}

/* Does the processor make such accesses?  Those of a shadow stack with CR4.CET only. */
static inline int xm_has_access(uint32_t access, uint64_t cr4)
{
	return !(access & XM_ACC_SHADOW_STACK) || (cr4 & XM_CR4_CET);
}

/* Protection keys (SDM 4.6.2): data accesses only; PKRU for user-mode addresses, PKRS for supervisor-mode ones. */
static inline int xm_key_denies(struct xm_rights r, uint32_t access, uint64_t cr0, uint64_t cr4, uint32_t pkru,
				uint32_t pkrs)
{
	int user_page = (r.all & XM_PTE_US) != 0;
	int user = xm_user_access(access);
	uint32_t reg = user_page ? pkru : pkrs;
	uint32_t key = (uint32_t)(r.leaf >> 59) & 15;
	uint32_t ad = (reg >> (2 * key)) & 1;
	uint32_t wd = (reg >> (2 * key + 1)) & 1;

	if (access & XM_ACC_EXECUTE)
		return 0;
	if (user_page ? !(cr4 & XM_CR4_PKE) : (!(cr4 & XM_CR4_PKS) || user))
		return 0;
	if (ad)
		return 1;
	return wd && (access & XM_ACC_WRITE) && (user || (cr0 & XM_CR0_WP));
}

/* A page of a shadow stack is one that ordinary writes may not touch, marked by what no processor makes: a dirty leaf
 * that is read-only, below entries that are not (SDM 4.6). */
static inline int xm_shadow_stack_page(struct xm_rights r)
{
	return (r.upper & XM_PTE_RW) && !(r.leaf & XM_PTE_RW) && (r.leaf & XM_PTE_D);
}

/* The first rule that denies an access to a complete translation, or XM_STOP_NONE (SDM 4.6.1).  The protection key is
 * asked last: it is a bit of the error code of its own, whatever else denied. */
static inline int xm_rights_stop(struct xm_rights r, uint32_t access, uint64_t cr0, uint64_t cr4, uint64_t efer, int ac)
{
	int user_page = (r.all & XM_PTE_US) != 0;
	int user = xm_user_access(access);

	if (user && !user_page)
		return XM_STOP_USER_TO_SUPERVISOR;
	if (access & XM_ACC_EXECUTE) {
		if ((efer & XM_EFER_NXE) && (r.any & XM_PTE_NX))
			return XM_STOP_EXECUTE_DISABLED;
		if (!user && user_page && (cr4 & XM_CR4_SMEP))
			return XM_STOP_SMEP;
		return XM_STOP_NONE;
	}
	/* [SDM 4.6.1] A shadow stack belongs to one mode; neither SMAP nor CR0.WP (which CR4.CET needs) is asked. */
	if (access & XM_ACC_SHADOW_STACK) {
		if (!user && user_page)
			return XM_STOP_SHADOW_STACK_MODE;
		return xm_shadow_stack_page(r) ? XM_STOP_NONE : XM_STOP_SHADOW_STACK;
	}
	if (!user && user_page && (cr4 & XM_CR4_SMAP) && (!ac || (access & XM_ACC_IMPLICIT)))
		return XM_STOP_SMAP;
	if ((access & XM_ACC_WRITE) && !(r.all & XM_PTE_RW) && (user || (cr0 & XM_CR0_WP)))
		return XM_STOP_WRITE_TO_READ_ONLY;
	return XM_STOP_NONE;
}

/* The bits of an error code that come from the access alone (SDM 4.7): W/R, U/S, I/D, SS. */
static inline int32_t xm_error_access(uint32_t access, uint64_t cr4, uint64_t efer)
{
	int32_t code = 0;

	if (access & XM_ACC_WRITE)
		code |= XM_PF_W;
	if (xm_user_access(access))
		code |= XM_PF_U;
	if ((access & XM_ACC_EXECUTE) && ((cr4 & XM_CR4_SMEP) || (efer & XM_EFER_NXE)))
		code |= XM_PF_I;
	if (access & XM_ACC_SHADOW_STACK)
		code |= XM_PF_SS;
	return code;
}

/* Entry i of a path after an allowed access (SDM 4.8): A in each entry used, D in the leaf of a write. */
static inline uint64_t xm_entry_after(uint64_t entry, int leaf, uint32_t access)
{
	entry |= XM_PTE_A;
	if (leaf && (access & XM_ACC_WRITE))
		entry |= XM_PTE_D;
	return entry;
}

#endif
