/*
 * history.c - every outcome that the manuals allow for an access, after a history of table writes and flushes.
 *
 * Knows: what a processor may cache of a translation and for how long (SDM vol. 3A, 4.10.2 to 4.10.4; APM vol. 2, 5.5),
 * and that it may walk for any address at any time, asked or not (4.10.2.3).  Does not know: what it did in fact
 * cache.
 *
 * A history is an open checkpoint, whose journal holds every write in order, and the flushes and register writes, each
 * with its place in that order.  A question is answered by living through it again, for one linear address: between two
 * changes the memory and the registers stand still, and there
 *
 *	- an entry of the table that CR3 or a cached upper entry (of the current PCID) leads to may be read;
 *	- if it is present and has no reserved bit set, what it says together with the entries above may be cached: as an
 *	  entry of a paging-structure cache, or as a translation (4.10.3.1, 4.10.2.3).
 *
 * Whatever may be cached stays so until a flush that covers it.  No cached thing keeps another from being cached or
 * used, for the processor may drop any of them at any time; so to know which single things may be there is to know the
 * whole set.  At the end an access uses a translation that may be there, or walks from CR3 or from any upper entry that
 * may be there; only such a walk finds an entry not present or reserved.
 *
 * Where the manual leaves room: INVLPG and a page fault drop a translation of a large page whole, whichever part of it
 * they name (4.10.4.1); a write through a translation whose D is 0 may go to the page it names, though D is set in the
 * table (4.8); XD of a cached entry is not looked at while EFER.NXE is 0.  A is not asked for: the processor sets it
 * before it caches.  That it does so in a table that is none any more is not followed.
 */
#include "walk.h"

#include <stdlib.h>

struct event {
	size_t at; /* in the journal: after the writes below it */
	struct xm_flush flush;
	struct xm_cpu cpu; /* the registers from then on */
};

struct xm_history {
	struct xm_cpu *cpu;
	struct xm_machine *machine;
	size_t start; /* in the journal */
	size_t depth; /* of its own checkpoint */
	struct event *event;
	uint64_t events; /* journalled: what a trial did is forgotten with it */
	size_t events_size;
	int lost;
};

static int add_event(struct xm_history *h, struct xm_flush flush)
{
	if (h->events == h->events_size) {
		size_t size = h->events_size ? 2 * h->events_size : 64;
		struct event *event = realloc(h->event, size * sizeof(*event));

		if (!event)
			return XM_E_MEMORY;
		h->event = event;
		h->events_size = size;
	}
	XM_PUT(h->machine, h->events, h->events + 1);
	h->event[h->events - 1] = (struct event){h->machine->undo_used, flush, *h->cpu};
	return XM_OK;
}

/* The first event is the start: nothing is cached. */
struct xm_history *xm_history_new(struct xm_cpu *cpu)
{
	struct xm_history *h;

	if (cpu->home != cpu || cpu->history)
		return NULL;
	h = xm_state_new(cpu->machine, sizeof(*h));
	if (!h)
		return NULL;
	h->cpu = cpu;
	h->machine = cpu->machine;
	XM_PUT(h->machine, cpu->history, h);
	if (xm_checkpoint(h->machine)) {
		XM_PUT(h->machine, cpu->history, NULL);
		xm_state_free(h->machine, h);
		return NULL;
	}
	h->depth = h->machine->depth;
	h->start = h->machine->undo_used;
	h->lost = add_event(h, (struct xm_flush){0, 0, XM_FLUSH_ALL, XM_FLUSH_ALL, 1, 0}) != XM_OK;
	return h;
}

int xm_history_end(struct xm_history *h)
{
	if (h->machine->depth != h->depth)
		return XM_E_STATE;
	XM_PUT(h->machine, h->cpu->history, NULL);
	xm_commit(h->machine);
	free(h->event);
	xm_state_free(h->machine, h);
	return XM_OK;
}

/* ---- what is recorded --------------------------------------------------------------------------------------------- */

void xm_history_flush(struct xm_cpu *cpu, struct xm_flush flush)
{
	if (cpu->history->cpu == cpu && add_event(cpu->history, flush))
		cpu->history->lost = 1;
}

/* A register write and the flush that it is are one event: no walk comes between them. */
void xm_history_registers(struct xm_cpu *cpu, uint64_t events_before)
{
	struct xm_history *h = cpu->history;

	if (h->cpu != cpu)
		return;
	if (h->events == events_before)
		xm_history_flush(cpu, (struct xm_flush){0, 0, XM_FLUSH_NONE, XM_FLUSH_NONE, 0, 0});
	else
		h->event[h->events - 1].cpu = *cpu;
}

