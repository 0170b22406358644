"""Named programs: conformance cases 33 to 60: pins, validation, linear tables, roots; each with its books (case 81).

Knows: each case and what Xen 4.17 says to it.  Does not know: who is asked.
"""

from __future__ import annotations

import program as p
from expected import Case, case, fault, ready, steps
from named_section9_entries import EBUSY, EINVAL, EPERM, SLOT, D, K, request, tree
from steps import IO, L1, L2, L3, NX, OTHER, PAGE, RW, SECOND, SELF, SPARE, US, A, P, ext, put, va

PIN_L1, PIN_L2, PIN_L3, PIN_L4, UNPIN, NEW_BASEPTR, NEW_USER_BASEPTR, COPY = 0, 1, 2, 3, 4, 5, 15, 17
UP = P | RW | US
#: Frames beside those of the tree.
T, T2, T3, T4 = range(p.POOL + 8, p.POOL + 12)
ROOT = p.BOOT_L4
#: A table of Xen's own.
XENS = p.UNKNOWN << 12
#: A tree whose top is tried as an L3.
DEEP = range(p.POOL + 16, p.POOL + 19)
#: Without these nobody's kernel would survive the new root, were it one.
KERNEL_SLOTS = ((p.WINDOW_SLOT, p.WINDOW_L3), (p.STUB_SLOT, p.STUB_L3), (p.KERNEL_SLOT, p.KERNEL_L3))
#: type_info of a frame without a type is that of one whose validation failed at its first entry.
NOTHING = "2 NONE*0"


def _window(frame: int, slot: int = 0) -> int:
    return p.WINDOW + (frame - p.POOL) * p.PAGE + slot * 8


def _copy(frame: int, source: int) -> p.Op:
    return ("ext", SELF, 0, ((COPY, frame, source),))


def _pins() -> list[Case]:
    out = tree()
    out += [
        case(33, "a page mapped writable", put(L1, 0, PAGE, P | RW), books={PAGE: "3 WRITABLE*1 v"}),
        case(33, "as an L1", ext(PIN_L1, PAGE), EINVAL, books={PAGE: "3 WRITABLE*1 v"}),
        case(33, "mapped read-only instead", put(L1, 0, PAGE, P), books={PAGE: "3 WRITABLE*0 v"}),
        case(33, "now it is one", ext(PIN_L1, PAGE), books={PAGE: "4 L1*1 pv"}),
        case(36, "pinned twice", ext(PIN_L1, PAGE), EINVAL, books={PAGE: "4 L1*1 pv"}),
        case(37, "an L1 as an L2", ext(PIN_L2, PAGE), EINVAL, books={PAGE: "4 L1*1 pv"}),
        case(37, "as an L4", ext(PIN_L4, PAGE), EINVAL, books={PAGE: "4 L1*1 pv"}),
        case(39, "a pinned page mapped writable", put(L1, 0, PAGE, P | RW), EBUSY, books={PAGE: "4 L1*1 pv"}),
        case(39, "in use as well", put(L2, 1, PAGE, UP), books={PAGE: "5 L1*2 pv"}),
        case(38, "unpinned", ext(UNPIN, PAGE), books={PAGE: "4 L1*1 v"}),
        case(38, "unpinned twice", ext(UNPIN, PAGE), EINVAL, books={PAGE: "4 L1*1 v"}),
        case(39, "writable while in use", put(L1, 0, PAGE, P | RW), EBUSY, books={PAGE: "4 L1*1 v"}),
        case(39, "no longer in use", put(L2, 1, 0, 0), books={PAGE: "3 L1*0"}),
        case(39, "writable now", put(L1, 0, PAGE, P | RW), books={PAGE: "3 WRITABLE*1 v"}),
    ]
    return out


