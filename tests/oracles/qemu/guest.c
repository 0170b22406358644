/*
 * guest.c - runs cases: writes the entries, sets the control registers, makes the access, notes what happened.
 *
 * Knows: layout.h.  Does not know: what should happen.
 */
#include "layout.h"

extern void run_access(unsigned op, uint64_t va, uint64_t value, uint64_t rflags, int user, uint64_t s_cet);
extern const char accesses[], accesses_end[], on_int3[], on_13[], on_14[], on_other[];
extern uint64_t gdt[], fault_code, access_data;
extern uint32_t fault_vector;
extern char trap_stack_top[];

#define IA32_U_CET 0x6a0
#define IA32_PL0_SSP 0x6a4
#define IA32_PL3_SSP 0x6a7
#define SH_STK_EN 1
#define WR_SHSTK_EN 2

static uint64_t idt[256][2];
static uint32_t tss[26];

static void *at(uint64_t pa)
{
	return (void *)(KERNEL_VA + pa);
}

static void set_gate(unsigned vector, const char *handler, uint64_t dpl)
{
	uint64_t to = (uint64_t)handler;

	idt[vector][0] = (to & 0xffff) | 8 << 16 | (0x8e00 | dpl << 13) << 32 | (to & 0xffff0000) << 32;
	idt[vector][1] = to >> 32;
}

static void set_traps(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};
	uint64_t base = (uint64_t)tss;

	for (unsigned i = 0; i < 256; i++)
		set_gate(i, on_other, 0);
	set_gate(3, on_int3, 3);
	set_gate(13, on_13, 0);
	set_gate(14, on_14, 0);
	tss[1] = (uint32_t)(uint64_t)trap_stack_top;
	tss[2] = (uint32_t)((uint64_t)trap_stack_top >> 32);
	gdt[5] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ULL << 40 | (base >> 24 & 0xff) << 56;
	gdt[6] = base >> 32;
	__asm__ volatile("lidt %0; ltr %w1" ::"m"(pointer), "r"(0x28));
}

static void write_msr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static void set_control(const struct test_case *c, unsigned levels)
{
	uint64_t cr0 = 0x80000033 | (c->flags & F_WP ? 0x10000 : 0);
	uint64_t cr4 = 0x20 | (levels == 5 ? 0x1000 : 0) | (c->flags & F_SMEP ? 1 << 20 : 0) |
		       (c->flags & F_SMAP ? 1 << 21 : 0) | (c->flags & F_PKE ? 1 << 22 : 0) |
		       (c->flags & F_PKS ? 1 << 24 : 0) | (c->flags & F_CET ? 1 << 23 : 0);

	__asm__ volatile("mov %0, %%cr0; mov %1, %%cr4" ::"r"(cr0), "r"(cr4) : "memory");
	write_msr(0xc0000080, 0x500 | (c->flags & F_NXE ? 0x800 : 0));
	if (c->flags & F_PKE)
		__asm__ volatile(".byte 0x0f, 0x01, 0xef" ::"a"(c->pkru), "c"(0), "d"(0) : "memory");
	if (c->flags & F_PKS)
		write_msr(0x6e1, c->pkrs);
	/* Shadow stacks and WRSS for the user; the supervisor's is on for a single access, its token ready each time. */
	if (c->flags & F_CET) {
		write_msr(IA32_U_CET, SH_STK_EN | WR_SHSTK_EN);
		write_msr(IA32_PL0_SSP, SHADOW_VA + TOKEN);
	}
}

