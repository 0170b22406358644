/*
 * access.c - memory as the kernel sees it: every word through the page tables, by a walk.
 *
 * Knows: that the kernel of a domain runs in ring 3 on the kernel root, and a native one in ring 0 on CR3; that string
 * instructions move whole pages.  Does not know: what the words mean.
 *
 * Xen's machine-to-physical table is memory too (machine_to_phys_mapping, xen/include/public/arch-x86/xen.h).
 */
#include "kernel.h"

#include <stdarg.h>
#include <stdio.h>

int xm_panic(struct xm_kernel *k, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(k->panic, sizeof(k->panic), format, args);
	va_end(args);
	k->queued = 0;
	return XM_E_PANIC;
}

static int fault_panic(struct xm_kernel *k, const char *what, uint64_t va, int fault, uint32_t error_code)
{
	return xm_panic(k, "%s fault in kernel mode at 0x%llx, kind %d, error code 0x%x", what, (unsigned long long)va,
			fault, error_code);
}

static inline int kload(struct xm_kernel *k, uint64_t va, uint64_t *ret)
{
	if (!xm_is_native(k)) {
		struct xm_guest_fault f;
		int status = xm_guest_load(k->d, va, 8, ret, &f);

		if (status)
			return xm_panic(k, "load at 0x%llx: %s", (unsigned long long)va, xm_strerror(status));
		return f.fault ? fault_panic(k, "load", f.cr2, f.fault, f.error_code) : XM_OK;
	}
	struct xm_walk w;
	uint64_t cr2;

	if (xm_cpu_load(&k->cpu, va, 8, XM_ACC_READ, ret, &cr2, &w))
		return xm_panic(k, "load at 0x%llx", (unsigned long long)va);
	return w.fault ? fault_panic(k, "load", cr2, w.fault, (uint32_t)w.error_code) : XM_OK;
}

int xm_kload(struct xm_kernel *k, uint64_t va, uint64_t *ret)
{
	return kload(k, va, ret);
}

int xm_kstore(struct xm_kernel *k, uint64_t va, uint64_t value)
{
	if (!xm_is_native(k)) {
		struct xm_guest_fault f;
		int status = xm_guest_store(k->d, va, 8, value, &f);

		if (status)
			return xm_panic(k, "store at 0x%llx: %s", (unsigned long long)va, xm_strerror(status));
		return f.fault ? fault_panic(k, "store", f.cr2, f.fault, f.error_code) : XM_OK;
	}
	struct xm_walk w;
	uint64_t cr2;

	if (xm_cpu_store(&k->cpu, va, 8, XM_ACC_WRITE, value, &cr2, &w))
		return xm_panic(k, "store at 0x%llx", (unsigned long long)va);
	return w.fault ? fault_panic(k, "store", cr2, w.fault, (uint32_t)w.error_code) : XM_OK;
}

/* Machine address of the page that va shows the kernel for this access; the word access before it set A and D. */
static int kpage(struct xm_kernel *k, uint64_t va, uint32_t access, uint64_t *pa_ret)
{
	struct xm_walk w;
	int status = XM_OK;

	if (xm_is_native(k))
		xm_walk(&k->cpu, va, access, &w);
	else
		status = xm_guest_walk(k->d, va, access | XM_ACC_USER, &w);
	if (status || w.fault || !xm_has_frame(k->m, w.pa >> XM_PAGE_SHIFT))
		return xm_panic(k, "page at 0x%llx is gone", (unsigned long long)va);
	*pa_ret = w.pa;
	return XM_OK;
}

int xm_kfill_page(struct xm_kernel *k, uint64_t va)
{
	static const uint8_t zero[XM_PAGE_SIZE];
	uint64_t pa = 0;
	int status = xm_kstore(k, va, 0);

	if (!status)
		status = kpage(k, va, XM_ACC_WRITE, &pa);
	if (!status)
		xm_write(k->m, pa, zero, XM_PAGE_SIZE);
	return status;
}

int xm_kcopy_page(struct xm_kernel *k, uint64_t src, uint64_t dst)
{
	uint64_t from = 0, to = 0, word = 0;
	int status = kload(k, src, &word);

	if (!status)
		status = xm_kstore(k, dst, word);
	if (!status)
		status = kpage(k, src, XM_ACC_READ, &from);
	if (!status)
		status = kpage(k, dst, XM_ACC_WRITE, &to);
	if (!status && from != to)
		xm_write(k->m, to, xm_words(k->m, from >> XM_PAGE_SHIFT), XM_PAGE_SIZE);
	return status;
}

int xm_kread_words(struct xm_kernel *k, uint64_t va, unsigned n, uint64_t *ret)
{
	uint64_t pa = 0;
	int status = kload(k, va, ret);

	if (!status)
		status = kpage(k, va, XM_ACC_READ, &pa);
	if (!status)
		status = xm_read(k->m, pa, ret, 8ULL * n);
	if (!status)
		XM_PUT(k->m, k->count.pte_reads, k->count.pte_reads + n);
	return status;
}

int xm_pte_read(struct xm_kernel *k, uint64_t ptep, uint64_t *ret)
{
	XM_COUNT(k, pte_reads);
	return kload(k, ptep, ret);
}

int xm_mtop(struct xm_kernel *k, uint64_t entry, uint64_t *pfn_ret)
{
	uint64_t mfn = (entry & XM_PG_FRAME) >> XM_PAGE_SHIFT;

	if (xm_is_native(k)) {
		*pfn_ret = mfn;
		return XM_OK;
	}
	XM_COUNT(k, m2p_reads);
	return kload(k, XM_RO_MPT_VIRT_START + mfn * 8, pfn_ret);
}

int xm_kernel_enter(struct xm_kernel *k)
{
	if (!k->alive || (k->d && !xm_domain_alive(k->d)))
		return XM_E_STATE;
	return k->d && xm_domain_user_mode(k->d) ? xm_enter_kernel(k->d) : XM_OK;
}
