"""Small Xen systems whose frames have names, so that a failing sequence of operations can be read and repeated.

Two domains live on a machine of 16 MiB: ``victim``, which does nothing and must come to no harm, and the plain domain
``guest`` that is driven.  The guest has a process with two data pages at linear addresses 0 and 4096.  In `World` its
tables are made by hand and no slot of its L4 is recursive yet; in `KernelWorld` a NetBSD kernel runs it.
"""

from __future__ import annotations

from typing import Any

from xenmmu import netbsd, xen
from xenmmu._core import ffi, lib
from xenmmu.machine import PAGE_SIZE, Machine

P: int = lib.XM_PTE_P
RW: int = lib.XM_PTE_RW
US: int = lib.XM_PTE_US
_ADDR: int = lib.XM_PTE_ADDR
#: Bits of an entry by the names that strategies use.
FLAGS: dict[str, int] = {
    "RW": RW,
    "PS": lib.XM_PTE_PS,
    "P": P,
    "US": US,
    "PCD": lib.XM_PTE_PCD,
    "A": lib.XM_PTE_A,
    "D": lib.XM_PTE_D,
    "G": lib.XM_PTE_G,
    "K": lib.XM_PTE_GUEST_KERNEL,
    "NX": lib.XM_PTE_NX,
}
BOOT_BASE = 0xFFFFFFFF80000000
TABLES = ("user L4", "user L3", "user L2", "user L1")
PAGES = ("page 0", "page 1", "page 2", "page 3", "page 4", "aligned")
DATA = ("data 0", "data 1")
SPECIAL = ("kernel L4", "boot L3", "boot L2", "boot L1", "shared info", "victim", "victim L4", "I/O", "Xen", "nowhere")
_MACHINE_BYTES = 16 << 20
_VICTIM_FRAMES = 64
_GUEST_FRAMES = 256


def flag_bits(flags: str) -> int:
    """The bits that a string such as ``"P RW US"`` names."""
    bits = 0
    for name in flags.split():
        bits |= FLAGS[name]
    return bits


