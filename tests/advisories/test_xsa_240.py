"""XSA-240, CVE-2017-15595 (October 2017): linear tables of linear tables.

An entry may name a table of its own level, read-only.  Xen put no bound on how often that may be repeated: L4 after L4,
each holding the one before.  Dropping the last reference of such a chain recurses once for each of them, on a stack of
fixed size.  Since the fix a table either holds linear entries or is used by some, never both, so a chain is one hop;
an entry that names its own table does not count, because nothing is dropped with it.
"""

from __future__ import annotations

from typing import Any

import program as p
import pytest
from expected import Case, case, ready
from steps import US, P, ext, put

from xenmmu import check, xen
from xenmmu.machine import PAGE_SIZE
from xenmmu.testing.world import World

MUTANT = "xsa_240_linear_chain"

CHAIN = range(p.POOL + 8, p.POOL + 11)
# The sequence as real Xen runs it, too: each L4 holds the one before and is pinned, the one before unpinned.
PROGRAM: list[Case] = [
    *ready(ext(3, CHAIN[0]), put(CHAIN[1], 0, CHAIN[0], P | US)),
    case(0, "the first hop", ext(3, CHAIN[1]), books={CHAIN[0]: "4 L4*2 pv"}),
    case(0, "the first unpinned", ext(4, CHAIN[0]), books={CHAIN[0]: "3 L4*1 v"}),
    *ready(put(CHAIN[2], 0, CHAIN[1], P | US)),
    case(0, "the second hop", ext(3, CHAIN[2]), -22, books={CHAIN[1]: "3 L4*1 pv", CHAIN[2]: "2 NONE*0"}),
    *ready(put(CHAIN[2], 0, 0, 0), ext(3, CHAIN[2])),
    case(0, "the second hop into a pinned one", put(CHAIN[2], 0, CHAIN[1], P | US), -22, readback=0),
    case(0, "beside it", put(CHAIN[2], 0, CHAIN[0], P | US), books={CHAIN[0]: "4 L4*2 v"}),
    case(0, "the end unpinned", ext(4, CHAIN[1]), books={CHAIN[1]: "2 L4*0", CHAIN[0]: "3 L4*1 v"}),
    case(0, "the other end unpinned", ext(4, CHAIN[2]), books={CHAIN[0]: "2 L4*0"}),
]


def pin_l4(w: World, page: str) -> xen.Result:
    return w.guest.mmuext_op([xen.MmuextOp(xen.MMUEXT_PIN_L4_TABLE, w.frame(page))])


def link(w: World, table: str, to: str, flags: str = "P US") -> xen.Result:
    return w.guest.mmu_update([(w.frame(table) * PAGE_SIZE + 2 * 8, w.entry(to, flags))])


def chain(w: World) -> list[xen.Result]:
    assert [pin_l4(w, f"page {i}").rc for i in (0, 1, 2)] == [0, 0, 0]
    return [link(w, "page 1", "page 0"), link(w, "page 2", "page 1")]


def test_the_second_hop_is_refused() -> None:
    w = World()
    first, second = chain(w)
    assert first.rc == 0
    assert (second.rc, second.reason) == (-22, xen.Reason.LINEAR_TARGET_HOLDS)
    assert check.audit(w.hv) == []


def test_so_is_the_hop_before_the_first() -> None:
    """page 0 is used, so it may not hold; but its own self entry is free."""
    w = World()
    chain(w)
    assert pin_l4(w, "page 4").rc == 0
    refused = link(w, "page 0", "page 4")
    assert (refused.rc, refused.reason) == (-22, xen.Reason.LINEAR_HOLDER_IS_USED)
    assert link(w, "page 0", "page 0").rc == 0
    assert check.audit(w.hv) == []


def test_netbsds_alternate_slot_is_one_hop() -> None:
    """Kernel L4 -> user L4 -> itself, as the mail's scheme needs it: legal after the fix.  The way back is not."""
    w = World()
    assert link(w, "user L4", "user L4").rc == 0
    assert link(w, "kernel L4", "user L4").rc == 0
    back = w.guest.mmu_update([(w.frame("user L4") * PAGE_SIZE + 510 * 8, w.entry("kernel L4", "P US"))])
    assert (back.rc, back.reason) == (-22, xen.Reason.LINEAR_HOLDER_IS_USED)
    assert check.audit(w.hv) == []


def test_the_bug_is_found_at_the_second_hop() -> None:
    w = World((MUTANT,))
    first, second = chain(w)
    assert (first.rc, second.rc) == (0, 0)
    found = {(v.invariant, v.mfn) for v in check.audit(w.hv)}
    assert ("I-LIN", w.frame("page 1")) in found


@pytest.mark.parametrize("hops", [2, 3])
def test_a_cycle_of_tables_is_found(hops: int) -> None:
    w = World((MUTANT,))
    for i in range(hops):
        assert pin_l4(w, f"page {i}").rc == 0
    for i in range(hops):
        assert link(w, f"page {i}", f"page {(i + 1) % hops}").rc == 0
    assert {w.frame(f"page {i}") for i in range(hops)} <= {v.mfn for v in check.audit(w.hv) if v.invariant == "I-LIN"}


def test_the_sequence(run: Any) -> None:
    assert run(PROGRAM) == []
    assert "the second hop: rc is 0, expected -22" in run(PROGRAM, MUTANT)
