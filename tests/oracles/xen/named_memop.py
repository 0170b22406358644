"""Programs with a name about memory_op as the guest makes it: its structures and lists at good and bad addresses.

Knows: the forms of the structures.  Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

import program as p
from named_handles import HOLE, L1, MULTI, PAGE, SELF, XEN_AREA, Question, S, Step, _entry, call, put, words

MEMORY = 12
INCREASE, DECREASE, RAM_PAGE, CURRENT, MAXIMUM, POPULATE, ADD, EXCHANGE, REMOVE = 0, 1, 2, 3, 4, 6, 7, 11, 15
OTHER, IO = p.FOREIGN_ID, 0x7FF1
N, G = p.NAMED, p.FOREIGN
P, RW = 1, 2
ON_DEMAND, EXACT, VNODE = 1 << 16, 1 << 17, 1 << 18
LIST, LIST2 = S + 0x400, S + 0x800
RO = p.SCRATCH_READ_ONLY


def node(number: int) -> int:
    """A node's place in the flags."""
    return number + 1 << 8


def side(at: int, where: int, nr: int, order: int = 0, flags: int = 0, domid: int = SELF) -> list[Step]:
    """struct xen_memory_reservation."""
    return words(
        at, (where, p.PLAIN), (nr, p.PLAIN), (flags << 32 | order, p.PLAIN), (0x777777777777 << 16 | domid, p.PLAIN)
    )


def frames(at: int, *numbers: int) -> list[Step]:
    """A list of frames or pfns."""
    return words(at, *((n, p.FRAME) for n in numbers))


def show(at: int, n: int) -> list[Step]:
    """What a list holds."""
    return [(f"  [{i}]", ("peek", at + 8 * i, p.FRAME, 8)) for i in range(n)]


def reserve(
    what: str,
    cmd: int,
    where: int = LIST,
    nr: int = 1,
    order: int = 0,
    flags: int = 0,
    domid: int = SELF,
    at: int = S,
    start: int = 0,
) -> list[Step]:
    """A structure and the call."""
    return [*side(at, where, nr, order, flags, domid), (what, call(MEMORY, start << 6 | cmd, at))]


def exchange(
    what: str,
    old: tuple[int, int],
    new: tuple[int, int],
    orders: tuple[int, int] = (0, 0),
    done: int = 0,
    flags: int = 0,
    domids: tuple[int, int] = (SELF, SELF),
) -> list[Step]:
    """struct xen_memory_exchange of two lists, each an address and a number; the call; what is said of its progress."""
    return [
        *side(S, *old, orders[0], 0, domids[0]),
        *side(S + 32, *new, orders[1], flags, domids[1]),
        *words(S + 64, (done, p.PLAIN)),
        (what, call(MEMORY, EXCHANGE, S)),
        ("  exchanged", ("peek", S + 64, p.PLAIN, 8)),
    ]


