/*
 * xenmmu.h - the one public header: C users include it, the Python binding derives its declarations from it.
 *
 * Five floors, each using only those below: machine, x86, xen, netbsd, check.
 *
 * Conventions.  Functions that can be misused return an int: XM_OK (0) or a negative enum xm_status; what a guest can
 * provoke (a page fault, a refusal by Xen) is a result, never a status.  Out-parameters come last and are untouched
 * unless the call did its work.  One thread per machine; different machines in parallel.  There are no globals.
 *
 * The binding deletes preprocessor lines and keeps the rest: macros here are integer literals only, and there is no
 * static inline, no attribute and no bit-field.
 */
#ifndef XENMMU_H
#define XENMMU_H

#include <stddef.h>
#include <stdint.h>

#define XM_PAGE_SIZE 4096
#define XM_PAGE_SHIFT 12

/* Misuse, grouped by whose fault it is.  A guest cannot cause any of these. */
enum xm_status {
	XM_OK = 0,
	/* The caller's argument. */
	XM_E_ARGUMENT = -1,  /* a value outside its domain */
	XM_E_RANGE = -2,     /* an address or frame the machine does not have */
	XM_E_ALIGNMENT = -3, /* an address or size not aligned as required */
	XM_E_GP = -4,        /* a register value the processor refuses with #GP */
	/* The object's state. */
	XM_E_STATE = -5,     /* the call does not apply in this state */
	XM_E_NO_FRAMES = -6, /* the machine or the domain has no free frame left */
	XM_E_LIMIT = -7,     /* a fixed limit of this library is reached */
	/* The host. */
	XM_E_MEMORY = -8, /* the host has no memory for it */
	/* The emulated guest kernel. */
	XM_E_PANIC = -9,         /* the guest kernel met a fault or a refusal that its code does not expect */
	XM_E_NOT_MODELLED = -10, /* Xen has it, this model does not */
};

/* One sentence for a status. */
const char *xm_strerror(int status);

/* ======================================================================================================================
 * Floor 0: machine.  Frames of machine memory and an undo journal; it does not know what is in them.
 * ====================================================================================================================== */

struct xm_machine;

/* A machine of that many bytes (a multiple of 4096, at least one page); costs the pages that are touched.
 * NULL when the host cannot reserve the address range or `bytes` is no such number. */
struct xm_machine *xm_machine_new(uint64_t bytes);
void xm_machine_free(struct xm_machine *m);

uint64_t xm_machine_frames(const struct xm_machine *m);

/* The 4096 bytes of a frame, or NULL when the machine does not have it.  Writes through it bypass the journal. */
void *xm_machine_frame(const struct xm_machine *m, uint64_t mfn);

int xm_read64(const struct xm_machine *m, uint64_t pa, uint64_t *ret);
int xm_write64(struct xm_machine *m, uint64_t pa, uint64_t value);
int xm_read(const struct xm_machine *m, uint64_t pa, void *ret, uint64_t n);
int xm_write(struct xm_machine *m, uint64_t pa, const void *data, uint64_t n);

/* A captured memory holds some frames of its machine only.  Forget: from now on the machine has no frame but those
 * that are written whole (xm_write); reading another, or writing a part of it, is XM_E_RANGE, and a walk that comes to
 * it leaves machine memory.  XM_E_STATE while a checkpoint is open. */
int xm_machine_forget(struct xm_machine *m);
int xm_machine_has_frame(const struct xm_machine *m, uint64_t mfn);

/* Checkpoints nest.  Rollback undoes every journalled write since the newest checkpoint, of this floor and of every
 * floor above that lives on this machine; commit keeps them.  Both drop the newest checkpoint. */
int xm_checkpoint(struct xm_machine *m);
int xm_rollback(struct xm_machine *m);
int xm_commit(struct xm_machine *m);
uint64_t xm_checkpoint_depth(const struct xm_machine *m);

/* ======================================================================================================================
 * Floor 1: x86.  Entries, the walk, rights, faults (SDM vol. 3A "Paging", APM vol. 2 ch. 5).
 * ====================================================================================================================== */

/* Bits of a page-table entry (SDM 4.5, tables of IA-32e paging). */
#define XM_PTE_P 0x1
#define XM_PTE_RW 0x2
#define XM_PTE_US 0x4
#define XM_PTE_PWT 0x8
#define XM_PTE_PCD 0x10
#define XM_PTE_A 0x20
#define XM_PTE_D 0x40
#define XM_PTE_PS 0x80
#define XM_PTE_PAT 0x80
#define XM_PTE_G 0x100
#define XM_PTE_PAT_LARGE 0x1000
#define XM_PTE_NX 0x8000000000000000ULL
#define XM_PTE_ADDR 0xffffffffff000ULL

#define XM_CR0_PE 0x1
#define XM_CR0_WP 0x10000
#define XM_CR0_PG 0x80000000U
#define XM_CR3_NO_FLUSH 0x8000000000000000ULL /* of MOV to CR3 with CR4.PCIDE; never kept */
#define XM_CR4_PAE 0x20
#define XM_CR4_PGE 0x80
#define XM_CR4_LA57 0x1000
#define XM_CR4_PCIDE 0x20000
#define XM_CR4_SMEP 0x100000
#define XM_CR4_SMAP 0x200000
#define XM_CR4_PKE 0x400000
#define XM_CR4_CET 0x800000
#define XM_CR4_PKS 0x1000000
#define XM_EFER_LME 0x100
#define XM_EFER_LMA 0x400
#define XM_EFER_NXE 0x800
#define XM_EFER_TCE 0x8000

/* Bits of a page-fault error code (SDM 4.7). */
#define XM_PF_P 0x1
#define XM_PF_W 0x2
#define XM_PF_U 0x4
#define XM_PF_RSVD 0x8
#define XM_PF_I 0x10
#define XM_PF_PK 0x20
#define XM_PF_SS 0x40

/* An access: a set of these. A read is the empty set. */
enum xm_access {
	XM_ACC_READ = 0,
	XM_ACC_WRITE = 1,
	XM_ACC_EXECUTE = 2,
	XM_ACC_USER = 4,          /* CPL 3 */
	XM_ACC_IMPLICIT = 8,      /* implicit supervisor access (SDM 4.6): supervisor whatever the CPL, AC ignored */
	XM_ACC_SHADOW_STACK = 16, /* shadow-stack access, a read or with XM_ACC_WRITE a write; by WRUSS, a user one */
	XM_ACC_STACK = 32,        /* SS-relative: a non-canonical address is #SS, not #GP */
};

/* Why a walk ended without a translation. */
enum xm_fault {
	XM_FAULT_NONE = 0,
	XM_FAULT_PF = 1,  /* #PF: see error_code */
	XM_FAULT_GP = 2,  /* #GP(0): the address is not canonical */
	XM_FAULT_SS = 3,  /* #SS(0): the same, SS-relative */
	XM_FAULT_BUS = 4, /* an entry or the data lies outside machine memory: an error of the experiment, not a trap */
	XM_FAULT_UD = 5,  /* #UD: the instruction needs CR4.CET */
	XM_FAULT_NP = 6,  /* #NP(selector): the segment is not present */
};

/* The rule that stopped a walk; sentences by xm_stop_text. */
enum xm_stop {
	XM_STOP_NONE = 0,
	XM_STOP_NOT_CANONICAL,
	XM_STOP_NOT_PRESENT,
	XM_STOP_RESERVED_BIT,
	XM_STOP_USER_TO_SUPERVISOR,
	XM_STOP_WRITE_TO_READ_ONLY,
	XM_STOP_EXECUTE_DISABLED,
	XM_STOP_SMEP,
	XM_STOP_SMAP,
	XM_STOP_PROTECTION_KEY,
	XM_STOP_SHADOW_STACK,
	XM_STOP_SHADOW_STACK_MODE,
	XM_STOP_OUTSIDE_MACHINE,
	XM_STOP_NO_CET,
};
const char *xm_stop_text(int stop);

