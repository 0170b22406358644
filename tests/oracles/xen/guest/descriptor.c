/*
 * descriptor.c - operations on descriptor tables: set_gdt, update_descriptor, and the use of a selector; and iret with
 * any code and stack segment.
 *
 * Knows: the frames of a GDT come as elements of the operation.  Does not know: what a descriptor is.
 */
#include "guest.h"

#define GDT_FRAMES 16

#define UD2 0x0b0f

extern u8 access_selector[], access_load1[];

int iret_call(u64 rip, u64 cs, u64 ss, u64 rflags, u64 *value_ret, u64 flags);

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

/* Nothing but ud2 is run, which a load in the same mode finds out. */
static void do_iret(const struct op *op, struct res *r)
{
	int user = (op->b & 3) == 3;

	make_access(op, r, access_load1 + 16, user);
	if (r->rc || r->vector)
		return;
	if (r->value != UD2) {
		r->value = 1;
		return;
	}
	iret_call(op->a, op->b, op->c, op->d, &r->value, op->size);
	r->value = 0;
	fault_of(r);
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
	case OP_IRET:
		do_iret(op, r);
		break;
	default:
		r->rc = RC_SKIPPED;
	}
}
