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
RESERVATION, EXCHANGE, MEMORY_QUESTION = 40, 41, 42
SKIPPED_KIND = 0xFFFF
_CALLS = {"mmu": MMU_UPDATE, "ext": MMUEXT, "uva": UPDATE_VA}

# What a pool frame looks like at the start: allocated and mapped by the window.
BASE = p.Book(2, 7, 0, 0, 1, 0)
# And one of the other domain: allocated.
FOREIGN_BASE = p.Book(1, 7, 0, 0, 1, 0)
_POOL = [p.POOL + i for i in range(p.FRAMES)]
_FOREIGN = [p.FOREIGN + i for i in range(p.FOREIGN_FRAMES)]


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
        oracle.set_free_frame(self._fixed[p.FREE])
        self._owners = {self._owner(oracle.pool[0]): p.SELF_OWNER, self._owner(oracle.foreign[0]): p.FOREIGN_ID}
        self._uses_memory, self._uses_foreign = False, True
        oracle.set_foreign_used(True)
        self._clear()
        if self.books(_POOL) != [BASE] * p.FRAMES or self._lost():
            raise OracleError("the pool is not clean after a boot")
        self._count_pages()

    def _count_pages(self) -> None:
        """What the guest's domain owns in the base state."""
        self.oracle.post(OP.pack(MEMORY_QUESTION, 0, 0, 3, 0x7FF0, 0, 0, 0, 0, 0))
        self.oracle.wait()
        self._pages = self.oracle.answers(1)[0].rc

    def _owner(self, mfn: int) -> int:
        return self.oracle.page_info(mfn)[2]

    def _free_frame(self) -> int:
        for mfn in range(0x3000, 0x8000):
            count, _, _ = self.oracle.page_info(mfn)
            if not count & 0xFFFFFFFF and count >> 58 & 3 == 3:
                return mfn
        raise OracleError("no free frame found")

    def _rename(self) -> None:
        pool = {p.POOL + i: self.oracle.pool[place] for i, place in self._places.items()}
        foreign = dict(zip(_FOREIGN, self.oracle.foreign, strict=True))
        self.names = p.Translator(pool | self._fixed | foreign, self._places)
        self.named: dict[int, int] = {}
        self.oracle.set_reset_pool(self._places.values())

    # ---- running

    def start(self, program: p.Program) -> None:
        """Hand a program over; it runs at once."""
        records = bytearray()
        self._program = program
        self._uses_memory = any(op[0] in ("memory", "exchange") or p.calls_memory(op) for op in program)
        self._uses_foreign = any(map(p.touches_foreign, program))
        self.oracle.set_foreign_used(self._uses_foreign)
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
        if self._uses_memory:
            self.named = {p.NAMED + i: mfn for i, mfn in enumerate(self.oracle.names()) if mfn}
            for symbol, mfn in self.named.items():
                if mfn != self._fixed[p.FREE]:
                    self.names.symbols[mfn] = symbol
        return [self._outcome(op, answers[at[i]], answers[at[i] + 1 : at[i + 1]]) for i, op in enumerate(self._program)]

    def reset(self) -> int:
        """Back to the base state; frames that do not get there are replaced, and their number is returned.

        Where handles of grants stay for ever, which is no fault of Xen's, there is a new boot.
        """
        spent = self._clear() >> 32
        stuck = [i for i, book in enumerate(self.books(_POOL)) if book != BASE]
        if lost := self._lost():
            self.retired += lost
            self.oracle.boot()
            self.begin()
            return lost
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
        if spent:
            self.oracle.boot()
            self.begin()
        return len(stuck)

    def _clear(self) -> int:
        self.oracle.post(OP.pack(RESET, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        self.oracle.wait()
        return self.oracle.answers(1)[0].value

    def _lost(self) -> int:
        """Frames got by the program that did not go back, and frames of the other domain that are not as before."""
        lost = 0
        for mfn in self.named.values():
            self.names.symbols.pop(mfn, None)
            lost += not self._has_gone_back(mfn)
        self.named = {}
        if self._uses_foreign:
            lost += sum(book != FOREIGN_BASE for book in self.books(_FOREIGN))
        return lost

    def _has_gone_back(self, mfn: int) -> bool:
        """Whether the frame is free, or of Xen's own heap: for the table of a domain's mappings of grants, say."""
        count = self.oracle.page_info(mfn)[0]
        return count >> 58 & 3 == 3 or bool(count >> 62 & 1)

    def more(self) -> dict[int, p.More]:
        """The frames that the program got, and those of the other domain that are not as before."""
        frames = dict(self.named)
        if self._uses_foreign:
            frames |= {s: self.names.frames[s] for s in _FOREIGN}
        return {s: self._more(mfn) for s, mfn in frames.items()}

    def _more(self, mfn: int) -> p.More:
        if self._has_gone_back(mfn):
            return p.FREED
        count, type_, owner = self.oracle.page_info(mfn)
        return p.More(
            self._owners.get(owner, p.UNKNOWN),
            count >> 63,
            p.book(count, type_),
            self.oracle.m2p(mfn),
            self.oracle.frame(mfn),
        )

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
        elif kind in ("poke", "pokes"):
            va, words, size = (op[1], ((op[2], op[3]),), op[4]) if kind == "poke" else op[1:]
            own = [names.word(value, of) for value, of in words]
            own += [0] * (-len(own) % 4)
            out += OP.pack(POKE, size, len(own) // 4, va, len(words), 0, 0, 0, 0, 0)
            for i in range(0, len(own), 4):
                out += OP.pack(ELEMENT, 0, 0, *own[i : i + 4], 0, 0, 0)
        elif kind == "peeks":
            out += OP.pack(NOP, 0, len(op[1]), 0, 0, 0, 0, 0, 0, 0)
            for va, _, _ in op[1]:
                out += OP.pack(ELEMENT, 0, 0, 0, 0, 0, 0, va & ~7 if p.in_scratch(va) else 0, 0, 0)
        elif kind in ("memory", "exchange"):
            self._pack_memory(op, out)
        else:
            out += OP.pack(*self._record(op))

    def _pack_memory(self, op: p.Op, out: bytearray) -> None:
        if p.endangers(op):
            out += OP.pack(SKIPPED_KIND, 0, 0, 0, 0, 0, 0, 0, 0, 0)
            return
        frame = self.names.frame
        if op[0] == "memory":
            _, cmd, domid, order, bits, clear, first, extents = op
            out += OP.pack(RESERVATION, clear, len(extents), cmd, domid, order | bits << 8, first, 0, 0, 0)
            elements = [(frame(x), p.name_number(x), 0) for x in extents]
        else:
            _, domid, other, order, out_order, done, first, frames, pfns = op
            orders = order | out_order << 8 | done << 16
            out += OP.pack(EXCHANGE, 1, len(frames) + len(pfns), domid, other, orders, first, 0, 0, 0)
            elements = [(frame(x), p.name_number(x), 0) for x in frames] + [(x, 0, 1) for x in pfns]
        for words in elements:
            out += OP.pack(ELEMENT, 0, 0, *words, 0, 0, 0, 0)

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
        if kind == "peek":
            return PEEK, op[3], 0, op[1], 0, 0, 0, 0, 0, 0
        if kind == "move":
            return MOVE, 4, 0, op[1], op[2], 0, 0, 0, 0, 0
        if kind == "syscall":
            return SYSCALL, 0, 0, op[1], 0, 0, 0, 0, 0, 0
        if kind == "memquery":
            return MEMORY_QUESTION, 0, 0, op[1], op[2], op[3], 0, 0, 0, 0
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
        if op[0] == "memquery" and op[1] == 3 and op[2] in (0x7FF0, 0):
            a = a._replace(rc=a.rc - self._pages)
        cr2, code = (names.va_back(a.cr2), a.error_code) if a.vector == 14 else (0, a.error_code)
        if p.xen_private(cr2):
            code &= ~1
        if op[0] == "cmpxchg" and a.vector == 14:
            # QEMU's processor reads before it writes; a real one faults as for a write.
            code |= 2
        if not elements or op[0] == "pokes":
            more: tuple[int, ...] = ()
        elif op[0] == "peeks":
            looks = zip(op[1], elements, strict=True)
            words = [(e.readback >> va % 8 * 8 & (1 << 8 * size) - 1, of) for (va, of, size), e in looks]
            more = p.trimmed([names.word_back(word, of) for word, of in words])
        else:
            more = p.trimmed([names.entry_back(e.readback) for e in elements])
        return p.Outcome(a.rc, a.done, a.vector, code, cr2, a.user, value, names.entry_back(a.readback), more)
