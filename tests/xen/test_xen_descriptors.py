"""Descriptor tables: set_gdt, update_descriptor, the LDT, selectors; and compare-and-exchange.

What is expected here is what real Xen 4.17 answers (tests/oracles/xen, named programs "gdt", "ldt" and "cmpxchg").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xenmmu import BadArgument, BadState, Cpu, GeneralProtection, Machine, PageFault, SegmentNotPresent, check, xen
from xenmmu.xen import Reason

P, RW, US, A, D = 1, 2, 4, 0x20, 0x40
CODE, DATA = 0x00AF9A000000FFFF, 0x00CF92000000FFFF
ACCESSED, DPL3, PRESENT = 1 << 40, 3 << 45, 1 << 47
TI = 4


@pytest.fixture
def audited(g: Any) -> Any:
    """A guest whose books the auditor finds in order at the end of the test."""
    yield g
    assert check.audit(g.hv) == []


def held(g: Any) -> dict[int, int]:
    return {h.mfn: h.count for h in g.hv.held}


# ---- set_gdt


def test_the_frames_of_a_gdt_become_descriptor_pages(audited: Any) -> None:
    g = audited
    a, b = g.table({1: CODE, 2: DATA}), g.table()
    r = g.d.set_gdt([a, b], 513)
    assert (r.rc, r.reason) == (0, Reason.NONE)
    assert (g.books(a), g.books(b)) == ("2 SEG_DESC*1 v", "2 SEG_DESC*1 v")
    assert (g.peek(a, 1), g.peek(a, 2)) == (CODE | DPL3, DATA | DPL3)
    assert g.d.gdt == (a, b)
    assert held(g) == {a: 1, b: 1}
    assert g.up(g.window, 9, a << 12 | P | RW).reason == Reason.L1_RW_TYPE_CONFLICT
    assert g.up(a, 0, 0).reason == Reason.PTR_TYPE
    assert g.pin(1, a).reason == Reason.TYPE_CONFLICT


def test_a_gdt_removed_leaves_its_type_behind(audited: Any) -> None:
    g = audited
    a = g.table({1: CODE})
    assert g.d.set_gdt([a]).rc == 0
    assert g.d.set_gdt([]).rc == 0
    assert g.d.gdt == () and g.hv.held == ()
    assert g.books(a) == "1 SEG_DESC*0 v"
    assert g.up(a, 0, 1).rc == 0
    assert g.books(a) == "1 WRITABLE*0 v"


def test_one_frame_in_many_places_is_held_for_each(audited: Any) -> None:
    g = audited
    a = g.table()
    assert g.d.set_gdt([a] * 14, 7168).rc == 0
    assert g.books(a) == "15 SEG_DESC*14 v"
    assert held(g) == {a: 14}
    b = g.table()
    assert g.d.set_gdt([a, b]).rc == 0
    assert (g.books(a), g.books(b)) == ("2 SEG_DESC*1 v", "2 SEG_DESC*1 v")


def test_a_refused_gdt_changes_nothing_but_descriptors(audited: Any) -> None:
    g = audited
    old, good, bad = g.table(), g.table({0: CODE}), g.table({0: CODE, 7: 0x0000820000000067})
    assert g.d.set_gdt([old]).rc == 0
    r = g.d.set_gdt([good, bad])
    assert (r.rc, r.reason, r.mfn, r.slot) == (-22, Reason.DESCRIPTOR, bad, 7)
    assert g.d.gdt == (old,)
    assert (g.books(good), g.books(bad)) == ("1 SEG_DESC*0 v", "1 NONE*0")
    assert (g.peek(good, 0), g.peek(bad, 0)) == (CODE | DPL3, CODE | DPL3)


@pytest.mark.parametrize("which", ["mapped", "foreign", "device", "table", "entries"])
def test_frames_that_a_gdt_cannot_have(audited: Any, which: str) -> None:
    g = audited
    a, entries = g.table(), 512
    want = Reason.GDT_NOT_OWNED
    if which == "mapped":
        g.map(a)
        want = Reason.TYPE_CONFLICT
    elif which == "foreign":
        a = g.m.frames - 1
    elif which == "device":
        a = 0xB8
    elif which == "table":
        a, want = g.root, Reason.TYPE_CONFLICT
    else:
        entries, want = 7169, Reason.GDT_ENTRIES
    g.refused(g.d.set_gdt([a], entries), 22, want)
    assert g.d.gdt == ()


def test_misuse_of_set_gdt(g: Any) -> None:
    for frames, entries in (([], 1), ([g.root], 513), ([-1], 1), (["x"], 1), ([g.root], -1)):
        with pytest.raises(BadArgument):
            g.d.set_gdt(frames, entries)


# ---- descriptors


@pytest.mark.parametrize(
    ("desc", "stored"),
    [
        (DATA, DATA | DPL3),
        (CODE & ~PRESENT, CODE & ~PRESENT),
        (0x0000820000000067 & ~PRESENT, 0x0000820000000067 & ~PRESENT),
        (0, 0),
        (0x00008000FFFFFFFF, 0x00008000FFFFFFFF),
        (0x0000EC0000080000, 0x00008C00000B0000),
        (0x00008C00E0330000, 0x00008C00E0330000),
        (0x0000EC000007FFFF, 0x00008C000007FFFF),
        (0x0000EC00E00C0000, 0x00008C00E00F0000),
        (0x0000820000000067, None),
        (0x0000890000000067, None),
        (0x0000EE0000080000, None),
        (0x0000EC01E0330000, None),
        (0x0000EC00E0080000, None),
        (0x0000EC00E0300000, None),
    ],
)
def test_descriptors_that_a_guest_may_have(audited: Any, desc: int, stored: int | None) -> None:
    g = audited
    a = g.table()
    r = g.d.update_descriptor(a << 12 | 8, desc)
    if stored is None:
        g.refused(r, 22, Reason.DESCRIPTOR)
        assert g.peek(a, 1) == 0
    else:
        assert (r.rc, g.peek(a, 1)) == (0, stored)


def test_update_descriptor_by_the_type_of_the_page(audited: Any) -> None:
    g = audited
    used, mapped, table = g.table(), g.table(), g.table()
    assert g.d.set_gdt([used]).rc == 0
    g.map(mapped)
    assert g.pin(1, table).rc == 0
    assert g.d.update_descriptor(used << 12 | 16, CODE).rc == 0
    assert (g.peek(used, 2), g.books(used)) == (CODE | DPL3, "2 SEG_DESC*1 v")
    assert g.d.update_descriptor(mapped << 12, DATA).rc == 0
    assert g.books(mapped) == "2 WRITABLE*1 v"
    g.refused(g.d.update_descriptor(table << 12, DATA), 22, Reason.DESCRIPTOR_BUSY)
    g.refused(g.d.update_descriptor(used << 12 | 4, DATA), 22, Reason.DESCRIPTOR_UNALIGNED)
    g.refused(g.d.update_descriptor(0xB8 << 12, DATA), 22, Reason.DESCRIPTOR_NOT_OWNED)


def test_descriptor_calls_in_a_multicall_and_in_user_mode(g: Any) -> None:
    a = g.table()
    results = g.d.multicall([("update_descriptor", a << 12, DATA), ("set_gdt", [a]), ("set_gdt", [g.root], 512)])
    assert [r.reason for r in results] == [Reason.NONE, Reason.NONE, Reason.TYPE_CONFLICT]
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    g.d.enter_user()
    with pytest.raises(BadState):
        g.d.set_gdt([])
    with pytest.raises(BadState):
        g.d.update_descriptor(a << 12, DATA)


def test_the_hypercalls_by_number(audited: Any) -> None:
    g = audited
    a, b, memory = g.table({0: CODE}), g.table(), g.page()
    at = g.map(memory)
    g.poke(memory, 511, a)
    g.poke(memory, 0, b)
    assert g.d.hypercall(2, at, 512).rc == 0
    assert g.d.gdt == (b,)
    assert g.d.hypercall(10, b << 12 | 8, DATA).rc == 0
    assert g.peek(b, 1) == DATA | DPL3
    assert g.d.hypercall(2, at + 4088, 512).rc == 0
    assert g.d.gdt == (a,)
    g.refused(g.d.hypercall(2, at + 4088, 513), 14, Reason.BAD_HANDLE)  # the list runs into nothing
    g.refused(g.d.hypercall(2, 0xFFFF830000000000, 512), 14, Reason.BAD_HANDLE)
    g.refused(g.d.hypercall(2, 0xFFFF830000000000, 7169), 22, Reason.GDT_ENTRIES)
    assert g.d.gdt == (a,)
    assert g.d.hypercall(2, 0xFFFF830000000000, 0).rc == 0
    assert g.d.gdt == ()


# ---- the LDT and selectors


def with_ldt(g: Any, entries: dict[int, int], ents: int = 512, flags: int = P) -> int:
    page: int = g.table(entries)
    va = g.map(page, flags)
    assert g.ext(xen.MMUEXT_SET_LDT, va, ents).rc == 0
    return page


def test_a_page_of_the_ldt_is_taken_when_it_is_first_used(audited: Any) -> None:
    g = audited
    page = with_ldt(g, {2: DATA})
    assert g.books(page) == "2 NONE*0"
    g.d.load_selector(2 << 3 | TI | 3)
    assert g.books(page) == "3 SEG_DESC*1 v"
    assert g.peek(page, 2) == DATA | DPL3 | ACCESSED
    assert g.d.ldt[0] == page and not any(g.d.ldt[1:])
    g.d.load_selector(2 << 3 | TI)
    assert g.books(page) == "3 SEG_DESC*1 v"
    assert held(g) == {page: 1}


def test_an_ldt_page_stays_taken_after_its_mapping_is_gone(audited: Any) -> None:
    g = audited
    page = with_ldt(g, {0: DATA})
    g.d.load_selector(TI)
    assert g.up(g.window, 1, 0).rc == 0
    g.d.load_selector(TI)
    assert g.books(page) == "2 SEG_DESC*1 v"
    assert g.up(g.window, 1, page << 12 | P | RW).reason == Reason.L1_RW_TYPE_CONFLICT


@pytest.mark.parametrize("how", ["none", "another", "fewer", "same", "root", "same root"])
def test_what_lets_the_pages_of_the_ldt_go(audited: Any, how: str) -> None:
    g = audited
    page = with_ldt(g, {0: DATA})
    va = g.w_va(1)
    g.d.load_selector(TI)
    new = g.copy_root()
    calls: dict[str, tuple[int, ...]] = {
        "none": (xen.MMUEXT_SET_LDT, 0, 0),
        "another": (xen.MMUEXT_SET_LDT, va + 4096, 512),
        "fewer": (xen.MMUEXT_SET_LDT, va, 511),
        "same": (xen.MMUEXT_SET_LDT, va, 512),
        "root": (xen.MMUEXT_NEW_BASEPTR, new),
        "same root": (xen.MMUEXT_NEW_BASEPTR, g.root),
    }
    assert g.ext(*calls[how]).rc == 0
    kept = how.startswith("same")
    assert g.books(page) == ("3 SEG_DESC*1 v" if kept else "2 SEG_DESC*0 v")
    assert any(g.d.ldt) == kept


def test_nr_ents_of_set_ldt_is_32_bits_wide(g: Any) -> None:
    assert g.ext(xen.MMUEXT_SET_LDT, 0x1000, 1 << 32).rc == 0
    with pytest.raises(GeneralProtection):
        g.d.load_selector(TI)


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("why", ["unmapped", "mapped writable", "bad descriptor", "device"])
def test_a_page_that_xen_cannot_use_as_ldt_is_a_page_fault_of_the_guest(audited: Any, why: str, user: bool) -> None:
    g = audited
    page = with_ldt(g, {0: DATA, 9: 0x0000820000000067 if why == "bad descriptor" else 0})
    va = g.w_va(1)
    if why == "unmapped":
        assert g.up(g.window, 1, 0).rc == 0
    elif why == "mapped writable":
        g.map(page)
    elif why == "device":
        assert g.up(g.window, 1, 0xB8 << 12 | P).rc == 0
    if user:
        assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
        g.d.enter_user()
    with pytest.raises(PageFault) as fault:
        g.d.load_selector(5 << 3 | TI)
    assert (fault.value.va, fault.value.error_code) == (va + 40, 4 if user else 0)
    assert not any(g.d.ldt)


def test_an_ldt_that_runs_out_of_canonical_addresses(g: Any) -> None:
    assert g.ext(xen.MMUEXT_SET_LDT, 0x7FFFFFFFF000, 8192).rc == 0
    with pytest.raises(GeneralProtection) as refused:
        g.d.load_selector(513 << 3 | TI | 3)
    assert refused.value.error_code == 513 << 3 | TI


def test_user_mode_finds_the_ldt_by_the_kernels_tables(audited: Any) -> None:
    g = audited
    page = with_ldt(g, {0: DATA})
    user = g.table()
    assert g.pin(4, user).rc == 0 and g.ext(xen.MMUEXT_NEW_USER_BASEPTR, user).rc == 0
    g.d.enter_user()
    g.d.load_selector(TI | 3)
    assert g.books(page) == "3 SEG_DESC*1 v"


GP, NP = GeneralProtection, SegmentNotPresent


@pytest.mark.parametrize(
    ("desc", "error"),
    [
        (DATA, None),
        (CODE, None),
        (CODE & ~(1 << 41), GP),  # execute only
        ((DATA | DPL3) & ~PRESENT, NP),
        (DATA & ~PRESENT, GP),  # DPL 0 comes before presence
        ((CODE | 1 << 42) & ~PRESENT, NP),  # but not for conforming code
        (0, GP),
        (0x0000EC0000080000, GP),
        (0x00008000FFFFFFFF, GP),
    ],
)
@pytest.mark.parametrize("table", [0, TI])
def test_what_loading_a_selector_checks(audited: Any, desc: int, error: type[Exception] | None, table: int) -> None:
    g = audited
    if table:
        page = with_ldt(g, {3: desc})
    else:
        page = g.table({3: desc})
        assert g.d.set_gdt([page]).rc == 0
    selector = 3 << 3 | table | 3
    if error is None:
        g.d.load_selector(selector)
        assert g.peek(page, 3) == desc | DPL3 | ACCESSED
        return
    with pytest.raises(error) as refused:
        g.d.load_selector(selector)
    assert refused.value.error_code == 3 << 3 | table  # type: ignore[attr-defined]
    assert not g.peek(page, 3) & ACCESSED


def test_selectors_of_xen_and_of_nothing(g: Any) -> None:
    for selector in (0, 1, 2, 3, 0xE020, 0xE023, 0xE02B, 0xE033):
        g.d.load_selector(selector)
    for selector in (8, TI, TI | 3, 0xE008, 0xE010, 0xE040, 0xE060, 0xDFF8, 0xFFFF):
        with pytest.raises(GeneralProtection) as refused:
            g.d.load_selector(selector)
        assert refused.value.error_code == selector & ~3
    with pytest.raises(BadArgument):
        g.d.load_selector(0x10000)
    with pytest.raises(BadArgument):
        g.d.load_selector(-1)


def test_descriptor_tables_are_undone(guest: Callable[..., Any]) -> None:
    g = guest()
    page, other = with_ldt(g, {0: DATA}), g.table({0: CODE})
    before = g.everything(), g.d.gdt, g.d.ldt
    with g.m.trial():
        g.d.load_selector(TI)
        assert g.d.set_gdt([other]).rc == 0
        assert g.d.update_descriptor(page << 12, CODE).rc == 0
        assert g.ext(xen.MMUEXT_SET_LDT, 0, 0).rc == 0
    assert (g.everything(), g.d.gdt, g.d.ldt) == before
    g.d.load_selector(TI)


@pytest.mark.parametrize("desc", [DATA, 0x0000820000000067, 0x0000EC0000080000, 0x00008C0000080000, 0x00008C01000B0000])
@pytest.mark.parametrize("used", [True, False])
def test_the_auditor_reads_descriptors(g: Any, desc: int, used: bool) -> None:
    page = g.table({0: CODE, 1: 0x0000EC0000080000})
    assert g.d.set_gdt([page]).rc == 0
    if not used:
        assert g.d.set_gdt([]).rc == 0
    assert check.audit(g.hv) == []
    g.poke(page, 9, desc)
    assert [(v.invariant, v.mfn) for v in check.audit(g.hv)] == [("I-SEG", page)]
    g.poke(page, 9, 0x00008C00E0080003 | 3 << 16)
    assert [(v.invariant, v.mfn) for v in check.audit(g.hv)] == [("I-SEG", page)]


# ---- compare and exchange


def test_a_processors_compare_and_exchange() -> None:
    m = Machine(1 << 20)
    for i, target in enumerate((2 << 12, 3 << 12, 4 << 12)):
        m.write64((i + 1) << 12, target | P | RW | US)
    m.write64(4 << 12, 5 << 12 | P | RW | US)
    m.write64(4 << 12 | 8, 6 << 12 | P | US)
    m.write64(5 << 12, 0x1122334455667788)
    cpu = Cpu(m, cr3=1 << 12)
    assert cpu.cmpxchg(0, 5, 6) == 0x1122334455667788
    assert m.read64(4 << 12) & (A | D) == A | D  # the access is a write, whatever it finds
    assert cpu.cmpxchg(4, 0x11223344, 0xAABBCCDD, size=4) == 0x11223344
    assert m.read64(5 << 12) == 0xAABBCCDD55667788
    with pytest.raises(PageFault) as fault:
        cpu.cmpxchg(4096, 1, 2)
    assert fault.value.error_code == 7
    with pytest.raises(PageFault) as fault:
        cpu.cmpxchg(4092, 0, 2)
    assert (fault.value.va, fault.value.error_code) == (4096, 7)
    for arguments in ((0, 256, 0, 1), (0, 0, 256, 1), (0, 0, 0, 3), (-1, 0, 0, 8)):
        with pytest.raises(BadArgument):
            cpu.cmpxchg(*arguments)


def pinned(g: Any, entries: dict[int, int] | None = None) -> tuple[int, int]:
    table = g.table(entries)
    assert g.pin(1, table).rc == 0
    return table, g.map(table, P)


def test_xen_emulates_a_compare_and_exchange_of_an_entry(audited: Any) -> None:
    g = audited
    (table, va), page = pinned(g), g.page()
    assert g.d.cmpxchg(va, 0, page << 12 | P | RW) == 0
    stored = page << 12 | P | RW | US | 1 << 52
    assert (g.peek(table, 0), g.books(page)) == (stored, "2 WRITABLE*1 v")
    assert g.d.cmpxchg(va, stored, 0x666, size=8) == stored
    assert (g.peek(table, 0), g.books(page)) == (0x666, "1 WRITABLE*0 v")
    assert g.d.counters["ptwr"] == 2


def test_nothing_is_checked_or_stored_where_the_comparison_fails(audited: Any) -> None:
    g = audited
    table, va = pinned(g)
    bad = g.root << 12 | P | RW
    assert g.d.cmpxchg(va, 1, bad) == 0
    assert g.d.cmpxchg(va + 3, 1, bad) == 0  # not even the alignment
    assert g.peek(table, 0) == 0 and g.d.counters["ptwr"] == 0
    assert g.peek(g.window, 1) & A  # but Xen has read it
    for at, expected in ((va, 0), (va + 3, 0)):
        with pytest.raises(PageFault) as fault:
            g.d.cmpxchg(at, expected, bad)
        assert (fault.value.va, fault.value.error_code) == (at, 3)


def test_a_narrow_compare_and_exchange_leaves_the_rest_of_the_entry(audited: Any) -> None:
    g = audited
    page = g.page()
    table, va = pinned(g, {0: page << 12 | P})
    low = g.peek(table, 0) & 0xFF
    assert g.d.cmpxchg(va, low, low | A, size=1) == low
    assert g.peek(table, 0) == page << 12 | P | US | A | 1 << 52
    assert g.books(page) == "2 NONE*0"


def test_where_no_compare_and_exchange_is_emulated(audited: Any, guest: Callable[..., Any]) -> None:
    g = audited
    _table, va = pinned(g)
    device = g.w()
    assert g.up(g.window, device, 0xFEC00 << 12 | P | RW).rc == 0
    data = g.map(g.page(), P)
    for at in (data, g.w_va(device)):  # read-only MMIO swallows a store, not this
        with pytest.raises(PageFault) as fault:
            g.d.cmpxchg(at, 0, 0)
        assert fault.value.error_code == 3
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    g.d.enter_user()
    with pytest.raises(PageFault) as fault:
        g.d.cmpxchg(va, 0, 0)
    assert fault.value.error_code == 7
    plain = guest(privileged=False)
    _table, va = pinned(plain)
    with pytest.raises(PageFault):
        plain.d.cmpxchg(va, 0, 0)
    assert plain.d.vm_assist(xen.VMASST_ENABLE, xen.VMASST_WRITABLE_PAGETABLES).rc == 0
    assert plain.d.cmpxchg(va, 0, 6) == 0


def test_misuse_of_compare_and_exchange(g: Any) -> None:
    for arguments in ((0, 256, 0, 1), (0, 0, 256, 1), (0, 0, 0, 3), (-1, 0, 0, 8), ("x", 0, 0, 8)):
        with pytest.raises(BadArgument):
            g.d.cmpxchg(*arguments)
