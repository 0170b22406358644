"""Side effects of mapping page tables into a process's address space, each shown by running a small scenario.

A demonstration claims something, builds a world, does it, and reports what was seen; when what was seen is not what
was claimed it says so.  Sources of the claims: NetBSD's x86/x86/pmap.c and xen/x86/x86_xpmap.c of 2007-10 to 2008-01
and 2016, Xen's arch/x86/mm.c; numbers of entries and levels are those of the tables of the machine, read as bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xenmmu import xen
from xenmmu._core import lib
from xenmmu.machine import PAGE_SIZE, Machine
from xenmmu.netbsd import L4_SLOT_PTE, VM_MIN_KERNEL_ADDRESS, VM_PROT_READ, VM_PROT_WRITE, Kernel, Pmap, entry_va
from xenmmu.study.probes import DONE, ending

_P, _RW, _US, _A, _G = (lib.XM_PTE_P, lib.XM_PTE_RW, lib.XM_PTE_US, lib.XM_PTE_A, lib.XM_PTE_G)
_ADDR = lib.XM_PTE_ADDR
_RW_PROT = VM_PROT_READ | VM_PROT_WRITE
#: A user address, and one in an L4 slot of its own.
VA = 0x400000
FAR = 5 << 39
#: A kernel address that pmap_kenter_pa takes.
KERNEL_VA = VM_MIN_KERNEL_ADDRESS + (64 << 20)

XEN_DESIGNS = ("stock", "stock-literal", "kept", "per-cpu")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a demonstration claims, whether it came out so, and what was seen."""

    name: str
    claim: str
    reproduced: bool
    seen: str


@dataclass(frozen=True, slots=True)
class World:
    """A kernel in a domain, with its machine."""

    machine: Machine
    domain: xen.Domain
    kernel: Kernel

    def l4_entry(self, pmap: Pmap, slot: int) -> int:
        """The word in a slot of a pmap's L4, as memory has it."""
        return self.machine.read64(self.kernel.root_mfn(pmap) * PAGE_SIZE + 8 * slot)

    def path(self, root: int, va: int) -> list[tuple[int, int]]:
        """Addresses and words of the entries that translate `va` from L4 frame `root`, top first, as far as present."""
        found = []
        for level in (4, 3, 2, 1):
            pa = root * PAGE_SIZE + 8 * (va >> 12 + 9 * (level - 1) & 511)
            entry = self.machine.read64(pa)
            found.append((pa, entry))
            if not entry & _P:
                break
            root = (entry & _ADDR) // PAGE_SIZE
        return found

    def process(self, va: int = VA, pages: int = 1, prot: int = _RW_PROT) -> Pmap:
        """A running process with `pages` pages mapped at `va`."""
        pmap = self.kernel.pmap_create()
        self.kernel.switch(pmap)
        for i in range(pages):
            self.kernel.pmap_enter(pmap, va + i * PAGE_SIZE, self.kernel.uvm_pagealloc(), prot)
        return pmap


def world(design: str, options: xen.Options | None = None, frames: int = 2048) -> World:
    """A small machine with Xen, one domain and a kernel of that design."""
    machine = Machine((frames + 4096) * PAGE_SIZE)
    domain = xen.Hypervisor(machine, options).create_domain(frames)
    return World(machine, domain, Kernel(domain, design=design))


def _load(w: World, va: int) -> str:
    return ending(lambda: w.kernel.user_load(va))[0]


def not_present_slot_names_a_frame() -> Finding:
    """P08's pdp constructor stores the L4's own frame in slot 255 without V."""
    seen, ok = [], True
    for design in XEN_DESIGNS:
        w = world(design)
        pmap = w.kernel.pmap_create()
        entry = w.l4_entry(pmap, L4_SLOT_PTE)
        own = (entry & _ADDR) // PAGE_SIZE == w.kernel.root_mfn(pmap)
        ok &= own and not entry & _P
        seen.append(f"{design} {entry:#x}" + ("" if own else " (another frame)"))
    return Finding(
        "not-present entry with a frame",
        "slot 255 of a new user L4 is not present but holds the L4's own machine frame: the shape L1TF follows",
        ok,
        "slot 255 after pmap_create: " + ", ".join(seen),
    )