enum xm_vendor {
	XM_VENDOR_INTEL = 0,
	XM_VENDOR_AMD = 1,
};

struct xm_step {
	uint64_t entry_pa;
	uint64_t entry;
};

/* What a walk found.  error_code is -1 when the access is allowed; pa is meaningful only then.  steps[i] is the entry
 * used at level top_level - i.  nsteps is 0 when the TLB answered: nothing was walked; where a paging-structure cache
 * stood for the entries above, top_level is the level below them. */
struct xm_walk {
	uint64_t pa;
	uint64_t page_size;
	int32_t error_code;
	uint8_t fault;     /* enum xm_fault */
	uint8_t stop;      /* enum xm_stop */
	uint8_t top_level; /* 4 or 5, or less after a walk that began below a cached entry */
	uint8_t nsteps;
	struct xm_step steps[5];
};

struct xm_tlb;
struct xm_history;

/* One logical processor, as far as paging sees it.  Fill it with xm_cpu_init and change it with xm_cpu_set only; both
 * may be used on a copy.  Registers are journalled only in a processor made by xm_cpu_new: for one inside another
 * object, or on the stack, that is its owner's business. */
struct xm_cpu {
	struct xm_machine *machine;
	struct xm_cpu *home;        /* itself if xm_cpu_new made it */
	struct xm_tlb *tlb;         /* NULL: every access walks */
	struct xm_history *history; /* NULL: nothing is recorded */
	uint64_t cr0;
	uint64_t cr3;
	uint64_t cr4;
	uint64_t efer;
	uint32_t pkru;
	uint32_t pkrs;
	uint8_t maxphyaddr; /* 36..52 */
	uint8_t vendor;     /* enum xm_vendor */
	uint8_t gbpages;    /* CPUID.80000001H:EDX.Page1GB */
	uint8_t ac;         /* EFLAGS.AC */
	uint8_t levels;     /* derived: 4 or 5 */
	uint8_t running;    /* CR3 has been loaded: CR4.LA57 is fixed from then on */
	uint8_t a_on_fault; /* enum xm_a_on_fault */
	uint8_t pad;
	uint64_t rsvd[6];       /* derived: reserved bits of an entry at level i that is no large page */
	uint64_t rsvd_large[6]; /* derived: of a large page at level i */
};

enum xm_cpu_reg {
	XM_REG_CR0 = 0,
	XM_REG_CR3,
	XM_REG_CR4,
	XM_REG_EFER,
	XM_REG_PKRU,
	XM_REG_PKRS,
	XM_REG_AC,
	/* What CPUID says, and what manuals leave open: a choice of the experimenter, refused with XM_E_ARGUMENT and never with #GP. */
	XM_CPUID_MAXPHYADDR,
	XM_CPUID_VENDOR,
	XM_CPUID_PAGE1GB,
	XM_CHOICE_A_ON_FAULT,
};

/* The accessed flags that a page fault leaves set, which the manual leaves open (SDM 4.8): in no entry, or in those
 * above the entry that stopped the walk (above the leaf, when rights did). */
enum xm_a_on_fault {
	XM_A_ON_FAULT_NONE = 0,
	XM_A_ON_FAULT_UPPER = 1,
};

/* A processor in 64-bit mode with CR0 = PE|WP|PG, CR4 = PAE, EFER = LME|LMA|NXE, CR3 = 0. */
int xm_cpu_init(struct xm_cpu *cpu, struct xm_machine *m, unsigned maxphyaddr, int vendor, int gbpages);
/* XM_E_GP where MOV to the register (or WRMSR, WRPKRU) would fault, or leave 64-bit mode.  A TLB is flushed as the
 * write flushes it. */
int xm_cpu_set(struct xm_cpu *cpu, int reg, uint64_t value);
/* The same in memory of its own, with registers that a rollback restores.  NULL when the host has no memory or
 * xm_cpu_init refuses. */
struct xm_cpu *xm_cpu_new(struct xm_machine *m, unsigned maxphyaddr, int vendor, int gbpages);
void xm_cpu_free(struct xm_cpu *cpu);

/* Walk and judge; changes nothing.  Returns ret->fault. */
int xm_walk(const struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_walk *ret);
/* The same, then set A in every entry used and, for a write, D in the leaf, if the access is allowed; if it is not,
 * as cpu->a_on_fault says. */
int xm_access(struct xm_cpu *cpu, uint64_t va, uint32_t access, struct xm_walk *ret);

/* Load or store 1, 2, 4 or 8 bytes, little-endian; an access that straddles a page is two.  A fault leaves
 * `ret->fault` non-zero with the first byte that faulted in *cr2, and nothing is stored. */
int xm_cpu_load(struct xm_cpu *cpu, uint64_t va, unsigned size, uint32_t access, uint64_t *value_ret, uint64_t *cr2_ret,
		struct xm_walk *ret);
int xm_cpu_store(struct xm_cpu *cpu, uint64_t va, unsigned size, uint32_t access, uint64_t value, uint64_t *cr2_ret,
		 struct xm_walk *ret);
/* Compare and exchange: a write for the checks, A and D, whatever the comparison says. */
int xm_cpu_cmpxchg(struct xm_cpu *cpu, uint64_t va, unsigned size, uint32_t access, uint64_t expected, uint64_t value,
		   uint64_t *old_ret, uint64_t *cr2_ret, struct xm_walk *ret);

/* A processor and what the last call on it found, in one piece: where crossing a border costs for each argument and
 * each result.  Each call is the one above of the same name, and returns a negative status, or walk.fault. */
struct xm_port {
	struct xm_walk walk;
	uint64_t value; /* loaded, or what cmpxchg found there; meaningful without a fault */
	uint64_t cr2;   /* of a fault of load, store or cmpxchg */
	struct xm_cpu *cpu;
};

int xm_port_walk(struct xm_port *port, uint64_t va, uint32_t access);
int xm_port_load(struct xm_port *port, uint64_t va, unsigned size, uint32_t access);
int xm_port_store(struct xm_port *port, uint64_t va, unsigned size, uint32_t access, uint64_t value);
int xm_port_cmpxchg(struct xm_port *port, uint64_t va, unsigned size, uint32_t access, uint64_t expected,
		    uint64_t value);

/* Translate n addresses with no effect on the tables: pas[i] and error_codes[i] as xm_walk gives them, -1 where the
 * access is allowed, pas[i] 0 where it would fault.  An address that is not canonical has 0, the code of #GP(0).
 * Returns how many were done: fewer than n when a walk left machine memory. */
uint64_t xm_translate(const struct xm_cpu *cpu, const uint64_t *vas, uint64_t n, uint32_t access, uint64_t *pas,
		      int32_t *error_codes);

/* A leaf of the tables.  flags: P, and the effective R/W, U/S and NX over all levels. */
struct xm_mapping {
	uint64_t va;
	uint64_t pa;
	uint64_t size;
	uint64_t flags;
};

/* Where a listing stands: set `next` and `last` to the first and the last address wanted, the rest to 0. */
struct xm_mapping_cursor {
	uint64_t next;
	uint64_t last;
	uint32_t done;
	uint32_t pad;
};

/* The next leaves, at most max of them, in address order, each that overlaps [next, last].  Returns how many; goes on
 * where it stopped, and stops early (perhaps with none) after a bounded number of tables: call until cursor->done.
 * An entry with a reserved bit set maps nothing.  XM_E_RANGE when a table lies outside the machine; `next` is then the
 * first address it serves. */
