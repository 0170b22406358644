"""Conformance cases 1 to 32: bits of an entry, device memory, ownership, arguments.

Cases without a test here, because their arguments lie at guest addresses (test_section9_programs.py has them):
30 (request array in Xen's area or unmapped), 32 (the done word on a read-only page).
"""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import OutOfRange, xen
from xenmmu.xen import Reason

P, RW, US, PWT, PCD, A, D, PAT, G = (1 << i for i in range(9))
K, NX = 1 << 52, 1 << 63
ADDR = ((1 << 40) - 1) << 12
EPERM, ESRCH, EACCES, EBUSY, EINVAL, ENOSYS = 1, 3, 13, 16, 22, 38


def flags_after(g: Any, entry: int) -> int:
    """What a fresh window slot holds, frame aside, after this entry was written to it."""
    slot = g.w()
    r = g.up(g.window, slot, entry)
    assert r == (0, 1, Reason.NONE, *r[3:])
    stored = g.peek(g.window, slot)
    assert stored & ADDR == entry & ADDR
    return stored & ~ADDR


# ---- PTE bits


@pytest.mark.parametrize(
    ("case", "given", "stored"),
    [
        (1, P | RW, P | RW | US | K),
        (2, P | RW | US, P | RW | US | G),
        (3, P | RW | US | K, P | RW | US | K),
        (3, P | RW | US | K | G, P | RW | US | K | G),
        (4, P | G, P | US | K | G),
        (4, P | RW | G, P | RW | US | K | G),
        (5, P | US | K | 0xE00 | 0x3FF << 53 | NX, P | US | K | 0xE00 | 0x3FF << 53 | NX),
    ],
)
def test_01_05_l1_entries_are_adjusted(g: Any, case: int, given: int, stored: int) -> None:
    x = g.page()
    assert flags_after(g, x << 12 | given) == stored
    assert g.books(x) == ("2 WRITABLE*1 v" if given & RW else "2 NONE*0")


@pytest.mark.parametrize("junk", [0xFFFFFFFFFFFFFFFE, 0x2, 0x8000000000000080, 0x123456789ABCDEF0])
def test_06_not_present_entries_are_stored_verbatim_at_every_level(g: Any, junk: int) -> None:
    for table, slot in ((g.window, g.w()), (g.window_l2, 7), (g.window_l3, 7), (g.root, 301)):
        before = g.books(table)
        assert g.up(table, slot, junk).rc == 0
        assert g.peek(table, slot) == junk
        assert g.books(table) == before


@pytest.mark.parametrize("cache", [PWT, PCD, PAT, PWT | PCD | PAT])
def test_07_cache_bits_on_own_ram_stay_for_the_hardware_domain(g: Any, cache: int) -> None:
    assert flags_after(g, g.page() << 12 | P | RW | US | K | cache) == P | RW | US | K | cache


@pytest.mark.parametrize("cache", [PWT, PCD, PAT, PWT | PCD | PAT])
def test_07_cache_bits_are_refused_to_an_unprivileged_domain(guest: Any, cache: int) -> None:
    g = guest(privileged=False)
    x, slot = g.page(), g.w()
    g.refused(g.up(g.window, slot, x << 12 | P | RW | cache), EINVAL, Reason.L1_FLAGS)
    assert g.peek(g.window, slot) == 0
    assert g.books(x) == "1 NONE*0"
    assert g.up(g.window, slot, x << 12 | P | RW | G).rc == 0  # G is no cache attribute


@pytest.mark.parametrize("flag", [PWT, PCD, PAT, G])
@pytest.mark.parametrize("level", [2, 3, 4])
def test_08_upper_entries_refuse_cache_size_and_global(g: Any, level: int, flag: int) -> None:
    table = {2: g.window_l2, 3: g.window_l3, 4: g.root}[level]
    reason = {2: Reason.L2_FLAGS, 3: Reason.L3_FLAGS, 4: Reason.L4_FLAGS}[level]
    target = g.page()
    g.refused(g.up(table, 9 if level < 4 else 302, target << 12 | P | RW | flag), EINVAL, reason)
    assert g.peek(table, 9 if level < 4 else 302) == 0
    assert g.books(target) == "1 NONE*0"