def _reservations() -> Question:
    steps: list[Step] = [
        *frames(LIST, 0x1100, 0x1101, 0x1102, 0x1103),
        *reserve("two frames", POPULATE, nr=2),
        *show(LIST, 3),
        *reserve("two more, from the third on", POPULATE, nr=4, start=2),
        *show(LIST, 4),
        *reserve("all done already", POPULATE, nr=4, start=4),
        *reserve("more than all done", POPULATE, nr=4, start=5),
        *reserve("done so much that nothing is left of the number", POPULATE, nr=4, start=(1 << 58) - 1),
        *reserve("a run of four without numbers", INCREASE, nr=1, order=2),
        *show(LIST, 1),
        *reserve("too many extents", POPULATE, nr=(0xFFFFFFFF >> 6) + 1),
        *reserve("too many extents with the whole word", POPULATE, nr=1 << 63),
        *reserve("a run too long for anybody", POPULATE, order=19),
        *reserve("of a domain that is not there", POPULATE, domid=77),
        *reserve("of dom_io", POPULATE, domid=IO),
        *reserve("a list in Xen's area", POPULATE, where=XEN_AREA),
        *reserve("a list in Xen's area, to be read", DECREASE, where=XEN_AREA),
        *reserve("a list in a hole", POPULATE, where=HOLE),
        *reserve("a list in a hole, to be read", DECREASE, where=HOLE),
        *reserve("a list that leaves Xen's area at its start", DECREASE, nr=3, start=2, where=0xFFFF87FFFFFFFFF0),
        *reserve("no list", POPULATE, where=0),
        *reserve("no list, to be read", DECREASE, where=0),
        *frames(HOLE - 16, 0x1100, 0x1101),
        *reserve("the third in a hole", POPULATE, where=HOLE - 16, nr=3),
        *show(HOLE - 16, 2),
        *words(HOLE - 12, (0x77, p.PLAIN)),
        *reserve("half in a hole", POPULATE, where=HOLE - 4),
        *frames(LIST + 4, 0x1200),
        *reserve("an unaligned list", POPULATE, where=LIST + 4),
        ("  [0]", ("peek", LIST + 4, p.FRAME, 8)),
        ("the structure in a hole", call(MEMORY, POPULATE, HOLE)),
        ("in Xen's area", call(MEMORY, POPULATE, XEN_AREA)),
        ("in Xen's area, three done", call(MEMORY, 3 << 6 | POPULATE, XEN_AREA)),
        ("nowhere", call(MEMORY, DECREASE, 0)),
        *side(HOLE - 32, LIST, 1)[:4],
        *frames(LIST, 0x1300),
        ("at the end of memory", call(MEMORY, POPULATE, HOLE - 32)),
        *side(HOLE - 24, LIST, 1)[:3],
        ("its end in a hole", call(MEMORY, POPULATE, HOLE - 24)),
        *frames(LIST, 0x1301),
        *side(S + 0x104, LIST, 1),
        ("an unaligned structure", call(MEMORY, POPULATE, S + 0x104)),
        *frames(LIST, 0x1302),
        *side(S, LIST, 1),
        ("a read-only structure", call(MEMORY, POPULATE, RO)),
        *frames(LIST, 0x1303),
        *reserve("for them", POPULATE, domid=OTHER),
        *show(LIST, 1),
        *frames(LIST2, N, N + 1, N + 2, N + 3),
        *reserve("given back, the last two", DECREASE, nr=4, start=2, where=LIST2),
        *reserve("given back again", DECREASE, nr=4, start=1, where=LIST2),
        *frames(LIST2, N, 0xB8, N + 4),
        *reserve("the second is none", DECREASE, nr=3, where=LIST2),
    ]
    return ("memory_op's reservations with their arguments at good and bad addresses", steps)


def _untold() -> Question:
    steps: list[Step] = [
        *frames(LIST, 0x1100, 0x1101),
        *reserve("a list that is read-only", POPULATE, where=RO + 0x400, nr=2),
        *show(LIST, 2),
        *words(S, (OTHER, p.PLAIN)),
        ("how many they have", call(MEMORY, CURRENT, S)),
        *reserve("without a list", INCREASE, where=0, nr=2, domid=OTHER),
        *reserve("without a list, the second", INCREASE, where=0, nr=2, start=1, domid=OTHER),
        *reserve("into a hole", INCREASE, where=HOLE, nr=2, domid=OTHER),
        *reserve("into Xen's area", INCREASE, where=XEN_AREA, nr=2, domid=OTHER),
        *reserve("half into a hole", INCREASE, where=HOLE - 4, nr=2, domid=OTHER),
        ("  what is there", ("peek", HOLE - 8, p.PLAIN, 8)),
        *words(S, (OTHER, p.PLAIN)),
        ("how many they have", call(MEMORY, CURRENT, S)),
    ]
    return ("Whose are frames that Xen cannot tell of?", steps)


