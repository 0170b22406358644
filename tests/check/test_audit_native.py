"""The audit of address spaces without a hypervisor, on tables written by hand."""

from __future__ import annotations

import pytest

from xenmmu import Machine, OutOfRange, check

P, RW, U, PS = 1, 2, 4, 0x80
L4, L3, L2, L1, OTHER = 8, 9, 10, 11, 12


def system() -> Machine:
    m = Machine(1 << 20)
    for table, slot, target, flags in (
        (L4, 0, L3, P | RW | U),
        (L3, 0, L2, P | RW | U),
        (L2, 0, L1, P | RW | U),
        (L1, 0, 20, P | RW | U),
        (L1, 1, L1, P | RW),  # the kernel's own mapping of a table
        (L4, 255, L4, P | RW),  # the recursive slot, for the kernel only
        (L4, 510, OTHER, P | RW),  # the alternate one
        (OTHER, 255, OTHER, P | RW),
    ):
        m.write64(table * 4096 + slot * 8, target << 12 | flags)
    return m


def test_kernel_windows_are_clean() -> None:
    assert check.audit_tables(system(), [L4, OTHER]) == []


@pytest.mark.parametrize(
    ("table", "slot", "entry", "invariant", "mfn"),
    [
        (L1, 2, L2 << 12 | P | RW | U, "I-USERW", L2),
        (L4, 255, L4 << 12 | P | RW | U, "I-USERW", L4),
        (L2, 1, 0 << 12 | P | RW | U | PS, "I-USERW", L1),
        (L4, 3, L2 << 12 | P | U, "I-EXCL", L2),
        (L3, 3, 256 << 12 | P | U, "I-LVL", L3),
        (L4, 3, L3 << 12 | P | U | PS, "I-LVL", L4),
    ],
)
def test_each_break_is_named(table: int, slot: int, entry: int, invariant: str, mfn: int) -> None:
    m = system()
    m.write64(table * 4096 + slot * 8, entry)
    assert (invariant, mfn) in {(v.invariant, v.mfn) for v in check.audit_tables(m, [L4, OTHER])}


def test_read_only_windows_for_user_mode_are_clean() -> None:
    m = system()
    m.write64(L4 * 4096 + 255 * 8, L4 << 12 | P | U)
    m.write64(L1 * 4096 + 2 * 8, L2 << 12 | P | U)
    assert check.audit_tables(m, [L4, OTHER]) == []


def test_a_root_outside_the_machine() -> None:
    with pytest.raises(OutOfRange):
        check.audit_tables(system(), [256])
