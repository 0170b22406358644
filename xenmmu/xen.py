"""Floor 2: Xen 4.17's PV MMU, its domains, frame types and counts, hypercalls, roots and faults.

Names and encodings are those of Xen's public headers (xen/include/public/xen.h) and of xen/arch/x86/mm.c and
xen/arch/x86/include/asm/mm.h, branch stable-4.17.  A refusal by Xen is a value, :class:`Result`, whose ``rc`` is Xen's
error number and whose ``reason`` names the rule; exceptions are for misuse of this library, and for the faults of
``load``, ``store`` and ``fetch``.

It does not know what a guest does with its tables.
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, NoReturn

from xenmmu._core import ffi, lib
from xenmmu.elfcore import BadImage, Core
from xenmmu.errors import BadArgument, BadState, GeneralProtection, OutOfRange, PageFault, fail
from xenmmu.machine import Machine
from xenmmu.x86 import _BY_USER, Cpu, Walk, _bad_access, _result

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
    PTR_BUSY = lib.XM_R_PTR_BUSY
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
    TYPE_PARTIAL = lib.XM_R_TYPE_PARTIAL
    DESCRIPTOR = lib.XM_R_DESCRIPTOR
    LINEAR_DISABLED = lib.XM_R_LINEAR_DISABLED
    LINEAR_WRITABLE = lib.XM_R_LINEAR_WRITABLE
    LINEAR_NOT_OWNED = lib.XM_R_LINEAR_NOT_OWNED
    LINEAR_HOLDER_IS_USED = lib.XM_R_LINEAR_HOLDER_IS_USED
    LINEAR_TARGET_HOLDS = lib.XM_R_LINEAR_TARGET_HOLDS
    LINEAR_NOT_VALIDATED = lib.XM_R_LINEAR_NOT_VALIDATED
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
    ASSIST = lib.XM_R_ASSIST
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
_TYPE_SHIFT: int = lib.XM_PGT_TYPE_SHIFT
_TYPE_COUNT: int = lib.XM_PGT_COUNT_MASK
_PINNED: int = lib.XM_PGT_PINNED
_VALIDATED: int = lib.XM_PGT_VALIDATED
_PARTIAL: int = lib.XM_PGT_PARTIAL
_COUNT: int = lib.XM_PGC_COUNT_MASK
_ALLOCATED: int = lib.XM_PGC_ALLOCATED
_XEN_HEAP: int = lib.XM_PGC_XEN_HEAP
# Bytes of a struct page_info in memory.
_RECORD = 32


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
    one is BadArgument.
    """

    pv_linear_pt: bool = True
    tlb: bool = False
    global_pages: bool = False
    mutants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("pv_linear_pt", "tlb", "global_pages"):
            if not isinstance(getattr(self, name), bool):
                raise BadArgument(f"option {name} is {getattr(self, name)!r}, not True or False")
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


def captured_frames(machine: Machine, cr3: int) -> int:
    """The number of frames that the Xen under this CR3 keeps records of, read from its address space; 0: no Xen there.

    Raises OutOfRange when a table on the way is missing from the machine.
    """
    start: int = lib.XM_FRAMETABLE_VIRT_START
    end = start
    cpu = Cpu(machine, cr3=cr3 & lib.XM_PTE_ADDR, vendor="amd", maxphyaddr=52)
    for leaf in cpu.mappings(start, lib.XM_FRAMETABLE_VIRT_END - 1):
        end = leaf.va + leaf.size
    return (end - start) // _RECORD


def _c_options(options: Options) -> Any:
    given = ffi.new("struct xm_xen_options *")
    given.mutants = functools.reduce(int.__or__, (1 << _MUTANTS[name] for name in options.mutants), 0)
    given.pv_linear_pt = options.pv_linear_pt
    given.tlb = options.tlb
    given.global_pages = options.global_pages
    return given


