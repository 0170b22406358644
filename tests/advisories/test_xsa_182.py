"""XSA-182, CVE-2016-6258 (July 2016): a right that the fast path forgot.

Xen lets a guest change harmless bits of a present entry without a new check. For levels 2 to 4 it counted R/W among
the harmless ones: which frame an entry names decides what is referenced, and upper R/W only ever takes rights away
from a path. But a linear entry is safe for no other reason than that it is read-only. So: link an L4 to itself read-
only, which is allowed; ask for the same entry with R/W, which nobody looked at; load the L4; and every page table of
the address space lies writable in one window. Any entry can then be written, so any frame of the machine can be
mapped.

This is the bug that would have broken the scheme of the mail of 2007: there the slot is the process's own.
"""

from __future__ import annotations

from typing import Any

import program as p
import pytest
from expected import Case, case, fault, ready
from steps import L2, L3, L4, PAGE, RW, TABLE, US, A, P, ext, put, va

from xenmmu import Machine, check, xen
from xenmmu.machine import PAGE_SIZE
from xenmmu.testing.strategies import address
from xenmmu.testing.world import World

SLOT = 255

WINDOW = va(SLOT, SLOT, SLOT, SLOT)
# The sequence as real Xen runs it, too.
PROGRAM: list[Case] = [
    *ready(put(L4, p.STUB_SLOT, p.STUB_L3, TABLE), ext(3, L4), ext(2, L3), ext(1, L2)),
    *(
        step
        for level, table, stored in ((4, L4, P | US | A), (3, L3, P | US), (2, L2, P | US))
        for step in (
            case(0, f"L{level}: itself, writable", put(table, SLOT, table, P | RW | US), -22, readback=0),
            case(0, f"L{level}: read-only", put(table, SLOT, table, P | US), readback=table << 12 | stored),
            case(0, f"L{level}: made writable", put(table, SLOT, table, P | RW | US), -22),
            case(0, f"L{level}: the entry", ("read", table << 12 | SLOT * 8), readback=table << 12 | stored),
        )
    ),
    case(0, "the process runs", ext(15, L4)),
    case(0, "it reads its slot", ("load", 1, WINDOW + SLOT * 8, 8), value=L4 << 12 | P | US | A),
    fault(0, "it writes an entry", ("store", 1, WINDOW, 8, PAGE << 12 | P | RW | US), 7, cr2=WINDOW, user=1),
]


def update(w: World, table: str, slot: int, to: str, flags: str) -> xen.Result:
    return w.guest.mmu_update([(w.frame(table) * PAGE_SIZE + slot * 8, w.entry(to, flags))])


def invariants(w: World) -> set[str]:
    return {v.invariant for v in check.audit(w.hv)}


@pytest.mark.parametrize("table", ["user L4", "user L3", "user L2"])
def test_refused_at_every_level(table: str) -> None:
    w = World()
    assert update(w, table, SLOT, table, "P US").rc == 0
    refused = update(w, table, SLOT, table, "P RW US")
    assert (refused.rc, refused.reason) == (-22, xen.Reason.LINEAR_WRITABLE)
    assert update(w, table, SLOT, table, "P US A D NX").rc == 0, "the flags that do not matter still change freely"
    assert check.audit(w.hv) == []


@pytest.mark.parametrize("table", ["user L4", "user L3", "user L2"])
def test_the_bug_is_found_at_every_level(table: str) -> None:
    w = World(("xsa_182_fastpath_rw",))
    assert update(w, table, SLOT, table, "P US").rc == 0
    assert check.audit(w.hv) == []
    assert update(w, table, SLOT, table, "P RW US").rc == 0
    assert {"I-LIN", "I-WSPEC", "I-USERW"} <= invariants(w)


def test_user_mode_takes_the_victims_page() -> None:
    """Without a hypercall: the process writes an entry of its own L1 and reads another domain's memory."""
    w = World(("xsa_182_fastpath_rw",))
    update(w, "user L4", SLOT, "user L4", "P US")
    update(w, "user L4", SLOT, "user L4", "P RW US")
    secret = 0x5EC12E7
    w.machine.write64(w.frame("victim") * PAGE_SIZE, secret)
    entry_of_page_2 = address((SLOT, 0, 0, 0, 2))
    w.guest.enter_user()
    w.guest.store(entry_of_page_2, w.entry("victim", "P RW US"))
    assert w.guest.load(2 * PAGE_SIZE) == secret
    w.guest.enter_kernel()
    assert "I-OWN" in invariants(w)


def test_with_linear_tables_off_there_is_nothing_to_find() -> None:
    """The mutant is equivalent then: no read-only linear entry exists to begin with."""
    hv = xen.Hypervisor(Machine(16 << 20), xen.Options(pv_linear_pt=False, mutants=("xsa_182_fastpath_rw",)))
    d = hv.create_domain(64)
    root = d.kernel_root
    refused = d.mmu_update([(root * PAGE_SIZE + SLOT * 8, root << 12 | 5)])
    assert refused.reason == xen.Reason.LINEAR_DISABLED
    assert check.audit(hv) == []


def test_the_same_slip_at_level_1() -> None:
    """Never in Xen: a read-only mapping of a page table is made writable the same way."""
    for mutants, rc in (((), -16), (("xsa_182_fastpath_rw_l1",), 0)):
        w = World(mutants)
        assert update(w, "user L1", 2, "user L1", "P US").rc == 0
        result = update(w, "user L1", 2, "user L1", "P RW US")
        assert result.rc == rc
        assert (result.reason == xen.Reason.L1_RW_TYPE_CONFLICT) == bool(rc)
        stored = w.user_stores([2 * PAGE_SIZE], w.entry("victim", "P RW US"))
        if rc:
            assert check.audit(w.hv) == [] and stored == {}
        else:
            assert stored == {2 * PAGE_SIZE: w.frame("user L1")}
            assert {"I-WSPEC", "I-USERW"} <= invariants(w)


def test_the_sequence(run: Any) -> None:
    assert run(PROGRAM) == []
    found = run(PROGRAM, "xsa_182_fastpath_rw")
    for level in (2, 3, 4):
        assert f"L{level}: made writable: rc is 0, expected -22" in found
    assert "it writes an entry: vector is 0, expected 14" in found
    assert {"I-LIN", "I-WSPEC", "I-USERW"} <= set(found)
