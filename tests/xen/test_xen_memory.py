"""memory_op: frames that a domain gives up, gets and exchanges.  What is expected here was seen on real Xen 4.17.7
(tests/oracles/xen/named_memory.py, `conform.py --tell reservations`, `exchange`, `tables-given-up`, `physmap`)."""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import check, xen
from xenmmu.errors import BadArgument, BadState
from xenmmu.xen import Reason

P, RW, US = 1, 2, 4
EBUSY, EACCES, EINVAL, ENOSYS, ESRCH, EPERM = 16, 13, 22, 38, 3, 1
NOTHING = xen.INVALID_M2P_ENTRY


def test_new_frames_are_clean_in_the_books(g: Any) -> None:
    before = g.hv.free_frames
    r = g.d.populate_physmap([0x900, 0x901])
    assert (r.rc, r.done, r.reason, len(r.mfns)) == (2, 2, Reason.NONE, 2)
    assert [g.hv.m2p(mfn) for mfn in r.mfns] == [0x900, 0x901]
    assert [g.books(mfn) for mfn in r.mfns] == ["1 NONE*0"] * 2
    assert all(g.hv.frame_info(mfn).owner == g.d.domid and g.hv.frame_info(mfn).allocated for mfn in r.mfns)
    s = g.d.increase_reservation(2)
    assert (s.rc, [g.hv.m2p(mfn) for mfn in s.mfns]) == (2, [NOTHING, NOTHING])
    assert g.d.current_reservation().rc == 512 + 4
    assert g.hv.free_frames == before - 4
    assert check.audit(g.hv) == []


def test_a_run_lies_together_and_is_aligned(g: Any) -> None:
    g.d.increase_reservation(1)
    r = g.d.populate_physmap([0x900, 0xA00], order=3)
    assert r.rc == 2
    for mfn, pfn in zip(r.mfns, (0x900, 0xA00), strict=True):
        assert mfn % 8 == 0
        assert [g.hv.m2p(mfn + i) for i in range(8)] == list(range(pfn, pfn + 8))


def test_the_first_frame_that_is_free_is_taken_again(g: Any) -> None:
    low, high = g.d.populate_physmap([0x900, 0x901]).mfns
    assert g.d.decrease_reservation([high, low]).rc == 2
    assert g.d.populate_physmap([0x902, 0x903]).mfns == (low, high)


def test_what_a_frame_held_stays_in_it(g: Any) -> None:
    x = g.page()
    g.poke(x, 3, 0x77)
    assert g.d.decrease_reservation([x]).rc == 1
    assert g.d.increase_reservation(1).mfns == (x,)
    assert g.peek(x, 3) == 0x77


def test_a_mapped_frame_goes_with_its_last_mapping(g: Any) -> None:
    x = g.page()
    slot = g.w()
    assert g.up(g.window, slot, x << 12 | P | RW).rc == 0
    pfn = g.hv.m2p(x)
    assert g.d.decrease_reservation([x]).rc == 1
    assert (g.books(x), g.hv.frame_info(x).allocated, g.hv.m2p(x)) == ("1 WRITABLE*1 v", False, pfn)
    assert g.d.decrease_reservation([x]).rc == 1, "giving it up again counts, and does nothing"
    assert g.up(g.window, g.w(), x << 12 | P).rc == 0
    assert g.up(g.window, g.next_slot, 0).rc == 0
    assert check.audit(g.hv) == []
    assert g.d.current_reservation().rc == 512
    assert g.up(g.window, slot, 0).rc == 0
    f = g.hv.frame_info(x)
    assert (f.owner, f.count, f.type_info, g.hv.m2p(x)) == (xen.OWNER_NONE, 0, 0, NOTHING)
    assert g.d.current_reservation().rc == 511
    g.refused(g.up(g.window, slot, x << 12 | P), EBUSY, Reason.L1_NOT_OWNED)
    r = g.d.decrease_reservation([x])
    assert (r.rc, r.reason, r.mfn) == (0, Reason.PAGE_NOT_OWNED, x)
    assert check.audit(g.hv) == []


