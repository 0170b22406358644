/*
 * handle.h - hypercall arguments at guest addresses, and the hypercalls' single elements that they lead to.
 *
 * A guest handle is the linear address of an array in the caller's memory.  Xen checks where the array begins and copies
 * an element at a time through the tables that are loaded, so a copy may fault half way through.
 */
#ifndef XM_XEN_HANDLE_H
#define XM_XEN_HANDLE_H

#include "xen.h"

/* A hypercall in progress: Xen may stop it and have the guest ask again, with other arguments (a continuation). */
enum xm_call_end {
	XM_CALL_DONE = 0,
	XM_CALL_AGAIN, /* args[] is what the guest asks again with */
};

/* mmu_update's state from one element to the next. */
struct xm_batch {
	struct xm_domain *d;        /* the caller */
	struct xm_domain *pt_owner; /* whose page tables */
	unsigned pg_owner;          /* whose frames */
	int flush;                  /* an upper level changed */
};

/* handle.c */
int xm_handle_okay(uint64_t va, uint64_t count, uint64_t size);
int xm_read_guest(struct xm_domain *d, uint64_t va, void *ret, unsigned n);
int xm_write_guest(struct xm_domain *d, uint64_t va, const void *data, unsigned n);
int xm_put_guest(struct xm_domain *d, uint64_t va, uint64_t value, unsigned size);
int xm_bad_handle(struct xm_domain *d, struct xm_result *ret);

/* mmu_update.c, mmuext.c */
int xm_batch_tables(struct xm_batch *b, uint32_t foreigndom);
int xm_update_one(struct xm_batch *b, const struct xm_mmu_update *req);
int xm_mmuext_one(struct xm_domain *d, const struct xm_mmuext_op *op, unsigned owner);

/* grant_op.c */
int xm_grant_table_call(struct xm_domain *d, uint64_t *args, struct xm_result *ret);

#endif
