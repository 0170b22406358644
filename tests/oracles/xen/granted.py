"""Mapping and unmapping of grants as steps that say what is expected of them.

Knows: what Xen writes into a request, its statuses.  Does not know: what a grant is good for.
"""

from __future__ import annotations

from expected import Case, case
from named_handles import Step

OKAY, GENERAL_ERROR, BAD_GNTREF, BAD_VIRT_ADDR = 0, -1, -3, -5


def checked(items: list[Step], status: int = OKAY) -> list[Case]:
    """Steps of named_handles, the call's status being this one: for a map behind the domain, for an unmap alone."""
    out = []
    for what, op in items:
        if what == "  status":
            word = status & 0xFFFF
            out.append(case(0, what, op, value=word if op[1] & 4 else word << 16))
        else:
            out.append(case(0, what, op))
    return out


def entry(what: str, table: int, slot: int, value: int) -> Case:
    """A look at an entry."""
    return case(0, what, ("read", table << 12 | slot * 8), readback=value)
