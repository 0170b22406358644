"""Names of Xen's public ABI, refusals and results: the vocabulary of the floor, without a hypervisor.

Sources: xen/include/public/xen.h, xen/arch/x86/include/asm/mm.h and xen/arch/x86/mm.c, branch stable-4.17.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, NoReturn

from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument

__all__ = [
    "DOMID_COW",
    "DOMID_INVALID",
    "DOMID_IO",
    "DOMID_SELF",
    "DOMID_XEN",
    "GUEST_KERNEL",
    "INVALID_M2P_ENTRY",
    "L4_FIRST_XEN_SLOT",
    "L4_LAST_XEN_SLOT",
    "MMUEXT_CLEAR_PAGE",
    "MMUEXT_COPY_PAGE",
    "MMUEXT_FLUSH_CACHE",
    "MMUEXT_FLUSH_CACHE_GLOBAL",
    "MMUEXT_INVLPG_ALL",
    "MMUEXT_INVLPG_LOCAL",
    "MMUEXT_INVLPG_MULTI",
    "MMUEXT_MARK_SUPER",
    "MMUEXT_NEW_BASEPTR",
    "MMUEXT_NEW_USER_BASEPTR",
    "MMUEXT_PIN_L1_TABLE",
    "MMUEXT_PIN_L2_TABLE",
    "MMUEXT_PIN_L3_TABLE",
    "MMUEXT_PIN_L4_TABLE",
    "MMUEXT_SET_LDT",
    "MMUEXT_TLB_FLUSH_ALL",
    "MMUEXT_TLB_FLUSH_LOCAL",
    "MMUEXT_TLB_FLUSH_MULTI",
    "MMUEXT_UNMARK_SUPER",
    "MMUEXT_UNPIN_TABLE",
    "MMU_MACHPHYS_UPDATE",
    "MMU_NORMAL_PT_UPDATE",
    "MMU_PT_UPDATE_NO_TRANSLATE",
    "MMU_PT_UPDATE_PRESERVE_AD",
    "MMU_UPDATE_PREEMPTED",
    "OWNER_NONE",
    "RO_MPT_VIRT_START",
    "UVMF_ALL",
    "UVMF_INVLPG",
    "UVMF_NONE",
    "UVMF_TLB_FLUSH",
    "VMASST_DISABLE",
    "VMASST_ENABLE",
    "VMASST_M2P_STRICT",
    "VMASST_WRITABLE_PAGETABLES",
    "XENMAPSPACE_GMFN",
    "XENMAPSPACE_GMFN_FOREIGN",
    "XENMAPSPACE_GMFN_RANGE",
    "XENMAPSPACE_GRANT_TABLE",
    "XENMAPSPACE_SHARED_INFO",
    "Counters",
    "FrameInfo",
    "GNTMAP_application_map",
    "GNTMAP_contains_pte",
    "GNTMAP_device_map",
    "GNTMAP_host_map",
    "GNTMAP_readonly",
    "GNTTABOP_get_version",
    "GNTTABOP_map_grant_ref",
    "GNTTABOP_query_size",
    "GNTTABOP_set_version",
    "GNTTABOP_setup_table",
    "GNTTABOP_swap_grant_ref",
    "GNTTABOP_unmap_and_replace",
    "GNTTABOP_unmap_grant_ref",
    "GTF_permit_access",
    "GTF_reading",
    "GTF_readonly",
    "GTF_writing",
    "GrantResult",
    "HYPERVISOR_grant_table_op",
    "HYPERVISOR_memory_op",
    "HYPERVISOR_mmu_update",
    "HYPERVISOR_mmuext_op",
    "HYPERVISOR_multicall",
    "HYPERVISOR_update_va_mapping",
    "HYPERVISOR_update_va_mapping_otherdomain",
    "HYPERVISOR_vm_assist",
    "Held",
    "MemoryResult",
    "MmuextOp",
    "Options",
    "PageType",
    "Reason",
    "Result",
]

DOMID_SELF: int = lib.XM_DOMID_SELF
DOMID_IO: int = lib.XM_DOMID_IO
DOMID_XEN: int = lib.XM_DOMID_XEN
DOMID_COW: int = lib.XM_DOMID_COW
DOMID_INVALID: int = lib.XM_DOMID_INVALID
#: ``FrameInfo.owner`` of a frame that no domain owns: free, or Xen's own.
OWNER_NONE: int = lib.XM_OWNER_NONE

# Commands of mmu_update, in the low bits of a request's ptr.
MMU_NORMAL_PT_UPDATE: int = lib.XM_MMU_NORMAL_PT_UPDATE
MMU_MACHPHYS_UPDATE: int = lib.XM_MMU_MACHPHYS_UPDATE
MMU_PT_UPDATE_PRESERVE_AD: int = lib.XM_MMU_PT_UPDATE_PRESERVE_AD
MMU_PT_UPDATE_NO_TRANSLATE: int = lib.XM_MMU_PT_UPDATE_NO_TRANSLATE
#: Bit 31 of mmu_update's and mmuext_op's count: a continued call.
MMU_UPDATE_PREEMPTED = 0x80000000

MMUEXT_PIN_L1_TABLE: int = lib.XM_MMUEXT_PIN_L1_TABLE
MMUEXT_PIN_L2_TABLE: int = lib.XM_MMUEXT_PIN_L2_TABLE
MMUEXT_PIN_L3_TABLE: int = lib.XM_MMUEXT_PIN_L3_TABLE
MMUEXT_PIN_L4_TABLE: int = lib.XM_MMUEXT_PIN_L4_TABLE
MMUEXT_UNPIN_TABLE: int = lib.XM_MMUEXT_UNPIN_TABLE
MMUEXT_NEW_BASEPTR: int = lib.XM_MMUEXT_NEW_BASEPTR
MMUEXT_TLB_FLUSH_LOCAL: int = lib.XM_MMUEXT_TLB_FLUSH_LOCAL
MMUEXT_INVLPG_LOCAL: int = lib.XM_MMUEXT_INVLPG_LOCAL
MMUEXT_TLB_FLUSH_MULTI: int = lib.XM_MMUEXT_TLB_FLUSH_MULTI
MMUEXT_INVLPG_MULTI: int = lib.XM_MMUEXT_INVLPG_MULTI
MMUEXT_TLB_FLUSH_ALL: int = lib.XM_MMUEXT_TLB_FLUSH_ALL
MMUEXT_INVLPG_ALL: int = lib.XM_MMUEXT_INVLPG_ALL
MMUEXT_FLUSH_CACHE: int = lib.XM_MMUEXT_FLUSH_CACHE
MMUEXT_SET_LDT: int = lib.XM_MMUEXT_SET_LDT
MMUEXT_NEW_USER_BASEPTR: int = lib.XM_MMUEXT_NEW_USER_BASEPTR
MMUEXT_CLEAR_PAGE: int = lib.XM_MMUEXT_CLEAR_PAGE
MMUEXT_COPY_PAGE: int = lib.XM_MMUEXT_COPY_PAGE
MMUEXT_FLUSH_CACHE_GLOBAL: int = lib.XM_MMUEXT_FLUSH_CACHE_GLOBAL
MMUEXT_MARK_SUPER: int = lib.XM_MMUEXT_MARK_SUPER
MMUEXT_UNMARK_SUPER: int = lib.XM_MMUEXT_UNMARK_SUPER

UVMF_NONE: int = lib.XM_UVMF_NONE
UVMF_TLB_FLUSH: int = lib.XM_UVMF_TLB_FLUSH
UVMF_INVLPG: int = lib.XM_UVMF_INVLPG
UVMF_ALL: int = lib.XM_UVMF_ALL

VMASST_ENABLE: int = lib.XM_VMASST_ENABLE
VMASST_DISABLE: int = lib.XM_VMASST_DISABLE
VMASST_WRITABLE_PAGETABLES: int = lib.XM_VMASST_WRITABLE_PAGETABLES
VMASST_M2P_STRICT: int = lib.XM_VMASST_M2P_STRICT

# Numbers of hypercalls (xen/include/public/xen.h) that Domain.hypercall() makes.
HYPERVISOR_mmu_update = 1
HYPERVISOR_memory_op = 12
HYPERVISOR_multicall = 13
HYPERVISOR_update_va_mapping = 14
HYPERVISOR_grant_table_op = 20
HYPERVISOR_vm_assist = 21
HYPERVISOR_update_va_mapping_otherdomain = 22
HYPERVISOR_mmuext_op = 26

# Commands of grant_table_op and flags of a mapping (xen/include/public/grant_table.h).
GNTTABOP_map_grant_ref: int = lib.XM_GNTTABOP_MAP_GRANT_REF
GNTTABOP_unmap_grant_ref: int = lib.XM_GNTTABOP_UNMAP_GRANT_REF
GNTTABOP_setup_table: int = lib.XM_GNTTABOP_SETUP_TABLE
GNTTABOP_query_size: int = lib.XM_GNTTABOP_QUERY_SIZE
GNTTABOP_unmap_and_replace: int = lib.XM_GNTTABOP_UNMAP_AND_REPLACE
GNTTABOP_set_version: int = lib.XM_GNTTABOP_SET_VERSION
GNTTABOP_get_version: int = lib.XM_GNTTABOP_GET_VERSION
GNTTABOP_swap_grant_ref: int = lib.XM_GNTTABOP_SWAP_GRANT_REF
GNTMAP_device_map: int = lib.XM_GNTMAP_DEVICE_MAP
GNTMAP_host_map: int = lib.XM_GNTMAP_HOST_MAP
GNTMAP_readonly: int = lib.XM_GNTMAP_READONLY
GNTMAP_application_map: int = lib.XM_GNTMAP_APPLICATION_MAP
GNTMAP_contains_pte: int = lib.XM_GNTMAP_CONTAINS_PTE
# Flags of an entry of a grant table.
GTF_permit_access: int = lib.XM_GTF_PERMIT_ACCESS
GTF_readonly: int = lib.XM_GTF_READONLY
GTF_reading: int = lib.XM_GTF_READING
GTF_writing: int = lib.XM_GTF_WRITING
# What XENMEM_add_to_physmap would map.
XENMAPSPACE_SHARED_INFO: int = lib.XM_MAPSPACE_SHARED_INFO
XENMAPSPACE_GRANT_TABLE: int = lib.XM_MAPSPACE_GRANT_TABLE
XENMAPSPACE_GMFN: int = lib.XM_MAPSPACE_GMFN
XENMAPSPACE_GMFN_RANGE: int = lib.XM_MAPSPACE_GMFN_RANGE
XENMAPSPACE_GMFN_FOREIGN: int = lib.XM_MAPSPACE_GMFN_FOREIGN

#: Bit 52 of an L1 entry: the guest kernel wrote it without U, and Xen added U (_PAGE_GUEST_KERNEL).
GUEST_KERNEL: int = lib.XM_PTE_GUEST_KERNEL
#: L4 slots from the first to the last, inclusive, are Xen's in every L4.
L4_FIRST_XEN_SLOT: int = lib.XM_L4_FIRST_XEN_SLOT
L4_LAST_XEN_SLOT: int = lib.XM_L4_LAST_XEN_SLOT
#: Linear address of the read-only machine-to-physical table, an array of 64-bit words by mfn.
RO_MPT_VIRT_START: int = lib.XM_RO_MPT_VIRT_START
#: What the M2P holds for a frame without a pseudo-physical address.
INVALID_M2P_ENTRY = (1 << 64) - 1


def _names(enum: str, prefix: str, last: str) -> dict[str, int]:
    """The enumerators of a C enum by lower-case name, without the closing one that counts them."""
    elements: dict[int, str] = ffi.typeof(f"enum {enum}").elements
    return {name.removeprefix(prefix).lower(): value for value, name in elements.items() if name != last}


_VERSIONS: dict[str, int] = {"4.17": lib.XM_XEN_4_17, "3.1": lib.XM_XEN_3_1}
_MUTANTS = dict(sorted(_names("xm_mutant", "XM_MUT_", "XM_MUT_KINDS").items(), key=operator.itemgetter(1)))


class Reason(IntEnum):
    """Why Xen refused: the rule, finer than the error number that it comes with (``xm_reason`` of the C header)."""

    NONE = lib.XM_R_NONE
    FOREIGNDOM_OWN_ID = lib.XM_R_FOREIGNDOM_OWN_ID
    FOREIGNDOM_UNKNOWN = lib.XM_R_FOREIGNDOM_UNKNOWN
    PT_OWNER_UNKNOWN = lib.XM_R_PT_OWNER_UNKNOWN
    BAD_HANDLE = lib.XM_R_BAD_HANDLE
    UNKNOWN_COMMAND = lib.XM_R_UNKNOWN_COMMAND
    NOT_SUPPORTED = lib.XM_R_NOT_SUPPORTED
    NO_PRIVILEGE = lib.XM_R_NO_PRIVILEGE
    PTR_NOT_OWNED = lib.XM_R_PTR_NOT_OWNED
    PTR_TYPE = lib.XM_R_PTR_TYPE
    PT_UPDATE_FOREIGNDOM = lib.XM_R_PT_UPDATE_FOREIGNDOM
    L4_SLOT_RESERVED = lib.XM_R_L4_SLOT_RESERVED
    MACHPHYS_FOREIGN_PT = lib.XM_R_MACHPHYS_FOREIGN_PT
    MACHPHYS_NOT_OWNED = lib.XM_R_MACHPHYS_NOT_OWNED
    L1_FLAGS = lib.XM_R_L1_FLAGS
    L2_FLAGS = lib.XM_R_L2_FLAGS
    L3_FLAGS = lib.XM_R_L3_FLAGS
    L4_FLAGS = lib.XM_R_L4_FLAGS
    MMIO_NOT_PERMITTED = lib.XM_R_MMIO_NOT_PERMITTED
    MMIO_INVALID_MFN = lib.XM_R_MMIO_INVALID_MFN
    L1_NOT_OWNED = lib.XM_R_L1_NOT_OWNED
    L1_RW_TYPE_CONFLICT = lib.XM_R_L1_RW_TYPE_CONFLICT
    L1_CACHE_ATTRIBUTE = lib.XM_R_L1_CACHE_ATTRIBUTE
    TABLE_NOT_OWNED = lib.XM_R_TABLE_NOT_OWNED
    TYPE_CONFLICT = lib.XM_R_TYPE_CONFLICT
    TYPE_COUNT_OVERFLOW = lib.XM_R_TYPE_COUNT_OVERFLOW
    DESCRIPTOR = lib.XM_R_DESCRIPTOR
    LINEAR_DISABLED = lib.XM_R_LINEAR_DISABLED
    LINEAR_WRITABLE = lib.XM_R_LINEAR_WRITABLE
    LINEAR_HOLDER_IS_USED = lib.XM_R_LINEAR_HOLDER_IS_USED
    LINEAR_TARGET_HOLDS = lib.XM_R_LINEAR_TARGET_HOLDS
    VA_NOT_GUEST = lib.XM_R_VA_NOT_GUEST
    VA_NO_TABLE = lib.XM_R_VA_NO_TABLE
    VA_L1_NOT_OWNED = lib.XM_R_VA_L1_NOT_OWNED
    VA_L1_NOT_VALIDATED = lib.XM_R_VA_L1_NOT_VALIDATED
    FLUSH_BITMAP = lib.XM_R_FLUSH_BITMAP
    MMUEXT_FOREIGN = lib.XM_R_MMUEXT_FOREIGN
    MMUEXT_NOT_OWNED = lib.XM_R_MMUEXT_NOT_OWNED
    ALREADY_PINNED = lib.XM_R_ALREADY_PINNED
    NOT_PINNED = lib.XM_R_NOT_PINNED
    VCPU_BITMAP = lib.XM_R_VCPU_BITMAP
    NOT_WRITABLE = lib.XM_R_NOT_WRITABLE
    CACHE_NOT_PERMITTED = lib.XM_R_CACHE_NOT_PERMITTED
    CACHE_GLOBAL_NOT_PERMITTED = lib.XM_R_CACHE_GLOBAL_NOT_PERMITTED
    LDT = lib.XM_R_LDT
    GDT_ENTRIES = lib.XM_R_GDT_ENTRIES
    GDT_NOT_OWNED = lib.XM_R_GDT_NOT_OWNED
    DESCRIPTOR_UNALIGNED = lib.XM_R_DESCRIPTOR_UNALIGNED
    DESCRIPTOR_NOT_OWNED = lib.XM_R_DESCRIPTOR_NOT_OWNED
    DESCRIPTOR_BUSY = lib.XM_R_DESCRIPTOR_BUSY
    ASSIST = lib.XM_R_ASSIST
    MULTICALL_NESTED = lib.XM_R_MULTICALL_NESTED
    GRANT_COUNT = lib.XM_R_GRANT_COUNT
    GRANT_VERSION = lib.XM_R_GRANT_VERSION
    # These are no errors of a hypercall: they come with the status of one request.
    GRANT_FLAGS = lib.XM_R_GRANT_FLAGS
    GRANT_DOMAIN = lib.XM_R_GRANT_DOMAIN
    GRANT_PERMISSION = lib.XM_R_GRANT_PERMISSION
    GRANT_NO_HANDLE = lib.XM_R_GRANT_NO_HANDLE
    GRANT_REF = lib.XM_R_GRANT_REF
    GRANT_ENTRY = lib.XM_R_GRANT_ENTRY
    GRANT_NOT_FOR_CALLER = lib.XM_R_GRANT_NOT_FOR_CALLER
    GRANT_READONLY = lib.XM_R_GRANT_READONLY
    GRANT_PINS = lib.XM_R_GRANT_PINS
    GRANT_PAGE = lib.XM_R_GRANT_PAGE
    GRANT_PAGE_GONE = lib.XM_R_GRANT_PAGE_GONE
    GRANT_TYPE = lib.XM_R_GRANT_TYPE
    GRANT_PTE = lib.XM_R_GRANT_PTE
    GRANT_MISMATCH = lib.XM_R_GRANT_MISMATCH
    GRANT_HANDLE = lib.XM_R_GRANT_HANDLE
    GRANT_DEV_ADDR = lib.XM_R_GRANT_DEV_ADDR
    GRANT_FRAMES = lib.XM_R_GRANT_FRAMES
    GRANT_FRAME_LIST = lib.XM_R_GRANT_FRAME_LIST
    GRANT_IN_USE = lib.XM_R_GRANT_IN_USE
    DOMID_UNKNOWN = lib.XM_R_DOMID_UNKNOWN
    EXTENTS = lib.XM_R_EXTENTS
    EXTENT_ORDER = lib.XM_R_EXTENT_ORDER
    ADDRESS_BITS = lib.XM_R_ADDRESS_BITS
    MAX_PAGES = lib.XM_R_MAX_PAGES
    NO_MEMORY = lib.XM_R_NO_MEMORY
    MFN_INVALID = lib.XM_R_MFN_INVALID
    PAGE_NOT_OWNED = lib.XM_R_PAGE_NOT_OWNED
    EXCHANGE_SIZES = lib.XM_R_EXCHANGE_SIZES
    EXCHANGE_IN_USE = lib.XM_R_EXCHANGE_IN_USE
    NOT_TRANSLATED = lib.XM_R_NOT_TRANSLATED
    MEMORY_NODE = lib.XM_R_MEMORY_NODE
    POPULATE_ON_DEMAND = lib.XM_R_POPULATE_ON_DEMAND
    START_EXTENT = lib.XM_R_START_EXTENT
    PHYSMAP_START = lib.XM_R_PHYSMAP_START
    #: Not Xen's: what the frame holds is not in the image that the hypervisor was taken from.
    NOT_CAPTURED = lib.XM_R_NOT_CAPTURED

    @property
    def text(self) -> str:
        """The rule in one sentence."""
        return str(ffi.string(lib.xm_reason_text(self.value)), "ascii")

    @property
    def errno(self) -> int:
        """Xen's error number for this refusal, positive; ``Result.rc`` is its negative."""
        number: int = lib.xm_reason_errno(self.value)
        return number


