"""Programs with a name about descriptor tables and write emulation.

Knows: the descriptors and addresses that ask the questions.  Does not know: the answers; those are Xen's.
"""

from __future__ import annotations

import program as p

SELF = 0x7FF0
P, RW, US = 1, 2, 4
CODE, DATA = 0x00AF9A000000FFFF, 0x00CF92000000FFFF
PRESENT = 1 << 47
TABLE, PAGE, GDT, OTHER, ROOT, L3, L2, L1 = range(p.POOL, p.POOL + 8)
LDT_SYSTEM, CALL_GATE = 0x0000820000000067, 0x0000EC0000080000
TI = 4

Steps = list[tuple[str, p.Op]]


def window(frame: int, offset: int = 0) -> int:
    """The address of a pool frame in the read-only window."""
    return p.WINDOW + (frame - p.POOL) * p.PAGE + offset


def _desc(what: str, frame: int, index: int, desc: int) -> tuple[str, p.Op]:
    return what, ("desc", frame << 12 | index * 8, desc)


def _entry(what: str, frame: int, slot: int, value: int) -> tuple[str, p.Op]:
    return what, ("mmu", SELF, 0, ((frame << 12 | slot * 8, value),))


def _ext(what: str, cmd: int, arg1: int = 0, arg2: int = 0) -> tuple[str, p.Op]:
    return what, ("ext", SELF, 0, ((cmd, arg1, arg2),))


def gdt() -> Steps:
    """What may be in a GDT, and what it holds."""
    return [
        _entry("code of ring 0, stored before", GDT, 1, CODE),
        _entry("data, not present", GDT, 2, DATA & ~PRESENT),
        _entry("a call gate", GDT, 3, CALL_GATE),
        ("set_gdt", ("gdt", 512, (GDT,))),
        ("the code segment", ("read", GDT << 12 | 8)),
        ("the gate", ("read", GDT << 12 | 24)),
        _entry("a request of mmu_update for it", GDT, 4, 0),
        _entry("a writable mapping of it", TABLE, 0, GDT << 12 | P | RW),
        _ext("that table pinned", 0, TABLE),
        _ext("the GDT pinned as an L1", 0, GDT),
        _desc("update_descriptor in it", GDT, 4, DATA),
        _desc("the same, an LDT descriptor", GDT, 4, LDT_SYSTEM),
        _desc("an LDT descriptor, not present", GDT, 5, LDT_SYSTEM & ~PRESENT),
        _desc("a gate to Xen's code", GDT, 5, CALL_GATE & ~0xFFFF0000 | 0xE0080000),
        _desc("a gate to the flat segment", GDT, 5, CALL_GATE & ~0xFFFF0000 | 0xE0330000),
        _desc("a gate with reserved bits", GDT, 5, CALL_GATE | 1 << 32),
        ("at an odd address", ("desc", GDT << 12 | 44, DATA)),
        _desc("in a page table", p.BOOT_L4, 5, DATA),
        _desc("in device memory", 0xB8, 5, DATA),
        ("selector of the code", ("selector", 0, 8 | 3)),
        ("the code segment accessed", ("read", GDT << 12 | 8)),
        ("selector of the data not present", ("selector", 0, 16 | 3)),
        ("selector of the gate", ("selector", 0, 24 | 3)),
        ("selector of nothing", ("selector", 0, 56 | 3)),
        ("selector beyond the frames", ("selector", 0, 513 << 3 | 3)),
        ("null selector", ("selector", 0, 3)),
        ("Xen's flat data segment", ("selector", 0, 0xE02B)),
        ("Xen's code segment", ("selector", 0, 0xE008)),
        ("fourteen frames", ("gdt", 7168, (GDT,) * 14)),
        ("one entry too many", ("gdt", 7169, (GDT,) * 14)),
        ("a frame that is a table", ("gdt", 513, (GDT, p.BOOT_L4))),
        _entry("another page with a bad descriptor", OTHER, 0, CODE),
        _entry("the bad one", OTHER, 9, LDT_SYSTEM),
        ("set_gdt with it second", ("gdt", 1024, (GDT, OTHER))),
        ("its first descriptor", ("read", OTHER << 12)),
        ("the old GDT in use", ("selector", 0, 513 << 3 | 3)),
        ("no GDT", ("gdt", 0, ())),
        ("its selectors", ("selector", 0, 8 | 3)),
        _entry("the page written", GDT, 1, 0),
    ]


