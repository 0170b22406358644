"""The profile of Xen 3.1: each difference from 4.17 that docs/xen-3.1.md lists, and the auditor on what it allows.

Nothing here is compared with a real Xen 3.1; the rules are those of its source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xenmmu import BadArgument, Machine, PageFault, check, netbsd, xen
from xenmmu.study import probes
from xenmmu.xen import Reason

P, RW, US, PWT, PCD, A, D, PAT, G = (1 << i for i in range(9))
EPERM, ESRCH, EACCES, EBUSY, EINVAL, ENOSYS = 1, 3, 13, 16, 22, 38
VERSIONS = ("4.17", "3.1")
MMIO = 0xA0  # below 1 MiB: dom_io's


@pytest.fixture
def old(guest: Callable[..., Any]) -> Any:
    return guest(version="3.1")


def both(guest: Callable[..., Any], try_it: Callable[[Any], Any], **more: Any) -> tuple[Any, Any]:
    """What each version answers; its auditor finds no fault with either afterwards."""
    answers = []
    for version in VERSIONS:
        g = guest(version=version, **more)
        answers.append(try_it(g))
        assert check.audit(g.hv) == []
    return answers[0], answers[1]


def test_the_version_is_an_option_and_shown(old: Any) -> None:
    assert old.hv.options.version == "3.1"
    assert "version='3.1'" in repr(old.hv)
    assert xen.Options().version == "4.17"
    for wrong in ("3.0", "", None, 3.1, ["3.1"]):
        with pytest.raises(BadArgument, match="version"):
            xen.Options(version=wrong)  # type: ignore[arg-type]
    assert check.audit(old.hv) == []


def test_every_refused_element_is_einval(guest: Callable[..., Any]) -> None:
    def writable_table(g: Any) -> Any:
        r = g.up(g.window, g.w(), g.root << 12 | P | RW)
        return r.rc, r.reason

    reason = Reason.L1_RW_TYPE_CONFLICT
    assert both(guest, writable_table) == ((-EBUSY, reason), (-EINVAL, reason))


def test_a_plain_domain_that_names_another_finds_none(guest: Callable[..., Any]) -> None:
    def name_another(g: Any) -> Any:
        other = g.hv.create_domain(64)
        return g.up(g.window, g.w(), other.mfns[0] << 12 | P, foreigndom=other.domid).rc

    assert both(guest, name_another, privileged=False) == (-EPERM, -ESRCH)


@pytest.mark.parametrize("privileged", [True, False])
def test_cache_flags_but_not_pat(guest: Callable[..., Any], privileged: bool) -> None:
    def answers(g: Any) -> list[int]:
        x = g.page()
        leaves = [g.up(g.window, g.w(), x << 12 | P | flag).rc for flag in (PWT, PCD, PAT)]
        tables = [(g.window_l2, g.page()), (g.window_l3, g.page()), (g.root, g.page())]
        return leaves + [g.up(table, 302, below << 12 | P | PWT | PCD).rc for table, below in tables]

    now, then = both(guest, answers, privileged=privileged)
    assert then == [0, 0, -EINVAL, 0, 0, 0]
    assert now == ([0, 0, 0] if privileged else [-EINVAL] * 3) + [-EINVAL] * 3


def test_no_a_bit_is_added_to_an_l4_entry(guest: Callable[..., Any]) -> None:
    def stored(g: Any) -> int:
        assert g.up(g.root, 302, g.page() << 12 | P).rc == 0
        return int(g.peek(g.root, 302)) & 0xFFF

    assert both(guest, stored) == (P | US | A, P | US)


def test_the_m2p_is_in_every_l4_and_user_mode_reads_it(guest: Callable[..., Any]) -> None:
    def slot(g: Any) -> bool:
        root = g.copy_root()
        assert g.pin(4, root).rc == 0
        assert g.ext(xen.MMUEXT_NEW_USER_BASEPTR, root).rc == 0
        if not g.peek(root, 256):
            return False
        g.d.enter_user()
        value = g.d.load(xen.RO_MPT_VIRT_START + 8 * root)
        g.d.enter_kernel()
        return bool(value == g.hv.m2p(root))

    assert both(guest, slot) == (False, True)


def test_fewer_commands(guest: Callable[..., Any]) -> None:
    def answers(g: Any) -> list[int]:
        x = g.page()
        commands = [g.up(g.window, g.w(), 0, cmd=cmd).rc for cmd in (0, 2, 3)]
        more = [g.ext(cmd, x, x).rc for cmd in (xen.MMUEXT_CLEAR_PAGE, xen.MMUEXT_COPY_PAGE, xen.MMUEXT_MARK_SUPER)]
        return [*commands, *more, g.d.vm_assist(xen.VMASST_ENABLE, xen.VMASST_M2P_STRICT).rc]

    now, then = both(guest, answers)
    assert then == [0, -ENOSYS, -ENOSYS, -ENOSYS, -ENOSYS, -ENOSYS, -EINVAL]
    assert now[:5] == [0, 0, 0, 0, 0]


def test_the_upper_half_of_foreigndom_means_nothing(guest: Callable[..., Any]) -> None:
    def other_tables(g: Any) -> int:
        return int(g.up(g.window, g.w(), 0, foreigndom=xen.DOMID_SELF | 60 << 16).rc)

    assert both(guest, other_tables) == (-ESRCH, 0)


def test_linear_chains_of_any_length(guest: Callable[..., Any]) -> None:
    def chain(g: Any) -> list[int]:
        a, b, c = (g.page() for _ in range(3))
        for mfn in (a, b, c):
            assert g.pin(4, mfn).rc == 0
        return [g.up(b, 5, c << 12 | P).rc, g.up(a, 5, b << 12 | P).rc]

    assert both(guest, chain) == ([0, -EINVAL], [0, 0])


def test_the_fast_path_adds_write_rights_to_a_linear_entry(guest: Callable[..., Any]) -> None:
    """XSA-182 is in the profile: a guest kernel of 2007 could open its own tables, and the auditor says so."""
    old, now = guest(version="3.1"), guest()
    for g in (now, old):
        assert g.up(g.root, 5, g.root << 12 | P).rc == 0
    assert now.up(now.root, 5, now.root << 12 | P | RW).reason == Reason.LINEAR_WRITABLE
    assert old.up(old.root, 5, old.root << 12 | P | RW).rc == 0
    assert {v.invariant for v in check.audit(old.hv)} >= {"I-LIN", "I-WSPEC"}


def test_mappings_of_device_memory_are_counted_and_left_as_they_are(guest: Callable[..., Any]) -> None:
    def answers(g: Any) -> Any:
        slot = g.w()
        assert g.up(g.window, slot, MMIO << 12 | P | RW).rc == 0
        stored, held = g.peek(g.window, slot) & (PCD | PWT), g.books(MMIO)
        assert check.audit(g.hv) == []
        assert g.up(g.window, slot, 0).rc == 0
        return stored, held, g.books(MMIO)

    now, then = both(guest, answers)
    assert now == (PCD | PWT, "1 WRITABLE*1 v", "1 WRITABLE*1 v")
    assert then == (0, "2 WRITABLE*2 v", "1 WRITABLE*1 v")


def test_cache_flags_on_xens_heap(guest: Callable[..., Any]) -> None:
    def answer(g: Any) -> int:
        return int(g.up(g.window, g.w(), g.d.shared_info << 12 | P | PCD).rc)

    assert both(guest, answer) == (-EACCES, 0)


def test_write_emulation_needs_the_assist(old: Any) -> None:
    slot = old.w()
    va = old.map(old.window, P)
    with pytest.raises(PageFault):
        old.d.store(va + 8 * slot, 0x1230)
    assert old.d.vm_assist(xen.VMASST_ENABLE, xen.VMASST_WRITABLE_PAGETABLES).rc == 0
    old.d.store(va + 8 * slot, 0x1230)
    assert old.peek(old.window, slot) == 0x1230


def test_no_flush_after_an_update_above_level_1(guest: Callable[..., Any]) -> None:
    def flushes(g: Any) -> int:
        before = g.d.counters["tlb_flushes"]
        assert g.up(g.root, 302, 0).rc == 0
        return int(g.d.counters["tlb_flushes"] - before)

    assert both(guest, flushes) == (1, 0)


def test_a_failed_validation_leaves_no_type(guest: Callable[..., Any]) -> None:
    def left(g: Any) -> str:
        l2 = g.table({9: g.root << 12 | P | RW})
        assert g.pin(2, l2).rc == -EINVAL
        return str(g.books(l2))

    assert both(guest, left) == ("1 L2*0", "1 NONE*0")


def test_a_table_out_of_use_is_brought_back_for_an_update(guest: Callable[..., Any]) -> None:
    def update(g: Any) -> Any:
        l1 = g.page()
        assert g.pin(1, l1).rc == 0
        assert g.unpin(l1).rc == 0
        bad = g.up(l1, 3, g.root << 12 | P | RW).rc
        return bad, g.books(l1)

    now, then = both(guest, update)
    assert now == (0, "1 WRITABLE*0 v")
    assert then == (-EINVAL, "1 L1*0")


def test_type_counts_have_sixteen_bits(old: Any) -> None:
    x = old.page()
    tables = [old.page() for _ in range(128)]
    slots = [(l1 << 12 | slot << 3, x << 12 | P | RW) for l1 in tables for slot in range(512)]
    for l1 in tables:
        assert old.pin(1, l1).rc == 0
    r = old.d.mmu_update(slots)
    assert (r.rc, r.done) == (-EINVAL, 0xFFFF)
    assert check.audit(old.hv) == []


# ---- the founding question


@pytest.mark.parametrize("design", ["stock", "stock-literal", "kept", "per-cpu"])
def test_netbsds_designs_run_and_user_mode_never_writes_a_table(design: str) -> None:
    hypervisor = xen.Hypervisor(Machine(24 << 20), xen.Options(version="3.1"))
    kernel = netbsd.Kernel(hypervisor.create_domain(2048), design=design)
    write = netbsd.VM_PROT_READ | netbsd.VM_PROT_WRITE
    one, other = kernel.pmap_create(), kernel.pmap_create()
    for pmap in (one, other):
        kernel.switch(pmap)
        kernel.pmap_enter(pmap, 0x400000, kernel.uvm_pagealloc(), write)
        assert kernel.pmap_extract(pmap, 0x400000) is not None
    # `one` is not the current pmap: its tables are walked through the alternate slot.
    assert kernel.pmap_extract(one, 0x400000) != kernel.pmap_extract(other, 0x400000)
    tally = probes.Tally()
    probes.probe(kernel, tally)
    assert tally.tried >= 7 and tally.breaches == 0
    assert check.audit(hypervisor) == []


def test_the_kept_slot_is_read_by_user_mode_and_never_written() -> None:
    hypervisor = xen.Hypervisor(Machine(24 << 20), xen.Options(version="3.1"))
    kernel = netbsd.Kernel(hypervisor.create_domain(2048), design="kept")
    pmap = kernel.pmap_create()
    kernel.switch(pmap)
    kernel.pmap_enter(pmap, 0x400000, kernel.uvm_pagealloc(), netbsd.VM_PROT_READ | netbsd.VM_PROT_WRITE)
    entry_va = netbsd.PTE_BASE + (0x400000 >> 12) * 8
    assert kernel.user_load(entry_va) & P
    with pytest.raises(PageFault):
        kernel.user_store(entry_va, 0)
