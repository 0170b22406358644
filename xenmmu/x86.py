"""Floor 1: one logical processor as far as paging sees it, and the arithmetic of recursive slots.

Knows Intel's and AMD's manuals (SDM vol. 3A, "Paging"; APM vol. 2, chapter 5); does not know who wrote the tables.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

from xenmmu import pte
from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument, BadState, GeneralProtection, OutOfFrames, OutOfRange, PageFault, fail
from xenmmu.machine import Machine

CR0_PE: int = lib.XM_CR0_PE
CR0_WP: int = lib.XM_CR0_WP
CR0_PG: int = lib.XM_CR0_PG
CR4_PAE: int = lib.XM_CR4_PAE
CR4_PGE: int = lib.XM_CR4_PGE
CR4_LA57: int = lib.XM_CR4_LA57
CR4_PCIDE: int = lib.XM_CR4_PCIDE
CR4_SMEP: int = lib.XM_CR4_SMEP
CR4_SMAP: int = lib.XM_CR4_SMAP
CR4_PKE: int = lib.XM_CR4_PKE
CR4_CET: int = lib.XM_CR4_CET
CR4_PKS: int = lib.XM_CR4_PKS
EFER_LME: int = lib.XM_EFER_LME
EFER_LMA: int = lib.XM_EFER_LMA
EFER_NXE: int = lib.XM_EFER_NXE

PF_P: int = lib.XM_PF_P
PF_W: int = lib.XM_PF_W
PF_U: int = lib.XM_PF_U
PF_RSVD: int = lib.XM_PF_RSVD
PF_I: int = lib.XM_PF_I
PF_PK: int = lib.XM_PF_PK
PF_SS: int = lib.XM_PF_SS

_CODE_BITS = {PF_P: "P", PF_W: "W/R", PF_U: "U/S", PF_RSVD: "RSVD", PF_I: "I/D", PF_PK: "PK", PF_SS: "SS"}
_LEVEL_NAMES = {1: "PTE", 2: "PDE", 3: "PDPTE", 4: "PML4E", 5: "PML5E"}
_KINDS = {
    "read": lib.XM_ACC_READ,
    "write": lib.XM_ACC_WRITE,
    "execute": lib.XM_ACC_EXECUTE,
    "shadow_read": lib.XM_ACC_SHADOW_STACK,
    "shadow_write": lib.XM_ACC_SHADOW_STACK | lib.XM_ACC_WRITE,
}
# What an access by each is to the C core.
_BY_SUPERVISOR: dict[str, int] = _KINDS
_BY_USER: dict[str, int] = {name: kind | lib.XM_ACC_USER for name, kind in _KINDS.items()}
_IMPLICIT: dict[str, int] = {name: kind | lib.XM_ACC_IMPLICIT for name, kind in _KINDS.items()}
_FAULTS: dict[int, str | None] = {
    lib.XM_FAULT_NONE: None,
    lib.XM_FAULT_PF: "#PF",
    lib.XM_FAULT_GP: "#GP",
    lib.XM_FAULT_SS: "#SS",
    lib.XM_FAULT_UD: "#UD",
}
_STOPS: tuple[str, ...] = tuple(ffi.string(lib.xm_stop_text(stop)).decode() for stop in range(lib.XM_STOP_NO_CET + 1))
_PF: int = lib.XM_FAULT_PF
_BUS: int = lib.XM_FAULT_BUS
_UD: int = lib.XM_FAULT_UD
_VENDORS = {"intel": lib.XM_VENDOR_INTEL, "amd": lib.XM_VENDOR_AMD}
_A_ON_FAULT = ("none", "upper")
_VENDOR_NAMES = {number: name for name, number in _VENDORS.items()}
_READ_USER = _BY_USER["read"]
_READ_SUPERVISOR = _BY_SUPERVISOR["read"]
_WRITE_USER = _BY_USER["write"]
_WRITE_SUPERVISOR = _BY_SUPERVISOR["write"]
_FETCH_USER = _BY_USER["execute"]
_FETCH_SUPERVISOR = _BY_SUPERVISOR["execute"]
_xm_walk, _xm_cpu_load, _xm_cpu_store = lib.xm_walk, lib.xm_cpu_load, lib.xm_cpu_store
_AT_PAGE_SIZE, _AT_FAULT, _AT_STOP, _AT_TOP, _AT_NSTEPS, _AT_STEPS = (
    int(ffi.offsetof("struct xm_walk", name)) for name in ("page_size", "fault", "stop", "top_level", "nsteps", "steps")
)
_STEPS = struct.Struct("=10Q")
_CHUNK = 256
_SHADOW_SIZES = {4: 4, 8: 8}
_LARGEST = {size: (1 << 8 * size) - 1 for size in (1, 2, 4, 8)}


class Step(NamedTuple):
    """One entry that a walk used; `reason` says why the walk ended at it, None if it did not."""

    level: int
    entry_pa: int
    entry: int
    reason: str | None


class Mapping(NamedTuple):
    """A leaf: `size` bytes at linear address `va` are those at `pa`.

    `flags` are the effective rights over all levels: ``pte.P``, ``pte.RW``, ``pte.US``, ``pte.NX``.
    """

    va: int
    pa: int
    size: int
    flags: int


class Range(NamedTuple):
    """Neighbouring leaves with contiguous memory and equal `flags`, merged; `length` in bytes."""

    va: int
    pa: int
    length: int
    flags: int


class Walk:
    """What a walk found, as it was then.

    `pa` is None when the access faults, `error_code` is None when it is allowed.  `fault` is None, "#PF", "#GP" (the
    address is not canonical) or "#UD"; the error code of those two is 0.
    """

    __slots__ = ("_raw", "error_code", "pa", "va")

    va: int
    pa: int | None
    error_code: int | None
    _raw: bytes  # the C core's struct xm_walk, of which the rest is read when it is asked for

    @property
    def page_size(self) -> int:
        """Bytes of the page, 0 if the walk did not get to one."""
        return int.from_bytes(self._raw[_AT_PAGE_SIZE : _AT_PAGE_SIZE + 8], sys.byteorder)

    @property
    def fault(self) -> str | None:
        """None, "#PF", "#GP", or "#UD" for a shadow-stack access without CR4.CET."""
        return _FAULTS[self._raw[_AT_FAULT]]

    @property
    def reason(self) -> str:
        """The rule that decided, in words; "allowed" when none stopped the access."""
        return _STOPS[self._raw[_AT_STOP]]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The entries used, from the root down."""
        raw = self._raw
        top, count, stop = raw[_AT_TOP], raw[_AT_NSTEPS], raw[_AT_STOP]
        words = _STEPS.unpack_from(raw, _AT_STEPS)
        found = [Step(top - i, words[2 * i], words[2 * i + 1], None) for i in range(count)]
        if stop and count:
            found[-1] = found[-1]._replace(reason=_STOPS[stop])
        return tuple(found)

    def __repr__(self) -> str:
        if self.pa is not None:
            return f"Walk(va={self.va:#x}, pa={self.pa:#x}, page_size={self.page_size:#x})"
        return f"Walk(va={self.va:#x}, {self.fault}, error_code={self.error_code:#x}: {self.reason})"


