"""Grant tables, version 1: what a mapping writes and holds, what refuses it, and how it ends.

Every expectation was seen on real Xen 4.17 (tests/oracles/xen/named_handles.py and named_foreign.py ask the same
questions of both), but what a domain without privileges answers.
"""

from __future__ import annotations

import struct

import pytest

from xenmmu import BadArgument, BadState, Machine, PageFault, check, xen
from xenmmu.errors import NotModelled
from xenmmu.xen import PageType, Reason

P, RW, US, A, D, G, K, NX = 1, 2, 4, 0x20, 0x40, 0x100, 1 << 52, 1 << 63
HOST, DEVICE, READ_ONLY = xen.GNTMAP_host_map, xen.GNTMAP_device_map, xen.GNTMAP_readonly
APPLICATION, BY_PTE = xen.GNTMAP_application_map, xen.GNTMAP_contains_pte
GENERAL, BAD_DOMAIN, BAD_REF, BAD_HANDLE, BAD_DEV, BAD_PAGE, EAGAIN = -1, -2, -3, -4, -6, -9, -12
REF = 9


class Granted:
    """A guest that grants a frame to itself, and slots of its window to map it at."""

    def __init__(self, g) -> None:
        self.g, self.d = g, g.d
        self.frame = g.page()
        self.d.grant_access(REF, self.d.domid, self.frame)
        self.slots = [g.w() for _ in range(8)]

    def va(self, i: int) -> int:
        return self.g.w_va(self.slots[i])

    def pte(self, i: int) -> int:
        return self.g.window << 12 | self.slots[i] * 8

    def entry(self, i: int) -> int:
        return self.g.peek(self.g.window, self.slots[i])

    def flags(self, ref: int = REF) -> int:
        _, (table,) = self.d.setup_table(1)
        return self.g.peek(table, ref) & 0xFFFF

    def counts(self) -> tuple[int, int]:
        info = self.g.hv.frame_info(self.frame)
        return info.count, info.type_count

    def map(self, i: int, flags: int = HOST, ref: int = REF):
        return self.d.map_grant_ref(self.pte(i) if flags & BY_PTE else self.va(i), flags, ref, self.d.domid)


@pytest.fixture
def own(g) -> Granted:
    return Granted(g)


def test_a_mapping_and_its_end(own) -> None:
    r = own.map(0)
    assert (r.status, r.reason, r.dev_bus_addr) == (0, Reason.NONE, own.frame << 12)
    assert own.entry(0) == own.frame << 12 | P | RW | US | A | D | K | NX
    assert own.flags() == xen.GTF_permit_access | xen.GTF_reading | xen.GTF_writing
    assert own.counts() == (2, 1)
    own.d.store(own.va(0), 5)
    assert check.audit(own.g.hv) == []
    assert own.d.unmap_grant_ref(r.handle, own.va(0)).status == 0
    assert (own.entry(0), own.counts(), own.flags()) == (0, (1, 0), xen.GTF_permit_access)
    assert own.d.unmap_grant_ref(r.handle, own.va(0))[:2] == (BAD_HANDLE, Reason.GRANT_HANDLE)
    assert check.audit(own.g.hv) == []


def test_what_the_flags_put_into_the_entry(own) -> None:
    own.map(0, HOST | READ_ONLY)
    assert own.entry(0) == own.frame << 12 | P | US | A | D | K | NX
    assert own.flags() == xen.GTF_permit_access | xen.GTF_reading
    own.map(1, HOST | APPLICATION | BY_PTE | 5 << 16)
    assert own.entry(1) == own.frame << 12 | P | RW | US | A | D | G | NX | 0xA00
    assert own.flags() == xen.GTF_permit_access | xen.GTF_reading | xen.GTF_writing
    assert own.counts() == (3, 1)


