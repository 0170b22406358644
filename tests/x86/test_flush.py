"""What each operation makes a processor forget, as a value: the table of SDM vol. 3A, 4.10.4.1, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from xenmmu import BadArgument, Cpu, GeneralProtection, Machine
from xenmmu._core import ffi, lib

PAE, PGE, LA57, PCIDE = lib.XM_CR4_PAE, lib.XM_CR4_PGE, lib.XM_CR4_LA57, lib.XM_CR4_PCIDE
SMEP, SMAP, PKE = lib.XM_CR4_SMEP, lib.XM_CR4_SMAP, lib.XM_CR4_PKE
NONE, ADDRESS, PCID, ALL = lib.XM_FLUSH_NONE, lib.XM_FLUSH_ADDRESS, lib.XM_FLUSH_PCID, lib.XM_FLUSH_ALL
KEEP = 1 << 63
VA = 0x7FFF_1234_5678


def told(flush: Any) -> tuple[int, int, int, int, int]:
    return flush.tlb, flush.structures, flush.globals, flush.pcid, flush.va


NOTHING = (NONE, NONE, 0, 0, 0)


@pytest.mark.parametrize(
    ("value", "cr4", "flush"),
    [
        (0x1000, PAE, (PCID, PCID, 0, 0, 0)),
        (0x1018, PAE, (PCID, PCID, 0, 0, 0)),  # PWT and PCD, no PCID
        (0x1018, PAE | PCIDE, (PCID, PCID, 0, 0x18, 0)),
        (0x1FFF, PAE | PCIDE | PGE, (PCID, PCID, 0, 0xFFF, 0)),
        (0x1018 | KEEP, PAE | PCIDE, NOTHING),
        (0x1018 | KEEP, PAE, (PCID, PCID, 0, 0, 0)),  # #GP in truth; the bit means nothing without PCIDs
    ],
)
def test_mov_to_cr3(value: int, cr4: int, flush: tuple[int, ...]) -> None:
    assert told(lib.xm_flush_mov_cr3(value, cr4)) == flush


@pytest.mark.parametrize(
    ("old", "new", "flush"),
    [
        (PAE, PAE | PGE, (ALL, ALL, 1, 0, 0)),
        (PAE | PGE, PAE, (ALL, ALL, 1, 0, 0)),
        (PAE | PCIDE, PAE, (ALL, ALL, 1, 0, 0)),
        (PAE, PAE | PCIDE, NOTHING),
        (PAE, PAE | SMEP, (PCID, PCID, 1, 0, 0)),
        (PAE | PCIDE, PAE | PCIDE | SMEP, (PCID, PCID, 1, 7, 0)),
        (PAE | SMEP, PAE, NOTHING),
        (PAE | PCIDE, PAE | SMEP, (ALL, ALL, 1, 0, 0)),
        (PAE, PAE | SMAP | PKE, NOTHING),
        (PAE | PGE | SMEP, PAE | PGE | SMEP, NOTHING),
    ],
)
def test_mov_to_cr4(old: int, new: int, flush: tuple[int, ...]) -> None:
    assert told(lib.xm_flush_mov_cr4(0x1007, old, new)) == flush


@pytest.mark.parametrize(
    ("cr4", "efer", "va", "flush"),
    [
        (PAE, 0, VA, (ADDRESS, PCID, 1, 0, VA)),
        (PAE | PCIDE, 0, VA, (ADDRESS, PCID, 1, 7, VA)),
        (PAE | PCIDE, lib.XM_EFER_TCE, VA, (ADDRESS, ADDRESS, 1, 7, VA)),
        (PAE, 0, 1 << 47, NOTHING),
        (PAE | LA57, 0, 1 << 47, (ADDRESS, PCID, 1, 0, 1 << 47)),
        (PAE | LA57, 0, 1 << 56, NOTHING),
    ],
)
def test_invlpg(cr4: int, efer: int, va: int, flush: tuple[int, ...]) -> None:
    assert told(lib.xm_flush_invlpg(0x1007, cr4, efer, va)) == flush


def test_a_page_fault() -> None:
    assert told(lib.xm_flush_page_fault(0x1007, PAE | PCIDE, VA)) == (ADDRESS, ADDRESS, 1, 7, VA)
    assert told(lib.xm_flush_page_fault(0x1007, PAE, VA)) == (ADDRESS, ADDRESS, 1, 0, VA)


@pytest.mark.parametrize(
    ("kind", "flush"),
    [
        (0, (ADDRESS, ADDRESS, 0, 9, VA)),
        (1, (PCID, PCID, 0, 9, 0)),
        (2, (ALL, ALL, 1, 0, 0)),
        (3, (ALL, ALL, 0, 0, 0)),
    ],
)
def test_invpcid(kind: int, flush: tuple[int, ...]) -> None:
    found = ffi.new("struct xm_flush *")
    assert lib.xm_flush_invpcid(PAE | PCIDE, kind, 9, VA, found) == 0
    assert told(found) == flush
    expected = lib.XM_E_GP if kind < 2 else 0  # the PCID is ignored, not checked, by the types of all contexts
    assert lib.xm_flush_invpcid(PAE, kind, 9, VA, found) == expected
    assert lib.xm_flush_invpcid(PAE, kind, 0, VA, found) == 0


@pytest.mark.parametrize("tlb", [None, 4])
def test_invpcid_faults_as_the_manual_says(tlb: int | None) -> None:
    m = Machine(1 << 16)
    cpu = Cpu(m, cr4=PAE | PCIDE, tlb=tlb)
    for kind in ("address", "single", "all", "all_but_global", 0, 1, 2, 3):
        cpu.invpcid(kind, 0xFFF, 0x1000)
        with pytest.raises(GeneralProtection):
            cpu.invpcid(kind, 0x1000)  # a reserved bit of the descriptor
        with pytest.raises(GeneralProtection):
            cpu.invpcid(kind, 1 << 63)
        if kind in ("address", 0):
            with pytest.raises(GeneralProtection):
                cpu.invpcid(kind, 1, 1 << 47)
        else:
            cpu.invpcid(kind, 1, 1 << 47)
    for number in (4, (1 << 64) - 1):
        with pytest.raises(GeneralProtection):
            cpu.invpcid(number)
    for bad in ((-1,), (1 << 64,), ("every",), (None,), (1.5,), (0, -1), (0, "1"), (0, 0, 1 << 64), (0, 0, None)):
        with pytest.raises(BadArgument):
            cpu.invpcid(*bad)  # type: ignore[arg-type]
    cpu.cr4 = PAE
    for kind in (0, 1):
        with pytest.raises(GeneralProtection):
            cpu.invpcid(kind, 1)
        cpu.invpcid(kind, 0)
    for kind in (2, 3):
        cpu.invpcid(kind, 1)