int xm_mappings(const struct xm_cpu *cpu, struct xm_mapping_cursor *cursor, struct xm_mapping *ret, unsigned max);

/* What an operation makes the processor forget (SDM 4.10.4.1): its TLB entries and, apart from them, its
 * paging-structure-cache entries, each within one of these scopes. */
enum xm_flush_scope {
	XM_FLUSH_NONE = 0,
	XM_FLUSH_ADDRESS, /* those that would translate `va` under `pcid` */
	XM_FLUSH_PCID,    /* those associated with `pcid` */
	XM_FLUSH_ALL,     /* those of every PCID */
};

/* `globals`: global TLB entries in the scope go too; by address, whatever PCID they were made under. */
struct xm_flush {
	uint64_t va;
	uint32_t pcid;
	uint8_t tlb;        /* enum xm_flush_scope */
	uint8_t structures; /* enum xm_flush_scope */
	uint8_t globals;
	uint8_t pad;
};

/* The INVPCID types (SDM vol. 2): individual-address, single-context, all-context with global translations and
 * without. */
enum xm_invpcid_type {
	XM_INVPCID_ADDRESS = 0,
	XM_INVPCID_SINGLE,
	XM_INVPCID_ALL,
	XM_INVPCID_ALL_BUT_GLOBAL,
};

/* The current PCID: bits 11:0 of CR3 with CR4.PCIDE, else 0. */
unsigned xm_pcid(uint64_t cr3, uint64_t cr4);
/* What each operation drops, from the register values before it and its operand; the operation is taken as valid.
 * `value` of MOV to CR3 is with XM_CR3_NO_FLUSH if the operand has it. */
struct xm_flush xm_flush_mov_cr3(uint64_t value, uint64_t cr4);
struct xm_flush xm_flush_mov_cr4(uint64_t cr3, uint64_t old, uint64_t value);
struct xm_flush xm_flush_invlpg(uint64_t cr3, uint64_t cr4, uint64_t efer, uint64_t va);
struct xm_flush xm_flush_page_fault(uint64_t cr3, uint64_t cr4, uint64_t va);
/* `pcid` is bits 63:0 of the descriptor.  XM_E_GP where INVPCID faults. */
int xm_flush_invpcid(uint64_t cr4, uint64_t type, uint64_t pcid, uint64_t va, struct xm_flush *ret);

/* Make whatever caches translations of this processor forget that. */
void xm_cpu_flush(struct xm_cpu *cpu, struct xm_flush flush);
/* INVLPG and INVPCID; the latter XM_E_GP where it faults. */
void xm_cpu_invlpg(struct xm_cpu *cpu, uint64_t va);
int xm_cpu_invpcid(struct xm_cpu *cpu, uint64_t type, uint64_t pcid, uint64_t va);

/* A deterministic TLB with paging-structure caches, one of those the manual allows (SDM 4.10): `entries` translations
 * and as many entries of each level above, tagged by PCID, filled by every access that succeeds, the oldest replaced
 * first, dropped by flushes and by page faults only.  Set cpu->tlb to use it; several processors that model one logical
 * processor may share it.  Its state is journalled.  NULL for no number from 1 to 2^20, or when the host has no memory. */
struct xm_tlb *xm_tlb_new(struct xm_machine *m, unsigned entries);
void xm_tlb_free(struct xm_tlb *tlb);
void xm_tlb_drop(struct xm_tlb *tlb, struct xm_flush flush);
/* Translations held now; XM_E_ARGUMENT unless va has one under that PCID, else 0 with what it holds. */
unsigned xm_tlb_used(const struct xm_tlb *tlb);
int xm_tlb_lookup(struct xm_tlb *tlb, unsigned pcid, uint64_t va, struct xm_mapping *ret);

/* A history records, from its beginning, the writes to machine memory and the flushes and register writes of one
 * processor made by xm_cpu_new, and answers which outcomes of an access the manuals allow after them: with anything
 * cached that a walk at any moment may have cached and no flush has dropped (SDM 4.10).  At its beginning nothing is
 * cached.  It holds a checkpoint open: what a trial within it undoes is as if it had not been.  Writes through
 * xm_machine_frame are seen as xm_checkpoint's rollback sees them.
 *
 * NULL for a processor in another object's memory, for one that has a history already, or when the host has no memory.
 * End it before the processor is freed: what was written stays.  XM_E_STATE while a checkpoint within it is open. */
struct xm_history *xm_history_new(struct xm_cpu *cpu);
int xm_history_end(struct xm_history *h);

/* walk: the outcome, as xm_walk tells it.  when[i]: how many events had happened when steps[i] was read, all of them
 * for one that is read now. */
struct xm_outcome {
	struct xm_walk walk;
	uint64_t when[5];
};

/* Every way to every outcome, some of them equal.  Returns how many, of which the first `max` are written; XM_E_LIMIT
 * when there are more than a few thousand, XM_E_STATE when the history's checkpoint is no longer open, XM_E_MEMORY when
 * a part of the history was lost. */
int xm_history_outcomes(const struct xm_history *h, uint64_t va, uint32_t access, struct xm_outcome *ret, unsigned max);

/* The events so far; the first is the beginning.  XM_E_RANGE for one that has not been, else what it dropped (perhaps
 * nothing) and CR3 from then on. */
uint64_t xm_history_events(const struct xm_history *h);
int xm_history_event(const struct xm_history *h, uint64_t i, struct xm_flush *flush_ret, uint64_t *cr3_ret);

/* Slot arithmetic (SDM 4.5 index fields).  A root that holds itself in slot `inner` shows every table of the address
 * space as data; seen through slot `outer` of another root that points at it, likewise.  outer == inner is the plain
 * recursive slot.  Level 1 is the leaf table. */
uint64_t xm_slot_base(unsigned outer, unsigned inner, unsigned level, unsigned levels);
uint64_t xm_slot_entry_va(unsigned outer, unsigned inner, unsigned level, unsigned levels, uint64_t va);
/* Inverse: which entry of which level lies at entry_va; 0, or XM_E_ARGUMENT when it lies outside the window. */
int xm_slot_target(unsigned outer, unsigned inner, unsigned levels, uint64_t entry_va, unsigned *level_ret,
		   uint64_t *va_ret);

/* ======================================================================================================================
 * Floor 2: xen.  Xen 4.17's PV MMU: domains, frame types and counts, hypercalls, roots, faults.
 * Xen's own names and encodings (xen/arch/x86/mm.c, xen/include/public/xen.h of stable-4.17).
 * ====================================================================================================================== */

#define XM_DOMID_SELF 0x7ff0
#define XM_DOMID_IO 0x7ff1
#define XM_DOMID_XEN 0x7ff2
#define XM_DOMID_COW 0x7ff3
#define XM_DOMID_INVALID 0x7ff4
#define XM_OWNER_NONE 0xffff

#define XM_MMU_NORMAL_PT_UPDATE 0
#define XM_MMU_MACHPHYS_UPDATE 1
#define XM_MMU_PT_UPDATE_PRESERVE_AD 2
#define XM_MMU_PT_UPDATE_NO_TRANSLATE 3

#define XM_MMUEXT_PIN_L1_TABLE 0
#define XM_MMUEXT_PIN_L2_TABLE 1
#define XM_MMUEXT_PIN_L3_TABLE 2
#define XM_MMUEXT_PIN_L4_TABLE 3
#define XM_MMUEXT_UNPIN_TABLE 4
#define XM_MMUEXT_NEW_BASEPTR 5
#define XM_MMUEXT_TLB_FLUSH_LOCAL 6
#define XM_MMUEXT_INVLPG_LOCAL 7
#define XM_MMUEXT_TLB_FLUSH_MULTI 8
#define XM_MMUEXT_INVLPG_MULTI 9
#define XM_MMUEXT_TLB_FLUSH_ALL 10
#define XM_MMUEXT_INVLPG_ALL 11
#define XM_MMUEXT_FLUSH_CACHE 12
#define XM_MMUEXT_SET_LDT 13
#define XM_MMUEXT_NEW_USER_BASEPTR 15
#define XM_MMUEXT_CLEAR_PAGE 16
#define XM_MMUEXT_COPY_PAGE 17
#define XM_MMUEXT_FLUSH_CACHE_GLOBAL 18
#define XM_MMUEXT_MARK_SUPER 19
#define XM_MMUEXT_UNMARK_SUPER 20
#define XM_MMUEXT_KINDS 21

