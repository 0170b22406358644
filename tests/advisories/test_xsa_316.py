"""XSA-316, CVE-2020-11743 (April 2020): failure that looks like success.

By a bracket in the wrong place a failed mapping of a grant had the status 1; callers ask whether it is below zero,
and used what was never mapped.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case
from granted import BAD_GNTREF, GENERAL_ERROR, checked, entry
from named_handles import HOST, PERMIT, READ_ONLY, M, grant, map_grant
from named_section9_entries import AT, tree
from steps import L1, L2, OTHER, va

PROGRAM: list[Case] = [
    *tree(),
    *checked([grant(9, OTHER), grant(10, L2), grant(11, OTHER, PERMIT, 5)]),
    *checked(map_grant("no kind of mapping", M, AT, READ_ONLY, 9), BAD_GNTREF),
    *checked(map_grant("no kind at all", M, AT, 0, 9), BAD_GNTREF),
    *checked(map_grant("no such grant", M, AT, HOST, 12), GENERAL_ERROR),
    *checked(map_grant("a page table, writable", M, AT, HOST, 10), GENERAL_ERROR),
    *checked(map_grant("somebody else's grant", M, AT, HOST, 11), GENERAL_ERROR),
    *checked(map_grant("where no L1 is", M, va(3, 0, 7, 0), HOST, 9), GENERAL_ERROR),
    entry("nothing is mapped", L1, 0, 0),
    case(0, "nothing is held", ("ext", 0x7FF0, 0, ((6, 0, 0),)), books={OTHER: "2 WRITABLE*0 v"}),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