class Hypervisor:
    """Xen on a machine: its frame table, machine-to-physical table and own page tables.

    The first 256 frames belong to DOMID_IO, Xen's own lie at the top.  Raises BadArgument when `machine` is no
    Machine, OutOfFrames when it is too small, BadState when it is larger than 256 GiB.
    """

    __slots__ = ("__weakref__", "_c", "_machine", "_options")

    def __init__(self, machine: Machine, options: Options | None = None) -> None:
        if not isinstance(machine, Machine):
            raise BadArgument(f"machine is {machine!r}, not a Machine")
        options = Options() if options is None else options
        if not isinstance(options, Options):
            raise BadArgument(f"options is {options!r}, not an xen.Options")
        status = ffi.new("int *")
        c = lib.xm_xen_new(machine._c, _c_options(options), status)
        if c == ffi.NULL:
            fail(status[0], f"Hypervisor on {machine!r}")
        self._machine = machine
        self._options = options
        self._c: Any = ffi.gc(c, lib.xm_xen_free)

    @classmethod
    def from_image(cls, path: str | os.PathLike[str] | Core, options: Options | None = None) -> Hypervisor:
        """Take over a captured Xen 4.17 with one PV domain, dom0: its tables, types, counts, roots and M2P.

        `path` is an ELF core file with the memory and the registers (perhaps compressed by xz), or a Core.  The domain
        is ``domains[0]``; hypercalls work on it as they would have on the captured system.  What the image does not
        hold is missing, not zero: validating such a frame is refused with NOT_CAPTURED, an access to it is OutOfRange.
        Without the M2P in the image ``m2p()`` is INVALID_M2P_ENTRY and the domain has no ``mfns``.  No new domain can
        be made.  Raises BadImage when the file is no image, or no such Xen can be found in it.
        """
        options = Options() if options is None else options
        if not isinstance(options, Options):
            raise BadArgument(f"options is {options!r}, not an xen.Options")
        core = path if isinstance(path, Core) else Core(path)
        if core.registers is None:
            raise BadImage(f"{core.path}: no note says what CR3 is")
        machine = core.machine()
        try:
            top = captured_frames(machine, core.registers.cr3)
        except OutOfRange as error:
            raise BadImage(f"{core.path}: does not hold memory that is needed: {error}") from None
        if not top:
            raise BadImage(f"{core.path}: no frame table of a Xen is mapped")
        if top > machine.frames:
            machine = core.machine(top)
        status, mfn = ffi.new("int *"), ffi.new("uint64_t *")
        c = lib.xm_xen_adopt(machine._c, _c_options(options), core.registers.cr3, status, mfn)
        if c == ffi.NULL:
            where = "" if mfn[0] == INVALID_M2P_ENTRY else f" (frame {mfn[0]:#x})"
            if status[0] == lib.XM_E_RANGE:
                raise BadImage(f"{core.path}: does not hold memory that is needed{where}")
            if status[0] == lib.XM_E_STATE:
                raise BadImage(f"{core.path}: not the state of a Xen 4.17 with one PV domain{where}")
            fail(status[0], f"from_image({core.path})")
        self = cls.__new__(cls)
        self._machine = machine
        self._options = options
        self._c = ffi.gc(c, lib.xm_xen_free)
        return self

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The live domains, by number."""
        n = lib.xm_xen_roots(self._c, ffi.NULL, 0)
        roots = ffi.new("struct xm_root[]", n)
        lib.xm_xen_roots(self._c, roots, n)
        return tuple(Domain(self, lib.xm_xen_domain(self._c, root.domid)) for root in roots)

    @property
    def held(self) -> tuple[Held, ...]:
        """References that Xen holds otherwise than by tables, pins and roots; what a captured system had of them."""
        n = lib.xm_xen_held(self._c, ffi.NULL, 0)
        held = ffi.new("struct xm_held[]", n)
        lib.xm_xen_held(self._c, held, n)
        return tuple(Held(h.mfn, _PAGE_TYPES[h.type], h.count) for h in held)

    def __repr__(self) -> str:
        return f"Hypervisor({self._machine!r}, {self._options!r})"

    @property
    def machine(self) -> Machine:
        """The machine it runs on."""
        return self._machine

    @property
    def options(self) -> Options:
        """The options it was made with."""
        return self._options

    @property
    def free_frames(self) -> int:
        """Free frames that a new domain could have."""
        n: int = lib.xm_xen_free_frames(self._c)
        return n

    def create_domain(self, frames: int = 256, privileged: bool = True) -> Domain:
        """Make a PV domain of `frames` frames with boot tables as Xen's builder makes them.

        A privileged one is the hardware domain: it may map device memory, and Xen emulates its stores to page tables
        without the writable_pagetables assist.  Raises OutOfFrames when too few are free or too few for the boot
        tables; then nothing has changed.
        """
        if not isinstance(privileged, bool):
            raise BadArgument(f"privileged is {privileged!r}, not True or False")
        status = ffi.new("int *")
        try:
            c = lib.xm_domain_new(self._c, frames, lib.XM_DOM_PRIVILEGED if privileged else 0, status)
        except (OverflowError, TypeError) as error:
            _bad(f"create_domain({frames!r})", error)
        if c == ffi.NULL:
            fail(status[0], f"create_domain({frames})")
        return Domain(self, c)

    def frame_info(self, mfn: int) -> FrameInfo:
        """Return what Xen's books say about frame `mfn`; OutOfRange when the machine does not have it."""
        out = ffi.new("struct xm_frame *")
        try:
            status = lib.xm_xen_frame(self._c, mfn, out)
        except (OverflowError, TypeError) as error:
            _bad(f"frame_info({mfn!r})", error)
        if status:
            fail(status, f"frame_info({mfn:#x})")
        count_info: int = out.count_info
        type_info: int = out.type_info
        return FrameInfo(
            owner=out.owner,
            type=_PAGE_TYPES[type_info >> _TYPE_SHIFT],
            type_count=type_info & _TYPE_COUNT,
            count=count_info & _COUNT,
            allocated=count_info & _ALLOCATED != 0,
            xen_heap=count_info & _XEN_HEAP != 0,
            pinned=type_info & _PINNED != 0,
            validated=type_info & _VALIDATED != 0,
            partial=type_info & _PARTIAL != 0,
            linear_count=out.linear_pt_count,
            count_info=count_info,
            type_info=type_info,
        )

    def m2p(self, mfn: int) -> int:
        """Return the machine-to-physical entry of `mfn`; INVALID_M2P_ENTRY where there is none."""
        try:
            pfn: int = lib.xm_xen_m2p(self._c, mfn)
        except (OverflowError, TypeError) as error:
            _bad(f"m2p({mfn!r})", error)
        return pfn


