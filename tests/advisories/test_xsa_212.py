"""XSA-212, CVE-2017-7228 (April 2017), and XSA-29, CVE-2012-5513: exchanged frames told to Xen's own memory.

XENMEM_exchange writes the number of each new frame into a list of the guest's.  Whether the whole list may be written
was asked in a way that left a part of it out, or not at all: the numbers could go anywhere in Xen.  Now a list in
Xen's area is refused before a frame moves, wherever in it the exchange goes on from.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case
from named_handles import HOLE, XEN_AREA, Step, call
from named_memop import EXCHANGE, LIST, LIST2, MEMORY, POPULATE, N, exchange, frames, reserve

EFAULT = -14
#: Where a list of words of eight bytes leaves the guest's memory upwards for Xen's, and Xen's for the guest's.
INTO_XEN, OUT_OF_XEN = 0xFFFF7FFFFFFFFFF8, 0xFFFF87FFFFFFFFF8


def steps(made: list[Step], rc: int) -> list[Case]:
    """Words in memory, the call, which answers `rc`, and how many were exchanged: none."""
    return [
        case(0, what, op, rc if op[0] == "hyper" else 0, **({"value": 0} if op[0] == "peek" else {}))
        for what, op in made
    ]


PROGRAM: list[Case] = [
    *steps([*frames(LIST, 0x1100, 0x1101, 0x1102), *reserve("three frames", POPULATE, nr=3)], 3),
    *steps(exchange("new frames told to Xen's area", (LIST, 1), (XEN_AREA, 1)), EFAULT),
    *steps(exchange("beyond its end", (LIST, 3), (OUT_OF_XEN, 3)), EFAULT),
    *steps(exchange("into it", (LIST, 3), (INTO_XEN, 3)), EFAULT),
    *steps(exchange("old frames read there", (XEN_AREA, 1), (LIST2, 1)), EFAULT),
    *steps(exchange("new frames told to nowhere", (LIST, 1), (HOLE, 1)), EFAULT),
    case(0, "the structure itself there", call(MEMORY, EXCHANGE, XEN_AREA), EFAULT),
    *(case(0, "the old frames are there still", ("peek", LIST + 8 * i, p.FRAME, 8), value=N + i) for i in range(3)),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
