"""The processor against the flat specification: outcome, code, address, A and D, over every control bit it supports."""

from __future__ import annotations

import dataclasses
import importlib.util
import random
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xenmmu import BadState, Cpu, GeneralProtection, Machine, OutOfRange, PageFault, StackFault, pte


def _load_spec() -> Any:
    found = importlib.util.spec_from_file_location("x86_spec", Path(__file__).with_name("spec.py"))
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules["x86_spec"] = module
    found.loader.exec_module(module)
    return module


spec = _load_spec()
FRAMES = 12
ROOT = 1
U64 = (1 << 64) - 1
GOOD = pte.P | pte.RW | pte.US
ACCESSES = ["read", "write", "execute", "shadow_read", "shadow_write"]
# LA57, SMEP, SMAP, PKE, PKS, PGE; and CET, where CR0.WP lets it.
CR4_BITS = (1 << 12, 1 << 20, 1 << 21, 1 << 22, 1 << 24, 1 << 7)
# Mostly usable entries: few bits away from P RW U/S, so that a walk gets to its end and its rights are judged.
RIGHTS = (pte.RW, pte.US, pte.NX)
OTHERS = tuple(1 << n for n in (0, 3, 4, 5, 6, 7, 8, 9, 11, 13, 20, 29, 36, 40, 45, 46, 50, 51, 52, 58))
INDICES = (0, 1, 2, 255, 256, 510, 511)
OFFSETS = (0, 1, 8, 0x7F8, 0xFF9, 0xFFC, 0xFFF)
EDGES = tuple(
    (at - below) & U64
    for at in (0, 1 << 47, 1 << 56, U64 + 1 - (1 << 47), U64 + 1 - (1 << 56))
    for below in (0, 1, 4, 8)
)
#: Chooses one item: a Hypothesis draw, or a seeded random choice for bulk.
Choose = Callable[[Sequence[Any]], Any]
World = tuple[Any, dict[int, int], int]


def a_state(choose: Choose) -> Any:
    flags = choose(range(1 << 10))
    cet = flags & 1 and choose([0, 1, 1])
    return spec.State(
        cr0=0x80000001 | (flags & 1) << 16,
        cr3=ROOT << 12,
        cr4=0x20 + (cet << 23) + sum(b for i, b in enumerate(CR4_BITS) if flags >> (i + 1) & 1),
        efer=0x500 | (choose([0, 1, 1]) << 11),
        maxphyaddr=choose(range(36, 53)),
        vendor=choose(["intel", "amd"]),
        gbpages=choose([True, True, False]),
        pkru=sum(choose(range(4)) << 2 * key for key in (0, 1, 15)),
        pkrs=sum(choose(range(4)) << 2 * key for key in (0, 1, 15)),
        ac=bool(flags >> 9),
        a_on_fault=choose(["none", "upper"]),
    )


def an_entry(choose: Choose, level: int) -> int:
    large = level in (2, 3) and choose(range(6)) == 0
    frame = choose((0, 0, 512, 1 << 18)) if large else choose(range(FRAMES))
    entry = (frame << 12) | GOOD | (pte.PS if large else 0) | (choose((0, 0, 0, 1, 15)) << pte.PKEY_SHIFT)
    kind = choose(range(8))
    if kind == 0:
        entry ^= choose(OTHERS)
    if kind in (1, 2):
        entry ^= choose(RIGHTS)
    if kind in (4, 5) and (large or level == 1):
        entry ^= pte.RW | pte.D
    if large and kind == 3:
        entry ^= pte.PAT_LARGE
    return int(entry)


def an_address(choose: Choose, levels: int) -> int:
    kind = choose(range(20))
    if kind == 0:
        return int(choose(EDGES))
    va = choose(OFFSETS) + sum(choose(INDICES) << (12 + 9 * i) for i in range(levels))
    width = 12 + 9 * levels
    if kind == 1:
        return int(va ^ 1 << width)
    return int(va | (U64 << width & U64 if va >> (width - 1) else 0))


def a_world(choose: Choose) -> World:
    """A state, the entries (by address) that serve an address and the page after it, and the address."""
    state = a_state(choose)
    levels = 5 if state.la57 else 4
    va = an_address(choose, levels)
    entries: dict[int, int] = {}
    for target in ((va + 8) & U64, va):
        table = ROOT
        for level in range(levels, 0, -1):
            at = (table << 12) + 8 * ((target >> (3 + 9 * level)) & 511)
            # A recursive or shared path may have an entry there already.
            entry = entries.setdefault(at, an_entry(choose, level))
            table = (entry >> 12) & ((1 << 40) - 1)
            if table >= FRAMES or pte.is_large(entry, level):
                break
    return state, entries, va


@st.composite
def worlds(draw: st.DrawFn) -> World:
    return a_world(lambda options: draw(st.sampled_from(options)))


def memory(entries: dict[int, int]) -> bytearray:
    mem = bytearray(FRAMES << 12)
    for at, entry in entries.items():
        mem[at : at + 8] = entry.to_bytes(8, "little")
    return mem


