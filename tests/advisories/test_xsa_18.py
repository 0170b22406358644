"""XSA-18, CVE-2012-3516 (September 2012) and XSA-134, CVE-2015-4163 (June 2015): swapping grants that are not there.

GNTTABOP_swap_grant_ref compared neither reference with the size of the table (and later, not whether a table had a
version at all), so that two words beyond the table changed places.
"""

from __future__ import annotations

from typing import Any

import program as p
from expected import Case, case
from granted import BAD_GNTREF, checked
from named_handles import GRANT, SWAP, S, call, grant, words
from steps import OTHER, PAGE

BEYOND = 512


def swap(a: int, b: int, status: int) -> list[Case]:
    what = f"{a} and {b}"
    steps = [*words(S, (b << 32 | a, p.PLAIN), (0x77, p.PLAIN)), (what, call(GRANT, SWAP, S, 1))]
    return [*checked(steps), case(0, "  status", ("peek", S + 8, p.PLAIN, 2), value=status & 0xFFFF)]


PROGRAM: list[Case] = [
    *checked([grant(9, OTHER), grant(10, PAGE)]),
    *swap(9, BEYOND, BAD_GNTREF),
    *swap(BEYOND, 9, BAD_GNTREF),
    *swap((1 << 32) - 1, 9, BAD_GNTREF),
    case(0, "the first", ("peek", p.GRANTS + 72, p.GRANT, 8), value=OTHER << 32 | 1),
    *swap(9, 10, 0),
    case(0, "the first", ("peek", p.GRANTS + 72, p.GRANT, 8), value=PAGE << 32 | 1),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
