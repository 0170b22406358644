"""Odd cases through the public face alone: one row each, with the reason of its answer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from xenmmu import BadArgument, Cpu, GeneralProtection, Machine, OutOfRange, PageFault, pte, x86

GOOD = pte.P | pte.RW | pte.US
NO_NXE = x86.EFER_LME | x86.EFER_LMA
CR4 = x86.CR4_PAE
LA57 = CR4 | x86.CR4_LA57
NO_WP = x86.CR0_PE | x86.CR0_PG
AMD, INTEL = {"vendor": "amd"}, {"vendor": "intel"}
RSVD_USER_READ = x86.PF_P | x86.PF_RSVD | x86.PF_U


def world(entries: dict[int, int] | None = None, levels: int = 4, **registers: Any) -> Cpu:
    """Tables in frames 1 to `levels` that map address 0 to the frame after them; `entries` adds bits, by level."""
    m = Machine(1 << 20)
    for i, level in enumerate(range(levels, 0, -1)):
        m.write64((1 + i) << 12, pte.encode(2 + i, GOOD) | (entries or {}).get(level, 0))
    registers.setdefault("cr4", LA57 if levels == 5 else CR4)
    return Cpu(m, cr3=0x1000, **registers)


# (why, levels, bits added by level, registers, error code of a user read or None)
BITS: list[tuple[str, int, dict[int, int], dict[str, Any], int | None]] = [
    ("AMD: bit 8 must be zero in a PML4E", 4, {4: pte.G}, AMD, RSVD_USER_READ),
    ("AMD: and in a PML5E", 5, {5: pte.G}, AMD, RSVD_USER_READ),
    ("AMD: with five levels still in a PML4E", 5, {4: pte.G}, AMD, RSVD_USER_READ),
    ("AMD: ignored in a PDPTE that refers to a table (Linux 5ecad245de2a)", 4, {3: pte.G}, AMD, None),
    ("AMD: ignored in a PDE that refers to a table", 4, {2: pte.G}, AMD, None),
    ("AMD: G of a PTE", 4, {1: pte.G}, AMD, None),
    ("Intel ignores bit 8 above the leaf", 5, {5: pte.G, 4: pte.G, 3: pte.G, 2: pte.G}, INTEL, None),
    ("PS of a PML4E is reserved", 4, {4: pte.PS}, INTEL, RSVD_USER_READ),
    ("PS of a PML5E is reserved", 5, {5: pte.PS}, INTEL, RSVD_USER_READ),
    ("bit 7 of a PTE is PAT", 4, {1: pte.PAT}, INTEL, None),
    ("bit 7 of a PDPTE without 1-GByte pages (SDM 4.5, note)", 4, {3: pte.PS}, {"gbpages": False}, RSVD_USER_READ),
    ("bits 29:13 of a 1-GByte page", 4, {3: pte.PS | 1 << 29}, INTEL, RSVD_USER_READ),
    ("bits 20:13 of a 2-MByte page", 4, {2: pte.PS | 1 << 20}, INTEL, RSVD_USER_READ),
    ("XD is reserved without NXE, at every level: 4", 4, {4: pte.NX}, {"efer": NO_NXE}, RSVD_USER_READ),
    ("XD is reserved without NXE: 3", 4, {3: pte.NX}, {"efer": NO_NXE}, RSVD_USER_READ),
    ("XD is reserved without NXE: 1", 4, {1: pte.NX}, {"efer": NO_NXE}, RSVD_USER_READ),
    ("bit 36 with MAXPHYADDR 36", 4, {2: 1 << 36}, {"maxphyaddr": 36}, RSVD_USER_READ),
    ("bit 51 with MAXPHYADDR 51", 4, {4: 1 << 51}, {"maxphyaddr": 51}, RSVD_USER_READ),
    ("bits 62:52 are never reserved, in no entry", 5, dict.fromkeys(range(1, 6), 0x7FF << 52), INTEL, None),
    ("D of an upper entry is ignored", 4, {4: pte.D, 3: pte.D, 2: pte.D}, INTEL, None),
]


@pytest.mark.parametrize(("why", "levels", "bits", "registers", "code"), BITS, ids=[row[0] for row in BITS])
def test_bits_of_an_entry(
    why: str, levels: int, bits: dict[int, int], registers: dict[str, Any], code: int | None
) -> None:
    cpu = world(bits, levels, **registers)
    assert cpu.walk(0).error_code == code, why
    if code is None:
        assert cpu.translate_one(0x123) == (1 + levels) << 12 | 0x123
        assert [m.va for m in cpu.mappings()] == [0]
    else:
        assert cpu.walk(0).reason in cpu.explain(0) and not list(cpu.mappings())


@pytest.mark.parametrize(("level", "size"), [(2, 1 << 21), (3, 1 << 30)])
def test_pat_of_a_large_page_is_no_address(level: int, size: int) -> None:
    cpu = world()
    at = (1 + 4 - level) << 12
    cpu.machine.write64(at, pte.encode(0, GOOD | pte.PS | pte.PAT_LARGE))
    w = cpu.walk(0x1234)
    assert (w.pa, w.page_size) == (0x1234, size)


def test_an_entry_that_is_not_present_has_no_reserved_bits() -> None:
    cpu = world()
    cpu.machine.write64(0x2000, ~pte.P & (1 << 64) - 1)
    assert cpu.walk(0).error_code == x86.PF_U


# (why, levels, address, is it canonical)
EDGES = [
    ("last of the lower half", 4, (1 << 47) - 1, True),
    ("first of the hole", 4, 1 << 47, False),
    ("last of the hole", 4, (1 << 64) - (1 << 47) - 1, False),
    ("first of the upper half", 4, (1 << 64) - (1 << 47), True),
    ("57 bits reach where 48 do not", 5, 1 << 47, True),
    ("last of the lower half", 5, (1 << 56) - 1, True),
    ("first of the hole", 5, 1 << 56, False),
    ("last of the hole", 5, (1 << 64) - (1 << 56) - 1, False),
    ("first of the upper half", 5, (1 << 64) - (1 << 56), True),
]


@pytest.mark.parametrize(("why", "levels", "va", "canonical"), EDGES)
def test_canonical_edges(why: str, levels: int, va: int, canonical: bool) -> None:
    cpu = world(levels=levels)
    assert (cpu.walk(va).fault == "#GP") is not canonical, why
    assert ("not canonical" in cpu.explain(va)) is not canonical


W, U, ID, PK, P = x86.PF_W, x86.PF_U, x86.PF_I, x86.PF_PK, x86.PF_P
SMAP, SMEP, PKE, PKS = (CR4 | b for b in (x86.CR4_SMAP, x86.CR4_SMEP, x86.CR4_PKE, x86.CR4_PKS))
READ_ONLY, SUPERVISOR = {1: pte.RW}, {3: pte.US}
# (why, bits taken away by level, registers, (access, user, implicit), error code or None)
RIGHTS: list[tuple[str, dict[int, int], dict[str, Any], tuple[str, bool, bool], int | None]] = [
    ("WP=0: a supervisor writes to read-only pages", READ_ONLY, {"cr0": NO_WP}, ("write", False, False), None),
    ("WP=0 helps no user", READ_ONLY, {"cr0": NO_WP}, ("write", True, False), P | W | U),
    ("WP=0 helps an implicit access, by a supervisor", READ_ONLY, {"cr0": NO_WP}, ("write", True, True), None),
    ("U/S=0 at any level makes a supervisor page", SUPERVISOR, {}, ("read", True, False), P | U),
    ("and SMAP does not protect it", SUPERVISOR, {"cr4": SMAP}, ("read", False, False), None),
    ("nor SMEP", SUPERVISOR, {"cr4": SMEP}, ("execute", False, False), None),
    ("SMAP denies a supervisor's data access", {}, {"cr4": SMAP}, ("read", False, False), P),
    ("AC allows it", {}, {"cr4": SMAP, "ac": True}, ("read", False, False), None),
    ("but no implicit one", {}, {"cr4": SMAP, "ac": True}, ("read", False, True), P),
    ("implicit at CPL 3 is a supervisor's too", {}, {"cr4": SMAP, "ac": True}, ("write", True, True), P | W),
    ("SMAP asks nothing of a fetch", {}, {"cr4": SMAP}, ("execute", False, False), None),
    ("SMAP holds with WP=0", {}, {"cr4": SMAP, "cr0": NO_WP}, ("write", False, False), P | W),
    ("SMEP, with I/D", {}, {"cr4": SMEP}, ("execute", False, False), P | ID),
    ("SMEP sets I/D without NXE", {}, {"cr4": SMEP, "efer": NO_NXE}, ("execute", False, False), P | ID),
    ("no I/D with neither", {4: pte.P}, {"efer": NO_NXE}, ("execute", True, False), U),
    ("I/D by NXE", {4: pte.P}, {}, ("execute", True, False), U | ID),
    ("AD of PKRU denies a user", {}, {"cr4": PKE, "pkru": 1}, ("read", True, False), P | U | PK),
    ("and a supervisor on a user page", {}, {"cr4": PKE, "pkru": 1}, ("read", False, False), P | PK),
    ("but no fetch", {}, {"cr4": PKE, "pkru": 1}, ("execute", True, False), None),
    ("and nothing without PKE", {}, {"pkru": 1}, ("read", True, False), None),
    ("WD of PKRU denies a supervisor with WP=1", {}, {"cr4": PKE, "pkru": 2}, ("write", False, False), P | W | PK),
    ("not with WP=0", {}, {"cr4": PKE, "pkru": 2, "cr0": NO_WP}, ("write", False, False), None),
    ("a user with WP=0 too", {}, {"cr4": PKE, "pkru": 2, "cr0": NO_WP}, ("write", True, False), P | W | U | PK),
    ("PK beside W", READ_ONLY, {"cr4": PKE, "pkru": 2}, ("write", True, False), P | W | U | PK),
    ("PKRS is for supervisor pages", SUPERVISOR, {"cr4": PKS, "pkrs": 1}, ("read", False, False), P | PK),
    ("PKRS leaves user pages", {}, {"cr4": PKS, "pkrs": 1}, ("read", False, False), None),
    ("WD of PKRS needs WP", SUPERVISOR, {"cr4": PKS, "pkrs": 2, "cr0": NO_WP}, ("write", False, False), None),
]


@pytest.mark.parametrize(("why", "without", "registers", "who", "code"), RIGHTS, ids=[row[0] for row in RIGHTS])
def test_rights(
    why: str, without: dict[int, int], registers: dict[str, Any], who: tuple[str, bool, bool], code: int | None
) -> None:
    cpu = world(**registers)
    for level, taken in without.items():
        at = (5 - level) << 12
        cpu.machine.write64(at, cpu.machine.read64(at) & ~taken)
    w = cpu.walk(0, *who)
    assert w.error_code == code, why
    assert ("allowed" if code is None else w.reason) in cpu.explain(0, *who)


# (why, register, value)
REFUSED = [
    ("CR3 above MAXPHYADDR", "cr3", 1 << 46),
    ("CR3 bit 63 without PCIDE", "cr3", 1 << 63),
    ("CR0.NW without CD", "cr0", x86.CR0_PE | x86.CR0_PG | 1 << 29),
    ("PAE cleared in long mode", "cr4", 0),
    ("LA57 set in long mode", "cr4", LA57),
    ("a reserved bit of CR4", "cr4", CR4 | 1 << 63),
    ("LME cleared under paging", "efer", x86.EFER_NXE),
    ("a reserved bit of EFER", "efer", NO_NXE | 1 << 63),
    ("PKRU has 32 bits", "pkru", 1 << 32),
]


@pytest.mark.parametrize(("why", "register", "value"), REFUSED)
def test_a_refused_register_keeps_its_value(why: str, register: str, value: int) -> None:
    cpu = world()
    before = getattr(cpu, register)
    with pytest.raises(GeneralProtection):
        setattr(cpu, register, value)
    assert getattr(cpu, register) == before, why


def two_pages() -> Cpu:
    """Page 0 mapped, page 1 not."""
    return world()


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("store", [False, True])
def test_a_fault_of_the_second_page(size: int, store: bool) -> None:
    """CR2 is the second page's first byte and no byte moves; the first page, translated before, keeps its A and D."""
    cpu = two_pages()
    with pytest.raises(PageFault) as caught:
        cpu.store(0x1000 - 1, 0x55, size) if store else cpu.load(0x1000 - 1, size)
    assert (caught.value.va, caught.value.error_code) == (0x1000, U | (W if store else 0))
    assert cpu.machine.read(0x5FFF, 1) == b"\0"
    leaf = cpu.machine.read64(0x4000)
    assert leaf & pte.A and bool(leaf & pte.D) is store


