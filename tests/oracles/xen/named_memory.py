"""Programs with a name about whole frames: memory_op, and the frames of another domain.

Knows: what a guest does with frames that come and go.  Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

import program as p

P, RW, US, PCD, A = 1, 2, 4, 0x10, 0x20
SELF, IO, XEN = 0x7FF0, 0x7FF1, 0x7FF2
OTHER = p.FOREIGN_ID
#: Tables of the other domain, as foreigndom says it.
THEIRS = (OTHER + 1) << 16
L1, L2, PAGE, TABLE = range(p.POOL, p.POOL + 4)
G, N = p.FOREIGN, p.NAMED
Steps = list[tuple[str, p.Op]]


def _put(table: int, slot: int, target: int, flags: int, fd: int = SELF, cmd: int = 0) -> p.Op:
    return ("mmu", fd, 0, ((table << 12 | slot * 8 | cmd, target << 12 | flags),))


def _ext(cmd: int, frame: int, fd: int = SELF, source: int = 0) -> p.Op:
    return ("ext", fd, 0, ((cmd, frame, source),))


def _populate(first: int, *pfns: int, order: int = 0, domid: int = SELF, bits: int = 0, clear: int = 1) -> p.Op:
    return ("memory", p.POPULATE, domid, order, bits, clear, first, pfns)


def _increase(first: int, n: int, order: int = 0, domid: int = SELF, clear: int = 1) -> p.Op:
    return ("memory", p.INCREASE, domid, order, 0, clear, first, (0,) * n)


def _decrease(*frames: int, order: int = 0, domid: int = SELF) -> p.Op:
    return ("memory", p.DECREASE, domid, order, 0, 0, 0, frames)


def _exchange(
    first: int, frames: tuple[int, ...], pfns: tuple[int, ...], order: int = 0, out: int = 0, **more: int
) -> p.Op:
    domid = more.get("domid", SELF)
    return ("exchange", domid, more.get("other", domid), order, out, more.get("done", 0), first, frames, pfns)


def _reservations() -> Steps:
    return [
        ("an L1", _ext(0, L1)),
        ("two frames with numbers", _populate(0, 0x1100, 0x1101, clear=0)),
        ("two frames without", _increase(2, 2, clear=0)),
        ("a run of four", _populate(4, 0x1104, order=2)),
        ("how many the domain has now", ("memquery", 3, SELF, 0)),
        ("how many it may have", ("memquery", 4, SELF, 0)),
        ("a run too long for anybody", _populate(8, 0x1108, order=19)),
        ("below a page of address", _populate(8, 0x1108, bits=12)),
        ("below one page more", _populate(8, 0x1108, bits=13)),
        ("of a domain that is not there", _populate(8, 0x1108, domid=77)),
        ("of dom_io", _populate(8, 0x1108, domid=IO)),
        ("nothing at all", _populate(8)),
        ("map one", _put(L1, 0, N, P | RW)),
        ("give it up: it is mapped", _decrease(N)),
        ("again", _decrease(N)),
        ("map it once more", _put(L1, 1, N, P)),
        ("unmap it", _put(L1, 0, 0, 0)),
        ("unmap it for good", _put(L1, 1, 0, 0)),
        ("give it up: it is gone", _decrease(N)),
        ("map what is gone", _put(L1, 0, N, P)),
        ("give up one that is there, one that is gone, one that is there", _decrease(N + 1, N, N + 2)),
        ("give up half of a run", _decrease(N + 4, order=1)),
        ("give up the run, of which half is gone", _decrease(N + 4, order=2)),
        ("a frame of the other domain", _decrease(G)),
        ("a frame that is free", _decrease(p.FREE)),
        ("device memory", _decrease(0xB8)),
        ("no frame of the machine", _decrease(0x40000)),
        ("Xen's text", _decrease(p.XEN_TEXT)),
        ("how many the domain has now", ("memquery", 3, SELF, 0)),
    ]


def _tables() -> Steps:
    return [
        ("two new frames", _populate(0, 0x1100, 0x1101)),
        ("one becomes an L1", _ext(0, N)),
        ("which maps the other", _put(N, 3, N + 1, P | RW)),
        ("and is in use by an L2", _put(L2, 0, N, P | RW | US)),
        ("which is pinned", _ext(1, L2)),
        ("give up both", _decrease(N, N + 1)),
        ("unpin the L1", _ext(4, N)),
        ("change its entry", _put(N, 3, N + 1, P)),
        ("pin it again", _ext(0, N)),
        ("unpin it again", _ext(4, N)),
        ("the L2's entry goes, and with it both", _put(L2, 0, 0, 0)),
        ("the L1 is nobody's", _ext(0, N)),
        ("and the frame that it mapped", _put(N + 1, 0, 0, 0)),
    ]


def _exchanges() -> Steps:
    return [
        ("an L1", _ext(0, L1)),
        ("six frames", _populate(0, *range(0x1100, 0x1106))),
        ("a run of two", _populate(6, 0x1106, order=1)),
        ("one for one", _exchange(8, (N,), (0x1200,))),
        ("the old one is gone", _put(L1, 0, N, P)),
        ("the new one is there", _put(L1, 0, N + 8, P | RW)),
        ("one that is mapped", _exchange(9, (N + 8,), (0x1201,))),
        ("a pool frame, mapped", _exchange(9, (PAGE,), (0x1201,))),
        ("two for a run of two, one of them mapped", _exchange(9, (N + 1, N + 8), (0x1201,), out=1)),
        ("two for a run of two", _exchange(9, (N + 1, N + 2), (0x1201,), out=1)),
        ("a run of two for two", _exchange(11, (N + 6,), (0x1203, 0x1204), order=1)),
        ("one for two", _exchange(13, (N + 3,), (0x1205, 0x1206))),
        ("none for none", _exchange(13, (), ())),
        ("more done than there are", _exchange(13, (N + 3,), (0x1205,), done=2)),
        ("all done already", _exchange(13, (N + 3,), (0x1205,), done=1)),
        ("between two domains", _exchange(13, (N + 3,), (0x1205,), other=OTHER)),
        ("of a domain that is not there", _exchange(13, (N + 3,), (0x1205,), domid=77)),
        ("of the other domain", _exchange(13, (N + 3,), (0x1205,), domid=OTHER)),
        ("no frame of the machine", _exchange(13, (0x40000,), (0x1205,))),
        ("the rest of the limits", _exchange(13, (N + 3, N + 4, N + 5, N), (0x1205,), out=2)),
        ("how many the domain has now", ("memquery", 3, SELF, 0)),
    ]


def _foreign() -> Steps:
    theirs = THEIRS | OTHER
    return [
        ("an own L1", _ext(0, L1)),
        ("their frame, as my own", _put(L1, 0, G, P | RW)),
        ("their frame, as theirs", _put(L1, 0, G, P | RW, OTHER)),
        ("my frame, as theirs", _put(L1, 1, PAGE, P, OTHER)),
        ("pin their L1, as my own", _ext(0, G + 1)),
        ("pin their L1, as theirs", _ext(0, G + 1, OTHER)),
        ("an own L2 over it", _put(L2, 0, G + 1, P | RW | US)),
        ("an own L2 is one", _ext(1, L2)),
        ("and now over it", _put(L2, 0, G + 1, P | RW | US)),
        ("the same, as theirs", _put(L2, 0, G + 1, P | RW | US, OTHER)),
        ("an entry of their L1, as mine", _put(G + 1, 0, G + 2, P | RW)),
        ("an entry of their L1 for their frame", _put(G + 1, 0, G + 2, P | RW, theirs)),
        ("for their page table", _put(G + 1, 1, G + 1, P | RW, theirs)),
        ("for my frame", _put(G + 1, 2, PAGE, P, theirs)),
        ("for my frame, which is mine", _put(G + 1, 2, PAGE, P | RW, THEIRS | SELF)),
        ("for their frame, as mine: a right handed on", _put(G + 1, 3, G + 3, P | RW, THEIRS | SELF)),
        ("for Xen's M2P", _put(G + 1, 4, p.M2P, P, THEIRS | SELF)),
        ("for Xen's M2P, writable", _put(G + 1, 5, p.M2P, P | RW, THEIRS | SELF)),
        ("for Xen's M2P, as Xen's", _put(G + 1, 5, p.M2P, P, THEIRS | XEN)),
        ("for Xen's text", _put(G + 1, 5, p.XEN_TEXT, P, THEIRS | SELF)),
        ("for a free frame", _put(G + 1, 5, p.FREE, P, THEIRS | SELF)),
        ("for VGA memory", _put(G + 1, 5, 0xB8, P, THEIRS | IO)),
        ("for VGA memory, as theirs", _put(G + 1, 5, 0xB8, P, theirs)),
        ("for no frame", _put(G + 1, 5, (1 << 40) - 1, P, THEIRS | IO)),
        ("uncached", _put(G + 1, 6, G + 2, P | PCD, theirs)),
        ("the M2P of their frame, as mine", _put(G + 2, 0, 0, 7, SELF, 1)),
        ("the M2P of their frame", _put(G + 2, 0, 0, 7, OTHER, 1)),
        ("the M2P with their tables named", _put(G + 2, 0, 0, 7, theirs, 1)),
        ("clear their page table", _ext(16, G + 1, OTHER)),
        ("clear their frame", _ext(16, G + 4, OTHER)),
        ("copy it", _ext(17, G + 4, OTHER, G + 1)),
        ("copy mine to it", _ext(17, G + 4, OTHER, PAGE)),
        ("their L4 with a table", _put(G + 6, 5, G + 5, P | RW | US, theirs)),
        ("pin it", _ext(3, G + 6, OTHER)),
        ("as my root", _ext(5, G + 6, OTHER)),
        ("as my root, as mine", _ext(5, G + 6)),
        ("as my user root", _ext(15, G + 6, OTHER)),
        ("one of Xen's slots in it", _put(G + 6, 256, 0, 0, theirs)),
        ("a linear entry in it", _put(G + 6, 7, G + 6, P | US, theirs)),
        ("a flush, as theirs", _ext(6, 0, OTHER)),
        ("tables of a domain that is not there", _put(G + 6, 7, 0, 0, 77 << 16 | OTHER)),
        ("an L4 entry with my frames named", _put(G + 6, 8, 0, 0, THEIRS | SELF)),
        ("two more frames for them", _populate(0, 0x40, 0x41, domid=OTHER)),
        ("one more run than they may have", _populate(2, 0x42, order=3, domid=OTHER)),
        ("how many they have", ("memquery", 3, OTHER, 0)),
        ("how many they may have", ("memquery", 4, OTHER, 0)),
        ("map one of the new ones", _put(L1, 3, N, P | RW, OTHER)),
        ("take it away, as mine", _decrease(N)),
        ("take it away", _decrease(N, domid=OTHER)),
        ("unmap it", _put(L1, 3, 0, 0)),
        ("map it again", _put(L1, 3, N, P, OTHER)),
        ("how many they have", ("memquery", 3, OTHER, 0)),
    ]


def _physmap() -> Steps:
    spaces = ("shared_info", "the grant table", "a frame", "a range", "a foreign frame")
    steps: Steps = [(f"add {what} to the physmap", ("memquery", 7, SELF, i)) for i, what in enumerate(spaces)]
    return [
        *steps,
        ("of a domain that is not there", ("memquery", 7, 77, 0)),
        ("of the other domain", ("memquery", 7, OTHER, 0)),
        ("remove", ("memquery", 15, SELF, 0)),
        ("remove from a domain that is not there", ("memquery", 15, 77, 0)),
        ("shared_info by its frame, as PV does", _put(L1, 0, p.SHARED_INFO, P | RW)),
        ("that L1 is one", _ext(0, L1)),
        ("frames of the own number", ("memquery", 3, 0, 0)),
        ("frames of a domain that is not there", ("memquery", 3, 77, 0)),
        ("limit of dom_io", ("memquery", 4, IO, 0)),
    ]


QUESTIONS: dict[str, tuple[str, Steps]] = {
    "reservations": ("How does a domain get frames and give them up?", _reservations()),
    "tables-given-up": ("What becomes of a page table that its domain gives up while it is in use?", _tables()),
    "exchange": ("Which frames can be exchanged, and what comes back?", _exchanges()),
    "foreign": ("What may dom0 do with the frames and the tables of another domain?", _foreign()),
    "physmap": ("How do shared pages come to a PV domain?", _physmap()),
}
