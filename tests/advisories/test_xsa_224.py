"""XSA-224, CVE-2017-10920 to 10922 (June 2017): grants and the references that they hold.

A grant mapped for the device and the host at once had a writable type reference too few in some cases, and its
unmapping dropped one that something else held: then a page table could be had of a page that is mapped writable.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case
from granted import checked
from named_handles import DEVICE, HOST, M, U, grant, map_grant, unmap_grant
from named_section9_entries import AT, tree
from steps import L1, OTHER, RW, P, ext, put

MAPPED = {OTHER: "3 WRITABLE*1 v"}


def refused(what: str) -> Case:
    return case(0, what, ext(0, OTHER), -22)


PROGRAM: list[Case] = [
    *tree(),
    *checked([grant(9, OTHER)]),
    case(0, "an ordinary writable mapping", put(L1, 5, OTHER, P | RW), books=MAPPED),
    *checked(map_grant("the grant, host and device", M, AT, HOST | DEVICE, 9)),
    *checked(map_grant("the grant, device", M + 32, 0, DEVICE, 9)),
    refused("a table of it"),
    *checked(unmap_grant("the second ended", U, M + 32, 0, OTHER << 12)),
    *checked(unmap_grant("the first ended", U, M, AT, OTHER << 12)),
    case(0, "a table of it", ext(0, OTHER), -22, books=MAPPED),
    *checked(map_grant("the grant, host alone", M, AT, HOST, 9)),
    *checked(unmap_grant("ended", U, M, AT)),
    case(0, "a table of it", ext(0, OTHER), -22, books=MAPPED),
    case(0, "the mapping read-only", put(L1, 5, OTHER, P), books={OTHER: "3 WRITABLE*0 v"}),
    case(0, "a table of it", ext(0, OTHER), books={OTHER: "4 L1*1 pv"}),
    *checked(map_grant("a table, writable", M, AT, HOST | DEVICE, 9), -1),
    case(0, "nothing is held", ext(4, OTHER), books={OTHER: "3 L1*0"}),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