def _refused() -> list[Case]:
    """What is left of a table that is refused."""
    bad = put(T, 5, L2, P | RW)[3][0][1]
    page = PAGE << 12
    out = tree()
    out += ready(put(T, 0, PAGE, P | RW), put(T, 3, OTHER, P), put(T, 5, L2, P | RW), put(T, 6, PAGE, P))
    out += [
        case(34, "an L1 that maps a table writable in slot 5", ext(PIN_L1, T), EBUSY, books={T: NOTHING}),
        case(34, "slot 0 is adjusted", ("read", T << 12), readback=page | UP | K),
        case(34, "slot 3 is", ("read", T << 12 | 24), readback=OTHER << 12 | P | US | K),
        case(34, "slot 5 is not", ("read", T << 12 | 40), readback=bad, books={PAGE: "2 WRITABLE*0 v"}),
        case(34, "slot 6 is not", ("read", T << 12 | 48), readback=page | P),
        *ready(put(T2, 7, T2, P | RW)),
        case(35, "an L1 that maps itself writable", ext(PIN_L1, T2), EBUSY, books={T2: NOTHING}),
        *ready(put(T2, 7, T2, P)),
        case(35, "read-only", ext(PIN_L1, T2), books={T2: "4 L1*1 pv"}),
        case(35, "unpinned again", ext(UNPIN, T2), books={T2: "2 L1*0"}),
        *ready(put(L1, 0, PAGE, P | RW), put(T3, 1, SPARE, UP), put(T3, 9, PAGE, UP)),
        case(40, "an L2 refused at slot 9", ext(PIN_L2, T3), EINVAL, books={T3: "2 L2*0", SPARE: "2 L1*0"}),
        *ready(put(T4, 0, PAGE, UP)),
        case(40, "an L2 refused at slot 0", ext(PIN_L2, T4), EINVAL, books={T4: NOTHING, PAGE: "3 WRITABLE*1 v"}),
    ]
    return out


def _trees() -> list[Case]:
    out = ready(put(T, 0, PAGE, P | RW), put(T, 3, ROOT, P | RW), put(T2, 4, T, P | RW), put(T3, 5, T2, P | RW))
    out += ready(put(T4, 6, T3, P | RW))
    after = {T: NOTHING, T2: "2 L2*0", T3: "2 L3*0", T4: "2 L4*0", PAGE: "2 WRITABLE*0 v"}
    out += [
        case(41, "an L4 over an L1 with one bad entry", ext(PIN_L4, T4), EBUSY, books=after),
        case(41, "the L1's entry before it", ("read", T << 12), readback=PAGE << 12 | UP | K),
        *(case(41, f"Xen's slot {s}", ("read", T4 << 12 | s * 8), readback=0) for s in (256, 258, 262, 271)),
        *ready(put(T, 3, 0, 0)),
        case(41, "without it", ext(PIN_L4, T4), books={t: f"3 L{n}*1 v" for n, t in ((1, T), (2, T2), (3, T3))}),
        case(42, "slot 256", ("read", T4 << 12 | 256 * 8), readback=0, books={T4: "3 L4*1 pv"}),
        case(42, "slot 257", ("read", T4 << 12 | 257 * 8), readback=0),
        case(42, "slot 258", ("read", T4 << 12 | 258 * 8), readback=T4 << 12 | NX | 0x63),
        case(42, "slot 259", ("read", T4 << 12 | 259 * 8), readback=0),
        case(42, "assist M2P_STRICT on", ("assist", 0, 32)),
        case(42, "an L4 pinned then", ext(PIN_L4, SECOND), books={SECOND: "3 L4*1 pv"}),
        case(42, "its slot 256", ("load", 0, _window(SECOND, 256), 8), value=XENS | NX | P | US | A),
        case(42, "its slot 258", ("read", SECOND << 12 | 258 * 8), readback=SECOND << 12 | NX | 0x63),
    ]
    return out


def _references() -> list[Case]:
    out = tree()
    out += [
        *ready(put(L1, 0, PAGE, P | RW)),
        case(43, "data in an L2", put(L2, 5, PAGE, UP), EINVAL, readback=0, books={PAGE: "3 WRITABLE*1 v"}),
        *ready(ext(PIN_L1, T)),
        case(44, "a pinned L1 in an L2", put(L2, 5, T, UP), books={T: "4 L1*2 pv"}),
        case(44, "without RW", put(L2, 5, T, P | US), readback=T << 12 | P | US, books={T: "4 L1*2 pv"}),
        case(44, "with RW", put(L2, 5, T, UP), readback=T << 12 | UP, books={T: "4 L1*2 pv"}),
        case(44, "gone", put(L2, 5, 0, 0), books={T: "3 L1*1 pv"}),
        case(45, "a frame of zeros in an L4", put(ROOT, 9, T2, UP), books={T2: "3 L3*1 v"}),
        case(45, "as an L2", ext(PIN_L2, T2), EINVAL, books={T2: "3 L3*1 v"}),
        *ready(put(T3, 1, OTHER, P | RW)),
        case(46, "an L1 in a slot", put(L2, 6, T3, UP), books={T3: "3 L1*1 v", OTHER: "3 WRITABLE*1 v"}),
        case(46, "in a second slot", put(L2, 7, T3, UP), books={T3: "4 L1*2 v", OTHER: "3 WRITABLE*1 v"}),
        case(46, "the first gone", put(L2, 6, 0, 0), books={T3: "3 L1*1 v", OTHER: "3 WRITABLE*1 v"}),
        case(
            *(47, "the second gone and mapped writable in a batch"),
            ("mmu", SELF, 0, ((L2 << 12 | 56, 0), (L1 << 12 | 8, T3 << 12 | P | RW))),
            done=2,
            books={T3: "3 WRITABLE*1 v", OTHER: "2 WRITABLE*0 v"},
        ),
    ]
    return out


