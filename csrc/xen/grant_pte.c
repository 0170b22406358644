/*
 * grant_pte.c - the L1 entry that maps a grant: named by linear address or by machine address, written past the checks
 * of an ordinary update, since the grant itself holds the references.
 *
 * Knows: which L1 entry an address names, what the entry is made of, what must still be in it when it goes.  Does not
 * know: grants.
 *
 * Xen 4.17: create_grant_pv_mapping, steal_linear_address, replace_grant_pv_mapping (arch/x86/pv/grant_table.c).
 */
#include "grant.h"

#define AVAILABLE_SHIFT 9 /* bits 9 to 11 of an entry */

/* _GNTMAP_guest_avail0 upwards, three of them. */
static uint64_t available_bits(uint32_t flags)
{
	return (uint64_t)(flags >> 16 & 7) << AVAILABLE_SHIFT;
}

static uint64_t grant_to_pte_flags(uint32_t flags)
{
	uint64_t entry = XM_PTE_P | XM_PTE_A | XM_PTE_D | XM_PTE_NX;

	if (flags & XM_GNTMAP_APPLICATION_MAP)
		entry |= XM_PTE_US;
	if (!(flags & XM_GNTMAP_READONLY))
		entry |= XM_PTE_RW;
	return entry | available_bits(flags);
}

/* The machine address of the L1 entry, in a validated L1 of the domain; all ones: there is none. */
static uint64_t find_l1e(struct xm_domain *d, uint64_t addr, uint32_t flags)
{
	struct xm_machine *m = d->xen->machine;
	uint64_t pa, l2e;

	if (flags & XM_GNTMAP_CONTAINS_PTE)
		return addr % 8 == 0 && xm_is_own_l1(d, addr >> XM_PAGE_SHIFT) ? addr : ~0ULL;
	if (!xm_addr_ok(addr))
		return ~0ULL;
	pa = xm_find_entry(d, d->vcpu.kernel_root, addr, 2);
	l2e = pa == ~0ULL ? 0 : xm_peek(m, pa);
	if ((l2e & (XM_PTE_P | XM_PTE_PS)) != XM_PTE_P || !xm_is_own_l1(d, xm_entry_mfn(l2e)))
		return ~0ULL;
	return (xm_entry_mfn(l2e) << XM_PAGE_SHIFT) + ((addr >> 12) & 511) * 8;
}

int xm_create_grant_pv_mapping(struct xm_domain *d, uint64_t addr, uint64_t mfn, uint32_t flags)
{
	struct xm_xen *x = d->xen;
	uint64_t pa = find_l1e(d, addr, flags), old;

	if (pa == ~0ULL)
		return XM_R_GRANT_PTE;
	old = xm_peek(x->machine, pa);
	xm_poke(x->machine, pa, xm_adjust_entry(x, 1, xm_entry_make(mfn, grant_to_pte_flags(flags))));
	xm_put_page_from_l1e(x, old);
	return XM_R_NONE;
}

/* new_addr not 0: the entry of that address moves to where the grant was mapped, with its references. */
int xm_replace_grant_pv_mapping(struct xm_domain *d, uint64_t addr, uint64_t mfn, uint64_t new_addr, uint32_t flags)
{
	struct xm_xen *x = d->xen;
	uint64_t entry = 0, pa, old;
	int reason = XM_R_GRANT_PTE;

	if (new_addr) {
		if (flags & XM_GNTMAP_CONTAINS_PTE)
			return XM_R_GRANT_PTE;
		pa = find_l1e(d, new_addr, flags);
		if (pa == ~0ULL)
			return XM_R_GRANT_PTE;
		entry = xm_peek(x->machine, pa);
		xm_poke(x->machine, pa, 0);
	}
	pa = find_l1e(d, addr, flags);
	if (pa != ~0ULL) {
		old = xm_peek(x->machine, pa);
		reason = XM_R_GRANT_MISMATCH;
		if (xm_entry_mfn(old) == mfn && !((old ^ grant_to_pte_flags(flags)) & (XM_PTE_P | XM_PTE_RW))) {
			xm_poke(x->machine, pa, entry);
			return XM_R_NONE;
		}
	}
	xm_put_page_from_l1e(x, entry);
	return reason;
}
