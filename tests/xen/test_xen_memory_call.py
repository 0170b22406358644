"""memory_op as the guest makes it: structures and lists in its own memory, read and written as Xen does.

Every expectation was seen on real Xen 4.17 (tests/oracles/xen/named_memop.py asks the same questions of both).
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from xenmmu import check, xen
from xenmmu.errors import NotModelled
from xenmmu.xen import DOMID_SELF, Reason

INCREASE, DECREASE, RAM_PAGE, CURRENT, MAXIMUM, POPULATE, ADD, EXCHANGE, REMOVE = 0, 1, 2, 3, 4, 6, 7, 11, 15
XEN_AREA = 0xFFFF830000000000
EPERM, EFAULT, EACCES, EINVAL, ENOSYS, EDOM, ESRCH = 1, 14, 13, 22, 38, 33, 3
ON_DEMAND, EXACT, VNODE = 1 << 16, 1 << 17, 1 << 18


class Caller:
    """A page for structures, one for lists, and what is not there."""

    def __init__(self, g: Any) -> None:
        self.g, self.d = g, g.d
        first, second = g.page(), g.page()
        self.at = g.map(first)
        assert g.map(second) == self.at + 4096
        self.list, self.hole = self.at + 4096, self.at + 8192
        g.w()  # nothing is mapped there
        self.read_only = g.map(second, 1)
        self.pages = self.d.current_reservation().rc

    def put(self, va: int, *words: int) -> None:
        for i, word in enumerate(words):
            self.d.store(va + 8 * i, word)

    def get(self, va: int, n: int = 1) -> list[int]:
        return [self.d.load(va + 8 * i) for i in range(n)]

    def side(self, va: int, where: int, nr: int, order: int = 0, flags: int = 0, domid: int = DOMID_SELF) -> None:
        self.put(va, *struct.unpack("<4Q", struct.pack("<QQIIQ", where, nr, order, flags, domid)))

    def reserve(self, cmd: int, where: int, nr: int, *, start: int = 0, **more: int) -> xen.Result:
        self.side(self.at, where, nr, **more)
        return self.d.hypercall(xen.HYPERVISOR_memory_op, start << 6 | cmd, self.at)

    def exchange(self, old: tuple[int, int], new: tuple[int, int], done: int = 0, flags: int = 0) -> xen.Result:
        self.side(self.at, *old)
        self.side(self.at + 32, *new, flags=flags)
        self.put(self.at + 64, done)
        return self.d.hypercall(xen.HYPERVISOR_memory_op, EXCHANGE, self.at)

    def grown(self) -> int:
        return self.d.current_reservation().rc - self.pages


@pytest.fixture
def c(g: Any) -> Caller:
    return Caller(g)


def test_frames_come_and_go(c: Caller) -> None:
    c.put(c.list, 0x1100, 0x1101, 0x1102)
    assert c.reserve(POPULATE, c.list, 3, start=1)[:3] == (3, 3, Reason.NONE)
    kept, *new = c.get(c.list, 3)
    assert kept == 0x1100
    assert [c.g.hv.m2p(mfn) for mfn in new] == [0x1101, 0x1102]
    assert c.grown() == 2
    assert c.reserve(DECREASE, c.list, 3)[:3] == (0, 0, Reason.PAGE_NOT_OWNED)
    assert c.reserve(DECREASE, c.list, 3, start=1)[:3] == (3, 3, Reason.NONE)
    assert c.grown() == 0
    assert check.audit(c.g.hv) == []


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("cmd", [INCREASE, DECREASE, POPULATE])
def test_an_unreadable_structure_is_no_error(c: Caller, cmd: int, start: int) -> None:
    for where in (c.hole, XEN_AREA, c.hole - 24):
        r = c.d.hypercall(xen.HYPERVISOR_memory_op, start << 6 | cmd, where)
        assert (r.rc, r.reason) == (start, Reason.BAD_HANDLE)
    assert c.grown() == 0


def test_the_number_of_extents_done_comes_back_whole(c: Caller) -> None:
    start = (1 << 58) - 1
    assert c.reserve(POPULATE, c.list, 1, start=start).rc == start


@pytest.mark.parametrize(
    ("cmd", "grown"), [(INCREASE, 1), (POPULATE, 1), (DECREASE, 0)], ids=["increase", "populate", "decrease"]
)
def test_a_read_only_list(c: Caller, cmd: int, grown: int) -> None:
    """The frame that Xen cannot tell of is the domain's all the same."""
    c.put(c.list, 0x1100)
    r = c.reserve(cmd, c.read_only, 1)
    assert (r.rc, r.reason) == (0, Reason.PAGE_NOT_OWNED if cmd == DECREASE else Reason.BAD_HANDLE)
    assert c.get(c.list) == [0x1100]
    assert c.grown() == grown
    assert check.audit(c.g.hv) == []