def test_device_mappings_hold_the_frame_without_an_entry(own) -> None:
    first, second = own.map(0, DEVICE), own.map(1, DEVICE | HOST | READ_ONLY)
    assert own.counts() == (4, 1)
    assert [(h.type, h.count) for h in own.g.hv.held] == [(PageType.WRITABLE, 1), (PageType.NONE, 1)]
    assert check.audit(own.g.hv) == []
    assert own.d.unmap_grant_ref(first.handle, 0, 1 << 12)[:2] == (BAD_DEV, Reason.GRANT_DEV_ADDR)
    assert own.d.unmap_grant_ref(first.handle, 0, own.frame << 12).status == 0
    assert own.d.unmap_grant_ref(second.handle, own.va(1)).status == 0
    assert own.counts() == (2, 0)
    assert own.d.unmap_grant_ref(second.handle, 0, own.frame << 12).status == 0
    assert own.counts() == (1, 0)
    assert own.flags() == xen.GTF_permit_access
    assert check.audit(own.g.hv) == []


def test_any_entry_that_maps_the_frame_so_will_do(own) -> None:
    a, b = own.map(0), own.map(1)
    read = own.map(2, HOST | READ_ONLY)
    assert own.d.unmap_grant_ref(read.handle, own.va(0))[:2] == (GENERAL, Reason.GRANT_MISMATCH)
    assert own.d.unmap_grant_ref(read.handle, own.va(5))[:2] == (GENERAL, Reason.GRANT_MISMATCH)
    assert own.d.unmap_grant_ref(a.handle, own.va(1)).status == 0
    assert own.d.unmap_grant_ref(b.handle, own.va(0)).status == 0
    assert own.counts() == (2, 0)


def test_an_entry_overwritten_while_the_grant_is_mapped(own) -> None:
    r = own.map(0)
    assert own.g.up(own.g.window, own.slots[0], 0).rc == 0
    assert own.counts() == (1, 0)
    assert own.d.unmap_grant_ref(r.handle, own.va(0))[:2] == (GENERAL, Reason.GRANT_MISMATCH)
    assert own.g.up(own.g.window, own.slots[0], own.frame << 12 | P | RW).rc == 0
    assert own.d.unmap_grant_ref(r.handle, own.va(0)).status == 0
    assert own.counts() == (1, 0)


@pytest.mark.parametrize(
    ("entry", "flags", "status", "reason"),
    [
        (0, HOST, GENERAL, Reason.GRANT_ENTRY),
        (xen.GTF_permit_access | 0x100, HOST, GENERAL, Reason.GRANT_ENTRY),
        (xen.GTF_permit_access | 5 << 16, HOST, GENERAL, Reason.GRANT_NOT_FOR_CALLER),
        (xen.GTF_permit_access | xen.GTF_readonly, HOST, GENERAL, Reason.GRANT_READONLY),
        (xen.GTF_permit_access, READ_ONLY, BAD_REF, Reason.GRANT_FLAGS),
    ],
)
def test_refused_by_the_entry(own, entry, flags, status, reason) -> None:
    _, (table,) = own.d.setup_table(1)
    own.g.poke(table, REF, own.frame << 32 | entry)
    assert own.map(0, flags)[:2] == (status, reason)
    assert own.g.peek(table, REF) == own.frame << 32 | entry
    assert own.counts() == (1, 0)