def cpu_of(state: Any, mem: bytearray) -> Cpu:
    m = Machine(len(mem))
    m.write(0, mem)
    return Cpu(m, **dataclasses.asdict(state))


def check_walk(state: Any, mem: bytearray, va: int, access: str, user: bool, implicit: bool) -> None:
    cpu = cpu_of(state, mem)
    want = spec.walk(mem, state, va, access, user, implicit)
    if want.fault == "outside":
        with pytest.raises(OutOfRange):
            cpu.walk(va, access, user, implicit)
        assert "outside machine memory" in cpu.explain(va, access, user, implicit)
        return
    got = cpu.walk(va, access, user, implicit)
    assert (got.fault, got.error_code, got.pa) == (want.fault, want.code, want.pa)
    assert got.page_size == want.page_size
    assert [step.entry_pa for step in got.steps] == want.used
    assert [step.level for step in got.steps] == list(range(5 if state.la57 else 4, 0, -1))[: len(want.used)]
    assert [step.entry for step in got.steps] == [int.from_bytes(mem[p : p + 8], "little") for p in want.used]
    reasons = [step.reason for step in got.steps]
    assert all(reason is None for reason in reasons[:-1])
    if reasons:
        assert (reasons[-1] is None) == (want.fault is None)
    assert cpu.machine.read(0, len(mem)) == mem, "a walk changes nothing"
    text = cpu.explain(va, access, user, implicit)
    assert (f"{want.pa:#x}" if want.fault is None else want.fault) in text


@settings(max_examples=150, deadline=None)
@given(worlds(), st.sampled_from(ACCESSES), st.booleans(), st.booleans())
def test_a_walk_is_what_the_manual_says(world: World, access: str, user: bool, implicit: bool) -> None:
    state, entries, va = world
    check_walk(state, memory(entries), va, access, user, implicit)


def check_access(world: World, access: str, size: int, user: bool, value: int) -> str | None:
    state, entries, va = world
    mem = memory(entries)
    size = 1 if access == "execute" else 8 if access.startswith("shadow") and size < 4 else size
    value &= (1 << (8 * size)) - 1
    cpu = cpu_of(state, mem)
    before = bytes(mem)
    stack = access in ("read", "write") and bool(value & 1)
    want = spec.access(mem, state, va, size, access, user, value, stack)
    got: tuple[str | None, int, int]
    with cpu.machine.trial():
        try:
            if access == "write":
                cpu.store(va, value, size, user, stack)
                got = (None, 0, 0)
            elif access == "shadow_write":
                cpu.shadow_store(va, value, size, user)
                got = (None, 0, 0)
            elif access == "execute":
                got = (None, cpu.fetch(va, user), 0)
            elif access == "read":
                got = (None, cpu.load(va, size, user, stack), 0)
            else:
                got = (None, cpu.shadow_load(va, size, user), 0)
        except PageFault as e:
            got = ("#PF", e.va, e.error_code)
        except StackFault:
            got = ("#SS", 0, 0)
        except GeneralProtection:
            got = ("#GP", 0, 0)
        except BadState:
            got = ("#UD", 0, 0)
        except OutOfRange:
            got = ("outside", 0, 0)
        assert got == want
        assert cpu.machine.read(0, len(mem)) == mem
    assert cpu.machine.read(0, len(before)) == before, "a trial undoes data, A and D"
    return got[0]


