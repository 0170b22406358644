"""XSA-185, CVE-2016-7092 (September 2016), carried over to 64 bits: a right that was added after the check.

For 32-bit guests Xen itself sets R/W and U in every L3 entry when it stores it, since the processor has no such bits
there.  A linear L3 entry was checked as the guest wrote it, read-only, and stored writable.  64-bit guests have no such
adjustment; the mutant adds it to L4 entries that name an L4.  With it the very slot that the mail of 2007 keeps valid
is writable: the process needs no hypercall to own the machine.
"""

from __future__ import annotations

from typing import Any

from expected import Case, case, ready
from steps import L3, L4, RW, US, A, P, ext, put

from xenmmu import Machine, check, netbsd, xen
from xenmmu.machine import PAGE_SIZE
from xenmmu.testing.strategies import address
from xenmmu.testing.world import World

MUTANT = "user_slot_rw_by_adjust"

# The sequence as real Xen runs it, too.
PROGRAM: list[Case] = [
    *ready(ext(3, L4), ext(2, L3)),
    case(0, "L3: itself, writable", put(L3, 3, L3, P | RW | US), -22, readback=0),
    case(0, "L3: read-only", put(L3, 3, L3, P), readback=L3 << 12 | P | US),
    case(0, "L4: itself, writable", put(L4, 255, L4, P | RW | US), -22, readback=0),
    case(0, "L4: read-only", put(L4, 255, L4, P), readback=L4 << 12 | P | US | A),
]


def link_itself(w: World, flags: str) -> xen.Result:
    return w.guest.mmu_update([(w.frame("user L4") * PAGE_SIZE + 255 * 8, w.entry("user L4", flags))])


def test_what_is_stored_is_what_was_checked() -> None:
    w = World()
    refused = link_itself(w, "P RW US")
    assert (refused.rc, refused.reason) == (-22, xen.Reason.LINEAR_WRITABLE)
    assert link_itself(w, "P").rc == 0
    stored = w.machine.read64(w.frame("user L4") * PAGE_SIZE + 255 * 8)
    assert stored == w.entry("user L4", "P US A"), "U and A are added, R/W is not"
    assert w.user_stores([address((255, 255, 255, 255, 0))], 0) == {}
    assert check.audit(w.hv) == []


def test_the_bug_opens_the_slot() -> None:
    w = World((MUTANT,))
    assert link_itself(w, "P US").rc == 0
    window = address((255, 255, 255, 255, 0))
    assert w.user_stores([window], 0) == {window: w.frame("user L4")}
    assert {"I-LIN", "I-WSPEC", "I-USERW"} <= {v.invariant for v in check.audit(w.hv)}


def test_under_netbsd_every_process_owns_its_tables() -> None:
    for mutants in ((), (MUTANT,)):
        hv = xen.Hypervisor(Machine(16 << 20), xen.Options(mutants=mutants))
        k = netbsd.Kernel(hv.create_domain(256), design="kept")
        pm = k.pmap_create()
        k.pmap_enter(pm, 0x400000, k.uvm_pagealloc(), netbsd.VM_PROT_READ)
        found = {(v.invariant, v.mfn) for v in check.audit(k)}
        assert (("I-LIN", k.root_mfn(pm)) in found) == bool(mutants)
        assert bool(found) == bool(mutants)


def test_the_sequence(run: Any) -> None:
    assert run(PROGRAM) == []
    found = run(PROGRAM, MUTANT)
    assert any(text.startswith("L4: read-only: readback is") for text in found)
    assert {"I-LIN", "I-WSPEC"} <= set(found)
