"""Programs with a name about grants of another domain's frames: the guest writes that domain's table itself.

Knows: what a privileged domain does with them.  Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

import program as p
from named_handles import (
    APPLICATION,
    AT,
    BY_PTE,
    DEVICE,
    GET_VERSION,
    GRANT,
    GTF_READONLY,
    HOLE,
    HOST,
    L1,
    L2,
    LEAF,
    PAGE,
    PERMIT,
    PTE,
    QUERY,
    READ_ONLY,
    REPLACE,
    SELF,
    SETUP,
    M,
    Question,
    S,
    Step,
    U,
    _tree,
    call,
    map_request,
    put,
    unmap_grant,
    words,
)

P, RW, US = 1, 2, 4
OTHER = p.FOREIGN_ID
THEIRS = (OTHER + 1) << 16
G, N = p.FOREIGN, p.NAMED


def grant(ref: int, frame: int, flags: int = PERMIT, dom: int = 0) -> Step:
    """An entry of the other domain's table."""
    entry = frame << 32 | dom << 16 | flags
    what = f"they grant {ref} of {p.NAMES.get(frame, hex(frame))}, flags {flags:#x}, for {dom}"
    return what, ("poke", p.FOREIGN_GRANTS + 8 * ref, entry, p.GRANT, 8)


def look(ref: int) -> Step:
    """What the other domain's table says."""
    return "  their entry", ("peek", p.FOREIGN_GRANTS + 8 * ref, p.GRANT, 8)


def map_grant(what: str, at: int, addr: int, flags: int, ref: int, dom: int = OTHER) -> list[Step]:
    """Map, and look at what is said of it."""
    return [
        *map_request(at, addr, flags, ref, dom),
        (what, call(GRANT, 0, at, 1)),
        ("  status", ("peek", at + 16, p.PLAIN, 4)),
        ("  handle", ("peek", at + 20, p.PLAIN, 4)),
        ("  bus address", ("peek", at + 24, p.ENTRY, 8)),
        look(ref),
        ("  the L1 entry", ("read", PTE | 8 * (addr >> 12 & 511 if not flags & BY_PTE else addr >> 3 & 511))),
    ]


def _ext(cmd: int, frame: int, fd: int = OTHER) -> p.Op:
    return ("ext", fd, 0, ((cmd, frame, 0),))


def _theirs(table: int, slot: int, target: int, flags: int, fd: int = THEIRS | OTHER) -> p.Op:
    return ("mmu", fd, 0, ((table << 12 | slot * 8, target << 12 | flags),))


def _map() -> Question:
    steps: list[Step] = [
        *_tree(),
        grant(9, G),
        *map_grant("map it", M, AT, HOST, 9),
        ("a store", ("store", 0, AT, 8, 5)),
        *map_grant("again, for reading", M + 32, AT + 0x1000, HOST | READ_ONLY, 9),
        *map_grant("by PTE, for an application", M + 64, PTE | 16, HOST | APPLICATION | BY_PTE | 5 << 16, 9),
        *map_grant("as for a device", M + 96, 0, DEVICE, 9),
        *map_grant("both, for reading", M + 128, AT + 0x3000, HOST | DEVICE | READ_ONLY, 9),
        ("mapped as theirs besides", _theirs(L1, 6, G, P | RW, OTHER)),
        ("mapped as mine", put(L1, 7, G, P)),
        *unmap_grant("unmap the first", U, M, AT),
        look(9),
        *unmap_grant("once more", U, M, AT),
        *unmap_grant("the second, at the first's address", U, M + 32, AT),
        *unmap_grant("the second, where the fifth is", U, M + 32, AT + 0x3000),
        *unmap_grant("the fifth, where the second was, and its device", U, M + 128, AT + 0x1000, G << 12),
        *unmap_grant("the third, by its linear address", U, M + 64, AT + 0x2000),
        *unmap_grant("the third", U, M + 64, PTE | 16, 0, p.ENTRY),
        look(9),
        *unmap_grant("the fourth, wrong bus address", U, M + 96, 0, (G + 1) << 12),
        *unmap_grant("the fourth", U, M + 96, 0, G << 12),
        look(9),
    ]
    return ("Mapping and unmapping grants of another domain's frames", steps)