#: One entry of a multicall: the name of the hypercall, then its positional arguments.
Call = tuple[Any, ...]


class Domain:
    """A PV domain and its only virtual processor; made by :meth:`Hypervisor.create_domain`.

    A hypercall is issued by the guest kernel: in user mode it is BadState.  Request arrays are the emulated guest's
    memory in the host's: they are always readable, so that the refusals of a bad guest address cannot occur.
    """

    __slots__ = ("__weakref__", "_c", "_fault", "_hv", "_mfns", "_result", "_walk")

    def __init__(self, hypervisor: Hypervisor, c: Any) -> None:
        # The C domain lives as long as its hypervisor.
        self._hv = hypervisor
        self._c = c
        self._result: Any = ffi.new("struct xm_result *")
        self._fault: Any = ffi.new("struct xm_guest_fault *")
        self._walk: Any = ffi.new("struct xm_walk *")
        self._mfns: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"Domain({lib.xm_domain_id(self._c)})" if lib.xm_domain_alive(self._c) else "Domain(rolled back)"

    def _alive(self) -> Any:
        if not lib.xm_domain_alive(self._c):
            raise BadState("the creation of this domain was rolled back")
        return self._c

    @property
    def hypervisor(self) -> Hypervisor:
        """The hypervisor it runs on."""
        return self._hv

    @property
    def domid(self) -> int:
        """Its domain id."""
        domid: int = lib.xm_domain_id(self._alive())
        return domid

    @property
    def mfns(self) -> tuple[int, ...]:
        """Its machine frame numbers, by pseudo-physical frame number, as they were allocated."""
        c = self._alive()
        if self._mfns is None:
            self._mfns = tuple(lib.xm_domain_mfn(c, pfn) for pfn in range(lib.xm_domain_frames(c)))
        return self._mfns

    @property
    def boot_frames(self) -> int:
        """Pseudo-physical frames below this are mapped by the boot tables, the tables among them read-only."""
        n: int = lib.xm_domain_boot_frames(self._alive())
        return n

    @property
    def kernel_root(self) -> int:
        """Frame of the L4 that is loaded in kernel mode."""
        mfn: int = lib.xm_domain_kernel_root(self._alive())
        return mfn

    @property
    def user_root(self) -> int:
        """Frame of the L4 that is loaded in user mode; 0 for none."""
        mfn: int = lib.xm_domain_user_root(self._alive())
        return mfn

    @property
    def user_mode(self) -> bool:
        """Whether the guest is in user mode."""
        return bool(lib.xm_domain_user_mode(self._alive()))

    @property
    def shared_info(self) -> int:
        """Frame of its shared_info page."""
        mfn: int = lib.xm_domain_shared_info(self._alive())
        return mfn

    @property
    def counters(self) -> Counters:
        """What it asked of Xen so far, and what Xen did for it."""
        c = lib.xm_domain_counters(self._alive())
        counters = Counters({name: getattr(c, name) for name in _COUNTER_NAMES})
        for cmd, name in _MMUEXT_NAMES.items():
            counters[name] = c.mmuext[cmd]
        return counters

    # ---- hypercalls

    def _outcome(self, status: int, what: str) -> Result:
        if status:
            fail(status, what)
        r = self._result
        reason = r.reason
        if not reason:
            return Result(r.rc, r.done, Reason.NONE)
        return Result(r.rc, r.done, _REASONS[reason], r.mfn, r.level, r.slot)

    def mmu_update(self, reqs: Any, foreigndom: int = DOMID_SELF, *, count: int | None = None, done: int = 0) -> Result:
        """HYPERVISOR_mmu_update: requests in order, stopping at the first refused one; earlier ones stay applied.

        `reqs` is a list or tuple of (ptr, val), or a contiguous buffer of 64-bit unsigned items, ptr and val in turn
        (an ``array("Q")``, a numpy uint64 array of shape (n, 2), or one with the two fields), which is not copied.
        ptr is the machine address of an entry with an ``MMU_*`` command in its low bits.  The upper 16 bits of
        `foreigndom`, less one, name the owner of the tables when they are not zero.

        `count` is Xen's own argument where it is not the number of requests: with bit 31 the call goes on from `done`
        completed requests, and ``mmu_update(None, value, count=MMU_UPDATE_PREEMPTED)`` returns `value` as ``rc``.
        Raises BadArgument for requests of another shape, and for a count above their number.
        """
        requests, available = (ffi.NULL, 0) if reqs is None else _requests(reqs)
        if count is None:
            count = available
        elif not isinstance(count, int) or not 0 <= count < 1 << 32 or count & ~MMU_UPDATE_PREEMPTED > available:
            raise BadArgument(f"mmu_update(): count {count!r} for {available} requests")
        try:
            self._result.done = done
            status = lib.xm_mmu_update(self._c, requests, count, foreigndom, self._result)
        except (OverflowError, TypeError) as error:
            _bad("mmu_update()", error)
        return self._outcome(status, "mmu_update()")

    def update_va_mapping(self, va: int, val: int, flags: int = UVMF_NONE) -> Result:
        """HYPERVISOR_update_va_mapping: the L1 entry that maps `va` in the kernel root becomes `val`.

        `flags` is a ``UVMF_*`` kind of flush and, above it, 0 (this processor), UVMF_ALL, or the linear address of a
        bitmap of processors.
        """
        try:
            status = lib.xm_update_va_mapping(self._c, va, val, flags, self._result)
        except (OverflowError, TypeError) as error:
            _bad("update_va_mapping()", error)
        return self._outcome(status, "update_va_mapping()")

    def update_va_mapping_otherdomain(self, va: int, val: int, flags: int, domid: int) -> Result:
        """HYPERVISOR_update_va_mapping_otherdomain: the same, for a frame that belongs to `domid`."""
        try:
            status = lib.xm_update_va_mapping_otherdomain(self._c, va, val, flags, domid, self._result)
        except (OverflowError, TypeError) as error:
            _bad("update_va_mapping_otherdomain()", error)
        return self._outcome(status, "update_va_mapping_otherdomain()")

    def mmuext_op(
        self,
        ops: Sequence[MmuextOp | tuple[int, int, int]],
        foreigndom: int = DOMID_SELF,
        *,
        count: int | None = None,
        done: int = 0,
    ) -> Result:
        """HYPERVISOR_mmuext_op: operations in order, stopping at the first refused one.

        `count` and `done` as for :meth:`mmu_update`.
        """
        operations, available = _operations(ops)
        if count is None:
            count = available
        elif not isinstance(count, int) or not 0 <= count < 1 << 32 or count & ~MMU_UPDATE_PREEMPTED > available:
            raise BadArgument(f"mmuext_op(): count {count!r} for {available} operations")
        try:
            self._result.done = done
            status = lib.xm_mmuext_op(self._c, operations, count, foreigndom, self._result)
        except (OverflowError, TypeError) as error:
            _bad("mmuext_op()", error)
        return self._outcome(status, "mmuext_op()")

    def vm_assist(self, cmd: int, type: int) -> Result:
        """HYPERVISOR_vm_assist: VMASST_ENABLE or VMASST_DISABLE an assist (``VMASST_*``)."""
        try:
            status = lib.xm_vm_assist(self._c, cmd, type, self._result)
        except (OverflowError, TypeError) as error:
            _bad("vm_assist()", error)
        return self._outcome(status, "vm_assist()")

    def multicall(self, calls: Sequence[Call]) -> list[Result]:
        """HYPERVISOR_multicall: several hypercalls in order; a refused one does not stop the others.

        Each entry is a tuple of the name of a hypercall of this class and its positional arguments:
        ``("mmu_update", reqs)``, ``("update_va_mapping", va, val, flags)``, ``("mmuext_op", ops, foreigndom)``,
        ``("vm_assist", cmd, type)``.  All are converted before the first one runs; BadArgument means that none did.
        """
        prepared = [_prepared(entry) for entry in calls]
        return [
            self._outcome(function(self._c, *args, self._result), f"multicall() entry {i}")
            for i, (function, args) in enumerate(prepared)
        ]

    # ---- modes and accesses

    def enter_user(self) -> None:
        """The iret hypercall to user mode; BadState without a user root (real Xen crashes the domain)."""
        status = lib.xm_enter_user(self._c)
        if status:
            fail(status, "enter_user()")

    def enter_kernel(self) -> None:
        """An exception or a syscall: kernel mode."""
        status = lib.xm_enter_kernel(self._c)
        if status:
            fail(status, "enter_kernel()")

    def _faulted(self, va: int) -> NoReturn:
        f = self._fault
        if f.fault == lib.XM_FAULT_PF:
            raise PageFault(f.cr2, f.error_code)
        if f.fault == lib.XM_FAULT_BUS:
            raise OutOfRange(f"access at {va:#x}: an entry or the data lies outside machine memory")
        raise GeneralProtection(f"access at {va:#x}: the address is not canonical")

    def walk(self, va: int, access: str = "read") -> Walk:
        """Walk the tables of the current mode's root for an access ("read", "write", "execute"); changes nothing.

        The result is the processor's, before Xen handles the fault: both modes run in ring 3, so U is set in every
        error code.  Raises BadArgument for another address or access, OutOfRange when an entry lies outside machine
        memory.
        """
        found = self._walk
        try:
            acc = _BY_USER[access]
        except (KeyError, TypeError):
            raise _bad_access(access) from None
        try:
            status = lib.xm_guest_walk(self._c, va, acc, found)
        except (OverflowError, TypeError) as error:
            _bad(f"walk({va!r})", error)
        if status:
            fail(status, f"walk({va:#x})")
        if found.fault == lib.XM_FAULT_BUS:
            raise OutOfRange(f"walk({va:#x}): an entry lies outside machine memory")
        return _result(va, found, ffi.buffer(found)[:])

    def load(self, va: int, size: int = 8) -> int:
        """Load 1, 2, 4 or 8 bytes, little-endian, in the current mode.

        Raises PageFault with the error code that the guest kernel sees, GeneralProtection for a non-canonical
        address, and OutOfRange when the path or the data leaves machine memory.
        """
        value = ffi.new("uint64_t *")
        try:
            status = lib.xm_guest_load(self._c, va, size, value, self._fault)
        except (OverflowError, TypeError) as error:
            _bad(f"load({va!r}, {size!r})", error)
        if status:
            fail(status, f"load({va:#x}, {size})")
        if self._fault.fault:
            self._faulted(va)
        loaded: int = value[0]
        return loaded

    def store(self, va: int, value: int, size: int = 8) -> None:
        """Store 1, 2, 4 or 8 bytes, little-endian, in the current mode.

        Xen emulates a kernel store to a validated L1 that is mapped read-only (writable page tables): the entry is
        checked and adjusted like one of mmu_update.  Raises as :meth:`load` does, and BadArgument when `value` does
        not fit `size`.
        """
        try:
            if size in (1, 2, 4) and value >> 8 * size:
                raise BadArgument(f"store(): {value!r} does not fit {size} bytes")
            status = lib.xm_guest_store(self._c, va, size, value, self._fault)
        except (OverflowError, TypeError) as error:
            _bad(f"store({va!r}, {value!r}, {size!r})", error)
        if status:
            fail(status, f"store({va:#x}, {value:#x}, {size})")
        if self._fault.fault:
            self._faulted(va)

    def fetch(self, va: int) -> None:
        """Fetch an instruction byte in the current mode; raises as :meth:`load` does."""
        try:
            status = lib.xm_guest_fetch(self._c, va, self._fault)
        except (OverflowError, TypeError) as error:
            _bad(f"fetch({va!r})", error)
        if status:
            fail(status, f"fetch({va:#x})")
        if self._fault.fault:
            self._faulted(va)


