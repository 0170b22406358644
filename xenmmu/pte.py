"""Page-table entries as integers: their bits, and what they say in Intel's, Xen's and NetBSD's words.

Sources: SDM vol. 3A, 4.5 (formats of IA-32e paging); xen/include/asm-x86/page.h of 4.17; NetBSD's amd64/include/pte.h.
"""

from __future__ import annotations

from typing import NamedTuple

from xenmmu._core import lib
from xenmmu.errors import BadArgument

#: Present: the entry is used; nothing else of it means anything without it.
P: int = lib.XM_PTE_P
#: Writes are allowed, if every level allows them.
RW: int = lib.XM_PTE_RW
#: User-mode accesses are allowed, if every level allows them.
US: int = lib.XM_PTE_US
PWT: int = lib.XM_PTE_PWT
PCD: int = lib.XM_PTE_PCD
#: Accessed: set by the processor when it uses the entry.
A: int = lib.XM_PTE_A
#: Dirty: set by the processor in the leaf of a write.
D: int = lib.XM_PTE_D
#: Bit 7 of an entry of level 2 or 3: it maps a page of 2 MiB or 1 GiB.
PS: int = lib.XM_PTE_PS
#: Bit 7 of an entry of level 1.
PAT: int = lib.XM_PTE_PAT
#: Global, in a leaf.
G: int = lib.XM_PTE_G
#: Bit 12, the PAT bit of a large page.
PAT_LARGE: int = lib.XM_PTE_PAT_LARGE
#: Execute-disable (XD): no fetches, if any level says so.
NX: int = lib.XM_PTE_NX
#: The address field, bits 51:12.
ADDR: int = lib.XM_PTE_ADDR
#: Bits 9, 10 and 11, which the processor ignores.
AVL: int = 0xE00
#: Xen's mark in a level-1 entry that the guest kernel wrote without US.
GUEST_KERNEL: int = 1 << 52
#: The protection key of a leaf, bits 62:59: ``key << PKEY_SHIFT``.
PKEY_SHIFT: int = 59
PKEY: int = 15 << PKEY_SHIFT

_U64 = (1 << 64) - 1
_SIZES = {1: "4 KiB", 2: "2 MiB", 3: "1 GiB"}


class Entry(NamedTuple):
    """A decoded entry: the frame it names, and every bit that is no part of the frame number."""

    mfn: int
    flags: int


def _check(entry: object, level: object) -> None:
    if not isinstance(entry, int) or not 0 <= entry <= _U64:
        raise BadArgument(f"{entry!r} is not a 64-bit entry")
    if not isinstance(level, int) or not 1 <= level <= 5:
        raise BadArgument(f"level {level!r} is not 1 (PTE) to 5 (PML5E)")


def is_large(entry: int, level: int) -> bool:
    """Whether bit 7 makes this entry map a large page: at levels 2 and 3 only."""
    _check(entry, level)
    return level in (2, 3) and bool(entry & PS)


def encode(mfn: int, flags: int) -> int:
    """Return the entry that names frame `mfn` (40 bits) with these flags, any bits outside 51:12.

    ``PAT_LARGE`` is taken together with ``PS`` and an even frame.  Raises BadArgument for a frame or flags that do not
    fit; whether a processor accepts the entry is for a walk to say.
    """
    if not isinstance(mfn, int) or not 0 <= mfn < 1 << 40:
        raise BadArgument(f"frame {mfn!r} is not a 40-bit frame number")
    if not isinstance(flags, int) or not 0 <= flags <= _U64:
        raise BadArgument(f"flags {flags!r} are not 64 bits")
    if flags & PAT_LARGE and (not flags & PS or mfn & 1):
        raise BadArgument(
            "PAT_LARGE is bit 12, which belongs to the frame number unless PS is set and the frame is even"
        )
    if flags & ADDR & ~PAT_LARGE:
        raise BadArgument(f"flags {flags:#x} reach into the address field, bits 51:12")
    return (mfn << 12) | flags


def decode(entry: int, level: int = 1) -> Entry:
    """Split an entry of this level into frame and flags; the inverse of `encode`.

    In a large page bit 12 is a flag (PAT) and the frame is all of the other address bits, reserved ones included.
    """
    field = ADDR & ~PAT_LARGE if is_large(entry, level) else ADDR
    return Entry((entry & field) >> 12, entry & ~field)


def _bits(value: int, names: dict[int, str]) -> list[str]:
    found = [name for bit, name in names.items() if value & bit]
    rest = value
    for bit in names:
        rest &= ~bit
    return [*found, f"{rest:#x}"] if rest else found


