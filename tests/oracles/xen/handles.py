"""The emulator's side of hypercalls whose arguments lie in memory, and of grants.

Knows: the scratch pages and the grant table of guest/grant.c, the same rules for what its kernel would not survive, and
how every mapping of a grant that a program leaves behind is ended.  Does not know: real Xen's side.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import program as p
from memops import MemoryOps

from xenmmu import xen

if TYPE_CHECKING:
    from emulator import Emulator

PAGE = p.PAGE
_P, _RW, _A, _D, _NX = 1, 2, 0x20, 0x40, 1 << 63
_MAP, _UNMAP, _SETUP, _REPLACE, _SET_VERSION = 0, 1, 2, 7, 8
_MOST_ELEMENTS = 64
_NEW_ROOT = (xen.MMUEXT_NEW_BASEPTR, xen.MMUEXT_NEW_USER_BASEPTR)
_SET_GDT, _UPDATE_DESCRIPTOR = 2, 10
_IGNORANT = (11, 38, 60)


class _Unknown(Exception):
    """What lies there is the guest kernel's own: the operation is left out."""


class Handles:
    """The scratch pages of an emulator, and what is done with them."""

    def __init__(self, emulator: Emulator, scratch_l1: int, areas: list[int]) -> None:
        self._emulator, self._areas = emulator, areas
        self.unknown = _Unknown
        self.emulator, self._memory = emulator, MemoryOps(self)
        d = self._domain = emulator.domain
        self._machine = emulator.machine
        _, (self._grants,) = d.setup_table(1)
        _, (self._foreign_grants,) = d.setup_table(1, p.FOREIGN_ID)
        for i, (mfn, flags) in enumerate(
            ((areas[0], _RW), (areas[1], _RW), (0, 0), (areas[0], 0), (self._grants, _RW))
        ):
            if mfn:
                emulator._put(scratch_l1, i, mfn << 12 | _P | _A | _D | flags)
        self._spare_l1e = (scratch_l1 << 12) + 5 * 8
        self._mapped: list[tuple[int, int, int]] = []
        self.operations: dict[str, Callable[..., p.Outcome]] = {
            "hyper": self._hyper,
            "poke": self._poke,
            "pokes": self._pokes,
            "peek": self._peek,
            "peeks": self._peeks,
            "move": self._move,
            "syscall": self._syscall,
        }

    def map_foreign(self) -> None:
        """Map the other domain's grant table, once the L1 is in use."""
        entry = self._spare_l1e + 8, self._foreign_grants << 12 | _P | _RW | _A | _D
        if self._domain.mmu_update([entry], p.FOREIGN_ID).rc:
            raise AssertionError("the other domain's grant table cannot be mapped")

    def reset(self) -> int:
        """End the mappings of grants, empty the table and the scratch pages; how many mappings cannot be ended.

        There are some when a program overwrites a mapping's entry and gives the frame up: the handle stays for ever.
        """
        d, left = self._domain, self._memory.untold
        self._memory.untold = 0
        for handle, flags, mfn in reversed(self._mapped):
            if d.unmap_grant_ref(handle).status:
                continue
            entry = mfn << 12 | _P | _A | _D | _NX | (0 if flags & xen.GNTMAP_readonly else _RW)
            if d.update_va_mapping(p.SPARE, entry, 2).rc:
                d.update_va_mapping_otherdomain(p.SPARE, entry, 2, p.FOREIGN_ID)
            at = self._spare_l1e if flags & xen.GNTMAP_contains_pte else p.SPARE
            left += d.unmap_grant_ref(handle, at, mfn << 12).status != 0
            d.update_va_mapping(p.SPARE, 0, 2)
        self._mapped.clear()
        for mfn in (self._grants, self._foreign_grants, *self._areas):
            self._machine.write(mfn * PAGE, bytes(PAGE))
        return left

    # ---- memory

    def _own_pa(self, va: int) -> int | None:
        place, offset = divmod(va - p.SCRATCH, PAGE)
        mfn = {0: self._areas[0], 1: self._areas[1], 4: self._grants, 6: self._foreign_grants}.get(place)
        return None if mfn is None else mfn * PAGE + offset

    def _word(self, va: int) -> int | None:
        """The word that Xen will find at `va`, the emulator's own, or None where it will not."""
        if va % 8:
            raise _Unknown
        if 1 << 47 <= va < 0xFFFF880000000000:
            return None
        place, offset = divmod(va - p.SCRATCH, PAGE)
        if 0 <= place < 5 or place == 6:
            mfn = (*self._areas, 0, self._areas[0], self._grants, 0, self._foreign_grants)[place]
            return self._machine.read64(mfn * PAGE + offset) if mfn else None
        place, offset = divmod(va - p.WINDOW, PAGE)
        if 0 <= place < p.FRAMES:
            return self._machine.read64(self._emulator.pool[place] * PAGE + offset)
        mfn = self._domain.kernel_root
        for level in range(4, 0, -1):
            self._known(mfn)
            entry = self._emulator._entry(mfn, va >> (3 + 9 * level) & 511)
            if not entry & _P:
                return None
            mfn = entry >> 12 & p.MFN_MASK
        self._known(mfn)
        return self._emulator._entry(mfn, va // 8 & 511)

    def _known(self, mfn: int) -> None:
        if mfn != self._emulator._boot and mfn not in self._emulator.pool:
            raise _Unknown

    def _words(self, va: int, n: int) -> list[int] | None:
        out = []
        for i in range(n):
            word = self._word(va + 8 * i & (1 << 64) - 1)
            if word is None:
                return None
            out.append(word)
        return out

    def read_at(self, va: int, n: int) -> bytes | None:
        """What Xen will read there: aligned words anywhere, all else in the scratch pages only."""
        place = va - p.SCRATCH & (1 << 64) - 1
        if place < p.SCRATCH_BYTES and place + n > p.SCRATCH_BYTES:
            return None
        read_only = 0 <= place - 3 * PAGE < PAGE
        if read_only and place + n > 4 * PAGE:
            raise _Unknown
        if place < p.SCRATCH_BYTES or read_only:
            first, offset = divmod(place % (3 * PAGE), PAGE)
            pages = [self._areas[0], self._areas[1]][first:]
            return b"".join(self._machine.read(mfn * PAGE, PAGE) for mfn in pages)[offset : offset + n]
        words = self._words(va, n // 8)
        return None if words is None else struct.pack(f"<{n // 8}Q", *words)

    def _elements(self, va: int, count: int, n: int) -> Iterator[list[int]]:
        """The elements of an array that Xen will read, n words each."""
        for i in range(count):
            words = self._words(va + i * n * 8, n)
            if words is None:
                return
            if i == _MOST_ELEMENTS:
                raise _Unknown
            yield words

    # ---- what the oracle's kernel would not survive

    def _cuts(self, ptr: int) -> bool:
        e = self._emulator
        mfn = ptr >> 12
        return mfn in e._own or (mfn in (e._boot, self._domain.kernel_root) and (ptr >> 3 & 511) in e._fixed)

    def _bad_ext(self, words: list[int], count: int, nested: bool) -> bool:
        e, cmd = self._emulator, words[0] & 0xFFFFFFFF
        if cmd in _NEW_ROOT:
            return count > 1 or nested or (cmd == _NEW_ROOT[0] and e._root_without_kernel(words[1]))
        return words[1] in e._own or (cmd == xen.MMUEXT_UNPIN_TABLE and words[1] == e._boot)

    def _bad_place(self, addr: int) -> bool:
        return self._cuts(addr) or self._emulator._in_own_tables(addr)

    def _check_target(self, va: int, n: int) -> None:
        if va:
            self._word(va & ~7)
            self._word(va + n - 1 & ~7 & (1 << 64) - 1)

    def _bad_grant_op(self, args: list[int]) -> bool:
        cmd, uop, count = args[0] & 0xFFFFFFFF, args[1], args[2] & 0x7FFFFFFF
        if cmd >> 12:
            return cmd & 0xFFF == 12
        if cmd == _MAP:
            if not 0 <= uop - p.SCRATCH < p.SCRATCH_BYTES and self._word(uop) is not None:
                return True
            return any(self._bad_place(w[0]) for w in self._elements(uop, count, 4))
        if cmd == _UNMAP:
            return any(self._bad_place(w[0]) for w in self._elements(uop, count, 3))
        if cmd == _REPLACE:
            return any(self._bad_place(w[0]) or self._bad_place(w[1]) for w in self._elements(uop, count, 3))
        if cmd == _SETUP:
            words = self._words(uop, 3)
            if words is None:
                return False
            self._check_target(words[2], 8)
            return 1 < words[0] >> 32 <= 64
        if cmd == _SET_VERSION:
            words = self._words(uop, 1)
            return words is not None and words[0] & 0xFFFFFFFF == 2
        if cmd in (6, 10, 11):
            self._words(uop, 2)
            return False
        return cmd not in (3, 13)

    def _bad_multicall(self, va: int, count: int) -> bool:
        for i, words in enumerate(self._elements(va, count, 8)):
            if i == 16 or self._bad_call(words[0], words[2:], True):
                return True
            # Where an entry cannot be written, Xen leaves a dropped table for later.
            place = va + i * 64 - p.SCRATCH & (1 << 64) - 1
            if words[0] in (xen.HYPERVISOR_mmu_update, xen.HYPERVISOR_mmuext_op) and place > p.SCRATCH_BYTES - 64:
                return True
        return False

    def _bad_call(self, nr: int, args: list[int], nested: bool) -> bool:
        count = args[1] & 0x7FFFFFFF
        if nr == xen.HYPERVISOR_mmu_update:
            self._check_target(args[2], 4)
            return any(self._cuts(w[0]) for w in self._elements(args[0], count, 2))
        if nr == xen.HYPERVISOR_mmuext_op:
            self._check_target(args[2], 4)
            return any(self._bad_ext(w, count, nested) for w in self._elements(args[0], count, 3))
        if nr == _SET_GDT:
            entries = args[1] & 0xFFFFFFFF
            # Of too many entries Xen does not read a frame.
            frames = (entries + 511) // 512 if entries <= 7168 else 0
            return any(w[0] in self._emulator._own for w in self._elements(args[0], frames, 1))
        if nr in (xen.HYPERVISOR_update_va_mapping, xen.HYPERVISOR_update_va_mapping_otherdomain):
            return self._emulator._in_own_tables(args[0])
        if nr == xen.HYPERVISOR_multicall:
            return not nested and self._bad_multicall(args[0], args[1] & 0xFFFFFFFF)
        if nr == xen.HYPERVISOR_grant_table_op:
            return self._bad_grant_op(args)
        if nr == _UPDATE_DESCRIPTOR:
            return args[0] >> 12 in self._emulator._own
        if nr == xen.HYPERVISOR_memory_op:
            return self._memory.bad(args, nested)
        return nr not in (xen.HYPERVISOR_vm_assist, *_IGNORANT)

    # ---- operations

    def _note_mappings(self, args: list[int]) -> None:
        if args[0] & 0xFFFFFFFF != _MAP or args[2] & 0x80000000:
            return
        for i in range(args[2] & 0x7FFFFFFF):
            at = args[1] + 32 * i
            if not p.SCRATCH <= at <= p.SCRATCH + p.SCRATCH_BYTES - 32:
                return
            _, flags, _, _, status, handle, bus = struct.unpack("<QIIHhIQ", self._bytes(at, 32))
            if not status:
                self._mapped.append((handle, flags, bus >> 12))

    def _bytes(self, va: int, n: int) -> bytes:
        words = self._words(va, n // 8)
        assert words is not None
        return struct.pack(f"<{n // 8}Q", *words)

    def _note_calls(self, nr: int, args: list[int], rc: int) -> None:
        if nr == xen.HYPERVISOR_grant_table_op:
            self._note_mappings(args)
        elif nr == xen.HYPERVISOR_memory_op:
            self._memory.note(args, rc)
        elif nr == xen.HYPERVISOR_multicall and 0 <= args[0] - p.SCRATCH < p.SCRATCH_BYTES:
            for i in range(min(args[1] & 0xFFFFFFFF, (p.SCRATCH + p.SCRATCH_BYTES - args[0]) // 64)):
                words = self._words(args[0] + 64 * i, 8)
                if words and words[0] in (xen.HYPERVISOR_grant_table_op, xen.HYPERVISOR_memory_op):
                    self._note_calls(words[0], words[2:], words[1] - (words[1] >> 63 << 64))

    def _hyper(self, nr: int, args: Any) -> p.Outcome:
        words = [self._emulator.names.word(value, kind) for value, kind in args]
        words += [0] * (6 - len(words))
        try:
            bad = self._bad_call(nr, words, False)
        except _Unknown:
            bad = True
        if bad:
            return p.Outcome(p.SKIPPED, 0, 0, 0, 0, 0, 0, 0)
        r = self._domain.hypercall(nr, *words[:5])
        self._emulator._note(r.reason)
        self._note_calls(nr, words, r.rc)
        return p.Outcome(r.rc, 0, 0, 0, 0, 0, 0, 0)

    def _poke(self, va: int, value: int, kind: int, size: int) -> p.Outcome:
        return self._pokes(va, ((value, kind),), size)

    def _pokes(self, va: int, words: Any, size: int) -> p.Outcome:
        own, mask = self._emulator.names.word, (1 << 8 * size) - 1
        data = b"".join([(own(value, kind) & mask).to_bytes(size, "little") for value, kind in words])
        while data:
            pa, room = self._own_pa(va), PAGE - va % PAGE
            if pa is not None:
                self._machine.write(pa, data[:room])
            va, data = va + room, data[room:]
        return p.Outcome(0, 0, 0, 0, 0, 0, 0, 0)

    def _looked_at(self, va: int, kind: int, size: int) -> int:
        pa = self._own_pa(va)
        value = 0 if pa is None else int.from_bytes(self._machine.read(pa, size), "little")
        return self._emulator.names.word_back(value, kind)

    def _peek(self, va: int, kind: int, size: int) -> p.Outcome:
        return p.Outcome(0, 0, 0, 0, 0, 0, self._looked_at(va, kind, size), 0)

    def _peeks(self, looks: Any) -> p.Outcome:
        return p.Outcome(0, 0, 0, 0, 0, 0, 0, 0, p.trimmed([self._looked_at(*look) for look in looks]))

    def _move(self, source: int, target: int) -> p.Outcome:
        pa = self._own_pa(source)
        value = 0 if pa is None else int.from_bytes(self._machine.read(pa, 4), "little")
        return self._poke(target, value, p.PLAIN, 4)

    def _syscall(self, nr: int) -> p.Outcome:
        """User mode's SYSCALL goes to the guest's kernel; Xen looks at no number."""
        return self._emulator._access(1, lambda: None)
