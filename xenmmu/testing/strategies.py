"""Hypothesis strategies for what a guest kernel can ask and a process can touch, biased to what can go wrong.

Everything drawn is symbolic (names of frames, of flags, table indices), so that a failing example reads as a story and
can be pasted into a test.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from xenmmu import xen
from xenmmu.testing.world import DATA, FLAGS, PAGES, SPECIAL, TABLES

#: A linear address: the indices of its walk from level 4 down, and the word in the page.
Path = tuple[int, int, int, int, int]


class Update(NamedTuple):
    """One request of mmu_update: entry `slot` of `table` shall name frame `to` with `flags`."""

    table: str
    slot: int
    to: str
    flags: str
    cmd: int = xen.MMU_NORMAL_PT_UPDATE


class Entry(NamedTuple):
    """An entry that Xen has accepted: `slot` of `table` names `to`."""

    table: str
    slot: int
    to: str


_FRAMES = (*TABLES, *PAGES, *DATA, *SPECIAL)

# One draw each: what is likelier stands there more often.
#: Frames by name: the process's tables and spare pages most often.
frames: st.SearchStrategy[str] = st.sampled_from((*_FRAMES, *TABLES, *TABLES, *PAGES))
#: A table and a frame that an entry of it could name: one level down, a spare page, the same level (a linear entry),
#: a page to map, or anything.
links: st.SearchStrategy[tuple[str, str]] = st.sampled_from(
    (
        *(
            ("user L4", "user L4"),
            ("user L4", "page 0"),
            ("user L3", "page 1"),
            ("user L2", "page 2"),
            ("user L2", "aligned"),
            ("user L1", "data 0"),
            ("user L1", "page 3"),
            ("user L1", "victim"),
            ("user L4", "kernel L4"),
            ("kernel L4", "user L4"),
            ("kernel L4", "user L3"),
        )
        * 80,
        *((table, to) for table in _FRAMES for to in _FRAMES),
    )
)
#: Bits of an entry, by name.
flags: st.SearchStrategy[str] = st.sampled_from(
    (
        *("P US", "P RW US") * 5,
        *("P RW US PS", "", "P", "P RW", "P US PS", "P RW US A", "P RW US D", "P RW US NX", "P RW US K", "P RW US G"),
        *("P US PCD", "P RW US A D K", "RW US"),
    )
)
#: One bit: the two that decide what an entry is good for most often.
single_flags: st.SearchStrategy[str] = st.sampled_from((*FLAGS, "RW", "PS", "RW", "PS", "RW"))
#: Bits of an entry that may be linear, and some that may not.
linear_flags: st.SearchStrategy[str] = st.sampled_from(
    ("P US", "P", "P US A", "P US NX", "P RW US", "US", "P RW US PS")
)
lower_levels: st.SearchStrategy[int] = st.sampled_from((1, 1, 2, 3))
#: Indices of entries: the first few, the recursive and the alternate slot, Xen's first and last and their neighbours.
SLOTS = (0, 1, 2, 255, 510, 3, 254, 256, 258, 260, 261, 270, 271, 272, 511)
slots: st.SearchStrategy[int] = st.sampled_from((*SLOTS, *SLOTS[:5], *SLOTS[:5]))
_COMMANDS = (
    xen.MMU_NORMAL_PT_UPDATE,
    xen.MMU_PT_UPDATE_PRESERVE_AD,
    xen.MMU_PT_UPDATE_NO_TRANSLATE,
    xen.MMU_MACHPHYS_UPDATE,
)
#: Requests of mmu_update, of any kind.
updates: st.SearchStrategy[Update] = st.builds(
    lambda link, slot, flags, cmd: Update(link[0], slot, link[1], flags, cmd),
    links,
    slots,
    flags,
    st.sampled_from(_COMMANDS),
)
batches: st.SearchStrategy[list[Update]] = st.lists(updates, min_size=1, max_size=3)
#: What a guest writes into a page before it makes it a table, entries from slot 0 on: some that an L1 may hold, some
#: that it may not, and anything.
contents: st.SearchStrategy[list[tuple[str, str]]] = st.lists(
    st.sampled_from(
        (
            *(("data 0", "P US"), ("page 4", "P RW US"), ("user L1", "P US")) * 40,
            *(("user L1", "P RW US"), ("victim", "P US"), ("Xen", "P US")) * 40,
            *((to, flags) for to in _FRAMES for flags in ("", "P US", "P RW US", "P RW US PS", "P US PCD", "P RW")),
        )
    ),
    min_size=1,
    max_size=3,
)
#: The domain named by a hypercall.
domains: st.SearchStrategy[int] = st.sampled_from(
    (*(xen.DOMID_SELF,) * 6, xen.DOMID_IO, xen.DOMID_XEN, xen.DOMID_COW, 0, 1, 99)
)
MMUEXT = {
    "UNPIN_TABLE": xen.MMUEXT_UNPIN_TABLE,
    "NEW_BASEPTR": xen.MMUEXT_NEW_BASEPTR,
    "NEW_USER_BASEPTR": xen.MMUEXT_NEW_USER_BASEPTR,
    "CLEAR_PAGE": xen.MMUEXT_CLEAR_PAGE,
    "COPY_PAGE": xen.MMUEXT_COPY_PAGE,
    "TLB_FLUSH_LOCAL": xen.MMUEXT_TLB_FLUSH_LOCAL,
}
mmuext_commands: st.SearchStrategy[str] = st.sampled_from(tuple(MMUEXT))
#: Linear addresses: the process's first pages, the boot mapping's, every window of a recursive or alternate slot, and
#: the Xen slots.
paths: st.SearchStrategy[Path] = st.sampled_from(
    (
        *((0, 0, 0, page, word) for page in (0, 1, 2) for word in (0, 1, 255)),
        *((511, 510, 0, page, word) for page in range(30) for word in (0, 1, 255)),
        *((slot, 0, 0, 0, word) for slot in SLOTS for word in SLOTS),
        *((slot, inner, 0, 0, word) for slot in (255, 510, 1) for inner in (255, slot) for word in SLOTS),
        *((slot, inner, inner, 0, word) for slot in (255, 510, 1) for inner in (255, slot) for word in SLOTS),
        *((slot, inner, inner, inner, word) for slot in (255, 510, 1) for inner in (255, slot) for word in SLOTS),
    )
)


def address(path: Path) -> int:
    """The canonical linear address with these indices from level 4 down, and this word of the page."""
    va = 0
    for index in path[:4]:
        va = va << 9 | index
    va = va << 12 | path[4] * 8
    return va | 0xFFFF << 48 if va >> 47 else va
