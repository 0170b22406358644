/*
 * profile.c - what differs between the versions of Xen that can be asked for, as one list of rules each.
 *
 * Knows: Xen 4.17, compared with the real one (tests/oracles/xen), and Xen 3.1 of May 2007, read from its source and
 * compared with nothing: there is no hypervisor of that age to ask.  Does not know: where a rule is applied.
 *
 * Xen 3.1.0: xen/arch/x86/mm.c (adjust_guest_l4e, get_page_from_l1e, put_page_from_l1e, mod_l1_entry .. mod_l4_entry,
 * alloc_l4_table, get_page_type, set_foreigndom, do_mmu_update, do_mmuext_op), arch/x86/traps.c (fixup_page_fault),
 * include/asm-x86/mm.h (PGT_count_mask), include/asm-x86/x86_64/page.h (L1_DISALLOW_MASK), include/public/xen.h.
 */
#include "xen.h"

#define AVAILABLE (0x7ff0000000000000ULL | 0xe00)
#define CACHE_FLAGS (XM_PTE_PWT | XM_PTE_PCD | XM_PTE_PAT)
#define EVERYWHERE (XM_PTE_ADDR | XM_PTE_P | XM_PTE_RW | XM_PTE_US | XM_PTE_A | XM_PTE_D | XM_PTE_NX | AVAILABLE)

static const struct xm_profile xen_4_17 = {
	.allowed_l1 = EVERYWHERE | XM_PTE_G,
	.allowed_l1_devices = EVERYWHERE | XM_PTE_G | CACHE_FLAGS,
	.allowed_upper = EVERYWHERE,
	/* The whitelist of pv/mm.c's fast paths. */
	.unchecked_l1 = XM_PTE_NX | AVAILABLE | XM_PTE_G | XM_PTE_D | XM_PTE_A | XM_PTE_US,
	.unchecked_upper = XM_PTE_NX | AVAILABLE | XM_PTE_G | XM_PTE_D | XM_PTE_A | XM_PTE_US,
	.added_l4 = XM_PTE_US | XM_PTE_A,
	.type_count_max = XM_PGT_COUNT_MASK,
	.assists = 0x3f | 1ULL << XM_VMASST_M2P_STRICT,
	.mmu_commands = XM_MMU_PT_UPDATE_NO_TRANSLATE + 1,
	.mmuext_commands = XM_MMUEXT_KINDS,
	.names_table_owner = 1,
	.own_errors = 1,
	.flush_upper = 1,
	.ptwr_devices = 1,
	.linear_one_hop = 1,
	.keeps_failed_type = 1,
	.checks_cache = 1,
};

static const struct xm_profile xen_3_1 = {
	.allowed_l1 = (EVERYWHERE | XM_PTE_G | CACHE_FLAGS) & ~XM_PTE_PAT,
	.allowed_l1_devices = (EVERYWHERE | XM_PTE_G | CACHE_FLAGS) & ~XM_PTE_PAT,
	.allowed_upper = EVERYWHERE | XM_PTE_PWT | XM_PTE_PCD,
	/* The fast paths compare the frame and these flags only; R/W above level 1 is what XSA-182 is about. */
	.unchecked_l1 = ~(XM_PTE_ADDR | XM_PTE_P | XM_PTE_RW),
	.unchecked_upper = ~(XM_PTE_ADDR | XM_PTE_P),
	.added_l4 = XM_PTE_US,
	.type_count_max = 0xffff,
	.assists = 0xf,
	.mmu_commands = XM_MMU_MACHPHYS_UPDATE + 1,
	.mmuext_commands = XM_MMUEXT_NEW_USER_BASEPTR + 1,
	.m2p_in_every_l4 = 1,
	.counts_mmio = 1,
	.revalidates = 1,
};

const struct xm_profile *xm_profile_of(unsigned version)
{
	return version == XM_XEN_3_1 ? &xen_3_1 : &xen_4_17;
}

/* Xen's answer for a refusal: 3.1 has one error number for whatever an element can be refused for, and a domain without
 * the right to name another is told that there is none. */
int xm_errno(const struct xm_xen *x, int reason)
{
	int error = xm_reason_errno(reason);

	if (x->profile->own_errors)
		return error;
	if (reason == XM_R_NO_PRIVILEGE)
		return xm_reason_errno(XM_R_FOREIGNDOM_UNKNOWN);
	switch (error) {
	case 1:  /* EPERM */
	case 13: /* EACCES */
	case 16: /* EBUSY */
		return 22;
	default:
		return error;
	}
}
