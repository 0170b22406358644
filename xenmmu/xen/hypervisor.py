"""The hypervisor: its books, its domains, and taking over a captured one.

Knows the frame table, the machine-to-physical table and images of a Xen 4.17; does not know what a hypercall does.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from xenmmu._core import ffi, lib
from xenmmu.elfcore import BadImage, Core
from xenmmu.errors import BadArgument, OutOfRange, fail
from xenmmu.machine import PAGE_SIZE, Machine
from xenmmu.x86 import Cpu
from xenmmu.xen.domain import Domain
from xenmmu.xen.names import _MUTANTS, _PAGE_TYPES, _VERSIONS, INVALID_M2P_ENTRY, FrameInfo, Held, Options, _bad

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
# A frame table that is longer than what is mapped of it by more than this is damage: Xen leaves large holes out.
_SPARSEST = 64


def captured_frames(machine: Machine, cr3: int) -> int:
    """The number of frames that the Xen under this CR3 keeps records of, read from its address space; 0: no Xen there.

    Raises OutOfRange when a table on the way, or the frame table itself, is missing from the machine, or when the frame
    table has so large holes that it is none.
    """
    start: int = lib.XM_FRAMETABLE_VIRT_START
    end, held = start, 0
    cpu = Cpu(machine, cr3=cr3 & lib.XM_PTE_ADDR, vendor="amd", maxphyaddr=52)
    for leaf in cpu.mappings(start, lib.XM_FRAMETABLE_VIRT_END - 1):
        end, held = leaf.va + leaf.size, held + leaf.size
        last = leaf.pa + leaf.size - PAGE_SIZE
        if last >= machine.frames * PAGE_SIZE or not lib.xm_machine_has_frame(machine._c, last // PAGE_SIZE):
            raise OutOfRange(f"frame {last // PAGE_SIZE:#x} of Xen's frame table")
    if end - start > held * _SPARSEST:
        raise OutOfRange(f"most of Xen's frame table, which ends at {end:#x}")
    return (end - start) // _RECORD


def _c_options(options: Options) -> Any:
    given = ffi.new("struct xm_xen_options *")
    given.mutants = functools.reduce(int.__or__, (1 << _MUTANTS[name] for name in options.mutants), 0)
    given.pv_linear_pt = options.pv_linear_pt
    given.tlb = options.tlb
    given.global_pages = options.global_pages
    given.version = _VERSIONS[options.version]
    given.a_on_fault = lib.XM_A_ON_FAULT_UPPER if options.a_on_fault == "upper" else lib.XM_A_ON_FAULT_NONE
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
        """Take over a captured Xen 4.17 and its PV domains: their tables, types, counts, roots and M2P.

        `path` is an ELF core file with the memory and the registers (perhaps compressed by xz), or a Core.  The domain
        of CR3 is ``domains[0]``; hypercalls work on it as they would have on the captured system.  Other domains have
        their own numbers where the image holds Xen's struct domain, and are numbered from 1 on where it does not.
        There is one virtual processor a domain, for the first that of CR3; what others had as roots is in `held`.

        What the image does not hold is missing, not zero: validating such a frame is refused with NOT_CAPTURED, an
        access to it is OutOfRange.
        Without the M2P in the image ``m2p()`` is INVALID_M2P_ENTRY and the domain has no ``mfns``.  No new domain can
        be made.  Raises BadImage when the file is no image, or no such Xen can be found in it.
        """
        options = Options() if options is None else options
        if not isinstance(options, Options):
            raise BadArgument(f"options is {options!r}, not an xen.Options")
        if options.version != "4.17":
            raise BadArgument(f"from_image: a captured Xen is a 4.17, not a {options.version}")
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
        if top != machine.frames:
            # Beyond lie the ROM and the memory of devices, if anything.
            machine = core._machine(top)
        status, mfn = ffi.new("int *"), ffi.new("uint64_t *")
        c = lib.xm_xen_adopt(machine._c, _c_options(options), core.registers.cr3, status, mfn)
        if c == ffi.NULL:
            where = "" if mfn[0] == INVALID_M2P_ENTRY else f" (frame {mfn[0]:#x})"
            if status[0] == lib.XM_E_RANGE:
                raise BadImage(f"{core.path}: does not hold memory that is needed{where}")
            if status[0] == lib.XM_E_STATE:
                raise BadImage(f"{core.path}: not the state of a Xen 4.17 with PV domains{where}")
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
