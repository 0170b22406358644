# Made from csrc/xenmmu.h by `python setup_cffi.py --pyi`; not edited by hand.
from typing import Any

class _Lib:
    XM_PAGE_SIZE: int
    XM_PAGE_SHIFT: int
    XM_PTE_P: int
    XM_PTE_RW: int
    XM_PTE_US: int
    XM_PTE_PWT: int
    XM_PTE_PCD: int
    XM_PTE_A: int
    XM_PTE_D: int
    XM_PTE_PS: int
    XM_PTE_PAT: int
    XM_PTE_G: int
    XM_PTE_PAT_LARGE: int
    XM_PTE_NX: int
    XM_PTE_ADDR: int
    XM_CR0_PE: int
    XM_CR0_WP: int
    XM_CR0_PG: int
    XM_CR3_NO_FLUSH: int
    XM_CR4_PAE: int
    XM_CR4_PGE: int
    XM_CR4_LA57: int
    XM_CR4_PCIDE: int
    XM_CR4_SMEP: int
    XM_CR4_SMAP: int
    XM_CR4_PKE: int
    XM_CR4_CET: int
    XM_CR4_PKS: int
    XM_EFER_LME: int
    XM_EFER_LMA: int
    XM_EFER_NXE: int
    XM_EFER_TCE: int
    XM_PF_P: int
    XM_PF_W: int
    XM_PF_U: int
    XM_PF_RSVD: int
    XM_PF_I: int
    XM_PF_PK: int
    XM_PF_SS: int
    XM_DOMID_SELF: int
    XM_DOMID_IO: int
    XM_DOMID_XEN: int
    XM_DOMID_COW: int
    XM_DOMID_INVALID: int
    XM_OWNER_NONE: int
    XM_MMU_NORMAL_PT_UPDATE: int
    XM_MMU_MACHPHYS_UPDATE: int
    XM_MMU_PT_UPDATE_PRESERVE_AD: int
    XM_MMU_PT_UPDATE_NO_TRANSLATE: int
    XM_MMUEXT_PIN_L1_TABLE: int
    XM_MMUEXT_PIN_L2_TABLE: int
    XM_MMUEXT_PIN_L3_TABLE: int
    XM_MMUEXT_PIN_L4_TABLE: int
    XM_MMUEXT_UNPIN_TABLE: int
    XM_MMUEXT_NEW_BASEPTR: int
    XM_MMUEXT_TLB_FLUSH_LOCAL: int
    XM_MMUEXT_INVLPG_LOCAL: int
    XM_MMUEXT_TLB_FLUSH_MULTI: int
    XM_MMUEXT_INVLPG_MULTI: int
    XM_MMUEXT_TLB_FLUSH_ALL: int
    XM_MMUEXT_INVLPG_ALL: int
    XM_MMUEXT_FLUSH_CACHE: int
    XM_MMUEXT_SET_LDT: int
    XM_MMUEXT_NEW_USER_BASEPTR: int
    XM_MMUEXT_CLEAR_PAGE: int
    XM_MMUEXT_COPY_PAGE: int
    XM_MMUEXT_FLUSH_CACHE_GLOBAL: int
    XM_MMUEXT_MARK_SUPER: int
    XM_MMUEXT_UNMARK_SUPER: int
    XM_MMUEXT_KINDS: int
    XM_UVMF_NONE: int
    XM_UVMF_TLB_FLUSH: int
    XM_UVMF_INVLPG: int
    XM_UVMF_FLUSHTYPE_MASK: int
    XM_UVMF_ALL: int
    XM_MEM_INCREASE_RESERVATION: int
    XM_MEM_DECREASE_RESERVATION: int
    XM_MEM_MAXIMUM_RAM_PAGE: int
    XM_MEM_CURRENT_RESERVATION: int
    XM_MEM_MAXIMUM_RESERVATION: int
    XM_MEM_POPULATE_PHYSMAP: int
    XM_MEM_ADD_TO_PHYSMAP: int
    XM_MEM_EXCHANGE: int
    XM_MEM_REMOVE_FROM_PHYSMAP: int
    XM_MAPSPACE_SHARED_INFO: int
    XM_MAPSPACE_GRANT_TABLE: int
    XM_MAPSPACE_GMFN: int
    XM_MAPSPACE_GMFN_RANGE: int
    XM_MAPSPACE_GMFN_FOREIGN: int
    XM_VMASST_ENABLE: int
    XM_VMASST_DISABLE: int
    XM_VMASST_WRITABLE_PAGETABLES: int
    XM_VMASST_M2P_STRICT: int
    XM_PGT_NONE: int
    XM_PGT_L1: int
    XM_PGT_L2: int
    XM_PGT_L3: int
    XM_PGT_L4: int
    XM_PGT_SEG_DESC: int
    XM_PGT_SHARED: int
    XM_PGT_WRITABLE: int
    XM_PGT_TYPE_SHIFT: int
    XM_PGT_LOCKED: int
    XM_PGT_PINNED: int
    XM_PGT_VALIDATED: int
    XM_PGT_PARTIAL: int
    XM_PGT_COUNT_MASK: int
    XM_PGC_ALLOCATED: int
    XM_PGC_XEN_HEAP: int
    XM_PGC_STATE_FREE: int
    XM_PGC_COUNT_MASK: int
    XM_PTE_GUEST_KERNEL: int
    XM_L4_FIRST_XEN_SLOT: int
    XM_L4_LAST_XEN_SLOT: int
    XM_RO_MPT_VIRT_START: int
    XM_FRAMETABLE_VIRT_START: int
    XM_FRAMETABLE_VIRT_END: int
    XM_LOG_KINDS: int
    XM_DOM_PRIVILEGED: int
    XM_GDT_PAGES: int
    XM_LDT_PAGES: int
    XM_GNTTABOP_MAP_GRANT_REF: int
    XM_GNTTABOP_UNMAP_GRANT_REF: int
    XM_GNTTABOP_SETUP_TABLE: int
    XM_GNTTABOP_TRANSFER: int
    XM_GNTTABOP_COPY: int
    XM_GNTTABOP_QUERY_SIZE: int
    XM_GNTTABOP_UNMAP_AND_REPLACE: int
    XM_GNTTABOP_SET_VERSION: int
    XM_GNTTABOP_GET_STATUS_FRAMES: int
    XM_GNTTABOP_GET_VERSION: int
    XM_GNTTABOP_SWAP_GRANT_REF: int
    XM_GNTMAP_DEVICE_MAP: int
    XM_GNTMAP_HOST_MAP: int
    XM_GNTMAP_READONLY: int
    XM_GNTMAP_APPLICATION_MAP: int
    XM_GNTMAP_CONTAINS_PTE: int
    XM_GTF_PERMIT_ACCESS: int
    XM_GTF_TYPE_MASK: int
    XM_GTF_READONLY: int
    XM_GTF_READING: int
    XM_GTF_WRITING: int
    XM_GTF_SUB_PAGE: int
    XM_PG_V: int
    XM_PG_RW: int
    XM_PG_u: int
    XM_PG_U: int
    XM_PG_M: int
    XM_PG_PS: int
    XM_PG_G: int
    XM_PG_W: int
    XM_PG_FRAME: int
    XM_L4_SLOT_PTE: int
    XM_L4_SLOT_APTE: int
    XM_L4_SLOT_KERN: int
    XM_L4_SLOT_KERN_NATIVE: int
    XM_L4_SLOT_KERNBASE: int
    XM_VM_MAXUSER_ADDRESS: int
    XM_XPQUEUE_SIZE: int
    XM_VM_PROT_READ: int
    XM_VM_PROT_WRITE: int
    XM_VM_PROT_EXECUTE: int
    XM_PMAP_WIRED: int
    XM_PMAP_KERNEL: int
    XM_OK: int
    XM_E_ARGUMENT: int
    XM_E_RANGE: int
    XM_E_ALIGNMENT: int
    XM_E_GP: int
    XM_E_STATE: int
    XM_E_NO_FRAMES: int
    XM_E_LIMIT: int
    XM_E_MEMORY: int
    XM_E_PANIC: int
    XM_E_NOT_MODELLED: int
    XM_ACC_READ: int
    XM_ACC_WRITE: int
    XM_ACC_EXECUTE: int
    XM_ACC_USER: int
    XM_ACC_IMPLICIT: int
    XM_ACC_SHADOW_STACK: int
    XM_ACC_STACK: int
    XM_FAULT_NONE: int
    XM_FAULT_PF: int
    XM_FAULT_GP: int
    XM_FAULT_SS: int
    XM_FAULT_BUS: int
    XM_FAULT_UD: int
    XM_FAULT_NP: int
    XM_STOP_NONE: int
    XM_STOP_NOT_CANONICAL: int
    XM_STOP_NOT_PRESENT: int
    XM_STOP_RESERVED_BIT: int
    XM_STOP_USER_TO_SUPERVISOR: int
    XM_STOP_WRITE_TO_READ_ONLY: int
    XM_STOP_EXECUTE_DISABLED: int
    XM_STOP_SMEP: int
    XM_STOP_SMAP: int
    XM_STOP_PROTECTION_KEY: int
    XM_STOP_SHADOW_STACK: int
    XM_STOP_SHADOW_STACK_MODE: int
    XM_STOP_OUTSIDE_MACHINE: int
    XM_STOP_NO_CET: int
    XM_VENDOR_INTEL: int
    XM_VENDOR_AMD: int
    XM_REG_CR0: int
    XM_REG_CR3: int
    XM_REG_CR4: int
    XM_REG_EFER: int
    XM_REG_PKRU: int
    XM_REG_PKRS: int
    XM_REG_AC: int
    XM_CPUID_MAXPHYADDR: int
    XM_CPUID_VENDOR: int
    XM_CPUID_PAGE1GB: int
    XM_CHOICE_A_ON_FAULT: int
    XM_A_ON_FAULT_NONE: int
    XM_A_ON_FAULT_UPPER: int
    XM_FLUSH_NONE: int
    XM_FLUSH_ADDRESS: int
    XM_FLUSH_PCID: int
    XM_FLUSH_ALL: int
    XM_INVPCID_ADDRESS: int
    XM_INVPCID_SINGLE: int
    XM_INVPCID_ALL: int
    XM_INVPCID_ALL_BUT_GLOBAL: int
    XM_R_NONE: int
    XM_R_FOREIGNDOM_OWN_ID: int
    XM_R_FOREIGNDOM_UNKNOWN: int
    XM_R_PT_OWNER_UNKNOWN: int
    XM_R_BAD_HANDLE: int
    XM_R_UNKNOWN_COMMAND: int
    XM_R_NOT_SUPPORTED: int
    XM_R_NO_PRIVILEGE: int
    XM_R_PTR_NOT_OWNED: int
    XM_R_PTR_TYPE: int
    XM_R_PT_UPDATE_FOREIGNDOM: int
    XM_R_L4_SLOT_RESERVED: int
    XM_R_MACHPHYS_FOREIGN_PT: int
    XM_R_MACHPHYS_NOT_OWNED: int
    XM_R_L1_FLAGS: int
    XM_R_L2_FLAGS: int
    XM_R_L3_FLAGS: int
    XM_R_L4_FLAGS: int
    XM_R_MMIO_NOT_PERMITTED: int
    XM_R_MMIO_INVALID_MFN: int
    XM_R_L1_NOT_OWNED: int
    XM_R_L1_RW_TYPE_CONFLICT: int
    XM_R_L1_CACHE_ATTRIBUTE: int
    XM_R_TABLE_NOT_OWNED: int
    XM_R_TYPE_CONFLICT: int
    XM_R_TYPE_COUNT_OVERFLOW: int
    XM_R_DESCRIPTOR: int
    XM_R_LINEAR_DISABLED: int
    XM_R_LINEAR_WRITABLE: int
    XM_R_LINEAR_HOLDER_IS_USED: int
    XM_R_LINEAR_TARGET_HOLDS: int
    XM_R_VA_NOT_GUEST: int
    XM_R_VA_NO_TABLE: int
    XM_R_VA_L1_NOT_OWNED: int
    XM_R_VA_L1_NOT_VALIDATED: int
    XM_R_FLUSH_BITMAP: int
    XM_R_MMUEXT_FOREIGN: int
    XM_R_MMUEXT_NOT_OWNED: int
    XM_R_ALREADY_PINNED: int
    XM_R_NOT_PINNED: int
    XM_R_VCPU_BITMAP: int
    XM_R_NOT_WRITABLE: int
    XM_R_CACHE_NOT_PERMITTED: int
    XM_R_CACHE_GLOBAL_NOT_PERMITTED: int
    XM_R_LDT: int
    XM_R_GDT_ENTRIES: int
    XM_R_GDT_NOT_OWNED: int
    XM_R_DESCRIPTOR_UNALIGNED: int
    XM_R_DESCRIPTOR_NOT_OWNED: int
    XM_R_DESCRIPTOR_BUSY: int
    XM_R_ASSIST: int
    XM_R_MULTICALL_NESTED: int
    XM_R_GRANT_COUNT: int
    XM_R_GRANT_VERSION: int
    XM_R_GRANT_FLAGS: int
    XM_R_GRANT_DOMAIN: int
    XM_R_GRANT_PERMISSION: int
    XM_R_GRANT_NO_HANDLE: int
    XM_R_GRANT_REF: int
    XM_R_GRANT_ENTRY: int
    XM_R_GRANT_NOT_FOR_CALLER: int
    XM_R_GRANT_READONLY: int
    XM_R_GRANT_PINS: int
    XM_R_GRANT_PAGE: int
    XM_R_GRANT_PAGE_GONE: int
    XM_R_GRANT_TYPE: int
    XM_R_GRANT_PTE: int
    XM_R_GRANT_MISMATCH: int
    XM_R_GRANT_HANDLE: int
    XM_R_GRANT_DEV_ADDR: int
    XM_R_GRANT_FRAMES: int
    XM_R_GRANT_FRAME_LIST: int
    XM_R_GRANT_IN_USE: int
    XM_R_DOMID_UNKNOWN: int
    XM_R_EXTENTS: int
    XM_R_EXTENT_ORDER: int
    XM_R_ADDRESS_BITS: int
    XM_R_MAX_PAGES: int
    XM_R_NO_MEMORY: int
    XM_R_MFN_INVALID: int
    XM_R_PAGE_NOT_OWNED: int
    XM_R_EXCHANGE_SIZES: int
    XM_R_EXCHANGE_IN_USE: int
    XM_R_NOT_TRANSLATED: int
    XM_R_MEMORY_NODE: int
    XM_R_POPULATE_ON_DEMAND: int
    XM_R_START_EXTENT: int
    XM_R_PHYSMAP_START: int
    XM_R_NOT_CAPTURED: int
    XM_R_KINDS: int
    XM_MUT_XSA_182_FASTPATH_RW: int
    XM_MUT_XSA_148_L2_PSE_UNCHECKED: int
    XM_MUT_OWNER_UNCHECKED_L1: int
    XM_MUT_NO_ROLLBACK_L1_PROMOTE: int
    XM_MUT_USER_SLOT_RW_BY_ADJUST: int
    XM_MUT_XSA_240_LINEAR_CHAIN: int
    XM_MUT_PIN_WRONG_LEVEL_ACCEPTED: int
    XM_MUT_PIN_TWICE_COUNTS: int
    XM_MUT_UNPIN_UNPINNED: int
    XM_MUT_SLOT_RANGE_OFF_BY_ONE_HIGH: int
    XM_MUT_FASTPATH_IGNORES_FRAME: int
    XM_MUT_XSA_182_FASTPATH_RW_L1: int
    XM_MUT_PTWR_USER_MODE: int
    XM_MUT_OLD_ROOT_NOT_PUT: int
    XM_MUT_CLEAR_PAGE_NO_TYPE: int
    XM_MUT_KINDS: int
    XM_XEN_4_17: int
    XM_XEN_3_1: int
    XM_XEN_VERSIONS: int
    XM_DESIGN_STOCK: int
    XM_DESIGN_STOCK_LITERAL: int
    XM_DESIGN_KEPT: int
    XM_DESIGN_PER_CPU: int
    XM_DESIGN_NATIVE: int
    XM_DESIGN_KINDS: int
    XM_EV_FAULT: int
    XM_EV_KFAULT: int
    XM_EV_FORK: int
    XM_EV_VFORK: int
    XM_EV_EXEC: int
    XM_EV_EXIT: int
    XM_EV_MMAP: int
    XM_EV_MUNMAP: int
    XM_EV_MPROTECT: int
    XM_EV_BRK: int
    XM_EV_KINDS: int
    XM_I_TCOUNT: int
    XM_I_GCOUNT: int
    XM_I_EXCL: int
    XM_I_WSPEC: int
    XM_I_USERW: int
    XM_I_LVL: int
    XM_I_LIN: int
    XM_I_XENSLOT: int
    XM_I_OWN: int
    XM_I_CR3: int
    XM_I_PT0: int
    XM_I_PIN: int
    XM_I_FREE: int
    XM_I_SEG: int
    XM_I_KINDS: int
    def xm_strerror(self, status: int, /) -> Any: ...
    def xm_machine_new(self, bytes: int, /) -> Any: ...
    def xm_machine_free(self, m: Any, /) -> None: ...
    def xm_machine_frames(self, m: Any, /) -> int: ...
    def xm_machine_frame(self, m: Any, mfn: int, /) -> Any: ...
    def xm_read64(self, m: Any, pa: int, ret: Any, /) -> int: ...
    def xm_write64(self, m: Any, pa: int, value: int, /) -> int: ...
    def xm_read(self, m: Any, pa: int, ret: Any, n: int, /) -> int: ...
    def xm_write(self, m: Any, pa: int, data: Any, n: int, /) -> int: ...
    def xm_machine_forget(self, m: Any, /) -> int: ...
    def xm_machine_has_frame(self, m: Any, mfn: int, /) -> int: ...
    def xm_checkpoint(self, m: Any, /) -> int: ...
    def xm_rollback(self, m: Any, /) -> int: ...
    def xm_commit(self, m: Any, /) -> int: ...
    def xm_checkpoint_depth(self, m: Any, /) -> int: ...
    def xm_stop_text(self, stop: int, /) -> Any: ...
    def xm_cpu_init(self, cpu: Any, m: Any, maxphyaddr: int, vendor: int, gbpages: int, /) -> int: ...
    def xm_cpu_set(self, cpu: Any, reg: int, value: int, /) -> int: ...
    def xm_cpu_new(self, m: Any, maxphyaddr: int, vendor: int, gbpages: int, /) -> Any: ...
    def xm_cpu_free(self, cpu: Any, /) -> None: ...
    def xm_walk(self, cpu: Any, va: int, access: int, ret: Any, /) -> int: ...
    def xm_access(self, cpu: Any, va: int, access: int, ret: Any, /) -> int: ...
    def xm_cpu_load(self, cpu: Any, va: int, size: int, access: int, value_ret: Any, cr2_ret: Any, ret: Any, /) -> int: ...
    def xm_cpu_store(self, cpu: Any, va: int, size: int, access: int, value: int, cr2_ret: Any, ret: Any, /) -> int: ...
    def xm_cpu_cmpxchg(self, cpu: Any, va: int, size: int, access: int, expected: int, value: int, old_ret: Any, cr2_ret: Any, ret: Any, /) -> int: ...
    def xm_port_walk(self, port: Any, va: int, access: int, /) -> int: ...
    def xm_port_load(self, port: Any, va: int, size: int, access: int, /) -> int: ...
    def xm_port_store(self, port: Any, va: int, size: int, access: int, value: int, /) -> int: ...
    def xm_port_cmpxchg(self, port: Any, va: int, size: int, access: int, expected: int, value: int, /) -> int: ...
    def xm_translate(self, cpu: Any, vas: Any, n: int, access: int, pas: Any, error_codes: Any, /) -> int: ...
    def xm_mappings(self, cpu: Any, cursor: Any, ret: Any, max: int, /) -> int: ...
    def xm_pcid(self, cr3: int, cr4: int, /) -> int: ...
    def xm_flush_mov_cr3(self, value: int, cr4: int, /) -> Any: ...
    def xm_flush_mov_cr4(self, cr3: int, old: int, value: int, /) -> Any: ...
    def xm_flush_invlpg(self, cr3: int, cr4: int, efer: int, va: int, /) -> Any: ...
    def xm_flush_page_fault(self, cr3: int, cr4: int, va: int, /) -> Any: ...
    def xm_flush_invpcid(self, cr4: int, type: int, pcid: int, va: int, ret: Any, /) -> int: ...
    def xm_cpu_flush(self, cpu: Any, flush: Any, /) -> None: ...
    def xm_cpu_invlpg(self, cpu: Any, va: int, /) -> None: ...
    def xm_cpu_invpcid(self, cpu: Any, type: int, pcid: int, va: int, /) -> int: ...
    def xm_tlb_new(self, m: Any, entries: int, /) -> Any: ...
    def xm_tlb_free(self, tlb: Any, /) -> None: ...
    def xm_tlb_drop(self, tlb: Any, flush: Any, /) -> None: ...
    def xm_tlb_used(self, tlb: Any, /) -> int: ...
    def xm_tlb_lookup(self, tlb: Any, pcid: int, va: int, ret: Any, /) -> int: ...
    def xm_history_new(self, cpu: Any, /) -> Any: ...
    def xm_history_end(self, h: Any, /) -> int: ...
    def xm_history_outcomes(self, h: Any, va: int, access: int, ret: Any, max: int, /) -> int: ...
    def xm_history_events(self, h: Any, /) -> int: ...
    def xm_history_event(self, h: Any, i: int, flush_ret: Any, cr3_ret: Any, /) -> int: ...
    def xm_slot_base(self, outer: int, inner: int, level: int, levels: int, /) -> int: ...
    def xm_slot_entry_va(self, outer: int, inner: int, level: int, levels: int, va: int, /) -> int: ...
    def xm_slot_target(self, outer: int, inner: int, levels: int, entry_va: int, level_ret: Any, va_ret: Any, /) -> int: ...
    def xm_reason_text(self, reason: int, /) -> Any: ...
    def xm_reason_errno(self, reason: int, /) -> int: ...
    def xm_reason_grant_status(self, reason: int, /) -> int: ...
    def xm_xen_new(self, m: Any, options: Any, status_ret: Any, /) -> Any: ...
    def xm_xen_free(self, x: Any, /) -> None: ...
    def xm_xen_machine(self, x: Any, /) -> Any: ...
    def xm_xen_options(self, x: Any, /) -> Any: ...
    def xm_xen_free_frames(self, x: Any, /) -> int: ...
    def xm_xen_frame(self, x: Any, mfn: int, ret: Any, /) -> int: ...
    def xm_xen_m2p(self, x: Any, mfn: int, /) -> int: ...
    def xm_xen_frame_table(self, x: Any, /) -> Any: ...
    def xm_xen_roots(self, x: Any, ret: Any, max: int, /) -> int: ...
    def xm_xen_held(self, x: Any, ret: Any, max: int, /) -> int: ...
    def xm_xen_adopt(self, m: Any, options: Any, cr3: int, status_ret: Any, mfn_ret: Any, /) -> Any: ...
    def xm_log_replay(self, d: Any, words: Any, n: int, ret: Any, /) -> int: ...
    def xm_domain_new(self, x: Any, frames: int, flags: int, status_ret: Any, /) -> Any: ...
    def xm_xen_domain(self, x: Any, domid: int, /) -> Any: ...
    def xm_domain_xen(self, d: Any, /) -> Any: ...
    def xm_domain_id(self, d: Any, /) -> int: ...
    def xm_domain_alive(self, d: Any, /) -> int: ...
    def xm_domain_frames(self, d: Any, /) -> int: ...
    def xm_domain_mfn(self, d: Any, pfn: int, /) -> int: ...
    def xm_domain_shared_info(self, d: Any, /) -> int: ...
    def xm_domain_boot_frames(self, d: Any, /) -> int: ...
    def xm_domain_kernel_root(self, d: Any, /) -> int: ...
    def xm_domain_user_root(self, d: Any, /) -> int: ...
    def xm_domain_user_mode(self, d: Any, /) -> int: ...
    def xm_domain_counters(self, d: Any, /) -> Any: ...
    def xm_mmu_update(self, d: Any, reqs: Any, count: int, foreigndom: int, ret: Any, /) -> int: ...
    def xm_update_va_mapping(self, d: Any, va: int, val: int, flags: int, ret: Any, /) -> int: ...
    def xm_update_va_mapping_otherdomain(self, d: Any, va: int, val: int, flags: int, domid: int, ret: Any, /) -> int: ...
    def xm_mmuext_op(self, d: Any, ops: Any, count: int, foreigndom: int, ret: Any, /) -> int: ...
    def xm_set_gdt(self, d: Any, frames: Any, entries: int, ret: Any, /) -> int: ...
    def xm_update_descriptor(self, d: Any, pa: int, desc: int, ret: Any, /) -> int: ...
    def xm_domain_gdt_frame(self, d: Any, page: int, /) -> int: ...
    def xm_domain_ldt_frame(self, d: Any, page: int, /) -> int: ...
    def xm_vm_assist(self, d: Any, cmd: int, type: int, ret: Any, /) -> int: ...
    def xm_hypercall(self, d: Any, nr: int, args: Any, ret: Any, /) -> int: ...
    def xm_map_grant_ref(self, d: Any, op: Any, reason_ret: Any, /) -> int: ...
    def xm_unmap_grant_ref(self, d: Any, op: Any, reason_ret: Any, /) -> int: ...
    def xm_unmap_and_replace(self, d: Any, op: Any, new_addr: int, reason_ret: Any, /) -> int: ...
    def xm_grant_setup_table(self, d: Any, domid: int, nr_frames: int, frames: Any, reason_ret: Any, /) -> int: ...
    def xm_swap_grant_ref(self, d: Any, ref_a: int, ref_b: int, reason_ret: Any, /) -> int: ...
    def xm_memory_op(self, d: Any, cmd: int, r: Any, ret: Any, /) -> int: ...
    def xm_memory_exchange(self, d: Any, in_: Any, out: Any, ret: Any, /) -> int: ...
    def xm_memory_query(self, d: Any, cmd: int, domid: int, ret: Any, /) -> int: ...
    def xm_memory_physmap(self, d: Any, cmd: int, domid: int, space: int, ret: Any, /) -> int: ...
    def xm_domain_max_pages(self, d: Any, /) -> int: ...
    def xm_domain_set_max_pages(self, d: Any, pages: int, /) -> int: ...
    def xm_enter_user(self, d: Any, /) -> int: ...
    def xm_enter_kernel(self, d: Any, /) -> int: ...
    def xm_guest_load(self, d: Any, va: int, size: int, value_ret: Any, fault: Any, /) -> int: ...
    def xm_guest_store(self, d: Any, va: int, size: int, value: int, fault: Any, /) -> int: ...
    def xm_guest_fetch(self, d: Any, va: int, fault: Any, /) -> int: ...
    def xm_guest_cmpxchg(self, d: Any, va: int, size: int, expected: int, value: int, old_ret: Any, fault: Any, /) -> int: ...
    def xm_guest_load_selector(self, d: Any, selector: int, fault: Any, /) -> int: ...
    def xm_guest_walk(self, d: Any, va: int, access: int, ret: Any, /) -> int: ...
    def xm_kernel_new(self, d: Any, design: int, status_ret: Any, /) -> Any: ...
    def xm_kernel_new_native(self, m: Any, status_ret: Any, /) -> Any: ...
    def xm_kernel_free(self, k: Any, /) -> None: ...
    def xm_kernel_design(self, k: Any, /) -> int: ...
    def xm_kernel_machine(self, k: Any, /) -> Any: ...
    def xm_kernel_domain(self, k: Any, /) -> Any: ...
    def xm_kernel_panic(self, k: Any, /) -> Any: ...
    def xm_kernel_counters(self, k: Any, /) -> Any: ...
    def xm_kernel_cpu(self, k: Any, /) -> Any: ...
    def xm_kernel_root(self, k: Any, /) -> int: ...
    def xm_kernel_dummy_root(self, k: Any, /) -> int: ...
    def xm_kernel_user_l4(self, k: Any, pm: int, /) -> int: ...
    def xm_kernel_p2m(self, k: Any, pfn: int, /) -> int: ...
    def xm_kernel_free_pages(self, k: Any, /) -> int: ...
    def xm_kernel_pmaps(self, k: Any, ret: Any, n: int, /) -> int: ...
    def xm_kernel_current(self, k: Any, /) -> int: ...
    def xm_uvm_pagealloc(self, k: Any, pa_ret: Any, /) -> int: ...
    def xm_uvm_pagefree(self, k: Any, pa: int, /) -> int: ...
    def xm_pmap_zero_page(self, k: Any, pa: int, /) -> int: ...
    def xm_pmap_copy_page(self, k: Any, src: int, dst: int, /) -> int: ...
    def xm_pmap_create(self, k: Any, pm_ret: Any, /) -> int: ...
    def xm_pmap_destroy(self, k: Any, pm: int, /) -> int: ...
    def xm_pmap_enter(self, k: Any, pm: int, va: int, pa: int, prot: int, flags: int, /) -> int: ...
    def xm_pmap_extract(self, k: Any, pm: int, va: int, found_ret: Any, pa_ret: Any, /) -> int: ...
    def xm_pmap_remove(self, k: Any, pm: int, sva: int, eva: int, /) -> int: ...
    def xm_pmap_protect(self, k: Any, pm: int, sva: int, eva: int, prot: int, /) -> int: ...
    def xm_pmap_kenter_pa(self, k: Any, va: int, pa: int, prot: int, /) -> int: ...
    def xm_pmap_kremove(self, k: Any, va: int, len: int, /) -> int: ...
    def xm_kernel_fork(self, k: Any, pm: int, child_ret: Any, /) -> int: ...
    def xm_kernel_exec(self, k: Any, pm: int, /) -> int: ...
    def xm_kernel_exit(self, k: Any, pm: int, /) -> int: ...
    def xm_kernel_switch(self, k: Any, pm: int, /) -> int: ...
    def xm_user_load(self, k: Any, va: int, size: int, value_ret: Any, fault: Any, /) -> int: ...
    def xm_user_store(self, k: Any, va: int, size: int, value: int, fault: Any, /) -> int: ...
    def xm_user_fetch(self, k: Any, va: int, fault: Any, /) -> int: ...
    def xm_replay(self, k: Any, events: Any, n: int, stats: Any, /) -> int: ...
    def xm_replay_pmap(self, k: Any, pid: int, pm_ret: Any, /) -> int: ...
    def xm_invariant_name(self, invariant: int, /) -> Any: ...
    def xm_invariant_text(self, invariant: int, /) -> Any: ...
    def xm_audit(self, x: Any, ret: Any, max: int, found_ret: Any, /) -> int: ...
    def xm_audit_books(self, books: Any, ret: Any, max: int, found_ret: Any, /) -> int: ...
    def xm_audit_native(self, m: Any, roots: Any, roots_count: int, ret: Any, max: int, found_ret: Any, /) -> int: ...

ffi: Any
lib: _Lib