def _result(va: int, found: Any, raw: bytes) -> Walk:
    """The walk of `va` from a struct xm_walk and its bytes."""
    w = Walk()
    w.va = va
    w._raw = raw
    if raw[_AT_FAULT]:
        w.pa = None
        w.error_code = found.error_code
    else:
        w.pa = found.pa
        w.error_code = None
    return w


def _bad_access(access: object) -> BadArgument:
    return BadArgument(f"access {access!r} is none of {', '.join(_KINDS)}")


def _bad_address(va: object) -> BadArgument:
    return BadArgument(f"{va!r} is not a 64-bit linear address")


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

    `tlb` (1 to 2**20 entries; None: every access walks) is one of the TLBs the manual allows: filled by accesses that
    succeed, the oldest entry replaced first, dropped by `invlpg`, by register writes as SDM 4.10.4 asks, and by a fault
    for its address.  It has no PCIDs and no paging-structure caches: with CR4.PCIDE too, every load of CR3 drops all
    translations but global ones, which the manual permits.  `walk`, `translate` and listings read the tables as they
    are; `load`, `store` and `fetch` use it.

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

    __slots__ = ("__weakref__", "_c", "_cr2", "_head", "_raw", "_tlb", "_value", "_walk", "machine")

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
        if not isinstance(vendor, str) or vendor not in _VENDORS:
            raise BadArgument(f"vendor {vendor!r} is neither intel nor amd")
        if tlb is not None and (not isinstance(tlb, int) or not 1 <= tlb <= 1 << 20):
            raise BadArgument(f"tlb {tlb!r} is neither None nor 1 to {1 << 20} entries")
        c = lib.xm_cpu_new(m._c, maxphyaddr, _VENDORS[vendor], bool(gbpages))
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
        # Results of the C calls, reused: allocating them costs as much as a walk.
        self._walk: Any = ffi.new("struct xm_walk *")
        self._raw: Any = ffi.buffer(self._walk)
        self._value: Any = ffi.new("uint64_t *")
        self._cr2: Any = ffi.new("uint64_t *")
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

    # ---- registers -------------------------------------------------------------------------------------------------

    def _set(self, reg: int, name: str, value: int) -> None:
        try:
            status = lib.xm_cpu_set(self._c, reg, value)
        except (OverflowError, TypeError):
            raise BadArgument(f"{name} = {value!r}: not a 64-bit value") from None
        if status:
            fail(status, f"{name} = {value:#x}")

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
        return _VENDOR_NAMES[self._c.vendor]

    @vendor.setter
    def vendor(self, value: str) -> None:
        if not isinstance(value, str) or value not in _VENDORS:
            raise BadArgument(f"vendor {value!r} is neither intel nor amd")
        self._set(lib.XM_CPUID_VENDOR, "vendor", _VENDORS[value])

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
        return _A_ON_FAULT[self._c.a_on_fault]

    @a_on_fault.setter
    def a_on_fault(self, value: str) -> None:
        if value not in _A_ON_FAULT:
            raise BadArgument(f"a_on_fault {value!r} is neither none nor upper")
        self._set(lib.XM_CHOICE_A_ON_FAULT, "a_on_fault", _A_ON_FAULT.index(value))

    # ---- walks -----------------------------------------------------------------------------------------------------

    def walk(self, va: int, access: str = "read", user: bool = True, implicit: bool = False) -> Walk:
        """Walk the tables for an access to `va` and judge it; changes nothing.

        `access` is "read", "write", "execute", or "shadow_read" or "shadow_write" (of a shadow stack, with CR4.CET);
        `user` means CPL 3, and WRUSS at any; `implicit` an implicit supervisor access (to a descriptor table or TSS), a
        supervisor access whatever `user` says.  Raises BadArgument for another address or access, OutOfRange when an
        entry lies outside machine memory; the fault of the access is a result.
        """
        try:
            acc = (_IMPLICIT if implicit else _BY_USER if user else _BY_SUPERVISOR)[access]
        except (KeyError, TypeError):
            raise _bad_access(access) from None
        found = self._walk
        try:
            kind = _xm_walk(self._c, va, acc, found)
        except (OverflowError, TypeError):
            raise _bad_address(va) from None
        if kind == _BUS:
            self._outside(va)
        return _result(va, found, self._raw[:])

    def explain(self, va: int, access: str = "read", user: bool = True, implicit: bool = False) -> str:
        """Say in words, level by level, why the access is allowed or faults; also where a walk leaves the machine."""
        try:
            w: Walk | None = self.walk(va, access, user, implicit)
        except OutOfRange:
            w = None
        found = self._walk
        who = "implicit supervisor" if implicit else "user" if user else "supervisor"
        lines = [f"{access} at {va:#018x} by {who}, {found.top_level}-level tables from CR3 {self.cr3:#x}"]
        for i in range(found.nsteps):
            level, step = found.top_level - i, found.steps[i]
            index = (step.entry_pa >> 3) & 511
            lines.append(f"  [{index:3}] at {step.entry_pa:#x}: {pte.describe(step.entry, level)}")
        lines.append("  => " + (self._verdict(w) if w else self._outside_text(va)))
        return "\n".join(lines)

    def _verdict(self, w: Walk) -> str:
        if w.pa is not None:
            return f"allowed: physical address {w.pa:#x} in a page of {w.page_size:#x} bytes"
        if w.fault != "#PF":
            return f"{w.fault}(0): {w.reason}"
        code = w.error_code or 0
        bits = " ".join(name for bit, name in _CODE_BITS.items() if code & bit) or "no bit"
        text = f"#PF with error code {code:#x} ({bits}): {w.reason}"
        # Of a right that all levels must grant, name those that do not.
        stop = w._raw[_AT_STOP]
        takers = {
            lib.XM_STOP_USER_TO_SUPERVISOR: (pte.US, 0),
            lib.XM_STOP_WRITE_TO_READ_ONLY: (pte.RW, 0),
            lib.XM_STOP_EXECUTE_DISABLED: (pte.NX, pte.NX),
        }.get(stop)
        if takers:
            bit, value = takers
            text += ", by the " + ", ".join(_LEVEL_NAMES[s.level] for s in w.steps if s.entry & bit == value)
        if stop == lib.XM_STOP_PROTECTION_KEY:
            text += f", key {(w.steps[-1].entry & pte.PKEY) >> pte.PKEY_SHIFT}"
        return text

    def _outside_text(self, va: int) -> str:
        found = self._walk
        if found.page_size:
            return f"the page of {va:#x} at {found.pa - found.pa % 4096:#x} lies outside machine memory"
        above = found.steps[found.nsteps - 1].entry & pte.ADDR if found.nsteps else self.cr3 & pte.ADDR
        name = _LEVEL_NAMES[found.top_level - found.nsteps]
        return f"the {name} of {va:#x} in the table at {above:#x} lies outside machine memory"

    def _outside(self, va: int) -> None:
        raise OutOfRange(self._outside_text(va))

    def translate_one(self, va: int, access: str = "read", user: bool = True) -> int | None:
        """Return the physical address of `va`, or None where the access would fault; changes nothing."""
        try:
            acc = (_BY_USER if user else _BY_SUPERVISOR)[access]
        except (KeyError, TypeError):
            raise _bad_access(access) from None
        found = self._walk
        try:
            kind = _xm_walk(self._c, va, acc, found)
        except (OverflowError, TypeError):
            raise _bad_address(va) from None
        if kind:
            if kind == _BUS:
                self._outside(va)
            return None
        return found.pa  # type: ignore[no-any-return]

    def translate(self, vas: Any, access: str = "read", user: bool = True) -> tuple[Any, Any]:
        """Translate a buffer of addresses in one call; changes nothing.

        `vas` is any contiguous one-dimensional buffer of unsigned 64-bit items: a numpy uint64 array, ``array("Q")``, a
        memoryview.  It is read in place.  Returns ``(pas, error_codes)``: numpy arrays (uint64, int32) for a numpy
        array, ``array("Q")`` and ``array("i")`` otherwise.  Where the access is allowed they are the address and
        -1, where it faults 0 and the error code (0 too for #GP and #UD).
        Raises BadArgument for another buffer and OutOfRange when a walk leaves machine memory.
        """
        try:
            acc = (_BY_USER if user else _BY_SUPERVISOR)[access]
        except (KeyError, TypeError):
            raise _bad_access(access) from None
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

    def load(self, va: int, size: int = 8, user: bool = True) -> int:
        """Load 1, 2, 4 or 8 bytes, little-endian; sets A.

        Raises PageFault (`va` is then the first byte of the page that faulted), GeneralProtection for an address that
        is not canonical, OutOfRange for memory the machine does not have, BadArgument for another size.
        """
        found, value = self._walk, self._value
        try:
            status = _xm_cpu_load(self._c, va, size, _READ_USER if user else _READ_SUPERVISOR, value, self._cr2, found)
        except (OverflowError, TypeError):
            raise BadArgument(f"load({va!r}, {size!r}): not an address and a size") from None
        if status or found.fault:
            self._refuse(status, f"load({va:#x}, {size})")
        return value[0]  # type: ignore[no-any-return]

    def store(self, va: int, value: int, size: int = 8, user: bool = True) -> None:
        """Store the 1, 2, 4 or 8 bytes of `value`, little-endian; sets A, and D in the leaf.

        Raises as `load` does, and BadArgument for a value that does not fit; nothing is stored then.
        """
        found = self._walk
        try:
            if not 0 <= value <= _LARGEST[size]:
                raise BadArgument(f"{value:#x} does not fit in {size} bytes")
            status = _xm_cpu_store(
                self._c, va, size, _WRITE_USER if user else _WRITE_SUPERVISOR, value, self._cr2, found
            )
        except (OverflowError, TypeError, KeyError):
            raise BadArgument(f"store({va!r}, {value!r}, {size!r}): not an address, a value and a size") from None
        if status or found.fault:
            self._refuse(status, f"store({va:#x}, {value:#x}, {size})")

    def fetch(self, va: int, user: bool = True) -> int:
        """Fetch the byte of an instruction at `va`; sets A.  Raises as `load` does."""
        found, value = self._walk, self._value
        try:
            status = _xm_cpu_load(self._c, va, 1, _FETCH_USER if user else _FETCH_SUPERVISOR, value, self._cr2, found)
        except (OverflowError, TypeError):
            raise _bad_address(va) from None
        if status or found.fault:
            self._refuse(status, f"fetch({va:#x})")
        return value[0]  # type: ignore[no-any-return]

    def shadow_load(self, va: int, size: int = 8, user: bool = True) -> int:
        """Load 4 or 8 bytes from the shadow stack, as RET does; sets A.

        Raises as `load` does, and BadState while CR4.CET is 0: the processor then makes no such access.
        """
        found, value = self._walk, self._value
        try:
            acc = (_BY_USER if user else _BY_SUPERVISOR)["shadow_read"]
            status = _xm_cpu_load(self._c, va, _SHADOW_SIZES[size], acc, value, self._cr2, found)
        except (OverflowError, TypeError, KeyError):
            raise BadArgument(f"shadow_load({va!r}, {size!r}): not an address and a size") from None
        if status or found.fault:
            self._refuse(status, f"shadow_load({va:#x}, {size})")
        return value[0]  # type: ignore[no-any-return]

    def shadow_store(self, va: int, value: int, size: int = 8, user: bool = True) -> None:
        """Store 4 or 8 bytes to the shadow stack, as CALL and WRSS do, or with `user` WRUSS; sets A.

        Raises as `store` does, and BadState while CR4.CET is 0.
        """
        found = self._walk
        try:
            if not 0 <= value <= _LARGEST[_SHADOW_SIZES[size]]:
                raise BadArgument(f"{value:#x} does not fit in {size} bytes")
            acc = (_BY_USER if user else _BY_SUPERVISOR)["shadow_write"]
            status = _xm_cpu_store(self._c, va, size, acc, value, self._cr2, found)
        except (OverflowError, TypeError, KeyError):
            raise BadArgument(f"shadow_store({va!r}, {value!r}, {size!r}): not an address, a value, a size") from None
        if status or found.fault:
            self._refuse(status, f"shadow_store({va:#x}, {value:#x}, {size})")

    def _refuse(self, status: int, what: str) -> None:
        if status:
            fail(status, what)
        found = self._walk
        at = self._cr2[0]
        if found.fault == _PF:
            raise PageFault(at, found.error_code)
        if found.fault == _BUS:
            self._outside(at)
        if found.fault == _UD:
            raise BadState(f"{what}: {_STOPS[found.stop]}")
        raise GeneralProtection(f"{what}: {_STOPS[found.stop]}")

    def invlpg(self, va: int) -> None:
        """INVLPG: drop the TLB's translation for `va`, global or not, its whole page; nothing without a TLB.

        Raises BadArgument for what is no 64-bit address; one that is not canonical does nothing.
        """
        try:
            if self._tlb:
                lib.xm_tlb_invlpg(self._tlb, va)
            elif not 0 <= va < 1 << 64:
                raise OverflowError
        except (OverflowError, TypeError):
            raise _bad_address(va) from None

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
        return self._leaves(start, stop)

    def _leaves(self, start: int, stop: int) -> Iterator[Mapping]:
        if start >= stop:
            return
        cursor = ffi.new("struct xm_mapping_cursor *", {"next": start, "last": stop - 1})
        leaves = ffi.new("struct xm_mapping[]", _CHUNK)
        words = memoryview(ffi.buffer(leaves)).cast("B").cast("Q")
        while not cursor.done:
            n = lib.xm_mappings(self._c, cursor, leaves, _CHUNK)
            if n < 0:
                fail(n, f"a table that serves {cursor.next:#x}")
            fields = iter(words[: 4 * n].tolist())
            yield from map(Mapping._make, zip(fields, fields, fields, fields, strict=True))

    def ranges(self, start: int = 0, end: int | None = None) -> Iterator[Range]:
        """Yield the leaves of `mappings` with contiguous neighbours of equal flags merged."""
        leaves = self.mappings(start, end)
        return self._merged(leaves)

    @staticmethod
    def _merged(leaves: Iterator[Mapping]) -> Iterator[Range]:
        va = pa = length = flags = 0
        for leaf in leaves:
            if length and leaf.va == va + length and leaf.pa == pa + length and leaf.flags == flags:
                length += leaf.size
                continue
            if length:
                yield Range(va, pa, length, flags)
            va, pa, length, flags = leaf
        if length:
            yield Range(va, pa, length, flags)


