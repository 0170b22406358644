"""What a hypervisor may be built on, and what is left of it when its creation is undone."""

from __future__ import annotations

import pytest

from xenmmu import BadState, Machine, OutOfFrames, OutOfRange, check, xen


def test_a_hypervisor_made_in_a_trial_is_empty_after_it() -> None:
    machine = Machine(16 << 20)
    with machine.trial():
        hv = xen.Hypervisor(machine)
        domain = hv.create_domain()
    assert hv.free_frames == 0
    with pytest.raises(OutOfFrames):
        hv.create_domain()
    with pytest.raises(OutOfRange):
        hv.frame_info(256)
    with pytest.raises(BadState):
        domain.mmu_update([])
    assert xen.Hypervisor(machine).create_domain().mmu_update([]).rc == 0


def test_boot_tables_do_not_depend_on_what_memory_held_before() -> None:
    machine = Machine(16 << 20)
    machine.write(0, b"\xff" * machine.size)
    hv = xen.Hypervisor(machine)
    domain = hv.create_domain()
    assert hv.frame_info(domain.kernel_root).pinned
    assert check.audit(hv) == []


def test_a_machine_larger_than_the_limit_is_refused_at_once() -> None:
    machine = Machine(1 << 40)
    with pytest.raises(BadState, match="limit"):
        xen.Hypervisor(machine)
