"""Conformance cases 61 to 70: raw stores, whole pages, M2P, update_va_mapping, flushes, LDT; the other hypercalls.

Cases without a test here, but with one in test_section9_programs.py: 67 to 70.
"""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import xen
from xenmmu.xen import MmuextOp, Reason

P, RW, US, PWT, PCD, A, D, PAT, G = (1 << i for i in range(9))
K = 1 << 52
EPERM, EACCES, EFAULT, EBUSY, EINVAL, ENOSYS, EOPNOTSUPP = 1, 13, 14, 16, 22, 38, 95
XEN_VA = 0xFFFF830000000000
NON_CANONICAL = 0x0000800000000000


# ---- raw stores and whole pages


def test_61_mmu_update_of_data_is_a_raw_store(g: Any) -> None:
    x = g.page()
    g.map(x)
    for value in (0xFFFFFFFFFFFFFFFF, 0x123, g.root << 12 | P | RW):
        assert g.up(x, 17, value).rc == 0
        assert g.peek(x, 17) == value
    assert g.books(x) == "2 WRITABLE*1 v"


def test_61_a_frame_without_a_type_count_becomes_writable(g: Any) -> None:
    x, was_l2 = g.page(), g.page()
    assert g.pin(2, was_l2).rc == 0
    assert g.unpin(was_l2).rc == 0
    assert g.books(was_l2) == "1 L2*0"
    for mfn in (x, was_l2):
        before = g.d.counters
        assert g.up(mfn, 0, g.root << 12 | P | RW | PAT).rc == 0
        assert g.peek(mfn, 0) == g.root << 12 | P | RW | PAT
        f = g.hv.frame_info(mfn)
        assert (f.count_info, f.type_info) == (0x8000000000000001, 0xE400000000000000)
        assert (g.d.counters - before)["mmu_update_entries"] == 1


def test_62_whole_page_writes(g: Any) -> None:
    x, src, l1 = g.page(), g.page(), g.page()
    g.poke(x, 5, 7)
    g.poke(src, 6, 8)
    g.poke(l1, 1, src << 12 | P)
    assert g.pin(1, l1).rc == 0
    src_books = g.books(src)
    assert g.ext(xen.MMUEXT_CLEAR_PAGE, x).rc == 0
    assert g.m.read(x << 12, 4096) == bytes(4096)
    assert g.books(x) == "1 WRITABLE*0 v"
    assert g.ext(xen.MMUEXT_COPY_PAGE, x, src).rc == 0
    assert g.m.read(x << 12, 4096) == g.m.read(src << 12, 4096)
    assert g.ext(xen.MMUEXT_COPY_PAGE, x, l1).rc == 0  # tables may be read
    assert g.peek(x, 1) == src << 12 | P | US | K
    before = g.m.read(l1 << 12, 4096)
    g.refused(g.ext(xen.MMUEXT_CLEAR_PAGE, l1), EINVAL, Reason.NOT_WRITABLE)
    g.refused(g.ext(xen.MMUEXT_COPY_PAGE, l1, src), EINVAL, Reason.NOT_WRITABLE)
    assert g.m.read(l1 << 12, 4096) == before
    assert (g.books(l1), g.books(src)) == ("2 L1*1 pv", src_books)
    for mfn in (0, g.m.frames, (1 << 64) - 1):
        g.refused(g.ext(xen.MMUEXT_CLEAR_PAGE, mfn), EINVAL, Reason.MMUEXT_NOT_OWNED)
        g.refused(g.ext(xen.MMUEXT_COPY_PAGE, mfn, src), EINVAL, Reason.MMUEXT_NOT_OWNED)
        g.refused(g.ext(xen.MMUEXT_COPY_PAGE, x, mfn), EINVAL, Reason.MMUEXT_NOT_OWNED)
    assert (g.books(x), g.books(src)) == ("1 WRITABLE*0 v", src_books)


