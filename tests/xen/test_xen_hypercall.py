"""Hypercalls as the guest makes them, arrays in its own memory: what is read, what is written back, what is refused.

Every expectation was seen on real Xen 4.17 (tests/oracles/xen/named_handles.py asks the same questions of both).
"""

from __future__ import annotations

import pytest

from xenmmu import BadArgument, BadState, check, xen
from xenmmu.errors import NotModelled
from xenmmu.xen import DOMID_SELF, Reason

P, RW, US = 1, 2, 4
TABLE = P | RW | US
EFAULT, ESRCH, EINVAL, ENOSYS = 14, 3, 22, 38
XEN_AREA = 0xFFFF830000000000
MMU, MULTI, UVA, ASSIST, EXT = (
    xen.HYPERVISOR_mmu_update,
    xen.HYPERVISOR_multicall,
    xen.HYPERVISOR_update_va_mapping,
    xen.HYPERVISOR_vm_assist,
    xen.HYPERVISOR_mmuext_op,
)


class Memory:
    """Two writable pages of a guest in a row, then nothing; the first page read-only elsewhere."""

    def __init__(self, g) -> None:
        self.g = g
        first, second = g.page(), g.page()
        self.at = g.map(first)
        assert g.map(second) == self.at + 4096
        self.hole = self.at + 8192
        g.w()  # nothing is mapped there
        self.read_only = g.map(first, P)
        self.done = self.at + 0xF00

    def put(self, va: int, *words: int) -> int:
        for i, word in enumerate(words):
            self.g.d.store(va + 8 * i, word)
        return va

    def get(self, va: int, n: int = 1) -> list[int]:
        return [self.g.d.load(va + 8 * i) for i in range(n)]

    def count(self) -> int:
        return self.g.d.load(self.done, 4)


@pytest.fixture
def mem(g) -> Memory:
    return Memory(g)


def test_elements_until_the_first_refused(g, mem) -> None:
    x, table = g.page(), g.table()
    assert g.pin(1, table).rc == 0
    mem.put(mem.at, table << 12, x << 12 | P, table << 12 | 8, x << 12 | P, table << 12 | 4, 0)
    r = g.d.hypercall(MMU, mem.at, 3, mem.done, DOMID_SELF)
    assert (r.rc, r.done, r.reason) == (-ENOSYS, 2, Reason.UNKNOWN_COMMAND)
    assert mem.count() == 2
    assert g.peek(table, 1) >> 12 & (1 << 40) - 1 == x
    assert check.audit(g.hv) == []


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("where", [XEN_AREA, 0xFFFF800000000000, 1 << 47])
@pytest.mark.parametrize("nr", [MMU, EXT, MULTI])
def test_an_array_that_begins_outside_the_guest(g, mem, nr, where, count) -> None:
    mem.put(mem.done, 0x77)
    r = g.d.hypercall(nr, where, count, mem.done, DOMID_SELF)
    assert (r.rc, r.reason) == (-EFAULT, Reason.BAD_HANDLE)
    assert mem.count() == 0x77


@pytest.mark.parametrize(("nr", "size"), [(MMU, 16), (EXT, 24)])
def test_an_array_that_ends_in_a_hole(g, mem, nr, size) -> None:
    mem.put(mem.done, 0x77)
    r = g.d.hypercall(nr, mem.hole, 1, mem.done, DOMID_SELF)
    assert (r.rc, r.reason, mem.count()) == (-EFAULT, Reason.BAD_HANDLE, 0)
    frame = g.page()
    mem.put(mem.hole - size, *((frame << 12, 0) if nr == MMU else (xen.MMUEXT_CLEAR_PAGE, frame, 0)))
    r = g.d.hypercall(nr, mem.hole - size, 2, mem.done, DOMID_SELF)
    assert (r.rc, r.done, mem.count()) == (-EFAULT, 1, 1)
    r = g.d.hypercall(nr, mem.hole - 8, 1, mem.done, DOMID_SELF)
    assert (r.rc, mem.count()) == (-EFAULT, 0)