#define XM_UVMF_NONE 0
#define XM_UVMF_TLB_FLUSH 1
#define XM_UVMF_INVLPG 2
#define XM_UVMF_FLUSHTYPE_MASK 3
#define XM_UVMF_ALL 4

#define XM_MEM_INCREASE_RESERVATION 0
#define XM_MEM_DECREASE_RESERVATION 1
#define XM_MEM_MAXIMUM_RAM_PAGE 2
#define XM_MEM_CURRENT_RESERVATION 3
#define XM_MEM_MAXIMUM_RESERVATION 4
#define XM_MEM_POPULATE_PHYSMAP 6
#define XM_MEM_ADD_TO_PHYSMAP 7
#define XM_MEM_EXCHANGE 11
#define XM_MEM_REMOVE_FROM_PHYSMAP 15

#define XM_MAPSPACE_SHARED_INFO 0
#define XM_MAPSPACE_GRANT_TABLE 1
#define XM_MAPSPACE_GMFN 2
#define XM_MAPSPACE_GMFN_RANGE 3
#define XM_MAPSPACE_GMFN_FOREIGN 4

#define XM_VMASST_ENABLE 0
#define XM_VMASST_DISABLE 1
#define XM_VMASST_WRITABLE_PAGETABLES 2
#define XM_VMASST_M2P_STRICT 32

/* page_info.type_info */
#define XM_PGT_NONE 0
#define XM_PGT_L1 1
#define XM_PGT_L2 2
#define XM_PGT_L3 3
#define XM_PGT_L4 4
#define XM_PGT_SEG_DESC 5
#define XM_PGT_SHARED 6
#define XM_PGT_WRITABLE 7
#define XM_PGT_TYPE_SHIFT 61
#define XM_PGT_LOCKED 0x1000000000000000ULL
#define XM_PGT_PINNED 0x800000000000000ULL
#define XM_PGT_VALIDATED 0x400000000000000ULL
#define XM_PGT_PARTIAL 0x100000000000000ULL
#define XM_PGT_COUNT_MASK 0x7fffffffffffffULL
/* page_info.count_info */
#define XM_PGC_ALLOCATED 0x8000000000000000ULL
#define XM_PGC_XEN_HEAP 0x4000000000000000ULL
#define XM_PGC_STATE_FREE 0xc00000000000000ULL
#define XM_PGC_COUNT_MASK 0x1ffffffffffffffULL

/* Bit 52, Xen's own mark in an L1 entry that the guest kernel wrote without U. */
#define XM_PTE_GUEST_KERNEL 0x10000000000000ULL

#define XM_L4_FIRST_XEN_SLOT 256
#define XM_L4_LAST_XEN_SLOT 271
#define XM_RO_MPT_VIRT_START 0xffff800000000000ULL

/* What Xen keeps about one frame (struct page_info), in Xen's own encoding. */
struct xm_frame {
	uint64_t count_info;
	uint64_t type_info;
	uint16_t owner;
	int16_t linear_pt_count; /* >0: linear entries it holds; <0: linear uses of it */
	uint16_t nr_validated_ptes;
	uint16_t partial_flags;
	uint64_t tlbflush_timestamp;
};

/* Why Xen refused: the rule, and through xm_reason_errno Xen's error number for it. */
enum xm_reason {
	XM_R_NONE = 0,
	/* the call */
	XM_R_FOREIGNDOM_OWN_ID,
	XM_R_FOREIGNDOM_UNKNOWN,
	XM_R_PT_OWNER_UNKNOWN,
	XM_R_BAD_HANDLE,
	XM_R_UNKNOWN_COMMAND,
	XM_R_NOT_SUPPORTED,
	XM_R_NO_PRIVILEGE,
	/* mmu_update */
	XM_R_PTR_NOT_OWNED,
	XM_R_PTR_TYPE,
	XM_R_PT_UPDATE_FOREIGNDOM,
	XM_R_L4_SLOT_RESERVED,
	XM_R_MACHPHYS_FOREIGN_PT,
	XM_R_MACHPHYS_NOT_OWNED,
	/* an entry */
	XM_R_L1_FLAGS,
	XM_R_L2_FLAGS,
	XM_R_L3_FLAGS,
	XM_R_L4_FLAGS,
	XM_R_MMIO_NOT_PERMITTED,
	XM_R_MMIO_INVALID_MFN,
	XM_R_L1_NOT_OWNED,
	XM_R_L1_RW_TYPE_CONFLICT,
	XM_R_L1_CACHE_ATTRIBUTE,
	XM_R_TABLE_NOT_OWNED,
	/* types and counts */
	XM_R_TYPE_CONFLICT,
	XM_R_TYPE_COUNT_OVERFLOW,
	XM_R_DESCRIPTOR,
	/* linear tables */
	XM_R_LINEAR_DISABLED,
	XM_R_LINEAR_WRITABLE,
	XM_R_LINEAR_HOLDER_IS_USED,
	XM_R_LINEAR_TARGET_HOLDS,
	/* update_va_mapping */
	XM_R_VA_NOT_GUEST,
	XM_R_VA_NO_TABLE,
	XM_R_VA_L1_NOT_OWNED,
	XM_R_VA_L1_NOT_VALIDATED,
	XM_R_FLUSH_BITMAP,
	/* mmuext_op */
	XM_R_MMUEXT_FOREIGN,
	XM_R_MMUEXT_NOT_OWNED,
	XM_R_ALREADY_PINNED,
	XM_R_NOT_PINNED,
	XM_R_VCPU_BITMAP,
	XM_R_NOT_WRITABLE,
	XM_R_CACHE_NOT_PERMITTED,
	XM_R_CACHE_GLOBAL_NOT_PERMITTED,
	XM_R_LDT,
	/* set_gdt, update_descriptor */
	XM_R_GDT_ENTRIES,
	XM_R_GDT_NOT_OWNED,
	XM_R_DESCRIPTOR_UNALIGNED,
	XM_R_DESCRIPTOR_NOT_OWNED,
	XM_R_DESCRIPTOR_BUSY,
	XM_R_ASSIST,
	/* multicall */
	XM_R_MULTICALL_NESTED,
	/* grant_table_op */
	XM_R_GRANT_COUNT,
	XM_R_GRANT_VERSION,
	/* one request of it: no error of the call, but a status of the request */
	XM_R_GRANT_FLAGS,
	XM_R_GRANT_DOMAIN,
	XM_R_GRANT_PERMISSION,
	XM_R_GRANT_NO_HANDLE,
	XM_R_GRANT_REF,
	XM_R_GRANT_ENTRY,
	XM_R_GRANT_NOT_FOR_CALLER,
	XM_R_GRANT_READONLY,
	XM_R_GRANT_PINS,
	XM_R_GRANT_PAGE,
	XM_R_GRANT_PAGE_GONE,
	XM_R_GRANT_TYPE,
	XM_R_GRANT_PTE,
	XM_R_GRANT_MISMATCH,
	XM_R_GRANT_HANDLE,
	XM_R_GRANT_DEV_ADDR,
	XM_R_GRANT_FRAMES,
	XM_R_GRANT_FRAME_LIST,
	XM_R_GRANT_IN_USE,
	/* memory_op */
	XM_R_DOMID_UNKNOWN,
	XM_R_EXTENTS,
	XM_R_EXTENT_ORDER,
	XM_R_ADDRESS_BITS,
	XM_R_MAX_PAGES,
	XM_R_NO_MEMORY,
	XM_R_MFN_INVALID,
	XM_R_PAGE_NOT_OWNED,
	XM_R_EXCHANGE_SIZES,
	XM_R_EXCHANGE_IN_USE,
	XM_R_NOT_TRANSLATED,
	XM_R_MEMORY_NODE,
	XM_R_POPULATE_ON_DEMAND,
	XM_R_START_EXTENT,
	XM_R_PHYSMAP_START,
	/* not Xen's: what the frame holds is not in the image that the hypervisor was taken from */
	XM_R_NOT_CAPTURED,
	XM_R_KINDS,
};
const char *xm_reason_text(int reason);
int xm_reason_errno(int reason);
int xm_reason_grant_status(int reason); /* GNTST_*: 0 or below */

