/*
 * kernel.h - the NetBSD kernel's state, for the files of this floor only.
 *
 * Every field that changes is journalled (XM_PUT), but for two that may safely outlive a rollback: the slabs of a pool
 * (capacity only) and the text of the last panic.
 */
#ifndef XM_NETBSD_KERNEL_H
#define XM_NETBSD_KERNEL_H

#include "../internal.h"
#include "layout.h"

#define XM_NO_FRAME (~0ULL)
#define XM_POOL_SLABS 4096

/* Elements of one size, named by index from 1 on; they never move.  The first word of a free one links the next. */
struct xm_pool {
	uint32_t size;
	uint32_t shift; /* 2^shift elements a slab */
	uint32_t slabs; /* not journalled */
	uint32_t used;  /* indices ever given out */
	uint32_t free;
	uint32_t pad;
	uint8_t *slab[XM_POOL_SLABS];
};

enum xm_page_state {
	XM_PAGE_RESERVED = 0, /* the boot image's, or never given out */
	XM_PAGE_FREE,
	XM_PAGE_USER,   /* uvm_pagealloc's */
	XM_PAGE_KERNEL, /* kernel tables, pdirs, the dummy L4 */
	XM_PAGE_PTP,    /* a page-table page of a user pmap */
};

/* struct vm_page, for what the pmap needs of it. */
struct xm_page {
	uint32_t next;
	uint32_t uses;   /* user page: mappings; PTP: wire_count, one more than its entries */
	uint32_t owner;  /* PTP: index of the pmap */
	uint32_t parent; /* PTP: pfn of the table that holds its entry, 0 below the L4 */
	uint8_t state;
	uint8_t level; /* PTP: 1..3 */
	uint8_t attrs; /* PG_U and PG_M seen in entries that are gone */
	uint8_t pad;
	uint32_t sharers; /* replay: address spaces that hold it as theirs (an_ref) */
};

/* An L4 page of the pdp cache. */
struct xm_pdir {
	uint32_t next;
	uint32_t pfn;
	uint32_t built; /* the constructor ran: read-only, pinned */
	uint32_t pad;
};

struct xm_pmap {
	uint32_t next; /* pool */
	uint16_t gen;
	uint8_t live;   /* the handle is valid */
	uint8_t pinned; /* stock: PMF_USER_XPIN */
	uint32_t refs;  /* the handle's and the processor's */
	uint32_t pdir;  /* index */
	uint32_t pfn;   /* pm_pdirpa */
	uint32_t ptps;
	uint64_t resident; /* valid entries */
};

struct xm_vm;

struct xm_kernel {
	struct xm_machine *m;
	struct xm_domain *d; /* NULL: native */
	struct xm_cpu cpu;   /* native */
	uint32_t design;
	uint32_t alive;

	struct xm_page *pages;
	uint64_t frames; /* pfns below this */
	uint64_t first;  /* the first that is managed */
	uint64_t fresh;  /* the first never given out */
	uint64_t free_pages;
	uint64_t free_head;

	uint64_t root;                 /* machine frame of the L4 the kernel was booted on */
	uint64_t kva;                  /* VM_MIN_KERNEL_ADDRESS */
	uint64_t kl2;                  /* machine frame of the L2 that maps it */
	uint8_t kl1[XM_KVA_L1_TABLES]; /* its entries that exist */
	uint64_t dummy;                /* pfn of xen_dummy_user_pgd */
	uint64_t user_base;            /* xen_current_user_pgd, as pfn */
	uint64_t kslot[256];           /* machine frame of the user L3 in each slot of the kernel L4, 0: none */
	uint64_t kpte;                 /* PG_k */

	struct xm_pool pmaps;
	struct xm_pool pdirs;
	uint32_t pdir_raw;  /* mapped, not built */
	uint32_t pdir_free; /* built, in the cache */
	uint32_t live;      /* user pmaps */
	uint32_t current;   /* index of the running process's pmap, 0: none */
	uint32_t loaded;    /* index of the pmap on the processor, 0: the kernel's */

	struct xm_vm *vm; /* the replay's processes, made by the first event */

