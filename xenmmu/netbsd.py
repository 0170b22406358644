"""Floor 3: NetBSD/amd64's pmap of 2007, in a domain of Xen or on a bare machine, in five designs of ``pmap_map_ptes``.

Names are NetBSD's (amd64/include/pmap.h, x86/x86/pmap.c).  A page is named by its pseudo-physical address, as the
kernel names it; a pmap by the handle that ``pmap_create`` or ``fork`` returned.  The kernel sees tables as the real one
does: by loads through the linear maps, walked in emulated memory; in a domain it changes them by hypercall.

It does not know Xen's insides.
"""

from __future__ import annotations

from typing import Any, NoReturn

from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument, GeneralProtection, OutOfRange, PageFault, fail
from xenmmu.machine import Machine
from xenmmu.xen import Counters, Domain

L4_SLOT_PTE: int = lib.XM_L4_SLOT_PTE
L4_SLOT_APTE: int = lib.XM_L4_SLOT_APTE
L4_SLOT_KERN: int = lib.XM_L4_SLOT_KERN
L4_SLOT_KERN_NATIVE: int = lib.XM_L4_SLOT_KERN_NATIVE
L4_SLOT_KERNBASE: int = lib.XM_L4_SLOT_KERNBASE

_BASES = tuple(lib.xm_slot_base(L4_SLOT_PTE, L4_SLOT_PTE, level, 4) for level in (1, 2, 3, 4))
_ALTERNATE = tuple(lib.xm_slot_base(L4_SLOT_APTE, L4_SLOT_PTE, level, 4) for level in (1, 2, 3, 4))
#: Linear addresses of all entries of a level of the loaded L4, and of the one that slot 510 points at.
PTE_BASE: int = _BASES[0]
APTE_BASE: int = _ALTERNATE[0]
L1_BASE: int = _BASES[0]
L2_BASE: int = _BASES[1]
L3_BASE: int = _BASES[2]
L4_BASE: int = _BASES[3]
AL1_BASE: int = _ALTERNATE[0]
AL2_BASE: int = _ALTERNATE[1]
AL3_BASE: int = _ALTERNATE[2]
AL4_BASE: int = _ALTERNATE[3]
#: Linear addresses of the recursive entry and of the alternate one.
PDP_PDE: int = L4_BASE + 8 * L4_SLOT_PTE
APDP_PDE: int = L4_BASE + 8 * L4_SLOT_APTE

VM_MIN_ADDRESS = 0
#: First address that is no user address; the linear map begins there.
VM_MAXUSER_ADDRESS: int = lib.XM_VM_MAXUSER_ADDRESS
VM_MAX_ADDRESS: int = L4_BASE
#: In a domain; natively 0xffff800000000000.  ``pmap_kenter_pa`` takes the 512 MiB from here.
VM_MIN_KERNEL_ADDRESS = 0xFFFF000000000000 | L4_SLOT_KERN << 39

VM_PROT_NONE = 0
VM_PROT_READ: int = lib.XM_VM_PROT_READ
VM_PROT_WRITE: int = lib.XM_VM_PROT_WRITE
VM_PROT_EXECUTE: int = lib.XM_VM_PROT_EXECUTE
VM_PROT_ALL = VM_PROT_READ | VM_PROT_WRITE | VM_PROT_EXECUTE
PMAP_WIRED: int = lib.XM_PMAP_WIRED

# Bits of an entry; PG_u is "user", PG_U is "used" (A), PG_M "modified" (D).
PG_V: int = lib.XM_PG_V
PG_RO = 0
PG_RW: int = lib.XM_PG_RW
PG_u: int = lib.XM_PG_u
PG_U: int = lib.XM_PG_U
PG_M: int = lib.XM_PG_M
PG_PS: int = lib.XM_PG_PS
PG_G: int = lib.XM_PG_G
PG_W: int = lib.XM_PG_W
PG_FRAME: int = lib.XM_PG_FRAME
PG_NX: int = lib.XM_PTE_NX

#: Updates that the queue holds before it is flushed by itself.
XPQUEUE_SIZE: int = lib.XM_XPQUEUE_SIZE

_DESIGN = {
    "stock": lib.XM_DESIGN_STOCK,
    "stock-literal": lib.XM_DESIGN_STOCK_LITERAL,
    "kept": lib.XM_DESIGN_KEPT,
    "per-cpu": lib.XM_DESIGN_PER_CPU,
    "native": lib.XM_DESIGN_NATIVE,
}
#: Names of the designs, in the order of history but for the last.
DESIGNS: tuple[str, ...] = tuple(_DESIGN)

