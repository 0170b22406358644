"""Named programs: conformance cases 61 to 80: raw stores and the other hypercalls, write emulation; with their books.

Knows: each case and what Xen 4.17 says to it.  Does not know: who is asked.
"""

from __future__ import annotations

import program as p
from expected import Case, case, fault, ready, steps
from named_handles import DONE, HOLE, MMU, MULTI, XEN_AREA, S, call, requests, words
from named_section9_entries import AT, EBUSY, EFAULT, EINVAL, ENOSYS, SLOT, G, K, request, tree
from steps import IO, L1, L2, L3, L4, OTHER, PAGE, RW, SELF, TABLE, US, P, ext, put, va

EOPNOTSUPP = -95
PIN_L1, PIN_L2, PIN_L4, UNPIN, NEW_USER_BASEPTR = 0, 1, 3, 4, 15
CLEAR, COPY, SET_LDT = 16, 17, 13
UP = P | RW | US
T, T2, T3 = range(p.POOL + 8, p.POOL + 11)
ROOT = p.BOOT_L4
NON_CANONICAL = 1 << 47
CODE, LDT_SYSTEM = 0x00AF9A000000FFFF, 0x0000820000000067
N = p.NAMED


def _window(frame: int, offset: int = 0) -> int:
    return p.WINDOW + (frame - p.POOL) * p.PAGE + offset


def _ext(cmd: int, arg1: int, arg2: int = 0) -> p.Op:
    return ("ext", SELF, 0, ((cmd, arg1, arg2),))


def _pages() -> list[Case]:
    every = (1 << 64) - 1
    machphys = 1
    out = tree()
    out += [
        *ready(put(L1, 0, PAGE, P | RW)),
        case(61, "any word in a page of data", request(PAGE, 17, every), readback=every),
        case(61, "another", request(PAGE, 17, 0x123), readback=0x123, books={PAGE: "3 WRITABLE*1 v"}),
        *ready(ext(PIN_L2, T), ext(UNPIN, T)),
        case(61, "in what was a table", request(T, 0, every), readback=every, books={T: "2 WRITABLE*0 v"}),
        *ready(("gdt", 512, (T2,))),
        case(61, "in a GDT in use", request(T2, 5, 0), EINVAL, books={T2: "3 SEG_DESC*1 v"}),
        *ready(put(T3, 1, OTHER, P), ext(PIN_L1, T3)),
        case(62, "clear a page", ext(CLEAR, PAGE), books={PAGE: "3 WRITABLE*1 v"}),
        case(62, "it is", ("read", PAGE << 12 | 136), readback=0),
        case(62, "clear a table", ext(CLEAR, T3), EINVAL, books={T3: "3 L1*1 pv"}),
        case(62, "copy to a table", _ext(COPY, T3, PAGE), EINVAL, books={T3: "3 L1*1 pv"}),
        case(62, "copy a table", _ext(COPY, PAGE, T3)),
        case(62, "the copy", ("read", PAGE << 12 | 8), readback=OTHER << 12 | P | US | K),
        case(63, "any M2P word of an own page", request(PAGE, 0, every, machphys)),
        case(63, "of a table", request(T3, 0, 0x123456789, machphys)),
        case(63, "of a page of dom_io's, as mine", request(0xB8, 0, every, machphys), EINVAL),
        case(63, "as dom_io's", request(0xB8, 0, every, machphys, IO)),
    ]
    return out


