"""What Xen leaves behind when it has built a domain (Xen 4.17: dom0_build.c, init_xen_l4_slots); too small machines."""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import BadArgument, Machine, OutOfFrames, OutOfRange, XenMMUError, xen

P, RW, US, PWT, PCD, A, D, PAT, G = (1 << i for i in range(9))
K, NX = 1 << 52, 1 << 63
BOOT_VA = 0xFFFFFFFF80000000
ADDR = ((1 << 40) - 1) << 12


class Booted:
    """A domain nothing was done to yet."""

    def __init__(self) -> None:
        self.m = Machine(64 << 20)
        self.hv = xen.Hypervisor(self.m)
        self.d = self.hv.create_domain(frames=600)
        self.tables: dict[int, list[int]] = {4: [self.d.kernel_root], 3: [], 2: [], 1: []}
        for level in (4, 3, 2):
            for table in self.tables[level]:
                slots = (i for i in range(512) if level < 4 or not 256 <= i <= 271)
                entries = (self.m.read64(table << 12 | i << 3) for i in slots)
                self.tables[level - 1] += [(entry & ADDR) >> 12 for entry in entries if entry & P]
        self.all_tables = {mfn: level for level, mfns in self.tables.items() for mfn in mfns}

    def l1e(self, pfn: int) -> int:
        return self.m.read64(self.tables[1][pfn >> 9] << 12 | (pfn & 511) << 3)


@pytest.fixture
def b() -> Booted:
    return Booted()


def test_the_boot_tables_map_the_first_frames(b: Booted) -> None:
    d = b.d
    assert 0 < d.boot_frames < len(d.mfns) == 600
    assert len(b.tables[3]) == len(b.tables[2]) == 1
    assert all(d.mfns.index(mfn) < d.boot_frames for mfn in b.all_tables)
    for pfn in range(d.boot_frames):
        assert (b.l1e(pfn) & ADDR) >> 12 == d.mfns[pfn]
        d.load(BOOT_VA + pfn * 4096)
    assert sum(b.l1e(pfn) & P for pfn in range(len(b.tables[1]) * 512)) == d.boot_frames


def test_boot_entries(b: Booted) -> None:
    for pfn in range(b.d.boot_frames):
        table = b.d.mfns[pfn] in b.all_tables
        assert b.l1e(pfn) & ~ADDR & ~D == (P | A | US | K if table else P | RW | A | US | K)
    for level in (4, 3, 2):
        for table in b.tables[level]:
            slots = (i for i in range(512) if level < 4 or not 256 <= i <= 271)
            flags = {b.m.read64(table << 12 | i << 3) & ~ADDR for i in slots} - {0}
            assert flags == {0x67}


def test_boot_books(b: Booted) -> None:
    for pfn, mfn in enumerate(b.d.mfns):
        f = b.hv.frame_info(mfn)
        assert f.owner == b.d.domid
        if mfn == b.d.kernel_root:
            expected = 0x8000000000000004, 4 << 61 | 0x0C00000000000002
        elif mfn in b.all_tables:
            expected = 0x8000000000000003, b.all_tables[mfn] << 61 | 0x0400000000000001
        elif pfn < b.d.boot_frames:
            expected = 0x8000000000000002, 0xE400000000000001
        else:
            expected = 0x8000000000000001, 0
        assert (f.count_info, f.type_info) == expected, (pfn, f)
        assert f.linear_count == 0
        assert b.hv.m2p(mfn) == pfn


def test_boot_roots_and_modes(b: Booted) -> None:
    d = b.d
    assert (d.user_root, d.user_mode) == (0, False)
    assert b.hv.frame_info(d.kernel_root).pinned
    assert [mfn for mfn in d.mfns if b.hv.frame_info(mfn).pinned] == [d.kernel_root]
    assert not any(d.counters.values()), d.counters


def test_boot_slots_of_xen(b: Booted) -> None:
    root = b.d.kernel_root

    def slot(i: int) -> int:
        return b.m.read64(root << 12 | i << 3)

    assert slot(256) & ~ADDR == NX | A | US | P
    assert slot(257) == slot(259) == 0
    assert slot(258) == root << 12 | 0x8000000000000063
    for i in (260, 261, 262):
        entry = slot(i)
        assert not entry & US
        assert entry & P or i != 260


def test_the_m2p_is_readable_and_complete(b: Booted) -> None:
    va = xen.RO_MPT_VIRT_START
    for mfn in (*b.d.mfns[::37], 0, 255, b.d.shared_info, b.m.frames - 1):
        assert b.d.load(va + 8 * mfn) == b.hv.m2p(mfn)
    assert (
        b.hv.m2p(0) == b.hv.m2p(255) == b.hv.m2p(b.d.shared_info) == b.hv.m2p(b.m.frames - 1) == xen.INVALID_M2P_ENTRY
    )
    # The rest of the last 2 MiB of the table is all ones (1.3).
    assert b.d.load(va + 8 * b.m.frames) == xen.INVALID_M2P_ENTRY
    assert b.d.load(va + (2 << 20) - 8) == xen.INVALID_M2P_ENTRY


