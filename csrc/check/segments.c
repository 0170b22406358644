/*
 * segments.c - descriptor pages, from their bytes.
 *
 * Knows: what a descriptor of a guest can be when the processor may use it (SDM vol. 3A, 3.4.5 and 5.8.3.1; Xen 4.17,
 * pv/descriptor-tables.c): nothing that leads out of ring 3.  Does not know: how it came there.
 *
 * A descriptor page that nothing holds any more keeps its validated flag, and is not looked at when it is used again, so
 * that it must be right all the while.
 */
#include "check.h"

#define GUEST_GDT_ENTRIES 7168U
#define FLAT_RING3_CS64 0xe033U

static const char *wrong_with(uint64_t desc)
{
	unsigned access = (unsigned)(desc >> 40) & 0xff, dpl = access >> 5 & 3, type = access & 15;
	unsigned selector = (unsigned)(desc >> 16) & 0xffff;

	if (!(access & 0x80))
		return NULL;
	if (access & 0x10)
		return dpl == 3 ? NULL : "a segment whose DPL is not 3";
	if (type == 0)
		return NULL;
	if (type != 12)
		return "a system descriptor";
	if (dpl != 0 || (selector & 3) != 3)
		return "a call gate that is not neutral";
	if (desc >> 32 & 0xff)
		return "a call gate with reserved bits";
	if (!(selector & 4) && selector >> 3 >= GUEST_GDT_ENTRIES && selector != FLAT_RING3_CS64)
		return "a call gate to a segment of Xen";
	return NULL;
}

void xm_audit_segments(struct audit *a)
{
	for (uint64_t mfn = 0; mfn < a->frames; mfn++) {
		const uint64_t *words;

		if (claimed_type(&a->claims[mfn]) != XM_PGT_SEG_DESC ||
		    !(a->claims[mfn].type_info & XM_PGT_VALIDATED) || !xm_has_frame(a->m, mfn))
			continue;
		words = xm_words(a->m, mfn);
		for (unsigned i = 0; i < 512; i++)
			if (wrong_with(words[i]))
				xm_audit_report(a, XM_I_SEG, mfn, "descriptor %u = %#llx is %s", i,
						(unsigned long long)words[i], wrong_with(words[i]));
	}
}