def _self_entries() -> list[Case]:
    entry = T << 12 | P | US | A
    one = {T: "3 L4*1 pv"}
    out = tree()
    out += [
        *ready(ext(PIN_L4, T)),
        case(48, "an L4 in itself, writable", put(T, 5, T, UP), EINVAL, readback=0, books=one),
        case(48, "read-only", put(T, 5, T, P | US), readback=entry, books=one),
        case(49, "made writable", put(T, 5, T, UP), EINVAL, readback=entry, books=one),
        case(49, "without U, A", put(T, 5, T, P), readback=entry, books=one),
        case(49, "with D and NX", put(T, 5, T, P | US | D | NX), readback=entry | D | NX, books=one),
        case(50, "an L2 in itself", put(L2, 9, L2, P | US), readback=L2 << 12 | P | US, books={L2: "3 L2*1 v"}),
        case(50, "an address behind it", ("uva", va(SLOT, 0, 9, 1), 0, 0), EINVAL),
        *ready(ext(PIN_L1, T2)),
        case(53, "the L4 in an L2", put(L2, 10, T, P | US), EINVAL, readback=0, books=one),
        case(53, "the L4 in an L3", put(L3, 10, T, P | US), EINVAL, readback=0, books=one),
        case(53, "an L1 in an L4", put(T, 11, T2, P | US), EINVAL, readback=0, books={T2: "3 L1*1 pv"}),
        *ready(put(T3, 0, L3, UP)),
        case(53, "an L4 that is not one yet", put(T, 12, T3, P | US), EINVAL, readback=0, books={T3: NOTHING}),
        *ready(put(DEEP[2], 1, ROOT, P | RW), put(DEEP[1], 0, DEEP[2], UP), put(DEEP[0], 0, DEEP[1], UP)),
        case(53, "one at whose end a table is writable", put(T, 12, DEEP[0], P | US), EBUSY, readback=0),
    ]
    return out


def _chains() -> list[Case]:
    a, b, c = T, T2, T3
    used = {b: "5 L4*3 pv"}
    out = tree()
    out += ready(*(ext(PIN_L4, t) for t in (a, b, c)))
    out += [
        case(51, "A uses B", put(a, 5, b, P | US), books={a: "3 L4*1 pv", b: "4 L4*2 pv"}),
        case(51, "B uses C", put(b, 5, c, P | US), EINVAL, readback=0, books={b: "4 L4*2 pv"}),
        case(51, "B uses itself", put(b, 6, b, P | US), books={b: "4 L4*2 pv"}),
        case(51, "C uses B", put(c, 5, b, P | US), books=used),
        case(51, "B uses A", put(b, 5, a, P | US), EINVAL, readback=0, books={a: "3 L4*1 pv"}),
        case(51, "C uses A", put(c, 6, a, P | US), EINVAL, readback=0, books={a: "3 L4*1 pv"}),
        case(52, "B unpinned", ext(UNPIN, b), books={b: "4 L4*2 v"}),
        case(52, "B mapped writable", put(L1, 0, b, P | RW), EBUSY, readback=0),
        case(52, "A lets go", put(a, 5, 0, 0), books={b: "3 L4*1 v"}),
        case(52, "B mapped writable", put(L1, 0, b, P | RW), EBUSY, readback=0),
        case(52, "C lets go", put(c, 5, 0, 0), books={b: "2 L4*0"}),
        case(52, "B mapped writable", put(L1, 0, b, P | RW), books={b: "3 WRITABLE*1 v"}),
    ]
    return out