def test_refused_by_the_rest(own) -> None:
    d, g = own.d, own.g
    assert d.map_grant_ref(own.va(0), HOST, REF, 33)[:2] == (BAD_DOMAIN, Reason.GRANT_DOMAIN)
    assert d.map_grant_ref(own.va(0), HOST, REF, xen.DOMID_SELF)[:2] == (BAD_DOMAIN, Reason.GRANT_DOMAIN)
    assert own.map(0, HOST, 512)[:2] == (BAD_REF, Reason.GRANT_REF)
    d.grant_access(10, d.domid, 0xB8)
    assert own.map(0, HOST, 10)[:2] == (BAD_PAGE, Reason.GRANT_PAGE)
    table = g.table()
    assert g.pin(1, table).rc == 0
    d.grant_access(11, d.domid, table)
    assert own.map(0, HOST, 11)[:2] == (GENERAL, Reason.GRANT_TYPE)
    assert own.flags(11) == xen.GTF_permit_access
    assert own.map(0, HOST | READ_ONLY, 11).status == 0
    for addr, flags in (
        (0xFFFF830000000000, HOST),
        (0x400000, HOST),
        (own.pte(1) + 4, HOST | BY_PTE),
        (g.window_l2 << 12, HOST | BY_PTE),
        (own.frame << 12, HOST | BY_PTE),
    ):
        assert d.map_grant_ref(addr, flags, REF, d.domid)[:2] == (GENERAL, Reason.GRANT_PTE)
    assert (own.counts(), own.flags()) == ((1, 0), xen.GTF_permit_access)
    assert check.audit(g.hv) == []


def test_permission_is_looked_at_once(own) -> None:
    """While a grant is mapped, only its first writable mapping looks at the entry again."""
    own.d.grant_access(REF, own.d.domid, own.frame, readonly=True)
    assert own.map(0, HOST | READ_ONLY).status == 0
    assert own.map(1)[:2] == (GENERAL, Reason.GRANT_READONLY)
    _, (table,) = own.d.setup_table(1)
    own.g.poke(table, REF, 0)
    assert own.map(2, HOST | READ_ONLY).dev_bus_addr == own.frame << 12
    assert own.map(3).status == 0


def test_a_grant_mapped_too_often(own) -> None:
    for i in range(128):
        assert own.map(i % 8).status == 0
    assert own.map(0)[:2] == (GENERAL, Reason.GRANT_PINS)
    assert own.map(0, HOST | READ_ONLY).status == 0


def test_a_mapping_overwritten_and_its_frame_given_up(own) -> None:
    mfn = own.d.populate_physmap([0x1100]).mfns[0]
    own.d.grant_access(10, own.d.domid, mfn)
    handle = own.map(0, HOST, 10).handle
    assert own.g.up(own.g.window, own.slots[0], 0).rc == 0
    assert own.d.decrease_reservation([mfn]).rc == 1
    assert own.map(0, HOST, 10)[:2] == (GENERAL, Reason.GRANT_PAGE_GONE)
    assert own.d.unmap_grant_ref(handle, own.va(0))[:2] == (GENERAL, Reason.GRANT_MISMATCH)
    own.d.grant_access(11, own.d.domid, mfn)
    assert own.map(0, HOST, 11)[:2] == (BAD_PAGE, Reason.GRANT_PAGE)


def test_unmap_and_replace(own) -> None:
    g, other = own.g, own.g.page()
    r = own.map(0)
    assert g.up(g.window, own.slots[1], other << 12 | P).rc == 0
    moved = own.entry(1)
    assert own.d.unmap_and_replace(r.handle, own.va(5), own.va(1))[:2] == (GENERAL, Reason.GRANT_MISMATCH)
    assert (own.entry(1), g.hv.frame_info(other).count) == (0, 1)  # lost, with its reference
    assert g.up(g.window, own.slots[1], other << 12 | P).rc == 0
    assert own.d.unmap_and_replace(r.handle, own.va(0), own.va(1)).status == 0
    assert (own.entry(0), own.entry(1), own.counts()) == (moved, 0, (1, 0))
    r = own.map(2, HOST | BY_PTE)
    assert own.d.unmap_and_replace(r.handle, own.pte(2), own.va(0))[:2] == (GENERAL, Reason.GRANT_PTE)
    assert check.audit(g.hv) == []


