"""What each pmap operation costs, in calls by kind: the tables of research on pmap.c 1.1.4.2 (stock), the mail
(stock-literal) and pmap.c 1.13.2.11 (kept); per-cpu and native by the rules of their sources."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xenmmu import Machine, netbsd, xen
from xenmmu.netbsd import VM_PROT_READ, VM_PROT_WRITE, Kernel, Pmap

RW = VM_PROT_READ | VM_PROT_WRITE
VA = 0x400000
XEN_DESIGNS = [d for d in netbsd.DESIGNS if d != "native"]

MMU, ENTRIES, UVM = "mmu_update", "mmu_update_entries", "update_va_mapping"
PIN, UNPIN, FLUSH = "MMUEXT_PIN_L4_TABLE", "MMUEXT_UNPIN_TABLE", "MMUEXT_TLB_FLUSH_LOCAL"
INVLPG, USER = "MMUEXT_INVLPG_LOCAL", "MMUEXT_NEW_USER_BASEPTR"
KINDS = (MMU, ENTRIES, UVM, PIN, UNPIN, FLUSH, INVLPG, USER, "iret")


def boot(design: str, frames: int = 1024) -> Kernel:
    machine = Machine(16 << 20)
    if design == "native":
        return Kernel(machine, design=design)
    return Kernel(xen.Hypervisor(machine).create_domain(frames), design=design)


def spent(k: Kernel, do: Callable[[], object]) -> dict[str, int]:
    """The hypercalls that `do` makes, by kind; no other kind may occur."""
    before = k.counters
    do()
    spent = k.counters - before
    calls = {name: spent[name] for name in KINDS if spent[name]}
    elements = sum(n for name, n in calls.items() if name.startswith("MMUEXT_"))
    assert spent["mmuext_op"] == elements, "one element a call, of the kinds named above"
    return calls


def native_spent(k: Kernel, do: Callable[[], object]) -> dict[str, int]:
    before = k.counters
    do()
    spent = k.counters - before
    return {name: spent[name] for name in ("tlb_flushes", "invlpg", "cr3_loads") if spent[name]}


def add(*parts: dict[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, n in part.items():
            total[name] = total.get(name, 0) + n
    return total


def updates(calls: int, entries: int | None = None) -> dict[str, int]:
    return {MMU: calls, ENTRIES: calls if entries is None else entries}


#: pmap_map_ptes + pmap_unmap_ptes of a pmap that the alternate slot points at already.
HIT = {
    "stock": {MMU: 2, ENTRIES: 2, FLUSH: 1},
    "stock-literal": {MMU: 2, ENTRIES: 2},
    "kept": {},
    "per-cpu": {},
}
#: The alternate slot is empty, the pmap is not on the processor and has never been pinned.
MISS_EMPTY = {
    "stock": {UVM: 2, PIN: 1, MMU: 2, ENTRIES: 2, FLUSH: 1},
    "stock-literal": {MMU: 3, ENTRIES: 3},
    "kept": {MMU: 1, ENTRIES: 2, INVLPG: 1},
}
#: The alternate slot points at another pmap.
MISS = {
    "stock": {UVM: 2, PIN: 1, UNPIN: 1, MMU: 2, ENTRIES: 2, FLUSH: 2},
    "stock-literal": {MMU: 3, ENTRIES: 3, FLUSH: 1},
    "kept": {MMU: 1, ENTRIES: 2, INVLPG: 1, FLUSH: 1},
}
#: And the pmap is the loaded one.
MISS_LOADED = {**MISS, "stock": add(MISS["stock"], {USER: 2})}


@pytest.mark.parametrize("design", ["stock", "stock-literal", "kept"])
def test_the_pair(design: str) -> None:
    k = boot(design)
    a, b = k.pmap_create(), k.pmap_create()
    assert spent(k, lambda: k.pmap_extract(a, VA)) == MISS_EMPTY[design]
    for va in (VA, 0, netbsd.VM_MAXUSER_ADDRESS - 1):
        assert spent(k, lambda va=va: k.pmap_extract(a, va)) == HIT[design]
    first = MISS[design] if design != "stock" else add(MISS_EMPTY["stock"], {FLUSH: 1})
    assert spent(k, lambda: k.pmap_extract(b, VA)) == first
    assert spent(k, lambda: k.pmap_extract(b, VA)) == HIT[design]
    assert spent(k, lambda: k.pmap_extract(a, VA)) == MISS[design]
    k.switch(a)
    assert spent(k, lambda: k.pmap_extract(a, VA)) == HIT[design]
    assert spent(k, lambda: k.pmap_extract(b, VA)) == MISS[design]
    assert spent(k, lambda: k.pmap_extract(a, VA)) == MISS_LOADED[design]
    assert sum(MISS_LOADED["stock"][name] for name in MISS_LOADED["stock"] if name != ENTRIES) == 10


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_the_kernel_pmap_costs_nothing(design: str) -> None:
    k = boot(design)
    assert spent(k, lambda: k.pmap_extract(k.pmap_kernel, netbsd.VM_MIN_KERNEL_ADDRESS)) == {}


def test_per_cpu_loads_the_foreign_pmap() -> None:
    k = boot("per-cpu")
    a, b = k.pmap_create(), k.pmap_create()
    pa = k.uvm_pagealloc()
    load_empty = {USER: 1, FLUSH: 1}
    assert spent(k, lambda: k.pmap_extract(a, VA)) == load_empty
    assert spent(k, lambda: k.pmap_extract(a, VA)) == {}
    k.pmap_enter(a, VA, pa, RW)
    # One slot differs between the kernel's L4 and that of b.
    assert spent(k, lambda: k.pmap_extract(b, VA)) == add(load_empty, updates(1))
    k.switch(a)
    assert spent(k, lambda: k.user_load(VA)) == {"iret": 1}
    k.pmap_extract(b, VA)
    # The running process's pmap was pushed out, and comes back on the way to user mode.
    assert spent(k, lambda: k.user_load(VA)) == add(load_empty, updates(1), {"iret": 1})


def test_native_pairs() -> None:
    k = boot("native")
    a, b, c = k.pmap_create(), k.pmap_create(), k.pmap_create()
    k.switch(a)
    assert native_spent(k, lambda: k.pmap_extract(a, VA)) == {}
    assert native_spent(k, lambda: k.pmap_extract(b, VA)) == {}
    assert native_spent(k, lambda: k.pmap_extract(b, VA)) == {}
    assert native_spent(k, lambda: k.pmap_extract(c, VA)) == {"tlb_flushes": 1}
    assert native_spent(k, lambda: k.switch(b)) == {"cr3_loads": 1}
    assert k.counters["hypercalls"] == 0


# ---- operations on the loaded pmap, the alternate slot pointing at it ---------------------------------------------


def running(design: str) -> tuple[Kernel, Pmap]:
    """A kernel whose running process has a page at VA, so that its tables exist."""
    k = boot(design)
    pm = k.pmap_create()
    k.switch(pm)
    k.pmap_enter(pm, VA, k.uvm_pagealloc(), RW)
    return k, pm


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_enter(design: str) -> None:
    k, pm = running(design)
    one, two = k.uvm_pagealloc(), k.uvm_pagealloc()
    hit = HIT[design]
    assert spent(k, lambda: k.pmap_enter(pm, VA + 0x1000, one, RW)) == add(hit, updates(1))
    same = add(hit, updates(1), {INVLPG: 1})
    assert spent(k, lambda: k.pmap_enter(pm, VA + 0x1000, one, VM_PROT_READ)) == same
    # Replaced without having been used, then after use.
    assert spent(k, lambda: k.pmap_enter(pm, VA + 0x1000, two, RW)) == add(hit, updates(1))
    k.user_load(VA + 0x1000)
    assert spent(k, lambda: k.pmap_enter(pm, VA + 0x1000, one, RW)) == same


@pytest.mark.parametrize("design", XEN_DESIGNS)
@pytest.mark.parametrize("missing", [1, 2, 3])
def test_missing_tables(design: str, missing: int) -> None:
    k, pm = running(design)
    pa = k.uvm_pagealloc()
    va = VA + (1 << (12 + 9 * missing))
    zero = {MMU: 2, ENTRIES: 2, INVLPG: 1}
    link = updates(missing)
    if missing == 3:
        # A new L3 goes into the user's and the kernel's L4: one call, but in the per-CPU design.
        link = updates(missing + 1) if design == "per-cpu" else updates(missing, missing + 1)
    expected = add(HIT[design], *[zero] * missing, link, updates(1))
    assert spent(k, lambda: k.pmap_enter(pm, va, pa, RW)) == expected
    # And back: per freed level an update and an invalidation of what showed the table, and the kernel's slot.
    freed = add(updates(missing), {INVLPG: missing}, updates(1) if missing == 3 else {})
    assert spent(k, lambda: k.pmap_remove(pm, va, va + 0x1000)) == add(HIT[design], updates(1), freed)


@pytest.mark.parametrize("design", XEN_DESIGNS)
@pytest.mark.parametrize("pages", [1, 5, 32, 33])
def test_remove(design: str, pages: int) -> None:
    k, pm = running(design)
    at = VA + 0x10000
    for i in range(pages):
        k.pmap_enter(pm, at + i * 0x1000, k.uvm_pagealloc(), RW)
    k.user_load(at)
    shot = {FLUSH: 1} if pages > 32 else {INVLPG: pages}
    end = at + pages * 0x1000
    assert spent(k, lambda: k.pmap_remove(pm, at, end)) == add(HIT[design], updates(pages), shot)
    assert spent(k, lambda: k.pmap_remove(pm, at, end)) == HIT[design]


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_remove_of_unused_pages_shoots_nothing_down(design: str) -> None:
    k, pm = running(design)
    k.pmap_enter(pm, VA + 0x1000, k.uvm_pagealloc(), RW)
    assert spent(k, lambda: k.pmap_remove(pm, VA + 0x1000, VA + 0x2000)) == add(HIT[design], updates(1))


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_protect(design: str) -> None:
    k, pm = running(design)
    for i in range(1, 8):
        k.pmap_enter(pm, VA + i * 0x1000, k.uvm_pagealloc(), RW if i < 6 else VM_PROT_READ)
    for i in (2, 3):
        k.user_store(VA + i * 0x1000, 1)
    # Seven pages, five writable, two of them dirty.
    expected = add(HIT[design], updates(5), {INVLPG: 2 + 7})
    assert spent(k, lambda: k.pmap_protect(pm, VA + 0x1000, VA + 0x8000, VM_PROT_READ)) == expected
    assert spent(k, lambda: k.pmap_protect(pm, VA + 0x1000, VA + 0x8000, RW)) == {}
    expected = add(HIT[design], updates(1), {FLUSH: 1})
    assert spent(k, lambda: k.pmap_protect(pm, 0, netbsd.VM_MAXUSER_ADDRESS, VM_PROT_READ)) == expected


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_kernel_pages(design: str) -> None:
    k = boot(design)
    at = netbsd.VM_MIN_KERNEL_ADDRESS
    one, two = k.uvm_pagealloc(), k.uvm_pagealloc()
    assert spent(k, lambda: k.pmap_kenter_pa(at, one, RW)) == updates(1)
    assert spent(k, lambda: k.pmap_kenter_pa(at, one, RW)) == updates(1)
    assert k.domain is not None
    k.domain.store(at, 5)
    assert spent(k, lambda: k.pmap_kenter_pa(at, two, RW)) == add(updates(1), {INVLPG: 1})
    k.domain.store(at, 5)
    assert spent(k, lambda: k.pmap_kremove(at, 0x3000)) == add(updates(3), {INVLPG: 3})
    assert spent(k, lambda: k.pmap_kremove(at, 0x3000)) == updates(3)
    assert spent(k, lambda: k.pmap_zero_page(one)) == add(updates(2), {INVLPG: 1})
    assert spent(k, lambda: k.pmap_copy_page(one, two)) == add(updates(2, 4), {INVLPG: 2})


def test_create_and_destroy() -> None:
    k = boot("kept")
    cold = add(updates(1), {INVLPG: 1, PIN: 1})
    assert spent(k, k.pmap_create) == cold
    pm = k.pmap_create()
    assert spent(k, lambda: k.pmap_destroy(pm)) == {}
    assert spent(k, k.pmap_create) == {}, "warm: from the cache, read-only and pinned"
    pm = k.pmaps[0]
    k.pmap_extract(pm, VA)
    assert spent(k, lambda: k.pmap_destroy(pm)) == add(updates(1), {FLUSH: 1}), "the alternate slot pointed at it"


def test_stock_pins_late_and_unpins() -> None:
    k = boot("stock")
    read_only = add(updates(1), {INVLPG: 1})
    assert spent(k, k.pmap_create) == read_only
    pm = k.pmaps[0]
    load = add(updates(1, 255), {FLUSH: 1, USER: 1})
    assert spent(k, lambda: k.switch(pm)) == add({PIN: 1}, load)
    other = k.pmap_create()
    k.switch(other)
    assert spent(k, lambda: k.switch(pm)) == load
    assert spent(k, lambda: k.pmap_destroy(other)) == add({UNPIN: 1}, updates(1), {INVLPG: 1})
    assert spent(k, lambda: k.switch(pm)) == {}


def test_stock_validates_the_whole_tree_again_only_when_the_kernel_does_not_hold_it() -> None:
    """The kernel's L4 holds the L3s of the loaded pmap: unpinning the user L4 lets go of that one table."""
    k, pm = running("stock")
    other = k.pmap_create()

    def validated(of: Pmap) -> int:
        before = k.counters["tables_validated"]
        k.pmap_extract(of, VA)
        return k.counters["tables_validated"] - before

    assert validated(other) == 1
    assert validated(pm) == 1
    k.switch(other)
    assert validated(other) == 1
    assert validated(pm) == 4


