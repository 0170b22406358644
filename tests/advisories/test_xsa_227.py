"""XSA-227, CVE-2017-12137 (August 2017): an entry across two slots.

A grant can be mapped by the machine address of an L1 entry.  Nothing asked whether the address is a multiple of
eight, and so the last bytes of one entry and the first of the next could be made of a value that no check had seen.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case
from granted import GENERAL_ERROR, checked, entry
from named_handles import BY_PTE, HOST, PTE, M, grant, map_grant
from named_section9_entries import tree
from steps import L1, OTHER

PROGRAM: list[Case] = [
    *tree(),
    *checked([grant(9, OTHER)]),
    *(
        step
        for offset in range(1, 8)
        for step in checked(map_grant(f"at offset {offset}", M, PTE + 16 + offset, HOST | BY_PTE, 9), GENERAL_ERROR)
    ),
    entry("the entry", L1, 2, 0),
    entry("the one after it", L1, 3, 0),
    case(0, "at the end of the table", ("peek", M, 1, 8), books={OTHER: "2 WRITABLE*0 v"}),
    *checked(map_grant("an offset of none", M, PTE + 16, HOST | BY_PTE, 9)),
]


def test_refused(run: Any) -> None:
    assert run(PROGRAM) == []
