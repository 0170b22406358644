"""Grant tables, version 1: what a domain lets others map, and mapping it.

Knows the requests of grant_table_op as calls from Python; the rules are in csrc/xen/grant.c.
Source: xen/include/public/grant_table.h, branch stable-4.17.
"""

from __future__ import annotations

from typing import Any

from xenmmu._core import ffi, lib
from xenmmu.errors import BadArgument, fail
from xenmmu.xen.names import (
    _REASONS,
    DOMID_SELF,
    GrantResult,
    GTF_permit_access,
    GTF_readonly,
    Reason,
    _bad,
)

_IN_FRAME = 512


def _reason(number: int) -> Reason:
    return _REASONS[number] if number else Reason.NONE


class GrantOps:
    """The grant-table part of :class:`~xenmmu.xen.Domain`."""

    __slots__ = ("_c",)

    _c: Any

    def setup_table(self, nr_frames: int, dom: int = DOMID_SELF) -> tuple[GrantResult, tuple[int, ...]]:
        """GNTTABOP_setup_table: make the table of `dom` at least `nr_frames` long; its frames, by machine frame number.

        The frames belong to Xen's heap, zeroed, and the domain may map them writable.  An entry is 8 bytes, 512 in a
        frame: flags (16 bits), who may map it (16), the frame granted (32).
        """
        frames = ffi.new("uint64_t[64]")
        reason = ffi.new("uint32_t *")
        try:
            status = lib.xm_grant_setup_table(self._c, dom, nr_frames, frames, reason)
        except (OverflowError, TypeError) as error:
            _bad("setup_table()", error)
        if status:
            fail(status, "setup_table()")
        found = _reason(reason[0])
        done = GrantResult(lib.xm_reason_grant_status(found), found)
        return done, () if found else tuple(frames[i] for i in range(nr_frames))

    def grant_access(self, ref: int, domid: int, mfn: int, *, readonly: bool = False) -> None:
        """Store what a guest's kernel stores to let `domid` map its frame `mfn`: the entry `ref` of its own table.

        The table is made long enough for `ref`; one beyond 64 frames is BadArgument, and so is a number that an entry
        cannot hold.  Xen checks the entry when it is mapped, not now.
        """
        if not 0 <= domid < 1 << 16 or not 0 <= mfn < 1 << 32:
            raise BadArgument(f"grant_access(): domain {domid!r} or frame {mfn!r} does not fit an entry")
        flags = GTF_permit_access | (GTF_readonly if readonly else 0)
        status = lib.xm_write64(
            lib.xm_xen_machine(lib.xm_domain_xen(self._c)), self._entry_pa(ref), mfn << 32 | domid << 16 | flags
        )
        if status:
            fail(status, "grant_access()")

    def _entry_pa(self, ref: int) -> int:
        _, frames = self.setup_table(ref // _IN_FRAME + 1 if 0 <= ref < 64 * _IN_FRAME else 0)
        if not frames:
            raise BadArgument(f"grant reference {ref!r} is beyond 64 frames")
        return frames[ref // _IN_FRAME] * 4096 + ref % _IN_FRAME * 8

    def map_grant_ref(self, host_addr: int, flags: int, ref: int, dom: int) -> GrantResult:
        """GNTTABOP_map_grant_ref: map what entry `ref` of domain `dom` grants.

        `flags` are ``GNTMAP_*``; `host_addr` is the linear address to map it at, or with ``GNTMAP_contains_pte`` the
        machine address of the L1 entry.  `dom` may be the caller's own number.
        """
        op = ffi.new("struct xm_map_grant_ref *")
        reason = ffi.new("uint32_t *")
        try:
            op.host_addr, op.flags, op.ref, op.dom = host_addr, flags, ref, dom
        except (OverflowError, TypeError) as error:
            _bad("map_grant_ref()", error)
        status = lib.xm_map_grant_ref(self._c, op, reason)
        if status:
            fail(status, "map_grant_ref()")
        if op.status:
            return GrantResult(op.status, _reason(reason[0]))
        return GrantResult(0, Reason.NONE, op.handle, op.dev_bus_addr)

    def _unmap(self, handle: int, host_addr: int, dev_bus_addr: int, new_addr: int | None, what: str) -> GrantResult:
        op = ffi.new("struct xm_unmap_grant_ref *")
        reason = ffi.new("uint32_t *")
        try:
            op.host_addr, op.dev_bus_addr, op.handle = host_addr, dev_bus_addr, handle
            if new_addr is None:
                status = lib.xm_unmap_grant_ref(self._c, op, reason)
            else:
                status = lib.xm_unmap_and_replace(self._c, op, new_addr, reason)
        except (OverflowError, TypeError) as error:
            _bad(what, error)
        if status:
            fail(status, what)
        return GrantResult(op.status, _reason(reason[0]))

    def unmap_grant_ref(self, handle: int, host_addr: int = 0, dev_bus_addr: int = 0) -> GrantResult:
        """GNTTABOP_unmap_grant_ref: end the host mapping at `host_addr`, the device mapping, or both; 0 leaves one.

        `host_addr` is of the kind that the mapping was made with; any entry that maps the frame as the grant did will
        do.
        """
        return self._unmap(handle, host_addr, dev_bus_addr, None, "unmap_grant_ref()")

    def unmap_and_replace(self, handle: int, host_addr: int, new_addr: int) -> GrantResult:
        """GNTTABOP_unmap_and_replace: end the mapping at `host_addr`, and move there what `new_addr` maps."""
        return self._unmap(handle, host_addr, 0, new_addr, "unmap_and_replace()")

    def swap_grant_ref(self, ref_a: int, ref_b: int) -> GrantResult:
        """GNTTABOP_swap_grant_ref: exchange two entries of the own table; neither may be mapped."""
        reason = ffi.new("uint32_t *")
        try:
            status = lib.xm_swap_grant_ref(self._c, ref_a, ref_b, reason)
        except (OverflowError, TypeError) as error:
            _bad("swap_grant_ref()", error)
        if status:
            fail(status, "swap_grant_ref()")
        found = _reason(reason[0])
        return GrantResult(lib.xm_reason_grant_status(found), found)