def _refused() -> Question:
    into_l2, into_page = L2 << 12, PAGE << 12
    place = M + 128
    steps: list[Step] = [
        *_tree(),
        *map_grant("an empty grant", M, AT, HOST, 9),
        grant(9, G, PERMIT, 5),
        *map_grant("for another domain", M, AT, HOST, 9),
        grant(9, G, PERMIT, OTHER),
        *map_grant("for themselves", M, AT, HOST, 9),
        grant(9, G, PERMIT | GTF_READONLY),
        *map_grant("a grant for reading, writable", M, AT, HOST, 9),
        *map_grant("a grant for reading, read-only", M, AT, HOST | READ_ONLY, 9),
        *map_grant("then writable", M + 32, AT + 0x1000, HOST, 9),
        ("the permission taken back", grant(9, G, 0)[1]),
        *map_grant("mapped all the same", M + 32, AT + 0x1000, HOST | READ_ONLY, 9),
        *map_grant("and now writable", M + 64, AT + 0x2000, HOST, 9),
        ("granted to another while mapped", grant(9, G, PERMIT, 5)[1]),
        *map_grant("mapped all the same", M + 64, AT + 0x2000, HOST | READ_ONLY, 9),
        ("another frame while mapped", grant(9, G + 1)[1]),
        *map_grant("still the first", M + 96, AT + 0x3000, HOST | READ_ONLY, 9),
        grant(10, PAGE),
        *map_grant("my frame", place, AT + 0x4000, HOST, 10),
        grant(10, L2),
        *map_grant("my page table, for reading", place, AT + 0x4000, HOST | READ_ONLY, 10),
        grant(10, p.FREE),
        *map_grant("a free frame", place, AT + 0x4000, HOST, 10),
        grant(10, 0xB8),
        *map_grant("device memory", place, AT + 0x4000, HOST, 10),
        grant(10, 0x40000),
        *map_grant("no frame of the machine", place, AT + 0x4000, HOST, 10),
        grant(10, p.XEN_TEXT),
        *map_grant("Xen's text", place, AT + 0x4000, HOST, 10),
        grant(11, G + 2),
        *map_grant("no kind of mapping", place, AT + 0x4000, READ_ONLY, 11),
        *map_grant("by my own table", place, AT + 0x4000, HOST, 11, 0),
        *map_grant("a reference beyond the table", place, AT + 0x4000, HOST, 512),
        *map_grant("where no L1 is", place, AT + (1 << 21), HOST, 11),
        *map_grant("into an L2", place, into_l2, HOST | BY_PTE, 11),
        *map_grant("into a data page", place, into_page, HOST | BY_PTE, 11),
        ("their L1", _ext(0, G + 4)),
        *map_grant("into their L1", place, (G + 4) << 12, HOST | BY_PTE, 11),
        *map_grant("an unaligned entry", place, PTE | 36, HOST | BY_PTE, 11),
        ("theirs, as dom_io's", grant(11, G + 2, PERMIT, 0x7FF1)[1]),
        *map_grant("for dom_io", place, AT + 0x4000, HOST, 11),
    ]
    return ("Which mappings of another domain's grants are refused?", steps)


def _types() -> Question:
    steps: list[Step] = [
        *_tree(),
        grant(9, G),
        grant(10, G + 4),
        ("their L1 becomes one", _ext(0, G + 4)),
        *map_grant("their page table, writable", M, AT, HOST, 10),
        *map_grant("their page table, read-only", M, AT, HOST | READ_ONLY, 10),
        *map_grant("their page table, for a device", M + 32, 0, DEVICE, 10),
        ("unpinned", _ext(4, G + 4)),
        *map_grant("writable now", M + 32, AT + 0x1000, HOST, 10),
        ("as an L1 again", _ext(0, G + 4)),
        *unmap_grant("unmapped", U, M + 32, AT + 0x1000),
        ("as an L1 now", _ext(0, G + 4)),
        ("an entry of it", _theirs(G + 4, 3, G, P | RW)),
        *map_grant("what it maps", M + 64, AT + 0x2000, HOST, 9),
        ("cleared while it is mapped", _ext(16, G)),
        ("their entry goes", _theirs(G + 4, 3, 0, 0)),
        ("my L2 over their table", put(L2, 7, G + 4, P | RW | US)),
        ("the frame as their L2", _ext(1, G)),
        ("my mapping overwritten", put(L1, 2, PAGE, LEAF)),
        ("the frame as their L2", _ext(1, G)),
        *unmap_grant("unmapped where something else is", U, M + 64, AT + 0x2000),
        ("mapped again as theirs, for reading", _theirs(L1, 2, G, P, OTHER)),
        *unmap_grant("unmapped where it is read-only", U, M + 64, AT + 0x2000),
        ("their L2 unpinned", _ext(4, G)),
        ("mapped again as theirs", _theirs(L1, 2, G, P | RW, OTHER)),
        *unmap_grant("unmapped", U, M + 64, AT + 0x2000),
        look(9),
        *unmap_grant("and their page table", U, M, AT),
        look(10),
    ]
    return ("What does a mapped grant do to the types of another domain's frames?", steps)