_REQUESTS = ffi.typeof("struct xm_mmu_update[]")


def _requests(reqs: Any) -> tuple[Any, int]:
    """Requests of mmu_update as the C core takes them, and their number."""
    if isinstance(reqs, (list, tuple)):
        try:
            # cffi would fill up a short pair with zeros.
            if reqs and set(map(len, reqs)) != {2}:
                raise BadArgument("mmu_update(): a request is not a pair (ptr, val)")
            return ffi.new(_REQUESTS, reqs), len(reqs)
        except (TypeError, KeyError, OverflowError) as error:
            _bad("mmu_update(): requests are not pairs of 64-bit numbers", error)
    try:
        view = memoryview(reqs)
    except (TypeError, ValueError, BufferError) as error:
        _bad("mmu_update(): requests are neither a list or tuple nor a buffer", error)
    if view.format in _PAIR_FORMATS:
        pairs = True
    elif view.itemsize == 8 and view.format in _WORD_FORMATS:
        pairs = len(view) % 2 == 0 if view.ndim == 1 else view.ndim == 2 and view.nbytes == len(view) * 16
    else:
        pairs = False
    if not pairs or not view.c_contiguous:
        raise BadArgument(
            f"mmu_update(): a buffer of format {view.format!r}, shape {view.shape}, is not contiguous pairs of uint64"
        )
    requests = ffi.from_buffer(_REQUESTS, view)
    if int(ffi.cast("uintptr_t", requests)) % 8:
        requests = ffi.from_buffer(_REQUESTS, bytearray(view))
    return requests, len(requests)