def _flags() -> Question:
    steps: list[Step] = [
        *frames(LIST, *range(0x1100, 0x1110)),
        *reserve("below a page of address", POPULATE, flags=12),
        *reserve("below one page more", POPULATE, flags=13),
        *reserve("below more than there is", POPULATE, flags=60),
        *reserve("below 2^28", POPULATE, flags=28, where=LIST + 8),
        *reserve("on node 0", POPULATE, flags=node(0), where=LIST + 16),
        *reserve("on node 0 only", POPULATE, flags=node(0) | EXACT, where=LIST + 24),
        *reserve("on node 63", POPULATE, flags=node(63), where=LIST + 32),
        *reserve("on node 63 only", POPULATE, flags=node(63) | EXACT, where=LIST + 40),
        *reserve("on node 64", POPULATE, flags=node(64), where=LIST + 48),
        *reserve("on node 254", POPULATE, flags=node(254), where=LIST + 48),
        *reserve("on no node, only", POPULATE, flags=EXACT, where=LIST + 48),
        *reserve("on virtual node 64", POPULATE, flags=node(64) | VNODE, where=LIST + 56),
        *reserve("given back on node 64", DECREASE, flags=node(64), where=LIST),
        *reserve("without a list on node 64", INCREASE, flags=node(64), where=LIST),
        *reserve("on demand, for oneself", POPULATE, flags=ON_DEMAND, where=LIST + 64),
        *reserve("on demand, for them", POPULATE, flags=ON_DEMAND, nr=3, where=LIST + 64, domid=OTHER),
        *reserve("on demand, a run of 2^18", POPULATE, flags=ON_DEMAND, order=18, where=LIST + 64, domid=OTHER),
        *reserve("on demand, a run of 2^19", POPULATE, flags=ON_DEMAND, order=19, where=LIST + 64, domid=OTHER),
        *reserve("on demand, no list", POPULATE, flags=ON_DEMAND, where=HOLE, domid=OTHER),
        *reserve("on demand is nothing to increase", INCREASE, flags=ON_DEMAND, where=LIST + 64),
        *reserve("all other flags", POPULATE, flags=0xFFF80000, where=LIST + 72),
        *show(LIST, 10),
        *frames(LIST2, N, 0x1300),
        *exchange("an exchange on node 64", (LIST2, 1), (LIST2 + 8, 1), flags=node(64)),
        *exchange("on node 63 only", (LIST2, 1), (LIST2 + 8, 1), flags=node(63) | EXACT),
        *exchange("on virtual node 64", (LIST2, 1), (LIST2 + 8, 1), flags=node(64) | VNODE),
        *exchange("below a page of address", (LIST2, 1), (LIST2 + 8, 1), flags=12),
        *exchange("on demand", (LIST2, 1), (LIST2 + 8, 1), flags=ON_DEMAND),
    ]
    return ("What do the flags of memory_op beside the bits of address come to?", steps)


def _exchanges() -> Question:
    steps: list[Step] = [
        *frames(LIST, *range(0x1100, 0x1106)),
        *reserve("six frames", POPULATE, nr=6),
        *frames(LIST2, 0x1200, 0x1201, 0x1202),
        *exchange("two for two", (LIST, 2), (LIST2, 2)),
        *show(LIST2, 2),
        *frames(LIST2, 0x1200, 0x1201, 0x1202),
        *exchange("more done than there are", (LIST + 16, 1), (LIST2, 1), done=2),
        *exchange("all done already", (LIST + 16, 1), (LIST2, 1), done=1),
        *exchange("nothing, nowhere", (XEN_AREA, 0), (XEN_AREA, 0)),
        *exchange("old ones in Xen's area", (XEN_AREA, 1), (LIST2, 1)),
        *exchange("old ones in a hole", (HOLE, 1), (LIST2, 1)),
        *exchange("new ones in Xen's area", (LIST + 16, 1), (XEN_AREA, 1)),
        *exchange("a run too long", (LIST + 16, 1), (LIST2, 1), orders=(19, 0)),
        *exchange("sizes that differ", (LIST + 16, 1), (LIST2, 2)),
        *exchange("sizes beyond a word", (LIST + 16, 1 << 60), (LIST2, 1 << 60), orders=(19, 19)),
        *exchange("between two domains", (LIST + 16, 1), (LIST2, 1), domids=(SELF, OTHER)),
        *exchange("of a domain that is not there", (LIST + 16, 1), (LIST2, 1), domids=(77, 77)),
        *frames(HOLE - 8, N + 2),
        *exchange("the second in a hole", (HOLE - 8, 2), (LIST2, 2)),
        *show(LIST2, 2),
        ("with an extent to go on from", call(MEMORY, 1 << 6 | EXCHANGE, S)),
        ("the structure in a hole", call(MEMORY, EXCHANGE, HOLE)),
        ("in Xen's area", call(MEMORY, EXCHANGE, XEN_AREA)),
        ("its end in a hole", call(MEMORY, EXCHANGE, HOLE - 64)),
        *side(S, LIST + 24, 1),
        *side(S + 32, LIST2 + 16, 1),
        *words(S + 64, (0, p.PLAIN)),
        ("read-only: nothing can be said of what was done", call(MEMORY, EXCHANGE, RO)),
        *show(LIST2 + 16, 1),
        *side(S, LIST + 32, 1),
        *side(S + 32, LIST2, 2),
        ("read-only, and refused", call(MEMORY, EXCHANGE, RO)),
    ]
    return ("XENMEM_exchange with its arguments at good and bad addresses", steps)


