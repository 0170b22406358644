"""XSA-148, CVE-2015-7835 (October 2015): seven years of 2-MiB pages of anybody's memory.

PV guests have no large pages, so PS is forbidden in an L2 entry.  The mask that said so lost the bit, and the fast path
compared only frame and P.  A guest that owns a page whose frame number is a multiple of 512 makes it an L1, which is
checked; links it below an L2; and then sets PS in that entry, which nobody looks at.  The processor now takes the entry
for a page of 2 MiB, writable, that begins with the L1 and goes on over 511 frames of whoever owns them.
"""

from __future__ import annotations

from typing import Any

import pytest
from expected import Case, case, ready
from steps import L1, L2, RW, TABLE, US, P, ext, put

from xenmmu import check, xen
from xenmmu.machine import PAGE_SIZE
from xenmmu.testing.world import World

SLOT = 1
VA = SLOT << 21  # user L4[0], L3[0], L2[1]
MUTANT = "xsa_148_l2_pse_unchecked"

# The sequence as real Xen runs it, too.  Without the bug no alignment matters.
PROGRAM: list[Case] = [
    *ready(ext(1, L2)),
    case(0, "an L1", put(L2, 1, L1, TABLE), books={L1: "3 L1*1 v"}),
    case(0, "PS alone changed", put(L2, 1, L1, TABLE | 0x80), -22, readback=L1 << 12 | TABLE, books={L1: "3 L1*1 v"}),
    case(0, "PS in a fresh entry", put(L2, 2, L1, P | RW | US | 0x80), -22, readback=0),
    case(0, "what is there", ("read", L2 << 12 | 8), readback=L1 << 12 | TABLE),
]


def update(w: World, to: str, flags: str) -> xen.Result:
    return w.guest.mmu_update([(w.frame("user L2") * PAGE_SIZE + SLOT * 8, w.entry(to, flags))])


def test_refused() -> None:
    w = World()
    assert w.frame("aligned") % 512 == 0
    assert update(w, "aligned", "P RW US").rc == 0
    refused = update(w, "aligned", "P RW US PS")
    assert (refused.rc, refused.reason) == (-22, xen.Reason.L2_FLAGS)
    assert w.hv.frame_info(w.frame("aligned")).type == xen.PageType.L1
    assert check.audit(w.hv) == []


@pytest.mark.parametrize("level", [3, 4])
def test_refused_at_the_other_levels_too(level: int) -> None:
    w = World((MUTANT,))
    pa = w.frame(f"user L{level}") * PAGE_SIZE + 8
    refused = w.guest.mmu_update([(pa, w.entry("page 0", "P RW US PS"))])
    assert refused.reason == (xen.Reason.L3_FLAGS if level == 3 else xen.Reason.L4_FLAGS)


def test_the_bug_gives_the_neighbours_away() -> None:
    w = World((MUTANT,))
    assert update(w, "aligned", "P RW US").rc == 0
    assert check.audit(w.hv) == []
    assert update(w, "aligned", "P RW US PS").rc == 0
    found = {(v.invariant, v.mfn) for v in check.audit(w.hv)}
    assert {("I-LVL", w.frame("user L2")), ("I-WSPEC", w.frame("aligned")), ("I-USERW", w.frame("aligned"))} <= found
    # The first frame of the 2 MiB is the L1 itself, the next is somebody's.
    stored = w.user_stores([VA, VA + PAGE_SIZE], 0xABC000)
    assert stored == {VA: w.frame("aligned"), VA + PAGE_SIZE: w.frame("aligned") + 1}


def test_without_alignment_the_processor_objects() -> None:
    """Bits 13 to 20 of a 2-MiB entry are reserved: the entry is still wrong, but no way in."""
    w = World((MUTANT,))
    assert w.frame("page 0") % 512 > 1
    update(w, "page 0", "P RW US")
    assert update(w, "page 0", "P RW US PS").rc == 0
    assert {v.invariant for v in check.audit(w.hv)} == {"I-LVL"}
    assert w.user_stores([VA], 0xABC000) == {}


def test_the_sequence(run: Any) -> None:
    assert run(PROGRAM) == []
    found = run(PROGRAM, MUTANT)
    assert "PS alone changed: rc is 0, expected -22" in found
    assert "I-LVL" in found
