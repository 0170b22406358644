"""Named programs: conformance cases 1 to 32: bits of an entry, device memory, ownership, arguments.

Knows: each case and what Xen 4.17 says to it.  Does not know: who is asked.
"""

from __future__ import annotations

import program as p
from expected import Case, case, ready, steps
from named_handles import DONE, HOLE, MMU, XEN_AREA, S, call, requests, words
from steps import IO, L1, L2, L3, NX, OTHER, PAGE, RW, SELF, SPARE, TABLE, US, A, P, put, va

PWT, PCD, D, PAT, G, K = 8, 0x10, 0x40, 0x80, 0x100, 1 << 52
XEN = 0x7FF2
EPERM, ESRCH, EACCES, EFAULT, EBUSY, EINVAL, ENOSYS = -1, -3, -13, -14, -16, -22, -38
SLOT = 3
AT = va(SLOT, 0, 0, 0)


def tree(table: int = TABLE) -> list[Case]:
    """Three tables behind AT; `table`: flags of the L2 entry."""
    return ready(put(L2, 0, L1, table), put(L3, 0, L2, TABLE), put(p.BOOT_L4, SLOT, L3, TABLE))


def request(table: int, slot: int, value: int, cmd: int = 0, fd: int = SELF) -> p.Op:
    """One request of mmu_update with a value as it is."""
    return ("mmu", fd, 0, ((table << 12 | slot * 8 | cmd, value),))


def _entry(number: int, what: str, slot: int, given: int, stored: int, cmd: int = 0) -> Case:
    page = PAGE << 12
    return case(number, what, request(L1, slot, page | given, cmd), readback=page | stored)


_JUNK = 0xFFF00000000B8FFE


def _bits() -> list[Case]:
    free = US | K | 0xE00 | 0x3FF << 53 | NX
    out = tree()
    out += [
        _entry(1, "a kernel's page gets U and K", 0, P | RW, P | RW | US | K),
        _entry(2, "a user's page gets G", 1, P | RW | US, P | RW | US | G),
        _entry(3, "with K it is as it was", 2, P | RW | US | K, P | RW | US | K),
        _entry(3, "with G too", 2, P | RW | US | K | G, P | RW | US | K | G),
        _entry(4, "G without U", 3, P | G, P | US | K | G),
        _entry(5, "free bits and NX stay", 4, P | free, P | free),
        case(6, "junk without P, L1", request(L1, 5, _JUNK), readback=_JUNK),
        case(6, "junk without P, L2", request(L2, 5, _JUNK), readback=_JUNK),
        case(6, "junk without P, L3", request(L3, 5, _JUNK), readback=_JUNK),
        case(6, "junk without P, L4", request(p.BOOT_L4, 5, _JUNK), readback=_JUNK),
    ]
    out += [_entry(7, f"cache bits {b:#x}", 6, P | RW | US | K | b, P | RW | US | K | b) for b in (PWT, PCD, PAT)]
    for table, level in ((L2, 2), (L3, 3), (p.BOOT_L4, 4)):
        out += [
            case(8, f"L{level} entry with {flag:#x}", put(table, 9, OTHER, P | RW | flag), EINVAL, readback=0)
            for flag in (PWT, PCD, 0x80, G)
        ]
    out += [
        case(
            *(9, "an L4 entry without A and U", put(p.BOOT_L4, 9, OTHER, P | RW)),
            readback=OTHER << 12 | P | RW | US | A,
            books={OTHER: "3 L3*1 v"},
        ),
        case(9, "an L3 entry without them", put(L3, 9, SPARE, P | RW), readback=SPARE << 12 | P | RW | US),
        _entry(10, "A and D", 7, P | RW | US | K | A | D, P | RW | US | K | A | D),
        case(10, "zero, preserved", request(L1, 7, 0, 2), readback=A | D),
        _entry(10, "A and D without RW", 7, P | US | K | A | D, P | US | K | A | D),
        _entry(10, "P alone, preserved", 7, P, P | US | K | A | D, 2),
        _entry(11, "P alone", 7, P | US | K, P | US | K),
        case(12, "preserved in a page of data", request(PAGE, 3, 0x1234, 2), readback=0x1234),
        case(12, "and once more", request(PAGE, 3, 0x60, 2), readback=0x60),
        case(12, "and once more", request(PAGE, 3, 0, 2), readback=0),
    ]
    return out


