"""Conformance cases 54, 55 and 71 to 80: faults as the guest sees them, write emulation, the two modes.

Left out of 71, 74 and 79: read-modify-write, locked, SSE and string instructions; the library has plain stores of 1,
2, 4 and 8 bytes.
"""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import BadArgument, BadState, GeneralProtection, PageFault, xen

P, RW, US, PWT, PCD, A, D, PAT, G = (1 << i for i in range(9))
K, NX = 1 << 52, 1 << 63
UP = P | RW | US


def fault(access: Any, *args: int) -> tuple[int, int]:
    """The address and the error code of the page fault that this access takes."""
    with pytest.raises(PageFault) as caught:
        access(*args)
    return caught.value.va, caught.value.error_code


def pinned_l1(g: Any) -> tuple[int, int]:
    """A pinned zero L1 and the address where it is mapped read-only."""
    l1 = g.page()
    assert g.pin(1, l1).rc == 0
    return l1, g.map(l1, P)


# ---- error codes (6.2)


def test_codes_in_kernel_mode(g: Any) -> None:
    x = g.page()
    ro, rw, nx = g.map(x, P), g.map(x, P | RW), g.map(x, P | NX)
    assert fault(g.d.store, ro + 8, 1) == (ro + 8, 3)
    assert fault(g.d.load, 0x1000) == (0x1000, 0)
    assert fault(g.d.store, 0x1000, 1) == (0x1000, 2)
    assert fault(g.d.fetch, 0x1000) == (0x1000, 0x10)
    assert fault(g.d.fetch, nx) == (nx, 0x11)
    assert fault(g.d.store, xen.RO_MPT_VIRT_START, 1) == (xen.RO_MPT_VIRT_START, 3)
    g.d.store(rw, 0x1122334455667788)
    assert g.d.load(ro) == g.d.load(rw) == 0x1122334455667788
    assert [g.d.load(rw + i, n) for i, n in ((0, 1), (1, 2), (4, 4), (7, 1))] == [0x88, 0x6677, 0x11223344, 0x11]
    g.d.fetch(ro)


def test_codes_in_user_mode(g: Any) -> None:
    x = g.page()
    ro, nx = g.map(x, P), g.map(x, P | NX)
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    g.d.enter_user()
    assert g.d.user_mode
    assert fault(g.d.store, ro, 1) == (ro, 7)
    assert fault(g.d.load, 0x1000) == (0x1000, 4)
    assert fault(g.d.store, 0x1000, 1) == (0x1000, 6)
    assert fault(g.d.fetch, 0x1000) == (0x1000, 0x14)
    assert fault(g.d.fetch, nx) == (nx, 0x15)
    g.d.enter_kernel()
    assert not g.d.user_mode
    assert fault(g.d.store, ro, 1) == (ro, 3)


def recursive(slot: int) -> int:
    """The address of the L4 itself through an entry that holds it."""
    return 0xFFFF << 48 | slot << 39 | slot << 30 | slot << 21 | slot << 12


def test_xens_slots_are_not_the_guests(g: Any) -> None:
    va = recursive(258)
    assert fault(g.d.load, va) == (va, 1)
    assert fault(g.d.store, va, 1) == (va, 3)
    for slot in (257, 259):
        va = 0xFFFF << 48 | slot << 39
        assert fault(g.d.load, va) == (va, 0)
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    g.d.enter_user()
    assert fault(g.d.load, recursive(258)) == (recursive(258), 5)


@pytest.mark.parametrize("va", [0x0000800000000000, 0xFFFF7FFFFFFFFFFF])
def test_non_canonical_addresses(g: Any, va: int) -> None:
    for access, args in ((g.d.load, ()), (g.d.store, (1,)), (g.d.fetch, ())):
        with pytest.raises(GeneralProtection):
            access(va, *args)


def test_an_access_across_two_pages_faults_in_the_page_that_is_missing(g: Any) -> None:
    x = g.page()
    va = g.map(x)
    assert fault(g.d.load, va + 4092) == (va + 4096, 0)
    before = g.m.read(x << 12, 4096)
    assert fault(g.d.store, va + 4092, 0x1111111111111111) == (va + 4096, 2)
    assert g.m.read(x << 12, 4096) == before


