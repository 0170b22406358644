"""The memory_op hypercalls of a domain: frames given back, got, and exchanged.

Knows how calls from Python become those of the C core; the rules are in csrc/xen/memory_op.c.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xenmmu._core import ffi, lib
from xenmmu.errors import fail
from xenmmu.xen.names import _REASONS, DOMID_SELF, MemoryResult, Reason, Result, _bad


class Memory:
    """The part of :class:`~xenmmu.xen.domain.Domain` that asks for memory and gives it back (HYPERVISOR_memory_op).

    `domid` names the domain concerned, here also by its own number; another than the caller's needs a privileged
    caller.  Which frames Xen gives out is not defined; this model takes the lowest free ones.  What a frame held before
    stays in it.  Errors are those of the other hypercalls: BadState in user mode, BadArgument for numbers out of range.
    """

    __slots__ = ()
    _c: Any
    _result: Any

    def _reservation(
        self, cmd: int, name: str, extents: Any, nr: int, order: int, domid: int, address_bits: int
    ) -> MemoryResult:
        result = self._result
        try:
            words = ffi.new("uint64_t[]", extents)
            reservation = ffi.new("struct xm_memory_reservation *", (words, nr, order, address_bits, domid))
            status = lib.xm_memory_op(self._c, cmd, reservation, result)
        except (OverflowError, TypeError) as error:
            _bad(f"{name}()", error)
        if status:
            fail(status, f"{name}()")
        gives = cmd != lib.XM_MEM_DECREASE_RESERVATION
        mfns = tuple(words[0 : result.done]) if gives else ()
        return MemoryResult(result.rc, result.done, _REASONS[result.reason], mfns, result.mfn)

    def increase_reservation(
        self, extents: int, order: int = 0, *, domid: int = DOMID_SELF, address_bits: int = 0
    ) -> MemoryResult:
        """XENMEM_increase_reservation: `extents` new runs of 2**`order` frames, without a pseudo-physical number.

        `address_bits`, when not 0, keeps them below that many bits of machine address.
        """
        # One place for each extent that can be done, and one for the first that cannot.
        places = lib.xm_xen_free_frames(lib.xm_domain_xen(self._c)) + 1
        if isinstance(extents, int):
            places = max(0, min(extents, places))
        return self._reservation(
            lib.XM_MEM_INCREASE_RESERVATION, "increase_reservation", places, extents, order, domid, address_bits
        )

    def decrease_reservation(self, mfns: Iterable[int], order: int = 0, *, domid: int = DOMID_SELF) -> MemoryResult:
        """XENMEM_decrease_reservation: give up the runs of 2**`order` frames that begin at `mfns`.

        A frame that something still refers to stays the domain's until the last reference is gone, and counts as done.
        """
        words = list(mfns)
        return self._reservation(
            lib.XM_MEM_DECREASE_RESERVATION, "decrease_reservation", words, len(words), order, domid, 0
        )

    def populate_physmap(
        self, pfns: Iterable[int], order: int = 0, *, domid: int = DOMID_SELF, address_bits: int = 0
    ) -> MemoryResult:
        """XENMEM_populate_physmap: a run of 2**`order` new frames for each of `pfns`, entered in the M2P under it."""
        words = list(pfns)
        return self._reservation(
            lib.XM_MEM_POPULATE_PHYSMAP, "populate_physmap", words, len(words), order, domid, address_bits
        )

    def memory_exchange(
        self,
        mfns: Iterable[int],
        pfns: Iterable[int],
        in_order: int = 0,
        out_order: int = 0,
        *,
        domid: int = DOMID_SELF,
        out_domid: int | None = None,
        address_bits: int = 0,
        done: int = 0,
    ) -> MemoryResult:
        """XENMEM_exchange: the runs of 2**`in_order` frames at `mfns` for new runs of 2**`out_order` frames.

        `pfns` are the pseudo-physical numbers of the new runs.  Only a frame that nothing but its allocation refers to
        can go.  `out_domid` is the domain of the new frames, which Xen wants to be `domid`; `done` is the number of
        input extents exchanged already (nr_exchanged).  ``mfns`` of the result are the new runs that this call made.
        """
        result = self._result
        old, new = list(mfns), list(pfns)
        try:
            inputs, outputs = ffi.new("uint64_t[]", old), ffi.new("uint64_t[]", new)
            source = ffi.new("struct xm_memory_reservation *", (inputs, len(old), in_order, 0, domid))
            other = domid if out_domid is None else out_domid
            sink = ffi.new("struct xm_memory_reservation *", (outputs, len(new), out_order, address_bits, other))
            result.done = done
            status = lib.xm_memory_exchange(self._c, source, sink, result)
        except (OverflowError, TypeError) as error:
            _bad("memory_exchange()", error)
        if status:
            fail(status, "memory_exchange()")

        def runs(extents: int) -> int:
            return (extents << in_order) >> out_order

        made = tuple(outputs[runs(done) : runs(result.done)]) if result.done > done else ()
        return MemoryResult(result.rc, result.done, _REASONS[result.reason], made, result.mfn)

    def _query(self, cmd: int, name: str, domid: int) -> Result:
        try:
            status = lib.xm_memory_query(self._c, cmd, domid, self._result)
        except (OverflowError, TypeError) as error:
            _bad(f"{name}()", error)
        return self._memory_result(status, name)

    def _memory_result(self, status: int, name: str) -> Result:
        if status:
            fail(status, f"{name}()")
        return Result(self._result.rc, self._result.done, Reason(self._result.reason))

    def maximum_ram_page(self) -> Result:
        """XENMEM_maximum_ram_page: ``rc`` is one more than the last frame number of the machine."""
        return self._query(lib.XM_MEM_MAXIMUM_RAM_PAGE, "maximum_ram_page", DOMID_SELF)

    def current_reservation(self, domid: int = DOMID_SELF) -> Result:
        """XENMEM_current_reservation: ``rc`` is the number of frames that the domain owns."""
        return self._query(lib.XM_MEM_CURRENT_RESERVATION, "current_reservation", domid)

    def maximum_reservation(self, domid: int = DOMID_SELF) -> Result:
        """XENMEM_maximum_reservation: ``rc`` is the number of frames that the domain may own."""
        return self._query(lib.XM_MEM_MAXIMUM_RESERVATION, "maximum_reservation", domid)

    def add_to_physmap(self, space: int, domid: int = DOMID_SELF) -> Result:
        """XENMEM_add_to_physmap of a ``XENMAPSPACE_*``: refused, for a PV domain maps shared pages by frame number."""
        return self._physmap(lib.XM_MEM_ADD_TO_PHYSMAP, "add_to_physmap", domid, space)

    def remove_from_physmap(self, domid: int = DOMID_SELF) -> Result:
        """XENMEM_remove_from_physmap: refused for the same reason."""
        return self._physmap(lib.XM_MEM_REMOVE_FROM_PHYSMAP, "remove_from_physmap", domid, 0)

    def _physmap(self, cmd: int, name: str, domid: int, space: int) -> Result:
        try:
            status = lib.xm_memory_physmap(self._c, cmd, domid, space, self._result)
        except (OverflowError, TypeError) as error:
            _bad(f"{name}()", error)
        return self._memory_result(status, name)

    @property
    def max_pages(self) -> int:
        """How many frames it may own; set by XEN_DOMCTL_max_mem, and at first what it was made with, dom0 unlimited."""
        pages: int = lib.xm_domain_max_pages(self._c)
        return pages

    @max_pages.setter
    def max_pages(self, pages: int) -> None:
        try:
            status = lib.xm_domain_set_max_pages(self._c, pages)
        except (OverflowError, TypeError) as error:
            _bad("max_pages", error)
        if status:
            fail(status, f"max_pages = {pages!r}")
