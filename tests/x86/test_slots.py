"""Slot arithmetic against real walks of recursive tables: every slot, every level, both ways, plain and alternate."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from xenmmu import BadArgument, Cpu, Machine, pte, x86

FLAGS = pte.P | pte.RW | pte.US
OUTER, ROOT, FREE = 1, 2, 3


class Tables(NamedTuple):
    """Two roots: ROOT holds itself in `inner` and a path for an address, OUTER holds ROOT in `outer`."""

    through: Cpu
    own: Cpu


def tables(outer: int, inner: int, levels: int, va: int) -> Tables:
    m = Machine(16 << 12)
    plain = outer == inner
    m.write64((ROOT << 12) + 8 * inner, pte.encode(ROOT, FLAGS))
    if not plain:
        m.write64((OUTER << 12) + 8 * outer, pte.encode(ROOT, FLAGS))
    table, free = ROOT, FREE
    for level in range(levels, 0, -1):
        at = (table << 12) + 8 * ((va >> (3 + 9 * level)) & 511)
        if not m.read64(at):
            m.write64(at, pte.encode(free, FLAGS))
            free += 1
        table = pte.decode(m.read64(at)).mfn
    cr4 = x86.CR4_PAE | (x86.CR4_LA57 if levels == 5 else 0)
    return Tables(Cpu(m, cr3=(ROOT if plain else OUTER) << 12, cr4=cr4), Cpu(m, cr3=ROOT << 12, cr4=cr4))


def addresses(rng: random.Random, inner: int, levels: int) -> list[int]:
    """Some addresses, also of the window itself, where the path goes round."""
    width = 12 + 9 * levels
    found = []
    for rounds in range(levels + 1):
        va = rng.getrandbits(width)
        for i in range(rounds):
            low = width - 9 * (i + 1)
            va = va & ~(511 << low) | inner << low
        found.append(va | (((1 << 64) - (1 << width)) if va >> (width - 1) else 0))
    return found


def check(outer: int, inner: int, levels: int, va: int) -> None:
    through, own = tables(outer, inner, levels, va)
    steps = own.walk(va).steps
    assert len(steps) == levels
    for step in steps:
        at = x86.slot_entry_va(outer, va, step.level, levels, inner)
        assert through.walk(at).pa == step.entry_pa
        span = 1 << (3 + 9 * step.level)
        base = x86.slot_base(outer, step.level, levels, inner)
        assert at == base + 8 * ((va & ((1 << (12 + 9 * levels)) - 1)) // span)

        level, first = x86.slot_target(outer, at, levels, inner)
        assert x86.slot_entry_va(outer, first, level, levels, inner) == at
        assert level >= step.level
        back = own.walk(first).steps
        assert back[levels - level].entry_pa == step.entry_pa
        if level == step.level:
            assert first == va - va % span
        # A higher level is the truth: the walk of the entry's address goes round as many times.
        rounds = through.walk(at).steps
        tables_used = [s.entry_pa >> 12 for s in rounds[1:]] + [step.entry_pa >> 12]
        assert all(t == ROOT for t in tables_used[:level])


@pytest.mark.parametrize("levels", [4, 5])
def test_every_slot_at_every_level(levels: int) -> None:
    rng = random.Random(2007)
    for slot in range(512):
        for va in addresses(rng, slot, levels)[:: 3 if slot % 8 else 1]:
            check(slot, slot, levels, va)


@pytest.mark.parametrize("levels", [4, 5])
def test_alternate_slots(levels: int) -> None:
    rng = random.Random(1127)
    pairs = [(510, 255), (255, 510), (0, 511), (256, 255)] + [
        (rng.randrange(512), rng.randrange(512)) for _ in range(60)
    ]
    for outer, inner in pairs:
        for va in addresses(rng, inner, levels):
            check(outer, inner, levels, va)


def test_netbsd_addresses() -> None:
    """amd64/include/pmap.h 1.12.2.3: PTE_BASE in slot 255, the alternate space in slot 510."""
    bases = [x86.slot_base(255, level) for level in (1, 2, 3, 4)]
    assert bases == [0x7F8000000000, 0x7FBFC0000000, 0x7FBFDFE00000, 0x7FBFDFEFF000]
    bases = [x86.slot_base(510, level, inner=255) for level in (1, 2, 3, 4)]
    assert bases == [0xFFFFFF0000000000, 0xFFFFFF3FC0000000, 0xFFFFFF3FDFE00000, 0xFFFFFF3FDFEFF000]
    assert x86.slot_entry_va(255, 0x7F7FFFFFE000) == 0x7FBFBFFFFFF0
    assert x86.slot_entry_va(510, 0x7F7FFFFFE000, inner=255) == 0xFFFFFF3FBFFFFFF0
    assert x86.slot_entry_va(255, x86.slot_base(255), 4) == 0x7FBFDFEFF7F8
    assert x86.slot_target(510, 0xFFFFFF3FBFFFFFF0, inner=255) == (1, 0x7F7FFFFFE000)
    assert x86.slot_target(255, 0x7FBFBFFFFFF7) == (1, 0x7F7FFFFFE000)
    assert x86.slot_target(255, 0x7FBFDFEFF7F8) == (4, 0x7F8000000000)


@pytest.mark.parametrize(
    "call",
    [
        lambda: x86.slot_base(512),
        lambda: x86.slot_base(-1),
        lambda: x86.slot_base(255, 0),
        lambda: x86.slot_base(255, 5),
        lambda: x86.slot_base(255, 1, 3),
        lambda: x86.slot_base(255, inner=600),
        lambda: x86.slot_base("255"),  # type: ignore[arg-type]
        lambda: x86.slot_entry_va(255, -1),
        lambda: x86.slot_entry_va(255, 1 << 64),
        lambda: x86.slot_entry_va(255, 1 << 47),
        lambda: x86.slot_entry_va(255, 1 << 56, levels=5),
        lambda: x86.slot_entry_va(255, "x"),  # type: ignore[arg-type]
        lambda: x86.slot_target(255, 0),
        lambda: x86.slot_target(255, 0x800000000000),
        lambda: x86.slot_target(510, x86.slot_base(255)),
        lambda: x86.slot_target(255, -8),
    ],
)
def test_bad_input(call: object) -> None:
    assert callable(call)
    with pytest.raises(BadArgument):
        call()
