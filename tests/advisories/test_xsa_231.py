"""XSA-231, CVE-2017-14316 (September 2017), and XSA-14, CVE-2012-3497 among others: flags of a reservation believed.

The node that a guest asks memory from was used as an index unlooked at; populate-on-demand, which a PV domain does not
have, was set up for one.  Now a node that no machine has is no memory, whatever it is asked for, and on demand gives a
PV domain nothing.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case
from named_handles import Step
from named_memop import EXACT, LIST, LIST2, ON_DEMAND, OTHER, POPULATE, VNODE, N, exchange, frames, node, reserve

EINVAL, ENOMEM = -22, -12


def steps(made: list[Step], rc: int) -> list[Case]:
    """Words in memory and the call, which answers `rc`."""
    return [case(0, what, op, rc if op[0] == "hyper" else 0) for what, op in made]


PROGRAM: list[Case] = [*steps(frames(LIST, 0x1100, 0x1101, 0x1102, 0x1103), 0)]
for number in (64, 65, 127, 128, 200, 253, 254):
    PROGRAM += steps(reserve(f"from node {number}", POPULATE, flags=node(number)), 0)
PROGRAM += [
    *steps(reserve("from node 63 and no other", POPULATE, flags=node(63) | EXACT), 0),
    *steps(reserve("on demand", POPULATE, nr=2, flags=ON_DEMAND), 0),
    *steps(reserve("a long run on demand for another", POPULATE, order=19, flags=ON_DEMAND, domid=OTHER), 0),
    case(0, "the first pfn is as it was", ("peek", LIST, p.PLAIN, 8), value=0x1100),
    *steps(reserve("from anywhere", POPULATE), 1),
    case(0, "a frame", ("peek", LIST, p.FRAME, 8), value=N),
    *steps(frames(LIST2, 0x1200), 0),
    *steps(exchange("for one from node 64", (LIST, 1), (LIST2, 1), flags=node(64)), EINVAL),
    *steps(exchange("for one from virtual node 64", (LIST, 1), (LIST2, 1), flags=node(64) | VNODE), EINVAL),
    *steps(exchange("for one from node 63 and no other", (LIST, 1), (LIST2, 1), flags=node(63) | EXACT), ENOMEM),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