@pytest.mark.parametrize("design", ["stock-literal", "kept"])
def test_load(design: str) -> None:
    k = boot(design)
    a, b = k.pmap_create(), k.pmap_create()
    load = add(updates(1, 255), {FLUSH: 1, USER: 1})
    assert spent(k, lambda: k.switch(a)) == load
    assert spent(k, lambda: k.switch(a)) == {}
    assert spent(k, lambda: k.switch(b)) == load


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_an_exited_process_stays_loaded_until_the_next(design: str) -> None:
    k, pm = running(design)
    other = k.pmap_create()
    dummy, loaded = k.dummy_root_mfn, k.root_mfn(pm)
    k.exit(pm)
    assert k.domain is not None
    assert k.domain.user_root == loaded != dummy
    assert k.current is None
    k.switch(other)
    assert k.domain.user_root == k.root_mfn(other)


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_reads_of_an_extract(design: str) -> None:
    """Levels 4, 3 and 2, then the entry; the alternate slot; what xpmap_ptetomach reads is in the updates of stock."""
    k, pm = running(design)
    k.pmap_extract(pm, VA)
    before = k.counters
    assert k.pmap_extract(pm, VA) is not None
    reads = (k.counters - before)["pte_reads"]
    assert reads == (4 if design == "per-cpu" else 5)