def test_a_and_d_are_set(g: Any) -> None:
    x, slot = g.page(), g.w()
    assert g.up(g.window, slot, x << 12 | P | RW).rc == 0
    va = g.w_va(slot)
    g.d.load(va)
    assert g.peek(g.window, slot) & (A | D) == A
    g.d.store(va, 1)
    assert g.peek(g.window, slot) & (A | D) == A | D
    assert g.peek(g.window_l2, 0) & g.peek(g.window_l3, 0) & g.peek(g.root, g.WINDOW_SLOT) & A


def test_faults_are_counted(g: Any) -> None:
    before = g.d.counters
    fault(g.d.load, 0x1000)
    fault(g.d.store, 0x1000, 1)
    assert (g.d.counters - before)["faults"] == 2


# ---- windows (54, 55)

REC = 301


def entry_va(slot: int, va: int, level: int) -> int:
    """Address of the entry of this level for va through the root's own slot."""
    indices = [va >> shift & 511 for shift in (39, 30, 21, 12)]
    *path, last = ([slot] * level + indices)[:5]
    page = sum(index << shift for index, shift in zip(path, (39, 30, 21, 12), strict=True))
    return 0xFFFF << 48 | page | last << 3


def test_54_reading_through_a_recursive_slot(g: Any) -> None:
    assert g.up(g.root, REC, g.root << 12 | P).rc == 0
    x = g.page()
    va = g.map(x)
    slot = va >> 12 & 511
    assert g.d.load(entry_va(REC, va, 1)) == g.peek(g.window, slot)
    assert g.d.load(entry_va(REC, va, 2)) & ~A == g.peek(g.window_l2, 0) & ~A
    assert g.d.load(entry_va(REC, va, 3)) & ~A == g.peek(g.window_l3, 0) & ~A
    assert g.d.load(entry_va(REC, va, 4)) & ~A == g.peek(g.root, g.WINDOW_SLOT) & ~A


def test_54_writing_through_it_depends_on_the_l2_entry(g: Any) -> None:
    assert g.up(g.root, REC, g.root << 12 | P).rc == 0
    x = g.page()
    va = g.w_va(g.w())
    l1e = entry_va(REC, va, 1)
    assert fault(g.d.store, l1e, x << 12 | P | RW) == (l1e, 3)  # the L2 entry has RW: Xen sees no read-only mapping
    assert g.up(g.window_l2, 0, g.peek(g.window_l2, 0) & ~RW).rc == 0
    before = g.d.counters
    g.d.store(l1e, x << 12 | P | RW)
    assert (g.d.counters - before)["ptwr"] == 1
    assert g.peek(g.window, va >> 12 & 511) == x << 12 | P | RW | US | K
    assert g.books(x) == "2 WRITABLE*1 v"
    for level in (2, 3, 4):  # no table above L1 is ever written this way
        entry = entry_va(REC, va, level)
        assert fault(g.d.store, entry, 0) == (entry, 3)


def test_55_xens_entries_as_data(g: Any) -> None:
    va = g.map(g.root, P)
    assert g.d.load(va + 258 * 8) == g.root << 12 | 0x8000000000000063
    assert g.d.load(va + 259 * 8) == 0
    assert g.d.load(va + 256 * 8) & ~A == g.peek(g.root, 256) & ~A
    assert g.up(g.root, REC, g.root << 12 | P).rc == 0
    assert g.d.load(recursive(REC) + 258 * 8) == g.root << 12 | 0x8000000000000063


def path_va(*slots: int) -> int:
    return (0xFFFF << 48 if slots[0] > 255 else 0) | sum(s << at for s, at in zip(slots, (39, 30, 21, 12), strict=True))


def test_55_stepping_through_xens_slots(g: Any) -> None:
    assert g.up(g.root, REC, g.root << 12 | P).rc == 0
    va = path_va(REC, REC, 258, REC)  # slot 258 has no U: Xen's alone
    assert fault(g.d.load, va) == (va, 1)
    # Slot 256 has U all the way down: the tables of the M2P, then the M2P itself.
    l3 = g.peek(g.root, 256) >> 12 & (1 << 40) - 1
    l2 = g.peek(l3, 0) >> 12 & (1 << 40) - 1
    assert g.d.load(path_va(REC, REC, REC, 256)) & ~A == g.peek(l3, 0) & ~A
    assert g.d.load(path_va(REC, REC, 256, 0)) & ~A == g.peek(l2, 0) & ~A
    first = g.peek(l2, 0) >> 12 & (1 << 40) - 1
    assert g.d.load(path_va(REC, 256, 0, 0)) == g.peek(first, 0) == xen.INVALID_M2P_ENTRY
    for va in (path_va(REC, REC, REC, 256), path_va(REC, REC, 256, 0), path_va(REC, 256, 0, 0)):
        assert fault(g.d.store, va, 0) == (va, 3)


