"""The auditor over NetBSD kernels that work: nothing to report, and what is broken on purpose is reported."""

from __future__ import annotations

import pytest

from xenmmu import Machine, check, netbsd, xen

VA = 0x400000
RW = netbsd.VM_PROT_READ | netbsd.VM_PROT_WRITE


def busy_kernel(design: str) -> tuple[netbsd.Kernel, netbsd.Pmap]:
    """A kernel with a parent and a child that have mapped, unmapped and switched."""
    m = Machine(16 << 20)
    k = netbsd.Kernel(m if design == "native" else xen.Hypervisor(m).create_domain(512), design=design)
    pm = k.pmap_create()
    for page in range(4):
        k.pmap_enter(pm, VA + page * 4096, k.uvm_pagealloc(), RW)
    k.switch(pm)
    child = k.fork(pm)
    k.pmap_enter(child, VA, k.uvm_pagealloc(), RW)
    assert k.pmap_extract(pm, VA) is not None
    k.switch(child)
    k.pmap_remove(pm, VA, VA + 8192)
    return k, child


@pytest.mark.parametrize("design", netbsd.DESIGNS)
def test_a_working_kernel_is_clean(design: str) -> None:
    k, child = busy_kernel(design)
    assert check.audit(k) == []
    k.exit(child)
    assert check.audit(k) == []


def test_a_native_process_that_can_write_its_tables_is_found() -> None:
    """Natively nothing but the kernel keeps U and R/W off the recursive slot ("Total Meltdown" was that slip)."""
    k, child = busy_kernel("native")
    root = k.root_mfn(child)
    k.machine.write64(root * 4096 + 255 * 8, root << 12 | netbsd.PG_V | netbsd.PG_RW | netbsd.PG_u)
    assert ("I-USERW", root) in {(v.invariant, v.mfn) for v in check.audit(k)}


def test_a_store_behind_xens_back_is_found() -> None:
    k, child = busy_kernel("kept")
    root = k.root_mfn(child)
    k.machine.write64(root * 4096 + 255 * 8, root << 12 | netbsd.PG_V | netbsd.PG_RW | netbsd.PG_u | netbsd.PG_U)
    found = {(v.invariant, v.mfn) for v in check.audit(k)}
    assert {("I-LIN", root), ("I-USERW", root), ("I-WSPEC", root)} <= found


def test_no_more_than_the_limit_is_returned() -> None:
    k, child = busy_kernel("kept")
    root = k.root_mfn(child)
    for slot in range(20, 120):
        k.machine.write64(root * 4096 + slot * 8, root << 12 | 3)
    assert len(check.audit(k)) > 70
    assert len(check.audit(k, limit=70)) == 70
    assert len(check.audit(k, limit=3)) == 3
