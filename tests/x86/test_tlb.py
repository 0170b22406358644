"""The TLB of the C core: what it keeps, what a flush drops, and that a trial undoes it."""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import BadArgument, Cpu, Machine, PageFault
from xenmmu._core import ffi, lib

P, RW, US, A, D, G = lib.XM_PTE_P, lib.XM_PTE_RW, lib.XM_PTE_US, lib.XM_PTE_A, lib.XM_PTE_D, lib.XM_PTE_G
READ, WRITE, USER = lib.XM_ACC_READ, lib.XM_ACC_WRITE, lib.XM_ACC_USER
ROOT, L3, L2, L1 = 1, 2, 3, 4


class World:
    """One processor with a TLB on a machine whose tables map 512 pages from address 0."""

    def __init__(self, entries: int = 8) -> None:
        self.machine = Machine(64 << 12)
        m = self.machine
        for table, below in ((ROOT, L3), (L3, L2), (L2, L1)):
            m.write64(table << 12, (below << 12) | P | RW | US)
        for page in range(40):
            self.map(page, 10 + page)
        self.tlb = ffi.gc(lib.xm_tlb_new(m._c, entries), lib.xm_tlb_free)
        self.cpu = ffi.gc(lib.xm_cpu_new(m._c, 46, lib.XM_VENDOR_INTEL, 1), lib.xm_cpu_free)
        self.cpu.tlb = self.tlb
        self.walk = ffi.new("struct xm_walk *")
        assert lib.xm_cpu_set(self.cpu, lib.XM_REG_CR3, ROOT << 12) == 0

    def map(self, page: int, mfn: int, flags: int = P | RW | US) -> None:
        self.machine.write64((L1 << 12) + page * 8, (mfn << 12) | flags)

    def entry(self, page: int) -> int:
        return self.machine.read64((L1 << 12) + page * 8)

    def flush(self, globals_too: bool = False) -> None:
        kind = lib.XM_INVPCID_ALL if globals_too else lib.XM_INVPCID_ALL_BUT_GLOBAL
        assert lib.xm_cpu_invpcid(self.cpu, kind, 0, 0) == 0

    def access(self, va: int, access: int = READ) -> Any:
        lib.xm_access(self.cpu, va, access, self.walk)
        return self.walk

    def pa(self, va: int, access: int = READ) -> int:
        w = self.access(va, access)
        assert w.fault == 0, f"fault {w.fault}, code {w.error_code:#x}"
        return int(w.pa)

    def code(self, va: int, access: int = READ) -> int:
        w = self.access(va, access)
        assert w.fault == lib.XM_FAULT_PF
        return int(w.error_code)


def test_a_translation_stays_until_it_is_flushed() -> None:
    w = World()
    assert w.pa(0x5123) == (15 << 12) + 0x123
    w.map(5, 60)
    assert w.pa(0x5123) == (15 << 12) + 0x123
    assert w.walk.nsteps == 0
    lib.xm_cpu_invlpg(w.cpu, 0x5FFF)
    assert w.pa(0x5123) == (60 << 12) + 0x123
    assert w.walk.nsteps == 4
    w.map(5, 61, 0)
    assert w.pa(0x5000) == 60 << 12
    w.flush()
    assert w.code(0x5000) == 0


def test_invlpg_drops_one_page_only() -> None:
    w = World()
    w.pa(0x1000), w.pa(0x2000)
    lib.xm_cpu_invlpg(w.cpu, 0x1000)
    w.map(1, 50)
    w.map(2, 51)
    assert w.pa(0x1000) == 50 << 12
    assert w.pa(0x2000) == 12 << 12


def test_faults_are_not_cached() -> None:
    w = World()
    w.map(5, 15, 0)
    assert w.code(0x5000, WRITE | USER) == lib.XM_PF_W | lib.XM_PF_U
    w.map(5, 15)
    assert w.pa(0x5000, WRITE | USER) == 15 << 12


def test_a_stale_fault_drops_its_entry_and_the_retry_succeeds() -> None:
    w = World()
    w.map(5, 15, P | US)
    w.pa(0x5000, USER)
    w.map(5, 15, P | RW | US)
    assert w.code(0x5000, WRITE | USER) == lib.XM_PF_P | lib.XM_PF_W | lib.XM_PF_U
    assert w.pa(0x5000, WRITE | USER) == 15 << 12


def test_a_write_through_a_clean_entry_walks_and_sets_dirty() -> None:
    w = World()
    w.pa(0x5000)
    assert w.entry(5) & (A | D) == A
    w.pa(0x5000, WRITE)
    assert (w.walk.nsteps, w.walk.top_level) == (1, 1), "only the PTE is read again"
    assert w.entry(5) & (A | D) == A | D
    w.map(5, 15)
    w.pa(0x5000, WRITE)
    assert w.walk.nsteps == 0, "the cached entry is dirty now"
    assert w.entry(5) & (A | D) == 0


