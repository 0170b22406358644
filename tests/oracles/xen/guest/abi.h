/*
 * abi.h - what a PV64 guest of Xen and the program that feeds it from outside agree on.
 *
 * Knows: numbers of Xen's public ABI (xen/include/public/xen.h, elfnote.h of stable-4.17) and the mailbox, which
 * oracle.py mirrors.  Does not know: what the operations are for.
 */
#ifndef ORACLE_ABI_H
#define ORACLE_ABI_H

#define PAGE_SIZE 4096
#define VIRT_BASE 0xffffffff80000000

#define HC_set_trap_table 0
#define HC_mmu_update 1
#define HC_set_gdt 2
#define HC_stack_switch 3
#define HC_set_callbacks 4
#define HC_update_descriptor 10
#define HC_memory_op 12
#define HC_multicall 13
#define HC_update_va_mapping 14
#define HC_console_io 18
#define HC_grant_table_op 20
#define HC_vm_assist 21
#define HC_update_va_mapping_otherdomain 22
#define HC_iret 23
#define HC_mmuext_op 26
#define HC_sched_op 29
#define HC_domctl 36

#define HYPERCALL_STUB(nr) (hypercall_page + (nr) * 32)

/* Xen's flat segments for a 64-bit guest; RPL 3 asks the iret hypercall for user mode. */
#define FLAT_CS 0xe033
#define FLAT_SS 0xe02b

#define VECTOR_PF 14
#define VECTOR_SYSCALL 0x100
#define RFLAGS_IF 0x200
/* vcpu_info: evtchn_upcall_pending and evtchn_upcall_mask, a byte each */
#define EVENTS_MASKED 0x0100

#ifndef __ASSEMBLER__
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

struct start_info {
	char magic[32];
	u64 nr_pages;
	u64 shared_info; /* machine address */
	u32 flags, pad0;
	u64 store_mfn;
	u32 store_evtchn, pad1;
	u64 console[2];
	u64 pt_base;
	u64 nr_pt_frames;
	u64 mfn_list;
	u64 mod_start;
	u64 mod_len;
	char cmd_line[1024];
};

struct trap_info {
	u8 vector, flags;
	u16 cs;
	u64 address;
};

struct mmu_update {
	u64 ptr, val;
};

struct mmuext_op {
	u32 cmd, pad;
	u64 arg1, arg2;
};

struct multicall_entry {
	u64 op;
	s64 result;
	u64 args[6];
};

/* One operation from the host, 64 bytes. */
struct op {
	u16 kind;
	u16 size;  /* of an access, in bytes */
	u32 count; /* elements of a batch: that many OP_ELEMENT records follow */
	u64 a, b, c, d;
	u64 readback; /* linear address to load after the operation, 0: none, READBACK_L1: of the L1 entry of its va */
	u64 spare[2];
};

/* Its outcome, 64 bytes. */
struct res {
	s64 rc;
	u64 done;
	u32 vector; /* 0: no fault */
	u32 error_code;
	u64 value; /* loaded */
	u64 cr2;
	u64 readback;
	u32 user; /* the frame of a fault or a syscall says user mode */
	u32 pad;
	u64 spare;
};

enum op_kind {
	OP_NOP = 0,
	OP_ELEMENT,         /* belongs to the record before it; a, b, c are the words of the element; only read back */
	OP_MMU_UPDATE,      /* a: foreigndom, b: bits to set in count, elements ptr, val */
	OP_MMUEXT,          /* a: foreigndom, b: bits to set in count, elements cmd, arg1, arg2 */
	OP_UPDATE_VA,       /* a: va, b: val, c: flags */
	OP_UPDATE_VA_OTHER, /* and d: domid */
	OP_VM_ASSIST,       /* a: cmd, b: type */
	OP_LOAD,            /* a: va; kernel mode */
	OP_STORE,           /* a: va, b: value */
	OP_CMPXCHG,         /* a: va, b: value, c: expected; value returned: what was there */
	OP_FETCH,           /* a: va */
	OP_USER_LOAD,
	OP_USER_STORE,
	OP_USER_CMPXCHG,
	OP_USER_FETCH,
	OP_RESET = 17, /* back to the base state: roots, slots, pins, contents */
	OP_MULTICALL, /* elements a: OP_MMU_UPDATE, OP_MMUEXT or OP_UPDATE_VA, b, c, d: their words; value: a byte of rc each */
	OP_SET_GDT = 32,      /* a: entries, elements a: the frames */
	OP_UPDATE_DESCRIPTOR, /* a: machine address, b: descriptor */
	OP_SELECTOR,          /* a: selector, loaded into FS in kernel mode */
	OP_USER_SELECTOR,
	OP_IRET, /* to a page of ud2; a: rip, b: CS, c: SS, d: RFLAGS, size: the frame's flags */
	OP_DESCRIPTOR_LAST = 39,
	OP_RESERVATION = 40, /* memory.c says what the words of these are */
	OP_EXCHANGE,
	OP_MEMORY_QUESTION,
	OP_MEMORY_LAST = 49,
	OP_HYPERCALL = 50, /* a: number; elements of three words each are the arguments, literally */
	OP_POKE,           /* a: address in the scratch pages or the grant table, b: words in elements, size 4 or 8 */
	OP_PEEK,           /* a: the same, read back */
	OP_MOVE,           /* a: from, b: to, four bytes */
	OP_SYSCALL,        /* a: number, as a hypercall of user mode */
	OP_HANDLE_LAST = 59,
	OP_REPEAT = 60, /* repeat.c: elements ptr, val, val by turns, or cmd, arg1 */
};

#define MAILBOX_MAGIC 0x4f52414b4c454e31UL
#define READBACK_L1 1
#define POOL_FRAMES 512
#define MAX_OPS 4096

struct mailbox {
	u64 magic;
	u64 posted; /* the host counts up, the guest catches up */
	u64 answered;
	u64 ops;
	u64 ops_mfn, res_mfn, pool_mfn; /* first of each array's frames, which are neighbours */
	u64 boot_l4, boot_l4_va;
	u64 shared_info, scratch, scratch_va;
	u64 stub_l3, stub, ud;
	u64 reset_pool[POOL_FRAMES / 64]; /* bit i: frame i takes part in OP_RESET */
	u64 memory_mfn;                   /* struct memory_page */
};

/* The other domain: its number, its frames, the first of which have names, and how many it may have. */
#define FOREIGN_DOMID 1
#define FOREIGN_PAGES 64
#define FOREIGN_MAX_PAGES 72
#define FOREIGN_FRAMES 12

/* Names of frames that Xen gives out while a program runs: in a word of an operation, as a frame number, in the
 * frame field of an entry, or in that of a grant.  An entry for a real frame looks like such a number only with flags that programs do not
 * use. */
#define FIRST_NAME 0x8000e40
#define NAMES 40

struct memory_page {
	u64 foreign[FOREIGN_FRAMES];
	u64 free;         /* from the host: a frame that is free */
	u64 foreign_used; /* from the host: the program may have changed the other domain */
	u64 names[NAMES]; /* 0: not given yet */
};
#endif

#endif