def test_a_table_that_was_given_up_works_until_it_is_let_go(g: Any) -> None:
    x = g.page()
    t = g.table({3: x << 12 | P | RW})
    assert g.up(g.window_l2, 5, t << 12 | P | RW).rc == 0
    assert g.d.decrease_reservation([t, x]).rc == 2
    assert (g.books(t), g.books(x)) == ("1 L1*1 v", "1 WRITABLE*1 v")
    assert g.up(t, 3, x << 12 | P).rc == 0
    assert g.pin(1, t).rc == 0
    assert g.unpin(t).rc == 0
    assert check.audit(g.hv) == []
    assert g.up(g.window_l2, 5, 0).rc == 0
    assert [g.hv.frame_info(mfn).owner for mfn in (t, x)] == [xen.OWNER_NONE] * 2
    g.refused(g.pin(1, t), EINVAL, Reason.MMUEXT_NOT_OWNED)
    assert check.audit(g.hv) == []


def test_decrease_stops_at_the_first_frame_that_cannot_go(g: Any) -> None:
    a, b, c = g.page(), g.page(), g.page()
    other = g.hv.create_domain(frames=64, privileged=False)
    for bad, reason in (
        (1 << 28, Reason.MFN_INVALID),
        (0xB8, Reason.PAGE_NOT_OWNED),
        (other.mfns[-1], Reason.PAGE_NOT_OWNED),
    ):
        r = g.d.decrease_reservation([bad, c])
        assert (r.rc, r.done, r.reason, r.mfn) == (0, 0, reason, bad)
    r = g.d.decrease_reservation([a, a, b])
    assert (r.rc, r.reason, r.mfn) == (1, Reason.PAGE_NOT_OWNED, a)
    assert g.books(b) == "1 NONE*0"


def test_half_a_run_is_gone_though_the_run_does_not_count(g: Any) -> None:
    (run,) = g.d.populate_physmap([0x900], order=2).mfns
    assert g.d.decrease_reservation([run + 2]).rc == 1
    assert g.d.decrease_reservation([run], order=2).rc == 0
    assert [g.hv.frame_info(run + i).owner for i in range(4)] == [xen.OWNER_NONE] * 3 + [g.d.domid]
    assert g.d.current_reservation().rc == 513


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"order": 19}, Reason.EXTENT_ORDER),
        ({"order": 18}, Reason.NO_MEMORY),
        ({"address_bits": 12}, Reason.ADDRESS_BITS),
        ({"address_bits": 13}, Reason.NO_MEMORY),
        ({"domid": 77}, Reason.DOMID_UNKNOWN),
        ({"domid": xen.DOMID_IO}, Reason.DOMID_UNKNOWN),
    ],
)
def test_reservations_that_are_refused(g: Any, arguments: dict[str, int], reason: Reason) -> None:
    everything = g.everything()
    assert g.d.populate_physmap([0x900], **arguments) == (0, 0, reason, (), 0)
    assert g.d.increase_reservation(1, **arguments)[:3] == (0, 0, reason)
    assert g.everything() == everything


def test_address_bits_keep_frames_low(g: Any) -> None:
    x = g.page()
    assert g.d.decrease_reservation([x]).rc == 1
    assert g.d.increase_reservation(2, address_bits=(x << 12).bit_length())[:3] == (1, 1, Reason.NO_MEMORY)


def test_too_many_extents(g: Any) -> None:
    assert g.d.increase_reservation(1 << 26)[:3] == (0, 0, Reason.EXTENTS)
    r = g.d.increase_reservation((1 << 26) - 1)
    assert (r.reason, r.rc, g.hv.free_frames) == (Reason.NO_MEMORY, len(r.mfns), 0)
    assert check.audit(g.hv) == []


def test_a_domain_has_a_limit(g: Any) -> None:
    other = g.hv.create_domain(frames=64, privileged=False)
    assert (g.d.max_pages, other.max_pages) == ((1 << 32) - 1, 64)
    assert g.d.maximum_reservation(other.domid).rc == 64
    assert g.d.populate_physmap([0x40], domid=other.domid)[:3] == (0, 0, Reason.MAX_PAGES)
    other.max_pages = 67
    assert g.d.populate_physmap([0x40, 0x42], order=1, domid=other.domid)[:3] == (1, 1, Reason.MAX_PAGES)
    assert other.current_reservation().rc == 66
    other.max_pages = 10
    assert other.increase_reservation(1)[:3] == (0, 0, Reason.MAX_PAGES)
    with pytest.raises(BadArgument):
        other.max_pages = 1 << 32
    assert check.audit(g.hv) == []


