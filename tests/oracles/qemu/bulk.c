/*
 * bulk.c - makes cases for the guest in its memory file, and judges its results by the C core.
 *
 *	bulk make FILE CASES SEED LEVELS PHYSBITS [cet]	bulk judge FILE CASES SEED LEVELS PHYSBITS [cet]
 *
 * A case is drawn from the seed and its number, so that the judge draws the same again; "cet" is a processor with
 * shadow stacks and no protection keys.  Printed by the judge: one line
 * "name number" for each count; the first differences follow on standard error.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "layout.h"
#include "xenmmu.h"

#define FILE_SIZE 0x18000000ULL

struct random {
	uint64_t state;
};

/* splitmix64 */
static uint64_t next(struct random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static unsigned below(struct random *r, unsigned n)
{
	return (unsigned)((next(r) >> 32) % n);
}

static int chance(struct random *r, unsigned percent)
{
	return below(r, 100) < percent;
}

static uint64_t table(unsigned level)
{
	return TABLES + level * 4096;
}

/* Mostly usable entries, a few bits away from P, R/W, U/S. */
static uint64_t draw_entry(struct random *r, unsigned level)
{
	static const unsigned char flips[] = {0,  1,  1,  2,  2,  63, 63, 3,  4,  5,  6,  7,  7,  8,
					      9,  11, 12, 13, 20, 21, 29, 30, 31, 35, 36, 37, 39, 40,
					      43, 44, 45, 46, 47, 48, 50, 51, 52, 58, 59, 60, 61, 62};
	uint64_t entry = XM_PTE_P | (chance(r, 85) ? XM_PTE_RW : 0) | (chance(r, 70) ? XM_PTE_US : 0);

	if (level == 1)
		entry |= DATA + below(r, DATA_SIZE / 4096) * 4096;
	else if (level == 2 && chance(r, 20))
		entry |= XM_PTE_PS | DATA;
	else if (level == 3 && chance(r, 20))
		entry |= XM_PTE_PS;
	else
		entry |= table(chance(r, 4) ? 1 + below(r, 5) : level - 1);
	if (chance(r, 60))
		entry |= (uint64_t)below(r, 16) << 59;
	if (chance(r, 15))
		entry |= XM_PTE_A | (chance(r, 50) ? XM_PTE_D : 0);
	for (unsigned n = chance(r, 30) ? 1 + below(r, 2) : 0; n; n--)
		entry ^= 1ULL << flips[below(r, sizeof(flips))];
	return entry;
}

static uint64_t draw_va(struct random *r, unsigned levels, unsigned op)
{
	static const unsigned edges[] = {0, 1, 2, 255, 256, 510};
	unsigned sign = 12 + 9 * levels;
	uint64_t va = below(r, 64) * 64 + (op == OP_EXECUTE ? 56 + below(r, 8) : below(r, 7) * 8);

	for (unsigned i = 1; i <= levels; i++) {
		uint64_t slot = chance(r, 50) ? edges[below(r, 6)] : below(r, 511);

		if (i == 2 && chance(r, 50))
			slot = DATA >> 21;
		va |= slot << (3 + 9 * i);
	}
	if (va >> (sign - 1) & 1)
		va |= ~0ULL << sign;
	if (chance(r, 2))
		va ^= chance(r, 50) ? 1ULL << (sign + below(r, 64 - sign)) : ~0ULL << sign;
	return va;
}

/* Control bits stay for 16 cases: a change costs the guest its TLB. */
static void draw_control(struct random *r, struct test_case *c)
{
	c->flags = (uint16_t)((chance(r, 70) ? F_WP : 0) | (chance(r, 80) ? F_NXE : 0) | (chance(r, 40) ? F_SMEP : 0) |
			      (chance(r, 35) ? F_SMAP : 0) | (chance(r, 50) ? F_PKE : 0) | (chance(r, 50) ? F_PKS : 0));
	c->pkru = (uint32_t)(next(r) & next(r));
	/* The guest's own pages have key 15. */
	c->pkrs = (uint32_t)(next(r) & next(r)) & 0x3fffffff;
}

/* CR4.CET, which needs CR0.WP, some accesses of the shadow stack, and leaves that make one. */
static void add_shadow_stack(struct random *r, struct test_case *c)
{
	c->flags = (uint16_t)((c->flags & ~(F_PKE | F_PKS)) | F_WP | F_CET);
	if (chance(r, 60)) {
		c->op = (uint16_t)(OP_SHADOW_POP + below(r, 3));
		/* The last word of every 64 bytes stays INT3. */
		c->va &= ~((c->va & 56) == 56 ? 15ULL : 7ULL);
		if (c->op == OP_SHADOW_POP)
			c->flags |= F_USER;
		else if (c->op == OP_USER_SHADOW_WRITE)
			c->flags &= (uint16_t)~F_USER;
	}
	/* Of the shadow stack of the mode that makes the access, often. */
	if (c->op >= OP_SHADOW_POP && chance(r, 50)) {
		int user = (c->flags & F_USER) || c->op == OP_USER_SHADOW_WRITE;

		for (unsigned level = 1; level <= 4; level++)
			c->entry[level - 1] |= XM_PTE_P | XM_PTE_RW | (user ? XM_PTE_US : 0);
		if (!user)
			c->entry[below(r, 4)] &= ~XM_PTE_US;
	}
	for (unsigned level = 1; level <= 3; level++)
		if ((level == 1 || (c->entry[level - 1] & XM_PTE_PS)) && chance(r, 70))
			c->entry[level - 1] = (c->entry[level - 1] & ~XM_PTE_RW) | XM_PTE_D;
}

static void draw(uint64_t seed, uint64_t number, unsigned levels, int cet, unsigned attempt, struct test_case *c)
{
	struct random control = {seed * 0x100000001b3ULL + number / 16};
	struct random r = {(seed << 40 ^ number) * 0x2545f4914f6cdd1dULL + attempt};

	memset(c, 0, sizeof(*c));
	draw_control(&control, c);
	c->flags |= (uint16_t)((chance(&r, 50) ? F_AC : 0) | (chance(&r, 50) ? F_USER : 0));
	c->op = (uint16_t)below(&r, 4);
	c->va = draw_va(&r, levels, c->op);
	for (unsigned i = 1; i <= levels; i++)
		c->entry[i - 1] = draw_entry(&r, i);
	if (cet)
		add_shadow_stack(&r, c);
}

/* ---- what the C core says ----------------------------------------------------------------------------------------- */

struct world {
	struct xm_machine *machine;
	struct xm_cpu *cpu;
	unsigned levels;
	int cet;
};

static void must(int status)
{
	if (status) {
		fprintf(stderr, "%s\n", xm_strerror(status));
		exit(2);
	}
}

static void set_control(struct world *w, const struct test_case *c)
{
	must(xm_cpu_set(w->cpu, XM_REG_CR0, 0x80000033 | (c->flags & F_WP ? XM_CR0_WP : 0)));
	must(xm_cpu_set(w->cpu, XM_REG_CR4,
			XM_CR4_PAE | (w->levels == 5 ? XM_CR4_LA57 : 0) | (c->flags & F_SMEP ? XM_CR4_SMEP : 0) |
				(c->flags & F_SMAP ? XM_CR4_SMAP : 0) | (c->flags & F_PKE ? XM_CR4_PKE : 0) |
				(c->flags & F_PKS ? XM_CR4_PKS : 0) | (c->flags & F_CET ? XM_CR4_CET : 0)));
	must(xm_cpu_set(w->cpu, XM_REG_EFER, XM_EFER_LME | XM_EFER_LMA | (c->flags & F_NXE ? XM_EFER_NXE : 0)));
	must(xm_cpu_set(w->cpu, XM_REG_PKRU, c->pkru));
	must(xm_cpu_set(w->cpu, XM_REG_PKRS, c->pkrs));
	must(xm_cpu_set(w->cpu, XM_REG_AC, (c->flags & F_AC) != 0));
}

static uint64_t slot(const struct test_case *c, unsigned level)
{
	return table(level) + (c->va >> (3 + 9 * level) & 511) * 8;
}

static uint32_t access_of(const struct test_case *c)
{
	static const uint32_t kind[] = {
		[OP_READ] = XM_ACC_READ,
		[OP_WRITE] = XM_ACC_WRITE,
		[OP_EXCHANGE] = XM_ACC_WRITE,
		[OP_EXECUTE] = XM_ACC_EXECUTE,
		[OP_SHADOW_POP] = XM_ACC_SHADOW_STACK,
		[OP_SHADOW_WRITE] = XM_ACC_SHADOW_STACK | XM_ACC_WRITE,
		[OP_USER_SHADOW_WRITE] = XM_ACC_SHADOW_STACK | XM_ACC_WRITE | XM_ACC_USER,
	};

	return kind[c->op] | (c->flags & F_USER ? XM_ACC_USER : 0);
}

static int in_data(uint64_t pa)
{
	return pa >= DATA && pa < DATA + DATA_SIZE;
}

/* Can the guest do it without harm?  Its tables lie in the five frames, away from its own slot of the root; its data
 * lie in the data, or, if it does not fetch them, where there is no memory. */
static int usable(const struct world *w, const struct test_case *c, const struct xm_walk *walk)
{
	if (walk->fault == XM_FAULT_BUS)
		return 0;
	for (unsigned i = 0; i < walk->nsteps; i++) {
		uint64_t at = walk->steps[i].entry_pa;

		if (at < table(1) || at >= table(6) || at == table(w->levels) + 511 * 8)
			return 0;
	}
	/* A shadow-stack pointer that is not canonical cannot be set; its page must be there, for the guest's own sake. */
	if (c->op >= OP_SHADOW_POP &&
	    (walk->fault == XM_FAULT_GP ? c->op == OP_SHADOW_POP : !walk->fault && !in_data(walk->pa)))
		return 0;
	return walk->fault || in_data(walk->pa) || (c->op != OP_EXECUTE && walk->pa >> 33);
}

static void expect(struct world *w, const struct test_case *c, struct xm_walk *walk, struct test_result *r)
{
	set_control(w, c);
	memset(r, 0, sizeof(*r));
	for (unsigned i = 1; i <= w->levels; i++)
		must(xm_write64(w->machine, slot(c, i), c->entry[i - 1]));
	xm_access(w->cpu, c->va, access_of(c), walk);
	for (unsigned i = 1; i <= w->levels; i++) {
		must(xm_read64(w->machine, slot(c, i), &r->entry[i - 1]));
		must(xm_write64(w->machine, slot(c, i), 0));
	}
	r->vector = walk->fault == XM_FAULT_PF ? 14 : walk->fault == XM_FAULT_GP ? 13 : 0;
	r->code = walk->fault ? (uint16_t)walk->error_code : 0;
	r->cr2 = r->vector == 14 ? c->va : 0;
	if (!walk->fault)
		r->data = DATA_WORD(walk->pa);
}

static void case_and_answer(struct world *w, uint64_t seed, uint64_t number, struct test_case *c, struct xm_walk *walk,
			    struct test_result *r)
{
	unsigned attempt = 0;

	do {
		draw(seed, number, w->levels, w->cet, attempt++, c);
		expect(w, c, walk, r);
	} while (!usable(w, c, walk));
}

/* ---- judgement ---------------------------------------------------------------------------------------------------- */

enum { SAME, A_ABOVE, RSVD_NO_P, RSVD_NO_P_A_ABOVE, UNEXPLAINED, CLASSES };
static const char *const class_names[] = {"same", "a_above_fault", "rsvd_without_p", "rsvd_without_p_and_a_above_fault",
					  "unexplained"};

static int judge(const struct world *w, const struct test_case *c, const struct xm_walk *walk,
		 const struct test_result *ours, const struct test_result *theirs)
{
	int no_p = theirs->code & XM_PF_RSVD && !(theirs->code & XM_PF_P) && theirs->code + XM_PF_P == ours->code;
	int data = c->op == OP_READ || c->op == OP_EXCHANGE;
	uint64_t above[5];

	if (!theirs->done || theirs->vector != ours->vector || theirs->cr2 != ours->cr2 ||
	    (theirs->code != ours->code && !no_p))
		return UNEXPLAINED;
	if (!ours->vector && data && in_data(walk->pa) && theirs->data != ours->data)
		return UNEXPLAINED;
	if (!memcmp(ours->entry, theirs->entry, w->levels * 8))
		return no_p ? RSVD_NO_P : SAME;
	memcpy(above, ours->entry, sizeof(above));
	/* The entry of a 1-GByte page counts as above: it is marked after the reserved bits that every entry has are seen
	 * clear, and before its own and the rights. */
	int marked = walk->nsteps - 1;

	if (marked >= 0 && (int)w->levels - marked == 3 && (~walk->steps[marked].entry & (XM_PTE_P | XM_PTE_PS)) == 0 &&
	    !(walk->steps[marked].entry & w->cpu->rsvd[3]))
		marked++;
	for (int i = 0; ours->vector == 14 && i < marked; i++)
		for (unsigned level = 1; level <= w->levels; level++)
			if (slot(c, level) == walk->steps[i].entry_pa)
				above[level - 1] |= XM_PTE_A;
	if (memcmp(above, theirs->entry, w->levels * 8))
		return UNEXPLAINED;
	return no_p ? RSVD_NO_P_A_ABOVE : A_ABOVE;
}

static void tell(uint64_t number, const struct test_case *c, const struct test_result *ours,
		 const struct test_result *theirs)
{
	fprintf(stderr, "case %llu: op %u va %#llx flags %#x pkru %#x pkrs %#x\n", (unsigned long long)number, c->op,
		(unsigned long long)c->va, c->flags, c->pkru, c->pkrs);
	for (int i = 4; i >= 0; i--)
		fprintf(stderr, "  level %d: %#llx -> ours %#llx guest %#llx\n", i + 1, (unsigned long long)c->entry[i],
			(unsigned long long)ours->entry[i], (unsigned long long)theirs->entry[i]);
	fprintf(stderr, "  ours %u:%#x cr2 %#llx data %#llx; guest %u:%#x cr2 %#llx data %#llx done %u\n", ours->vector,
		ours->code, (unsigned long long)ours->cr2, (unsigned long long)ours->data, theirs->vector, theirs->code,
		(unsigned long long)theirs->cr2, (unsigned long long)theirs->data, theirs->done);
}

static void make_data(uint8_t *memory)
{
	for (uint64_t pa = DATA; pa < DATA + DATA_SIZE; pa += 8) {
		uint64_t word = (pa & 63) == 56 ? 0xccccccccccccccccULL : DATA_WORD(pa);

		memcpy(memory + pa, &word, 8);
	}
}

int main(int argc, char **argv)
{
	struct world w = {0};
	uint64_t counts[CLASSES] = {0}, faults = 0, shadow[2] = {0};

	if (argc != 7 && (argc != 8 || strcmp(argv[7], "cet")))
		return 2;
	w.cet = argc == 8;
	int making = !strcmp(argv[1], "make"), fd = open(argv[2], O_RDWR);
	uint64_t cases = strtoull(argv[3], NULL, 0), seed = strtoull(argv[4], NULL, 0);
	unsigned physbits = (unsigned)atoi(argv[6]);

	w.levels = (unsigned)atoi(argv[5]);
	uint8_t *memory = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || memory == MAP_FAILED || cases > MOST_CASES)
		return 2;
	w.machine = xm_machine_new(8 << 20);
	w.cpu = xm_cpu_new(w.machine, physbits, XM_VENDOR_INTEL, 1);
	must(xm_cpu_set(w.cpu, XM_REG_CR4, XM_CR4_PAE | (w.levels == 5 ? XM_CR4_LA57 : 0)));
	must(xm_cpu_set(w.cpu, XM_REG_CR3, table(w.levels)));
	uint64_t *parameters = (uint64_t *)(void *)(memory + PARAMETERS);
	struct test_case *c = (void *)(memory + CASES);
	struct test_result *theirs = (void *)(memory + RESULTS);

	if (making) {
		make_data(memory);
		parameters[0] = MAGIC;
		parameters[1] = w.levels;
		parameters[2] = cases;
		parameters[3] = 0;
	}
	for (uint64_t i = 0; i < cases; i++) {
		struct test_case drawn;
		struct test_result ours;
		struct xm_walk walk;

		case_and_answer(&w, seed, i, &drawn, &walk, &ours);
		if (making) {
			c[i] = drawn;
			memset(&theirs[i], 0, sizeof(theirs[i]));
			theirs[i].data = ours.data;
			continue;
		}
		int class = judge(&w, &drawn, &walk, &ours, &theirs[i]);

		counts[class]++;
		faults += ours.vector != 0;
		if (drawn.op >= OP_SHADOW_POP)
			shadow[!ours.vector]++;
		if (class == UNEXPLAINED && counts[class] <= 5)
			tell(i, &drawn, &ours, &theirs[i]);
	}
	if (!making) {
		printf("cases %llu\nfaults %llu\ndone %llu\n", (unsigned long long)cases, (unsigned long long)faults,
		       (unsigned long long)parameters[3]);
		if (w.cet)
			printf("shadow_stack_faults %llu\nshadow_stack_allowed %llu\n", (unsigned long long)shadow[0],
			       (unsigned long long)shadow[1]);
		for (int i = 0; i < CLASSES; i++)
			printf("%s %llu\n", class_names[i], (unsigned long long)counts[i]);
	}
	xm_cpu_free(w.cpu);
	xm_machine_free(w.machine);
	return counts[UNEXPLAINED] != 0;
}