def ldt() -> Steps:
    """When the pages of an LDT are taken and let go."""
    user = p.STUB_L3 << 12 | P | RW | US
    return [
        _desc("data", PAGE, 2, DATA),
        _desc("code, not present", PAGE, 3, CODE & ~PRESENT),
        _desc("code of ring 3, not present", PAGE, 4, CODE & ~PRESENT | 3 << 45),
        _desc("conforming code, not present", PAGE, 5, (CODE | 1 << 42) & ~PRESENT),
        _ext("set", 13, window(PAGE), 6),
        ("data", ("selector", 0, 2 << 3 | TI | 3)),
        ("marked as accessed", ("read", PAGE << 12 | 16)),
        ("DPL 0, not present", ("selector", 0, 3 << 3 | TI | 3)),
        ("DPL 3, not present", ("selector", 0, 4 << 3 | TI | 3)),
        ("conforming, not present", ("selector", 0, 5 << 3 | TI | 3)),
        ("beyond the limit", ("selector", 0, 6 << 3 | TI | 3)),
        _entry("the page is a descriptor page", PAGE, 2, 0),
        _ext("the same LDT again", 13, window(PAGE), 6),
        _entry("and still", PAGE, 2, 0),
        _ext("one entry more", 13, window(PAGE), 7),
        _entry("and no more", PAGE, 6, DATA),
        ("used again", ("selector", 0, 6 << 3 | TI | 3)),
        _ext("no LDT", 13, 0, 0),
        ("its selector", ("selector", 0, 6 << 3 | TI | 3)),
        _entry("an LDT descriptor in it", PAGE, 9, LDT_SYSTEM),
        _ext("set", 13, window(PAGE), 512),
        ("a page that cannot be one", ("selector", 0, 2 << 3 | TI | 3)),
        _entry("gone", PAGE, 9, 0),
        ("again", ("selector", 0, 6 << 3 | TI | 3)),
        _entry("a user root", ROOT, p.STUB_SLOT, user),
        _ext("that knows no LDT", 15, ROOT),
        ("user mode uses it", ("selector", 1, 6 << 3 | TI | 3)),
        _ext("a copy of the root", 17, L3, p.BOOT_L4),
        _ext("loaded", 5, L3),
        _entry("lets the page go", PAGE, 9, LDT_SYSTEM),
        ("a page fault of user mode", ("selector", 1, 6 << 3 | TI | 3)),
        _ext("an LDT nowhere", 13, 0x10000, 512),
        ("a page fault", ("selector", 0, 7 << 3 | TI)),
        _ext("an LDT at the end of the lower half", 13, 0x7FFFFFFFF000, 8192),
        ("its first page", ("selector", 0, 7 << 3 | TI)),
        ("its second page", ("selector", 0, 512 << 3 | TI | 3)),
        _ext("the number of entries has 32 bits", 13, 0x1001, 1 << 32),
        _ext("unaligned", 13, 0x1001, 1),
        _ext("too many", 13, 0x1000, 8193),
    ]


def _emulated(kind: str, sizes: tuple[int, ...], offset: int) -> Steps:
    return [
        (f"{kind} of {size} at {offset}", (kind, 0, window(L1, offset), size, 0, 0)[: 6 if kind == "cmpxchg" else 5])
        for size in sizes
    ]


