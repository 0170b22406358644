/*
 * matrix.c - every combination of the flag bits of a PDE and a PTE, of the access and of the control bits: the C core
 * against a predictor written for this program, which is told nothing of the walk.
 *
 *	matrix [PART]		PART 1 (all) or n: only every n-th combination of PDE and PTE
 *
 * Access: read, write, fetch, each by user and supervisor, and implicit read and write.  CPU: WP, NXE, SMEP; SMAP off, on,
 * on with AC; protection key off, on, AD, WD; MAXPHYADDR 36 (bits 51 and 36 reserved) and 52 (neither: only where both are
 * clear, for they would move the page).  Entries, twice: with the bits that decide (P RW US A D XD, bits 51 and 36, PS and
 * bit 13 of a large page), and with all low bits (PWT, PCD, PAT and G too) and XD, keys off.
 * Compared: fault, error code, physical address, both entries afterwards.
 */
#include <stdio.h>
#include <stdlib.h>

#include "xenmmu.h"

#define BIT(n) (1ULL << (n))

enum { PDPT = 1, PD, PT, PML4, PAGE = 8, KEY = 1 };
#define LARGE_PAGE 0x200000ULL
#define VA 0x8080604123ULL /* slots 1, 2, 3, 4 */

struct control {
	int wp, nxe, smep, smap, ac, pke, ad, wd;
	unsigned maxphyaddr;
};

struct prediction {
	int code; /* -1: allowed */
	uint64_t pa, pde, pte;
};

/* ---- the predictor: what is asked of the entries in turn, each question with its bit of the error code ---------------- */

static int forbidden_bits(uint64_t entry, int maps_2m, const struct control *c)
{
	if ((entry & BIT(63)) && !c->nxe)
		return 1;
	if (c->maxphyaddr == 36 && (entry & (BIT(51) | BIT(36))))
		return 1;
	return maps_2m && (entry & BIT(13));
}

static int may(uint64_t pde, uint64_t pte, int maps_2m, const struct control *c, uint32_t access)
{
	int u = (pde & BIT(2)) && (maps_2m || (pte & BIT(2)));
	int w = (pde & BIT(1)) && (maps_2m || (pte & BIT(1)));
	int xd = (pde & BIT(63)) || (!maps_2m && (pte & BIT(63)));
	int user = (access & XM_ACC_USER) != 0;

	switch (access & (XM_ACC_WRITE | XM_ACC_EXECUTE)) {
	case XM_ACC_EXECUTE:
		return !xd && (user ? u : !(u && c->smep));
	case XM_ACC_WRITE:
		if (user)
			return u && w;
		if (c->wp && !w)
			return 0;
		break;
	default:
		if (user)
			return u;
	}
	return !u || !c->smap || (c->ac && !(access & XM_ACC_IMPLICIT));
}

static int key_forbids(uint64_t pde, uint64_t pte, int maps_2m, const struct control *c, uint32_t access)
{
	int u = (pde & BIT(2)) && (maps_2m || (pte & BIT(2)));

	if (!c->pke || !u || (access & XM_ACC_EXECUTE))
		return 0;
	if (c->ad)
		return 1;
	return c->wd && (access & XM_ACC_WRITE) && ((access & XM_ACC_USER) || c->wp);
}

static struct prediction predict(uint64_t pde, uint64_t pte, const struct control *c, uint32_t access)
{
	struct prediction p = {-1, 0, pde, pte};
	int maps_2m = (pde & BIT(7)) != 0;
	int about = (access & XM_ACC_WRITE ? 2 : 0) + (access & XM_ACC_USER ? 4 : 0) +
		    ((access & XM_ACC_EXECUTE) && (c->nxe || c->smep) ? 16 : 0);

