"""Cases for CPU models: one access under random tables and control bits, and what our processor makes of it.

Every model runs in the same 4 MiB of memory.  The tables of the address under test lie in TABLES, one frame a level, so
that a random entry that points to one of them makes a recursive or a shared path.  The code that makes the access lies
in STUB, mapped by slot 511 of the root through tables of its own whose A and D are set beforehand.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

from xenmmu import Cpu, GeneralProtection, Machine, OutOfRange, PageFault, StackFault

RAM = 4 << 20
TABLES = range(0x10, 0x15)  # level 5 first
DATA = range(0x20, 0x30)
STUB = range(0x40, 0x48)
STUB_PML4, STUB_PDPT, STUB_PD, STUB_PT, SUPERVISOR_CODE, USER_CODE, SUPERVISOR_DATA, _ = STUB
STUB_VA = 0xFFFFFFFFFFE00000  # slot 511 of every level above 1: the next frames are mapped in this order
BACKGROUND = 0xF4

P, RW, US, A, D, PS, G, NX = 1, 2, 4, 0x20, 0x40, 0x80, 0x100, 1 << 63
CR0, WP = 0x80000033, 1 << 16
PAE, PGE, OSFXSR, LA57, SMEP, SMAP, PKE, PKS = 0x20, 0x80, 0x200, 1 << 12, 1 << 20, 1 << 21, 1 << 22, 1 << 24
EFER, NXE = 0x501, 0x800


@dataclass(frozen=True)
class Features:
    """What a model can do; the generator stays inside it."""

    maxphyaddr: int = 40
    la57: bool = False
    pke: bool = False
    pks: bool = False


@dataclass
class Case:
    """One access: `entries` by physical address, `stack` how it is relative to the stack segment, if it is: "rbp", or
    "push" for a PUSH or POP."""

    levels: int
    cr0: int
    cr4: int
    efer: int
    pkru: int
    pkrs: int
    ac: bool
    va: int
    access: str
    size: int
    user: bool
    entries: dict[int, int]
    maxphyaddr: int = 40
    stack: str = ""

    @property
    def root(self) -> int:
        return table(self.levels)

    def __str__(self) -> str:
        tables = ", ".join(f"{at:#x}: {e:#x}" for at, e in self.entries.items())
        who = "user" if self.user else "supervisor"
        how = f" ({self.stack})" if self.stack else ""
        return (
            f"{who} {self.access}{how} of {self.size} at {self.va:#x} cr0={self.cr0:#x} cr3={self.root:#x} "
            f"cr4={self.cr4:#x} efer={self.efer:#x} pkru={self.pkru:#x} pkrs={self.pkrs:#x} ac={self.ac:d} "
            f"maxphyaddr={self.maxphyaddr} {{{tables}}}"
        )


@dataclass
class Result:
    """`vector` is None for an access that succeeds, 12, 13, 14, or "bus" for one to memory that is not there (`cr2` is
    then the physical address).  `tables` are the bytes of TABLES afterwards, `value` what was loaded or is stored."""

    vector: int | str | None
    code: int = 0
    cr2: int = 0
    value: int = 0
    tables: bytes = b""
    # Where the reference found the data, and the entries it read in order; for the models nothing.
    pas: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)


def table(level: int) -> int:
    """The physical address of the table of a level."""
    return TABLES[5 - level] << 12


FLIPS = [P, RW, RW, US, US, NX, NX, *(1 << n for n in (3, 4, 5, 6, 7, 7, 8, 9, 11, 12, 13, 20, 21, 29))]
FLIPS += [1 << n for n in (30, 35, 36, 39, 40, 45, 51, 52, 58, 59, 60, 61, 62)]


def random_entry(r: random.Random, level: int, levels: int) -> int:
    """An entry that mostly leads on, a few bits away from P R/W U/S."""
    rights = P | (RW if r.random() < 0.85 else 0) | (US if r.random() < 0.75 else 0)
    large = level in (2, 3) and r.random() < 0.2
    if large:
        address = r.choice((0, 0, 1)) << 21 if level == 2 else 0
        rights |= PS
    elif level == 1:
        address = r.choice(DATA) << 12
    elif r.random() < 0.05:
        address = r.choice(TABLES) << 12
    else:
        address = table(level - 1)
    entry = address | rights | (r.getrandbits(4) << 59 if r.random() < 0.5 else 0)
    if r.random() < 0.15:
        entry |= A | (D if r.random() < 0.5 else 0)
    for _ in range(r.choice((0, 0, 0, 0, 0, 0, 1, 1, 2))):
        entry ^= r.choice(FLIPS)
    return entry & ((1 << 64) - 1)


def random_va(r: random.Random, levels: int) -> int:
    """An address that does not lie below slot 511 of the root, where the code is; some are not canonical."""
    # In a page of 1 GiB only the first 4 MiB are there.
    va = r.choice((0, 1, 8, 0x7F8, 0xFF0, 0xFF8, 0xFF9, 0xFFC, 0xFFF, r.randrange(4096)))
    va |= r.choice((0, 1, 2, 255, 256, 511, r.randrange(512))) << 12
    va |= r.choice((0, 0, 0, 1, 1, 511, r.randrange(512))) << 21
    for level in range(3, levels):
        va |= r.choice((0, 1, 2, 255, 256, 510, r.randrange(511))) << (3 + 9 * level)
    va |= r.choice((0, 1, 255, 256, 510)) << (3 + 9 * levels)
    sign = 12 + 9 * levels
    if va >> (sign - 1) & 1:
        va |= (1 << 64) - (1 << sign)
    if r.random() < 0.03:
        va ^= 1 << r.randrange(sign - 1, 64)
    return va


def random_case(r: random.Random, features: Features) -> Case:
    levels = 5 if features.la57 and r.random() < 0.3 else 4
    cr4 = PAE | PGE | OSFXSR | (LA57 if levels == 5 else 0)
    for bit, chance in ((SMEP, 0.5), (SMAP, 0.4), (PKE if features.pke else 0, 0.4), (PKS if features.pks else 0, 0.4)):
        cr4 |= bit if r.random() < chance else 0
    access = r.choice(("read", "read", "write", "write", "execute"))
    case = Case(
        levels=levels,
        cr0=CR0 | (WP if r.random() < 0.7 else 0),
        cr4=cr4,
        efer=EFER | (NXE if r.random() < 0.8 else 0),
        pkru=r.getrandbits(32) & r.getrandbits(32) if features.pke else 0,
        pkrs=r.getrandbits(32) & r.getrandbits(32) if features.pks else 0,
        ac=r.random() < 0.5,
        va=random_va(r, levels),
        access=access,
        size=1 if access == "execute" else r.choice((1, 2, 4, 8)),
        user=r.random() < 0.5,
        entries={},
        maxphyaddr=features.maxphyaddr,
    )
    if access != "execute" and r.random() < 0.3:
        case.stack = r.choice(("rbp", "push")) if case.size in (2, 8) else "rbp"
    straddles = (case.va & 0xFFF) + case.size > 4096
    for va in {case.va, case.va + 8} if straddles else (case.va,):
        add_path(r, case, va & ((1 << 64) - 1))
    return case


def add_path(r: random.Random, case: Case, va: int) -> None:
    """Entries along the path of an address, as far as it stays in the tables."""
    at = case.root
    for level in range(case.levels, 0, -1):
        slot = at + 8 * ((va >> (3 + 9 * level)) & 511)
        if slot not in case.entries and slot != case.root + 511 * 8:
            case.entries[slot] = random_entry(r, level, case.levels)
        entry = case.entries.get(slot, 0)
        at = entry & 0xFFFFFFFFFF000
        if not entry & P or at >> 12 not in TABLES or (level in (2, 3) and entry & PS):
            return


def stub_entries(levels: int) -> dict[int, int]:
    """The entries that map the code; the root's slot 511 among them."""
    upper = P | RW | US | A | D
    chain = [table(levels), *((STUB_PML4 << 12,) if levels == 5 else ()), STUB_PDPT << 12, STUB_PD << 12, STUB_PT << 12]
    entries = {a + 511 * 8: b | upper for a, b in pairwise(chain)}
    for i, frame in enumerate((SUPERVISOR_CODE, USER_CODE, SUPERVISOR_DATA)):
        entries[(STUB_PT << 12) + 8 * i] = frame << 12 | P | RW | A | D | (US if frame == USER_CODE else 0)
    return entries


