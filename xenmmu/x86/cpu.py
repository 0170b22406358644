"""One logical processor as far as paging sees it: its registers, walks, accesses and listings.

Knows Intel's and AMD's manuals (SDM vol. 3A, "Paging"; APM vol. 2, chapter 5); does not know who wrote the tables.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xenmmu import pte
from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument, BadState, GeneralProtection, OutOfFrames, OutOfRange, PageFault, StackFault, fail
from xenmmu.machine import Machine
from xenmmu.x86.history import History
from xenmmu.x86.mapping import Mapping, Range, leaves, merged
from xenmmu.x86.names import (
    A_ON_FAULT,
    BY_SUPERVISOR,
    BY_USER,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    IMPLICIT,
    INVPCID,
    LEVEL_NAMES,
    STOPS,
    VENDOR_NAMES,
    VENDORS,
    bad_access,
    bad_address,
)
from xenmmu.x86.walk import Walk, verdict

_PF: int = lib.XM_FAULT_PF
_BUS: int = lib.XM_FAULT_BUS
_UD: int = lib.XM_FAULT_UD
_SS: int = lib.XM_FAULT_SS
_STACK: int = lib.XM_ACC_STACK
_READ_USER = BY_USER["read"]
_READ_SUPERVISOR = BY_SUPERVISOR["read"]
_WRITE_USER = BY_USER["write"]
_WRITE_SUPERVISOR = BY_SUPERVISOR["write"]
_FETCH_USER = BY_USER["execute"]
_FETCH_SUPERVISOR = BY_SUPERVISOR["execute"]
# Every name that a walk or a load looks up, every argument and every field of a result costs as much as a level walked.
_port_walk, _port_load, _port_store = lib.xm_port_walk, lib.xm_port_load, lib.xm_port_store
_AT_PA, _AT_VALUE = (int(ffi.offsetof("struct xm_port", name)) // 8 for name in ("walk", "value"))
_SHADOW_SIZES = {4: 4, 8: 8}
_LARGEST = {size: (1 << 8 * size) - 1 for size in (1, 2, 4, 8)}


def _numpy_array(vas: object) -> Any:
    """The numpy module if `vas` is one of its arrays; numpy is never imported here."""
    numpy = sys.modules.get("numpy")
    return numpy if numpy is not None and isinstance(vas, numpy.ndarray) else None


class Cpu:
    """A logical processor in 64-bit mode on machine `m`.

    Every parameter is an attribute too and is checked when set as the processor checks it: GeneralProtection where MOV
    to the register would fault or leave 64-bit mode.  `cr4` with ``CR4_LA57`` is a choice of the constructor, for
    the bit cannot change while paging is on.  `maxphyaddr` (36 to 52), `vendor` ("intel", "amd") and `gbpages` are
    what CPUID says: BadArgument for another value.  Registers read back as written, but for CR3 bit 63 and EFER.LMA.

    A and D are set by accesses that succeed.  SDM 4.8 leaves open what a fault sets: `a_on_fault` "none" sets nothing,
    "upper" sets A in the entries above the one that stopped the walk (above the leaf, when its rights did), as QEMU
    does.  A walk that leaves machine memory raises OutOfRange.

    `tlb` (1 to 2**20 entries; None: every access walks) is one of the TLBs the manual allows, with paging-structure
    caches of as many entries for each level above: filled by accesses that succeed, tagged by PCID, the oldest entry
    replaced first, and dropped by `invlpg`, `invpcid`, register writes and page faults as SDM 4.10.4.1 asks, and by
    nothing else but clearing EFER.NXE.  ``cpu.cr3 = value | 1 << 63`` with CR4.PCIDE drops nothing.  `walk`,
    `translate` and listings read the tables as they are; `load`, `store` and `fetch` use the caches.

    >>> from xenmmu import Machine, pte
    >>> m = Machine(1 << 20)
    >>> for table in (1, 2, 3, 4):
    ...     m.write64(table << 12, pte.encode(table + 1, pte.P | pte.US))
    >>> cpu = Cpu(m, cr3=0x1000)
    >>> hex(cpu.walk(0x123).pa)
    '0x5123'
    >>> cpu.walk(0x123, "write").reason
    'write to a read-only page (R/W=0)'
    """

    __slots__ = ("__weakref__", "_c", "_port", "_raw", "_tlb", "_walk", "_words", "machine")

    def __init__(
        self,
        m: Machine,
        *,
        cr0: int = CR0_PE | CR0_WP | CR0_PG,
        cr3: int = 0,
        cr4: int = CR4_PAE,
        efer: int = EFER_LME | EFER_LMA | EFER_NXE,
        maxphyaddr: int = 46,
        vendor: str = "intel",
        gbpages: bool = True,
        pkru: int = 0,
        pkrs: int = 0,
        ac: bool = False,
        a_on_fault: str = "none",
        tlb: int | None = None,
    ) -> None:
        if not isinstance(m, Machine):
            raise BadArgument(f"{m!r} is not a Machine")
        if not isinstance(maxphyaddr, int) or not 36 <= maxphyaddr <= 52:
            raise BadArgument(f"maxphyaddr {maxphyaddr!r} is not 36 to 52")
        if not isinstance(vendor, str) or vendor not in VENDORS:
            raise BadArgument(f"vendor {vendor!r} is neither intel nor amd")
        if tlb is not None and (not isinstance(tlb, int) or not 1 <= tlb <= 1 << 20):
            raise BadArgument(f"tlb {tlb!r} is neither None nor 1 to {1 << 20} entries")
        c = lib.xm_cpu_new(m._c, maxphyaddr, VENDORS[vendor], bool(gbpages))
        if c == ffi.NULL:
            raise OutOfFrames("the host has no memory for a processor")
        self._c: Any = ffi.gc(c, lib.xm_cpu_free)
        self._tlb: Any = ffi.NULL
        if tlb is not None:
            cache = lib.xm_tlb_new(m._c, tlb)
            if cache == ffi.NULL:
                raise OutOfFrames(f"the host has no memory for a TLB of {tlb} entries")
            self._tlb = self._c.tlb = ffi.gc(cache, lib.xm_tlb_free)
        #: The machine whose memory it walks.
        self.machine: Machine = m
        # Where the C calls leave results: as a whole, as 64-bit words, its walk, and the walk's bytes.
        self._port: Any = ffi.new("struct xm_port *")
        self._port.cpu = self._c
        self._walk: Any = self._port.walk
        whole = memoryview(ffi.buffer(self._port))
        self._words: memoryview = whole.cast("B").cast("Q")
        self._raw: memoryview = whole[: ffi.sizeof("struct xm_walk")]
        self.efer = efer
        self.cr0 = cr0
        self.cr4 = cr4
        self.cr3 = cr3
        self.pkru = pkru
        self.pkrs = pkrs
        self.ac = ac
        self.a_on_fault = a_on_fault

    def __repr__(self) -> str:
        return f"Cpu(cr3={self.cr3:#x}, cr0={self.cr0:#x}, cr4={self.cr4:#x}, efer={self.efer:#x})"

    def __copy__(self) -> Cpu:
        raise TypeError("a Cpu cannot be copied: the copy would be the same processor; make another on its machine")

    # ---- registers -------------------------------------------------------------------------------------------------

    def _set(self, reg: int, name: str, value: int) -> None:
        try:
            status = lib.xm_cpu_set(self._c, reg, value)
        except (OverflowError, TypeError):
            raise BadArgument(f"{name} = {value!r}: not a 64-bit value") from None
        if status:
            fail(status, f"{name} = {value:#x}")
        if self._c.history:
            self.machine._note_views()

    @property
    def cr0(self) -> int:
        """CR0; PE and PG stay 1."""
        return self._c.cr0  # type: ignore[no-any-return]

    @cr0.setter
    def cr0(self, value: int) -> None:
        self._set(lib.XM_REG_CR0, "cr0", value)

    @property
    def cr3(self) -> int:
        """CR3: the machine address of the root in bits 51:12, the PCID (with CR4.PCIDE) or PWT and PCD below."""
        return self._c.cr3  # type: ignore[no-any-return]

    @cr3.setter
    def cr3(self, value: int) -> None:
        self._set(lib.XM_REG_CR3, "cr3", value)

    @property
    def cr4(self) -> int:
        """CR4; PAE stays 1, LA57 as constructed."""
        return self._c.cr4  # type: ignore[no-any-return]

    @cr4.setter
    def cr4(self, value: int) -> None:
        self._set(lib.XM_REG_CR4, "cr4", value)

    @property
    def efer(self) -> int:
        """IA32_EFER; LME and LMA stay 1."""
        return self._c.efer  # type: ignore[no-any-return]

    @efer.setter
    def efer(self, value: int) -> None:
        self._set(lib.XM_REG_EFER, "efer", value)

    @property
    def pkru(self) -> int:
        """PKRU: access-disable and write-disable of each protection key, for user pages."""
        return self._c.pkru  # type: ignore[no-any-return]

    @pkru.setter
    def pkru(self, value: int) -> None:
        self._set(lib.XM_REG_PKRU, "pkru", value)

    @property
    def pkrs(self) -> int:
        """IA32_PKRS: the same for supervisor pages."""
        return self._c.pkrs  # type: ignore[no-any-return]

    @pkrs.setter
    def pkrs(self, value: int) -> None:
        self._set(lib.XM_REG_PKRS, "pkrs", value)

    @property
    def ac(self) -> bool:
        """EFLAGS.AC: with CR4.SMAP, lets explicit supervisor accesses reach user pages."""
        return bool(self._c.ac)

    @ac.setter
    def ac(self, value: bool) -> None:
        self._set(lib.XM_REG_AC, "ac", bool(value))

    @property
    def maxphyaddr(self) -> int:
        """CPUID's width of a physical address, 36 to 52 bits; above it the address bits of an entry are reserved."""
        return self._c.maxphyaddr  # type: ignore[no-any-return]

    @maxphyaddr.setter
    def maxphyaddr(self, value: int) -> None:
        self._set(lib.XM_CPUID_MAXPHYADDR, "maxphyaddr", value)

    @property
    def vendor(self) -> str:
        """Whose manual is followed where they differ: "intel" or "amd"."""
        return VENDOR_NAMES[self._c.vendor]

    @vendor.setter
    def vendor(self, value: str) -> None:
        if not isinstance(value, str) or value not in VENDORS:
            raise BadArgument(f"vendor {value!r} is neither intel nor amd")
        self._set(lib.XM_CPUID_VENDOR, "vendor", VENDORS[value])

    @property
    def gbpages(self) -> bool:
        """CPUID's word on 1-GiB pages; without them bit 7 of a PDPTE is reserved."""
        return bool(self._c.gbpages)

    @gbpages.setter
    def gbpages(self, value: bool) -> None:
        self._set(lib.XM_CPUID_PAGE1GB, "gbpages", bool(value))

    @property
    def a_on_fault(self) -> str:
        """Where a page fault leaves A set: "none", or in the "upper" entries."""
        return A_ON_FAULT[self._c.a_on_fault]

    @a_on_fault.setter
    def a_on_fault(self, value: str) -> None:
        if value not in A_ON_FAULT:
            raise BadArgument(f"a_on_fault {value!r} is neither none nor upper")
        self._set(lib.XM_CHOICE_A_ON_FAULT, "a_on_fault", A_ON_FAULT.index(value))

    # ---- walks -----------------------------------------------------------------------------------------------------

    def walk(
        self, va: int, access: str = "read", user: bool = True, implicit: bool = False, stack: bool = False
    ) -> Walk:
        """Walk the tables for an access to `va` and judge it; changes nothing.

        `access` is "read", "write", "execute", or "shadow_read" or "shadow_write" (of a shadow stack, with CR4.CET);
        `user` means CPL 3, and WRUSS at any; `implicit` an implicit supervisor access (to a descriptor table or TSS), a
        supervisor access whatever `user` says; `stack` a read or write relative to the stack segment (PUSH, CALL, or
        by way of RBP or RSP), for which a non-canonical address is #SS.  Raises BadArgument for another address or
        access, OutOfRange when an entry lies outside machine memory; the fault of the access is a result.
        """
        try:
            acc = (IMPLICIT if implicit else BY_USER if user else BY_SUPERVISOR)[access]
        except (KeyError, TypeError):
            raise bad_access(access) from None
        if stack:
            if access not in ("read", "write"):
                raise BadArgument(f"access {access!r} is not relative to the stack segment")
            acc |= _STACK
        try:
            kind = _port_walk(self._port, va, acc)
        except (OverflowError, TypeError):
            raise bad_address(va) from None
        w = Walk()
        w.va = va
        w._raw = self._raw.tobytes()
        if kind:
            if kind == _BUS:
                self._outside(va)
            w.pa = None
            w.error_code = self._walk.error_code
        else:
            w.pa = self._words[_AT_PA]
            w.error_code = None
        return w

    def explain(
        self, va: int, access: str = "read", user: bool = True, implicit: bool = False, stack: bool = False
    ) -> str:
        """Say in words, level by level, why the access is allowed or faults; also where a walk leaves the machine."""
        try:
            w: Walk | None = self.walk(va, access, user, implicit, stack)
        except OutOfRange:
            w = None
        found = self._walk
        who = "implicit supervisor" if implicit else "user" if user else "supervisor"
        what = f"stack {access}" if stack else access
        lines = [f"{what} at {va:#018x} by {who}, {found.top_level}-level tables from CR3 {self.cr3:#x}"]
        for i in range(found.nsteps):
            level, step = found.top_level - i, found.steps[i]
            index = (step.entry_pa >> 3) & 511
            lines.append(f"  [{index:3}] at {step.entry_pa:#x}: {pte.describe(step.entry, level)}")
        lines.append("  => " + (verdict(w) if w else self._outside_text(va)))
        return "\n".join(lines)

    def _outside_text(self, va: int) -> str:
        found = self._walk
        if found.page_size:
            return f"the page of {va:#x} at {found.pa - found.pa % 4096:#x} lies outside machine memory"
        if not found.nsteps and found.top_level < self._c.levels:
            return f"the table that a paging-structure cache holds for {va:#x} lies outside machine memory"
        above = found.steps[found.nsteps - 1].entry & pte.ADDR if found.nsteps else self.cr3 & pte.ADDR
        name = LEVEL_NAMES[found.top_level - found.nsteps]
        return f"the {name} of {va:#x} in the table at {above:#x} lies outside machine memory"

    def _outside(self, va: int) -> None:
        raise OutOfRange(self._outside_text(va))

    def translate_one(self, va: int, access: str = "read", user: bool = True) -> int | None:
        """Return the physical address of `va`, or None where the access would fault; changes nothing."""
        try:
            acc = (BY_USER if user else BY_SUPERVISOR)[access]
        except (KeyError, TypeError):
            raise bad_access(access) from None
        try:
            kind = _port_walk(self._port, va, acc)
        except (OverflowError, TypeError):
            raise bad_address(va) from None
        if kind:
            if kind == _BUS:
                self._outside(va)
            return None
        return self._words[_AT_PA]

    def translate(self, vas: Any, access: str = "read", user: bool = True) -> tuple[Any, Any]:
        """Translate a buffer of addresses in one call; changes nothing.

        `vas` is any contiguous one-dimensional buffer of unsigned 64-bit items: a numpy uint64 array, ``array("Q")``, a
        memoryview.  It is read in place.  Returns ``(pas, error_codes)``: numpy arrays (uint64, int32) for a numpy
        array, ``array("Q")`` and ``array("i")`` otherwise.  Where the access is allowed they are the address and
        -1, where it faults 0 and the error code (0 too for #GP and #UD).
        Raises BadArgument for another buffer and OutOfRange when a walk leaves machine memory.
        """
        try:
            acc = (BY_USER if user else BY_SUPERVISOR)[access]
        except (KeyError, TypeError):
            raise bad_access(access) from None
        try:
            view = memoryview(vas)
        except TypeError:
            raise BadArgument(f"{type(vas).__name__} has no buffer of addresses") from None
        if view.itemsize != 8 or view.format.lstrip("@=<") not in ("Q", "L") or view.ndim != 1 or not view.contiguous:
            raise BadArgument(f"not a contiguous row of uint64: format {view.format!r}, shape {view.shape}")
        n = len(view)
        numpy = _numpy_array(vas)
        pas: Any
        codes: Any
        if numpy is not None:
            pas, codes = numpy.empty(n, numpy.uint64), numpy.empty(n, numpy.int32)
        else:
            pas, codes = array("Q", bytes(8 * n)), array("i", bytes(4 * n))
        if n:
            source = ffi.from_buffer("uint64_t[]", view)
            if int(ffi.cast("uintptr_t", source)) % 8:
                raise BadArgument("the buffer of addresses is not aligned to 8 bytes")
            done = lib.xm_translate(
                self._c,
                source,
                n,
                acc,
                ffi.from_buffer("uint64_t[]", pas),
                ffi.from_buffer("int32_t[]", codes),
            )
            if done < n:
                self.translate_one(source[done], access, user)
                raise OutOfRange(f"the walk of {source[done]:#x} leaves machine memory")
        return pas, codes

    # ---- accesses --------------------------------------------------------------------------------------------------

    def load(self, va: int, size: int = 8, user: bool = True, stack: bool = False) -> int:
        """Load 1, 2, 4 or 8 bytes, little-endian; sets A.

        Raises PageFault (`va` is then the first byte of the page that faulted), GeneralProtection when a byte of it has
        an address that is not canonical (StackFault with `stack`, as in `walk`), OutOfRange for memory the machine does
        not have, BadArgument for another size.
        """
        acc = _READ_USER if user else _READ_SUPERVISOR
        if stack:
            acc |= _STACK
        try:
            status = _port_load(self._port, va, size, acc)
        except (OverflowError, TypeError):
            raise BadArgument(f"load({va!r}, {size!r}): not an address and a size") from None
        if status:
            self._refuse(status, f"load({va:#x}, {size})")
        return self._words[_AT_VALUE]

    def store(self, va: int, value: int, size: int = 8, user: bool = True, stack: bool = False) -> None:
        """Store the 1, 2, 4 or 8 bytes of `value`, little-endian; sets A, and D in the leaf.

        Raises as `load` does, and BadArgument for a value that does not fit; nothing is stored then.
        """
        acc = _WRITE_USER if user else _WRITE_SUPERVISOR
        if stack:
            acc |= _STACK
        try:
            if not 0 <= value <= _LARGEST[size]:
                raise BadArgument(f"{value!r} does not fit in {size} bytes")
            status = _port_store(self._port, va, size, acc, value)
        except (OverflowError, TypeError, KeyError):
            raise BadArgument(f"store({va!r}, {value!r}, {size!r}): not an address, a value and a size") from None
        if status:
            self._refuse(status, f"store({va:#x}, {value:#x}, {size})")

    def cmpxchg(self, va: int, expected: int, value: int, size: int = 8, user: bool = True) -> int:
        """Compare and exchange 1, 2, 4 or 8 bytes; returns what was there.  Sets A, and D in the leaf, in any case.

        Raises as `store` does; the access is a write even where what is there is not `expected`.
        """
        try:
            if not (0 <= value <= _LARGEST[size] and 0 <= expected <= _LARGEST[size]):
                raise BadArgument(f"{value!r} or {expected!r} does not fit in {size} bytes")
            acc = _WRITE_USER if user else _WRITE_SUPERVISOR
            status = lib.xm_port_cmpxchg(self._port, va, size, acc, expected, value)
        except (OverflowError, TypeError, KeyError):
            raise BadArgument(f"cmpxchg({va!r}, {expected!r}, {value!r}, {size!r}): not as it should be") from None
        if status:
            self._refuse(status, f"cmpxchg({va:#x}, {expected:#x}, {value:#x}, {size})")
        return self._words[_AT_VALUE]

    def fetch(self, va: int, user: bool = True) -> int:
        """Fetch the byte of an instruction at `va`; sets A.  Raises as `load` does."""
        try:
            status = _port_load(self._port, va, 1, _FETCH_USER if user else _FETCH_SUPERVISOR)
        except (OverflowError, TypeError):
            raise bad_address(va) from None
        if status:
            self._refuse(status, f"fetch({va:#x})")
        return self._words[_AT_VALUE]

    def shadow_load(self, va: int, size: int = 8, user: bool = True) -> int:
        """Load 4 or 8 bytes from the shadow stack, as RET does; sets A.

        Raises as `load` does, and BadState while CR4.CET is 0: the processor then makes no such access.
        """
        try:
            acc = (BY_USER if user else BY_SUPERVISOR)["shadow_read"]
            status = _port_load(self._port, va, _SHADOW_SIZES[size], acc)
        except (OverflowError, TypeError, KeyError):
            raise BadArgument(f"shadow_load({va!r}, {size!r}): not an address and a size") from None
        if status:
            self._refuse(status, f"shadow_load({va:#x}, {size})")
        return self._words[_AT_VALUE]

    def shadow_store(self, va: int, value: int, size: int = 8, user: bool = True) -> None:
        """Store 4 or 8 bytes to the shadow stack, as CALL and WRSS do, or with `user` WRUSS; sets A.

        Raises as `store` does, and BadState while CR4.CET is 0.
        """
        try:
            if not 0 <= value <= _LARGEST[_SHADOW_SIZES[size]]:
                raise BadArgument(f"{value!r} does not fit in {size} bytes")
            acc = (BY_USER if user else BY_SUPERVISOR)["shadow_write"]
            status = _port_store(self._port, va, size, acc, value)
        except (OverflowError, TypeError, KeyError):
            raise BadArgument(f"shadow_store({va!r}, {value!r}, {size!r}): not an address, a value, a size") from None
        if status:
            self._refuse(status, f"shadow_store({va:#x}, {value:#x}, {size})")

    def _refuse(self, status: int, what: str) -> None:
        if status < 0:
            fail(status, what)
        found = self._walk
        at = self._port.cr2
        if found.fault == _PF:
            raise PageFault(at, found.error_code)
        if found.fault == _BUS:
            self._outside(at)
        if found.fault == _UD:
            raise BadState(f"{what}: {STOPS[found.stop]}")
        raise (StackFault if found.fault == _SS else GeneralProtection)(f"{what}: {STOPS[found.stop]}")

    def invlpg(self, va: int) -> None:
        """INVLPG: drop the cached translations of `va`, global or not, as SDM 4.10.4.1 says; nothing without a TLB.

        Raises BadArgument for what is no 64-bit address; one that is not canonical does nothing.
        """
        try:
            lib.xm_cpu_invlpg(self._c, va)
        except (OverflowError, TypeError):
            raise bad_address(va) from None
        if self._c.history:
            self.machine._note_views()

    def invpcid(self, kind: str | int, pcid: int = 0, va: int = 0) -> None:
        """INVPCID: drop cached translations by PCID as SDM 4.10.4.1 says; without a TLB, check only.

        `kind` is the type, by name or as 0 to 3: "address" (of `va` under `pcid`, not global), "single" (of `pcid`, not
        global), "all" (of every PCID and global), "all_but_global".  `pcid` is bits 63:0 of the descriptor.
        Raises GeneralProtection where the instruction faults: another type; `pcid` above 4095; "address" and "single"
        of a PCID other than 0 while CR4.PCIDE is 0; "address" of a `va` that is not canonical.  BadArgument for another
        name and for what does not fit 64 bits.
        """
        number = INVPCID.get(kind) if isinstance(kind, str) else kind
        try:
            if number is None:
                raise TypeError
            status = lib.xm_cpu_invpcid(self._c, number, pcid, va)
        except (OverflowError, TypeError):
            raise BadArgument(f"invpcid({kind!r}, {pcid!r}, {va!r}): not a type, a PCID and an address") from None
        if status:
            fail(status, f"invpcid({kind!r}, {pcid:#x}, {va:#x})")
        if self._c.history:
            self.machine._note_views()

    # ---- what may be cached ----------------------------------------------------------------------------------------

    @contextmanager
    def history(self) -> Iterator[History]:
        """Record the writes to machine memory, the flushes and this processor's register writes in the block.

        ``History.outcomes`` then tells every outcome of an access that the manuals allow, whatever a processor may have
        cached meanwhile (SDM 4.10): a missing flush is found without luck.  At the beginning nothing is cached; at
        the end what was written stays.  Page faults of `load`, `store` and `fetch` drop what SDM 4.10.4.1 says; that
        an access succeeded proves nothing of what else was possible.

        Trials within are as if they had not been.  Of writes through a view of ``Machine.frame`` that was there before
        the block, only the last to a word between two of this processor's flushes or register writes counts; other
        writes all do.  Raises BadState when a history of this processor is open already.

        >>> from xenmmu import Machine, pte
        >>> m = Machine(1 << 20)
        >>> for table in (1, 2, 3, 4):
        ...     m.write64(table << 12, pte.encode(table + 1, pte.P | pte.US))
        >>> cpu = Cpu(m, cr3=0x1000)
        >>> with cpu.history() as h:
        ...     m.write64(0x4000, 0)
        ...     sorted(h.stale(0x123))
        ...     cpu.invlpg(0)
        ...     h.stale(0x123)
        [Outcome(pa=0x5123)]
        frozenset()
        """
        h = History(self)
        try:
            yield h
        finally:
            h._end()

    # ---- listings --------------------------------------------------------------------------------------------------

    def mappings(self, start: int = 0, end: int | None = None) -> Iterator[Mapping]:
        """Yield the leaves that overlap ``[start, end)``, in address order; `end` None is the end of the address space.

        Neighbours are not merged.  Entries that no access can use (a reserved bit set) are skipped.  The tables are
        read as the iteration goes on.  Raises OutOfRange where a table lies outside machine memory.
        """
        stop = 1 << 64 if end is None else end
        if (
            not isinstance(start, int)
            or not isinstance(stop, int)
            or not (0 <= start < 1 << 64 and 0 <= stop <= 1 << 64)
        ):
            raise BadArgument(f"mappings({start!r}, {end!r}): not a range of 64-bit addresses")
        return leaves(self._c, start, stop)

    def ranges(self, start: int = 0, end: int | None = None) -> Iterator[Range]:
        """Yield the leaves of `mappings` with contiguous neighbours of equal flags merged."""
        return merged(self.mappings(start, end))
