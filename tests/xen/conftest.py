"""A guest for the tests of the Xen floor: clean frames, tables built in them, and a window to map frames in.

The names of the conformance cases: X is an own frame mapped writable, T1..T4 are fresh zeroed frames without any
mapping, W is an L1 slot of the window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xenmmu import Machine, xen
from xenmmu._core import ffi, lib

P, RW, US = 1, 2, 4
SIGN = 0xFFFF << 48


class Guest:
    """One domain on a machine of its own."""

    BOOT_VA = 0xFFFFFFFF80000000
    WINDOW_SLOT = 300
    WINDOW_VA = SIGN | WINDOW_SLOT << 39

    def __init__(self, frames: int = 512, privileged: bool = True, size: int = 64 << 20, **options: Any) -> None:
        self.m = Machine(size)
        self.privileged = privileged
        self.hv = xen.Hypervisor(self.m, xen.Options(**options))
        self.d = self.hv.create_domain(frames=frames, privileged=privileged)
        self.root = self.d.kernel_root
        self.pool = list(self.d.mfns[self.d.boot_frames :])
        self.window = self.page()
        self.window_l2 = self.table({0: self.window << 12 | P | RW | US})
        self.window_l3 = self.table({0: self.window_l2 << 12 | P | RW | US})
        assert self.up(self.root, self.WINDOW_SLOT, self.window_l3 << 12 | P | RW | US).rc == 0
        self.next_slot = 0

    def page(self) -> int:
        """A clean frame: zero, without a mapping, count 1, type none."""
        return self.pool.pop(0)

    def table(self, entries: dict[int, int] | None = None) -> int:
        """A clean frame with these words in it, stored from outside, so no hypercall has looked at them."""
        mfn = self.page()
        for slot, entry in (entries or {}).items():
            self.poke(mfn, slot, entry)
        return mfn

    def poke(self, mfn: int, slot: int, entry: int) -> None:
        self.m.write64(mfn << 12 | slot << 3, entry)

    def peek(self, mfn: int, slot: int) -> int:
        return self.m.read64(mfn << 12 | slot << 3)

    def up(self, table: int, slot: int, entry: int, cmd: int = 0, foreigndom: int = xen.DOMID_SELF) -> xen.Result:
        """One request of mmu_update for an entry of a table."""
        return self.d.mmu_update([(table << 12 | slot << 3 | cmd, entry)], foreigndom)

    def w(self) -> int:
        """A free slot of the window."""
        self.next_slot += 1
        return self.next_slot

    def w_va(self, slot: int) -> int:
        return self.WINDOW_VA + slot * 4096

    def map(self, mfn: int, flags: int = P | RW) -> int:
        """Map a frame in the window; the address."""
        slot = self.w()
        assert self.up(self.window, slot, mfn << 12 | flags).rc == 0
        return self.w_va(slot)

    def ext(self, cmd: int, arg1: int = 0, arg2: int = 0, foreigndom: int = xen.DOMID_SELF) -> xen.Result:
        """One operation of mmuext_op."""
        return self.d.mmuext_op([xen.MmuextOp(cmd, arg1, arg2)], foreigndom)

    def pin(self, level: int, mfn: int, foreigndom: int = xen.DOMID_SELF) -> xen.Result:
        return self.ext(xen.MMUEXT_PIN_L1_TABLE + level - 1, mfn, foreigndom=foreigndom)

    def unpin(self, mfn: int, foreigndom: int = xen.DOMID_SELF) -> xen.Result:
        return self.ext(xen.MMUEXT_UNPIN_TABLE, mfn, foreigndom=foreigndom)

    def books(self, mfn: int) -> str:
        """What Xen's books say, short: general count, type*count, then p pinned, v validated, ~ partial."""
        f = self.hv.frame_info(mfn)
        flags = "p" * f.pinned + "v" * f.validated + "~" * f.partial
        return f"{f.count} {f.type.name}*{f.type_count} {flags}".rstrip()

    def copy_root(self) -> int:
        """An unvalidated copy of the guest's slots of the kernel root in a clean frame."""
        entries = {slot: self.peek(self.root, slot) for slot in range(512) if not 256 <= slot <= 271}
        return self.table({slot: entry for slot, entry in entries.items() if entry})

    def path(self, va: int) -> list[int]:
        """Frames of the tables on the way to va in the kernel root, L4 first, as far as they are present."""
        tables = [self.d.kernel_root]
        for level in (4, 3, 2):
            entry = self.peek(tables[-1], va >> (3 + 9 * level) & 511)
            if not entry & P:
                break
            tables.append(entry >> 12 & (1 << 40) - 1)
        return tables

    @staticmethod
    def refused(r: xen.Result, errno: int, reason: xen.Reason, done: int = 0) -> None:
        """The call was refused with this error number for this reason after this many elements."""
        assert (r.rc, r.reason, r.done) == (-errno, reason, done)
        assert reason.errno == errno

    def everything(self) -> dict[str, Any]:
        """All that a hypercall may change: books, tables and data of the domain, M2P, roots, mode, counters."""
        return {
            "books": bytes(
                ffi.buffer(lib.xm_xen_frame_table(self.hv._c), self.m.frames * ffi.sizeof("struct xm_frame"))
            ),
            "memory": {mfn: bytes(self.m.read(mfn << 12, 4096)) for mfn in (*self.d.mfns, self.d.shared_info)},
            "m2p": [self.hv.m2p(mfn) for mfn in self.d.mfns],
            "roots": (self.d.kernel_root, self.d.user_root, self.d.user_mode),
            "counters": self.d.counters,
        }


@pytest.fixture
def guest() -> Callable[..., Guest]:
    """Guests with chosen options."""
    return Guest


@pytest.fixture
def g() -> Guest:
    """A privileged guest, as the oracle's dom0."""
    return Guest()
