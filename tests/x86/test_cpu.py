"""Cpu: registers as the processor checks them, misuse, straddling accesses, buffers, listings."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from xenmmu import BadArgument, BadState, Cpu, GeneralProtection, Machine, OutOfRange, PageFault, StackFault, pte, x86
from xenmmu._core import ffi, lib

GOOD = pte.P | pte.RW | pte.US
U64 = (1 << 64) - 1


def world(pages: int = 8, **registers: Any) -> Cpu:
    """Tables in frames 1..4; pages from address 0 on in frames 5.. ."""
    m = Machine(64 << 12)
    for frame in (1, 2, 3):
        m.write64(frame << 12, pte.encode(frame + 1, GOOD))
    for page in range(pages):
        m.write64((4 << 12) + 8 * page, pte.encode(5 + page, GOOD))
    return Cpu(m, cr3=0x1000, **registers)


# ---- registers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "value"),
    [
        ("cr0", 0),
        ("cr0", 0x80000000),
        ("cr0", 0x10001),
        ("cr0", 0xA0010001),
        ("cr0", 1 << 32 | 0x80010001),
        ("cr3", 1 << 46),
        ("cr3", 1 << 63),
        ("cr3", 1 << 62),
        ("cr4", 0),
        ("cr4", 0x20 | 1 << 15),
        ("cr4", 0x20 | 1 << 28),
        ("cr4", 0x20 | 1 << 63),
        ("cr4", 0x20 | 1 << 12),
        ("efer", 0),
        ("efer", 0x400),
        ("efer", 0xD00 | 1 << 1),
        ("efer", 0xD00 | 1 << 12),
        ("pkru", 1 << 32),
        ("pkrs", 1 << 32),
    ],
)
def test_values_that_the_processor_refuses(register: str, value: int) -> None:
    cpu = world()
    before = getattr(cpu, register)
    with pytest.raises(GeneralProtection):
        setattr(cpu, register, value)
    assert getattr(cpu, register) == before
    assert cpu.walk(0).pa == 0x5000


@pytest.mark.parametrize(
    ("register", "value"),
    [
        ("cr0", 0x80000001),
        ("cr0", 0xE0010001),
        ("cr3", (1 << 46) - 1),
        ("cr4", 0x20 | 1 << 25),
        ("efer", 0x501),
        ("pkru", 0xFFFFFFFF),
        ("pkrs", 0xFFFFFFFF),
        ("ac", True),
        ("gbpages", False),
        ("maxphyaddr", 36),
        ("maxphyaddr", 52),
        ("vendor", "amd"),
    ],
)
def test_values_that_it_takes(register: str, value: Any) -> None:
    cpu = world()
    setattr(cpu, register, value)
    assert getattr(cpu, register) == value
    assert getattr(Cpu(cpu.machine, **{register: value}), register) == value


def test_dependencies_between_registers() -> None:
    cpu = world()
    cpu.cr3 = 0x1018
    with pytest.raises(GeneralProtection):
        cpu.cr4 |= x86.CR4_PCIDE
    cpu.cr3 = 0x1000
    cpu.cr4 |= x86.CR4_PCIDE
    cpu.cr3 = 1 << 63 | 0x1018
    assert cpu.cr3 == 0x1018
    assert cpu.walk(0).pa == 0x5000
    cpu.cr4 |= x86.CR4_CET
    with pytest.raises(GeneralProtection):
        cpu.cr0 &= ~x86.CR0_WP
    cpu.cr4 &= ~x86.CR4_CET
    cpu.cr0 &= ~x86.CR0_WP
    with pytest.raises(GeneralProtection):
        cpu.cr4 |= x86.CR4_CET
    assert Cpu(cpu.machine, cr3=0x1003, cr4=x86.CR4_PAE | x86.CR4_PCIDE).cr3 == 0x1003
    assert Cpu(cpu.machine, efer=0x900).efer == 0xD00, "Intel: LMA is read-only"
    with pytest.raises(GeneralProtection):
        Cpu(cpu.machine, efer=0x900, vendor="amd")
    amd = Cpu(cpu.machine, efer=0x1D00, vendor="amd")
    with pytest.raises(BadArgument):
        amd.vendor = "intel"
    five = Cpu(cpu.machine, cr4=x86.CR4_PAE | x86.CR4_LA57)
    with pytest.raises(GeneralProtection):
        five.cr4 = x86.CR4_PAE
    high = Cpu(cpu.machine, cr3=1 << 45)
    with pytest.raises(BadArgument):
        high.maxphyaddr = 45
    high.maxphyaddr = 46


@pytest.mark.parametrize(
    "call",
    [
        lambda c: Cpu(None),  # type: ignore[arg-type]
        lambda c: Cpu(c.machine, maxphyaddr=35),
        lambda c: Cpu(c.machine, maxphyaddr=53),
        lambda c: Cpu(c.machine, maxphyaddr="46"),  # type: ignore[arg-type]
        lambda c: Cpu(c.machine, vendor="via"),
        lambda c: Cpu(c.machine, vendor=0),  # type: ignore[arg-type]
        lambda c: Cpu(c.machine, cr3=-1),
        lambda c: Cpu(c.machine, cr3="x"),  # type: ignore[arg-type]
        lambda c: setattr(c, "cr3", 1 << 64),
        lambda c: setattr(c, "cr0", 1.5),
        lambda c: setattr(c, "maxphyaddr", 300),
        lambda c: setattr(c, "maxphyaddr", 20),
        lambda c: setattr(c, "vendor", "AMD"),
        lambda c: setattr(c, "pkru", -1),
        lambda c: c.walk(-1),
        lambda c: c.walk(1 << 64),
        lambda c: c.walk("0"),
        lambda c: c.walk(0.5),
        lambda c: c.walk(0, "rw"),
        lambda c: c.walk(0, ["read"]),
        lambda c: c.walk(0, None),
        lambda c: c.explain(0, "jump"),
        lambda c: c.explain(-1),
        lambda c: c.translate_one(-1),
        lambda c: c.translate_one(0, "x"),
        lambda c: c.load(0, 3),
        lambda c: c.load(0, 0),
        lambda c: c.load(0, 16),
        lambda c: c.load(0, -1),
        lambda c: c.load(-1),
        lambda c: c.load(0, 1 << 40),
        lambda c: c.load(None),
        lambda c: c.store(0, 256, 1),
        lambda c: c.store(0, -1),
        lambda c: c.store(0, 1 << 64),
        lambda c: c.store(0, 1, 3),
        lambda c: c.store(0, 0, -1),
        lambda c: c.store(0, 0, 1 << 60),
        lambda c: c.store(0, "1"),
        lambda c: c.store(1 << 64, 1),
        lambda c: c.fetch(-1),
        lambda c: c.translate([0]),
        lambda c: c.translate(b"12345678"),
        lambda c: c.translate(array("I", [0, 0])),
        lambda c: c.translate(array("q", [0])),
        lambda c: c.translate(array("d", [0])),
        lambda c: c.translate(memoryview(array("Q", range(8)))[::2]),
        lambda c: c.translate(memoryview(bytearray(17))[1:].cast("Q")),
        lambda c: c.translate(array("Q", [0]), "x"),
        lambda c: c.mappings(-1),
        lambda c: c.mappings(0, 1 << 65),
        lambda c: c.mappings(1 << 64),
        lambda c: c.mappings("0"),
        lambda c: c.ranges(0, -1),
    ],
)
def test_bad_input_is_one_clear_exception_and_the_object_lives(call: Any) -> None:
    cpu = world()
    before = cpu.machine.read(0, cpu.machine.size)
    with pytest.raises(BadArgument) as info:
        call(cpu)
    assert str(info.value)
    assert cpu.machine.read(0, cpu.machine.size) == before
    assert cpu.load(0x1000) == 0


@pytest.mark.parametrize("access", ["shadow_read", "shadow_write"])
def test_without_cet_there_are_no_shadow_stacks(access: str) -> None:
    cpu = world()
    w = cpu.walk(1 << 47, access)
    assert (w.fault, w.error_code, w.pa, w.steps) == ("#UD", 0, None, ())
    assert "CR4.CET" in cpu.explain(0, access)
    assert cpu.translate_one(0, access) is None
    pas, codes = cpu.translate(array("Q", [0]), access)
    assert (list(pas), list(codes)) == ([0], [0])
    with pytest.raises(BadState, match=r"CR4\.CET"):
        cpu.shadow_load(0)
    with pytest.raises(BadState, match=r"CR4\.CET"):
        cpu.shadow_store(0, 1)


def test_a_shadow_stack_is_written_by_its_own_accesses_only() -> None:
    cpu = world()
    cpu.cr4 |= x86.CR4_CET
    cpu.machine.write64(0x4000, pte.encode(5, pte.P | pte.US | pte.D))
    cpu.shadow_store(8, 0x1122334455667788)
    cpu.shadow_store(16, 0x99AABBCC, 4)
    assert cpu.shadow_load(8) == cpu.load(8) == 0x1122334455667788
    assert cpu.shadow_load(16, 4) == 0x99AABBCC
    protection = x86.PF_P | x86.PF_W
    cases = [
        (lambda: cpu.store(8, 0), protection | x86.PF_U),
        (lambda: cpu.store(8, 0, user=False), protection),
        # A stack of the user is none of the supervisor's, whatever AC says; an ordinary page is none at all.
        (lambda: cpu.shadow_store(8, 0, user=False), protection | x86.PF_SS),
        (lambda: cpu.shadow_load(0x1000), x86.PF_P | x86.PF_U | x86.PF_SS),
        (lambda: cpu.shadow_load(0x40000000000), x86.PF_U | x86.PF_SS),
    ]
    for call, code in cases:
        with pytest.raises(PageFault) as info:
            call()
        assert info.value.error_code == code
    cpu.ac = True
    assert cpu.walk(8, "shadow_read", user=False).reason == "supervisor shadow-stack access to a user page"
    assert cpu.load(8) == 0x1122334455667788
    for call in (lambda: cpu.shadow_load(8, 2), lambda: cpu.shadow_store(8, 1 << 32, 4), lambda: cpu.shadow_load("8")):
        with pytest.raises(BadArgument):
            call()


def test_cet_and_wp_need_each_other() -> None:
    cpu = world()
    cpu.cr4 |= x86.CR4_CET
    with pytest.raises(GeneralProtection):
        cpu.cr0 &= ~x86.CR0_WP
    cpu.cr4 &= ~x86.CR4_CET
    cpu.cr0 &= ~x86.CR0_WP
    with pytest.raises(GeneralProtection):
        cpu.cr4 |= x86.CR4_CET


@pytest.mark.parametrize(("choice", "levels"), [("none", ""), ("upper", "432")])
def test_what_a_fault_leaves_accessed_is_a_choice(choice: str, levels: str) -> None:
    cpu = world()
    cpu.a_on_fault = choice
    m = cpu.machine
    m.write64(0x4000, pte.encode(5, pte.P | pte.US))
    m.write64(0x4008, 0)
    for call in (lambda: cpu.store(0, 1), lambda: cpu.load(0x1000)):
        with m.trial():
            with pytest.raises(PageFault):
                call()
            found = "".join(str(s.level) for s in cpu.walk(0x1000).steps if s.entry & pte.A)
            assert found == levels
            assert not m.read64(0x4000) & pte.A and not m.read64(0x4008)
    with pytest.raises(BadArgument):
        cpu.a_on_fault = "all"
    assert cpu.a_on_fault == choice


def test_registers_are_undone_with_a_trial() -> None:
    cpu = world()
    with cpu.machine.trial():
        cpu.cr3 = 0x2000
        cpu.cr4 |= x86.CR4_SMEP
        cpu.pkru = 3
        cpu.ac = True
        cpu.maxphyaddr = 40
        inner = Cpu(cpu.machine, cr3=0x3000)
        inner.pkru = 1
        del inner
    assert (cpu.cr3, cpu.cr4, cpu.pkru, cpu.ac, cpu.maxphyaddr) == (0x1000, x86.CR4_PAE, 0, False, 46)
    assert cpu.walk(0x3000).pa == 0x8000


# ---- accesses ------------------------------------------------------------------------------------------------------


def test_a_straddling_store_is_whole_or_nothing() -> None:
    cpu = world(pages=2)
    cpu.store(0xFFD, 0x1122334455667788)
    assert cpu.machine.read(0x5FFD, 3) == bytes([0x88, 0x77, 0x66])
    assert cpu.machine.read(0x6000, 5) == bytes([0x55, 0x44, 0x33, 0x22, 0x11])
    assert cpu.load(0xFFD) == 0x1122334455667788
    with pytest.raises(PageFault) as info:
        cpu.store(0x1FFE, 0xFFFFFFFF, 4)
    assert (info.value.va, info.value.error_code) == (0x2000, x86.PF_W | x86.PF_U)
    assert cpu.machine.read(0x6FFE, 2) == bytes(2)
    cpu.store(0x1FFE, 0xABCD, 2)
    assert cpu.load(0x1FFE, 2) == 0xABCD


def test_an_access_that_reaches_the_hole_is_gp_before_anything_else() -> None:
    cpu = world()
    for va in (0x7FFFFFFFFFFF, 0x800000000000, 0xFFFF7FFFFFFFFFFF):
        with pytest.raises(GeneralProtection):
            cpu.load(va)
    with pytest.raises(GeneralProtection):
        cpu.fetch(1 << 63)
    w = cpu.walk(1 << 47, "write")
    assert (w.fault, w.error_code, w.pa, w.steps, w.page_size) == ("#GP", 0, None, (), 0)
    with pytest.raises(PageFault):
        cpu.load(0x7FFFFFFFFFFF, 1)


def test_a_stack_access_that_is_not_canonical_is_ss() -> None:
    cpu = world()
    found, value, cr2 = ffi.new("struct xm_walk *"), ffi.new("uint64_t *"), ffi.new("uint64_t *")
    lib.xm_walk(cpu._c, 1 << 47, lib.XM_ACC_STACK, found)
    assert (found.fault, found.stop) == (lib.XM_FAULT_SS, lib.XM_STOP_NOT_CANONICAL)
    assert lib.xm_cpu_load(cpu._c, (1 << 47) - 1, 2, lib.XM_ACC_STACK, value, cr2, found) == 0
    assert found.fault == lib.XM_FAULT_SS
    lib.xm_walk(cpu._c, 0, lib.XM_ACC_STACK, found)
    assert (found.fault, found.pa) == (0, 0x5000)


def test_stack_accesses_from_python() -> None:
    cpu = world()
    top = 1 << 47
    for user in (False, True):
        for access in ("read", "write"):
            w = cpu.walk(top, access, user, stack=True)
            assert (w.fault, w.error_code, w.pa, w.steps) == ("#SS", 0, None, ())
        with pytest.raises(StackFault, match="not canonical"):
            cpu.load(top, 8, user, stack=True)
        with pytest.raises(StackFault):
            cpu.store(top, 5, 8, user, stack=True)
        # An access over the boundary, on either side of the hole.
        for va in (top - 1, (1 << 64) - top - 1, top - 7):
            with pytest.raises(StackFault):
                cpu.load(va, 8, user, stack=True)
            with pytest.raises(GeneralProtection) as plain:
                cpu.store(va, 0, 8, user)
            assert not isinstance(plain.value, StackFault)
        # A page fault is one, stack or not; so is success.
        with pytest.raises(PageFault):
            cpu.load(top - 8, 8, user, stack=True)
        cpu.store(8, 7, 8, user, stack=True)
        assert cpu.load(8, 8, user, stack=True) == 7
    assert cpu.explain(top, "write", stack=True).splitlines()[0].startswith("stack write at 0x0000800000000000 by user")
    assert cpu.explain(top, stack=True).endswith("=> #SS(0): the address is not canonical")
    for access in ("execute", "shadow_read", "shadow_write", "jump"):
        with pytest.raises(BadArgument):
            cpu.walk(0, access, stack=True)


def test_outside_machine_memory_is_an_error_and_never_zeros() -> None:
    cpu = world()
    m = cpu.machine
    m.write64(0x4000, pte.encode(m.frames, GOOD))
    assert cpu.walk(0x10).pa == (m.frames << 12) + 0x10
    calls: list[Callable[[], object]] = [lambda: cpu.load(0), lambda: cpu.store(0, 1), lambda: cpu.fetch(0)]
    for call in calls:
        with pytest.raises(OutOfRange, match="outside machine memory"):
            call()
    m.write64(0x3008, pte.encode(1 << 18, GOOD | pte.PS))
    with pytest.raises(OutOfRange, match="page of 0x201000"):
        cpu.load(0x201000)
    m.write64(0x2000, pte.encode(m.frames, GOOD))
    calls = [
        lambda: cpu.walk(0),
        lambda: cpu.load(0),
        lambda: cpu.translate_one(0),
        lambda: cpu.translate(array("Q", [1 << 63, 0])),
        lambda: list(cpu.mappings()),
    ]
    for call in calls:
        with pytest.raises(OutOfRange):
            call()
    assert "PDE of 0x0 in the table at 0x40000" in cpu.explain(0)
    cpu.cr3 = 0x123456000
    with pytest.raises(OutOfRange):
        cpu.walk(0)


# ---- the batch -----------------------------------------------------------------------------------------------------


def test_buffers_of_the_batch() -> None:
    cpu = world()
    vas = array("Q", [0x10, 0x9000, 1 << 47, 0x7FF8])
    for buffer in (vas, memoryview(vas), memoryview(vas).toreadonly()):
        pas, codes = cpu.translate(buffer, "write")
        assert isinstance(pas, array) and pas.typecode == "Q" and isinstance(codes, array) and codes.itemsize == 4
        assert list(pas) == [0x5010, 0, 0, 0xCFF8]
        assert list(codes) == [-1, 6, 0, -1]
    pas, codes = cpu.translate(array("Q"))
    assert len(pas) == len(codes) == 0


def test_numpy_in_numpy_out() -> None:
    numpy = pytest.importorskip("numpy")
    cpu = world()
    vas = numpy.array([0x10, 0x9000], dtype=numpy.uint64)
    pas, codes = cpu.translate(vas)
    assert pas.dtype == numpy.uint64 and codes.dtype == numpy.int32
    assert pas.tolist() == [0x5010, 0] and codes.tolist() == [-1, 4]
    for bad in (vas.astype(numpy.int64), vas.astype(">u8"), vas.reshape(1, 2), numpy.zeros(8, numpy.uint64)[::2]):
        with pytest.raises(BadArgument):
            cpu.translate(bad)


# ---- listings ------------------------------------------------------------------------------------------------------


def all_leaves(m: Machine, root: int, levels: int) -> list[x86.Mapping]:
    """By recursion over the bytes, with MAXPHYADDR 46, Intel, NXE."""
    found: list[x86.Mapping] = []

    def go(table: int, level: int, va: int, rights: int, nx: int) -> None:
        for index, entry in enumerate(m.frame(table).cast("Q")):
            if not entry & 1:
                continue
            at = va + (index << (3 + 9 * level))
            large = level in (2, 3) and bool(entry & 0x80)
            size = 1 << (3 + 9 * level)
            if entry >> 46 & 63 or (level > 3 and entry & 0x80):
                continue
            base = entry & 0xFFFFFFFFFF000
            if large and base & (size - 1) & ~0x1000:
                continue
            both = rights & entry & 6
            if large or level == 1:
                sign = at >> (11 + 9 * levels) & 1
                high = (1 << 64) - (1 << (12 + 9 * levels)) if sign else 0
                found.append(x86.Mapping(at | high, base - base % size, size, 1 | both | (nx | entry >> 63) << 63))
            else:
                go(base >> 12, level - 1, at, both, nx | entry >> 63)

    go(root, levels, 0, 6, 0)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_mappings_are_the_leaves_of_the_tables(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    levels = rng.choice([4, 4, 5])
    m = Machine(12 << 12)
    for frame in range(1, 8):
        for index in rng.sample(range(512), 3):
            rights = pte.P | rng.getrandbits(2) << 1 | rng.choice([0, pte.NX])
            entry = pte.encode(rng.choice([0, 2, 3, 4, 5, 6, 7]), rights)
            # Bit 7 is a page at levels 2 and 3 (0x3000: with a reserved bit), PAT below and reserved above.
            large = pte.PS | rights | rng.choice([0, 0x1000, 0x200000, 1 << 30, 0x3000])
            entry = rng.choice([entry, entry, entry, large, entry | 1 << 50, entry & ~pte.P])
            m.write64((frame << 12) + 8 * index, entry)
    cpu = Cpu(m, cr3=0x1000, cr4=x86.CR4_PAE | (x86.CR4_LA57 if levels == 5 else 0))
    want = all_leaves(m, 1, levels)
    assert list(cpu.mappings()) == want
    for leaf in rng.sample(want, min(len(want), 20)):
        assert cpu.walk(leaf.va + leaf.size - 1, user=False).pa == leaf.pa + leaf.size - 1
        assert (cpu.walk(leaf.va, "write", True).pa is None) == (leaf.flags & 6 != 6)
    assert sum(r.length for r in cpu.ranges()) == sum(leaf.size for leaf in want)
    for _ in range(10):
        start, end = (rng.choice(want).va + rng.choice([0, 1, 4096]) if want else 0 for _ in range(2))
        inside = [leaf for leaf in want if start < end and leaf.va < end and leaf.va + leaf.size > start]
        assert list(cpu.mappings(start, end)) == inside


def test_a_long_listing_goes_on_where_it_stopped() -> None:
    cpu = world(0)
    m = cpu.machine
    for page in range(512):
        m.write64(0x4000 + 8 * page, pte.encode(page % 7, GOOD if page % 3 else GOOD | pte.NX))
    m.write64(0x3008, pte.encode(4, GOOD))
    leaves = list(cpu.mappings())
    assert [leaf.va for leaf in leaves] == [page << 12 for page in range(1024)]
    assert [leaf.pa >> 12 for leaf in leaves] == [page % 512 % 7 for page in range(1024)]
    assert list(cpu.mappings(0x3FF001)) == leaves[1023:]
    assert list(cpu.mappings(0x3FF001, 0x3FF001)) == []
    assert list(cpu.mappings(1 << 47)) == [] and list(cpu.mappings(0x200000, 1 << 47)) == leaves[512:]


def test_ranges_merge_what_is_contiguous_and_equal() -> None:
    cpu = world(8)
    assert list(cpu.ranges()) == [x86.Range(0, 0x5000, 0x8000, GOOD)]
    cpu.machine.write64(0x4000 + 8 * 3, pte.encode(8, pte.P | pte.US))
    cpu.machine.write64(0x4000 + 8 * 6, pte.encode(20, GOOD))
    assert list(cpu.ranges()) == [
        x86.Range(0, 0x5000, 0x3000, GOOD),
        x86.Range(0x3000, 0x8000, 0x1000, pte.P | pte.US),
        x86.Range(0x4000, 0x9000, 0x2000, GOOD),
        x86.Range(0x6000, 20 << 12, 0x1000, GOOD),
        x86.Range(0x7000, 12 << 12, 0x1000, GOOD),
    ]


def test_both_ends_of_the_address_space() -> None:
    m = Machine(16 << 12)
    for frame in (1, 2, 3, 4):
        m.write64((frame << 12) + 8 * 511, pte.encode(frame + 1, GOOD))
        m.write64((frame << 12), pte.encode(frame + 1, GOOD))
    cpu = Cpu(m, cr3=0x1000)
    leaves = list(cpu.mappings())
    assert len(leaves) == 16
    assert leaves[0].va == 0 and leaves[-1].va == U64 - 0xFFF
    assert list(cpu.mappings(U64)) == leaves[-1:]
    assert list(cpu.mappings(1 << 50, 1 << 64)) == leaves[8:]
    assert list(cpu.mappings(0, (1 << 64) - (1 << 47))) == leaves[:8]


def test_bounds_in_the_hole_between_the_halves() -> None:
    m = Machine(16 << 12)
    for frame in (2, 3, 4):
        m.write64(frame << 12, pte.encode(frame + 1, GOOD))
    for index in (0, 256):
        m.write64((1 << 12) + 8 * index, pte.encode(2, GOOD))
    cpu = Cpu(m, cr3=0x1000)
    low, high = cpu.mappings()
    assert (low.va, high.va) == (0, 0xFFFF800000000000)
    assert list(cpu.mappings(0, (1 << 47) + 0x1000)) == [low]
    assert list(cpu.mappings(0, 0xFFFF800000000000)) == [low]
    assert list(cpu.mappings(0, 0xFFFF800000000001)) == [low, high]
    assert list(cpu.mappings((1 << 47) + 5)) == [high]
    assert list(cpu.mappings((1 << 47) + 5, (1 << 48) + 5)) == []


def test_leaves_before_a_table_outside_the_machine_are_listed() -> None:
    cpu = world(3)
    cpu.machine.write64(0x3010, pte.encode(cpu.machine.frames, GOOD))
    found = []
    with pytest.raises(OutOfRange, match="0x400000"):
        for leaf in cpu.mappings():
            found.append(leaf.va)
    assert found == [0, 0x1000, 0x2000]


def test_endless_tables_can_be_interrupted() -> None:
    """Every slot of every upper table leads to the next one, and the last is empty: 2**36 entries to look at."""
    m = Machine(8 << 12)
    for frame in (1, 2, 3):
        for index in range(512):
            m.write64((frame << 12) + 8 * index, pte.encode(frame + 1, GOOD))
    cpu = Cpu(m, cr3=0x1000)
    cursor = ffi.new("struct xm_mapping_cursor *", {"next": 0, "last": U64})
    out = ffi.new("struct xm_mapping[4]")
    assert lib.xm_mappings(cpu._c, cursor, out, 4) == 0
    assert not cursor.done and cursor.next > 0
    at = cursor.next
    assert lib.xm_mappings(cpu._c, cursor, out, 4) == 0 and cursor.next > at


# ---- words ---------------------------------------------------------------------------------------------------------


def test_explain_names_the_levels_that_deny() -> None:
    cpu = world()
    cpu.machine.write64(0x2000, pte.encode(3, pte.P | pte.US))
    text = cpu.explain(0x1000, "write")
    assert "write to a read-only page (R/W=0), by the PDPTE" in text and "0x7 (P W/R U/S)" in text
    assert text.count("\n") == 5
    cpu.machine.write64(0x4008, pte.encode(6, GOOD | pte.NX) | 2 << pte.PKEY_SHIFT)
    assert "XD=1), by the PTE" in cpu.explain(0x1000, "execute")
    cpu.cr4 |= x86.CR4_PKE
    cpu.pkru = 1 << 4
    assert "protection key denies the access, key 2" in cpu.explain(0x1000)
    assert "#GP(0)" in cpu.explain(1 << 63)
    assert "allowed: physical address 0x5008" in cpu.explain(8)
    assert repr(cpu.walk(8)) and repr(cpu.walk(1 << 63)) and repr(cpu)


def test_a_fault_of_the_second_page_comes_before_missing_memory_of_the_first() -> None:
    m = Machine(1 << 20)
    for table in (1, 2, 3):
        m.write64(table << 12, pte.encode(table + 1, pte.P | pte.RW | pte.US))
    m.write64(4 << 12, pte.encode(0x8000, pte.P | pte.RW | pte.US))
    cpu = Cpu(m, cr3=0x1000)
    with pytest.raises(PageFault) as fault:
        cpu.store(0xFFC, 0, 8)
    assert (fault.value.va, fault.value.error_code) == (0x1000, 6)
    m.write64((4 << 12) + 8, pte.encode(5, pte.P | pte.RW | pte.US))
    with pytest.raises(OutOfRange, match="0x8000000"):
        cpu.store(0xFFC, 0, 8)
    assert m.read64(0x5000) == 0
