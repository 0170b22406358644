"""XSA-394, CVE-2022-23034 (January 2022): a mapping ended in parts, more than once.

A grant mapped for host and device can be ended for each alone.  Every call that named either dropped a count, though
nothing was left to end; the third brought it below zero.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case
from granted import checked
from named_handles import DEVICE, HOST, M, U, grant, map_grant, unmap_grant
from named_section9_entries import AT, tree
from steps import OTHER, ext

PROGRAM: list[Case] = [
    *tree(),
    *checked([grant(9, OTHER)]),
    *checked(map_grant("host and device", M, AT, HOST | DEVICE, 9)),
    *(step for i in (1, 2, 3) for step in checked(unmap_grant(f"neither, time {i}", U, M, 0))),
    *checked(unmap_grant("the host's", U, M, AT)),
    *(step for i in (1, 2) for step in checked(unmap_grant(f"neither, time {i}", U, M, 0))),
    *checked(unmap_grant("the device's", U, M, 0, OTHER << 12)),
    case(0, "nothing is held", ext(6), books={OTHER: "2 WRITABLE*0 v"}),
    *checked(unmap_grant("there is no such mapping", U, M, AT, OTHER << 12), -4),
    case(0, "a table of it", ext(0, OTHER), books={OTHER: "3 L1*1 pv"}),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
