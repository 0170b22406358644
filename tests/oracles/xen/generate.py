"""Random symbolic programs that reach deep states: most operations are such that Xen accepts them.

Every frame has a role in its program, and the generator looks at the emulator's state, which runs each operation as
soon as it is made, to aim at tables that are there.  A part of everything is wrong on purpose.

Knows: symbolic programs, the shape of page tables.  Does not know: what is right or wrong.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import generate_descriptors
import generate_handles
import generate_memop
import generate_memory
import program as p
from emulator import Emulator

PAGE = p.PAGE
P, RW, US, PWT, PCD, A, D, PAT, G = (1 << i for i in range(9))
NX, K = 1 << 63, 1 << 52
SELF, IO, XEN, COW, OWN = 0x7FF0, 0x7FF1, 0x7FF2, 0x7FF3, 0
DATA, L1, L2, L3, L4 = range(5)
# Of type_info.
_PINNED, _COUNT = 1 << 59, (1 << 55) - 1

#: Slots that programs use, so that they meet again.
SLOTS = {4: (3, 5, 255, 272, 310), 3: (0, 7, 511), 2: (0, 1, 511), 1: (0, 1, 5, 300, 511)}
_ODD_SLOTS = {4: (0, 256, 257, 258, 260, 271, 299, 300, 301, 511), 3: (256, 260), 2: (256,), 1: (256, 258)}
#: Device memory and the like, by what Xen makes of it: VGA, I/O APIC, HPET, local APIC, holes, too high.
DEVICES = (0xB8, 0xA0, 0xFEC00, 0xFED00, 0xFEE00, 0xFEEFF, 0x40000, 0xFD00000, 1 << 28, (1 << 40) - 1)
_OTHERS = (p.UD, p.UD, p.SHARED_INFO, p.XEN_TEXT, p.FREE, p.M2P, p.STUB_L3, p.BOOT_L4, p.BOOT_L4, p.KERNEL_L3)
_AREAS: tuple[int, ...] = (
    0xFFFF800000000000,
    0xFFFF808000000000,
    0xFFFF810000000000,
    0xFFFF820000000000,
    0xFFFF82D040200000,
)
_AREAS += (0xFFFF830000000000, 0xFFFF838000000000, 0x0000800000000000, 0x1234567890ABC000, 0, 0x7FFFFFFFF000)


def canonical(va: int) -> int:
    """Extend bit 47."""
    return va | 0xFFFF000000000000 if va >> 47 & 1 else va


class Generator:
    """Makes the program of one seed, running it on an emulator in its base state."""

    def __init__(self, emulator: Emulator, seed: int, length: int) -> None:
        self._rng = rng = random.Random(seed)
        self._emulator = emulator
        self._length = length
        self.program: p.Program = []
        self.outcomes: list[p.Outcome] = []
        order = [L1] * 10 + [L2] * 6 + [L3] * 4 + [L4] * 6 + [DATA] * 6
        rng.shuffle(order)
        self.role = order
        self.by_role = {r: [p.POOL + i for i in range(p.FRAMES) if order[i] == r] for r in range(5)}
        self._mood = rng.choice((0.03, 0.1, 0.1, 0.25))
        self._actions: list[tuple[Callable[[], None], int]] = [
            (self._fill, 22),
            (self._update, 22),
            (self._hook, 6),
            (self._pin, 8),
            (self._unpin, 5),
            (self._root, 3),
            (self._make_root, 2),
            (self._user_session, 2),
            (self._kernel_session, 1),
            (self._whole_page, 3),
            (self._uva, 8),
            (self._access, 14),
            (self._batch, 4),
            (self._flush, 2),
            (self._multi, 3),
            (self._linear, 4),
            (self._oddity, 2),
            (self._read, 1),
        ]
        self._actions += [(functools.partial(f, self), n) for f, n in generate_descriptors.ACTIONS]
        self._made = 0
        #: Grants mapped: by the address of the request, where it was mapped.
        self.mappings: dict[int, tuple[int, int]] = {}
        #: References of the entries that were written.
        self.granted: list[tuple[int, int]] = []
        #: Frames that the program got from Xen.
        self.holdings = generate_memory.Holdings()
        self._actions += [(functools.partial(f, self), n) for f, n in generate_handles.ACTIONS]
        if rng.random() < 0.3:
            self._actions += [(lambda: generate_memory.memory(self), 14), (lambda: generate_memory.foreign(self), 18)]
            self._actions += [(functools.partial(f, self), n) for f, n in generate_memop.ACTIONS]

    def run(self) -> p.Program:
        """Make the program; its outcomes on the emulator stand in ``outcomes``."""
        rng = self._rng
        actions, weights = zip(*self._actions, strict=True)
        if rng.random() < 0.9:
            self._tree()
        while self._made < self._length:
            rng.choices(actions, weights)[0]()
        return self.program

    def _emit(self, *op: object) -> p.Outcome:
        self.program.append(op)
        self._made += op[0] not in p.MEMORY
        outcome = self._emulator.run([op])[0]
        self.outcomes.append(outcome)
        return outcome

    def _mmu(self, ptr: int, val: int, foreigndom: int = SELF, bits: int = 0) -> p.Outcome:
        return self._emit("mmu", foreigndom, bits, ((ptr, val),))

    def _ext(self, cmd: int, arg1: int = 0, arg2: int = 0, foreigndom: int = SELF) -> p.Outcome:
        return self._emit("ext", foreigndom, 0, ((cmd, arg1, arg2),))

    # ---- choices

    def _wrong(self) -> bool:
        return self._rng.random() < self._mood

    def _any_frame(self) -> int:
        return p.POOL + self._rng.randrange(p.FRAMES)

    def _slot(self, level: int) -> int:
        rng = self._rng
        if self._wrong():
            return rng.choice((*_ODD_SLOTS[level], rng.randrange(512)))
        return rng.choice(SLOTS[level])

    def _flags(self, level: int) -> int:
        rng = self._rng
        flags = P | US
        if rng.random() < 0.6:
            flags |= RW
        if rng.random() < 0.25:
            flags ^= US
        if rng.random() < 0.4:
            flags |= rng.choice((A, D, A | D, NX, K, 0x200, 0x800, 1 << 58, 1 << 62, G if level == 1 else A))
        if self._wrong():
            flags ^= rng.choice((PWT, PCD, PAT, G, PWT | PCD, PAT | PCD, 1 << 53, NX | K, P, P, RW))
        return flags

    def _entry(self, level: int) -> int:
        """A value for an entry of a table of `level`."""
        rng = self._rng
        roll = rng.random()
        if roll < 0.08:
            return rng.choice((0, 0, 0, 0xFFE, 0x40000 << 12 | 6, NX | 2, self._any_frame() << 12 | 6))
        flags = self._flags(level)
        if self._wrong():
            frame = rng.choice((*_OTHERS, self._any_frame(), rng.choice(DEVICES)))
        elif level == 1:
            if roll < 0.55:
                frame = rng.choice(self.by_role[DATA])
            elif roll < 0.9:
                frame, flags = self._any_frame(), flags & ~RW
            else:
                frame = rng.choice((p.UD, rng.choice(DEVICES), p.SHARED_INFO))
                flags = flags & ~RW if frame == p.UD else flags
        else:
            frame = rng.choice(self.by_role[level - 1])
        if frame == p.UD or (frame == p.SHARED_INFO and not flags & PCD):
            flags &= ~RW
        return frame << 12 | flags

    def _tables(self) -> list[tuple[int, int]]:
        """Frames that are validated tables now, with their level."""
        words = self._emulator.type_words()
        return [(p.POOL + i, w >> 61) for i, w in enumerate(words) if w & _COUNT and 1 <= w >> 61 <= 4]

    # ---- actions

    def _fill(self) -> None:
        """An entry of a frame according to its role, whatever it is now."""
        frame = self._any_frame()
        level = self.role[frame - p.POOL] or 1
        self._mmu(frame << 12 | self._slot(level) * 8, self._entry(level))

    def _update(self) -> None:
        """An entry of a validated table."""
        tables = self._tables()
        if not tables:
            self._fill()
            return
        rng = self._rng
        frame, level = rng.choice(tables)
        slot = self._slot(level)
        ptr = frame << 12 | slot * 8
        command = rng.choices((0, 2, 3, 4), (80, 14, 5, 1))[0]
        value = self._entry(level)
        if rng.random() < 0.25:
            # The same frame with other flags: the fast path and its border.
            old = self._emulator._readback(ptr)
            if old & P and old >> 12 & p.MFN_MASK != p.UNKNOWN:
                value = old ^ rng.choice((RW, A, D, A | D, US, NX, 0x200, K, G, RW | NX, PWT, PCD, P))
        fd = rng.choice((IO, XEN, OWN, COW)) if self._wrong() and self._wrong() else SELF
        self._mmu(ptr | command, value, fd)

    def _hook(self) -> None:
        rng = self._rng
        frame = self._any_frame() if self._wrong() else rng.choice(self.by_role[L3])
        slot = rng.choice(SLOTS[4])
        value = 0 if rng.random() < 0.2 else frame << 12 | self._flags(4)
        self._mmu(p.BOOT_L4 << 12 | slot * 8 | (2 if rng.random() < 0.1 else 0), value)

    def _tree(self) -> None:
        """Four tables, one below the other, hooked into the boot L4."""
        rng = self._rng
        chain = [rng.choice(self.by_role[level]) for level in (L3, L2, L1)]
        data = rng.choice(self.by_role[DATA])
        slots = [rng.choice(SLOTS[level]) for level in (4, 3, 2, 1)]
        flags = P | RW | US | (A if rng.random() < 0.5 else 0)
        tables = [p.BOOT_L4, *chain]
        for table, slot, target in reversed(list(zip(tables, slots, [*chain, data], strict=True))):
            self._mmu(table << 12 | slot * 8, target << 12 | flags)

    def _pin(self) -> None:
        frame = self._any_frame()
        level = self.role[frame - p.POOL] or self._rng.choice((1, 2, 3, 4))
        if self._wrong():
            level = self._rng.randrange(1, 5)
        fd = self._rng.choice((IO, XEN, OWN)) if self._wrong() and self._wrong() else SELF
        self._ext(level - 1, frame, 0, fd)

    def _unpin(self) -> None:
        pinned = [p.POOL + i for i, w in enumerate(self._emulator.type_words()) if w & _PINNED]
        frame = self._rng.choice(pinned) if pinned and not self._wrong() else self._any_frame()
        self._ext(4, frame)

    def _make_root(self) -> None:
        """Give an L4 what a kernel or a user root needs."""
        rng = self._rng
        frame = rng.choice(self.by_role[L4])
        slots = [(p.STUB_SLOT, p.STUB_L3), (p.WINDOW_SLOT, p.WINDOW_L3), (p.KERNEL_SLOT, p.KERNEL_L3)]
        if rng.random() < 0.4:
            del slots[rng.choice((1, 2)) :]
        requests = tuple((frame << 12 | slot * 8, table << 12 | P | RW | US | A) for slot, table in slots)
        if rng.random() < 0.7:
            slot, table = rng.choice(SLOTS[4]), rng.choice(self.by_role[L3])
            requests += ((frame << 12 | slot * 8, table << 12 | self._flags(4)),)
        self._emit("mmu", SELF, 0, requests)

    def _root(self) -> None:
        rng = self._rng
        frame = self._any_frame() if self._wrong() else rng.choice((*self.by_role[L4], p.BOOT_L4))
        command = rng.choice((5, 15, 15))
        if command == 15 and rng.random() < 0.1:
            frame = 0
        fd = IO if self._wrong() and self._wrong() else SELF
        self._ext(command, frame, 0, fd)

    def _user_session(self) -> None:
        """A user root, and accesses with it."""
        rng = self._rng
        frame = rng.choice(self.by_role[L4])
        flags = P | RW | US | A
        requests = [(frame << 12 | p.STUB_SLOT * 8, p.STUB_L3 << 12 | flags)]
        if rng.random() < 0.7:
            requests.append((frame << 12 | p.WINDOW_SLOT * 8, p.WINDOW_L3 << 12 | flags))
        old = [self._emulator._readback(p.BOOT_L4 << 12 | slot * 8) for slot in SLOTS[4]]
        for slot, entry in zip(SLOTS[4], old, strict=True):
            # What the kernel has hooked up, so that both see the same tables.
            if entry & P and rng.random() < 0.7:
                requests.append((frame << 12 | slot * 8, entry))
        if rng.random() < 0.4:
            requests.append((frame << 12 | rng.choice(SLOTS[4]) * 8, frame << 12 | P | US))
        self._emit("mmu", SELF, 0, tuple(requests))
        if self._ext(15, frame).rc == 0:
            for _ in range(rng.randrange(2, 6)):
                self._access(1)

    def _kernel_session(self) -> None:
        """A copy of the boot L4 as the kernel's root."""
        frame = self._rng.choice(self.by_role[L4])
        if self._ext(17, frame, p.BOOT_L4).rc == 0:
            if self._rng.random() < 0.5:
                self._ext(3, frame)
            self._ext(5, frame)

    def _whole_page(self) -> None:
        rng = self._rng
        frame = self._any_frame()
        if rng.random() < 0.5:
            self._ext(16, frame)
        else:
            sources = [
                f for f in range(p.POOL, p.POOL + p.FRAMES) if self.role[f - p.POOL] == self.role[frame - p.POOL]
            ]
            source = p.BOOT_L4 if self.role[frame - p.POOL] == L4 and rng.random() < 0.7 else rng.choice(sources)
            self._ext(17, frame, self._any_frame() if self._wrong() else source)

    # ---- addresses

    def _va(self, root: int, level: int = 1) -> int:
        """An address whose path exists, mostly, down to the entry of `level`."""
        rng, emulator = self._rng, self._emulator
        if self._wrong() and rng.random() < 0.4:
            return rng.choice((*_AREAS, rng.getrandbits(48) & ~4095))
        va = 0
        mfn: int | None = root
        for at in range(4, 0, -1):
            slots = list(SLOTS[at])
            rng.shuffle(slots)
            chosen = slots[0]
            if mfn is not None and at >= level and rng.random() < 0.95:
                chosen = next((s for s in slots if emulator._entry(mfn, s) & P), chosen)
            va |= chosen << (3 + 9 * at)
            if mfn is not None:
                entry = emulator._entry(mfn, chosen)
                mfn = entry >> 12 & p.MFN_MASK if entry & P else None
                if mfn is not None and mfn >= emulator.machine.frames:
                    mfn = None
        return canonical(va)

    def _uva(self) -> None:
        rng = self._rng
        va = self._va(self._emulator.domain.kernel_root, 2)
        flags = rng.choice((0, 0, 1, 2, 2, 3, 4 | 1, 4 | 2))
        if self._wrong():
            flags = rng.choice((1, 2)) | rng.choice((p.WINDOW, 0x10000, 0xFFFF830000000000))
        if rng.random() < 0.1:
            domid = rng.choice((SELF, SELF, IO, XEN, OWN, COW, 77))
            self._emit("uvo", va, self._entry(1), flags, domid)
        else:
            self._emit("uva", va, self._entry(1), flags)

    def _access(self, mode: int | None = None) -> None:
        rng, d = self._rng, self._emulator.domain
        user = mode if mode is not None else int(bool(d.user_root) and rng.random() < 0.5)
        roll = rng.random()
        if roll < 0.3:
            # The window: read-only, and tables among what it shows are written by emulation.
            tables = [f for f, at in self._tables() if at == L1]
            frame = rng.choice(tables) if tables and rng.random() < 0.6 else self._any_frame()
            level = self.role[frame - p.POOL] or 1
            va = p.WINDOW + (frame - p.POOL) * PAGE + self._slot(level) * 8
        elif roll < 0.35:
            va = rng.choice((p.USER_UD, p.USER_STUB))
        else:
            va = self._va(d.user_root if user else d.kernel_root)
            va += self._slot(1) * 8 if rng.random() < 0.5 else 0
            level = 1
        kind = rng.choices(("load", "store", "fetch"), (4, 5, 2))[0]
        if kind == "fetch":
            self._emit("fetch", user, va & ~4095)
            return
        size, offset = rng.choice(((8, 0),) * 8 + ((4, 0), (4, 4), (2, 6), (1, 0), (1, 7)))
        if p.USER_STUB <= va < p.USER_STUB + PAGE and kind == "load":
            va += PAGE
        if self._wrong() and kind == "store" and va != 0x7FFFFFFFF000 + 0xFF8:
            # Not across the end of the canonical addresses: the oracle's processor checks the first page only.
            size, offset = 8, 4
        if kind == "load":
            self._emit("load", user, va + offset, size)
        else:
            if offset == 0:
                value = self._entry(1) & (1 << 8 * size) - 1 if size < 4 else self._entry(1)
            else:
                # Frame numbers are symbols: what is written besides them must not reach into one.
                value = rng.choice((0, 0, 1 << 8 * size - 1 if size < 8 else 1 << 31, 0x80 if size == 1 else 0))
            self._emit("store", user, va + offset, size, value)

    # ---- the rest

    def _batch(self) -> None:
        """Several requests in one call."""
        rng = self._rng
        requests = []
        for _ in range(rng.randrange(2, 9)):
            frame = self._any_frame()
            level = self.role[frame - p.POOL] or 1
            requests.append((frame << 12 | self._slot(level) * 8, self._entry(level)))
        self._emit("mmu", SELF, 0x80000000 if rng.random() < 0.05 else 0, tuple(requests))

    def _multi(self) -> None:
        """Several calls in one."""
        rng = self._rng
        calls: list[tuple[object, ...]] = []
        for _ in range(rng.randrange(2, 9)):
            kind = rng.random()
            frame = self._any_frame()
            level = self.role[frame - p.POOL] or 1
            if kind < 0.6:
                tables = self._tables()
                if tables and rng.random() < 0.6:
                    frame, level = rng.choice(tables)
                value = self._entry(level)
                if value >> 12 & p.MFN_MASK not in (p.STUB_L3, p.KERNEL_L3):
                    calls.append(("mmu", frame << 12 | self._slot(level) * 8 | rng.choice((0, 0, 2)), value))
            elif kind < 0.8:
                va = self._va(self._emulator.domain.kernel_root, 2)
                calls.append(("uva", va, self._entry(1), rng.choice((0, 1, 2))))
            else:
                calls.append(("ext", rng.choice((level - 1, level - 1, 4, 16, 6)), frame, 0))
        self._emit("multi", tuple(calls))

    def _flush(self) -> None:
        rng = self._rng
        command = rng.choice((6, 7, 8, 9, 10, 11, 12, 18, 13))
        arg1, arg2 = rng.choice((*_AREAS, p.WINDOW)), 0
        if command in (8, 9):
            arg2 = rng.choice((p.WINDOW, 0x10000))
        if command == 13:
            arg1, arg2 = rng.choice((0, 0x1000, 0x1234, *_AREAS)), rng.choice((0, 1, 8192, 8193))
        self._ext(command, arg1, arg2, IO if self._wrong() else SELF)

    def _linear(self) -> None:
        """An entry that leads to a table of its own level."""
        rng = self._rng
        level = rng.choice((4, 4, 3, 2))
        tables = [f for f, at in self._tables() if at == level]
        if level == 4:
            tables.append(p.BOOT_L4)
        if not tables:
            self._fill()
            return
        holder = rng.choice(tables)
        target = holder if rng.random() < 0.5 else rng.choice((*tables, *self.by_role[level]))
        flags = self._flags(level) & ~(0 if self._wrong() else RW)
        ptr = holder << 12 | (rng.choice(SLOTS[4]) if holder == p.BOOT_L4 else self._slot(level)) * 8
        done = self._mmu(ptr, target << 12 | flags)
        if done.rc == 0 and rng.random() < 0.4:
            self._mmu(ptr, done.readback ^ rng.choice((RW, RW, A, NX, US, RW | A)))

    def _oddity(self) -> None:
        rng = self._rng
        roll = rng.randrange(8)
        if roll == 0:
            self._emit("assist", rng.choice((0, 1, 1, 2)), rng.choice((2, 2, 32, 0, 6, 64)))
        elif roll == 1:
            self._ext(rng.choice((14, 19, 20, 21, 99)), self._any_frame())
        elif roll == 2:
            self._ext(rng.choice((0, 4, 16, 17, 5, 15)), rng.choice((p.UD, 0xB8, p.XEN_TEXT, p.FREE, p.M2P, 0x40000)))
        elif roll == 3:
            target = rng.choice((0xB8, p.XEN_TEXT, p.FREE, p.M2P, 0x40000, p.SHARED_INFO))
            self._mmu(target << 12 | 0xFF8, 0)
        elif roll == 4:
            fd = rng.choice((0x10000 | SELF, 0x630000 | SELF, OWN, 77, IO))
            self._mmu(self._any_frame() << 12, 0, fd)
        elif roll == 5:
            target = self._any_frame() if rng.random() < 0.7 else rng.choice((0xB8, p.XEN_TEXT, p.M2P, p.FREE, 0x40000))
            fd = rng.choice((SELF, SELF, SELF, IO, XEN))
            self._mmu(target << 12 | rng.choice((0, 0xFF8)) | 1, rng.choice((0, 5, (1 << 64) - 1)), fd)
        elif roll == 6:
            # Mappings of Xen's frames, and their use as tables by way of linear entries.
            self._emit(
                "uvo", self._va(self._emulator.domain.kernel_root, 2), p.M2P << 12 | self._flags(1) & ~RW, 0, XEN
            )
        else:
            self._emit("mmu", rng.choice((SELF, OWN, 0x1234)), rng.choice((0, 0x80000000)), ())

    def _read(self) -> None:
        self._emit("read", self._any_frame() << 12 | self._slot(1) * 8)