	if (!(pde & 1)) {
		p.code = about;
	} else if (forbidden_bits(pde, maps_2m, c)) {
		p.code = about + 1 + 8;
	} else if (!maps_2m && !(pte & 1)) {
		p.code = about;
	} else if (!maps_2m && forbidden_bits(pte, 0, c)) {
		p.code = about + 1 + 8;
	} else if (key_forbids(pde, pte, maps_2m, c, access)) {
		p.code = about + 1 + 32;
	} else if (!may(pde, pte, maps_2m, c, access)) {
		p.code = about + 1;
	} else {
		uint64_t leaf = access & XM_ACC_WRITE ? BIT(5) | BIT(6) : BIT(5);

		p.pde |= maps_2m ? leaf : BIT(5);
		p.pte |= maps_2m ? 0 : leaf;
		p.pa = maps_2m ? LARGE_PAGE + (VA & 0x1fffff) : PAGE * 4096 + (VA & 0xfff);
	}
	return p;
}

/* ---- the enumeration ---------------------------------------------------------------------------------------------- */

static const uint32_t accesses[] = {
	XM_ACC_READ,
	XM_ACC_WRITE,
	XM_ACC_EXECUTE,
	XM_ACC_READ | XM_ACC_USER,
	XM_ACC_WRITE | XM_ACC_USER,
	XM_ACC_EXECUTE | XM_ACC_USER,
	XM_ACC_READ | XM_ACC_IMPLICIT,
	XM_ACC_WRITE | XM_ACC_IMPLICIT,
};
#define ACCESSES (sizeof(accesses) / sizeof(accesses[0]))

/* Bits of a counter spread over the bits of an entry. */
static uint64_t spread(unsigned counter, const unsigned char *bits, unsigned n)
{
	uint64_t entry = 0;

	for (unsigned i = 0; i < n; i++)
		if (counter >> i & 1)
			entry |= BIT(bits[i]);
	return entry;
}

struct matrix {
	unsigned controls; /* of those of MAXPHYADDR 36, and as many of 52 */
	unsigned pte_width, pde_width;
	unsigned char pte_bits[10], pde_bits[10];
};

static const struct matrix matrices[] = {
	{96, 8, 10, {0, 1, 2, 5, 6, 63, 51, 36}, {0, 1, 2, 5, 6, 63, 51, 36, 7, 13}},
	{24, 10, 10, {0, 1, 2, 3, 4, 5, 6, 7, 8, 63}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 63}},
};

struct run {
	struct xm_cpu *cpu;
	uint64_t *pde, *pte;
	uint64_t cases, faults, differences;
};

static void tell(const struct run *run, uint64_t pde, uint64_t pte, uint32_t access, const struct prediction *p,
		 const struct xm_walk *w)
{
	fprintf(stderr,
		"pde %#llx pte %#llx access %#x cr0 %#llx cr4 %#llx efer %#llx ac %d pkru %#x: predicted %d pa %#llx "
		"pde %#llx pte "
		"%#llx, walk %d pa %#llx pde %#llx pte %#llx\n",
		(unsigned long long)pde, (unsigned long long)pte, access, (unsigned long long)run->cpu->cr0,
		(unsigned long long)run->cpu->cr4, (unsigned long long)run->cpu->efer, run->cpu->ac, run->cpu->pkru,
		p->code, (unsigned long long)p->pa, (unsigned long long)p->pde, (unsigned long long)p->pte,
		w->error_code, (unsigned long long)w->pa, (unsigned long long)*run->pde, (unsigned long long)*run->pte);
}

static void one(struct run *run, uint64_t pde, uint64_t pte, const struct control *c, uint32_t access)
{
	struct prediction p = predict(pde, pte, c, access);
	struct xm_walk w;

	*run->pde = pde;
	*run->pte = pte;
	xm_access(run->cpu, VA, access, &w);
	run->cases++;
	run->faults += w.fault != XM_FAULT_NONE;
	if (w.error_code == p.code && w.pa == p.pa && *run->pde == p.pde && *run->pte == p.pte)
		return;
	if (run->differences++ < 5)
		tell(run, pde, pte, access, &p, &w);
}