def test_an_unprivileged_domain_asks_for_itself_only(g: Any) -> None:
    other = g.hv.create_domain(frames=64, privileged=False)
    assert other.decrease_reservation([g.page()], domid=g.d.domid)[:3] == (0, 0, Reason.NO_PRIVILEGE)
    assert other.memory_exchange([g.page()], [5], domid=g.d.domid)[:3] == (-EPERM, 0, Reason.NO_PRIVILEGE)
    assert other.current_reservation(g.d.domid)[:3] == (-EPERM, 0, Reason.NO_PRIVILEGE)
    assert other.increase_reservation(1, order=10)[:3] == (0, 0, Reason.EXTENT_ORDER)
    assert g.d.increase_reservation(1, order=10)[:3] == (1, 1, Reason.NONE)
    last = other.mfns[-1]
    assert other.decrease_reservation([last], domid=other.domid).rc == 1, "its own number is as good as DOMID_SELF"


def test_exchange(g: Any) -> None:
    x, before = g.page(), g.d.current_reservation().rc
    r = g.d.memory_exchange([x], [0x900])
    assert (r.rc, r.done, r.reason, len(r.mfns)) == (0, 1, Reason.NONE, 1)
    assert g.hv.frame_info(x).owner == xen.OWNER_NONE
    assert (g.hv.m2p(x), g.hv.m2p(r.mfns[0]), g.books(r.mfns[0])) == (NOTHING, 0x900, "1 NONE*0")
    assert g.d.current_reservation().rc == before
    pages = [g.page(), g.page()]
    (run,) = g.d.memory_exchange(pages, [0x910], out_order=1).mfns
    assert run % 2 == 0
    split = g.d.memory_exchange([run], [0x920, 0x930], in_order=1)
    assert (split.rc, split.done, [g.hv.m2p(mfn) for mfn in split.mfns]) == (0, 1, [0x920, 0x930])
    assert check.audit(g.hv) == []


def test_a_frame_in_use_cannot_be_exchanged(g: Any) -> None:
    x, y = g.page(), g.page()
    assert g.pin(1, x).rc == 0
    assert g.unpin(x).rc == 0
    assert g.books(x) == "1 L1*0"
    g.map(y)
    r = g.d.memory_exchange([x, y], [0x900], out_order=1)
    assert (r.rc, r.done, r.reason, r.mfn, r.mfns) == (-EINVAL, 0, Reason.EXCHANGE_IN_USE, y, ())
    assert g.books(x) == "1 NONE*0", "it was taken and put back, which forgets what it was"
    r = g.d.memory_exchange([x, y], [0x900, 0x901])
    assert (r.rc, r.done, len(r.mfns)) == (-EINVAL, 1, 1)
    for bad, reason in ((1 << 28, Reason.MFN_INVALID), (g.d.shared_info, Reason.EXCHANGE_IN_USE)):
        assert g.d.memory_exchange([bad], [0x900])[:3] == (-EINVAL, 0, reason)
    assert check.audit(g.hv) == []


def test_the_two_sides_of_an_exchange(g: Any) -> None:
    x = g.page()
    everything = g.everything()
    sizes = (-EINVAL, 0, Reason.EXCHANGE_SIZES)
    assert g.d.memory_exchange([x], [1, 2])[:3] == sizes
    assert g.d.memory_exchange([x], [1], out_order=1)[:3] == sizes
    assert g.d.memory_exchange([x], [1], out_domid=0)[:3] == sizes
    assert g.d.memory_exchange([x], [1], done=2)[:3] == (-EINVAL, 2, Reason.EXCHANGE_SIZES)
    assert g.d.memory_exchange([x], [1], done=1)[:3] == (0, 1, Reason.NONE)
    assert g.d.memory_exchange([], [])[:3] == (0, 0, Reason.NONE)
    assert g.d.memory_exchange([x], [1], 19, 19)[:3] == (-EPERM, 0, Reason.EXTENT_ORDER)
    assert g.d.memory_exchange([x], [1], domid=77)[:3] == (-ESRCH, 0, Reason.DOMID_UNKNOWN)
    assert g.everything() == everything