_REASONS: tuple[Reason, ...] = tuple(sorted(Reason))


class PageType(IntEnum):
    """The type of a frame: bits 63..61 of ``type_info`` (PGT_* of asm/mm.h)."""

    NONE = lib.XM_PGT_NONE
    L1 = lib.XM_PGT_L1
    L2 = lib.XM_PGT_L2
    L3 = lib.XM_PGT_L3
    L4 = lib.XM_PGT_L4
    SEG_DESC = lib.XM_PGT_SEG_DESC
    SHARED = lib.XM_PGT_SHARED
    WRITABLE = lib.XM_PGT_WRITABLE


_PAGE_TYPES: tuple[PageType, ...] = tuple(sorted(PageType))


class FrameInfo(NamedTuple):
    """What Xen's books say about one frame (struct page_info)."""

    #: Domain id of the owner, DOMID_IO, DOMID_XEN, or OWNER_NONE.
    owner: int
    type: PageType
    #: References that hold the type; the type lingers when it is 0.
    type_count: int
    #: General references, the one of the allocation included.
    count: int  # type: ignore[assignment]  # Xen's word, not tuple.count
    #: PGC_allocated: the domain still owns the frame by allocation.
    allocated: bool
    #: PGC_xen_heap: Xen's own memory, shared with the domain.
    xen_heap: bool
    pinned: bool
    validated: bool
    partial: bool
    #: Above 0: linear entries the table holds; below 0: tables that use it linearly (linear_pt_count).
    linear_count: int
    #: The two words as Xen prints them (caf and taf).
    count_info: int
    type_info: int


