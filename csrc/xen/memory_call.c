/*
 * memory_call.c - memory_op as the guest makes it: structures and lists in its own memory.
 *
 * Knows: the forms of the structures, in which order they are copied in and out, that a command carries the extent to go on
 * from above its six bits, what flags of memory mean on a machine of one node.  Does not know: what is done with frames.
 *
 * A reservation's answer is a number of extents and never an error: what is refused says how many were done before.
 *
 * Missing: the commands about memory maps, ranges of the physmap, claims, sharing, and frames of devices.
 *
 * Xen 4.17: do_memory_op, construct_memop_from_reservation, propagate_node, memory_exchange (common/memory.c),
 * arch_memory_op (arch/x86/mm.c).
 */
#include "memory.h"

#define MEMOP_EXTENT_SHIFT 6
#define MEMOP_CMD_MASK 63
#define MAX_NUMNODES 64

/* Flags beside the bits of address (0 to 7) and the node's number plus one (8 to 15). */
#define XENMEMF_POPULATE_ON_DEMAND (1U << 16)
#define XENMEMF_EXACT_NODE_REQUEST (1U << 17)
#define XENMEMF_VNODE (1U << 18)
#define NO_NODE 0xff

/* machphys_mfn_list, memory_map, machine_memory_map, machphys_mapping, set_memory_map, maximum_gpfn, 16 to 18 and 20 to 28:
 * Xen has them. */
#define MISSING_COMMANDS (1U << 5 | 1U << 9 | 1U << 10 | 1U << 12 | 1U << 13 | 1U << 14 | 0x1fff0000U)

struct reservation {
	uint64_t extent_start;
	uint64_t nr_extents;
	uint32_t extent_order;
	uint32_t mem_flags;
	uint16_t domid;
	uint16_t pad[3];
};

struct memory_exchange {
	struct reservation in, out;
	uint64_t nr_exchanged;
};

struct add_to_physmap {
	uint16_t domid;
	uint16_t size;
	uint32_t space;
	uint64_t idx;
	uint64_t gpfn;
};

struct remove_from_physmap {
	uint16_t domid;
	uint16_t pad[3];
	uint64_t gpfn;
};

static int read_struct(struct xm_domain *d, uint64_t va, void *to, unsigned n)
{
	return xm_handle_okay(va, 1, n) && xm_read_guest(d, va, to, n);
}

/* propagate_node: all memory is on node 0; only a privileged domain may choose. */
static void choose_node(const struct xm_domain *d, uint32_t flags, struct xm_memop *op)
{
	unsigned node = ((flags >> 8) - 1) & 0xff;
	int exact = (flags & XENMEMF_EXACT_NODE_REQUEST) != 0;

	if (node == NO_NODE)
		return;
	op->bad_node = d->privileged ? node >= MAX_NUMNODES : exact;
	op->no_memory = d->privileged && exact && node;
}

static struct xm_memop memop_of(struct xm_domain *d, const struct reservation *r)
{
	return (struct xm_memop){.list = {.caller = d, .va = r->extent_start},
				 .nr_extents = r->nr_extents,
				 .extent_order = r->extent_order,
				 .address_bits = r->mem_flags & 0xff,
				 .domid = r->domid};
}

/* get_order_from_pages(max_page) + PAGE_SHIFT: from so many bits on, the bound says nothing. */
static unsigned machine_bits(const struct xm_xen *x)
{
	unsigned order = 0;

	while (1ULL << order < x->max_page)
		order++;
	return order + XM_PAGE_SHIFT;
}

/* construct_memop_from_reservation */
static int construct(struct xm_domain *d, uint32_t cmd, uint32_t flags, struct xm_memop *op)
{
	if (op->address_bits >= machine_bits(d->xen))
		op->address_bits = 0;
	if (op->address_bits && op->address_bits <= XM_PAGE_SHIFT)
		return XM_R_ADDRESS_BITS;
	/* Virtual nodes are those of a domain that has been given some. */
	if (!(flags & XENMEMF_VNODE))
		choose_node(d, flags, op);
	if (op->bad_node)
		return XM_R_MEMORY_NODE;
	op->on_demand = cmd == XM_MEM_POPULATE_PHYSMAP && (flags & XENMEMF_POPULATE_ON_DEMAND);
	return XM_R_NONE;
}