def window_is_executable() -> Finding:
    """No entry on the way carries NX."""
    w = world("kept")
    w.process()
    va = entry_va(VA, 1)
    how = ending(lambda: w.kernel.user_fetch(va))[0]
    return Finding(
        "executable alias",
        "page tables can be executed as code through the window: its entries carry no NX",
        how == DONE,
        f"instruction fetch by user mode at {va:#x} (the L1 that maps {VA:#x}): {how}",
    )


def window_opens_at_first_enter() -> Finding:
    """V is set by the first pmap_map_ptes that misses, so by the first pmap_enter; a recycled L4 keeps it."""
    w = world("kept")
    k = w.kernel
    pmap = k.pmap_create()
    k.switch(pmap)
    l4 = entry_va(0, 4)
    before = _load(w, l4)
    k.pmap_enter(pmap, VA, k.uvm_pagealloc(), _RW_PROT)
    after = _load(w, l4)
    # Another process is loaded, or the dying one's L4 would stay where it is.
    root = k.root_mfn(pmap)
    w.process()
    k.exit(pmap)
    recycled = k.pmap_create()
    k.switch(recycled)
    again = _load(w, l4)
    return Finding(
        "who is exposed",
        "the window is shut in a new process and opens at its first pmap_enter, so for every process that ever runs; "
        "an L4 from the cache has it open from the start",
        before != DONE and after == DONE and again == DONE and k.root_mfn(recycled) == root,
        f"user load of the L4: before the first pmap_enter {before}, after it {after}; in a new process on the same L4 "
        f"from the cache, before its first pmap_enter, {again}",
    )


def kernel_root_is_polluted() -> Finding:
    """pmap_get_ptp writes a new L3 into the kernel root whichever pmap it is for."""
    seen, hit = [], []
    for design in ("stock", "stock-literal", "kept"):
        w = world(design)
        k = w.kernel
        w.process()
        other = k.pmap_create()
        pa = k.uvm_pagealloc()
        k.pmap_enter(other, FAR, pa, _RW_PROT)
        root = w.domain.kernel_root
        entry = w.machine.read64(root * PAGE_SIZE + 8 * (FAR >> 39))
        how = ending(lambda w=w: w.domain.load(FAR))[0]  # type: ignore[misc]
        user = _load(w, FAR)
        hit.append(bool(entry & _P) and how == DONE and user != DONE)
        seen.append(f"{design}: kernel load {how}, user load {user}")
    return Finding(
        "another process's pages in the kernel root",
        "giving a process that is not loaded its first table under an L4 slot puts that L3 into the kernel root too, "
        "until the next pmap_load: the kernel sees the wrong process there (x86/pmap.c of 2007 and 2008)",
        all(hit),
        f"address {FAR:#x}, mapped only by a process that is not loaded, " + "; ".join(seen),
    )


def window_reads_set_accessed() -> Finding:
    """The walk through the window uses the L2 entry as its leaf and sets A there."""
    w = world("kept")
    pmap = w.process()
    root = w.kernel.root_mfn(pmap)
    slot = root * PAGE_SIZE + 8 * L4_SLOT_PTE
    places = [("slot 255", slot), *((f"L{4 - i}", pa) for i, (pa, _) in enumerate(w.path(root, VA)))]
    # The kernel's own reads have set A on the way: begin as if it had been cleared since.
    for _, pa in places:
        w.machine.write64(pa, w.machine.read64(pa) & ~_A)
    how = _load(w, entry_va(VA, 1))
    marked = [name for name, pa in places if w.machine.read64(pa) & _A]
    return Finding(
        "a read that writes",
        "reading an entry through the window sets A in slot 255 and in the upper entries on the way, though the page "
        "itself was never touched: user mode changes its tables after all, by one bit",
        how == DONE and marked == ["slot 255", "L4", "L3", "L2"],
        f"with A clear everywhere, a user load of the L1 entry of {VA:#x} ({how}) set it in: {', '.join(marked)}",
    )


