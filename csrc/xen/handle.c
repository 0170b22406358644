/*
 * handle.c - copies between Xen and the memory of the guest that called it.
 *
 * Knows: where a guest's array may begin, that a copy goes as far as the mappings do, in ring 0 but with CR0.WP, and
 * that write emulation does not serve Xen's own accesses.  Does not know: what is in the arrays.
 *
 * Xen 4.17: array_access_ok (asm/x86_64/uaccess.h), copy_from_guest_ll and copy_to_guest_ll (arch/x86/usercopy.c).
 */
#include "handle.h"

/* Only the beginning is looked at: what runs on from below 2^47 leaves the canonical addresses and faults. */
int xm_handle_okay(uint64_t va, uint64_t count, uint64_t size)
{
	return count < ~0ULL / size && xm_addr_ok(va);
}

/* The widest access at va that copying n bytes makes: aligned words, single bytes around them. */
static unsigned step(uint64_t va, unsigned n)
{
	return va % 8 == 0 && n >= 8 ? 8 : 1;
}

/* Hypercalls come from kernel mode, so the root that is loaded is the kernel's. */
static struct xm_cpu xen_cpu(const struct xm_domain *d)
{
	struct xm_cpu cpu = d->vcpu.cpu;

	cpu.cr3 = d->vcpu.kernel_root << XM_PAGE_SHIFT;
	cpu.tlb = NULL;
	return cpu;
}

/* 0 when a byte of it is not there; the bytes below that one are read. */
int xm_read_guest(struct xm_domain *d, uint64_t va, void *ret, unsigned n)
{
	struct xm_cpu cpu = xen_cpu(d);
	uint64_t value, cr2;
	struct xm_walk w;
	unsigned size;

	for (unsigned i = 0; i < n; i += size) {
		size = step(va + i, n - i);
		if (xm_cpu_load(&cpu, va + i, size, XM_ACC_READ, &value, &cr2, &w) || w.fault)
			return 0;
		memcpy((uint8_t *)ret + i, &value, size);
	}
	return 1;
}

/* The same the other way; the bytes below the one that faults are written. */
int xm_write_guest(struct xm_domain *d, uint64_t va, const void *data, unsigned n)
{
	struct xm_cpu cpu = xen_cpu(d);
	struct xm_walk w;
	uint64_t cr2;
	unsigned size;

	for (unsigned i = 0; i < n; i += size) {
		uint64_t value = 0;

		size = step(va + i, n - i);
		memcpy(&value, (const uint8_t *)data + i, size);
		if (xm_cpu_store(&cpu, va + i, size, XM_ACC_WRITE, value, &cr2, &w) || w.fault)
			return 0;
	}
	return 1;
}

/* One access: __copy_field_to_guest and its like, which are stores of the size where that is an integer's. */
int xm_put_guest(struct xm_domain *d, uint64_t va, uint64_t value, unsigned size)
{
	struct xm_cpu cpu = xen_cpu(d);
	struct xm_walk w;
	uint64_t cr2;

	return !xm_cpu_store(&cpu, va, size, XM_ACC_WRITE, value, &cr2, &w) && !w.fault;
}

int xm_bad_handle(struct xm_domain *d, struct xm_result *ret)
{
	return xm_finish(d, xm_refuse(d->xen, XM_R_BAD_HANDLE, 0, 0, 0), ret);
}
