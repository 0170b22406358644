/*
 * map.c - the leaves of a set of tables, in address order.
 *
 * Knows: the same rules of an entry as the walk (rights.h), and that an address space is too large to hold: a listing
 * is a cursor that goes on where it stopped.  Does not know: an access; nothing is judged, rights are reported.
 *
 * Addresses are counted without their sign here (48 or 57 bits), so that the space is one interval.
 */
#include "../internal.h"
#include "rights.h"

/* Entries looked at before a call returns, so that a caller can be interrupted in tables made to be endless. */
#define WORK (1U << 22)

static inline uint64_t linear_size(unsigned levels)
{
	return 1ULL << (12 + 9 * levels);
}

/* The place of an address in the interval; of one in the hole, that of the first address above it. */
static uint64_t place(uint64_t va, unsigned levels)
{
	uint64_t half = linear_size(levels) / 2;

	if (xm_canonical(va, levels))
		return va & (linear_size(levels) - 1);
	return half;
}

struct path {
	uint64_t table[6];
	uint64_t all[6]; /* AND and OR of the entries above this level */
	uint64_t any[6];
};

static int emit(struct xm_mapping *ret, const struct path *p, unsigned level, unsigned levels, uint64_t at,
		uint64_t entry)
{
	uint64_t size = 1ULL << (3 + 9 * level);

	ret->va = xm_sign_extend(at & ~(size - 1), levels);
	ret->pa = entry & XM_PTE_ADDR & ~(size - 1);
	ret->size = size;
	ret->flags =
		(p->all[level] & entry & (XM_PTE_P | XM_PTE_RW | XM_PTE_US)) | ((p->any[level] | entry) & XM_PTE_NX);
	return 1;
}

int xm_mappings(const struct xm_cpu *cpu, struct xm_mapping_cursor *cursor, struct xm_mapping *ret, unsigned max)
{
	unsigned levels = cpu->levels, level = levels, work = WORK;
	uint64_t at = place(cursor->next, levels), last = place(cursor->last, levels);
	struct path p;
	int n = 0;

	/* `last` in the hole: the last address below it. */
	if (!xm_canonical(cursor->last, levels))
		last--;
	if (cursor->done || at > last)
		goto done;
	p.table[level] = cpu->cr3 & XM_PTE_ADDR;
	p.all[level] = ~0ULL;
	p.any[level] = 0;
	while ((unsigned)n < max && work--) {
		uint64_t entry_pa = p.table[level] + ((at >> (3 + 9 * level)) & 511) * 8;
		uint64_t entry, next = (at | ((1ULL << (3 + 9 * level)) - 1)) + 1;
		int large, maps;

		if (!xm_has_frame(cpu->machine, entry_pa >> XM_PAGE_SHIFT)) {
			cursor->next = xm_sign_extend(at, levels);
			return n ? n : XM_E_RANGE;
		}
		entry = xm_peek(cpu->machine, entry_pa);
		large = xm_is_large(entry, level);
		maps = (entry & XM_PTE_P) && !(entry & (large ? cpu->rsvd_large[level] : cpu->rsvd[level]));
		if (maps && !large && level > 1) {
			p.table[level - 1] = entry & XM_PTE_ADDR;
			p.all[level - 1] = p.all[level] & entry;
			p.any[level - 1] = p.any[level] | entry;
			level--;
			continue;
		}
		if (maps)
			n += emit(&ret[n], &p, level, levels, at, entry);
		if (next > last)
			goto done;
		/* Back up to the table that holds the next entry. */
		at = next;
		while (level < levels && !(at & ((1ULL << (12 + 9 * level)) - 1)))
			level++;
	}
	cursor->next = xm_sign_extend(at, levels);
	return n;
done:
	cursor->done = 1;
	return n;
}
