"""A small Xen system whose frames have names, so that a failing sequence of operations can be read and repeated.

Two domains live on a machine of 16 MiB: ``victim``, which does nothing and must come to no harm, and the plain domain
``guest`` that is driven.  The guest has a process by hand: a pinned L4 with one table of each level below it, and two
data pages.  No slot of its L4 is recursive yet.
"""

from __future__ import annotations

from typing import Any

from xenmmu import xen
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
    """Machine, hypervisor, two domains, and the guest's frames by name."""

    def __init__(self, mutants: tuple[str, ...] = (), *, privileged: bool = False) -> None:
        self.machine = Machine(_MACHINE_BYTES)
        self.hv = xen.Hypervisor(self.machine, xen.Options(mutants=mutants))
        self.victim = self.hv.create_domain(_VICTIM_FRAMES, privileged=False)
        self.guest = self.hv.create_domain(_GUEST_FRAMES, privileged=privileged)
        self._frames = {
            "kernel L4": self.guest.kernel_root,
            "boot data": self.guest.mfns[0],
            "shared info": self.guest.shared_info,
            "victim": self.victim.mfns[-1],
            "victim L4": self.victim.kernel_root,
            "I/O": 1,
            "Xen": self._first_of(xen.DOMID_XEN),
            "nowhere": (1 << 40) - 1,
        }
        for level in (3, 2, 1):
            self._frames[f"boot L{level}"] = self._below(self.guest.kernel_root, level, BOOT_BASE)
        spare = list(self.guest.mfns[self.guest.boot_frames :])
        # XSA-148 needs a table on a 2 MiB boundary.
        aligned = next(mfn for mfn in spare if mfn % 512 == 0)
        spare.remove(aligned)
        self._frames["aligned"] = aligned
        for name in (*TABLES, *PAGES[:-1], "data 0", "data 1"):
            self._frames[name] = spare.pop(0)

    def start_process(self) -> None:
        """Build the process by hypercalls and load its L4 as the user root."""
        l4, l3, l2, l1 = (self.frame(name) for name in TABLES)
        self._must(self.guest.mmuext_op([xen.MmuextOp(xen.MMUEXT_PIN_L4_TABLE, l4)]))
        for table, target in ((l4, l3), (l3, l2), (l2, l1), (l1, self.frame("data 0"))):
            self._must(self.guest.mmu_update([(table * PAGE_SIZE, target << 12 | P | RW | US)]))
        self._must(self.guest.mmu_update([(l1 * PAGE_SIZE + 8, self.frame("data 1") << 12 | P | US)]))
        self._must(self.guest.mmuext_op([xen.MmuextOp(xen.MMUEXT_NEW_USER_BASEPTR, l4)]))

    @staticmethod
    def _must(result: xen.Result) -> None:
        if result.rc:
            raise RuntimeError(f"the world could not be built: {result}")

    def _first_of(self, owner: int) -> int:
        return next(mfn for mfn in reversed(range(self.machine.frames)) if self.hv.frame_info(mfn).owner == owner)

    def _below(self, root: int, level: int, va: int) -> int:
        """Frame of the table of `level` that serves `va` under a root; the bytes are trusted."""
        table = root
        for at in range(4, level, -1):
            table = (self.machine.read64(table * PAGE_SIZE + (va >> (3 + 9 * at) & 511) * 8) & _ADDR) >> 12
        return table

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that `frame` knows."""
        return tuple(self._frames)

    def frame(self, name: str) -> int:
        """Machine frame number of a name."""
        return self._frames[name]

    def name(self, mfn: int) -> str:
        """The name of a frame, or its number."""
        return next((name for name, other in self._frames.items() if other == mfn), hex(mfn))

    def entry(self, to: str, flags: str) -> int:
        """The entry that names frame `to` with the bits of `flags`."""
        return (self.frame(to) << 12 & _ADDR) | flag_bits(flags)

    def is_active_table(self, mfn: int) -> bool:
        """Whether the frame is in use as a page table, by Xen's own account."""
        info = self.hv.frame_info(mfn)
        return xen.PageType.L1 <= info.type <= xen.PageType.L4 and info.type_count > 0

    def user_stores(self, vas: list[int], value: int) -> list[int]:
        """The addresses of `vas` where user mode can store into an active page table.

        Each store is really made, by the emulated processor in user mode, and undone.
        """
        guest = self.guest
        if not guest.user_root:
            return []
        done: list[tuple[int, int]] = []
        walk = ffi.new("struct xm_walk *")
        with self.machine.trial():
            if not guest.user_mode:
                guest.enter_user()
            for va in vas:
                if self._stored(va, value):
                    # Xen's emulation stores where the address can be read only.
                    access = lib.XM_ACC_READ if guest._fault.emulated else lib.XM_ACC_WRITE
                    lib.xm_guest_walk(guest._c, va, access, walk)
                    done.append((va, walk.pa >> 12))
        return [va for va, mfn in done if self.is_active_table(mfn)]

    def _stored(self, va: int, value: int) -> bool:
        fault: Any = self.guest._fault
        return not lib.xm_guest_store(self.guest._c, va, 8, value, fault) and not fault.fault
