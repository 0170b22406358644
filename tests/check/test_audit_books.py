"""The auditor against books written by hand: a clean one has no violation, and each way to spoil it is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xenmmu import Machine
from xenmmu._core import ffi, lib

FRAMES = 1600
L4, L3, L2, L1, DATA, ULIN, XEN, IO, FREE = 600, 601, 602, 603, 610, 620, 5, 1, 700
BIG = 1024  # a frame whose number is a multiple of 512: an L1 with PS set below it maps 2 MiB from here
P, RW, U, A, D, PS, G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
NX, K = 1 << 63, 1 << 52
LEAF = P | U | K
TABLE = P | RW | U | A


class Books:
    """Domain 3 with one small tree: L4 -> L3 -> L2 -> L1, the L1 mapping all of it read-only and DATA writable."""

    def __init__(self) -> None:
        self.m = Machine(FRAMES * 4096)
        self.frames = ffi.new("struct xm_frame[]", FRAMES)
        self.root = ffi.new("struct xm_root[]", 1)
        self.linear = 1
        self.root[0] = {"kernel_root": L4, "user_root": 0, "cr3": L4 << 12, "domid": 3, "user_mode": 0, "privileged": 0}
        for mfn in range(FRAMES):
            self.frames[mfn].owner = 0xFFFF
            self.frames[mfn].count_info = 0xC00000000000000
        for mfn in (L4, L3, L2, L1, DATA, ULIN, BIG):
            self.claim(mfn, 3, refs=1)
        for mfn in range(10, 13):
            self.claim(mfn, 0xFFFF, refs=0, allocated=False)
        self.claim(IO, 0x7FF1, refs=1, type=7, count=1, flags="v")
        self.put(L4, 0, L3, TABLE)
        self.put(L3, 0, L2, TABLE)
        self.put(L2, 0, L1, TABLE)
        for slot, mfn in enumerate((L4, L3, L2, L1)):
            self.put(L1, slot, mfn, LEAF)
        self.put(L1, 4, DATA, LEAF | RW)
        self.put(L1, 5, BIG, LEAF)
        self.xen_slots(L4)
        self.claim(L4, 3, refs=4, type=4, count=2, flags="vp")  # allocated, pin, root, leaf
        self.claim(L3, 3, refs=3, type=3, count=1, flags="v")
        self.claim(L2, 3, refs=3, type=2, count=1, flags="v")
        self.claim(L1, 3, refs=3, type=1, count=1, flags="v")
        self.claim(DATA, 3, refs=2, type=7, count=1, flags="v")
        self.claim(BIG, 3, refs=2)

    def claim(
        self, mfn: int, owner: int, refs: int, type: int = 0, count: int = 0, flags: str = "", allocated: bool = True
    ) -> None:
        f = self.frames[mfn]
        f.owner = owner
        f.count_info = (1 << 63 if allocated else 0) | refs
        f.type_info = type << 61 | ("p" in flags) << 59 | ("v" in flags) << 58 | count

    def put(self, table: int, slot: int, mfn: int, flags: int) -> None:
        self.m.write64(table * 4096 + slot * 8, mfn << 12 | flags)

    def xen_slots(self, l4: int) -> None:
        self.put(l4, 258, l4, NX | P | RW | A | D)
        self.put(l4, 260, 10, NX | P | RW | A | D)
        self.put(l4, 261, 11, P | RW | A | D)
        self.put(l4, 256, 12, NX | P | U | A)

    def audit(self) -> dict[str, set[int]]:
        books = ffi.new("struct xm_books *", [self.m._c, self.frames, self.root, 1, self.linear])
        out = ffi.new("struct xm_violation[]", 200)
        n = ffi.new("size_t *")
        assert lib.xm_audit_books(books, out, 200, n) == 0
        found: dict[str, set[int]] = {}
        for v in out[0 : n[0]]:
            found.setdefault(ffi.string(lib.xm_invariant_name(v.invariant)).decode(), set()).add(v.mfn)
        return found


def test_a_clean_system_has_no_violation() -> None:
    assert Books().audit() == {}


def spoil(name: str) -> Callable[[Callable[[Books], None]], Callable[[Books], None]]:
    def keep(f: Callable[[Books], None]) -> Callable[[Books], None]:
        SPOILT[name] = f
        return f

    return keep


SPOILT: dict[str, Callable[[Books], None]] = {}
EXPECTED = {
    "type count one too high": {"I-TCOUNT": {DATA}},
    "general count one too low": {"I-GCOUNT": {DATA}},
    "table mapped writable": {"I-EXCL": {L2}, "I-WSPEC": {L2}, "I-TCOUNT": {L2}},
    "table mapped writable, upper levels read-only": {"I-EXCL": {L2}, "I-WSPEC": {L2}, "I-TCOUNT": {L2}},
    "type is another": {"I-LVL": {L1}},
    "not validated": {"I-LVL": {L1}},
    "L2 entry with PS over another table": {"I-LVL": {L2}, "I-WSPEC": {BIG + 3}},
    "L2 entry with PS over its own L1": {"I-LVL": {L2}, "I-WSPEC": {BIG}},
    "L3 entry without U": {"I-LVL": {L3}},
    "L1 entry not adjusted": {"I-LVL": {L1}},
    "L1 entry uncached": {"I-LVL": {L1}},
    "L2 entry beyond the machine": {"I-LVL": {L2}},
    "self entry": {},
    "self entry, linear tables off": {"I-LIN": {L4}},
    "writable self entry": {"I-LIN": {L4}, "I-WSPEC": {L4, L3, L2, L1}},
    "linear entry uncounted": {"I-LIN": {L4, ULIN}, "I-TCOUNT": {ULIN}, "I-GCOUNT": {ULIN}},
    "linear entry counted": {},
    "linear cycle": {"I-LIN": {L4, ULIN}},
    "Xen slot open": {"I-XENSLOT": {L4}},
    "Xen slot empty in one L4": {"I-XENSLOT": {ULIN}},
    "Xen's linear slot of another": {"I-XENSLOT": {L4}},
    "M2P writable": {"I-XENSLOT": {L4}},
    "Xen slot to the guest": {"I-XENSLOT": {L4}},
    "maps Xen's frame": {"I-OWN": {10}, "I-GCOUNT": {10}},
    "maps I/O memory": {"I-OWN": {L1}},
    "table of another": {"I-OWN": {10}, "I-GCOUNT": {10}},
    "CR3 is not the root": {"I-CR3": {L4}},
    "user mode without root": {"I-CR3": {0}},
    "root is no L4": {"I-CR3": {L3}, "I-EXCL": {L3}, "I-TCOUNT": {L3}, "I-GCOUNT": {L3}},
    "validated with count 0": {"I-PT0": {ULIN}},
    "pinned data": {"I-PIN": {DATA}},
    "pinned and not validated": {"I-PIN": {L4}, "I-LVL": {L4}, "I-CR3": {L4}},
    "free and mapped": {"I-FREE": {FREE}, "I-OWN": {FREE}, "I-GCOUNT": {FREE}},
    "free and typed": {"I-FREE": {FREE}},
}


# The whole tree is read at a wrong level too, so that more follows than the case is about.
CASCADES = {"root is no L4"}


@spoil("type count one too high")
def _(b: Books) -> None:
    b.frames[DATA].type_info += 1


@spoil("general count one too low")
def _(b: Books) -> None:
    b.frames[DATA].count_info -= 1


@spoil("table mapped writable")
def _(b: Books) -> None:
    b.put(L1, 2, L2, LEAF | RW)


@spoil("table mapped writable, upper levels read-only")
def _(b: Books) -> None:
    # The local form: no walk can write, and yet the entry must not be there.
    b.put(L1, 2, L2, LEAF | RW)
    b.put(L2, 0, L1, P | U)


@spoil("type is another")
def _(b: Books) -> None:
    b.claim(L1, 3, refs=3, type=5, count=1, flags="v")


@spoil("not validated")
def _(b: Books) -> None:
    b.claim(L1, 3, refs=3, type=1, count=1)


def _large(b: Books, table_inside: bool) -> None:
    """The founding state of XSA-148: an L1 on a 2 MiB boundary, its L2 entry turned into a large page."""
    b.claim(BIG, 3, refs=4, type=1, count=1, flags="v")
    b.frames[BIG].count_info -= 1  # leaf, parent, allocation
    b.put(L2, 1, BIG, TABLE)
    if table_inside:
        b.claim(BIG + 3, 3, refs=2, type=1, count=1, flags="vp")
        b.put(L2, 1, BIG, TABLE | PS)
    else:
        b.put(L2, 1, BIG, TABLE | PS)


@spoil("L2 entry with PS over another table")
def _(b: Books) -> None:
    _large(b, True)


@spoil("L2 entry with PS over its own L1")
def _(b: Books) -> None:
    _large(b, False)


@spoil("L3 entry without U")
def _(b: Books) -> None:
    b.put(L3, 0, L2, P | RW)


@spoil("L1 entry not adjusted")
def _(b: Books) -> None:
    b.put(L1, 4, DATA, P | U | RW)


@spoil("L1 entry uncached")
def _(b: Books) -> None:
    b.put(L1, 4, DATA, LEAF | RW | 0x10)


@spoil("L2 entry beyond the machine")
def _(b: Books) -> None:
    b.put(L2, 7, FRAMES, TABLE)


@spoil("self entry")
def _(b: Books) -> None:
    b.put(L4, 255, L4, P | U | A)


@spoil("self entry, linear tables off")
def _(b: Books) -> None:
    b.linear = 0
    b.put(L4, 255, L4, P | U | A)


@spoil("writable self entry")
def _(b: Books) -> None:
    b.put(L4, 255, L4, P | RW | U | A)


def _second_l4(b: Books) -> None:
    b.xen_slots(ULIN)
    b.claim(ULIN, 3, refs=2, type=4, count=1, flags="vp")


@spoil("linear entry uncounted")
def _(b: Books) -> None:
    _second_l4(b)
    b.put(L4, 510, ULIN, P | U | A)


@spoil("linear entry counted")
def _(b: Books) -> None:
    _second_l4(b)
    b.put(L4, 510, ULIN, P | U | A)
    # Unpinned: only the linear entry keeps it an L4.
    b.claim(ULIN, 3, refs=2, type=4, count=1, flags="v")
    b.frames[L4].linear_pt_count = 1
    b.frames[ULIN].linear_pt_count = -1


@spoil("linear cycle")
def _(b: Books) -> None:
    _second_l4(b)
    b.put(L4, 510, ULIN, P | U | A)
    b.put(ULIN, 510, L4, P | U | A)
    b.claim(ULIN, 3, refs=3, type=4, count=2, flags="vp")
    b.claim(L4, 3, refs=5, type=4, count=3, flags="vp")


@spoil("Xen slot open")
def _(b: Books) -> None:
    b.put(L4, 261, 11, P | U | RW | A | D)


@spoil("Xen slot empty in one L4")
def _(b: Books) -> None:
    _second_l4(b)
    b.m.write64(ULIN * 4096 + 261 * 8, 0)


@spoil("Xen's linear slot of another")
def _(b: Books) -> None:
    b.put(L4, 258, ULIN, NX | P | RW | A | D)


@spoil("M2P writable")
def _(b: Books) -> None:
    b.put(L4, 256, 12, NX | P | U | A | RW)


@spoil("Xen slot to the guest")
def _(b: Books) -> None:
    b.put(L4, 271, L3, P | RW | A)


@spoil("maps Xen's frame")
def _(b: Books) -> None:
    b.put(L1, 9, 10, LEAF)


@spoil("maps I/O memory")
def _(b: Books) -> None:
    b.put(L1, 9, IO, LEAF)


@spoil("table of another")
def _(b: Books) -> None:
    b.put(L2, 9, 10, TABLE)


@spoil("CR3 is not the root")
def _(b: Books) -> None:
    b.root[0].cr3 = L3 << 12


@spoil("user mode without root")
def _(b: Books) -> None:
    b.root[0].user_mode = 1


@spoil("root is no L4")
def _(b: Books) -> None:
    b.root[0].user_root = L3


@spoil("validated with count 0")
def _(b: Books) -> None:
    b.claim(ULIN, 3, refs=1, type=2, flags="v")


@spoil("pinned data")
def _(b: Books) -> None:
    b.claim(DATA, 3, refs=2, type=7, count=1, flags="vp")


@spoil("pinned and not validated")
def _(b: Books) -> None:
    b.claim(L4, 3, refs=4, type=4, count=2, flags="p")


@spoil("free and mapped")
def _(b: Books) -> None:
    b.put(L1, 9, FREE, LEAF)


@spoil("free and typed")
def _(b: Books) -> None:
    b.frames[FREE].type_info = 7 << 61


@pytest.mark.parametrize("name", list(EXPECTED))
def test_each_spoilt_system_is_named(name: str) -> None:
    b = Books()
    SPOILT[name](b)
    found = b.audit()
    for invariant, mfns in EXPECTED[name].items():
        assert mfns <= found.get(invariant, set()), (invariant, found)
    if name not in CASCADES:
        assert set(found) == set(EXPECTED[name]), found


def test_spoilt_and_expected_are_the_same_cases() -> None:
    assert set(SPOILT) == set(EXPECTED)


def test_user_root_alone_is_judged() -> None:
    """I-USERW is about the user root: the same writable slot in the kernel's L4 is not one."""
    b = Books()
    _second_l4(b)
    b.root[0].user_root = ULIN
    b.claim(ULIN, 3, refs=3, type=4, count=2, flags="vp")
    assert b.audit() == {}
    b.put(ULIN, 255, ULIN, P | U | A)
    assert b.audit() == {}, "a read-only self entry in the user root is what the mail asks for"
    b.put(L4, 255, L4, P | RW | U | A)
    assert "I-USERW" not in b.audit()
    b.put(L4, 255, L4, P | U | A)
    b.put(ULIN, 255, ULIN, P | RW | U | A)
    assert ULIN in b.audit()["I-USERW"]


