"""What the pmap does, seen by the processor; bad arguments; undo; and a kernel whose tables others have bent."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from xenmmu import (
    BadArgument,
    BadState,
    GeneralProtection,
    GuestPanic,
    Machine,
    OutOfFrames,
    PageFault,
    XenMMUError,
    netbsd,
    xen,
)
from xenmmu.netbsd import PG_FRAME, PG_U, PG_V, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE, Kernel, Pmap

RW = VM_PROT_READ | VM_PROT_WRITE
VA = 0x7F7FFFFFE000
XEN_DESIGNS = [d for d in netbsd.DESIGNS if d != "native"]


def boot(design: str, frames: int = 512, options: xen.Options | None = None) -> Kernel:
    machine = Machine(6 << 20)
    if design == "native":
        return Kernel(machine, design=design)
    return Kernel(xen.Hypervisor(machine, options=options).create_domain(frames), design=design)


@pytest.fixture(params=netbsd.DESIGNS)
def k(request: pytest.FixtureRequest) -> Kernel:
    return boot(request.param)


def running(k: Kernel) -> tuple[Pmap, int]:
    """A running process with a page at VA."""
    pm, pa = k.pmap_create(), k.uvm_pagealloc()
    k.switch(pm)
    k.pmap_enter(pm, VA, pa, RW)
    return pm, pa


# ---- layout -------------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_headers() -> None:
    assert netbsd.L1_BASE == netbsd.PTE_BASE == 0x7F8000000000 == netbsd.VM_MAXUSER_ADDRESS
    assert (netbsd.L2_BASE, netbsd.L3_BASE, netbsd.L4_BASE) == (0x7FBFC0000000, 0x7FBFDFE00000, 0x7FBFDFEFF000)
    assert netbsd.AL1_BASE == netbsd.APTE_BASE == 0xFFFFFF0000000000
    assert netbsd.AL2_BASE == 0xFFFFFF3FC0000000
    assert (netbsd.AL3_BASE, netbsd.AL4_BASE) == (0xFFFFFF3FDFE00000, 0xFFFFFF3FDFEFF000)
    assert (netbsd.PDP_PDE, netbsd.APDP_PDE) == (
        0x7FBFDFEFF7F8,
        0x7FBFDFEFFFF0,
    )
    assert netbsd.entry_va(VA, 1) == 0x7FBFBFFFFFF0
    assert netbsd.entry_va(VA, 1, alternate=True) == 0xFFFFFF3FBFFFFFF0
    assert netbsd.VM_MIN_KERNEL_ADDRESS == 0xFFFFA00000000000
    with pytest.raises(BadArgument):
        netbsd.entry_va(VA, 5)


# ---- mappings -----------------------------------------------------------------------------------------------------


def test_enter_extract_remove(k: Kernel) -> None:
    pm, pa = running(k)
    other = k.pmap_create()
    assert k.pmap_extract(pm, VA + 0x123) == pa + 0x123
    for absent in (VA - 0x1000, VA + 0x1000, 0, 0x8000000000):
        assert k.pmap_extract(pm, absent) is None
    assert k.pmap_extract(other, VA) is None
    k.user_store(VA + 8, 0x1122334455667788)
    assert k.user_load(VA + 12, size=4) == 0x11223344
    assert k.machine.read64(k.p2m(pa >> 12) * 4096 + 8) == 0x1122334455667788
    k.user_fetch(VA)
    free = k.free_pages
    k.pmap_remove(pm, VA, VA + 0x1000)
    assert k.free_pages == free + 3
    assert k.pmap_extract(pm, VA) is None
    with pytest.raises(PageFault) as fault:
        k.user_load(VA)
    assert (fault.value.va, fault.value.error_code) == (VA, 4)


def test_each_process_has_its_own_memory(k: Kernel) -> None:
    pms = []
    for i in range(5):
        pm, _ = running(k)
        k.user_store(VA, i)
        pms.append(pm)
    for i, pm in enumerate(pms):
        k.switch(pm)
        assert k.current == pm
        assert k.user_load(VA) == i
    assert k.pmaps == tuple(pms)


def test_protections(k: Kernel) -> None:
    pm, pa = running(k)
    k.pmap_protect(pm, VA, VA + 0x1000, VM_PROT_READ | VM_PROT_EXECUTE)
    with pytest.raises(PageFault) as fault:
        k.user_store(VA, 1)
    assert fault.value.error_code == 7
    k.user_load(VA)
    k.pmap_protect(pm, VA, VA + 0x1000, RW)
    with pytest.raises(PageFault):
        k.user_store(VA, 1)
    k.pmap_enter(pm, VA, pa, RW)
    k.user_store(VA, 1)
    k.pmap_protect(pm, VA, VA + 0x1000, netbsd.VM_PROT_NONE)
    assert k.pmap_extract(pm, VA) is None


def test_fork_exec_exit(k: Kernel) -> None:
    pm, pa = running(k)
    child = k.fork(pm)
    with pytest.raises(PageFault):
        k.user_store(VA, 1)
    assert k.pmap_extract(child, VA) is None
    k.pmap_enter(child, VA, pa, VM_PROT_READ)
    k.exec(child)
    assert k.pmap_extract(child, VA) is None
    assert k.pmap_extract(pm, VA) == pa
    k.exit(pm)
    assert k.current is None
    assert k.pmaps == (child,)
    with pytest.raises(BadState):
        k.user_load(VA)
    k.switch(child)
    k.exit(child)


def test_windows_and_kernel_pages(k: Kernel) -> None:
    one, two = k.uvm_pagealloc(), k.uvm_pagealloc()
    kva = netbsd.VM_MIN_KERNEL_ADDRESS if k.domain else 0xFFFF800000000000
    k.machine.write(k.p2m(one >> 12) << 12, bytes(range(256)) * 16)
    k.pmap_copy_page(one, two)
    k.pmap_zero_page(one)
    assert k.machine.read(k.p2m(one >> 12) << 12, 4096) == bytes(4096)
    assert k.machine.read(k.p2m(two >> 12) << 12, 4096) == bytes(range(256)) * 16
    k.pmap_kenter_pa(kva, two, VM_PROT_READ)
    assert k.pmap_extract(k.pmap_kernel, kva + 5) == two + 5
    with pytest.raises(BadState):
        k.uvm_pagefree(two)
    k.pmap_kremove(kva, 0x1000)
    assert k.pmap_extract(k.pmap_kernel, kva) is None
    k.uvm_pagefree(two)
    k.pmap_kenter_pa(kva + (300 << 20), one, RW)
    assert k.pmap_extract(k.pmap_kernel, kva + (300 << 20)) == one


def test_accessed_and_dirty_come_from_the_access(k: Kernel) -> None:
    pm, pa = running(k)
    other = k.uvm_pagealloc()
    k.pmap_enter(pm, VA - 0x1000, other, RW, flags=VM_PROT_READ)

    def entry(va: int) -> int:
        table = k.machine.read64((k.root_mfn(pm) << 12) + 8 * (va >> 39 & 511))
        for shift in (30, 21):
            table = k.machine.read64((table & PG_FRAME) + 8 * (va >> shift & 511))
        return k.machine.read64((table & PG_FRAME) + 8 * (va >> 12 & 511))

    assert entry(VA) & (PG_V | PG_U | netbsd.PG_M) == PG_V
    assert entry(VA - 0x1000) & (PG_U | netbsd.PG_M) == PG_U
    k.user_store(VA, 1)
    assert entry(VA) & (PG_U | netbsd.PG_M) == PG_U | netbsd.PG_M
    assert entry(VA) & PG_FRAME == k.p2m(pa >> 12) << 12


# ---- the window onto the tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_user_mode_reads_its_tables_under_kept_alone_and_writes_them_never(k: Kernel, level: int) -> None:
    running(k)
    at = netbsd.entry_va(VA, level)
    present = k.design in ("kept", "native")
    if k.design == "kept":
        assert k.user_load(at) & PG_V
        k.user_fetch(at)
    else:
        with pytest.raises(PageFault) as fault:
            k.user_load(at)
        assert fault.value.error_code == (5 if present else 4)
    with pytest.raises(PageFault) as fault:
        k.user_store(at, 0)
    assert (fault.value.va, fault.value.error_code) == (at, 7 if present else 6)
    with pytest.raises(PageFault):
        k.user_load(netbsd.entry_va(VA, level, alternate=True))


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_slot_255_between_uses(design: str) -> None:
    k = boot(design)
    pm, _ = running(k)
    slot = k.machine.read64((k.root_mfn(pm) << 12) + 8 * netbsd.L4_SLOT_PTE)
    # Valid or not, it holds the frame of the table.
    assert slot & PG_FRAME == k.root_mfn(pm) << 12
    assert bool(slot & PG_V) == (design == "kept")
    assert not slot & netbsd.PG_RW


@pytest.mark.parametrize("design", [d for d in XEN_DESIGNS if d != "per-cpu"])
def test_a_new_l3_goes_into_the_kernel_l4_whoever_is_loaded(design: str) -> None:
    """As in pmap_get_ptp: the kernel then sees the other process's memory where it would look for the running one's."""
    k = boot(design)
    _, pa = running(k)
    k.user_store(VA, 1)
    other, theirs = k.pmap_create(), k.uvm_pagealloc()
    k.machine.write64(k.p2m(theirs >> 12) << 12, 2)
    d = k.domain
    assert d is not None
    assert d.load(VA) == 1
    k.pmap_enter(other, VA, theirs, RW)
    assert d.load(VA) == 2
    assert k.user_load(VA) == 1
    assert k.pmap_extract(k.pmap_kernel, VA) == theirs
    # Freed, the table leaves the kernel's L4 too, and its page can become anything.
    k.pmap_remove(other, VA, VA + 0x1000)
    assert k.pmap_extract(k.pmap_kernel, VA) is None
    while k.free_pages:
        k.pmap_zero_page(k.uvm_pagealloc())
    assert k.user_load(VA) == 1
    assert k.uvm_pagefree(theirs) is None
    assert pa != theirs


# ---- bad arguments -------------------------------------------------------------------------------------------------

BAD_CALLS: dict[str, Callable[[Kernel, Pmap, int], object]] = {
    "enter unaligned va": lambda k, pm, pa: k.pmap_enter(pm, VA + 1, pa, RW),
    "enter unaligned pa": lambda k, pm, pa: k.pmap_enter(pm, VA, pa + 8, RW),
    "enter at the linear map": lambda k, pm, pa: k.pmap_enter(pm, netbsd.VM_MAXUSER_ADDRESS, pa, RW),
    "enter a kernel address": lambda k, pm, pa: k.pmap_enter(pm, 0xFFFFA00000000000, pa, RW),
    "enter with no right": lambda k, pm, pa: k.pmap_enter(pm, VA, pa, 0),
    "enter with prot 8": lambda k, pm, pa: k.pmap_enter(pm, VA, pa, 8),
    "enter with a strange flag": lambda k, pm, pa: k.pmap_enter(pm, VA, pa, RW, flags=32),
    "enter a page that is free": lambda k, pm, pa: k.pmap_enter(pm, VA, pa + 0x10000, RW),
    "enter a page of the boot image": lambda k, pm, pa: k.pmap_enter(pm, VA, 0, RW),
    "enter a page of nobody": lambda k, pm, pa: k.pmap_enter(pm, VA, 1 << 50, RW),
    "enter in the kernel's pmap": lambda k, pm, pa: k.pmap_enter(k.pmap_kernel, VA, pa, RW),
    "enter -1": lambda k, pm, pa: k.pmap_enter(pm, -1, pa, RW),
    "enter 2**64": lambda k, pm, pa: k.pmap_enter(pm, 1 << 64, pa, RW),
    "enter a string": lambda k, pm, pa: k.pmap_enter(pm, "va", pa, RW),  # type: ignore[arg-type]
    "extract beyond user space": lambda k, pm, pa: k.pmap_extract(pm, netbsd.VM_MAXUSER_ADDRESS),
    "extract no pmap": lambda k, pm, pa: k.pmap_extract(1, VA),  # type: ignore[arg-type]
    "extract a float": lambda k, pm, pa: k.pmap_extract(pm, 1.5),  # type: ignore[arg-type]
    "extract at Xen's": lambda k, pm, pa: k.pmap_extract(k.pmap_kernel, 0x0000800000000000),
    "remove backwards": lambda k, pm, pa: k.pmap_remove(pm, 0x2000, 0x1000),
    "remove unaligned": lambda k, pm, pa: k.pmap_remove(pm, 0x1001, 0x2000),
    "remove too far": lambda k, pm, pa: k.pmap_remove(pm, 0, netbsd.VM_MAXUSER_ADDRESS + 0x1000),
    "protect with 8": lambda k, pm, pa: k.pmap_protect(pm, 0, 0x1000, 8),
    "kenter a user address": lambda k, pm, pa: k.pmap_kenter_pa(VA, pa, RW),
    "kenter the kernel's own half": lambda k, pm, pa: k.pmap_kenter_pa(0xFFFFA00000000000 + (512 << 20), pa, RW),
    "kremove what has no table": lambda k, pm, pa: k.pmap_kremove(0xFFFFA00000000000 + (64 << 20), 0x1000),
    "free a free page": lambda k, pm, pa: k.uvm_pagefree(pa + 0x10000),
    "free unaligned": lambda k, pm, pa: k.uvm_pagefree(pa + 1),
    "zero a page of the boot image": lambda k, pm, pa: k.pmap_zero_page(0),
    "copy from nowhere": lambda k, pm, pa: k.pmap_copy_page(1 << 40, pa),
    "destroy the kernel's pmap": lambda k, pm, pa: k.pmap_destroy(k.pmap_kernel),
    "fork the kernel's pmap": lambda k, pm, pa: k.fork(k.pmap_kernel),
    "exit the kernel's pmap": lambda k, pm, pa: k.exit(k.pmap_kernel),
    "p2m of nothing": lambda k, pm, pa: k.p2m(1 << 40),
    "load 3 bytes": lambda k, pm, pa: k.user_load(VA, size=3),
    "store too wide": lambda k, pm, pa: k.user_store(VA, 256, size=1),
    "replay a pid": lambda k, pm, pa: k.replay_pmap(-1),
}


@pytest.mark.parametrize("call", BAD_CALLS)
def test_a_bad_argument_changes_nothing(k: Kernel, call: str) -> None:
    pm, pa = running(k)
    before, pages, tables = k.counters, k.free_pages, k.machine.read(0, k.machine.size)
    with pytest.raises(BadArgument):
        BAD_CALLS[call](k, pm, pa)
    after = k.counters
    # A user access of a bad size has gone to user mode and back.
    moved = {name for name in after if after[name] != before[name]}
    assert moved <= ({"iret", "cr3_loads", "hypercalls"} if "load" in call else set())
    assert k.free_pages == pages
    assert k.machine.read(0, k.machine.size) == tables
    assert k.user_load(VA) == 0
    assert k.pmap_extract(pm, VA) == pa


def test_handles_do_not_travel(k: Kernel) -> None:
    other = boot(k.design)
    pm, foreign = k.pmap_create(), other.pmap_create()
    with pytest.raises(BadArgument):
        k.pmap_extract(foreign, VA)
    k.pmap_destroy(pm)
    again = k.pmap_create()
    assert again != pm
    for stale in (lambda: k.pmap_extract(pm, VA), lambda: k.switch(pm), lambda: k.root_mfn(pm), lambda: k.exit(pm)):
        with pytest.raises(BadArgument):
            stale()


def test_states(k: Kernel) -> None:
    with pytest.raises(BadState):
        k.user_load(VA)
    pm, pa = running(k)
    with pytest.raises(BadState):
        k.pmap_destroy(pm)
    with pytest.raises(BadState):
        k.uvm_pagefree(pa)
    with pytest.raises(GeneralProtection):
        k.user_load(1 << 63)
    k.switch(k.pmap_kernel)
    assert k.current is None
    k.pmap_destroy(pm)
    k.uvm_pagefree(pa)


@pytest.mark.parametrize("design", ["", "Kept", "xen", None, 3])
def test_unknown_designs(design: object) -> None:
    with pytest.raises(BadArgument):
        Kernel(Machine(16 << 20), design=design)  # type: ignore[arg-type]


def test_wrong_targets() -> None:
    machine = Machine(16 << 20)
    domain = xen.Hypervisor(machine).create_domain(64)
    for target, design in ((machine, "kept"), (domain, "native"), (None, "kept")):
        with pytest.raises(BadArgument):
            Kernel(target, design=design)  # type: ignore[arg-type]
    Kernel(domain)
    before = domain.counters
    with pytest.raises(BadState):
        Kernel(domain)
    assert domain.counters == before


@pytest.mark.parametrize("design", XEN_DESIGNS)
def test_a_domain_too_small(design: str) -> None:
    machine = Machine(16 << 20)
    hv = xen.Hypervisor(machine)
    small = hv.create_domain(36)
    before = small.counters
    assert small.boot_frames + 16 > 36
    with pytest.raises(OutOfFrames):
        Kernel(small, design=design)
    assert small.counters == before
    k = Kernel(hv.create_domain(small.boot_frames + 16), design=design)
    assert k.free_pages > 0
    with pytest.raises(OutOfFrames):
        Kernel(Machine(8 * 4096), design="native")


def test_linear_tables_are_needed() -> None:
    domain = xen.Hypervisor(Machine(16 << 20), options=xen.Options(pv_linear_pt=False)).create_domain(64)
    before = [domain.hypervisor.frame_info(mfn) for mfn in domain.mfns]
    with pytest.raises(GuestPanic, match="linear"):
        Kernel(domain)
    assert [domain.hypervisor.frame_info(mfn) for mfn in domain.mfns] == before


def test_out_of_pages(k: Kernel) -> None:
    pm = k.pmap_create()
    pages = []
    while k.free_pages:
        pages.append(k.uvm_pagealloc())
    with pytest.raises(OutOfFrames):
        k.uvm_pagealloc()
    for _ in range(3):
        with pytest.raises(OutOfFrames):
            k.pmap_enter(pm, VA, pages[0], RW)
        assert k.pmap_extract(pm, VA) is None
        assert k.free_pages <= 2
        k.uvm_pagefree(pages.pop()) if k.free_pages < 2 else None
    k.uvm_pagefree(pages.pop())
    k.pmap_enter(pm, VA, pages[0], RW)
    assert k.free_pages == 0
    made = []
    with pytest.raises(OutOfFrames):
        while True:
            made.append(k.pmap_create())
    assert len(k.pmaps) == len(made) + 1


# ---- undo ----------------------------------------------------------------------------------------------------------


def everything(k: Kernel) -> tuple[object, ...]:
    state: tuple[object, ...] = (k.counters, k.free_pages, k.pmaps, k.current, k.machine.read(0, k.machine.size))
    if k.domain:
        state += (tuple(k.domain.hypervisor.frame_info(mfn) for mfn in k.domain.mfns), k.domain.user_root)
    return state


def in_order(k: Kernel, order: list[Pmap]) -> list[Pmap]:
    """The live pmaps by age: which number a new one gets is the design's affair."""
    alive = k.pmaps
    order[:] = [pm for pm in order if pm in alive]
    order.extend(pm for pm in alive if pm not in order)
    return order


