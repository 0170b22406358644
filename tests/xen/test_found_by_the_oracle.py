"""What comparison with real Xen (tests/oracles/xen) once found wrong, as small cases of its own."""

from __future__ import annotations

import pytest

from xenmmu import Machine, PageFault, pte, xen

VA = 0x181C0000000  # L4 slot 3, L3 slot 7
TABLE = pte.P | pte.RW | pte.US
LEAF = 0x0010_0000_0000_0000 | pte.P | pte.US


@pytest.fixture
def domain() -> xen.Domain:
    return xen.Hypervisor(Machine(64 << 20)).create_domain(frames=64)


def put(d: xen.Domain, table: int, slot: int, value: int) -> None:
    assert d.mmu_update([(table * 4096 + slot * 8, value)]).rc == 0


def hook(d: xen.Domain) -> tuple[int, list[int]]:
    """Three tables behind VA, the L1 without entries; the L1 and more frames."""
    l3, l2, l1, *rest = d.mfns[d.boot_frames :]
    put(d, l2, 0, l1 << 12 | TABLE)
    put(d, l3, 7, l2 << 12 | TABLE)
    put(d, d.kernel_root, 3, l3 << 12 | TABLE)
    return l1, rest


def test_slot_261_alone_of_xens_slots_is_executable(domain: xen.Domain) -> None:
    root = domain.kernel_root * 4096
    flags = {slot: domain.hypervisor.machine.read64(root + slot * 8) & ~pte.ADDR for slot in (258, 260, 261, 262)}
    assert flags == {258: pte.NX | 0x63, 260: pte.NX | 0x63, 261: 0x63, 262: pte.NX | 0x63}


@pytest.mark.parametrize("mfn", [0xFEC00, 0xFED00])
def test_stores_to_read_only_mmio_are_dropped_for_the_hardware_domain(domain: xen.Domain, mfn: int) -> None:
    l1, _ = hook(domain)
    put(domain, l1, 0, mfn << 12 | LEAF | pte.RW)
    domain.store(VA + 16, 1, size=4)
    with pytest.raises(PageFault) as fault:
        domain.store(VA + 14, 1, size=4)
    assert (fault.value.va, fault.value.error_code) == (VA + 14, 3)


def test_a_narrow_emulated_store_reads_the_entry_through_the_guests_mapping(domain: xen.Domain) -> None:
    l1, (table, *_) = hook(domain)
    assert domain.mmuext_op([(xen.MMUEXT_PIN_L1_TABLE, table, 0)]).rc == 0
    put(domain, l1, 0, table << 12 | LEAF)
    domain.store(VA, 0x40000006)
    assert not domain.hypervisor.machine.read64(l1 * 4096) & pte.A
    domain.store(VA + 8, 6, size=1)
    assert domain.hypervisor.machine.read64(l1 * 4096) & pte.A