def test_an_access_over_the_end_of_the_address_space_wraps() -> None:
    cpu = world()
    for table in (1, 2, 3, 4):
        cpu.machine.write64((table << 12) + 511 * 8, pte.encode(table + 1 if table < 4 else 6, GOOD))
    cpu.store((1 << 64) - 4, 0x1122334455667788)
    assert cpu.machine.read(0x6FFC, 4) == bytes.fromhex("88776655")
    assert cpu.machine.read(0x5000, 4) == bytes.fromhex("44332211")


def test_a_recursive_entry_is_used_four_times_and_ends_dirty() -> None:
    cpu = world()
    cpu.machine.write64(0x1000 + 510 * 8, pte.encode(1, GOOD))
    va = (0xFFFF << 48) | 510 << 39 | 510 << 30 | 510 << 21 | 510 << 12
    assert [s.entry_pa for s in cpu.walk(va, "write").steps] == [0x1000 + 510 * 8] * 4
    cpu.store(va, 0)
    assert cpu.machine.read64(0x1000 + 510 * 8) == pte.encode(1, GOOD | pte.A | pte.D)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_table_outside_the_machine(level: int) -> None:
    cpu = world()
    cpu.machine.write64((5 - level) << 12, pte.encode(1 << 20, GOOD))
    calls: list[Any] = [lambda: cpu.load(0), lambda: cpu.store(0, 0)]
    calls += [lambda: cpu.walk(0)] if level > 1 else []
    for call in calls:
        with pytest.raises(OutOfRange, match="outside machine memory"):
            call()
    if level > 1:
        assert "outside machine memory" in cpu.explain(0)
        with pytest.raises(OutOfRange):
            list(cpu.mappings())