def test_63_the_machine_to_physical_table(g: Any) -> None:
    x = g.page()
    pfn = g.d.mfns.index(x)
    assert g.hv.m2p(x) == pfn
    assert g.d.load(xen.RO_MPT_VIRT_START + 8 * x) == pfn
    for value in (0, 0xFFFFFFFFFFFFFFFF, 0x123456789):
        assert g.up(x, 0, value, xen.MMU_MACHPHYS_UPDATE).rc == 0
        assert g.hv.m2p(x) == g.d.load(xen.RO_MPT_VIRT_START + 8 * x) == value
    assert g.up(g.root, 0, 77, xen.MMU_MACHPHYS_UPDATE).rc == 0  # whatever the type
    assert g.hv.m2p(g.root) == 77
    assert (g.books(x), g.books(g.root)) == ("1 NONE*0", "4 L4*2 pv")
    g.refused(g.up(0xB8, 0, 5, xen.MMU_MACHPHYS_UPDATE), EINVAL, Reason.MACHPHYS_NOT_OWNED)
    assert g.up(0xB8, 0, 5, xen.MMU_MACHPHYS_UPDATE, foreigndom=xen.DOMID_IO).rc == 0
    assert g.hv.m2p(0xB8) == 5
    g.refused(g.up(x, 0, 5, xen.MMU_MACHPHYS_UPDATE, foreigndom=xen.DOMID_IO), EINVAL, Reason.MACHPHYS_NOT_OWNED)
    assert g.hv.m2p(x) == 0x123456789


# ---- update_va_mapping


@pytest.mark.parametrize(
    ("va", "reason"),
    [
        (XEN_VA, Reason.VA_NOT_GUEST),
        (xen.RO_MPT_VIRT_START, Reason.VA_NOT_GUEST),
        (0xFFFF87FFFFFFF000, Reason.VA_NOT_GUEST),
        (NON_CANONICAL, Reason.VA_NOT_GUEST),
        (0x1000, Reason.VA_NO_TABLE),
        (0xFFFF880000000000, Reason.VA_NO_TABLE),
    ],
)
def test_64_addresses_without_an_l1(g: Any, va: int, reason: Reason) -> None:
    r = g.d.update_va_mapping(va, 0)
    assert (r.rc, r.reason) == (-EINVAL, reason)


def test_64_absent_tables_on_the_way(g: Any) -> None:
    for va in (g.WINDOW_VA | 1 << 30, g.WINDOW_VA | 1 << 21):
        assert g.d.update_va_mapping(va, 0).reason == Reason.VA_NO_TABLE


def test_64_xens_own_tables_seen_through_a_recursive_slot(g: Any) -> None:
    assert g.up(g.root, 301, g.root << 12 | P).rc == 0
    for slot, reason in (
        (262, Reason.VA_L1_NOT_OWNED),
        (256, Reason.VA_L1_NOT_OWNED),
        (258, Reason.VA_L1_NOT_VALIDATED),
    ):
        assert g.peek(g.root, slot) & P
        r = g.d.update_va_mapping(0xFFFF << 48 | 301 << 39 | 301 << 30 | slot << 21, 0)
        assert (r.rc, r.reason) == (-EINVAL, reason)


def test_64_update_va_mapping_writes_the_l1_entry(g: Any) -> None:
    x, slot = g.page(), g.w()
    r = g.d.update_va_mapping(g.w_va(slot) + 0x123, x << 12 | P | RW)
    assert (r.rc, r.reason) == (0, Reason.NONE)
    assert g.peek(g.window, slot) == x << 12 | P | RW | US | K
    assert g.books(x) == "2 WRITABLE*1 v"
    g.d.store(g.w_va(slot), 5)
    assert g.peek(g.window, slot) & (A | D) == A | D
    r = g.d.update_va_mapping(g.w_va(slot), g.root << 12 | P | RW)
    assert (r.rc, r.reason, r.mfn, r.level, r.slot) == (-EBUSY, Reason.L1_RW_TYPE_CONFLICT, g.window, 1, slot)
    assert g.d.update_va_mapping(g.w_va(slot), 0).rc == 0
    assert (g.peek(g.window, slot), g.books(x)) == (0, "1 WRITABLE*0 v")


def test_64_a_bad_bitmap_is_seen_after_the_entry_was_written(g: Any) -> None:
    x, slot = g.page(), g.w()
    for kind, entry in ((xen.UVMF_TLB_FLUSH, P), (xen.UVMF_INVLPG, P | RW)):
        r = g.d.update_va_mapping(g.w_va(slot), x << 12 | entry, 0x5000 | kind)
        assert (r.rc, r.reason) == (-EFAULT, Reason.FLUSH_BITMAP)
        assert g.peek(g.window, slot) == x << 12 | entry | US | K
    assert g.books(x) == "2 WRITABLE*1 v"
    # Nothing is read for the kinds that flush nothing.
    for kind in (0, 3):
        assert g.d.update_va_mapping(g.w_va(slot), x << 12 | P, 0x5000 | kind).rc == 0


