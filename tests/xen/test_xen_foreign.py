"""Two domains: what the hardware domain may do with the frames and tables of the other, and what the other may not."""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import check, xen
from xenmmu.xen import Reason

P, RW, US, PCD = 1, 2, 4, 0x10
K = 1 << 52
EPERM, EBUSY, EINVAL = 1, 16, 22


class Pair:
    def __init__(self, guest: Any) -> None:
        self.g = guest()
        self.other = self.g.hv.create_domain(frames=300, privileged=False)
        self.id = self.other.domid
        self.frames = list(self.other.mfns[self.other.boot_frames :])


@pytest.fixture
def two(guest: Any) -> Pair:
    return Pair(guest)


def test_foreign_frames_map_when_their_owner_is_named(two: Pair) -> None:
    g, x = two.g, two.frames[0]
    for flags, books in ((P, "2 NONE*0"), (P | RW, "2 WRITABLE*1 v")):
        slot = g.w()
        assert g.up(g.window, slot, x << 12 | flags, foreigndom=two.id).rc == 0
        assert g.books(x) == books
        assert g.up(g.window, slot, 0).rc == 0
    slot = g.w()
    assert g.d.update_va_mapping_otherdomain(g.w_va(slot), x << 12 | P | RW, 0, two.id).rc == 0
    g.d.store(g.w_va(slot), 0x77)
    assert g.peek(x, 0) == 0x77
    g.refused(g.up(g.window, g.w(), g.page() << 12 | P, foreigndom=two.id), EBUSY, Reason.L1_NOT_OWNED)
    g.refused(g.up(g.window, g.w(), x << 12 | P), EBUSY, Reason.L1_NOT_OWNED)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_foreign_tables_are_pinned_and_cleared_for_their_owner(two: Pair, level: int) -> None:
    g, t = two.g, two.frames[0]
    g.refused(g.pin(level, t), EINVAL, Reason.MMUEXT_NOT_OWNED)
    assert g.pin(level, t, foreigndom=two.id).rc == 0
    assert g.books(t) == f"2 L{level}*1 pv"
    g.refused(g.ext(xen.MMUEXT_CLEAR_PAGE, t, foreigndom=two.id), EINVAL, Reason.NOT_WRITABLE)
    g.refused(g.up(g.window, g.w(), t << 12 | P | RW, foreigndom=two.id), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    assert g.unpin(t, foreigndom=two.id).rc == 0
    assert g.ext(xen.MMUEXT_CLEAR_PAGE, t, foreigndom=two.id).rc == 0
    assert g.books(t) == "1 WRITABLE*0 v"


def test_foreign_tables_do_not_join_the_own_tree(two: Pair) -> None:
    g, t = two.g, two.frames[0]
    g.refused(g.up(g.window_l2, 5, t << 12 | P), EINVAL, Reason.TABLE_NOT_OWNED)
    g.refused(g.up(g.window_l2, 5, t << 12 | P, foreigndom=two.id), EINVAL, Reason.PT_UPDATE_FOREIGNDOM)
    for cmd in (xen.MMUEXT_NEW_BASEPTR, xen.MMUEXT_NEW_USER_BASEPTR):
        g.refused(g.ext(cmd, t, foreigndom=two.id), EPERM, Reason.MMUEXT_FOREIGN)


def test_tables_of_another_owner(two: Pair) -> None:
    g, t, x = two.g, two.frames[0], two.frames[1]
    assert g.pin(1, t, foreigndom=two.id).rc == 0
    both = two.id + 1 << 16 | two.id
    g.refused(g.up(t, 3, x << 12 | P, foreigndom=two.id), EINVAL, Reason.PTR_NOT_OWNED)
    assert g.up(t, 3, x << 12 | P | RW, foreigndom=both).rc == 0
    assert g.peek(t, 3) == x << 12 | P | RW | US | K
    assert g.books(x) == "2 WRITABLE*1 v"
    g.refused(g.up(t, 4, t << 12 | P | RW, foreigndom=both), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    g.refused(g.up(t, 4, g.page() << 12 | P, foreigndom=both), EBUSY, Reason.L1_NOT_OWNED)
    g.refused(g.up(t, 0, 5, xen.MMU_MACHPHYS_UPDATE, foreigndom=both), EPERM, Reason.MACHPHYS_FOREIGN_PT)


def test_another_owners_upper_tables(two: Pair) -> None:
    g, t, l1 = two.g, two.frames[0], two.frames[1]
    assert g.pin(2, t, foreigndom=two.id).rc == 0
    both = two.id + 1 << 16 | two.id
    assert g.up(t, 3, l1 << 12 | P, foreigndom=both).rc == 0
    assert g.books(l1) == "2 L1*1 v"
    g.refused(g.up(t, 4, g.page() << 12 | P, foreigndom=both), EINVAL, Reason.TABLE_NOT_OWNED)
    r = g.up(t, 3, 0, foreigndom=two.id + 1 << 16 | xen.DOMID_SELF)
    g.refused(r, EINVAL, Reason.PT_UPDATE_FOREIGNDOM)


def test_an_unprivileged_domain_acts_on_itself_only(two: Pair) -> None:
    g, other = two.g, two.other
    mine, theirs = two.frames[0], g.page()
    everything = g.everything()
    for fd in (g.d.domid, xen.DOMID_XEN):
        g.refused(other.mmu_update([(mine << 12, theirs << 12 | P)], fd), EPERM, Reason.NO_PRIVILEGE)
        g.refused(other.mmuext_op([xen.MmuextOp(xen.MMUEXT_PIN_L1_TABLE, theirs)], fd), EPERM, Reason.NO_PRIVILEGE)
        r = other.update_va_mapping_otherdomain(0xFFFFFFFF80000000, 0, 0, fd)
        assert (r.rc, r.reason) == (-EPERM, Reason.NO_PRIVILEGE)
    r = other.mmu_update([(theirs << 12, 0)], g.d.domid + 1 << 16 | xen.DOMID_SELF)
    g.refused(r, EPERM, Reason.NO_PRIVILEGE)
    assert g.everything() == everything


def test_the_counters_are_each_domains_own(two: Pair) -> None:
    before, ours = two.other.counters, two.g.d.counters
    two.other.mmu_update([])
    assert (two.other.counters - before)["mmu_update"] == 1
    assert two.g.d.counters == ours


def test_a_privileged_domain_hands_on_its_right_to_map(two: Pair) -> None:
    """Its frames named while another's table is written: any domain's frame may be mapped there, as real Xen allows."""
    g, t = two.g, two.frames[0]
    third = g.hv.create_domain(frames=64, privileged=False)
    m2p = next(mfn for mfn in range(g.m.frames) if g.hv.frame_info(mfn).owner == xen.DOMID_XEN)
    mine = two.id + 1 << 16 | xen.DOMID_SELF
    assert g.pin(1, t, foreigndom=two.id).rc == 0
    for slot, x in enumerate((g.page(), two.frames[1], third.mfns[-1])):
        assert g.up(t, slot, x << 12 | P | RW, foreigndom=mine).rc == 0
        assert g.hv.frame_info(x).type_count == 1
    assert g.up(t, 3, m2p << 12 | P, foreigndom=mine).rc == 0
    g.refused(g.up(t, 4, m2p << 12 | P | RW, foreigndom=mine), EBUSY, Reason.L1_RW_TYPE_CONFLICT)
    xens = two.id + 1 << 16 | xen.DOMID_XEN
    g.refused(g.up(t, 4, third.mfns[-1] << 12 | P, foreigndom=xens), EBUSY, Reason.L1_NOT_OWNED)
    assert check.audit(g.hv) == []


def test_only_its_own_flags_and_devices_go_into_another_domains_table(two: Pair) -> None:
    g, t, x = two.g, two.frames[0], two.frames[1]
    assert g.pin(1, t, foreigndom=two.id).rc == 0
    both, devices = two.id + 1 << 16 | two.id, two.id + 1 << 16 | xen.DOMID_IO
    g.refused(g.up(t, 0, x << 12 | P | PCD, foreigndom=both), EINVAL, Reason.L1_FLAGS)
    g.refused(g.up(t, 0, 0xB8 << 12 | P, foreigndom=devices), EPERM, Reason.MMIO_NOT_PERMITTED)
    g.refused(g.up(t, 0, (1 << 40) - 1 << 12 | P, foreigndom=devices), EINVAL, Reason.MMIO_INVALID_MFN)


def test_dom_io_is_no_excuse(two: Pair) -> None:
    """An unprivileged domain may name DOMID_IO to mmu_update, not to update_va_mapping_otherdomain."""
    other = two.other
    r = other.update_va_mapping_otherdomain(0xFFFFFFFF80000000, 0, 0, xen.DOMID_IO)
    assert (r.rc, r.reason) == (-EPERM, Reason.NO_PRIVILEGE)
    r = other.mmu_update([(two.g.page() << 12 | 1, 0)], two.g.d.domid + 1 << 16 | xen.DOMID_SELF)
    assert (r.rc, r.reason) == (-EPERM, Reason.MACHPHYS_FOREIGN_PT)