def test_an_address_is_any_index_and_a_wrong_one_one_clear_error() -> None:
    numpy = pytest.importorskip("numpy")
    cpu = world()
    for va in (numpy.uint64(0x123), numpy.int64(0x123), numpy.uint16(0x123)):
        assert cpu.walk(va).pa == cpu.translate_one(va) == 0x5123
        cpu.store(va, numpy.uint64(7), 1)
        assert cpu.load(va, 1) == 7


WRONG: list[Any] = [None, 1.0, float("nan"), float("inf"), 1e30, "0", b"0", -1, 1 << 64, [], 1j]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_no_number_is_a_bad_argument(wrong: Any) -> None:
    cpu = world()
    m = cpu.machine
    calls: list[Any] = [
        lambda: cpu.walk(wrong),
        lambda: cpu.explain(wrong),
        lambda: cpu.translate_one(wrong),
        lambda: cpu.translate(wrong),
        lambda: cpu.load(wrong),
        lambda: cpu.load(0, wrong),
        lambda: cpu.fetch(wrong),
        lambda: cpu.store(wrong, 0),
        lambda: cpu.store(0, wrong),
        lambda: cpu.store(0, 0, wrong),
        lambda: cpu.cmpxchg(0, wrong, 0),
        lambda: cpu.cmpxchg(0, 0, wrong),
        lambda: cpu.invlpg(wrong),
        lambda: cpu.invpcid(0, wrong if wrong != 1 << 64 else -1),
        lambda: m.read64(wrong),
        lambda: m.write64(wrong, 0),
        lambda: m.write64(0x8000, wrong),
        lambda: m.read(wrong, 1),
        lambda: m.read(0, wrong),
        lambda: m.write(wrong, b""),
        lambda: m.frame(wrong),
    ]
    for call in calls:
        with pytest.raises(BadArgument):
            call()
    assert cpu.load(0) == 0


