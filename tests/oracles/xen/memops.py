"""The emulator's side of memory_op by its number, its structures in memory.

Knows: the same rules as guest/memop.c for what the guest would not survive, and for the names of frames that come.
Does not know: real Xen's side.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import program as p

if TYPE_CHECKING:
    from handles import Handles

_DECREASE, _RAM_PAGE, _CURRENT, _MAXIMUM, _POPULATE, _ADD, _EXCHANGE, _REMOVE = 1, 2, 3, 4, 6, 7, 11, 15
_GIVING = (0, _POPULATE)
_LIST = struct.Struct("<QQIIHHHH")
_MOST_EXTENTS, _REFUSED_ORDER, _ON_DEMAND = 32, 18, 1 << 16
_MASK = (1 << 64) - 1
_SELF, _EFAULT = 0x7FF0, 14

List = tuple[int, int, int, int, int]


class MemoryOps:
    """Calls of memory_op before and after an emulator has done them."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        #: Calls after which there may be frames that nobody knows.
        self.untold = 0
        self._done_before = 0

    def _read(self, va: int, n: int) -> bytes | None:
        return self._handles.read_at(va, n)

    def _list(self, data: bytes) -> List:
        va, nr, order, flags, domid, *_ = _LIST.unpack(data)
        return va, nr, order, flags, domid

    def _is_writable(self, va: int, n: int) -> bool:
        return n <= p.SCRATCH_BYTES and va - p.SCRATCH & _MASK <= p.SCRATCH_BYTES - n

    def _readable(self, va: int) -> bool:
        try:
            return self._read(va, 8) is not None
        except self._handles.unknown:
            return False

    def _may_go(self, mfn: int, exchanged: bool) -> bool:
        e = self._handles.emulator
        known = mfn in e.named.values() or mfn < 256 or mfn >= p.MEMORY_END or mfn == e.names.frames[p.FREE]
        return known or (exchanged and (mfn in e.pool or mfn == e.names.frames[p.BOOT_L4]))

    def _bad_frames(self, of: List, start: int, exchanged: bool) -> bool:
        for i in range(start, of[1]):
            data = self._read(of[0] + i * 8 & _MASK, 8)
            if data is None:
                return False
            mfn = int.from_bytes(data, "little")
            if not all(self._may_go(mfn + j & _MASK, exchanged) for j in range(1 << of[2])):
                return True
        return False

    def _next_name(self) -> int:
        return max((s - p.NAMED + 1 for s in self._handles.emulator.named), default=0)

    def _bad_places(self, of: List, start: int, structure: int) -> bool:
        va = of[0] + start * 8 & _MASK
        crowded = (of[1] - start << of[2]) > p.NAMED_FRAMES - self._next_name()
        if crowded or va - (structure - 512) & _MASK < 1024:
            return True
        if va - p.SCRATCH & _MASK < 4 * p.PAGE:
            return False
        return va % 8 != 0 or self._handles.read_at(va, 8) is not None

    def _bad_reservation(self, cmd: int, start: int, arg: int, nested: bool) -> bool:
        data = self._read(arg, 32)
        if data is None:
            return False
        of = self._list(data)
        va, nr, order, flags, _ = of
        if nr > 0xFFFFFFFF >> 6 or start >= nr:
            return False
        if cmd == _POPULATE and flags & _ON_DEMAND:
            return nr - start > _MOST_EXTENTS or (va - p.SCRATCH & _MASK >= 4 * p.PAGE and va % 8 != 0)
        if order > _REFUSED_ORDER:
            return False
        if order > p.MAX_ORDER or nr - start > _MOST_EXTENTS:
            return True
        if cmd == _DECREASE:
            return self._bad_frames(of, start, False)
        # Of more than one the clock may leave the rest, with another start, in the multicall's entry.
        return (nested and nr - start > 1) or self._bad_places(of, start, arg)

    def _bad_exchange(self, arg: int, nested: bool) -> bool:
        data = self._read(arg, 72)
        if data is None:
            return False
        old, new, done = self._list(data[:32]), self._list(data[32:64]), int.from_bytes(data[64:], "little")
        self._done_before = done
        if nested:
            return True
        if max(old[2], new[2]) > _REFUSED_ORDER:
            return False
        if max(old[2], new[2]) > p.MAX_ORDER or max(old[1], new[1]) > _MOST_EXTENTS:
            return True
        if done >= old[1]:
            return False
        return done != 0 or self._bad_frames(old, 0, True) or self._bad_places(new, 0, arg)

    def bad(self, args: list[int], nested: bool) -> bool:
        """Whether the guest leaves the call out."""
        cmd, start, arg = args[0] & 63, args[0] >> 6, args[1]
        if cmd in (*_GIVING, _DECREASE):
            return self._bad_reservation(cmd, start, arg, nested)
        if cmd == _EXCHANGE:
            return not start and self._bad_exchange(arg, nested)
        if cmd in (_CURRENT, _MAXIMUM):
            data = self._read(arg, 8)
            # How many frames the domain has is another matter on each machine.
            return cmd == _CURRENT and data is not None and int.from_bytes(data[:2], "little") in (_SELF, 0)
        if cmd in (_ADD, _REMOVE):
            self._read(arg, 24 if cmd == _ADD else 16)
            return False
        if cmd == _RAM_PAGE:
            return not start
        return cmd != 8 and cmd < 29

    def _name(self, va: int, n: int, order: int) -> None:
        for i in range(n):
            first, data = self._next_name(), self._read(va + 8 * i & _MASK, 8)
            if 1 << order > p.NAMED_FRAMES - first or data is None:
                return
            self._handles.emulator.name(first, (int.from_bytes(data, "little"),), order, 1)

    def note(self, args: list[int], rc: int) -> None:
        """Give names to what came."""
        cmd, start = args[0] & 63, args[0] >> 6
        if cmd in _GIVING and (data := self._read(args[1], 32)) is not None:
            va, nr, order, flags, _ = self._list(data)
            if start >= nr or rc < start or (cmd == _POPULATE and flags & _ON_DEMAND):
                return
            if not va:
                self.untold += rc > start
                return
            self._name(va + start * 8, rc - start, order)
            following = va + rc * 8 & _MASK
            if rc == start and 1 << 47 <= following < 0xFFFF880000000000:
                return  # refused before anything was given out
            if rc < nr and not self._is_writable(following, 8):
                self.untold += cmd != _POPULATE or self._readable(following)
        elif cmd == _EXCHANGE and not start and (data := self._read(args[1], 72)) is not None:
            old, new, done = self._list(data[:32]), self._list(data[32:64]), int.from_bytes(data[64:], "little")
            small = max(old[2], new[2]) <= p.MAX_ORDER
            if not self._done_before and 0 < done <= old[1] and small and self._read(new[0], 8) is not None:
                self._name(new[0], done << old[2] >> new[2], new[2])
            told = self._is_writable(new[0], new[1] * 8) and self._is_writable(args[1], 72)
            self.untold += rc == -_EFAULT and not told
