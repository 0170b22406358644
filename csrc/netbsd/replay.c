/*
 * replay.c - a recorded history of processes, applied to the kernel event by event.
 *
 * Knows: uvm_fault and the calls of uvm_map that reach the pmap (uvm/uvm_fault.c, uvm_map.c of 2007-08).  A fault event
 * is a touch: the process makes the access in user mode (or the kernel for it), by a walk of the tables as they
 * are, and only if that faults is there a fault to handle.
 *
 *	fault	 for MADV_NORMAL 3 pages back and 4 forward: pmap_extract, and pmap_enter for those held and not mapped;
 *		 then the page itself: held by nobody and written: zero-filled; held by nobody and read or fetched: a
 *		 page of the page cache, read-only; written and shared, or of the page cache: copied; else entered
 *	fork	 pmap_protect for each run of pages that has a writable one; the child starts with no entry
 *	exec	 pmap_remove for each run of pages; exit too, then pmap_destroy
 *	munmap	 pmap_remove of the range; mprotect pmap_protect; mmap over held pages and a shrinking break pmap_remove
 *
 * A run stands for a map entry, which the history does not tell: held pages inside 2 MiB with gaps under 16 pages.  A
 * vfork child gets a pmap of its own, like any child.  Histories have mappings in the last L4 slots of the user half,
 * where NetBSD has its linear map in the last of all: addresses from slot 240 up move down by one slot.  A fault beyond
 * the user half (vsyscall, a stray pointer) is none of the pmap's: the process gets its signal.
 */
#include "vmspace.h"

#define MOVED_FROM (240ULL * XM_NBPD_L4)
#define ADDRESS_END 0x800000000000ULL
/* What one event may need at most: a page, tables for it and for a neighbour to each side, a new process's L4. */
#define PAGES_WANTED 16
#define MMAP_FIXED 0x40

struct replay {
	struct xm_kernel *k;
	struct xm_replay_stats *stats;
	struct xm_proc *proc;
};

/* ---- the pmap, counted ------------------------------------------------------------------------------------------- */

static int enter(struct replay *r, uint64_t va, uint32_t held, uint32_t flags)
{
	uint32_t prot = XM_VM_PROT_READ | XM_VM_PROT_EXECUTE;
	int status;

	if (held & XM_HELD_WRITE)
		prot |= XM_VM_PROT_WRITE;
	r->stats->enters++;
	status = xm_do_enter(r->k, r->proc->pm, va, held & XM_HELD_PFN, prot, flags);
	return status ? status : xm_hold(r->k, r->proc, va, held);
}

/* May the process write the page as it is? */
static uint32_t as_held(const struct xm_kernel *k, uint32_t held)
{
	held &= ~XM_HELD_WRITE;
	if (!(held & XM_HELD_FILE) && k->pages[held & XM_HELD_PFN].sharers == 1)
		held |= XM_HELD_WRITE;
	return held;
}

static int remove_range(struct replay *r, uint64_t sva, uint64_t eva)
{
	int status;

	r->stats->removes++;
	status = xm_do_remove(r->k, r->proc->pm, sva, eva);
	if (!status)
		xm_let_go(r->k, r->proc, sva, eva);
	return status;
}

static int remove_held(struct replay *r, uint64_t sva, uint64_t eva)
{
	uint64_t run_end;
	int writable, status = XM_OK;

	while (!status && xm_next_run(r->k, r->proc, &sva, eva, &run_end, &writable))
		status = remove_range(r, sva, run_end);
	return status;
}

/* ---- whose turn it is -------------------------------------------------------------------------------------------- */

static int find_or_start(struct replay *r, uint32_t pid)
{
	int status;

	r->proc = xm_proc_find(r->k, pid);
	/* Somebody else may have destroyed its pmap. */
	if (r->proc)
		return xm_pmap_index(r->k, r->proc->handle) ? XM_OK : XM_E_STATE;
	status = xm_kernel_enter(r->k);
	if (status)
		return status;
	r->stats->unknown_pids++;
	return xm_proc_new(r->k, pid, &r->proc);
}

static int make_current(struct replay *r)
{
	int status;

	if (r->k->current == r->proc->pm)
		return XM_OK;
	/* The clock or a system call brought the kernel in. */
	status = xm_kernel_enter(r->k);
	if (status)
		return status;
	r->stats->switches++;
	xm_do_switch(r->k, r->proc->pm);
	return XM_OK;
}