def test_54_no_emulation_through_xens_own_window(g: Any) -> None:
    assert g.up(g.window_l2, 0, g.peek(g.window_l2, 0) & ~RW).rc == 0
    va = path_va(258, g.WINDOW_SLOT, 0, 0)  # the window's L1, by a read-only "L1 entry"
    before = g.d.counters
    assert fault(g.d.store, va, 0x10) == (va, 3)
    assert (g.d.counters - before)["ptwr"] == 0
    assert g.peek(g.window, 0) == 0


@pytest.mark.parametrize("rw", [RW, 0], ids=["L2 entry RW", "L2 entry RO"])
def test_a_process_reads_its_own_tables_through_a_kept_slot_and_writes_none(g: Any, rw: int) -> None:
    slot, x = 255, g.page()
    l1 = g.table({5: x << 12 | UP})
    l2 = g.table({0: l1 << 12 | P | US | rw})
    l3 = g.table({0: l2 << 12 | UP})
    user = g.table({0: l3 << 12 | UP})
    assert g.pin(4, user).rc == 0
    assert g.up(user, slot, user << 12 | P).rc == 0
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, user).rc == 0
    g.d.enter_user()
    for va, table, index in (
        (path_va(slot, 0, 0, 0), l1, 5),
        (path_va(slot, slot, 0, 0), l2, 0),
        (path_va(slot, slot, slot, 0), l3, 0),
        (path_va(slot, slot, slot, slot), user, 258),
    ):
        va += 8 * index
        assert g.d.load(va) & ~A == g.peek(table, index) & ~A != 0
        before = g.peek(table, index)
        for value in (0, 0x10, x << 12 | UP):
            assert fault(g.d.store, va, value) == (va, 7)
        assert g.peek(table, index) == before


# ---- write emulation (71 to 77)


@pytest.mark.parametrize("assist", [False, True])
@pytest.mark.parametrize(
    ("flags", "stored"), [(P | RW, P | RW | US | K), (P | US, P | US | G), (P | G, P | US | K | G)]
)
def test_71_an_eight_byte_store_to_a_pinned_l1(g: Any, assist: bool, flags: int, stored: int) -> None:
    assert g.d.vm_assist(0 if assist else 1, xen.VMASST_WRITABLE_PAGETABLES).rc == 0
    x = g.page()
    l1, va = pinned_l1(g)
    before = g.d.counters
    g.d.store(va + 8 * 9, x << 12 | flags)
    assert g.peek(l1, 9) == x << 12 | stored
    assert g.books(x) == ("2 WRITABLE*1 v" if flags & RW else "2 NONE*0")
    assert g.books(l1) == "3 L1*1 pv"
    made = g.d.counters - before
    assert (made["ptwr"], made["faults"], made["tlb_flushes"]) == (1, 0, 0)
    g.d.store(va + 8 * 9, 0)
    assert g.peek(l1, 9) == 0
    assert g.hv.frame_info(x).count == 1


def test_71_an_unprivileged_domain_needs_the_assist(guest: Any) -> None:
    g = guest(privileged=False)
    x = g.page()
    l1, va = pinned_l1(g)
    assert fault(g.d.store, va, x << 12 | P) == (va, 3)
    assert g.d.vm_assist(xen.VMASST_ENABLE, xen.VMASST_WRITABLE_PAGETABLES).rc == 0
    g.d.store(va, x << 12 | P)
    assert g.peek(l1, 0) == x << 12 | P | US | K


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_71_narrow_stores_are_merged(g: Any, size: int) -> None:
    x = g.page()
    y = g.page()
    while y >> 4 != x >> 4:  # whatever part of the number is replaced, it is x or y
        x, y = y, g.page()
    l1, va = pinned_l1(g)
    assert g.up(l1, 3, x << 12 | P | US | K).rc == 0
    whole = y << 12 | P | RW | US | K | 0xE00
    old = g.peek(l1, 3)
    value = whole & (1 << 8 * size) - 1
    merged = old & ~((1 << 8 * size) - 1) | value
    frame = merged >> 12 & (1 << 40) - 1
    assert frame in (x, y)
    g.d.store(va + 8 * 3, value, size)
    assert g.peek(l1, 3) == merged
    assert g.hv.frame_info(frame).type_count == 1


