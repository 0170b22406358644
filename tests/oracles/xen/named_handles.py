"""Named programs: hypercall arguments at guest addresses, and grants.

Knows: the forms of requests in memory.  Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

import program as p

P, RW, US, A = 1, 2, 4, 0x20
TABLE, LEAF = P | RW | US | A, P | RW | US
L3, L2, L1, PAGE, OTHER = range(p.POOL + 1, p.POOL + 6)
# The page that the guest has, by slots.
S4, S3, S2, S1 = 3, 7, 1, 5
S = p.SCRATCH
HOLE = S + p.SCRATCH_BYTES
DONE = S + 0xF00
SELF = 0x7FF0
XEN_AREA = 0xFFFF830000000000
MMU, MULTI, UVA, GRANT, ASSIST, UVO, EXT = 1, 13, 14, 20, 21, 22, 26

Step = tuple[str, p.Op]
Question = tuple[str, list[Step]]


def va(s4: int, s3: int, s2: int, s1: int) -> int:
    """The address with these slots, in the lower half."""
    return s4 << 39 | s3 << 30 | s2 << 21 | s1 << 12


def put(table: int, slot: int, target: int, flags: int) -> p.Op:
    """An entry by mmu_update."""
    return ("mmu", SELF, 0, ((table << 12 | slot * 8, target << 12 | flags),))


def words(at: int, *items: tuple[int, int]) -> list[Step]:
    """Words from `at` on, each with its kind."""
    return [("", ("poke", at + 8 * i, value, kind, 8)) for i, (value, kind) in enumerate(items)]


def call(nr: int, *args: int) -> p.Op:
    """A hypercall with plain arguments."""
    return ("hyper", nr, tuple((a, p.PLAIN) for a in args))


def done(at: int = DONE) -> Step:
    """What stands where the count goes."""
    return "  count done", ("peek", at, p.PLAIN, 8)


def requests(at: int, *pairs: tuple[int, int]) -> list[Step]:
    """Requests of mmu_update."""
    return words(at, *((x, p.ENTRY) for pair in pairs for x in pair))


def _arguments() -> Question:
    slot = L1 << 12 | 8
    steps: list[Step] = [
        *requests(S, (slot, PAGE << 12 | P), (slot + 8, PAGE << 12 | P), (L1 << 12 | 4, 0)),
        *words(DONE, (0x7777777755555555, p.PLAIN)),
        ("three requests, the third no command", call(MMU, S, 3, DONE, SELF)),
        done(),
        ("no requests", call(MMU, S, 0, DONE, SELF)),
        done(),
        ("requests in Xen's area", call(MMU, XEN_AREA, 1, DONE, SELF)),
        done(),
        ("no requests in Xen's area", call(MMU, XEN_AREA, 0, DONE, SELF)),
        ("requests at a non-canonical address", call(MMU, 1 << 47, 1, DONE, SELF)),
        ("requests that are not mapped", call(MMU, HOLE, 1, DONE, SELF)),
        done(),
        *requests(HOLE - 24, (slot, OTHER << 12 | P)),
        *words(HOLE - 8, (slot, p.ENTRY)),
        ("the second half there", call(MMU, HOLE - 24, 2, DONE, SELF)),
        done(),
        ("read-only requests", call(MMU, p.SCRATCH_READ_ONLY, 1, DONE, SELF)),
        ("the count nowhere", call(MMU, S, 2, 0, SELF)),
        ("the count in a hole", call(MMU, S, 2, HOLE, SELF)),
        ("the count read-only", call(MMU, S, 2, p.SCRATCH_READ_ONLY + 0xF00, SELF)),
        *words(HOLE - 8, (0x1111111111111111, p.PLAIN)),
        ("the count half in a hole", call(MMU, S, 2, HOLE - 2, SELF)),
        ("  what is there", ("peek", HOLE - 8, p.PLAIN, 8)),
        ("the count in Xen's area", call(MMU, S, 2, XEN_AREA, SELF)),
        ("unknown owner of the tables", call(MMU, S, 2, DONE, 99 << 16 | SELF)),
        done(),
        ("unknown owner of the frames", call(MMU, S, 2, DONE, 99)),
        done(),
        ("going on from that count", call(MMU, S, 0x80000002, DONE, SELF)),
        done(),
        ("going on, the count in a hole", call(MMU, S, 0x80000002, HOLE, SELF)),
        ("the value passed through", call(MMU, 0, 0x80000000, DONE, 0xFFFF8000)),
        done(),
        ("an address to be passed through", call(MMU, S, 0x80000000, DONE, SELF)),
        done(),
        ("a count beyond memory", call(MMU, S, 0x7FFFFFFF, DONE, SELF)),
        done(),
        ("no such hypercall", call(11)),
        ("nor this", call(60)),
        ("an assist", call(ASSIST, 0, 2)),
        ("no assist", call(ASSIST, 0, 6)),
    ]
    return ("What becomes of requests that are not where Xen looks for them?", steps)


def _mmuext() -> Question:
    steps: list[Step] = [
        *words(S, (0, p.PLAIN), (L1, p.FRAME), (0, p.PLAIN)),
        *words(S + 24, (4, p.PLAIN), (L1, p.FRAME), (0, p.PLAIN)),
        *words(S + 48, (4, p.PLAIN), (L1, p.FRAME), (0, p.PLAIN)),
        *words(DONE, (0x55555555, p.PLAIN)),
        ("pin, unpin, unpin", call(EXT, S, 3, DONE, SELF)),
        done(),
        ("own number for the frames' owner", call(EXT, S, 3, DONE, 0)),
        done(),
        ("operations in Xen's area", call(EXT, XEN_AREA, 1, DONE, SELF)),
        ("operations in a hole", call(EXT, HOLE, 1, DONE, SELF)),
        done(),
        *words(HOLE - 24, (0, p.PLAIN), (L1, p.FRAME), (0, p.PLAIN)),
        ("the second in a hole", call(EXT, HOLE - 24, 2, DONE, SELF)),
        done(),
        ("the upper half of an operation there", call(EXT, HOLE - 16, 1, DONE, SELF)),
        ("the value passed through", call(EXT, 0, 0x80000000, DONE, 0x1234)),
    ]
    return ("The same for mmuext_op", steps)


def _entry(at: int, op: int, *args: tuple[int, int]) -> list[Step]:
    padded = (*args, *[(0, p.PLAIN)] * (6 - len(args)))
    return words(at, (op, p.PLAIN), (0x77, p.PLAIN), *padded)


def _shown(at: int, what: str, arguments: tuple[int, ...] = (0, 1, 2, 3)) -> list[Step]:
    """What a multicall's entry holds; without the arguments that tell where the clock interrupted the call."""
    return [(f"  {what}: {name}", ("peek", at + 8 * i, p.PLAIN, 8)) for i, name in enumerate(("op", "result"))] + [
        (f"  {what}: argument {i}", ("peek", at + 16 + 8 * i, p.PLAIN, 8)) for i in arguments
    ]