/* Xen's historic bugs and plausible slips, each consulted at one place.  The catalogue with origins is check.MUTANTS. */
enum xm_mutant {
	XM_MUT_XSA_182_FASTPATH_RW = 0,
	XM_MUT_XSA_148_L2_PSE_UNCHECKED,
	XM_MUT_OWNER_UNCHECKED_L1,
	XM_MUT_NO_ROLLBACK_L1_PROMOTE,
	XM_MUT_USER_SLOT_RW_BY_ADJUST,
	XM_MUT_XSA_240_LINEAR_CHAIN,
	XM_MUT_PIN_WRONG_LEVEL_ACCEPTED,
	XM_MUT_PIN_TWICE_COUNTS,
	XM_MUT_UNPIN_UNPINNED,
	XM_MUT_SLOT_RANGE_OFF_BY_ONE_HIGH,
	XM_MUT_FASTPATH_IGNORES_FRAME,
	XM_MUT_XSA_182_FASTPATH_RW_L1,
	XM_MUT_PTWR_USER_MODE,
	XM_MUT_OLD_ROOT_NOT_PUT,
	XM_MUT_CLEAR_PAGE_NO_TYPE,
	XM_MUT_KINDS,
};

/* Which Xen is modelled.  3.1, of 2007, is read from its source and, unlike 4.17, compared with no real one. */
enum xm_xen_version {
	XM_XEN_4_17 = 0,
	XM_XEN_3_1 = 1,
	XM_XEN_VERSIONS,
};

struct xm_xen_options {
	uint64_t mutants;     /* bit i: enum xm_mutant i */
	uint8_t pv_linear_pt; /* boot option pv-linear-pt */
	uint8_t tlb;          /* model a TLB: translations stay until flushed */
	uint8_t global_pages; /* CR4.PGE while guests run, so that G entries survive a root switch */
	uint8_t a_on_fault;   /* enum xm_a_on_fault, of the domains' processors */
	uint8_t version;      /* enum xm_xen_version */
	uint8_t pad[3];
};

struct xm_counters {
	uint64_t mmu_update; /* calls */
	uint64_t mmu_update_entries;
	uint64_t update_va_mapping;
	uint64_t mmuext_op;
	uint64_t mmuext[21]; /* elements, by command */
	uint64_t iret;
	uint64_t tlb_flushes; /* whole-TLB flushes, asked for or made by Xen on its own rules */
	uint64_t invlpg;
	uint64_t cr3_loads;
	uint64_t tables_validated;
	uint64_t entries_validated; /* slots visited while validating or devalidating a table */
	uint64_t ptwr;              /* stores to page tables that Xen emulated */
	uint64_t faults;            /* page faults delivered to the guest kernel */
};

/* rc 0 or -errno (or the value of the pass-through form of mmu_update); done: elements completed; reason: which rule
 * refused, and the frame, level and slot it was looking at (level 0: none). */
struct xm_result {
	int64_t rc;
	uint32_t done;
	uint32_t reason;
	uint64_t mfn;
	uint16_t level;
	uint16_t slot;
	uint32_t pad;
};

struct xm_mmu_update {
	uint64_t ptr;
	uint64_t val;
};

struct xm_mmuext_op {
	uint32_t cmd;
	uint32_t pad;
	uint64_t arg1;
	uint64_t arg2;
};

/* A fault as the guest kernel sees it. */
struct xm_guest_fault {
	uint64_t cr2;
	uint32_t error_code;
	uint8_t fault;    /* enum xm_fault; 0: the access was done */
	uint8_t user;     /* the guest was in user mode */
	uint8_t emulated; /* the store was done by Xen's page-table write emulation */
	uint8_t pad;
};

struct xm_xen;
struct xm_domain;

/* Xen on this machine: frame table, M2P, Xen's own tables.  NULL with *status_ret set when the machine is too small, or
 * larger than 256 GiB (XM_E_LIMIT). */
struct xm_xen *xm_xen_new(struct xm_machine *m, const struct xm_xen_options *options, int *status_ret);
void xm_xen_free(struct xm_xen *x);
struct xm_machine *xm_xen_machine(const struct xm_xen *x);
struct xm_xen_options xm_xen_options(const struct xm_xen *x);
/* Free frames that a new domain could have. */
uint64_t xm_xen_free_frames(const struct xm_xen *x);
int xm_xen_frame(const struct xm_xen *x, uint64_t mfn, struct xm_frame *ret);
uint64_t xm_xen_m2p(const struct xm_xen *x, uint64_t mfn);

/* All frames at once, by machine frame number; valid while the hypervisor lives. */
const struct xm_frame *xm_xen_frame_table(const struct xm_xen *x);

/* What a processor can load for one live domain: frame numbers (0: none), and CR3 as it stands in the current mode. */
struct xm_root {
	uint64_t kernel_root;
	uint64_t user_root;
	uint64_t cr3;
	uint16_t domid;
	uint8_t user_mode;
	uint8_t privileged;
	uint32_t pages; /* frames it owns, Xen's heap aside; 0: not known */
};
/* The number of live domains; the first `max` of them in ret. */
size_t xm_xen_roots(const struct xm_xen *x, struct xm_root *ret, size_t max);

/* References that Xen holds on a frame otherwise than by a table, a pin or a root: descriptor pages installed by set_gdt,
 * pages registered by hypercall (vcpu_info, runstate area), device mappings of grants, in a captured system the roots of
 * other processors.  Each is `count` general and as many type references. */
struct xm_held {
	uint64_t mfn;
	uint32_t type; /* XM_PGT_SEG_DESC, XM_PGT_WRITABLE, XM_PGT_L4, or XM_PGT_NONE: general references only */
	uint32_t count;
};
/* How many frames are held so; the first `max` of them in ret. */
size_t xm_xen_held(const struct xm_xen *x, struct xm_held *ret, size_t max);

/* Where Xen's frame table lies in every address space under it, 32 bytes a frame. */
#define XM_FRAMETABLE_VIRT_START 0xffff82e000000000ULL
#define XM_FRAMETABLE_VIRT_END 0xffff830000000000ULL

/* Take over a running Xen 4.17 with one PV domain, dom0 with one virtual processor, from captured memory: the frame
 * table found by walking from CR3 becomes the books, the tables go on as they lie, the roots are CR3's and the other L4
 * with a reference that nothing else explains.  NULL with *status_ret and, for XM_E_RANGE and XM_E_STATE, the frame
 * concerned in *mfn_ret (all ones: none): XM_E_RANGE when a frame that is needed is not there, XM_E_STATE when the state
 * is none of a Xen with one such domain. */
struct xm_xen *xm_xen_adopt(struct xm_machine *m, const struct xm_xen_options *options, uint64_t cr3, int *status_ret,
			    uint64_t *mfn_ret);