def test_64_flushes_of_update_va_mapping(g: Any) -> None:
    slot, bitmap = g.w(), g.page()
    va = g.map(bitmap)

    def flushes(flags: int) -> tuple[int, int]:
        before = g.d.counters
        assert g.d.update_va_mapping(g.w_va(slot), 0, flags).rc == 0
        made = g.d.counters - before
        return made["tlb_flushes"], made["invlpg"]

    for target in (0, xen.UVMF_ALL):
        assert flushes(xen.UVMF_NONE | target) == (0, 0)
        assert flushes(xen.UVMF_TLB_FLUSH | target) == (1, 0)
        assert flushes(xen.UVMF_INVLPG | target) == (0, 1)
        assert flushes(3 | target) == (0, 0)
    assert flushes(xen.UVMF_TLB_FLUSH | va) == (0, 0)  # an empty set of processors
    g.poke(bitmap, 0, 1)
    assert flushes(xen.UVMF_TLB_FLUSH | va) == (1, 0)
    # A refused update flushes nothing.
    before = g.d.counters
    assert g.d.update_va_mapping(g.w_va(slot), g.root << 12 | P | RW, xen.UVMF_TLB_FLUSH).rc == -EBUSY
    assert (g.d.counters - before)["tlb_flushes"] == 0


def test_otherdomain(g: Any) -> None:
    slot = g.w()
    va = g.w_va(slot)
    assert g.d.update_va_mapping_otherdomain(va, 0xB8 << 12 | P, 0, xen.DOMID_IO).rc == 0
    assert g.peek(g.window, slot) == 0xB8 << 12 | P | US | K | PWT | PCD
    r = g.d.update_va_mapping_otherdomain(va, g.page() << 12 | P, 0, xen.DOMID_IO)
    assert (r.rc, r.reason) == (-EBUSY, Reason.L1_NOT_OWNED)
    for domid, reason in ((g.d.domid, Reason.FOREIGNDOM_OWN_ID), (99, Reason.FOREIGNDOM_UNKNOWN)):
        r = g.d.update_va_mapping_otherdomain(va, 0, 0, domid)
        assert (r.rc, r.reason) == (-3, reason)
    assert g.peek(g.window, slot) & P


def test_80_update_va_mapping_marks_the_l3_entry_accessed(g: Any) -> None:
    for table, slot in ((g.window_l3, 0), (g.window_l2, 0)):
        assert g.up(table, slot, g.peek(table, slot) & ~A).rc == 0
        assert not g.peek(table, slot) & A
    assert g.d.update_va_mapping(g.w_va(g.w()), 0).rc == 0
    assert g.peek(g.window_l3, 0) & A
    assert not g.peek(g.window_l2, 0) & A  # read as data only


# ---- flushes and the rest of mmuext_op


@pytest.mark.parametrize(
    ("op", "flushes", "invlpg"),
    [
        (MmuextOp(xen.MMUEXT_TLB_FLUSH_LOCAL), 1, 0),
        (MmuextOp(xen.MMUEXT_TLB_FLUSH_ALL), 1, 0),
        (MmuextOp(xen.MMUEXT_INVLPG_LOCAL, 0x1000), 0, 1),
        (MmuextOp(xen.MMUEXT_INVLPG_LOCAL, XEN_VA), 0, 1),
        (MmuextOp(xen.MMUEXT_INVLPG_ALL, 0x1000), 0, 1),
        (MmuextOp(xen.MMUEXT_INVLPG_ALL, XEN_VA), 0, 0),
        (MmuextOp(xen.MMUEXT_INVLPG_ALL, NON_CANONICAL), 0, 0),
        (MmuextOp(xen.MMUEXT_FLUSH_CACHE), 0, 0),
        (MmuextOp(xen.MMUEXT_FLUSH_CACHE_GLOBAL), 0, 0),
    ],
)
def test_65_flushes(g: Any, op: MmuextOp, flushes: int, invlpg: int) -> None:
    before = g.d.counters
    assert g.d.mmuext_op([op])[:3] == (0, 1, Reason.NONE)
    made = g.d.counters - before
    assert (made["tlb_flushes"], made["invlpg"], made["mmuext_op"]) == (flushes, invlpg, 1)
    g.refused(g.d.mmuext_op([op], xen.DOMID_IO), EPERM, Reason.MMUEXT_FOREIGN)


def test_65_invlpg_of_a_non_canonical_address_is_nothing(g: Any) -> None:
    assert g.ext(xen.MMUEXT_INVLPG_LOCAL, NON_CANONICAL).rc == 0