def _multicall() -> Question:
    e, r = S + 0x400, S
    address = (r, p.PLAIN)
    one = ((1, p.PLAIN), (DONE, p.PLAIN), (SELF, p.PLAIN))
    steps: list[Step] = [
        ("an L1", put(L1, S1, PAGE, LEAF)),
        ("an L2 above it", put(L2, S2, L1, TABLE)),
        ("an L3 above that", put(L3, S3, L2, TABLE)),
        ("hooked up", put(p.BOOT_L4, S4, L3, TABLE)),
        *requests(r, (L2 << 12 | S2 * 8, 0), (L2 << 12 | S2 * 8, L1 << 12 | TABLE), (L1 << 12, OTHER << 12 | P)),
        *_entry(e, MMU, address, *one),
        *_entry(e + 64, MMU, (r + 16, p.PLAIN), (2, p.PLAIN), (DONE, p.PLAIN), (SELF, p.PLAIN)),
        *_entry(e + 128, MULTI, (e, p.PLAIN), (1, p.PLAIN)),
        *_entry(e + 192, 60),
        *_entry(e + 256, UVA, (va(S4, S3, S2, S1), p.PLAIN), (OTHER << 12 | P, p.ENTRY), (2, p.PLAIN)),
        ("an L2 entry cleared, and more", call(MULTI, e, 5)),
        *_shown(e, "cleared"),
        *_shown(e + 64, "set", (2, 3)),
        ("  nested", ("peek", e + 136, p.PLAIN, 8)),
        ("  unknown", ("peek", e + 200, p.PLAIN, 8)),
        ("  update_va_mapping", ("peek", e + 264, p.PLAIN, 8)),
        done(),
        *requests(r, (L2 << 12 | S2 * 8, 0), (L1 << 12, PAGE << 12 | P)),
        *_entry(e, MMU, address, (2, p.PLAIN), (DONE, p.PLAIN), (SELF, p.PLAIN)),
        ("the drop before another request", call(MULTI, e, 1)),
        *_shown(e, "batch"),
        done(),
        *requests(r, (L2 << 12 | S2 * 8, L1 << 12 | TABLE), (L2 << 12 | S2 * 8, 0), (L1 << 12, PAGE << 12 | P)),
        *_entry(e, MMU, address, (3, p.PLAIN), (0, p.PLAIN), (SELF, p.PLAIN)),
        ("the same, without a place for the count", call(MULTI, e, 1)),
        *_shown(e, "batch"),
        ("no calls", call(MULTI, S, 0)),
        ("calls in Xen's area", call(MULTI, XEN_AREA, 1)),
        ("calls in a hole", call(MULTI, HOLE, 1)),
        *_entry(HOLE - 64, ASSIST, (0, p.PLAIN), (2, p.PLAIN)),
        ("the second in a hole", call(MULTI, HOLE - 64, 2)),
        ("  the first", ("peek", HOLE - 56, p.PLAIN, 8)),
        *_entry(S, ASSIST, (1, p.PLAIN), (2, p.PLAIN)),
        ("a call that cannot be answered", call(MULTI, p.SCRATCH_READ_ONLY, 1)),
    ]
    return ("What does a multicall write back?", steps)


