"""Core files: what they hold is in place, what they do not hold is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenmmu import Cpu
from xenmmu.elfcore import Core
from xenmmu.errors import BadArgument, OutOfRange

IMAGE = Path(__file__).resolve().parents[1] / "data" / "linux-la57.elf.xz"


def test_registers_and_frames_of_a_qemu_dump() -> None:
    core = Core(IMAGE)
    assert core.registers is not None
    assert (core.registers.cr3, core.registers.cr4, core.registers.cpl) == (0x4870000, 0x751EF0, 0)
    assert core.registers.efer is None
    assert sum(len(s.data) for s in core.segments) // 4096 == 136


def test_missing_memory_is_an_error() -> None:
    core = Core(IMAGE)
    m = core.machine()
    held = {s.mfn + i for s in core.segments for i in range(len(s.data) // 4096)}
    assert bytes(m.frame(core.segments[0].mfn)) == bytes(core.segments[0].data[:4096])
    gone = next(mfn for mfn in range(1, m.frames) if mfn not in held)
    for attempt in (
        lambda: m.read64(gone << 12),
        lambda: m.write64(gone << 12, 1),
        lambda: m.read((gone << 12) - 8, 16),
        lambda: m.write((gone << 12) + 1, bytes(4096)),
        lambda: m.frame(gone),
    ):
        with pytest.raises(OutOfRange):
            attempt()
    with m.trial():
        m.write(gone << 12, bytes(4096))
        assert m.read64(gone << 12) == 0
    with pytest.raises(OutOfRange):
        m.read64(gone << 12)
    with pytest.raises(BadArgument):
        core.machine(10)


def test_a_walk_stops_at_memory_that_is_not_there() -> None:
    core = Core(IMAGE)
    assert core.registers is not None
    cpu = Cpu(core.machine(), cr3=core.registers.cr3, cr4=core.registers.cr4 & 0x10A0, maxphyaddr=40)
    leaf = next(iter(cpu.mappings()))
    # The tables are all there; what they map is not.
    with pytest.raises(OutOfRange):
        cpu.load(leaf.va, user=False)
    total = sum(1 for _ in cpu.mappings())
    assert total == 79_871
