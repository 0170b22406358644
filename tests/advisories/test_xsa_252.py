"""XSA-252, CVE-2018-7540 (February 2018): giving up a pinned table.

decrease_reservation took the pin away itself, and with it a whole tree, in one go that nothing could interrupt.
Since then a pinned table stays what it is, without the reference that made it the domain's to give.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case, ready
from steps import L1, L2, L3, PAGE, RW, SELF, TABLE, P, ext, put

N = p.NAMED


def decrease(frame: int) -> p.Op:
    return ("memory", p.DECREASE, SELF, 0, 0, 0, 0, (frame,))


PINNED = {N: "1 L4*1 pv", L3: "3 L3*1 v", PAGE: "3 WRITABLE*1 v"}
PROGRAM: list[Case] = [
    case(0, "a new frame", ("memory", p.POPULATE, SELF, 0, 0, 1, 0, (0x1100,)), 1),
    *ready(put(L1, 0, PAGE, P | RW), put(L2, 0, L1, TABLE), put(L3, 0, L2, TABLE), put(N, 0, L3, TABLE)),
    case(0, "a pinned tree", ext(3, N), books={N: "2 L4*1 pv", L3: "3 L3*1 v"}),
    case(0, "given up", decrease(N), 1, books=PINNED),
    case(0, "given up twice", decrease(N), 1, books=PINNED),
    case(0, "it is a table as before", ext(3, N), -22, books=PINNED),
    case(0, "a page of the tree as a table", ext(0, PAGE), -22),
    case(0, "unpinned, and gone", ext(4, N), books={L3: "2 L3*0", L2: "2 L2*0", L1: "2 L1*0", PAGE: "2 WRITABLE*0 v"}),
    case(0, "it is nobody's", decrease(N), 0),
    case(0, "pinned", ext(3, N), -22),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
