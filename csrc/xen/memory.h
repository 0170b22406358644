/*
 * memory.h - memory_op between the hypercall as the guest makes it and what it asks.
 *
 * Names are those of Xen 4.17's common/memory.c.
 */
#ifndef XM_XEN_MEMORY_H
#define XM_XEN_MEMORY_H

#include "handle.h"

/* Frames or pfns, one for each extent: an array of our own, or words in the memory of the guest that calls. */
struct xm_extent_list {
	struct xm_domain *caller;
	uint64_t *words;
	uint64_t va; /* where `words` is NULL; 0: no list */
};

/* One side of a memory_op: struct memop_args. */
struct xm_memop {
	struct xm_extent_list list;
	uint64_t nr_extents;
	uint64_t nr_done;
	uint32_t extent_order;
	uint32_t address_bits;
	uint32_t domid;
	uint32_t bad_node;  /* a number that no node can have */
	uint32_t no_memory; /* on a node that the machine does not have, and no other */
	uint32_t on_demand; /* populate-on-demand, which a PV domain does not know */
};

#define XM_MEMOP_MAX_EXTENTS (UINT32_MAX >> 6)

/* memory_op.c: reasons, or negative statuses */
int xm_memop_target(struct xm_domain *d, uint32_t domid, struct xm_domain **ret);
int xm_memop_list_okay(const struct xm_memop *op, uint64_t first);
int xm_memop_reserve(struct xm_domain *d, struct xm_domain *target, uint32_t cmd, struct xm_memop *op);
int xm_memop_exchange(struct xm_domain *d, const struct xm_memop *in, const struct xm_memop *out, uint64_t *done);

/* memory_call.c */
int xm_memory_call(struct xm_domain *d, const uint64_t *args, struct xm_result *ret);

#endif
