/* Temporary: floor 3 is being written. */
#include "../xenmmu.h"
#pragma GCC diagnostic ignored "-Wunused-parameter"
struct xm_kernel * xm_kernel_new(struct xm_domain *d, int design, int *status_ret) { return NULL; }
struct xm_kernel * xm_kernel_new_native(struct xm_machine *m, int *status_ret) { return NULL; }
void xm_kernel_free(struct xm_kernel *k) {  }
int xm_kernel_design(const struct xm_kernel *k) { return XM_E_STATE; }
struct xm_machine * xm_kernel_machine(const struct xm_kernel *k) { return NULL; }
struct xm_domain * xm_kernel_domain(const struct xm_kernel *k) { return NULL; }
const char * xm_kernel_panic(const struct xm_kernel *k) { return NULL; }
struct xm_kernel_counters xm_kernel_counters(const struct xm_kernel *k) { struct xm_kernel_counters z = {0}; return z; }
const struct xm_cpu * xm_kernel_cpu(const struct xm_kernel *k) { return NULL; }
uint64_t xm_kernel_root(const struct xm_kernel *k) { return 0; }
uint64_t xm_kernel_dummy_root(const struct xm_kernel *k) { return 0; }
uint64_t xm_kernel_user_l4(const struct xm_kernel *k, uint32_t pm) { return 0; }
uint64_t xm_kernel_p2m(const struct xm_kernel *k, uint64_t pfn) { return 0; }
uint64_t xm_kernel_free_pages(const struct xm_kernel *k) { return 0; }
uint64_t xm_kernel_pmaps(const struct xm_kernel *k, uint32_t *ret, uint64_t n) { return 0; }
uint32_t xm_kernel_current(const struct xm_kernel *k) { return 0; }
int xm_uvm_pagealloc(struct xm_kernel *k, uint64_t *pa_ret) { return XM_E_STATE; }
int xm_uvm_pagefree(struct xm_kernel *k, uint64_t pa) { return XM_E_STATE; }
int xm_pmap_zero_page(struct xm_kernel *k, uint64_t pa) { return XM_E_STATE; }
int xm_pmap_copy_page(struct xm_kernel *k, uint64_t src, uint64_t dst) { return XM_E_STATE; }
int xm_pmap_create(struct xm_kernel *k, uint32_t *pm_ret) { return XM_E_STATE; }
int xm_pmap_destroy(struct xm_kernel *k, uint32_t pm) { return XM_E_STATE; }
int xm_pmap_enter(struct xm_kernel *k, uint32_t pm, uint64_t va, uint64_t pa, uint32_t prot, uint32_t flags) { return XM_E_STATE; }
int xm_pmap_extract(struct xm_kernel *k, uint32_t pm, uint64_t va, int *found_ret, uint64_t *pa_ret) { return XM_E_STATE; }
int xm_pmap_remove(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva) { return XM_E_STATE; }
int xm_pmap_protect(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva, uint32_t prot) { return XM_E_STATE; }
int xm_pmap_kenter_pa(struct xm_kernel *k, uint64_t va, uint64_t pa, uint32_t prot) { return XM_E_STATE; }
int xm_pmap_kremove(struct xm_kernel *k, uint64_t va, uint64_t len) { return XM_E_STATE; }
int xm_kernel_fork(struct xm_kernel *k, uint32_t pm, uint32_t *child_ret) { return XM_E_STATE; }
int xm_kernel_exec(struct xm_kernel *k, uint32_t pm) { return XM_E_STATE; }
int xm_kernel_exit(struct xm_kernel *k, uint32_t pm) { return XM_E_STATE; }
int xm_kernel_switch(struct xm_kernel *k, uint32_t pm) { return XM_E_STATE; }
int xm_user_load(struct xm_kernel *k, uint64_t va, unsigned size, uint64_t *value_ret, struct xm_guest_fault *fault) { return XM_E_STATE; }
int xm_user_store(struct xm_kernel *k, uint64_t va, unsigned size, uint64_t value, struct xm_guest_fault *fault) { return XM_E_STATE; }
int xm_user_fetch(struct xm_kernel *k, uint64_t va, struct xm_guest_fault *fault) { return XM_E_STATE; }
int xm_replay(struct xm_kernel *k, const struct xm_event *events, uint64_t n, struct xm_replay_stats *stats) { return XM_E_STATE; }
int xm_replay_pmap(const struct xm_kernel *k, uint32_t pid, uint32_t *pm_ret) { return XM_E_STATE; }