def write_emulation() -> Steps:
    """Stores and exchanges by the kernel on a table that it has mapped read-only."""
    entry = PAGE << 12 | P | RW
    old = PAGE << 12 | P | RW | US | 1 << 52
    steps: Steps = [_ext("a table pinned", 0, L1), ("stored", ("store", 0, window(L1), 8, entry))]
    steps += [
        ("exchanged for what is not there", ("cmpxchg", 0, window(L1), 8, p.BOOT_L4 << 12 | P | RW, 5)),
        ("exchanged", ("cmpxchg", 0, window(L1), 8, old | 0x200, old)),
        ("to map a table writable", ("cmpxchg", 0, window(L1), 8, p.BOOT_L4 << 12 | P | RW, old | 0x200)),
        ("what is there", ("read", L1 << 12)),
        ("one byte of it", ("cmpxchg", 0, window(L1), 1, 5, 7)),
        ("what is there", ("read", L1 << 12)),
        ("cleared in two halves", ("store", 0, window(L1), 4, 0)),
        ("the other", ("store", 0, window(L1, 4), 4, 0)),
    ]
    for kind in ("store", "cmpxchg"):
        for offset in (0, 1, 2, 3, 4, 6, 7):
            steps += _emulated(kind, (1, 2, 4, 8), offset)
    steps += [
        ("an unaligned exchange for what is not there", ("cmpxchg", 0, window(L1, 3), 8, 1, 1)),
        ("by user mode, without a root", ("cmpxchg", 1, window(L1), 8, 0, 0)),
        _entry("a user root", ROOT, p.STUB_SLOT, p.STUB_L3 << 12 | P | RW | US),
        _entry("that has the window", ROOT, p.WINDOW_SLOT, p.WINDOW_L3 << 12 | P | RW | US),
        _ext("set", 15, ROOT),
        ("user mode stores", ("store", 1, window(L1), 8, 0)),
        ("user mode exchanges", ("cmpxchg", 1, window(L1), 8, 0, 0)),
    ]
    return steps


def read_only_mmio() -> Steps:
    """Stores to device memory that Xen keeps read-only."""
    flags = P | RW | US
    at = 3 << 39
    steps: Steps = [
        _entry("the I/O APIC's page", L1, 0, 0xFEC00 << 12 | P | RW),
        _entry("its L2", L2, 0, L1 << 12 | flags),
        _entry("its L3", L3, 0, L2 << 12 | flags),
        _entry("hooked up", p.BOOT_L4, 3, L3 << 12 | flags),
        ("the entry", ("read", L1 << 12)),
    ]
    steps += [
        (f"a store of {size} at {offset:#x}", ("store", 0, at + offset, size, 0))
        for size in (1, 2, 4, 8)
        for offset in (0x20, 0x21, 0x24)
    ]
    steps += [
        ("a store across the page's end", ("store", 0, at + 0xFFC, 8, 0)),
        ("an exchange", ("cmpxchg", 0, at + 0x20, 4, 0, 0)),
    ]
    return steps


def returns() -> Steps:
    """The iret hypercall with frames of every kind that a guest survives."""
    cs, ss, ud = p.FLAT_CS, p.FLAT_SS, p.USER_UD
    return [
        ("to kernel mode", ("iret", ud, cs & ~3, ss, 2, 0)),
        ("RPL 1", ("iret", ud, cs & ~3 | 1, ss, 2, 0)),
        ("RPL 2", ("iret", ud, cs & ~3 | 2, ss, 2, 0)),
        ("to user mode without a root", ("iret", ud, cs, ss, 2, 0)),
        _entry("a user root with the stub", ROOT, p.STUB_SLOT, p.STUB_L3 << 12 | P | RW | US),
        _ext("set", 15, ROOT),
        ("to user mode", ("iret", ud, cs, ss, 2, 0)),
        ("a stack segment of RPL 0", ("iret", ud, cs, ss & ~3, 2, 0)),
        ("by SYSRET", ("iret", ud, cs, ss, 2, p.IN_SYSCALL)),
        ("IOPL 3, NT, VM, AC, ID and what is reserved", ("iret", ud, cs, ss, 0x1FF082 | 0x3000 | 0x4000 | 0x200000, 0)),
        ("to kernel mode with them", ("iret", ud, cs & ~3, ss, 0x1FF082 | 0x3000 | 0x4000 | 0x200000, 0)),
        ("the null code segment", ("iret", ud, 3, ss, 2, 0)),
        ("data for code", ("iret", ud, ss, ss, 2, 0)),
        ("Xen's code segment", ("iret", ud, 0xE00B, ss, 2, 0)),
        ("the null stack segment", ("iret", ud, cs, 0, 2, 0)),
        ("code for the stack", ("iret", ud, cs, cs, 2, 0)),
        ("Xen's data for the stack, to kernel mode", ("iret", ud, cs & ~3, 0xE010, 2, 0)),
        ("selectors of nothing by SYSRET", ("iret", ud, 3, 0, 2, p.IN_SYSCALL)),
        ("to user mode where nothing is", ("iret", 0x10000, cs, ss, 2, 0)),
        ("user mode once more", ("iret", ud, cs, ss, 2, 0)),
        ("no user root", ("ext", SELF, 0, ((15, 0, 0),))),
        ("the root is free again", ("ext", SELF, 0, ((16, ROOT, 0),))),
    ]


