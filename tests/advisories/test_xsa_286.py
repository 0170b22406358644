"""XSA-286, CVE-2020-27674 (October 2020): Xen looks at tables that are no longer there.

Xen finds the L1 of an address through a linear mapping of its own, and the processor remembers how.  When the guest
puts another table into an upper entry, nothing made it forget; the next update_va_mapping in the same hypercall went
into the L1 that had been there before, which may be anything by then.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case, ready
from granted import entry
from named_section9_entries import K
from steps import L1, L2, L3, OTHER, PAGE, RW, SECOND, SPARE, TABLE, US, P, put, va

L1A, L1B, L2A, L2B = L1, SECOND, L2, OTHER
SLOT = 3
AT = va(SLOT, 1, 2, 4)
X, Y = PAGE << 12 | P, SPARE << 12 | P
BY_L2, BY_L3 = L2A << 12 | 2 * 8, L3 << 12 | 8
KERNEL = US | K
GONE = (("uva", AT, X, 2), ("mmu", BY_L2, 0), ("uva", AT, Y, 2))


def both(what: str, ptr: int, value: int) -> list[Case]:
    calls = (("uva", AT, X, 2), ("mmu", ptr, value), ("uva", AT, Y, 2))
    return [case(0, what, ("multi", calls), value=0)]


PROGRAM: list[Case] = [
    *ready(put(L2A, 2, L1A, TABLE), put(L2B, 2, L1B, TABLE), put(L3, 1, L2A, TABLE), put(L3, 9, L2B, TABLE)),
    *ready(put(p.BOOT_L4, SLOT, L3, TABLE)),
    *both("an L3 entry in between", BY_L3, L2B << 12 | TABLE),
    entry("the first L1", L1A, 4, X | KERNEL),
    entry("the second L1", L1B, 4, Y | KERNEL),
    *ready(put(L1A, 4, 0, 0), put(L1B, 4, 0, 0), put(L3, 1, L2A, TABLE)),
    *both("an L2 entry in between", BY_L2, L1B << 12 | TABLE),
    entry("the first L1", L1A, 4, X | KERNEL),
    entry("the second L1", L1B, 4, Y | KERNEL),
    *ready(put(L1B, 4, 0, 0), put(L2A, 2, L1A, TABLE)),
    case(0, "an L2 entry gone in between", ("multi", GONE), value=(-22 & 0xFF) << 16),
    entry("the first L1 as it was", L1A, 4, X | KERNEL),
    case(0, "writable now", put(L1B, 5, L1A, P | RW), readback=L1A << 12 | P | RW | KERNEL),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