def test_71_the_high_half_alone(g: Any) -> None:
    x = g.page()
    l1, va = pinned_l1(g)
    assert g.up(l1, 3, x << 12 | P | US | K).rc == 0
    g.d.store(va + 8 * 3 + 4, (NX | K) >> 32, 4)
    assert g.peek(l1, 3) == x << 12 | P | US | K | NX
    g.d.store(va + 8 * 3 + 7, 0, 1)
    assert g.peek(l1, 3) == x << 12 | P | US | K
    g.d.store(va + 8 * 3 + 6, 0, 2)  # without K it is a user entry, which gets G
    assert g.peek(l1, 3) == x << 12 | P | US | G
    assert g.books(x) == "2 NONE*0"


def test_72_a_refused_entry_is_a_fault(g: Any) -> None:
    x = g.page()
    l1, va = pinned_l1(g)
    g.d.store(va, x << 12 | P)
    for bad in (g.root << 12 | P | RW, l1 << 12 | P | RW, (g.m.frames - 1) << 12 | P, ((1 << 40) - 1) << 12 | P):
        assert fault(g.d.store, va, bad) == (va, 3)
        assert g.peek(l1, 0) == x << 12 | P | US | K
    assert g.books(x) == "2 NONE*0"


def test_72_write_emulation_has_no_fast_path(g: Any) -> None:
    mfn = next(mfn for mfn in range(g.m.frames) if g.hv.frame_info(mfn).owner == xen.DOMID_XEN)
    l1, va = pinned_l1(g)
    assert g.up(l1, 0, mfn << 12 | P | US | K, foreigndom=xen.DOMID_XEN).rc == 0
    assert g.up(l1, 0, mfn << 12 | P | US | K | A).rc == 0  # fast: nobody asks whose it is
    assert fault(g.d.store, va, mfn << 12 | P | US | K) == (va, 3)
    assert g.peek(l1, 0) == mfn << 12 | P | US | K | A


@pytest.mark.parametrize("junk", [0xFFFFFFFFFFFFFFFE, 0x80, 0])
def test_73_not_present_is_stored_verbatim(g: Any, junk: int) -> None:
    x = g.page()
    l1, va = pinned_l1(g)
    g.d.store(va, x << 12 | P | A | D)
    g.d.store(va, junk)
    assert g.peek(l1, 0) == junk  # A and D are not preserved
    assert g.hv.frame_info(x).count == 1


@pytest.mark.parametrize(("offset", "size"), [(1, 8), (4, 8), (1, 2), (2, 4), (3, 2)])
def test_74_unaligned_stores_fault(g: Any, offset: int, size: int) -> None:
    l1, va = pinned_l1(g)
    assert fault(g.d.store, va + offset, 0, size) == (va + offset, 3)
    assert g.m.read(l1 << 12, 4096) == bytes(4096)


@pytest.mark.parametrize("table", ["window_l2", "window_l3", "root"])
def test_75_only_l1_tables_are_emulated(g: Any, table: str) -> None:
    mfn = getattr(g, table)
    va = g.map(mfn, P)
    assert g.peek(mfn, 500) == 0
    for value in (0, 0x10, g.page() << 12 | P):
        assert fault(g.d.store, va + 8 * 500, value) == (va + 8 * 500, 3)
        assert g.peek(mfn, 500) == 0


def test_75_read_only_data_and_unvalidated_tables_are_not(g: Any) -> None:
    x, was_l1 = g.page(), g.page()
    assert g.pin(1, was_l1).rc == 0
    assert g.unpin(was_l1).rc == 0
    for mfn in (x, was_l1, g.d.shared_info):
        va = g.map(mfn, P)
        assert fault(g.d.store, va, 0) == (va, 3)


def test_76_the_l1_entry_alone_says_read_only(g: Any) -> None:
    x = g.page()
    rw = g.map(x)
    l1, ro = pinned_l1(g)
    assert g.up(g.window_l2, 0, g.peek(g.window_l2, 0) & ~RW).rc == 0
    assert fault(g.d.store, rw, 1) == (rw, 3)
    g.d.store(ro, x << 12 | P)
    assert g.peek(l1, 0) == x << 12 | P | US | K


def test_77_user_mode_writes_no_table(g: Any) -> None:
    _, va = pinned_l1(g)
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    assert g.d.vm_assist(xen.VMASST_ENABLE, xen.VMASST_WRITABLE_PAGETABLES).rc == 0
    g.d.enter_user()
    before = g.d.counters
    assert fault(g.d.store, va, 0) == (va, 7)
    assert (g.d.counters - before)["ptwr"] == 0
    assert g.d.load(va) == 0


