"""XSA-37, CVE-2013-0154 (January 2013): a refusal that an assertion did not know.

Taking a type without preemption asserted that it fails with EINVAL only.  A page that is to become an L1 and maps a
page table writable is refused with EBUSY.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case, ready
from steps import L1, L2, OTHER, PAGE, RW, TABLE, P, ext, put

LEFT = {OTHER: "2 NONE*0"}
PROGRAM: list[Case] = [
    *ready(ext(0, L1), ext(1, L2), put(OTHER, 0, L1, P | RW)),
    case(0, "hooked up", put(L2, 0, OTHER, TABLE), -16, readback=0, books=LEFT),
    case(0, "pinned", ext(0, OTHER), -16, books=LEFT),
    *ready(put(OTHER, 0, 0, 0), put(OTHER, 1, PAGE, P | RW), put(OTHER, 7, L2, P | RW)),
    case(0, "at a later entry", put(L2, 0, OTHER, TABLE), -16, readback=0, books={**LEFT, PAGE: "2 WRITABLE*0 v"}),
    *ready(put(OTHER, 7, L2, P)),
    case(0, "read-only", put(L2, 0, OTHER, TABLE), books={OTHER: "3 L1*1 v", PAGE: "3 WRITABLE*1 v"}),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
