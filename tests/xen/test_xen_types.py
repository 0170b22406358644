"""Conformance cases 33 to 60: pins, validation, linear tables, roots; the books after each step (case 81).

g.books() is "general-count TYPE*type-count flags" with p pinned, v validated.
"""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import xen
from xenmmu.xen import Reason

P, RW, US, PWT, PCD, A, D, PAT, G = (1 << i for i in range(9))
K, NX = 1 << 52, 1 << 63
UP = P | RW | US
EPERM, EBUSY, EINVAL = 1, 16, 22
FREE_SLOT = 305  # of the boot L4


def tree(g: Any, leaf: int | None = None, slots: tuple[int, int, int] = (0, 0, 0)) -> tuple[int, int, int, int]:
    """Unvalidated L1..L4 in clean frames, hooked up at these slots of the L2, L3 and L4; leaf: slot 3 of the L1."""
    l1 = g.table({3: leaf} if leaf is not None else {})
    l2 = g.table({slots[0]: l1 << 12 | P | RW})
    l3 = g.table({slots[1]: l2 << 12 | P | RW})
    l4 = g.table({slots[2]: l3 << 12 | P | RW})
    return l1, l2, l3, l4


# ---- pins and validation


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_33_a_writable_frame_does_not_become_a_table(g: Any, level: int) -> None:
    x = g.page()
    g.map(x)
    g.refused(g.pin(level, x), EINVAL, Reason.TYPE_CONFLICT)
    assert g.books(x) == "2 WRITABLE*1 v"


def test_33_once_it_is_mapped_read_only_it_does(g: Any) -> None:
    x, slot = g.page(), g.w()
    assert g.up(g.window, slot, x << 12 | P | RW).rc == 0
    assert g.up(g.window, slot, x << 12 | P).rc == 0
    assert g.pin(1, x).rc == 0
    assert g.books(x) == "3 L1*1 pv"
    f = g.hv.frame_info(x)
    assert (f.count_info, f.type_info) == (0x8000000000000003, 0x2C00000000000001)


