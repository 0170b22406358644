"""XSA-248, CVE-2017-17566 (December 2017): frames of Xen's own that a domain owned.

Pages that Xen uses for a domain carried the domain as their owner, and whoever owns a frame may map it.  A PV guest
without shadow tables has none of the pages concerned; what there is of Xen's own is refused: its text, its tables and
a free frame; the M2P is nobody's to write.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case, ready
from steps import L1, L2, RW, SELF, TABLE, P, ext, put

THEIRS = (("Xen's text", p.XEN_TEXT), ("a free frame", p.FREE), ("the M2P", p.M2P))
PROGRAM: list[Case] = [
    *ready(ext(0, L1), ext(1, L2)),
    *(
        case(0, f"{what}, flags {flags:#x}", put(L1, 0, frame, flags), -16, readback=0)
        for what, frame in THEIRS
        for flags in (P, P | RW)
    ),
    *(case(0, f"{what} in an L2", put(L2, 0, frame, TABLE), -22, readback=0) for what, frame in THEIRS),
    *(case(0, f"pin {what}", ext(0, frame), -22) for what, frame in THEIRS),
    *(case(0, f"clear {what}", ext(16, frame), -22) for what, frame in THEIRS),
    *(case(0, f"give up {what}", ("memory", p.DECREASE, SELF, 0, 0, 0, 0, (frame,)), 0) for what, frame in THEIRS),
    case(0, "the M2P as Xen's, writable", ("mmu", 0x7FF2, 0, ((L1 << 12, p.M2P << 12 | P | RW),)), -16, readback=0),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