def _gone() -> Question:
    steps: list[Step] = [
        *_tree(),
        ("a new frame of theirs", ("memory", p.POPULATE, OTHER, 0, 0, 1, 0, (0x40,))),
        grant(9, N),
        *map_grant("map it", M, AT, HOST, 9),
        ("taken away while it is mapped", ("memory", p.DECREASE, OTHER, 0, 0, 0, 0, (N,))),
        *map_grant("map it again", M + 32, AT + 0x1000, HOST | READ_ONLY, 9),
        ("a store", ("store", 0, AT, 8, 5)),
        *unmap_grant("unmap the second", U, M + 32, AT + 0x1000),
        *unmap_grant("unmap the first", U, M, AT),
        *map_grant("map what is gone", M, AT, HOST, 9),
        ("how many they have", ("memquery", 3, OTHER, 0)),
    ]
    return ("What becomes of a frame that its domain gives up while another maps it by a grant?", steps)


def _replace() -> Question:
    steps: list[Step] = [
        *_tree(),
        grant(9, G),
        *map_grant("map it", M, AT, HOST, 9),
        ("another frame of theirs", _theirs(L1, 21, G + 1, P | RW, OTHER)),
        *unmap_grant("replaced by it", U, M, AT, AT + 21 * 0x1000, p.PLAIN, REPLACE),
        ("  where the grant was", ("read", PTE)),
        ("  where it came from", ("read", PTE | 168)),
        *map_grant("another", M, AT + 0x1000, HOST | READ_ONLY, 9),
        *unmap_grant("replaced by what is nowhere", U, M, AT + 0x1000, AT + (1 << 21), p.PLAIN, REPLACE),
        *unmap_grant("at the wrong place: the mover is lost", U, M, AT + 0x2000, AT, p.PLAIN, REPLACE),
        ("  where the mover was", ("read", PTE)),
        *unmap_grant("replaced by nothing", U, M, AT + 0x1000, 0, p.PLAIN, REPLACE),
        *map_grant("by PTE", M, PTE, HOST | BY_PTE, 9),
        *unmap_grant("by PTE there is no replacing", U, M, PTE, AT + 0x2000, p.ENTRY, REPLACE),
        *unmap_grant("unmapped by PTE", U, M, PTE, 0, p.ENTRY),
        look(9),
    ]
    return ("unmap_and_replace of another domain's grants", steps)


def _table() -> Question:
    steps: list[Step] = [
        *words(S, (1 << 32 | OTHER, p.PLAIN), (0x77, p.PLAIN), (S + 0x100, p.PLAIN)),
        ("their table", call(GRANT, SETUP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        *words(S, (65 << 32 | OTHER, p.PLAIN), (0x77, p.PLAIN), (S + 0x100, p.PLAIN)),
        ("too many frames", call(GRANT, SETUP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        *words(S, (1 << 32 | OTHER, p.PLAIN), (0x77, p.PLAIN), (HOLE, p.PLAIN)),
        ("a list in a hole", call(GRANT, SETUP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        *words(S, (OTHER, p.PLAIN), (0, p.PLAIN)),
        ("its size", call(GRANT, QUERY, S, 1)),
        ("  frames", ("peek", S + 4, p.PLAIN, 4)),
        ("  most, status", ("peek", S + 8, p.PLAIN, 8)),
        *words(S, (OTHER, p.PLAIN), (0, p.PLAIN)),
        ("its version", call(GRANT, GET_VERSION, S, 1)),
        ("  is", ("peek", S + 4, p.PLAIN, 4)),
        grant(9, G),
        *words(S, (SELF, p.PLAIN), (0, p.PLAIN)),
        ("my own is another", ("peek", p.GRANTS + 72, p.GRANT, 8)),
    ]
    return ("Another domain's grant table itself", steps)


QUESTIONS = {
    "grant-foreign": _map(),
    "grant-foreign-refused": _refused(),
    "grant-foreign-types": _types(),
    "grant-foreign-gone": _gone(),
    "grant-foreign-replace": _replace(),
    "grant-foreign-table": _table(),
}