def _mmio() -> list[Case]:
    flags = P | RW | US | K
    vga = 0xB8 << 12

    def device(number: int, what: str, slot: int, mfn: int, given: int, stored: int) -> Case:
        return case(number, what, put(L1, slot, mfn, given), readback=mfn << 12 | stored)

    out = tree()
    out += [
        device(13, f"VGA memory {name}", slot, 0xB8, flags | cache, flags | stored)
        for slot, (name, cache, stored) in enumerate(
            (
                *(("WB", 0, PWT | PCD), ("WT", PWT, PWT | PCD), ("WP", PAT | PWT, PWT | PCD)),
                *(("UC-", PCD, PCD), ("WC", PAT, PAT), ("UC", PWT | PCD, PWT | PCD)),
            )
        )
    ]
    out += [
        case(14, name, put(L1, 8, mfn, P | RW), EPERM, readback=0)
        for name, mfn in (("local APIC", 0xFEE00), ("2^40", 1 << 28), ("HyperTransport", 0xFD00000))
    ]
    out += [
        case(14, "the invalid frame", put(L1, 8, (1 << 40) - 1, P | RW), EINVAL, readback=0),
        device(15, "I/O APIC", 8, 0xFEC00, flags, flags & ~RW | PWT | PCD),
        device(15, "HPET", 9, 0xFED00, flags, flags & ~RW | PWT | PCD),
        case(15, "a store to the I/O APIC", ("store", 0, AT + (8 << 12) + 0x20, 4, 0)),
        device(16, "a hole beyond RAM", 10, 0x40000, flags, flags | PWT | PCD),
        device(16, "frame 0", 11, 0, flags, flags | PWT | PCD),
        device(16, "reserved by the BIOS", 12, 0xF0, flags, flags | PWT | PCD),
        case(13, "an uncached store is one", ("store", 0, AT + 0x800, 8, 0)),
        case(13, "the entry as it is now", ("read", L1 << 12), readback=vga | flags | PWT | PCD | A | D),
    ]
    return out


def _ownership() -> list[Case]:
    def by(fd: int, slot: int, frame: int, flags: int) -> p.Op:
        return request(L1, slot, frame << 12 | flags, 0, fd)

    out = tree()
    for what, table in (("L1", L1), ("L2", L2), ("L3", L3), ("L4", p.BOOT_L4)):
        out += [
            case(17, f"an {what} writable", put(L1, 0, table, P | RW), EBUSY, readback=0),
            case(17, f"an {what} read-only", put(L1, 0, table, P), readback=table << 12 | P | US | K),
            case(17, f"an {what}: gone", put(L1, 0, 0, 0), readback=0),
        ]
    out += [
        case(18, "Xen's text", put(L1, 0, p.XEN_TEXT, P), EBUSY, readback=0),
        case(18, "a free frame", put(L1, 0, p.FREE, P), EBUSY, readback=0),
        case(19, "shared_info", put(L1, 0, p.SHARED_INFO, P | RW), readback=p.SHARED_INFO << 12 | P | RW | US | K),
        case(19, "shared_info, uncached", put(L1, 1, p.SHARED_INFO, P | RW | PCD), EACCES, readback=0),
        case(20, "the M2P as my own", put(L1, 2, p.M2P, P), EBUSY, readback=0),
        case(20, "the M2P as Xen's", by(XEN, 2, p.M2P, P)),
        case(20, "the M2P as Xen's, writable", by(XEN, 3, p.M2P, P | RW), EBUSY, readback=0),
        case(20, "the M2P as Xen's, uncached", by(XEN, 3, p.M2P, P | PCD), EACCES, readback=0),
        case(21, "own page", put(L1, 4, PAGE, P | RW), books={PAGE: "3 WRITABLE*1 v"}),
        case(21, "the same as dom_io's", by(IO, 4, PAGE, P | RW), books={PAGE: "3 WRITABLE*1 v"}),
        case(21, "afresh as dom_io's", by(IO, 5, PAGE, P | RW), EBUSY, readback=0, books={PAGE: "3 WRITABLE*1 v"}),
        case(22, "an entry in a page of dom_io's", request(0xB8, 0, 0), EINVAL, done=0),
        case(22, "an entry in low memory", request(0, 0, 0), EINVAL, done=0),
    ]
    return out