static void all_entries(struct run *run, const struct matrix *m, const struct control *c, unsigned part)
{
	for (unsigned i = 0; i < 1U << m->pde_width; i++) {
		uint64_t pde_flags = spread(i, m->pde_bits, m->pde_width);
		uint64_t pde = pde_flags | (pde_flags & BIT(7) ? LARGE_PAGE : PT * 4096) | (uint64_t)KEY << 59;

		/* Bit 13 of an entry that refers to a table is a bit of its address. */
		if ((pde_flags & BIT(13)) && !(pde_flags & BIT(7)))
			continue;
		for (unsigned j = i % part; j < 1U << m->pte_width; j += part) {
			uint64_t pte = spread(j, m->pte_bits, m->pte_width) | PAGE * 4096 | (uint64_t)KEY << 59;

			if (c->maxphyaddr > 36 && ((pde | pte) & (BIT(51) | BIT(36))))
				continue;
			for (unsigned k = 0; k < ACCESSES; k++)
				one(run, pde, pte, c, accesses[k]);
		}
	}
}

static void must(int status)
{
	if (status) {
		fprintf(stderr, "%s\n", xm_strerror(status));
		exit(2);
	}
}

static void set_control(struct xm_cpu *cpu, const struct control *c)
{
	must(xm_cpu_set(cpu, XM_CPUID_MAXPHYADDR, c->maxphyaddr));
	must(xm_cpu_set(cpu, XM_REG_CR0, XM_CR0_PE | XM_CR0_PG | (c->wp ? XM_CR0_WP : 0)));
	must(xm_cpu_set(cpu, XM_REG_CR4,
			XM_CR4_PAE | (c->smep ? XM_CR4_SMEP : 0) | (c->smap ? XM_CR4_SMAP : 0) |
				(c->pke ? XM_CR4_PKE : 0)));
	must(xm_cpu_set(cpu, XM_REG_EFER, XM_EFER_LME | XM_EFER_LMA | (c->nxe ? XM_EFER_NXE : 0)));
	must(xm_cpu_set(cpu, XM_REG_AC, (uint64_t)c->ac));
	must(xm_cpu_set(cpu, XM_REG_PKRU, (c->ad ? BIT(2 * KEY) : 0) | (c->wd ? BIT(2 * KEY + 1) : 0)));
}

static void all_controls(struct run *run, const struct matrix *m, unsigned part)
{
	for (unsigned i = 0; i < 2 * m->controls; i++) {
		unsigned n = i / 2, smap = n / 8 % 3, key = n / 24;
		struct control c = {
			.wp = n & 1,
			.nxe = n >> 1 & 1,
			.smep = n >> 2 & 1,
			.smap = smap > 0,
			.ac = smap == 2,
			.pke = key > 0,
			.ad = key == 2,
			.wd = key == 3,
			.maxphyaddr = i % 2 ? 36 : 52,
		};

		set_control(run->cpu, &c);
		all_entries(run, m, &c, part);
	}
}

int main(int argc, char **argv)
{
	unsigned part = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	struct xm_machine *m = xm_machine_new(16 << 12);
	struct run run = {xm_cpu_new(m, 36, XM_VENDOR_INTEL, 1), NULL, NULL, 0, 0, 0};
	uint64_t upper = XM_PTE_P | XM_PTE_RW | XM_PTE_US | XM_PTE_A;

	if (part < 1 || part > 256)
		return 2;
	must(xm_write64(m, PML4 * 4096 + 1 * 8, PDPT * 4096 | upper));
	must(xm_write64(m, PDPT * 4096 + 2 * 8, PD * 4096 | upper));
	run.pde = (uint64_t *)xm_machine_frame(m, PD) + 3;
	run.pte = (uint64_t *)xm_machine_frame(m, PT) + 4;
	must(xm_cpu_set(run.cpu, XM_REG_CR3, PML4 * 4096));
	for (unsigned i = 0; i < 2; i++)
		all_controls(&run, &matrices[i], part);
	printf("cases %llu\nfaults %llu\ndifferences %llu\n", (unsigned long long)run.cases,
	       (unsigned long long)run.faults, (unsigned long long)run.differences);
	xm_cpu_free(run.cpu);
	xm_machine_free(m);
	return run.differences != 0;
}
