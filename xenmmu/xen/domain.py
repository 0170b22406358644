"""A PV domain: the hypercalls it makes, its two modes, and the accesses of its one virtual processor.

Knows how calls from Python become those of the C core; the rules are in csrc/xen.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument, BadState, GeneralProtection, OutOfRange, PageFault, SegmentNotPresent, fail
from xenmmu.x86.names import BY_USER, bad_access
from xenmmu.x86.walk import Walk, walk_result
from xenmmu.xen.grants import GrantOps
from xenmmu.xen.memory import Memory
from xenmmu.xen.names import (
    _COUNTER_NAMES,
    _MMUEXT_NAMES,
    _REASONS,
    DOMID_SELF,
    MMU_UPDATE_PREEMPTED,
    UVMF_NONE,
    Counters,
    MmuextOp,
    Reason,
    Result,
    _bad,
)

if TYPE_CHECKING:
    from xenmmu.xen.hypervisor import Hypervisor

#: One entry of a multicall: the name of the hypercall, then its positional arguments.
Call = tuple[Any, ...]


class Domain(GrantOps, Memory):
    """A PV domain and its only virtual processor; made by :meth:`Hypervisor.create_domain`.

    A hypercall is issued by the guest kernel: in user mode it is BadState, since a SYSCALL there goes to the guest's
    kernel, not to Xen.  Request arrays given as Python objects are always readable; :meth:`hypercall` takes them from
    the guest's own memory, with the refusals of bad addresses.
    """

    __slots__ = ("__weakref__", "_fault", "_hv", "_mfns", "_result", "_walk")

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

    def set_gdt(self, frames: Sequence[int], entries: int | None = None) -> Result:
        """HYPERVISOR_set_gdt: the frames of the GDT, 512 descriptors each; with none the guest has no GDT.

        `entries` is their number, by default that of full frames.  The frames become descriptor pages: each descriptor
        is checked, and made one of ring 3.  Raises BadArgument for more entries than the frames have room for.
        """
        try:
            listed, n = _set_gdt(frames, entries)
            status = lib.xm_set_gdt(self._c, listed, n, self._result)
        except (OverflowError, TypeError) as error:
            _bad("set_gdt()", error)
        return self._outcome(status, "set_gdt()")

    def update_descriptor(self, pa: int, desc: int) -> Result:
        """HYPERVISOR_update_descriptor: the descriptor at machine address `pa`, checked as by set_gdt."""
        try:
            status = lib.xm_update_descriptor(self._c, pa, desc, self._result)
        except (OverflowError, TypeError) as error:
            _bad("update_descriptor()", error)
        return self._outcome(status, "update_descriptor()")

    @property
    def gdt(self) -> tuple[int, ...]:
        """The frames of the GDT, up to the last."""
        frames = [lib.xm_domain_gdt_frame(self._alive(), i) for i in range(lib.XM_GDT_PAGES)]
        return tuple(frames[: max((i + 1 for i, mfn in enumerate(frames) if mfn), default=0)])

    @property
    def ldt(self) -> tuple[int, ...]:
        """The frames of the LDT's 16 pages, 0 for one that has not been used since the LDT or the root changed."""
        return tuple(lib.xm_domain_ldt_frame(self._alive(), i) for i in range(lib.XM_LDT_PAGES))

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

    def hypercall(self, nr: int, *args: int) -> Result:
        """Make a hypercall as the guest does: its number and up to five registers (rdi, rsi, rdx, r10, r8).

        Arrays lie in the guest's memory, at linear addresses through the kernel root: Xen refuses an address in its own
        range with BAD_HANDLE (EFAULT), and so it does when a copy faults, after the elements before; what it writes
        back (``*done``, results of a multicall, continued arguments, requests of grant_table_op) is written there.
        ``HYPERVISOR_mmu_update``, ``_multicall``, ``_update_va_mapping``, ``_update_va_mapping_otherdomain``,
        ``_mmuext_op``, ``_vm_assist``, ``_grant_table_op`` and ``_memory_op`` are modelled; another number that Xen
        4.17 has raises NotModelled, one that it does not have is refused with ENOSYS.  ``rc`` is rax afterwards;
        ``done`` the elements, requests, extents or calls completed; the reason of a request of grant_table_op or of an
        entry of a multicall, which is no error of the call, is the last one's that was refused.
        """
        if len(args) > 5:
            raise BadArgument(f"hypercall(): {len(args)} arguments, more than 5")
        try:
            registers = ffi.new("uint64_t[5]", args)
            status = lib.xm_hypercall(self._c, nr, registers, self._result)
        except (OverflowError, TypeError) as error:
            _bad("hypercall()", error)
        return self._outcome(status, f"hypercall({nr})")

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
            acc = BY_USER[access]
        except (KeyError, TypeError):
            raise bad_access(access) from None
        try:
            status = lib.xm_guest_walk(self._c, va, acc, found)
        except (OverflowError, TypeError) as error:
            _bad(f"walk({va!r})", error)
        if status:
            fail(status, f"walk({va:#x})")
        if found.fault == lib.XM_FAULT_BUS:
            raise OutOfRange(f"walk({va:#x}): an entry lies outside machine memory")
        return walk_result(va, found, ffi.buffer(found)[:])

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

    def cmpxchg(self, va: int, expected: int, value: int, size: int = 8) -> int:
        """Compare and exchange 1, 2, 4 or 8 bytes in the current mode; returns what was there.

        Xen emulates it where it emulates a store, and checks the new entry only if `expected` was there.  Raises as
        :meth:`store` does.
        """
        old = ffi.new("uint64_t *")
        try:
            if size in (1, 2, 4) and (value >> 8 * size or expected >> 8 * size):
                raise BadArgument(f"cmpxchg(): {value!r} or {expected!r} does not fit {size} bytes")
            status = lib.xm_guest_cmpxchg(self._c, va, size, expected, value, old, self._fault)
        except (OverflowError, TypeError) as error:
            _bad(f"cmpxchg({va!r}, {expected!r}, {value!r}, {size!r})", error)
        if status:
            fail(status, f"cmpxchg({va:#x}, {expected:#x}, {value:#x}, {size})")
        if self._fault.fault:
            self._faulted(va)
        found: int = old[0]
        return found

    def load_selector(self, selector: int) -> None:
        """Load FS with a selector, which reads and checks its descriptor in the GDT or LDT, and marks it as accessed.

        The first use of a page of the LDT makes it a descriptor page.  Raises GeneralProtection and SegmentNotPresent
        with the error code that names the selector, and PageFault for a page of the LDT that Xen cannot use.
        """
        fault = self._fault
        try:
            status = lib.xm_guest_load_selector(self._c, selector, fault)
        except (OverflowError, TypeError) as error:
            _bad(f"load_selector({selector!r})", error)
        if status:
            fail(status, f"load_selector({selector:#x})")
        if fault.fault == lib.XM_FAULT_NP:
            raise SegmentNotPresent(fault.error_code)
        if fault.fault == lib.XM_FAULT_GP:
            refused = GeneralProtection(f"load_selector({selector:#x}): no data segment of ring 3")
            refused.error_code = fault.error_code
            raise refused
        if fault.fault:
            self._faulted(fault.cr2)

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