#define XM_LOG_KINDS 8

/* What a replay did.  An element that Xen preempted (-ERESTART) comes again in the recording and is done then. */
struct xm_log_report {
	uint64_t words;                 /* of the recording, applied */
	uint64_t records[XM_LOG_KINDS]; /* by kind */
	uint64_t operations;            /* kinds 1 to 4 */
	uint64_t preempted;             /* of them */
	uint64_t not_modelled;          /* other hypercalls, left out */
	uint64_t unseen;                /* of them, those that can have changed frames */
	uint64_t unseen_at;             /* where the record of the first of those begins, */
	uint64_t unseen_call;           /* and its number */
	uint64_t differences;
	/* Of the first difference: where its record begins, what was recorded and what came out. */
	uint64_t at;
	int64_t recorded;
	int64_t found;
	uint32_t reason;
	uint32_t kind;
};

/* Apply a recording of hypercalls, emulated stores and table contents (csrc/xen/log.c has the format) and compare each
 * outcome with the recorded one.  XM_E_ARGUMENT for a record that is none, at ret->words. */
int xm_log_replay(struct xm_domain *d, const uint64_t *words, uint64_t n, struct xm_log_report *ret);

#define XM_DOM_PRIVILEGED 1

/* A PV domain with boot tables as Xen's builder makes them; owned by and freed with the hypervisor. */
struct xm_domain *xm_domain_new(struct xm_xen *x, uint64_t frames, uint32_t flags, int *status_ret);
/* The live domain of that number, or NULL. */
struct xm_domain *xm_xen_domain(const struct xm_xen *x, uint32_t domid);
struct xm_xen *xm_domain_xen(const struct xm_domain *d);
uint32_t xm_domain_id(const struct xm_domain *d);
/* 0 after the creation of the domain was rolled back. */
int xm_domain_alive(const struct xm_domain *d);
uint64_t xm_domain_frames(const struct xm_domain *d);
uint64_t xm_domain_mfn(const struct xm_domain *d, uint64_t pfn); /* all ones when pfn is out of range */
uint64_t xm_domain_shared_info(const struct xm_domain *d);
uint64_t xm_domain_boot_frames(const struct xm_domain *d); /* pfns below this are in the initial mapping */
uint64_t xm_domain_kernel_root(const struct xm_domain *d);
uint64_t xm_domain_user_root(const struct xm_domain *d);
int xm_domain_user_mode(const struct xm_domain *d);
struct xm_counters xm_domain_counters(const struct xm_domain *d);

/* count may carry bit 31 (continue from ret->done); reqs NULL with count 0x80000000 passes foreigndom through as rc. */
int xm_mmu_update(struct xm_domain *d, const struct xm_mmu_update *reqs, uint32_t count, uint32_t foreigndom,
		  struct xm_result *ret);
int xm_update_va_mapping(struct xm_domain *d, uint64_t va, uint64_t val, uint64_t flags, struct xm_result *ret);
int xm_update_va_mapping_otherdomain(struct xm_domain *d, uint64_t va, uint64_t val, uint64_t flags, uint32_t domid,
				     struct xm_result *ret);
int xm_mmuext_op(struct xm_domain *d, const struct xm_mmuext_op *ops, uint32_t count, uint32_t foreigndom,
		 struct xm_result *ret);

#define XM_GDT_PAGES 14
#define XM_LDT_PAGES 16

/* frames: one for each 512 entries or part of it.  0 entries: no GDT. */
int xm_set_gdt(struct xm_domain *d, const uint64_t *frames, uint32_t entries, struct xm_result *ret);
int xm_update_descriptor(struct xm_domain *d, uint64_t pa, uint64_t desc, struct xm_result *ret);
/* Frames that the processor finds descriptors in, 0: none; an LDT page has one from its first use on. */
uint64_t xm_domain_gdt_frame(const struct xm_domain *d, uint32_t page);
uint64_t xm_domain_ldt_frame(const struct xm_domain *d, uint32_t page);

int xm_vm_assist(struct xm_domain *d, uint32_t cmd, uint32_t type, struct xm_result *ret);

/* A hypercall as the guest makes it: a number of xen/include/public/xen.h and the registers rdi, rsi, rdx, r10, r8, with
 * arrays in the guest's own memory.  rc is what rax holds afterwards; done counts elements, requests or calls. */
int xm_hypercall(struct xm_domain *d, uint64_t nr, const uint64_t args[5], struct xm_result *ret);

#define XM_GNTTABOP_MAP_GRANT_REF 0
#define XM_GNTTABOP_UNMAP_GRANT_REF 1
#define XM_GNTTABOP_SETUP_TABLE 2
#define XM_GNTTABOP_TRANSFER 4
#define XM_GNTTABOP_COPY 5
#define XM_GNTTABOP_QUERY_SIZE 6
#define XM_GNTTABOP_UNMAP_AND_REPLACE 7
#define XM_GNTTABOP_SET_VERSION 8
#define XM_GNTTABOP_GET_STATUS_FRAMES 9
#define XM_GNTTABOP_GET_VERSION 10
#define XM_GNTTABOP_SWAP_GRANT_REF 11

#define XM_GNTMAP_DEVICE_MAP 1
#define XM_GNTMAP_HOST_MAP 2
#define XM_GNTMAP_READONLY 4
#define XM_GNTMAP_APPLICATION_MAP 8
#define XM_GNTMAP_CONTAINS_PTE 16

/* Flags of an entry of a grant table of version 1; the domain is in bits 16 to 31, the frame above. */
#define XM_GTF_PERMIT_ACCESS 1
#define XM_GTF_TYPE_MASK 3
#define XM_GTF_READONLY 4
#define XM_GTF_READING 8
#define XM_GTF_WRITING 16
#define XM_GTF_SUB_PAGE 256

/* Requests, as they lie in a guest's memory. */
struct xm_map_grant_ref {
	uint64_t host_addr; /* linear address, or machine address of an L1 entry */
	uint32_t flags;
	uint32_t ref;
	uint16_t dom; /* who granted it */
	int16_t status;
	uint32_t handle;
	uint64_t dev_bus_addr;
};

struct xm_unmap_grant_ref {
	uint64_t host_addr; /* 0: not the host mapping */
	uint64_t dev_bus_addr;
	uint32_t handle;
	int16_t status;
	uint16_t pad;
};

/* grant_table_op on one request, version 1 of the table.  op->status says how it went, *reason_ret which rule refused. */
int xm_map_grant_ref(struct xm_domain *d, struct xm_map_grant_ref *op, uint32_t *reason_ret);
int xm_unmap_grant_ref(struct xm_domain *d, struct xm_unmap_grant_ref *op, uint32_t *reason_ret);
int xm_unmap_and_replace(struct xm_domain *d, struct xm_unmap_grant_ref *op, uint64_t new_addr, uint32_t *reason_ret);
/* frames: room for nr_frames. */
int xm_grant_setup_table(struct xm_domain *d, uint32_t domid, uint32_t nr_frames, uint64_t *frames,
			 uint32_t *reason_ret);
int xm_swap_grant_ref(struct xm_domain *d, uint32_t ref_a, uint32_t ref_b, uint32_t *reason_ret);
/* One side of a memory_op: `nr_extents` runs of 2^extent_order frames, the first frame (or pfn) of each in `extents`. */
struct xm_memory_reservation {
	uint64_t *extents;
	uint64_t nr_extents;
	uint32_t extent_order;
	uint32_t address_bits; /* new frames lie below this many bits of address; 0: anywhere */
	uint32_t domid;
	uint32_t pad;
};