def _addresses() -> list[Case]:
    page = PAGE << 12
    out = tree()
    out += [
        case(64, "in Xen's area", ("uva", XEN_AREA, page | P, 0), EINVAL),
        case(64, "not canonical", ("uva", NON_CANONICAL, page | P, 0), EINVAL),
        case(64, "no L3", ("uva", va(9, 0, 0, 0), page | P, 0), EINVAL),
        case(64, "no L2", ("uva", va(SLOT, 1, 0, 0), page | P, 0), EINVAL),
        case(64, "no L1", ("uva", va(SLOT, 0, 1, 0), page | P, 0), EINVAL),
        case(64, "a bitmap in a hole", ("uva", AT, page | P | RW, HOLE | 1), EFAULT, readback=page | UP | K),
        case(64, "INVLPG, too", ("uva", AT, page | P, HOLE | 2), EFAULT, readback=page | P | US | K),
        case(64, "flush type 3", ("uva", AT, page | P | RW, HOLE | 3), readback=page | UP | K),
        case(64, "flush everywhere", ("uva", AT, 0, 4 | 1), readback=0, books={PAGE: "2 WRITABLE*0 v"}),
        case(65, "TLB_FLUSH_MULTI, the bitmap in a hole", _ext(8, 0, HOLE), EINVAL),
        case(65, "INVLPG_MULTI", _ext(9, AT, HOLE), EINVAL),
        case(65, "INVLPG_LOCAL, not canonical", _ext(7, NON_CANONICAL)),
        case(65, "INVLPG_ALL, not canonical", _ext(11, NON_CANONICAL)),
        case(65, "MARK_SUPER", _ext(19, PAGE), EOPNOTSUPP),
        case(65, "UNMARK_SUPER", _ext(20, PAGE), EOPNOTSUPP),
        case(65, "command 14", _ext(14, 0), ENOSYS),
        case(65, "command 21", _ext(21, 0), ENOSYS),
        case(66, "an LDT that is not aligned", _ext(SET_LDT, 0x1001, 1), EINVAL),
        case(66, "8193 entries", _ext(SET_LDT, 0x1000, 8193), EINVAL),
        case(66, "8192", _ext(SET_LDT, 0x1000, 8192)),
        case(66, "none, not aligned", _ext(SET_LDT, 0x1001, 0)),
        # The entry's A and the L4's are there already; the L2 entry is read as data only.
        *ready(request(L3, 0, L2 << 12 | UP), request(L2, 0, L1 << 12 | UP)),
        case(80, "update_va_mapping", ("uva", AT, page | P, 0), readback=page | P | US | K),
        case(80, "the L3 entry has been accessed", ("read", L3 << 12), readback=L2 << 12 | TABLE),
        case(80, "the L2 entry has not", ("read", L2 << 12), readback=L1 << 12 | UP),
    ]
    return out


def _descriptors() -> list[Case]:
    out = tree()
    out += [
        *ready(put(L1, 0, PAGE, P | RW)),
        case(67, "a GDT in a page mapped writable", ("gdt", 512, (PAGE,)), EINVAL, books={PAGE: "3 WRITABLE*1 v"}),
        *ready(request(T, 0, LDT_SYSTEM)),
        case(67, "with an LDT's descriptor", ("gdt", 512, (T,)), EINVAL, books={T: "2 NONE*0"}),
        case(67, "7169 entries", ("gdt", 7169, (OTHER,) * 14), EINVAL, books={OTHER: "2 WRITABLE*0 v"}),
        case(67, "a list in a hole", call(2, HOLE, 1), EFAULT),
        case(67, "a list in Xen's area", call(2, XEN_AREA, 1), EFAULT),
        *ready(request(T2, 1, CODE)),
        case(67, "with code of ring 0", ("gdt", 512, (T2,)), books={T2: "3 SEG_DESC*1 v"}),
        case(67, "it is ring 3's", ("read", T2 << 12 | 8), readback=CODE | 3 << 45),
        case(67, "none", ("gdt", 0, ()), books={T2: "2 SEG_DESC*0 v"}),
        *(case(0, what, op) for what, op in words(S, (T2, p.FRAME))),
        case(67, "a list in memory", call(2, S, 512), books={T2: "3 SEG_DESC*1 v"}),
    ]
    return out


def _memory() -> list[Case]:
    def memory(cmd: int, first: int, *extents: int, order: int = 0, clear: int = 1) -> p.Op:
        return ("memory", cmd, SELF, order, 0, clear, first, extents)

    out = tree()
    out += [
        case(69, "populate_physmap", memory(p.POPULATE, 0, 0x1100), 1),
        case(69, "increase_reservation", memory(p.INCREASE, 1, 0, clear=0), 1),
        case(69, "order 30", memory(p.POPULATE, 2, 0x1101, order=30), 0),
        case(69, "order 30, without numbers", memory(p.INCREASE, 2, 0, order=30), 0),
        case(68, "map a new frame", put(L1, 0, N, P | RW), readback=N << 12 | UP | K),
        case(68, "give it up, mapped", memory(p.DECREASE, 0, N), 1),
        case(68, "again", memory(p.DECREASE, 0, N), 1),
        case(68, "unmap it", put(L1, 0, 0, 0)),
        case(68, "give it up, gone", memory(p.DECREASE, 0, N), 0),
        case(68, "map it", put(L1, 0, N, P), EBUSY, readback=0),
    ]
    return out


def _multicall() -> list[Case]:
    e = S + 0x400
    entry = ((MMU, p.PLAIN), (0x77, p.PLAIN), (S, p.PLAIN), (1, p.PLAIN), (DONE, p.PLAIN), (SELF, p.PLAIN))
    out = tree()
    out += [
        *(case(0, what, op) for what, op in (*requests(S, (L2 << 12, 0)), *words(e, *entry))),
        case(70, "an L2 entry cleared in a multicall", call(MULTI, e, 1), books={L1: "2 L1*0"}),
        case(70, "its result", ("peek", e + 8, p.PLAIN, 8), value=0),
    ]
    return out + [
        case(70, f"argument {i}", ("peek", e + 16 + 8 * i, p.PLAIN, 8), value=value)
        for i, value in enumerate((0, 0x80000000, 0, 0))
    ]