def test_an_exchange_without_memory_changes_nothing(g: Any) -> None:
    r = g.d.memory_exchange([g.pool[0]], [1], address_bits=13)
    assert r[:3] == (-12, 0, Reason.NO_MEMORY)
    pages = g.pool[:512]
    g.d.increase_reservation((1 << 26) - 1)
    assert g.d.memory_exchange(pages[:2], [1], out_order=1)[:3] == (-12, 0, Reason.NO_MEMORY)
    assert [g.books(mfn) for mfn in pages[:2]] == ["1 NONE*0"] * 2
    assert check.audit(g.hv) == []


def test_shared_pages_do_not_come_by_the_physmap(g: Any) -> None:
    for space in range(4):
        assert g.d.add_to_physmap(space)[:3] == (-EACCES, 0, Reason.NOT_TRANSLATED)
    assert g.d.add_to_physmap(xen.XENMAPSPACE_GMFN_FOREIGN, 77)[:3] == (-ENOSYS, 0, Reason.UNKNOWN_COMMAND)
    assert g.d.add_to_physmap(xen.XENMAPSPACE_SHARED_INFO, 77)[:3] == (-ESRCH, 0, Reason.DOMID_UNKNOWN)
    assert g.d.remove_from_physmap()[:3] == (-EACCES, 0, Reason.NOT_TRANSLATED)
    assert g.d.remove_from_physmap(77)[:3] == (-ESRCH, 0, Reason.DOMID_UNKNOWN)
    g.map(g.d.shared_info)


def test_questions(g: Any) -> None:
    assert g.d.maximum_ram_page().rc == g.m.frames
    assert g.d.current_reservation(g.d.domid).rc == 512
    assert g.d.maximum_reservation(77)[:3] == (-ESRCH, 0, Reason.DOMID_UNKNOWN)


def test_a_trial_undoes_everything(g: Any) -> None:
    x = g.page()
    everything = g.everything()
    free = g.hv.free_frames
    with g.m.trial():
        got = g.d.populate_physmap([0x900, 0x910], order=1).mfns
        assert g.d.memory_exchange([got[0]], [1, 2], in_order=1).rc == 0
        assert g.d.decrease_reservation([x]).rc == 1
        g.d.max_pages = 3
    assert g.everything() == everything
    assert (g.hv.free_frames, g.d.current_reservation().rc, g.d.max_pages) == (free, 512, (1 << 32) - 1)
    assert g.d.increase_reservation(1).mfns == (got[0],)


def test_a_frame_that_changes_hands_is_flushed_from_the_tlb(guest: Any) -> None:
    g = guest(tlb=True)
    x = g.page()
    va = g.map(x)
    g.d.load(va)
    assert g.up(g.window, g.next_slot, 0).rc == 0
    assert g.d.decrease_reservation([x]).rc == 1
    assert g.d.load(va) == 0, "Xen does not flush when a frame goes"
    before = g.d.counters
    assert g.d.increase_reservation(1).mfns == (x,)
    assert (g.d.counters - before)["tlb_flushes"] == 1
    before = g.d.counters
    fresh = g.d.increase_reservation(1).mfns[0]
    assert (g.d.counters - before)["tlb_flushes"] == 0, "nobody ever had it"
    assert g.hv.frame_info(fresh).owner == g.d.domid


def test_misuse(g: Any) -> None:
    for call in (
        lambda: g.d.populate_physmap([-1]),
        lambda: g.d.populate_physmap(["x"]),
        lambda: g.d.increase_reservation(-1),
        lambda: g.d.increase_reservation("x"),
        lambda: g.d.decrease_reservation([1], order=-1),
        lambda: g.d.memory_exchange([1], [1 << 64]),
        lambda: g.d.current_reservation("x"),
        lambda: g.d.add_to_physmap(-1),
    ):
        with pytest.raises(BadArgument):
            call()
    assert g.d.mmuext_op([(xen.MMUEXT_NEW_USER_BASEPTR, g.root, 0)]).rc == 0
    g.d.enter_user()
    for call in (lambda: g.d.increase_reservation(1), g.d.maximum_ram_page, g.d.remove_from_physmap):
        with pytest.raises(BadState):
            call()