uint64_t xm_history_events(const struct xm_history *h)
{
	return h->events;
}

int xm_history_event(const struct xm_history *h, uint64_t i, struct xm_flush *flush_ret, uint64_t *cr3_ret)
{
	if (i >= h->events)
		return XM_E_RANGE;
	*flush_ret = h->event[i].flush;
	*cr3_ret = h->event[i].cpu.cr3;
	return XM_OK;
}

/* ---- the tables as they were -------------------------------------------------------------------------------------- */

#define MOST 4096 /* of words and of things known in one question */

struct word {
	uint64_t pa;
	uint64_t value;
	size_t next;      /* in the journal: the write that changes it */
	uint64_t changed; /* in which moment it got this value */
};

/* What may be cached: a translation (level 0), or that `table`, of `level`, serves the address. */
struct known {
	struct xm_rights rights;
	uint64_t table;
	uint64_t entry_pa;
	uint64_t entry;
	uint64_t when;  /* how many events had happened */
	int32_t parent; /* what the entries above came from, which stands before it; -1: CR3 */
	uint32_t pcid;
	uint8_t level;
	uint8_t shift; /* of the address bits that the last entry leaves open */
	uint8_t global;
	uint8_t alive;
};

struct question {
	const struct xm_history *h;
	const struct xm_cpu *cpu; /* the registers of the moment */
	uint64_t va;
	uint64_t event;  /* the next */
	uint64_t moment; /* counts them */
	size_t now;      /* in the journal */
	int everything;  /* in this moment, not only words that changed */
	int status;
	unsigned nwords;
	unsigned nknown;
	struct word word[MOST];
	struct known known[MOST];
	int32_t place[MOST]; /* where each stands when others have gone */
};

/* From journal place `from` on: where the word is written next, and what it holds until then. */
static void look_ahead(const struct xm_machine *m, struct word *w, size_t from)
{
	const uint64_t *p = (const uint64_t *)(const void *)(m->base + w->pa);

	while (from < m->undo_used && m->undo[from].where != p)
		from++;
	w->next = from < m->undo_used ? from : SIZE_MAX;
	w->value = from < m->undo_used ? m->undo[from].old : *p;
}

/* The index of a table word that the machine has, or -1 at the limit. */
static int watch(struct question *q, uint64_t pa)
{
	struct word *w = q->word;

	for (; w < q->word + q->nwords; w++)
		if (w->pa == pa)
			return (int)(w - q->word);
	if (q->nwords == MOST) {
		q->status = XM_E_LIMIT;
		return -1;
	}
	w->pa = pa;
	w->changed = q->moment;
	look_ahead(q->h->machine, w, q->now);
	return (int)q->nwords++;
}

/* ---- what may be cached ------------------------------------------------------------------------------------------- */

#define LEAF_KEPT (XM_PTE_ADDR | XM_PTE_D | 0x7800000000000000ULL)

static int same(const struct known *a, const struct known *b)
{
	return a->alive == b->alive && a->level == b->level && a->shift == b->shift && a->pcid == b->pcid &&
	       a->global == b->global && a->table == b->table && a->rights.any == b->rights.any &&
	       a->rights.all == b->rights.all && a->rights.upper == b->rights.upper && a->rights.leaf == b->rights.leaf;
}

static void learn(struct question *q, struct known k)
{
	k.rights.all &= XM_PTE_RW | XM_PTE_US;
	k.rights.any &= XM_PTE_NX;
	k.rights.upper &= k.level ? 0 : XM_PTE_RW;
	k.rights.leaf &= k.level ? 0 : LEAF_KEPT;
	for (unsigned i = 0; i < q->nknown; i++)
		if (same(&q->known[i], &k))
			return;
	if (q->nknown == MOST)
		q->status = XM_E_LIMIT;
	else
		q->known[q->nknown++] = k;
}