def test_a_write_through_a_clean_entry_sees_the_tables_of_now() -> None:
    w = World()
    w.pa(0x5000)
    w.map(5, 15, P | US)
    assert w.code(0x5000, WRITE | USER) == lib.XM_PF_P | lib.XM_PF_W | lib.XM_PF_U


def test_rights_are_judged_at_each_access_by_the_registers_of_now() -> None:
    w = World()
    w.map(5, 15, P | US)
    w.pa(0x5000)
    assert w.code(0x5000, WRITE) == lib.XM_PF_P | lib.XM_PF_W
    w.pa(0x5000)
    assert lib.xm_cpu_set(w.cpu, lib.XM_REG_CR0, w.cpu.cr0 & ~lib.XM_CR0_WP) == 0
    assert w.pa(0x5000, WRITE) == 15 << 12


@pytest.mark.parametrize("pge", [False, True])
def test_global_entries_outlive_a_switch_only_with_pge(pge: bool) -> None:
    w = World()
    if pge:
        assert lib.xm_cpu_set(w.cpu, lib.XM_REG_CR4, w.cpu.cr4 | lib.XM_CR4_PGE) == 0
    w.map(5, 15, P | RW | US | G)
    w.pa(0x5000), w.pa(0x6000)
    w.map(5, 50)
    w.map(6, 51)
    assert lib.xm_cpu_set(w.cpu, lib.XM_REG_CR3, ROOT << 12) == 0
    assert w.pa(0x5000) == (15 if pge else 50) << 12
    assert w.pa(0x6000) == 51 << 12
    if pge:
        w.flush()
        assert w.pa(0x5000) == 15 << 12
        assert lib.xm_cpu_set(w.cpu, lib.XM_REG_CR4, w.cpu.cr4 & ~lib.XM_CR4_PGE) == 0
    assert w.pa(0x5000) == 50 << 12


@pytest.mark.parametrize("how", ["flush", "invlpg"])
def test_global_entries_are_dropped_by_a_full_flush_and_by_invlpg(how: str) -> None:
    w = World()
    assert lib.xm_cpu_set(w.cpu, lib.XM_REG_CR4, w.cpu.cr4 | lib.XM_CR4_PGE) == 0
    w.map(5, 15, P | RW | US | G)
    w.pa(0x5000)
    w.map(5, 50)
    if how == "flush":
        w.flush(globals_too=True)
    else:
        lib.xm_cpu_invlpg(w.cpu, 0x5008)
    assert w.pa(0x5000) == 50 << 12


def test_capacity_bounds_it_and_the_oldest_goes_first() -> None:
    w = World(entries=4)
    for page in range(5):
        w.pa(page << 12)
        assert lib.xm_tlb_used(w.tlb) == min(page + 1, 4)
    for page in range(5):
        w.map(page, 50)
    assert [w.pa(page << 12) >> 12 for page in (1, 2, 3, 4)] == [11, 12, 13, 14]
    assert w.pa(0) == 50 << 12


def test_a_large_page_is_one_entry_and_any_address_of_it_drops_it() -> None:
    w = World()
    w.machine.write64((L2 << 12) + 8, P | RW | US | lib.XM_PTE_PS)
    assert w.pa(0x201234) == 0x1234
    assert lib.xm_tlb_used(w.tlb) == 1
    mapping = ffi.new("struct xm_mapping *")
    assert lib.xm_tlb_lookup(w.tlb, 0, 0x3FFFFF, mapping) == 0
    assert (mapping.va, mapping.pa, mapping.size) == (0x200000, 0, 0x200000)
    lib.xm_cpu_invlpg(w.cpu, 0x3FFFFF)
    assert lib.xm_tlb_used(w.tlb) == 0
    assert lib.xm_tlb_lookup(w.tlb, 0, 0x200000, mapping) == lib.XM_E_ARGUMENT


def test_loads_and_stores_use_it() -> None:
    w = World()
    value, cr2 = ffi.new("uint64_t *"), ffi.new("uint64_t *")
    assert lib.xm_cpu_store(w.cpu, 0x5FFC, 8, 0, 0x1122334455667788, cr2, w.walk) == 0
    w.map(5, 50)
    w.map(6, 51)
    assert lib.xm_cpu_load(w.cpu, 0x5FFC, 8, 0, value, cr2, w.walk) == 0
    assert value[0] == 0x1122334455667788
    w.flush()
    assert lib.xm_cpu_load(w.cpu, 0x5FFC, 8, 0, value, cr2, w.walk) == 0
    assert value[0] == 0


