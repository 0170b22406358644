"""XSA-279, CVE-2018-19965 (November 2018): a flush of an address that is none.

update_va_mapping made the flush it was asked for although the update had failed, and with an address that is not
canonical: INVPCID then faults in Xen.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case
from named_section9_entries import AT, tree
from steps import L2, PAGE, RW, P

ADDRESSES = (1 << 47, 0x8000 << 40, 0xFFFF7FFFFFFFF000, 1 << 62, 0xFFFF800000000000, 0xFFFF87FFFFFFF000)
PROGRAM: list[Case] = [
    *tree(),
    *(
        case(0, f"{at:#x}, flush {flags}", ("uva", at, PAGE << 12 | P | RW, flags), -22)
        for at in ADDRESSES
        for flags in (0, 1, 2, 5, 6)
    ),
    *(
        case(0, f"a table, writable, flush {flags}", ("uva", AT, L2 << 12 | P | RW, flags), -16, readback=0)
        for flags in (1, 2, 5, 6)
    ),
    case(0, "and one that is none by mmuext_op", ("ext", 0x7FF0, 0, ((7, 1 << 47, 0),))),
    case(0, "everywhere", ("ext", 0x7FF0, 0, ((11, 1 << 47, 0),))),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