class Result(NamedTuple):
    """The outcome of a hypercall."""

    #: 0, or Xen's error number negated (Linux numbering).
    rc: int
    #: Elements of a batch completed.
    done: int
    #: The rule that refused; NONE when nothing was refused.
    reason: Reason
    #: The frame the refusal was about, the level of the table (0: none) and the slot being looked at.
    mfn: int = 0
    level: int = 0
    slot: int = 0


class MemoryResult(NamedTuple):
    """The outcome of a hypercall that gives out frames."""

    #: What Xen returns: of a reservation the number of extents done, of an exchange 0 or the error number negated.
    rc: int
    #: Extents completed; of an exchange, of its input.
    done: int
    #: The rule that stopped it; NONE when everything was done.
    reason: Reason
    #: The first frames of the new extents, in order.
    mfns: tuple[int, ...] = ()
    #: The frame that the refusal was about.
    mfn: int = 0


class MmuextOp(NamedTuple):
    """One element of mmuext_op: ``arg1`` is an mfn or a linear address, ``arg2`` a number, a source mfn or a bitmap."""

    cmd: int
    arg1: int = 0
    arg2: int = 0


class Counters(dict[str, int]):
    """What a domain asked of Xen and what Xen did for it: a plain mapping of name to count.

    Names are the fields of ``struct xm_counters``; the elements of mmuext_op stand under the name of their command,
    such as ``MMUEXT_PIN_L4_TABLE``.  The difference of two is what happened in between.
    """

    def __sub__(self, earlier: Counters) -> Counters:
        return Counters({name: count - earlier.get(name, 0) for name, count in self.items()})