class World:
    """Machine, hypervisor, two domains, the guest's frames by name, and a process made by hand."""

    def __init__(self, mutants: tuple[str, ...] = (), *, privileged: bool = False) -> None:
        self.machine = Machine(_MACHINE_BYTES)
        self.hv = xen.Hypervisor(self.machine, xen.Options(mutants=mutants))
        self.victim = self.hv.create_domain(_VICTIM_FRAMES, privileged=False)
        self.guest = self.hv.create_domain(_GUEST_FRAMES, privileged=privileged)
        #: Machine frames that nothing uses yet.
        self.spare = self._spare_frames()
        self._frames = dict(zip((*PAGES[:-1], *DATA), self._take_spare(), strict=True))
        self._frames.update(
            {
                "aligned": self._aligned,
                "kernel L4": self.guest.kernel_root,
                "shared info": self.guest.shared_info,
                "victim": self.victim.mfns[-1],
                "victim L4": self.victim.kernel_root,
                "I/O": 1,
                "Xen": self.machine.frames - 1,
                "nowhere": (1 << 40) - 1,
            }
        )
        for level in (3, 2, 1):
            self._frames[f"boot L{level}"] = self.table(self.guest.kernel_root, level, BOOT_BASE)
        self.start_process()

    def _spare_frames(self) -> list[int]:
        return list(self.guest.mfns[self.guest.boot_frames :])

    def _take_spare(self) -> list[int]:
        # XSA-148 needs a table on a 2 MiB boundary.
        self._aligned = next(mfn for mfn in self.spare if mfn % 512 == 0)
        self.spare.remove(self._aligned)
        taken = self.spare[: len(PAGES) - 1 + len(DATA)]
        del self.spare[: len(taken)]
        return taken

    def start_process(self) -> None:
        """Give the guest a process and load its L4 as the user root."""
        l4, l3, l2, l1 = (self.spare.pop(0) for _ in TABLES)
        self._frames.update(zip(TABLES, (l4, l3, l2, l1), strict=True))
        links = [(l4, l3), (l3, l2), (l2, l1), (l1, self.frame("data 0"))]
        requests = [(table * PAGE_SIZE, to << 12 | P | RW | US) for table, to in links]
        requests.append((l1 * PAGE_SIZE + 8, self.frame("data 1") << 12 | P | US))
        for result in (
            self.guest.mmuext_op([xen.MmuextOp(xen.MMUEXT_PIN_L4_TABLE, l4)]),
            self.guest.mmu_update(requests),
            self.guest.mmuext_op([xen.MmuextOp(xen.MMUEXT_NEW_USER_BASEPTR, l4)]),
        ):
            if result.rc:
                raise RuntimeError(f"the world could not be built: {result}")

    # ---- frames

    def table(self, root: int, level: int, va: int) -> int:
        """Frame of the table of `level` that serves `va` under the L4 `root`, as the bytes have it; 0 for none."""
        table = root
        for at in range(4, level, -1):
            entry = self.machine.read64(table * PAGE_SIZE + (va >> (3 + 9 * at) & 511) * 8)
            table = (entry & _ADDR) >> 12 if entry & P else 0
            if not 0 < table < self.machine.frames:
                return 0
        return table

    def frame(self, name: str) -> int:
        """Machine frame number of a name."""
        return self._frames[name]

    def entry(self, to: str, flags: str) -> int:
        """The entry that names frame `to` with the bits of `flags`."""
        return (self.frame(to) << 12 & _ADDR) | flag_bits(flags)

    def is_active_table(self, mfn: int) -> bool:
        """Whether the frame is in use as a page table, by Xen's own account."""
        info = self.hv.frame_info(mfn)
        return xen.PageType.L1 <= info.type <= xen.PageType.L4 and info.type_count > 0

    # ---- user mode, by the emulated processor, with Xen's handling of faults; what is done is undone

    def user_load(self, va: int) -> int | None:
        """The word that user mode reads at `va`; None where it faults, or without a process."""
        value = ffi.new("uint64_t *")
        fault: Any = self.guest._fault
        if not self.guest.user_root:
            return None
        with self.machine.trial():
            self._to_user()
            read = not lib.xm_guest_load(self.guest._c, va, 8, value, fault) and not fault.fault
        return value[0] if read else None

    def user_stores(self, vas: list[int], value: int) -> dict[int, int]:
        """Where user mode can store: of the addresses `vas`, those without a fault -> the frame that is written."""
        done: dict[int, int] = {}
        fault: Any = self.guest._fault
        walk = ffi.new("struct xm_walk *")
        if not self.guest.user_root:
            return done
        with self.machine.trial():
            self._to_user()
            for va in vas:
                if lib.xm_guest_store(self.guest._c, va, 8, value, fault) or fault.fault:
                    continue
                # Xen's emulation stores where the address can only be read.
                access = lib.XM_ACC_READ if fault.emulated else lib.XM_ACC_WRITE
                lib.xm_guest_walk(self.guest._c, va, access, walk)
                done[va] = walk.pa >> 12
        return done

    def user_store(self, va: int, value: int) -> bool:
        """Whether user mode can store `value` at `va`."""
        return bool(self.user_stores([va], value))

    def _to_user(self) -> None:
        if not self.guest.user_mode:
            self.guest.enter_user()


class KernelWorld(World):
    """The same with a NetBSD kernel of a design in the guest: its first process is the one with the data pages."""

    def __init__(self, mutants: tuple[str, ...] = (), *, privileged: bool = False, design: str = "kept") -> None:
        self._design = design
        super().__init__(mutants, privileged=privileged)

    def _spare_frames(self) -> list[int]:
        self.kernel = netbsd.Kernel(self.guest, design=self._design)
        self._pa = {}
        for _ in range(self.kernel.free_pages):
            pa = self.kernel.uvm_pagealloc()
            self._pa[self.kernel.p2m(pa >> 12)] = pa
        return list(self._pa)

    def start_process(self) -> None:
        """Boot gave every page to us: what the tests do not use goes back, and the kernel makes a process."""
        k = self.kernel
        for mfn in self.spare:
            k.uvm_pagefree(self._pa[mfn])
        self.spare.clear()
        process = k.pmap_create()
        k.pmap_enter(process, 0, self.page("data 0"), netbsd.VM_PROT_READ | netbsd.VM_PROT_WRITE)
        k.pmap_enter(process, PAGE_SIZE, self.page("data 1"), netbsd.VM_PROT_READ)
        k.switch(process)

    def page(self, name: str) -> int:
        """Pseudo-physical address of a page by name."""
        return self._pa[self._frames[name]]

    def frame(self, name: str) -> int:
        """Machine frame number of a name; the user tables are those that serve address 0 for the running process.

        A table that the process does not have is page 4.
        """
        if name not in TABLES:
            return self._frames[name]
        current = self.kernel.current
        if current is None:
            return self._frames["page 4"]
        return self.table(self.kernel.root_mfn(current), 4 - TABLES.index(name), 0) or self._frames["page 4"]