# Instructions of the stub: each at a multiple of 16, RBX and RBP the address, RAX the value.
MOVES = {("read", 8): b"\x48\x8b", ("read", 4): b"\x8b", ("read", 2): b"\x66\x8b", ("read", 1): b"\x8a"}
MOVES |= {("write", 8): b"\x48\x89", ("write", 4): b"\x89", ("write", 2): b"\x66\x89", ("write", 1): b"\x88"}
CODE: dict[tuple[str, int, str], bytes] = {
    **{(*key, ""): code + b"\x03" for key, code in MOVES.items()},
    **{(*key, "rbp"): code + b"\x45\x00" for key, code in MOVES.items()},
    ("read", 8, "push"): b"\x58",
    ("read", 2, "push"): b"\x66\x58",
    ("write", 8, "push"): b"\x50",
    ("write", 2, "push"): b"\x66\x50",
    ("execute", 1, ""): b"\xff\xe3",
}
OFFSET = {key: 16 * i for i, key in enumerate(CODE)}
STUB_CODE = b"".join((code + b"\xeb\xfe").ljust(16, b"\xf4") for code in CODE.values())
INT3 = 0xCC
STORED = 0x8877665544332211


def code_va(case: Case) -> int:
    return STUB_VA + (4096 if case.user else 0) + OFFSET[case.access, case.size, case.stack]


