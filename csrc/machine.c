/*
 * machine.c - frames of machine memory, and the journal that undoes writes.
 *
 * Knows: how many frames there are, and the old value of every word written since a checkpoint.
 * Does not know: what the frames hold.
 *
 * Memory is one anonymous mapping without swap reservation: a page of it exists once it is touched, so a machine of
 * 1 TiB costs what its guests use and a frame is an addition away.
 */
#include "internal.h"

#include <stdlib.h>
#include <sys/mman.h>

const char *xm_strerror(int status)
{
	switch (status) {
	case XM_OK:
		return "success";
	case XM_E_ARGUMENT:
		return "an argument is outside its domain";
	case XM_E_RANGE:
		return "the machine does not have this address or frame";
	case XM_E_ALIGNMENT:
		return "the address or size is not aligned";
	case XM_E_GP:
		return "the processor refuses this value with #GP";
	case XM_E_STATE:
		return "the call does not apply in this state";
	case XM_E_NO_FRAMES:
		return "no free frame is left";
	case XM_E_LIMIT:
		return "a limit of the library is reached";
	case XM_E_MEMORY:
		return "the host has no memory for it";
	case XM_E_PANIC:
		return "the guest kernel met a fault or refusal it does not expect";
	case XM_E_NOT_MODELLED:
		return "real Xen does this, the model does not";
	default:
		return "unknown status";
	}
}

struct xm_machine *xm_machine_new(uint64_t bytes)
{
	struct xm_machine *m;
	void *base;

	if (bytes == 0 || bytes % XM_PAGE_SIZE || bytes > SIZE_MAX / 2)
		return NULL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		free(m);
		return NULL;
	}
	m->base = base;
	m->frames = bytes >> XM_PAGE_SHIFT;
	m->users = 1;
	return m;
}

static void free_dead(struct xm_machine *m)
{
	while (m->dead) {
		struct xm_block *b = m->dead;

		m->dead = b->next;
		free(b);
	}
}

void xm_machine_free(struct xm_machine *m)
{
	if (!m || --m->users)
		return;
	free_dead(m);
	munmap(m->base, m->frames << XM_PAGE_SHIFT);
	free(m->undo);
	free(m->marks);
	free(m->present);
	free(m);
}

void *xm_state_new(struct xm_machine *m, size_t size)
{
	struct xm_block *b = calloc(1, sizeof(*b) + size);

	if (!b)
		return NULL;
	m->users++;
	return b + 1;
}

void xm_state_free(struct xm_machine *m, void *state)
{
	struct xm_block *b;

	if (!state)
		return;
	b = (struct xm_block *)state - 1;
	if (m->depth) {
		b->next = m->dead;
		m->dead = b;
	} else {
		free(b);
	}
	xm_machine_free(m);
}

uint64_t xm_machine_frames(const struct xm_machine *m)
{
	return m->frames;
}

void *xm_machine_frame(const struct xm_machine *m, uint64_t mfn)
{
	return xm_has_frame(m, mfn) ? m->base + (mfn << XM_PAGE_SHIFT) : NULL;
}

/* ---- partial memory --------------------------------------------------------------------------------------------- */

int xm_machine_forget(struct xm_machine *m)
{
	if (m->depth)
		return XM_E_STATE;
	free(m->present);
	m->present = calloc((m->frames + 63) / 64, sizeof(*m->present));
	m->partial = m->present != NULL;
	return m->present ? XM_OK : XM_E_MEMORY;
}

int xm_is_present(const struct xm_machine *m, uint64_t mfn)
{
	return m->present[mfn / 64] >> mfn % 64 & 1;
}

int xm_machine_has_frame(const struct xm_machine *m, uint64_t mfn)
{
	return xm_has_frame(m, mfn);
}

static int check_range(const struct xm_machine *m, uint64_t pa, uint64_t n)
{
	uint64_t size = m->frames << XM_PAGE_SHIFT;

	if (pa > size || n > size - pa)
		return XM_E_RANGE;
	for (uint64_t mfn = pa >> XM_PAGE_SHIFT; m->partial && n && mfn <= (pa + n - 1) >> XM_PAGE_SHIFT; mfn++)
		if (!xm_is_present(m, mfn))
			return XM_E_RANGE;
	return XM_OK;
}

