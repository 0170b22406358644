"""The founding property with NetBSD in the guest: the machine of machine.py, and a pmap that works beside it.

The arbitrary hypercalls stay: they are what a broken or hostile kernel module could ask.  They may well make the kernel
panic, after which it makes no further step; Xen must keep its tables safe all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, multiple

from xenmmu import netbsd
from xenmmu.errors import BadArgument, BadState, GuestPanic, OutOfFrames
from xenmmu.machine import PAGE_SIZE
from xenmmu.testing import strategies as s
from xenmmu.testing.machine import GuestMachine, step
from xenmmu.testing.world import DATA, PAGES, KernelWorld

#: Addresses that processes use: two pages of one L1, another L1, another L2, the last page before the slot.
VAS = (0, PAGE_SIZE, 2 << 20, 1 << 30, netbsd.VM_MAXUSER_ADDRESS - PAGE_SIZE)
_PROTS = (netbsd.VM_PROT_READ, netbsd.VM_PROT_READ | netbsd.VM_PROT_WRITE, netbsd.VM_PROT_ALL)
_pages = st.sampled_from((*DATA, *PAGES))
_vas = st.sampled_from(VAS)


_A_D: int = netbsd.PG_U | netbsd.PG_M
# All words of an L4 but Xen's slots, and of each all bits but A and D.
_L4_MASK = sum(((1 << 64) - 1 & ~_A_D) << 64 * i for i in range(512) if not 256 <= i <= 271)


class KernelMachine(GuestMachine):
    """NetBSD on Xen, processes under it, and a guest kernel that may also ask anything else."""

    #: How pmap_map_ptes works; one of netbsd.DESIGNS but native.
    design: ClassVar[str] = "kept"

    world: KernelWorld
    processes: Bundle[int] = Bundle("processes")

    def __init__(self) -> None:
        super().__init__()
        self._disturbed = False
        self._l4s: dict[int, int] = {}
        self._pmaps: list[netbsd.Pmap] = []

    def make_world(self) -> KernelWorld:
        """The system to test."""
        world = KernelWorld(self.mutants, privileged=self.privileged, design=self.design)
        self._l4s = self._l4s_of(world)
        self._pmaps = list(world.kernel.pmaps)
        return world

    def first_entries(self) -> list[s.Entry]:
        """The recursive slot, which is there or not, beside the others."""
        return [*super().first_entries(), s.Entry("user L4", netbsd.L4_SLOT_PTE, "user L4")]

    # ---- the kernel at work

    def _kernel(self, operation: Callable[[netbsd.Kernel], Any]) -> Any:
        """An operation of the kernel; None when it cannot be done, or when the kernel has panicked."""
        if not self.undisturbed():
            self._disturbed = True
        if self.world.kernel.last_panic:
            return None
        try:
            return operation(self.world.kernel)
        except (BadArgument, BadState, OutOfFrames, GuestPanic):
            return None  # a stale process, or the running one; no page left; or the kernel is dead
        finally:
            self._l4s = self._l4s_of(self.world)

    def _new(self, pm: netbsd.Pmap | None) -> Any:
        """The number by which steps name a process: the first is 0."""
        if pm is None:
            return multiple()
        self._pmaps.append(pm)
        return len(self._pmaps) - 1

    @step(target=processes)
    def pmap_create(self) -> Any:
        """A new process."""
        return self._new(self._kernel(lambda k: k.pmap_create()))

    @initialize(target=processes)
    def first(self) -> int:
        """The process that boot made."""
        return 0

    @step(target=processes, process=processes)
    def fork(self, process: int) -> Any:
        """The parent becomes read-only, the child is empty."""
        return self._new(self._kernel(lambda k: k.fork(self._pmaps[process])))

    @step(process=processes, va=_vas, page=_pages, prot=st.sampled_from(_PROTS))
    def pmap_enter(self, process: int, va: int, page: str, prot: int) -> None:
        """Map a page."""
        self._kernel(lambda k: k.pmap_enter(self._pmaps[process], va, self.world.page(page), prot))

    @step(process=processes, va=_vas)
    def pmap_extract(self, process: int, va: int) -> None:
        """Ask for a mapping."""
        self._kernel(lambda k: k.pmap_extract(self._pmaps[process], va))

    @step(process=processes, va=_vas, pages=st.sampled_from((1, 2, 512)))
    def pmap_remove(self, process: int, va: int, pages: int) -> None:
        """Unmap pages; tables that become empty are freed."""
        eva = min(va + pages * PAGE_SIZE, netbsd.VM_MAXUSER_ADDRESS)
        self._kernel(lambda k: k.pmap_remove(self._pmaps[process], va, eva))

    @step(process=processes, va=_vas)
    def pmap_protect(self, process: int, va: int) -> None:
        """Make a page read-only."""
        self._kernel(lambda k: k.pmap_protect(self._pmaps[process], va, va + PAGE_SIZE, netbsd.VM_PROT_READ))

    @step(process=processes)
    def switch(self, process: int) -> None:
        """Run another process."""
        self._kernel(lambda k: k.switch(self._pmaps[process]))

    @step(process=processes)
    def exec(self, process: int) -> None:
        """Unmap everything."""
        self._kernel(lambda k: k.exec(self._pmaps[process]))

    @step(process=processes)
    def exit(self, process: int) -> None:
        """Unmap everything and go."""
        self._kernel(lambda k: k.exit(self._pmaps[process]))

    # ---- what must hold

    def check(self) -> None:
        """What GuestMachine checks, and what the design says of reading: see `reading_is_as_designed`."""
        super().check()
        self.reading_is_as_designed()

    def undisturbed(self) -> bool:
        """Whether the kernel alone has written the L4s of its processes and its own, and lives and rules them still."""
        k, guest = self.world.kernel, self.world.guest
        current = k.current
        root = k.dummy_root_mfn if current is None else k.root_mfn(current)
        return not (self._disturbed or k.last_panic or guest.user_root != root or self._l4s != self._l4s_of(self.world))

    @staticmethod
    def _l4s_of(world: KernelWorld) -> dict[int, int]:
        k, m = world.kernel, world.machine
        roots = {world.guest.kernel_root, *(k.root_mfn(pm) for pm in k.pmaps)}
        return {mfn: int.from_bytes(m.read(mfn * PAGE_SIZE, PAGE_SIZE), "little") & _L4_MASK for mfn in roots}

    def own_tables(self) -> Iterator[tuple[int, int]]:
        """The page tables of the running process that serve `VAS`: frame, and address in the window of slot 255.

        Nothing without a process, for one that maps nothing (the kernel makes its slot valid only when it maps the
        first page), and once the slot is no longer the kernel's alone (`undisturbed`).
        """
        k = self.world.kernel
        if k.current is None or not self.undisturbed():
            return
        root = k.root_mfn(k.current)
        for va in VAS:
            if not self.world.table(root, 3, va):
                continue
            for level in (4, 3, 2, 1):
                if mfn := self.world.table(root, level, va):
                    yield mfn, netbsd.entry_va(va, level) & -PAGE_SIZE

    def reading_is_as_designed(self) -> None:
        """Between operations of the kernel user mode reads every table of its own under kept, and none otherwise."""
        for mfn, va in self.own_tables():
            seen = self.world.user_load(va)
            if self.design == "kept":
                assert seen is not None, f"user mode cannot read table {mfn:#x} at {va:#x} under kept"
            else:
                assert seen is None, f"user mode reads table {mfn:#x} at {va:#x} under {self.design}"
