"""XSA-299, CVE-2019-18421 (October 2019): tables that are validated in parts.

A validation that ends half way leaves a note of how far it came, and who comes next goes on from there.  In several
ways the note was wrong; in one, an entry whose table had been refused counted as done.  On one processor without
interruption nobody comes in between, but the next attempt must refuse the same entry.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case, ready
from steps import L1, L2, L3, L4, OTHER, PAGE, RW, SECOND, TABLE, P, ext, put

LEFT = {L4: "2 L4*0", L3: "2 L3*0", L2: "2 L2*0", L1: "2 NONE*0", OTHER: "2 L1*0"}
ATTEMPTS = (("pin", ext(3, L4)), ("as the user's root", ext(15, L4)), ("its L3", ext(2, L3)), ("its L2", ext(1, L2)))
PROGRAM: list[Case] = [
    *ready(put(OTHER, 0, PAGE, P | RW), put(L1, 3, SECOND, P | RW), ext(0, SECOND)),
    *ready(put(L2, 1, OTHER, TABLE), put(L2, 4, L1, TABLE), put(L3, 5, L2, TABLE), put(L4, 6, L3, TABLE)),
    *(case(0, f"{what}, time {i}", op, -16) for i in (1, 2) for what, op in ATTEMPTS),
    case(0, "what is left", ext(6), books=LEFT),
    *ready(put(L1, 3, SECOND, P)),
    case(0, "mended", ext(3, L4), books={L4: "3 L4*1 pv", L3: "3 L3*1 v", L2: "3 L2*1 v", L1: "3 L1*1 v"}),
    case(0, "an entry in the mended one", put(L1, 3, SECOND, P | RW), -16),
    case(0, "unpinned", ext(4, L4), books={L4: "2 L4*0", L3: "2 L3*0", L2: "2 L2*0", L1: "2 L1*0", OTHER: "2 L1*0"}),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