def test_owners(b: Booted) -> None:
    for mfn in (0, 0xB8, 255):
        f = b.hv.frame_info(mfn)
        assert (f.owner, f.count_info, f.type_info) == (xen.DOMID_IO, 0x8000000000000001, 0xE400000000000001)
    m2p = [mfn for mfn in range(b.m.frames) if b.hv.frame_info(mfn).owner == xen.DOMID_XEN]
    assert m2p
    assert all(mfn >= b.m.frames // 2 for mfn in m2p)
    shared = b.hv.frame_info(b.d.shared_info)
    assert (shared.owner, shared.xen_heap, shared.allocated) == (b.d.domid, True, True)
    assert b.d.shared_info not in b.d.mfns


def test_a_second_domain_is_its_own(b: Booted) -> None:
    free = b.hv.free_frames
    other = b.hv.create_domain(frames=300, privileged=False)
    assert other.domid != b.d.domid
    assert not set(other.mfns) & set(b.d.mfns)
    assert b.hv.free_frames <= free - 300
    assert other.load(BOOT_VA) == b.m.read64(other.mfns[0] << 12)
    other.store(BOOT_VA + 8, 1)
    assert b.m.read64(b.d.mfns[0] << 12 | 8) == 0
    # Foreign frames are refused in both directions; the unprivileged one may not even name the other.
    r = other.mmu_update([(other.mfns[0] << 12, 0)], b.d.domid)
    assert r.reason in (xen.Reason.NO_PRIVILEGE, xen.Reason.FOREIGNDOM_UNKNOWN)


@pytest.mark.parametrize("frames", [0, -1, 1, 1 << 40, 1 << 64, 1.5, "many"])
def test_domains_that_cannot_be(b: Booted, frames: Any) -> None:
    before = [b.hv.frame_info(mfn) for mfn in range(b.m.frames)], b.hv.free_frames
    with pytest.raises((BadArgument, OutOfFrames)):
        b.hv.create_domain(frames=frames)
    assert ([b.hv.frame_info(mfn) for mfn in range(b.m.frames)], b.hv.free_frames) == before
    b.hv.create_domain(frames=100)


def test_a_domain_may_take_all_that_is_free() -> None:
    hv = xen.Hypervisor(Machine(16 << 20))
    # Some of the free frames are Xen's for the domain (its shared_info, its per-domain tables).
    for frames in range(hv.free_frames, 0, -1):
        try:
            d = hv.create_domain(frames=frames)
            break
        except OutOfFrames:
            continue
    assert frames > 1000
    assert len(set(d.mfns)) == frames
    with pytest.raises(OutOfFrames):
        hv.create_domain(frames=100)


@pytest.mark.parametrize("size", [4096, 1 << 20, 2 << 20])
def test_machines_too_small(size: int) -> None:
    m = Machine(size)
    with pytest.raises(OutOfFrames):
        xen.Hypervisor(m)
    m.write64(0, 1)
    assert m.read64(0) == 1


def test_every_machine_size_boots_or_says_no() -> None:
    booted = 0
    for frames in [*range(1, 40), 255, 256, 257, *range(500, 3000, 83)]:
        m = Machine(frames * 4096)
        try:
            hv = xen.Hypervisor(m)
            d = hv.create_domain(frames=64)
        except XenMMUError as error:
            assert isinstance(error, OutOfFrames)
            continue
        booted += 1
        assert d.load(xen.RO_MPT_VIRT_START + 8 * d.mfns[3]) == 3
    assert booted > 10


def test_frames_outside_the_machine(b: Booted) -> None:
    for mfn in (b.m.frames, 1 << 40, (1 << 64) - 1):
        with pytest.raises(OutOfRange):
            b.hv.frame_info(mfn)
        assert b.hv.m2p(mfn) == xen.INVALID_M2P_ENTRY
    for mfn in (-1, 1 << 64, 1.0, None):
        with pytest.raises(BadArgument):
            b.hv.frame_info(mfn)  # type: ignore[arg-type]
        with pytest.raises(BadArgument):
            b.hv.m2p(mfn)  # type: ignore[arg-type]


def test_shared_info_is_clear_whatever_memory_held_before() -> None:
    m = Machine(16 << 20)
    m.write(0, b"\xff" * m.size)
    d = xen.Hypervisor(m).create_domain(frames=64)
    assert m.read(d.shared_info << 12, 4096) == bytes(4096)