_MMUEXT_NAMES = {value: name for name, value in list(globals().items()) if name.startswith("MMUEXT_")}
_COUNTER_NAMES = tuple(name for name, _ in ffi.typeof("struct xm_counters").fields if name != "mmuext")


def _bad(call: str, error: Exception) -> NoReturn:
    raise BadArgument(f"{call}: {error}") from None


@dataclass(frozen=True, slots=True)
class Options:
    """How the modelled Xen is configured.

    ``pv_linear_pt``: Xen's boot option of that name, on by default.  ``tlb``: translations stay until they are
    flushed.  ``global_pages``: CR4.PGE is on while guests run, so that entries with G survive a change of root (off on
    AMD under another hypervisor).  ``mutants``: names of deliberate bugs, see ``Options.known_mutants()``; an unknown
    one is BadArgument.  ``a_on_fault``: the accessed flags that a page fault leaves set, "none" or "upper" (see
    ``Cpu``).  ``version``: "4.17", which is compared with the real one, or "3.1", the Xen of 2007, **not refereed**:
    its rules are read from its source, no hypervisor of that age was asked.  docs/xen-3.1.md has the differences.
    """

    pv_linear_pt: bool = True
    tlb: bool = False
    global_pages: bool = False
    mutants: tuple[str, ...] = ()
    a_on_fault: str = "none"
    version: str = "4.17"

    def __post_init__(self) -> None:
        for name in ("pv_linear_pt", "tlb", "global_pages"):
            if not isinstance(getattr(self, name), bool):
                raise BadArgument(f"option {name} is {getattr(self, name)!r}, not True or False")
        if self.a_on_fault not in ("none", "upper"):
            raise BadArgument(f"option a_on_fault is {self.a_on_fault!r}, not 'none' or 'upper'")
        if not isinstance(self.version, str) or self.version not in _VERSIONS:
            raise BadArgument(f"version is {self.version!r}; known: {', '.join(_VERSIONS)}")
        if isinstance(self.mutants, str) or not isinstance(self.mutants, Iterable):
            raise BadArgument(f"mutants is {self.mutants!r}, not a collection of names")
        mutants = tuple(self.mutants)
        for name in mutants:
            if name not in _MUTANTS:
                raise BadArgument(f"unknown mutant {name!r}; known: {', '.join(self.known_mutants())}")
        object.__setattr__(self, "mutants", mutants)

    @staticmethod
    def known_mutants() -> tuple[str, ...]:
        """Return the names that ``mutants`` may hold."""
        return tuple(_MUTANTS)


class Held(NamedTuple):
    """References on frame ``mfn`` for a hypercall: SEG_DESC a page of set_gdt, WRITABLE a registered page."""

    mfn: int
    type: PageType
    #: General references, and as many type references.
    count: int  # type: ignore[assignment]  # Xen's word, not tuple.count


class GrantResult(NamedTuple):
    """What became of one request of grant_table_op: ``status`` is 0 or one of Xen's negative GNTST numbers."""

    status: int
    reason: Reason
    #: Of a mapping: what unmaps it; -1 for none.
    handle: int = -1
    #: Of a mapping: the frame's machine address.
    dev_bus_addr: int = 0