def stale_window_on_one_cpu() -> Finding:
    """cr3 is loaded on the way into the kernel, which drops the window's translations: they are never global."""
    w = world("kept", xen.Options(tlb=True, global_pages=True))
    k = w.kernel
    pmap = w.process()
    va = entry_va(VA, 1)
    warm = _load(w, va)
    k.pmap_remove(pmap, VA, VA + PAGE_SIZE)
    how = _load(w, va)
    return Finding(
        "stale window, one processor",
        "after the L1 behind the window is freed, the process cannot read it any more: the translation of the window "
        "ends at an L2 entry, so it is never global and the cr3 load at kernel entry drops it",
        warm == DONE and how != DONE,
        f"user load of the L1 through the window {warm}; the page removed and its tables freed; the same load {how}",
    )


def stale_window_behind_a_running_process() -> Finding:
    """What a second processor can do: take the L1 away while user mode goes on with its translations."""
    w = world("kept", xen.Options(tlb=True))
    pmap = w.process()
    pde, entry = w.path(w.kernel.root_mfn(pmap), VA)[2]
    va = entry_va(VA, 1)
    w.domain.enter_user()
    warm = ending(lambda: w.domain.load(va))[0]
    w.machine.write64(pde, entry & ~_P)
    stale = ending(lambda: w.domain.load(va))[0]
    w.domain.enter_kernel()
    w.domain.enter_user()
    fresh = ending(lambda: w.domain.load(va))[0]
    w.domain.enter_kernel()
    return Finding(
        "stale window, two processors",
        "while user mode runs on, its translation of the window outlives the L2 entry that another processor's kernel "
        "clears: the window must be shot down before the table's frame is used again",
        warm == DONE and stale == DONE and fresh != DONE,
        f"user load of the L1 through the window {warm}; its L2 entry cleared in memory, no flush: {stale}; after a "
        f"round trip to the kernel: {fresh} (Xen since 2020 flushes after such an update, Xen 3.1 did not)",
    )


def global_kernel_entries() -> Finding:
    """Xen sets G on present L1 entries with U and without bit 52; NetBSD of 2007 wrote its kernel entries with U."""
    seen = []
    leaked = shut = False
    for pge in (True, False):
        w = world("kept", xen.Options(tlb=True, global_pages=pge))
        k = w.kernel
        w.process()
        pa = k.uvm_pagealloc()
        k.pmap_kenter_pa(KERNEL_VA, pa, _RW_PROT)
        va = KERNEL_VA
        w.domain.store(va, 0x5EC2E7)
        leaf = w.path(w.domain.kernel_root, va)[-1][1]
        how, value = ending(lambda k=k, va=va: k.user_load(va))  # type: ignore[misc]
        wrote = ending(lambda k=k, va=va: k.user_store(va, 1))[0]  # type: ignore[misc]
        seen.append(
            f"CR4.PGE {'on' if pge else 'off'}: kernel leaf {leaf:#x} (G {'set' if leaf & _G else 'clear'}), user load "
            f"{how}" + (f", {value:#x}" if isinstance(value, int) else "") + f", user store {wrote}"
        )
        if pge:
            leaked = how == DONE and value == 0x5EC2E7
        else:
            shut = how != DONE
    return Finding(
        "global kernel entries",
        "kernel pages that NetBSD maps with U (PG_k = PG_u) become global under Xen, so their translations survive the "
        "switch to the user root and user mode reads and writes kernel memory while they last",
        leaked and shut,
        "; ".join(seen),
    )


def _as_xen_3_1(w: World, pmap: Pmap) -> None:
    """Bring Xen's M2P slot into a process's L4.

    Xen 3.1 put it into every L4 that it validated; 4.17 puts it into those that become a kernel root, and leaves it
    there, so this makes the L4 one for a moment.
    """
    old = w.domain.kernel_root
    for mfn in (w.kernel.root_mfn(pmap), old):
        done = w.domain.mmuext_op([xen.MmuextOp(xen.MMUEXT_NEW_BASEPTR, mfn)])
        assert not done.rc, done