def test_an_l1_reached_through_itself_is_emulated_on_itself(g: Any) -> None:
    slot = g.w()
    assert g.up(g.window, slot, g.window << 12 | P).rc == 0
    va, x, other = g.w_va(slot), g.page(), g.w()
    g.d.store(va + 8 * other, x << 12 | P | RW)
    g.d.store(g.w_va(other), 0x99)
    assert g.peek(x, 0) == 0x99
    g.d.store(va + 8 * slot, 0)  # its own mapping
    assert fault(g.d.load, va) == (va, 0)


# ---- modes (78, 6.1)


def test_78_user_mode_reaches_what_the_kernel_mapped_without_u(g: Any) -> None:
    x = g.page()
    va = g.map(x, P | RW)
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    g.d.enter_user()
    g.d.store(va, 0x42)
    assert g.d.load(va) == 0x42 == g.peek(x, 0)


def test_only_the_root_parts_user_from_kernel(g: Any) -> None:
    va = g.map(g.page())
    user = g.page()
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, user).rc == 0
    g.d.enter_user()
    assert fault(g.d.load, va) == (va, 4)
    g.d.enter_kernel()
    g.d.load(va)


def test_the_user_reads_the_m2p_once_slot_256_is_filled(g: Any) -> None:
    user = g.copy_root()
    va = xen.RO_MPT_VIRT_START + 8 * g.root
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, user).rc == 0
    g.d.enter_user()
    assert fault(g.d.load, va) == (va, 4)
    g.d.enter_kernel()
    for root in (user, g.root):  # loaded once as a kernel root, it keeps the slot
        assert g.ext(xen.MMUEXT_NEW_BASEPTR, root).rc == 0
    g.d.enter_user()
    assert g.d.load(va) == g.d.mfns.index(g.root)
    assert fault(g.d.store, va, 0) == (va, 7)


def test_modes_are_switched_from_the_other_one_only(g: Any) -> None:
    with pytest.raises(BadState):
        g.d.enter_user()  # no user root
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    before = g.d.counters
    g.d.enter_user()
    with pytest.raises(BadState):
        g.d.enter_user()
    g.d.enter_kernel()
    with pytest.raises(BadState):
        g.d.enter_kernel()
    made = g.d.counters - before
    assert (made["iret"], made["cr3_loads"]) == (1, 2)


def test_hypercalls_are_the_kernels(g: Any) -> None:
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    g.d.enter_user()
    before = g.everything()
    for call in (
        lambda: g.up(g.window, 1, 0),
        lambda: g.ext(xen.MMUEXT_TLB_FLUSH_LOCAL),
        lambda: g.d.update_va_mapping(0x1000, 0),
        lambda: g.d.vm_assist(0, 2),
        lambda: g.d.multicall([("vm_assist", 0, 2)]),
    ):
        with pytest.raises(BadState):
            call()
    assert g.everything() == before


def test_bad_accesses_are_misuse(g: Any) -> None:
    va = g.map(g.page())
    for call in (
        lambda: g.d.load(va, 3),
        lambda: g.d.load(va, 0),
        lambda: g.d.load(-1),
        lambda: g.d.load(1 << 64),
        lambda: g.d.load("x"),
        lambda: g.d.store(va, -1),
        lambda: g.d.store(va, 1 << 64),
        lambda: g.d.store(va, 256, 1),
        lambda: g.d.store(va, 1, 16),
        lambda: g.d.store(va, 1.5),
        lambda: g.d.fetch(-1),
        lambda: g.d.fetch(None),
    ):
        with pytest.raises(BadArgument):
            call()
    g.d.store(va, 255, 1)
    assert g.d.load(va) == 255


@pytest.mark.parametrize("mfn", [0xFEC00, 0xFED00])
def test_case_15_a_store_to_read_only_mmio_is_swallowed(guest: Any, mfn: int) -> None:
    # Spec 6.3 step 2: the hardware domain's aligned store to a frame of mmio_ro_ranges neither faults nor writes.
    g = guest()
    va, slot = g.WINDOW_VA + 511 * 4096, 511
    assert g.up(g.window, slot, mfn << 12 | P | RW | US).rc == 0
    assert not g.peek(g.window, slot) & RW
    g.d.store(va, 1)
    with pytest.raises(PageFault):
        g.d.store(va + 1, 1)
