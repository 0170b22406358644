"""Random histories of writes, flushes and accesses: the caches of the C core against a plain model of the same policy.

The model keeps its entries in lists and takes out, one by one, what SDM vol. 3A, 4.10.4.1 names; it shares with the
core only the policy that the head of csrc/x86/tlb.c states.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from xenmmu import Machine
from xenmmu._core import ffi, lib

P, RW, US, A, D, PS, G, NX = 1, 2, 4, 0x20, 0x40, 0x80, 0x100, 1 << 63
ADDR = ((1 << 52) - 1) & ~0xFFF
PGE, LA57, PCIDE, SMEP, WP, NXE = 1 << 7, 1 << 12, 1 << 17, 1 << 20, 1 << 16, 1 << 11
WRITE, FETCH, USER = 1, 2, 4


@dataclass
class Item:
    """A translation, or an entry of an upper level: what it serves, under which PCID, and what it says."""

    page: int
    size: int
    pcid: int
    is_global: bool
    us: bool
    rw: bool
    xd: bool
    entry: int
    age: int

    def serves(self, va: int) -> bool:
        return self.page <= va < self.page + self.size


@dataclass
class Model:
    """A processor with caches of `places` entries each on words of memory."""

    places: int
    mem: dict[int, int]
    cr0: int = 0x80010001
    cr3: int = 0
    cr4: int = 0x20
    efer: int = 0xD00
    age: int = 0
    #: [0] translations, [n] entries of level n + 1.
    caches: list[list[Item | None]] = field(default_factory=lambda: [[], [], [], [], []])

    @property
    def levels(self) -> int:
        return 5 if self.cr4 & LA57 else 4

    @property
    def pcid(self) -> int:
        return self.cr3 & 0xFFF if self.cr4 & PCIDE else 0

    def canonical(self, va: int) -> bool:
        return va >> (8 + 9 * self.levels + 3) in (0, (1 << (64 - (11 + 9 * self.levels))) - 1)

    # ---- caches

    def find(self, cache: int, va: int) -> Item | None:
        for item in self.caches[cache]:
            if item and item.serves(va) and (item.is_global or item.pcid == self.pcid):
                return item
        return None

    def remember(self, cache: int, item: Item) -> None:
        slots = self.caches[cache]
        self.age += 1
        item.age = self.age
        if None in slots:
            slots[slots.index(None)] = item
        elif len(slots) < self.places:
            slots.append(item)
        else:
            ages = [old.age for old in slots if old]
            slots[ages.index(min(ages))] = item

    def forget(self, which: Callable[[Item], bool], *caches: int) -> None:
        for cache in caches:
            self.caches[cache] = [None if item and which(item) else item for item in self.caches[cache]]

    # ---- operations

    def mov_cr3(self, value: int) -> None:
        kept = self.cr4 & PCIDE and value >> 63
        self.cr3 = value & ~(1 << 63)
        if not kept:
            self.forget(lambda i: not i.is_global and i.pcid == self.pcid, 0)
            self.forget(lambda i: i.pcid == self.pcid, 1, 2, 3, 4)

    def mov_cr4(self, value: int) -> None:
        old, self.cr4 = self.cr4, value
        if (old ^ value) & PGE or old & ~value & PCIDE:
            self.forget(lambda i: True, 0, 1, 2, 3, 4)
        elif value & ~old & SMEP:
            self.forget(lambda i: i.pcid == self.pcid, 0, 1, 2, 3, 4)

    def wrmsr_efer(self, value: int) -> None:
        if self.efer & ~value & NXE:
            self.forget(lambda i: True, 0, 1, 2, 3, 4)
        self.efer = value

    def invlpg(self, va: int) -> None:
        if self.canonical(va):
            self.forget(lambda i: i.serves(va) and (i.is_global or i.pcid == self.pcid), 0)
            self.forget(lambda i: i.pcid == self.pcid, 1, 2, 3, 4)

    def invpcid(self, kind: int, pcid: int, va: int) -> bool:
        """Whether it does not fault."""
        if kind < 2 and pcid and not self.cr4 & PCIDE:
            return False
        if kind == 0:
            if not self.canonical(va):
                return False
            self.forget(lambda i: i.serves(va) and i.pcid == pcid and not i.is_global, 0, 1, 2, 3, 4)
        elif kind == 1:
            self.forget(lambda i: i.pcid == pcid and not i.is_global, 0, 1, 2, 3, 4)
        else:
            self.forget(lambda i: kind == 2 or not i.is_global, 0, 1, 2, 3, 4)
        return True

    def faulted(self, va: int, code: int) -> tuple[str, int]:
        self.forget(lambda i: i.serves(va) and (i.is_global or i.pcid == self.pcid), 0, 1, 2, 3, 4)
        return "#PF", code

    def judge(self, us: bool, rw: bool, xd: bool, how: int) -> bool:
        user, write, fetch = bool(how & USER), bool(how & WRITE), bool(how & FETCH)
        if user and not us:
            return False
        if fetch and ((xd and self.efer & NXE) or (us and not user and self.cr4 & SMEP)):
            return False
        return rw or not write or not (user or self.cr0 & WP)

    def access(self, va: int, how: int) -> tuple[str, int]:
        """ "pa" and the address, or the fault and its code; memory and caches are left as the access leaves them."""
        if not self.canonical(va):
            return "#GP", 0
        code = how & (WRITE | USER)
        code = (code & WRITE) << 1 | code & USER
        if how & FETCH and (self.cr4 & SMEP or self.efer & NXE):
            code |= 16
        hit = self.find(0, va)
        if hit:
            if not self.judge(hit.us, hit.rw, hit.xd, how):
                return self.faulted(va, code | 1)
            if not how & WRITE or hit.entry & D:
                return "pa", (hit.entry & ADDR & ~(hit.size - 1)) + va % hit.size
            self.forget(lambda i: i.serves(va) and (i.is_global or i.pcid == self.pcid), 0)
        table, level, us, rw, xd = self.cr3 & ADDR, self.levels, True, True, False
        for cache in (1, 2, 3, 4):
            known = self.find(cache, va)
            if known:
                table, level, us, rw, xd = known.entry & ADDR, cache, known.us, known.rw, known.xd
                break
        read: list[tuple[int, int, Item]] = []
        while True:
            size = 1 << (3 + 9 * level)
            at = table + (va // size % 512) * 8
            entry = self.mem.get(at, 0)
            large = level == 2 and bool(entry & PS)
            if not entry & P:
                return self.faulted(va, code)
            if entry & NX and not self.efer & NXE:
                return self.faulted(va, code | 9)
            us, rw, xd = us and bool(entry & US), rw and bool(entry & RW), xd or bool(entry & NX)
            leaf = large or level == 1
            read.append((at, level, Item(va - va % size, size, self.pcid, False, us, rw, xd, entry, 0)))
            if leaf:
                break
            table, level = entry & ADDR, level - 1
        if not self.judge(us, rw, xd, how):
            return self.faulted(va, code | 1)
        for at, level, item in read:
            leaf = item is read[-1][2]
            item.entry |= A | (D if leaf and how & WRITE else 0)
            item.is_global = bool(leaf and item.entry & G and self.cr4 & PGE)
            self.mem[at] |= A | (D if leaf and how & WRITE else 0)
            self.remember(0 if leaf else level - 1, item)
        return "pa", (item.entry & ADDR & ~(item.size - 1)) + va % item.size


class Both:
    """The core and the model, given the same history."""

    def __init__(self, seed: int, levels: int, places: int) -> None:
        self.r = random.Random(seed)
        self.machine = Machine(2 << 20)
        # Tables of each level, and the slots of them that addresses use; the root level last.
        self.tables = {level: (1 + 2 * level, 2 + 2 * level) for level in range(1, levels + 1)}
        self.model = Model(places, {}, cr4=0x20 | (levels == 5) * LA57)
        self.tlb = ffi.gc(lib.xm_tlb_new(self.machine._c, places), lib.xm_tlb_free)
        self.cpu = ffi.gc(lib.xm_cpu_new(self.machine._c, 46, lib.XM_VENDOR_INTEL, 1), lib.xm_cpu_free)
        self.cpu.tlb = self.tlb
        self.walk = ffi.new("struct xm_walk *")
        self.levels = levels
        self.stale = 0
        self.set(lib.XM_REG_CR4, self.model.cr4)
        for level, tables in self.tables.items():
            for table in tables:
                for slot in self.slots(level):
                    self.write(table << 12 | slot * 8, self.entry(level, P))
        self.load_cr3()

    def set(self, reg: int, value: int) -> None:
        assert lib.xm_cpu_set(self.cpu, reg, value) == 0

    def slots(self, level: int) -> tuple[int, ...]:
        return (0, 511) if level == self.levels else (0, 1)

    def write(self, at: int, value: int) -> None:
        self.machine.write64(at, value)
        self.model.mem[at] = value

    def entry(self, level: int, present: int) -> int:
        r = self.r
        flags = present | A * r.getrandbits(1) | D * r.getrandbits(1) | G * r.getrandbits(1)
        flags |= (r.random() < 0.8) * RW | (r.random() < 0.8) * US | (r.random() < 0.1) * NX
        if level == 1:
            return r.randrange(32, 64) << 12 | flags
        if level == 2 and r.random() < 0.2:
            return r.randrange(8) << 21 | flags | PS
        return r.choice(self.tables[level - 1]) << 12 | flags

    def address(self) -> int:
        r, va = self.r, self.r.randrange(4096)
        for level in range(1, self.levels + 1):
            va |= r.choice(self.slots(level)) << (3 + 9 * level)
        top = 11 + 9 * self.levels
        if va >> top & 1 and r.random() < 0.98:
            va |= (1 << 64) - (1 << top)
        return va

    # ---- one step of a history

    def store(self) -> None:
        level = self.r.randint(1, self.levels)
        at = self.r.choice(self.tables[level]) << 12 | self.r.choice(self.slots(level)) * 8
        self.write(at, self.entry(level, self.r.random() < 0.85))

    def load_cr3(self) -> None:
        value = self.r.choice(self.tables[self.levels]) << 12
        if self.model.cr4 & PCIDE:
            value |= self.r.randrange(3) | (self.r.random() < 0.7) << 63
        self.set(lib.XM_REG_CR3, value)
        self.model.mov_cr3(value)

    def change(self) -> None:
        which = self.r.choice(("pge", "pcide", "pcide", "smep", "wp", "nxe"))
        model = self.model
        if which == "wp":
            model.cr0 ^= WP
            self.set(lib.XM_REG_CR0, model.cr0)
        elif which == "nxe":
            model.wrmsr_efer(model.efer ^ NXE)
            self.set(lib.XM_REG_EFER, model.efer)
        else:
            value = model.cr4 ^ {"pge": PGE, "pcide": PCIDE, "smep": SMEP}[which]
            refused = value & ~model.cr4 & PCIDE and model.cr3 & 0xFFF
            assert lib.xm_cpu_set(self.cpu, lib.XM_REG_CR4, value) == (lib.XM_E_GP if refused else 0)
            if not refused:
                model.mov_cr4(value)

    def flush(self) -> None:
        va, kind, pcid = self.address(), self.r.randrange(-4, 4), self.r.randrange(3)
        if kind < 0:
            lib.xm_cpu_invlpg(self.cpu, va)
            self.model.invlpg(va)
        else:
            status = lib.xm_cpu_invpcid(self.cpu, kind, pcid, va)
            assert status == (0 if self.model.invpcid(kind, pcid, va) else lib.XM_E_GP)

    def access(self) -> None:
        va = self.address()
        how = self.r.choice((0, WRITE, FETCH)) | self.r.choice((0, USER))
        plain = self.result(lib.xm_walk(self.cpu, va, how, self.walk))
        found = self.result(lib.xm_access(self.cpu, va, how, self.walk))
        assert found == self.model.access(va, how), f"{va:#x}, access {how}"
        self.stale += found != plain
        assert all(self.machine.read64(at) == word for at, word in self.model.mem.items())
        alive = sum(item is not None for item in self.model.caches[0])
        assert lib.xm_tlb_used(self.tlb) == alive

    def result(self, fault: int) -> tuple[str, int]:
        if not fault:
            return "pa", self.walk.pa
        return ("#PF" if fault == lib.XM_FAULT_PF else "#GP"), self.walk.error_code

    def step(self) -> None:
        kinds = (self.store, self.load_cr3, self.change, self.flush, self.access)
        self.r.choices(kinds, (3, 1, 0.25, 1, 8))[0]()

    def trial(self) -> None:
        before = copy.deepcopy(self.model)
        with self.machine.trial():
            for _ in range(self.r.randrange(20)):
                self.step()
        self.model = before


def run(seed: int, levels: int, places: int, steps: int) -> int:
    """How many accesses ended otherwise than the tables of then say."""
    both = Both(seed, levels, places)
    for _ in range(steps):
        if both.r.random() < 0.02:
            both.trial()
        both.step()
    return both.stale


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("places", [1, 3, 64])
def test_the_caches_are_those_of_the_model(levels: int, places: int) -> None:
    stale = 0
    for seed in range(20):
        print(f"seed {seed}, {levels} levels, {places} places")
        stale += run(seed, levels, places, 250)
    # The histories are such that caches matter.
    assert stale > (40 if places > 1 else 5)