static void run_case(const struct test_case *c, struct test_result *r, unsigned levels)
{
	uint64_t *slot[5];
	uint64_t cr2;

	for (unsigned i = 1; i <= levels; i++) {
		slot[i - 1] = (uint64_t *)at(TABLES + i * 4096) + (c->va >> (3 + 9 * i) & 511);
		*slot[i - 1] = c->entry[i - 1];
	}
	__asm__ volatile("invlpg (%0)" ::"r"(c->va) : "memory");
	__asm__ volatile("mov %0, %%cr2" ::"r"(0ULL));
	if (c->op == OP_SHADOW_POP)
		write_msr(IA32_PL3_SSP, c->va);
	int own = c->op == OP_SHADOW_WRITE && !(c->flags & F_USER);

	if (own)
		*(uint64_t *)at(SHADOW_STACK + TOKEN) = SHADOW_VA + TOKEN;
	/* A store writes what is there already: the result holds it, beforehand. */
	run_access(c->op, c->va, r->data, 2 | (c->flags & F_AC ? 1 << 18 : 0), c->flags & F_USER,
		   own ? SH_STK_EN | WR_SHSTK_EN : 0);
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	__asm__ volatile("invlpg (%0)" ::"r"(c->va) : "memory");
	for (unsigned i = 0; i < levels; i++) {
		r->entry[i] = *slot[i];
		*slot[i] = 0;
	}
	r->vector = (uint16_t)fault_vector;
	r->code = fault_vector ? (uint16_t)fault_code : 0;
	r->cr2 = fault_vector == 14 ? cr2 : 0;
	r->data = access_data;
	r->done = 1;
}

static uint8_t in(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void out(uint16_t port, unsigned value)
{
	__asm__ volatile("outb %0, %1" ::"a"((uint8_t)value), "Nd"(port));
}

/* Sectors of the first ATA disk. */
static void read_disk(uint16_t *to, uint32_t sector, uint64_t count)
{
	for (; count--; sector++) {
		uint64_t words = 256;

		out(0x1f2, 1);
		out(0x1f3, sector);
		out(0x1f4, sector >> 8);
		out(0x1f5, sector >> 16);
		out(0x1f6, 0xe0 | sector >> 24);
		out(0x1f7, 0x20);
		while ((in(0x1f7) & 0x88) != 8)
			;
		__asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"(0x1f0) : "memory");
	}
}

/* Where memory is no file, it comes from a disk: sector 0 says which sectors go where. */
static void read_memory(void)
{
	static struct {
		uint64_t to, count;
	} parts[32];
	uint32_t sector = 1;

	read_disk((uint16_t *)parts, 0, 1);
	for (unsigned i = 0; parts[i].count; sector += (uint32_t)parts[i++].count)
		read_disk(at(parts[i].to), sector, parts[i].count);
}

static void give(const void *from, uint64_t bytes)
{
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(bytes) : "d"(0xe9) : "memory");
}

void guest_main(void)
{
	uint64_t *parameters = at(PARAMETERS);

	if (parameters[0] != MAGIC)
		read_memory();
	unsigned levels = (unsigned)parameters[1];
	const struct test_case *c = at(CASES), *last = 0;
	struct test_result *r = at(RESULTS);
	char *user = at(USER_CODE);
	uint64_t root = TABLES + levels * 4096;

	for (const char *p = accesses; p < accesses_end; p++)
		*user++ = *p;
	set_traps();
	((uint64_t *)at(root))[511] = (levels == 5 ? OWN_PML4 : OWN_PDPT) | 0x67;
	__asm__ volatile("mov %0, %%cr3" ::"r"(root) : "memory");
	for (uint64_t i = 0; i < parameters[2] && parameters[0] == MAGIC; i++, last = c++) {
		if (!last || (last->flags ^ c->flags) & CONTROL_FLAGS || last->pkru != c->pkru || last->pkrs != c->pkrs)
			set_control(c, levels);
		run_case(c, r + i, levels);
		parameters[3] = i + 1;
	}
	__asm__ volatile("outl %0, %1" ::"a"(0), "Nd"((uint16_t)0xf4));
	/* Where the machine is another's, and its memory is not a file: everything through its port for messages. */
	give("\nresults:\n", 10);
	give(at(RESULTS), parameters[3] * sizeof(*r));
}