def test_shadow_values_that_are_no_number() -> None:
    cpu = world(cr4=CR4 | x86.CR4_CET)
    with pytest.raises(BadArgument):
        cpu.shadow_store(0, float("nan"))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 1, 1.0, "text"], ids=repr)
def test_what_has_no_bytes_is_a_bad_argument(wrong: Any) -> None:
    with pytest.raises(BadArgument):
        Machine(1 << 16).write(0, wrong)


def test_a_cpu_is_not_copied_by_accident() -> None:
    """It names C memory of its machine; a copy that shared it would be two processors in one."""
    cpu = world()
    makers: list[Callable[[Cpu], object]] = [copy.copy, copy.deepcopy, pickle.dumps]
    for make in makers:
        with pytest.raises(TypeError):
            make(cpu)
    assert cpu.walk(0).pa == 0x5000


def test_two_processors_share_memory_and_nothing_else() -> None:
    one = world(tlb=4)
    two = Cpu(one.machine, cr3=0x1000, tlb=4)
    one.load(0)
    two.load(0)
    one.machine.write64(0x4000, pte.encode(6, GOOD))
    one.invlpg(0)
    one.machine.write64(0x6000, 66)
    assert (one.load(0), two.load(0)) == (66, 0)
    with one.machine.trial():
        two.invlpg(0)
        two.cr0 = NO_WP
        assert two.load(0) == 66
    assert two.load(0) == 0 and two.cr0 & x86.CR0_WP


# ---- TLB -------------------------------------------------------------------------------------------------------------

PCIDE = CR4 | x86.CR4_PCIDE | x86.CR4_PGE
NO_FLUSH = 1 << 63