def _intel(entry: int, level: int) -> str:
    name = {1: "PTE", 2: "PDE", 3: "PDPTE", 4: "PML4E", 5: "PML5E"}[level]
    if not entry & P:
        return f"{name} {entry:#018x}: not present" + (f", {entry:#x} left to software" if entry else "")
    large = is_large(entry, level)
    leaf = large or level == 1
    mfn, flags = decode(entry, level)
    names = {P: "P", RW: "R/W", US: "U/S", PWT: "PWT", PCD: "PCD", A: "A"}
    key = 0
    if leaf:
        names |= {D: "D", G: "G"}
        names |= {PS: "PS", PAT_LARGE: "PAT"} if large else {PAT: "PAT"}
        key = (flags & PKEY) >> PKEY_SHIFT
        flags &= ~PKEY
    elif level >= 4:
        names[PS] = "reserved bit 7"
    names[NX] = "XD"
    words = [word if word in names.values() else f"ignored {word}" for word in _bits(flags, names)]
    if key:
        words.append(f"protection key {key}")
    if large:
        reserved = mfn & ((1 << 9 * (level - 1)) - 1)
        words += [f"reserved address bits {reserved << 12:#x}"] if reserved else []
        mfn -= reserved
    where = f"{_SIZES[level]} page at {mfn << 12:#x}" if leaf else f"table at {mfn << 12:#x}"
    return f"{name} {entry:#018x}: {where}, {' '.join(words)}"


def _xen(entry: int, level: int) -> str:
    names = {
        P: "_PAGE_PRESENT",
        RW: "_PAGE_RW",
        US: "_PAGE_USER",
        PWT: "_PAGE_PWT",
        PCD: "_PAGE_PCD",
        A: "_PAGE_ACCESSED",
        D: "_PAGE_DIRTY",
        PAT: "_PAGE_PAT" if level == 1 else "_PAGE_PSE",
        G: "_PAGE_GLOBAL",
        0x200: "_PAGE_AVAIL0",
        0x400: "_PAGE_AVAIL1",
        0x800: "_PAGE_AVAIL2",
        PAT_LARGE: "_PAGE_PSE_PAT",
        NX: "_PAGE_NX",
    }
    if level == 1:
        names[GUEST_KERNEL] = "_PAGE_GUEST_KERNEL"
    mfn, flags = decode(entry, level)
    words = "|".join(_bits(flags, names)) or "0"
    if not entry & P:
        takes = "takes no reference"
    elif level > 1 and not is_large(entry, level):
        takes = f"takes a PGT_l{level - 1}_page_table reference" if level < 5 else "no level of Xen's PV tables"
    elif entry & RW:
        takes = "takes a PGT_writable_page reference"
    else:
        takes = "takes a reference without a type"
    return f"l{level}e {entry:#018x}: mfn {mfn:#x}, {words}; {takes}"


def _netbsd(entry: int, level: int) -> str:
    large = is_large(entry, level)
    names = {
        P: "PG_V",
        RW: "PG_RW",
        US: "PG_u",
        PWT: "PG_WT",
        PCD: "PG_N",
        A: "PG_U",
        D: "PG_M",
        PS: "PG_PAT" if level == 1 else "PG_PS",
        G: "PG_G",
        0x200: "PG_W",
        0x400: "PG_PVLIST",
        0x800: "PG_AVAIL3",
        PAT_LARGE: "PG_LGPAT",
        NX: "PG_NX",
    }
    mfn, flags = decode(entry, level)
    frame = "PG_FRAME" if not large else "PG_2MFRAME" if level == 2 else "PG_1GFRAME"
    words = "|".join(_bits(flags, names)) or "0"
    return f"L{level} {entry:#018x}: {frame} {mfn << 12:#x}, {words}" + ("" if entry & P else " (not valid)")


_STYLES = {"intel": _intel, "xen": _xen, "netbsd": _netbsd}


def describe(entry: int, level: int = 1, style: str = "intel") -> str:
    """Say in one line what an entry of this level means, in the words of "intel", "xen" or "netbsd".

    Raises BadArgument for an entry that is no 64-bit number, an unknown level or an unknown style.
    """
    _check(entry, level)
    words = _STYLES.get(style) if isinstance(style, str) else None
    if words is None:
        raise BadArgument(f"style {style!r} is none of {', '.join(_STYLES)}")
    return words(entry, level)
