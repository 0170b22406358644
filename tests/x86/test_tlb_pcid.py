"""PCIDs, global pages and paging-structure caches of `Cpu(tlb=N)`: each rule by what is seen, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xenmmu import Cpu, GeneralProtection, Machine, PageFault, x86

P, RW, US, A, D, PS, G, NX = 1, 2, 4, 0x20, 0x40, 0x80, 0x100, 1 << 63
KEEP = 1 << 63
PLAIN = x86.CR4_PAE | x86.CR4_PCIDE | x86.CR4_PGE
L4, L3, L2, L1, OTHER_L2, OTHER_L1 = 1, 2, 3, 4, 5, 6
OTHER_L4 = 7
OLD, NEW = 0x01D, 0x2E3  # what pages hold


class World:
    """Two roots that share their tables; page n of 512 from address 0 holds OLD, or NEW once it is remapped."""

    def __init__(self, cr4: int = PLAIN, tlb: int | None = 16, efer: int = 0xD00, vendor: str = "intel") -> None:
        self.m = Machine(64 << 12)
        for frame in range(10, 30):
            self.m.write64(frame << 12, OLD)
            self.m.write64((frame + 30) << 12, NEW)
        for root in (L4, OTHER_L4):
            self.m.write64(root << 12, L3 << 12 | P | RW | US)
        self.m.write64(L3 << 12, L2 << 12 | P | RW | US)
        self.m.write64(L2 << 12, L1 << 12 | P | RW | US)
        for page in range(20):
            self.map(page)
            self.m.write64(OTHER_L1 << 12 | page * 8, (40 + page) << 12 | P | RW | US)
        self.m.write64(OTHER_L2 << 12, OTHER_L1 << 12 | P | RW | US)
        self.cpu = Cpu(self.m, cr3=L4 << 12, cr4=cr4, efer=efer, vendor=vendor, tlb=tlb)

    def map(self, page: int, new: bool = False, flags: int = P | RW | US) -> None:
        self.m.write64(L1 << 12 | page * 8, (10 + page + 30 * new) << 12 | flags)

    def global_page(self, page: int) -> None:
        self.map(page, flags=P | RW | US | G)

    def fresh(self, page: int) -> bool:
        """Does the processor see that the page was remapped?"""
        return self.cpu.load(page << 12) == NEW

    def cached_then_remapped(self, *pages: int) -> None:
        for page in pages:
            assert not self.fresh(page)
        for page in pages:
            self.map(page, new=True)
        for page in pages:
            assert not self.fresh(page)


# ---- PCIDs


def test_a_load_of_cr3_drops_what_belongs_to_the_new_pcid_only() -> None:
    w = World()
    for pcid in (1, 2):
        w.cpu.cr3 = L4 << 12 | pcid
        assert not w.fresh(3)
    w.map(3, new=True)
    w.cpu.cr3 = L4 << 12 | 1
    assert w.fresh(3)
    w.cpu.cr3 = L4 << 12 | 2 | KEEP
    assert not w.fresh(3), "PCID 2 was not flushed by the load for PCID 1"
    w.cpu.cr3 = L4 << 12 | 2
    assert w.fresh(3)


def test_bit_63_keeps_stale_translations_of_a_reused_pcid() -> None:
    """One process ends and another gets its PCID: without a flush it reads the pages of the first."""
    w = World()
    w.cpu.cr3 = L4 << 12 | 5
    assert not w.fresh(3)
    w.m.write64(OTHER_L4 << 12, 0)
    w.cpu.cr3 = OTHER_L4 << 12 | 5 | KEEP
    assert w.cpu.cr3 == OTHER_L4 << 12 | 5, "bit 63 is not kept"
    assert w.cpu.load(3 << 12) == OLD, "the new root maps nothing"
    assert w.cpu.walk(3 << 12).pa is None
    w.cpu.cr3 = OTHER_L4 << 12 | 5
    with pytest.raises(PageFault):
        w.cpu.load(3 << 12)


def test_bit_63_of_another_pcid_serves_nothing_of_the_first() -> None:
    w = World()
    w.cpu.cr3 = L4 << 12 | 5
    w.cached_then_remapped(3)
    w.cpu.cr3 = L4 << 12 | 6 | KEEP
    assert w.fresh(3)
    w.cpu.cr3 = L4 << 12 | 5 | KEEP
    assert not w.fresh(3)


def test_without_pcide_the_low_bits_of_cr3_are_no_pcid() -> None:
    w = World(cr4=x86.CR4_PAE)
    w.cached_then_remapped(3)
    w.cpu.cr3 = L4 << 12 | 0x18  # PWT and PCD
    assert w.fresh(3)
    with pytest.raises(GeneralProtection):
        w.cpu.cr3 = L4 << 12 | KEEP


def test_switching_pcids_on_keeps_and_off_drops() -> None:
    w = World(cr4=x86.CR4_PAE)
    w.cached_then_remapped(3)
    w.cpu.cr4 |= x86.CR4_PCIDE
    assert not w.fresh(3)
    w.cpu.cr3 = L4 << 12 | 9
    w.map(4)
    assert not w.fresh(4)
    w.map(4, new=True)
    w.cpu.cr4 &= ~x86.CR4_PCIDE
    w.cpu.cr3 = L4 << 12
    w.cpu.cr4 |= x86.CR4_PCIDE
    w.cpu.cr3 = L4 << 12 | 9 | KEEP
    assert w.fresh(4)


# ---- INVLPG and INVPCID

#: Cached are pages 3 and 4 of PCID 1, page 3 of PCID 2 and global page 5: which of the four are fresh afterwards.
FLUSHES: dict[str, tuple[Callable[[Cpu], None], tuple[bool, bool, bool, bool]]] = {
    "nothing": (lambda c: None, (False, False, False, False)),
    "INVLPG": (lambda c: c.invlpg(0x3FFF), (True, False, False, False)),
    "INVLPG of the global page": (lambda c: c.invlpg(0x5000), (False, False, False, True)),
    "INVLPG of no address": (lambda c: c.invlpg(1 << 47), (False, False, False, False)),
    "address, PCID 1": (lambda c: c.invpcid("address", 1, 0x3123), (True, False, False, False)),
    "address, PCID 2": (lambda c: c.invpcid("address", 2, 0x3123), (False, False, True, False)),
    "address of the global page": (lambda c: c.invpcid("address", 1, 0x5000), (False, False, False, False)),
    "single, PCID 1": (lambda c: c.invpcid("single", 1), (True, True, False, False)),
    "single, PCID 2": (lambda c: c.invpcid("single", 2), (False, False, True, False)),
    "single, PCID 3": (lambda c: c.invpcid(1, 3), (False, False, False, False)),
    "all but global": (lambda c: c.invpcid("all_but_global"), (True, True, True, False)),
    "all": (lambda c: c.invpcid("all"), (True, True, True, True)),
    "MOV to CR3": (lambda c: setattr(c, "cr3", c.cr3), (True, True, False, False)),
    "MOV to CR3 with bit 63": (lambda c: setattr(c, "cr3", c.cr3 | KEEP), (False, False, False, False)),
    "PGE cleared": (lambda c: setattr(c, "cr4", c.cr4 & ~x86.CR4_PGE), (True, True, True, True)),
    "SMEP set": (lambda c: setattr(c, "cr4", c.cr4 | x86.CR4_SMEP), (True, True, False, True)),
    "SMAP set": (lambda c: setattr(c, "cr4", c.cr4 | x86.CR4_SMAP), (False, False, False, False)),
    "WP cleared": (lambda c: setattr(c, "cr0", c.cr0 & ~x86.CR0_WP), (False, False, False, False)),
    "NXE cleared": (lambda c: setattr(c, "efer", c.efer & ~x86.EFER_NXE), (True, True, True, True)),
    "NXE kept": (lambda c: setattr(c, "efer", c.efer), (False, False, False, False)),
}


@pytest.mark.parametrize("name", FLUSHES)
def test_which_translations_a_flush_drops(name: str) -> None:
    operation, expected = FLUSHES[name]
    w = World()
    w.global_page(5)
    w.cpu.cr3 = L4 << 12 | 2
    assert not w.fresh(3)
    w.cpu.cr3 = L4 << 12 | 1
    w.cached_then_remapped(3, 4, 5)
    operation(w.cpu)
    found = [w.fresh(3), w.fresh(4), w.fresh(5)]
    w.cpu.cr3 = L4 << 12 | 2 | KEEP if w.cpu.cr4 & x86.CR4_PCIDE else L4 << 12
    found.insert(2, w.fresh(3))
    assert tuple(found) == expected


def test_smep_drops_global_translations_of_the_current_pcid_only() -> None:
    w = World()
    w.global_page(5)
    w.cpu.cr3 = L4 << 12 | 2
    assert not w.fresh(5)
    w.cpu.cr3 = L4 << 12 | 1
    w.map(5, new=True)
    w.cpu.cr4 |= x86.CR4_SMEP
    assert not w.fresh(5), "made under PCID 2, used under PCID 1"


def test_a_global_translation_serves_every_pcid_and_only_with_pge() -> None:
    for cr4, fresh in ((PLAIN, False), (PLAIN & ~x86.CR4_PGE, True)):
        w = World(cr4)
        w.global_page(5)
        w.cpu.cr3 = L4 << 12 | 1
        w.cached_then_remapped(5)
        w.cpu.cr3 = OTHER_L4 << 12 | 2
        assert w.fresh(5) == fresh


def test_a_page_fault_drops_its_address_under_its_pcid_only() -> None:
    w = World()
    w.map(3, flags=P | US)
    for pcid in (1, 2):
        w.cpu.cr3 = L4 << 12 | pcid
        assert w.cpu.load(0x3000) == OLD
        assert w.cpu.load(0x4000) == OLD
    w.map(3, new=True)
    w.map(4, new=True)
    with pytest.raises(PageFault):
        w.cpu.store(0x3000, 0)  # stale: the table says R/W now
    assert w.fresh(3)
    assert not w.fresh(4)
    w.cpu.cr3 = L4 << 12 | 1 | KEEP
    assert not w.fresh(3)


def test_a_page_fault_drops_a_global_translation() -> None:
    w = World()
    w.map(5, flags=P | US | G)
    w.cpu.cr3 = L4 << 12 | 1
    assert not w.fresh(5)
    w.cpu.cr3 = L4 << 12 | 2
    w.map(5, flags=P | RW | US)
    with pytest.raises(PageFault):
        w.cpu.store(0x5000, NEW)
    w.cpu.store(0x5000, NEW)


# ---- paging-structure caches


def relink(w: World, level: int) -> None:
    """Make the entry of that level lead to tables in which every page holds NEW; no flush."""
    at, entry = {2: (L2, OTHER_L1), 3: (L3, OTHER_L2)}[level]
    w.m.write64(at << 12, entry << 12 | P | RW | US)


#: Which operations make a processor see that an upper entry of page 3, cached under PCID 1, was changed.
STRUCTURES: dict[str, tuple[Callable[[Cpu], None], bool]] = {
    "nothing": (lambda c: None, False),
    "INVLPG of the page": (lambda c: c.invlpg(0x4000), True),
    "INVLPG of an address far away": (lambda c: c.invlpg(0x7FFF_0000_0000), True),
    "address": (lambda c: c.invpcid("address", 1, 0x4000), True),
    "address far away": (lambda c: c.invpcid("address", 1, 0x7FFF_0000_0000), False),
    "address of another PCID": (lambda c: c.invpcid("address", 2, 0x4000), False),
    "single": (lambda c: c.invpcid("single", 1), True),
    "single of another PCID": (lambda c: c.invpcid("single", 2), False),
    "all but global": (lambda c: c.invpcid("all_but_global"), True),
    "all": (lambda c: c.invpcid("all"), True),
    "MOV to CR3": (lambda c: setattr(c, "cr3", c.cr3), True),
    "MOV to CR3 with bit 63": (lambda c: setattr(c, "cr3", c.cr3 | KEEP), False),
    "PGE": (lambda c: setattr(c, "cr4", c.cr4 & ~x86.CR4_PGE), True),
    "SMEP": (lambda c: setattr(c, "cr4", c.cr4 | x86.CR4_SMEP), True),
}


@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("name", STRUCTURES)
def test_a_stale_upper_entry_shows_until_it_is_flushed(name: str, level: int) -> None:
    """Page 4 was never translated, so no TLB entry hides the tables: what is stale is the way to its PTE."""
    operation, seen = STRUCTURES[name]
    w = World()
    w.cpu.cr3 = L4 << 12 | 1
    assert not w.fresh(3)
    relink(w, level)
    operation(w.cpu)
    assert w.fresh(4) == seen
    assert World(tlb=None).cpu.load(0x4000) == OLD


def test_amds_tce_keeps_unrelated_upper_entries_at_invlpg() -> None:
    for efer, seen in ((0xD00, True), (0xD00 | x86.EFER_TCE, False)):
        w = World(efer=efer, vendor="amd")
        assert not w.fresh(3)
        relink(w, 2)
        w.cpu.invlpg(0x7FFF_0000_0000)
        assert w.fresh(4) == seen


def test_the_lowest_cached_entry_is_used() -> None:
    w = World()
    assert not w.fresh(3)
    relink(w, 3)
    assert not w.fresh(4), "the PDE is cached, so the PDPTE is not asked"
    w.m.write64(L2 << 12 | 8, L1 << 12 | P | RW | US)
    w.m.write64(OTHER_L2 << 12 | 8, OTHER_L1 << 12 | P | RW | US)
    assert w.cpu.load(0x203000) == OLD, "another PDE, read through the cached PDPTE"
    w.cpu.invlpg(0)
    assert w.cpu.load(0x204000) == NEW


@pytest.mark.parametrize("lost", [RW, US, NX])
def test_a_cached_upper_entry_carries_its_rights(lost: int) -> None:
    """Rights taken from an upper entry are still there without a flush; rights given to it still lack, once."""
    with_it = L1 << 12 | P | RW | US
    without = with_it ^ lost

    def allowed(cpu: Cpu, va: int) -> bool:
        try:
            if lost == NX:
                cpu.fetch(va)
            else:
                cpu.store(va, OLD) if lost == RW else cpu.load(va)
        except PageFault:
            return False
        return True

    w = World()
    w.cpu.load(0x3000)
    w.m.write64(L2 << 12, without)
    assert allowed(w.cpu, 0x4000), "stale"
    w.cpu.invlpg(0x4000)
    assert not allowed(w.cpu, 0x4000)
    w.cpu.load(0x6000, user=False)
    w.m.write64(L2 << 12, with_it)
    assert not allowed(w.cpu, 0x5000), "stale the other way"
    assert allowed(w.cpu, 0x5000), "the fault dropped it"


def test_an_upper_entry_is_cached_with_the_a_flag_set_and_sets_it_once() -> None:
    w = World()
    w.cpu.load(0x3000)
    assert w.m.read64(L2 << 12) & A
    w.m.write64(L2 << 12, L1 << 12 | P | RW | US)
    w.cpu.load(0x4000)
    assert not w.m.read64(L2 << 12) & A, "the entry in memory was not used"
    w.cpu.invlpg(0)
    w.cpu.load(0x5000)
    assert w.m.read64(L2 << 12) & A


def test_a_fault_caches_nothing() -> None:
    w = World()
    w.map(3, flags=0)
    with pytest.raises(PageFault):
        w.cpu.load(0x3000)
    relink(w, 2)
    assert w.fresh(4)


def test_an_access_to_an_absent_page_drops_the_upper_entries_of_its_address() -> None:
    w = World()
    w.map(4, flags=0)
    w.cpu.load(0x3000)
    relink(w, 2)
    with pytest.raises(PageFault):
        w.cpu.load(0x4000)
    assert w.fresh(4)


def test_a_page_table_that_is_unlinked_and_used_as_data_still_translates() -> None:
    """Why upper entries must be flushed before their table is given away: who writes the page maps what he likes."""
    w = World()
    w.cpu.load(0x3000)
    w.m.write64(L2 << 12, 0)
    w.m.write64(L1 << 12 | 9 * 8, 49 << 12 | P | RW | US)
    assert w.cpu.load(0x9000) == NEW
    w.cpu.invlpg(0x9000)
    with pytest.raises(PageFault):
        w.cpu.load(0x9000)


def test_a_2m_page_leaves_no_pde_behind() -> None:
    w = World()
    w.m.write64(L2 << 12 | 8, P | RW | US | PS)
    assert w.cpu.load(0x200000 + (13 << 12)) == OLD
    w.m.write64(L2 << 12 | 8, L1 << 12 | P | RW | US)
    w.cpu.invpcid("address", 0, 0x200000)
    w.map(3, new=True)
    assert w.cpu.load(0x203000) == NEW


def test_five_levels_have_a_cache_more() -> None:
    w = World()
    root = 8
    w.m.write64(root << 12, L4 << 12 | P | RW | US)
    cpu = Cpu(w.m, cr3=root << 12, cr4=PLAIN | x86.CR4_LA57, tlb=4)
    assert cpu.load(0x3000) == OLD
    w.m.write64(root << 12, 0)
    w.m.write64(L4 << 12 | 8, L3 << 12 | P | RW | US)
    assert cpu.load(1 << 39 | 0x3000) == OLD, "through the cached PML5E"
    cpu.invlpg(1 << 39 | 0x3000)
    with pytest.raises(PageFault):
        cpu.load(1 << 39 | 0x3000)


def test_a_trial_undoes_flushes_by_pcid_and_structure_entries() -> None:
    w = World()
    w.cpu.cr3 = L4 << 12 | 1
    w.cached_then_remapped(3)
    relink(w, 2)
    with w.m.trial():
        w.cpu.invpcid("single", 1)
        assert w.fresh(3)
        assert w.fresh(4)
        w.cpu.cr3 = L4 << 12 | 2
        w.cpu.load(0x6000)
    assert w.cpu.cr3 == L4 << 12 | 1
    assert not w.fresh(3)
    assert not w.fresh(4)
    w.cpu.cr3 = L4 << 12 | 2 | KEEP
    assert w.fresh(6), "what PCID 2 cached in the trial is gone"
