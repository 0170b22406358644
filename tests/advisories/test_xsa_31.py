"""XSA-31, CVE-2012-5515 (December 2012): extents of any order.

memory_op took the order of an extent as the guest gave it, and walked 2^order frames: with order 63 for ever.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case
from steps import SELF

N = p.NAMED


def memory(cmd: int, order: int, *extents: int, first: int = 0) -> p.Op:
    return ("memory", cmd, SELF, order, 0, 1, first, extents)


PROGRAM: list[Case] = [
    case(0, "a frame", memory(p.POPULATE, 0, 0x1100), 1),
    *(case(0, f"given up with order {order}", memory(p.DECREASE, order, N), 0) for order in (19, 30, 52, 63, 64, 255)),
    *(case(0, f"order {order} more", memory(p.POPULATE, order, 0x1101, first=1), 0) for order in (19, 63, 255)),
    *(case(0, f"order {order} without number", memory(p.INCREASE, order, 0, first=1), 0) for order in (19, 63, 255)),
    case(0, "given up", memory(p.DECREASE, 0, N), 1),
    case(0, "it is gone", memory(p.DECREASE, 0, N), 0),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