def test_the_table(own) -> None:
    d, g = own.d, own.g
    done, frames = d.setup_table(3)
    assert (done.status, len(frames)) == (0, 3)
    for mfn in frames:
        info = g.hv.frame_info(mfn)
        assert (info.owner, info.type, info.type_count, info.count, info.xen_heap) == (0, PageType.WRITABLE, 1, 1, True)
        assert g.map(mfn)
    assert d.setup_table(65)[0][:2] == (GENERAL, Reason.GRANT_FRAMES)
    d.grant_access(REF + 1, 3, own.frame)
    assert d.swap_grant_ref(REF, REF + 1).status == 0
    assert g.peek(frames[0], REF) >> 16 & 0xFFFF == 3
    assert d.swap_grant_ref(REF, 4096)[:2] == (BAD_REF, Reason.GRANT_REF)
    r = own.map(0, HOST, REF + 1)
    assert r.status == 0
    assert d.swap_grant_ref(REF, REF + 1)[:2] == (EAGAIN, Reason.GRANT_IN_USE)
    assert check.audit(g.hv) == []
    for bad in (64 * 512, -1):
        with pytest.raises(BadArgument):
            d.grant_access(bad, 0, own.frame)
    with pytest.raises(BadArgument):
        d.grant_access(1, 0, 1 << 32)


def test_requests_in_the_guests_memory(own) -> None:
    g, d = own.g, own.d
    page = g.page()
    at = g.map(page)
    g.w()
    read_only = g.map(page, P)

    def call(cmd: int, where: int = at, count: int = 1) -> xen.Result:
        return d.hypercall(xen.HYPERVISOR_grant_table_op, cmd, where, count)

    g.m.write(page << 12, struct.pack("<QIIHhIQ", own.va(0), HOST, REF, d.domid, 77, 0, 0))
    assert call(xen.GNTTABOP_map_grant_ref).rc == 0
    _, _, _, _, status, handle, bus = struct.unpack("<QIIHhIQ", g.m.read(page << 12, 32))
    assert (status, bus) == (0, own.frame << 12)
    g.m.write(page << 12, struct.pack("<QQIhxx", own.va(0), 0, handle, 77) * 2)
    r = call(xen.GNTTABOP_unmap_grant_ref, at, 2)
    assert (r.rc, r.done, r.reason) == (0, 2, Reason.GRANT_HANDLE)
    assert [g.m.read(page << 12 | 24 * i + 20, 2) for i in range(2)] == [b"\0\0", b"\xfc\xff"]
    assert own.counts() == (1, 0)
    assert call(xen.GNTTABOP_unmap_grant_ref, read_only).rc == -14
    assert call(xen.GNTTABOP_map_grant_ref, at + 4096).reason == Reason.BAD_HANDLE
    assert call(xen.GNTTABOP_map_grant_ref, at + 4096, 0).rc == 0
    assert call(xen.GNTTABOP_map_grant_ref, 0xFFFF830000000000, 0).rc == -14
    assert call(xen.GNTTABOP_map_grant_ref, at, 1 << 31).rc == -22
    assert call(13).rc == -38
    assert call(0x1000).rc == -22
    with pytest.raises(NotModelled):
        call(5)


