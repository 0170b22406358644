"""Real Xen's side of a comparison: symbolic programs packed for the guest, its answers in symbols.

Knows: both the program's and the mailbox's format, which pool frames are in use.  Does not know: the emulator.
"""

from __future__ import annotations

from typing import Any

import program as p
from oracle import MAX_OPS, OP, POOL, RO_M2P, Answer, Oracle, OracleError

PAGE = p.PAGE
(NOP, ELEMENT, MMU_UPDATE, MMUEXT, UPDATE_VA, UPDATE_VA_OTHER, VM_ASSIST, LOAD, STORE, CMPXCHG, FETCH) = range(11)
USER, RESET, MULTICALL = 4, 17, 18
SET_GDT, UPDATE_DESCRIPTOR, SELECTOR, IRET = 32, 33, 34, 36
HYPERCALL, POKE, PEEK, MOVE, SYSCALL = range(50, 55)
READBACK_L1 = 1
_CALLS = {"mmu": MMU_UPDATE, "ext": MMUEXT, "uva": UPDATE_VA}

# What a pool frame looks like at the start: allocated and mapped by the window.
BASE = p.Book(2, 7, 0, 0, 1, 0)


class Referee:
    """Runs symbolic programs on an :class:`Oracle`, from the same base state each time."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.retired = 0
        self.begin()

    def begin(self) -> None:
        """After a boot: name the frames and clear the pool."""
        oracle = self.oracle
        self._places = dict(enumerate(range(p.FRAMES)))
        self._next = p.FRAMES
        boot = oracle.boot_l4
        self._fixed = {
            p.BOOT_L4: boot,
            p.STUB_L3: oracle.stub_l3,
            p.UD: oracle.ud,
            p.SHARED_INFO: oracle.shared_info,
            p.XEN_TEXT: 0x200,
            p.FREE: self._free_frame(),
            p.M2P: oracle.translate(RO_M2P) // PAGE,
            p.KERNEL_L3: oracle.read64(boot * PAGE + p.KERNEL_SLOT * 8) >> 12 & p.MFN_MASK,
            p.WINDOW_L3: oracle.read64(boot * PAGE + p.WINDOW_SLOT * 8) >> 12 & p.MFN_MASK,
        }
        self._rename()
        if self.reset():
            raise OracleError("the pool is not clean after a boot")

    def _free_frame(self) -> int:
        for mfn in range(0x3000, 0x8000):
            count, _, _ = self.oracle.page_info(mfn)
            if not count & 0xFFFFFFFF and count >> 58 & 3 == 3:
                return mfn
        raise OracleError("no free frame found")

    def _rename(self) -> None:
        pool = {p.POOL + i: self.oracle.pool[place] for i, place in self._places.items()}
        self.names = p.Translator(pool | self._fixed, self._places)
        self.oracle.set_reset_pool(self._places.values())

    # ---- running

    def start(self, program: p.Program) -> None:
        """Hand a program over; it runs at once."""
        records = bytearray()
        self._program = program
        self._at = []
        for op in program:
            self._at.append(len(records) // OP.size)
            self._pack(op, records)
        self._at.append(len(records) // OP.size)
        if len(records) > MAX_OPS * OP.size:
            raise OracleError("the program is too long for the mailbox")
        self.oracle.post(records)

    def finish(self) -> list[p.Outcome]:
        """Wait for the program handed over; one outcome for each operation."""
        self.oracle.wait()
        at, answers = self._at, self.oracle.answers(self._at[-1])
        return [self._outcome(op, answers[at[i]], answers[at[i] + 1 : at[i + 1]]) for i, op in enumerate(self._program)]

    def reset(self) -> int:
        """Back to the base state; frames that do not get there are replaced, and their number is returned."""
        self.oracle.post(OP.pack(RESET, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        self.oracle.wait()
        stuck = [i for i, book in enumerate(self.books([p.POOL + i for i in range(p.FRAMES)])) if book != BASE]
        if stuck:
            self.retired += len(stuck)
            if self._next + len(stuck) > POOL:
                self.oracle.boot()
                self.begin()
                return len(stuck)
            for i in stuck:
                self._places[i] = self._next
                self._next += 1
            self._rename()
            self.reset()
        return len(stuck)

    def books(self, symbols: list[int]) -> list[p.Book]:
        """What Xen's frame table says of each frame."""
        return [p.book(*self.oracle.page_info(self.names.frames[s])[:2]) for s in symbols]

    def m2p(self, symbol: int) -> int:
        """The M2P's word for a frame."""
        return self.oracle.m2p(self.names.frames[symbol])

    def contents(self, symbol: int) -> bytes:
        """The 4096 bytes of a frame."""
        return self.oracle.frame(self.names.frames[symbol])

    # ---- packing

    def _readback_va(self, ptr: int) -> int:
        symbol = ptr >> 12 & p.MFN_MASK
        if symbol == p.BOOT_L4:
            return int(self.oracle.boot_l4_va) + (ptr & 0xFF8)
        if p.POOL <= symbol < p.POOL + p.FRAMES:
            return p.WINDOW + self._places[symbol - p.POOL] * PAGE + (ptr & 0xFF8)
        return 0

    def _pack(self, op: p.Op, out: bytearray) -> None:
        names, kind = self.names, op[0]
        if kind == "mmu":
            _, foreigndom, bits, requests = op
            one = len(requests) == 1
            back = self._readback_va(requests[0][0]) if one else 0
            out += OP.pack(MMU_UPDATE, 0, len(requests), foreigndom, bits, 0, 0, back, 0, 0)
            for ptr, val in requests:
                back = 0 if one else self._readback_va(ptr)
                out += OP.pack(ELEMENT, 0, 0, names.entry(ptr), names.entry(val), 0, 0, back, 0, 0)
        elif kind == "ext":
            _, foreigndom, bits, operations = op
            out += OP.pack(MMUEXT, 0, len(operations), foreigndom, bits, 0, 0, 0, 0, 0)
            for operation in operations:
                out += OP.pack(ELEMENT, 0, 0, *names.ext(*operation), 0, 0, 0, 0)
        elif kind == "gdt":
            out += OP.pack(SET_GDT, 0, len(op[2]), op[1], 0, 0, 0, 0, 0, 0)
            for frame in op[2]:
                out += OP.pack(ELEMENT, 0, 0, names.frame(frame), 0, 0, 0, 0, 0, 0)
        elif kind == "hyper":
            args = [names.word(value, of) for value, of in op[2]]
            args += [0] * (6 - len(args))
            out += OP.pack(HYPERCALL, 0, 2, op[1], 0, 0, 0, 0, 0, 0)
            out += OP.pack(ELEMENT, 0, 0, *args[:3], 0, 0, 0, 0)
            out += OP.pack(ELEMENT, 0, 0, *args[3:], 0, 0, 0, 0)
        elif kind == "multi":
            out += OP.pack(MULTICALL, 0, len(op[1]), 0, 0, 0, 0, 0, 0, 0)
            for call in op[1]:
                back = {"mmu": self._readback_va(call[1]), "uva": READBACK_L1}.get(call[0], 0)
                out += OP.pack(ELEMENT, 0, 0, _CALLS[call[0]], *names.call(call), back, 0, 0)
        else:
            out += OP.pack(*self._record(op))

    def _record(self, op: p.Op) -> tuple[Any, ...]:
        names, kind = self.names, op[0]
        if kind in ("uva", "uvo"):
            flags = names.va(op[3] & ~3) | op[3] & 3
            number, domid = (UPDATE_VA, 0) if kind == "uva" else (UPDATE_VA_OTHER, op[4])
            return number, 0, 0, names.va(op[1]), names.entry(op[2]), flags, domid, READBACK_L1, 0, 0
        if kind == "assist":
            return VM_ASSIST, 0, 0, op[1], op[2], 0, 0, 0, 0, 0
        if kind == "desc":
            return UPDATE_DESCRIPTOR, 0, 0, names.entry(op[1]), op[2], 0, 0, self._readback_va(op[1] & ~7), 0, 0
        if kind == "iret":
            return IRET, op[5], 0, names.va(op[1]), op[2], op[3], op[4], 0, 0, 0
        if kind == "selector":
            return SELECTOR + op[1], 0, 0, op[2], 0, 0, 0, 0, 0, 0
        if kind == "poke":
            return POKE, op[4], 0, op[1], names.word(op[2], op[3]), 0, 0, 0, 0, 0
        if kind == "peek":
            return PEEK, op[3], 0, op[1], 0, 0, 0, 0, 0, 0
        if kind == "move":
            return MOVE, 4, 0, op[1], op[2], 0, 0, 0, 0, 0
        if kind == "syscall":
            return SYSCALL, 0, 0, op[1], 0, 0, 0, 0, 0, 0
        if kind == "read":
            return NOP, 0, 0, 0, 0, 0, 0, self._readback_va(op[1]), 0, 0
        mode = USER if op[1] else 0
        va = names.va(op[2])
        if kind == "load":
            return LOAD + mode, op[3], 0, va, 0, 0, 0, 0, 0, 0
        if kind == "store":
            back = va & ~7 if p.in_window(op[2]) else 0
            return STORE + mode, op[3], 0, va, names.entry(op[4]), 0, 0, back, 0, 0
        if kind == "cmpxchg":
            return CMPXCHG + mode, op[3], 0, va, names.entry(op[4]), names.entry(op[5]), 0, 0, 0, 0
        return FETCH + mode, 0, 0, va, 0, 0, 0, 0, 0, 0

    def _outcome(self, op: p.Op, a: Answer, elements: list[Answer]) -> p.Outcome:
        names, value = self.names, a.value
        if value and op[0] in ("load", "cmpxchg"):
            value = names.value_back(value, op[3])
        elif op[0] == "peek":
            value = names.word_back(value, op[2])
        elif op[0] == "store":
            value = 0
        cr2, code = (names.va_back(a.cr2), a.error_code) if a.vector == 14 else (0, a.error_code)
        if p.xen_private(cr2):
            code &= ~1
        if op[0] == "cmpxchg" and a.vector == 14:
            # QEMU's processor reads before it writes; a real one faults as for a write.
            code |= 2
        more = p.trimmed(names.entry_back(e.readback) for e in elements) if elements else ()
        return p.Outcome(a.rc, a.done, a.vector, code, cr2, a.user, value, names.entry_back(a.readback), more)