_NO_FRAME = (1 << 64) - 1
_KERNEL_COUNTS = tuple(name for name, _ in ffi.typeof("struct xm_kernel_counters").fields if name != "xen")
_XEN_COUNTS = tuple(name for name, _ in ffi.typeof("struct xm_counters").fields if name != "mmuext")
_MMUEXT = {
    getattr(lib, name): name.removeprefix("XM_")
    for name in dir(lib)
    if name.startswith("XM_MMUEXT_") and name != "XM_MMUEXT_KINDS"
}
_EVENT_SIZE: int = ffi.sizeof("struct xm_event")
_STATS = tuple(name for name, _ in ffi.typeof("struct xm_replay_stats").fields if name != "kinds")
_EVENT_KINDS = ("fault", "kfault", "fork", "vfork", "exec", "exit", "mmap", "munmap", "mprotect", "brk")


class Pmap:
    """A handle on a pmap of one kernel; compares by kernel and number.  It outlives its pmap, as a stale handle."""

    __slots__ = ("_kernel", "handle")

    def __init__(self, kernel: Kernel, handle: int) -> None:
        self._kernel = kernel
        #: Its number in the C interface; 0 is the kernel's own pmap.
        self.handle = handle

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pmap) and self._kernel is other._kernel and self.handle == other.handle

    def __hash__(self) -> int:
        return hash((id(self._kernel), self.handle))

    def __repr__(self) -> str:
        return f"Pmap({self.handle:#x})"