@pytest.mark.parametrize("level", [2, 3, 4])
def test_09_upper_entries_get_u_and_l4_also_a(g: Any, level: int) -> None:
    table = {2: g.window_l2, 3: g.window_l3, 4: g.root}[level]
    slot = 9 if level < 4 else 302
    target = g.page()
    other = NX | 0xE00 | 0x7FF << 52
    assert g.up(table, slot, target << 12 | P | other).rc == 0
    assert g.peek(table, slot) == target << 12 | P | US | other | (A if level == 4 else 0)
    assert g.books(target) == f"2 L{level - 1}*1 v"


def test_10_preserve_ad_keeps_a_and_d(g: Any) -> None:
    x, slot = g.page(), g.w()
    assert g.up(g.window, slot, x << 12 | P | RW | A | D).rc == 0
    assert g.up(g.window, slot, 0, xen.MMU_PT_UPDATE_PRESERVE_AD).rc == 0
    assert g.peek(g.window, slot) == A | D == 0x60
    assert g.books(x) == "1 WRITABLE*0 v"
    assert g.up(g.window, slot, x << 12 | P | A | D).rc == 0
    assert g.up(g.window, slot, x << 12 | P, xen.MMU_PT_UPDATE_PRESERVE_AD).rc == 0
    assert g.peek(g.window, slot) == x << 12 | P | US | K | A | D


@pytest.mark.parametrize("table", ["window_l2", "window_l3", "root"])
def test_10_preserve_ad_holds_at_every_level(g: Any, table: str) -> None:
    mfn, slot, target = getattr(g, table), 310, g.page()
    assert g.up(mfn, slot, target << 12 | P | A | D).rc == 0
    assert g.up(mfn, slot, 0, xen.MMU_PT_UPDATE_PRESERVE_AD).rc == 0
    assert g.peek(mfn, slot) == A | D


def test_11_normal_update_clears_a_and_d(g: Any) -> None:
    x, slot = g.page(), g.w()
    for entry in (P | US | K | A | D, P | US | K):
        assert g.up(g.window, slot, x << 12 | entry).rc == 0
        assert g.peek(g.window, slot) == x << 12 | entry


def test_12_preserve_ad_on_data_is_a_plain_store(g: Any) -> None:
    x = g.page()
    va = g.map(x)
    g.d.store(va, 0xFF)
    assert g.up(x, 0, 0x1234, xen.MMU_PT_UPDATE_PRESERVE_AD).rc == 0
    assert g.peek(x, 0) == 0x1234
    assert g.books(x) == "2 WRITABLE*1 v"


def test_no_translate_is_normal_for_pv(g: Any) -> None:
    x, slot = g.page(), g.w()
    assert g.up(g.window, slot, x << 12 | P | RW, xen.MMU_PT_UPDATE_NO_TRANSLATE).rc == 0
    assert g.peek(g.window, slot) == x << 12 | P | RW | US | K


# ---- the fast path (2)


def test_fast_path_takes_no_references(g: Any) -> None:
    x, slot = g.page(), g.w()
    assert g.up(g.window, slot, x << 12 | P | RW | US | K).rc == 0
    changed = P | RW | US | A | D | G | NX | 0xE00 | 0x7FF << 53
    assert g.up(g.window, slot, x << 12 | changed, foreigndom=xen.DOMID_XEN).rc == 0
    assert g.peek(g.window, slot) == x << 12 | changed
    assert g.books(x) == "2 WRITABLE*1 v"


@pytest.mark.parametrize("flip", [RW, PCD, PWT])
def test_fast_path_is_left_for_rw_and_cache_bits(g: Any, flip: int) -> None:
    x, slot = g.page(), g.w()
    assert g.up(g.window, slot, x << 12 | P | US | K).rc == 0
    g.refused(g.up(g.window, slot, x << 12 | P | US | K | flip, foreigndom=xen.DOMID_IO), EBUSY, Reason.L1_NOT_OWNED)
    assert g.peek(g.window, slot) == x << 12 | P | US | K


@pytest.mark.parametrize(("before", "after", "books"), [(P, P | RW, "2 WRITABLE*1 v"), (P | RW, P, "2 WRITABLE*0 v")])
def test_rw_toggled_in_an_l1_entry_moves_one_type_reference(g: Any, before: int, after: int, books: str) -> None:
    x, slot = g.page(), g.w()
    assert g.up(g.window, slot, x << 12 | before).rc == 0
    assert g.up(g.window, slot, x << 12 | after).rc == 0
    assert g.books(x) == books