def test_65_processor_sets(g: Any) -> None:
    bitmap = g.page()
    va = g.map(bitmap)
    for cmd in (xen.MMUEXT_TLB_FLUSH_MULTI, xen.MMUEXT_INVLPG_MULTI):
        for bad in (0x5000, XEN_VA, NON_CANONICAL):
            g.refused(g.ext(cmd, 0x1000, bad), EINVAL, Reason.VCPU_BITMAP)
        before = g.d.counters
        g.poke(bitmap, 0, 0)
        assert g.ext(cmd, 0x1000, va).rc == 0
        assert (g.d.counters - before)["tlb_flushes"] == (g.d.counters - before)["invlpg"] == 0
        g.poke(bitmap, 0, 1)
        assert g.ext(cmd, 0x1000, va).rc == 0
        made = g.d.counters - before
        assert made["tlb_flushes"] + made["invlpg"] == 1
        g.refused(g.ext(cmd, 0x1000, va, foreigndom=xen.DOMID_IO), EPERM, Reason.MMUEXT_FOREIGN)


def test_65_commands_without_effect(g: Any) -> None:
    for cmd in (xen.MMUEXT_MARK_SUPER, xen.MMUEXT_UNMARK_SUPER):
        g.refused(g.ext(cmd, g.page()), EOPNOTSUPP, Reason.NOT_SUPPORTED)
    for cmd in (14, 21, 99, 0xFFFFFFFF):
        g.refused(g.ext(cmd), ENOSYS, Reason.UNKNOWN_COMMAND)


def test_65_a_refusal_names_only_what_it_is_about(g: Any) -> None:
    linear = g.table({5: g.window_l2 << 12 | P})
    ops = [MmuextOp(xen.MMUEXT_PIN_L2_TABLE, linear), MmuextOp(14)]
    r = g.d.mmuext_op(ops)
    g.refused(r, ENOSYS, Reason.UNKNOWN_COMMAND, done=1)
    assert (r.mfn, r.level, r.slot) == (0, 0, 0)


def test_65_caches_are_not_an_unprivileged_domains(guest: Any) -> None:
    g = guest(privileged=False)
    g.refused(g.ext(xen.MMUEXT_FLUSH_CACHE), EACCES, Reason.CACHE_NOT_PERMITTED)
    g.refused(g.ext(xen.MMUEXT_FLUSH_CACHE_GLOBAL), EINVAL, Reason.CACHE_GLOBAL_NOT_PERMITTED)


@pytest.mark.parametrize(
    ("va", "entries", "ok"),
    [
        (0x1000, 8192, True),
        (0x1000, 1, True),
        (0x1000, 0, True),
        (0x1001, 0, True),
        (XEN_VA, 0, True),
        (0x1001, 1, False),
        (0x1000, 8193, False),
        (XEN_VA, 1, False),
    ],
)
def test_66_set_ldt(g: Any, va: int, entries: int, ok: bool) -> None:
    r = g.ext(xen.MMUEXT_SET_LDT, va, entries)
    if ok:
        assert r[:3] == (0, 1, Reason.NONE)
    else:
        g.refused(r, EINVAL, Reason.LDT)
    g.refused(g.ext(xen.MMUEXT_SET_LDT, 0, 0, foreigndom=xen.DOMID_IO), EPERM, Reason.MMUEXT_FOREIGN)


def test_mmu_update_flushes_for_upper_levels_only_whatever_ends_the_batch(g: Any) -> None:
    x, l1, slot = g.page(), g.page(), g.w()
    one = (g.window << 12 | slot << 3, x << 12 | P)
    two = (g.window_l2 << 12 | 5 << 3, l1 << 12 | P)
    bad = (g.root << 12 | 256 << 3, 0)
    for reqs, flushes in (([one], 0), ([two], 1), ([two, two], 1), ([one, two, bad], 1), ([one, bad, two], 0)):
        before = g.d.counters
        g.d.mmu_update(reqs)
        assert (g.d.counters - before)["tlb_flushes"] == flushes


@pytest.mark.parametrize(
    ("cmd", "type", "rc"),
    [
        (0, 2, 0),
        (1, 2, 0),
        (0, 32, 0),
        (1, 32, 0),
        (0, 6, -EINVAL),
        (0, 64, -EINVAL),
        (2, 2, -ENOSYS),
        (2, 64, -EINVAL),
    ],
)
def test_vm_assist(g: Any, cmd: int, type: int, rc: int) -> None:
    r = g.d.vm_assist(cmd, type)
    assert r.rc == rc
    assert r.reason.errno == -rc