def test_a_trial_undoes_fills_flushes_and_registers() -> None:
    w = World(entries=4)
    assert lib.xm_cpu_set(w.cpu, lib.XM_REG_CR4, w.cpu.cr4 | lib.XM_CR4_PGE) == 0
    w.map(1, 11, P | RW | US | G)
    for page in (1, 2):
        w.pa(page << 12)
    before = bytes(ffi.buffer(w.cpu))
    with w.machine.trial():
        for page in range(8):
            w.map(page, 55)
        w.flush(globals_too=True)
        for page in range(8):
            assert w.pa(page << 12) == 55 << 12
        lib.xm_cpu_invlpg(w.cpu, 0x6000)
        assert lib.xm_cpu_set(w.cpu, lib.XM_REG_CR3, 9 << 12) == 0
        assert lib.xm_cpu_set(w.cpu, lib.XM_REG_PKRU, 5) == 0
    assert bytes(ffi.buffer(w.cpu)) == before
    assert lib.xm_tlb_used(w.tlb) == 2
    for page in (1, 2):
        w.map(page, 50)
    assert [w.pa(page << 12) >> 12 for page in (1, 2, 3)] == [11, 12, 13]


def test_a_copy_of_a_processor_is_not_journalled() -> None:
    """Its memory may be gone at the rollback; only the one that xm_cpu_new made is undone."""
    w = World()
    copy = ffi.new("struct xm_cpu *", w.cpu[0])
    with w.machine.trial():
        assert lib.xm_cpu_set(copy, lib.XM_REG_PKRU, 7) == 0
    assert copy.pkru == 7


@pytest.mark.parametrize("entries", [0, (1 << 20) + 1])
def test_sizes_that_are_refused(entries: int) -> None:
    m = Machine(4096)
    assert lib.xm_tlb_new(m._c, entries) == ffi.NULL


def test_freeing_inside_a_trial_is_safe() -> None:
    w = World()
    with w.machine.trial():
        w.pa(0x1000)
        w.cpu.tlb = ffi.NULL
        ffi.release(w.tlb)
        ffi.release(w.cpu)


# ---- as an option of Cpu


def a_cpu(tlb: int | None) -> Cpu:
    w = World()
    return Cpu(w.machine, cr3=ROOT << 12, cr4=lib.XM_CR4_PAE | lib.XM_CR4_PGE, tlb=tlb)


def test_a_cpu_without_a_tlb_sees_every_change_and_one_with_it_only_after_a_flush() -> None:
    for tlb, stale in ((None, False), (4, True)):
        cpu = a_cpu(tlb)
        m, at = cpu.machine, (L1 << 12) + 5 * 8
        m.write64(15 << 12, 1)
        m.write64(50 << 12, 2)
        for flush in (lambda c: c.invlpg(0x5FFF), lambda c: setattr(c, "cr3", c.cr3)):
            m.write64(at, (15 << 12) | P | RW | US)
            flush(cpu)
            assert cpu.load(0x5000) == 1
            m.write64(at, (50 << 12) | P | RW | US)
            assert cpu.load(0x5000) == (1 if stale else 2)
            assert cpu.walk(0x5000).pa == 50 << 12, "a walk reads the tables"
            flush(cpu)
            assert cpu.load(0x5000) == 2


def test_a_missing_flush_keeps_a_right_and_a_fault_drops_it() -> None:
    cpu = a_cpu(4)
    m, at = cpu.machine, (L1 << 12) + 5 * 8
    cpu.store(0x5000, 1)
    m.write64(at, (15 << 12) | P | US | A | D)
    cpu.store(0x5000, 2)
    cpu.invlpg(0x5000)
    with pytest.raises(PageFault):
        cpu.store(0x5000, 3)
    assert cpu.load(0x5000) == 2
    m.write64(at, (15 << 12) | P | RW | US | A | D)
    with pytest.raises(PageFault):
        cpu.store(0x5000, 4)
    cpu.store(0x5000, 4)
    assert cpu.load(0x5000) == 4


@pytest.mark.parametrize("bad", [0, -1, 1 << 21, "4", 1.5])
def test_a_cpu_refuses_other_sizes(bad: Any) -> None:
    with pytest.raises(BadArgument):
        a_cpu(bad)
    for cpu in (a_cpu(None), a_cpu(2)):
        cpu.invlpg(1 << 47)
        for va in (-1, 1 << 64, "0"):
            with pytest.raises(BadArgument):
                cpu.invlpg(va)