	uint32_t queued;
	uint32_t pad2;
	struct xm_mmu_update queue[XM_XPQUEUE_SIZE];

	struct xm_kernel_counters count;
	struct xm_counters at_boot;
	char panic[240];
};

#define XM_COUNT(k, field) XM_PUT((k)->m, (k)->count.field, (k)->count.field + 1)

static inline int xm_is_native(const struct xm_kernel *k)
{
	return !k->d;
}

/* ---- pool.c ---- */
void xm_pool_init(struct xm_pool *p, uint32_t size, uint32_t shift);
void xm_pool_free_slabs(struct xm_machine *m, struct xm_pool *p);
/* 0 when the host has no memory; the element's other words are as its last user left them, or zero. */
uint32_t xm_pool_get(struct xm_machine *m, struct xm_pool *p);
void xm_pool_put(struct xm_machine *m, struct xm_pool *p, uint32_t i);

static inline void *xm_pool_at(const struct xm_pool *p, uint32_t i)
{
	return p->slab[i >> p->shift] + (size_t)(i & ((1U << p->shift) - 1)) * p->size;
}

static inline struct xm_pmap *xm_pmap_at(const struct xm_kernel *k, uint32_t i)
{
	return xm_pool_at(&k->pmaps, i);
}

static inline struct xm_pdir *xm_pdir_at(const struct xm_kernel *k, uint32_t i)
{
	return xm_pool_at(&k->pdirs, i);
}

/* The kernel's own virtual page n of the upper half. */
static inline uint64_t xm_kva_page(const struct xm_kernel *k, uint64_t n)
{
	return k->kva + XM_KVA_CALLERS + n * XM_PAGE_SIZE;
}

/* Kernel virtual address of a pmap's L4 (pm_pdir). */
static inline uint64_t xm_pdir_va(const struct xm_kernel *k, uint32_t pdir)
{
	return xm_kva_page(k, XM_KVA_PDIRS + (uint64_t)pdir);
}

/* ---- access.c: memory as the kernel sees it; 0 or XM_E_PANIC ---- */
int xm_panic(struct xm_kernel *k, const char *format, ...);
int xm_kload(struct xm_kernel *k, uint64_t va, uint64_t *ret);
int xm_kstore(struct xm_kernel *k, uint64_t va, uint64_t value);
/* Whole pages by string instructions; the first word goes through the ordinary access. */
int xm_kfill_page(struct xm_kernel *k, uint64_t va);
int xm_kcopy_page(struct xm_kernel *k, uint64_t src, uint64_t dst);
int xm_kread_words(struct xm_kernel *k, uint64_t va, unsigned n, uint64_t *ret);
/* *pa_ret is a frame's pseudo-physical number; it may be anything. */
int xm_mtop(struct xm_kernel *k, uint64_t entry, uint64_t *pfn_ret);
/* Ready for an operation: the kernel has the processor. */
int xm_kernel_enter(struct xm_kernel *k);

static inline uint64_t xm_ptom(const struct xm_kernel *k, uint64_t pfn)
{
	return xm_is_native(k) ? pfn : xm_domain_mfn(k->d, pfn);
}

static inline uint64_t xm_ptoma(const struct xm_kernel *k, uint64_t pfn)
{
	return xm_ptom(k, pfn) << XM_PAGE_SHIFT;
}

/* ---- queue.c ---- */
int xm_xpq_queue(struct xm_kernel *k, uint64_t ma, uint64_t value);
int xm_xpq_flush(struct xm_kernel *k);
int xm_xpq_mmuext(struct xm_kernel *k, uint32_t cmd, uint64_t arg);
int xm_xpq_set_user_pgd(struct xm_kernel *k, uint64_t pfn);
int xm_xpq_update_va(struct xm_kernel *k, uint64_t va, uint64_t value);
int xm_tlbflush(struct xm_kernel *k);
int xm_invlpg(struct xm_kernel *k, uint64_t va);
/* pmap_pte_set, pmap_pte_testset: the entry at a linear address. */
int xm_pte_set(struct xm_kernel *k, uint64_t ptep, uint64_t value);
int xm_pte_flush(struct xm_kernel *k);
int xm_pte_testset(struct xm_kernel *k, uint64_t ptep, uint64_t value, uint64_t *old_ret);
int xm_pte_read(struct xm_kernel *k, uint64_t ptep, uint64_t *ret);