def test_the_audit_writes_nothing() -> None:
    b = Books()
    before = b.m.read(0, FRAMES * 4096), bytes(ffi.buffer(b.frames))
    SPOILT["linear cycle"](b)
    with b.m.trial():
        b.audit()
    spoilt = b.m.read(0, FRAMES * 4096), bytes(ffi.buffer(b.frames))
    b.audit()
    assert (b.m.read(0, FRAMES * 4096), bytes(ffi.buffer(b.frames))) == spoilt
    assert spoilt != before


def test_more_violations_than_room_are_counted() -> None:
    b = Books()
    for slot in range(20, 40):
        b.put(L1, slot, DATA, P | RW)
    books = ffi.new("struct xm_books *", [b.m._c, b.frames, b.root, 1, 1])
    out = ffi.new("struct xm_violation[]", 3)
    n = ffi.new("size_t *")
    assert lib.xm_audit_books(books, out, 3, n) == 0
    assert n[0] == 22  # twenty entries that are not adjusted, two counts


def test_a_root_outside_the_machine_is_an_error() -> None:
    b = Books()
    b.root[0].user_root = FRAMES
    books = ffi.new("struct xm_books *", [b.m._c, b.frames, b.root, 1, 1])
    n = ffi.new("size_t *", 77)
    assert lib.xm_audit_books(books, ffi.NULL, 0, n) == lib.XM_E_RANGE
    assert n[0] == 77