def _descriptor() -> Question:
    e = S + 0x400

    def change(what: str, at: int, descriptor: int) -> Step:
        return what, ("hyper", 10, ((at, p.ENTRY), (descriptor, p.PLAIN)))

    steps: list[Step] = [
        change("a data segment", PAGE << 12 | 8, 0x00CFF3000000FFFF),
        ("  what is there", ("read", PAGE << 12 | 8)),
        change("one of ring 0", PAGE << 12 | 16, 0x00CF93000000FFFF),
        ("  what is there", ("read", PAGE << 12 | 16)),
        change("an unaligned place", PAGE << 12 | 12, 0),
        change("a segment of the system's", PAGE << 12 | 24, 0x0000E90000000000),
        change("in device memory", 0xB8 << 12, 0),
        change("in a frame of the other domain", p.FOREIGN << 12, 0),
        ("an L1", ("ext", SELF, 0, ((0, L1, 0),))),
        change("in a page table", L1 << 12, 0),
        *_entry(e, 10, (PAGE << 12 | 32, p.ENTRY), (0x00CFF3000000FFFF, p.PLAIN)),
        *_entry(e + 64, 10, (L1 << 12, p.ENTRY), (0, p.PLAIN)),
        ("both in a multicall", call(MULTI, e, 2)),
        ("  the first", ("peek", e + 8, p.PLAIN, 8)),
        ("  the second", ("peek", e + 72, p.PLAIN, 8)),
        ("  what is there", ("read", PAGE << 12 | 32)),
    ]
    return ("update_descriptor by its number, alone and in a multicall", steps)