def test_requests_may_lie_in_read_only_memory(g, mem) -> None:
    mem.put(mem.at, g.page() << 12, 5)
    assert g.d.hypercall(MMU, mem.read_only, 1, 0, DOMID_SELF).rc == 0


def test_a_count_that_cannot_be_written_goes_unnoticed(g, mem) -> None:
    mem.put(mem.at, g.page() << 12, 5)
    for where in (0, mem.hole, mem.read_only, XEN_AREA):
        assert g.d.hypercall(MMU, mem.at, 1, where, DOMID_SELF).rc == 0
    mem.put(mem.hole - 8, 0x1111111111111111)
    assert g.d.hypercall(MMU, mem.at, 1, mem.hole - 2, DOMID_SELF).rc == 0
    # Byte by byte, as far as it goes.
    assert mem.get(mem.hole - 8) == [0x0001111111111111]


def test_which_refusals_write_the_count(g, mem) -> None:
    mem.put(mem.at, g.page() << 12, 5)
    mem.put(mem.done, 0x77)
    assert g.d.hypercall(MMU, mem.at, 1, mem.done, 99 << 16 | DOMID_SELF).rc == -ESRCH
    assert mem.count() == 0x77
    assert g.d.hypercall(MMU, mem.at, 1, mem.done, 99).rc == -ESRCH
    assert mem.count() == 0
    mem.put(mem.done, 0x77)
    assert g.d.hypercall(EXT, mem.at, 1, mem.done, 99).rc == -ESRCH
    assert mem.count() == 0x77


def test_a_continued_count(g, mem) -> None:
    mem.put(mem.at, g.page() << 12, 5)
    mem.put(mem.done, 7)
    assert g.d.hypercall(MMU, mem.at, 0x80000001, mem.done, DOMID_SELF).done == 8
    assert mem.count() == 8
    assert g.d.hypercall(MMU, mem.at, 0x80000001, mem.hole, DOMID_SELF).rc == 0
    assert g.d.hypercall(MMU, 0, 0x80000000, mem.done, 0xFFFF8000).rc == -0x8000
    assert g.d.hypercall(EXT, 0, 0x80000000, mem.done, 0x1234).rc == 0x1234
    assert mem.count() == 8


def entry(op: int, *args: int) -> tuple[int, ...]:
    return (op, 0x77, *args, *[0] * (6 - len(args)))


def test_multicall_writes_results(g, mem) -> None:
    x = g.page()
    slot = g.w()
    calls = [
        entry(UVA, g.w_va(slot), x << 12 | P, 0),
        entry(MULTI, mem.at, 1),
        entry(60),
        entry(ASSIST, 0, 6),
        entry(ASSIST, 0, 2),
    ]
    for i, words in enumerate(calls):
        mem.put(mem.at + 64 * i, *words)
    r = g.d.hypercall(MULTI, mem.at, 5)
    assert (r.rc, r.done) == (0, 5)
    results = [mem.get(mem.at + 64 * i + 8)[0] for i in range(5)]
    assert results == [n & (1 << 64) - 1 for n in (0, -EINVAL, -ENOSYS, -EINVAL, 0)]
    assert mem.get(mem.at, 1) == [UVA]


def test_multicall_entries_out_of_reach(g, mem) -> None:
    mem.put(mem.hole - 64, *entry(ASSIST, 0, 2))
    r = g.d.hypercall(MULTI, mem.hole - 64, 2)
    assert (r.rc, r.done, r.reason) == (-EFAULT, 1, Reason.BAD_HANDLE)
    assert mem.get(mem.hole - 56) == [0]
    mem.put(mem.at, *entry(ASSIST, 1, 2))
    assert g.d.hypercall(MULTI, mem.read_only, 1).rc == -EFAULT
    assert g.d.hypercall(MULTI, mem.at, 0).rc == 0