def _emulation(assist: int) -> list[Case]:
    entry = PAGE << 12
    at = _window(T)
    out = tree()
    out += ready(("assist", 1 - assist, 2), ext(PIN_L1, T), ext(PIN_L2, T2))
    out += [
        case(71, "eight bytes", ("store", 0, at, 8, entry | P | RW), readback=entry | UP | K),
        case(71, "four, as a user's", ("store", 0, at + 4, 4, 0), readback=entry | UP | G),
        case(71, "one", ("store", 0, at, 1, P | US), readback=entry | P | US | G, books={PAGE: "3 WRITABLE*0 v"}),
        case(71, "a locked exchange", ("cmpxchg", 0, at, 8, entry | UP | K, entry | P | US | G)),
        case(71, "what is there", ("read", T << 12), readback=entry | UP | K, books={PAGE: "3 WRITABLE*1 v"}),
        fault(72, "a table, writable", ("store", 0, at, 8, L2 << 12 | P | RW), 3, cr2=at, readback=entry | UP | K),
        fault(72, "itself, writable", ("store", 0, at, 8, T << 12 | P | RW), 3, cr2=at, readback=entry | UP | K),
        case(79, "what is there already", ("store", 0, at, 8, entry | UP | K), readback=entry | UP | K),
        case(79, "exchanged for itself", ("cmpxchg", 0, at, 8, entry | UP | K, entry | UP | K)),
        case(79, "what is there", ("read", T << 12), readback=entry | UP | K, books={PAGE: "3 WRITABLE*1 v"}),
        case(73, "junk without P", ("store", 0, at, 8, 0xFFF00000000B8FFE), readback=0xFFF00000000B8FFE),
        case(73, "the page is free", ("read", T << 12 | 8), books={PAGE: "2 WRITABLE*0 v", T: "3 L1*1 pv"}),
        *(
            fault(74, f"{size} bytes at {offset}", ("store", 0, at + offset, size, 0), 3, cr2=at + offset)
            for offset, size in ((4, 8), (1, 8), (2, 4), (1, 2))
        ),
        fault(75, "to an L2", ("store", 0, _window(T2), 8, 0), 3, books={T2: "3 L2*1 pv"}),
        fault(75, "to a page of data", ("store", 0, _window(OTHER), 8, 0), 3, books={OTHER: "2 WRITABLE*0 v"}),
        *ready(put(L1, 0, PAGE, P | RW), put(L1, 1, T, P), put(L2, 0, L1, P | US)),
        fault(76, "data, its L2 entry read-only", ("store", 0, AT, 8, 1), 3, cr2=AT),
        case(76, "a table, its L2 entry read-only", ("store", 0, AT + p.PAGE, 8, entry | P)),
        case(76, "what is there", ("read", T << 12), readback=entry | P | US | K),
    ]
    return out


def _user() -> list[Case]:
    out = tree()
    at = AT + p.PAGE
    out += ready(ext(PIN_L1, T), put(L1, 0, T, P), put(L1, 1, PAGE, P | RW))
    out += ready(put(L4, SLOT, L3, TABLE), put(L4, p.STUB_SLOT, p.STUB_L3, TABLE), ext(PIN_L4, L4))
    out += ready(ext(NEW_USER_BASEPTR, L4))
    out += [
        fault(77, "user mode stores to an L1", ("store", 1, AT, 8, PAGE << 12 | P), 7, cr2=AT, user=1),
        case(77, "what is there", ("read", T << 12), readback=0),
        case(78, "the kernel's page, without U", ("read", L1 << 12 | 8), readback=PAGE << 12 | UP | K),
        case(78, "user mode writes it", ("store", 1, at, 8, 0x2007)),
        case(78, "and reads it", ("load", 1, at, 8), value=0x2007),
    ]
    return out


PROGRAMS = {
    "section9-pages": ("Cases 61 to 63: raw stores, whole pages, the M2P", _pages()),
    "section9-addresses": ("Cases 64 to 66 and 80: addresses and flushes", _addresses()),
    "section9-descriptors": ("Case 67: what is a GDT?", _descriptors()),
    "section9-memory": ("Cases 68 and 69: frames come and go", _memory()),
    "section9-multicall": ("Case 70: what is left of a call's arguments?", _multicall()),
    "section9-emulation": ("Cases 71 to 76 and 79: write emulation, assist off", _emulation(0)),
    "section9-emulation-assist": ("Cases 71 to 76 and 79: write emulation, assist on", _emulation(1)),
    "section9-user": ("Cases 77 and 78: what can user mode do?", _user()),
}
QUESTIONS = {name: (question, steps(program), True) for name, (question, program) in PROGRAMS.items()}