# ---- recursive slots -----------------------------------------------------------------------------------------------


def _slots(slot: int, inner: int | None, levels: int) -> tuple[int, int]:
    inside = slot if inner is None else inner
    for number in (slot, inside):
        if not isinstance(number, int) or not 0 <= number < 512:
            raise BadArgument(f"slot {number!r} is not 0 to 511")
    if levels not in (4, 5):
        raise BadArgument(f"{levels!r} levels: tables have 4 or 5")
    return slot, inside


def slot_base(slot: int, level: int = 1, levels: int = 4, inner: int | None = None) -> int:
    """Return the linear address where the entries of `level` begin, seen through recursive slot `slot`.

    A root that holds its own frame in slot `inner` shows every table of its address space as data.  `inner` None is the
    plain recursive slot; otherwise `slot` is the slot of another root that holds this root's frame (an alternate slot).
    Level 1 is the leaf table.  Raises BadArgument for a slot, level or number of levels that does not exist.
    """
    return slot_entry_va(slot, 0, level, levels, inner)


def slot_entry_va(slot: int, va: int, level: int = 1, levels: int = 4, inner: int | None = None) -> int:
    """Return the linear address of the entry of `level` that serves `va`, seen through `slot` as in `slot_base`."""
    outer, inside = _slots(slot, inner, levels)
    if not isinstance(level, int) or not 1 <= level <= levels:
        raise BadArgument(f"level {level!r} is not 1 to {levels}")
    top = 11 + 9 * levels
    if not isinstance(va, int) or not 0 <= va < 1 << 64 or va >> top not in (0, (1 << (64 - top)) - 1):
        raise BadArgument(f"{va!r} is not a canonical address of {levels} levels")
    at: int = lib.xm_slot_entry_va(outer, inside, level, levels, va)
    return at


def slot_target(slot: int, entry_va: int, levels: int = 4, inner: int | None = None) -> tuple[int, int]:
    """Return ``(level, va)``: which entry lies at `entry_va`, as its level and the first address it serves.

    The inverse of `slot_entry_va`.  An entry that serves an address of the window itself is also the entry, one level
    up, of what that address shows; the highest level is returned.  Raises BadArgument for an address outside the
    window.
    """
    outer, inside = _slots(slot, inner, levels)
    level, va = ffi.new("unsigned *"), ffi.new("uint64_t *")
    try:
        status = lib.xm_slot_target(outer, inside, levels, entry_va, level, va)
    except (OverflowError, TypeError):
        raise _bad_address(entry_va) from None
    if status:
        fail(status, f"{entry_va:#x} through slot {slot}")
    return level[0], va[0]