def wander(k: Kernel, rng: random.Random, steps: int, order: list[Pmap] | None = None) -> list[object]:
    """Random operations; what each returned, or the name of what it raised."""
    order = [] if order is None else order
    seen: list[object] = []
    pas: list[int] = []
    for _ in range(steps):
        pms = in_order(k, order)
        pm = rng.choice(pms) if pms else k.pmap_create()
        va = rng.choice((0x1000, VA, 0x40000000, 0x8000000000, 0x200000)) + 0x1000 * rng.randrange(-1, 1)
        end = va + 0x1000 * rng.randrange(1, 600)
        pa = rng.choice(pas) if pas else 0
        do: Callable[[], object] = rng.choice(
            (
                k.uvm_pagealloc,
                k.pmap_create,
                lambda pm=pm: k.pmap_destroy(pm),
                lambda pm=pm, va=va, pa=pa: k.pmap_enter(pm, va, pa, rng.randrange(1, 8)),
                lambda pm=pm, va=va, pa=pa: k.pmap_enter(pm, va, pa, RW),
                lambda pm=pm, va=va: k.pmap_extract(pm, va),
                lambda pm=pm, va=va, end=end: k.pmap_remove(pm, va, end),
                lambda pm=pm, va=va, end=end: k.pmap_protect(pm, va, end, rng.randrange(8)),
                lambda pm=pm: k.fork(pm),
                lambda pm=pm: k.exec(pm),
                lambda pm=pm: k.exit(pm),
                lambda pm=pm: k.switch(pm),
                lambda pm=pm: k.switch(pm),
                lambda va=va: k.user_load(va),
                lambda va=va: k.user_store(va, rng.randrange(1 << 64)),
                lambda pa=pa: k.uvm_pagefree(pa),
            )
        )
        try:
            result = do()
        except GuestPanic:
            raise
        except XenMMUError as error:
            result = type(error).__name__
        if do == k.uvm_pagealloc and isinstance(result, int):
            pas.append(result)
        seen.append(result.handle if isinstance(result, Pmap) else result)
    return seen