def _lost() -> Question:
    """XSA-29, XSA-212: where Xen writes the numbers of new frames must have been checked."""
    steps: list[Step] = [
        *frames(LIST, *range(0x1100, 0x1104)),
        *reserve("four frames", POPULATE, nr=4),
        *exchange("new ones that cannot be read", (LIST, 1), (HOLE, 1)),
        *frames(LIST2, 0x1200, 0x1201),
        *exchange("new ones that cannot be written", (LIST + 8, 2), (RO + 0x800, 2)),
        *show(LIST2, 2),
        *frames(HOLE - 8, 0x1300),
        *exchange("the second new one in a hole", (LIST + 24, 1), (HOLE - 8, 1)),
        *show(HOLE - 8, 1),
    ]
    return ("What is left of an exchange whose new frames cannot be told?", steps)


def _questions() -> Question:
    steps: list[Step] = [
        *words(S, (SELF, p.PLAIN)),
        ("how many it may have", call(MEMORY, MAXIMUM, S)),
        *words(S, (0x123 << 16 | OTHER, p.PLAIN)),
        ("how many they may have", call(MEMORY, MAXIMUM, S)),
        ("how many they have", call(MEMORY, CURRENT, S)),
        ("with an extent to go on from", call(MEMORY, 1 << 6 | CURRENT, S)),
        *words(S, (77, p.PLAIN)),
        ("of a domain that is not there", call(MEMORY, CURRENT, S)),
        *words(HOLE - 8, (OTHER << 48, p.PLAIN)),
        ("at a bad address", call(MEMORY, CURRENT, HOLE)),
        ("in Xen's area", call(MEMORY, MAXIMUM, XEN_AREA)),
        ("the last page's end, with an extent", call(MEMORY, 1 << 6 | RAM_PAGE, 0)),
        *words(S, (SELF, p.PLAIN), (0, p.PLAIN), (0, p.PLAIN)),
        ("add to the physmap", call(MEMORY, ADD, S)),
        ("done 65535", call(MEMORY, 65535 << 6 | ADD, S)),
        ("done 65536", call(MEMORY, 65536 << 6 | ADD, S)),
        ("done 65536, nowhere", call(MEMORY, 65536 << 6 | ADD, HOLE)),
        ("in a hole", call(MEMORY, ADD, HOLE)),
        ("its end in a hole", call(MEMORY, ADD, HOLE - 16)),
        *words(S, (4 << 32 | SELF, p.PLAIN)),
        ("a foreign frame", call(MEMORY, ADD, S)),
        *words(S, (77, p.PLAIN)),
        ("of a domain that is not there", call(MEMORY, ADD, S)),
        ("remove of one that is not there", call(MEMORY, REMOVE, S)),
        *words(S, (OTHER, p.PLAIN)),
        ("remove", call(MEMORY, REMOVE, S)),
        ("remove, with an extent to go on from", call(MEMORY, 1 << 6 | REMOVE, S)),
        ("remove, in a hole", call(MEMORY, REMOVE, HOLE)),
        ("remove, its end in a hole", call(MEMORY, REMOVE, HOLE - 8)),
        ("no command", call(MEMORY, 8, S)),
        ("nor this", call(MEMORY, 29, S)),
        ("nor this", call(MEMORY, 63, S)),
    ]
    return ("memory_op's questions, and its commands that PV has no use for", steps)


def _multicall() -> Question:
    e = S + 0x100
    steps: list[Step] = [
        *frames(LIST, 0x1100, 0x1101),
        *side(S, LIST, 1),
        *frames(LIST2, 0xB8),
        *side(S + 32, LIST2, 1),
        *_entry(e, MEMORY, (POPULATE, p.PLAIN), (S, p.PLAIN)),
        *_entry(e + 64, MEMORY, (DECREASE, p.PLAIN), (S + 32, p.PLAIN)),
        *_entry(e + 128, MEMORY, (POPULATE, p.PLAIN), (HOLE, p.PLAIN)),
        *_entry(e + 192, MEMORY, (CURRENT, p.PLAIN), (HOLE, p.PLAIN)),
        ("a frame, and one of nowhere", call(MULTI, e, 4)),
        *[("  result", ("peek", e + 64 * i + 8, p.PLAIN, 8)) for i in range(4)],
        *show(LIST, 1),
        ("an L1", ("ext", SELF, 0, ((0, L1, 0),))),
        ("with one", put(L1, 0, N, P | RW)),
        ("and with another page", put(L1, 1, PAGE, P | RW)),
    ]
    return ("memory_op as a call of a multicall", steps)


QUESTIONS = {
    "memory-op": _reservations(),
    "memory-op-untold": _untold(),
    "memory-op-flags": _flags(),
    "memory-op-exchange": _exchanges(),
    "memory-op-lost": _lost(),
    "memory-op-questions": _questions(),
    "memory-op-multicall": _multicall(),
}
