"""The emulator's side of a comparison: a domain in the base state of the guest, running symbolic programs.

Knows: the base state that guest/guest.c makes, the public face of xenmmu.xen.  Does not know: real Xen's side.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from array import array
from collections.abc import Callable
from typing import Any

import program as p
from handles import Handles

from xenmmu import GeneralProtection, Machine, PageFault, SegmentNotPresent, xen
from xenmmu._core import lib
from xenmmu.errors import OutOfRange

MEMORY = 64 << 20
#: Far from where frames are taken.
FREE_FRAME = 0x2000
PAGE = p.PAGE
_P, _RW, _US, _A, _D = 1, 2, 4, 0x20, 0x40
_TABLE = _P | _RW | _US | _A
_SEEN = p.ADDR | _P
_RIGHTS, _G = _RW | 1 << 63, 0x100


_UD = b"\x0f\x0b" * (PAGE // 2)


class Emulator:
    """A privileged domain with a pool of ``p.FRAMES`` frames, each mapped read-only once."""

    def __init__(self, options: xen.Options | None = None) -> None:
        self.machine = Machine(MEMORY)
        # As the oracle's processor leaves the accessed flags.
        self.hv = xen.Hypervisor(self.machine, dataclasses.replace(options or xen.Options(), a_on_fault="upper"))
        self.domain = d = self.hv.create_domain(frames=128)
        first = d.boot_frames
        window_l3, window_l2, window_l1, stub_l3, stub_l2, stub_l1, stub, ud = d.mfns[first : first + 8]
        scratch_l1, *areas = d.mfns[first + 8 : first + 11]
        pool = d.mfns[-p.FRAMES :]
        self.reasons: dict[xen.Reason, int] = {}
        self._frames: Any = lib.xm_xen_frame_table(self.hv._c)
        boot = d.kernel_root
        frames = {p.POOL + i: mfn for i, mfn in enumerate(pool)} | {
            p.BOOT_L4: boot,
            p.STUB_L3: stub_l3,
            p.UD: ud,
            p.SHARED_INFO: d.shared_info,
            p.XEN_TEXT: self._entry(boot, 262) >> 12 & p.MFN_MASK,
            p.FREE: FREE_FRAME,
            p.M2P: self._m2p_frame(),
            p.KERNEL_L3: self._entry(boot, p.KERNEL_SLOT) >> 12 & p.MFN_MASK,
            p.WINDOW_L3: window_l3,
        }
        self.other = self.hv.create_domain(frames=p.FOREIGN_PAGES, privileged=False)
        self.other.max_pages = p.FOREIGN_MAX_PAGES
        self.foreign = self.other.mfns[-p.FOREIGN_FRAMES :]
        frames |= {p.FOREIGN + i: mfn for i, mfn in enumerate(self.foreign)}
        self.names = p.Translator(frames, {i: i for i in range(p.FRAMES)})
        self._write(ud, _UD)
        m2p = frames[p.M2P]
        self._foreign = {d.shared_info, stub, *range(m2p, m2p + 512)}
        for i, mfn in enumerate(pool):
            self._put(window_l1, i, mfn << 12 | _P | _A | _D)
        self._put(window_l2, 0, window_l1 << 12 | _TABLE)
        self.handles = Handles(self, scratch_l1, areas)
        self._put(window_l2, 2, scratch_l1 << 12 | _TABLE)
        self._put(window_l3, 0, window_l2 << 12 | _TABLE)
        self._put(stub_l1, 0, stub << 12 | _P | _US | _A)
        self._put(stub_l1, 1, ud << 12 | _P | _US | _A)
        self._put(stub_l2, 0, stub_l1 << 12 | _TABLE)
        self._put(stub_l3, 0, stub_l2 << 12 | _TABLE)
        self._put(boot, p.WINDOW_SLOT, window_l3 << 12 | _TABLE)
        self._put(boot, p.STUB_SLOT, stub_l3 << 12 | _TABLE)
        self.handles.map_foreign()
        if d.mmuext_op([(xen.MMUEXT_PIN_L3_TABLE, stub_l3, 0)]).rc:
            raise AssertionError("the stub's L3 cannot be pinned")
        self._boot, self._fixed = boot, (p.WINDOW_SLOT, p.STUB_SLOT, p.KERNEL_SLOT)
        self._stub_l3 = stub_l3
        self.named: dict[int, int] = {}
        self._taken: list[int] = []
        self._pages = d.current_reservation().rc
        self.pool, self._pool_set = pool, frozenset(pool)
        self._own = {ud, stub_l3, frames[p.KERNEL_L3], window_l3}
        #: Whether a program has left what no reset can undo.
        self.spent = False
        self._operations: dict[str, Callable[..., p.Outcome]] = {
            "mmu": self._mmu,
            "ext": self._ext,
            "uva": self._uva,
            "uvo": self._uvo,
            "assist": self._assist,
            "multi": self._multi,
            "load": self._load,
            "store": self._store,
            "cmpxchg": self._cmpxchg,
            "fetch": self._fetch,
            "gdt": self._gdt,
            "desc": self._desc,
            "selector": self._selector,
            "iret": self._iret,
            "memory": self._memory,
            "exchange": self._exchange,
            "memquery": self._memquery,
            "read": self._read,
            **self.handles.operations,
        }
        self.reset()

    # ---- set-up

    def _write(self, mfn: int, data: bytes) -> None:
        self.machine.write(mfn * PAGE, data)

    def _entry(self, mfn: int, slot: int) -> int:
        return self.machine.read64(mfn * PAGE + slot * 8)

    def _put(self, table: int, slot: int, entry: int) -> None:
        result = self.domain.mmu_update([(table * PAGE + slot * 8, entry)])
        if result.rc:
            raise AssertionError(f"base state: {result}")

    def _m2p_frame(self) -> int:
        return next(mfn for mfn in range(256, MEMORY // PAGE) if self.hv.frame_info(mfn).owner == xen.DOMID_XEN)

    # ---- a program

    def run(self, program: p.Program) -> list[p.Outcome]:
        """Run a program; one outcome for each operation."""
        return [self._operations[op[0]](*op[1:]) for op in program]

    def reset(self) -> int:
        """Back to the base state, as OP_RESET of the guest; the number of pool frames that would not go back."""
        d, frames = self.domain, self._frames
        d.mmuext_op([(xen.MMUEXT_NEW_USER_BASEPTR, 0, 0)])
        d.mmuext_op([(xen.MMUEXT_NEW_BASEPTR, self._boot, 0)])
        d.mmuext_op([(xen.MMUEXT_SET_LDT, 0, 0)])
        d.set_gdt([])
        d.vm_assist(xen.VMASST_DISABLE, xen.VMASST_WRITABLE_PAGETABLES)
        d.vm_assist(xen.VMASST_DISABLE, xen.VMASST_M2P_STRICT)
        words = struct.unpack("<512Q", self.machine.read(self._boot * PAGE, PAGE))
        for slot, word in enumerate(words[:511]):
            if word and not 256 <= slot <= 271 and slot not in self._fixed:
                d.mmu_update([(self._boot * PAGE + slot * 8, 0)])
        for mfn in self.pool:
            if frames[mfn].type_info & lib.XM_PGT_PINNED:
                d.mmuext_op([(xen.MMUEXT_UNPIN_TABLE, mfn, 0)])
        self._unpin_memory()
        if self.contents(p.UD) != _UD:
            self._write(self.names.frames[p.UD], _UD)
        d.mmu_update([(mfn * PAGE | xen.MMU_MACHPHYS_UPDATE, p.BASE_M2P) for mfn in self.pool])
        self.spent = self.handles.reset() != 0
        stuck = sum(d.mmuext_op([(xen.MMUEXT_CLEAR_PAGE, mfn, 0)]).rc != 0 for mfn in self.pool)
        return stuck + self._return_memory()

    def _unpin_memory(self) -> None:
        for mfn in (*self._taken, *self.foreign):
            if self._frames[mfn].type_info & lib.XM_PGT_PINNED:
                for fd in (xen.DOMID_SELF, p.FOREIGN_ID):
                    self.domain.mmuext_op([(xen.MMUEXT_UNPIN_TABLE, mfn, 0)], fd)

    def _return_memory(self) -> int:
        """What the program got goes back, and the other domain's frames are cleared; how many would not."""
        d, stuck = self.domain, 0
        clear = [(xen.MMUEXT_CLEAR_PAGE, mfn, 0) for mfn in self.foreign]
        if d.mmuext_op(clear, p.FOREIGN_ID).rc:
            stuck += 1
        m2p = [(mfn * PAGE | xen.MMU_MACHPHYS_UPDATE, p.BASE_M2P) for mfn in self.foreign]
        d.mmu_update(m2p, p.FOREIGN_ID)
        for mfn in self._taken:
            for domid in (xen.DOMID_SELF, p.FOREIGN_ID):
                d.mmuext_op([(xen.MMUEXT_CLEAR_PAGE, mfn, 0)], domid)
                d.decrease_reservation([mfn], domid=domid)
            stuck += self.hv.frame_info(mfn).owner != xen.OWNER_NONE
        for symbol, mfn in self.named.items():
            del self.names.frames[symbol]
            self.names.symbols.pop(mfn, None)
        self.named, self._taken = {}, []
        return stuck

    def more(self) -> dict[int, p.More]:
        """The frames that the program got, and the other domain's."""
        frames = self.named | {p.FOREIGN + i: mfn for i, mfn in enumerate(self.foreign)}
        return {s: self._more(mfn) for s, mfn in frames.items()}

    def _more(self, mfn: int) -> p.More:
        f = self.hv.frame_info(mfn)
        if f.owner == xen.OWNER_NONE:
            return p.FREED
        book = p.book(f.count_info, f.type_info)
        return p.More(f.owner, f.allocated, book, self.hv.m2p(mfn), self.machine.read(mfn * PAGE, PAGE))

    def books(self, symbols: list[int]) -> list[p.Book]:
        """What the hypervisor's books say of each frame."""
        frames, of = self._frames, self.names.frames
        return [p.book(frames[of[s]].count_info, frames[of[s]].type_info) for s in symbols]

    def m2p(self, symbol: int) -> int:
        """The M2P's word for a frame."""
        return self.hv.m2p(self.names.frames[symbol])

    def type_words(self) -> list[int]:
        """type_info of each pool frame."""
        return [self._frames[mfn].type_info for mfn in self.pool]

    def contents(self, symbol: int) -> bytes:
        """The 4096 bytes of a frame."""
        return self.machine.read(self.names.frames[symbol] * PAGE, PAGE)

    # ---- operations

    def _note(self, reason: xen.Reason) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def _readback(self, ptr: int) -> int:
        symbol = ptr >> 12 & p.MFN_MASK
        mfn = self.names.frames.get(symbol) if symbol <= p.BOOT_L4 else None
        return 0 if mfn is None else self.names.entry_back(self._entry(mfn, ptr >> 3 & 511))

    def _readbacks(self, requests: Any) -> tuple[int, tuple[int, ...]]:
        """The entries that requests of mmu_update were about: one, or one of each."""
        if len(requests) == 1:
            return self._readback(requests[0][0]), ()
        return 0, p.trimmed(self._readback(ptr) for ptr, _ in requests)

    def _l1_readback(self, va: int) -> int:
        """The L1 entry that the kernel's root leads to, as far as programs have names for the tables."""
        mfn, va = self.domain.kernel_root, self.names.va(va)
        for shift in (39, 30, 21, 12):
            entry = self._entry(mfn, va >> shift & 511) if mfn == self._boot or mfn in self._pool_set else 0
            if shift == 12:
                return self.names.entry_back(entry)
            if not entry & _P:
                break
            mfn = entry >> 12 & p.MFN_MASK
        return 0

    def _mmu(self, foreigndom: int, count_bits: int, requests: Any) -> p.Outcome:
        d, entry = self.domain, self.names.entry
        words = array("Q")
        for ptr, val in requests:
            ptr = entry(ptr)
            mfn = ptr >> 12
            if mfn in self._own or (mfn in (self._boot, d.kernel_root) and (ptr >> 3 & 511) in self._fixed):
                return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, *self._readbacks(requests))
            words.append(ptr)
            words.append(entry(val))
        r = d.mmu_update(words, foreigndom, count=len(requests) | count_bits, done=p.DONE_UNTOUCHED)
        self._note(r.reason)
        return p.Outcome(r.rc, r.done, 0, 0, 0, 0, 0, *self._readbacks(requests))

    def _root_without_kernel(self, mfn: int) -> bool:
        if mfn in self.named.values():
            return True
        if mfn == self._boot or mfn not in self.pool:
            return False
        for slot in self._fixed:
            entry = self._entry(mfn, slot)
            # No entry of an L4 with G is ever accepted, so that such a frame does not become the root.
            if (entry ^ self._entry(self._boot, slot)) & (_SEEN if entry & _G else _SEEN | _RIGHTS):
                return True
        return False

    def _ext(self, foreigndom: int, count_bits: int, operations: Any) -> p.Outcome:
        ops = [self.names.ext(*op) for op in operations]
        for cmd, arg1, _ in ops:
            if cmd == xen.MMUEXT_NEW_BASEPTR and (len(ops) > 1 or self._root_without_kernel(arg1)):
                return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, 0)
            own = arg1 in self._own and cmd != xen.MMUEXT_NEW_USER_BASEPTR
            if own or (cmd == xen.MMUEXT_UNPIN_TABLE and arg1 == self._boot):
                return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, 0)
        r = self.domain.mmuext_op(ops, foreigndom, count=len(ops) | count_bits, done=p.DONE_UNTOUCHED)
        self._note(r.reason)
        return p.Outcome(r.rc, r.done, 0, 0, 0, 0, 0, 0)

    def _in_own_tables(self, va: int) -> bool:
        entry = self._entry(self.domain.kernel_root, va >> 39 & 511)
        return bool(entry & _P) and (entry >> 12 & p.MFN_MASK) in self._own

    def _uva(self, va: int, val: int, flags: int) -> p.Outcome:
        names = self.names
        if self._in_own_tables(va):
            return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, self._l1_readback(va))
        flags = names.va(flags & ~3) | flags & 3
        r = self.domain.update_va_mapping(names.va(va), names.entry(val), flags)
        self._note(r.reason)
        return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, self._l1_readback(va))

    def _uvo(self, va: int, val: int, flags: int, domid: int) -> p.Outcome:
        names = self.names
        if self._in_own_tables(va):
            return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, self._l1_readback(va))
        flags = names.va(flags & ~3) | flags & 3
        r = self.domain.update_va_mapping_otherdomain(names.va(va), names.entry(val), flags, domid)
        self._note(r.reason)
        return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, self._l1_readback(va))

    def _assist(self, cmd: int, type_: int) -> p.Outcome:
        r = self.domain.vm_assist(cmd, type_)
        self._note(r.reason)
        return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, 0)

    def _spoils(self, kind: str, word: int, frame: int) -> bool:
        """Whether a call of a multicall touches what the oracle's guest stands on, or changes a root."""
        mfn = word >> 12
        if kind == "mmu":
            roots = (self._boot, self.domain.kernel_root)
            return mfn in self._own or (mfn in roots and (word >> 3 & 511) in self._fixed)
        if kind == "uva":
            return self._in_own_tables(word)
        changes_root = word in (xen.MMUEXT_NEW_BASEPTR, xen.MMUEXT_NEW_USER_BASEPTR)
        return changes_root or frame in self._own or (word == xen.MMUEXT_UNPIN_TABLE and frame == self._boot)

    def _multi(self, calls: Any) -> p.Outcome:
        prepared: list[Any] = []
        for call in calls:
            words = self.names.call(call)
            if self._spoils(call[0], words[0], words[1]):
                return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, 0, self._after(calls))
            if call[0] == "mmu":
                prepared.append(("mmu_update", [words[:2]]))
            elif call[0] == "ext":
                prepared.append(("mmuext_op", [words]))
            else:
                prepared.append(("update_va_mapping", *words))
        results = self.domain.multicall(prepared)
        for r in results:
            self._note(r.reason)
        value = sum((r.rc & 0xFF) << 8 * i for i, r in enumerate(results))
        return p.Outcome(0, 0, 0, 0, 0, 0, value, 0, self._after(calls))

    def _after(self, calls: Any) -> tuple[int, ...]:
        """The entries that the calls of a multicall were about."""
        of: dict[str, Callable[[int], int]] = {"mmu": self._readback, "uva": self._l1_readback}
        return p.trimmed(of[c[0]](c[1]) if c[0] in of else 0 for c in calls)

    def _names_are_new(self, first: int, n: int) -> bool:
        return first + n <= p.NAMED_FRAMES and not any(p.NAMED + first + i in self.named for i in range(n))

    def _in_a_row(self, symbol: int, n: int) -> bool:
        """Whether the frames of the names from this one on lie together, as they were got."""
        if not p.name_number(symbol):
            return n == 1
        mfn = self.names.frame(symbol)
        return all(self.named.get(symbol + j) == mfn + j for j in range(1, n))

    def name(self, first: int, mfns: tuple[int, ...], order: int, clear: int) -> None:
        """Give names, by the guest's rule: a frame that comes again is no longer what an older name means; that was
        a free frame.
        """
        names = self.names
        for i, base in enumerate(mfns):
            for j in range(1 << order):
                mfn, symbol = base + j, p.NAMED + first + (i << order) + j
                for old in [s for s, m in self.named.items() if m == mfn]:
                    self.named[old] = names.frames[old] = FREE_FRAME
                self.named[symbol] = names.frames[symbol] = mfn
                names.symbols[mfn] = symbol
                self._taken.append(mfn)
                for fd in (xen.DOMID_SELF, p.FOREIGN_ID) if clear else ():
                    if not self.domain.mmuext_op([(xen.MMUEXT_CLEAR_PAGE, mfn, 0)], fd).rc:
                        break

    def _memory(
        self, cmd: int, domid: int, order: int, bits: int, clear: int, first: int, extents: tuple[int, ...]
    ) -> p.Outcome:
        skipped = p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, 0)
        if p.endangers(("memory", cmd, domid, order, bits, clear, first, extents)):
            return skipped
        d, small = self.domain, order <= p.MAX_ORDER
        if clear == p.TOO_MANY:
            r = d.increase_reservation(extents[0] | 1 << 31, order, domid=domid)
            self._note(r.reason)
            return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, 0)
        if cmd == p.DECREASE:
            if small and not all(self._in_a_row(x, 1 << order) for x in extents):
                return skipped
            r = d.decrease_reservation([self.names.frame(x) for x in extents], order, domid=domid)
        elif small and not self._names_are_new(first, len(extents) << order):
            return skipped
        elif cmd == p.POPULATE:
            r = d.populate_physmap(extents, order, domid=domid, address_bits=bits)
        else:
            r = d.increase_reservation(len(extents), order, domid=domid, address_bits=bits)
        self.name(first, r.mfns, order, clear)
        self._note(r.reason)
        return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, 0)

    def _exchange(
        self,
        domid: int,
        other: int,
        order: int,
        out_order: int,
        done: int,
        first: int,
        frames: tuple[int, ...],
        pfns: tuple[int, ...],
    ) -> p.Outcome:
        if p.endangers(("exchange", domid, other, order, out_order, done, first, frames, pfns)) or not (
            all(self._in_a_row(x, 1 << order) for x in frames) and self._names_are_new(first, len(pfns) << out_order)
        ):
            return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, 0)
        mfns = [self.names.frame(x) for x in frames]
        r = self.domain.memory_exchange(mfns, pfns, order, out_order, domid=domid, out_domid=other, done=done)
        if not done:
            self.name(first, r.mfns, out_order, 1)
        self._note(r.reason)
        return p.Outcome(r.rc, r.done, 0, 0, 0, 0, 0, 0)

    def _memquery(self, cmd: int, domid: int, space: int) -> p.Outcome:
        d = self.domain
        if cmd == 3:
            r = d.current_reservation(domid)
            if domid in (xen.DOMID_SELF, 0):
                r = r._replace(rc=r.rc - self._pages)
        elif cmd == 4:
            r = d.maximum_reservation(domid)
        else:
            r = d.add_to_physmap(space, domid) if cmd == 7 else d.remove_from_physmap(domid)
        self._note(r.reason)
        return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, 0)

    def _read(self, ptr: int) -> p.Outcome:
        return p.Outcome(0, 0, 0, 0, 0, 0, 0, self._readback(ptr))

    def _no_user_mode(self) -> bool:
        root = self.domain.user_root
        if root in self.named.values():
            return True
        entry = self._entry(root, p.STUB_SLOT) if root else 0
        return not root or (bool(entry & _P) and (entry >> 12 & p.MFN_MASK) != self._stub_l3)

    def _access(self, user: int, access: Any, *args: int) -> p.Outcome:
        """One access in either mode; in user mode the code that makes it must be there too."""
        d = self.domain
        if user and self._no_user_mode():
            return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, 0)
        if user:
            d.enter_user()
        value = 0
        try:
            if user:
                d.fetch(p.USER_STUB)
            value = access(*args) or 0
            if value >= 0 and access == d.load and self._foreign_contents(args[0]):
                value = p.ANY
        except PageFault as fault:
            # What lies behind Xen's own slots is Xen's own affair, but for the M2P and the linear map.
            code = fault.error_code & ~(1 if p.xen_private(fault.va) else 0)
            return p.Outcome(0, 0, 14, code, self.names.va_back(fault.va), user, 0, 0)
        except GeneralProtection as fault:
            return p.Outcome(0, 0, 13, fault.error_code, 0, user, 0, 0)
        except SegmentNotPresent as fault:
            return p.Outcome(0, 0, 11, fault.error_code, 0, user, 0, 0)
        except OutOfRange:
            size = args[-1] if len(args) > 1 else 1
            return self._device(user, "read" if access == d.load else "write", args[0], size)
        finally:
            if user:
                d.enter_kernel()
        return p.Outcome(0, 0, 0, 0, 0, user, value, 0)

    def _device(self, user: int, access: str, va: int, size: int) -> p.Outcome:
        """An access to device memory, which may run into a page that is not there."""
        upper = (va | PAGE - 1) + 1
        code = self.domain.walk(upper, access).error_code if va + size > upper else None
        if code is None:
            return p.Outcome(0, 0, 0, 0, 0, user, p.ANY, 0)
        fault = PageFault(upper, code & ~4 | user << 2)
        self._mark(fault)
        return p.Outcome(0, 0, 14, fault.error_code, self.names.va_back(upper), user, 0, 0)

    def _foreign_contents(self, va: int) -> bool:
        """Whether what lies there is another matter on each machine: M2P, low memory, Xen's shared page, code."""
        pa = self.domain.walk(va).pa
        return pa is not None and (pa < 1 << 20 or pa // PAGE in self._foreign)

    def _load(self, user: int, va: int, size: int) -> p.Outcome:
        out = self._access(user, self.domain.load, self.names.va(va), size)
        return out if out.value <= 0 else out._replace(value=self.names.value_back(out.value, size))

    def _store(self, user: int, va: int, size: int, value: int) -> p.Outcome:
        value = self.names.entry(value) & (1 << 8 * size) - 1
        out = self._access(user, self.domain.store, self.names.va(va), value, size)
        if not p.in_window(va):
            return out
        place = va - p.WINDOW
        return out._replace(readback=self._readback(p.POOL + place // PAGE << 12 | place & 0xFF8))

    def _cmpxchg(self, user: int, va: int, size: int, value: int, expected: int) -> p.Outcome:
        entry, mask = self.names.entry, (1 << 8 * size) - 1
        va = self.names.va(va)
        out = self._access(user, self._load_and_exchange, va, entry(expected) & mask, entry(value) & mask, size)
        if out.vector == 14:
            out = out._replace(error_code=out.error_code | 2)
        if out.value <= 0:
            return out
        # Parts of two entries have no name.
        return out._replace(value=p.ANY if va % size else self.names.value_back(out.value, size))

    def _load_and_exchange(self, va: int, expected: int, value: int, size: int) -> int:
        """As the oracle's processor does it: the load is an access of its own, and the first to fault."""
        d = self.domain
        try:
            d.load(va, size)
        except OutOfRange:
            # Device memory; the load still looks at the page after it.
            if va // PAGE != (va + size - 1) // PAGE:
                with contextlib.suppress(OutOfRange):
                    d.load((va + size - 1) // PAGE * PAGE, 1)
        foreign = self._foreign_contents(va)
        old = d.cmpxchg(va, expected, value, size)
        return p.ANY if foreign else old

    def _gdt(self, entries: int, frames: Any) -> p.Outcome:
        mfns = [self.names.frame(f) for f in frames]
        if any(mfn in self._own for mfn in mfns):
            return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, 0)
        r = self.domain.set_gdt(mfns, entries)
        self._note(r.reason)
        return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, 0)

    def _desc(self, pa: int, desc: int) -> p.Outcome:
        own = self.names.entry(pa)
        if own >> 12 in self._own:
            return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, self._readback(pa))
        r = self.domain.update_descriptor(own, desc)
        self._note(r.reason)
        return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, self._readback(pa))

    def _iret(self, va: int, cs: int, ss: int, rflags: int, flags: int) -> p.Outcome:
        """Xen makes both selectors ring 3's; returning by SYSRET instead, the processor does not look at them."""
        user, va = int(cs & 3 == 3), self.names.va(va)
        probe = self._access(user, self.domain.load, va, 2)
        if probe.rc or probe.vector:
            return probe
        if probe.value != 0x0B0F:
            return probe._replace(value=1)
        if not flags & p.IN_SYSCALL:
            if cs | 3 != p.FLAT_CS:
                return p.Outcome(0, 0, 13, cs & 0xFFFC, 0, user, 0, 0)
            if ss | 3 != p.FLAT_SS:
                return p.Outcome(0, 0, 13, ss & 0xFFFC, 0, user, 0, 0)
        out = self._access(user, self.domain.fetch, va)
        return out if out.vector else out._replace(vector=6)

    def _selector(self, user: int, selector: int) -> p.Outcome:
        """The fault of an LDT page is Xen's own finding, by the kernel's tables: no walk of the processor's to mark."""
        faults: list[PageFault] = []

        def load_selector() -> None:
            try:
                self.domain.load_selector(selector)
            except PageFault as fault:
                faults.append(fault)

        out = self._access(user, load_selector)
        for fault in faults:
            out = out._replace(vector=14, error_code=fault.error_code, cr2=self.names.va_back(fault.va))
        return out

    def _fetch(self, user: int, va: int) -> p.Outcome:
        va = self.names.va(va)
        probe = self._access(user, self.domain.load, va, 2)
        if probe.rc:
            return probe
        if probe.vector == 0 and probe.value != 0x0B0F:
            return probe._replace(value=1)
        out = self._access(user, self.domain.fetch, va)
        return out if out.vector else out._replace(vector=6)