def test_the_tables_calls_in_the_guests_memory(own) -> None:
    g, d = own.g, own.d
    page = g.page()
    at = g.map(page)

    def call(cmd: int, data: bytes, count: int = 1) -> tuple[int, bytes]:
        g.m.write(page << 12, data)
        return d.hypercall(xen.HYPERVISOR_grant_table_op, cmd, at, count).rc, g.m.read(page << 12, 32)

    def setup(dom: int, frames: int, where: int) -> bytes:
        return struct.pack("<HxxIhxxxxxxQ", dom, frames, 77, where)

    rc, out = call(xen.GNTTABOP_setup_table, setup(xen.DOMID_SELF, 1, at + 24))
    assert (rc, out[8:10]) == (0, b"\0\0")
    assert int.from_bytes(out[24:32], "little") == d.setup_table(1)[1][0]
    for request, status in (
        (setup(77, 1, at + 24), BAD_DOMAIN),
        (setup(d.domid, 65, at + 24), GENERAL),
        (setup(d.domid, 1, at + 4096), -5),
    ):
        rc, out = call(xen.GNTTABOP_setup_table, request)
        assert (rc, int.from_bytes(out[8:10], "little", signed=True)) == (0, status)
    assert call(xen.GNTTABOP_setup_table, setup(d.domid, 1, 0xFFFF830000000000))[0] == -14
    assert call(xen.GNTTABOP_setup_table, setup(d.domid, 1, at), 2)[0] == -22
    rc, out = call(xen.GNTTABOP_query_size, struct.pack("<HxxIIh", xen.DOMID_SELF, 0, 0, 77))
    assert (rc, struct.unpack("<IIh", out[4:14])) == (0, (1, 64, 0))
    rc, out = call(xen.GNTTABOP_get_version, struct.pack("<HxxI", d.domid, 0))
    assert (rc, out[4]) == (0, 1)
    assert call(xen.GNTTABOP_get_version, struct.pack("<HxxI", 77, 0))[0] == -3
    assert call(xen.GNTTABOP_set_version, struct.pack("<I", 1))[0] == 0
    assert call(xen.GNTTABOP_set_version, struct.pack("<I", 3)) == (-22, g.m.read(page << 12, 32))
    assert g.m.read(page << 12, 4) == b"\1\0\0\0"
    with pytest.raises(NotModelled):
        call(xen.GNTTABOP_set_version, struct.pack("<I", 2))


def test_another_domains_frame() -> None:
    """By the sources only: the referee's dom0 grants to itself."""
    m = Machine(64 << 20)
    hv = xen.Hypervisor(m)
    front, back = hv.create_domain(frames=128), hv.create_domain(frames=128)
    frame, va = front.mfns[-1], 0xFFFFFFFF80003000
    front.grant_access(REF, back.domid, frame)
    assert front.map_grant_ref(va, HOST, REF, front.domid)[:2] == (GENERAL, Reason.GRANT_NOT_FOR_CALLER)
    r = back.map_grant_ref(va, HOST, REF, front.domid)
    assert r.status == 0
    back.store(va, 0x1234)
    assert m.read64(frame << 12) == 0x1234
    assert front.map_grant_ref(va, HOST, REF, front.domid).status == GENERAL
    assert check.audit(hv) == []
    assert back.unmap_grant_ref(r.handle, va).status == 0
    with pytest.raises(PageFault):
        back.load(va)
    assert hv.frame_info(frame).count == 1
    assert check.audit(hv) == []


def test_handles_are_given_out_in_xens_order(own) -> None:
    handles = [own.map(i % 8, DEVICE if i % 2 else DEVICE | READ_ONLY).handle for i in range(5)]
    assert handles == [0, 1, 2, 3, 4]
    for h in (3, 1):
        assert own.d.unmap_grant_ref(h, 0, own.frame << 12).status == 0
    # Freed ones go to the end of the queue.
    assert own.map(0, DEVICE).handle == 5


def test_a_trial_undoes_it(g) -> None:
    free = g.hv.free_frames
    with g.m.trial():
        own = Granted(g)
        assert own.map(0).status == 0
    assert g.hv.free_frames == free
    own = Granted(g)
    r = own.map(0)
    with g.m.trial():
        assert own.d.unmap_grant_ref(r.handle, own.va(0)).status == 0
        assert own.map(1).handle == 1
    assert own.counts() == (2, 1)
    assert own.d.unmap_grant_ref(r.handle, own.va(0)).status == 0
    assert check.audit(g.hv) == []


def test_in_user_mode_there_is_no_hypercall(own) -> None:
    g = own.g
    root = g.table({g.WINDOW_SLOT: g.window_l3 << 12 | P | RW | US})
    assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, root).rc == 0
    own.d.enter_user()
    with pytest.raises(BadState):
        own.map(0)