_WORD_FORMATS = frozenset({"Q", "L", "@Q", "@L", "=Q", "<Q"})
# PEP 3118 as numpy writes a dtype of two unsigned 64-bit fields.
_PAIR_FORMATS = frozenset(
    f"T{{{a}:ptr:{b}:val:}}" for a in ("Q", "L", "=Q", "<Q", "=L") for b in ("Q", "L", "=Q", "<Q", "=L")
)


def _operations(ops: Any) -> tuple[Any, int]:
    """Operations of mmuext_op as the C core takes them, and their number."""
    try:
        operations = ffi.new("struct xm_mmuext_op[]", [(cmd, 0, arg1, arg2) for cmd, arg1, arg2 in ops])
    except (TypeError, ValueError, OverflowError) as error:
        _bad("mmuext_op(): operations are not MmuextOp", error)
    return operations, len(operations)


def _uint(bits: int, value: Any) -> int:
    """The value of a C unsigned integer, checked before the call that takes it."""
    try:
        n = operator.index(value)
    except TypeError as error:
        _bad("hypercall argument", error)
    if n < 0 or n >> bits:
        raise BadArgument(f"hypercall argument {value!r} is not an unsigned number of {bits} bits")
    return n


def _mmu_update(reqs: Any, foreigndom: int = DOMID_SELF) -> tuple[Any, ...]:
    return (*_requests(reqs), _uint(32, foreigndom))


