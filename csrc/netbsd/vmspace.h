/*
 * vmspace.h - the address spaces of replayed processes, for vmspace.c and replay.c only.
 */
#ifndef XM_NETBSD_VMSPACE_H
#define XM_NETBSD_VMSPACE_H

#include "kernel.h"

/* What a process holds at a page: a pfn, and how. */
#define XM_HELD_FILE 0x80000000U  /* a page of a file, not the process's own */
#define XM_HELD_WRITE 0x40000000U /* entered writable and not protected since */
#define XM_HELD_PFN 0x3fffffffU

#define XM_FILE_PAGES 1024
#define XM_PID_BUCKETS 1024

/* The pages held under one L2 entry. */
struct xm_chunk {
	uint32_t next; /* by address; in the pool, the free list */
	uint32_t used;
	uint64_t base; /* va >> 21 */
	uint32_t held[512];
};

struct xm_proc {
	uint32_t next; /* in its bucket; in the pool, the free list */
	uint32_t pid;
	uint32_t pm;
	uint32_t chunks; /* the first */
	uint32_t last;   /* the one found last */
	uint32_t handle; /* of pm */
	uint64_t brk;    /* page-aligned, 0: not known */
};

struct xm_vm {
	struct xm_pool procs;
	struct xm_pool chunks;
	uint32_t bucket[XM_PID_BUCKETS];
	uint32_t file[XM_FILE_PAGES]; /* pfn of each page of the page cache, 0: not read yet */
	uint64_t processes;
	uint64_t pages; /* the processes' own and the page cache's */
	uint64_t peak_processes;
	uint64_t peak_pages;
};

int xm_vm_make(struct xm_kernel *k);

static inline struct xm_proc *xm_proc_at(const struct xm_kernel *k, uint32_t i)
{
	return xm_pool_at(&k->vm->procs, i);
}

static inline struct xm_chunk *xm_chunk_at(const struct xm_kernel *k, uint32_t i)
{
	return xm_pool_at(&k->vm->chunks, i);
}

struct xm_proc *xm_proc_find(const struct xm_kernel *k, uint32_t pid);
int xm_proc_new(struct xm_kernel *k, uint32_t pid, struct xm_proc **proc_ret);
/* Its pages are gone already; its pmap is the caller's to destroy. */
void xm_proc_drop(struct xm_kernel *k, struct xm_proc *proc);

/* What is held at va, 0 if nothing. */
uint32_t xm_held(struct xm_kernel *k, struct xm_proc *proc, uint64_t va);
/* Not 0: hold it there, instead of what was; 0: nothing any more. */
int xm_hold(struct xm_kernel *k, struct xm_proc *proc, uint64_t va, uint32_t held);
/* A new page of a process's own, one of the page cache; XM_E_NO_FRAMES. */
int xm_own_page(struct xm_kernel *k, uint32_t *pfn_ret);
int xm_file_page(struct xm_kernel *k, uint64_t va, uint32_t *pfn_ret);
/* The child holds what the parent holds; neither may write what both hold. */
int xm_share(struct xm_kernel *k, struct xm_proc *parent, struct xm_proc *child);
/* The next run of held pages in [*at_ret, end), gaps under 16 pages included; 0 when there is none.  *writable_ret: one
 * of them was entered writable. */
int xm_next_run(const struct xm_kernel *k, const struct xm_proc *proc, uint64_t *at_ret, uint64_t end,
		uint64_t *run_end_ret, int *writable_ret);
/* Everything in [sva, eva) is let go; the mappings are gone already. */
void xm_let_go(struct xm_kernel *k, struct xm_proc *proc, uint64_t sva, uint64_t eva);
void xm_mark_read_only(struct xm_kernel *k, struct xm_proc *proc, uint64_t sva, uint64_t eva);

#endif
