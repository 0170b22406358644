"""XSA-58, CVE-2013-1432 (June 2013): one reference dropped twice.

When a table is refused half way, what its entries hold is let go by a continuation, which has a reference of its own
to the table; the caller dropped that one too.  With a count too low, the frame could be given back while it was in
use.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case, ready
from steps import L1, L2, OTHER, PAGE, RW, SECOND, SELF, SPARE, TABLE, P, ext, put

N = p.NAMED


def decrease(frame: int) -> p.Op:
    return ("memory", p.DECREASE, SELF, 0, 0, 0, 0, (frame,))


PROGRAM: list[Case] = [
    case(0, "a new frame", ("memory", p.POPULATE, SELF, 0, 0, 1, 0, (0x1100,)), 1),
    *ready(ext(0, L1), put(L1, 0, PAGE, P | RW)),
    *ready(*(put(N, slot, table, TABLE) for slot, table in enumerate((OTHER, SPARE, SECOND)))),
    *ready(put(N, 9, PAGE, TABLE)),
    case(0, "three good entries and a bad one", ext(1, N), -22, books={N: "1 L2*0"}),
    *(case(0, "again", ext(1, N), -22, books={N: "1 L2*0"}) for _ in range(3)),
    case(0, "the good ones are free", ext(6), books=dict.fromkeys((OTHER, SPARE, SECOND), "2 L1*0")),
    *ready(put(N, 9, 0, 0)),
    case(0, "without the bad one", ext(1, N), books={N: "2 L2*1 pv", OTHER: "3 L1*1 v"}),
    case(0, "an L2 elsewhere holds one too", put(L2, 0, OTHER, TABLE)),
    case(0, "given up, but pinned", decrease(N), 1, books={N: "1 L2*1 pv"}),
    case(0, "unpinned, and gone", ext(4, N)),
    case(0, "its entries are free", ext(6), books=dict.fromkeys((OTHER, SPARE, SECOND), "2 L1*0")),
    case(0, "it cannot be mapped", put(L1, 1, N, P), -16, readback=0),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