def _set_gdt(frames: Sequence[int], entries: int | None = None) -> tuple[Any, ...]:
    listed = ffi.new("uint64_t[]", [_uint(64, mfn) for mfn in frames])
    n = _uint(32, 512 * len(listed) if entries is None else entries)
    # More than Xen allows is refused before the frames are looked at.
    if n <= 512 * lib.XM_GDT_PAGES and n > 512 * len(listed):
        raise BadArgument(f"set_gdt(): {n} entries in {len(listed)} frames")
    return listed, n


def _update_descriptor(pa: int, desc: int) -> tuple[Any, ...]:
    return _uint(64, pa), _uint(64, desc)


_PREPARE: dict[str, tuple[Any, Callable[..., tuple[Any, ...]]]] = {
    "mmu_update": (lib.xm_mmu_update, _mmu_update),
    "update_va_mapping": (lib.xm_update_va_mapping, _update_va_mapping),
    "update_va_mapping_otherdomain": (lib.xm_update_va_mapping_otherdomain, _update_va_mapping_otherdomain),
    "mmuext_op": (lib.xm_mmuext_op, _mmuext_op),
    "vm_assist": (lib.xm_vm_assist, _vm_assist),
    "set_gdt": (lib.xm_set_gdt, _set_gdt),
    "update_descriptor": (lib.xm_update_descriptor, _update_descriptor),
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