def _user_call() -> Question:
    steps: list[Step] = [
        ("code for user mode", put(p.POOL + 20, p.STUB_SLOT, p.STUB_L3, TABLE)),
        ("without a root", ("syscall", MMU)),
        ("a root for it", ("ext", SELF, 0, ((15, p.POOL + 20, 0),))),
        ("mmu_update", ("syscall", MMU)),
        ("iret", ("syscall", 23)),
        ("no hypercall", ("syscall", 60)),
    ]
    return ("What does a hypercall from user mode come to?", steps)


# ---- grants

HOST, DEVICE, READ_ONLY, APPLICATION, BY_PTE = 2, 1, 4, 8, 16
MAP, UNMAP, SETUP, QUERY, REPLACE, SET_VERSION, GET_VERSION, SWAP = 0, 1, 2, 6, 7, 8, 10, 11
AT = va(S4, S3, S2, 0)
PTE = L1 << 12
PERMIT, GTF_READONLY = 1, 4
OWN = 0


def grant(ref: int, frame: int, flags: int = PERMIT, dom: int = OWN) -> Step:
    """An entry of the own table."""
    return f"grant {ref} of {p.NAMES.get(frame, hex(frame))}, flags {flags:#x}, for {dom}", (
        "poke",
        p.GRANTS + 8 * ref,
        frame << 32 | dom << 16 | flags,
        p.GRANT,
        8,
    )


def map_request(at: int, addr: int, flags: int, ref: int, dom: int = OWN) -> list[Step]:
    """A request of map_grant_ref."""
    kind = p.ENTRY if flags & BY_PTE else p.PLAIN
    return words(at, (addr, kind), (ref << 32 | flags, p.PLAIN), (dom | 0x7777 << 16, p.PLAIN), (0, p.PLAIN))


def map_grant(what: str, at: int, addr: int, flags: int, ref: int, dom: int = OWN) -> list[Step]:
    """Map, and look at what is said of it."""
    return [
        *map_request(at, addr, flags, ref, dom),
        (what, call(GRANT, MAP, at, 1)),
        ("  status", ("peek", at + 16, p.PLAIN, 4)),
        ("  bus address", ("peek", at + 24, p.ENTRY, 8)),
        ("  the grant's entry", ("peek", p.GRANTS + 8 * ref, p.GRANT, 8)),
        ("  the L1 entry", ("read", PTE | 8 * (addr >> 12 & 511 if not flags & BY_PTE else addr >> 3 & 511))),
    ]


def unmap_request(at: int, mapping: int, addr: int, bus: int = 0, kind: int = p.PLAIN) -> list[Step]:
    """A request of unmap_grant_ref or unmap_and_replace for the mapping made by the request at `mapping`."""
    return [
        *words(at, (addr, kind), (bus, p.ENTRY), (0x7777 << 32, p.PLAIN)),
        ("", ("move", mapping + 20, at + 16)),
    ]


def unmap_grant(
    what: str, at: int, mapping: int, addr: int, bus: int = 0, kind: int = p.PLAIN, op: int = UNMAP
) -> list[Step]:
    """Unmap, and look at what is said of it."""
    return [
        *unmap_request(at, mapping, addr, bus, kind),
        (what, call(GRANT, op, at, 1)),
        ("  status", ("peek", at + 20, p.PLAIN, 4)),
    ]


def _tree() -> list[Step]:
    return [
        ("an L1", put(L1, 20, PAGE, LEAF)),
        ("an L2 above it", put(L2, S2, L1, TABLE)),
        ("an L3 above that", put(L3, S3, L2, TABLE)),
        ("hooked up", put(p.BOOT_L4, S4, L3, TABLE)),
    ]


