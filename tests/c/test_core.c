/*
 * test_core.c - the core as a C program uses it: xenmmu.h alone, no Python in the way, so that the leak check of the
 * sanitizers sees only our own memory.
 */
#include <stdio.h>
#include <stdlib.h>

#include "xenmmu.h"

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

#define RIGHTS (XM_PTE_P | XM_PTE_RW | XM_PTE_US)

static void test_memory(void)
{
	struct xm_machine *m = xm_machine_new(1ULL << 40);
	uint64_t value = 1;

	CHECK(m);
	CHECK(!xm_machine_new(0));
	CHECK(!xm_machine_new(4097));
	CHECK(xm_write64(m, (1ULL << 40) - 8, 5) == XM_OK);
	CHECK(xm_read64(m, (1ULL << 40) - 8, &value) == XM_OK && value == 5);
	CHECK(xm_read64(m, 1ULL << 40, &value) == XM_E_RANGE && value == 5);
	CHECK(xm_read64(m, 4, &value) == XM_E_ALIGNMENT);
	CHECK(!xm_machine_frame(m, xm_machine_frames(m)));
	xm_machine_free(m);
}

/* The machine may go with a trial still open. */
static void test_journal(void)
{
	struct xm_machine *m = xm_machine_new(1 << 20);
	uint64_t value;

	CHECK(xm_rollback(m) == XM_E_STATE);
	for (uint64_t depth = 0; depth < 100; depth++) {
		CHECK(xm_checkpoint(m) == XM_OK);
		for (uint64_t i = 0; i < 100; i++)
			CHECK(xm_write64(m, 8 * i, depth + 1) == XM_OK);
	}
	for (uint64_t depth = 100; depth > 50; depth--) {
		CHECK(xm_read64(m, 8, &value) == XM_OK && value == depth);
		CHECK(xm_rollback(m) == XM_OK);
	}
	CHECK(xm_commit(m) == XM_OK);
	CHECK(xm_checkpoint_depth(m) == 49);
	xm_machine_free(m);
}

/* A root that holds itself in slot 255, read through its own window at every level. */
static void test_walk(void)
{
	struct xm_machine *m = xm_machine_new(1 << 20);
	uint64_t va = 0x7fff12345678ULL, cr2, value;
	struct xm_walk w;
	struct xm_cpu cpu;

	for (unsigned level = 4; level >= 1; level--)
		xm_write64(m, (5ULL - level) << 12 | ((va >> (3 + 9 * level)) & 511) << 3,
			   (6ULL - level) << 12 | RIGHTS);
	xm_write64(m, 0x1000 + 254 * 8, 0x1000 | RIGHTS);
	CHECK(xm_cpu_init(&cpu, m, 46, XM_VENDOR_INTEL, 1) == XM_OK);
	CHECK(xm_cpu_set(&cpu, XM_REG_CR3, 0x1000) == XM_OK);
	xm_walk(&cpu, va, XM_ACC_USER, &w);
	CHECK(w.error_code == -1 && w.pa == 0x5678 && w.nsteps == 4);
	CHECK(xm_cpu_store(&cpu, va, 8, XM_ACC_USER, 9, &cr2, &w) == XM_OK && !w.fault);
	for (unsigned level = 1; level <= 4; level++) {
		uint64_t entry_va = xm_slot_entry_va(254, 254, level, 4, va), back;
		unsigned back_level;

		CHECK(xm_cpu_load(&cpu, entry_va, 8, 0, &value, &cr2, &w) == XM_OK && !w.fault);
		CHECK((value & XM_PTE_ADDR) == (6ULL - level) << 12);
		CHECK(xm_slot_target(254, 254, 4, entry_va, &back_level, &back) == XM_OK);
		CHECK(back_level >= level);
	}
	CHECK(xm_cpu_load(&cpu, 1ULL << 47, 8, 0, &value, &cr2, &w) == XM_OK && w.fault == XM_FAULT_GP);
	xm_machine_free(m);
}

/* The founding question in C: a user root that holds itself read-only, read and written from user mode. */
static void test_xen(void)
{
	struct xm_xen_options options = {.pv_linear_pt = 1};
	struct xm_machine *m = xm_machine_new(64 << 20);
	struct xm_guest_fault fault;
	struct xm_result result;
	struct xm_domain *d;
	struct xm_xen *x;
	uint64_t l4, value, slot, va = xm_slot_entry_va(255, 255, 4, 4, 255ULL << 39);
	struct xm_mmuext_op ops[2] = {{.cmd = XM_MMUEXT_PIN_L4_TABLE}, {.cmd = XM_MMUEXT_NEW_USER_BASEPTR}};
	struct xm_mmu_update request;
	int status = 0;

	CHECK((x = xm_xen_new(m, &options, &status)));
	CHECK(xm_checkpoint(m) == XM_OK);
	CHECK((d = xm_domain_new(x, 256, XM_DOM_PRIVILEGED, &status)));
	CHECK(xm_rollback(m) == XM_OK);
	CHECK(!xm_domain_alive(d));
	CHECK((d = xm_domain_new(x, 256, XM_DOM_PRIVILEGED, &status)));
	CHECK(!xm_domain_new(x, 1ULL << 40, 0, &status) && status < 0);
	l4 = xm_domain_mfn(d, 200);
	slot = (l4 << 12) + 255 * 8;
	CHECK(xm_write64(m, slot, l4 << 12 | XM_PTE_P | XM_PTE_US) == XM_OK);
	ops[0].arg1 = ops[1].arg1 = l4;
	CHECK(xm_mmuext_op(d, ops, 2, XM_DOMID_SELF, &result) == XM_OK && result.rc == 0);
	request = (struct xm_mmu_update){slot, l4 << 12 | RIGHTS};
	CHECK(xm_mmu_update(d, &request, 1, XM_DOMID_SELF, &result) == XM_OK);
	CHECK(result.rc < 0 && result.reason == XM_R_LINEAR_WRITABLE);
	CHECK(xm_enter_user(d) == XM_OK);
	CHECK(xm_guest_load(d, va, 8, &value, &fault) == XM_OK && !fault.fault);
	CHECK((value & XM_PTE_ADDR) == l4 << 12);
	CHECK(xm_guest_store(d, va, 8, 0, &fault) == XM_OK && fault.fault == XM_FAULT_PF && fault.error_code == 7);
	/* The floors above keep the memory alive, in whatever order they go. */
	xm_machine_free(m);
	xm_xen_free(x);
}

int main(void)
{
	test_memory();
	test_journal();
	test_walk();
	test_xen();
	puts("test_core: fine");
	return 0;
}
