/*
 * memop.c - memory_op by its number, its structures in memory.
 *
 * Knows: which of these calls would cost this kernel its frames, how the frames that come get their names.  Does not
 * know: what is right.
 */
#include "guest.h"

#define INCREASE 0
#define DECREASE 1
#define MAXIMUM_RAM_PAGE 2
#define CURRENT 3
#define MAXIMUM 4
#define POPULATE 6
#define ADD 7
#define EXCHANGE 11
#define REMOVE 15

#define MOST_EXTENTS 32
#define MOST_ORDER 5
#define REFUSED_ORDER 18 /* beyond it */
#define ON_DEMAND (1U << 16)
#define EFAULT 14
#define READ_ONLY_BYTES PAGE_SIZE

struct list {
	u64 va, nr;
	u32 order, flags;
	u16 domid, pad[3];
};

struct exchange {
	struct list in, out;
	u64 done;
};

static u64 done_before;

/* What Xen will read there: aligned words anywhere, all else in the scratch pages only. */
static enum word read_at(u64 va, void *to, u32 n)
{
	if (va - SCRATCH < SCRATCH_BYTES || va - SCRATCH_READ_ONLY < READ_ONLY_BYTES) {
		u64 end = va - SCRATCH < SCRATCH_BYTES ? SCRATCH + SCRATCH_BYTES : SCRATCH_READ_ONLY + READ_ONLY_BYTES;

		if (va + n > end)
			return end == SCRATCH + SCRATCH_BYTES ? WORD_FAULTS : WORD_UNKNOWN;
		memcpy(to, (const void *)va, n);
		return WORD_THERE;
	}
	return words_at(va, to, n / 8);
}

static int in_xens_area(u64 va)
{
	return va >= 1UL << 47 && va < 0xffff880000000000UL;
}

static int is_writable(u64 va, u64 n)
{
	return n <= SCRATCH_BYTES && va - SCRATCH <= SCRATCH_BYTES - n;
}

static int may_go(u64 mfn, int exchanged)
{
	return is_named(mfn) || mfn < 256 || mfn >= 0x10000 || mfn == memory_page()->free ||
	       (exchanged && entries_of(mfn));
}

static int bad_frames(const struct list *l, u64 start, int exchanged)
{
	u64 mfn;

	for (u64 i = start; i < l->nr; i++) {
		enum word found = read_at(l->va + i * 8, &mfn, 8);

		if (found != WORD_THERE)
			return found == WORD_UNKNOWN;
		for (u64 j = 0; j < 1UL << l->order; j++)
			if (!may_go(mfn + j, exchanged))
				return 1;
	}
	return 0;
}

/* A list that new frames are written to must not lie where nobody finds them, nor on the structure. */
static int bad_places(const struct list *l, u64 start, u64 structure)
{
	u64 va = l->va + start * 8, word;

	if (((l->nr - start) << l->order) > names_left() || va - (structure - 512) < 1024)
		return 1;
	return va - SCRATCH >= 4 * PAGE_SIZE && (va % 8 || words_at(va, &word, 1) != WORD_FAULTS);
}

static int bad_reservation(u32 cmd, u64 start, u64 arg, int nested)
{
	struct list l;
	enum word found = read_at(arg, &l, sizeof(l));

	if (found != WORD_THERE)
		return found == WORD_UNKNOWN;
	if (l.nr > 0xffffffffU >> 6 || start >= l.nr)
		return 0;
	if (cmd == POPULATE && (l.flags & ON_DEMAND))
		return l.nr - start > MOST_EXTENTS || (l.va - SCRATCH >= 4 * PAGE_SIZE && l.va % 8);
	if (l.order > REFUSED_ORDER)
		return 0;
	if (l.order > MOST_ORDER || l.nr - start > MOST_EXTENTS)
		return 1;
	if (cmd == DECREASE)
		return bad_frames(&l, start, 0);
	/* Of more than one the clock may leave the rest, with another start, in the multicall's entry. */
	return (nested && l.nr - start > 1) || bad_places(&l, start, arg);
}

static int bad_exchange(u64 arg, int nested)
{
	struct exchange e;
	enum word found = read_at(arg, &e, sizeof(e));

	if (found != WORD_THERE)
		return found == WORD_UNKNOWN;
	done_before = e.done;
	if (nested)
		return 1;
	if (e.in.order > REFUSED_ORDER || e.out.order > REFUSED_ORDER)
		return 0;
	if (e.in.order > MOST_ORDER || e.out.order > MOST_ORDER || e.in.nr > MOST_EXTENTS || e.out.nr > MOST_EXTENTS)
		return 1;
	if (e.done >= e.in.nr)
		return 0;
	return e.done || bad_frames(&e.in, 0, 1) || bad_places(&e.out, 0, arg);
}

int bad_memory_op(const u64 *args, int nested)
{
	u32 cmd = args[0] & 63;
	u64 words[3];
	enum word found;

	switch (cmd) {
	case INCREASE:
	case DECREASE:
	case POPULATE:
		return bad_reservation(cmd, args[0] >> 6, args[1], nested);
	case EXCHANGE:
		return !(args[0] >> 6) && bad_exchange(args[1], nested);
	case CURRENT:
	case MAXIMUM:
		found = read_at(args[1], words, 8);
		if (found == WORD_FAULTS)
			return 0;
		/* How many this domain has is another matter on each machine. */
		return found == WORD_UNKNOWN ||
		       (cmd == CURRENT && ((words[0] & 0xffff) == DOMID_SELF || !(words[0] & 0xffff)));
	case ADD:
		return read_at(args[1], words, 24) == WORD_UNKNOWN;
	case REMOVE:
		return read_at(args[1], words, 16) == WORD_UNKNOWN;
	case MAXIMUM_RAM_PAGE:
		return !(args[0] >> 6);
	default:
		return cmd != 8 && cmd < 29;
	}
}

/* Name what came; the number of calls that may have left frames that nobody knows. */
u64 note_memory_op(const u64 *args, s64 rc)
{
	u32 cmd = args[0] & 63;
	struct exchange e;
	u64 start = args[0] >> 6, next;

	if ((cmd == INCREASE || cmd == POPULATE) && read_at(args[1], &e.in, sizeof(e.in)) == WORD_THERE) {
		if (start >= e.in.nr || rc < 0 || (u64)rc < start || (cmd == POPULATE && (e.in.flags & ON_DEMAND)))
			return 0;
		if (!e.in.va)
			return (u64)rc > start;
		name_list(e.in.va + start * 8, (u64)rc - start, e.in.order);
		next = e.in.va + (u64)rc * 8;
		/* A list that starts in Xen's area is refused before anything is given out. */
		if ((u64)rc >= e.in.nr || is_writable(next, 8) || ((u64)rc == start && in_xens_area(next)))
			return 0;
		/* The next one may be there, but could not be written. */
		return cmd == INCREASE || read_at(next, &start, 8) == WORD_THERE;
	}
	if (cmd == EXCHANGE && !start && read_at(args[1], &e, sizeof(e)) == WORD_THERE) {
		if (!done_before && e.done <= e.in.nr && e.in.order <= MOST_ORDER && e.out.order <= MOST_ORDER &&
		    read_at(e.out.va, &start, 8) == WORD_THERE && e.done)
			name_list(e.out.va, e.done << e.in.order >> e.out.order, e.out.order);
		return rc == -EFAULT && !(is_writable(e.out.va, e.out.nr * 8) && is_writable(args[1], sizeof(e)));
	}
	return 0;
}