M, U = S, S + 0x800


def _grant_own() -> Question:
    frame = OTHER
    steps: list[Step] = [
        *_tree(),
        grant(9, frame),
        *map_grant("map it", M, AT, HOST, 9),
        ("a store", ("store", 0, AT, 8, 5)),
        *map_grant("map it again for reading", M + 32, AT + 0x1000, HOST | READ_ONLY, 9),
        *map_grant("by PTE, for an application", M + 64, PTE | 16, HOST | APPLICATION | BY_PTE | 5 << 16, 9),
        *map_grant("as for a device", M + 96, 0, DEVICE, 9),
        *map_grant("both, for reading", M + 128, AT + 0x3000, HOST | DEVICE | READ_ONLY, 9),
        *unmap_grant("unmap the first", U, M, AT),
        ("  the grant's entry", ("peek", p.GRANTS + 72, p.GRANT, 8)),
        *unmap_grant("once more", U, M, AT),
        *unmap_grant("the second, at an address that is not its", U, M + 32, AT + 0x9000),
        *unmap_grant("the second, at the first's address", U, M + 32, AT),
        *unmap_grant("the second, where the third is", U, M + 32, AT + 0x2000),
        *unmap_grant("the second, where the fifth is", U, M + 32, AT + 0x3000),
        *unmap_grant("the fifth, where the second was", U, M + 128, AT + 0x1000, frame << 12),
        *unmap_grant("the third, by its linear address", U, M + 64, AT + 0x2000),
        *unmap_grant("the third", U, M + 64, PTE | 16, 0, p.ENTRY),
        *unmap_grant("the fourth, wrong bus address", U, M + 96, 0, PAGE << 12),
        *unmap_grant("the fourth", U, M + 96, 0, frame << 12),
        ("  the grant's entry", ("peek", p.GRANTS + 72, p.GRANT, 8)),
    ]
    return ("Mapping and unmapping grants of own frames", steps)


def _grant_refused() -> Question:
    frame = OTHER
    steps: list[Step] = [
        *_tree(),
        *map_grant("an empty grant", M, AT, HOST, 9),
        grant(9, frame, PERMIT, 5),
        *map_grant("for another domain", M, AT, HOST, 9),
        grant(9, frame, PERMIT | GTF_READONLY),
        *map_grant("a grant for reading, writable", M, AT, HOST, 9),
        *map_grant("a grant for reading, read-only", M, AT, HOST | READ_ONLY, 9),
        *map_grant("then writable", M + 32, AT + 0x1000, HOST, 9),
        ("the entry's permission taken back", grant(9, frame, 0)[1]),
        *map_grant("mapped all the same", M + 32, AT + 0x1000, HOST | READ_ONLY, 9),
        *map_grant("and now writable", M + 64, AT + 0x2000, HOST, 9),
        grant(10, L2),
        *map_grant("a page table, writable", M + 96, AT + 0x3000, HOST, 10),
        *map_grant("a page table, read-only", M + 96, AT + 0x3000, HOST | READ_ONLY, 10),
        grant(11, p.FREE),
        *map_grant("a free frame", M + 128, AT + 0x4000, HOST, 11),
        grant(11, 0xB8),
        *map_grant("device memory", M + 128, AT + 0x4000, HOST, 11),
        grant(12, frame),
        *map_grant("no kind of mapping", M + 128, AT + 0x4000, READ_ONLY, 12),
        *map_grant("unknown domain", M + 128, AT + 0x4000, HOST, 12, 77),
        *map_grant("DOMID_SELF", M + 128, AT + 0x4000, HOST, 12, SELF),
        *map_grant("a reference beyond the table", M + 128, AT + 0x4000, HOST, 512),
        *map_grant("where no L1 is", M + 128, va(S4, S3, 7, 0), HOST, 12),
        *map_grant("in Xen's area", M + 128, XEN_AREA, HOST, 12),
        *map_grant("into an L2", M + 128, L2 << 12, HOST | BY_PTE, 12),
        *map_grant("an unaligned entry", M + 128, PTE | 20, HOST | BY_PTE, 12),
        *map_grant("into a data page", M + 128, PAGE << 12, HOST | BY_PTE, 12),
        ("  its grant's entry", ("peek", p.GRANTS + 96, p.GRANT, 8)),
        *map_grant("at last", M + 128, AT + 0x4000, HOST, 12),
        ("overwritten by mmu_update", put(L1, 4, PAGE, LEAF)),
        *unmap_grant("unmapped", U, M + 128, AT + 0x4000),
        ("the frame mapped there again", put(L1, 4, frame, LEAF)),
        *unmap_grant("unmapped now", U, M + 128, AT + 0x4000),
        ("a handle that never was", ("poke", U + 16, 0xFFFFFFF, p.PLAIN, 4)),
        ("unmapped", call(GRANT, UNMAP, U, 1)),
        ("  status", ("peek", U + 20, p.PLAIN, 4)),
    ]
    return ("Which mappings of grants are refused?", steps)