/* XENMEM_increase_reservation (extents may be NULL; receives frames), XENMEM_decrease_reservation (frames), and
 * XENMEM_populate_physmap (pfns, replaced by frames).  ret->rc is the number of extents done, never an error, and
 * ret->reason says why not all of them were.  XM_E_ARGUMENT for another command. */
int xm_memory_op(struct xm_domain *d, uint32_t cmd, struct xm_memory_reservation *r, struct xm_result *ret);
/* XENMEM_exchange: frames of `in` for new ones with the pfns of `out`, which are replaced by frames.  ret->done is
 * nr_exchanged: input extents; what it held before the call is where the exchange begins. */
int xm_memory_exchange(struct xm_domain *d, const struct xm_memory_reservation *in, struct xm_memory_reservation *out,
		       struct xm_result *ret);
/* XENMEM_maximum_ram_page, XENMEM_current_reservation and XENMEM_maximum_reservation (frames, as rc). */
int xm_memory_query(struct xm_domain *d, uint32_t cmd, uint32_t domid, struct xm_result *ret);
/* XENMEM_add_to_physmap and XENMEM_remove_from_physmap, which a PV domain cannot use. */
int xm_memory_physmap(struct xm_domain *d, uint32_t cmd, uint32_t domid, uint32_t space, struct xm_result *ret);
/* XEN_DOMCTL_max_mem: how many frames the domain may own. */
uint64_t xm_domain_max_pages(const struct xm_domain *d);
int xm_domain_set_max_pages(struct xm_domain *d, uint64_t pages);

/* toggle_guest_mode.  To user mode: the iret hypercall (XM_E_STATE without a user root: real Xen crashes the domain).
 * To kernel mode: an exception or a syscall. */
int xm_enter_user(struct xm_domain *d);
int xm_enter_kernel(struct xm_domain *d);

/* An access in the current mode, with Xen's handling of the fault: what is not fixed up is in *fault. */
int xm_guest_load(struct xm_domain *d, uint64_t va, unsigned size, uint64_t *value_ret, struct xm_guest_fault *fault);
int xm_guest_store(struct xm_domain *d, uint64_t va, unsigned size, uint64_t value, struct xm_guest_fault *fault);
int xm_guest_fetch(struct xm_domain *d, uint64_t va, struct xm_guest_fault *fault);
/* Compare and exchange; what was there in *old_ret. */
int xm_guest_cmpxchg(struct xm_domain *d, uint64_t va, unsigned size, uint64_t expected, uint64_t value,
		     uint64_t *old_ret, struct xm_guest_fault *fault);
/* Load FS with a selector: the descriptor is read from GDT or LDT, checked, and marked as accessed. */
int xm_guest_load_selector(struct xm_domain *d, uint32_t selector, struct xm_guest_fault *fault);
/* The walk of that access, nothing changed; root of the current mode. */
int xm_guest_walk(const struct xm_domain *d, uint64_t va, uint32_t access, struct xm_walk *ret);

/* ======================================================================================================================
 * Floor 3: netbsd.  NetBSD/amd64's pmap of 2007 (x86/x86/pmap.c, xen/x86/x86_xpmap.c); reaches Xen by hypercall only.
 * ====================================================================================================================== */

enum xm_design {
	XM_DESIGN_STOCK = 0, /* slot 255 set and cleared around every use, the L4 re-pinned when the target changes */
	XM_DESIGN_STOCK_LITERAL, /* the mail read literally: slot 255 set in map, cleared in unmap, nothing else */
	XM_DESIGN_KEPT,          /* the mail's proposal: slot 255 stays valid */
	XM_DESIGN_PER_CPU, /* after APTE: the foreign pmap is loaded, PTEs always at PTE_BASE, slot 255 never valid */
	XM_DESIGN_NATIVE,  /* no hypervisor */
	XM_DESIGN_KINDS,
};

/* Bits of an entry by NetBSD's names (amd64/include/pte.h); u and U, user and used, differ in case only. */
#define XM_PG_V 0x1
#define XM_PG_RW 0x2
#define XM_PG_u 0x4
#define XM_PG_U 0x20
#define XM_PG_M 0x40
#define XM_PG_PS 0x80
#define XM_PG_G 0x100
#define XM_PG_W 0x200
#define XM_PG_FRAME 0xffffffffff000ULL

/* The lower half of the L4 below the recursive slot is the user's; VM_MIN_KERNEL_ADDRESS is where L4_SLOT_KERN begins. */
#define XM_L4_SLOT_PTE 255
#define XM_L4_SLOT_APTE 510
#define XM_L4_SLOT_KERN 320
#define XM_L4_SLOT_KERN_NATIVE 256
#define XM_L4_SLOT_KERNBASE 511
#define XM_VM_MAXUSER_ADDRESS 0x7f8000000000ULL
#define XM_XPQUEUE_SIZE 2048

#define XM_VM_PROT_READ 1
#define XM_VM_PROT_WRITE 2
#define XM_VM_PROT_EXECUTE 4
/* Flags of pmap_enter: the access that is being made, for A and D; the protection bits of the access are or'ed in. */
#define XM_PMAP_WIRED 16

/* A handle on a pmap; 0 is the kernel's.  A handle of a destroyed pmap is never valid again. */
#define XM_PMAP_KERNEL 0

struct xm_kernel;

/* What a kernel's work came to since it was made. */
struct xm_kernel_counters {
	struct xm_counters
		xen;        /* the domain's, since then; native fills tlb_flushes, invlpg and cr3_loads, and no other */
	uint64_t pte_reads; /* loads of table entries through the linear maps or a pdir's mapping */
	uint64_t pte_writes; /* entries changed, by update or by store */
	uint64_t m2p_reads;  /* loads from the machine-to-physical table */
	uint64_t apdp_hits;  /* pmap_map_ptes of a foreign pmap that found the alternate slot pointing there */
	uint64_t apdp_misses;
	uint64_t pmap_loads; /* loads of another pmap */
	uint64_t pages_zeroed;
	uint64_t pages_copied;
};

/* A NetBSD kernel, bootstrapped: in a domain (any design but native), or on a bare machine (native), of which it takes
 * every frame from the second on.  NULL with *status_ret: XM_E_NO_FRAMES too small, XM_E_ARGUMENT no such design,
 * XM_E_STATE the domain already has another root or kernel, XM_E_PANIC a refusal during bootstrap. */
struct xm_kernel *xm_kernel_new(struct xm_domain *d, int design, int *status_ret);
struct xm_kernel *xm_kernel_new_native(struct xm_machine *m, int *status_ret);
void xm_kernel_free(struct xm_kernel *k);

int xm_kernel_design(const struct xm_kernel *k);
struct xm_machine *xm_kernel_machine(const struct xm_kernel *k);
struct xm_domain *xm_kernel_domain(const struct xm_kernel *k); /* NULL: native */
/* What the kernel said when it last panicked; empty if it never did. */
const char *xm_kernel_panic(const struct xm_kernel *k);
struct xm_kernel_counters xm_kernel_counters(const struct xm_kernel *k);
/* The processor of a native kernel as it stands (CR3 is the loaded pmap's); NULL in a domain. */
const struct xm_cpu *xm_kernel_cpu(const struct xm_kernel *k);
/* The loaded kernel's L4, by machine frame: in a domain its kernel root. */
uint64_t xm_kernel_root(const struct xm_kernel *k);
/* The dummy user L4 (all ones: native has none). */
uint64_t xm_kernel_dummy_root(const struct xm_kernel *k);
/* The L4 of a pmap, by machine frame; all ones for a handle that is none. */
uint64_t xm_kernel_user_l4(const struct xm_kernel *k, uint32_t pm);
/* Machine frame of a pseudo-physical one; all ones when out of range. */
uint64_t xm_kernel_p2m(const struct xm_kernel *k, uint64_t pfn);
uint64_t xm_kernel_free_pages(const struct xm_kernel *k);
/* Handles of the live user pmaps: the number of them, the first `n` of them in `ret`. */
uint64_t xm_kernel_pmaps(const struct xm_kernel *k, uint32_t *ret, uint64_t n);
/* The running process's pmap, or XM_PMAP_KERNEL. */
uint32_t xm_kernel_current(const struct xm_kernel *k);

