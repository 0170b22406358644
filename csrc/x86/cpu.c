/*
 * cpu.c - the control state that paging reads, checked when it is set as the processor checks it.
 *
 * Knows: CR0, CR3, CR4, EFER, PKRU, PKRS, EFLAGS.AC and CPUID's say in them (SDM vol. 3A, 2.5 and 4.1).
 * Does not know: any table.
 */
#include "walk.h"

/* Everything the walk would otherwise work out again for each entry. */
static void derive(struct xm_cpu *cpu)
{
	int nxe = (cpu->efer & XM_EFER_NXE) != 0;
	int amd = cpu->vendor == XM_VENDOR_AMD;

	cpu->levels = cpu->cr4 & XM_CR4_LA57 ? 5 : 4;
	for (unsigned level = 1; level <= 5; level++) {
		cpu->rsvd[level] = xm_rsvd_mask(level, 0, cpu->maxphyaddr, nxe, amd, cpu->gbpages);
		cpu->rsvd_large[level] = xm_rsvd_mask(level, 1, cpu->maxphyaddr, nxe, amd, cpu->gbpages);
	}
}

int xm_cpu_init(struct xm_cpu *cpu, struct xm_machine *m, unsigned maxphyaddr, int vendor, int gbpages)
{
	if (maxphyaddr < 36 || maxphyaddr > 52 || (vendor != XM_VENDOR_INTEL && vendor != XM_VENDOR_AMD))
		return XM_E_ARGUMENT;
	memset(cpu, 0, sizeof(*cpu));
	cpu->machine = m;
	cpu->maxphyaddr = (uint8_t)maxphyaddr;
	cpu->vendor = (uint8_t)vendor;
	cpu->gbpages = gbpages != 0;
	cpu->cr0 = XM_CR0_PE | XM_CR0_WP | XM_CR0_PG;
	cpu->cr4 = XM_CR4_PAE;
	cpu->efer = XM_EFER_LME | XM_EFER_LMA | XM_EFER_NXE;
	derive(cpu);
	return XM_OK;
}

struct xm_cpu *xm_cpu_new(struct xm_machine *m, unsigned maxphyaddr, int vendor, int gbpages)
{
	struct xm_cpu *cpu = xm_state_new(m, sizeof(*cpu));

	if (!cpu)
		return NULL;
	if (xm_cpu_init(cpu, m, maxphyaddr, vendor, gbpages)) {
		xm_state_free(m, cpu);
		return NULL;
	}
	cpu->home = cpu;
	return cpu;
}

void xm_cpu_free(struct xm_cpu *cpu)
{
	if (cpu)
		xm_state_free(cpu->machine, cpu);
}

/* ---- cached translations -------------------------------------------------------------------------------------------- */

void xm_cpu_flush(struct xm_cpu *cpu, struct xm_flush flush)
{
	if (cpu->tlb)
		xm_tlb_drop(cpu->tlb, flush);
	if (cpu->history)
		xm_history_flush(cpu, flush);
}

void xm_cpu_invlpg(struct xm_cpu *cpu, uint64_t va)
{
	xm_cpu_flush(cpu, xm_flush_invlpg(cpu->cr3, cpu->cr4, cpu->efer, va));
}

int xm_cpu_invpcid(struct xm_cpu *cpu, uint64_t type, uint64_t pcid, uint64_t va)
{
	struct xm_flush flush;
	int status = xm_flush_invpcid(cpu->cr4, type, pcid, va, &flush);

	if (!status)
		xm_cpu_flush(cpu, flush);
	return status;
}

/* ---- registers: each function says what the processor refuses ----------------------------------------------------- */

/* [SDM 2.5] Bits that software can set; the rest are reserved, or belong to features that change what a linear address
 * is (LAM) and that this processor does not have. */
#define CR4_DEFINED 0x3f77fffULL
#define EFER_DEFINED (1ULL | XM_EFER_LME | XM_EFER_LMA | XM_EFER_NXE)
#define EFER_DEFINED_AMD (EFER_DEFINED | 0x26d000ULL) /* SVME, FFXSR, TCE, MCOMMIT, INTWB, AIBRSE [APM vol. 2, 3.1.7] */

#define CR0_NW 0x20000000ULL
#define CR0_CD 0x40000000ULL

static int set_cr0(struct xm_cpu *cpu, uint64_t value)
{
	if (value >> 32 || (value & (XM_CR0_PE | XM_CR0_PG)) != (XM_CR0_PE | XM_CR0_PG))
		return XM_E_GP;
	if ((value & CR0_NW) && !(value & CR0_CD))
		return XM_E_GP;
	if ((cpu->cr4 & XM_CR4_CET) && !(value & XM_CR0_WP))
		return XM_E_GP;
	cpu->cr0 = value;
	return XM_OK;
}

