"""Random operations on descriptor tables, compare-and-exchange, and iret: more actions for the generator.

Knows: which descriptors a guest may have and which it may not, where an LDT can lie.  Does not know: what is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import program as p

if TYPE_CHECKING:
    from generate import Generator

PAGE = p.PAGE
_P, _RW = 1, 2
_SEG_DESC, _COUNT = 5, (1 << 55) - 1
_NOT_OWN = (0xB8, p.XEN_TEXT, p.FREE, p.M2P, 0x40000, p.BOOT_L4)

#: Places in a descriptor page that programs use, so that they meet again.
INDICES = (0, 1, 2, 7, 300, 511)

_PRESENT, _S = 1 << 47, 1 << 44
#: Data and code as kernels have them, of either privilege, accessed or not, conforming or not; not present ones.
SEGMENTS = (
    *(0x00CFF2000000FFFF, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF, 0x00CF92000000FFFF, 0x00AF9A000000FFFF),
    *(0x00CFF0000000FFFF, 0x00AFF8000000FFFF, 0x00AF9E000000FFFF, 0x00CFF4123456FFFF, 0x00CFD2000000FFFF),
    *(0x00CF72000000FFFF, 0x00CF12000000FFFF, 0x00AF1E000000FFFF, 0x00AF7C000000FFFF, 0x00CF6A000000FFFF),
)
#: Call gates to a guest's selector, to an LDT's, to Xen's segment for guests; the second half of a gate.
GATES = (
    0x0000EC0000080000,
    0x0000EC000007FFFF,
    0x1234EC0012345678,
    0x00008C00E0330000,
    0x00008000FFFFFFFF,
    0x0000E000FFFFE008,
)
#: Other system descriptors, call gates to Xen's own segments and with reserved bits.
REFUSED = (
    *(0x00008B0000000067, 0x0000820000000067, 0x0000890000000067, 0x0000EE0000080000, 0x0000EF0000080000),
    *(0x0000E50000080000, 0x0000EC00E0080000, 0x0000EC01E0330000, 0x0000EC80E0330000, 0x0000EC00E02B0000),
)


def _descriptor(g: Generator) -> int:
    rng = g._rng
    if g._wrong():
        return rng.choice(REFUSED)
    if rng.random() < 0.05:
        return 0
    desc = rng.choice(SEGMENTS if rng.random() < 0.75 else GATES)
    if rng.random() < 0.2:
        desc ^= rng.randrange(4) << 45
    return desc


def _descriptor_pages(g: Generator) -> list[int]:
    words = g._emulator.type_words()
    return [p.POOL + i for i, w in enumerate(words) if w >> 61 == _SEG_DESC]


def _page(g: Generator) -> int:
    """A frame for descriptors: one that is a descriptor page already, one of data, or any."""
    rng, pages = g._rng, _descriptor_pages(g)
    if g._wrong():
        return rng.choice((*_NOT_OWN, g._any_frame(), p.SHARED_INFO))
    if pages and rng.random() < 0.5:
        return rng.choice(pages)
    return rng.choice(g.by_role[0])


def fill(g: Generator) -> None:
    """A descriptor, by update_descriptor or as a word of whatever the frame is."""
    rng, page = g._rng, _page(g)
    index = 511 if page == p.SHARED_INFO else rng.choice(INDICES)
    pa = page << 12 | index * 8
    if rng.random() < 0.25:
        g._mmu(pa, _descriptor(g))
        return
    if g._wrong() and page != p.SHARED_INFO:
        pa += rng.choice((1, 4, 7))
    g._emit("desc", pa, _descriptor(g))


def set_gdt(g: Generator) -> None:
    """A GDT of a few pages, or none."""
    rng = g._rng
    roll = rng.random()
    if roll < 0.15:
        g._emit("gdt", 0, ())
        return
    if roll < 0.2:
        g._emit("gdt", rng.choice((7169, 1 << 31, (1 << 32) - 1)), (_page(g),))
        return
    n = rng.choice((1, 1, 1, 2, 2, 3, 14))
    pages = [_page(g) for _ in range(min(n, 3))]
    frames = tuple(rng.choice(pages) for _ in range(n))
    if p.SHARED_INFO in frames:
        frames = (p.SHARED_INFO,)
    g._emit("gdt", rng.choice((512 * len(frames), 512 * len(frames) - 511, 512 * len(frames) - 1)), frames)


def _ldt_base(g: Generator) -> tuple[int, int]:
    """An address that leads to a page of descriptors, mostly, and a number of entries."""
    rng = g._rng
    if rng.random() < 0.6:
        # One page: what neighbours it in the window is not the same on both sides.
        frame = _page(g)
        if p.POOL <= frame < p.POOL + p.FRAMES:
            return p.WINDOW + (frame - p.POOL) * PAGE, rng.choice((512, 512, 512, 8, 1))
    va = g._va(g._emulator.domain.kernel_root)
    va = va & ~(PAGE - 1)
    if p.WINDOW <= va < p.WINDOW + p.FRAMES * PAGE:
        return va, 512
    if rng.random() < 0.15:
        va = rng.choice((0x7FFFFFFFF000, 0xFFFF880000000000, 0xFFFFFFFFFFFFF000, 0))
    return va, rng.choice((512, 1024, 8192, 8192))


def set_ldt(g: Generator) -> None:
    """An LDT, and uses of it."""
    rng = g._rng
    if rng.random() < 0.12:
        g._ext(13, 0, 0)
    else:
        g._ext(13, *_ldt_base(g))
    for _ in range(rng.randrange(3)):
        selector(g)


def selector(g: Generator) -> None:
    """A selector of either table, loaded by either mode."""
    rng, d = g._rng, g._emulator.domain
    user = int(bool(d.user_root) and rng.random() < 0.4)
    index = rng.choice(INDICES) + 512 * rng.choice((0, 0, 0, 0, 1, 2, 13, 15))
    value = index << 3 | (4 if rng.random() < 0.65 else 0) | rng.choice((3, 3, 0, 1))
    if rng.random() < 0.06:
        value = rng.choice((0, 3, 0xE023, 0xE02B, 0xE033, 0xE008, 0xE010, 0xE040, 0xE060, 0xE030, 0xFFF8))
    g._emit("selector", user, value)


def descriptors(g: Generator) -> None:
    """A page of descriptors, made the GDT or reached by the LDT, and used."""
    rng = g._rng
    page = rng.choice(g.by_role[0])
    for index in rng.sample(INDICES, 3):
        g._emit("desc", page << 12 | index * 8, _descriptor(g))
    if rng.random() < 0.4:
        g._emit("gdt", 512, (page,))
        table = 0
    else:
        g._ext(13, p.WINDOW + (page - p.POOL) * PAGE, 512)
        table = 4
    for _ in range(rng.randrange(1, 4)):
        user = int(bool(g._emulator.domain.user_root) and rng.random() < 0.4)
        g._emit("selector", user, rng.choice(INDICES) << 3 | table | 3)


def cmpxchg(g: Generator) -> None:
    """Compare and exchange, mostly with what is there, of entries by the window and of what else is mapped."""
    rng, emulator = g._rng, g._emulator
    d = emulator.domain
    user = int(bool(d.user_root) and rng.random() < 0.3)
    tables = [f for f, level in g._tables() if level == 1]
    if rng.random() < 0.7:
        frame = rng.choice(tables) if tables and rng.random() < 0.75 else g._any_frame()
        va = p.WINDOW + (frame - p.POOL) * PAGE + g._slot(g.role[frame - p.POOL] or 1) * 8
    else:
        va = g._va(d.user_root if user else d.kernel_root) + (g._slot(1) * 8 if rng.random() < 0.5 else 0)
    size, offset = rng.choice(((8, 0),) * 9 + ((4, 0), (4, 4), (2, 6), (1, 0), (1, 7)))
    if g._wrong() and va & ~(PAGE - 1) != 0x7FFFFFFFF000:
        size, offset = 8, 4
        if p.WINDOW <= va < p.WINDOW + p.FRAMES * PAGE and va % PAGE == PAGE - 8:
            va -= 8  # the window's next page is not the same on both sides
    pa = d.walk(emulator.names.va(va)).pa
    old = 0
    if pa is not None and pa >> 12 < emulator.machine.frames:
        old = emulator.machine.read64(pa & ~7)
    if offset == 0:
        expected = emulator.names.entry_back(old)
        value = g._entry(1) if rng.random() < 0.8 else expected ^ rng.choice((0, _RW, _P, 0x20, 0x200))
    else:
        expected = old >> 8 * offset & (1 << 8 * size) - 1
        value = rng.choice((0, 1 << 8 * size - 1 if size < 8 else 1 << 31, 0x80 if size == 1 else 0))
    if size < 4:
        expected, value = expected & (1 << 8 * size) - 1, value & (1 << 8 * size) - 1
    if offset == 4 and size == 8:
        # Half of each of two entries: frame numbers in it would not be the same on both sides.
        expected = 0 if not old else rng.choice((0, 1 << 40))
    if rng.random() < 0.15:
        expected ^= 0x200 if offset == 0 and size > 1 else 1
    g._emit("cmpxchg", user, va + offset, size, value, expected)


def iret(g: Generator) -> None:
    """A return to either mode, with flags and selectors that Xen or the processor corrects or refuses."""
    rng, d = g._rng, g._emulator.domain
    rpl = 3 if d.user_root and rng.random() < 0.6 else rng.choice((0, 0, 1, 2))
    cs, ss = p.FLAT_CS & ~3 | rpl, p.FLAT_SS & ~3 | rng.randrange(4)
    if g._wrong():
        cs = rng.choice((rpl, 0xE028 | rpl, 0xE008 | rpl, 0xE040 | rpl))
    if g._wrong():
        ss = rng.choice((0, 3, 0xE033, 0xE030, 0xE010, 0xE023))
    # Neither IF, for the guest takes no events, nor TF and DF, for its handlers expect none.
    rflags = rng.choice((0, 2, 0x46, 0x8D7, 0x3002, 0x4002, 0x10002, 0x20002, 0x40002, 0x200002, 0x1FF082))
    va = p.USER_UD if rng.random() < 0.8 else g._va(d.user_root if rpl == 3 else d.kernel_root)
    g._emit("iret", va, cs, ss, rflags, rng.choice((0, 0, p.IN_SYSCALL)))


#: Actions and how often they are taken.
ACTIONS: list[tuple[Callable[[Generator], None], int]] = [
    (fill, 3),
    (set_gdt, 2),
    (set_ldt, 2),
    (selector, 2),
    (descriptors, 2),
    (cmpxchg, 5),
    (iret, 1),
]