def stack_pointer(case: Case) -> int:
    """What RSP is to be: PUSH writes below it."""
    return (case.va + case.size * (case.access == "write")) % (1 << 64) if case.stack == "push" else 0


def initial_memory() -> bytearray:
    memory = bytearray([BACKGROUND]) * RAM
    for frame in (*TABLES, *STUB):
        memory[frame << 12 : (frame + 1) << 12] = bytes(4096)
    for frame in (SUPERVISOR_CODE, USER_CODE):
        memory[frame << 12 : (frame << 12) + len(STUB_CODE)] = STUB_CODE
    for levels in (5, 4):
        for at, entry in stub_entries(levels).items():
            if at >> 12 not in TABLES:
                memory[at : at + 8] = entry.to_bytes(8, "little")
    return memory


class Skip(Exception):
    """The case cannot be put to a model: a table outside memory, or the data in the stub."""


@dataclass
class Reference:
    """Our processor on a machine with the common memory."""

    vendor: str = "intel"
    machine: Machine = field(default_factory=lambda: Machine(RAM))

    def __post_init__(self) -> None:
        self.machine.write(0, initial_memory())

    def cpu(self, case: Case) -> Cpu:
        return Cpu(
            self.machine,
            cr0=case.cr0,
            cr3=case.root,
            cr4=case.cr4,
            efer=case.efer,
            maxphyaddr=case.maxphyaddr,
            vendor=self.vendor,
            pkru=case.pkru,
            pkrs=case.pkrs,
            ac=case.ac,
        )

    def run(self, case: Case) -> tuple[dict[int, bytes], Result]:
        """Prepare the common memory for the case, and run it: (what to write before, by address; the result)."""
        m = self.machine
        tables = bytearray(4096 * len(TABLES))
        for at, entry in (stub_entries(case.levels) | case.entries).items():
            if at >> 12 in TABLES:
                offset = at - (TABLES[0] << 12)
                tables[offset : offset + 8] = entry.to_bytes(8, "little")
        before = {TABLES[0] << 12: bytes(tables)}
        for at, data in before.items():
            m.write(at, data)
        cpu = self.cpu(case)
        pas, used = self.places(cpu, case)
        for i, pa in enumerate(pas):
            if pa >> 12 not in TABLES:
                before[pa] = bytes([INT3]) if case.access == "execute" else bytes([0x30 + (pa * 7 + i) % 191])
                m.write(pa, before[pa])
        result = self.access(cpu, case)
        result.pas, result.used = pas, used
        result.tables = m.read(TABLES[0] << 12, 4096 * len(TABLES))
        if result.vector is None and case.access == "write":
            result.value = int.from_bytes(b"".join(m.read(pa, 1) for pa in pas), "little")
        return before, result

    def places(self, cpu: Cpu, case: Case) -> tuple[list[int], list[int]]:
        """The physical address of each byte, if the access succeeds; the entries read for the first that faults."""
        try:
            walks = [
                cpu.walk((case.va + i) % (1 << 64), case.access, case.user, stack=case.stack != "")
                for i in range(case.size)
            ]
        except OutOfRange:
            raise Skip from None
        used = [step.entry_pa for step in next((w for w in walks if w.pa is None), walks[0]).steps]
        pas = [w.pa for w in walks if w.pa is not None]
        if len(pas) < case.size:
            return [], used
        inside = [pa < RAM for pa in pas]
        # Outside, our access ends at the first page; a model goes on to the second.
        if not all(inside) and (any(inside) or pas[-1] & 0xFFF < case.size - 1):
            raise Skip
        if any(pa >> 12 in STUB or (case.access == "execute" and pa >> 12 in TABLES) for pa in pas):
            raise Skip
        return (pas if all(inside) else []), used

    def access(self, cpu: Cpu, case: Case) -> Result:
        try:
            stack = case.stack != ""
            if case.access == "write":
                cpu.store(case.va, STORED & ((1 << (8 * case.size)) - 1), case.size, case.user, stack)
                return Result(None)
            if case.access == "execute":
                cpu.fetch(case.va, case.user)
                return Result(None, value=INT3)
            return Result(None, value=cpu.load(case.va, case.size, case.user, stack))
        except PageFault as e:
            return Result(14, e.error_code, e.va)
        except StackFault:
            return Result(12)
        except GeneralProtection:
            return Result(13)
        except OutOfRange:
            return Result("bus", cr2=cpu.walk(case.va, case.access, case.user).pa or 0)