def test_multicall_shows_the_second_attempt_that_drops_a_table(g, mem) -> None:
    """Case 70 of the conformance list: an L2 entry cleared leaves (0, 0x80000000, 0, rc) for arguments."""
    x = g.page()
    l1 = g.table({0: x << 12 | P})
    l2 = g.table({5: l1 << 12 | TABLE})
    assert g.pin(2, l2).rc == 0
    request, call = mem.at, mem.at + 0x400
    mem.put(request, l2 << 12 | 40, 0)
    mem.put(call, *entry(MMU, request, 1, mem.done, DOMID_SELF))
    assert g.d.hypercall(MULTI, call, 1).rc == 0
    assert mem.get(call, 6) == [MMU, 0, 0, 0x80000000, 0, 0]
    assert mem.count() == 1


def test_multicall_shows_where_a_batch_was_stopped(g, mem) -> None:
    l1 = g.table()
    l2 = g.table({5: l1 << 12 | TABLE})
    assert g.pin(2, l2).rc == 0
    request, call = mem.at, mem.at + 0x400
    mem.put(request, l2 << 12 | 40, 0, l1 << 12, 1 << 12, l1 << 12 | 8, 2 << 12)
    mem.put(call, *entry(MMU, request, 3, mem.done, DOMID_SELF))
    assert g.d.hypercall(MULTI, call, 1).rc == 0
    assert mem.get(call, 6) == [MMU, 0, request + 16, 0x80000002, mem.done, DOMID_SELF]
    assert mem.count() == 3


def test_numbers(g) -> None:
    for nr in (11, 38, 60, 1 << 40):
        r = g.d.hypercall(nr)
        assert (r.rc, r.reason) == (-ENOSYS, Reason.UNKNOWN_COMMAND)
    with pytest.raises(NotModelled):
        g.d.hypercall(36)
    with pytest.raises(BadArgument):
        g.d.hypercall(1, *range(6))
    with pytest.raises(BadArgument):
        g.d.hypercall(1, -1)


def test_user_mode_calls_its_kernel_not_xen(g) -> None:
    root = g.table({g.WINDOW_SLOT: g.window_l3 << 12 | TABLE})
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, root).rc == 0
    g.d.enter_user()
    with pytest.raises(BadState):
        g.d.hypercall(MMU, 0, 0, 0, DOMID_SELF)


def test_the_same_as_with_lists(g, mem) -> None:
    x = g.page()
    l1 = g.table()
    assert g.pin(1, l1).rc == 0
    for flags in (P, P | RW | US, 0, 6, P | 0x80):
        with g.m.trial():
            direct = g.d.mmu_update([(l1 << 12, x << 12 | flags)])
            word, info = g.peek(l1, 0), g.hv.frame_info(x)
        mem.put(mem.at, l1 << 12, x << 12 | flags)
        assert g.d.hypercall(MMU, mem.at, 1, 0, DOMID_SELF)[:3] == direct[:3]
        assert (g.peek(l1, 0), g.hv.frame_info(x)) == (word, info)
        assert g.up(l1, 0, 0).rc == 0


def test_a_trial_undoes_what_a_call_wrote(g, mem) -> None:
    mem.put(mem.at, g.page() << 12, 5)
    mem.put(mem.done, 0x77)
    with g.m.trial():
        assert g.d.hypercall(MMU, mem.at, 1, mem.done, DOMID_SELF).rc == 0
        assert mem.count() == 1
    assert mem.count() == 0x77


def test_accessed_flags_that_a_bad_address_leaves(guest) -> None:
    for choice, accessed in (("none", 0), ("upper", 0x20)):
        g = guest(a_on_fault=choice)
        l1 = g.table()
        l2 = g.table({0: l1 << 12 | TABLE})
        assert g.up(g.window_l3, 1, l2 << 12 | TABLE).rc == 0
        assert g.d.hypercall(MMU, g.WINDOW_VA + (1 << 30), 1, 0, DOMID_SELF).rc == -EFAULT
        assert g.peek(l2, 0) & 0x20 == accessed
    with pytest.raises(BadArgument):
        xen.Options(a_on_fault="all")