def _update_va_mapping(va: int, val: int, flags: int = UVMF_NONE) -> tuple[Any, ...]:
    return _uint(64, va), _uint(64, val), _uint(64, flags)


def _update_va_mapping_otherdomain(va: int, val: int, flags: int, domid: int) -> tuple[Any, ...]:
    return (*_update_va_mapping(va, val, flags), _uint(32, domid))


def _mmuext_op(ops: Any, foreigndom: int = DOMID_SELF) -> tuple[Any, ...]:
    return (*_operations(ops), _uint(32, foreigndom))


def _vm_assist(cmd: int, type: int) -> tuple[Any, ...]:
    return _uint(32, cmd), _uint(32, type)


_PREPARE: dict[str, tuple[Any, Callable[..., tuple[Any, ...]]]] = {
    "mmu_update": (lib.xm_mmu_update, _mmu_update),
    "update_va_mapping": (lib.xm_update_va_mapping, _update_va_mapping),
    "update_va_mapping_otherdomain": (lib.xm_update_va_mapping_otherdomain, _update_va_mapping_otherdomain),
    "mmuext_op": (lib.xm_mmuext_op, _mmuext_op),
    "vm_assist": (lib.xm_vm_assist, _vm_assist),
}


def _prepared(entry: Call) -> tuple[Any, tuple[Any, ...]]:
    """The C function of a multicall's entry and its arguments, converted and checked."""
    try:
        name, *args = entry
        function, prepare = _PREPARE[name]
        return function, prepare(*args)
    except (TypeError, ValueError, KeyError) as error:
        if isinstance(error, BadArgument):
            raise
        known = ", ".join(_PREPARE)
        raise BadArgument(f"multicall(): {entry!r} is not one of {known} with its arguments") from None
