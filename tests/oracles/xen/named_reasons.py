"""Programs with a name, one or more for each rule that no other program with a name shows for certain.

Knows: which requests a rule is about.  Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

import program as p
from named_handles import (
    DEVICE,
    EXT,
    GRANT,
    HOLE,
    MAP,
    MULTI,
    READ_ONLY,
    SELF,
    SWAP,
    XEN_AREA,
    A,
    M,
    P,
    Question,
    S,
    Step,
    call,
    grant,
    map_grant,
    map_request,
    words,
)
from steps import LEAF, RW, TABLE, US, ext, put, va

PCD, PS = 0x10, 0x80
L4, L3, L2, L1, PAGE, OTHER = range(p.POOL, p.POOL + 6)
LINEAR = 5


def _entries() -> Question:
    steps: list[Step] = [
        ("an L1", ext(0, L1)),
        ("an L2", ext(1, L2)),
        ("an L3", ext(2, L3)),
        ("an L4", ext(3, L4)),
        ("a large page", put(L2, 0, 0x200, TABLE | PS)),
        ("a larger one", put(L3, 0, L2, TABLE | PS)),
        ("the largest", put(L4, 0, L3, TABLE | PS)),
        ("uncached, Xen's heap", put(L1, 0, p.SHARED_INFO, P | RW | PCD)),
        ("uncached, own memory", put(L1, 0, PAGE, P | RW | PCD)),
        ("pinned once more", ext(0, L1)),
        ("the L4 once more", ext(3, L4)),
        ("superpages", ext(19, PAGE)),
        ("superpages no more", ext(20, PAGE)),
        ("a GDT in a free frame", ("gdt", 1, (p.FREE,))),
    ]
    return ("Which flags has no entry, and what has been done already?", steps)


def _linear(level: int, table: int) -> list[Step]:
    """A table of each kind beside a linear entry of its level."""
    return [
        (f"L{level}: a linear entry to itself, writable", put(table, 9, table, P | RW | US)),
        (f"L{level}: read-only", put(table, 9, table, P | US)),
        (f"L{level}: to another frame", put(table, 10, OTHER, P | US)),
        (f"L{level}: to another domain's", put(table, 10, p.FOREIGN + 1, P | US)),
    ]


def _linears() -> Question:
    steps: list[Step] = [
        ("an L2", ext(1, L2)),
        ("an L3", ext(2, L3)),
        ("an L4", ext(3, L4)),
        ("their frame is an L1", ("ext", p.FOREIGN_ID, 0, ((0, p.FOREIGN + 1, 0),))),
        *_linear(2, L2),
        *_linear(3, L3),
        *_linear(4, L4),
    ]
    return ("What may a linear entry be?", steps)


def _addresses() -> Question:
    boot = p.BOOT_L4
    at = va(3, 7, 1, 5)

    def uva(va: int, flags: int = 0) -> p.Op:
        return ("uva", va, 0, flags)

    steps: list[Step] = [
        ("an L1", put(L1, 5, PAGE, LEAF)),
        ("an L2", put(L2, 1, L1, TABLE)),
        ("an L3", put(L3, 7, L2, TABLE)),
        ("hooked up", put(boot, 3, L3, TABLE)),
        ("a linear entry", put(boot, LINEAR, boot, P | US | A)),
        ("in Xen's area", uva(XEN_AREA)),
        ("no L3", uva(va(4, 7, 1, 5))),
        ("no L2", uva(va(3, 8, 1, 5))),
        ("no L1", uva(va(3, 7, 2, 5))),
        ("an L2 as an L1", uva(va(LINEAR, 3, 7, 1))),
        ("Xen's L3, by its slot, as an L1", uva(va(LINEAR, LINEAR, 262, 0))),
        ("the M2P's", uva(va(LINEAR, LINEAR, 256, 0))),
        ("its own slot", uva(va(LINEAR, LINEAR, 258, 0))),
        ("a flush, the bitmap in a hole", uva(at, HOLE | 1)),
        ("of one page", uva(at, HOLE | 2)),
        ("the bitmap in Xen's area", uva(at, XEN_AREA | 1)),
        ("flush by mmuext_op, the bitmap in a hole", ("ext", SELF, 0, ((8, 0, HOLE),))),
        ("one page", ("ext", SELF, 0, ((9, at, HOLE),))),
        ("the bitmap in Xen's area", ("ext", SELF, 0, ((8, 0, XEN_AREA),))),
    ]
    return ("Which addresses and bitmaps do update_va_mapping and the flushes take?", steps)


def _nested() -> Question:
    e = S + 0x400
    steps: list[Step] = [
        *words(e, (MULTI, p.PLAIN), (0, p.PLAIN), (e, p.PLAIN), (1, p.PLAIN)),
        ("a multicall of itself", call(MULTI, e, 1)),
        ("  its result", ("peek", e + 8, p.PLAIN, 8)),
        *words(e, (EXT, p.PLAIN), (0, p.PLAIN), (XEN_AREA, p.PLAIN), (1, p.PLAIN)),
        *words(e + 64, (MULTI, p.PLAIN), (0, p.PLAIN), (e, p.PLAIN), (0, p.PLAIN)),
        ("after another that is refused, one of nothing", call(MULTI, e, 2)),
        ("  the first's result", ("peek", e + 8, p.PLAIN, 8)),
        ("  the second's", ("peek", e + 72, p.PLAIN, 8)),
    ]
    return ("A multicall in a multicall", steps)


#: A grant counts each kind of mapping in seven bits.
_MOST_PINS = 128


def _pins() -> Question:
    steps: list[Step] = [grant(9, OTHER), *map_request(M, 0, DEVICE | READ_ONLY, 9)]
    for _ in range(_MOST_PINS - 1):
        steps.append(("", call(GRANT, MAP, M, 1)))
    steps += [
        ("", call(GRANT, MAP, M, 1)),
        ("  the 128th for reading", ("peek", M + 16, p.PLAIN, 8)),
        ("one more", call(GRANT, MAP, M, 1)),
        ("  status", ("peek", M + 16, p.PLAIN, 8)),
        *map_grant("writable", M, 0, DEVICE, 9),
        grant(10, PAGE),
        *words(S + 0x700, (10 << 32 | 9, p.PLAIN), (0x77, p.PLAIN)),
        ("swapped while it is mapped", call(GRANT, SWAP, S + 0x700, 1)),
        ("  status", ("peek", S + 0x708, p.PLAIN, 4)),
    ]
    return ("How often can a grant be mapped?", steps)


def _extents() -> Question:
    def increase(n: int, order: int = 0, domid: int = SELF) -> p.Op:
        return ("memory", p.INCREASE, domid, order, 0, p.TOO_MANY, 0, (n,))

    steps: list[Step] = [
        ("2^31 extents", increase(0)),
        ("2^32 - 1", increase((1 << 32) - 1)),
        ("of a domain that is not there", increase(0, 0, 77)),
        ("too large as well", increase(0, 19)),
    ]
    return ("More extents than a hypercall can count", steps)


QUESTIONS = {
    "rules-of-entries": _entries(),
    "rules-of-linear-entries": _linears(),
    "rules-of-addresses": _addresses(),
    "multicall-nested": _nested(),
    "grant-pins": _pins(),
    "extents": _extents(),
}