def _windows() -> list[Case]:
    rec = 5
    l1e = va(rec, SLOT, 0, 0, 7)
    value = PAGE << 12 | P | RW
    out = tree()
    out += [
        *ready(put(ROOT, rec, ROOT, P | US)),
        fault(54, "a write through the window, L2 entry writable", ("store", 0, l1e, 8, value), 3, cr2=l1e),
        *ready(put(L2, 0, L1, P | US)),
        case(54, "L2 entry read-only", ("store", 0, l1e, 8, value), books={PAGE: "3 WRITABLE*1 v"}),
        case(54, "the L1 entry", ("read", L1 << 12 | 56), readback=value | US | K),
        *(
            fault(54, f"an L{level} entry, never", ("store", 0, at, 8, 0), 3, cr2=at)
            for level, at in ((2, va(rec, rec, SLOT, 0)), (3, va(rec, rec, rec, SLOT)), (4, va(rec, rec, rec, rec)))
        ),
        *ready(ext(PIN_L4, T)),
        case(55, "slot 258 as data", ("load", 0, _window(T, 258), 8), value=T << 12 | NX | 0x63),
        case(55, "slot 259", ("load", 0, _window(T, 259), 8), value=0),
    ]
    return out


def _roots() -> list[Case]:
    out = tree()
    out += [
        case(56, "a copy of the root", _copy(T, ROOT), books={T: "2 WRITABLE*0 v"}),
        case(56, "loaded, not pinned", ext(NEW_BASEPTR, T), books={T: "3 L4*1 v"}),
        case(56, "slot 258", ("read", T << 12 | 258 * 8), readback=T << 12 | NX | 0x63),
        case(56, "mapped writable", put(L1, 0, T, P | RW), EBUSY, readback=0),
        case(60, "pinned", ext(PIN_L4, T), books={T: "4 L4*2 pv"}),
        case(60, "the current root unpinned", ext(UNPIN, T), books={T: "3 L4*1 v"}),
        case(60, "is a root", put(L1, 0, T, P | RW), EBUSY, readback=0),
        case(56, "back to the old one", ext(NEW_BASEPTR, ROOT), books={T: "2 L4*0"}),
        case(56, "mapped writable", put(L1, 0, T, P | RW), books={T: "3 WRITABLE*1 v"}),
        case(57, "no frame as root", ext(NEW_BASEPTR, 0), EINVAL),
        *ready(*(put(T2, slot, l3, P | US) for slot, l3 in KERNEL_SLOTS), ext(PIN_L1, T2)),
        case(57, "an L1 as root", ext(NEW_BASEPTR, T2), EINVAL, books={T2: "3 L1*1 pv"}),
        case(57, "an L1 as user root", ext(NEW_USER_BASEPTR, T2), EINVAL, books={T2: "3 L1*1 pv"}),
        case(57, "as dom_io's", ("ext", IO, 0, ((NEW_BASEPTR, ROOT, 0),)), EPERM),
        case(58, "no user root", ext(NEW_USER_BASEPTR, 0)),
        *ready(ext(PIN_L4, T3)),
        case(58, "a user root", ext(NEW_USER_BASEPTR, T3), books={T3: "4 L4*2 pv"}),
        case(58, "its slot 256", ("read", T3 << 12 | 256 * 8), readback=0),
        case(58, "none again", ext(NEW_USER_BASEPTR, 0), books={T3: "3 L4*1 pv"}),
        case(58, "assist M2P_STRICT on", ("assist", 0, 32)),
        *ready(ext(PIN_L4, T4)),
        case(58, "a user root", ext(NEW_USER_BASEPTR, T4), books={T4: "4 L4*2 pv"}),
        case(58, "its slot 256 is zapped", ("read", T4 << 12 | 256 * 8), readback=0),
    ]
    out += [case(59, f"slot {s}", request(T3, s, 0), EINVAL, done=0) for s in range(256, 272)]
    out += [case(59, f"slot {s}", request(T3, s, 0), done=1) for s in (255, 272)]
    return out


PROGRAMS = {
    "section9-pins": ("Cases 33 and 36 to 39: what may be pinned and mapped?", _pins()),
    "section9-refused": ("Cases 34, 35, 40: what is left of a table that is refused?", _refused()),
    "section9-trees": ("Cases 41 and 42: a tree refused, a tree pinned", _trees()),
    "section9-references": ("Cases 43 to 47: what do entries above L1 hold?", _references()),
    "section9-self-entries": ("Cases 48 to 50, 53: which linear entries are there?", _self_entries()),
    "section9-chains": ("Cases 51 and 52: how deep do linear tables nest?", _chains()),
    "section9-windows": ("Cases 54 and 55: what is read and written through windows?", _windows()),
    "section9-roots": ("Cases 56 to 60: what may be a root?", _roots()),
}
QUESTIONS = {name: (question, steps(program), True) for name, (question, program) in PROGRAMS.items()}