/* [SDM 4.10.2.3, 4.10.3.1] Read the entry of `table` that serves the address and learn what may be cached of it. */
static void read_entry(struct question *q, int32_t parent, uint64_t table, unsigned level, struct xm_rights rights)
{
	unsigned shift = 3 + 9 * level;
	uint64_t pa = table + ((q->va >> shift) & 511) * 8;
	int w, large, is_new = parent >= 0 && q->known[parent].when == UINT64_MAX;

	if (!xm_has_frame(q->h->machine, pa >> XM_PAGE_SHIFT))
		return;
	w = watch(q, pa);
	if (w < 0 || (q->word[w].changed != q->moment && !q->everything && !is_new))
		return;
	uint64_t entry = q->word[w].value;

	large = xm_is_large(entry, level);
	if (!(entry & XM_PTE_P) || (entry & (large ? q->cpu->rsvd_large[level] : q->cpu->rsvd[level])))
		return;
	rights.upper = rights.all;
	rights.all &= entry;
	rights.any |= entry;
	rights.leaf = entry;
	struct known k = {rights,         0, pa, entry, UINT64_MAX, parent, xm_pcid(q->cpu->cr3, q->cpu->cr4), 0,
			  (uint8_t)shift, 0, 1};

	if (large || level == 1) {
		k.global = (entry & XM_PTE_G) && (q->cpu->cr4 & XM_CR4_PGE);
	} else {
		k.table = entry & XM_PTE_ADDR;
		k.level = (uint8_t)(level - 1);
	}
	learn(q, k);
}

static const struct xm_rights all_rights = {~0ULL, ~0ULL, 0, 0};

/* Everything that walks of this moment may read.  What they add is at the end of the list, and comes to its turn. */
static void live_moment(struct question *q)
{
	uint32_t pcid = xm_pcid(q->cpu->cr3, q->cpu->cr4);

	read_entry(q, -1, q->cpu->cr3 & XM_PTE_ADDR, q->cpu->levels, all_rights);
	for (unsigned i = 0; i < q->nknown && !q->status; i++) {
		struct known k = q->known[i];

		if (k.alive && k.level && k.pcid == pcid)
			read_entry(q, (int32_t)i, k.table, k.level, k.rights);
	}
	for (unsigned i = q->nknown; i-- && q->known[i].when == UINT64_MAX;)
		q->known[i].when = q->event;
}

/* [SDM 4.10.4.1] */
static int is_dropped(const struct known *k, struct xm_flush f, uint64_t va)
{
	unsigned scope = k->level ? f.structures : f.tlb;
	int address = (va ^ f.va) >> k->shift == 0;

	switch (scope) {
	case XM_FLUSH_ADDRESS:
		return address && (k->global ? f.globals : k->pcid == f.pcid);
	case XM_FLUSH_PCID:
		return k->pcid == f.pcid && (!k->global || f.globals);
	case XM_FLUSH_ALL:
		return !k->global || f.globals;
	default:
		return 0;
	}
}

/* Only what is alive and what led to it is of interest: a history may be long. */
static void forget_the_rest(struct question *q)
{
	unsigned n = 0;

	for (unsigned i = 0; i < q->nknown; i++)
		q->place[i] = q->known[i].alive ? 0 : -1;
	for (unsigned i = q->nknown; i--;)
		if (q->place[i] >= 0 && q->known[i].parent >= 0)
			q->place[q->known[i].parent] = 0;
	for (unsigned i = 0; i < q->nknown; i++) {
		if (q->place[i] < 0)
			continue;
		q->known[n] = q->known[i];
		if (q->known[n].parent >= 0)
			q->known[n].parent = q->place[q->known[n].parent];
		q->place[i] = (int32_t)n++;
	}
	q->nknown = n;
}

static void live_event(struct question *q)
{
	const struct event *e = &q->h->event[q->event++];

	for (unsigned i = 0; i < q->nknown; i++)
		if (q->known[i].alive && is_dropped(&q->known[i], e->flush, q->va))
			q->known[i].alive = 0;
	forget_the_rest(q);
	q->cpu = &e->cpu;
	q->everything = 1;
}

/* To the next moment: an event, or a write to a word that matters.  0 at the end. */
static int next_moment(struct question *q)
{
	size_t next = SIZE_MAX;

	q->moment++;
	q->everything = 0;
	for (unsigned i = 0; i < q->nwords; i++)
		if (q->word[i].next < next)
			next = q->word[i].next;
	if (q->event < q->h->events && q->h->event[q->event].at <= next) {
		q->now = q->h->event[q->event].at;
		live_event(q);
		return 1;
	}
	if (next == SIZE_MAX)
		return 0;
	for (unsigned i = 0; i < q->nwords; i++) {
		if (q->word[i].next == next) {
			q->word[i].changed = q->moment;
			look_ahead(q->h->machine, &q->word[i], next + 1);
		}
	}
	q->now = next + 1;
	return 1;
}

/* ---- the access --------------------------------------------------------------------------------------------------- */

struct answer {
	struct xm_outcome *ret;
	unsigned max;
	unsigned n;
};