def _grant_gone() -> Question:
    steps: list[Step] = [
        *_tree(),
        ("a new frame", ("memory", p.POPULATE, SELF, 0, 0, 1, 0, (0x1100,))),
        grant(9, p.NAMED),
        *map_grant("map it", M, AT, HOST, 9),
        ("overwritten by mmu_update", put(L1, 0, 0, 0)),
        ("the frame given up", ("memory", p.DECREASE, SELF, 0, 0, 0, 0, (p.NAMED,))),
        *map_grant("map it again", M + 32, AT, HOST, 9),
        grant(10, p.NAMED),
        *map_grant("map it by another grant", M + 64, AT, HOST, 10),
        *unmap_grant("unmap the first", U, M, AT),
    ]
    return ("What is left of a mapping that was overwritten, when its frame is gone?", steps)


def _grant_replace() -> Question:
    frame = OTHER
    steps: list[Step] = [
        *_tree(),
        grant(9, frame),
        *map_grant("map it", M, AT, HOST, 9),
        *unmap_grant("replaced by what is nowhere", U, M, AT, va(S4, S3, 7, 0), p.PLAIN, REPLACE),
        *unmap_grant("at the wrong place: the mover is lost", U, M, AT + 0x1000, AT + 20 * 0x1000, p.PLAIN, REPLACE),
        ("  the moved entry", ("read", PTE | 160)),
        ("another mapping", put(L1, 21, PAGE, LEAF)),
        *unmap_grant("replaced by it", U, M, AT, AT + 21 * 0x1000, p.PLAIN, REPLACE),
        ("  where the grant was", ("read", PTE)),
        ("  where it came from", ("read", PTE | 168)),
        *map_grant("by PTE", M, PTE, HOST | BY_PTE, 9),
        *unmap_grant("by PTE there is no replacing", U, M, PTE, AT + 0x2000, p.ENTRY, REPLACE),
        *unmap_grant("but by nothing", U, M, PTE, 0, p.ENTRY, REPLACE),
    ]
    return ("unmap_and_replace", steps)