def stale_after(operation: Any, tlb: int = 4, bits: int = 0, cr4: int = PCIDE) -> bool:
    """Whether address 0, cached under PCID 0 and unmapped since, is still served after the operation, under PCID 0."""
    cpu = world({1: bits}, cr4=cr4, tlb=tlb)
    cpu.load(0)
    cpu.machine.write64(0x4000, 0)
    operation(cpu)
    try:
        cpu.load(0)
    except PageFault:
        return False
    return True


def to(*values: int) -> Callable[[Cpu], None]:
    def operation(cpu: Cpu) -> None:
        for value in values:
            cpu.cr3 = value

    return operation


def toggle(bit: int) -> Callable[[Cpu], None]:
    def operation(cpu: Cpu) -> None:
        cpu.cr4 ^= bit
        cpu.cr4 ^= bit

    return operation


# (why, operation, bits of the leaf, does the translation stay)
FLUSHES: list[tuple[str, Any, int, bool]] = [
    ("nothing was asked", lambda c: None, 0, True),
    ("MOV to CR3 of its PCID", to(0x1000), 0, False),
    ("with bit 63", to(0x1000 | NO_FLUSH), 0, True),
    ("away and back with bit 63", to(0x1001, 0x1000 | NO_FLUSH), 0, True),
    ("away and back without: its own PCID is flushed", to(0x1001 | NO_FLUSH, 0x1000), 0, False),
    ("a global one outlives MOV to CR3", to(0x1000), pte.G, True),
    ("CR4.PGE toggled drops it", toggle(x86.CR4_PGE), pte.G, False),
    ("SMEP set drops those of the PCID", toggle(x86.CR4_SMEP), 0, False),
    ("SMAP drops nothing", toggle(x86.CR4_SMAP), 0, True),
    ("INVLPG", lambda c: c.invlpg(0xFFF), 0, False),
    ("INVLPG, of a global one", lambda c: c.invlpg(0), pte.G, False),
    ("INVLPG of an address in the hole does nothing", lambda c: c.invlpg(1 << 47), 0, True),
    ("INVPCID of the address", lambda c: c.invpcid("address", 0, 0), 0, False),
    ("INVPCID of the address under another PCID", lambda c: c.invpcid("address", 1, 0), 0, True),
    ("INVPCID of the address keeps a global one", lambda c: c.invpcid("address", 0, 0), pte.G, True),
    ("INVPCID of the PCID", lambda c: c.invpcid("single", 0), 0, False),
    ("INVPCID of the PCID keeps a global one", lambda c: c.invpcid("single", 0), pte.G, True),
    ("INVPCID of another PCID", lambda c: c.invpcid("single", 4095), 0, True),
    ("INVPCID of all", lambda c: c.invpcid("all"), pte.G, False),
    ("INVPCID of all but global", lambda c: c.invpcid("all_but_global"), pte.G, True),
    ("INVPCID of all but global, of one that is not", lambda c: c.invpcid("all_but_global"), 0, False),
]


@pytest.mark.parametrize("tlb", [1, 4])
@pytest.mark.parametrize(("why", "operation", "bits", "stays"), FLUSHES, ids=[row[0] for row in FLUSHES])
def test_flushes(why: str, operation: Any, bits: int, stays: bool, tlb: int) -> None:
    assert stale_after(operation, tlb, bits) is stays, why


def test_a_tlb_of_one_entry_forgets_the_first_of_two() -> None:
    cpu = world(tlb=1)
    cpu.machine.write64(0x4008, pte.encode(6, GOOD))
    cpu.load(0)
    cpu.load(0x1000)
    cpu.machine.write64(0x4000, 0)
    with pytest.raises(PageFault):
        cpu.load(0)


def test_deep_trials_give_back_what_was_cached() -> None:
    cpu = world(tlb=2)
    cpu.load(0)
    cpu.machine.write64(0x4000, 0)
    with cpu.machine.trial(), cpu.machine.trial(), cpu.machine.trial():
        cpu.invlpg(0)
        assert cpu.walk(0).error_code == U
        with pytest.raises(PageFault):
            cpu.load(0)
    assert cpu.load(0) == 0


@pytest.mark.parametrize(("kind", "pcid", "va"), [(4, 0, 0), ("single", 4096, 0), ("address", 0, 1 << 47)])
def test_invpcid_that_faults(kind: Any, pcid: int, va: int) -> None:
    with pytest.raises(GeneralProtection):
        world(cr4=PCIDE, tlb=2).invpcid(kind, pcid, va)
