/*
 * slots.c - Xen's own slots in every L4 (Xen 4.17, xen/arch/x86/mm.c, init_xen_l4_slots and zap_ro_mpt).
 *
 * Knows: 256 is the read-only M2P or 0, 258 the L4 itself, 259 empty, 260 the domain's own area, the others the same in
 * every L4; none but the M2P is open to the guest, and none leads to a guest's frame.
 * Does not know: which frames Xen uses for them.  It finds the value that each slot has in the first L4 that has one
 * and holds the others to it, so it sees a change by the guest whatever Xen's value was.
 */
#include "check.h"

#define M2P_SLOT 256
#define LINEAR_SLOT 258
#define SHADOW_SLOT 259
#define DOMAIN_SLOT 260
#define XEN_SLOTS (XM_L4_LAST_XEN_SLOT - XM_L4_FIRST_XEN_SLOT + 1)
#define PRIVATE_FLAGS (XM_PTE_P | XM_PTE_RW | XM_PTE_A | XM_PTE_D | XM_PTE_NX)
#define M2P_FLAGS (XM_PTE_P | XM_PTE_US | XM_PTE_A | XM_PTE_NX)

static void bad_slot(struct audit *a, uint64_t l4, unsigned slot, uint64_t e, const char *why)
{
	xm_audit_report(a, XM_I_XENSLOT, l4, "L4[%u] = %#llx %s", slot, (unsigned long long)e, why);
}

/* The value of the slot in another L4: of the same domain for the per-domain area, of any for the rest. */
static uint64_t reference(const struct audit *a, uint64_t l4, unsigned slot)
{
	for (size_t i = 0; i < a->tables[4].n; i++) {
		uint64_t other = a->tables[4].mfn[i], e;

		if (!xm_has_frame(a->m, other))
			continue;
		e = xm_words(a->m, other)[slot];
		if (slot == DOMAIN_SLOT && a->claims[other].owner != a->claims[l4].owner)
			continue;
		if (e || slot != M2P_SLOT)
			return e;
	}
	return 0;
}

static void check_slot(struct audit *a, uint64_t l4, unsigned slot, uint64_t want)
{
	uint64_t e = xm_words(a->m, l4)[slot], target = entry_frame(e);

	if (slot == LINEAR_SLOT && e != (l4 << XM_PAGE_SHIFT | PRIVATE_FLAGS)) {
		bad_slot(a, l4, slot, e, "is not Xen's view of this table");
	} else if (slot == SHADOW_SLOT && e) {
		bad_slot(a, l4, slot, e, "is not empty");
	} else if (slot == M2P_SLOT && e && (e & ~XM_PTE_ADDR) != M2P_FLAGS) {
		bad_slot(a, l4, slot, e, "is not the read-only M2P");
	} else if (slot != M2P_SLOT && (e & XM_PTE_US)) {
		bad_slot(a, l4, slot, e, "is open to the guest");
	} else if (slot != LINEAR_SLOT && (e & XM_PTE_P) && target < a->frames &&
		   xm_audit_domain(a, a->claims[target].owner)) {
		bad_slot(a, l4, slot, e, "leads to a guest's frame");
	} else if (slot != LINEAR_SLOT && e != want && (e || slot != M2P_SLOT)) {
		bad_slot(a, l4, slot, e, "differs from other L4s");
	}
}

void xm_audit_xen_slots(struct audit *a)
{
	uint64_t want[XEN_SLOTS] = {0};
	size_t n = a->tables[4].n;

	for (unsigned slot = XM_L4_FIRST_XEN_SLOT; n && slot <= XM_L4_LAST_XEN_SLOT; slot++)
		want[slot - XM_L4_FIRST_XEN_SLOT] = reference(a, a->tables[4].mfn[0], slot);
	for (size_t i = 0; i < n; i++) {
		uint64_t l4 = a->tables[4].mfn[i];

		if (!xm_has_frame(a->m, l4))
			continue;
		/* A new domain's area is another's; its first L4 sets the measure. */
		if (i && a->claims[l4].owner != a->claims[a->tables[4].mfn[i - 1]].owner)
			want[DOMAIN_SLOT - XM_L4_FIRST_XEN_SLOT] = reference(a, l4, DOMAIN_SLOT);
		for (unsigned slot = XM_L4_FIRST_XEN_SLOT; slot <= XM_L4_LAST_XEN_SLOT; slot++)
			check_slot(a, l4, slot, want[slot - XM_L4_FIRST_XEN_SLOT]);
	}
}
