"""Programs with a name that bring counts near what they can be: thousands of references to one frame.

Knows: whole tables full of the same entry, made once and copied.  Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

import program as p
from steps import LEAF, SELF, US, P, ext, put

TARGET, FIRST = p.POOL, p.POOL + 1
POOL_TABLES = range(FIRST, p.POOL + p.FRAMES)
NEW_TABLES = range(p.NAMED, p.NAMED + p.NAMED_FRAMES)
#: So many tables full of linear entries to one table are as many as its linear_pt_count can tell.
FULL = (1 << 15) // 512
Steps = list[tuple[str, p.Op]]


def _fill(table: int, entries: list[int]) -> p.Op:
    """All 512 entries of a frame that is no table yet."""
    return ("mmu", SELF, 0, tuple((table << 12 | slot * 8, entry) for slot, entry in enumerate(entries)))


def _copy(table: int, source: int = FIRST) -> p.Op:
    return ("ext", SELF, 0, ((17, table, source),))


def _mappings() -> Steps:
    """Half of the mappings are writable."""
    half = [TARGET << 12 | LEAF, TARGET << 12 | P | US] * 256
    return [
        ("", _fill(FIRST, half)),
        *(("", _copy(t)) for t in POOL_TABLES[1:]),
        *((f"{p.NAMES[t]} is a table", ext(0, t)) for t in POOL_TABLES),
        ("the frame as a table", ext(0, TARGET)),
        ("cleared", ("ext", SELF, 0, ((16, TARGET, 0),))),
    ]


def _mappings_undone() -> Steps:
    return [
        *_mappings(),
        *((f"{p.NAMES[t]} is no table", ext(4, t)) for t in POOL_TABLES[::2]),
        *((f"a writable one of {p.NAMES[t]} read-only", put(t, 0, TARGET, P | US)) for t in POOL_TABLES[1::2]),
        *((f"a read-only one of {p.NAMES[t]} gone", put(t, 1, 0, 0)) for t in POOL_TABLES[1::2]),
    ]


def _tables() -> Steps:
    """One L1 in every slot of many L2s."""
    return [
        ("", _fill(FIRST, [TARGET << 12 | LEAF] * 512)),
        *(("", _copy(t)) for t in POOL_TABLES[1:]),
        *((f"{p.NAMES[t]} is an L2", ext(1, t)) for t in POOL_TABLES),
        ("the L1 is an L2", ext(1, TARGET)),
        ("an entry of the L1", put(TARGET, 3, p.UD, P)),
        ("one of the L2s without its first", put(FIRST, 0, 0, 0)),
        ("the last L2 goes", ext(4, POOL_TABLES[-1])),
    ]


def _linear() -> Steps:
    one = [0] * 511 + [TARGET << 12 | P | US]
    new = NEW_TABLES[: FULL + 2 - len(POOL_TABLES)]
    all_of_them = [*POOL_TABLES, *new]
    full, over, single = all_of_them[:FULL], all_of_them[FULL], all_of_them[FULL + 1]
    return [
        ("more frames", ("memory", p.POPULATE, SELF, 0, 0, 1, 0, tuple(0x1100 + i for i in range(32)))),
        (
            "and more",
            ("memory", p.POPULATE, SELF, 0, 0, 1, 32, tuple(0x1120 + i for i in range(p.NAMED_FRAMES - 32))),
        ),
        ("", _fill(FIRST, [TARGET << 12 | P | US] * 512)),
        *(("", _copy(t)) for t in all_of_them[1:]),
        ("an L2", ext(1, TARGET)),
        *((f"{p.NAMES[t]} is an L2", ext(1, t)) for t in full),
        (f"{p.NAMES[over]}: one too many", ext(1, over)),
        ("one of the others goes", ext(4, FIRST)),
        (f"{p.NAMES[single]} with one entry", _fill(single, one)),
        ("is an L2", ext(1, single)),
        (f"{p.NAMES[over]}: its last entry is too many", ext(1, over)),
        ("the one entry goes", put(single, 511, 0, 0)),
        (f"{p.NAMES[over]}: now", ext(1, over)),
        ("the L2 that all lead to as an L1", ext(0, TARGET)),
        ("an entry in it, to the one that went: an L1", put(TARGET, 0, FIRST, P | US)),
    ]


QUESTIONS: dict[str, tuple[str, Steps]] = {
    "many-mappings": ("Does a frame with 15,872 mappings count them all?", _mappings()),
    "many-mappings-undone": ("And back?", _mappings_undone()),
    "many-tables": ("A table that 15,872 entries lead to", _tables()),
    "many-linear-entries": ("How many linear entries can lead to one table?", _linear()),
}
