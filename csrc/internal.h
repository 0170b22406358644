/*
 * internal.h - floor 0 as the floors above use it: frame access without a call, and journalled writes.
 * Never part of the API.
 */
#ifndef XM_INTERNAL_H
#define XM_INTERNAL_H

#include <stdatomic.h>
#include <string.h>

#include "xenmmu.h"

struct xm_undo {
	uint64_t *where;
	uint64_t old;
};

/* A block of a floor's state.  A rollback may still write into it after its owner has gone. */
struct xm_block {
	struct xm_block *next;
	uint64_t pad;
};

struct xm_machine {
	uint8_t *base;
	uint64_t frames;
	uint64_t partial;  /* only the frames in `present` are there */
	uint64_t *present; /* a bit for each frame; NULL unless partial */
	struct xm_undo *undo;
	size_t undo_used;
	size_t undo_size;
	size_t *marks; /* undo_used at each open checkpoint */
	size_t depth;
	size_t marks_size;
	int undo_lost;         /* the journal could not grow: the open checkpoints cannot be rolled back */
	atomic_uint users;     /* handles on this machine: its own and one for each floor built on it */
	struct xm_block *dead; /* freed while a checkpoint was open */
};

/* Zeroed memory for the state of a floor on this machine; keeps the machine alive until it is freed. */
void *xm_state_new(struct xm_machine *m, size_t size);
void xm_state_free(struct xm_machine *m, void *state);

/* Remember the aligned words that [p, p+n) touches. */
void xm_journal_note(struct xm_machine *m, void *p, size_t n);

/* State of any floor is changed through this, so that a rollback finds the old value. */
#define XM_PUT(m, lvalue, value)                                                                                       \
	do {                                                                                                           \
		if ((m)->depth)                                                                                        \
			xm_journal_note((m), &(lvalue), sizeof(lvalue));                                               \
		(lvalue) = (value);                                                                                    \
	} while (0)

/* The caller knows that the machine has the frame. */
static inline uint64_t *xm_words(const struct xm_machine *m, uint64_t mfn)
{
	return (uint64_t *)(void *)(m->base + (mfn << XM_PAGE_SHIFT));
}

/* For a partial memory: is the frame, below m->frames, there? */
int xm_is_present(const struct xm_machine *m, uint64_t mfn);

static inline int xm_has_frame(const struct xm_machine *m, uint64_t mfn)
{
	return mfn < m->frames && (!m->partial || xm_is_present(m, mfn));
}

/* The caller knows that pa is aligned and inside the machine. */
static inline uint64_t xm_peek(const struct xm_machine *m, uint64_t pa)
{
	return *(const uint64_t *)(const void *)(m->base + pa);
}

static inline void xm_poke(struct xm_machine *m, uint64_t pa, uint64_t value)
{
	uint64_t *p = (uint64_t *)(void *)(m->base + pa);

	XM_PUT(m, *p, value);
}

#endif
