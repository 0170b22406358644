/*
 * vmspace.c - what each replayed process holds: pages by address, shared after a fork until one side writes.
 *
 * Knows: amap and anon in miniature (uvm_amap.c): a page counts its sharers, and belongs to a process alone when there
 * is one.  A history does not say which file a page comes from, so the page cache has XM_FILE_PAGES pages, each read
 * when it is first needed and never dropped, and an address stands for the page that its low bits name.
 * Does not know: the pmap.
 */
#include "vmspace.h"

int xm_vm_make(struct xm_kernel *k)
{
	if (k->vm)
		return XM_OK;
	/* Not journalled: empty, it is what a rollback would leave. */
	k->vm = xm_state_new(k->m, sizeof(*k->vm));
	if (!k->vm)
		return XM_E_MEMORY;
	xm_pool_init(&k->vm->procs, sizeof(struct xm_proc), 8);
	xm_pool_init(&k->vm->chunks, sizeof(struct xm_chunk), 6);
	return XM_OK;
}

void xm_vm_free(struct xm_machine *m, struct xm_vm *vm)
{
	if (!vm)
		return;
	xm_pool_free_slabs(m, &vm->procs);
	xm_pool_free_slabs(m, &vm->chunks);
	xm_state_free(m, vm);
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

static uint32_t *bucket_of(const struct xm_kernel *k, uint32_t pid)
{
	return &k->vm->bucket[pid % XM_PID_BUCKETS];
}

struct xm_proc *xm_proc_find(const struct xm_kernel *k, uint32_t pid)
{
	for (uint32_t i = *bucket_of(k, pid); i; i = xm_proc_at(k, i)->next)
		if (xm_proc_at(k, i)->pid == pid)
			return xm_proc_at(k, i);
	return NULL;
}

static void gauge(struct xm_kernel *k, uint64_t *now, uint64_t *peak, int by)
{
	XM_PUT(k->m, *now, *now + (uint64_t)(int64_t)by);
	if (*now > *peak)
		XM_PUT(k->m, *peak, *now);
}

int xm_proc_new(struct xm_kernel *k, uint32_t pid, struct xm_proc **proc_ret)
{
	uint32_t i = xm_pool_get(k->m, &k->vm->procs), pm, *bucket = bucket_of(k, pid);
	struct xm_proc *proc;
	int status;

	if (!i)
		return XM_E_MEMORY;
	status = xm_do_create(k, &pm);
	if (status) {
		xm_pool_put(k->m, &k->vm->procs, i);
		return status;
	}
	proc = xm_proc_at(k, i);
	xm_journal_note(k->m, proc, sizeof(*proc));
	*proc = (struct xm_proc){.next = *bucket, .pid = pid, .pm = pm, .handle = xm_pmap_handle(k, pm)};
	XM_PUT(k->m, *bucket, i);
	gauge(k, &k->vm->processes, &k->vm->peak_processes, 1);
	*proc_ret = proc;
	return XM_OK;
}

void xm_proc_drop(struct xm_kernel *k, struct xm_proc *proc)
{
	uint32_t *link = bucket_of(k, proc->pid), i;

	while (xm_proc_at(k, *link) != proc)
		link = &xm_proc_at(k, *link)->next;
	i = *link;
	XM_PUT(k->m, *link, proc->next);
	xm_pool_put(k->m, &k->vm->procs, i);
	gauge(k, &k->vm->processes, &k->vm->peak_processes, -1);
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

static int page_new(struct xm_kernel *k, uint32_t *pfn_ret)
{
	uint64_t pfn = xm_page_get(k, XM_PAGE_USER);

	if (pfn == XM_NO_FRAME)
		return XM_E_NO_FRAMES;
	XM_PUT(k->m, k->pages[pfn].sharers, 1U);
	gauge(k, &k->vm->pages, &k->vm->peak_pages, 1);
	*pfn_ret = (uint32_t)pfn;
	return XM_OK;
}

int xm_own_page(struct xm_kernel *k, uint32_t *pfn_ret)
{
	return page_new(k, pfn_ret);
}

int xm_file_page(struct xm_kernel *k, uint64_t va, uint32_t *pfn_ret)
{
	uint32_t *page = &k->vm->file[(va >> XM_PAGE_SHIFT) % XM_FILE_PAGES], pfn;
	int status;

	if (!*page) {
		status = page_new(k, &pfn);
		if (status)
			return status;
		XM_PUT(k->m, *page, pfn);
	}
	*pfn_ret = *page;
	return XM_OK;
}

static void page_release(struct xm_kernel *k, uint32_t held)
{
	uint32_t pfn = held & XM_HELD_PFN;
	struct xm_page *page = &k->pages[pfn];

	if ((held & XM_HELD_FILE) || !page->sharers)
		return;
	XM_PUT(k->m, page->sharers, page->sharers - 1);
	if (page->sharers)
		return;
	xm_page_put(k, pfn);
	gauge(k, &k->vm->pages, &k->vm->peak_pages, -1);
}

/* ---- by address -------------------------------------------------------------------------------------------------- */

/* The link to the first chunk at or above base. */
static uint32_t *chunk_link(struct xm_kernel *k, struct xm_proc *proc, uint64_t base)
{
	uint32_t *link = &proc->chunks;

	while (*link && xm_chunk_at(k, *link)->base < base)
		link = &xm_chunk_at(k, *link)->next;
	return link;
}

static struct xm_chunk *chunk_find(struct xm_kernel *k, struct xm_proc *proc, uint64_t base)
{
	uint32_t i = proc->last;

	if (!i || xm_chunk_at(k, i)->base != base) {
		i = *chunk_link(k, proc, base);
		if (!i || xm_chunk_at(k, i)->base != base)
			return NULL;
		XM_PUT(k->m, proc->last, i);
	}
	return xm_chunk_at(k, i);
}

static struct xm_chunk *chunk_new(struct xm_kernel *k, struct xm_proc *proc, uint64_t base)
{
	uint32_t *link = chunk_link(k, proc, base), i = xm_pool_get(k->m, &k->vm->chunks);
	struct xm_chunk *c;

	if (!i)
		return NULL;
	c = xm_chunk_at(k, i);
	xm_journal_note(k->m, c, sizeof(*c));
	memset(c, 0, sizeof(*c));
	c->base = base;
	c->next = *link;
	XM_PUT(k->m, *link, i);
	return c;
}

static void chunk_drop(struct xm_kernel *k, struct xm_proc *proc, uint32_t *link)
{
	uint32_t i = *link;

	XM_PUT(k->m, *link, xm_chunk_at(k, i)->next);
	XM_PUT(k->m, proc->last, 0U);
	xm_pool_put(k->m, &k->vm->chunks, i);
}

uint32_t xm_held(struct xm_kernel *k, struct xm_proc *proc, uint64_t va)
{
	const struct xm_chunk *c = chunk_find(k, proc, va >> 21);

	return c ? c->held[xm_pl_pi(va, 1)] : 0;
}

int xm_hold(struct xm_kernel *k, struct xm_proc *proc, uint64_t va, uint32_t held)
{
	struct xm_chunk *c = chunk_find(k, proc, va >> 21);
	uint32_t *at, old;

	if (!c)
		c = chunk_new(k, proc, va >> 21);
	if (!c)
		return XM_E_MEMORY;
	at = &c->held[xm_pl_pi(va, 1)];
	old = *at;
	XM_PUT(k->m, *at, held);
	if (!old)
		XM_PUT(k->m, c->used, c->used + 1);
	else if ((old ^ held) & XM_HELD_PFN)
		page_release(k, old);
	return XM_OK;
}

int xm_share(struct xm_kernel *k, struct xm_proc *parent, struct xm_proc *child)
{
	uint32_t *link = &child->chunks;

	for (uint32_t i = parent->chunks; i; i = xm_chunk_at(k, i)->next) {
		struct xm_chunk *from = xm_chunk_at(k, i), *to;
		uint32_t copy = xm_pool_get(k->m, &k->vm->chunks);

		if (!copy)
			return XM_E_MEMORY;
		to = xm_chunk_at(k, copy);
		xm_journal_note(k->m, from, sizeof(*from));
		xm_journal_note(k->m, to, sizeof(*to));
		for (unsigned slot = 0; slot < 512; slot++) {
			uint32_t held = from->held[slot] & ~XM_HELD_WRITE;

			from->held[slot] = to->held[slot] = held;
			if (held && !(held & XM_HELD_FILE)) {
				struct xm_page *page = &k->pages[held & XM_HELD_PFN];

				XM_PUT(k->m, page->sharers, page->sharers + 1);
			}
		}
		to->used = from->used;
		to->base = from->base;
		to->next = 0;
		XM_PUT(k->m, *link, copy);
		link = &to->next;
	}
	return XM_OK;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

/* Slots of a chunk that lie in [sva, eva). */
static void chunk_slots(const struct xm_chunk *c, uint64_t sva, uint64_t eva, unsigned *first, unsigned *end)
{
	uint64_t start = c->base << 21;

	*first = sva > start ? (unsigned)((sva - start) >> XM_PAGE_SHIFT) : 0;
	*end = eva - start < XM_NBPD_L2 ? (unsigned)((eva - start) >> XM_PAGE_SHIFT) : 512;
}

int xm_next_run(const struct xm_kernel *k, const struct xm_proc *proc, uint64_t *at_ret, uint64_t end,
		uint64_t *run_end_ret, int *writable_ret)
{
	for (uint32_t i = proc->chunks; i; i = xm_chunk_at(k, i)->next) {
		const struct xm_chunk *c = xm_chunk_at(k, i);
		uint64_t start = c->base << 21;
		unsigned slot, last, stop;

		if (start + XM_NBPD_L2 <= *at_ret)
			continue;
		if (start >= end)
			return 0;
		chunk_slots(c, *at_ret, end, &slot, &stop);
		while (slot < stop && !c->held[slot])
			slot++;
		if (slot == stop)
			continue;
		*at_ret = start + slot * XM_NBPD_L1;
		*writable_ret = 0;
		for (last = slot; slot < stop && slot - last < 16; slot++) {
			if (c->held[slot])
				last = slot;
			*writable_ret |= (c->held[slot] & XM_HELD_WRITE) != 0;
		}
		*run_end_ret = start + (last + 1) * XM_NBPD_L1;
		return 1;
	}
	return 0;
}

void xm_let_go(struct xm_kernel *k, struct xm_proc *proc, uint64_t sva, uint64_t eva)
{
	uint32_t *link = chunk_link(k, proc, sva >> 21);

	while (*link && xm_chunk_at(k, *link)->base << 21 < eva) {
		struct xm_chunk *c = xm_chunk_at(k, *link);
		unsigned slot, stop;

		for (chunk_slots(c, sva, eva, &slot, &stop); slot < stop; slot++) {
			uint32_t held = c->held[slot];

			if (!held)
				continue;
			XM_PUT(k->m, c->held[slot], 0U);
			XM_PUT(k->m, c->used, c->used - 1);
			page_release(k, held);
		}
		if (c->used)
			link = &c->next;
		else
			chunk_drop(k, proc, link);
	}
}

void xm_mark_read_only(struct xm_kernel *k, struct xm_proc *proc, uint64_t sva, uint64_t eva)
{
	for (uint32_t i = *chunk_link(k, proc, sva >> 21); i; i = xm_chunk_at(k, i)->next) {
		struct xm_chunk *c = xm_chunk_at(k, i);
		unsigned slot, stop;

		if (c->base << 21 >= eva)
			return;
		for (chunk_slots(c, sva, eva, &slot, &stop); slot < stop; slot++)
			if (c->held[slot] & XM_HELD_WRITE)
				XM_PUT(k->m, c->held[slot], c->held[slot] & ~XM_HELD_WRITE);
	}
}