# ---- device memory

MMIO = P | RW | US | K


@pytest.mark.parametrize(
    ("name", "cache", "stored"),
    [
        ("WB", 0, PWT | PCD),
        ("WT", PWT, PWT | PCD),
        ("WP", PAT | PWT, PWT | PCD),
        ("UC-", PCD, PCD),
        ("UC", PWT | PCD, PWT | PCD),
        ("WC", PAT, PAT),
        ("UC by PAT", PAT | PCD, PAT | PCD),
        ("UC by PAT and PWT", PAT | PCD | PWT, PAT | PCD | PWT),
    ],
)
def test_13_device_memory_is_made_uncached(g: Any, name: str, cache: int, stored: int) -> None:
    before = g.books(0xB8)
    assert flags_after(g, 0xB8 << 12 | MMIO | cache) == MMIO | stored
    assert g.books(0xB8) == before  # no reference is taken
    assert g.hv.frame_info(0xB8).owner == xen.DOMID_IO


@pytest.mark.parametrize(
    "mfn", [0xFEE00, 0xFEEFF, 0xFD00000, 0xFFFFFFF, 1 << 28, (1 << 40) - 2], ids=lambda mfn: f"{mfn:#x}"
)
def test_14_forbidden_device_memory(g: Any, mfn: int) -> None:
    slot = g.w()
    g.refused(g.up(g.window, slot, mfn << 12 | P), EPERM, Reason.MMIO_NOT_PERMITTED)
    assert g.peek(g.window, slot) == 0


def test_14_the_invalid_frame(g: Any) -> None:
    g.refused(g.up(g.window, g.w(), ((1 << 40) - 1) << 12 | P), EINVAL, Reason.MMIO_INVALID_MFN)


def test_14_device_memory_is_forbidden_to_an_unprivileged_domain(guest: Any) -> None:
    g = guest(privileged=False)
    for mfn in (0, 0xB8, g.m.frames + 5):
        g.refused(g.up(g.window, g.w(), mfn << 12 | P), EPERM, Reason.MMIO_NOT_PERMITTED)


@pytest.mark.parametrize("mfn", [0xFEC00, 0xFED00], ids=["IO-APIC", "HPET"])
def test_15_read_only_devices_lose_rw(g: Any, mfn: int) -> None:
    slot = g.w()
    assert g.up(g.window, slot, mfn << 12 | MMIO).rc == 0
    stored = g.peek(g.window, slot)
    assert stored == mfn << 12 | P | US | K | PWT | PCD


def test_16_holes_map_uncached(g: Any) -> None:
    for mfn in (0, g.m.frames, g.m.frames + 0x1000, (1 << 28) - 0x300001):
        assert flags_after(g, mfn << 12 | MMIO) == MMIO | PWT | PCD
    with pytest.raises(OutOfRange):
        g.d.load(g.map(g.m.frames + 1))
    assert g.d.load(g.map(0)) == g.peek(0, 0)


# ---- ownership


