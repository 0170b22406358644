"""What programs with a name are made of: steps with words, and the operations used most.

Knows: NetBSD's slots of 2007 (255 for a pmap's own tables, 510 for another's), the shape of page tables.
Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

from typing import NamedTuple

import program as p

P, RW, US, A, NX = 1, 2, 4, 0x20, 1 << 63
SELF, IO = 0x7FF0, 0x7FF1
TABLE, LEAF = P | RW | US | A, P | RW | US
L4, L3, L2, L1, PAGE, OTHER, SPARE, SECOND = range(p.POOL, p.POOL + 8)
PTE, APTE = 255, 510
# The page that the process has, by slots.
S4, S3, S2, S1 = 3, 7, 1, 5


class Named(NamedTuple):
    """A program, and the words for each of its operations."""

    question: str
    steps: list[tuple[str, p.Op]]
    #: Whether the state after every step is compared, not only the last.
    stepwise: bool = False

    @property
    def program(self) -> p.Program:
        """The operations alone."""
        return [op for _, op in self.steps]


def va(s4: int, s3: int, s2: int, s1: int, entry: int = 0) -> int:
    """The address with these slots, and an entry's offset in its page."""
    return (s4 << 39 | s3 << 30 | s2 << 21 | s1 << 12 | entry * 8) | (0xFFFF << 48 if s4 & 256 else 0)


def put(table: int, slot: int, target: int, flags: int) -> p.Op:
    """An entry by mmu_update."""
    return ("mmu", SELF, 0, ((table << 12 | slot * 8, target << 12 | flags),))


def ext(cmd: int, frame: int = 0) -> p.Op:
    """An operation of mmuext_op."""
    return ("ext", SELF, 0, ((cmd, frame, 0),))


def process() -> list[tuple[str, p.Op]]:
    """A process: four tables, one page, and what user mode needs here."""
    return [
        ("its L1", put(L1, S1, PAGE, LEAF)),
        ("its L2", put(L2, S2, L1, TABLE)),
        ("its L3", put(L3, S3, L2, TABLE)),
        ("its L4", put(L4, S4, L3, TABLE)),
        ("the code that user mode runs", put(L4, p.STUB_SLOT, p.STUB_L3, TABLE)),
        ("pin the L4", ext(3, L4)),
    ]
