"""XSA-113, CVE-2014-9030 (November 2014): a reference that an error kept.

MMU_MACHPHYS_UPDATE took a reference to the page and left one of its error exits without dropping it; a frame on which
it had failed never came back.  A PV guest gets to the exits for a wrong owner of the frame and of the tables.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case
from steps import IO, SELF

N = p.NAMED


def machphys(fd: int) -> p.Op:
    return ("mmu", fd, 0, ((N << 12 | 1, 0x77),))


THEIR_TABLES = (p.FOREIGN_ID + 1) << 16
PROGRAM: list[Case] = [
    case(0, "a new frame", ("memory", p.POPULATE, SELF, 0, 0, 1, 0, (0x1100,)), 1),
    *(case(0, "as dom_io's", machphys(IO), -22, books={N: "1 WRITABLE*0 v"}) for _ in range(3)),
    *(case(0, "as theirs", machphys(p.FOREIGN_ID), -22, books={N: "1 WRITABLE*0 v"}) for _ in range(3)),
    *(case(0, "their tables", machphys(THEIR_TABLES | SELF), -1, books={N: "1 WRITABLE*0 v"}) for _ in range(3)),
    case(0, "as mine", machphys(SELF), books={N: "1 WRITABLE*0 v"}),
    case(0, "given up", ("memory", p.DECREASE, SELF, 0, 0, 0, 0, (N,)), 1),
    case(0, "it is gone", ("memory", p.DECREASE, SELF, 0, 0, 0, 0, (N,)), 0),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
