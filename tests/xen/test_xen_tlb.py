"""With a TLB: which of Xen's calls make a changed entry seen, and which leave that to the guest."""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import PageFault, xen

P, RW, US = 1, 2, 4
K, G = 1 << 52, 1 << 8


class Stale:
    """A window page whose L1 entry was cleared after its translation was cached."""

    def __init__(self, g: Any, flags: int = P | RW) -> None:
        self.g, self.x, self.slot = g, g.page(), g.w()
        assert g.up(g.window, self.slot, self.x << 12 | flags).rc == 0
        self.va = g.w_va(self.slot)
        if flags & RW:
            g.d.store(self.va, 0x1234)
        g.d.load(self.va)
        assert g.up(g.window, self.slot, 0).rc == 0

    def seen(self) -> bool:
        """Whether the processor knows that the entry is gone."""
        try:
            self.g.d.load(self.va)
        except PageFault:
            return True
        return False


@pytest.fixture
def t(guest: Any) -> Any:
    return guest(tlb=True)


def test_without_the_option_every_change_is_seen_at_once(g: Any) -> None:
    assert Stale(g).seen()


def test_an_l1_update_flushes_nothing(t: Any) -> None:
    s = Stale(t)
    assert not s.seen()
    assert t.books(s.x) == "1 WRITABLE*0 v"


@pytest.mark.parametrize(
    "cmd", [xen.MMUEXT_TLB_FLUSH_LOCAL, xen.MMUEXT_TLB_FLUSH_ALL, xen.MMUEXT_INVLPG_LOCAL, xen.MMUEXT_INVLPG_ALL]
)
def test_explicit_flushes(t: Any, cmd: int) -> None:
    s, other = Stale(t), Stale(t)
    assert t.ext(cmd, s.va).rc == 0
    assert s.seen()
    assert other.seen() == (cmd in (xen.MMUEXT_TLB_FLUSH_LOCAL, xen.MMUEXT_TLB_FLUSH_ALL))


@pytest.mark.parametrize("flags", [xen.UVMF_TLB_FLUSH, xen.UVMF_INVLPG, xen.UVMF_INVLPG | xen.UVMF_ALL])
def test_flushes_of_update_va_mapping(t: Any, flags: int) -> None:
    s = Stale(t)
    assert t.d.update_va_mapping(s.va, 0, 0).rc == 0
    assert not s.seen()
    assert t.d.update_va_mapping(s.va, 0, flags).rc == 0
    assert s.seen()


def test_an_upper_update_flushes_at_the_end_of_the_batch(t: Any) -> None:
    s = Stale(t)
    assert t.up(t.window_l2, 9, 0).rc == 0
    assert s.seen()


def test_a_new_kernel_root_flushes(t: Any) -> None:
    s = Stale(t)
    assert t.ext(xen.MMUEXT_NEW_BASEPTR, t.root).rc == 0
    assert s.seen()


def test_a_new_user_root_does_not(t: Any) -> None:
    s = Stale(t)
    assert t.ext(xen.MMUEXT_NEW_USER_BASEPTR, t.page()).rc == 0
    assert not s.seen()


def test_a_switch_of_mode_flushes_when_global_pages_are_off(t: Any) -> None:
    s = Stale(t, P | US)
    assert t.ext(xen.MMUEXT_NEW_USER_BASEPTR, t.root).rc == 0
    assert not s.seen()
    t.d.enter_user()
    assert s.seen()


def test_a_global_entry_survives_a_switch_of_mode(guest: Any) -> None:
    t = guest(tlb=True, global_pages=True)
    user, kernel = Stale(t, P | US), Stale(t, P)  # only the first gets G
    assert t.ext(xen.MMUEXT_NEW_USER_BASEPTR, t.root).rc == 0
    t.d.enter_user()
    assert not user.seen()
    assert kernel.seen()


def test_a_frame_that_changes_type_is_flushed_first(t: Any) -> None:
    s = Stale(t)
    t.d.store(s.va, 4)  # still writable through the TLB
    assert t.peek(s.x, 0) == 4
    assert t.pin(1, s.x).rc == 0
    assert s.seen()  # no stale writable translation of what is a page table now


def test_no_second_flush_for_a_frame_let_go_before_the_last_one(t: Any) -> None:
    s = Stale(t)
    assert t.ext(xen.MMUEXT_TLB_FLUSH_ALL).rc == 0
    before = t.d.counters
    assert t.pin(1, s.x).rc == 0
    assert (t.d.counters - before)["tlb_flushes"] == 0


def test_ptwr_does_not_flush(t: Any) -> None:
    x = t.page()
    l1 = t.table({0: x << 12 | P | US | K})
    assert t.up(t.window_l2, 3, l1 << 12 | P | RW).rc == 0
    va = t.WINDOW_VA | 3 << 21
    table = t.map(l1, P)
    t.poke(x, 0, 7)
    assert t.d.load(va) == 7
    t.d.store(table, 0)
    assert t.peek(l1, 0) == 0
    assert t.d.load(va) == 7  # stale
    assert t.ext(xen.MMUEXT_INVLPG_LOCAL, va).rc == 0
    with pytest.raises(PageFault):
        t.d.load(va)


def test_a_trial_undoes_the_tlb(t: Any) -> None:
    s = Stale(t)
    with t.m.trial():
        assert t.ext(xen.MMUEXT_TLB_FLUSH_ALL).rc == 0
        assert s.seen()
    assert not s.seen()