@pytest.mark.parametrize("seed", range(5))
def test_a_trial_undoes_everything(k: Kernel, seed: int) -> None:
    wander(k, random.Random(seed), 60)
    before = everything(k)
    with k.machine.trial():
        first = wander(k, random.Random(seed + 100), 120)
    assert everything(k) == before
    assert wander(k, random.Random(seed + 100), 120) == first


def test_a_kernel_booted_in_a_trial_is_gone_after_it() -> None:
    machine = Machine(16 << 20)
    domain = xen.Hypervisor(machine).create_domain(64)
    with machine.trial():
        k = Kernel(domain)
        k.pmap_create()
    with pytest.raises(BadState):
        k.pmap_create()
    Kernel(domain).pmap_create()


@pytest.mark.parametrize("seed", range(3))
def test_every_design_maps_the_same(seed: int) -> None:
    results = {}
    for design in netbsd.DESIGNS:
        k = boot(design)
        rng = random.Random(seed)
        order: list[Pmap] = []
        wander(k, rng, 200, order)
        vas = [base + 0x1000 * i for base in (0x1000, VA, 0x40000000, 0x8000000000) for i in (-1, 0)]
        results[design] = [[k.pmap_extract(pm, va) is None for va in vas] for pm in in_order(k, order)]
    assert all(r == results["native"] for r in results.values()), f"seed {seed}"


# ---- bent tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_hypercalls_behind_its_back(k: Kernel, seed: int) -> None:
    """The kernel may panic, in words; it stays an object that answers, and Xen's refusals stay refusals."""
    rng, panics = random.Random(seed), 0
    flags = (0, 1, 3, 5, 7, 0x67, 0x87)
    for _ in range(150):
        if k.domain:
            d = k.domain
            if d.user_mode:
                d.enter_kernel()
            table = rng.choice((d.kernel_root, d.user_root, *d.mfns))
            slot = rng.choice((0, 255, 320, 510, rng.randrange(512)))
            d.mmu_update([(table << 12 | slot << 3, rng.choice(d.mfns) << 12 | rng.choice(flags))])
            d.mmuext_op([xen.MmuextOp(rng.randrange(18), rng.choice(d.mfns), rng.choice(d.mfns))])
        else:
            at = rng.randrange(64) << 12 | rng.randrange(512) << 3
            k.machine.write64(at, rng.randrange(70) << 12 | rng.choice(flags))
        try:
            wander(k, rng, 3)
        except GuestPanic as panic:
            panics += 1
            assert k.last_panic in str(panic)
            assert k.last_panic
    k.counters, k.pmaps, k.free_pages, k.current  # noqa: B018