def m2p_is_readable() -> Finding:
    """With slot 256 in the user L4 the machine-to-physical table is readable by user mode; m2p_strict takes it out."""
    w = world("stock")
    pmap = w.process()
    mfn = (w.path(w.kernel.root_mfn(pmap), VA)[-1][1] & _ADDR) // PAGE_SIZE
    word = xen.RO_MPT_VIRT_START + 8 * mfn
    now = _load(w, word)
    _as_xen_3_1(w, pmap)
    how, value = ending(lambda: w.kernel.user_load(word))
    right = isinstance(value, int) and value < len(w.domain.mfns) and w.domain.mfns[value] == mfn
    strict = w.domain.vm_assist(xen.VMASST_ENABLE, xen.VMASST_M2P_STRICT)
    w.process()
    w.kernel.switch(pmap)
    hidden = _load(w, word)
    return Finding(
        "M2P",
        "where Xen's slot 256 is in the user L4, as it was in every L4 under Xen 3.1, user mode reads the "
        "machine-to-physical table under every design, window or not; Xen 4.17 leaves the slot empty in an L4 that "
        "never was a kernel root",
        now != DONE and how == DONE and right and strict.rc == 0 and hidden != DONE,
        f"word of frame {mfn:#x}: Xen 4.17 {now}; slot 256 as in Xen 3.1 {how}"
        + (f", pfn {value:#x}" if isinstance(value, int) else "")
        + f"; loaded again with the VM assist m2p_strict {hidden}",
    )


def m2p_tables_through_window() -> Finding:
    """Slot 256 has U, so Xen's own upper tables of the M2P show as data of the window."""
    w = world("kept")
    pmap = w.process()
    now = _load(w, entry_va(xen.RO_MPT_VIRT_START, 3))
    _as_xen_3_1(w, pmap)
    ways = {level: _load(w, entry_va(xen.RO_MPT_VIRT_START, level)) for level in (4, 3, 2, 1)}
    wrote = ending(lambda: w.kernel.user_store(entry_va(xen.RO_MPT_VIRT_START, 3), 0))[0]
    others = {
        slot: _load(w, entry_va(xen.RO_MPT_VIRT_START + ((slot - 256) << 39), 3))
        for slot in range(257, xen.L4_LAST_XEN_SLOT + 1)
    }
    open_ = [str(slot) for slot, how in others.items() if how == DONE]
    return Finding(
        "Xen's tables through the window",
        "with slot 256 as in Xen 3.1, user mode reads Xen's own tables of the M2P through the window, since the slot "
        "carries U; what is behind Xen's other slots stays shut",
        now != DONE and ways[3] == DONE and wrote != DONE and not open_,
        f"Xen 4.17 {now}; slot 256 as in Xen 3.1, entry of the M2P at level "
        + ", ".join(f"{level} {how}" for level, how in ways.items())
        + f", store at level 3 {wrote}; behind slots 257..271: "
        + ("open " + " ".join(open_) if open_ else "every load faults"),
    )


def entries_read_back_different() -> Finding:
    """Xen adjusts what it stores: adds U at every level, G or bit 52 in an L1."""
    w = world("kept")
    pmap = w.process()
    bare = Kernel(Machine(2048 * PAGE_SIZE), design="native")
    native = bare.pmap_create()
    bare.switch(native)
    bare.pmap_enter(native, VA, bare.uvm_pagealloc(), _RW_PROT)
    root = bare.root_mfn(native)
    for level in (4, 3, 2):
        word = bare.machine.read64(root * PAGE_SIZE + 8 * (VA >> 12 + 9 * (level - 1) & 511))
        root = (word & _ADDR) // PAGE_SIZE
    asked = bare.machine.read64(root * PAGE_SIZE + 8 * (VA >> 12 & 511)) & ~_ADDR
    got = w.path(w.kernel.root_mfn(pmap), VA)[-1][1] & ~_ADDR
    return Finding(
        "entries read back different",
        "an L1 entry is not what the kernel wrote: Xen sets G on user entries",
        got != asked and got & ~asked == _G,
        f"flags of the same pmap_enter: {asked:#x} on bare hardware, {got:#x} under Xen",
    )