@settings(max_examples=150, deadline=None)
@given(worlds(), st.sampled_from(ACCESSES), st.sampled_from([1, 2, 4, 8]), st.booleans(), st.integers(0, U64))
def test_an_access_leaves_memory_as_the_manual_says(
    world: World, access: str, size: int, user: bool, value: int
) -> None:
    check_access(world, access, size, user, value)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_bulk(seed: int) -> None:
    """The two tests above without a shrinker, for numbers; each outcome must have been seen often."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    seen: Counter[str | None] = Counter()
    allowed: Counter[str] = Counter()
    for _ in range(2000):
        world = a_world(rng.choice)
        access, user, size = rng.choice(ACCESSES), rng.random() < 0.5, rng.choice([1, 2, 4, 8])
        fault = check_access(world, access, size, user, rng.getrandbits(64))
        seen[fault] += 1
        allowed[access] += fault is None
        check_walk(world[0], memory(world[1]), world[2], access, user, rng.random() < 0.2)
    assert seen[None] > 200 and seen["#PF"] > 300 and seen["#GP"] > 30 and seen["#SS"] > 20 and seen["outside"] > 10, (
        seen
    )
    assert seen["#UD"] > 50 and all(allowed[access] > 0 for access in ACCESSES), allowed


@settings(max_examples=60, deadline=None)
@given(st.lists(worlds(), min_size=1, max_size=3), st.sampled_from(ACCESSES), st.booleans())
def test_the_batch_is_the_walk(some: list[World], access: str, user: bool) -> None:
    state, entries, _ = some[0]
    mem = memory(entries)
    cpu = cpu_of(state, mem)
    vas = [va for _, _, va in some] * 2
    want = [spec.walk(mem, state, each, access, user) for each in vas]
    if any(out.fault == "outside" for out in want):
        with pytest.raises(OutOfRange):
            cpu.translate(array("Q", vas), access, user)
        return
    pas, codes = cpu.translate(array("Q", vas), access, user)
    assert list(pas) == [out.pa or 0 for out in want]
    assert list(codes) == [-1 if out.fault is None else out.code for out in want]
    assert [cpu.translate_one(each, access, user) for each in vas] == [out.pa for out in want]
    assert cpu.machine.read(0, len(mem)) == mem


@pytest.mark.parametrize("vendor", ["intel", "amd"])
@pytest.mark.parametrize("nxe", [False, True])
def test_every_bit_of_every_entry(vendor: str, nxe: bool) -> None:
    """Each bit set alone in an otherwise usable entry, at every level and size, by every MAXPHYADDR."""
    reserved = 0
    m = Machine(16 << 12)
    for levels in (4, 5):
        for gbpages in (False, True):
            state = spec.State(cr3=ROOT << 12, cr4=0x20 | (levels == 5) << 12, vendor=vendor, gbpages=gbpages)
            state.efer = 0x500 | nxe << 11
            cpu = Cpu(m, **dataclasses.asdict(state))
            cases = [(level, False) for level in range(1, levels + 1)] + [(2, True), (3, True)]
            for level, large in cases:
                mem = bytearray(16 << 12)
                for k in range(1, levels + 1):
                    at = (ROOT + levels - k) << 12
                    mem[at : at + 8] = pte.encode(ROOT + levels - k + 1, GOOD).to_bytes(8, "little")
                at = (ROOT + levels - level) << 12
                base = GOOD | pte.PS if large else pte.encode(ROOT + levels - level + 1, GOOD)
                for n in range(64):
                    entry = base ^ (1 << n)
                    mem[at : at + 8] = entry.to_bytes(8, "little")
                    m.write(0, mem)
                    for maxphyaddr in range(36, 53):
                        state.maxphyaddr = cpu.maxphyaddr = maxphyaddr
                        want = spec.walk(mem, state, 0, "write", True)
                        if want.fault == "outside":
                            continue
                        got = cpu.walk(0, "write")
                        assert (got.fault, got.error_code, got.pa) == (want.fault, want.code, want.pa), (
                            level,
                            n,
                            maxphyaddr,
                        )
                        reserved += bool((want.code or 0) & 8)
    assert reserved > 1000


def test_rights_of_all_combinations() -> None:
    """U/S, R/W and XD of leaf and upper entry, D, key, access, and every control bit that judges them."""
    m = Machine(16 << 12)
    mem = bytearray(16 << 12)
    for frame in (1, 2, 3, 4):
        mem[frame << 12 : (frame << 12) + 8] = pte.encode(frame + 1, GOOD).to_bytes(8, "little")
    cpu = Cpu(m)
    explicit, implicits = ((True, False), (False, False)), ((False, True), (True, True))
    count = 0
    for rights in range(128):
        upper = (rights & 1) * pte.US | (rights >> 1 & 1) * pte.RW | (rights >> 2 & 1) * pte.NX | pte.P
        leaf = (rights >> 3 & 1) * pte.US | (rights >> 4 & 1) * pte.RW | (rights >> 5 & 1) * pte.NX | pte.P
        leaf |= (rights >> 6) * pte.D
        mem[2 << 12 : (2 << 12) + 8] = pte.encode(3, upper).to_bytes(8, "little")
        mem[4 << 12 : (4 << 12) + 8] = (pte.encode(5, leaf) | (1 << pte.PKEY_SHIFT)).to_bytes(8, "little")
        m.write(0, mem)
        for control in range(256):
            wp = control & 1
            state = spec.State(
                cr0=0x80000001 | wp << 16,
                cr3=0x1000,
                cr4=0x20
                | (control >> 1 & 1) << 20
                | (control >> 2 & 1) << 21
                | (control >> 3 & 1) << 22
                | wp << 23
                | (control >> 4 & 1) << 24,
                pkru=(control >> 5 & 3) << 2,
                pkrs=(control >> 5 & 3) << 2,
                ac=bool(control >> 7),
            )
            cpu.cr4 &= ~(1 << 23)
            for name in ("cr3", "cr0", "cr4", "pkru", "pkrs", "ac"):
                setattr(cpu, name, getattr(state, name))
            # D matters to shadow stacks only, and they need WP.
            accesses = ACCESSES if wp else ACCESSES[:3]
            for access in accesses[3:] if rights >> 6 and wp else accesses:
                for user, implicit in explicit if control >> 1 & 1 else implicits:
                    want = spec.walk(mem, state, 0, access, user, implicit)
                    got = cpu.walk(0, access, user, implicit)
                    assert got.error_code == want.code and got.pa == want.pa, (rights, control, access, user, implicit)
                    count += 1
    assert count == 64 * 128 * 2 * (3 + 3 + 5 + 2)
