"""XSA-408, CVE-2022-33745 (July 2022), as it would be without shadow tables: whether a flush is needed.

A page that was mapped writable may become a page table when no writable mapping of it is left, also in no TLB.  The
fix of XSA-401 asked of the new type whether it is a writable one, not of the old: no flush, and a store through the
old translation changed the table.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case, fault, ready
from named_section9_entries import AT, tree
from steps import L1, OTHER, PAGE, RW, P, ext, put

VALUE = PAGE << 12 | P
PROGRAM: list[Case] = [*tree()]
for command, level in enumerate((1, 2, 3, 4)):
    PROGRAM += [
        *ready(put(L1, 0, OTHER, P | RW), ("store", 0, AT, 8, 0)),
        case(0, "unmapped, without a flush", put(L1, 0, 0, 0)),
        case(0, f"pinned as an L{level}", ext(command, OTHER), books={OTHER: f"3 L{level}*1 pv"}),
        fault(0, "a store where it was", ("store", 0, AT, 8, VALUE), 2, cr2=AT),
        case(0, "its entry", ("read", OTHER << 12), readback=0),
        case(0, "unpinned", ext(4, OTHER), books={OTHER: f"2 L{level}*0"}),
    ]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