class Kernel:
    """A booted NetBSD kernel.

    `target` is a :class:`xenmmu.xen.Domain` that has not been used yet, or a :class:`xenmmu.Machine` for the design
    "native", of which the kernel takes every frame.  `design` is one of :data:`DESIGNS`.

    Raises BadArgument for another design or target, OutOfFrames when the target is too small, BadState when the domain
    already has a kernel or a user root; then nothing has changed.  Any method may raise GuestPanic, with the kernel's
    last words, when a fault or a refusal meets it that its code does not expect.
    """

    __slots__ = (
        "__weakref__",
        "_c",
        "_design",
        "_extract",
        "_fault",
        "_found",
        "_handle",
        "_target",
        "_word",
        "pmap_kernel",
    )

    def __init__(self, target: Domain | Machine, design: str = "kept") -> None:
        number = _DESIGN.get(design) if isinstance(design, str) else None
        if number is None:
            raise BadArgument(f"unknown design {design!r}; known: {', '.join(DESIGNS)}")
        native = design == "native"
        if not isinstance(target, Machine if native else Domain):
            raise BadArgument(f"design {design!r} needs a {'Machine' if native else 'xen.Domain'}, not {target!r}")
        status = ffi.new("int *")
        c = lib.xm_kernel_new_native(target._c, status) if native else lib.xm_kernel_new(target._c, number, status)
        if c == ffi.NULL:
            why = "; Xen must allow linear page tables" if status[0] == lib.XM_E_PANIC else ""
            fail(status[0], f"Kernel on {target!r}, design {design!r}{why}")
        # Holds the hypervisor and the machine, which must outlive the kernel.
        self._target = target
        self._c: Any = ffi.gc(c, lib.xm_kernel_free)
        self._design = design
        self._extract: Any = lib.xm_pmap_extract
        self._found: Any = ffi.new("int *")
        self._word: Any = ffi.new("uint64_t *")
        self._handle: Any = ffi.new("uint32_t *")
        self._fault: Any = ffi.new("struct xm_guest_fault *")
        #: The kernel's own pmap.
        self.pmap_kernel = Pmap(self, lib.XM_PMAP_KERNEL)

    def __repr__(self) -> str:
        return f"Kernel({self._target!r}, design={self._design!r})"

    # ---- what it is ------------------------------------------------------------------------------------------------

    @property
    def design(self) -> str:
        """The name of its design."""
        return self._design

    @property
    def domain(self) -> Domain | None:
        """The domain it runs in; None for a native one."""
        return self._target if isinstance(self._target, Domain) else None

    @property
    def machine(self) -> Machine:
        """The machine it runs on."""
        return self._target.hypervisor.machine if isinstance(self._target, Domain) else self._target

    @property
    def current(self) -> Pmap | None:
        """The pmap of the running process, None when no process runs."""
        handle = lib.xm_kernel_current(self._c)
        return Pmap(self, handle) if handle else None

    @property
    def pmaps(self) -> tuple[Pmap, ...]:
        """The user pmaps alive."""
        n = lib.xm_kernel_pmaps(self._c, ffi.NULL, 0)
        handles = ffi.new("uint32_t[]", n + 1)
        lib.xm_kernel_pmaps(self._c, handles, n)
        return tuple(Pmap(self, handle) for handle in handles[0:n])

    @property
    def free_pages(self) -> int:
        """Pages that ``uvm_pagealloc`` and the page tables can still take."""
        n: int = lib.xm_kernel_free_pages(self._c)
        return n

    @property
    def last_panic(self) -> str:
        """What the kernel said when it last panicked; empty if it never did."""
        text: str = ffi.string(lib.xm_kernel_panic(self._c)).decode()
        return text

    @property
    def counters(self) -> Counters:
        """What the kernel's work came to since it booted: the difference of two is what happened in between.

        The names of :attr:`xenmmu.xen.Domain.counters` (natively only ``tlb_flushes``, ``invlpg``, ``cr3_loads`` and
        ``faults`` move), ``hypercalls`` for the sum of calls, ``pte_reads`` for loads of entries, ``pte_writes`` for
        entries changed, ``m2p_reads``, ``apdp_hits`` and ``apdp_misses`` of pmap_map_ptes, ``pmap_loads``,
        ``pages_zeroed`` and ``pages_copied``.
        """
        c = lib.xm_kernel_counters(self._c)
        counts = Counters({name: getattr(c.xen, name) for name in _XEN_COUNTS})
        for cmd, name in _MMUEXT.items():
            counts[name] = c.xen.mmuext[cmd]
        for name in _KERNEL_COUNTS:
            counts[name] = getattr(c, name)
        counts["hypercalls"] = sum(counts[name] for name in ("mmu_update", "update_va_mapping", "mmuext_op", "iret"))
        return counts

    def root_mfn(self, pm: Pmap) -> int:
        """Return the machine frame of the L4 of `pm`; of the kernel's pmap, that of the loaded kernel L4."""
        handle = self._known(pm)
        mfn: int = lib.xm_kernel_user_l4(self._c, handle) if handle else lib.xm_kernel_root(self._c)
        if mfn == _NO_FRAME:
            raise BadArgument(f"{pm!r} is no pmap of this kernel any more")
        return mfn

    @property
    def dummy_root_mfn(self) -> int | None:
        """The machine frame of the user L4 that is loaded when no process is; None natively."""
        mfn: int = lib.xm_kernel_dummy_root(self._c)
        return None if mfn == _NO_FRAME else mfn

    def p2m(self, pfn: int) -> int:
        """Return the machine frame of pseudo-physical frame `pfn`; BadArgument when the kernel does not have it."""
        mfn: int = self._call(lib.xm_kernel_p2m, "p2m", pfn)
        if mfn == _NO_FRAME:
            raise BadArgument(f"p2m({pfn!r}): the kernel has no such frame")
        return mfn

    # ---- helpers ---------------------------------------------------------------------------------------------------

    def _known(self, pm: Pmap) -> int:
        if not isinstance(pm, Pmap) or pm._kernel is not self:
            raise BadArgument(f"{pm!r} is no pmap of this kernel")
        return pm.handle

    def _call(self, function: Any, what: str, *args: Any) -> Any:
        try:
            return function(self._c, *args)
        except (OverflowError, TypeError) as error:
            raise BadArgument(f"{what}: {error}") from None

    def _do(self, function: Any, what: str, *args: Any) -> None:
        status = self._call(function, what, *args)
        if status:
            self._failed(status, what, args)

    def _failed(self, status: int, what: str, args: tuple[Any, ...] = ()) -> NoReturn:
        shown = ", ".join(hex(a) for a in args if isinstance(a, int))
        if status == lib.XM_E_PANIC:
            fail(status, f"{what}({shown}): {self.last_panic}")
        fail(status, f"{what}({shown})")

    # ---- pages -----------------------------------------------------------------------------------------------------

    def uvm_pagealloc(self) -> int:
        """Take a free page; its contents are what they were.  Returns its pseudo-physical address."""
        self._do(lib.xm_uvm_pagealloc, "uvm_pagealloc", self._word)
        pa: int = self._word[0]
        return pa

    def uvm_pagefree(self, pa: int) -> None:
        """Give a page back; BadState while a pmap of this kernel maps it."""
        self._do(lib.xm_uvm_pagefree, "uvm_pagefree", pa)

    def pmap_zero_page(self, pa: int) -> None:
        """Clear a page through the kernel's zero window."""
        self._do(lib.xm_pmap_zero_page, "pmap_zero_page", pa)

    def pmap_copy_page(self, src: int, dst: int) -> None:
        """Copy a page through the kernel's two copy windows."""
        self._do(lib.xm_pmap_copy_page, "pmap_copy_page", src, dst)

    # ---- pmaps -----------------------------------------------------------------------------------------------------

    def pmap_create(self) -> Pmap:
        """Make an empty pmap; its L4 comes from the pdp cache."""
        self._do(lib.xm_pmap_create, "pmap_create", self._handle)
        return Pmap(self, self._handle[0])

    def pmap_destroy(self, pm: Pmap) -> None:
        """Drop a pmap and what it maps; BadState for the running process's."""
        self._do(lib.xm_pmap_destroy, "pmap_destroy", self._known(pm))

    def pmap_enter(self, pm: Pmap, va: int, pa: int, prot: int, flags: int = 0) -> None:
        """Map the page `pa` at the page-aligned user address `va`; an older mapping there goes.

        `prot` is a set of VM_PROT_*, not empty.  `flags`: PMAP_WIRED, and the VM_PROT_* of the access that is being
        made, for which A and D are set beforehand.  Raises OutOfFrames when no page is left for a table.
        """
        self._do(lib.xm_pmap_enter, "pmap_enter", self._known(pm), va, pa, prot, flags)

    def pmap_extract(self, pm: Pmap, va: int) -> int | None:
        """Return the pseudo-physical address that `va` is mapped to, None when it is not mapped."""
        try:
            handle = pm.handle if pm._kernel is self else self._known(pm)
            status = self._extract(self._c, handle, va, self._found, self._word)
        except (OverflowError, TypeError, AttributeError) as error:
            self._known(pm)
            raise BadArgument(f"pmap_extract: {error}") from None
        if status:
            self._failed(status, "pmap_extract", (handle, va))
        return self._word[0] if self._found[0] else None

    def pmap_remove(self, pm: Pmap, sva: int, eva: int) -> None:
        """Unmap the page-aligned range [`sva`, `eva`); tables that become empty are freed."""
        self._do(lib.xm_pmap_remove, "pmap_remove", self._known(pm), sva, eva)

    def pmap_protect(self, pm: Pmap, sva: int, eva: int, prot: int) -> None:
        """Take rights away from a range: without VM_PROT_WRITE it becomes read-only, with none it is removed.

        Rights are never added: a `prot` with VM_PROT_WRITE does nothing, as in NetBSD.
        """
        self._do(lib.xm_pmap_protect, "pmap_protect", self._known(pm), sva, eva, prot)

    def pmap_kenter_pa(self, va: int, pa: int, prot: int) -> None:
        """Map a page at a kernel address, in the 512 MiB from VM_MIN_KERNEL_ADDRESS on."""
        self._do(lib.xm_pmap_kenter_pa, "pmap_kenter_pa", va, pa, prot)

    def pmap_kremove(self, va: int, size: int) -> None:
        """Unmap `size` bytes of kernel addresses that pmap_kenter_pa has used."""
        self._do(lib.xm_pmap_kremove, "pmap_kremove", va, size)

    # ---- processes -------------------------------------------------------------------------------------------------

    def fork(self, pm: Pmap) -> Pmap:
        """Write-protect every mapping of `pm` and return an empty pmap for the child: fork copies no entry."""
        self._do(lib.xm_kernel_fork, "fork", self._known(pm), self._handle)
        return Pmap(self, self._handle[0])

    def exec(self, pm: Pmap) -> None:
        """Remove every mapping of `pm`."""
        self._do(lib.xm_kernel_exec, "exec", self._known(pm))

    def exit(self, pm: Pmap) -> None:
        """Remove every mapping of `pm` and destroy it; no process runs afterwards if it was the running one."""
        self._do(lib.xm_kernel_exit, "exit", self._known(pm))

    def switch(self, pm: Pmap) -> None:
        """Make `pm` the running process's pmap and load it; with ``pmap_kernel`` no process runs."""
        self._do(lib.xm_kernel_switch, "switch", self._known(pm))

    def user_load(self, va: int, size: int = 8) -> int:
        """Load `size` (1, 2, 4, 8) bytes as the running process, in user mode.

        Raises PageFault with the error code that the kernel is given, GeneralProtection for an address that is not
        canonical, BadState when no process runs.  The kernel has the processor again afterwards.
        """
        self._do(lib.xm_user_load, "user_load", va, size, self._word, self._fault)
        if self._fault.fault:
            self._faulted(va)
        value: int = self._word[0]
        return value

    def user_store(self, va: int, value: int, size: int = 8) -> None:
        """Store `size` bytes as the running process, in user mode; errors as of :meth:`user_load`."""
        if isinstance(value, int) and size in (1, 2, 4, 8) and not 0 <= value < 1 << 8 * size:
            raise BadArgument(f"user_store: {value:#x} does not fit {size} bytes")
        self._do(lib.xm_user_store, "user_store", va, size, value, self._fault)
        if self._fault.fault:
            self._faulted(va)

    def user_fetch(self, va: int) -> None:
        """Fetch an instruction byte as the running process, in user mode; errors as of :meth:`user_load`."""
        self._do(lib.xm_user_fetch, "user_fetch", va, self._fault)
        if self._fault.fault:
            self._faulted(va)

    def _faulted(self, va: int) -> NoReturn:
        f = self._fault
        if f.fault == lib.XM_FAULT_PF:
            raise PageFault(f.cr2, f.error_code)
        if f.fault == lib.XM_FAULT_BUS:
            raise OutOfRange(f"access at {va:#x}: an entry or the data lies outside machine memory")
        raise GeneralProtection(f"access at {va:#x}: the address is not canonical")

    # ---- replay ----------------------------------------------------------------------------------------------------

    def replay(self, events: Any) -> dict[str, int]:
        """Apply recorded events in order: anything with a contiguous buffer of ``struct xm_event`` (32 bytes each).

        May be called again for the next slice of the same history.  Returns what this call did, by the field names of
        ``struct xm_replay_stats`` and, under ``kind_fault`` and so on, how many events there were of each kind;
        ``processes`` and ``pages`` are what is alive now.

        Raises BadArgument for an event of no kind or with an absurd address or length, OutOfFrames when no page is
        left; the message has the index of the event, which was not applied, and none after it.
        """
        try:
            buffer = ffi.from_buffer(events)
        except TypeError as error:
            raise BadArgument(f"replay: {error}") from None
        n, rest = divmod(len(buffer), _EVENT_SIZE)
        if rest:
            raise BadArgument(f"replay: {len(buffer)} bytes are no whole number of {_EVENT_SIZE}-byte events")
        stats = ffi.new("struct xm_replay_stats *")
        status = lib.xm_replay(self._c, ffi.cast("struct xm_event *", buffer), n, stats)
        if status:
            what = f"replay, event {stats.events} of {n}"
            if status == lib.XM_E_PANIC:
                what += f": {self.last_panic}"
            fail(status, what)
        counts: dict[str, int] = {name: getattr(stats, name) for name in _STATS}
        for i, name in enumerate(_EVENT_KINDS):
            counts[f"kind_{name}"] = stats.kinds[i]
        return counts

    def replay_pmap(self, pid: int) -> Pmap | None:
        """Return the pmap of a replayed process, None when no such process is alive."""
        status = self._call(lib.xm_replay_pmap, "replay_pmap", pid, self._handle)
        return None if status else Pmap(self, self._handle[0])


def entry_va(va: int, level: int, *, alternate: bool = False) -> int:
    """Return where the entry of `level` (1..4) that serves `va` is seen, at PTE_BASE or, `alternate`, at APTE_BASE."""
    if level not in (1, 2, 3, 4):
        raise BadArgument(f"level {level!r} is not 1, 2, 3 or 4")
    try:
        at: int = lib.xm_slot_entry_va(L4_SLOT_APTE if alternate else L4_SLOT_PTE, L4_SLOT_PTE, level, 4, va)
    except (OverflowError, TypeError) as error:
        raise BadArgument(f"entry_va: {error}") from None
    return at