def test_lists_that_are_not_there(c: Caller) -> None:
    assert c.reserve(POPULATE, c.hole, 1)[:3] == (0, 0, Reason.BAD_HANDLE)
    assert c.reserve(POPULATE, XEN_AREA, 1).reason == c.reserve(INCREASE, XEN_AREA, 1).reason == Reason.BAD_HANDLE
    assert c.grown() == 0
    assert c.reserve(INCREASE, c.hole, 1)[:3] == (0, 0, Reason.BAD_HANDLE)
    assert c.grown() == 1
    assert c.reserve(INCREASE, 0, 2)[:3] == (2, 2, Reason.NONE)
    assert c.grown() == 3
    c.put(c.hole - 8, 0x1100)
    assert c.reserve(POPULATE, c.hole - 8, 2)[:3] == (1, 1, Reason.BAD_HANDLE)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (12, Reason.ADDRESS_BITS),
        (60, Reason.NONE),
        (1 << 8, Reason.NONE),
        (64 << 8, Reason.NONE),
        (64 << 8 | EXACT, Reason.NO_MEMORY),
        (65 << 8, Reason.MEMORY_NODE),
        (65 << 8 | VNODE, Reason.NONE),
        (EXACT, Reason.NONE),
        (ON_DEMAND, Reason.POPULATE_ON_DEMAND),
        (0xFFF80000, Reason.NONE),
    ],
)
def test_flags(c: Caller, flags: int, reason: Reason) -> None:
    r = c.reserve(POPULATE, c.list, 1, flags=flags)
    assert (r.rc, r.reason) == (int(reason == Reason.NONE), reason)


def test_an_exchange_and_its_progress(c: Caller) -> None:
    c.put(c.list, 0x1100, 0x1101, 0x1200, 0x1201)
    assert c.reserve(POPULATE, c.list, 2).rc == 2
    old = c.get(c.list, 2)
    assert c.exchange((c.list, 2), (c.list + 16, 2))[:3] == (0, 2, Reason.NONE)
    assert c.get(c.at + 64) == [2]
    new = c.get(c.list + 16, 2)
    assert [c.g.hv.m2p(mfn) for mfn in new] == [0x1200, 0x1201]
    assert all(c.g.hv.frame_info(mfn).owner != 0 for mfn in set(old) - set(new))
    assert c.grown() == 2


@pytest.mark.parametrize(("read_only", "grown"), [(False, 0), (True, 0)])
def test_an_exchange_whose_frames_cannot_be_told(c: Caller, read_only: bool, grown: int) -> None:
    """The chunk is done, and does not count."""
    c.put(c.list, 0x1100)
    assert c.reserve(POPULATE, c.list, 1).rc == 1
    (mfn,) = c.get(c.list)
    r = c.exchange((c.list, 1), (c.read_only + 8 if read_only else c.hole, 1))
    assert (r.rc, r.reason) == (-EFAULT, Reason.BAD_HANDLE)
    assert c.get(c.at + 64) == [0]
    assert c.grown() == 1 + grown
    assert c.reserve(DECREASE, c.list, 1).reason in (Reason.PAGE_NOT_OWNED, Reason.NONE)
    assert c.get(c.list) == [mfn]


def test_commands_that_do_not_go_on(c: Caller) -> None:
    for cmd in (EXCHANGE, CURRENT, MAXIMUM, RAM_PAGE, REMOVE):
        r = c.d.hypercall(xen.HYPERVISOR_memory_op, 1 << 6 | cmd, c.at)
        assert (r.rc, r.reason) == (-EINVAL, Reason.START_EXTENT)
    r = c.d.hypercall(xen.HYPERVISOR_memory_op, 1 << 22 | ADD, c.hole)
    assert (r.rc, r.reason) == (-EDOM, Reason.PHYSMAP_START)
    c.put(c.at, DOMID_SELF)
    assert c.d.hypercall(xen.HYPERVISOR_memory_op, 65535 << 6 | ADD, c.at).rc == -EACCES


@pytest.mark.parametrize(
    ("cmd", "rc"), [(CURRENT, -ESRCH), (MAXIMUM, -ESRCH), (ADD, -ESRCH), (REMOVE, -ESRCH), (8, -ENOSYS), (29, -ENOSYS)]
)
def test_questions_of_a_domain_that_is_not_there(c: Caller, cmd: int, rc: int) -> None:
    c.put(c.at, 77, 0, 0)
    assert c.d.hypercall(xen.HYPERVISOR_memory_op, cmd, c.at).rc == rc
    if rc == -ESRCH:
        assert c.d.hypercall(xen.HYPERVISOR_memory_op, cmd, c.hole).rc == -EFAULT


def test_answers(c: Caller) -> None:
    c.put(c.at, DOMID_SELF)
    assert c.d.hypercall(xen.HYPERVISOR_memory_op, CURRENT, c.at).rc == c.pages
    assert c.d.hypercall(xen.HYPERVISOR_memory_op, RAM_PAGE).rc == c.d.maximum_ram_page().rc


def test_missing_commands(c: Caller) -> None:
    for cmd in (9, 24):
        with pytest.raises(NotModelled):
            c.d.hypercall(xen.HYPERVISOR_memory_op, cmd, c.at)


def test_in_a_multicall_and_undone(c: Caller) -> None:
    c.put(c.list, 0x1100)
    c.side(c.at, c.list, 1)
    c.put(c.at + 64, xen.HYPERVISOR_memory_op, 0x77, POPULATE, c.at, 0, 0, 0, 0)
    free = c.g.hv.free_frames
    with c.g.m.trial():
        assert c.d.hypercall(xen.HYPERVISOR_multicall, c.at + 64, 1).rc == 0
        assert c.get(c.at + 72) == [1]
        assert c.grown() == 1
    assert (c.grown(), c.g.hv.free_frames, c.get(c.list)) == (0, free, [0x1100])