/* [SDM 4.5, 4.10.4.1] Bit 63 asks not to flush when PCIDs are on, and is not kept. */
static int set_cr3(struct xm_cpu *cpu, uint64_t value)
{
	uint64_t kept = cpu->cr4 & XM_CR4_PCIDE ? value & ~XM_CR3_NO_FLUSH : value;

	if (kept >> cpu->maxphyaddr)
		return XM_E_GP;
	cpu->cr3 = kept;
	cpu->running = 1;
	xm_cpu_flush(cpu, xm_flush_mov_cr3(value, cpu->cr4));
	return XM_OK;
}

/* [SDM 2.5, 4.10.4.1] LA57 is fixed in IA-32e mode; PCIDE needs PCID 0; CET needs CR0.WP. */
static int set_cr4(struct xm_cpu *cpu, uint64_t value)
{
	uint64_t changed = value ^ cpu->cr4;

	if (!(value & XM_CR4_PAE) || (value & ~CR4_DEFINED))
		return XM_E_GP;
	if ((changed & XM_CR4_LA57) && cpu->running)
		return XM_E_GP;
	if ((changed & value & XM_CR4_PCIDE) && (cpu->cr3 & 0xfff))
		return XM_E_GP;
	if ((value & XM_CR4_CET) && !(cpu->cr0 & XM_CR0_WP))
		return XM_E_GP;
	xm_cpu_flush(cpu, xm_flush_mov_cr4(cpu->cr3, cpu->cr4, value));
	cpu->cr4 = value;
	return XM_OK;
}

/* LMA is read-only: Intel ignores a write to it, AMD faults on one that would change it (APM vol. 2, 3.1.7). */
static int set_efer(struct xm_cpu *cpu, uint64_t value)
{
	int amd = cpu->vendor == XM_VENDOR_AMD;

	if (!(value & XM_EFER_LME) || (value & ~(amd ? EFER_DEFINED_AMD : EFER_DEFINED)))
		return XM_E_GP;
	if (amd && !(value & XM_EFER_LMA))
		return XM_E_GP;
	/* No manual says what a cached XD means while NXE is 0, nor that it must go.  This TLB lets it go. */
	if (cpu->tlb && (cpu->efer & ~value & XM_EFER_NXE))
		xm_tlb_drop(cpu->tlb, (struct xm_flush){0, 0, XM_FLUSH_ALL, XM_FLUSH_ALL, 1, 0});
	cpu->efer = value | XM_EFER_LMA;
	return XM_OK;
}

static int set_key_register(uint32_t *reg, uint64_t value)
{
	if (value >> 32)
		return XM_E_GP;
	*reg = (uint32_t)value;
	return XM_OK;
}

static int set_maxphyaddr(struct xm_cpu *cpu, uint64_t value)
{
	if (value < 36 || value > 52 || cpu->cr3 >> value)
		return XM_E_ARGUMENT;
	cpu->maxphyaddr = (uint8_t)value;
	return XM_OK;
}

static int set_vendor(struct xm_cpu *cpu, uint64_t value)
{
	if ((value != XM_VENDOR_INTEL && value != XM_VENDOR_AMD) ||
	    (value == XM_VENDOR_INTEL && cpu->efer & ~EFER_DEFINED))
		return XM_E_ARGUMENT;
	cpu->vendor = (uint8_t)value;
	return XM_OK;
}

static int set_a_on_fault(struct xm_cpu *cpu, uint64_t value)
{
	if (value != XM_A_ON_FAULT_NONE && value != XM_A_ON_FAULT_UPPER)
		return XM_E_ARGUMENT;
	cpu->a_on_fault = (uint8_t)value;
	return XM_OK;
}

static int set(struct xm_cpu *cpu, int reg, uint64_t value)
{
	switch (reg) {
	case XM_REG_CR0:
		return set_cr0(cpu, value);
	case XM_REG_CR3:
		return set_cr3(cpu, value);
	case XM_REG_CR4:
		return set_cr4(cpu, value);
	case XM_REG_EFER:
		return set_efer(cpu, value);
	case XM_REG_PKRU:
		return set_key_register(&cpu->pkru, value);
	case XM_REG_PKRS:
		return set_key_register(&cpu->pkrs, value);
	case XM_REG_AC:
		cpu->ac = value != 0;
		return XM_OK;
	case XM_CPUID_MAXPHYADDR:
		return set_maxphyaddr(cpu, value);
	case XM_CPUID_VENDOR:
		return set_vendor(cpu, value);
	case XM_CPUID_PAGE1GB:
		cpu->gbpages = value != 0;
		return XM_OK;
	case XM_CHOICE_A_ON_FAULT:
		return set_a_on_fault(cpu, value);
	default:
		return XM_E_ARGUMENT;
	}
}

int xm_cpu_set(struct xm_cpu *cpu, int reg, uint64_t value)
{
	uint64_t events = cpu->history ? xm_history_events(cpu->history) : 0;
	int status;

	if (cpu->home == cpu)
		xm_journal_note(cpu->machine, cpu, sizeof(*cpu));
	status = set(cpu, reg, value);
	if (!status && (reg == XM_REG_CR4 || reg == XM_REG_EFER || reg >= XM_CPUID_MAXPHYADDR))
		derive(cpu);
	if (!status && cpu->history)
		xm_history_registers(cpu, events);
	return status;
}
