/*
 * log.c - replay of a recording made by a real Xen: what a guest asked of it, and what it answered.
 *
 * Knows: the format, little-endian words; a record is a head word, kind | n << 8, then n words, in order of execution:
 *
 *	1	element of mmu_update: ptr, val, foreigndom, rc, index in its batch
 *	2	element of mmuext_op: cmd, arg1, arg2, foreigndom, rc
 *	3	update_va_mapping: va, val, flags, rc, machine address of the L1 entry (all ones: none)
 *	4	word stored by write emulation: its machine address, new value, old value, bytes, 1 for cmpxchg
 *	5	a frame when its validation begins: mfn | level << 56, a bitmap of 8 words, the entries that are not zero
 *	6	anything else
 *	7	another hypercall: number, first three arguments, rc.  Done again: set_gdt where the image holds the list of
 *		frames, update_descriptor, vm_assist.  Left out: the others, and those are counted that had success and
 *		can have changed frames, for nothing says how
 *
 * Does not know: what the guest stored into frames that are not tables, which is why kind 5 says what a frame held when
 * Xen first looked at it.  Xen stops a long validation half way and has the guest ask again (-ERESTART); the emulator
 * never stops, so such an element is left out and done when it comes again.
 */
#include "xen.h"

#define ERESTART 85
#define NO_ENTRY (~0ULL)

#define HYPERVISOR_SET_GDT 2
#define HYPERVISOR_UPDATE_DESCRIPTOR 10
#define HYPERVISOR_MEMORY_OP 12
#define HYPERVISOR_GRANT_TABLE_OP 20
#define HYPERVISOR_VM_ASSIST 21
#define HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN 22
#define HYPERVISOR_VCPU_OP 24
#define HYPERVISOR_EVENT_CHANNEL_OP 32
#define HYPERVISOR_PHYSDEV_OP 33
#define HYPERVISOR_DOMCTL 36
#define HYPERVISOR_XENPMU_OP 40

static void differ(struct xm_log_report *ret, unsigned kind, uint64_t recorded, uint64_t found, unsigned reason)
{
	if (ret->differences++)
		return;
	ret->at = ret->words;
	ret->recorded = (int64_t)recorded;
	ret->found = (int64_t)found;
	ret->reason = reason;
	ret->kind = kind;
}

static void compare(struct xm_log_report *ret, unsigned kind, uint64_t recorded, const struct xm_result *found)
{
	if (recorded != (uint64_t)found->rc)
		differ(ret, kind, recorded, (uint64_t)found->rc, found->reason);
}

static int was_preempted(struct xm_log_report *ret, uint64_t rc)
{
	if (rc != (uint64_t)-ERESTART)
		return 0;
	ret->preempted++;
	return 1;
}

static int element_of_mmu_update(struct xm_domain *d, const uint64_t *w, struct xm_log_report *ret)
{
	struct xm_mmu_update req = {w[0], w[1]};
	struct xm_result result = {0};
	int status;

	if (was_preempted(ret, w[3]))
		return XM_OK;
	status = xm_mmu_update(d, &req, 1, (uint32_t)w[2], &result);
	if (!status)
		compare(ret, 1, w[3], &result);
	return status;
}

static int element_of_mmuext_op(struct xm_domain *d, const uint64_t *w, struct xm_log_report *ret)
{
	struct xm_mmuext_op op = {.cmd = (uint32_t)w[0], .arg1 = w[1], .arg2 = w[2]};
	struct xm_result result = {0};
	int status;

	if (was_preempted(ret, w[4]))
		return XM_OK;
	status = xm_mmuext_op(d, &op, 1, (uint32_t)w[3], &result);
	/* What the copy holds is not known either; a table is made of it when kind 5 has told. */
	if (!status && op.cmd == XM_MMUEXT_COPY_PAGE && result.reason == XM_R_NOT_CAPTURED)
		result.rc = 0;
	if (!status)
		compare(ret, 2, w[4], &result);
	return status;
}

static int va_mapping(struct xm_domain *d, const uint64_t *w, struct xm_log_report *ret)
{
	struct xm_result result = {0};
	int status;

	if (was_preempted(ret, w[3]))
		return XM_OK;
	if (w[4] != NO_ENTRY && xm_addr_ok(w[0])) {
		uint64_t pa = xm_find_entry(d, d->vcpu.kernel_root, w[0], 1);

		if (pa != w[4])
			differ(ret, 3, w[4], pa, 0);
	}
	status = xm_update_va_mapping(d, w[0], w[1], w[2], &result);
	if (!status)
		compare(ret, 3, w[3], &result);
	return status;
}

/* A and D of what is there are the processor's, which is not recorded. */
static int emulated_store(struct xm_domain *d, const uint64_t *w, struct xm_log_report *ret)
{
	struct xm_machine *m = d->xen->machine;
	uint64_t old;
	int reason;

	if (w[0] % 8)
		return XM_E_ARGUMENT;
	if (!xm_is_own_l1(d, w[0] >> XM_PAGE_SHIFT)) {
		differ(ret, 4, w[1], NO_ENTRY, 0);
		return XM_OK;
	}
	old = xm_peek(m, w[0]);
	if ((old ^ w[2]) & ~(uint64_t)(XM_PTE_A | XM_PTE_D))
		differ(ret, 4, w[2], old, 0);
	reason = xm_ptwr_update(d, w[0], w[1]);
	if (reason)
		differ(ret, 4, 0, (uint64_t)-xm_reason_errno(reason), (unsigned)reason);
	return XM_OK;
}