def _arguments() -> list[Case]:
    slot = L1 << 12
    untouched = p.DONE_UNTOUCHED
    out = tree()
    flush = ((6, 0, 0),)
    out += [
        case(23, "own number", ("mmu", 0, 0, ((slot, 0),)), ESRCH, done=0),
        case(23, "own number, mmuext_op", ("ext", 0, 0, flush), ESRCH, done=untouched),
        case(24, "own number as the tables' owner", ("mmu", 1 << 16 | SELF, 0, ((slot, 0),)), done=1),
        case(24, "an unknown owner of the tables", ("mmu", 99 << 16 | SELF, 0, ((slot, 0),)), ESRCH, done=untouched),
        case(24, "mmuext_op looks at the lower half alone", ("ext", 99 << 16 | SELF, 0, flush), done=1),
    ]
    for level, table in ((2, L2), (3, L3), (4, p.BOOT_L4)):
        out.append(case(25, f"an L{level} entry as dom_io's", request(table, 7, 0, 0, IO), EINVAL, done=0))
    out += [case(26, f"command {cmd}", request(L1, 0, 0, cmd), ENOSYS, done=0) for cmd in (4, 5, 6, 7)]
    out += [
        case(27, "a value passed through", call(MMU, 0, 0x80000000, DONE, 0x1234), 0x1234),
        case(27, "a negative one", call(MMU, 0, 0x80000000, DONE, 0xFFFF8000), -0x8000),
        case(28, "a count that goes on", ("mmu", SELF, 1 << 31, ((slot, 0), (slot + 8, 0))), done=untouched + 2),
        *_in_memory((DONE, 0x7777)),
        case(29, "no requests", call(MMU, S, 0, DONE, SELF)),
        case(29, "the count done", ("peek", DONE, p.PLAIN, 4), value=0),
        *_in_memory((DONE, 0x7777)),
        case(30, "requests in Xen's area", call(MMU, XEN_AREA, 1, DONE, SELF), EFAULT),
        case(30, "the count done", ("peek", DONE, p.PLAIN, 4), value=0x7777),
        case(30, "requests in a hole", call(MMU, HOLE, 1, DONE, SELF), EFAULT),
        case(30, "the count done", ("peek", DONE, p.PLAIN, 4), value=0),
    ]
    batch = ((slot, PAGE << 12 | P | RW), (slot + 8, L2 << 12 | P | RW), (slot + 16, PAGE << 12 | P))
    out += [
        case(31, "good, bad, good", ("mmu", SELF, 0, batch), EBUSY, done=1, more=(PAGE << 12 | P | RW | US | K,)),
        case(31, "two mmuext_ops, the second bad", ("ext", SELF, 0, (*flush, (4, PAGE, 0))), EINVAL, done=1),
        *(case(0, what, op) for what, op in requests(S, (slot + 24, PAGE << 12 | P))),
        case(32, "the count on a read-only page", call(MMU, S, 1, p.SCRATCH_READ_ONLY + 0xF00, SELF)),
        case(32, "the entry", ("read", slot + 24), readback=PAGE << 12 | P | US | K),
    ]
    return out


def _in_memory(*items: tuple[int, int]) -> list[Case]:
    return [case(0, what, op) for at, value in items for what, op in words(at, (value, p.PLAIN))]


#: Name -> question and steps.
PROGRAMS = {
    "section9-bits": ("Cases 1 to 12: which bits of an entry are stored, which are changed?", _bits()),
    "section9-mmio": ("Cases 13 to 16: how is device memory mapped?", _mmio()),
    "section9-ownership": ("Cases 17 to 22: whose frames may be mapped?", _ownership()),
    "section9-arguments": ("Cases 23 to 32: what becomes of odd arguments?", _arguments()),
}
QUESTIONS = {name: (question, steps(program), True) for name, (question, program) in PROGRAMS.items()}