def _grant_table() -> Question:
    steps: list[Step] = [
        *words(S, (0 << 32 | SELF, p.PLAIN), (0x77, p.PLAIN), (S + 0x100, p.PLAIN)),
        ("no frames", call(GRANT, SETUP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        *words(S, (65 << 32 | SELF, p.PLAIN), (0x77, p.PLAIN), (S + 0x100, p.PLAIN)),
        ("too many", call(GRANT, SETUP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        *words(S, (1 << 32 | SELF, p.PLAIN), (0x77, p.PLAIN), (HOLE, p.PLAIN)),
        ("a list in a hole", call(GRANT, SETUP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        *words(S, (1 << 32 | SELF, p.PLAIN), (0x77, p.PLAIN), (XEN_AREA, p.PLAIN)),
        ("a list in Xen's area", call(GRANT, SETUP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        *words(S, (1 << 32 | 77, p.PLAIN), (0x77, p.PLAIN), (S + 0x100, p.PLAIN)),
        ("an unknown domain's", call(GRANT, SETUP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        ("two requests", call(GRANT, SETUP, S, 2)),
        ("requests in a hole", call(GRANT, SETUP, HOLE, 1)),
        *words(S, (SELF, p.PLAIN), (0, p.PLAIN)),
        ("the size", call(GRANT, QUERY, S, 1)),
        ("  frames", ("peek", S + 4, p.PLAIN, 4)),
        ("  most, status", ("peek", S + 8, p.PLAIN, 8)),
        ("the version", call(GRANT, GET_VERSION, S, 1)),
        ("  is", ("peek", S + 4, p.PLAIN, 4)),
        *words(S, (77, p.PLAIN), (0, p.PLAIN)),
        ("an unknown domain's", call(GRANT, GET_VERSION, S, 1)),
        *words(S, (1, p.PLAIN)),
        ("version 1", call(GRANT, SET_VERSION, S, 1)),
        *words(S, (3, p.PLAIN)),
        ("version 3", call(GRANT, SET_VERSION, S, 1)),
        ("  is", ("peek", S, p.PLAIN, 4)),
        grant(9, OTHER),
        grant(10, PAGE, PERMIT | GTF_READONLY, 3),
        *words(S, (10 << 32 | 9, p.PLAIN), (0x77, p.PLAIN)),
        ("swapped", call(GRANT, SWAP, S, 1)),
        ("  9", ("peek", p.GRANTS + 72, p.GRANT, 8)),
        ("  10", ("peek", p.GRANTS + 80, p.GRANT, 8)),
        *words(S, (512 << 32 | 9, p.PLAIN), (0x77, p.PLAIN)),
        ("with one beyond the table", call(GRANT, SWAP, S, 1)),
        ("  status", ("peek", S + 8, p.PLAIN, 4)),
        ("an operation that is none", call(GRANT, 13, S, 1)),
        ("bits above the operation", call(GRANT, 0x1000, S, 1)),
        ("no requests", call(GRANT, MAP, HOLE, 0)),
        ("too many requests", call(GRANT, MAP, S, 0x80000000)),
        ("maps in a hole", call(GRANT, MAP, HOLE, 1)),
        ("unmaps in Xen's area", call(GRANT, UNMAP, XEN_AREA, 1)),
        ("unmaps that cannot be answered", call(GRANT, UNMAP, p.SCRATCH_READ_ONLY, 1)),
    ]
    return ("The grant table itself, and bad addresses", steps)


def _requests_in_a_table() -> Question:
    steps: list[Step] = [
        ("an entry that reads as a request of MMU_MACHPHYS_UPDATE", put(L1, 0, OTHER, P)),
        ("and the next as its value", put(L1, 1, PAGE, P | US)),
        (
            "both as a request",
            ("hyper", MMU, ((p.WINDOW + (L1 - p.POOL) * p.PAGE, p.VA), (1, p.PLAIN), (DONE, p.VA), (SELF, p.PLAIN))),
        ),
        done(),
    ]
    return "What does the machine-to-physical table hold after a request that is two entries of a page table?", steps


QUESTIONS = {
    "arguments-mmu-update": _arguments(),
    "arguments-mmuext": _mmuext(),
    "arguments-page-table": _requests_in_a_table(),
    "multicall-memory": _multicall(),
    "descriptor-by-number": _descriptor(),
    "user-hypercall": _user_call(),
    "grant-own": _grant_own(),
    "grant-refused": _grant_refused(),
    "grant-gone": _grant_gone(),
    "grant-replace": _grant_replace(),
    "grant-table": _grant_table(),
}
