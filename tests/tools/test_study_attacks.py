"""What user mode is made to try, and the side effects: each is seen, and each is able not to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xenmmu import Machine, netbsd, xen
from xenmmu.study import demonstrations, probes

RW = netbsd.VM_PROT_READ | netbsd.VM_PROT_WRITE
VAS = (0x400000, 0x401000, 0x7F0000000000)


def kernel(design: str, mutants: tuple[str, ...] = ()) -> netbsd.Kernel:
    """A kernel with one running process that has pages under two L4 slots."""
    machine = Machine(24 << 20)
    if design == "native":
        k = netbsd.Kernel(machine, design=design)
    else:
        hypervisor = xen.Hypervisor(machine, xen.Options(mutants=mutants))
        k = netbsd.Kernel(hypervisor.create_domain(2048), design=design)
    pmap = k.pmap_create()
    k.switch(pmap)
    for va in VAS:
        k.pmap_enter(pmap, va, k.uvm_pagealloc(), RW)
    return k


def attacked(k: netbsd.Kernel) -> probes.Tally:
    tally = probes.Tally()
    probes.probe(k, tally)
    return tally


def endings(counted: dict[str, object]) -> set[str]:
    return {how for each in counted.values() for how in each}  # type: ignore[attr-defined]


def test_scan_finds_every_table_and_leaf() -> None:
    k = kernel("kept")
    assert k.current is not None
    space = probes.scan(k.machine, k.root_mfn(k.current))
    assert sorted(t.level for t in space.tables) == [1, 1, 2, 2, 3, 3, 4]
    assert tuple(va for va, _ in space.leaves) == VAS


@pytest.mark.parametrize(
    ("design", "write", "read"),
    [
        ("stock", "#PF 0x6", "#PF 0x4"),
        ("stock-literal", "#PF 0x6", "#PF 0x4"),
        ("kept", "#PF 0x7", "done"),
        ("per-cpu", "#PF 0x6", "#PF 0x4"),
        ("native", "#PF 0x7", "#PF 0x5"),
    ],
)
def test_attacks_end_as_the_design_says(design: str, write: str, read: str) -> None:
    tally = attacked(kernel(design))
    assert tally.probes == 1 and tally.breaches == 0 and tally.tried == 14
    for level, tables in ((1, 2), (2, 2), (3, 2), (4, 1)):
        assert tally.writes[f"L{level} through slot 255"] == {write: tables}
        assert tally.reads[f"own L{level} through slot 255"] == {read: tables}
    assert tally.writes["any level through slot 510"] == {"#PF 0x6": 7}
    assert tally.reads["own any level through slot 510"] == {"#PF 0x4": 7}
    assert tally.writes["a table's frame through an ordinary page"] == {}
    assert (tally.exposed, tally.alive) == (write == "#PF 0x7", 1)
    learned = {"own pages": 3, "own page tables": 6} if read == "done" else {"own pages": 0, "own page tables": 0}
    assert {what: n for what, n in tally.learned.items() if what.startswith("own")} == learned


def test_xens_slots_show_in_the_window_only_when_it_is_open() -> None:
    what = "Xen's L4 slots 256..271 through slot 255"
    open_, shut = attacked(kernel("kept")), attacked(kernel("stock"))
    assert open_.reads[what] == {"done": 16} and shut.reads[what] == {"#PF 0x4": 16}
    # Xen's own linear map, its per-domain area and its own memory at least.
    assert open_.learned["Xen's tables (L4 slots)"] >= 3 and shut.learned["Xen's tables (L4 slots)"] == 0


@pytest.mark.parametrize("design", ["stock", "stock-literal", "kept", "per-cpu", "native"])
def test_an_attack_leaves_no_trace(design: str) -> None:
    k = kernel(design)
    assert k.current is not None
    before = dict(k.counters)
    tables = probes.scan(k.machine, k.root_mfn(k.current)).tables
    bytes_before = [k.machine.read(t.mfn * 4096, 4096) for t in tables]
    attacked(k)
    assert dict(k.counters) == before
    assert [k.machine.read(t.mfn * 4096, 4096) for t in tables] == bytes_before


def test_no_process_no_attack() -> None:
    k = kernel("kept")
    k.switch(k.pmap_kernel)
    assert attacked(k).probes == 0


def test_a_breach_is_counted() -> None:
    tally = attacked(kernel("kept", mutants=("user_slot_rw_by_adjust",)))
    assert tally.breaches > 0 and tally.writes["L1 through slot 255"]["done"] > 0


def test_a_table_mapped_as_an_ordinary_page_is_attacked_there() -> None:
    k = kernel("native")
    assert k.current is not None
    space = probes.scan(k.machine, k.root_mfn(k.current))
    leaf = next(t for t in space.tables if t.level == 1)
    entry = k.machine.read64(leaf.mfn * 4096)
    k.machine.write64(leaf.mfn * 4096, (entry & ~0xFFFFFFFFFF000) | leaf.mfn << 12)
    tally = attacked(k)
    assert tally.writes["a table's frame through an ordinary page"] == {"done": 1} and tally.breaches == 1


@pytest.mark.parametrize("demonstration", demonstrations.DEMONSTRATIONS, ids=lambda d: d.__name__)
def test_side_effect_is_seen(demonstration: Callable[[], demonstrations.Finding]) -> None:
    finding = demonstration()
    assert finding.reproduced, finding
    assert finding.name and finding.claim and finding.seen


@pytest.mark.parametrize(
    "demonstration",
    [
        demonstrations.window_is_executable,
        demonstrations.window_opens_at_first_enter,
        demonstrations.window_reads_set_accessed,
        demonstrations.m2p_tables_through_window,
        demonstrations.stale_window_on_one_cpu,
        demonstrations.stale_window_behind_a_running_process,
        demonstrations.one_bit_is_the_barrier,
    ],
    ids=lambda d: d.__name__,
)
def test_side_effect_of_the_open_window_is_not_seen_where_it_is_shut(
    demonstration: Callable[[], demonstrations.Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same scenario under per-cpu, where slot 255 is never valid."""
    real = demonstrations.world
    monkeypatch.setattr(demonstrations, "world", lambda design, *args: real("per-cpu", *args))
    finding = demonstration()
    assert not finding.reproduced, finding


def test_global_entries_need_a_leaf_without_the_guest_kernel_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without a TLB nothing outlives a switch, so the claim must fail.
    real = demonstrations.world
    monkeypatch.setattr(demonstrations, "world", lambda design, *args: real(design))
    assert not demonstrations.global_kernel_entries().reproduced
