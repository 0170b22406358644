"""What user mode of the running process can do to its page tables: every attempt made for real, and undone.

An attempt is a load or store by `Kernel.user_load` and `user_store` inside ``machine.trial()``; how it ended is
counted by the #PF error code that the guest kernel saw (SDM 4.7: 1 present, 2 write, 4 user).  Targets are found by
reading the tables' bytes from the root.  This file knows NetBSD's slots and Xen's; it does not know the designs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from xenmmu import xen
from xenmmu._core import lib
from xenmmu.errors import GeneralProtection, OutOfRange, PageFault
from xenmmu.machine import PAGE_SIZE, Machine
from xenmmu.netbsd import L4_SLOT_APTE, L4_SLOT_PTE, Kernel, entry_va

DONE = "done"

_P, _PS = lib.XM_PTE_P, lib.XM_PTE_PS
_ADDR = lib.XM_PTE_ADDR


@dataclass(frozen=True, slots=True)
class Table:
    """A page table of a process: its level, a linear address that it covers first, and its frame."""

    level: int
    va: int
    mfn: int


@dataclass(slots=True)
class Space:
    """The user half of an address space as its bytes have it."""

    tables: list[Table] = field(default_factory=list)
    #: Leaf entries: linear address, entry.
    leaves: list[tuple[int, int]] = field(default_factory=list)


def scan(machine: Machine, root: int, slots: range = range(L4_SLOT_PTE)) -> Space:
    """Read the tables below `slots` of the L4 in frame `root`."""
    space = Space()

    def visit(level: int, mfn: int, base: int, indices: range) -> None:
        space.tables.append(Table(level, base, mfn))
        entries = memoryview(machine.read(mfn * PAGE_SIZE, PAGE_SIZE)).cast("Q")
        for i in indices:
            if not entries[i] & _P:
                continue
            va = base + (i << 12 + 9 * (level - 1))
            if level == 1 or (level < 4 and entries[i] & _PS):
                space.leaves.append((va, entries[i]))
            else:
                visit(level - 1, (entries[i] & _ADDR) // PAGE_SIZE, va, range(512))

    visit(4, root, 0, slots)
    return space


@dataclass(slots=True)
class Tally:
    """How attempts ended: for each kind of attempt, the number of each ending ("done", "#PF 0x7", …).

    What was learned is counted as distinct machine frame numbers at one probe, the most at any probe.
    """

    writes: dict[str, Counter[str]] = field(default_factory=dict)
    reads: dict[str, Counter[str]] = field(default_factory=dict)
    probes: int = 0
    #: Processes alive at the probes, and those of them whose slot 255 was valid: sums.
    alive: int = 0
    exposed: int = 0
    #: Frame numbers read from entries, by what the frames are.
    learned: dict[str, int] = field(default_factory=dict)

    def write(self, what: str, ending: str) -> None:
        """Count one attempted write."""
        self.writes.setdefault(what, Counter())[ending] += 1

    def read(self, what: str, ending: str) -> None:
        """Count one attempted read."""
        self.reads.setdefault(what, Counter())[ending] += 1

    @property
    def breaches(self) -> int:
        """Writes to page tables that succeeded."""
        return sum(endings[DONE] for endings in self.writes.values())

    @property
    def tried(self) -> int:
        """Writes that were tried."""
        return sum(sum(endings.values()) for endings in self.writes.values())


def ending(attempt: Callable[[], object]) -> tuple[str, object]:
    """How an access ended, and what it gave."""
    try:
        return DONE, attempt()
    except PageFault as fault:
        return f"#PF {fault.error_code:#x}", None
    except GeneralProtection:
        return "#GP", None
    except OutOfRange:
        return "outside the machine", None


def load(kernel: Kernel, va: int) -> tuple[str, int]:
    """A load by user mode, undone: how it ended, and the word (0 when there is none)."""
    with kernel.machine.trial():
        how, value = ending(lambda: kernel.user_load(va))
    return how, value if isinstance(value, int) else 0


def store(kernel: Kernel, va: int, value: int) -> str:
    """A store by user mode, undone: how it ended."""
    with kernel.machine.trial():
        return ending(lambda: kernel.user_store(va, value))[0]


def _attack_tables(kernel: Kernel, space: Space, tally: Tally) -> None:
    """Write and read one entry of every table through both windows."""
    for table in space.tables:
        for slot in (L4_SLOT_PTE, L4_SLOT_APTE):
            va = entry_va(table.va, table.level, alternate=slot == L4_SLOT_APTE)
            what = f"L{table.level} through slot {slot}" if slot == L4_SLOT_PTE else f"any level through slot {slot}"
            # An entry that maps frame 0 writable, had it been stored.
            tally.write(what, store(kernel, va, _P | lib.XM_PTE_RW | lib.XM_PTE_US))
            tally.read(f"own {what}", load(kernel, va)[0])


def _attack_mappings(kernel: Kernel, space: Space, tally: Tally) -> None:
    """Write through every user page that maps a frame of one of the process's own tables."""
    tables = {table.mfn for table in space.tables}
    # Counted even where there is none, so that it is seen to have been looked for.
    what = "a table's frame through an ordinary page"
    tally.writes.setdefault(what, Counter())
    for va, entry in space.leaves:
        if (entry & _ADDR) // PAGE_SIZE in tables:
            tally.write(what, store(kernel, va, 0))


