/*
 * repeat.c - a batch of mmu_update or mmuext_op (a: its number, c: foreigndom) made b times over, for measuring.
 *
 * Knows: two sets of values take turns, so that no update finds its own value there and is done the fast way.
 * Does not know: how long it takes; that is the host's to measure.
 */
#include "guest.h"

#define MAX_BATCH 256

void do_repeat(const struct op *op, struct res *r)
{
	static struct mmu_update update[2][MAX_BATCH];
	static struct mmuext_op ext[MAX_BATCH];
	u32 n = op->count < MAX_BATCH ? op->count : MAX_BATCH;

	for (u32 i = 0; i < n; i++) {
		const struct op *e = &op[1 + i];

		update[0][i] = (struct mmu_update){e->a, e->b};
		update[1][i] = (struct mmu_update){e->a, e->c};
		ext[i] = (struct mmuext_op){(u32)e->a, 0, e->b, 0};
	}
	for (u64 i = 0; i < op->b && !r->rc; i++) {
		u64 batch = op->a == HC_mmu_update ? (u64)update[i & 1] : (u64)ext;

		r->rc = hypercall((unsigned)op->a, batch, n, 0, op->c, 0);
		r->done = i + 1;
	}
}
