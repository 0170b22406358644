/*
 * grant.h - grant tables: what a domain lets others map, and what it has mapped itself.
 *
 * Names are those of Xen 4.17's common/grant_table.c.
 */
#ifndef XM_XEN_GRANT_H
#define XM_XEN_GRANT_H

#include "handle.h"

#define XM_GRANT_FRAMES 64 /* gnttab_max_frames */
#define XM_GRANTS_IN_FRAME 512
#define XM_MAPTRACK_FRAMES 1024 /* gnttab_max_maptrack_frames */
#define XM_MAPTRACK_IN_FRAME 256

/* Counts of the mappings of a grant, eight bits each. */
#define XM_GNTPIN_HSTW 0x1U
#define XM_GNTPIN_HSTR 0x100U
#define XM_GNTPIN_DEVW 0x10000U
#define XM_GNTPIN_DEVR 0x1000000U

/* A grant in use. */
struct xm_grant_active {
	uint32_t pin;
	uint32_t domid; /* who maps it */
	uint64_t mfn;
};

/* A mapping, by handle; a free one's ref is the next free one. */
struct xm_maptrack {
	uint32_t ref;
	uint16_t flags;
	uint16_t domid; /* who granted it */
};

struct xm_grant_table {
	uint64_t nr_frames;
	uint64_t frame[XM_GRANT_FRAMES]; /* shared with the domain */
	uint64_t maptrack_limit;
	uint32_t maptrack_head;
	uint32_t maptrack_tail;
	struct xm_grant_active *active[XM_GRANT_FRAMES];
	struct xm_maptrack *maptrack[XM_MAPTRACK_FRAMES];
};

/* grant_table.c */
int xm_grant_table_get(struct xm_domain *d, struct xm_grant_table **ret);
int xm_grant_table_grow(struct xm_domain *d, uint64_t frames);
uint64_t xm_grant_entry_pa(const struct xm_grant_table *t, uint32_t ref);
struct xm_grant_active *xm_grant_active(const struct xm_grant_table *t, uint32_t ref);
struct xm_maptrack *xm_maptrack(const struct xm_grant_table *t, uint32_t handle);
int xm_maptrack_new(struct xm_domain *d, uint32_t *handle_ret);
void xm_maptrack_put(struct xm_domain *d, uint32_t handle);

/* An unmap between its two halves. */
struct xm_grant_unmap {
	uint64_t host_addr;
	uint64_t dev_bus_addr;
	uint64_t new_addr;
	uint64_t mfn;
	struct xm_domain *rd;
	uint32_t handle;
	uint32_t ref;
	uint32_t done; /* GNTMAP_* of what is gone */
};

/* grant.c: reasons, or negative statuses */
int xm_grant_map_one(struct xm_domain *d, struct xm_map_grant_ref *op);
int xm_grant_unmap_one(struct xm_domain *d, struct xm_grant_unmap *op);
void xm_grant_unmap_complete(struct xm_domain *d, const struct xm_grant_unmap *op);
int xm_grant_swap(struct xm_domain *d, uint32_t ref_a, uint32_t ref_b);
int xm_grant_whose(struct xm_domain *d, uint32_t domid, struct xm_domain **ret, struct xm_grant_table **table_ret);

/* grant_pte.c */
int xm_create_grant_pv_mapping(struct xm_domain *d, uint64_t addr, uint64_t mfn, uint32_t flags);
int xm_replace_grant_pv_mapping(struct xm_domain *d, uint64_t addr, uint64_t mfn, uint64_t new_addr, uint32_t flags);

#endif