def _read_whole_tables(kernel: Kernel, space: Space, tally: Tally) -> None:
    """Read every present entry through the window and count the machine frames that their numbers name."""
    tables = {table.mfn for table in space.tables}
    known: dict[str, set[int]] = {"own pages": set(), "own page tables": set()}
    with kernel.machine.trial():
        for va, _ in space.leaves:
            how, value = ending(lambda va=va: kernel.user_load(entry_va(va, 1)))  # type: ignore[misc]
            if how == DONE and isinstance(value, int):
                known["own pages"].add((value & _ADDR) // PAGE_SIZE)
        for table in space.tables:
            if table.level < 4:
                how, value = ending(
                    lambda t=table: kernel.user_load(entry_va(t.va, t.level + 1))  # type: ignore[misc]
                )
                if how == DONE and isinstance(value, int) and (value & _ADDR) // PAGE_SIZE in tables:
                    known["own page tables"].add((value & _ADDR) // PAGE_SIZE)
    for what, frames in known.items():
        tally.learned[what] = max(tally.learned.get(what, 0), len(frames))


def _read_hypervisor(kernel: Kernel, space: Space, tally: Tally) -> None:
    """Read what belongs to Xen: its slots of the L4, the M2P, and the tables that map the M2P."""
    l4 = entry_va(0, 4)
    named = 0
    for slot in range(xen.L4_FIRST_XEN_SLOT, xen.L4_LAST_XEN_SLOT + 1):
        how, value = load(kernel, l4 + 8 * slot)
        tally.read(f"Xen's L4 slots {xen.L4_FIRST_XEN_SLOT}..{xen.L4_LAST_XEN_SLOT} through slot {L4_SLOT_PTE}", how)
        named += how == DONE and bool(value & _P)
    tally.learned["Xen's tables (L4 slots)"] = max(tally.learned.get("Xen's tables (L4 slots)", 0), named)
    own = {(entry & _ADDR) // PAGE_SIZE for _, entry in space.leaves}
    for mfn in sorted(own)[:4]:
        tally.read("M2P word of an own page", load(kernel, xen.RO_MPT_VIRT_START + 8 * mfn)[0])
    for level in (3, 2, 1):
        va = entry_va(xen.RO_MPT_VIRT_START, level)
        tally.read(f"Xen's M2P table, level {level}, through slot {L4_SLOT_PTE}", load(kernel, va)[0])


def probe(kernel: Kernel, tally: Tally) -> None:
    """Let user mode of the running process attack its page tables; adds to `tally`, changes nothing else.

    Does nothing when no process runs.
    """
    if kernel.current is None:
        return
    space = scan(kernel.machine, kernel.root_mfn(kernel.current))
    tally.probes += 1
    for pmap in kernel.pmaps:
        tally.alive += 1
        tally.exposed += kernel.machine.read64(kernel.root_mfn(pmap) * PAGE_SIZE + 8 * L4_SLOT_PTE) & _P
    _attack_tables(kernel, space, tally)
    _attack_mappings(kernel, space, tally)
    _read_whole_tables(kernel, space, tally)
    if kernel.domain is not None:
        _read_hypervisor(kernel, space, tally)