def test_34_a_refused_l1_keeps_the_adjustments_below_the_bad_slot(g: Any) -> None:
    x, bad = g.page(), g.root << 12 | P | RW
    l1 = g.table({0: x << 12 | P, 2: x << 12 | P | RW, 3: 0x10, 4: x << 12 | UP, 5: bad, 6: x << 12 | P})
    r = g.pin(1, l1)
    g.refused(r, EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert (r.mfn, r.level, r.slot) == (l1, 1, 5)
    assert [g.peek(l1, i) for i in range(7)] == [
        x << 12 | P | US | K,
        0,
        x << 12 | P | RW | US | K,
        0x10,
        x << 12 | UP | G,
        bad,
        x << 12 | P,
    ]
    assert g.hv.frame_info(l1).type_info == 0
    assert (g.books(l1), g.books(x)) == ("1 NONE*0", "1 WRITABLE*0 v")


def test_34_failing_at_slot_zero_leaves_the_table_as_it_was(g: Any) -> None:
    x = g.page()
    l1 = g.table({0: g.root << 12 | P | RW, 1: x << 12 | P})
    r = g.pin(1, l1)
    g.refused(r, EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert r.slot == 0
    assert [g.peek(l1, i) for i in range(2)] == [g.root << 12 | P | RW, x << 12 | P]
    assert (g.books(l1), g.books(x)) == ("1 NONE*0", "1 NONE*0")


def test_35_an_l1_that_maps_itself(g: Any) -> None:
    l1 = g.page()
    g.poke(l1, 7, l1 << 12 | P | RW)
    g.refused(g.pin(1, l1), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert g.books(l1) == "1 NONE*0"
    g.poke(l1, 7, l1 << 12 | P)
    assert g.pin(1, l1).rc == 0
    assert g.books(l1) == "3 L1*1 pv"
    assert g.unpin(l1).rc == 0
    assert g.books(l1) == "1 L1*0"


def test_36_a_pin_does_not_nest(g: Any) -> None:
    l1 = g.page()
    assert g.pin(1, l1).rc == 0
    before = g.hv.frame_info(l1)
    g.refused(g.pin(1, l1), EINVAL, Reason.ALREADY_PINNED)
    assert g.hv.frame_info(l1) == before


@pytest.mark.parametrize(("is_level", "as_level"), [(a, b) for a in range(1, 5) for b in range(1, 5) if a != b])
def test_37_a_pinned_table_is_no_other_level(g: Any, is_level: int, as_level: int) -> None:
    t = g.page()
    assert g.pin(is_level, t).rc == 0
    g.refused(g.pin(as_level, t), EINVAL, Reason.TYPE_CONFLICT)
    assert g.books(t) == f"2 L{is_level}*1 pv"


def test_38_an_unpinned_frame_is_not_unpinned_again(g: Any) -> None:
    l1 = g.page()
    assert g.pin(1, l1).rc == 0
    assert g.unpin(l1).rc == 0
    before = g.hv.frame_info(l1)
    g.refused(g.unpin(l1), EINVAL, Reason.NOT_PINNED)
    assert g.hv.frame_info(l1) == before
    assert g.books(l1) == "1 L1*0"


def test_39_a_table_maps_writable_only_once_it_is_none(g: Any) -> None:
    l1, slot = g.page(), g.w()
    assert g.pin(1, l1).rc == 0
    assert g.up(g.window_l2, 1, l1 << 12 | UP).rc == 0
    assert g.up(g.window, slot, l1 << 12 | P).rc == 0
    entry = (g.window, slot, l1 << 12 | P | RW)
    g.refused(g.up(*entry), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert g.unpin(l1).rc == 0
    g.refused(g.up(*entry), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert g.up(g.window_l2, 1, 0).rc == 0
    assert g.books(l1) == "2 L1*0"
    assert g.hv.frame_info(l1).type_info == 0x2000000000000000
    assert g.up(*entry).rc == 0
    assert g.books(l1) == "2 WRITABLE*1 v"


@pytest.mark.parametrize(("slot", "type_info"), [(0, 0), (9, 0x4000000000000000)])
def test_40_what_a_refused_l2_leaves_depends_on_the_slot(g: Any, slot: int, type_info: int) -> None:
    x, l1 = g.page(), g.page()
    g.map(x)
    l2 = g.table({slot: x << 12 | P})
    if slot:
        g.poke(l2, 0, l1 << 12 | P)
    g.refused(g.pin(2, l2), EINVAL, Reason.TYPE_CONFLICT)
    f = g.hv.frame_info(l2)
    assert (f.count, f.type_info) == (1, type_info)
    assert g.books(x) == "2 WRITABLE*1 v"
    if slot:
        assert g.peek(l2, 0) == l1 << 12 | P | US
        assert g.books(l1) == "1 L1*0"


@pytest.mark.parametrize(("level", "slot"), [(3, 0), (3, 511), (4, 0), (4, 255), (4, 272)])
def test_40_the_same_for_l3_and_l4(g: Any, level: int, slot: int) -> None:
    x = g.page()
    g.map(x)
    t = g.table({slot: x << 12 | P})
    g.refused(g.pin(level, t), EINVAL, Reason.TYPE_CONFLICT)
    assert g.hv.frame_info(t).type_info == (level << 61 if slot else 0)


@pytest.mark.parametrize("slots", [(0, 0, 0), (5, 6, 7)])
def test_41_one_bad_leaf_refuses_the_whole_tree(g: Any, slots: tuple[int, int, int]) -> None:
    l1, l2, l3, l4 = tree(g, g.root << 12 | P | RW, slots)
    x = g.page()
    g.poke(l1, 1, x << 12 | P | RW)
    r = g.pin(4, l4)
    g.refused(r, EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert (r.mfn, r.level, r.slot) == (l1, 1, 3)
    assert g.peek(l1, 1) == x << 12 | P | RW | US | K
    assert [g.peek(l4, i) for i in range(256, 272)] == [0] * 16
    # The entries above were never reached with success, so they are as they were.
    assert g.peek(l2, slots[0]) == l1 << 12 | P | RW
    assert g.books(l1) == "1 NONE*0"
    for level, (table, slot) in enumerate(zip((l2, l3, l4), slots, strict=True), 2):
        assert g.books(table) == (f"1 L{level}*0" if slot else "1 NONE*0")
    assert g.books(x) == "1 WRITABLE*0 v"


def test_41_siblings_validated_on_the_way_are_let_go(g: Any) -> None:
    good, l2, l3, l4 = tree(g, slots=(1, 2, 3))
    bad = g.table({0: g.root << 12 | P | RW})
    g.poke(l2, 9, bad << 12 | P)
    pinned = g.page()
    assert g.pin(1, pinned).rc == 0
    g.poke(l2, 4, pinned << 12 | P)
    g.refused(g.pin(4, l4), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert [g.books(t) for t in (good, bad, l2, l3, l4)] == ["1 L1*0", "1 NONE*0", "1 L2*0", "1 L3*0", "1 L4*0"]
    assert g.books(pinned) == "2 L1*1 pv"
    assert (g.peek(l2, 1), g.peek(l2, 4)) == (good << 12 | P | RW | US, pinned << 12 | P | US)
    assert g.peek(l2, 9) == bad << 12 | P


@pytest.mark.parametrize("strict", [False, True])
def test_42_a_validated_l4_carries_xens_slots(g: Any, strict: bool) -> None:
    if strict:
        assert g.d.vm_assist(xen.VMASST_ENABLE, xen.VMASST_M2P_STRICT).rc == 0
    l4 = g.table(dict.fromkeys(range(256, 272), 0xDEAD000 | P))
    assert g.pin(4, l4).rc == 0
    assert g.books(l4) == "2 L4*1 pv"
    assert g.hv.frame_info(l4).type_info == 0x8C00000000000001
    assert g.peek(l4, 256) == (g.peek(g.root, 256) if strict else 0)
    assert g.peek(l4, 257) == g.peek(l4, 259) == 0
    assert g.peek(l4, 258) == l4 << 12 | 0x8000000000000063
    assert g.peek(l4, 260) & ~(((1 << 40) - 1) << 12) == 0x8000000000000063
    assert [g.peek(l4, i) for i in range(261, 272)] == [g.peek(g.root, i) for i in range(261, 272)]
    assert g.unpin(l4).rc == 0
    assert g.books(l4) == "1 L4*0"
    assert g.peek(l4, 258) == l4 << 12 | 0x8000000000000063  # stale, as Xen leaves it


def test_43_an_l2_entry_to_data_is_refused(g: Any) -> None:
    x = g.page()
    g.map(x)
    for flags in (P, UP):
        g.refused(g.up(g.window_l2, 5, x << 12 | flags), EINVAL, Reason.TYPE_CONFLICT)
    assert g.books(x) == "2 WRITABLE*1 v"
    assert g.peek(g.window_l2, 5) == 0


def test_44_an_l2_entry_to_a_pinned_l1(g: Any) -> None:
    l1 = g.page()
    assert g.pin(1, l1).rc == 0
    assert g.up(g.window_l2, 5, l1 << 12 | UP).rc == 0
    assert g.books(l1) == "3 L1*2 pv"
    for flags in (P | US, UP, P | US):
        assert g.up(g.window_l2, 5, l1 << 12 | flags).rc == 0
        assert g.peek(g.window_l2, 5) == l1 << 12 | flags
        assert g.books(l1) == "3 L1*2 pv"
    assert g.up(g.window_l2, 5, 0).rc == 0
    assert g.books(l1) == "2 L1*1 pv"


def test_45_a_zero_frame_in_an_l4_slot_becomes_an_l3(g: Any) -> None:
    t = g.page()
    assert g.up(g.root, FREE_SLOT, t << 12 | UP).rc == 0
    assert g.books(t) == "2 L3*1 v"
    g.refused(g.pin(2, t), EINVAL, Reason.TYPE_CONFLICT)
    assert g.pin(3, t).rc == 0
    assert g.books(t) == "3 L3*2 pv"


def test_46_one_l1_in_two_slots(g: Any) -> None:
    x = g.page()
    l1 = g.table({1: x << 12 | P | RW})
    for slot, books in ((5, "2 L1*1 v"), (6, "3 L1*2 v")):
        assert g.up(g.window_l2, slot, l1 << 12 | UP).rc == 0
        assert g.books(l1) == books
        assert g.books(x) == "2 WRITABLE*1 v"  # its entries count once
    assert g.up(g.window_l2, 5, 0).rc == 0
    assert g.books(x) == "2 WRITABLE*1 v"
    assert g.up(g.window_l2, 6, 0).rc == 0
    assert (g.books(l1), g.books(x)) == ("1 L1*0", "1 WRITABLE*0 v")


def test_47_what_an_entry_lets_go_is_free_for_the_next_request(g: Any) -> None:
    l1, slot = g.page(), g.w()
    assert g.up(g.window_l2, 5, l1 << 12 | UP).rc == 0
    r = g.d.mmu_update([(g.window_l2 << 12 | 5 << 3, 0), (g.window << 12 | slot << 3, l1 << 12 | P | RW)])
    assert r[:3] == (0, 2, Reason.NONE)
    assert g.books(l1) == "2 WRITABLE*1 v"


def test_pinning_a_tree_holds_each_level_once(g: Any) -> None:
    x = g.page()
    l1, l2, l3, l4 = tree(g, x << 12 | P | RW)
    before = g.d.counters
    assert g.pin(4, l4).rc == 0
    assert [g.books(t) for t in (x, l1, l2, l3, l4)] == [
        "2 WRITABLE*1 v",
        "2 L1*1 v",
        "2 L2*1 v",
        "2 L3*1 v",
        "2 L4*1 pv",
    ]
    assert (g.d.counters - before)["tables_validated"] == 4
    assert g.peek(l4, 0) == l3 << 12 | UP | A
    assert g.peek(l3, 0) == l2 << 12 | UP
    assert g.unpin(l4).rc == 0
    assert [g.books(t) for t in (x, l1, l2, l3, l4)] == ["1 WRITABLE*0 v", "1 L1*0", "1 L2*0", "1 L3*0", "1 L4*0"]


def test_frames_of_others_are_not_pinned(g: Any) -> None:
    for mfn in (0, g.m.frames - 1, g.m.frames, (1 << 40) - 1, (1 << 64) - 1):
        g.refused(g.pin(1, mfn), EINVAL, Reason.MMUEXT_NOT_OWNED)
        g.refused(g.unpin(mfn), EINVAL, Reason.MMUEXT_NOT_OWNED)
    g.refused(g.pin(1, 0, foreigndom=xen.DOMID_IO), EINVAL, Reason.MMUEXT_NOT_OWNED)
    g.refused(g.unpin(0, foreigndom=xen.DOMID_IO), EINVAL, Reason.MMUEXT_NOT_OWNED)


# ---- linear tables


def test_48_a_root_holds_itself_read_only(g: Any) -> None:
    before = g.hv.frame_info(g.root)
    g.refused(g.up(g.root, FREE_SLOT, g.root << 12 | UP), EINVAL, Reason.LINEAR_WRITABLE)
    assert g.peek(g.root, FREE_SLOT) == 0
    assert g.up(g.root, FREE_SLOT, g.root << 12 | P | US).rc == 0
    assert g.hv.frame_info(g.root) == before
    assert g.up(g.root, FREE_SLOT, 0).rc == 0
    assert g.hv.frame_info(g.root) == before


def test_49_xsa_182_a_linear_entry_does_not_become_writable(g: Any) -> None:
    self_entry = g.root << 12 | P | US | A
    assert g.up(g.root, FREE_SLOT, self_entry).rc == 0
    g.refused(g.up(g.root, FREE_SLOT, self_entry | RW), EINVAL, Reason.LINEAR_WRITABLE)
    assert g.peek(g.root, FREE_SLOT) == self_entry
    for flags in (D, NX, 0xE00, K, D | NX):
        assert g.up(g.root, FREE_SLOT, self_entry | flags).rc == 0
        assert g.peek(g.root, FREE_SLOT) == self_entry | flags


def test_49_the_option_off_refuses_linear_tables(guest: Any) -> None:
    g = guest(pv_linear_pt=False)
    g.refused(g.up(g.root, FREE_SLOT, g.root << 12 | P), EINVAL, Reason.LINEAR_DISABLED)


@pytest.mark.parametrize("level", [2, 3])
def test_50_lower_tables_hold_themselves_too(g: Any, level: int) -> None:
    t = g.window_l2 if level == 2 else g.window_l3
    before = g.hv.frame_info(t)
    assert g.up(t, 9, t << 12 | P).rc == 0
    assert g.hv.frame_info(t) == before


def test_50_what_a_self_entry_covers_is_no_l1(g: Any) -> None:
    assert g.up(g.window_l2, 9, g.window_l2 << 12 | P).rc == 0
    before = g.everything()["memory"]
    r = g.d.update_va_mapping(g.WINDOW_VA | 9 << 21, 0)
    assert (r.rc, r.reason) == (-EINVAL, Reason.VA_L1_NOT_VALIDATED)
    after = g.everything()["memory"]
    assert {mfn for mfn in before if before[mfn] != after[mfn]} <= {g.root, g.window_l3}  # A bits of the way there


def test_50_a_table_may_hold_itself_when_it_is_validated(g: Any) -> None:
    t = g.page()
    g.poke(t, 9, t << 12 | P)
    assert g.pin(2, t).rc == 0
    assert g.books(t) == "2 L2*1 pv"
    assert g.unpin(t).rc == 0
    assert g.books(t) == "1 L2*0"
    g.poke(t, 9, t << 12 | P | RW)
    g.refused(g.pin(2, t), EINVAL, Reason.LINEAR_WRITABLE)
    assert g.books(t) == "1 L2*0"


def linear(g: Any, mfn: int) -> int:
    n: int = g.hv.frame_info(mfn).linear_count
    return n


def test_51_linear_tables_are_one_deep(g: Any) -> None:
    a, b, c = (g.page() for _ in range(3))
    for t in (a, b, c):
        assert g.pin(4, t).rc == 0
    assert g.up(a, 5, b << 12 | P).rc == 0
    assert (g.books(a), g.books(b)) == ("2 L4*1 pv", "3 L4*2 pv")
    assert (linear(g, a), linear(g, b)) == (1, -1)
    g.refused(g.up(b, 5, c << 12 | P), EINVAL, Reason.LINEAR_HOLDER_IS_USED)
    assert g.up(b, 6, b << 12 | P).rc == 0
    assert g.up(c, 5, b << 12 | P).rc == 0
    assert (linear(g, c), linear(g, b)) == (1, -2)
    g.refused(g.up(b, 5, a << 12 | P), EINVAL, Reason.LINEAR_HOLDER_IS_USED)
    g.refused(g.up(c, 6, a << 12 | P), EINVAL, Reason.LINEAR_TARGET_HOLDS)
    assert (linear(g, a), linear(g, b), linear(g, c)) == (1, -2, 1)
    assert (g.books(a), g.books(b), g.books(c)) == ("2 L4*1 pv", "4 L4*3 pv", "2 L4*1 pv")
    # Once nothing uses b any more it may hold entries itself.
    assert g.up(a, 5, 0).rc == 0
    assert g.up(c, 5, 0).rc == 0
    assert (linear(g, b), g.books(b)) == (0, "2 L4*1 pv")
    assert g.up(b, 5, c << 12 | P).rc == 0
    assert (linear(g, b), linear(g, c)) == (1, -1)


@pytest.mark.parametrize("level", [2, 3, 4])
def test_51_the_chain_rule_holds_at_every_level_and_in_validation(g: Any, level: int) -> None:
    used, holder = g.page(), g.page()
    assert g.pin(level, used).rc == 0
    assert g.pin(level, holder).rc == 0
    assert g.up(holder, 5, used << 12 | P).rc == 0
    third = g.table({0: holder << 12 | P})
    g.refused(g.pin(level, third), EINVAL, Reason.LINEAR_TARGET_HOLDS)
    assert g.books(holder) == f"2 L{level}*1 pv"
    g.poke(third, 0, used << 12 | P)
    assert g.pin(level, third).rc == 0
    assert g.books(used) == f"4 L{level}*3 pv"
    assert (linear(g, third), linear(g, used)) == (1, -2)
    assert g.unpin(third).rc == 0
    assert (g.books(used), linear(g, used)) == (f"3 L{level}*2 pv", -1)


def test_52_a_used_linear_target_outlives_its_pin(g: Any) -> None:
    a, b, c, slot = g.page(), g.page(), g.page(), g.w()
    for t in (a, b, c):
        assert g.pin(4, t).rc == 0
    assert g.up(a, 5, b << 12 | P).rc == 0
    assert g.up(c, 5, b << 12 | P).rc == 0
    assert g.unpin(b).rc == 0
    assert g.books(b) == "3 L4*2 v"
    entry = (g.window, slot, b << 12 | P | RW)
    g.refused(g.up(*entry), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert g.up(a, 5, 0).rc == 0
    g.refused(g.up(*entry), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert g.unpin(c).rc == 0  # the holder goes, and its entry with it
    assert g.books(b) == "1 L4*0"
    assert g.up(*entry).rc == 0


def test_53_linear_entries_stay_on_their_level(g: Any) -> None:
    for table, target in ((g.window_l2, g.root), (g.window_l2, g.window_l3), (g.window_l3, g.root)):
        before = g.books(target)
        g.refused(g.up(table, 5, target << 12 | P), EINVAL, Reason.TYPE_CONFLICT)
        assert g.books(target) == before
    # One level down too far.
    g.refused(g.up(g.root, FREE_SLOT, g.window_l2 << 12 | P), EINVAL, Reason.TYPE_CONFLICT)


def test_53_an_unvalidated_table_is_tried_as_the_level_below(g: Any) -> None:
    shape_of_l4 = g.table({0: g.window_l3 << 12 | UP})
    g.refused(g.up(g.root, FREE_SLOT, shape_of_l4 << 12 | P), EINVAL, Reason.LINEAR_WRITABLE)
    assert g.books(shape_of_l4) == "1 NONE*0"
    g.poke(shape_of_l4, 0, g.window_l3 << 12 | P)  # as an L3 it holds a good linear entry
    assert g.up(g.root, FREE_SLOT, shape_of_l4 << 12 | P).rc == 0
    assert (g.books(shape_of_l4), g.books(g.window_l3)) == ("2 L3*1 v", "3 L3*2 v")
    assert g.up(g.root, FREE_SLOT, 0).rc == 0
    assert (g.books(shape_of_l4), g.books(g.window_l3)) == ("1 L3*0", "2 L3*1 v")
    l1, l2, l3, l4 = tree(g, g.root << 12 | P | RW)
    # l4 as an L3 makes l3 an L2 and l2 an L1, which maps l1 writable: that is allowed, l1 being no table.
    assert g.up(g.root, FREE_SLOT, l4 << 12 | P).rc == 0
    assert [g.books(t) for t in (l1, l2, l3, l4)] == ["2 WRITABLE*1 v", "2 L1*1 v", "2 L2*1 v", "2 L3*1 v"]


# ---- roots


def test_56_an_unpinned_root_is_validated_when_it_is_loaded(g: Any) -> None:
    copy, slot = g.copy_root(), g.w()
    l3 = g.books(g.window_l3)
    before = g.d.counters
    assert g.ext(xen.MMUEXT_NEW_BASEPTR, copy).rc == 0
    made = g.d.counters - before
    assert (made["cr3_loads"], made["MMUEXT_NEW_BASEPTR"]) == (1, 1)
    assert made["tlb_flushes"] >= 1
    assert g.d.kernel_root == copy
    assert (g.books(copy), g.books(g.root)) == ("2 L4*1 v", "3 L4*1 pv")
    assert g.books(g.window_l3) == "3 L3*2 v" != l3
    assert g.peek(copy, 256) == g.peek(g.root, 256) != 0
    assert g.peek(copy, 258) == copy << 12 | 0x8000000000000063
    g.refused(g.up(g.window, slot, copy << 12 | P | RW), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert g.ext(xen.MMUEXT_NEW_BASEPTR, g.root).rc == 0
    assert (g.books(copy), g.books(g.root), g.books(g.window_l3)) == ("1 L4*0", "4 L4*2 pv", l3)
    assert g.up(g.window, slot, copy << 12 | P | RW).rc == 0


def test_56_the_current_root_again_only_flushes(g: Any) -> None:
    before, books = g.d.counters, g.books(g.root)
    assert g.ext(xen.MMUEXT_NEW_BASEPTR, g.root).rc == 0
    assert g.books(g.root) == books
    assert (g.d.counters - before)["tlb_flushes"] == 1


def test_57_what_is_no_root(g: Any) -> None:
    l1 = g.page()
    assert g.pin(1, l1).rc == 0
    for cmd in (xen.MMUEXT_NEW_BASEPTR, xen.MMUEXT_NEW_USER_BASEPTR):
        g.refused(g.ext(cmd, l1), EINVAL, Reason.TYPE_CONFLICT)
        g.refused(g.ext(cmd, g.m.frames), EINVAL, Reason.MMUEXT_NOT_OWNED)
        g.refused(g.ext(cmd, (1 << 64) - 1), EINVAL, Reason.MMUEXT_NOT_OWNED)
        g.refused(g.ext(cmd, g.root, foreigndom=xen.DOMID_IO), EPERM, Reason.MMUEXT_FOREIGN)
    g.refused(g.ext(xen.MMUEXT_NEW_BASEPTR, 0), EINVAL, Reason.MMUEXT_NOT_OWNED)
    assert (g.d.kernel_root, g.d.user_root) == (g.root, 0)
    bad = g.table({5: g.window_l2 << 12 | UP})
    g.refused(g.ext(xen.MMUEXT_NEW_BASEPTR, bad), EINVAL, Reason.TYPE_CONFLICT)
    assert g.books(bad) == "1 L4*0"


@pytest.mark.parametrize("strict", [False, True])
def test_58_the_user_root(g: Any, strict: bool) -> None:
    if strict:
        assert g.d.vm_assist(xen.VMASST_ENABLE, xen.VMASST_M2P_STRICT).rc == 0
    l4 = g.page()
    assert g.pin(4, l4).rc == 0
    assert bool(g.peek(l4, 256)) == strict
    before = g.d.counters
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, l4).rc == 0
    assert (g.d.counters - before)["cr3_loads"] == 0
    assert (g.d.user_root, g.books(l4), g.peek(l4, 256)) == (l4, "3 L4*2 pv", 0)
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, l4).rc == 0  # the same again
    assert g.books(l4) == "3 L4*2 pv"
    assert g.unpin(l4).rc == 0
    assert g.books(l4) == "2 L4*1 v"
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, 0).rc == 0
    assert (g.d.user_root, g.books(l4)) == (0, "1 L4*0")
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, 0).rc == 0


def test_58_strict_zaps_slot_256_even_of_the_live_kernel_root(g: Any) -> None:
    assert g.peek(g.root, 256)
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    assert g.peek(g.root, 256)  # not strict: left alone
    assert g.books(g.root) == "5 L4*3 pv"
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, 0).rc == 0
    assert g.d.vm_assist(xen.VMASST_ENABLE, xen.VMASST_M2P_STRICT).rc == 0
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, g.root).rc == 0
    assert g.peek(g.root, 256) == 0


@pytest.mark.parametrize("slot", range(256, 272))
def test_59_xens_slots_are_not_written(g: Any, slot: int) -> None:
    before = g.peek(g.root, slot)
    for value in (0, before, g.page() << 12 | UP):
        r = g.up(g.root, slot, value)
        g.refused(r, EINVAL, Reason.L4_SLOT_RESERVED)
        assert (r.mfn, r.level, r.slot) == (g.root, 4, slot)
    assert g.peek(g.root, slot) == before


def test_59_their_neighbours_are(g: Any) -> None:
    for slot in (0, 255, 272, 510):
        assert g.up(g.root, slot, 0).rc == 0
        t = g.page()
        assert g.up(g.root, slot, t << 12 | P).rc == 0
        assert g.peek(g.root, slot) == t << 12 | P | US | A


def test_60_the_current_root_unpinned_stays_a_root(g: Any) -> None:
    assert g.books(g.root) == "4 L4*2 pv"
    assert g.unpin(g.root).rc == 0
    assert g.books(g.root) == "3 L4*1 v"
    assert g.pin(4, g.root).rc == 0
    assert g.books(g.root) == "4 L4*2 pv"
