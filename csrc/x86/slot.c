/*
 * slot.c - recursive-slot arithmetic, for any slot, at every level, both ways.
 *
 * Knows: if the root holds itself in slot s, each step of a walk that uses index s spends a level on going round, so
 * the walk ends one table early and shows a table as data.  Does not know: which slots anyone uses.
 *
 * With n levels, the entry of level k that serves va lies at an address whose k top indices are slots and whose other
 * n - k indices are va's top ones:
 *
 *	level 1:  s  i4 i3 i2 | i1 * 8		level 3:  s s s i4 | i3 * 8
 *	level 2:  s  s  i4 i3 | i2 * 8		level 4:  s s s s  | i4 * 8
 *
 * Seen through another root (an alternate slot), only the first step uses that root's slot `outer`.
 */
#include "../internal.h"
#include "rights.h"

static uint64_t linear_mask(unsigned levels)
{
	return (1ULL << (12 + 9 * levels)) - 1;
}

uint64_t xm_slot_entry_va(unsigned outer, unsigned inner, unsigned level, unsigned levels, uint64_t va)
{
	unsigned top = 3 + 9 * levels;
	uint64_t slots = (uint64_t)(outer & 511) << top;

	if (level < 1 || level > levels || (levels != 4 && levels != 5))
		return 0;
	for (unsigned i = 1; i < level; i++)
		slots |= (uint64_t)(inner & 511) << (top - 9 * i);
	return xm_sign_extend(slots | ((va & linear_mask(levels)) >> (9 * level) & ~7ULL), levels);
}

uint64_t xm_slot_base(unsigned outer, unsigned inner, unsigned level, unsigned levels)
{
	return xm_slot_entry_va(outer, inner, level, levels, 0);
}

int xm_slot_target(unsigned outer, unsigned inner, unsigned levels, uint64_t entry_va, unsigned *level_ret,
		   uint64_t *va_ret)
{
	unsigned level = 0, top = 3 + 9 * levels;

	if ((levels != 4 && levels != 5) || !xm_canonical(entry_va, levels))
		return XM_E_ARGUMENT;
	while (level < levels && ((entry_va >> (top - 9 * level)) & 511) == (level ? inner : outer))
		level++;
	if (!level)
		return XM_E_ARGUMENT;
	*level_ret = level;
	*va_ret = xm_sign_extend((entry_va & ~7ULL & linear_mask(levels)) << (9 * level) & linear_mask(levels), levels);
	return XM_OK;
}