@pytest.mark.parametrize("table", ["window", "window_l2", "window_l3", "root"])
def test_17_page_tables_map_read_only_only(g: Any, table: str) -> None:
    mfn, slot = getattr(g, table), g.w()
    before = g.hv.frame_info(mfn)
    g.refused(g.up(g.window, slot, mfn << 12 | P | RW), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert g.hv.frame_info(mfn) == before
    assert g.up(g.window, slot, mfn << 12 | P).rc == 0
    after = g.hv.frame_info(mfn)
    assert (after.count, after.type_info) == (before.count + 1, before.type_info)
    assert g.up(g.window, slot, 0).rc == 0
    assert g.hv.frame_info(mfn) == before


def test_18_frames_of_nobody_do_not_map(g: Any) -> None:
    nobody = [mfn for mfn in range(g.m.frames) if g.hv.frame_info(mfn).owner == xen.OWNER_NONE]
    assert nobody
    for mfn in (nobody[0], nobody[-1]):
        before = g.hv.frame_info(mfn)
        g.refused(g.up(g.window, g.w(), mfn << 12 | P), EBUSY, Reason.L1_NOT_OWNED)
        assert g.hv.frame_info(mfn) == before


def test_18_frames_of_another_domain_do_not_map(g: Any) -> None:
    other = g.hv.create_domain(frames=256, privileged=False)
    mfn = other.mfns[-1]
    assert g.hv.frame_info(mfn).owner == other.domid != g.d.domid
    g.refused(g.up(g.window, g.w(), mfn << 12 | P), EBUSY, Reason.L1_NOT_OWNED)
    g.refused(g.up(g.window_l2, 5, mfn << 12 | P), EINVAL, Reason.TABLE_NOT_OWNED)
    assert g.books(mfn) == "1 NONE*0"


def test_19_shared_info(g: Any) -> None:
    mfn = g.d.shared_info
    f = g.hv.frame_info(mfn)
    assert (f.count_info, f.type_info, f.owner) == (0xC000000000000001, 0xE400000000000001, g.d.domid)
    assert g.hv.m2p(mfn) == xen.INVALID_M2P_ENTRY
    assert flags_after(g, mfn << 12 | P | RW) == P | RW | US | K
    assert g.books(mfn) == "2 WRITABLE*2 v"
    g.refused(g.up(g.window, g.w(), mfn << 12 | P | RW | PCD), EACCES, Reason.L1_CACHE_ATTRIBUTE)
    assert g.books(mfn) == "2 WRITABLE*2 v"
    g.refused(g.pin(1, mfn), EINVAL, Reason.TYPE_CONFLICT)
    assert g.up(mfn, 3, 0x77).rc == 0
    assert g.peek(mfn, 3) == 0x77


def test_20_m2p_frames(g: Any) -> None:
    mfn = next(mfn for mfn in range(g.m.frames) if g.hv.frame_info(mfn).owner == xen.DOMID_XEN)
    slot = g.w()
    before = g.hv.frame_info(mfn)
    g.refused(g.up(g.window, slot, mfn << 12 | P), EBUSY, Reason.L1_NOT_OWNED)
    g.refused(g.up(g.window, slot, mfn << 12 | P | RW, foreigndom=xen.DOMID_XEN), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    g.refused(g.up(g.window, slot, mfn << 12 | P | PCD, foreigndom=xen.DOMID_XEN), EACCES, Reason.L1_CACHE_ATTRIBUTE)
    assert g.hv.frame_info(mfn) == before
    assert g.up(g.window, slot, mfn << 12 | P, foreigndom=xen.DOMID_XEN).rc == 0
    assert g.hv.frame_info(mfn).count == before.count + 1
    assert g.up(g.window, slot, 0).rc == 0
    assert g.hv.frame_info(mfn) == before


def test_21_the_fast_path_skips_the_owner(g: Any) -> None:
    x, slot = g.page(), g.w()
    assert g.up(g.window, slot, x << 12 | P | RW).rc == 0
    for owner in (xen.DOMID_IO, xen.DOMID_XEN):
        assert g.up(g.window, slot, x << 12 | P | RW, foreigndom=owner).rc == 0
        g.refused(g.up(g.window, g.w(), x << 12 | P | RW, foreigndom=owner), EBUSY, Reason.L1_NOT_OWNED)
    assert g.books(x) == "2 WRITABLE*1 v"


def test_22_entries_are_not_written_to_frames_of_others(g: Any) -> None:
    for mfn in (0, 0xB8, g.m.frames - 1, g.m.frames, (1 << 40) - 1):
        g.refused(g.up(mfn, 0, 0), EINVAL, Reason.PTR_NOT_OWNED)


# ---- arguments


def test_23_the_own_numeric_id_is_unknown(g: Any) -> None:
    slot = g.w()
    r = g.d.mmu_update([(g.window << 12 | slot << 3, 0)], g.d.domid, done=7)
    g.refused(r, ESRCH, Reason.FOREIGNDOM_OWN_ID, done=0)
    g.refused(g.up(g.window, slot, 0, foreigndom=77), ESRCH, Reason.FOREIGNDOM_UNKNOWN)
    g.refused(g.up(g.window, slot, 0, foreigndom=xen.DOMID_COW), ESRCH, Reason.FOREIGNDOM_UNKNOWN)
    flush = [xen.MmuextOp(xen.MMUEXT_TLB_FLUSH_LOCAL)]
    g.refused(g.d.mmuext_op(flush, g.d.domid, done=7), ESRCH, Reason.FOREIGNDOM_OWN_ID, done=7)
    g.refused(g.d.mmuext_op(flush, 77, done=7), ESRCH, Reason.FOREIGNDOM_UNKNOWN, done=7)


def test_24_the_table_owner_in_the_upper_half(g: Any) -> None:
    x, slot = g.page(), g.w()
    own = g.d.domid + 1 << 16 | xen.DOMID_SELF
    assert g.up(g.window, slot, x << 12 | P, foreigndom=own).rc == 0
    r = g.d.mmu_update([(g.window << 12 | slot << 3, 0)], 78 << 16 | xen.DOMID_SELF, done=7)
    g.refused(r, ESRCH, Reason.PT_OWNER_UNKNOWN, done=7)
    assert g.peek(g.window, slot) & P
    # mmuext_op looks at the low half only (5.3).
    assert g.ext(xen.MMUEXT_TLB_FLUSH_LOCAL, foreigndom=78 << 16 | xen.DOMID_SELF).rc == 0


@pytest.mark.parametrize("table", ["window_l2", "window_l3", "root"])
def test_25_upper_tables_are_updated_for_their_owner_only(g: Any, table: str) -> None:
    g.refused(g.up(getattr(g, table), 310, 0, foreigndom=xen.DOMID_IO), EINVAL, Reason.PT_UPDATE_FOREIGNDOM)


@pytest.mark.parametrize("cmd", [4, 5, 6, 7])
def test_26_unknown_commands(g: Any, cmd: int) -> None:
    g.refused(g.up(g.window, g.w(), 0, cmd), ENOSYS, Reason.UNKNOWN_COMMAND)
    g.refused(g.up((1 << 40) - 1, 0, 0, cmd), ENOSYS, Reason.UNKNOWN_COMMAND)


@pytest.mark.parametrize(("value", "rc"), [(0x1234, 0x1234), (0xFFFF8000, -32768), (0, 0)])
def test_27_the_empty_continuation_passes_a_value_through(g: Any, value: int, rc: int) -> None:
    r = g.d.mmu_update(None, value, count=xen.MMU_UPDATE_PREEMPTED, done=7)
    assert (r.rc, r.done, r.reason) == (rc, 7, Reason.NONE)


def test_28_a_continued_call_adds_to_done(g: Any) -> None:
    x, slot = g.page(), g.w()
    reqs = [(g.window << 12 | slot << 3, x << 12 | P), (g.window << 12 | slot << 3, 0)]
    assert g.d.mmu_update(reqs, count=2 | xen.MMU_UPDATE_PREEMPTED, done=5)[:2] == (0, 7)
    assert g.d.mmu_update(reqs, count=2, done=5)[:2] == (0, 2)
    assert g.d.mmu_update(reqs, count=1, done=5)[:2] == (0, 1)
    flush = [xen.MmuextOp(xen.MMUEXT_TLB_FLUSH_LOCAL)] * 3
    assert g.d.mmuext_op(flush, count=3 | xen.MMU_UPDATE_PREEMPTED, done=5)[:2] == (0, 8)


def test_29_no_requests(g: Any) -> None:
    assert g.d.mmu_update([], done=7)[:3] == (0, 0, Reason.NONE)
    assert g.d.mmuext_op([], done=7)[:3] == (0, 0, Reason.NONE)


def test_31_a_batch_stops_at_the_refused_request(g: Any) -> None:
    x, (a, b, c) = g.page(), (g.w(), g.w(), g.w())
    reqs = [
        (g.window << 12 | s << 3, e) for s, e in ((a, x << 12 | P | RW), (b, g.root << 12 | P | RW), (c, x << 12 | P))
    ]
    g.refused(g.d.mmu_update(reqs), EBUSY, Reason.L1_RW_TYPE_CONFLICT, done=1)
    assert [g.peek(g.window, s) for s in (a, b, c)] == [x << 12 | P | RW | US | K, 0, 0]
    assert g.books(x) == "2 WRITABLE*1 v"
    ops = [xen.MmuextOp(xen.MMUEXT_TLB_FLUSH_LOCAL), xen.MmuextOp(xen.MMUEXT_UNPIN_TABLE, x), xen.MmuextOp(14)]
    g.refused(g.d.mmuext_op(ops), EINVAL, Reason.NOT_PINNED, done=1)


def test_the_low_three_bits_are_the_command_and_the_rest_the_slot(g: Any) -> None:
    x = g.page()
    assert g.up(g.window, 511, x << 12 | P, xen.MMU_PT_UPDATE_PRESERVE_AD).rc == 0
    assert g.peek(g.window, 511) == x << 12 | P | US | K