/* The process is in a system call: the kernel has the processor, and its pmap is loaded. */
static int in_kernel(struct replay *r)
{
	int status = make_current(r);

	if (!status)
		status = xm_kernel_enter(r->k);
	return status ? status : xm_pmap_load(r->k, r->proc->pm);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static int neighbours(struct replay *r, uint64_t page)
{
	for (int i = -3; i <= 4; i++) {
		uint64_t va = page + (uint64_t)(int64_t)i * XM_PAGE_SIZE, pa;
		int found = 0, status;
		uint32_t held;

		if (!i || va >= XM_VM_MAXUSER_ADDRESS)
			continue;
		r->stats->extracts++;
		status = xm_do_extract(r->k, r->proc->pm, va, &found, &pa);
		held = xm_held(r->k, r->proc, va);
		if (!status && !found && held) {
			r->stats->mapped_ahead++;
			status = enter(r, va, as_held(r->k, held), 0);
		}
		if (status)
			return status;
	}
	return XM_OK;
}

static int fault_new(struct replay *r, uint64_t page, uint32_t flags)
{
	uint32_t pfn;
	int status;

	if (flags & XM_VM_PROT_WRITE) {
		r->stats->zero_fill++;
		status = xm_own_page(r->k, &pfn);
		if (!status)
			status = xm_zero_pfn(r->k, pfn);
		return status ? status : enter(r, page, pfn | XM_HELD_WRITE, flags);
	}
	r->stats->file++;
	status = xm_file_page(r->k, page, &pfn);
	return status ? status : enter(r, page, pfn | XM_HELD_FILE, flags);
}

static int fault_copy(struct replay *r, uint64_t page, uint32_t held, uint32_t flags)
{
	uint32_t pfn;
	int status = xm_own_page(r->k, &pfn);

	r->stats->cow++;
	if (!status)
		status = xm_copy_pfn(r->k, held & XM_HELD_PFN, pfn);
	return status ? status : enter(r, page, pfn | XM_HELD_WRITE, flags);
}

static int uvm_fault(struct replay *r, uint64_t va, uint32_t flags, int present)
{
	uint64_t page = va & ~(uint64_t)(XM_PAGE_SIZE - 1);
	uint32_t held;
	int status = neighbours(r, page);

	if (status)
		return status;
	r->stats->uvm_faults++;
	held = xm_held(r->k, r->proc, page);
	if (!held)
		return fault_new(r, page, flags);
	held = as_held(r->k, held);
	if ((flags & XM_VM_PROT_WRITE) && !(held & XM_HELD_WRITE))
		return fault_copy(r, page, held, flags);
	if (held & XM_HELD_FILE)
		r->stats->file++;
	else if (present)
		r->stats->upgrade++;
	else
		r->stats->resident++;
	return enter(r, page, held, flags);
}

static int kernel_access(struct replay *r, struct xm_user_access *a, struct xm_guest_fault *fault)
{
	struct xm_kernel *k = r->k;
	struct xm_walk w = {0};
	uint64_t cr2 = a->va;
	int status = in_kernel(r);

	r->stats->kernel_accesses++;
	if (status)
		return status;
	if (!xm_is_native(k))
		return a->access & XM_ACC_WRITE ? xm_guest_store(k->d, a->va, 1, a->value, fault)
						: xm_guest_load(k->d, a->va, 1, &a->value, fault);
	status = a->access & XM_ACC_WRITE ? xm_cpu_store(&k->cpu, a->va, 1, a->access, a->value, &cr2, &w)
					  : xm_cpu_load(&k->cpu, a->va, 1, a->access, &a->value, &cr2, &w);
	*fault = (struct xm_guest_fault){.cr2 = cr2, .fault = w.fault};
	if (w.fault) {
		fault->error_code = (uint32_t)w.error_code;
		XM_COUNT(k, xen.faults);
	}
	return status;
}

static int touch(struct replay *r, uint64_t va, unsigned error_code, int user)
{
	uint32_t access = error_code & XM_PF_W ? XM_ACC_WRITE : XM_ACC_READ, flags = XM_VM_PROT_READ;
	struct xm_user_access a = {.va = va, .value = 1, .size = 1};
	struct xm_guest_fault fault = {0};
	int status = make_current(r);

	if (user && (error_code & (XM_PF_I | XM_PF_W)) == XM_PF_I)
		access = XM_ACC_EXECUTE;
	if (access == XM_ACC_WRITE)
		flags = XM_VM_PROT_READ | XM_VM_PROT_WRITE;
	a.access = access;
	for (int tries = 0; !status; tries++) {
		if (user) {
			r->stats->user_accesses++;
			status = xm_do_user_access(r->k, &a, &fault);
		} else {
			status = kernel_access(r, &a, &fault);
		}
		if (status || !fault.fault) {
			r->stats->no_fault += !status && !tries;
			return status;
		}
		if (fault.fault != XM_FAULT_PF || tries) {
			r->stats->unresolved++;
			return XM_OK;
		}
		status = uvm_fault(r, va, flags, (fault.error_code & XM_PF_P) != 0);
	}
	return status;
}

/* ---- the other events -------------------------------------------------------------------------------------------- */

static int do_exit(struct replay *r)
{
	int status = in_kernel(r);

	if (!status)
		status = remove_held(r, 0, XM_VM_MAXUSER_ADDRESS);
	if (!status)
		status = xm_do_exit(r->k, r->proc->pm);
	if (!status)
		xm_proc_drop(r->k, r->proc);
	return status;
}

static int do_exec(struct replay *r)
{
	int status = in_kernel(r);

	XM_PUT(r->k->m, r->proc->brk, 0ULL);
	return status ? status : remove_held(r, 0, XM_VM_MAXUSER_ADDRESS);
}

static int do_fork(struct replay *r, uint32_t child_pid)
{
	struct xm_proc *parent = r->proc, *child = xm_proc_find(r->k, child_pid);
	uint64_t va = 0, run_end;
	int writable, status = XM_OK;

	/* A pid used again without its exit having been seen. */
	if (child && !xm_pmap_index(r->k, child->handle))
		return XM_E_STATE;
	if (child) {
		r->proc = child;
		status = do_exit(r);
		r->proc = parent;
	}
	if (!status)
		status = in_kernel(r);
	if (!status)
		status = xm_proc_new(r->k, child_pid, &child);
	for (; !status && xm_next_run(r->k, parent, &va, XM_VM_MAXUSER_ADDRESS, &run_end, &writable); va = run_end) {
		if (!writable)
			continue;
		r->stats->protects++;
		status = xm_do_protect(r->k, parent->pm, va, run_end, XM_VM_PROT_READ | XM_VM_PROT_EXECUTE);
	}
	if (!status)
		XM_PUT(r->k->m, child->brk, parent->brk);
	return status ? status : xm_share(r->k, parent, child);
}

/* A range of the history as NetBSD has it: whole pages, in one or two pieces. */
struct range {
	uint64_t sva[2];
	uint64_t eva[2];
};

static uint64_t moved(uint64_t va)
{
	return va >= MOVED_FROM ? va - XM_NBPD_L4 : va;
}

static struct range make_range(uint64_t start, uint64_t length)
{
	uint64_t sva = start & ~(uint64_t)(XM_PAGE_SIZE - 1);
	uint64_t eva = (start + length + XM_PAGE_SIZE - 1) & ~(uint64_t)(XM_PAGE_SIZE - 1);

	if (sva >= MOVED_FROM)
		return (struct range){{moved(sva)}, {eva - XM_NBPD_L4}};
	if (eva <= MOVED_FROM)
		return (struct range){{sva}, {eva}};
	return (struct range){{sva, moved(MOVED_FROM)}, {MOVED_FROM, eva - XM_NBPD_L4}};
}

static int do_range(struct replay *r, const struct xm_event *e)
{
	struct range g = make_range(e->a, e->b);
	int status = XM_OK;

	if (e->kind == XM_EV_MMAP && !(e->aux & MMAP_FIXED))
		return XM_OK;
	status = in_kernel(r);
	for (int i = 0; !status && i < 2; i++) {
		if (g.sva[i] >= g.eva[i])
			continue;
		if (e->kind == XM_EV_MMAP) {
			status = remove_held(r, g.sva[i], g.eva[i]);
		} else if (e->kind == XM_EV_MUNMAP) {
			status = remove_range(r, g.sva[i], g.eva[i]);
		} else {
			r->stats->protects++;
			status = xm_do_protect(r->k, r->proc->pm, g.sva[i], g.eva[i], e->aux & XM_VM_PROT_ALL);
			if (!status && !(e->aux & XM_VM_PROT_WRITE))
				xm_mark_read_only(r->k, r->proc, g.sva[i], g.eva[i]);
		}
	}
	return status;
}

static int do_brk(struct replay *r, uint64_t brk)
{
	uint64_t end = (moved(brk) + XM_PAGE_SIZE - 1) & ~(uint64_t)(XM_PAGE_SIZE - 1);
	int status = XM_OK;

	if (end < r->proc->brk) {
		status = in_kernel(r);
		if (!status)
			status = remove_range(r, end, r->proc->brk);
	}
	if (!status)
		XM_PUT(r->k->m, r->proc->brk, end);
	return status;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static int is_range(const struct xm_event *e)
{
	return e->kind == XM_EV_MMAP || e->kind == XM_EV_MUNMAP || e->kind == XM_EV_MPROTECT;
}

/* Everything that can be wrong with an event, before anything is done. */
static int check_event(const struct xm_event *e)
{
	if (e->kind >= XM_EV_KINDS)
		return XM_E_ARGUMENT;
	if (e->kind == XM_EV_FORK || e->kind == XM_EV_VFORK)
		return e->a <= UINT32_MAX && e->a != e->pid ? XM_OK : XM_E_ARGUMENT;
	if (e->kind != XM_EV_BRK && !is_range(e))
		return XM_OK;
	if (e->a >= ADDRESS_END || (is_range(e) && e->b > ADDRESS_END - e->a))
		return XM_E_ARGUMENT;
	return XM_OK;
}

static void count_moved(struct replay *r, const struct xm_event *e)
{
	if (e->kind != XM_EV_FORK && e->kind != XM_EV_VFORK && e->kind != XM_EV_EXEC && e->kind != XM_EV_EXIT)
		r->stats->relocated += e->a >= MOVED_FROM && e->a < ADDRESS_END;
}

static int apply(struct replay *r, const struct xm_event *e)
{
	switch (e->kind) {
	case XM_EV_FAULT:
	case XM_EV_KFAULT:
		if (e->a >= ADDRESS_END) {
			r->stats->unresolved++;
			return XM_OK;
		}
		return touch(r, moved(e->a), e->aux, e->kind == XM_EV_FAULT);
	case XM_EV_FORK:
	case XM_EV_VFORK:
		r->stats->forks++;
		return do_fork(r, (uint32_t)e->a);
	case XM_EV_EXEC:
		r->stats->execs++;
		return do_exec(r);
	case XM_EV_EXIT:
		r->stats->exits++;
		return do_exit(r);
	case XM_EV_BRK:
		return do_brk(r, e->a);
	default:
		return do_range(r, e);
	}
}

static int replay_event(struct replay *r, const struct xm_event *e)
{
	int known, status = check_event(e);

	if (status)
		return status;
	known = xm_proc_find(r->k, e->pid) != NULL;
	if ((e->kind <= XM_EV_VFORK || !known) && r->k->free_pages < PAGES_WANTED) {
		r->stats->out_of_pages++;
		return XM_E_NO_FRAMES;
	}
	if (e->kind == XM_EV_EXIT && !known) {
		r->stats->unknown_pids++;
	} else {
		status = find_or_start(r, e->pid);
		if (!status)
			status = apply(r, e);
	}
	if (status)
		return status;
	count_moved(r, e);
	r->stats->events++;
	r->stats->kinds[e->kind]++;
	return XM_OK;
}

int xm_replay(struct xm_kernel *k, const struct xm_event *events, uint64_t n, struct xm_replay_stats *stats)
{
	struct replay r = {.k = k, .stats = stats};
	int status = k->alive && (!k->d || xm_domain_alive(k->d)) ? xm_vm_make(k) : XM_E_STATE;

	if (status)
		return status;
	for (uint64_t i = 0; !status && i < n; i++)
		status = replay_event(&r, &events[i]);
	stats->processes = k->vm->processes;
	stats->pages = k->vm->pages;
	stats->peak_processes = k->vm->peak_processes;
	stats->peak_pages = k->vm->peak_pages;
	return status;
}

int xm_replay_pmap(const struct xm_kernel *k, uint32_t pid, uint32_t *pm_ret)
{
	const struct xm_proc *proc = k->vm ? xm_proc_find(k, pid) : NULL;

	if (!proc)
		return XM_E_ARGUMENT;
	*pm_ret = xm_pmap_handle(k, proc->pm);
	return XM_OK;
}
