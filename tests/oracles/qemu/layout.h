/*
 * layout.h - what the guest and the program that makes and judges its cases agree on.
 *
 * Physical memory of the guest, which is a file that both see:
 *
 *	1 MiB    the guest	2 MiB   its code for CPL 3	4 MiB   2 MiB of data
 *	6 MiB    tables		8 MiB   a shadow stack	~128 MiB parameters	128 MiB cases	256 MiB results
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#define USER_CODE 0x200000
#define DATA 0x400000
#define DATA_SIZE 0x200000
#define TABLES 0x600000   /* the table of level i at TABLES + i * 4096, i = 1 to 5 */
#define OWN_PML4 0x610000 /* with 5 levels */
#define OWN_PDPT 0x611000
#define OWN_PD 0x612000
#define BOOT_ROOT 0x613000
#define SHADOW_STACK 0x800000
#define PARAMETERS 0x7fff000
#define CASES 0x8000000
#define RESULTS 0x10000000
#define MOST_CASES 2000000

#define KERNEL_VA 0xffffffff80000000
#define USER_VA 0xffffffffc0000000
#define SHADOW_VA 0xffffffffc0200000 /* SHADOW_STACK, as a page of a supervisor's shadow stack */
#define TOKEN 0xff8

#define MAGIC 0x78656e6d6d75 /* in parameter 0; parameters 1 and 2 are levels and cases, 3 is the number done */

/* Every word of the data tells its address; the last 8 bytes of every 64 are INT3. */
#define DATA_WORD(pa) ((pa) ^ 0x5a5a000000000000ULL)

#ifndef __ASSEMBLER__
#include <stdint.h>

/* Those of a shadow stack: INCSSP by the user, WRSS, and WRUSS by the supervisor. */
enum { OP_READ, OP_WRITE, OP_EXCHANGE, OP_EXECUTE, OP_SHADOW_POP, OP_SHADOW_WRITE, OP_USER_SHADOW_WRITE };
enum { F_WP = 1, F_NXE = 2, F_SMEP = 4, F_SMAP = 8, F_PKE = 16, F_PKS = 32, F_AC = 64, F_USER = 128, F_CET = 256 };
#define CONTROL_FLAGS (63 | F_CET)

struct test_case {
	uint64_t entry[5]; /* of level i at [i - 1] */
	uint64_t va;
	uint32_t pkru;
	uint32_t pkrs;
	uint16_t flags;
	uint16_t op;
	uint32_t pad;
};

struct test_result {
	uint64_t entry[5]; /* afterwards */
	uint64_t cr2;
	uint64_t data;   /* read, or found before the exchange */
	uint16_t vector; /* 0: the access succeeded */
	uint16_t code;
	uint32_t done;
};
#endif
#endif