def kernel_entries_in_the_user_root() -> Finding:
    """Xen sets U (and bit 52) on an entry written without it, so U/S protects nothing in a root that user mode has."""
    w = world("kept")
    k = w.kernel
    pmap = w.process()
    pte, entry = w.path(k.root_mfn(pmap), VA)[-1]
    done = w.domain.mmu_update([(pte, entry & ~(_US | _G))])
    back = w.machine.read64(pte)
    how = _load(w, VA)
    native = Kernel(Machine(2048 * PAGE_SIZE), design="native")
    native.switch(own := native.pmap_create())
    native.pmap_enter(own, VA, native.uvm_pagealloc(), _RW_PROT)
    bare = ending(lambda: native.user_load(entry_va(VA, 1)))[0]
    return Finding(
        "the user bit protects nothing",
        "an entry stored without U in a table of the user root is open to user mode all the same; natively the same "
        "bit guards the window",
        done.rc == 0 and bool(back & xen.GUEST_KERNEL) and how == DONE and bare == "#PF 0x5",
        f"entry {entry & ~(_US | _G):#x} reads back {back:#x}, user load {how}; native user load of the window {bare}",
    )


def resume_opens_the_window() -> Finding:
    """pmap_map_recursive_entries of 2016 writes frame|V into every user pmap's slot on resume."""
    w = world("per-cpu")
    k = w.kernel
    pmap = w.process()
    l4 = entry_va(0, 4)
    before = _load(w, l4)
    root = k.root_mfn(pmap)
    done = w.domain.mmu_update([(root * PAGE_SIZE + 8 * L4_SLOT_PTE, root * PAGE_SIZE | _P)])
    after = _load(w, l4)
    wrote = ending(lambda: k.user_store(l4, 0))[0]
    return Finding(
        "resume opens the window again",
        "under per-cpu the slot is never valid, but what the resume helper of 2016 writes into it makes the tables "
        "readable again, though not writable",
        before != DONE and done.rc == 0 and after == DONE and wrote != DONE,
        f"user load of the L4: {before}; slot 255 written as on resume (rc {done.rc}): load {after}, store {wrote}",
    )


def one_bit_is_the_barrier() -> Finding:
    """The smallest form of the mail's worry: a Xen that adds RW while adjusting an L4 entry."""
    w = world("kept", xen.Options(mutants=("user_slot_rw_by_adjust",)))
    w.process()
    va = entry_va(VA, 1)
    entry = 0
    how = ending(lambda: w.kernel.user_store(va, entry))[0]
    sound = world("kept")
    sound.process()
    shut = ending(lambda: sound.kernel.user_store(va, entry))[0]
    return Finding(
        "one bit is the barrier",
        "the R/W bit of slot 255 alone keeps a process from writing its page tables: with a Xen that sets it, a plain "
        "store of user mode does",
        how == DONE and shut != DONE,
        f"user store to the L1 entry of {VA:#x}: {shut} under Xen's rules, {how} with the mutant "
        "user_slot_rw_by_adjust",
    )


DEMONSTRATIONS: tuple[Callable[[], Finding], ...] = (
    not_present_slot_names_a_frame,
    window_opens_at_first_enter,
    window_is_executable,
    window_reads_set_accessed,
    m2p_is_readable,
    m2p_tables_through_window,
    entries_read_back_different,
    kernel_entries_in_the_user_root,
    global_kernel_entries,
    stale_window_on_one_cpu,
    stale_window_behind_a_running_process,
    kernel_root_is_polluted,
    resume_opens_the_window,
    one_bit_is_the_barrier,
)


def demonstrate() -> list[Finding]:
    """Run every demonstration."""
    return [demonstration() for demonstration in DEMONSTRATIONS]