/* ---- page.c ---- */
uint64_t xm_page_get(struct xm_kernel *k, int state); /* pfn, or XM_NO_FRAME */
void xm_page_put(struct xm_kernel *k, uint64_t pfn);
void xm_page_mapped(struct xm_kernel *k, uint64_t pfn, int by);
/* A user page named by pa? */
int xm_page_check(const struct xm_kernel *k, uint64_t pa);
int xm_zero_pfn(struct xm_kernel *k, uint64_t pfn);
int xm_copy_pfn(struct xm_kernel *k, uint64_t src, uint64_t dst);
int xm_kenter(struct xm_kernel *k, uint64_t va, uint64_t pfn, int writable);
int xm_growkernel(struct xm_kernel *k, unsigned l1);

/* ---- map_ptes.c ---- */
/* Where the entries of a pmap are to be found until xm_unmap_ptes. */
struct xm_ptes {
	uint32_t pm;    /* index, 0: kernel */
	uint32_t outer; /* slot of the linear map: PTE or APTE */
	uint64_t l4;    /* address of the L4 as data, 0: through the linear map */
	uint64_t entry; /* after xm_pdes_invalid returned 0: the L2 entry */
};
int xm_map_ptes(struct xm_kernel *k, uint32_t pm, struct xm_ptes *ret);
int xm_unmap_ptes(struct xm_kernel *k, struct xm_ptes *p);
uint64_t xm_ptes_entry(const struct xm_ptes *p, uint64_t va, unsigned level);
/* pmap_pdes_invalid: level of the first entry that is not valid, 0 if none; negative after a panic. */
int xm_pdes_invalid(struct xm_kernel *k, struct xm_ptes *p, uint64_t va);
int xm_apdp_forget(struct xm_kernel *k, uint32_t pm);

/* ---- ptp.c ---- */
int xm_get_ptp(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, uint64_t *ptp_ret);
int xm_find_ptp(struct xm_kernel *k, const struct xm_ptes *p, uint64_t *ptp_ret);
int xm_free_ptp(struct xm_kernel *k, struct xm_ptes *p, uint64_t va, uint64_t ptp);

/* ---- pmap.c ---- */
int xm_shootdown(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva);
int xm_do_extract(struct xm_kernel *k, uint32_t pm, uint64_t va, int *found_ret, uint64_t *pa_ret);
int xm_do_enter(struct xm_kernel *k, uint32_t pm, uint64_t va, uint64_t pfn, uint32_t prot, uint32_t flags);
int xm_do_remove(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva);
int xm_do_protect(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva, uint32_t prot);

/* ---- load.c ---- */
uint32_t xm_pmap_handle(const struct xm_kernel *k, uint32_t i);
/* Index of a live user pmap, or 0. */
uint32_t xm_pmap_index(const struct xm_kernel *k, uint32_t handle);
int xm_pdir_refill(struct xm_kernel *k);
int xm_do_create(struct xm_kernel *k, uint32_t *pm_ret);
int xm_do_destroy(struct xm_kernel *k, uint32_t pm);
int xm_pmap_load(struct xm_kernel *k, uint32_t pm);
/* Back to user mode: the running process's pmap is loaded and the processor given to it. */
int xm_return_to_user(struct xm_kernel *k);

/* ---- process.c ---- */
int xm_do_exit(struct xm_kernel *k, uint32_t pm);
void xm_do_switch(struct xm_kernel *k, uint32_t pm);
/* An access of the running process in user mode, which stays in user mode if it did not fault. */
struct xm_user_access {
	uint64_t va;
	uint64_t value;
	uint32_t access; /* enum xm_access */
	uint32_t size;
};
int xm_do_user_access(struct xm_kernel *k, struct xm_user_access *a, struct xm_guest_fault *fault);

/* ---- vmspace.c ---- */
void xm_vm_free(struct xm_machine *m, struct xm_vm *vm);

#endif
