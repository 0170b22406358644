/*
 * pool.c - elements of one size, by index.
 *
 * Knows: which indices are taken.  Does not know: what the elements are.
 *
 * A rollback takes back what was given out; a slab made meanwhile stays, as capacity.  That is why a slab is never
 * freed before its kernel: a rollback could bring back a pointer to it.
 */
#include "kernel.h"

void xm_pool_init(struct xm_pool *p, uint32_t size, uint32_t shift)
{
	p->size = size;
	p->shift = shift;
	p->used = 1;
}

void xm_pool_free_slabs(struct xm_machine *m, struct xm_pool *p)
{
	for (uint32_t i = 0; i < p->slabs; i++)
		xm_state_free(m, p->slab[i]);
}

uint32_t xm_pool_get(struct xm_machine *m, struct xm_pool *p)
{
	uint32_t i = p->free;

	if (i) {
		XM_PUT(m, p->free, *(uint32_t *)xm_pool_at(p, i));
		return i;
	}
	i = p->used;
	if (i >> p->shift == p->slabs) {
		if (p->slabs == XM_POOL_SLABS)
			return 0;
		p->slab[p->slabs] = xm_state_new(m, (size_t)p->size << p->shift);
		if (!p->slab[p->slabs])
			return 0;
		p->slabs++;
	}
	XM_PUT(m, p->used, i + 1);
	return i;
}

void xm_pool_put(struct xm_machine *m, struct xm_pool *p, uint32_t i)
{
	uint32_t *next = xm_pool_at(p, i);

	XM_PUT(m, *next, p->free);
	XM_PUT(m, p->free, i);
}