static int contents(struct xm_domain *d, const uint64_t *w, uint64_t n, struct xm_log_report *ret)
{
	uint64_t mfn = w[0] & ((1ULL << 56) - 1), words[512] = {0}, used = 9;
	const struct xm_frame *f;

	if (!xm_mfn_valid(d->xen, mfn))
		return XM_E_ARGUMENT;
	for (unsigned i = 0; i < 512; i++) {
		if (!(w[1 + i / 64] >> i % 64 & 1))
			continue;
		if (used == n)
			return XM_E_ARGUMENT;
		words[i] = w[used++];
	}
	if (used != n)
		return XM_E_ARGUMENT;
	f = &d->xen->frame[mfn];
	/* A table that is in use already is not validated again. */
	if (!xm_domain_by_id(d->xen, f->owner) || (xm_type(f) != XM_PGT_WRITABLE && xm_type_count(f)))
		differ(ret, 5, w[0], f->type_info, 0);
	else
		xm_write(d->xen->machine, mfn << XM_PAGE_SHIFT, words, XM_PAGE_SIZE);
	return XM_OK;
}

static int frame_list(struct xm_domain *d, uint64_t va, uint64_t entries, uint64_t *frames)
{
	for (uint64_t i = 0; i < XM_GDT_PAGES && i * XM_DESCRIPTORS_IN_PAGE < entries; i++)
		if (!xm_copy_from_guest(d, va + i * 8, &frames[i]))
			return 0;
	return 1;
}

/* Commands of the hypercalls that have some which take, give back or change frames, and others. */
static int command_changes_frames(uint64_t call, uint64_t cmd)
{
	static const struct {
		uint16_t call;
		uint64_t commands; /* bit n: command n */
	} known[] = {
		/* increase and decrease reservation, populate, add_to_physmap, exchange, remove, batch, acquire */
		{HYPERVISOR_MEMORY_OP,
		 1ULL << 0 | 1ULL << 1 | 1ULL << 6 | 1ULL << 7 | 1ULL << 11 | 1ULL << 15 | 1ULL << 23 | 1ULL << 28},
		/* initialise, register_vcpu_info, which hold frames */
		{HYPERVISOR_VCPU_OP, 1ULL << 0 | 1ULL << 10},
		/* init_control, expand_array */
		{HYPERVISOR_EVENT_CHANNEL_OP, 1ULL << 11 | 1ULL << 12},
		/* pirq_eoi_gmfn, both versions */
		{HYPERVISOR_PHYSDEV_OP, 1ULL << 17 | 1ULL << 28},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (known[i].call == call)
			return known[i].commands >> (cmd & 63) & 1;
	return call == HYPERVISOR_SET_GDT || call == HYPERVISOR_GRANT_TABLE_OP || call == HYPERVISOR_DOMCTL ||
	       call == HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN || call == HYPERVISOR_XENPMU_OP;
}

static void leave_out(const uint64_t *w, struct xm_log_report *ret)
{
	ret->not_modelled++;
	if ((int64_t)w[4] < 0 || !command_changes_frames(w[0], w[1]))
		return;
	if (ret->unseen++)
		return;
	ret->unseen_at = ret->words;
	ret->unseen_call = w[0];
}

static int other_hypercall(struct xm_domain *d, const uint64_t *w, struct xm_log_report *ret)
{
	uint64_t frames[XM_GDT_PAGES] = {0};
	struct xm_result result = {0};
	int status;

	if (w[0] == HYPERVISOR_SET_GDT && frame_list(d, w[1], (uint32_t)w[2], frames)) {
		status = xm_set_gdt(d, frames, (uint32_t)w[2], &result);
	} else if (w[0] == HYPERVISOR_UPDATE_DESCRIPTOR) {
		status = xm_update_descriptor(d, w[1], w[2], &result);
	} else if (w[0] == HYPERVISOR_VM_ASSIST) {
		status = xm_vm_assist(d, (uint32_t)w[1], (uint32_t)w[2], &result);
	} else {
		leave_out(w, ret);
		return XM_OK;
	}
	if (!status)
		compare(ret, 7, w[4], &result);
	return status;
}

static int record(struct xm_domain *d, unsigned kind, const uint64_t *w, uint64_t n, struct xm_log_report *ret)
{
	switch (kind) {
	case 1:
		return n == 5 ? element_of_mmu_update(d, w, ret) : XM_E_ARGUMENT;
	case 2:
		return n == 5 ? element_of_mmuext_op(d, w, ret) : XM_E_ARGUMENT;
	case 3:
		return n == 5 ? va_mapping(d, w, ret) : XM_E_ARGUMENT;
	case 4:
		return n == 5 ? emulated_store(d, w, ret) : XM_E_ARGUMENT;
	case 5:
		return n >= 9 ? contents(d, w, n, ret) : XM_E_ARGUMENT;
	case 6:
		ret->not_modelled++;
		return XM_OK;
	case 7:
		if (n == 5)
			return other_hypercall(d, w, ret);
		ret->not_modelled++;
		return XM_OK;
	default:
		return XM_E_ARGUMENT;
	}
}

int xm_log_replay(struct xm_domain *d, const uint64_t *words, uint64_t n, struct xm_log_report *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!d->alive)
		return XM_E_STATE;
	/* Hypercalls are the kernel's; the recording does not say when it left and came back. */
	if (d->vcpu.user_mode && xm_enter_kernel(d))
		return XM_E_STATE;
	while (ret->words < n) {
		uint64_t head = words[ret->words], length = head >> 8;
		unsigned kind = head & 0xff;
		int status;

		if (length >= n - ret->words)
			return XM_E_ARGUMENT;
		status = record(d, kind, words + ret->words + 1, length, ret);
		if (status)
			return status;
		ret->records[kind]++;
		ret->operations += kind >= 1 && kind <= 4;
		ret->words += 1 + length;
	}
	return XM_OK;
}
