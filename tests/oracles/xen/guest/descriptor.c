/*
 * descriptor.c - operations on descriptor tables: set_gdt, update_descriptor, and the use of a selector.
 *
 * Knows: the frames of a GDT come as elements of the operation.  Does not know: what a descriptor is.
 */
#include "guest.h"

#define GDT_FRAMES 16

extern u8 access_selector[];

static void set_gdt(const struct op *op, struct res *r)
{
	static u64 frames[GDT_FRAMES];
	u32 n = op->count < GDT_FRAMES ? op->count : GDT_FRAMES;

	for (u32 i = 0; i < n; i++) {
		frames[i] = op[1 + i].a;
		if (is_fixed(frames[i])) {
			r->rc = RC_SKIPPED;
			return;
		}
	}
	r->rc = hypercall(HC_set_gdt, (u64)frames, op->a, 0, 0, 0);
}

void do_descriptor(const struct op *op, struct res *r)
{
	switch (op->kind) {
	case OP_SET_GDT:
		set_gdt(op, r);
		break;
	case OP_UPDATE_DESCRIPTOR:
		r->rc = is_fixed(op->a >> 12) ? RC_SKIPPED : hypercall(HC_update_descriptor, op->a, op->b, 0, 0, 0);
		break;
	case OP_SELECTOR:
	case OP_USER_SELECTOR:
		make_access(op, r, access_selector, op->kind == OP_USER_SELECTOR);
		break;
	default:
		r->rc = RC_SKIPPED;
	}
}