static int reserve(struct xm_domain *d, uint32_t cmd, uint64_t start, uint64_t arg, struct xm_result *ret)
{
	struct xm_domain *target = NULL;
	struct xm_memop op = {.nr_done = start};
	struct reservation r;
	int reason;

	if (!read_struct(d, arg, &r, sizeof(r))) {
		reason = xm_refuse(d->xen, XM_R_BAD_HANDLE, 0, 0, 0);
	} else if (r.nr_extents > XM_MEMOP_MAX_EXTENTS) {
		reason = XM_R_EXTENTS;
	} else if (start >= r.nr_extents) {
		reason = XM_R_NONE;
	} else {
		int refused = xm_memop_target(d, r.domid, &target);

		op = memop_of(d, &r);
		op.nr_done = start;
		reason = target ? construct(d, cmd, r.mem_flags, &op) : refused;
		if (!reason)
			reason = refused;
		if (!reason)
			reason = xm_memop_reserve(d, target, cmd, &op);
	}
	xm_finish(d, reason, ret);
	ret->rc = (int64_t)op.nr_done;
	ret->done = (uint32_t)op.nr_done;
	return XM_OK;
}

static int exchange(struct xm_domain *d, uint64_t arg, struct xm_result *ret)
{
	struct memory_exchange e;
	struct xm_memop in, out;
	uint64_t before;
	int reason;

	if (!read_struct(d, arg, &e, sizeof(e)))
		return xm_bad_handle(d, ret);
	in = memop_of(d, &e.in);
	out = memop_of(d, &e.out);
	before = e.nr_exchanged;
	choose_node(d, e.out.mem_flags, &out);
	reason = xm_memop_exchange(d, &in, &out, &e.nr_exchanged);
	if (reason < 0)
		return reason;
	/* Where there was nothing left to do, the number is not written. */
	if (!reason && e.nr_exchanged == before)
		return xm_finish(d, XM_R_NONE, ret);
	ret->done = (uint32_t)e.nr_exchanged;
	if (!xm_put_guest(d, arg + offsetof(struct memory_exchange, nr_exchanged), e.nr_exchanged, 8))
		return xm_bad_handle(d, ret);
	return xm_finish(d, reason, ret);
}

static int physmap(struct xm_domain *d, uint32_t cmd, uint64_t start, uint64_t arg, struct xm_result *ret)
{
	struct add_to_physmap add = {0};
	struct remove_from_physmap remove;

	if (cmd == XM_MEM_ADD_TO_PHYSMAP) {
		if (start > UINT16_MAX)
			return xm_finish(d, xm_refuse(d->xen, XM_R_PHYSMAP_START, 0, 0, 0), ret);
		if (!read_struct(d, arg, &add, sizeof(add)))
			return xm_bad_handle(d, ret);
		return xm_memory_physmap(d, cmd, add.domid, add.space, ret);
	}
	if (!read_struct(d, arg, &remove, sizeof(remove)))
		return xm_bad_handle(d, ret);
	return xm_memory_physmap(d, cmd, remove.domid, 0, ret);
}

static int query(struct xm_domain *d, uint32_t cmd, uint64_t arg, struct xm_result *ret)
{
	uint16_t domid = 0;

	if (cmd != XM_MEM_MAXIMUM_RAM_PAGE && !read_struct(d, arg, &domid, sizeof(domid)))
		return xm_bad_handle(d, ret);
	return xm_memory_query(d, cmd, domid, ret);
}

/* args: command, structure. */
int xm_memory_call(struct xm_domain *d, const uint64_t *args, struct xm_result *ret)
{
	uint32_t cmd = args[0] & MEMOP_CMD_MASK;
	uint64_t start = args[0] >> MEMOP_EXTENT_SHIFT;

	memset(&d->xen->at, 0, sizeof(d->xen->at));
	ret->done = 0;
	switch (cmd) {
	case XM_MEM_INCREASE_RESERVATION:
	case XM_MEM_DECREASE_RESERVATION:
	case XM_MEM_POPULATE_PHYSMAP:
		return reserve(d, cmd, start, args[1], ret);
	case XM_MEM_ADD_TO_PHYSMAP:
		return physmap(d, cmd, start, args[1], ret);
	case XM_MEM_EXCHANGE:
	case XM_MEM_REMOVE_FROM_PHYSMAP:
	case XM_MEM_MAXIMUM_RAM_PAGE:
	case XM_MEM_CURRENT_RESERVATION:
	case XM_MEM_MAXIMUM_RESERVATION:
		if (start)
			return xm_finish(d, xm_refuse(d->xen, XM_R_START_EXTENT, 0, 0, 0), ret);
		if (cmd == XM_MEM_EXCHANGE)
			return exchange(d, args[1], ret);
		if (cmd == XM_MEM_REMOVE_FROM_PHYSMAP)
			return physmap(d, cmd, start, args[1], ret);
		return query(d, cmd, args[1], ret);
	default:
		if (cmd < 32 && (MISSING_COMMANDS >> cmd & 1))
			return XM_E_NOT_MODELLED;
		return xm_finish(d, xm_refuse(d->xen, XM_R_UNKNOWN_COMMAND, 0, 0, 0), ret);
	}
}