/* Pages are named by pseudo-physical address. */
int xm_uvm_pagealloc(struct xm_kernel *k, uint64_t *pa_ret);
int xm_uvm_pagefree(struct xm_kernel *k, uint64_t pa);
int xm_pmap_zero_page(struct xm_kernel *k, uint64_t pa);
int xm_pmap_copy_page(struct xm_kernel *k, uint64_t src, uint64_t dst);

int xm_pmap_create(struct xm_kernel *k, uint32_t *pm_ret);
int xm_pmap_destroy(struct xm_kernel *k, uint32_t pm);
int xm_pmap_enter(struct xm_kernel *k, uint32_t pm, uint64_t va, uint64_t pa, uint32_t prot, uint32_t flags);
/* *found_ret 1 and *pa_ret the address of the byte, or *found_ret 0. */
int xm_pmap_extract(struct xm_kernel *k, uint32_t pm, uint64_t va, int *found_ret, uint64_t *pa_ret);
int xm_pmap_remove(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva);
int xm_pmap_protect(struct xm_kernel *k, uint32_t pm, uint64_t sva, uint64_t eva, uint32_t prot);
int xm_pmap_kenter_pa(struct xm_kernel *k, uint64_t va, uint64_t pa, uint32_t prot);
int xm_pmap_kremove(struct xm_kernel *k, uint64_t va, uint64_t len);

/* A process is its pmap here: fork write-protects the parent and makes an empty child, exec removes everything, exit
 * removes everything and destroys, switch makes it the running process (pmap_activate, then pmap_load). */
int xm_kernel_fork(struct xm_kernel *k, uint32_t pm, uint32_t *child_ret);
int xm_kernel_exec(struct xm_kernel *k, uint32_t pm);
int xm_kernel_exit(struct xm_kernel *k, uint32_t pm);
int xm_kernel_switch(struct xm_kernel *k, uint32_t pm);

/* An access of the running process in user mode; the kernel has the processor again afterwards.  XM_E_STATE when no
 * process runs. */
int xm_user_load(struct xm_kernel *k, uint64_t va, unsigned size, uint64_t *value_ret, struct xm_guest_fault *fault);
int xm_user_store(struct xm_kernel *k, uint64_t va, unsigned size, uint64_t value, struct xm_guest_fault *fault);
int xm_user_fetch(struct xm_kernel *k, uint64_t va, struct xm_guest_fault *fault);

enum xm_event_kind {
	XM_EV_FAULT = 0,
	XM_EV_KFAULT,
	XM_EV_FORK,
	XM_EV_VFORK,
	XM_EV_EXEC,
	XM_EV_EXIT,
	XM_EV_MMAP,
	XM_EV_MUNMAP,
	XM_EV_MPROTECT,
	XM_EV_BRK,
	XM_EV_KINDS,
};

/* An event of a recorded process history, as the trace file has it. */
struct xm_event {
	uint64_t a;
	uint64_t b;
	uint32_t t_us;
	uint32_t pid;
	uint8_t kind; /* enum xm_event_kind */
	uint8_t aux;
	uint16_t pad;
	uint32_t pad2;
};

struct xm_replay_stats {
	uint64_t events; /* applied */
	uint64_t kinds[10];
	uint64_t user_accesses;   /* accesses in user mode, the retry after a fault included */
	uint64_t kernel_accesses; /* the same of the kernel to user memory */
	uint64_t uvm_faults;      /* the sum of the next five */
	uint64_t zero_fill;
	uint64_t cow;          /* copied */
	uint64_t file;         /* a resident page of a file entered */
	uint64_t resident;     /* an own page that was not mapped entered again */
	uint64_t upgrade;      /* the last sharer's page made writable */
	uint64_t mapped_ahead; /* neighbours entered */
	uint64_t no_fault;     /* touches that found the page mapped */
	uint64_t unresolved;   /* accesses that the mapping forbids or that lie beyond user space: a signal, ignored */
	uint64_t extracts;
	uint64_t enters;
	uint64_t removes;
	uint64_t protects;
	uint64_t forks;
	uint64_t execs;
	uint64_t exits;
	uint64_t switches;
	uint64_t relocated;    /* addresses moved down by one L4 slot */
	uint64_t unknown_pids; /* processes that began without a fork event */
	uint64_t out_of_pages; /* events given up for want of a page: 0 or 1 a call */
	uint64_t processes;    /* alive now */
	uint64_t pages;        /* data pages held now */
	uint64_t peak_processes;
	uint64_t peak_pages;
};

/* Apply n events in order and add to *stats; may be called again for the next slice.  A negative status means that the
 * event at index (growth of stats->events) was not applied, and none after it: XM_E_ARGUMENT an unknown kind or an
 * absurd address or length, XM_E_NO_FRAMES no page left, XM_E_PANIC.  Nothing is half done except after a panic. */
int xm_replay(struct xm_kernel *k, const struct xm_event *events, uint64_t n, struct xm_replay_stats *stats);
/* The pmap of a replayed process, or XM_E_ARGUMENT. */
int xm_replay_pmap(const struct xm_kernel *k, uint32_t pid, uint32_t *pm_ret);

/* ======================================================================================================================
 * Floor 4: check.  Audits every floor from the bytes; writes nothing it audits.
 * ====================================================================================================================== */

/* What must hold whenever a hypercall, trap or pmap operation has returned; texts by xm_invariant_text and, with their
 * sources, in check.INVARIANTS. */
enum xm_invariant {
	XM_I_TCOUNT = 0,
	XM_I_GCOUNT,
	XM_I_EXCL,
	XM_I_WSPEC,
	XM_I_USERW,
	XM_I_LVL,
	XM_I_LIN,
	XM_I_XENSLOT,
	XM_I_OWN,
	XM_I_CR3,
	XM_I_PT0,
	XM_I_PIN,
	XM_I_FREE,
	XM_I_SEG,
	XM_I_KINDS,
};
/* "I-TCOUNT" and so on; NULL for another number. */
const char *xm_invariant_name(int invariant);
const char *xm_invariant_text(int invariant);

struct xm_violation {
	uint64_t mfn; /* the frame that breaks it */
	uint32_t invariant;
	uint32_t pad;
	char message[112];
};

/* All that an audit of Xen is told: memory, and Xen's claims about it, one for each frame of the machine.  Of a claim
 * it believes owner, allocation, pin, and the level of a pinned or linearly used table; the rest it recounts. */
struct xm_books {
	const struct xm_machine *machine;
	const struct xm_frame *frames;
	const struct xm_root *roots;
	size_t roots_count;
	int pv_linear_pt; /* linear tables are allowed */
	const struct xm_held *held;
	size_t held_count;
	int version; /* enum xm_xen_version */
};

/* Each stores the first `max` violations in ret and the number of all in *found_ret.  XM_E_MEMORY without scratch
 * memory; XM_E_RANGE for a root that the machine does not have. */
int xm_audit(const struct xm_xen *x, struct xm_violation *ret, size_t max, size_t *found_ret);
int xm_audit_books(const struct xm_books *books, struct xm_violation *ret, size_t max, size_t *found_ret);
/* Without a hypervisor: the address spaces under these root frames (I-USERW, I-LVL, I-EXCL). */
int xm_audit_native(const struct xm_machine *m, const uint64_t *roots, size_t roots_count, struct xm_violation *ret,
		    size_t max, size_t *found_ret);

#endif