/* An outcome with the entries that led to it. */
static struct xm_outcome begin(const struct question *q, int32_t last)
{
	struct xm_outcome o = {.walk.top_level = q->cpu->levels};
	unsigned at = 0;

	for (int32_t i = last; i >= 0; i = q->known[i].parent)
		at++;
	o.walk.nsteps = (uint8_t)at;
	for (int32_t i = last; i >= 0; i = q->known[i].parent) {
		o.walk.steps[--at] = (struct xm_step){q->known[i].entry_pa, q->known[i].entry};
		o.when[at] = q->known[i].when;
	}
	return o;
}

static void answer(struct answer *a, struct xm_outcome o)
{
	if (a->n < a->max)
		a->ret[a->n] = o;
	a->n++;
}

/* A walk now that comes to this table: only if it stops there, for otherwise its translation is known already. */
static void stop_walk(const struct question *q, int32_t last, uint64_t table, unsigned level, int32_t code,
		      struct answer *a)
{
	uint64_t pa = table + ((q->va >> (3 + 9 * level)) & 511) * 8, entry;
	struct xm_outcome o = begin(q, last);
	struct xm_walk *w = &o.walk;

	if (!xm_has_frame(q->h->machine, pa >> XM_PAGE_SHIFT)) {
		xm_fault(w, XM_FAULT_BUS, XM_STOP_OUTSIDE_MACHINE, 0);
		answer(a, o);
		return;
	}
	entry = xm_peek(q->h->machine, pa);
	o.when[w->nsteps] = q->h->events;
	w->steps[w->nsteps++] = (struct xm_step){pa, entry};
	if (!(entry & XM_PTE_P))
		xm_fault(w, XM_FAULT_PF, XM_STOP_NOT_PRESENT, code);
	else if (entry & (xm_is_large(entry, level) ? q->cpu->rsvd_large[level] : q->cpu->rsvd[level]))
		xm_fault(w, XM_FAULT_PF, XM_STOP_RESERVED_BIT, code | XM_PF_P | XM_PF_RSVD);
	else
		return;
	answer(a, o);
}

static void access_now(const struct question *q, uint32_t access, struct answer *a)
{
	int32_t code = xm_error_access(access, q->cpu->cr4, q->cpu->efer);
	uint32_t pcid = xm_pcid(q->cpu->cr3, q->cpu->cr4);

	stop_walk(q, -1, q->cpu->cr3 & XM_PTE_ADDR, q->cpu->levels, code, a);
	for (unsigned i = 0; i < q->nknown; i++) {
		const struct known *k = &q->known[i];

		if (!k->alive || (k->pcid != pcid && !k->global))
			continue;
		if (k->level) {
			stop_walk(q, (int32_t)i, k->table, k->level, code, a);
			continue;
		}
		struct xm_outcome o = begin(q, (int32_t)i);

		xm_judge(q->cpu, k->rights, 1ULL << k->shift, q->va, access, code, &o.walk);
		answer(a, o);
	}
}

/* No table is asked: the address or the access is refused before. */
static int is_refused(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct answer *a)
{
	struct xm_outcome o = {.walk.top_level = cpu->levels};

	if (!xm_has_access(access, cpu->cr4))
		xm_fault(&o.walk, XM_FAULT_UD, XM_STOP_NO_CET, 0);
	else if (!xm_canonical(va, cpu->levels))
		xm_fault(&o.walk, access & XM_ACC_STACK ? XM_FAULT_SS : XM_FAULT_GP, XM_STOP_NOT_CANONICAL, 0);
	else
		return 0;
	answer(a, o);
	return 1;
}

int xm_history_outcomes(const struct xm_history *h, uint64_t va, uint32_t access, struct xm_outcome *ret, unsigned max)
{
	struct answer a = {ret, max, 0};
	struct question *q;
	int status;

	if (h->machine->depth < h->depth)
		return XM_E_STATE;
	if (h->lost || h->machine->undo_lost)
		return XM_E_MEMORY;
	if (is_refused(h->cpu, va, access, &a))
		return (int)a.n;
	q = malloc(sizeof(*q));
	if (!q)
		return XM_E_MEMORY;
	memset(q, 0, offsetof(struct question, word));
	q->h = h;
	q->va = va;
	q->now = h->start;
	live_event(q);
	do
		live_moment(q);
	while (!q->status && next_moment(q));
	status = q->status;
	if (!status)
		access_now(q, access, &a);
	free(q);
	return status ? status : (int)a.n;
}