/* What is to be written: a frame that is not there may come into being whole, never in part. */
static int check_writable(struct xm_machine *m, uint64_t pa, uint64_t n)
{
	uint64_t size = m->frames << XM_PAGE_SHIFT, first, end;

	if (!m->partial || pa > size || n > size - pa)
		return check_range(m, pa, n);
	first = (pa + XM_PAGE_SIZE - 1) >> XM_PAGE_SHIFT;
	end = (pa + n) >> XM_PAGE_SHIFT;
	if (first >= end)
		return check_range(m, pa, n);
	if (check_range(m, pa, (first << XM_PAGE_SHIFT) - pa) ||
	    check_range(m, end << XM_PAGE_SHIFT, pa + n - (end << XM_PAGE_SHIFT)))
		return XM_E_RANGE;
	for (; first < end; first++)
		XM_PUT(m, m->present[first / 64], m->present[first / 64] | 1ULL << first % 64);
	return XM_OK;
}

int xm_read64(const struct xm_machine *m, uint64_t pa, uint64_t *ret)
{
	if (pa % 8)
		return XM_E_ALIGNMENT;
	if (check_range(m, pa, 8))
		return XM_E_RANGE;
	*ret = xm_peek(m, pa);
	return XM_OK;
}

int xm_write64(struct xm_machine *m, uint64_t pa, uint64_t value)
{
	if (pa % 8)
		return XM_E_ALIGNMENT;
	if (check_range(m, pa, 8))
		return XM_E_RANGE;
	xm_poke(m, pa, value);
	return XM_OK;
}

int xm_read(const struct xm_machine *m, uint64_t pa, void *ret, uint64_t n)
{
	if (check_range(m, pa, n))
		return XM_E_RANGE;
	if (n)
		memcpy(ret, m->base + pa, n);
	return XM_OK;
}

int xm_write(struct xm_machine *m, uint64_t pa, const void *data, uint64_t n)
{
	if (check_writable(m, pa, n))
		return XM_E_RANGE;
	if (!n)
		return XM_OK;
	xm_journal_note(m, m->base + pa, n);
	memcpy(m->base + pa, data, n);
	return XM_OK;
}

/* ---- journal -------------------------------------------------------------------------------------------------- */

static int journal_grow(struct xm_machine *m)
{
	size_t size = m->undo_size ? m->undo_size * 2 : 1024;
	struct xm_undo *undo = realloc(m->undo, size * sizeof(*undo));

	if (!undo)
		return XM_E_MEMORY;
	m->undo = undo;
	m->undo_size = size;
	return XM_OK;
}

void xm_journal_note(struct xm_machine *m, void *p, size_t n)
{
	uintptr_t at = (uintptr_t)p & ~(uintptr_t)7;
	uintptr_t end = (uintptr_t)p + n;

	if (!m->depth)
		return;
	for (; at < end; at += 8) {
		if (m->undo_used == m->undo_size && journal_grow(m)) {
			m->undo_lost = 1;
			return;
		}
		m->undo[m->undo_used].where = (uint64_t *)at;
		memcpy(&m->undo[m->undo_used].old, (const void *)at, 8);
		m->undo_used++;
	}
}

int xm_checkpoint(struct xm_machine *m)
{
	if (m->depth == m->marks_size) {
		size_t size = m->marks_size ? m->marks_size * 2 : 16;
		size_t *marks = realloc(m->marks, size * sizeof(*marks));

		if (!marks)
			return XM_E_MEMORY;
		m->marks = marks;
		m->marks_size = size;
	}
	m->marks[m->depth++] = m->undo_used;
	return XM_OK;
}

int xm_rollback(struct xm_machine *m)
{
	size_t mark;
	int lost = m->undo_lost;

	if (!m->depth)
		return XM_E_STATE;
	mark = m->marks[--m->depth];
	while (m->undo_used > mark) {
		const struct xm_undo *u = &m->undo[--m->undo_used];

		memcpy(u->where, &u->old, 8);
	}
	if (!m->depth) {
		m->undo_lost = 0;
		free_dead(m);
	}
	return lost ? XM_E_MEMORY : XM_OK;
}

int xm_commit(struct xm_machine *m)
{
	if (!m->depth)
		return XM_E_STATE;
	if (!--m->depth) {
		m->undo_used = 0;
		m->undo_lost = 0;
		free_dead(m);
	}
	return XM_OK;
}

uint64_t xm_checkpoint_depth(const struct xm_machine *m)
{
	return m->depth;
}
