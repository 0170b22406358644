"""XSA-292, CVE-2019-17346 (March 2019): a flush that flushes nothing.

With process-context identifiers, a write to CR3 keeps the translations of its identifier when its bit 63 says so.
Xen left the bit set where the write was meant as a flush.  What a guest sees: an address that it has unmapped and
flushed.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case, fault, ready
from named_section9_entries import AT, tree
from steps import L1, L4, OTHER, PAGE, RW, SELF, TABLE, P, ext, put

FLUSHES: tuple[tuple[str, p.Op], ...] = (
    ("TLB_FLUSH_LOCAL", ext(6)),
    ("TLB_FLUSH_ALL", ext(10)),
    ("INVLPG_LOCAL", ("ext", SELF, 0, ((7, AT, 0),))),
    ("INVLPG_ALL", ("ext", SELF, 0, ((11, AT, 0),))),
    ("the same root again", ext(5, p.BOOT_L4)),
)
PROGRAM: list[Case] = [*tree(), *ready(put(L4, 3, p.STUB_L3, TABLE))]
for what, flush in FLUSHES:
    PROGRAM += [
        *ready(put(L1, 0, PAGE, P | RW), ("store", 0, AT, 8, 0x2007), put(L1, 0, 0, 0)),
        case(0, what, flush),
        fault(0, "the address", ("load", 0, AT, 8), 0, cr2=AT),
        *ready(put(L1, 0, OTHER, P)),
        case(0, "another page there", ("load", 0, AT, 8), value=0),
        *ready(put(L1, 0, 0, 0), flush),
    ]
for kind in (1, 2):
    PROGRAM += [
        *ready(put(L1, 0, PAGE, P | RW), ("store", 0, AT, 8, 0x2007)),
        case(0, f"update_va_mapping, flush {kind}", ("uva", AT, 0, kind), readback=0),
        fault(0, "the address", ("load", 0, AT, 8), 0, cr2=AT),
    ]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
