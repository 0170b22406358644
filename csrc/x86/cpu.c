/*
 * cpu.c - the control state that paging reads, checked when it is set as the processor checks it.
 *
 * Knows: CR0, CR3, CR4, EFER, PKRU, PKRS, EFLAGS.AC and CPUID's say in them (SDM vol. 3A, 2.5 and 4.1).
 * Does not know: any table.
 */
#include "../internal.h"
#include "rights.h"

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

int xm_cpu_set(struct xm_cpu *cpu, int reg, uint64_t value)
{
	switch (reg) {
	case XM_REG_CR0:
		if ((value & (XM_CR0_PE | XM_CR0_PG)) != (XM_CR0_PE | XM_CR0_PG) || value >> 32)
			return XM_E_GP;
		cpu->cr0 = value;
		break;
	case XM_REG_CR3:
		/* [SDM 4.5] bits above MAXPHYADDR are reserved. */
		if (value >> cpu->maxphyaddr)
			return XM_E_GP;
		cpu->cr3 = value;
		break;
	case XM_REG_CR4:
		if (!(value & XM_CR4_PAE) || value >> 32)
			return XM_E_GP;
		/* [SDM 2.5] LA57 cannot change in IA-32e mode; a processor is made with either by setting it before
		 * CR3, so only a change under a loaded root is refused. */
		if (((value ^ cpu->cr4) & XM_CR4_LA57) && cpu->cr3)
			return XM_E_GP;
		cpu->cr4 = value;
		break;
	case XM_REG_EFER:
		if ((value & (XM_EFER_LME | XM_EFER_LMA)) != (XM_EFER_LME | XM_EFER_LMA))
			return XM_E_GP;
		cpu->efer = value;
		break;
	case XM_REG_PKRU:
	case XM_REG_PKRS:
		if (value >> 32)
			return XM_E_GP;
		*(reg == XM_REG_PKRU ? &cpu->pkru : &cpu->pkrs) = (uint32_t)value;
		break;
	case XM_REG_AC:
		cpu->ac = value != 0;
		break;
	default:
		return XM_E_ARGUMENT;
	}
	derive(cpu);
	return XM_OK;
}
