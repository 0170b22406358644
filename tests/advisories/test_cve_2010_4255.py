"""CVE-2010-4255 (November 2010): user mode reaches the hypervisor's descriptor area.

A page fault in the range where Xen maps the GDT and LDT of each processor of a guest is handled by filling that
mapping. The handler did not ask whether user mode had made the access itself, and a fault in another processor's part
was a BUG. So a load by an ordinary process stopped the host.  Today it is a page fault like any other.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case, fault, ready
from steps import L4, TABLE, ext, put

AREA = 0xFFFF820000000000
OTHER_PROCESSOR = AREA + (32 << 20)
PROGRAM: list[Case] = [
    *ready(put(L4, p.STUB_SLOT, p.STUB_L3, TABLE), ext(3, L4), ext(15, L4)),
    *(
        fault(0, f"user mode {what} {at:#x}", (kind, 1, at, 8, *value), code, cr2=at, user=1)
        for at in (AREA, OTHER_PROCESSOR, OTHER_PROCESSOR + 0xFFF8 - 7)
        for what, kind, value, code in (("reads", "load", (), 4), ("writes", "store", (1,), 6))
    ),
    fault(0, "the kernel reads it", ("load", 0, OTHER_PROCESSOR, 8), 0, cr2=OTHER_PROCESSOR),
    case(0, "and all goes on", ext(15, 0), books={L4: "3 L4*1 pv"}),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
