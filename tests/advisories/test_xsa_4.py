"""XSA-4, CVE-2011-2901 (August 2011): half of the addresses that are none were taken for the guest's.

The check of a guest's handle asked for less than 2^48, where the lower half of the canonical addresses ends at 2^47.
A handle in between passed, and Xen itself took the general-protection fault.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case
from named_handles import DONE, EXT, MMU, MULTI, SELF, call, words

PROGRAM: list[Case] = [
    *(case(0, what, op) for what, op in words(DONE, (0x7777, p.PLAIN))),
    *(
        case(0, f"hypercall {nr}, its array at {at:#x}", call(nr, at, 1, *rest), -14)
        for nr, rest in ((MMU, (DONE, SELF)), (EXT, (DONE, SELF)), (MULTI, ()))
        for at in (1 << 47, (1 << 48) - 8, (1 << 47) + (1 << 46), 0xFFFF800000000000 - 64)
    ),
    case(0, "the count done", ("peek", DONE, p.PLAIN, 4), value=0x7777),
    case(0, "update_va_mapping there", ("uva", 1 << 47, 0, 0), -22),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
