"""Slips that a developer could make, each with the shortest way to it: harmless as Xen is, found by the audit with it.

The bugs with an advisory of their own have files of their own.  A case takes a world and returns what Xen said to its
last call.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xenmmu import BadState, check, xen
from xenmmu.machine import PAGE_SIZE
from xenmmu.testing.world import World

Case = Callable[[World], xen.Result]


def update(w: World, table: str, slot: int, to: str, flags: str) -> xen.Result:
    return w.guest.mmu_update([(w.frame(table) * PAGE_SIZE + slot * 8, w.entry(to, flags))])


def ext(w: World, cmd: int, page: str, source: str = "page 4") -> xen.Result:
    return w.guest.mmuext_op([xen.MmuextOp(cmd, w.frame(page), w.frame(source))])


def owner_unchecked_l1(w: World) -> xen.Result:
    """Map a page of the other domain, whose name was not given."""
    return update(w, "user L1", 2, "victim", "P RW US")


def no_rollback_l1_promote(w: World) -> xen.Result:
    """A page whose first entry is fine and whose second is not."""
    assert update(w, "page 0", 0, "data 0", "P RW US").rc == 0
    assert update(w, "page 0", 1, "user L4", "P RW US").rc == 0
    return ext(w, xen.MMUEXT_PIN_L1_TABLE, "page 0")


def pin_twice_counts(w: World) -> xen.Result:
    """Pin a pinned table."""
    return ext(w, xen.MMUEXT_PIN_L4_TABLE, "user L4")


def unpin_unpinned(w: World) -> xen.Result:
    """Unpin a table that is in use and was never pinned."""
    return ext(w, xen.MMUEXT_UNPIN_TABLE, "user L1")


def slot_range_off_by_one_high(w: World) -> xen.Result:
    """Fill Xen's last slot."""
    return update(w, "user L4", 271, "page 0", "P RW US")


def fastpath_ignores_frame(w: World) -> xen.Result:
    """Replace one data page by another, flags as they were."""
    return update(w, "user L1", 0, "page 0", "P RW US G")


def old_root_not_put(w: World) -> xen.Result:
    """Take the process away."""
    return w.guest.mmuext_op([xen.MmuextOp(xen.MMUEXT_NEW_USER_BASEPTR, 0)])


def clear_page_no_type(w: World) -> xen.Result:
    """Clear a page table in use."""
    return ext(w, xen.MMUEXT_CLEAR_PAGE, "user L1")


CASES: dict[Case, xen.Reason] = {
    owner_unchecked_l1: xen.Reason.L1_NOT_OWNED,
    no_rollback_l1_promote: xen.Reason.L1_RW_TYPE_CONFLICT,
    pin_twice_counts: xen.Reason.ALREADY_PINNED,
    unpin_unpinned: xen.Reason.NOT_PINNED,
    slot_range_off_by_one_high: xen.Reason.L4_SLOT_RESERVED,
    fastpath_ignores_frame: xen.Reason.NONE,
    old_root_not_put: xen.Reason.NONE,
    clear_page_no_type: xen.Reason.NOT_WRITABLE,
}


@pytest.mark.parametrize("case", CASES)
def test_xen_as_it_is(case: Case) -> None:
    w = World()
    result = case(w)
    assert result.reason == CASES[case]
    assert check.audit(w.hv) == []


@pytest.mark.parametrize("case", CASES)
def test_the_audit_finds_what_the_catalogue_says(case: Case) -> None:
    name = case.__name__  # type: ignore[attr-defined]
    w = World((name,))
    case(w)
    assert set(check.MUTANTS[name].breaks) <= {v.invariant for v in check.audit(w.hv)}


def test_copying_over_a_table_is_the_same_slip() -> None:
    w = World()
    assert ext(w, xen.MMUEXT_COPY_PAGE, "user L1", "page 0").reason == xen.Reason.NOT_WRITABLE
    w = World(("clear_page_no_type",))
    assert ext(w, xen.MMUEXT_COPY_PAGE, "user L1", "page 0").rc == 0
    assert "I-TCOUNT" in {v.invariant for v in check.audit(w.hv)}


def test_a_kernel_root_that_is_not_put() -> None:
    """The boot L4 keeps its pin, so one reference more is all there is to see."""
    for mutants in ((), ("old_root_not_put",)):
        w = World(mutants)
        assert update(w, "user L4", 511, "boot L3", "P RW US").rc == 0
        assert ext(w, xen.MMUEXT_NEW_BASEPTR, "user L4").rc == 0
        found = {(v.invariant, v.mfn) for v in check.audit(w.hv)}
        assert found == ({(i, w.frame("kernel L4")) for i in ("I-TCOUNT", "I-GCOUNT")} if mutants else set())


def test_pin_at_the_wrong_level() -> None:
    """The books stay right, for a pin is a pin: what is wrong is that the call succeeds (I-PIN asks for the level)."""
    w = World()
    refused = ext(w, xen.MMUEXT_PIN_L2_TABLE, "user L3")
    assert (refused.rc, refused.reason) == (-22, xen.Reason.TYPE_CONFLICT)
    assert not w.hv.frame_info(w.frame("user L3")).pinned
    w = World(("pin_wrong_level_accepted",))
    assert ext(w, xen.MMUEXT_PIN_L2_TABLE, "user L3").rc == 0
    info = w.hv.frame_info(w.frame("user L3"))
    assert info.pinned and info.type == xen.PageType.L3


@pytest.mark.parametrize("mutants", [(), ("ptwr_user_mode",)])
def test_write_emulation_is_for_the_kernel(mutants: tuple[str, ...]) -> None:
    """A process that sees an L1 through a read-only mapping stores to it: only the kernel may have that emulated."""
    w = World(mutants)
    assert update(w, "user L1", 2, "user L1", "P US").rc == 0
    w.guest.vm_assist(xen.VMASST_ENABLE, xen.VMASST_WRITABLE_PAGETABLES)
    va, value = 2 * PAGE_SIZE + 3 * 8, w.entry("page 0", "P RW US")
    assert w.user_stores([va], value) == ({va: w.frame("user L1")} if mutants else {})
    assert check.audit(w.hv) == []


def test_every_mutant_has_a_case_here_or_a_file_of_its_own() -> None:
    here = {case.__name__ for case in CASES} | {"pin_wrong_level_accepted", "ptwr_user_mode"}  # type: ignore[attr-defined]
    own = {"xsa_182_fastpath_rw", "xsa_182_fastpath_rw_l1", "xsa_148_l2_pse_unchecked", "xsa_240_linear_chain"}
    assert here | own | {"user_slot_rw_by_adjust"} == set(check.MUTANTS)


def test_user_mode_has_no_hypercalls() -> None:
    w = World()
    w.guest.enter_user()
    with pytest.raises(BadState):
        update(w, "user L1", 0, "page 0", "P US")
    with pytest.raises(BadState):
        ext(w, xen.MMUEXT_UNPIN_TABLE, "user L4")
    w.guest.enter_kernel()
    assert check.audit(w.hv) == []
