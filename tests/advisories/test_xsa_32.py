"""XSA-32, CVE-2012-5525 (December 2012): frames beyond the frame table.

get_page_from_gfn() made a pointer into Xen's frame table of any number.  Whatever takes a frame has to refuse one
that the machine does not have.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case, ready
from steps import IO, L1, PAGE, SELF, P, ext, put

NUMBERS = (0x40000, 1 << 28, (1 << 40) - 1, 1 << 40, 1 << 52, (1 << 64) - 1)
PROGRAM: list[Case] = [
    *ready(ext(0, L1)),
    *(
        case(0, f"command {cmd} of {mfn:#x}", ("ext", SELF, 0, ((cmd, mfn, PAGE),)), -22, done=0)
        for cmd in (0, 1, 2, 3, 4, 15, 16, 17)
        for mfn in NUMBERS
    ),
    *(case(0, f"copy from {mfn:#x}", ("ext", SELF, 0, ((17, PAGE, mfn),)), -22, done=0) for mfn in NUMBERS),
    *(
        case(0, f"command {cmd} of an entry in {mfn:#x}", ("mmu", fd, 0, ((mfn << 12 | cmd, 0),)), -22, done=0)
        for cmd in (0, 1, 2)
        for fd in (SELF, IO)
        for mfn in NUMBERS[:3]
        if (cmd, fd) != (1, IO) or mfn >> 28
    ),
    case(0, "the invalid one in an L1", put(L1, 0, (1 << 40) - 1, P), -22, readback=0),
    case(0, "as a GDT", ("gdt", 512, (0x40000,)), -22),
    case(0, "as a descriptor's page", ("desc", 0x40000 << 12, 0), -22),
    case(0, "given up", ("memory", p.DECREASE, SELF, 0, 0, 0, 0, (0x40000,)), 0),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
