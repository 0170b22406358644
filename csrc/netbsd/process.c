/*
 * process.c - processes, as far as the pmap sees them, and what they do in user mode.
 *
 * Knows: pmap_copy does nothing, so fork copies no entry and only write-protects the parent (amap copy on write); exec
 * and exit remove everything; a switch is pmap_activate, and pmap_load on the way back to user mode.
 * Does not know: the contents of an address space (vmspace.c).  A u-area comes from a cache and costs nothing.
 */
#include "kernel.h"

static int user_native(struct xm_kernel *k, struct xm_user_access *a, struct xm_guest_fault *fault)
{
	uint32_t access = a->access | XM_ACC_USER;
	struct xm_walk w = {0};
	uint64_t cr2 = a->va;
	int status = XM_OK;

	if (access & XM_ACC_EXECUTE)
		xm_access(&k->cpu, a->va, access, &w);
	else if (access & XM_ACC_WRITE)
		status = xm_cpu_store(&k->cpu, a->va, a->size, access, a->value, &cr2, &w);
	else
		status = xm_cpu_load(&k->cpu, a->va, a->size, access, &a->value, &cr2, &w);
	if (status)
		return status;
	*fault = (struct xm_guest_fault){.fault = w.fault, .user = 1};
	if (w.fault) {
		fault->cr2 = cr2;
		fault->error_code = (uint32_t)w.error_code;
		XM_COUNT(k, xen.faults);
	}
	return XM_OK;
}

int xm_do_user_access(struct xm_kernel *k, struct xm_user_access *a, struct xm_guest_fault *fault)
{
	int status = xm_return_to_user(k);

	if (status)
		return status;
	if (xm_is_native(k))
		return user_native(k, a, fault);
	if (a->access & XM_ACC_EXECUTE)
		status = xm_guest_fetch(k->d, a->va, fault);
	else if (a->access & XM_ACC_WRITE)
		status = xm_guest_store(k->d, a->va, a->size, a->value, fault);
	else
		status = xm_guest_load(k->d, a->va, a->size, &a->value, fault);
	/* The exception enters the kernel. */
	if (!status && fault->fault && xm_domain_user_mode(k->d))
		status = xm_enter_kernel(k->d);
	return status;
}

void xm_do_switch(struct xm_kernel *k, uint32_t pm)
{
	XM_PUT(k->m, k->current, pm);
}

int xm_do_exit(struct xm_kernel *k, uint32_t pm)
{
	if (k->current == pm)
		xm_do_switch(k, 0);
	return xm_do_destroy(k, pm);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static int check_process(struct xm_kernel *k, uint32_t pm, uint32_t *index_ret)
{
	int status = xm_kernel_enter(k);

	*index_ret = xm_pmap_index(k, pm);
	if (!status && !*index_ret)
		status = XM_E_ARGUMENT;
	return status;
}

int xm_kernel_fork(struct xm_kernel *k, uint32_t pm, uint32_t *child_ret)
{
	uint32_t i, child;
	int status = check_process(k, pm, &i);

	if (!status)
		status = xm_do_create(k, &child);
	if (!status)
		status = xm_do_protect(k, i, 0, XM_VM_MAXUSER_ADDRESS, XM_VM_PROT_READ | XM_VM_PROT_EXECUTE);
	if (!status)
		*child_ret = xm_pmap_handle(k, child);
	return status;
}

int xm_kernel_exec(struct xm_kernel *k, uint32_t pm)
{
	uint32_t i;
	int status = check_process(k, pm, &i);

	return status ? status : xm_do_remove(k, i, 0, XM_VM_MAXUSER_ADDRESS);
}

int xm_kernel_exit(struct xm_kernel *k, uint32_t pm)
{
	uint32_t i;
	int status = check_process(k, pm, &i);

	return status ? status : xm_do_exit(k, i);
}

int xm_kernel_switch(struct xm_kernel *k, uint32_t pm)
{
	uint32_t i = 0;
	int status = pm == XM_PMAP_KERNEL ? xm_kernel_enter(k) : check_process(k, pm, &i);

	if (status)
		return status;
	xm_do_switch(k, i);
	return i ? xm_pmap_load(k, i) : XM_OK;
}

/* The processor is the kernel's before and after: each access is a return to user mode and a trap. */
static int user_call(struct xm_kernel *k, struct xm_user_access *a, struct xm_guest_fault *fault)
{
	struct xm_guest_fault f = {0};
	int status = xm_kernel_enter(k);

	if (!status)
		status = xm_do_user_access(k, a, &f);
	if (k->alive && k->d && xm_domain_user_mode(k->d))
		xm_enter_kernel(k->d);
	if (!status)
		*fault = f;
	return status;
}

int xm_user_load(struct xm_kernel *k, uint64_t va, unsigned size, uint64_t *value_ret, struct xm_guest_fault *fault)
{
	struct xm_user_access a = {.va = va, .size = size};
	int status = user_call(k, &a, fault);

	if (!status && !fault->fault)
		*value_ret = a.value;
	return status;
}

int xm_user_store(struct xm_kernel *k, uint64_t va, unsigned size, uint64_t value, struct xm_guest_fault *fault)
{
	struct xm_user_access a = {.va = va, .value = value, .access = XM_ACC_WRITE, .size = size};

	return user_call(k, &a, fault);
}

int xm_user_fetch(struct xm_kernel *k, uint64_t va, struct xm_guest_fault *fault)
{
	struct xm_user_access a = {.va = va, .access = XM_ACC_EXECUTE, .size = 1};

	return user_call(k, &a, fault);
}
