/* Temporary: floor 2 is being written. */
#include "../xenmmu.h"
#pragma GCC diagnostic ignored "-Wunused-parameter"
const char *xm_reason_text(int reason) { return NULL; }
int xm_reason_errno(int reason) { return 0; }
struct xm_xen *xm_xen_new(struct xm_machine *m, const struct xm_xen_options *options, int *status_ret) { return NULL; }
void xm_xen_free(struct xm_xen *x) {  }
struct xm_machine *xm_xen_machine(const struct xm_xen *x) { return NULL; }
struct xm_xen_options xm_xen_options(const struct xm_xen *x) { struct xm_xen_options r={0}; return r; }
uint64_t xm_xen_free_frames(const struct xm_xen *x) { return 0; }
int xm_xen_frame(const struct xm_xen *x, uint64_t mfn, struct xm_frame *ret) { return 0; }
uint64_t xm_xen_m2p(const struct xm_xen *x, uint64_t mfn) { return 0; }
struct xm_domain *xm_domain_new(struct xm_xen *x, uint64_t frames, uint32_t flags, int *status_ret) { return NULL; }
struct xm_xen *xm_domain_xen(const struct xm_domain *d) { return NULL; }
uint32_t xm_domain_id(const struct xm_domain *d) { return 0; }
int xm_domain_alive(const struct xm_domain *d) { return 0; }
uint64_t xm_domain_frames(const struct xm_domain *d) { return 0; }
uint64_t xm_domain_mfn(const struct xm_domain *d, uint64_t pfn) { return 0; }
uint64_t xm_domain_shared_info(const struct xm_domain *d) { return 0; }
uint64_t xm_domain_boot_frames(const struct xm_domain *d) { return 0; }
uint64_t xm_domain_kernel_root(const struct xm_domain *d) { return 0; }
uint64_t xm_domain_user_root(const struct xm_domain *d) { return 0; }
int xm_domain_user_mode(const struct xm_domain *d) { return 0; }
struct xm_counters xm_domain_counters(const struct xm_domain *d) { struct xm_counters r={0}; return r; }
int xm_mmu_update(struct xm_domain *d, const struct xm_mmu_update *reqs, uint32_t count, uint32_t foreigndom, struct xm_result *ret) { return 0; }
int xm_update_va_mapping(struct xm_domain *d, uint64_t va, uint64_t val, uint64_t flags, struct xm_result *ret) { return 0; }
int xm_update_va_mapping_otherdomain(struct xm_domain *d, uint64_t va, uint64_t val, uint64_t flags, uint32_t domid, struct xm_result *ret) { return 0; }
int xm_mmuext_op(struct xm_domain *d, const struct xm_mmuext_op *ops, uint32_t count, uint32_t foreigndom, struct xm_result *ret) { return 0; }
int xm_vm_assist(struct xm_domain *d, uint32_t cmd, uint32_t type, struct xm_result *ret) { return 0; }
int xm_enter_user(struct xm_domain *d) { return 0; }
int xm_enter_kernel(struct xm_domain *d) { return 0; }
int xm_guest_load(struct xm_domain *d, uint64_t va, unsigned size, uint64_t *value_ret, struct xm_guest_fault *fault) { return 0; }
int xm_guest_store(struct xm_domain *d, uint64_t va, unsigned size, uint64_t value, struct xm_guest_fault *fault) { return 0; }
int xm_guest_fetch(struct xm_domain *d, uint64_t va, struct xm_guest_fault *fault) { return 0; }
int xm_guest_walk(const struct xm_domain *d, uint64_t va, uint32_t access, struct xm_walk *ret) { return 0; }
const struct xm_frame *xm_xen_frame_table(const struct xm_xen *x) { return NULL; }
size_t xm_xen_roots(const struct xm_xen *x, struct xm_root *ret, size_t max) { return 0; }
struct xm_domain *xm_xen_domain(const struct xm_xen *x, uint32_t domid) { return NULL; }