def shared_info() -> Steps:
    """A store into Xen's shared page that makes events pending and lets them come."""
    l3, l2, l1 = L1 + 1, L1 + 2, L1 + 3
    at = 3 << 39
    steps = [
        _entry("an L1 that maps the shared page", l1, 0, p.SHARED_INFO << 12 | P | RW | US),
        _entry("its L2", l2, 0, l1 << 12 | P | RW | US),
        _entry("its L3", l3, 0, l2 << 12 | P | RW | US),
        _entry("its place", p.BOOT_L4, 3, l3 << 12 | P | RW | US),
        _entry("a user root", ROOT, p.STUB_SLOT, p.STUB_L3 << 12 | P | RW | US),
        _entry("that has it too", ROOT, 3, l3 << 12 | P | RW | US),
        _ext("set", 15, ROOT),
    ]
    for who, user in (("the kernel", 0), ("user mode", 1)):
        for size, value in ((1, 1), (2, 1), (8, 1), (8, (1 << 64) - 1)):
            steps.append((f"{who} stores {value:#x}, {size} bytes", ("store", user, at, size, value)))
    return [*steps, ("a hypercall as ever", ("ext", SELF, 0, ((6, 0, 0),)))]


def user_code() -> Steps:
    """The code of user mode as a page of descriptors."""
    accesses = [
        (
            f"user mode's {kind} of {size}",
            (kind, 1, window(L1), size, *((1,) if kind == "store" else ()), *((1, 0) if kind == "cmpxchg" else ())),
        )
        for kind in ("load", "store", "cmpxchg")
        for size in (1, 2, 4, 8)
    ]
    return [
        _entry("a user root", ROOT, p.STUB_SLOT, p.STUB_L3 << 12 | P | RW | US),
        _entry("that has the window", ROOT, p.WINDOW_SLOT, p.WINDOW_L3 << 12 | P | RW | US),
        _ext("set", 15, ROOT),
        *accesses,
        _ext("an LDT where the code of user mode is", 13, p.USER_STUB, 512),
        ("a selector in it", ("selector", 0, 300 << 3 | TI | 3)),
        *((f"again {what}", op) for what, op in accesses),
        ("user mode's selector", ("selector", 1, 300 << 3 | TI | 3)),
        _ext("no LDT", 13),
    ]


QUESTIONS: dict[str, tuple[str, Steps]] = {
    "gdt": ("What may be in a GDT, and what happens to it?", gdt()),
    "ldt": ("When are the pages of an LDT taken, and when let go?", ldt()),
    "write-emulation": ("Which stores and exchanges on a page table does Xen do for the kernel?", write_emulation()),
    "iret": ("Where does iret go, with what selectors and flags?", returns()),
    "shared-info": ("What does a store into Xen's shared page do?", shared_info()),
    "ldt-user-code": ("Does the code of user mode stay as it is when it is made an LDT?", user_code()),
    "read-only-mmio": ("What becomes of stores to the I/O APIC's page?", read_only_mmio()),
}
