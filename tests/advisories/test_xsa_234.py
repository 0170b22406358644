"""XSA-234, CVE-2017-14319 (September 2017): unmapping what is no longer mapped so.

Ending a mapping compared the frame in the entry and not its rights.  A mapping made writable by a grant, since turned
read-only by the guest itself, gave back a writable reference that another mapping holds: a page that is mapped
writable could become a page table.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case
from granted import GENERAL_ERROR, checked, entry
from named_handles import HOST, READ_ONLY, REPLACE, M, U, grant, map_grant, unmap_grant
from named_section9_entries import AT, K, tree
from steps import L1, OTHER, PAGE, RW, US, P, ext, put

A, B = AT, AT + 0x1000
ENTRY = OTHER << 12 | P | US | K
PROGRAM: list[Case] = [
    *tree(),
    *checked([grant(9, OTHER), grant(10, PAGE)]),
    *checked(map_grant("a grant writable at A", M, A, HOST, 9)),
    case(0, "A is made read-only", ("uva", A, OTHER << 12 | P, 0), readback=ENTRY),
    case(0, "an ordinary writable mapping", put(L1, 5, OTHER, P | RW)),
    *checked(unmap_grant("the grant ended", U, M, A), GENERAL_ERROR),
    case(0, "a table of it", ext(0, OTHER), -22),
    *checked(map_grant("another grant read-only at B", M + 32, B, HOST | READ_ONLY, 10)),
    *checked(unmap_grant("replaced by A", U, M + 32, B, A, op=REPLACE)),
    entry("B", L1, 1, ENTRY),
    entry("A", L1, 0, 0),
    *checked(unmap_grant("the grant ended at B", U, M, B), GENERAL_ERROR),
    case(0, "A is writable again", put(L1, 0, OTHER, P | RW)),
    *checked(unmap_grant("the grant ended at last", U, M, A)),
    case(0, "a table of it", ext(0, OTHER), -22),
    case(0, "the writable mapping gone", put(L1, 5, 0, 0)),
    case(0, "a table of it", ext(0, OTHER)),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
